//! `SENTINEL SLOTWARD-STATUS`: everything that a sentinel knows, as one JSON document, for
//! `slotward cluster status` and for operators' own tools.
//!
//! ```text
//! {
//!   "group": "6f…" or null,     the group's name, for life; null before it has one
//!   "version": 41,              version of the topology (index of its last log entry)
//!   "epoch": 3,                 highest epoch in use
//!   "slots_assigned": 16384,
//!   "term": 5,                  Raft term
//!   "leader": "127.0.0.1:26379" or null,
//!   "me": "127.0.0.1:26380",    the sentinel that answers
//!   "timing": {"heartbeat_ms", "lease_ms", "drift_percent", "down_after_ms",
//!              "reconnect_wait_ms", "fencing_strict"},
//!   "sentinels": [ {"id", "address", "grpc_address", "leader": bool, "voter": bool,
//!                   "me": bool, "down": bool, "silence_ms"} ],
//!   "shards": [ {
//!     "id", "name", "epoch", "served": bool,
//!     "state": "ok" | "failing over" | "down" | "waiting",
//!                               waiting: the master is heard and does not accept writes
//!     "slots": [[first, last], ...], "slots_count",
//!     "master": node id, "promotable_version",
//!     "takeovers": [ {"epoch", "from": node id, "to": node id,
//!                     "taken", "end",   what the old master executed between these offsets is lost
//!                     "lost_bytes",     their difference
//!                     "exact": bool} ]  false: at least so much. The last changes of master, oldest
//!                                       first
//!     "members": [ NODE plus {"role": "master" | "replica", "promotable": bool} ]   master first
//!   } ],
//!   "unassigned": [ NODE ]      registered nodes in no shard
//! }
//! NODE = {"id", "address", "incarnation", "zone", "priority",
//!   "state": "online" | "suspected" | "failed", "connected": bool, "silence_ms",
//!   "doing": "unassigned" | "master" | "replica" | "halted" or null if never heard,
//!   "epoch", "history_epoch", "offset",
//!   "lag":                      bytes behind the master; null if either is unknown
//!   "link": "none" | "down" | "syncing" | "up" | "gone" or null,
//!   "serving": bool,            accepts writes, as of its last heartbeat
//!   "lease_ms_left",            of a lease that began with its last heartbeat; 0 if not serving
//!   "topology"                  the version it has
//! }
//! ```

use serde_json::{Value, json};
use slotward_cluster::{Liveness, Node, Shard, Takeover};
use slotward_failover::{LinkState, NodeRole};
use slotward_types::NodeId;

use super::sentinel::status_of;
use super::server::Server;
use crate::control::View;

/// The document.
pub(crate) fn json(server: &Server, view: &View) -> String {
    let leader = view.group.leader.and_then(|leader| view.group.members.get(&leader));
    let topology = &view.topology;
    let timing = &topology.timing;
    let lone = topology.nodes.values().filter(|node| topology.shard_of(node.id).is_none());
    json!({
        "group": view.name.map(|name| name.to_string()),
        "version": topology.version,
        "epoch": topology.current_epoch().0,
        "slots_assigned": topology.slots_assigned(),
        "term": view.group.term,
        "leader": leader.map(|leader| &leader.resp),
        "me": server.me.resp,
        "timing": {
            "heartbeat_ms": timing.heartbeat.0,
            "lease_ms": timing.lease.0,
            "drift_percent": timing.drift_percent,
            "down_after_ms": timing.down_after.0,
            "reconnect_wait_ms": timing.reconnect_wait.0,
            "fencing_strict": timing.fencing_strict,
        },
        "sentinels": sentinels(server, view),
        "shards": topology.shards.values().map(|one| shard(view, one)).collect::<Vec<_>>(),
        "unassigned": lone.map(|one| node(view, one, None)).collect::<Vec<_>>(),
    })
    .to_string()
}

fn sentinels(server: &Server, view: &View) -> Vec<Value> {
    let mut members: Vec<_> = view.group.members.iter().collect();
    members.sort_by(|(_, a), (_, b)| a.resp.cmp(&b.resp));
    members
        .into_iter()
        .map(|(id, member)| {
            let (silence, down) = view.silence.get(id).copied().unwrap_or_default();
            json!({
                "id": member.id,
                "address": member.resp,
                "grpc_address": member.grpc,
                "leader": view.group.leader == Some(*id),
                "voter": view.group.voters.contains(id),
                "me": member.id == server.me.id,
                "down": down,
                "silence_ms": silence.as_millis() as u64,
            })
        })
        .collect()
}

fn shard(view: &View, shard: &Shard) -> Value {
    let order = std::iter::once(shard.master.node).chain(shard.replicas());
    let nodes = order.filter_map(|id| view.topology.nodes.get(&id));
    let members: Vec<Value> = nodes
        .map(|one| {
            let mut value = node(view, one, Some(shard.master.node));
            let role = if one.id == shard.master.node { "master" } else { "replica" };
            value["role"] = role.into();
            value["promotable"] = shard.promotable.members.contains(&one.member()).into();
            value
        })
        .collect();
    json!({
        "id": shard.id.0,
        "name": shard.name,
        "epoch": shard.epoch.0,
        "served": shard.phase == slotward_cluster::Phase::Served,
        "state": shard_state(view, shard),
        "slots": shard.slots.ranges(),
        "slots_count": shard.slots.count(),
        "master": shard.master.node.to_string(),
        "promotable_version": shard.promotable.version,
        "takeovers": shard.takeovers.iter().map(takeover).collect::<Vec<_>>(),
        "members": members,
    })
}

fn takeover(takeover: &Takeover) -> Value {
    let cut = takeover.cut;
    json!({
        "epoch": takeover.epoch.0,
        "from": takeover.from.node.to_string(),
        "to": takeover.to.node.to_string(),
        "taken": cut.taken.0,
        "end": cut.end.0,
        "lost_bytes": cut.lost_bytes(),
        "exact": cut.exact,
    })
}

fn shard_state(view: &View, shard: &Shard) -> &'static str {
    match status_of(view, shard.master.node) {
        Some(status) if status.failing_over => "failing over",
        Some(status) if status.sdown || status.odown => "down",
        Some(status) if status.heartbeat.as_ref().is_some_and(|beat| beat.serving) => "ok",
        Some(_) => "waiting",
        None => "down",
    }
}

fn offset(view: &View, node: NodeId) -> Option<u64> {
    Some(status_of(view, node)?.heartbeat.as_ref()?.history.offset.0)
}

fn node(view: &View, node: &Node, master: Option<NodeId>) -> Value {
    let status = status_of(view, node.id);
    let beat = status.and_then(|status| status.heartbeat.as_ref());
    let silence = status.map_or(0, |status| status.silence.0);
    let lag = master
        .and_then(|master| Some(offset(view, master)?.saturating_sub(offset(view, node.id)?)));
    let lease = beat.filter(|beat| beat.serving).map_or(0, |b| b.lease.0.saturating_sub(silence));
    json!({
        "id": node.id.to_string(),
        "address": format!("{}:{}", node.host, node.port),
        "incarnation": node.incarnation.0,
        "zone": node.zone,
        "priority": node.priority,
        "state": match view.health.of(node.id).liveness {
            Liveness::Online => "online",
            Liveness::Suspected => "suspected",
            Liveness::Failed => "failed",
        },
        "connected": status.is_some_and(|status| status.connected),
        "silence_ms": silence,
        "doing": beat.map(|beat| match beat.role {
            NodeRole::Unassigned => "unassigned",
            NodeRole::Master => "master",
            NodeRole::Replica => "replica",
            NodeRole::Halted => "halted",
        }),
        "epoch": beat.map(|beat| beat.epoch.0),
        "history_epoch": beat.map(|beat| beat.history.epoch.0),
        "offset": beat.map(|beat| beat.history.offset.0),
        "lag": lag,
        "link": beat.map(|beat| match beat.link {
            LinkState::None => "none",
            LinkState::Down => "down",
            LinkState::Syncing => "syncing",
            LinkState::Up => "up",
            LinkState::Gone => "gone",
        }),
        "serving": beat.is_some_and(|beat| beat.serving),
        "lease_ms_left": lease,
        "topology": beat.map(|beat| beat.topology),
    })
}
