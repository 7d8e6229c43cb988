//! Bugs that simulations plant, to see that they would be noticed.
//!
//! Without the feature `plants` there is no switch, and [`planted`] is a constant: a product that
//! could be told to break a rule would not enforce it.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "plants"), allow(dead_code, reason = "nobody can plant them"))]
pub enum Plant {
    /// A lease is counted from the receipt of the acknowledgement (rule 2).
    LeaseFromReceipt,
    /// A candidate does not wait for its own promises to run out (rule 6).
    NoPromiseWait,
    /// One replica's acknowledgement is enough (rule 3).
    AnyReplica,
    /// The leader does not wait for acknowledgements to run out.
    NoLeaseWait,
    /// A restarted master goes on as if nothing had happened (rule 4).
    RestartedMasterGoesOn,
    /// A sentinel acknowledges epochs that it has revoked (rule 1).
    AckRevoked,

    // Slot moves (rule 11).
    /// The source serves the slots again when it has waited too long for a verdict.
    MoveSourceResumes,
    /// A move outlives the failover of a shard, and its commit names no epochs.
    MoveCommitWithoutEpochs,
    /// A commit settles whatever moves to the shard of its proposer.
    MoveCommitWithoutId,
    /// The target proposes the commit before its promotable set holds the slots.
    MoveSetNotAwaited,
    /// Whoever learns late that a move has begun starts its staged copy over.
    MoveLateBegunWipes,
    /// The target takes entries for a copy without looking at whose they are.
    MoveStreamUnchecked,
    /// The owner of a slot is looked up before its lock is taken, and not again.
    MoveOwnerBeforeLock,
    /// A master answers for what it executed in an earlier epoch of its own (rule 10).
    MoveReplyOfOlderEpoch,
}

/// Whether this bug is planted in what this thread runs.
#[cfg(not(feature = "plants"))]
#[inline]
pub const fn planted(_plant: Plant) -> bool {
    false
}

#[cfg(feature = "plants")]
pub use switch::{plant, planted};

#[cfg(feature = "plants")]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in what this thread runs.
    #[inline]
    pub fn planted(plant: Plant) -> bool {
        PLANTED.get() == Some(plant)
    }

    /// Plants a bug in everything that this thread runs, or none.
    pub fn plant(plant: Option<Plant>) {
        PLANTED.set(plant);
    }
}
