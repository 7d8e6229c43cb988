//! Slot moves in the log (rule 11): a move names both shards' epochs, and ends with either.

use slotward_cluster::{Arrival, MOVES_MAX, Member, Move, MoveId, Phase, SlotRanges, Topology};
use slotward_types::Epoch;

use super::{Applied, current, refused, shard_in, shard_mut};
use crate::entry::{Change, Rejected};
use crate::plant::{Plant, planted};

type InEpoch = (slotward_cluster::ShardId, Epoch);

pub(super) fn begin(
    topology: &mut Topology,
    slots: &SlotRanges,
    (source, source_epoch): InEpoch,
    (target, target_epoch): InEpoch,
) -> Applied {
    let to = shard_in(topology, target, target_epoch)?.master.node;
    let owned = &shard_in(topology, source, source_epoch)?.slots;
    if let Some(slot) = owned.first_missing(slots) {
        return refused(&format!("Slot {slot} is not owned by the source shard"));
    }
    if source == target {
        return refused("the slots are there already");
    }
    if slots.is_empty() {
        return refused("no slots to move");
    }
    if !topology.nodes[&to].is_cluster() {
        return refused("a plain group owns no slots");
    }
    none_moves(topology, slots)?;
    if topology.moves.running.len() >= MOVES_MAX {
        return refused("too many slot moves are running");
    }
    topology.moves.ever += 1;
    let id = MoveId(topology.moves.ever);
    let begun = Move { slots: slots.clone(), source, source_epoch, target, target_epoch };
    topology.moves.running.insert(id, begun);
    Ok(vec![Change::MoveBegun(id)])
}

/// Refuses what would touch slots on their way.
pub(super) fn none_moves(topology: &Topology, slots: &SlotRanges) -> Result<(), Rejected> {
    let moving = topology.moves.running.values().find_map(|begun| begun.slots.first_common(slots));
    moving.map_or(Ok(()), |slot| Err(Rejected::SlotMoving(slot.get())))
}

/// The only place where slots change from one owner to another.
pub(super) fn commit(
    topology: &mut Topology,
    id: MoveId,
    source_epoch: Epoch,
    target_epoch: Epoch,
    by: Member,
) -> Applied {
    current(topology, by)?;
    let id = named(topology, id, by);
    let begun = topology.moves.running.get(&id).ok_or(Rejected::UnknownMove(id))?.clone();
    if !planted(Plant::MoveCommitWithoutEpochs) {
        for (ours, theirs) in
            [(begun.source_epoch, source_epoch), (begun.target_epoch, target_epoch)]
        {
            if ours != theirs {
                return Err(Rejected::StaleEpoch(ours));
            }
        }
        shard_in(topology, begun.source, source_epoch)?;
        shard_in(topology, begun.target, target_epoch)?;
    }
    let target = shard_mut(topology, begun.target);
    if target.master != by {
        return Err(Rejected::NotMaster);
    }
    // From now on the shard holds data, whether or not it has taken a write yet: who may become its
    // master is no longer anybody's choice.
    target.phase = Phase::Served;
    target.slots.extend(&begun.slots);
    shard_mut(topology, begun.source).slots.remove(&begun.slots);
    topology.moves.running.remove(&id);
    let arrival = Arrival { shard: begun.target, slots: begun.slots };
    topology.moves.arrived.insert(id, arrival);
    Ok(vec![Change::MoveCommitted(id), Change::Slots(begun.source), Change::Slots(begun.target)])
}

/// Which move is meant: exactly the one that is named.
fn named(topology: &Topology, id: MoveId, by: Member) -> MoveId {
    if planted(Plant::MoveCommitWithoutId) {
        let mine = |target| topology.shards.get(target).is_some_and(|shard| shard.master == by);
        let mut running = topology.moves.running.iter();
        return running.find(|(_, begun)| mine(&begun.target)).map_or(id, |(&other, _)| other);
    }
    id
}

pub(super) fn cancel(topology: &mut Topology, id: MoveId) -> Applied {
    let cancelled = topology.moves.running.remove(&id);
    cancelled.map_or(Err(Rejected::UnknownMove(id)), |_| Ok(vec![Change::MoveCancelled(id)]))
}

/// After every entry: a move ends with the epoch of either shard, and what has left a shard has
/// not arrived there any more.
pub(super) fn settle(topology: &mut Topology) -> Vec<Change> {
    let mut cancelled = Vec::new();
    if !planted(Plant::MoveCommitWithoutEpochs) {
        let shards = &topology.shards;
        let in_epoch = |(id, epoch)| shards.get(&id).is_some_and(|shard| shard.epoch == epoch);
        topology.moves.running.retain(|&id, begun| {
            let goes_on = in_epoch((begun.source, begun.source_epoch))
                && in_epoch((begun.target, begun.target_epoch));
            if !goes_on {
                cancelled.push(Change::MoveCancelled(id));
            }
            goes_on
        });
    }
    let shards = &topology.shards;
    topology.moves.arrived.retain(|_, arrival| match shards.get(&arrival.shard) {
        Some(shard) if shard.slots.includes(&arrival.slots) => true,
        Some(shard) => {
            arrival.slots = arrival.slots.common(&shard.slots);
            !arrival.slots.is_empty()
        }
        None => false,
    });
    cancelled
}

/// What holds after every entry.
pub(super) fn check(topology: &Topology) {
    let moves = &topology.moves;
    assert!(moves.running.len() <= MOVES_MAX, "too many moves run");
    let mut moving = SlotRanges::new();
    for (id, begun) in &moves.running {
        assert!(id.0 <= moves.ever, "move {id} was never begun");
        assert!(!moving.intersects(&begun.slots), "a slot of move {id} moves twice");
        moving.extend(&begun.slots);
        if planted(Plant::MoveCommitWithoutEpochs) {
            continue;
        }
        let source = &topology.shards[&begun.source];
        let target = &topology.shards[&begun.target];
        assert!(source.slots.includes(&begun.slots), "the source of move {id} lacks its slots");
        assert!(
            (source.epoch, target.epoch) == (begun.source_epoch, begun.target_epoch),
            "move {id} outlived an epoch (rule 11)"
        );
    }
    let mut arrived = SlotRanges::new();
    for (id, arrival) in &moves.arrived {
        assert!(id.0 <= moves.ever && !moves.running.contains_key(id), "move {id} has arrived");
        assert!(!arrived.intersects(&arrival.slots), "a slot of move {id} arrived twice");
        arrived.extend(&arrival.slots);
    }
}

#[cfg(test)]
mod tests;
