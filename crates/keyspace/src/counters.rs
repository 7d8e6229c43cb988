//! Counts that every worker changes and few read: spread over cache lines by thread, folded on
//! demand.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::keyspace::DbIndex;

/// Threads share a shard only when there are more of them.
const SHARDS: usize = 16;
/// Numbers in a shard come in multiples of two cache lines, which are fetched together.
const LINE: usize = 16;

/// What is counted for each database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Keys.
    Keys,
    /// Keys with an expiry.
    Volatile,
    /// Bytes of entries, what is behind them, and groups.
    Bytes,
}

const COUNTED: [Counted; 3] = [Counted::Keys, Counted::Volatile, Counted::Bytes];

/// All counters of a keyspace.
pub(crate) struct Counters {
    numbers: Box<[AtomicI64]>,
    stride: usize,
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

impl Counters {
    pub(crate) fn new(databases: u16) -> Self {
        let stride = (usize::from(databases) * COUNTED.len()).next_multiple_of(LINE);
        Self { numbers: (0..SHARDS * stride).map(|_| AtomicI64::new(0)).collect(), stride }
    }

    fn index(db: DbIndex, counted: Counted) -> usize {
        usize::from(db.0) * COUNTED.len() + counted as usize
    }

    /// Adds to a count.
    #[inline]
    pub(crate) fn add(&self, db: DbIndex, counted: Counted, delta: i64) {
        if delta != 0 {
            let index = shard() * self.stride + Self::index(db, counted);
            self.numbers[index].fetch_add(delta, Ordering::Relaxed);
        }
    }

    fn sum(&self, db: DbIndex, counted: Counted) -> i64 {
        let index = Self::index(db, counted);
        let shards = self.numbers.chunks_exact(self.stride);
        shards.map(|shard| shard[index].load(Ordering::Relaxed)).sum()
    }

    /// The count. While others change it, it may be off by what they are about to add.
    pub(crate) fn get(&self, db: DbIndex, counted: Counted) -> u64 {
        // A removal may be seen before the insertion that came first, on another shard.
        self.sum(db, counted).max(0) as u64
    }

    /// Sets all counts of a database to zero.
    pub(crate) fn reset(&self, db: DbIndex) {
        for counted in COUNTED {
            self.add(db, counted, -self.sum(db, counted));
        }
    }

    /// Sets the counts of a database to those of another keyspace, which become zero.
    pub(crate) fn take_over(&self, other: &Counters, db: DbIndex) {
        for counted in COUNTED {
            self.add(db, counted, other.sum(db, counted) - self.sum(db, counted));
        }
        other.reset(db);
    }

    /// Exchanges the counts of two databases.
    pub(crate) fn swap(&self, a: DbIndex, b: DbIndex) {
        for counted in COUNTED {
            let difference = self.sum(b, counted) - self.sum(a, counted);
            self.add(a, counted, difference);
            self.add(b, counted, -difference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fold_over_threads_and_follow_a_swap() {
        let counters = Counters::new(7);
        let (a, b) = (DbIndex(0), DbIndex(6));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| counters.add(a, Counted::Keys, 3));
                scope.spawn(|| counters.add(b, Counted::Keys, 1));
            }
        });
        assert_eq!((counters.get(a, Counted::Keys), counters.get(b, Counted::Keys)), (60, 20));
        counters.swap(a, b);
        assert_eq!((counters.get(a, Counted::Keys), counters.get(b, Counted::Keys)), (20, 60));
        counters.reset(b);
        assert_eq!((counters.get(a, Counted::Keys), counters.get(b, Counted::Keys)), (20, 0));
        assert_eq!(counters.get(a, Counted::Bytes), 0);
    }
}
