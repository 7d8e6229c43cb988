//! A reader of the log: a replica's sender, the AOF, a migration.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll};

use slotward_types::ReplOffset;

use crate::block::Block;
use crate::log::Log;

/// What the log knows of a reader.
pub(crate) struct Shared {
    position: AtomicU64,
    lost: AtomicBool,
}

impl Shared {
    pub(crate) fn new(position: u64) -> Shared {
        Shared { position: AtomicU64::new(position), lost: AtomicBool::new(false) }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position.load(Relaxed)
    }

    pub(crate) fn lose(&self) {
        self.lost.store(true, Release);
    }
}

/// The log no longer has what the reader needs next: it fell too far behind, or the node's history
/// was replaced. It has to start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log no longer has what this reader needs next")]
pub struct ReaderLost;

/// Reads the log from some offset on; what it has not read is kept for it, within limits.
pub struct LogReader {
    log: Arc<Log>,
    shared: Arc<Shared>,
    at: u64,
    /// The block that `at` lies in, once something of it was read.
    block: Option<Arc<Block>>,
}

impl LogReader {
    pub(crate) fn new(log: Arc<Log>, shared: Arc<Shared>, at: u64) -> LogReader {
        LogReader { log, shared, at, block: None }
    }

    /// Offset of the next byte it reads.
    pub fn position(&self) -> ReplOffset {
        ReplOffset(self.at)
    }

    /// How many bytes are there that it has not read.
    pub fn lag_bytes(&self) -> u64 {
        self.log.end().0.saturating_sub(self.at)
    }

    /// Whether [`LogReader::read`] can only fail.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Acquire)
    }

    /// Appends up to `max` bytes to `out` and says how many; none if it has read everything.
    ///
    /// # Errors
    /// When what comes next is no longer there.
    pub fn read(&mut self, max: usize, out: &mut Vec<u8>) -> Result<usize, ReaderLost> {
        let before = out.len();
        // The end is loaded before the question whether the reader is lost: see `drop_bytes`.
        let end = self.log.end().0;
        while self.at < end && out.len() - before < max {
            if self.is_lost() {
                out.truncate(before);
                return Err(ReaderLost);
            }
            let at = self.at;
            let block = self.block()?;
            let room = (max - (out.len() - before)) as u64;
            let to = end.min(block.end()).min(at.saturating_add(room));
            block.copy_to((at - block.start) as usize, (to - block.start) as usize, out);
            self.at = to;
        }
        if self.is_lost() {
            out.truncate(before);
            return Err(ReaderLost);
        }
        self.shared.position.store(self.at, Relaxed);
        Ok(out.len() - before)
    }

    /// The block that the next byte lies in.
    fn block(&mut self) -> Result<&Block, ReaderLost> {
        if self.block.as_ref().is_none_or(|block| block.end() <= self.at) {
            self.block = Some(self.log.block_at(self.at).ok_or(ReaderLost)?);
        }
        Ok(self.block.as_ref().expect("it was just put there"))
    }

    /// Ready when there is something to read, or the reader is lost.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let ready = || self.is_lost() || self.lag_bytes() > 0;
        if ready() {
            return Poll::Ready(());
        }
        self.log.sleep(context.waker());
        if ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.detach(&self.shared);
    }
}
