//! The node's side of the control plane: heartbeats, leases, the topology, proposals.
//!
//! A thin shell around `slotward_failover::NodeMachine`, on a thread of its own: `agent` owns the
//! machine, `streams` are the connections to the sentinels, `orders` carries out what takes time,
//! `state_file` is the disk. A node of a cluster without sentinels decides for itself (`local`).
//!
//! **Invariant:** workers learn role, epoch and lease only from here, and the lease last.

mod agent;
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
use slotward_config::Settings;
use slotward_failover::{NodeConfig, Registration};
use slotward_types::{Epoch, Millis, NodeId, Slot};
use tokio::sync::{mpsc, oneshot};

use crate::node::Node;
use agent::{Input, Parts};
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

/// Starts the control plane, where the settings ask for one.
pub(crate) fn start(node: &Arc<Node>) -> anyhow::Result<()> {
    let settings = node.live.load().settings.clone();
    if settings.sentinels.is_empty() && !settings.cluster_enabled {
        return Ok(());
    }
    let dir = Path::new(".");
    let port = settings.port;
    let file = StateFile::open(dir, port, random_node_id()?)?;
    let registration = registration(&settings, file.member());
    let health = Arc::new(ArcSwap::from_pointee(Health::default()));
    let authority = if settings.sentinels.is_empty() {
        let path = dir.join(format!("slotward-topology-{port}.bin"));
        let local = Box::new(LocalAuthority::start(node, file, path, registration)?);
        Authority::Local { node: Arc::downgrade(node), local }
    } else {
        Authority::Sentinels(attend(node, &settings, file, registration, health.clone())?)
    };
    let handle = ControlHandle { authority, health };
    assert!(node.control.set(handle).is_ok(), "the control plane starts once");
    Ok(())
}

/// Hands over if this node is a master that somebody can succeed; returns when it may stop. Blocks.
pub(crate) fn stop(node: &Node) {
    let Some(ControlHandle { authority: Authority::Sentinels(inbox), .. }) = node.control.get()
    else {
        return;
    };
    let (done, stopped) = oneshot::channel();
    if inbox.send(Input::Stop(done)).is_ok() {
        // An error says that the agent has ended, which is as good.
        let _ended = stopped.blocking_recv();
    }
}

/// Starts the thread that talks to the sentinels.
fn attend(
    node: &Arc<Node>,
    settings: &Settings,
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
        sentinels: u32::try_from(settings.sentinels.len())?,
        state: file.state(),
        history_epoch: Epoch(0),
        lag_bytes_max: LAG_BYTES_MAX,
        stop_wait: Millis(STOP_WAIT.as_millis() as u64),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sentinels = {
        let _inside = runtime.enter();
        settings.sentinels.iter().map(Sentinel::new).collect::<anyhow::Result<Vec<_>>>()?
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
fn registration(settings: &Settings, member: Member) -> Registration {
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
        NodeKind::Plain { group: settings.shard_name.clone() }
    };
    let priority = if settings.cluster_replica_no_failover { 0 } else { settings.replica_priority };
    let zone = settings.zone.clone();
    Registration { member, host: announced_host(settings), port, cport, kind, zone, priority }
}

/// Where others reach this node: what the settings say, else the address it listens on, else the
/// one from which it reaches a sentinel.
fn announced_host(settings: &Settings) -> String {
    let said =
        [&settings.cluster_announce_ip, &settings.replica_announce_ip, &settings.announce_ip];
    if let Some(host) = said.into_iter().find(|host| !host.is_empty()) {
        return host.clone();
    }
    let concrete = settings.bind.iter().map(|bind| bind.trim_start_matches('-'));
    let concrete = concrete.filter(|bind| !["*", "::*", "0.0.0.0", "::"].contains(bind));
    if let Some(host) = concrete.into_iter().next() {
        return host.to_owned();
    }
    let way_to = |address: &slotward_config::SentinelAddress| {
        let any = if address.host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        // Nothing is sent: the kernel only chooses the source.
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect((address.host.as_str(), address.grpc_port)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    settings.sentinels.iter().find_map(way_to).unwrap_or_else(|| "127.0.0.1".to_owned())
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
