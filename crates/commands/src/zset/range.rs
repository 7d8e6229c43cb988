//! Ranges by rank, by score, by text: read, counted, stored, removed.

use std::ops::Range;

use slotward_keyspace::{LexBound, ScoreBound, SortedSet, Value};

use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::list::range_of;
use crate::zset::bounds::{drop_if, lex_bound, member, members_header, score_bound};

/// By what a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    reverse: Option<bool>,
    stores: bool,
}

/// The ends of a range.
#[derive(Clone, Copy)]
enum Ends<'a> {
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Texts(LexBound<'a>, LexBound<'a>),
}

/// A range as its arguments say.
struct Query<'a> {
    ends: Ends<'a>,
    reverse: bool,
    offset: i64,
    limit: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Parses `start stop [options]` from the argument at `first` on.
    fn parse(call: &Call<'a>, first: usize, form: Form) -> Result<Query<'a>, CmdError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut index = first + 2;
        while index < call.argv.len() {
            let left = call.argv.len() - index - 1;
            if !form.stores && call.is_word(index, "WITHSCORES") {
                with_scores = true;
            } else if left >= 2 && call.is_word(index, "LIMIT") {
                (offset, limit) = (call.int(index + 1)?, call.int(index + 2)?);
                index += 2;
            } else if reverse.is_none() && call.is_word(index, "REV") {
                reverse = Some(true);
            } else if by.is_none() && call.is_word(index, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && call.is_word(index, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CmdError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CmdError::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // Backwards, the higher end is written first.
        let swapped = reverse && by != By::Rank;
        let (low, high) = if swapped { (first + 1, first) } else { (first, first + 1) };
        let ends = Ends::parse(call, by, low, high)?;
        Ok(Query { ends, reverse, offset, limit, with_scores })
    }

    /// The ranks of the range within `set`, the limit taken into account.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let ranks = match self.ends {
            // Ranks have no limit: one of -1 is let pass and its offset does not count.
            Ends::Ranks(start, stop) => {
                let (first, end) = range_of(start, stop, set.len());
                return if self.reverse { set.len() - end..set.len() - first } else { first..end };
            }
            ends => ends.ranks(set),
        };
        // A negative offset means nothing at all, a negative limit everything.
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if self.reverse {
            let end = ranks.end.saturating_sub(offset).max(ranks.start);
            end.saturating_sub(limit).max(ranks.start)..end
        } else {
            let start = ranks.start.saturating_add(offset).min(ranks.end);
            start..start.saturating_add(limit).min(ranks.end)
        }
    }
}

impl<'a> Ends<'a> {
    fn parse(call: &Call<'a>, by: By, low: usize, high: usize) -> Result<Ends<'a>, CmdError> {
        let (low_text, high_text) = (call.arg(low), call.arg(high));
        Ok(match by {
            By::Rank => Ends::Ranks(call.int(low)?, call.int(high)?),
            By::Score => Ends::Scores(score_bound(low_text)?, score_bound(high_text)?),
            By::Lex => Ends::Texts(lex_bound(low_text)?, lex_bound(high_text)?),
        })
    }

    fn ranks(self, set: &SortedSet) -> Range<usize> {
        match self {
            Ends::Ranks(start, stop) => {
                let (first, end) = range_of(start, stop, set.len());
                first..end
            }
            Ends::Scores(min, max) => set.ranks_by_score(min, max),
            Ends::Texts(min, max) => set.ranks_by_lex(min, max),
        }
    }
}

fn reply_range(call: &mut Call<'_>, by: Option<By>, reverse: Option<bool>) -> Result<(), CmdError> {
    let query = Query::parse(call, 2, Form { by, reverse, stores: false })?;
    let key = call.key(1);
    let Some(set) = call.db.zset(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(set);
    let (count, with_scores) = (ranks.len(), query.with_scores);
    members_header(call.reply, count, with_scores);
    let reply = &mut *call.reply;
    if query.reverse {
        let items = set.iter_back_from(ranks.end).take(count);
        items.for_each(|(item, score)| member(reply, item, score, with_scores));
    } else {
        let items = set.iter_from(ranks.start).take(count);
        items.for_each(|(item, score)| member(reply, item, score, with_scores));
    }
    Ok(())
}

pub(super) fn zrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, None, None)
}

pub(super) fn zrevrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_range(call, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(call: &mut Call<'_>) -> Result<(), CmdError> {
    let query = Query::parse(call, 3, Form { by: None, reverse: None, stores: true })?;
    let (target, source) = (call.key(1), call.key(2));
    let limits = &call.settings.limits;
    let mut stored = SortedSet::new();
    if let Some(set) = call.db.zset(&source)? {
        let ranks = query.ranks(set);
        for (item, score) in set.iter_from(ranks.start).take(ranks.len()) {
            item.with_bytes(|text| stored.insert(text, score, limits));
        }
    }
    store(call, &target, stored, "zrangestore");
    Ok(())
}

/// Puts a result in the place of what the key held, or removes the key if the result is empty;
/// replies its size.
pub(super) fn store(
    call: &mut Call<'_>,
    target: &slotward_keyspace::Key<'_>,
    stored: SortedSet,
    event: &'static str,
) {
    let len = stored.len();
    if len > 0 {
        call.db.insert(target, Value::ZSet(stored), None);
        call.effects.changed(1);
        call.notify(EventClass::ZSET, event, target.bytes);
    } else if call.db.remove(target) {
        call.effects.changed(1);
        call.notify(EventClass::GENERIC, "del", target.bytes);
    }
    call.reply.integer(len as i64);
}

fn count(call: &mut Call<'_>, by: By) -> Result<(), CmdError> {
    let ends = Ends::parse(call, by, 2, 3)?;
    let key = call.key(1);
    let count = call.db.zset(&key)?.map_or(0, |set| ends.ranks(set).len());
    call.reply.integer(count as i64);
    Ok(())
}

pub(super) fn zcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    count(call, By::Score)
}

pub(super) fn zlexcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    count(call, By::Lex)
}

fn remove(call: &mut Call<'_>, by: By, event: &'static str) -> Result<(), CmdError> {
    let ends = Ends::parse(call, by, 2, 3)?;
    let key = call.key(1);
    let ranks = call.db.zset(&key)?.map_or(0..0, |set| ends.ranks(set));
    let count = ranks.len();
    if count > 0
        && let Some(set) = call.db.zset_mut(&key)?
    {
        set.remove_ranks(ranks);
        let emptied = set.is_empty();
        call.effects.changed(count as u64);
        call.notify(EventClass::ZSET, event, key.bytes);
        drop_if(call, &key, emptied);
    }
    call.reply.integer(count as i64);
    Ok(())
}

pub(super) fn zremrangebyrank(call: &mut Call<'_>) -> Result<(), CmdError> {
    remove(call, By::Rank, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(call: &mut Call<'_>) -> Result<(), CmdError> {
    remove(call, By::Score, "zremrangebyscore")
}

pub(super) fn zremrangebylex(call: &mut Call<'_>) -> Result<(), CmdError> {
    remove(call, By::Lex, "zremrangebylex")
}
