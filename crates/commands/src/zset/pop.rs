//! `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`.

use std::ops::Range;

use slotward_keyspace::{End, Key};
use slotward_resp::Protocol;

use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::list::{after_keys, reply_item};
use crate::number::parse_integer;
use crate::zset::bounds::drop_if;

pub(super) fn zpopmin(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop(call, End::Front)
}

pub(super) fn zpopmax(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop(call, End::Back)
}

fn pop(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    let count = match call.argv.len() {
        2 => 1,
        3 => {
            let count = parse_integer(call.arg(2)).filter(|count| *count >= 0);
            count.ok_or(CmdError::MustBePositive)? as usize
        }
        _ => return Err(CmdError::Syntax),
    };
    let nested = call.argv.len() == 3 && call.reply.protocol() == Protocol::Resp3;
    let key = call.key(1);
    let len = call.db.zset(&key)?.map_or(0, |set| set.len());
    let count = count.min(len);
    call.reply.array(if nested { count } else { count * 2 });
    if count > 0 {
        take(call, &key, end, count, nested)?;
    }
    Ok(())
}

/// Takes `count` members, no more than there are, and writes them.
pub(super) fn take(
    call: &mut Call<'_>,
    key: &Key<'_>,
    end: End,
    count: usize,
    nested: bool,
) -> Result<(), CmdError> {
    let Some(set) = call.db.zset_mut(key)? else { return Ok(()) };
    let reply = &mut *call.reply;
    for _ in 0..count {
        set.pop_with(end, |item, score| {
            if nested {
                reply.array(2);
            }
            reply_item(reply, item);
            reply.double(score);
        });
    }
    let emptied = set.is_empty();
    call.effects.changed(count as u64);
    let event = if end == End::Front { "zpopmin" } else { "zpopmax" };
    call.notify(EventClass::ZSET, event, key.bytes);
    drop_if(call, key, emptied);
    Ok(())
}

pub(super) fn zmpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (keys, end, count) = parse_pop_many(call, 1)?;
    if !pop_many_of(call, keys, end, count)? {
        call.reply.null_array();
    }
    Ok(())
}

/// `numkeys key… MIN|MAX [COUNT count]` at `index`: the keys, the end, the count.
pub(super) fn parse_pop_many(
    call: &Call<'_>,
    index: usize,
) -> Result<(Range<usize>, End, usize), CmdError> {
    let after = after_keys(call, index)?;
    let end = match call.argv.get(after) {
        Some(word) if word.eq_ignore_ascii_case(b"MIN") => End::Front,
        Some(word) if word.eq_ignore_ascii_case(b"MAX") => End::Back,
        _ => return Err(CmdError::Syntax),
    };
    let count = match call.argv.len() - after {
        1 => 1,
        3 if call.is_word(after + 1, "COUNT") => {
            let count = call.int(after + 2).ok().filter(|count| *count > 0);
            count.ok_or(CmdError::text("ERR count should be greater than 0"))? as usize
        }
        _ => return Err(CmdError::Syntax),
    };
    Ok((index + 1..after, end, count))
}

/// Takes members out of the first of these keys that has any. False if none has.
pub(super) fn pop_many_of(
    call: &mut Call<'_>,
    keys: Range<usize>,
    end: End,
    count: usize,
) -> Result<bool, CmdError> {
    for index in keys {
        let key = call.key(index);
        if !call.is_held(&key) {
            continue;
        }
        let Some(len) = call.db.zset(&key)?.map(|set| set.len()) else { continue };
        let count = count.min(len);
        call.reply.array(2);
        call.reply.bulk(key.bytes);
        call.reply.array(count);
        take(call, &key, end, count, true)?;
        let name: &[u8] = if end == End::Front { b"ZPOPMIN" } else { b"ZPOPMAX" };
        call.effects.propagate([name, key.bytes, count.to_string().as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}
