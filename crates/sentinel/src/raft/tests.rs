//! The storage under openraft's own suite, and snapshots across a restart.

use std::sync::Arc;

use openraft::alias::LogIdOf;
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::RaftStateMachine;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftSnapshotBuilder, StorageError};
use slotward_cluster::Timing;
use slotward_failover::Entry;
use slotward_types::Millis;

use super::log::LogStore;
use super::machine::StateMachine;
use super::{Proposal, TypeConfig};
use crate::testing::TempDir;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new();
        let log = LogStore::open(dir.path()).expect("an empty folder opens");
        let machine =
            StateMachine::open(dir.path(), Arc::new(|_| {})).expect("an empty folder opens");
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_storage_passes_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_outlives_a_restart_and_damage_to_it_is_noticed() {
    let dir = TempDir::new();
    let open = || StateMachine::open(dir.path(), Arc::new(|_| {}));
    let mut machine = open().unwrap();
    let id = LogIdOf::<TypeConfig>::new(LeaderId::new(1, 7).to_committed(), 3);
    let timing = Timing { down_after: Millis(9000), ..Timing::default() };
    let entry = openraft::Entry {
        log_id: id,
        payload: EntryPayload::Normal(Proposal(Entry::SetTiming(timing.clone()))),
    };
    machine.apply(tokio_stream::iter([Ok((entry, None))])).await.unwrap();
    machine.build_snapshot().await.unwrap();
    let mut again = open().unwrap();
    assert_eq!(again.applied_state().await.unwrap().0, Some(id));
    assert_eq!(again.topology().timing, timing);
    let path = dir.path().join("snapshot");
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        assert!(open().is_err(), "byte {byte}");
    }
}
