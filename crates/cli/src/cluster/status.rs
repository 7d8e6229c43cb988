//! `slotward cluster status`: the sentinels' view as a table.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use super::{PATIENCE, Status, say};
use crate::client::Client;

/// What a sentinel says; it describes the document itself, `resp/status.rs` in its crate. Fields
/// that are not shown are passed over.
#[derive(Debug, Deserialize)]
struct Report {
    leader: Option<String>,
    term: u64,
    version: u64,
    slots_assigned: u64,
    sentinels: Vec<SentinelReport>,
    shards: Vec<ShardReport>,
    unassigned: Vec<NodeReport>,
}

#[derive(Debug, Deserialize)]
struct SentinelReport {
    address: String,
    down: bool,
}

#[derive(Debug, Deserialize)]
struct ShardReport {
    name: String,
    state: String,
    epoch: u64,
    slots: Vec<(u16, u16)>,
    members: Vec<NodeReport>,
}

#[derive(Debug, Deserialize)]
struct NodeReport {
    id: String,
    address: String,
    #[serde(default)]
    role: String,
    state: String,
    link: Option<String>,
    offset: Option<u64>,
    lag: Option<u64>,
    serving: bool,
    lease_ms_left: u64,
    #[serde(default)]
    promotable: bool,
}

impl Report {
    /// Whether every shard has a master that serves and replicas that could take its place.
    fn is_settled(&self) -> bool {
        let ready = |node: &NodeReport| {
            node.state == "online"
                && node.promotable
                && (node.role == "master" || node.link.as_deref() == Some("up"))
        };
        self.unassigned.is_empty()
            && self
                .shards
                .iter()
                .all(|shard| shard.state == "ok" && shard.members.iter().all(ready))
    }
}

/// Prints the status, once or again and again.
pub(crate) fn status(options: &Status) -> anyhow::Result<()> {
    let Some(seconds) = options.watch else { return print(options) };
    let pause =
        Duration::try_from_secs_f64(seconds).context("--watch needs a number of seconds")?;
    loop {
        if std::io::stdout().is_terminal() {
            // Clear the screen and start at its top.
            let _ = write!(std::io::stdout(), "\x1b[2J\x1b[H");
        }
        if let Err(error) = print(options) {
            say(&format!("{error:#}"))?;
        }
        thread::sleep(pause);
    }
}

fn print(options: &Status) -> anyhow::Result<()> {
    if options.json { say(&ask(&options.sentinels)?) } else { say(&table(&options.sentinels)?) }
}

/// The status as a table, from the first of these sentinels that answers.
pub(crate) fn table(sentinels: &[String]) -> anyhow::Result<String> {
    let report: Report =
        serde_json::from_str(&ask(sentinels)?).context("the sentinel's status cannot be read")?;
    Ok(render(&report))
}

/// Whether the sentinels say that every shard serves and could lose its master.
pub(crate) fn is_settled(sentinels: &[String]) -> bool {
    let report = ask(sentinels).ok().and_then(|json| serde_json::from_str::<Report>(&json).ok());
    report.is_some_and(|report| report.is_settled())
}

fn ask(sentinels: &[String]) -> anyhow::Result<String> {
    let mut failures = Vec::new();
    for address in sentinels {
        let answer = Client::connect(address, PATIENCE)
            .and_then(|mut client| client.text(&["SENTINEL", "SLOTWARD-STATUS"]));
        match answer {
            Ok(json) => return Ok(json),
            Err(error) => failures.push(error.to_string()),
        }
    }
    bail!("no sentinel tells its status: {}", failures.join("; "))
}

const HEADER: [&str; 10] =
    ["shard", "slots", "epoch", "node", "role", "state", "offset", "lag", "lease", "id"];
/// The columns of numbers.
const RIGHT: [usize; 4] = [2, 6, 7, 8];

fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(HEADER);
    for shard in &report.shards {
        for (index, node) in shard.members.iter().enumerate() {
            let about_shard = match index {
                0 => [named(shard), slot_ranges(&shard.slots), shard.epoch.to_string()],
                _ => Default::default(),
            };
            table.add_row([about_shard.to_vec(), about_node(node, &node.role)].concat());
        }
    }
    for node in &report.unassigned {
        let about_shard = ["-".to_owned(), String::new(), String::new()];
        table.add_row([about_shard.to_vec(), about_node(node, "unassigned")].concat());
    }
    for column in RIGHT {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let (shards, slots) = (report.shards.len(), report.slots_assigned);
    let plural = if shards == 1 { "shard" } else { "shards" };
    format!("{table}\n{shards} {plural}, {slots} slots; {}", group(report))
}

/// The shard's name, and what is wrong with it.
fn named(shard: &ShardReport) -> String {
    match shard.state.as_str() {
        "ok" => shard.name.clone(),
        state => format!("{} ({state})", shard.name),
    }
}

fn about_node(node: &NodeReport, role: &str) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
    let state = match (role, node.state.as_str(), node.link.as_deref()) {
        ("replica", "online", Some(link)) => format!("link {link}"),
        (_, state, _) => state.to_owned(),
    };
    let lease = if node.serving { format!("{} ms", node.lease_ms_left) } else { String::new() };
    let lag = if role == "replica" { number(node.lag) } else { String::new() };
    vec![
        node.address.clone(),
        role.to_owned(),
        state,
        number(node.offset),
        lag,
        lease,
        short(&node.id).to_owned(),
    ]
}

/// Enough of an id to tell nodes apart.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn slot_ranges(slots: &[(u16, u16)]) -> String {
    let ranges: Vec<String> = slots
        .iter()
        .map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    ranges.join(" ")
}

fn group(report: &Report) -> String {
    let members: Vec<String> = report
        .sentinels
        .iter()
        .map(|sentinel| match sentinel.down {
            true => format!("{} (down)", sentinel.address),
            false => sentinel.address.clone(),
        })
        .collect();
    let leader = report.leader.as_deref().unwrap_or("none");
    format!(
        "sentinels {}; leader {leader}, term {}, topology version {}",
        members.join(" "),
        report.term,
        report.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_a_table() {
        let json = r#"{"leader":"s:1","term":3,"version":9,"slots_assigned":5462,"another":1,
            "sentinels":[{"address":"s:1","down":false},{"address":"s:2","down":true}],
            "unassigned":[{"id":"aa","address":"n:7009","state":"online","link":null,"offset":null,
              "lag":null,"serving":false,"lease_ms_left":0}],
            "shards":[{"name":"shard-1","state":"failing over","epoch":4,
              "slots":[[0,5460],[9000,9000]],"members":[
              {"id":"0123456789abcdef","address":"n:7000","role":"master","state":"online",
               "link":"none","offset":120,"lag":0,"serving":true,"lease_ms_left":870},
              {"id":"fedcba9876543210","address":"n:7003","role":"replica","state":"online",
               "link":"up","offset":100,"lag":20,"serving":false,"lease_ms_left":0}]}]}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        assert!(!report.is_settled());
        let text = render(&report);
        for part in [
            "0-5460 9000",
            "870 ms",
            "01234567",
            " 20 ",
            "link up",
            "unassigned",
            "shard-1 (failing over)",
            "1 shard, 5462 slots",
            "leader s:1, term 3",
            "s:2 (down)",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }
}
