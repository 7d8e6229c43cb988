//! What a node's shell does with its machine's effects.

use slotward_cluster::NodeKind;
use slotward_failover::{
    DataPlane, NodeConfig, NodeEffect, NodeEvent, NodeMachine, Registration, SentinelId, ToNode,
    ToSentinel,
};
use slotward_types::{Epoch, Millis, ReplOffset};

use super::net::ConnId;
use super::plane::{Order, Plane};
use super::{Event, Kept, MS, Machine, Proc, World};
use crate::history::WRITE_BYTES;

/// A replica that lacks more than this is not proposed for the promotable set.
const LAG_BYTES_MAX: u64 = 10 * WRITE_BYTES;

impl World {
    pub(super) fn new_node(&mut self, proc: Proc, kept_per_mille: u64) -> NodeMachine {
        self.net.dark.remove(&proc);
        let before = &self.procs[proc].plane;
        let len = before.history.len() * kept_per_mille as usize / 1000;
        let plane = Plane::restarted(proc, &mut self.random, before, len);
        let history_epoch = plane.history.last_epoch();
        self.procs[proc].plane = plane;
        self.procs[proc].disk.incarnation += 1;
        let group = World::group_name(self.shard_index(proc));
        let config = NodeConfig {
            registration: Registration {
                member: self.member(proc),
                host: "10.0.0.1".to_owned(),
                port: proc as u16,
                cport: 0,
                kind: NodeKind::Plain { group },
                zone: String::new(),
                priority: 100,
            },
            sentinels: self.plan.voters as u32,
            state: self.procs[proc].disk.state,
            history_epoch,
            lag_bytes_max: LAG_BYTES_MAX,
            stop_wait: Millis(5000),
        };
        NodeMachine::new(self.local(proc), config)
    }

    pub(super) fn node_machine(&self, proc: Proc) -> Option<&NodeMachine> {
        match &self.procs[proc].machine {
            Some(Machine::Node(machine)) => Some(machine),
            _ => None,
        }
    }

    pub(super) fn step_node(&mut self, proc: Proc, event: NodeEvent) {
        let now = self.local(proc);
        let resume = self.procs[proc].plane.log.resume();
        let data = DataPlane { repl_id: resume.id, offset: resume.next };
        let mut effects = Vec::new();
        if let Some(Machine::Node(machine)) = &mut self.procs[proc].machine {
            machine.step(now, data, event, &mut effects);
        }
        for effect in effects {
            self.perform_node(proc, effect);
        }
        if !self.procs[proc].plane.waiting.is_empty() {
            self.release_waiting(proc);
        }
    }

    fn perform_node(&mut self, proc: Proc, effect: NodeEffect) {
        match effect {
            NodeEffect::Persist(id, state) => self.persist(proc, id, Kept::State(state)),
            NodeEffect::Broadcast(message) => {
                for (to, conn) in self.procs[proc].streams.clone() {
                    self.send_up(proc, to, conn, message.clone());
                }
            }
            NodeEffect::Send(to, message) => {
                let to = to.0 as usize;
                if let Some(&conn) = self.procs[proc].streams.get(&to) {
                    self.send_up(proc, to, conn, message);
                }
            }
            NodeEffect::Propose(id, entry) => self.propose(proc, id, entry),
            NodeEffect::Follow { epoch, master, .. } => {
                let to = self.proc_of(master.node);
                self.order(proc, Order::Follow { epoch, master, proc: to });
            }
            NodeEffect::BecomeMaster { epoch } => self.order(proc, Order::BecomeMaster { epoch }),
            NodeEffect::Detach => self.order(proc, Order::Detach),
            NodeEffect::Halt(id) => self.order(proc, Order::Halt(id)),
            NodeEffect::AcceptWrites { epoch, until } => {
                self.say(|world| format!("{} accepts writes in epoch {epoch}", world.name(proc)));
                self.watch.served.push((self.now, proc, epoch));
                self.set_lease(proc, Some((epoch, until)));
            }
            NodeEffect::Lease { epoch, until } => self.set_lease(proc, Some((epoch, until))),
            NodeEffect::RefuseWrites => {
                self.say(|world| format!("{} refuses writes", world.name(proc)));
                self.set_lease(proc, None);
            }
            NodeEffect::Publish(_) => {}
            NodeEffect::PingReplicas(ping) => self.ping_replicas(proc, ping),
            NodeEffect::AnswerMaster(ack) => self.answer_master(proc, ack),
            NodeEffect::ProbeMaster { epoch, port, .. } => {
                let reached = self.connect_now(proc, usize::from(port));
                let after = MS + self.random.below(20 * MS);
                let event = Event::Node(NodeEvent::MasterProbed { epoch, reached });
                self.due(after, proc, event);
            }
            NodeEffect::Stop => {
                self.say(|world| format!("{} may stop", world.name(proc)));
                self.stops.insert(proc);
                self.due(MS, proc, Event::Exit);
            }
        }
    }

    fn send_up(&mut self, proc: Proc, to: Proc, conn: ConnId, message: ToSentinel) {
        self.send_on(conn, proc, to, Event::ToSentinel(conn, message));
    }

    pub(super) fn on_sentinel(&mut self, proc: Proc, conn: ConnId, message: ToNode) {
        let from = self.procs[proc].streams.iter().find(|(_, known)| **known == conn);
        if let Some((&sentinel, _)) = from {
            let from = SentinelId(sentinel as u64);
            self.step_node(proc, NodeEvent::FromSentinel(from, message));
        }
    }

    /// As a master, in this epoch: how much everybody is known to hold.
    pub(super) fn held_by_all(&self, proc: Proc) -> Option<(Epoch, ReplOffset)> {
        let machine = self.node_machine(proc)?;
        let own = self.procs[proc].plane.log.end();
        Some((machine.epoch(), machine.held_by_all(own)?))
    }

    /// Says this to a node, as a client or an operator would.
    pub fn tell_node(&mut self, node: Proc, event: NodeEvent) {
        self.step_node(node, event);
    }

    /// The same, if it runs.
    pub(crate) fn tell_if_alive(&mut self, node: Proc, event: NodeEvent) {
        if self.usable(node) {
            self.say(|world| format!("{} is told: {event:?}", world.name(node)));
            self.step_node(node, event);
        }
    }

    #[cfg(test)]
    /// Whether the node has said that its process may end.
    pub(crate) fn stopped(&self, proc: Proc) -> bool {
        self.stops.contains(&proc)
    }
}
