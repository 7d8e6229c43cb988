//! What is on its way to the subscribers of one worker.
//!
//! Anybody posts; the worker hands on to its connections' mailboxes. Parcels stay in order, so all
//! subscribers of a channel see its messages in the order in which they were published.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use slotward_config::BufferLimit;
use slotward_resp::Protocol;
use tokio::sync::Notify;

use super::mailbox::Mailbox;
use super::message::{Body, Scope, invalidated, redirect_broken};
use crate::client::mark;
use crate::node::Node;
use crate::worker::Worker;

/// Mailboxes filled at a stretch, before the connections get a chance to write.
const PUTS_PER_TURN: usize = 1024;
/// Bytes on their way to one worker beyond which publishers wait.
const CONGESTED_BYTES: u64 = 32 << 20;

/// Keys that changed, shared by all who are told; `None` stands for all keys.
pub(crate) type Keys = Option<Arc<[Box<[u8]>]>>;

/// Something for connections of one worker.
#[derive(Debug, Clone)]
pub(crate) enum Parcel {
    /// For all that have subscribed to this name.
    Message {
        /// To what they have subscribed…
        scope: Scope,
        /// …under this name.
        name: Arc<[u8]>,
        /// What they get.
        body: Body,
    },
    /// For a client that keeps copies of keys, or that hears of it for another.
    Invalidated {
        /// The client.
        client: u64,
        /// It hears for another.
        redirected: bool,
        /// What has changed.
        keys: Keys,
    },
    /// For a client whose stand-in is gone.
    RedirectBroken {
        /// The client.
        client: u64,
        /// Who is gone.
        redirect: u64,
    },
    /// Slots were given to other nodes, or taken from them.
    SlotsChanged,
}

impl Parcel {
    fn bytes(&self) -> u64 {
        let content = match self {
            Parcel::Message { body, .. } => body.len(),
            Parcel::Invalidated { keys, .. } => {
                keys.iter().flat_map(|keys| keys.iter()).map(|key| key.len() + 16).sum()
            }
            Parcel::RedirectBroken { .. } | Parcel::SlotsChanged => 0,
        };
        (content + size_of::<Parcel>()) as u64
    }
}

/// Where parcels for one worker are put.
#[derive(Debug, Default)]
pub(crate) struct Post {
    parcels: Mutex<Vec<Parcel>>,
    waiting: AtomicBool,
    bytes: AtomicU64,
    arrived: Notify,
    relieved: Notify,
}

impl Post {
    /// Puts a parcel behind all others.
    pub(crate) fn put(&self, parcel: Parcel) {
        self.bytes.fetch_add(parcel.bytes(), Ordering::Relaxed);
        let mut parcels = self.parcels.lock();
        parcels.push(parcel);
        let first = !self.waiting.swap(true, Ordering::Release);
        drop(parcels);
        if first {
            self.arrived.notify_one();
        }
    }

    /// Whether so much is on its way that publishers had better wait.
    pub(super) fn is_congested(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > CONGESTED_BYTES
    }

    /// Returns when less is on its way.
    pub(super) async fn relief(&self) {
        loop {
            let relieved = self.relieved.notified();
            let mut relieved = std::pin::pin!(relieved);
            relieved.as_mut().enable();
            if !self.is_congested() {
                return;
            }
            relieved.await;
        }
    }

    fn take(&self, out: &mut VecDeque<Parcel>) {
        if !self.waiting.load(Ordering::Acquire) {
            return;
        }
        let mut parcels = self.parcels.lock();
        self.waiting.store(false, Ordering::Relaxed);
        out.extend(parcels.drain(..));
    }

    fn handed_on(&self, bytes: u64) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > CONGESTED_BYTES && before - bytes <= CONGESTED_BYTES {
            self.relieved.notify_waiters();
        }
    }
}

pub(super) type Subscribers = BTreeMap<u64, Rc<Mailbox>>;

/// The subscribers among a worker's connections.
#[derive(Default)]
pub(crate) struct Local {
    mailboxes: HashMap<u64, Rc<Mailbox>>,
    /// By [`Scope::index`].
    subscribers: [HashMap<Arc<[u8]>, Subscribers>; 3],
    /// Taken from the post, not yet handed on.
    pending: VecDeque<Parcel>,
}

impl Local {
    /// A connection begins.
    pub(crate) fn open(&mut self, mailbox: &Rc<Mailbox>) {
        self.mailboxes.insert(mailbox.client().id, Rc::clone(mailbox));
    }

    /// A connection ends. It has left all its channels.
    pub(crate) fn close(&mut self, client: u64) {
        self.mailboxes.remove(&client);
    }

    pub(super) fn add(&mut self, scope: Scope, name: Arc<[u8]>, mailbox: &Rc<Mailbox>) {
        let subscribers = self.subscribers[scope.index()].entry(name).or_default();
        subscribers.insert(mailbox.client().id, Rc::clone(mailbox));
    }

    pub(super) fn remove(&mut self, scope: Scope, name: &[u8], client: u64) {
        let names = &mut self.subscribers[scope.index()];
        if let Some(subscribers) = names.get_mut(name) {
            subscribers.remove(&client);
            if subscribers.is_empty() {
                names.remove(name);
            }
        }
    }

    /// The names to which somebody has subscribed.
    pub(super) fn names(&self, scope: Scope) -> impl Iterator<Item = &Arc<[u8]>> {
        self.subscribers[scope.index()].keys()
    }

    /// Ends all subscriptions to a name; those who had them.
    pub(super) fn take(&mut self, scope: Scope, name: &[u8]) -> Subscribers {
        self.subscribers[scope.index()].remove(name).unwrap_or_default()
    }

    /// Puts a parcel into the mailboxes that it is for; how many these are.
    fn hand_on(&self, parcel: &Parcel, limit: &BufferLimit) -> usize {
        match parcel {
            Parcel::Message { scope, name, body } => {
                let Some(subscribers) = self.subscribers[scope.index()].get(name) else { return 0 };
                subscribers.values().for_each(|mailbox| mailbox.put(body, limit));
                subscribers.len()
            }
            Parcel::Invalidated { client, redirected, keys } => {
                let Some(mailbox) = self.mailboxes.get(client) else { return 0 };
                let protocol = mailbox.protocol();
                // Without RESP3 a client hears of it only for others, and only when it subscribes.
                let hears = protocol == Protocol::Resp3
                    || (*redirected && mailbox.client().is(mark::SUBSCRIBED));
                if hears {
                    mailbox.put(&invalidated(protocol, keys.as_deref()), limit);
                }
                1
            }
            Parcel::RedirectBroken { client, redirect } => {
                if let Some(mailbox) = self.mailboxes.get(client)
                    && mailbox.protocol() == Protocol::Resp3
                {
                    mailbox.put(&redirect_broken(*redirect), limit);
                }
                1
            }
            Parcel::SlotsChanged => 1,
        }
    }

    /// Ends clients that have had too much waiting for too long.
    pub(crate) fn check(&self, limit: &BufferLimit) {
        let with_mail = self.mailboxes.values().filter(|mailbox| mailbox.has_mail());
        with_mail.for_each(|mailbox| mailbox.check(limit));
    }
}

/// Hands on what has been posted to this worker, up to a number of mailboxes. Whether all of it was.
fn hand_on_some(worker: &Worker, puts_max: usize) -> bool {
    let post = &worker.post;
    let mut slots_changed = false;
    let done = {
        let mut local = worker.local.borrow_mut();
        let mut pending = std::mem::take(&mut local.pending);
        post.take(&mut pending);
        if pending.is_empty() {
            local.pending = pending;
            return true;
        }
        let limit = worker.node.live.load().settings.client_output_buffer_limit.pubsub;
        let (mut puts, mut bytes) = (0, 0);
        while puts < puts_max
            && let Some(parcel) = pending.pop_front()
        {
            puts += local.hand_on(&parcel, &limit);
            bytes += parcel.bytes();
            slots_changed |= matches!(parcel, Parcel::SlotsChanged);
        }
        post.handed_on(bytes);
        let done = pending.is_empty();
        local.pending = pending;
        done
    };
    if slots_changed {
        super::leave_lost_slots(worker);
    }
    done
}

/// Hands on all that has been posted to this worker.
pub(crate) fn hand_on(worker: &Worker) {
    hand_on_some(worker, usize::MAX);
}

/// The same for who holds the lock of a name: what was posted before is handed on.
pub(super) fn hand_on_before(node: &Node, post: &Post, local: &mut Local) {
    let mut pending = std::mem::take(&mut local.pending);
    post.take(&mut pending);
    let limit = node.live.load().settings.client_output_buffer_limit.pubsub;
    let (mut bytes, mut later) = (0, false);
    for parcel in &pending {
        local.hand_on(parcel, &limit);
        bytes += parcel.bytes();
        later |= matches!(parcel, Parcel::SlotsChanged);
    }
    post.handed_on(bytes);
    pending.clear();
    local.pending = pending;
    if later {
        post.put(Parcel::SlotsChanged);
    }
}

/// Hands on what is posted to a worker, for the life of the node.
pub(crate) async fn run(worker: Rc<Worker>) {
    loop {
        worker.post.arrived.notified().await;
        while !hand_on_some(&worker, PUTS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}
