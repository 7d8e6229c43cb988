//! When a move begins, and what ends it.

use std::collections::BTreeSet;

use slotward_cluster::{NodeKind, ShardId};
use slotward_types::{Incarnation, NodeId};

use super::*;
use crate::entry::{Basis, Entry, Registration};
use crate::state::apply;

const A: ShardId = ShardId(1);
const B: ShardId = ShardId(2);
/// A shard that owns nothing and has never served.
const C: ShardId = ShardId(3);

fn run(number: u8) -> Member {
    Member { node: NodeId::from_bytes([number; 20]), incarnation: Incarnation(1) }
}

fn ranges(start: u16, end: u16) -> SlotRanges {
    SlotRanges::try_from(vec![(start, end)]).unwrap()
}

struct Log(Topology, u64);

impl Log {
    /// Shards A and B of two nodes each, and C, which owns nothing.
    fn new() -> Self {
        let mut log = Log(Topology::default(), 0);
        for number in 1..=6 {
            log.ok(Entry::Register(Registration {
                member: run(number),
                host: "127.0.0.1".to_owned(),
                port: 7000 + u16::from(number),
                cport: 17000 + u16::from(number),
                kind: NodeKind::Cluster,
                zone: String::new(),
                priority: 100,
            }));
            log.ok(Entry::Meet { by: run(1).node, host: "127.0.0.1".to_owned(), port: 7001 });
            let port = 7000 + u16::from(number);
            log.ok(Entry::Meet { by: run(1).node, host: "127.0.0.1".to_owned(), port });
        }
        log.ok(Entry::AddSlots { node: run(1), slots: ranges(0, 99) });
        log.ok(Entry::AddSlots { node: run(2), slots: ranges(100, 199) });
        for (replica, master) in [(3, 1), (4, 2), (6, 5)] {
            log.ok(Entry::Replicate { node: run(replica), master: run(master).node });
        }
        for (shard, master, replica) in [(A, 1, 3), (B, 2, 4)] {
            let by = run(master);
            let epoch = log.0.shards[&shard].epoch;
            log.ok(Entry::Serve { shard, epoch, by });
            let members = BTreeSet::from([by, run(replica)]);
            log.ok(Entry::SetPromotable { shard, epoch, version: 1, by, members });
        }
        log
    }

    fn apply(&mut self, entry: Entry) -> Applied {
        self.1 += 1;
        let before = self.0.clone();
        let outcome = apply(&mut self.0, self.1, &entry);
        if outcome.is_err() {
            assert_eq!(self.0, before, "a refused entry left a trace: {entry:?}");
        }
        outcome
    }

    fn ok(&mut self, entry: Entry) -> Vec<Change> {
        let said = format!("{entry:?}");
        self.apply(entry).unwrap_or_else(|error| panic!("{said}: {error}"))
    }

    fn epoch(&self, shard: ShardId) -> Epoch {
        self.0.shards[&shard].epoch
    }

    fn begin(&self, slots: SlotRanges, source: ShardId, target: ShardId) -> Entry {
        let (source_epoch, target_epoch) = (self.epoch(source), self.epoch(target));
        Entry::BeginMove { slots, source, source_epoch, target, target_epoch }
    }

    fn commit(&self, id: u64, source: ShardId, target: ShardId) -> Entry {
        Entry::CommitMove {
            id: MoveId(id),
            source_epoch: self.epoch(source),
            target_epoch: self.epoch(target),
            by: self.0.shards[&target].master,
        }
    }

    fn fail_over(&mut self, shard: ShardId, to: u8) -> Vec<Change> {
        let epoch = self.epoch(shard);
        let basis = Basis::RanOut;
        self.ok(Entry::Promote { shard, epoch, to: run(to), basis, cut: None })
    }
}

#[test]
fn a_commit_changes_the_owner() {
    let mut log = Log::new();
    assert_eq!(log.ok(log.begin(ranges(10, 19), A, B)), [Change::MoveBegun(MoveId(1))]);
    assert_eq!(log.0.shards[&A].slots, ranges(0, 99), "the source owns them until the commit");
    let changes = log.ok(log.commit(1, A, B));
    assert_eq!(changes[0], Change::MoveCommitted(MoveId(1)));
    assert!(log.0.moves.running.is_empty());
    assert!(!log.0.shards[&A].slots.intersects(&ranges(10, 19)));
    assert!(log.0.shards[&B].slots.includes(&ranges(10, 19)));
    assert_eq!(log.0.moves.arrived_at(MoveId(1), B), Some(&ranges(10, 19)));
    let twice = log.commit(1, A, B);
    assert_eq!(log.apply(twice), Err(Rejected::UnknownMove(MoveId(1))));

    // Half of them move on: those have not arrived by the first move any more.
    log.ok(log.begin(ranges(10, 14), B, A));
    log.ok(log.commit(2, B, A));
    assert_eq!(log.0.moves.arrived_at(MoveId(1), B), Some(&ranges(15, 19)));
    assert_eq!(log.0.moves.arrived_at(MoveId(2), A), Some(&ranges(10, 14)));
    log.ok(Entry::DelSlots { node: run(2), slots: ranges(0, 199).common(&log.0.shards[&B].slots) });
    assert_eq!(log.0.moves.arrived_at(MoveId(1), B), None, "given up altogether");
}

#[test]
fn what_cannot_begin() {
    let mut log = Log::new();
    log.ok(log.begin(ranges(10, 19), A, B));
    let (a, b) = (log.epoch(A), log.epoch(B));
    let begin = |slots, source, source_epoch, target, target_epoch| Entry::BeginMove {
        slots,
        source,
        source_epoch,
        target,
        target_epoch,
    };
    for (why, entry, want) in [
        ("twice", begin(ranges(0, 10), A, a, B, b), Rejected::SlotMoving(10)),
        (
            "an old epoch of the source",
            begin(ranges(0, 0), A, Epoch(0), B, b),
            Rejected::StaleEpoch(a),
        ),
        (
            "an old epoch of the target",
            begin(ranges(0, 0), A, a, B, Epoch(0)),
            Rejected::StaleEpoch(b),
        ),
        ("nowhere", begin(ranges(0, 0), A, a, ShardId(9), b), Rejected::UnknownShard),
        (
            "somebody else's",
            begin(ranges(90, 100), A, a, B, b),
            Rejected::Refused("Slot 100 is not owned by the source shard".into()),
        ),
        (
            "where they are",
            begin(ranges(0, 0), A, a, A, a),
            Rejected::Refused("the slots are there already".into()),
        ),
        (
            "nothing",
            begin(SlotRanges::new(), A, a, B, b),
            Rejected::Refused("no slots to move".into()),
        ),
    ] {
        assert_eq!(log.apply(entry), Err(want), "{why}");
    }
    let given_up = Entry::DelSlots { node: run(1), slots: ranges(19, 20) };
    assert_eq!(log.apply(given_up), Err(Rejected::SlotMoving(19)), "not while they move");
    log.ok(log.begin(ranges(20, 29), A, B));
    log.ok(log.begin(ranges(100, 100), B, A));
    assert_eq!(log.0.moves.running.len(), 3, "several at once, in both directions");
}

#[test]
fn a_failover_of_either_side_cancels() {
    for (shard, to) in [(A, 3), (B, 4)] {
        let mut log = Log::new();
        log.ok(log.begin(ranges(10, 19), A, B));
        let commit = log.commit(1, A, B);
        assert_eq!(log.fail_over(shard, to).last(), Some(&Change::MoveCancelled(MoveId(1))));
        assert_eq!(log.apply(commit), Err(Rejected::UnknownMove(MoveId(1))), "too late");
        log.ok(log.begin(ranges(10, 19), A, B));
        assert!(log.0.moves.running.contains_key(&MoveId(2)), "another move has another id");
    }
    let mut log = Log::new();
    log.ok(log.begin(ranges(10, 19), A, B));
    log.ok(log.begin(ranges(20, 29), A, C));
    log.ok(Entry::BumpEpoch { node: run(1) });
    assert!(log.0.moves.running.is_empty(), "a new epoch of the same master is a new epoch");
}

#[test]
fn a_commit_names_id_epochs_and_the_targets_master() {
    let mut log = Log::new();
    log.ok(log.begin(ranges(10, 19), A, B));
    let (a, b) = (log.epoch(A), log.epoch(B));
    let commit = |id, source_epoch, target_epoch, by| Entry::CommitMove {
        id: MoveId(id),
        source_epoch,
        target_epoch,
        by,
    };
    for (why, entry, want) in [
        ("another id", commit(2, a, b, run(2)), Rejected::UnknownMove(MoveId(2))),
        ("another source epoch", commit(1, a.next(), b, run(2)), Rejected::StaleEpoch(a)),
        ("another target epoch", commit(1, a, b.next(), run(2)), Rejected::StaleEpoch(b)),
        ("the source", commit(1, a, b, run(1)), Rejected::NotMaster),
    ] {
        assert_eq!(log.apply(entry), Err(want), "{why}");
    }
    let old = log.commit(1, A, B);
    assert_eq!(log.ok(Entry::CancelMove { id: MoveId(1) }), [Change::MoveCancelled(MoveId(1))]);
    log.ok(log.begin(ranges(10, 19), A, B));
    assert_eq!(log.apply(old), Err(Rejected::UnknownMove(MoveId(1))), "of the move before");
    let cancel = Entry::CancelMove { id: MoveId(1) };
    assert_eq!(log.apply(cancel), Err(Rejected::UnknownMove(MoveId(1))));
}

#[test]
fn a_shard_that_received_slots_has_served() {
    let mut log = Log::new();
    // C exists only as somebody's master: it has two members and no data.
    let (c, replica) = (run(5), run(6));
    assert_eq!((log.0.shards[&C].master, log.0.shards[&C].phase), (c, Phase::New));
    log.ok(log.begin(ranges(0, 0), A, C));
    log.ok(log.commit(1, A, C));
    let epoch = log.epoch(C);
    let promote =
        Entry::Promote { shard: C, epoch, to: replica, basis: Basis::NeverServed, cut: None };
    assert_eq!(log.apply(promote), Err(Rejected::NotPromotable), "it would lose the slots");
}
