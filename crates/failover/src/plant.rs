//! Bugs that tests plant, to see that the tests would notice them. Absent from real builds.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests plant bugs"))]
pub(crate) enum Plant {
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
}

#[cfg(not(test))]
pub(crate) const fn planted(_plant: Plant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{plant, planted};

#[cfg(test)]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(plant: Plant) -> bool {
        PLANTED.get() == Some(plant)
    }

    /// Plants a bug in everything that this thread runs.
    pub(crate) fn plant(plant: Option<Plant>) {
        PLANTED.set(plant);
    }
}
