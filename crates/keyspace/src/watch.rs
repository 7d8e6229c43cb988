//! `WATCH`: who wants to know that a key changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use slotward_types::Slot;

use crate::hash::Key;
use crate::keyspace::DbIndex;

const SLOT_WORDS: usize = Slot::COUNT as usize / 64;

struct Watched {
    db: DbIndex,
    key: Box<[u8]>,
    dirty: AtomicBool,
}

/// All watches of a keyspace.
pub(crate) struct Watches {
    /// How many there are: usually none, and then writers look no further.
    count: AtomicUsize,
    /// Slots with watched keys. Changed under the mutex only.
    slots: [AtomicU64; SLOT_WORDS],
    by_slot: Mutex<BTreeMap<Slot, Vec<Arc<Watched>>>>,
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            slots: [const { AtomicU64::new(0) }; SLOT_WORDS],
            by_slot: Mutex::default(),
        }
    }

    /// Begins a watch. The caller holds the slot.
    pub(crate) fn add(self: &Arc<Self>, db: DbIndex, key: &Key<'_>) -> Watch {
        let watched =
            Arc::new(Watched { db, key: key.bytes.into(), dirty: AtomicBool::new(false) });
        let mut by_slot = self.by_slot.lock();
        by_slot.entry(key.slot).or_default().push(Arc::clone(&watched));
        self.count.fetch_add(1, Ordering::Relaxed);
        let (word, bit) = position(key.slot);
        self.slots[word].fetch_or(bit, Ordering::Relaxed);
        Watch { watches: Arc::clone(self), slot: key.slot, watched }
    }

    /// Whether a key of the slot is watched. Exact for who holds the slot as far as watches that
    /// began before are concerned.
    #[inline]
    pub(crate) fn any_in(&self, slot: Slot) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (word, bit) = position(slot);
        self.slots[word].load(Ordering::Relaxed) & bit != 0
    }

    /// The key changed. The caller holds its slot.
    #[inline]
    pub(crate) fn changed(&self, slot: Slot, db: DbIndex, key: &[u8]) {
        if self.any_in(slot) {
            self.mark(slot, |watched_db, watched_key| watched_db == db && watched_key == key);
        }
    }

    /// Marks the watches of the slot whose database and key the filter tells. The caller holds the
    /// slot.
    #[cold]
    pub(crate) fn mark(&self, slot: Slot, mut filter: impl FnMut(DbIndex, &[u8]) -> bool) {
        let by_slot = self.by_slot.lock();
        for watched in by_slot.get(&slot).into_iter().flatten() {
            if filter(watched.db, &watched.key) {
                watched.dirty.store(true, Ordering::Release);
            }
        }
    }

    fn remove(&self, slot: Slot, watched: &Arc<Watched>) {
        let mut by_slot = self.by_slot.lock();
        let list = by_slot.get_mut(&slot).expect("a watch is registered until it is dropped");
        list.retain(|other| !Arc::ptr_eq(other, watched));
        if list.is_empty() {
            by_slot.remove(&slot);
            let (word, bit) = position(slot);
            self.slots[word].fetch_and(!bit, Ordering::Relaxed);
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn position(slot: Slot) -> (usize, u64) {
    (slot.index() / 64, 1 << (slot.index() % 64))
}

/// A watched key. Dropping it ends the watch.
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    watches: Arc<Watches>,
    slot: Slot,
    watched: Arc<Watched>,
}

impl Watch {
    /// Whether the key changed since the watch began (or its database was flushed or swapped).
    /// Definite while its slot is held.
    pub fn is_dirty(&self) -> bool {
        self.watched.dirty.load(Ordering::Acquire)
    }

    /// The slot of the key.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The database of the key.
    pub fn db(&self) -> DbIndex {
        self.watched.db
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.watched.key
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watches.remove(self.slot, &self.watched);
    }
}
