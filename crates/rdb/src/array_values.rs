//! Values of the array type in an RDB stream, as Redis from 8.8 on has them.
//!
//! ```text
//! number of elements, whether a cursor follows (0 or 1), [where the last element was appended]
//! for each element: index, form, value
//! ```
//!
//! Numbers are in the form of lengths. The forms of a value: 0 a string, 1 an integer (8, little
//! endian), 2 a double (8, little endian), 3 a string of at most seven bytes. Elements that print as
//! a number with a point are written as strings, which is what they are to clients.

use std::io::Read;

use slotward_keyspace::{Array, ArrayElement};

use crate::error::RdbError;
use crate::input::Input;
use crate::output::Output;

const DAMAGED: RdbError = RdbError::Damaged("an array");

const STRING: u64 = 0;
const INT: u64 = 1;
const DOUBLE: u64 = 2;
const SHORT_STRING: u64 = 3;
/// Longest string of the form for short ones.
const SHORT_MAX: usize = 7;
/// Redis keeps integers of this many bits as such, and none larger.
const INT_BITS: u32 = 62;

/// Writes an array behind its kind and key.
pub(crate) fn write(out: &mut Output, array: &Array) {
    out.number(array.count());
    match array.cursor() {
        None => out.number(0),
        Some(cursor) => {
            out.number(1);
            out.number(cursor);
        }
    }
    array.each(|index, element| {
        out.number(index);
        match element {
            ArrayElement::Int(number) if is_short(number) => {
                out.number(INT);
                out.raw(&number.to_le_bytes());
            }
            other => other.with_bytes(|text| {
                out.number(if text.len() <= SHORT_MAX { SHORT_STRING } else { STRING });
                out.string(text);
            }),
        }
    });
}

fn is_short(number: i64) -> bool {
    let shift = i64::BITS - INT_BITS;
    number << shift >> shift == number
}

/// Reads an array, which may be empty.
pub(crate) fn read<R: Read>(input: &mut Input<R>) -> Result<Array, RdbError> {
    let mut array = Array::new();
    let count = input.length()?;
    let cursor = match input.length()? {
        0 => None,
        1 => Some(input.length()?),
        _ => return Err(DAMAGED),
    };
    for _ in 0..count {
        let index = input.length()?;
        let text = match input.length()? {
            STRING | SHORT_STRING => input.string()?,
            INT => i64::from_le_bytes(input.array()?).to_string().into_bytes(),
            DOUBLE => {
                let number = f64::from_le_bytes(input.array()?);
                if !number.is_finite() {
                    return Err(DAMAGED);
                }
                number.to_string().into_bytes()
            }
            _ => return Err(DAMAGED),
        };
        let fits = index <= Array::INDEX_MAX && text.len() <= Array::ELEMENT_BYTES_MAX;
        if !fits || !array.set(index, &text) {
            return Err(DAMAGED);
        }
    }
    // Redis says that there is no cursor in two ways.
    array.set_cursor(cursor.filter(|at| *at <= Array::INDEX_MAX));
    Ok(array)
}
