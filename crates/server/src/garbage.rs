//! A thread that drops what would take long to drop: flushed databases, huge values.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// Hands things to the thread that drops them.
#[derive(Debug, Clone)]
pub(crate) struct Garbage {
    sender: mpsc::Sender<(u64, Box<dyn Any + Send>)>,
    pending: Arc<AtomicU64>,
    freed: Arc<AtomicU64>,
}

impl Garbage {
    /// Starts the thread. It ends with the last handle.
    pub(crate) fn start() -> std::io::Result<Garbage> {
        let (sender, receiver) = mpsc::channel::<(u64, Box<dyn Any + Send>)>();
        let pending = Arc::new(AtomicU64::new(0));
        let freed = Arc::new(AtomicU64::new(0));
        let counts = (pending.clone(), freed.clone());
        std::thread::Builder::new().name("garbage".into()).stack_size(256 << 10).spawn(
            move || {
                for (count, things) in receiver {
                    drop(things);
                    counts.0.fetch_sub(count, Ordering::Relaxed);
                    counts.1.fetch_add(count, Ordering::Relaxed);
                }
            },
        )?;
        Ok(Garbage { sender, pending, freed })
    }

    /// Has `thing` dropped elsewhere, later.
    pub(crate) fn drop_later<T: Send + 'static>(&self, thing: T) {
        self.send(1, Box::new(thing));
    }

    /// The same for several things.
    pub(crate) fn drop_all_later<T: Send + 'static>(&self, things: Vec<T>) {
        self.send(things.len() as u64, Box::new(things));
    }

    fn send(&self, count: u64, things: Box<dyn Any + Send>) {
        self.pending.fetch_add(count, Ordering::Relaxed);
        // The thread lives as long as any handle, so the send cannot fail; if it did, the things
        // would be dropped here, which is only slower.
        if self.sender.send((count, things)).is_err() {
            self.pending.fetch_sub(count, Ordering::Relaxed);
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
