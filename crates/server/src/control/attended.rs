//! The sentinels that a node attends to because they said so, when its settings name none; and the
//! place where sentinels that watch this node meet before they are a group.
//!
//! ```text
//! slotward-sentinels-PORT   group G / name N / host H / sentinel host:port@grpcport …   (a line each)
//! ```
//!
//! **Invariant:** a node attends to one group for as long as this file exists; the file is on disk
//! before the node attends, so that after a restart it waits for its sentinels and does not serve
//! as a master of its own.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use slotward_config::{SentinelAddress, Settings};

use super::state_file::replace;

/// Sentinels that a node may be told of: more than a group ever has.
const SENTINELS_MAX: usize = 16;
/// Hellos that are kept, and how long one of them: sentinels repeat theirs all the time.
const HELLOS_MAX: usize = 64;
const HELLO_BYTES_MAX: usize = 1024;
const HELLO_AGE_MAX: Duration = Duration::from_secs(15);

/// Whom a node attends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attended {
    /// The name of the sentinels' group.
    pub(crate) group: String,
    /// The name under which they watch this node's shard.
    pub(crate) name: String,
    /// The host by which they know this node; empty leaves that to the node.
    pub(crate) host: String,
    /// Where they are.
    pub(crate) sentinels: Vec<SentinelAddress>,
}

impl Attended {
    /// Checks what a client has said.
    ///
    /// # Errors
    /// The reply's text.
    pub(crate) fn from_words(words: &[String]) -> Result<Attended, String> {
        let [group, name, host, sentinels @ ..] = words else {
            return Err("ERR wrong number of arguments".to_owned());
        };
        let plain = |text: &str, least: usize, bytes: &[u8]| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || bytes.contains(&b))
        };
        if !plain(group, 1, b"") || !plain(name, 1, b"-_.") || !plain(host, 0, b"-_.:[]%") {
            return Err("ERR not a valid name of a group, a shard or a host".to_owned());
        }
        if sentinels.is_empty() || sentinels.len() > SENTINELS_MAX {
            return Err(format!("ERR a group has from 1 to {SENTINELS_MAX} sentinels"));
        }
        let sentinels = sentinels
            .iter()
            .map(|text| SentinelAddress::parse(text).map_err(|error| format!("ERR {error}")))
            .collect::<Result<_, _>>()?;
        let [group, name, host] = [group, name, host].map(Clone::clone);
        Ok(Attended { group, name, host, sentinels })
    }

    /// Whom the settings name, if they do.
    pub(super) fn by_settings(settings: &Settings) -> Option<Attended> {
        (!settings.sentinels.is_empty()).then(|| Attended {
            group: String::new(),
            name: settings.shard_name.clone(),
            host: String::new(),
            sentinels: settings.sentinels.clone(),
        })
    }

    /// What the file of the node at `port` in `dir` says.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(crate) fn read(dir: &Path, port: u16) -> anyhow::Result<Option<Attended>> {
        let path = path(dir, port);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.map(|rest| rest.trim().to_owned()).unwrap_or_default()
        };
        let mut words = vec![value("group "), value("name "), value("host")];
        words.extend(text.lines().filter_map(|l| l.strip_prefix("sentinel ")).map(str::to_owned));
        let damaged =
            |why| anyhow::anyhow!("{} is damaged ({why}): restore it or remove it", path.display());
        Attended::from_words(&words).map(Some).map_err(damaged)
    }

    /// Puts it on disk.
    pub(super) fn write(&self, dir: &Path, port: u16) -> std::io::Result<()> {
        let mut text = format!("group {}\nname {}\nhost {}\n", self.group, self.name, self.host);
        for sentinel in &self.sentinels {
            writeln!(text, "sentinel {sentinel}").expect("a string takes all");
        }
        replace(&path(dir, port), text.as_bytes())
    }
}

fn path(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!("slotward-sentinels-{port}"))
}

/// Where sentinels meet: what each has said last.
#[derive(Debug, Default)]
pub(crate) struct Meeting(Mutex<Vec<(String, Instant)>>);

impl Meeting {
    /// Keeps a hello in the place of the one before of the same sentinel; what the others have said
    /// lately.
    ///
    /// # Errors
    /// The reply's text.
    pub(crate) fn hello(&self, text: &str) -> Result<Vec<String>, String> {
        let speaker = speaker(text).filter(|_| text.len() <= HELLO_BYTES_MAX);
        let Some(speaker) = speaker else { return Err("ERR not a sentinel's hello".to_owned()) };
        let mut hellos = self.0.lock();
        hellos.retain(|(other, at)| {
            at.elapsed() < HELLO_AGE_MAX && self::speaker(other) != Some(speaker)
        });
        if hellos.len() >= HELLOS_MAX {
            hellos.remove(0);
        }
        let others = hellos.iter().map(|(text, _)| text.clone()).collect();
        hellos.push((text.to_owned(), Instant::now()));
        Ok(others)
    }
}

/// The id in a hello: `host,port,id,…`.
fn speaker(text: &str) -> Option<&str> {
    let mut fields = text.split(',').skip(2);
    let id = fields.next()?;
    (id.len() == 40 && fields.count() >= 5).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn whom_a_node_attends_to_is_remembered() {
        let dir = std::env::temp_dir().join(format!("slotward-attended-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(Attended::read(&dir, 7).unwrap(), None);
        for host in ["redis-master", ""] {
            let text = format!("0a|mymaster|{host}|s1:26379|[::1]:5@9");
            let attended = Attended::from_words(&words(&text)).unwrap();
            attended.write(&dir, 7).unwrap();
            assert_eq!(Attended::read(&dir, 7).unwrap(), Some(attended));
        }
        std::fs::write(path(&dir, 7), "group x\n").unwrap();
        let error = Attended::read(&dir, 7).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn nonsense_is_refused() {
        for (why, text) in [
            ("no sentinel", "0a|m|"),
            ("no group", "|m||s:1"),
            ("no address", "0a|m||s"),
            ("a line break", "0a|m\nx||s:1"),
            ("a space in the host", "0a|m|a b|s:1"),
        ] {
            assert!(Attended::from_words(&words(text)).is_err(), "{why}");
        }
        let many = format!("0a|m|{}", "|s:1".repeat(SENTINELS_MAX + 1));
        assert!(Attended::from_words(&words(&many)).is_err(), "too many");
    }

    #[test]
    fn sentinels_that_meet_hear_of_each_other() {
        let meeting = Meeting::default();
        let hello = |id: usize, port| format!("10.0.0.1,{port},{id:040},0,m,h,1,0,10.0.0.1:5,-");
        assert_eq!(meeting.hello(&hello(1, 26379)).unwrap(), [""; 0]);
        assert_eq!(meeting.hello(&hello(2, 26380)).unwrap(), [hello(1, 26379)]);
        assert_eq!(meeting.hello(&hello(2, 26381)).unwrap(), [hello(1, 26379)], "not of itself");
        assert_eq!(meeting.hello(&hello(1, 26379)).unwrap(), [hello(2, 26381)], "the newest");
        assert!(meeting.hello("hello").is_err());
        assert!(meeting.hello(&hello(3, 1).replace(",h,", &"x".repeat(2000))).is_err());
        for id in 10..200 {
            assert!(meeting.hello(&hello(id, 1)).unwrap().len() < HELLOS_MAX);
        }
    }
}
