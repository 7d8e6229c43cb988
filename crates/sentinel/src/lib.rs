//! A sentinel: one member of the Raft group that keeps the topology, watches the nodes and answers
//! clients of Redis's sentinels.
//!
//! Owns openraft and its storage (`raft`), how sentinels find each other (`discovery`), the shell around [`slotward_failover::SentinelMachine`]
//! (`control`), and the RESP side on port 26379 (`resp`). Leaves every decision about who is down
//! and who becomes master to `failover`, and the wire formats between processes to `proto`.
//!
//! Three threads with a runtime each, so that nothing that waits delays a heartbeat: `sentinel-raft`
//! (openraft), `sentinel-ctl` (nodes' streams and the state machine), `sentinel-resp`; and two that
//! wait for the disk: `sentinel-log` and `sentinel-disk`.
//!
//! **Invariants:** what was acknowledged to another member is on disk; a revocation is on disk
//! before it is voted; a group is decided once, by more than half of its sentinels, and a sentinel
//! belongs to one group for ever.

mod config;
mod control;
mod discovery;
mod disk;
mod process;
mod raft;
mod resp;
mod say;
#[cfg(test)]
mod testing;

pub use config::{InvalidConfig, Monitor, SentinelAddress, SentinelConfig};
pub use control::RevocationsError;
pub use process::{Sentinel, SentinelError, run};
pub use raft::{GroupError, WalError};

/// A log filter that shows what operators want to know: the Raft library and the gRPC stack say the
/// same thing again with every try, what matters of it this crate says itself.
pub const LOG_FILTER: &str = "info,openraft=off,tonic=warn,h2=warn,hyper=warn,tower=warn";
