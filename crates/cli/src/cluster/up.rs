//! `slotward cluster up`: whatever is not running is started, whatever is not formed is formed.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::form::{self, Forming, Place};
use super::process::{Instance, wait_until};
use super::progress::Progress;
use super::{Layout, Up, say, status};

/// Brings the cluster up and returns when it serves.
pub(crate) fn up(options: &Up) -> anyhow::Result<()> {
    let layout = &options.layout;
    layout.check()?;
    let deadline = Instant::now() + Duration::from_secs(options.timeout_s);
    fs::create_dir_all(&layout.dir)
        .with_context(|| format!("making the folder {}", layout.dir.display()))?;
    let _alone = lock(layout)?;

    let sentinels = layout.sentinel_instances();
    let nodes = layout.node_instances();
    let all = [sentinels.as_slice(), nodes.as_slice()].concat();
    refuse_taken_ports(&all)?;

    let progress = Progress::new("Cluster", all.len() + form::STEPS);
    let sentinel_options = sentinel_options(layout, &options.sentinel_options)?;
    let node_options = node_options(layout, &options.node_options)?;
    let mut started = start_missing(&sentinels, &sentinel_options)?;
    started.extend(start_missing(&nodes, &node_options)?);
    let count = started.len();
    for instance in &all {
        progress.waiting(&format!("waiting for {}", instance.name()));
        await_answer(instance, &mut started, deadline)?;
        progress.done(&format!("{} answers", instance.name()));
    }
    let addresses: Vec<String> = sentinels.iter().map(Instance::address).collect();
    let masters = layout.masters.into();
    let places: Vec<Place> = nodes.iter().map(Place::from).collect();
    Forming { nodes: &places, sentinels: &addresses, masters, deadline }.run(&progress)?;
    progress.finish(&match count {
        0 => "The cluster was already running.".to_owned(),
        count if count == all.len() => "The cluster is up.".to_owned(),
        count => format!("The cluster is up; {count} missing processes were started."),
    });
    print_result(layout, &addresses)
}

/// Two runs of `up` on one folder would start everything twice.
fn lock(layout: &Layout) -> anyhow::Result<fs::File> {
    let path = layout.dir.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!("another `slotward cluster up` is at work on {}", layout.dir.display());
    }
    Ok(file)
}

/// How long a process that has just been killed may still hold its port.
const ENDING: Duration = Duration::from_secs(2);

fn refuse_taken_ports(instances: &[Instance]) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    let free = wait_until(Instant::now() + ENDING, || {
        taken = instances
            .iter()
            .filter(|instance| instance.pid().is_none() && instance.port_is_open())
            .map(|instance| format!("port {} (for {})", instance.port, instance.name()))
            .collect();
        taken.is_empty()
    });
    if !free {
        bail!(
            "taken by something that this cluster did not start: {}. Stop it, or choose other \
             ports with --port and --sentinel-port",
            taken.join(", ")
        );
    }
    Ok(())
}

fn sentinel_options(layout: &Layout, more: &[String]) -> anyhow::Result<Vec<String>> {
    let mut options = vec!["--peers".to_owned(), layout.sentinel_list()];
    add_lines(&mut options, more)?;
    Ok(options)
}

fn node_options(layout: &Layout, more: &[String]) -> anyhow::Result<Vec<String>> {
    let mut options: Vec<String> = ["--cluster-enabled", "yes"].map(str::to_owned).into();
    options.extend(["--sentinels".to_owned(), layout.sentinel_list()]);
    options.extend(["--announce-ip".to_owned(), layout.host.clone()]);
    add_lines(&mut options, more)?;
    Ok(options)
}

fn add_lines(options: &mut Vec<String>, lines: &[String]) -> anyhow::Result<()> {
    for line in lines {
        let words = slotward_config::split_words(line).with_context(|| format!("in '{line}'"))?;
        let [name, values @ ..] = words.as_slice() else { bail!("an empty option") };
        options.push(format!("--{name}"));
        options.extend_from_slice(values);
    }
    Ok(())
}

fn start_missing(instances: &[Instance], options: &[String]) -> anyhow::Result<Vec<(u16, Child)>> {
    instances
        .iter()
        .filter(|instance| instance.pid().is_none())
        .map(|instance| Ok((instance.port, instance.start(options)?)))
        .collect()
}

/// Waits until it answers, or says what it said when it ended.
fn await_answer(
    instance: &Instance,
    started: &mut [(u16, Child)],
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut child = started.iter_mut().find(|(port, _)| *port == instance.port);
    let mut ended = None;
    let answered = wait_until(deadline, || {
        ended = child.as_mut().and_then(|(_, child)| child.try_wait().ok().flatten());
        ended.is_some() || instance.answers()
    });
    let log = instance.log();
    match ended {
        Some(status) => {
            bail!("{} ended at once ({status}):\n{}", instance.name(), instance.last_words())
        }
        None if answered => Ok(()),
        None => bail!("{} does not answer; its log is {}", instance.name(), log.display()),
    }
}

fn print_result(layout: &Layout, sentinels: &[String]) -> anyhow::Result<()> {
    say(&status::table(sentinels)?)?;
    let (host, port) = (&layout.host, layout.port);
    let stop = if layout.dir.as_os_str() == "data" { "make down" } else { "slotward cluster down" };
    say(&format!(
        "Connect:  redis-cli -c -h {host} -p {port}\n\
         Check:    redis-cli --cluster check {host}:{port}\n\
         Watch:    slotward cluster status --watch\n\
         Stop:     {stop}\n\
         Data and logs are in {}.",
        layout.dir.display()
    ))
}
