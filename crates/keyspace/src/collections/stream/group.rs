//! Consumer groups: who was given which entry, and has not acknowledged it.

use std::collections::{BTreeMap, BTreeSet};

use slotward_types::UnixMillis;

use super::id::StreamId;

/// What a pending entry takes in the group's index and the consumer's, with their own share.
const PENDING_BYTES: usize = 96;
/// What its turn takes in the index of turns, if there is one.
const TURN_BYTES: usize = 40;
/// What a consumer takes beside its name.
const CONSUMER_BYTES: usize = 160;

/// Who has a pending entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The consumer at this place.
    Consumer(u32),
    /// Whoever asks next (`XNACK`); what was released first, goes first.
    Nobody {
        /// How many of the group were released before.
        order: u32,
    },
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    owner: Owner,
    /// When it was last delivered.
    pub delivered_at: UnixMillis,
    /// How many times it was delivered.
    pub deliveries: u64,
}

impl Pending {
    /// The consumer's place, if it has one.
    fn consumer(&self) -> Option<u32> {
        match self.owner {
            Owner::Consumer(number) => Some(number),
            Owner::Nobody { .. } => None,
        }
    }

    /// Where it stands among those that wait to be delivered again: what was released comes before
    /// everything, then what was delivered longest ago.
    fn turn(&self, id: StreamId) -> Turn {
        match self.owner {
            Owner::Nobody { order } => (i64::MIN, order, id),
            Owner::Consumer(_) => (self.delivered_at.0, 0, id),
        }
    }
}

/// The moment of delivery, the order of release, the id.
type Turn = (i64, u32, StreamId);

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConsumer {
    name: Box<[u8]>,
    /// When it last asked for entries.
    pub seen_at: UnixMillis,
    /// When it last got one.
    pub active_at: Option<UnixMillis>,
    pending: BTreeSet<StreamId>,
}

impl StreamConsumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The ids from `start` on that it has not acknowledged.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.range(start..).copied()
    }
}

/// A consumer group.
///
/// **Invariant:** an id is in a consumer's set exactly when the group's entry for it names the
/// consumer.
#[derive(Debug, Clone, Default)]
pub struct StreamGroup {
    /// The last id that was delivered as new.
    pub last_id: StreamId,
    /// How many entries of the stream the group has got up to there, if that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    /// The pending ones in the order of their turns, from when this was first asked for on.
    turns: Option<BTreeSet<Turn>>,
    released: u32,
    /// By the number that pending entries name them with; `None` is free.
    consumers: Vec<Option<StreamConsumer>>,
    free: Vec<u32>,
    names: BTreeMap<Box<[u8]>, u32>,
    name_bytes: usize,
}

impl StreamGroup {
    /// A group that begins after `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> StreamGroup {
        StreamGroup { last_id, entries_read, ..StreamGroup::default() }
    }

    /// The consumers, by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &StreamConsumer> {
        self.names.values().map(|number| self.numbered(*number))
    }

    fn numbered(&self, number: u32) -> &StreamConsumer {
        self.consumers[number as usize].as_ref().expect("a number in use is a consumer's")
    }

    fn numbered_mut(&mut self, number: u32) -> &mut StreamConsumer {
        self.consumers[number as usize].as_mut().expect("a number in use is a consumer's")
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &[u8]) -> Option<&StreamConsumer> {
        self.names.get(name).map(|number| self.numbered(*number))
    }

    /// The consumer of this name.
    pub fn consumer_mut(&mut self, name: &[u8]) -> Option<&mut StreamConsumer> {
        let number = *self.names.get(name)?;
        Some(self.numbered_mut(number))
    }

    /// Adds a consumer; false if there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], seen_at: UnixMillis) -> bool {
        if self.names.contains_key(name) {
            return false;
        }
        let consumer = StreamConsumer {
            name: name.into(),
            seen_at,
            active_at: None,
            pending: BTreeSet::new(),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            u32::try_from(self.consumers.len() - 1).expect("fewer than 2^32 consumers")
        });
        self.consumers[number as usize] = Some(consumer);
        self.names.insert(name.into(), number);
        self.name_bytes += name.len();
        true
    }

    /// Removes a consumer and what it has not acknowledged: how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.names.remove(name)?;
        self.name_bytes -= name.len();
        let consumer = self.consumers[number as usize].take().expect("it was in use");
        self.free.push(number);
        for id in &consumer.pending {
            let pending = self.pending.remove(id).expect("what a consumer has, the group has");
            if let Some(turns) = &mut self.turns {
                turns.remove(&pending.turn(*id));
            }
        }
        Some(consumer.pending.len())
    }

    /// How many entries are not acknowledged.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// What is known of an entry that is not acknowledged.
    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// The entries that are not acknowledged, from `start` on.
    pub fn pending_from(
        &self,
        start: StreamId,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        self.pending.range(start..).map(|(id, pending)| (*id, pending))
    }

    /// The consumer that has a pending entry.
    pub fn owner(&self, pending: &Pending) -> Option<&StreamConsumer> {
        pending.consumer().map(|number| self.numbered(number))
    }

    /// The pending entries that were released, or last delivered at `until` or before, in the order
    /// in which they are due: those released first, then those delivered longest ago.
    pub fn due(&mut self, until: UnixMillis) -> impl Iterator<Item = StreamId> + '_ {
        let pending = &self.pending;
        let turns = self
            .turns
            .get_or_insert_with(|| pending.iter().map(|(id, pending)| pending.turn(*id)).collect());
        turns.iter().take_while(move |(at, ..)| *at <= until.0).map(|(.., id)| *id)
    }

    /// Puts what is known of an entry in place of what was, and gives that.
    fn put(&mut self, id: StreamId, new: Pending) -> Option<Pending> {
        let old = self.pending.insert(id, new);
        if let Some(turns) = &mut self.turns {
            if let Some(old) = old {
                turns.remove(&old.turn(id));
            }
            turns.insert(new.turn(id));
            assert_eq!(turns.len(), self.pending.len(), "every pending entry has its turn");
        }
        old
    }

    /// Gives an entry to a consumer, whoever had it.
    ///
    /// # Panics
    /// When there is no such consumer.
    pub fn assign(&mut self, id: StreamId, name: &[u8], at: UnixMillis, deliveries: u64) {
        let number = *self.names.get(name).expect("the consumer is there");
        let new = Pending { owner: Owner::Consumer(number), delivered_at: at, deliveries };
        let old = self.put(id, new).and_then(|old| old.consumer());
        if old == Some(number) {
            return;
        }
        if let Some(old) = old {
            self.numbered_mut(old).pending.remove(&id);
        }
        self.numbered_mut(number).pending.insert(id);
    }

    /// Leaves an entry to whoever asks next, behind those that were released before.
    pub fn release(&mut self, id: StreamId, at: UnixMillis, deliveries: u64) {
        // After so many their order is lost, nothing else.
        self.released = self.released.saturating_add(1);
        let owner = Owner::Nobody { order: self.released };
        let new = Pending { owner, delivered_at: at, deliveries };
        let old = self.put(id, new).and_then(|old| old.consumer());
        if let Some(old) = old {
            self.numbered_mut(old).pending.remove(&id);
        }
    }

    /// Forgets a pending entry; false if there was none.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(turns) = &mut self.turns {
            turns.remove(&pending.turn(id));
        }
        if let Some(number) = pending.consumer() {
            self.numbered_mut(number).pending.remove(&id);
        }
        true
    }

    /// The memory behind this.
    pub(super) fn heap_bytes(&self) -> usize {
        self.pending.len() * PENDING_BYTES
            + self.turns.as_ref().map_or(0, |turns| turns.len() * TURN_BYTES)
            + self.consumers.len() * CONSUMER_BYTES
            + 2 * self.name_bytes
    }
}
