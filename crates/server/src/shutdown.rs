//! The end of the node, wherever it is asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells everybody that the node ends.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    asked: AtomicBool,
    begun: AtomicBool,
    wake: Notify,
}

impl Shutdown {
    /// Asks for the end (a signal, `SHUTDOWN`). The process prepares and then begins it.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Waits until somebody asks for the end.
    pub(crate) async fn asked(&self) {
        self.until(&self.asked).await;
    }

    /// Begins the end: workers stop.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Waits until the end begins.
    pub(crate) async fn begun(&self) {
        self.until(&self.begun).await;
    }

    async fn until(&self, flag: &AtomicBool) {
        loop {
            let woken = self.wake.notified();
            if flag.load(Ordering::SeqCst) {
                return;
            }
            woken.await;
        }
    }
}
