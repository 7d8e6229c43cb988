//! One random life: faults for a while, then peace, in which everything has to come together.

use slotward_cluster::Timing;
use slotward_failover::{Basis, FailoverMode, NodeEvent};
use slotward_types::Millis;

use crate::faults::Faults;
use crate::random::Random;
use crate::world::{MS, Plan, Proc, World};

/// What happened in a run, to see that it was worth it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many events.
    pub events: u64,
    /// Promotions because the master's process had ended, because its lease had run out, with its
    /// consent; confirmations; when all had restarted.
    pub promotions: [u64; 5],
    /// Clients answered.
    pub replies: u64,
    /// Partial and full synchronisations.
    pub synchronisations: [u64; 2],
}

impl Report {
    /// Adds another run's.
    pub fn add(&mut self, other: &Report) {
        self.events += other.events;
        self.replies += other.replies;
        for (sum, more) in self.promotions.iter_mut().zip(other.promotions) {
            *sum += more;
        }
        for (sum, more) in self.synchronisations.iter_mut().zip(other.synchronisations) {
            *sum += more;
        }
    }

    fn of(world: &World) -> Report {
        let count = |wanted: Basis| {
            world.promotions().iter().filter(|(_, _, basis)| *basis == wanted).count() as u64
        };
        Report {
            events: world.events,
            promotions: [
                Basis::Gone,
                Basis::RanOut,
                Basis::Consent,
                Basis::Confirmed,
                Basis::AllRestarted,
            ]
            .map(count),
            replies: world.watch.replies,
            synchronisations: [world.watch.partial, world.watch.full],
        }
    }
}

/// What the world of this seed is made of.
pub fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x5eed);
    let shards = random.one_of(&[&[2][..], &[3], &[3], &[2, 2], &[3, 2]]);
    let strict = random.chance(100);
    let timing = match random.below(5) {
        0 => Timing { lease: Millis(3000), down_after: Millis(3400), ..Timing::default() },
        1 => Timing { lease: Millis(500), down_after: Millis(600), ..Timing::default() },
        _ => Timing::default(),
    };
    let sentinels = if random.chance(100) { 5 } else { 3 };
    Plan {
        seed,
        sentinels,
        voters: sentinels,
        shards: shards.to_vec(),
        // As fast as the margin allows, exactly.
        drift_percent: u64::from(timing.drift_percent),
        timing: Timing { fencing_strict: strict, ..timing },
        repl_timeout: random.one_of(&[2_000, 6_000]) * MS,
    }
}

/// Lives the seed's life in this world.
///
/// # Errors
/// Says what was broken, or that it never came together.
pub fn live(mut world: World, seed: u64) -> Result<Report, String> {
    let mut random = Random::new(seed ^ 0xfa17);
    world.run_for(3_000 + random.below(1500));
    world.faults = Faults::of(&mut random);
    for _ in 0..6 + random.below(12) {
        mishap(&mut world, &mut random);
        world.run_for(20 + random.below(1_400));
        if world.violation().is_some() {
            break;
        }
    }
    world.heal();
    let converges = world.converges_within(60_000);
    world.check_registers();
    match world.violation() {
        Some(violation) => Err(format!("seed {seed} {violation}")),
        None if !converges => {
            Err(format!("seed {seed} never comes together:\n{}", world.picture()))
        }
        None => Ok(Report::of(&world)),
    }
}

/// The same; a failed assertion of a machine is a finding, too.
///
/// # Errors
/// Says what was broken.
pub fn live_caught(seed: u64) -> Result<Report, String> {
    caught(|| live(World::new(plan(seed)), seed)).map_err(|broken| {
        if broken.starts_with("seed") { broken } else { format!("seed {seed} {broken}") }
    })
}

/// Turns a failed assertion into an error.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("fails an assertion: {}", text.unwrap_or_default()))
    })
}

/// Something goes wrong, or is repaired.
fn mishap(world: &mut World, random: &mut Random) {
    let procs = world.procs().len() as u64;
    let proc = random.below(procs) as Proc;
    let other = random.below(procs) as Proc;
    let is_node = world.nodes().contains(&proc);
    match random.below(22) {
        0 | 1 => world.kill(proc),
        2 => world.power_off(proc),
        3..=6 if !world.alive(proc) => {
            let kept = random.one_of(&[0, 0, 900, 1000]);
            world.start_with(proc, kept);
        }
        3 if is_node => {
            // A quick restart: a supervisor's.
            world.kill(proc);
            world.start_with(proc, 0);
        }
        4 if proc != other => world.cut(proc, other),
        5 | 6 => world.freeze(proc),
        7 | 8 => world.thaw(proc),
        9 => world.isolate(proc),
        10..=12 => world.rejoin(proc),
        // The sentinels do not hear it, its replicas may; or the other way round.
        13 => world.sentinels().for_each(|sentinel| world.cut(proc, sentinel)),
        14 => world.sentinels().for_each(|sentinel| world.cut(sentinel, proc)),
        15 if is_node => {
            world.nodes().filter(|&node| node != proc).for_each(|node| world.part(proc, node))
        }
        16 => halves(world, random),
        17 => world.sentinels().for_each(|sentinel| world.kill(sentinel)),
        18 if is_node => world.tell_if_alive(proc, NodeEvent::StopWished),
        19 | 20 if is_node => {
            let mode = random.one_of(&[FailoverMode::HandOver, FailoverMode::Force]);
            world.tell_if_alive(proc, NodeEvent::FailoverWished(mode));
        }
        _ => {
            let dead: Vec<Proc> = world.procs().filter(|&proc| !world.alive(proc)).collect();
            if !dead.is_empty() {
                world.start_with(random.one_of(&dead), random.one_of(&[0, 0, 900, 1000]));
            }
        }
    }
}

/// The network falls into two halves.
fn halves(world: &mut World, random: &mut Random) {
    let side: Vec<bool> = world.procs().map(|_| random.chance(500)).collect();
    for one in world.procs() {
        for other in world.procs() {
            if side[one] != side[other] {
                world.cut(one, other);
            }
        }
    }
}
