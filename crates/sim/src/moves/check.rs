//! What is promised, and looked after at every step.

use slotward_cluster::ShardId;
use slotward_failover::Admission;
use slotward_types::Slot;

use super::world::{SLOTS, World, real};

impl World {
    pub(super) fn check_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.check(index);
        }
    }

    /// What holds for a node after every step: it executes only for slots of its shard, and has all
    /// that was acknowledged for them.
    pub(super) fn check(&mut self, index: usize) {
        if !self.nodes[index].up || !self.has_lease(index) {
            return;
        }
        for slot in 0..SLOTS {
            let node = &self.nodes[index];
            let Admission::Execute(_) = node.machine.admit(real(slot)) else { continue };
            let owner = self.owner_of(slot);
            if owner != node.shard {
                let what = format!(
                    "slot {slot} has two owners: shard {owner}, and n{index} that executes"
                );
                return self.violated(what);
            }
            let live = node.live.get(&slot);
            let lacks = self.acked.get(&slot).and_then(|acked| {
                acked.iter().find(|write| live.is_none_or(|live| !live.contains(write)))
            });
            if let Some(&write) = lacks {
                let what = format!(
                    "write {write} was acknowledged, and n{index} serves slot {slot} without it"
                );
                return self.violated(what);
            }
        }
    }

    /// What the new master does not hold is lost: allowed only to replication that does not wait.
    pub(super) fn leave_tail(&mut self, shard: ShardId, to: usize) {
        let slots = self.truth.shards[&shard].slots.clone();
        for (&id, arrival) in &self.truth.moves.arrived.clone() {
            if arrival.shard == shard && !self.nodes[to].has_snapshot(id) {
                self.violated(format!("n{to} may be promoted without the slots of move {id}"));
            }
        }
        for slot in slots.slots().map(Slot::get).filter(|&slot| slot < SLOTS) {
            let Some(acked) = self.acked.get(&slot) else { continue };
            let lacks: Vec<u64> =
                acked.iter().copied().filter(|&write| !self.will_have(to, slot, write)).collect();
            for write in lacks {
                if self.in_sync {
                    self.violated(format!(
                        "n{to} may be promoted without write {write} of slot {slot}"
                    ));
                }
                self.report.lost_with_tail += 1;
                self.acked.entry(slot).or_default().remove(&write);
            }
        }
    }

    /// Whether a node has a write, or a copy with it that has arrived.
    fn will_have(&self, index: usize, slot: u16, write: u64) -> bool {
        let node = &self.nodes[index];
        let staged = node.staged.iter().find(|(key, _)| {
            let arrived = self.truth.moves.arrived_at(key.id, node.shard);
            arrived.is_some_and(|slots| slots.contains(real(slot)))
        });
        let place = staged.map_or(&node.live, |(_, staged)| staged);
        place.get(&slot).is_some_and(|writes| writes.contains(&write))
    }

    /// Whether everything has come together; if not, what has not.
    pub(super) fn unsettled(&self) -> Option<String> {
        if let Some(id) = self.truth.moves.running.keys().next() {
            return Some(format!("move {id} never ends"));
        }
        if !self.flights.is_empty() {
            return Some(format!("{:?} never arrives", self.flights[0]));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let master = &self.nodes[self.master_of(node.shard)];
            if node.log.len() != master.log.len() || !node.is_prefix_of(&master.log) {
                return Some(format!("n{index} never has what its master has"));
            }
            if let Some(key) = node.staged.keys().next() {
                return Some(format!("n{index} keeps the copy of move {}", key.id));
            }
            let owned = |slot: u16| self.owner_of(slot) == node.shard;
            if let Some(slot) = node.live.keys().find(|&&slot| !owned(slot)) {
                return Some(format!("n{index} keeps slot {slot}"));
            }
        }
        let served = (0..SLOTS).find(|&slot| {
            let master = &self.nodes[self.master_of(self.owner_of(slot))];
            !matches!(master.machine.admit(real(slot)), Admission::Execute(_))
        });
        served.map(|slot| format!("slot {slot} is served by nobody"))
    }
}
