//! The name of an entry.

use std::fmt;

/// The id of a stream's entry: milliseconds, and a number within the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds since 1970, if the server made the id.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

impl StreamId {
    /// Before all entries, and the id of none.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last id that an entry can have.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An id.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id after this one, unless this is the last.
    pub fn next(self) -> Option<StreamId> {
        match (self.ms.checked_add(1), self.seq.checked_add(1)) {
            (_, Some(seq)) => Some(StreamId { ms: self.ms, seq }),
            (Some(ms), None) => Some(StreamId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The id before this one, unless this is the first.
    pub fn previous(self) -> Option<StreamId> {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Some(StreamId { ms: self.ms, seq }),
            (Some(ms), None) => Some(StreamId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// The form in which RDB files have it: big endian, so that bytes order as ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of [`StreamId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours() {
        let top = u64::MAX;
        for (why, id, next) in [
            ("within a millisecond", StreamId::new(1, 2), Some(StreamId::new(1, 3))),
            ("into the next one", StreamId::new(1, top), Some(StreamId::new(2, 0))),
            ("the last", StreamId::MAX, None),
        ] {
            assert_eq!(id.next(), next, "{why}");
            assert_eq!(next.and_then(StreamId::previous), next.map(|_| id), "{why}");
            assert_eq!(StreamId::from_bytes(id.to_bytes()), id, "{why}");
        }
        assert_eq!(StreamId::MIN.previous(), None);
    }
}
