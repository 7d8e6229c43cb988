//! One number out of many elements.

use std::ops::ControlFlow;

use slotward_keyspace::{Array, ArrayElement};

use crate::call::Call;
use crate::error::CmdError;
use crate::number::{parse_double, parse_integer};

/// What is to be made of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation<'a> {
    Sum,
    Min,
    Max,
    And,
    Or,
    Xor,
    Match(&'a [u8]),
    Used,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Count(u64),
    Bits(Option<i64>),
    Number(Option<f64>),
}

const NAMES: &[(&str, Operation<'_>)] = &[
    ("SUM", Operation::Sum),
    ("MIN", Operation::Min),
    ("MAX", Operation::Max),
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("MATCH", Operation::Match(b"")),
    ("USED", Operation::Used),
];

pub(super) fn arop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, from, to) = (call.key(1), call.index(2)?, call.index(3)?);
    let named = NAMES.iter().find(|(name, _)| call.is_word(4, name));
    let mut operation: Operation<'_> = named.ok_or(CmdError::text("ERR unknown operation"))?.1;
    if let Operation::Match(value) = &mut operation {
        if call.argv.len() != 6 {
            return Err(CmdError::text("ERR MATCH requires a value argument"));
        }
        *value = call.arg(5);
    } else if call.argv.len() != 5 {
        return Err(CmdError::WrongArgCount("arop"));
    }
    let outcome = match call.db.array(&key)? {
        Some(array) => aggregate(array, from, to, operation),
        None => nothing(operation),
    };
    match outcome {
        Outcome::Count(count) => call.reply.unsigned(count),
        Outcome::Bits(Some(bits)) => call.reply.integer(bits),
        Outcome::Number(Some(number)) => call.reply.bulk(format_17(number).as_bytes()),
        Outcome::Bits(None) | Outcome::Number(None) => call.reply.null(),
    }
    Ok(())
}

fn nothing(operation: Operation<'_>) -> Outcome {
    match operation {
        Operation::Match(_) | Operation::Used => Outcome::Count(0),
        Operation::And | Operation::Or | Operation::Xor => Outcome::Bits(None),
        Operation::Sum | Operation::Min | Operation::Max => Outcome::Number(None),
    }
}

fn aggregate(array: &Array, from: u64, to: u64, operation: Operation<'_>) -> Outcome {
    let mut outcome = nothing(operation);
    // In ascending order whatever the order of the bounds: sums depend on it.
    let _ = array.visit(from.min(to), from.max(to), &mut |_, element| {
        outcome = join(operation, outcome, element);
        ControlFlow::Continue(())
    });
    outcome
}

fn join(operation: Operation<'_>, outcome: Outcome, element: ArrayElement<'_>) -> Outcome {
    match outcome {
        Outcome::Count(count) => {
            let counts = match operation {
                Operation::Match(value) => element.with_bytes(|text| text == value),
                _ => true,
            };
            Outcome::Count(count + u64::from(counts))
        }
        Outcome::Bits(bits) => Outcome::Bits(match (bits, integer(element)) {
            (None, found) => found,
            (bits, None) => bits,
            (Some(bits), Some(more)) => Some(match operation {
                Operation::And => bits & more,
                Operation::Or => bits | more,
                _ => bits ^ more,
            }),
        }),
        Outcome::Number(number) => Outcome::Number(match (number, double(element)) {
            (None, found) => found,
            (number, None) => number,
            (Some(number), Some(more)) => Some(match operation {
                Operation::Sum => number + more,
                Operation::Min => number.min(more),
                _ => number.max(more),
            }),
        }),
    }
}

/// The number that an element is, if it is one.
fn double(element: ArrayElement<'_>) -> Option<f64> {
    match element {
        ArrayElement::Int(number) => Some(number as f64),
        ArrayElement::Decimal(decimal) => Some(decimal.to_f64()),
        ArrayElement::Bytes(text) => parse_double(text),
    }
}

/// The same without what stands behind the point, if it has 64 bits.
fn integer(element: ArrayElement<'_>) -> Option<i64> {
    match element {
        ArrayElement::Int(number) => Some(number),
        ArrayElement::Bytes(text) => parse_integer(text).or_else(|| whole(parse_double(text)?)),
        ArrayElement::Decimal(decimal) => whole(decimal.to_f64()),
    }
}

fn whole(number: f64) -> Option<i64> {
    const END: f64 = (1u64 << 63) as f64;
    (-END..END).contains(&number).then_some(number as i64)
}

/// A number with 17 significant digits, as C prints it with `%.17g`.
fn format_17(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("it has an exponent");
    let exponent: i32 = exponent.parse().expect("which is a number");
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..17).contains(&exponent) {
        let places = usize::try_from(16 - exponent).expect("the exponent is below 17");
        return without_zeros(&format!("{number:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_c_prints_them() {
        // What printf("%.17g") of the C library gives.
        for (number, want) in [
            (60.0, "60"),
            (0.1, "0.10000000000000001"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-1.5, "-1.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1e300, "1.0000000000000001e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (9_007_199_254_740_991.0, "9007199254740991"),
        ] {
            assert_eq!(format_17(number), want);
        }
    }

    #[test]
    fn what_has_no_64_bits_is_no_integer() {
        for (text, want) in [
            (&b"7"[..], Some(7)),
            (b"-7.9", Some(-7)),
            (b"1e3", Some(1000)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"9223372036854775808", None),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"inf", None),
            (b"x", None),
        ] {
            assert_eq!(integer(ArrayElement::Bytes(text)), want, "{}", text.escape_ascii());
        }
    }
}
