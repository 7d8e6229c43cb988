//! Hashes: fields with values.
//!
//! A small hash is one packed sequence of field, value, field, value; a large one a table of
//! records that hold both. Either gets a part of its own for the fields that end by themselves, once
//! there has been one. A hash does not know the time: who lends it takes the due fields out first.

use slotward_types::UnixMillis;

use super::expiries::Expiries;
use super::index::Index;
use super::item::Item;
use super::one_of::{Form, OneOf};
use super::pack::{InvalidPack, PACK_BYTES_MAX, Pack, PackIter};
use super::record::{FieldRecord, FieldView};
use super::repeats;
use crate::value::{Encoding, EncodingLimits};

/// Fields with values.
pub struct Hash {
    /// Special are those that have had fields with an end.
    body: Body,
}

type Body = OneOf<Pack, Box<Index<FieldRecord>>, Box<Expiring>>;

/// A hash that has had fields with an end.
#[derive(Clone)]
struct Expiring {
    /// In one of the other forms.
    plain: Hash,
    expiries: Expiries,
}

impl Clone for Hash {
    fn clone(&self) -> Self {
        let body = match self.body.get() {
            Form::Packed(pack) => Body::packed(pack.clone()),
            Form::Large(table) => {
                let mut copy = Box::new(Index::new());
                for FieldView { field, value } in table.iter() {
                    copy.insert(copy.hash(field), FieldRecord::new(field, value));
                }
                Body::large(copy)
            }
            Form::Special(expiring) => Body::special(Box::new(expiring.clone())),
        };
        Hash { body }
    }
}

impl Default for Hash {
    fn default() -> Self {
        Hash::new()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Hash {
    /// A hash without fields.
    pub fn new() -> Hash {
        Hash { body: Body::packed(Pack::new()) }
    }

    /// The hash that a packed sequence of field, value, field, value is.
    ///
    /// # Errors
    /// When a value is missing or a field stands twice.
    pub fn from_pack(pack: Pack, limits: &EncodingLimits) -> Result<Hash, InvalidPack> {
        if !pack.len().is_multiple_of(2) || repeats(pack.iter().step_by(2)) {
            return Err(InvalidPack);
        }
        let too_long = |item: Item<'_>| item.len() > limits.hash_max_listpack_value;
        let large = pack.len() / 2 > limits.hash_max_listpack_entries || pack.iter().any(too_long);
        let mut hash = Hash { body: Body::packed(pack) };
        if large {
            hash.make_table();
        }
        Ok(hash)
    }

    /// The packed sequence, while the hash is small and no field ends.
    pub fn as_pack(&self) -> Option<&Pack> {
        match self.body.get() {
            Form::Packed(pack) => Some(pack),
            Form::Large(_) => None,
            Form::Special(expiring) => {
                if expiring.expiries.len() == 0 {
                    expiring.plain.as_pack()
                } else {
                    None
                }
            }
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.len() / 2,
            Form::Large(table) => table.len(),
            Form::Special(expiring) => expiring.plain.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self.body.get() {
            Form::Packed(pack) => pack.is_empty(),
            Form::Large(table) => table.len() == 0,
            Form::Special(expiring) => expiring.plain.is_empty(),
        }
    }

    /// `listpack`, `listpackex` or `hashtable`.
    pub fn encoding(&self) -> Encoding {
        match self.body.get() {
            Form::Packed(_) => Encoding::ListPack,
            Form::Large(_) => Encoding::HashTable,
            Form::Special(expiring) => match expiring.plain.encoding() {
                Encoding::ListPack => Encoding::ListPackEx,
                large => large,
            },
        }
    }

    /// How many bytes the hash has reserved outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.allocated(),
            Form::Large(table) => table.heap_bytes(),
            Form::Special(expiring) => {
                size_of::<Expiring>() + expiring.plain.heap_bytes() + expiring.expiries.heap_bytes()
            }
        }
    }

    /// How many allocations dropping the hash frees, more or less.
    pub fn free_effort(&self) -> usize {
        match self.body.get() {
            Form::Packed(_) => 1,
            Form::Large(table) => table.len(),
            Form::Special(expiring) => expiring.plain.free_effort() + 2 * expiring.expiries.len(),
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self.body.get() {
            Form::Packed(pack) => {
                let at = pack.find(field, 2)?;
                Some(pack.read(pack.skip(at)).0)
            }
            Form::Large(table) => {
                table.get(table.hash(field), field).map(|found| Item::Bytes(found.value))
            }
            Form::Special(expiring) => expiring.plain.get(field),
        }
    }

    /// Asks the processor to fetch these fields of a large hash.
    pub(crate) fn prefetch(&self, fields: &[&[u8]]) {
        match self.body.get() {
            Form::Packed(_) => {}
            Form::Large(table) => table.prefetch(fields),
            Form::Special(expiring) => expiring.plain.prefetch(fields),
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        match self.body.get() {
            Form::Packed(pack) => pack.find(field, 2).is_some(),
            Form::Large(table) => table.get(table.hash(field), field).is_some(),
            Form::Special(expiring) => expiring.plain.contains(field),
        }
    }

    /// Sets a field's value; true if the field is new. It does not end any more.
    #[inline]
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &EncodingLimits) -> bool {
        if let Form::Special(expiring) = self.body.get_mut() {
            expiring.expiries.remove(field);
        }
        self.set_value(field, value, limits)
    }

    /// Sets a field's value and leaves alone when it ends; true if the field is new.
    #[inline]
    pub fn set_value(&mut self, field: &[u8], value: &[u8], limits: &EncodingLimits) -> bool {
        if let Form::Special(expiring) = self.body.get_mut() {
            return expiring.plain.set_value(field, value, limits);
        }
        if let Form::Packed(pack) = self.body.get_mut() {
            let longest = field.len().max(value.len());
            if longest <= limits.hash_max_listpack_value {
                if let Some(at) = pack.find(field, 2) {
                    let at = pack.skip(at);
                    pack.replace(at, Item::of(value));
                    return false;
                }
                let more = field.len() + value.len() + 16;
                if pack.len() / 2 < limits.hash_max_listpack_entries
                    && pack.used() + more <= PACK_BYTES_MAX
                {
                    pack.insert(pack.end(), &[Item::of(field), Item::of(value)]);
                    return true;
                }
            }
            self.make_table();
        }
        match self.body.get_mut() {
            Form::Large(table) => set_in_table(table, field, value),
            Form::Packed(_) | Form::Special(_) => unreachable!("the hash was made a table"),
        }
    }

    /// Removes a field; false if there was none.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let Some(at) = pack.find(field, 2) else { return false };
                pack.remove(at, 2);
                true
            }
            Form::Large(table) => table.remove(table.hash(field), field).is_some(),
            Form::Special(expiring) => {
                expiring.expiries.remove(field);
                expiring.plain.remove(field)
            }
        }
    }

    // --- fields that end

    fn expiries(&self) -> Option<&Expiries> {
        match self.body.get() {
            Form::Special(expiring) => Some(&expiring.expiries),
            Form::Packed(_) | Form::Large(_) => None,
        }
    }

    /// When the field ends, if it does.
    pub fn field_expiry(&self, field: &[u8]) -> Option<UnixMillis> {
        self.expiries()?.get(field)
    }

    /// Sets when a field ends, or that it does not. Does nothing if there is no such field.
    pub fn set_field_expiry(&mut self, field: &[u8], at: Option<UnixMillis>) {
        if !self.contains(field) {
            return;
        }
        match (self.body.get_mut(), at) {
            (Form::Special(expiring), Some(at)) => expiring.expiries.set(field, at),
            (Form::Special(expiring), None) => _ = expiring.expiries.remove(field),
            (_, None) => {}
            (_, Some(at)) => {
                let mut expiries = Expiries::default();
                expiries.set(field, at);
                let plain = std::mem::take(self);
                self.body = Body::special(Box::new(Expiring { plain, expiries }));
            }
        }
    }

    /// The earliest end of a field.
    #[inline]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.expiries()?.first()
    }

    /// How many fields have an end.
    pub fn expiring_len(&self) -> usize {
        self.expiries().map_or(0, Expiries::len)
    }

    /// Fields that have an end, with it, in the order of their names.
    pub fn field_expiries(&self) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        self.expiries().into_iter().flat_map(Expiries::iter)
    }

    /// Whether there are fields whose time has come: by Redis's rule those that end before `now`.
    #[inline]
    pub fn has_due(&self, now: UnixMillis) -> bool {
        self.next_expiry().is_some_and(|at| now > at)
    }

    /// Whether that is true of all fields, so that nothing is left to show.
    pub fn is_all_due(&self, now: UnixMillis) -> bool {
        self.expiries().is_some_and(|expiries| {
            expiries.len() == self.len() && expiries.last().is_some_and(|at| now > at)
        })
    }

    /// Removes the fields whose time has come and returns them, earliest first.
    pub fn take_due(&mut self, now: UnixMillis) -> Vec<Box<[u8]>> {
        let due = self.expiries().into_iter().flat_map(|expiries| expiries.due(now));
        let due: Vec<Box<[u8]>> = due.map(Box::from).collect();
        for field in &due {
            self.remove(field);
        }
        due
    }

    /// All fields with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let plain = match self.body.get() {
            Form::Special(expiring) => &expiring.plain,
            Form::Packed(_) | Form::Large(_) => self,
        };
        let (pack, table) = match plain.body.get() {
            Form::Packed(pack) => (Some(Pairs(pack.iter())), None),
            Form::Large(table) => (None, Some(table.iter())),
            Form::Special(_) => unreachable!("the plain part is no expiring hash"),
        };
        let records = table.into_iter().flatten();
        pack.into_iter().flatten().chain(records.map(items_of))
    }

    /// Visits some fields from the cursor on (0 to begin) and returns the next cursor, 0 when all
    /// have been visited. Fields that are there during a whole scan are visited.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(Item<'_>, Item<'_>)) -> u64 {
        match self.body.get() {
            Form::Packed(pack) => {
                Pairs(pack.iter()).for_each(|(field, value)| visit(field, value));
                0
            }
            Form::Special(expiring) => expiring.plain.scan(cursor, visit),
            Form::Large(table) => table
                .scan(cursor, |found| visit(Item::Bytes(found.field), Item::Bytes(found.value))),
        }
    }

    /// Some field with its value, chosen by the random number.
    pub fn random(&self, random: u64) -> Option<(Item<'_>, Item<'_>)> {
        match self.body.get() {
            Form::Packed(pack) => {
                let count = pack.len() / 2;
                let index = random.checked_rem(count as u64)? as usize;
                let (field, next) = pack.read(pack.seek(index * 2)?);
                Some((field, pack.read(next).0))
            }
            Form::Large(table) => table.random(random).map(items_of),
            Form::Special(expiring) => expiring.plain.random(random),
        }
    }

    fn make_table(&mut self) {
        let Form::Packed(pack) = self.body.get() else { return };
        let mut table = Box::new(Index::new());
        for (field, value) in Pairs(pack.iter()) {
            field.with_bytes(|field| {
                value.with_bytes(|value| {
                    table.insert(table.hash(field), FieldRecord::new(field, value));
                })
            });
        }
        self.body = Body::large(table);
    }
}

fn set_in_table(table: &mut Index<FieldRecord>, field: &[u8], value: &[u8]) -> bool {
    let hash = table.hash(field);
    let known = table.update(hash, field, |mut record| {
        if record.overwrite(value) { record } else { FieldRecord::new(field, value) }
    });
    if !known {
        table.insert(hash, FieldRecord::new(field, value));
    }
    !known
}

fn items_of(found: FieldView<'_>) -> (Item<'_>, Item<'_>) {
    (Item::Bytes(found.field), Item::Bytes(found.value))
}

/// A packed sequence by twos.
pub(crate) struct Pairs<'a>(pub(crate) PackIter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.next()?;
        let second = self.0.next().expect("a packed collection of pairs has an even length");
        Some((first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn pack_of(texts: &[&str]) -> Pack {
        let mut pack = Pack::new();
        texts.iter().for_each(|text| pack.push_back(Item::of(text.as_bytes())));
        pack
    }

    #[test]
    fn packs_from_outside_are_checked() {
        let limits = EncodingLimits::default();
        assert!(Hash::from_pack(pack_of(&["a", "1", "b", "a"]), &limits).is_ok());
        for (why, texts) in [
            ("a value is missing", &["a", "1", "b"][..]),
            ("a field twice", &["a", "1", "a", "2"]),
            ("a number as field twice", &["7", "1", "7", "2"]),
        ] {
            assert!(Hash::from_pack(pack_of(texts), &limits).is_err(), "{why}");
        }
        let long = "x".repeat(65);
        let hash = Hash::from_pack(pack_of(&["a", &long]), &limits).unwrap();
        assert_eq!(hash.encoding(), Encoding::HashTable, "a long value");
    }

    #[test]
    fn it_becomes_a_table_as_in_redis() {
        let limits = EncodingLimits { hash_max_listpack_entries: 3, ..EncodingLimits::default() };
        let mut hash = Hash::new();
        for field in ["a", "b", "c"] {
            assert!(hash.insert(field.as_bytes(), b"1", &limits));
        }
        assert!(!hash.insert(b"c", b"2", &limits));
        assert_eq!(hash.encoding(), Encoding::ListPack, "at the limit");
        assert!(hash.insert(b"d", b"1", &limits));
        assert_eq!(hash.encoding(), Encoding::HashTable, "beyond it");
        assert_eq!(hash.get(b"c"), Some(Item::Bytes(b"2")));
    }

    #[test]
    fn fields_end() {
        let limits = EncodingLimits { hash_max_listpack_entries: 3, ..EncodingLimits::default() };
        let mut hash = Hash::new();
        for field in ["a", "b", "c"] {
            hash.insert(field.as_bytes(), b"1", &limits);
        }
        hash.set_field_expiry(b"absent", Some(UnixMillis(5)));
        assert_eq!((hash.encoding(), hash.next_expiry()), (Encoding::ListPack, None));
        hash.set_field_expiry(b"a", Some(UnixMillis(50)));
        hash.set_field_expiry(b"b", Some(UnixMillis(20)));
        assert_eq!(hash.encoding(), Encoding::ListPackEx);
        assert_eq!(hash.next_expiry(), Some(UnixMillis(20)));
        assert!(hash.as_pack().is_none(), "the packed form alone would not be all of it");
        hash.set_value(b"b", b"2", &limits);
        assert_eq!(hash.field_expiry(b"b"), Some(UnixMillis(20)), "a new value may keep the end");
        hash.insert(b"b", b"3", &limits);
        assert_eq!(hash.field_expiry(b"b"), None, "or clear it");
        hash.insert(b"d", b"1", &limits);
        assert_eq!(hash.encoding(), Encoding::HashTable);
        hash.set_field_expiry(b"d", Some(UnixMillis(50)));
        assert_eq!(hash.clone().field_expiries().count(), 2);
        assert!(!hash.has_due(UnixMillis(50)), "in its last millisecond a field is there");
        assert!(hash.has_due(UnixMillis(51)) && !hash.is_all_due(UnixMillis(51)));
        assert_eq!(hash.take_due(UnixMillis(51)), [Box::from(&b"a"[..]), Box::from(&b"d"[..])]);
        assert_eq!((hash.len(), hash.next_expiry()), (2, None));
        hash.set_field_expiry(b"b", Some(UnixMillis(60)));
        hash.set_field_expiry(b"c", Some(UnixMillis(70)));
        assert!(!hash.is_all_due(UnixMillis(70)) && hash.is_all_due(UnixMillis(71)));
    }

    proptest! {
        #[test]
        fn it_is_a_map(entries in 0usize..20, edits in prop::collection::vec(
            (0u8..4, "[ab]{0,3}|[0-9]{1,2}", prop_oneof!["[0-9]{1,4}", "[a-z]{0,70}"]), 0..120))
        {
            let limits =
                EncodingLimits { hash_max_listpack_entries: entries, ..EncodingLimits::default() };
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            for (kind, field, value) in edits {
                let field = field.into_bytes();
                if kind == 0 {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                } else {
                    let new = hash.insert(&field, value.as_bytes(), &limits);
                    prop_assert_eq!(new, model.insert(field.clone(), value.into_bytes()).is_none());
                }
                prop_assert_eq!(hash.contains(&field), model.contains_key(&field));
                prop_assert_eq!(hash.get(&field).map(Item::to_vec), model.get(&field).cloned());
                prop_assert_eq!(hash.len(), model.len());
            }
            let all: BTreeMap<_, _> =
                hash.clone().iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(&all, &model);
            prop_assert_eq!(hash.iter().count(), model.len());
            let (mut scanned, mut cursor) = (BTreeMap::new(), 0);
            loop {
                cursor = hash.scan(cursor, &mut |field, value| {
                    scanned.insert(field.to_vec(), value.to_vec());
                });
                if cursor == 0 { break; }
            }
            prop_assert_eq!(&scanned, &model);
            for random in 0..20 {
                let chosen = hash.random(random).map(|(field, value)| (field.to_vec(), value.to_vec()));
                prop_assert_eq!(chosen.is_none(), model.is_empty());
                if let Some((field, value)) = chosen {
                    prop_assert_eq!(model.get(&field), Some(&value));
                }
            }
        }
    }
}
