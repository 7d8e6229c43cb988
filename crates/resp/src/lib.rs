//! The Redis serialisation protocol, versions 2 and 3.
//!
//! Three parts that share nothing but the grammar: [`CommandDecoder`] finds commands in a read
//! buffer without copying them, [`Reply`] writes replies in the version a client speaks, [`Value`]
//! is a decoded reply for those of our own parts that act as clients.
//!
//! **Invariant:** nothing is reserved on the word of a peer: a length is checked against a limit
//! before it becomes an allocation.

mod args;
mod command;
mod number;
mod reply;
mod value;

pub use args::{Args, OwnedArgs, Span};
pub use command::{CommandDecoder, Decoded, Limits, ProtocolError};
pub use number::format_double;
pub use reply::{Deferred, Protocol, Reply, encode_command};
pub use value::{InvalidReply, Value, decode_value};
