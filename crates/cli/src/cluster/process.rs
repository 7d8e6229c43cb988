//! The processes of a cluster on this machine: finding, starting and stopping them.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::roles::Role;

/// How often a condition is looked at while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One process: what it is, where it serves, where it keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) role: Role,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
}

impl Instance {
    /// What to call it in messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.role.name(), self.port)
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The file its output goes to.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The process that runs as this instance. A pid file alone proves nothing, since the number
    /// may have been given to another process: its command line must name our port and folder.
    pub(crate) fn pid(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<&[u8]> = command.split(|&byte| byte == 0).collect();
        let port = self.port.to_string();
        let has = |option: &[u8], value: &[u8]| {
            words.windows(2).any(|pair| pair[0] == option && pair[1] == value)
        };
        let dir = fs::canonicalize(&self.dir).ok()?;
        let ours =
            has(b"--port", port.as_bytes()) && has(b"--dir", dir.to_string_lossy().as_bytes());
        ours.then_some(pid)
    }

    /// Whether anybody at all accepts connections on its port.
    pub(crate) fn port_is_open(&self) -> bool {
        let Ok(mut addresses) = self.address().to_socket_addrs() else { return false };
        addresses.any(|address| TcpStream::connect_timeout(&address, super::PATIENCE).is_ok())
    }

    /// Whether it answers commands.
    pub(crate) fn answers(&self) -> bool {
        let answer = Client::connect(&self.address(), super::PATIENCE)
            .and_then(|mut client| client.text(&["PING"]));
        answer.is_ok_and(|text| text == "PONG")
    }

    /// Starts it detached from us: its own process group, its output in its log.
    pub(crate) fn start(&self, options: &[String]) -> anyhow::Result<Child> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("making the folder {}", self.dir.display()))?;
        let dir = fs::canonicalize(&self.dir)?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("opening {}", self.log().display()))?;
        let program = std::env::current_exe().context("finding this program")?;
        let child = Command::new(program)
            .arg(self.role.name())
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(&dir)
            .args(["--bind", &self.host])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.name()))?;
        fs::write(self.pid_file(), format!("{}\n", child.id()))?;
        Ok(child)
    }

    /// Forgets a process that has ended.
    pub(crate) fn forget(&self) {
        // Nothing depends on it: a stale file is recognised by the command line.
        let _ = fs::remove_file(self.pid_file());
    }

    /// The last lines of its log, for a message about its end.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

/// Ends a process at once.
pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile, which is what we want anyway.
        let _ = kill_process(pid, signal);
    }
}

/// Waits until the condition holds; false if the deadline came first.
pub(crate) fn wait_until(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}
