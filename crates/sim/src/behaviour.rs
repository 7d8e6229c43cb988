//! What users notice of a failover: that it happens, how soon, and that nothing else does.

use slotward_cluster::Timing;
use slotward_failover::{Basis, FailoverMode, FailoverRequest, NodeEvent, SentinelEvent};

use crate::world::{Plan, Proc, World};

fn formed_as(plan: Plan) -> (World, Proc) {
    let mut world = World::new(plan);
    assert!(world.converges_within(20_000), "no shard forms:\n{}", world.picture());
    world.run_for(1_000);
    let master = world.master(0).expect("it has converged");
    (world, master)
}

fn formed(seed: u64, nodes: usize) -> (World, Proc) {
    formed_as(Plan::one_shard(seed, nodes))
}

/// How many milliseconds until another than `old` accepts writes.
fn successor(world: &mut World, old: Proc) -> u64 {
    let began = world.now_ms();
    let another = |world: &World| world.master(0).is_some_and(|master| master != old);
    assert!(world.run_until(10_000, another), "no successor:\n{}", world.picture());
    world.now_ms() - began
}

fn had(world: &World, basis: Basis) -> bool {
    world.promotions().iter().any(|&(_, _, used)| used == basis)
}

fn comes_together(world: &mut World) {
    let together = world.converges_within(30_000);
    assert_eq!(world.violation(), None);
    assert!(together, "never comes together:\n{}", world.picture());
}

fn request(world: &World, mode: FailoverMode) -> FailoverRequest {
    let shard = *world.topology().shards.keys().next().expect("it has formed");
    FailoverRequest { shard, epoch: world.epoch(0), to: None, mode }
}

#[test]
fn a_killed_master_is_succeeded_within_a_moment() {
    for seed in 0..10 {
        let (mut world, master) = formed(seed, 3);
        world.kill(master);
        let took = successor(&mut world, master);
        assert!(took <= 200 && had(&world, Basis::Gone), "seed {seed}: {took} ms");
        comes_together(&mut world);
    }
}

#[test]
fn a_hanging_master_is_succeeded_after_its_lease() {
    let (mut world, master) = formed(1, 3);
    world.freeze(master);
    let took = successor(&mut world, master);
    assert!((1_000..2_800).contains(&took) && had(&world, Basis::RanOut), "{took} ms");
    world.thaw(master);
    comes_together(&mut world);
}

#[test]
fn strict_fencing_waits_even_for_a_dead_master() {
    let timing = Timing { fencing_strict: true, ..Timing::default() };
    let (mut world, master) = formed_as(Plan { timing, ..Plan::one_shard(3, 3) });
    world.kill(master);
    let took = successor(&mut world, master);
    assert!(took >= 900 && had(&world, Basis::RanOut), "{took} ms");
    comes_together(&mut world);
}

#[test]
fn when_all_restart_the_shard_comes_back() {
    let (mut world, _) = formed(5, 3);
    world.nodes().for_each(|node| world.kill(node));
    world.run_for(500);
    comes_together(&mut world);
    assert!(had(&world, Basis::AllRestarted), "{:?}", world.promotions());
}

/// A replica that was not in the set holds more than what the restarted set brought back.
#[test]
fn when_all_restart_whoever_holds_most_goes_on() {
    let (mut world, master) = formed(6, 3);
    let late = world.nodes().rfind(|&node| node != master).expect("a replica");
    world.kill(late);
    world.run_for(100);
    world.start(late);
    assert!(world.run_until(2_000, |world| world.is_linked(late)));
    assert!(!world.in_set(late), "it has only just come");
    let held = world.data_len(late);
    for node in world.nodes().filter(|&node| node != late) {
        world.kill(node);
        world.start(node);
    }
    assert!(world.run_until(8_000, |world| world.master(0).is_some()), "{}", world.picture());
    assert!(had(&world, Basis::AllRestarted), "{:?}", world.promotions());
    assert!(world.data_len(world.master(0).expect("as awaited")) >= held, "data is lost");
    comes_together(&mut world);
}

#[test]
fn a_manual_failover_loses_nothing_and_is_quick() {
    let (mut world, master) = formed(6, 3);
    let to = world.nodes().find(|&node| node != master).expect("a replica");
    let before = world.data_len(master);
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::HandOver));
    let took = successor(&mut world, master);
    assert!(took < 200 && world.master(0) == Some(to) && had(&world, Basis::Consent), "{took} ms");
    assert!(world.data_len(to) >= before);
    comes_together(&mut world);
}

#[test]
fn a_forced_failover_needs_no_consent() {
    let (mut world, master) = formed(7, 3);
    let to = world.nodes().find(|&node| node != master).expect("a replica");
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::Force));
    successor(&mut world, master);
    assert_eq!(world.master(0), Some(to));
    comes_together(&mut world);
}

#[test]
fn a_sentinel_may_be_asked_too() {
    let (mut world, master) = formed(8, 3);
    let asked = (world.leader() + 1) % 3;
    let request = request(&world, FailoverMode::HandOver);
    world.tell_sentinel(asked, SentinelEvent::FailoverWished(request));
    let took = successor(&mut world, master);
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
    let took = successor(&mut world, master);
    world.run_for(200);
    assert!(took < 200 && world.stopped(master) && had(&world, Basis::Consent), "{took} ms");
    comes_together(&mut world);
}

#[test]
fn a_consent_is_final_and_the_master_is_confirmed_in_the_next_epoch() {
    let (mut world, master) = formed(10, 2);
    let to = world.nodes().find(|&node| node != master).expect("a replica");
    let epoch = world.epoch(0);
    world.tell_node(to, NodeEvent::FailoverWished(FailoverMode::HandOver));
    world.run_for(4);
    world.power_off(to);
    assert!(world.run_until(9_000, |world| world.epoch(0) > epoch));
    world.run_for(500);
    assert_eq!(world.master(0), Some(master), "{:?}", world.promotions());
    comes_together(&mut world);
}

#[test]
fn without_sentinels_the_data_plane_goes_on() {
    let (mut world, master) = formed(11, 3);
    let epoch = world.epoch(0);
    world.sentinels().for_each(|sentinel| world.kill(sentinel));
    world.run_for(60_000);
    assert_eq!(world.master(0), Some(master), "its replicas hold its lease");
    world.sentinels().for_each(|sentinel| world.start(sentinel));
    world.run_for(3_000);
    assert_eq!((world.master(0), world.epoch(0)), (Some(master), epoch), "nobody was blamed");
    comes_together(&mut world);
}

#[test]
fn one_deaf_sentinel_changes_nothing_for_good() {
    let (mut world, master) = formed(12, 3);
    let deaf = (world.leader() + 1) % 3;
    world.cut(master, deaf);
    world.run_for(5_000);
    assert_eq!(world.master(0), Some(master), "two sentinels still acknowledge");
    world.mend(master, deaf);
    comes_together(&mut world);
    assert_eq!(world.master(0), Some(master));
    assert!(!had(&world, Basis::RanOut) && !had(&world, Basis::Gone), "{:?}", world.promotions());
}

#[test]
fn the_leader_dies_in_the_middle() {
    for after in [20, 55, 60, 65, 80] {
        let (mut world, master) = formed(13 + after, 3);
        world.kill(master);
        world.run_for(after);
        world.kill(world.leader());
        let took = successor(&mut world, master);
        assert!(took < 3_000, "after {after} ms: {took} ms");
        world.heal();
        comes_together(&mut world);
    }
}

/// With a successor at hand from the moment at which a replica has caught up.
#[test]
fn a_replica_that_has_caught_up_joins_at_once() {
    let (mut world, master) = formed(14, 2);
    let replica = world.nodes().find(|&node| node != master).expect("a replica");
    world.kill(replica);
    world.run_for(2_000);
    world.start(replica);
    assert!(world.run_until(3_000, |world| world.is_linked(replica)));
    assert!(world.run_until(130, |world| world.in_set(replica)), "{}", world.picture());
}
