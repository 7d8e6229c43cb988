//! Which crate may use which: the table of docs/architecture.md, checked.

use crate::walk::Text;

/// A crate of ours.
pub(crate) struct Crate {
    /// Its folder under `crates/`.
    pub(crate) name: &'static str,
    /// Our crates that it may depend on.
    pub(crate) may_use: &'static [&'static str],
    /// Whether it is below the line: no sockets, files, clock, threads, ambient randomness.
    pub(crate) pure: bool,
}

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Crate {
    Crate { name, may_use, pure: true }
}

const fn shell(name: &'static str, may_use: &'static [&'static str]) -> Crate {
    Crate { name, may_use, pure: false }
}

/// Low to high.
pub(crate) const CRATES: &[Crate] = &[
    pure("types", &[]),
    pure("resp", &["types"]),
    pure("config", &["types"]),
    pure("keyspace", &["types"]),
    pure("rdb", &["types", "keyspace"]),
    pure("commands", &["types", "resp", "keyspace", "rdb", "config"]),
    pure("replication", &["types", "resp", "keyspace", "rdb"]),
    pure("cluster", &["types", "resp"]),
    pure("failover", &["types", "cluster"]),
    pure("sim", &["types", "resp", "cluster", "failover", "replication"]),
    shell("proto", &["types", "cluster", "failover"]),
    shell(
        "server",
        &[
            "types",
            "resp",
            "config",
            "keyspace",
            "rdb",
            "commands",
            "replication",
            "cluster",
            "failover",
            "proto",
        ],
    ),
    shell("sentinel", &["types", "resp", "config", "cluster", "failover", "proto"]),
    shell("cli", &["types", "resp", "config", "cluster", "server", "sentinel"]),
    shell("xtask", &[]),
];

/// Complaints about the manifest of a crate.
pub(crate) fn check_manifest(manifest: &Text) -> Vec<String> {
    let Some(name) = crate_of(&manifest.path) else { return Vec::new() };
    let Some(known) = CRATES.iter().find(|known| known.name == name) else {
        return vec![format!("{}: '{name}' is missing in the table of crates", manifest.path)];
    };
    ordinary_dependencies(&manifest.text)
        .filter_map(|line| line.strip_prefix("slotward-"))
        .map(|rest| rest.split(['.', ' ', '=']).next().unwrap_or_default())
        .filter(|used| !known.may_use.contains(used))
        .map(|used| format!("{}: '{name}' may not depend on '{used}'", manifest.path))
        .collect()
}

/// The crate whose file this is.
pub(crate) fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// The lines of `[dependencies]`; what only tests or build scripts use is free.
fn ordinary_dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().map(str::trim).filter(move |line| {
        if line.starts_with('[') {
            inside = *line == "[dependencies]";
        }
        inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Text {
        Text { path: "crates/resp/Cargo.toml".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn an_edge_upwards_is_found() {
        let bad = "[dependencies]\nbytes.workspace = true\nslotward-server.workspace = true\n";
        assert_eq!(check_manifest(&manifest(bad)).len(), 1);
        let fine = "[dependencies]\nslotward-types = { workspace = true }\n\
                    [dev-dependencies]\nslotward-server.workspace = true\n";
        assert_eq!(check_manifest(&manifest(fine)), Vec::<String>::new());
    }

    #[test]
    fn the_table_has_no_edge_upwards() {
        for (index, owner) in CRATES.iter().enumerate() {
            for used in owner.may_use {
                let lower = CRATES[..index].iter().any(|lower| lower.name == *used);
                assert!(lower, "{} uses {used}, which is not below it", owner.name);
            }
        }
    }
}
