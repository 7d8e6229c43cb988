//! `XGROUP`.

use slotward_keyspace::{ExpiryPolicy, Key, Stream, StreamGroup, StreamId};

use super::ids::{parse, parse_open};
use super::no_group_at;
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;

const NO_KEY: CmdError = CmdError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);

/// The options of `CREATE` and `SETID` from the fifth argument on: `MKSTREAM`, `ENTRIESREAD`.
fn parse_options(call: &Call<'_>, creates: bool) -> Result<(bool, Option<u64>), CmdError> {
    let (mut makes, mut entries_read, mut index) = (false, None, 5);
    while index < call.argv.len() {
        if creates && call.is_word(index, "MKSTREAM") {
            makes = true;
            index += 1;
        } else if call.is_word(index, "ENTRIESREAD") && index + 1 < call.argv.len() {
            entries_read = match call.int(index + 1)? {
                -1 => None,
                read => Some(u64::try_from(read).map_err(|_| {
                    CmdError::text("ERR value for ENTRIESREAD must be positive or -1")
                })?),
            };
            index += 2;
        } else {
            let given = String::from_utf8_lossy(call.arg(1)).into_owned();
            let text = format!(
                "ERR unknown subcommand or wrong number of arguments for '{given}'. Try XGROUP HELP."
            );
            return Err(CmdError::Other(text.into()));
        }
    }
    Ok((makes, entries_read))
}

/// The stream at the key, which has the group if `needs_group`.
fn stream<'c>(
    call: &'c mut Call<'_>,
    key: &Key<'_>,
    needs_group: bool,
) -> Result<&'c mut Stream, CmdError> {
    let group = call.arg(3);
    let stream = call.db.stream(key)?.ok_or(NO_KEY)?;
    if needs_group && stream.group(group).is_none() {
        return Err(no_group_at(key.bytes, group));
    }
    Ok(call.db.stream_mut(key)?.expect("the key is there"))
}

pub(super) fn xgroup_create(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (makes, entries_read) = parse_options(call, true)?;
    let (key, name, id) = (call.key(2), call.arg(3), call.arg(4));
    let stream = call.db.stream(&key)?;
    if stream.is_none() && !makes {
        return Err(NO_KEY);
    }
    let last_id = match id {
        b"$" => stream.map_or(StreamId::MIN, |stream| stream.log().last_id()),
        text => parse(text, 0)?,
    };
    if stream.is_some_and(|stream| stream.group(name).is_some()) {
        return Err(CmdError::text("BUSYGROUP Consumer Group name already exists"));
    }
    let is_told = call.db.policy() == ExpiryPolicy::Ignore;
    let stream = call.db.stream_or_new(&key)?;
    let within = within(entries_read, stream, is_told);
    stream.add_group(name, StreamGroup::new(last_id, within));
    done(call, "xgroup-create", &key);
    tell(call, entries_read, within);
    call.reply.ok();
    Ok(())
}

/// No more entries were read than there ever were, says who sets it. What a master tells its replica
/// may be more: reads count on from wherever a group was said to stand.
fn within(entries_read: Option<u64>, stream: &Stream, is_told: bool) -> Option<u64> {
    let most = if is_told { u64::MAX } else { stream.log().entries_added() };
    entries_read.map(|read| read.min(most))
}

/// Replicas get the number that holds, where that is not the one that was given.
fn tell(call: &mut Call<'_>, given: Option<u64>, holds: Option<u64>) {
    if given == holds {
        return;
    }
    let number = holds.expect("none was given, so none was changed").to_string();
    let argv = call.argv;
    // `XGROUP CREATE key group id`, then options.
    let is_number = |at: usize| at > 5 && argv[at - 1].eq_ignore_ascii_case(b"ENTRIESREAD");
    let args = argv.iter().enumerate();
    let args = args.map(|(at, arg)| if is_number(at) { number.as_bytes() } else { arg });
    call.effects.propagate(args);
}

fn done(call: &mut Call<'_>, event: &'static str, key: &Key<'_>) {
    call.effects.changed(1);
    call.notify(EventClass::STREAM, event, key.bytes);
}

pub(super) fn xgroup_setid(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (_, entries_read) = parse_options(call, false)?;
    let (key, name, text) = (call.key(2), call.arg(3), call.arg(4));
    let is_told = call.db.policy() == ExpiryPolicy::Ignore;
    let stream = stream(call, &key, true)?;
    let last_id = match text {
        b"$" => Ok(stream.log().last_id()),
        text => parse_open(text, 0),
    };
    let within = within(entries_read, stream, is_told);
    let changed = last_id.map(|last_id| {
        stream.with_group(name, |_, group| {
            (group.last_id, group.entries_read) = (last_id, within);
        });
    });
    if changed.is_err() {
        call.db.unchanged();
    }
    changed?;
    done(call, "xgroup-setid", &key);
    tell(call, entries_read, within);
    call.reply.ok();
    Ok(())
}

pub(super) fn xgroup_destroy(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name) = (call.key(2), call.arg(3));
    let removed = stream(call, &key, false)?.remove_group(name);
    if removed {
        done(call, "xgroup-destroy", &key);
    } else {
        call.db.unchanged();
    }
    call.reply.integer(i64::from(removed));
    Ok(())
}

pub(super) fn xgroup_createconsumer(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name, consumer, now) = (call.key(2), call.arg(3), call.arg(4), call.now());
    let stream = stream(call, &key, true)?;
    let created = stream.with_group(name, |_, group| group.add_consumer(consumer, now));
    let created = created == Some(true);
    if created {
        done(call, "xgroup-createconsumer", &key);
    } else {
        call.db.unchanged();
    }
    call.reply.integer(i64::from(created));
    Ok(())
}

pub(super) fn xgroup_delconsumer(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name, consumer) = (call.key(2), call.arg(3), call.arg(4));
    let stream = stream(call, &key, true)?;
    let pending = stream.with_group(name, |_, group| group.remove_consumer(consumer)).flatten();
    if pending.is_some() {
        done(call, "xgroup-delconsumer", &key);
    } else {
        call.db.unchanged();
    }
    call.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}
