//! `INCREX`: a number that is changed within bounds, and may get an expiry with it.

use slotward_keyspace::{ExpiryPolicy, Key, SetExpiry};
use slotward_resp::Protocol;
use slotward_types::UnixMillis;

use super::options::Expiry;
use super::{EXPIRY_OPTIONS, WRITE_OOM_FAST, string_command};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::{Decimal, parse_integer};
use crate::settings::deletion;

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[Command {
    keys: &[Keys::at(1, Access::READ_UPDATE)],
    args: &[
        Arg::key("key"),
        Arg::one_of(
            "increment",
            &[Arg::double("float").token("BYFLOAT"), Arg::integer("integer").token("BYINT")],
        )
        .optional(),
        Arg::word("saturate", "SATURATE").optional(),
        Arg::string("lowerbound").token("LBOUND").optional(),
        Arg::string("upperbound").token("UBOUND").optional(),
        Arg::one_of(
            "expiration",
            &[
                EXPIRY_OPTIONS[0],
                EXPIRY_OPTIONS[1],
                EXPIRY_OPTIONS[2],
                EXPIRY_OPTIONS[3],
                Arg::word("persist", "PERSIST"),
            ],
        )
        .optional(),
        Arg::word("enx", "ENX").optional(),
    ],
    since: "8.8.0",
    summary: "Adds to the number at the key unless it would leave its bounds, and may set an expiry.",
    run: Run::Data(increx),
    script: "> INCREX n\n1) 1\n2) 1\n> INCREX n BYINT 5 UBOUND 4\n1) 1\n2) 0\n\
        > INCREX n BYINT 5 UBOUND 4 SATURATE\n1) 4\n2) 3\n> INCREX n EX 100 ENX\n1) 5\n2) 1\n\
        > TTL n\n100\n> INCREX n EX 50 ENX\n1) 6\n2) 1\n> TTL n\n100\n> INCREX n BYFLOAT 0.25\n\
        1) 6.25\n2) 0.25\n> INCREX n\n(error) ERR value is not an integer or out of range\n",
    ..string_command("increx", Arity::AtLeast(2), WRITE_OOM_FAST)
}];

/// What is added.
#[derive(Debug, Clone, Copy)]
enum By<'a> {
    Int(&'a [u8]),
    Float(&'a [u8]),
}

/// The arguments, taken apart but not yet read as numbers.
#[derive(Debug, Default, Clone, Copy)]
struct Options<'a> {
    by: Option<By<'a>>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    expiry: Option<Expiry<'a>>,
    persist: bool,
    only_if_none: bool,
}

impl<'a> Options<'a> {
    fn parse(call: &Call<'a>) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        let mut index = 2;
        while index < call.argv.len() {
            let is = |word| call.is_word(index, word);
            let operand = call.argv.get(index + 1);
            let width = if is("SATURATE") && !options.saturate {
                options.saturate = true;
                1
            } else if is("PERSIST") && !options.persist && options.expiry.is_none() {
                options.persist = true;
                1
            } else if is("ENX") && !options.only_if_none {
                options.only_if_none = true;
                1
            } else if let Some(expiry) = Expiry::parse(call, index)
                && options.expiry.is_none()
                && !options.persist
            {
                options.expiry = Some(expiry);
                2
            } else if is("LBOUND") && options.lower.is_none() && operand.is_some() {
                options.lower = operand;
                2
            } else if is("UBOUND") && options.upper.is_none() && operand.is_some() {
                options.upper = operand;
                2
            } else if is("BYINT") && options.by.is_none() && operand.is_some() {
                options.by = operand.map(By::Int);
                2
            } else if is("BYFLOAT") && options.by.is_none() && operand.is_some() {
                options.by = operand.map(By::Float);
                2
            } else {
                return Err(CmdError::Syntax);
            };
            index += width;
        }
        match options {
            Options { only_if_none: true, persist: true, .. } => Err(CmdError::Syntax),
            Options { only_if_none: true, expiry: None, .. } => Err(CmdError::text(
                "ERR ENX flag requires an expiration option (EX, PX, EXAT or PXAT)",
            )),
            _ => Ok(options),
        }
    }
}

/// What came out: how it is stored and shown.
struct Outcome {
    value: Number,
    delta: Number,
    /// Nothing happened, because a bound was in the way.
    refused: bool,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Int(i64),
    Float(Decimal),
}

impl Number {
    fn reply(self, call: &mut Call<'_>) {
        match self {
            Number::Int(number) => call.reply.integer(number),
            Number::Float(number) if call.reply.protocol() == Protocol::Resp3 => {
                call.reply.double(number.to_f64());
            }
            Number::Float(number) => call.reply.bulk(number.to_string().as_bytes()),
        }
    }

    fn text(self) -> String {
        match self {
            Number::Int(number) => number.to_string(),
            Number::Float(number) => number.to_string(),
        }
    }
}

fn increx(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call)?;
    let key = call.key(1);
    let change = match options.by {
        Some(By::Float(increment)) => Change::float(&options, increment)?,
        Some(By::Int(increment)) => Change::int(
            &options,
            parse_integer(increment)
                .ok_or(CmdError::text("ERR Increment is not an integer or out of range"))?,
        )?,
        None => Change::int(&options, 1)?,
    };
    let expires_at = match options.expiry {
        Some(expiry) => Some(expiry.moment(call.now(), "increx")?),
        None => None,
    };
    let outcome = change.apply(call, &key, options.saturate)?;
    if !outcome.refused {
        store(call, &key, &options, expires_at, outcome.value);
    }
    call.reply.array(2);
    outcome.value.reply(call);
    outcome.delta.reply(call);
    Ok(())
}

/// An increment and its bounds.
enum Change {
    Int { increment: i64, lower: i64, upper: i64 },
    Float { increment: Decimal, lower: Decimal, upper: Decimal },
}

const BOUNDS_CROSSED: CmdError = CmdError::text("ERR LBOUND can't be greater than UBOUND");

impl Change {
    fn int(options: &Options<'_>, increment: i64) -> Result<Change, CmdError> {
        let bound = |text: Option<&[u8]>, limit, error| match text {
            Some(text) => parse_integer(text).ok_or(CmdError::text(error)),
            None => Ok(limit),
        };
        let lower = bound(options.lower, i64::MIN, "ERR LBOUND is not an integer or out of range")?;
        let upper = bound(options.upper, i64::MAX, "ERR UBOUND is not an integer or out of range")?;
        if lower > upper {
            return Err(BOUNDS_CROSSED);
        }
        Ok(Change::Int { increment, lower, upper })
    }

    fn float(options: &Options<'_>, increment: &[u8]) -> Result<Change, CmdError> {
        let increment = Decimal::parse(increment)
            .ok_or(CmdError::text("ERR Increment is not a valid float"))?;
        if !increment.is_finite() {
            return Err(CmdError::text("ERR BYFLOAT increment cannot be Infinity"));
        }
        let bound = |text: Option<&[u8]>, limit, error| match text {
            Some(text) => {
                Decimal::parse(text).filter(|bound| bound.is_finite()).ok_or(CmdError::text(error))
            }
            None => Ok(Decimal::Float(limit)),
        };
        let lower = bound(options.lower, f64::MIN, "ERR LBOUND is not a valid float")?;
        let upper = bound(options.upper, f64::MAX, "ERR UBOUND is not a valid float")?;
        if lower.is_more_than(upper) {
            return Err(BOUNDS_CROSSED);
        }
        Ok(Change::Float { increment, lower, upper })
    }

    /// What becomes of the number at the key, absent ones being 0.
    fn apply(
        self,
        call: &mut Call<'_>,
        key: &Key<'_>,
        saturate: bool,
    ) -> Result<Outcome, CmdError> {
        let value = call.db.string(key)?;
        match self {
            Change::Int { increment, lower, upper } => {
                let old =
                    value.map_or(Some(0), |value| value.as_int()).ok_or(CmdError::NotAnInteger)?;
                // Wide enough for every sum.
                let sum = i128::from(old) + i128::from(increment);
                let within = sum.clamp(lower.into(), upper.into());
                if within != sum && !saturate {
                    return Ok(Outcome::refused(Number::Int(old), Number::Int(0)));
                }
                let delta = i64::try_from(within - i128::from(old))
                    .map_err(|_| CmdError::text("ERR applied increment would overflow"))?;
                // Between two bounds that fit.
                let value = Number::Int(within as i64);
                Ok(Outcome { value, delta: Number::Int(delta), refused: false })
            }
            Change::Float { increment, lower, upper } => {
                let old = value
                    .map_or(Some(Decimal::Exact(0)), |value| value.with_bytes(Decimal::parse))
                    .ok_or(CmdError::NotAFloat)?;
                if !old.is_finite() {
                    return Err(CmdError::text("ERR value cannot be Infinity"));
                }
                let zero = Decimal::Exact(0);
                // No sum is one beyond what can be written, on the side it was going to.
                let sum = old.checked_add(increment);
                let too_much =
                    sum.map_or(increment.is_more_than(zero), |sum| sum.is_more_than(upper));
                let too_little =
                    sum.map_or(zero.is_more_than(increment), |sum| lower.is_more_than(sum));
                let (value, delta) = match sum {
                    Some(sum) if !too_much && !too_little => (sum, increment),
                    _ if !saturate => {
                        return Ok(Outcome::refused(Number::Float(old), Number::Float(zero)));
                    }
                    _ => {
                        let bound = if too_much { upper } else { lower };
                        let delta = bound.checked_add(old.negated()).ok_or(CmdError::text(
                            "ERR applied increment would produce Infinity",
                        ))?;
                        (bound, delta)
                    }
                };
                Ok(Outcome {
                    value: Number::Float(value),
                    delta: Number::Float(delta),
                    refused: false,
                })
            }
        }
    }
}

impl Outcome {
    fn refused(value: Number, delta: Number) -> Outcome {
        Outcome { value, delta, refused: true }
    }
}

/// Stores the new number and its expiry, and propagates them as a `SET`.
fn store(
    call: &mut Call<'_>,
    key: &Key<'_>,
    options: &Options<'_>,
    expires_at: Option<UnixMillis>,
    value: Number,
) {
    let has_expiry = matches!(call.db.expires_at(key), Some(Some(_)));
    let expires_at = expires_at.filter(|_| !(options.only_if_none && has_expiry));
    call.effects.changed(1);
    let is_past = expires_at.is_some_and(|at| at <= call.now());
    if is_past && matches!(call.db.policy(), ExpiryPolicy::Delete) {
        call.db.remove(key);
        call.effects.propagate([deletion(call.settings.lazy_free.expire), key.bytes]);
        call.notify(EventClass::GENERIC, "del", key.bytes);
        return;
    }
    let expiry = match expires_at {
        Some(at) => SetExpiry::At(at),
        None if options.persist => SetExpiry::Clear,
        None => SetExpiry::Keep,
    };
    let text = value.text();
    let event = match value {
        Number::Int(number) => {
            call.db.set_integer(key, number, expiry);
            "incrby"
        }
        Number::Float(_) => {
            call.db.set_string(key, text.as_bytes(), expiry);
            "incrbyfloat"
        }
    };
    call.notify(EventClass::STRING, event, key.bytes);
    let set = [b"SET".as_slice(), key.bytes, text.as_bytes()];
    if let Some(at) = expires_at {
        let mut digits = itoa::Buffer::new();
        let at = [b"PXAT".as_slice(), digits.format(at.0).as_bytes()];
        call.effects.propagate(set.into_iter().chain(at));
        call.notify(EventClass::GENERIC, "expire", key.bytes);
    } else if options.persist && has_expiry {
        call.effects.propagate(set);
        call.notify(EventClass::GENERIC, "persist", key.bytes);
    } else {
        call.effects.propagate(set.into_iter().chain([b"KEEPTTL".as_slice()]));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn bounds() {
        let mut node = Node::new(1, 1_700_000_000_000);
        for (why, old, command, want) in [
            ("absent is 0", "", "INCREX n BYINT 5", "5 5"),
            ("below zero", "10", "INCREX n BYINT -25", "-15 -25"),
            ("on the bound", "5", "INCREX n BYINT 5 UBOUND 10", "10 5"),
            ("beyond, refused", "10", "INCREX n BYINT 10 UBOUND 15", "10 0"),
            ("beyond, capped", "10", "INCREX n UBOUND 15 BYINT 10 SATURATE", "15 5"),
            ("outside before, refused", "50", "INCREX n BYINT -5 UBOUND 30", "50 0"),
            ("outside before, comes in", "50", "INCREX n BYINT -25 UBOUND 30", "25 -25"),
            ("outside before, capped", "50", "INCREX n BYINT 5 UBOUND 30 SATURATE", "30 -20"),
            (
                "too large, refused",
                "9223372036854775800",
                "INCREX n BYINT 9",
                "9223372036854775800 0",
            ),
            (
                "too large, capped",
                "9223372036854775800",
                "INCREX n BYINT 9 SATURATE",
                "9223372036854775807 7",
            ),
            ("floats", "1.5", "INCREX n BYFLOAT 0.25", "1.75 0.25"),
            ("float capped", "10", "INCREX n BYFLOAT 100 UBOUND 42.5 SATURATE", "42.5 32.5"),
            ("float refused", "10", "INCREX n BYFLOAT -10 LBOUND 5.5", "10 0"),
            (
                "float outside before",
                "-50.5",
                "INCREX n BYFLOAT -5.5 LBOUND -30 SATURATE",
                "-30 20.5",
            ),
            (
                "float too large",
                "1.7e308",
                "INCREX n BYFLOAT 1.7e308",
                &format!("17{} 0", "0".repeat(307)),
            ),
            ("a refused one is not made", "", "INCREX n BYINT 5 LBOUND 10", "0 0"),
        ] {
            node.run("DEL n");
            if !old.is_empty() {
                node.run(&format!("SET n {old}"));
            }
            let want: Vec<&str> = want.split(' ').collect();
            assert_eq!(node.run(command), format!("1) {}\n2) {}", want[0], want[1]), "{why}");
        }
        assert_eq!(node.run("EXISTS n"), "0");
    }

    #[test]
    fn mistakes() {
        let mut node = Node::new(1, 1_700_000_000_000);
        let syntax = "(error) ERR syntax error";
        for (why, command, want) in [
            ("no such word", "INCREX n FOO", syntax),
            ("two increments", "INCREX n BYINT 1 BYFLOAT 1", syntax),
            ("a bound twice", "INCREX n LBOUND 0 LBOUND 1", syntax),
            ("without a bound", "INCREX n LBOUND", syntax),
            ("two expiries", "INCREX n EX 10 EX 20", syntax),
            ("an expiry and none", "INCREX n PERSIST EX 20", syntax),
            ("ENX and none", "INCREX n ENX PERSIST", syntax),
            (
                "ENX alone",
                "INCREX n ENX",
                "(error) ERR ENX flag requires an expiration option (EX, PX, EXAT or PXAT)",
            ),
            (
                "crossed",
                "INCREX n LBOUND 10 UBOUND 5",
                "(error) ERR LBOUND can't be greater than UBOUND",
            ),
            (
                "crossed floats",
                "INCREX n BYFLOAT 1 LBOUND 1.5 UBOUND 1",
                "(error) ERR LBOUND can't be greater than UBOUND",
            ),
            (
                "a fraction",
                "INCREX n BYINT 1.5",
                "(error) ERR Increment is not an integer or out of range",
            ),
            ("no number", "INCREX n BYFLOAT x", "(error) ERR Increment is not a valid float"),
            (
                "infinite",
                "INCREX n BYFLOAT inf",
                "(error) ERR BYFLOAT increment cannot be Infinity",
            ),
            ("no time", "INCREX n EX 0", "(error) ERR invalid expire time in 'increx' command"),
            ("infinite before", "INCREX i BYFLOAT 1", "(error) ERR value cannot be Infinity"),
            ("a word before", "INCREX w", "(error) ERR value is not an integer or out of range"),
            (
                "a word before, float",
                "INCREX w BYFLOAT 1",
                "(error) ERR value is not a valid float",
            ),
            (
                "the step does not fit",
                "INCREX m SATURATE UBOUND -9223372036854775808",
                "(error) ERR applied increment would overflow",
            ),
        ] {
            node.run("MSET i inf w hello m 9223372036854775800");
            assert_eq!(node.run(command), want, "{why}");
            assert_eq!(node.run("EXISTS n"), "0", "{why}");
        }
    }

    #[test]
    fn the_result_is_propagated() {
        check_stream(
            "as SET",
            &[
                "SET n 10",
                "INCREX n BYINT 5",
                "INCREX n BYFLOAT 0.5",
                "INCREX n BYFLOAT 0.5 PXAT 1700000100000",
                "INCREX n PX 5 ENX",
                "INCREX n PERSIST",
                "INCREX n UBOUND 0",
                "INCREX n EXAT 1",
            ],
            &[
                "SET n 10",
                "SET n 15 KEEPTTL",
                "SET n 15.5 KEEPTTL",
                "SET n 16 PXAT 1700000100000",
                "SET n 17 KEEPTTL",
                "SET n 18",
                "DEL n",
            ],
        );
    }
}
