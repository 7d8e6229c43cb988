//! Values of the stream type in an RDB stream.
//!
//! Written in the form of Redis 7.0, which every server since loads. It has no place for the moment
//! at which a consumer last got an entry, so that is taken from when it last asked.

use std::io::Read;

use slotward_keyspace::{Stream, StreamGroup, StreamId};
use slotward_types::UnixMillis;

use crate::error::RdbError;
use crate::input::Input;
use crate::output::Output;
use crate::values::write_pack;
use crate::wire::kind;

const DAMAGED: RdbError = RdbError::Damaged("a stream");
/// Stands for a number of entries read that is not known.
const UNKNOWN: u64 = u64::MAX;

/// Writes a stream behind its kind and key.
pub(crate) fn write(out: &mut Output, stream: &Stream) {
    let log = stream.log();
    let blocks = log.blocks();
    out.length(blocks.len());
    for (first, pack) in blocks {
        out.string(&first.to_bytes());
        write_pack(out, pack);
    }
    out.number(log.len());
    write_id(out, log.last_id());
    write_id(out, log.first_id());
    write_id(out, log.max_deleted_id());
    out.number(log.entries_added());
    let groups = stream.groups();
    out.length(groups.len());
    for (name, group) in groups {
        write_group(out, name, group);
    }
}

fn write_id(out: &mut Output, id: StreamId) {
    out.number(id.ms);
    out.number(id.seq);
}

fn write_group(out: &mut Output, name: &[u8], group: &StreamGroup) {
    out.string(name);
    write_id(out, group.last_id);
    out.number(group.entries_read.unwrap_or(UNKNOWN));
    out.length(group.pending_count());
    for (id, pending) in group.pending_from(StreamId::MIN) {
        out.raw(&id.to_bytes());
        out.raw(&pending.delivered_at.0.to_le_bytes());
        out.number(pending.deliveries);
    }
    let consumers = group.consumers();
    out.length(consumers.len());
    for consumer in consumers {
        out.string(consumer.name());
        out.raw(&consumer.seen_at.0.to_le_bytes());
        out.length(consumer.pending_count());
        consumer.pending_from(StreamId::MIN).for_each(|id| out.raw(&id.to_bytes()));
    }
}

/// Reads a stream of one of the three forms.
pub(crate) fn read<R: Read>(input: &mut Input<R>, value_kind: u8) -> Result<Stream, RdbError> {
    let mut stream = Stream::new();
    let log = stream.log_mut();
    for _ in 0..input.length()? {
        let first: [u8; 16] = input.string()?.try_into().map_err(|_| DAMAGED)?;
        let first = StreamId::from_bytes(first);
        log.push_block(first, &input.string()?).map_err(|_| DAMAGED)?;
    }
    let length = input.length()?;
    let last_id = read_id(input)?;
    let last_entry = log.range_back(StreamId::MIN, StreamId::MAX).next();
    if length != log.len() || last_entry.is_some_and(|entry| entry.id > last_id) {
        return Err(DAMAGED);
    }
    if value_kind == kind::STREAM {
        // Before Redis 7.0 nothing was remembered: what is there is all that ever was.
        log.set_counters(last_id, length, StreamId::MIN);
    } else {
        let _first = read_id(input)?;
        let max_deleted = read_id(input)?;
        log.set_counters(last_id, input.length()?, max_deleted);
    }
    for _ in 0..input.length()? {
        read_group(input, value_kind, &mut stream)?;
    }
    Ok(stream)
}

fn read_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, RdbError> {
    Ok(StreamId::new(input.length()?, input.length()?))
}

fn read_moment<R: Read>(input: &mut Input<R>) -> Result<UnixMillis, RdbError> {
    Ok(UnixMillis(i64::from_le_bytes(input.array()?)))
}

fn read_group<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    stream: &mut Stream,
) -> Result<(), RdbError> {
    let name = input.string()?;
    let last_id = read_id(input)?;
    let entries_read = match value_kind {
        kind::STREAM => stream.log().position_of(last_id),
        _ => Some(input.length()?).filter(|read| *read != UNKNOWN),
    };
    let mut group = StreamGroup::new(last_id, entries_read);
    for _ in 0..input.length()? {
        let id = StreamId::from_bytes(input.array()?);
        let (delivered_at, deliveries) = (read_moment(input)?, input.length()?);
        if group.pending(id).is_some() {
            return Err(DAMAGED);
        }
        group.release(id, delivered_at, deliveries);
    }
    for _ in 0..input.length()? {
        let name = input.string()?;
        let seen_at = read_moment(input)?;
        if !group.add_consumer(&name, seen_at) {
            return Err(DAMAGED);
        }
        let active_at = if value_kind == kind::STREAM_3 { read_moment(input)? } else { seen_at };
        if let Some(consumer) = group.consumer_mut(&name) {
            consumer.active_at = (active_at.0 >= 0).then_some(active_at);
        }
        for _ in 0..input.length()? {
            let id = StreamId::from_bytes(input.array()?);
            // One consumer has an entry, and the group knows when it got it.
            let pending = *group.pending(id).ok_or(DAMAGED)?;
            if group.owner(&pending).is_some() {
                return Err(DAMAGED);
            }
            group.assign(id, &name, pending.delivered_at, pending.deliveries);
        }
    }
    if stream.add_group(&name, group) { Ok(()) } else { Err(DAMAGED) }
}
