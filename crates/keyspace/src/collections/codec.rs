//! The byte form of one packed element, as Redis's listpacks have it.
//!
//! An element is its encoding byte with what belongs to it, the data, and then the length of all
//! that written so that it can be read from the right ("back length"):
//!
//! ```text
//! 0nnnnnnn                         a number 0..=127
//! 10llllll data                    up to 63 bytes
//! 110nnnnn nnnnnnnn                a 13-bit number
//! 1110llll llllllll data           up to 4095 bytes
//! F0 length (4, little endian) data
//! F1 / F2 / F3 / F4 number         of 16 / 24 / 32 / 64 bits, little endian
//! ```
//!
//! A *bare* element is one without its back length: what a [`Pack`](super::pack::Pack) is made of,
//! which is read from the left only. [`read`] and [`skip`] trust the bytes as far as memory safety allows (a lie panics on a bound);
//! bytes from outside go through [`checked_end`] first.

use super::item::Item;

/// Ends a packed sequence.
pub(crate) const END: u8 = 0xff;

/// How many bytes the element takes, back length included.
#[inline]
pub(crate) fn encoded_len(item: Item<'_>) -> usize {
    let body = body_len(item);
    body + back_len(body)
}

/// How many bytes a text of this length takes, back length included.
#[inline]
pub(crate) fn encoded_len_of_text(len: usize) -> usize {
    let body = body_len_of_text(len);
    body + back_len(body)
}

#[inline]
fn body_len_of_text(len: usize) -> usize {
    match len {
        0..=63 => 1 + len,
        64..=4095 => 2 + len,
        _ => 5 + len,
    }
}

/// How many bytes the bare element takes.
#[inline]
pub(crate) fn body_len(item: Item<'_>) -> usize {
    match item {
        Item::Bytes(bytes) => body_len_of_text(bytes.len()),
        Item::Int(number) => match number {
            0..=127 => 1,
            -4096..=4095 => 2,
            -0x8000..=0x7fff => 3,
            -0x80_0000..=0x7f_ffff => 4,
            -0x8000_0000..=0x7fff_ffff => 5,
            _ => 9,
        },
    }
}

/// How many bytes the back length of a bare element of `body` bytes takes.
#[inline]
pub(crate) fn back_len(body: usize) -> usize {
    match body {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Writes the element over the whole of `out`, which has [`encoded_len`] bytes.
#[inline]
pub(crate) fn write(out: &mut [u8], item: Item<'_>) {
    let body = write_body(out, item);
    write_back_len(&mut out[body..], body);
}

/// Writes the bare element at the beginning of `out` and returns how many bytes it took.
#[inline]
pub(crate) fn write_body(out: &mut [u8], item: Item<'_>) -> usize {
    match item {
        Item::Bytes(bytes) => {
            let len = bytes.len();
            let head = match len {
                0..=63 => {
                    out[0] = 0x80 | len as u8;
                    1
                }
                64..=4095 => {
                    out[0] = 0xe0 | (len >> 8) as u8;
                    out[1] = len as u8;
                    2
                }
                _ => {
                    let len = u32::try_from(len).expect("a packed element is below 4 GiB");
                    out[0] = 0xf0;
                    out[1..5].copy_from_slice(&len.to_le_bytes());
                    5
                }
            };
            out[head..head + len].copy_from_slice(bytes);
            head + len
        }
        Item::Int(number) => write_int(out, number),
    }
}

fn write_int(out: &mut [u8], number: i64) -> usize {
    let (code, width) = match number {
        0..=127 => {
            out[0] = number as u8;
            return 1;
        }
        -4096..=4095 => {
            out[0] = 0xc0 | ((number >> 8) as u8 & 0x1f);
            out[1] = number as u8;
            return 2;
        }
        -0x8000..=0x7fff => (0xf1, 2),
        -0x80_0000..=0x7f_ffff => (0xf2, 3),
        -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
        _ => (0xf4, 8),
    };
    out[0] = code;
    out[1..1 + width].copy_from_slice(&number.to_le_bytes()[..width]);
    1 + width
}

/// Writes the back length of a body of `body` bytes at the beginning of `out`.
#[inline]
pub(crate) fn write_back_len(out: &mut [u8], body: usize) {
    let width = back_len(body);
    let mut rest = body;
    for at in (0..width).rev() {
        // All but the leftmost byte say that more stands to their left.
        out[at] = (rest & 127) as u8 | if at == 0 { 0 } else { 128 };
        rest >>= 7;
    }
}

/// The body's length and where its data begins.
#[inline]
fn body_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let code = bytes[at];
    match code {
        0..=0x7f => (1, at),
        0x80..=0xbf => (1 + (code & 0x3f) as usize, at + 1),
        0xc0..=0xdf => (2, at),
        0xe0..=0xef => (2 + (usize::from(code & 0x0f) << 8 | usize::from(bytes[at + 1])), at + 2),
        0xf0 => (5 + le_uint(&bytes[at + 1..at + 5]) as usize, at + 5),
        0xf1..=0xf4 => (1 + int_width(code), at + 1),
        _ => panic!("byte {code:#x} does not begin a packed element"),
    }
}

fn int_width(code: u8) -> usize {
    match code {
        0xf1 => 2,
        0xf2 => 3,
        0xf3 => 4,
        _ => 8,
    }
}

fn le_uint(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// The element at `at` and where the next one begins.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> (Item<'_>, usize) {
    let (item, end) = read_bare(bytes, at);
    (item, end + back_len(end - at))
}

/// The bare element at `at` and where it ends.
#[inline]
pub(crate) fn read_bare(bytes: &[u8], at: usize) -> (Item<'_>, usize) {
    let code = bytes[at];
    // Short strings first: they are what lists and hashes are mostly made of.
    if (0x80..=0xbf).contains(&code) {
        let end = at + 1 + (code & 0x3f) as usize;
        return (Item::Bytes(&bytes[at + 1..end]), end);
    }
    let (body, data) = body_at(bytes, at);
    let item = match code {
        0..=0x7f => Item::Int(i64::from(code)),
        0xc0..=0xdf => {
            let raw = i64::from(code & 0x1f) << 8 | i64::from(bytes[at + 1]);
            Item::Int(raw << 51 >> 51)
        }
        0xf1..=0xf4 => {
            let width = int_width(code);
            let shift = 64 - 8 * width as u32;
            Item::Int((le_uint(&bytes[data..data + width]) << shift) as i64 >> shift)
        }
        _ => Item::Bytes(&bytes[data..at + body]),
    };
    (item, at + body)
}

/// Where the bare element at `at` ends.
#[inline]
pub(crate) fn skip_bare(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        0..=0x7f => at + 1,
        code @ 0x80..=0xbf => at + 1 + usize::from(code & 0x3f),
        _ => at + body_at(bytes, at).0,
    }
}

/// Where the element after the one at `at` begins.
#[inline]
pub(crate) fn skip(bytes: &[u8], at: usize) -> usize {
    let (body, _) = body_at(bytes, at);
    at + body + back_len(body)
}

/// Where the element that ends just before `at` begins.
#[inline]
pub(crate) fn step_back(bytes: &[u8], at: usize) -> usize {
    let mut body = 0;
    let mut shift = 0;
    let mut width = 0;
    loop {
        width += 1;
        let byte = bytes[at - width];
        body |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 || width == 5 {
            return at - width - body;
        }
    }
}

/// Where the element at `at` ends, if what stands there is an element that lies within `bytes` and
/// has the right back length.
pub(crate) fn checked_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let head = match *rest.first()? {
        0..=0xdf | 0xf1..=0xf4 => 1,
        0xe0..=0xef => 2,
        0xf0 => 5,
        _ => return None,
    };
    if rest.len() < head {
        return None;
    }
    let (body, _) = body_at(bytes, at);
    let width = back_len(body);
    if rest.len() < body.checked_add(width)? {
        return None;
    }
    let mut expected = [0; 5];
    write_back_len(&mut expected, body);
    (rest[body..body + width] == expected[..width]).then_some(at + body + width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(item: Item<'_>) -> Vec<u8> {
        let mut out = vec![0; encoded_len(item)];
        write(&mut out, item);
        out
    }

    #[test]
    fn bytes_are_those_of_redis() {
        for (item, want) in [
            (Item::Int(5), &[5, 1][..]),
            (Item::Int(127), &[0x7f, 1]),
            (Item::Int(128), &[0xc0, 0x80, 2]),
            (Item::Int(-1), &[0xdf, 0xff, 2]),
            (Item::Int(-4096), &[0xd0, 0x00, 2]),
            (Item::Int(4096), &[0xf1, 0x00, 0x10, 3]),
            (Item::Int(-32_769), &[0xf2, 0xff, 0x7f, 0xff, 4]),
            (Item::Int(1 << 30), &[0xf3, 0, 0, 0, 0x40, 5]),
            (Item::Int(i64::MIN), &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9]),
            (Item::Bytes(b""), &[0x80, 1]),
            (Item::Bytes(b"abc"), &[0x83, b'a', b'b', b'c', 4]),
        ] {
            assert_eq!(encoded(item), want, "{item:?}");
        }
    }

    #[test]
    fn every_length_of_string_reads_back() {
        for len in [
            0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_377, 16_378, 16_379, 2_097_145,
            2_097_146, 2_097_147,
        ] {
            let text = vec![b'x'; len];
            let bytes = encoded(Item::Bytes(&text));
            assert_eq!(read(&bytes, 0), (Item::Bytes(&text[..]), bytes.len()), "length {len}");
            assert_eq!(skip(&bytes, 0), bytes.len(), "length {len}");
            assert_eq!(step_back(&bytes, bytes.len()), 0, "length {len}");
            assert_eq!(checked_end(&bytes, 0), Some(bytes.len()), "length {len}");
            assert_eq!(checked_end(&bytes[..bytes.len() - 1], 0), None, "cut short, length {len}");
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number: i64, shift in 0u32..64) {
            let number = number >> shift;
            let bytes = encoded(Item::Int(number));
            prop_assert_eq!(read(&bytes, 0), (Item::Int(number), bytes.len()));
            prop_assert_eq!(step_back(&bytes, bytes.len()), 0);
            prop_assert_eq!(checked_end(&bytes, 0), Some(bytes.len()));
        }

        #[test]
        fn hostile_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(end) = checked_end(&bytes, 0) {
                let (_, next) = read(&bytes, 0);
                prop_assert_eq!(next, end);
                prop_assert_eq!(step_back(&bytes, end), 0);
            }
        }
    }
}
