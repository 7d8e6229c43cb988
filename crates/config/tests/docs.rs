//! docs/configuration.md is made from the table of settings; `UPDATE=1` writes it again.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use slotward_config::{Effect, Mutability, SETTINGS, Setting};

const INTRODUCTION: &str = "\
<!-- Made from the table in crates/config/src/table.rs by `cargo xtask docs`. Do not edit. -->

# Configuration

A node takes its settings from, later ones winning: the defaults below; the configuration file
named first on the command line (the syntax of `redis.conf`, or YAML if its name ends in `.yaml` or
`.yml`), with the files that it `include`s; environment variables `SLOTWARD_…` (`maxmemory` is
`SLOTWARD_MAXMEMORY`, `cluster-enabled` is `SLOTWARD_CLUSTER_ENABLED`; `SLOTWARD_CONFIG_FILE` names
the file if the command line does not); options on the command line (`--maxmemory 1gb`). An unknown
name or a bad value ends the start. In YAML, names may be nested: `cluster: {enabled: yes}`.

*Change*: `live` settings change by `CONFIG SET`; `start` ones only by a restart; `protected` ones
by `CONFIG SET` if `enable-protected-configs` permits it.

Settings marked † are accepted and kept, so that existing files load, and have no effect yet; a
warning at the start names those that were set.

| Setting | Default | Change | Value | What it does |
|---|---|---|---|---|
";

#[test]
fn the_page_is_fresh() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is not fresh: run `cargo xtask docs`");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for row in SETTINGS {
        let default =
            if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            name(row),
            default.replace('|', "\\|"),
            change(row.mutability),
            row.kind.describe(),
            row.doc
        )
        .unwrap();
    }
    page
}

fn name(row: &Setting) -> String {
    let mark = if row.effect == Effect::Stored { " †" } else { "" };
    let aliases: String = row.aliases.iter().map(|alias| format!(" (`{alias}`)")).collect();
    format!("`{}`{aliases}{mark}", row.name)
}

fn change(mutability: Mutability) -> &'static str {
    match mutability {
        Mutability::Live => "live",
        Mutability::AtStart => "start",
        Mutability::Protected => "protected",
    }
}
