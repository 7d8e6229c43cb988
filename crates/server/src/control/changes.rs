//! `CLUSTER MEET|ADDSLOTS|REPLICATE|…`: what a client asks for, as an entry of the log.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use slotward_cluster::{Member, SlotRanges, Topology};
use slotward_failover::{Entry, FailoverMode, NodeRole};
use slotward_keyspace::{DbIndex, DbSet};
use slotward_types::{Epoch, Slot};

use super::{ClusterChange, agent};
use crate::node::Node;
use crate::tracking;

/// What a change is judged by.
pub(super) struct View<'a> {
    pub(super) node: &'a Node,
    pub(super) topology: Option<&'a Arc<Topology>>,
    pub(super) me: Member,
    pub(super) role: NodeRole,
}

/// What a change becomes.
#[derive(Debug)]
pub(super) enum Plan {
    /// Put before the log, answered with this when it is applied; then the data may have to go.
    Propose { entry: Entry, answer: String, then_empty: bool },
    /// A failover is asked for.
    Failover(FailoverMode),
    /// There is nothing to do.
    Done(String),
}

fn propose(entry: Entry) -> Result<Plan, String> {
    Ok(Plan::Propose { entry, answer: "OK".to_owned(), then_empty: false })
}

/// Turns a change into an entry, or refuses it for what this node knows.
pub(super) fn plan(view: &View<'_>, change: ClusterChange) -> Result<Plan, String> {
    let node = view.me;
    match change {
        ClusterChange::Meet { host, port, cport: _ } => {
            let host = registered_host(view.topology, host, port);
            propose(Entry::Meet { by: node.node, host, port })
        }
        ClusterChange::AddSlots(slots) => propose(Entry::AddSlots { node, slots: set(slots) }),
        ClusterChange::DelSlots(slots) => propose(Entry::DelSlots { node, slots: set(slots) }),
        ClusterChange::FlushSlots => flush_slots(view),
        ClusterChange::Replicate(master) => {
            if view.role != NodeRole::Replica && has_keys(view.node) {
                return Err(
                    "ERR To set a master the node must be empty and without assigned slots."
                        .to_owned(),
                );
            }
            propose(Entry::Replicate { node, master })
        }
        ClusterChange::Forget(other) => propose(Entry::Forget { by: node.node, node: other }),
        ClusterChange::Reset { hard: _ } => reset(view),
        ClusterChange::BumpEpoch => bump_epoch(view),
        ClusterChange::SetConfigEpoch(epoch) => {
            propose(Entry::SetConfigEpoch { node, epoch: Epoch(epoch) })
        }
        ClusterChange::Failover { force, takeover: _ } => failover(view, force),
    }
}

fn set(slots: Vec<Slot>) -> SlotRanges {
    slots.into_iter().collect()
}

pub(super) fn has_keys(node: &Node) -> bool {
    (0..node.keyspace.databases()).any(|db| node.keyspace.dbsize(DbIndex(db)) > 0)
}

/// The host under which the node at this address has registered: the very word, or an address that
/// the word resolves to.
fn registered_host(topology: Option<&Arc<Topology>>, host: String, port: u16) -> String {
    let Some(topology) = topology else { return host };
    if topology.node_at(&host, port).is_some() {
        return host;
    }
    let resolved = (host.as_str(), port).to_socket_addrs().into_iter().flatten();
    let mut known = resolved.map(|address| address.ip().to_string());
    known.find(|ip| topology.node_at(ip, port).is_some()).unwrap_or(host)
}

fn flush_slots(view: &View<'_>) -> Result<Plan, String> {
    if has_keys(view.node) {
        return Err("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.".to_owned());
    }
    let shard = view.topology.and_then(|topology| topology.shard_of(view.me.node));
    match shard.filter(|shard| shard.master == view.me && !shard.slots.is_empty()) {
        Some(shard) => propose(Entry::DelSlots { node: view.me, slots: shard.slots.clone() }),
        None => Ok(Plan::Done("OK".to_owned())),
    }
}

fn reset(view: &View<'_>) -> Result<Plan, String> {
    if view.role != NodeRole::Replica && has_keys(view.node) {
        return Err(
            "ERR CLUSTER RESET can't be called with master nodes containing keys".to_owned()
        );
    }
    let entry = Entry::Reset { node: view.me };
    Ok(Plan::Propose { entry, answer: "OK".to_owned(), then_empty: true })
}

fn bump_epoch(view: &View<'_>) -> Result<Plan, String> {
    let Some(topology) = view.topology else {
        return Err("ERR this node does not know the cluster yet".to_owned());
    };
    let highest = topology.current_epoch();
    let mine = topology.shard_of(view.me.node).map(|shard| shard.epoch);
    let alone = topology.shards.values().filter(|shard| shard.epoch == highest).count() == 1;
    if mine == Some(highest) && alone {
        return Ok(Plan::Done(format!("STILL {highest}")));
    }
    let answer = format!("BUMPED {}", highest.next());
    Ok(Plan::Propose { entry: Entry::BumpEpoch { node: view.me }, answer, then_empty: false })
}

fn failover(view: &View<'_>, force: bool) -> Result<Plan, String> {
    if view.role != NodeRole::Replica {
        return Err("ERR You should send CLUSTER FAILOVER to a replica".to_owned());
    }
    if !force && !view.node.replication.is_in_sync() {
        return Err("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE".to_owned());
    }
    Ok(Plan::Failover(agent::mode(force)))
}

/// A node that has left its shard lets go of the data it held for it.
pub(super) async fn empty(node: &Node) {
    let flush = || {
        let detached = node.keyspace.flush(DbSet::All);
        tracking::flush(node);
        detached
    };
    let detached = node.barrier.run(flush).await;
    node.garbage.drop_later(detached);
}
