//! Slot moves as the topology knows them: which ones run, and by which one a slot came.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use slotward_types::Epoch;

use crate::ranges::SlotRanges;
use crate::topology::ShardId;

/// Names a move of slots. Never used twice, so that nothing meant for one move can settle another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct MoveId(pub u64);

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A move that was begun and on which the log has not spoken yet. Both shards are in the epochs it
/// was begun in: the entry that changes either one cancels it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What moves.
    pub slots: SlotRanges,
    /// Who owns the slots until the commit…
    pub source: ShardId,
    /// …and its epoch.
    pub source_epoch: Epoch,
    /// Who owns them from then on…
    pub target: ShardId,
    /// …and its epoch.
    pub target_epoch: Epoch,
}

/// Slots that came to their owner by a committed move and have not left since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Their owner.
    pub shard: ShardId,
    /// The slots.
    pub slots: SlotRanges,
}

/// How many moves may run at once.
pub const MOVES_MAX: usize = 256;

/// The moves of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moves {
    /// How many there have ever been: the next one's id.
    pub ever: u64,
    /// Those that run; at most [`MOVES_MAX`], no two of one slot.
    pub running: BTreeMap<MoveId, Move>,
    /// The verdict on staged copies, for whoever was not there when it was given: what a copy was
    /// staged for has arrived, or was cancelled. Holds every slot at most once.
    pub arrived: BTreeMap<MoveId, Arrival>,
}

impl Moves {
    /// The running move of any of these slots.
    pub fn of_slots(&self, slots: &SlotRanges) -> Option<MoveId> {
        self.running.iter().find(|(_, begun)| begun.slots.intersects(slots)).map(|(&id, _)| id)
    }

    /// Which slots this move brought to this shard and are still there.
    pub fn arrived_at(&self, id: MoveId, shard: ShardId) -> Option<&SlotRanges> {
        self.arrived.get(&id).filter(|arrival| arrival.shard == shard).map(|arrival| &arrival.slots)
    }
}
