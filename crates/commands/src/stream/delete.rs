//! `XDEL`, `XDELEX`, `XACK`, `XACKDEL`.

use std::ops::Range;

use slotward_keyspace::{References, Stream, StreamId};

use super::add::references;
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;

/// What `XDELEX` and `XACKDEL` say of an id.
const ABSENT: i64 = -1;
const GONE: i64 = 1;
const REFERENCED: i64 = 2;

pub(super) fn xdel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    if call.db.stream(&key)?.is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    let ids = call.stream_ids(2..call.argv.len())?;
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let removed = ids.iter().filter(|id| stream.remove(**id, References::Keep)).count();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(removed as u64);
        call.notify(EventClass::STREAM, "xdel", key.bytes);
    }
    call.reply.integer(removed as i64);
    Ok(())
}

pub(super) fn xack(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, group) = (call.key(1), call.arg(2));
    if call.db.stream(&key)?.is_none_or(|stream| stream.group(group).is_none()) {
        call.reply.integer(0);
        return Ok(());
    }
    let ids = call.stream_ids(3..call.argv.len())?;
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let acknowledged = stream
        .with_group(group, |_, group| ids.iter().filter(|id| group.acknowledge(**id)).count());
    // As in Redis, what is pending is nothing that watchers of the key look at.
    call.db.unchanged();
    let acknowledged = acknowledged.unwrap_or(0);
    call.effects.changed(acknowledged as u64);
    call.reply.integer(acknowledged as i64);
    Ok(())
}

/// `[KEEPREF|DELREF|ACKED] IDS numids id…` from `index` on, in any order.
fn parse_ids(call: &Call<'_>, mut index: usize) -> Result<(References, Range<usize>), CmdError> {
    let (mut found, mut ids) = (None, None);
    while index < call.argv.len() {
        if let (None, Some(references)) = (found, references(call, index)) {
            found = Some(references);
            index += 1;
        } else if ids.is_none() && call.is_word(index, "IDS") && index + 2 < call.argv.len() {
            let range = call.counted_ids(index + 1)?;
            index = range.end;
            ids = Some(range);
        } else {
            return Err(CmdError::Syntax);
        }
    }
    let ids = ids.ok_or(CmdError::text("ERR IDS option is required"))?;
    Ok((found.unwrap_or_default(), ids))
}

/// Removes an entry, if its references allow it.
fn remove(stream: &mut Stream, id: StreamId, references: References) -> i64 {
    if references == References::Respect && stream.is_referenced(id) {
        REFERENCED
    } else if stream.remove(id, references) {
        GONE
    } else {
        ABSENT
    }
}

fn reply_outcomes(call: &mut Call<'_>, outcomes: &[i64]) {
    call.reply.array(outcomes.len());
    outcomes.iter().for_each(|outcome| call.reply.integer(*outcome));
}

pub(super) fn xdelex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.stream(&key)?;
    let (references, range) = parse_ids(call, 2)?;
    let count = range.len();
    let ids = call.stream_ids(range);
    let Some(stream) = call.db.stream_mut(&key)? else {
        reply_outcomes(call, &vec![ABSENT; count]);
        return Ok(());
    };
    let ids = match ids {
        Ok(ids) => ids,
        Err(error) => {
            call.db.unchanged();
            return Err(error);
        }
    };
    let (before, pending) = (stream.log().len(), pending_count(stream));
    let outcomes: Vec<i64> = ids.iter().map(|id| remove(stream, *id, references)).collect();
    let removed = before - stream.log().len();
    let forgotten = pending - pending_count(stream);
    if removed == 0 && forgotten == 0 {
        call.db.unchanged();
    }
    call.effects.changed(removed.max(u64::from(forgotten > 0)));
    if removed > 0 {
        call.notify(EventClass::STREAM, "xdel", key.bytes);
    }
    reply_outcomes(call, &outcomes);
    Ok(())
}

fn pending_count(stream: &Stream) -> usize {
    stream.groups().map(|(_, group)| group.pending_count()).sum()
}

pub(super) fn xackdel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, group) = (call.key(1), call.arg(2));
    let has_group = call.db.stream(&key)?.is_some_and(|stream| stream.group(group).is_some());
    let (references, range) = parse_ids(call, 3)?;
    if !has_group {
        reply_outcomes(call, &vec![ABSENT; range.len()]);
        return Ok(());
    }
    let ids = call.stream_ids(range)?;
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let (before, mut acknowledged) = (stream.log().len(), 0);
    let mut outcomes = Vec::with_capacity(ids.len());
    for id in ids {
        if stream.with_group(group, |_, group| group.acknowledge(id)) != Some(true) {
            outcomes.push(ABSENT);
            continue;
        }
        acknowledged += 1;
        // It was acknowledged: that the entry had gone before makes no difference.
        outcomes.push(remove(stream, id, references).max(GONE));
    }
    let removed = before - stream.log().len();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.notify(EventClass::STREAM, "xdel", key.bytes);
    }
    call.effects.changed(acknowledged);
    reply_outcomes(call, &outcomes);
    Ok(())
}
