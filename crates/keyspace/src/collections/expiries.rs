//! When the fields of a hash end.

use std::collections::{BTreeMap, BTreeSet};

use slotward_types::UnixMillis;

/// The ends of those fields that have one, found by field and by time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expiries {
    by_field: BTreeMap<Box<[u8]>, i64>,
    by_time: BTreeSet<(i64, Box<[u8]>)>,
    /// What the fields' names take, in both.
    name_bytes: usize,
}

/// What an entry of both maps takes besides the name, roughly: two pointers with lengths, two
/// numbers, and the unused part of the maps' nodes.
const ENTRY_BYTES: usize = 2 * (size_of::<(i64, Box<[u8]>)>() * 3 / 2);

impl Expiries {
    pub(crate) fn len(&self) -> usize {
        self.by_field.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.name_bytes + self.len() * ENTRY_BYTES
    }

    pub(crate) fn get(&self, field: &[u8]) -> Option<UnixMillis> {
        self.by_field.get(field).copied().map(UnixMillis)
    }

    /// The earliest end.
    pub(crate) fn first(&self) -> Option<UnixMillis> {
        self.by_time.first().map(|(at, _)| UnixMillis(*at))
    }

    /// The latest end.
    pub(crate) fn last(&self) -> Option<UnixMillis> {
        self.by_time.last().map(|(at, _)| UnixMillis(*at))
    }

    pub(crate) fn set(&mut self, field: &[u8], at: UnixMillis) {
        self.remove(field);
        self.by_field.insert(field.into(), at.0);
        self.by_time.insert((at.0, field.into()));
        self.name_bytes += 2 * field.len();
    }

    pub(crate) fn remove(&mut self, field: &[u8]) -> Option<UnixMillis> {
        let (field, at) = self.by_field.remove_entry(field)?;
        self.name_bytes -= 2 * field.len();
        let was_there = self.by_time.remove(&(at, field));
        assert!(was_there, "both maps have the same fields");
        Some(UnixMillis(at))
    }

    /// The fields whose time has come, earliest first: those that end before `now`.
    pub(crate) fn due(&self, now: UnixMillis) -> impl Iterator<Item = &[u8]> {
        self.by_time.iter().take_while(move |(at, _)| now.0 > *at).map(|(_, field)| &**field)
    }

    /// Fields with their ends, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        self.by_field.iter().map(|(field, at)| (&**field, UnixMillis(*at)))
    }
}
