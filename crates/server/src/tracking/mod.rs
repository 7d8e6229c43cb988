//! Client-side caching: which clients keep copies of which keys, and telling them of changes.
//!
//! A client in the default mode is remembered with every key that a reading command of it names, and
//! told once when the key changes. In the mode `BCAST` nothing is remembered: it hears of every
//! change of a key that begins with one of its prefixes.
//!
//! Changes are collected on the thread that makes them and told of when the operation (or the
//! transaction) is over, while its slots are still held: [`flush`].
//!
//! **Invariants:** who read a value is remembered under the same lock of the slot, so no change after
//! the read is missed; a client's own replies and what it is told keep their order, since both go
//! through its connection; a key is in the table with its readers or not at all.

mod commands;
mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::RwLock;
use slotward_keyspace::Listener;
use slotward_types::{Slot, slot_of};

use crate::client::{Client, mark};
use crate::execute::{DataCall, Turn};
use crate::node::Node;
use crate::pubsub::{Keys, Parcel};
pub(crate) use commands::{caching, getredir, tracking, trackinginfo};
use table::{Readers, Table};

/// How a connection keeps copies.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    /// It asks key by key (`OPTIN`), or is spared key by key (`OPTOUT`).
    choice: Option<Choice>,
    /// `CLIENT CACHING` was said, and for which command it holds.
    caching: Caching,
    /// In the mode `BCAST`: of which keys it hears.
    prefixes: BTreeSet<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Caching {
    #[default]
    Unsaid,
    /// In the command that is being executed.
    Said,
    /// It holds for the command being executed.
    Holds,
}

impl Tracked {
    /// A command is over; `in_transaction`: it was queued, or began a transaction.
    pub(crate) fn after_command(&mut self, in_transaction: bool) {
        self.caching = match self.caching {
            Caching::Said => Caching::Holds,
            Caching::Holds if in_transaction => Caching::Holds,
            _ => Caching::Unsaid,
        };
    }

    fn remembers(&self) -> bool {
        match self.choice {
            None => true,
            Some(Choice::In) => self.caching != Caching::Unsaid,
            Some(Choice::Out) => self.caching == Caching::Unsaid,
        }
    }
}

/// Keys that were changed, and who changed each (0: nobody, or several).
type ChangedKeys = BTreeMap<Box<[u8]>, u64>;

/// What has changed in the operation that this thread is in, and has not been told yet.
#[derive(Default)]
struct Pending {
    /// Keys that were in the table.
    keys: Vec<(Box<[u8]>, Readers, u64)>,
    /// By prefix.
    broadcast: BTreeMap<Box<[u8]>, ChangedKeys>,
    /// Slots of which keys were looked for.
    slots: BTreeSet<Slot>,
    everything: bool,
}

thread_local! {
    static PENDING: RefCell<Pending> = RefCell::default();
}

/// All that is remembered of a node's clients.
#[derive(Debug)]
pub(crate) struct Tracking {
    clients: AtomicUsize,
    table: Table,
    /// Who hears of all keys that begin with this.
    prefixes: RwLock<BTreeMap<Box<[u8]>, BTreeSet<u64>>>,
}

impl Listener for Tracking {
    fn changed(&self, slot: Slot, key: &[u8], actor: u64) {
        // What nobody would be told must not wait for somebody who is, later.
        if !self.is_used() {
            return;
        }
        PENDING.with_borrow_mut(|pending| {
            pending.slots.insert(slot);
            if let Some(readers) = self.table.take(slot, key) {
                pending.keys.push((key.into(), readers, actor));
            }
            let prefixes = self.prefixes.read();
            for prefix in prefixes.keys().filter(|prefix| key.starts_with(prefix)) {
                let keys = pending.broadcast.entry(prefix.clone()).or_default();
                let by = keys.entry(key.into()).or_insert(actor);
                if *by != actor {
                    *by = 0;
                }
            }
        });
    }

    fn all_changed(&self) {
        self.table.clear();
        if !self.is_used() {
            return;
        }
        PENDING.with_borrow_mut(|pending| pending.everything = true);
    }
}

impl Tracking {
    /// Nobody is tracked.
    pub(crate) fn new() -> Arc<Tracking> {
        Arc::new(Tracking {
            clients: AtomicUsize::new(0),
            table: Table::default(),
            prefixes: RwLock::default(),
        })
    }

    /// Whether any client keeps copies.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > 0
    }

    /// How many clients keep copies.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// How many keys are remembered.
    pub(crate) fn keys(&self) -> usize {
        self.table.keys()
    }

    /// How many readers are remembered with all keys together.
    pub(crate) fn items(&self) -> usize {
        self.table.items()
    }

    /// How many prefixes clients have asked for.
    pub(crate) fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    fn add_prefix(&self, node: &Node, client: u64, prefix: &[u8]) {
        let mut prefixes = self.prefixes.write();
        prefixes.entry(prefix.into()).or_default().insert(client);
        node.keyspace.listen_everywhere(true);
    }

    fn remove_prefix(&self, node: &Node, client: u64, prefix: &[u8]) {
        let mut prefixes = self.prefixes.write();
        if let Some(clients) = prefixes.get_mut(prefix) {
            clients.remove(&client);
            if clients.is_empty() {
                prefixes.remove(prefix);
            }
        }
        if prefixes.is_empty() {
            node.keyspace.listen_everywhere(false);
        }
    }
}

/// Tells of what has changed in the operation that this thread is in. To be called when it is over
/// and its slots are still held.
pub(crate) fn flush(node: &Node) {
    if node.tracking.is_used() {
        flush_used(node);
    }
}

#[cold]
fn flush_used(node: &Node) {
    let pending = PENDING.take();
    for (key, readers, actor) in pending.keys {
        let keys: Keys = Some(Arc::new([key]));
        for client in readers.iter().filter_map(|reader| node.clients.get(*reader)) {
            // One that has changed to hearing of all keys does not hear of this one twice.
            let spared =
                client.is(mark::BROADCAST) || (client.is(mark::NO_LOOP) && client.id == actor);
            if !spared {
                tell(node, &client, keys.clone());
            }
        }
    }
    for (prefix, keys) in &pending.broadcast {
        tell_all_under(node, prefix, keys);
    }
    if pending.everything {
        node.clients.all().iter().for_each(|client| tell(node, client, None));
    }
    for slot in pending.slots {
        node.tracking.table.close_if_empty(slot, || node.keyspace.listen(slot, false));
    }
}

fn tell_all_under(node: &Node, prefix: &[u8], keys: &BTreeMap<Box<[u8]>, u64>) {
    let all: Keys = Some(keys.keys().cloned().collect());
    let clients = node.tracking.prefixes.read().get(prefix).cloned().unwrap_or_default();
    for client in clients.into_iter().filter_map(|client| node.clients.get(client)) {
        let mut keys_of_others = all.clone();
        if client.is(mark::NO_LOOP) && keys.values().any(|actor| *actor == client.id) {
            let others = keys.iter().filter(|(_, actor)| **actor != client.id);
            keys_of_others = Some(others.map(|(key, _)| key.clone()).collect());
        }
        if keys_of_others.as_ref().is_some_and(|keys| !keys.is_empty()) {
            tell(node, &client, keys_of_others);
        }
    }
}

/// Tells a client, or who hears for it, that keys have changed.
fn tell(node: &Node, client: &Arc<Client>, keys: Keys) {
    if !client.is(mark::TRACKING) {
        return;
    }
    let redirect = client.redirect.load(Ordering::Relaxed);
    let redirected = redirect != 0;
    let hears = if redirected { node.clients.get(redirect) } else { Some(Arc::clone(client)) };
    let (worker, parcel) = match hears {
        Some(hears) => (hears.worker, Parcel::Invalidated { client: hears.id, redirected, keys }),
        None => {
            client.mark(mark::REDIRECT_BROKEN, true);
            (client.worker, Parcel::RedirectBroken { client: client.id, redirect })
        }
    };
    node.pubsub.post(usize::from(worker)).put(parcel);
}

/// Forgets keys until there are no more than the settings allow; their readers are told that they
/// have changed.
pub(crate) fn limit(node: &Node) {
    let most = node.live.load().settings.tracking_table_max_keys;
    if most == 0 {
        return;
    }
    while node.tracking.table.keys() as u64 > most
        && let Some((slot, key, readers)) = node.tracking.table.take_any()
    {
        PENDING.with_borrow_mut(|pending| {
            pending.slots.insert(slot);
            pending.keys.push((key, readers, 0));
        });
    }
    flush(node);
}

/// To be called after a change of the slots served here: nobody will hear of changes that are made
/// elsewhere.
pub(crate) fn on_slots(node: &Node) {
    // Against "remember, then look whether the slot is served": one of both sees the other.
    fence(Ordering::SeqCst);
    if !node.tracking.is_used() {
        return;
    }
    for slot in node.tracking.table.slots() {
        if !is_readable(node, slot) {
            forget_slot(node, slot);
        }
    }
}

/// Whether keys of the slot are read here.
fn is_readable(node: &Node, slot: Slot) -> bool {
    node.served.contains(slot)
        || node.slot_map.load().route(slot, true, false) == slotward_cluster::Route::Serve
}

fn forget_slot(node: &Node, slot: Slot) {
    let keys = node.tracking.table.take_slot(slot);
    PENDING.with_borrow_mut(|pending| {
        pending.slots.insert(slot);
        pending.keys.extend(keys.into_iter().map(|(key, readers)| (key, readers, 0)));
    });
    flush_used(node);
}

impl Turn<'_> {
    /// Remembers the connection with the keys that its command has read. Their slots are held.
    #[cold]
    pub(crate) fn remember_read(&mut self, data: &DataCall<'_>) {
        let Some(tracked) = &self.conn.tracked else { return };
        let client = &self.conn.client;
        if !tracked.remembers() || client.is(mark::BROADCAST) {
            return;
        }
        let mut indexes = Vec::new();
        if self.node.commands.registry().keys_of(data.id, data.argv, &mut indexes).is_err() {
            return;
        }
        let tracking = &self.node.tracking;
        for index in indexes {
            let key = &data.argv[index];
            let slot = slot_of(key);
            tracking.table.add(
                slot,
                key,
                client.id,
                |reader| self.node.clients.get(reader).is_some(),
                || self.node.keyspace.listen(slot, true),
            );
            fence(Ordering::SeqCst);
            if !is_readable(self.node, slot) {
                forget_slot(self.node, slot);
            }
        }
        let most = self.view.live.settings.tracking_table_max_keys;
        if most > 0 && tracking.table.keys() as u64 > most {
            limit(self.node);
        }
    }
}
