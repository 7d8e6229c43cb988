//! The start of a data node or a sentinel: settings from all their sources, logging, pid file.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use slotward_config::{CommandLine, Config, Settings, Sources, load, parse_command_line};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::roles::Role;

/// Configuration files beyond this size are refused.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Starts a data node or a sentinel with these arguments and runs it until it is stopped.
pub(crate) fn run(role: Role, arguments: &[String]) -> ExitCode {
    match try_run(role, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may be a file; whoever started the process looks at its standard error.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(role: Role, arguments: &[String]) -> anyhow::Result<()> {
    let (role, config, file) = match parse_command_line(arguments).map_err(anyhow::Error::msg)? {
        CommandLine::Version => return say(&version(role)),
        CommandLine::Help => return say(&help(role)),
        CommandLine::Start { file, stdin, sentinel, directives } => {
            let role = if sentinel { Role::Sentinel } else { role };
            let config = settings(role, file.as_deref(), stdin, &directives)?;
            if stdin && config.settings().daemonize {
                bail!("daemonize cannot be combined with options from the standard input");
            }
            (role, config, file.unwrap_or_default())
        }
    };
    if config.settings().daemonize {
        return detach(role, arguments);
    }
    // The process changes into its folder.
    let file = fs::canonicalize(&file).map_or(file, |path| path.display().to_string());
    let config = find_gateway(prepare_folder(config)?)?;
    let settings = Arc::clone(config.settings());
    log_to(&settings)?;
    // A data node keeps its own.
    let _pid_file = match role {
        Role::Server => None,
        Role::Sentinel => PidFile::write(&settings.pidfile)?,
    };
    for name in config.without_effect() {
        tracing::warn!("the option '{name}' is accepted and kept, but has no effect yet");
    }
    tracing::info!(
        "Slotward {} {} starting, PID: {}",
        env!("CARGO_PKG_VERSION"),
        role.name(),
        std::process::id()
    );
    role.serve(config, &file).inspect_err(|error| tracing::error!("{error:#}"))
}

fn say(text: &str) -> anyhow::Result<()> {
    // A reader that went away (`| head`) is no failure of ours.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

/// In the form that tools look for: `… v=7.2.4 …`.
fn version(role: Role) -> String {
    format!(
        "Slotward {} v=7.2.4 slotward_version={} malloc=jemalloc bits={}",
        role.name(),
        env!("CARGO_PKG_VERSION"),
        usize::BITS
    )
}

fn help(role: Role) -> String {
    let name = role.name();
    format!(
        "Usage: slotward {name} [FILE] [--OPTION VALUE...]... [-]\n\
         \x20      slotward {name} -v | --version\n\
         \x20      slotward {name} -h | --help\n\n\
         FILE has the syntax of redis.conf, or is YAML if its name ends in .yaml or .yml; - reads\n\
         more of it from the standard input. Environment variables SLOTWARD_OPTION come after the\n\
         file, options after both. docs/configuration.md lists the options.\n\n\
         Examples:\n\
         \x20 slotward {name} redis.conf --port 7777\n\
         \x20 slotward {name} --port 7777 --maxmemory 1gb\n\
         \x20 echo 'maxmemory 128mb' | slotward {name} -"
    )
}

fn settings(
    role: Role,
    file: Option<&str>,
    stdin: bool,
    directives: &[Vec<String>],
) -> anyhow::Result<Config> {
    let mut piped = String::new();
    if stdin {
        let standard_input = std::io::stdin().take(FILE_BYTES_MAX);
        std::io::BufReader::new(standard_input)
            .read_to_string(&mut piped)
            .context("reading options from the standard input")?;
    }
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources {
        file,
        stdin: stdin.then_some(piped.as_str()),
        environment: &environment,
        directives,
        read: &mut read_files,
    };
    Ok(load(role.defaults(), sources)?)
}

/// The text of a file, or of all files that a pattern means.
fn read_files(path: &str) -> Result<Vec<(String, String)>, String> {
    if !path.contains(['*', '?', '[']) {
        return Ok(vec![(path.to_owned(), read_file(path)?)]);
    }
    let path = Path::new(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let pattern = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| slotward_types::glob_match(pattern.as_bytes(), name.as_bytes()))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| folder.join(name).display().to_string())
        .map(|path| read_file(&path).map(|text| (path, text)))
        .collect()
}

fn read_file(path: &str) -> Result<String, String> {
    let say = |error: std::io::Error| format!("{path}: {error}");
    let file = fs::File::open(path).map_err(say)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(say)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{path}: longer than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Makes `dir` absolute and sees that it can be written to.
fn prepare_folder(mut config: Config) -> anyhow::Result<Config> {
    let dir = config.settings().dir.clone();
    let complain = || format!("the folder '{dir}' (option 'dir') cannot be used");
    fs::create_dir_all(&dir).with_context(complain)?;
    let absolute = fs::canonicalize(&dir).with_context(complain)?;
    let probe = absolute.join(format!(".writable-{}", std::process::id()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).with_context(complain)?;
    let text = absolute.to_str().with_context(|| format!("'{dir}' is no UTF-8 path"))?;
    config.resolve("dir", text).with_context(complain)?;
    Ok(config)
}

/// Puts the addresses of this machine's gateways where `announce-to` names them.
fn find_gateway(mut config: Config) -> anyhow::Result<Config> {
    let rules = &config.settings().announce_to;
    if !rules.needs_gateway() {
        return Ok(config);
    }
    // Where there is no such file there is no route either, or none that we can know of.
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let rules = rules.with_gateways(&gateways(&routes));
    config.resolve("announce-to", &rules.to_string()).map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// The routers of the default routes of `/proc/net/route`: lines of interface, destination,
/// gateway, flags, …, numbers in hexadecimal, addresses as the bytes stand in memory.
fn gateways(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, "00000000", gateway, ..] = words.as_slice() else { return None };
        let bytes = u32::from_str_radix(gateway, 16).ok().filter(|&bytes| bytes != 0)?;
        Some(Ipv4Addr::from(bytes.to_ne_bytes()).into())
    };
    routes.lines().skip(1).filter_map(gateway).collect()
}

/// Libraries whose everyday messages say nothing to an operator.
const TALKATIVE: &[&str] = &["openraft", "h2", "hyper", "hyper_util", "tonic", "tower"];

fn log_to(settings: &Settings) -> anyhow::Result<()> {
    let (level, others) = match settings.loglevel {
        "debug" => (LevelFilter::TRACE, LevelFilter::DEBUG),
        "verbose" => (LevelFilter::DEBUG, LevelFilter::INFO),
        "warning" => (LevelFilter::WARN, LevelFilter::ERROR),
        "nothing" => (LevelFilter::OFF, LevelFilter::OFF),
        _ => (LevelFilter::INFO, LevelFilter::ERROR),
    };
    let targets = Targets::new()
        .with_default(level)
        .with_targets(TALKATIVE.iter().map(|target| (*target, others)));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let lines = if settings.logfile.is_empty() {
        lines.with_ansi(std::io::stdout().is_terminal()).boxed()
    } else {
        let path = Path::new(&settings.dir).join(&settings.logfile);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let file =
            file.with_context(|| format!("the log file {} cannot be opened", path.display()))?;
        lines.with_ansi(false).with_writer(Mutex::new(file)).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    Ok(())
}

/// Starts the same again in a process group of its own, without terminal, and returns.
fn detach(role: Role, arguments: &[String]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    Command::new(program)
        .arg(role.name())
        .args(arguments)
        .args(["--daemonize", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the detached process")?;
    Ok(())
}

/// The file with our process id, removed when the process ends in good order.
struct PidFile<'a>(&'a str);

impl PidFile<'_> {
    fn write(path: &str) -> anyhow::Result<Option<PidFile<'_>>> {
        if path.is_empty() {
            return Ok(None);
        }
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("the pid file {path} cannot be written"))?;
        Ok(Some(PidFile(path)))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_found_in_the_routes() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
        let gateway = u32::from_ne_bytes([172, 30, 0, 1]);
        let routes = format!(
            "{head}eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\n\
             eth0\t{:08X}\t00000000\t0001\t0\t0\t0\t0000FFFF\n",
            u32::from_ne_bytes([172, 30, 0, 0])
        );
        assert_eq!(gateways(&routes), [IpAddr::from([172, 30, 0, 1])]);
        assert!(gateways(head).is_empty());
        assert!(gateways("nonsense\nx 00000000 zz\n").is_empty());
    }
}
