//! The link to the master that this node follows.
//!
//! One task for the life of the node. It carries out the newest order: connects, shakes hands, loads
//! a data set if it must, applies the stream; when the link breaks it tries again. A new order ends
//! what is under way; from a running stream everything received is applied first.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use slotward_failover::{LeaseAck, LeasePing, NodeEvent};
use slotward_keyspace::DbIndex;
use slotward_replication::{
    BadFrame, Frames, Framing, Granted, Handshake, HandshakeError, Introduction, LinkEvent, Member,
    Payload, PayloadProgress, StreamError, StreamLimits, StreamParser, Target, Unit,
};
use slotward_resp::{Args, encode_command};
use slotward_types::{Epoch, Millis, ReplId, ReplOffset};
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::apply::Applier;
use crate::clock;
use crate::node::Node;
use crate::replication::load::{LoadError, Loading};
use crate::stream::Stream;
use crate::tracking;
use crate::worker::Worker;

/// How much is read at a time.
const READ_BYTES: usize = 256 << 10;
/// Longest line of a handshake.
const LINE_BYTES_MAX: usize = 4096;
/// Most bytes of one transaction.
const UNIT_BYTES_MAX: usize = 1 << 30;
/// How long a stream that is given up is drained of what has arrived.
const DRAIN: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);
/// Between two attempts: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Whom to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// Where the master is: host…
    pub(crate) host: String,
    /// …and port.
    pub(crate) port: u16,
    /// This node and the master, if sentinels manage the shard.
    pub(crate) members: Option<(Member, Member)>,
}

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkPhase {
    /// There is none to have.
    None,
    /// It is to be connected.
    Connect,
    /// It is being connected, or shakes hands.
    Connecting,
    /// A data set is received and loaded.
    Syncing,
    /// It follows.
    Up,
}

impl LinkPhase {
    const ALL: [LinkPhase; 5] = [
        LinkPhase::None,
        LinkPhase::Connect,
        LinkPhase::Connecting,
        LinkPhase::Syncing,
        LinkPhase::Up,
    ];

    /// The word in `ROLE`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            LinkPhase::None => "none",
            LinkPhase::Connect => "connect",
            LinkPhase::Connecting => "connecting",
            LinkPhase::Syncing => "sync",
            LinkPhase::Up => "connected",
        }
    }
}

/// An order with its number.
#[derive(Debug, Clone, Default)]
struct Numbered {
    number: u64,
    order: Option<Arc<Order>>,
}

/// What the rest of the node sees of the link, and orders of it.
pub(crate) struct Link {
    orders: watch::Sender<Numbered>,
    /// The number of the newest order that is carried out: nothing older runs.
    begun: watch::Sender<u64>,
    phase: AtomicU8,
    /// When the master was last heard, by the steady clock.
    heard_at: AtomicU64,
    /// Since when the link has not been up.
    down_since: AtomicU64,
    /// Bytes of the data set received so far.
    received: AtomicU64,
    /// The epoch and the clock of the master that is to be answered.
    answer: Mutex<Option<(Epoch, u64)>>,
    notify: Notify,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            orders: watch::Sender::default(),
            begun: watch::Sender::default(),
            phase: AtomicU8::new(LinkPhase::None as u8),
            heard_at: AtomicU64::new(0),
            down_since: AtomicU64::new(0),
            received: AtomicU64::new(0),
            answer: Mutex::new(None),
            notify: Notify::new(),
        }
    }
}

impl Link {
    /// Follows this master from now on.
    pub(crate) fn follow(&self, order: Order) {
        self.order(Some(Arc::new(order)));
    }

    /// Follows nobody; returns when everything received has been applied and nothing more will be.
    pub(crate) async fn halt(&self) {
        let number = self.order(None);
        let mut begun = self.begun.subscribe();
        // The sender lives in `self`, so the wait ends with the order.
        let _ended = begun.wait_for(|begun| *begun >= number).await;
    }

    fn order(&self, order: Option<Arc<Order>>) -> u64 {
        let mut number = 0;
        self.orders.send_modify(|numbered| {
            numbered.number += 1;
            numbered.order = order;
            number = numbered.number;
        });
        number
    }

    /// Whom the node follows.
    pub(crate) fn current(&self) -> Option<Arc<Order>> {
        self.orders.borrow().order.clone()
    }

    /// How the link is.
    pub(crate) fn phase(&self) -> LinkPhase {
        LinkPhase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Whether what the master does arrives here.
    pub(crate) fn is_up(&self) -> bool {
        self.phase() == LinkPhase::Up
    }

    /// Seconds since the master was last heard.
    pub(crate) fn silent_seconds(&self) -> u64 {
        clock::boot_now().since(Millis(self.heard_at.load(Ordering::Relaxed))).0 / 1000
    }

    /// Seconds for which the link has not been up.
    pub(crate) fn down_seconds(&self) -> u64 {
        clock::boot_now().since(Millis(self.down_since.load(Ordering::Relaxed))).0 / 1000
    }

    /// Bytes of the data set received so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Answers the master's clock.
    pub(crate) fn answer(&self, ack: &LeaseAck) {
        *self.answer.lock() = Some((ack.epoch, ack.sent.0));
        self.notify.notify_one();
    }

    fn set_phase(&self, phase: LinkPhase) {
        if self.phase() == LinkPhase::Up && phase != LinkPhase::Up {
            self.down_since.store(clock::boot_now().0, Ordering::Relaxed);
        }
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn heard(&self) {
        self.heard_at.store(clock::boot_now().0, Ordering::Relaxed);
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("another order came")]
    Replaced,
    #[error("the master closed the link")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing was heard of the master for too long")]
    Silent,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the master's handshake has a line that never ends")]
    EndlessLine,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the master sends after the data set what does not belong there")]
    Overlong,
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Carries out orders for the life of the node.
pub(crate) async fn manage(worker: Rc<Worker>) {
    let node = worker.node.clone();
    let link = &node.replication.link;
    let mut orders = link.orders.subscribe();
    loop {
        let Numbered { number, order } = orders.borrow_and_update().clone();
        link.begun.send_replace(number);
        match order {
            None => {
                link.set_phase(LinkPhase::None);
                if orders.changed().await.is_err() {
                    return;
                }
            }
            Some(order) => {
                let follower = Follower { worker: worker.clone(), node: node.clone(), order };
                follower.follow(&mut orders).await;
            }
        }
    }
}

struct Follower {
    worker: Rc<Worker>,
    node: Arc<Node>,
    order: Arc<Order>,
}

type Orders = watch::Receiver<Numbered>;

impl Follower {
    fn link(&self) -> &Link {
        &self.node.replication.link
    }

    /// Follows until another order comes.
    async fn follow(&self, orders: &mut Orders) {
        let Order { host, port, .. } = &*self.order;
        tracing::info!(host, port, "following a master");
        self.link().down_since.store(clock::boot_now().0, Ordering::Relaxed);
        let mut pause = RETRY.0;
        loop {
            self.link().set_phase(LinkPhase::Connect);
            let begun = Instant::now();
            let broken = self.attempt(orders).await;
            let was_up = self.link().is_up();
            self.link().set_phase(LinkPhase::Connect);
            if matches!(broken, Broken::Replaced) {
                return;
            }
            let closed = was_up && is_close(&broken);
            self.node.replication.tell(NodeEvent::LinkDown { closed });
            tracing::info!(host, port, was_up, "the link to the master ended: {broken}");
            if was_up || begun.elapsed() > RETRY.1 {
                pause = RETRY.0;
            }
            tokio::select! {
                _ = orders.changed() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY.1),
            }
        }
    }

    /// One link from its beginning to its end.
    async fn attempt(&self, orders: &mut Orders) -> Broken {
        let begun = tokio::select! {
            biased;
            _ = orders.changed() => return Broken::Replaced,
            begun = self.begin() => begun,
        };
        match begun {
            Ok(streaming) => match streaming.run(orders).await {
                Ok(never) => match never {},
                Err(broken) => broken,
            },
            Err(broken) => broken,
        }
    }

    /// Everything up to the point from which the stream is applied. Dropped in the middle, it leaves
    /// data and log as they were.
    async fn begin(&self) -> Result<Streaming<'_>, Broken> {
        self.link().set_phase(LinkPhase::Connecting);
        let mut wire = self.connect().await?;
        let granted = self.shake_hands(&mut wire).await?;
        let framed = self.order.members.is_some();
        let parser = match granted {
            Granted::Continue { id } => self.go_on(id),
            Granted::Full { id, offset, framing } => {
                self.synchronise(&mut wire, id, offset, framing).await?
            }
        };
        let streaming =
            Streaming { follower: self, wire, parser, frames: framed.then(Frames::default) };
        self.link().set_phase(LinkPhase::Up);
        self.link().heard();
        if let Some((us, _)) = self.order.members {
            self.node.replication.tell(NodeEvent::LinkUp { epoch: us.epoch });
        }
        // It tells the master that we are there, and how far.
        streaming.acknowledge(None).await?;
        Ok(streaming)
    }

    async fn connect(&self) -> Result<Wire, Broken> {
        let address = (self.order.host.as_str(), self.order.port);
        let patience = self.patience();
        let connecting = tokio::net::TcpStream::connect(address);
        let stream = timeout(patience, connecting).await.map_err(|_| Broken::Silent)??;
        stream.set_nodelay(true)?;
        Ok(Wire { stream: Stream::Tcp(stream), received: Vec::new(), patience })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.node.live.load().settings.repl_timeout)
    }

    async fn shake_hands(&self, wire: &mut Wire) -> Result<Granted, Broken> {
        let settings = self.node.live.load().settings.clone();
        let filled = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        let announced = settings.replica_announce_port;
        let introduction = Introduction {
            user: filled(&settings.masteruser),
            password: filled(&settings.masterauth),
            listening_port: if announced > 0 { announced } else { settings.port },
            announced_ip: (!settings.replica_announce_ip.is_empty())
                .then(|| settings.replica_announce_ip.clone()),
            member: self.order.members,
            resume: {
                let log = &self.node.replication.log;
                log.is_active().then(|| log.resume())
            },
        };
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(introduction, &mut out);
        loop {
            if !out.is_empty() {
                wire.write(&out).await?;
                out.clear();
            }
            let line = wire.line().await?;
            if let Some(granted) = handshake.on_line(&line, &mut out)? {
                return Ok(granted);
            }
        }
    }

    fn go_on(&self, id: Option<ReplId>) -> StreamParser {
        let replication = &self.node.replication;
        let before = replication.log.resume();
        if let Some(id) = id.filter(|id| *id != before.id) {
            replication.log.adopt(id);
            // Those who follow us have to learn the new name.
            replication.replicas.kick();
        }
        tracing::info!(offset = before.next.0, "the master lets us go on where we were");
        self.parser(before.next, replication.log.db().unwrap_or(0))
    }

    fn parser(&self, offset: ReplOffset, db: u16) -> StreamParser {
        let databases = self.node.keyspace.databases();
        StreamParser::new(offset, db, StreamLimits { unit_bytes_max: UNIT_BYTES_MAX, databases })
    }

    // --- a full synchronisation

    async fn synchronise(
        &self,
        wire: &mut Wire,
        id: ReplId,
        offset: ReplOffset,
        framing: Framing,
    ) -> Result<StreamParser, Broken> {
        let (node, replication) = (&self.node, &self.node.replication);
        tracing::info!(%id, offset = offset.0, "receiving the master's data set");
        self.link().set_phase(LinkPhase::Syncing);
        self.link().received.store(0, Ordering::Relaxed);
        if let Some((us, _)) = self.order.members {
            replication.tell(NodeEvent::LinkSyncing { epoch: us.epoch });
        }
        let mut loading = Loading::start(node.keyspace.new_alike(), node.live.load_full())?;
        self.receive(wire, Payload::new(framing), &mut loading).await?;
        let loaded = self.loaded(wire, loading).await?;
        let keys = loaded.keys;
        let db = loaded.stream_db;
        let old = node
            .barrier
            .run(|| {
                let old = node.keyspace.replace(&loaded.keyspace);
                replication.log.restart(id, offset, Some(db));
                tracking::flush(node);
                old
            })
            .await;
        node.garbage.drop_later((old, loaded));
        replication.replicas.kick();
        tracing::info!(keys, "the master's data set has taken the place of the old one");
        Ok(self.parser(offset, db))
    }

    async fn receive(
        &self,
        wire: &mut Wire,
        mut payload: Payload,
        loading: &mut Loading,
    ) -> Result<(), Broken> {
        let mut said = Instant::now();
        loop {
            let mut piece = Vec::new();
            let received = std::mem::take(&mut wire.received);
            let progress = payload.feed(&received, &mut piece);
            self.link().received.store(payload.received(), Ordering::Relaxed);
            self.link().heard();
            let failed = match &loading.pieces {
                Some(pieces) if !piece.is_empty() => pieces.send(piece).await.is_err(),
                _ => false,
            };
            if failed {
                // The thread has given up and says why.
                loading.pieces = None;
                return Err(outcome(loading).await.err().unwrap_or(Broken::Overlong));
            }
            if let PayloadProgress::Done { rest } = progress {
                wire.received = received[rest..].to_vec();
                loading.pieces = None;
                return Ok(());
            }
            if said.elapsed() > TICK {
                // The master hears that we are still there.
                wire.write(b"\n").await?;
                said = Instant::now();
            }
            wire.read().await?;
        }
    }

    async fn loaded(
        &self,
        wire: &mut Wire,
        mut loading: Loading,
    ) -> Result<crate::replication::load::Loaded, Broken> {
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                loaded = outcome(&mut loading) => return loaded,
                _ = ticks.tick() => wire.write(b"\n").await?,
            }
        }
    }
}

async fn outcome(loading: &mut Loading) -> Result<crate::replication::load::Loaded, Broken> {
    let outcome = (&mut loading.outcome).await.map_err(|_| LoadError::Gone)?;
    Ok(outcome?)
}

/// Whether the other side ended the link, as a process that dies does.
fn is_close(broken: &Broken) -> bool {
    match broken {
        Broken::Closed => true,
        Broken::Io(error) => {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        }
        _ => false,
    }
}

/// The socket, and what was read from it and not used.
struct Wire {
    stream: Stream,
    received: Vec<u8>,
    patience: Duration,
}

impl Wire {
    async fn write(&self, bytes: &[u8]) -> Result<(), Broken> {
        let written = timeout(self.patience, self.stream.write_all(bytes)).await;
        Ok(written.map_err(|_| Broken::Silent)??)
    }

    /// Waits for bytes and reads them behind what there is.
    async fn read(&mut self) -> Result<(), Broken> {
        loop {
            let ready = timeout(self.patience, self.stream.readable()).await;
            ready.map_err(|_| Broken::Silent)??;
            if self.read_now()? {
                return Ok(());
            }
        }
    }

    /// Reads what has arrived; false if nothing has.
    fn read_now(&mut self) -> Result<bool, Broken> {
        let len = self.received.len();
        self.received.resize(len + READ_BYTES, 0);
        let read = self.stream.try_read(&mut self.received[len..]);
        self.received.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Broken::Closed),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Err(Broken::EndlessLine);
            }
            self.read().await?;
        }
    }
}

/// A link whose stream is being applied.
struct Streaming<'f> {
    follower: &'f Follower,
    wire: Wire,
    parser: StreamParser,
    /// In a managed shard: takes the stream and the clock apart.
    frames: Option<Frames>,
}

enum Never {}

impl Streaming<'_> {
    async fn run(mut self, orders: &mut Orders) -> Result<Never, Broken> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        self.apply_received().await?;
        loop {
            let link = self.follower.link();
            tokio::select! {
                biased;
                _ = orders.changed() => {
                    self.drain().await;
                    return Err(Broken::Replaced);
                }
                () = link.notify.notified() => {
                    let answer = link.answer.lock().take();
                    // What was to answer an earlier master would be a promise to this one that
                    // nobody has made (rule 8).
                    let us = self.follower.order.members.map(|(us, _)| us.epoch);
                    if let Some((_, sent)) = answer.filter(|(epoch, _)| Some(*epoch) == us) {
                        self.acknowledge(Some(sent)).await?;
                    }
                }
                _ = ticks.tick() => {
                    if heard.elapsed() > self.wire.patience {
                        return Err(Broken::Silent);
                    }
                    self.acknowledge(None).await?;
                }
                ready = self.wire.stream.readable() => {
                    ready?;
                    if self.wire.read_now()? {
                        heard = Instant::now();
                        link.heard();
                        self.apply_received().await?;
                    }
                }
            }
        }
    }

    /// Applies what has arrived and is still in the socket: it was received, so it counts.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            match self.wire.read_now() {
                Ok(true) => {
                    if let Err(broken) = self.apply_received().await {
                        tracing::warn!(
                            "the rest of the master's stream cannot be applied: {broken}"
                        );
                        return;
                    }
                }
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn apply_received(&mut self) -> Result<(), Broken> {
        let received = std::mem::take(&mut self.wire.received);
        match &mut self.frames {
            None => self.parser.feed(&received),
            Some(frames) => {
                let mut stamp = None;
                let parser = &mut self.parser;
                frames.feed(&received, |event| match event {
                    LinkEvent::Stream(bytes) => parser.feed(bytes),
                    LinkEvent::Stamp { sent, lease } => stamp = Some((sent, lease)),
                })?;
                if let (Some((sent, lease)), Some((_, master))) =
                    (stamp, self.follower.order.members)
                {
                    self.follower.node.replication.tell(NodeEvent::LeasePing(LeasePing {
                        from: slotward_cluster::Member {
                            node: master.node,
                            incarnation: master.incarnation,
                        },
                        epoch: master.epoch,
                        sent: Millis(sent),
                        lease: Millis(lease),
                    }));
                }
            }
        }
        // The buffer serves the next read.
        self.wire.received = received;
        self.wire.received.clear();
        let ack_wanted = self.apply_units().await?;
        self.follower.node.replication.wake();
        if ack_wanted {
            self.acknowledge(None).await?;
        }
        Ok(())
    }

    /// Applies all whole units; whether the master asked for an acknowledgement.
    async fn apply_units(&mut self) -> Result<bool, Broken> {
        let (worker, node) = (&self.follower.worker, &self.follower.node);
        let mut applier = Applier::new(worker);
        let mut ack_wanted = false;
        while let Some(unit) = self.parser.next_unit()? {
            ack_wanted |= unit.ack_wanted;
            if unit.is_empty() {
                let _inside = worker.participant.enter();
                keep_verbatim(node, &unit, Target::Barrier);
                continue;
            }
            let commands: SmallVec<[(DbIndex, Args<'_>); 4]> =
                unit.commands().map(|(db, args)| (DbIndex(db), args)).collect();
            applier.apply(&commands, || keep_verbatim(node, &unit, Target::Barrier)).await;
        }
        Ok(ack_wanted)
    }

    /// Tells the master how far we are, with its clock as an answer to that.
    async fn acknowledge(&self, sent: Option<u64>) -> Result<(), Broken> {
        let offset = self.follower.node.replication.log.end().to_string();
        let mut out = Vec::new();
        match sent.map(|sent| sent.to_string()) {
            None => encode_command(&mut out, [&b"REPLCONF"[..], b"ACK", offset.as_bytes()]),
            Some(sent) => encode_command(
                &mut out,
                [&b"REPLCONF"[..], b"ACK", offset.as_bytes(), b"STAMP", sent.as_bytes()],
            ),
        }
        self.wire.write(&out).await
    }
}

/// The master's bytes enter our log as they came.
fn keep_verbatim(node: &Node, unit: &Unit<'_>, target: Target) {
    let end = node.replication.log.append_verbatim(unit.bytes(), unit.db, target);
    assert_eq!(end, unit.end, "a replica's log is its master's");
}
