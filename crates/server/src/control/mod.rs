//! The node's side of the control plane: heartbeats, leases, the topology, proposals.
//!
//! A thin shell around `slotward_failover::NodeMachine`, on a thread of its own: `agent` owns the
//! machine, `streams` are the connections to the sentinels, `orders` carries out what takes time,
//! `state_file` is the disk. A node of a cluster without sentinels decides for itself (`local`).
//!
//! **Invariant:** workers learn role, epoch and lease only from here, and the lease last.

mod agent;
mod attended;
mod changes;
mod local;
mod orders;
mod state_file;
mod streams;
#[cfg(test)]
mod tests;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use slotward_cluster::{Health, Member, NodeKind, Topology};
use slotward_config::{SentinelAddress, Settings};
use slotward_failover::{NodeConfig, Registration};
use slotward_types::{Epoch, Millis, NodeId, Slot};
use tokio::sync::{mpsc, oneshot};

use crate::node::Node;
use agent::{Input, Parts};
pub(crate) use attended::{Attended, Meeting};
use local::LocalAuthority;
use orders::Told;
use state_file::StateFile;
use streams::Sentinel;

/// A replica that lacks more than this is not proposed as a possible successor.
const LAG_BYTES_MAX: u64 = 1 << 20;
/// How long a graceful stop waits for a successor.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// What asks for changes of the cluster.
#[derive(Debug)]
pub(crate) struct ControlHandle {
    authority: Authority,
    health: Arc<ArcSwap<Health>>,
}

#[derive(Debug)]
enum Authority {
    Sentinels(mpsc::UnboundedSender<Input>),
    Local { node: std::sync::Weak<Node>, local: Box<LocalAuthority> },
}

/// A change of the cluster that a client asks for.
#[derive(Debug)]
pub(crate) enum ClusterChange {
    /// `MEET`; the bus port is of no use here.
    Meet {
        host: String,
        port: u16,
        #[allow(dead_code, reason = "there is no bus")]
        cport: Option<u16>,
    },
    AddSlots(Vec<Slot>),
    DelSlots(Vec<Slot>),
    FlushSlots,
    Replicate(NodeId),
    Forget(NodeId),
    /// A hard reset keeps the node's id, which nobody can mistake for another's.
    Reset {
        #[allow(dead_code, reason = "both ways are the same")]
        hard: bool,
    },
    BumpEpoch,
    SetConfigEpoch(u64),
    /// The log cannot be bypassed: a takeover is a forced failover.
    Failover {
        force: bool,
        #[allow(dead_code, reason = "is forced")]
        takeover: bool,
    },
}

const GONE: &str = "ERR the node is stopping";

impl ControlHandle {
    /// Asks for a change: the reply's simple string, or the error's whole text.
    pub(crate) async fn change(&self, change: ClusterChange) -> Result<String, String> {
        match &self.authority {
            Authority::Local { node, local } => {
                let node = node.upgrade().ok_or(GONE)?;
                local.change(&node, change).await
            }
            Authority::Sentinels(inbox) => {
                let (to, answer) = oneshot::channel();
                inbox.send(Input::Change(change, to)).map_err(|_| GONE)?;
                answer.await.map_err(|_| GONE)?
            }
        }
    }
}

/// What is seen of the other nodes.
pub(crate) fn health(node: &Node) -> Health {
    node.control.get().map(|control| Health::clone(&control.health.load())).unwrap_or_default()
}

/// The folder of the node's files: the process has changed into it.
const DIR: &str = ".";

/// Whom a node with these settings attends to from its start: the sentinels that they name, or
/// those that it was told of in an earlier run.
pub(crate) fn attended(settings: &Settings) -> anyhow::Result<Option<Attended>> {
    match Attended::by_settings(settings) {
        None if !settings.cluster_enabled => Attended::read(Path::new(DIR), settings.port),
        named => Ok(named),
    }
}

/// Starts the control plane of a node of a cluster, or with sentinels.
pub(crate) fn start(node: &Arc<Node>) -> anyhow::Result<()> {
    let settings = node.live.load().settings.clone();
    let attended = node.attending.blocking_lock().clone();
    if attended.is_none() && !settings.cluster_enabled {
        return Ok(());
    }
    begin(node, attended.as_ref())
}

fn begin(node: &Arc<Node>, attended: Option<&Attended>) -> anyhow::Result<()> {
    let settings = node.live.load().settings.clone();
    let (dir, port) = (Path::new(DIR), settings.port);
    let file = StateFile::open(dir, port, random_node_id()?)?;
    let registration = registration(&settings, file.member(), attended);
    let health = Arc::new(ArcSwap::from_pointee(Health::default()));
    let authority = match attended {
        None => {
            let path = dir.join(format!("slotward-topology-{port}.bin"));
            let local = Box::new(LocalAuthority::start(node, file, path, registration)?);
            Authority::Local { node: Arc::downgrade(node), local }
        }
        Some(attended) => Authority::Sentinels(attend(
            node,
            &attended.sentinels,
            file,
            registration,
            health.clone(),
        )?),
    };
    let handle = ControlHandle { authority, health };
    assert!(node.control.set(handle).is_ok(), "the control plane starts once");
    Ok(())
}

/// Sentinels that watch this node say that they are a group, and who belongs to it. A node whose
/// settings name its sentinels keeps to those; any other attends to one group for good. One that is
/// to rejoin a shard, and so to take over its data, refuses if it is master of data of its own.
///
/// # Errors
/// The reply's text.
pub(crate) async fn attend_to(
    node: &Arc<Node>,
    attended: Attended,
    rejoins: bool,
) -> Result<(), String> {
    let settings = node.live.load().settings.clone();
    if !settings.sentinels.is_empty() {
        return Ok(());
    }
    if settings.cluster_enabled {
        let text = "ERR a node of a cluster is told its sentinels by its setting `sentinels`";
        return Err(text.to_owned());
    }
    let mut attending = node.attending.lock().await;
    if let Some(known) = &*attending {
        if (&known.group, &known.name) != (&attended.group, &attended.name) {
            return Err(format!(
                "ERR this node belongs to the shard {} of the sentinels' group {}",
                known.name, known.group
            ));
        }
        if *known == attended {
            return Ok(());
        }
    } else if rejoins && node.role.load().is_master() && changes::has_keys(node) {
        return Err("ERR this node is master of data of its own".to_owned());
    }
    let (writing, port) = (attended.clone(), settings.port);
    let written = tokio::task::spawn_blocking(move || writing.write(Path::new(DIR), port)).await;
    written
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|error| format!("ERR cannot write down who the sentinels are: {error}"))?;
    if let Some(ControlHandle { authority: Authority::Sentinels(inbox), .. }) = node.control.get() {
        inbox.send(Input::Sentinels(attended.sentinels.clone())).map_err(|_| GONE)?;
    } else {
        tracing::info!(group = %attended.group, "attends to the sentinels' group from now on");
        node.replication.manage(node).await;
        let (starting, with) = (Arc::clone(node), attended.clone());
        let begun = tokio::task::spawn_blocking(move || begin(&starting, Some(&with))).await;
        begun
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(|error| format!("ERR cannot attend to the sentinels: {error:#}"))?;
    }
    *attending = Some(attended);
    Ok(())
}

/// Has this node leave its shard in order: a master that somebody can succeed hands over, a replica
/// steps back. Returns when the process may end: nothing is executed any more.
pub(crate) async fn stop(node: &Node) {
    let Some(ControlHandle { authority: Authority::Sentinels(inbox), .. }) = node.control.get()
    else {
        return;
    };
    let (done, stopped) = oneshot::channel();
    if inbox.send(Input::Stop(done)).is_ok() {
        // An error says that the agent has ended, which is as good.
        let _ended = stopped.await;
    }
}

/// Takes [`stop`] back. What has been handed over stays so.
pub(crate) fn cancel_stop(node: &Node) {
    if let Some(ControlHandle { authority: Authority::Sentinels(inbox), .. }) = node.control.get() {
        // An error says that the agent has ended.
        drop(inbox.send(Input::StopCancelled));
    }
}

/// Starts the thread that talks to the sentinels.
fn attend(
    node: &Arc<Node>,
    sentinels: &[SentinelAddress],
    file: StateFile,
    registration: Registration,
    health: Arc<ArcSwap<Health>>,
) -> anyhow::Result<mpsc::UnboundedSender<Input>> {
    let (to_agent, inbox) = mpsc::unbounded_channel();
    let events = to_agent.clone();
    node.replication.set_event_sink(Arc::new(move |event| {
        // The agent ends with the process.
        drop(events.send(Input::Event(event)));
    }));
    let myself = known(&registration);
    let alone = orders::with_myself(Arc::new(Topology::default()), myself.id, &myself);
    // A master without a lease serves nothing, which is right until the sentinels give it a role.
    node.role.set_role(true, Epoch(0));
    Told::new(Arc::clone(node), file.member()).publish(&alone);
    let config = NodeConfig {
        registration,
        sentinels: u32::try_from(sentinels.len())?,
        state: file.state(),
        history_epoch: Epoch(0),
        lag_bytes_max: LAG_BYTES_MAX,
        stop_wait: Millis(STOP_WAIT.as_millis() as u64),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sentinels = {
        let _inside = runtime.enter();
        sentinels.iter().map(Sentinel::new).collect::<anyhow::Result<Vec<_>>>()?
    };
    let node = Arc::clone(node);
    let inbox = (to_agent.clone(), inbox);
    let parts = Parts { node, file, config, myself, sentinels, health, inbox };
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, agent::run(parts));
        })
        .context("cannot start the control thread")?;
    Ok(to_agent)
}

/// How this node registers.
fn registration(settings: &Settings, member: Member, attended: Option<&Attended>) -> Registration {
    let port =
        [settings.cluster_announce_port, settings.replica_announce_port, settings.announce_port]
            .into_iter()
            .find(|&port| port > 0)
            .unwrap_or(settings.port);
    let cport = [settings.cluster_announce_bus_port, settings.cluster_port]
        .into_iter()
        .find(|&port| port > 0)
        .unwrap_or_else(|| port.checked_add(10_000).unwrap_or(0));
    let kind = if settings.cluster_enabled {
        NodeKind::Cluster
    } else {
        NodeKind::Plain { group: attended.map_or(&settings.shard_name, |told| &told.name).clone() }
    };
    let priority = if settings.cluster_replica_no_failover { 0 } else { settings.replica_priority };
    let zone = settings.zone.clone();
    Registration {
        member,
        host: announced_host(settings, attended),
        port,
        cport,
        kind,
        zone,
        priority,
    }
}

/// Where others reach this node: what the settings say, else how the sentinels know it, else the
/// address it listens on, else the one from which it reaches a sentinel.
fn announced_host(settings: &Settings, attended: Option<&Attended>) -> String {
    let said =
        [&settings.cluster_announce_ip, &settings.replica_announce_ip, &settings.announce_ip];
    if let Some(host) = said.into_iter().find(|host| !host.is_empty()) {
        return host.clone();
    }
    if let Some(host) = attended.map(|told| &told.host).filter(|host| !host.is_empty()) {
        return host.clone();
    }
    let concrete = settings.bind.iter().map(|bind| bind.trim_start_matches('-'));
    let concrete = concrete.filter(|bind| !["*", "::*", "0.0.0.0", "::"].contains(bind));
    if let Some(host) = concrete.into_iter().next() {
        return host.to_owned();
    }
    let way_to = |address: &SentinelAddress| {
        let any = if address.host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        // Nothing is sent: the kernel only chooses the source.
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect((address.host.as_str(), address.grpc_port)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    attended
        .iter()
        .flat_map(|told| &told.sentinels)
        .find_map(way_to)
        .unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// This node as it shows itself before anybody has registered it.
fn known(registration: &Registration) -> slotward_cluster::Node {
    slotward_cluster::Node {
        id: registration.member.node,
        incarnation: registration.member.incarnation,
        host: registration.host.clone(),
        port: registration.port,
        cport: registration.cport,
        kind: registration.kind.clone(),
        met: false,
        zone: registration.zone.clone(),
        priority: registration.priority,
        config_epoch: Epoch(0),
    }
}

fn random_node_id() -> anyhow::Result<NodeId> {
    let mut bytes = [0; 20];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(NodeId::from_bytes(bytes))
}
