//! What a shard has staged, as its log tells: the same at its master and at every replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slotward_cluster::{MoveId, SlotRanges};
use slotward_types::{Epoch, ReplOffset};

use crate::plant::{Plant, planted};

/// Names a staged copy. The epoch says whose data it is: a later master of the source may have
/// another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageKey {
    /// The move it is staged for.
    pub id: MoveId,
    /// The source's epoch.
    pub source_epoch: Epoch,
}

/// What a source sends, in order; the data itself travels beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// The part of this number of the snapshot; the last one says at which offset of the source's
    /// log it was taken.
    Part(u32, Option<ReplOffset>),
    /// All effects on the slots between two offsets of the source's log. In the target's log these
    /// stretch back to the last ones before them: a stretch without effects is not staged at all
    /// (two moves in opposite directions would for ever stage each other's progress).
    Entries(ReplOffset, ReplOffset),
    /// Nothing touches the slots after this offset: the source has paused.
    Final(ReplOffset),
}

/// What enters the log of a shard about slots on their way. Replicas get it as they get all else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveRecord {
    /// A copy begins, from nothing: what an earlier attempt staged for the same move goes.
    Begin {
        /// For which move.
        key: StageKey,
        /// Which slots.
        slots: SlotRanges,
        /// Raised with every connection of the source.
        attempt: u32,
    },
    /// A piece of it.
    Piece {
        /// For which move.
        key: StageKey,
        /// The piece, with its data.
        piece: Piece,
    },
    /// These slots of the staged copy become part of the data set, in the place of whatever it
    /// held for them; the rest of the copy goes.
    Install {
        /// Of which move.
        key: StageKey,
        /// Which slots.
        slots: SlotRanges,
    },
    /// The staged copy goes.
    Drop {
        /// Of which move.
        key: StageKey,
    },
    /// The data of these slots goes: they belong to somebody else.
    Leave {
        /// Which slots.
        slots: SlotRanges,
    },
}

/// A copy on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Which slots.
    pub slots: SlotRanges,
    /// The connection that it comes from.
    pub attempt: u32,
    /// The number of the snapshot part that comes next.
    pub next_part: u32,
    /// Up to which offset of the source's log it is known to be complete, once the whole snapshot
    /// is there.
    pub upto: Option<ReplOffset>,
    /// Whether that is all there will be.
    pub sealed: bool,
}

/// How a piece fits to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Next,
    /// It is there already.
    Repeated,
    /// Something before it is missing.
    Gap,
}

impl Stage {
    /// `upto`: how far the source has told, which is further than the stage when there was nothing
    /// to stage.
    pub(super) fn fit(&self, upto: Option<ReplOffset>, piece: Piece) -> Fit {
        let reached = |offset: ReplOffset| match upto {
            None => Fit::Gap,
            Some(upto) if offset == upto => Fit::Next,
            Some(upto) if offset < upto => Fit::Repeated,
            Some(_) => Fit::Gap,
        };
        match piece {
            Piece::Part(number, _) if number < self.next_part => Fit::Repeated,
            Piece::Part(number, _) if number == self.next_part && upto.is_none() => Fit::Next,
            Piece::Part(..) => Fit::Gap,
            Piece::Entries(from, to) if to > from => reached(from),
            Piece::Entries(..) => Fit::Repeated,
            Piece::Final(_) if self.sealed => Fit::Repeated,
            // A source says where it ends only after all that comes before.
            Piece::Final(end) if upto.is_some_and(|upto| upto > end) => Fit::Gap,
            Piece::Final(end) => reached(end),
        }
    }

    /// Whether a record in the log goes on where the stage ends.
    fn continues_with(&self, piece: Piece) -> bool {
        match piece {
            Piece::Part(number, _) => number == self.next_part && self.upto.is_none(),
            Piece::Entries(from, to) => self.upto == Some(from) && to > from && !self.sealed,
            Piece::Final(end) => self.upto.is_some_and(|upto| upto <= end) && !self.sealed,
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Part(number, at) => {
                self.next_part = number + 1;
                self.upto = at;
            }
            Piece::Entries(_, to) => self.upto = Some(to),
            Piece::Final(_) => self.sealed = true,
        }
    }
}

/// Everything that is staged at a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stages(pub(super) BTreeMap<StageKey, Stage>);

impl Stages {
    /// The log says so.
    ///
    /// # Panics
    /// If a piece does not fit: a master appends only what does.
    pub fn apply(&mut self, record: &MoveRecord) {
        match record {
            MoveRecord::Begin { key, slots, attempt } => {
                let (slots, attempt) = (slots.clone(), *attempt);
                let stage = Stage { slots, attempt, next_part: 0, upto: None, sealed: false };
                self.0.insert(*key, stage);
            }
            MoveRecord::Piece { key, piece } => {
                let Some(stage) = self.0.get_mut(key) else {
                    let wiped = planted(Plant::MoveLateBegunWipes);
                    return assert!(wiped, "a piece of {key:?}, of which there is no copy");
                };
                assert!(stage.continues_with(*piece), "{piece:?} does not fit to {stage:?}");
                stage.take(*piece);
            }
            MoveRecord::Install { key, .. } | MoveRecord::Drop { key } => {
                self.0.remove(key);
            }
            MoveRecord::Leave { .. } => {}
        }
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The copy staged under this key.
    pub fn get(&self, key: StageKey) -> Option<&Stage> {
        self.0.get(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_piece_fits() {
        let at = ReplOffset;
        let stage = |next_part, upto: Option<u64>, sealed| Stage {
            slots: SlotRanges::full(),
            attempt: 1,
            next_part,
            upto: upto.map(ReplOffset),
            sealed,
        };
        for (why, stage, piece, want) in [
            ("the first part", stage(0, None, false), Piece::Part(0, None), Fit::Next),
            ("a part is missing", stage(1, None, false), Piece::Part(2, None), Fit::Gap),
            ("a part again", stage(2, None, false), Piece::Part(1, None), Fit::Repeated),
            (
                "entries before the snapshot",
                stage(1, None, false),
                Piece::Entries(at(5), at(6)),
                Fit::Gap,
            ),
            ("entries", stage(1, Some(5), false), Piece::Entries(at(5), at(6)), Fit::Next),
            (
                "entries again",
                stage(1, Some(6), false),
                Piece::Entries(at(5), at(6)),
                Fit::Repeated,
            ),
            ("entries missing", stage(1, Some(5), false), Piece::Entries(at(6), at(7)), Fit::Gap),
            ("the end, too early", stage(1, Some(5), false), Piece::Final(at(6)), Fit::Gap),
            ("an end that has passed", stage(1, Some(6), false), Piece::Final(at(5)), Fit::Gap),
            ("the end", stage(1, Some(6), false), Piece::Final(at(6)), Fit::Next),
            ("the end again", stage(1, Some(6), true), Piece::Final(at(6)), Fit::Repeated),
        ] {
            assert_eq!(stage.fit(stage.upto, piece), want, "{why}");
        }
    }
}
