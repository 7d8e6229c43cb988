//! The hash family.

pub(crate) mod import;

use slotward_keyspace::{Hash, Item, Key};
use slotward_resp::Protocol;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Deprecated, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::list::reply_item;
use crate::number::Decimal;
use crate::sample::{Sample, distinct};
use crate::scan::{ScanOf, ScanOptions, cursor, reply_found, reply_nothing};

const READ: Flags = Flags::READ;
const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_FAST.and(Flags::DENYOOM);

const KEY: &[Arg] = &[Arg::key("key")];
const KEY_FIELD: &[Arg] = &[Arg::key("key"), Arg::string("field")];
const KEY_FIELDS: &[Arg] = &[Arg::key("key"), Arg::string("field").multiple()];
const KEY_DATA: &[Arg] = &[
    Arg::key("key"),
    Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
];
const PER_FIELD: &str = "O(N) with the number of fields.";
const OUTPUT_ORDER: &[&str] = &["nondeterministic_output_order"];

const fn hash_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::Hash, since: "2.0.0", ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: KEY_DATA,
        summary: "Sets fields of a hash and tells how many are new.",
        complexity: PER_FIELD,
        history: &[("4.0.0", "Several fields.")],
        run: Run::Data(hset),
        script: "> HSET h a 1 b 2\n2\n> HSET h a 3 c 4\n1\n> HGET h a\n3\n> HSET h a\n\
            (error) ERR wrong number of arguments for 'hset' command\n> HSET h a 1 b\n\
            (error) ERR wrong number of arguments for 'hset' command\n",
        ..hash_command("hset", Arity::AtLeast(4), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: KEY_DATA,
        summary: "Sets fields of a hash.",
        complexity: PER_FIELD,
        deprecated: Some(Deprecated { since: "4.0.0", replaced_by: "`HSET` with several fields" }),
        run: Run::Data(hmset),
        script: "> HMSET h a 1 b 2\nOK\n> HMGET h a b c\n1) 1\n2) 2\n3) (nil)\n",
        ..hash_command("hmset", Arity::AtLeast(4), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: &[Arg::key("key"), Arg::string("field"), Arg::string("value")],
        summary: "Sets a field of a hash if it has no such field.",
        run: Run::Data(hsetnx),
        script: "> HSETNX h a 1\n1\n> HSETNX h a 2\n0\n> HGET h a\n1\n",
        ..hash_command("hsetnx", Arity::Exactly(4), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY_FIELD,
        summary: "Returns the value of a field.",
        run: Run::Data(hget),
        script: "> HSET h a x\n1\n> HGET h a\nx\n> HGET h b\n(nil)\n> HGET absent a\n(nil)\n",
        ..hash_command("hget", Arity::Exactly(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY_FIELDS,
        summary: "Returns the values of several fields.",
        complexity: PER_FIELD,
        run: Run::Data(hmget),
        script: "> HSET h a 1 b 2\n2\n> HMGET h b x\n1) 2\n2) (nil)\n> HMGET absent a\n1) (nil)\n",
        ..hash_command("hmget", Arity::AtLeast(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY,
        summary: "Returns all fields with their values.",
        complexity: PER_FIELD,
        tips: OUTPUT_ORDER,
        run: Run::Data(hgetall),
        script: "> HSET h a 1 b 2\n2\n> HGETALL h\n1) a\n2) 1\n3) b\n4) 2\n> HGETALL absent\n\
            (empty array)\n",
        ..hash_command("hgetall", Arity::Exactly(2), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY,
        summary: "Returns the names of all fields.",
        complexity: PER_FIELD,
        tips: OUTPUT_ORDER,
        run: Run::Data(hkeys),
        script: "> HSET h a 1 b 2\n2\n> HKEYS h\n1) a\n2) b\n",
        ..hash_command("hkeys", Arity::Exactly(2), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY,
        summary: "Returns the values of all fields.",
        complexity: PER_FIELD,
        tips: OUTPUT_ORDER,
        run: Run::Data(hvals),
        script: "> HSET h a 1 b 2\n2\n> HVALS h\n1) 1\n2) 2\n",
        ..hash_command("hvals", Arity::Exactly(2), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: KEY,
        summary: "Tells how many fields a hash has.",
        run: Run::Data(hlen),
        script: "> HSET h a 1 b 2\n2\n> HLEN h\n2\n> HLEN absent\n0\n",
        ..hash_command("hlen", Arity::Exactly(2), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: KEY_FIELD,
        summary: "Tells whether a hash has a field.",
        run: Run::Data(hexists),
        script: "> HSET h a 1\n1\n> HEXISTS h a\n1\n> HEXISTS h b\n0\n",
        ..hash_command("hexists", Arity::Exactly(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: KEY_FIELD,
        since: "3.2.0",
        summary: "Tells how many bytes the value of a field has.",
        run: Run::Data(hstrlen),
        script: "> HSET h a hello n -12\n2\n> HSTRLEN h a\n5\n> HSTRLEN h n\n3\n> HSTRLEN h x\n0\n",
        ..hash_command("hstrlen", Arity::Exactly(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: KEY_FIELDS,
        summary: "Removes fields and tells how many there were.",
        complexity: PER_FIELD,
        history: &[("2.4.0", "Several fields.")],
        run: Run::Data(hdel),
        script: "> HSET h a 1 b 2\n2\n> HDEL h a x\n1\n> HDEL h b\n1\n> EXISTS h\n0\n",
        ..hash_command("hdel", Arity::AtLeast(3), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::string("field"), Arg::integer("increment")],
        summary: "Adds to the number in a field.",
        run: Run::Data(hincrby),
        script: "> HINCRBY h n 5\n5\n> HINCRBY h n -7\n-2\n> HSET h s x\n1\n> HINCRBY h s 1\n\
            (error) ERR hash value is not an integer\n> HSET h n 9223372036854775807\n0\n\
            > HINCRBY h n 1\n(error) ERR increment or decrement would overflow\n",
        ..hash_command("hincrby", Arity::Exactly(4), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::string("field"), Arg::double("increment")],
        since: "2.6.0",
        summary: "Adds a fraction to the number in a field.",
        run: Run::Data(hincrbyfloat),
        script: "> HINCRBYFLOAT h n 10.5\n10.5\n> HINCRBYFLOAT h n 0.1\n10.6\n> HSET h s x\n1\n\
            > HINCRBYFLOAT h s 1\n(error) ERR hash value is not a float\n",
        ..hash_command("hincrbyfloat", Arity::Exactly(4), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::block(
                "options",
                &[Arg::integer("count"), Arg::word("withvalues", "WITHVALUES").optional()],
            )
            .optional(),
        ],
        since: "6.2.0",
        summary: "Returns fields chosen at random.",
        complexity: "O(N) with the number of fields returned.",
        tips: &["nondeterministic_output"],
        run: Run::Data(hrandfield),
        script: "> HSET h a 1\n1\n> HRANDFIELD h\na\n> HRANDFIELD h 5 WITHVALUES\n1) a\n2) 1\n\
            > HRANDFIELD h -2\n1) a\n2) a\n> HRANDFIELD absent\n(nil)\n> HRANDFIELD absent 1\n\
            (empty array)\n> HRANDFIELD h 1 NOVALUES\n(error) ERR syntax error\n",
        ..hash_command("hrandfield", Arity::AtLeast(2), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::integer("cursor"),
            Arg::pattern("pattern").token("MATCH").optional(),
            Arg::integer("count").token("COUNT").optional(),
            Arg::word("novalues", "NOVALUES").optional().since("7.4.0"),
        ],
        since: "2.8.0",
        summary: "Walks through the fields of a hash, some in each call.",
        complexity: "O(1) for each call, O(N) for a whole walk.",
        tips: &["nondeterministic_output"],
        history: &[("7.4.0", "NOVALUES.")],
        run: Run::Data(hscan),
        script: "> HSET h a 1 b 2\n2\n> HSCAN h 0 MATCH a*\n1) 0\n2) 1) a\n   2) 1\n> HSCAN h x\n\
            (error) ERR invalid cursor\n> HSCAN absent 0\n1) 0\n2) (empty array)\n\
            > HSCAN h 0 NOVALUES\n1) 0\n2) 1) a\n   2) b\n",
        ..hash_command("hscan", Arity::AtLeast(3), READ)
    },
];

fn hset(call: &mut Call<'_>) -> Result<(), CmdError> {
    let added = set_fields(call, "hset")?;
    call.reply.integer(added);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_fields(call, "hmset")?;
    call.reply.ok();
    Ok(())
}

#[inline]
fn set_fields(call: &mut Call<'_>, name: &'static str) -> Result<i64, CmdError> {
    if call.argv.len() % 2 == 1 {
        return Err(CmdError::WrongArgCount(name));
    }
    let key = call.key(1);
    let hash = call.db.hash_or_new(&key)?;
    let limits = &call.settings.limits;
    let mut added = 0;
    let mut pairs = call.argv.from(2).iter();
    while let (Some(field), Some(value)) = (pairs.next(), pairs.next()) {
        added += i64::from(hash.insert(field, value, limits));
    }
    call.effects.changed((call.argv.len() as u64 - 2) / 2);
    call.notify(EventClass::HASH, "hset", key.bytes);
    Ok(added)
}

fn hsetnx(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field, value) = (call.key(1), call.arg(2), call.arg(3));
    if call.db.hash(&key)?.is_some_and(|hash| hash.contains(field)) {
        call.reply.integer(0);
        return Ok(());
    }
    call.db.hash_or_new(&key)?.insert(field, value, &call.settings.limits);
    call.effects.changed(1);
    call.notify(EventClass::HASH, "hset", key.bytes);
    call.reply.integer(1);
    Ok(())
}

#[inline]
fn reply_value(call: &mut Call<'_>, key: &Key<'_>, field: &[u8]) -> Result<(), CmdError> {
    match call.db.hash(key)?.and_then(|hash| hash.get(field)) {
        Some(value) => reply_item(call.reply, value),
        None => call.reply.null(),
    }
    Ok(())
}

fn hget(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field) = (call.key(1), call.arg(2));
    reply_value(call, &key, field)
}

fn hmget(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let hash = call.db.hash(&key)?;
    let fields = call.argv.from(2);
    call.reply.array(fields.len());
    for field in fields.iter() {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => reply_item(call.reply, value),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let Some(hash) = call.db.hash(&key)? else {
        call.reply.map(0);
        return Ok(());
    };
    call.reply.map(hash.len());
    for (field, value) in hash.iter() {
        reply_item(call.reply, field);
        reply_item(call.reply, value);
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_each(call, |(field, _)| field)
}

fn hvals(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_each(call, |(_, value)| value)
}

fn reply_each(
    call: &mut Call<'_>,
    choose: for<'i> fn((Item<'i>, Item<'i>)) -> Item<'i>,
) -> Result<(), CmdError> {
    let key = call.key(1);
    let hash = call.db.hash(&key)?;
    call.reply.array(hash.map_or(0, Hash::len));
    for pair in hash.into_iter().flat_map(Hash::iter) {
        reply_item(call.reply, choose(pair));
    }
    Ok(())
}

fn hlen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.hash(&key)?.map_or(0, Hash::len);
    call.reply.integer(len as i64);
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field) = (call.key(1), call.arg(2));
    let exists = call.db.hash(&key)?.is_some_and(|hash| hash.contains(field));
    call.reply.integer(i64::from(exists));
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field) = (call.key(1), call.arg(2));
    let value = call.db.hash(&key)?.and_then(|hash| hash.get(field));
    let len = value.map_or(0, Item::len);
    call.reply.integer(len as i64);
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let Some(hash) = call.db.hash_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let removed = call.argv.from(2).iter().filter(|field| hash.remove(field)).count();
    let emptied = hash.is_empty();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(removed as u64);
        call.notify(EventClass::HASH, "hdel", key.bytes);
    }
    if emptied {
        call.db.remove_if_empty(&key);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
    call.reply.integer(removed as i64);
    Ok(())
}

fn hincrby(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field, increment) = (call.key(1), call.arg(2), call.int(3)?);
    let old = match call.db.hash(&key)?.and_then(|hash| hash.get(field)) {
        Some(value) => value.as_int().ok_or(CmdError::HashNotAnInteger)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(CmdError::Overflow)?;
    let mut digits = itoa::Buffer::new();
    let text = digits.format(new).as_bytes();
    call.db.hash_or_new(&key)?.set_value(field, text, &call.settings.limits);
    call.effects.changed(1);
    call.notify(EventClass::HASH, "hincrby", key.bytes);
    call.reply.integer(new);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, field) = (call.key(1), call.arg(2));
    let increment = Decimal::parse(call.arg(3)).ok_or(CmdError::NotAFloat)?;
    if !increment.is_finite() {
        return Err(CmdError::ValueNanOrInfinity);
    }
    let old = match call.db.hash(&key)?.and_then(|hash| hash.get(field)) {
        Some(value) => value.with_bytes(Decimal::parse).ok_or(CmdError::HashNotAFloat)?,
        None => Decimal::Exact(0),
    };
    let new = old.checked_add(increment).ok_or(CmdError::NanOrInfinity)?.to_string();
    let hash = call.db.hash_or_new(&key)?;
    hash.set_value(field, new.as_bytes(), &call.settings.limits);
    let ends = hash.field_expiry(field).is_some();
    call.effects.changed(1);
    // A sum of fractions may come out differently elsewhere, so replicas get the result.
    let new_value = [field, new.as_bytes()];
    if ends {
        let head = [&b"HSETEX"[..], key.bytes, b"KEEPTTL", b"FIELDS", b"1"];
        call.effects.propagate(head.into_iter().chain(new_value));
    } else {
        call.effects.propagate([b"HSET", key.bytes].into_iter().chain(new_value));
    }
    call.notify(EventClass::HASH, "hincrbyfloat", key.bytes);
    call.reply.bulk(new.as_bytes());
    Ok(())
}

fn hrandfield(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    if call.argv.len() == 2 {
        let random = call.random.next_u64();
        match call.db.hash(&key)?.and_then(|hash| hash.random(random)) {
            Some((field, _)) => reply_item(call.reply, field),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let count = call.int(2)?;
    let sample = Sample::of_count(count)?;
    let with_values = match call.argv.len() {
        3 => false,
        4 if call.is_word(3, "WITHVALUES") => true,
        _ => return Err(CmdError::Syntax),
    };
    if with_values && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(CmdError::OutOfRange);
    }
    let Some(hash) = call.db.hash(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let pairs = match sample {
        Sample::Distinct(count) => {
            let own = |(field, value): (Item<'_>, Item<'_>)| (field.to_vec(), value.to_vec());
            distinct(call.random, hash.len(), count, hash.iter().map(own), |random| {
                hash.random(random).map(own)
            })
        }
        Sample::Repeating(count) => {
            let reply_len = if with_values && !nested(call.reply.protocol()) { 2 } else { 1 };
            call.reply.array(count * reply_len);
            for _ in 0..count {
                if let Some(pair) = hash.random(call.random.next_u64()) {
                    reply_pair(call.reply, pair, with_values);
                }
            }
            return Ok(());
        }
    };
    let reply_len = if with_values && !nested(call.reply.protocol()) { 2 } else { 1 };
    call.reply.array(pairs.len() * reply_len);
    for (field, value) in &pairs {
        reply_pair(call.reply, (Item::Bytes(field), Item::Bytes(value)), with_values);
    }
    Ok(())
}

/// Whether pairs are arrays of their own, as RESP3 has them here.
pub(crate) fn nested(protocol: Protocol) -> bool {
    protocol == Protocol::Resp3
}

fn reply_pair(
    reply: &mut slotward_resp::Reply,
    (field, value): (Item<'_>, Item<'_>),
    with_values: bool,
) {
    if with_values && nested(reply.protocol()) {
        reply.array(2);
    }
    reply_item(reply, field);
    if with_values {
        reply_item(reply, value);
    }
}

fn hscan(call: &mut Call<'_>) -> Result<(), CmdError> {
    let mut at = cursor(call)?;
    let key = call.key(1);
    if call.db.hash(&key)?.is_none() {
        reply_nothing(call);
        return Ok(());
    }
    let options = ScanOptions::parse(call, ScanOf::Hash)?;
    let mut found = Vec::new();
    let mut seen = 0;
    if let Some(hash) = call.db.hash(&key)? {
        loop {
            at = hash.scan(at, &mut |field, value| {
                seen += 1;
                if field.with_bytes(|field| options.wants(field)) {
                    found.push(field.to_vec());
                    if !options.no_values {
                        found.push(value.to_vec());
                    }
                }
            });
            if at == 0 || seen >= options.count {
                break;
            }
        }
    }
    reply_found(call, at, &found);
    Ok(())
}
