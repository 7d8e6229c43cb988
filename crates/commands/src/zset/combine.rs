//! Union, intersection and difference of sorted sets and sets.

use std::borrow::Cow;

use slotward_keyspace::{EncodingLimits, Item, Key, Set, SortedSet, ValueRef};

use crate::call::Call;
use crate::error::CmdError;
use crate::number::{parse_double, parse_integer};
use crate::zset::bounds::{member, members_header};
use crate::zset::range::store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Union,
    Inter,
    Diff,
}

/// How the scores of one member in several sets become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// Every set that has the member counts its weight, whatever the score.
    Count,
}

impl Aggregate {
    fn apply(self, one: f64, other: f64) -> f64 {
        match self {
            // The sum of two opposite infinities is no number; Redis takes zero.
            Aggregate::Sum | Aggregate::Count => zero_if_nan(one + other),
            Aggregate::Min => one.min(other),
            Aggregate::Max => one.max(other),
        }
    }

    /// What a member's score in one set contributes.
    fn weigh(self, score: f64, weight: f64) -> f64 {
        if self == Aggregate::Count { weight } else { zero_if_nan(score * weight) }
    }
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is done with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Reply,
    Count,
    Store,
}

struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Count no further than this; 0 means to the end.
    limit: usize,
}

impl Options {
    /// Parses the options that begin at `index`.
    fn parse(
        call: &Call<'_>,
        mut index: usize,
        inputs: usize,
        how: How,
        for_what: Use,
    ) -> Result<Options, CmdError> {
        let mut options = Options {
            weights: vec![1.0; inputs],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let scores = how != How::Diff && for_what != Use::Count;
        while index < call.argv.len() {
            let left = call.argv.len() - index - 1;
            if scores && left >= inputs && call.is_word(index, "WEIGHTS") {
                for (at, weight) in options.weights.iter_mut().enumerate() {
                    *weight = parse_double(call.arg(index + 1 + at))
                        .ok_or(CmdError::text("ERR weight value is not a float"))?;
                }
                index += inputs;
            } else if scores && left >= 1 && call.is_word(index, "AGGREGATE") {
                options.aggregate = match call.arg(index + 1).to_ascii_uppercase().as_slice() {
                    b"SUM" => Aggregate::Sum,
                    b"MIN" => Aggregate::Min,
                    b"MAX" => Aggregate::Max,
                    b"COUNT" => Aggregate::Count,
                    _ => return Err(CmdError::Syntax),
                };
                index += 1;
            } else if for_what == Use::Reply && call.is_word(index, "WITHSCORES") {
                options.with_scores = true;
            } else if for_what == Use::Count && left >= 1 && call.is_word(index, "LIMIT") {
                let limit = parse_integer(call.arg(index + 1)).filter(|limit| *limit >= 0);
                options.limit =
                    limit.ok_or(CmdError::text("ERR LIMIT can't be negative"))? as usize;
                index += 1;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }
}

/// One of the sets that are combined; a key that does not exist is an empty one.
#[derive(Clone, Copy)]
enum Input<'v> {
    Absent,
    Plain(&'v Set),
    Sorted(&'v SortedSet),
}

impl<'v> Input<'v> {
    fn of(value: Option<ValueRef<'v>>) -> Result<Input<'v>, CmdError> {
        match value {
            None => Ok(Input::Absent),
            Some(ValueRef::Set(set)) => Ok(Input::Plain(set)),
            Some(ValueRef::ZSet(set)) => Ok(Input::Sorted(set)),
            Some(_) => Err(CmdError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match self {
            Input::Absent => 0,
            Input::Plain(set) => set.len(),
            Input::Sorted(set) => set.len(),
        }
    }

    /// The score of a member; all members of a plain set have 1.
    fn score(&self, text: &[u8]) -> Option<f64> {
        match self {
            Input::Absent => None,
            Input::Plain(set) => set.contains(text).then_some(1.0),
            Input::Sorted(set) => set.score(text),
        }
    }

    /// Shows members until `visit` says that it has enough.
    fn visit(&self, visit: &mut dyn FnMut(Item<'_>, f64) -> bool) {
        match self {
            Input::Absent => {}
            Input::Plain(set) => {
                set.iter().all(|item| visit(item, 1.0));
            }
            Input::Sorted(set) => {
                set.iter().all(|(item, score)| visit(item, score));
            }
        }
    }
}

/// The arguments of one of these commands from its `numkeys` on.
fn inputs_end(call: &Call<'_>, numkeys: usize, name: &str) -> Result<usize, CmdError> {
    let count = call.int(numkeys)?;
    if count < 1 {
        let text = format!("ERR at least 1 input key is needed for '{name}' command");
        return Err(CmdError::Other(Cow::Owned(text)));
    }
    let end = usize::try_from(count).ok().and_then(|count| count.checked_add(numkeys + 1));
    end.filter(|end| *end <= call.argv.len()).ok_or(CmdError::Syntax)
}

fn run(call: &mut Call<'_>, how: How, for_what: Use, name: &'static str) -> Result<(), CmdError> {
    let numkeys = if for_what == Use::Store { 2 } else { 1 };
    let end = inputs_end(call, numkeys, name)?;
    let keys: Vec<Key<'_>> = (numkeys + 1..end).map(|index| call.key(index)).collect();
    let limits = &call.settings.limits;
    let parsed = Options::parse(call, end, keys.len(), how, for_what);
    let values = call.db.values(&keys);
    // A key of another type is told before a wrong option, as in Redis.
    let inputs = values.iter().map(|value| Input::of(*value)).collect::<Result<Vec<_>, _>>()?;
    let options = parsed?;
    if for_what == Use::Count {
        call.reply.integer(count_shared(inputs, options.limit) as i64);
        return Ok(());
    }
    let result = combine(inputs, how, &options, limits);
    if for_what == Use::Store {
        let target = call.key(1);
        store(call, &target, result, name);
        return Ok(());
    }
    members_header(call.reply, result.len(), options.with_scores);
    for (item, score) in result.iter() {
        member(call.reply, item, score, options.with_scores);
    }
    Ok(())
}

fn combine(
    inputs: Vec<Input<'_>>,
    how: How,
    options: &Options,
    limits: &EncodingLimits,
) -> SortedSet {
    let mut result = SortedSet::new();
    let mut weighted: Vec<(Input<'_>, f64)> =
        inputs.into_iter().zip(options.weights.iter().copied()).collect();
    if how != How::Diff {
        weighted.sort_by_key(|(input, _)| input.len());
    }
    match how {
        How::Union => {
            for (input, weight) in weighted {
                input.visit(&mut |item, score| {
                    let score = options.aggregate.weigh(score, weight);
                    let join = |old: Option<f64>| {
                        Some(old.map_or(score, |old| options.aggregate.apply(old, score)))
                    };
                    item.with_bytes(|text| result.update(text, limits, join));
                    true
                });
            }
        }
        How::Inter => {
            let Some(((smallest, weight), rest)) = weighted.split_first() else { return result };
            smallest.visit(&mut |item, score| {
                item.with_bytes(|text| {
                    let first = options.aggregate.weigh(score, *weight);
                    let joined = rest.iter().try_fold(first, |joined, (input, weight)| {
                        let score = options.aggregate.weigh(input.score(text)?, *weight);
                        Some(options.aggregate.apply(joined, score))
                    });
                    if let Some(score) = joined {
                        result.insert(text, score, limits);
                    }
                });
                true
            });
        }
        How::Diff => {
            let Some(((first, _), rest)) = weighted.split_first() else { return result };
            first.visit(&mut |item, score| {
                item.with_bytes(|text| {
                    if rest.iter().all(|(input, _)| input.score(text).is_none()) {
                        result.insert(text, score, limits);
                    }
                });
                true
            });
        }
    }
    result
}

fn count_shared(mut inputs: Vec<Input<'_>>, limit: usize) -> usize {
    inputs.sort_by_key(Input::len);
    let Some((smallest, rest)) = inputs.split_first() else { return 0 };
    let mut count = 0;
    smallest.visit(&mut |item, _| {
        let shared = item.with_bytes(|text| rest.iter().all(|input| input.score(text).is_some()));
        count += usize::from(shared);
        count != limit || limit == 0
    });
    count
}

pub(super) fn zunion(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Union, Use::Reply, "zunion")
}

pub(super) fn zinter(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Inter, Use::Reply, "zinter")
}

pub(super) fn zintercard(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Inter, Use::Count, "zintercard")
}

pub(super) fn zdiff(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Diff, Use::Reply, "zdiff")
}

pub(super) fn zunionstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Union, Use::Store, "zunionstore")
}

pub(super) fn zinterstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Inter, Use::Store, "zinterstore")
}

pub(super) fn zdiffstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    run(call, How::Diff, Use::Store, "zdiffstore")
}
