//! `DUMP` and `RESTORE`: values as bytes that other servers understand.

use slotward_keyspace::ExpiryPolicy;
use slotward_rdb::{RdbError, ReadLimits};
use slotward_types::UnixMillis;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::settings::deletion;

const RESTORE_ARGS: &[Arg] = &[
    Arg::key("key"),
    Arg::integer("ttl"),
    Arg::string("serialized-value"),
    Arg::word("replace", "REPLACE").optional().since("3.0.0"),
    Arg::word("absttl", "ABSTTL").optional().since("5.0.0"),
    Arg::integer("seconds").token("IDLETIME").optional().since("5.0.0"),
    Arg::integer("frequency").token("FREQ").optional().since("5.0.0"),
];

const RESTORE: Command = Command {
    name: "restore",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    categories: &["dangerous"],
    keys: &[Keys::at(1, Access::OVERWRITE)],
    args: RESTORE_ARGS,
    since: "2.6.0",
    summary: "Makes a key hold what `DUMP` gave.",
    complexity: "O(N) with the size of the value; O(log(N)) more for each member of a sorted set.",
    history: &[("3.0.0", "REPLACE."), ("5.0.0", "ABSTTL, IDLETIME and FREQ.")],
    run: Run::Data(restore),
    script: "> RESTORE k 0 \"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"\nOK\n> GET k\n10\n\
        > RESTORE k 0 x\n(error) BUSYKEY Target key name already exists.\n\
        > RESTORE k 0 x REPLACE\n(error) ERR DUMP payload version or checksum are wrong\n\
        > RESTORE k -1 x REPLACE\n(error) ERR Invalid TTL value, must be >= 0\n\
        > RESTORE k 5000 \"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\" REPLACE\nOK\n\
        > PTTL k\n5000\n",
    ..Command::BLANK
};

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: Arity::Exactly(2),
        flags: Flags::READ,
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key")],
        since: "2.6.0",
        summary: "Returns what the key holds, as bytes that `RESTORE` takes.",
        complexity: "O(N) with the size of the value.",
        tips: &["nondeterministic_output"],
        run: Run::Data(dump),
        script: "> SET k 10\nOK\n> DUMP k\n\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\n\
            > DUMP absent\n(nil)\n",
        ..Command::BLANK
    },
    RESTORE,
    Command {
        name: "restore-asking",
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ASKING),
        since: "3.0.0",
        summary: "Does what `RESTORE` does, in a slot that is being imported.",
        script: "> RESTORE-ASKING k 0 \"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"\nOK\n",
        ..RESTORE
    },
];

fn dump(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    match call.db.peek(&key) {
        Some(value) => call.reply.bulk(&slotward_rdb::dump(&value, true)),
        None => call.reply.null(),
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Options {
    replace: bool,
    is_moment: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut index = 4;
        while index < call.argv.len() {
            let more = index + 1 < call.argv.len();
            if call.is_word(index, "REPLACE") {
                options.replace = true;
            } else if call.is_word(index, "ABSTTL") {
                options.is_moment = true;
            } else if call.is_word(index, "IDLETIME") && more && options.frequency.is_none() {
                index += 1;
                let seconds = u64::try_from(call.int(index)?);
                options.idle_seconds = Some(
                    seconds
                        .map_err(|_| CmdError::text("ERR Invalid IDLETIME value, must be >= 0"))?,
                );
            } else if call.is_word(index, "FREQ") && more && options.idle_seconds.is_none() {
                index += 1;
                let frequency = u8::try_from(call.int(index)?);
                options.frequency = Some(frequency.map_err(|_| {
                    CmdError::text("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?);
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }
}

fn restore(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call)?;
    let key = call.key(1);
    if !options.replace && call.db.exists(&key) {
        return Err(CmdError::text("BUSYKEY Target key name already exists."));
    }
    let ttl = call.int(2)?;
    if ttl < 0 {
        return Err(CmdError::text("ERR Invalid TTL value, must be >= 0"));
    }
    let read_limits = ReadLimits { string_bytes_max: call.settings.string_bytes_max as u64 };
    let value = slotward_rdb::restore(call.arg(3), &call.settings.limits, read_limits);
    let value = value.map_err(|error| match error {
        RdbError::BadVersion(_) | RdbError::BadChecksum => {
            CmdError::text("ERR DUMP payload version or checksum are wrong")
        }
        _ => CmdError::text("ERR Bad data format"),
    })?;
    let base = if options.is_moment { 0 } else { call.now().0 };
    let expires_at = (ttl > 0).then(|| UnixMillis(ttl.saturating_add(base)));
    let is_over = expires_at.is_some_and(|at| at <= call.now());
    if is_over && call.db.policy() == ExpiryPolicy::Delete {
        // It would be removed at once; what was there goes all the same.
        if call.db.remove(&key) {
            call.effects.changed(1);
            call.effects.propagate([deletion(call.settings.lazy_free.server_del), key.bytes]);
            call.notify(EventClass::GENERIC, "del", key.bytes);
        }
        call.reply.ok();
        return Ok(());
    }
    call.db.insert(&key, value, expires_at);
    if options.idle_seconds.is_some() || options.frequency.is_some() {
        let idle = options.idle_seconds.map(|idle| u32::try_from(idle).unwrap_or(u32::MAX));
        call.db.restore_access(&key, idle, options.frequency);
    }
    call.effects.changed(1);
    if let Some(at) = expires_at
        && !options.is_moment
    {
        let mut digits = itoa::Buffer::new();
        let at = digits.format(at.0).as_bytes();
        let argv = call.argv;
        let args = argv.iter().enumerate().map(|(index, arg)| if index == 2 { at } else { arg });
        call.effects.propagate(args.chain([&b"ABSTTL"[..]]));
    }
    call.notify(EventClass::GENERIC, "restore", key.bytes);
    call.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check_stream;

    #[test]
    fn replicas_get_moments() {
        const VALUE: &str = "\"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"";
        let restore = |rest: &str| format!("RESTORE k 5 {VALUE}{rest}");
        let over = format!("RESTORE k 5 {VALUE} ABSTTL REPLACE");
        check_stream("what is over removes", &["SET k v", &over], &["SET k v", "DEL k"]);
        check_stream("what was not there neither", &[&over], &[]);
        let mut node = crate::testing::Node::new(1, 1_700_000_000_000);
        node.run(&restore(" IDLETIME 100"));
        let sent = node.stream[0].1.as_args();
        assert_eq!(&sent[2], b"1700000000005");
        assert_eq!(&sent[sent.len() - 1], b"ABSTTL");
        assert_eq!(node.run("OBJECT IDLETIME k"), "100");
    }
}
