//! The sentinel's side: who is down, what is revoked; on the leader also failovers.

mod announce;
mod leader;
mod machine;
mod watch;

pub use machine::SentinelMachine;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slotward_cluster::{Member, ShardId, Topology};
use slotward_types::{Epoch, Millis, NodeId};

use crate::entry::Entry;
use crate::message::{FailoverRequest, Heartbeat, PeerMessage, SentinelId, ToNode, ToSentinel};
use crate::node::{Outcome, PersistId, ProposalId};

/// Tells apart the streams that a node opened one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId(pub u64);

/// What a sentinel keeps on disk besides the Raft log: per shard the highest epoch revoked.
pub type Revocations = BTreeMap<ShardId, Epoch>;

/// What happens to a sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentinelEvent {
    /// Time passes; at least every 10 ms while a stream is closed, else four times per heartbeat.
    Tick,
    /// A node opened a stream (replaces an older one of the same node).
    StreamOpened(StreamId, Member),
    /// A stream ended.
    StreamClosed(StreamId),
    /// A node says, on this stream.
    FromNode(StreamId, ToSentinel),
    /// Another sentinel says.
    FromPeer(SentinelId, PeerMessage),
    /// Who leads the Raft group now (as this one knows), and who its voters are.
    Leader {
        /// The leader, if one is known.
        leader: Option<SentinelId>,
        /// All voters.
        voters: BTreeSet<SentinelId>,
    },
    /// The topology after the log was applied further.
    Applied(Arc<Topology>),
    /// What became of a proposal.
    Proposed(ProposalId, Outcome),
    /// A connection to a node's client port was tried: whether anybody took it.
    Probed(NodeId, bool),
    /// What was to be persisted is on disk.
    Persisted(PersistId),
    /// `SENTINEL FAILOVER` was said to this sentinel.
    FailoverWished(FailoverRequest),
}

/// What a sentinel is to do. Every effect may be performed at once: the machine holds back what
/// must wait for the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentinelEffect {
    /// Write and sync, then say [`SentinelEvent::Persisted`].
    Persist(PersistId, Revocations),
    /// Send to this node, if it has a stream.
    ToNode(NodeId, ToNode),
    /// Send to this sentinel.
    ToPeer(SentinelId, PeerMessage),
    /// Append to the log (only a leader does), then say [`SentinelEvent::Proposed`].
    Propose(ProposalId, Entry),
    /// Try to connect (and close at once), then say [`SentinelEvent::Probed`]; give up after
    /// `reconnect_wait`.
    Probe {
        /// The node.
        node: NodeId,
        /// Its host…
        host: String,
        /// …and client port.
        port: u16,
    },
    /// Publish to subscribers, as Redis's sentinels do.
    Publish {
        /// The channel: `+sdown`, `+switch-master`…
        channel: &'static str,
        /// The message.
        message: String,
    },
}

/// What a sentinel knows of a node, for `SENTINEL MASTERS` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// The last heartbeat of its present run, if one came.
    pub heartbeat: Option<Heartbeat>,
    /// How long ago that was (or the sentinel's start).
    pub silence: Millis,
    /// Whether a stream is open.
    pub connected: bool,
    /// Subjectively down.
    pub sdown: bool,
    /// Objectively down (a master; known to the leader, and to others from the topology's epoch).
    pub odown: bool,
    /// Whether this sentinel, as leader, has a failover of the node's shard in progress.
    pub failing_over: bool,
}

/// What a sentinel is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelConfig {
    /// Which one it is.
    pub id: SentinelId,
    /// What it has revoked before.
    pub revoked: Revocations,
    /// The topology that its log holds so far.
    pub topology: Arc<Topology>,
}
