//! The data node's side: its role, its epoch, its leases and its promises.

mod machine;
mod master;

pub use machine::NodeMachine;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slotward_cluster::{Member, ShardId, Topology};
use slotward_types::{Epoch, Millis, ReplId, ReplOffset};

use crate::entry::{Entry, Registration, Rejected};
use crate::message::{FailoverMode, LeaseAck, LeasePing, SentinelId, ToNode, ToSentinel};

/// Names a write to disk, so that its end can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PersistId(pub u64);

/// Names a proposal, so that its outcome can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ProposalId(pub u64);

/// Names an order to halt, so that its end can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HaltId(pub u64);

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Committed and applied.
    Applied,
    /// Committed, and refused when its turn came.
    Rejected(Rejected),
    /// Nobody can say: it may still be applied, or never.
    Unknown,
}

/// What a node keeps on disk besides its id and its incarnation: the highest epoch it has seen or
/// promised, and in which shard (ids of shards are never used twice).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeState {
    /// The shard.
    pub shard: Option<ShardId>,
    /// The epoch.
    pub epoch: Epoch,
}

/// What a node is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// How it registers; `member.incarnation` has been raised and persisted for this start.
    pub registration: Registration,
    /// How many sentinels it was told of; 0 makes it its own authority, which needs no lease.
    pub sentinels: u32,
    /// What it kept.
    pub state: NodeState,
    /// The newest epoch of the data it still holds; 0 if it starts empty.
    pub history_epoch: Epoch,
    /// How much a replica may lack and yet be proposed for the promotable set.
    pub lag_bytes_max: u64,
    /// How long a graceful stop waits for a successor.
    pub stop_wait: Millis,
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// Time passes; at least four times per heartbeat interval.
    Tick,
    /// A stream to this sentinel was opened.
    SentinelUp(SentinelId),
    /// The stream to this sentinel ended.
    SentinelDown(SentinelId),
    /// A sentinel says.
    FromSentinel(SentinelId, ToNode),
    /// What was to be persisted is on disk.
    Persisted(PersistId),
    /// What became of a proposal.
    Proposed(ProposalId, Outcome),
    /// Following or serving has stopped as ordered; nothing more will be applied.
    Halted(HaltId),
    /// The data plane was master in this epoch and has been made to follow: nothing was executed
    /// after this offset, and what is there beyond the new master's history is discarded now.
    HistoryEnded {
        /// The epoch.
        epoch: Epoch,
        /// Where its log ended.
        end: ReplOffset,
    },
    /// The link to the master of this epoch has synchronised: our history is a prefix of its.
    LinkUp {
        /// The epoch in which the handshake was made.
        epoch: Epoch,
    },
    /// A full synchronisation with the master of this epoch has begun.
    LinkSyncing {
        /// The epoch in which the handshake was made.
        epoch: Epoch,
    },
    /// The link to the master ended, or could not be made.
    LinkDown {
        /// Whether it was there and the other side closed it.
        closed: bool,
    },
    /// A connection to the master's address was tried: whether anybody took it.
    MasterProbed {
        /// Which epoch's master.
        epoch: Epoch,
        /// Whether the connection was accepted.
        reached: bool,
    },
    /// As a replica: the master's clock arrived on the link.
    LeasePing(LeasePing),
    /// As a master: a replica acknowledged on its link.
    LeaseAck(LeaseAck),
    /// As a master: this node has closed the link of a replica, which may take that for our end.
    ReplicaGone {
        /// The replica.
        member: Member,
        /// The epoch of the link.
        epoch: Epoch,
    },
    /// `CLUSTER FAILOVER` was said to this replica.
    FailoverWished(FailoverMode),
    /// The process is asked to stop (`SIGTERM`).
    StopWished,
    /// It is not to stop after all. A hand-over that has begun goes on.
    StopCancelled,
}

/// What a node is to do. Every effect may be performed at once: the machine holds back what must
/// wait for the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEffect {
    /// Write and sync, then say [`NodeEvent::Persisted`].
    Persist(PersistId, NodeState),
    /// Send to every sentinel with an open stream.
    Broadcast(ToSentinel),
    /// Send to this sentinel.
    Send(SentinelId, ToSentinel),
    /// Put before the sentinels, then say [`NodeEvent::Proposed`].
    Propose(ProposalId, Entry),
    /// Follow this master in this epoch (partial resynchronisation if the history is a prefix);
    /// refuse handshakes of other epochs. Replaces any earlier order.
    Follow {
        /// The epoch that the handshake carries.
        epoch: Epoch,
        /// The master.
        master: Member,
        /// Its host…
        host: String,
        /// …and port.
        port: u16,
    },
    /// Apply everything received, begin a history of our own in this epoch. Writes are still
    /// refused until [`NodeEffect::AcceptWrites`].
    BecomeMaster {
        /// The epoch.
        epoch: Epoch,
    },
    /// Be a master of nothing: in no shard.
    Detach,
    /// Stop following, finish what was received, then say [`NodeEvent::Halted`]. As a master: let
    /// no further command execute, have the replies of those that were executed leave under the
    /// lease that holds, give up that lease, then say so; followers keep the link for the rest of
    /// the log. Nothing is promised to anybody before that is said.
    Halt(HaltId),
    /// Writes may be executed and answered in this epoch until the lease ends.
    AcceptWrites {
        /// The epoch.
        epoch: Epoch,
        /// Until when; `Millis(u64::MAX)` without end.
        until: Millis,
    },
    /// The same lease, longer.
    Lease {
        /// The epoch.
        epoch: Epoch,
        /// Until when.
        until: Millis,
    },
    /// Execute and answer nothing more; drop replies that wait.
    RefuseWrites,
    /// Publish this topology to the data plane.
    Publish(Arc<Topology>),
    /// Send to every replica on the replication stream.
    PingReplicas(LeasePing),
    /// Answer the master on the replication link.
    AnswerMaster(LeaseAck),
    /// Try to connect to the master's address, then say [`NodeEvent::MasterProbed`].
    ProbeMaster {
        /// The epoch it is master of.
        epoch: Epoch,
        /// Its host…
        host: String,
        /// …and port.
        port: u16,
    },
    /// The process may end, once it executes nothing more and what it executed is answered.
    Stop,
}

/// What the shell reads from the data plane before each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlane {
    /// The replication id of the present history.
    pub repl_id: ReplId,
    /// How far the log goes (a replica: received and applied).
    pub offset: ReplOffset,
}
