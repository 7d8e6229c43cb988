//! The bytes of a HyperLogLog, the same as Redis's, so that they may travel between servers.
//!
//! ```text
//! byte 0..4   "HYLL"
//!      4      0 dense, 1 sparse
//!      5..8   unused
//!      8..16  the last estimate, little endian; the highest bit says that it is stale
//!      16..   16384 registers
//! ```
//!
//! Dense registers have six bits each, lowest bits first. Sparse ones are runs:
//!
//! ```text
//! 00llllll           l + 1 registers are 0            (ZERO)
//! 01llllll llllllll  the same for longer runs         (XZERO)
//! 1vvvvvll           l + 1 registers are v + 1        (VAL)
//! ```

use std::ops::Range;

/// Registers of a sketch: 2^14.
pub(super) const REGISTERS: usize = 1 << 14;
const HASH_BITS: u32 = 50;
const HEADER: usize = 16;
const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const STALE: u8 = 0x80;
const ZERO_LEN_MAX: usize = 64;
const VAL_LEN_MAX: usize = 4;
/// The largest value that a sparse register can have.
const VAL_MAX: u8 = 32;

/// The sketch's bytes are not what they say they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corrupt;

/// The value that all registers of a sketch have, one byte each.
pub(super) type Registers = [u8; REGISTERS];

/// Whether these bytes are a sketch, as far as their first ones and their length tell.
pub(super) fn is_sketch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && (bytes[4] == SPARSE || bytes[4] == DENSE && bytes.len() == DENSE_BYTES)
}

/// The bytes of a sketch that has seen nothing.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 2);
    bytes.extend_from_slice(MAGIC);
    bytes.push(SPARSE);
    bytes.resize(HEADER, 0);
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Whether the registers have six bits each.
pub(super) fn is_dense(bytes: &[u8]) -> bool {
    bytes[4] == DENSE
}

/// The estimate that is kept, if it is still right.
pub(super) fn cached_estimate(bytes: &[u8]) -> Option<u64> {
    let kept: [u8; 8] = bytes[8..HEADER].try_into().expect("eight bytes");
    (kept[7] & STALE == 0).then_some(u64::from_le_bytes(kept))
}

/// Keeps an estimate.
pub(super) fn cache_estimate(bytes: &mut [u8], estimate: u64) {
    bytes[8..HEADER].copy_from_slice(&estimate.to_le_bytes());
}

/// Marks the estimate as no longer right.
pub(super) fn forget_estimate(bytes: &mut [u8]) {
    bytes[HEADER - 1] |= STALE;
}

/// The register that an element belongs to, and the value it wants there.
pub(super) fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, 0xadc8_3b19);
    let index = hash as usize % REGISTERS;
    let rest = hash >> REGISTERS.trailing_zeros() | 1 << HASH_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// The public-domain MurmurHash2 in its 64-bit variant A, on little-endian words.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

// --- dense registers

pub(super) fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (byte, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let low = u16::from(bytes[byte]);
    let high = bytes.get(byte + 1).map_or(0, |byte| u16::from(*byte));
    ((high << 8 | low) >> shift) as u8 & 63
}

fn dense_write(bytes: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let (mask, value) = (63u16 << shift, u16::from(value) << shift);
    bytes[byte] = bytes[byte] & !(mask as u8) | value as u8;
    if let Some(next) = bytes.get_mut(byte + 1)
        && shift > 2
    {
        *next = *next & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// Raises a dense register; whether it was lower.
pub(super) fn dense_raise(bytes: &mut [u8], index: usize, value: u8) -> bool {
    let lower = dense_get(bytes, index) < value;
    if lower {
        dense_write(bytes, index, value);
    }
    lower
}

// --- sparse registers

/// A run of equal registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Their value.
    pub(super) value: u8,
    /// How many there are.
    pub(super) len: usize,
    /// Whether it is the long form of zeros.
    pub(super) long: bool,
}

impl Run {
    fn bytes(self) -> usize {
        if self.long { 2 } else { 1 }
    }
}

/// The run that begins at `at`. What is missing of a last one counts as zero, as in Redis, whose
/// strings have a zero behind them.
fn run_at(bytes: &[u8], at: usize) -> Option<Run> {
    let first = *bytes.get(at)?;
    Some(match first >> 6 {
        0 => Run { value: 0, len: usize::from(first & 63) + 1, long: false },
        1 => {
            let len =
                usize::from(first & 63) << 8 | usize::from(bytes.get(at + 1).copied().unwrap_or(0));
            Run { value: 0, len: len + 1, long: true }
        }
        _ => Run { value: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1, long: false },
    })
}

/// All runs of a sparse sketch, whether or not they make sense together.
pub(super) fn raw_runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let run = run_at(bytes, at)?;
        at += run.bytes();
        Some(run)
    })
}

/// All runs of a sparse sketch with the registers that they are for.
fn runs(bytes: &[u8]) -> impl Iterator<Item = Result<(Range<usize>, Run), Corrupt>> {
    let (mut raw, mut index, mut ended) = (raw_runs(bytes), 0, false);
    std::iter::from_fn(move || {
        let run = raw.next();
        let range = index..index + run.map_or(0, |run| run.len);
        index = range.end;
        match run {
            _ if ended => None,
            Some(run) if index <= REGISTERS => Some(Ok((range, run))),
            None if index == REGISTERS => None,
            // A run is missing, or one too many.
            _ => {
                ended = true;
                Some(Err(Corrupt))
            }
        }
    })
}

fn push_zeros(out: &mut Vec<u8>, len: usize) {
    match len {
        0 => {}
        1..=ZERO_LEN_MAX => out.push(len as u8 - 1),
        _ => out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
    }
}

fn val(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

fn push_val(out: &mut Vec<u8>, value: u8, len: usize) {
    if len > 0 {
        out.push(val(value, len));
    }
}

/// Raises a register of a sketch in either form; whether it was lower. A sparse sketch becomes
/// dense when the value or the length that it would have are too large for it.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_bytes_max: usize,
) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(dense_raise(bytes, index, value));
    }
    if value > VAL_MAX {
        return promote(bytes, index, value);
    }
    let (mut at, mut first, mut before) = (HEADER, 0, None);
    let run = loop {
        let run = run_at(bytes, at).ok_or(Corrupt)?;
        if index < first + run.len {
            break run;
        }
        before = Some(at);
        (at, first) = (at + run.bytes(), first + run.len);
    };
    if run.value >= value {
        return Ok(false);
    }
    if at + run.bytes() > bytes.len() {
        return Err(Corrupt);
    }
    let (left, right) = (index - first, first + run.len - 1 - index);
    let mut new = Vec::with_capacity(5);
    let around =
        if run.value == 0 { |out: &mut Vec<u8>, _, len| push_zeros(out, len) } else { push_val };
    around(&mut new, run.value, left);
    new.push(val(value, 1));
    around(&mut new, run.value, right);
    let grows = new.len() > run.bytes();
    // What counts is the string's length with its header, as in Redis.
    if grows && bytes.len() + new.len() - run.bytes() > sparse_bytes_max {
        return promote(bytes, index, value);
    }
    bytes.splice(at..at + run.bytes(), new);
    merge_values(bytes, before.unwrap_or(HEADER));
    Ok(true)
}

fn promote(bytes: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, Corrupt> {
    make_dense(bytes)?;
    Ok(dense_raise(bytes, index, value))
}

/// Joins neighbours of equal value among the next five runs.
fn merge_values(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = run_at(bytes, at) else { return };
        let next = run_at(bytes, at + run.bytes());
        match next {
            Some(next)
                if run.value > 0
                    && next.value == run.value
                    && run.len + next.len <= VAL_LEN_MAX =>
            {
                bytes[at] = val(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.bytes(),
        }
    }
}

/// Gives the sketch its dense form; whether it had another.
pub(super) fn make_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(false);
    }
    let mut dense = bytes[..HEADER].to_vec();
    dense[4] = DENSE;
    dense.resize(DENSE_BYTES, 0);
    for run in runs(bytes) {
        let (range, run) = run?;
        if run.value > 0 {
            range.for_each(|index| dense_write(&mut dense, index, run.value));
        }
    }
    *bytes = dense;
    Ok(true)
}

// --- several sketches, estimates

/// Raises all registers to the sketch's.
pub(super) fn merge_into(all: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    if is_dense(bytes) {
        for (index, value) in all.iter_mut().enumerate() {
            *value = (*value).max(dense_get(bytes, index));
        }
        return Ok(());
    }
    for run in runs(bytes) {
        let (range, run) = run?;
        all[range].iter_mut().for_each(|value| *value = (*value).max(run.value));
    }
    Ok(())
}

/// How many different elements the sketch has seen, roughly.
pub(super) fn estimate(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0u32; 64];
    if is_dense(bytes) {
        (0..REGISTERS).for_each(|index| histogram[usize::from(dense_get(bytes, index))] += 1);
    } else {
        for run in runs(bytes) {
            let (_, run) = run?;
            histogram[usize::from(run.value)] += run.len as u32;
        }
    }
    Ok(estimate_of(&histogram))
}

/// The same for registers of a byte each.
pub(super) fn estimate_registers(all: &Registers) -> u64 {
    let mut histogram = [0u32; 64];
    all.iter().for_each(|value| histogram[usize::from(*value)] += 1);
    estimate_of(&histogram)
}

/// Ertl's improved estimator, from how many registers have which value
/// ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6).
fn estimate_of(histogram: &[u32; 64]) -> u64 {
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    const HIGHEST: usize = HASH_BITS as usize;
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(histogram[HIGHEST + 1])) / m);
    for value in (1..=HIGHEST).rev() {
        z = (z + f64::from(histogram[value])) * 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_are_those_of_redis() {
        // As PFADD of these elements to an empty key left them with Redis 7.0.
        for (why, element, want) in [
            ("a letter", &b"a"[..], (12_711, 2)),
            ("nothing", b"", (5938, 2)),
            ("more than eight bytes", b"hello world", (9399, 4)),
        ] {
            assert_eq!(place_of(element), want, "{why}");
        }
    }

    #[test]
    fn damage_is_found() {
        let mut whole = empty();
        raise(&mut whole, 7, 3, 3000).unwrap();
        for (why, bytes) in [
            ("a run is missing", whole[..whole.len() - 2].to_vec()),
            ("half a run", whole[..whole.len() - 1].to_vec()),
            ("half a run too many", [&whole[..], &[0x40]].concat()),
            ("a run too many", [&whole[..], &[0]].concat()),
            ("a run too long", [&whole[..HEADER], &[0x7f, 0xff], &[0x7f, 0xff]].concat()),
        ] {
            assert_eq!(estimate(&bytes), Err(Corrupt), "{why}");
            assert_eq!(merge_into(&mut [0; REGISTERS], &bytes), Err(Corrupt), "{why}");
            assert_eq!(make_dense(&mut bytes.clone()), Err(Corrupt), "{why}");
        }
        assert!(estimate(&whole).is_ok());
    }

    proptest! {
        #[test]
        fn both_forms_are_the_same_registers(
            raises in prop::collection::vec((0usize..200, 1u8..=33), 0..200),
            limit in 16usize..400,
        ) {
            let (mut sparse, mut dense) = (empty(), empty());
            make_dense(&mut dense).unwrap();
            let mut model = [0; REGISTERS];
            for (index, value) in raises {
                // Far apart too, so that long runs of zeros are split.
                let index = if index % 3 == 0 { index * 80 } else { index };
                let raised = model[index] < value;
                model[index] = model[index].max(value);
                prop_assert_eq!(raise(&mut sparse, index, value, limit), Ok(raised));
                prop_assert_eq!(raise(&mut dense, index, value, limit), Ok(raised));
                prop_assert!(is_sketch(&sparse) && is_sketch(&dense));
            }
            prop_assert_eq!(estimate(&sparse), estimate(&dense));
            for bytes in [&sparse, &dense] {
                let mut all = [0; REGISTERS];
                merge_into(&mut all, bytes).unwrap();
                prop_assert!(all == model);
                prop_assert_eq!(estimate(bytes), Ok(estimate_registers(&all)));
            }
        }

        #[test]
        fn noise_is_judged_without_a_panic(
            noise in prop::collection::vec(any::<u8>(), 0..60),
            index in 0..REGISTERS,
            value in 1u8..=51,
        ) {
            let mut bytes = [&empty()[..HEADER], &noise].concat();
            let _ = (estimate(&bytes), merge_into(&mut [0; REGISTERS], &bytes));
            let _ = raise(&mut bytes, index, value, 3000);
        }
    }
}
