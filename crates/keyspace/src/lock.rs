//! Slot locks: one byte each, fair, handed over in order of arrival.
//!
//! A slot that somebody waits for is never free: who lets go of it grants it to the first in the
//! queue, who picks it up when next polled. So nobody overtakes, and a taken lock costs nobody a
//! sleep. Queues lie in a side table; a bit in the lock byte says that one exists.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use parking_lot::Mutex;
use slotward_types::Slot;

use crate::keyspace::Keyspace;

/// The slot is held, or granted to somebody who has not picked it up yet.
const LOCKED: u8 = 1;
/// Somebody waits in the side table. Changes only under the queue's mutex.
const QUEUED: u8 = 2;
/// Granted, not yet picked up. [`Borrowed`] may take the slot from under the grant for a moment.
const GRANTED: u8 = 4;

/// Queues are spread over this many mutexes.
const QUEUES: usize = 64;
/// Looks at a taken lock before giving up: about as long as a short command takes.
const SPINS: usize = 100;

/// A slot's lock byte.
#[derive(Default)]
pub(crate) struct LockByte(AtomicU8);

impl LockByte {
    /// Takes the lock if it is free.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.0.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn try_take_spinning(&self) -> bool {
        for _ in 0..SPINS {
            match self.0.load(Ordering::Relaxed) {
                0 if self.try_take() => return true,
                // Those who wait come first.
                state if state & QUEUED != 0 => return false,
                _ => std::hint::spin_loop(),
            }
        }
        false
    }

    /// Takes what was granted.
    fn pick_up(&self) {
        loop {
            let state = self.0.load(Ordering::Relaxed);
            // Without the bit, somebody has borrowed the slot and will give it back in a moment.
            if state & GRANTED != 0
                && self
                    .0
                    .compare_exchange_weak(
                        state,
                        state & !GRANTED,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

#[derive(Default)]
struct Waiter {
    granted: AtomicBool,
    /// Locked only under the queue's mutex, or by the waiter itself.
    waker: Mutex<Option<Waker>>,
}

type Queue = BTreeMap<Slot, VecDeque<Arc<Waiter>>>;

/// Who waits for which slot.
pub(crate) struct Queues(Box<[Mutex<Queue>]>);

impl Queues {
    pub(crate) fn new() -> Self {
        Self((0..QUEUES).map(|_| Mutex::default()).collect())
    }

    fn of(&self, slot: Slot) -> &Mutex<Queue> {
        &self.0[slot.index() % QUEUES]
    }

    /// Queues up, unless the slot turns out to be free: then takes it and returns `None`.
    fn enter(&self, slot: Slot, lock: &LockByte, waker: &Waker) -> Option<Arc<Waiter>> {
        let mut queue = self.of(slot).lock();
        loop {
            if lock.try_take() {
                return None;
            }
            // Set while the lock is taken, so that whoever holds it finds the queue.
            let queued = lock.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state & LOCKED != 0).then_some(state | QUEUED)
            });
            if queued.is_ok() {
                break;
            }
        }
        let waiter = Arc::new(Waiter::default());
        *waiter.waker.lock() = Some(waker.clone());
        queue.entry(slot).or_default().push_back(Arc::clone(&waiter));
        Some(waiter)
    }

    /// Lets go of a slot that somebody may wait for.
    #[cold]
    fn hand_over(&self, slot: Slot, lock: &LockByte) {
        let mut queue = self.of(slot).lock();
        let Some(waiting) = queue.get_mut(&slot) else {
            // The last one who waited has given up between the caller's look and ours.
            lock.0.store(0, Ordering::Release);
            return;
        };
        let waiter = waiting.pop_front().expect("empty queues are removed");
        let more = if waiting.is_empty() {
            queue.remove(&slot);
            0
        } else {
            QUEUED
        };
        lock.0.store(LOCKED | GRANTED | more, Ordering::Release);
        waiter.granted.store(true, Ordering::Release);
        let waker = waiter.waker.lock().take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Leaves the queue. False if the slot has been granted meanwhile.
    fn leave(&self, slot: Slot, lock: &LockByte, waiter: &Arc<Waiter>) -> bool {
        let mut queue = self.of(slot).lock();
        if waiter.granted.load(Ordering::Acquire) {
            return false;
        }
        let waiting = queue.get_mut(&slot).expect("a waiter that was not granted is in its queue");
        waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        if waiting.is_empty() {
            queue.remove(&slot);
            lock.0.fetch_and(!QUEUED, Ordering::Relaxed);
        }
        true
    }
}

impl Keyspace {
    /// The slot, if it is free or becomes so within a short spin and nobody waits for it.
    #[inline]
    pub fn try_lock(&self, slot: Slot) -> Option<SlotGuard<'_>> {
        let lock = self.lock_byte(slot);
        // Lazily: a guard that exists frees the slot when it is dropped.
        (lock.try_take() || lock.try_take_spinning()).then(|| SlotGuard { keyspace: self, slot })
    }

    /// Waits for the slot in the order of arrival, which is the order of first polls.
    pub fn lock(&self, slot: Slot) -> LockWait<'_> {
        LockWait { keyspace: self, slot, waiter: None }
    }

    /// Waits for the slot on a thread that may sleep.
    pub fn lock_blocking(&self, slot: Slot) -> SlotGuard<'_> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        if let Some(guard) = self.try_lock(slot) {
            return guard;
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut wait = self.lock(slot);
        loop {
            if let Poll::Ready(guard) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
                return guard;
            }
            std::thread::park();
        }
    }

    #[inline]
    pub(crate) fn unlock(&self, slot: Slot) {
        let lock = self.lock_byte(slot);
        if lock.0.compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.queues().hand_over(slot, lock);
        }
    }

    /// Takes a slot for an action under the worker barrier, also from under a grant that was not
    /// picked up: its owner sits on a worker that waits for the barrier.
    pub(crate) fn borrow_slot(&self, slot: Slot) -> Borrowed<'_> {
        let lock = self.lock_byte(slot);
        for spins in 0u64.. {
            let state = lock.0.load(Ordering::Relaxed);
            if state == 0 && lock.try_take() {
                return Borrowed { keyspace: self, slot, granted: false };
            }
            let lent = state & !GRANTED;
            if state & GRANTED != 0
                && lock
                    .0
                    .compare_exchange(state, lent, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Borrowed { keyspace: self, slot, granted: true };
            }
            // A plain thread is inside, a snapshot's walk for instance. It will be out soon.
            if spins > SPINS as u64 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        unreachable!("the loop above only ends by returning")
    }
}

/// A slot taken for an action under the worker barrier.
pub(crate) struct Borrowed<'a> {
    keyspace: &'a Keyspace,
    slot: Slot,
    granted: bool,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if self.granted {
            self.keyspace.lock_byte(self.slot).0.fetch_or(GRANTED, Ordering::Release);
        } else {
            self.keyspace.unlock(self.slot);
        }
    }
}

/// A held slot. Dropping it frees the slot, or hands it to whoever waited longest.
#[must_use]
pub struct SlotGuard<'a> {
    keyspace: &'a Keyspace,
    slot: Slot,
}

impl SlotGuard<'_> {
    /// The slot that is held.
    #[inline]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    #[inline]
    pub(crate) fn is_of(&self, keyspace: &Keyspace) -> bool {
        std::ptr::eq(self.keyspace, keyspace)
    }
}

impl Drop for SlotGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.keyspace.unlock(self.slot);
    }
}

impl std::fmt::Debug for SlotGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotGuard({})", self.slot)
    }
}

/// Waits for a slot. May be dropped at any time: the place in the queue, or the slot if it was
/// granted meanwhile, passes on.
#[must_use = "a future does nothing unless polled"]
pub struct LockWait<'a> {
    keyspace: &'a Keyspace,
    slot: Slot,
    waiter: Option<Arc<Waiter>>,
}

impl<'a> Future for LockWait<'a> {
    type Output = SlotGuard<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<SlotGuard<'a>> {
        let (keyspace, slot) = (self.keyspace, self.slot);
        let lock = keyspace.lock_byte(slot);
        if let Some(waiter) = &self.waiter {
            // The waker goes in before the look: a grant that the look misses finds it.
            *waiter.waker.lock() = Some(context.waker().clone());
            if !waiter.granted.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            lock.pick_up();
            self.waiter = None;
        } else {
            self.waiter = keyspace.queues().enter(slot, lock, context.waker());
            if self.waiter.is_some() {
                return Poll::Pending;
            }
        }
        Poll::Ready(SlotGuard { keyspace, slot })
    }
}

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let lock = self.keyspace.lock_byte(self.slot);
        if !self.keyspace.queues().leave(self.slot, lock, &waiter) {
            lock.pick_up();
            self.keyspace.unlock(self.slot);
        }
    }
}

/// The slots that one operation holds. A single one is kept without an allocation.
#[derive(Debug, Default)]
pub struct Locked<'k> {
    /// The lowest.
    first: Option<SlotGuard<'k>>,
    more: Vec<SlotGuard<'k>>,
}

impl<'k> Locked<'k> {
    /// No slot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a slot.
    ///
    /// # Panics
    /// When it is not above all slots that are held: the order is what excludes deadlocks. When it
    /// is another keyspace's.
    pub fn push(&mut self, guard: SlotGuard<'k>) {
        let Some(first) = &self.first else {
            self.first = Some(guard);
            return;
        };
        let last = self.more.last().unwrap_or(first);
        assert!(last.slot < guard.slot, "{guard:?} is not above {last:?}");
        assert!(guard.is_of(first.keyspace), "slots of two keyspaces in one operation");
        self.more.push(guard);
    }

    /// Adds a slot that was found free, in any order: whoever only tries waits for nobody.
    ///
    /// # Panics
    /// When it is another keyspace's.
    pub fn insert_free(&mut self, guard: SlotGuard<'k>) {
        let Some(first) = &mut self.first else {
            self.first = Some(guard);
            return;
        };
        assert!(guard.is_of(first.keyspace), "slots of two keyspaces in one operation");
        let guard = if guard.slot < first.slot { std::mem::replace(first, guard) } else { guard };
        let at = self.more.partition_point(|other| other.slot < guard.slot);
        self.more.insert(at, guard);
    }

    /// Whether the slot is held.
    #[inline]
    pub fn holds(&self, slot: Slot) -> bool {
        self.guard(slot).is_some()
    }

    /// The guard of a slot, if it is held.
    #[inline]
    pub fn guard(&self, slot: Slot) -> Option<&SlotGuard<'k>> {
        match &self.first {
            Some(first) if first.slot == slot => Some(first),
            _ => self.guard_among_more(slot),
        }
    }

    fn guard_among_more(&self, slot: Slot) -> Option<&SlotGuard<'k>> {
        let index = self.more.binary_search_by_key(&slot, |guard| guard.slot).ok()?;
        Some(&self.more[index])
    }

    /// The slots that are held, ascending.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.first.iter().chain(&self.more).map(|guard| guard.slot)
    }

    #[inline]
    pub(crate) fn is_of(&self, keyspace: &Keyspace) -> bool {
        self.first.as_ref().is_none_or(|guard| guard.is_of(keyspace))
    }
}

impl<'k> From<SlotGuard<'k>> for Locked<'k> {
    #[inline]
    fn from(guard: SlotGuard<'k>) -> Self {
        Self { first: Some(guard), more: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
