//! The set family.

pub(crate) mod card;

use slotward_keyspace::{Item, Key, Set, Value, ValueRef};
use slotward_resp::Args;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::list::reply_item;
use crate::number::parse_integer;
use crate::sample::{Sample, distinct};
use crate::scan::{ScanOf, ScanOptions, cursor, reply_found, reply_nothing};
use crate::settings::deletion;

const READ: Flags = Flags::READ;
const READ_FAST: Flags = Flags::READ.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(Flags::FAST);

const KEY: &[Arg] = &[Arg::key("key")];
const KEYS: &[Arg] = &[Arg::key("key").multiple()];
const STORE: &[Arg] = &[Arg::key("destination"), Arg::key("key").key_spec(1).multiple()];
const KEY_MEMBERS: &[Arg] = &[Arg::key("key"), Arg::string("member").multiple()];
const PER_MEMBER: &str = "O(N) with the number of members.";
const ALL_SETS: &str = "O(N) with the number of members of all sets.";
const OUTPUT_ORDER: &[&str] = &["nondeterministic_output_order"];
const SEVERAL: &[(&str, &str)] = &[("2.4.0", "Several members.")];
const STORE_KEYS: &[Keys] = &[Keys::at(1, Access::OVERWRITE), Keys::from(2, Access::READ)];

const fn set_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::Set, since: "1.0.0", ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_MEMBERS,
        summary: "Adds members to a set and tells how many are new.",
        complexity: PER_MEMBER,
        history: SEVERAL,
        run: Run::Data(sadd),
        script: "> SADD s a b a\n2\n> SADD s b\n0\n> SET k x\nOK\n> SADD k a\n\
            (error) WRONGTYPE Operation against a key holding the wrong kind of value\n",
        ..set_command("sadd", Arity::AtLeast(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: KEY_MEMBERS,
        summary: "Removes members from a set and tells how many there were.",
        complexity: PER_MEMBER,
        history: SEVERAL,
        run: Run::Data(srem),
        script: "> SADD s a b\n2\n> SREM s a x\n1\n> SREM s b\n1\n> EXISTS s\n0\n",
        ..set_command("srem", Arity::AtLeast(3), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)],
        args: &[Arg::key("source"), Arg::key("destination").key_spec(1), Arg::string("member")],
        summary: "Moves a member from a set to another.",
        run: Run::Data(smove),
        script: "> SADD {s}1 a b\n2\n> SMOVE {s}1 {s}2 a\n1\n> SMOVE {s}1 {s}2 x\n0\n\
            > SMOVE {s}1 {s}1 b\n1\n> SMEMBERS {s}2\n1) a\n",
        ..set_command("smove", Arity::Exactly(4), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: &[Arg::key("key"), Arg::string("member")],
        summary: "Tells whether something is a member of a set.",
        run: Run::Data(sismember),
        script: "> SADD s a\n1\n> SISMEMBER s a\n1\n> SISMEMBER s b\n0\n",
        ..set_command("sismember", Arity::Exactly(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY_MEMBERS,
        since: "6.2.0",
        summary: "Tells which of several are members of a set.",
        complexity: PER_MEMBER,
        run: Run::Data(smismember),
        script: "> SADD s a\n1\n> SMISMEMBER s a b\n1) 1\n2) 0\n> SMISMEMBER absent a\n1) 0\n",
        ..set_command("smismember", Arity::AtLeast(3), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: KEY,
        summary: "Tells how many members a set has.",
        run: Run::Data(scard),
        script: "> SADD s a b\n2\n> SCARD s\n2\n> SCARD absent\n0\n",
        ..set_command("scard", Arity::Exactly(2), READ_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: KEY,
        summary: "Returns all members of a set.",
        complexity: PER_MEMBER,
        tips: OUTPUT_ORDER,
        run: Run::Data(smembers),
        script: "> SADD s 3 1 2\n3\n> SMEMBERS s\n1) 1\n2) 2\n3) 3\n> SMEMBERS absent\n(empty array)\n",
        ..set_command("smembers", Arity::Exactly(2), READ)
    },
    Command {
        keys: &[Keys::at(1, Access::POP)],
        args: &[Arg::key("key"), Arg::integer("count").optional().since("3.2.0")],
        summary: "Removes and returns members chosen at random.",
        complexity: "O(N) with the number of members returned.",
        history: &[("3.2.0", "A count.")],
        tips: &["nondeterministic_output"],
        run: Run::Data(spop),
        script: "> SADD s a\n1\n> SPOP s 0\n(empty array)\n> SPOP s\na\n> SPOP s\n(nil)\n> SPOP s 1\n\
            (empty array)\n> SADD s a\n1\n> SPOP s 5\n1) a\n> EXISTS s\n0\n> SPOP s -1\n\
            (error) ERR value is out of range, must be positive\n",
        ..set_command("spop", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("count").optional().since("2.6.0")],
        summary: "Returns members chosen at random.",
        complexity: "O(N) with the number of members returned.",
        history: &[("2.6.0", "A count.")],
        tips: &["nondeterministic_output"],
        run: Run::Data(srandmember),
        script: "> SADD s a\n1\n> SRANDMEMBER s\na\n> SRANDMEMBER s 5\n1) a\n> SRANDMEMBER s -2\n\
            1) a\n2) a\n> SRANDMEMBER absent\n(nil)\n> SRANDMEMBER absent 2\n(empty array)\n",
        ..set_command("srandmember", Arity::AtLeast(2), READ)
    },
    Command {
        keys: &[Keys::from(1, Access::READ)],
        args: KEYS,
        summary: "Returns the members that all sets share.",
        complexity: "O(N*M) with the smallest set and the number of sets.",
        tips: OUTPUT_ORDER,
        run: Run::Data(sinter),
        script: "> SADD {s}1 1 2 3\n3\n> SADD {s}2 2 3 4\n3\n> SINTER {s}1 {s}2\n1) 2\n2) 3\n\
            > SINTER {s}1 {s}absent\n(empty array)\n",
        ..set_command("sinter", Arity::AtLeast(2), READ)
    },
    Command {
        keys: STORE_KEYS,
        args: STORE,
        summary: "Keeps the members that all sets share in a set.",
        complexity: "O(N*M) with the smallest set and the number of sets.",
        run: Run::Data(sinterstore),
        script: "> SADD {s}1 1 2\n2\n> SADD {s}2 2 3\n2\n> SINTERSTORE {s}3 {s}1 {s}2\n1\n\
            > SMEMBERS {s}3\n1) 2\n> SINTERSTORE {s}3 {s}1 {s}absent\n0\n> EXISTS {s}3\n0\n",
        ..set_command("sinterstore", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::from(1, Access::READ)],
        args: KEYS,
        summary: "Returns the members that any of the sets has.",
        complexity: ALL_SETS,
        tips: OUTPUT_ORDER,
        run: Run::Data(sunion),
        script: "> SADD {s}1 1 2\n2\n> SADD {s}2 2 3\n2\n> SUNION {s}1 {s}2\n1) 1\n2) 2\n3) 3\n",
        ..set_command("sunion", Arity::AtLeast(2), READ)
    },
    Command {
        keys: STORE_KEYS,
        args: STORE,
        summary: "Keeps the members that any of the sets has in a set.",
        complexity: ALL_SETS,
        run: Run::Data(sunionstore),
        script: "> SADD {s}1 1 2\n2\n> SUNIONSTORE {s}2 {s}1 {s}absent\n2\n> SUNIONSTORE {s}2 {s}x\n0\n\
            > EXISTS {s}2\n0\n",
        ..set_command("sunionstore", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::from(1, Access::READ)],
        args: KEYS,
        summary: "Returns the members of the first set that none of the others has.",
        complexity: ALL_SETS,
        tips: OUTPUT_ORDER,
        run: Run::Data(sdiff),
        script: "> SADD {s}1 1 2 3\n3\n> SADD {s}2 2\n1\n> SDIFF {s}1 {s}2\n1) 1\n2) 3\n",
        ..set_command("sdiff", Arity::AtLeast(2), READ)
    },
    Command {
        keys: STORE_KEYS,
        args: STORE,
        summary: "Keeps the members of the first set that none of the others has in a set.",
        complexity: ALL_SETS,
        run: Run::Data(sdiffstore),
        script: "> SADD {s}1 1 2\n2\n> SADD {s}2 2\n1\n> SDIFFSTORE {s}1 {s}1 {s}2\n1\n> SMEMBERS {s}1\n\
            1) 1\n",
        ..set_command("sdiffstore", Arity::AtLeast(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::integer("cursor"),
            Arg::pattern("pattern").token("MATCH").optional(),
            Arg::integer("count").token("COUNT").optional(),
        ],
        since: "2.8.0",
        summary: "Walks through the members of a set, some in each call.",
        complexity: "O(1) for each call, O(N) for a whole walk.",
        tips: &["nondeterministic_output"],
        run: Run::Data(sscan),
        script: "> SADD s a b\n2\n> SSCAN s 0 MATCH b\n1) 0\n2) 1) b\n> SSCAN s 0 COUNT 0\n\
            (error) ERR syntax error\n",
        ..set_command("sscan", Arity::AtLeast(3), READ)
    },
];

fn sadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let set = call.db.set_or_new(&key)?;
    let limits = &call.settings.limits;
    let added = call.argv.from(2).iter().filter(|member| set.insert(member, limits)).count();
    if added == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(added as u64);
        call.notify(EventClass::SET, "sadd", key.bytes);
    }
    call.reply.integer(added as i64);
    Ok(())
}

fn srem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let Some(set) = call.db.set_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let removed = call.argv.from(2).iter().filter(|member| set.remove(member)).count();
    let emptied = set.is_empty();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(removed as u64);
        call.notify(EventClass::SET, "srem", key.bytes);
    }
    drop_if(call, &key, emptied);
    call.reply.integer(removed as i64);
    Ok(())
}

/// Removes a key whose set has become empty.
fn drop_if(call: &mut Call<'_>, key: &Key<'_>, emptied: bool) {
    if emptied {
        call.db.remove_if_empty(key);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
}

fn smove(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (source, target, member) = (call.key(1), call.key(2), call.arg(3));
    let Some(set) = call.db.set(&source)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let there = set.contains(member);
    call.db.set(&target)?;
    if source.bytes == target.bytes || !there {
        call.reply.integer(i64::from(there));
        return Ok(());
    }
    let set = call.db.set_mut(&source)?.ok_or(CmdError::NoSuchKey)?;
    set.remove(member);
    let emptied = set.is_empty();
    call.notify(EventClass::SET, "srem", source.bytes);
    drop_if(call, &source, emptied);
    call.effects.changed(1);
    if call.db.set_or_new(&target)?.insert(member, &call.settings.limits) {
        call.effects.changed(1);
        call.notify(EventClass::SET, "sadd", target.bytes);
    } else {
        call.db.unchanged();
    }
    call.reply.integer(1);
    Ok(())
}

fn sismember(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, member) = (call.key(1), call.arg(2));
    let there = call.db.set(&key)?.is_some_and(|set| set.contains(member));
    call.reply.integer(i64::from(there));
    Ok(())
}

fn smismember(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let set = call.db.set(&key)?;
    let members = call.argv.from(2);
    call.reply.array(members.len());
    for member in members.iter() {
        call.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.set(&key)?.map_or(0, Set::len);
    call.reply.integer(len as i64);
    Ok(())
}

fn smembers(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let set = call.db.set(&key)?;
    call.reply.set(set.map_or(0, Set::len));
    for member in set.into_iter().flat_map(Set::iter) {
        reply_item(call.reply, member);
    }
    Ok(())
}

fn spop(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len() > 3 {
        return Err(CmdError::Syntax);
    }
    let key = call.key(1);
    let Some(count) = call.argv.get(2) else { return spop_one(call, &key) };
    let count = parse_integer(count).ok_or(CmdError::MustBePositive)?;
    let count = usize::try_from(count).map_err(|_| CmdError::MustBePositive)?;
    let Some(set) = call.db.set_mut(&key)? else {
        call.reply.set(0);
        return Ok(());
    };
    let count = count.min(set.len());
    call.reply.set(count);
    let all = count == set.len();
    if all {
        set.iter().for_each(|member| reply_item(call.reply, member));
        call.db.remove(&key);
        call.effects.propagate([deletion(call.settings.lazy_free.server_del), key.bytes]);
    } else if count > 0 {
        let mut gone: Vec<Vec<u8>> = Vec::with_capacity(count);
        for _ in 0..count {
            set.pop_with(call.random.next_u64(), |member| gone.push(member.to_vec()));
        }
        gone.iter().for_each(|member| call.reply.bulk(member));
        let command = [b"SREM".as_slice(), key.bytes];
        call.effects.propagate(command.into_iter().chain(gone.iter().map(Vec::as_slice)));
    } else {
        call.db.unchanged();
        return Ok(());
    }
    call.effects.changed(count as u64);
    call.notify(EventClass::SET, "spop", key.bytes);
    if all {
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
    Ok(())
}

fn spop_one(call: &mut Call<'_>, key: &Key<'_>) -> Result<(), CmdError> {
    let random = call.random.next_u64();
    let Some(set) = call.db.set_mut(key)? else {
        call.reply.null();
        return Ok(());
    };
    set.pop_with(random, |member| {
        call.reply.bulk(member);
        call.effects.propagate([b"SREM", key.bytes, member]);
    });
    let emptied = set.is_empty();
    call.effects.changed(1);
    call.notify(EventClass::SET, "spop", key.bytes);
    drop_if(call, key, emptied);
    Ok(())
}

fn srandmember(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    match call.argv.len() {
        2 => {
            let random = call.random.next_u64();
            match call.db.set(&key)?.and_then(|set| set.random(random)) {
                Some(member) => reply_item(call.reply, member),
                None => call.reply.null(),
            }
            return Ok(());
        }
        3 => {}
        _ => return Err(CmdError::Syntax),
    }
    let sample = Sample::of_count(call.int(2)?)?;
    let Some(set) = call.db.set(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    match sample {
        Sample::Distinct(count) => {
            let members =
                distinct(call.random, set.len(), count, set.iter().map(Item::to_vec), |random| {
                    set.random(random).map(Item::to_vec)
                });
            call.reply.array(members.len());
            members.iter().for_each(|member| call.reply.bulk(member));
        }
        Sample::Repeating(count) => {
            call.reply.array(count);
            for _ in 0..count {
                if let Some(member) = set.random(call.random.next_u64()) {
                    reply_item(call.reply, member);
                }
            }
        }
    }
    Ok(())
}

/// What several sets are made into.
#[derive(Clone, Copy)]
enum Combine {
    Inter,
    Union,
    Diff,
}

/// The sets at the keys, absent ones as `None`.
fn sets_of<'v>(values: &'v [Option<ValueRef<'v>>]) -> Result<Vec<Option<&'v Set>>, CmdError> {
    let set_of = |value: &Option<ValueRef<'v>>| match value {
        None => Ok(None),
        Some(ValueRef::Set(set)) => Ok(Some(*set)),
        Some(_) => Err(CmdError::WrongType),
    };
    values.iter().map(set_of).collect()
}

/// Calls `found` with each member of the combination; a union may show one several times. `found`
/// says whether to go on.
fn combine<'v>(sets: &[Option<&'v Set>], how: Combine, found: &mut dyn FnMut(Item<'v>) -> bool) {
    let has = |set: &Set, member: Item<'_>| member.with_bytes(|bytes| set.contains(bytes));
    match how {
        Combine::Union => {
            let mut members = sets.iter().flatten().flat_map(|set| set.iter());
            members.all(found);
        }
        Combine::Inter => {
            let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return };
            sets.sort_by_key(|set| set.len());
            let Some((smallest, rest)) = sets.split_first() else { return };
            let mut shared =
                smallest.iter().filter(|member| rest.iter().all(|set| has(set, *member)));
            shared.all(found);
        }
        Combine::Diff => {
            let Some((Some(first), rest)) = sets.split_first() else { return };
            let mut rest: Vec<&Set> = rest.iter().copied().flatten().collect();
            // The largest is the likeliest to have a member, which ends the search for it.
            rest.sort_by_key(|set| std::cmp::Reverse(set.len()));
            let mut left = first.iter().filter(|member| !rest.iter().any(|set| has(set, *member)));
            left.all(found);
        }
    }
}

fn keys_of<'a>(call: &Call<'a>, keys: Args<'a>) -> Vec<Key<'a>> {
    keys.iter().map(|bytes| call.db.key(bytes)).collect()
}

/// The combination of the sets at the arguments from `first` on, as a set of its own.
fn combined(call: &mut Call<'_>, first: usize, how: Combine) -> Result<Set, CmdError> {
    let keys = keys_of(call, call.argv.from(first));
    let limits = &call.settings.limits;
    let values = call.db.values(&keys);
    let sets = sets_of(&values)?;
    let mut result = Set::new();
    combine(&sets, how, &mut |member| {
        member.with_bytes(|bytes| result.insert(bytes, limits));
        true
    });
    Ok(result)
}

/// Replies a combination whose members come out distinct.
fn reply_combined(call: &mut Call<'_>, how: Combine) -> Result<(), CmdError> {
    let keys = keys_of(call, call.argv.from(1));
    let values = call.db.values(&keys);
    let sets = sets_of(&values)?;
    let (at, mut count) = (call.reply.deferred_array(), 0);
    combine(&sets, how, &mut |member| {
        reply_item(call.reply, member);
        count += 1;
        true
    });
    call.reply.set_set_len(at, count);
    Ok(())
}

fn store(call: &mut Call<'_>, how: Combine, event: &'static str) -> Result<(), CmdError> {
    let result = combined(call, 2, how)?;
    let target = call.key(1);
    let len = result.len();
    if len > 0 {
        call.db.insert(&target, Value::Set(result), None);
        call.effects.changed(1);
        call.notify(EventClass::SET, event, target.bytes);
    } else if call.db.remove(&target) {
        call.effects.changed(1);
        call.notify(EventClass::GENERIC, "del", target.bytes);
    }
    call.reply.integer(len as i64);
    Ok(())
}

fn sinter(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_combined(call, Combine::Inter)
}

fn sdiff(call: &mut Call<'_>) -> Result<(), CmdError> {
    reply_combined(call, Combine::Diff)
}

fn sunion(call: &mut Call<'_>) -> Result<(), CmdError> {
    let result = combined(call, 1, Combine::Union)?;
    call.reply.set(result.len());
    result.iter().for_each(|member| reply_item(call.reply, member));
    Ok(())
}

fn sinterstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    store(call, Combine::Inter, "sinterstore")
}

fn sunionstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    store(call, Combine::Union, "sunionstore")
}

fn sdiffstore(call: &mut Call<'_>) -> Result<(), CmdError> {
    store(call, Combine::Diff, "sdiffstore")
}

fn sscan(call: &mut Call<'_>) -> Result<(), CmdError> {
    let mut at = cursor(call)?;
    let key = call.key(1);
    if call.db.set(&key)?.is_none() {
        reply_nothing(call);
        return Ok(());
    }
    let options = ScanOptions::parse(call, ScanOf::Others)?;
    let mut found = Vec::new();
    let mut seen = 0;
    if let Some(set) = call.db.set(&key)? {
        loop {
            at = set.scan(at, &mut |member| {
                seen += 1;
                if member.with_bytes(|member| options.wants(member)) {
                    found.push(member.to_vec());
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
