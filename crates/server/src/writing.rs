//! Writing replies to a client.
//!
//! Small replies wait until the other connections that are ready in this round of the worker have
//! been executed too. A write wakes the client if it sleeps, which costs more than a few commands;
//! writes that follow each other closely find it awake.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::connection::{Conn, End};
use crate::stream::Stream;
use crate::worker::{Lent, Worker};

/// Larger replies are written at once: waking a client is little beside copying them.
const DEFERRED_BYTES_MAX: usize = 16 << 10;

/// Writes the replies of a batch that has been executed; the buffers are given back before.
pub(crate) async fn finish_batch(
    worker: &Rc<Worker>,
    stream: &Stream,
    conn: &mut Conn,
    mut lent: Lent,
) -> Result<(), End> {
    // Messages that came meanwhile follow the replies; an answer that is still awaited comes before
    // those that come after it.
    if conn.mailbox.has_mail() && conn.blocked.is_none() {
        conn.mailbox.move_to(lent.reply.buffer_mut());
    }
    if lent.reply.is_empty() || lent.reply.len() > DEFERRED_BYTES_MAX {
        return write(worker, stream, conn, lent.reply.as_bytes()).await;
    }
    let replies = lent.take_replies();
    drop(lent);
    worker.unwritten.update(|count| count + 1);
    RoundEnd::default().await;
    worker.unwritten.update(|count| count - 1);
    write(worker, stream, conn, &replies).await?;
    worker.keep_replies(replies);
    Ok(())
}

/// Writes replies, if the role in which they were made still allows it.
#[inline]
pub(crate) async fn write(
    worker: &Rc<Worker>,
    stream: &Stream,
    conn: &mut Conn,
    replies: &[u8],
) -> Result<(), End> {
    let node = &worker.node;
    node.replication.wake();
    let made_in = conn.guarded.take();
    if replies.is_empty() {
        return Ok(());
    }
    if made_in.is_some_and(|made_in| !node.role.may_reply(made_in)) {
        return Err(End::Dropped);
    }
    let stats = &worker.stats;
    stats.writes.add(1);
    let written = match stream.try_write(replies) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return Err(End::Closed),
    };
    stats.bytes_out.add(written as u64);
    if written < replies.len() {
        conn.guarded = made_in;
        // On the heap, so that connections that keep up stay small.
        Box::pin(write_slowly(worker, stream, conn, &replies[written..])).await?;
        conn.guarded = None;
    }
    Ok(())
}

/// Goes on writing to a client that reads more slowly than it is answered.
async fn write_slowly(
    worker: &Worker,
    stream: &Stream,
    conn: &Conn,
    mut replies: &[u8],
) -> Result<(), End> {
    let limit = worker.node.live.load().output;
    let too_long = (limit.soft_bytes > 0 && replies.len() as u64 > limit.soft_bytes)
        .then(|| Duration::from_secs(limit.soft_seconds));
    let deadline = too_long.map(|after| tokio::time::Instant::now() + after);
    while !replies.is_empty() {
        conn.client.output_bytes.store(replies.len() as u64, Ordering::Relaxed);
        let writable = stream.writable();
        let ready = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, writable).await,
            None => Ok(writable.await),
        };
        if !matches!(ready, Ok(Ok(()))) || conn.client.is_killed() {
            return Err(End::Closed);
        }
        let role = &worker.node.role;
        if conn.guarded.is_some_and(|made_in| !role.may_reply(made_in)) {
            return Err(End::Dropped);
        }
        match stream.try_write(replies) {
            Ok(written) => {
                replies = &replies[written..];
                worker.stats.bytes_out.add(written as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(End::Closed),
        }
    }
    conn.client.output_bytes.store(0, Ordering::Relaxed);
    Ok(())
}

/// Ends when every task of the worker that is ready now has had its turn.
#[derive(Default)]
struct RoundEnd {
    queued: bool,
}

impl Future for RoundEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.queued {
            return Poll::Ready(());
        }
        self.queued = true;
        // Ready tasks run in the order in which they became ready, so this goes behind them all.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_round_ends_when_all_that_were_ready_have_had_their_turn() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime without i/o");
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks = tokio::task::LocalSet::new();
        for number in 0..3 {
            let log = log.clone();
            tasks.spawn_local(async move {
                log.borrow_mut().push(("executed", number));
                RoundEnd::default().await;
                log.borrow_mut().push(("written", number));
            });
        }
        runtime.block_on(tasks);
        let expected = [("executed", 0), ("executed", 1), ("executed", 2)].into_iter().chain([
            ("written", 0),
            ("written", 1),
            ("written", 2),
        ]);
        assert!(log.borrow().iter().copied().eq(expected), "{:?}", log.borrow());
    }
}
