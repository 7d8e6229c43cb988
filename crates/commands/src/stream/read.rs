//! `XREAD`, `XREADGROUP`.

use slotward_keyspace::{Key, Kind, Stream, StreamGroup, StreamId, StreamLog, Wanted};
use slotward_resp::{Deferred, Protocol, Reply};
use slotward_types::UnixMillis;

use super::claim::{Deliveries, consumer_asks};
use super::no_such_group;
use super::range::{id_text, reply_entries, reply_entry, reply_id};
use crate::blocking::WaitFor;
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;

/// Who reads for a group.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
}

/// The options of both commands.
struct Options<'a> {
    /// Entries of a stream at most; 0 = all.
    count: usize,
    reader: Option<Reader<'a>>,
    no_ack: bool,
    /// Until when to wait for entries, if that is wanted; `Some(None)` is for ever.
    block: Option<Option<UnixMillis>>,
    /// The index of the first key, and how many there are.
    keys_at: usize,
    keys: usize,
}

impl<'a> Options<'a> {
    fn parse(call: &Call<'a>, grouped: bool) -> Result<Options<'a>, CmdError> {
        let argc = call.argv.len();
        let mut options =
            Options { count: 0, reader: None, no_ack: false, block: None, keys_at: 0, keys: 0 };
        let mut index = 1;
        while index < argc {
            let more = argc - index - 1;
            if more > 0 && call.is_word(index, "BLOCK") {
                options.block = Some(call.timeout_millis(index + 1)?);
                index += 1;
            } else if more > 0 && call.is_word(index, "COUNT") {
                options.count = call.int(index + 1)?.max(0) as usize;
                index += 1;
            } else if more > 0 && call.is_word(index, "STREAMS") {
                if !more.is_multiple_of(2) {
                    return Err(unbalanced(grouped));
                }
                (options.keys_at, options.keys) = (index + 1, more / 2);
                break;
            } else if more > 1 && call.is_word(index, "GROUP") {
                if !grouped {
                    return Err(only_grouped("GROUP"));
                }
                let (group, consumer) = (call.arg(index + 1), call.arg(index + 2));
                options.reader = Some(Reader { group, consumer });
                index += 2;
            } else if call.is_word(index, "NOACK") {
                if !grouped {
                    return Err(only_grouped("NOACK"));
                }
                options.no_ack = true;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        if options.keys_at == 0 {
            return Err(CmdError::Syntax);
        }
        if grouped && options.reader.is_none() {
            return Err(CmdError::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }
}

fn unbalanced(grouped: bool) -> CmdError {
    let (name, words) =
        if grouped { ("xreadgroup", "an ID or '>'") } else { ("xread", "an ID, '+', or '$'") };
    let text = format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key {words} must be specified."
    );
    CmdError::Other(text.into())
}

fn only_grouped(option: &str) -> CmdError {
    let text = format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    );
    CmdError::Other(text.into())
}

fn meaningless(id: &str) -> CmdError {
    let text = format!(
        "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history \
         of this consumer by specifying a proper ID, or use the > ID to get new messages. The {id} \
         ID would just return an empty result set."
    );
    CmdError::Other(text.into())
}

/// From where on a stream is read: entries after this id. `MAX` is what the group has not got.
const NEW: StreamId = StreamId::MAX;

/// The keys that may be read now, with the ids after which they are.
fn parse_ids<'a>(
    call: &mut Call<'a>,
    options: &Options<'_>,
) -> Result<Vec<(Key<'a>, StreamId)>, CmdError> {
    let mut after = Vec::with_capacity(options.keys);
    for index in options.keys_at..options.keys_at + options.keys {
        let (key, text) = (call.key(index), call.arg(index + options.keys));
        if !call.is_held(&key) {
            continue;
        }
        let stream = call.db.stream(&key)?;
        if let Some(reader) = options.reader
            && stream.is_none_or(|stream| stream.group(reader.group).is_none())
        {
            let rest = " in XREADGROUP with GROUP option";
            return Err(no_such_group(key.bytes, reader.group, rest));
        }
        let from = match (text, options.reader.is_some()) {
            (b"$", true) => return Err(meaningless("$")),
            (b"+", true) => return Err(meaningless("+")),
            (b"$", false) => stream.map_or(StreamId::MIN, |stream| stream.log().last_id()),
            (b"+", false) => stream.map_or(StreamId::MIN, |stream| before_last(stream.log())),
            (b">", true) => NEW,
            (b">", false) => {
                return Err(CmdError::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                     <group> <consumer> option.",
                ));
            }
            (text, _) => super::ids::parse(text, 0)?,
        };
        after.push((key, from));
    }
    Ok(after)
}

/// The id after which only the last entry comes.
fn before_last(log: &StreamLog) -> StreamId {
    match log.range_back(StreamId::MIN, StreamId::MAX).next() {
        Some(last) => last.id.previous().unwrap_or(StreamId::MIN),
        None => log.last_id(),
    }
}

fn last_entry(log: &StreamLog) -> Option<StreamId> {
    log.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
}

pub(super) fn xread(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, false)?;
    let after = parse_ids(call, &options)?;
    let (head, mut served) = (call.reply.deferred_array(), 0);
    for (key, after) in &after {
        let Some(stream) = call.db.stream(key)? else { continue };
        if last_entry(stream.log()).is_none_or(|last| last <= *after) {
            continue;
        }
        let start = after.next().expect("there is an entry after it");
        begin_stream(call.reply, key.bytes);
        reply_entries(call.reply, stream.log().range(start, StreamId::MAX), options.count);
        served += 1;
    }
    end_streams(call.reply, head, served);
    if served == 0 {
        wait(call, &options, Wanted::of(Kind::Stream), &after);
    }
    Ok(())
}

/// Nothing was found: the client waits for it, if it wants to.
fn wait(call: &mut Call<'_>, options: &Options<'_>, wanted: Wanted, after: &[(Key<'_>, StreamId)]) {
    let Some(until) = options.block else { return };
    let keys = options.keys_at..options.keys_at + options.keys;
    // `$` is the end that the stream has now, not the one that it has when the command is repeated.
    let ids_at = keys.end;
    let is_moment = |index: usize| index >= ids_at && matches!(call.arg(index), b"$" | b"+");
    let again = (ids_at..call.argv.len()).any(is_moment).then(|| {
        let texts: Vec<_> = after.iter().map(|(_, id)| id_text(*id)).collect();
        let argv = call.argv.iter().enumerate();
        let resolved = argv.map(|(index, arg)| match index.checked_sub(ids_at) {
            Some(number) if is_moment(index) && texts.len() == options.keys => {
                texts[number].as_bytes()
            }
            _ => arg,
        });
        resolved.collect()
    });
    call.effects.wait_for(WaitFor { keys, wanted, until, again });
}

fn begin_stream(reply: &mut Reply, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

fn end_streams(reply: &mut Reply, head: Deferred, served: usize) {
    match (served, reply.protocol()) {
        (0, _) => reply.null_array(),
        (served, Protocol::Resp2) => reply.set_len(head, served),
        (served, Protocol::Resp3) => reply.set_map_len(head, served),
    }
}

pub(super) fn xreadgroup(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, true)?;
    let after = parse_ids(call, &options)?;
    let reader = options.reader.expect("it was checked that there is a group");
    let (head, mut served) = (call.reply.deferred_array(), 0);
    call.effects.propagate_nothing();
    for (key, after) in &after {
        served += usize::from(read_one(call, &options, reader, key, *after)?);
    }
    end_streams(call.reply, head, served);
    if served == 0 {
        // Also that the group goes, with or without its key, is something to be told.
        wait(call, &options, Wanted::ANYTHING, &after);
    }
    Ok(())
}

/// Reads one stream for a group. False if there was nothing, and nothing is in the reply.
fn read_one(
    call: &mut Call<'_>,
    options: &Options<'_>,
    reader: Reader<'_>,
    key: &Key<'_>,
    after: StreamId,
) -> Result<bool, CmdError> {
    let now = call.now();
    let mut delivery = Delivery {
        reader,
        now,
        no_ack: options.no_ack,
        max: if options.count == 0 { usize::MAX } else { options.count },
        sent: Deliveries::new(key.bytes, reader.group),
    };
    let stream: &mut Stream = call.db.stream_mut(key)?.ok_or(CmdError::NoSuchKey)?;
    let reply = &mut *call.reply;
    let outcome = stream.with_group(reader.group, |log, group| {
        let is_new = consumer_asks(group, reader.consumer, now);
        if is_new {
            delivery.sent.created(reader.consumer);
        }
        let has_some = after != NEW || last_entry(log).is_some_and(|last| last > group.last_id);
        if has_some {
            begin_stream(reply, key.bytes);
            if after == NEW {
                delivery.deliver_new(reply, log, group);
            } else {
                delivery.deliver_again(reply, log, group, after);
            }
        }
        (is_new, has_some)
    });
    // As in Redis, what is pending is nothing that watchers of the key look at.
    call.db.unchanged();
    let (is_new, has_some) = outcome.expect("the group is there");
    if is_new {
        call.notify(EventClass::STREAM, "xgroup-createconsumer", key.bytes);
    }
    delivery.sent.propagate(call.effects);
    Ok(has_some)
}

/// What is delivered to a consumer.
struct Delivery<'a> {
    reader: Reader<'a>,
    now: UnixMillis,
    no_ack: bool,
    max: usize,
    sent: Deliveries<'a>,
}

impl Delivery<'_> {
    /// What the group has not got.
    fn deliver_new(&mut self, reply: &mut Reply, log: &StreamLog, group: &mut StreamGroup) {
        let (head, mut count) = (reply.deferred_array(), 0);
        let start = group.last_id.next().unwrap_or(StreamId::MAX);
        for entry in log.range(start, StreamId::MAX).take(self.max) {
            group.entries_read = match group.entries_read {
                Some(read) if group.last_id >= log.first_id() && !log.has_gaps_from(entry.id) => {
                    Some(read + 1)
                }
                _ => log.position_of(entry.id),
            };
            group.last_id = entry.id;
            reply_entry(reply, &entry);
            count += 1;
            if !self.no_ack {
                self.assign(group, entry.id, 1);
            }
        }
        reply.set_len(head, count);
        if count > 0 {
            self.sent.moved(group);
        }
    }

    fn assign(&mut self, group: &mut StreamGroup, id: StreamId, deliveries: u64) {
        let consumer = self.reader.consumer;
        group.assign(id, consumer, self.now, deliveries);
        if let Some(consumer) = group.consumer_mut(consumer) {
            consumer.active_at = Some(self.now);
        }
        let pending = group.pending(id).expect("it was just assigned");
        self.sent.claimed(consumer, id, pending, group.last_id);
    }

    /// What the consumer has got and not acknowledged. What was removed since comes without fields.
    fn deliver_again(
        &mut self,
        reply: &mut Reply,
        log: &StreamLog,
        group: &mut StreamGroup,
        after: StreamId,
    ) {
        let consumer = self.reader.consumer;
        let (head, mut count) = (reply.deferred_array(), 0);
        let mut from = after.next();
        while let Some(start) = from.filter(|_| count < self.max) {
            let next = group.consumer(consumer).and_then(|c| c.pending_from(start).next());
            let Some(id) = next else { break };
            from = id.next();
            count += 1;
            let Some(entry) = log.get(id) else {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
                continue;
            };
            reply_entry(reply, &entry);
            let pending = group.pending(id).expect("a consumer's pending entry is the group's");
            let deliveries = pending.deliveries.saturating_add(1);
            group.assign(id, consumer, self.now, deliveries);
            let pending = group.pending(id).expect("it was just assigned");
            self.sent.claimed(consumer, id, pending, group.last_id);
        }
        reply.set_len(head, count);
    }
}
