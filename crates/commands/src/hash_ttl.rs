//! Hash fields that end by themselves.

use slotward_keyspace::{ExpiryPolicy, Hash, Key};
use slotward_types::UnixMillis;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::expire::{Conditions, Unit};
use crate::keys::{Access, Keys};
use crate::list::reply_item;
use crate::number::parse_integer;

/// The latest end that a field can have, in milliseconds since 1970: Redis keeps 46 bits.
const LATEST: i64 = ((1 << 48) - 2) >> 2;

const CONDITION: Arg = Arg::one_of(
    "condition",
    &[Arg::word("nx", "NX"), Arg::word("xx", "XX"), Arg::word("gt", "GT"), Arg::word("lt", "LT")],
)
.optional();
const FIELDS: Arg =
    Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
        .token("FIELDS");
const PAIRS: Arg = Arg::block(
    "fields",
    &[
        Arg::integer("numfields"),
        Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
    ],
)
.token("FIELDS");
const SPANS: [Arg; 4] = [
    Arg::integer("seconds").token("EX"),
    Arg::integer("milliseconds").token("PX"),
    Arg::unix_time("unix-time-seconds").token("EXAT"),
    Arg::unix_time("unix-time-milliseconds").token("PXAT"),
];
const CHANGED_KEY: &[Keys] = &[Keys::at(1, Access::CHANGE)];
const READ_KEY: &[Keys] = &[Keys::at(1, Access::READ)];
const KEY_FIELDS: &[Arg] = &[Arg::key("key"), FIELDS];
const PER_FIELD: &str = "O(N) with the number of fields.";

const fn row(name: &'static str, since: &'static str, arity: u16, flags: Flags) -> Command {
    let arity = Arity::AtLeast(arity);
    let complexity = PER_FIELD;
    Command { name, since, arity, flags, complexity, group: Group::Hash, ..Command::BLANK }
}

const fn setter(name: &'static str, summary: &'static str, args: &'static [Arg]) -> Command {
    Command {
        keys: CHANGED_KEY,
        args,
        summary,
        ..row(name, "7.4.0", 6, Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST))
    }
}

const fn getter(name: &'static str, summary: &'static str) -> Command {
    Command {
        keys: READ_KEY,
        args: KEY_FIELDS,
        summary,
        ..row(name, "7.4.0", 5, Flags::READ.and(Flags::FAST))
    }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        run: Run::Data(hexpire),
        script: "> HSET h a 1 b 2\n2\n> HEXPIRE h 10 FIELDS 2 a x\n1) 1\n2) -2\n\
            > HTTL h FIELDS 2 a b\n1) 10\n2) -1\n> HEXPIRE h 20 NX FIELDS 2 a b\n1) 0\n2) 1\n\
            > HEXPIRE h 0 FIELDS 1 a\n1) 2\n> HKEYS h\n1) b\n> HEXPIRE h 10 FIELDS 2 a\n\
            (error) ERR The `numfields` parameter must match the number of arguments\n\
            > HEXPIRE h 10 FOO 1 a\n\
            (error) ERR Mandatory argument FIELDS is missing or not at the right position\n",
        ..setter(
            "hexpire",
            "Lets fields of a hash end after a number of seconds.",
            &[Arg::key("key"), Arg::integer("seconds"), CONDITION, FIELDS],
        )
    },
    Command {
        run: Run::Data(hpexpire),
        script: "> HSET h a 1\n1\n> HPEXPIRE h 1500 FIELDS 1 a\n1) 1\n> HPTTL h FIELDS 1 a\n\
            1) 1500\n> HPEXPIRE h 1000 GT FIELDS 1 a\n1) 0\n> HPEXPIRE h 1000 LT FIELDS 1 a\n\
            1) 1\n",
        ..setter(
            "hpexpire",
            "Lets fields of a hash end after a number of milliseconds.",
            &[Arg::key("key"), Arg::integer("milliseconds"), CONDITION, FIELDS],
        )
    },
    Command {
        run: Run::Data(hexpireat),
        script: "> HSET h a 1\n1\n> HEXPIREAT h 33177117420 FIELDS 1 a\n1) 1\n\
            > HEXPIRETIME h FIELDS 1 a\n1) 33177117420\n> HEXPIREAT h 1 FIELDS 1 a\n1) 2\n\
            > EXISTS h\n0\n",
        ..setter(
            "hexpireat",
            "Lets fields of a hash end at a moment given in seconds since 1970.",
            &[Arg::key("key"), Arg::unix_time("unix-time-seconds"), CONDITION, FIELDS],
        )
    },
    Command {
        run: Run::Data(hpexpireat),
        script: "> HSET h a 1\n1\n> HPEXPIREAT h 33177117420000 FIELDS 1 a\n1) 1\n\
            > HPEXPIRETIME h FIELDS 1 a\n1) 33177117420000\n",
        ..setter(
            "hpexpireat",
            "Lets fields of a hash end at a moment given in milliseconds since 1970.",
            &[Arg::key("key"), Arg::unix_time("unix-time-milliseconds"), CONDITION, FIELDS],
        )
    },
    Command {
        run: Run::Data(httl),
        script: "> HSET h a 1\n1\n> HPEXPIRE h 1500 FIELDS 1 a\n1) 1\n> HTTL h FIELDS 2 a x\n\
            1) 2\n2) -2\n> HTTL absent FIELDS 1 a\n1) -2\n> HTTL h FIELDS 0 a\n\
            (error) ERR Number of fields must be a positive integer\n",
        ..getter("httl", "Tells after how many seconds fields end: -1 never, -2 no such field.")
    },
    Command {
        run: Run::Data(hpttl),
        script: "> HSET h a 1 b 2\n2\n> HPEXPIRE h 1500 FIELDS 1 a\n1) 1\n\
            > HPTTL h FIELDS 2 a b\n1) 1500\n2) -1\n",
        ..getter(
            "hpttl",
            "Tells after how many milliseconds fields end: -1 never, -2 no such field.",
        )
    },
    Command {
        run: Run::Data(hexpiretime),
        script: "> HSET h a 1\n1\n> HEXPIREAT h 33177117420 FIELDS 1 a\n1) 1\n\
            > HEXPIRETIME h FIELDS 2 a x\n1) 33177117420\n2) -2\n",
        ..getter(
            "hexpiretime",
            "Tells when fields end, in seconds since 1970: -1 never, -2 no such field.",
        )
    },
    Command {
        run: Run::Data(hpexpiretime),
        script: "> HSET h a 1\n1\n> HPEXPIRETIME h FIELDS 2 a x\n1) -1\n2) -2\n",
        ..getter(
            "hpexpiretime",
            "Tells when fields end, in milliseconds since 1970: -1 never, -2 no such field.",
        )
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[Arg::key("key"), FIELDS],
        summary: "Lets fields of a hash live on without an end.",
        run: Run::Data(hpersist),
        script: "> HSET h a 1 b 2\n2\n> HEXPIRE h 10 FIELDS 1 a\n1) 1\n\
            > HPERSIST h FIELDS 3 a b x\n1) 1\n2) -1\n3) -2\n> HTTL h FIELDS 1 a\n1) -1\n",
        ..row("hpersist", "7.4.0", 5, Flags::WRITE.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[
            Arg::key("key"),
            Arg::one_of(
                "expiration",
                &[SPANS[0], SPANS[1], SPANS[2], SPANS[3], Arg::word("persist", "PERSIST")],
            )
            .optional(),
            FIELDS,
        ],
        summary: "Returns the values of fields and changes when they end.",
        run: Run::Data(hgetex),
        script: "> HSET h a 1 b 2\n2\n> HGETEX h EX 10 FIELDS 2 a x\n1) 1\n2) (nil)\n\
            > HTTL h FIELDS 1 a\n1) 10\n> HGETEX h PERSIST FIELDS 1 a\n1) 1\n\
            > HTTL h FIELDS 1 a\n1) -1\n> HGETEX h PXAT 1 FIELDS 1 a\n1) 1\n> HKEYS h\n1) b\n",
        ..row("hgetex", "8.0.0", 5, Flags::WRITE.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[
            Arg::key("key"),
            Arg::one_of("key-condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
                .optional(),
            Arg::one_of("condition", &[Arg::word("fnx", "FNX"), Arg::word("fxx", "FXX")])
                .optional(),
            Arg::one_of(
                "expiration",
                &[SPANS[0], SPANS[1], SPANS[2], SPANS[3], Arg::word("keepttl", "KEEPTTL")],
            )
            .optional(),
            PAIRS,
        ],
        summary: "Sets fields of a hash and when they end.",
        history: &[("9.0.0", "NX and XX (Valkey).")],
        run: Run::Data(hsetex),
        script: "> HSETEX h EX 10 FIELDS 2 a 1 b 2\n1\n> HTTL h FIELDS 1 a\n1) 10\n\
            > HSETEX h FNX FIELDS 1 a 3\n0\n> HSETEX h FXX KEEPTTL FIELDS 1 a 3\n1\n\
            > HTTL h FIELDS 1 a\n1) 10\n> HSETEX h FIELDS 1 a 4\n1\n> HTTL h FIELDS 1 a\n1) -1\n\
            > HSETEX h NX FIELDS 1 a 4\n0\n> HSETEX h FIELDS 2 a 1\n\
            (error) ERR wrong number of arguments for 'hsetex' command\n",
        ..row("hsetex", "8.0.0", 6, Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::POP)],
        args: &[Arg::key("key"), FIELDS],
        summary: "Returns the values of fields and removes them.",
        run: Run::Data(hgetdel),
        script: "> HSET h a 1 b 2\n2\n> HGETDEL h FIELDS 2 a x\n1) 1\n2) (nil)\n\
            > HGETDEL h FIELDS 1 b\n1) 2\n> EXISTS h\n0\n",
        ..row("hgetdel", "8.0.0", 5, Flags::WRITE.and(Flags::FAST))
    },
];

/// The fields after `FIELDS` at `index`, which are all that remains.
fn fields<'a>(
    call: &Call<'a>,
    index: usize,
    not_positive: &'static str,
) -> Result<Vec<&'a [u8]>, CmdError> {
    if call.argv.get(index).is_none_or(|word| !word.eq_ignore_ascii_case(b"FIELDS")) {
        return Err(CmdError::text(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = call.argv.get(index + 1).and_then(parse_integer).filter(|count| *count > 0);
    let count = count.ok_or(CmdError::text(not_positive))?;
    let fields: Vec<&[u8]> = call.argv.iter().skip(index + 2).collect();
    if fields.len() as u64 != count as u64 {
        return Err(CmdError::text(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// The moment that a client's number names: `number` units after `base` milliseconds.
fn moment(
    number: &[u8],
    unit: Unit,
    base: i64,
    command: &'static str,
) -> Result<UnixMillis, CmdError> {
    let number = parse_integer(number).ok_or(CmdError::NotAnInteger)?;
    if number < 0 {
        return Err(CmdError::text("ERR invalid expire time, must be >= 0"));
    }
    let millis = match unit {
        Unit::Seconds => number.checked_mul(1000),
        Unit::Millis => Some(number),
    };
    let at = millis.and_then(|millis| millis.checked_add(base)).filter(|at| *at <= LATEST);
    at.map(UnixMillis).ok_or(CmdError::InvalidExpireTime(command))
}

/// What became of the fields that a command named.
#[derive(Default)]
struct Changes<'a> {
    ended_at: Vec<&'a [u8]>,
    removed: Vec<&'a [u8]>,
    persisted: Vec<&'a [u8]>,
}

impl<'a> Changes<'a> {
    /// Lets the field, which exists, end at this moment, which may have passed.
    fn end(&mut self, hash: &mut Hash, field: &'a [u8], at: UnixMillis, is_over: bool) {
        if is_over {
            hash.remove(field);
            self.removed.push(field);
        } else {
            hash.set_field_expiry(field, Some(at));
            self.ended_at.push(field);
        }
    }

    /// Tells replicas and subscribers, and removes the key if nothing is left.
    fn finish(self, call: &mut Call<'_>, key: &Key<'_>, at: UnixMillis) {
        let count = self.ended_at.len() + self.removed.len() + self.persisted.len();
        if count == 0 {
            call.db.unchanged();
            return;
        }
        call.effects.changed(count as u64);
        let mut digits = itoa::Buffer::new();
        let at = digits.format(at.0).as_bytes();
        propagate_fields(call, &[b"HPEXPIREAT", key.bytes, at], &self.ended_at);
        propagate_fields(call, &[b"HPERSIST", key.bytes], &self.persisted);
        if !self.removed.is_empty() {
            let words = [b"HDEL", key.bytes];
            call.effects.propagate(words.into_iter().chain(self.removed.iter().copied()));
        }
        for (fields, event) in
            [(&self.ended_at, "hexpire"), (&self.persisted, "hpersist"), (&self.removed, "hdel")]
        {
            if !fields.is_empty() {
                call.notify(EventClass::HASH, event, key.bytes);
            }
        }
        if call.db.remove_if_empty(key) {
            call.notify(EventClass::GENERIC, "del", key.bytes);
        }
    }
}

fn propagate_fields(call: &mut Call<'_>, words: &[&[u8]], fields: &[&[u8]]) {
    if fields.is_empty() {
        return;
    }
    let mut digits = itoa::Buffer::new();
    let count = digits.format(fields.len()).as_bytes();
    let head = words.iter().copied().chain([&b"FIELDS"[..], count]);
    call.effects.propagate(head.chain(fields.iter().copied()));
}

/// Whether the moment has passed for somebody who removes what is over: only a master does; whoever
/// applies its stream is told to.
fn is_over(call: &Call<'_>, at: UnixMillis) -> bool {
    at <= call.now() && call.db.policy() == ExpiryPolicy::Delete
}

fn hexpire(call: &mut Call<'_>) -> Result<(), CmdError> {
    let base = call.now().0;
    set_ends(call, Unit::Seconds, base, "hexpire")
}

fn hpexpire(call: &mut Call<'_>) -> Result<(), CmdError> {
    let base = call.now().0;
    set_ends(call, Unit::Millis, base, "hpexpire")
}

fn hexpireat(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_ends(call, Unit::Seconds, 0, "hexpireat")
}

fn hpexpireat(call: &mut Call<'_>) -> Result<(), CmdError> {
    set_ends(call, Unit::Millis, 0, "hpexpireat")
}

fn set_ends(
    call: &mut Call<'_>,
    unit: Unit,
    base: i64,
    name: &'static str,
) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.hash(&key)?;
    let at = moment(call.arg(2), unit, base, name)?;
    let conditions = Conditions::of_word(call.arg(3));
    let first = if conditions.is_some() { 4 } else { 3 };
    let fields = fields(call, first, "ERR Parameter `numFields` should be greater than 0")?;
    let conditions = conditions.unwrap_or_default();
    let is_over = is_over(call, at);
    call.reply.array(fields.len());
    let Some(hash) = call.db.hash_mut(&key)? else {
        fields.iter().for_each(|_| call.reply.integer(-2));
        return Ok(());
    };
    let mut changes = Changes::default();
    for field in fields {
        let code = if !hash.contains(field) {
            -2
        } else if !conditions.allow(hash.field_expiry(field), at) {
            0
        } else {
            changes.end(hash, field, at, is_over);
            if is_over { 2 } else { 1 }
        };
        call.reply.integer(code);
    }
    changes.finish(call, &key, at);
    Ok(())
}

fn httl(call: &mut Call<'_>) -> Result<(), CmdError> {
    let now = call.now().0;
    reply_ends(call, |at| (at + 999 - now) / 1000)
}

fn hpttl(call: &mut Call<'_>) -> Result<(), CmdError> {
    let now = call.now().0;
    reply_ends(call, |at| at - now)
}

fn hexpiretime(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_ends(call, |at| (at + 999) / 1000)
}

fn hpexpiretime(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_ends(call, |at| at)
}

/// Replies what `show` makes of the end of each field, or -1 without one, -2 without a field.
fn reply_ends(call: &mut Call<'_>, show: impl Fn(i64) -> i64) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.hash(&key)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let hash = call.db.hash(&key)?;
    call.reply.array(fields.len());
    for field in fields {
        let found = hash.filter(|hash| hash.contains(field));
        let number = match found.map(|hash| hash.field_expiry(field)) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => show(at.0),
        };
        call.reply.integer(number);
    }
    Ok(())
}

fn hpersist(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.hash(&key)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    call.reply.array(fields.len());
    let Some(hash) = call.db.hash_mut(&key)? else {
        fields.iter().for_each(|_| call.reply.integer(-2));
        return Ok(());
    };
    let mut changes = Changes::default();
    for field in fields {
        let code = match hash.field_expiry(field) {
            _ if !hash.contains(field) => -2,
            None => -1,
            Some(_) => {
                hash.set_field_expiry(field, None);
                changes.persisted.push(field);
                1
            }
        };
        call.reply.integer(code);
    }
    changes.finish(call, &key, UnixMillis(0));
    Ok(())
}

/// An option that says when something ends: `EX`, `PX`, `EXAT` or `PXAT`, with its number behind it.
fn span(call: &Call<'_>, index: usize) -> Option<(Unit, bool)> {
    let (unit, is_moment) = match call.argv.get(index)?.to_ascii_uppercase().as_slice() {
        b"EX" => (Unit::Seconds, false),
        b"PX" => (Unit::Millis, false),
        b"EXAT" => (Unit::Seconds, true),
        b"PXAT" => (Unit::Millis, true),
        _ => return None,
    };
    Some((unit, is_moment))
}

fn span_moment(
    call: &Call<'_>,
    index: usize,
    (unit, is_moment): (Unit, bool),
    command: &'static str,
) -> Result<UnixMillis, CmdError> {
    let number = call.argv.get(index).ok_or(CmdError::WrongArgCount(command))?;
    moment(number, unit, if is_moment { 0 } else { call.now().0 }, command)
}

fn reply_values(call: &mut Call<'_>, key: &Key<'_>, fields: &[&[u8]]) -> Result<(), CmdError> {
    let hash = call.db.hash(key)?;
    call.reply.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => reply_item(call.reply, value),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn hgetex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.hash(&key)?;
    let span = span(call, 2);
    let persists = call.is_word(2, "PERSIST");
    let at = span.map(|span| span_moment(call, 3, span, "hgetex")).transpose()?;
    let first = 2 + usize::from(persists) + 2 * usize::from(span.is_some());
    let fields = fields(call, first, NOT_POSITIVE)?;
    if at.is_none() && !persists {
        return reply_values(call, &key, &fields);
    }
    let is_over = at.is_some_and(|at| is_over(call, at));
    call.reply.array(fields.len());
    let Some(hash) = call.db.hash_mut(&key)? else {
        fields.iter().for_each(|_| call.reply.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    for field in fields {
        let Some(value) = hash.get(field) else {
            call.reply.null();
            continue;
        };
        reply_item(call.reply, value);
        match at {
            Some(at) => changes.end(hash, field, at, is_over),
            None if hash.field_expiry(field).is_some() => {
                hash.set_field_expiry(field, None);
                changes.persisted.push(field);
            }
            None => {}
        }
    }
    changes.finish(call, &key, at.unwrap_or(UnixMillis(0)));
    Ok(())
}

fn hgetdel(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    call.db.hash(&key)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    call.reply.array(fields.len());
    let Some(hash) = call.db.hash_mut(&key)? else {
        fields.iter().for_each(|_| call.reply.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    for field in fields {
        match hash.get(field) {
            Some(value) => reply_item(call.reply, value),
            None => call.reply.null(),
        }
        if hash.remove(field) {
            changes.removed.push(field);
        }
    }
    changes.finish(call, &key, UnixMillis(0));
    Ok(())
}

/// The options of `HSETEX`.
#[derive(Debug, Default)]
struct SetOptions {
    /// Only if the key exists (true) or does not.
    key_exists: Option<bool>,
    /// Only if all fields exist (true) or none.
    fields_exist: Option<bool>,
    keeps_ttl: bool,
    at: Option<UnixMillis>,
    /// Index of the first field.
    first: usize,
}

impl SetOptions {
    fn parse(call: &Call<'_>) -> Result<SetOptions, CmdError> {
        const ONE_TTL: CmdError = CmdError::text(
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        );
        let (mut options, mut index) = (SetOptions::default(), 2);
        while let Some(word) = call.argv.get(index) {
            if let Some(span) = span(call, index) {
                if options.keeps_ttl || options.at.is_some() {
                    return Err(ONE_TTL);
                }
                index += 1;
                options.at = Some(span_moment(call, index, span, "hsetex")?);
            } else {
                match word.to_ascii_uppercase().as_slice() {
                    b"KEEPTTL" if options.keeps_ttl || options.at.is_some() => return Err(ONE_TTL),
                    b"KEEPTTL" => options.keeps_ttl = true,
                    word @ (b"FNX" | b"FXX") => {
                        if options.fields_exist.replace(word == b"FXX").is_some() {
                            return Err(CmdError::text(
                                "ERR Only one of FXX or FNX arguments can be specified",
                            ));
                        }
                    }
                    word @ (b"NX" | b"XX") => {
                        if options.key_exists.replace(word == b"XX").is_some() {
                            return Err(CmdError::Syntax);
                        }
                    }
                    b"FIELDS" => {
                        options.first = index + 2;
                        options.check_count(call, index + 1)?;
                        return Ok(options);
                    }
                    _ => {
                        let word = String::from_utf8_lossy(word).into_owned();
                        return Err(CmdError::Other(
                            format!("ERR unknown argument: {word}").into(),
                        ));
                    }
                }
            }
            index += 1;
        }
        Err(CmdError::WrongArgCount("hsetex"))
    }

    fn check_count(&self, call: &Call<'_>, index: usize) -> Result<(), CmdError> {
        let count = call.argv.get(index).ok_or(CmdError::WrongArgCount("hsetex"))?;
        let count = parse_integer(count).and_then(|count| u64::try_from(count).ok());
        let count = count.filter(|count| *count > 0);
        let count = count.ok_or(CmdError::text("ERR invalid number of fields"))?;
        let rest = (call.argv.len() - self.first) as u64;
        if count.checked_mul(2) == Some(rest) {
            Ok(())
        } else {
            Err(CmdError::WrongArgCount("hsetex"))
        }
    }

    /// Whether the conditions hold for the hash, if there is one.
    fn allow(&self, hash: Option<&Hash>, pairs: &[(&[u8], &[u8])]) -> bool {
        let has = |field: &[u8]| hash.is_some_and(|hash| hash.contains(field));
        self.key_exists.is_none_or(|exists| exists == hash.is_some())
            && self
                .fields_exist
                .is_none_or(|exist| pairs.iter().all(|(field, _)| has(field) == exist))
    }
}

fn hsetex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = SetOptions::parse(call)?;
    let key = call.key(1);
    let words: Vec<&[u8]> = call.argv.iter().skip(options.first).collect();
    let (pairs, _) = words.as_chunks::<2>();
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[field, value]| (*field, *value)).collect();
    let hash = call.db.hash(&key)?;
    if !options.allow(hash, &pairs) {
        call.reply.integer(0);
        return Ok(());
    }
    let existed = hash.is_some();
    let limits = &call.settings.limits;
    let is_over = options.at.is_some_and(|at| is_over(call, at));
    if is_over {
        end_at_once(call, &key, &pairs, existed)?;
    } else {
        let hash = call.db.hash_or_new(&key)?;
        for (field, value) in &pairs {
            if options.keeps_ttl {
                hash.set_value(field, value, limits);
            } else {
                hash.insert(field, value, limits);
            }
            if options.at.is_some() {
                hash.set_field_expiry(field, options.at);
            }
        }
        call.effects.changed(pairs.len() as u64);
        propagate_set(call, &key, &options, &words);
        call.notify(EventClass::HASH, "hset", key.bytes);
        if options.at.is_some() {
            call.notify(EventClass::HASH, "hexpire", key.bytes);
        }
    }
    call.reply.integer(1);
    Ok(())
}

/// Sets fields that are over already: what is left is that they are gone.
fn end_at_once(
    call: &mut Call<'_>,
    key: &Key<'_>,
    pairs: &[(&[u8], &[u8])],
    existed: bool,
) -> Result<(), CmdError> {
    call.notify(EventClass::HASH, "hset", key.bytes);
    let Some(hash) = call.db.hash_mut(key)?.filter(|_| existed) else { return Ok(()) };
    let mut changes = Changes::default();
    for (field, _) in pairs {
        if hash.remove(field) {
            changes.removed.push(field);
        }
    }
    changes.finish(call, key, UnixMillis(0));
    Ok(())
}

/// Without its conditions, which held, and with a moment instead of a span.
fn propagate_set(call: &mut Call<'_>, key: &Key<'_>, options: &SetOptions, words: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    let count = digits.format(words.len() / 2).as_bytes();
    let mut moment = itoa::Buffer::new();
    let mut command: Vec<&[u8]> = Vec::with_capacity(words.len() + 6);
    match options.at {
        Some(at) => {
            let at = moment.format(at.0).as_bytes();
            command.extend([b"HSETEX", key.bytes, b"PXAT", at, b"FIELDS", count]);
        }
        None if options.keeps_ttl => {
            command.extend([b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", count]);
        }
        // What every version knows.
        None => command.extend([b"HSET", key.bytes]),
    }
    command.extend(words);
    call.effects.propagate(command);
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn replicas_get_moments_and_removals() {
        for (why, commands, want) in [
            (
                "a span becomes a moment, of those that were there",
                &["HSET h a 1 b 2", "HEXPIRE h 10 FIELDS 2 a x"][..],
                &["HSET h a 1 b 2", "HPEXPIREAT h 1700000010000 FIELDS 1 a"][..],
            ),
            (
                "what is over goes",
                &["HSET h a 1 b 2", "HPEXPIREAT h 1 FIELDS 1 a"],
                &["HSET h a 1 b 2", "HDEL h a"],
            ),
            (
                "setting with an end",
                &["HSETEX h FNX EX 10 FIELDS 1 a 1", "HSETEX h KEEPTTL FIELDS 1 a 2"],
                &["HSETEX h PXAT 1700000010000 FIELDS 1 a 1", "HSETEX h KEEPTTL FIELDS 1 a 2"],
            ),
            ("setting without one", &["HSETEX h FIELDS 1 a 1"], &["HSET h a 1"]),
            ("setting what is over", &["HSETEX h PXAT 1 FIELDS 1 a 1"], &[]),
            (
                "reading with an end",
                &["HSET h a 1", "HGETEX h PX 5 FIELDS 1 a", "HGETEX h PERSIST FIELDS 1 a"],
                &["HSET h a 1", "HPEXPIREAT h 1700000000005 FIELDS 1 a", "HPERSIST h FIELDS 1 a"],
            ),
            ("reading alone", &["HSET h a 1", "HGETEX h FIELDS 1 a"], &["HSET h a 1"]),
            (
                "reading and removing",
                &["HSET h a 1 b 2", "HGETDEL h FIELDS 2 a x"],
                &["HSET h a 1 b 2", "HDEL h a"],
            ),
        ] {
            check_stream(why, commands, want);
        }
    }

    #[test]
    fn an_ended_field_is_never_seen() {
        let mut node = Node::new(1, 1_700_000_000_000);
        let line = "HSETEX h PX 100 FIELDS 2 a 1 b 2";
        for (why, command, want) in [
            ("HGET", "HGET h a", "(nil)"),
            ("HMGET", "HMGET h a c", "1) (nil)\n2) 3"),
            ("HGETALL", "HGETALL h", "1) c\n2) 3"),
            ("HLEN", "HLEN h", "1"),
            ("HEXISTS", "HEXISTS h a", "0"),
            ("HSTRLEN", "HSTRLEN h a", "0"),
            ("HSCAN", "HSCAN h 0", "1) 0\n2) 1) c\n   2) 3"),
            ("HRANDFIELD", "HRANDFIELD h -2", "1) c\n2) c"),
            ("HINCRBY", "HINCRBY h a 5", "5"),
            ("HSETNX", "HSETNX h a 5", "1"),
            ("HDEL", "HDEL h a", "0"),
            ("HTTL", "HTTL h FIELDS 1 a", "1) -2"),
            ("HPERSIST", "HPERSIST h FIELDS 1 a", "1) -2"),
            ("HGETDEL", "HGETDEL h FIELDS 1 a", "1) (nil)"),
        ] {
            node.run("DEL h");
            node.run(line);
            node.run("HSET h c 3");
            node.now.0 += 101;
            assert_eq!(node.run(command), want, "{why}");
        }
        for (why, command, want) in
            [("EXISTS", "EXISTS h", "0"), ("TYPE", "TYPE h", "none"), ("DUMP", "DUMP h", "(nil)")]
        {
            node.run("DEL h");
            node.run(line);
            node.now.0 += 101;
            assert_eq!(node.run(command), want, "{why} of a hash without any left");
        }
    }

    #[test]
    fn ended_fields_are_removed_before_the_command_that_met_them() {
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run("HSETEX h PX 100 FIELDS 1 a 1");
        node.now.0 += 101;
        node.run("HSET h b 1");
        let stream = ["HSETEX h PXAT 1700000000100 FIELDS 1 a 1", "HDEL h a", "HSET h b 1"];
        assert_eq!(node.stream_text(), stream);
    }

    #[test]
    fn arithmetic_and_names_leave_the_end_alone() {
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run("HSETEX h PX 5000 FIELDS 1 a 1");
        for command in ["HINCRBY h a 1", "HINCRBYFLOAT h a 0.5", "COPY h {h}2", "RENAME {h}2 h"] {
            node.run(command);
            assert_eq!(node.run("HPTTL h FIELDS 1 a"), "1) 5000", "{command}");
        }
        node.run("HSET h a 1");
        assert_eq!(node.run("HPTTL h FIELDS 1 a"), "1) -1");
    }
}
