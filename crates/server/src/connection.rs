//! A connection: reads, executes what is complete, writes, waits; and nothing else in between.
//!
//! An idle connection owns no buffers: the worker lends them for the length of a batch. What is
//! left of a batch, an incomplete command, moves to a buffer of the connection's own. Replies of a
//! batch are written at once; while the socket is full, nothing more is read.
//!
//! **Invariant:** replies leave in the order of the commands, and only while the role under which
//! the commands were executed still holds.

use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use slotward_commands::Fieldsets;
use slotward_keyspace::{DbIndex, Watch};
use slotward_resp::{CommandDecoder, Decoded, Limits, OwnedArgs, Protocol, Reply, Span};
use slotward_types::{ReplOffset, Slot};

use crate::admission::View;
use crate::aside;
use crate::blocking::{self, Answer, Blocked};
use crate::client::{Client, mark};
use crate::clock::{self, Ticks};
use crate::execute::{self, Flow, GROUP, Prepared, Turn};
use crate::pubsub::Mailbox;
use crate::replication::Handshake;
use crate::stream::{Accepted, Stream, poll_read_vec};
use crate::tracking::Tracked;
use crate::transaction::Transaction;
use crate::view::RoleWord;
use crate::worker::{Lent, Scratch, Worker};
use crate::writing;

/// Replies beyond this are written before the next group is executed.
const REPLY_BYTES_HELD: usize = 128 << 10;
/// What an incomplete command's buffer grows by at least.
const INPUT_BYTES_STEP: usize = 16 << 10;

/// Whether the client wants replies (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// Yes.
    On,
    /// No.
    Off,
    /// Not to the command being executed, nor to the one after it.
    SkipNext,
    /// Not to this one.
    Skip,
}

/// A socket whose connection has become something else (a replica's link).
pub(crate) struct Taken {
    /// The socket.
    pub(crate) stream: Stream,
    /// What the peer had sent beyond the command that changed the connection.
    pub(crate) unread: Vec<u8>,
    /// How others see the connection; it stays listed until the task ends.
    pub(crate) client: Arc<Client>,
    /// The worker it runs on.
    pub(crate) worker: Rc<Worker>,
    /// What the peer said with `REPLCONF`.
    pub(crate) handshake: Option<Box<Handshake>>,
}

/// Goes on with a socket in another way; the socket is closed when its future ends.
pub(crate) type Takeover = Box<dyn FnOnce(Rc<Taken>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A key that is watched until the next `EXEC`.
pub(crate) struct Watched {
    /// Its database.
    pub(crate) db: DbIndex,
    /// The key.
    pub(crate) key: Box<[u8]>,
    /// Whether it changed.
    pub(crate) watch: Watch,
}

/// Everything about a connection that its commands see and change.
pub(crate) struct Conn {
    /// How others see it.
    pub(crate) client: Arc<Client>,
    /// The database it works in.
    pub(crate) db: DbIndex,
    /// The protocol its replies are written in.
    pub(crate) protocol: Protocol,
    /// Whether it may run commands.
    pub(crate) authenticated: bool,
    /// It said `READONLY`: a replica may answer its reads.
    pub(crate) readonly: bool,
    /// The next command may use a slot that is being imported.
    pub(crate) asking: bool,
    /// The host at which it is told to find every node, if not at those that they announced.
    pub(crate) told_host: Option<Arc<str>>,
    /// Commands queued since `MULTI`.
    pub(crate) transaction: Option<Box<Transaction>>,
    /// Keys watched.
    pub(crate) watched: Vec<Watched>,
    /// Whether it wants replies.
    pub(crate) replies: Replies,
    /// Replies that wait to be written tell of data: they may leave only in the role, epoch and lease
    /// in which they were made, which this is. Others (`INFO`, errors, changes of the role itself)
    /// always may.
    pub(crate) guarded: Option<RoleWord>,
    /// It ends once its replies are written.
    pub(crate) closing: bool,
    /// It becomes something else once its replies are written.
    pub(crate) takeover: Option<Takeover>,
    /// What it said with `REPLCONF`.
    pub(crate) replica: Option<Box<Handshake>>,
    /// Where its last write ended in the log (`WAIT`).
    pub(crate) last_write: ReplOffset,
    /// While `EXEC` runs: what is to be propagated.
    pub(crate) propagated: Option<Vec<(DbIndex, OwnedArgs)>>,
    /// `EXEC` was just said.
    pub(crate) exec_asked: bool,
    /// The number of its last command.
    pub(crate) last_command: u16,
    /// Its last command waits for a key.
    pub(crate) blocked: Option<Box<Blocked>>,
    /// Slots with ready keys whose clients could not be served with the command.
    pub(crate) unserved: Vec<Slot>,
    /// What it has prepared for `HIMPORT`.
    pub(crate) fieldsets: Fieldsets,
    /// What is to be pushed to it.
    pub(crate) mailbox: Rc<Mailbox>,
    /// It has subscribed to something or keeps copies of keys, or once did: it looks for messages
    /// between commands.
    pub(crate) listening: bool,
    /// The reply just written is a message, wanted or not.
    pub(crate) pushed: bool,
    /// It has published something in this batch.
    pub(crate) published: bool,
    /// How it keeps copies of keys.
    pub(crate) tracked: Option<Box<Tracked>>,
}

/// Why a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// One of the two sides wanted it.
    Closed,
    /// Something else goes on with the socket.
    TakenOver,
    /// The node may not answer any more in the role under which it executed.
    Dropped,
}

/// What has been received of a command that is not complete.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    decoder: CommandDecoder,
    needed: usize,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let node = worker.node.clone();
    let (peer, local) = (accepted.peer(), accepted.local());
    let from = accepted.peer_address().map(|peer| peer.ip());
    let unix = matches!(accepted, Accepted::Unix(..));
    let mut stream = match accepted.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, peer, "cannot serve a connection");
            return;
        }
    };
    let now = clock::unix_now();
    let client = node.clients.enter(stream.as_raw_fd(), peer, local, unix, now, worker.index);
    node.stats.clients_peak.fetch_max(node.clients.count() as u64, Ordering::Relaxed);
    let live = node.live.load_full();
    // The same for as long as the task lives.
    let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let mut conn = Conn::new(client.clone(), !live.wants_password(), waker);
    worker.local.borrow_mut().open(&conn.mailbox);
    conn.told_host = from.and_then(|from| live.settings.announce_to.of(from).cloned());
    drop(live);
    let mut input = Input::default();
    let end = converse(&worker, &mut stream, &mut conn, &mut input).await;
    conn.end_transaction();
    conn.unsubscribe_all(&worker);
    conn.untrack(&node);
    worker.local.borrow_mut().close(client.id);
    let taken = Rc::new(Taken {
        stream,
        unread: std::mem::take(&mut input.buffer),
        client: client.clone(),
        worker,
        handshake: conn.replica.take(),
    });
    let takeover = conn.takeover.take();
    drop(conn);
    match (end, takeover) {
        (End::TakenOver, Some(takeover)) => takeover(taken.clone()).await,
        (end, _) => tracing::debug!(client = client.id, ?end, "a connection ended"),
    }
    node.clients.leave(client.id);
    // Before the socket is closed: its number may be another connection's right after.
    client.forget_socket();
    drop(taken);
}

async fn converse(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    conn: &mut Conn,
    input: &mut Input,
) -> End {
    loop {
        let mut answer = None;
        if conn.blocked.is_some() {
            // On the heap, so that connections that do not wait stay small.
            match Box::pin(blocking::sleep(worker, stream, conn, &mut input.buffer)).await {
                Ok(how) => answer = Some(how),
                Err(end) => return end,
            }
        }
        let received = match answer {
            // What the client has sent after the command that waited is served at once.
            Some(_) => Ok(Received::Bytes(worker.lend())),
            None => receive(worker, stream, conn, input).await,
        };
        let lent = match received {
            Ok(Received::Bytes(lent)) => lent,
            Ok(Received::Mail) => match deliver_mail(worker, stream, conn).await {
                Ok(()) => continue,
                Err(end) => return end,
            },
            Ok(Received::End) => return End::Closed,
            Err(error) => {
                tracing::debug!(client = conn.client.id, %error, "a connection broke");
                return End::Closed;
            }
        };
        if let Err(end) = serve_batch(worker, stream, conn, input, lent, answer).await {
            return end;
        }
        if conn.client.is_killed() {
            return End::Closed;
        }
    }
}

/// What a connection has waited for.
enum Received {
    /// Bytes, in these buffers or behind what there was of a command.
    Bytes(Lent),
    /// Something was published for it.
    Mail,
    /// The end of the stream.
    End,
}

/// Waits for bytes and reads them: into lent buffers, or behind what there is of a command. Or until
/// something is published for the connection.
async fn receive(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    conn: &Conn,
    input: &mut Input,
) -> io::Result<Received> {
    if !input.buffer.is_empty() {
        make_room(input);
        conn.client
            .input_bytes
            .store(u32::try_from(input.buffer.capacity()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    let received = std::future::poll_fn(|context| {
        let mut lent = worker.lend();
        let buffer = if input.buffer.is_empty() { &mut lent.read } else { &mut input.buffer };
        match poll_read_vec(stream, context, buffer) {
            Poll::Ready(result) => Poll::Ready(result.map(|read| Some((read, lent)))),
            Poll::Pending if conn.mailbox.has_mail() => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    let Some((read, lent)) = received else { return Ok(Received::Mail) };
    worker.stats.bytes_in.add(read as u64);
    worker.stats.reads.add(1);
    Ok(if read > 0 { Received::Bytes(lent) } else { Received::End })
}

/// Writes what is published for the connection, at a moment at which it has no replies to write.
pub(crate) async fn deliver_mail(
    worker: &Rc<Worker>,
    stream: &Stream,
    conn: &Conn,
) -> Result<(), End> {
    let mailbox = &conn.mailbox;
    while mailbox.has_mail() {
        let written = {
            let mut lent = worker.lend();
            let bytes = lent.reply.buffer_mut();
            mailbox.copy_to(bytes, REPLY_BYTES_HELD);
            stream.try_write(bytes)
        };
        match written {
            Ok(count) => {
                worker.stats.writes.add(1);
                worker.stats.bytes_out.add(count as u64);
                mailbox.advance(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stream.writable().await.is_err() || conn.client.is_killed() {
                    return Err(End::Closed);
                }
            }
            Err(_) => return Err(End::Closed),
        }
    }
    if conn.client.is_killed() { Err(End::Closed) } else { Ok(()) }
}

/// Room for what is announced, but never more than doubles what has really come: the announcement
/// is the client's word, the memory is ours.
fn make_room(input: &mut Input) {
    let len = input.buffer.len();
    let missing = input.needed.saturating_sub(len).max(INPUT_BYTES_STEP);
    if input.buffer.capacity() - len < INPUT_BYTES_STEP.min(missing) {
        input.buffer.reserve_exact(missing.min(len.max(4 * INPUT_BYTES_STEP)));
    }
}

/// Executes all commands that have arrived and writes their replies.
async fn serve_batch(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    conn: &mut Conn,
    input: &mut Input,
    mut lent: Lent,
    answer: Option<Answer>,
) -> Result<(), End> {
    let owned = !input.buffer.is_empty();
    let mut buffer = std::mem::take(if owned { &mut input.buffer } else { &mut lent.read });
    lent.spans.append(&mut input.spans);
    lent.reply.set_protocol(conn.protocol);
    conn.client.note_input(buffer.len());
    let mut batch = Batch {
        worker,
        conn,
        scratch: &mut lent,
        view: View::new(&worker.node),
        last: Ticks::now(),
    };
    batch.scratch.effects.set_wanted(batch.view.live.data.notify);
    if let Some(answer) = answer {
        batch.turn().deliver(answer)?;
        if batch.conn.closing {
            batch.flush(stream).await?;
            return Err(End::Closed);
        }
    }
    if batch.conn.listening {
        batch.turn().hear();
    }
    let result = batch.run(stream, &mut buffer, &mut input.decoder).await;
    batch.publish();
    let left = match result {
        Ok(left) if !left.ended => left,
        ended => {
            if let (Ok(left), Some(_)) = (&ended, &conn.takeover) {
                input.buffer = buffer.split_off(left.at);
            }
            if !owned {
                buffer.clear();
                lent.read = buffer;
            }
            let taken_over = conn.takeover.is_some();
            return Err(match ended {
                Err(end) => end,
                Ok(_) if taken_over => End::TakenOver,
                Ok(_) => End::Closed,
            });
        }
    };
    if conn.blocked.is_some() {
        // What follows is looked at anew when the wait is over.
        input.decoder = CommandDecoder::default();
        lent.group.clear();
        lent.spans.clear();
    }
    keep_rest(input, &mut lent, buffer, owned, &left);
    conn.client.note_input(input.buffer.len());
    writing::finish_batch(worker, stream, conn, lent).await?;
    if !input.buffer.is_empty()
        && input.buffer.len() as u64 > worker.node.live.load().settings.client_query_buffer_limit
    {
        tracing::warn!(client = conn.client.id, "closing a client that sends too much at once");
        return Err(End::Closed);
    }
    Ok(())
}

/// Where a batch stopped.
struct Left {
    /// Index of the first byte that was not consumed.
    at: usize,
    /// How long the buffer must become for a next command to be complete.
    needed: usize,
    /// Whether the connection ends here.
    ended: bool,
}

/// Keeps the incomplete command at the end of a batch, if there is one.
fn keep_rest(input: &mut Input, lent: &mut Lent, mut buffer: Vec<u8>, owned: bool, left: &Left) {
    // Arguments that were found of the incomplete command; they lie from `at` on.
    let at = left.at as u32;
    let from = lent.group.last().map_or(0, Prepared::spans_end);
    input.spans.extend(
        lent.spans[from..].iter().map(|span| Span { start: span.start - at, len: span.len }),
    );
    input.needed = left.needed - left.at;
    if owned {
        if left.at < buffer.len() {
            buffer.drain(..left.at);
            input.buffer = buffer;
        }
    } else {
        if left.at < buffer.len() {
            let rest = &buffer[left.at..];
            let room = input.needed.clamp(rest.len(), rest.len() + INPUT_BYTES_STEP);
            input.buffer = Vec::with_capacity(room);
            input.buffer.extend_from_slice(rest);
        }
        buffer.clear();
        lent.read = buffer;
    }
}

/// A batch of commands being served: what its parts need of each other.
pub(crate) struct Batch<'b> {
    /// The worker.
    pub(crate) worker: &'b Rc<Worker>,
    /// The connection.
    pub(crate) conn: &'b mut Conn,
    /// The buffers.
    pub(crate) scratch: &'b mut Scratch,
    /// What commands are admitted under.
    pub(crate) view: View,
    /// When the last command ended.
    pub(crate) last: Ticks,
}

impl Batch<'_> {
    async fn run(
        &mut self,
        stream: &mut Stream,
        buffer: &mut [u8],
        decoder: &mut CommandDecoder,
    ) -> Result<Left, End> {
        let mut at = 0;
        loop {
            let found = self.decode_group(buffer, &mut at, decoder);
            execute::prepare(&self.worker.node, self.conn.db, buffer, self.scratch);
            self.last = Ticks::now();
            let ended_after = self.execute_group(stream, buffer).await?;
            if std::mem::take(&mut self.conn.published) {
                Box::pin(self.worker.node.pubsub.relief()).await;
            }
            if let Some(index) = ended_after {
                // What follows the command that ended the conversation, or waits, is not ours to
                // execute.
                let end = self.scratch.group[index].end();
                self.flush(stream).await?;
                return Ok(Left { at: end, needed: end, ended: self.conn.blocked.is_none() });
            }
            match found {
                Ok(Group::Full) => {
                    if self.scratch.reply.len() > REPLY_BYTES_HELD {
                        self.flush(stream).await?;
                    }
                }
                Ok(Group::Last { needed }) => {
                    return Ok(Left { at, needed, ended: false });
                }
                Err(error) => {
                    self.worker.stats.on_error("ERR");
                    self.scratch.reply.error(&format!("ERR {error}"));
                    self.flush(stream).await?;
                    return Ok(Left { at, needed: at, ended: true });
                }
            }
        }
    }

    /// Finds up to a group of complete commands from `at` on, and leaves `at` after them.
    fn decode_group(
        &mut self,
        buffer: &mut [u8],
        at: &mut usize,
        decoder: &mut CommandDecoder,
    ) -> Result<Group, slotward_resp::ProtocolError> {
        let Scratch { spans, group, slots, .. } = &mut *self.scratch;
        if !group.is_empty() {
            spans.clear();
        }
        group.clear();
        slots.clear();
        let limits =
            if self.conn.authenticated { &self.view.live.limits } else { &Limits::UNAUTHENTICATED };
        let mut from = 0;
        while group.len() < GROUP {
            // An inline command is changed where it lies when it is decoded, so it must not be
            // found behind one that may wait.
            if !group.is_empty() && buffer.get(*at).is_some_and(|byte| *byte != b'*') {
                return Ok(Group::Full);
            }
            match decoder.decode(buffer, *at, spans, limits)? {
                Decoded::Command { end } => {
                    *at = end;
                    if spans.len() > from {
                        group.push(Prepared::at(from, spans.len(), end));
                    }
                    from = spans.len();
                }
                Decoded::Incomplete { needed } => return Ok(Group::Last { needed }),
            }
        }
        Ok(Group::Full)
    }

    /// Executes the commands of the group. Returns the index of the command after which the
    /// conversation ends, if one of them ends it.
    async fn execute_group(
        &mut self,
        stream: &mut Stream,
        buffer: &[u8],
    ) -> Result<Option<usize>, End> {
        let mut index = 0;
        while index < self.scratch.group.len() {
            match self.execute_some(buffer, &mut index) {
                Flow::Next => {}
                Flow::Outdated => self.renew()?,
                Flow::Wait(wait) => {
                    if aside::wait(self, stream, buffer, index, wait).await? {
                        index += 1;
                        if self.conn.listening {
                            self.turn().after_listener();
                        }
                    }
                }
            }
            if !self.conn.unserved.is_empty() {
                let slots = std::mem::take(&mut self.conn.unserved);
                Box::pin(blocking::serve_aside(self.worker, slots)).await;
                self.renew()?;
            }
            if self.conn.stops() {
                return Ok(Some(index - 1));
            }
            if self.conn.client.is_killed() {
                return Err(End::Closed);
            }
        }
        Ok(None)
    }

    /// Executes commands from `index` on until one has to wait, ends the conversation, or all are
    /// done.
    fn execute_some(&mut self, buffer: &[u8], index: &mut usize) -> Flow {
        let worker = self.worker;
        let mut inside = worker.participant.enter();
        let Scratch { group, spans, slots, reply, effects, .. } = &mut *self.scratch;
        let mut turn = Turn {
            node: &worker.node,
            worker,
            conn: &mut *self.conn,
            view: &self.view,
            reply,
            effects,
            last: &mut self.last,
        };
        let output_max = self.view.live.output.hard_bytes;
        while let Some(prepared) = group.get(*index) {
            let flow = turn.run(prepared, prepared.argv(buffer, spans), slots);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            *index += 1;
            if turn.conn.listening {
                turn.after_listener();
            }
            if turn.conn.stops() || !turn.conn.unserved.is_empty() {
                return Flow::Next;
            }
            if output_max > 0 && turn.reply.len() as u64 > output_max {
                tracing::warn!(client = turn.conn.client.id, "closing a client: output limit");
                turn.conn.client.kill();
                return Flow::Next;
            }
            inside.give_way();
        }
        Flow::Next
    }

    /// A turn for one command.
    pub(crate) fn turn(&mut self) -> Turn<'_> {
        Turn {
            node: &self.worker.node,
            worker: self.worker,
            conn: &mut *self.conn,
            view: &self.view,
            reply: &mut self.scratch.reply,
            effects: &mut self.scratch.effects,
            last: &mut self.last,
        }
    }

    /// Looks anew at role, settings and time. Replies made in another role are lost with the
    /// connection.
    pub(crate) fn renew(&mut self) -> Result<(), End> {
        let word = self.view.word;
        self.view = View::new(&self.worker.node);
        self.scratch.effects.set_wanted(self.view.live.data.notify);
        self.last = Ticks::now();
        let managed = word.is_managed() || self.view.word.is_managed();
        if self.view.word != word && self.conn.guarded.is_some() {
            if managed && !self.scratch.reply.is_empty() {
                return Err(End::Dropped);
            }
            self.conn.guarded = None;
        }
        Ok(())
    }

    /// Writes the replies so far.
    #[inline]
    pub(crate) async fn flush(&mut self, stream: &Stream) -> Result<(), End> {
        if self.conn.mailbox.has_mail() && self.conn.blocked.is_none() {
            self.conn.mailbox.move_to(self.scratch.reply.buffer_mut());
        }
        writing::write(self.worker, stream, self.conn, self.scratch.reply.as_bytes()).await?;
        self.scratch.reply.truncate(0);
        Ok(())
    }

    /// Lets others see what the batch has changed about the connection.
    fn publish(&mut self) {
        let client = &self.conn.client;
        client.last_active.store(self.view.now.0, Ordering::Relaxed);
        client.last_command.store(self.conn.last_command, Ordering::Relaxed);
        client.db.store(self.conn.db.0, Ordering::Relaxed);
    }
}

/// What [`Batch::decode_group`] found.
enum Group {
    /// As many commands as fit into a group; there may be more.
    Full,
    /// The last commands that have arrived whole.
    Last {
        /// See [`Decoded::Incomplete`].
        needed: usize,
    },
}

impl Conn {
    /// Notes that what is replied now tells of data as they were in this role and epoch (rule 10 of
    /// docs/failover.md): it leaves under them or not at all.
    ///
    /// # Panics
    /// When replies of another term wait in the same batch: one test of the lease could not tell for
    /// both.
    #[inline]
    pub(crate) fn guard(&mut self, word: RoleWord) {
        assert!(
            self.guarded.is_none_or(|made_in| made_in == word || !made_in.is_managed()),
            "replies of two terms in one batch"
        );
        self.guarded = Some(word);
    }

    /// A connection as it begins.
    /// Its task is woken when something is published for it.
    pub(crate) fn new(client: Arc<Client>, authenticated: bool, waker: Waker) -> Conn {
        let mailbox = Rc::new(Mailbox::new(client.clone(), waker));
        Conn {
            client,
            db: DbIndex::default(),
            protocol: Protocol::Resp2,
            authenticated,
            readonly: false,
            asking: false,
            told_host: None,
            transaction: None,
            watched: Vec::new(),
            replies: Replies::On,
            guarded: None,
            closing: false,
            takeover: None,
            replica: None,
            last_write: ReplOffset(0),
            propagated: None,
            exec_asked: false,
            last_command: u16::MAX,
            blocked: None,
            unserved: Vec::new(),
            fieldsets: Fieldsets::default(),
            mailbox,
            listening: false,
            pushed: false,
            published: false,
            tracked: None,
        }
    }

    /// Whether no further command of the batch is to be executed.
    #[inline]
    fn stops(&self) -> bool {
        self.closing || self.takeover.is_some() || self.blocked.is_some()
    }

    /// Forgets the queued commands and the watched keys.
    pub(crate) fn end_transaction(&mut self) {
        self.transaction = None;
        self.watched.clear();
        self.client.mark(mark::MULTI | mark::DIRTY, false);
        self.client.queued.store(-1, Ordering::Relaxed);
        self.client.watched.store(0, Ordering::Relaxed);
    }

    /// Speaks another version of the protocol from the next reply on.
    pub(crate) fn set_protocol(&mut self, protocol: Protocol, reply: &mut Reply) {
        self.protocol = protocol;
        reply.set_protocol(protocol);
        let number = if protocol == Protocol::Resp3 { 3 } else { 2 };
        self.client.protocol.store(number, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        let bytes = future_bytes(serve);
        assert!(bytes <= 2048, "a connection's task takes {bytes} bytes");
    }
}
