//! Bytes, lengths, strings and numbers of an RDB stream, in the order they come.

use std::io::Read;

use crate::crc64::crc64;
use crate::error::RdbError;
use crate::lzf;

/// Limits on what a stream may make us hold.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Longest string (`proto-max-bulk-len`).
    pub string_bytes_max: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits { string_bytes_max: 512 << 20 }
    }
}

/// What stands where a length is expected: a length, or the form of a special string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Plain(u64),
    /// A string in the special form with this number.
    Special(u8),
}

const BUFFER_BYTES: usize = 64 << 10;
/// A long string is read in pieces of this size, so that memory follows what arrives.
const PIECE_BYTES: usize = 1 << 20;

/// A source of bytes, buffered, with the checksum of what was consumed.
pub(crate) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    /// Up to here the buffer holds what was read.
    end: usize,
    /// Up to here the buffer's bytes are in `crc`.
    summed: usize,
    crc: u64,
    limits: ReadLimits,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(source: R, limits: ReadLimits) -> Self {
        Input { source, buffer: Vec::new(), at: 0, end: 0, summed: 0, crc: 0, limits }
    }

    /// The checksum of all bytes consumed so far.
    pub(crate) fn crc(&mut self) -> u64 {
        self.crc = crc64(self.crc, &self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.crc
    }

    /// Gives back the source and the bytes that were read from it but not consumed.
    pub(crate) fn into_rest(mut self) -> (R, Vec<u8>) {
        self.buffer.truncate(self.end);
        self.buffer.drain(..self.at);
        (self.source, self.buffer)
    }

    fn refill(&mut self) -> Result<(), RdbError> {
        debug_assert_eq!(self.at, self.end, "what is left in the buffer is read first");
        self.crc();
        (self.at, self.end, self.summed) = (0, 0, 0);
        self.buffer.resize(BUFFER_BYTES, 0);
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(0) => return Err(RdbError::Truncated),
                Ok(read) => {
                    self.end = read;
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, RdbError> {
        if self.at == self.end {
            self.refill()?;
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        if let Some(whole) = self.buffer[..self.end].get(self.at..self.at + N) {
            bytes.copy_from_slice(whole);
            self.at += N;
        } else {
            for byte in &mut bytes {
                *byte = self.byte()?;
            }
        }
        Ok(bytes)
    }

    /// The next `len` bytes. Memory grows as they arrive.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, RdbError> {
        if len > self.limits.string_bytes_max {
            return Err(RdbError::StringTooLong(len));
        }
        let mut left = usize::try_from(len).map_err(|_| RdbError::StringTooLong(len))?;
        let mut bytes = Vec::with_capacity(left.min(PIECE_BYTES));
        while left > 0 {
            if self.at == self.end {
                self.refill()?;
            }
            let part = left.min(self.end - self.at);
            bytes.extend_from_slice(&self.buffer[self.at..self.at + part]);
            self.at += part;
            left -= part;
        }
        Ok(bytes)
    }

    pub(crate) fn length_or_special(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first & 0x3f)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            3 => Length::Special(first & 0x3f),
            _ => match first {
                0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                _ => return Err(RdbError::Damaged("a length")),
            },
        })
    }

    /// A length.
    pub(crate) fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(RdbError::Damaged("a string where a length belongs")),
        }
    }

    /// A string of any form.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let number = match self.length_or_special()? {
            Length::Plain(len) => return self.bytes(len),
            Length::Special(0) => i32::from(i8::from_le_bytes(self.array()?)),
            Length::Special(1) => i32::from(i16::from_le_bytes(self.array()?)),
            Length::Special(2) => i32::from_le_bytes(self.array()?),
            Length::Special(3) => return self.compressed(),
            Length::Special(_) => return Err(RdbError::Damaged("the form of a string")),
        };
        Ok(itoa::Buffer::new().format(number).as_bytes().to_vec())
    }

    fn compressed(&mut self) -> Result<Vec<u8>, RdbError> {
        let compressed_len = self.length()?;
        let len = self.length()?;
        if len > self.limits.string_bytes_max {
            return Err(RdbError::StringTooLong(len));
        }
        let compressed = self.bytes(compressed_len)?;
        lzf::decompress(&compressed, len as usize)
    }

    /// A double in eight bytes.
    pub(crate) fn binary_double(&mut self) -> Result<f64, RdbError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A double in the old form: decimal digits behind their number.
    pub(crate) fn text_double(&mut self) -> Result<f64, RdbError> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            len => {
                let digits = self.bytes(u64::from(len))?;
                let text =
                    std::str::from_utf8(&digits).map_err(|_| RdbError::Damaged("a score"))?;
                text.parse().map_err(|_| RdbError::Damaged("a score"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input<&[u8]> {
        Input::new(bytes, ReadLimits { string_bytes_max: 1 << 30 })
    }

    #[test]
    fn every_form_of_a_string() {
        for (why, bytes, want) in [
            ("six bits of length", &b"\x03abc"[..], &b"abc"[..]),
            ("fourteen bits", b"\x40\x03abc", b"abc"),
            ("thirty-two bits", b"\x80\0\0\0\x03abc", b"abc"),
            ("sixty-four bits", b"\x81\0\0\0\0\0\0\0\x03abc", b"abc"),
            ("one byte of number", b"\xc0\xff", b"-1"),
            ("two bytes", b"\xc1\x00\x01", b"256"),
            ("four bytes", b"\xc2\x00\x00\x00\x80", b"-2147483648"),
            ("compressed", b"\xc3\x04\x04\x00a\x20\x00", b"aaaa"),
        ] {
            assert_eq!(input(bytes).string().unwrap(), want, "{why}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        for (why, bytes) in [
            ("a terabyte announced", &b"\x81\0\0\x01\0\0\0\0\0abc"[..]),
            ("under the limit, but not there", b"\x80\x30\0\0\0abc"),
            ("no form of a length", b"\x82abc"),
            ("no form of a string", b"\xc9abc"),
        ] {
            assert!(input(bytes).string().is_err(), "{why}");
        }
    }

    #[test]
    fn the_checksum_covers_what_was_consumed() {
        let mut input = input(b"\x03abcdef");
        input.string().unwrap();
        assert_eq!(input.crc(), crc64(0, b"\x03abc"));
        assert_eq!(input.into_rest().1, b"def");
    }
}
