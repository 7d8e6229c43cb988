//! Why an RDB stream could not be read.

use std::io;

/// Why an RDB stream, or a value in its form, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// The stream does not begin as one of Redis or Valkey does.
    #[error("not an RDB stream: it does not begin with REDIS and a version")]
    BadMagic,
    /// The stream is of a version that is newer than any known one.
    #[error("RDB version {0} is not known")]
    BadVersion(u32),
    /// The stream ended in the middle.
    #[error("the RDB stream ends in the middle")]
    Truncated,
    /// The checksum at the end does not match.
    #[error("the RDB checksum does not match")]
    BadChecksum,
    /// Bytes that no version of the format has at this place.
    #[error("the RDB stream is damaged: {0}")]
    Damaged(&'static str),
    /// A compressed string that does not decompress to its length.
    #[error("the RDB stream is damaged: a compressed string")]
    BadCompression,
    /// A string above the limit.
    #[error("the RDB stream holds a string of {0} bytes, above the limit")]
    StringTooLong(u64),
    /// A value of a kind that this server does not have.
    #[error("the RDB stream holds {0}, which this server does not support")]
    Unsupported(&'static str),
    /// Reading failed.
    #[error("reading the RDB stream failed: {0}")]
    Io(#[from] io::Error),
}
