//! Who waits for keys: a side table that costs nothing to those who touch other slots.
//!
//! A key that changes while somebody waits for it is noted as *ready*. Whoever changed it, still
//! holding its slot, takes the ready keys and serves those who wait for them, in the order in which
//! they came; so nobody else sees an element that was pushed for somebody who waits.
//!
//! **Invariant:** a key is ready only while somebody waits for it, and is taken only by who holds
//! its slot.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use slotward_types::Slot;

use crate::hash::Key;
use crate::keyspace::{DbIndex, Keyspace};
use crate::lock::Locked;
use crate::value::Kind;
use crate::watch::{Interests, Watches};

/// Somebody who waits. What it is, its owner knows.
pub type Waiter = Arc<dyn Any + Send + Sync>;

/// What a key has to hold to be worth waking for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted(u32);

impl Wanted {
    const ABSENT: Wanted = Wanted(1 << 31);

    /// A value of this kind.
    pub const fn of(kind: Kind) -> Wanted {
        Wanted(1 << kind as u32)
    }

    /// Anything at all: also that the key is gone, or holds something else.
    pub const ANYTHING: Wanted = Wanted(u32::MAX);

    const fn covers(self, held: Wanted) -> bool {
        self.0 & held.0 != 0
    }
}

/// A key that changed while somebody waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyKey {
    /// Its slot.
    pub slot: Slot,
    /// Its database.
    pub db: DbIndex,
    /// The key.
    pub key: Box<[u8]>,
    /// Orders ready keys by when they became so.
    at: u64,
}

/// Who waits for one key.
#[derive(Default)]
struct Awaited {
    /// By number, so in the order in which they came.
    waiters: BTreeMap<u64, (Wanted, Waiter)>,
    /// What any of them has ever wanted.
    wanted: u32,
    ready: bool,
}

/// Who waits for the keys of one slot, and which of these are ready.
#[derive(Default)]
pub(crate) struct AwaitedKeys {
    by_db: BTreeMap<DbIndex, BTreeMap<Box<[u8]>, Awaited>>,
    ready: Vec<ReadyKey>,
}

impl AwaitedKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_db.is_empty()
    }

    /// The key changed. True if it was not ready before.
    pub(crate) fn changed(&mut self, slot: Slot, db: DbIndex, key: &[u8], at: u64) -> bool {
        let awaited = self.by_db.get_mut(&db).and_then(|keys| keys.get_mut(key));
        let Some(awaited) = awaited.filter(|awaited| !awaited.ready) else { return false };
        awaited.ready = true;
        self.ready.push(ReadyKey { slot, db, key: key.into(), at });
        true
    }

    /// The keys that somebody waits for, for those who change them all at once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (DbIndex, &[u8])> {
        self.by_db.iter().flat_map(|(db, keys)| keys.keys().map(|key| (*db, &**key)))
    }

    /// How many keys somebody waits for, and how many of them may also be gone for that.
    fn counts(&self) -> (usize, usize) {
        let keys = self.by_db.values().flat_map(BTreeMap::values);
        keys.fold((0, 0), |(all, absent), awaited| {
            let mut wanted = awaited.waiters.values().map(|(wanted, _)| *wanted);
            (all + 1, absent + usize::from(wanted.any(|wanted| wanted.covers(Wanted::ABSENT))))
        })
    }

    fn add(&mut self, db: DbIndex, key: &[u8], number: u64, wanted: Wanted, waiter: Waiter) {
        let awaited = self.by_db.entry(db).or_default().entry(key.into()).or_default();
        awaited.wanted |= wanted.0;
        awaited.waiters.insert(number, (wanted, waiter));
    }

    /// Takes a waiter out. Returns how many there were of it (none or one), and how many keys are
    /// not ready any more, since nobody waits for them.
    fn remove(&mut self, db: DbIndex, key: &[u8], number: u64) -> (usize, usize) {
        let Some(keys) = self.by_db.get_mut(&db) else { return (0, 0) };
        let Some(awaited) = keys.get_mut(key) else { return (0, 0) };
        let removed = usize::from(awaited.waiters.remove(&number).is_some());
        if !awaited.waiters.is_empty() {
            return (removed, 0);
        }
        keys.remove(key);
        if keys.is_empty() {
            self.by_db.remove(&db);
        }
        let before = self.ready.len();
        self.ready.retain(|ready| ready.db != db || *ready.key != *key);
        (removed, before - self.ready.len())
    }

    fn take_ready(&mut self, out: &mut Vec<ReadyKey>) -> usize {
        for ready in &self.ready {
            let keys = self.by_db.get_mut(&ready.db);
            if let Some(awaited) = keys.and_then(|keys| keys.get_mut(&ready.key)) {
                awaited.ready = false;
            }
        }
        let taken = self.ready.len();
        out.append(&mut self.ready);
        taken
    }

    fn next(&self, key: &ReadyKey, after: u64, held: Wanted) -> Option<(u64, Waiter)> {
        let awaited = self.by_db.get(&key.db)?.get(&key.key)?;
        if !Wanted(awaited.wanted).covers(held) {
            return None;
        }
        let rest = awaited.waiters.range((Bound::Excluded(after), Bound::Unbounded));
        let mut fitting = rest.filter(|(_, (wanted, _))| wanted.covers(held));
        fitting.next().map(|(number, (_, waiter))| (*number, Arc::clone(waiter)))
    }
}

/// Somebody's place in the queues of some keys. Dropping it ends the wait.
#[must_use = "dropping it ends the wait"]
pub struct Waiting {
    watches: Arc<Watches>,
    number: u64,
    db: DbIndex,
    keys: Vec<(Slot, Box<[u8]>)>,
}

impl Keyspace {
    /// Queues a waiter behind all that wait for these keys, whose slots are held.
    ///
    /// # Panics
    /// When a slot is not held.
    pub fn wait_for(
        &self,
        held: &Locked<'_>,
        db: DbIndex,
        keys: &[Key<'_>],
        wanted: Wanted,
        waiter: &Waiter,
    ) -> Waiting {
        assert!(held.is_of(self), "slots of another keyspace");
        let number = self.watches.next_number();
        let mut waiting =
            Waiting { watches: Arc::clone(&self.watches), number, db, keys: Vec::new() };
        for key in keys {
            assert!(held.holds(key.slot), "waits for a key of slot {}, not held", key.slot);
            if waiting.keys.iter().any(|(_, known)| **known == *key.bytes) {
                continue;
            }
            self.watches.change(key.slot, |interests| {
                interests.awaited.add(db, key.bytes, number, wanted, Arc::clone(waiter));
                1
            });
            waiting.keys.push((key.slot, key.bytes.into()));
        }
        waiting
    }

    /// How many keys somebody waits for; and how many somebody would also hear of if they were gone.
    pub fn awaited_keys(&self) -> (usize, usize) {
        let (mut all, mut absent) = (0, 0);
        self.watches.look_at_all(|interests| {
            let counts = interests.awaited.counts();
            all += counts.0;
            absent += counts.1;
        });
        (all, absent)
    }

    /// Whether any key is ready, here or in slots that others hold.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.watches.ready_count() > 0
    }

    /// Slots with ready keys, as they are when passed.
    pub fn ready_slots(&self) -> Vec<Slot> {
        self.watches.slots_where(|interests| !interests.awaited.ready.is_empty())
    }

    /// Takes the ready keys of the slots that are held, in the order in which they became ready.
    pub fn take_ready(&self, held: &Locked<'_>) -> Vec<ReadyKey> {
        assert!(held.is_of(self), "slots of another keyspace");
        let mut taken = Vec::new();
        for slot in held.slots().filter(|slot| self.watches.any_in(*slot)) {
            let mut count = 0;
            self.watches.change(slot, |interests| {
                count = interests.awaited.take_ready(&mut taken);
                0
            });
            self.watches.ready_fewer(count);
        }
        taken.sort_unstable_by_key(|ready| ready.at);
        taken
    }

    /// The first who came after the one with this number (0: the first of all) and waits for the
    /// key to hold what it does: a value of this kind, or none.
    pub fn next_waiter(
        &self,
        key: &ReadyKey,
        after: u64,
        held: Option<Kind>,
    ) -> Option<(u64, Waiter)> {
        let held = held.map_or(Wanted::ABSENT, Wanted::of);
        self.watches.look(key.slot, |interests| interests.awaited.next(key, after, held))?
    }

    /// Takes a waiter that was served out of the key's queue, before its [`Waiting`] is dropped.
    pub fn end_wait(&self, key: &ReadyKey, number: u64) {
        self.watches.end_wait(key.slot, key.db, &key.key, number);
    }

    /// A ready key that was taken could not be dealt with: it is ready again, as before.
    pub fn put_ready_back(&self, key: &ReadyKey) {
        self.watches.mark_ready(key.slot, key.db, &key.key, key.at);
    }
}

impl Watches {
    fn end_wait(&self, slot: Slot, db: DbIndex, key: &[u8], number: u64) {
        let mut unready = 0;
        self.change(slot, |interests: &mut Interests| {
            let (removed, no_longer_ready) = interests.awaited.remove(db, key, number);
            unready = no_longer_ready;
            -(removed as isize)
        });
        self.ready_fewer(unready);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for (slot, key) in &self.keys {
            self.watches.end_wait(*slot, self.db, key, self.number);
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use slotward_types::UnixMillis;

    use super::*;
    use crate::collections::End;
    use crate::db::{Db, ExpiryPolicy};
    use crate::keyspace::DbSet;
    use crate::value::EncodingLimits;

    const LIST: Wanted = Wanted::of(Kind::List);

    /// Holds the slots of these keys.
    fn hold<'k>(keyspace: &'k Keyspace, keys: &[&str]) -> Locked<'k> {
        let mut slots: Vec<Slot> =
            keys.iter().map(|key| keyspace.key(key.as_bytes()).slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let mut locked = Locked::new();
        slots.into_iter().for_each(|slot| locked.push(keyspace.lock_blocking(slot)));
        locked
    }

    fn wait(keyspace: &Keyspace, keys: &[&str], wanted: Wanted, name: &'static str) -> Waiting {
        let held = hold(keyspace, keys);
        let keys: Vec<Key<'_>> = keys.iter().map(|key| keyspace.key(key.as_bytes())).collect();
        let waiter: Waiter = Arc::new(name);
        keyspace.wait_for(&held, DbIndex(0), &keys, wanted, &waiter)
    }

    fn push(keyspace: &Keyspace, locked: &mut Locked<'_>, key: &str) {
        let limits = EncodingLimits::default();
        let now = UnixMillis(1);
        let mut db = Db::new(keyspace, locked, DbIndex(0), now, ExpiryPolicy::Delete, &limits);
        let key = db.key(key.as_bytes());
        db.list_or_new(&key).expect("it is a list").push(End::Back, b"x", &limits);
    }

    fn names(keyspace: &Keyspace, key: &ReadyKey, held: Option<Kind>) -> Vec<&'static str> {
        let mut found = Vec::new();
        let mut after = 0;
        while let Some((number, waiter)) = keyspace.next_waiter(key, after, held) {
            after = number;
            found.push(*waiter.downcast::<&'static str>().expect("a name"));
        }
        found
    }

    #[test]
    fn keys_become_ready_once_and_are_taken_in_that_order() {
        let keyspace = Keyspace::new(2, 1);
        let _first = wait(&keyspace, &["a", "b"], LIST, "first");
        let _second = wait(&keyspace, &["b", "b"], LIST, "second");
        let mut locked = hold(&keyspace, &["a", "b", "c"]);
        for key in ["c", "b", "a", "b"] {
            push(&keyspace, &mut locked, key);
        }
        assert!(keyspace.has_ready());
        let ready = keyspace.take_ready(&locked);
        let keys: Vec<&[u8]> = ready.iter().map(|ready| &*ready.key).collect();
        assert_eq!(keys, [b"b", b"a"], "nobody waits for c");
        assert!(!keyspace.has_ready() && keyspace.take_ready(&locked).is_empty());
        let list = Some(Kind::List);
        assert_eq!(names(&keyspace, &ready[0], list), ["first", "second"], "in order of arrival");
        assert_eq!(names(&keyspace, &ready[1], list), ["first"]);
        keyspace.put_ready_back(&ready[1]);
        assert_eq!(keyspace.ready_slots(), [ready[1].slot]);
        assert_eq!(keyspace.take_ready(&locked), ready[1..]);
    }

    #[test]
    fn only_what_is_wanted_wakes() {
        let keyspace = Keyspace::new(1, 1);
        let _list = wait(&keyspace, &["k"], LIST, "list");
        let _sorted = wait(&keyspace, &["k"], Wanted::of(Kind::ZSet), "sorted set");
        let mut locked = hold(&keyspace, &["k"]);
        push(&keyspace, &mut locked, "k");
        let ready = keyspace.take_ready(&locked);
        assert_eq!(names(&keyspace, &ready[0], Some(Kind::ZSet)), ["sorted set"]);
        assert_eq!(names(&keyspace, &ready[0], Some(Kind::String)), [""; 0]);
        assert_eq!(names(&keyspace, &ready[0], None), [""; 0]);
        drop(locked);
        let _anything = wait(&keyspace, &["k"], Wanted::ANYTHING, "anything");
        assert_eq!(names(&keyspace, &ready[0], None), ["anything"]);
        assert_eq!(names(&keyspace, &ready[0], Some(Kind::List)), ["list", "anything"]);
    }

    #[test]
    fn who_goes_leaves_nothing_behind() {
        let keyspace = Keyspace::new(1, 1);
        let (first, second) =
            (wait(&keyspace, &["k", "l"], LIST, "first"), wait(&keyspace, &["k"], LIST, "second"));
        let mut locked = hold(&keyspace, &["k"]);
        push(&keyspace, &mut locked, "k");
        let ready = keyspace.take_ready(&locked);
        let (number, _) = keyspace.next_waiter(&ready[0], 0, Some(Kind::List)).expect("somebody");
        keyspace.end_wait(&ready[0], number);
        assert_eq!(names(&keyspace, &ready[0], Some(Kind::List)), ["second"]);
        push(&keyspace, &mut locked, "k");
        assert!(keyspace.has_ready());
        drop(second);
        assert!(!keyspace.has_ready(), "nobody waits for it any more");
        drop(first);
        push(&keyspace, &mut locked, "k");
        assert!(!keyspace.has_ready() && !keyspace.watches.any_in(ready[0].slot));
    }

    #[test]
    fn a_swap_and_a_flush_make_ready_what_they_change() {
        let keyspace = Keyspace::new(2, 1);
        let _waiting = wait(&keyspace, &["k"], LIST, "somebody");
        keyspace.swap_dbs(DbIndex(0), DbIndex(1), UnixMillis(0));
        assert!(!keyspace.has_ready(), "nothing was there, nothing is");
        push(&keyspace, &mut hold(&keyspace, &["k"]), "k");
        assert_eq!(keyspace.take_ready(&hold(&keyspace, &["k"])).len(), 1);
        keyspace.swap_dbs(DbIndex(0), DbIndex(1), UnixMillis(0));
        assert_eq!(keyspace.take_ready(&hold(&keyspace, &["k"])).len(), 1, "it went");
        keyspace.swap_dbs(DbIndex(0), DbIndex(1), UnixMillis(0));
        assert_eq!(keyspace.take_ready(&hold(&keyspace, &["k"])).len(), 1, "it came");
        drop(keyspace.flush(DbSet::All));
        assert_eq!(keyspace.take_ready(&hold(&keyspace, &["k"])).len(), 1, "it went");
    }

    #[test]
    #[should_panic(expected = "not held")]
    fn a_wait_needs_the_slot() {
        let keyspace = Keyspace::new(1, 1);
        let key = keyspace.key(b"k");
        let waiter: Waiter = Arc::new("somebody");
        let _waiting = keyspace.wait_for(&Locked::new(), DbIndex(0), &[key], LIST, &waiter);
    }
}
