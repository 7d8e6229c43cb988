//! Those that wait for a member: `BZPOPMIN`, `BZPOPMAX`, `BZMPOP`.

use slotward_keyspace::{End, Kind};

use super::pop::{parse_pop_many, pop_many_of, take};
use super::{KEYS, NUMKEYS, WHERE, zset_command};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
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
        since: "5.0.0",
        summary: "Takes the member with the lowest score out of the first sorted set that has any, and \
            waits for one.",
        complexity: "O(log(N)) with the number of members.",
        history: FRACTIONS,
        run: Run::Data(bzpopmin),
        script: "> ZADD {z}2 1.5 a 2 b\n2\n> BZPOPMIN {z}1 {z}2 0\n1) {z}2\n2) a\n3) 1.5\n\
            > BZPOPMIN {z}1 0.1\n(nil)\n> BZPOPMIN {z}1 -1\n(error) ERR timeout is negative\n\
            > BZPOPMIN {z}1 x\n(error) ERR timeout is not a float or out of range\n",
        ..zset_command("bzpopmin", Arity::AtLeast(3), BLOCKING.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::range(1, -2, 1, Access::POP)],
        args: KEYS_TIMEOUT,
        since: "5.0.0",
        summary: "Takes the member with the highest score out of the first sorted set that has any, and \
            waits for one.",
        complexity: "O(log(N)) with the number of members.",
        history: FRACTIONS,
        run: Run::Data(bzpopmax),
        script: "> ZADD z 1 a 2 b\n2\n> BZPOPMAX z 0\n1) z\n2) b\n3) 2\n> SET s x\nOK\n> BZPOPMAX s 0\n\
            (error) WRONGTYPE Operation against a key holding the wrong kind of value\n",
        ..zset_command("bzpopmax", Arity::AtLeast(3), BLOCKING.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::counted(2, Access::POP)],
        args: &[
            Arg::double("timeout"),
            NUMKEYS,
            KEYS,
            WHERE,
            Arg::integer("count").token("COUNT").optional(),
        ],
        since: "7.0.0",
        summary: "Takes members out of the first of several sorted sets that has any, and waits for \
            some.",
        complexity: "O(K)+O(M*log(N)) with K keys and N members of which M are taken.",
        run: Run::Data(bzmpop),
        script: "> ZADD {z}2 1 a 2 b\n2\n> BZMPOP 0 2 {z}1 {z}2 MIN\n1) {z}2\n2) 1) 1) a\n      2) 1\n\
            > BZMPOP 1 1 {z}1 MAX COUNT 2\n(nil)\n> BZMPOP -1 0 {z}1 MIN\n\
            (error) ERR timeout is negative\n> BZMPOP 1 0 {z}1 MIN\n\
            (error) ERR numkeys should be greater than 0\n",
        ..zset_command("bzmpop", Arity::AtLeast(5), BLOCKING)
    },
];

fn bzpopmin(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop_first(call, End::Front)
}

fn bzpopmax(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop_first(call, End::Back)
}

fn pop_first(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    let last = call.argv.len() - 1;
    let until = call.timeout_seconds(last)?;
    for index in 1..last {
        let key = call.key(index);
        if !call.is_held(&key) || call.db.zset(&key)?.is_none() {
            continue;
        }
        call.reply.array(3);
        call.reply.bulk(key.bytes);
        take(call, &key, end, 1, false)?;
        let name: &[u8] = if end == End::Front { b"ZPOPMIN" } else { b"ZPOPMAX" };
        call.effects.propagate([name, key.bytes]);
        return Ok(());
    }
    call.reply.null_array();
    call.wait_for(1..last, Kind::ZSet, until);
    Ok(())
}

fn bzmpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let until = call.timeout_seconds(1)?;
    let (keys, end, count) = parse_pop_many(call, 2)?;
    if !pop_many_of(call, keys.clone(), end, count)? {
        call.reply.null_array();
        call.wait_for(keys, Kind::ZSet, until);
    }
    Ok(())
}
