//! One element of a large array in eight bytes.
//!
//! The two lowest bits say what the others are:
//!
//! ```text
//! 00  the address of a text in a piece of memory of its own
//! 01  an integer of 62 bits
//! 10  a decimal: 58 bits of digits with their sign, 4 bits of places behind the point
//! 11  a text of up to seven bytes: its length in bits 2..5, the text in the upper seven bytes
//! ```
//!
//! Texts read back byte for byte: a number is kept as one only if printing it gives its text.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use super::super::blob::Blob;
use super::super::item::Item;
use super::super::one_of::Part;
use super::element::{ArrayElement, Decimal};

const TAG: u64 = 0b11;
const TAG_INT: u64 = 0b01;
const TAG_DECIMAL: u64 = 0b10;
const TAG_TEXT: u64 = 0b11;

/// Integers of this many bits fit.
const INT_BITS: u32 = 62;
const SCALE_BITS: u32 = 4;
/// Longest text that needs no memory of its own.
const INLINE_MAX: usize = 7;
/// Where the lowest byte of a number and the seven above it lie in memory.
const TAG_BYTE: usize = if cfg!(target_endian = "little") { 0 } else { 7 };
const TEXT_BYTE: usize = if cfg!(target_endian = "little") { 1 } else { 0 };

/// One element. Never zero, so that a place without one costs nothing more.
pub(super) struct Word {
    bits: NonNull<u8>,
    owns: PhantomData<Blob>,
}

const _: () = assert!(size_of::<Option<Word>>() == 8);

// SAFETY: a word is a number, a text, or owns a blob, all of which are `Send`.
unsafe impl Send for Word {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Word {}

impl Word {
    /// The element with this text.
    pub(super) fn new(text: &[u8]) -> Word {
        if let Item::Int(number) = Item::of(text) {
            let shift = i64::BITS - INT_BITS;
            if number << shift >> shift == number {
                return Word::of_bits((number as u64) << 2 | TAG_INT);
            }
        }
        if let Some(decimal) = Decimal::parse(text) {
            let digits = (decimal.digits() as u64) << (SCALE_BITS + 2);
            return Word::of_bits(digits | u64::from(decimal.places() - 1) << 2 | TAG_DECIMAL);
        }
        if text.len() <= INLINE_MAX {
            let mut bytes = [0; 8];
            bytes[TAG_BYTE] = (text.len() as u8) << 2 | TAG_TEXT as u8;
            bytes[TEXT_BYTE..TEXT_BYTE + text.len()].copy_from_slice(text);
            return Word::of_bits(u64::from_ne_bytes(bytes));
        }
        let bits = Blob::copy_of(text).into_word();
        assert!(bits.addr().get() as u64 & TAG == 0, "a text's address leaves room for the mark");
        Word { bits, owns: PhantomData }
    }

    fn of_bits(bits: u64) -> Word {
        let bits = NonZeroUsize::new(bits as usize).expect("no element is zero");
        Word { bits: NonNull::without_provenance(bits), owns: PhantomData }
    }

    fn bits(&self) -> u64 {
        self.bits.addr().get() as u64
    }

    /// The blob, if it owns one.
    fn blob(&self) -> Option<&Blob> {
        // SAFETY: words with this mark are those of blobs; it is lent no longer than the word.
        (self.bits() & TAG == 0).then(|| unsafe { Blob::lend(&self.bits) })
    }

    /// Lends the element.
    pub(super) fn element(&self) -> ArrayElement<'_> {
        if let Some(blob) = self.blob() {
            return ArrayElement::Bytes(blob);
        }
        let bits = self.bits();
        match bits & TAG {
            TAG_INT => ArrayElement::Int(bits as i64 >> 2),
            TAG_DECIMAL => {
                let places = (bits >> 2 & ((1 << SCALE_BITS) - 1)) as u8 + 1;
                ArrayElement::Decimal(Decimal::new(bits as i64 >> (SCALE_BITS + 2), places))
            }
            _ => {
                let len = (bits >> 2 & 0b111) as usize;
                // SAFETY: the bytes of this word, of which the upper seven are a text; it is lent
                // as long as the word.
                let bytes = unsafe { &*std::ptr::from_ref(&self.bits).cast::<[u8; 8]>() };
                ArrayElement::Bytes(&bytes[TEXT_BYTE..TEXT_BYTE + len])
            }
        }
    }

    /// Bytes of memory behind it.
    pub(super) fn heap_bytes(&self) -> usize {
        self.blob().map_or(0, Blob::allocated)
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        if self.blob().is_some() {
            // SAFETY: the word owns the blob, and is not used again.
            drop(unsafe { Blob::from_word(self.bits) });
        }
    }
}

impl Clone for Word {
    fn clone(&self) -> Word {
        match self.blob() {
            Some(text) => Word::new(text),
            None => Word { bits: self.bits, owns: PhantomData },
        }
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.element().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind_of(text: &[u8]) -> &'static str {
        let word = Word::new(text);
        match word.element() {
            ArrayElement::Int(_) => "int",
            ArrayElement::Decimal(_) => "decimal",
            ArrayElement::Bytes(_) if word.heap_bytes() == 0 => "inline",
            ArrayElement::Bytes(_) => "apart",
        }
    }

    #[test]
    fn what_a_word_keeps_in_itself() {
        for (why, text, want) in [
            ("zero", "0", "int"),
            ("the largest integer of 62 bits", "2305843009213693951", "int"),
            ("one more", "2305843009213693952", "apart"),
            ("the smallest", "-2305843009213693952", "int"),
            ("one less", "-2305843009213693953", "apart"),
            ("a fraction", "0.1", "decimal"),
            ("zeros at its end", "-12.3400", "decimal"),
            ("seventeen digits", "1234567.8901234567", "decimal"),
            ("eighteen digits", "12345678.8901234567", "apart"),
            ("all places behind the point", "0.1234567890123456", "decimal"),
            ("one more place", "0.12345678901234567", "apart"),
            ("a negative zero", "-0.0", "inline"),
            ("an empty text", "", "inline"),
            ("seven bytes", "seven b", "inline"),
            ("eight bytes", "eight by", "apart"),
            ("no digit before the point", ".5", "inline"),
            ("no digit behind it", "5.", "inline"),
            ("a leading zero", "01.5", "inline"),
            ("an exponent", "1.5e3", "inline"),
        ] {
            assert_eq!(kind_of(text.as_bytes()), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in prop_oneof![
            "-?[0-9]{0,20}".prop_map(String::into_bytes),
            "-?[0-9]{0,10}\\.[0-9]{0,17}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ]) {
            let word = Word::new(&text);
            prop_assert_eq!(word.element().to_vec(), text.clone());
            prop_assert_eq!(word.clone().element().to_vec(), text.clone());
            prop_assert_eq!(word.element().len(), text.len());
        }
    }
}
