//! Lists: a deque of packed pieces.
//!
//! A small list is one piece (`listpack`); beyond `list-max-listpack-size` it is several
//! (`quicklist`). Pieces keep their free room at the end that grows, so pushing at the head moves
//! no memory. Finding an index walks the counts of the pieces from the nearer end.

use std::collections::VecDeque;

use super::chunk::{Chunk, ChunkLimit, FRAME};
use super::codec;
use super::item::{Item, Needle};
use super::pack::{Pack, PackIter};
use crate::value::{Encoding, EncodingLimits};

/// A sequence of elements, cheap at both ends.
#[derive(Debug, Clone)]
pub struct List {
    len: usize,
    /// What the buffers of all pieces have reserved.
    reserved: usize,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    One(Chunk),
    /// No piece is empty.
    Many(VecDeque<Chunk>),
}

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head, index 0.
    Front,
    /// The tail.
    Back,
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List { len: 0, reserved: 0, body: Body::One(Chunk::default()) }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `listpack` or `quicklist`.
    pub fn encoding(&self) -> Encoding {
        match self.body {
            Body::One(_) => Encoding::ListPack,
            Body::Many(_) => Encoding::QuickList,
        }
    }

    /// How many bytes the list has reserved outside its own struct.
    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            Body::One(_) => self.reserved,
            Body::Many(chunks) => self.reserved + chunks.capacity() * size_of::<Chunk>(),
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
        if let Body::One(chunk) = &self.body
            && (chunk.used() + FRAME + bytes > limit.bytes
                || chunk.count().saturating_add(count) > limit.count)
        {
            self.make_many();
        }
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &EncodingLimits) {
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let item = Item::of(text);
        if let Body::One(chunk) = &self.body
            && (chunk.used() + FRAME + text.len() > limit.bytes || chunk.count() >= limit.count)
        {
            self.make_many();
        }
        if let Body::Many(chunks) = &mut self.body {
            let need = codec::encoded_len(item);
            let edge = if end == End::Front { chunks.front() } else { chunks.back() };
            if !edge.is_some_and(|chunk| chunk.fits(need, limit)) {
                let chunk = Chunk::expecting_more(limit, end == End::Front);
                self.reserved += chunk.capacity();
                if end == End::Front { chunks.push_front(chunk) } else { chunks.push_back(chunk) }
            }
        }
        let chunk = self.edge_mut(end);
        let before = chunk.capacity();
        if end == End::Front {
            chunk.push_front(item, limit)
        } else {
            chunk.push_back(item, limit)
        }
        let after = chunk.capacity();
        self.reserved = self.reserved + after - before;
        self.len += 1;
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
        if self.len == 0 {
            return None;
        }
        let chunk = self.edge_mut(end);
        let item = if end == End::Front { chunk.front() } else { chunk.back() };
        let seen = visit(item.expect("a piece of a list with elements is not empty"));
        if end == End::Front {
            chunk.drop_front(1)
        } else {
            chunk.drop_back(1)
        }
        let emptied = chunk.count() == 0;
        self.len -= 1;
        if emptied {
            self.drop_edge(end);
        }
        Some(seen)
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
        let (at, index) = self.locate(index)?;
        Some(self.chunk(at).get(index))
    }

    /// Puts another element in the place of the one with this index; false if there is none.
    pub fn set(&mut self, index: usize, text: &[u8], limits: &EncodingLimits) -> bool {
        if index >= self.len {
            return false;
        }
        self.prepare(1, text.len(), limits);
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let (at, inner) = self.locate(index).expect("the index was checked");
        let item = Item::of(text);
        let many = matches!(self.body, Body::Many(_));
        let chunk = self.chunk(at);
        if many
            && chunk.count() > 1
            && chunk.used() + codec::encoded_len(item) + FRAME > limit.bytes
        {
            self.on_chunk(at, |chunk| chunk.remove(inner, limit));
            self.len -= 1;
            self.insert(index, text, limits);
        } else {
            self.on_chunk(at, |chunk| chunk.replace(inner, item, limit));
        }
        true
    }

    /// Inserts an element before the one with this index (at the end, for the index `len`).
    pub fn insert(&mut self, index: usize, text: &[u8], limits: &EncodingLimits) {
        assert!(index <= self.len, "insertion at {index} in a list of {}", self.len);
        if index == 0 || index == self.len {
            let end = if index == 0 { End::Front } else { End::Back };
            return self.push(end, text, limits);
        }
        self.prepare(1, text.len(), limits);
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let item = Item::of(text);
        let need = codec::encoded_len(item);
        let (at, inner) = self.locate(index).expect("the index was checked");
        self.len += 1;
        if matches!(self.body, Body::One(_)) || self.chunk(at).fits(need, limit) {
            self.on_chunk(at, |chunk| chunk.insert(inner, item, limit));
        } else if inner == 0 && at > 0 && self.chunk(at - 1).fits(need, limit) {
            self.on_chunk(at - 1, |chunk| chunk.push_back(item, limit));
        } else {
            self.split_and_insert(at, inner, item, limit);
        }
    }

    /// Inserts before element `inner` of the full piece `at`, which is split there.
    fn split_and_insert(&mut self, at: usize, inner: usize, item: Item<'_>, limit: ChunkLimit) {
        let need = codec::encoded_len(item);
        let Body::Many(chunks) = &mut self.body else {
            unreachable!("only a list of many pieces splits one")
        };
        let mut place = at;
        if inner > 0 {
            let rest = chunks[at].split_off(inner);
            self.reserved += rest.capacity();
            chunks.insert(at + 1, rest);
            place = at + 1;
        }
        if inner > 0 && chunks[at].fits(need, limit) {
            self.on_chunk(at, |chunk| chunk.push_back(item, limit));
        } else if inner > 0 && chunks[place].fits(need, limit) {
            self.on_chunk(place, |chunk| chunk.push_front(item, limit));
        } else {
            chunks.insert(place, Chunk::default());
            self.on_chunk(place, |chunk| chunk.push_back(item, limit));
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
            let all: usize = self.chunks().map(|chunk| chunk.matches(needle)).sum();
            all.saturating_sub(budget)
        } else {
            0
        };
        let mut removed = 0;
        for at in 0..self.chunk_count() {
            if budget == 0 {
                break;
            }
            removed += self.chunk_mut(at).remove_matches(needle, &mut spared, &mut budget);
        }
        self.len -= removed;
        if removed > 0 {
            self.compact(ChunkLimit::of_setting(limits.list_max_listpack_size));
        }
        removed
    }

    /// Keeps only the elements with indexes in `start..stop`.
    pub fn trim(&mut self, start: usize, stop: usize) {
        let stop = stop.min(self.len);
        let start = start.min(stop);
        self.drop_many(End::Back, self.len - stop);
        self.drop_many(End::Front, start);
    }

    /// The elements from this index on.
    pub fn iter_from(&self, index: usize) -> ListIter<'_> {
        match self.locate(index) {
            Some((at, inner)) => {
                ListIter { list: self, at, current: self.chunk(at).iter_from(inner) }
            }
            None => ListIter { list: self, at: usize::MAX - 1, current: PackIter::over(&[], 0, 0) },
        }
    }

    /// The elements from this index on towards the front.
    pub fn iter_back_from(&self, index: usize) -> ListIterBack<'_> {
        match self.locate(index) {
            Some((at, inner)) => {
                ListIterBack { list: self, at, current: self.chunk(at).iter_through(inner) }
            }
            None => ListIterBack { list: self, at: 0, current: PackIter::over(&[], 0, 0) },
        }
    }

    /// All elements.
    pub fn iter(&self) -> ListIter<'_> {
        self.iter_from(0)
    }

    /// The pieces, for RDB files.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = ListNode<'_>> {
        (0..self.chunk_count()).map(|at| ListNode { chunk: self.chunk(at) })
    }

    /// Appends a packed piece, as RDB files have them.
    pub fn append_pack(&mut self, pack: &Pack, limits: &EncodingLimits) {
        if pack.is_empty() {
            return;
        }
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size);
        let chunk = Chunk::of_elements(&pack.as_bytes()[pack.start()..pack.end()], pack.len());
        if self.len == 0 && chunk.within(limit) {
            self.len = chunk.count();
            self.reserved = chunk.capacity();
            self.body = Body::One(chunk);
            return;
        }
        self.make_many();
        self.len += chunk.count();
        self.reserved += chunk.capacity();
        if let Body::Many(chunks) = &mut self.body {
            chunks.push_back(chunk);
        }
    }

    /// After removals: a list that has become small takes the small form again.
    pub fn shrink(&mut self, limits: &EncodingLimits) {
        let limit = ChunkLimit::of_setting(limits.list_max_listpack_size).half();
        if let Body::Many(chunks) = &mut self.body
            && chunks.len() <= 1
            && chunks.front().is_none_or(|chunk| chunk.within(limit))
        {
            let chunk = chunks.pop_front().unwrap_or_default();
            self.body = Body::One(chunk);
        }
    }

    fn make_many(&mut self) {
        if let Body::One(chunk) = &mut self.body {
            let chunk = std::mem::take(chunk);
            let mut chunks = VecDeque::with_capacity(4);
            if chunk.count() > 0 {
                chunks.push_back(chunk);
            } else {
                self.reserved = 0;
            }
            self.body = Body::Many(chunks);
        }
    }

    fn chunk_count(&self) -> usize {
        match &self.body {
            Body::One(_) => 1,
            Body::Many(chunks) => chunks.len(),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        (0..self.chunk_count()).map(|at| self.chunk(at))
    }

    fn chunk(&self, at: usize) -> &Chunk {
        match &self.body {
            Body::One(chunk) => chunk,
            Body::Many(chunks) => &chunks[at],
        }
    }

    fn chunk_mut(&mut self, at: usize) -> &mut Chunk {
        match &mut self.body {
            Body::One(chunk) => chunk,
            Body::Many(chunks) => &mut chunks[at],
        }
    }

    #[inline]
    fn edge_mut(&mut self, end: End) -> &mut Chunk {
        match &mut self.body {
            Body::One(chunk) => chunk,
            Body::Many(chunks) => {
                let edge = if end == End::Front { chunks.front_mut() } else { chunks.back_mut() };
                edge.expect("a list with elements has pieces")
            }
        }
    }

    /// Changes a piece and keeps account of its memory.
    fn on_chunk(&mut self, at: usize, change: impl FnOnce(&mut Chunk)) {
        let chunk = self.chunk_mut(at);
        let before = chunk.capacity();
        change(chunk);
        let after = chunk.capacity();
        self.reserved = self.reserved + after - before;
    }

    /// Drops the piece at one end of a list of many.
    fn drop_edge(&mut self, end: End) {
        if let Body::Many(chunks) = &mut self.body {
            let edge = if end == End::Front { chunks.pop_front() } else { chunks.pop_back() };
            self.reserved -= edge.map_or(0, |chunk| chunk.capacity());
        }
    }

    fn drop_many(&mut self, end: End, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let chunk = self.edge_mut(end);
            let here = chunk.count().min(count);
            if end == End::Front {
                chunk.drop_front(here)
            } else {
                chunk.drop_back(here)
            }
            count -= here;
            if chunk.count() == 0 {
                self.drop_edge(end);
            }
        }
    }

    /// Drops empty pieces and joins neighbours that fill less than half of one together.
    fn compact(&mut self, limit: ChunkLimit) {
        let Body::Many(chunks) = &mut self.body else { return };
        let mut joined: VecDeque<Chunk> = VecDeque::with_capacity(chunks.len());
        for chunk in chunks.drain(..).filter(|chunk| chunk.count() > 0) {
            match joined.back_mut() {
                Some(last)
                    if last.used() + chunk.used() + FRAME <= limit.bytes / 2
                        && last.count() + chunk.count() <= limit.count =>
                {
                    last.append(&chunk, limit);
                }
                _ => joined.push_back(chunk),
            }
        }
        self.reserved = joined.iter().map(Chunk::capacity).sum();
        *chunks = joined;
    }

    /// The piece that has this index, and the index within it.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        let Body::Many(chunks) = &self.body else { return Some((0, index)) };
        if index < self.len / 2 {
            let mut rest = index;
            for (at, chunk) in chunks.iter().enumerate() {
                if rest < chunk.count() {
                    return Some((at, rest));
                }
                rest -= chunk.count();
            }
        } else {
            let mut before = self.len;
            for (at, chunk) in chunks.iter().enumerate().rev() {
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
pub struct ListNode<'a> {
    chunk: &'a Chunk,
}

impl ListNode<'_> {
    /// How many elements the piece has.
    pub fn count(&self) -> usize {
        self.chunk.count()
    }

    /// How many bytes [`ListNode::write_listpack`] appends.
    pub fn listpack_len(&self) -> usize {
        self.chunk.used() + FRAME
    }

    /// Appends the piece as a listpack.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        let total = u32::try_from(self.listpack_len()).expect("a piece is below 4 GiB");
        let count = u16::try_from(self.count()).unwrap_or(u16::MAX);
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(self.chunk.elements());
        out.push(codec::END);
    }
}

/// The elements of a list from some index on.
#[derive(Clone)]
pub struct ListIter<'a> {
    list: &'a List,
    at: usize,
    current: PackIter<'a>,
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(item);
            }
            if self.at + 1 >= self.list.chunk_count() {
                return None;
            }
            self.at += 1;
            self.current = self.list.chunk(self.at).iter();
        }
    }
}

/// The elements of a list from some index on towards the front.
#[derive(Clone)]
pub struct ListIterBack<'a> {
    list: &'a List,
    at: usize,
    current: PackIter<'a>,
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
            self.current = self.list.chunk(self.at).iter();
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
    fn sixteen_byte_items_cost_eighteen_bytes_or_little_more() {
        let (limits, mut list) = (limits(-2), List::new());
        for number in 0..100_000 {
            list.push_front(format!("item{number:012}").as_bytes(), &limits);
        }
        let each = list.heap_bytes() as f64 / 100_000.0;
        assert!(each < 18.5, "{each} bytes an item");
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
        prop_oneof!["[ab]", "-?[0-9]{1,6}", "[a-z]{0,70}"]
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
        fn it_is_a_vector(size in prop_oneof![Just(-2i64), Just(3), Just(-1), Just(1), Just(16)],
                          edits in prop::collection::vec(edit(), 0..250)) {
            let limits = limits(size);
            let (mut list, mut model) = (List::new(), Vec::new());
            for edit in edits {
                apply(&mut list, &mut model, edit, &limits);
                prop_assert_eq!(list.len(), model.len());
            }
            prop_assert_eq!(&texts(&list), &model);
            let reserved: usize = list.chunks().map(Chunk::capacity).sum();
            prop_assert_eq!(list.reserved, reserved);
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
