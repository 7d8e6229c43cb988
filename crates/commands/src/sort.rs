//! `SORT`: the elements of a list, set or sorted set, in another order.

use std::cmp::Ordering;

use slotward_keyspace::{Item, Key, List, Value, ValueRef};
use slotward_resp::Args;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::parse_double;

const BY: Arg = Arg::pattern("by-pattern").key_spec(1).token("BY").optional();
const LIMIT: Arg =
    Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")]).token("LIMIT").optional();
const GET: Arg = Arg::pattern("get-pattern").key_spec(1).token("GET").optional().multiple_token();
const ORDER: Arg =
    Arg::one_of("order", &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")]).optional();
const ALPHA: Arg = Arg::word("sorting", "ALPHA").optional();

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        categories: &["-keyspace", "set", "sortedset", "list", "dangerous"],
        keys: &[
            Keys::at(1, Access::READ),
            Keys::unknown(Access::READ),
            Keys::computed(store_key, Access::OVERWRITE),
        ],
        args: &[
            Arg::key("key"),
            BY,
            LIMIT,
            GET,
            ORDER,
            ALPHA,
            Arg::key("destination").key_spec(2).token("STORE").optional(),
        ],
        since: "1.0.0",
        summary: "Returns or stores the elements of a list, set or sorted set in order.",
        complexity: "O(N+M*log(M)) with N elements, M of which are returned.",
        run: Run::Data(sort),
        script: "> RPUSH l 3 1 2\n3\n> SORT l\n1) 1\n2) 2\n3) 3\n> SORT l DESC LIMIT 0 2\n1) 3\n2) 2\n\
            > SORT l STORE m\n3\n> LRANGE m 0 -1\n1) 1\n2) 2\n3) 3\n> SORT none STORE m\n0\n\
            > EXISTS m\n0\n> RPUSH w b a\n2\n> SORT w\n\
            (error) ERR One or more scores can't be converted into double\n\
            > SORT w ALPHA\n1) a\n2) b\n> SORT w BY nosort GET #\n1) b\n2) a\n\
            > MSET {u}w1 9 {u}w2 8\nOK\n> RPUSH {u} 1 2\n2\n\
            > SORT {u} BY {u}w* GET # GET {u}w*\n1) 2\n2) 8\n3) 1\n4) 9\n> SORT w BY\n\
            (error) ERR syntax error\n",
        ..Command::BLANK
    },
    Command {
        name: "sort_ro",
        arity: Arity::AtLeast(2),
        flags: Flags::READ,
        categories: &["-keyspace", "set", "sortedset", "list", "dangerous"],
        keys: &[Keys::at(1, Access::READ), Keys::unknown(Access::READ)],
        args: &[Arg::key("key"), BY, LIMIT, GET, ORDER, ALPHA],
        since: "7.0.0",
        summary: "Returns the elements of a list, set or sorted set in order.",
        complexity: "O(N+M*log(M)) with N elements, M of which are returned.",
        run: Run::Data(sort_ro),
        script: "> SADD s 30 4 100\n3\n> SORT_RO s\n1) 4\n2) 30\n3) 100\n> SORT_RO s ALPHA\n1) 100\n\
            2) 30\n3) 4\n> SORT_RO s STORE t\n(error) ERR syntax error\n",
        ..Command::BLANK
    },
];

/// Finds the key after `STORE`; of several the last counts.
fn store_key(argv: Args<'_>, found: &mut dyn FnMut(usize)) -> bool {
    let mut index = 2;
    let mut store = None;
    while let Some(word) = argv.get(index) {
        index += match word.to_ascii_uppercase().as_slice() {
            b"LIMIT" => 3,
            b"BY" | b"GET" => 2,
            b"STORE" => {
                store = Some(index + 1).filter(|at| *at < argv.len());
                2
            }
            _ => 1,
        };
    }
    store.into_iter().for_each(found);
    true
}

#[derive(Debug, Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    limit: Option<(i64, i64)>,
    get: Vec<&'a [u8]>,
    descending: bool,
    alpha: bool,
    store: Option<usize>,
}

impl<'a> Options<'a> {
    fn parse(call: &Call<'a>, may_store: bool) -> Result<Self, CmdError> {
        let mut options = Options::default();
        let mut index = 2;
        while index < call.argv.len() {
            let left = call.argv.len() - index - 1;
            match call.arg(index).to_ascii_uppercase().as_slice() {
                b"ASC" => options.descending = false,
                b"DESC" => options.descending = true,
                b"ALPHA" => options.alpha = true,
                b"LIMIT" if left >= 2 => {
                    options.limit = Some((call.int(index + 1)?, call.int(index + 2)?));
                    index += 2;
                }
                b"BY" if left >= 1 => {
                    options.by = call.argv.get(index + 1);
                    index += 1;
                }
                b"GET" if left >= 1 => {
                    options.get.extend(call.argv.get(index + 1));
                    index += 1;
                }
                b"STORE" if left >= 1 && may_store => {
                    options.store = Some(index + 1);
                    index += 1;
                }
                _ => return Err(CmdError::Syntax),
            }
            index += 1;
        }
        Ok(options)
    }

    /// A pattern without a star is the same for all elements: it asks for no order.
    fn is_unsorted(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let Some((offset, count)) = self.limit else { return 0..len };
        let start = usize::try_from(offset.max(0)).unwrap_or(len).min(len);
        match usize::try_from(count) {
            Ok(count) => start..start.saturating_add(count).min(len),
            Err(_) => start..len,
        }
    }
}

fn sort(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, true)?;
    sort_by(call, &options)
}

fn sort_ro(call: &mut Call<'_>) -> Result<(), CmdError> {
    let options = Options::parse(call, false)?;
    sort_by(call, &options)
}

fn sort_by(call: &mut Call<'_>, options: &Options<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let (mut elements, is_set) = elements(call, &key)?;
    if !options.is_unsorted() {
        order(call, &key, options, &mut elements)?;
    } else if is_set && options.store.is_some() {
        // A set has no order of its own, and a replica must store the same list.
        elements.sort_unstable();
    } else if options.descending {
        elements.reverse();
    }
    let range = options.range(elements.len());
    let output = output(call, &key, &options.get, &elements[range])?;
    match options.store {
        Some(index) => store(call, index, &output),
        None => {
            call.reply.array(output.len());
            output.iter().for_each(|item| call.reply.bulk_or_null(item.as_deref()));
        }
    }
    Ok(())
}

/// The elements, and whether they are those of a set. A sorted set's come by score.
fn elements(call: &mut Call<'_>, key: &Key<'_>) -> Result<(Vec<Vec<u8>>, bool), CmdError> {
    Ok(match call.db.value(key) {
        None => (Vec::new(), false),
        Some(ValueRef::List(list)) => (list.iter().map(Item::to_vec).collect(), false),
        Some(ValueRef::Set(set)) => (set.iter().map(Item::to_vec).collect(), true),
        Some(ValueRef::ZSet(zset)) => {
            (zset.iter().map(|(member, _)| member.to_vec()).collect(), false)
        }
        Some(_) => return Err(CmdError::WrongType),
    })
}

/// What an element is sorted by.
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

fn order(
    call: &mut Call<'_>,
    key: &Key<'_>,
    options: &Options<'_>,
    elements: &mut Vec<Vec<u8>>,
) -> Result<(), CmdError> {
    let mut weighted = Vec::with_capacity(elements.len());
    for element in elements.drain(..) {
        let text = match options.by {
            Some(pattern) => lookup(call, key, pattern, &element, "BY")?,
            None => Some(element.clone()),
        };
        let weight =
            if options.alpha {
                Weight::Text(text)
            } else {
                let number = text.map_or(Some(0.0), |text| number_of(&text));
                Weight::Number(number.ok_or(CmdError::text(
                    "ERR One or more scores can't be converted into double",
                ))?)
            };
        weighted.push((weight, element));
    }
    weighted.sort_by(|(a, x), (b, y)| {
        let ordering = match (a, b) {
            // Equal weights go by the elements, so that the order does not depend on the encoding.
            (Weight::Number(a), Weight::Number(b)) => a.total_cmp(b).then_with(|| x.cmp(y)),
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b).then_with(|| x.cmp(y)),
            _ => Ordering::Equal,
        };
        if options.descending { ordering.reverse() } else { ordering }
    });
    elements.extend(weighted.into_iter().map(|(_, element)| element));
    Ok(())
}

/// The number that an element is sorted by. As in C, blanks before it and all from a zero byte on
/// do not count, and nothing is zero.
fn number_of(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii_start();
    if text.is_empty() { Some(0.0) } else { parse_double(text) }
}

/// What is returned for the elements: themselves, or what the patterns of `GET` name.
fn output(
    call: &mut Call<'_>,
    key: &Key<'_>,
    patterns: &[&[u8]],
    elements: &[Vec<u8>],
) -> Result<Vec<Option<Vec<u8>>>, CmdError> {
    if patterns.is_empty() {
        return Ok(elements.iter().cloned().map(Some).collect());
    }
    let mut output = Vec::with_capacity(elements.len() * patterns.len());
    for element in elements {
        for pattern in patterns {
            output.push(lookup(call, key, pattern, element, "GET")?);
        }
    }
    Ok(output)
}

/// What a pattern names for an element: `#` itself, `weight_*` a string, `object_*->field` a field
/// of a hash.
///
/// # Errors
/// When that lives in another slot than the sorted key: only the slots of a command's keys are
/// locked for it, and only they are sure to be on this node.
fn lookup(
    call: &mut Call<'_>,
    sorted: &Key<'_>,
    pattern: &[u8],
    element: &[u8],
    option: &str,
) -> Result<Option<Vec<u8>>, CmdError> {
    if pattern == b"#" {
        return Ok(Some(element.to_vec()));
    }
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return Ok(None) };
    let arrow = pattern[star + 1..].windows(2).position(|pair| pair == b"->");
    let (tail, field) = match arrow.map(|at| star + 1 + at) {
        Some(at) if at + 2 < pattern.len() => (&pattern[star + 1..at], Some(&pattern[at + 2..])),
        _ => (&pattern[star + 1..], None),
    };
    let name = [&pattern[..star], element, tail].concat();
    let key = call.db.key(&name);
    if key.slot != sorted.slot {
        return Err(CmdError::Other(
            format!(
                "ERR {option} option of SORT denied when keys formed by the pattern may be in \
                 different slots."
            )
            .into(),
        ));
    }
    Ok(match (call.db.value(&key), field) {
        (Some(ValueRef::String(value)), None) => Some(value.to_vec()),
        (Some(ValueRef::Hash(hash)), Some(field)) => hash.get(field).map(Item::to_vec),
        _ => None,
    })
}

fn store(call: &mut Call<'_>, index: usize, output: &[Option<Vec<u8>>]) {
    let key = call.key(index);
    if output.is_empty() {
        if call.db.remove(&key) {
            call.effects.changed(1);
            call.notify(EventClass::GENERIC, "del", key.bytes);
        }
    } else {
        let mut list = List::new();
        for item in output {
            list.push_back(item.as_deref().unwrap_or(b""), call.db.limits());
        }
        call.db.insert(&key, Value::List(list), None);
        call.effects.changed(output.len() as u64);
        call.notify(EventClass::LIST, "sortstore", key.bytes);
    }
    call.reply.integer(output.len() as i64);
}

#[cfg(test)]
mod tests {
    use slotward_resp::OwnedArgs;

    use super::*;

    #[test]
    fn the_stored_key_is_found_among_options() {
        for (why, line, want) in [
            ("none", "SORT l ASC", None),
            ("at the end", "SORT l LIMIT 0 1 STORE d", Some(6)),
            ("the word as another option's value", "SORT l BY store GET store", None),
            ("the last counts", "SORT l STORE a STORE b", Some(5)),
            ("nothing follows", "SORT l STORE", None),
        ] {
            let args: OwnedArgs = line.split(' ').map(str::as_bytes).collect();
            let mut found = None;
            assert!(store_key(args.as_args(), &mut |index| found = Some(index)));
            assert_eq!(found, want, "{why}");
        }
    }

    #[test]
    fn limits_never_leave_the_elements() {
        for (why, limit, want) in [
            ("inside", (1, 2), 1..3),
            ("beyond the end", (3, 100), 3..5),
            ("start beyond the end", (9, 1), 5..5),
            ("negative start", (-3, 2), 0..2),
            ("negative count is no limit", (1, -1), 1..5),
            ("largest numbers", (i64::MAX, i64::MAX), 5..5),
        ] {
            let options = Options { limit: Some(limit), ..Options::default() };
            assert_eq!(options.range(5), want, "{why}");
        }
    }
}
