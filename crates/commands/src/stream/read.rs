//! `XREAD`, `XREADGROUP`.

use slotward_keyspace::{Key, Kind, Stream, StreamGroup, StreamId, StreamLog, Wanted};
use slotward_resp::{Deferred, Protocol, Reply};
use slotward_types::UnixMillis;

use super::claim::{Deliveries, consumer_asks};
use super::no_such_group;
use super::range::{id_text, reply_entry, reply_fields, reply_id};
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
    /// Entries of all streams at most.
    count_max: usize,
    /// Bytes of the reply at most, unless its first entry alone is larger.
    bytes_max: usize,
    /// How long an entry has to be idle to be claimed, in milliseconds, if any shall be.
    claim_idle_ms: Option<i64>,
    reader: Option<Reader<'a>>,
    no_ack: bool,
    /// Until when to wait for entries, if that is wanted; `Some(None)` is for ever.
    block: Option<Option<UnixMillis>>,
    /// The index of the first key, and how many there are.
    keys_at: usize,
    keys: usize,
}

impl<'a> Options<'a> {
    /// Entries of a stream at most.
    fn per_stream(&self) -> usize {
        if self.count == 0 { usize::MAX } else { self.count }
    }

    fn parse(call: &Call<'a>, grouped: bool) -> Result<Options<'a>, CmdError> {
        let argc = call.argv.len();
        let mut options = Options {
            count: 0,
            count_max: usize::MAX,
            bytes_max: usize::MAX,
            claim_idle_ms: None,
            reader: None,
            no_ack: false,
            block: None,
            keys_at: 0,
            keys: 0,
        };
        let mut index = 1;
        while index < argc {
            let more = argc - index - 1;
            if more > 0 && call.is_word(index, "BLOCK") {
                options.block = Some(call.timeout_millis(index + 1)?);
                index += 1;
            } else if more > 0 && call.is_word(index, "COUNT") {
                options.count = call.int(index + 1)?.max(0) as usize;
                index += 1;
            } else if more > 0 && call.is_word(index, "MAXCOUNT") {
                options.count_max = above_zero(call, index + 1, COUNT_MAX)?;
                index += 1;
            } else if more > 0 && call.is_word(index, "MAXSIZE") {
                options.bytes_max = above_zero(call, index + 1, BYTES_MAX)?;
                index += 1;
            } else if grouped && more > 0 && call.is_word(index, "CLAIM") {
                options.claim_idle_ms = Some(claim_idle(call, index + 1)?);
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
        if options.count > options.count_max {
            return Err(CmdError::text("ERR MAXCOUNT must be greater than or equal to COUNT"));
        }
        if grouped && options.reader.is_none() {
            return Err(CmdError::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }
}

const COUNT_MAX: &str = "ERR MAXCOUNT must be a positive integer";
const BYTES_MAX: &str = "ERR MAXSIZE must be a positive integer";

fn above_zero(call: &Call<'_>, index: usize, text: &'static str) -> Result<usize, CmdError> {
    let number = call.int(index).ok().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(CmdError::text(text))
}

fn claim_idle(call: &Call<'_>, index: usize) -> Result<i64, CmdError> {
    let idle =
        call.int(index).map_err(|_| CmdError::text("ERR min-idle-time is not an integer"))?;
    if idle < 0 {
        return Err(CmdError::text("ERR min-idle-time must be a positive integer"));
    }
    Ok(idle)
}

/// What of the reply of a call is left to its entries.
struct Budget {
    /// Entries that may still follow.
    count: usize,
    /// Where the reply has to end.
    end: usize,
    begun: bool,
}

impl Budget {
    fn new(options: &Options<'_>, reply: &Reply) -> Budget {
        let end = reply.len().saturating_add(options.bytes_max);
        Budget { count: options.count_max, end, begun: false }
    }

    /// Whether any entry may still follow.
    fn is_spent(&self, reply: &Reply) -> bool {
        self.count == 0 || self.begun && reply.len() >= self.end
    }

    /// Writes an entry, unless that would be too much. Whether it did.
    fn write(&mut self, reply: &mut Reply, write: impl FnOnce(&mut Reply)) -> bool {
        if self.is_spent(reply) {
            return false;
        }
        let start = reply.len();
        write(reply);
        if self.begun && reply.len() > self.end {
            reply.truncate(start);
            // What comes later has no place either, although it may be smaller.
            self.count = 0;
            return false;
        }
        self.begun = true;
        self.count -= 1;
        true
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
    let mut budget = Budget::new(&options, call.reply);
    let (head, mut served) = (call.reply.deferred_array(), 0);
    for (key, after) in &after {
        if budget.is_spent(call.reply) {
            break;
        }
        let Some(stream) = call.db.stream(key)? else { continue };
        if last_entry(stream.log()).is_none_or(|last| last <= *after) {
            continue;
        }
        let start = after.next().expect("there is an entry after it");
        let begin = call.reply.len();
        begin_stream(call.reply, key.bytes);
        let (entries, mut count) = (call.reply.deferred_array(), 0);
        for entry in stream.log().range(start, StreamId::MAX).take(options.per_stream()) {
            if !budget.write(call.reply, |reply| reply_entry(reply, &entry)) {
                break;
            }
            count += 1;
        }
        if count == 0 {
            call.reply.truncate(begin);
            break;
        }
        call.reply.set_len(entries, count);
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
    let mut budget = Budget::new(&options, call.reply);
    call.effects.propagate_nothing();
    for (key, after) in &after {
        if budget.is_spent(call.reply) {
            break;
        }
        served += usize::from(read_one(call, &options, reader, (key, *after), &mut budget)?);
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
    (key, after): (&Key<'_>, StreamId),
    budget: &mut Budget,
) -> Result<bool, CmdError> {
    let now = call.now();
    let mut delivery = Delivery {
        reader,
        now,
        no_ack: options.no_ack,
        claim_idle_ms: options.claim_idle_ms,
        max: options.per_stream(),
        budget,
        sent: Deliveries::new(key.bytes, reader.group),
    };
    let stream: &mut Stream = call.db.stream_mut(key)?.ok_or(CmdError::NoSuchKey)?;
    let reply = &mut *call.reply;
    let outcome = stream.with_group(reader.group, |log, group| {
        let is_new = consumer_asks(group, reader.consumer, now);
        if is_new {
            delivery.sent.created(reader.consumer);
        }
        let begin = reply.len();
        begin_stream(reply, key.bytes);
        let (head, count) = (reply.deferred_array(), &mut 0);
        if after == NEW {
            delivery.claim(reply, log, group, count);
            delivery.deliver_new(reply, log, group, count);
        } else {
            delivery.deliver_again(reply, log, group, after, count);
        }
        // A consumer that has nothing pending is told so; that nothing is new is told by silence.
        let has_some = after != NEW || *count > 0;
        if has_some {
            reply.set_len(head, *count);
        } else {
            reply.truncate(begin);
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
struct Delivery<'a, 'b> {
    reader: Reader<'a>,
    now: UnixMillis,
    no_ack: bool,
    claim_idle_ms: Option<i64>,
    max: usize,
    budget: &'b mut Budget,
    sent: Deliveries<'a>,
}

impl Delivery<'_, '_> {
    /// What others have got and left for long, or given back; with how long that is, and how often
    /// it was delivered before. What was removed since is not pending any more.
    fn claim(
        &mut self,
        reply: &mut Reply,
        log: &StreamLog,
        group: &mut StreamGroup,
        count: &mut usize,
    ) {
        let Some(idle_ms) = self.claim_idle_ms else { return };
        let (mut due, mut gone) = (Vec::new(), Vec::new());
        for id in group.due(UnixMillis(self.now.0.saturating_sub(idle_ms))) {
            if due.len() == self.max.min(self.budget.count) {
                break;
            }
            if log.contains(id) { due.push(id) } else { gone.push(id) }
        }
        for id in gone {
            assert!(group.acknowledge(id), "what is due is pending");
            self.sent.acknowledged(id);
        }
        for id in due {
            let entry = log.get(id).expect("it was just there");
            let pending = *group.pending(id).expect("what is due is pending");
            let idle_ms = self.now.0.saturating_sub(pending.delivered_at.0).max(0);
            let delivered = |reply: &mut Reply| {
                reply.array(4);
                reply_fields(reply, &entry);
                reply.bulk_integer(idle_ms);
                reply.bulk_integer(pending.deliveries as i64);
            };
            if !self.budget.write(reply, delivered) {
                return;
            }
            *count += 1;
            self.assign(group, id, pending.deliveries.saturating_add(1));
        }
    }

    /// What the group has not got.
    fn deliver_new(
        &mut self,
        reply: &mut Reply,
        log: &StreamLog,
        group: &mut StreamGroup,
        count: &mut usize,
    ) {
        let (claims, before) = (self.claim_idle_ms.is_some(), *count);
        let start = group.last_id.next().unwrap_or(StreamId::MAX);
        for entry in log.range(start, StreamId::MAX).take(self.max - before) {
            let written = self.budget.write(reply, |reply| {
                if !claims {
                    return reply_entry(reply, &entry);
                }
                reply.array(4);
                reply_fields(reply, &entry);
                reply.bulk(b"0");
                reply.bulk(b"0");
            });
            if !written {
                break;
            }
            group.entries_read = match group.entries_read {
                Some(read) if group.last_id >= log.first_id() && !log.has_gaps_from(entry.id) => {
                    Some(read + 1)
                }
                _ => log.position_of(entry.id),
            };
            group.last_id = entry.id;
            *count += 1;
            if !self.no_ack {
                self.assign(group, entry.id, 1);
            }
        }
        if *count > before {
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
        count: &mut usize,
    ) {
        let consumer = self.reader.consumer;
        let mut from = after.next();
        while let Some(start) = from.filter(|_| *count < self.max) {
            let next = group.consumer(consumer).and_then(|c| c.pending_from(start).next());
            let Some(id) = next else { break };
            from = id.next();
            let entry = log.get(id);
            let written = self.budget.write(reply, |reply| match &entry {
                Some(entry) => reply_entry(reply, entry),
                None => {
                    reply.array(2);
                    reply_id(reply, id);
                    reply.null_array();
                }
            });
            if !written {
                return;
            }
            *count += 1;
            if entry.is_none() {
                continue;
            }
            let pending = group.pending(id).expect("a consumer's pending entry is the group's");
            let deliveries = pending.deliveries.saturating_add(1);
            group.assign(id, consumer, self.now, deliveries);
            let pending = group.pending(id).expect("it was just assigned");
            self.sent.claimed(consumer, id, pending, group.last_id);
        }
    }
}
