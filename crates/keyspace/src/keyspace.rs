//! All databases of a node: what does not need a slot.

use std::sync::Arc;

use parking_lot::Mutex;
use slotward_types::{Slot, UnixMillis, slot_of};

use crate::access::{AccessRule, RuleCell};
use crate::counters::{Counted, Counters};
use crate::entry::EntryView;
use crate::field_expiry::FieldExpiry;
use crate::hash::{Key, hash_bytes, set_collection_seed};
use crate::lock::{LockByte, Queues, SlotGuard};
use crate::slots::Slots;
use crate::snapshot::Snapshots;
use crate::value::{Value, ValueRef};
use crate::watch::{Watch, Watches};

/// The number of a database, as `SELECT` takes it. Whether it exists is for
/// [`Keyspace::databases`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DbIndex(pub u16);

/// Which databases an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbSet {
    /// All of them.
    All,
    /// This one.
    One(DbIndex),
}

/// Large values wait for [`Keyspace::take_garbage`] up to this number; further ones are freed on the
/// spot, so that nothing piles up if nobody comes.
const GARBAGE_MAX: usize = 256;

/// All databases of a node, shared by its threads through slot locks.
pub struct Keyspace {
    pub(crate) slots: Slots,
    queues: Queues,
    pub(crate) counters: Counters,
    pub(crate) snapshots: Snapshots,
    pub(crate) watches: Arc<Watches>,
    pub(crate) access_rule: RuleCell,
    pub(crate) field_expiry: FieldExpiry,
    garbage: Mutex<Vec<Value>>,
}

impl Keyspace {
    /// An empty keyspace of so many databases (at least one), hashing under this seed.
    pub fn new(databases: u16, seed: u64) -> Keyspace {
        let databases = databases.max(1);
        set_collection_seed(seed);
        Keyspace {
            slots: Slots::new(databases, seed),
            queues: Queues::new(),
            counters: Counters::new(databases),
            snapshots: Snapshots::new(u32::from(databases)),
            watches: Arc::new(Watches::new()),
            access_rule: RuleCell::default(),
            field_expiry: FieldExpiry::new(),
            garbage: Mutex::default(),
        }
    }

    /// How many databases there are.
    pub fn databases(&self) -> u16 {
        self.slots.databases()
    }

    /// Says what a use of a key notes from now on. What entries hold from before is read by the new
    /// rule, which sorts itself out as they are used.
    pub fn set_access_rule(&self, rule: AccessRule) {
        self.access_rule.set(rule);
    }

    /// The key with its slot and hash.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, slot: slot_of(bytes), hash: hash_bytes(self.slots.seed(), bytes) }
    }

    /// Asks the processor to fetch the slot's header.
    #[inline]
    pub fn prefetch_slot(&self, _db: DbIndex, key: &Key<'_>) {
        self.slots.prefetch_slot(key.slot);
    }

    /// Asks the processor to fetch the key's group, in database 0. Useful when the header is in the
    /// cache.
    #[inline]
    pub fn prefetch_group(&self, db: DbIndex, key: &Key<'_>) {
        if db.0 == 0 {
            self.slots.prefetch_group(key.slot, key.hash);
        }
    }

    /// Asks the processor to fetch the entry that is likely the key's. Useful when the group is in
    /// the cache. Does nothing when the slot is held.
    #[inline]
    #[allow(unsafe_code)]
    pub fn prefetch_entry(&self, db: DbIndex, key: &Key<'_>) {
        if !self.lock_byte(key.slot).try_take() {
            return;
        }
        if let Some(table) = self.slots.table(db, key.slot) {
            // SAFETY: the slot is held from the line above to the line below.
            unsafe { (*table).prefetch_entry(key.hash) };
        }
        self.unlock(key.slot);
    }

    /// Asks the processor to fetch these members of the collection at the key, if it is a large hash,
    /// set or sorted set. Useful when the entry is in the cache. Does nothing when the slot is held.
    #[allow(unsafe_code)]
    pub fn prefetch_members(&self, db: DbIndex, key: &Key<'_>, members: &[&[u8]]) {
        if !self.lock_byte(key.slot).try_take() {
            return;
        }
        if let Some(table) = self.slots.table(db, key.slot) {
            // SAFETY: the slot is held from the line above to the line below.
            let found = unsafe { (*table).find(key.hash, key.bytes) };
            match found.map(EntryView::value) {
                Some(ValueRef::Hash(hash)) => hash.prefetch(members),
                Some(ValueRef::Set(set)) => set.prefetch(members),
                Some(ValueRef::ZSet(zset)) => zset.prefetch(members),
                _ => {}
            }
        }
        self.unlock(key.slot);
    }

    /// How many keys the database has.
    pub fn dbsize(&self, db: DbIndex) -> u64 {
        self.counters.get(db, Counted::Keys)
    }

    /// How many keys of the database have an expiry.
    pub fn volatile_keys(&self, db: DbIndex) -> u64 {
        self.counters.get(db, Counted::Volatile)
    }

    /// The slots that hold keys of this database, ascending, as they are when passed.
    pub fn used_slots(&self, db: DbIndex) -> impl Iterator<Item = Slot> + '_ {
        let next = move |slot: &Slot| self.slots.next_used(db, slot.index() + 1);
        std::iter::successors(self.slots.next_used(db, 0), next)
    }

    /// The first slot at or after this one that holds keys of this database.
    pub fn next_used_slot(&self, db: DbIndex, from: Slot) -> Option<Slot> {
        self.slots.next_used(db, from.index())
    }

    /// Bytes that keys and values occupy, estimated from what was asked of the allocator.
    pub fn memory_used(&self) -> u64 {
        (0..self.databases()).map(|db| self.counters.get(DbIndex(db), Counted::Bytes)).sum()
    }

    /// Appends slots that hold keys whose time has come, from this slot on and around, at most
    /// `max`.
    pub fn slots_due(&self, now: UnixMillis, from: Slot, max: usize, out: &mut Vec<Slot>) {
        let around = Slot::all().skip(from.index()).chain(Slot::all().take(from.index()));
        out.extend(around.filter(|slot| self.slots.is_due(*slot, now.0)).take(max));
    }

    /// Watches a key whose slot is held.
    ///
    /// # Panics
    /// When the guard is not the key's slot's.
    pub fn watch(&self, guard: &SlotGuard<'_>, db: DbIndex, key: &Key<'_>) -> Watch {
        assert!(guard.is_of(self) && guard.slot() == key.slot, "watched without its slot");
        self.watches.add(db, key)
    }

    /// Large values that were removed, to be dropped where that may take time.
    pub fn take_garbage(&self) -> Vec<Value> {
        std::mem::take(&mut *self.garbage.lock())
    }

    /// How many of them there are at the moment.
    pub fn garbage_len(&self) -> usize {
        self.garbage.lock().len()
    }

    pub(crate) fn add_garbage(&self, value: Value) {
        let mut garbage = self.garbage.lock();
        if garbage.len() < GARBAGE_MAX {
            garbage.push(value);
        }
    }

    #[inline]
    pub(crate) fn lock_byte(&self, slot: Slot) -> &LockByte {
        self.slots.lock(slot)
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }
}
