//! Which hashes have fields that end, by slot and time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use slotward_types::{Slot, UnixMillis};

use crate::keyspace::DbIndex;

/// So many mutexes that threads working on different slots hardly ever meet at one.
const SHARDS: usize = 64;

/// The earliest end of a field of a hash, ordered so that a slot's are together, earliest first.
type Due = (u16, i64, u16, Box<[u8]>);

/// For each hash with such fields, its earliest end. Kept beside the tables because, unlike the end
/// of a key, it changes inside of the value.
pub(crate) struct FieldExpiry {
    shards: Box<[Mutex<BTreeSet<Due>>]>,
}

impl FieldExpiry {
    pub(crate) fn new() -> FieldExpiry {
        FieldExpiry { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn with<R>(&self, slot: Slot, act: impl FnOnce(&mut BTreeSet<Due>) -> R) -> R {
        let shard = &self.shards[slot.index() % SHARDS];
        act(&mut shard.lock().expect("nothing panics while it holds the lock"))
    }

    /// The hash at the key had its earliest end at `was` and has it at `is`.
    pub(crate) fn moved(
        &self,
        slot: Slot,
        db: DbIndex,
        key: &[u8],
        was: Option<UnixMillis>,
        is: Option<UnixMillis>,
    ) {
        self.with(slot, |hashes| {
            if let Some(at) = was {
                hashes.remove(&(slot.get(), at.0, db.0, key.into()));
            }
            if let Some(at) = is {
                hashes.insert((slot.get(), at.0, db.0, key.into()));
            }
        });
    }

    /// Hashes of the slot with fields whose time has come, at most `count`. They are forgotten: who
    /// takes them notes what is left to end.
    pub(crate) fn take_due(
        &self,
        slot: Slot,
        now: UnixMillis,
        count: usize,
    ) -> Vec<(DbIndex, Box<[u8]>)> {
        self.with(slot, |hashes| {
            let mut due = Vec::new();
            let from: Due = (slot.get(), i64::MIN, 0, Box::default());
            while due.len() < count {
                let Some(first) = hashes.range(&from..).next().cloned() else { break };
                if first.0 != slot.get() || now.0 <= first.1 {
                    break;
                }
                hashes.remove(&first);
                due.push((DbIndex(first.2), first.3));
            }
            due
        })
    }

    /// The database is empty.
    pub(crate) fn forget(&self, db: DbIndex) {
        for shard in &self.shards {
            let mut hashes = shard.lock().expect("nothing panics while it holds the lock");
            hashes.retain(|(_, _, other, _)| *other != db.0);
        }
    }

    /// Two databases have changed places.
    pub(crate) fn swap(&self, a: DbIndex, b: DbIndex) {
        for shard in &self.shards {
            let mut hashes = shard.lock().expect("nothing panics while it holds the lock");
            let all = std::mem::take(&mut *hashes);
            hashes.extend(all.into_iter().map(|(slot, at, db, key)| {
                let db = match DbIndex(db) {
                    db if db == a => b,
                    db if db == b => a,
                    db => db,
                };
                (slot, at, db.0, key)
            }));
        }
    }

    /// What was noted elsewhere is true here now, and nothing else.
    pub(crate) fn take_over(&self, other: &FieldExpiry) {
        for (ours, theirs) in self.shards.iter().zip(&other.shards) {
            let theirs = std::mem::take(&mut *theirs.lock().expect("the other is at rest"));
            *ours.lock().expect("nothing panics while it holds the lock") = theirs;
        }
    }

    /// The earliest end in the slot.
    pub(crate) fn first(&self, slot: Slot) -> Option<UnixMillis> {
        self.with(slot, |hashes| {
            let from: Due = (slot.get(), i64::MIN, 0, Box::default());
            let first = hashes.range(&from..).next().filter(|first| first.0 == slot.get());
            first.map(|first| UnixMillis(first.1))
        })
    }
}
