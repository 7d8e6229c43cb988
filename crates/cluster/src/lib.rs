//! Who owns which slot, and how clients are told.
//!
//! Holds the [`Topology`] (nodes, shards, slots, epochs) as data, the compact [`SlotMap`] that a
//! data node asks for every key, and the replies of `CLUSTER SLOTS|SHARDS|NODES|INFO|…` for a given
//! point of view. Does not decide ownership: log entries do, in `failover`, and their verdicts
//! arrive here as a newer topology. Says nothing about leases: "the map says this slot is mine" is
//! not yet "I may serve it".
//!
//! **Invariant:** a map is replaced by one of a newer version or not at all.

mod moves;
mod ranges;
mod redirect;
mod render;
mod slot_map;
mod topology;

pub use moves::{Arrival, MOVES_MAX, Move, MoveId, Moves};
pub use ranges::{InvalidRange, SlotRanges};
pub use redirect::{CROSS_SLOT, ClusterDown, Route};
pub use render::{Seen, info, links, nodes, replicas, shards, slots};
pub use slot_map::SlotMap;
pub use topology::{
    Cut, Health, InvalidTiming, Liveness, Member, Node, NodeHealth, NodeKind, Phase, PromotableSet,
    Shard, ShardId, TAKEOVERS_MAX, Takeover, Timing, Topology,
};
