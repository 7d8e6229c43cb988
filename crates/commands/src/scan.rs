//! What `HSCAN`, `SSCAN` and `ZSCAN` share: cursor, options, the loop.

use crate::call::Call;
use crate::error::CmdError;
use slotward_types::glob_match;

/// The options of a scan of a collection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// About how many elements one call looks at.
    pub(crate) count: usize,
    /// Only the fields of a hash.
    pub(crate) no_values: bool,
}

/// What is scanned, as far as options differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanOf {
    Hash,
    Others,
}

const NOT_A_HASH: CmdError = CmdError::text("ERR NOVALUES option can only be used in HSCAN");

/// The cursor at argument 2.
///
/// # Errors
/// When it is no cursor.
pub(crate) fn cursor(call: &Call<'_>) -> Result<u64, CmdError> {
    let text = std::str::from_utf8(call.arg(2)).ok();
    text.and_then(|text| text.parse().ok()).ok_or(CmdError::text("ERR invalid cursor"))
}

impl<'a> ScanOptions<'a> {
    /// The options from argument 3 on.
    ///
    /// # Errors
    /// When they are no options.
    pub(crate) fn parse(call: &Call<'a>, of: ScanOf) -> Result<Self, CmdError> {
        let mut options = ScanOptions { pattern: None, count: 10, no_values: false };
        let mut index = 3;
        while index < call.argv.len() {
            if call.is_word(index, "NOVALUES") {
                if of != ScanOf::Hash {
                    return Err(NOT_A_HASH);
                }
                options.no_values = true;
                index += 1;
                continue;
            }
            if index + 1 == call.argv.len() {
                return Err(CmdError::Syntax);
            }
            if call.is_word(index, "COUNT") {
                let count = call.int(index + 1)?;
                options.count =
                    usize::try_from(count).ok().filter(|n| *n > 0).ok_or(CmdError::Syntax)?;
            } else if call.is_word(index, "MATCH") {
                options.pattern = Some(call.arg(index + 1)).filter(|pattern| *pattern != b"*");
            } else {
                return Err(CmdError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Whether an element with this name is wanted.
    pub(crate) fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, name))
    }
}

/// Replies the scan of a key that does not exist.
pub(crate) fn reply_nothing(call: &mut Call<'_>) {
    call.reply.array(2);
    call.reply.bulk(b"0");
    call.reply.array(0);
}

/// Replies a cursor and what was found.
pub(crate) fn reply_found(call: &mut Call<'_>, cursor: u64, found: &[Vec<u8>]) {
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.array(found.len());
    found.iter().for_each(|text| call.reply.bulk(text));
}
