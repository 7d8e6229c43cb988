//! The clients of a drill: numbered writers and readers, each on one shard, and what they saw.
//!
//! A writer appends 1, 2, 3… to a list of its own, one after the other, and never the same number
//! twice: what is in the list afterwards tells of each whether it is there, whatever its client was
//! told. A reader asks for the list's length, which only an acknowledged write that is lost can make
//! smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use slotward_resp::Value;

use super::route::{Route, Trouble};

/// How many numbers are read back at a time.
const CHUNK: usize = 5_000;
/// How long a reply is waited for when lists are read back.
const READ_BACK: Duration = Duration::from_secs(5);
/// Between two questions of a reader.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Errors noted one by one; the others are only counted.
const NOTED_MAX: usize = 100_000;

/// What one writer saw.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Each acknowledged number, when, and by which node (an index into `nodes`).
    pub(super) acknowledged: Vec<(u64, Instant, usize)>,
    /// The nodes that acknowledged.
    pub(super) nodes: Vec<String>,
    /// When something went wrong.
    pub(super) troubles: Vec<Instant>,
    /// What went wrong, how often.
    pub(super) kinds: BTreeMap<String, u64>,
    /// Redirects followed.
    pub(super) redirects: u64,
}

impl Seen {
    fn note(&mut self, number: u64, answered: Result<String, Trouble>) {
        match answered {
            Ok(node) => {
                let known = self.nodes.iter().position(|known| *known == node);
                let index = known.unwrap_or_else(|| {
                    self.nodes.push(node);
                    self.nodes.len() - 1
                });
                self.acknowledged.push((number, Instant::now(), index));
            }
            Err(trouble) => {
                if self.troubles.len() < NOTED_MAX {
                    self.troubles.push(Instant::now());
                }
                *self.kinds.entry(trouble.word().to_owned()).or_default() += 1;
            }
        }
    }

    /// The longest time between two acknowledgements that follow each other, of which the later came
    /// in this span; until its end if none came any more.
    pub(super) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let first = self.acknowledged.partition_point(|(_, at, _)| *at < from);
        let mut last = match first {
            0 => from,
            _ => self.acknowledged[first - 1].1,
        };
        let mut longest = Duration::ZERO;
        for (_, at, _) in self.acknowledged[first..].iter().take_while(|(_, at, _)| *at <= to) {
            longest = longest.max(at.saturating_duration_since(last));
            last = *at;
        }
        longest.max(to.saturating_duration_since(last))
    }
}

/// A shard as clients need it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The shard's name.
    pub(super) shard: String,
    /// Its nodes, the master first.
    pub(super) nodes: Vec<String>,
    /// A word whose hash slot the shard owns.
    pub(super) tag: String,
}

/// How the clients behave.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// How long a reply is waited for.
    pub(super) patience: Duration,
    /// Between two writes of a writer.
    pub(super) pause: Duration,
    /// Writers on each shard.
    pub(super) writers: usize,
    /// The nodes' password.
    pub(super) password: Option<String>,
}

/// A writer at work.
pub(super) struct Writer {
    /// Which shard it writes to.
    pub(super) place: Place,
    key: String,
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// What it has seen so far.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock())
    }
}

/// All clients of a round.
pub(super) struct Load {
    /// The writers.
    pub(super) writers: Vec<Writer>,
    readers: Vec<JoinHandle<u64>>,
    stop: Arc<AtomicBool>,
    manner: Manner,
}

/// What became of the writes of one writer.
#[derive(Debug)]
pub(super) struct Written {
    /// Which shard it wrote to.
    pub(super) shard: String,
    /// What it saw.
    pub(super) seen: Seen,
    /// Acknowledged numbers that are not in the list.
    pub(super) lost: u64,
    /// Numbers that nobody acknowledged and that are in the list all the same.
    pub(super) unknown_kept: u64,
}

impl Load {
    /// Starts the clients. `run` makes their keys differ from those of other rounds.
    pub(super) fn start(places: &[Place], manner: &Manner, run: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Load {
            writers: Vec::new(),
            readers: Vec::new(),
            stop: Arc::clone(&stop),
            manner: manner.clone(),
        };
        for place in places {
            for index in 0..manner.writers {
                let key = format!("drill:{{{}}}:{run}:{index}", place.tag);
                let seen = Arc::new(Mutex::new(Seen::default()));
                let work = (load.route(place), key.clone(), Arc::clone(&seen), Arc::clone(&stop));
                let pause = manner.pause;
                let thread = std::thread::spawn(move || {
                    let (route, key, seen, stop) = work;
                    write(route, &key, &seen, &stop, pause);
                });
                load.writers.push(Writer { place: place.clone(), key, seen, thread });
            }
            let key = format!("drill:{{{}}}:{run}:0", place.tag);
            let work = (load.route(place), Arc::clone(&stop));
            let reader = std::thread::spawn(move || read(work.0, &key, &work.1));
            load.readers.push(reader);
        }
        load
    }

    fn route(&self, place: &Place) -> Route {
        Route::new(&place.nodes, self.manner.password.as_deref(), self.manner.patience)
    }

    /// Stops the clients, reads back what they wrote and removes it. Gives what became of the writes,
    /// and how often a reader saw a list become shorter.
    ///
    /// # Errors
    /// When a shard does not answer in time.
    pub(super) fn finish(self, deadline: Instant) -> anyhow::Result<(Vec<Written>, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut backwards = 0;
        for reader in self.readers {
            backwards += reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
        }
        let mut results = Vec::new();
        for Writer { place, key, seen, thread } in self.writers {
            thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
            let (password, patience) = (self.manner.password.as_deref(), self.manner.patience);
            let mut route = Route::new(&place.nodes, password, patience.max(READ_BACK));
            let kept = read_back(&mut route, &key, deadline)
                .with_context(|| format!("reading back what was written to {}", place.shard))?;
            let seen = seen.lock().clone();
            let acknowledged: BTreeSet<u64> = seen.acknowledged.iter().map(|ack| ack.0).collect();
            results.push(Written {
                shard: place.shard,
                lost: acknowledged.difference(&kept).count() as u64,
                unknown_kept: kept.difference(&acknowledged).count() as u64,
                seen,
            });
        }
        Ok((results, backwards))
    }
}

fn write(mut route: Route, key: &str, seen: &Mutex<Seen>, stop: &AtomicBool, pause: Duration) {
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let answer = route.call(&["RPUSH", key, &number.to_string()]);
        let mut seen = seen.lock();
        seen.redirects += answer.redirects;
        seen.note(number, answer.outcome.map(|(_, node)| node));
        drop(seen);
        std::thread::sleep(pause);
    }
}

/// A command that changes nothing and that only a master takes: the replica of a plain group answers
/// reads, and may lack the last writes.
fn masters_only(key: &str) -> [&str; 4] {
    ["LTRIM", key, "0", "-1"]
}

/// Counts how often the list became shorter.
fn read(mut route: Route, key: &str, stop: &AtomicBool) -> u64 {
    let (mut longest, mut backwards) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if route.call(&masters_only(key)).outcome.is_ok()
            && let Ok((Value::Integer(length), _)) = route.call(&["LLEN", key]).outcome
        {
            if length < longest {
                backwards += 1;
            }
            longest = length;
        }
        std::thread::sleep(READ_PAUSE);
    }
    backwards
}

fn read_back(route: &mut Route, key: &str, deadline: Instant) -> anyhow::Result<BTreeSet<u64>> {
    let mut kept = BTreeSet::new();
    for chunk in 0.. {
        let (first, last) = (chunk * CHUNK, (chunk + 1) * CHUNK - 1);
        route
            .insist(&masters_only(key), deadline)
            .map_err(|trouble| anyhow::anyhow!("no master: {}", trouble.word()))?;
        let words = ["LRANGE", key, &first.to_string(), &last.to_string()];
        let value = route
            .insist(&words, deadline)
            .map_err(|trouble| anyhow::anyhow!("no answer: {}", trouble.word()))?;
        let Value::Array(items) = value else { bail!("{key} is no list") };
        for item in &items {
            let number = item.as_str().and_then(|text| text.parse().ok());
            kept.insert(number.context("the list holds something that no writer wrote")?);
        }
        if items.len() < CHUNK {
            break;
        }
    }
    // What is left behind if this fails does no harm.
    let _ = route.insist(&["UNLINK", key], deadline);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_acknowledgements() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut seen = Seen { nodes: vec!["a:1".into(), "b:1".into()], ..Seen::default() };
        for (number, ms, node) in [(1, 10, 0), (2, 20, 0), (4, 320, 1), (5, 330, 1)] {
            seen.acknowledged.push((number, at(ms), node));
        }
        for (why, from, to, want) in [
            ("over the fault", 15, 340, 300),
            ("from before the span", 100, 340, 300),
            ("before it", 5, 25, 10),
            ("nothing came any more", 325, 900, 570),
            ("nothing at all", 400, 900, 570),
        ] {
            let gap = seen.longest_gap(at(from), at(to)).as_millis();
            assert_eq!(gap, want, "{why}");
        }
    }
}
