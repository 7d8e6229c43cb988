//! A replica that follows this node: its synchronisation, then the log as it grows.
//!
//! Runs as a task on the worker that had the connection. The log wakes it at most once per batch of
//! commands; it copies what is there and writes it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use slotward_failover::{LeaseAck, LeasePing, NodeEvent};
use slotward_replication::{
    LogReader, Peer, Replconf, Resume, begin_stream_frame, end_stream_frame, push_stamp_frame,
};
use slotward_resp::{Args, CommandDecoder, Decoded, Limits};
use slotward_types::{Millis, ReplOffset};
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use crate::client::mark;
use crate::clock;
use crate::connection::Taken;
use crate::node::Node;
use crate::replication::snapshot::{Body, Started};
use crate::stream::Stream;
use crate::worker::Worker;

/// How much of the log is copied and written at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// A replica says little; this much unread would be no replica.
const INPUT_BYTES_MAX: usize = 64 << 10;
const TICK: Duration = Duration::from_secs(1);

/// How far a replica's synchronisation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its snapshot is awaited.
    Waiting,
    /// Its snapshot is sent, or loaded over there.
    Sending,
    /// It gets the log as it grows.
    Online,
}

impl State {
    /// The word in `INFO`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Waiting => "wait_bgsave",
            State::Sending => "send_bulk",
            State::Online => "online",
        }
    }
}

/// What the rest of the node knows of one replica.
#[derive(Debug)]
pub(crate) struct Replica {
    client_id: u64,
    /// What it said of itself.
    pub(crate) peer: Peer,
    /// The address it is shown with.
    pub(crate) ip: String,
    state: AtomicU8,
    acked: AtomicU64,
    /// When it last acknowledged, by the steady clock.
    acked_at: AtomicU64,
    /// The master's clock and lease that are to be sent next.
    ping: Mutex<Option<(u64, u64)>>,
    kicked: AtomicBool,
    notify: Notify,
}

impl Replica {
    /// How far its synchronisation is.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Waiting,
            1 => State::Sending,
            _ => State::Online,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// What it has acknowledged.
    pub(crate) fn acked(&self) -> ReplOffset {
        ReplOffset(self.acked.load(Ordering::Acquire))
    }

    /// Seconds since it last acknowledged.
    pub(crate) fn lag_seconds(&self) -> u64 {
        clock::boot_now().since(Millis(self.acked_at.load(Ordering::Relaxed))).0 / 1000
    }

    fn acknowledge(&self, offset: ReplOffset) {
        self.acked.fetch_max(offset.0, Ordering::AcqRel);
        self.acked_at.store(clock::boot_now().0, Ordering::Relaxed);
    }
}

/// All replicas of this node.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    known: RwLock<Vec<Arc<Replica>>>,
    /// Told of every acknowledgement.
    acked: Notify,
}

impl Replicas {
    /// All of them, in order of arrival.
    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        self.known.read().clone()
    }

    fn online(&self) -> Vec<Arc<Replica>> {
        let mut replicas = self.all();
        replicas.retain(|replica| replica.state() == State::Online);
        replicas
    }

    /// How many are online and were heard of within so many seconds.
    pub(crate) fn good(&self, lag_seconds_max: u64) -> usize {
        self.online().iter().filter(|replica| replica.lag_seconds() <= lag_seconds_max).count()
    }

    /// How many have acknowledged the offset.
    pub(crate) fn count_acked(&self, offset: ReplOffset) -> usize {
        self.online().iter().filter(|replica| replica.acked() >= offset).count()
    }

    /// Waits until so many replicas have acknowledged the offset.
    pub(crate) async fn wait_acked(&self, offset: ReplOffset, count: usize) {
        loop {
            let mut acked = std::pin::pin!(self.acked.notified());
            // Before the look, so that an acknowledgement in between is not missed.
            acked.as_mut().enable();
            if self.count_acked(offset) >= count {
                return;
            }
            acked.await;
        }
    }

    /// Ends all links; the replicas come back and are told what has changed.
    pub(crate) fn kick(&self) {
        for replica in self.known.read().iter() {
            replica.kicked.store(true, Ordering::Release);
            replica.notify.notify_one();
        }
    }

    /// Sends the master's clock to every replica that is a member of the shard in this epoch.
    pub(crate) fn ping(&self, ping: &LeasePing) {
        for replica in self.known.read().iter() {
            if replica.peer.member.is_some_and(|member| member.epoch == ping.epoch) {
                *replica.ping.lock() = Some((ping.sent.0, ping.lease.0));
                replica.notify.notify_one();
            }
        }
    }

    fn enter(&self, taken: &Taken, peer: Peer) -> Arc<Replica> {
        let address = &taken.client.address;
        let ip = address.rsplit_once(':').map_or(&**address, |(ip, _port)| ip);
        let ip = peer.ip.clone().unwrap_or_else(|| ip.trim_matches(['[', ']']).to_owned());
        let replica = Arc::new(Replica {
            client_id: taken.client.id,
            ip,
            peer,
            state: AtomicU8::new(State::Waiting as u8),
            acked: AtomicU64::new(0),
            acked_at: AtomicU64::new(clock::boot_now().0),
            ping: Mutex::new(None),
            kicked: AtomicBool::new(false),
            notify: Notify::new(),
        });
        self.known.write().push(replica.clone());
        replica
    }

    fn leave(&self, replica: &Replica) {
        self.known.write().retain(|other| other.client_id != replica.client_id);
    }
}

/// What a replica asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Where it wants to go on.
    pub(crate) resume: Option<Resume>,
    /// It said `PSYNC`: it is told which kind of synchronisation it gets, and acknowledges.
    pub(crate) psync: bool,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the replica closed the link")]
    Closed,
    #[error("the link broke: {0}")]
    Io(#[from] io::Error),
    #[error("the replica was refused: {0}")]
    Refused(String),
    #[error("the role of this node has changed")]
    Kicked,
    #[error("nothing was heard of the replica for too long")]
    Silent,
    #[error("the replica fell too far behind")]
    Behind,
    #[error("the replica sent what is no command")]
    Nonsense,
    #[error("the snapshot failed: {0}")]
    Snapshot(String),
}

/// Serves a replica until its link ends.
pub(crate) async fn serve(taken: Rc<Taken>, request: Request) {
    let node = taken.worker.node.clone();
    let peer = taken.handshake.as_ref().map(|handshake| handshake.peer.clone()).unwrap_or_default();
    taken.client.mark(mark::REPLICA, true);
    let replica = node.replication.replicas.enter(&taken, peer);
    tracing::info!(
        replica = replica.ip,
        port = replica.peer.listening_port,
        "a replica asks to be synchronised"
    );
    let mut session = Session {
        node: node.clone(),
        taken: taken.clone(),
        replica: replica.clone(),
        request,
        input: Input { buffer: taken.unread.clone(), decoder: CommandDecoder::default() },
        has_acked: false,
        ticks: ticks(),
    };
    let result = session.run().await;
    let closed_there = matches!(result, Err(Ended::Closed));
    if let Err(ended) = result {
        tracing::info!(
            replica = replica.ip,
            port = replica.peer.listening_port,
            "the link to a replica ended: {ended}"
        );
    }
    node.replication.replicas.leave(&replica);
    // Before the connection is closed, which the replica may take for the end of this process.
    if let Some(member) = replica.peer.member.filter(|_| !closed_there) {
        let of = slotward_cluster::Member { node: member.node, incarnation: member.incarnation };
        node.replication.tell(NodeEvent::ReplicaGone { member: of, epoch: member.epoch });
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What was received of the replica and not understood yet.
struct Input {
    buffer: Vec<u8>,
    decoder: CommandDecoder,
}

struct Session {
    node: Arc<Node>,
    taken: Rc<Taken>,
    replica: Arc<Replica>,
    request: Request,
    input: Input,
    /// Whether the replica has acknowledged anything on this link.
    has_acked: bool,
    ticks: Interval,
}

/// What a turn of the loop found.
enum Turn {
    Received,
    Writable,
    More,
    Notified,
    Tick,
}

impl Session {
    async fn run(&mut self) -> Result<(), Ended> {
        self.admit().await?;
        let reader = match self.resume() {
            Some(reader) => {
                let id = self.node.replication.data_plane().0;
                let line = if self.replica.peer.takes_new_id {
                    format!("+CONTINUE {id}\r\n")
                } else {
                    "+CONTINUE\r\n".to_owned()
                };
                self.say(line.as_bytes()).await?;
                tracing::info!(replica = self.replica.ip, "the replica goes on where it left off");
                reader
            }
            None => self.full().await?,
        };
        self.replica.acknowledge(ReplOffset(0));
        self.replica.set_state(State::Online);
        self.stream(reader).await
    }

    /// Refuses whoever this node cannot serve.
    async fn admit(&mut self) -> Result<(), Ended> {
        let replication = &self.node.replication;
        let refusal = if replication.is_following() && !replication.is_in_sync() {
            Some("-NOMASTERLINK Can't SYNC while not connected with my master\r\n".to_owned())
        } else {
            let ours = *replication.us.lock();
            // The epoch may have changed since the replica presented itself.
            let stale = self
                .replica
                .peer
                .member
                .filter(|member| ours.is_none_or(|ours| ours.epoch != member.epoch));
            stale.map(|member| format!("-STALEEPOCH this node left epoch {}\r\n", member.epoch))
        };
        match refusal {
            None => Ok(()),
            Some(line) => {
                self.say(line.as_bytes()).await?;
                Err(Ended::Refused(line))
            }
        }
    }

    fn resume(&self) -> Option<LogReader> {
        let replication = &self.node.replication;
        let reader = self.request.resume.and_then(|from| replication.log.attach(from));
        if reader.is_some() {
            replication.counters.partial.fetch_add(1, Ordering::Relaxed);
        } else if self.request.resume.is_some() {
            replication.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        reader
    }

    // --- the snapshot

    async fn full(&mut self) -> Result<LogReader, Ended> {
        let node = self.node.clone();
        node.replication.counters.full.fetch_add(1, Ordering::Relaxed);
        let mut started =
            std::pin::pin!(node.replication.gathering.join(&node, self.replica.peer.takes_mark));
        let started = self.keep_alive_until(started.as_mut()).await?;
        let started = started.map_err(|error| Ended::Snapshot(error.to_string()))?;
        if self.request.psync {
            let line = format!("+FULLRESYNC {} {}\r\n", started.point.id, started.point.offset);
            self.say(line.as_bytes()).await?;
        }
        self.replica.set_state(State::Sending);
        let Started { reader, body, .. } = started;
        match body {
            Body::Marked { mark, mut chunks } => {
                self.say(&[b"$EOF:", &mark[..], b"\r\n"].concat()).await?;
                while let Some(chunk) = chunks.recv().await {
                    let chunk = chunk.map_err(Ended::Snapshot)?;
                    self.say(&chunk).await?;
                }
                self.say(&mark).await?;
                // A replica looks for the mark at the end of what it has; anything behind it
                // would hide it. Its first acknowledgement says that it has found it.
                self.wait_for_ack().await?;
            }
            Body::Spooled(spooled) => {
                let mut spooled = std::pin::pin!(spooled);
                let spool = self.keep_alive_until(spooled.as_mut()).await?;
                let (file, len) = spool
                    .map_err(|_| "its thread ended".to_owned())
                    .and_then(|spool| spool)
                    .map_err(Ended::Snapshot)?;
                self.say(format!("${len}\r\n").as_bytes()).await?;
                self.send_file(&file, len).await?;
            }
        }
        Ok(reader)
    }

    async fn send_file(&mut self, file: &std::fs::File, len: u64) -> Result<(), Ended> {
        use std::os::unix::fs::FileExt;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < len {
            let part = chunk.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            // Written a moment ago: it comes from the page cache.
            file.read_exact_at(&mut chunk[..part], at)?;
            self.say(&chunk[..part]).await?;
            at += part as u64;
        }
        Ok(())
    }

    /// Waits for something that takes its time, with empty lines that keep the link alive.
    async fn keep_alive_until<T>(
        &mut self,
        mut awaited: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Ended> {
        loop {
            let stream = &self.taken.stream;
            tokio::select! {
                result = &mut awaited => return Ok(result),
                ready = stream.readable() => {
                    ready?;
                    self.receive()?;
                }
                () = self.replica.notify.notified() => self.check_kicked()?,
                _ = self.ticks.tick() => self.say(b"\n").await?,
            }
        }
    }

    async fn wait_for_ack(&mut self) -> Result<(), Ended> {
        // Loading takes as long as it takes; meanwhile the replica sends empty lines.
        let mut heard = Instant::now();
        while !self.has_acked {
            let stream = &self.taken.stream;
            tokio::select! {
                ready = stream.readable() => {
                    ready?;
                    self.receive()?;
                    heard = Instant::now();
                }
                () = self.replica.notify.notified() => self.check_kicked()?,
                _ = self.ticks.tick() => {
                    if heard.elapsed() > self.silence_max() {
                        return Err(Ended::Silent);
                    }
                }
            }
        }
        Ok(())
    }

    // --- the log

    async fn stream(&mut self, mut reader: LogReader) -> Result<(), Ended> {
        let framed = self.replica.peer.member.is_some();
        let mut out = Vec::new();
        let mut written = 0;
        let mut over_soft_since = None;
        loop {
            if written == out.len() {
                out.clear();
                written = 0;
                self.fill(&mut reader, framed, &mut out)?;
            }
            match self.turn(&reader, written < out.len()).await? {
                Turn::Received => self.receive()?,
                Turn::Writable => written += try_write(&self.taken.stream, &out[written..])?,
                Turn::More => {}
                Turn::Notified => self.check_kicked()?,
                Turn::Tick => self.check_lag(&reader, &mut over_soft_since)?,
            }
        }
    }

    /// Takes what is to be sent next: first the clock, then what the log has more.
    fn fill(&self, reader: &mut LogReader, framed: bool, out: &mut Vec<u8>) -> Result<(), Ended> {
        if framed && let Some((sent, lease)) = self.replica.ping.lock().take() {
            push_stamp_frame(out, sent, lease);
        }
        if reader.lag_bytes() == 0 && !reader.is_lost() {
            return Ok(());
        }
        let frame = framed.then(|| begin_stream_frame(out));
        let read = reader.read(CHUNK_BYTES, out).map_err(|_| Ended::Behind)?;
        if let Some(begin) = frame {
            end_stream_frame(out, begin);
            debug_assert!(read > 0, "a frame has bytes");
        }
        Ok(())
    }

    async fn turn(&mut self, reader: &LogReader, unwritten: bool) -> Result<Turn, Ended> {
        let stream = &self.taken.stream;
        let more = std::future::poll_fn(|context| {
            if unwritten { Poll::Pending } else { reader.poll_ready(context) }
        });
        tokio::select! {
            ready = stream.readable() => ready.map(|()| Turn::Received).map_err(Ended::Io),
            ready = stream.writable(), if unwritten => {
                ready.map(|()| Turn::Writable).map_err(Ended::Io)
            }
            () = more => Ok(Turn::More),
            () = self.replica.notify.notified() => Ok(Turn::Notified),
            _ = self.ticks.tick() => Ok(Turn::Tick),
        }
    }

    fn check_kicked(&self) -> Result<(), Ended> {
        if self.replica.kicked.load(Ordering::Acquire) { Err(Ended::Kicked) } else { Ok(()) }
    }

    fn check_lag(&self, reader: &LogReader, over_since: &mut Option<Instant>) -> Result<(), Ended> {
        let silent = Duration::from_secs(self.replica.lag_seconds()) > self.silence_max();
        // One that said SYNC is no replica that acknowledges.
        if self.request.psync && silent {
            return Err(Ended::Silent);
        }
        let limit = self.node.live.load().settings.client_output_buffer_limit.replica;
        if limit.soft_bytes == 0 || reader.lag_bytes() <= limit.soft_bytes {
            *over_since = None;
            return Ok(());
        }
        let since = over_since.get_or_insert_with(Instant::now);
        if since.elapsed() > Duration::from_secs(limit.soft_seconds) {
            return Err(Ended::Behind);
        }
        Ok(())
    }

    fn silence_max(&self) -> Duration {
        Duration::from_secs(self.node.live.load().settings.repl_timeout)
    }

    // --- the socket

    /// Writes all of this, unless the replica takes nothing for too long.
    async fn say(&self, bytes: &[u8]) -> Result<(), Ended> {
        let mut left = bytes;
        while !left.is_empty() {
            match timeout(self.silence_max(), self.taken.stream.writable()).await {
                Ok(ready) => ready?,
                Err(_) => return Err(Ended::Silent),
            }
            left = &left[try_write(&self.taken.stream, left)?..];
        }
        Ok(())
    }

    /// Reads what has arrived and takes acknowledgements out of it.
    fn receive(&mut self) -> Result<(), Ended> {
        let mut chunk = [0; 4096];
        loop {
            match self.taken.stream.try_read(&mut chunk) {
                Ok(0) => return Err(Ended::Closed),
                Ok(read) => self.input.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.understand()
    }

    fn understand(&mut self) -> Result<(), Ended> {
        let mut buffer = std::mem::take(&mut self.input.buffer);
        let mut at = 0;
        loop {
            let mut spans = Vec::new();
            self.input.decoder = CommandDecoder::default();
            let decoded =
                self.input.decoder.decode(&mut buffer, at, &mut spans, &Limits::UNAUTHENTICATED);
            match decoded.map_err(|_| Ended::Nonsense)? {
                Decoded::Incomplete { .. } => break,
                Decoded::Command { end } => {
                    self.on_command(Args::new(&buffer, &spans));
                    at = end;
                }
            }
        }
        buffer.drain(..at);
        if buffer.len() > INPUT_BYTES_MAX {
            return Err(Ended::Nonsense);
        }
        self.input.buffer = buffer;
        Ok(())
    }

    fn on_command(&mut self, args: Args<'_>) {
        if !args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"replconf")) {
            return;
        }
        // What it presented itself with holds for the whole link.
        let mut peer = self.replica.peer.clone();
        let Replconf::Ack { offset, stamp } = peer.on_replconf(args.from(1), None) else { return };
        // More than there is would count for writes still to come.
        let offset = offset.min(self.node.replication.log.end());
        self.has_acked = true;
        self.replica.acknowledge(offset);
        self.node.replication.replicas.acked.notify_waiters();
        if let (Some(sent), Some(member)) = (stamp, self.replica.peer.member) {
            self.node.replication.tell(NodeEvent::LeaseAck(LeaseAck {
                from: slotward_cluster::Member {
                    node: member.node,
                    incarnation: member.incarnation,
                },
                epoch: member.epoch,
                sent: Millis(sent),
                offset,
            }));
        }
    }
}

fn try_write(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    match stream.try_write(bytes) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(written) => Ok(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// Tells replicas that this master lives, in the stream itself, so that chained ones hear it too.
pub(crate) async fn keep_alive(worker: Rc<Worker>) {
    let node = worker.node.clone();
    let mut ticks = ticks();
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        let period = node.live.load().settings.repl_ping_replica_period;
        if last.elapsed() < Duration::from_secs(period) {
            continue;
        }
        last = Instant::now();
        if node.replication.wants_writes() && !node.replication.replicas.online().is_empty() {
            let _inside = worker.participant.enter();
            // Without a lease nothing is appended: a successor may have begun where the log ends.
            if !node.role.holds_lease(node.role.load()) {
                continue;
            }
            node.replication.append_signal(&[b"PING"]);
        }
    }
}
