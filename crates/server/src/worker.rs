//! A worker: one thread, one runtime, the connections dealt to it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use slotward_commands::{Effects, EventClass, Random};
use slotward_keyspace::{Locked, SlotGuard};
use slotward_resp::{Protocol, Reply, Span};
use slotward_types::Slot;
use tokio::sync::mpsc;

use crate::barrier::{Inside, Participant};
use crate::connection;
use crate::eviction;
use crate::execute::Prepared;
use crate::node::Node;
use crate::pubsub::{self, Local, Post};
use crate::stats::WorkerStats;
use crate::stream::Accepted;

/// Bytes read at once from a socket. Lent, so that its size costs nothing per connection.
const READ_BYTES: usize = 64 << 10;
/// A reply buffer that has grown beyond this is given back to the allocator.
const REPLY_BYTES_KEPT: usize = 256 << 10;
/// Sets of buffers a worker keeps; more are in use only while connections wait in mid-batch.
const SCRATCH_KEPT: usize = 4;
/// Buffers for replies a worker keeps: about as many connections are ready at once, if they are busy.
const REPLIES_KEPT: usize = 64;

/// Work that is sent to a worker from outside.
pub(crate) enum Job {
    /// A connection to serve.
    Serve(Accepted),
    /// A task to run on the worker's thread.
    Run(Task),
}

/// Makes a task, on the worker that is to run it.
pub(crate) type Task = Box<dyn FnOnce(Rc<Worker>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Where work is sent to a worker.
pub(crate) type Inbox = mpsc::UnboundedSender<Job>;

/// What the tasks of one worker share.
pub(crate) struct Worker {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// Its part in the worker barrier. Entered for the length of a batch, never across an await.
    pub(crate) participant: Participant,
    /// What it counts.
    pub(crate) stats: Arc<WorkerStats>,
    /// Its randomness.
    pub(crate) random: RefCell<Random>,
    /// Its number.
    pub(crate) index: u16,
    /// What is published for its connections.
    pub(crate) post: Arc<Post>,
    /// Which of its connections have subscribed to what.
    pub(crate) local: RefCell<Local>,
    /// Keys that it may evict next.
    pub(crate) evictable: RefCell<eviction::Pool>,
    /// How many connections have replies that wait for the end of the round.
    pub(crate) unwritten: Cell<usize>,
    /// Buffers for replies that wait to be written.
    replies: RefCell<Vec<Vec<u8>>>,
    // Boxed, so that lending moves a pointer.
    #[allow(clippy::vec_box)]
    pool: RefCell<Vec<Box<Scratch>>>,
}

/// The buffers that a connection needs only while it works.
pub(crate) struct Scratch {
    /// What was read.
    pub(crate) read: Vec<u8>,
    /// Where the arguments of the present group's commands lie.
    pub(crate) spans: Vec<Span>,
    /// The commands of the present group.
    pub(crate) group: Vec<Prepared>,
    /// Slots of those of them that have several keys.
    pub(crate) slots: Vec<Slot>,
    /// Argument indexes of keys.
    pub(crate) keys: Vec<usize>,
    /// The replies of the batch.
    pub(crate) reply: Reply,
    /// The effects of the command being executed.
    pub(crate) effects: Effects,
}

/// Buffers on loan; they go back to the worker when this is dropped.
pub(crate) struct Lent {
    scratch: Option<Box<Scratch>>,
    worker: Rc<Worker>,
}

impl Worker {
    /// Lends a set of buffers, all empty.
    pub(crate) fn lend(self: &Rc<Self>) -> Lent {
        let scratch = self.pool.borrow_mut().pop().unwrap_or_else(|| {
            Box::new(Scratch {
                read: Vec::with_capacity(READ_BYTES),
                spans: Vec::new(),
                group: Vec::new(),
                slots: Vec::new(),
                keys: Vec::new(),
                reply: Reply::new(Vec::new(), Protocol::Resp2),
                effects: Effects::new(EventClass::NONE),
            })
        });
        Lent { scratch: Some(scratch), worker: self.clone() }
    }

    /// Takes back what [`Lent::take_replies`] gave.
    pub(crate) fn keep_replies(&self, mut replies: Vec<u8>) {
        let mut kept = self.replies.borrow_mut();
        if kept.len() < REPLIES_KEPT {
            replies.clear();
            kept.push(replies);
        }
    }

    /// Waits for a slot. It comes together with being inside: whoever held it outside would block
    /// an action of the barrier that needs the slot.
    pub(crate) async fn lock(&self, slot: Slot) -> (Inside<'_>, SlotGuard<'static>) {
        let keyspace = self.node.keyspace;
        {
            let inside = self.participant.enter();
            if let Some(guard) = keyspace.try_lock(slot) {
                return (inside, guard);
            }
        }
        self.stats.set_aside.add(1);
        let mut wait = std::pin::pin!(keyspace.lock(slot));
        std::future::poll_fn(|context| {
            let inside = self.participant.enter();
            match wait.as_mut().poll(context) {
                Poll::Ready(guard) => Poll::Ready((inside, guard)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for slots in ascending order. The caller has passed [`Barrier::several`] if there is
    /// more than one.
    ///
    /// [`Barrier::several`]: crate::barrier::Barrier::several
    pub(crate) async fn lock_all(&self, slots: &[Slot]) -> (Inside<'_>, Locked<'static>) {
        let mut locked = Locked::new();
        let Some((last, first)) = slots.split_last() else {
            return (self.participant.enter(), locked);
        };
        for slot in first {
            let (_inside, guard) = self.lock(*slot).await;
            locked.push(guard);
        }
        let (inside, guard) = self.lock(*last).await;
        locked.push(guard);
        (inside, locked)
    }
}

impl Lent {
    /// The replies, which then no longer need the other buffers.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        let empty = self.worker.replies.borrow_mut().pop().unwrap_or_default();
        std::mem::replace(self.reply.buffer_mut(), empty)
    }
}

impl Deref for Lent {
    type Target = Scratch;
    fn deref(&self) -> &Scratch {
        self.scratch.as_ref().expect("the buffers are here until the drop")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Scratch {
        self.scratch.as_mut().expect("the buffers are here until the drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut scratch = self.scratch.take().expect("the buffers are here until the drop");
        let mut pool = self.worker.pool.borrow_mut();
        // A buffer that has become something else's is not lent again.
        if pool.len() >= SCRATCH_KEPT || scratch.read.capacity() < READ_BYTES {
            return;
        }
        scratch.read.clear();
        // A connection that ended in mid-batch kept the buffer that it read into.
        if scratch.read.capacity() < READ_BYTES {
            scratch.read = Vec::with_capacity(READ_BYTES);
        }
        scratch.spans.clear();
        scratch.group.clear();
        scratch.slots.clear();
        scratch.keys.clear();
        scratch.effects.clear();
        scratch.reply.truncate(0);
        if scratch.reply.buffer_mut().capacity() > REPLY_BYTES_KEPT {
            *scratch.reply.buffer_mut() = Vec::new();
        }
        scratch.spans.shrink_to(4096);
        scratch.slots.shrink_to(4096);
        scratch.keys.shrink_to(4096);
        pool.push(scratch);
    }
}

/// Starts the thread of a worker; it ends when the node shuts down.
pub(crate) fn start(
    node: &Arc<Node>,
    index: usize,
    inbox: mpsc::UnboundedReceiver<Job>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let node = node.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start worker {index}: {error}"))?;
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, run(node, index, inbox));
    })?;
    Ok(thread)
}

async fn run(node: Arc<Node>, index: usize, mut inbox: mpsc::UnboundedReceiver<Job>) {
    let worker = Rc::new(Worker {
        participant: node.barrier.participant(),
        stats: node.stats.worker(index),
        random: RefCell::new(Random::new(node.seed_for(index))),
        index: u16::try_from(index).expect("there are few workers"),
        post: Arc::clone(node.pubsub.post(index)),
        local: RefCell::default(),
        evictable: RefCell::default(),
        pool: RefCell::default(),
        unwritten: Cell::default(),
        replies: RefCell::default(),
        node: node.clone(),
    });
    tokio::task::spawn_local(pubsub::run(worker.clone()));
    loop {
        let job = tokio::select! {
            job = inbox.recv() => job,
            () = node.shutdown.begun() => None,
        };
        match job {
            Some(Job::Serve(accepted)) => {
                tokio::task::spawn_local(connection::serve(worker.clone(), accepted));
            }
            Some(Job::Run(task)) => {
                tokio::task::spawn_local(task(worker.clone()));
            }
            None => return finish_round(&worker).await,
        }
    }
}

/// Lets connections write what they were about to write. New work may come at any time, so not
/// without end.
async fn finish_round(worker: &Worker) {
    const ROUNDS_MAX: usize = 16;
    for _ in 0..ROUNDS_MAX {
        if worker.unwritten.get() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}
