//! What a sentinel's shell does with its machine's effects.

use std::sync::Arc;

use slotward_failover::{
    SentinelConfig, SentinelEffect, SentinelEvent, SentinelId, SentinelMachine,
};

use super::{Event, Kept, MS, Machine, Proc, World};

impl World {
    pub(super) fn new_sentinel(&mut self, proc: Proc) -> SentinelMachine {
        let behind = if self.random.chance(300) { self.random.below(4) as usize } else { 0 };
        let config = SentinelConfig {
            id: SentinelId(proc as u64),
            revoked: self.procs[proc].disk.revoked.clone(),
            topology: self.group.on_disk(proc, behind),
        };
        SentinelMachine::new(self.local(proc), config)
    }

    pub(super) fn step_sentinel(&mut self, proc: Proc, event: SentinelEvent) {
        let now = self.local(proc);
        let mut effects = Vec::new();
        if let Some(Machine::Sentinel(machine)) = &mut self.procs[proc].machine {
            machine.step(now, event, &mut effects);
        }
        for effect in effects {
            self.perform_sentinel(proc, effect);
        }
    }

    fn perform_sentinel(&mut self, proc: Proc, effect: SentinelEffect) {
        let me = SentinelId(proc as u64);
        match effect {
            SentinelEffect::Persist(id, revoked) => {
                self.say(|world| format!("{} revokes {revoked:?}", world.name(proc)));
                self.persist(proc, id, Kept::Revoked(revoked));
            }
            SentinelEffect::ToNode(node, message) => {
                let to = self.proc_of(node);
                if let Some(&conn) = self.procs[proc].streams.get(&to) {
                    self.send_on(conn, proc, to, Event::ToNode(conn, message));
                }
            }
            SentinelEffect::ToPeer(to, message) => {
                let event = Event::Sentinel(SentinelEvent::FromPeer(me, message));
                self.send_alone(proc, to.0 as usize, event);
            }
            SentinelEffect::Propose(id, entry) => self.propose(proc, id, entry),
            SentinelEffect::Probe { node, .. } => {
                let to = self.proc_of(node);
                let reached = self.connect_now(proc, to);
                let after = MS + self.random.below(20 * MS);
                let event = Event::Sentinel(SentinelEvent::Probed(node, reached));
                self.due(after, proc, event);
            }
            SentinelEffect::Publish { channel, message } => {
                if proc == 0 {
                    self.published.push((self.now, channel, message));
                }
            }
        }
    }

    pub(super) fn sentinel_machine(&self, proc: Proc) -> Option<&SentinelMachine> {
        match &self.procs[proc].machine {
            Some(Machine::Sentinel(machine)) => Some(machine),
            _ => None,
        }
    }

    /// Whether the sentinel is done with every epoch that it has revoked.
    pub(super) fn is_calm(&self, sentinel: Proc) -> bool {
        let topology = self.topology();
        self.sentinel_machine(sentinel).is_some_and(|machine| {
            Arc::ptr_eq(machine.topology(), topology) || machine.topology() == topology
        }) && self.procs[sentinel]
            .disk
            .revoked
            .iter()
            .all(|(id, revoked)| topology.shards.get(id).is_none_or(|s| s.epoch > *revoked))
    }

    /// Says this to a sentinel, as a client or an operator would.
    pub fn tell_sentinel(&mut self, sentinel: Proc, event: SentinelEvent) {
        self.step_sentinel(sentinel, event);
    }
}
