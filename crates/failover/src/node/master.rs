//! What a master keeps while it is one: acknowledgements, its lease, and who may succeed it.

use std::collections::{BTreeMap, BTreeSet};

use slotward_cluster::{Member, Shard, Timing, Topology};
use slotward_types::{Epoch, Millis, ReplOffset};

use super::{Outcome, ProposalId};
use crate::entry::{Entry, Rejected};
use crate::message::{LeaseAck, SentinelId};
use crate::plant::{Plant, enforced, planted};

/// Without end.
pub(super) const FOR_EVER: Millis = Millis(u64::MAX);

/// A replica's last acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The master's clock when it asked.
    sent: Millis,
    /// The master's clock when the answer came.
    came: Millis,
    offset: ReplOffset,
    /// How much it lacked when the answer came.
    lag_bytes: u64,
}

/// Changes of the promotable set that were proposed and on which the log has not spoken.
#[derive(Debug)]
struct Pending {
    /// The version they would change. Only one proposal per version can be applied.
    version: u64,
    /// Everybody that any of them names (rule 3: needed from the proposal on).
    members: BTreeSet<Member>,
    last: ProposalId,
    proposed: Millis,
    /// Whether the outcome of an earlier one is unknown.
    unknown: bool,
}

/// One term of one master: begins with its epoch and is dropped with it, so that acknowledgements
/// count per epoch and per run (rule 8).
#[derive(Debug)]
pub(super) struct Mastership {
    pub(super) epoch: Epoch,
    me: Member,
    began: Millis,
    /// When the promises that this node made to earlier masters have run out (rule 6).
    pub(super) serve_from: Millis,
    /// Per sentinel, when the newest acknowledged heartbeat was sent.
    sentinels: BTreeMap<SentinelId, Millis>,
    replicas: BTreeMap<Member, Held>,
    /// Replicas about to be proposed, and the offset that each must hold before.
    joining: BTreeMap<Member, ReplOffset>,
    pending: Option<Pending>,
    /// The proposal to begin to serve a new shard.
    pub(super) first_serve: Option<(ProposalId, Millis)>,
}

impl Mastership {
    pub(super) fn new(now: Millis, epoch: Epoch, me: Member, serve_from: Millis) -> Self {
        Mastership {
            epoch,
            me,
            began: now,
            serve_from,
            sentinels: BTreeMap::new(),
            replicas: BTreeMap::new(),
            joining: BTreeMap::new(),
            pending: None,
            first_serve: None,
        }
    }

    /// A sentinel acknowledged the heartbeat that was sent then, in this epoch.
    pub(super) fn on_sentinel_ack(&mut self, now: Millis, sentinel: SentinelId, sent: Millis) {
        // Rule 2: from sending. What counts from receipt outlives the promise on the other side.
        let from = if planted(Plant::LeaseFromReceipt) { now } else { sent };
        enforced!(2, from <= sent, "a lease that counts from receipt");
        let newest = self.sentinels.entry(sentinel).or_default();
        *newest = from.max(*newest);
    }

    /// The stream to a sentinel ended. It may take that for the end of this process, and waive what
    /// it has promised: a master gives a lease up before it closes a stream.
    pub(super) fn on_sentinel_down(&mut self, sentinel: SentinelId) {
        if !planted(Plant::LeaseOutlivesStream) {
            self.sentinels.remove(&sentinel);
        }
    }

    /// The same for the link of a replica, if this node closed it.
    pub(super) fn on_replica_gone(&mut self, member: Member, epoch: Epoch) {
        if epoch == self.epoch && !planted(Plant::LeaseOutlivesStream) {
            self.replicas.remove(&member);
        }
    }

    /// A replica acknowledged on its link. Only what it was asked in this epoch, by this run, counts.
    pub(super) fn on_replica_ack(&mut self, now: Millis, own: ReplOffset, ack: LeaseAck) {
        if ack.epoch != self.epoch || ack.sent > now {
            return;
        }
        let lag_bytes = own.0.saturating_sub(ack.offset.0);
        let new = Held { sent: ack.sent, came: now, offset: ack.offset, lag_bytes };
        let held = self.replicas.entry(ack.from).or_insert(new);
        held.sent = held.sent.max(ack.sent);
        held.offset = held.offset.max(ack.offset);
        held.came = now;
        held.lag_bytes = lag_bytes;
    }

    /// Whose promises and acknowledgements the master needs (rule 3): the set it knows to be
    /// committed, which still holds whoever was removed until it learns of that, and everybody
    /// whom it has proposed or is about to.
    fn needed<'a>(&'a self, shard: &'a Shard) -> impl Iterator<Item = Member> + 'a {
        let proposed = !planted(Plant::ProposedNotNeeded);
        let pending = self.pending.iter().flat_map(|pending| pending.members.iter());
        let joining = pending.chain(self.joining.keys()).filter(move |_| proposed);
        let all = shard.promotable.members.iter().chain(joining);
        all.copied().filter(|&member| member != self.me)
    }

    /// Until when nobody else may accept writes, as far as this node knows.
    pub(super) fn lease_until(&self, shard: &Shard, timing: &Timing, majority: usize) -> Millis {
        self.sentinel_lease(timing, majority).max(self.replica_lease(shard, timing))
    }

    /// A majority of the sentinels acknowledged heartbeats sent within the lease.
    fn sentinel_lease(&self, timing: &Timing, majority: usize) -> Millis {
        let mut sent: Vec<Millis> = self.sentinels.values().copied().collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        match sent.get(majority.wrapping_sub(1)) {
            Some(&sent) => sent + timing.lease,
            None => Millis(0),
        }
    }

    /// Every promotable replica did, each promising not to serve meanwhile. A master that nobody
    /// may succeed holds this lease for ever.
    fn replica_lease(&self, shard: &Shard, timing: &Timing) -> Millis {
        let lease_of = |member: Member| match self.replicas.get(&member) {
            Some(held) => held.sent + timing.lease,
            None => Millis(0),
        };
        let mut leases = self.needed(shard).map(lease_of);
        if planted(Plant::AnyReplica) {
            return leases.max().unwrap_or(FOR_EVER);
        }
        leases
            .try_fold(FOR_EVER, |least, lease| (lease > Millis(0)).then(|| least.min(lease)))
            .unwrap_or(Millis(0))
    }

    /// How much of the log everybody needed is known to hold: starts at nothing with every term
    /// (rule 8), and never covers what a member of the set may lack.
    pub(super) fn held_by_all(&self, shard: &Shard, own: ReplOffset) -> ReplOffset {
        // Of whom nothing was heard in this term, nothing is known.
        let unknown = if planted(Plant::InheritedHighWater) { own } else { ReplOffset(0) };
        self.needed(shard)
            .map(|member| self.replicas.get(&member).map_or(unknown, |held| held.offset))
            .min()
            .map_or(own, |least| least.min(own))
    }

    /// Whether somebody follows who may succeed, or will once it has been taken into the set (a
    /// graceful stop finds a successor).
    pub(super) fn has_successor(&self, now: Millis, topology: &Topology, shard: &Shard) -> bool {
        let recent = |member: &Member| {
            self.replicas
                .get(member)
                .is_some_and(|held| now.since(held.came) < topology.timing.lease)
        };
        let nodes = shard.replicas().filter_map(|id| topology.nodes.get(&id));
        nodes.filter(|node| node.priority > 0).any(|node| recent(&node.member()))
    }

    /// The topology moved on: a changed set settles what was proposed for the version before.
    pub(super) fn on_topology(&mut self, shard: &Shard) {
        if self.pending.as_ref().is_some_and(|pending| pending.version < shard.promotable.version) {
            self.pending = None;
        }
        self.joining.retain(|member, _| !shard.promotable.members.contains(member));
    }

    /// The log spoke on a proposal, or did not.
    pub(super) fn on_proposed(&mut self, id: ProposalId, outcome: &Outcome) {
        if self.first_serve.is_some_and(|(first, _)| first == id) && *outcome != Outcome::Applied {
            self.first_serve = None;
        }
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.last == id) else {
            return;
        };
        match outcome {
            // The topology that follows settles it.
            Outcome::Applied | Outcome::Rejected(Rejected::StaleVersion(_)) => {}
            Outcome::Rejected(_) if !pending.unknown => self.pending = None,
            Outcome::Rejected(_) | Outcome::Unknown => pending.unknown = true,
        }
    }

    /// What to propose about the promotable set now, if anything. Called once per heartbeat.
    pub(super) fn propose_set(
        &mut self,
        now: Millis,
        topology: &Topology,
        shard: &Shard,
        own: ReplOffset,
        lag_bytes_max: u64,
        id: ProposalId,
    ) -> Option<Entry> {
        let timing = &topology.timing;
        if self.pending.as_ref().is_some_and(|p| now.since(p.proposed) < timing.down_after) {
            return None;
        }
        self.choose_joining(now, topology, shard, own, lag_bytes_max);
        let wanted = self.wanted_set(now, topology, shard);
        if wanted == shard.promotable.members {
            return None;
        }
        let version = shard.promotable.version;
        let unknown = self.pending.is_some();
        let mut members = self.pending.take().map_or_else(BTreeSet::new, |before| before.members);
        members.extend(wanted.iter().copied());
        self.pending = Some(Pending { version, members, last: id, proposed: now, unknown });
        Some(Entry::SetPromotable {
            shard: shard.id,
            epoch: self.epoch,
            version,
            by: self.me,
            members: wanted,
        })
    }

    /// Who joins: registered runs of members that acknowledge, closely behind. From now on they are
    /// needed, and once they hold what was acknowledged before that, they are proposed.
    fn choose_joining(
        &mut self,
        now: Millis,
        topology: &Topology,
        shard: &Shard,
        own: ReplOffset,
        lag_bytes_max: u64,
    ) {
        let recent = Millis(topology.timing.heartbeat.0 * 3);
        let fit = |member: &Member, replicas: &BTreeMap<Member, Held>| {
            replicas.get(member).is_some_and(|held| {
                now.since(held.came) <= recent && held.lag_bytes <= lag_bytes_max
            })
        };
        let replicas = &self.replicas;
        self.joining.retain(|member, _| fit(member, replicas));
        for node in shard.replicas().filter_map(|id| topology.nodes.get(&id)) {
            let member = node.member();
            // Who is never to be promoted would only be one more to wait for.
            if node.priority > 0
                && !shard.promotable.members.contains(&member)
                && fit(&member, &self.replicas)
            {
                self.joining.entry(member).or_insert(own);
            }
        }
    }

    /// The set as it should be: without runs that ended, members that left, and those that have not
    /// acknowledged for as long as makes a node down; with those that have joined.
    fn wanted_set(&self, now: Millis, topology: &Topology, shard: &Shard) -> BTreeSet<Member> {
        let patience = topology.timing.down_after;
        let stays = |member: &Member| {
            let runs = topology.nodes.get(&member.node).is_some_and(|n| n.member() == *member);
            let last = self.replicas.get(member).map_or(self.began, |held| held.came);
            *member == self.me || (runs && now.since(last) < patience)
        };
        let mut set: BTreeSet<Member> =
            shard.promotable.members.iter().filter(|member| stays(member)).copied().collect();
        let joined = self.joining.iter().filter(|(member, from)| {
            self.replicas.get(member).is_some_and(|held| held.offset >= **from)
        });
        set.extend(joined.map(|(member, _)| *member));
        set
    }
}
