//! The storage under openraft's own suite, and snapshots across a restart.

use std::sync::Arc;

use openraft::alias::{EntryOf, LogIdOf};
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
use super::wal::{Kind, Record, Wal, WalError};
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

fn append(wal: &mut Wal, index: u64) {
    let id = LogIdOf::<TypeConfig>::new(LeaderId::new(1, 7).to_committed(), index);
    let entry: EntryOf<TypeConfig> = openraft::Entry { log_id: id, payload: EntryPayload::Blank };
    let payload = postcard::to_stdvec(&entry).unwrap();
    wal.append(&[Record { kind: Kind::Entry, index, payload }]).unwrap();
}

#[test]
fn entries_that_are_missing_stop_the_start() {
    for (why, written, wanted) in [
        ("the beginning", &[3, 4][..], Some(0)),
        ("one in the middle", &[0, 1, 3], Some(2)),
        ("none", &[0, 1, 2], None),
    ] {
        let dir = TempDir::new();
        let (mut wal, _) = Wal::open(dir.path()).unwrap();
        written.iter().for_each(|index| append(&mut wal, *index));
        wal.sync().unwrap();
        drop(wal);
        let found = match LogStore::open(dir.path()) {
            Ok(log) => {
                log.close();
                None
            }
            Err(WalError::Gap { wanted, .. }) => Some(wanted),
            Err(other) => panic!("{why}: {other}"),
        };
        assert_eq!(found, wanted, "{why}");
    }
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
    // A crash while the next one was being written leaves a beginning of it beside this one.
    std::fs::write(dir.path().join("snapshot.tmp"), b"SWSN\x01").unwrap();
    assert_eq!(open().unwrap().topology().timing, timing);
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        assert!(open().is_err(), "byte {byte}");
    }
}
