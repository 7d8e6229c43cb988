//! Which history of writes a node holds.
//!
//! A position (id, offset) names one exact sequence of bytes. A promotion gives the continuing
//! history a new id and keeps the old one beside it, valid up to the offset of the promotion, so
//! that the other replicas can go on from where they are.

use slotward_types::{ReplId, ReplOffset};

/// Where a reader wants to go on: it holds the first `next` bytes of history `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The history.
    pub id: ReplId,
    /// How many of its bytes the reader has.
    pub next: ReplOffset,
}

/// The names of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    id: ReplId,
    second: Option<Resume>,
}

impl History {
    /// A history of its own that nobody else has a part of.
    pub fn new(id: ReplId) -> History {
        History { id, second: None }
    }

    /// Its id.
    pub fn id(&self) -> ReplId {
        self.id
    }

    /// The id it had before, and up to which offset that one is valid too.
    pub fn second(&self) -> Option<Resume> {
        self.second
    }

    /// Whether the position is in this history, which ends at `end`.
    pub fn includes(&self, position: Resume, end: ReplOffset) -> bool {
        // `next == end` is a replica that missed nothing; beyond `end` it holds bytes we never
        // sent, so its history is not ours whatever its id says.
        let ours = position.id == self.id && position.next <= end;
        let before = self
            .second
            .is_some_and(|second| second.id == position.id && position.next <= second.next);
        ours || before
    }

    /// This node becomes the master of what it holds: what comes after `end` is a history of its
    /// own, `new_id`.
    pub(crate) fn promote(&mut self, new_id: ReplId, end: ReplOffset) {
        assert_ne!(new_id, self.id, "a promotion makes a new history");
        self.second = Some(Resume { id: self.id, next: end });
        self.id = new_id;
    }

    /// The master continues this copy, which ends at `end`, under its own `id`.
    pub(crate) fn adopt(&mut self, id: ReplId, end: ReplOffset) {
        if id != self.id {
            self.second = Some(Resume { id: self.id, next: end });
            self.id = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ReplId {
        ReplId::from_bytes([byte; 20])
    }

    #[test]
    fn who_may_continue() {
        let mut history = History::new(id(1));
        history.promote(id(2), ReplOffset(100));
        let end = ReplOffset(200);
        for (why, id_byte, next, want) in [
            ("missed nothing", 2, 200, true),
            ("missed a little", 2, 150, true),
            ("ahead of the master", 2, 201, false),
            ("from before the promotion", 1, 80, true),
            ("exactly at the promotion", 1, 100, true),
            ("wrote on after the promotion", 1, 101, false),
            ("another history", 3, 80, false),
        ] {
            let position = Resume { id: id(id_byte), next: ReplOffset(next) };
            assert_eq!(history.includes(position, end), want, "{why}");
        }
    }
}
