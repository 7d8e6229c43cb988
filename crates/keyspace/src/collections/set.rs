//! Sets: members without order.
//!
//! A small set of integers is an [`IntSet`], another small set a packed sequence, a large one a
//! table.

use super::index::Index;
use super::intset::IntSet;
use super::item::Item;
use super::one_of::{Form, OneOf};
use super::pack::{InvalidPack, PACK_BYTES_MAX, Pack};
use super::record::MemberRecord;
use super::repeats;
use crate::value::{Encoding, EncodingLimits, parse_int};

/// Members without order.
pub struct Set {
    /// Special are those of integers.
    body: Body,
}

type Body = OneOf<Pack, Box<Index<MemberRecord>>, IntSet>;

/// An intset never grows beyond this, whatever the settings allow.
const INTSET_ENTRIES_MAX: usize = 1 << 30;

impl Clone for Set {
    fn clone(&self) -> Self {
        let body = match self.body.get() {
            Form::Special(ints) => Body::special(ints.clone()),
            Form::Packed(pack) => Body::packed(pack.clone()),
            Form::Large(table) => {
                let mut copy = Box::new(Index::new());
                for member in table.iter() {
                    copy.insert(copy.hash(member), MemberRecord::new(member));
                }
                Body::large(copy)
            }
        };
        Set { body }
    }
}

impl Default for Set {
    fn default() -> Self {
        Set::new()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Set {
    /// A set without members.
    pub fn new() -> Set {
        Set { body: Body::special(IntSet::new()) }
    }

    /// The set that an intset is.
    pub fn from_ints(ints: IntSet, limits: &EncodingLimits) -> Set {
        let large = ints.len() > limits.set_max_intset_entries;
        let mut set = Set { body: Body::special(ints) };
        if large {
            set.make_table();
        }
        set
    }

    /// The set that a packed sequence of members is.
    ///
    /// # Errors
    /// When a member stands twice.
    pub fn from_pack(pack: Pack, limits: &EncodingLimits) -> Result<Set, InvalidPack> {
        if repeats(pack.iter()) {
            return Err(InvalidPack);
        }
        let large = pack.len() > limits.set_max_listpack_entries
            || pack.iter().any(|item| item.len() > limits.set_max_listpack_value);
        let mut set = Set { body: Body::packed(pack) };
        if large {
            set.make_table();
        }
        Ok(set)
    }

    /// The packed sequence, while the set is one.
    pub fn as_pack(&self) -> Option<&Pack> {
        if let Form::Packed(pack) = self.body.get() { Some(pack) } else { None }
    }

    /// The intset, while the set is one.
    pub fn as_ints(&self) -> Option<&IntSet> {
        if let Form::Special(ints) = self.body.get() { Some(ints) } else { None }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match self.body.get() {
            Form::Special(ints) => ints.len(),
            Form::Packed(pack) => pack.len(),
            Form::Large(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self.body.get() {
            Form::Special(ints) => ints.is_empty(),
            Form::Packed(pack) => pack.is_empty(),
            Form::Large(table) => table.len() == 0,
        }
    }

    /// `intset`, `listpack` or `hashtable`.
    pub fn encoding(&self) -> Encoding {
        match self.body.get() {
            Form::Special(_) => Encoding::IntSet,
            Form::Packed(_) => Encoding::ListPack,
            Form::Large(_) => Encoding::HashTable,
        }
    }

    /// How many bytes the set has reserved outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        match self.body.get() {
            Form::Special(ints) => ints.allocated(),
            Form::Packed(pack) => pack.allocated(),
            Form::Large(table) => table.heap_bytes(),
        }
    }

    /// How many allocations dropping the set frees, more or less.
    pub fn free_effort(&self) -> usize {
        match self.body.get() {
            Form::Large(table) => table.len(),
            _ => 1,
        }
    }

    /// Whether there is such a member.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.body.get() {
            Form::Large(table) => table.get(table.hash(member), member).is_some(),
            Form::Special(ints) => parse_int(member).is_some_and(|number| ints.contains(number)),
            Form::Packed(pack) => pack.find(member, 1).is_some(),
        }
    }

    /// Adds a member; false if it was there.
    #[inline]
    pub fn insert(&mut self, member: &[u8], limits: &EncodingLimits) -> bool {
        if let Form::Large(table) = self.body.get_mut() {
            return add_to_table(table, member);
        }
        self.insert_small(member, limits)
    }

    fn insert_small(&mut self, member: &[u8], limits: &EncodingLimits) -> bool {
        match self.body.get_mut() {
            Form::Special(ints) => {
                if let Some(number) = parse_int(member) {
                    let added = ints.insert(number);
                    if ints.len() > limits.set_max_intset_entries.min(INTSET_ENTRIES_MAX) {
                        self.make_table();
                    }
                    return added;
                }
                if ints_fit_a_pack(ints, limits) && fits_a_pack(ints.len(), member, limits) {
                    self.make_pack();
                } else {
                    self.make_table();
                }
            }
            Form::Packed(pack) => {
                if pack.find(member, 1).is_some() {
                    return false;
                }
                if fits_a_pack(pack.len(), member, limits)
                    && pack.used() + member.len() + 16 <= PACK_BYTES_MAX
                {
                    pack.push_back(Item::of(member));
                    return true;
                }
                self.make_table();
            }
            Form::Large(table) => return add_to_table(table, member),
        }
        // In its new form the set takes the member for good.
        self.insert_small(member, limits)
    }

    /// Asks the processor to fetch these members of a large set.
    pub(crate) fn prefetch(&self, members: &[&[u8]]) {
        if let Form::Large(table) = self.body.get() {
            table.prefetch(members);
        }
    }

    /// Removes a member; false if there was none.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.body.get_mut() {
            Form::Special(ints) => parse_int(member).is_some_and(|number| ints.remove(number)),
            Form::Packed(pack) => {
                let Some(at) = pack.find(member, 1) else { return false };
                pack.remove(at, 1);
                true
            }
            Form::Large(table) => table.remove(table.hash(member), member).is_some(),
        }
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let (ints, pack, table) = match self.body.get() {
            Form::Special(ints) => (Some(ints.iter()), None, None),
            Form::Packed(pack) => (None, Some(pack.iter()), None),
            Form::Large(table) => (None, None, Some(table.iter())),
        };
        let records = table.into_iter().flatten().map(Item::Bytes);
        ints.into_iter().flatten().map(Item::Int).chain(pack.into_iter().flatten()).chain(records)
    }

    /// Visits some members from the cursor on (0 to begin) and returns the next cursor, 0 when all
    /// have been visited. Members that are there during a whole scan are visited.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(Item<'_>)) -> u64 {
        match self.body.get() {
            Form::Large(table) => table.scan(cursor, |member| visit(Item::Bytes(member))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Some member, chosen by the random number.
    pub fn random(&self, random: u64) -> Option<Item<'_>> {
        let index = random.checked_rem(self.len() as u64)? as usize;
        match self.body.get() {
            Form::Special(ints) => ints.get(index).map(Item::Int),
            Form::Packed(pack) => pack.get(index),
            Form::Large(table) => table.random(random).map(Item::Bytes),
        }
    }

    /// Removes some member, chosen by the random number, and shows it to `visit`.
    pub fn pop_with<R>(&mut self, random: u64, visit: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if let Form::Large(table) = self.body.get_mut() {
            let member = table.random(random)?.to_vec();
            table.remove(table.hash(&member), &member);
            return Some(visit(&member));
        }
        let member = self.random(random)?.to_vec();
        self.remove(&member);
        Some(visit(&member))
    }

    fn make_pack(&mut self) {
        let mut pack = Pack::new();
        self.iter().for_each(|item| pack.push_back(item));
        self.body = Body::packed(pack);
    }

    fn make_table(&mut self) {
        let mut table = Box::new(Index::new());
        for item in self.iter() {
            item.with_bytes(|member| {
                table.insert(table.hash(member), MemberRecord::new(member));
            });
        }
        self.body = Body::large(table);
    }
}

#[inline]
fn add_to_table(table: &mut Index<MemberRecord>, member: &[u8]) -> bool {
    let hash = table.hash(member);
    if table.get(hash, member).is_some() {
        return false;
    }
    table.insert(hash, MemberRecord::new(member));
    true
}

fn fits_a_pack(len: usize, member: &[u8], limits: &EncodingLimits) -> bool {
    len < limits.set_max_listpack_entries && member.len() <= limits.set_max_listpack_value
}

/// Whether the texts of the numbers, of which the longest are at the ends, fit in a pack.
fn ints_fit_a_pack(ints: &IntSet, limits: &EncodingLimits) -> bool {
    [0, ints.len().wrapping_sub(1)]
        .into_iter()
        .filter_map(|index| ints.get(index))
        .all(|number| Item::Int(number).len() <= limits.set_max_listpack_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(members: &[&str], limits: &EncodingLimits) -> Set {
        let mut set = Set::new();
        members.iter().for_each(|member| {
            set.insert(member.as_bytes(), limits);
        });
        set
    }

    #[test]
    fn its_encoding_changes_as_in_redis() {
        let limits = EncodingLimits {
            set_max_intset_entries: 3,
            set_max_listpack_entries: 4,
            ..EncodingLimits::default()
        };
        let long = "x".repeat(65);
        for (why, members, want) in [
            ("integers", &["1", "2", "3"][..], Encoding::IntSet),
            ("one integer too many", &["1", "2", "3", "4"], Encoding::HashTable),
            ("a text among integers", &["1", "2", "a"], Encoding::ListPack),
            ("texts", &["a", "b", "c", "d"], Encoding::ListPack),
            ("one text too many", &["a", "b", "c", "d", "e"], Encoding::HashTable),
            ("a long text", &["a", &long], Encoding::HashTable),
            ("a long text among integers", &["1", &long], Encoding::HashTable),
        ] {
            assert_eq!(set_of(members, &limits).encoding(), want, "{why}");
        }
    }

    #[test]
    fn packs_from_outside_are_checked() {
        let limits = EncodingLimits::default();
        let mut pack = Pack::new();
        pack.push_back(Item::Bytes(b"a"));
        pack.push_back(Item::Int(1));
        assert!(Set::from_pack(pack.clone(), &limits).is_ok());
        pack.push_back(Item::Int(1));
        assert!(Set::from_pack(pack, &limits).is_err(), "a member twice");
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            intset in 0usize..12, listpack in 0usize..12,
            edits in prop::collection::vec((0u8..5, prop_oneof!["[0-9]{1,2}", "[0-9]{5}", "[ab]{0,3}", "a{60,70}"]), 0..120)
        ) {
            let limits = EncodingLimits {
                set_max_intset_entries: intset,
                set_max_listpack_entries: listpack,
                ..EncodingLimits::default()
            };
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            for (kind, member) in edits {
                let member = member.into_bytes();
                match kind {
                    0 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                    1 => {
                        let popped = set.pop_with(member.len() as u64, <[u8]>::to_vec);
                        prop_assert_eq!(popped.is_none(), model.is_empty());
                        prop_assert!(popped.is_none_or(|popped| model.remove(&popped)));
                    }
                    _ => {
                        prop_assert_eq!(set.insert(&member, &limits), model.insert(member.clone()));
                    }
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
            }
            let all: BTreeSet<_> = set.clone().iter().map(Item::to_vec).collect();
            prop_assert_eq!(set.iter().count(), model.len());
            prop_assert_eq!(&all, &model);
            let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, &mut |member| { scanned.insert(member.to_vec()); });
                if cursor == 0 { break; }
            }
            prop_assert_eq!(&scanned, &model);
            for random in 0..10 {
                let chosen = set.random(random).map(Item::to_vec);
                prop_assert_eq!(chosen.is_none(), model.is_empty());
                prop_assert!(chosen.is_none_or(|chosen| model.contains(&chosen)));
            }
        }
    }
}
