//! The table of a large collection, with account of what its records take.

use super::record::Record;
use crate::hash::collection_seed;
use crate::table::{Iter, Table};

/// Records by key.
pub(crate) struct Index<R: Record> {
    table: Table<R>,
    /// What the records have allocated.
    record_bytes: usize,
}

impl<R: Record> Index<R> {
    pub(crate) fn new() -> Self {
        Index { table: Table::new(collection_seed()), record_bytes: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.table.heap_bytes() + self.record_bytes
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.table.hash(key)
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<R::View<'_>> {
        self.table.find(hash, key)
    }

    /// Asks the processor to fetch the records with these keys. All homes first: by the time the last
    /// has been asked for, the first is there to say where its record is.
    pub(crate) fn prefetch(&self, keys: &[&[u8]]) {
        const TOGETHER: usize = 16;
        for keys in keys.chunks(TOGETHER) {
            let mut hashes = [0; TOGETHER];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.hash(key);
                self.table.prefetch_home(*hash);
            }
            hashes[..keys.len()].iter().for_each(|hash| self.table.prefetch_entry(*hash));
        }
    }

    /// Makes another record of the same key out of the one there is; false if there is none.
    #[inline]
    pub(crate) fn update(&mut self, hash: u64, key: &[u8], change: impl FnOnce(R) -> R) -> bool {
        let Some(mut place) = self.table.place(hash, key) else { return false };
        let bytes = &mut self.record_bytes;
        place.update(|record| {
            *bytes -= record.size();
            let record = change(record);
            *bytes += record.size();
            record
        });
        true
    }

    /// Adds a record whose key is not there.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, record: R) {
        self.record_bytes += record.size();
        self.table.insert(hash, record);
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<R> {
        let record = self.table.remove(hash, key)?;
        self.record_bytes -= record.size();
        Some(record)
    }

    pub(crate) fn scan(&self, cursor: u64, visit: impl FnMut(R::View<'_>)) -> u64 {
        self.table.scan(cursor, visit)
    }

    pub(crate) fn random(&self, random: u64) -> Option<R::View<'_>> {
        self.table.random(random)
    }

    pub(crate) fn iter(&self) -> Iter<'_, R> {
        self.table.iter()
    }
}
