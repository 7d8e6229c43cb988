//! The packed forms in which older Redis versions stored small collections: ziplist, zipmap.
//!
//! Each decoder checks every step against the end of its bytes and reports damage; none trusts a
//! count in a header. The forms of today, listpack and intset, are the keyspace's own.

use slotward_keyspace::Item;

use crate::error::RdbError;

/// Takes bytes from the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|bytes| bytes.try_into().ok())
    }

    fn int24(&mut self) -> Option<i64> {
        let [a, b, c] = self.array()?;
        Some(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
    }
}

/// The elements of a ziplist, the form before listpacks (Redis before 7).
pub(crate) fn ziplist(bytes: &[u8]) -> Result<Vec<Item<'_>>, RdbError> {
    ziplist_elements(bytes).ok_or(RdbError::Damaged("a ziplist"))
}

fn ziplist_elements(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut cursor = Cursor(bytes);
    let total = u32::from_le_bytes(cursor.array()?) as usize;
    let _tail: [u8; 4] = cursor.array()?;
    let announced = u16::from_le_bytes(cursor.array()?);
    if total != bytes.len() {
        return None;
    }
    let mut elements = Vec::new();
    while cursor.0.first()? != &0xff {
        if cursor.byte()? == 0xfe {
            cursor.take(4)?;
        }
        elements.push(ziplist_element(&mut cursor)?);
    }
    let counted = announced == u16::MAX || usize::from(announced) == elements.len();
    (cursor.0.len() == 1 && counted).then_some(elements)
}

fn ziplist_element<'a>(cursor: &mut Cursor<'a>) -> Option<Item<'a>> {
    let first = cursor.byte()?;
    Some(match first {
        0x00..=0x3f => Item::Bytes(cursor.take(usize::from(first))?),
        0x40..=0x7f => {
            let len = usize::from(first & 0x3f) << 8 | usize::from(cursor.byte()?);
            Item::Bytes(cursor.take(len)?)
        }
        0x80 => {
            let len = u32::from_be_bytes(cursor.array()?) as usize;
            Item::Bytes(cursor.take(len)?)
        }
        0xc0 => Item::Int(i64::from(i16::from_le_bytes(cursor.array()?))),
        0xd0 => Item::Int(i64::from(i32::from_le_bytes(cursor.array()?))),
        0xe0 => Item::Int(i64::from_le_bytes(cursor.array()?)),
        0xf0 => Item::Int(cursor.int24()?),
        0xfe => Item::Int(i64::from(i8::from_le_bytes(cursor.array()?))),
        0xf1..=0xfd => Item::Int(i64::from(first & 0x0f) - 1),
        _ => return None,
    })
}

/// The fields and values, in turn, of a zipmap (small hashes before Redis 2.6).
pub(crate) fn zipmap(bytes: &[u8]) -> Result<Vec<Item<'_>>, RdbError> {
    zipmap_elements(bytes).ok_or(RdbError::Damaged("a zipmap"))
}

fn zipmap_elements(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut cursor = Cursor(bytes);
    cursor.byte()?; // How many fields; 254 for many, so of no use.
    let mut elements = Vec::new();
    while cursor.0.first()? != &0xff {
        let len = zipmap_length(&mut cursor)?;
        elements.push(Item::Bytes(cursor.take(len)?));
        let len = zipmap_length(&mut cursor)?;
        let free = usize::from(cursor.byte()?);
        elements.push(Item::Bytes(cursor.take(len)?));
        cursor.take(free)?;
    }
    (cursor.0.len() == 1).then_some(elements)
}

fn zipmap_length(cursor: &mut Cursor<'_>) -> Option<usize> {
    match cursor.byte()? {
        len @ 0..=253 => Some(usize::from(len)),
        254 => Some(u32::from_le_bytes(cursor.array()?) as usize),
        255 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ziplist_as_redis_6_wrote_it() {
        let bytes = b"\x11\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf6\xff";
        let mut bytes = bytes.to_vec();
        bytes[0] = bytes.len() as u8;
        assert_eq!(ziplist(&bytes).unwrap(), [Item::Bytes(b"a"), Item::Int(5)]);
    }

    #[test]
    fn a_zipmap_with_free_bytes() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world!!\xff";
        let want = ["foo", "bar", "hello", "world"].map(|text| Item::Bytes(text.as_bytes()));
        assert_eq!(zipmap(bytes).unwrap(), want);
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut noise = noise;
            if let Some(total) = noise.get(..1).map(|_| noise.len() as u8) {
                noise[0] = total;
                noise.iter_mut().take(4).skip(1).for_each(|byte| *byte = 0);
            }
            let _ = (ziplist(&noise), zipmap(&noise));
        }
    }
}
