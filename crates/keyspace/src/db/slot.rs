//! A whole slot: scans, random keys, expiry.

use slotward_types::Slot;

use super::{Db, ExpiryPolicy};
use crate::collections::Hash;
use crate::entry::{Entry, EntryView, VOLATILE};
use crate::keyspace::DbIndex;
use crate::slots::ExpiryPass;
use crate::table::{Thin, home_of, mix};
use crate::value::EntryRef;

impl Db<'_> {
    /// How many keys of this database are in the slot, expired ones included.
    pub fn slot_len(&self, slot: Slot) -> usize {
        self.table_at(self.index, slot).map_or(0, |table| table.len())
    }

    fn shows(&self, entry: EntryView<'_>) -> bool {
        let is_over = |hash: &Hash| hash.is_all_due(self.now);
        self.policy == ExpiryPolicy::Ignore
            || !entry.is_due(self.now) && !entry.hash().is_some_and(is_over)
    }

    /// Visits the entries of the home group that the cursor names (0 to begin) and returns the next
    /// cursor, 0 when the slot is done. Entries present throughout a scan are visited at least
    /// once, however the table grows and shrinks meanwhile. Expired keys are not shown, nor removed.
    pub fn scan_slot(
        &mut self,
        slot: Slot,
        cursor: u64,
        visit: &mut dyn FnMut(EntryRef<'_>),
    ) -> u64 {
        self.settle();
        let Some(table) = self.table_at(self.index, slot) else { return 0 };
        table.scan(cursor, |entry| {
            if self.shows(entry) {
                visit(entry.entry_ref());
            }
        })
    }

    /// Some entry of the slot, chosen by the random number. `None` if the slot shows none.
    pub fn random_in_slot(&mut self, slot: Slot, random: u64) -> Option<EntryRef<'_>> {
        /// Draws before the first best is taken: only a slot of mostly expired keys needs more.
        const DRAWS: u64 = 32;
        self.settle();
        let table = self.table_at(self.index, slot)?;
        let drawn = (0..DRAWS).filter_map(|draw| table.random(mix(random ^ mix(draw))));
        drawn.chain(table.iter()).find(|entry| self.shows(*entry)).map(EntryView::entry_ref)
    }

    /// Removes keys of the slot, in all databases, whose time has come, looking at about `budget`
    /// of those that have an expiry. Returns how many were removed; they are in
    /// [`Db::take_expired`]. Does nothing unless the policy is [`ExpiryPolicy::Delete`].
    pub fn expire_due(&mut self, slot: Slot, budget: usize) -> usize {
        self.settle();
        self.assert_held(slot);
        if self.policy != ExpiryPolicy::Delete {
            return 0;
        }
        // Those whose time comes later are noted again by what is left of the hash.
        let hashes = self.keyspace.field_expiry.take_due(slot, self.now, budget.max(1));
        for (db, key) in &hashes {
            self.expire_fields(*db, &self.keyspace.key(key));
        }
        // SAFETY (twice): the slot is held; nothing else uses the pass meanwhile.
        let mut pass = unsafe { *self.keyspace.slots.pass(slot) };
        if !pass.active {
            pass = ExpiryPass { active: true, ..ExpiryPass::default() };
        }
        let removed_before = self.rare().expired.len();
        let mut left = budget.max(1);
        while left > 0 && pass.active {
            left = left.saturating_sub(self.expire_home(slot, &mut pass));
        }
        unsafe { *self.keyspace.slots.pass(slot) = pass };
        if !pass.active {
            let fields = self.keyspace.field_expiry.first(slot).map_or(0, |at| at.0.max(1) as u64);
            let earliest = [pass.earliest, fields].into_iter().filter(|at| *at != 0).min();
            self.keyspace.slots.set_due(slot, earliest.unwrap_or(0));
        }
        self.rare().expired.len() - removed_before + hashes.len()
    }

    /// Removes the due keys of the pass's next home. Returns what that costs of the budget.
    fn expire_home(&mut self, slot: Slot, pass: &mut ExpiryPass) -> usize {
        if pass.db >= self.keyspace.databases() {
            pass.active = false;
            return 0;
        }
        let db = DbIndex(pass.db);
        let Some(table) = self.table_at(db, slot).filter(|table| table.homes() > 0) else {
            (pass.db, pass.cursor) = (pass.db + 1, 0);
            return 0;
        };
        let home = home_of(table.homes(), u64::from(pass.cursor));
        let (mut cost, mut due, mut earliest) = (1, Vec::new(), pass.earliest);
        // The mark in an entry's number spares us looking at those that do not expire.
        for raw in table.raws(home).filter(|raw| raw & VOLATILE != 0) {
            cost += 1;
            // SAFETY: the entry is in a table whose slot is held.
            let entry: EntryView<'_> = unsafe { <Entry as Thin>::view(raw) };
            let at = entry.expires_at().map_or(0, |at| at.0.max(1) as u64);
            if entry.is_due(self.now) {
                due.push(entry.key().to_vec());
            } else if earliest == 0 || at < earliest {
                earliest = at;
            }
        }
        let next = table.scan_next(u64::from(pass.cursor));
        pass.earliest = earliest;
        pass.cursor = next as u32;
        if next == 0 {
            pass.db += 1;
        }
        for key in due {
            self.expire(db, &self.keyspace.key(&key));
        }
        cost
    }
}
