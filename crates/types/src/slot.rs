//! Hash slots: which of the 16384 a key lives in.
//!
//! The rule is Redis Cluster's: CRC16 (XMODEM) of the key's hash tag, or of the whole key if it
//! has none, modulo 16384.

use std::fmt;

use memchr::memchr;

/// One of the 16384 hash slots. A `Slot` that exists is in range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

/// A slot number outside `0..16384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slot {0} is not in 0..16384")]
pub struct InvalidSlot(pub u64);

// `crc % COUNT` is uniform only because 2^16 is a multiple of COUNT.
const _: () = assert!(65_536 % Slot::COUNT as u32 == 0);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 16_384;
    /// The first slot.
    pub const ZERO: Slot = Slot(0);

    /// The slot with this number.
    ///
    /// # Errors
    /// When the number is not in `0..16384`.
    pub const fn new(number: u64) -> Result<Slot, InvalidSlot> {
        if number < Slot::COUNT as u64 { Ok(Slot(number as u16)) } else { Err(InvalidSlot(number)) }
    }

    /// The slot's number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The slot's number, to index with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All slots in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator {
        (0..Slot::COUNT).map(Slot)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of the key that decides its slot: what stands between the first `{` and the next `}`,
/// if that is not empty, else the whole key.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    let rest = &key[open + 1..];
    match memchr(b'}', rest) {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

/// The slot of a key.
#[inline]
pub fn slot_of(key: &[u8]) -> Slot {
    let tag = if may_have_tag(key) { hash_tag(key) } else { key };
    Slot(crc16(tag) % Slot::COUNT)
}

/// False if the key has no `{`. Keys are short, and most have none: eight bytes at a time are seen
/// through faster than a search for the place begins.
#[inline]
fn may_have_tag(key: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has_brace = |eight: &[u8; 8]| {
        let zero_at_brace = u64::from_le_bytes(*eight) ^ (LOW * b'{' as u64);
        zero_at_brace.wrapping_sub(LOW) & !zero_at_brace & HIGH != 0
    };
    match key.last_chunk::<8>() {
        None => key.contains(&b'{'),
        Some(last) => key.as_chunks::<8>().0.iter().any(has_brace) || has_brace(last),
    }
}

/// CRC16/XMODEM (polynomial 0x1021, start 0), eight bytes at a time.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        crc = TABLES[7][(chunk[0] ^ (crc >> 8) as u8) as usize]
            ^ TABLES[6][(chunk[1] ^ (crc & 0xff) as u8) as usize]
            ^ TABLES[5][chunk[2] as usize]
            ^ TABLES[4][chunk[3] as usize]
            ^ TABLES[3][chunk[4] as usize]
            ^ TABLES[2][chunk[5] as usize]
            ^ TABLES[1][chunk[6] as usize]
            ^ TABLES[0][chunk[7] as usize];
    }
    for &byte in rest {
        crc = (crc << 8) ^ TABLES[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// `TABLES[n][b]`: the CRC of byte `b` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_follow_the_cluster_specification() {
        for (why, key, tag) in [
            ("no brace", "user1000", "user1000"),
            ("a tag", "{user1000}.following", "user1000"),
            ("an empty tag counts for nothing", "foo{}{bar}", "foo{}{bar}"),
            ("the first closing brace ends it", "foo{{bar}}zap", "{bar"),
            ("only the first tag counts", "foo{bar}{zap}", "bar"),
            ("never closed", "foo{bar", "foo{bar"),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{why}");
        }
    }

    #[test]
    fn known_slots() {
        // The check value of CRC16/XMODEM, and a slot that redis-cli prints.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo").get(), 12182);
    }

    proptest! {
        #[test]
        fn the_fast_table_agrees_with_the_reference(key in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(crc16(&key), crc16::State::<crc16::XMODEM>::calculate(&key));
        }
    }
}
