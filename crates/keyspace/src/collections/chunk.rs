//! A piece of a list: packed elements with room to grow at either end.

use super::codec;
use super::item::{Item, Needle};
use super::pack::PackIter;

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
}

impl Chunk {
    /// A piece of these well-formed elements.
    pub(crate) fn of_elements(elements: &[u8], count: usize) -> Chunk {
        Chunk {
            buffer: elements.into(),
            start: 0,
            end: narrow(elements.len()),
            count: narrow(count),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// The bytes of the elements.
    pub(crate) fn elements(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }

    pub(crate) fn used(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn iter(&self) -> PackIter<'_> {
        PackIter::over(&self.buffer, self.start as usize, self.end as usize)
    }

    /// The elements from this index on, and those before and at this index, for walking backwards.
    pub(crate) fn iter_from(&self, index: usize) -> PackIter<'_> {
        PackIter::over(&self.buffer, self.place(index), self.end as usize)
    }

    pub(crate) fn iter_through(&self, index: usize) -> PackIter<'_> {
        PackIter::over(&self.buffer, self.start as usize, self.place(index + 1))
    }

    /// Whether an element of `need` bytes may join.
    #[inline]
    pub(crate) fn fits(&self, need: usize, limit: ChunkLimit) -> bool {
        self.used() + need + FRAME <= limit.bytes && self.count() < limit.count
    }

    /// Whether the whole piece is under the limit.
    pub(crate) fn within(&self, limit: ChunkLimit) -> bool {
        self.used() + FRAME <= limit.bytes && self.count() <= limit.count
    }

    #[inline]
    pub(crate) fn push_back(&mut self, item: Item<'_>, limit: ChunkLimit) {
        let need = codec::encoded_len(item);
        if self.buffer.len() - (self.end as usize) < need {
            self.make_room(need, limit, false);
        }
        let end = self.end as usize;
        codec::write(&mut self.buffer[end..end + need], item);
        self.end += narrow(need);
        self.count += 1;
    }

    #[inline]
    pub(crate) fn push_front(&mut self, item: Item<'_>, limit: ChunkLimit) {
        let need = codec::encoded_len(item);
        if (self.start as usize) < need {
            self.make_room(need, limit, true);
        }
        let start = self.start as usize;
        codec::write(&mut self.buffer[start - need..start], item);
        self.start -= narrow(need);
        self.count += 1;
    }

    /// Makes room for `need` bytes at one end: by sliding the elements to the other end where the
    /// buffer is large enough, else with a larger buffer, whose whole new room lies at that end.
    #[cold]
    fn make_room(&mut self, need: usize, limit: ChunkLimit, at_front: bool) {
        let (used, wanted) = (self.used(), self.used() + need);
        let (start, end) = (self.start as usize, self.end as usize);
        if wanted <= self.buffer.len() {
            let to = if at_front { self.buffer.len() - used } else { 0 };
            self.buffer.copy_within(start..end, to);
            self.start = narrow(to);
        } else {
            let mut buffer = vec![0; room_for(wanted, limit)].into_boxed_slice();
            let to = if at_front { buffer.len() - used } else { 0 };
            buffer[to..to + used].copy_from_slice(&self.buffer[start..end]);
            self.buffer = buffer;
            self.start = narrow(to);
        }
        self.end = self.start + narrow(used);
    }

    /// Takes the whole buffer that the limit allows at once: this piece is expected to fill.
    pub(crate) fn expecting_more(limit: ChunkLimit, at_front: bool) -> Chunk {
        let room = if limit.count == usize::MAX { limit.bytes } else { 0 };
        let start = if at_front { narrow(room) } else { 0 };
        Chunk { buffer: vec![0; room].into(), start, end: start, count: 0 }
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<Item<'_>> {
        self.iter().next()
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<Item<'_>> {
        self.iter().next_back()
    }

    /// Removes `count` elements, no more than there are, from the front.
    pub(crate) fn drop_front(&mut self, count: usize) {
        self.start = narrow(self.place(count));
        self.count -= narrow(count);
    }

    /// Removes `count` elements, no more than there are, from the back.
    pub(crate) fn drop_back(&mut self, count: usize) {
        self.end = narrow(self.place(self.count() - count));
        self.count -= narrow(count);
    }

    /// The place of the element with this index (the end, for the index after the last), walking
    /// from the nearer end.
    pub(crate) fn place(&self, index: usize) -> usize {
        let bytes = &self.buffer[..self.end as usize];
        if index <= self.count() / 2 {
            (0..index).fold(self.start as usize, |at, _| codec::skip(bytes, at))
        } else {
            (index..self.count()).fold(self.end as usize, |at, _| codec::step_back(bytes, at))
        }
    }

    pub(crate) fn get(&self, index: usize) -> Item<'_> {
        codec::read(&self.buffer, self.place(index)).0
    }

    /// Inserts before the element with this index.
    pub(crate) fn insert(&mut self, index: usize, item: Item<'_>, limit: ChunkLimit) {
        let offset = self.place(index) - self.start as usize;
        self.splice(offset, 0, Some(item), limit);
        self.count += 1;
    }

    /// Puts another element in the place of the one with this index.
    pub(crate) fn replace(&mut self, index: usize, item: Item<'_>, limit: ChunkLimit) {
        let at = self.place(index);
        let old = codec::skip(&self.buffer, at) - at;
        self.splice(at - self.start as usize, old, Some(item), limit);
    }

    /// Removes the element with this index.
    pub(crate) fn remove(&mut self, index: usize, limit: ChunkLimit) {
        let at = self.place(index);
        let old = codec::skip(&self.buffer, at) - at;
        self.splice(at - self.start as usize, old, None, limit);
        self.count -= 1;
    }

    fn splice(&mut self, offset: usize, old: usize, item: Option<Item<'_>>, limit: ChunkLimit) {
        let new = item.map_or(0, codec::encoded_len);
        if self.end as usize + new > self.buffer.len() + old {
            self.make_room(new - old, limit, false);
        }
        let (at, end) = (self.start as usize + offset, self.end as usize);
        self.buffer.copy_within(at + old..end, at + new);
        if let Some(item) = item {
            codec::write(&mut self.buffer[at..at + new], item);
        }
        self.end = narrow(end + new - old);
    }

    /// Moves the elements from this index on into a piece of their own.
    pub(crate) fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.place(index);
        let rest = Chunk::of_elements(&self.buffer[at..self.end as usize], self.count() - index);
        self.end = narrow(at);
        self.count = narrow(index);
        rest
    }

    /// Appends all elements of `other`.
    pub(crate) fn append(&mut self, other: &Chunk, limit: ChunkLimit) {
        if self.buffer.len() - (self.end as usize) < other.used() {
            self.make_room(other.used(), limit, false);
        }
        let end = self.end as usize;
        self.buffer[end..end + other.used()].copy_from_slice(other.elements());
        self.end += narrow(other.used());
        self.count += other.count;
    }

    /// How many elements are the needle.
    pub(crate) fn matches(&self, needle: Needle<'_>) -> usize {
        self.iter().filter(|item| needle.is(*item)).count()
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
            let (item, next) = codec::read(&self.buffer, from);
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

/// The buffer to take for `wanted` bytes: half as much again while small, the whole that the limit
/// allows from half of it on, exactly what is wanted beyond it.
fn room_for(wanted: usize, limit: ChunkLimit) -> usize {
    if wanted >= limit.bytes / 2 {
        wanted.max(limit.bytes)
    } else {
        (wanted + wanted / 2).next_multiple_of(16).min(limit.bytes)
    }
}

fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("a piece of a list is below 4 GiB")
}
