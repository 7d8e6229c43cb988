//! A piece of a list: elements with room to grow at either end.
//!
//! As long as all of them are texts of one length, as ids and records often are, they are nothing but
//! their bytes, one behind the other. With the first that differs all become elements of a listpack,
//! which can be read from either end.

use super::codec;
use super::item::{Item, Needle};
use super::list::End;
use super::pack::Pack;
use crate::entry::round_up;

/// What a listpack has around its elements: its header and its end mark.
pub(crate) const FRAME: usize = 7;

/// How large a piece may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimit {
    /// Bytes of the listpack that the piece is in an RDB file.
    pub(crate) bytes: usize,
    /// Elements.
    pub(crate) count: usize,
}

impl ChunkLimit {
    /// The limit that `list-max-listpack-size` names.
    pub(crate) fn of_setting(setting: i64) -> ChunkLimit {
        match setting {
            1.. => ChunkLimit { bytes: 8192, count: setting as usize },
            0 => ChunkLimit { bytes: 8192, count: 1 },
            -1 => ChunkLimit { bytes: 4096, count: usize::MAX },
            -2 => ChunkLimit { bytes: 8192, count: usize::MAX },
            -3 => ChunkLimit { bytes: 16_384, count: usize::MAX },
            -4 => ChunkLimit { bytes: 32_768, count: usize::MAX },
            _ => ChunkLimit { bytes: 65_536, count: usize::MAX },
        }
    }

    /// The limit that a list of one piece must be under to count as small again.
    pub(crate) fn half(self) -> ChunkLimit {
        ChunkLimit { bytes: self.bytes / 2, count: self.count / 2 }
    }
}

/// Elements at `start..end` of a buffer; the rest of it is room for more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    buffer: Box<[u8]>,
    start: u32,
    end: u32,
    count: u32,
    /// How long each element is, if they are texts of one length; else 0.
    width: u32,
}

impl Chunk {
    /// A piece of these elements.
    pub(crate) fn of_pack(pack: &Pack) -> Chunk {
        let mut chunk = Chunk::default();
        pack.iter().for_each(|item| chunk.push_back(item));
        chunk
    }

    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn used(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes the elements take in a listpack.
    #[inline]
    pub(crate) fn packed_len(&self) -> usize {
        match self.width {
            0 => self.used(),
            width => self.count() * codec::encoded_len_of_text(width as usize),
        }
    }

    /// Appends the elements as they are in a listpack.
    pub(crate) fn write_packed(&self, out: &mut Vec<u8>) {
        if self.width == 0 {
            return out.extend_from_slice(&self.buffer[self.start as usize..self.end as usize]);
        }
        let begin = out.len();
        out.resize(begin + self.packed_len(), 0);
        pack_into(self.iter(), &mut out[begin..]);
    }

    fn iter_between(&self, front: usize, back: usize) -> ChunkIter<'_> {
        ChunkIter { bytes: &self.buffer, front, back, width: self.width as usize }
    }

    pub(crate) fn iter(&self) -> ChunkIter<'_> {
        self.iter_between(self.start as usize, self.end as usize)
    }

    /// The elements from this index on.
    pub(crate) fn iter_from(&self, index: usize) -> ChunkIter<'_> {
        self.iter_between(self.place(index), self.end as usize)
    }

    /// Those before and at this index, for walking backwards.
    pub(crate) fn iter_through(&self, index: usize) -> ChunkIter<'_> {
        self.iter_between(self.start as usize, self.place(index + 1))
    }

    /// Whether the element is as the others are, where those are texts of one length.
    #[inline]
    fn is_like_others(&self, item: Item<'_>) -> bool {
        self.width != 0 && matches!(item, Item::Bytes(text) if text.len() == self.width as usize)
    }

    /// Whether an element may join.
    #[inline]
    pub(crate) fn fits(&self, item: Item<'_>, limit: ChunkLimit) -> bool {
        let bytes = if self.is_like_others(item) {
            self.used() + self.width as usize
        } else {
            self.packed_len() + codec::encoded_len(item) + FRAME
        };
        bytes <= limit.bytes && self.count() < limit.count
    }

    /// Whether the whole piece is under the limit.
    pub(crate) fn within(&self, limit: ChunkLimit) -> bool {
        self.packed_len() + FRAME <= limit.bytes && self.count() <= limit.count
    }

    /// Takes the form in which this element can join, and tells how many bytes it then takes.
    #[inline]
    fn need_for(&mut self, item: Item<'_>) -> usize {
        if self.count > 0 {
            if self.width == 0 {
                return codec::encoded_len(item);
            }
            if self.is_like_others(item) {
                return self.width as usize;
            }
        }
        self.change_form_for(item)
    }

    fn change_form_for(&mut self, item: Item<'_>) -> usize {
        if self.count == 0 {
            self.width = if let Item::Bytes(text) = item { narrow(text.len()) } else { 0 };
        } else if self.width != 0 {
            self.make_packed(codec::encoded_len(item));
        }
        match self.width {
            0 => codec::encoded_len(item),
            width => width as usize,
        }
    }

    /// Makes the elements those of a listpack, with room for `more` bytes behind them.
    #[cold]
    fn make_packed(&mut self, more: usize) {
        let len = self.packed_len();
        let mut buffer = room(len + more);
        pack_into(self.iter(), &mut buffer);
        *self = Chunk { buffer, start: 0, end: narrow(len), count: self.count, width: 0 };
    }

    /// Writes an element over the `need` bytes at `at`, in the present form.
    #[inline]
    fn put(&mut self, at: usize, need: usize, item: Item<'_>) {
        let out = &mut self.buffer[at..at + need];
        match item {
            Item::Bytes(text) if self.width != 0 => out.copy_from_slice(text),
            _ => codec::write(out, item),
        }
    }

    /// The element at a place, and the place behind it.
    #[inline]
    fn element(&self, at: usize) -> (Item<'_>, usize) {
        match self.width as usize {
            0 => codec::read(&self.buffer, at),
            width => (Item::Bytes(&self.buffer[at..at + width]), at + width),
        }
    }

    #[inline]
    pub(crate) fn push_back(&mut self, item: Item<'_>) {
        let need = self.need_for(item);
        if self.buffer.len() - (self.end as usize) < need {
            self.make_room(need, false);
        }
        self.put(self.end as usize, need, item);
        self.end += narrow(need);
        self.count += 1;
    }

    #[inline]
    pub(crate) fn push_front(&mut self, item: Item<'_>) {
        let need = self.need_for(item);
        if (self.start as usize) < need {
            self.make_room(need, true);
        }
        self.start -= narrow(need);
        self.put(self.start as usize, need, item);
        self.count += 1;
    }

    /// Makes room for `need` bytes at one end: by sliding the elements to the other end where the
    /// buffer is large enough, else with a larger buffer, whose whole new room lies at that end.
    #[cold]
    fn make_room(&mut self, need: usize, at_front: bool) {
        let (used, wanted) = (self.used(), self.used() + need);
        let (start, end) = (self.start as usize, self.end as usize);
        if wanted <= self.buffer.len() {
            let to = if at_front { self.buffer.len() - used } else { 0 };
            self.buffer.copy_within(start..end, to);
            self.start = narrow(to);
            self.end = narrow(to + used);
        } else {
            self.move_to(room(wanted), at_front);
        }
    }

    /// Moves the elements to another buffer, to its end or to its beginning.
    fn move_to(&mut self, mut buffer: Box<[u8]>, to_end: bool) {
        let used = self.used();
        let to = if to_end { buffer.len() - used } else { 0 };
        buffer[to..to + used].copy_from_slice(&self.buffer[self.start as usize..self.end as usize]);
        (self.buffer, self.start, self.end) = (buffer, narrow(to), narrow(to + used));
    }

    /// Gives back what is reserved beyond the present elements, if that is much.
    pub(crate) fn give_back(&mut self) {
        if round_up(self.used()) <= self.buffer.len() / 8 * 7 {
            self.move_to(room(self.used()), false);
        }
    }

    /// A piece for this element that takes the whole buffer that the limit allows at once, if the
    /// piece is expected to fill with more of them.
    pub(crate) fn expecting_more(item: Item<'_>, limit: ChunkLimit, at_front: bool) -> Chunk {
        let fills = limit.count == usize::MAX && codec::encoded_len(item) <= limit.bytes / 4;
        let room = if fills { limit.bytes } else { 0 };
        let start = if at_front { narrow(room) } else { 0 };
        Chunk { buffer: vec![0; room].into(), start, end: start, count: 0, width: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, end: End, item: Item<'_>) {
        match end {
            End::Front => self.push_front(item),
            End::Back => self.push_back(item),
        }
    }

    /// Shows the element at one end to `visit`, then removes it.
    #[inline]
    pub(crate) fn pop_with<R>(&mut self, end: End, visit: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let item = if end == End::Front { self.iter().next() } else { self.iter().next_back() };
        let seen = visit(item?);
        self.drop_at(end, 1);
        Some(seen)
    }

    /// Removes `count` elements, no more than there are, at one end.
    pub(crate) fn drop_at(&mut self, end: End, count: usize) {
        match end {
            End::Front => self.start = narrow(self.place(count)),
            End::Back => self.end = narrow(self.place(self.count() - count)),
        }
        self.count -= narrow(count);
    }

    /// The place of the element with this index (the end, for the index after the last), walking
    /// from the nearer end where they differ in length.
    pub(crate) fn place(&self, index: usize) -> usize {
        if self.width != 0 {
            return self.start as usize + index * self.width as usize;
        }
        let bytes = &self.buffer[..self.end as usize];
        if index <= self.count() / 2 {
            (0..index).fold(self.start as usize, |at, _| codec::skip(bytes, at))
        } else {
            (index..self.count()).fold(self.end as usize, |at, _| codec::step_back(bytes, at))
        }
    }

    pub(crate) fn get(&self, index: usize) -> Item<'_> {
        self.element(self.place(index)).0
    }

    /// Inserts before the element with this index.
    pub(crate) fn insert(&mut self, index: usize, item: Item<'_>) {
        let new = self.need_for(item);
        let at = self.splice(self.place(index), 0, new);
        self.put(at, new, item);
        self.count += 1;
    }

    /// Puts another element in the place of the one with this index.
    pub(crate) fn replace(&mut self, index: usize, item: Item<'_>) {
        let new = self.need_for(item);
        let at = self.place(index);
        let at = self.splice(at, self.element(at).1 - at, new);
        self.put(at, new, item);
    }

    /// Removes the element with this index.
    pub(crate) fn remove(&mut self, index: usize) {
        let at = self.place(index);
        self.splice(at, self.element(at).1 - at, 0);
        self.count -= 1;
    }

    /// Makes `new` bytes of the `old` ones at `at`, and tells where they are now.
    fn splice(&mut self, at: usize, old: usize, new: usize) -> usize {
        let offset = at - self.start as usize;
        if self.end as usize + new > self.buffer.len() + old {
            self.make_room(new - old, false);
        }
        let (at, end) = (self.start as usize + offset, self.end as usize);
        self.buffer.copy_within(at + old..end, at + new);
        self.end = narrow(end + new - old);
        at
    }

    /// Moves the elements from this index on into a piece of their own.
    pub(crate) fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.place(index);
        let mut rest = Chunk {
            buffer: Box::default(),
            start: 0,
            end: 0,
            count: narrow(self.count() - index),
            width: self.width,
        };
        let moved = &self.buffer[at..self.end as usize];
        rest.buffer = room(moved.len());
        rest.buffer[..moved.len()].copy_from_slice(moved);
        rest.end = narrow(moved.len());
        self.end = narrow(at);
        self.count = narrow(index);
        rest
    }

    /// Appends all elements of `other`.
    pub(crate) fn append(&mut self, other: &Chunk) {
        other.iter().for_each(|item| self.push_back(item));
    }

    /// Removes those elements that are the needle, except the first `spared` and what is beyond
    /// `budget`. Both numbers go down by what was met.
    pub(crate) fn remove_matches(
        &mut self,
        needle: Needle<'_>,
        spared: &mut usize,
        budget: &mut usize,
    ) -> usize {
        let (mut from, mut to, end) = (self.start as usize, self.start as usize, self.end as usize);
        let mut removed = 0;
        while from < end && *budget > 0 {
            let (item, next) = self.element(from);
            if needle.is(item) {
                if *spared == 0 {
                    *budget -= 1;
                    removed += 1;
                    from = next;
                    continue;
                }
                *spared -= 1;
            }
            if from != to {
                self.buffer.copy_within(from..next, to);
            }
            to += next - from;
            from = next;
        }
        self.buffer.copy_within(from..end, to);
        self.end = narrow(to + end - from);
        self.count -= narrow(removed);
        removed
    }
}

/// A buffer for so many bytes: as large as the allocator makes it anyway. Its classes are far enough
/// apart that pushing one by one is not quadratic.
fn room(bytes: usize) -> Box<[u8]> {
    vec![0; round_up(bytes)].into()
}

/// Writes elements as they are in a listpack at the beginning of `out`.
fn pack_into<'a>(items: impl Iterator<Item = Item<'a>>, out: &mut [u8]) {
    let mut to = 0;
    for item in items {
        let len = codec::encoded_len(item);
        codec::write(&mut out[to..to + len], item);
        to += len;
    }
}

/// Stands for the width of bare elements.
const BARE: usize = usize::MAX;

/// Elements of a piece, or of a list that is smaller than that, from either end.
#[derive(Clone)]
pub(crate) struct ChunkIter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
    width: usize,
}

impl<'a> ChunkIter<'a> {
    /// The elements of a pack at `front..back`. Backwards each step costs all that is before it.
    pub(crate) fn over_pack(pack: &'a Pack, front: usize, back: usize) -> Self {
        ChunkIter { bytes: pack.stored(), front, back, width: BARE }
    }

    #[cold]
    fn next_bare(&mut self) -> Item<'a> {
        let (item, next) = codec::read_bare(self.bytes, self.front);
        self.front = next;
        item
    }

    #[cold]
    fn last_bare(&mut self) -> Item<'a> {
        let (mut at, mut next) = (self.front, codec::skip_bare(self.bytes, self.front));
        while next < self.back {
            (at, next) = (next, codec::skip_bare(self.bytes, next));
        }
        self.back = at;
        codec::read_bare(self.bytes, at).0
    }
}

impl ChunkIter<'_> {
    /// No elements.
    pub(crate) const NONE: ChunkIter<'static> =
        ChunkIter { bytes: &[], front: 0, back: 0, width: 0 };
}

impl<'a> Iterator for ChunkIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let at = self.front;
        if self.width != 0 {
            if self.width == BARE {
                return Some(self.next_bare());
            }
            self.front += self.width;
            return Some(Item::Bytes(&self.bytes[at..self.front]));
        }
        let (item, next) = codec::read(self.bytes, at);
        self.front = next;
        Some(item)
    }
}

impl DoubleEndedIterator for ChunkIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let end = self.back;
        if self.width != 0 {
            if self.width == BARE {
                return Some(self.last_bare());
            }
            self.back -= self.width;
            return Some(Item::Bytes(&self.bytes[self.back..end]));
        }
        self.back = codec::step_back(self.bytes, end);
        Some(codec::read(self.bytes, self.back).0)
    }
}

fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("a piece of a list is below 4 GiB")
}
