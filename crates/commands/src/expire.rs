//! When keys expire: `EXPIRE` and its relatives.

use slotward_keyspace::{ExpiryPolicy, Key};
use slotward_types::UnixMillis;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::parse_integer;
use crate::settings::deletion;

/// What a number of time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
}

/// The moment that a client's number names: `number` units after `base` milliseconds.
///
/// # Errors
/// When it is no integer, does not fit, or, if `must_be_positive`, is zero or negative.
pub(crate) fn expiry_moment(
    number: &[u8],
    unit: Unit,
    base: i64,
    must_be_positive: bool,
    command: &'static str,
) -> Result<UnixMillis, CmdError> {
    let number = parse_integer(number).ok_or(CmdError::NotAnInteger)?;
    let invalid = CmdError::InvalidExpireTime(command);
    if must_be_positive && number <= 0 {
        return Err(invalid);
    }
    let millis = match unit {
        Unit::Seconds => number.checked_mul(1000).ok_or(invalid.clone())?,
        Unit::Millis => number,
    };
    millis.checked_add(base).map(UnixMillis).ok_or(invalid)
}

const CONDITION: Arg = Arg::one_of(
    "condition",
    &[Arg::word("nx", "NX"), Arg::word("xx", "XX"), Arg::word("gt", "GT"), Arg::word("lt", "LT")],
)
.optional()
.since("7.0.0");

const HISTORY: &[(&str, &str)] = &[("7.0.0", "NX, XX, GT and LT.")];

const CHANGED_KEY: &[Keys] = &[Keys::at(1, Access::CHANGE)];
const PEEKED_KEY: &[Keys] = &[Keys::at(1, Access::READ)];
const ONE_KEY: &[Arg] = &[Arg::key("key")];

const fn setter(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    args: &'static [Arg],
    run: Run,
    script: &'static str,
) -> Command {
    Command {
        name,
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: CHANGED_KEY,
        args,
        since,
        summary,
        history: HISTORY,
        run,
        script,
        ..Command::BLANK
    }
}

const fn getter(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    tips: &'static [&'static str],
    run: Run,
    script: &'static str,
) -> Command {
    Command {
        name,
        arity: Arity::Exactly(2),
        flags: Flags::READ.and(Flags::FAST),
        keys: PEEKED_KEY,
        args: ONE_KEY,
        since,
        summary,
        tips,
        run,
        script,
        ..Command::BLANK
    }
}

const CHANGING: &[&str] = &["nondeterministic_output"];

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    setter(
        "expire",
        "1.0.0",
        "Lets the key expire after a number of seconds.",
        &[Arg::key("key"), Arg::integer("seconds"), CONDITION],
        Run::Data(expire),
        "> EXPIRE absent 10\n0\n> SET k v\nOK\n> EXPIRE k 10\n1\n> TTL k\n10\n> EXPIRE k 20 NX\n0\n\
        > EXPIRE k 20 XX\n1\n> EXPIRE k 10 GT\n0\n> EXPIRE k 10 LT\n1\n> TTL k\n10\n\
        > EXPIRE k 5 NX XX\n\
        (error) ERR NX and XX, GT or LT options at the same time are not compatible\n\
        > EXPIRE k 5 GT LT\n\
        (error) ERR GT and LT options at the same time are not compatible\n\
        > EXPIRE k 5 ZZ\n(error) ERR Unsupported option ZZ\n\
        > EXPIRE k 9223372036854775807\n(error) ERR invalid expire time in 'expire' command\n\
        > EXPIRE k -1\n1\n> EXISTS k\n0\n",
    ),
    setter(
        "pexpire",
        "2.6.0",
        "Lets the key expire after a number of milliseconds.",
        &[Arg::key("key"), Arg::integer("milliseconds"), CONDITION],
        Run::Data(pexpire),
        "> SET k v\nOK\n> PEXPIRE k 1500\n1\n> PTTL k\n1500\n> TTL k\n2\n",
    ),
    setter(
        "expireat",
        "1.2.0",
        "Lets the key expire at a moment given in seconds since 1970.",
        &[Arg::key("key"), Arg::unix_time("unix-time-seconds"), CONDITION],
        Run::Data(expireat),
        "> SET k v\nOK\n> EXPIREAT k 33177117420\n1\n> EXPIRETIME k\n33177117420\n\
        > EXPIREAT k 1\n1\n> EXISTS k\n0\n",
    ),
    setter(
        "pexpireat",
        "2.6.0",
        "Lets the key expire at a moment given in milliseconds since 1970.",
        &[Arg::key("key"), Arg::unix_time("unix-time-milliseconds"), CONDITION],
        Run::Data(pexpireat),
        "> SET k v\nOK\n> PEXPIREAT k 33177117420000\n1\n> PEXPIRETIME k\n33177117420000\n",
    ),
    getter(
        "ttl",
        "1.0.0",
        "Tells after how many seconds the key expires: -1 never, -2 no such key.",
        CHANGING,
        Run::Data(ttl),
        "> SET k v\nOK\n> TTL k\n-1\n> EXPIRE k 100\n1\n> TTL k\n100\n> TTL absent\n-2\n",
    ),
    getter(
        "pttl",
        "2.6.0",
        "Tells after how many milliseconds the key expires: -1 never, -2 no such key.",
        CHANGING,
        Run::Data(pttl),
        "> SET k v PX 100000\nOK\n> PTTL k\n100000\n> PTTL absent\n-2\n",
    ),
    getter(
        "expiretime",
        "7.0.0",
        "Tells when the key expires, in seconds since 1970: -1 never, -2 no such key.",
        &[],
        Run::Data(expiretime),
        "> SET k v EXAT 33177117420\nOK\n> EXPIRETIME k\n33177117420\n> PERSIST k\n1\n\
        > EXPIRETIME k\n-1\n> EXPIRETIME absent\n-2\n",
    ),
    getter(
        "pexpiretime",
        "7.0.0",
        "Tells when the key expires, in milliseconds since 1970: -1 never, -2 no such key.",
        &[],
        Run::Data(pexpiretime),
        "> SET k v PXAT 33177117420001\nOK\n> PEXPIRETIME k\n33177117420001\n",
    ),
    Command {
        name: "persist",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[Arg::key("key")],
        since: "2.2.0",
        summary: "Lets the key live on without an end.",
        run: Run::Data(persist),
        script: "> SET k v EX 100\nOK\n> PERSIST k\n1\n> TTL k\n-1\n> PERSIST k\n0\n\
            > PERSIST absent\n0\n",
        group: Group::Generic,
        ..Command::BLANK
    },
];

fn expire(call: &mut Call<'_>) -> Result<(), CmdError> {
    let base = call.now().0;
    set_expiry(call, Unit::Seconds, base, "expire")
}

fn pexpire(call: &mut Call<'_>) -> Result<(), CmdError> {
    let base = call.now().0;
    set_expiry(call, Unit::Millis, base, "pexpire")
}

fn expireat(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_expiry(call, Unit::Seconds, 0, "expireat")
}

fn pexpireat(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_expiry(call, Unit::Millis, 0, "pexpireat")
}

/// When a new expiry takes effect.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Conditions {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(call: &Call<'_>) -> Result<Conditions, CmdError> {
        let mut conditions = Conditions::default();
        for index in 3..call.argv.len() {
            let flag = match call.arg(index).to_ascii_uppercase().as_slice() {
                b"NX" => &mut conditions.if_none,
                b"XX" => &mut conditions.if_some,
                b"GT" => &mut conditions.if_later,
                b"LT" => &mut conditions.if_earlier,
                _ => {
                    let word = String::from_utf8_lossy(call.arg(index)).into_owned();
                    return Err(CmdError::Other(format!("ERR Unsupported option {word}").into()));
                }
            };
            *flag = true;
        }
        if conditions.if_none
            && (conditions.if_some || conditions.if_later || conditions.if_earlier)
        {
            return Err(CmdError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.if_later && conditions.if_earlier {
            return Err(CmdError::text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// The one condition that this word is.
    pub(crate) fn of_word(word: &[u8]) -> Option<Conditions> {
        let mut conditions = Conditions::default();
        let flag = match word.to_ascii_uppercase().as_slice() {
            b"NX" => &mut conditions.if_none,
            b"XX" => &mut conditions.if_some,
            b"GT" => &mut conditions.if_later,
            b"LT" => &mut conditions.if_earlier,
            _ => return None,
        };
        *flag = true;
        Some(conditions)
    }

    /// A key without an expiry counts as one that expires infinitely late.
    pub(crate) fn allow(self, old: Option<UnixMillis>, new: UnixMillis) -> bool {
        !(self.if_none && old.is_some()
            || self.if_some && old.is_none()
            || self.if_later && old.is_none_or(|old| new <= old)
            || self.if_earlier && old.is_some_and(|old| new >= old))
    }
}

fn set_expiry(
    call: &mut Call<'_>,
    unit: Unit,
    base: i64,
    name: &'static str,
) -> Result<(), CmdError> {
    let conditions = Conditions::parse(call)?;
    let at = expiry_moment(call.arg(2), unit, base, false, name)?;
    let key = call.key(1);
    let changes = match call.db.expires_at(&key) {
        Some(old) => conditions.allow(old, at),
        None => false,
    };
    if changes {
        apply_expiry(call, &key, at);
    }
    call.reply.integer(i64::from(changes));
    Ok(())
}

fn apply_expiry(call: &mut Call<'_>, key: &Key<'_>, at: UnixMillis) {
    call.effects.changed(1);
    // Only a master removes keys whose time has come; whoever applies its stream is told to.
    if at <= call.now() && matches!(call.db.policy(), ExpiryPolicy::Delete) {
        call.db.remove(key);
        call.effects.propagate([deletion(call.settings.lazy_free.expire), key.bytes]);
        call.notify(EventClass::GENERIC, "del", key.bytes);
        return;
    }
    call.db.set_expires_at(key, Some(at));
    let mut digits = itoa::Buffer::new();
    call.effects.propagate([b"PEXPIREAT", key.bytes, digits.format(at.0).as_bytes()]);
    call.notify(EventClass::GENERIC, "expire", key.bytes);
}

/// Replies what `show` makes of the moment, or -1 without one, -2 without a key.
fn reply_expiry(call: &mut Call<'_>, show: impl Fn(i64, i64) -> i64) -> Result<(), CmdError> {
    let key = call.key(1);
    let now = call.now().0;
    let number = match call.db.expires_at(&key) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(at.0, now),
    };
    call.reply.integer(number);
    Ok(())
}

fn ttl(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_expiry(call, |at, now| (at.saturating_sub(now).max(0).saturating_add(500)) / 1000)
}

fn pttl(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_expiry(call, |at, now| at.saturating_sub(now).max(0))
}

fn expiretime(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_expiry(call, |at, _| at.saturating_add(500) / 1000)
}

fn pexpiretime(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_expiry(call, |at, _| at)
}

fn persist(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let had_expiry = matches!(call.db.expires_at(&key), Some(Some(_)));
    if had_expiry {
        call.db.set_expires_at(&key, None);
        call.effects.changed(1);
        call.notify(EventClass::GENERIC, "persist", key.bytes);
    }
    call.reply.integer(i64::from(had_expiry));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_do_not_fit_are_refused() {
        for (why, number, unit, base, positive, want) in [
            ("seconds", "10", Unit::Seconds, 5, true, Some(10_005)),
            ("milliseconds", "10", Unit::Millis, 5, true, Some(15)),
            ("zero", "0", Unit::Millis, 5, true, None),
            ("in the past is legal for EXPIRE", "-1", Unit::Seconds, 5, false, Some(-995)),
            ("seconds too many", "9223372036854776", Unit::Seconds, 0, false, None),
            ("sum too large", "9223372036854775807", Unit::Millis, 1, false, None),
        ] {
            let moment = expiry_moment(number.as_bytes(), unit, base, positive, "x");
            assert_eq!(moment.ok(), want.map(UnixMillis), "{why}");
        }
    }

    #[test]
    fn no_expiry_is_later_than_any() {
        let later = Conditions { if_later: true, ..Conditions::default() };
        let earlier = Conditions { if_earlier: true, ..Conditions::default() };
        assert!(!later.allow(None, UnixMillis(5)));
        assert!(earlier.allow(None, UnixMillis(5)));
        assert!(!later.allow(Some(UnixMillis(5)), UnixMillis(5)));
        assert!(!earlier.allow(Some(UnixMillis(5)), UnixMillis(5)));
    }
}
