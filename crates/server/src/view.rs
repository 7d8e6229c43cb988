//! What this node may do at this moment: its role, its epoch, its lease, the slots it serves.
//!
//! Written by the control plane (or, in a standalone node, by `REPLICAOF`), read by the workers
//! with every command. Decides nothing itself.
//!
//! **Invariant:** a reply leaves the node only if role and epoch are those under which its command
//! was executed, and a master's lease still holds (rule 10 of the failover protocol).

use std::sync::atomic::{AtomicU64, Ordering};

use slotward_types::{Epoch, Millis, Slot};

use crate::clock;

const MASTER: u64 = 1 << 63;
const MANAGED: u64 = 1 << 62;
const EPOCH: u64 = MANAGED - 1;

/// Role and epoch, read in one piece. Equal words are the same term of the same role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoleWord(u64);

impl RoleWord {
    /// Whether the node is master (else it is a replica, or nothing yet).
    pub(crate) const fn is_master(self) -> bool {
        self.0 & MASTER != 0
    }

    /// Whether sentinels decide the role, so that a master needs a lease.
    pub(crate) const fn is_managed(self) -> bool {
        self.0 & MANAGED != 0
    }

    /// The shard's epoch in which the node has this role.
    pub(crate) const fn epoch(self) -> Epoch {
        Epoch(self.0 & EPOCH)
    }
}

/// Role, epoch and lease of this node.
#[derive(Debug)]
pub(crate) struct RoleView {
    word: AtomicU64,
    lease_until: AtomicU64,
}

impl RoleView {
    /// A master that needs no lease, or a node that waits for its sentinels to give it a role (it
    /// serves nothing until they do).
    pub(crate) fn new(managed: bool) -> Self {
        RoleView {
            word: AtomicU64::new(if managed { MANAGED } else { MASTER }),
            lease_until: AtomicU64::new(if managed { 0 } else { u64::MAX }),
        }
    }

    /// From now on sentinels decide the role; until they give it one the node serves nothing. To be
    /// called inside the worker barrier, so that what was executed before has been answered for.
    pub(crate) fn manage(&self) {
        self.lease_until.store(0, Ordering::SeqCst);
        self.word.store(MANAGED, Ordering::SeqCst);
    }

    /// Role and epoch now.
    #[inline]
    pub(crate) fn load(&self) -> RoleWord {
        RoleWord(self.word.load(Ordering::Acquire))
    }

    /// Takes a role in an epoch. Ends the lease of the role before, if there was one.
    ///
    /// Commands that are being executed at this moment may still take effect: who needs that none
    /// does (a demotion that goes on to follow another master) runs the worker barrier after it.
    ///
    /// Epochs are a shard's: they fall when the node moves to another shard.
    pub(crate) fn set_role(&self, master: bool, epoch: Epoch) {
        let before = self.load();
        assert!(epoch.0 <= EPOCH, "epoch {epoch} is out of range");
        if before.is_managed() {
            self.lease_until.store(0, Ordering::SeqCst);
        }
        let role = if master { MASTER } else { 0 };
        self.word.store(role | (before.0 & MANAGED) | epoch.0, Ordering::SeqCst);
    }

    /// Holds the lease up to this moment of the steady clock. It may become shorter: a master whom
    /// nobody could succeed holds it without end until it gets a successor.
    pub(crate) fn set_lease(&self, until: Millis) {
        self.lease_until.store(until.0, Ordering::SeqCst);
    }

    /// Gives the lease up at once.
    pub(crate) fn end_lease(&self) {
        self.lease_until.store(0, Ordering::SeqCst);
    }

    /// Whether a node with this role may execute commands on data now. Reads the clock only for a
    /// managed master.
    #[inline]
    pub(crate) fn holds_lease(&self, word: RoleWord) -> bool {
        if !word.is_managed() || !word.is_master() {
            return true;
        }
        clock::boot_now().0 < self.lease_until.load(Ordering::SeqCst)
    }

    /// Whether replies of commands executed under `word` may leave the node now.
    #[inline]
    pub(crate) fn may_reply(&self, word: RoleWord) -> bool {
        if !word.is_managed() {
            return true;
        }
        // The lease first: a role that changes after it was read has ended the lease before.
        self.holds_lease(word) && self.word.load(Ordering::SeqCst) == word.0
    }
}

/// The slots whose keys this node serves without further question, one bit each. All of them
/// outside cluster mode.
///
/// A bit is set or cleared by the control plane; a command looks under the lock of the slot. To be
/// sure that no command still runs in a slot just cleared, lock the slot or run the barrier after.
#[derive(Debug)]
pub(crate) struct ServedSlots {
    bits: Box<[AtomicU64]>,
}

impl ServedSlots {
    /// All slots (outside cluster mode), or none until a slot map says so.
    pub(crate) fn new(all: bool) -> Self {
        let word = if all { u64::MAX } else { 0 };
        let words = usize::from(Slot::COUNT) / 64;
        ServedSlots { bits: (0..words).map(|_| AtomicU64::new(word)).collect() }
    }

    /// Whether the slot is served here.
    #[inline]
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.bits[slot.index() / 64].load(Ordering::Acquire) & (1 << (slot.index() % 64)) != 0
    }

    /// Says of every slot whether it is served here.
    pub(crate) fn set(&self, served: impl Fn(Slot) -> bool) {
        let mut words = vec![0u64; self.bits.len()];
        for slot in Slot::all().filter(|slot| served(*slot)) {
            words[slot.index() / 64] |= 1 << (slot.index() % 64);
        }
        for (bits, word) in self.bits.iter().zip(words) {
            bits.store(word, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_only_in_the_term_they_were_made_in() {
        let view = RoleView::new(true);
        let nothing = view.load();
        assert!(!nothing.is_master(), "a managed node starts without a role");
        view.set_role(true, Epoch(3));
        let word = view.load();
        assert!(word.is_master() && word.epoch() == Epoch(3));
        assert!(!view.may_reply(word), "no lease yet");
        view.set_lease(clock::boot_now() + Millis(60_000));
        assert!(view.may_reply(word));
        assert!(!view.may_reply(nothing), "executed under another role");
        view.set_role(true, Epoch(4));
        view.set_lease(clock::boot_now() + Millis(60_000));
        assert!(!view.may_reply(word), "executed in an older epoch");
        view.end_lease();
        assert!(!view.may_reply(view.load()), "the lease was given up");
        view.set_role(false, Epoch(4));
        assert!(view.may_reply(view.load()), "a replica needs no lease to answer reads");
    }

    #[test]
    fn a_standalone_master_that_is_taken_over_serves_nothing_until_it_has_a_lease() {
        let view = RoleView::new(false);
        let alone = view.load();
        view.manage();
        assert!(view.load().is_managed() && !view.load().is_master());
        view.set_role(true, Epoch(1));
        assert!(!view.holds_lease(view.load()));
        assert!(!alone.is_managed(), "what it executed before was answered for as before");
    }

    #[test]
    fn a_standalone_master_needs_no_lease() {
        let view = RoleView::new(false);
        assert!(view.load().is_master() && view.may_reply(view.load()));
    }

    #[test]
    fn served_slots_are_as_told() {
        let served = ServedSlots::new(false);
        served.set(|slot| slot.get() % 3 == 0);
        for slot in Slot::all() {
            assert_eq!(served.contains(slot), slot.get() % 3 == 0);
        }
        let all = ServedSlots::new(true);
        assert!(Slot::all().all(|slot| all.contains(slot)));
    }
}
