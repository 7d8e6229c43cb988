//! Those that wait for an element: `BLPOP`, `BRPOP`, `BLMOVE`, `BRPOPLPUSH`, `BLMPOP`.

use slotward_keyspace::{End, Kind};

use super::{SIDES, WRITE_OOM, list_command, move_one, parse_pop_many, pop_many_of, pop_one, side};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Deprecated, Flags, Run};
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const BLOCKING: Flags = Flags::WRITE.and(Flags::BLOCKING);
const KEYS_TIMEOUT: &[Arg] = &[Arg::key("key").multiple(), Arg::double("timeout")];
const FRACTIONS: &[(&str, &str)] = &[("6.0.0", "A timeout with a fraction.")];

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::range(1, -2, 1, Access::POP)],
        args: KEYS_TIMEOUT,
        since: "2.0.0",
        summary: "Takes the first element of the first list that has any, and waits for one.",
        complexity: "O(N) with the number of keys.",
        history: FRACTIONS,
        run: Run::Data(blpop),
        script: "> RPUSH {l}2 a b\n2\n> BLPOP {l}1 {l}2 0\n1) {l}2\n2) a\n> BLPOP {l}1 0.1\n(nil)\n\
            > BLPOP {l}1 -1\n(error) ERR timeout is negative\n> BLPOP {l}1 x\n\
            (error) ERR timeout is not a float or out of range\n> BLPOP {l}1 inf\n\
            (error) ERR timeout is out of range\n",
        ..list_command("blpop", Arity::AtLeast(3), BLOCKING)
    },
    Command {
        keys: &[Keys::range(1, -2, 1, Access::POP)],
        args: KEYS_TIMEOUT,
        since: "2.0.0",
        summary: "Takes the last element of the first list that has any, and waits for one.",
        complexity: "O(N) with the number of keys.",
        history: FRACTIONS,
        run: Run::Data(brpop),
        script: "> RPUSH l a b\n2\n> BRPOP l 0\n1) l\n2) b\n> SET s x\nOK\n> BRPOP s 0\n\
            (error) WRONGTYPE Operation against a key holding the wrong kind of value\n",
        ..list_command("brpop", Arity::AtLeast(3), BLOCKING)
    },
    Command {
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)],
        args: &[
            Arg::key("source"),
            Arg::key("destination").key_spec(1),
            Arg::one_of("wherefrom", SIDES),
            Arg::one_of("whereto", SIDES),
            Arg::double("timeout"),
        ],
        since: "6.2.0",
        summary: "Takes an element from a list, waiting for one, and puts it at an end of a list.",
        run: Run::Data(blmove),
        script: "> RPUSH {l}1 a b\n2\n> BLMOVE {l}1 {l}2 LEFT RIGHT 0\na\n\
            > BLMOVE {l}3 {l}2 LEFT LEFT 0\n(nil)\n> BLMOVE {l}1 {l}2 UP LEFT x\n\
            (error) ERR syntax error\n",
        ..list_command("blmove", Arity::Exactly(6), WRITE_OOM.and(Flags::BLOCKING))
    },
    Command {
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)],
        args: &[Arg::key("source"), Arg::key("destination").key_spec(1), Arg::double("timeout")],
        since: "2.2.0",
        summary: "Takes the last element of a list, waiting for one, and puts it before another's.",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`BLMOVE` with `RIGHT` and `LEFT`",
        }),
        history: FRACTIONS,
        run: Run::Data(brpoplpush),
        script: "> RPUSH l a b c\n3\n> BRPOPLPUSH l l 0\nc\n> LRANGE l 0 -1\n1) c\n2) a\n3) b\n",
        ..list_command("brpoplpush", Arity::Exactly(4), WRITE_OOM.and(Flags::BLOCKING))
    },
    Command {
        keys: &[Keys::counted(2, Access::POP)],
        args: &[
            Arg::double("timeout"),
            Arg::integer("numkeys"),
            Arg::key("key").multiple(),
            Arg::one_of("where", SIDES),
            Arg::integer("count").token("COUNT").optional(),
        ],
        since: "7.0.0",
        summary: "Takes elements from the first list of several that has any, and waits for some.",
        complexity: "O(N+M) with the number of keys and of elements returned.",
        run: Run::Data(blmpop),
        script: "> RPUSH {l}2 a b c\n3\n> BLMPOP 0 2 {l}1 {l}2 LEFT COUNT 2\n1) {l}2\n2) 1) a\n   2) b\n\
            > BLMPOP 1 1 {l}1 LEFT\n(nil)\n> BLMPOP -1 0 {l}1 LEFT\n\
            (error) ERR timeout is negative\n> BLMPOP 1 0 {l}1 LEFT\n\
            (error) ERR numkeys should be greater than 0\n",
        ..list_command("blmpop", Arity::AtLeast(5), BLOCKING)
    },
];

fn blpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop_first(call, End::Front)
}

fn brpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop_first(call, End::Back)
}

fn pop_first(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    let last = call.argv.len() - 1;
    let until = call.timeout_seconds(last)?;
    for index in 1..last {
        let key = call.key(index);
        if !call.is_held(&key) || call.db.list(&key)?.is_none() {
            continue;
        }
        call.reply.array(2);
        call.reply.bulk(key.bytes);
        pop_one(call, &key, end)?;
        let name: &[u8] = if end == End::Front { b"LPOP" } else { b"RPOP" };
        call.effects.propagate([name, key.bytes]);
        return Ok(());
    }
    call.reply.null_array();
    call.wait_for(1..last, Kind::List, until);
    Ok(())
}

fn blmove(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (from, to) = (side(call, 3)?, side(call, 4)?);
    let until = call.timeout_seconds(5)?;
    let source = call.key(1);
    if call.db.list(&source)?.is_none() {
        call.reply.null();
        call.wait_for(1..2, Kind::List, until);
        return Ok(());
    }
    move_one(call, from, to)?;
    let argv = call.argv;
    call.effects.propagate([b"LMOVE", &argv[1], &argv[2], &argv[3], &argv[4]]);
    Ok(())
}

fn brpoplpush(call: &mut Call<'_>) -> Result<(), CmdError> {
    let until = call.timeout_seconds(3)?;
    let source = call.key(1);
    if call.db.list(&source)?.is_none() {
        call.reply.null();
        call.wait_for(1..2, Kind::List, until);
        return Ok(());
    }
    move_one(call, End::Back, End::Front)?;
    let argv = call.argv;
    call.effects.propagate([b"RPOPLPUSH".as_slice(), &argv[1], &argv[2]]);
    Ok(())
}

fn blmpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let until = call.timeout_seconds(1)?;
    let (keys, end, count) = parse_pop_many(call, 2)?;
    if !pop_many_of(call, keys.clone(), end, count)? {
        call.reply.null_array();
        call.wait_for(keys, Kind::List, until);
    }
    Ok(())
}
