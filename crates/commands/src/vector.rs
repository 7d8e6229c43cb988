//! The vector set family: names with vectors, found by what lies near.
//!
//! Everything that a command does to a set follows from its arguments and the set, so commands
//! propagate as they are and every replica builds the same graph.

mod add;
mod change;
mod filter;
mod json;
mod read;
mod rows;
mod similar;
#[cfg(test)]
mod tests;

pub(crate) use rows::COMMANDS;

use slotward_keyspace::DIM_MAX;
use slotward_resp::Args;

use crate::error::CmdError;
use crate::number::parse_integer;

const INVALID_VECTOR: CmdError = CmdError::text("ERR invalid vector specification");

/// What a client may say about how far to look when an element is added.
const EFFORT_MAX: u64 = 1_000_000;

/// Whether there is an argument at `index` and it is this word.
fn is_word(argv: Args<'_>, index: usize, word: &str) -> bool {
    argv.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
}

/// The integer at `index`, if there is one and it is at least `least`.
fn at_least(argv: Args<'_>, index: usize, least: u64) -> Option<u64> {
    let number = u64::try_from(parse_integer(argv.get(index)?)?).ok()?;
    (number >= least).then_some(number)
}

/// Reads `FP32 bytes` or `VALUES n number…` at `index`: the vector, and the index behind it.
fn parse_vector(argv: Args<'_>, index: usize) -> Result<(Vec<f32>, usize), CmdError> {
    let (vector, end): (Vec<f32>, usize) = if is_word(argv, index, "FP32") {
        let bytes = argv.get(index + 1).ok_or(INVALID_VECTOR)?;
        let (numbers, []) = bytes.as_chunks::<4>() else { return Err(INVALID_VECTOR) };
        (numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), index + 2)
    } else if is_word(argv, index, "VALUES") {
        let begin = index + 2;
        let count = at_least(argv, index + 1, 1).and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count <= argv.len().saturating_sub(begin));
        let end = begin + count.ok_or(INVALID_VECTOR)?;
        let number = |at| std::str::from_utf8(&argv[at]).ok().and_then(|text| text.parse().ok());
        ((begin..end).map(number).collect::<Option<_>>().ok_or(INVALID_VECTOR)?, end)
    } else {
        return Err(INVALID_VECTOR);
    };
    // A vector whose length is no number is near nothing.
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32;
    if vector.is_empty() || vector.len() > DIM_MAX || !length.is_finite() {
        return Err(INVALID_VECTOR);
    }
    Ok((vector, end))
}

fn dimension_mismatch(got: usize, has: usize) -> CmdError {
    let text = format!("ERR Vector dimension mismatch - got {got} but set has {has}");
    CmdError::Other(text.into())
}

/// How near two vectors are whose distance this is: from 0, the opposite direction, to 1, the same.
fn similarity(distance: f32) -> f64 {
    (1.0 - f64::from(distance) / 2.0).clamp(0.0, 1.0)
}
