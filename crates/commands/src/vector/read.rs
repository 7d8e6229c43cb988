//! What is in a vector set: the commands that only look.

use std::ops::Bound;

use slotward_keyspace::{LexBound, Quantization};
use slotward_resp::Protocol;

use super::similarity;
use crate::call::Call;
use crate::error::CmdError;
use crate::number::parse_integer;
use crate::sample::{Sample, distinct};
use crate::zset::bounds::lex_bound;

pub(super) fn vcard(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let count = call.db.vector_set(&key)?.map_or(0, |set| set.len());
    call.reply.integer(count as i64);
    Ok(())
}

pub(super) fn vdim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let set = call.db.vector_set(&key)?.ok_or(CmdError::text("ERR key does not exist"))?;
    call.reply.integer(set.shape().dim as i64);
    Ok(())
}

pub(super) fn vismember(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let is_member = call.db.vector_set(&key)?.is_some_and(|set| set.find(&call.argv[2]).is_some());
    call.reply.boolean(is_member);
    Ok(())
}

pub(super) fn vgetattr(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let set = call.db.vector_set(&key)?;
    let attributes = set.and_then(|set| set.attributes(set.find(&call.argv[2])?));
    call.reply.bulk_or_null(attributes);
    Ok(())
}

const fn quantization_name(quantization: Quantization) -> &'static str {
    match quantization {
        Quantization::None => "f32",
        Quantization::Int8 => "int8",
        Quantization::Binary => "bin",
    }
}

pub(super) fn vemb(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argv) = (call.key(1), call.argv);
    if !argv.iter().skip(3).all(|word| word.eq_ignore_ascii_case(b"RAW")) {
        return Err(CmdError::text("ERR invalid option"));
    }
    let set = call.db.vector_set(&key)?;
    let reply = &mut *call.reply;
    let Some((set, element)) = set.and_then(|set| Some((set, set.find(&argv[2])?))) else {
        reply.null();
        return Ok(());
    };
    if argv.len() > 3 {
        let range = set.code_range(element);
        reply.array(3 + usize::from(range.is_some()));
        reply.simple(quantization_name(set.shape().quantization));
        reply.bulk(&set.code(element));
        reply.double(set.norm(element).into());
        if let Some(range) = range {
            reply.double(range.into());
        }
        return Ok(());
    }
    let vector = set.vector(element);
    reply.array(vector.len());
    vector.into_iter().for_each(|number| reply.double(number.into()));
    Ok(())
}

pub(super) fn vinfo(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let Some(set) = call.db.vector_set(&key)? else {
        call.reply.null_array();
        return Ok(());
    };
    let shape = set.shape();
    let reply = &mut *call.reply;
    let numbers = [
        ("hnsw-m", shape.links_max as u64),
        ("vector-dim", shape.dim as u64),
        ("projection-input-dim", set.projection().map_or(0, |given| given.input_dim()) as u64),
        ("size", set.len() as u64),
        ("max-level", set.level_max() as u64),
        ("attributes-count", set.attributed_len() as u64),
        ("vset-uid", set.id()),
        ("hnsw-max-node-uid", set.added()),
    ];
    reply.map(1 + numbers.len());
    reply.simple("quant-type");
    reply.simple(quantization_name(shape.quantization));
    for (name, number) in numbers {
        reply.simple(name);
        reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub(super) fn vlinks(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argv) = (call.key(1), call.argv);
    let with_scores = argv.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"WITHSCORES"));
    if argv.len() > 4 || argv.len() == 4 && !with_scores {
        return Err(CmdError::WrongArgCount("vlinks"));
    }
    let set = call.db.vector_set(&key)?;
    let reply = &mut *call.reply;
    let Some((set, element)) = set.and_then(|set| Some((set, set.find(&argv[2])?))) else {
        reply.null();
        return Ok(());
    };
    reply.array(set.level(element) + 1);
    for layer in (0..=set.level(element)).rev() {
        let links = set.links(element, layer);
        if !with_scores {
            reply.array(links.len());
        } else if reply.protocol() == Protocol::Resp3 {
            reply.map(links.len());
        } else {
            reply.array(2 * links.len());
        }
        for link in links {
            reply.bulk(set.name(*link));
            if with_scores {
                reply.double(similarity(set.distance(element, *link)));
            }
        }
    }
    Ok(())
}

pub(super) fn vrandmember(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argv) = (call.key(1), call.argv);
    let sample = match argv.len() {
        2 => None,
        3 => {
            let count = parse_integer(&argv[2]);
            let count = count.ok_or(CmdError::text("ERR COUNT value is not an integer"))?;
            Some(Sample::of_count(count)?)
        }
        _ => return Err(CmdError::WrongArgCount("vrandmember")),
    };
    let set = call.db.vector_set(&key)?;
    let (reply, random) = (&mut *call.reply, &mut *call.random);
    let (Some(set), Some(sample)) = (set, sample) else {
        match (set, sample) {
            (Some(set), None) => reply.bulk(set.name(random.below(set.len() as u64) as u32)),
            (None, None) => reply.null(),
            (_, Some(_)) => reply.array(0),
        }
        return Ok(());
    };
    let len = set.len() as u64;
    let elements = match sample {
        Sample::Distinct(count) => {
            let draw = |number: u64| Some(((u128::from(number) * u128::from(len)) >> 64) as u32);
            distinct(random, set.len(), count, 0..len as u32, draw)
        }
        Sample::Repeating(count) => {
            reply.array(count);
            (0..count).for_each(|_| reply.bulk(set.name(random.below(len) as u32)));
            return Ok(());
        }
    };
    reply.array(elements.len());
    elements.into_iter().for_each(|element| reply.bulk(set.name(element)));
    Ok(())
}

pub(super) fn vrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argv) = (call.key(1), call.argv);
    let (from, to) = (lex_bound(&argv[2])?, lex_bound(&argv[3])?);
    let count = match argv.len() {
        4 => usize::MAX,
        // What is below zero means all.
        5 => usize::try_from(call.int(4)?).unwrap_or(usize::MAX),
        _ => return Err(CmdError::Syntax),
    };
    let Some(set) = call.db.vector_set(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let reply = &mut *call.reply;
    let bound = |text| match text {
        LexBound::Inclusive(text) => Bound::Included(text),
        LexBound::Exclusive(text) => Bound::Excluded(text),
        LexBound::Min | LexBound::Max => Bound::Unbounded,
    };
    let header = reply.deferred_array();
    let mut written = 0;
    // Nothing lies behind the end or before the beginning.
    if from != LexBound::Max && to != LexBound::Min {
        for name in set.range(bound(from), bound(to)).take(count) {
            reply.bulk(name);
            written += 1;
        }
    }
    reply.set_len(header, written);
    Ok(())
}
