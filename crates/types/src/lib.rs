//! The words that every other crate shares: slots, epochs, offsets, ids, times.
//!
//! Owns no behaviour beyond what makes a value of one of these types right by construction.
//! Has no wire format: how a type travels is decided where it travels (`proto`, `rdb`, `resp`).
//!
//! **Invariant:** a value that exists is in range; two numbers that can be confused are two types.

mod glob;
mod id;
mod slot;
mod time;

pub use glob::{glob_match, glob_match_nocase};
pub use id::{Epoch, Incarnation, InvalidHexId, NodeId, ReplId, ReplOffset};
pub use slot::{InvalidSlot, Slot, hash_tag, slot_of};
pub use time::{Millis, UnixMillis};

/// What is added to a sentinel's RESP port to get its gRPC port, unless that is told. From 26379 it
/// stays below the ports that Linux hands out to outgoing connections (32768 and up): one of those,
/// even a peer's attempt to reach this very port, could otherwise take it before the sentinel starts.
pub const GRPC_PORT_OFFSET: u16 = 1_000;
