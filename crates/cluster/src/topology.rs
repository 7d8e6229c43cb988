//! The topology: which nodes there are, which shards they form, who owns which slot.
//!
//! Plain data with questions, changed only by applying log entries (`failover::apply`). What is
//! seen of the nodes from moment to moment (offsets, who answers) is not part of it: [`Health`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplOffset, Slot};

use crate::moves::Moves;
use crate::ranges::SlotRanges;

/// One run of a node: what the promotable set and the mastership name. A restarted node is another
/// member, whatever it still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// Names a shard for life. Never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ShardId(pub u64);

impl ShardId {
    /// In the form of `CLUSTER MYSHARDID`: 40 hexadecimal digits.
    pub fn to_hex(self) -> String {
        format!("{:040x}", self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node was started as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeKind {
    /// `cluster-enabled yes`: owns slots, joins by `CLUSTER MEET`.
    Cluster,
    /// `cluster-enabled no`: a member of the one-shard group of this name, by registering.
    Plain {
        /// The group, which is also the name of its shard (`mymaster`).
        group: String,
    },
}

/// A `slotward server` that has registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name for life.
    pub id: NodeId,
    /// Its present run.
    pub incarnation: Incarnation,
    /// Where clients reach it: the announced host…
    pub host: String,
    /// …and port.
    pub port: u16,
    /// The port shown after `@`; nothing needs to listen there.
    pub cport: u16,
    /// What it was started as.
    pub kind: NodeKind,
    /// Whether it has been introduced to the cluster (`CLUSTER MEET`). Until then it shows itself
    /// alone.
    pub met: bool,
    /// Failure domain, a free word; empty if not told.
    pub zone: String,
    /// As Redis's `replica-priority`: a lower one is preferred, 0 is never promoted.
    pub priority: u32,
    /// What `CLUSTER SET-CONFIG-EPOCH` said while the node had no shard.
    pub config_epoch: Epoch,
}

impl Node {
    /// The node in its present run.
    pub fn member(&self) -> Member {
        Member { node: self.id, incarnation: self.incarnation }
    }

    /// Whether it was started with `cluster-enabled yes`.
    pub fn is_cluster(&self) -> bool {
        self.kind == NodeKind::Cluster
    }
}

/// Whether a shard may hold data yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No master of it has ever accepted a write: any member may become master.
    New,
    /// It has served: only members of the promotable set may become master.
    Served,
}

/// Which runs of which nodes may become master; always includes the master itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotableSet {
    /// Raised by every change.
    pub version: u64,
    /// The members.
    pub members: BTreeSet<Member>,
}

/// Where the history of a shard's new master leaves that of the one before: what the old master
/// executed from `taken` to `end` is not part of the shard's data any more. Replication does not
/// wait, so this can happen in every failover without the old master's consent; it is written down
/// instead of being passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The offset up to which both histories are the same.
    pub taken: ReplOffset,
    /// Where the old master's history ended, never before `taken`.
    pub end: ReplOffset,
    /// Whether the old master itself said so once it executed nothing more. If not, it got at
    /// least as far as `end`: the last that was heard of it.
    pub exact: bool,
}

impl Cut {
    /// How many bytes of the old master's log were not taken over; if the cut is not exact, at
    /// least as many.
    pub fn lost_bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.taken.0)
    }
}

/// A change of a shard's master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The epoch that it began.
    pub epoch: Epoch,
    /// Who was master.
    pub from: Member,
    /// Who became it.
    pub to: Member,
    /// What was left behind.
    pub cut: Cut,
}

/// How many of its last takeovers a shard remembers.
pub const TAKEOVERS_MAX: usize = 8;

/// A master and its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name for life.
    pub id: ShardId,
    /// What operators call it: `shard-1`, `mymaster`.
    pub name: String,
    /// Raised whenever the master changes or is confirmed anew.
    pub epoch: Epoch,
    /// Who may accept writes in this epoch.
    pub master: Member,
    /// Whether the promotion of this epoch waived the promises made to the master of the epoch
    /// before: that master was known to be gone, or had consented.
    pub waived: bool,
    /// The nodes of the shard, master included.
    pub members: BTreeSet<NodeId>,
    /// Who may be promoted.
    pub promotable: PromotableSet,
    /// The slots it owns; none in a plain group.
    pub slots: SlotRanges,
    /// Whether it may hold data.
    pub phase: Phase,
    /// Its last changes of master, the newest last; at most [`TAKEOVERS_MAX`].
    pub takeovers: Vec<Takeover>,
}

impl Shard {
    /// The last change of master, if there was one.
    pub fn last_takeover(&self) -> Option<&Takeover> {
        self.takeovers.last()
    }

    /// Up to which offset a history, whose last entry is of `epoch` and which ends at `offset`, is
    /// the same as that of the present master.
    pub fn shared_with(&self, epoch: Epoch, offset: ReplOffset) -> ReplOffset {
        if epoch == Epoch(0) {
            return ReplOffset(0);
        }
        // Whoever has not followed a takeover may hold what that takeover left behind.
        let later = self.takeovers.iter().filter(|takeover| takeover.epoch > epoch);
        later.map(|takeover| takeover.cut.taken).fold(offset, ReplOffset::min)
    }

    /// The members other than the master.
    pub fn replicas(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().copied().filter(|&node| node != self.master.node)
    }
}

/// How long things may take, and how sure we want to be. Part of the log, so that all agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between two heartbeats of a node.
    pub heartbeat: Millis,
    /// How long an acknowledgement keeps a master serving, counted from when it sent.
    pub lease: Millis,
    /// By how much two clocks may differ in speed, in percent of a lease.
    pub drift_percent: u32,
    /// Silence after which a sentinel holds a node down.
    pub down_after: Millis,
    /// How long a closed stream may take to come back before the fast path counts it as a death.
    pub reconnect_wait: Millis,
    /// Whether leases are waited out even when the master's process is known to have ended.
    pub fencing_strict: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Millis(100),
            lease: Millis(1000),
            drift_percent: 10,
            down_after: Millis(1200),
            reconnect_wait: Millis(50),
            fencing_strict: false,
        }
    }
}

/// Times that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTiming {
    /// The heartbeat interval is zero.
    #[error("the heartbeat interval must be at least 1 ms")]
    NoHeartbeat,
    /// Fewer than four heartbeats in a lease.
    #[error("lease must hold at least four heartbeats")]
    LeaseTooShort,
    /// A node would be held down while it may hold a lease.
    #[error("down-after must be at least the lease and its drift margin")]
    DownAfterTooShort,
    /// A time beyond a day, or a margin beyond 100 %.
    #[error("a time of more than a day or a drift margin of more than 100 percent")]
    TooLong,
}

impl Timing {
    /// How long whoever acknowledged must wait: the lease with its drift margin.
    pub fn promise(&self) -> Millis {
        self.promise_for(self.lease)
    }

    /// The same for a master that counts on `lease` (which it says in its messages, so that a
    /// change of the setting cannot make the two sides differ).
    pub fn promise_for(&self, lease: Millis) -> Millis {
        let lease = lease.max(self.lease).0;
        Millis(lease + (lease * u64::from(self.drift_percent)).div_ceil(100))
    }

    /// Checks that the times fit together.
    ///
    /// # Errors
    /// Says which do not.
    pub fn check(&self) -> Result<(), InvalidTiming> {
        const DAY: Millis = Millis(86_400_000);
        if self.heartbeat.0 == 0 {
            return Err(InvalidTiming::NoHeartbeat);
        }
        if self.drift_percent > 100
            || [self.heartbeat, self.lease, self.down_after, self.reconnect_wait]
                .iter()
                .any(|&time| time > DAY)
        {
            return Err(InvalidTiming::TooLong);
        }
        if self.lease.0 < self.heartbeat.0 * 4 {
            return Err(InvalidTiming::LeaseTooShort);
        }
        if self.down_after < self.promise() {
            return Err(InvalidTiming::DownAfterTooShort);
        }
        Ok(())
    }
}

/// Who owns what, as of one entry of the sentinels' log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topology {
    /// The index of the last entry that changed it.
    pub version: u64,
    /// Every registered node.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Every shard.
    pub shards: BTreeMap<ShardId, Shard>,
    /// How many shards there have ever been: the next one's id.
    pub shards_ever: u64,
    /// The times all keep.
    pub timing: Timing,
    /// Slots on their way from shard to shard.
    pub moves: Moves,
}

impl Topology {
    /// The shard that the node is a member of.
    pub fn shard_of(&self, node: NodeId) -> Option<&Shard> {
        self.shards.values().find(|shard| shard.members.contains(&node))
    }

    /// The shard that owns the slot.
    pub fn owner_of(&self, slot: Slot) -> Option<&Shard> {
        self.shards.values().find(|shard| shard.slots.contains(slot))
    }

    /// The shard of this name; the only shard there is also answers to `mymaster`.
    pub fn shard_named(&self, name: &str) -> Option<&Shard> {
        let only = || self.shards.values().next().filter(|_| self.shards.len() == 1);
        let named = self.shards.values().find(|shard| shard.name == name);
        named.or_else(|| only().filter(|_| name == "mymaster"))
    }

    /// The node that announced this address.
    pub fn node_at(&self, host: &str, port: u16) -> Option<&Node> {
        self.nodes.values().find(|node| node.host == host && node.port == port)
    }

    /// The same as somebody sees it who reaches every node at this one host, at the announced ports.
    #[must_use]
    pub fn seen_at(&self, host: &str) -> Topology {
        let mut topology = self.clone();
        for node in topology.nodes.values_mut() {
            host.clone_into(&mut node.host);
        }
        topology
    }

    /// The highest epoch in use (`cluster_current_epoch`).
    pub fn current_epoch(&self) -> Epoch {
        let shards = self.shards.values().map(|shard| shard.epoch);
        let nodes = self.nodes.values().map(|node| node.config_epoch);
        shards.chain(nodes).max().unwrap_or_default()
    }

    /// How many slots have an owner.
    pub fn slots_assigned(&self) -> usize {
        self.shards.values().map(|shard| shard.slots.count()).sum()
    }

    /// The nodes that `viewer` knows: itself alone until it was met, then all that were met.
    /// Without a viewer (a sentinel asks): every cluster node that was met or owns slots.
    pub fn visible_to(&self, viewer: Option<NodeId>) -> Vec<&Node> {
        let met = |node: &&Node| node.met && node.is_cluster();
        match viewer {
            None => self
                .nodes
                .values()
                .filter(|node| node.is_cluster() && (node.met || self.shard_of(node.id).is_some()))
                .collect(),
            Some(me) => match self.nodes.get(&me) {
                Some(myself) if !met(&myself) => vec![myself],
                _ => self.nodes.values().filter(met).collect(),
            },
        }
    }
}

/// Whether a node answers, as the sentinels see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Liveness {
    /// It is heard.
    #[default]
    Online,
    /// The sentinel that tells does not hear it (`fail?`).
    Suspected,
    /// A majority of sentinels does not hear it (`fail`).
    Failed,
}

/// What is seen of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Whether it answers.
    pub liveness: Liveness,
    /// Its replication offset, when last heard.
    pub offset: ReplOffset,
    /// Whether it is busy with a full synchronisation.
    pub loading: bool,
}

/// What is seen of the nodes; a node that is absent is taken to be online.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health(pub BTreeMap<NodeId, NodeHealth>);

impl Health {
    /// What is seen of this node.
    pub fn of(&self, node: NodeId) -> NodeHealth {
        self.0.get(&node).copied().unwrap_or_default()
    }
}
