//! Random lives: nothing promised is ever broken, and every rule taken away is noticed.

use slotward_failover::{Plant, plant};
use slotward_sim::{Report, SCENARIOS, live_caught};

/// Slot moves have a world, and plants, of their own.
const MOVES: u32 = 11;

#[test]
fn whatever_happens_one_master_at_a_time_and_it_heals() {
    let mut all = Report::default();
    for seed in 0..300 {
        match live_caught(seed) {
            Ok(report) => all.add(&report),
            Err(broken) => panic!("{broken}\nto see it: cargo xtask sim --seed {seed}"),
        }
    }
    let [gone, ran_out, consent, confirmed, restarted] = all.promotions;
    let least = [gone, ran_out, consent, confirmed, restarted].into_iter().min();
    assert!(least > Some(5) && all.synchronisations[0] > 100, "dull: {all:?}");
}

/// Those that no directed story is about.
#[test]
fn seeds_find_the_other_plants() {
    let told = |bug: &Plant| SCENARIOS.iter().any(|scenario| scenario.breaks == *bug);
    let others = Plant::ALL.iter().filter(|bug| !told(bug) && bug.rule() != MOVES);
    for &bug in others {
        plant(Some(bug));
        let found = (0..2_000).find_map(|seed| live_caught(seed).err());
        plant(None);
        assert!(found.is_some(), "{bug:?} goes unnoticed");
    }
}

#[test]
fn a_seed_tells_the_same_story_again() {
    let events = |seed| live_caught(seed).map(|report| report.events);
    for seed in [3, 14, 159] {
        assert_eq!(events(seed), events(seed), "seed {seed}");
    }
}
