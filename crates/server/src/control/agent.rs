//! The task that owns the node's machine: one inbox, no lock.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use slotward_cluster::{Health, Node as KnownNode, Takeover, Topology};
use slotward_config::SentinelAddress;
use slotward_failover::{
    DataPlane, Entry, FailoverMode, NodeConfig, NodeEffect, NodeEvent, NodeMachine, NodeRole,
    Outcome, PersistId, ProposalId, Rejected, SentinelId, ToNode,
};
use slotward_proto::control::NodeMessage;
use slotward_types::{Epoch, NodeId, ReplOffset};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::ClusterChange;
use super::changes;
use super::orders::{self, Order, Told};
use super::state_file::StateFile;
use super::streams::{self, Sentinel};
use crate::clock;
use crate::node::Node;

/// How often the machine looks at the clock: well under a heartbeat and the reconnect wait.
const TICK: Duration = Duration::from_millis(10);
/// How long a client that asked for a change waits for this node to learn of it.
const LEARN_WAIT: Duration = Duration::from_secs(2);
/// How long a change that came too early is tried again, and how often.
const ASK_AGAIN_FOR: Duration = Duration::from_secs(5);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_millis(20);

/// What reaches the task.
#[derive(Debug)]
pub(super) enum Input {
    /// For the machine.
    Event(NodeEvent),
    /// A stream to the sentinel at this address was opened; what is said goes in here.
    StreamOpened(SentinelId, Arc<str>, mpsc::Sender<NodeMessage>),
    /// It ended.
    StreamClosed(SentinelId),
    /// A client asks for a change.
    Change(ClusterChange, oneshot::Sender<Result<String, String>>),
    /// What became of a change: who asked is answered when this node knows the version.
    Settled(Waiter),
    /// These are the sentinels now.
    Sentinels(Vec<SentinelAddress>),
    /// The process is to stop; told when it may.
    Stop(oneshot::Sender<()>),
    /// It is not to stop after all.
    StopCancelled,
}

/// A client that waits for this node to learn of the change it asked for.
#[derive(Debug)]
pub(super) struct Waiter {
    version: u64,
    until: tokio::time::Instant,
    /// Whether the node lets go of its data, now that it has left its shard.
    then_empty: bool,
    answer: Result<String, String>,
    to: oneshot::Sender<Result<String, String>>,
}

/// What the task is made of.
pub(super) struct Parts {
    pub(super) node: Arc<Node>,
    pub(super) file: StateFile,
    pub(super) config: NodeConfig,
    /// This node as it shows itself before it is registered.
    pub(super) myself: KnownNode,
    pub(super) sentinels: Vec<Sentinel>,
    pub(super) health: Arc<ArcSwap<Health>>,
    pub(super) inbox: (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>),
}

struct Agent {
    node: Arc<Node>,
    machine: NodeMachine,
    myself: KnownNode,
    sentinels: Vec<Sentinel>,
    /// The task that keeps the stream to each of them, by address.
    attending: BTreeMap<Arc<str>, tokio::task::AbortHandle>,
    health: Arc<ArcSwap<Health>>,
    to_self: mpsc::UnboundedSender<Input>,
    streams: BTreeMap<SentinelId, (Arc<str>, mpsc::Sender<NodeMessage>)>,
    orders: mpsc::UnboundedSender<Order>,
    disk: mpsc::UnboundedSender<(PersistId, slotward_failover::NodeState)>,
    told: Rc<Told>,
    waiters: Vec<Waiter>,
    stopping: Vec<oneshot::Sender<()>>,
    effects: Vec<NodeEffect>,
}

/// Runs the node's side of the control plane until the process ends. To be called inside a
/// `LocalSet`.
pub(super) async fn run(parts: Parts) {
    let Parts { node, file, config, myself, sentinels, health, inbox: (to_self, mut inbox) } =
        parts;
    let me = file.member();
    let told = Told::new(Arc::clone(&node), me);
    let (orders, to_carry_out) = mpsc::unbounded_channel();
    let (disk, to_write) = mpsc::unbounded_channel();
    tokio::task::spawn_local(orders::run(Rc::clone(&told), to_carry_out, to_self.clone()));
    tokio::task::spawn_local(write_states(file, to_write, to_self.clone()));
    let mut agent = Agent {
        machine: NodeMachine::new(clock::boot_now(), config),
        node,
        myself,
        sentinels: Vec::new(),
        attending: BTreeMap::new(),
        health,
        to_self,
        streams: BTreeMap::new(),
        orders,
        disk,
        told,
        waiters: Vec::new(),
        stopping: Vec::new(),
        effects: Vec::new(),
    };
    agent.attend_to(sentinels);
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            input = inbox.recv() => match input {
                Some(input) => agent.on_input(input),
                None => return,
            },
            _ = ticker.tick() => agent.on_tick(),
            () = agent.node.shutdown.begun() => return,
        }
    }
}

/// Writes promises one after the other; one that a later one has overtaken is skipped.
async fn write_states(
    file: StateFile,
    mut states: mpsc::UnboundedReceiver<(PersistId, slotward_failover::NodeState)>,
    inbox: mpsc::UnboundedSender<Input>,
) {
    let file = Arc::new(file);
    while let Some(mut newest) = states.recv().await {
        while let Ok(newer) = states.try_recv() {
            newest = newer;
        }
        let (id, state) = newest;
        let writing = Arc::clone(&file);
        let written = tokio::task::spawn_blocking(move || writing.write(state)).await;
        match written {
            Ok(Ok(())) => {
                if inbox.send(Input::Event(NodeEvent::Persisted(id))).is_err() {
                    return;
                }
            }
            // What may or may not be on disk is not tried again: the node keeps the promise it
            // could not write down, and so takes part in nothing until it is started anew.
            Ok(Err(error)) => {
                tracing::error!("cannot write the node's state: {error}; the node stands still");
                return;
            }
            Err(error) => {
                tracing::error!("writing the node's state failed: {error}");
                return;
            }
        }
    }
}

impl Agent {
    fn on_tick(&mut self) {
        self.step(NodeEvent::Tick);
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                if let NodeEvent::FromSentinel(_, ToNode::Health(health)) = &event {
                    self.health.store(Arc::clone(health));
                }
                if let NodeEvent::HistoryEnded { epoch, end } = event {
                    self.tell_left_behind(epoch, end);
                }
                self.step(event);
            }
            Input::StreamOpened(id, address, outbox) => {
                self.streams.insert(id, (address, outbox));
                self.step(NodeEvent::SentinelUp(id));
            }
            Input::StreamClosed(id) => {
                self.streams.remove(&id);
                self.step(NodeEvent::SentinelDown(id));
            }
            Input::Sentinels(addresses) => {
                let sentinels = addresses.iter().filter_map(|address| {
                    Sentinel::new(address)
                        .inspect_err(|error| tracing::warn!("sentinel {address}: {error:#}"))
                        .ok()
                });
                self.attend_to(sentinels.collect());
            }
            Input::Change(change, to) => self.on_change(change, to),
            Input::Settled(waiter) => {
                self.waiters.push(waiter);
                self.answer_waiters();
            }
            Input::Stop(done) => {
                self.stopping.push(done);
                self.step(NodeEvent::StopWished);
            }
            Input::StopCancelled => {
                self.stopping.clear();
                self.step(NodeEvent::StopCancelled);
            }
        }
    }

    /// Keeps streams to these sentinels, and to no others.
    fn attend_to(&mut self, sentinels: Vec<Sentinel>) {
        let named = |name: &Arc<str>| sentinels.iter().any(|sentinel| sentinel.name() == name);
        self.attending.retain(|name, task| {
            let stays = named(name);
            if !stays {
                task.abort();
            }
            stays
        });
        let gone: Vec<SentinelId> =
            self.streams.iter().filter(|(_, (name, _))| !named(name)).map(|(id, _)| *id).collect();
        for id in gone {
            self.on_input(Input::StreamClosed(id));
        }
        let me = self.machine.member();
        for sentinel in &sentinels {
            let (sentinel, inbox) = (sentinel.clone(), self.to_self.clone());
            self.attending.entry(Arc::clone(sentinel.name())).or_insert_with(|| {
                tokio::task::spawn_local(sentinel.attend(me, inbox)).abort_handle()
            });
        }
        self.sentinels = sentinels;
    }

    fn step(&mut self, event: NodeEvent) {
        let (repl_id, offset) = self.node.replication.data_plane();
        let data = DataPlane { repl_id, offset };
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.step(clock::boot_now(), data, event, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
        // After the orders that a newer topology led to.
        self.answer_waiters();
    }

    fn perform(&mut self, effect: NodeEffect) {
        match effect {
            NodeEffect::Persist(id, state) => {
                // The writer ends only with an error that it has reported.
                let _ended = self.disk.send((id, state));
            }
            NodeEffect::Broadcast(message) => {
                for (id, (_, outbox)) in &self.streams {
                    streams::say(outbox, *id, message.clone());
                }
            }
            NodeEffect::Send(id, message) => {
                if let Some((_, outbox)) = self.streams.get(&id) {
                    streams::say(outbox, id, message);
                }
            }
            NodeEffect::Propose(id, entry) => self.propose(id, entry),
            NodeEffect::Follow { epoch, master, host, port } => {
                tracing::info!(%epoch, master = %master.node, host, port, "to follow a master");
                self.order(Order::Follow { epoch, master, host, port });
            }
            NodeEffect::BecomeMaster { epoch } => {
                tracing::info!(%epoch, "to become master");
                self.order(Order::BecomeMaster { epoch });
            }
            NodeEffect::Detach => self.order(Order::Detach),
            NodeEffect::Halt(id) => self.order(Order::Halt(id)),
            NodeEffect::AcceptWrites { epoch, until } => {
                tracing::info!(%epoch, "accepting writes");
                self.told.set_lease(Some((epoch, until)));
            }
            NodeEffect::Lease { epoch, until } => self.told.set_lease(Some((epoch, until))),
            NodeEffect::RefuseWrites => {
                tracing::info!("refusing writes");
                self.told.set_lease(None);
            }
            NodeEffect::Publish(topology) => self.publish(topology),
            NodeEffect::PingReplicas(ping) => self.node.replication.ping_replicas(&ping),
            NodeEffect::AnswerMaster(ack) => self.node.replication.answer_master(&ack),
            NodeEffect::ProbeMaster { epoch, host, port } => self.probe(epoch, host, port),
            NodeEffect::Stop => {
                match self.machine.role() {
                    NodeRole::Master | NodeRole::Halted => {
                        tracing::warn!(
                            "nobody has taken this master's place: its shard stands still"
                        );
                    }
                    NodeRole::Replica | NodeRole::Unassigned => {}
                }
                let done = std::mem::take(&mut self.stopping);
                self.order(Order::Stop(done));
            }
        }
    }

    /// The node was master in `epoch` and is no more: says what it executed and now lets go of.
    fn tell_left_behind(&self, epoch: Epoch, end: ReplOffset) {
        let me = self.machine.member();
        let shard = self.machine.topology().and_then(|topology| topology.shard_of(me.node));
        let mine = |takeover: &&Takeover| takeover.from == me && takeover.epoch > epoch;
        let takeover = shard.and_then(|shard| shard.takeovers.iter().find(mine));
        let Some(Takeover { to, cut, .. }) = takeover else { return };
        let (taken, lost) = (cut.taken, end.0.saturating_sub(cut.taken.0));
        if lost == 0 {
            tracing::info!(%epoch, %end, to = %to.node, "deposed: the new master has everything");
        } else {
            tracing::warn!(
                %epoch, %taken, %end, to = %to.node,
                "deposed: {lost} bytes that were executed here were not taken over and are discarded"
            );
        }
    }

    fn order(&self, order: Order) {
        assert!(
            self.orders.send(order).is_ok(),
            "orders are carried out as long as the agent lives"
        );
    }

    fn publish(&mut self, topology: Arc<Topology>) {
        let shown = orders::with_myself(topology, self.myself.id, &self.myself);
        self.told.publish(&shown);
    }

    fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let known = self.machine.topology().map_or(0, |topology| topology.version);
        let now = tokio::time::Instant::now();
        let due = |waiter: &mut Waiter| waiter.version <= known || waiter.until <= now;
        for waiter in self.waiters.extract_if(.., due).collect::<Vec<_>>() {
            let Waiter { then_empty, answer, to, .. } = waiter;
            if then_empty && answer.is_ok() {
                self.order(Order::Empty { answer, to });
            } else {
                // The client may have gone.
                drop(to.send(answer));
            }
        }
    }

    fn propose(&self, id: ProposalId, entry: Entry) {
        let (sentinels, inbox) = (self.by_reach(), self.to_self.clone());
        tokio::task::spawn_local(async move {
            let outcome = match streams::propose(&sentinels, &entry).await {
                Some((outcome, _)) => outcome,
                None => {
                    // Nobody took it; whoever wants it proposes again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Outcome::Unknown
                }
            };
            if let Outcome::Rejected(rejected) = &outcome {
                tracing::debug!("refused: {rejected}");
            }
            drop(inbox.send(Input::Event(NodeEvent::Proposed(id, outcome))));
        });
    }

    /// The sentinels, those that can be reached first.
    fn by_reach(&self) -> Vec<Sentinel> {
        let open = |sentinel: &Sentinel| {
            self.streams.values().any(|(address, _)| address == sentinel.name())
        };
        let mut all = self.sentinels.clone();
        all.sort_by_key(|sentinel| !open(sentinel));
        all
    }

    fn probe(&self, epoch: Epoch, host: String, port: u16) {
        let inbox = self.to_self.clone();
        tokio::task::spawn_local(async move {
            let connecting = tokio::net::TcpStream::connect((host.as_str(), port));
            let reached =
                matches!(tokio::time::timeout(PROBE_TIMEOUT, connecting).await, Ok(Ok(_)));
            let event = NodeEvent::MasterProbed { epoch, reached };
            drop(inbox.send(Input::Event(event)));
        });
    }

    /// A client asks for a change: what can be said at once is, the rest becomes a proposal.
    fn on_change(&mut self, change: ClusterChange, to: oneshot::Sender<Result<String, String>>) {
        let view = changes::View {
            node: &self.node,
            topology: self.machine.topology(),
            me: self.machine.member(),
            role: self.machine.role(),
        };
        match changes::plan(&view, change) {
            Err(refusal) => drop(to.send(Err(refusal))),
            Ok(changes::Plan::Failover(mode)) => {
                self.step(NodeEvent::FailoverWished(mode));
                drop(to.send(Ok("OK".to_owned())));
            }
            Ok(changes::Plan::Done(answer)) => drop(to.send(Ok(answer))),
            Ok(changes::Plan::Propose { entry, answer, then_empty }) => {
                let (sentinels, inbox) = (self.by_reach(), self.to_self.clone());
                let me = self.myself.id;
                tokio::task::spawn_local(async move {
                    let (version, answer) = ask(&sentinels, me, &entry, answer).await;
                    let until = tokio::time::Instant::now() + LEARN_WAIT;
                    let waiter = Waiter { version, until, then_empty, answer, to };
                    drop(inbox.send(Input::Settled(waiter)));
                });
            }
        }
    }
}

/// Proposes for a client: the version to wait for, and the answer. While there is no leader, and
/// while a node that has just been started has not registered yet, it is tried again: tools that
/// form a cluster of fresh nodes take the first refusal for the last word.
async fn ask(
    sentinels: &[Sentinel],
    me: NodeId,
    entry: &Entry,
    answer: String,
) -> (u64, Result<String, String>) {
    let patience = tokio::time::Instant::now() + ASK_AGAIN_FOR;
    loop {
        let refusal = match streams::propose(sentinels, entry).await {
            None => "ERR no sentinel takes changes at the moment; nothing was changed".to_owned(),
            Some((Outcome::Applied, version)) => return (version, Ok(answer)),
            Some((Outcome::Rejected(rejected), _)) if is_early(&rejected, me) => {
                rejected.to_string()
            }
            Some((Outcome::Rejected(rejected), _)) => return (0, Err(rejected.to_string())),
            Some((Outcome::Unknown, _)) => {
                let text = "ERR the sentinels did not answer in time; the change may still come";
                return (0, Err(text.to_owned()));
            }
        };
        if tokio::time::Instant::now() >= patience {
            return (0, Err(refusal));
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Whether a registration that is about to come would change this.
fn is_early(rejected: &Rejected, me: NodeId) -> bool {
    match rejected {
        Rejected::UnknownNode(node) => *node == me,
        Rejected::UnknownAddress { .. } | Rejected::StaleIncarnation => true,
        _ => false,
    }
}

/// Which way a failover asked for by a client goes about it.
pub(super) fn mode(force: bool) -> FailoverMode {
    if force { FailoverMode::Force } else { FailoverMode::HandOver }
}
