//! The data node: listeners, workers, timers and the commands about the node itself.
//!
//! Owns every socket, thread and clock of a node and nothing that the pure crates can decide.
//!
//! **Invariant:** a command executes on the thread that read it, under the locks of its slots,
//! inside the worker barrier; its effects enter the replication log under the same locks.

mod admission;
mod allocator;
mod apply;
mod aside;
mod barrier;
mod blocking;
mod call;
mod client;
mod clock;
mod commands;
mod connection;
mod control;
mod eviction;
mod execute;
mod garbage;
mod info;
mod listen;
mod live;
mod memory;
mod node;
mod pause;
mod pubsub;
mod replication;
mod run;
mod shutdown;
mod slowlog;
mod stats;
mod stream;
mod timers;
mod tracking;
mod transaction;
mod view;
mod worker;
mod writing;

pub use allocator::Allocator;
pub use run::run;

/// The version of Redis whose behaviour we announce.
pub(crate) const REDIS_VERSION: &str = "7.2.4";
/// Our own version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
