//! One database as an operation that holds slots sees it.
//!
//! All access to tables goes through here while a slot is held; what a change needs besides (the
//! capture for snapshots, watches, counts, hints) happens in [`write`].
#![allow(unsafe_code)]

mod read;
mod sample;
mod slot;
mod write;

pub use sample::Sampled;

use slotward_types::{Slot, UnixMillis};

use crate::access::AccessClock;
use crate::collections::Hash;
use crate::entry::{Entry, EntryView};
use crate::hash::Key;
use crate::keyspace::{DbIndex, Keyspace};
use crate::listen::{Noted, Notes};
use crate::lock::Locked;
use crate::table::{Table, Thin};
use crate::value::EncodingLimits;

/// What to do with a key whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// A master: it is removed when met, and noted in [`Db::take_expired`].
    Delete,
    /// A replica: it is shown as absent; its master removes it.
    Hide,
    /// Applying the master's stream, or loading: it is a key like any other.
    Ignore,
}

/// What a write of a string does to the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetExpiry {
    /// The key lives on without one.
    Clear,
    /// The key keeps the one it has.
    Keep,
    /// The key ends then.
    At(UnixMillis),
}

/// Fields that were removed from a hash because their time had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredFields {
    /// The database.
    pub db: DbIndex,
    /// The key of the hash.
    pub key: Box<[u8]>,
    /// The fields, earliest first.
    pub fields: Vec<Box<[u8]>>,
    /// Whether none was left, so that the key is gone too.
    pub emptied: bool,
}

/// A collection that was lent to be changed: what is to be put right when that is over.
struct Lent {
    slot: Slot,
    db: DbIndex,
    /// The entry, which stays where it is until the loan is settled.
    raw: u64,
    memory_before: usize,
    /// The earliest end of a field, if it is a hash that has one.
    expiry_before: Option<UnixMillis>,
    /// The caller said that it changed nothing.
    unchanged: bool,
}

/// What most operations do not have.
#[derive(Default)]
struct Rare {
    expired: Vec<(DbIndex, Box<[u8]>)>,
    expired_fields: Vec<ExpiredFields>,
    /// A hash without the fields that a replica hides, while it is lent.
    shown: Option<Box<Hash>>,
}

/// One database as an operation that holds slots sees it. Every access asserts that the key's slot
/// is held.
pub struct Db<'a> {
    keyspace: &'a Keyspace,
    locked: &'a Locked<'a>,
    index: DbIndex,
    policy: ExpiryPolicy,
    now: UnixMillis,
    /// What a use notes in an entry.
    clock: AccessClock,
    limits: &'a EncodingLimits,
    lent: Option<Lent>,
    /// In one piece, so that most operations only have to see that there is none.
    rare: Option<Box<Rare>>,
    hits: u32,
    misses: u32,
    /// For whom this works; 0 for nobody.
    actor: u64,
    /// What is noted, if it is asked for.
    notes: Option<Box<Notes>>,
}

impl<'a> Db<'a> {
    /// A view of the database through the slots that are held. Takes them mutably so that there is
    /// one view at a time.
    ///
    /// # Panics
    /// When the slots are another keyspace's, or there is no such database.
    #[inline]
    pub fn new(
        keyspace: &'a Keyspace,
        locked: &'a mut Locked<'_>,
        index: DbIndex,
        now: UnixMillis,
        policy: ExpiryPolicy,
        limits: &'a EncodingLimits,
    ) -> Db<'a> {
        assert!(locked.is_of(keyspace), "slots of another keyspace");
        assert!(index.0 < keyspace.databases(), "there is no {index:?}");
        Db {
            keyspace,
            locked,
            index,
            policy,
            now,
            clock: AccessClock::new(keyspace.access_rule.get(), now),
            limits,
            lent: None,
            rare: None,
            hits: 0,
            misses: 0,
            actor: 0,
            notes: None,
        }
    }

    /// The database.
    #[inline]
    pub fn index(&self) -> DbIndex {
        self.index
    }

    /// Turns to another database.
    ///
    /// # Panics
    /// When there is no such database.
    pub fn select(&mut self, index: DbIndex) {
        assert!(index.0 < self.keyspace.databases(), "there is no {index:?}");
        self.index = index;
    }

    /// Says for whom this works, for those who hear of its changes. What time does of its own is
    /// nobody's.
    #[inline]
    pub fn set_actor(&mut self, actor: u64) {
        self.actor = actor;
    }

    /// From now on what [`Noted`] tells is kept for [`Db::take_notes`].
    pub fn note(&mut self) {
        self.notes.get_or_insert_default();
    }

    /// What was noted since this was last asked.
    pub fn take_notes(&mut self) -> Notes {
        self.notes.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }

    #[inline]
    fn noted(&mut self, noted: Noted, key: &Key<'_>) {
        if let Some(notes) = &mut self.notes {
            notes.push((noted, self.index, key.bytes.into()));
        }
    }

    /// The operation's time.
    #[inline]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The limits that values are encoded under.
    #[inline]
    pub fn limits(&self) -> &'a EncodingLimits {
        self.limits
    }

    /// How expired keys are treated.
    pub fn policy(&self) -> ExpiryPolicy {
        self.policy
    }

    /// Whether the slot is held, so that its keys may be used.
    #[inline]
    pub fn holds(&self, slot: Slot) -> bool {
        self.locked.holds(slot)
    }

    /// The key with its slot and hash.
    #[inline]
    pub fn key<'b>(&self, bytes: &'b [u8]) -> Key<'b> {
        self.keyspace.key(bytes)
    }

    /// Whether keys or fields were removed because their time had come, so that
    /// [`Db::take_expired`] or [`Db::take_expired_fields`] has something to tell.
    #[inline]
    pub fn has_removed(&self) -> bool {
        let has_any = |rare: &Rare| !(rare.expired.is_empty() && rare.expired_fields.is_empty());
        self.rare.as_deref().is_some_and(has_any)
    }

    #[cold]
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The keys that were removed because their time had come, in order, since this was last asked.
    /// They are to be propagated before the operation's own effect.
    #[inline]
    pub fn take_expired(&mut self) -> Vec<(DbIndex, Box<[u8]>)> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.expired)).unwrap_or_default()
    }

    /// The fields that were removed because their time had come, as with [`Db::take_expired`].
    #[inline]
    pub fn take_expired_fields(&mut self) -> Vec<ExpiredFields> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.expired_fields)).unwrap_or_default()
    }

    /// How many times the reading accessors found a key, and did not.
    #[inline]
    pub fn lookups(&self) -> (u32, u32) {
        (self.hits, self.misses)
    }

    /// Takes back that the last `…_mut` or `…_or_new` is a change: its collection was left as it
    /// was, so watchers need not know.
    pub fn unchanged(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.unchanged = true;
        }
    }

    #[inline]
    fn assert_held(&self, slot: Slot) {
        assert!(self.locked.holds(slot), "slot {slot} is used without being held");
    }

    /// The slot's table in this database, if there is one.
    #[inline]
    fn table_at(&self, db: DbIndex, slot: Slot) -> Option<&Table<Entry>> {
        self.assert_held(slot);
        // SAFETY: the slot is held for as long as `self`, and changes need `&mut self`.
        self.keyspace.slots.table(db, slot).map(|table| unsafe { &*table })
    }

    /// The slot's table in this database, made if there is none.
    #[inline]
    fn table_mut(&mut self, db: DbIndex, slot: Slot) -> &'a mut Table<Entry> {
        self.assert_held(slot);
        // SAFETY: the slot is held for 'a. The reference is exclusive because each method asks for
        // it once, and lends what it finds no longer than `&mut self`.
        unsafe { &mut *self.keyspace.slots.table_or_new(db, slot) }
    }

    /// Puts right what a loan left open: counts and watches.
    #[inline]
    fn settle(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.settle_loan(&lent);
        }
    }

    fn settle_loan(&self, lent: &Lent) {
        // SAFETY: an entry is only moved or dropped by methods that settle first, and the slot is
        // held for as long as this view.
        let view: EntryView<'_> = unsafe { <Entry as Thin>::view(lent.raw) };
        self.count_bytes(lent.db, lent.memory_before, view.memory());
        let expiry = view.field_expiry();
        self.field_expiry_moved(lent.slot, lent.db, view.key(), lent.expiry_before, expiry);
        if !lent.unchanged {
            self.keyspace.watches.changed(lent.slot, lent.db, view.key(), self.actor);
        }
    }
}

impl Drop for Db<'_> {
    #[inline]
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests;
