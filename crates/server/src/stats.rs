//! What the workers count, and how it is added up.
//!
//! Every worker has counters of its own, which it alone writes, with plain loads and stores; whoever
//! wants to know adds them up. `CONFIG RESETSTAT` therefore resets nothing: it remembers the sums of
//! that moment, which are taken off from then on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owner may.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one command.
#[derive(Debug, Default)]
pub(crate) struct CommandCounters {
    /// Executions.
    pub(crate) calls: Counter,
    /// Ticks they took.
    pub(crate) ticks: Counter,
    /// Refused before execution.
    pub(crate) rejected: Counter,
    /// Executed with an error.
    pub(crate) failed: Counter,
}

/// The counters of one worker.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct WorkerStats {
    /// Commands executed.
    pub(crate) commands: Counter,
    /// Bytes read from clients.
    pub(crate) bytes_in: Counter,
    /// Bytes written to clients.
    pub(crate) bytes_out: Counter,
    /// Batches read.
    pub(crate) reads: Counter,
    /// Batches written.
    pub(crate) writes: Counter,
    /// Look-ups by reading commands that found the key.
    pub(crate) hits: Counter,
    /// Those that did not.
    pub(crate) misses: Counter,
    /// Error replies.
    pub(crate) errors: Counter,
    /// Keys removed because their time had come.
    pub(crate) expired: Counter,
    /// Keys removed to make room.
    pub(crate) evicted: Counter,
    /// Changes to the data set.
    pub(crate) changes: Counter,
    /// Commands that had to wait for a slot.
    pub(crate) set_aside: Counter,
    by_command: Box<[CommandCounters]>,
    by_error: Mutex<BTreeMap<String, u64>>,
}

impl WorkerStats {
    /// Counters at zero for this many commands.
    pub(crate) fn new(commands: usize) -> Self {
        WorkerStats {
            commands: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            errors: Counter::default(),
            expired: Counter::default(),
            evicted: Counter::default(),
            changes: Counter::default(),
            set_aside: Counter::default(),
            by_command: (0..commands).map(|_| CommandCounters::default()).collect(),
            by_error: Mutex::default(),
        }
    }

    /// The counters of the command with this number.
    #[inline]
    pub(crate) fn command(&self, id: usize) -> &CommandCounters {
        &self.by_command[id]
    }

    /// An error reply was written. Its first word is its kind.
    #[cold]
    pub(crate) fn on_error(&self, text: &str) {
        self.errors.add(1);
        let kind = text.split(' ').next().unwrap_or_default();
        let mut by_error = self.by_error.lock();
        if let Some(count) = by_error.get_mut(kind) {
            *count += 1;
        } else if by_error.len() < ERROR_KINDS_MAX {
            by_error.insert(kind.to_owned(), 1);
        }
    }
}

/// A script may make up error words; more kinds than this are not told apart.
const ERROR_KINDS_MAX: usize = 128;

/// Sums over all workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    /// See [`WorkerStats`].
    pub(crate) commands: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) errors: u64,
    pub(crate) expired: u64,
    /// Keys removed to make room.
    pub(crate) evicted: u64,
    pub(crate) changes: u64,
    pub(crate) set_aside: u64,
    /// Calls, ticks, rejected, failed, by command number.
    pub(crate) by_command: Vec<[u64; 4]>,
    /// Error replies by kind.
    pub(crate) by_error: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, stats: &WorkerStats) {
        for (total, counter) in [
            (&mut self.commands, &stats.commands),
            (&mut self.bytes_in, &stats.bytes_in),
            (&mut self.bytes_out, &stats.bytes_out),
            (&mut self.reads, &stats.reads),
            (&mut self.writes, &stats.writes),
            (&mut self.hits, &stats.hits),
            (&mut self.misses, &stats.misses),
            (&mut self.errors, &stats.errors),
            (&mut self.expired, &stats.expired),
            (&mut self.evicted, &stats.evicted),
            (&mut self.changes, &stats.changes),
            (&mut self.set_aside, &stats.set_aside),
        ] {
            *total += counter.get();
        }
        self.by_command.resize(stats.by_command.len(), [0; 4]);
        for (total, counters) in self.by_command.iter_mut().zip(&stats.by_command) {
            let counters = [&counters.calls, &counters.ticks, &counters.rejected, &counters.failed];
            for (total, counter) in total.iter_mut().zip(counters) {
                *total += counter.get();
            }
        }
        for (kind, count) in stats.by_error.lock().iter() {
            *self.by_error.entry(kind.clone()).or_default() += count;
        }
    }

    fn less(&mut self, base: &Totals) {
        for (total, base) in [
            (&mut self.commands, base.commands),
            (&mut self.bytes_in, base.bytes_in),
            (&mut self.bytes_out, base.bytes_out),
            (&mut self.reads, base.reads),
            (&mut self.writes, base.writes),
            (&mut self.hits, base.hits),
            (&mut self.misses, base.misses),
            (&mut self.errors, base.errors),
            (&mut self.expired, base.expired),
            (&mut self.evicted, base.evicted),
            (&mut self.set_aside, base.set_aside),
        ] {
            *total -= base;
        }
        // `changes` counts towards saving, which a reset of statistics does not touch.
        for (total, base) in self.by_command.iter_mut().zip(&base.by_command) {
            for (total, base) in total.iter_mut().zip(base) {
                *total -= base;
            }
        }
        for (kind, base) in &base.by_error {
            if let Some(count) = self.by_error.get_mut(kind) {
                *count -= base;
            }
        }
        self.by_error.retain(|_, count| *count > 0);
    }
}

/// The statistics of the node.
#[derive(Debug)]
pub(crate) struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    base: Mutex<Totals>,
    /// Connections accepted.
    pub(crate) connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub(crate) connections_refused: AtomicU64,
    /// Most connections at one time.
    pub(crate) clients_peak: AtomicU64,
    rates: Mutex<Rates>,
}

#[derive(Debug, Default)]
struct Rates {
    last_ms: i64,
    last: [u64; 3],
    per_second: [f64; 3],
}

impl Stats {
    /// Statistics of this many workers and commands.
    pub(crate) fn new(workers: usize, commands: usize) -> Self {
        Stats {
            workers: (0..workers).map(|_| Arc::new(WorkerStats::new(commands))).collect(),
            base: Mutex::default(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            clients_peak: AtomicU64::new(0),
            rates: Mutex::default(),
        }
    }

    /// The counters of one worker.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerStats> {
        self.workers[index].clone()
    }

    /// The sums since the start or the last reset.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.sums();
        totals.less(&self.base.lock());
        totals
    }

    /// Starts counting anew.
    pub(crate) fn reset(&self) {
        let mut base = self.base.lock();
        *base = self.sums();
        self.connections.store(0, Ordering::Relaxed);
        self.connections_refused.store(0, Ordering::Relaxed);
    }

    /// Commands, bytes in and bytes out per second, as of the last [`Stats::sample`].
    pub(crate) fn per_second(&self) -> [f64; 3] {
        self.rates.lock().per_second
    }

    /// To be called now and then: updates the rates.
    pub(crate) fn sample(&self, now_ms: i64) {
        let sum = |pick: fn(&WorkerStats) -> &Counter| {
            self.workers.iter().map(|stats| pick(stats).get()).sum::<u64>()
        };
        let counts = [sum(|s| &s.commands), sum(|s| &s.bytes_in), sum(|s| &s.bytes_out)];
        let mut rates = self.rates.lock();
        let elapsed_ms = now_ms - rates.last_ms;
        if rates.last_ms != 0 && elapsed_ms > 0 {
            let last = rates.last;
            let each = rates.per_second.iter_mut().zip(counts).zip(last);
            for ((per_second, count), last) in each {
                // The counts start over with CONFIG RESETSTAT.
                let fresh = count.saturating_sub(last) as f64 * 1000.0 / elapsed_ms as f64;
                // A moving average over a second or two, so that one quiet sample is not silence.
                *per_second = *per_second * 0.9 + fresh * 0.1;
            }
        }
        rates.last = counts;
        rates.last_ms = now_ms;
    }

    fn sums(&self) -> Totals {
        let mut totals = Totals::default();
        self.workers.iter().for_each(|stats| totals.add(stats));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_workers_and_since_the_reset() {
        let stats = Stats::new(2, 3);
        for index in 0..2 {
            let worker = stats.worker(index);
            worker.commands.add(5);
            worker.command(1).calls.add(5);
            worker.on_error("WRONGTYPE no such thing");
        }
        let totals = stats.totals();
        assert_eq!((totals.commands, totals.by_command[1][0]), (10, 10));
        assert_eq!(totals.by_error["WRONGTYPE"], 2);
        stats.reset();
        stats.worker(0).commands.add(1);
        let totals = stats.totals();
        assert_eq!((totals.commands, totals.errors), (1, 0));
        assert!(totals.by_error.is_empty(), "kinds without errors are not listed");
    }

    #[test]
    fn made_up_error_words_cannot_fill_the_memory() {
        let worker = WorkerStats::new(0);
        (0..1000).for_each(|number| worker.on_error(&format!("E{number} x")));
        assert_eq!(worker.by_error.lock().len(), ERROR_KINDS_MAX);
        assert_eq!(worker.errors.get(), 1000);
    }
}
