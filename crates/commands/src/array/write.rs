//! Commands that change an array.

use slotward_keyspace::{Array, Key};

use super::{BAD_INDEX, parse_unsigned};
use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::number::parse_integer;

const INDEX_OVERFLOW: CmdError = CmdError::text("ERR array index overflow");
const INSERT_OVERFLOW: CmdError = CmdError::text("ERR insert index overflow");

/// Refuses what would not fit among the arguments from `at` on, every `step`th of which is a value.
fn check_values(call: &Call<'_>, at: usize, step: usize) -> Result<(), CmdError> {
    let mut values = call.argv.from(at).iter().step_by(step);
    if values.any(|value| value.len() > Array::ELEMENT_BYTES_MAX) {
        return Err(CmdError::StringTooLong);
    }
    Ok(())
}

/// The index of the last of `count` elements from `first` on, if there is such an index.
fn last_of(first: u64, count: usize) -> Option<u64> {
    first.checked_add(count as u64 - 1).filter(|last| *last <= Array::INDEX_MAX)
}

/// Says what so many writes have done.
fn written(call: &mut Call<'_>, key: &Key<'_>, event: &'static str, count: usize) {
    call.effects.changed(count as u64);
    call.notify(EventClass::ARRAY, event, key.bytes);
}

pub(super) fn arset(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, first) = (call.key(1), call.index(2)?);
    let values = call.argv.from(3);
    last_of(first, values.len()).ok_or(INDEX_OVERFLOW)?;
    check_values(call, 3, 1)?;
    let array = call.db.array_or_new(&key)?;
    let added =
        values.iter().zip(first..).filter(|(value, index)| array.set(*index, value)).count();
    written(call, &key, "arset", values.len());
    call.reply.integer(added as i64);
    Ok(())
}

pub(super) fn armset(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len() % 2 == 1 {
        return Err(CmdError::WrongArgCount("armset"));
    }
    let key = call.key(1);
    let indexes = call.argv.from(2).iter().step_by(2).map(super::parse_index);
    let indexes: Vec<u64> = indexes.collect::<Result<_, _>>()?;
    check_values(call, 3, 2)?;
    let array = call.db.array_or_new(&key)?;
    let pairs = indexes.iter().zip(call.argv.from(3).iter().step_by(2));
    let added = pairs.filter(|(index, value)| array.set(**index, value)).count();
    written(call, &key, "armset", indexes.len());
    call.reply.integer(added as i64);
    Ok(())
}

pub(super) fn ardel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, indexes) = (call.key(1), call.indexes(2)?);
    remove(call, &key, "ardel", |array| {
        indexes.iter().filter(|index| array.remove(**index)).count() as u64
    })
}

pub(super) fn ardelrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len() % 2 == 1 {
        return Err(CmdError::WrongArgCount("ardelrange"));
    }
    let (key, bounds) = (call.key(1), call.indexes(2)?);
    remove(call, &key, "ardelrange", |array| {
        let (ranges, _) = bounds.as_chunks::<2>();
        ranges.iter().map(|[a, b]| array.remove_range(*a.min(b), *a.max(b))).sum()
    })
}

fn remove(
    call: &mut Call<'_>,
    key: &Key<'_>,
    event: &'static str,
    remove: impl FnOnce(&mut Array) -> u64,
) -> Result<(), CmdError> {
    let Some(array) = call.db.array_mut(key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let removed = remove(array);
    let emptied = array.is_empty();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(removed);
        call.notify(EventClass::ARRAY, event, key.bytes);
    }
    if emptied {
        call.db.remove_if_empty(key);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
    call.reply.unsigned(removed);
    Ok(())
}

pub(super) fn arinsert(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let values = call.argv.from(2);
    check_values(call, 2, 1)?;
    let first = match call.db.array(&key)? {
        Some(array) => array.next_index().ok_or(INSERT_OVERFLOW)?,
        None => 0,
    };
    let last = last_of(first, values.len()).ok_or(INSERT_OVERFLOW)?;
    let array = call.db.array_or_new(&key)?;
    for (value, index) in values.iter().zip(first..) {
        array.set(index, value);
    }
    array.set_cursor(Some(last));
    written(call, &key, "arinsert", values.len());
    call.reply.unsigned(last);
    Ok(())
}

pub(super) fn arring(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let size = parse_integer(call.arg(2)).ok_or(CmdError::text("ERR invalid size"))?;
    let size = u64::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or(CmdError::text("ERR size must be positive"))?;
    let values = call.argv.from(3);
    check_values(call, 3, 1)?;
    let array = call.db.array_or_new(&key)?;
    array.make_ring(size);
    let mut at = 0;
    for value in values.iter() {
        // The index behind the highest one is a number too.
        at = array.cursor().map_or(0, |cursor| cursor + 1) % size;
        array.set(at, value);
        array.set_cursor(Some(at));
    }
    written(call, &key, "arring", values.len());
    call.reply.unsigned(at);
    Ok(())
}

pub(super) fn arseek(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    // One more than an index can be: then there is no place to append to.
    let next = parse_unsigned(call.arg(2)).ok_or(BAD_INDEX)?;
    let Some(array) = call.db.array_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let cursor = next.checked_sub(1);
    if array.cursor() == cursor {
        call.db.unchanged();
    } else {
        array.set_cursor(cursor);
        written(call, &key, "arseek", 1);
    }
    call.reply.integer(1);
    Ok(())
}
