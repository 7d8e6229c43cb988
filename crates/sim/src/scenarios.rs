//! What breaks without each rule, told by hand: the real machines survive every story, and the
//! broken variant does not.
//!
//! A story takes the world through one exact interleaving and says what went wrong. Those that
//! random lives find quickly are in `tests/plants.rs`; these need steps that chance rarely takes.

use slotward_cluster::{ShardId, Timing};
use slotward_failover::{
    Basis, Entry, FailoverMode, FailoverRequest, NodeEvent, Outcome, Plant, Prepare, SentinelEvent,
    SentinelId, ToNode, plant,
};
use slotward_types::Millis;

use crate::world::{Plan, Proc, World};

type Verdict = Result<(), String>;

/// A story, the broken variant that does not survive it, and its name in docs/failover.md.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The rule taken away.
    pub breaks: Plant,
    /// What happens.
    pub story: fn(&mut World) -> Verdict,
    /// In which world.
    pub plan: fn(u64) -> Plan,
}

const fn of_three(name: &'static str, breaks: Plant, story: fn(&mut World) -> Verdict) -> Scenario {
    Scenario { name, breaks, story, plan: |seed| Plan::one_shard(seed, 3) }
}

const fn of_two(name: &'static str, breaks: Plant, story: fn(&mut World) -> Verdict) -> Scenario {
    Scenario { name, breaks, story, plan: |seed| Plan::one_shard(seed, 2) }
}

/// All stories.
pub const SCENARIOS: &[Scenario] = &[
    of_three("volatile_revocation", Plant::RevocationNotDurable, volatile_revocation),
    of_three("what_a_sentinel_revoked_it_remembers", Plant::AckRevoked, revoked_and_restarted),
    of_three("older_than_revoked_is_revoked", Plant::NotEqualForGreater, older_than_revoked),
    of_three("lease_counted_from_receipt", Plant::LeaseFromReceipt, late_acknowledgement),
    of_three("sentinel_restarts_without_waiting", Plant::SentinelStartsFree, sentinel_restarts),
    of_three("replica_restarts_without_waiting", Plant::ReplicaStartsFree, replica_restarts),
    Scenario {
        name: "voters_change",
        breaks: Plant::VotersChangeAtOnce,
        story: voters_change,
        plan: |seed| Plan { sentinels: 5, voters: 3, ..Plan::one_shard(seed, 3) },
    },
    of_three("acknowledgements_run_out_first", Plant::NoLeaseWait, forced_too_early),
    of_two("stale_decision", Plant::NoMembershipTest, stale_decision),
    of_two("set_changes_crossed", Plant::NoVersionTest, set_changes_crossed),
    of_three("empty_member_by_name", Plant::MemberByName, empty_member),
    of_three("confirmed_by_offset", Plant::ConfirmedByOffset, confirmed_by_offset),
    of_three("longest_is_not_newest", Plant::LongestWins, longest_is_not_newest),
    of_three("old_master_dropped_at_once", Plant::OldMasterDropped, old_master_dropped),
    of_three("own_promises_waited_out", Plant::NoPromiseWait, only_replicas_hear),
    of_three("older_promise_waived", Plant::OlderPromiseWaived, older_promise),
    of_three("prepared_for_ever", Plant::PreparedForEver, prepared_for_ever),
    of_three("consent_withdrawn", Plant::ConsentWithdrawn, consent_withdrawn),
    of_three("inherited_high_water", Plant::InheritedHighWater, inherited_high_water),
    of_three("copy_dropped_first", Plant::CopyDroppedFirst, copy_dropped_first),
    of_three("check_freeze_reply", Plant::ReplyWithoutTest, check_freeze_reply),
    Scenario {
        name: "lease_outlives_stream",
        breaks: Plant::LeaseOutlivesStream,
        story: lease_outlives_stream,
        plan: |seed| Plan {
            timing: Timing { lease: Millis(3000), down_after: Millis(3400), ..Timing::default() },
            ..Plan::one_shard(seed, 3)
        },
    },
];

impl Scenario {
    /// Tells the story, with or without the bug.
    ///
    /// # Errors
    /// Says what broke.
    pub fn run(&self, seed: u64, broken: bool, tell: Option<fn(&str)>) -> Result<(), String> {
        plant(broken.then_some(self.breaks));
        let mut world = World::new((self.plan)(seed));
        if let Some(tell) = tell {
            world.tell(tell);
        }
        if !world.converges_within(20_000) {
            plant(None);
            return Err(format!("no shard forms:\n{}", world.picture()));
        }
        world.run_for(1_000);
        let told = (self.story)(&mut world);
        world.check_registers();
        plant(None);
        match world.violation() {
            Some(violation) => Err(violation.to_owned()),
            None => told,
        }
    }
}

// --- what stories are made of

fn master(world: &World) -> Proc {
    world.master(0).expect("the shard has formed")
}

fn replicas(world: &World, master: Proc) -> Vec<Proc> {
    world.nodes().filter(|&node| node != master).collect()
}

/// The leader, and the other two.
fn sentinels(world: &World) -> (Proc, Proc, Proc) {
    let leader = world.leader();
    (leader, (leader + 1) % 3, (leader + 2) % 3)
}

fn shard(world: &World) -> ShardId {
    *world.topology().shards.keys().next().expect("the shard has formed")
}

fn expect(holds: bool, what: &str) -> Verdict {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Everything is repaired, and has to come together.
fn comes_together(world: &mut World) -> Verdict {
    world.heal();
    let together = world.converges_within(30_000);
    if together { Ok(()) } else { Err(format!("never comes together:\n{}", world.picture())) }
}

fn prepare(world: &mut World, from: Proc, node: Proc) {
    let prepare = Prepare { shard: shard(world), epoch: world.epoch(0).next(), catch_up: None };
    let from = SentinelId(from as u64);
    world.tell_node(node, NodeEvent::FromSentinel(from, ToNode::Prepare(prepare)));
}

fn promote(world: &mut World, to: Proc, basis: Basis) -> Outcome {
    let topology = world.topology().clone();
    let known = topology.shards.values().next().expect("the shard has formed");
    let to = world.run_of(to);
    world.append(&Entry::Promote { shard: known.id, epoch: known.epoch, to, basis, cut: None })
}

// --- rule 1

/// Two sentinels revoke and vote; one restarts; the master's heartbeat reaches it and the third;
/// the leader still holds its vote.
fn volatile_revocation(world: &mut World) -> Verdict {
    let m = master(world);
    let (leader, a, b) = sentinels(world);
    for replica in replicas(world, m) {
        world.part(m, replica);
        world.cut(replica, leader);
    }
    world.part(m, leader);
    world.part(m, a);
    // A slow disk: the vote of the broken sentinel is out before.
    world.faults.disk_max = 1;
    world.stall_disk(a, 4_000);
    world.run_for(2_500);
    expect(world.master(0).is_none(), "one sentinel is no lease")?;
    world.kill(a);
    world.start(a);
    world.rejoin(a);
    world.run_for(200);
    // Bad news travels slowly.
    [a, b].into_iter().for_each(|sentinel| world.slow(sentinel, m, 600));
    for replica in replicas(world, m) {
        world.mend(replica, leader);
    }
    world.run_for(1_500);
    comes_together(world)
}

/// Sentinels that have revoked an epoch restart and hear its master again, but not yet each other.
fn revoked_and_restarted(world: &mut World) -> Verdict {
    let m = master(world);
    replicas(world, m).into_iter().for_each(|replica| world.freeze(replica));
    world.sentinels().for_each(|sentinel| world.part(m, sentinel));
    world.run_for(2_000);
    expect(world.master(0).is_none(), "nobody acknowledges")?;
    for sentinel in world.sentinels() {
        world.kill(sentinel);
        world.start(sentinel);
        world.mend(m, sentinel);
        world.mend(sentinel, m);
        world.sentinels().filter(|&other| other != sentinel).for_each(|o| world.cut(sentinel, o));
    }
    world.run_for(2_000);
    expect(world.master(0).is_none(), "it resumes in a revoked epoch")?;
    comes_together(world)?;
    let confirmed = world.promotions().iter().any(|(_, _, basis)| *basis == Basis::Confirmed);
    expect(confirmed, "the master is never confirmed")
}

/// A master of epoch 1 comes back to sentinels that have revoked epoch 2 and do not remember the
/// log's last entries.
fn older_than_revoked(world: &mut World) -> Verdict {
    let m = master(world);
    world.isolate(m);
    world.run_until(6_000, |world| world.master(0).is_some_and(|now| now != m));
    let new = master(world);
    world.run_for(500);
    world.freeze(new);
    replicas(world, m).into_iter().for_each(|node| world.freeze(node));
    world.run_for(2_000);
    for one in world.sentinels() {
        world.kill(one);
        for other in world.sentinels() {
            world.part(one, other);
        }
    }
    for sentinel in world.sentinels() {
        world.start_behind(sentinel, 3);
        world.mend(m, sentinel);
        world.mend(sentinel, m);
    }
    world.run_for(1_000);
    comes_together(world)
}

// --- rule 2

/// The acknowledgement of an old heartbeat arrives late.
fn late_acknowledgement(world: &mut World) -> Verdict {
    let m = master(world);
    replicas(world, m).into_iter().for_each(|node| world.cut(node, m));
    world.sentinels().for_each(|sentinel| world.slow(sentinel, m, 300));
    world.run_for(290);
    world.freeze(m);
    world.run_until(6_000, |world| world.master(0).is_some_and(|now| now != m));
    world.thaw(m);
    world.run_for(50);
    comes_together(world)
}

/// A sentinel restarts while a master counts on what it acknowledged, and somebody forces a
/// failover.
fn sentinel_restarts(world: &mut World) -> Verdict {
    let m = master(world);
    let (leader, a, b) = sentinels(world);
    world.part(m, leader);
    replicas(world, m).into_iter().for_each(|node| world.part(m, node));
    world.run_for(1_500);
    expect(world.master(0) == Some(m), "two sentinels still acknowledge")?;
    world.part(m, a);
    world.power_off(a);
    world.start(a);
    world.run_for(5);
    world.slow(b, m, 1_000);
    let (shard, epoch) = (shard(world), world.epoch(0));
    let request = FailoverRequest { shard, epoch, to: None, mode: FailoverMode::Force };
    world.tell_sentinel(leader, SentinelEvent::FailoverWished(request));
    world.run_for(1_500);
    comes_together(world)
}

/// A replica that has promised a master to wait restarts, joins the next master's set, and is
/// promoted by the fast path while the first one's lease still runs.
fn replica_restarts(world: &mut World) -> Verdict {
    let m = master(world);
    world.sentinels().for_each(|sentinel| world.part(m, sentinel));
    let began = world.epoch(0);
    world.run_until(4_000, |world| world.epoch(0) > began);
    let b = world.appointed(0);
    let c = world.nodes().find(|&node| node != b && node != m).expect("three nodes");
    world.kill(c);
    world.start(c);
    world.run_until(800, |world| world.in_set(c) && world.is_linked(c));
    world.kill(b);
    world.run_for(400);
    comes_together(world)
}

/// The replicas' promises are over, two sentinels acknowledge the master to the last moment; then
/// somebody forces a failover.
fn forced_too_early(world: &mut World) -> Verdict {
    let m = master(world);
    let leader = world.leader();
    replicas(world, m).into_iter().for_each(|node| world.part(m, node));
    world.part(m, leader);
    world.run_for(1_500);
    expect(world.master(0) == Some(m), "two sentinels still acknowledge")?;
    let (shard, epoch) = (shard(world), world.epoch(0));
    let request = FailoverRequest { shard, epoch, to: None, mode: FailoverMode::Force };
    // Bad news travels slowly.
    world.sentinels().for_each(|sentinel| world.slow(sentinel, m, 600));
    world.tell_sentinel(leader, SentinelEvent::FailoverWished(request));
    world.run_for(4_000);
    comes_together(world)
}

/// Two of three voters acknowledge the master; then the third and two new ones are a majority.
fn voters_change(world: &mut World) -> Verdict {
    let m = master(world);
    let leader = world.leader();
    expect(leader == 0, "the first leads")?;
    for deaf in [0, 3, 4] {
        world.part(m, deaf);
    }
    replicas(world, m).into_iter().for_each(|replica| world.part(m, replica));
    world.run_for(2_500);
    expect(world.master(0) == Some(m), "two of three voters still acknowledge")?;
    world.set_voters(5);
    [0, 3, 4].into_iter().for_each(|sentinel| world.regroup(sentinel));
    [1, 2].into_iter().for_each(|sentinel| world.slow(sentinel, m, 700));
    world.run_for(500);
    world.sentinels().for_each(|sentinel| world.regroup(sentinel));
    world.run_for(2_000);
    comes_together(world)
}

// --- rule 3

/// The leader decides for the replica; "remove the replica" is appended first and the master
/// acknowledges alone; then the promotion is appended.
fn stale_decision(world: &mut World) -> Verdict {
    let m = master(world);
    let replica = replicas(world, m)[0];
    world.part(m, replica);
    world.run_until(4_000, |world| !world.in_set(replica));
    world.run_for(300);
    promote(world, replica, Basis::RanOut);
    world.run_for(1_000);
    comes_together(world)
}

/// "Add the replica" was proposed before "remove it" and is appended after it; then the master is
/// cut off, with writes that it acknowledged alone.
fn set_changes_crossed(world: &mut World) -> Verdict {
    let m = master(world);
    let replica = replicas(world, m)[0];
    let before = world.topology().shards.values().next().expect("it has formed").clone();
    world.part(m, replica);
    world.run_until(4_000, |world| !world.in_set(replica));
    world.run_for(500);
    world.append(&Entry::SetPromotable {
        shard: before.id,
        epoch: before.epoch,
        version: before.promotable.version,
        by: before.master,
        members: before.promotable.members,
    });
    world.isolate(m);
    world.run_for(4_000);
    comes_together(world)
}

// --- rule 4

/// A replica of the set restarts empty, and is the only one that can be reached.
fn empty_member(world: &mut World) -> Verdict {
    let m = master(world);
    let nodes = replicas(world, m);
    world.isolate(m);
    world.isolate(nodes[1]);
    world.kill(nodes[0]);
    world.start(nodes[0]);
    world.run_for(5_000);
    comes_together(world)
}

/// The master restarts and lacks what it acknowledged last; the sentinels' last news of the replicas
/// is older than that.
fn confirmed_by_offset(world: &mut World) -> Verdict {
    let m = master(world);
    for replica in replicas(world, m) {
        world.sentinels().for_each(|sentinel| world.part(replica, sentinel));
    }
    world.run_for(1_000);
    world.isolate_all(&replicas(world, m));
    let len = world.data_len(m) as u64;
    world.kill(m);
    world.start_with(m, (len - 40) * 1000 / len);
    world.run_for(4_000);
    comes_together(world)
}

// --- rule 5

/// All of the set restart with their data; somebody outside it has a longer log of an older epoch.
fn longest_is_not_newest(world: &mut World) -> Verdict {
    let m = master(world);
    let nodes = replicas(world, m);
    let (b, c) = (nodes[0], nodes[1]);
    world.idle = true;
    world.run_for(200);
    for cut_off in [m, c] {
        world.part(cut_off, b);
        world.sentinels().for_each(|sentinel| world.part(cut_off, sentinel));
    }
    world.idle = false;
    world.run_for(900);
    world.idle = true;
    let alone = |world: &World| world.master(0) == Some(b) && !world.in_set(c) && !world.in_set(m);
    expect(world.run_until(8_000, alone), "the reachable one is promoted")?;
    world.idle = false;
    world.run_for(150);
    world.idle = true;
    world.run_for(200);
    let acknowledged = world.watch.acknowledged(0);
    expect(world.history_includes(b, acknowledged), "it has what it acknowledged")?;
    expect(world.data_len(c) > world.data_len(b), "the older log is longer")?;
    world.kill(b);
    world.sentinels().for_each(|sentinel| {
        world.mend(c, sentinel);
        world.mend(sentinel, c);
    });
    world.run_for(500);
    world.start_with(b, 1000);
    expect(world.run_until(8_000, |world| world.master(0).is_some()), "somebody serves again")?;
    let serving = master(world);
    expect(world.history_includes(serving, acknowledged), "what was acknowledged last is lost")?;
    comes_together(world)
}

/// The candidate dies before it serves; the other replica has restarted.
fn old_master_dropped(world: &mut World) -> Verdict {
    let m = master(world);
    let began = world.epoch(0);
    world.sentinels().for_each(|sentinel| world.part(m, sentinel));
    world.run_until(4_000, |world| world.epoch(0) > began);
    let b = world.appointed(0);
    let c = world.nodes().find(|&node| node != b && node != m).expect("three nodes");
    world.power_off(b);
    world.kill(c);
    world.start(c);
    world.run_until(3_000, |world| world.master(0).is_none());
    world.rejoin(m);
    expect(
        world.run_until(8_000, |world| world.master(0) == Some(m)),
        "the old master lives with all data, and nobody serves",
    )?;
    comes_together(world)
}

// --- rule 6

/// Only its replicas hear the master: they hold its lease.
fn only_replicas_hear(world: &mut World) -> Verdict {
    let m = master(world);
    world.sentinels().for_each(|sentinel| world.part(m, sentinel));
    world.run_for(5_000);
    comes_together(world)
}

/// The successor dies while it still waits; the next one has promised the first master, too.
fn older_promise(world: &mut World) -> Verdict {
    let m = master(world);
    let began = world.epoch(0);
    world.sentinels().for_each(|sentinel| world.part(m, sentinel));
    world.run_until(4_000, |world| world.epoch(0) > began);
    let b = world.appointed(0);
    let c = world.nodes().find(|&node| node != b && node != m).expect("three nodes");
    world.run_until(400, |world| world.is_linked(c));
    world.run_for(20);
    world.kill(b);
    world.run_for(600);
    comes_together(world)
}

// --- rule 7

/// All replicas have promised the next epoch to a leader that is no more.
fn prepared_for_ever(world: &mut World) -> Verdict {
    let m = master(world);
    let leader = world.leader();
    for replica in replicas(world, m) {
        prepare(world, leader, replica);
    }
    world.run_for(3_000);
    comes_together(world)
}

/// A master consents, nothing comes of it for a while, then the promotion arrives.
fn consent_withdrawn(world: &mut World) -> Verdict {
    let m = master(world);
    let to = replicas(world, m)[0];
    let leader = world.leader();
    world.freeze(leader);
    prepare(world, leader, m);
    world.run_for(25);
    prepare(world, leader, to);
    world.run_for(5);
    world.sentinels().for_each(|sentinel| world.cut(sentinel, m));
    promote(world, to, Basis::Consent);
    world.run_for(900);
    comes_together(world)
}

// --- rule 8

/// A new master whose replica cannot follow acknowledges what only it has, and dies.
fn inherited_high_water(world: &mut World) -> Verdict {
    let m = master(world);
    let nodes = replicas(world, m);
    world.part(nodes[0], nodes[1]);
    world.kill(m);
    world.run_until(3_000, |world| world.master(0).is_some());
    world.run_for(500);
    let new = master(world);
    world.power_off(new);
    world.run_for(4_000);
    comes_together(world)
}

// --- rule 9

/// A member of the set begins a full synchronisation, the new master dies in the middle, and the
/// member is the only one left.
fn copy_dropped_first(world: &mut World) -> Verdict {
    let m = master(world);
    let nodes = replicas(world, m);
    let (b, c) = (nodes[0], nodes[1]);
    for cut_off in [m, c] {
        world.part(cut_off, b);
        world.sentinels().for_each(|sentinel| world.part(cut_off, sentinel));
    }
    expect(world.run_until(8_000, |world| world.master(0) == Some(b)), "b is promoted")?;
    world.rejoin(c);
    world.isolate(m);
    expect(world.run_until(1_000, |world| world.is_syncing(c)), "c needs a copy")?;
    world.run_for(20);
    expect(world.in_set(c), "c is still of the set")?;
    world.power_off(b);
    world.run_for(5_000);
    comes_together(world)
}

// --- rule 10

/// The master executes, freezes, another is promoted and serves; it thaws and would say OK.
fn check_freeze_reply(world: &mut World) -> Verdict {
    expect(world.run_until(2_000, World::is_between), "somebody writes")?;
    let m = master(world);
    world.freeze(m);
    let another = |world: &World| world.master(0).is_some_and(|now| now != m);
    expect(world.run_until(6_000, another), "another is promoted")?;
    world.thaw(m);
    world.run_for(50);
    comes_together(world)
}

/// A master that hears nobody any more closes its streams, and a link, while its lease runs; to all
/// others that looks like its end.
fn lease_outlives_stream(world: &mut World) -> Verdict {
    let m = master(world);
    for other in world.procs().filter(|&other| other != m) {
        world.cut(other, m);
    }
    world.run_for(1_500);
    for replica in replicas(world, m) {
        world.close_link_to(m, replica);
    }
    world.run_for(2_000);
    comes_together(world)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_survived_and_breaks_without_its_rule() {
        for scenario in SCENARIOS {
            for seed in 0..5 {
                if let Err(broken) = scenario.run(seed, false, None) {
                    panic!("{} (seed {seed}): {broken}", scenario.name);
                }
            }
            let found =
                (0..5).any(|seed| crate::life::caught(|| scenario.run(seed, true, None)).is_err());
            assert!(found, "{:?} goes unnoticed in {}", scenario.breaks, scenario.name);
        }
    }
}
