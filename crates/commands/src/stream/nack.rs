//! `XNACK`: entries given back to their group.

use std::ops::Range;

use slotward_types::UnixMillis;

use super::no_such_group;
use crate::call::Call;
use crate::error::CmdError;

/// What becomes of the number of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// This one did not count.
    Silent,
    /// It counts.
    Fail,
    /// No other may be tried.
    Fatal,
}

/// The most deliveries that a client can be told of: no limit of retries is above it.
const FATAL: u64 = i64::MAX as u64;

/// `SILENT|FAIL|FATAL IDS numids id… [RETRYCOUNT count] [FORCE]`, taken apart.
struct Options {
    mode: Mode,
    ids: Range<usize>,
    deliveries: Option<u64>,
    force: bool,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Options, CmdError> {
        let mode = [("SILENT", Mode::Silent), ("FAIL", Mode::Fail), ("FATAL", Mode::Fatal)]
            .into_iter()
            .find(|(word, _)| call.is_word(3, word));
        let (_, mode) = mode.ok_or(CmdError::Syntax)?;
        if !call.is_word(4, "IDS") {
            return Err(CmdError::Syntax);
        }
        let ids = call.counted_ids(5)?;
        let mut index = ids.end;
        let mut options = Options { mode, ids, deliveries: None, force: false };
        while index < call.argv.len() {
            if call.is_word(index, "FORCE") {
                options.force = true;
            } else if call.is_word(index, "RETRYCOUNT") && index + 1 < call.argv.len() {
                let count = call.int(index + 1).ok().and_then(|count| u64::try_from(count).ok());
                options.deliveries =
                    Some(count.ok_or(CmdError::text(
                        "ERR Invalid RETRYCOUNT option argument for XNACK",
                    ))?);
                index += 1;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// How often an entry counts as delivered, that was delivered so often.
    fn deliveries(&self, before: u64) -> u64 {
        self.deliveries.unwrap_or(match self.mode {
            Mode::Silent => before.saturating_sub(1),
            Mode::Fail => before,
            Mode::Fatal => FATAL,
        })
    }
}

pub(super) fn xnack(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name) = (call.key(1), call.arg(2));
    let options = Options::parse(call)?;
    let ids = call.stream_ids(options.ids.clone())?;
    if call.db.stream(&key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_such_group(key.bytes, name, ""));
    }
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let released = stream.with_group(name, |log, group| {
        let mut released = 0;
        for id in ids {
            let before = match group.pending(id) {
                Some(pending) => pending.deliveries,
                None if options.force && log.contains(id) => 0,
                None => continue,
            };
            // Idle since ever: it is due whatever is asked for.
            group.release(id, UnixMillis(0), options.deliveries(before));
            released += 1;
        }
        released
    });
    let released = released.unwrap_or(0);
    if released == 0 {
        call.db.unchanged();
    }
    call.effects.changed(released);
    call.reply.integer(released as i64);
    Ok(())
}
