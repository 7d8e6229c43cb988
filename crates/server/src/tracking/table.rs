//! Which clients have read which keys, by slot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use slotward_types::Slot;
use smallvec::SmallVec;

/// Slots are spread over this many locks.
const SHARDS: usize = 64;
/// From this many readers of a key on, those that are gone are looked for.
const READERS_MANY: usize = 32;

/// Clients that have read a key, by number.
pub(super) type Readers = SmallVec<[u64; 2]>;

type Keys = HashMap<Box<[u8]>, Readers>;
type Shard = HashMap<Slot, Keys>;

/// The table. A slot is in it only while it has keys.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    keys: AtomicUsize,
    items: AtomicUsize,
    /// Where keys are taken from next when there are too many.
    hand: AtomicUsize,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }
}

impl Table {
    fn shard(&self, slot: Slot) -> &Mutex<Shard> {
        &self.shards[slot.index() % SHARDS]
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(super) fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    fn fewer(&self, keys: usize, items: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.items.fetch_sub(items, Ordering::Relaxed);
    }

    /// Adds a reader. `exists` tells whether another one is still there; `opened` is called if the
    /// slot had no keys.
    pub(super) fn add(
        &self,
        slot: Slot,
        key: &[u8],
        reader: u64,
        exists: impl Fn(u64) -> bool,
        opened: impl FnOnce(),
    ) {
        let mut shard = self.shard(slot).lock();
        let keys = shard.entry(slot).or_insert_with(|| {
            opened();
            Keys::default()
        });
        if let Some(readers) = keys.get_mut(key) {
            if readers.contains(&reader) {
                return;
            }
            // Doubling, so that looking costs nothing on the whole.
            if readers.len() >= READERS_MANY && readers.len().is_power_of_two() {
                let before = readers.len();
                readers.retain(|reader| exists(*reader));
                self.fewer(0, before - readers.len());
            }
            readers.push(reader);
        } else {
            keys.insert(key.into(), Readers::from_slice(&[reader]));
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
        self.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a key out.
    pub(super) fn take(&self, slot: Slot, key: &[u8]) -> Option<Readers> {
        let mut shard = self.shard(slot).lock();
        let keys = shard.get_mut(&slot)?;
        let readers = keys.remove(key)?;
        if keys.is_empty() {
            shard.remove(&slot);
        }
        self.fewer(1, readers.len());
        Some(readers)
    }

    /// Takes some key out.
    pub(super) fn take_any(&self) -> Option<(Slot, Box<[u8]>, Readers)> {
        for _ in 0..SHARDS {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shards[at].lock();
            let Some((slot, keys)) = shard.iter_mut().next() else { continue };
            let slot = *slot;
            let key = keys.keys().next().expect("a slot is here while it has keys").clone();
            let readers = keys.remove(&key).expect("it was just seen");
            if keys.is_empty() {
                shard.remove(&slot);
            }
            self.fewer(1, readers.len());
            return Some((slot, key, readers));
        }
        None
    }

    /// Takes all keys of a slot out.
    pub(super) fn take_slot(&self, slot: Slot) -> Vec<(Box<[u8]>, Readers)> {
        let keys = self.shard(slot).lock().remove(&slot).unwrap_or_default();
        self.fewer(keys.len(), keys.values().map(SmallVec::len).sum());
        keys.into_iter().collect()
    }

    /// The slots with keys.
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>())
            .collect()
    }

    /// Calls `close` if the slot has no keys, with nobody adding any meanwhile.
    pub(super) fn close_if_empty(&self, slot: Slot, close: impl FnOnce()) {
        let shard = self.shard(slot).lock();
        if !shard.contains_key(&slot) {
            close();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let shard = std::mem::take(&mut *shard.lock());
            let keys = shard.values().map(HashMap::len).sum();
            let items = shard.values().flat_map(HashMap::values).map(SmallVec::len).sum();
            self.fewer(keys, items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &Table, slot: Slot, key: &str, reader: u64) -> bool {
        let mut opened = false;
        table.add(slot, key.as_bytes(), reader, |reader| reader >= 100, || opened = true);
        opened
    }

    #[test]
    fn a_key_goes_with_all_its_readers() {
        let table = Table::default();
        let slot = Slot::new(7).expect("a slot");
        assert!(add(&table, slot, "a", 1), "the first of the slot");
        assert!(!add(&table, slot, "a", 2));
        assert!(!add(&table, slot, "a", 2), "again");
        assert!(!add(&table, slot, "b", 2));
        assert_eq!((table.keys(), table.items()), (2, 3));
        assert_eq!(table.take(slot, b"a").as_deref(), Some(&[1, 2][..]));
        assert_eq!(table.take(slot, b"a"), None);
        let mut closed = false;
        table.close_if_empty(slot, || closed = true);
        assert!(!closed, "one is left");
        assert_eq!(table.take_any().map(|(_, key, _)| key), Some(b"b".as_slice().into()));
        table.close_if_empty(slot, || closed = true);
        assert!(closed);
        assert_eq!((table.keys(), table.items()), (0, 0));
        assert_eq!(table.take_any(), None);
    }

    #[test]
    fn readers_that_are_gone_do_not_pile_up() {
        let table = Table::default();
        for reader in 0..1000 {
            add(&table, Slot::ZERO, "a", reader % 90);
        }
        assert!(table.items() <= 2 * READERS_MANY, "{} readers", table.items());
        for reader in 100..200 {
            add(&table, Slot::ZERO, "a", reader);
        }
        assert!(table.items() >= 100, "those that are there stay");
        table.clear();
        assert_eq!((table.keys(), table.items(), table.slots().len()), (0, 0, 0));
    }

    #[test]
    fn a_slot_is_taken_whole() {
        let table = Table::default();
        let (one, other) = (Slot::new(1).expect("a slot"), Slot::new(65).expect("a slot"));
        for (slot, key) in [(one, "a"), (one, "b"), (other, "c")] {
            add(&table, slot, key, 1);
        }
        assert_eq!(table.slots().len(), 2);
        assert_eq!(table.take_slot(one).len(), 2);
        assert_eq!((table.keys(), table.slots()), (1, vec![other]));
    }
}
