//! The `SENTINEL` family: masters, replicas and sentinels in the shapes that clients know.
//!
//! Every shard is a master with a name. What the protocol of Redis's sentinels asks about and ours
//! does not have is answered with the nearest truth: a ping is a heartbeat here, the quorum is the
//! majority of the group, and `SENTINEL RESET` has the leader take sentinels that are silent out of
//! the group: the rest of what it would forget is in the Raft log and not guessed from gossip.

use slotward_cluster::{Node, Shard};
use slotward_failover::{FailoverMode, FailoverRequest, LinkState, NodeRole, NodeStatus};
use slotward_types::{NodeId, glob_match};

use super::commands::{Call, Handled, Row, Then, section, text};
use super::status;
use crate::control::View;
use crate::raft::Member;

/// The subcommands.
pub(crate) static SUBCOMMANDS: &[Row] = &[
    Row::sub("ckquorum", 3, ckquorum),
    Row::sub("failover", 3, failover),
    Row::sub("get-master-addr-by-name", 3, get_master_addr_by_name),
    Row::sub("help", 2, help),
    Row::sub("master", 3, master),
    Row::sub("masters", 2, masters),
    Row::sub("myid", 2, |call| {
        call.reply.bulk(call.server.me.id.as_bytes());
        Ok(())
    }),
    Row::sub("replicas", 3, replicas),
    Row::sub("reset", 3, reset),
    Row::sub("sentinels", 3, sentinels),
    Row::sub("slaves", 3, replicas),
    Row::sub("slotward-status", 2, |call| {
        let text = status::json(call.server, call.view);
        call.reply.bulk(text.as_bytes());
        Ok(())
    }),
];

/// What Redis's sentinels wait for a failover before they start over; shown because clients read
/// it, ours start over when the leader changes.
const FAILOVER_TIMEOUT_MS: u64 = 180_000;

type Fields = Vec<(&'static str, String)>;

fn get_master_addr_by_name(call: &mut Call<'_>) -> Handled {
    let shard = text(&call.args[2]).and_then(|name| call.view.topology.shard_named(name));
    let master = shard.and_then(|shard| call.view.topology.nodes.get(&shard.master.node));
    match master {
        Some(master) => {
            call.reply.array(2);
            call.reply.bulk(master.host.as_bytes());
            call.reply.bulk_integer(master.port.into());
        }
        None => call.reply.null_array(),
    }
    Ok(())
}

fn masters(call: &mut Call<'_>) -> Handled {
    let entries: Vec<Fields> =
        call.view.topology.shards.values().map(|shard| master_fields(call.view, shard)).collect();
    list(call, &entries);
    Ok(())
}

fn master(call: &mut Call<'_>) -> Handled {
    let fields = master_fields(call.view, named(call)?);
    entry(call, &fields);
    Ok(())
}

fn replicas(call: &mut Call<'_>) -> Handled {
    let (view, shard) = (call.view, named(call)?);
    let nodes = shard.replicas().filter_map(|node| view.topology.nodes.get(&node));
    let entries: Vec<Fields> = nodes.map(|node| replica_fields(view, shard, node)).collect();
    list(call, &entries);
    Ok(())
}

fn sentinels(call: &mut Call<'_>) -> Handled {
    named(call)?;
    let view = call.view;
    let entries: Vec<Fields> = view
        .group
        .members
        .iter()
        .filter(|(_, member)| member.id != call.server.me.id)
        .map(|(id, member)| sentinel_fields(view, *id, member))
        .collect();
    list(call, &entries);
    Ok(())
}

fn ckquorum(call: &mut Call<'_>) -> Handled {
    named(call)?;
    let usable = usable(call.view);
    if usable >= majority(call.view) {
        let text = format!(
            "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
        );
        call.reply.simple(&text);
        return Ok(());
    }
    Err(format!(
        "NOQUORUM {usable} usable Sentinels. Not enough available Sentinels to reach the specified \
         quorum for this master. Not enough available Sentinels to reach the majority and authorize \
         a failover"
    ))
}

fn failover(call: &mut Call<'_>) -> Handled {
    let (view, shard) = (call.view, named(call)?);
    let status = view.nodes.get(&shard.master.node);
    if status.is_some_and(|status| status.failing_over) {
        return Err("INPROG Failover already in progress".into());
    }
    let promotable = shard.replicas().any(|node| {
        let member = shard.promotable.members.iter().any(|member| member.node == node);
        let priority = view.topology.nodes.get(&node).map_or(0, |node| node.priority);
        let heard = view.nodes.get(&node).is_some_and(|status| !status.sdown);
        member && priority > 0 && heard
    });
    if !promotable {
        return Err("NOGOODSLAVE No suitable replica to promote".into());
    }
    let hears = status.is_some_and(|status| status.connected && !status.sdown);
    let mode = if hears { FailoverMode::HandOver } else { FailoverMode::Force };
    call.then =
        Then::FailOver(FailoverRequest { shard: shard.id, epoch: shard.epoch, to: None, mode });
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Handled {
    let names = call.view.topology.shards.values().map(|shard| shard.name.as_bytes());
    let matched = names.filter(|name| glob_match(&call.args[2], name)).count();
    call.reply.integer(matched as i64);
    if matched > 0 {
        call.then = Then::ForgetSilent;
    }
    Ok(())
}

fn help(call: &mut Call<'_>) -> Handled {
    const LINES: &[&str] = &[
        "SENTINEL <subcommand> [<arg> ...]. Subcommands are:",
        "CKQUORUM <master> -- Says whether enough sentinels answer to fail the master over.",
        "FAILOVER <master> -- Hands mastership to the best replica; forced if the master is gone.",
        "GET-MASTER-ADDR-BY-NAME <master> -- The master's host and port.",
        "MASTER <master> -- What is known of one master.",
        "MASTERS -- What is known of every master: one for each shard.",
        "MYID -- This sentinel's id.",
        "REPLICAS <master> -- What is known of the master's replicas.",
        "RESET <pattern> -- Said to the leader: silent sentinels leave the group.",
        "SENTINELS <master> -- The other sentinels of the group.",
        "SLOTWARD-STATUS -- Everything, as JSON.",
    ];
    call.reply.array(LINES.len());
    LINES.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}

/// The `# Sentinel` section of `INFO`.
pub(crate) fn info(call: &Call<'_>) -> String {
    let view = call.view;
    let mut fields: Vec<(&str, String)> = vec![
        ("sentinel_masters", view.topology.shards.len().to_string()),
        ("sentinel_tilt", "0".into()),
        ("sentinel_tilt_since_seconds", "-1".into()),
        ("sentinel_running_scripts", "0".into()),
        ("sentinel_scripts_queue_length", "0".into()),
        ("sentinel_simulate_failure_flags", "0".into()),
    ];
    let lines: Vec<(String, String)> = view
        .topology
        .shards
        .values()
        .enumerate()
        .map(|(index, shard)| (format!("master{index}"), info_line(view, shard)))
        .collect();
    fields.extend(lines.iter().map(|(name, value)| (name.as_str(), value.clone())));
    section("Sentinel", &fields)
}

fn info_line(view: &View, shard: &Shard) -> String {
    let master = view.topology.nodes.get(&shard.master.node);
    let address = master.map(|node| format!("{}:{}", node.host, node.port)).unwrap_or_default();
    let status = match view.nodes.get(&shard.master.node) {
        Some(status) if status.odown => "odown",
        Some(status) if status.sdown => "sdown",
        _ => "ok",
    };
    format!(
        "name={},status={status},address={address},slaves={},sentinels={}",
        shard.name,
        shard.replicas().count(),
        view.group.voters.len(),
    )
}

/// The shard that the command names.
fn named<'a>(call: &Call<'a>) -> Result<&'a Shard, String> {
    text(&call.args[2])
        .and_then(|name| call.view.topology.shard_named(name))
        .ok_or_else(|| "ERR No such master with that name".to_owned())
}

fn majority(view: &View) -> usize {
    view.group.voters.len() / 2 + 1
}

/// How many sentinels answer, this one included.
fn usable(view: &View) -> usize {
    let down = |id| view.silence.get(id).is_some_and(|(_, down)| *down);
    view.group.voters.iter().filter(|id| !down(*id)).count()
}

fn master_fields(view: &View, shard: &Shard) -> Fields {
    let Some(node) = view.topology.nodes.get(&shard.master.node) else { return Vec::new() };
    let status = view.nodes.get(&node.id);
    let mut fields = common_fields(view, &shard.name, node, "master", status);
    fields.extend([
        ("config-epoch", shard.epoch.to_string()),
        ("num-slaves", shard.replicas().count().to_string()),
        ("num-other-sentinels", view.group.members.len().saturating_sub(1).to_string()),
        ("quorum", majority(view).to_string()),
        ("failover-timeout", FAILOVER_TIMEOUT_MS.to_string()),
        ("parallel-syncs", shard.replicas().count().max(1).to_string()),
    ]);
    fields
}

fn replica_fields(view: &View, shard: &Shard, node: &Node) -> Fields {
    let status = view.nodes.get(&node.id);
    let name = format!("{}:{}", node.host, node.port);
    let mut fields = common_fields(view, &name, node, "slave", status);
    let beat = status.and_then(|status| status.heartbeat.as_ref());
    let up = beat.is_some_and(|beat| matches!(beat.link, LinkState::Up | LinkState::Syncing));
    let silence = status.map_or(0, |status| status.silence.0);
    let master = view.topology.nodes.get(&shard.master.node);
    fields.extend([
        ("master-link-down-time", if up { 0 } else { silence }.to_string()),
        ("master-link-status", if up { "ok" } else { "err" }.into()),
        ("master-host", master.map_or_else(|| "?".into(), |master| master.host.clone())),
        ("master-port", master.map_or(0, |master| master.port).to_string()),
        ("slave-priority", node.priority.to_string()),
        ("slave-repl-offset", beat.map_or(0, |beat| beat.history.offset.0).to_string()),
        ("replica-announced", "1".into()),
    ]);
    fields
}

/// What a master and a replica have in common, in the order that Redis's sentinels use.
fn common_fields(
    view: &View,
    name: &str,
    node: &Node,
    kind: &str,
    status: Option<&NodeStatus>,
) -> Fields {
    let silence = status.map_or(0, |status| status.silence.0).to_string();
    let sdown = status.is_some_and(|status| status.sdown);
    let mut fields = vec![
        ("name", name.to_owned()),
        ("ip", node.host.clone()),
        ("port", node.port.to_string()),
        ("runid", node.id.to_string()),
        ("flags", flags(kind, status)),
        ("link-pending-commands", "0".into()),
        ("link-refcount", "1".into()),
    ];
    if kind == "master" && status.is_some_and(|status| status.failing_over) {
        fields.push(("failover-state", "select_slave".into()));
    }
    fields.extend([
        ("last-ping-sent", if sdown { silence.clone() } else { "0".into() }),
        ("last-ok-ping-reply", silence.clone()),
        ("last-ping-reply", silence.clone()),
    ]);
    let down_after = view.topology.timing.down_after.0;
    let down_for = status.map_or(0, |status| status.silence.0.saturating_sub(down_after));
    if sdown {
        fields.push(("s-down-time", down_for.to_string()));
    }
    if status.is_some_and(|status| status.odown) {
        fields.push(("o-down-time", down_for.to_string()));
    }
    fields.extend([
        ("down-after-milliseconds", down_after.to_string()),
        ("info-refresh", silence.clone()),
        ("role-reported", reported(kind, status).into()),
        ("role-reported-time", silence),
    ]);
    fields
}

/// The role that the node's last heartbeat told.
fn reported(kind: &str, status: Option<&NodeStatus>) -> &'static str {
    let beat = status.and_then(|status| status.heartbeat.as_ref());
    match beat.map(|beat| beat.role) {
        Some(NodeRole::Master) => "master",
        Some(NodeRole::Replica) => "slave",
        _ if kind == "master" => "master",
        _ => "slave",
    }
}

fn flags(kind: &str, status: Option<&NodeStatus>) -> String {
    let has = |test: fn(&NodeStatus) -> bool| status.is_some_and(test);
    let flags = [
        ("s_down", has(|status| status.sdown)),
        ("o_down", has(|status| status.odown)),
        (kind, true),
        ("disconnected", !has(|status| status.connected)),
        ("failover_in_progress", has(|status| status.failing_over)),
    ];
    let set: Vec<&str> = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect();
    set.join(",")
}

fn sentinel_fields(view: &View, id: u64, member: &Member) -> Fields {
    let (silence, down) = view.silence.get(&id).copied().unwrap_or_default();
    let (host, port) = member.resp.rsplit_once(':').unwrap_or((&member.resp, "0"));
    let silence = silence.as_millis().to_string();
    let leader = view.group.leader.and_then(|leader| view.group.members.get(&leader));
    let mut fields = vec![
        ("name", member.id.clone()),
        ("ip", host.to_owned()),
        ("port", port.to_owned()),
        ("runid", member.id.clone()),
        ("flags", if down { "s_down,sentinel,disconnected" } else { "sentinel" }.into()),
        ("link-pending-commands", "0".into()),
        ("link-refcount", "1".into()),
        ("last-ping-sent", if down { silence.clone() } else { "0".into() }),
        ("last-ok-ping-reply", silence.clone()),
        ("last-ping-reply", silence.clone()),
    ];
    if down {
        fields.push(("s-down-time", silence.clone()));
    }
    fields.extend([
        ("down-after-milliseconds", view.topology.timing.down_after.0.to_string()),
        ("last-hello-message", silence),
        ("voted-leader", leader.map_or_else(|| "?".into(), |leader| leader.id.clone())),
        ("voted-leader-epoch", view.group.term.to_string()),
    ]);
    fields
}

fn list(call: &mut Call<'_>, entries: &[Fields]) {
    call.reply.array(entries.len());
    entries.iter().for_each(|fields| entry(call, fields));
}

fn entry(call: &mut Call<'_>, fields: &Fields) {
    call.reply.map(fields.len());
    for (name, value) in fields {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
}

/// What is known of a node that the topology names.
pub(crate) fn status_of(view: &View, node: NodeId) -> Option<&NodeStatus> {
    view.nodes.get(&node)
}
