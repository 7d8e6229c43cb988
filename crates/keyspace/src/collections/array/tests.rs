//! An array against a simple model of one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<u64, Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Set(u64, Vec<u8>),
    /// So many elements with consecutive indexes.
    Fill(u64, u64),
    Remove(u64),
    RemoveRange(u64, u64),
    /// The index with this rank.
    RemoveNth(usize),
    Ring(u64),
    Cursor(Option<u64>),
}

fn index() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0u64..20,
        4 => 0u64..10_000,
        2 => (0u64..4, 0u64..3).prop_map(|(slice, offset)| slice * SLICE_SIZE + offset * 2047),
        1 => (0u64..3).prop_map(|back| Array::INDEX_MAX - back),
        1 => 0..Array::INDEX_MAX,
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[a-z]{0,9}", "-?[0-9]{1,20}", "-?[0-9]{1,4}\\.[0-9]{1,4}", "[a-z]{100,300}",]
        .prop_map(String::into_bytes)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (index(), text()).prop_map(|(index, text)| Step::Set(index, text)),
        2 => (index(), 0u64..300).prop_map(|(index, count)| Step::Fill(index, count)),
        2 => index().prop_map(Step::Remove),
        6 => any::<usize>().prop_map(Step::RemoveNth),
        1 => (index(), 0u64..200).prop_map(|(index, count)| Step::RemoveRange(index, count)),
        1 => (index(), index()).prop_map(|(low, high)| Step::RemoveRange(low, high)),
        1 => (1u64..40).prop_map(Step::Ring),
        1 => prop::option::of(index()).prop_map(Step::Cursor),
    ]
}

fn apply(step: &Step, array: &mut Array, model: &mut Model) {
    match step {
        Step::Set(index, text) => {
            let is_new = model.insert(*index, text.clone()).is_none();
            assert_eq!(array.set(*index, text), is_new);
        }
        Step::Fill(index, count) => {
            for index in (*index..=Array::INDEX_MAX).take(*count as usize) {
                let text = (index % 1000).to_string().into_bytes();
                assert_eq!(array.set(index, &text), model.insert(index, text).is_none());
            }
        }
        Step::Remove(index) => {
            assert_eq!(array.remove(*index), model.remove(index).is_some());
        }
        Step::RemoveNth(nth) if !model.is_empty() => {
            let index = *model.keys().nth(nth % model.len()).expect("below the length");
            model.remove(&index);
            assert!(array.remove(index));
        }
        Step::RemoveNth(_) => {}
        Step::RemoveRange(a, b) => {
            let (low, high) = (*a.min(b), *a.max(b));
            let before = model.len();
            model.retain(|index, _| !(low..=high).contains(index));
            assert_eq!(array.remove_range(low, high), (before - model.len()) as u64);
        }
        Step::Ring(size) => {
            let cursor = ring_of_model(model, array.cursor(), *size);
            array.make_ring(*size);
            assert_eq!(array.cursor(), cursor);
        }
        Step::Cursor(cursor) => array.set_cursor(*cursor),
    }
}

/// What a ring of this size is made of; where its newest element is.
fn ring_of_model(model: &mut Model, cursor: Option<u64>, size: u64) -> Option<u64> {
    let len = model.last_key_value().map_or(0, |(index, _)| index + 1);
    let grows = size > len && cursor.is_some_and(|at| at + 1 < len);
    if size >= len && !grows {
        return cursor;
    }
    let mut at = cursor.map_or(len - 1, |at| at % len);
    let mut tail = Vec::new();
    while (tail.len() as u64) < size.min(len) {
        let Some(text) = model.remove(&at) else { break };
        tail.insert(0, text);
        at = if at == 0 { len - 1 } else { at - 1 };
    }
    *model = (0u64..).zip(tail).collect();
    (model.len() as u64).checked_sub(1)
}

fn content(array: &Array, from: u64, to: u64) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let _ = array.visit(from, to, &mut |index, element| {
        found.push((index, element.to_vec()));
        ControlFlow::Continue(())
    });
    found
}

fn check(array: &Array, model: &Model, low: u64, high: u64) {
    assert_eq!(array.count(), model.len() as u64);
    assert_eq!(array.len(), model.last_key_value().map_or(0, |(index, _)| index + 1));
    let mut want: Vec<_> = model.iter().map(|(index, text)| (*index, text.clone())).collect();
    assert_eq!(content(array, 0, Array::INDEX_MAX), want);
    want.retain(|(index, _)| (low..=high).contains(index));
    assert_eq!(content(array, low, high), want);
    want.reverse();
    if low < high {
        assert_eq!(content(array, high, low), want);
    }
    for index in [low, high] {
        let found = array.get(index).map(ArrayElement::to_vec);
        assert_eq!(found, model.get(&index).cloned());
    }
    if let Form::Large(large) = &array.form {
        assert_eq!(large.heap_bytes(), large.bytes_counted(), "the memory it says it takes");
    }
    let layout = array.layout();
    let per_slice: std::collections::BTreeSet<u64> =
        model.keys().map(|index| index / SLICE_SIZE).collect();
    assert_eq!(layout.slices, per_slice.len() as u64);
}

proptest! {
    #[test]
    fn it_is_a_sorted_map(
        steps in prop::collection::vec(step(), 1..60),
        bounds in (index(), index()),
    ) {
        let (mut array, mut model) = (Array::new(), Model::new());
        let (low, high) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
        for step in &steps {
            apply(step, &mut array, &mut model);
            check(&array, &model, low, high);
        }
        let copy = array.clone();
        check(&copy, &model, low, high);
        prop_assert_eq!(copy.cursor(), array.cursor());
    }

    #[test]
    fn a_slice_changes_its_form_and_nothing_else(
        offsets in prop::collection::vec((0u64..SLICE_SIZE, any::<bool>()), 1..400),
        near in 1u64..SLICE_SIZE,
    ) {
        let (mut array, mut model) = (Array::new(), Model::new());
        for (offset, removes) in offsets {
            let index = offset % near;
            let step = if removes { Step::Remove(index) } else { Step::Set(index, vec![b'x'; 9]) };
            apply(&step, &mut array, &mut model);
        }
        check(&array, &model, 0, near / 2);
    }
}

fn filled(indexes: impl Iterator<Item = u64>, text: impl Fn(u64) -> String) -> Array {
    let mut array = Array::new();
    indexes.for_each(|index| _ = array.set(index, text(index).as_bytes()));
    array
}

#[test]
fn numbers_and_short_texts_take_little_memory() {
    for (why, array, per_element_max) in [
        ("ten counters", filled(0..10, |i| i.to_string()), 9),
        ("many numbers side by side", filled(0..100_000, |i| i.to_string()), 11),
        ("measurements", filled(0..100_000, |i| format!("{}.{:02}", i % 977, i % 100)), 11),
        ("words", filled(0..100_000, |_| "word".to_owned()), 11),
        ("every tenth index", filled((0..100_000).map(|i| i * 10), |i| i.to_string()), 14),
        ("giant indexes", filled((0..10_000).map(|i| i << 40), |i| i.to_string()), 40),
        ("backwards", filled((0..100_000).rev(), |i| i.to_string()), 11),
    ] {
        let per_element = array.heap_bytes() as u64 / array.count();
        assert!(per_element <= per_element_max, "{why}: {per_element} bytes for each");
    }
}

#[test]
fn memory_is_given_back() {
    let mut array = filled(0..100_000, |_| "a text that needs memory of its own".to_owned());
    assert_eq!(array.remove_range(10, 99_989), 99_980);
    assert_eq!(array.count(), 20);
    assert!(array.heap_bytes() < 5000, "{}", array.heap_bytes());
    for index in (0..10).chain(99_990..100_000) {
        assert!(array.remove(index));
    }
    assert!(array.is_empty() && array.heap_bytes() < 100, "{}", array.heap_bytes());
}

#[test]
fn a_visit_stops_when_it_is_told_to() {
    for array in [filled(0..5, |i| i.to_string()), filled(0..5000, |i| i.to_string())] {
        for (from, to, want) in [(1, 4, [1, 2]), (4, 1, [4, 3])] {
            let mut seen = Vec::new();
            let flow = array.visit(from, to, &mut |index, _| {
                seen.push(index);
                if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!((flow, &seen[..]), (ControlFlow::Break(()), &want[..]));
        }
    }
}

#[test]
fn the_cursor_ends_behind_the_highest_index() {
    let mut array = Array::new();
    for (why, cursor, next, newest) in [
        ("nothing was appended", None, Some(0), None),
        ("the first", Some(0), Some(1), None),
        ("one before the highest", Some(Array::INDEX_MAX - 1), Some(Array::INDEX_MAX), None),
        ("the highest", Some(Array::INDEX_MAX), None, None),
    ] {
        array.set_cursor(cursor);
        assert_eq!((array.next_index(), array.newest()), (next, newest), "{why}");
    }
    array.set(7, b"x");
    assert_eq!(array.newest(), Some(Array::INDEX_MAX), "from the cursor on");
    array.set_cursor(None);
    assert_eq!(array.newest(), Some(7), "from the end on");
}
