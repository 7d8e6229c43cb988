//! What a drill found out, as data: printed as it is with `--json`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Fault;
use super::load::Written;
use crate::cluster::status::TakeoverReport;

/// Cells in a row of a timeline.
const CELLS_MAX: u128 = 100;
/// How much of the time before the fault a timeline shows.
const BEFORE: Duration = Duration::from_millis(500);

/// One round.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) round: u32,
    pub(super) fault: Fault,
    /// What it happened to.
    pub(super) victims: Vec<String>,
    /// The shard that lost its master, if one did.
    pub(super) shard: Option<String>,
    /// Its longest time without an acknowledged write.
    pub(super) outage_ms: u64,
    /// Whether it took writes again, and the victims came back.
    pub(super) recovered: bool,
    /// From the moment at which the victims were let back to that at which all was as before.
    pub(super) back_after_ms: Option<u64>,
    /// How long the process took to end, when asked to, and its exit status, if it was our child.
    pub(super) stop_ms: Option<u64>,
    pub(super) exit_status: Option<i32>,
    pub(super) shards: Vec<ShardOutcome>,
    /// Acknowledged writes that are not there any more, on all shards.
    pub(super) lost_acknowledged: u64,
    /// How often a reader saw a list become shorter.
    pub(super) reads_gone_backwards: u64,
    /// Writes put into the sockets of a node that stood still.
    pub(super) writes_to_the_frozen: u64,
    /// How many of them it executed as a master when it went on.
    pub(super) executed_by_the_thawed: u64,
    /// What the sentinels recorded of this change of master.
    pub(super) loss_reports: Vec<Loss>,
    pub(super) events: Vec<Event>,
    /// The time that one cell of a timeline stands for, and at which the first begins.
    pub(super) cell_ms: u64,
    pub(super) first_cell_ms: i64,
    /// What must not happen, and did.
    pub(super) problems: Vec<String>,
}

/// What the clients of one shard saw.
#[derive(Debug, Serialize)]
pub(super) struct ShardOutcome {
    pub(super) name: String,
    /// Whether the fault was to its master.
    pub(super) affected: bool,
    pub(super) longest_gap_ms: u64,
    pub(super) acknowledged: u64,
    pub(super) lost_acknowledged: u64,
    /// Writes without an answer that took effect.
    pub(super) unanswered_kept: u64,
    pub(super) redirects: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// One character a cell: `#` writes acknowledged, `+` that and errors, `x` only errors, `.`
    /// nothing.
    pub(super) timeline: String,
}

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    /// When, counted from the fault.
    pub(super) at_ms: i64,
    pub(super) what: String,
}

/// What a change of master left behind, by the sentinels' record.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Loss {
    pub(super) epoch: u64,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) taken: u64,
    pub(super) end: u64,
    pub(super) lost_bytes: u64,
    pub(super) exact: bool,
}

impl From<&TakeoverReport> for Loss {
    fn from(report: &TakeoverReport) -> Loss {
        Loss {
            epoch: report.epoch,
            from: report.from.clone(),
            to: report.to.clone(),
            taken: report.taken,
            end: report.end,
            lost_bytes: report.lost_bytes,
            exact: report.exact,
        }
    }
}

/// The whole drill.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) fault: Fault,
    pub(super) outage_median_ms: u64,
    pub(super) outage_max_ms: u64,
    pub(super) stop_max_ms: Option<u64>,
    pub(super) acknowledged: u64,
    pub(super) lost_acknowledged: u64,
    /// Longest time without a write on shards that the fault was not about.
    pub(super) healthy_gap_max_ms: u64,
    pub(super) healthy_errors: u64,
    pub(super) problems: usize,
    pub(super) rounds: Vec<Outcome>,
}

impl Summary {
    /// Adds the rounds up.
    pub(super) fn of(fault: Fault, rounds: Vec<Outcome>) -> Summary {
        let mut outages: Vec<u64> = rounds.iter().map(|round| round.outage_ms).collect();
        outages.sort_unstable();
        let shards = || rounds.iter().flat_map(|round| round.shards.iter());
        let healthy = || shards().filter(|shard| !shard.affected);
        Summary {
            fault,
            outage_median_ms: outages.get(outages.len() / 2).copied().unwrap_or(0),
            outage_max_ms: outages.last().copied().unwrap_or(0),
            stop_max_ms: rounds.iter().filter_map(|round| round.stop_ms).max(),
            acknowledged: shards().map(|shard| shard.acknowledged).sum(),
            lost_acknowledged: shards().map(|shard| shard.lost_acknowledged).sum(),
            healthy_gap_max_ms: healthy().map(|shard| shard.longest_gap_ms).max().unwrap_or(0),
            healthy_errors: healthy().flat_map(|shard| shard.errors.values()).sum(),
            problems: rounds.iter().map(|round| round.problems.len()).sum(),
            rounds,
        }
    }
}

/// The time that a round's timelines show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) fault: Instant,
    pub(super) end: Instant,
    pub(super) cell: Duration,
}

impl Span {
    /// From a moment before the fault to `end`, in cells of at least 50 ms.
    pub(super) fn new(fault: Instant, end: Instant) -> Span {
        let whole = (end.saturating_duration_since(fault) + BEFORE).as_millis();
        let cells = [50, 100, 200, 500, 1000, 2000, 5000, 10_000];
        let fit = cells.into_iter().find(|cell| whole.div_ceil(*cell) <= CELLS_MAX);
        let cell = fit.unwrap_or_else(|| whole.div_ceil(CELLS_MAX));
        Span { fault, end, cell: Duration::from_millis(cell as u64) }
    }

    /// When the first cell begins, counted from the fault.
    pub(super) fn first_ms(&self) -> i64 {
        -(BEFORE.as_millis() as i64)
    }

    fn index(&self, at: Instant) -> Option<usize> {
        let since = (at + BEFORE).checked_duration_since(self.fault)?;
        let index = (since.as_millis() / self.cell.as_millis()) as usize;
        (at <= self.end).then_some(index)
    }

    fn timeline(&self, written: &[&Written]) -> String {
        let count = self.index(self.end).map_or(0, |last| last + 1);
        let mut cells = vec![(false, false); count];
        let marked = |at: Instant| self.index(at).filter(|index| *index < count);
        for one in written {
            let good = one.seen.acknowledged.iter().filter_map(|(_, at, _)| marked(*at));
            good.for_each(|index| cells[index].0 = true);
            let bad = one.seen.troubles.iter().filter_map(|at| marked(*at));
            bad.for_each(|index| cells[index].1 = true);
        }
        let letter = |cell: &(bool, bool)| match cell {
            (true, false) => '#',
            (true, true) => '+',
            (false, true) => 'x',
            (false, false) => '.',
        };
        cells.iter().map(letter).collect()
    }

    /// Adds up what the writers of one shard saw.
    pub(super) fn shard(&self, name: &str, affected: bool, all: &[Written]) -> ShardOutcome {
        let of_it: Vec<&Written> = all.iter().filter(|one| one.shard == name).collect();
        let mut errors = BTreeMap::new();
        for (kind, count) in of_it.iter().flat_map(|one| &one.seen.kinds) {
            *errors.entry(kind.clone()).or_default() += count;
        }
        let gap = |one: &&Written| one.seen.longest_gap(self.fault, self.end);
        ShardOutcome {
            name: name.to_owned(),
            affected,
            longest_gap_ms: millis(of_it.iter().map(gap).max().unwrap_or_default()),
            acknowledged: of_it.iter().map(|one| one.seen.acknowledged.len() as u64).sum(),
            lost_acknowledged: of_it.iter().map(|one| one.lost).sum(),
            unanswered_kept: of_it.iter().map(|one| one.unknown_kept).sum(),
            redirects: of_it.iter().map(|one| one.seen.redirects).sum(),
            errors,
            timeline: self.timeline(&of_it),
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::load::Seen;

    #[test]
    fn a_timeline_shows_what_each_cell_saw() {
        let fault = Instant::now() + Duration::from_secs(10);
        let at = |ms: i64| {
            let offset = Duration::from_millis(ms.unsigned_abs());
            if ms < 0 { fault - offset } else { fault + offset }
        };
        let mut seen = Seen { nodes: vec!["a:1".into()], ..Seen::default() };
        seen.acknowledged = [-499, -60, 210].map(|ms| (1, at(ms), 0)).into();
        seen.troubles = vec![at(-60), at(10), at(120)];
        let written = Written { shard: "s".into(), seen, lost: 2, unknown_kept: 1 };
        let span = Span::new(fault, at(299));
        let shard = span.shard("s", true, &[written]);
        assert_eq!(span.cell.as_millis(), 50);
        assert_eq!(shard.timeline, "#.......+.x.x.#.");
        assert_eq!((shard.longest_gap_ms, shard.lost_acknowledged), (270, 2));
    }

    #[test]
    fn a_long_round_has_wider_cells() {
        let now = Instant::now();
        let span = Span::new(now, now + Duration::from_secs(60));
        assert_eq!(span.cell, Duration::from_secs(1));
    }
}
