//! The elements of 4096 neighbouring indexes.
//!
//! A lone element lies in the slice itself. Elements that are near each other form a window with a
//! place for every index from the first to the last of them; elements that are far apart are a
//! sorted list.
//!
//! **Invariant:** a slice has an element; the first and the last place of a window have one too.

use std::ops::ControlFlow;

use super::element::ArrayElement;
use super::word::Word;

/// Indexes that a slice covers.
pub(super) const SLICE_SIZE: u64 = 4096;

/// A list becomes a window when at least one in this many places would be taken...
const DENSE_FROM: usize = 2;
/// ...and a window a list when fewer than one in this many are.
const SPARSE_BEYOND: usize = 5;

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Slice {
    /// A lone element.
    One(u16, Word),
    /// Elements far apart.
    Sparse(Box<Sparse>),
    /// A window.
    Dense(Box<Dense>),
}

/// Offsets in ascending order, and the element of each.
#[derive(Debug, Clone)]
pub(super) struct Sparse {
    offsets: Vec<u16>,
    words: Vec<Word>,
}

/// Places from the offset `base` on.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    base: u16,
    count: u16,
    places: Vec<Option<Word>>,
}

// What makes large arrays small.
const _: () = assert!(size_of::<Slice>() == 16);

impl Slice {
    /// How many elements it has.
    pub(super) fn count(&self) -> usize {
        match self {
            Slice::One(..) => 1,
            Slice::Sparse(sparse) => sparse.offsets.len(),
            Slice::Dense(dense) => usize::from(dense.count),
        }
    }

    /// The places of its window, if it is one.
    pub(super) fn window(&self) -> Option<usize> {
        match self {
            Slice::Dense(dense) => Some(dense.places.len()),
            _ => None,
        }
    }

    /// The offsets of the first and the last element.
    fn bounds(&self) -> (u16, u16) {
        match self {
            Slice::One(offset, _) => (*offset, *offset),
            Slice::Sparse(sparse) => {
                (sparse.offsets[0], *sparse.offsets.last().expect("a slice has an element"))
            }
            Slice::Dense(dense) => (dense.base, dense.end() - 1),
        }
    }

    /// The offset of the last element.
    pub(super) fn last(&self) -> u16 {
        self.bounds().1
    }

    /// The element at an offset.
    pub(super) fn get(&self, offset: u16) -> Option<ArrayElement<'_>> {
        match self {
            Slice::One(at, word) => (*at == offset).then(|| word.element()),
            Slice::Sparse(sparse) => {
                let at = sparse.offsets.binary_search(&offset).ok()?;
                Some(sparse.words[at].element())
            }
            Slice::Dense(dense) => {
                let at = offset.checked_sub(dense.base)?;
                dense.places.get(usize::from(at))?.as_ref().map(Word::element)
            }
        }
    }

    /// Puts an element at an offset; the one that was there.
    pub(super) fn set(&mut self, offset: u16, word: Word) -> Option<Word> {
        if let Slice::One(at, old) = self
            && *at == offset
        {
            return Some(std::mem::replace(old, word));
        }
        if let Slice::Dense(dense) = self
            && let Some(place) = dense.place_mut(offset)
        {
            let old = place.replace(word);
            dense.count += u16::from(old.is_none());
            return old;
        }
        if let Slice::Sparse(sparse) = self {
            match sparse.offsets.binary_search(&offset) {
                Ok(at) => return Some(std::mem::replace(&mut sparse.words[at], word)),
                Err(at) => sparse.insert(at, offset, word),
            }
            if is_dense(self.span(), self.count()) {
                self.spread();
            }
            return None;
        }
        // A window or a lone element that grows: how far, and is it one still?
        let (first, last) = self.bounds();
        let span = usize::from(last.max(offset) - first.min(offset)) + 1;
        let is_window = matches!(self, Slice::Dense(_));
        let factor = if is_window { SPARSE_BEYOND } else { DENSE_FROM };
        if span > factor * (self.count() + 1) {
            self.list();
            return self.set(offset, word);
        }
        if !is_window {
            self.spread();
        }
        let Slice::Dense(dense) = self else { unreachable!("it was spread") };
        dense.reach(offset);
        *dense.place_mut(offset).expect("the window reaches there") = Some(word);
        dense.count += 1;
        None
    }

    /// The element of a slice that has one.
    pub(super) fn into_word(self) -> Word {
        match self {
            Slice::One(_, word) => word,
            other => panic!("{} elements are not one", other.count()),
        }
    }

    /// Takes the element at an offset out of a slice that has others too.
    pub(super) fn remove(&mut self, offset: u16) -> Option<Word> {
        let word = match self {
            Slice::One(..) => unreachable!("the last element goes with its slice"),
            Slice::Sparse(sparse) => {
                let at = sparse.offsets.binary_search(&offset).ok()?;
                sparse.offsets.remove(at);
                let word = sparse.words.remove(at);
                give_back(&mut sparse.offsets);
                give_back(&mut sparse.words);
                word
            }
            Slice::Dense(dense) => {
                let word = dense.place_mut(offset)?.take()?;
                dense.count -= 1;
                dense.trim();
                word
            }
        };
        self.settle();
        Some(word)
    }

    /// Removes the elements from one offset to another and hands each over. What is left of the
    /// slice, if anything.
    pub(super) fn remove_range(
        mut self,
        low: u16,
        high: u16,
        removed: &mut dyn FnMut(Word),
    ) -> Option<Slice> {
        match &mut self {
            Slice::One(offset, _) => {
                if !(low..=high).contains(offset) {
                    return Some(self);
                }
                let Slice::One(_, word) = self else { unreachable!("matched above") };
                removed(word);
                return None;
            }
            Slice::Sparse(sparse) => {
                let begin = sparse.offsets.partition_point(|offset| *offset < low);
                let end = sparse.offsets.partition_point(|offset| *offset <= high);
                sparse.offsets.drain(begin..end);
                sparse.words.drain(begin..end).for_each(removed);
                if sparse.offsets.is_empty() {
                    return None;
                }
                give_back(&mut sparse.offsets);
                give_back(&mut sparse.words);
            }
            Slice::Dense(dense) => {
                let (begin, end) = dense.places_between(low, high);
                for place in &mut dense.places[begin..end] {
                    if let Some(word) = place.take() {
                        dense.count -= 1;
                        removed(word);
                    }
                }
                if dense.count == 0 {
                    return None;
                }
                dense.trim();
            }
        }
        self.settle();
        Some(self)
    }

    /// Hands every element between two offsets to `visit`, in ascending or descending order.
    pub(super) fn visit<'s>(
        &'s self,
        low: u16,
        high: u16,
        descending: bool,
        visit: &mut dyn FnMut(u16, ArrayElement<'s>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Slice::One(offset, word) if (low..=high).contains(offset) => {
                visit(*offset, word.element())
            }
            Slice::One(..) => ControlFlow::Continue(()),
            Slice::Sparse(sparse) => {
                let begin = sparse.offsets.partition_point(|offset| *offset < low);
                let end = sparse.offsets.partition_point(|offset| *offset <= high);
                let mut pairs = sparse.offsets[begin..end].iter().zip(&sparse.words[begin..end]);
                let mut one = |(offset, word): (&u16, &'s Word)| visit(*offset, word.element());
                if descending {
                    pairs.rev().try_for_each(one)
                } else {
                    pairs.try_for_each(&mut one)
                }
            }
            Slice::Dense(dense) => {
                let (begin, end) = dense.places_between(low, high);
                let mut places = dense.places[begin..end].iter().enumerate();
                let mut one = |(at, place): (usize, &'s Option<Word>)| match place {
                    Some(word) => visit(dense.base + (begin + at) as u16, word.element()),
                    None => ControlFlow::Continue(()),
                };
                if descending {
                    places.rev().try_for_each(one)
                } else {
                    places.try_for_each(&mut one)
                }
            }
        }
    }

    /// Bytes of memory behind it, without those of its elements.
    pub(super) fn own_bytes(&self) -> usize {
        match self {
            Slice::One(..) => 0,
            Slice::Sparse(sparse) => {
                size_of::<Sparse>() + sparse.offsets.capacity() * 2 + sparse.words.capacity() * 8
            }
            Slice::Dense(dense) => size_of::<Dense>() + dense.places.capacity() * 8,
        }
    }

    /// Bytes of memory behind its elements.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Slice::One(_, word) => word.heap_bytes(),
            Slice::Sparse(sparse) => sparse.words.iter().map(Word::heap_bytes).sum(),
            Slice::Dense(dense) => dense.places.iter().flatten().map(Word::heap_bytes).sum(),
        }
    }

    /// Takes the form that fits after a removal.
    fn settle(&mut self) {
        match self {
            Slice::One(..) => {}
            Slice::Sparse(sparse) if sparse.words.len() == 1 => self.gather(),
            Slice::Sparse(_) => {
                if is_dense(self.span(), self.count()) {
                    self.spread();
                }
            }
            Slice::Dense(_) => {
                if self.count() == 1 || self.span() > SPARSE_BEYOND * self.count() {
                    self.gather();
                }
            }
        }
    }

    /// Places from the first element to the last.
    fn span(&self) -> usize {
        let (first, last) = self.bounds();
        usize::from(last - first) + 1
    }

    /// Takes everything out, in ascending order; the slice is in no valid state until it is given
    /// another form.
    fn take(&mut self) -> (Vec<u16>, Vec<Word>) {
        let empty = Sparse { offsets: Vec::new(), words: Vec::new() };
        match std::mem::replace(self, Slice::Sparse(Box::new(empty))) {
            Slice::One(offset, word) => (vec![offset], vec![word]),
            Slice::Sparse(sparse) => (sparse.offsets, sparse.words),
            Slice::Dense(dense) => {
                let base = dense.base;
                let found = dense.places.into_iter().enumerate();
                let taken = found.filter_map(|(at, word)| Some((base + at as u16, word?)));
                taken.unzip()
            }
        }
    }

    /// Becomes a list.
    fn list(&mut self) {
        let (offsets, words) = self.take();
        *self = Slice::Sparse(Box::new(Sparse { offsets, words }));
    }

    /// Becomes a list, or a lone element.
    fn gather(&mut self) {
        self.list();
        if let Slice::Sparse(sparse) = self
            && sparse.words.len() == 1
        {
            let word = sparse.words.pop().expect("there is one");
            *self = Slice::One(sparse.offsets[0], word);
        }
    }

    /// Becomes a window.
    fn spread(&mut self) {
        let (offsets, words) = self.take();
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        let mut places = Vec::new();
        places.resize_with(usize::from(last - first) + 1, || None);
        for (offset, word) in offsets.iter().zip(words) {
            places[usize::from(offset - first)] = Some(word);
        }
        *self = Slice::Dense(Box::new(Dense { base: first, count: offsets.len() as u16, places }));
    }
}

/// Whether so many elements in so many places are to be a window.
fn is_dense(span: usize, count: usize) -> bool {
    span <= DENSE_FROM * count
}

/// Makes room for one element more, a quarter more than that when there are many.
fn reserve<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(4).max(items.len() / 4));
    }
}

/// Gives back memory when most is not needed.
fn give_back<T>(items: &mut Vec<T>) {
    if items.capacity() > 8 && items.len() < items.capacity() / 2 {
        items.shrink_to(items.len() + items.len() / 4);
    }
}

impl Sparse {
    fn insert(&mut self, at: usize, offset: u16, word: Word) {
        reserve(&mut self.offsets, 1);
        reserve(&mut self.words, 1);
        self.offsets.insert(at, offset);
        self.words.insert(at, word);
    }
}

impl Dense {
    /// The offset behind the window.
    fn end(&self) -> u16 {
        // A slice covers 4096 offsets.
        self.base + self.places.len() as u16
    }

    fn place_mut(&mut self, offset: u16) -> Option<&mut Option<Word>> {
        self.places.get_mut(usize::from(offset.checked_sub(self.base)?))
    }

    /// The places of the window that lie between two offsets.
    fn places_between(&self, low: u16, high: u16) -> (usize, usize) {
        let begin = usize::from(low.saturating_sub(self.base)).min(self.places.len());
        let end = usize::from((high + 1).saturating_sub(self.base)).min(self.places.len());
        (begin, end.max(begin))
    }

    /// Makes the window reach to an offset outside of it.
    fn reach(&mut self, offset: u16) {
        if offset < self.base {
            let more = usize::from(self.base - offset);
            reserve(&mut self.places, more);
            self.places.splice(..0, std::iter::repeat_with(|| None).take(more));
            self.base = offset;
        } else {
            let more = usize::from(offset + 1 - self.end());
            reserve(&mut self.places, more);
            self.places.resize_with(self.places.len() + more, || None);
        }
    }

    /// Cuts off places at either end that have no element. There is one.
    fn trim(&mut self) {
        if self.count == 0 {
            return;
        }
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
        let empty = self.places.iter().take_while(|place| place.is_none()).count();
        if empty > 0 {
            self.places.drain(..empty);
            self.base += empty as u16;
        }
        give_back(&mut self.places);
    }
}
