//! Keys of any type: whether they exist, what they hold, where they are.

use slotward_keyspace::{DbIndex, Key, Value};
use slotward_types::UnixMillis;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const KEYS_ARG: &[Arg] = &[Arg::key("key").multiple()];
const ONE_KEY: &[Arg] = &[Arg::key("key")];
const PER_KEY: &str = "O(N) with the number of keys.";
const SHARD_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE,
        keys: &[Keys::from(1, Access::REMOVE)],
        args: KEYS_ARG,
        since: "1.0.0",
        summary: "Removes keys and tells how many there were.",
        complexity: PER_KEY,
        tips: SHARD_SUM,
        run: Run::Data(del),
        script: "> MSET a 1 b 2\nOK\n> DEL a b c\n2\n> EXISTS a\n0\n",
        ..Command::BLANK
    },
    Command {
        name: "unlink",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[Keys::from(1, Access::REMOVE)],
        args: KEYS_ARG,
        since: "4.0.0",
        summary: "Removes keys; large values are freed in the background.",
        complexity: PER_KEY,
        tips: SHARD_SUM,
        run: Run::Data(del),
        script: "> MSET a 1 b 2\nOK\n> UNLINK a a b\n2\n",
        ..Command::BLANK
    },
    Command {
        name: "exists",
        arity: Arity::AtLeast(2),
        flags: Flags::READ.and(Flags::FAST),
        keys: &[Keys::from(1, Access::PEEK)],
        args: KEYS_ARG,
        since: "1.0.0",
        summary: "Tells how many of the keys exist; a key named twice counts twice.",
        complexity: PER_KEY,
        history: &[("3.0.3", "Several keys.")],
        tips: SHARD_SUM,
        run: Run::Data(exists),
        script: "> SET a 1\nOK\n> EXISTS a a b\n2\n",
        ..Command::BLANK
    },
    Command {
        name: "touch",
        arity: Arity::AtLeast(2),
        flags: Flags::READ.and(Flags::FAST),
        keys: &[Keys::from(1, Access::PEEK)],
        args: KEYS_ARG,
        since: "3.2.1",
        summary: "Marks keys as just used and tells how many exist.",
        complexity: PER_KEY,
        tips: SHARD_SUM,
        run: Run::Data(touch),
        script: "> SET a 1\nOK\n> TOUCH a b\n1\n",
        ..Command::BLANK
    },
    Command {
        name: "type",
        arity: Arity::Exactly(2),
        flags: Flags::READ.and(Flags::FAST),
        keys: &[Keys::at(1, Access::PEEK)],
        args: ONE_KEY,
        since: "1.0.0",
        summary: "Names the type of what the key holds.",
        run: Run::Data(type_),
        script: "> SET a 1\nOK\n> TYPE a\nstring\n> TYPE absent\nnone\n",
        ..Command::BLANK
    },
    Command {
        name: "rename",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE,
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::OVERWRITE)],
        args: &[Arg::key("key"), Arg::key("newkey").key_spec(1)],
        since: "1.0.0",
        summary: "Gives a key another name; what had that name before is lost.",
        run: Run::Data(rename),
        script: "> SET a 1 EX 100\nOK\n> SET b 2\nOK\n> RENAME a b\nOK\n> GET b\n1\n> TTL b\n100\n\
            > RENAME a b\n(error) ERR no such key\n> RENAME b b\nOK\n",
        ..Command::BLANK
    },
    Command {
        name: "renamenx",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::OW.and(Access::INSERT))],
        args: &[Arg::key("key"), Arg::key("newkey").key_spec(1)],
        since: "1.0.0",
        summary: "Gives a key another name, unless that is taken.",
        run: Run::Data(renamenx),
        script: "> MSET a 1 b 2\nOK\n> RENAMENX a b\n0\n> RENAMENX a c\n1\n> GET c\n1\n",
        ..Command::BLANK
    },
    Command {
        name: "copy",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[Keys::at(1, Access::READ), Keys::at(2, Access::OVERWRITE)],
        args: &[
            Arg::key("source"),
            Arg::key("destination").key_spec(1),
            Arg::integer("destination-db").token("DB").optional(),
            Arg::word("replace", "REPLACE").optional(),
        ],
        since: "6.2.0",
        summary: "Copies what a key holds to another key, with its expiry.",
        complexity: "O(N) with the size of the value.",
        run: Run::Data(copy),
        script: "> SET a 1\nOK\n> COPY a b\n1\n> GET b\n1\n> COPY a b\n0\n> SET a 2\nOK\n\
            > COPY a b REPLACE\n1\n> GET b\n2\n> COPY a a\n\
            (error) ERR source and destination objects are the same\n> COPY a a DB 1\n1\n\
            > COPY a b DB 99\n(error) ERR DB index is out of range\n",
        ..Command::BLANK
    },
    Command {
        name: "move",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::integer("db")],
        since: "1.0.0",
        summary: "Moves a key to another database, unless it exists there.",
        run: Run::Data(move_),
        script: "> SET a 1\nOK\n> MOVE a 1\n1\n> EXISTS a\n0\n> MOVE a 1\n0\n> MOVE a 0\n\
            (error) ERR source and destination objects are the same\n> MOVE a 99\n\
            (error) ERR DB index is out of range\n",
        ..Command::BLANK
    },
    Command {
        name: "object",
        arity: Arity::AtLeast(2),
        since: "2.2.3",
        summary: "Tells how a value is kept.",
        complexity: "That of the subcommand.",
        subcommands: OBJECT,
        script: "> OBJECT\n(error) ERR wrong number of arguments for 'object' command\n\
            > OBJECT COLOUR k\n(error) ERR unknown subcommand 'COLOUR'. Try OBJECT HELP.\n",
        ..Command::BLANK
    },
];

const OBJECT_KEY: &[Keys] = &[Keys::at(2, Access::PEEK)];

const fn object(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    run: Run,
    script: &'static str,
) -> Command {
    Command {
        name,
        arity: Arity::Exactly(3),
        flags: Flags::READ,
        keys: OBJECT_KEY,
        args: ONE_KEY,
        since,
        summary,
        tips: &["nondeterministic_output"],
        run,
        script,
        ..Command::BLANK
    }
}

const OBJECT: &[Command] = &[
    object(
        "encoding",
        "2.2.3",
        "Names the inner form of the value at the key.",
        Run::Data(object_encoding),
        "> SET k 12\nOK\n> OBJECT ENCODING k\nint\n> SET k twelve\nOK\n> OBJECT ENCODING k\nembstr\n\
        > OBJECT ENCODING absent\n(nil)\n",
    ),
    object(
        "refcount",
        "2.2.3",
        "Tells how many owners the value has: always one.",
        Run::Data(object_refcount),
        "> SET k a\nOK\n> OBJECT REFCOUNT k\n1\n> OBJECT REFCOUNT absent\n(nil)\n",
    ),
    object(
        "idletime",
        "2.2.3",
        "Tells for how many seconds the key has not been used.",
        Run::Data(object_idletime),
        "> SET k a\nOK\n> OBJECT IDLETIME k\n0\n> OBJECT IDLETIME absent\n(nil)\n",
    ),
    object(
        "freq",
        "4.0.0",
        "Tells the logarithm of how often the key has been used, under an LFU policy.",
        Run::Data(object_freq),
        "> OBJECT FREQ absent\n(nil)\n",
    ),
    Command {
        name: "help",
        arity: Arity::Exactly(2),
        flags: Flags::ANYTIME,
        since: "6.2.0",
        summary: "Lists the subcommands.",
        run: Run::Data(object_help),
        ..Command::BLANK
    },
];

fn del(call: &mut Call<'_>) -> Result<(), CmdError> {
    let mut removed = 0;
    for index in 1..call.argv.len() {
        let key = call.key(index);
        if call.db.remove(&key) {
            call.notify(EventClass::GENERIC, "del", key.bytes);
            removed += 1;
        }
    }
    call.effects.changed(removed);
    call.reply.integer(removed as i64);
    Ok(())
}

fn exists(call: &mut Call<'_>) -> Result<(), CmdError> {
    let found = (1..call.argv.len())
        .filter(|index| {
            let key = call.key(*index);
            call.db.exists(&key)
        })
        .count();
    call.reply.integer(found as i64);
    Ok(())
}

fn touch(call: &mut Call<'_>) -> Result<(), CmdError> {
    let found = (1..call.argv.len())
        .filter(|index| {
            let key = call.key(*index);
            // Unlike `exists`, this counts as a use.
            call.db.value(&key).is_some()
        })
        .count();
    call.reply.integer(found as i64);
    Ok(())
}

fn type_(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    call.reply.simple(call.db.peek(&key).map_or("none", |value| value.type_name()));
    Ok(())
}

fn rename(call: &mut Call<'_>) -> Result<(), CmdError> {
    rename_to(call, true)?;
    call.reply.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_>) -> Result<(), CmdError> {
    let done = rename_to(call, false)?;
    call.reply.integer(i64::from(done));
    Ok(())
}

fn rename_to(call: &mut Call<'_>, replace: bool) -> Result<bool, CmdError> {
    let (from, to) = (call.key(1), call.key(2));
    if !call.db.exists(&from) {
        return Err(CmdError::NoSuchKey);
    }
    if from.bytes == to.bytes {
        return Ok(false);
    }
    if !replace && call.db.exists(&to) {
        return Ok(false);
    }
    let odd = call.db.has_odd_form(&from);
    let (value, expires_at) = call.db.take(&from).expect("it existed under the same lock");
    put(call, &to, value, expires_at, odd);
    call.effects.changed(1);
    call.notify(EventClass::GENERIC, "rename_from", from.bytes);
    call.notify(EventClass::GENERIC, "rename_to", to.bytes);
    Ok(true)
}

/// Puts a value that was elsewhere at the key; its encoding is told as it was there.
fn put(
    call: &mut Call<'_>,
    key: &Key<'_>,
    value: Value,
    expires_at: Option<UnixMillis>,
    odd_form: bool,
) {
    call.db.insert(key, value, expires_at);
    if odd_form {
        call.db.set_odd_form(key);
    }
}

/// The database that an argument names.
fn db_argument(call: &Call<'_>, index: usize) -> Result<DbIndex, CmdError> {
    let number = call.int(index)?;
    u16::try_from(number)
        .ok()
        .filter(|number| *number < call.settings.databases)
        .map(DbIndex)
        .ok_or(CmdError::DbOutOfRange)
}

fn copy(call: &mut Call<'_>) -> Result<(), CmdError> {
    let source_db = call.db.index();
    let (mut target_db, mut replace) = (source_db, false);
    let mut index = 3;
    while index < call.argv.len() {
        if call.is_word(index, "REPLACE") {
            replace = true;
        } else if call.is_word(index, "DB") && index + 1 < call.argv.len() {
            target_db = db_argument(call, index + 1)?;
            index += 1;
        } else {
            return Err(CmdError::Syntax);
        }
        index += 1;
    }
    if call.settings.is_cluster_of_one_database() && target_db != DbIndex(0) {
        return Err(CmdError::text(
            "ERR Copying to another database is not allowed in cluster mode",
        ));
    }
    let (from, to) = (call.key(1), call.key(2));
    if source_db == target_db && from.bytes == to.bytes {
        return Err(CmdError::SameObject);
    }
    let done = copy_to(call, &from, &to, target_db, replace);
    call.db.select(source_db);
    call.reply.integer(i64::from(done));
    Ok(())
}

/// Copies, and leaves `target_db` selected if the source exists.
fn copy_to(
    call: &mut Call<'_>,
    from: &Key<'_>,
    to: &Key<'_>,
    target_db: DbIndex,
    replace: bool,
) -> bool {
    let Some(expires_at) = call.db.expires_at(from) else { return false };
    let odd = call.db.has_odd_form(from);
    let Some(value) = call.db.value(from).map(|value| value.to_value()) else { return false };
    call.db.select(target_db);
    if !replace && call.db.exists(to) {
        return false;
    }
    put(call, to, value, expires_at, odd);
    call.effects.changed(1);
    call.notify(EventClass::GENERIC, "copy_to", to.bytes);
    true
}

fn move_(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.settings.is_cluster_of_one_database() {
        return Err(CmdError::text("ERR MOVE is not allowed in cluster mode"));
    }
    let source_db = call.db.index();
    let target_db = db_argument(call, 2)?;
    if source_db == target_db {
        return Err(CmdError::SameObject);
    }
    let key = call.key(1);
    let done = move_to(call, &key, source_db, target_db);
    call.db.select(source_db);
    call.reply.integer(i64::from(done));
    Ok(())
}

/// Moves, and leaves either database selected.
fn move_to(call: &mut Call<'_>, key: &Key<'_>, source_db: DbIndex, target_db: DbIndex) -> bool {
    call.db.select(target_db);
    if call.db.exists(key) {
        return false;
    }
    call.db.select(source_db);
    let odd = call.db.has_odd_form(key);
    let Some((value, expires_at)) = call.db.take(key) else { return false };
    call.notify(EventClass::GENERIC, "move_from", key.bytes);
    call.db.select(target_db);
    put(call, key, value, expires_at, odd);
    call.notify(EventClass::GENERIC, "move_to", key.bytes);
    call.effects.changed(1);
    true
}

fn object_encoding(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    match call.db.object_info(&key) {
        Some(info) => call.reply.bulk(info.encoding.name().as_bytes()),
        None => call.reply.null(),
    }
    Ok(())
}

fn object_refcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    match call.db.object_info(&key) {
        Some(_) => call.reply.integer(1),
        None => call.reply.null(),
    }
    Ok(())
}

fn object_idletime(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    let Some(info) = call.db.object_info(&key) else {
        call.reply.null();
        return Ok(());
    };
    if call.settings.counts_accesses {
        return Err(CmdError::text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    call.reply.integer(info.idle_seconds as i64);
    Ok(())
}

fn object_freq(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    let Some(info) = call.db.object_info(&key) else {
        call.reply.null();
        return Ok(());
    };
    if !call.settings.counts_accesses {
        return Err(CmdError::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        ));
    }
    call.reply.integer(info.use_count.into());
    Ok(())
}

fn object_help(call: &mut Call<'_>) -> Result<(), CmdError> {
    crate::introspect::help("OBJECT", OBJECT, call.reply);
    Ok(())
}
