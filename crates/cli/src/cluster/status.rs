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
/// that nobody here needs are passed over.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Report {
    /// The address of the leader.
    pub(crate) leader: Option<String>,
    /// The Raft term.
    pub(crate) term: u64,
    /// The topology's version.
    pub(crate) version: u64,
    /// Slots that have an owner.
    pub(crate) slots_assigned: u64,
    /// The sentinels.
    pub(crate) sentinels: Vec<SentinelReport>,
    /// The shards.
    pub(crate) shards: Vec<ShardReport>,
    /// Nodes in no shard.
    pub(crate) unassigned: Vec<NodeReport>,
}

/// A sentinel, as one of them sees it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SentinelReport {
    /// Where it serves.
    pub(crate) address: String,
    /// Whether it is silent.
    pub(crate) down: bool,
}

/// A shard.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ShardReport {
    /// Its name.
    pub(crate) name: String,
    /// How it is.
    pub(crate) state: String,
    /// Its epoch.
    pub(crate) epoch: u64,
    /// Its slots, as first and last.
    pub(crate) slots: Vec<(u16, u16)>,
    /// Its nodes, the master first.
    pub(crate) members: Vec<NodeReport>,
    /// Its last changes of master.
    #[serde(default)]
    pub(crate) takeovers: Vec<TakeoverReport>,
}

/// A change of a shard's master, and what it left behind.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TakeoverReport {
    /// Its epoch.
    pub(crate) epoch: u64,
    /// Who was master.
    pub(crate) from: String,
    /// Who became it.
    pub(crate) to: String,
    /// Up to where both histories are the same.
    pub(crate) taken: u64,
    /// Where the old master's ended.
    pub(crate) end: u64,
    /// The difference.
    pub(crate) lost_bytes: u64,
    /// Whether the old master itself said so.
    pub(crate) exact: bool,
}

/// A node.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeReport {
    /// Its id.
    pub(crate) id: String,
    /// Where it serves.
    pub(crate) address: String,
    /// Its role.
    #[serde(default)]
    pub(crate) role: String,
    /// How it is.
    pub(crate) state: String,
    /// Its link to its master.
    pub(crate) link: Option<String>,
    /// How far its history goes.
    pub(crate) offset: Option<u64>,
    /// How much it lacks.
    pub(crate) lag: Option<u64>,
    /// Whether it accepts writes.
    pub(crate) serving: bool,
    /// What is left of its lease.
    pub(crate) lease_ms_left: u64,
    /// Whether it may be promoted.
    #[serde(default)]
    pub(crate) promotable: bool,
}

impl Report {
    /// Whether every shard has a master that serves and replicas that could take its place.
    pub(crate) fn is_settled(&self) -> bool {
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
    Ok(render(&report(sentinels, PATIENCE)?))
}

/// The status, from the first of these sentinels that answers within `patience`.
pub(crate) fn report(sentinels: &[String], patience: Duration) -> anyhow::Result<Report> {
    let json = ask_within(sentinels, patience)?;
    serde_json::from_str(&json).context("the sentinel's status cannot be read")
}

/// Whether the sentinels say that every shard serves and could lose its master.
pub(crate) fn is_settled(sentinels: &[String]) -> bool {
    report(sentinels, PATIENCE).is_ok_and(|report| report.is_settled())
}

fn ask(sentinels: &[String]) -> anyhow::Result<String> {
    ask_within(sentinels, PATIENCE)
}

fn ask_within(sentinels: &[String], patience: Duration) -> anyhow::Result<String> {
    let mut failures = Vec::new();
    for address in sentinels {
        let answer = Client::connect(address, patience)
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
    let losses: String = report.shards.iter().filter_map(last_failover).collect();
    format!("{table}\n{losses}{shards} {plural}, {slots} slots; {}", group(report))
}

/// What the shard's last change of master left behind, in one line.
fn last_failover(shard: &ShardReport) -> Option<String> {
    let TakeoverReport { epoch, from, to, taken, end, lost_bytes, exact } =
        shard.takeovers.last()?;
    let lost = match (lost_bytes, exact) {
        (0, true) => "nothing lost".to_owned(),
        (0, false) => "nothing known to be lost".to_owned(),
        (lost, true) => format!("lost {lost} bytes, offsets {taken} to {end}"),
        (lost, false) => format!("lost at least {lost} bytes, offsets {taken} to {end} or more"),
    };
    let (name, from, to) = (&shard.name, short(from), short(to));
    Some(format!("{name}: last failover, epoch {epoch}, {from} to {to}: {lost}\n"))
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
               "link":"up","offset":100,"lag":20,"serving":false,"lease_ms_left":0}],
              "takeovers":[{"epoch":4,"from":"fedcba9876543210","to":"0123456789abcdef",
               "taken":70,"end":90,"lost_bytes":20,"exact":true}]}]}"#;
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
            "shard-1: last failover, epoch 4, fedcba98 to 01234567: lost 20 bytes, offsets 70 to 90",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }
}
