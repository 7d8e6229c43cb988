//! A short sequence of elements in one piece of memory.
//!
//! ```text
//! count (2) | elements …
//! ```
//!
//! Elements are those of Redis's listpacks without their back lengths, which nothing here needs:
//! what is read backwards is found forwards first. A count of 65535 means "count them". RDB files
//! and `DUMP` have listpacks ([`Pack::write_listpack`], [`Pack::from_untrusted`]):
//!
//! ```text
//! total bytes (4, little endian) | count (2) | elements with back lengths … | FF
//! ```

use super::blob::Blob;
use super::codec::{self, END};
use super::item::{Item, Needle};

const HEADER: usize = 2;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// What a listpack has before its elements: the total and the count.
const LISTPACK_HEADER: usize = 6;

/// A packed form stays below this, whatever the settings allow.
pub(crate) const PACK_BYTES_MAX: usize = 1 << 30;

/// Bytes that are not a packed sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid packed collection")]
pub struct InvalidPack;

/// A packed sequence of elements. Places in it are byte offsets, valid until the next change.
#[derive(Clone)]
#[repr(transparent)]
pub struct Pack {
    bytes: Blob,
}

impl PartialEq for Pack {
    fn eq(&self, other: &Self) -> bool {
        // One without elements may or may not have a count.
        self.bytes.get(HEADER..).unwrap_or_default()
            == other.bytes.get(HEADER..).unwrap_or_default()
    }
}

impl Eq for Pack {}

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
        Pack { bytes: Blob::new() }
    }

    /// The sequence that this listpack is.
    ///
    /// # Errors
    /// When the bytes are not exactly one well-formed listpack; every element is checked.
    pub fn from_untrusted(listpack: &[u8]) -> Result<Pack, InvalidPack> {
        let (header, rest) = listpack.split_at_checked(LISTPACK_HEADER).ok_or(InvalidPack)?;
        let (&END, elements) = rest.split_last().ok_or(InvalidPack)? else {
            return Err(InvalidPack);
        };
        let [a, b, c, d, e, f] = *header else { unreachable!("a header of six bytes") };
        let told = u16::from_le_bytes([e, f]);
        let total = u32::from_le_bytes([a, b, c, d]) as usize;
        if total != listpack.len() || total > PACK_BYTES_MAX {
            return Err(InvalidPack);
        }
        let (mut at, mut count, mut bare) = (0, 0usize, HEADER);
        while at < elements.len() {
            let end = codec::checked_end(elements, at).ok_or(InvalidPack)?;
            bare += codec::skip_bare(elements, at) - at;
            (at, count) = (end, count + 1);
        }
        if told != COUNT_UNKNOWN && usize::from(told) != count {
            return Err(InvalidPack);
        }
        let mut bytes = Blob::new();
        bytes.resize(bare);
        bytes[..HEADER]
            .copy_from_slice(&u16::try_from(count).unwrap_or(COUNT_UNKNOWN).to_le_bytes());
        let (mut from, mut to) = (0, HEADER);
        while from < elements.len() {
            let end = codec::skip_bare(elements, from);
            bytes[to..to + end - from].copy_from_slice(&elements[from..end]);
            to += end - from;
            from = codec::skip(elements, from);
        }
        Ok(Pack { bytes })
    }

    /// How many bytes [`Pack::write_listpack`] appends.
    pub fn listpack_len(&self) -> usize {
        let mut len = LISTPACK_HEADER + 1;
        let mut at = self.start();
        while at < self.end() {
            let next = self.skip(at);
            len += next - at + codec::back_len(next - at);
            at = next;
        }
        len
    }

    /// Appends the sequence as a listpack.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        // Back lengths of most elements are one byte.
        out.reserve(LISTPACK_HEADER + self.bytes.len() + self.len() + 1);
        out.extend_from_slice(&[0; LISTPACK_HEADER]);
        let mut at = self.start();
        while at < self.end() {
            let next = self.skip(at);
            out.extend_from_slice(&self.bytes[at..next]);
            let mut back = [0; 5];
            codec::write_back_len(&mut back, next - at);
            out.extend_from_slice(&back[..codec::back_len(next - at)]);
            at = next;
        }
        out.push(END);
        let total = u32::try_from(out.len() - begin).expect("a packed form is below 4 GiB");
        out[begin..begin + 4].copy_from_slice(&total.to_le_bytes());
        out[begin + 4..begin + 6].copy_from_slice(&self.header_count().to_le_bytes());
    }

    /// What is stored: places are indexes of this.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.bytes.len()
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
        self.bytes.len() <= HEADER
    }

    /// All elements in order.
    pub fn iter(&self) -> PackIter<'_> {
        self.iter_at(HEADER)
    }

    /// The elements from the place `at` on.
    pub(crate) fn iter_at(&self, at: usize) -> PackIter<'_> {
        PackIter { bytes: &self.bytes, at }
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
        self.bytes.len().max(HEADER)
    }

    /// The element at a place, and the place after it.
    #[inline]
    pub(crate) fn read(&self, at: usize) -> (Item<'_>, usize) {
        codec::read_bare(&self.bytes, at)
    }

    /// The place after the element at `at`.
    #[inline]
    pub(crate) fn skip(&self, at: usize) -> usize {
        codec::skip_bare(&self.bytes, at)
    }

    /// The place of the element with this index.
    pub(crate) fn seek(&self, index: usize) -> Option<usize> {
        let bytes = self.stored();
        let seek = || (0..index).fold(HEADER, |at, _| codec::skip_bare(bytes, at));
        (index < self.len()).then(seek)
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        self.seek(index).map(|at| self.read(at).0)
    }

    /// The place of the first element that is `text`, looking at each `stride`-th element from the
    /// first on.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], stride: usize) -> Option<usize> {
        let (needle, bytes) = (Needle::new(text), self.stored());
        let mut at = HEADER;
        while at < bytes.len() {
            let (item, mut next) = codec::read_bare(bytes, at);
            if needle.is(item) {
                return Some(at);
            }
            for _ in 1..stride {
                next = codec::skip_bare(bytes, next);
            }
            at = next;
        }
        None
    }

    /// Appends an element.
    pub fn push_back(&mut self, item: Item<'_>) {
        self.splice(self.end(), 0, 0, &[item]);
    }

    /// Appends elements, all at once. Returns how many bytes they would be in a listpack.
    pub(crate) fn append<'a>(&mut self, items: impl Iterator<Item = Item<'a>> + Clone) -> usize {
        /// Few elements go through here first, so that each is looked at only once.
        const SCRATCH: usize = 128;
        let mut scratch = [0; SCRATCH];
        let (mut added, mut count, mut listed) = (0, 0, 0);
        for item in items.clone() {
            let body = codec::body_len(item);
            if added + body <= SCRATCH {
                codec::write_body(&mut scratch[added..], item);
            }
            added += body;
            listed += body + codec::back_len(body);
            count += 1;
        }
        let (end, header) = (self.end(), self.header_count());
        self.bytes.resize(end + added);
        let place = &mut self.bytes[end..];
        if added <= SCRATCH {
            place.copy_from_slice(&scratch[..added]);
        } else {
            let mut to = 0;
            for item in items {
                to += codec::write_body(&mut place[to..], item);
            }
        }
        self.set_count(header, 0, count);
        listed
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

    /// Puts `items` instead of the `removed` elements that take `old` bytes at `at`.
    fn splice(&mut self, at: usize, old: usize, removed: usize, items: &[Item<'_>]) {
        let new: usize = items.iter().map(|item| codec::body_len(*item)).sum();
        let (end, count) = (self.end(), self.header_count());
        if new > old {
            self.bytes.resize(end + new - old);
        }
        if new != old {
            self.bytes.copy_within(at + old..end, at + new);
        }
        if new < old {
            self.bytes.resize(end + new - old);
        }
        let mut to = at;
        for item in items {
            to += codec::write_body(&mut self.bytes[to..], *item);
        }
        self.set_count(count, removed, items.len());
    }

    /// Notes that of `count` elements some have gone and some have come.
    fn set_count(&mut self, count: u16, removed: usize, added: usize) {
        if removed == added {
            return;
        }
        let count = if count == COUNT_UNKNOWN {
            if added > 0 { usize::from(COUNT_UNKNOWN) } else { self.iter().count() }
        } else {
            usize::from(count) + added - removed
        };
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    #[inline]
    fn header_count(&self) -> u16 {
        match *self.bytes {
            [a, b, ..] => u16::from_le_bytes([a, b]),
            _ => 0,
        }
    }
}

/// The elements of a [`Pack`].
#[derive(Clone)]
pub struct PackIter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for PackIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let (item, next) = codec::read_bare(self.bytes, self.at);
        self.at = next;
        Some(item)
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

    fn listpack(pack: &Pack) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack.write_listpack(&mut bytes);
        assert_eq!(bytes.len(), pack.listpack_len());
        bytes
    }

    #[test]
    fn a_known_listpack() {
        let pack = pack_of(&["a", "1024"]);
        assert_eq!(listpack(&pack), [13, 0, 0, 0, 2, 0, 0x81, b'a', 2, 0xc4, 0, 2, 0xff]);
    }

    #[test]
    fn bytes_from_outside_are_refused_when_they_lie() {
        let good = listpack(&pack_of(&["hello", "12", "world"]));
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
                let mut again = pack_of(&[]);
                forward.iter().for_each(|text| again.push_back(Item::of(text)));
                prop_assert_eq!(again.iter().count(), forward.len());
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
            prop_assert_eq!(Pack::from_untrusted(&listpack(&pack)), Ok(pack.clone()));
            for text in &model {
                let first = model.iter().position(|other| other == text).unwrap();
                prop_assert_eq!(pack.find(text.as_bytes(), 1), pack.seek(first));
            }
        }
    }
}
