//! Whether what clients saw of one key could have happened to a single register.
//!
//! Every write has a value of its own, which makes that a question of intervals: all operations on
//! one value form its zone, from the first end of any of them to the last beginning. A zone whose
//! first end lies before its last beginning occupies that time: no two of these overlap, and no
//! other value may live wholly inside one (Gibbons and Korach).

use std::collections::BTreeMap;

/// An operation that ended, or a write of which nobody knows whether it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// The value written or read; 0 is what was there at the beginning.
    pub(crate) value: u64,
    pub(crate) is_write: bool,
    pub(crate) began: u64,
    /// Without end if nobody was answered.
    pub(crate) ended: u64,
}

#[derive(Debug, Clone, Copy)]
struct Zone {
    value: u64,
    first_end: u64,
    last_begin: u64,
}

impl Zone {
    /// It occupies the time between: at its first end the value was there, at its last beginning it
    /// still (or again) was.
    fn is_solid(&self) -> bool {
        self.first_end < self.last_begin
    }
}

/// Says what is wrong, if something is.
pub(crate) fn check(calls: &[Call]) -> Result<(), String> {
    let mut zones: BTreeMap<u64, Zone> = BTreeMap::new();
    let mut written: BTreeMap<u64, u64> = BTreeMap::from([(0, 0)]);
    let start = Zone { value: 0, first_end: 0, last_begin: 0 };
    zones.insert(0, start);
    for call in calls.iter().filter(|call| call.is_write) {
        written.insert(call.value, call.began);
    }
    for call in calls {
        let Some(&began) = written.get(&call.value) else {
            return Err(format!("value {} was read and never written", call.value));
        };
        if call.ended < began {
            return Err(format!("value {} was read before it was written", call.value));
        }
        let (first_end, last_begin) = (call.ended, call.began);
        let new = Zone { value: call.value, first_end, last_begin };
        let zone = zones.entry(call.value).or_insert(new);
        zone.first_end = zone.first_end.min(call.ended);
        zone.last_begin = zone.last_begin.max(call.began);
    }
    let (mut solid, fleeting): (Vec<Zone>, Vec<Zone>) =
        zones.into_values().partition(Zone::is_solid);
    solid.sort_unstable_by_key(|zone| zone.first_end);
    for pair in solid.windows(2) {
        if pair[1].first_end < pair[0].last_begin {
            return Err(format!(
                "values {} and {} were both there, in turns",
                pair[0].value, pair[1].value
            ));
        }
    }
    for zone in fleeting {
        let index = solid.partition_point(|solid| solid.first_end < zone.last_begin);
        if index > 0 && zone.first_end < solid[index - 1].last_begin {
            let over = solid[index - 1].value;
            return Err(format!("value {} came and went while {over} was there", zone.value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u64, began: u64, ended: u64) -> Call {
        Call { value, is_write: true, began, ended }
    }

    fn read(value: u64, began: u64, ended: u64) -> Call {
        Call { value, is_write: false, began, ended }
    }

    #[test]
    fn what_one_register_could_have_done() {
        for (why, calls, fine) in [
            ("nothing", vec![], true),
            ("what was written is read", vec![write(1, 10, 20), read(1, 30, 40)], true),
            ("a lost write", vec![write(1, 10, 20), read(0, 30, 40)], false),
            ("a stale read", vec![write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)], false),
            (
                "two at once, either may be last",
                vec![write(1, 10, 30), write(2, 20, 40), read(1, 50, 60)],
                true,
            ),
            (
                "seen new, then old",
                vec![write(1, 1, 2), write(2, 10, u64::MAX), read(2, 20, 30), read(1, 40, 50)],
                false,
            ),
            ("unanswered and never seen", vec![write(1, 10, u64::MAX), read(0, 50, 60)], true),
            ("unanswered and seen", vec![write(1, 10, u64::MAX), read(1, 50, 60)], true),
            ("out of nowhere", vec![read(7, 1, 2)], false),
            ("before it was written", vec![read(1, 1, 2), write(1, 5, 6)], false),
            (
                "an overwritten value is not back",
                vec![write(1, 1, 2), write(2, 3, 4), read(2, 5, 6), write(3, 5, 20), read(1, 7, 8)],
                false,
            ),
        ] {
            assert_eq!(check(&calls).is_ok(), fine, "{why}: {:?}", check(&calls));
        }
    }
}
