//! Putting the sources together: defaults, file, standard input, environment, command line.

use std::collections::BTreeSet;
use std::fmt;

use crate::field::BadValue;
use crate::file::{lines, quote_line};
use crate::store::{Config, find, nearest, one_text};
use crate::table::{RETIRED, SETTINGS};
use crate::{Setting, yaml};

/// Files may include files this deep.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Environment variables that begin so are settings.
const ENVIRONMENT_PREFIX: &str = "SLOTWARD_";

/// Reads the file of this path, or all files that this pattern means, in order: their paths and
/// texts, or why not.
pub type ReadFiles<'a> = dyn FnMut(&str) -> Result<Vec<(String, String)>, String> + 'a;

/// Where settings come from; the process reads files and environment, this crate does not.
pub struct Sources<'a> {
    /// The file; one that ends in `.yaml` or `.yml` is YAML, any other has `redis.conf`'s syntax.
    pub file: Option<&'a str>,
    /// What came on the standard input, if it was asked for.
    pub stdin: Option<&'a str>,
    /// All environment variables; those that do not begin with `SLOTWARD_` are passed over.
    pub environment: &'a [(String, String)],
    /// The options of the command line.
    pub directives: &'a [Vec<String>],
    /// Reads files.
    pub read: &'a mut ReadFiles<'a>,
}

/// Why the start ended: where, the line, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    place: String,
    line: String,
    cause: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*** FATAL CONFIG FILE ERROR (Slotward {}) ***", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "{}", self.place)?;
        if !self.line.is_empty() {
            writeln!(f, ">>> '{}'", self.line)?;
        }
        f.write_str(&self.cause)
    }
}

impl std::error::Error for LoadError {}

/// Loads the settings on top of `base` (the defaults, which differ between server and sentinel).
///
/// # Errors
/// When a source cannot be read, names an unknown setting or gives a bad value, or when settings
/// do not fit each other; the error says where.
pub fn load(base: Config, sources: Sources<'_>) -> Result<Config, LoadError> {
    let mut loader = Loader { config: base, seen: BTreeSet::new(), read: sources.read };
    let from_environment = |name: &str| {
        let found = sources.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    if let Some(path) = sources.file.or_else(|| from_environment("SLOTWARD_CONFIG_FILE")) {
        loader.file(path, 0, "Opening the configuration file")?;
    }
    if let Some(text) = sources.stdin {
        loader.text("the standard input", text, 0)?;
    }
    loader.environment(sources.environment)?;
    loader.command_line(sources.directives)?;
    let config = loader.config;
    config.settings().check().map_err(|(name, cause)| LoadError {
        place: "Checking the settings against each other".to_owned(),
        line: format!(
            "{name} {}",
            find(name).map_or_else(String::new, |row| row.value(config.settings()))
        ),
        cause,
    })?;
    Ok(config)
}

struct Loader<'a> {
    config: Config,
    /// Settings that the present source has named: later lines of the same source add to them.
    seen: BTreeSet<&'static str>,
    read: &'a mut ReadFiles<'a>,
}

impl Loader<'_> {
    fn file(&mut self, path: &str, depth: usize, place: &str) -> Result<(), LoadError> {
        let fail =
            |cause: String| LoadError { place: place.to_owned(), line: path.to_owned(), cause };
        if depth > INCLUDE_DEPTH_MAX {
            return Err(fail("files include each other too deep".to_owned()));
        }
        for (path, text) in (self.read)(path).map_err(fail)? {
            if path.ends_with(".yaml") || path.ends_with(".yml") {
                self.yaml(&path, &text, depth)?;
            } else {
                self.text(&path, &text, depth)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &str, text: &str, depth: usize) -> Result<(), LoadError> {
        for (number, line, words) in lines(text) {
            let place = format!("Reading the configuration file {path}, at line {number}");
            let words = words.map_err(|error| LoadError {
                place: place.clone(),
                line: hide_secret(line),
                cause: error.to_string(),
            })?;
            self.directive(&words, &place, line, depth)?;
        }
        Ok(())
    }

    fn yaml(&mut self, path: &str, text: &str, depth: usize) -> Result<(), LoadError> {
        let place = format!("Reading the configuration file {path}");
        let directives = yaml::directives(text).map_err(|cause| LoadError {
            place: place.clone(),
            line: String::new(),
            cause,
        })?;
        for words in directives {
            self.directive(&words, &place, &quote_line(&words), depth)?;
        }
        Ok(())
    }

    fn environment(&mut self, variables: &[(String, String)]) -> Result<(), LoadError> {
        self.seen.clear();
        for (key, value) in variables {
            let Some(name) = key.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if key == "SLOTWARD_CONFIG_FILE" {
                continue;
            }
            let name = spelled(name);
            let kind = find(&name).map_or(crate::Kind::Text, |row| row.kind);
            let words = [vec![name], one_text(kind, value)].concat();
            let place = format!("Reading the environment variable {key}");
            self.directive(&words, &place, &quote_line(&words), 0)?;
        }
        Ok(())
    }

    fn command_line(&mut self, directives: &[Vec<String>]) -> Result<(), LoadError> {
        self.seen.clear();
        for words in directives {
            self.directive(words, "Reading the command line", &quote_line(words), 0)?;
        }
        Ok(())
    }

    fn directive(
        &mut self,
        words: &[String],
        place: &str,
        line: &str,
        depth: usize,
    ) -> Result<(), LoadError> {
        let [name, values @ ..] = words else { return Ok(()) };
        let fail =
            |cause: String| LoadError { place: place.to_owned(), line: hide_secret(line), cause };
        if name.eq_ignore_ascii_case("include") {
            if values.is_empty() {
                return Err(fail(BadValue::WrongCount.to_string()));
            }
            return values.iter().try_for_each(|path| self.file(path, depth + 1, place));
        }
        if RETIRED.iter().any(|retired| retired.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let Some(row) = find(name) else { return Err(fail(unknown(name))) };
        let first = self.seen.insert(row.name);
        self.config.apply(row, values, first).map_err(|cause| fail(cause.to_string()))
    }
}

/// The setting's own spelling of a name from the environment, where `-` cannot be written.
fn spelled(name: &str) -> String {
    let dashed = name.to_ascii_lowercase().replace('_', "-");
    let known = SETTINGS.iter().find(|row| row.name.replace('_', "-") == dashed);
    known.map_or(dashed, |row: &Setting| row.name.to_owned())
}

fn unknown(name: &str) -> String {
    let hint = match nearest(name) {
        Some(known) => format!("; did you mean '{known}'?"),
        None => String::new(),
    };
    format!("Bad directive or wrong number of arguments: there is no option '{name}'{hint}")
}

/// The line without the value of a secret setting: errors end up in logs.
fn hide_secret(line: &str) -> String {
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    match find(name) {
        Some(row) if row.secret => format!("{name} (hidden)"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        crate::split_words(line).unwrap()
    }

    /// Loads from files given as (path, text), environment and command line.
    fn check(
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
        options: &[&str],
    ) -> Result<Config, String> {
        let environment: Vec<(String, String)> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let directives: Vec<Vec<String>> = options.iter().map(|line| words(line)).collect();
        let mut read = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            let (name, text) = found.ok_or_else(|| format!("{path}: not found"))?;
            Ok(vec![((*name).to_owned(), (*text).to_owned())])
        };
        load(
            Config::new(),
            Sources {
                file: files.first().map(|(path, _)| *path),
                stdin: None,
                environment: &environment,
                directives: &directives,
                read: &mut read,
            },
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn later_sources_win() {
        let config = check(
            &[
                ("a.conf", "port 1\nmaxclients 1\nhz 1\ninclude b.yml\ntimeout 7\n"),
                ("b.yml", "hz: 50\ntimeout: 3\nsentinels: ['127.0.0.1:1']"),
            ],
            &[("SLOTWARD_MAXCLIENTS", "2"), ("SLOTWARD_PORT", "2"), ("HOME", "/")],
            &["port 3"],
        )
        .unwrap();
        let settings = config.settings();
        assert_eq!(
            (settings.port, settings.maxclients, settings.hz, settings.timeout),
            (3, 2, 50, 7)
        );
        assert_eq!(settings.sentinels[0].grpc_port, 1_001);
        assert!(config.is_explicit("port") && !config.is_explicit("databases"));
    }

    #[test]
    fn lists_add_within_a_source_and_replace_across_sources() {
        let config = check(
            &[("a.conf", "save 900 1\nsave 300 10\nuser default on\nuser b off\n")],
            &[],
            &["save 1 1"],
        )
        .unwrap();
        assert_eq!(config.get(&["save"])[0].1, "1 1");
        assert_eq!(config.settings().user.0.len(), 2);
        let config = check(&[("a.conf", "save 900 1\nsave 300 10\n")], &[], &[]).unwrap();
        assert_eq!(config.get(&["save"])[0].1, "900 1 300 10");
    }

    #[test]
    fn errors_say_where_and_name_the_option() {
        for (why, file, environment, option, parts) in [
            (
                "unknown",
                "hz 1\nmaxmemry 1",
                None,
                None,
                &["line 2", "'maxmemry'", "'maxmemory'"][..],
            ),
            ("bad value", "port abc", None, None, &["line 1", "'port abc'", "integer"]),
            ("quotes", "dir \"x", None, None, &["Unbalanced quotes"]),
            ("environment", "", Some(("SLOTWARD_MAXMEMRY", "1")), None, &["SLOTWARD_MAXMEMRY"]),
            (
                "command line",
                "",
                None,
                Some("port --loglevel verbose"),
                &["'port \"--loglevel\" \"verbose\"'", "wrong number of arguments"],
            ),
            ("no file", "include nowhere.conf", None, None, &["nowhere.conf", "not found"]),
            ("loop", "include a.conf", None, None, &["too deep"]),
            (
                "cluster replica",
                "cluster-enabled yes",
                None,
                Some("replicaof a 1"),
                &["not allowed in cluster mode"],
            ),
            ("lease", "lease-ms 5000", None, None, &["lease-ms", "down-after-ms"]),
        ] {
            let environment: Vec<_> = environment.into_iter().collect();
            let options: Vec<_> = option.into_iter().collect();
            let error = check(&[("a.conf", file)], &environment, &options).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{why}: {error}");
            }
        }
    }

    #[test]
    fn a_password_does_not_reach_the_log() {
        let error = check(&[("a.conf", "requirepass hunter2 x")], &[], &[]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_has_no_effect_is_reported() {
        let config = check(&[("a.conf", "appendonly yes\nport 1\n")], &[], &[]).unwrap();
        assert_eq!(config.without_effect().collect::<Vec<_>>(), ["appendonly"]);
    }
}
