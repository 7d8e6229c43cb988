//! The list family; those that wait are in [`blocking`].

pub(crate) mod blocking;
pub(crate) mod several;

use slotward_keyspace::{End, Item, Key, List};
use slotward_resp::Reply;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Deprecated, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::parse_integer;

const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(Flags::FAST);

const KEY_ELEMENTS: &[Arg] = &[Arg::key("key"), Arg::string("element").multiple()];
const KEY_COUNT: &[Arg] = &[Arg::key("key"), Arg::integer("count").optional().since("6.2.0")];
const SIDES: &[Arg] = &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")];
const SEVERAL: &[(&str, &str)] = &[("2.4.0", "Several elements.")];

const fn list_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::List, ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_ELEMENTS,
        since: "1.0.0",
        summary: "Puts elements before the first one of a list, one after another.",
        complexity: "O(1) for each element.",
        history: SEVERAL,
        run: Run::Data(lpush),
        script: "> LPUSH l a b\n2\n> LRANGE l 0 -1\n1) b\n2) a\n> SET s x\nOK\n> LPUSH s a\n\
            (error) WRONGTYPE Operation against a key holding the wrong kind of value\n",
        ..list_command("lpush", Arity::AtLeast(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_ELEMENTS,
        since: "1.0.0",
        summary: "Puts elements after the last one of a list.",
        complexity: "O(1) for each element.",
        history: SEVERAL,
        run: Run::Data(rpush),
        script: "> RPUSH l a b\n2\n> RPUSH l 12\n3\n> LRANGE l 0 -1\n1) a\n2) b\n3) 12\n",
        ..list_command("rpush", Arity::AtLeast(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_ELEMENTS,
        since: "2.2.0",
        summary: "Puts elements before the first one of a list that exists.",
        complexity: "O(1) for each element.",
        history: &[("4.0.0", "Several elements.")],
        run: Run::Data(lpushx),
        script: "> LPUSHX l a\n0\n> EXISTS l\n0\n> RPUSH l a\n1\n> LPUSHX l b\n2\n",
        ..list_command("lpushx", Arity::AtLeast(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: KEY_ELEMENTS,
        since: "2.2.0",
        summary: "Puts elements after the last one of a list that exists.",
        complexity: "O(1) for each element.",
        history: &[("4.0.0", "Several elements.")],
        run: Run::Data(rpushx),
        script: "> RPUSHX l a\n0\n> RPUSH l a\n1\n> RPUSHX l b c\n3\n",
        ..list_command("rpushx", Arity::AtLeast(3), WRITE_OOM_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::POP)],
        args: KEY_COUNT,
        since: "1.0.0",
        summary: "Takes elements from the beginning of a list.",
        complexity: "O(N) with the number of elements returned.",
        history: &[("6.2.0", "A count.")],
        run: Run::Data(lpop),
        script: "> RPUSH l a b c d\n4\n> LPOP l\na\n> LPOP l 2\n1) b\n2) c\n> LPOP l 5\n1) d\n\
            > LPOP l\n(nil)\n> LPOP l 1\n(nil)\n> LPOP l -1\n\
            (error) ERR value is out of range, must be positive\n",
        ..list_command("lpop", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::POP)],
        args: KEY_COUNT,
        since: "1.0.0",
        summary: "Takes elements from the end of a list, the last one first.",
        complexity: "O(N) with the number of elements returned.",
        history: &[("6.2.0", "A count.")],
        run: Run::Data(rpop),
        script: "> RPUSH l a b c\n3\n> RPOP l 2\n1) c\n2) b\n> RPOP l\na\n> EXISTS l\n0\n",
        ..list_command("rpop", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::PEEK)],
        args: &[Arg::key("key")],
        since: "1.0.0",
        summary: "Tells how many elements a list has.",
        run: Run::Data(llen),
        script: "> RPUSH l a b c\n3\n> LLEN l\n3\n> LLEN absent\n0\n",
        ..list_command("llen", Arity::Exactly(2), Flags::READ.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("index")],
        since: "1.0.0",
        summary: "Returns the element at a position; negative positions count from the end.",
        complexity: "O(N) with the number of pieces before the element.",
        run: Run::Data(lindex),
        script: "> RPUSH l a b c\n3\n> LINDEX l 0\na\n> LINDEX l -1\nc\n> LINDEX l 3\n(nil)\n",
        ..list_command("lindex", Arity::Exactly(3), Flags::READ)
    },
    Command {
        keys: &[Keys::at(1, Access::CHANGE)],
        args: &[Arg::key("key"), Arg::integer("index"), Arg::string("element")],
        since: "1.0.0",
        summary: "Puts an element in the place of the one at a position.",
        complexity: "O(N) with the number of pieces before the element.",
        run: Run::Data(lset),
        script: "> RPUSH l a b\n2\n> LSET l 1 x\nOK\n> LRANGE l 0 -1\n1) a\n2) x\n> LSET l 2 y\n\
            (error) ERR index out of range\n> LSET absent 0 y\n(error) ERR no such key\n",
        ..list_command("lset", Arity::Exactly(4), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: &[
            Arg::key("key"),
            Arg::one_of("where", &[Arg::word("before", "BEFORE"), Arg::word("after", "AFTER")]),
            Arg::string("pivot"),
            Arg::string("element"),
        ],
        since: "2.2.0",
        summary: "Puts an element before or after the first one that equals the pivot.",
        complexity: "O(N) with the number of elements before the pivot.",
        run: Run::Data(linsert),
        script: "> RPUSH l a c\n2\n> LINSERT l BEFORE c b\n3\n> LINSERT l after x y\n-1\n\
            > LRANGE l 0 -1\n1) a\n2) b\n3) c\n> LINSERT absent BEFORE a b\n0\n\
            > LINSERT l UNDER a b\n(error) ERR syntax error\n",
        ..list_command("linsert", Arity::Exactly(5), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("start"), Arg::integer("stop")],
        since: "1.0.0",
        summary: "Returns the elements between two positions, both included.",
        complexity: "O(S+N) with the pieces before the first element and the number returned.",
        run: Run::Data(lrange),
        script: "> RPUSH l a b c\n3\n> LRANGE l 0 0\n1) a\n> LRANGE l -2 -1\n1) b\n2) c\n\
            > LRANGE l 5 10\n(empty array)\n",
        ..list_command("lrange", Arity::Exactly(4), Flags::READ)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[Arg::key("key"), Arg::integer("count"), Arg::string("element")],
        since: "1.0.0",
        summary: "Removes elements that equal the given one: the first ones, the last ones, or all.",
        complexity: "O(N) with the length of the list.",
        run: Run::Data(lrem),
        script: "> RPUSH l a b a c a\n5\n> LREM l -1 a\n1\n> LRANGE l 0 -1\n1) a\n2) b\n3) a\n4) c\n\
            > LREM l 0 a\n2\n> LREM l 1 x\n0\n",
        ..list_command("lrem", Arity::Exactly(4), WRITE)
    },
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[Arg::key("key"), Arg::integer("start"), Arg::integer("stop")],
        since: "1.0.0",
        summary: "Keeps only the elements between two positions, both included.",
        complexity: "O(N) with the number of elements removed.",
        run: Run::Data(ltrim),
        script: "> RPUSH l a b c d\n4\n> LTRIM l 1 -2\nOK\n> LRANGE l 0 -1\n1) b\n2) c\n\
            > LTRIM l 5 6\nOK\n> EXISTS l\n0\n",
        ..list_command("ltrim", Arity::Exactly(4), WRITE)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::string("element"),
            Arg::integer("rank").token("RANK").optional(),
            Arg::integer("num-matches").token("COUNT").optional(),
            Arg::integer("len").token("MAXLEN").optional(),
        ],
        since: "6.0.6",
        summary: "Tells at which positions an element stands.",
        complexity: "O(N) with the number of elements compared.",
        run: Run::Data(lpos),
        script: "> RPUSH l a b c a b c\n6\n> LPOS l c\n2\n> LPOS l c RANK -1\n5\n\
            > LPOS l c COUNT 0\n1) 2\n2) 5\n> LPOS l a RANK 2 MAXLEN 3\n(nil)\n> LPOS l x\n(nil)\n\
            > LPOS l x COUNT 1\n(empty array)\n> LPOS l a RANK 0\n\
            (error) ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
            ... or use negative to start from the end of the list\n",
        ..list_command("lpos", Arity::AtLeast(3), Flags::READ)
    },
    Command {
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)],
        args: &[
            Arg::key("source"),
            Arg::key("destination").key_spec(1),
            Arg::one_of("wherefrom", SIDES),
            Arg::one_of("whereto", SIDES),
        ],
        since: "6.2.0",
        summary: "Takes an element from one end of a list and puts it at an end of a list.",
        run: Run::Data(lmove),
        script: "> RPUSH {l}1 a b\n2\n> LMOVE {l}1 {l}2 LEFT RIGHT\na\n> LMOVE {l}1 {l}1 LEFT LEFT\nb\n\
            > LMOVE {l}3 {l}2 LEFT LEFT\n(nil)\n> LMOVE {l}1 {l}2 UP LEFT\n(error) ERR syntax error\n",
        ..list_command("lmove", Arity::Exactly(5), WRITE_OOM)
    },
    Command {
        keys: &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)],
        args: &[Arg::key("source"), Arg::key("destination").key_spec(1)],
        since: "1.2.0",
        summary: "Takes the last element of a list and puts it before the first one of a list.",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`LMOVE` with `RIGHT` and `LEFT`",
        }),
        run: Run::Data(rpoplpush),
        script: "> RPUSH l a b c\n3\n> RPOPLPUSH l l\nc\n> LRANGE l 0 -1\n1) c\n2) a\n3) b\n",
        ..list_command("rpoplpush", Arity::Exactly(3), WRITE_OOM)
    },
    Command {
        keys: &[Keys::counted(1, Access::POP)],
        args: &[
            Arg::integer("numkeys"),
            Arg::key("key").multiple(),
            Arg::one_of("where", SIDES),
            Arg::integer("count").token("COUNT").optional(),
        ],
        since: "7.0.0",
        summary: "Takes elements from the first list of several that has any.",
        complexity: "O(N+M) with the number of keys and of elements returned.",
        run: Run::Data(lmpop),
        script: "> RPUSH {l}2 a b c\n3\n> LMPOP 2 {l}1 {l}2 LEFT COUNT 2\n1) {l}2\n2) 1) a\n   2) b\n\
            > LMPOP 1 {l}1 LEFT\n(nil)\n> LMPOP 0 {l}1 LEFT\n\
            (error) ERR numkeys should be greater than 0\n> LMPOP 1 {l}2 LEFT COUNT 0\n\
            (error) ERR count should be greater than 0\n",
        ..list_command("lmpop", Arity::AtLeast(4), WRITE)
    },
];

/// Writes an element as a bulk string.
#[inline]
pub(crate) fn reply_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(number) => reply.bulk_integer(number),
    }
}

const fn push_event(end: End) -> &'static str {
    if matches!(end, End::Front) { "lpush" } else { "rpush" }
}

const fn pop_event(end: End) -> &'static str {
    if matches!(end, End::Front) { "lpop" } else { "rpop" }
}

fn lpush(call: &mut Call<'_>) -> Result<(), CmdError> {
    push(call, End::Front)
}

fn rpush(call: &mut Call<'_>) -> Result<(), CmdError> {
    push(call, End::Back)
}

#[inline]
fn push(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    let key = call.key(1);
    let list = call.db.list_or_new(&key)?;
    let elements = call.argv.from(2);
    let limits = &call.settings.limits;
    if elements.len() > 1 {
        list.prepare(elements.len(), elements.bytes_total(), limits);
    }
    for element in elements.iter() {
        list.push(end, element, limits);
    }
    call.reply.integer(list.len() as i64);
    call.effects.changed(elements.len() as u64);
    call.notify(EventClass::LIST, push_event(end), key.bytes);
    Ok(())
}

fn lpushx(call: &mut Call<'_>) -> Result<(), CmdError> {
    push_if_present(call, End::Front)
}

fn rpushx(call: &mut Call<'_>) -> Result<(), CmdError> {
    push_if_present(call, End::Back)
}

fn push_if_present(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    let key = call.key(1);
    if call.db.list(&key)?.is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    push(call, end)
}

fn lpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop(call, End::Front)
}

fn rpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    pop(call, End::Back)
}

fn pop(call: &mut Call<'_>, end: End) -> Result<(), CmdError> {
    if call.argv.len() > 3 {
        let name = if end == End::Front { "lpop" } else { "rpop" };
        return Err(CmdError::WrongArgCount(name));
    }
    let key = call.key(1);
    let Some(count) = call.argv.get(2) else { return pop_one(call, &key, end) };
    let count = parse_integer(count).ok_or(CmdError::MustBePositive)?;
    let count = usize::try_from(count).map_err(|_| CmdError::MustBePositive)?;
    match call.db.list(&key)? {
        None => call.reply.null_array(),
        Some(_) if count == 0 => call.reply.array(0),
        Some(_) => {
            pop_many(call, &key, end, count)?;
        }
    }
    Ok(())
}

fn pop_one(call: &mut Call<'_>, key: &Key<'_>, end: End) -> Result<(), CmdError> {
    let Some(list) = call.db.list_mut(key)? else {
        call.reply.null();
        return Ok(());
    };
    list.pop_with(end, |item| reply_item(call.reply, item));
    list.shrink(&call.settings.limits);
    let emptied = list.is_empty();
    call.effects.changed(1);
    call.notify(EventClass::LIST, pop_event(end), key.bytes);
    drop_if(call, key, emptied);
    Ok(())
}

/// Takes up to `count` elements of a list that exists and replies them as an array; how many.
fn pop_many(call: &mut Call<'_>, key: &Key<'_>, end: End, count: usize) -> Result<usize, CmdError> {
    let list = call.db.list_mut(key)?.ok_or(CmdError::NoSuchKey)?;
    let count = count.min(list.len());
    call.reply.array(count);
    for _ in 0..count {
        list.pop_with(end, |item| reply_item(call.reply, item));
    }
    list.shrink(&call.settings.limits);
    let emptied = list.is_empty();
    call.effects.changed(count as u64);
    call.notify(EventClass::LIST, pop_event(end), key.bytes);
    drop_if(call, key, emptied);
    Ok(count)
}

/// Removes a key whose list has become empty.
fn drop_if(call: &mut Call<'_>, key: &Key<'_>, emptied: bool) {
    if emptied {
        call.db.remove_if_empty(key);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
}

fn llen(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.list(&key)?.map_or(0, List::len);
    call.reply.integer(len as i64);
    Ok(())
}

/// The index that a position means in a list of `len` elements, if it is inside.
fn index_of(position: i64, len: usize) -> Option<usize> {
    let index = if position < 0 { position.checked_add(len as i64)? } else { position };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// The indexes that two inclusive positions mean in a sequence of `len`: first and one past last.
/// Empty ranges come out as `(0, 0)`.
pub(crate) fn range_of(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let end = len as i64;
    let from_end =
        |position: i64| if position < 0 { position.saturating_add(end) } else { position };
    let (start, stop) = (from_end(start).max(0), from_end(stop));
    if start > stop || start >= end {
        return (0, 0);
    }
    (start as usize, (stop.min(end - 1) + 1) as usize)
}

fn lindex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let Some(list) = call.db.list(&key)? else {
        call.reply.null();
        return Ok(());
    };
    let position = parse_integer(&call.argv[2]).ok_or(CmdError::NotAnInteger)?;
    match index_of(position, list.len()).and_then(|index| list.get(index)) {
        Some(item) => reply_item(call.reply, item),
        None => call.reply.null(),
    }
    Ok(())
}

fn lset(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let len = call.db.list(&key)?.ok_or(CmdError::NoSuchKey)?.len();
    let (index, element) = (call.int(2)?, call.arg(3));
    let index = index_of(index, len).ok_or(CmdError::IndexOutOfRange)?;
    let list = call.db.list_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    let replaced = list.set(index, element, &call.settings.limits);
    debug_assert!(replaced, "the index was checked");
    list.shrink(&call.settings.limits);
    call.effects.changed(1);
    call.notify(EventClass::LIST, "lset", key.bytes);
    call.reply.ok();
    Ok(())
}

fn linsert(call: &mut Call<'_>) -> Result<(), CmdError> {
    let after = match (call.is_word(2, "AFTER"), call.is_word(2, "BEFORE")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(CmdError::Syntax),
    };
    let (key, pivot, element) = (call.key(1), call.arg(3), call.arg(4));
    let Some(list) = call.db.list(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let wanted = Item::of(pivot);
    let Some(index) = list.iter().position(|item| item == wanted) else {
        call.reply.integer(-1);
        return Ok(());
    };
    let list = call.db.list_mut(&key)?.ok_or(CmdError::NoSuchKey)?;
    list.insert(index + usize::from(after), element, &call.settings.limits);
    call.reply.integer(list.len() as i64);
    call.effects.changed(1);
    call.notify(EventClass::LIST, "linsert", key.bytes);
    Ok(())
}

fn lrange(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let key = call.key(1);
    let Some(list) = call.db.list(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let (start, end) = range_of(start, stop, list.len());
    call.reply.array(end - start);
    for item in list.iter_from(start).take(end - start) {
        reply_item(call.reply, item);
    }
    Ok(())
}

fn lrem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (count, element) = (call.int(2)?, call.arg(3));
    let key = call.key(1);
    let Some(list) = call.db.list_mut(&key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let limits = &call.settings.limits;
    let removed = list.remove(count, element, limits);
    list.shrink(limits);
    let emptied = list.is_empty();
    if removed == 0 {
        call.db.unchanged();
    } else {
        call.effects.changed(removed as u64);
        call.notify(EventClass::LIST, "lrem", key.bytes);
    }
    drop_if(call, &key, emptied);
    call.reply.integer(removed as i64);
    Ok(())
}

fn ltrim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let key = call.key(1);
    let Some(list) = call.db.list_mut(&key)? else {
        call.reply.ok();
        return Ok(());
    };
    let before = list.len();
    let (start, end) = range_of(start, stop, before);
    list.trim(start, end);
    list.shrink(&call.settings.limits);
    let removed = before - list.len();
    let emptied = list.is_empty();
    call.effects.changed(removed as u64);
    call.notify(EventClass::LIST, "ltrim", key.bytes);
    drop_if(call, &key, emptied);
    call.reply.ok();
    Ok(())
}

/// The options of `LPOS`.
struct Search {
    rank: i64,
    count: Option<i64>,
    compared_max: i64,
}

impl Search {
    fn parse(call: &Call<'_>) -> Result<Search, CmdError> {
        let mut search = Search { rank: 1, count: None, compared_max: 0 };
        let mut index = 3;
        while index < call.argv.len() {
            if index + 1 == call.argv.len() {
                return Err(CmdError::Syntax);
            }
            if call.is_word(index, "RANK") {
                search.rank = call.int(index + 1)?;
                if search.rank == 0 {
                    return Err(CmdError::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                         second ... or use negative to start from the end of the list",
                    ));
                }
                if search.rank == i64::MIN {
                    return Err(CmdError::text(
                        "ERR value is out of range, value must between -9223372036854775807 and \
                         9223372036854775807",
                    ));
                }
            } else if call.is_word(index, "COUNT") {
                let count = call.int(index + 1).ok().filter(|count| *count >= 0);
                let count = count.ok_or(CmdError::text("ERR COUNT can't be negative"))?;
                search.count = Some(count);
            } else if call.is_word(index, "MAXLEN") {
                let len = call.int(index + 1).ok().filter(|len| *len >= 0);
                search.compared_max = len.ok_or(CmdError::text("ERR MAXLEN can't be negative"))?;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 2;
        }
        Ok(search)
    }

    /// The indexes that match, in the order of the search.
    fn run(&self, list: &List, wanted: Item<'_>) -> Vec<usize> {
        let len = list.len();
        let compared = match self.compared_max {
            0 => len,
            max => len.min(max as usize),
        };
        let limit = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count as usize,
        };
        let skipped = self.rank.unsigned_abs() as usize - 1;
        let is_it = |(_, item): &(usize, Item<'_>)| *item == wanted;
        if self.rank > 0 {
            let items = list.iter().enumerate().take(compared).filter(is_it);
            items.skip(skipped).take(limit).map(|(index, _)| index).collect()
        } else {
            let items = (0..len).rev().zip(list.iter_back_from(len.wrapping_sub(1)));
            let items = items.take(compared).filter(is_it);
            items.skip(skipped).take(limit).map(|(index, _)| index).collect()
        }
    }
}

fn lpos(call: &mut Call<'_>) -> Result<(), CmdError> {
    let search = Search::parse(call)?;
    let (key, wanted) = (call.key(1), Item::of(call.arg(2)));
    let found = call.db.list(&key)?.map_or_else(Vec::new, |list| search.run(list, wanted));
    if search.count.is_some() {
        call.reply.array(found.len());
        found.iter().for_each(|index| call.reply.integer(*index as i64));
    } else {
        match found.first() {
            Some(index) => call.reply.integer(*index as i64),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn side(call: &Call<'_>, index: usize) -> Result<End, CmdError> {
    if call.is_word(index, "LEFT") {
        Ok(End::Front)
    } else if call.is_word(index, "RIGHT") {
        Ok(End::Back)
    } else {
        Err(CmdError::Syntax)
    }
}

fn lmove(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (from, to) = (side(call, 3)?, side(call, 4)?);
    move_one(call, from, to)
}

fn rpoplpush(call: &mut Call<'_>) -> Result<(), CmdError> {
    move_one(call, End::Back, End::Front)
}

fn move_one(call: &mut Call<'_>, from: End, to: End) -> Result<(), CmdError> {
    let (source, target) = (call.key(1), call.key(2));
    if call.db.list(&source)?.is_none() {
        call.reply.null();
        return Ok(());
    }
    call.db.list(&target)?;
    let limits = &call.settings.limits;
    let list = call.db.list_mut(&source)?.ok_or(CmdError::NoSuchKey)?;
    let element = list.pop_with(from, |item| item.to_vec()).ok_or(CmdError::NoSuchKey)?;
    list.shrink(limits);
    // The element goes in before an emptied source goes away: they may be the same key.
    call.db.list_or_new(&target)?.push(to, &element, limits);
    call.notify(EventClass::LIST, push_event(to), target.bytes);
    call.notify(EventClass::LIST, pop_event(from), source.bytes);
    if call.db.remove_if_empty(&source) {
        call.notify(EventClass::GENERIC, "del", source.bytes);
    }
    call.effects.changed(1);
    call.reply.bulk(&element);
    Ok(())
}

/// `numkeys key…` at `index`: the index after the keys.
pub(crate) fn after_keys(call: &Call<'_>, index: usize) -> Result<usize, CmdError> {
    let count = call.int(index).ok().filter(|count| *count > 0);
    let count = count.ok_or(CmdError::NumkeysNotPositive)?;
    let end = usize::try_from(count).ok().and_then(|count| (index + 1).checked_add(count));
    end.filter(|end| *end <= call.argv.len()).ok_or(CmdError::Syntax)
}

fn lmpop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (keys, end, count) = parse_pop_many(call, 1)?;
    if !pop_many_of(call, keys, end, count)? {
        call.reply.null_array();
    }
    Ok(())
}

/// `numkeys key… LEFT|RIGHT [COUNT count]` at `index`: the keys, the end, the count.
fn parse_pop_many(
    call: &Call<'_>,
    index: usize,
) -> Result<(std::ops::Range<usize>, End, usize), CmdError> {
    let after = after_keys(call, index)?;
    if after >= call.argv.len() {
        return Err(CmdError::Syntax);
    }
    let end = side(call, after)?;
    let count = match call.argv.len() - after {
        1 => 1,
        3 if call.is_word(after + 1, "COUNT") => {
            let count = call.int(after + 2).ok().filter(|count| *count > 0);
            count.ok_or(CmdError::text("ERR count should be greater than 0"))? as usize
        }
        _ => return Err(CmdError::Syntax),
    };
    Ok((index + 1..after, end, count))
}

/// Takes elements from the first of these keys that has any. False if none has.
fn pop_many_of(
    call: &mut Call<'_>,
    keys: std::ops::Range<usize>,
    end: End,
    count: usize,
) -> Result<bool, CmdError> {
    for index in keys {
        let key = call.key(index);
        if !call.is_held(&key) || call.db.list(&key)?.is_none() {
            continue;
        }
        call.reply.array(2);
        call.reply.bulk(key.bytes);
        let taken = pop_many(call, &key, end, count)?;
        let name: &[u8] = if end == End::Front { b"LPOP" } else { b"RPOP" };
        call.effects.propagate([name, key.bytes, taken.to_string().as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_ranges() {
        for (why, start, stop, len, want) in [
            ("all", 0, -1, 3, (0, 3)),
            ("beyond the end", 1, 100, 3, (1, 3)),
            ("before the beginning", -100, 1, 3, (0, 2)),
            ("starts after the end", 3, 5, 3, (0, 0)),
            ("crossed", 2, 1, 3, (0, 0)),
            ("stops before the beginning", 0, -5, 3, (0, 0)),
            ("extremes", i64::MIN, i64::MAX, 3, (0, 3)),
            ("of nothing", 0, -1, 0, (0, 0)),
        ] {
            assert_eq!(range_of(start, stop, len), want, "{why}");
        }
    }
}
