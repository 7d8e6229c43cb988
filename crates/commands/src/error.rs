//! What a client is told when its command fails. The prefix is part of the text.

use std::borrow::Cow;

use slotward_keyspace::WrongType;

/// A client's mistake, in Redis's words, because clients compare them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CmdError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR value is out of range, must be positive")]
    MustBePositive,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
    )]
    CountOutOfRange,
    #[error("ERR value is NaN or Infinity")]
    ValueNanOrInfinity,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR min or max is not a float")]
    MinMaxNotAFloat,
    #[error("ERR min or max not valid string range item")]
    MinMaxNotLex,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NanOrInfinity,
    #[error("ERR resulting score is not a number (NaN)")]
    ScoreNan,
    #[error("ERR index out of range")]
    IndexOutOfRange,
    #[error("ERR offset is out of range")]
    OffsetOutOfRange,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpireTime(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    WrongArgCount(&'static str),
    #[error("ERR hash value is not an integer")]
    HashNotAnInteger,
    #[error("ERR hash value is not a float")]
    HashNotAFloat,
    #[error("ERR bit is not an integer or out of range")]
    BitNotAnInteger,
    #[error("ERR bit offset is not an integer or out of range")]
    BitOffset,
    #[error("ERR The bit argument must be 1 or 0.")]
    BitArgument,
    #[error("ERR DB index is out of range")]
    DbOutOfRange,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR numkeys should be greater than 0")]
    NumkeysNotPositive,
    #[error("ERR Number of keys can't be greater than number of args")]
    NumkeysTooLarge,
    #[error("WRONGTYPE Key is not a valid HyperLogLog string value.")]
    NotHyperLogLog,
    #[error("INVALIDOBJ Corrupted HLL object detected")]
    CorruptHyperLogLog,
    /// Any other text, with its prefix.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

impl CmdError {
    /// An error that only one command has.
    pub const fn text(text: &'static str) -> CmdError {
        CmdError::Other(Cow::Borrowed(text))
    }
}

impl From<WrongType> for CmdError {
    fn from(_: WrongType) -> Self {
        CmdError::WrongType
    }
}
