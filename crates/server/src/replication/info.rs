//! What `INFO replication` and `ROLE` show.

use std::fmt::Write as _;

use slotward_types::NodeId;

use crate::call::{NodeCall, Outcome};
use crate::node::Node;
use crate::replication::link::LinkPhase;
use crate::replication::session::State;

const NO_ID: &str = "0000000000000000000000000000000000000000";

/// Appends the lines of `INFO replication`, without the section's title.
pub(crate) fn info(node: &Node, out: &mut String) {
    let replication = &node.replication;
    let role = if node.role.load().is_master() { "master" } else { "slave" };
    line(out, "role", role);
    if replication.is_following() {
        following(node, out);
    }
    replicas(node, out);
    let status = replication.log.status();
    let second = status.history.second();
    line(out, "master_failover_state", "no-failover");
    line(out, "master_replid", status.history.id());
    match second {
        Some(second) => line(out, "master_replid2", second.id),
        None => line(out, "master_replid2", NO_ID),
    }
    line(out, "master_repl_offset", status.end);
    // Redis counts from one here: the first byte that is not of the second history.
    let second_offset = second.map_or(-1, |second| second.next.0 as i64 + 1);
    line(out, "second_repl_offset", second_offset);
    line(out, "repl_backlog_active", u8::from(status.active));
    line(out, "repl_backlog_size", node.live.load().settings.repl_backlog_size);
    let first = if status.active { status.first.0 + 1 } else { 0 };
    line(out, "repl_backlog_first_byte_offset", first);
    line(out, "repl_backlog_histlen", status.end.0 - status.first.0);
    line(out, "slotward_repl_log_memory", status.memory_bytes);
    if let Some(us) = *replication.us.lock() {
        line(out, "slotward_shard_epoch", us.epoch);
        last_failover(node, us.node, out);
    }
}

/// What the last change of master in this node's shard left behind.
fn last_failover(node: &Node, us: NodeId, out: &mut String) {
    let map = node.slot_map.load();
    let shard = map.topology().shard_of(us);
    let Some(takeover) = shard.and_then(|shard| shard.last_takeover()) else { return };
    line(out, "slotward_last_failover_epoch", takeover.epoch);
    line(out, "slotward_last_failover_from", takeover.from.node);
    line(out, "slotward_last_failover_taken_offset", takeover.cut.taken);
    line(out, "slotward_last_failover_end_offset", takeover.cut.end);
    line(out, "slotward_last_failover_lost_bytes", takeover.cut.lost_bytes());
    line(out, "slotward_last_failover_lost_exact", u8::from(takeover.cut.exact));
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}:{value}\r\n").expect("a string takes everything");
}

fn following(node: &Node, out: &mut String) {
    let (link, settings) = (&node.replication.link, node.live.load().settings.clone());
    let order = link.current();
    let (host, port) = order.map_or((String::new(), 0), |order| (order.host.clone(), order.port));
    let phase = link.phase();
    let is_up = phase == LinkPhase::Up;
    line(out, "master_host", host);
    line(out, "master_port", port);
    line(out, "master_link_status", if is_up { "up" } else { "down" });
    let silent = if is_up { link.silent_seconds() as i64 } else { -1 };
    line(out, "master_last_io_seconds_ago", silent);
    line(out, "master_sync_in_progress", u8::from(phase == LinkPhase::Syncing));
    let applied = node.replication.offset();
    line(out, "slave_read_repl_offset", applied);
    line(out, "slave_repl_offset", applied);
    if phase == LinkPhase::Syncing {
        // How much there is in all is not known: the data set comes as it is made.
        line(out, "master_sync_total_bytes", 0);
        line(out, "master_sync_read_bytes", link.received_bytes());
        line(out, "master_sync_left_bytes", 0);
        line(out, "master_sync_perc", "0.00");
        line(out, "master_sync_last_io_seconds_ago", link.silent_seconds());
    }
    if !is_up {
        line(out, "master_link_down_since_seconds", link.down_seconds());
    }
    line(out, "slave_priority", settings.replica_priority);
    line(out, "slave_read_only", u8::from(settings.replica_read_only));
    line(out, "replica_announced", u8::from(settings.replica_announced));
}

fn replicas(node: &Node, out: &mut String) {
    let settings = node.live.load().settings.clone();
    let replicas = node.replication.replicas.all();
    line(out, "connected_slaves", replicas.len());
    if settings.min_replicas_to_write > 0 {
        let good = node.replication.replicas.good(settings.min_replicas_max_lag);
        line(out, "min_slaves_good_slaves", good);
    }
    for (index, replica) in replicas.iter().enumerate() {
        let value = format!(
            "ip={},port={},state={},offset={},lag={}",
            replica.ip,
            replica.peer.listening_port,
            replica.state().word(),
            replica.acked(),
            replica.lag_seconds(),
        );
        line(out, &format!("slave{index}"), value);
    }
}

/// `ROLE`.
pub(crate) fn role(call: &mut NodeCall<'_>) -> Outcome {
    let replication = &call.node.replication;
    let offset = replication.offset().0 as i64;
    if replication.is_following() {
        let order = replication.link.current();
        let (host, port) =
            order.map_or((String::new(), 0), |order| (order.host.clone(), order.port));
        let phase = replication.link.phase();
        call.reply.array(5);
        call.reply.bulk(b"slave");
        call.reply.bulk(host.as_bytes());
        call.reply.integer(i64::from(port));
        call.reply.bulk(phase.word().as_bytes());
        call.reply.integer(if phase == LinkPhase::Up { offset } else { -1 });
        return Ok(());
    }
    let mut online = replication.replicas.all();
    online.retain(|replica| replica.state() == State::Online);
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(offset);
    call.reply.array(online.len());
    for replica in online {
        call.reply.array(3);
        call.reply.bulk(replica.ip.as_bytes());
        call.reply.bulk(replica.peer.listening_port.to_string().as_bytes());
        call.reply.bulk(replica.acked().to_string().as_bytes());
    }
    Ok(())
}
