//! `slotward drill`: breaks a node of a running group under writes, and reports what clients saw.
//!
//! Asks the sentinels what there is, writes to every shard, has a fault happen, waits until the shard
//! serves again and until the node is back, and reads back every write that was acknowledged. Owns
//! the clients, the faults and the report; judges nothing about the group that clients, the
//! operating system or the sentinels' own loss report do not show.

mod load;
mod outcome;
mod render;
mod round;
mod route;
mod target;
mod undo;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use slotward_resp::Value;
use slotward_types::Slot;

use crate::cluster::progress::Progress;
use crate::cluster::say;
use crate::cluster::status::{Report, ShardReport, report};
use load::{Manner, Place};
use outcome::{Outcome, Summary};
use round::Drill;
use undo::Undo;

/// What happens to the chosen node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// It is asked to stop (SIGTERM), and started again
    Stop,
    /// It is killed (SIGKILL), and started again
    Kill,
    /// It stands still (SIGSTOP) for a while
    Freeze,
    /// It is cut off from the other nodes and the sentinels for a while; needs --exec
    Isolate,
    /// It and the sentinel that leads are killed at once, and started again
    LeaderAndMaster,
    /// All sentinels are killed, and started again after a while
    Sentinels,
}

impl Fault {
    /// As on the command line.
    fn name(self) -> &'static str {
        match self {
            Fault::Stop => "stop",
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
            Fault::Isolate => "isolate",
            Fault::LeaderAndMaster => "leader-and-master",
            Fault::Sentinels => "sentinels",
        }
    }
}

/// The options of `drill`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What happens
    #[arg(long, value_enum, default_value = "kill")]
    fault: Fault,
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// The shard whose master it happens to, by name; one after the other if not told
    #[arg(long, conflicts_with = "node")]
    shard: Option<String>,
    /// The node or sentinel that it happens to
    #[arg(long, value_name = "ADDRESS")]
    node: Option<String>,
    /// For how many seconds it lasts, where it does not end by itself
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    duration: f64,
    /// Writers on each shard
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
    /// Between two writes of a writer
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1)]
    pause_ms: u64,
    /// How long a client waits for a reply before it looks for another node
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 250)]
    patience_ms: u64,
    /// A node that is asked which sentinels there are, instead of --sentinels
    #[arg(long, value_name = "ADDRESS")]
    seed: Option<String>,
    /// Sentinels to ask, the first that answers counts
    #[arg(long, value_delimiter = ',', default_values = [
        "127.0.0.1:26379", "127.0.0.1:26380", "127.0.0.1:26381"
    ])]
    sentinels: Vec<String>,
    /// The nodes' password
    #[arg(long, env = "SLOTWARD_DRILL_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// A command that acts on nodes that are no processes of this machine: is given an action (stop,
    /// kill, start, freeze, thaw, isolate, heal) and an address, in place of {action} and {node} or
    /// at its end
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Give a round up after so many seconds without writes, or without the node coming back
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up: u64,
    /// Print one JSON document and no timeline
    #[arg(long)]
    json: bool,
}

/// Runs the drill: a failure if what must not happen did.
pub(crate) fn run(options: &Options) -> ExitCode {
    match drill(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as it must.
fn drill(options: &Options) -> anyhow::Result<bool> {
    let sentinels = sentinels(options)?;
    let duration = Duration::try_from_secs_f64(options.duration).context("--duration")?;
    let give_up = Duration::from_secs(options.give_up);
    let first = report(&sentinels, give_up.min(Duration::from_secs(5)))?;
    let places = places(&first)?;
    let hook = options.exec.as_deref().map(slotward_config::split_words).transpose();
    let drill = Drill {
        sentinels: first.sentinels.iter().map(|sentinel| sentinel.address.clone()).collect(),
        places,
        manner: Manner {
            patience: Duration::from_millis(options.patience_ms.max(1)),
            pause: Duration::from_millis(options.pause_ms),
            writers: options.writers.into(),
            password: options.password.clone(),
        },
        fault: options.fault,
        shard: options.shard.clone(),
        node: options.node.clone(),
        duration,
        give_up,
        hook: hook.context("in --exec")?,
        undo: Undo::default(),
    };
    ensure!(
        options.fault != Fault::Isolate || drill.hook.is_some(),
        "a process of this machine cannot be cut off by itself: isolate needs --exec"
    );
    undo::on_interrupt(&drill.undo)?;
    let progress = Progress::new("Drill", options.rounds as usize);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for number in 1..=options.rounds {
        let outcome = drill.round(number, &progress).inspect_err(|_| drill.undo.run())?;
        if !options.json {
            progress.print(&render::round(&outcome, options.rounds))?;
        }
        progress.done(&format!("round {number} of {}", options.rounds));
        let failed = !outcome.recovered;
        outcomes.push(outcome);
        if failed {
            break;
        }
    }
    let summary = Summary::of(options.fault, outcomes);
    let well = summary.problems == 0;
    if options.json {
        progress.finish("");
        say(&serde_json::to_string_pretty(&summary)?)?;
    } else {
        progress.finish("");
        say(&render::summary(&summary))?;
    }
    Ok(well)
}

/// The sentinels' addresses: as told, or as the seed knows them.
fn sentinels(options: &Options) -> anyhow::Result<Vec<String>> {
    let Some(seed) = &options.seed else { return Ok(options.sentinels.clone()) };
    let patience = Duration::from_secs(5);
    let mut client = route::connect(seed, options.password.as_deref(), patience)?;
    let reply = client.call(&["CONFIG", "GET", "sentinels"])?;
    let Value::Array(words) = reply else { anyhow::bail!("{seed} does not tell its sentinels") };
    let list = words.get(1).and_then(Value::as_str).unwrap_or_default();
    let found: Vec<String> = list
        .split_whitespace()
        .map(|word| word.split('/').next().unwrap_or(word).to_owned())
        .collect();
    ensure!(!found.is_empty(), "{seed} has no sentinels");
    Ok(found)
}

/// Where to write: every shard, and a word that hashes to it.
fn places(report: &Report) -> anyhow::Result<Vec<Place>> {
    let with_data = |shard: &&ShardReport| report.slots_assigned == 0 || !shard.slots.is_empty();
    let places = report.shards.iter().filter(with_data).map(|shard| {
        let tag = tag_for(&shard.slots).with_context(|| format!("no key for {}", shard.name))?;
        let nodes: Vec<String> = shard.members.iter().map(|node| node.address.clone()).collect();
        ensure!(!nodes.is_empty(), "{} has no nodes", shard.name);
        Ok(Place { shard: shard.name.clone(), nodes, tag })
    });
    let places: Vec<Place> = places.collect::<anyhow::Result<_>>()?;
    ensure!(!places.is_empty(), "the sentinels know no shard");
    Ok(places)
}

/// A word in one of these slots; any word if there are none (a plain group).
fn tag_for(slots: &[(u16, u16)]) -> Option<String> {
    let inside = |slot: Slot| {
        slots.is_empty() || slots.iter().any(|(first, last)| (*first..=*last).contains(&slot.get()))
    };
    (0..10_000_000u32)
        .map(|number| number.to_string())
        .find(|word| inside(slotward_types::slot_of(word.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_word() {
        for slot in [0, 1, 8191, 16_383] {
            let tag = tag_for(&[(slot, slot)]).expect("some number hashes there");
            assert_eq!(slotward_types::slot_of(tag.as_bytes()).get(), slot);
        }
        assert_eq!(tag_for(&[]).as_deref(), Some("0"));
    }
}
