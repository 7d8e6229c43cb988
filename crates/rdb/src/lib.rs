//! The RDB format, in which data sets travel to replicas and rest on disk.
//!
//! Reads every form of the types this server has that any Redis from 2.6 to 8.2 wrote; writes what
//! every Redis from 7.0 on loads. Knows nothing of files, sockets or snapshots: a [`Reader`] takes
//! any source of bytes, a [`Writer`] fills a buffer.
//!
//! **Invariants:** nothing is reserved on the word of a stream; damage is an error, never a panic; a
//! data set with something in it that cannot be kept is refused, not trimmed.

mod array_values;
mod crc64;
mod dump;
mod error;
mod input;
mod lzf;
mod output;
mod packed;
mod reader;
mod stream_values;
mod values;
mod vector_values;
mod wire;
mod writer;

pub use crc64::crc64;
pub use dump::{dump, restore};
pub use error::RdbError;
pub use input::ReadLimits;
pub use reader::{Entry, Event, Reader};
pub use writer::{Preamble, StreamAux, Writer};
