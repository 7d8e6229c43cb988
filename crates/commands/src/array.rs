//! The array family: texts at indexes of 64 bits, as Redis 8.8 has them.
//!
//! What Redis's documentation leaves open follows servers and clients that were compared with it;
//! see docs/compatibility.md.

use slotward_keyspace::{Array, ArrayElement};
use slotward_resp::Reply;

use crate::call::Call;
use crate::error::CmdError;

mod aggregate;
mod grep;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use rows::COMMANDS;

const BAD_INDEX: CmdError = CmdError::text("ERR invalid array index");
const BAD_LIMIT: CmdError = CmdError::text("ERR LIMIT must be positive");

/// A number of 64 bits without sign, in its one canonical form.
fn parse_unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || text.len() > 1 && text[0] == b'0' {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn parse_index(text: &[u8]) -> Result<u64, CmdError> {
    parse_unsigned(text).filter(|index| *index <= Array::INDEX_MAX).ok_or(BAD_INDEX)
}

impl Call<'_> {
    /// The argument at `at` as an index of an array.
    fn index(&self, at: usize) -> Result<u64, CmdError> {
        parse_index(self.arg(at))
    }

    /// The arguments from `at` on as indexes of an array.
    fn indexes(&self, at: usize) -> Result<Vec<u64>, CmdError> {
        self.argv.from(at).iter().map(parse_index).collect()
    }

    /// The argument at `at` as the number of things that a reply may have at most.
    fn limit(&self, at: usize) -> Result<u64, CmdError> {
        u64::try_from(self.int(at)?).ok().filter(|limit| *limit > 0).ok_or(BAD_LIMIT)
    }
}

fn reply_element(reply: &mut Reply, element: ArrayElement<'_>) {
    match element {
        ArrayElement::Int(number) => reply.bulk_integer(number),
        other => other.with_bytes(|text| reply.bulk(text)),
    }
}

fn reply_element_or_null(reply: &mut Reply, element: Option<ArrayElement<'_>>) {
    match element {
        Some(element) => reply_element(reply, element),
        None => reply.null(),
    }
}
