//! The sentinel's state machine: what every sentinel does, leader or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slotward_cluster::{Health, Liveness, Member, NodeHealth, Shard, ShardId, Topology};
use slotward_types::{Epoch, Millis, NodeId, ReplOffset};

use super::announce::{epoch_began, instance, left_behind, publish, publish_master};
use super::leader::{Leading, Picture};
use super::watch::Watched;
use super::{NodeStatus, Revocations, SentinelConfig, SentinelEffect, SentinelEvent, StreamId};
use crate::message::{
    Ack, FailoverRequest, Heartbeat, LinkState, NodeRole, PeerMessage, SentinelId, ToNode,
    ToSentinel, Vote,
};
use crate::node::PersistId;
use crate::plant::{Plant, enforced, planted};
use crate::promise_for;

/// How often the picture of the nodes is sent out.
const HEALTH_EVERY: Millis = Millis(1000);

/// The sentinel's state machine.
#[derive(Debug)]
pub struct SentinelMachine {
    id: SentinelId,
    topology: Arc<Topology>,
    voters: BTreeSet<SentinelId>,
    leader: Option<SentinelId>,
    /// Since when it hears at all: its start, or the end of a freeze.
    listening: Millis,
    last_step: Millis,
    nodes: BTreeMap<NodeId, Watched>,
    streams: BTreeMap<StreamId, NodeId>,
    /// Per shard the highest epoch revoked: to be on disk, and on disk (rule 1).
    revoked: Revocations,
    durable: Revocations,
    persisting: Option<(PersistId, Revocations)>,
    /// Per shard: until when a master may count on an acknowledgement of ours. A shard that is not
    /// here counts from the start (rule 2).
    acknowledged: BTreeMap<ShardId, Millis>,
    started: Millis,
    /// When the group's voters last changed; zero if they never have.
    regrouped: Millis,
    /// Votes of all sentinels, in their shard's present epoch.
    votes: BTreeMap<ShardId, BTreeMap<SentinelId, Vote>>,
    /// Shards of which `+odown` has been said.
    odown: BTreeSet<ShardId>,
    /// New masters that are not yet known to serve.
    awaited: BTreeMap<ShardId, Epoch>,
    leading: Option<Leading>,
    /// How far each shard's master was heard to be, and in which epoch: what is known of the end
    /// of its history if it is not heard again.
    reached: BTreeMap<ShardId, (Epoch, ReplOffset)>,
    vote_at: Millis,
    vote_now: bool,
    health_at: Millis,
    ids: u64,
}

impl SentinelMachine {
    /// A sentinel that starts: it counts its start as the last time it heard and acknowledged.
    pub fn new(now: Millis, config: SentinelConfig) -> Self {
        SentinelMachine {
            id: config.id,
            topology: config.topology,
            voters: BTreeSet::new(),
            leader: None,
            listening: now,
            last_step: now,
            nodes: BTreeMap::new(),
            streams: BTreeMap::new(),
            durable: config.revoked.clone(),
            revoked: config.revoked,
            persisting: None,
            acknowledged: BTreeMap::new(),
            started: now,
            regrouped: Millis(0),
            votes: BTreeMap::new(),
            odown: BTreeSet::new(),
            awaited: BTreeMap::new(),
            leading: None,
            reached: BTreeMap::new(),
            vote_at: now,
            vote_now: false,
            health_at: now,
            ids: 0,
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, now: Millis, event: SentinelEvent, effects: &mut Vec<SentinelEffect>) {
        self.notice_freeze(now);
        self.on_event(now, event, effects);
        self.judge(now, effects);
        self.persist(effects);
        self.vote(now, effects);
        self.lead(now, effects);
        self.probe(now, effects);
        self.tell_health(now, effects);
    }

    /// The topology it last applied.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// What it knows of a node.
    pub fn status(&self, now: Millis, node: NodeId) -> Option<NodeStatus> {
        self.topology.nodes.get(&node)?;
        let shard = self.topology.shard_of(node);
        let master_of = shard.filter(|shard| shard.master.node == node).map(|shard| shard.id);
        let watched = self.nodes.get(&node);
        let heard = watched.map_or(self.listening, |watched| watched.heard);
        Some(NodeStatus {
            heartbeat: watched.and_then(|watched| watched.heartbeat.clone()),
            silence: now.since(heard),
            connected: watched.is_some_and(|watched| watched.stream.is_some()),
            sdown: watched.is_some_and(|watched| watched.sdown),
            odown: master_of.is_some_and(|shard| self.odown.contains(&shard)),
            failing_over: shard.is_some_and(|shard| {
                self.leading.as_ref().is_some_and(|leading| leading.is_busy(shard.id))
            }),
        })
    }

    /// What it sees of all nodes, for `CLUSTER NODES` and the like.
    pub fn health(&self) -> Health {
        let of = |node: &NodeId| {
            let watched = self.nodes.get(node);
            let master_of = self.topology.shards.values().find(|s| s.master.node == *node);
            let liveness = match (watched.is_some_and(|w| w.sdown), master_of) {
                (false, _) => Liveness::Online,
                (true, Some(shard)) if !self.odown.contains(&shard.id) => Liveness::Suspected,
                (true, _) => Liveness::Failed,
            };
            let heartbeat = watched.and_then(|watched| watched.heartbeat.as_ref());
            NodeHealth {
                liveness,
                offset: heartbeat.map(|beat| beat.history.offset).unwrap_or_default(),
                loading: heartbeat.is_some_and(|beat| beat.link == LinkState::Syncing),
            }
        };
        Health(self.topology.nodes.keys().map(|node| (*node, of(node))).collect())
    }

    /// How many sentinels must agree.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<SentinelId> {
        self.leader
    }

    /// A sentinel that stood still has heard nobody meanwhile, and must not blame them for it.
    fn notice_freeze(&mut self, now: Millis) {
        let longest = Millis(self.topology.timing.down_after.0 / 2);
        if now.since(self.last_step) > longest {
            self.listening = now;
        }
        self.last_step = now;
    }

    fn on_event(&mut self, now: Millis, event: SentinelEvent, effects: &mut Vec<SentinelEffect>) {
        match event {
            SentinelEvent::Tick => {}
            SentinelEvent::StreamOpened(stream, member) => {
                self.on_opened(now, stream, member, effects);
            }
            SentinelEvent::StreamClosed(stream) => self.on_closed(now, stream, effects),
            SentinelEvent::FromNode(stream, message) => {
                self.on_node(now, stream, message, effects);
            }
            SentinelEvent::FromPeer(from, message) => self.on_peer(from, message, effects),
            SentinelEvent::Leader { leader, voters } => self.on_leader(now, leader, voters),
            SentinelEvent::Applied(topology) => self.on_applied(now, topology, effects),
            SentinelEvent::Proposed(id, outcome) => {
                if let Some(leading) = &mut self.leading {
                    leading.on_proposed(now, id, &outcome);
                }
            }
            SentinelEvent::Probed(node, reached) => {
                if let Some(watched) = self.nodes.get_mut(&node) {
                    watched.on_probed(reached);
                }
            }
            SentinelEvent::Persisted(id) => {
                if let Some((_, revoked)) = self.persisting.take_if(|(pending, _)| *pending == id) {
                    self.durable = revoked;
                    self.vote_now = true;
                }
            }
            SentinelEvent::FailoverWished(request) => self.on_request(request, effects),
        }
    }

    fn on_opened(
        &mut self,
        now: Millis,
        stream: StreamId,
        member: Member,
        effects: &mut Vec<SentinelEffect>,
    ) {
        let watched =
            self.nodes.entry(member.node).or_insert_with(|| Watched::new(now, member.incarnation));
        let restarted = watched.incarnation < member.incarnation;
        if !watched.on_opened(now, stream, member.incarnation) {
            return;
        }
        self.streams.retain(|_, node| *node != member.node);
        self.streams.insert(stream, member.node);
        if restarted
            && let (Some(shard), Some(node)) =
                (self.topology.shard_of(member.node), self.topology.nodes.get(&member.node))
        {
            publish(effects, "+reboot", instance(&self.topology, shard, node));
        }
        let topology = ToNode::Topology(Arc::clone(&self.topology));
        effects.push(SentinelEffect::ToNode(member.node, topology));
        effects.push(SentinelEffect::ToNode(member.node, ToNode::Health(Arc::new(self.health()))));
    }

    fn on_closed(&mut self, now: Millis, stream: StreamId, effects: &mut Vec<SentinelEffect>) {
        let Some(id) = self.streams.remove(&stream) else { return };
        let Some(watched) = self.nodes.get_mut(&id) else { return };
        if watched.on_closed(now, stream)
            && let Some(node) = self.topology.nodes.get(&id)
        {
            let (host, port) = (node.host.clone(), node.port);
            effects.push(SentinelEffect::Probe { node: id, host, port });
        }
    }

    fn on_node(
        &mut self,
        now: Millis,
        stream: StreamId,
        message: ToSentinel,
        effects: &mut Vec<SentinelEffect>,
    ) {
        let Some(&node) = self.streams.get(&stream) else { return };
        match message {
            ToSentinel::Heartbeat(beat) => {
                let run = self.nodes.get(&node).map(|watched| watched.incarnation);
                if beat.from.node == node && run == Some(beat.from.incarnation) {
                    self.on_heartbeat(now, beat, effects);
                }
            }
            ToSentinel::Prepared(prepared) => {
                if let Some(leading) = self.leading.as_mut().filter(|_| prepared.from.node == node)
                {
                    leading.on_prepared(prepared);
                }
            }
            ToSentinel::Failover(request) => self.on_request(request, effects),
        }
    }

    fn on_heartbeat(&mut self, now: Millis, beat: Heartbeat, effects: &mut Vec<SentinelEffect>) {
        let lease = self.acknowledge(now, &beat);
        let ack = Ack {
            sentinel: self.id,
            voters: u32::try_from(self.voters.len()).unwrap_or(u32::MAX),
            incarnation: beat.from.incarnation,
            seq: beat.seq,
            lease,
        };
        let node = beat.from.node;
        effects.push(SentinelEffect::ToNode(node, ToNode::Ack(ack)));
        if beat.topology < self.topology.version {
            let topology = ToNode::Topology(Arc::clone(&self.topology));
            effects.push(SentinelEffect::ToNode(node, topology));
        }
        self.notice_failover_end(&beat, effects);
        self.notice_reached(&beat);
        if let Some(watched) = self.nodes.get_mut(&node) {
            watched.on_heartbeat(now, beat);
        }
    }

    /// The one place where a lease is acknowledged (rules 1 and 4): only to a master, in an epoch
    /// above every revoked one and not below the applied one. The acknowledgement is a promise that
    /// counts from this receipt (rule 2).
    ///
    /// A sentinel that is no voter (a new disk that has not been taken in yet) promises nothing: it
    /// may stand in for one that has revoked, and would make up a majority that never was.
    fn acknowledge(&mut self, now: Millis, beat: &Heartbeat) -> Option<Epoch> {
        if !self.voters.contains(&self.id) {
            return None;
        }
        let shard = self.topology.shards.get(&beat.shard?)?;
        let revoked = self.revoked.get(&shard.id).copied().unwrap_or_default();
        let named = beat.epoch > shard.epoch
            || shard.master == beat.from
            || planted(Plant::RestartedMasterGoesOn);
        let above = beat.epoch > revoked
            || planted(Plant::AckRevoked)
            || (planted(Plant::NotEqualForGreater) && beat.epoch != revoked);
        if beat.role != NodeRole::Master || !above || beat.epoch < shard.epoch || !named {
            return None;
        }
        enforced!(1, beat.epoch > revoked, "acknowledging epoch {}, which is revoked", beat.epoch);
        let until = now + promise_for(&self.topology.timing, beat.lease);
        let promised = self.acknowledged.entry(shard.id).or_default();
        *promised = until.max(*promised);
        Some(beat.epoch)
    }

    fn notice_reached(&mut self, beat: &Heartbeat) {
        let Some(shard) = beat.shard.and_then(|id| self.topology.shards.get(&id)) else { return };
        if shard.master == beat.from
            && beat.role == NodeRole::Master
            && beat.history.epoch == shard.epoch
        {
            let known = self.reached.entry(shard.id).or_insert((shard.epoch, ReplOffset(0)));
            *known = (beat.history.epoch, beat.history.offset).max(*known);
        }
    }

    fn notice_failover_end(&mut self, beat: &Heartbeat, effects: &mut Vec<SentinelEffect>) {
        let Some(id) = beat.shard.filter(|_| beat.serving) else { return };
        let Some(shard) = self.topology.shards.get(&id) else { return };
        if shard.master == beat.from && self.awaited.get(&id) == Some(&beat.epoch) {
            self.awaited.remove(&id);
            publish_master(effects, "+failover-end", &self.topology, shard, "");
        }
    }

    fn on_peer(
        &mut self,
        from: SentinelId,
        message: PeerMessage,
        effects: &mut Vec<SentinelEffect>,
    ) {
        match message {
            PeerMessage::Vote(vote) => self.count_vote(from, vote, effects),
            PeerMessage::Failover(request) => self.on_request(request, effects),
            PeerMessage::Revoke { shard, epoch } => {
                if self.topology.shards.get(&shard).is_some_and(|known| known.epoch == epoch) {
                    self.revoke(shard, epoch);
                }
            }
        }
    }

    /// A request goes to the leader.
    fn on_request(&mut self, request: FailoverRequest, effects: &mut Vec<SentinelEffect>) {
        match (&mut self.leading, self.leader) {
            (Some(leading), _) => leading.on_request(request),
            (None, Some(leader)) if leader != self.id => {
                effects.push(SentinelEffect::ToPeer(leader, PeerMessage::Failover(request)));
            }
            (None, _) => {}
        }
    }

    /// A majority of new voters may not overlap with one that has acknowledged a moment ago: after
    /// such a change every voter counts as if it had acknowledged then (rule 2).
    fn on_leader(&mut self, now: Millis, leader: Option<SentinelId>, voters: BTreeSet<SentinelId>) {
        if !self.voters.is_empty() && self.voters != voters {
            self.regrouped = now;
        }
        self.voters = voters;
        self.leader = leader;
        if leader != Some(self.id) {
            self.leading = None;
        } else if self.leading.is_none() {
            self.leading = Some(Leading::new());
        }
        self.vote_now = true;
    }

    fn on_applied(
        &mut self,
        now: Millis,
        topology: Arc<Topology>,
        effects: &mut Vec<SentinelEffect>,
    ) {
        if topology.version <= self.topology.version {
            return;
        }
        let before = std::mem::replace(&mut self.topology, Arc::clone(&topology));
        if planted(Plant::RevocationLiftedByVersion) {
            self.revoked.clear();
            self.durable.clear();
        }
        for shard in topology.shards.values() {
            let Some(old) = before.shards.get(&shard.id) else { continue };
            if old.epoch < shard.epoch {
                epoch_began(effects, (&before, old), (&topology, shard));
                self.awaited.insert(shard.id, shard.epoch);
                // A new epoch begins with a clean sheet.
                self.odown.remove(&shard.id);
            }
            left_behind(effects, old, (&topology, shard));
        }
        self.votes.retain(|id, votes| {
            let epoch = topology.shards.get(id).map(|shard| shard.epoch);
            votes.retain(|_, vote| epoch.is_some_and(|epoch| vote.epoch >= epoch));
            !votes.is_empty()
        });
        self.awaited.retain(|id, _| topology.shards.contains_key(id));
        self.odown.retain(|id| topology.shards.contains_key(id));
        self.reached.retain(|id, _| topology.shards.contains_key(id));
        for node in topology.nodes.values() {
            self.nodes.entry(node.id).or_insert_with(|| Watched::new(now, node.incarnation));
        }
        self.nodes.retain(|id, node| topology.nodes.contains_key(id) || node.stream.is_some());
        for &node in self.streams.values() {
            let push = ToNode::Topology(Arc::clone(&topology));
            effects.push(SentinelEffect::ToNode(node, push));
        }
    }

    /// Holds nodes subjectively down, and revokes the epochs of masters among them.
    fn judge(&mut self, now: Millis, effects: &mut Vec<SentinelEffect>) {
        let topology = Arc::clone(&self.topology);
        for node in topology.nodes.values() {
            let listening = self.listening;
            let watched =
                self.nodes.entry(node.id).or_insert_with(|| Watched::new(now, node.incarnation));
            let down = watched.is_silent(now, listening, &topology.timing)
                || watched.is_gone(now, &topology.timing);
            if down != watched.sdown {
                watched.sdown = down;
                self.health_at = now;
                if let Some(shard) = topology.shard_of(node.id) {
                    let channel = if down { "+sdown" } else { "-sdown" };
                    publish(effects, channel, instance(&topology, shard, node));
                }
            }
        }
        for shard in topology.shards.values() {
            if self.master_down(shard) {
                self.revoke(shard.id, shard.epoch);
            }
        }
    }

    /// Whether this run of the master is down: not heard, or over because another run began.
    fn master_down(&self, shard: &Shard) -> bool {
        let registered = self.topology.nodes.get(&shard.master.node);
        let run = shard.master.incarnation;
        let Some(watched) = self.nodes.get(&shard.master.node) else { return false };
        watched.sdown
            || (!planted(Plant::RestartedMasterGoesOn)
                && (watched.incarnation > run || registered.is_some_and(|n| n.incarnation > run)))
    }

    /// From here on nothing is acknowledged in this epoch of the shard, or an older one.
    fn revoke(&mut self, shard: ShardId, epoch: Epoch) {
        let revoked = self.revoked.entry(shard).or_default();
        *revoked = epoch.max(*revoked);
    }

    fn persist(&mut self, effects: &mut Vec<SentinelEffect>) {
        let underway = self.persisting.as_ref().map_or(&self.durable, |(_, revoked)| revoked);
        if *underway != self.revoked {
            self.ids += 1;
            let id = PersistId(self.ids);
            self.persisting = Some((id, self.revoked.clone()));
            effects.push(SentinelEffect::Persist(id, self.revoked.clone()));
        }
    }

    /// Tells every sentinel what this one has revoked, once that is on disk (rule 1), and again
    /// while the epoch lasts.
    fn vote(&mut self, now: Millis, effects: &mut Vec<SentinelEffect>) {
        let topology = Arc::clone(&self.topology);
        let due = now >= self.vote_at || self.vote_now;
        let mut mine = Vec::new();
        for shard in topology.shards.values() {
            let on_disk =
                if planted(Plant::RevocationNotDurable) { &self.revoked } else { &self.durable };
            if on_disk.get(&shard.id) >= Some(&shard.epoch) {
                let vote = self.my_vote(now, shard);
                let known = self.votes.get(&shard.id).and_then(|votes| votes.get(&self.id));
                // What changed for the leader is said at once.
                let news = known.is_none_or(|known| {
                    (known.epoch, known.gone, known.hears, known.ack_left == Millis(0))
                        != (vote.epoch, vote.gone, vote.hears, vote.ack_left == Millis(0))
                });
                if due || news {
                    mine.push(vote);
                }
            }
        }
        if due {
            self.vote_now = false;
            self.vote_at = now + topology.timing.heartbeat;
        }
        for vote in mine {
            let kept = self.durable.get(&vote.shard).copied().unwrap_or_default();
            enforced!(1, kept >= vote.epoch, "voting before the revocation is on disk");
            for &peer in self.voters.iter().filter(|&&peer| peer != self.id) {
                effects.push(SentinelEffect::ToPeer(peer, PeerMessage::Vote(vote)));
            }
            self.count_vote(self.id, vote, effects);
        }
    }

    fn my_vote(&self, now: Millis, shard: &Shard) -> Vote {
        let timing = &self.topology.timing;
        let waits = !planted(Plant::SentinelStartsFree);
        let from_start = if waits { self.started + timing.promise() } else { Millis(0) };
        let from_start = if planted(Plant::VotersChangeAtOnce) || self.regrouped == Millis(0) {
            from_start
        } else {
            from_start.max(self.regrouped + timing.promise())
        };
        let until = self.acknowledged.get(&shard.id).copied().unwrap_or_default().max(from_start);
        let watched = self.nodes.get(&shard.master.node);
        let run = shard.master.incarnation;
        let ended = |watched: &Watched| watched.incarnation > run || watched.is_gone(now, timing);
        Vote {
            shard: shard.id,
            epoch: shard.epoch,
            ack_left: until.since(now),
            gone: watched.is_some_and(ended),
            hears: watched.is_some_and(|watched| watched.hears(now, run, timing)),
        }
    }

    fn count_vote(&mut self, from: SentinelId, vote: Vote, effects: &mut Vec<SentinelEffect>) {
        let Some(shard) = self.topology.shards.get(&vote.shard) else { return };
        if vote.epoch < shard.epoch || !self.voters.contains(&from) {
            return;
        }
        let votes = self.votes.entry(vote.shard).or_default();
        votes.insert(from, vote);
        let deaf = |vote: &&Vote| vote.epoch == shard.epoch && !vote.hears;
        let down = votes.values().filter(deaf).count();
        let quorum = self.voters.len() / 2 + 1;
        if down >= quorum && self.odown.insert(shard.id) {
            self.health_at = Millis(0);
            let quorum = format!(" #quorum {down}/{quorum}");
            publish_master(effects, "+odown", &self.topology, shard, &quorum);
        } else if down < quorum && self.odown.remove(&shard.id) {
            publish_master(effects, "-odown", &self.topology, shard, "");
        }
    }

    fn lead(&mut self, now: Millis, effects: &mut Vec<SentinelEffect>) {
        let Some(leading) = &mut self.leading else { return };
        let picture = Picture {
            me: self.id,
            topology: &self.topology,
            nodes: &self.nodes,
            votes: &self.votes,
            voters: &self.voters,
            reached: &self.reached,
        };
        for (shard, epoch) in leading.step(now, &picture, &mut self.ids, effects) {
            self.revoke(shard, epoch);
        }
        self.persist(effects);
    }

    fn probe(&mut self, now: Millis, effects: &mut Vec<SentinelEffect>) {
        for (id, watched) in &mut self.nodes {
            if let Some(node) = self.topology.nodes.get(id)
                && watched.probe_due(now, &self.topology.timing)
            {
                let (host, port) = (node.host.clone(), node.port);
                effects.push(SentinelEffect::Probe { node: *id, host, port });
            }
        }
    }

    fn tell_health(&mut self, now: Millis, effects: &mut Vec<SentinelEffect>) {
        if now < self.health_at {
            return;
        }
        self.health_at = now + HEALTH_EVERY;
        let health = Arc::new(self.health());
        for &node in self.streams.values() {
            effects.push(SentinelEffect::ToNode(node, ToNode::Health(Arc::clone(&health))));
        }
    }
}
