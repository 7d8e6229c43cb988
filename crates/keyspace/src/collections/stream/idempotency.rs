//! What producers have added under a name of their own, so that they may say it twice.
//!
//! A producer's names are kept for a time, and so many of them at most; the rest is forgotten, also
//! of producers that are never heard of again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use slotward_types::UnixMillis;

use super::id::StreamId;

/// What a name takes beside its bytes, which are there twice.
const NAME_BYTES: usize = 120;
/// What a producer takes beside its name and the names it gave.
const PRODUCER_BYTES: usize = 120;
/// Producers that are looked at with every new name, whether they may be forgotten.
const SWEPT: usize = 2;

/// The names that producers gave to entries.
#[derive(Debug, Clone)]
pub struct Idempotency {
    duration_s: u32,
    names_max: usize,
    producers: BTreeMap<Box<[u8]>, Producer>,
    /// The producer that was looked at last.
    swept: Box<[u8]>,
    names: usize,
    bytes: usize,
    added: u64,
    duplicates: u64,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    by_name: BTreeMap<Box<[u8]>, StreamId>,
    /// The names in the order in which they came, with the moment.
    order: VecDeque<(UnixMillis, Box<[u8]>)>,
}

impl Default for Idempotency {
    fn default() -> Self {
        Idempotency {
            duration_s: 100,
            names_max: 100,
            producers: BTreeMap::new(),
            swept: Box::default(),
            names: 0,
            bytes: 0,
            added: 0,
            duplicates: 0,
        }
    }
}

impl Idempotency {
    /// The longest time for which names can be kept, in seconds.
    pub const DURATION_S_MAX: u32 = 86_400;
    /// The most names of one producer that can be kept.
    pub const NAMES_MAX: usize = 10_000;

    /// For how long names are kept, in seconds.
    pub fn duration_s(&self) -> u32 {
        self.duration_s
    }

    /// How many names of a producer are kept.
    pub fn names_max(&self) -> usize {
        self.names_max
    }

    /// How many producers are known.
    pub fn producers(&self) -> usize {
        self.producers.len()
    }

    /// How many names are kept.
    pub fn names(&self) -> usize {
        self.names
    }

    /// How many names there ever were.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// How many entries were not added because their name was known.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Changes for how long and how many names are kept, and forgets all.
    pub fn configure(&mut self, duration_s: Option<u32>, names_max: Option<usize>) {
        self.duration_s = duration_s.unwrap_or(self.duration_s);
        self.names_max = names_max.unwrap_or(self.names_max);
        assert!((1..=Self::DURATION_S_MAX).contains(&self.duration_s), "a time in its range");
        assert!((1..=Self::NAMES_MAX).contains(&self.names_max), "a number in its range");
        self.producers.clear();
        (self.names, self.bytes) = (0, 0);
    }

    /// The entry that the producer has added under this name.
    pub fn find(&self, producer: &[u8], name: &[u8], now: UnixMillis) -> Option<StreamId> {
        let producer = self.producers.get(producer)?;
        let id = *producer.by_name.get(name)?;
        // As many as there may be are few: this is found before it is looked for long.
        let (at, _) = producer.order.iter().rev().find(|(_, other)| **other == *name)?;
        (*at >= self.oldest(now)).then_some(id)
    }

    /// An entry was not added because its name was known.
    pub fn count_duplicate(&mut self) {
        self.duplicates += 1;
    }

    fn oldest(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_sub(i64::from(self.duration_s) * 1000))
    }

    /// The producer has added this entry under this name. What had the name before loses it.
    pub fn record(&mut self, producer: &[u8], name: &[u8], id: StreamId, now: UnixMillis) {
        if let Some(known) = self.producers.get_mut(producer)
            && known.by_name.remove(name).is_some()
        {
            known.order.retain(|(_, other)| **other != *name);
            self.names -= 1;
            self.bytes -= NAME_BYTES + 2 * name.len();
        }
        self.forget(producer, now, self.names_max - 1);
        let known = self.producers.entry(producer.into()).or_insert_with(|| {
            self.bytes += PRODUCER_BYTES + producer.len();
            Producer::default()
        });
        let old = known.by_name.insert(name.into(), id);
        assert!(old.is_none(), "a name is that of one entry");
        known.order.push_back((now, name.into()));
        self.names += 1;
        self.bytes += NAME_BYTES + 2 * name.len();
        self.added += 1;
        for _ in 0..SWEPT {
            let after = (Bound::Excluded(&*self.swept), Bound::Unbounded);
            let next = self.producers.range::<[u8], _>(after).next();
            self.swept = next.map_or_else(Box::default, |(producer, _)| producer.clone());
            let swept = std::mem::take(&mut self.swept);
            self.forget(&swept, now, self.names_max);
            self.swept = swept;
        }
    }

    /// Forgets names of a producer that are too old, or more than so many; and the producer with its
    /// last name.
    fn forget(&mut self, producer: &[u8], now: UnixMillis, names_max: usize) {
        let oldest = self.oldest(now);
        let Some(known) = self.producers.get_mut(producer) else { return };
        while let Some((at, name)) = known.order.front() {
            if *at >= oldest && known.order.len() <= names_max {
                return;
            }
            self.names -= 1;
            self.bytes -= NAME_BYTES + 2 * name.len();
            known.by_name.remove(name).expect("what came is known by its name");
            known.order.pop_front();
        }
        self.bytes -= PRODUCER_BYTES + producer.len();
        self.producers.remove(producer);
    }

    /// The memory behind this.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Idempotency>() + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId::new(ms, 0)
    }

    #[test]
    fn names_are_kept_for_a_time_and_so_many() {
        let mut kept = Idempotency::default();
        kept.configure(Some(10), Some(2));
        kept.record(b"p", b"a", id(1), UnixMillis(0));
        kept.record(b"p", b"b", id(2), UnixMillis(5_000));
        kept.record(b"q", b"a", id(3), UnixMillis(5_000));
        for (why, producer, name, now, want) in [
            ("known", b"p", b"a", 10_000, Some(1)),
            ("too old", b"p", b"a", 10_001, None),
            ("of another", b"q", b"a", 10_001, Some(3)),
            ("unknown", b"q", b"b", 5_000, None),
        ] {
            assert_eq!(kept.find(producer, name, UnixMillis(now)), want.map(id), "{why}");
        }
        kept.record(b"p", b"c", id(4), UnixMillis(6_000));
        assert_eq!(kept.find(b"p", b"a", UnixMillis(6_000)), None, "the third takes its place");
        assert_eq!((kept.producers(), kept.names(), kept.added()), (2, 3, 4));
        // A name that was forgotten may be given again.
        kept.record(b"p", b"a", id(5), UnixMillis(30_000));
        assert_eq!(kept.find(b"p", b"a", UnixMillis(30_000)), Some(id(5)));
        assert_eq!((kept.producers(), kept.names()), (1, 1), "others are forgotten by and by");
        kept.record(b"p", b"a", id(6), UnixMillis(30_000));
        assert_eq!(kept.find(b"p", b"a", UnixMillis(30_000)), Some(id(6)));
        assert_eq!(kept.names(), 1, "the later one has the name");
        kept.configure(None, Some(5));
        assert_eq!((kept.names(), kept.bytes, kept.duration_s()), (0, 0, 10));
    }

    #[test]
    fn producers_that_are_never_heard_of_again_are_forgotten() {
        let mut kept = Idempotency::default();
        for number in 0..1000u64 {
            let producer = format!("p{number}");
            kept.record(producer.as_bytes(), b"n", id(number + 1), UnixMillis(0));
        }
        assert_eq!(kept.producers(), 1000);
        for number in 0..1100u64 {
            let name = number.to_be_bytes();
            kept.record(b"one", &name, id(number + 2000), UnixMillis(1_000_000));
        }
        assert_eq!((kept.producers(), kept.names()), (1, 100));
        let one = PRODUCER_BYTES + 3 + 100 * (NAME_BYTES + 16);
        assert_eq!(kept.bytes, one, "what is forgotten counts no more");
    }
}
