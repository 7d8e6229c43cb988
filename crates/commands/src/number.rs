//! Numbers as clients write them.

use std::fmt;

/// A 64-bit integer in its one canonical form: no sign but `-`, no leading zero, no blank. What is
/// not written so is no number to Redis either, which is why it can be stored as one.
#[inline]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit in a u64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        (magnitude <= 1 << 63).then(|| (magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// A double: decimal with or without an exponent, `inf`, `+inf`, `-inf`, `infinity`. `nan` is none.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // What is too large or too small for a double is no number to Redis, unless it is called so.
    let is_named = text.iter().any(|byte| matches!(byte, b'i' | b'I'));
    let has_value = || {
        let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        mantissa.into_iter().any(|byte| (b'1'..=b'9').contains(byte))
    };
    let out_of_range = number.is_infinite() && !is_named || number == 0.0 && has_value();
    (!number.is_nan() && !out_of_range).then_some(number)
}

/// A number of `INCRBYFLOAT`: exact to 17 digits behind the point where it can be.
///
/// Redis computes these with 80-bit floats and prints 17 digits; decimal arithmetic gives the same
/// text for what people write, on every machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decimal {
    /// The value times 10^17.
    Exact(i128),
    /// A value that is too large for that.
    Float(f64),
}

const FRACTION_DIGITS: usize = 17;
const SCALE: i128 = 100_000_000_000_000_000;

impl Decimal {
    /// The number that this text writes.
    pub fn parse(text: &[u8]) -> Option<Decimal> {
        let float = parse_double(text)?;
        Some(exact(text).unwrap_or(Decimal::Float(float)))
    }

    /// The sum, unless it is infinite or not a number.
    pub fn checked_add(self, other: Decimal) -> Option<Decimal> {
        if let (Decimal::Exact(a), Decimal::Exact(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Some(Decimal::Exact(sum));
        }
        let sum = self.to_f64() + other.to_f64();
        sum.is_finite().then_some(Decimal::Float(sum))
    }

    /// Whether it is no infinity.
    pub fn is_finite(self) -> bool {
        self.to_f64().is_finite()
    }

    /// Its opposite.
    #[must_use]
    pub(crate) fn negated(self) -> Decimal {
        match self {
            // The smallest number has no opposite of its kind.
            Decimal::Exact(scaled) => match scaled.checked_neg() {
                Some(scaled) => Decimal::Exact(scaled),
                None => Decimal::Float(-self.to_f64()),
            },
            Decimal::Float(float) => Decimal::Float(-float),
        }
    }

    /// Whether it is greater than another.
    pub(crate) fn is_more_than(self, other: Decimal) -> bool {
        match (self, other) {
            (Decimal::Exact(a), Decimal::Exact(b)) => a > b,
            _ => self.to_f64() > other.to_f64(),
        }
    }

    /// The double that is nearest.
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Decimal::Exact(scaled) => scaled as f64 / SCALE as f64,
            Decimal::Float(float) => float,
        }
    }
}

/// The text of a finite double without an exponent.
pub fn format_decimal(number: f64) -> String {
    Decimal::Float(number).to_string()
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Decimal::Exact(scaled) => {
                let sign = if scaled < 0 { "-" } else { "" };
                let magnitude = scaled.unsigned_abs();
                let (whole, fraction) = (magnitude / SCALE as u128, magnitude % SCALE as u128);
                let fraction = format!("{fraction:017}");
                match fraction.trim_end_matches('0') {
                    "" => write!(f, "{sign}{whole}"),
                    fraction => write!(f, "{sign}{whole}.{fraction}"),
                }
            }
            Decimal::Float(0.0) => f.write_str("0"),
            Decimal::Float(float) => write!(f, "{float}"),
        }
    }
}

/// The exact value of a finite decimal text that parses as a double, if it fits.
fn exact(text: &[u8]) -> Option<Decimal> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse().ok()?),
        None => (text, 0i32),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits = 0i128;
    for byte in mantissa.iter().filter(|byte| **byte != b'.') {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        digits = digits.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let fraction_len = mantissa.len().saturating_sub(point + 1) as i64;
    let shift = FRACTION_DIGITS as i64 - fraction_len + i64::from(exponent);
    let scaled = if shift >= 0 {
        digits.checked_mul(10i128.checked_pow(u32::try_from(shift).ok()?)?)?
    } else {
        // More digits than are kept: round half up.
        match 10i128.checked_pow(u32::try_from(-shift).ok()?) {
            Some(divisor) => (digits + divisor / 2) / divisor,
            None => 0,
        }
    };
    Some(Decimal::Exact(if negative { -scaled } else { scaled }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_integers_are_numbers() {
        for (why, text, want) in [
            ("zero", "0", Some(0)),
            ("negative", "-12", Some(-12)),
            ("largest", "9223372036854775807", Some(i64::MAX)),
            ("smallest", "-9223372036854775808", Some(i64::MIN)),
            ("one too large", "9223372036854775808", None),
            ("one too small", "-9223372036854775809", None),
            ("twenty digits", "10000000000000000000", None),
            ("nothing", "", None),
            ("only a sign", "-", None),
            ("negative zero", "-0", None),
            ("plus sign", "+1", None),
            ("leading zero", "01", None),
            ("blank", " 1", None),
            ("trailing letter", "1a", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), want, "{why}");
        }
    }

    #[test]
    fn decimal_sums_have_no_noise() {
        for (a, b, want) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-1.5", "0.25", "-1.25"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1e30", "1e30", "2000000000000000000000000000000"),
        ] {
            let sum = |a: &str, b: &str| {
                Decimal::parse(a.as_bytes())?.checked_add(Decimal::parse(b.as_bytes())?)
            };
            assert_eq!(sum(a, b).unwrap().to_string(), want, "{a} + {b}");
        }
        let infinite = Decimal::parse(b"inf").unwrap();
        assert_eq!(infinite.checked_add(Decimal::Exact(0)), None);
        assert_eq!(Decimal::parse(b"nan"), None);
        assert_eq!(Decimal::parse(b" 1"), None);
    }

    #[test]
    fn doubles_have_a_range() {
        for (why, text, want) in [
            ("infinite by name", "-inf", Some(f64::NEG_INFINITY)),
            ("infinite by size", "1e400", None),
            ("zero", "0", Some(0.0)),
            ("zero in any form", "-0.00e5", Some(0.0)),
            ("too small to be kept", "1e-400", None),
            ("the smallest", "5e-324", Some(5e-324)),
        ] {
            assert_eq!(parse_double(text.as_bytes()), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn every_integer_reads_back(number: i64) {
            prop_assert_eq!(parse_integer(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn decimals_never_panic(text in "[-+0-9.eE]{0,40}") {
            let _ = Decimal::parse(text.as_bytes());
        }
    }
}
