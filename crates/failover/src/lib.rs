//! Who is master: detection, leases, the choice of a successor, and the topology's state machine.
//!
//! Three machines without I/O, clocks or randomness of their own:
//! - [`apply`]: the entries of the sentinels' log, each conditional;
//! - [`NodeMachine`]: a data node's role, epoch, lease and promises;
//! - [`SentinelMachine`]: a sentinel's picture of the nodes, its revocations and, on the leader of
//!   the Raft group, the failovers.
//!
//! Each rule of the failover protocol is enforced in one place and asserted in release builds:
//! conditional entries in `state` (3, 4, 5, 7), acknowledgements in `SentinelMachine::acknowledge`
//! (1, 2, 4), promises in `NodeMachine::on_lease_ping` and `promises_end` (2, 6), leases in
//! `node/master.rs` (2, 3, 8), the durable epoch in `NodeMachine::raise` and `settle` (1, 7), the
//! choice in `sentinel/leader.rs` (4, 5). Rules 9 and 10 are the data plane's, which is given the
//! epoch of every order and the end of every lease.
//!
//! # What is said when
//!
//! A shard is in epoch *e*, M its master, R a replica, L the sentinel that leads, S every sentinel.
//! In peace: M and R send [`Heartbeat`]s to every S, which answers [`Ack`] (a lease, for M). On the
//! replication stream M sends [`LeasePing`], R answers [`LeaseAck`], which is also a promise. M
//! proposes [`Entry::SetPromotable`] as replicas come and go, and [`Entry::Serve`] before it accepts
//! the first write ever.
//!
//! **Fast failover** (the process of M ended, so that the kernel closed its streams):
//! 1. S: [`SentinelEvent::StreamClosed`] → `Probe`; nobody takes it for `reconnect_wait` → revoke *e*,
//!    `Persist`, then [`Vote`] `gone` to all S. R likewise: `LinkDown { closed }` → `ProbeMaster`.
//! 2. L, with votes of a majority: [`Prepare`] *e+1* to every member.
//! 3. R: `Halt` and `Persist` the promise, then [`Prepared`] `master_gone` with its history.
//! 4. L chooses, `Propose` [`Entry::Promote`] with [`Basis::Gone`].
//! 5. Every S applies it: [`ToNode::Topology`] to every node, `+switch-master` to subscribers.
//! 6. R: `Persist` *e+1* if it had not, `BecomeMaster`, heartbeats in *e+1*, `AcceptWrites` with the
//!    first acknowledgements; its promise to M is waived. The others `Follow`.
//!
//! **Ordinary failover** (M hangs or is cut off): 1. after `down_after` of silence; 4. when a majority
//! of votes says `ack_left` 0, with [`Basis::RanOut`]; 6. R also waits its own promises out.
//!
//! **Manual failover**: a [`FailoverRequest`] reaches L. Prepare to M, which refuses writes, `Halt`s and
//! promises: its answer is the consent, and says how far it is. Prepare to R with `catch_up`: it
//! promises once it has as much. L commits with [`Basis::Consent`]. If that fails, M is confirmed in
//! *e+1*. `FORCE` skips M: L tells the sentinels to revoke, and waits acknowledgements out.
//!
//! **Graceful stop**: a master asks for a manual failover itself, and stops when the log has named
//! another; its data plane holds clients meanwhile, answers what it executed, then gives its lease up.
//! A replica steps back from the promotable set first ([`Entry::StepBack`]).
//!
//! **Loss report**: a promotion carries where the winner's history leaves the old master's
//! ([`slotward_cluster::Cut`]): exactly if the old master answered the prepare, else by its last
//! heartbeat. A deposed master that follows in the same run proposes [`Entry::ReportEnd`] with the end
//! of its history, which makes the record exact.
//!
//! **Restarted master**: a new incarnation opens a stream: as fast failover, without waiting. If all of
//! the promotable set has restarted, [`Basis::AllRestarted`] once all have answered.
//!
//! # What is on disk before what
//!
//! The machines hold back what must wait: nothing that they emit needs to be ordered by a shell
//! except that `Persist` is answered only when the file and its folder are synced. So a vote
//! follows the revocation, a [`Prepared`] follows the promise, and acting in an epoch follows it too.
//! Only the newest `Persist` counts: a shell may skip one that a later one has overtaken.
//! Before a machine is made, a node has raised and synced its incarnation.
//!
//! The formats of the log and of the messages are owned by `sentinel` and `proto`; the `serde`
//! derives here serve the former.

mod entry;
mod message;
mod moves;
mod node;
mod plant;
mod sentinel;
mod state;

pub use entry::{Basis, Change, Entry, Registration, Rejected};
pub use message::{
    Ack, FailoverMode, FailoverRequest, Heartbeat, History, LeaseAck, LeasePing, LinkState,
    NodeRole, PeerMessage, Prepare, Prepared, SentinelId, ToNode, ToSentinel, Vote,
};
pub use moves::{
    Admission, MoveConfig, MoveData, MoveEffect, MoveEvent, MoveMachine, MoveRecord, Piece, Stage,
    StageKey, Stages,
};
pub use node::{
    DataPlane, HaltId, NodeConfig, NodeEffect, NodeEvent, NodeMachine, NodeState, Outcome,
    PersistId, ProposalId,
};
#[cfg(feature = "plants")]
pub use plant::plant;
pub use plant::{Plant, planted};
pub use sentinel::{
    NodeStatus, Revocations, SentinelConfig, SentinelEffect, SentinelEvent, SentinelMachine,
    StreamId,
};
pub use state::apply;

/// How long who acknowledges a lease of this length must wait: with the drift margin (rule 2).
fn promise_for(
    timing: &slotward_cluster::Timing,
    lease: slotward_types::Millis,
) -> slotward_types::Millis {
    if planted(Plant::NoDriftMargin) { lease } else { timing.promise_for(lease) }
}
