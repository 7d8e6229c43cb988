//! A drill in the terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;

use super::outcome::{Loss, Outcome, ShardOutcome, Summary};

/// One round: its timelines, what happened, what became of the writes.
pub(super) fn round(outcome: &Outcome, of: u32) -> String {
    let mut text = String::new();
    let victims = outcome.victims.join(", ");
    let whose = match &outcome.shard {
        Some(shard) => format!(" ({shard} loses its master)"),
        None => String::new(),
    };
    line(
        &mut text,
        &format!("\nRound {} of {of}: {} {victims}{whose}", outcome.round, outcome.fault.name()),
    );
    let width = outcome.shards.iter().map(|shard| shard.name.len()).max().unwrap_or(0);
    for shard in &outcome.shards {
        let name = &shard.name;
        let cells = cells(&shard.timeline);
        line(&mut text, &format!("  {name:width$} {cells}"));
    }
    let mark = " ".repeat((-outcome.first_cell_ms / outcome.cell_ms as i64).max(0) as usize);
    line(&mut text, &format!("  {:width$} {mark}^ cells of {} ms", "", outcome.cell_ms));
    for event in &outcome.events {
        line(&mut text, &format!("  {:>9}  {}", format!("{:+} ms", event.at_ms), event.what));
    }
    for shard in &outcome.shards {
        line(&mut text, &format!("  {}", writes(shard)));
    }
    if outcome.writes_to_the_frozen > 0 {
        let (sent, done) = (outcome.writes_to_the_frozen, outcome.executed_by_the_thawed);
        line(
            &mut text,
            &format!("  of {sent} writes that waited for the frozen node it executed {done}"),
        );
    }
    if outcome.reads_gone_backwards > 0 {
        let times = outcome.reads_gone_backwards;
        line(&mut text, &format!("  readers saw data go back {times} times"));
    }
    for loss in &outcome.loss_reports {
        line(&mut text, &format!("  loss report: {}", lost(loss)));
    }
    for problem in &outcome.problems {
        line(&mut text, &format!("  PROBLEM: {problem}"));
    }
    text.trim_end().to_owned()
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("a string takes everything");
}

/// Blocks where somebody looks, letters elsewhere.
fn cells(timeline: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return timeline.to_owned();
    }
    let cell = |letter| match letter {
        '#' => "\x1b[32m█\x1b[0m",
        '+' => "\x1b[33m█\x1b[0m",
        'x' => "\x1b[31mx\x1b[0m",
        _ => "·",
    };
    timeline.chars().map(cell).collect()
}

fn writes(shard: &ShardOutcome) -> String {
    let errors: Vec<String> =
        shard.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
    format!(
        "{}: longest pause {} ms; {} writes acknowledged, {} of them lost; errors: {errors}; {} \
         redirects",
        shard.name,
        shard.longest_gap_ms,
        shard.acknowledged,
        shard.lost_acknowledged,
        shard.redirects
    )
}

fn lost(loss: &Loss) -> String {
    let Loss { epoch, taken, end, lost_bytes, exact, .. } = loss;
    match (lost_bytes, exact) {
        (0, true) => format!("epoch {epoch}: nothing was left behind at {end}"),
        (0, false) => format!("epoch {epoch}: nothing is known to be left behind at {end}"),
        (_, true) => format!("epoch {epoch}: {lost_bytes} bytes left behind, {taken} to {end}"),
        (_, false) => {
            format!("epoch {epoch}: at least {lost_bytes} bytes left behind, {taken} to {end}")
        }
    }
}

/// The whole drill in a few lines.
pub(super) fn summary(summary: &Summary) -> String {
    let Summary { outage_median_ms, outage_max_ms, acknowledged, lost_acknowledged, .. } = summary;
    let stop = summary.stop_max_ms.map_or_else(String::new, |ms| format!(", ended within {ms} ms"));
    format!(
        "{} rounds of {}: pause of writes median {outage_median_ms} ms, longest {outage_max_ms} ms\
         {stop}; {acknowledged} writes acknowledged, {lost_acknowledged} of them lost; other shards: \
         longest pause {} ms, {} errors; {} problems",
        summary.rounds.len(),
        summary.fault.name(),
        summary.healthy_gap_max_ms,
        summary.healthy_errors,
        summary.problems
    )
}
