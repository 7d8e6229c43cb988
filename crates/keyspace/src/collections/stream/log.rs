//! The entries of a stream: blocks by their first id.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::block::{self, Cursor, CursorBack, StreamEntry};
use super::id::StreamId;
use crate::collections::pack::{InvalidPack, PACK_BYTES_MAX, Pack};
use crate::value::EncodingLimits;

/// What a packed element takes at most beside its bytes.
const ELEMENT_OVERHEAD: usize = 10;
/// What a block takes in the index, with the index's own share.
const INDEX_BYTES: usize = 64;

/// An entry is too large to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the elements are too large for one entry")]
pub struct StreamTooLong;

/// How far a stream is to be trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrimTo {
    /// To so many entries.
    Length(u64),
    /// To the entries from this id on.
    Id(StreamId),
}

/// A trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// How far.
    pub to: TrimTo,
    /// Only whole blocks go (`~`).
    pub approximate: bool,
    /// At most so many entries go; 0 = no limit.
    pub limit: u64,
}

/// The entries of a stream, and what is remembered of those that were.
#[derive(Debug, Default)]
pub struct StreamLog {
    blocks: BTreeMap<StreamId, Pack>,
    length: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    /// The memory that the blocks have reserved.
    block_bytes: usize,
    /// Known of the last block since an entry was added to it, until something else changes it.
    tail: Option<Tail>,
}

/// What would have to be found out by walking through the last block.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// How long the block is as a listpack, which decides when it is full.
    listpack_len: usize,
    /// The place of its last entry, which is not removed.
    last: usize,
}

impl Clone for StreamLog {
    fn clone(&self) -> StreamLog {
        let blocks = self.blocks.clone();
        // A copy reserves what it needs, not what the original has.
        let block_bytes = blocks.values().map(Pack::allocated).sum();
        StreamLog { blocks, block_bytes, ..*self }
    }
}

impl StreamLog {
    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The id of the first entry, or 0-0.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The highest id that was ever used here.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The highest id that was removed by name, or 0-0.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Sets what is remembered (`XSETID`, loading). `last_id` is not below any entry's.
    pub fn set_counters(&mut self, last_id: StreamId, added: u64, max_deleted_id: StreamId) {
        (self.last_id, self.entries_added) = (last_id, added);
        self.max_deleted_id = max_deleted_id;
    }

    /// The id of an entry that is added at `now_ms`, unless the last id is used up.
    pub fn id_at(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.last_id.ms { Some(StreamId::new(now_ms, 0)) } else { self.last_id.next() }
    }

    /// Adds an entry. `fields` are fields and values in turn.
    ///
    /// # Errors
    /// When it is too large.
    ///
    /// # Panics
    /// When the id is not above the last one.
    pub fn append(
        &mut self,
        id: StreamId,
        fields: &[&[u8]],
        limits: &EncodingLimits,
    ) -> Result<(), StreamTooLong> {
        assert!(id > self.last_id, "{id} is not above {}", self.last_id);
        assert!(fields.len().is_multiple_of(2), "each field has a value");
        let text: usize = fields.iter().map(|part| part.len()).sum();
        // Twice the fields: a block's first entry stands there with them apart.
        let packed_max = 2 * text + (fields.len() + 8) * 2 * ELEMENT_OVERHEAD;
        if text + (fields.len() + 8) * ELEMENT_OVERHEAD > PACK_BYTES_MAX / 2 {
            return Err(StreamTooLong);
        }
        let bytes_max = match limits.stream_node_max_bytes {
            0 => PACK_BYTES_MAX,
            max => max.min(PACK_BYTES_MAX),
        };
        if let Some(mut tail) = self.blocks.last_entry() {
            let (first, pack) = (*tail.key(), tail.get_mut());
            let stored = self.tail.map_or_else(|| pack.listpack_len(), |tail| tail.listpack_len);
            let entries_max = limits.stream_node_max_entries;
            let is_full = stored + text >= bytes_max
                || stored + packed_max > PACK_BYTES_MAX
                || (entries_max > 0 && block::entries(pack) >= entries_max as u64);
            if !is_full {
                self.block_bytes -= pack.allocated();
                let (more, last) = block::append(pack, first, id, fields);
                self.block_bytes += pack.allocated();
                self.tail = Some(Tail { listpack_len: stored + more, last });
                self.added(id);
                return Ok(());
            }
        }
        let pack = block::new(fields);
        self.tail = None;
        self.block_bytes += pack.allocated();
        self.blocks.insert(id, pack);
        self.added(id);
        Ok(())
    }

    fn added(&mut self, id: StreamId) {
        self.length += 1;
        self.entries_added += 1;
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
    }

    /// The block that this id would be in.
    fn block_of(&self, id: StreamId) -> Option<(StreamId, &Pack)> {
        self.blocks.range(..=id).next_back().map(|(first, pack)| (*first, pack))
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.range(id, id).next()
    }

    /// Whether there is an entry with this id.
    pub fn contains(&self, id: StreamId) -> bool {
        self.block_of(id).is_some_and(|(first, pack)| block::find(first, pack, id).is_some())
    }

    /// Removes an entry by name; false if there is none.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Some((first, pack)) = self.blocks.range_mut(..=id).next_back() else { return false };
        let first = *first;
        let Some(at) = block::find(first, pack, id) else { return false };
        if block::live(pack) == 1 {
            self.drop_block(first);
        } else {
            self.block_bytes -= pack.allocated();
            block::remove(pack, &[at]);
            self.block_bytes += pack.allocated();
            self.tail = None;
        }
        self.length -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id {
            self.find_first();
        }
        true
    }

    fn drop_block(&mut self, first: StreamId) {
        let pack = self.blocks.remove(&first).expect("the block is there");
        self.tail = None;
        self.block_bytes -= pack.allocated();
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id);
    }

    /// Trims: how many entries went. `may_go` is asked for every entry that is about to go, if it
    /// is given.
    pub(super) fn trim(
        &mut self,
        trim: &Trim,
        mut may_go: Option<&mut dyn FnMut(StreamId) -> bool>,
    ) -> u64 {
        if trim.approximate && may_go.is_some() {
            // As Redis 8.2 has it: only blocks go, and with references no block goes as one.
            return 0;
        }
        let mut removed = 0;
        let mut from = StreamId::MIN;
        while let Some((&first, pack)) = self.blocks.range(from..).next() {
            let live = block::live(pack);
            let over_limit = trim.limit != 0 && removed + live > trim.limit;
            if over_limit || matches!(trim.to, TrimTo::Length(max) if self.length <= max) {
                break;
            }
            let whole = match trim.to {
                TrimTo::Length(max) => self.length - live >= max,
                TrimTo::Id(id) => block::last_id(first, pack) < id,
            };
            if !whole && trim.approximate {
                break;
            }
            let went = match &mut may_go {
                None if whole => {
                    self.drop_block(first);
                    self.length -= live;
                    live
                }
                None => self.trim_block(first, trim.to, &mut |_| true),
                Some(may_go) => {
                    let went = self.trim_block(first, trim.to, may_go);
                    if whole && went == live {
                        self.drop_block(first);
                    }
                    went
                }
            };
            removed += went;
            if !whole {
                break;
            }
            let Some(next) = first.next() else { break };
            from = next;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    /// Removes those entries at the beginning of a block that are beyond the trim's end.
    fn trim_block(
        &mut self,
        first: StreamId,
        to: TrimTo,
        may_go: &mut dyn FnMut(StreamId) -> bool,
    ) -> u64 {
        let mut left = self.length;
        let pack = self.blocks.get_mut(&first).expect("the block is there");
        let mut places = Vec::new();
        let mut cursor = block::Cursor::new(first, pack);
        while let Some(entry) = cursor.next() {
            let ends = match to {
                TrimTo::Id(min) => entry.id >= min,
                TrimTo::Length(max) => left <= max,
            };
            if ends {
                break;
            }
            if may_go(entry.id) {
                places.push(entry.place());
                left -= 1;
            }
        }
        let went = places.len() as u64;
        // A block that only has removed entries left stays, as in Redis: it counts as begun.
        if went > 0 {
            self.block_bytes -= pack.allocated();
            block::remove(pack, &places);
            self.block_bytes += pack.allocated();
            self.tail = None;
        }
        self.length -= went;
        went
    }

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> Entries<'_> {
        let from = self.block_of(start).map_or(start, |(first, _)| first);
        let blocks = if from <= end {
            self.blocks.range(from..=end)
        } else {
            self.blocks.range(StreamId::MIN..StreamId::MIN)
        };
        Entries { blocks, current: None, start, end }
    }

    /// The entries from `end` to `start`, backwards, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> EntriesBack<'_> {
        let reaches_tail = self.blocks.last_key_value().is_some_and(|(first, _)| *first <= end);
        let last = self.tail.filter(|_| reaches_tail).map(|tail| tail.last);
        EntriesBack { blocks: self.range(start, end).blocks, current: None, last, start, end }
    }

    /// The number of entries ever added up to `id`, as far as that can be told.
    pub fn position_of(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if id > self.last_id {
            return None;
        }
        if self.length == 0 || id == self.last_id {
            return Some(self.entries_added);
        }
        let whole_from_first =
            self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if whole_from_first => {
                Some(self.entries_added.saturating_sub(self.length))
            }
            std::cmp::Ordering::Equal if whole_from_first => {
                Some(self.entries_added.saturating_sub(self.length) + 1)
            }
            _ => None,
        }
    }

    /// Whether an entry was removed by name from `start` on, among those that are left.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        self.length > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks with their first ids, as RDB files have them.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = (StreamId, &Pack)> {
        self.blocks.iter().map(|(first, pack)| (*first, pack))
    }

    /// Adds a block from outside behind those that are there.
    ///
    /// # Errors
    /// When the bytes are no block, or do not belong behind the others.
    pub fn push_block(&mut self, first: StreamId, bytes: &[u8]) -> Result<(), InvalidPack> {
        let pack = Pack::from_untrusted(bytes)?;
        let last = block::check(first, &pack)?;
        if !self.blocks.is_empty() && first <= self.last_id {
            return Err(InvalidPack);
        }
        let live = block::live(&pack);
        self.last_id = last;
        self.length += live;
        self.block_bytes += pack.allocated();
        self.blocks.insert(first, pack);
        self.tail = None;
        if live > 0 && self.length == live {
            self.find_first();
        }
        Ok(())
    }

    /// The memory behind this.
    pub(super) fn heap_bytes(&self) -> usize {
        self.block_bytes + self.blocks.len() * INDEX_BYTES
    }
}

/// Entries of a stream, ascending.
#[derive(Clone)]
pub struct Entries<'a> {
    blocks: btree_map::Range<'a, StreamId, Pack>,
    current: Option<Cursor<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Entries<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            while let Some(entry) = self.current.as_mut().and_then(Cursor::next) {
                if entry.id > self.end {
                    return None;
                }
                if entry.id >= self.start {
                    return Some(entry);
                }
            }
            let (first, pack) = self.blocks.next()?;
            self.current = Some(Cursor::new(*first, pack));
        }
    }
}

/// Entries of a stream, descending.
pub struct EntriesBack<'a> {
    blocks: btree_map::Range<'a, StreamId, Pack>,
    current: Option<CursorBack<'a>>,
    /// The place of the last entry in the first block to come, where it is known.
    last: Option<usize>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for EntriesBack<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            while let Some(entry) = self.current.as_mut().and_then(CursorBack::next) {
                if entry.id < self.start {
                    return None;
                }
                if entry.id <= self.end {
                    return Some(entry);
                }
            }
            let (first, pack) = self.blocks.next_back()?;
            self.current = Some(Cursor::new(*first, pack).backwards(self.last.take()));
        }
    }
}
