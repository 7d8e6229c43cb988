//! An element of an array, lent.

use crate::collections::Item;

/// An element as an array lends it. Numbers are kept as such, so that sums need no parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayElement<'a> {
    /// The decimal text of this number.
    Int(i64),
    /// A number with a point.
    Decimal(Decimal),
    /// Any other text.
    Bytes(&'a [u8]),
}

impl ArrayElement<'_> {
    /// Calls with the text.
    pub fn with_bytes<R>(self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            ArrayElement::Int(number) => with(itoa::Buffer::new().format(number).as_bytes()),
            ArrayElement::Decimal(decimal) => with(decimal.to_string().as_bytes()),
            ArrayElement::Bytes(bytes) => with(bytes),
        }
    }

    /// A copy of the text.
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// How many bytes the text has.
    #[expect(clippy::len_without_is_empty, reason = "an empty element is an element like others")]
    pub fn len(self) -> usize {
        match self {
            ArrayElement::Bytes(bytes) => bytes.len(),
            number => number.with_bytes(<[u8]>::len),
        }
    }
}

impl<'a> From<Item<'a>> for ArrayElement<'a> {
    fn from(item: Item<'a>) -> Self {
        match item {
            Item::Int(number) => ArrayElement::Int(number),
            Item::Bytes(bytes) => ArrayElement::Bytes(bytes),
        }
    }
}

/// A number with a point, as people write it: no exponent, at least one digit on either side of the
/// point, at most 17 in all, no superfluous zero before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: i64,
    places: u8,
}

impl Decimal {
    /// Most digits in all.
    const DIGITS_MAX: usize = 17;
    /// Integers up to here are doubles.
    const EXACT_MAX: u64 = 1 << 53;

    pub(super) const fn new(digits: i64, places: u8) -> Decimal {
        Decimal { digits, places }
    }

    /// All digits as an integer.
    pub(super) const fn digits(self) -> i64 {
        self.digits
    }

    /// How many of them stand behind the point: 1..=16.
    pub(super) const fn places(self) -> u8 {
        self.places
    }

    /// The number whose text this is.
    pub(super) fn parse(text: &[u8]) -> Option<Decimal> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        if digits.len() > Decimal::DIGITS_MAX + 1 {
            return None;
        }
        let point = digits.iter().position(|byte| *byte == b'.')?;
        let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
        let well_formed = match whole {
            [] => false,
            [b'0'] => true,
            [first, ..] => *first != b'0',
        };
        if !well_formed || fraction.is_empty() {
            return None;
        }
        let mut number = 0i64;
        for &byte in whole.iter().chain(fraction) {
            number = number * 10 + i64::from(byte.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        }
        // There is no negative zero among integers.
        if negative && number == 0 {
            return None;
        }
        let digits = if negative { -number } else { number };
        Some(Decimal { digits, places: fraction.len() as u8 })
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        if self.digits.unsigned_abs() <= Decimal::EXACT_MAX {
            // Both are exact, so that the quotient is rounded once.
            return self.digits as f64 / 10f64.powi(i32::from(self.places));
        }
        self.to_string().parse().expect("digits with a point are a double")
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let unit = 10u64.pow(u32::from(self.places));
        let (whole, fraction) =
            (self.digits.unsigned_abs() / unit, self.digits.unsigned_abs() % unit);
        write!(f, "{sign}{whole}.{fraction:0width$}", width = usize::from(self.places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_decimal_is_the_double_that_its_text_is(
            text in "-?(0|[1-9][0-9]{0,7})\\.[0-9]{1,9}",
        ) {
            if let Some(decimal) = Decimal::parse(text.as_bytes()) {
                prop_assert_eq!(decimal.to_string(), text.clone());
                prop_assert_eq!(decimal.to_f64(), text.parse::<f64>().unwrap());
            }
        }
    }
}
