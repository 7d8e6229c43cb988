//! `slotward cluster`: a whole cluster on this machine, and a look at any cluster.

mod form;
mod nodes;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod status;
mod up;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use process::Instance;

use crate::roles::Role;

/// How long one call to a node of this machine may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The cluster's commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start sentinels and data nodes on this machine and form a cluster; heals what is missing
    Up(Up),
    /// Form a cluster of nodes that run anywhere; does only what is missing
    Form(Form),
    /// Stop what `up` started
    Down(Layout),
    /// Show shards, slots, roles, offsets, epochs, leases and the Raft leader
    Status(Status),
}

/// What runs where. The folder remembers nothing but what the processes keep in it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Layout {
    /// Folder of everything the processes keep
    #[arg(long, default_value = "data")]
    dir: PathBuf,
    /// Address on which they listen
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the first data node; the others follow
    #[arg(long, default_value_t = 7000)]
    port: u16,
    /// Port of the first sentinel; the others follow
    #[arg(long, default_value_t = 26_379)]
    sentinel_port: u16,
    /// Masters
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    masters: u16,
    /// Replicas of each master
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=10))]
    replicas: u16,
    /// Sentinels
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    sentinels: u16,
}

/// The options of `up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    layout: Layout,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 120)]
    timeout_s: u64,
    /// Another option for every data node, as a line of a configuration file; may be repeated
    #[arg(long = "node-option", value_name = "'NAME VALUE'")]
    node_options: Vec<String>,
    /// Another option for every sentinel, as a line of a configuration file; may be repeated
    #[arg(long = "sentinel-option", value_name = "'NAME VALUE'")]
    sentinel_options: Vec<String>,
}

/// The options of `form`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Form {
    /// The nodes as they announce themselves, HOST:PORT, the masters first
    #[arg(required = true, value_name = "HOST:PORT")]
    nodes: Vec<form::Place>,
    /// How many of them are masters; the others become their replicas
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    masters: u16,
    /// Sentinels to ask, HOST:PORT; the first that answers counts
    #[arg(long, required = true, value_delimiter = ',', value_name = "HOST:PORT")]
    sentinels: Vec<String>,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 120)]
    timeout_s: u64,
}

/// The options of `status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Status {
    /// Sentinels to ask, the first that answers counts
    #[arg(long, value_delimiter = ',', default_values = [
        "127.0.0.1:26379", "127.0.0.1:26380", "127.0.0.1:26381"
    ])]
    sentinels: Vec<String>,
    /// Print it as the sentinel gave it
    #[arg(long)]
    json: bool,
    /// Go on, every so many seconds (1 if none are given), until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<f64>,
}

/// Runs one of them.
pub(crate) fn run(command: &Command) -> ExitCode {
    let result = match command {
        Command::Up(up) => up::up(up),
        Command::Form(form) => form_cluster(form),
        Command::Down(layout) => down(layout),
        Command::Status(status) => status::status(status),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Layout {
    /// Checks that all ports exist and do not overlap.
    fn check(&self) -> anyhow::Result<()> {
        let nodes = u32::from(self.port)..u32::from(self.port) + self.node_count();
        let sentinels = u32::from(self.sentinel_port)
            ..u32::from(self.sentinel_port) + u32::from(self.sentinels);
        let offset = u32::from(slotward_types::GRPC_PORT_OFFSET);
        let grpc = sentinels.start + offset..sentinels.end + offset;
        anyhow::ensure!(nodes.end.max(grpc.end) <= 65_536, "these ports go beyond 65535");
        for (whose, ports) in [("the sentinels", sentinels), ("the sentinels' gRPC", grpc)] {
            anyhow::ensure!(
                nodes.end <= ports.start || ports.end <= nodes.start,
                "the ports of the nodes ({nodes:?}) and of {whose} ({ports:?}) overlap"
            );
        }
        Ok(())
    }

    fn node_count(&self) -> u32 {
        u32::from(self.masters) * (1 + u32::from(self.replicas))
    }

    /// The sentinels' processes.
    fn sentinel_instances(&self) -> Vec<Instance> {
        (self.sentinel_port..)
            .take(self.sentinels.into())
            .map(|port| self.instance(Role::Sentinel, port))
            .collect()
    }

    /// The data nodes' processes.
    fn node_instances(&self) -> Vec<Instance> {
        (self.port..)
            .take(self.node_count() as usize)
            .map(|port| self.instance(Role::Server, port))
            .collect()
    }

    fn instance(&self, role: Role, port: u16) -> Instance {
        let name = match role {
            Role::Server => format!("node-{port}"),
            Role::Sentinel => format!("sentinel-{port}"),
        };
        Instance { role, host: self.host.clone(), port, dir: self.dir.join(name) }
    }

    /// The sentinels' addresses as settings name them.
    fn sentinel_list(&self) -> String {
        let addresses: Vec<String> =
            self.sentinel_instances().iter().map(Instance::address).collect();
        addresses.join(" ")
    }
}

fn form_cluster(options: &Form) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(options.timeout_s);
    let progress = progress::Progress::new("Cluster", form::STEPS);
    let Form { nodes, sentinels, masters, .. } = options;
    let masters = usize::from(*masters);
    form::Forming { nodes, sentinels, masters, deadline }.run(&progress)?;
    progress.finish("The cluster is formed.");
    say(&status::table(sentinels)?)
}

fn down(layout: &Layout) -> anyhow::Result<()> {
    let instances = [layout.node_instances(), layout.sentinel_instances()].concat();
    let running: Vec<(&Instance, u32)> =
        instances.iter().filter_map(|instance| Some((instance, instance.pid()?))).collect();
    if running.is_empty() {
        return say("Nothing of this cluster is running.");
    }
    let progress = progress::Progress::new("Stopping", running.len());
    // Nodes first, all at once: a master of a cluster that goes down has nobody to hand over to.
    let (nodes, sentinels): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|(instance, _)| instance.role == Role::Server);
    for group in [nodes, sentinels] {
        for (_, pid) in &group {
            process::terminate(*pid);
        }
        for (instance, pid) in group {
            let deadline = Instant::now() + Duration::from_secs(20);
            if !process::wait_until(deadline, || instance.pid() != Some(pid)) {
                process::kill(pid);
                process::wait_until(deadline + PATIENCE, || instance.pid() != Some(pid));
                progress
                    .note(&format!("{} did not stop when asked and was killed", instance.name()));
            }
            instance.forget();
            progress.done(&instance.name());
        }
    }
    progress.finish("Stopped.");
    Ok(())
}

/// Prints a line.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    // A reader that went away (`| head`) is no failure of ours.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}
