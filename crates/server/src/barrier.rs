//! The worker barrier: one instant in which no command is being executed.
//!
//! Whoever executes commands (a worker, a replica's applier, a snapshot walker) is a
//! [`Participant`] and holds an [`Inside`] while it does. An action that needs the whole keyspace
//! raises a flag; participants look at it between commands and stay outside while it is up; when
//! nobody is inside, the action runs. If somebody stays inside for longer than a millisecond (a
//! long command), the flag is taken down and raised again later: the action waits, not the clients.
//!
//! **Invariants:** while an action runs, no [`Inside`] exists; its effects are seen by everyone who
//! enters afterwards. A slot is held only by somebody inside, or behind [`Barrier::several`]: an
//! action may take any slot without waiting for anybody who waits for the action.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

/// How long participants may be kept outside before an action gives way.
const WINDOW: Duration = Duration::from_millis(1);

/// One flag per cache line: a participant writes its own with every batch.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Seat {
    inside: AtomicBool,
}

/// The barrier of a node.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    raised: AtomicBool,
    seats: RwLock<Vec<Arc<Seat>>>,
    /// Held, shared, by operations that hold one slot while they wait for another; exclusively by
    /// an action: it finds no slot held by somebody who is not inside.
    several: tokio::sync::RwLock<()>,
    gate: Mutex<()>,
    lowered: Condvar,
}

/// Somebody who executes commands; one per thread.
#[derive(Debug)]
pub(crate) struct Participant {
    barrier: Arc<Barrier>,
    seat: Arc<Seat>,
}

/// Proof that no whole-keyspace action runs while it exists.
#[derive(Debug)]
pub(crate) struct Inside<'p> {
    participant: &'p Participant,
}

impl Barrier {
    /// A seat for one more participant.
    pub(crate) fn participant(self: &Arc<Self>) -> Participant {
        let seat = Arc::new(Seat::default());
        self.seats.write().push(seat.clone());
        Participant { barrier: self.clone(), seat }
    }

    /// Runs `action` at a moment at which nobody executes commands. The caller must not be inside.
    pub(crate) async fn run<R>(&self, action: impl FnOnce() -> R) -> R {
        let mut action = Some(action);
        self.run_when(|| action.take().map(|action| action())).await
    }

    /// Like [`Barrier::run`], with an action that may find that the moment does not suit (`None`)
    /// and is then tried again later.
    pub(crate) async fn run_when<R>(&self, mut action: impl FnMut() -> Option<R>) -> R {
        let _nobody_holds_a_slot = self.several.write().await;
        loop {
            if let Some(result) = self.attempt(&mut action) {
                return result;
            }
            // Participants get at least as much time as the attempt took from them.
            tokio::time::sleep(WINDOW).await;
        }
    }

    /// To be passed by an operation on several slots, and held as long as it holds them. Whoever
    /// holds a single slot is inside for all that time and does not need it.
    pub(crate) fn several(&self) -> &tokio::sync::RwLock<()> {
        &self.several
    }

    fn attempt<R>(&self, action: &mut impl FnMut() -> Option<R>) -> Option<R> {
        // Held to the end, so that nobody joins and enters in between unseen.
        let seats = self.seats.read();
        // SeqCst here and in `Participant::enter`: of "flag up, then look inside" and "go inside,
        // then look at the flag", at least one side sees the other.
        self.raised.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + WINDOW;
        let result =
            if seats.iter().all(|seat| seat.empties_before(deadline)) { action() } else { None };
        self.raised.store(false, Ordering::SeqCst);
        drop(self.gate.lock());
        self.lowered.notify_all();
        result
    }

    #[cold]
    fn wait_until_lowered(&self) {
        for _ in 0..64 {
            if !self.raised.load(Ordering::SeqCst) {
                return;
            }
            std::hint::spin_loop();
        }
        let mut gate = self.gate.lock();
        while self.raised.load(Ordering::SeqCst) {
            self.lowered.wait(&mut gate);
        }
    }
}

impl Seat {
    fn empties_before(&self, deadline: Instant) -> bool {
        let mut spins = 0u32;
        while self.inside.load(Ordering::SeqCst) {
            spins += 1;
            if spins < 64 {
                std::hint::spin_loop();
                continue;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

impl Participant {
    /// Goes inside; waits (at most for one window, usually not at all) while an action runs.
    ///
    /// # Panics
    /// When this participant is inside already.
    #[inline]
    pub(crate) fn enter(&self) -> Inside<'_> {
        assert!(!self.seat.inside.load(Ordering::Relaxed), "a participant entered twice");
        loop {
            self.seat.inside.store(true, Ordering::SeqCst);
            if !self.barrier.raised.load(Ordering::SeqCst) {
                return Inside { participant: self };
            }
            self.seat.inside.store(false, Ordering::SeqCst);
            self.barrier.wait_until_lowered();
        }
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.barrier.seats.write().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

impl Inside<'_> {
    /// To be called between commands: lets a waiting action run.
    #[inline]
    pub(crate) fn give_way(&mut self) {
        if self.participant.barrier.raised.load(Ordering::Relaxed) {
            self.step_out();
        }
    }

    #[cold]
    fn step_out(&mut self) {
        self.participant.seat.inside.store(false, Ordering::SeqCst);
        self.participant.barrier.wait_until_lowered();
        std::mem::forget(self.participant.enter());
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.participant.seat.inside.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Two counters that every participant raises together, without any lock between the two.
    #[derive(Default)]
    struct Pair {
        first: AtomicU64,
        second: AtomicU64,
    }

    fn hammer(
        barrier: &Arc<Barrier>,
        pair: &Pair,
        begin: &std::sync::Barrier,
        stop: &AtomicBool,
    ) -> u64 {
        let participant = barrier.participant();
        let mut rounds = 0;
        begin.wait();
        while !stop.load(Ordering::Relaxed) {
            let mut inside = participant.enter();
            for _ in 0..16 {
                pair.first.fetch_add(1, Ordering::Relaxed);
                std::hint::spin_loop();
                pair.second.fetch_add(1, Ordering::Relaxed);
                inside.give_way();
            }
            rounds += 1;
        }
        rounds
    }

    #[test]
    fn an_action_never_sees_a_command_half_done() {
        let barrier = Arc::new(Barrier::default());
        let (pair, stop) = (Pair::default(), AtomicBool::new(false));
        let begin = std::sync::Barrier::new(5);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| hammer(&barrier, &pair, &begin, &stop))).collect();
            begin.wait();
            runtime.block_on(async {
                let mut last = 0;
                for round in 0..500 {
                    let (first, second) = barrier
                        .run(|| {
                            let first = pair.first.load(Ordering::Relaxed);
                            std::thread::yield_now();
                            (first, pair.second.load(Ordering::Relaxed))
                        })
                        .await;
                    assert_eq!(first, second, "round {round}: somebody was inside");
                    assert!(first >= last, "counters only grow");
                    last = first;
                }
            });
            stop.store(true, Ordering::Relaxed);
            let rounds: Vec<u64> =
                workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
            assert!(rounds.iter().sum::<u64>() > 0, "nobody got on: {rounds:?}");
        });
    }

    #[test]
    fn an_action_that_finds_no_moment_is_withdrawn() {
        let barrier = Arc::new(Barrier::default());
        let participant = barrier.participant();
        let inside = participant.enter();
        assert_eq!(barrier.attempt(&mut || Some(1)), None, "somebody is inside");
        assert!(!barrier.raised.load(Ordering::SeqCst), "nobody else is held up meanwhile");
        drop(inside);
        assert_eq!(barrier.attempt(&mut || Some(1)), Some(1));
        assert_eq!(barrier.attempt(&mut || None::<u8>), None, "the action's own refusal");
    }

    #[test]
    fn who_has_left_is_not_waited_for() {
        let barrier = Arc::new(Barrier::default());
        let participant = barrier.participant();
        std::mem::forget(participant.enter());
        drop(participant);
        assert_eq!(barrier.attempt(&mut || Some(())), Some(()));
    }
}
