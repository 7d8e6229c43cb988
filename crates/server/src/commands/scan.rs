//! Walks through the keys of a node (`SCAN`), and of a cluster (`CLUSTERSCAN`).
//!
//! Both go slot by slot. A place in a slot is what the keyspace makes of it: it stays good while the
//! table grows and shrinks, and only there, for tables of another process are in another order.

use std::sync::OnceLock;

use slotward_cluster::Route;
use slotward_commands::{Access, Arg, CmdError, Command, Flags, Group, Keys};
use slotward_keyspace::DbIndex;
use slotward_types::{Slot, glob_match, slot_of};

use super::cluster::needs_cluster;
use super::keyspace::EXPIRED_PER_SLOT;
use super::row;
use crate::call::{Handler, Later, NodeCall, NodeCommand};

/// Bits of a `SCAN` cursor that name the slot.
const SLOT_BITS: u32 = 14;

const _: () = assert!(1 << SLOT_BITS == Slot::COUNT as u32);

const MATCH: Arg = Arg::pattern("pattern").token("MATCH").optional();
const COUNT: Arg = Arg::integer("count").token("COUNT").optional();
const TYPE: Arg = Arg::string("type").token("TYPE").optional();

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        Command {
            args: &[Arg::integer("cursor"), MATCH, COUNT, TYPE.since("6.0.0")],
            complexity: "O(1) for every call",
            ..row(
                "scan",
                -2,
                Flags::READ,
                Group::Generic,
                "2.8.0",
                "Lists some keys, and where to go on.",
            )
        },
        Handler::Later(scan),
    ),
    NodeCommand::new(
        Command {
            // No key, but routed like one: a cursor carries the tag of the slot where it stands.
            keys: &[Keys::at(1, Access::NOT_KEY)],
            args: &[
                Arg::string("cursor"),
                MATCH,
                COUNT,
                TYPE,
                Arg::integer("slot").token("SLOT").optional(),
            ],
            complexity: "O(1) for every call",
            tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
            ..row(
                "clusterscan",
                -2,
                Flags::READ,
                Group::Generic,
                "9.1.0",
                "Lists some keys of a cluster, and where to go on. Of Valkey.",
            )
        },
        Handler::Later(clusterscan),
    ),
];

/// What was asked for.
struct Scan {
    pattern: Option<Vec<u8>>,
    count: usize,
    kind: Option<String>,
    /// Only this slot (`CLUSTERSCAN`).
    slot: Option<Slot>,
}

impl Scan {
    fn parse(call: &NodeCall<'_>, of_cluster: bool) -> Result<Scan, CmdError> {
        let mut scan = Scan { pattern: None, count: 10, kind: None, slot: None };
        let mut at = 2;
        while at < call.argv.len() {
            if call.is_word(at, "NOVALUES") {
                return Err(CmdError::text("ERR NOVALUES option can only be used in HSCAN"));
            }
            if at + 1 == call.argv.len() {
                return Err(CmdError::Syntax);
            }
            if call.is_word(at, "MATCH") {
                scan.pattern = Some(call.arg(at + 1).to_vec());
            } else if call.is_word(at, "COUNT") {
                let count = call.int(at + 1)?;
                scan.count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(CmdError::Syntax)?;
            } else if call.is_word(at, "TYPE") {
                scan.kind = Some(call.text(at + 1).to_ascii_lowercase());
            } else if of_cluster && call.is_word(at, "SLOT") {
                if scan.slot.is_some() {
                    return Err(CmdError::text("ERR SLOT option can only be specified once"));
                }
                let number = call.int(at + 1).ok().and_then(|number| u64::try_from(number).ok());
                let slot = number.and_then(|number| Slot::new(number).ok());
                scan.slot = Some(slot.ok_or(CmdError::text("ERR Invalid or out of range slot"))?);
            } else {
                return Err(CmdError::Syntax);
            }
            at += 2;
        }
        Ok(scan)
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    keys: Vec<Vec<u8>>,
    /// How many keys were looked at.
    visited: usize,
}

/// Looks at keys of a slot from a place on, until there are enough; where to go on, 0 at its end.
/// `None` if `may_look` forbids it, asked while the slot is held.
async fn walk(
    call: &mut NodeCall<'_>,
    scan: &Scan,
    (slot, place): (Slot, u64),
    found: &mut Found,
    may_look: impl Fn(&NodeCall<'_>) -> bool,
) -> Option<u64> {
    let db: DbIndex = call.conn.db;
    // All of the slot that may still be shown is looked at under one lock.
    call.in_slot(slot, db, |view, call| {
        if !may_look(call) {
            return None;
        }
        view.expire_due(slot, EXPIRED_PER_SLOT);
        let mut place = place;
        loop {
            place = view.scan_slot(slot, place, &mut |entry| {
                found.visited += 1;
                let is_wanted =
                    scan.pattern.as_ref().is_none_or(|pattern| glob_match(pattern, entry.key))
                        && scan.kind.as_ref().is_none_or(|kind| kind == entry.value.type_name());
                if is_wanted {
                    found.keys.push(entry.key.to_vec());
                }
            });
            if place == 0 || found.visited >= scan.count {
                return Some(place);
            }
        }
    })
    .await
}

fn reply_found(call: &mut NodeCall<'_>, cursor: &str, found: &Found) {
    call.reply.array(2);
    call.reply.bulk(cursor.as_bytes());
    call.reply.array(found.keys.len());
    found.keys.iter().for_each(|key| call.reply.bulk(key));
}

fn after(slot: Slot) -> Option<Slot> {
    Slot::new(u64::from(slot.get()) + 1).ok()
}

fn scan<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        let cursor = std::str::from_utf8(call.arg(1)).ok().and_then(|text| text.parse().ok());
        let cursor: u64 = cursor.ok_or(CmdError::text("ERR invalid cursor"))?;
        let scan = Scan::parse(call, false)?;
        let slot = cursor & u64::from(Slot::COUNT - 1);
        let mut slot = Slot::new(slot).expect("the mask leaves a slot's number");
        let mut place = cursor >> SLOT_BITS;
        let mut found = Found::default();
        let cursor = loop {
            if place == 0 {
                match call.node.keyspace.next_used_slot(call.conn.db, slot) {
                    Some(used) => slot = used,
                    None => break 0,
                }
            }
            let walked = walk(call, &scan, (slot, place), &mut found, |_| true).await;
            place = walked.expect("nothing was forbidden");
            if place == 0 {
                match after(slot) {
                    Some(next) => slot = next,
                    None => break 0,
                }
            }
            if found.visited >= scan.count {
                assert!(place < 1 << (64 - SLOT_BITS), "a slot's cursor leaves room for the slot");
                break place << SLOT_BITS | u64::from(slot.get());
            }
        };
        reply_found(call, &cursor.to_string(), &found);
        Ok(())
    })
}

/// A cursor of `CLUSTERSCAN`: whose places it speaks of, the tag of a slot, a place in it.
struct ClusterCursor<'a> {
    fingerprint: &'a str,
    place: u64,
}

impl<'a> ClusterCursor<'a> {
    /// Reads `fingerprint-{tag}-place`. The slot follows from the text as a whole, as its routing does.
    fn parse(text: &'a [u8]) -> Option<ClusterCursor<'a>> {
        let text = std::str::from_utf8(text).ok()?;
        let (rest, place) = text.rsplit_once('-')?;
        let (fingerprint, tag) = rest.split_once('-')?;
        let place = place.parse().ok()?;
        (!fingerprint.is_empty() && !tag.is_empty()).then_some(ClusterCursor { fingerprint, place })
    }

    /// Writes one; at the beginning of a slot every node's places are the same.
    fn text(fingerprint: &str, slot: Slot, place: u64) -> String {
        let tag = std::str::from_utf8(tag_of(slot)).expect("tags are letters and digits");
        let fingerprint = if place == 0 { "0" } else { fingerprint };
        format!("{fingerprint}-{{{tag}}}-{place}")
    }
}

/// Tells apart processes whose tables are in different orders. Never `0`.
fn fingerprint(call: &NodeCall<'_>) -> String {
    // Hashes are seeded at the start, and all places follow from hashes.
    format!("{:x}", call.node.keyspace.key(b"places").hash | 1)
}

const TAG_LEN: usize = 3;

/// A text that hashes to the slot, the same on every node.
fn tag_of(slot: Slot) -> &'static [u8] {
    static TAGS: OnceLock<Vec<[u8; TAG_LEN]>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut tags = vec![[0; TAG_LEN]; usize::from(Slot::COUNT)];
        let mut missing = tags.len();
        'search: for first in LETTERS {
            for second in LETTERS {
                for third in LETTERS {
                    let tag = [*first, *second, *third];
                    let found = &mut tags[slot_of(&tag).index()];
                    if *found == [0; TAG_LEN] {
                        *found = tag;
                        missing -= 1;
                        if missing == 0 {
                            break 'search;
                        }
                    }
                }
            }
        }
        assert_eq!(missing, 0, "three letters reach every slot");
        tags
    });
    &tags[slot.index()]
}

/// The only slot whose keys a pattern can match, if there is one: it has a tag without wildcards,
/// or none at all.
fn slot_of_pattern(pattern: &[u8]) -> Option<Slot> {
    let mut tag_start = None;
    for (index, byte) in pattern.iter().enumerate() {
        match byte {
            b'*' | b'?' | b'[' | b'\\' => return None,
            b'{' if tag_start.is_none() => tag_start = Some(index),
            // A tag with nothing in it is none; then the whole key counts.
            b'}' if tag_start.is_some_and(|start| start + 1 < index) => break,
            b'}' if tag_start.is_some() => {
                let rest = &pattern[index..];
                let is_plain = !rest.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
                return is_plain.then(|| slot_of(pattern));
            }
            _ => {}
        }
    }
    Some(slot_of(pattern))
}

/// Whether keys of the slot are to be read here.
fn is_served(call: &NodeCall<'_>, slot: Slot) -> bool {
    let full_coverage = call.live.settings.cluster_require_full_coverage;
    let map = call.node.slot_map.load();
    map.route(slot, call.conn.readonly, full_coverage) == Route::Serve
}

fn clusterscan<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        needs_cluster(call)?;
        let scan = Scan::parse(call, true)?;
        let only = scan.pattern.as_deref().and_then(slot_of_pattern);
        let nothing = Found::default();
        // Where both say which slot, they have to agree, or nothing can be found.
        if let (Some(slot), Some(only)) = (scan.slot, only)
            && slot != only
        {
            reply_found(call, "0", &nothing);
            return Ok(());
        }
        let own = fingerprint(call);
        if call.arg(1) == b"0" {
            let first = scan.slot.or(only).unwrap_or(Slot::ZERO);
            reply_found(call, &ClusterCursor::text(&own, first, 0), &nothing);
            return Ok(());
        }
        let cursor =
            ClusterCursor::parse(call.arg(1)).ok_or(CmdError::text("ERR Invalid cursor"))?;
        let mut slot = slot_of(call.arg(1));
        if scan.slot.is_some_and(|asked| asked != slot) {
            return Err(CmdError::text("ERR Cursor slot mismatch with SLOT argument"));
        }
        if let Some(only) = only
            && only != slot
        {
            let next = if slot < only { ClusterCursor::text(&own, only, 0) } else { "0".into() };
            reply_found(call, &next, &nothing);
            return Ok(());
        }
        // Places of another order mean nothing here: the slot begins anew.
        let mut place = if cursor.fingerprint == own { cursor.place } else { 0 };
        let stays = scan.slot.or(only).is_some();
        let mut found = Found::default();
        let next = loop {
            let may_look = |call: &NodeCall<'_>| is_served(call, slot);
            match walk(call, &scan, (slot, place), &mut found, may_look).await {
                // It went to another node: the client is told there.
                None => break ClusterCursor::text(&own, slot, 0),
                Some(0) => {}
                Some(on) => break ClusterCursor::text(&own, slot, on),
            }
            let Some(following) = (if stays { None } else { after(slot) }) else {
                break "0".into();
            };
            place = 0;
            slot = match next_of_interest(call, following) {
                Some(next) => next,
                None => break "0".into(),
            };
            if found.visited >= scan.count || !is_served(call, slot) {
                break ClusterCursor::text(&own, slot, 0);
            }
        };
        reply_found(call, &next, &found);
        Ok(())
    })
}

/// The first slot from one on that has keys here or is another node's.
fn next_of_interest(call: &NodeCall<'_>, from: Slot) -> Option<Slot> {
    let used = call.node.keyspace.next_used_slot(call.conn.db, from);
    let mut slot = Some(from);
    while let Some(at) = slot {
        if used == Some(at) || !is_served(call, at) {
            return Some(at);
        }
        slot = after(at);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_to_their_slots() {
        for slot in Slot::all() {
            let cursor = ClusterCursor::text("abc", slot, 5);
            assert_eq!(slot_of(cursor.as_bytes()), slot, "{cursor}");
        }
    }

    #[test]
    fn patterns_of_one_slot() {
        for (why, pattern, want) in [
            ("a tag", "{t}*", Some("t")),
            ("a tag behind something", "user:{t}:?", Some("t")),
            ("no wildcard", "key", Some("key")),
            ("a wildcard before the tag", "*{t}", None),
            ("a wildcard in the tag", "{t?}x", None),
            ("an empty tag and a wildcard", "{}*", None),
            ("an empty tag", "{}x", Some("{}x")),
            ("no end of a tag", "{tx", Some("{tx")),
            ("no end of a tag and a wildcard", "{tx*", None),
            ("an escape", "\\{t}", None),
        ] {
            let want = want.map(|key| slot_of(key.as_bytes()));
            assert_eq!(slot_of_pattern(pattern.as_bytes()), want, "{why}");
        }
    }

    #[test]
    fn cursors_are_read() {
        for (why, text, want) in [
            ("the beginning of a slot", "0-{06S}-0", Some(("0", 0))),
            ("a place", "3^7-{t}-278035", Some(("3^7", 278_035))),
            ("a tag with a dash", "0-{a-b}-1", Some(("0", 1))),
            ("no fingerprint", "-1-{t}-0", None),
            ("no place", "0-{t}", None),
            ("a place that is no number", "0-{t}-x", None),
            ("a number", "5", None),
        ] {
            let cursor = ClusterCursor::parse(text.as_bytes());
            assert_eq!(cursor.map(|cursor| (cursor.fingerprint, cursor.place)), want, "{why}");
        }
    }
}
