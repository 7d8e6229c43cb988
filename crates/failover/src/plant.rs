//! Bugs that simulations plant, to see that they would be noticed.
//!
//! Without the feature `plants` there is no switch, and [`planted`] is a constant: a product that
//! could be told to break a rule would not enforce it.

macro_rules! plants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $rule:literal),+ $(,)?) => {
        /// A bug to plant; each takes away a part of one rule (docs/failover.md).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(not(feature = "plants"), allow(dead_code, reason = "nobody can plant them"))]
        pub enum Plant {
            $($(#[doc = $doc])+ $variant),+
        }

        #[cfg(feature = "plants")]
        impl Plant {
            /// All of them.
            pub const ALL: &'static [Plant] = &[$(Plant::$variant),+];

            /// The number of the rule that it breaks.
            pub fn rule(self) -> u32 {
                match self {
                    $(Plant::$variant => $rule),+
                }
            }

            /// What it does.
            pub fn about(self) -> &'static str {
                match self {
                    $(Plant::$variant => concat!($($doc),+).trim_ascii()),+
                }
            }
        }
    };
}

plants! {
    /// A node acts and promises before the epoch is on disk.
    EpochNotDurable = 1,
    /// A sentinel votes before its revocation is on disk.
    RevocationNotDurable = 1,
    /// A sentinel acknowledges epochs that it has revoked.
    AckRevoked = 1,
    /// A sentinel acknowledges every epoch but the one it has revoked.
    NotEqualForGreater = 1,
    /// Whatever entry of the log comes next lifts a revocation.
    RevocationLiftedByVersion = 1,
    /// A lease is counted from the receipt of the acknowledgement.
    LeaseFromReceipt = 2,
    /// Promises last as long as leases, by a clock that may run faster.
    NoDriftMargin = 2,
    /// A sentinel that starts has promised nothing.
    SentinelStartsFree = 2,
    /// A node that starts has promised nothing.
    ReplicaStartsFree = 2,
    /// The leader does not wait for acknowledgements to run out.
    NoLeaseWait = 2,
    /// New voters of the sentinels' group count as if nobody had acknowledged before.
    VotersChangeAtOnce = 2,
    /// One replica's acknowledgement is enough.
    AnyReplica = 3,
    /// The log does not ask whether who is promoted is still in the promotable set.
    NoMembershipTest = 3,
    /// The log changes the promotable set whichever version was meant.
    NoVersionTest = 3,
    /// A proposed member's promise is needed only when the log has taken it.
    ProposedNotNeeded = 3,
    /// The leader promotes whoever answers.
    SetEnlargedByLeader = 3,
    /// A restarted master goes on as if nothing had happened.
    RestartedMasterGoesOn = 4,
    /// A member of the promotable set is known by its node alone.
    MemberByName = 4,
    /// A restarted master goes on if it holds what it was last known to hold.
    ConfirmedByOffset = 4,
    /// The longer history wins, whatever its epoch.
    LongestWins = 5,
    /// A promotion takes the old master out of the set.
    OldMasterDropped = 5,
    /// A candidate does not wait for its own promises to run out.
    NoPromiseWait = 6,
    /// A waiver covers promises to masters of older epochs, too.
    OlderPromiseWaived = 6,
    /// A master whose epoch was promised away is not confirmed.
    PreparedForEver = 7,
    /// A master that has consented resumes when nothing comes of it.
    ConsentWithdrawn = 7,
    /// A new master takes its whole log for held by all.
    InheritedHighWater = 8,
    /// A replica acknowledges for the others, too.
    HeadSpeaksForChain = 8,
    /// A replica is let on where it is if its offset is not ahead.
    OffsetOnlyResync = 9,
    /// A replica of another epoch is taken on the link.
    StaleEpochLink = 9,
    /// A full synchronisation begins by dropping the old copy.
    CopyDroppedFirst = 9,
    /// The lease is tested before the execution only.
    ReplyWithoutTest = 10,
    /// A master counts on acknowledgements of streams that it has closed.
    LeaseOutlivesStream = 10,

    // Slot moves (rule 11).
    /// The source serves the slots again when it has waited too long for a verdict.
    MoveSourceResumes = 11,
    /// A move outlives the failover of a shard, and its commit names no epochs.
    MoveCommitWithoutEpochs = 11,
    /// A commit settles whatever moves to the shard of its proposer.
    MoveCommitWithoutId = 11,
    /// The target proposes the commit before its promotable set holds the slots.
    MoveSetNotAwaited = 11,
    /// Whoever learns late that a move has begun starts its staged copy over.
    MoveLateBegunWipes = 11,
    /// The target takes entries for a copy without looking at whose they are.
    MoveStreamUnchecked = 11,
    /// The owner of a slot is looked up before its lock is taken, and not again.
    MoveOwnerBeforeLock = 11,
    /// A master answers for what it executed in an earlier epoch of its own.
    MoveReplyOfOlderEpoch = 11,
}

/// Asserts what a rule of the protocol demands, in release builds too. Says nothing while a part of
/// that very rule is taken away, so that what follows from that can be seen.
macro_rules! enforced {
    ($rule:literal, $holds:expr, $($text:tt)+) => {
        if !$holds && !$crate::plant::is_broken($rule) {
            panic!("rule {}: {}", $rule, format_args!($($text)+));
        }
    };
}
pub(crate) use enforced;

/// Whether a part of this rule is taken away.
#[cfg(not(feature = "plants"))]
#[inline]
pub(crate) const fn is_broken(_rule: u32) -> bool {
    false
}

/// Whether this bug is planted in what this thread runs.
#[cfg(not(feature = "plants"))]
#[inline]
pub const fn planted(_plant: Plant) -> bool {
    false
}

#[cfg(feature = "plants")]
pub(crate) use switch::is_broken;
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

    /// Whether a part of this rule is taken away.
    pub(crate) fn is_broken(rule: u32) -> bool {
        PLANTED.get().is_some_and(|plant| plant.rule() == rule)
    }

    /// Plants a bug in everything that this thread runs, or none.
    pub fn plant(plant: Option<Plant>) {
        PLANTED.set(plant);
    }
}
