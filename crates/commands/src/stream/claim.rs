//! `XCLAIM`, `XAUTOCLAIM`, and how deliveries are propagated.

use std::ops::Range;

use slotward_keyspace::{ExpiryPolicy, Pending, StreamGroup, StreamId, StreamLog};
use slotward_resp::Reply;
use slotward_types::UnixMillis;

use super::ids::{self, parse_start};
use super::no_such_group;
use super::range::{id_text, reply_entry, reply_id};
use crate::call::Call;
use crate::effects::{Effects, EventClass};
use crate::error::CmdError;
use crate::number::parse_integer;

/// What a call did to a group, in the commands that repeat it elsewhere.
pub(super) struct Deliveries<'a> {
    key: &'a [u8],
    group: &'a [u8],
    commands: Vec<Vec<Vec<u8>>>,
}

impl<'a> Deliveries<'a> {
    pub(super) fn new(key: &'a [u8], group: &'a [u8]) -> Deliveries<'a> {
        Deliveries { key, group, commands: Vec::new() }
    }

    fn push(&mut self, words: &[&[u8]]) {
        self.commands.push(words.iter().map(|word| word.to_vec()).collect());
    }

    /// The entry is pending in this way; where it does not exist, it is not pending any more.
    pub(super) fn claimed(
        &mut self,
        consumer: &[u8],
        id: StreamId,
        pending: &Pending,
        last_id: StreamId,
    ) {
        let (id, last_id) = (id_text(id), id_text(last_id));
        let time = pending.delivered_at.0.to_string();
        let count = pending.deliveries.to_string();
        self.push(&[
            b"XCLAIM",
            self.key,
            self.group,
            consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last_id.as_bytes(),
        ]);
    }

    /// The entry is not pending any more.
    pub(super) fn acknowledged(&mut self, id: StreamId) {
        let id = id_text(id);
        self.push(&[b"XACK", self.key, self.group, id.as_bytes()]);
    }

    /// The group came so far.
    pub(super) fn moved(&mut self, group: &StreamGroup) {
        let id = id_text(group.last_id);
        let read = group.entries_read.map_or("-1".to_owned(), |read| read.to_string());
        self.push(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            id.as_bytes(),
            b"ENTRIESREAD",
            read.as_bytes(),
        ]);
    }

    /// The consumer is new.
    pub(super) fn created(&mut self, consumer: &[u8]) {
        self.push(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, consumer]);
    }

    /// Propagates all of it.
    pub(super) fn propagate(self, effects: &mut Effects) {
        effects.propagate_nothing();
        for command in &self.commands {
            effects.propagate(command.iter().map(Vec::as_slice));
        }
        effects.changed(self.commands.len() as u64);
    }
}

/// The consumer asks for entries: it is made if it is new. True if it was.
pub(super) fn consumer_asks(group: &mut StreamGroup, name: &[u8], now: UnixMillis) -> bool {
    let is_new = group.add_consumer(name, now);
    if let Some(consumer) = group.consumer_mut(name) {
        consumer.seen_at = now;
    }
    is_new
}

/// The options of `XCLAIM`.
struct Claim {
    ids: Range<usize>,
    delivered_at: UnixMillis,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Claim {
    fn parse(call: &Call<'_>) -> Result<Claim, CmdError> {
        let (now, argc) = (call.now(), call.argv.len());
        let is_id = |index: &usize| ids::parse(call.arg(*index), 0).is_ok();
        let after = (5..argc).find(|index| !is_id(index)).unwrap_or(argc);
        let mut claim = Claim {
            ids: 5..after,
            delivered_at: now,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        let number =
            |index: usize, text| parse_integer(call.arg(index)).ok_or(CmdError::text(text));
        let (mut time, mut index) = (None, after);
        while index < argc {
            let has_more = index + 1 < argc;
            if call.is_word(index, "FORCE") {
                claim.force = true;
            } else if call.is_word(index, "JUSTID") {
                claim.just_id = true;
            } else if has_more && call.is_word(index, "IDLE") {
                let idle = number(index + 1, "ERR Invalid IDLE option argument for XCLAIM")?;
                time = Some(now.0.saturating_sub(idle));
                index += 1;
            } else if has_more && call.is_word(index, "TIME") {
                time = Some(number(index + 1, "ERR Invalid TIME option argument for XCLAIM")?);
                index += 1;
            } else if has_more && call.is_word(index, "RETRYCOUNT") {
                let text = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
                claim.deliveries = u64::try_from(number(index + 1, text)?).ok();
                index += 1;
            } else if has_more && call.is_word(index, "LASTID") {
                claim.last_id = call.stream_id(index + 1)?;
                index += 1;
            } else {
                let option = String::from_utf8_lossy(call.arg(index)).into_owned();
                let text = format!("ERR Unrecognized XCLAIM option '{option}'");
                return Err(CmdError::Other(text.into()));
            }
            index += 1;
        }
        // A time that cannot be is taken for now. What a master says is taken as it is.
        let is_exact = call.db.policy() == ExpiryPolicy::Ignore;
        if let Some(time) = time.filter(|time| is_exact || (0..=now.0).contains(time)) {
            claim.delivered_at = UnixMillis(time);
        }
        Ok(claim)
    }
}

/// A claim under way: whom it is for, and what has come of it.
struct Claimer<'c, 'd> {
    consumer: &'c [u8],
    now: UnixMillis,
    just_id: bool,
    reply: &'c mut Reply,
    count: usize,
    deliveries: &'c mut Deliveries<'d>,
}

impl Claimer<'_, '_> {
    /// Gives the consumer an entry, which exists.
    fn take(
        &mut self,
        log: &StreamLog,
        group: &mut StreamGroup,
        id: StreamId,
        at: UnixMillis,
        deliveries: u64,
    ) {
        group.assign(id, self.consumer, at, deliveries);
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            consumer.active_at = Some(self.now);
        }
        match log.get(id).filter(|_| !self.just_id) {
            Some(entry) => reply_entry(self.reply, &entry),
            None => reply_id(self.reply, id),
        }
        self.count += 1;
        let pending = group.pending(id).expect("it was just assigned");
        self.deliveries.claimed(self.consumer, id, pending, group.last_id);
    }
}

/// The least idle time at `index`.
fn idle_min(call: &Call<'_>, text: &'static str) -> Result<i64, CmdError> {
    Ok(parse_integer(call.arg(4)).ok_or(CmdError::text(text))?.max(0))
}

fn is_idle(pending: &Pending, now: UnixMillis, idle_ms_min: i64) -> bool {
    idle_ms_min == 0 || now.0.saturating_sub(pending.delivered_at.0) >= idle_ms_min
}

pub(super) fn xclaim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name, consumer, now) = (call.key(1), call.arg(2), call.arg(3), call.now());
    if call.db.stream(&key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_such_group(key.bytes, name, ""));
    }
    let idle_ms_min = idle_min(call, "ERR Invalid min-idle-time argument for XCLAIM")?;
    let claim = Claim::parse(call)?;
    let ids = call.stream_ids(claim.ids.clone())?;
    let mut deliveries = Deliveries::new(key.bytes, name);
    let head = call.reply.deferred_array();
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let mut claimer = Claimer {
        consumer,
        now,
        just_id: claim.just_id,
        reply: call.reply,
        count: 0,
        deliveries: &mut deliveries,
    };
    let is_new = stream.with_group(name, |log, group| {
        let moves = claim.last_id > group.last_id;
        if moves {
            group.last_id = claim.last_id;
        }
        let is_new = consumer_asks(group, consumer, now);
        if is_new {
            claimer.deliveries.created(consumer);
        }
        for id in ids {
            claim_one(&mut claimer, log, group, id, &claim, idle_ms_min);
        }
        if moves {
            claimer.deliveries.moved(group);
        }
        is_new
    });
    let count = claimer.count;
    call.reply.set_len(head, count);
    finish(call, key.bytes, is_new == Some(true), deliveries);
    Ok(())
}

fn finish(call: &mut Call<'_>, key: &[u8], is_new: bool, deliveries: Deliveries<'_>) {
    call.db.unchanged();
    if is_new {
        call.notify(EventClass::STREAM, "xgroup-createconsumer", key);
    }
    deliveries.propagate(call.effects);
}

fn claim_one(
    claimer: &mut Claimer<'_, '_>,
    log: &StreamLog,
    group: &mut StreamGroup,
    id: StreamId,
    claim: &Claim,
    idle_ms_min: i64,
) {
    let pending = group.pending(id).copied();
    if !log.contains(id) {
        if group.acknowledge(id) {
            claimer.deliveries.acknowledged(id);
        }
        return;
    }
    let count = match pending {
        None if !claim.force => return,
        None => 1,
        Some(pending) => {
            let is_owned = group.owner(&pending).is_some();
            if is_owned && !is_idle(&pending, claimer.now, idle_ms_min) {
                return;
            }
            pending.deliveries
        }
    };
    let counted = if claim.just_id { count } else { count.saturating_add(1) };
    let deliveries = claim.deliveries.unwrap_or(counted);
    claimer.take(log, group, id, claim.delivered_at, deliveries);
}

/// Looks at so many pending entries for each that is asked for.
const ATTEMPTS: usize = 10;
const COUNT_DEFAULT: usize = 100;
/// As Redis has it: what a list of ids would take has to fit a machine word.
const COUNT_MAX: i64 = i64::MAX / 16;

pub(super) fn xautoclaim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let idle_ms_min = idle_min(call, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let start = parse_start(call.arg(5))?;
    let (mut max, mut just_id, mut index) = (COUNT_DEFAULT, false, 6);
    while index < call.argv.len() {
        if call.is_word(index, "COUNT") && index + 1 < call.argv.len() {
            let count = parse_integer(call.arg(index + 1)).filter(|n| (1..=COUNT_MAX).contains(n));
            max = count.ok_or(CmdError::text("ERR COUNT must be > 0"))? as usize;
            index += 1;
        } else if call.is_word(index, "JUSTID") {
            just_id = true;
        } else {
            return Err(CmdError::Syntax);
        }
        index += 1;
    }
    let (key, name, consumer, now) = (call.key(1), call.arg(2), call.arg(3), call.now());
    if call.db.stream(&key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_such_group(key.bytes, name, ""));
    }
    let mut deliveries = Deliveries::new(key.bytes, name);
    call.reply.array(3);
    let cursor = call.reply.len();
    let head = call.reply.deferred_array();
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let mut claimer = Claimer {
        consumer,
        now,
        just_id,
        reply: call.reply,
        count: 0,
        deliveries: &mut deliveries,
    };
    let outcome = stream.with_group(name, |log, group| {
        let is_new = consumer_asks(group, consumer, now);
        if is_new {
            claimer.deliveries.created(consumer);
        }
        let (next, deleted) = claim_idle(&mut claimer, log, group, start, max, idle_ms_min);
        (is_new, next, deleted)
    });
    let count = claimer.count;
    let (is_new, next, deleted) = outcome.expect("the group is there");
    call.reply.set_len(head, count);
    insert_id(call.reply, cursor, next);
    call.reply.array(deleted.len());
    deleted.iter().for_each(|id| reply_id(call.reply, *id));
    finish(call, key.bytes, is_new, deliveries);
    Ok(())
}

/// Puts an id where an earlier part of the reply ended.
fn insert_id(reply: &mut Reply, at: usize, id: StreamId) {
    let behind = reply.as_bytes()[at..].to_vec();
    reply.truncate(at);
    reply_id(reply, id);
    reply.raw(&behind);
}

/// Claims what is idle from `start` on. Gives where to go on, and which entries are no more.
fn claim_idle(
    claimer: &mut Claimer<'_, '_>,
    log: &StreamLog,
    group: &mut StreamGroup,
    start: StreamId,
    max: usize,
    idle_ms_min: i64,
) -> (StreamId, Vec<StreamId>) {
    let (mut deleted, mut from) = (Vec::new(), Some(start));
    let mut attempts = max.saturating_mul(ATTEMPTS);
    while attempts > 0 && claimer.count + deleted.len() < max {
        attempts -= 1;
        let Some(at) = from else { break };
        let Some((id, pending)) = group.pending_from(at).next() else { break };
        let pending = *pending;
        from = id.next();
        if !log.contains(id) {
            group.acknowledge(id);
            claimer.deliveries.acknowledged(id);
            deleted.push(id);
        } else if group.owner(&pending).is_none() || is_idle(&pending, claimer.now, idle_ms_min) {
            let count = pending.deliveries;
            let count = if claimer.just_id { count } else { count.saturating_add(1) };
            claimer.take(log, group, id, claimer.now, count);
        }
    }
    let next = from.and_then(|from| group.pending_from(from).next());
    (next.map_or(StreamId::MIN, |(id, _)| id), deleted)
}
