//! `XPENDING`.

use slotward_keyspace::{StreamGroup, StreamId};
use slotward_resp::Reply;
use slotward_types::UnixMillis;

use super::ids::{parse_end, parse_start};
use super::no_such_group;
use super::range::reply_id;
use crate::call::Call;
use crate::error::CmdError;

/// Which pending entries are asked for.
struct Wanted<'a> {
    start: StreamId,
    end: StreamId,
    count: usize,
    idle_ms_min: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// `[IDLE ms] start end count [consumer]`; `None` without any of it.
    fn parse(call: &Call<'a>) -> Result<Option<Wanted<'a>>, CmdError> {
        let argc = call.argv.len();
        match argc {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(CmdError::Syntax),
        }
        let (mut at, mut idle_ms_min) = (3, 0);
        if call.is_word(3, "IDLE") {
            idle_ms_min = call.int(4)?;
            if argc < 8 {
                return Err(CmdError::Syntax);
            }
            at = 5;
        }
        let count = call.int(at + 2)?.max(0) as usize;
        let (start, end) = (parse_start(call.arg(at))?, parse_end(call.arg(at + 1))?);
        Ok(Some(Wanted { start, end, count, idle_ms_min, consumer: call.argv.get(at + 3) }))
    }
}

pub(super) fn xpending(call: &mut Call<'_>) -> Result<(), CmdError> {
    let wanted = Wanted::parse(call)?;
    let (key, name, now) = (call.key(1), call.arg(2), call.now());
    let stream = call.db.stream(&key)?;
    let group = stream.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_such_group(key.bytes, name, ""))?;
    match wanted {
        None => reply_summary(call.reply, group),
        Some(wanted) => reply_details(call.reply, group, &wanted, now),
    }
    Ok(())
}

fn reply_summary(reply: &mut Reply, group: &StreamGroup) {
    reply.array(4);
    reply.integer(group.pending_count() as i64);
    let mut pending = group.pending_from(StreamId::MIN);
    let Some((first, _)) = pending.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    let last = pending.next_back().map_or(first, |(id, _)| id);
    reply_id(reply, first);
    reply_id(reply, last);
    let (head, mut count) = (reply.deferred_array(), 0);
    for consumer in group.consumers().filter(|consumer| consumer.pending_count() > 0) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending_count() as i64);
        count += 1;
    }
    reply.set_len(head, count);
}

fn reply_details(reply: &mut Reply, group: &StreamGroup, wanted: &Wanted<'_>, now: UnixMillis) {
    let (head, mut count) = (reply.deferred_array(), 0);
    // Replies one, and says whether more are wanted.
    let mut visit = |id: StreamId| {
        if id > wanted.end || count == wanted.count {
            return false;
        }
        let pending = group.pending(id).expect("a consumer's pending entry is the group's");
        let owner = group.owner(pending);
        let idle_ms = now.0.saturating_sub(pending.delivered_at.0);
        if wanted.idle_ms_min == 0 || idle_ms >= wanted.idle_ms_min {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(owner.map_or(b"", |consumer| consumer.name()));
            // Nobody has it, so nobody leaves it idle.
            reply.integer(if owner.is_some() { idle_ms.max(0) } else { -1 });
            reply.integer(pending.deliveries as i64);
            count += 1;
        }
        true
    };
    match wanted.consumer {
        None => {
            let mut ids = group.pending_from(wanted.start).map(|(id, _)| id);
            while ids.next().is_some_and(&mut visit) {}
        }
        Some(name) => {
            let consumer = group.consumer(name);
            let mut ids =
                consumer.into_iter().flat_map(|consumer| consumer.pending_from(wanted.start));
            while ids.next().is_some_and(&mut visit) {}
        }
    }
    reply.set_len(head, count);
}
