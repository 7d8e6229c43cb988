//! Arrays: texts at indexes of 64 bits, most of which have none.
//!
//! A small array is one packed sequence of indexes and elements. A large one is a tree of slices of
//! 4096 indexes each, in which numbers and short texts take eight bytes or less ([`word`]); it never
//! becomes small again. Beside its elements an array remembers where the last one was appended.

mod element;
mod large;
mod slice;
#[cfg(test)]
mod tests;
mod word;

use std::ops::ControlFlow;

pub use element::{ArrayElement, Decimal};

use super::codec;
use super::item::Item;
use super::pack::Pack;
use large::Large;
use slice::SLICE_SIZE;
use word::Word;

/// What a small array may have at most.
const SMALL_COUNT_MAX: usize = 64;
const SMALL_BYTES_MAX: usize = 1024;

/// A sparse array. See the module.
#[derive(Debug, Clone)]
pub struct Array {
    form: Form,
    /// Where the last element was appended; `NOWHERE` if none was.
    cursor: u64,
}

const NOWHERE: u64 = u64::MAX;

#[derive(Debug, Clone)]
enum Form {
    /// Indexes in ascending order, each with its element behind it. An index is packed as the
    /// `i64` that has the same bits.
    Small(Pack),
    Large(Box<Large>),
}

/// What is known about how an array is kept.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ArrayLayout {
    /// Slices that have elements.
    pub slices: u64,
    /// Indexes that a slice covers.
    pub slice_size: u64,
    /// Slices with a place for every index from their first element to their last.
    pub dense_slices: u64,
    /// Places in these, on average.
    pub dense_size: f64,
    /// The part of these places that is taken.
    pub dense_fill: f64,
    /// Slices that are lists of their elements.
    pub sparse_slices: u64,
    /// Elements in these, on average.
    pub sparse_size: f64,
}

impl Default for Array {
    fn default() -> Self {
        Array::new()
    }
}

impl Array {
    /// The highest index. The one behind it is the length of an array that has it.
    pub const INDEX_MAX: u64 = u64::MAX - 1;
    /// Longest element.
    pub const ELEMENT_BYTES_MAX: usize = 1 << 30;

    /// An empty array.
    pub fn new() -> Array {
        Array { form: Form::Small(Pack::new()), cursor: NOWHERE }
    }

    /// How many indexes have an element.
    pub fn count(&self) -> u64 {
        match &self.form {
            Form::Small(pack) => pack.len() as u64 / 2,
            Form::Large(large) => large.count(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The highest index that has an element, and one.
    pub fn len(&self) -> u64 {
        let last = match &self.form {
            Form::Small(pack) => Places(pack).last().map(|(index, _)| index),
            Form::Large(large) => large.last(),
        };
        last.map_or(0, |index| index + 1)
    }

    /// The element at an index.
    pub fn get(&self, index: u64) -> Option<ArrayElement<'_>> {
        match &self.form {
            Form::Small(pack) => {
                let at = Places(pack).find(index).ok()?;
                Some(pack.read(pack.skip(at)).0.into())
            }
            Form::Large(large) => large.get(index),
        }
    }

    /// Puts a text at an index. Whether there was none before.
    ///
    /// # Panics
    /// Beyond [`Array::INDEX_MAX`] and [`Array::ELEMENT_BYTES_MAX`].
    pub fn set(&mut self, index: u64, text: &[u8]) -> bool {
        assert!(index <= Array::INDEX_MAX, "an array has no index {index}");
        assert!(text.len() <= Array::ELEMENT_BYTES_MAX, "an element of {} bytes", text.len());
        if let Form::Small(pack) = &mut self.form {
            let pair = [Item::Int(index as i64), Item::of(text)];
            let place = Places(pack).find(index);
            let count = pack.len() / 2 + usize::from(place.is_err());
            let bytes = pack.end() + codec::encoded_len(pair[0]) + codec::encoded_len(pair[1]);
            if count <= SMALL_COUNT_MAX && bytes <= SMALL_BYTES_MAX {
                match place {
                    Ok(at) => pack.replace(pack.skip(at), pair[1]),
                    Err(at) => pack.insert(at, &pair),
                }
                return place.is_err();
            }
        }
        self.large().set(index, Word::new(text)).is_none()
    }

    /// Removes the element at an index. Whether there was one.
    pub fn remove(&mut self, index: u64) -> bool {
        match &mut self.form {
            Form::Small(pack) => {
                let place = Places(pack).find(index);
                if let Ok(at) = place {
                    pack.remove(at, 2);
                }
                place.is_ok()
            }
            Form::Large(large) => large.remove(index).is_some(),
        }
    }

    /// Removes the elements from one index to another, both included. How many there were.
    pub fn remove_range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "a range from {low} to {high}");
        match &mut self.form {
            Form::Small(pack) => {
                let begin = Places(pack).find(low).unwrap_or_else(|at| at);
                let found = Places(pack).starting_at(begin).take_while(|(index, _)| *index <= high);
                let count = found.count();
                pack.remove(begin, 2 * count);
                count as u64
            }
            Form::Large(large) => large.remove_range(low, high),
        }
    }

    /// Hands the elements from one index to another, both included, to `visit` until it breaks: in
    /// ascending order, or in descending order if `from` is the higher index.
    pub fn visit<'s>(
        &'s self,
        from: u64,
        to: u64,
        visit: &mut dyn FnMut(u64, ArrayElement<'s>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (low, high, descending) = (from.min(to), from.max(to), from > to);
        match &self.form {
            Form::Small(pack) => {
                let begin = Places(pack).find(low).unwrap_or_else(|at| at);
                let found = Places(pack).starting_at(begin).take_while(|(index, _)| *index <= high);
                let mut one = |(index, item): (u64, Item<'s>)| visit(index, item.into());
                if descending {
                    let found: Vec<_> = found.collect();
                    found.into_iter().rev().try_for_each(one)
                } else {
                    let mut found = found;
                    found.try_for_each(&mut one)
                }
            }
            Form::Large(large) => large.visit(low, high, descending, visit),
        }
    }

    /// Hands all elements to `visit`, in ascending order.
    pub fn each<'s>(&'s self, mut visit: impl FnMut(u64, ArrayElement<'s>)) {
        let _ = self.visit(0, Array::INDEX_MAX, &mut |index, element| {
            visit(index, element);
            ControlFlow::Continue(())
        });
    }

    // --- appending

    /// Where the last element was appended, if one was.
    pub fn cursor(&self) -> Option<u64> {
        (self.cursor != NOWHERE).then_some(self.cursor)
    }

    /// Sets where the last element was appended.
    ///
    /// # Panics
    /// Beyond [`Array::INDEX_MAX`].
    pub fn set_cursor(&mut self, cursor: Option<u64>) {
        assert!(cursor.is_none_or(|at| at <= Array::INDEX_MAX), "an array has no index {cursor:?}");
        self.cursor = cursor.unwrap_or(NOWHERE);
    }

    /// Where the next element is to be appended; `None` behind the highest index.
    pub fn next_index(&self) -> Option<u64> {
        let next = self.cursor().map_or(0, |at| at + 1);
        (next <= Array::INDEX_MAX).then_some(next)
    }

    /// Makes the array a ring of `size` places: if its length is another, as many of the last
    /// elements without a gap as fit are moved to its beginning, in their order, and the others go.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn make_ring(&mut self, size: u64) {
        assert!(size > 0, "a ring of no places");
        let len = self.len();
        let next = self.cursor().map(|at| at + 1);
        // A ring that has not been filled yet is a shorter array, and continues as it is; one that
        // was filled and has begun anew must be unrolled before it can grow.
        let is_rolled = next.is_some_and(|next| next < len);
        if size >= len && (size == len || !is_rolled) {
            return;
        }
        let mut at = self.cursor().map_or(len - 1, |at| at % len);
        let mut newest_first = Vec::new();
        while (newest_first.len() as u64) < size.min(len)
            && let Some(word) = self.large().remove(at)
        {
            newest_first.push(word);
            at = at.checked_sub(1).unwrap_or(len - 1);
        }
        let kept = newest_first.len() as u64;
        *self = Array::new();
        for (index, word) in (0..kept).zip(newest_first.into_iter().rev()) {
            word.element().with_bytes(|text| self.set(index, text));
        }
        self.set_cursor(kept.checked_sub(1));
    }

    /// The index of the newest element, from which others are counted back: where the last one was
    /// appended, else the highest. `None` if there is no element.
    pub fn newest(&self) -> Option<u64> {
        let last = self.len().checked_sub(1)?;
        Some(self.cursor().unwrap_or(last))
    }

    // --- how it is kept

    /// Bytes of memory behind it.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small(pack) => pack.allocated(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    /// How it is kept; looks at every slice.
    pub fn layout(&self) -> ArrayLayout {
        let mut layout = ArrayLayout { slice_size: SLICE_SIZE, ..ArrayLayout::default() };
        let (mut places, mut dense, mut sparse) = (0, 0, 0);
        match &self.form {
            // As if it were in slices: a small array is a list of its elements.
            Form::Small(pack) => {
                let mut before = None;
                for (index, _) in Places(pack).starting_at(pack.start()) {
                    layout.sparse_slices += u64::from(before != Some(index / SLICE_SIZE));
                    before = Some(index / SLICE_SIZE);
                    sparse += 1;
                }
            }
            Form::Large(large) => {
                for slice in large.slices() {
                    match slice.window() {
                        Some(size) => {
                            layout.dense_slices += 1;
                            places += size;
                            dense += slice.count();
                        }
                        None => {
                            layout.sparse_slices += 1;
                            sparse += slice.count();
                        }
                    }
                }
            }
        }
        let per = |sum: usize, count: f64| if count == 0.0 { 0.0 } else { sum as f64 / count };
        layout.slices = layout.dense_slices + layout.sparse_slices;
        layout.dense_size = per(places, layout.dense_slices as f64);
        layout.dense_fill = per(dense, places as f64);
        layout.sparse_size = per(sparse, layout.sparse_slices as f64);
        layout
    }

    /// Becomes large, if it is not, and lends that form.
    fn large(&mut self) -> &mut Large {
        if let Form::Small(pack) = &self.form {
            let mut large = Large::default();
            for (index, item) in Places(pack).starting_at(pack.start()) {
                large.set(index, item.with_bytes(Word::new));
            }
            self.form = Form::Large(Box::new(large));
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("it has become large"),
        }
    }
}

/// Indexes and elements in a packed sequence.
struct Places<'a>(&'a Pack);

impl<'a> Places<'a> {
    /// Where this index is, or, if it has no element, where it would be.
    fn find(&self, index: u64) -> Result<usize, usize> {
        let (pack, end) = (self.0, self.0.end());
        let mut at = pack.start();
        while at < end {
            let (found, next) = self.index_at(at);
            if found >= index {
                return if found == index { Ok(at) } else { Err(at) };
            }
            at = pack.skip(next);
        }
        Err(end)
    }

    /// Those from a place on.
    fn starting_at(&self, at: usize) -> impl Iterator<Item = (u64, Item<'a>)> + use<'a> {
        let (pack, mut at) = (self.0, at);
        std::iter::from_fn(move || {
            if at >= pack.end() {
                return None;
            }
            let (index, value_at) = Places(pack).index_at(at);
            let (item, next) = pack.read(value_at);
            at = next;
            Some((index, item))
        })
    }

    fn last(&self) -> Option<(u64, Item<'a>)> {
        let at = self.0.seek(self.0.len().checked_sub(2)?)?;
        self.starting_at(at).next()
    }

    fn index_at(&self, at: usize) -> (u64, usize) {
        match self.0.read(at) {
            (Item::Int(index), next) => (index as u64, next),
            (Item::Bytes(_), _) => unreachable!("an index is packed as a number"),
        }
    }
}
