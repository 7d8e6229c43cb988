//! LZF, the small compression that RDB uses for strings.
//!
//! A control byte below 32 announces that many literal bytes plus one; any other one a copy of
//! what came before: its upper three bits (and, if they are all set, the next byte) give the
//! length minus two, its lower five bits and the next byte the distance minus one.

use crate::error::RdbError;

const LITERALS_MAX: usize = 32;
const DISTANCE_MAX: usize = 1 << 13;
const COPY_MAX: usize = 7 + 255 + 2;
const HASH_BITS: u32 = 13;

/// Compresses strings; keeps its table between them so that it is allocated once.
pub(crate) struct Compressor {
    /// Where a sequence of three bytes with this hash was last seen. A hint: checked before use, so
    /// entries left by another string do no harm.
    seen: Vec<u32>,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor { seen: vec![0; 1 << HASH_BITS] }
    }
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` and returns true, or returns false and leaves
    /// `out` as it was if the form would have more than `max` bytes.
    pub(crate) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>, max: usize) -> bool {
        if u32::try_from(input.len()).is_err() {
            return false;
        }
        let begin = out.len();
        let (mut at, mut literals_from) = (0, 0);
        while at + 2 < input.len() {
            match self.candidate(input, at) {
                Some(distance) => {
                    push_literals(out, &input[literals_from..at]);
                    let len = match_len(input, at, distance);
                    push_copy(out, len, distance);
                    at += len;
                    literals_from = at;
                }
                None => at += 1,
            }
            if out.len() - begin > max {
                out.truncate(begin);
                return false;
            }
        }
        push_literals(out, &input[literals_from..]);
        let fits = out.len() - begin <= max;
        if !fits {
            out.truncate(begin);
        }
        fits
    }

    /// How far back the three bytes at `at` stand too, as far as the table knows.
    fn candidate(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let word = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let place = (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize;
        let before = std::mem::replace(&mut self.seen[place], at as u32) as usize;
        let near = before < at && at - before <= DISTANCE_MAX;
        (near && input[before..before + 3] == input[at..at + 3]).then(|| at - before)
    }
}

fn match_len(input: &[u8], at: usize, distance: usize) -> usize {
    let longest = (input.len() - at).min(COPY_MAX);
    let same = |len: usize| input[at + len] == input[at + len - distance];
    (3..longest).find(|len| !same(*len)).unwrap_or(longest)
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, len: usize, distance: usize) {
    let (len, distance) = (len - 2, distance - 1);
    let high = (distance >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
    }
    out.push(distance as u8);
}

/// The string that `input` is the compressed form of.
///
/// # Errors
/// When it is not the form of a string of `len` bytes. Nothing is reserved beyond what the input
/// can expand to.
pub(crate) fn decompress(input: &[u8], len: usize) -> Result<Vec<u8>, RdbError> {
    // Three bytes of input make at most one longest copy.
    if len > input.len().div_ceil(3).saturating_mul(COPY_MAX) {
        return Err(RdbError::BadCompression);
    }
    let mut out = Vec::with_capacity(len);
    let mut at = 0;
    while let Some(&control) = input.get(at) {
        at += 1;
        if usize::from(control) < LITERALS_MAX {
            let end = at + usize::from(control) + 1;
            out.extend_from_slice(input.get(at..end).ok_or(RdbError::BadCompression)?);
            at = end;
        } else {
            let mut copy_len = usize::from(control >> 5);
            let mut next = || {
                let byte = input.get(at).copied().ok_or(RdbError::BadCompression);
                at += 1;
                byte.map(usize::from)
            };
            if copy_len == 7 {
                copy_len += next()?;
            }
            let distance = (usize::from(control & 0x1f) << 8 | next()?) + 1;
            copy_back(&mut out, copy_len + 2, distance)?;
        }
        if out.len() > len {
            return Err(RdbError::BadCompression);
        }
    }
    if out.len() == len { Ok(out) } else { Err(RdbError::BadCompression) }
}

fn copy_back(out: &mut Vec<u8>, len: usize, distance: usize) -> Result<(), RdbError> {
    let from = out.len().checked_sub(distance).ok_or(RdbError::BadCompression)?;
    if distance >= len {
        out.extend_from_within(from..from + len);
    } else {
        // It overlaps what it makes: a repetition.
        (from..from + len).for_each(|index| out.push(out[index]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(input: &[u8]) -> usize {
        let mut out = b"before".to_vec();
        assert!(Compressor::default().compress(input, &mut out, usize::MAX));
        assert_eq!(&out[..6], b"before");
        assert_eq!(decompress(&out[6..], input.len()).unwrap(), input);
        out.len() - 6
    }

    #[test]
    fn what_repeats_becomes_small() {
        assert!(round_trip(&[b'a'; 10_000]) < 150);
        assert!(round_trip(b"hello hello hello hello hello") < 15);
        assert_eq!(round_trip(b""), 0);
        assert_eq!(round_trip(b"ab"), 3);
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut out = vec![7];
        assert!(!Compressor::default().compress(b"abcdefghijklmnop", &mut out, 12));
        assert_eq!(out, [7]);
    }

    #[test]
    fn nonsense_is_refused() {
        for (why, input, len) in [
            ("literals beyond the end", &[5u8, b'a'][..], 6),
            ("a copy from before the start", &[0, b'a', 0x20, 5][..], 4),
            ("a copy without its distance", &[0, b'a', 0x20][..], 4),
            ("shorter than announced", &[0, b'a'][..], 2),
            ("longer than announced", &[1, b'a', b'b'][..], 1),
            ("more than it could ever expand to", &[0, b'a'][..], 1 << 40),
        ] {
            assert!(decompress(input, len).is_err(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(
            words in prop::collection::vec(prop::collection::vec(0u8..4, 0..20), 0..200),
        ) {
            round_trip(&words.concat());
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..5000) {
            let _ = decompress(&noise, len);
        }
    }
}
