//! Stories that the machines must tell rightly, and a search for those that they do not.

use slotward_cluster::Cut;
use slotward_types::{Millis, ReplOffset};

use crate::harness::{Faults, Proc, World};
use crate::plant::{Plant, plant};
use crate::*;

/// Three sentinels (0, 1, 2), and nodes from 3 on that have formed a shard.
fn formed(seed: u64, nodes: usize) -> (World, Proc) {
    let mut world = World::new(seed, 3, nodes);
    assert!(world.converges_within(10_000), "seed {seed}: no shard forms: {}", world.dump());
    world.run_for(2_000);
    let master = world.master().expect("it has converged");
    (world, master)
}

fn healthy(world: &World) {
    assert_eq!(world.violation, None);
}

/// How long until another than `old` accepts writes.
fn time_to_successor(world: &mut World, old: Proc, at_most: u64) -> Option<u64> {
    let began = world.now;
    while world.now < began + at_most {
        world.run_for(1);
        if world.master().is_some_and(|master| master != old) {
            return Some(world.now - began);
        }
    }
    None
}

fn had(world: &World, basis: Basis) -> bool {
    world.promotions.iter().any(|&(_, used)| used == basis)
}

#[test]
fn a_killed_master_is_succeeded_within_a_moment() {
    for seed in 0..10 {
        let (mut world, master) = formed(seed, 3);
        world.kill(master);
        let took = time_to_successor(&mut world, master, 5_000).expect("a successor");
        assert!(took <= 150, "seed {seed}: {took} ms");
        assert!(had(&world, Basis::Gone), "seed {seed}: {:?}", world.promotions);
        world.start(master);
        assert!(world.converges_within(20_000), "seed {seed}: the old master does not follow");
        healthy(&world);
    }
}

#[test]
fn a_hanging_master_is_succeeded_after_its_lease() {
    let (mut world, master) = formed(1, 3);
    world.freeze(master, true);
    let took = time_to_successor(&mut world, master, 5_000).expect("a successor");
    assert!((1_000..2_800).contains(&took), "{took} ms");
    assert!(had(&world, Basis::RanOut), "{:?}", world.promotions);
    world.freeze(master, false);
    world.run_for(100);
    assert!(world.converges_within(20_000));
    healthy(&world);
}

#[test]
fn an_isolated_master_stops_before_its_successor_begins() {
    let (mut world, master) = formed(2, 3);
    world.isolate(master, true);
    let took = time_to_successor(&mut world, master, 6_000).expect("a successor");
    assert!(took >= 1_000, "{took} ms: the lease was not waited out");
    world.heal();
    assert!(world.converges_within(20_000));
    healthy(&world);
}

/// What the log says was left behind, beside what the world knows.
#[test]
fn what_a_deposed_master_executed_in_vain_is_on_record() {
    for seed in 0..10 {
        let (mut world, master) = formed(seed, 3);
        world.isolate(master, true);
        time_to_successor(&mut world, master, 6_000).expect("a successor");
        let successor = world.master().expect("it has been awaited");
        let (old, new) = (world.data(master).to_vec(), world.data(successor).to_vec());
        let shared = old.iter().zip(&new).take_while(|(a, b)| a == b).count() as u64;
        let (taken, end) = (ReplOffset(shared), ReplOffset(old.len() as u64));
        let cut = |world: &World| world.takeovers().last().expect("a change of master").cut;
        let early = cut(&world);
        assert!(!early.exact && early.taken == taken, "seed {seed}: {early:?}, shared {shared}");
        assert!((taken..=end).contains(&early.end), "seed {seed}: {early:?}, end {end}");
        world.heal();
        assert!(world.converges_within(20_000), "seed {seed}");
        let cut = cut(&world);
        assert_eq!(cut, Cut { taken, end, exact: true }, "seed {seed}");
        assert!(cut.lost_bytes() > 0, "seed {seed}: nothing was left behind");
        healthy(&world);
    }
}

#[test]
fn a_hand_over_leaves_nothing_behind() {
    let (mut world, master) = formed(3, 3);
    world.tell_node(master, NodeEvent::StopWished);
    time_to_successor(&mut world, master, 5_000).expect("a successor");
    let cut = world.takeovers().last().expect("a change of master").cut;
    assert_eq!((cut.lost_bytes(), cut.exact), (0, true));
    assert_eq!(cut.taken.0, world.data_len(master) as u64);
}

#[test]
fn a_master_that_only_its_replicas_hear_is_succeeded_after_their_promises() {
    let story = |bug| {
        plant(bug);
        let (mut world, master) = formed(16, 3);
        for sentinel in 0..3 {
            world.cut(master, sentinel, true);
            world.cut(sentinel, master, true);
        }
        let took = time_to_successor(&mut world, master, 6_000);
        plant(None);
        (took.is_some(), world.violation)
    };
    assert_eq!(story(None), (true, None));
    assert!(story(Some(Plant::NoPromiseWait)).1.is_some(), "the planted bug goes unnoticed");
}

/// The replicas' promises are long over, the leader cannot reach the master, the other sentinels
/// acknowledge it to the last moment; then somebody forces a failover.
#[test]
fn a_forced_failover_waits_for_acknowledgements_of_others() {
    let story = |bug| {
        plant(bug);
        let (mut world, master) = formed(17, 3);
        let leader = world.leader();
        for other in world.nodes().filter(|&node| node != master).chain([leader]) {
            world.cut(master, other, true);
            world.cut(other, master, true);
        }
        world.run_for(1_500);
        assert_eq!(world.master(), Some(master), "two sentinels still acknowledge");
        let (shard, epoch) = (world.shard(), world.epoch());
        let request = FailoverRequest { shard, epoch, to: None, mode: FailoverMode::Force };
        // Bad news travels slowly.
        (0..3).for_each(|sentinel| world.hold(sentinel, master, 600));
        world.tell_sentinel(leader, SentinelEvent::FailoverWished(request));
        let took = time_to_successor(&mut world, master, 6_000);
        plant(None);
        (took.is_some(), world.violation)
    };
    assert_eq!(story(None), (true, None));
    assert!(story(Some(Plant::NoLeaseWait)).1.is_some(), "the planted bug goes unnoticed");
}

#[test]
fn strict_fencing_waits_even_for_a_dead_master() {
    let (mut world, master) = formed(3, 3);
    world.set_timing(slotward_cluster::Timing { fencing_strict: true, ..Default::default() });
    world.run_for(500);
    world.kill(master);
    let took = time_to_successor(&mut world, master, 6_000).expect("a successor");
    assert!(took >= 900 && had(&world, Basis::RanOut), "{took} ms, {:?}", world.promotions);
    healthy(&world);
}

#[test]
fn a_restarted_master_is_no_master() {
    let (mut world, master) = formed(4, 3);
    let epoch = world.epoch();
    world.kill(master);
    world.start(master);
    world.run_for(3_000);
    assert_ne!(world.master(), Some(master), "it came back empty");
    assert!(world.epoch() > epoch);
    assert!(world.converges_within(20_000));
    healthy(&world);
}

#[test]
fn when_all_restart_the_shard_comes_back() {
    let (mut world, _) = formed(5, 3);
    for node in world.nodes() {
        world.kill(node);
    }
    world.run_for(500);
    for node in world.nodes() {
        world.start(node);
    }
    assert!(world.converges_within(20_000));
    assert!(had(&world, Basis::AllRestarted), "{:?}", world.promotions);
    healthy(&world);
}

#[test]
fn a_manual_failover_loses_nothing_and_is_quick() {
    let (mut world, master) = formed(6, 3);
    let to = world.nodes().find(|&node| node != master).unwrap();
    let before = world.data_len(master);
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::HandOver));
    let took = time_to_successor(&mut world, master, 5_000).expect("a successor");
    assert!(took < 200, "{took} ms");
    assert_eq!(world.master(), Some(to));
    assert!(had(&world, Basis::Consent) && world.data_len(to) >= before);
    assert!(world.converges_within(20_000));
    healthy(&world);
}

#[test]
fn a_forced_failover_waits_the_lease_out() {
    let (mut world, master) = formed(7, 3);
    let to = world.nodes().find(|&node| node != master).unwrap();
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::Force));
    time_to_successor(&mut world, master, 6_000).expect("a successor");
    assert_eq!(world.master(), Some(to));
    assert!(world.converges_within(20_000));
    healthy(&world);
}

#[test]
fn a_sentinel_may_be_asked_too() {
    let (mut world, master) = formed(8, 3);
    let asked = (world.leader() + 1) % 3;
    let (shard, epoch) = (world.shard(), world.epoch());
    let request = FailoverRequest { shard, epoch, to: None, mode: FailoverMode::HandOver };
    world.tell_sentinel(asked, SentinelEvent::FailoverWished(request));
    let took = time_to_successor(&mut world, master, 5_000).expect("a successor");
    assert!(took < 200, "{took} ms");
    world.run_for(500);
    let said: Vec<&str> = world.published.iter().map(|(_, channel, _)| *channel).collect();
    for channel in ["+switch-master", "+slave", "+new-epoch", "+failover-end"] {
        assert!(said.contains(&channel), "{channel} is not among {said:?}");
    }
}

#[test]
fn a_graceful_stop_hands_over_first() {
    let (mut world, master) = formed(9, 3);
    world.tell_node(master, NodeEvent::StopWished);
    let took = time_to_successor(&mut world, master, 5_000).expect("a successor");
    world.run_for(100);
    assert!(took < 200 && world.stopped(master), "{took} ms");
    assert!(had(&world, Basis::Consent));
    healthy(&world);
}

#[test]
fn a_replica_that_stops_is_out_of_the_set_first() {
    let (mut world, master) = formed(9, 3);
    let replica = world.nodes().find(|&node| node != master).expect("three nodes");
    let epoch = world.epoch();
    world.tell_node(replica, NodeEvent::StopWished);
    world.run_for(100);
    assert!(world.stopped(replica) && world.set_size() == 2, "{}", world.dump());
    world.run_for(500);
    assert_eq!(world.set_size(), 2, "it was taken in again");
    assert_eq!((world.master(), world.epoch()), (Some(master), epoch));
    healthy(&world);
}

#[test]
fn a_stop_without_most_of_the_sentinels_does_not_wait_for_a_successor() {
    let (mut world, master) = formed(9, 3);
    (0..2).for_each(|sentinel| world.kill(sentinel));
    world.run_for(100);
    world.tell_node(master, NodeEvent::StopWished);
    world.run_for(20);
    assert!(world.stopped(master));
}

#[test]
fn a_stop_that_is_cancelled_ends_with_the_hand_over() {
    let (mut world, master) = formed(9, 3);
    world.tell_node(master, NodeEvent::StopWished);
    world.run_for(2);
    world.tell_node(master, NodeEvent::StopCancelled);
    time_to_successor(&mut world, master, 5_000).expect("a consent is final");
    assert!(world.converges_within(20_000), "the old master does not follow");
    assert!(!world.stopped(master));
    healthy(&world);
}

#[test]
fn a_consent_is_final_and_the_master_is_confirmed_in_the_next_epoch() {
    let (mut world, master) = formed(10, 2);
    let (to, epoch) = (world.nodes().find(|&node| node != master).unwrap(), world.epoch());
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::HandOver));
    world.run_for(4);
    world.kill(to);
    world.run_for(7_000);
    assert_eq!(world.master(), Some(master), "{:?}", world.promotions);
    assert!(world.epoch() > epoch, "it must not resume in the old epoch");
    healthy(&world);
}

#[test]
fn without_sentinels_the_data_plane_goes_on() {
    let (mut world, master) = formed(11, 3);
    let epoch = world.epoch();
    for sentinel in 0..3 {
        world.kill(sentinel);
    }
    world.run_for(10_000);
    assert_eq!(world.master(), Some(master), "its replicas hold its lease");
    for sentinel in 0..3 {
        world.start(sentinel);
    }
    world.run_for(3_000);
    assert_eq!((world.master(), world.epoch()), (Some(master), epoch), "nobody was blamed");
    healthy(&world);
}

#[test]
fn one_deaf_sentinel_changes_nothing_for_good() {
    let (mut world, master) = formed(12, 3);
    let deaf = (world.leader() + 1) % 3;
    world.cut(master, deaf, true);
    world.run_for(5_000);
    assert_eq!(world.master(), Some(master), "two sentinels still acknowledge");
    world.cut(master, deaf, false);
    world.run_for(3_000);
    assert_eq!(world.master(), Some(master));
    assert!(!had(&world, Basis::RanOut) && !had(&world, Basis::Gone), "{:?}", world.promotions);
    world.tell_node(deaf + 3, NodeEvent::Tick);
    healthy(&world);
}

#[test]
fn the_leader_dies_in_the_middle() {
    for after in [20, 55, 60, 65, 80] {
        let (mut world, master) = formed(13 + after, 3);
        world.kill(master);
        world.run_for(after);
        let leader = world.leader();
        world.kill(leader);
        time_to_successor(&mut world, master, 6_000).expect("a successor");
        world.heal();
        assert!(world.converges_within(20_000), "after {after} ms");
        healthy(&world);
    }
}

/// One random life: faults, then peace, in which it has to come together.
fn live(seed: u64) -> Result<World, String> {
    let nodes = 2 + (seed % 2) as usize;
    let mut world = World::new(seed, 3, nodes);
    world.run_for(4_000);
    world.faults = Faults {
        loss: [0, 5, 30][(seed % 3) as usize],
        delay_max: [2, 20, 120][(seed / 3 % 3) as usize],
        long_delay: [0, 0, 3][(seed / 9 % 3) as usize],
        disk_max: [3, 60][(seed / 27 % 2) as usize],
    };
    let procs = 3 + nodes as u64;
    for _ in 0..14 {
        let proc = world.random.below(procs) as Proc;
        let other = world.random.below(procs) as Proc;
        match world.random.below(11) {
            0 | 1 => world.kill(proc),
            2..=4 if !world.alive(proc) => world.start(proc),
            2 => world.cut(proc, other, true),
            3 => world.freeze(proc, true),
            4 | 5 => world.freeze(proc, false),
            6 => world.isolate(proc, true),
            7 | 8 => world.isolate(proc, false),
            // The sentinels do not hear it, its replicas may.
            9 => (0..3).for_each(|sentinel| world.cut(proc, sentinel, true)),
            _ => {
                let mode =
                    [FailoverMode::HandOver, FailoverMode::Force][world.random.below(2) as usize];
                if proc >= 3 && world.alive(proc) {
                    world.tell_node(proc, NodeEvent::FailoverWished(mode));
                }
            }
        }
        let time = 20 + world.random.below(1_500);
        world.run_for(time);
    }
    world.heal();
    let converges = world.converges_within(30_000);
    match &world.violation {
        Some(violation) => Err(format!("seed {seed}: {violation}")),
        None if !converges => Err(format!("seed {seed}: never converges: {}", world.dump())),
        None => Ok(world),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("SLOTWARD_SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("SLOTWARD_SEED").ok().and_then(|text| text.parse().ok());
    first.map_or(0..count.unwrap_or(200), |first| first..first + 1)
}

#[test]
fn whatever_happens_one_master_at_a_time_and_it_heals() {
    let (mut promotions, mut fast, mut waited) = (0, 0, 0);
    for seed in seeds() {
        let world = live(seed).unwrap_or_else(|broken| panic!("{broken}"));
        promotions += world.promotions.len();
        fast += world.promotions.iter().filter(|(_, basis)| *basis == Basis::Gone).count();
        waited += world.promotions.iter().filter(|(_, basis)| *basis == Basis::RanOut).count();
    }
    assert!(promotions > 100 && fast > 10 && waited > 10, "{promotions} {fast} {waited}: dull");
}

/// Whether some seed shows the bug: as a broken promise, a failed assertion or no convergence.
fn is_found(bug: Plant, seeds: u64) -> bool {
    plant(Some(bug));
    let found = (0..seeds).any(|seed| live(seed).is_err());
    plant(None);
    found
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Plant::AnyReplica, Plant::RestartedMasterGoesOn] {
        assert!(is_found(bug, 400), "{bug:?} goes unnoticed");
    }
}

/// The acknowledgement of an old heartbeat arrives late: a lease counted from its receipt outlives
/// the sentinels' promises.
#[test]
fn a_late_acknowledgement_gives_no_late_lease() {
    let story = |bug| {
        plant(bug);
        let (mut world, master) = formed(14, 3);
        for node in world.nodes().filter(|&node| node != master) {
            world.cut(node, master, true);
        }
        for sentinel in 0..3 {
            world.hold(sentinel, master, 300);
        }
        world.run_for(290);
        world.freeze(master, true);
        time_to_successor(&mut world, master, 6_000).expect("a successor");
        world.freeze(master, false);
        world.run_for(50);
        plant(None);
        assert!(had(&world, Basis::RanOut), "{:?}", world.promotions);
        world.violation
    };
    assert_eq!(story(None), None);
    assert!(story(Some(Plant::LeaseFromReceipt)).is_some(), "the planted bug goes unnoticed");
}

/// Sentinels that have revoked an epoch restart, and hear its master again: it may only go on in
/// the next one.
#[test]
fn what_a_sentinel_revoked_it_remembers() {
    let story = |bug| {
        plant(bug);
        let (mut world, master) = formed(15, 3);
        for node in world.nodes().filter(|&node| node != master) {
            world.freeze(node, true);
        }
        for sentinel in 0..3 {
            world.cut(master, sentinel, true);
        }
        world.run_for(2_000);
        assert_eq!(world.master(), None);
        let (epoch, before) = (world.epoch(), world.served.len());
        for sentinel in 0..3 {
            world.kill(sentinel);
            world.start(sentinel);
            world.cut(master, sentinel, false);
        }
        world.run_for(3_000);
        plant(None);
        let again = &world.served[before..];
        assert!(!again.is_empty(), "the master is never confirmed");
        again.iter().all(|&(_, _, served)| served > epoch)
    };
    assert!(story(None), "it resumes in a revoked epoch");
    assert!(!story(Some(Plant::AckRevoked)), "the planted bug goes unnoticed");
}

#[test]
fn times_fit_together() {
    let timing = slotward_cluster::Timing::default();
    assert_eq!(timing.check(), Ok(()));
    assert!(timing.promise() <= timing.down_after);
    let short = slotward_cluster::Timing { lease: Millis(300), ..timing };
    assert!(short.check().is_err(), "three heartbeats in a lease");
}
