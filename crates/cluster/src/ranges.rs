//! Sets of slots as ranges, in the one form that two equal sets share.

use std::fmt;

use serde::{Deserialize, Serialize};
use slotward_types::{InvalidSlot, Slot};

/// A set of slots: inclusive ranges, ascending, never touching.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u16)>", into = "Vec<(u16, u16)>")]
pub struct SlotRanges(Vec<(u16, u16)>);

/// A range that is not one: its end lies before its start, or it leaves `0..16384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// The end lies before the start.
    #[error("start slot number {0} is greater than end slot number {1}")]
    Reversed(u16, u16),
    /// A bound is not a slot.
    #[error(transparent)]
    Slot(#[from] InvalidSlot),
}

impl SlotRanges {
    /// No slots.
    pub const fn new() -> Self {
        SlotRanges(Vec::new())
    }

    /// Every slot.
    pub fn full() -> Self {
        SlotRanges(vec![(0, Slot::COUNT - 1)])
    }

    /// Adds the slots from `start` to `end`, both included.
    ///
    /// # Errors
    /// When that is no range of slots.
    pub fn insert_range(&mut self, start: u16, end: u16) -> Result<(), InvalidRange> {
        Slot::new(u64::from(start))?;
        Slot::new(u64::from(end))?;
        if end < start {
            return Err(InvalidRange::Reversed(start, end));
        }
        let (mut start, mut end) = (start, end);
        // Everything that overlaps or touches the new range melts into it.
        self.0.retain(|&(from, to)| {
            let apart =
                u32::from(to) + 1 < u32::from(start) || u32::from(end) + 1 < u32::from(from);
            if !apart {
                start = start.min(from);
                end = end.max(to);
            }
            apart
        });
        let at = self.0.partition_point(|&(from, _)| from < start);
        self.0.insert(at, (start, end));
        Ok(())
    }

    /// Adds one slot.
    pub fn insert(&mut self, slot: Slot) {
        self.insert_range(slot.get(), slot.get()).expect("a slot is a range of itself");
    }

    /// Adds all slots of `other`.
    pub fn extend(&mut self, other: &SlotRanges) {
        for &(start, end) in &other.0 {
            self.insert_range(start, end).expect("ranges of a set are ranges");
        }
    }

    /// Takes away all slots of `other`.
    pub fn remove(&mut self, other: &SlotRanges) {
        for &(start, end) in &other.0 {
            let before = std::mem::take(&mut self.0);
            for (from, to) in before {
                if to < start || end < from {
                    self.0.push((from, to));
                    continue;
                }
                if from < start {
                    self.0.push((from, start - 1));
                }
                if end < to {
                    self.0.push((end + 1, to));
                }
            }
        }
    }

    /// Whether the slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        let at = self.0.partition_point(|&(_, to)| to < slot.get());
        self.0.get(at).is_some_and(|&(from, _)| from <= slot.get())
    }

    /// The lowest slot that both sets hold.
    pub fn first_common(&self, other: &SlotRanges) -> Option<Slot> {
        other.slots().find(|&slot| self.contains(slot))
    }

    /// The lowest slot of `other` that this set lacks.
    pub fn first_missing(&self, other: &SlotRanges) -> Option<Slot> {
        other.slots().find(|&slot| !self.contains(slot))
    }

    /// Whether the sets have a slot in common.
    pub fn intersects(&self, other: &SlotRanges) -> bool {
        self.0.iter().any(|&(start, end)| {
            let at = other.0.partition_point(|&(_, to)| to < start);
            other.0.get(at).is_some_and(|&(from, _)| from <= end)
        })
    }

    /// Whether every slot of `other` is in this set.
    pub fn includes(&self, other: &SlotRanges) -> bool {
        other.0.iter().all(|&(start, end)| {
            let at = self.0.partition_point(|&(_, to)| to < start);
            self.0.get(at).is_some_and(|&(from, to)| from <= start && end <= to)
        })
    }

    /// The slots that both sets hold.
    #[must_use]
    pub fn common(&self, other: &SlotRanges) -> SlotRanges {
        let mut outside = self.clone();
        outside.remove(other);
        let mut common = self.clone();
        common.remove(&outside);
        common
    }

    /// The ranges, inclusive and ascending.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// The slots, ascending.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.0
            .iter()
            .flat_map(|&(from, to)| from..=to)
            .map(|number| Slot::new(u64::from(number)).expect("only slots are inserted"))
    }

    /// How many slots the set holds.
    pub fn count(&self) -> usize {
        self.0.iter().map(|&(from, to)| usize::from(to - from) + 1).sum()
    }

    /// Whether the set holds no slot.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<(u16, u16)>> for SlotRanges {
    type Error = InvalidRange;

    fn try_from(ranges: Vec<(u16, u16)>) -> Result<Self, InvalidRange> {
        let mut set = SlotRanges::new();
        for (start, end) in ranges {
            set.insert_range(start, end)?;
        }
        Ok(set)
    }
}

impl From<SlotRanges> for Vec<(u16, u16)> {
    fn from(set: SlotRanges) -> Self {
        set.0
    }
}

impl FromIterator<Slot> for SlotRanges {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = SlotRanges::new();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// As `CLUSTER NODES` writes them: `0-5460 5462`.
impl fmt::Display for SlotRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &(from, to)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            if from == to {
                write!(f, "{space}{from}")?;
            } else {
                write!(f, "{space}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_range_is_checked() {
        let mut set = SlotRanges::new();
        assert_eq!(set.insert_range(5, 4), Err(InvalidRange::Reversed(5, 4)));
        assert!(matches!(set.insert_range(0, 16_384), Err(InvalidRange::Slot(_))));
        assert!(set.is_empty(), "a refused range leaves nothing behind");
        assert_eq!(SlotRanges::full().count(), 16_384);
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u16..120, 0u16..40), 0..30)) {
            let mut ranges = SlotRanges::new();
            let mut model = BTreeSet::new();
            for (add, start, len) in steps {
                let mut piece = SlotRanges::new();
                piece.insert_range(start, start + len).unwrap();
                if add {
                    ranges.extend(&piece);
                    model.extend(start..=start + len);
                } else {
                    ranges.remove(&piece);
                    (start..=start + len).for_each(|slot| { model.remove(&slot); });
                }
            }
            let listed: Vec<u16> = ranges.slots().map(Slot::get).collect();
            prop_assert_eq!(listed, model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(ranges.count(), model.len());
            for slot in Slot::all().take(200) {
                prop_assert_eq!(ranges.contains(slot), model.contains(&slot.get()));
            }
            let mut window = SlotRanges::new();
            window.insert_range(20, 60).unwrap();
            let inside: BTreeSet<u16> = model.range(20..=60).copied().collect();
            prop_assert_eq!(ranges.intersects(&window), !inside.is_empty());
            prop_assert_eq!(window.intersects(&ranges), !inside.is_empty());
            prop_assert_eq!(ranges.includes(&window), inside.len() == 41);
            let common = ranges.common(&window);
            prop_assert_eq!(common.slots().map(Slot::get).collect::<BTreeSet<_>>(), inside);
            prop_assert!(ranges.includes(&common) && window.includes(&common));
            for pair in ranges.ranges().windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "ranges touch: {:?}", pair);
            }
        }
    }
}
