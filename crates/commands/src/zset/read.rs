//! Commands that read single members, all of them, or random ones.

use slotward_keyspace::{Item, SortedSet};
use slotward_resp::format_double;

use crate::call::Call;
use crate::error::CmdError;
use crate::list::reply_item;
use crate::sample::{Sample, distinct};
use crate::scan::{ScanOf, ScanOptions, cursor, reply_found, reply_nothing};
use crate::zset::bounds::{member, members_header};

pub(super) fn zcard(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.zset(&key)?.map_or(0, SortedSet::len);
    call.reply.integer(len as i64);
    Ok(())
}

pub(super) fn zscore(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, wanted) = (call.key(1), call.arg(2));
    match call.db.zset(&key)?.and_then(|set| set.score(wanted)) {
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

pub(super) fn zmscore(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (argv, key) = (call.argv, call.key(1));
    let set = call.db.zset(&key)?;
    call.reply.array(argv.len() - 2);
    for wanted in argv.from(2).iter() {
        match set.and_then(|set| set.score(wanted)) {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    }
    Ok(())
}

pub(super) fn zrank(call: &mut Call<'_>) -> Result<(), CmdError> {
    rank(call, false)
}

pub(super) fn zrevrank(call: &mut Call<'_>) -> Result<(), CmdError> {
    rank(call, true)
}

fn rank(call: &mut Call<'_>, reverse: bool) -> Result<(), CmdError> {
    let with_score = match call.argv.len() {
        3 => false,
        4 if call.is_word(3, "WITHSCORE") => true,
        _ => return Err(CmdError::Syntax),
    };
    let (key, wanted) = (call.key(1), call.arg(2));
    let found = call.db.zset(&key)?.and_then(|set| {
        let (rank, score) = set.rank(wanted)?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => call.reply.null_array(),
        None => call.reply.null(),
        Some((rank, score)) => {
            if with_score {
                call.reply.array(2);
            }
            call.reply.integer(rank as i64);
            if with_score {
                call.reply.double(score);
            }
        }
    }
    Ok(())
}

pub(super) fn zrandmember(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len() == 2 {
        let (key, random) = (call.key(1), call.random.next_u64());
        match call.db.zset(&key)?.and_then(|set| set.random(random)) {
            Some((item, _)) => reply_item(call.reply, item),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let count = call.int(2)?;
    let with_scores = match call.argv.len() {
        3 => false,
        4 if call.is_word(3, "WITHSCORES") => true,
        _ => return Err(CmdError::Syntax),
    };
    let sample = Sample::of_count(count)?;
    let key = call.key(1);
    let Some(set) = call.db.zset(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    match sample {
        Sample::Distinct(count) => {
            let len = set.len();
            // By rank, so that what is drawn costs no copies of members.
            let draw = |random: u64| random.checked_rem(len as u64).map(|rank| rank as usize);
            let ranks = distinct(call.random, len, count, 0..len, draw);
            members_header(call.reply, ranks.len(), with_scores);
            for rank in ranks {
                if let Some((item, score)) = set.iter_from(rank).next() {
                    member(call.reply, item, score, with_scores);
                }
            }
        }
        Sample::Repeating(count) => {
            members_header(call.reply, count, with_scores);
            for _ in 0..count {
                if let Some((item, score)) = set.random(call.random.next_u64()) {
                    member(call.reply, item, score, with_scores);
                }
            }
        }
    }
    Ok(())
}

pub(super) fn zscan(call: &mut Call<'_>) -> Result<(), CmdError> {
    let mut at = cursor(call)?;
    let key = call.key(1);
    if call.db.zset(&key)?.is_none() {
        reply_nothing(call);
        return Ok(());
    }
    let options = ScanOptions::parse(call, ScanOf::Others)?;
    let (mut found, mut seen) = (Vec::new(), 0);
    if let Some(set) = call.db.zset(&key)? {
        let mut visit = |item: Item<'_>, score: f64| {
            seen += 1;
            if item.with_bytes(|name| options.wants(name)) {
                found.extend([item.to_vec(), format_double(score).into_bytes()]);
            }
            seen
        };
        loop {
            let mut enough = false;
            at = set.scan(at, &mut |item, score| enough = visit(item, score) >= options.count);
            if at == 0 || enough {
                break;
            }
        }
    }
    reply_found(call, at, &found);
    Ok(())
}
