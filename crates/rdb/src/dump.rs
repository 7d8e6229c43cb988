//! One value as `DUMP` gives it and `RESTORE` takes it.
//!
//! ```text
//! kind (1)  the value in the form of a stream  version (2, little endian)  CRC-64 of all before (8)
//! ```

use slotward_keyspace::{EncodingLimits, Value, ValueRef};

use crate::crc64::crc64;
use crate::error::RdbError;
use crate::input::{Input, ReadLimits};
use crate::output::Output;
use crate::values::{read_value, write_value};
use crate::wire::{VERSION_READ_MAX, VERSION_WRITTEN, kind_in};

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

/// The payload that stands for a value. `compress` makes long strings smaller.
pub fn dump(value: &ValueRef<'_>, compress: bool) -> Vec<u8> {
    let mut out = Output::new(compress);
    // In a stream the key stands behind the kind; without one there is only its length, a byte.
    write_value(&mut out, b"", value);
    let mut bytes = out.bytes;
    bytes.remove(1);
    bytes.extend_from_slice(&(VERSION_WRITTEN as u16).to_le_bytes());
    let checksum = crc64(0, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The value that a payload stands for.
///
/// # Errors
/// [`RdbError::BadVersion`] or [`RdbError::BadChecksum`] when the payload's end is not what it should
/// be, which tells a payload from elsewhere; any other when the value itself is damaged or cannot be
/// kept.
pub fn restore(
    payload: &[u8],
    limits: &EncodingLimits,
    read_limits: ReadLimits,
) -> Result<Value, RdbError> {
    let (summed, checksum) =
        payload.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RdbError::BadChecksum)?;
    let (body, version) =
        summed.split_last_chunk::<VERSION_BYTES>().ok_or(RdbError::BadChecksum)?;
    let version = u32::from(u16::from_le_bytes(*version));
    if version > VERSION_READ_MAX {
        return Err(RdbError::BadVersion(version));
    }
    if crc64(0, summed) != u64::from_le_bytes(*checksum) {
        return Err(RdbError::BadChecksum);
    }
    let mut input = Input::new(body, read_limits);
    let value_kind = kind_in(version, input.byte()?)?;
    let value = read_value(&mut input, value_kind, limits)?;
    let (rest, unread) = input.into_rest();
    if !rest.is_empty() || !unread.is_empty() {
        return Err(RdbError::Damaged("there is more than a value"));
    }
    value.ok_or(RdbError::Damaged("a collection without elements"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use slotward_keyspace::{Hash, Str, StrBuf, VectorSearch};

    fn read(payload: &[u8]) -> Result<Value, RdbError> {
        restore(payload, &EncodingLimits::default(), ReadLimits::default())
    }

    /// Gives a body the end that makes it a payload.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut payload = [body, &[10, 0]].concat();
        let checksum = crc64(0, &payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        payload
    }

    #[test]
    fn a_payload_as_redis_7_0_gives_it() {
        let payload = b"\x00\xc0\x0a\x0a\x00n\x9fWE\x0e\xaec\xbb";
        assert!(matches!(read(payload), Ok(Value::String(StrBuf::Int(10)))));
        assert_eq!(dump(&ValueRef::String(Str::Int(10)), true), payload);
    }

    #[test]
    fn hashes_with_fields_that_end() {
        for (why, payload) in [
            ("packed, Redis 8.2", &b"\x19~JF\xfe\xa1\x01\x00\x00\x16\x16\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xf4~JF\xfe\xa1\x01\x00\x00\t\xff\x0c\x00\x8c\xc9\x1dY\xddP\r\xce"[..]),
            ("a table, Redis 8.2", b"\x18\xa4JF\xfe\xa1\x01\x00\x00\x02\x01\x01a\xc0\x01\x00\x01b\xc0\x02\x0c\x00oVO8g\nP\xc3"),
            ("Valkey 9.1", b"\x16\x01\x01a\xc0\x01bJF\xfe\xa1\x01\x00\x00P\x00 j\x8c\xd0\x93\xcb#\xe9"),
        ] {
            for payload in [payload.to_vec(), dump(&read(payload).unwrap().as_ref(), true)] {
                let Ok(Value::Hash(hash)) = read(&payload) else { panic!("{why}") };
                let at = hash.field_expiry(b"a").expect(why).0 - 1_795_267_381_800;
                assert!((0..1000).contains(&at), "{why}: {at}");
                assert_eq!(hash.expiring_len(), 1, "{why}");
            }
        }
    }

    #[test]
    fn arrays_in_every_form_of_their_elements() {
        // Four elements, the last of them appended at 6: one in each form.
        let mut body = b"\x1c\x04\x01\x06\x00\x00\x09a string.\x01\x01".to_vec();
        body.extend_from_slice(&(-42i64).to_le_bytes());
        body.extend_from_slice(b"\x41\x2c\x02");
        body.extend_from_slice(&1.5f64.to_le_bytes());
        body.extend_from_slice(b"\x41\x2d\x03\x03abc");
        for payload in [sealed(&body), dump(&read(&sealed(&body)).unwrap().as_ref(), true)] {
            let Ok(Value::Array(array)) = read(&payload) else { panic!("no array") };
            let mut elements = Vec::new();
            array.each(|index, element| elements.push((index, element.to_vec())));
            let want = [(0, &b"a string."[..]), (1, b"-42"), (300, b"1.5"), (301, b"abc")];
            assert_eq!(elements, want.map(|(index, text)| (index, text.to_vec())));
            assert_eq!(array.cursor(), Some(6));
        }
        for (why, body) in [
            ("an element twice", &b"\x1c\x02\x00\x05\x03\x01a\x05\x03\x01b"[..]),
            ("no element", b"\x1c\x00\x00"),
            ("another mark for the cursor", b"\x1c\x01\x02\x05\x03\x01a"),
            ("another form", b"\x1c\x01\x00\x05\x04\x01a"),
            ("a double that is none", b"\x1c\x01\x00\x05\x02\0\0\0\0\0\0\xf0\x7f"),
            ("beyond the last index", b"\x1c\x01\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff\x03\x01a"),
        ] {
            assert!(read(&sealed(body)).is_err(), "{why}");
        }
    }

    #[test]
    fn vector_sets_as_redis_8_2_gives_them() {
        for (why, payload) in [
            ("as they are", &b"\x07\x81\xbd\xe7-\xa2\xbb\x1e\xb4\x00\x02\x03\x02\x03\x02P\x00\x02\x02\x05\x01c\x05\x00\x05\x0c\xb2AM?w\xd6\x88\xbew\xd6\x08\xbf\x02\x0c\x02\x03\x02\x80\x01\x00\x00\x01\x02\x02\x02 \x02\x01\x02\x02\x02\x81?\xd9\x94\xd2\x00\x00\x00\x01\x02\x01\x02\x10\x02\x02\x02\x81?\xd9\x94\xd2\x00\x00\x00\x00\x02\x80@owQ\x05\x01b\x05\x07{\"x\":1}\x05\x0c\x82t\xdf\xbe\x82t_?\x82t_>\x02\x0c\x02\x02\x02\x80\x01\x00\x00\x01\x02\x02\x02 \x02\x01\x02\x03\x02\x81?\xd9\x94\xd2\x00\x00\x00\x01\x02\x01\x02\x10\x02\x03\x02\x81?\xd9\x94\xd2\x00\x00\x00\x00\x02\x80@\x12\xa4v\x05\x01a\x05\x00\x05\x0cw\xd6\x88>w\xd6\x08?\xb2AM?\x02\x08\x02\x01\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x02\x02\x03\x02\x81?\xad\xb6\xdb\x00\x00\x00\x01\x02\x80@owQ\x00\x0c\x00\x8f\x88\x0f</\xd6=\x18"[..]),
            ("in 8 bits", &b"\x07\x81\xbd\xe7-\xa2\xbb\x1e\xb4\x00\x02\x03\x02\x03\x02P\x01\x02\x02\x05\x01c\x05\x00\x05\x03\x7f\xd6\xab\x02\x0b\x02\x03\x02\x80\x01\x00\x00\x01\x02\x02\x02 \x02\x01\x02\x02\x02\x81?\xd9+\x9a\x00\x00\x00\x01\x02\x00\x02\x10\x02\x00\x02\x81?MA\xb2@owQ\x05\x01b\x05\x07{\"x\":1}\x05\x03\xc1\x7f \x02\x08\x02\x02\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x01\x02\x03\x02\x81?\xd9+\x9a\x00\x00\x00\x01\x02\x81?_t\x82@\x12\xa4v\x05\x01a\x05\x00\x05\x03*U\x7f\x02\x08\x02\x01\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x02\x02\x03\x02\x81?\xae\x12\xdc\x00\x00\x00\x01\x02\x81?MA\xb2@owQ\x00\x0c\x00wGp\xc5I^r\x13"[..]),
            ("in bits", &b"\x07\x81\xbd\xe7-\xa2\xbb\x1e\xb4\x00\x02\x03\x02\x03\x02P\x02\x02\x02\x05\x01c\x05\x00\x05\x08\x01\x00\x00\x00\x00\x00\x00\x00\x02\x08\x02\x03\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x01\x02\x02\x02\x81@\x00\x00\x00\x00\x00\x00\x01\x02\x81?MA\xb2@owQ\x05\x01b\x05\x07{\"x\":1}\x05\x08\x06\x00\x00\x00\x00\x00\x00\x00\x02\x0b\x02\x02\x02\x80\x01\x00\x00\x01\x02\x02\x02 \x02\x01\x02\x03\x02\x81@\x00\x00\x00\x00\x00\x00\x01\x02\x00\x02\x10\x02\x00\x02\x81?_t\x82@\x12\xa4v\x05\x01a\x05\x00\x05\x08\x07\x00\x00\x00\x00\x00\x00\x00\x02\x08\x02\x01\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x02\x02\x03\x02\x81?\xaa\xaa\xab\x00\x00\x00\x01\x02\x81?MA\xb2@owQ\x00\x0c\x00\xce\x1a\x9aCG\x140\x1e"[..]),
            ("projected", &b"\x07\x81\xbd\xe7-\xa2\xbb\x1e\xb4\x00\x02\x02\x02\x03\x02P\x01\x02\x03\x02\x03\x05\x18:\xcd\x13?:\xcd\x13?:\xcd\x13?:\xcd\x13?:\xcd\x13\xbf:\xcd\x13?\x05\x01c\x05\x00\x05\x02\x00\x7f\x02\x08\x02\x03\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x01\x02\x02\x02\x81?\xed\xc2T\x00\x00\x00\x01\x02\x81?\x80\x00\x00?\x93\xcd:\x05\x01b\x05\x07{\"x\":1}\x05\x02L\x81\x02\x08\x02\x02\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x01\x02\x03\x02\x81?\xed\xc2T\x00\x00\x00\x01\x02\x81?[\x84\xa8?\xd7t\xc3\x05\x01a\x05\x00\x05\x02\x7f*\x02\x08\x02\x01\x02\x80\x01\x00\x00\x00\x02\x02\x02 \x02\x02\x02\x03\x02\x81?H?F\x00\x00\x00\x00\x02\x81?r\xdc\xe8@i\xb1\xe9\x00\x0c\x00\x16i\x12M\xf1\xbc\x06\x9c"[..]),
        ] {
            let Ok(Value::VectorSet(set)) = read(payload) else { panic!("{why}") };
            let text = dump(&ValueRef::VectorSet(&set), false);
            let Ok(Value::VectorSet(again)) = read(&text) else { panic!("{why}, written") };
            for set in [set, again] {
                assert_eq!(set.len(), 3, "{why}");
                let b = set.find(b"b").unwrap();
                assert_eq!(set.attributes(b), Some(&b"{\"x\":1}"[..]), "{why}");
                let nearest = set.search(&set.query_of(b), 1, VectorSearch::All, |_| true);
                assert_eq!(nearest[0].0, b, "{why}");
                for element in 0..3 {
                    assert_eq!(set.links(element, 0).len(), 2, "{why}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let good = dump(&ValueRef::String(Str::Bytes(b"hello")), true);
        let mut other_version = sealed(b"\x00\x01a");
        other_version[3] = 100;
        for (why, payload) in [
            ("nothing", vec![]),
            ("cut short", good[..good.len() - 1].to_vec()),
            ("a byte changed", [&b"\x01"[..], &good[1..]].concat()),
            ("a version that nobody knows", other_version),
            ("more than a value", sealed(b"\x00\x01aX")),
            ("less than a value", sealed(b"\x00\x05a")),
            ("only a kind", sealed(b"\x00")),
            ("no kind", sealed(b"")),
            ("no such kind", sealed(b"\x63\x01a")),
            ("an empty hash", sealed(b"\x04\x00")),
            (
                "a list of more than there is",
                sealed(b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"),
            ),
            (
                "a compressed gigabyte in a few bytes",
                sealed(b"\x00\xc3\x05\x80\x1f\x00\x00\x00\x01a\xe0\xff\x00"),
            ),
        ] {
            assert!(read(&payload).is_err(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_value_never_panics(
            fields in prop::collection::btree_map("[a-z0-9]{0,12}", "[a-z0-9]{0,40}", 1..12),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let limits = EncodingLimits { hash_max_listpack_entries: 6, ..EncodingLimits::default() };
            let mut hash = Hash::new();
            for (field, value) in &fields {
                hash.insert(field.as_bytes(), value.as_bytes(), &limits);
            }
            let payload = dump(&ValueRef::Hash(&hash), true);
            let mut body = payload[..payload.len() - VERSION_BYTES - CHECKSUM_BYTES].to_vec();
            for (index, byte) in edits {
                let at = index.index(body.len());
                body[at] = byte;
            }
            if let Ok(value) = read(&sealed(&body)) {
                // What was accepted is a value like any other.
                let again = dump(&value.as_ref(), true);
                prop_assert!(read(&again).is_ok());
            }
        }

        #[test]
        fn noise_never_panics(kind in 0u8..30, noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&sealed(&[&[kind], &noise[..]].concat()));
        }
    }
}
