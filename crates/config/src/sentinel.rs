//! The lines of `sentinel.conf` that begin with `sentinel`: which masters are watched, and how.

use crate::Kind;
use crate::field::{BadValue, Field};
use crate::values::SentinelAddress;

/// A master that the sentinels watch, as `sentinel monitor` and its relatives tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Its name, by which clients ask for it.
    pub name: String,
    /// Where it is first looked for: a host…
    pub host: String,
    /// …and a port.
    pub port: u16,
    /// How many sentinels at least form a group.
    pub quorum: u32,
    /// Who the sentinels are to it; empty is the default user.
    pub user: String,
    /// The password given to it; empty gives none.
    pub password: String,
    /// Milliseconds of silence after which it counts as down.
    pub down_after_ms: Option<u64>,
}

/// All such lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SentinelLines {
    /// The masters, in the order of the file.
    pub monitors: Vec<Monitor>,
    /// Sentinels that are known to be (or to have been) there.
    pub known: Vec<SentinelAddress>,
    /// The host by which others reach this sentinel; empty finds out.
    pub announce_ip: String,
    /// The port by which others reach it; 0 is the one it listens on.
    pub announce_port: u16,
    /// Whether masters are announced by the names they are watched under.
    pub announce_hostnames: bool,
    lines: Vec<Vec<String>>,
}

type Take = fn(&mut SentinelLines, &[String]) -> Result<(), BadValue>;

/// A kind of line: the word behind `sentinel`, how many words follow it, and what it does.
struct Row(&'static str, std::ops::RangeInclusive<usize>, Take);

/// Accepted, so that existing files load, and without effect here.
const IGNORED: Take = |_, _| Ok(());

const ROWS: &[Row] = &[
    Row("monitor", 4..=4, monitor),
    Row("down-after-milliseconds", 2..=2, |lines, words| {
        lines.named(&words[0])?.down_after_ms = Some(positive(&words[1])?);
        Ok(())
    }),
    Row("auth-pass", 2..=2, |lines, words| {
        lines.named(&words[0])?.password.clone_from(&words[1]);
        Ok(())
    }),
    Row("auth-user", 2..=2, |lines, words| {
        lines.named(&words[0])?.user.clone_from(&words[1]);
        Ok(())
    }),
    Row("announce-ip", 1..=1, |lines, words| {
        lines.announce_ip.clone_from(&words[0]);
        Ok(())
    }),
    Row("announce-port", 1..=1, |lines, words| {
        lines.announce_port =
            words[0].parse().map_err(|_| BadValue::other("Invalid port number"))?;
        Ok(())
    }),
    Row("announce-hostnames", 1..=1, |lines, words| {
        lines.announce_hostnames = yes_no(&words[0])?;
        Ok(())
    }),
    // Names are resolved whenever a connection is made, whatever this says.
    Row("resolve-hostnames", 1..=1, |_, words| yes_no(&words[0]).map(drop)),
    Row("known-sentinel", 3..=4, |lines, words| {
        lines.named(&words[0])?;
        let address = SentinelAddress::parse(&format!("{}:{}", words[1], words[2]))?;
        if !lines.known.contains(&address) {
            lines.known.push(address);
        }
        Ok(())
    }),
    // One failover at a time, of a leader that starts over by itself; replicas are not made to wait.
    Row("failover-timeout", 2..=2, |lines, words| {
        lines.named(&words[0])?;
        positive(&words[1]).map(drop)
    }),
    Row("parallel-syncs", 2..=2, |lines, words| {
        lines.named(&words[0])?;
        positive(&words[1]).map(drop)
    }),
    Row("master-reboot-down-after-period", 2..=2, IGNORED),
    Row("notification-script", 2..=2, IGNORED),
    Row("client-reconfig-script", 2..=2, IGNORED),
    Row("deny-scripts-reconfig", 1..=1, IGNORED),
    Row("rename-command", 3..=3, IGNORED),
    Row("sentinel-user", 1..=1, IGNORED),
    Row("sentinel-pass", 1..=1, IGNORED),
    // What Redis's sentinels write into the file for themselves; ours keep it in `dir`.
    Row("myid", 1..=1, IGNORED),
    Row("current-epoch", 1..=1, IGNORED),
    Row("config-epoch", 2..=2, IGNORED),
    Row("leader-epoch", 2..=2, IGNORED),
    Row("known-replica", 3..=3, IGNORED),
    Row("known-slave", 3..=3, IGNORED),
];

fn monitor(lines: &mut SentinelLines, words: &[String]) -> Result<(), BadValue> {
    let [name, host, port, quorum] = words else { return Err(BadValue::WrongCount) };
    if lines.monitors.iter().any(|known| known.name == *name) {
        return Err(BadValue::other("Duplicate master name."));
    }
    let port = match port.parse() {
        Ok(port @ 1..) => port,
        _ => return Err(BadValue::other("Invalid port number")),
    };
    let quorum = match quorum.parse() {
        Ok(quorum @ 1..) => quorum,
        _ => return Err(BadValue::other("Quorum must be 1 or greater.")),
    };
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(name_byte) {
        return Err(BadValue::other("a master's name is made of letters, digits and .-_"));
    }
    lines.monitors.push(Monitor {
        name: name.clone(),
        host: host.clone(),
        port,
        quorum,
        user: String::new(),
        password: String::new(),
        down_after_ms: None,
    });
    Ok(())
}

fn positive(word: &str) -> Result<u64, BadValue> {
    match word.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(BadValue::other("negative or zero time parameter.")),
    }
}

fn yes_no(word: &str) -> Result<bool, BadValue> {
    match word {
        _ if word.eq_ignore_ascii_case("yes") => Ok(true),
        _ if word.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(BadValue::NotBool),
    }
}

impl SentinelLines {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn named(&mut self, name: &str) -> Result<&mut Monitor, BadValue> {
        let found = self.monitors.iter_mut().find(|monitor| monitor.name == name);
        found.ok_or_else(|| BadValue::other("No such master with specified name."))
    }
}

impl Field for SentinelLines {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        let [kind, rest @ ..] = words else { return Err(BadValue::WrongCount) };
        if kind.is_empty() && rest.is_empty() {
            *self = SentinelLines::default();
            return Ok(());
        }
        let Row(_, count, take) = ROWS
            .iter()
            .find(|Row(name, ..)| name.eq_ignore_ascii_case(kind))
            .ok_or_else(|| BadValue::other("Unrecognized sentinel configuration statement."))?;
        if !count.contains(&rest.len()) {
            return Err(BadValue::WrongCount);
        }
        take(self, rest)?;
        self.lines.push(words.to_vec());
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let lines: Vec<String> = self.lines.iter().map(|line| line.join(" ")).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<SentinelLines, BadValue> {
        let mut read = SentinelLines::default();
        for line in lines {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            read.update(Kind::Lines, &words, false)?;
        }
        Ok(read)
    }

    #[test]
    fn a_usual_file() {
        let lines = read(&[
            "monitor mymaster redis-master 6379 2",
            "resolve-hostnames yes",
            "announce-hostnames yes",
            "down-after-milliseconds mymaster 5000",
            "auth-pass mymaster secret",
            "failover-timeout mymaster 60000",
            "known-sentinel mymaster 10.0.0.2 26379 0123456789012345678901234567890123456789",
        ])
        .unwrap();
        let [monitor] = &lines.monitors[..] else { panic!("{lines:?}") };
        assert_eq!(
            (monitor.host.as_str(), monitor.port, monitor.quorum),
            ("redis-master", 6379, 2)
        );
        assert_eq!((monitor.down_after_ms, monitor.password.as_str()), (Some(5000), "secret"));
        assert!(lines.announce_hostnames);
        assert_eq!(lines.known[0].grpc_port, 27_379);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (why, lines, want) in [
            ("no quorum", &["monitor m h 1 0"][..], "Quorum must be 1 or greater."),
            ("no port", &["monitor m h x 1"], "Invalid port number"),
            ("twice", &["monitor m h 1 1", "monitor m g 1 1"], "Duplicate master name."),
            (
                "a name",
                &["monitor a/b h 1 1"],
                "a master's name is made of letters, digits and .-_",
            ),
            ("unknown", &["frobnicate 1"], "Unrecognized sentinel configuration statement."),
            ("before monitor", &["auth-pass m x"], "No such master with specified name."),
            ("too few words", &["monitor m h 1"], "wrong number of arguments"),
            (
                "no time",
                &["monitor m h 1 1", "down-after-milliseconds m 0"],
                "negative or zero time parameter.",
            ),
        ] {
            assert_eq!(read(lines).unwrap_err().to_string(), want, "{why}");
        }
    }
}
