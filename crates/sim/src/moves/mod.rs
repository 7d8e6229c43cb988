//! Slot moves under a seed: the machines of both sides, several moves at once, and everything that
//! can happen to them.
//!
//! Who is master is taken for granted here: somebody of the promotable set is promoted at any
//! moment, and the lease is its at once (that this is so in the end is the business of the rest of
//! this crate). What is on its way arrives at any time, in any order, twice or never; a node stands
//! still at any step, also between the look-up of a slot's owner and the slot's lock.
//!
//! Checked at every step: only the owner executes for a slot; it has every acknowledged write of it
//! (without in-sync mode: unless a failover left it behind with its tail); what is acknowledged was
//! executed by the owner; no staged copy shows before its commit. In the end: every move has ended,
//! nothing is left staged, replicas equal their masters, every slot is served.

mod check;
mod node;
#[cfg(test)]
mod scenarios;
mod world;

pub use world::Report;

use std::panic::{AssertUnwindSafe, catch_unwind};

use slotward_cluster::{MoveId, ShardId};
use slotward_failover::{Entry, Plant};

use crate::Random;
use world::{SLOTS, World, index_of};

/// How many things happen before the faults stop.
const STEPS: u64 = 600;

/// How many rounds without faults may pass until everything has come together.
const ROUNDS_MAX: u32 = 600;

/// The bugs that this part of the simulator is to notice.
pub const PLANTS: &[Plant] = &[
    Plant::MoveSourceResumes,
    Plant::MoveCommitWithoutEpochs,
    Plant::MoveCommitWithoutId,
    Plant::MoveSetNotAwaited,
    Plant::MoveLateBegunWipes,
    Plant::MoveStreamUnchecked,
    Plant::MoveOwnerBeforeLock,
    Plant::MoveReplyOfOlderEpoch,
];

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64) -> Result<Report, String> {
    guarded(|| {
        let mut random = Random::new(seed);
        let mut world = world_of(&mut random);
        walk(&mut world, &mut random);
        finish(&mut world)
    })
}

/// What happens in the run of one seed, line by line, and how it ends.
pub fn trace(seed: u64) -> (Vec<String>, Result<Report, String>) {
    let mut random = Random::new(seed);
    let mut world = world_of(&mut random);
    world.trace = Some(Vec::new());
    let outcome = guarded(|| {
        walk(&mut world, &mut random);
        finish(&mut world)
    });
    (world.trace.unwrap_or_default(), outcome)
}

/// An assertion that fails is a promise broken like any other.
fn guarded(run: impl FnOnce() -> Result<Report, String>) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("assertion: {}", text.unwrap_or_default()))
    })
}

fn world_of(random: &mut Random) -> World {
    let shards = random.one_of(&[2, 2, 3]);
    let per_shard = random.one_of(&[2, 3]);
    World::new(shards, per_shard, random.chance(500))
}

/// Faults off: now it has to come together.
fn finish(world: &mut World) -> Result<Report, String> {
    if world.violation.is_none() {
        world.heal();
        let mut rounds = 0;
        while let Some(what) = world.unsettled() {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                world.violated(what);
                break;
            }
            let shards: Vec<ShardId> = world.truth.shards.keys().copied().collect();
            for shard in shards {
                world.replace_lost_master(shard);
                world.keep_set(shard, None);
            }
            world.round(&|_| false);
        }
        world.check_all();
    }
    world.finish();
    match world.violation.take() {
        None => Ok(world.report),
        Some(what) => Err(what),
    }
}

fn walk(world: &mut World, random: &mut Random) {
    // Some runs are so wild that hardly a move gets through, others calm.
    let calm = random.one_of(&[0, 500, 900, 970]);
    for _ in 0..20 {
        world.round(&|_| false);
    }
    for _ in 0..STEPS {
        happen(world, random, calm);
        if world.violation.is_some() {
            return;
        }
    }
}

/// One thing happens.
fn happen(world: &mut World, random: &mut Random, calm: u64) {
    let any_node =
        |world: &World, random: &mut Random| random.below(world.nodes.len() as u64) as usize;
    let what = random.below(1000);
    let what = if what >= 965 && random.chance(calm) { what % 550 } else { what };
    match what {
        0..550 => arrive(world, random),
        550..680 => {
            let (node, most) = (any_node(world, random), 1 + random.below(4) as usize);
            world.pull(node, most);
        }
        680..790 => {
            let streams: Vec<(usize, MoveId)> = (0..world.nodes.len())
                .flat_map(|node| world.nodes[node].streams.keys().map(move |&id| (node, id)))
                .collect();
            if !streams.is_empty() {
                let (node, id) = random.one_of(&streams);
                world.pump(node, id, 1 + random.below(4) as usize);
            }
        }
        790..870 => {
            let most = if random.chance(20) { 400 } else { 12 };
            world.now += random.below(most);
            let node = any_node(world, random);
            world.tick(node);
        }
        870..945 => {
            let slot = random.below(u64::from(SLOTS)) as u16;
            let owner = world.master_of(world.owner_of(slot));
            let node = if random.chance(800) { owner } else { any_node(world, random) };
            world.write(node, slot);
        }
        945..965 => begin(world, random),
        965..969 => {
            let running: Vec<MoveId> = world.truth.moves.running.keys().copied().collect();
            if !running.is_empty() {
                let id = random.one_of(&running);
                world.flights.push(world::Flight::Propose(Entry::CancelMove { id }));
            }
        }
        969..978 => {
            let shard = any_shard(world, random);
            let set: Vec<usize> = promotable(world, shard);
            let to = random.one_of(&set);
            world.fail_over(shard, to);
        }
        978..986 => {
            let node = any_node(world, random);
            let shard = world.nodes[node].shard;
            let out = random.chance(300).then_some(node);
            world.keep_set(shard, out);
        }
        986..993 => {
            let node = any_node(world, random);
            world.nodes[node].frozen = !world.nodes[node].frozen;
        }
        _ => die_or_start(world, random),
    }
}

fn any_shard(world: &World, random: &mut Random) -> ShardId {
    let shards: Vec<ShardId> = world.truth.shards.keys().copied().collect();
    random.one_of(&shards)
}

/// Who could be promoted: at least one always can.
fn promotable(world: &World, shard: ShardId) -> Vec<usize> {
    let members = world.truth.shards[&shard].promotable.members.iter();
    members
        .map(|member| (index_of(member.node), *member))
        .filter(|&(index, member)| world.nodes[index].up && world.nodes[index].member == member)
        .map(|(index, _)| index)
        .collect()
}

fn begin(world: &mut World, random: &mut Random) {
    let (source, target) = (any_shard(world, random), any_shard(world, random));
    let owned: Vec<u16> = (0..SLOTS).filter(|&slot| world.owner_of(slot) == source).collect();
    let slots: Vec<u16> = owned.into_iter().filter(|_| random.chance(500)).collect();
    if source != target && !slots.is_empty() {
        world.begin(&slots, source, target);
    }
}

/// Something on its way arrives, mostly in order; or twice, or never.
fn arrive(world: &mut World, random: &mut Random) {
    if world.flights.is_empty() {
        return;
    }
    let count = world.flights.len() as u64;
    let at = if random.chance(100) { random.below(count) } else { random.below(count.min(4)) };
    let at = at as usize;
    if world.flights[at].to().is_some_and(|to| world.nodes[to].frozen) {
        // It waits for the node, and others do not wait for it.
        let flight = world.flights.remove(at);
        world.flights.push(flight);
        return;
    }
    if random.chance(60) {
        let flight = world.flights.remove(at);
        world.flights.push(flight);
        return;
    }
    let lossy = world.flights[at].is_message();
    let flight = if lossy && random.chance(15) {
        world.flights[at].clone()
    } else {
        world.flights.remove(at)
    };
    if !(lossy && random.chance(10)) {
        world.deliver(flight);
    }
}

/// A process ends, if its shard can bear that, or begins again: with all of its log, some, or none.
fn die_or_start(world: &mut World, random: &mut Random) {
    let node = random.below(world.nodes.len() as u64) as usize;
    if !world.nodes[node].up {
        let all = world.nodes[node].log.len() as u64;
        let keep = random.one_of(&[0, all, all]).min(all);
        let keep = if random.chance(300) { random.below(keep + 1) } else { keep };
        return world.restart(node, keep as usize);
    }
    let shard = world.nodes[node].shard;
    if promotable(world, shard).iter().any(|&other| other != node) {
        world.crash(node);
        if random.chance(700) {
            world.replace_lost_master(shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise_and_are_interesting() {
        let mut total = Report::default();
        for seed in 0..400 {
            let report = run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            total.begun += report.begun;
            total.committed += report.committed;
            total.failovers += report.failovers;
            total.acknowledged += report.acknowledged;
            total.lost_with_tail += report.lost_with_tail;
        }
        assert!(total.begun > 1_000 && total.committed > 300, "dull: {total:?}");
        assert!(total.failovers > 500 && total.acknowledged > 3_000, "dull: {total:?}");
        assert!(total.lost_with_tail > 0, "nothing was ever left behind: {total:?}");
    }

    #[test]
    fn a_seed_says_it_all() {
        assert_eq!(run(11), run(11));
        assert_eq!(trace(11).1, run(11));
        assert!(!trace(11).0.is_empty());
    }
}
