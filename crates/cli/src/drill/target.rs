//! What is done to a process: on this machine by signals, elsewhere by a command of the operator's.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::route::connect;
use super::undo::{Step, Undo};
use crate::cluster::process::wait_until;

/// How long a process that was told to end may take: what a container's runtime grants.
const END_WAIT: Duration = Duration::from_secs(10);

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// `SIGTERM`.
    Stop,
    /// `SIGKILL`.
    Kill,
    /// Run it again as it ran before.
    Start,
    /// `SIGSTOP`.
    Freeze,
    /// `SIGCONT`.
    Thaw,
    /// Cut it off from the other nodes and the sentinels.
    Isolate,
    /// The contrary.
    Heal,
}

impl Action {
    /// The word that a command of the operator's is given.
    pub(super) fn word(self) -> &'static str {
        match self {
            Action::Stop => "stop",
            Action::Kill => "kill",
            Action::Start => "start",
            Action::Freeze => "freeze",
            Action::Thaw => "thaw",
            Action::Isolate => "isolate",
            Action::Heal => "heal",
        }
    }
}

/// A node or a sentinel that something is done to.
pub(super) struct Target {
    /// Where it serves.
    pub(super) address: String,
    hands: Hands,
}

enum Hands {
    Local(Box<Local>),
    /// Words of a command; the action and the address are put in.
    Hook(Vec<String>),
}

/// A process of this machine, and all that is needed to start it again.
struct Local {
    pid: u32,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    output: Option<PathBuf>,
    /// If we started it.
    child: Option<Child>,
}

impl Target {
    /// The process that serves at this address; with a `hook`, whoever the hook takes it for.
    ///
    /// # Errors
    /// When there is no hook and the process is not one of this machine.
    pub(super) fn find(
        address: &str,
        password: Option<&str>,
        hook: Option<&[String]>,
    ) -> anyhow::Result<Target> {
        let hands = match hook {
            Some(words) => Hands::Hook(words.to_vec()),
            None => Hands::Local(Box::new(Local::find(address, password).with_context(|| {
                format!("{address} is not a process of this machine; --exec says how to reach it")
            })?)),
        };
        Ok(Target { address: address.to_owned(), hands })
    }

    /// Does it. Returns when it is done; the exit status of a process that was stopped, if it was
    /// ours.
    ///
    /// # Errors
    /// When it cannot be done, or a process does not end when told to.
    pub(super) fn act(&mut self, action: Action, undo: &Undo) -> anyhow::Result<Option<i32>> {
        let mend = match action {
            Action::Freeze => Some(Action::Thaw),
            Action::Isolate => Some(Action::Heal),
            _ => None,
        };
        if let Some(mend) = mend {
            let step: Step = match &self.hands {
                Hands::Local(local) => {
                    let pid = local.pid;
                    Box::new(move || signal(pid, Signal::CONT))
                }
                Hands::Hook(words) => {
                    let (words, address) = (words.clone(), self.address.clone());
                    Box::new(move || run_hook(&words, mend, &address).map(drop))
                }
            };
            undo.add(&self.address, step);
        }
        let done = match &mut self.hands {
            Hands::Local(local) => local.act(action),
            Hands::Hook(words) => run_hook(words, action, &self.address),
        }
        .with_context(|| format!("{} {}", action.word(), self.address))?;
        if matches!(action, Action::Thaw | Action::Heal) {
            undo.done(&self.address);
        }
        Ok(done)
    }
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(raw, signal).with_context(|| format!("signalling process {pid}"))
}

fn run_hook(words: &[String], action: Action, address: &str) -> anyhow::Result<Option<i32>> {
    let with = |word: &String| word.replace("{action}", action.word()).replace("{node}", address);
    // A command without places for them gets both at its end.
    let appended = !words.iter().any(|word| word.contains("{action}") || word.contains("{node}"));
    let mut words: Vec<String> = words.iter().map(with).collect();
    if appended {
        words.extend([action.word().to_owned(), address.to_owned()]);
    }
    let [program, arguments @ ..] = words.as_slice() else { bail!("--exec names no command") };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(None)
}

impl Local {
    fn find(address: &str, password: Option<&str>) -> anyhow::Result<Local> {
        let mut client = connect(address, password, Duration::from_secs(2))?;
        let info = client.text(&["INFO", "server"])?;
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let pid: u32 = field("process_id").context("no process_id in INFO")?.parse()?;
        let at = PathBuf::from(format!("/proc/{pid}"));
        let arguments = split_zero(&fs::read(at.join("cmdline"))?);
        // A process of this number may be another machine's in truth: ours knows its port or file.
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let names_port = arguments.iter().any(|word| word.as_bytes() == port.as_bytes());
        let file = field("config_file").unwrap_or_default();
        ensure!(names_port || !file.is_empty(), "process {pid} does not serve at this address");
        let pairs = split_zero(&fs::read(at.join("environ"))?);
        let environment = pairs.iter().filter_map(|pair| {
            let at = pair.as_bytes().iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.as_bytes().split_at(at);
            Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value[1..].to_vec())))
        });
        let output = fs::read_link(at.join("fd/1")).ok().filter(|path| path.is_file());
        Ok(Local {
            pid,
            program: fs::read_link(at.join("exe"))?,
            environment: environment.collect(),
            folder: fs::read_link(at.join("cwd"))?,
            output,
            arguments,
            child: None,
        })
    }

    fn act(&mut self, action: Action) -> anyhow::Result<Option<i32>> {
        match action {
            Action::Stop => {
                self.signal(Signal::TERM)?;
                return self.await_end();
            }
            Action::Kill => {
                self.signal(Signal::KILL)?;
                self.await_end()?;
            }
            Action::Start => self.start()?,
            Action::Freeze => self.signal(Signal::STOP)?,
            Action::Thaw => self.signal(Signal::CONT)?,
            Action::Isolate | Action::Heal => {
                bail!("a process of this machine cannot be cut off by itself: use --exec")
            }
        }
        Ok(None)
    }

    fn signal(&self, with: Signal) -> anyhow::Result<()> {
        signal(self.pid, with)
    }

    fn await_end(&mut self) -> anyhow::Result<Option<i32>> {
        let mut code = None;
        let deadline = Instant::now() + END_WAIT;
        let ended = wait_until(deadline, || match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(Some(status)) => {
                    code = status.code();
                    true
                }
                Ok(None) | Err(_) => false,
            },
            None => !is_running(self.pid),
        });
        ensure!(ended, "process {} did not end within {} s", self.pid, END_WAIT.as_secs());
        self.child = None;
        Ok(code)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(program_again(&self.program));
        let [name, arguments @ ..] = self.arguments.as_slice() else { bail!("no command line") };
        command.arg0(name).args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0);
        match &self.output {
            Some(path) => {
                let log = fs::OpenOptions::new().append(true).open(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        let child =
            command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let before = std::mem::replace(&mut self.pid, child.id());
        self.child = Some(child);
        self.tell_pid_file(before);
        Ok(())
    }

    /// `slotward cluster up` finds its processes by a file beside their data.
    fn tell_pid_file(&self, before: u32) {
        let dir = self.arguments.windows(2).find(|pair| pair[0] == "--dir");
        let Some(path) = dir.map(|pair| self.folder.join(&pair[1]).join("pid")) else { return };
        let old = fs::read_to_string(&path).unwrap_or_default();
        if old.trim() == before.to_string() {
            // If it fails, `down` says what it could not find.
            let _ = fs::write(path, format!("{}\n", self.pid));
        }
    }
}

/// A program that was replaced while it ran is called `… (deleted)`: the new one has its name.
fn program_again(program: &Path) -> PathBuf {
    let text = program.as_os_str().as_bytes();
    let name = text.strip_suffix(b" (deleted)").unwrap_or(text);
    PathBuf::from(OsString::from_vec(name.to_vec()))
}

/// Whether the process runs; one that has ended and that nobody has waited for does not.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

fn split_zero(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_told_the_action_and_the_node() {
        let hook = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            run_hook(&words, Action::Kill, "h:7000")
        };
        assert!(hook("test {action}{node} = killh:7000").is_ok());
        assert!(hook("sh -c exit_1").is_err(), "what fails is an error");
        let appended = ["sh", "-c", "test $0$1 = killh:7000"].map(str::to_owned);
        assert!(run_hook(&appended, Action::Kill, "h:7000").is_ok());
    }

    #[test]
    fn a_process_that_ended_does_not_run() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(wait_until(Instant::now() + END_WAIT, || !is_running(pid)));
        child.wait().unwrap();
        assert!(is_running(std::process::id()));
    }
}
