//! The replicated state: the topology, changed by `failover::apply` and by nothing else.
//!
//! In memory; a snapshot of it goes to disk now and then, and the log holds the rest.
//!
//! ```text
//! snapshot  sealed "SWSN": head_length:u32  head  topology
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};
use slotward_cluster::Topology;
use tokio_stream::{Stream, StreamExt};

use super::{RaftOutcome, TypeConfig};
use crate::disk;

const FILE: &str = "snapshot";
const MAGIC: [u8; 4] = *b"SWSN";

/// Told of every topology that the log makes, in order.
pub(crate) type OnApplied = Arc<dyn Fn(Arc<Topology>) + Send + Sync>;

/// The topology as the log made it so far. Clones share it.
#[derive(Clone)]
pub(crate) struct StateMachine {
    state: Arc<Mutex<State>>,
    dir: PathBuf,
    on_applied: OnApplied,
}

#[derive(Default)]
struct State {
    last_applied: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    topology: Arc<Topology>,
    snapshot: Option<Stored>,
}

#[derive(Clone)]
struct Stored {
    meta: SnapshotMetaOf<TypeConfig>,
    topology: Vec<u8>,
}

impl StateMachine {
    /// Starts from the snapshot in `dir`, if there is one.
    pub(crate) fn open(dir: &Path, on_applied: OnApplied) -> io::Result<StateMachine> {
        let mut state = State::default();
        if let Some(bytes) = disk::read(dir, FILE)? {
            let stored = Stored::decode(&bytes)?;
            state.restore(stored)?;
        }
        let state = Arc::new(Mutex::new(state));
        Ok(StateMachine { state, dir: dir.to_owned(), on_applied })
    }

    /// The topology as it is now.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.lock().topology)
    }

    /// The last entry that the snapshot it started from holds.
    pub(crate) fn applied(&self) -> Option<LogIdOf<TypeConfig>> {
        self.lock().last_applied
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state's lock panics")
    }

    fn apply_one(&self, entry: &openraft::alias::EntryOf<TypeConfig>) -> RaftOutcome {
        let mut state = self.lock();
        let id = entry.log_id();
        state.last_applied = Some(id);
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                state.membership =
                    StoredMembershipOf::<TypeConfig>::new(Some(id), membership.clone());
            }
            EntryPayload::Normal(proposal) => {
                let topology = Arc::make_mut(&mut state.topology);
                slotward_failover::apply(topology, id.index(), &proposal.0)?;
                let topology = Arc::clone(&state.topology);
                drop(state);
                // An entry that asked for what already is made no version of its own.
                let version = topology.version;
                (self.on_applied)(topology);
                return Ok(version);
            }
        }
        Ok(state.topology.version)
    }

    /// Puts a snapshot on disk, in the place of the one before, and keeps it at hand.
    async fn store(&self, stored: Stored) -> io::Result<()> {
        let (dir, bytes) = (self.dir.clone(), stored.encode()?);
        tokio::task::spawn_blocking(move || disk::replace(&dir, FILE, &bytes))
            .await
            .map_err(io::Error::other)??;
        self.lock().snapshot = Some(stored);
        Ok(())
    }
}

impl State {
    fn restore(&mut self, stored: Stored) -> io::Result<()> {
        self.topology = Arc::new(decode(&stored.topology)?);
        self.last_applied = stored.meta.last_log_id;
        self.membership = stored.meta.last_membership.clone();
        self.snapshot = Some(stored);
        Ok(())
    }
}

impl Stored {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let head = postcard::to_stdvec(&self.meta).map_err(io::Error::other)?;
        let mut body = (head.len() as u32).to_le_bytes().to_vec();
        body.extend_from_slice(&head);
        body.extend_from_slice(&self.topology);
        Ok(disk::seal(MAGIC, &body))
    }

    fn decode(bytes: &[u8]) -> io::Result<Stored> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not an intact snapshot");
        let body = disk::unseal(MAGIC, bytes)?;
        let (length, body) = body.split_at_checked(4).ok_or_else(damaged)?;
        let length = u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
        let (meta, topology) = body.split_at_checked(length).ok_or_else(damaged)?;
        Ok(Stored { meta: decode(meta)?, topology: topology.to_vec() })
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.lock();
        Ok((state.last_applied, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_one(&entry);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        let stored = Stored { meta: meta.clone(), topology: snapshot };
        let topology: Arc<Topology> = Arc::new(decode(&stored.topology)?);
        self.store(stored.clone()).await?;
        self.lock().restore(stored)?;
        (self.on_applied)(topology);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>, io::Error> {
        let stored = self.lock().snapshot.clone();
        Ok(stored.map(|stored| Snapshot { meta: stored.meta, snapshot: stored.topology }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Vec<u8>>, io::Error> {
        let (meta, topology) = {
            let state = self.lock();
            let last_membership = state.membership.clone();
            let meta = SnapshotMeta { last_log_id: state.last_applied, last_membership };
            (meta, Arc::clone(&state.topology))
        };
        let topology = postcard::to_stdvec(topology.as_ref()).map_err(io::Error::other)?;
        self.store(Stored { meta: meta.clone(), topology: topology.clone() }).await?;
        Ok(Snapshot { meta, snapshot: topology })
    }
}
