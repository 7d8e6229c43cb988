//! What a node's data set is here: every write in order, comparable at one glance.

use slotward_types::{Epoch, ReplOffset};

/// How many keys a shard has.
pub(crate) const KEYS: usize = 4;

/// How many bytes a write takes in the replication log.
pub(crate) const WRITE_BYTES: u64 = 8;

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    /// The epoch of the master that executed it.
    pub(crate) epoch: Epoch,
    /// Which operation of the clients it was; its value, too.
    pub(crate) op: u64,
    /// The key.
    pub(crate) key: usize,
}

/// A point in a history that names all that comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    len: usize,
    hash: u64,
}

impl Mark {
    pub(crate) fn len(self) -> usize {
        self.len
    }
}

/// All writes in order, and what the keys hold after them.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    writes: Vec<Write>,
    /// `hashes[n]` stands for the first `n + 1` writes.
    hashes: Vec<u64>,
    values: [u64; KEYS],
}

impl History {
    pub(crate) fn push(&mut self, write: Write) {
        let mut hash = self.hashes.last().copied().unwrap_or(0x243f_6a88_85a3_08d3);
        for word in [write.epoch.0, write.op, write.key as u64] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        self.writes.push(write);
        self.hashes.push(hash);
        self.values[write.key] = write.op;
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn offset(&self) -> ReplOffset {
        ReplOffset(self.len() as u64 * WRITE_BYTES)
    }

    pub(crate) fn from(&self, index: usize) -> &[Write] {
        &self.writes[index..]
    }

    /// The operation that wrote last to the key; 0 if none did.
    pub(crate) fn value(&self, key: usize) -> u64 {
        self.values[key]
    }

    pub(crate) fn last_epoch(&self) -> Epoch {
        self.writes.last().map_or(Epoch(0), |write| write.epoch)
    }

    /// Everything up to now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { len: self.len(), hash: self.hashes.last().copied().unwrap_or(0) }
    }

    /// Whether it begins with what the mark stands for.
    pub(crate) fn includes(&self, mark: Mark) -> bool {
        mark.len == 0 || self.hashes.get(mark.len - 1) == Some(&mark.hash)
    }

    pub(crate) fn is_prefix_of(&self, other: &History) -> bool {
        other.includes(self.mark())
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        let writes: Vec<Write> = self.writes.drain(..).take(len).collect();
        *self = History::default();
        writes.into_iter().for_each(|write| self.push(write));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_all_before_it() {
        let write = |op| Write { epoch: Epoch(1), op, key: 0 };
        let (mut one, mut other) = (History::default(), History::default());
        one.push(write(1));
        other.push(write(2));
        assert!(!one.is_prefix_of(&other));
        one.push(write(3));
        other.push(write(3));
        assert!(!one.includes(other.mark()), "the same last write, another first");
        let mark = one.mark();
        one.push(write(4));
        assert!(one.includes(mark) && one.value(0) == 4);
        one.truncate(2);
        assert_eq!((one.mark(), one.value(0)), (mark, 3));
    }
}
