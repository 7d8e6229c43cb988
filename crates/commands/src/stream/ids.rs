//! Ids as clients write them.

use slotward_keyspace::StreamId;

use crate::call::Call;
use crate::error::CmdError;
use crate::number::parse_integer;

/// Longer texts are no ids to Redis.
const TEXT_BYTES_MAX: usize = 127;

pub(super) const INVALID: CmdError =
    CmdError::text("ERR Invalid stream ID specified as stream command argument");

/// An unsigned number as Redis reads one in an id: the canonical form, or what C's `strtoull` takes.
fn parse_number(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_integer(text) {
        return u64::try_from(number).ok();
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let digits = Some(digits).filter(|digits| !digits.is_empty())?;
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// The id that `XADD` is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewId {
    /// `*`
    Now,
    /// `ms-*`
    Within(u64),
    /// `ms-seq`, or `ms` alone, which is `ms-0`.
    Given(StreamId),
}

/// An id, `ms` or `ms-seq`; `missing_seq` completes the former.
pub(super) fn parse(text: &[u8], missing_seq: u64) -> Result<StreamId, CmdError> {
    match parse_new(text, missing_seq)? {
        NewId::Given(id) => Ok(id),
        _ => Err(INVALID),
    }
}

/// An id of which the second part may be left to the server.
pub(super) fn parse_new(text: &[u8], missing_seq: u64) -> Result<NewId, CmdError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(INVALID);
    }
    // As for a C string, what follows a zero byte does not count.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let ms = parse_number(ms).ok_or(INVALID)?;
    Ok(match seq {
        None => NewId::Given(StreamId::new(ms, missing_seq)),
        Some(b"*") => NewId::Within(ms),
        Some(seq) => NewId::Given(StreamId::new(ms, parse_number(seq).ok_or(INVALID)?)),
    })
}

/// An id, or `-` and `+` for the first and the last one.
pub(super) fn parse_open(text: &[u8], missing_seq: u64) -> Result<StreamId, CmdError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => parse(text, missing_seq),
    }
}

/// The beginning of an interval; with `(` the id itself is left out.
pub(super) fn parse_start(text: &[u8]) -> Result<StreamId, CmdError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            parse(id, 0)?.next().ok_or(CmdError::text("ERR invalid start ID for the interval"))
        }
        text => parse_open(text, 0),
    }
}

/// The end of an interval; with `(` the id itself is left out.
pub(super) fn parse_end(text: &[u8]) -> Result<StreamId, CmdError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => parse(id, u64::MAX)?
            .previous()
            .ok_or(CmdError::text("ERR invalid end ID for the interval")),
        text => parse_open(text, u64::MAX),
    }
}

impl Call<'_> {
    /// The argument at `index` as a complete id.
    pub(super) fn stream_id(&self, index: usize) -> Result<StreamId, CmdError> {
        parse(self.arg(index), 0)
    }

    /// The arguments of the range as complete ids.
    pub(super) fn stream_ids(
        &self,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<StreamId>, CmdError> {
        range.map(|index| self.stream_id(index)).collect()
    }

    /// The arguments `numids id…` at `index`: the range of the ids.
    pub(super) fn counted_ids(&self, index: usize) -> Result<std::ops::Range<usize>, CmdError> {
        const NOT_POSITIVE: CmdError =
            CmdError::text("ERR Number of IDs must be a positive integer");
        let count = self.int(index).ok().and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count > 0).ok_or(NOT_POSITIVE)?;
        let left = self.argv.len() - index - 1;
        if count > left {
            return Err(CmdError::text(
                "ERR The `numids` parameter must match the number of arguments",
            ));
        }
        Ok(index + 1..index + 1 + count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = |ms, seq| Some(NewId::Given(StreamId::new(ms, seq)));
        for (why, text, want) in [
            ("both parts", "5-7", id(5, 7)),
            ("one part", "5", id(5, 9)),
            ("a part left open", "5-*", Some(NewId::Within(5))),
            ("the largest", "18446744073709551615-1", id(u64::MAX, 1)),
            ("one more", "18446744073709551616-1", None),
            ("leading zeros", "007-01", id(7, 1)),
            ("a plus", "+5-+1", id(5, 1)),
            ("negative", "-5-1", None),
            ("a negative second part", "5--1", None),
            ("nothing", "", None),
            ("no second part", "5-", None),
            ("three parts", "5-1-1", None),
            ("a blank", "5- 1", None),
            ("letters", "a", None),
            ("a star alone", "*", None),
        ] {
            assert_eq!(parse_new(text.as_bytes(), 9).ok(), want, "{why}");
        }
        assert_eq!(parse_start(b"(5").ok(), Some(StreamId::new(5, 1)));
        assert_eq!(parse_end(b"(5-0").ok(), Some(StreamId::new(4, u64::MAX)));
        assert_eq!(parse_end(b"(5").ok(), Some(StreamId::new(5, u64::MAX - 1)));
        assert!(parse_start(b"(+").is_err() && parse_start(b"(").is_err());
        assert!(parse_end(b"(0-0").is_err());
        assert_eq!(parse_start(b"+").ok(), Some(StreamId::MAX));
    }
}
