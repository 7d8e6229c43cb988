//! `CONFIG REWRITE`: the file again, with the settings in force.

use std::collections::BTreeSet;

use crate::file::{quote_word, split_words};
use crate::row::{Kind, Setting};
use crate::store::{Config, find};
use crate::table::SETTINGS;
use crate::values::Lines;

/// Stands above what the file did not name.
const SIGNATURE: &str = "# Written by CONFIG REWRITE";

/// The text of a `redis.conf` file with the values in force: comments and order stay, a setting
/// keeps its first line, what is not at its default and has no line is added at the end.
pub fn rewrite(text: &str, config: &Config) -> String {
    let defaults = Config::new();
    let mut written = BTreeSet::new();
    let mut out = String::new();
    for line in text.lines() {
        let Some(row) = setting_of(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        if written.insert(row.name) {
            write_setting(&mut out, row, config);
        }
    }
    let missing: Vec<&Setting> = SETTINGS
        .iter()
        .filter(|row| !written.contains(row.name))
        .filter(|row| row.value(config.settings()) != row.value(defaults.settings()))
        .collect();
    if !missing.is_empty() && !text.lines().any(|line| line == SIGNATURE) {
        out.push_str(SIGNATURE);
        out.push('\n');
    }
    for row in missing {
        write_setting(&mut out, row, config);
    }
    out
}

/// The setting that a line sets.
fn setting_of(line: &str) -> Option<&'static Setting> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    find(split_words(line).ok()?.first()?)
}

fn write_setting(out: &mut String, row: &Setting, config: &Config) {
    if row.kind == Kind::Lines {
        for line in lines_of(row, config).0 {
            out.push_str(row.name);
            for word in line {
                out.push(' ');
                out.push_str(&quote_word(&word));
            }
            out.push('\n');
        }
        return;
    }
    let value = row.value(config.settings());
    let value = match row.kind {
        // Words need no quotes: none of them holds a space.
        Kind::Words if !value.is_empty() => value,
        _ => quote_word(&value),
    };
    // `replicaof` has no form for "nothing".
    if row.name != "replicaof" || value != "\"\"" {
        out.push_str(&format!("{} {value}\n", row.name));
    }
}

fn lines_of(row: &Setting, config: &Config) -> Lines {
    let settings = config.settings();
    match row.name {
        "user" => settings.user.clone(),
        "rename-command" => settings.rename_command.clone(),
        _ => settings.loadmodule.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, load};

    fn loaded(text: &str) -> Config {
        let text = text.to_owned();
        let mut read = move |_: &str| Ok(vec![("a.conf".to_owned(), text.clone())]);
        let sources = Sources {
            file: Some("a.conf"),
            stdin: None,
            environment: &[],
            directives: &[],
            read: &mut read,
        };
        load(Config::new(), sources).unwrap()
    }

    #[test]
    fn what_is_in_force_is_written_and_the_rest_stays() {
        let text = "# mine\nport 7000\n\nsave 900 1\nsave 300 10\nrequirepass \"a b\"\n\
                    rename-command a b\nrename-command c \"\"\n";
        let mut config = loaded(text);
        config.set(&[("maxmemory", "1mb"), ("requirepass", "c\"d")], false).unwrap();
        let again = rewrite(text, &config);
        assert_eq!(
            again,
            "# mine\nport 7000\n\nsave 900 1 300 10\nrequirepass \"c\\\"d\"\n\
             rename-command a b\nrename-command c \"\"\n# Written by CONFIG REWRITE\nmaxmemory 1048576\n"
        );
        let loaded = loaded(&again);
        assert_eq!(loaded.settings(), config.settings());
        assert_eq!(rewrite(&again, &loaded), again, "a second time changes nothing");
    }
}
