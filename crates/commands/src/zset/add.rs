//! `ZADD`, `ZINCRBY`, `ZREM`.

use crate::call::Call;
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::number::parse_double;
use crate::zset::bounds::drop_if;

/// The options of `ZADD`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options {
    /// Only new members.
    nx: bool,
    /// Only members that are there.
    xx: bool,
    /// Only to a greater score.
    gt: bool,
    /// Only to a lower score.
    lt: bool,
    /// Reply the changed ones too.
    ch: bool,
    /// Add to the score.
    incr: bool,
    /// Index of the first score.
    first: usize,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Options, CmdError> {
        let mut options = Options { first: 2, ..Options::default() };
        while let Some(word) = call.argv.get(options.first) {
            let option = match word.to_ascii_uppercase().as_slice() {
                b"NX" => &mut options.nx,
                b"XX" => &mut options.xx,
                b"GT" => &mut options.gt,
                b"LT" => &mut options.lt,
                b"CH" => &mut options.ch,
                b"INCR" => &mut options.incr,
                _ => break,
            };
            *option = true;
            options.first += 1;
        }
        options.check(call.argv.len() - options.first)?;
        Ok(options)
    }

    fn check(&self, rest: usize) -> Result<(), CmdError> {
        if rest == 0 || !rest.is_multiple_of(2) {
            return Err(CmdError::Syntax);
        }
        if self.nx && self.xx {
            return Err(CmdError::text(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if self.nx && (self.gt || self.lt) || self.gt && self.lt {
            return Err(CmdError::text(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.incr && rest > 2 {
            return Err(CmdError::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The score that a member with the score `old` gets, if any.
    fn decide(&self, old: Option<f64>, given: f64) -> Result<Option<f64>, CmdError> {
        let Some(old) = old else { return Ok((!self.xx).then_some(given)) };
        if self.nx {
            return Ok(None);
        }
        let new = if self.incr { old + given } else { given };
        if new.is_nan() {
            return Err(CmdError::ScoreNan);
        }
        let refused = self.gt && new <= old || self.lt && new >= old;
        Ok((!refused).then_some(new))
    }
}

pub(super) fn zadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    // Most calls have no option, and a score does not begin with a letter of one.
    let plain = call.arg(2).first().is_some_and(u8::is_ascii_digit) && call.argv.len() == 4;
    let options =
        if plain { Options { first: 2, ..Options::default() } } else { Options::parse(call)? };
    add(call, options)
}

pub(super) fn zincrby(call: &mut Call<'_>) -> Result<(), CmdError> {
    add(call, Options { incr: true, first: 2, ..Options::default() })
}

/// What became of the members of one call.
#[derive(Default)]
struct Outcome {
    added: u64,
    updated: u64,
    /// The score of the last one, unless it was refused.
    score: Option<f64>,
}

fn add(call: &mut Call<'_>, options: Options) -> Result<(), CmdError> {
    let (argv, limits) = (call.argv, &call.settings.limits);
    let first_score = call.double(options.first)?;
    // All scores are looked at before anything changes.
    for index in (options.first + 2..argv.len()).step_by(2) {
        call.double(index)?;
    }
    let key = call.key(1);
    let found = if options.xx { call.db.zset_mut(&key)? } else { Some(call.db.zset_or_new(&key)?) };
    let Some(set) = found else {
        reply(call, options, &Outcome::default());
        return Ok(());
    };
    let mut outcome = Outcome::default();
    let mut failed = None;
    for index in (options.first..argv.len()).step_by(2) {
        let given = if index == options.first {
            first_score
        } else {
            parse_double(&argv[index]).unwrap_or(first_score)
        };
        set.update(&argv[index + 1], limits, |old| {
            let new = options.decide(old, given).unwrap_or_else(|error| {
                failed = Some(error);
                None
            });
            match (old, new) {
                (None, Some(_)) => outcome.added += 1,
                (Some(old), Some(new)) if old != new => outcome.updated += 1,
                _ => {}
            }
            outcome.score = new;
            new
        });
    }
    let changed = outcome.added + outcome.updated;
    if changed == 0 {
        call.db.unchanged();
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if changed > 0 {
        call.effects.changed(changed);
        let event = if options.incr { "zincr" } else { "zadd" };
        call.notify(EventClass::ZSET, event, key.bytes);
    }
    reply(call, options, &outcome);
    Ok(())
}

fn reply(call: &mut Call<'_>, options: Options, outcome: &Outcome) {
    if options.incr {
        match outcome.score {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    } else {
        let counted = if options.ch { outcome.added + outcome.updated } else { outcome.added };
        call.reply.integer(counted as i64);
    }
}

pub(super) fn zrem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (argv, key) = (call.argv, call.key(1));
    let Some(set) = call.db.zset_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let removed = argv.from(2).iter().filter(|member| set.remove(member).is_some()).count();
    let emptied = set.is_empty();
    if removed > 0 {
        call.effects.changed(removed as u64);
        call.notify(EventClass::ZSET, "zrem", key.bytes);
        drop_if(call, &key, emptied);
    } else {
        call.db.unchanged();
    }
    call.reply.integer(removed as i64);
    Ok(())
}
