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
