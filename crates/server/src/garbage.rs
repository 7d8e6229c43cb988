//! A thread that drops what would take long to drop: flushed databases, huge values.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// Hands things to the thread that drops them.
#[derive(Debug, Clone)]
pub(crate) struct Garbage {
    sender: mpsc::Sender<Box<dyn Any + Send>>,
    pending: Arc<AtomicU64>,
    freed: Arc<AtomicU64>,
}

impl Garbage {
    /// Starts the thread. It ends with the last handle.
    pub(crate) fn start() -> std::io::Result<Garbage> {
        let (sender, receiver) = mpsc::channel::<Box<dyn Any + Send>>();
        let pending = Arc::new(AtomicU64::new(0));
        let freed = Arc::new(AtomicU64::new(0));
        let counts = (pending.clone(), freed.clone());
        std::thread::Builder::new().name("garbage".into()).stack_size(256 << 10).spawn(
            move || {
                for thing in receiver {
                    drop(thing);
                    counts.0.fetch_sub(1, Ordering::Relaxed);
                    counts.1.fetch_add(1, Ordering::Relaxed);
                }
            },
        )?;
        Ok(Garbage { sender, pending, freed })
    }

    /// Has `thing` dropped elsewhere, later.
    pub(crate) fn drop_later<T: Send + 'static>(&self, thing: T) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        // The thread lives as long as any handle, so the send cannot fail; if it did, the thing
        // would be dropped here, which is only slower.
        if self.sender.send(Box::new(thing)).is_err() {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many things wait to be dropped.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Counts anew.
    pub(crate) fn reset(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }

    /// How many have been dropped.
    pub(crate) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }
}
