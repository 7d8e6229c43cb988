//! Publish and subscribe: who has subscribed to what, and how messages get to them.
//!
//! Everybody can see how many connections of each worker have subscribed to a name; which ones, only
//! their worker knows. Who publishes renders the message once and posts it to those workers, under
//! the lock of the channel, and the workers hand it on to their connections' mailboxes.
//!
//! **Invariants:** all subscribers of a channel get its messages in the order in which they were
//! published, which is also their order in the replication log; a subscriber gets what was published
//! after its subscription was confirmed and nothing from before.
//!
//! **Locks** are taken in this order: slots, the channel's shard, patterns, posts. Whoever holds one
//! waits for nothing else.

mod commands;
mod events;
mod links;
mod mailbox;
mod message;
mod post;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use slotward_cluster::SlotMap;
use slotward_resp::Protocol;
use slotward_types::{Slot, glob_match, slot_of};
use smallvec::SmallVec;

use crate::client::mark;
use crate::connection::Conn;
use crate::node::Node;
use crate::worker::Worker;

pub(crate) use commands::{COMMANDS, relay};
pub(crate) use events::{classes, notify, notify_notes, notify_removal};
pub(crate) use links::Links;
pub(crate) use mailbox::Mailbox;
pub(crate) use message::Scope;
pub(crate) use post::{Keys, Local, Parcel, Post, hand_on, run};

/// Who listens here hears of every change of the topology: its version and its highest epoch. The
/// topology itself is for `CLUSTER SLOTS` and `CLUSTER SHARDS` to tell.
const TOPOLOGY_CHANNEL: &[u8] = b"__slotward__:topology";

/// Names are spread over this many locks, by slot.
const SHARDS: usize = 64;

/// How many connections of each worker have subscribed to a name.
#[derive(Debug, Default)]
struct ByWorker(SmallVec<[(u16, u32); 2]>);

impl ByWorker {
    fn add(&mut self, worker: u16) {
        match self.0.iter_mut().find(|(known, _)| *known == worker) {
            Some((_, count)) => *count += 1,
            None => self.0.push((worker, 1)),
        }
    }

    /// One fewer. Whether nobody is left.
    fn remove(&mut self, worker: u16) -> bool {
        let at = self.0.iter().position(|(known, _)| *known == worker);
        let at = at.expect("who leaves has subscribed");
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
        self.0.is_empty()
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| *count as usize).sum()
    }
}

/// Who has subscribed to which names.
type Names = HashMap<Arc<[u8]>, ByWorker>;

/// Channels and shard channels of some slots.
#[derive(Debug, Default)]
struct Shard {
    channels: Names,
    shard_channels: Names,
}

impl Shard {
    fn names(&mut self, scope: Scope) -> &mut Names {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Shard => &mut self.shard_channels,
            Scope::Pattern => unreachable!("patterns are kept by themselves"),
        }
    }
}

/// All subscriptions of a node.
#[derive(Debug)]
pub(crate) struct PubSub {
    posts: Box<[Arc<Post>]>,
    shards: Box<[Mutex<Shard>]>,
    patterns: RwLock<Names>,
    /// How many subscriptions there are: usually none, and then publishers look no further.
    subscriptions: AtomicUsize,
    /// The version of the topology that those who ask were told of last.
    topology_told: AtomicU64,
    /// To the other nodes of the cluster.
    pub(crate) links: Links,
}

impl PubSub {
    /// For a node with this many workers.
    pub(crate) fn new(workers: usize) -> PubSub {
        PubSub {
            posts: (0..workers).map(|_| Arc::default()).collect(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            patterns: RwLock::default(),
            subscriptions: AtomicUsize::new(0),
            topology_told: AtomicU64::new(0),
            links: Links::default(),
        }
    }

    /// The post of a worker.
    pub(crate) fn post(&self, worker: usize) -> &Arc<Post> {
        &self.posts[worker]
    }

    fn shard(&self, name: &[u8]) -> &Mutex<Shard> {
        &self.shards[slot_of(name).index() % SHARDS]
    }

    /// Publishes a message to the subscribers of this node; how many there are. `log` is called
    /// where the message stands in the order of the channel.
    pub(crate) fn publish(
        &self,
        scope: Scope,
        channel: &[u8],
        text: &[u8],
        log: impl FnOnce(),
    ) -> usize {
        assert!(scope != Scope::Pattern, "a message goes to a channel");
        let mut shard = self.shard(channel).lock();
        log();
        if self.subscriptions.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let mut receivers = 0;
        if let Some((name, by_worker)) = shard.names(scope).get_key_value(channel) {
            receivers += self.send(scope, name, by_worker, None, channel, text);
        }
        if scope == Scope::Channel {
            let patterns = self.patterns.read();
            for (pattern, by_worker) in patterns.iter() {
                if glob_match(pattern, channel) {
                    let scope = Scope::Pattern;
                    receivers += self.send(scope, pattern, by_worker, Some(pattern), channel, text);
                }
            }
        }
        receivers
    }

    fn send(
        &self,
        scope: Scope,
        name: &Arc<[u8]>,
        by_worker: &ByWorker,
        pattern: Option<&[u8]>,
        channel: &[u8],
        text: &[u8],
    ) -> usize {
        let body = message::message(pattern, scope, channel, text);
        for (worker, _) in &by_worker.0 {
            let (name, body) = (Arc::clone(name), Arc::clone(&body));
            self.posts[usize::from(*worker)].put(Parcel::Message { scope, name, body });
        }
        by_worker.total()
    }

    /// Whether somebody may hear what is published.
    #[inline]
    pub(crate) fn has_subscribers(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) > 0
    }

    /// Returns when the workers have handed on most of what was published: whoever publishes faster
    /// than that is held up.
    pub(crate) async fn relief(&self) {
        for post in self.posts.iter().filter(|post| post.is_congested()) {
            post.relief().await;
        }
    }

    /// Changes the subscriptions to a name, after all messages that were published before have been
    /// handed on to the worker's connections.
    fn change(
        &self,
        worker: &Worker,
        scope: Scope,
        name: &[u8],
        change: impl FnOnce(&mut Names, &mut Local),
    ) {
        let (mut shard, mut patterns);
        let names = if scope == Scope::Pattern {
            patterns = self.patterns.write();
            &mut *patterns
        } else {
            shard = self.shard(name).lock();
            shard.names(scope)
        };
        let mut local = worker.local.borrow_mut();
        post::hand_on_before(&worker.node, &worker.post, &mut local);
        change(names, &mut local);
    }

    fn subscribe(&self, worker: &Worker, scope: Scope, name: &Arc<[u8]>, mailbox: &Rc<Mailbox>) {
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        self.change(worker, scope, name, |names, local| {
            // One copy of the name serves all.
            let known = names.get_key_value(&**name).map(|(known, _)| Arc::clone(known));
            let name = known.unwrap_or_else(|| Arc::clone(name));
            names.entry(Arc::clone(&name)).or_default().add(worker.index);
            local.add(scope, name, mailbox);
        });
    }

    fn unsubscribe(&self, worker: &Worker, scope: Scope, name: &[u8], client: u64) {
        self.change(worker, scope, name, |names, local| {
            let by_worker = names.get_mut(name).expect("who leaves has subscribed");
            if by_worker.remove(worker.index) {
                names.remove(name);
            }
            local.remove(scope, name, client);
        });
        self.subscriptions.fetch_sub(1, Ordering::SeqCst);
    }

    /// The names of this scope that somebody has subscribed to, and how many have.
    fn each(&self, scope: Scope, mut see: impl FnMut(&Arc<[u8]>, usize)) {
        if scope == Scope::Pattern {
            let patterns = self.patterns.read();
            return patterns.iter().for_each(|(name, by_worker)| see(name, by_worker.total()));
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.names(scope).iter().for_each(|(name, by_worker)| see(name, by_worker.total()));
        }
    }

    /// How many connections have subscribed to this name.
    fn subscribers(&self, scope: Scope, name: &[u8]) -> usize {
        let mut shard = self.shard(name).lock();
        shard.names(scope).get(name).map_or(0, ByWorker::total)
    }

    /// How many names of this scope somebody has subscribed to.
    pub(crate) fn count(&self, scope: Scope) -> usize {
        match scope {
            Scope::Pattern => self.patterns.read().len(),
            _ => self.shards.iter().map(|shard| shard.lock().names(scope).len()).sum(),
        }
    }

    /// To be called after a change of the slots served here, or of the topology.
    pub(crate) fn on_slots(&self, map: &SlotMap) {
        if self.has_subscribers() {
            self.posts.iter().for_each(|post| post.put(Parcel::SlotsChanged));
        }
        let version = map.version();
        if self.topology_told.swap(version, Ordering::SeqCst) != version {
            let text = format!("{version} {}", map.topology().current_epoch());
            self.publish(Scope::Channel, TOPOLOGY_CHANNEL, text.as_bytes(), || ());
        }
    }
}

/// Whether subscriptions to shard channels of this slot are served here: by its master and by its
/// replicas.
fn serves_shard_channel(node: &Node, slot: Slot) -> bool {
    node.served.contains(slot)
        || node.slot_map.load().route(slot, true, false) == slotward_cluster::Route::Serve
}

/// Shard channels of slots that are other nodes' now are left, and their subscribers told.
fn leave_lost_slots(worker: &Worker) {
    let node = &worker.node;
    let lost: Vec<Arc<[u8]>> = {
        let local = worker.local.borrow();
        let names = local.names(Scope::Shard);
        names.filter(|name| !serves_shard_channel(node, slot_of(name))).cloned().collect()
    };
    let limit = node.live.load().settings.client_output_buffer_limit.pubsub;
    for name in lost {
        node.pubsub.change(worker, Scope::Shard, &name, |names, local| {
            let left = local.take(Scope::Shard, &name);
            let by_worker = names.get_mut(&*name).expect("somebody here has subscribed");
            let mut none_left = false;
            for mailbox in left.values() {
                none_left = by_worker.remove(worker.index);
                mailbox.forget(Scope::Shard, &name);
                let body = message::shard_channel_gone(&name, mailbox.subscribed(Scope::Shard));
                mailbox.put(&body, &limit);
            }
            if none_left {
                names.remove(&*name);
            }
            node.pubsub.subscriptions.fetch_sub(left.len(), Ordering::SeqCst);
        });
    }
}

impl Conn {
    /// Subscribes to a name, if it has not.
    fn subscribe(&mut self, worker: &Worker, scope: Scope, name: &[u8]) {
        if self.mailbox.has_subscribed(scope, name) {
            return;
        }
        let name: Arc<[u8]> = name.into();
        worker.node.pubsub.subscribe(worker, scope, &name, &self.mailbox);
        self.mailbox.remember(scope, name);
        self.listening = true;
    }

    /// Ends a subscription, if there is one.
    fn unsubscribe(&mut self, worker: &Worker, scope: Scope, name: &[u8]) {
        if self.mailbox.has_subscribed(scope, name) {
            worker.node.pubsub.unsubscribe(worker, scope, name, self.client.id);
            self.mailbox.forget(scope, name);
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn unsubscribe_all(&mut self, worker: &Worker) {
        for scope in Scope::ALL {
            for name in self.mailbox.names(scope) {
                self.unsubscribe(worker, scope, &name);
            }
        }
    }

    /// Whether only commands about subscriptions may be executed: without RESP3 a client could not
    /// tell their replies from messages.
    #[cold]
    pub(crate) fn is_confined(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.client.is(mark::SUBSCRIBED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_by_worker() {
        let mut by_worker = ByWorker::default();
        [3, 1, 3].into_iter().for_each(|worker| by_worker.add(worker));
        assert_eq!(by_worker.total(), 3);
        assert!(!by_worker.remove(3) && !by_worker.remove(3));
        assert_eq!(&by_worker.0[..], [(1, 1)]);
        assert!(by_worker.remove(1));
    }

    #[test]
    fn nobody_hears_what_nobody_has_subscribed_to() {
        let pubsub = PubSub::new(1);
        let mut logged = false;
        assert_eq!(pubsub.publish(Scope::Channel, b"c", b"text", || logged = true), 0);
        assert!(logged, "it stands in the log all the same");
    }
}
