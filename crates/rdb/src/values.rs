//! Values in the forms of an RDB stream.
//!
//! Written in forms that Redis 7.0 reads, but for arrays, which only 8.8 knows: small collections as
//! the packed sequence that they are in memory, except small sets of strings, whose packed form is
//! younger. Read in every form that any
//! version wrote.

use std::io::Read;

use slotward_keyspace::{
    EncodingLimits, Hash, IntSet, Item, List, Pack, Set, SortedSet, Str, StrBuf, Value, ValueRef,
};

use slotward_types::UnixMillis;

use crate::array_values;
use crate::error::RdbError;
use crate::input::Input;
use crate::output::Output;
use crate::packed::{ziplist, zipmap};
use crate::reader::unsupported;
use crate::stream_values;
use crate::vector_values;
use crate::wire::kind;

/// A piece of a list with one element of more bytes than this is written as that element.
const PLAIN_ABOVE_BYTES: usize = 8 << 10;

/// Writes a key and its value, its kind first.
pub(crate) fn write_value(out: &mut Output, key: &[u8], value: &ValueRef<'_>) {
    match value {
        ValueRef::String(value) => {
            begin(out, kind::STRING, key);
            match value {
                Str::Int(number) => out.int(*number),
                Str::Bytes(bytes) => out.string(bytes),
            }
        }
        ValueRef::List(list) => {
            begin(out, kind::LIST_OF_LISTPACKS, key);
            write_list(out, list);
        }
        ValueRef::Hash(hash) => write_hash(out, key, hash),
        ValueRef::Set(set) => write_set(out, key, set),
        ValueRef::ZSet(zset) => write_zset(out, key, zset),
        ValueRef::Stream(stream) => {
            begin(out, kind::STREAM_2, key);
            stream_values::write(out, stream);
        }
        ValueRef::Array(array) => {
            begin(out, kind::ARRAY, key);
            array_values::write(out, array);
        }
        ValueRef::VectorSet(set) => {
            begin(out, kind::MODULE_2, key);
            vector_values::write(out, set);
        }
    }
}

fn begin(out: &mut Output, value_kind: u8, key: &[u8]) {
    out.byte(value_kind);
    out.string(key);
}

fn write_list(out: &mut Output, list: &List) {
    let nodes = list.nodes();
    out.length(nodes.len());
    let mut index = 0;
    for node in nodes {
        if node.count() == 1 && node.listpack_len() > PLAIN_ABOVE_BYTES {
            out.length(kind::NODE_PLAIN as usize);
            let element = list.get(index).expect("a piece's elements are the list's");
            element.with_bytes(|bytes| out.string(bytes));
        } else {
            out.length(kind::NODE_PACKED as usize);
            let mut listpack = Vec::with_capacity(node.listpack_len());
            node.write_listpack(&mut listpack);
            out.string(&listpack);
        }
        index += node.count();
    }
}

/// Writes the sequence as a listpack.
pub(crate) fn write_pack(out: &mut Output, pack: &Pack) {
    let mut listpack = Vec::new();
    pack.write_listpack(&mut listpack);
    out.string(&listpack);
}

fn write_hash(out: &mut Output, key: &[u8], hash: &Hash) {
    if let Some(pack) = hash.as_pack() {
        begin(out, kind::HASH_LISTPACK, key);
        return write_pack(out, pack);
    }
    let earliest = hash.next_expiry();
    match earliest {
        None => begin(out, kind::HASH, key),
        Some(earliest) => {
            begin(out, kind::HASH_EXPIRING, key);
            out.raw(&earliest.0.to_le_bytes());
        }
    }
    out.length(hash.len());
    for (field, value) in hash.iter() {
        if let Some(earliest) = earliest {
            // Counted from the earliest, which is 1; 0 stands for none.
            let at = field.with_bytes(|field| hash.field_expiry(field));
            out.length(at.map_or(0, |at| (at.0 - earliest.0) as usize + 1));
        }
        out.item(field);
        out.item(value);
    }
}

fn write_set(out: &mut Output, key: &[u8], set: &Set) {
    if let Some(ints) = set.as_ints() {
        begin(out, kind::SET_INTSET, key);
        let mut intset = Vec::new();
        ints.write_intset(&mut intset);
        return out.string(&intset);
    }
    begin(out, kind::SET, key);
    out.length(set.len());
    set.iter().for_each(|member| out.item(member));
}

fn write_zset(out: &mut Output, key: &[u8], zset: &SortedSet) {
    if let Some(pack) = zset.as_pack() {
        begin(out, kind::ZSET_LISTPACK, key);
        return write_pack(out, pack);
    }
    begin(out, kind::ZSET, key);
    out.length(zset.len());
    for (member, score) in zset.iter() {
        out.item(member);
        out.double(score);
    }
}

/// Reads a value of this kind; `None` if it is a collection without elements, which is no value.
pub(crate) fn read_value<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    limits: &EncodingLimits,
) -> Result<Option<Value>, RdbError> {
    Ok(match value_kind {
        kind::STRING => {
            let bytes = input.string()?;
            Some(Value::String(match Item::of(&bytes).as_int() {
                Some(number) => StrBuf::Int(number),
                None => StrBuf::Bytes(bytes),
            }))
        }
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_OF_ZIPLISTS | kind::LIST_OF_LISTPACKS => {
            let list = read_list(input, value_kind, limits)?;
            (!list.is_empty()).then(|| Value::List(list))
        }
        kind::HASH
        | kind::HASH_ZIPMAP
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::HASH_VALKEY
        | kind::HASH_EXPIRING_OLD
        | kind::HASH_EXPIRING_LISTPACK_OLD
        | kind::HASH_EXPIRING
        | kind::HASH_EXPIRING_LISTPACK => {
            let hash = read_hash(input, value_kind, limits)?;
            (!hash.is_empty()).then(|| Value::Hash(hash))
        }
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => {
            let set = read_set(input, value_kind, limits)?;
            (!set.is_empty()).then(|| Value::Set(set))
        }
        kind::ZSET | kind::ZSET_TEXT | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
            let zset = read_zset(input, value_kind, limits)?;
            (!zset.is_empty()).then(|| Value::ZSet(zset))
        }
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => {
            Some(Value::Stream(Box::new(stream_values::read(input, value_kind)?)))
        }
        kind::ARRAY => {
            let array = array_values::read(input)?;
            (!array.is_empty()).then_some(Value::Array(array))
        }
        kind::MODULE_2 => {
            let set = vector_values::read(input)?;
            (!set.is_empty()).then(|| Value::VectorSet(Box::new(set)))
        }
        other => return Err(unsupported(other)),
    })
}

fn pack(bytes: Vec<u8>) -> Result<Pack, RdbError> {
    Pack::from_untrusted(&bytes).map_err(|_| RdbError::Damaged("a listpack"))
}

fn read_list<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    limits: &EncodingLimits,
) -> Result<List, RdbError> {
    let mut list = List::new();
    match value_kind {
        kind::LIST => {
            for _ in 0..input.length()? {
                list.push_back(&input.string()?, limits);
            }
        }
        kind::LIST_ZIPLIST => push_ziplist(&mut list, &input.string()?, limits)?,
        kind::LIST_OF_ZIPLISTS => {
            for _ in 0..input.length()? {
                push_ziplist(&mut list, &input.string()?, limits)?;
            }
        }
        _ => {
            for _ in 0..input.length()? {
                match input.length()? {
                    kind::NODE_PLAIN => list.push_back(&input.string()?, limits),
                    kind::NODE_PACKED => list.append_pack(&pack(input.string()?)?, limits),
                    _ => return Err(RdbError::Damaged("a piece of a list")),
                }
            }
        }
    }
    Ok(list)
}

fn push_ziplist(list: &mut List, bytes: &[u8], limits: &EncodingLimits) -> Result<(), RdbError> {
    for item in ziplist(bytes)? {
        item.with_bytes(|bytes| list.push_back(bytes, limits));
    }
    Ok(())
}

fn read_hash<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    limits: &EncodingLimits,
) -> Result<Hash, RdbError> {
    const DAMAGED: RdbError = RdbError::Damaged("a hash");
    let mut hash = Hash::new();
    match value_kind {
        kind::HASH => {
            for _ in 0..input.length()? {
                let (field, value) = (input.string()?, input.string()?);
                if !hash.insert(&field, &value, limits) {
                    return Err(DAMAGED);
                }
            }
        }
        kind::HASH_ZIPMAP => fill_hash(&mut hash, &zipmap(&input.string()?)?, limits)?,
        kind::HASH_ZIPLIST => fill_hash(&mut hash, &ziplist(&input.string()?)?, limits)?,
        kind::HASH_LISTPACK => {
            let pack = pack(input.string()?)?;
            return Hash::from_pack(pack, limits).map_err(|_| DAMAGED);
        }
        kind::HASH_VALKEY => {
            for _ in 0..input.length()? {
                let (field, value) = (input.string()?, input.string()?);
                let at = i64::from_le_bytes(input.array()?);
                add_field(&mut hash, &field, &value, (at != -1).then_some(at), limits)?;
            }
        }
        kind::HASH_EXPIRING | kind::HASH_EXPIRING_OLD => {
            // Since the final form ends are counted from the earliest, which is 1.
            let base = match value_kind {
                kind::HASH_EXPIRING => i64::from_le_bytes(input.array()?).checked_sub(1),
                _ => Some(0),
            };
            let base = base.ok_or(DAMAGED)?;
            for _ in 0..input.length()? {
                let at = match input.length()? {
                    0 => None,
                    at => Some(
                        i64::try_from(at)
                            .ok()
                            .and_then(|at| at.checked_add(base))
                            .ok_or(DAMAGED)?,
                    ),
                };
                let (field, value) = (input.string()?, input.string()?);
                add_field(&mut hash, &field, &value, at, limits)?;
            }
        }
        _ => {
            if value_kind == kind::HASH_EXPIRING_LISTPACK {
                let _earliest: [u8; 8] = input.array()?;
            }
            let pack = pack(input.string()?)?;
            let items: Vec<Item<'_>> = pack.iter().collect();
            let (triples, []) = items.as_chunks::<3>() else { return Err(DAMAGED) };
            for [field, value, at] in triples {
                let at = at.as_int().ok_or(DAMAGED)?;
                let (field, value) = (field.to_vec(), value.to_vec());
                add_field(&mut hash, &field, &value, (at != 0).then_some(at), limits)?;
            }
        }
    }
    Ok(hash)
}

/// Adds a field that may end. What ends before 1970 is no end that a client could have set.
fn add_field(
    hash: &mut Hash,
    field: &[u8],
    value: &[u8],
    at: Option<i64>,
    limits: &EncodingLimits,
) -> Result<(), RdbError> {
    let is_new = hash.insert(field, value, limits);
    if !is_new || at.is_some_and(|at| at < 0) {
        return Err(RdbError::Damaged("a hash"));
    }
    if at.is_some() {
        hash.set_field_expiry(field, at.map(UnixMillis));
    }
    Ok(())
}

fn fill_hash(hash: &mut Hash, items: &[Item<'_>], limits: &EncodingLimits) -> Result<(), RdbError> {
    const DAMAGED: RdbError = RdbError::Damaged("a hash");
    let (pairs, []) = items.as_chunks::<2>() else { return Err(DAMAGED) };
    for [field, value] in pairs {
        let is_new = field.with_bytes(|field| value.with_bytes(|v| hash.insert(field, v, limits)));
        if !is_new {
            return Err(DAMAGED);
        }
    }
    Ok(())
}

fn read_set<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    limits: &EncodingLimits,
) -> Result<Set, RdbError> {
    const DAMAGED: RdbError = RdbError::Damaged("a set");
    match value_kind {
        kind::SET_INTSET => {
            let ints = IntSet::from_untrusted(&input.string()?).map_err(|_| DAMAGED)?;
            Ok(Set::from_ints(ints, limits))
        }
        kind::SET_LISTPACK => {
            let pack = pack(input.string()?)?;
            Set::from_pack(pack, limits).map_err(|_| DAMAGED)
        }
        _ => {
            let mut set = Set::new();
            for _ in 0..input.length()? {
                if !set.insert(&input.string()?, limits) {
                    return Err(DAMAGED);
                }
            }
            Ok(set)
        }
    }
}

fn read_zset<R: Read>(
    input: &mut Input<R>,
    value_kind: u8,
    limits: &EncodingLimits,
) -> Result<SortedSet, RdbError> {
    const DAMAGED: RdbError = RdbError::Damaged("a sorted set");
    let mut zset = SortedSet::new();
    let mut add = |member: &[u8], score: f64| {
        let is_new = !score.is_nan() && zset.insert(member, score, limits).is_none();
        if is_new { Ok(()) } else { Err(DAMAGED) }
    };
    match value_kind {
        kind::ZSET_LISTPACK => {
            let pack = pack(input.string()?)?;
            return SortedSet::from_pack(pack, limits).map_err(|_| DAMAGED);
        }
        kind::ZSET_ZIPLIST => {
            let bytes = input.string()?;
            let items = ziplist(&bytes)?;
            let (pairs, []) = items.as_chunks::<2>() else { return Err(DAMAGED) };
            for [member, score] in pairs {
                let score = double(*score).ok_or(DAMAGED)?;
                member.with_bytes(|member| add(member, score))?;
            }
        }
        _ => {
            for _ in 0..input.length()? {
                let member = input.string()?;
                let score = if value_kind == kind::ZSET {
                    input.binary_double()?
                } else {
                    input.text_double()?
                };
                add(&member, score)?;
            }
        }
    }
    Ok(zset)
}

fn double(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
    }
}
