//! A small set of integers: sorted numbers of 2, 4 or 8 bytes in one piece of memory.
//!
//! ```text
//! width (1) | numbers, little endian, ascending
//! ```
//!
//! RDB files and `DUMP` have the byte form of Redis's intsets:
//!
//! ```text
//! width (4, little endian) | count (4) | numbers, ascending
//! ```

use super::blob::Blob;
use super::pack::InvalidPack;

const HEADER: usize = 1;
/// The header of the form that RDB files have.
const OUTER_HEADER: usize = 8;

/// A sorted set of integers, all stored in the width that the widest needs.
#[derive(Debug, Clone)]
#[repr(transparent)]
pub struct IntSet {
    bytes: Blob,
}

impl Default for IntSet {
    fn default() -> Self {
        IntSet::new()
    }
}

impl PartialEq for IntSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for IntSet {}

impl IntSet {
    /// An empty set.
    pub fn new() -> IntSet {
        IntSet { bytes: Blob::new() }
    }

    /// The set that these bytes are, in the form that RDB files have.
    ///
    /// # Errors
    /// When the width or the length is wrong, or the numbers do not strictly ascend.
    pub fn from_untrusted(bytes: &[u8]) -> Result<IntSet, InvalidPack> {
        if bytes.len() < OUTER_HEADER {
            return Err(InvalidPack);
        }
        let width = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        let count = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        let numbers = &bytes[OUTER_HEADER..];
        if !matches!(width, 2 | 4 | 8) || numbers.len() as u64 != width as u64 * count as u64 {
            return Err(InvalidPack);
        }
        let set = IntSet::of_numbers(width, numbers);
        let ascends = (1..count).all(|index| set.at(index - 1) < set.at(index));
        if ascends { Ok(set) } else { Err(InvalidPack) }
    }

    fn of_numbers(width: usize, numbers: &[u8]) -> IntSet {
        let mut bytes = Blob::new();
        bytes.resize(HEADER + numbers.len());
        bytes[0] = width as u8;
        bytes[HEADER..].copy_from_slice(numbers);
        IntSet { bytes }
    }

    fn numbers(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// Appends the set in the form that RDB files have.
    pub fn write_intset(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).expect("an intset is below 4 GiB");
        out.reserve(OUTER_HEADER + self.numbers().len());
        out.extend_from_slice(&(self.width() as u32).to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(self.numbers());
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.numbers().len() / self.width()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers().is_empty()
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
        let len = self.bytes.len().max(HEADER);
        self.bytes.resize(len + width);
        self.bytes[0] = width as u8;
        self.bytes.copy_within(at..len, at + width);
        self.bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        true
    }

    /// Removes a number; false if it was not there.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(index) = self.search(number) else { return false };
        let width = self.width();
        let at = HEADER + index * width;
        self.bytes.copy_within(at + width.., at);
        self.bytes.resize(self.bytes.len() - width);
        true
    }

    /// Bytes of its allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    fn width(&self) -> usize {
        self.bytes.first().map_or(2, |&width| usize::from(width))
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
        let numbers: Vec<i64> = self.iter().collect();
        self.bytes.resize(HEADER + numbers.len() * width);
        self.bytes[0] = width as u8;
        for (place, number) in self.bytes[HEADER..].chunks_exact_mut(width).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes()[..width]);
        }
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

    fn outer(set: &IntSet) -> Vec<u8> {
        let mut bytes = Vec::new();
        set.write_intset(&mut bytes);
        bytes
    }

    #[test]
    fn bytes_are_those_of_redis() {
        let mut set = IntSet::new();
        assert!(set.insert(3));
        assert!(set.insert(-1));
        assert_eq!(outer(&set), [2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 3, 0]);
        assert!(set.insert(70_000), "widens to 32 bits");
        assert_eq!(outer(&set)[..8], [4, 0, 0, 0, 3, 0, 0, 0]);
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
            prop_assert_eq!(IntSet::from_untrusted(&outer(&set)), Ok(set.clone()));
        }
    }
}
