//! The node: everything that its workers, its replication and its control plane share.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use slotward_cluster::SlotMap;
use slotward_config::Config;
use slotward_keyspace::{Db, ExpiryPolicy, Keyspace};

use crate::barrier::Barrier;
use crate::blocking;
use crate::call::CommandTable;
use crate::client::Clients;
use crate::clock;
use crate::control::{Attended, ControlHandle, Meeting};
use crate::eviction;
use crate::garbage::Garbage;
use crate::live::{Live, database_count};
use crate::memory;
use crate::pause::{Pause, Paused};
use crate::pubsub::{self, PubSub};
use crate::replication::Replication;
use crate::shutdown::Shutdown;
use crate::slowlog::SlowLog;
use crate::stats::Stats;
use crate::tracking::{self, Tracking};
use crate::view::{RoleView, RoleWord, ServedSlots};
use crate::worker::{Inbox, Job, Worker};

/// A data node. One per process, shared by all its threads.
pub(crate) struct Node {
    /// When it started.
    pub(crate) started_at: Instant,
    /// Names this run of the process: 40 hexadecimal digits.
    pub(crate) run_id: String,
    /// The settings, as `CONFIG` reads and changes them.
    pub(crate) config: Mutex<Config>,
    /// The file that the settings came from; empty if there was none.
    pub(crate) config_file: String,
    /// The settings, as everybody else reads them.
    pub(crate) live: ArcSwap<Live>,
    /// All commands.
    pub(crate) commands: CommandTable,
    /// The data.
    pub(crate) keyspace: &'static Keyspace,
    /// Drops what takes long to drop.
    pub(crate) garbage: Garbage,
    /// Role, epoch and lease.
    pub(crate) role: RoleView,
    /// The slots served without further question.
    pub(crate) served: ServedSlots,
    /// Who owns which slot.
    pub(crate) slot_map: ArcSwap<SlotMap>,
    /// The moment in which nobody executes.
    pub(crate) barrier: Arc<Barrier>,
    /// The connections.
    pub(crate) clients: Clients,
    /// What is counted.
    pub(crate) stats: Stats,
    /// Memory in use that is not counted as data; below zero when the count is too high.
    memory_beside_data: AtomicI64,
    /// The slow commands.
    pub(crate) slow_log: SlowLog,
    /// `CLIENT PAUSE`.
    pub(crate) pause: Pause,
    /// Who has subscribed to what.
    pub(crate) pubsub: PubSub,
    /// Which clients keep copies of which keys.
    pub(crate) tracking: Arc<Tracking>,
    /// The log, the replicas, the master.
    pub(crate) replication: Replication,
    /// The control plane, once it runs.
    pub(crate) control: OnceLock<ControlHandle>,
    /// The sentinels that this node attends to; held while that changes.
    pub(crate) attending: tokio::sync::Mutex<Option<Attended>>,
    /// Where sentinels that watch this node hear of each other.
    pub(crate) meeting: Meeting,
    /// The end.
    pub(crate) shutdown: Shutdown,
    /// Whether due keys are looked for (`DEBUG SET-ACTIVE-EXPIRE`).
    pub(crate) active_expiry: AtomicBool,
    /// When somebody last asked for a snapshot to disk.
    pub(crate) last_save: AtomicI64,
    /// Most memory ever seen in use.
    pub(crate) memory_peak: AtomicU64,
    workers: OnceLock<Vec<Inbox>>,
    /// A worker without connections: what must not wait for a client's long command runs there.
    applier: OnceLock<Inbox>,
    seed: u64,
}

/// What a node is made of that differs from process to process.
pub(crate) struct Origin {
    /// The settings.
    pub(crate) config: Config,
    /// The file they came from.
    pub(crate) config_file: String,
    /// How many workers there will be.
    pub(crate) workers: usize,
    /// Random bits: for hashing, for ids.
    pub(crate) seed: [u64; 4],
    /// Who owns which slot at the start.
    pub(crate) slot_map: SlotMap,
    /// The sentinels that it attends to from the start.
    pub(crate) attended: Option<Attended>,
}

impl Node {
    /// A node that serves nobody yet.
    pub(crate) fn new(origin: Origin) -> anyhow::Result<Arc<Node>> {
        let settings = origin.config.settings().clone();
        let commands = CommandTable::new();
        let managed = origin.attended.is_some();
        let seed = origin.seed;
        let node = Node {
            started_at: Instant::now(),
            run_id: format!("{:016x}{:016x}{:08x}", seed[0], seed[1], seed[2] as u32),
            live: ArcSwap::from_pointee(Live::new(settings.clone())),
            config: Mutex::new(origin.config),
            config_file: origin.config_file,
            // There is one node in a process, and its data live as long as the process does.
            keyspace: Box::leak(Box::new(Keyspace::new(
                u16::try_from(database_count(&settings))?,
                seed[3],
            ))),
            garbage: Garbage::start()?,
            role: RoleView::new(managed),
            served: ServedSlots::new(!settings.cluster_enabled),
            slot_map: ArcSwap::from_pointee(origin.slot_map),
            barrier: Arc::default(),
            clients: Clients::default(),
            stats: Stats::new(origin.workers + 1, commands.registry().len()),
            commands,
            slow_log: SlowLog::default(),
            pause: Pause::default(),
            pubsub: PubSub::new(origin.workers + 1),
            tracking: Tracking::new(),
            replication: Replication::new(&settings, managed),
            control: OnceLock::new(),
            attending: tokio::sync::Mutex::new(origin.attended),
            meeting: Meeting::default(),
            shutdown: Shutdown::default(),
            active_expiry: AtomicBool::new(true),
            last_save: AtomicI64::new(clock::unix_now().0 / 1000),
            memory_peak: AtomicU64::new(0),
            memory_beside_data: AtomicI64::new(0),
            workers: OnceLock::new(),
            applier: OnceLock::new(),
            seed: seed[2].rotate_left(17) ^ seed[3],
        };
        node.keyspace.set_access_rule(eviction::access_rule(&settings));
        node.keyspace.set_listener(node.tracking.clone());
        node.measure_memory();
        Ok(Arc::new(node))
    }

    /// Makes the workers known to those who send them work.
    pub(crate) fn set_workers(&self, inboxes: Vec<Inbox>, applier: Inbox) {
        assert!(self.workers.set(inboxes).is_ok(), "the workers start once");
        assert!(self.applier.set(applier).is_ok(), "the workers start once");
    }

    /// How many workers there are.
    pub(crate) fn worker_count(&self) -> usize {
        self.workers.get().map_or(0, Vec::len)
    }

    /// Sends work to the worker whose turn it is, by number.
    pub(crate) fn send(&self, turn: usize, job: Job) {
        let workers = self.workers.get().expect("the workers have started");
        // A worker's inbox closes at the shutdown; what comes then is not served any more.
        let _closed = workers[turn % workers.len()].send(job);
    }

    /// Runs a task on a worker's thread, until it ends or the node does.
    pub(crate) fn spawn_on<F, T>(&self, worker: usize, task: T)
    where
        T: FnOnce(Rc<Worker>) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let boxed = move |worker: Rc<Worker>| -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(task(worker))
        };
        self.send(worker, Job::Run(Box::new(boxed)));
    }

    /// Returns when every worker has gone once through what it was doing: replies of commands that
    /// were executed before have been written, as far as their sockets take them.
    pub(crate) async fn workers_caught_up(&self) {
        let reached = (0..self.worker_count()).map(|worker| {
            let (tell, told) = tokio::sync::oneshot::channel();
            // Nobody listens any more only when the node ends.
            self.spawn_on(worker, move |_| async move {
                let _ended = tell.send(());
            });
            told
        });
        for told in reached.collect::<Vec<_>>() {
            let _ended = told.await;
        }
    }

    /// Runs a task on the thread that serves no connections, until it ends or the node does.
    pub(crate) fn spawn_on_applier<F, T>(&self, task: T)
    where
        T: FnOnce(Rc<Worker>) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let boxed = move |worker: Rc<Worker>| -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(task(worker))
        };
        let applier = self.applier.get().expect("the workers have started");
        // Its inbox closes at the shutdown; what comes then is not done any more.
        let _closed = applier.send(Job::Run(Box::new(boxed)));
    }

    /// The seed of a worker's randomness.
    pub(crate) fn seed_for(&self, worker: usize) -> u64 {
        self.seed.wrapping_add((worker as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What becomes of keys whose time has come: a master removes them, a replica hides them until
    /// its master has them removed. While writes are paused nothing is removed either, nor by a
    /// master without a lease: its log stands still, so that it can go on where its successor began.
    #[inline]
    pub(crate) fn expiry_policy(&self) -> ExpiryPolicy {
        let word = self.role.load();
        let paused = self.pause.of_data() != Paused::Nothing;
        self.expiry_policy_of(word, self.role.holds_lease(word), paused)
    }

    /// The same for who has looked at the lease and for a pause.
    #[inline]
    pub(crate) fn expiry_policy_of(
        &self,
        word: RoleWord,
        leased: bool,
        paused: bool,
    ) -> ExpiryPolicy {
        if word.is_master() && leased && !paused {
            ExpiryPolicy::Delete
        } else {
            ExpiryPolicy::Hide
        }
    }

    /// Tells the replicas, and those who listen, of keys that were removed because their time had
    /// come. To be called while the slots are still held.
    pub(crate) fn propagate_expired(&self, db: &mut Db<'_>) -> usize {
        let live = self.live.load();
        let removed = slotward_commands::take_removals(db, live.data.lazy_free.expire);
        let wanted = live.data.notify;
        for removal in &removed {
            if self.replication.wants_writes() {
                let slot = slotward_types::slot_of(removal.key());
                self.replication.append(Some(slot), &[(removal.db, removal.command.as_args())]);
            }
            pubsub::notify_removal(self, wanted, removal);
        }
        tracking::flush(self);
        removed.len()
    }

    /// To be called after a change of the slots served here.
    pub(crate) fn on_slots(&self) {
        blocking::on_slots(self);
        tracking::on_slots(self);
        self.pubsub.on_slots(&self.slot_map.load());
    }

    /// Publishes the settings after a change.
    pub(crate) fn publish_settings(&self, config: &Config) {
        self.live.store(Arc::new(Live::new(config.settings().clone())));
        self.keyspace.set_access_rule(eviction::access_rule(config.settings()));
        self.measure_memory();
        self.replication.on_settings(config.settings());
        tracking::limit(self);
    }

    /// Whether the node is part of a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.live.load().settings.cluster_enabled
    }

    /// How long the node has been running.
    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.started_at.elapsed().as_secs()
    }

    /// How much memory is in use, buffers included: the data as they are counted, and the rest as it
    /// was when it was last looked at.
    pub(crate) fn memory_estimate(&self) -> u64 {
        let rest = self.memory_beside_data.load(Ordering::Relaxed);
        self.keyspace.memory_used().saturating_add_signed(rest)
    }

    /// Looks at how much memory is in use beside the data.
    pub(crate) fn measure_memory(&self) {
        let used = memory::usage().allocated;
        let data = self.keyspace.memory_used();
        self.memory_beside_data.store(used as i64 - data as i64, Ordering::Relaxed);
        self.note_memory(used);
    }

    /// Notes how much memory is in use.
    pub(crate) fn note_memory(&self, used: u64) -> u64 {
        self.memory_peak.fetch_max(used, Ordering::Relaxed).max(used)
    }
}
