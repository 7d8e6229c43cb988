//! `XINFO`.

use slotward_keyspace::{Stream, StreamConsumer, StreamEntry, StreamGroup, StreamId};
use slotward_resp::Reply;
use slotward_types::UnixMillis;

use super::no_group_at;
use super::range::{reply_entries, reply_entry, reply_id};
use crate::call::Call;
use crate::error::CmdError;

/// How many entries `FULL` shows of everything that may be long.
const FULL_COUNT: usize = 10;

fn subcommand_syntax(call: &Call<'_>) -> CmdError {
    let given = String::from_utf8_lossy(call.arg(1)).into_owned();
    let text = format!(
        "ERR unknown subcommand or wrong number of arguments for '{given}'. Try XINFO HELP."
    );
    CmdError::Other(text.into())
}

pub(super) fn xinfo_stream(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argc) = (call.key(2), call.argv.len());
    call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?;
    let mut count = FULL_COUNT;
    if argc > 3 {
        let is_full = matches!(argc, 4 | 6)
            && call.is_word(3, "FULL")
            && (argc == 4 || call.is_word(4, "COUNT"));
        if !is_full {
            return Err(subcommand_syntax(call));
        }
        if argc == 6 {
            count = usize::try_from(call.int(5)?).unwrap_or(FULL_COUNT);
        }
    }
    let stream = call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?;
    let reply = &mut *call.reply;
    let names = if stream.idempotency().is_some() { 6 } else { 0 };
    reply.map(names + if argc > 3 { 9 } else { 10 });
    reply_counters(reply, stream);
    if argc > 3 {
        reply_full(reply, stream, count);
        return Ok(());
    }
    number(reply, "groups", stream.groups().len() as i64);
    let log = stream.log();
    let end = |reply: &mut Reply, entry: Option<StreamEntry<'_>>| match entry {
        Some(entry) => reply_entry(reply, &entry),
        None => reply.null(),
    };
    reply.bulk(b"first-entry");
    end(reply, log.range(StreamId::MIN, StreamId::MAX).next());
    reply.bulk(b"last-entry");
    end(reply, log.range_back(StreamId::MIN, StreamId::MAX).next());
    Ok(())
}

fn number(reply: &mut Reply, name: &str, number: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(number);
}

fn number_or_null(reply: &mut Reply, name: &str, number: Option<i64>) {
    reply.bulk(name.as_bytes());
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

fn id(reply: &mut Reply, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

fn reply_counters(reply: &mut Reply, stream: &Stream) {
    let log = stream.log();
    number(reply, "length", log.len() as i64);
    // Our blocks are Redis's nodes; the tree above them is another, so its size is only alike.
    number(reply, "radix-tree-keys", log.block_count() as i64);
    number(reply, "radix-tree-nodes", log.block_count() as i64 + 1);
    id(reply, "last-generated-id", log.last_id());
    id(reply, "max-deleted-entry-id", log.max_deleted_id());
    number(reply, "entries-added", log.entries_added() as i64);
    id(reply, "recorded-first-entry-id", log.first_id());
    if let Some(names) = stream.idempotency() {
        number(reply, "idmp-duration", names.duration_s().into());
        number(reply, "idmp-maxsize", names.names_max() as i64);
        number(reply, "pids-tracked", names.producers() as i64);
        number(reply, "iids-tracked", names.names() as i64);
        number(reply, "iids-added", names.added() as i64);
        number(reply, "iids-duplicates", names.duplicates() as i64);
    }
}

/// What `FULL` shows: entries, groups, consumers, what is pending. A count of 0 is all.
fn reply_full(reply: &mut Reply, stream: &Stream, count: usize) {
    reply.bulk(b"entries");
    reply_entries(reply, stream.log().range(StreamId::MIN, StreamId::MAX), count);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    let max = if count == 0 { usize::MAX } else { count };
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        reply_progress(reply, stream, group);
        number(reply, "pel-count", group.pending_count() as i64);
        reply.bulk(b"pending");
        reply.array(group.pending_count().min(max));
        for (id, pending) in group.pending_from(StreamId::MIN).take(max) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(group.owner(pending).map_or(b"", StreamConsumer::name));
            reply.integer(pending.delivered_at.0);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().len());
        group.consumers().for_each(|consumer| reply_consumer(reply, group, consumer, max));
    }
}

fn reply_consumer(reply: &mut Reply, group: &StreamGroup, consumer: &StreamConsumer, max: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    number(reply, "seen-time", consumer.seen_at.0);
    number(reply, "active-time", consumer.active_at.map_or(-1, |at| at.0));
    number(reply, "pel-count", consumer.pending_count() as i64);
    reply.bulk(b"pending");
    reply.array(consumer.pending_count().min(max));
    for id in consumer.pending_from(StreamId::MIN).take(max) {
        let pending = group.pending(id).expect("a consumer's pending entry is the group's");
        reply.array(3);
        reply_id(reply, id);
        reply.integer(pending.delivered_at.0);
        reply.integer(pending.deliveries as i64);
    }
}

/// How far a group has come, and how far it has to go.
fn reply_progress(reply: &mut Reply, stream: &Stream, group: &StreamGroup) {
    id(reply, "last-delivered-id", group.last_id);
    number_or_null(reply, "entries-read", group.entries_read.map(|read| read as i64));
    number_or_null(reply, "lag", stream.lag(group));
}

pub(super) fn xinfo_groups(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    let stream = call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?;
    let reply = &mut *call.reply;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        number(reply, "consumers", group.consumers().len() as i64);
        number(reply, "pending", group.pending_count() as i64);
        reply_progress(reply, stream, group);
    }
    Ok(())
}

pub(super) fn xinfo_consumers(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name, now) = (call.key(2), call.arg(3), call.now());
    let stream = call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group_at(key.bytes, name))?;
    let reply = &mut *call.reply;
    let since = |at: UnixMillis| now.0.saturating_sub(at.0);
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        number(reply, "pending", consumer.pending_count() as i64);
        number(reply, "idle", since(consumer.seen_at).max(0));
        number(reply, "inactive", consumer.active_at.map_or(-1, since));
    }
    Ok(())
}
