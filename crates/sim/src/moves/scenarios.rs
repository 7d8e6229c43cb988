//! The traces that the rule about slot moves exists for, each told step by step: with the rule the
//! story ends well, with the bug planted it is noticed.
//!
//! Shard 1 is n0 (master) and n1 with slots 0 to 2, shard 2 is n2 and n3 with slots 3 to 5. In each
//! story slot 0 moves from shard 1 to shard 2.

use slotward_cluster::MoveId;
use slotward_failover::{Admission, Entry, Piece, Plant, StageKey, plant};
use slotward_types::{Epoch, ReplOffset};

use super::world::{Flight, Report, World, real, shard};
use super::{finish, guarded};

type Story = fn(&mut World);

fn tell(story: Story, in_sync: bool, bug: Option<Plant>) -> Result<Report, String> {
    plant(bug);
    let outcome = guarded(|| {
        let mut world = World::new(2, 2, in_sync);
        world.quiet(20, &|_| false);
        story(&mut world);
        finish(&mut world)
    });
    plant(None);
    outcome
}

/// The story ends well, and with the bug it does not: `noticed` is part of what is said then.
fn breaks(story: Story, in_sync: bool, bug: Plant, noticed: &str) {
    let well = tell(story, in_sync, None);
    assert!(well.is_ok(), "without a bug: {well:?}");
    let ill = tell(story, in_sync, Some(bug)).expect_err("nobody noticed the bug");
    assert!(ill.contains(noticed), "another thing was noticed: {ill}");
}

fn ends_well(story: Story) {
    for in_sync in [false, true] {
        let well = tell(story, in_sync, None);
        assert!(well.is_ok(), "in_sync {in_sync}: {well:?}");
    }
}

impl World {
    /// Rounds without faults, in which some of what is on its way is held back.
    fn quiet(&mut self, rounds: u32, held_back: &dyn Fn(&Flight) -> bool) {
        for _ in 0..rounds {
            self.round(held_back);
        }
    }

    /// A client's write that is answered, wherever the slot is.
    fn write_through(&mut self, slot: u16) {
        let owner = self.master_of(self.owner_of(slot));
        self.write(owner, slot);
        self.quiet(4, &|flight| !touches_data(flight));
    }

    fn begin_one(&mut self) -> MoveId {
        self.begin(&[0], shard(1), shard(2)).expect("nothing stands in the way")
    }

    fn executes(&self, node: usize) -> bool {
        matches!(self.nodes[node].machine.admit(real(0)), Admission::Execute(_))
    }

    /// Takes what matches off its way, to let it arrive later.
    fn catch(&mut self, what: &dyn Fn(&Flight) -> bool) -> Vec<Flight> {
        let (caught, rest) = std::mem::take(&mut self.flights).into_iter().partition(what);
        self.flights = rest;
        caught
    }

    /// Until the target has proposed the commit, which is held back.
    fn up_to_commit(&mut self) {
        self.begin_one();
        self.quiet(20, &is_commit);
        assert!(self.flights.iter().any(is_commit), "the target never proposed the commit");
        assert!(!self.executes(0) && !self.executes(2), "paused");
    }
}

fn touches_data(flight: &Flight) -> bool {
    matches!(flight, Flight::Execute { .. } | Flight::Reply { .. })
}

fn is_commit(flight: &Flight) -> bool {
    matches!(flight, Flight::Propose(Entry::CommitMove { .. }))
}

fn is_execution(flight: &Flight) -> bool {
    matches!(flight, Flight::Execute { .. })
}

fn is_proposal(flight: &Flight) -> bool {
    matches!(flight, Flight::Propose(_))
}

fn is_final(flight: &Flight) -> bool {
    matches!(flight, Flight::Piece { piece: Piece::Final(_), .. })
}

fn is_topology_for(node: usize) -> impl Fn(&Flight) -> bool {
    move |flight| matches!(flight, Flight::Topology { to, .. } if *to == node)
}

#[test]
fn a_move_without_faults_takes_the_data_along() {
    ends_well(|world| {
        (0..5).for_each(|_| world.write_through(0));
        world.begin_one();
        world.quiet(3, &|_| false);
        world.write_through(0);
        world.quiet(20, &|_| false);
        assert!(world.truth.moves.running.is_empty() && world.executes(2) && !world.executes(0));
        assert_eq!(world.nodes[2].live[&0].len(), 6);
        assert!(!world.nodes[0].live.contains_key(&0), "the source keeps nothing");
        world.write_through(0);
        // And back.
        world.begin(&[0], shard(2), shard(1)).expect("it is there");
        world.quiet(30, &|_| false);
        assert_eq!(world.nodes[0].live[&0].len(), 7);
    });
}

#[test]
fn the_source_stays_paused_until_the_log_speaks() {
    let story: Story = |world| {
        world.write_through(0);
        world.up_to_commit();
        world.now += 1_000;
        world.quiet(4, &is_proposal);
        // Its timer is long over; it proposed a cancel, and that is all.
        world.write_through(0);
        let late = world.catch(&is_commit);
        world.catch(&is_proposal);
        late.into_iter().for_each(|commit| world.deliver(commit));
    };
    breaks(story, false, Plant::MoveSourceResumes, "two owners");
    breaks(story, true, Plant::MoveSourceResumes, "two owners");
}

#[test]
fn a_timeout_ends_in_a_cancel_and_the_source_goes_on() {
    ends_well(|world| {
        world.begin_one();
        world.quiet(8, &|flight| is_final(flight) || is_proposal(flight));
        assert!(!world.executes(0), "it is paused");
        world.now += 1_000;
        world.quiet(4, &is_final);
        assert!(world.truth.moves.running.is_empty() && world.executes(0));
        world.write_through(0);
    });
}

#[test]
fn a_commit_from_before_the_sources_failover_comes_too_late() {
    let story: Story = |world| {
        world.write_through(0);
        world.up_to_commit();
        let late = world.catch(&is_commit);
        world.fail_over(shard(1), 1);
        world.quiet(4, &is_commit);
        world.write_through(0);
        late.into_iter().for_each(|commit| world.deliver(commit));
        world.quiet(4, &|_| false);
    };
    breaks(story, true, Plant::MoveCommitWithoutEpochs, "two owners");
}

#[test]
fn a_commit_settles_no_other_move() {
    let story: Story = |world| {
        world.write_through(0);
        world.up_to_commit();
        let late = world.catch(&is_commit);
        let id = MoveId(world.truth.moves.ever);
        world.deliver(Flight::Propose(Entry::CancelMove { id }));
        world.quiet(2, &|_| false);
        world.write_through(0);
        world.begin_one();
        world.quiet(1, &|_| false);
        late.into_iter().for_each(|commit| world.deliver(commit));
        world.quiet(4, &|_| false);
    };
    breaks(story, true, Plant::MoveCommitWithoutId, "committed without us");
}

#[test]
fn the_targets_replica_has_the_slot_before_the_commit() {
    let story: Story = |world| {
        world.begin_one();
        // A write that has looked its owner up, and is executed just before the barrier.
        let barrier = |flight: &Flight| matches!(flight, Flight::Barrier { .. });
        world.write(0, 0);
        let write = world.catch(&is_execution);
        let sent = |flight: &Flight| matches!(flight, Flight::Tell { .. }) || barrier(flight);
        world.quiet(8, &sent);
        world.nodes[3].frozen = true;
        write.into_iter().for_each(|write| world.deliver(write));
        world.quiet(12, &|_| false);
        world.fail_over(shard(2), 3);
        world.nodes[3].frozen = false;
        world.quiet(6, &|_| false);
    };
    breaks(story, true, Plant::MoveSetNotAwaited, "n3 may be promoted without write");
}

#[test]
fn hearing_late_that_a_move_began_wipes_nothing() {
    let story: Story = |world| {
        world.write_through(0);
        world.begin_one();
        let late = world.catch(&is_topology_for(3));
        world.quiet(8, &|flight| is_commit(flight) || is_topology_for(3)(flight));
        // The log has brought the replica the whole copy; only now it hears of the move.
        late.into_iter().for_each(|topology| world.deliver(topology));
        world.quiet(3, &is_commit);
        // The master dies right after the commit: what it did with it never reaches the replica.
        let commit = world.catch(&is_commit);
        world.crash(2);
        commit.into_iter().take(1).for_each(|commit| world.deliver(commit));
        world.fail_over(shard(2), 3);
        world.quiet(6, &|_| false);
        world.write_through(0);
    };
    breaks(story, true, Plant::MoveLateBegunWipes, "without it");
}

#[test]
fn a_deposed_sources_entries_belong_to_nobody() {
    let story: Story = |world| {
        let from_old = |flight: &Flight| {
            matches!(flight, Flight::Piece { from: (0, _), piece: Piece::Entries(..), .. })
        };
        world.begin_one();
        world.quiet(4, &|flight| matches!(flight, Flight::Tell { .. }) || is_commit(flight));
        // n0 executes a write that n1 never gets, and sends it on its way to the target.
        world.nodes[1].frozen = true;
        world.write(0, 0);
        world.quiet(2, &|flight| matches!(flight, Flight::Tell { .. }) || from_old(flight));
        let late = world.catch(&from_old);
        assert_eq!(late.len(), 1, "the entry is on its way");
        world.nodes[0].frozen = true;
        world.nodes[1].frozen = false;
        world.fail_over(shard(1), 1);
        world.quiet(6, &|_| false);
        world.begin_one();
        world.quiet(5, &|flight| matches!(flight, Flight::Tell { .. }) || is_commit(flight));
        // The copy of the new source is exactly as long as the old source's history was.
        let stages = world.nodes[2].machine.stages();
        let key = StageKey { id: MoveId(2), source_epoch: Epoch(2) };
        let upto = stages.get(key).and_then(|stage| stage.upto).expect("the snapshot is there");
        world.write(1, 0);
        world.catch(&is_execution).into_iter().for_each(|write| world.deliver(write));
        late.into_iter().for_each(|piece| world.deliver(at_offset(piece, upto)));
        world.nodes[0].frozen = false;
        world.quiet(20, &|_| false);
        world.write_through(0);
    };
    breaks(story, false, Plant::MoveStreamUnchecked, "without it");
}

/// The same entries at another place of the log: at which one two histories part is chance.
fn at_offset(flight: Flight, upto: ReplOffset) -> Flight {
    match flight {
        Flight::Piece { from, to, key, attempt, piece: Piece::Entries(..), data } => {
            let piece = Piece::Entries(upto, ReplOffset(upto.0 + 1));
            Flight::Piece { from, to, key, attempt, piece, data }
        }
        other => other,
    }
}

#[test]
fn the_owner_is_asked_under_the_slots_lock() {
    let story: Story = |world| {
        world.write(0, 0);
        // The worker has looked the owner up, and stands still before it takes the lock.
        let frozen = world.catch(&is_execution);
        world.begin_one();
        world.quiet(20, &|_| false);
        assert!(world.executes(2), "the slot has moved");
        frozen.into_iter().for_each(|write| world.deliver(write));
        world.quiet(4, &|_| false);
    };
    breaks(story, false, Plant::MoveOwnerBeforeLock, "not the owner");
    breaks(story, true, Plant::MoveOwnerBeforeLock, "not the owner");
}

#[test]
fn a_master_elected_again_says_nothing_of_an_earlier_epoch() {
    let story: Story = |world| {
        // n0 executes a write that n1 never gets, and stands still before it answers.
        world.nodes[1].frozen = true;
        world.write(0, 0);
        world.catch(&is_execution).into_iter().for_each(|write| {
            world.deliver(write);
        });
        let reply = world.catch(&|flight| matches!(flight, Flight::Reply { .. }));
        assert_eq!(reply.len(), 1, "it is executed");
        world.nodes[1].frozen = false;
        world.fail_over(shard(1), 1);
        world.quiet(6, &|_| false);
        world.begin_one();
        world.quiet(20, &|_| false);
        assert!(world.executes(2), "the slot has moved");
        world.keep_set(shard(1), None);
        world.fail_over(shard(1), 0);
        world.quiet(6, &|_| false);
        reply.into_iter().for_each(|reply| world.deliver(reply));
        world.quiet(6, &|_| false);
    };
    breaks(story, false, Plant::MoveReplyOfOlderEpoch, "without it");
    breaks(story, true, Plant::MoveReplyOfOlderEpoch, "without it");
}

#[test]
fn the_targets_failover_before_the_commit_cancels() {
    ends_well(|world| {
        world.write_through(0);
        world.up_to_commit();
        world.fail_over(shard(2), 3);
        assert!(world.truth.moves.running.is_empty());
        world.quiet(6, &|_| false);
        assert!(world.executes(0), "the source goes on");
        assert!(world.nodes[3].staged.is_empty(), "and nothing is left of the copy");
        world.write_through(0);
    });
}

#[test]
fn a_source_that_restarts_is_no_source() {
    ends_well(|world| {
        world.write_through(0);
        world.begin_one();
        world.quiet(4, &is_commit);
        world.crash(0);
        world.restart(0, usize::MAX);
        world.quiet(10, &is_commit);
        assert!(!world.executes(0), "it is not master");
        world.replace_lost_master(shard(1));
        world.quiet(6, &|_| false);
        assert!(world.executes(1) && world.truth.moves.running.is_empty());
        world.write_through(0);
    });
}

#[test]
fn several_moves_run_at_once_and_end_apart() {
    ends_well(|world| {
        (0..6).for_each(|slot| world.write_through(slot));
        let first = world.begin_one();
        let second = world.begin(&[1], shard(1), shard(2)).expect("another slot");
        let back = world.begin(&[3, 4], shard(2), shard(1)).expect("the other way");
        assert!(world.begin(&[0, 2], shard(1), shard(2)).is_none(), "slot 0 moves already");
        world.quiet(2, &|_| false);
        world.deliver(Flight::Propose(Entry::CancelMove { id: second }));
        world.quiet(30, &|_| false);
        let arrived: Vec<MoveId> = world.truth.moves.arrived.keys().copied().collect();
        assert_eq!(arrived, [first, back]);
        (0..6).for_each(|slot| world.write_through(slot));
    });
}

/// What random search finds by itself within so many seeds.
#[test]
fn random_search_finds_planted_bugs() {
    for (bug, seeds) in [
        (Plant::MoveCommitWithoutEpochs, 20),
        (Plant::MoveReplyOfOlderEpoch, 20),
        (Plant::MoveCommitWithoutId, 400),
        (Plant::MoveStreamUnchecked, 400),
        (Plant::MoveOwnerBeforeLock, 400),
    ] {
        plant(Some(bug));
        let found = (0..seeds).any(|seed| super::run(seed).is_err());
        plant(None);
        assert!(found, "{bug:?} is not found in {seeds} seeds");
    }
}
