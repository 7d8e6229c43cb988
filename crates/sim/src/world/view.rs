//! What observers and stories ask of a world, and how it is told.

use slotward_failover::{Entry, NodeEvent, PeerMessage, SentinelEvent, ToNode, ToSentinel};
use slotward_types::Epoch;

use super::plane::Order;
use super::{Event, MS, Machine, Proc, World};
use crate::history::Mark;

impl World {
    pub(crate) fn announce(&mut self, text: &str) {
        self.say(|_| text.to_owned());
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.plan.shards.len()
    }

    pub(crate) fn has_lease(&self, proc: Proc) -> bool {
        self.holds_lease(proc)
    }

    pub(crate) fn role_epoch(&self, proc: Proc) -> Epoch {
        self.procs[proc].plane.word.epoch
    }

    pub(crate) fn history_includes(&self, proc: Proc, mark: Mark) -> bool {
        self.procs[proc].plane.history.includes(mark)
    }

    /// The present run of the node.
    pub(crate) fn run_of(&self, node: Proc) -> slotward_cluster::Member {
        self.member(node)
    }

    /// Who is appointed as the shard's master.
    pub(crate) fn appointed(&self, shard: usize) -> Proc {
        let shard = self.topology().shard_named(&World::group_name(shard)).expect("it has formed");
        self.proc_of(shard.master.node)
    }

    /// Whether this run of the node may be promoted.
    pub(crate) fn in_set(&self, node: Proc) -> bool {
        let shard = World::group_name(self.shard_index(node));
        let shard = self.topology().shard_named(&shard);
        shard.is_some_and(|shard| shard.promotable.members.contains(&self.member(node)))
    }

    /// Whether it follows its master, link and all.
    pub(crate) fn is_linked(&self, node: Proc) -> bool {
        self.procs[node].plane.is_linked()
    }

    /// Whether a full synchronisation of it is under way.
    pub(crate) fn is_syncing(&self, node: Proc) -> bool {
        self.procs[node].plane.is_syncing()
    }

    /// How many writes the node has.
    pub(crate) fn data_len(&self, proc: Proc) -> usize {
        self.procs[proc].plane.history.len()
    }

    /// The node that accepts writes of the shard now.
    pub fn master(&self, shard: usize) -> Option<Proc> {
        self.shard_nodes(shard).find(|&node| self.usable(node) && self.holds_lease(node))
    }

    /// Every shard has one master which the others follow with its data and may succeed, and nothing
    /// that was promised or revoked is left over (rule 7).
    pub fn has_converged(&self) -> bool {
        (0..self.shard_count()).all(|shard| self.shard_converged(shard))
            && self.sentinels().all(|sentinel| self.is_calm(sentinel))
    }

    fn shard_converged(&self, index: usize) -> bool {
        let Some(master) = self.master(index) else { return false };
        let Some(shard) = self.topology().shard_named(&World::group_name(index)) else {
            return false;
        };
        let history = &self.procs[master].plane.history;
        let settled = |node: Proc| self.procs[node].disk.state.epoch == shard.epoch;
        let follows = |node: Proc| {
            let plane = &self.procs[node].plane;
            plane.is_linked()
                && plane.history.len() + 20 > history.len()
                && plane.history.is_prefix_of(history)
        };
        shard.promotable.members.len() == self.shard_nodes(index).len()
            && self.shard_nodes(index).all(|node| self.usable(node) && settled(node))
            && self.shard_nodes(index).filter(|&node| node != master).all(follows)
    }

    /// Runs until everything has come together, at most so many milliseconds.
    pub fn converges_within(&mut self, ms: u64) -> bool {
        let until = self.now + ms * MS;
        while self.now < until && self.watch.violation.is_none() {
            if self.has_converged() {
                return true;
            }
            // Who was told to stop before may only do so now; its supervisor starts it again.
            for proc in self.procs().filter(|&proc| !self.alive(proc)).collect::<Vec<_>>() {
                self.start(proc);
            }
            self.run_for(20);
        }
        self.has_converged()
    }

    /// The first broken promise.
    pub fn violation(&self) -> Option<&str> {
        self.watch.violation.as_deref()
    }

    /// How things stand, for the message of a run that never comes together.
    pub fn picture(&self) -> String {
        let mut text = format!("leader {}\n", self.name(self.group.leader));
        for shard in self.topology().shards.values() {
            let set: Vec<String> =
                shard.promotable.members.iter().map(|m| self.run_name(*m)).collect();
            text.push_str(&format!(
                "{}: epoch {} master {} set {} (version {}) {:?}\n",
                shard.name,
                shard.epoch,
                self.run_name(shard.master),
                set.join(" "),
                shard.promotable.version,
                shard.phase,
            ));
        }
        for (proc, process) in self.procs.iter().enumerate() {
            let state = match &process.machine {
                None => "is down".to_owned(),
                Some(Machine::Sentinel(machine)) => format!(
                    "topology {} revoked {:?} calm {}",
                    machine.topology().version,
                    process.disk.revoked,
                    self.is_calm(proc)
                ),
                Some(Machine::Node(machine)) => format!(
                    "run {} {:?} in {} lease {} kept {:?} linked {} {} writes, {} streams",
                    process.disk.incarnation,
                    machine.role(),
                    machine.epoch(),
                    self.holds_lease(proc),
                    process.disk.state,
                    process.plane.is_linked(),
                    process.plane.history.len(),
                    process.streams.len(),
                ),
            };
            let frozen = if process.frozen { " frozen" } else { "" };
            text.push_str(&format!("{}: {state}{frozen}\n", self.name(proc)));
        }
        text
    }

    fn run_name(&self, member: slotward_cluster::Member) -> String {
        format!("{}#{}", self.name(self.proc_of(member.node)), member.incarnation.0)
    }

    pub(super) fn describe_entry(&self, entry: &Entry) -> String {
        match entry {
            Entry::Register(new) => format!("{} registers", self.run_name(new.member)),
            Entry::Serve { shard, epoch, by } => {
                format!("shard {shard} begins to serve, {} in epoch {epoch}", self.run_name(*by))
            }
            Entry::SetPromotable { shard, epoch, version, by, members } => {
                let names: Vec<String> = members.iter().map(|m| self.run_name(*m)).collect();
                format!(
                    "{} sets who may succeed in shard {shard}, epoch {epoch}, version {version}: {}",
                    self.run_name(*by),
                    names.join(" ")
                )
            }
            Entry::Promote { shard, epoch, to, basis, .. } => format!(
                "{} becomes master of shard {shard} after epoch {epoch}: {basis:?}",
                self.run_name(*to)
            ),
            other => format!("{other:?}"),
        }
    }

    pub(super) fn describe_order(&self, order: &Order) -> String {
        match order {
            Order::Follow { epoch, master, .. } => {
                format!("'follow {} in epoch {epoch}'", self.run_name(*master))
            }
            Order::BecomeMaster { epoch } => format!("'become master in epoch {epoch}'"),
            Order::Detach => "'be in no shard'".to_owned(),
            Order::Halt(_) => "'halt'".to_owned(),
        }
    }

    pub(super) fn describe(&self, proc: Proc, event: &Event) -> String {
        let me = self.name(proc);
        match event {
            Event::Elected => format!("{me} learns that {} leads", self.name(self.group.leader)),
            Event::Written(_) => format!("{me} has it on disk"),
            Event::ToSentinel(_, ToSentinel::Prepared(p)) => format!(
                "{me} hears: {} has promised epoch {}, is at {} of epoch {}{}",
                self.run_name(p.from),
                p.epoch,
                p.history.offset,
                p.history.epoch,
                if p.master_gone { ", its master is gone" } else { "" },
            ),
            Event::ToSentinel(_, ToSentinel::Failover(request)) => {
                format!("{me} is asked for a failover: {:?}", request.mode)
            }
            Event::ToNode(_, ToNode::Prepare(prepare)) => {
                format!(
                    "{me} is asked to promise epoch {} of shard {}",
                    prepare.epoch, prepare.shard
                )
            }
            Event::Sentinel(SentinelEvent::FromPeer(from, PeerMessage::Vote(vote))) => format!(
                "{me} hears: s{} has revoked epoch {} of shard {}, {} ms left{}{}",
                from.0 + 1,
                vote.epoch,
                vote.shard,
                vote.ack_left.0,
                if vote.gone { ", the master is gone" } else { "" },
                if vote.hears { ", it hears the master" } else { "" },
            ),
            Event::Node(NodeEvent::LinkDown { closed }) => {
                format!("{me} loses its link{}", if *closed { ": closed" } else { "" })
            }
            Event::Closed(_) => format!("{me} sees a connection close"),
            Event::Node(event) => format!("{me}: {event:?}"),
            Event::Sentinel(event) => format!("{me}: {event:?}"),
            other => format!("{me}: {other:?}"),
        }
    }
}
