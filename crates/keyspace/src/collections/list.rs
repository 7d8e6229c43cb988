//! Lists: a deque of packed pieces.
//!
//! A list of few bytes is one packed sequence and a larger one is one piece (`listpack`); beyond
//! `list-max-listpack-size` it is several (`quicklist`). Pieces keep their free room at the end that grows, so pushing at the head moves
//! no memory. Finding an index walks the counts of the pieces from the nearer end.

use std::collections::VecDeque;

use super::chunk::{Chunk, ChunkIter, ChunkLimit, FRAME};
use super::codec;
use super::item::{Item, Needle};
use super::one_of::{Form, OneOf};
use super::pack::Pack;
use crate::value::{Encoding, EncodingLimits};

/// A sequence of elements, cheap at both ends.
pub struct List {
    body: Body,
}

/// Special are those of one piece.
type Body = OneOf<Pack, Box<Pieces>, Box<Chunk>>;

/// A list is a packed sequence up to so many bytes: so few that walking through them costs nothing.
const SMALL_BYTES: usize = 256;

/// What a large list is.
#[derive(Clone, Default)]
struct Pieces {
    len: usize,
    /// What the buffers of all pieces have reserved.
    reserved: usize,
    /// None is empty.
    chunks: VecDeque<Chunk>,
}

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head, index 0.
    Front,
    /// The tail.
    Back,
}

impl Clone for List {
    fn clone(&self) -> Self {
        let body = match self.body.get() {
            Form::Packed(pack) => Body::packed(pack.clone()),
            Form::Special(chunk) => Body::special(Box::new(chunk.clone())),
            Form::Large(pieces) => Body::large(Box::new(pieces.clone())),
        };
        List { body }
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List { body: Body::packed(Pack::new()) }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.len(),
            Form::Special(chunk) => chunk.count(),
            Form::Large(pieces) => pieces.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack` or `quicklist`.
    pub fn encoding(&self) -> Encoding {
        match self.body.get() {
            Form::Packed(_) | Form::Special(_) => Encoding::ListPack,
            Form::Large(_) => Encoding::QuickList,
        }
    }

    /// How many bytes the list has reserved outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.allocated(),
            Form::Special(chunk) => size_of::<Chunk>() + chunk.capacity(),
            Form::Large(pieces) => {
                size_of::<Pieces>()
                    + pieces.reserved
                    + pieces.chunks.capacity() * size_of::<Chunk>()
            }
        }
    }

    /// How many allocations dropping the list frees, more or less.
    pub fn free_effort(&self) -> usize {
        self.chunk_count()
    }

    /// Says that elements of `count` and `bytes` in all are about to be pushed, so that a list
    /// which they make too large changes its form before, as Redis does it.
    pub fn prepare(&mut self, count: usize, bytes: usize, limits: &EncodingLimits) {
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        if let Form::Packed(pack) = self.body.get()
            && (pack.used() + bytes > SMALL_BYTES || pack.len().saturating_add(count) > limit.count)
        {
            self.make_chunk();
        }
        if let Form::Special(chunk) = self.body.get()
            && (chunk.packed_len() + FRAME + bytes > limit.bytes
                || chunk.count().saturating_add(count) > limit.count)
        {
            self.make_large();
        }
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &EncodingLimits) {
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let item = Item::of(text);
        match self.body.get_mut() {
            Form::Large(pieces) => return pieces.push(end, item, limit),
            Form::Packed(pack) if has_room(pack, item) && pack.len() < limit.count => {
                let at = if end == End::Front { pack.start() } else { pack.end() };
                return pack.insert(at, &[item]);
            }
            Form::Packed(_) => self.make_chunk(),
            Form::Special(_) => {}
        }
        match self.body.get_mut() {
            Form::Special(chunk)
                if chunk.packed_len() + FRAME + text.len() <= limit.bytes
                    && chunk.count() < limit.count =>
            {
                chunk.push(end, item);
            }
            _ => self.make_large().push(end, item, limit),
        }
    }

    /// Adds an element before the first.
    #[inline]
    pub fn push_front(&mut self, text: &[u8], limits: &EncodingLimits) {
        self.push(End::Front, text, limits);
    }

    /// Adds an element after the last.
    #[inline]
    pub fn push_back(&mut self, text: &[u8], limits: &EncodingLimits) {
        self.push(End::Back, text, limits);
    }

    /// Shows the element at one end to `visit`, then removes it.
    #[inline]
    pub fn pop_with<R>(&mut self, end: End, visit: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let last = pack.len().checked_sub(1)?;
                let index = if end == End::Front { 0 } else { last };
                let at = pack.seek(index).expect("the list is not empty");
                let seen = visit(pack.read(at).0);
                pack.remove(at, 1);
                Some(seen)
            }
            Form::Special(chunk) => chunk.pop_with(end, visit),
            Form::Large(pieces) => pieces.pop_with(end, visit),
        }
    }

    /// Removes and returns the first element.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.pop_with(End::Front, |item| item.to_vec())
    }

    /// Removes and returns the last element.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        self.pop_with(End::Back, |item| item.to_vec())
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        match self.body.get() {
            Form::Packed(pack) => pack.get(index),
            Form::Special(chunk) => (index < chunk.count()).then(|| chunk.get(index)),
            Form::Large(pieces) => {
                let (at, inner) = pieces.locate(index)?;
                Some(pieces.chunks[at].get(inner))
            }
        }
    }

    /// Puts another element in the place of the one with this index; false if there is none.
    pub fn set(&mut self, index: usize, text: &[u8], limits: &EncodingLimits) -> bool {
        if index >= self.len() {
            return false;
        }
        self.prepare(1, text.len(), limits);
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let item = Item::of(text);
        self.make_room_for(item);
        let (at, inner) = self.locate(index).expect("the index was checked");
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let at = pack.seek(index).expect("the index was checked");
                pack.replace(at, item);
            }
            Form::Special(chunk) => chunk.replace(index, item),
            Form::Large(pieces) => {
                let chunk = &pieces.chunks[at];
                let len = chunk.packed_len() + codec::encoded_len(item) + FRAME;
                if chunk.count() > 1 && len > limit.bytes {
                    pieces.on_chunk(at, |chunk| chunk.remove(inner));
                    pieces.len -= 1;
                    self.insert(index, text, limits);
                } else {
                    pieces.on_chunk(at, |chunk| chunk.replace(inner, item));
                }
            }
        }
        true
    }

    /// Inserts an element before the one with this index (at the end, for the index `len`).
    pub fn insert(&mut self, index: usize, text: &[u8], limits: &EncodingLimits) {
        let len = self.len();
        assert!(index <= len, "insertion at {index} in a list of {len}");
        if index == 0 || index == len {
            let end = if index == 0 { End::Front } else { End::Back };
            return self.push(end, text, limits);
        }
        self.prepare(1, text.len(), limits);
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let item = Item::of(text);
        self.make_room_for(item);
        let (at, inner) = self.locate(index).expect("the index was checked");
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let at = pack.seek(index).expect("the index was checked");
                pack.insert(at, &[item]);
            }
            Form::Special(chunk) => chunk.insert(index, item),
            Form::Large(pieces) => pieces.insert(at, inner, item, limit),
        }
    }

    /// Leaves the form of few bytes if the element would make them too many.
    fn make_room_for(&mut self, item: Item<'_>) {
        if let Form::Packed(pack) = self.body.get()
            && !has_room(pack, item)
        {
            self.make_chunk();
        }
    }

    /// Removes elements equal to `text`: the first `count`, the last `-count`, or all for zero.
    /// Returns how many.
    pub fn remove(&mut self, count: i64, text: &[u8], limits: &EncodingLimits) -> usize {
        let needle = Needle::new(text);
        let mut budget = match count {
            0 => usize::MAX,
            _ => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
        };
        let mut spared = if count < 0 {
            self.iter().filter(|item| needle.is(*item)).count().saturating_sub(budget)
        } else {
            0
        };
        match self.body.get_mut() {
            Form::Packed(pack) => remove_from_pack(pack, needle, spared, budget),
            Form::Special(chunk) => chunk.remove_matches(needle, &mut spared, &mut budget),
            Form::Large(pieces) => {
                let mut removed = 0;
                for chunk in &mut pieces.chunks {
                    if budget == 0 {
                        break;
                    }
                    removed += chunk.remove_matches(needle, &mut spared, &mut budget);
                }
                pieces.len -= removed;
                if removed > 0 {
                    pieces.compact(ChunkLimit::of_setting(limits.list_max_listpack_size));
                }
                removed
            }
        }
    }

    /// Keeps only the elements with indexes in `start..stop`.
    pub fn trim(&mut self, start: usize, stop: usize) {
        let len = self.len();
        let stop = stop.min(len);
        let start = start.min(stop);
        self.drop_many(End::Back, len - stop);
        self.drop_many(End::Front, start);
    }

    /// The elements from this index on.
    pub fn iter_from(&self, index: usize) -> ListIter<'_> {
        let Some((at, inner)) = self.locate(index) else {
            return ListIter { list: self, at: usize::MAX - 1, current: ChunkIter::NONE };
        };
        let current = match self.body.get() {
            Form::Packed(pack) => {
                ChunkIter::over_pack(pack, pack.seek(inner).unwrap_or(pack.end()), pack.end())
            }
            Form::Special(chunk) => chunk.iter_from(inner),
            Form::Large(pieces) => pieces.chunks[at].iter_from(inner),
        };
        ListIter { list: self, at, current }
    }

    /// The elements from this index on towards the front.
    pub fn iter_back_from(&self, index: usize) -> ListIterBack<'_> {
        let Some((at, inner)) = self.locate(index) else {
            return ListIterBack { list: self, at: 0, current: ChunkIter::NONE };
        };
        let current = match self.body.get() {
            Form::Packed(pack) => {
                let end = pack.seek(inner + 1).unwrap_or(pack.end());
                ChunkIter::over_pack(pack, pack.start(), end)
            }
            Form::Special(chunk) => chunk.iter_through(inner),
            Form::Large(pieces) => pieces.chunks[at].iter_through(inner),
        };
        ListIterBack { list: self, at, current }
    }

    /// All elements.
    pub fn iter(&self) -> ListIter<'_> {
        self.iter_from(0)
    }

    /// The pieces, for RDB files.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = ListNode<'_>> {
        (0..self.chunk_count()).map(|at| {
            ListNode(match self.body.get() {
                Form::Packed(pack) => Node::Pack(pack),
                Form::Special(chunk) => Node::Chunk(chunk),
                Form::Large(pieces) => Node::Chunk(&pieces.chunks[at]),
            })
        })
    }

    /// Appends a packed piece, as RDB files have them.
    pub fn append_pack(&mut self, pack: &Pack, limits: &EncodingLimits) {
        if pack.is_empty() {
            return;
        }
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        if self.is_empty() && pack.used() <= SMALL_BYTES && pack.len() <= limit.count {
            self.body = Body::packed(pack.clone());
            return;
        }
        let mut chunk = Chunk::of_pack(pack);
        chunk.give_back();
        if self.is_empty() && chunk.within(limit) {
            self.body = Body::special(Box::new(chunk));
            return;
        }
        let pieces = self.make_large();
        pieces.len += chunk.count();
        pieces.reserved += chunk.capacity();
        pieces.chunks.push_back(chunk);
    }

    /// After removals: a list that has become small takes a smaller form again.
    pub fn shrink(&mut self, limits: &EncodingLimits) {
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size).half();
        if let Form::Large(Pieces { chunks, .. }) = self.body.get_mut()
            && chunks.len() <= 1
            && chunks.front().is_none_or(|chunk| chunk.within(limit))
        {
            let mut chunk = chunks.pop_front().unwrap_or_default();
            chunk.give_back();
            self.body = Body::special(Box::new(chunk));
        }
        if let Form::Special(chunk) = self.body.get_mut() {
            // Half of where it came from, so that one element does not change it back and forth.
            if chunk.packed_len() <= SMALL_BYTES / 2 {
                let mut pack = Pack::new();
                pack.append(chunk.iter());
                self.body = Body::packed(pack);
            } else if chunk.used() < chunk.capacity() / 4 {
                chunk.give_back();
            }
        }
    }

    /// Makes a list of few bytes one of one piece.
    fn make_chunk(&mut self) {
        if let Form::Packed(pack) = self.body.get() {
            self.body = Body::special(Box::new(Chunk::of_pack(pack)));
        }
    }

    /// The pieces of the list, which is made large unless it is.
    fn make_large(&mut self) -> &mut Pieces {
        self.make_chunk();
        if let Form::Special(chunk) = self.body.get_mut() {
            let mut pieces = Box::new(Pieces::default());
            if chunk.count() > 0 {
                pieces.len = chunk.count();
                pieces.reserved = chunk.capacity();
                pieces.chunks.push_back(std::mem::take(chunk));
            }
            self.body = Body::large(pieces);
        }
        match self.body.get_mut() {
            Form::Large(pieces) => pieces,
            _ => unreachable!("it was made large just now"),
        }
    }

    fn chunk_count(&self) -> usize {
        match self.body.get() {
            Form::Packed(_) | Form::Special(_) => 1,
            Form::Large(pieces) => pieces.chunks.len(),
        }
    }

    /// A piece of a list that has several.
    fn another_chunk(&self, at: usize) -> Option<&Chunk> {
        match self.body.get() {
            Form::Packed(_) | Form::Special(_) => None,
            Form::Large(pieces) => pieces.chunks.get(at),
        }
    }

    fn drop_many(&mut self, end: End, count: usize) {
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let from = if end == End::Front { 0 } else { pack.len() - count };
                let at = pack.seek(from).unwrap_or(pack.end());
                pack.remove(at, count);
            }
            Form::Special(chunk) => chunk.drop_at(end, count),
            Form::Large(pieces) => pieces.drop_many(end, count),
        }
    }

    /// The piece that has this index, and the index within it.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        match self.body.get() {
            Form::Packed(_) | Form::Special(_) => (index < self.len()).then_some((0, index)),
            Form::Large(pieces) => pieces.locate(index),
        }
    }
}

/// Whether a list of few bytes may take the element and be one.
fn has_room(pack: &Pack, item: Item<'_>) -> bool {
    pack.used() + codec::body_len(item) <= SMALL_BYTES
}

/// Removes up to `budget` of the elements that are the needle, except the first `spared` of them.
fn remove_from_pack(pack: &mut Pack, needle: Needle<'_>, spared: usize, budget: usize) -> usize {
    let (mut at, mut seen, mut removed) = (pack.start(), 0, 0);
    while at < pack.end() && removed < budget {
        let (item, next) = pack.read(at);
        let is_it = needle.is(item);
        seen += usize::from(is_it);
        if is_it && seen > spared {
            pack.remove(at, 1);
            removed += 1;
        } else {
            at = next;
        }
    }
    removed
}

impl Pieces {
    #[inline]
    fn pop_with<R>(&mut self, end: End, visit: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        let chunk = self.edge_mut(end);
        let seen = chunk.pop_with(end, visit);
        if chunk.count() == 0 {
            self.drop_edge(end);
        }
        seen
    }

    #[inline]
    fn push(&mut self, end: End, item: Item<'_>, limit: ChunkLimit) {
        let chunks = &mut self.chunks;
        let edge = if end == End::Front { chunks.front_mut() } else { chunks.back_mut() };
        if !edge.as_ref().is_some_and(|chunk| chunk.fits(item, limit)) {
            if let Some(full) = edge {
                let before = full.capacity();
                full.give_back();
                self.reserved = self.reserved + full.capacity() - before;
            }
            let chunk = Chunk::expecting_more(item, limit, end == End::Front);
            self.reserved += chunk.capacity();
            if end == End::Front { chunks.push_front(chunk) } else { chunks.push_back(chunk) }
        }
        let chunk = self.edge_mut(end);
        let before = chunk.capacity();
        chunk.push(end, item);
        let after = chunk.capacity();
        self.reserved = self.reserved + after - before;
        self.len += 1;
    }

    #[inline]
    fn edge_mut(&mut self, end: End) -> &mut Chunk {
        let chunks = &mut self.chunks;
        let edge = if end == End::Front { chunks.front_mut() } else { chunks.back_mut() };
        edge.expect("a list with elements has pieces")
    }

    /// Inserts before element `inner` of the piece `at`.
    fn insert(&mut self, at: usize, inner: usize, item: Item<'_>, limit: ChunkLimit) {
        self.len += 1;
        if self.chunks[at].fits(item, limit) {
            self.on_chunk(at, |chunk| chunk.insert(inner, item));
        } else if inner == 0 && at > 0 && self.chunks[at - 1].fits(item, limit) {
            self.on_chunk(at - 1, |chunk| chunk.push_back(item));
        } else {
            self.split_and_insert(at, inner, item, limit);
        }
    }

    /// Inserts before element `inner` of the full piece `at`, which is split there.
    fn split_and_insert(&mut self, at: usize, inner: usize, item: Item<'_>, limit: ChunkLimit) {
        let mut place = at;
        if inner > 0 {
            let rest = self.chunks[at].split_off(inner);
            self.reserved += rest.capacity();
            self.chunks.insert(at + 1, rest);
            place = at + 1;
        }
        if inner > 0 && self.chunks[at].fits(item, limit) {
            self.on_chunk(at, |chunk| chunk.push_back(item));
        } else if inner > 0 && self.chunks[place].fits(item, limit) {
            self.on_chunk(place, |chunk| chunk.push_front(item));
        } else {
            self.chunks.insert(place, Chunk::default());
            self.on_chunk(place, |chunk| chunk.push_back(item));
        }
    }

    /// Changes a piece and keeps account of its memory.
    fn on_chunk(&mut self, at: usize, change: impl FnOnce(&mut Chunk)) {
        let chunk = &mut self.chunks[at];
        let before = chunk.capacity();
        change(chunk);
        let after = chunk.capacity();
        self.reserved = self.reserved + after - before;
    }

    fn drop_edge(&mut self, end: End) {
        let chunks = &mut self.chunks;
        let edge = if end == End::Front { chunks.pop_front() } else { chunks.pop_back() };
        self.reserved -= edge.map_or(0, |chunk| chunk.capacity());
    }

    fn drop_many(&mut self, end: End, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let chunk = self.edge_mut(end);
            let here = chunk.count().min(count);
            chunk.drop_at(end, here);
            count -= here;
            if chunk.count() == 0 {
                self.drop_edge(end);
            }
        }
    }

    /// Drops empty pieces and joins neighbours that fill less than half of one together.
    fn compact(&mut self, limit: ChunkLimit) {
        let mut joined: VecDeque<Chunk> = VecDeque::with_capacity(self.chunks.len());
        for chunk in self.chunks.drain(..).filter(|chunk| chunk.count() > 0) {
            match joined.back_mut() {
                Some(last)
                    if last.packed_len() + chunk.packed_len() + FRAME <= limit.bytes / 2
                        && last.count() + chunk.count() <= limit.count =>
                {
                    last.append(&chunk);
                }
                _ => joined.push_back(chunk),
            }
        }
        self.reserved = joined.iter().map(Chunk::capacity).sum();
        self.chunks = joined;
    }

    /// The piece that has this index, and the index within it.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut rest = index;
            for (at, chunk) in self.chunks.iter().enumerate() {
                if rest < chunk.count() {
                    return Some((at, rest));
                }
                rest -= chunk.count();
            }
        } else {
            let mut before = self.len;
            for (at, chunk) in self.chunks.iter().enumerate().rev() {
                before -= chunk.count();
                if index >= before {
                    return Some((at, index - before));
                }
            }
        }
        unreachable!("the counts of the pieces add up to the length of the list")
    }
}

/// One piece of a list.
#[derive(Debug, Clone, Copy)]
pub struct ListNode<'a>(Node<'a>);

#[derive(Debug, Clone, Copy)]
enum Node<'a> {
    Pack(&'a Pack),
    Chunk(&'a Chunk),
}

impl ListNode<'_> {
    /// How many elements the piece has.
    pub fn count(&self) -> usize {
        match self.0 {
            Node::Pack(pack) => pack.len(),
            Node::Chunk(chunk) => chunk.count(),
        }
    }

    /// How many bytes [`ListNode::write_listpack`] appends.
    pub fn listpack_len(&self) -> usize {
        match self.0 {
            Node::Pack(pack) => pack.listpack_len(),
            Node::Chunk(chunk) => chunk.packed_len() + FRAME,
        }
    }

    /// Appends the piece as a listpack.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        match self.0 {
            Node::Pack(pack) => pack.write_listpack(out),
            Node::Chunk(chunk) => {
                let total = u32::try_from(self.listpack_len()).expect("a piece is below 4 GiB");
                let count = u16::try_from(self.count()).unwrap_or(u16::MAX);
                out.extend_from_slice(&total.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                chunk.write_packed(out);
                out.push(codec::END);
            }
        }
    }
}

/// The elements of a list from some index on.
#[derive(Clone)]
pub struct ListIter<'a> {
    list: &'a List,
    at: usize,
    current: ChunkIter<'a>,
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(item);
            }
            self.current = self.list.another_chunk(self.at + 1)?.iter();
            self.at += 1;
        }
    }
}

/// The elements of a list from some index on towards the front.
#[derive(Clone)]
pub struct ListIterBack<'a> {
    list: &'a List,
    at: usize,
    current: ChunkIter<'a>,
}

impl<'a> Iterator for ListIterBack<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.current.next_back() {
                return Some(item);
            }
            if self.at == 0 {
                return None;
            }
            self.at -= 1;
            self.current = self.list.another_chunk(self.at)?.iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(size: i64) -> EncodingLimits {
        EncodingLimits { list_max_listpack_size: size, ..EncodingLimits::default() }
    }

    fn texts(list: &List) -> Vec<Vec<u8>> {
        list.iter().map(Item::to_vec).collect()
    }

    #[test]
    fn it_becomes_a_quicklist_and_a_listpack_again() {
        let limits = limits(-2);
        let mut list = List::new();
        let mut pushed = 0;
        while list.encoding() == Encoding::ListPack {
            list.push_front(b"sixteen bytes...", &limits);
            pushed += 1;
        }
        assert_eq!(pushed, (8192 - 7 - 16) / 18 + 2, "the push that would exceed 8 KiB");
        while list.encoding() == Encoding::QuickList {
            list.pop_front().unwrap();
            list.shrink(&limits);
            pushed -= 1;
        }
        assert_eq!(pushed, (4096 - 7) / 18, "below half of it");
    }

    #[test]
    fn elements_cost_their_bytes_and_two_more_where_lengths_differ() {
        let limits = limits(-2);
        let each = |width: fn(usize) -> usize| {
            let mut list = List::new();
            for number in 0..100_000 {
                let width = width(number);
                list.push_front(format!("e{number:0width$}").as_bytes(), &limits);
            }
            list.heap_bytes() as f64 / 100_000.0
        };
        let (same, different) = (each(|_| 15), each(|number| 14 + number % 3));
        assert!(same < 16.2, "{same} bytes an item of 16");
        assert!(different < 18.3, "{different} bytes an item of 15 to 17");
        let mut small = List::new();
        assert_eq!(small.heap_bytes(), 0);
        (0..5).for_each(|_| small.push_back(b"sixteen bytes...", &limits));
        assert_eq!(small.heap_bytes(), 96, "five times 17, and 6");
    }

    #[test]
    fn one_element_of_another_length_is_one_among_others() {
        // All that can happen to a piece of equal texts when one comes that is not.
        type Change = fn(&mut List, &[u8], &EncodingLimits);
        let changes: [Change; 4] = [
            |list, text, limits| list.push_back(text, limits),
            |list, text, limits| list.push_front(text, limits),
            |list, text, limits| list.insert(2, text, limits),
            |list, text, limits| assert!(list.set(2, text, limits)),
        ];
        for (change, want) in changes.iter().zip(["abcd.", ".abcd", "ab.cd", "ab.d"]) {
            for (other, size) in [("", -2), ("7", -2), ("longer", -2), ("longer", 3), ("1234", 2)] {
                let (limits, mut list) = (limits(size), List::new());
                for text in ["aaaa", "bbbb", "cccc", "dddd"] {
                    list.push_back(text.as_bytes(), &limits);
                }
                change(&mut list, other.as_bytes(), &limits);
                let want: Vec<Vec<u8>> = want
                    .chars()
                    .map(|mark| if mark == '.' { other.into() } else { [mark as u8; 4].into() })
                    .collect();
                assert_eq!(texts(&list), want, "{other:?} with {size}");
                let back: Vec<_> = list.iter_back_from(want.len() - 1).map(Item::to_vec).collect();
                assert!(back.iter().eq(want.iter().rev()), "{other:?} with {size}, backwards");
            }
        }
    }

    #[test]
    fn an_element_larger_than_a_piece_has_its_own() {
        let (limits, mut list) = (limits(-1), List::new());
        let large = vec![b'x'; 100_000];
        for text in [&b"a"[..], &large, b"b", b"c"] {
            list.push_back(text, &limits);
        }
        list.insert(3, &large, &limits);
        assert!(list.set(0, &large, &limits));
        let lens: Vec<usize> = list.iter().map(Item::len).collect();
        assert_eq!(lens, [100_000, 100_000, 1, 100_000, 1]);
    }

    #[derive(Debug, Clone)]
    enum Edit {
        Push(bool, String),
        Pop(bool),
        Set(prop::sample::Index, String),
        Insert(prop::sample::Index, String),
        Remove(i64, String),
        Trim(prop::sample::Index, prop::sample::Index),
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![1 => "[ab]", 1 => "-?[0-9]{1,6}", 1 => "[a-z]{0,70}", 6 => "[ab]{5}"]
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            8 => (any::<bool>(), text()).prop_map(|(front, text)| Edit::Push(front, text)),
            2 => any::<bool>().prop_map(Edit::Pop),
            2 => (any::<prop::sample::Index>(), text()).prop_map(|(at, text)| Edit::Set(at, text)),
            4 => (any::<prop::sample::Index>(), text()).prop_map(|(at, text)| Edit::Insert(at, text)),
            1 => (-3i64..4, text()).prop_map(|(count, text)| Edit::Remove(count, text)),
            1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
                .prop_map(|(start, stop)| Edit::Trim(start, stop)),
        ]
    }

    fn remove_from(model: &mut Vec<Vec<u8>>, count: i64, text: &[u8]) -> usize {
        let mut places: Vec<usize> = (0..model.len()).filter(|&at| model[at] == text).collect();
        if count < 0 {
            places.reverse();
        }
        if count != 0 {
            places.truncate(count.unsigned_abs() as usize);
        }
        places.sort_unstable();
        for &at in places.iter().rev() {
            model.remove(at);
        }
        places.len()
    }

    fn apply(list: &mut List, model: &mut Vec<Vec<u8>>, edit: Edit, limits: &EncodingLimits) {
        match edit {
            Edit::Push(true, text) => {
                list.push_front(text.as_bytes(), limits);
                model.insert(0, text.into_bytes());
            }
            Edit::Push(false, text) => {
                list.push_back(text.as_bytes(), limits);
                model.push(text.into_bytes());
            }
            Edit::Pop(front) => {
                let got = if front { list.pop_front() } else { list.pop_back() };
                let want =
                    if front && !model.is_empty() { Some(model.remove(0)) } else { model.pop() };
                assert_eq!(got, want);
                list.shrink(limits);
            }
            Edit::Set(at, text) if !model.is_empty() => {
                let at = at.index(model.len());
                assert!(list.set(at, text.as_bytes(), limits));
                model[at] = text.into_bytes();
            }
            Edit::Set(..) => assert!(!list.set(0, b"x", limits)),
            Edit::Insert(at, text) => {
                let at = at.index(model.len() + 1);
                list.insert(at, text.as_bytes(), limits);
                model.insert(at, text.into_bytes());
            }
            Edit::Remove(count, text) => {
                let want = remove_from(model, count, text.as_bytes());
                assert_eq!(list.remove(count, text.as_bytes(), limits), want);
            }
            Edit::Trim(start, stop) => {
                // Trims keep most, or nothing would ever grow.
                let start = start.index(model.len() / 8 + 1);
                let stop = model.len() - stop.index(model.len() / 8 + 1);
                list.trim(start, stop);
                *model = model.get(start..stop).map_or_else(Vec::new, <[Vec<u8>]>::to_vec);
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_vector(size in prop_oneof![Just(-2i64), Just(3), Just(-1), Just(1), Just(50)],
                          edits in prop::collection::vec(edit(), 0..250)) {
            let limits = limits(size);
            let (mut list, mut model) = (List::new(), Vec::new());
            for edit in edits {
                apply(&mut list, &mut model, edit, &limits);
                prop_assert_eq!(list.len(), model.len());
            }
            prop_assert_eq!(&texts(&list), &model);
            if let Form::Large(pieces) = list.body.get() {
                let reserved: usize = pieces.chunks.iter().map(Chunk::capacity).sum();
                prop_assert_eq!(pieces.reserved, reserved);
            }
            for at in 0..model.len() {
                prop_assert_eq!(list.get(at).map(Item::to_vec), Some(model[at].clone()));
                prop_assert_eq!(list.iter_from(at).count(), model.len() - at);
                let back: Vec<_> = list.iter_back_from(at).map(Item::to_vec).collect();
                prop_assert!(back.iter().eq(model[..=at].iter().rev()));
            }
            let mut copy = List::new();
            for node in list.nodes().filter(|node| node.count() > 0) {
                let mut bytes = Vec::new();
                node.write_listpack(&mut bytes);
                copy.append_pack(&Pack::from_untrusted(&bytes).unwrap(), &limits);
            }
            prop_assert_eq!(&texts(&copy), &model);
        }
    }
}
