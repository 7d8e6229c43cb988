//! This sentinel's part in the group: starting it, proposing, watching. How it comes to belong to
//! one is in `membership`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{Config, ServerState, SnapshotPolicy};
use slotward_cluster::Topology;
use slotward_failover::Entry;
use slotward_types::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;

use super::formation::{Formation, GroupId};
use super::log::LogStore;
use super::machine::{OnApplied, StateMachine};
use super::membership::Acquaintances;
use super::network::Network;
use super::{Member, Proposal, Raft, RaftId, RaftOutcome, TypeConfig, WalError, ledger};
use crate::say::Failure;

/// Who this sentinel is, where it keeps its log, and who else belongs to its group.
#[derive(Debug, Clone)]
pub(crate) struct GroupConfig {
    /// This sentinel.
    pub(crate) me: Member,
    /// The folder of the log and the snapshots; it exists.
    pub(crate) dir: PathBuf,
    /// The gRPC addresses of all members, this one included; empty if they find each other.
    pub(crate) peers: BTreeSet<String>,
    /// The gRPC addresses of some others.
    pub(crate) seeds: BTreeSet<String>,
    /// Whether sentinels that are not among `peers` may belong to the group.
    pub(crate) open: bool,
    /// Whether there is a server at which sentinels meet.
    pub(crate) meets: bool,
    /// How many sentinels at least form a group.
    pub(crate) quorum: usize,
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
    Formation(std::io::Error),
    #[error(
        "{0} holds a Raft log and no record of the group that it belongs to: restore the file \
         'formation', or remove the sentinel's folder and let it join its group anew"
    )]
    NoRecord(PathBuf),
    #[error(
        "{0}: the snapshot is missing, or older than the log that is left. Restore it, or remove \
         this sentinel's folder and let it join its group anew"
    )]
    NoSnapshot(PathBuf),
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
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    me: Member,
    raft_id: RaftId,
    pub(super) peers: BTreeSet<String>,
    pub(super) seeds: BTreeSet<String>,
    pub(super) open: bool,
    pub(super) meets: bool,
    pub(super) quorum: usize,
    pub(super) dir: PathBuf,
    /// What this sentinel has bound itself to; held while that is written.
    pub(super) formation: tokio::sync::Mutex<Formation>,
    /// The group it belongs to, once it does.
    pub(super) name: Arc<OnceLock<GroupId>>,
    pub(super) acquaintances: Mutex<Acquaintances>,
    pub(super) failure: Failure,
    raft: Raft,
    log: LogStore,
    pub(super) network: Network,
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
        let ledger = ledger::read(&config.dir).map_err(GroupError::Formation)?;
        let formation = Formation::new(raft_id, ledger);
        let name = Arc::new(OnceLock::new());
        if let Some(group) = formation.group() {
            name.get_or_init(|| group);
        }
        let log = LogStore::open(&config.dir)?;
        let machine = StateMachine::open(&config.dir, on_applied)
            .map_err(|source| GroupError::Snapshot { path: config.dir.clone(), source })?;
        let topology = machine.topology();
        if log.purged() > machine.applied() {
            return Err(GroupError::NoSnapshot(config.dir));
        }
        let network = Network::new(raft_id, Arc::clone(&name));
        let raft_config = raft_config(&config).map_err(GroupError::Raft)?;
        let raft = Raft::new(raft_id, Arc::new(raft_config), network.clone(), log.clone(), machine)
            .await
            .map_err(|error| GroupError::Raft(error.to_string()))?;
        if name.get().is_none() && raft.is_initialized().await.unwrap_or(true) {
            return Err(GroupError::NoRecord(config.dir));
        }
        let status = watch_status(&raft, failure.clone());
        let inner = Inner {
            me: config.me,
            raft_id,
            peers: config.peers,
            seeds: config.seeds,
            open: config.open,
            meets: config.meets,
            quorum: config.quorum,
            dir: config.dir,
            formation: tokio::sync::Mutex::new(formation),
            name,
            acquaintances: Mutex::default(),
            failure,
            raft,
            log,
            network,
            status,
        };
        let group = Group { inner: Arc::new(inner) };
        tokio::spawn(group.clone().take_part());
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

pub(super) fn propose_error(
    error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ProposeError::NotLeader,
        other => ProposeError::Unknown(other.to_string()),
    }
}
