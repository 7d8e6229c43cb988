//! Streams: entries in the order of their ids, and groups of consumers that share them.
//!
//! The entries ([`StreamLog`]) are packed in blocks, as Redis packs them; the groups ([`StreamGroup`])
//! know which entries they were given. A stream may be empty and yet hold ids and groups, so nothing
//! removes it but its owner.

mod block;
mod group;
mod id;
mod idempotency;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use block::StreamEntry;
pub use group::{Pending, StreamConsumer, StreamGroup};
pub use id::StreamId;
pub use idempotency::Idempotency;
pub use log::{Entries, EntriesBack, StreamLog, StreamTooLong, Trim, TrimTo};

/// What a group takes beside its name and contents, with its share of the index.
const GROUP_BYTES: usize = size_of::<StreamGroup>() + 64;

/// What becomes of the groups' knowledge of an entry that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// They keep it (`KEEPREF`).
    #[default]
    Keep,
    /// They lose it (`DELREF`).
    Remove,
    /// The entry goes only if every group has read and acknowledged it (`ACKED`).
    Respect,
}

/// A stream. See the module.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    log: StreamLog,
    groups: BTreeMap<Box<[u8]>, StreamGroup>,
    /// What the groups take.
    group_bytes: usize,
    /// The names that producers gave to entries, once there were any.
    idempotency: Option<Box<Idempotency>>,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// The entries.
    pub fn log(&self) -> &StreamLog {
        &self.log
    }

    /// The entries, to change them without regard to the groups.
    pub fn log_mut(&mut self) -> &mut StreamLog {
        &mut self.log
    }

    /// The names that producers gave to entries, if there ever were any. No snapshot has them.
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_deref()
    }

    /// The names that producers give to entries.
    pub fn idempotency_mut(&mut self) -> &mut Idempotency {
        self.idempotency.get_or_insert_default()
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &StreamGroup)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// The group of this name.
    pub fn group(&self, name: &[u8]) -> Option<&StreamGroup> {
        self.groups.get(name)
    }

    /// Changes the group of this name, with a look at the entries.
    pub fn with_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&StreamLog, &mut StreamGroup) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(name)?;
        let before = group.heap_bytes();
        let result = change(&self.log, group);
        self.group_bytes = self.group_bytes + group.heap_bytes() - before;
        Some(result)
    }

    /// Adds a group; false if there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: StreamGroup) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.group_bytes += GROUP_BYTES + name.len() + group.heap_bytes();
        self.groups.insert(name.into(), group);
        true
    }

    /// Removes a group; false if there was none.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.groups.remove(name) else { return false };
        self.group_bytes -= GROUP_BYTES + name.len() + group.heap_bytes();
        true
    }

    /// Whether some group has not read this entry, or has not acknowledged it.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups.values().any(|group| group.last_id < id || group.pending(id).is_some())
    }

    /// Removes an entry by name, as `references` says: whether it was there and went. With
    /// [`References::Remove`] the groups forget it even if it was not there.
    pub fn remove(&mut self, id: StreamId, references: References) -> bool {
        match references {
            References::Keep => {}
            References::Remove => forget(&mut self.groups, &mut self.group_bytes, id),
            References::Respect if self.is_referenced(id) => return false,
            References::Respect => {}
        }
        self.log.remove(id)
    }

    /// Trims: how many entries went.
    pub fn trim(&mut self, trim: &Trim, references: References) -> u64 {
        let Stream { log, groups, group_bytes, .. } = self;
        match references {
            References::Keep => log.trim(trim, None),
            References::Remove => log.trim(
                trim,
                Some(&mut |id| {
                    forget(groups, group_bytes, id);
                    true
                }),
            ),
            References::Respect => log.trim(
                trim,
                Some(&mut |id| {
                    let refers =
                        |group: &StreamGroup| group.last_id < id || group.pending(id).is_some();
                    !groups.values().any(refers)
                }),
            ),
        }
    }

    /// How many entries the group has still to get, if that is known.
    pub fn lag(&self, group: &StreamGroup) -> Option<i64> {
        let added = self.log.entries_added();
        if added == 0 || self.log.is_empty() {
            return Some(0);
        }
        if group.last_id < self.log.first_id() && self.log.max_deleted_id() < self.log.first_id() {
            // All that is left is still to come.
            return Some(self.log.len() as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.log.has_gaps_from(group.last_id) => read,
            _ => self.log.position_of(group.last_id)?,
        };
        Some(added as i64 - read as i64)
    }

    /// How many allocations there are, about.
    pub(crate) fn parts(&self) -> usize {
        let pending = self.groups.values().map(StreamGroup::pending_count).sum::<usize>();
        self.log.block_count() + pending
    }

    /// The memory behind this.
    pub fn heap_bytes(&self) -> usize {
        let names = self.idempotency.as_ref().map_or(0, |names| names.heap_bytes());
        self.log.heap_bytes() + self.group_bytes + names
    }
}

fn forget(groups: &mut BTreeMap<Box<[u8]>, StreamGroup>, group_bytes: &mut usize, id: StreamId) {
    for group in groups.values_mut() {
        let before = group.heap_bytes();
        group.acknowledge(id);
        *group_bytes = *group_bytes + group.heap_bytes() - before;
    }
}
