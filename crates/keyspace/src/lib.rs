//! The data: 16384 slots in each database, what is in them, and who may touch them.
//!
//! Owns slot locks, tables, entries, the encodings of values, expiry, the capture of snapshots,
//! watches and the accounting of memory. Leaves commands, replication, eviction policy and every
//! clock to others: time comes in as `now`.
//!
//! **Invariants:** a table is touched only while its slot is held; an entry lives in exactly one
//! place of one table; a snapshot gets every entry that existed at its beginning exactly once, as
//! it was then.

mod access;
mod collections;
mod counters;
mod db;
mod entry;
mod field_expiry;
mod hash;
mod keyspace;
mod listen;
mod lock;
mod slots;
mod snapshot;
mod table;
mod value;
mod waiting;
mod watch;
mod whole;

pub use access::AccessRule;
pub use collections::*;
pub use db::{Db, ExpiredFields, ExpiryPolicy, Sampled, SetExpiry};
pub use hash::Key;
pub use keyspace::{DbIndex, DbSet, Keyspace};
pub use listen::{Listener, Noted, Notes};
pub use lock::{LockWait, Locked, SlotGuard};
pub use snapshot::{SnapshotId, SnapshotSink, WalkCursor};
pub use value::{
    Encoding, EncodingLimits, EntryRef, Kind, ObjectInfo, Str, StrBuf, Value, ValueRef, WrongType,
};
pub use waiting::{ReadyKey, Waiter, Waiting, Wanted};
pub use watch::Watch;
pub use whole::Detached;
