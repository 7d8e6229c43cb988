//! A fingerprint of data: the same for the same keys, values and expiries, in any order and
//! encoding. For `DEBUG DIGEST`, and for tests that compare a master with its replica.

use sha1::{Digest as _, Sha1};
use slotward_keyspace::{
    Array, Db, EntryRef, ExpiryPolicy, Stream, StreamGroup, StreamId, ValueRef, VectorSet,
};
use slotward_resp::format_double;
use slotward_types::{Slot, UnixMillis};

/// The exclusive or of the hashes of what is in it. An empty one is all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds what another digest stands for (or takes it away again).
    pub fn mix(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    fn of(parts: &[&[u8]]) -> Digest {
        let mut hasher = Sha1::new();
        for part in parts {
            // Lengths first, so that no two lists of parts read the same.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of the keys of one slot in the database that `db` has selected; slots and databases
/// are mixed by the caller. Keys and fields whose time has come do not count, unless `db` ignores
/// that.
pub fn digest_slot(db: &mut Db<'_>, slot: Slot) -> Digest {
    let mut digest = Digest::default();
    let due_at = (db.policy() != ExpiryPolicy::Ignore).then(|| db.now());
    let index = db.index().0.to_le_bytes();
    let mut cursor = 0;
    loop {
        cursor = db.scan_slot(slot, cursor, &mut |entry: EntryRef<'_>| {
            let value = match entry.value {
                // A master that may not write, and every replica, still has those that ended.
                ValueRef::Hash(hash) if due_at.is_some_and(|now| hash.has_due(now)) => {
                    let mut shown = hash.clone();
                    due_at.into_iter().for_each(|now| drop(shown.take_due(now)));
                    digest_value(ValueRef::Hash(&shown), entry.expires_at)
                }
                value => digest_value(value, entry.expires_at),
            };
            digest.mix(Digest::of(&[&index, entry.key, &value.0]));
        });
        if cursor == 0 {
            return digest;
        }
    }
}

/// The digest of one value and its expiry (`DEBUG DIGEST-VALUE`).
pub fn digest_value(value: ValueRef<'_>, expires_at: Option<UnixMillis>) -> Digest {
    let mut digest = match value {
        ValueRef::String(string) => string.with_bytes(|bytes| Digest::of(&[b"string", bytes])),
        ValueRef::List(list) => {
            // The only type with an order: each element is hashed with all before it.
            let mut chain = Digest::of(&[b"list"]);
            for item in list.iter() {
                chain = item.with_bytes(|bytes| Digest::of(&[&chain.0, bytes]));
            }
            chain
        }
        ValueRef::Hash(hash) => {
            let mut digest = Digest::of(&[b"hash"]);
            for (field, value) in hash.iter() {
                digest.mix(field.with_bytes(|f| value.with_bytes(|v| Digest::of(&[f, v]))));
            }
            for (field, at) in hash.field_expiries() {
                digest.mix(Digest::of(&[b"ends", field, &at.0.to_le_bytes()]));
            }
            digest
        }
        ValueRef::Set(set) => {
            let mut digest = Digest::of(&[b"set"]);
            for member in set.iter() {
                digest.mix(member.with_bytes(|bytes| Digest::of(&[bytes])));
            }
            digest
        }
        ValueRef::ZSet(zset) => {
            let mut digest = Digest::of(&[b"zset"]);
            for (member, score) in zset.iter() {
                let score = format_double(score);
                digest.mix(member.with_bytes(|bytes| Digest::of(&[bytes, score.as_bytes()])));
            }
            digest
        }
        ValueRef::Stream(stream) => stream_digest(stream),
        ValueRef::Array(array) => array_digest(array),
        ValueRef::VectorSet(set) => vector_set_digest(set),
    };
    if let Some(at) = expires_at {
        digest.mix(Digest::of(&[b"expires", &at.0.to_le_bytes()]));
    }
    digest
}

/// Entries in their order, counters, groups and what is pending. When consumers were last seen is
/// left out: it is not replicated.
fn stream_digest(stream: &Stream) -> Digest {
    let log = stream.log();
    let mut chain = Digest::of(&[b"stream"]);
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        chain = Digest::of(&[&chain.0, &entry.id.to_bytes()]);
        for (field, value) in entry.iter() {
            chain = field.with_bytes(|f| value.with_bytes(|v| Digest::of(&[&chain.0, f, v])));
        }
    }
    let added = log.entries_added().to_le_bytes();
    let (last, deleted) = (log.last_id().to_bytes(), log.max_deleted_id().to_bytes());
    let mut digest = Digest::of(&[&chain.0, &added, &last, &deleted]);
    for (name, group) in stream.groups() {
        digest.mix(Digest::of(&[name, &group_digest(group).0]));
    }
    digest
}

/// Elements with their indexes, and where the last one was appended.
fn array_digest(array: &Array) -> Digest {
    let cursor = array.cursor().unwrap_or(u64::MAX);
    let mut digest = Digest::of(&[b"array", &cursor.to_le_bytes()]);
    array.each(|index, element| {
        digest.mix(element.with_bytes(|text| Digest::of(&[&index.to_le_bytes(), text])));
    });
    digest
}

/// What was put into the set. Its graph, which only says how things are found, is left out.
fn vector_set_digest(set: &VectorSet) -> Digest {
    let projection = set.projection().map(|projection| projection.to_bytes()).unwrap_or_default();
    let mut digest = Digest::of(&[format!("vectors {:?}", set.shape()).as_bytes(), &projection]);
    for element in 0..set.len() as u32 {
        let range = set.code_range(element).unwrap_or(0.0).to_le_bytes();
        let norm = set.norm(element).to_le_bytes();
        let has_attributes = [u8::from(set.attributes(element).is_some())];
        let attributes = set.attributes(element).unwrap_or_default();
        let (name, code) = (set.name(element), set.code(element));
        digest.mix(Digest::of(&[name, &code, &range, &norm, &has_attributes, attributes]));
    }
    digest
}

fn group_digest(group: &StreamGroup) -> Digest {
    let read = group.entries_read.unwrap_or(u64::MAX).to_le_bytes();
    let mut digest = Digest::of(&[&group.last_id.to_bytes(), &read]);
    for consumer in group.consumers() {
        digest.mix(Digest::of(&[consumer.name()]));
    }
    for (id, pending) in group.pending_from(StreamId::MIN) {
        let owner = group.owner(pending).map_or(&b""[..], |consumer| consumer.name());
        let (at, count) = (pending.delivered_at.0.to_le_bytes(), pending.deliveries.to_le_bytes());
        digest.mix(Digest::of(&[&id.to_bytes(), owner, &at, &count]));
    }
    digest
}

#[cfg(test)]
mod tests {
    use crate::testing::Node;

    #[test]
    fn fields_that_ended_do_not_count() {
        let run = |lines: &[&str]| {
            let mut node = Node::new(1, 1_700_000_000_000);
            lines.iter().for_each(|line| drop(node.run(line)));
            node.now.0 += 20;
            node.digest(node.now)
        };
        let one_ended = run(&[
            "HSET h a 1 b 2",
            "HPEXPIRE h 10 FIELDS 1 a",
            "HSET gone f v",
            "HPEXPIRE gone 10 FIELDS 1 f",
        ]);
        assert_eq!(one_ended, run(&["HSET h b 2"]));
        assert_ne!(one_ended, run(&["HSET h b 3"]));
    }
}
