//! Starting and stopping: listeners first, so that what is in the way is said at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use slotward_proto::control::control_server::ControlServer;
use slotward_proto::raft::raft_server::RaftServer;
use slotward_types::NodeId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::server::TcpIncoming;

use crate::config::{InvalidConfig, SentinelAddress, SentinelConfig};
use crate::control::{self, Control, ControlService, Peers, Revocations, RevocationsError, Watch};
use crate::discovery::Discovery;
use crate::disk;
use crate::raft::{Group, GroupConfig, GroupError, Member};
use crate::resp::{self, Server};
use crate::say::Failure;

const ID_FILE: &str = "sentinel.id";
const LOCK_FILE: &str = "lock";
const GRPC_MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Entries of the Raft log between two snapshots.
const SNAPSHOT_EVERY: u64 = 2000;
/// How long a stop may take before it is made short.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a sentinel cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SentinelError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot use the folder {path}: {source}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("the folder {0} is in use by another sentinel")]
    Locked(PathBuf),
    #[error("{0} does not hold a sentinel's id of 40 hexadecimal digits")]
    Id(PathBuf),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// It ran and cannot go on.
    #[error("{0}")]
    Failed(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (is another sentinel or server running on this port?)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need privileges)",
        _ => "",
    }
}

/// A running sentinel.
pub struct Sentinel {
    server: Arc<Server>,
    group: Group,
    peers: Peers,
    failure: Failure,
    raft: Executor,
    control: Executor,
    resp: Executor,
    /// Held for as long as the folder is ours.
    _lock: File,
}

/// Runs a sentinel until `SIGTERM`, `SIGINT` or the command `SHUTDOWN`; then leaves in order: hands
/// leadership over, stops.
///
/// # Errors
/// When it cannot start, or cannot go on: says what is in the way.
pub fn run(config: SentinelConfig) -> Result<(), SentinelError> {
    let sentinel = Sentinel::start(config)?;
    let signals = Builder::new_current_thread().enable_all().build();
    let result = signals.map_err(SentinelError::Thread)?.block_on(async {
        tokio::select! {
            () = signalled() => tracing::info!("asked to stop"),
            () = sentinel.stop_wished() => tracing::info!("asked to stop by a client"),
            // Out of the way at once: the others can do without a member whose disk has failed,
            // and not with one that only pretends.
            why = sentinel.failure.reported() => return Err(SentinelError::Failed(why)),
        }
        Ok(())
    });
    sentinel.stop();
    result
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (term, int) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (term, int) {
        (Ok(mut term), Ok(mut int)) => {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        }
        // Then the signals keep what they do by default: end the process.
        _ => std::future::pending().await,
    }
}

impl Sentinel {
    /// Starts one; returns when it serves.
    ///
    /// # Errors
    /// When it cannot start: says what is in the way.
    pub fn start(config: SentinelConfig) -> Result<Sentinel, SentinelError> {
        Sentinel::start_with(config, SNAPSHOT_EVERY)
    }

    /// Starts one that puts a snapshot in the place of the log more or less often.
    pub(crate) fn start_with(
        config: SentinelConfig,
        snapshot_every: u64,
    ) -> Result<Sentinel, SentinelError> {
        let address = config.check()?;
        let resp_listener = listen(&config.bind, config.port)?;
        let grpc_listener = listen(&config.bind, config.grpc_port(&address))?;
        let (lock, me) = open_dir(&config.dir, &address)?;
        tracing::info!(id = %me.id, resp = %me.resp, grpc = %me.grpc, "starts as a sentinel");
        let raft = Executor::start("sentinel-raft")?;
        let control = Executor::start("sentinel-ctl")?;
        let resp = Executor::start("sentinel-resp")?;
        let (handle, inbox) = Control::new();
        let (applied, applied_queue) = mpsc::unbounded_channel();
        let group_config = group_config(&config, &address, me.clone(), snapshot_every);
        let failure = Failure::new();
        let group_failure = failure.clone();
        let (group, topology) = raft.run(async move {
            let applied = Arc::new(move |topology| drop(applied.send(topology)));
            Group::start(group_config, applied, group_failure).await
        })?;
        let peers = Peers::new();
        let revocations = Revocations::open(&config.dir, handle.clone(), failure.clone())?;
        let watch = Watch {
            control: handle.clone(),
            group: group.clone(),
            peers: peers.clone(),
            revocations,
            timing: config.timing.clone(),
        };
        control.handle.spawn(control::run(watch, inbox, topology, applied_queue));
        control.handle.spawn(peers.clone().watch(group.clone(), handle.clone()));
        let discovery = Discovery {
            monitors: config.monitors.clone(),
            announce_hostnames: config.announce_hostnames,
            group: group.clone(),
            control: handle.clone(),
        };
        control.handle.spawn(discovery.run());
        let service = ControlService::new(handle.clone(), group.clone(), peers.clone());
        control.handle.spawn(serve_grpc(grpc_listener, group.clone(), service));
        let server = Arc::new(server(&config, me, handle));
        resp.handle.spawn(resp_listen(resp_listener, Arc::clone(&server)));
        Ok(Sentinel { server, group, peers, failure, raft, control, resp, _lock: lock })
    }

    /// Returns when a client has given the command `SHUTDOWN`.
    pub async fn stop_wished(&self) {
        let mut stop = self.server.stop.subscribe();
        // The sender is in `self`: it is not gone.
        let _ = stop.wait_for(|wished| *wished).await;
    }

    /// Leaves in order: no more clients, leadership handed over, the log closed.
    pub fn stop(self) {
        drop(self.resp);
        let (group, peers) = (self.group.clone(), self.peers.clone());
        self.raft.run(async move {
            let leave = async {
                group.hand_over(|id| !peers.silence(id).1).await;
                group.shutdown().await;
            };
            if tokio::time::timeout(STOP_TIMEOUT, leave).await.is_err() {
                tracing::warn!("the Raft group did not let go in time");
            }
        });
        drop(self.control);
        drop(self.raft);
        tracing::info!("stopped");
    }
}

fn server(config: &SentinelConfig, me: Member, control: Control) -> Server {
    Server {
        control,
        me,
        port: config.port,
        announce_to: config.announce_to.clone(),
        requirepass: config.requirepass.clone(),
        clients_max: config.clients_max,
        started: Instant::now(),
        stop: watch::Sender::new(false),
        clients_ever: AtomicU64::new(0),
        clients: AtomicUsize::new(0),
    }
}

fn group_config(
    config: &SentinelConfig,
    address: &SentinelAddress,
    me: Member,
    snapshot_every: u64,
) -> GroupConfig {
    let mut peers: BTreeSet<String> = config.peers.iter().map(SentinelAddress::grpc).collect();
    if !config.is_open() {
        peers.insert(address.grpc());
    }
    GroupConfig {
        me,
        dir: raft_dir(&config.dir),
        peers,
        seeds: config.seeds.iter().map(SentinelAddress::grpc).collect(),
        open: config.is_open(),
        meets: !config.monitors.is_empty(),
        quorum: config.quorum(address),
        heartbeat_ms: config.raft_heartbeat_ms,
        election_ms: config.raft_election_ms,
        snapshot_every,
    }
}

fn raft_dir(dir: &Path) -> PathBuf {
    dir.join("raft")
}

/// Makes the folder if it is not there, takes it for this process, reads or makes the id.
fn open_dir(dir: &Path, address: &SentinelAddress) -> Result<(File, Member), SentinelError> {
    let unusable = |source| SentinelError::Dir { path: dir.to_owned(), source };
    std::fs::create_dir_all(raft_dir(dir)).map_err(unusable)?;
    let lock = File::create(dir.join(LOCK_FILE)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(SentinelError::Locked(dir.to_owned()));
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let id: NodeId = match disk::read(dir, ID_FILE).map_err(unusable)? {
        Some(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| SentinelError::Id(dir.join(ID_FILE)))?,
        None => {
            let id = random_id().map_err(unusable)?;
            disk::replace(dir, ID_FILE, format!("{id}\n").as_bytes()).map_err(unusable)?;
            id
        }
    };
    let member = Member { id: id.to_string(), resp: address.resp(), grpc: address.grpc() };
    Ok((lock, member))
}

fn random_id() -> io::Result<NodeId> {
    let mut bytes = [0; 20];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(NodeId::from_bytes(bytes))
}

/// Listens on every address. A port that a stopped sentinel left a moment ago is taken over.
fn listen(bind: &[IpAddr], port: u16) -> Result<Vec<std::net::TcpListener>, SentinelError> {
    bind.iter()
        .map(|&ip| {
            let address = SocketAddr::new(ip, port);
            listen_on(address).map_err(|source| SentinelError::Listen { address, source })
        })
        .collect()
}

fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // An IPv4 address is listened on by itself.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(511)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn resp_listen(listeners: Vec<std::net::TcpListener>, server: Arc<Server>) {
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(serving.spawn(resp::serve(Arc::clone(&server), listener))),
            Err(error) => tracing::error!("cannot serve clients: {error}"),
        }
    }
    serving.join_all().await;
}

async fn serve_grpc(listeners: Vec<std::net::TcpListener>, group: Group, service: ControlService) {
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("cannot serve nodes and sentinels: {error}");
                continue;
            }
        };
        let raft = RaftServer::new(group.clone())
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let control =
            ControlServer::new(service.clone()).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let server = tonic::transport::Server::builder().add_service(raft).add_service(control);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        serving.spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!("no longer serves nodes and sentinels: {error}");
            }
        });
    }
    serving.join_all().await;
}

/// A thread with a runtime of its own. Dropped, it ends, and everything that runs there with it.
struct Executor {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Executor {
    fn start(name: &str) -> Result<Executor, SentinelError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(SentinelError::Thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // Ends when told to, and when whoever would tell is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        let thread = Some(thread.map_err(SentinelError::Thread)?);
        Ok(Executor { handle, stop: Some(stop), thread })
    }

    /// Runs the future on the thread and waits for its result. Not for use inside a runtime.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        self.handle.spawn(async move {
            let value = future.await;
            // The caller waits for it.
            let _ = done.send(value);
        });
        result.recv().expect("the task ends with a result")
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use slotward_cluster::{Member as Run, NodeKind};
    use slotward_failover::{Entry, Registration};
    use slotward_types::Incarnation;

    use super::*;
    use crate::testing::TempDir;

    fn config(dir: &Path, peers: &[SentinelAddress], index: usize) -> SentinelConfig {
        SentinelConfig {
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            port: peers[index].port,
            dir: dir.join(index.to_string()),
            peers: peers.to_vec(),
            raft_heartbeat_ms: 100,
            raft_election_ms: (300, 600),
            ..SentinelConfig::default()
        }
    }

    fn addresses() -> Vec<SentinelAddress> {
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Vec<_> = (0..6).map(|_| port()).collect();
        let port = |index: usize| held[index].local_addr().unwrap().port();
        let host = || "127.0.0.1".to_owned();
        (0..3)
            .map(|n| SentinelAddress { host: host(), port: port(n), grpc_port: port(n + 3) })
            .collect()
    }

    /// Proposes at whoever leads, until it is applied.
    fn apply(sentinels: &[Sentinel], entry: &Entry) {
        loop {
            for sentinel in sentinels {
                let (group, entry) = (sentinel.group.clone(), entry.clone());
                let limit = Duration::from_secs(5);
                let done = sentinel.raft.run(async move { group.propose(entry, limit).await });
                if matches!(done, Ok(Ok(_))) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_version(sentinel: &Sentinel, version: u64) {
        let control = sentinel.server.control.clone();
        sentinel.control.run(async move {
            while control.view().await.expect("it runs").topology.version < version {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    #[test]
    fn a_member_that_lacks_purged_entries_gets_a_snapshot() {
        let (dir, peers) = (TempDir::new(), addresses());
        let start =
            |index| Sentinel::start_with(config(dir.path(), &peers, index), 20).expect("starts");
        let mut sentinels: Vec<Sentinel> = (0..3).map(start).collect();
        for port in 1..=100 {
            let member = Run { node: NodeId::from_bytes([1; 20]), incarnation: Incarnation(1) };
            let kind = NodeKind::Plain { group: "mymaster".into() };
            let (host, zone) = ("127.0.0.1".to_owned(), String::new());
            let registration =
                Registration { member, host, port, cport: 1, kind, zone, priority: 100 };
            apply(&sentinels, &Entry::Register(registration));
        }
        let view = sentinels[0].server.control.clone();
        let version = sentinels[0].control.run(async move { view.view().await }).unwrap();
        let version = version.topology.version;
        drop(sentinels.pop());
        std::fs::remove_dir_all(dir.path().join("2")).unwrap();
        // A new disk: what it lacks from the start is purged from the others' logs.
        sentinels.push(start(2));
        wait_for_version(&sentinels[2], version);
        drop(sentinels);
        let sentinels: Vec<Sentinel> = (0..3).map(start).collect();
        sentinels.iter().for_each(|sentinel| wait_for_version(sentinel, version));
        assert!(dir.path().join("2/raft/snapshot").exists(), "it came as a snapshot");
    }
}
