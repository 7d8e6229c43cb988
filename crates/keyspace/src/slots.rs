//! Where tables lie: one cache line for each slot with database 0's table in it, and arrays for the
//! other databases, allocated at their first key.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use slotward_types::Slot;

use crate::entry::Entry;
use crate::keyspace::DbIndex;
use crate::lock::LockByte;
use crate::table::{self, Table};

const WORDS: usize = Slot::COUNT as usize / 64;

/// How far the search for expired keys of a slot has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExpiryPass {
    /// The earliest expiry that the pass met and left, or that was set meanwhile; 0 = none.
    pub(crate) earliest: u64,
    /// The scan cursor in the table.
    pub(crate) cursor: u32,
    /// The database.
    pub(crate) db: u16,
    /// Whether a pass is under way.
    pub(crate) active: bool,
}

/// What belongs to a slot, in one cache line.
#[repr(C, align(64))]
struct Header {
    lock: LockByte,
    /// How many homes the table has and where they are, for prefetches by those who do not hold the
    /// slot. A pair that does not fit together fetches a useless line.
    homes: AtomicU32,
    groups: AtomicPtr<u8>,
    table: UnsafeCell<Table<Entry>>,
    pass: UnsafeCell<ExpiryPass>,
}

const _: () = assert!(size_of::<Header>() == 64);

type Tables = Box<[UnsafeCell<Table<Entry>>]>;

/// A database other than its tables.
struct Database {
    /// Slots with keys, one bit each.
    used: [AtomicU64; WORDS],
    /// Tables, unless they are in the headers.
    tables: OnceLock<Tables>,
    /// Names what the database contains, however it is numbered. Changes by flush and swap.
    content: AtomicU32,
}

/// All tables of a keyspace.
pub(crate) struct Slots {
    headers: Box<[Header]>,
    databases: Box<[Database]>,
    /// The earliest expiry in each slot, 0 = none: never later than the true one.
    due: Box<[AtomicU64]>,
    seed: u64,
}

// SAFETY: the cells are only used by who holds their slot, as the methods that lend them demand.
unsafe impl Sync for Slots {}
// SAFETY: everything in it is owned and `Send`.
unsafe impl Send for Slots {}

impl Slots {
    pub(crate) fn new(databases: u16, seed: u64) -> Self {
        let header = || Header {
            lock: LockByte::default(),
            homes: AtomicU32::new(0),
            groups: AtomicPtr::default(),
            table: UnsafeCell::new(Table::new(seed)),
            pass: UnsafeCell::default(),
        };
        let database = |index| Database {
            used: [const { AtomicU64::new(0) }; WORDS],
            tables: OnceLock::new(),
            content: AtomicU32::new(u32::from(index)),
        };
        Self {
            headers: Slot::all().map(|_| header()).collect(),
            databases: (0..databases).map(database).collect(),
            due: Slot::all().map(|_| AtomicU64::new(0)).collect(),
            seed,
        }
    }

    pub(crate) fn databases(&self) -> u16 {
        self.databases.len() as u16
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    pub(crate) fn lock(&self, slot: Slot) -> &LockByte {
        &self.headers[slot.index()].lock
    }

    fn database(&self, db: DbIndex) -> &Database {
        &self.databases[usize::from(db.0)]
    }

    /// The table, if it is there already. May be used only while the slot is held.
    #[inline]
    pub(crate) fn table(&self, db: DbIndex, slot: Slot) -> Option<*mut Table<Entry>> {
        if db.0 == 0 {
            return Some(self.headers[slot.index()].table.get());
        }
        self.database(db).tables.get().map(|tables| tables[slot.index()].get())
    }

    /// The table, made if it is not there. May be used only while the slot is held.
    #[inline]
    pub(crate) fn table_or_new(&self, db: DbIndex, slot: Slot) -> *mut Table<Entry> {
        if db.0 == 0 {
            return self.headers[slot.index()].table.get();
        }
        let make = || Slot::all().map(|_| UnsafeCell::new(Table::new(self.seed))).collect();
        self.database(db).tables.get_or_init(make)[slot.index()].get()
    }

    /// The slot's expiry pass. May be used only while the slot is held.
    pub(crate) fn pass(&self, slot: Slot) -> *mut ExpiryPass {
        self.headers[slot.index()].pass.get()
    }

    /// The table's groups came, went or moved. The caller holds the slot.
    #[inline]
    pub(crate) fn reshaped(&self, db: DbIndex, slot: Slot, table: &Table<Entry>) {
        if db.0 == 0 {
            let header = &self.headers[slot.index()];
            let (groups, homes) = table.hint();
            header.groups.store(groups.cast_mut(), Ordering::Relaxed);
            header.homes.store(homes, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn prefetch_slot(&self, slot: Slot) {
        table::prefetch((&raw const self.headers[slot.index()]).cast());
    }

    #[inline]
    pub(crate) fn prefetch_group(&self, slot: Slot, hash: u64) {
        let header = &self.headers[slot.index()];
        let homes = header.homes.load(Ordering::Relaxed);
        if homes > 0 {
            let groups = header.groups.load(Ordering::Relaxed);
            table::prefetch(table::head_address(groups, homes, hash));
        }
    }

    // --- which slots hold keys

    /// The slot got its first key, or lost its last one. The caller holds the slot.
    pub(crate) fn set_used(&self, db: DbIndex, slot: Slot, used: bool) {
        let (word, bit) = (slot.index() / 64, 1u64 << (slot.index() % 64));
        let word = &self.database(db).used[word];
        if used {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The first slot with keys from this number on.
    pub(crate) fn next_used(&self, db: DbIndex, from: usize) -> Option<Slot> {
        let words = &self.database(db).used;
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in words.iter().enumerate().skip(from / 64) {
            let found = word.load(Ordering::Relaxed) & mask;
            if found != 0 {
                let number = index as u64 * 64 + u64::from(found.trailing_zeros());
                return Some(Slot::new(number).expect("there is a bit for each slot only"));
            }
            mask = u64::MAX;
        }
        None
    }

    // --- expiry hints

    /// A key of the slot was given this expiry. The caller holds the slot.
    pub(crate) fn note_expiry(&self, slot: Slot, at: i64) {
        let at = at.max(1) as u64;
        let due = &self.due[slot.index()];
        let known = due.load(Ordering::Relaxed);
        if known == 0 || at < known {
            due.store(at, Ordering::Relaxed);
        }
        // SAFETY: the caller holds the slot.
        let pass = unsafe { &mut *self.pass(slot) };
        if pass.active && (pass.earliest == 0 || at < pass.earliest) {
            pass.earliest = at;
        }
    }

    /// Sets what a finished pass found. The caller holds the slot.
    pub(crate) fn set_due(&self, slot: Slot, earliest: u64) {
        self.due[slot.index()].store(earliest, Ordering::Relaxed);
    }

    /// Whether the slot may hold keys whose time has come.
    pub(crate) fn is_due(&self, slot: Slot, now: i64) -> bool {
        let due = self.due[slot.index()].load(Ordering::Relaxed);
        due != 0 && i64::try_from(due).is_ok_and(|due| due < now)
    }

    /// Notes that the keys of another keyspace are here now. Hints may only become earlier: a pass
    /// may be under way.
    pub(crate) fn take_over_due(&self, other: &Slots) {
        for (due, new) in self.due.iter().zip(&other.due) {
            let new = new.swap(0, Ordering::Relaxed);
            if new != 0 {
                let earlier = |known: u64| (known == 0 || new < known).then_some(new);
                let _unchanged = due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
            }
        }
    }

    // --- contents

    pub(crate) fn content(&self, db: DbIndex) -> u32 {
        self.database(db).content.load(Ordering::Relaxed)
    }

    pub(crate) fn set_content(&self, db: DbIndex, content: u32) {
        self.database(db).content.store(content, Ordering::Relaxed);
    }

    /// The database that has this content now.
    pub(crate) fn db_of(&self, content: u32) -> Option<DbIndex> {
        (0..self.databases()).map(DbIndex).find(|db| self.content(*db) == content)
    }
}
