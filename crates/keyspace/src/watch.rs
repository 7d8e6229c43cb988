//! Who wants to know that a key changed: `WATCH`, those who wait for a key ([`crate::waiting`]), and
//! the one who listens ([`crate::listen`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use slotward_types::Slot;

use crate::hash::Key;
use crate::keyspace::DbIndex;
use crate::listen::Ears;
use crate::waiting::AwaitedKeys;

const SLOT_WORDS: usize = Slot::COUNT as usize / 64;
/// The side tables of slots are spread over this many mutexes.
const SHARDS: usize = 64;

struct Watched {
    db: DbIndex,
    key: Box<[u8]>,
    dirty: AtomicBool,
    /// What lies there came by a swap when its time was over already: to the watcher there is
    /// nothing, and its removal, the next change of the key, is none.
    stale: AtomicBool,
}

/// What becomes of a watched key when its whole database is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// It was absent and is absent.
    Absent,
    /// It was absent, and is now a key whose time is over.
    Stale,
    /// It was there, or is there now.
    Changed,
}

/// Who is interested in the keys of one slot.
#[derive(Default)]
pub(crate) struct Interests {
    watched: Vec<Arc<Watched>>,
    pub(crate) awaited: AwaitedKeys,
}

type Shard = BTreeMap<Slot, Interests>;

/// All watches and waits of a keyspace.
pub(crate) struct Watches {
    /// How many there are: usually none, and then writers look no further.
    count: AtomicUsize,
    /// How many keys are ready.
    ready: AtomicUsize,
    /// Numbers waits, and the moments in which keys become ready.
    numbers: AtomicU64,
    /// Slots with keys that somebody is interested in. Changed under the slot's shard only.
    slots: [AtomicU64; SLOT_WORDS],
    shards: Box<[Mutex<Shard>]>,
    pub(crate) ears: Ears,
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            slots: [const { AtomicU64::new(0) }; SLOT_WORDS],
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            ears: Ears::default(),
        }
    }

    fn shard(&self, slot: Slot) -> &Mutex<Shard> {
        &self.shards[slot.index() % SHARDS]
    }

    /// Changes what belongs to a slot; the change says how many interests are more, or fewer.
    pub(crate) fn change(&self, slot: Slot, change: impl FnOnce(&mut Interests) -> isize) {
        let mut shard = self.shard(slot).lock();
        let interests = shard.entry(slot).or_default();
        let more = change(interests);
        let (word, bit) = position(slot);
        if interests.watched.is_empty() && interests.awaited.is_empty() {
            shard.remove(&slot);
            self.slots[word].fetch_and(!bit, Ordering::Relaxed);
        } else if more > 0 {
            self.slots[word].fetch_or(bit, Ordering::Relaxed);
        }
        // Two's complement: adding the bits of a negative number subtracts.
        self.count.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
    }

    /// Looks at what belongs to a slot, if anything does.
    pub(crate) fn look<R>(&self, slot: Slot, look: impl FnOnce(&Interests) -> R) -> Option<R> {
        self.shard(slot).lock().get(&slot).map(look)
    }

    /// The slots of which this holds.
    pub(crate) fn slots_where(&self, holds: impl Fn(&Interests) -> bool) -> Vec<Slot> {
        let shards = self.shards.iter().map(|shard| shard.lock());
        shards
            .flat_map(|shard| {
                let found = shard.iter().filter(|(_, interests)| holds(interests));
                found.map(|(slot, _)| *slot).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Looks at all there are, some at a time.
    pub(crate) fn look_at_all(&self, mut look: impl FnMut(&Interests)) {
        for shard in &self.shards {
            shard.lock().values().for_each(&mut look);
        }
    }

    /// A number above all that were given before.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[inline]
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn ready_fewer(&self, count: usize) {
        if count > 0 {
            self.ready.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// The key is ready, if somebody waits for it. The caller holds the slot.
    pub(crate) fn mark_ready(&self, slot: Slot, db: DbIndex, key: &[u8], at: u64) {
        let mut shard = self.shard(slot).lock();
        let Some(interests) = shard.get_mut(&slot) else { return };
        if interests.awaited.changed(slot, db, key, at) {
            self.ready.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins a watch. The caller holds the slot.
    pub(crate) fn add(self: &Arc<Self>, db: DbIndex, key: &Key<'_>) -> Watch {
        let watched = Arc::new(Watched {
            db,
            key: key.bytes.into(),
            dirty: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        });
        self.change(key.slot, |interests| {
            interests.watched.push(Arc::clone(&watched));
            1
        });
        Watch { watches: Arc::clone(self), slot: key.slot, watched }
    }

    /// Whether somebody is interested in a key of the slot. Exact for who holds the slot as far as
    /// interests that began before are concerned.
    #[inline]
    pub(crate) fn any_in(&self, slot: Slot) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (word, bit) = position(slot);
        self.slots[word].load(Ordering::Relaxed) & bit != 0
    }

    /// How many reasons there are to look closer at a change.
    pub(crate) fn interests(&self) -> &AtomicUsize {
        &self.count
    }

    /// The key changed, by the operation of this actor. The caller holds its slot.
    #[inline]
    pub(crate) fn changed(&self, slot: Slot, db: DbIndex, key: &[u8], actor: u64) {
        if self.count.load(Ordering::Relaxed) != 0 {
            self.look_closer(slot, db, key, actor);
        }
    }

    #[inline(never)]
    fn look_closer(&self, slot: Slot, db: DbIndex, key: &[u8], actor: u64) {
        if self.any_in(slot) {
            self.note(slot, db, key);
        }
        self.ears.changed(slot, key, actor);
    }

    #[cold]
    fn note(&self, slot: Slot, db: DbIndex, key: &[u8]) {
        let mut shard = self.shard(slot).lock();
        let Some(interests) = shard.get_mut(&slot) else { return };
        for watched in &interests.watched {
            let same = watched.db == db && *watched.key == *key;
            if same && !watched.stale.swap(false, Ordering::Relaxed) {
                watched.dirty.store(true, Ordering::Release);
            }
        }
        if !interests.awaited.is_empty()
            && interests.awaited.changed(slot, db, key, self.next_number())
        {
            self.ready.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The slot's tables are exchanged: `judge` tells what becomes of a key of a database, given
    /// whether what lies there counts as nothing. The caller holds the slot.
    #[cold]
    pub(crate) fn exchanged(
        &self,
        slot: Slot,
        mut judge: impl FnMut(DbIndex, &[u8], bool) -> Option<Exchange>,
    ) {
        let mut shard = self.shard(slot).lock();
        let Some(interests) = shard.get_mut(&slot) else { return };
        for watched in &interests.watched {
            let was_stale = watched.stale.load(Ordering::Relaxed);
            match judge(watched.db, &watched.key, was_stale) {
                None => {}
                Some(Exchange::Changed) => watched.dirty.store(true, Ordering::Release),
                Some(becomes) => watched.stale.store(becomes == Exchange::Stale, Ordering::Relaxed),
            }
        }
        let awaited = interests.awaited.keys();
        let awaited = awaited.filter(|(db, key)| judge(*db, key, false) == Some(Exchange::Changed));
        let awaited: Vec<(DbIndex, Box<[u8]>)> =
            awaited.map(|(db, key)| (db, key.into())).collect();
        for (db, key) in awaited {
            if interests.awaited.changed(slot, db, &key, self.next_number()) {
                self.ready.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn remove(&self, slot: Slot, watched: &Arc<Watched>) {
        self.change(slot, |interests| {
            interests.watched.retain(|other| !Arc::ptr_eq(other, watched));
            -1
        });
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
