//! Clients that wait for a key: set aside, served by whoever changes it, ended by time or by force.
//!
//! A command that finds nothing leaves a [`Wait`] with its keys, in their slots, and its connection
//! goes to sleep without buffers. Who changes one of the keys runs the command again before it lets
//! go of the slot ([`Turn::serve_waiting`]) and leaves the reply in the wait; so the order of
//! arrival holds, and nobody else sees an element in between. Time running out, `CLIENT UNBLOCK`, a
//! change of the role and the end of the connection only end the wait.
//!
//! **Invariants:** a wait ends once: whoever holds its lock and finds it waiting decides how. What a
//! wait's command does to data, it does under the role and the locks of whoever runs it, and its
//! reply leaves only if that role still holds (rule 10 of the failover protocol).
//!
//! **Locks** are taken in this order: slots, the wait, the keyspace's side table. Whoever holds a
//! wait waits for nothing but the side table.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use slotward_commands::{CommandId, Flags, WaitFor};
use slotward_keyspace::{Db, DbIndex, ExpiryPolicy, Key, Locked, ReadyKey, Waiter, Waiting};
use slotward_resp::{Args, OwnedArgs, Protocol, Reply};
use slotward_types::{ReplOffset, Slot, UnixMillis, slot_of};

use crate::admission::View;
use crate::call::Exec;
use crate::client::{Client, mark};
use crate::clock::{self, Ticks};
use crate::connection::{Conn, End, Replies, deliver_mail};
use crate::execute::{DataCall, Turn};
use crate::node::Node;
use crate::stream::{Stream, poll_read_vec};
use crate::tracking;
use crate::view::RoleWord;
use crate::worker::{Lent, Worker};

/// What a waiting client may have sent ahead before we stop reading from it.
const SENT_AHEAD_MAX: usize = 1 << 20;

const ROLE_CHANGED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed \
                            (master -> replica?)";
const BY_COMMAND: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// A command of a client that waits.
pub(crate) struct Wait {
    client: Arc<Client>,
    id: CommandId,
    args: OwnedArgs,
    db: DbIndex,
    protocol: Protocol,
    until: Option<UnixMillis>,
    /// The slots of all its keys, ascending.
    slots: Vec<Slot>,
    /// Those that it needs whichever key becomes ready.
    needed: Vec<Slot>,
    /// It waits for replicas, not for keys.
    acks: Option<Acks>,
    state: Mutex<State>,
}

/// So many replicas are to have the log up to here (`WAIT`).
#[derive(Debug, Clone, Copy)]
struct Acks {
    offset: ReplOffset,
    count: usize,
}

#[derive(Default)]
struct State {
    /// It has ended, for good: its connection may have fetched the answer already.
    ended: bool,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// How a wait ended.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// The role under which it was made, if it tells of data.
    word: Option<RoleWord>,
    /// Where in the log its effect ends, if it was executed, and so counted.
    executed: Option<ReplOffset>,
    /// The connection ends with it.
    last: bool,
}

/// A wait, as its connection has it: dropping it leaves the queues.
pub(crate) struct Blocked {
    wait: Arc<Wait>,
    _place: Option<Waiting>,
}

/// Clients that wait need a slot which somebody else holds just now.
#[derive(Debug)]
pub(crate) struct Missing {
    /// That slot.
    slot: Slot,
    /// The slots of the keys that they wait for.
    pub(crate) ready: Vec<Slot>,
}

impl Wait {
    /// How it ends. Others see at once that the client does not wait any more.
    fn settle(&self, state: &mut State, answer: Answer) -> Option<Waker> {
        assert!(!state.ended, "a wait ends once");
        state.ended = true;
        state.answer = Some(answer);
        self.client.mark(mark::BLOCKED, false);
        state.waker.take()
    }

    /// Ends the wait, unless it has ended. Whether it had not.
    fn end(&self, answer: Answer) -> bool {
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        let waker = self.settle(&mut state, answer);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Until somebody has ended it.
    async fn ended(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.ended {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// It is time: nothing has come, or so many replicas have acknowledged. The reply tells that, so
    /// it needs the role.
    fn time_out(&self, node: &Node) -> bool {
        let word = Some(node.role.load());
        let mut reply = Reply::new(Vec::new(), self.protocol);
        match self.acks {
            None => reply.null_array(),
            Some(acks) => {
                reply.integer(node.replication.replicas.count_acked(acks.offset) as i64);
            }
        }
        let executed = self.acks.map(|acks| acks.offset);
        self.end(Answer { bytes: reply.into_buffer(), word, executed, last: false })
    }

    fn refuse(&self, text: &str, last: bool) -> bool {
        let mut reply = Reply::new(Vec::new(), self.protocol);
        reply.error(text);
        self.end(Answer { bytes: reply.into_buffer(), word: None, executed: None, last })
    }

    /// What the client is told if one of its slots is not served here any more.
    fn redirect(&self, node: &Node) -> Option<String> {
        let lost = self.slots.iter().find(|slot| !node.served.contains(**slot))?;
        let settings = &node.live.load().settings;
        if !settings.cluster_enabled {
            return None;
        }
        let map = node.slot_map.load();
        match map.route(*lost, false, settings.cluster_require_full_coverage) {
            slotward_cluster::Route::Serve => None,
            refusal => Some(refusal.to_string()),
        }
    }
}

impl Turn<'_> {
    /// The command found nothing: its client waits. The slots of its keys are held.
    #[cold]
    pub(crate) fn block(
        &mut self,
        data: &DataCall<'_>,
        what: WaitFor,
        start: usize,
        locked: &Locked<'static>,
    ) {
        self.reply.truncate(start);
        let keyspace = self.node.keyspace;
        let mut indexes = Vec::new();
        // They made sense before the command was executed.
        let _ = self.node.commands.registry().keys_of(data.id, data.argv, &mut indexes);
        let slots_of = |indexes: &mut dyn Iterator<Item = usize>| {
            let mut slots: Vec<Slot> = indexes.map(|index| slot_of(&data.argv[index])).collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        };
        let slots = slots_of(&mut indexes.iter().copied());
        let others = indexes.iter().copied().filter(|index| !what.keys.contains(index));
        let wait = Arc::new(Wait {
            client: self.conn.client.clone(),
            id: data.id,
            needed: slots_of(&mut others.into_iter()),
            acks: None,
            slots,
            db: self.conn.db,
            protocol: self.conn.protocol,
            until: what.until,
            state: Mutex::default(),
            args: what.again.unwrap_or_else(|| data.argv.into()),
        });
        let keys: Vec<Key<'_>> = what.keys.map(|index| keyspace.key(&data.argv[index])).collect();
        let waiter: Waiter = wait.clone();
        let place = keyspace.wait_for(locked, wait.db, &keys, what.wanted, &waiter);
        wait.client.set_blocked(&wait);
        // Against "change the role, then look who waits": either that look finds us, or ours finds
        // the change.
        fence(Ordering::SeqCst);
        if self.node.role.load() != self.view.word {
            wait.refuse(ROLE_CHANGED, true);
        } else if let Some(text) = wait.redirect(self.node) {
            wait.refuse(&text, false);
        }
        self.conn.blocked = Some(Box::new(Blocked { wait, _place: Some(place) }));
    }

    /// Serves those who wait for keys that have become ready in the slots held, in order.
    ///
    /// # Errors
    /// When somebody's command needs one more slot, which is taken: see [`serve_aside`].
    #[cold]
    pub(crate) fn serve_waiting(&mut self, locked: &mut Locked<'static>) -> Result<(), Missing> {
        assert!(self.conn.propagated.is_none(), "those who wait see a transaction when it is over");
        // A master that may not write at the moment: the keys stay ready until it may.
        if self.view.word.is_master() && self.view.refusal(Flags::WRITE).is_some() {
            return Ok(());
        }
        let keyspace = self.node.keyspace;
        loop {
            let ready = keyspace.take_ready(locked);
            if ready.is_empty() {
                return Ok(());
            }
            for (at, key) in ready.iter().enumerate() {
                if let Err(slot) = self.serve_key(key, locked) {
                    let left = &ready[at..];
                    left.iter().for_each(|key| keyspace.put_ready_back(key));
                    return Err(Missing { slot, ready: left.iter().map(|key| key.slot).collect() });
                }
            }
        }
    }

    fn serve_key(&mut self, key: &ReadyKey, locked: &mut Locked<'static>) -> Result<(), Slot> {
        let node = self.node;
        let mut after = 0;
        loop {
            let held = {
                let (now, limits) = (self.view.now, &self.view.live.data.limits);
                // To look is no use of the key: if its time has come, others will remove it.
                let policy = ExpiryPolicy::Hide;
                let mut db = Db::new(node.keyspace, locked, key.db, now, policy, limits);
                db.kind(&db.key(&key.key))
            };
            let Some((number, waiter)) = node.keyspace.next_waiter(key, after, held) else {
                return Ok(());
            };
            after = number;
            let wait = waiter.downcast::<Wait>().expect("nothing else waits in this process");
            let mut state = wait.state.lock();
            let is_write = node.commands.hot(wait.id).flags.has(Flags::WRITE);
            let refused = is_write && self.view.refusal(Flags::WRITE).is_some();
            if state.ended || refused {
                continue;
            }
            for slot in wait.slots.iter().copied() {
                if locked.holds(slot) {
                    continue;
                }
                match node.keyspace.try_lock(slot) {
                    Some(guard) => locked.insert_free(guard),
                    None if wait.needed.contains(&slot) => return Err(slot),
                    // Its command goes without the key: there was nothing for it there.
                    None => {}
                }
            }
            if let Some(answer) = self.run_for(&wait, locked) {
                let waker = wait.settle(&mut state, answer);
                drop(state);
                node.keyspace.end_wait(key, number);
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Runs the command of somebody who waits. `None` if it goes on waiting.
    fn run_for(&mut self, wait: &Wait, locked: &mut Locked<'static>) -> Option<Answer> {
        let hot = *self.node.commands.hot(wait.id);
        let Exec::Data(run) = hot.exec else { unreachable!("only data commands wait for keys") };
        let argv: Args<'_> = wait.args.as_args();
        let slot = if let [slot] = wait.slots[..] { Some(slot) } else { None };
        let actor = wait.client.id;
        let data = DataCall { id: wait.id, flags: hot.flags, run, argv, key: None, slot, actor };
        let db = std::mem::replace(&mut self.conn.db, wait.db);
        let replies = std::mem::replace(&mut self.conn.replies, Replies::On);
        // What it reads it does not read for this connection.
        let listening = std::mem::replace(&mut self.conn.listening, false);
        let last_write = self.conn.last_write;
        let mut reply = Reply::new(Vec::new(), wait.protocol);
        let mut turn = Turn {
            node: self.node,
            worker: self.worker,
            conn: &mut *self.conn,
            view: self.view,
            reply: &mut reply,
            effects: &mut *self.effects,
            last: &mut *self.last,
        };
        let outcome = turn.call_and_propagate(&data, locked);
        let waits_on = outcome.is_ok() && turn.effects.take_wait().is_some();
        if !waits_on {
            turn.settle(wait.id, 0, outcome, argv);
        }
        let executed = Some(self.conn.last_write);
        self.conn.db = db;
        self.conn.replies = replies;
        self.conn.listening = listening;
        self.conn.last_write = last_write;
        let word = Some(self.view.word);
        (!waits_on).then(|| Answer { bytes: reply.into_buffer(), word, executed, last: false })
    }

    /// Writes how the connection's wait has ended.
    ///
    /// # Errors
    /// When the reply may not leave any more: it was made in another role.
    pub(crate) fn deliver(&mut self, answer: Answer) -> Result<(), End> {
        if let Some(word) = answer.word {
            if word.is_managed() && word != self.view.word {
                return Err(End::Dropped);
            }
            self.conn.guard(self.view.word);
        }
        match answer.executed {
            Some(offset) => self.conn.last_write = self.conn.last_write.max(offset),
            None => self.count_unserved(&answer),
        }
        self.conn.closing |= answer.last;
        let start = self.reply.len();
        self.reply.raw(&answer.bytes);
        self.hush(start);
        Ok(())
    }

    /// Nobody has executed the command, so nobody has counted it.
    fn count_unserved(&mut self, answer: &Answer) {
        let stats = &self.worker.stats;
        let counters = stats.command(usize::from(self.conn.last_command));
        stats.commands.add(1);
        counters.calls.add(1);
        if let Some(error) = answer.bytes.strip_prefix(b"-") {
            counters.failed.add(1);
            stats.on_error(&String::from_utf8_lossy(error));
        }
    }
}

/// The connection, which runs `WAIT`, waits until so many replicas have the log up to here.
pub(crate) fn wait_for_replicas(
    conn: &mut Conn,
    offset: ReplOffset,
    count: usize,
    until: Option<UnixMillis>,
) {
    let wait = Arc::new(Wait {
        client: conn.client.clone(),
        id: CommandId(conn.last_command),
        args: OwnedArgs::default(),
        db: conn.db,
        protocol: conn.protocol,
        until,
        slots: Vec::new(),
        needed: Vec::new(),
        acks: Some(Acks { offset, count }),
        state: Mutex::default(),
    });
    conn.client.set_blocked(&wait);
    conn.blocked = Some(Box::new(Blocked { wait, _place: None }));
}

/// Serves those who wait for ready keys of the slots held, for somebody without a connection.
///
/// # Errors
/// See [`Turn::serve_waiting`].
pub(crate) fn serve(worker: &Rc<Worker>, locked: &mut Locked<'static>) -> Result<(), Missing> {
    let mut conn = Conn::new(Client::of_the_master(), true, Waker::noop().clone());
    let mut lent = worker.lend();
    let lent = &mut *lent;
    let result = Turn {
        node: &worker.node,
        worker,
        conn: &mut conn,
        view: &View::new(&worker.node),
        reply: &mut lent.reply,
        effects: &mut lent.effects,
        last: &mut Ticks::now(),
    }
    .serve_waiting(locked);
    tracking::flush(&worker.node);
    result
}

/// Serves those who wait for ready keys of these slots, once all slots that it takes are free.
pub(crate) async fn serve_aside(worker: &Rc<Worker>, slots: Vec<Slot>) {
    for slot in slots {
        let mut needed = vec![slot];
        loop {
            let _several = match needed.len() {
                1 => None,
                _ => Some(worker.node.barrier.several().read().await),
            };
            let (_inside, mut locked) = worker.lock_all(&needed).await;
            let Err(missing) = serve(worker, &mut locked) else { break };
            needed.push(missing.slot);
            needed.sort_unstable();
            needed.dedup();
        }
    }
    worker.node.replication.wake();
}

/// Waits until the connection's command was served, ran out of time, or was ended. What the client
/// sends meanwhile goes to `sent_ahead`.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn sleep(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    conn: &mut Conn,
    sent_ahead: &mut Vec<u8>,
) -> Result<Answer, End> {
    let node = &worker.node;
    let blocked = conn.blocked.take().expect("only a connection that waits sleeps");
    let wait = &blocked.wait;
    let time_left = async {
        match wait.until {
            None => std::future::pending().await,
            Some(until) => {
                let millis = u64::try_from(until.0 - clock::unix_now().0).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        }
    };
    let mut time_left = std::pin::pin!(time_left);
    let acked = async {
        match wait.acks {
            None => std::future::pending().await,
            Some(acks) => node.replication.replicas.wait_acked(acks.offset, acks.count).await,
        }
    };
    let mut acked = std::pin::pin!(acked);
    let mut is_gone = false;
    loop {
        tokio::select! {
            biased;
            () = wait.ended() => break,
            () = conn.mailbox.arrived() => {
                // Messages come also to who waits; if the answer is there too, it was not first.
                if let Err(end) = deliver_mail(worker, stream, conn).await {
                    wait.end(Answer { bytes: Vec::new(), word: None, executed: None, last: true });
                    return Err(end);
                }
            }
            () = &mut acked => {
                wait.time_out(node);
                break;
            }
            () = &mut time_left => {
                // If somebody was quicker, that is how it ended.
                wait.time_out(node);
                break;
            }
            more = read_ahead(worker, stream, sent_ahead), if sent_ahead.len() < SENT_AHEAD_MAX => {
                if !more {
                    is_gone = true;
                    break;
                }
            }
        }
    }
    if is_gone {
        let nothing = Answer { bytes: Vec::new(), word: None, executed: None, last: true };
        wait.end(nothing);
        return Err(End::Closed);
    }
    let answer = wait.state.lock().answer.take();
    Ok(answer.expect("it has ended, and ends once"))
}

/// Reads what the client sends. False when it is gone.
async fn read_ahead(worker: &Rc<Worker>, stream: &mut Stream, into: &mut Vec<u8>) -> bool {
    let read = poll_fn(|context| {
        let mut lent: Lent = worker.lend();
        let Poll::Ready(result) = poll_read_vec(stream, context, &mut lent.read) else {
            return Poll::Pending;
        };
        into.extend_from_slice(&lent.read);
        Poll::Ready(result)
    })
    .await;
    let read = read.unwrap_or(0);
    worker.stats.bytes_in.add(read as u64);
    read > 0
}

/// How `CLIENT UNBLOCK` ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// As if its time had run out.
    Timeout,
    /// With an error.
    Error,
}

/// Ends a client's wait. False if it does not wait.
pub(crate) fn unblock(node: &Node, client: &Client, force: Force) -> bool {
    let Some(wait) = client.blocked() else { return false };
    match force {
        Force::Timeout => wait.time_out(node),
        Force::Error => wait.refuse(BY_COMMAND, false),
    }
}

/// To be called after a change of the role: nobody waits for what only a master could give.
pub(crate) fn on_role(node: &Node) {
    fence(Ordering::SeqCst);
    if node.role.load().is_master() {
        return;
    }
    for wait in node.clients.all().iter().filter_map(|client| client.blocked()) {
        wait.refuse(ROLE_CHANGED, true);
    }
}

/// To be called after a change of the slots served here: who waits in another's is sent there.
pub(crate) fn on_slots(node: &Node) {
    fence(Ordering::SeqCst);
    for wait in node.clients.all().iter().filter_map(|client| client.blocked()) {
        if let Some(text) = wait.redirect(node) {
            wait.refuse(&text, false);
        }
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wait({:?})", self.args)
    }
}
