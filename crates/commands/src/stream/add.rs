//! `XADD`, `XTRIM`, `XSETID`.

use slotward_keyspace::{ExpiryPolicy, References, StreamId, Trim, TrimTo};

use super::idempotent::Named;
use super::ids::{self, NewId};
use super::range::{id_text, reply_id};
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;

/// At most so many blocks' worth of entries goes in an approximate trim without `LIMIT`.
const LIMIT_BLOCKS: u64 = 100;
const LIMIT_MAX: u64 = 1_000_000;
/// That limit where blocks have none.
const LIMIT_UNBOUNDED: u64 = 10_000;

const NAMED_ID: CmdError =
    CmdError::text("ERR IDMP and IDMPAUTO can be used only with an ID that is generated (*)");
const BOTH_WAYS: CmdError = CmdError::text(
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
);

/// The options that `XADD` and `XTRIM` share.
#[derive(Default)]
struct Options<'a> {
    trim: Option<Trim>,
    /// Where the threshold stands among the arguments.
    threshold_index: usize,
    references: Option<References>,
    no_make: bool,
    /// The index of the first argument that is no option.
    end: usize,
    /// The id there, which is looked at before what the options come to.
    id: Option<NewId>,
    /// Under which name a producer adds.
    named: Option<Named<'a>>,
}

impl<'a> Options<'a> {
    fn parse(call: &Call<'a>, adds: bool) -> Result<Options<'a>, CmdError> {
        let (mut options, mut limit, mut index) = (Options::default(), None, 2);
        let argc = call.argv.len();
        while index < argc {
            let has_more = index + 1 < argc;
            if adds && call.arg(index) == b"*" {
                options.id = Some(NewId::Now);
                break;
            } else if has_more && (call.is_word(index, "MAXLEN") || call.is_word(index, "MINID")) {
                index = options.parse_trim(call, index)?;
            } else if has_more && call.is_word(index, "LIMIT") {
                let given = call.int(index + 1)?;
                let given = u64::try_from(given)
                    .map_err(|_| CmdError::text("ERR The LIMIT argument must be >= 0."))?;
                limit = Some(given);
                index += 1;
            } else if adds && call.is_word(index, "NOMKSTREAM") {
                options.no_make = true;
            } else if let (None, Some(references)) = (options.references, references(call, index)) {
                options.references = Some(references);
            } else if adds
                && options.named.is_none()
                && let Some(named) = Named::parse(call, index)?
            {
                index = named.place.end - 1;
                options.named = Some(named);
            } else if adds {
                options.id = Some(ids::parse_new(call.arg(index), 0)?);
                break;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        options.end = index;
        options.set_limit(call, limit, adds)?;
        Ok(options)
    }

    /// `MAXLEN|MINID [=|~] threshold` at `index`: the index of the threshold.
    fn parse_trim(&mut self, call: &Call<'_>, index: usize) -> Result<usize, CmdError> {
        if self.trim.is_some() {
            return Err(BOTH_WAYS);
        }
        let mut at = index + 1;
        let approximate = call.arg(at) == b"~";
        if index + 2 < call.argv.len() && (approximate || call.arg(at) == b"=") {
            at += 1;
        }
        let to = if call.is_word(index, "MAXLEN") {
            let length = u64::try_from(call.int(at)?)
                .map_err(|_| CmdError::text("ERR The MAXLEN argument must be >= 0."))?;
            TrimTo::Length(length)
        } else {
            TrimTo::Id(call.stream_id(at)?)
        };
        let approximate = approximate && at > index + 1;
        self.trim = Some(Trim { to, approximate, limit: 0 });
        self.threshold_index = at;
        Ok(at)
    }

    fn set_limit(
        &mut self,
        call: &Call<'_>,
        limit: Option<u64>,
        adds: bool,
    ) -> Result<(), CmdError> {
        let Some(trim) = &mut self.trim else {
            return match limit {
                Some(1..) => Err(CmdError::text(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if adds => Ok(()),
                _ => Err(CmdError::text(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                )),
            };
        };
        // What a master has sent is exact, whatever limit there was.
        if call.db.policy() == ExpiryPolicy::Ignore {
            return Ok(());
        }
        trim.limit = match limit {
            Some(_) if !trim.approximate => {
                return Err(CmdError::text(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some(limit) => limit,
            None if !trim.approximate => 0,
            None => match call.settings.limits.stream_node_max_entries as u64 {
                0 => LIMIT_UNBOUNDED,
                entries => entries.saturating_mul(LIMIT_BLOCKS).min(LIMIT_MAX),
            },
        };
        Ok(())
    }

    /// What is propagated: the command with the id that was given, and an exact trim to what is left.
    fn propagate(&self, call: &mut Call<'_>, id: Option<StreamId>, left: TrimTo) {
        let is_approximate = self.trim.is_some_and(|trim| trim.approximate);
        if id.is_none() && !is_approximate {
            return;
        }
        if !call.effects.is_heard() {
            return call.effects.propagate_nothing();
        }
        let id = id.map(id_text);
        let threshold = match left {
            TrimTo::Length(length) => length.to_string(),
            TrimTo::Id(id) => id_text(id),
        };
        let argv = call.argv;
        let is_name = |index| self.named.as_ref().is_some_and(|named| named.is_part(index));
        let args = argv.iter().enumerate().filter(|(index, _)| !is_name(*index));
        let args = args.map(|(index, arg)| match &id {
            Some(id) if index == self.end => id.as_bytes(),
            _ if is_approximate && index == self.threshold_index => threshold.as_bytes(),
            _ if is_approximate && index + 1 == self.threshold_index => b"=",
            _ => arg,
        });
        call.effects.propagate(args);
    }
}

/// The word at `index`, if it says what becomes of references.
pub(super) fn references(call: &Call<'_>, index: usize) -> Option<References> {
    [("KEEPREF", References::Keep), ("DELREF", References::Remove), ("ACKED", References::Respect)]
        .into_iter()
        .find(|(word, _)| call.is_word(index, word))
        .map(|(_, references)| references)
}

pub(super) fn xadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, true)?;
    let new = options.id.ok_or(CmdError::WrongArgCount("xadd"))?;
    let fields: Vec<&[u8]> = call.argv.from(options.end + 1).iter().collect();
    if fields.is_empty() || !fields.len().is_multiple_of(2) {
        return Err(CmdError::WrongArgCount("xadd"));
    }
    if new == NewId::Given(StreamId::MIN) {
        return Err(CmdError::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let name = options.named.as_ref().map(|named| (named, named.name(&fields)));
    if let Some((named, name)) = &name {
        if new != NewId::Now {
            return Err(NAMED_ID);
        }
        if named.reply_known(call, name)? {
            return Ok(());
        }
    }
    let (key, now_ms) = (call.key(1), call.now().0.max(0) as u64);
    let last_id = match call.db.stream(&key)? {
        None if options.no_make => {
            call.reply.null();
            return Ok(());
        }
        None => StreamId::MIN,
        Some(stream) => stream.log().last_id(),
    };
    let id = next_id(new, last_id, now_ms)?;
    let limits = &call.settings.limits;
    let is_new = last_id == StreamId::MIN && !call.db.exists(&key);
    let stream = call.db.stream_or_new(&key)?;
    if stream.log_mut().append(id, &fields, limits).is_err() {
        call.db.unchanged();
        if is_new {
            call.db.remove(&key);
        }
        return Err(CmdError::text("ERR Elements are too large to be stored"));
    }
    let trimmed =
        options.trim.map(|trim| stream.trim(&trim, options.references.unwrap_or_default()));
    let left = left_after(options.trim.as_ref(), stream.log());
    reply_id(call.reply, id);
    call.effects.changed(1);
    call.notify(EventClass::STREAM, "xadd", key.bytes);
    if trimmed > Some(0) {
        call.notify(EventClass::STREAM, "xtrim", key.bytes);
    }
    let is_given = matches!(new, NewId::Given(_));
    options.propagate(call, (!is_given).then_some(id), left);
    match &name {
        Some((named, name)) => named.record(call, name, id),
        None => Ok(()),
    }
}

fn next_id(new: NewId, last: StreamId, now_ms: u64) -> Result<StreamId, CmdError> {
    const NOT_ABOVE: CmdError = CmdError::text(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    let exhausted = CmdError::text(
        "ERR The stream has exhausted the last possible ID, unable to add more items",
    );
    let after = last.next().ok_or(exhausted)?;
    let id = match new {
        NewId::Now if now_ms > last.ms => StreamId::new(now_ms, 0),
        NewId::Now => after,
        NewId::Within(ms) if ms == last.ms && after.ms == ms => after,
        NewId::Within(ms) => StreamId::new(ms, 0),
        NewId::Given(id) => id,
    };
    if id > last { Ok(id) } else { Err(NOT_ABOVE) }
}

/// How far an exact trim goes that leaves what is there.
fn left_after(trim: Option<&Trim>, log: &slotward_keyspace::StreamLog) -> TrimTo {
    match trim.map(|trim| trim.to) {
        Some(TrimTo::Id(_)) if log.is_empty() => TrimTo::Id(StreamId::MAX),
        Some(TrimTo::Id(_)) => TrimTo::Id(log.first_id()),
        _ => TrimTo::Length(log.len()),
    }
}

pub(super) fn xtrim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, false)?;
    let key = call.key(1);
    let Some(stream) = call.db.stream_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let trim = options.trim.as_ref().expect("it was checked that there is a trim");
    let trimmed = stream.trim(trim, options.references.unwrap_or_default());
    let left = left_after(options.trim.as_ref(), stream.log());
    call.reply.integer(trimmed as i64);
    if trimmed == 0 {
        call.db.unchanged();
        return Ok(());
    }
    call.effects.changed(trimmed);
    call.notify(EventClass::STREAM, "xtrim", key.bytes);
    options.propagate(call, None, left);
    Ok(())
}

pub(super) fn xsetid(call: &mut Call<'_>) -> Result<(), CmdError> {
    let id = call.stream_id(2)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut index = 3;
    while index < call.argv.len() {
        let has_more = index + 1 < call.argv.len();
        if has_more && call.is_word(index, "ENTRIESADDED") {
            let given = u64::try_from(call.int(index + 1)?)
                .map_err(|_| CmdError::text("ERR entries_added must be positive"))?;
            added = Some(given);
        } else if has_more && call.is_word(index, "MAXDELETEDID") {
            max_deleted = call.stream_id(index + 1)?;
            if id < max_deleted {
                return Err(CmdError::text(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CmdError::Syntax);
        }
        index += 2;
    }
    let key = call.key(1);
    let log = call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?.log();
    if id < log.max_deleted_id() {
        return Err(CmdError::text(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    let last = log.range_back(StreamId::MIN, StreamId::MAX).next();
    if last.is_some_and(|last| id < last.id) {
        return Err(CmdError::text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| added < log.len()) {
        return Err(CmdError::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    let log = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?.log_mut();
    let max_deleted = if max_deleted == StreamId::MIN { log.max_deleted_id() } else { max_deleted };
    log.set_counters(id, added.unwrap_or(log.entries_added()), max_deleted);
    call.effects.changed(1);
    call.notify(EventClass::STREAM, "xsetid", key.bytes);
    call.reply.ok();
    Ok(())
}
