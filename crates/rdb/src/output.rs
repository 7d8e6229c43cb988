//! Lengths, strings and numbers in the form of an RDB stream.

use slotward_keyspace::Item;

use crate::lzf::Compressor;

/// Strings of at most this many bytes are not worth compressing.
const COMPRESS_ABOVE_BYTES: usize = 20;

/// A buffer that takes the elements of the format.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    /// Made with the first string that is worth compressing.
    compressor: Option<Compressor>,
    compress: bool,
}

impl Output {
    pub(crate) fn new(compress: bool) -> Self {
        Output { bytes: Vec::new(), compressor: None, compress }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn length(&mut self, length: usize) {
        match length {
            0..64 => self.byte(length as u8),
            64..16_384 => self.raw(&[0x40 | (length >> 8) as u8, length as u8]),
            _ => match u32::try_from(length) {
                Ok(length) => {
                    self.byte(0x80);
                    self.raw(&length.to_be_bytes());
                }
                Err(_) => {
                    self.byte(0x81);
                    self.raw(&(length as u64).to_be_bytes());
                }
            },
        }
    }

    /// A number in the form of a length.
    pub(crate) fn number(&mut self, number: u64) {
        self.length(usize::try_from(number).expect("lengths have 64 bits"));
    }

    /// A string: as a number if it reads as one of 32 bits, compressed if that helps.
    pub(crate) fn string(&mut self, bytes: &[u8]) {
        // The longest number of 32 bits has eleven characters.
        if bytes.len() <= 11
            && let Some(number) =
                Item::of(bytes).as_int().and_then(|number| i32::try_from(number).ok())
        {
            return self.short_int(number);
        }
        if self.compress && bytes.len() > COMPRESS_ABOVE_BYTES && self.compressed(bytes) {
            return;
        }
        self.length(bytes.len());
        self.raw(bytes);
    }

    /// The decimal form of a number, as a string.
    pub(crate) fn int(&mut self, number: i64) {
        match i32::try_from(number) {
            Ok(number) => self.short_int(number),
            Err(_) => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(number).as_bytes();
                self.length(digits.len());
                self.raw(digits);
            }
        }
    }

    fn short_int(&mut self, number: i32) {
        let bytes = number.to_le_bytes();
        let (form, width) = match number {
            -128..=127 => (0, 1),
            -32_768..=32_767 => (1, 2),
            _ => (2, 4),
        };
        self.byte(0xc0 | form);
        self.raw(&bytes[..width]);
    }

    fn compressed(&mut self, bytes: &[u8]) -> bool {
        let compressor = self.compressor.get_or_insert_default();
        // The lengths go before the form, but are known after it.
        let mut form = Vec::new();
        if !compressor.compress(bytes, &mut form, bytes.len() - 4) {
            return false;
        }
        self.byte(0xc3);
        self.length(form.len());
        self.length(bytes.len());
        self.raw(&form);
        true
    }

    /// An element of a collection.
    pub(crate) fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(number) => self.int(number),
            Item::Bytes(bytes) => self.string(bytes),
        }
    }

    pub(crate) fn double(&mut self, number: f64) {
        self.raw(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Input, ReadLimits};
    use proptest::prelude::*;

    fn read_back(bytes: &[u8]) -> Vec<u8> {
        Input::new(bytes, ReadLimits::default()).string().unwrap()
    }

    #[test]
    fn strings_take_their_shortest_form() {
        for (why, text, bytes_want) in [
            ("a byte of number", "-128", 2),
            ("two", "32767", 3),
            ("four", "-2147483648", 5),
            ("too large for a number", "2147483648", 11),
            ("no number", "007", 4),
            ("repetitive", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 8),
        ] {
            let mut output = Output::new(true);
            output.string(text.as_bytes());
            assert_eq!(output.bytes.len(), bytes_want, "{why}");
            assert_eq!(read_back(&output.bytes), text.as_bytes(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_string_reads_back(bytes in prop::collection::vec(0u8..6, 0..2000), compress: bool) {
            let mut output = Output::new(compress);
            output.string(&bytes);
            prop_assert_eq!(read_back(&output.bytes), bytes);
        }

        #[test]
        fn any_number_reads_back(number: i64) {
            let mut output = Output::new(true);
            output.int(number);
            prop_assert_eq!(read_back(&output.bytes), number.to_string().into_bytes());
        }

        #[test]
        fn any_length_reads_back(length: u64, shift in 0u32..64) {
            let mut output = Output::default();
            output.length((length >> shift) as usize);
            let mut input = Input::new(&output.bytes[..], ReadLimits::default());
            prop_assert_eq!(input.length().unwrap(), length >> shift);
        }
    }
}
