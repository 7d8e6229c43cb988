//! A block: some consecutive entries in one packed sequence, element for element those of Redis.
//!
//! ```text
//! live | deleted | count of fields | field … | 0             what the entries have in common
//! flags | ms | seq | value … | pieces                        an entry with those fields
//! flags | ms | seq | count | (field | value) … | pieces      one with fields of its own
//! ```
//!
//! `ms` and `seq` are differences to the block's first id, which is its key in the stream; `pieces`
//! tells how many elements the entry has before it. A removed entry keeps its place and gets a flag.
//! Because RDB files have these elements, and because where blocks begin decides what an approximate
//! trim leaves, they are not ours to choose.

use super::id::StreamId;
use crate::collections::codec;
use crate::collections::item::{Item, Needle};
use crate::collections::pack::{InvalidPack, Pack};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// What stands at the beginning of a block.
#[derive(Debug, Clone, Copy)]
struct Head {
    live: u64,
    deleted: u64,
    fields: usize,
    /// The place of the first common field.
    fields_at: usize,
}

fn int(bytes: &[u8], at: usize) -> (i64, usize) {
    let (item, next) = codec::read_bare(bytes, at);
    (item.as_int().expect("this element of a block is a number"), next)
}

fn head(pack: &Pack) -> Head {
    let bytes = pack.stored();
    let (live, at) = int(bytes, pack.start());
    let (deleted, at) = int(bytes, at);
    let (fields, fields_at) = int(bytes, at);
    Head { live: live as u64, deleted: deleted as u64, fields: fields as usize, fields_at }
}

/// The place of the first entry.
fn entries_at(pack: &Pack, head: &Head) -> usize {
    // One more for the zero that ends the common fields.
    (0..=head.fields).fold(head.fields_at, |at, _| pack.skip(at))
}

/// How many entries the block has that are not removed.
pub(super) fn live(pack: &Pack) -> u64 {
    head(pack).live
}

/// How many entries the block has, removed ones included.
pub(super) fn entries(pack: &Pack) -> u64 {
    let head = head(pack);
    head.live + head.deleted
}

/// A block of one entry. `fields` are fields and values in turn.
pub(super) fn new(fields: &[&[u8]]) -> Pack {
    let mut pack = Pack::new();
    let names = fields.iter().step_by(2).map(|field| Item::of(field));
    let head = [Item::Int(1), Item::Int(0), Item::Int(names.len() as i64)];
    pack.append(head.into_iter().chain(names).chain([Item::Int(0)]));
    push(&mut pack, SAME_FIELDS, StreamId::MIN, StreamId::MIN, fields);
    pack
}

/// Appends an entry, whose id is above those in the block. Returns by how many bytes the block is
/// longer as a listpack, and the entry's place.
pub(super) fn append(
    pack: &mut Pack,
    first: StreamId,
    id: StreamId,
    fields: &[&[u8]],
) -> (usize, usize) {
    let head = head(pack);
    let mut at = head.fields_at;
    let same = fields.len() / 2 == head.fields
        && fields.iter().step_by(2).all(|field| {
            let (common, next) = pack.read(at);
            at = next;
            Needle::new(field).is(common)
        });
    let (live, more) = (Item::Int(head.live as i64), Item::Int(head.live as i64 + 1));
    pack.replace(pack.start(), more);
    let place = pack.end();
    let pushed = push(pack, if same { SAME_FIELDS } else { 0 }, first, id, fields);
    (codec::encoded_len(more) - codec::encoded_len(live) + pushed, place)
}

fn push(pack: &mut Pack, flags: i64, first: StreamId, id: StreamId, fields: &[&[u8]]) -> usize {
    let (ms, seq) = (id.ms.wrapping_sub(first.ms), id.seq.wrapping_sub(first.seq));
    let count = fields.len() / 2;
    let head = [Item::Int(flags), Item::Int(ms as i64), Item::Int(seq as i64)].into_iter();
    if flags & SAME_FIELDS != 0 {
        let values = fields.iter().skip(1).step_by(2).map(|value| Item::of(value));
        pack.append(head.chain(values).chain([Item::Int(count as i64 + 3)]))
    } else {
        let pairs = fields.iter().map(|text| Item::of(text));
        let head = head.chain([Item::Int(count as i64)]);
        pack.append(head.chain(pairs).chain([Item::Int(2 * count as i64 + 4)]))
    }
}

/// An entry of a stream, lent.
#[derive(Clone, Copy)]
pub struct StreamEntry<'a> {
    /// Its id.
    pub id: StreamId,
    /// The block.
    bytes: &'a [u8],
    /// The place of its flags.
    at: usize,
    flags: i64,
    pairs: usize,
    /// Where its fields are: among the common ones, or before their values.
    fields_at: usize,
    /// The place of its first own element behind the numbers.
    data_at: usize,
}

impl<'a> StreamEntry<'a> {
    /// How many fields it has.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Its fields with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let (bytes, same) = (self.bytes, self.flags & SAME_FIELDS != 0);
        let (mut field_at, mut value_at) = (self.fields_at, self.data_at);
        (0..self.pairs).map(move |_| {
            let (field, after) = codec::read_bare(bytes, if same { field_at } else { value_at });
            let (value, next) = codec::read_bare(bytes, if same { value_at } else { after });
            (field_at, value_at) = (after, next);
            (field, value)
        })
    }

    /// Its place in the block, for [`remove`].
    pub(super) fn place(&self) -> usize {
        self.at
    }

    fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// The place behind it.
    fn end(&self) -> usize {
        let own = if self.flags & SAME_FIELDS != 0 { self.pairs } else { 2 * self.pairs };
        (0..=own).fold(self.data_at, |at, _| codec::skip_bare(self.bytes, at))
    }
}

impl std::fmt::Debug for StreamEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.id)?;
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Walks through the entries of a block, removed ones left out.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    first: StreamId,
    head: Head,
    /// The place of the first entry that may still come, and the one behind the last.
    front: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(first: StreamId, pack: &'a Pack) -> Cursor<'a> {
        let head = head(pack);
        Cursor {
            bytes: pack.stored(),
            first,
            head,
            front: entries_at(pack, &head),
            end: pack.end(),
        }
    }

    fn read(&self, at: usize) -> StreamEntry<'a> {
        let (flags, next) = int(self.bytes, at);
        let (ms, next) = int(self.bytes, next);
        let (seq, next) = int(self.bytes, next);
        let first = self.first;
        let id =
            StreamId::new(first.ms.wrapping_add(ms as u64), first.seq.wrapping_add(seq as u64));
        let (pairs, fields_at, data_at) = if flags & SAME_FIELDS != 0 {
            (self.head.fields, self.head.fields_at, next)
        } else {
            let (pairs, data_at) = int(self.bytes, next);
            (pairs as usize, data_at, data_at)
        };
        StreamEntry { id, bytes: self.bytes, at, flags, pairs, fields_at, data_at }
    }

    fn next_stored(&mut self) -> Option<StreamEntry<'a>> {
        (self.front < self.end).then(|| {
            let entry = self.read(self.front);
            self.front = entry.end();
            entry
        })
    }

    /// The first entry that is left.
    pub(super) fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let entry = self.next_stored()?;
            if !entry.is_deleted() {
                return Some(entry);
            }
        }
    }

    /// All that are left, to be taken from the last on; `last` is the place of that one, if it is
    /// known.
    pub(super) fn backwards(self, last: Option<usize>) -> CursorBack<'a> {
        CursorBack { cursor: self, last, places: None }
    }

    /// The places of all entries that are left.
    fn places(mut self) -> Vec<u32> {
        let mut places = Vec::with_capacity((self.head.live as usize).min(256));
        while let Some(entry) = self.next() {
            places.push(entry.at as u32);
        }
        places
    }
}

/// Walks through the entries of a block from the last on, removed ones left out. A block is read
/// forwards only, so the places of all are noted before any but a known last one is given.
#[derive(Clone)]
pub(super) struct CursorBack<'a> {
    cursor: Cursor<'a>,
    /// The place of the last entry, where it is known.
    last: Option<usize>,
    /// The places of the entries that may still come, once they are noted.
    places: Option<Vec<u32>>,
}

impl<'a> CursorBack<'a> {
    /// The last entry that is left.
    pub(super) fn next(&mut self) -> Option<StreamEntry<'a>> {
        let at = match (&mut self.places, self.last) {
            (Some(places), _) => places.pop()? as usize,
            (None, None) => self.places.insert(self.cursor.places()).pop()? as usize,
            (None, Some(last)) => {
                let known = self.cursor.read(last);
                // The others, should they be asked for, are those before it.
                self.cursor.end = last;
                self.last = None;
                return Some(known);
            }
        };
        Some(self.cursor.read(at))
    }
}

/// The id of the block's last entry, removed or not.
pub(super) fn last_id(first: StreamId, pack: &Pack) -> StreamId {
    let mut cursor = Cursor::new(first, pack);
    std::iter::from_fn(|| cursor.next_stored()).last().map_or(first, |entry| entry.id)
}

/// The place of the live entry with this id.
pub(super) fn find(first: StreamId, pack: &Pack, id: StreamId) -> Option<usize> {
    let mut cursor = Cursor::new(first, pack);
    std::iter::from_fn(|| cursor.next())
        .take_while(|entry| entry.id <= id)
        .find(|entry| entry.id == id)
        .map(|entry| entry.at)
}

/// Marks live entries as removed: those at these places, ascending.
pub(super) fn remove(pack: &mut Pack, places: &[usize]) {
    let before = head(pack);
    for &at in places {
        let (flags, _) = int(pack.stored(), at);
        debug_assert_eq!(flags & DELETED, 0, "an entry is removed once");
        // All flags fit in one byte, so no place moves.
        pack.replace(at, Item::Int(flags | DELETED));
    }
    let count = places.len() as u64;
    pack.replace(pack.start(), Item::Int((before.live - count) as i64));
    let deleted_at = pack.skip(pack.start());
    pack.replace(deleted_at, Item::Int((before.deleted + count) as i64));
}

/// Checks everything that this module takes for granted of a block; gives the id of its last entry.
pub(super) fn check(first: StreamId, pack: &Pack) -> Result<StreamId, InvalidPack> {
    let end = pack.end();
    let item = |at: usize| if at < end { Ok(pack.read(at)) } else { Err(InvalidPack) };
    let number = |at: usize| {
        let (item, next) = item(at)?;
        Ok((item.as_int().ok_or(InvalidPack)?, next))
    };
    let count_at = |at: usize| {
        let (count, next) = number(at)?;
        Ok((usize::try_from(count).map_err(|_| InvalidPack)?, next))
    };
    let skip = |count: usize, mut at: usize| {
        for _ in 0..count {
            at = item(at)?.1;
        }
        Ok(at)
    };
    let (live, at) = count_at(pack.start())?;
    let (deleted, at) = count_at(at)?;
    let (fields, at) = count_at(at)?;
    let at = skip(fields, at)?;
    let (zero, mut at) = number(at)?;
    if zero != 0 {
        return Err(InvalidPack);
    }
    let (mut live_found, mut deleted_found, mut last) = (0, 0, None);
    while at < end {
        let (flags, next) = number(at)?;
        let (ms, next) = number(next)?;
        let (seq, next) = number(next)?;
        let ms = first.ms.checked_add(u64::try_from(ms).map_err(|_| InvalidPack)?);
        let id = StreamId::new(ms.ok_or(InvalidPack)?, first.seq.wrapping_add(seq as u64));
        let (own, pieces_want, next) = if flags & SAME_FIELDS != 0 {
            (fields, fields.checked_add(3), next)
        } else {
            let (pairs, next) = count_at(next)?;
            let own = pairs.checked_mul(2).ok_or(InvalidPack)?;
            (own, own.checked_add(4), next)
        };
        let (pieces, next) = count_at(skip(own, next)?)?;
        let in_order = if last.is_none() { id >= first } else { Some(id) > last };
        if !(0..=3).contains(&flags) || Some(pieces) != pieces_want || !in_order {
            return Err(InvalidPack);
        }
        *(if flags & DELETED != 0 { &mut deleted_found } else { &mut live_found }) += 1;
        (last, at) = (Some(id), next);
    }
    if (live_found, deleted_found) == (live, deleted) {
        last.ok_or(InvalidPack)
    } else {
        Err(InvalidPack)
    }
}
