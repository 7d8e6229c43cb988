//! Commands that read an array.

use std::ops::ControlFlow;

use slotward_keyspace::Array;

use super::{parse_index, reply_element, reply_element_or_null};
use crate::call::Call;
use crate::error::CmdError;
use crate::number::parse_integer;

/// Most places that one `ARGETRANGE` replies.
const RANGE_MAX: u64 = 1_000_000;

pub(super) fn arget(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let array = call.db.array(&key)?;
    let index = parse_index(call.argv.get(2).expect("the arity was checked"))?;
    reply_element_or_null(call.reply, array.and_then(|array| array.get(index)));
    Ok(())
}

pub(super) fn armget(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let array = call.db.array(&key)?;
    let indexes = call.argv.from(2);
    let indexes: Vec<u64> = indexes.iter().map(parse_index).collect::<Result<_, _>>()?;
    call.reply.array(indexes.len());
    for index in indexes {
        reply_element_or_null(call.reply, array.and_then(|array| array.get(index)));
    }
    Ok(())
}

pub(super) fn argetrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, from, to) = (call.key(1), call.index(2)?, call.index(3)?);
    if from.abs_diff(to) >= RANGE_MAX {
        return Err(CmdError::text("ERR range exceeds maximum of 1000000 items"));
    }
    let array = call.db.array(&key)?;
    let count = from.abs_diff(to) + 1;
    call.reply.array(count as usize);
    let mut replied = 0;
    if let Some(array) = array {
        let _ = array.visit(from, to, &mut |index, element| {
            while replied < from.abs_diff(index) {
                call.reply.null();
                replied += 1;
            }
            reply_element(call.reply, element);
            replied += 1;
            ControlFlow::Continue(())
        });
    }
    (replied..count).for_each(|_| call.reply.null());
    Ok(())
}

pub(super) fn arscan(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, from, to) = (call.key(1), call.index(2)?, call.index(3)?);
    let limit = match call.argv.len() {
        4 => u64::MAX,
        6 if call.is_word(4, "LIMIT") => call.limit(5)?,
        6 => return Err(CmdError::Syntax),
        _ => return Err(CmdError::WrongArgCount("arscan")),
    };
    let array = call.db.array(&key)?;
    let at = call.reply.deferred_array();
    let mut found = 0;
    if let Some(array) = array {
        let _ = array.visit(from, to, &mut |index, element| {
            call.reply.array(2);
            call.reply.unsigned(index);
            reply_element(call.reply, element);
            found += 1;
            if found < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    call.reply.set_len(at, found as usize);
    Ok(())
}

pub(super) fn arlen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.array(&key)?.map_or(0, Array::len);
    call.reply.unsigned(len);
    Ok(())
}

pub(super) fn arcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let count = call.db.array(&key)?.map_or(0, Array::count);
    call.reply.unsigned(count);
    Ok(())
}

pub(super) fn arnext(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    match call.db.array(&key)?.map_or(Some(0), Array::next_index) {
        Some(index) => call.reply.unsigned(index),
        None => call.reply.null(),
    }
    Ok(())
}

pub(super) fn arlastitems(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let count = parse_integer(call.arg(2)).ok_or(CmdError::text("ERR invalid COUNT"))?;
    let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else {
        call.reply.array(0);
        return Ok(());
    };
    let newest_first = match call.argv.len() {
        3 => false,
        4 if call.is_word(3, "REV") => true,
        4 => return Err(CmdError::Syntax),
        _ => return Err(CmdError::WrongArgCount("arlastitems")),
    };
    let array = call.db.array(&key)?;
    let Some((array, newest)) = array.and_then(|array| Some((array, array.newest()?))) else {
        call.reply.array(0);
        return Ok(());
    };
    // Backwards from the newest, and from the beginning on to the end, as in a ring.
    let before = |at: &u64| Some(at.checked_sub(1).unwrap_or(array.len() - 1));
    let count = count.min(array.count()) as usize;
    let mut places: Vec<u64> = std::iter::successors(Some(newest), before).take(count).collect();
    if !newest_first {
        places.reverse();
    }
    call.reply.array(count);
    places.into_iter().for_each(|index| reply_element_or_null(call.reply, array.get(index)));
    Ok(())
}

pub(super) fn arinfo(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let full = match call.argv.len() {
        2 => false,
        3 if call.is_word(2, "FULL") => true,
        _ => return Err(CmdError::Syntax),
    };
    let array = call.db.array(&key)?.ok_or(CmdError::NoSuchKey)?;
    let layout = array.layout();
    let numbers = [
        ("count", array.count()),
        ("len", array.len()),
        ("next-insert-index", array.next_index().unwrap_or(0)),
        ("slices", layout.slices),
        // Slices are found in a tree, which has one level and no room to spare.
        ("directory-size", layout.slices),
        ("super-dir-entries", 0),
        ("slice-size", layout.slice_size),
    ];
    call.reply.map(if full { 12 } else { 7 });
    for (name, number) in numbers {
        call.reply.bulk(name.as_bytes());
        call.reply.unsigned(number);
    }
    if !full {
        return Ok(());
    }
    for (name, count) in
        [("dense-slices", layout.dense_slices), ("sparse-slices", layout.sparse_slices)]
    {
        call.reply.bulk(name.as_bytes());
        call.reply.unsigned(count);
    }
    for (name, average) in [
        ("avg-dense-size", layout.dense_size),
        ("avg-dense-fill", layout.dense_fill),
        ("avg-sparse-size", layout.sparse_size),
    ] {
        call.reply.bulk(name.as_bytes());
        call.reply.double(average);
    }
    Ok(())
}
