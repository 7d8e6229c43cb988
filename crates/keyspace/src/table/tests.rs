//! The table against a map, and what its scans promise.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// An entry for tests: a boxed key and number.
struct Pair(Box<(Vec<u8>, u64)>);

// SAFETY: a boxed pair has a stable address below 2^48.
unsafe impl Thin for Pair {
    type View<'a> = &'a (Vec<u8>, u64);

    fn into_raw(self) -> u64 {
        Box::into_raw(self.0).expose_provenance() as u64
    }

    unsafe fn from_raw(raw: u64) -> Self {
        // SAFETY: came from `into_raw`.
        Pair(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut(raw as usize)) })
    }

    unsafe fn key<'a>(raw: u64) -> &'a [u8] {
        // SAFETY: the caller says that it lives.
        unsafe { &Self::view(raw).0 }
    }

    unsafe fn view<'a>(raw: u64) -> &'a (Vec<u8>, u64) {
        // SAFETY: the caller says that it lives.
        unsafe { &*std::ptr::with_exposed_provenance(raw as usize) }
    }
}

const SEED: u64 = 7;

fn name(number: u16) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn pair(number: u16, value: u64) -> Pair {
    Pair(Box::new((name(number), value)))
}

fn add(table: &mut Table<Pair>, number: u16, value: u64) {
    let hash = table.hash(&name(number));
    table.insert(hash, pair(number, value));
}

fn drop_key(table: &mut Table<Pair>, number: u16) -> Option<u64> {
    let hash = table.hash(&name(number));
    table.remove(hash, &name(number)).map(|pair| pair.0.1)
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, u64),
    Remove(u16),
    Fill(u16, u16),
    Clear(u16, u16),
    Scan,
}

fn steps(keys: u16) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..keys, any::<u64>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => (0..keys).prop_map(Step::Remove),
        1 => (0..keys, 0..keys).prop_map(|(from, count)| Step::Fill(from, count)),
        1 => (0..keys, 0..keys).prop_map(|(from, count)| Step::Clear(from, count)),
        4 => Just(Step::Scan),
    ];
    prop::collection::vec(step, 1..60)
}

/// A table with its model, and a scan under way with what it owes.
#[derive(Default)]
struct World {
    model: BTreeMap<u16, u64>,
    cursor: Option<u64>,
    owed: BTreeSet<Vec<u8>>,
}

impl World {
    fn put(&mut self, table: &mut Table<Pair>, key: u16, value: u64) {
        let hash = table.hash(&name(key));
        match table.place(hash, &name(key)) {
            Some(mut place) => drop(place.replace(pair(key, value))),
            None => table.insert(hash, pair(key, value)),
        }
        self.model.insert(key, value);
    }

    fn remove(&mut self, table: &mut Table<Pair>, key: u16) {
        assert_eq!(drop_key(table, key), self.model.remove(&key));
        self.owed.remove(&name(key));
    }

    fn scan(&mut self, table: &Table<Pair>) {
        let cursor = self.cursor.unwrap_or_else(|| {
            self.owed = self.model.keys().map(|key| name(*key)).collect();
            0
        });
        let next = table.scan(cursor, |(key, _)| {
            self.owed.remove(key);
        });
        self.cursor = (next != 0).then_some(next);
        if next == 0 {
            assert!(self.owed.is_empty(), "a scan missed {:?}", self.owed);
        }
    }

    fn step(&mut self, table: &mut Table<Pair>, step: &Step, keys: u16) {
        match *step {
            Step::Put(key, value) => self.put(table, key, value),
            Step::Remove(key) => self.remove(table, key),
            Step::Fill(from, count) => {
                (from..keys.min(from.saturating_add(count))).for_each(|k| self.put(table, k, 1));
            }
            Step::Clear(from, count) => {
                (from..keys.min(from.saturating_add(count))).for_each(|k| self.remove(table, k));
            }
            Step::Scan => self.scan(table),
        }
    }

    fn check(&self, table: &Table<Pair>) {
        assert_eq!(table.len(), self.model.len());
        let held: BTreeMap<Vec<u8>, u64> = table.iter().cloned().collect();
        let want = self.model.iter().map(|(key, value)| (name(*key), *value)).collect();
        assert_eq!(held, want);
        assert_eq!(table.iter().count(), self.model.len(), "each entry once");
        for (key, value) in &self.model {
            let key = name(*key);
            assert_eq!(table.find(table.hash(&key), &key).map(|pair| pair.1), Some(*value));
        }
        assert_eq!(table.find(table.hash(b"absent"), b"absent"), None);
    }
}

fn run(steps: &[Step], keys: u16) {
    let mut table = Table::new(SEED);
    let mut world = World::default();
    for step in steps {
        world.step(&mut table, step, keys);
    }
    world.check(&table);
    (0..keys).for_each(|key| world.remove(&mut table, key));
    assert_eq!(table.heap_bytes(), 0, "an empty table gives everything back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 128 }))]

    #[test]
    fn it_is_a_map_and_scans_miss_nothing(steps in steps(40)) {
        run(&steps, 40);
    }

    #[test]
    fn also_with_many_entries(steps in steps(if cfg!(miri) { 100 } else { 3000 })) {
        run(&steps, if cfg!(miri) { 100 } else { 3000 });
    }
}

#[test]
fn beyond_one_array_it_grows_and_shrinks_by_segments() {
    if cfg!(miri) {
        return; // The same code paths as in `root`, at a size that takes Miri minutes.
    }
    let mut table = Table::new(SEED);
    let mut hashes = Vec::new();
    for number in 0..40_000u64 {
        let key = number.to_le_bytes().to_vec();
        hashes.push(table.hash(&key));
        table.insert(hashes[number as usize], Pair(Box::new((key, number))));
    }
    assert!(table.homes() > 4 * 1024);
    assert_eq!(table.iter().count(), 40_000);
    for number in 0..40_000u64 {
        let key = number.to_le_bytes();
        assert_eq!(table.find(hashes[number as usize], &key).unwrap().1, number);
        if number % 8 != 0 {
            assert!(table.remove(hashes[number as usize], &key).is_some());
        }
    }
    assert!(table.homes() < 2 * 1024, "{table:?}");
    assert_eq!(table.iter().count(), 5_000);
}

#[test]
fn homes_split_and_merge_in_order() {
    for (homes, hash, want) in [
        (1, 0b11, 0),
        (2, 0b11, 1),
        (3, 0b10, 2),
        (3, 0b11, 1),
        (4, 0b111, 3),
        (5, 0b100, 4),
        (5, 0b101, 1),
    ] {
        assert_eq!(home_of(homes, hash), want, "hash {hash:b} in {homes} homes");
    }
}

#[test]
fn random_choice_reaches_every_entry_about_evenly() {
    let mut table = Table::new(SEED);
    (0..100).for_each(|number| add(&mut table, number, u64::from(number)));
    let mut counts = [0u32; 100];
    for draw in 0..20_000u64 {
        counts[table.random(mix(draw)).unwrap().1 as usize] += 1;
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 120 && *most < 300, "of 200 expected: {least}..{most}");
    assert!(Table::<Pair>::new(SEED).random(1).is_none());
}
