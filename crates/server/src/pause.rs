//! Commands that wait until a moment, or until they are let go: `CLIENT PAUSE`, and a hold while the
//! shard changes its master.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use slotward_types::Millis;
use tokio::sync::Notify;

use crate::clock;

/// What has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Paused {
    /// Nothing.
    Nothing = 0,
    /// What may change data.
    Writes = 1,
    /// Everything.
    Everything = 2,
}

/// In `Pause::what`, beside a [`Paused`]: commands on data are held.
const HELD: u8 = 4;

/// The pause of a node.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    what: AtomicU8,
    until: AtomicU64,
    held_until: AtomicU64,
    ended: Notify,
}

impl Pause {
    /// What has to wait now, by the word of a client.
    #[inline]
    pub(crate) fn now(&self) -> Paused {
        match self.what.load(Ordering::Relaxed) & !HELD {
            0 => Paused::Nothing,
            what => self.check(what),
        }
    }

    /// Which commands on data have to wait now.
    #[inline]
    pub(crate) fn of_data(&self) -> Paused {
        match self.what.load(Ordering::Relaxed) {
            0 => Paused::Nothing,
            _ if self.is_held() => Paused::Everything,
            _ => self.now(),
        }
    }

    /// Whether commands on data that change it (or not) have to wait now.
    pub(crate) fn stops(&self, writes: bool) -> bool {
        match self.of_data() {
            Paused::Nothing => false,
            Paused::Writes => writes,
            Paused::Everything => true,
        }
    }

    #[cold]
    fn check(&self, what: u8) -> Paused {
        if clock::boot_now().0 >= self.until.load(Ordering::Acquire) {
            Paused::Nothing
        } else if what == 1 {
            Paused::Writes
        } else {
            Paused::Everything
        }
    }

    /// Whether commands on data are held, since nobody knows yet which node is to execute them.
    #[cold]
    pub(crate) fn is_held(&self) -> bool {
        self.what.load(Ordering::Acquire) & HELD != 0
            && clock::boot_now().0 < self.held_until.load(Ordering::Acquire)
    }

    /// Holds commands on data until they are let go, or this moment comes.
    pub(crate) fn hold(&self, until: Millis) {
        self.held_until.store(until.0, Ordering::Release);
        self.what.fetch_or(HELD, Ordering::AcqRel);
    }

    /// Lets commands go that are held: it is known which node is to execute them.
    pub(crate) fn let_go(&self) {
        if self.what.fetch_and(!HELD, Ordering::AcqRel) & HELD != 0 {
            self.ended.notify_waiters();
        }
    }

    /// Begins a pause, or extends one that is on; the stricter of two kinds holds. To be called
    /// inside the worker barrier, so that nothing is still being executed afterwards.
    pub(crate) fn begin(&self, what: Paused, until: Millis) {
        let running = self.now();
        let until = if running == Paused::Nothing {
            until.0
        } else {
            until.0.max(self.until.load(Ordering::Acquire))
        };
        self.until.store(until, Ordering::Release);
        self.set(running.max(what));
        // Those who wait already look at the new end.
        self.ended.notify_waiters();
    }

    /// Ends the pause.
    pub(crate) fn end(&self) {
        self.set(Paused::Nothing);
        self.ended.notify_waiters();
    }

    fn set(&self, what: Paused) {
        let kept = |before: u8| Some((before & HELD) | what as u8);
        // Never refused: the closure always gives a value.
        let _before = self.what.fetch_update(Ordering::AcqRel, Ordering::Acquire, kept);
    }

    /// Like [`Pause::wait`], and looks first whether there is a pause at all.
    pub(crate) async fn wait_if(&self, writes: bool) {
        if self.of_data() != Paused::Nothing {
            self.wait(writes).await;
        }
    }

    /// Waits until a command that may (or may not) change data can run.
    pub(crate) async fn wait(&self, writes: bool) {
        loop {
            let changed = self.ended.notified();
            if !self.stops(writes) {
                return;
            }
            let until = if self.is_held() { &self.held_until } else { &self.until };
            let left = Millis(until.load(Ordering::Acquire)).since(clock::boot_now());
            let left = std::time::Duration::from_millis(left.0 + 1);
            let _either = tokio::time::timeout(left, changed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_stricter_pause_holds() {
        let pause = Pause::default();
        assert_eq!(pause.now(), Paused::Nothing);
        let soon = clock::boot_now() + Millis(100_000);
        pause.begin(Paused::Everything, soon + Millis(100_000));
        pause.begin(Paused::Writes, soon);
        assert_eq!(pause.now(), Paused::Everything, "a weaker pause does not weaken");
        assert_eq!(pause.until.load(Ordering::Relaxed), soon.0 + 100_000, "nor shorten");
        pause.end();
        assert_eq!(pause.now(), Paused::Nothing);
        pause.begin(Paused::Writes, Millis(0));
        assert_eq!(pause.now(), Paused::Nothing, "a pause ends by itself");
    }

    #[test]
    fn a_hold_is_about_data_and_leaves_a_clients_pause_alone() {
        let pause = Pause::default();
        let soon = clock::boot_now() + Millis(100_000);
        pause.begin(Paused::Writes, soon);
        pause.hold(soon);
        assert_eq!((pause.now(), pause.of_data()), (Paused::Writes, Paused::Everything));
        pause.end();
        assert_eq!((pause.now(), pause.of_data()), (Paused::Nothing, Paused::Everything));
        pause.begin(Paused::Writes, soon);
        pause.let_go();
        assert_eq!((pause.now(), pause.of_data()), (Paused::Writes, Paused::Writes));
        pause.end();
        pause.hold(Millis(0));
        assert_eq!(pause.of_data(), Paused::Nothing, "a hold ends by itself");
    }
}
