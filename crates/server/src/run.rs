//! The life of a data node, from its settings to its end.

use std::fs;
use std::io::Read;
use std::sync::Arc;

use anyhow::Context;
use slotward_cluster::{SlotMap, Topology};
use slotward_config::{Config, Settings};
use tokio::sync::mpsc;

use crate::listen::{self, Listener};
use crate::node::{Node, Origin};
use crate::{VERSION, clock, control, replication, timers, worker};

/// Descriptors the process needs beside its clients'.
const DESCRIPTORS_OF_OUR_OWN: u64 = 128;

/// Runs a data node until a signal or `SHUTDOWN` ends it. `config_file` is where the settings came
/// from, empty if from nowhere.
///
/// # Errors
/// When the node cannot start: a port in use, a folder that cannot be written.
pub fn run(config: Config, config_file: &str) -> anyhow::Result<()> {
    clock::start();
    let settings = config.settings().clone();
    anyhow::ensure!(
        !settings.daemonize,
        "daemonize yes is not supported: start the process under a supervisor, or in the background \
         of a shell"
    );
    fs::create_dir_all(&settings.dir)
        .and_then(|()| std::env::set_current_dir(&settings.dir))
        .with_context(|| format!("Can't chdir to '{}'", settings.dir))?;
    let listeners = listen::open(&settings)?;
    let descriptors = raise_descriptors(u64::from(settings.maxclients) + DESCRIPTORS_OF_OUR_OWN);
    if descriptors < u64::from(settings.maxclients) + DESCRIPTORS_OF_OUR_OWN {
        tracing::warn!(
            "the system allows only {descriptors} open files: maxclients {} is out of reach",
            settings.maxclients
        );
    }
    let attended = control::attended(&settings)?;
    let workers = worker_count(&settings);
    let node = Node::new(Origin {
        config,
        config_file: config_file.to_owned(),
        workers,
        seed: random_seed()?,
        slot_map: SlotMap::new(Arc::new(Topology::default()), None),
        attended,
    })?;
    announce(&node);
    let pid_file = PidFile::write(&settings)?;
    let threads = start_workers(&node, workers)?;
    replication::start(&node);
    control::start(&node)?;
    let port = settings.port;
    serve(&node, listeners);
    tracing::info!("Ready to accept connections tcp (port {port}, {workers} workers)");
    wait_for_the_end(&node)?;
    node.shutdown.begin();
    for thread in threads {
        anyhow::ensure!(thread.join().is_ok(), "a worker panicked");
    }
    drop(pid_file);
    tracing::warn!("Slotward is now ready to exit, bye bye...");
    Ok(())
}

/// The lines that supervisors and test suites look for at the start.
fn announce(node: &Node) {
    let settings = node.live.load().settings.clone();
    let mode = if settings.cluster_enabled { "cluster" } else { "standalone" };
    let pid = std::process::id();
    let port = settings.port;
    tracing::info!("Slotward {VERSION}, mode {mode}, port {port}, PID: {pid}, Server initialized");
}

/// Threads that serve connections: what the setting says, or three for every four cores.
///
/// Measured with the load generator on the same two cores: one worker takes 0.54 µs per command 16
/// deep and 8.7 µs without pipelining, two take 0.80 and 10.8 (they sleep and wake more often) for
/// the same throughput. The kernel's side of the network, snapshots and the control plane use the
/// cores that are left.
fn worker_count(settings: &Settings) -> usize {
    match settings.io_threads {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (cores * 3 / 4).max(1)
        }
        count => count as usize,
    }
}

fn random_seed() -> anyhow::Result<[u64; 4]> {
    let mut bytes = [0u8; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let mut seed = [0; 4];
    for (word, bytes) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
    }
    Ok(seed)
}

fn start_workers(
    node: &Arc<Node>,
    workers: usize,
) -> anyhow::Result<Vec<std::thread::JoinHandle<()>>> {
    let mut inboxes = Vec::new();
    let mut receivers = Vec::new();
    // One more, that serves no connections: it applies a master's stream.
    for _ in 0..=workers {
        let (inbox, receiver) = mpsc::unbounded_channel();
        inboxes.push(inbox);
        receivers.push(receiver);
    }
    let applier = inboxes.pop().expect("there is at least the applier");
    node.set_workers(inboxes, applier);
    receivers
        .into_iter()
        .enumerate()
        .map(|(index, receiver)| worker::start(node, index, receiver))
        .collect()
}

fn serve(node: &Arc<Node>, listeners: Vec<Listener>) {
    node.spawn_on(0, timers::run);
    for listener in listeners {
        node.spawn_on(0, move |worker| listen::accept(worker, listener));
    }
}

/// Waits on this thread until a signal comes or somebody asks for the end, and until the node has
/// left its shard in order. A second request does not wait for that.
fn wait_for_the_end(node: &Arc<Node>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        loop {
            tokio::select! {
                name = signals.next() => {
                    tracing::warn!("Received {name} scheduling shutdown...");
                    node.shutdown.ask(false);
                }
                () = node.shutdown.asked() => {}
            }
            let cancelled = tokio::select! {
                () = control::stop(node) => false,
                () = node.shutdown.hurried() => false,
                name = signals.next() => {
                    tracing::warn!("Received {name} while shutting down: waiting for nobody");
                    false
                }
                () = node.shutdown.cancelled() => true,
            };
            if !cancelled {
                return Ok(());
            }
            tracing::warn!("Shutdown manually aborted.");
            control::cancel_stop(node);
        }
    })
}

/// The signals that end the process.
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// The name of the next one that comes.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.0.recv() => "SIGTERM",
            _ = self.1.recv() => "SIGINT",
        }
    }
}

/// The process id in a file, which goes when the process ends in order.
struct PidFile(Option<String>);

impl PidFile {
    fn write(settings: &Settings) -> anyhow::Result<PidFile> {
        if settings.pidfile.is_empty() {
            return Ok(PidFile(None));
        }
        let path = settings.pidfile.clone();
        fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write the pidfile {path}"))?;
        Ok(PidFile(Some(path)))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, path, "cannot remove the pidfile");
        }
    }
}

/// Raises the number of files the process may have open to this, as far as allowed; the number
/// that is allowed now.
#[allow(unsafe_code)]
fn raise_descriptors(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable rlimit of this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return wanted;
    }
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), ..limit };
        // SAFETY: the pointer is to a live rlimit of this frame, which is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}
