//! The entries of the sentinels' log: every one conditional, so that a decision taken on an old
//! picture is refused when its turn comes (rule 3).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use slotward_cluster::{Cut, Member, MoveId, NodeKind, ShardId, SlotRanges, Timing};
use slotward_types::{Epoch, NodeId, ReplOffset};

/// A change of the topology, as somebody wishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A node is there: for the first time, in a new incarnation, or at a new address. A node of a
    /// plain group becomes the group's master if it is the first, else its replica.
    Register(Registration),
    /// `CLUSTER MEET` said to `by`: it and the node at that address belong to the cluster.
    Meet {
        /// Who was told.
        by: NodeId,
        /// The address to meet…
        host: String,
        /// …and its client port.
        port: u16,
    },
    /// `CLUSTER FORGET` said to `by`.
    Forget {
        /// Who was told.
        by: NodeId,
        /// Whom to forget.
        node: NodeId,
    },
    /// `CLUSTER ADDSLOTS`, `ADDSLOTSRANGE`: the node's shard takes unowned slots; a node without a
    /// shard becomes the master of a new one.
    AddSlots {
        /// Who was told.
        node: Member,
        /// Which slots.
        slots: SlotRanges,
    },
    /// `CLUSTER DELSLOTS`, `DELSLOTSRANGE`, `FLUSHSLOTS`: the master gives up slots of its own.
    DelSlots {
        /// Who was told.
        node: Member,
        /// Which slots.
        slots: SlotRanges,
    },
    /// `CLUSTER SET-CONFIG-EPOCH`.
    SetConfigEpoch {
        /// Who was told.
        node: Member,
        /// The epoch wished for.
        epoch: Epoch,
    },
    /// `CLUSTER BUMPEPOCH`: the shard's epoch becomes the highest, under the same master.
    BumpEpoch {
        /// Who was told.
        node: Member,
    },
    /// `CLUSTER REPLICATE`: the node becomes a replica in the shard of `master`.
    Replicate {
        /// Who was told.
        node: Member,
        /// Whom to replicate.
        master: NodeId,
    },
    /// `CLUSTER RESET`: the node leaves its shard (a shard whose master leaves is dissolved) and
    /// the cluster.
    Reset {
        /// Who was told.
        node: Member,
    },
    /// The master of a new shard is about to accept the first write ever.
    Serve {
        /// The shard.
        shard: ShardId,
        /// Its epoch, as the master believes.
        epoch: Epoch,
        /// The master.
        by: Member,
    },
    /// The master changes who may be promoted.
    SetPromotable {
        /// The shard.
        shard: ShardId,
        /// Its epoch, as the master believes.
        epoch: Epoch,
        /// The set's version, as the master believes.
        version: u64,
        /// The master.
        by: Member,
        /// The set wished for; includes the master.
        members: BTreeSet<Member>,
    },
    /// The shard's epoch becomes the next one, under this master.
    Promote {
        /// The shard.
        shard: ShardId,
        /// The epoch that ends, as the leader believes.
        epoch: Epoch,
        /// The new master, or the same again.
        to: Member,
        /// Why that is safe.
        basis: Basis,
        /// Where the histories part, as the leader knows; none if the master stays, or if there is
        /// no history.
        cut: Option<Cut>,
    },
    /// New times for everybody.
    SetTiming(Timing),
    /// A replica that is being stopped: from here on nobody promotes it, and its master's lease does
    /// not wait for it. Says so for itself; the master goes on needing its promises until it has
    /// learned of this (rule 3).
    StepBack {
        /// The replica.
        node: Member,
    },
    /// A deposed master, in the run in which it was master, says where its history ended: nothing
    /// was executed after that, and it is about to follow its successor.
    ReportEnd {
        /// The shard.
        shard: ShardId,
        /// The epoch that deposed it.
        epoch: Epoch,
        /// Who speaks.
        by: Member,
        /// Where its history ended.
        end: ReplOffset,
    },
    /// Slots begin to move. The entry's place in the log gives the move its id.
    BeginMove {
        /// Which slots.
        slots: SlotRanges,
        /// The shard that owns them…
        source: ShardId,
        /// …in this epoch, as the proposer believes.
        source_epoch: Epoch,
        /// The shard that is to own them…
        target: ShardId,
        /// …in this epoch, as the proposer believes.
        target_epoch: Epoch,
    },
    /// The target's master holds the slots, and whoever must: their owner changes (rule 11).
    CommitMove {
        /// Exactly this move.
        id: MoveId,
        /// The source's epoch, in which the copy was made.
        source_epoch: Epoch,
        /// The target's epoch, in which it was staged.
        target_epoch: Epoch,
        /// The target's master.
        by: Member,
    },
    /// The slots stay where they are. Anybody may say so at any time before the commit: the source
    /// that waited too long, the target that cannot hold them, an operator.
    CancelMove {
        /// Exactly this move.
        id: MoveId,
    },
}

/// What a node says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The node and its present run.
    pub member: Member,
    /// Announced host.
    pub host: String,
    /// Announced client port.
    pub port: u16,
    /// The port shown after `@`.
    pub cport: u16,
    /// What it was started as.
    pub kind: NodeKind,
    /// Failure domain, may be empty.
    pub zone: String,
    /// As `replica-priority`; 0 is never promoted.
    pub priority: u32,
}

/// Why a promotion is safe: what the leader has made sure of before it proposes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// A majority of sentinels revoked the epoch and their acknowledgements have run out. The
    /// candidate waits out its own promises.
    RanOut,
    /// A majority of sentinels and the candidate saw the master's process end (the fast path).
    Gone,
    /// The master itself promised the next epoch before it answered.
    Consent,
    /// The same run of the same master goes on.
    Confirmed,
    /// Every member of the set and the old master has restarted and answered: the longest history.
    AllRestarted,
    /// The shard has never served.
    NeverServed,
}

impl Basis {
    /// Whether the candidate may forget the promises it made to the master of the epoch that ends
    /// (never older ones: rule 6).
    pub fn waives_promises(self) -> bool {
        matches!(self, Basis::Gone | Basis::Consent)
    }
}

/// What an applied entry changed, for those who announce it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node registered, restarted or moved.
    Node(NodeId),
    /// A node is gone from the topology.
    NodeForgotten(NodeId),
    /// A shard came to be.
    ShardCreated(ShardId),
    /// A shard is gone.
    ShardDissolved(ShardId),
    /// A shard has other slots.
    Slots(ShardId),
    /// A shard has other members.
    Members(ShardId),
    /// A shard has another promotable set.
    Promotable(ShardId),
    /// A shard has a new epoch, and perhaps another master.
    Epoch {
        /// The shard.
        shard: ShardId,
        /// Who was master.
        from: Member,
        /// Who is.
        to: Member,
        /// From which epoch on.
        epoch: Epoch,
    },
    /// More is known of what a change of master left behind.
    Takeover {
        /// The shard.
        shard: ShardId,
        /// The epoch that the change began.
        epoch: Epoch,
    },
    /// A shard is about to serve for the first time.
    Served(ShardId),
    /// Other times.
    Timing,
    /// Slots begin to move.
    MoveBegun(MoveId),
    /// They have another owner.
    MoveCommitted(MoveId),
    /// They stay.
    MoveCancelled(MoveId),
}

/// Why an entry was not applied. The text is what a client is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// The epoch has moved on since the decision.
    #[error("ERR the shard is in epoch {0}, not in the one this was decided in")]
    StaleEpoch(Epoch),
    /// The promotable set has moved on since the decision.
    #[error("ERR the promotable set has version {0}, not the one this was decided on")]
    StaleVersion(u64),
    /// The proposer is not the run of the node that the topology knows.
    #[error("ERR this run of the node is not the registered one")]
    StaleIncarnation,
    /// Only the shard's master may do that.
    #[error("ERR not the master of this shard")]
    NotMaster,
    /// The candidate may not be promoted.
    #[error("ERR the candidate is not in the promotable set")]
    NotPromotable,
    /// No such shard.
    #[error("ERR no such shard")]
    UnknownShard,
    /// No such node.
    #[error("ERR Unknown node {0}")]
    UnknownNode(NodeId),
    /// Nobody registered that address.
    #[error(
        "ERR No node at {host}:{port} has registered with the sentinels; start it with the same \
         sentinels"
    )]
    UnknownAddress {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
    },
    /// The slot has an owner.
    #[error("ERR Slot {0} is already busy")]
    SlotBusy(u16),
    /// The slot is not the proposer's to give up.
    #[error("ERR Slot {0} is already unassigned")]
    SlotUnassigned(u16),
    /// Anything else, in the words for the client.
    #[error("ERR {0}")]
    Refused(String),
    /// The slot is on its way to another shard.
    #[error("ERR Slot {0} is being moved")]
    SlotMoving(u16),
    /// That move is not running: it was settled, or never begun.
    #[error("ERR slot move {0} is not running")]
    UnknownMove(MoveId),
}
