//! The settings in force: reading them by pattern, changing them all or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use slotward_types::glob_match_nocase;

use crate::field::BadValue;
use crate::row::{Effect, Kind, Mutability, Setting};
use crate::table::{SETTINGS, Settings};

/// Why `CONFIG SET` was refused. The texts are the error replies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No setting has this name.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The setting is known, the change is not possible; nothing was changed.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {cause}")]
    Refused {
        /// The setting, as the client named it.
        name: String,
        /// Why.
        cause: BadValue,
    },
}

/// The port of a sentinel that is told none.
const SENTINEL_PORT: u16 = 26_379;

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    settings: Arc<Settings>,
    /// What something other than the defaults has set.
    explicit: BTreeSet<&'static str>,
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// Every setting at its default.
    pub fn new() -> Config {
        let mut settings = Settings::blank();
        for row in SETTINGS {
            let words = one_text(row.kind, row.default);
            (row.update)(&mut settings, &words, true)
                .unwrap_or_else(|error| panic!("the default of {} is bad: {error}", row.name));
        }
        Config { settings: Arc::new(settings), explicit: BTreeSet::new() }
    }

    /// Every setting at a sentinel's default: another port.
    pub fn for_sentinel() -> Config {
        let mut config = Config::new();
        Arc::make_mut(&mut config.settings).port = SENTINEL_PORT;
        config
    }

    /// The typed settings, to be published to those who read them often.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether something other than the defaults has set this.
    pub fn is_explicit(&self, name: &str) -> bool {
        find(name).is_some_and(|row| self.explicit.contains(row.name))
    }

    /// The settings that were given a value and have no effect here, for a warning at the start.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        SETTINGS
            .iter()
            .filter(|row| row.effect == Effect::Stored && self.explicit.contains(row.name))
            .map(|row| row.name)
    }

    /// Names and values of the settings whose name or alias matches one of the patterns, each
    /// once, as `CONFIG GET` lists them.
    pub fn get<P: AsRef<[u8]>>(&self, patterns: &[P]) -> Vec<(&'static str, String)> {
        SETTINGS
            .iter()
            .flat_map(|row| {
                std::iter::once(&row.name).chain(row.aliases).map(move |name| (*name, row))
            })
            .filter(|(name, _)| {
                patterns.iter().any(|p| glob_match_nocase(p.as_ref(), name.as_bytes()))
            })
            .map(|(name, row)| (name, row.value(&self.settings)))
            .collect()
    }

    /// Changes all these settings, or none. `protected_too` says that this client may change
    /// protected ones.
    ///
    /// # Errors
    /// When one of the names or values is bad, or they do not fit each other.
    pub fn set(
        &mut self,
        pairs: &[(&str, &str)],
        protected_too: bool,
    ) -> Result<Vec<&'static Setting>, SetError> {
        let mut changed: Vec<&'static Setting> = Vec::new();
        for (name, _) in pairs {
            let row = find(name).ok_or_else(|| SetError::Unknown((*name).to_owned()))?;
            let refuse = |why: &str| Err(refused(name, BadValue::other(why)));
            match row.mutability {
                Mutability::AtStart => return refuse("can't set immutable config"),
                Mutability::Protected if !protected_too => {
                    return refuse("can't set protected config");
                }
                _ => {}
            }
            if changed.iter().any(|seen| seen.name == row.name) {
                return refuse("duplicate parameter");
            }
            changed.push(row);
        }
        let mut settings = Settings::clone(&self.settings);
        for ((name, value), row) in pairs.iter().zip(&changed) {
            (row.update)(&mut settings, &one_text(row.kind, value), true)
                .map_err(|cause| refused(name, cause))?;
        }
        settings.check().map_err(|(name, why)| refused(name, BadValue::Other(why)))?;
        self.settings = Arc::new(settings);
        self.explicit.extend(changed.iter().map(|row| row.name));
        Ok(changed)
    }

    /// Replaces a setting by what the process found out (the absolute path behind `dir`), without
    /// the limits that a client has.
    ///
    /// # Errors
    /// When the value is bad.
    pub fn resolve(&mut self, name: &str, value: &str) -> Result<(), BadValue> {
        let row = find(name).ok_or_else(|| BadValue::Other(format!("no setting '{name}'")))?;
        let mut settings = Settings::clone(&self.settings);
        (row.update)(&mut settings, &one_text(row.kind, value), true)?;
        self.settings = Arc::new(settings);
        Ok(())
    }

    /// Takes over one directive of a source; the checks between settings come at its end.
    pub(crate) fn apply(
        &mut self,
        row: &'static Setting,
        words: &[String],
        first: bool,
    ) -> Result<(), BadValue> {
        (row.update)(Arc::make_mut(&mut self.settings), words, first)?;
        self.explicit.insert(row.name);
        Ok(())
    }
}

fn refused(name: &str, cause: BadValue) -> SetError {
    SetError::Refused { name: name.to_owned(), cause }
}

/// The words of a value that comes as one text.
pub(crate) fn one_text(kind: Kind, text: &str) -> Vec<String> {
    let words: Vec<String> = match kind.splits() {
        true => text.split_ascii_whitespace().map(str::to_owned).collect(),
        false => vec![text.to_owned()],
    };
    if words.is_empty() { vec![String::new()] } else { words }
}

/// The setting of this name or alias, in either case.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|row| {
        row.name.eq_ignore_ascii_case(name)
            || row.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

/// The known name that looks most like this one, if any does.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if name.len() > 64 {
        return None;
    }
    SETTINGS
        .iter()
        .map(|row| (distance(name.as_bytes(), row.name.as_bytes()), row.name))
        .min()
        .filter(|&(distance, _)| distance <= (name.len() / 3).max(2))
        .map(|(_, known)| known)
}

/// Levenshtein's distance: insertions, deletions and replacements from one to the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

/// What must hold between settings: the setting to name, what breaks otherwise, and the test.
type Check = (&'static str, &'static str, fn(&Settings) -> bool);

const CHECKS: &[Check] = &[
    (
        "lease-ms",
        "lease-ms plus the drift margin must not exceed down-after-ms, or a master could still \
         hold its lease when it is voted down",
        |s| s.lease_ms * (100 + s.drift_margin_percent) <= s.down_after_ms * 100,
    ),
    (
        "heartbeat-ms",
        "a lease must span at least four heartbeats, or one lost packet ends it",
        |s| s.heartbeat_ms * 4 <= s.lease_ms,
    ),
    ("raft-election-min-ms", "raft-election-min-ms must be below raft-election-max-ms", |s| {
        s.raft_election_min_ms < s.raft_election_max_ms
    }),
    ("raft-heartbeat-ms", "raft-heartbeat-ms must be at most half of raft-election-min-ms", |s| {
        s.raft_heartbeat_ms * 2 <= s.raft_election_min_ms
    }),
    ("replicaof", "replicaof directive not allowed in cluster mode", |s| {
        s.replicaof.is_none() || !s.cluster_enabled
    }),
    (
        "replicaof",
        "a node whose sentinels are named gets its master from them, not from replicaof",
        |s| s.replicaof.is_none() || s.sentinels.is_empty(),
    ),
];

impl Settings {
    /// Tests what must hold between settings.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        match CHECKS.iter().find(|(_, _, holds)| !holds(self)) {
            Some((name, why, _)) => Err((name, (*why).to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let config = Config::new();
        let mut names = BTreeSet::new();
        for row in SETTINGS {
            assert!(row.doc.ends_with('.') && row.doc.len() < 100, "{}: doc line", row.name);
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert!(names.insert(*name), "{name} stands in the table twice");
                assert_eq!(*name, name.to_ascii_lowercase());
            }
            // What CONFIG GET prints must be what CONFIG SET and files accept.
            let value = row.value(config.settings());
            let mut copy = Settings::blank();
            (row.update)(&mut copy, &one_text(row.kind, &value), true).unwrap_or_else(|error| {
                panic!("{} does not read back {value:?}: {error}", row.name)
            });
            assert_eq!(row.value(&copy), value, "{}", row.name);
        }
        assert_eq!(config.settings().check(), Ok(()));
    }

    #[test]
    fn get_lists_names_and_aliases() {
        let config = Config::new();
        assert_eq!(config.get(&["maxmemory"]), [("maxmemory", "0".to_owned())]);
        assert_eq!(config.get(&["SLAVE-read-only"]), [("slave-read-only", "yes".to_owned())]);
        let sizes = config.get(&["proto-max-bulk-*", "proto-*"]);
        assert_eq!(sizes, [("proto-max-bulk-len", "536870912".to_owned())]);
        assert!(config.get(&["no-such"]).is_empty());
        assert!(config.get(&["*"]).len() > 150);
    }

    #[test]
    fn set_changes_all_or_none() {
        let mut config = Config::new();
        let changed = config.set(&[("maxmemory", "100mb"), ("TIMEOUT", "5")], false).unwrap();
        assert_eq!(changed.len(), 2);
        assert_eq!(config.settings().maxmemory, 100 << 20);
        for (why, pairs, text) in [
            (
                "unknown",
                &[("timeout", "6"), ("nope", "1")][..],
                "ERR Unknown option or number of arguments for CONFIG SET - 'nope'",
            ),
            (
                "bad value",
                &[("timeout", "6"), ("hz", "x")],
                "ERR CONFIG SET failed (possibly related to argument 'hz') - \
                 argument couldn't be parsed into an integer",
            ),
            (
                "immutable",
                &[("timeout", "6"), ("port", "1")],
                "ERR CONFIG SET failed (possibly related to argument 'port') - \
                 can't set immutable config",
            ),
            (
                "protected",
                &[("timeout", "6"), ("dir", "/")],
                "ERR CONFIG SET failed (possibly related to argument 'dir') - \
                 can't set protected config",
            ),
            (
                "twice",
                &[("timeout", "6"), ("timeout", "7")],
                "ERR CONFIG SET failed (possibly related to argument 'timeout') - \
                 duplicate parameter",
            ),
            (
                "no such choice",
                &[("timeout", "6"), ("appendfsync", "maybe")],
                "ERR CONFIG SET failed (possibly related to argument 'appendfsync') - \
                 argument(s) must be one of the following: everysec, always, no",
            ),
        ] {
            assert_eq!(config.set(pairs, false).unwrap_err().to_string(), text, "{why}");
            assert_eq!(config.settings().timeout, 5, "{why}");
        }
        config.set(&[("save", "")], false).unwrap();
        assert_eq!(config.get(&["save"])[0].1, "");
        config.set(&[("save", "10 1 20 2")], false).unwrap();
        assert_eq!(config.get(&["save"])[0].1, "10 1 20 2");
        config.set(&[("dir", "/tmp")], true).unwrap();
    }

    #[test]
    fn a_typing_error_finds_its_setting() {
        for (typed, want) in [
            ("maxmemry", Some("maxmemory")),
            ("appendonyl", Some("appendonly")),
            ("sentinal", Some("sentinel")),
            ("xyzzy-plugh", None),
        ] {
            assert_eq!(nearest(typed), want);
        }
    }

    #[test]
    fn settings_must_fit_each_other() {
        let mut settings = Settings::clone(Config::new().settings());
        settings.lease_ms = 1200;
        assert_eq!(settings.check().unwrap_err().0, "lease-ms");
        settings.lease_ms = 300;
        assert_eq!(settings.check().unwrap_err().0, "heartbeat-ms");
    }
}
