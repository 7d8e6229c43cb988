//! YAML files: the same names, flat or nested.
//!
//! `cluster: {enabled: yes}` is `cluster-enabled: yes`. The only module that knows serde_yaml,
//! which is archived upstream: it reads files that the operator wrote, never what comes from the
//! network, and can be exchanged here.

use serde_yaml::Value;

use crate::row::Kind;
use crate::store::{find, one_text};

/// Longer files are refused before they are parsed.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The directives of a YAML file, each as the words of one line.
pub(crate) fn directives(text: &str) -> Result<Vec<Vec<String>>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err("the file is too long".to_owned());
    }
    let mut found = Vec::new();
    match serde_yaml::from_str(text).map_err(|error| error.to_string())? {
        Value::Null => {}
        root @ Value::Mapping(_) => walk("", &root, &mut found)?,
        _ => return Err("a mapping of names to values is expected".to_owned()),
    }
    Ok(found)
}

fn walk(name: &str, value: &Value, found: &mut Vec<Vec<String>>) -> Result<(), String> {
    let kind = find(name).map_or(Kind::Text, |row| row.kind);
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let key = scalar(key).ok_or_else(|| format!("a key under '{name}' is no text"))?;
                let key = key.replace('_', "-");
                let name = if name.is_empty() { key } else { format!("{name}-{key}") };
                walk(&name, value, found)?;
            }
        }
        Value::Sequence(items) => {
            let mut words = vec![name.to_owned()];
            for item in items {
                let text = scalar(item).ok_or_else(|| format!("'{name}' holds a nested list"))?;
                let item_words = one_text(kind, &text);
                if kind == Kind::Lines {
                    found.push([vec![name.to_owned()], item_words].concat());
                } else {
                    words.extend(item_words);
                }
            }
            if items.is_empty() {
                words.push(String::new());
            }
            if kind != Kind::Lines {
                found.push(words);
            }
        }
        other => {
            let text = scalar(other).ok_or_else(|| format!("'{name}' has a tagged value"))?;
            found.push([vec![name.to_owned()], one_text(kind, &text)].concat());
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flat_or_nested() {
        let text = "port: 7000\ncluster:\n  enabled: true\n  node_timeout: 5000\n\
                    maxmemory: 1gb\nappendonly: no\nsave: ['900 1', '300 10']\n\
                    sentinels: [a:1, 'b:2']\nbind: []\nrename-command: [a b, c d]\n";
        let got: Vec<String> =
            directives(text).unwrap().iter().map(|words| words.join("|")).collect();
        assert_eq!(
            got,
            [
                "port|7000",
                "cluster-enabled|yes",
                "cluster-node-timeout|5000",
                "maxmemory|1gb",
                "appendonly|no",
                "save|900|1|300|10",
                "sentinels|a:1|b:2",
                "bind|",
                "rename-command|a|b",
                "rename-command|c|d",
            ]
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        assert!(directives("- a\n- b\n").is_err());
        assert!(directives("a: [[1]]").is_err());
        assert!(directives("a: {").is_err());
        assert_eq!(directives(""), Ok(vec![]));
    }
}
