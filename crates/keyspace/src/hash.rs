//! Hashing: a key with its slot and hash, computed once per command.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;
use slotward_types::Slot;

/// A key with what is computed once per command: its slot and its hash.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The key's bytes.
    pub bytes: &'a [u8],
    /// The slot it lives in.
    pub slot: Slot,
    /// Its hash under the keyspace's seed.
    pub hash: u64,
}

/// The hash of these bytes under a seed. Low bits choose the home group, high bits the tag.
#[inline]
pub(crate) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

static COLLECTION_SEED: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

/// The seed for tables inside values. Each table keeps the seed it was made with, so this may
/// change at any time.
pub(crate) fn collection_seed() -> u64 {
    COLLECTION_SEED.load(Ordering::Relaxed)
}

/// Makes tables born from now on, inside values, use this seed.
pub(crate) fn set_collection_seed(seed: u64) {
    COLLECTION_SEED.store(seed, Ordering::Relaxed);
}
