//! A short sequence of elements in one piece of memory: Redis's listpack, byte for byte.
//!
//! ```text
//! total bytes (4, little endian) | count (2) | elements … | FF
//! ```
//!
//! A count of 65535 means "count them". Because the bytes are those of RDB files and of `DUMP`,
//! saving a small collection is a copy, and loading one is a check.

use super::blob::Blob;
use super::codec::{self, END};
use super::item::{Item, Needle};

const HEADER: usize = 6;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// A packed form stays below this, whatever the settings allow.
pub(crate) const PACK_BYTES_MAX: usize = 1 << 30;

/// Bytes that are not a packed sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid packed collection")]
pub struct InvalidPack;

/// A packed sequence of elements. Places in it are byte offsets, valid until the next change.
#[derive(Clone, PartialEq, Eq)]
pub struct Pack {
    bytes: Blob,
}

impl Default for Pack {
    fn default() -> Self {
        Pack::new()
    }
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Pack {
    /// An empty sequence.
    pub fn new() -> Pack {
        Pack { bytes: Blob::copy_of(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END]) }
    }

    /// The sequence that these bytes are.
    ///
    /// # Errors
    /// When they are not exactly one well-formed sequence; every element is checked.
    pub fn from_untrusted(bytes: &[u8]) -> Result<Pack, InvalidPack> {
        if bytes.len() < HEADER + 1 || bytes.len() > PACK_BYTES_MAX || bytes[bytes.len() - 1] != END
        {
            return Err(InvalidPack);
        }
        let pack = Pack { bytes: Blob::copy_of(bytes) };
        let total = u32::from_le_bytes(pack.bytes[..4].try_into().expect("four bytes"));
        if total as usize != pack.bytes.len() {
            return Err(InvalidPack);
        }
        let end = pack.end();
        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            at = codec::checked_end(&pack.bytes[..end], at).ok_or(InvalidPack)?;
            count += 1;
        }
        let told = pack.header_count();
        if told != COUNT_UNKNOWN && usize::from(told) != count {
            Err(InvalidPack)
        } else {
            Ok(pack)
        }
    }

    /// The bytes, as RDB files and Redis have them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER + 1
    }

    /// All elements in order, from either end.
    pub fn iter(&self) -> PackIter<'_> {
        PackIter { bytes: &self.bytes, front: HEADER, back: self.end() }
    }

    /// Bytes of its allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    /// Where the first element begins, or [`Pack::end`] if there is none.
    pub(crate) const fn start(&self) -> usize {
        HEADER
    }

    /// Where an element pushed at the back would begin.
    pub(crate) fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    /// The element at a place, and the place after it.
    #[inline]
    pub(crate) fn read(&self, at: usize) -> (Item<'_>, usize) {
        codec::read(&self.bytes, at)
    }

    /// The place after the element at `at`.
    #[inline]
    pub(crate) fn skip(&self, at: usize) -> usize {
        codec::skip(&self.bytes, at)
    }

    /// The place of the element with this index, walking from the nearer end.
    pub(crate) fn seek(&self, index: usize) -> Option<usize> {
        let count = self.len();
        if index >= count {
            return None;
        }
        Some(if index <= count / 2 {
            (0..index).fold(HEADER, |at, _| self.skip(at))
        } else {
            (index..count).fold(self.end(), |at, _| codec::step_back(&self.bytes, at))
        })
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        self.seek(index).map(|at| self.read(at).0)
    }

    /// The place of the first element that is `text`, looking at each `stride`-th element from the
    /// first on.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], stride: usize) -> Option<usize> {
        let (needle, end) = (Needle::new(text), self.end());
        let mut at = HEADER;
        while at < end {
            let (item, mut next) = self.read(at);
            if needle.is(item) {
                return Some(at);
            }
            for _ in 1..stride {
                next = self.skip(next);
            }
            at = next;
        }
        None
    }

    /// Appends an element.
    pub fn push_back(&mut self, item: Item<'_>) {
        self.splice(self.end(), 0, 0, &[item]);
    }

    /// Appends elements, all at once.
    pub(crate) fn append<'a>(&mut self, items: impl Iterator<Item = Item<'a>> + Clone) {
        let (mut added, mut count) = (0, 0);
        for item in items.clone() {
            added += codec::encoded_len(item);
            count += 1;
        }
        let (end, header) = (self.end(), self.header_count());
        self.bytes.resize(end + added + 1);
        let mut to = end;
        for item in items {
            let width = codec::encoded_len(item);
            codec::write(&mut self.bytes[to..to + width], item);
            to += width;
        }
        self.bytes[to] = END;
        self.set_header(header, 0, count);
    }

    /// Gives back the room that is not used.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink();
    }

    /// Inserts elements before the place `at`.
    pub(crate) fn insert(&mut self, at: usize, items: &[Item<'_>]) {
        self.splice(at, 0, 0, items);
    }

    /// Puts `item` instead of the element at `at`.
    pub(crate) fn replace(&mut self, at: usize, item: Item<'_>) {
        let old = self.skip(at) - at;
        self.splice(at, old, 1, &[item]);
    }

    /// Removes `count` elements from the one at `at` on.
    pub(crate) fn remove(&mut self, at: usize, count: usize) {
        let end = (0..count).fold(at, |at, _| self.skip(at));
        self.splice(at, end - at, count, &[]);
    }

    /// How many bytes these elements would add.
    pub(crate) fn added_by(items: &[Item<'_>]) -> usize {
        items.iter().map(|item| codec::encoded_len(*item)).sum()
    }

    /// Puts `items` instead of the `removed` elements that take `old` bytes at `at`.
    fn splice(&mut self, at: usize, old: usize, removed: usize, items: &[Item<'_>]) {
        let new = Self::added_by(items);
        let len = self.bytes.len();
        let count = self.header_count();
        if new == old {
            self.write_at(at, items);
            return self.set_header(count, removed, items.len());
        }
        if new > old {
            self.bytes.resize(len + new - old);
        }
        self.bytes.copy_within(at + old..len, at + new);
        if new < old {
            self.bytes.resize(len + new - old);
        }
        self.write_at(at, items);
        self.set_header(count, removed, items.len());
    }

    fn write_at(&mut self, at: usize, items: &[Item<'_>]) {
        let mut to = at;
        for item in items {
            let width = codec::encoded_len(*item);
            codec::write(&mut self.bytes[to..to + width], *item);
            to += width;
        }
    }

    fn set_header(&mut self, count: u16, removed: usize, added: usize) {
        let total = u32::try_from(self.bytes.len()).expect("a packed form is below 4 GiB");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        if removed == added {
            return;
        }
        let count = if count == COUNT_UNKNOWN {
            if added > 0 { usize::from(COUNT_UNKNOWN) } else { self.iter().count() }
        } else {
            usize::from(count) + added - removed
        };
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
    }

    #[inline]
    fn header_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }
}

/// The elements of a [`Pack`], from either end.
#[derive(Clone)]
pub struct PackIter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> PackIter<'a> {
    /// The elements that stand at `front..back` of `bytes`, which are known to be well formed.
    pub(crate) const fn over(bytes: &'a [u8], front: usize, back: usize) -> Self {
        PackIter { bytes, front, back }
    }
}

impl<'a> Iterator for PackIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, next) = codec::read(self.bytes, self.front);
        self.front = next;
        Some(item)
    }
}

impl DoubleEndedIterator for PackIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = codec::step_back(self.bytes, self.back);
        Some(codec::read(self.bytes, self.back).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack_of(texts: &[&str]) -> Pack {
        let mut pack = Pack::new();
        texts.iter().for_each(|text| pack.push_back(Item::of(text.as_bytes())));
        pack
    }

    #[test]
    fn a_known_listpack() {
        let pack = pack_of(&["a", "1024"]);
        assert_eq!(pack.as_bytes(), [13, 0, 0, 0, 2, 0, 0x81, b'a', 2, 0xc4, 0, 2, 0xff]);
    }

    #[test]
    fn bytes_from_outside_are_refused_when_they_lie() {
        let good = pack_of(&["hello", "12", "world"]).as_bytes().to_vec();
        assert!(Pack::from_untrusted(&good).is_ok());
        let mut unknown = good.clone();
        unknown[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Pack::from_untrusted(&unknown).map(|pack| pack.len()), Ok(3), "count them");
        for (why, at, byte) in [
            ("total too small", 0, 5),
            ("wrong count", 4, 2),
            ("the first element reaches too far", 6, 0xbf),
            ("a wrong back length", 12, 9),
            ("no end mark", good.len() - 1, 0),
            ("an unknown encoding", 6, 0xf7),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Pack::from_untrusted(&bad), Err(InvalidPack), "{why}");
        }
        assert_eq!(Pack::from_untrusted(&[]), Err(InvalidPack), "empty");
    }

    #[test]
    fn the_count_survives_its_field() {
        let mut pack = Pack::new();
        for number in 0..65_540 {
            pack.push_back(Item::Int(number));
        }
        assert_eq!(pack.len(), 65_540);
        pack.remove(pack.start(), 10);
        assert_eq!(pack.len(), 65_530);
        pack.push_back(Item::Int(1));
        assert_eq!(pack.len(), 65_531);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), fix: bool) {
            if fix && bytes.len() > 7 {
                let total = bytes.len() as u32;
                bytes[..4].copy_from_slice(&total.to_le_bytes());
                bytes[4..6].copy_from_slice(&[0xff, 0xff]);
                *bytes.last_mut().unwrap() = END;
            }
            if let Ok(pack) = Pack::from_untrusted(&bytes) {
                let forward: Vec<_> = pack.iter().map(Item::to_vec).collect();
                let mut backward: Vec<_> = pack.iter().rev().map(Item::to_vec).collect();
                backward.reverse();
                prop_assert_eq!(&forward, &backward);
                prop_assert_eq!(forward.len(), pack.len());
            }
        }

        #[test]
        fn edits_are_those_of_a_vector(
            edits in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), "-?[0-9]{1,12}|[a-z]{0,90}"), 0..60)
        ) {
            let (mut pack, mut model) = (Pack::new(), Vec::<String>::new());
            for (kind, index, text) in edits {
                let item = Item::of(text.as_bytes());
                if kind == 0 || model.is_empty() {
                    pack.push_back(item);
                    model.push(text);
                    continue;
                }
                let index = index.index(model.len());
                let at = pack.seek(index).unwrap();
                match kind {
                    1 => { pack.insert(at, &[item]); model.insert(index, text); }
                    2 => { pack.replace(at, item); model[index] = text; }
                    _ => { pack.remove(at, 1); model.remove(index); }
                }
            }
            let texts: Vec<String> =
                pack.iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect();
            prop_assert_eq!(&texts, &model);
            prop_assert_eq!(Pack::from_untrusted(pack.as_bytes()), Ok(pack.clone()));
            for text in &model {
                let first = model.iter().position(|other| other == text).unwrap();
                prop_assert_eq!(pack.find(text.as_bytes(), 1), pack.seek(first));
            }
        }
    }
}
