//! What nodes and sentinels tell each other. How it travels is `proto`'s business.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slotward_cluster::{Health, Member, ShardId, Topology};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplId, ReplOffset};

/// A sentinel: its number in the Raft group.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SentinelId(pub u64);

/// What a node does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    /// It is in no shard.
    Unassigned,
    /// It is the master of its shard in the epoch it says, lease or not.
    Master,
    /// It follows its master, or tries to.
    Replica,
    /// It has promised a newer epoch (or has restarted as master) and waits for a verdict.
    Halted,
}

/// How a replica's link to its master is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// There is none to have.
    None,
    /// Not connected.
    Down,
    /// In a full synchronisation.
    Syncing,
    /// Following.
    Up,
    /// The master's process is known to have ended.
    Gone,
}

/// How far a node's history goes: ordered by the epoch of its last entry, then by its offset
/// (rule 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct History {
    /// The newest epoch whose master's history this is a prefix of.
    pub epoch: Epoch,
    /// How far.
    pub offset: ReplOffset,
}

/// What a node tells every sentinel, every heartbeat interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub from: Member,
    /// Raised by one with every heartbeat of this run.
    pub seq: u64,
    /// The shard it thinks it is in.
    pub shard: Option<ShardId>,
    /// The epoch it acts in.
    pub epoch: Epoch,
    /// The highest epoch it has promised or seen.
    pub promised: Epoch,
    /// What it does.
    pub role: NodeRole,
    /// Its replication id.
    pub repl_id: ReplId,
    /// How far its history goes.
    pub history: History,
    /// Its link to its master.
    pub link: LinkState,
    /// The lease it counts on if this is acknowledged.
    pub lease: Millis,
    /// Whether it accepts writes at this moment.
    pub serving: bool,
    /// The version of the topology it has.
    pub topology: u64,
}

/// A node to a sentinel, on its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSentinel {
    /// It lives.
    Heartbeat(Heartbeat),
    /// Its answer to [`ToNode::Prepare`].
    Prepared(Prepared),
    /// `CLUSTER FAILOVER` was said to it, or it is being stopped.
    Failover(FailoverRequest),
}

/// A sentinel to a node, on the node's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// A heartbeat arrived.
    Ack(Ack),
    /// A newer topology.
    Topology(Arc<Topology>),
    /// What the sentinel sees of the nodes, for `CLUSTER NODES` and the like.
    Health(Arc<Health>),
    /// Promise an epoch.
    Prepare(Prepare),
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which sentinel.
    pub sentinel: SentinelId,
    /// How many sentinels the group has, as far as this one knows.
    pub voters: u32,
    /// Which run's…
    pub incarnation: Incarnation,
    /// …which heartbeat.
    pub seq: u64,
    /// The epoch in which it counts towards a lease; none if it does not.
    pub lease: Option<Epoch>,
}

/// "Promise this epoch: stop what you do in older ones, and say how far you are."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The shard.
    pub shard: ShardId,
    /// The epoch to promise.
    pub epoch: Epoch,
    /// A replica goes on following until it has this much (a manual failover: what the consenting
    /// master has).
    pub catch_up: Option<ReplOffset>,
}

/// "I have promised", sent after the promise is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Who.
    pub from: Member,
    /// The shard.
    pub shard: ShardId,
    /// The epoch promised.
    pub epoch: Epoch,
    /// How far its history goes, and will go until the epoch begins.
    pub history: History,
    /// Whether its link to the master of the epoch before ended with that master's process.
    pub master_gone: bool,
    /// Whether it was itself the serving master of the epoch before, in this run.
    pub was_master: bool,
}

/// How a failover that somebody asks for goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailoverMode {
    /// The master hands over: pauses, lets the successor catch up, consents.
    HandOver,
    /// Without the master's consent (`FORCE`, and `TAKEOVER`, which cannot bypass the log here):
    /// the sentinels revoke its epoch and wait its lease out.
    Force,
}

/// Somebody asks for a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverRequest {
    /// Of which shard.
    pub shard: ShardId,
    /// In which epoch it was asked for; void in any other, so that a request that arrives twice
    /// counts once.
    pub epoch: Epoch,
    /// To which node; to the best one if not told.
    pub to: Option<NodeId>,
    /// How.
    pub mode: FailoverMode,
}

/// A sentinel to a sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// To every sentinel: the sender has durably revoked the epoch.
    Vote(Vote),
    /// To the leader: passed on from whom it was said to.
    Failover(FailoverRequest),
    /// From the leader: revoke this epoch and vote (a forced failover).
    Revoke {
        /// The shard.
        shard: ShardId,
        /// The epoch to revoke.
        epoch: Epoch,
    },
}

/// "I acknowledge nothing in this epoch any more." Repeated while the epoch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The shard.
    pub shard: ShardId,
    /// The epoch revoked.
    pub epoch: Epoch,
    /// For how long an acknowledgement given earlier may still count.
    pub ack_left: Millis,
    /// Whether the master's process is known to have ended.
    pub gone: bool,
    /// Whether the sender hears the master (again).
    pub hears: bool,
}

/// The master to its replicas on the replication stream, with every heartbeat interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasePing {
    /// The master.
    pub from: Member,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its clock when it sent; echoed, never interpreted by others.
    pub sent: Millis,
    /// The lease it counts on.
    pub lease: Millis,
}

/// A replica to its master: what it holds, and the promise not to serve before that lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAck {
    /// The replica.
    pub from: Member,
    /// The epoch it was asked in.
    pub epoch: Epoch,
    /// The master's clock, echoed.
    pub sent: Millis,
    /// How much it holds.
    pub offset: ReplOffset,
}
