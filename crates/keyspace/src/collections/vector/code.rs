//! Vectors as they are kept: of length one, and coded to take less.

use super::distance::{bits_apart, dot, dot_codes};
use super::rows::Rows;

/// How the vectors of a set are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// As they are: 32 bits for each dimension (`NOQUANT`).
    None,
    /// In 8 bits, in parts of the largest (`Q8`).
    Int8,
    /// In one bit, which is set above zero (`BIN`).
    Binary,
}

/// The largest code of eight bits.
const CODE_MAX: f32 = 127.0;
/// Bytes before the codes of a row: the value that the largest code stands for.
pub(super) const RANGE_BYTES: usize = 4;

/// A coded vector, lent. Rows of codes begin with their range.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowRef<'a> {
    F32(&'a [f32]),
    Int8(&'a [i8]),
    Binary(&'a [u64]),
}

/// A coded vector, owned.
#[derive(Debug, Clone)]
pub(super) enum Row {
    F32(Vec<f32>),
    Int8(Vec<i8>),
    Binary(Vec<u64>),
}

impl Row {
    /// Codes a vector of length one (or zero).
    pub(super) fn of(unit: &[f32], quantization: Quantization) -> Row {
        match quantization {
            Quantization::None => Row::F32(unit.to_vec()),
            Quantization::Int8 => {
                let range = unit.iter().fold(0f32, |most, x| most.max(x.abs()));
                let scale = if range > 0.0 { CODE_MAX / range } else { 0.0 };
                let codes = unit.iter().map(|x| (x * scale).round() as i8);
                Row::Int8(range_bytes(range).into_iter().chain(codes).collect())
            }
            Quantization::Binary => {
                let word = |part: &[f32]| {
                    part.iter().rev().fold(0u64, |word, x| word << 1 | u64::from(*x > 0.0))
                };
                Row::Binary(unit.chunks(64).map(word).collect())
            }
        }
    }

    /// A row from the form in which it travels, if it has the right size and makes sense.
    pub(super) fn from_bytes(
        bytes: &[u8],
        range: f32,
        dim: usize,
        quantization: Quantization,
    ) -> Option<Row> {
        match quantization {
            Quantization::None => {
                let (numbers, []) = bytes.as_chunks::<4>() else { return None };
                let row: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
                (row.len() == dim && row.iter().all(|x| x.is_finite())).then_some(Row::F32(row))
            }
            Quantization::Int8 => {
                if bytes.len() != dim || !range.is_finite() {
                    return None;
                }
                let codes = bytes.iter().map(|byte| *byte as i8);
                Some(Row::Int8(range_bytes(range).into_iter().chain(codes).collect()))
            }
            Quantization::Binary => {
                let (words, []) = bytes.as_chunks::<8>() else { return None };
                let mut row: Vec<u64> = words.iter().map(|b| u64::from_le_bytes(*b)).collect();
                if row.len() != dim.div_ceil(64) {
                    return None;
                }
                if let (Some(last), true) = (row.last_mut(), !dim.is_multiple_of(64)) {
                    // Bits beyond the last dimension would count as differences.
                    *last &= (1 << (dim % 64)) - 1;
                }
                Some(Row::Binary(row))
            }
        }
    }

    pub(super) fn as_ref(&self) -> RowRef<'_> {
        match self {
            Row::F32(row) => RowRef::F32(row),
            Row::Int8(row) => RowRef::Int8(row),
            Row::Binary(row) => RowRef::Binary(row),
        }
    }
}

fn range_bytes(range: f32) -> [i8; RANGE_BYTES] {
    range.to_le_bytes().map(|byte| byte as i8)
}

fn split_range(row: &[i8]) -> (f32, &[i8]) {
    let (range, codes) = row.split_first_chunk::<RANGE_BYTES>().expect("a row has its range");
    (f32::from_le_bytes(range.map(|byte| byte as u8)), codes)
}

impl RowRef<'_> {
    /// One minus the cosine of the angle between two vectors of a set: from 0, the same direction, to
    /// 2, the opposite one. Of bits: how many differ, on the same scale.
    #[inline]
    pub(super) fn distance(self, other: RowRef<'_>, dim: usize) -> f32 {
        match (self, other) {
            (RowRef::F32(a), RowRef::F32(b)) => 1.0 - dot(a, b),
            (RowRef::Int8(a), RowRef::Int8(b)) => {
                let ((a_range, a), (b_range, b)) = (split_range(a), split_range(b));
                let scale = a_range * b_range / (CODE_MAX * CODE_MAX);
                (1.0 - dot_codes(a, b) as f32 * scale).clamp(0.0, 2.0)
            }
            (RowRef::Binary(a), RowRef::Binary(b)) => bits_apart(a, b) as f32 * 2.0 / dim as f32,
            _ => unreachable!("the vectors of a set are of one kind"),
        }
    }

    /// What the codes stand for: a vector of about length one; of bits, 1 and -1.
    pub(super) fn decode(self, dim: usize) -> Vec<f32> {
        match self {
            RowRef::F32(row) => row.to_vec(),
            RowRef::Int8(row) => {
                let (range, codes) = split_range(row);
                codes.iter().map(|code| f32::from(*code) * range / CODE_MAX).collect()
            }
            RowRef::Binary(row) => (0..dim)
                .map(|at| if row[at / 64] >> (at % 64) & 1 == 1 { 1.0 } else { -1.0 })
                .collect(),
        }
    }

    /// The form in which the row travels; the range goes apart.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            RowRef::F32(row) => row.iter().flat_map(|x| x.to_le_bytes()).collect(),
            RowRef::Int8(row) => split_range(row).1.iter().map(|code| *code as u8).collect(),
            RowRef::Binary(row) => row.iter().flat_map(|word| word.to_le_bytes()).collect(),
        }
    }

    /// What the largest code stands for, of codes.
    pub(super) fn range(self) -> Option<f32> {
        match self {
            RowRef::Int8(row) => Some(split_range(row).0),
            _ => None,
        }
    }
}

/// The coded vectors of a set.
#[derive(Clone)]
pub(super) enum Vectors {
    F32(Rows<f32>),
    Int8(Rows<i8>),
    Binary(Rows<u64>),
}

impl Vectors {
    pub(super) fn new(dim: usize, quantization: Quantization) -> Vectors {
        match quantization {
            Quantization::None => Vectors::F32(Rows::new(dim)),
            Quantization::Int8 => Vectors::Int8(Rows::new(RANGE_BYTES + dim)),
            Quantization::Binary => Vectors::Binary(Rows::new(dim.div_ceil(64))),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Vectors::F32(rows) => rows.len(),
            Vectors::Int8(rows) => rows.len(),
            Vectors::Binary(rows) => rows.len(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Vectors::F32(rows) => rows.heap_bytes(),
            Vectors::Int8(rows) => rows.heap_bytes(),
            Vectors::Binary(rows) => rows.heap_bytes(),
        }
    }

    #[inline]
    pub(super) fn row(&self, node: u32) -> RowRef<'_> {
        let node = node as usize;
        match self {
            Vectors::F32(rows) => RowRef::F32(rows.row(node)),
            Vectors::Int8(rows) => RowRef::Int8(rows.row(node)),
            Vectors::Binary(rows) => RowRef::Binary(rows.row(node)),
        }
    }

    /// Where a row begins, to be prefetched.
    #[inline]
    pub(super) fn address(&self, node: u32) -> *const u8 {
        match self.row(node) {
            RowRef::F32(row) => row.as_ptr().cast(),
            RowRef::Int8(row) => row.as_ptr().cast(),
            RowRef::Binary(row) => row.as_ptr().cast(),
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        match (self, row) {
            (Vectors::F32(rows), Row::F32(row)) => rows.push(row),
            (Vectors::Int8(rows), Row::Int8(row)) => rows.push(row),
            (Vectors::Binary(rows), Row::Binary(row)) => rows.push(row),
            _ => unreachable!("the vectors of a set are of one kind"),
        }
    }

    pub(super) fn swap_remove(&mut self, node: u32) {
        let node = node as usize;
        match self {
            Vectors::F32(rows) => rows.swap_remove(node),
            Vectors::Int8(rows) => rows.swap_remove(node),
            Vectors::Binary(rows) => rows.swap_remove(node),
        }
    }
}
