//! A small set of integers: sorted numbers of 2, 4 or 8 bytes in one piece of memory, in the byte
//! form of Redis's intsets.
//!
//! ```text
//! width (4, little endian) | count (4) | numbers, ascending
//! ```

use super::blob::Blob;
use super::pack::InvalidPack;

const HEADER: usize = 8;

/// A sorted set of integers, all stored in the width that the widest needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntSet {
    bytes: Blob,
}

impl Default for IntSet {
    fn default() -> Self {
        IntSet::new()
    }
}

impl IntSet {
    /// An empty set.
    pub fn new() -> IntSet {
        IntSet { bytes: Blob::copy_of(&[2, 0, 0, 0, 0, 0, 0, 0]) }
    }

    /// The set that these bytes are.
    ///
    /// # Errors
    /// When the width or the length is wrong, or the numbers do not strictly ascend.
    pub fn from_untrusted(bytes: &[u8]) -> Result<IntSet, InvalidPack> {
        if bytes.len() < HEADER {
            return Err(InvalidPack);
        }
        let width = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        let count = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        if !matches!(width, 2 | 4 | 8)
            || (bytes.len() - HEADER) as u64 != width as u64 * count as u64
        {
            return Err(InvalidPack);
        }
        let set = IntSet { bytes: Blob::copy_of(bytes) };
        let ascends = (1..count).all(|index| set.at(index - 1) < set.at(index));
        if ascends { Ok(set) } else { Err(InvalidPack) }
    }

    /// The bytes, as RDB files and Redis have them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER) / self.width()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// The number with this index in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// All numbers in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: i64) -> bool {
        self.search(number).is_ok()
    }

    /// Adds a number; false if it was there.
    pub fn insert(&mut self, number: i64) -> bool {
        if width_of(number) > self.width() {
            self.widen(width_of(number));
        }
        let Err(index) = self.search(number) else { return false };
        let width = self.width();
        let at = HEADER + index * width;
        let len = self.bytes.len();
        self.bytes.resize(len + width);
        self.bytes.copy_within(at..len, at + width);
        self.bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        self.set_count();
        true
    }

    /// Removes a number; false if it was not there.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(index) = self.search(number) else { return false };
        let width = self.width();
        let at = HEADER + index * width;
        self.bytes.copy_within(at + width.., at);
        self.bytes.resize(self.bytes.len() - width);
        self.set_count();
        true
    }

    /// Bytes of its allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    fn set_count(&mut self) {
        let count = self.len() as u32;
        self.bytes[4..8].copy_from_slice(&count.to_le_bytes());
    }

    fn width(&self) -> usize {
        self.bytes[0] as usize
    }

    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let bytes = &self.bytes[HEADER + index * width..HEADER + (index + 1) * width];
        match *bytes {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(bytes.try_into().expect("numbers have 2, 4 or 8 bytes")),
        }
    }

    /// Where the number is, or where it would be inserted.
    fn search(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&self.bytes[4..8]);
        for number in self.iter() {
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
        }
        self.bytes = Blob::copy_of(&bytes);
    }
}

fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn bytes_are_those_of_redis() {
        let mut set = IntSet::new();
        assert!(set.insert(3));
        assert!(set.insert(-1));
        assert_eq!(set.as_bytes(), [2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 3, 0]);
        assert!(set.insert(70_000), "widens to 32 bits");
        assert_eq!(set.as_bytes()[..8], [4, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn bytes_from_outside_are_refused_when_they_lie() {
        for (why, bytes) in [
            ("too short", &[2, 0, 0, 0][..]),
            ("an unknown width", &[3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]),
            ("a wrong count", &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0]),
            ("a number twice", &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0]),
        ] {
            assert_eq!(IntSet::from_untrusted(bytes), Err(InvalidPack), "{why}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(edits in prop::collection::vec((any::<bool>(), any::<i64>(), 0u32..64), 0..80)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            for (add, number, shift) in edits {
                // Small numbers come often, so that removals find something.
                let number = number >> shift;
                if add {
                    prop_assert_eq!(set.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(IntSet::from_untrusted(set.as_bytes()), Ok(set.clone()));
        }
    }
}
