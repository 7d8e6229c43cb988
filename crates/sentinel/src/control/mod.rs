//! The watch over the nodes: one task that owns the [`SentinelMachine`], with one inbox and no lock.
//!
//! Decides nothing itself: events go into the machine, its effects are performed here. It runs on a
//! thread where nothing waits for a disk: heartbeats are acknowledged while the Raft log syncs.
//!
//! **Invariant:** a topology reaches the machine before the outcome of the proposal that made it.

mod clock;
mod peers;
mod propose;
mod revocations;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use slotward_cluster::{Health, Timing, Topology};
use slotward_failover::{
    Entry, FailoverRequest, NodeStatus, ProposalId, SentinelConfig, SentinelEffect, SentinelEvent,
    SentinelId, SentinelMachine, StreamId, ToNode,
};
use slotward_proto::control::SentinelMessage;
use slotward_proto::{FromSentinel, InvalidMessage};
use slotward_types::{Incarnation, Millis, NodeId};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, timeout};

use crate::raft::{Group, GroupId, RaftId, Status};

pub(crate) use peers::Peers;
pub(crate) use revocations::Revocations;
pub use revocations::RevocationsError;
pub(crate) use service::ControlService;

/// Between two ticks while a stream has just ended.
const TICK_FAST: Duration = Duration::from_millis(10);
/// For how long after the end of a stream.
const FAST_FOR: Duration = Duration::from_secs(3);
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_TIMING: Millis = Millis(1000);
const INBOX: usize = 4096;
/// Messages that may wait for one node before its stream is given up.
const OUTBOX: usize = 256;
const EVENTS: usize = 4096;

/// A message for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// `+sdown`, `+switch-master`…
    pub(crate) channel: &'static str,
    /// What it says.
    pub(crate) message: String,
}

/// What the sentinel knows at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Who owns what.
    pub(crate) topology: Arc<Topology>,
    /// What is seen of each node.
    pub(crate) nodes: BTreeMap<NodeId, NodeStatus>,
    /// The same, for the replies of `CLUSTER`.
    pub(crate) health: Health,
    /// How the group stands.
    pub(crate) group: Status,
    /// The group's name, once this sentinel belongs to one.
    pub(crate) name: Option<GroupId>,
    /// How long ago each other sentinel answered, and whether that is too long.
    pub(crate) silence: BTreeMap<RaftId, (Duration, bool)>,
}

/// What the task is told.
enum Message {
    Event(SentinelEvent),
    Opened { stream: StreamId, node: slotward_cluster::Member, outbox: Outbox },
    View(oneshot::Sender<View>),
    ForgetSilent,
}

type Outbox = mpsc::Sender<Result<SentinelMessage, tonic::Status>>;

/// Speaks to the task. Clones speak to the same one.
#[derive(Clone)]
pub(crate) struct Control {
    inbox: mpsc::Sender<Message>,
    events: broadcast::Sender<Arc<Published>>,
}

/// What the task is made of before it runs.
pub(crate) struct Inbox {
    messages: mpsc::Receiver<Message>,
}

impl Control {
    /// A control and the inbox that its task will read.
    pub(crate) fn new() -> (Control, Inbox) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (events, _) = broadcast::channel(EVENTS);
        (Control { inbox, events }, Inbox { messages })
    }

    /// What the sentinel knows now; `None` when it is stopping.
    pub(crate) async fn view(&self) -> Option<View> {
        let (reply, view) = oneshot::channel();
        self.inbox.send(Message::View(reply)).await.ok()?;
        view.await.ok()
    }

    /// Asks for a failover, as `SENTINEL FAILOVER` does.
    pub(crate) async fn fail_over(&self, request: FailoverRequest) {
        self.tell(SentinelEvent::FailoverWished(request)).await;
    }

    /// Has the silent sentinels leave the group, if this one leads it.
    pub(crate) async fn forget_silent(&self) {
        // Fails only when the task has ended.
        let _ = self.inbox.send(Message::ForgetSilent).await;
    }

    /// Everything that is published from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.events.subscribe()
    }

    /// Publishes to whoever has subscribed.
    pub(crate) fn publish(&self, channel: &'static str, message: String) {
        tracing::info!("{channel} {message}");
        // Nobody may have subscribed.
        let _ = self.events.send(Arc::new(Published { channel, message }));
    }

    async fn tell(&self, event: SentinelEvent) {
        // Fails only when the task has ended, and then nobody is to be told.
        let _ = self.inbox.send(Message::Event(event)).await;
    }
}

/// What the task needs to perform effects.
pub(crate) struct Watch {
    pub(crate) control: Control,
    pub(crate) group: Group,
    pub(crate) peers: Peers,
    pub(crate) revocations: Revocations,
    /// The times to put in force when this sentinel leads.
    pub(crate) timing: Option<Timing>,
}

/// The task's own state.
struct Task {
    watch: Watch,
    machine: SentinelMachine,
    /// The open stream of each node.
    streams: BTreeMap<NodeId, Stream>,
    effects: Vec<SentinelEffect>,
    fast_until: Millis,
    /// Who led when it was last said.
    leader: Option<RaftId>,
    /// When the configured times may be proposed again.
    timing_at: Millis,
}

struct Stream {
    id: StreamId,
    run: Incarnation,
    outbox: Outbox,
}

/// Runs until its thread ends.
pub(crate) async fn run(
    watch: Watch,
    mut inbox: Inbox,
    topology: Arc<Topology>,
    mut applied: mpsc::UnboundedReceiver<Arc<Topology>>,
) {
    let config = SentinelConfig {
        id: SentinelId(watch.group.raft_id()),
        revoked: watch.revocations.initial(),
        topology,
    };
    let now = clock::now();
    let mut task = Task {
        machine: SentinelMachine::new(now, config),
        streams: BTreeMap::new(),
        effects: Vec::new(),
        fast_until: now,
        leader: None,
        timing_at: now,
        watch,
    };
    let mut status = task.watch.group.watch();
    status.mark_changed();
    let mut ticks = tokio::time::interval(TICK_FAST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticked = now;
    loop {
        tokio::select! {
            // The topologies first: see the invariant above.
            biased;
            Some(topology) = applied.recv() => task.step(SentinelEvent::Applied(topology)),
            Ok(()) = status.changed() => {
                let status = status.borrow_and_update().clone();
                task.on_status(&status);
            }
            message = inbox.messages.recv() => match message {
                Some(message) => task.on_message(message),
                None => return,
            },
            _ = ticks.tick() => {
                let now = clock::now();
                let interval = Millis(task.machine.topology().timing.heartbeat.0 / 4);
                if now < task.fast_until || now.since(ticked) >= interval {
                    ticked = now;
                    task.step(SentinelEvent::Tick);
                    task.put_timing_in_force(now);
                }
            }
        }
    }
}

impl Task {
    fn on_message(&mut self, message: Message) {
        match message {
            Message::Event(event) => {
                if let SentinelEvent::StreamClosed(stream) = &event {
                    self.on_closed(*stream);
                }
                self.step(event);
            }
            Message::Opened { stream, node, outbox } => {
                let open = self.streams.get(&node.node);
                // A run that is over does not take the place of the present one: its stream ends
                // with its outbox.
                if open.is_none_or(|open| open.run <= node.incarnation) {
                    let open = Stream { id: stream, run: node.incarnation, outbox };
                    self.streams.insert(node.node, open);
                    self.step(SentinelEvent::StreamOpened(stream, node));
                }
            }
            Message::ForgetSilent => self.forget_silent(),
            Message::View(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.view());
            }
        }
    }

    fn forget_silent(&self) {
        let (group, peers) = (self.watch.group.clone(), &self.watch.peers);
        let status = group.status();
        let silent: BTreeSet<RaftId> =
            status.members.keys().copied().filter(|id| peers.silence(*id).1).collect();
        if !status.leading || silent.is_empty() {
            return;
        }
        tokio::spawn(async move {
            match timeout(PROPOSE_TIMEOUT, group.expel(silent)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("silent sentinels stay in the group: {error}"),
                Err(_) => tracing::warn!("silent sentinels stay in the group: no majority answers"),
            }
        });
    }

    fn on_closed(&mut self, stream: StreamId) {
        self.streams.retain(|_, open| open.id != stream);
        self.fast_until = clock::now() + Millis(FAST_FOR.as_millis() as u64);
    }

    fn on_status(&mut self, status: &Status) {
        let leader = status.leader.map(SentinelId);
        let voters: BTreeSet<SentinelId> = status.voters.iter().copied().map(SentinelId).collect();
        if self.leader != status.leader {
            self.leader = status.leader;
            let address = status.leader.and_then(|leader| status.members.get(&leader));
            match address {
                _ if status.leading => tracing::info!(term = status.term, "leads the group"),
                Some(leader) => tracing::info!(term = status.term, "follows {}", leader.resp),
                None => tracing::info!(term = status.term, "knows no leader"),
            }
        }
        self.step(SentinelEvent::Leader { leader, voters });
    }

    /// A leader proposes the configured times, if they are not those in force.
    fn put_timing_in_force(&mut self, now: Millis) {
        let Some(timing) = self.watch.timing.clone() else { return };
        let leads = self.leader == Some(self.watch.group.raft_id());
        if !leads || now < self.timing_at || self.machine.topology().timing == timing {
            return;
        }
        self.timing_at = now + RETRY_TIMING;
        let group = self.watch.group.clone();
        tokio::spawn(async move {
            match group.propose(Entry::SetTiming(timing), PROPOSE_TIMEOUT).await {
                Ok(Ok(_)) => tracing::info!("the configured times are in force"),
                Ok(Err(why)) => tracing::warn!("the configured times were refused: {why}"),
                Err(why) => tracing::warn!("the configured times are not in force: {why}"),
            }
        });
    }

    fn step(&mut self, event: SentinelEvent) {
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.step(clock::now(), event, &mut effects);
        effects.drain(..).for_each(|effect| self.perform(effect));
        self.effects = effects;
    }

    /// Starts what the effect asks for; nothing here waits.
    fn perform(&mut self, effect: SentinelEffect) {
        let control = self.watch.control.clone();
        match effect {
            SentinelEffect::Persist(id, revoked) => self.watch.revocations.write(id, revoked),
            SentinelEffect::ToNode(node, message) => self.send(node, message),
            SentinelEffect::ToPeer(peer, message) => {
                self.watch.peers.tell(&self.watch.group, peer, message);
            }
            SentinelEffect::Propose(id, entry) => self.propose(id, entry),
            SentinelEffect::Probe { node, host, port } => {
                let limit = Duration::from_millis(self.machine.topology().timing.reconnect_wait.0);
                tokio::spawn(async move {
                    let reached = probe(&host, port, limit).await;
                    control.tell(SentinelEvent::Probed(node, reached)).await;
                });
            }
            SentinelEffect::Publish { channel, message } => control.publish(channel, message),
        }
    }

    fn send(&mut self, node: NodeId, message: ToNode) {
        let Some(stream) = self.streams.get(&node) else { return };
        let message = SentinelMessage::from(&FromSentinel::Says(message));
        if let Err(mpsc::error::TrySendError::Full(_)) = stream.outbox.try_send(Ok(message)) {
            // A topology or an order must not be skipped. Ending the stream makes the node open
            // another, on which it is told anew.
            tracing::warn!(%node, "reads too slowly; ends its stream");
            self.streams.remove(&node);
        }
    }

    fn propose(&self, id: ProposalId, entry: Entry) {
        let (group, control) = (self.watch.group.clone(), self.watch.control.clone());
        tokio::spawn(async move {
            let outcome = propose::outcome(group.propose(entry, PROPOSE_TIMEOUT).await);
            control.tell(SentinelEvent::Proposed(id, outcome)).await;
        });
    }

    fn view(&self) -> View {
        let now = clock::now();
        let topology = Arc::clone(self.machine.topology());
        let status = |&node: &NodeId| Some((node, self.machine.status(now, node)?));
        let group = self.watch.group.status();
        let silence = |&id: &RaftId| (id, self.watch.peers.silence(id));
        View {
            silence: group.members.keys().map(silence).collect(),
            nodes: topology.nodes.keys().filter_map(status).collect(),
            health: self.machine.health(),
            group,
            name: self.watch.group.name(),
            topology,
        }
    }
}

/// Whether anybody takes a connection at that address within `limit`.
async fn probe(host: &str, port: u16, limit: Duration) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(timeout(limit, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

/// What a peer sent and cannot be understood, once in a while.
fn refused(error: InvalidMessage) -> tonic::Status {
    tracing::warn!("a message that is not understood: {error}");
    error.into()
}
