//! An array of any size: slices in a tree by their number, so that giant indexes cost no more than
//! small ones.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::element::ArrayElement;
use super::slice::{SLICE_SIZE, Slice};
use super::word::Word;

/// What the tree takes for a slice: its number and the slice in nodes that are two thirds full.
const SLICE_BYTES: usize = (8 + size_of::<Slice>()) * 3 / 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Large {
    slices: BTreeMap<u64, Slice>,
    count: u64,
    /// Memory behind the slices and their elements.
    bytes: usize,
}

impl Clone for Large {
    fn clone(&self) -> Large {
        let slices = self.slices.clone();
        // A copy reserves what it needs, not what the original has.
        let bytes = slices.values().map(|slice| slice.own_bytes() + slice.text_bytes()).sum();
        Large { slices, count: self.count, bytes }
    }
}

fn place_of(index: u64) -> (u64, u16) {
    (index / SLICE_SIZE, (index % SLICE_SIZE) as u16)
}

impl Large {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The highest index that has an element.
    pub(super) fn last(&self) -> Option<u64> {
        let (number, slice) = self.slices.last_key_value()?;
        Some(number * SLICE_SIZE + u64::from(slice.last()))
    }

    pub(super) fn slices(&self) -> impl ExactSizeIterator<Item = &Slice> {
        self.slices.values()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Large>() + self.slices.len() * SLICE_BYTES + self.bytes
    }

    pub(super) fn get(&self, index: u64) -> Option<ArrayElement<'_>> {
        let (number, offset) = place_of(index);
        self.slices.get(&number)?.get(offset)
    }

    /// Puts an element at an index; the one that was there.
    pub(super) fn set(&mut self, index: u64, word: Word) -> Option<Word> {
        let (number, offset) = place_of(index);
        self.bytes += word.heap_bytes();
        let Some(slice) = self.slices.get_mut(&number) else {
            self.slices.insert(number, Slice::One(offset, word));
            self.count += 1;
            return None;
        };
        let before = slice.own_bytes();
        let old = slice.set(offset, word);
        self.bytes = self.bytes + slice.own_bytes() - before;
        match &old {
            Some(old) => self.bytes -= old.heap_bytes(),
            None => self.count += 1,
        }
        old
    }

    /// Takes the element at an index out.
    pub(super) fn remove(&mut self, index: u64) -> Option<Word> {
        let (number, offset) = place_of(index);
        let slice = self.slices.get_mut(&number)?;
        let word = if slice.count() > 1 {
            let before = slice.own_bytes();
            let word = slice.remove(offset)?;
            self.bytes = self.bytes + slice.own_bytes() - before;
            word
        } else if slice.last() == offset {
            self.slices.remove(&number).expect("found above").into_word()
        } else {
            return None;
        };
        self.bytes -= word.heap_bytes();
        self.count -= 1;
        Some(word)
    }

    /// Removes the elements from one index to another. How many there were.
    pub(super) fn remove_range(&mut self, low: u64, high: u64) -> u64 {
        let ((first, low_offset), (last, high_offset)) = (place_of(low), place_of(high));
        let (mut removed, mut text_bytes) = (0, 0);
        let mut next = first;
        while let Some((&number, _)) = self.slices.range(next..=last).next() {
            let slice = self.slices.remove(&number).expect("found just now");
            self.bytes -= slice.own_bytes();
            let from = if number == first { low_offset } else { 0 };
            let to = if number == last { high_offset } else { SLICE_SIZE as u16 - 1 };
            let rest = slice.remove_range(from, to, &mut |word| {
                removed += 1;
                text_bytes += word.heap_bytes();
            });
            if let Some(rest) = rest {
                self.bytes += rest.own_bytes();
                self.slices.insert(number, rest);
            }
            if number == last {
                break;
            }
            next = number + 1;
        }
        self.bytes -= text_bytes;
        self.count -= removed;
        removed
    }

    /// Hands every element between two indexes to `visit`, in ascending or descending order.
    pub(super) fn visit<'s>(
        &'s self,
        low: u64,
        high: u64,
        descending: bool,
        visit: &mut dyn FnMut(u64, ArrayElement<'s>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let ((first, low_offset), (last, high_offset)) = (place_of(low), place_of(high));
        let mut slices = self.slices.range(first..=last);
        let mut one = |(number, slice): (&u64, &'s Slice)| {
            let from = if *number == first { low_offset } else { 0 };
            let to = if *number == last { high_offset } else { SLICE_SIZE as u16 - 1 };
            let base = number * SLICE_SIZE;
            slice.visit(from, to, descending, &mut |offset, element| {
                visit(base + u64::from(offset), element)
            })
        };
        if descending { slices.rev().try_for_each(one) } else { slices.try_for_each(&mut one) }
    }

    /// The memory that it should say it takes, counted anew.
    #[cfg(test)]
    pub(super) fn bytes_counted(&self) -> usize {
        let of = |slice: &Slice| slice.own_bytes() + slice.text_bytes();
        size_of::<Large>()
            + self.slices.len() * SLICE_BYTES
            + self.slices.values().map(of).sum::<usize>()
    }
}
