//! A stream against a simple model of one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::collections::pack::Pack;
use crate::value::EncodingLimits;

type Fields = Vec<Vec<u8>>;

fn limits() -> EncodingLimits {
    EncodingLimits {
        stream_node_max_bytes: 120,
        stream_node_max_entries: 5,
        ..EncodingLimits::default()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { ms: u64, seq: u64, fields: Fields },
    Remove(usize),
    TrimLength(u64),
    TrimId(usize),
    Approximate(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop_oneof!["[ab]", "-?[0-9]{1,12}", "[a-z]{0,30}"].prop_map(String::into_bytes);
    let fields = prop::collection::vec(text, 1..4).prop_map(|texts| {
        texts.iter().flat_map(|text| [b"f".to_vec(), text.clone()]).collect::<Fields>()
    });
    prop_oneof![
        8 => (0u64..3, 0u64..300, fields).prop_map(|(ms, seq, fields)| {
            Step::Append { ms, seq, fields }
        }),
        3 => any::<usize>().prop_map(Step::Remove),
        1 => (0u64..40).prop_map(Step::TrimLength),
        1 => any::<usize>().prop_map(Step::TrimId),
        1 => (0u64..40).prop_map(Step::Approximate),
    ]
}

fn shown(entry: StreamEntry<'_>) -> (StreamId, Fields) {
    let fields = entry.iter().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
    (entry.id, fields.collect())
}

fn check(log: &StreamLog, model: &BTreeMap<StreamId, Fields>) {
    let (all, end) = (StreamId::MIN, StreamId::MAX);
    let want: Vec<_> = model.iter().map(|(id, fields)| (*id, fields.clone())).collect();
    assert_eq!(log.range(all, end).map(shown).collect::<Vec<_>>(), want);
    let mut back: Vec<_> = log.range_back(all, end).map(shown).collect();
    back.reverse();
    assert_eq!(back, want);
    assert_eq!(log.len(), model.len() as u64);
    assert_eq!(log.first_id(), want.first().map_or(StreamId::MIN, |(id, _)| *id));
    for pair in want.windows(3) {
        let (start, end) = (pair[1].0, pair[2].0);
        assert_eq!(log.range(start, end).map(|entry| entry.id).collect::<Vec<_>>(), [start, end]);
        let back: Vec<_> = log.range_back(start, end).map(|entry| entry.id).collect();
        assert_eq!(back, [end, start]);
        assert!(log.contains(start) && log.get(start).is_some());
    }
    let reserved: usize = log.heap_bytes();
    assert!(reserved >= log.blocks().map(|(_, pack)| pack.used()).sum());
}

fn listpack(pack: &Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack.write_listpack(&mut bytes);
    bytes
}

/// The log as it comes back from its own blocks.
fn reloaded(log: &StreamLog) -> StreamLog {
    let mut copy = StreamLog::default();
    for (first, pack) in log.blocks() {
        copy.push_block(first, &listpack(pack)).expect("our own blocks are well formed");
    }
    copy.set_counters(log.last_id(), log.entries_added(), log.max_deleted_id());
    copy
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(steps in prop::collection::vec(step(), 0..120)) {
        let (mut log, mut model) = (StreamLog::default(), BTreeMap::new());
        let mut added = 0;
        for step in steps {
            match step {
                Step::Append { ms, seq, fields } => {
                    let last = log.last_id();
                    let id = if ms == 0 {
                        StreamId::new(last.ms, last.seq + seq + 1)
                    } else {
                        StreamId::new(last.ms + ms, seq)
                    };
                    let parts: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
                    log.append(id, &parts, &limits()).unwrap();
                    model.insert(id, fields);
                    added += 1;
                }
                Step::Remove(pick) => {
                    let id = model.keys().nth(pick % (model.len() + 1)).copied();
                    let id = id.unwrap_or(StreamId::new(0, 1));
                    prop_assert_eq!(log.remove(id), model.remove(&id).is_some());
                    prop_assert!(!log.remove(id));
                }
                Step::TrimLength(length) => {
                    let trim = Trim { to: TrimTo::Length(length), approximate: false, limit: 0 };
                    log.trim(&trim, None);
                    while model.len() as u64 > length {
                        model.pop_first();
                    }
                }
                Step::TrimId(pick) => {
                    let id = model.keys().nth(pick % (model.len() + 1)).copied();
                    let id = id.unwrap_or(StreamId::new(1, 1));
                    let trim = Trim { to: TrimTo::Id(id), approximate: false, limit: 0 };
                    log.trim(&trim, None);
                    model.retain(|at, _| *at >= id);
                }
                Step::Approximate(length) => {
                    let trim = Trim { to: TrimTo::Length(length), approximate: true, limit: 0 };
                    let removed = log.trim(&trim, None);
                    (0..removed).for_each(|_| { model.pop_first(); });
                    prop_assert!(removed == 0 || model.len() as u64 >= length);
                }
            }
            check(&log, &model);
        }
        prop_assert_eq!(log.entries_added(), added);
        check(&reloaded(&log), &model);
        // What a copy reserves is its own: emptying it counts down to nothing.
        let mut copy = log.clone();
        model.keys().for_each(|id| assert!(copy.remove(*id)));
        copy.trim(&Trim { to: TrimTo::Length(0), approximate: false, limit: 0 }, None);
        prop_assert!(copy.is_empty());
    }

    #[test]
    fn damaged_blocks_are_judged_without_a_panic(
        at in any::<prop::sample::Index>(),
        byte: u8,
        values in prop::collection::vec("[a-z0-9]{0,4}", 1..5),
    ) {
        let mut log = StreamLog::default();
        for (seq, value) in values.iter().enumerate() {
            let fields: [&[u8]; 4] = [b"f", value.as_bytes(), b"g", b"1"];
            let fields = if seq % 2 == 0 { &fields[..2] } else { &fields };
            log.append(StreamId::new(5, seq as u64), fields, &EncodingLimits::default()).unwrap();
        }
        let (first, pack) = log.blocks().next().unwrap();
        let mut bytes = listpack(pack);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut copy = StreamLog::default();
        if copy.push_block(first, &bytes).is_ok() {
            // What was let in can be used.
            let ids: Vec<_> = copy.range(StreamId::MIN, StreamId::MAX).map(|e| shown(e).0).collect();
            prop_assert_eq!(ids.len() as u64, copy.len());
            prop_assert_eq!(copy.range_back(StreamId::MIN, StreamId::MAX).count(), ids.len());
            ids.iter().for_each(|id| assert!(copy.remove(*id)));
        }
    }
}

#[test]
fn approximate_trims_stop_at_blocks_and_limits() {
    for (why, to, limit, want) in [
        ("two whole blocks", TrimTo::Length(10), 0, 10),
        ("a third one would be too many", TrimTo::Length(6), 0, 10),
        ("all", TrimTo::Length(0), 0, 20),
        ("one block within the limit", TrimTo::Length(0), 9, 5),
        ("none within the limit", TrimTo::Length(0), 4, 0),
        ("blocks below an id", TrimTo::Id(StreamId::new(1, 12)), 0, 10),
    ] {
        let mut stream = Stream::new();
        for seq in 0..20 {
            let id = StreamId::new(1, seq);
            stream.log_mut().append(id, &[b"f", b"v"], &limits()).unwrap();
        }
        let trim = Trim { to, approximate: true, limit };
        assert_eq!(stream.trim(&trim, References::Keep), want, "{why}");
    }
}

#[test]
fn references_decide_what_goes() {
    let filled = || {
        let mut stream = Stream::new();
        for seq in 1..=4 {
            stream.log_mut().append(StreamId::new(0, seq), &[b"f", b"v"], &limits()).unwrap();
        }
        let mut group = StreamGroup::new(StreamId::new(0, 3), None);
        group.add_consumer(b"c", slotward_types::UnixMillis(0));
        group.assign(StreamId::new(0, 2), b"c", slotward_types::UnixMillis(0), 1);
        stream.add_group(b"g", group);
        stream
    };
    for (why, references, left, pending) in [
        ("all go, one stays pending", References::Keep, &[][..], 1),
        ("all go, with what is known of them", References::Remove, &[], 0),
        ("pending and unread ones stay", References::Respect, &[2, 4], 1),
    ] {
        let mut stream = filled();
        let trim = Trim { to: TrimTo::Length(0), approximate: false, limit: 0 };
        stream.trim(&trim, references);
        let entries = stream.log().range(StreamId::MIN, StreamId::MAX);
        assert_eq!(entries.map(|entry| entry.id.seq).collect::<Vec<_>>(), left, "{why}");
        assert_eq!(stream.group(b"g").unwrap().pending_count(), pending, "{why}");
        let mut stream = filled();
        (1..=4).for_each(|seq| {
            stream.remove(StreamId::new(0, seq), references);
        });
        let entries = stream.log().range(StreamId::MIN, StreamId::MAX);
        assert_eq!(entries.map(|entry| entry.id.seq).collect::<Vec<_>>(), left, "{why}, by name");
        assert!(stream.remove_group(b"g") && stream.group_bytes == 0, "{why}");
    }
}
