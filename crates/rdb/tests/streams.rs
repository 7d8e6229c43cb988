//! Whole streams: what is written reads back, and nothing that is read can do harm.

use proptest::prelude::*;
use slotward_keyspace::{
    Array, DbIndex, EncodingLimits, EntryRef, Hash, List, Projection, Quantization, Set, SortedSet,
    StrBuf, Stream, StreamGroup, StreamId, Value, ValueRef, VectorSet, VectorShape,
};
use slotward_rdb::{Entry, Event, Preamble, RdbError, ReadLimits, Reader, StreamAux, Writer};
use slotward_types::{ReplId, ReplOffset, UnixMillis};

fn limits() -> EncodingLimits {
    // Small, so that both forms of every type occur.
    EncodingLimits {
        hash_max_listpack_entries: 4,
        set_max_intset_entries: 4,
        set_max_listpack_entries: 4,
        zset_max_listpack_entries: 4,
        list_max_listpack_size: 4,
        stream_node_max_entries: 3,
        ..EncodingLimits::default()
    }
}

fn preamble() -> Preamble {
    Preamble {
        redis_version: "7.2.4".to_owned(),
        created_at: UnixMillis(1_700_000_000_000),
        memory_bytes: 1 << 20,
        stream: Some(StreamAux {
            id: ReplId::from_bytes([7; 20]),
            offset: ReplOffset(99),
            db: Some(3),
        }),
    }
}

/// What a value holds, comparable whatever its encoding.
#[derive(Debug, PartialEq)]
enum Content {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    Set(Vec<Vec<u8>>),
    ZSet(Vec<(Vec<u8>, u64)>),
    Stream(String),
    Array(Vec<(u64, Vec<u8>)>, Option<u64>),
    VectorSet(String),
}

fn content(value: ValueRef<'_>) -> Content {
    match value {
        ValueRef::String(value) => Content::String(value.to_vec()),
        ValueRef::List(list) => Content::List(list.iter().map(|item| item.to_vec()).collect()),
        ValueRef::Hash(hash) => {
            let mut pairs: Vec<_> =
                hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
            pairs.sort();
            Content::Hash(pairs)
        }
        ValueRef::Set(set) => {
            let mut members: Vec<_> = set.iter().map(|item| item.to_vec()).collect();
            members.sort();
            Content::Set(members)
        }
        ValueRef::Stream(stream) => {
            let log = stream.log();
            let entries: Vec<_> = log.range(StreamId::MIN, StreamId::MAX).collect();
            let counters = (log.last_id(), log.entries_added(), log.max_deleted_id());
            let groups: Vec<_> = stream.groups().map(group_content).collect();
            Content::Stream(format!("{entries:?} {counters:?} {groups:?}"))
        }
        ValueRef::Array(array) => {
            let mut elements = Vec::new();
            array.each(|index, element| elements.push((index, element.to_vec())));
            Content::Array(elements, array.cursor())
        }
        ValueRef::VectorSet(set) => {
            let element = |at: u32| {
                let links: Vec<_> =
                    (0..=set.level(at)).map(|layer| set.links(at, layer).to_vec()).collect();
                let vector = (set.code(at), set.code_range(at), set.norm(at));
                format!("{:?} {:?} {vector:?} {links:?}", set.name(at), set.attributes(at))
            };
            let elements: Vec<_> = (0..set.len() as u32).map(element).collect();
            let whole = (set.shape(), set.projection(), set.added());
            Content::VectorSet(format!("{whole:?} {elements:?}"))
        }
        ValueRef::ZSet(zset) => Content::ZSet(
            zset.iter().map(|(member, score)| (member.to_vec(), score.to_bits())).collect(),
        ),
    }
}

fn group_content((name, group): (&[u8], &StreamGroup)) -> String {
    let pending: Vec<_> = group
        .pending_from(StreamId::MIN)
        .map(|(id, pending)| {
            let owner = group.owner(pending).map(|consumer| consumer.name());
            (id, owner, pending.delivered_at, pending.deliveries)
        })
        .collect();
    let consumers: Vec<_> = group.consumers().map(|c| (c.name(), c.seen_at)).collect();
    let progress = (group.last_id, group.entries_read);
    format!("{name:?} {progress:?} {pending:?} {consumers:?}")
}

/// A stream of these values, of which a group has got some.
fn stream_of(texts: &[Vec<u8>]) -> Stream {
    let mut stream = Stream::new();
    for (index, text) in texts.iter().enumerate() {
        let id = StreamId::new(7, index as u64);
        stream.log_mut().append(id, &[b"field", text], &limits()).unwrap();
    }
    let mut group = StreamGroup::new(StreamId::new(7, 2), (texts.len() > 4).then_some(3));
    for (name, seen) in [(b"ann", 5), (b"bob", 6)] {
        group.add_consumer(name, UnixMillis(seen));
    }
    for seq in 0..3 {
        let name: &[u8] = if seq == 1 { b"bob" } else { b"ann" };
        group.assign(StreamId::new(7, seq), name, UnixMillis(100 + seq as i64), seq);
    }
    stream.add_group(b"group", group);
    stream.log_mut().remove(StreamId::new(7, 1));
    stream
}

/// A vector set whose elements have these names, of which some have attributes.
fn vector_set_of(texts: &[Vec<u8>], kind: u8) -> VectorSet {
    let quantization =
        [Quantization::None, Quantization::Int8, Quantization::Binary][usize::from(kind % 3)];
    let projection = (kind > 2).then(|| Projection::new(2, 3).unwrap());
    let dim = if kind > 2 { 2 } else { 3 };
    let shape = VectorShape { dim: 3, quantization, links_max: 4 };
    let mut set = VectorSet::new(shape, projection);
    for (index, text) in texts.iter().enumerate() {
        let vector: Vec<f32> =
            (0..dim).map(|at| ((index * 7 + at * 3) % 11) as f32 - 5.0).collect();
        set.insert(text, &vector, 10);
        if kind % 2 == 1 && index % 3 == 0 {
            let element = set.find(text).unwrap();
            set.set_attributes(element, Some(b"{}"));
        }
    }
    set
}

type Key = (u16, Vec<u8>, Value, Option<i64>);

fn write(keys: &[Key], compress: bool) -> Vec<u8> {
    let mut writer = Writer::new(&preamble(), compress);
    for (db, key, value, expires_at) in keys {
        let expires_at = expires_at.map(UnixMillis);
        writer.entry(DbIndex(*db), &EntryRef { key, value: value.as_ref(), expires_at });
    }
    assert_eq!(writer.entries(), keys.len() as u64);
    let mut bytes = writer.take();
    bytes.extend(writer.finish());
    bytes
}

/// Reads to the end, in pieces of `piece` bytes.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<(u64, Entry)>, RdbError> {
    struct Pieces<'b>(&'b [u8], usize);
    impl std::io::Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }
    let limits = limits();
    let read_limits = ReadLimits { string_bytes_max: 1 << 20 };
    let mut reader = Reader::new(Pieces(bytes, piece), &limits, read_limits);
    let (mut entries, mut db) = (Vec::new(), 0);
    loop {
        match reader.next_event()? {
            Event::Select(number) => db = number,
            Event::Entry(entry) => entries.push((db, entry)),
            Event::End => return Ok(entries),
            Event::Aux { .. } | Event::Resize { .. } | Event::Function(_) => {}
        }
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..12),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => (-200i64..40_000).prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(0u8..3, 0..600),
        1 => prop::collection::vec(any::<u8>(), 9_000..9_001),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let texts = || prop::collection::vec(text(), 1..12);
    // Packed sorted sets keep no negative zero.
    let score = any::<f64>().prop_filter("a number", |score| !score.is_nan()).prop_map(|s| s + 0.0);
    let ints = prop::collection::vec(any::<i32>(), 1..8);
    prop_oneof![
        text().prop_map(|text| Value::String(StrBuf::from_bytes(&text))),
        texts().prop_map(|texts| {
            let mut list = List::new();
            texts.iter().for_each(|text| list.push_back(text, &limits()));
            Value::List(list)
        }),
        texts().prop_map(|texts| {
            let mut hash = Hash::new();
            for (index, text) in texts.iter().enumerate() {
                hash.insert(text, index.to_string().as_bytes(), &limits());
            }
            Value::Hash(hash)
        }),
        texts().prop_map(|texts| {
            let mut set = Set::new();
            texts.iter().for_each(|text| _ = set.insert(text, &limits()));
            Value::Set(set)
        }),
        ints.prop_map(|ints| {
            let mut set = Set::new();
            ints.iter().for_each(|int| _ = set.insert(int.to_string().as_bytes(), &limits()));
            Value::Set(set)
        }),
        texts().prop_map(|texts| Value::Stream(Box::new(stream_of(&texts)))),
        (texts(), 1u64..(1 << 59), 0u32..59, prop::option::of(0..Array::INDEX_MAX)).prop_map(
            |(texts, step, shift, cursor)| {
                let mut array = Array::new();
                for (index, text) in texts.iter().enumerate() {
                    array.set(index as u64 * (step >> shift), text);
                }
                array.set_cursor(cursor);
                Value::Array(array)
            }
        ),
        (prop::collection::vec(text(), 1..40), 0u8..6)
            .prop_map(|(texts, kind)| Value::VectorSet(Box::new(vector_set_of(&texts, kind)))),
        prop::collection::vec((text(), score), 1..12).prop_map(|members| {
            let mut zset = SortedSet::new();
            for (member, score) in members {
                zset.insert(&member, score, &limits());
            }
            Value::ZSet(zset)
        }),
    ]
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    prop::collection::vec((0u16..3, text(), value(), prop::option::of(any::<i64>())), 0..12)
}

proptest! {
    #[test]
    fn a_stream_reads_back(keys in keys(), compress: bool, piece in 1usize..200) {
        let bytes = write(&keys, compress);
        let entries = read(&bytes, piece).unwrap();
        prop_assert_eq!(entries.len(), keys.len());
        for ((db, entry), (db_want, key, value, expires_at)) in entries.iter().zip(&keys) {
            prop_assert_eq!(*db, u64::from(*db_want));
            prop_assert_eq!(&entry.key, key);
            prop_assert_eq!(entry.expires_at.map(|at| at.0), *expires_at);
            prop_assert_eq!(content(entry.value.as_ref()), content(value.as_ref()));
            prop_assert_eq!(entry.value.as_ref().encoding(), value.as_ref().encoding());
        }
    }

    #[test]
    fn a_damaged_stream_is_an_error_or_another_stream(
        keys in keys(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = write(&keys, true);
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // A checksum of zero is not checked, so that the damage gets as far as it can.
        if let Some(start) = bytes.len().checked_sub(8) {
            bytes[start..].fill(0);
        }
        let _ = read(&bytes, 4096);
    }
}

#[test]
fn one_flipped_bit_is_noticed() {
    let value = Value::String(StrBuf::from_bytes(b"a value that is long enough"));
    let mut bytes = write(&[(0, b"key".to_vec(), value, None)], false);
    let middle = bytes.len() - 20;
    bytes[middle] ^= 1;
    assert!(matches!(read(&bytes, 100), Err(RdbError::BadChecksum)));
}

#[test]
fn strangers_are_refused_by_name() {
    for (why, bytes, want) in [
        ("not RDB", &b"*1\r\n$4\r\nPING\r\n"[..], "does not begin with REDIS"),
        ("a version from the future", b"REDIS0123", "version 123 is not known"),
        ("nothing", b"", "ends in the middle"),
        ("a module's value", b"REDIS0011\x07\x01k\x05", "a module"),
        ("no kind of value", b"REDIS0011\x63\x01k", "the kind of a value"),
        (
            "a field that ends before 1970",
            b"REDIS0012\x18\x01k\0\0\0\0\0\0\0\x80\x01\x05\x01f\x01v",
            "a hash",
        ),
    ] {
        let error = read(bytes, 100).expect_err(why).to_string();
        assert!(error.contains(want), "{why}: {error}");
    }
}

#[test]
fn an_empty_collection_is_passed_over() {
    let entries = read(b"REDIS0004\x02\x01s\x00\x00\x01k\x01v\xff", 100).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1.key, b"k");
}

#[test]
fn a_member_that_stands_twice_is_damage() {
    for (why, bytes) in [
        ("a set", &b"REDIS0004\x02\x01s\x02\x01a\x01a\xff"[..]),
        ("a hash", b"REDIS0004\x04\x01h\x02\x01a\x01b\x01a\x01c\xff"),
        ("a sorted set", b"REDIS0004\x03\x01z\x02\x01a\x011\x01a\x012\xff"),
        ("a score that is no number", b"REDIS0004\x03\x01z\x01\x01a\xfd\xff"),
    ] {
        assert!(read(bytes, 100).is_err(), "{why}");
    }
}
