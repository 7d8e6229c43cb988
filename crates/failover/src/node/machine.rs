//! The data node's state machine.
//!
//! After every event [`NodeMachine::settle`] compares what the node does with what the topology and
//! its own promises allow, raises the durable epoch first, and acts only when that is on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slotward_cluster::{Member, Phase, Shard, ShardId, Takeover, Timing, Topology};
use slotward_types::{Epoch, Millis, NodeId, ReplOffset};

use super::master::{FOR_EVER, Mastership};
use super::{
    DataPlane, HaltId, NodeConfig, NodeEffect, NodeEvent, NodeState, Outcome, PersistId, ProposalId,
};
use crate::entry::Entry;
use crate::message::{
    Ack, FailoverMode, FailoverRequest, Heartbeat, History, LeaseAck, LeasePing, LinkState,
    NodeRole, Prepare, Prepared, SentinelId, ToNode, ToSentinel,
};
use crate::plant::{Plant, enforced, planted};
use crate::promise_for;

/// How long a replica that is to stop waits until it is out of the promotable set.
const STEP_BACK_WAIT: Millis = Millis(1000);
/// How many heartbeats are remembered for their acknowledgements.
const SENT_MAX: usize = 256;

/// What the node does.
#[derive(Debug)]
enum Acting {
    /// It is in no shard.
    Unassigned,
    /// It serves nobody and follows nobody, until the log says what comes next.
    Halted { halting: Option<HaltId> },
    /// It follows.
    Replica { epoch: Epoch, master: Member, host: String, port: u16, link: LinkState },
    /// It is the master of this epoch.
    Master(Mastership),
}

/// What the topology and the promises let it do.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Unassigned,
    Wait,
    Replica { epoch: Epoch, master: Member, host: String, port: u16 },
    Master { epoch: Epoch },
}

/// A link to a master that the other side closed.
#[derive(Debug)]
struct Loss {
    epoch: Epoch,
    host: String,
    port: u16,
    closed: Millis,
    probed: Millis,
    /// What the last probe found.
    reached: bool,
    /// The master's process has ended.
    gone: bool,
}

/// The data node's state machine.
#[derive(Debug)]
pub struct NodeMachine {
    config: NodeConfig,
    started: Millis,
    topology: Option<Arc<Topology>>,
    timing: Timing,
    voters: u32,
    sentinels: BTreeSet<SentinelId>,
    /// What is on disk, and what is to be.
    durable: NodeState,
    wanted: NodeState,
    persisting: Option<(PersistId, NodeState)>,
    acting: Acting,
    /// The lease announced to the data plane; none while it refuses.
    announced: Option<(Epoch, Millis)>,
    /// The newest epoch whose master's history ours is a prefix of (rule 5).
    history_epoch: Epoch,
    /// Per epoch: until when a master we acknowledged may count on it (rule 6).
    promises: BTreeMap<Epoch, Millis>,
    loss: Option<Loss>,
    /// Sentinels that asked for the present promise.
    asked: BTreeSet<SentinelId>,
    answered_gone: bool,
    /// A promise to make once this node holds enough.
    catching_up: Option<(SentinelId, Prepare, ReplOffset)>,
    seq: u64,
    sent: VecDeque<(u64, Epoch, Millis)>,
    beat_at: Millis,
    beat_now: bool,
    /// The promotable set is to be looked at before the next heartbeat.
    keep_now: bool,
    register_at: Millis,
    registering: Option<ProposalId>,
    stopping: Option<Stopping>,
    stopped: bool,
    /// The end of our history as a master who was deposed, until the log knows it.
    ended: Option<Ended>,
    ids: u64,
}

/// A graceful stop under way.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    began: Millis,
    /// What the sentinels were last asked for, and when.
    asked: Option<(Before, Millis)>,
}

/// What a node that is to stop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// Its successor: it is a master, or was one a moment ago and has consented.
    HandOver(ShardId, Epoch),
    /// To be out of the promotable set.
    StepBack,
}

/// Where this node's history as a master ended.
#[derive(Debug)]
struct Ended {
    shard: ShardId,
    /// The epoch it was master in.
    epoch: Epoch,
    end: ReplOffset,
    /// When it was last proposed.
    proposed: Option<Millis>,
}

impl NodeMachine {
    /// A node that starts. It serves nobody until it has a topology.
    pub fn new(now: Millis, config: NodeConfig) -> Self {
        NodeMachine {
            started: now,
            topology: None,
            timing: Timing::default(),
            voters: config.sentinels,
            sentinels: BTreeSet::new(),
            durable: config.state,
            wanted: config.state,
            persisting: None,
            acting: Acting::Halted { halting: None },
            announced: None,
            history_epoch: config.history_epoch,
            promises: BTreeMap::new(),
            loss: None,
            asked: BTreeSet::new(),
            answered_gone: false,
            catching_up: None,
            seq: 0,
            sent: VecDeque::new(),
            beat_at: now,
            beat_now: true,
            keep_now: false,
            register_at: now,
            registering: None,
            stopping: None,
            stopped: false,
            ended: None,
            ids: 0,
            config,
        }
    }

    /// Takes one event in.
    pub fn step(
        &mut self,
        now: Millis,
        data: DataPlane,
        event: NodeEvent,
        effects: &mut Vec<NodeEffect>,
    ) {
        let before = self.wanted;
        self.on_event(now, data, event, effects);
        self.on_caught_up(data, effects);
        self.settle(now, effects);
        self.answer_prepare(data, effects);
        self.watch_loss(now, effects);
        self.keep_set(now, data, effects);
        self.announce_lease(now, effects);
        self.register(now, effects);
        self.report_end(now, effects);
        self.stop(now, effects);
        self.beat(now, data, effects);
        self.check(before);
    }

    /// What it does at present.
    pub fn role(&self) -> NodeRole {
        match &self.acting {
            Acting::Unassigned => NodeRole::Unassigned,
            Acting::Halted { .. } => NodeRole::Halted,
            Acting::Replica { .. } => NodeRole::Replica,
            Acting::Master(_) => NodeRole::Master,
        }
    }

    /// The epoch it acts in; 0 if it does not.
    pub fn epoch(&self) -> Epoch {
        match &self.acting {
            Acting::Replica { epoch, .. } => *epoch,
            Acting::Master(master) => master.epoch,
            Acting::Unassigned | Acting::Halted { .. } => Epoch(0),
        }
    }

    /// Until when, and in which epoch, it accepts writes; none if it refuses.
    pub fn serving(&self) -> Option<(Epoch, Millis)> {
        self.announced
    }

    /// Who it is.
    pub fn member(&self) -> Member {
        self.config.registration.member
    }

    /// The topology it has.
    pub fn topology(&self) -> Option<&Arc<Topology>> {
        self.topology.as_ref()
    }

    /// As a master: how much of the log every member of the promotable set is known to hold.
    pub fn held_by_all(&self, own: ReplOffset) -> Option<ReplOffset> {
        match (&self.acting, self.shard()) {
            (Acting::Master(master), Some(shard)) => Some(master.held_by_all(shard, own)),
            _ => None,
        }
    }

    fn me(&self) -> NodeId {
        self.member().node
    }

    fn shard(&self) -> Option<&Shard> {
        self.topology.as_ref().and_then(|topology| topology.shard_of(self.me()))
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// What must hold after every step.
    fn check(&self, before: NodeState) {
        assert!(
            self.wanted.shard != before.shard || self.wanted.epoch >= before.epoch,
            "the epoch went back from {before:?} to {:?}",
            self.wanted
        );
        if let Acting::Master(Mastership { epoch, .. }) | Acting::Replica { epoch, .. } =
            &self.acting
        {
            assert!(
                self.durable.epoch >= *epoch,
                "rule 1: acting in epoch {epoch} with only {:?} on disk",
                self.durable
            );
        }
        if let Some((epoch, _)) = self.announced {
            let Acting::Master(master) = &self.acting else {
                panic!("accepting writes of epoch {epoch} without being master");
            };
            assert_eq!(master.epoch, epoch, "accepting writes in another epoch than the master's");
            enforced!(
                7,
                self.wanted.epoch == epoch,
                "accepting writes in epoch {epoch} after promising {:?}",
                self.wanted
            );
        }
    }

    fn on_event(
        &mut self,
        now: Millis,
        data: DataPlane,
        event: NodeEvent,
        effects: &mut Vec<NodeEffect>,
    ) {
        match event {
            NodeEvent::Tick => {}
            NodeEvent::SentinelUp(id) => {
                self.sentinels.insert(id);
                self.beat_now = true;
            }
            NodeEvent::SentinelDown(id) => {
                self.sentinels.remove(&id);
                // It may take the end of the stream for ours, so its acknowledgements count no more.
                if let Acting::Master(master) = &mut self.acting {
                    master.on_sentinel_down(id);
                }
            }
            NodeEvent::FromSentinel(id, message) => {
                self.on_message(now, data, id, message, effects)
            }
            NodeEvent::Persisted(id) => self.on_persisted(id),
            NodeEvent::Proposed(id, outcome) => self.on_proposed(id, &outcome),
            NodeEvent::Halted(id) => {
                if let Acting::Halted { halting } = &mut self.acting
                    && *halting == Some(id)
                {
                    *halting = None;
                    self.beat_now = true;
                }
            }
            NodeEvent::HistoryEnded { epoch, end } => {
                let shard = self.shard().map(|shard| shard.id);
                self.ended = shard.map(|shard| Ended { shard, epoch, end, proposed: None });
            }
            NodeEvent::LinkUp { epoch } => self.on_link(epoch, LinkState::Up),
            NodeEvent::LinkSyncing { epoch } => self.on_link(epoch, LinkState::Syncing),
            NodeEvent::LinkDown { closed } => self.on_link_down(now, closed, effects),
            NodeEvent::MasterProbed { epoch, reached } => {
                if let Some(loss) = self.loss.as_mut().filter(|loss| loss.epoch == epoch) {
                    loss.reached = reached;
                }
            }
            NodeEvent::LeasePing(ping) => self.on_lease_ping(now, data, ping, effects),
            NodeEvent::LeaseAck(ack) => {
                if let Acting::Master(master) = &mut self.acting {
                    master.on_replica_ack(now, data.offset, ack);
                    // Until it may succeed, a failover would find nobody: not at the next heartbeat.
                    self.keep_now |= !topology_has(self.topology.as_deref(), ack.from);
                }
            }
            NodeEvent::ReplicaGone { member, epoch } => {
                if let Acting::Master(master) = &mut self.acting {
                    master.on_replica_gone(member, epoch);
                }
            }
            NodeEvent::FailoverWished(mode) => self.on_failover_wished(mode, effects),
            NodeEvent::StopWished => {
                self.stopping.get_or_insert(Stopping { began: now, asked: None });
            }
            NodeEvent::StopCancelled => self.stopping = self.stopping.filter(|_| self.stopped),
        }
    }

    fn on_message(
        &mut self,
        now: Millis,
        data: DataPlane,
        from: SentinelId,
        message: ToNode,
        effects: &mut Vec<NodeEffect>,
    ) {
        match message {
            ToNode::Ack(ack) => self.on_ack(now, ack),
            ToNode::Topology(topology) => self.on_topology(topology, effects),
            // For the shell, which shows it.
            ToNode::Health(_) => {}
            ToNode::Prepare(prepare) => self.on_prepare(data, from, prepare, effects),
        }
    }

    fn on_ack(&mut self, now: Millis, ack: Ack) {
        if ack.incarnation != self.member().incarnation {
            return;
        }
        self.voters = self.voters.max(ack.voters);
        let Acting::Master(master) = &mut self.acting else { return };
        // Rule 8: only what was sent in this epoch, by this run, and acknowledged in it.
        let sent =
            self.sent.iter().find(|(seq, epoch, _)| *seq == ack.seq && *epoch == master.epoch);
        if let (Some(epoch), Some(&(_, _, sent))) = (ack.lease, sent)
            && epoch == master.epoch
        {
            master.on_sentinel_ack(now, ack.sentinel, sent);
        }
    }

    fn on_topology(&mut self, topology: Arc<Topology>, effects: &mut Vec<NodeEffect>) {
        if self.topology.as_ref().is_some_and(|known| known.version >= topology.version) {
            return;
        }
        self.timing = topology.timing.clone();
        self.topology = Some(Arc::clone(&topology));
        if let (Acting::Master(master), Some(shard)) =
            (&mut self.acting, topology.shard_of(self.config.registration.member.node))
        {
            master.on_topology(shard);
        }
        effects.push(NodeEffect::Publish(topology));
    }

    fn on_persisted(&mut self, id: PersistId) {
        if let Some((pending, state)) = self.persisting
            && pending == id
        {
            self.durable = state;
            self.persisting = None;
        }
    }

    fn on_proposed(&mut self, id: ProposalId, outcome: &Outcome) {
        if self.registering == Some(id) {
            self.registering = None;
        }
        if let Acting::Master(master) = &mut self.acting {
            master.on_proposed(id, outcome);
        }
    }

    fn on_link(&mut self, at: Epoch, state: LinkState) {
        let Acting::Replica { epoch, link, .. } = &mut self.acting else { return };
        if at != *epoch {
            return;
        }
        *link = state;
        self.loss = None;
        if state == LinkState::Up {
            self.history_epoch = at;
            self.beat_now = true;
        }
    }

    fn on_link_down(&mut self, now: Millis, closed: bool, effects: &mut Vec<NodeEffect>) {
        let Acting::Replica { epoch, link, host, port, .. } = &mut self.acting else { return };
        let was_up = *link == LinkState::Up;
        *link = LinkState::Down;
        if closed && was_up {
            let (epoch, host, port) = (*epoch, host.clone(), *port);
            effects.push(NodeEffect::ProbeMaster { epoch, host: host.clone(), port });
            let loss =
                Loss { epoch, host, port, closed: now, probed: now, reached: false, gone: false };
            self.loss = Some(loss);
        }
    }

    /// The other side closed the link and nobody has taken a connection since: after the reconnect
    /// wait that means its process has ended (the fast path).
    fn watch_loss(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let wait = self.timing.reconnect_wait;
        let Some(loss) = self.loss.as_mut().filter(|loss| !loss.gone) else { return };
        if loss.reached && now.since(loss.probed) >= Millis(wait.0 / 2) {
            loss.probed = now;
            let (epoch, host, port) = (loss.epoch, loss.host.clone(), loss.port);
            effects.push(NodeEffect::ProbeMaster { epoch, host, port });
        } else if !loss.reached
            && now.since(loss.closed) >= wait
            && now.since(loss.probed) >= Millis(wait.0 / 2)
        {
            loss.gone = true;
            if let Acting::Replica { epoch, link, .. } = &mut self.acting
                && *epoch == loss.epoch
            {
                *link = LinkState::Gone;
            }
            self.beat_now = true;
        }
    }

    /// The master's clock arrived on the link: what we answer is also a promise, which counts from
    /// this receipt (rule 2).
    fn on_lease_ping(
        &mut self,
        now: Millis,
        data: DataPlane,
        ping: LeasePing,
        effects: &mut Vec<NodeEffect>,
    ) {
        let Acting::Replica { epoch, master, .. } = &self.acting else { return };
        // Rule 1: once a newer epoch is promised, nothing older is acknowledged.
        if ping.epoch != *epoch || ping.from != *master || self.wanted.epoch > ping.epoch {
            return;
        }
        // It has stepped back in order to stop, and would be taken in again.
        let member = self.member();
        if self.stopping.is_some()
            && self.shard().is_some_and(|shard| !shard.promotable.members.contains(&member))
        {
            return;
        }
        let until = now + promise_for(&self.timing, ping.lease);
        let promised = self.promises.entry(ping.epoch).or_default();
        *promised = until.max(*promised);
        let ack = LeaseAck {
            from: self.config.registration.member,
            epoch: ping.epoch,
            sent: ping.sent,
            offset: data.offset,
        };
        effects.push(NodeEffect::AnswerMaster(ack));
        if planted(Plant::HeadSpeaksForChain) {
            self.speak_for_others(ack, effects);
        }
    }

    /// "Promise this epoch." What is older than what was promised already, or than what the
    /// topology says, is not answered: the heartbeats tell the leader where we are.
    fn on_prepare(
        &mut self,
        data: DataPlane,
        from: SentinelId,
        prepare: Prepare,
        effects: &mut Vec<NodeEffect>,
    ) {
        let Some(shard) = self.shard().filter(|shard| shard.id == prepare.shard) else { return };
        let stale = self.wanted.shard == Some(shard.id) && prepare.epoch < self.wanted.epoch;
        if prepare.epoch <= shard.epoch || stale {
            return;
        }
        if let (Some(offset), Acting::Replica { epoch, link: LinkState::Up, .. }) =
            (prepare.catch_up, &self.acting)
            && epoch.next() == prepare.epoch
            && data.offset < offset
        {
            self.catching_up = Some((from, prepare, offset));
            return;
        }
        self.promise(from, prepare, effects);
    }

    fn on_caught_up(&mut self, data: DataPlane, effects: &mut Vec<NodeEffect>) {
        if let Some((from, prepare, _)) =
            self.catching_up.take_if(|(_, _, offset)| data.offset >= *offset)
        {
            self.promise(from, prepare, effects);
        }
    }

    /// Stops what the node does in older epochs, for good (rule 7), and has the promise written.
    fn promise(&mut self, from: SentinelId, prepare: Prepare, effects: &mut Vec<NodeEffect>) {
        self.catching_up = None;
        let promised = NodeState { shard: Some(prepare.shard), epoch: prepare.epoch };
        if self.wanted != promised {
            self.raise(promised);
            self.asked.clear();
            self.answered_gone = false;
        }
        self.asked.insert(from);
        self.halt(effects);
    }

    /// The one place where the epoch to be kept on disk changes: within a shard it only rises.
    fn raise(&mut self, state: NodeState) {
        assert!(
            state.shard != self.wanted.shard || state.epoch >= self.wanted.epoch,
            "rule 1: {state:?} would lower {:?}",
            self.wanted
        );
        if state.shard != self.wanted.shard {
            // Another shard's epochs say nothing about the history of this one.
            self.history_epoch = Epoch(0);
            self.loss = None;
        }
        self.wanted = state;
    }

    /// Whether what is to be kept is on disk.
    fn is_kept(&self) -> bool {
        self.durable == self.wanted || planted(Plant::EpochNotDurable)
    }

    /// A broken node acknowledges in the name of every other replica.
    fn speak_for_others(&self, ack: LeaseAck, effects: &mut Vec<NodeEffect>) {
        let Some(topology) = &self.topology else { return };
        let Some(shard) = topology.shard_of(self.me()) else { return };
        let others = shard.replicas().filter(|&node| node != ack.from.node);
        let others = others.filter_map(|node| topology.nodes.get(&node)).map(|node| node.member());
        effects.extend(others.map(|from| NodeEffect::AnswerMaster(LeaseAck { from, ..ack })));
    }

    fn halt(&mut self, effects: &mut Vec<NodeEffect>) {
        if matches!(self.acting, Acting::Halted { .. }) {
            return;
        }
        // The halt gives up the lease, once what was executed under it has been answered.
        self.announced = None;
        let id = HaltId(self.next_id());
        self.acting = Acting::Halted { halting: Some(id) };
        self.beat_now = true;
        effects.push(NodeEffect::Halt(id));
    }

    fn refuse(&mut self, effects: &mut Vec<NodeEffect>) {
        if self.announced.take().is_some() {
            effects.push(NodeEffect::RefuseWrites);
        }
    }

    /// What the topology and the promises let the node do now.
    fn verdict(&self) -> Verdict {
        let Some(topology) = &self.topology else { return Verdict::Wait };
        let member = self.member();
        match topology.nodes.get(&member.node) {
            Some(node) if node.incarnation == member.incarnation => {}
            // Not (yet) registered in this run. One that was forgotten is in no shard.
            Some(_) => return Verdict::Wait,
            None => return Verdict::Unassigned,
        }
        let Some(shard) = topology.shard_of(member.node) else { return Verdict::Unassigned };
        let withdrawn = planted(Plant::ConsentWithdrawn) && shard.master == member;
        if self.wanted.shard == Some(shard.id) && self.wanted.epoch > shard.epoch && !withdrawn {
            return Verdict::Wait;
        }
        let epoch = shard.epoch;
        // Rule 4: a restarted master is not the master, whatever the topology calls its node.
        if shard.master == member
            || (planted(Plant::RestartedMasterGoesOn) && shard.master.node == member.node)
        {
            return Verdict::Master { epoch };
        }
        match topology.nodes.get(&shard.master.node) {
            Some(master) if shard.master.node != member.node => Verdict::Replica {
                epoch,
                master: shard.master,
                host: master.host.clone(),
                port: master.port,
            },
            _ => Verdict::Wait,
        }
    }

    /// Brings what the node does in line with the verdict: first the epoch to disk, then the act.
    fn settle(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let verdict = self.verdict();
        let still_master =
            matches!((&self.acting, &verdict), (Acting::Master(_), Verdict::Master { .. }));
        if !still_master {
            self.refuse(effects);
        }
        if let Verdict::Replica { epoch, .. } | Verdict::Master { epoch } = verdict {
            let shard = self.shard().map(|shard| shard.id);
            let withdrawn = planted(Plant::ConsentWithdrawn)
                && self.wanted.shard == shard
                && self.wanted.epoch > epoch;
            if self.wanted != (NodeState { shard, epoch }) && !withdrawn {
                self.raise(NodeState { shard, epoch });
                self.asked.clear();
                self.catching_up = None;
            }
        }
        self.persist(effects);
        if self.is_kept() || matches!(verdict, Verdict::Wait | Verdict::Unassigned) {
            self.act(now, verdict, effects);
        }
    }

    fn persist(&mut self, effects: &mut Vec<NodeEffect>) {
        let underway = self.persisting.map_or(self.durable, |(_, state)| state);
        if self.wanted != underway {
            let id = PersistId(self.next_id());
            self.persisting = Some((id, self.wanted));
            effects.push(NodeEffect::Persist(id, self.wanted));
        }
    }

    fn act(&mut self, now: Millis, verdict: Verdict, effects: &mut Vec<NodeEffect>) {
        match verdict {
            Verdict::Wait => self.halt(effects),
            Verdict::Unassigned => {
                if !matches!(self.acting, Acting::Unassigned) {
                    self.acting = Acting::Unassigned;
                    self.beat_now = true;
                    effects.push(NodeEffect::Detach);
                }
            }
            Verdict::Replica { epoch, master, host, port } => {
                self.follow(epoch, master, host, port, effects);
            }
            Verdict::Master { epoch } => self.become_master(now, epoch, effects),
        }
    }

    fn follow(
        &mut self,
        epoch: Epoch,
        master: Member,
        host: String,
        port: u16,
        effects: &mut Vec<NodeEffect>,
    ) {
        if let Acting::Replica { epoch: e, master: m, host: h, port: p, .. } = &self.acting
            && (*e, *m, h, *p) == (epoch, master, &host, port)
        {
            return;
        }
        self.loss = None;
        let link = LinkState::Down;
        self.acting = Acting::Replica { epoch, master, host: host.clone(), port, link };
        self.beat_now = true;
        effects.push(NodeEffect::Follow { epoch, master, host, port });
    }

    fn become_master(&mut self, now: Millis, epoch: Epoch, effects: &mut Vec<NodeEffect>) {
        if matches!(&self.acting, Acting::Master(master) if master.epoch == epoch) {
            return;
        }
        self.refuse(effects);
        let serve_from = self.promises_end(epoch);
        self.loss = None;
        self.history_epoch = epoch;
        self.acting = Acting::Master(Mastership::new(now, epoch, self.member(), serve_from));
        self.beat_now = true;
        effects.push(NodeEffect::BecomeMaster { epoch });
    }

    /// When this node's own promises to masters before `epoch` have run out (rule 6). A waiver
    /// covers those made to the master of the epoch just before, never older ones. A node that has
    /// started may have promised anything in its run before (rule 2).
    fn promises_end(&self, epoch: Epoch) -> Millis {
        if planted(Plant::NoPromiseWait) {
            return Millis(0);
        }
        let waived = self.shard().is_some_and(|shard| shard.waived);
        let older = planted(Plant::OlderPromiseWaived);
        let counts = |at: &Epoch| *at < epoch && !(waived && (at.next() == epoch || older));
        let known = self.promises.iter().filter(|(at, _)| counts(at)).map(|(_, &until)| until);
        let may_have = self.config.state.shard.is_some() && !planted(Plant::ReplicaStartsFree);
        let at_start = if may_have { self.started + self.timing.promise() } else { Millis(0) };
        known.max().unwrap_or_default().max(at_start)
    }

    /// Answers who asked for the promise: when it is on disk and nothing moves any more.
    fn answer_prepare(&mut self, data: DataPlane, effects: &mut Vec<NodeEffect>) {
        if self.asked.is_empty() && (self.answered_gone || self.loss.is_none()) {
            return;
        }
        let Acting::Halted { halting: None } = self.acting else { return };
        let (Some(shard), true) = (self.wanted.shard, self.is_kept()) else { return };
        let epoch = self.wanted.epoch;
        if self.shard().is_none_or(|known| known.id != shard || known.epoch >= epoch) {
            return;
        }
        let master_gone =
            self.loss.as_ref().is_some_and(|loss| loss.gone && loss.epoch.next() == epoch);
        let prepared = Prepared {
            from: self.member(),
            shard,
            epoch,
            history: History { epoch: self.history_epoch, offset: data.offset },
            master_gone,
            was_master: self.shard().is_some_and(|known| known.master == self.member()),
        };
        if master_gone && !self.answered_gone {
            // News for whoever asked before.
            self.answered_gone = true;
            self.asked.clear();
            effects.push(NodeEffect::Broadcast(ToSentinel::Prepared(prepared)));
            return;
        }
        for sentinel in std::mem::take(&mut self.asked) {
            effects.push(NodeEffect::Send(sentinel, ToSentinel::Prepared(prepared)));
        }
    }

    /// As a master: begin a new shard's service, and keep the promotable set, once per heartbeat.
    fn keep_set(&mut self, now: Millis, data: DataPlane, effects: &mut Vec<NodeEffect>) {
        let due = now >= self.beat_at || self.beat_now || std::mem::take(&mut self.keep_now);
        let Some(topology) = self.topology.clone().filter(|_| due) else { return };
        let Some(shard) = topology.shard_of(self.me()) else { return };
        let id = ProposalId(self.next_id());
        let lag_bytes_max = self.config.lag_bytes_max;
        let by = self.member();
        let Acting::Master(master) = &mut self.acting else { return };
        if shard.epoch != master.epoch || (self.stopping.is_some() && shard.phase == Phase::New) {
            return;
        }
        if shard.phase == Phase::New {
            let waiting =
                |(_, at): (ProposalId, Millis)| now.since(at) < topology.timing.down_after;
            if !master.first_serve.is_some_and(waiting) {
                master.first_serve = Some((id, now));
                let entry = Entry::Serve { shard: shard.id, epoch: master.epoch, by };
                effects.push(NodeEffect::Propose(id, entry));
            }
            return;
        }
        let entry = master.propose_set(now, &topology, shard, data.offset, lag_bytes_max, id);
        effects.extend(entry.map(|entry| NodeEffect::Propose(id, entry)));
    }

    /// Tells the data plane what the lease has become. Writes are accepted only by a master whose
    /// shard may serve, whose own promises have run out, and whose lease runs (rules 2, 3, 6).
    fn announce_lease(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let until = match (&self.acting, self.shard()) {
            (Acting::Master(master), Some(shard)) if self.may_serve(now, master, shard) => {
                Some((master.epoch, master.lease_until(shard, &self.timing, self.majority())))
            }
            _ => None,
        };
        if let Some((epoch, until)) = until {
            let longest = now + self.timing.lease;
            enforced!(2, until <= longest || until == FOR_EVER, "a lease beyond its length");
            enforced!(6, now >= self.promises_end(epoch), "a lease while own promises run");
        }
        match (until.filter(|&(_, until)| until > now), self.announced) {
            (None, Some(_)) => self.refuse(effects),
            (Some((epoch, until)), None) => {
                self.announced = Some((epoch, until));
                self.beat_now = true;
                effects.push(NodeEffect::AcceptWrites { epoch, until });
            }
            (Some((epoch, until)), Some(before)) if before != (epoch, until) => {
                self.announced = Some((epoch, until));
                effects.push(NodeEffect::Lease { epoch, until });
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn may_serve(&self, now: Millis, master: &Mastership, shard: &Shard) -> bool {
        // A newer epoch, promised or seen, ends this one before it is even on disk (rule 7).
        let current = self.wanted.shard == Some(shard.id) && self.wanted.epoch == master.epoch;
        let current = current || planted(Plant::ConsentWithdrawn);
        current && shard.phase == Phase::Served && now >= master.serve_from && !self.stopped
    }

    fn majority(&self) -> usize {
        self.voters as usize / 2 + 1
    }

    /// Registers, until the topology knows this run of this node at this address.
    fn register(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let wanted = &self.config.registration;
        let registered = self.topology.as_ref().is_some_and(|topology| {
            topology.nodes.get(&wanted.member.node).is_some_and(|node| {
                node.incarnation == wanted.member.incarnation
                    && (&node.host, node.port, node.cport)
                        == (&wanted.host, wanted.port, wanted.cport)
                    && (&node.kind, &node.zone, node.priority)
                        == (&wanted.kind, &wanted.zone, wanted.priority)
            })
        });
        let reachable = !self.sentinels.is_empty() || self.config.sentinels == 0;
        if registered || !reachable || now < self.register_at || self.registering.is_some() {
            return;
        }
        self.register_at = now + self.timing.heartbeat + self.timing.heartbeat;
        let id = ProposalId(self.next_id());
        self.registering = Some(id);
        effects.push(NodeEffect::Propose(id, Entry::Register(self.config.registration.clone())));
    }

    /// A deposed master has the log know where its history ended, until it does.
    fn report_end(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let (me, patience) = (self.member(), self.timing.down_after);
        let Some(ended) = &self.ended else { return };
        let shard = self.shard().filter(|shard| shard.id == ended.shard);
        let takeover = shard.and_then(|shard| {
            let mine = |takeover: &&Takeover| takeover.from == me && takeover.epoch > ended.epoch;
            shard.takeovers.iter().find(mine)
        });
        let Some(epoch) = takeover.filter(|found| !found.cut.exact).map(|found| found.epoch) else {
            self.ended = None;
            return;
        };
        let waiting = ended.proposed.is_some_and(|at| now.since(at) < patience);
        if waiting || self.sentinels.is_empty() {
            return;
        }
        let (shard, end) = (ended.shard, ended.end);
        self.ended = Some(Ended { proposed: Some(now), shard, epoch: ended.epoch, end });
        let id = ProposalId(self.next_id());
        effects.push(NodeEffect::Propose(id, Entry::ReportEnd { shard, epoch, by: me, end }));
    }

    fn on_failover_wished(&mut self, mode: FailoverMode, effects: &mut Vec<NodeEffect>) {
        let Some(shard) = self.shard().filter(|_| self.role() == NodeRole::Replica) else { return };
        let request =
            FailoverRequest { shard: shard.id, epoch: shard.epoch, to: Some(self.me()), mode };
        effects.push(NodeEffect::Broadcast(ToSentinel::Failover(request)));
    }

    /// A graceful stop: a master with a successor hands over first, a replica steps back; then, or
    /// when that has taken too long, the process may end.
    fn stop(&mut self, now: Millis, effects: &mut Vec<NodeEffect>) {
        let Some(stopping) = self.stopping.filter(|_| !self.stopped) else { return };
        let patience = Millis(self.timing.heartbeat.0 * 5);
        let before = self.before_stop(now, stopping);
        let asked = |(what, at)| what == before && now.since(at) < patience;
        let ask = match before {
            Before::Nothing => {
                // No lease is announced to the data plane any more; it gives up the one it has
                // with the stop.
                self.announced = None;
                self.stopped = true;
                effects.push(NodeEffect::Stop);
                return;
            }
            _ if stopping.asked.is_some_and(asked) => return,
            Before::HandOver(shard, epoch) => {
                let mode = FailoverMode::HandOver;
                let request = FailoverRequest { shard, epoch, to: None, mode };
                NodeEffect::Broadcast(ToSentinel::Failover(request))
            }
            Before::StepBack => {
                let id = ProposalId(self.next_id());
                NodeEffect::Propose(id, Entry::StepBack { node: self.member() })
            }
        };
        self.stopping = Some(Stopping { asked: Some((before, now)), ..stopping });
        effects.push(ask);
    }

    fn before_stop(&self, now: Millis, stopping: Stopping) -> Before {
        let waited = now.since(stopping.began);
        let Some((topology, shard)) = self.topology.as_ref().zip(self.shard()) else {
            return Before::Nothing;
        };
        if shard.master != self.member() {
            let listed = shard.promotable.members.contains(&self.member());
            let reachable = !self.sentinels.is_empty() && waited < STEP_BACK_WAIT;
            return if listed && reachable { Before::StepBack } else { Before::Nothing };
        }
        let successor = match &self.acting {
            // Without most of the sentinels nobody could be promoted.
            Acting::Master(master) => {
                self.sentinels.len() >= self.majority()
                    && master.has_successor(now, topology, shard)
            }
            // Has consented, and waits for the log to name the successor.
            Acting::Halted { .. } => true,
            Acting::Replica { .. } | Acting::Unassigned => false,
        };
        if successor && waited < self.config.stop_wait {
            Before::HandOver(shard.id, shard.epoch)
        } else {
            Before::Nothing
        }
    }

    fn beat(&mut self, now: Millis, data: DataPlane, effects: &mut Vec<NodeEffect>) {
        if now < self.beat_at && !self.beat_now {
            return;
        }
        self.beat_now = false;
        self.beat_at = now + self.timing.heartbeat;
        if let Acting::Master(master) = &self.acting {
            effects.push(NodeEffect::PingReplicas(LeasePing {
                from: self.member(),
                epoch: master.epoch,
                sent: now,
                lease: self.timing.lease,
            }));
        }
        if self.sentinels.is_empty() {
            return;
        }
        self.seq += 1;
        self.sent.push_back((self.seq, self.epoch(), now));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_front();
        }
        effects.push(NodeEffect::Broadcast(ToSentinel::Heartbeat(self.heartbeat(data))));
    }

    fn heartbeat(&self, data: DataPlane) -> Heartbeat {
        let link = match (&self.acting, &self.loss) {
            (Acting::Replica { link, .. }, _) => *link,
            (Acting::Halted { .. }, Some(loss)) if loss.gone => LinkState::Gone,
            _ => LinkState::None,
        };
        let shard = self.shard().map(|shard| shard.id);
        Heartbeat {
            from: self.member(),
            seq: self.seq,
            shard,
            epoch: self.epoch(),
            promised: if self.durable.shard == shard { self.durable.epoch } else { Epoch(0) },
            role: self.role(),
            repl_id: data.repl_id,
            history: History { epoch: self.history_epoch, offset: data.offset },
            link,
            lease: self.timing.lease,
            serving: self.announced.is_some(),
            topology: self.topology.as_ref().map_or(0, |topology| topology.version),
        }
    }
}

/// Whether the member may succeed in its shard already.
fn topology_has(topology: Option<&Topology>, member: Member) -> bool {
    topology
        .and_then(|topology| topology.shard_of(member.node))
        .is_some_and(|shard| shard.promotable.members.contains(&member))
}

// A lease that never ends must not be added to.
const _: () = assert!(FOR_EVER.0 == u64::MAX);
