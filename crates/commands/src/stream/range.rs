//! Reading entries: `XLEN`, `XRANGE`, `XREVRANGE`.

use slotward_keyspace::{StreamEntry, StreamId};
use slotward_resp::Reply;

use super::ids::{parse_end, parse_start};
use crate::call::Call;
use crate::error::CmdError;

/// Replies an id.
pub(super) fn reply_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(id_text(id).as_bytes());
}

/// An id as it is written.
pub(super) fn id_text(id: StreamId) -> String {
    let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
    [ms.format(id.ms), "-", seq.format(id.seq)].concat()
}

/// Replies an entry: its id, and its fields with their values.
pub(super) fn reply_entry(reply: &mut Reply, entry: &StreamEntry<'_>) {
    reply.array(2);
    reply_fields(reply, entry);
}

/// Replies an entry's id and its fields, without a frame around them.
pub(super) fn reply_fields(reply: &mut Reply, entry: &StreamEntry<'_>) {
    reply_id(reply, entry.id);
    reply.array(entry.pairs() * 2);
    for (field, value) in entry.iter() {
        field.with_bytes(|field| reply.bulk(field));
        value.with_bytes(|value| reply.bulk(value));
    }
}

/// Replies at most `max` entries as an array (0 = all of them).
pub(super) fn reply_entries<'a>(
    reply: &mut Reply,
    entries: impl Iterator<Item = StreamEntry<'a>>,
    max: usize,
) {
    let (head, mut count) = (reply.deferred_array(), 0);
    for entry in entries.take(if max == 0 { usize::MAX } else { max }) {
        reply_entry(reply, &entry);
        count += 1;
    }
    reply.set_len(head, count);
}

pub(super) fn xlen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.stream(&key)?.map_or(0, |stream| stream.log().len());
    call.reply.integer(len as i64);
    Ok(())
}

pub(super) fn xrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    range(call, 2, 3, false)
}

pub(super) fn xrevrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    range(call, 3, 2, true)
}

fn range(call: &mut Call<'_>, start: usize, end: usize, back: bool) -> Result<(), CmdError> {
    let (start, end) = (parse_start(call.arg(start))?, parse_end(call.arg(end))?);
    let mut count = None;
    let mut index = 4;
    while index < call.argv.len() {
        if !call.is_word(index, "COUNT") || index + 1 == call.argv.len() {
            return Err(CmdError::Syntax);
        }
        count = Some(call.int(index + 1)?.max(0));
        index += 2;
    }
    let key = call.key(1);
    let Some(stream) = call.db.stream(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let log = stream.log();
    match count {
        // Redis's own: no entries are asked for, and it says so with a null.
        Some(0) => call.reply.null_array(),
        _ if start > end => call.reply.array(0),
        count => {
            let max = count.unwrap_or(0) as usize;
            if back {
                reply_entries(call.reply, log.range_back(start, end), max);
            } else {
                reply_entries(call.reply, log.range(start, end), max);
            }
        }
    }
    Ok(())
}
