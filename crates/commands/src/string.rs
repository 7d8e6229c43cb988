//! The string family: what a key holds is bytes, or a number.

pub(crate) mod compare;
pub(crate) mod counter;
pub(crate) mod many;
mod options;

use std::ops::RangeInclusive;

use slotward_keyspace::{Key, SetExpiry, Str};
use slotward_resp::Reply;
use slotward_types::UnixMillis;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Deprecated, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::expire::{Unit, expiry_moment};
use crate::keys::{Access, Keys};
use crate::lcs;
use crate::number::Decimal;
use crate::settings::deletion;
use options::{Condition, Options, OptionsOf};

const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(Flags::FAST);

const EXPIRY_OPTIONS: [Arg; 4] = [
    Arg::integer("seconds").token("EX"),
    Arg::integer("milliseconds").token("PX"),
    Arg::unix_time("unix-time-seconds").token("EXAT"),
    Arg::unix_time("unix-time-milliseconds").token("PXAT"),
];

const KEY_VALUE: &[Arg] = &[Arg::key("key"), Arg::string("value")];

const fn string_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::String, ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key")],
        since: "1.0.0",
        summary: "Returns the string at the key.",
        run: Run::Data(get),
        script: "> SET motd hello\nOK\n> GET motd\nhello\n> GET absent\n(nil)\n\
            > HSET h f v\n1\n> GET h\n\
            (error) WRONGTYPE Operation against a key holding the wrong kind of value\n",
        ..string_command("get", Arity::Exactly(2), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE.and(Access::VARIABLE))],
        args: &[
            Arg::key("key"),
            Arg::string("value"),
            Arg::one_of(
                "condition",
                &[
                    Arg::word("nx", "NX"),
                    Arg::word("xx", "XX"),
                    compare::CONDITIONS[0].since("8.4.0"),
                    compare::CONDITIONS[1].since("8.4.0"),
                    compare::CONDITIONS[2].since("8.4.0"),
                    compare::CONDITIONS[3].since("8.4.0"),
                ],
            )
            .optional()
            .since("2.6.12"),
            Arg::word("get", "GET").optional().since("6.2.0"),
            Arg::one_of(
                "expiration",
                &[
                    EXPIRY_OPTIONS[0],
                    EXPIRY_OPTIONS[1],
                    EXPIRY_OPTIONS[2],
                    EXPIRY_OPTIONS[3],
                    Arg::word("keepttl", "KEEPTTL").since("6.0.0"),
                ],
            )
            .optional(),
        ],
        since: "1.0.0",
        summary: "Makes the key hold a string, whatever it held before.",
        history: &[
            ("2.6.12", "EX, PX, NX and XX."),
            ("6.0.0", "KEEPTTL."),
            ("6.2.0", "GET, EXAT and PXAT."),
            ("7.0.0", "GET together with NX."),
            ("8.4.0", "IFEQ, IFNE, IFDEQ and IFDNE."),
        ],
        run: Run::Data(set),
        script: "> SET k 1\nOK\n> SET k 2 NX\n(nil)\n> SET k 2 XX GET\n1\n> SET k 3 EX 100\nOK\n\
            > TTL k\n100\n> SET k 4 KEEPTTL\nOK\n> TTL k\n100\n> SET k 5\nOK\n> TTL k\n-1\n\
            > SET k 6 EX 0\n(error) ERR invalid expire time in 'set' command\n\
            > SET k 6 EX x\n(error) ERR value is not an integer or out of range\n\
            > SET k 6 NX XX\n(error) ERR syntax error\n> SET new v NX GET\n(nil)\n> GET new\nv\n\
            > SET new w IFEQ x\n(nil)\n> SET new w IFEQ v\nOK\n> SET absent v IFEQ v\n(nil)\n\
            > SET absent v IFNE v\nOK\n",
        ..string_command("set", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: KEY_VALUE,
        since: "1.0.0",
        summary: "Makes the key hold a string and returns the one before.",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`SET` with `GET`" }),
        run: Run::Data(getset),
        script: "> GETSET k a\n(nil)\n> GETSET k b\na\n",
        ..string_command("getset", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::POP)],
        args: &[Arg::key("key")],
        since: "6.2.0",
        summary: "Returns the string at the key and removes the key.",
        run: Run::Data(getdel),
        script: "> SET k a\nOK\n> GETDEL k\na\n> GETDEL k\n(nil)\n",
        ..string_command("getdel", Arity::Exactly(2), Flags::WRITE.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[
            Arg::key("key"),
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
        ],
        since: "6.2.0",
        summary: "Returns the string at the key and changes when the key expires.",
        run: Run::Data(getex),
        script: "> SET k a\nOK\n> GETEX k EX 50\na\n> TTL k\n50\n> GETEX k PERSIST\na\n\
            > TTL k\n-1\n> GETEX k PXAT 1\na\n> GET k\n(nil)\n> GETEX k KEEPTTL\n\
            (error) ERR syntax error\n",
        ..string_command("getex", Arity::AtLeast(2), Flags::WRITE.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::OW.and(Access::INSERT))],
        args: KEY_VALUE,
        since: "1.0.0",
        summary: "Makes the key hold a string if there is no such key.",
        deprecated: Some(Deprecated { since: "2.6.12", replaced_by: "`SET` with `NX`" }),
        run: Run::Data(setnx),
        script: "> SETNX k a\n1\n> SETNX k b\n0\n> GET k\na\n",
        ..string_command("setnx", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::OVERWRITE)],
        args: &[Arg::key("key"), Arg::integer("seconds"), Arg::string("value")],
        since: "2.0.0",
        summary: "Makes the key hold a string for a number of seconds.",
        deprecated: Some(Deprecated { since: "2.6.12", replaced_by: "`SET` with `EX`" }),
        run: Run::Data(setex),
        script: "> SETEX k 10 a\nOK\n> TTL k\n10\n> SETEX k 0 a\n\
            (error) ERR invalid expire time in 'setex' command\n",
        ..string_command("setex", Arity::Exactly(4), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::OVERWRITE)],
        args: &[Arg::key("key"), Arg::integer("milliseconds"), Arg::string("value")],
        since: "2.6.0",
        summary: "Makes the key hold a string for a number of milliseconds.",
        deprecated: Some(Deprecated { since: "2.6.12", replaced_by: "`SET` with `PX`" }),
        run: Run::Data(psetex),
        script: "> PSETEX k 10000 a\nOK\n> PTTL k\n10000\n> PSETEX k -1 a\n\
            (error) ERR invalid expire time in 'psetex' command\n",
        ..string_command("psetex", Arity::Exactly(4), WRITE_OOM)
    },
    Command {
        keys: &[Keys::range(1, -1, 2, Access::OVERWRITE)],
        args: &[Arg::block("data", KEY_VALUE).multiple()],
        since: "1.0.1",
        summary: "Makes several keys hold strings, at one moment.",
        complexity: "O(N) with the number of keys.",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        run: Run::Data(mset),
        script: "> MSET a 1 b 2\nOK\n> MGET a b\n1) 1\n2) 2\n> MSET a 1 b\n\
            (error) ERR wrong number of arguments for 'mset' command\n",
        ..string_command("mset", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::range(1, -1, 2, Access::OW.and(Access::INSERT))],
        args: &[Arg::block("data", KEY_VALUE).multiple()],
        since: "1.0.1",
        summary: "Makes several keys hold strings if none of them exists.",
        complexity: "O(N) with the number of keys.",
        run: Run::Data(msetnx),
        script: "> MSETNX a 1 b 2\n1\n> MSETNX b 3 c 4\n0\n> MGET a b c\n1) 1\n2) 2\n3) (nil)\n",
        ..string_command("msetnx", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::from(1, Access::READ)],
        args: &[Arg::key("key").multiple()],
        since: "1.0.0",
        summary: "Returns the strings at several keys; what is no string counts as absent.",
        complexity: "O(N) with the number of keys.",
        tips: &["request_policy:multi_shard"],
        run: Run::Data(mget),
        script: "> MSET a 1 b two\nOK\n> HSET h f v\n1\n> MGET a b h none\n\
            1) 1\n2) two\n3) (nil)\n4) (nil)\n",
        ..string_command("mget", Arity::AtLeast(2), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_VALUE,
        since: "2.0.0",
        summary: "Puts bytes behind the string at the key and tells its new length.",
        complexity: "O(1) amortised.",
        run: Run::Data(append),
        script: "> APPEND k hello\n5\n> APPEND k _there\n11\n> GET k\nhello_there\n",
        ..string_command("append", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: &[Arg::key("key")],
        since: "2.2.0",
        summary: "Tells how many bytes the string at the key holds.",
        run: Run::Data(strlen),
        script: "> SET motd hello\nOK\n> STRLEN motd\n5\n> STRLEN absent\n0\n> SET n 1234\nOK\n\
            > STRLEN n\n4\n",
        ..string_command("strlen", Arity::Exactly(2), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key")],
        since: "1.0.0",
        summary: "Adds one to the number at the key.",
        run: Run::Data(incr),
        script: "> INCR n\n1\n> INCR n\n2\n> SET n x\nOK\n> INCR n\n\
            (error) ERR value is not an integer or out of range\n\
            > SET n 9223372036854775807\nOK\n> INCR n\n\
            (error) ERR increment or decrement would overflow\n",
        ..string_command("incr", Arity::Exactly(2), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key")],
        since: "1.0.0",
        summary: "Takes one from the number at the key.",
        run: Run::Data(decr),
        script: "> DECR n\n-1\n> SET n 10 EX 100\nOK\n> DECR n\n9\n> TTL n\n100\n",
        ..string_command("decr", Arity::Exactly(2), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::integer("increment")],
        since: "1.0.0",
        summary: "Adds to the number at the key.",
        run: Run::Data(incrby),
        script: "> INCRBY n 5\n5\n> INCRBY n -7\n-2\n> INCRBY n x\n\
            (error) ERR value is not an integer or out of range\n",
        ..string_command("incrby", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::integer("decrement")],
        since: "1.0.0",
        summary: "Takes from the number at the key.",
        run: Run::Data(decrby),
        script: "> DECRBY n 5\n-5\n> DECRBY n -9223372036854775808\n\
            (error) ERR decrement would overflow\n",
        ..string_command("decrby", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::double("increment")],
        since: "2.6.0",
        summary: "Adds a fraction to the number at the key.",
        run: Run::Data(incrbyfloat),
        script: "> SET n 10.50\nOK\n> INCRBYFLOAT n 0.1\n10.6\n> INCRBYFLOAT n -10.6\n0\n\
            > INCRBYFLOAT n 5.0e3\n5000\n> INCRBYFLOAT n x\n\
            (error) ERR value is not a valid float\n> INCRBYFLOAT n inf\n\
            (error) ERR increment would produce NaN or Infinity\n",
        ..string_command("incrbyfloat", Arity::Exactly(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[Arg::key("key"), Arg::integer("offset"), Arg::string("value")],
        since: "2.2.0",
        summary: "Overwrites a part of the string at the key, which grows with zeros if need be.",
        complexity: "O(N) with the length of the value.",
        run: Run::Data(setrange),
        script: "> SET k hello_world\nOK\n> SETRANGE k 6 redis\n11\n> GET k\nhello_redis\n\
            > SETRANGE new 2 x\n3\n> GET new\n\\x00\\x00x\n> SETRANGE none 5 \"\"\n0\n\
            > EXISTS none\n0\n> SETRANGE k -1 x\n(error) ERR offset is out of range\n",
        ..string_command("setrange", Arity::Exactly(4), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("start"), Arg::integer("end")],
        since: "2.4.0",
        summary: "Returns a part of the string at the key; negative positions count from its end.",
        complexity: "O(N) with the length returned.",
        run: Run::Data(getrange),
        script: "> SET k hello\nOK\n> GETRANGE k 1 3\nell\n> GETRANGE k -3 -1\nllo\n\
            > GETRANGE k 10 20\n\"\"\n> GETRANGE absent 0 -1\n\"\"\n",
        ..string_command("getrange", Arity::Exactly(4), Flags::READ)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("start"), Arg::integer("end")],
        since: "1.0.0",
        summary: "Returns a part of the string at the key.",
        complexity: "O(N) with the length returned.",
        deprecated: Some(Deprecated { since: "2.0.0", replaced_by: "`GETRANGE`" }),
        run: Run::Data(getrange),
        script: "> SET n 12345\nOK\n> SUBSTR n 0 1\n12\n",
        ..string_command("substr", Arity::Exactly(4), Flags::READ)
    },
    Command {
        keys: &[Keys::range(1, 1, 1, Access::READ)],
        args: &[
            Arg::key("key1"),
            Arg::key("key2"),
            Arg::word("len", "LEN").optional(),
            Arg::word("idx", "IDX").optional(),
            Arg::integer("min-match-len").token("MINMATCHLEN").optional(),
            Arg::word("withmatchlen", "WITHMATCHLEN").optional(),
        ],
        since: "7.0.0",
        summary: "Finds the longest common subsequence of the strings at two keys.",
        complexity: "O(N*M) with both lengths.",
        run: Run::Data(lcs::lcs),
        script: "> MSET a ohmytext b mynewtext\nOK\n> LCS a b\nmytext\n> LCS a b LEN\n6\n\
            > LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN\n1) matches\n2) 1) 1) 1) 4\n         2) 7\n\
            \x20     2) 1) 5\n         2) 8\n      3) 4\n3) len\n4) 6\n\
            > LCS a b LEN IDX\n(error) ERR If you want both the length and indexes, please just use IDX.\n",
        ..string_command("lcs", Arity::AtLeast(3), Flags::READ)
    },
];

/// Writes a string value as a bulk string.
#[inline]
pub(crate) fn reply_str(reply: &mut Reply, value: Str<'_>) {
    match value {
        Str::Bytes(bytes) => reply.bulk(bytes),
        Str::Int(number) => reply.bulk_integer(number),
    }
}

/// Replies the string at the key, or null; whether there was one.
#[inline]
fn reply_value(call: &mut Call<'_>, key: &Key<'_>) -> Result<bool, CmdError> {
    match call.db.string(key)? {
        Some(value) => {
            reply_str(call.reply, value);
            Ok(true)
        }
        None => {
            call.reply.null();
            Ok(false)
        }
    }
}

fn get(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    reply_value(call, &key).map(|_| ())
}

fn set(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    if call.argv.len() > 3 {
        return set_with_options(call, &key);
    }
    call.db.set_string(&key, call.arg(2), SetExpiry::Clear);
    call.effects.changed(1);
    call.notify(EventClass::STRING, "set", key.bytes);
    call.reply.ok();
    Ok(())
}

#[cold]
fn set_with_options(call: &mut Call<'_>, key: &Key<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, 3, OptionsOf::Set)?;
    let expires_at = options.expires_at(call.now(), "set")?;
    let refused = match options.condition {
        Condition::Compare(compare) => match call.db.string(key)? {
            Some(value) => !compare.holds(value)?,
            None => !compare.holds_for_nothing(),
        },
        Condition::None => false,
        Condition::IfAbsent => call.db.exists(key),
        Condition::IfPresent => !call.db.exists(key),
    };
    if options.get {
        reply_value(call, key)?;
    }
    if refused {
        if !options.get {
            call.reply.null();
        }
        return Ok(());
    }
    let value = call.arg(2);
    call.db.set_string(key, value, options.set_expiry(expires_at));
    call.effects.changed(1);
    call.notify(EventClass::STRING, "set", key.bytes);
    if expires_at.is_some() {
        call.notify(EventClass::GENERIC, "expire", key.bytes);
    }
    propagate_set(call, key, &options, expires_at);
    if !options.get {
        call.reply.ok();
    }
    Ok(())
}

/// Propagates a `SET` with options: what depended on this moment, as what it came to; the rest as it
/// was said.
fn propagate_set(
    call: &mut Call<'_>,
    key: &Key<'_>,
    options: &Options<'_>,
    expires_at: Option<UnixMillis>,
) {
    let set = [b"SET".as_slice(), key.bytes, call.arg(2)];
    let compared = matches!(options.condition, Condition::Compare(_));
    if let Some(at) = expires_at
        && (compared || options.expiry.is_none_or(|expiry| !expiry.is_exact()))
    {
        let mut digits = itoa::Buffer::new();
        let moment = [b"PXAT".as_slice(), digits.format(at.0).as_bytes()];
        call.effects.propagate(set.into_iter().chain(moment));
    } else if compared {
        // It was true here, and an older replica would not know the word.
        let kept = options.keep_ttl.then_some(b"KEEPTTL".as_slice());
        call.effects.propagate(set.into_iter().chain(kept));
    } else if options.get {
        // A replica has no use for the old value.
        let argv = call.argv;
        let is_get = |index: usize, arg: &[u8]| index > 2 && arg.eq_ignore_ascii_case(b"GET");
        let kept = argv.iter().enumerate().filter(|(index, arg)| !is_get(*index, arg));
        call.effects.propagate(kept.map(|(_, arg)| arg));
    }
}

fn getset(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, value) = (call.key(1), call.arg(2));
    reply_value(call, &key)?;
    call.db.set_string(&key, value, SetExpiry::Clear);
    call.effects.changed(1);
    call.effects.propagate([b"SET", key.bytes, value]);
    call.notify(EventClass::STRING, "set", key.bytes);
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    if reply_value(call, &key)? {
        call.db.remove(&key);
        call.effects.changed(1);
        call.effects.propagate([deletion(call.settings.lazy_free.user_del), key.bytes]);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    } else {
        // Reads tell of it themselves.
        call.notify(EventClass::KEY_MISS, "keymiss", key.bytes);
    }
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let options = Options::parse(call, 2, OptionsOf::GetEx)?;
    let start = call.reply.len();
    if !reply_value(call, &key)? {
        call.notify(EventClass::KEY_MISS, "keymiss", key.bytes);
        return Ok(());
    }
    if let Some(expiry) = options.expiry {
        let at = expiry.moment(call.now(), "getex").inspect_err(|_| call.reply.truncate(start))?;
        call.effects.changed(1);
        if expiry.is_moment && at <= call.now() {
            call.db.remove(&key);
            call.effects.propagate([deletion(call.settings.lazy_free.expire), key.bytes]);
            call.notify(EventClass::GENERIC, "del", key.bytes);
        } else {
            call.db.set_expires_at(&key, Some(at));
            let mut digits = itoa::Buffer::new();
            let at = digits.format(at.0).as_bytes();
            call.effects.propagate([b"PEXPIREAT", key.bytes, at]);
            call.notify(EventClass::GENERIC, "expire", key.bytes);
        }
    } else if options.persist && matches!(call.db.expires_at(&key), Some(Some(_))) {
        call.db.set_expires_at(&key, None);
        call.effects.changed(1);
        call.effects.propagate([b"PERSIST", key.bytes]);
        call.notify(EventClass::GENERIC, "persist", key.bytes);
    }
    Ok(())
}

fn setnx(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let absent = !call.db.exists(&key);
    if absent {
        call.db.set_string(&key, call.arg(2), SetExpiry::Clear);
        call.effects.changed(1);
        call.notify(EventClass::STRING, "set", key.bytes);
    }
    call.reply.integer(i64::from(absent));
    Ok(())
}

fn setex(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_for(call, Unit::Seconds, "setex")
}

fn psetex(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_for(call, Unit::Millis, "psetex")
}

fn set_for(call: &mut Call<'_>, unit: Unit, name: &'static str) -> Result<(), CmdError> {
    let (key, value) = (call.key(1), call.arg(3));
    let at = expiry_moment(call.arg(2), unit, call.now().0, true, name)?;
    call.db.set_string(&key, value, SetExpiry::At(at));
    call.effects.changed(1);
    let mut digits = itoa::Buffer::new();
    let at = digits.format(at.0).as_bytes();
    call.effects.propagate([b"SET", key.bytes, value, b"PXAT", at]);
    call.notify(EventClass::STRING, "set", key.bytes);
    call.notify(EventClass::GENERIC, "expire", key.bytes);
    call.reply.ok();
    Ok(())
}

fn mset(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len().is_multiple_of(2) {
        return Err(CmdError::WrongArgCount("mset"));
    }
    set_pairs(call);
    call.reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len().is_multiple_of(2) {
        return Err(CmdError::WrongArgCount("msetnx"));
    }
    for index in (1..call.argv.len()).step_by(2) {
        let key = call.key(index);
        if call.db.exists(&key) {
            call.reply.integer(0);
            return Ok(());
        }
    }
    set_pairs(call);
    call.reply.integer(1);
    Ok(())
}

fn set_pairs(call: &mut Call<'_>) {
    for index in (1..call.argv.len()).step_by(2) {
        let key = call.key(index);
        call.db.set_string(&key, call.arg(index + 1), SetExpiry::Clear);
        call.notify(EventClass::STRING, "set", key.bytes);
    }
    call.effects.changed((call.argv.len() as u64 - 1) / 2);
}

fn mget(call: &mut Call<'_>) -> Result<(), CmdError> {
    call.reply.array(call.argv.len() - 1);
    for index in 1..call.argv.len() {
        let key = call.key(index);
        match call.db.string(&key) {
            Ok(Some(value)) => reply_str(call.reply, value),
            Ok(None) | Err(_) => call.reply.null(),
        }
    }
    Ok(())
}

fn append(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, more) = (call.key(1), call.arg(2));
    let old = call.db.string(&key)?.map(|value| value.len());
    let old_len = old.unwrap_or(0);
    check_len(call, old_len, more.len())?;
    match old {
        Some(_) => call.db.string_edit(&key, |bytes| bytes.extend_from_slice(more))?,
        None => call.db.set_string(&key, more, SetExpiry::Clear),
    }
    call.effects.changed(1);
    call.notify(EventClass::STRING, "append", key.bytes);
    call.reply.integer((old_len + more.len()) as i64);
    Ok(())
}

/// Refuses a string of `start + more` bytes if that is more than the settings allow.
pub(crate) fn check_len(call: &Call<'_>, start: usize, more: usize) -> Result<(), CmdError> {
    match start.checked_add(more) {
        Some(len) if len <= call.settings.string_bytes_max => Ok(()),
        _ => Err(CmdError::StringTooLong),
    }
}

fn strlen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.string(&key)?.map_or(0, |value| value.len());
    call.reply.integer(len as i64);
    Ok(())
}

fn incr(call: &mut Call<'_>) -> Result<(), CmdError> {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Result<(), CmdError> {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Result<(), CmdError> {
    let increment = call.int(2)?;
    add(call, increment)
}

fn decrby(call: &mut Call<'_>) -> Result<(), CmdError> {
    let decrement = call.int(2)?;
    let increment =
        decrement.checked_neg().ok_or(CmdError::text("ERR decrement would overflow"))?;
    add(call, increment)
}

fn add(call: &mut Call<'_>, increment: i64) -> Result<(), CmdError> {
    let key = call.key(1);
    let new = call.db.update_integer(&key, |old| {
        let old = old.as_int().ok_or(CmdError::NotAnInteger)?;
        old.checked_add(increment).ok_or(CmdError::Overflow)
    })?;
    call.effects.changed(1);
    call.notify(EventClass::STRING, "incrby", key.bytes);
    call.reply.integer(new);
    Ok(())
}

fn incrbyfloat(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let old = match call.db.string(&key)? {
        None => Some(Decimal::Exact(0)),
        Some(value) => value.with_bytes(Decimal::parse),
    };
    let old = old.ok_or(CmdError::NotAFloat)?;
    let increment = Decimal::parse(call.arg(2)).ok_or(CmdError::NotAFloat)?;
    let new = old.checked_add(increment).ok_or(CmdError::NanOrInfinity)?.to_string();
    call.db.set_text(&key, new.as_bytes(), SetExpiry::Keep);
    call.effects.changed(1);
    // A sum of fractions may come out differently elsewhere, so replicas get the result.
    call.effects.propagate([b"SET", key.bytes, new.as_bytes(), b"KEEPTTL"]);
    call.notify(EventClass::STRING, "incrbyfloat", key.bytes);
    call.reply.bulk(new.as_bytes());
    Ok(())
}

fn setrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, value) = (call.key(1), call.arg(3));
    let offset = usize::try_from(call.int(2)?).map_err(|_| CmdError::OffsetOutOfRange)?;
    let old_len = call.db.string(&key)?.map_or(0, |value| value.len());
    if value.is_empty() {
        call.reply.integer(old_len as i64);
        return Ok(());
    }
    check_len(call, offset, value.len())?;
    let end = offset + value.len();
    let len = call.db.string_edit(&key, |bytes| {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(value);
        bytes.len()
    })?;
    call.effects.changed(1);
    call.notify(EventClass::STRING, "setrange", key.bytes);
    call.reply.integer(len as i64);
    Ok(())
}

fn getrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (start, end) = (call.int(2)?, call.int(3)?);
    let key = call.key(1);
    let Some(value) = call.db.string(&key)? else {
        call.reply.bulk(b"");
        return Ok(());
    };
    value.with_bytes(|bytes| match byte_range(start, end, bytes.len()) {
        Some(range) => call.reply.bulk(&bytes[range]),
        None => call.reply.bulk(b""),
    });
    Ok(())
}

/// The range that two positions name, negative ones counting from the end; `None` if it is empty.
pub(crate) fn byte_range(start: i64, end: i64, len: usize) -> Option<RangeInclusive<usize>> {
    // Both before the start and in the wrong order stays empty, although both would become 0.
    if start < 0 && end < 0 && start > end { None } else { clamped_range(start, end, len) }
}

/// The range between two positions after each has been moved into the string; `None` if it is
/// empty then.
pub(crate) fn clamped_range(start: i64, end: i64, len: usize) -> Option<RangeInclusive<usize>> {
    let len = len as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    (start <= end).then_some(start as usize..=end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_redis() {
        for (why, start, end, want) in [
            ("all", 0, -1, Some(0..=4)),
            ("beyond the end", 2, 100, Some(2..=4)),
            ("before the start", -100, 1, Some(0..=1)),
            ("wrong order", 3, 2, None),
            ("both before the start, wrong order", -10, -20, None),
            ("both before the start", -20, -10, Some(0..=0)),
            ("smallest number", i64::MIN, i64::MAX, Some(0..=4)),
        ] {
            assert_eq!(byte_range(start, end, 5), want, "{why}");
        }
        assert_eq!(byte_range(0, -1, 0), None, "an empty string has no range");
        assert_eq!(clamped_range(-1, -2, 1), Some(0..=0), "BITPOS moves both before it compares");
    }
}
