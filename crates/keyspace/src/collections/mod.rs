//! What a key can hold besides a string: lists, hashes, sets, sorted sets, streams, vector sets.
//!
//! Each has a small form in one piece of memory and a large one that stays fast at any size; the
//! change from one to the other follows Redis's settings and goes by Redis's names
//! ([`Encoding`](crate::Encoding)). None of them knows its key, its expiry or the time.
//!
//! **Invariant:** a packed form that exists is well formed; what comes from outside is checked by
//! the `from_untrusted` constructors first.

mod array;
mod blob;
mod chunk;
mod codec;
mod expiries;
mod hash;
mod index;
mod intset;
mod item;
mod list;
mod one_of;
mod pack;
mod record;
mod set;
mod stream;
mod tree;
mod vector;
mod zset;

pub use array::{Array, ArrayElement, ArrayLayout, Decimal};
pub use hash::Hash;
pub use intset::IntSet;
pub use item::Item;
pub use list::{End, List, ListIter, ListIterBack, ListNode};
pub use pack::{InvalidPack, Pack, PackIter};
pub use set::Set;
pub use stream::{
    Entries, EntriesBack, Idempotency, Pending, References, Stream, StreamConsumer, StreamEntry,
    StreamGroup, StreamId, StreamLog, StreamTooLong, Trim, TrimTo,
};
pub use vector::{
    DIM_MAX, InvalidVectors, LINKS_DEFAULT, LINKS_MAX, LINKS_MIN, Projection, Quantization,
    StoredVector, VectorQuery, VectorSearch, VectorSet, VectorSetLoader, VectorShape,
};
pub use zset::{LexBound, ScoreBound, SortedIter, SortedIterBack, SortedSet};

/// Whether some text stands twice among the items.
fn repeats<'a>(items: impl Iterator<Item = Item<'a>>) -> bool {
    let mut texts: Vec<Vec<u8>> = items.map(Item::to_vec).collect();
    texts.sort_unstable();
    texts.windows(2).any(|pair| pair[0] == pair[1])
}
