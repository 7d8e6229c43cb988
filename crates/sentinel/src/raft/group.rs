//! This sentinel's part in the group: starting it, forming the group once, proposing, watching.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::{ChangeMembers, Config, ServerState, SnapshotPolicy};
use slotward_cluster::Topology;
use slotward_failover::Entry;
use slotward_proto::raft::raft_client::RaftClient;
use slotward_proto::raft::{HelloReply, HelloRequest, Sentinel};
use slotward_types::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;

use super::log::LogStore;
use super::machine::{OnApplied, StateMachine};
use super::network::{Network, never_arrived};
use super::{Member, Proposal, Raft, RaftId, RaftOutcome, TypeConfig, WalError};
use crate::say::{Failure, Limited};

const HELLO_TIMEOUT: Duration = Duration::from_millis(500);
const HELLO_EVERY: Duration = Duration::from_millis(200);
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Who this sentinel is, where it keeps its log, and who else belongs to its group.
#[derive(Debug, Clone)]
pub(crate) struct GroupConfig {
    /// This sentinel.
    pub(crate) me: Member,
    /// The folder of the log and the snapshots; it exists.
    pub(crate) dir: PathBuf,
    /// The gRPC addresses of all members, this one included.
    pub(crate) peers: BTreeSet<String>,
    /// Milliseconds between a leader's heartbeats.
    pub(crate) heartbeat_ms: u64,
    /// Least and most milliseconds of silence, beyond the leader's lease, before an election.
    pub(crate) election_ms: (u64, u64),
    /// Entries between two snapshots.
    pub(crate) snapshot_every: u64,
}

/// Why the group could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GroupError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("the snapshot in {path}: {source}")]
    Snapshot { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Raft(String),
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// It was not accepted and does not take effect.
    #[error("this sentinel does not lead its group")]
    NotLeader,
    /// It may take effect, now or later, or never.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// How the group stands, as this member knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The leader, if one is known.
    pub(crate) leader: Option<RaftId>,
    /// Whether this member leads.
    pub(crate) leading: bool,
    /// The Raft term.
    pub(crate) term: u64,
    /// All members by their number.
    pub(crate) members: BTreeMap<RaftId, Member>,
    /// Which of them vote.
    pub(crate) voters: BTreeSet<RaftId>,
}

/// This sentinel's handle on the group; clones share it.
#[derive(Clone)]
pub(crate) struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    me: Member,
    raft_id: RaftId,
    peers: BTreeSet<String>,
    raft: Raft,
    log: LogStore,
    network: Network,
    status: watch::Receiver<Status>,
}

impl Group {
    /// Reads what is on disk and starts Raft, and the task that forms or joins the group if this
    /// member does not belong to one yet. Also the topology of the snapshot; every later one goes to
    /// `on_applied`. A disk that fails later is reported to `failure`.
    pub(crate) async fn start(
        config: GroupConfig,
        on_applied: OnApplied,
        failure: Failure,
    ) -> Result<(Group, Arc<Topology>), GroupError> {
        let raft_id = raft_id(&config.me);
        let log = LogStore::open(&config.dir)?;
        let machine = StateMachine::open(&config.dir, on_applied)
            .map_err(|source| GroupError::Snapshot { path: config.dir.clone(), source })?;
        let topology = machine.topology();
        let network = Network::new(raft_id);
        let raft_config = raft_config(&config).map_err(GroupError::Raft)?;
        let raft = Raft::new(raft_id, Arc::new(raft_config), network.clone(), log.clone(), machine)
            .await
            .map_err(|error| GroupError::Raft(error.to_string()))?;
        let status = watch_status(&raft, failure);
        let inner =
            Inner { me: config.me, raft_id, peers: config.peers, raft, log, network, status };
        let group = Group { inner: Arc::new(inner) };
        tokio::spawn(group.clone().become_member());
        Ok((group, topology))
    }

    /// This sentinel.
    pub(crate) fn me(&self) -> &Member {
        &self.inner.me
    }

    /// This sentinel's number.
    pub(crate) fn raft_id(&self) -> RaftId {
        self.inner.raft_id
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    /// How the group stands now.
    pub(crate) fn status(&self) -> Status {
        self.inner.status.borrow().clone()
    }

    /// How the group stands, with every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// Proposes an entry, if this member leads. Waits at most `limit` for the outcome.
    pub(crate) async fn propose(
        &self,
        entry: Entry,
        limit: Duration,
    ) -> Result<RaftOutcome, ProposeError> {
        match timeout(limit, self.raft().client_write(Proposal(entry))).await {
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(error)) => Err(propose_error(error)),
            Err(_) => Err(ProposeError::Unknown("no majority answered in time".into())),
        }
    }

    /// Hands leadership to another voter, if this member leads, so that a planned stop costs no
    /// election. `answers` tells who would take it.
    pub(crate) async fn hand_over(&self, answers: impl Fn(RaftId) -> bool) {
        let status = self.status();
        if !status.leading {
            return;
        }
        if let Some(&heir) = status.voters.iter().find(|&&id| id != self.raft_id() && answers(id)) {
            let _ = self.raft().trigger().transfer_leader(heir).await;
            let mut changes = self.watch();
            let gone = changes.wait_for(|status| !status.leading);
            let _ = timeout(Duration::from_millis(500), gone).await;
        }
    }

    /// Stops Raft; everything acknowledged is on disk.
    pub(crate) async fn shutdown(&self) {
        let _ = self.raft().shutdown().await;
        self.inner.log.close();
    }

    /// Takes a sentinel in, in the place of the one at the same address that lost its disk.
    pub(crate) async fn admit(&self, member: Member) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.leading {
            return Err(ProposeError::NotLeader);
        }
        let id = raft_id(&member);
        if status.voters.contains(&id) {
            return Ok(());
        }
        if !self.inner.peers.contains(&member.grpc) {
            let why = format!("{} is not among this group's peers", member.grpc);
            return Err(ProposeError::Unknown(why));
        }
        tracing::info!(sentinel = %member.resp, "takes a sentinel with a new disk into the group");
        let predecessors = status.members.iter().filter(|(_, old)| old.grpc == member.grpc);
        let gone: BTreeSet<RaftId> = predecessors.map(|(id, _)| *id).collect();
        let voters: BTreeSet<RaftId> =
            status.voters.difference(&gone).copied().chain([id]).collect();
        let raft = self.raft();
        raft.add_learner(id, member, true).await.map_err(propose_error)?;
        raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false)
            .await
            .map_err(propose_error)?;
        Ok(())
    }

    /// Forms the group, joins it, or finds that this member belongs to it already.
    async fn become_member(self) {
        let mut said = Limited::new(Duration::from_secs(10));
        loop {
            let status = self.status();
            if status.voters.contains(&self.raft_id()) {
                return;
            }
            let replies = self.ask_peers().await;
            let missing: Vec<&str> =
                self.others().filter(|peer| !replies.contains_key(*peer)).collect();
            if let Some(reply) = replies.values().find(|reply| reply.initialized) {
                self.ask_to_join(reply, &replies).await;
            } else if !missing.is_empty() {
                said.info(|| format!("waits for {} to form the group", missing.join(", ")));
            } else if self.is_first() {
                self.initialize(&replies).await;
            }
            tokio::time::sleep(HELLO_EVERY).await;
        }
    }

    fn others(&self) -> impl Iterator<Item = &str> {
        self.inner.peers.iter().map(String::as_str).filter(|peer| *peer != self.me().grpc)
    }

    /// Whether this member is the one that forms the group. Exactly one of them is, by its address.
    fn is_first(&self) -> bool {
        self.inner.peers.first().is_some_and(|first| *first == self.me().grpc)
    }

    async fn ask_peers(&self) -> BTreeMap<String, HelloReply> {
        let mut asked = tokio::task::JoinSet::new();
        for peer in self.others() {
            let (group, peer) = (self.clone(), peer.to_owned());
            asked.spawn(async move {
                let channel = group.inner.network.channel(&peer).ok()?;
                let request = HelloRequest { from: Some(group.me().into()) };
                let mut client = RaftClient::new(channel);
                let reply = timeout(HELLO_TIMEOUT, client.hello(request)).await.ok()?.ok()?;
                Some((peer, reply.into_inner()))
            });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    /// A group exists and this member is not in it: its disk is new. It joins as somebody new.
    async fn ask_to_join(&self, reply: &HelloReply, replies: &BTreeMap<String, HelloReply>) {
        let mine = Sentinel::from(self.me());
        if reply.members.iter().any(|member| member.id == mine.id) {
            // Just formed, with this one in it: the leader's first message is on its way.
            return;
        }
        let leader = replies.iter().find(|(_, other)| {
            other.sentinel.as_ref().is_some_and(|sentinel| sentinel.id == reply.leader_id)
        });
        let Some((leader, _)) = leader else { return };
        let Ok(channel) = self.inner.network.channel(leader) else { return };
        let mut client = RaftClient::new(channel);
        match timeout(JOIN_TIMEOUT, client.join(mine)).await {
            Ok(Ok(_)) => tracing::info!(%leader, "joined the group with a new disk"),
            Ok(Err(status)) if never_arrived(&status) => {}
            Ok(Err(status)) => tracing::info!(%leader, "not taken in yet: {}", status.message()),
            Err(_) => tracing::info!(%leader, "not taken in yet: no answer in time"),
        }
    }

    /// Forms the group. All members have answered and none belongs to one, so nobody else can have
    /// formed it, and this one, the first by address, is the only one that tries.
    async fn initialize(&self, replies: &BTreeMap<String, HelloReply>) {
        let others = replies.values().filter_map(|reply| reply.sentinel.clone());
        let members: Result<Vec<Member>, _> = others.map(Member::try_from).collect();
        let Ok(mut members) = members else { return };
        members.push(self.me().clone());
        let members: BTreeMap<RaftId, Member> =
            members.into_iter().map(|member| (raft_id(&member), member)).collect();
        if members.len() != self.inner.peers.len() {
            tracing::error!("two sentinels have the same id: was a data folder copied?");
            return;
        }
        match self.raft().initialize(members).await {
            Ok(()) => tracing::info!("formed the group"),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => tracing::error!("cannot form the group: {error}"),
        }
    }
}

/// The number that goes with a sentinel's id.
pub(crate) fn raft_id(member: &Member) -> RaftId {
    let id: NodeId = member.id.parse().expect("a member's id is one");
    RaftId::from_be_bytes(id.as_bytes()[..8].try_into().expect("20 bytes hold 8"))
}

fn raft_config(config: &GroupConfig) -> Result<Config, String> {
    let raft = Config {
        cluster_name: "slotward".into(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: config.election_ms.0,
        election_timeout_max: config.election_ms.1,
        install_snapshot_timeout: 10_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_every),
        // For members that lag a little.
        max_in_snapshot_log_to_keep: config.snapshot_every / 4,
        // More than the snapshot interval, or a member that lags a little gets snapshots for ever.
        replication_lag_threshold: config.snapshot_every * 2,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    raft.validate().map_err(|error| error.to_string())
}

fn watch_status(raft: &Raft, failure: Failure) -> watch::Receiver<Status> {
    let mut metrics = raft.metrics();
    let (tx, rx) = watch::channel(Status::default());
    tokio::spawn(async move {
        loop {
            let status = {
                let metrics = metrics.borrow_and_update();
                if let Err(fatal) = &metrics.running_state
                    && !matches!(fatal, Fatal::Stopped)
                {
                    failure.report(format!("the Raft group's member has failed: {fatal}"));
                }
                let membership = metrics.membership_config.membership();
                Status {
                    leader: metrics.current_leader,
                    // A candidate whose vote has just been granted may not propose yet.
                    leading: metrics.state == ServerState::Leader
                        && metrics.current_leader == Some(metrics.id),
                    term: metrics.current_term,
                    members: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
                    voters: membership.voter_ids().collect(),
                }
            };
            tx.send_if_modified(|old| {
                let changed = *old != status;
                *old = status;
                changed
            });
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    rx
}

fn propose_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ProposeError::NotLeader,
        other => ProposeError::Unknown(other.to_string()),
    }
}
