//! How long functions and files are. Long ones are listed, and the list only shrinks.

use std::collections::BTreeMap;

use crate::walk::Text;

/// From here a function must be in the list.
const FUNCTION_LINES: usize = 70;
/// From here a file must be in the list.
const FILE_LINES: usize = 1000;

/// The list, from the root.
pub(crate) const LIST: &str = "crates/xtask/long.txt";

/// What is longer than it should be: `path` or `path function` and its lines.
pub(crate) fn long(files: &[Text]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines >= FILE_LINES {
            found.insert(file.path.clone(), lines);
        }
        // What tests expect is data.
        if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
            continue;
        }
        let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (name, lines) in functions(code) {
            if lines >= FUNCTION_LINES {
                let longest = found.entry(format!("{} {name}", file.path)).or_insert(0);
                *longest = lines.max(*longest);
            }
        }
    }
    found
}

/// The functions of a file formatted by rustfmt, and their lines.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closes = |line: &&str| {
            line.len() - line.trim_start().len() == indent
                && (line.trim_start().starts_with('}') || line.trim_end().ends_with([';', '}']))
        };
        let length = lines[index..].iter().position(closes).unwrap_or(0) + 1;
        found.push((name, length));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        let word = rest.split([' ', '(']).next()?;
        match word {
            "fn" => return rest["fn ".len()..].split(['(', '<']).next(),
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" | "" | "crate)"
            | "super)" => {
                rest = rest.get(word.len().max(1)..)?.trim_start_matches(' ');
            }
            _ => return None,
        }
    }
}

/// Complaints about what is long and not in the list, longer than in the list, or listed as longer
/// than it is.
pub(crate) fn check(files: &[Text], list: &str) -> Vec<String> {
    let now = long(files);
    let listed: BTreeMap<&str, usize> = list
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(what, lines)| Some((what, lines.parse().ok()?)))
        .collect();
    let mut complaints = Vec::new();
    for (what, lines) in &now {
        match listed.get(what.as_str()) {
            Some(allowed) if lines <= allowed => {}
            Some(allowed) => {
                complaints.push(format!("{what}: grew from {allowed} to {lines} lines"));
            }
            None => complaints.push(format!("{what}: {lines} lines; split it up")),
        }
    }
    for (what, allowed) in listed {
        let lines = now.get(what).copied().unwrap_or(0);
        if lines < allowed {
            complaints.push(format!("{what}: is shorter now; `cargo xtask fix` lowers its entry"));
        }
    }
    complaints
}

/// The list as it would be written now: shorter entries lowered, none raised.
pub(crate) fn lowered(files: &[Text], list: &str) -> String {
    let now = long(files);
    let mut out = String::new();
    for line in list.lines() {
        let Some((what, lines)) = line.rsplit_once(' ') else { continue };
        let Ok(allowed) = lines.parse::<usize>() else { continue };
        if let Some(lines) = now.get(what) {
            out.push_str(&format!("{what} {}\n", lines.min(&allowed)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body_lines: usize) -> Vec<Text> {
        let body = "        x();\n".repeat(body_lines);
        let text = format!(
            "impl X {{\n    pub(crate) fn long(&self) {{\n{body}    }}\n\n    fn one() {{}}\n}}\n"
        );
        vec![Text { path: "a.rs".to_owned(), text }]
    }

    #[test]
    fn functions_are_measured() {
        let files = file(10);
        assert_eq!(functions(&files[0].text), [("long", 12), ("one", 1)]);
        assert_eq!(function_name("pub async unsafe fn a<T>(x: T)"), Some("a"));
        assert_eq!(function_name("    let fn_like = 1;"), None);
    }

    #[test]
    fn the_list_only_shrinks() {
        assert_eq!(check(&file(80), "").len(), 1, "new");
        assert_eq!(check(&file(80), "a.rs long 82").len(), 0, "as listed");
        assert_eq!(check(&file(80), "a.rs long 81").len(), 1, "grown");
        assert_eq!(check(&file(80), "a.rs long 90").len(), 1, "shrunk");
        assert_eq!(check(&file(1), "a.rs long 90").len(), 1, "gone");
        assert_eq!(lowered(&file(80), "a.rs long 90\nb.rs x 80\n"), "a.rs long 82\n");
    }
}
