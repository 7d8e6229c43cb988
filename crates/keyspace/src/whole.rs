//! What happens to the whole keyspace at one instant: flush and swap.
#![allow(unsafe_code)]

use slotward_types::{Slot, UnixMillis};

use crate::entry::{Entry, EntryView};
use crate::keyspace::{DbIndex, DbSet, Keyspace};
use crate::lock::Locked;
use crate::slots::ExpiryPass;
use crate::table::Table;
use crate::watch::Exchange;

/// Tables that were taken out of the keyspace. Dropping it frees what they hold, which takes as
/// long as there is data: drop it on a thread that has time.
#[derive(Debug, Default)]
#[must_use = "dropping it frees the data, which takes time"]
pub struct Detached {
    tables: Vec<(Slot, Table<Entry>)>,
}

impl Detached {
    /// Whether there is nothing to free.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

impl Keyspace {
    /// Empties databases and marks the watches of the keys they had. The caller holds the worker
    /// barrier. Running snapshots keep what they have not got yet.
    pub fn flush(&self, dbs: DbSet) -> Detached {
        self.flush_holding(dbs, &Locked::new())
    }

    /// Like [`Keyspace::flush`], for a caller that holds slots itself.
    pub fn flush_holding(&self, dbs: DbSet, held: &Locked<'_>) -> Detached {
        self.watches.ears.all_changed();
        let mut detached = Detached::default();
        let mut state = self.snapshots.state.write();
        for db in self.each(dbs) {
            let tables = self.used_slots(db).collect::<Vec<_>>();
            let tables =
                tables.into_iter().filter_map(|slot| self.detach(db, slot, held)).collect();
            self.field_expiry.forget(db);
            self.counters.reset(db);
            let content = self.slots.content(db);
            self.slots.set_content(db, state.new_content());
            detached.tables.append(&mut state.hand_over(content, tables));
        }
        detached
    }

    fn each(&self, dbs: DbSet) -> impl Iterator<Item = DbIndex> + use<> {
        let range = match dbs {
            DbSet::All => 0..self.databases(),
            DbSet::One(db) => db.0..db.0 + 1,
        };
        range.map(DbIndex)
    }

    fn detach(&self, db: DbIndex, slot: Slot, held: &Locked<'_>) -> Option<(Slot, Table<Entry>)> {
        let taken = self.exchange(db, slot, Table::new(self.slots.seed()), held);
        (!taken.is_empty()).then_some((slot, taken))
    }

    /// Puts a table in the place of another.
    fn exchange(
        &self,
        db: DbIndex,
        slot: Slot,
        new: Table<Entry>,
        held: &Locked<'_>,
    ) -> Table<Entry> {
        let _borrowed = (!held.holds(slot)).then(|| self.borrow_slot(slot));
        // SAFETY: the slot is ours for as long as it is borrowed, or held by the caller.
        let table = unsafe { &mut *self.slots.table_or_new(db, slot) };
        if self.watches.any_in(slot) {
            self.watches.exchanged(slot, |watched, key, was_stale| {
                let changes =
                    (!was_stale && find(table, key).is_some()) || find(&new, key).is_some();
                let becomes = if changes { Exchange::Changed } else { Exchange::Absent };
                (watched == db).then_some(becomes)
            });
        }
        let old = std::mem::replace(table, new);
        self.slots.reshaped(db, slot, table);
        self.slots.set_used(db, slot, !table.is_empty());
        // SAFETY: as above. A search for expired keys begins anew.
        unsafe { *self.slots.pass(slot) = ExpiryPass::default() };
        old
    }

    /// An empty keyspace to load into what shall [`Keyspace::replace`] this one's contents.
    pub fn new_alike(&self) -> Keyspace {
        Keyspace::new(self.databases(), self.slots.seed())
    }

    /// Takes over all that was loaded into another keyspace, which is empty afterwards, and gives
    /// back what was here. The caller holds the worker barrier. Marks the watches of all keys that
    /// were here or are now. Running snapshots keep what they have not got yet.
    ///
    /// # Panics
    /// When the other keyspace was not made by [`Keyspace::new_alike`], or snapshots were taken of
    /// it.
    pub fn replace(&self, loaded: &Keyspace) -> Detached {
        assert_eq!(self.slots.seed(), loaded.slots.seed(), "keyspaces that hash differently");
        assert_eq!(self.databases(), loaded.databases(), "keyspaces of different size");
        // Its stamps would mean nothing here.
        assert!(loaded.snapshots.is_untouched(), "a loaded keyspace that has had snapshots");
        self.watches.ears.all_changed();
        let nothing = Locked::new();
        let mut detached = Detached::default();
        let mut state = self.snapshots.state.write();
        for db in self.each(DbSet::All) {
            let mut tables = Vec::new();
            for slot in Slot::all() {
                let used =
                    |keyspace: &Keyspace| keyspace.slots.next_used(db, slot.index()) == Some(slot);
                if used(self) || used(loaded) {
                    let new = loaded.exchange(db, slot, Table::new(loaded.slots.seed()), &nothing);
                    let old = self.exchange(db, slot, new, &nothing);
                    tables.extend((!old.is_empty()).then_some((slot, old)));
                }
            }
            self.counters.take_over(&loaded.counters, db);
            let content = self.slots.content(db);
            self.slots.set_content(db, state.new_content());
            detached.tables.append(&mut state.hand_over(content, tables));
        }
        self.field_expiry.take_over(&loaded.field_expiry);
        self.slots.take_over_due(&loaded.slots);
        detached
    }

    /// Exchanges the contents of two databases and marks the watches of the keys in either that
    /// were there or are now; a key whose time is over `now` is not. The caller holds the worker
    /// barrier.
    pub fn swap_dbs(&self, a: DbIndex, b: DbIndex, now: UnixMillis) {
        self.swap_dbs_holding(a, b, now, &Locked::new());
    }

    /// Like [`Keyspace::swap_dbs`], for a caller that holds slots itself.
    pub fn swap_dbs_holding(&self, a: DbIndex, b: DbIndex, now: UnixMillis, held: &Locked<'_>) {
        if a == b {
            return;
        }
        self.watches.ears.all_changed();
        let state = self.snapshots.state.write();
        for slot in Slot::all() {
            let used = |db| self.slots.next_used(db, slot.index()) == Some(slot);
            if used(a) || used(b) {
                self.swap_slot((a, b), slot, now, held);
            }
        }
        self.field_expiry.swap(a, b);
        self.counters.swap(a, b);
        let (content_a, content_b) = (self.slots.content(a), self.slots.content(b));
        self.slots.set_content(a, content_b);
        self.slots.set_content(b, content_a);
        drop(state);
    }

    fn swap_slot(
        &self,
        (a, b): (DbIndex, DbIndex),
        slot: Slot,
        now: UnixMillis,
        held: &Locked<'_>,
    ) {
        let _borrowed = (!held.holds(slot)).then(|| self.borrow_slot(slot));
        // SAFETY: the slot is ours for as long as it is borrowed, or held; the databases differ, so the
        // tables do.
        let (table_a, table_b) = unsafe {
            (&mut *self.slots.table_or_new(a, slot), &mut *self.slots.table_or_new(b, slot))
        };
        if self.watches.any_in(slot) {
            self.watches.exchanged(slot, |watched, key, was_stale| {
                let (own, other) = match watched {
                    _ if watched == a => (&*table_a, &*table_b),
                    _ if watched == b => (&*table_b, &*table_a),
                    _ => return None,
                };
                if !was_stale && find(own, key).is_some() {
                    return Some(Exchange::Changed);
                }
                let comes = find(other, key).map(|entry| entry.expires_at());
                Some(match comes {
                    None => Exchange::Absent,
                    Some(Some(at)) if at <= now => Exchange::Stale,
                    Some(_) => Exchange::Changed,
                })
            });
        }
        std::mem::swap(table_a, table_b);
        for (db, table) in [(a, table_a), (b, table_b)] {
            self.slots.reshaped(db, slot, table);
            self.slots.set_used(db, slot, !table.is_empty());
        }
        // SAFETY: as above. A search for expired keys begins anew.
        unsafe { *self.slots.pass(slot) = ExpiryPass::default() };
    }
}

fn find<'t>(table: &'t Table<Entry>, key: &[u8]) -> Option<EntryView<'t>> {
    table.find(table.hash(key), key)
}
