//! Entries that a producer may say twice: `XADD IDMP|IDMPAUTO`, `XCFGSET`, `XIDMPRECORD`.
//!
//! Replicas get an entry, and then its name (`XIDMPRECORD`): what was said twice they never hear of.

use std::borrow::Cow;
use std::ops::Range;

use slotward_keyspace::{ExpiryPolicy, Idempotency, Stream, StreamId};
use slotward_resp::Args;
use slotward_types::UnixMillis;
use xxhash_rust::xxh3::Xxh3;

use super::range::{id_text, reply_id};
use crate::call::Call;
use crate::error::CmdError;

/// `IDMPAUTO producer` or `IDMP producer name` of an `XADD`.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    producer: &'a [u8],
    /// Given, or worked out of the fields.
    name: Option<&'a [u8]>,
    /// Where it stands among the arguments.
    pub(super) place: Range<usize>,
}

const EMPTY: CmdError = CmdError::text("ERR producer ID and idempotent ID must not be empty");

impl<'a> Named<'a> {
    /// The one at `index`, if there is one.
    ///
    /// # Errors
    /// When a name is empty.
    pub(super) fn parse(call: &Call<'a>, index: usize) -> Result<Option<Named<'a>>, CmdError> {
        let (producer, given) = (call.argv.get(index + 1), call.argv.get(index + 2));
        let named = match (producer, given) {
            (Some(producer), _) if call.is_word(index, "IDMPAUTO") => {
                Named { producer, name: None, place: index..index + 2 }
            }
            (Some(producer), Some(name)) if call.is_word(index, "IDMP") => {
                Named { producer, name: Some(name), place: index..index + 3 }
            }
            _ => return Ok(None),
        };
        let is_empty = named.producer.is_empty() || named.name.is_some_and(<[u8]>::is_empty);
        if is_empty { Err(EMPTY) } else { Ok(Some(named)) }
    }

    /// The name of an entry with these fields.
    pub(super) fn name(&self, fields: &[&[u8]]) -> Cow<'a, [u8]> {
        if let Some(name) = self.name {
            return Cow::Borrowed(name);
        }
        let mut hash = Xxh3::new();
        for field in fields {
            // Where one ends and the next begins makes a difference.
            hash.update(&(field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        Cow::Owned(hash.digest128().to_be_bytes().to_vec())
    }

    /// The entry that was added under this name before; it is replied instead of a new one.
    pub(super) fn reply_known(&self, call: &mut Call<'_>, name: &[u8]) -> Result<bool, CmdError> {
        let (key, now) = (call.key(1), call.now());
        let known = |stream: &Stream| stream.idempotency()?.find(self.producer, name, now);
        let Some(id) = call.db.stream(&key)?.and_then(known) else { return Ok(false) };
        if let Some(stream) = call.db.stream_mut(&key)? {
            stream.idempotency_mut().count_duplicate();
            call.db.unchanged();
        }
        reply_id(call.reply, id);
        Ok(true)
    }

    /// The entry was added: what keeps its name, and tells replicas to, as long as there is one.
    pub(super) fn record(
        &self,
        call: &mut Call<'_>,
        name: &[u8],
        id: StreamId,
    ) -> Result<(), CmdError> {
        let (key, now) = (call.key(1), call.now());
        let Some(stream) = call.db.stream_mut(&key)? else { return Ok(()) };
        stream.idempotency_mut().record(self.producer, name, id, now);
        if stream.log().contains(id) {
            let id = id_text(id);
            let words = [b"XIDMPRECORD", key.bytes, self.producer, name, id.as_bytes()];
            call.effects.propagate(words);
        }
        Ok(())
    }

    /// The arguments of an `XADD` without this.
    pub(super) fn is_part(&self, index: usize) -> bool {
        self.place.contains(&index)
    }
}

/// A number of a setting's range.
fn within(
    call: &Call<'_>,
    index: usize,
    max: usize,
    text: &'static str,
) -> Result<usize, CmdError> {
    let number = call.int(index)?;
    let number = usize::try_from(number).ok().filter(|number| (1..=max).contains(number));
    number.ok_or(CmdError::text(text))
}

pub(super) fn xcfgset(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (mut duration_s, mut names_max) = (None, None);
    let argv: Args<'_> = call.argv;
    let mut index = 2;
    while index < argv.len() {
        let has_more = index + 1 < argv.len();
        if has_more && duration_s.is_none() && call.is_word(index, "IDMP-DURATION") {
            let max = Idempotency::DURATION_S_MAX as usize;
            duration_s = Some(within(call, index + 1, max, "ERR invalid duration")? as u32);
        } else if has_more && names_max.is_none() && call.is_word(index, "IDMP-MAXSIZE") {
            names_max =
                Some(within(call, index + 1, Idempotency::NAMES_MAX, "ERR invalid maxsize")?);
        } else {
            return Err(CmdError::Syntax);
        }
        index += 2;
    }
    if duration_s.is_none() && names_max.is_none() {
        return Err(CmdError::Syntax);
    }
    let key = call.key(1);
    let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    stream.idempotency_mut().configure(duration_s, names_max);
    call.effects.changed(1);
    call.reply.ok();
    Ok(())
}

pub(super) fn xidmprecord(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, producer, name) = (call.key(1), call.arg(2), call.arg(3));
    let id = call.stream_id(4)?;
    if producer.is_empty() || name.is_empty() {
        return Err(EMPTY);
    }
    let now: UnixMillis = call.now();
    let stream = call.db.stream(&key)?.ok_or(CmdError::NoSuchKey)?;
    if !stream.log().contains(id) {
        return Err(CmdError::text("ERR The stream ID refers to an entry that does not exist"));
    }
    let known = stream.idempotency().and_then(|known| known.find(producer, name, now));
    // A master has forgotten the name by its own clock; what it says holds.
    let is_told = call.db.policy() == ExpiryPolicy::Ignore;
    match known {
        Some(other) if other == id => {}
        Some(_) if !is_told => {
            return Err(CmdError::text("ERR The idempotent ID is that of another entry"));
        }
        _ => {
            let stream = call.db.stream_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
            stream.idempotency_mut().record(producer, name, id, now);
            call.effects.changed(1);
        }
    }
    call.reply.ok();
    Ok(())
}
