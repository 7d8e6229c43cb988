//! What the text of the sources must look like.

use std::fs;

use crate::edges::{CRATES, check_manifest, crate_of};
use crate::functions;
use crate::walk::{Text, files, root};

/// What crates below the line may not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "execution belongs to the shells"),
    ("std::net", "sockets belong to the shells"),
    ("std::fs", "files belong to the shells"),
    ("std::thread", "threads belong to the shells"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("collections::HashMap", "its order differs between runs"),
    ("collections::HashSet", "its order differs between runs"),
];

/// Where a crate below the line names one of them for a reason.
const ALLOWED: &[(&str, &str)] = &[
    // Those that may sleep (a snapshot's walk) wait for a slot on their own thread.
    ("crates/keyspace/src/lock.rs", "std::thread"),
    // Many worlds on all cores, and how fast; inside of one there is no thread and no clock.
    ("crates/sim/src/main.rs", "std::thread"),
    ("crates/sim/src/main.rs", "Instant::now"),
];

/// Runs every check; the complaints are the error.
pub(crate) fn tidy() -> Result<(), String> {
    let sources = files("crates", &[".rs"])?;
    let mut complaints: Vec<String> = files("crates", &["Cargo.toml"])?
        .iter()
        .flat_map(check_manifest)
        .chain(sources.iter().flat_map(header))
        .chain(sources.iter().flat_map(purity))
        .collect();
    complaints.extend(unread_settings(&sources));
    let rules = fs::read_to_string(root().join(RULES)).map_err(|e| format!("{RULES}: {e}"))?;
    complaints.extend(lost_places(&rules, &sources));
    let list = fs::read_to_string(root().join(functions::LIST)).unwrap_or_default();
    complaints.extend(functions::check(&sources, &list));
    for folder in ["crates", "proto", "tests", "bench", "scripts", "docs"] {
        let texts = files(folder, &[".rs", ".py", ".js", ".sh", ".proto", ".toml", ".md"])?;
        complaints.extend(texts.iter().flat_map(unfinished));
    }
    complaints.extend(files("docs", &[".md"])?.iter().flat_map(dead_links));
    let readme =
        fs::read_to_string(root().join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    complaints.extend(dead_links(&Text { path: "README.md".to_owned(), text: readme }));
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

/// The page that says where each rule of the failover protocol is kept.
const RULES: &str = "docs/failover.md";

/// Functions that the table of rules names and that are not there.
fn lost_places(page: &str, sources: &[Text]) -> Vec<String> {
    let table = page.lines().take_while(|line| !line.starts_with("## "));
    let spans = table.filter(|line| line.starts_with("| ")).flat_map(|line| {
        line.split('`').skip(1).step_by(2).filter_map(|span| span.rsplit("::").next())
    });
    spans
        .filter(|name| {
            let there = format!("fn {name}(");
            !sources.iter().any(|file| file.text.contains(&there))
        })
        .map(|name| format!("{RULES}: names {name}, which is not there"))
        .collect()
}

/// Every module says first what it is.
fn header(file: &Text) -> Option<String> {
    let fine = file.text.starts_with("//! ");
    (!fine).then(|| format!("{}: does not begin with a `//!` header", file.path))
}

fn purity(file: &Text) -> Vec<String> {
    let owner = crate_of(&file.path).and_then(|name| CRATES.iter().find(|c| c.name == name));
    let in_sources = file.path.split('/').nth(2) == Some("src");
    let of_tests = file.path.ends_with("/tests.rs") || file.path.ends_with("/testing.rs");
    if !in_sources || of_tests || !owner.is_some_and(|owner| owner.pure) {
        return Vec::new();
    }
    // Tests may do what they like.
    let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut complaints = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        for (word, why) in IMPURE {
            let allowed = ALLOWED.contains(&(file.path.as_str(), *word));
            if line.contains(word) && !allowed {
                complaints.push(format!("{}:{}: names {word}: {why}", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Settings whose row says that they do something, and which nothing reads.
fn unread_settings(sources: &[Text]) -> Vec<String> {
    const TABLE: &str = "crates/config/src/table.rs";
    let Some(table) = sources.iter().find(|file| file.path == TABLE) else { return Vec::new() };
    let readers: Vec<&Text> =
        sources.iter().filter(|file| crate_of(&file.path) != Some("config")).collect();
    active_settings(&table.text)
        .into_iter()
        .filter(|field| {
            let read = format!(".{field}");
            !readers.iter().any(|file| names_field(&file.text, &read))
        })
        .map(|field| format!("{TABLE}: nothing reads {field}: use it, or mark it stored()"))
        .collect()
}

/// The fields of the rows that are not marked as stored.
fn active_settings(table: &str) -> Vec<&str> {
    let rows = table.split("    /// ").skip(1).filter_map(|part| part.split_once('\n'));
    rows.map(|(_, row)| row.split(";\n").next().unwrap_or_default())
        .filter(|row| row.contains("=> row(") || row.contains("=>\n") && row.contains("row("))
        .filter(|row| !row.contains(".stored()"))
        .filter_map(|row| row.trim_start().split(':').next())
        .collect()
}

/// Whether the text names this field, and not one whose name only begins so.
fn names_field(text: &str, field: &str) -> bool {
    text.match_indices(field).any(|(at, _)| {
        let next = text[at + field.len()..].chars().next();
        !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Words that promise to come back. Spelled in two parts, so that this file does not contain them.
fn unfinished(file: &Text) -> Vec<String> {
    let words = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let holds = |line: &str| {
        words
            .iter()
            .any(|word| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == *word))
    };
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| holds(line))
        .map(|(number, line)| format!("{}:{}: unfinished: {}", file.path, number + 1, line.trim()))
        .collect()
}

/// Links to files that are not there.
fn dead_links(file: &Text) -> Vec<String> {
    let folder =
        root().join(&file.path).parent().map(|folder| folder.to_owned()).unwrap_or_default();
    let targets = file.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{}: links to {target}, which is not there", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, text: &str) -> Text {
        Text { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_setting_that_nothing_reads_is_found() {
        let table = "    /// A.\n    port: u16 = \"port\", \"1\" => row(X);\n    /// B.\n    \
                     hz: u16 = \"hz\", \"1\" =>\n        row(X).stored();\n";
        assert_eq!(active_settings(table), ["port"]);
        let read = |code| {
            unread_settings(&[
                text("crates/config/src/table.rs", table),
                text("crates/cli/a.rs", code),
            ])
        };
        assert_eq!(read("settings.port + 1").len(), 0);
        assert_eq!(read("settings.port_two").len(), 1);
    }

    #[test]
    fn a_rule_without_a_place_is_found() {
        let page = "| 1 | a rule | `A::kept`, `lost` | |\n## later\n| `other` |\n";
        let sources = [text("crates/x/src/a.rs", "fn kept(&self) {}")];
        assert_eq!(lost_places(page, &sources).len(), 1);
    }

    #[test]
    fn complaints_find_their_cause() {
        assert!(header(&text("crates/x/src/a.rs", "use x;\n")).is_some());
        assert!(header(&text("crates/x/src/a.rs", "//! A.\n")).is_none());
        let clock = "//! A.\nlet now = Instant::now();\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(purity(&text("crates/keyspace/src/a.rs", clock)).len(), 1);
        assert_eq!(purity(&text("crates/server/src/a.rs", clock)).len(), 0);
        assert_eq!(unfinished(&text("a.rs", concat!("// TO", "DO: later\nTODOS\n"))).len(), 1);
        assert_eq!(
            dead_links(&text("README.md", "[a](Cargo.toml) [b](no.md) [c](https://x/y)")).len(),
            1
        );
    }
}
