//! Who keeps copies of keys elsewhere and has to hear of their changes.
//!
//! There is one listener, which knows for whom it listens; the keyspace only knows in which slots.
//! It hears of a change on the thread that makes it, while the slot is held.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use slotward_types::Slot;

use crate::keyspace::{DbIndex, Keyspace};

const SLOT_WORDS: usize = Slot::COUNT as usize / 64;

/// Hears of changes. It must not use the keyspace.
pub trait Listener: Send + Sync {
    /// A key of a slot that is listened to was changed or removed, by the operation of this actor
    /// (see [`crate::Db::set_actor`]). The slot is held.
    fn changed(&self, slot: Slot, key: &[u8], actor: u64);

    /// All keys may have changed (a flush, a swap, a new data set). The worker barrier is held.
    fn all_changed(&self);
}

/// Where is listened.
#[derive(Default)]
pub(crate) struct Ears {
    listener: OnceLock<Arc<dyn Listener>>,
    everywhere: AtomicBool,
    slots: Words,
}

struct Words([AtomicU64; SLOT_WORDS]);

impl Default for Words {
    fn default() -> Self {
        Words([const { AtomicU64::new(0) }; SLOT_WORDS])
    }
}

impl Ears {
    fn are_open(&self, slot: Slot) -> bool {
        let word = self.slots.0[slot.index() / 64].load(Ordering::Relaxed);
        word & bit(slot) != 0 || self.everywhere.load(Ordering::Relaxed)
    }

    pub(crate) fn changed(&self, slot: Slot, key: &[u8], actor: u64) {
        if self.are_open(slot)
            && let Some(listener) = self.listener.get()
        {
            listener.changed(slot, key, actor);
        }
    }

    pub(crate) fn all_changed(&self) {
        if let Some(listener) = self.listener.get() {
            listener.all_changed();
        }
    }
}

fn bit(slot: Slot) -> u64 {
    1 << (slot.index() % 64)
}

/// Notes that there is one more reason to look, or one less.
fn count(interests: &AtomicUsize, was: bool, is: bool) {
    match (was, is) {
        (false, true) => drop(interests.fetch_add(1, Ordering::Relaxed)),
        (true, false) => drop(interests.fetch_sub(1, Ordering::Relaxed)),
        _ => {}
    }
}

impl Keyspace {
    /// Who hears of changes from now on.
    ///
    /// # Panics
    /// When there is a listener already.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        assert!(self.watches.ears.listener.set(listener).is_ok(), "there is one listener");
    }

    /// Whether changes of this slot's keys are heard. Two calls for a slot must not meet; one that
    /// is made while the slot is held is certain to cover every later change.
    pub fn listen(&self, slot: Slot, on: bool) {
        let word = &self.watches.ears.slots.0[slot.index() / 64];
        let before = if on {
            word.fetch_or(bit(slot), Ordering::Relaxed)
        } else {
            word.fetch_and(!bit(slot), Ordering::Relaxed)
        };
        count(self.watches.interests(), before & bit(slot) != 0, on);
    }

    /// Whether changes of every slot's keys are heard. Certain for operations that begin after the
    /// next worker barrier, or after their thread has seen this call.
    pub fn listen_everywhere(&self, on: bool) {
        let was = self.watches.ears.everywhere.swap(on, Ordering::SeqCst);
        count(self.watches.interests(), was, on);
    }
}

/// What a view notes beside its operations, for those who asked: see [`crate::Db::note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// A read found no such key.
    Missed,
    /// A key was added.
    Added,
    /// A key's value was replaced by another.
    Overwritten,
    /// A key's value was replaced by one of another type.
    Retyped,
}

/// What has been noted of which keys, in order.
pub type Notes = Vec<(Noted, DbIndex, Box<[u8]>)>;

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use slotward_types::UnixMillis;

    use super::*;
    use crate::db::{Db, ExpiryPolicy, SetExpiry};
    use crate::keyspace::DbSet;
    use crate::lock::Locked;
    use crate::value::EncodingLimits;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, u64)>>);

    impl Listener for Heard {
        fn changed(&self, _: Slot, key: &[u8], actor: u64) {
            self.0.lock().push((String::from_utf8_lossy(key).into_owned(), actor));
        }

        fn all_changed(&self) {
            self.0.lock().push(("*".to_owned(), 0));
        }
    }

    fn with(keyspace: &Keyspace, key: &str, now: i64, work: impl FnOnce(&mut Db<'_>)) {
        let mut locked = Locked::from(keyspace.lock_blocking(keyspace.key(key.as_bytes()).slot));
        let limits = EncodingLimits::default();
        let (index, now) = (DbIndex(0), UnixMillis(now));
        let mut db = Db::new(keyspace, &mut locked, index, now, ExpiryPolicy::Delete, &limits);
        db.set_actor(7);
        work(&mut db);
    }

    fn set(keyspace: &Keyspace, key: &str, expiry: SetExpiry) {
        with(keyspace, key, 1, |db| db.set_string(&db.key(key.as_bytes()), b"v", expiry));
    }

    #[test]
    fn changes_are_heard_where_somebody_listens() {
        let keyspace = Keyspace::new(1, 1);
        let heard = Arc::new(Heard::default());
        keyspace.set_listener(heard.clone());
        let take = || std::mem::take(&mut *heard.0.lock());
        let clear = SetExpiry::Clear;
        set(&keyspace, "a", clear);
        assert_eq!(take(), [], "nobody listens");
        keyspace.listen(keyspace.key(b"a").slot, true);
        set(&keyspace, "a", clear);
        set(&keyspace, "b", clear);
        assert_eq!(take(), [("a".to_owned(), 7)]);
        set(&keyspace, "a", SetExpiry::At(UnixMillis(5)));
        take();
        with(&keyspace, "a", 9, |db| assert!(!db.exists(&db.key(b"a"))));
        assert_eq!(take(), [("a".to_owned(), 0)], "time, not the reader, has ended it");
        with(&keyspace, "a", 1, |db| {
            db.list_or_new(&db.key(b"a")).expect("a list").push(
                crate::collections::End::Back,
                b"x",
                &EncodingLimits::default(),
            );
        });
        assert_eq!(take().last(), Some(&("a".to_owned(), 7)), "a loan is heard of at its end");
        keyspace.listen(keyspace.key(b"a").slot, false);
        set(&keyspace, "a", clear);
        assert_eq!(take(), []);
        assert_eq!(keyspace.watches.interests().load(Ordering::Relaxed), 0);
        keyspace.listen_everywhere(true);
        set(&keyspace, "b", clear);
        assert_eq!(take(), [("b".to_owned(), 7)]);
        drop(keyspace.flush(DbSet::All));
        assert_eq!(take(), [("*".to_owned(), 0)]);
    }

    #[test]
    fn what_was_asked_for_is_noted() {
        let keyspace = Keyspace::new(1, 1);
        with(&keyspace, "a", 1, |db| {
            let key = db.key(b"a");
            db.note();
            assert!(!db.exists(&key));
            db.set_string(&key, b"v", SetExpiry::Clear);
            db.set_string(&key, b"w", SetExpiry::Clear);
            assert!(db.remove(&key));
            db.list_or_new(&key).expect("a list");
            db.set_string(&key, b"w", SetExpiry::Clear);
            let kinds: Vec<Noted> = db.take_notes().into_iter().map(|(noted, ..)| noted).collect();
            let replaced = [Noted::Overwritten, Noted::Retyped];
            assert_eq!(kinds[..4], [Noted::Missed, Noted::Added, Noted::Overwritten, Noted::Added]);
            assert_eq!(kinds[4..], replaced);
            assert!(db.take_notes().is_empty());
        });
    }
}
