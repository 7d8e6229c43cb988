//! `CLIENT PAUSE`: commands wait until a moment, or until they are let go.

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

/// The pause of a node.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    what: AtomicU8,
    until: AtomicU64,
    ended: Notify,
}

impl Pause {
    /// What has to wait now.
    #[inline]
    pub(crate) fn now(&self) -> Paused {
        match self.what.load(Ordering::Relaxed) {
            0 => Paused::Nothing,
            what => self.check(what),
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
        self.what.store(running.max(what) as u8, Ordering::Release);
        // Those who wait already look at the new end.
        self.ended.notify_waiters();
    }

    /// Ends the pause.
    pub(crate) fn end(&self) {
        self.what.store(Paused::Nothing as u8, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Like [`Pause::wait`], and looks first whether there is a pause at all.
    pub(crate) async fn wait_if(&self, writes: bool) {
        if self.now() != Paused::Nothing {
            self.wait(writes).await;
        }
    }

    /// Waits until a command that may (or may not) change data can run.
    pub(crate) async fn wait(&self, writes: bool) {
        loop {
            let changed = self.ended.notified();
            let paused = self.now();
            if paused == Paused::Nothing || (paused == Paused::Writes && !writes) {
                return;
            }
            let left = Millis(self.until.load(Ordering::Acquire)).since(clock::boot_now());
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
}
