//! Random projections: vectors of fewer dimensions that lie about as far from each other.

use super::DIM_MAX;
use crate::table::mix;

/// Most numbers in a matrix: 64 MiB.
const MATRIX_MAX: usize = 1 << 24;
/// Where the sequence of signs begins; the same everywhere, so that replicas agree.
const SEED: u64 = 0x51ed_270b_1df6_9c2f;

/// A matrix that vectors are multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    input_dim: usize,
    /// One row for each dimension that comes out.
    matrix: Box<[f32]>,
}

impl Projection {
    /// The projection between these dimensions: signs that follow from their place, scaled so that
    /// lengths stay what they are on the average. `None` if there are too many dimensions.
    pub fn new(input_dim: usize, output_dim: usize) -> Option<Projection> {
        if !Self::is_valid(input_dim, output_dim) {
            return None;
        }
        let scale = 1.0 / (input_dim as f32).sqrt();
        let sign = |at: usize| {
            let word = mix(SEED.wrapping_add(at as u64 / 64));
            if word >> (at % 64) & 1 == 1 { scale } else { -scale }
        };
        Some(Projection { input_dim, matrix: (0..input_dim * output_dim).map(sign).collect() })
    }

    fn is_valid(input_dim: usize, output_dim: usize) -> bool {
        let dims = 1..=DIM_MAX;
        dims.contains(&input_dim)
            && dims.contains(&output_dim)
            && input_dim * output_dim <= MATRIX_MAX
    }

    /// A projection from the bytes of its matrix, if they make sense.
    pub fn from_bytes(input_dim: usize, output_dim: usize, bytes: &[u8]) -> Option<Projection> {
        let (numbers, []) = bytes.as_chunks::<4>() else { return None };
        if !Self::is_valid(input_dim, output_dim) || numbers.len() != input_dim * output_dim {
            return None;
        }
        let matrix: Box<[f32]> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
        matrix.iter().all(|x| x.is_finite()).then_some(Projection { input_dim, matrix })
    }

    /// The bytes of the matrix.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.matrix.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// How many dimensions go in.
    pub fn input_dim(&self) -> usize {
        self.input_dim
    }

    /// How many come out.
    pub fn output_dim(&self) -> usize {
        self.matrix.len() / self.input_dim
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.matrix)
    }

    pub(super) fn apply(&self, vector: &[f32]) -> Vec<f32> {
        let product = |row: &[f32]| {
            row.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
        };
        self.matrix.chunks(self.input_dim).map(product).collect()
    }
}
