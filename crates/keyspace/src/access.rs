//! What an entry remembers of its use: when it was last used, or how often.
//!
//! An entry has 24 bits for it. Under a rule of times they are the seconds of the last use, modulo
//! half a year. Under the rule of counts they are minutes (16) and a counter (8) which grows with
//! the logarithm of the uses and shrinks with time: Redis's scheme, so that `OBJECT FREQ` and the
//! settings `lfu-log-factor` and `lfu-decay-time` mean the same.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use slotward_types::UnixMillis;

use crate::table::mix;

const MASK: u32 = 0xff_ffff;
/// The counter of a new entry: above nothing, so that it is not the first to go.
const COUNT_NEW: u8 = 5;
const NUMBER_BITS: u32 = 31;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// What a use of a key notes in its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessRule {
    /// The time of every use.
    #[default]
    LastUse,
    /// The time of every change.
    LastChange,
    /// How often it is used.
    Count {
        /// How slowly the counter grows (`lfu-log-factor`).
        log_factor: u32,
        /// Minutes after which it shrinks by one (`lfu-decay-time`); 0: never.
        decay_minutes: u32,
    },
}

/// The rule in force, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct RuleCell(AtomicU64);

impl RuleCell {
    pub(crate) fn set(&self, rule: AccessRule) {
        let word = match rule {
            AccessRule::LastUse => 0,
            AccessRule::LastChange => 1,
            AccessRule::Count { log_factor, decay_minutes } => {
                let number = |number: u32| u64::from(number) & NUMBER_MASK;
                2 | number(log_factor) << 2 | number(decay_minutes) << (2 + NUMBER_BITS)
            }
        };
        self.0.store(word, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> AccessRule {
        let word = self.0.load(Ordering::Relaxed);
        match word & 3 {
            0 => AccessRule::LastUse,
            1 => AccessRule::LastChange,
            _ => AccessRule::Count {
                log_factor: (word >> 2 & NUMBER_MASK) as u32,
                decay_minutes: (word >> (2 + NUMBER_BITS)) as u32,
            },
        }
    }
}

/// The rule at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessClock {
    rule: AccessRule,
    now: UnixMillis,
}

impl AccessClock {
    #[inline]
    pub(crate) fn new(rule: AccessRule, now: UnixMillis) -> AccessClock {
        AccessClock { rule, now }
    }

    #[inline]
    fn seconds(self) -> u32 {
        self.now.0.div_euclid(1000) as u32 & MASK
    }

    fn minutes(self) -> u16 {
        self.now.0.div_euclid(60_000) as u16
    }

    fn counted(self, count: u8) -> u32 {
        u32::from(self.minutes()) << 8 | u32::from(count)
    }

    /// What a new entry has.
    #[inline]
    pub(crate) fn fresh(self) -> u32 {
        match self.rule {
            AccessRule::LastUse | AccessRule::LastChange => self.seconds(),
            AccessRule::Count { .. } => self.counted(COUNT_NEW),
        }
    }

    /// What an entry has after it was read.
    #[inline]
    pub(crate) fn read(self, access: u32) -> u32 {
        match self.rule {
            AccessRule::LastUse => self.seconds(),
            AccessRule::LastChange => access,
            AccessRule::Count { log_factor, .. } => {
                self.counted(grown(self.count(access), log_factor))
            }
        }
    }

    /// What an entry has after it was changed.
    #[inline]
    pub(crate) fn written(self, access: u32) -> u32 {
        match self.rule {
            AccessRule::LastUse | AccessRule::LastChange => self.seconds(),
            AccessRule::Count { .. } => self.read(access),
        }
    }

    /// Seconds since the time that is noted; 0 under the rule of counts.
    pub(crate) fn idle_seconds(self, access: u32) -> u32 {
        match self.rule {
            AccessRule::Count { .. } => 0,
            _ => self.seconds().wrapping_sub(access) & MASK,
        }
    }

    /// The counter as it is by now; 0 under the rules of times.
    pub(crate) fn count(self, access: u32) -> u8 {
        let AccessRule::Count { decay_minutes, .. } = self.rule else { return 0 };
        let count = access as u8;
        if decay_minutes == 0 {
            return count;
        }
        let passed = self.minutes().wrapping_sub((access >> 8) as u16);
        count.saturating_sub(u8::try_from(u32::from(passed) / decay_minutes).unwrap_or(u8::MAX))
    }

    /// What an entry has that was idle for so long, or whose counter is given, if the rule in force
    /// keeps such a thing.
    pub(crate) fn restored(self, idle_seconds: Option<u32>, count: Option<u8>) -> u32 {
        match self.rule {
            AccessRule::Count { .. } => self.counted(count.unwrap_or(COUNT_NEW)),
            _ => self.seconds().wrapping_sub(idle_seconds.unwrap_or(0)) & MASK,
        }
    }
}

/// The counter after a use: it grows by one with a probability that falls as it grows.
fn grown(count: u8, log_factor: u32) -> u8 {
    let above = u64::from(count.saturating_sub(COUNT_NEW));
    let one_in = above * u64::from(log_factor) + 1;
    if draw().is_multiple_of(one_in) { count.saturating_add(1) } else { count }
}

/// A number that differs from use to use. It only decides how a counter grows, which no other node
/// hears of.
fn draw() -> u64 {
    thread_local! {
        static USES: Cell<u64> = const { Cell::new(0) };
    }
    USES.with(|uses| {
        uses.set(uses.get().wrapping_add(1));
        mix(uses.get())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(rule: AccessRule, minutes: i64) -> AccessClock {
        AccessClock::new(rule, UnixMillis(1_800_000_000_000 + minutes * 60_000))
    }

    const COUNTS: AccessRule = AccessRule::Count { log_factor: 10, decay_minutes: 1 };

    #[test]
    fn a_rule_survives_its_cell() {
        let cell = RuleCell::default();
        for rule in [AccessRule::LastUse, AccessRule::LastChange, COUNTS] {
            cell.set(rule);
            assert_eq!(cell.get(), rule);
        }
        let extreme =
            AccessRule::Count { log_factor: i32::MAX as u32, decay_minutes: i32::MAX as u32 };
        cell.set(extreme);
        assert_eq!(cell.get(), extreme);
    }

    #[test]
    fn times_are_of_uses_or_of_changes() {
        for (rule, idle_after_read) in [(AccessRule::LastUse, 0), (AccessRule::LastChange, 120)] {
            let access = clock(rule, 0).fresh();
            let later = clock(rule, 2);
            assert_eq!(later.idle_seconds(access), 120);
            assert_eq!(later.idle_seconds(later.read(access)), idle_after_read, "{rule:?}");
            assert_eq!(later.idle_seconds(later.written(access)), 0);
            assert_eq!(later.idle_seconds(later.restored(Some(77), None)), 77);
        }
    }

    #[test]
    fn the_counter_grows_ever_more_slowly_and_shrinks_with_time() {
        let now = clock(COUNTS, 0);
        let mut access = now.fresh();
        assert_eq!(now.count(access), 5);
        let mut after = Vec::new();
        for uses in 1..=1_000_000 {
            access = now.read(access);
            if [100, 1000, 100_000, 1_000_000].contains(&uses) {
                after.push(now.count(access));
            }
        }
        // Redis's documentation gives 10, 18, 142 and 255 for the factor 10.
        for (count, about) in after.iter().zip([10u8, 18, 142, 255]) {
            assert!(count.abs_diff(about) <= about / 4 + 3, "{after:?}");
        }
        assert_eq!(clock(COUNTS, 7).count(now.restored(None, Some(100))), 93);
        let lasting = AccessRule::Count { log_factor: 10, decay_minutes: 0 };
        assert_eq!(clock(lasting, 600).count(now.restored(None, Some(100))), 100);
    }
}
