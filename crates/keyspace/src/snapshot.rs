//! Snapshots without fork: who gets a group's entries, and when.
//!
//! Each home of a table carries a stamp: the number of the newest snapshot that has its entries. Who
//! is about to change a home whose stamp is below the newest running snapshot delivers its entries
//! to every snapshot above the stamp, and stamps it. The walk does the same with all homes in turn.
//! A home born by a split inherits the stamp, one born with a table is stamped as delivered: what it
//! will hold is newer than every running snapshot.
//!
//! What a database contains has a name that survives `SWAPDB`, and a flush during a snapshot hands
//! the old tables over to be walked, so a snapshot finds what it began with wherever it is now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::{Mutex, RwLock};
use slotward_types::Slot;

use crate::entry::Entry;
use crate::keyspace::{DbIndex, Keyspace};
use crate::table::{Home, Table};
use crate::value::EntryRef;

/// Stamps have 16 bits. At the last number, running snapshots and all stamps are numbered anew.
const NUMBER_MAX: u16 = if cfg!(test) { 20 } else { u16::MAX };
/// Homes that the walk delivers before it lets others in.
const HOMES_AT_ONCE: usize = 16;

/// A running snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(u64);

/// Where a snapshot's entries go.
pub trait SnapshotSink: Send + Sync {
    /// Called under a slot lock with entries that have not been delivered yet: before they change,
    /// by whoever changes them, or by the walk. `db` is the database as it was numbered when the
    /// snapshot began. Must be quick, and must not use the keyspace.
    fn group(&self, db: DbIndex, entries: &mut dyn Iterator<Item = EntryRef<'_>>);
}

/// How far a snapshot's walk has come.
#[derive(Debug, Default, Clone)]
pub struct WalkCursor {
    /// Index into the contents that the snapshot began with.
    content: usize,
    /// The next slot's number.
    slot: usize,
    /// The next home in it.
    home: Home,
}

impl WalkCursor {
    fn next_slot(&mut self, after: Slot) {
        (self.slot, self.home) = (after.index() + 1, 0);
    }

    fn next_content(&mut self) {
        *self = WalkCursor { content: self.content + 1, ..WalkCursor::default() };
    }
}

struct Snapshot {
    id: SnapshotId,
    /// What stamps are compared with. Rises from one snapshot to the next.
    number: u16,
    sink: Arc<dyn SnapshotSink>,
    /// Which contents it is about, and how their databases were numbered at its beginning.
    contents: Vec<(u32, DbIndex)>,
}

/// Tables that a flush took out while snapshots still need them.
struct Handed {
    content: u32,
    /// Ascending.
    tables: Mutex<Vec<(Slot, Table<Entry>)>>,
}

pub(crate) struct State {
    /// Ascending by number.
    running: Vec<Snapshot>,
    handed: Vec<Handed>,
    last_number: u16,
    last_id: u64,
    next_content: u32,
}

/// The snapshots of a keyspace.
///
/// Lock order: slot, then `state` to read; `state` to write, then slots by
/// [`Keyspace::borrow_slot`]. The walk only tries the former, so the two orders never block each
/// other.
pub(crate) struct Snapshots {
    /// The highest number that runs, 0 = none: a stamp below it calls for a delivery.
    newest: AtomicU16,
    pub(crate) state: RwLock<State>,
}

impl Snapshots {
    /// The first contents are numbered as their databases.
    pub(crate) fn new(next_content: u32) -> Self {
        let state = State {
            running: Vec::new(),
            handed: Vec::new(),
            last_number: 0,
            last_id: 0,
            next_content,
        };
        Self { newest: AtomicU16::new(0), state: RwLock::new(state) }
    }

    /// The stamp of a home whose entries are all newer than every running snapshot.
    #[inline]
    pub(crate) fn newest(&self) -> u16 {
        self.newest.load(Ordering::Acquire)
    }

    /// Whether no snapshot has ever been taken.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state.read().last_number == 0
    }

    /// Delivers a home before it changes, if snapshots want it. The caller holds the slot.
    #[inline]
    pub(crate) fn capture(
        &self,
        content: impl FnOnce() -> u32,
        table: &mut Table<Entry>,
        home: Home,
    ) {
        let newest = self.newest();
        if newest != 0 && table.stamp(home) < newest {
            self.state.read().deliver(content(), table, home);
        }
    }
}

impl State {
    /// Delivers a home to the snapshots that have not got it. Returns how many entries there were.
    fn deliver(&self, content: u32, table: &mut Table<Entry>, home: Home) -> usize {
        let stamp = table.stamp(home);
        let Some(newest) = self.running.last() else { return 0 };
        if stamp >= newest.number {
            return 0;
        }
        for snapshot in self.running.iter().filter(|snapshot| snapshot.number > stamp) {
            let numbered = snapshot.contents.iter().find(|(name, _)| *name == content);
            if let Some((_, db)) = numbered {
                snapshot.sink.group(*db, &mut table.entries(home).map(|entry| entry.entry_ref()));
            }
        }
        let count = table.entries(home).count();
        table.set_stamp(home, newest.number);
        count
    }

    pub(crate) fn new_content(&mut self) -> u32 {
        self.next_content = self.next_content.checked_add(1).expect("four billion flushes");
        self.next_content - 1
    }

    /// Keeps tables that a flush takes out if a snapshot needs them, else gives them back.
    pub(crate) fn hand_over(
        &mut self,
        content: u32,
        tables: Vec<(Slot, Table<Entry>)>,
    ) -> Vec<(Slot, Table<Entry>)> {
        if tables.is_empty() || !self.is_wanted(content) {
            return tables;
        }
        self.handed.push(Handed { content, tables: Mutex::new(tables) });
        Vec::new()
    }

    fn is_wanted(&self, content: u32) -> bool {
        self.running
            .iter()
            .any(|snapshot| snapshot.contents.iter().any(|(name, _)| *name == content))
    }

    fn snapshot(&self, id: SnapshotId) -> Option<&Snapshot> {
        self.running.iter().find(|snapshot| snapshot.id == id)
    }

    /// The stamp that means, after numbering anew, what this one means now.
    fn renumbered(&self, stamp: u16) -> u16 {
        self.running.iter().filter(|snapshot| snapshot.number <= stamp).count() as u16
    }

    fn renumber_table(&self, table: &mut Table<Entry>) {
        for home in 0..table.homes() {
            let stamp = self.renumbered(table.stamp(home));
            table.set_stamp(home, stamp);
        }
    }
}

impl Keyspace {
    /// Begins a snapshot of this instant. The caller holds the worker barrier.
    pub fn begin_snapshot(&self, sink: Arc<dyn SnapshotSink>) -> SnapshotId {
        let mut state = self.snapshots.state.write();
        if state.last_number == NUMBER_MAX {
            self.renumber(&mut state);
        }
        state.last_number += 1;
        state.last_id += 1;
        let (id, number) = (SnapshotId(state.last_id), state.last_number);
        let databases = (0..self.databases()).map(DbIndex);
        let contents = databases.map(|db| (self.slots.content(db), db)).collect();
        state.running.push(Snapshot { id, number, sink, contents });
        self.snapshots.newest.store(number, Ordering::Release);
        id
    }

    /// Numbers the running snapshots from 1, and all stamps accordingly.
    #[allow(unsafe_code)]
    fn renumber(&self, state: &mut State) {
        for db in (0..self.databases()).map(DbIndex) {
            for slot in self.used_slots(db) {
                let _borrowed = self.borrow_slot(slot);
                let Some(table) = self.slots.table(db, slot) else { continue };
                // SAFETY: the slot is ours for as long as it is borrowed.
                state.renumber_table(unsafe { &mut *table });
            }
        }
        for handed in &state.handed {
            handed.tables.lock().iter_mut().for_each(|(_, table)| state.renumber_table(table));
        }
        let count = state.running.len() as u16;
        assert!(count < NUMBER_MAX, "{count} snapshots at once");
        state.running.iter_mut().zip(1..).for_each(|(snapshot, number)| snapshot.number = number);
        state.last_number = count;
        self.snapshots.newest.store(count, Ordering::Release);
    }

    /// Delivers about so many entries that the snapshot has not got yet. True when it has all (or
    /// has ended). Takes slot locks itself; the caller must hold none.
    pub fn walk_snapshot(
        &self,
        id: SnapshotId,
        cursor: &mut WalkCursor,
        budget_entries: usize,
    ) -> bool {
        let mut left = budget_entries.max(1);
        while left > 0 {
            let state = self.snapshots.state.read();
            let Some(snapshot) = state.snapshot(id) else { return true };
            let Some(&(content, _)) = snapshot.contents.get(cursor.content) else { return true };
            let walked = if let Some(db) = self.slots.db_of(content) {
                drop(state);
                self.walk_live(content, db, cursor, left)
            } else if let Some(handed) = state.handed.iter().find(|h| h.content == content) {
                walk_handed(&state, handed, cursor, left)
            } else {
                // It was empty when it was flushed.
                cursor.next_content();
                0
            };
            left = left.saturating_sub(walked);
        }
        false
    }

    /// Delivers from the next used slot of a database. Returns what that costs of the budget.
    #[allow(unsafe_code)]
    fn walk_live(&self, content: u32, db: DbIndex, cursor: &mut WalkCursor, left: usize) -> usize {
        let Some(slot) = self.slots.next_used(db, cursor.slot) else {
            // Looked at without a lock: a flush or swap in between shows in the database's content.
            let _state = self.snapshots.state.read();
            if self.slots.content(db) == content {
                cursor.next_content();
            }
            return 0;
        };
        if slot.index() > cursor.slot {
            cursor.home = 0;
        }
        cursor.slot = slot.index();
        let _guard = self.lock_blocking(slot);
        // Whoever writes to the state may wait for this slot.
        let Some(state) = self.snapshots.state.try_read() else { return 0 };
        if self.slots.content(db) != content {
            return 0;
        }
        let Some(table) = self.slots.table(db, slot) else { return 0 };
        // SAFETY: the slot is held by the guard above.
        let table = unsafe { &mut *table };
        walk_table(&state, content, (slot, table), cursor, left)
    }

    /// Ends a snapshot, finished or not. Its sink gets nothing from then on. May free tables that
    /// were flushed meanwhile, which takes time.
    pub fn end_snapshot(&self, id: SnapshotId) {
        let mut state = self.snapshots.state.write();
        state.running.retain(|snapshot| snapshot.id != id);
        let newest = state.running.last().map_or(0, |snapshot| snapshot.number);
        self.snapshots.newest.store(newest, Ordering::Release);
        let handed = std::mem::take(&mut state.handed);
        let (wanted, freed): (Vec<_>, Vec<_>) =
            handed.into_iter().partition(|handed| state.is_wanted(handed.content));
        state.handed = wanted;
        drop(state);
        drop(freed);
    }
}

fn walk_handed(state: &State, handed: &Handed, cursor: &mut WalkCursor, left: usize) -> usize {
    let mut tables = handed.tables.lock();
    let next = tables.partition_point(|(slot, _)| slot.index() < cursor.slot);
    let Some((slot, table)) = tables.get_mut(next) else {
        cursor.next_content();
        return 0;
    };
    if slot.index() > cursor.slot {
        (cursor.slot, cursor.home) = (slot.index(), 0);
    }
    walk_table(state, handed.content, (*slot, table), cursor, left)
}

/// Delivers some homes of a table, from the cursor on.
fn walk_table(
    state: &State,
    content: u32,
    (slot, table): (Slot, &mut Table<Entry>),
    cursor: &mut WalkCursor,
    left: usize,
) -> usize {
    let mut cost = 1;
    for _ in 0..HOMES_AT_ONCE {
        if cost > left {
            break;
        }
        if cursor.home >= table.homes() {
            cursor.next_slot(slot);
            break;
        }
        cost += state.deliver(content, table, cursor.home);
        cursor.home += 1;
    }
    cost
}

#[cfg(test)]
mod tests;
