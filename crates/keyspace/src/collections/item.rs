//! One element of a collection: bytes, or an integer that is stored as a number.

use crate::value::parse_int;

/// An element as a collection yields it. Packed forms keep integers as numbers, so nothing is
/// formatted unless somebody asks for the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The bytes of the element.
    Bytes(&'a [u8]),
    /// The element is the decimal text of this number.
    Int(i64),
}

impl<'a> Item<'a> {
    /// The element with this text: an [`Item::Int`] exactly when the text is what printing some
    /// `i64` gives.
    #[inline]
    pub fn of(text: &'a [u8]) -> Item<'a> {
        match parse_int(text) {
            Some(number) => Item::Int(number),
            None => Item::Bytes(text),
        }
    }

    /// Calls `visit` with the element's text.
    #[inline]
    pub fn with_bytes<R>(self, visit: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Item::Bytes(bytes) => visit(bytes),
            Item::Int(number) => visit(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// The element's text, copied.
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// How many bytes the element's text has.
    #[expect(clippy::len_without_is_empty, reason = "an empty element is an element like others")]
    pub fn len(self) -> usize {
        match self {
            Item::Bytes(bytes) => bytes.len(),
            Item::Int(number) => int_len(number),
        }
    }

    /// The number that the element's text is, by the rule of [`Item::of`].
    pub fn as_int(self) -> Option<i64> {
        match self {
            Item::Int(number) => Some(number),
            Item::Bytes(bytes) => parse_int(bytes),
        }
    }
}

/// A text to look for among items, with its number computed once.
#[derive(Clone, Copy)]
pub(crate) struct Needle<'a> {
    text: &'a [u8],
    number: Option<i64>,
}

impl<'a> Needle<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Needle { text, number: parse_int(text) }
    }

    #[inline]
    pub(crate) fn is(&self, item: Item<'_>) -> bool {
        match item {
            Item::Bytes(bytes) => bytes == self.text,
            Item::Int(number) => self.number == Some(number),
        }
    }
}

fn int_len(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(number < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_item_has_the_text_it_was_made_of(text in "-?[0-9]{0,20}|[a-z]{0,8}") {
            let item = Item::of(text.as_bytes());
            prop_assert_eq!(item.to_vec(), text.as_bytes());
            prop_assert_eq!(item.len(), text.len());
            prop_assert!(Needle::new(text.as_bytes()).is(item));
        }
    }
}
