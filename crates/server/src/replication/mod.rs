//! The node's side of replication: its log, the replicas that follow it, the master it follows.
//!
//! The decisions are `slotward_replication`'s; here are the sockets and the timers. Whether the node
//! follows, and whom, is decided by `REPLICAOF` in a node without sentinels, and by the control
//! plane in one with them.
//!
//! **Invariants:** while the node follows, only its master's bytes enter its log; a change between
//! following and not happens inside the worker barrier; the old copy of the data lives until the
//! new one is complete.

mod commands;
mod info;
mod link;
mod load;
mod session;
mod snapshot;

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use slotward_config::Settings;
use slotward_failover::{LeaseAck, LeasePing, NodeEvent};
use slotward_keyspace::DbIndex;
use slotward_replication::{Batch, Log, Member, Peer, Retention, Target};
use slotward_resp::Args;
use slotward_types::{Epoch, ReplId, ReplOffset, Slot};

use crate::node::Node;

pub(crate) use commands::COMMANDS;
pub(crate) use info::info;
use link::{Link, Order};
use session::Replicas;
use snapshot::Gathering;

/// Whom the control plane has this node follow.
#[derive(Debug, Clone)]
pub(crate) struct FollowOrder {
    /// The epoch of the shard.
    pub(crate) epoch: Epoch,
    /// The master.
    pub(crate) master: slotward_cluster::Member,
    /// This node.
    pub(crate) us: slotward_cluster::Member,
    /// Where the master is: host…
    pub(crate) host: String,
    /// …and port.
    pub(crate) port: u16,
}

/// Takes what the control plane has to know; called from any thread, must not block.
pub(crate) type EventSink = Arc<dyn Fn(NodeEvent) + Send + Sync>;

/// What a replica has said of itself with `REPLCONF`.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    pub(crate) peer: Peer,
}

/// The replication of this node.
pub(crate) struct Replication {
    log: Arc<Log>,
    /// Whether effects of this node's own are appended: somebody listens, and it does not follow.
    wanted: AtomicBool,
    following: AtomicBool,
    pub(crate) replicas: Replicas,
    gathering: Gathering,
    link: Link,
    /// What this node is in a shard that sentinels manage.
    us: Mutex<Option<Member>>,
    events: OnceLock<EventSink>,
    counters: Counters,
}

/// What `INFO stats` shows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Full synchronisations given.
    pub(crate) full: AtomicU64,
    /// Partial ones given.
    pub(crate) partial: AtomicU64,
    /// Partial ones asked for in vain.
    pub(crate) refused: AtomicU64,
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication").field("end", &self.log.end()).finish_non_exhaustive()
    }
}

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::new(Batch::new());
}

impl Replication {
    pub(crate) fn new(settings: &Settings, managed: bool) -> Self {
        let log = Arc::new(Log::new(random_id(), retention(settings)));
        if managed || settings.cluster_enabled {
            log.activate(random_id());
        }
        Replication {
            wanted: AtomicBool::new(log.is_active()),
            following: AtomicBool::new(false),
            log,
            replicas: Replicas::default(),
            gathering: Gathering::default(),
            link: Link::default(),
            us: Mutex::new(None),
            events: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// Whether effects have to be appended.
    #[inline]
    pub(crate) fn wants_writes(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Appends the effects of one execution, in one piece (as a transaction if there are several
    /// commands); gives the offset after them. To be called under the locks of their slots; `slot`
    /// is `None` for what touches several.
    pub(crate) fn append(
        &self,
        slot: Option<Slot>,
        commands: &[(DbIndex, Args<'_>)],
    ) -> ReplOffset {
        let target = slot.map_or(Target::Barrier, Target::Slot);
        BATCH.with_borrow_mut(|batch| {
            batch.clear();
            for (db, args) in commands {
                batch.command(db.0, target, args.iter());
            }
            self.log.append(batch)
        })
    }

    /// Wakes those who send the log to replicas; called once per batch of commands.
    #[inline]
    pub(crate) fn wake(&self) {
        self.log.wake();
    }

    /// Appends a command of the node's own that has no effect on data (`PING`, `REPLCONF GETACK`).
    /// The caller is inside the barrier.
    fn append_signal(&self, words: &[&[u8]]) {
        if self.wants_writes() {
            let mut batch = Batch::new();
            // In whatever database the stream is; 0 if it is in none.
            let db = self.log.db().unwrap_or(0);
            batch.command(db, Target::Barrier, words.iter().copied());
            self.log.append(&batch);
            self.log.wake();
        }
    }

    /// Offset after the last byte of the log.
    pub(crate) fn offset(&self) -> ReplOffset {
        self.log.end()
    }

    /// Memory that the log holds, for replicas and for those that may come back.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.log.status().memory_bytes
    }

    /// How often replicas were synchronised.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes changed settings over.
    pub(crate) fn on_settings(&self, settings: &Settings) {
        self.log.set_retention(retention(settings));
    }

    /// Whether this node follows a master, or is told to.
    pub(crate) fn is_following(&self) -> bool {
        self.following.load(Ordering::Acquire)
    }

    /// As a replica: whether the link to the master is up, so that what is here is not stale.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.link.is_up()
    }

    /// As a master: whether so many replicas follow closely as the settings ask for.
    pub(crate) fn has_good_replicas(&self, settings: &Settings) -> bool {
        let good = self.replicas.good(settings.min_replicas_max_lag);
        good >= settings.min_replicas_to_write as usize
    }

    // --- what the control plane orders and asks

    /// Who is told of acknowledgements, lease pings and the state of the link. Set once.
    pub(crate) fn set_event_sink(&self, sink: EventSink) {
        assert!(self.events.set(sink).is_ok(), "the control plane starts once");
    }

    /// From now on sentinels decide whom the node follows.
    pub(crate) async fn manage(&self, node: &Node) {
        let new_id = random_id();
        node.barrier
            .run(|| {
                self.log.activate(new_id);
                self.wanted.store(!self.is_following(), Ordering::SeqCst);
                node.role.manage();
            })
            .await;
    }

    fn tell(&self, event: NodeEvent) {
        if let Some(sink) = self.events.get() {
            sink(event);
        }
    }

    /// The name of the present history, and how far the log goes (a replica's: applied).
    pub(crate) fn data_plane(&self) -> (ReplId, ReplOffset) {
        let resume = self.log.resume();
        (resume.id, resume.next)
    }

    /// Follows a master of a managed shard. Gives the end of the log at the moment from which
    /// nothing of this node's own is appended any more.
    pub(crate) async fn follow(&self, node: &Node, order: FollowOrder) -> ReplOffset {
        let member = |member: slotward_cluster::Member| Member {
            node: member.node,
            incarnation: member.incarnation,
            epoch: order.epoch,
        };
        *self.us.lock() = Some(member(order.us));
        let members = Some((member(order.us), member(order.master)));
        self.begin_following(node, Order { host: order.host, port: order.port, members }).await
    }

    /// Stops following; what was received is applied first. As a master: returns once nothing is
    /// being executed (the caller has seen to it that nothing begins). Replicas keep their links.
    pub(crate) async fn halt(&self, node: &Node) {
        self.link.halt().await;
        node.barrier.run(|| ()).await;
    }

    /// Makes this node the master of what it holds, in a new epoch. Links of older epochs end.
    pub(crate) async fn become_master(
        &self,
        node: &Node,
        us: slotward_cluster::Member,
        epoch: Epoch,
    ) {
        let us = Member { node: us.node, incarnation: us.incarnation, epoch };
        *self.us.lock() = Some(us);
        self.end_following(node).await;
        self.replicas.kick();
    }

    /// Makes this node a master of nothing, in no shard.
    pub(crate) async fn detach(&self, node: &Node) {
        *self.us.lock() = None;
        self.end_following(node).await;
        self.replicas.kick();
    }

    /// Sends the master's clock to all replicas of the same epoch.
    pub(crate) fn ping_replicas(&self, ping: &LeasePing) {
        self.replicas.ping(ping);
    }

    /// Answers the master on the link: an acknowledgement that is also a promise.
    pub(crate) fn answer_master(&self, ack: &LeaseAck) {
        self.link.answer(ack);
    }

    // --- following and not

    async fn begin_following(&self, node: &Node, order: Order) -> ReplOffset {
        self.following.store(true, Ordering::Release);
        // From here on nothing of this node's own is appended.
        let stopped = || {
            self.wanted.store(false, Ordering::SeqCst);
            self.log.end()
        };
        let end = node.barrier.run(stopped).await;
        // A replica of a managed shard has to shake hands anew, in the new epoch.
        if order.members.is_some() {
            self.replicas.kick();
        }
        self.link.follow(order);
        end
    }

    async fn end_following(&self, node: &Node) {
        self.link.halt().await;
        let new_id = random_id();
        let was_following = node
            .barrier
            .run(|| {
                let was_following = self.following.swap(false, Ordering::AcqRel);
                if was_following {
                    self.log.promote(new_id);
                }
                self.wanted.store(self.log.is_active(), Ordering::SeqCst);
                was_following
            })
            .await;
        // Replicas learn the new name of the history by asking to go on under the old one.
        if was_following {
            self.replicas.kick();
        }
    }
}

/// Starts what runs beside the workers' connections: the link to a master, signs of life.
pub(crate) fn start(node: &Arc<Node>) {
    node.spawn_on_applier(link::manage);
    node.spawn_on_applier(session::keep_alive);
    let settings = node.live.load().settings.clone();
    if let Some(master) = settings.replicaof.clone().filter(|_| !node.role.load().is_managed()) {
        let starting = node.clone();
        node.spawn_on_applier(move |_| async move {
            commands::replicate_from(&starting, master.host, master.port).await;
        });
    }
}

fn retention(settings: &Settings) -> Retention {
    let hard = settings.client_output_buffer_limit.replica.hard_bytes;
    Retention {
        backlog_bytes: settings.repl_backlog_size,
        reader_lag_bytes_max: (hard > 0).then_some(hard),
    }
}

/// Twenty random bytes: the name of a history that never was before.
fn random_id() -> ReplId {
    ReplId::from_bytes(random_bytes())
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes));
    read.expect("/dev/urandom can be read");
    bytes
}
