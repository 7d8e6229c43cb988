//! The stream family: entries in the order of their ids, and groups of consumers that share them.
//!
//! What depends on the clock is propagated as what it came to: `XADD` with its id and an exact trim,
//! deliveries as `XCLAIM` with the moment and the count, a group's progress as `XGROUP SETID`.

mod add;
mod claim;
mod delete;
mod group;
mod idempotent;
mod ids;
mod info;
mod nack;
mod pending;
mod range;
mod read;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use rows::{COMMANDS, GROUP_COMMANDS};

use crate::error::CmdError;

/// A name that a client gave, as errors show it.
fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

fn no_such_group(key: &[u8], group: &[u8], rest: &str) -> CmdError {
    let (key, group) = (shown(key), shown(group));
    CmdError::Other(format!("NOGROUP No such key '{key}' or consumer group '{group}'{rest}").into())
}

fn no_group_at(key: &[u8], group: &[u8]) -> CmdError {
    let (key, group) = (shown(key), shown(group));
    CmdError::Other(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}
