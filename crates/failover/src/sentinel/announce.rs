//! The events that subscribers of a Redis sentinel know, in their words.

use slotward_cluster::{Node, Shard, Topology};

use super::SentinelEffect;

/// `master <name> <host> <port>`, or for a replica
/// `slave <host>:<port> <host> <port> @ <name> <master's host> <master's port>`.
pub(super) fn instance(topology: &Topology, shard: &Shard, node: &Node) -> String {
    let (host, port) = (&node.host, node.port);
    match topology.nodes.get(&shard.master.node) {
        Some(master) if master.id != node.id => format!(
            "slave {host}:{port} {host} {port} @ {} {} {}",
            shard.name, master.host, master.port
        ),
        _ => format!("master {} {host} {port}", shard.name),
    }
}

pub(super) fn publish(
    effects: &mut Vec<SentinelEffect>,
    channel: &'static str,
    message: impl Into<String>,
) {
    effects.push(SentinelEffect::Publish { channel, message: message.into() });
}

/// About the master of a shard.
pub(super) fn publish_master(
    effects: &mut Vec<SentinelEffect>,
    channel: &'static str,
    topology: &Topology,
    shard: &Shard,
    more: &str,
) {
    if let Some(master) = topology.nodes.get(&shard.master.node) {
        let text = instance(topology, shard, master);
        publish(effects, channel, format!("{text}{more}"));
    }
}

/// A shard's epoch has begun. With another master, that is `+switch-master` and a `+slave` for
/// each that follows it.
pub(super) fn epoch_began(
    effects: &mut Vec<SentinelEffect>,
    before: (&Topology, &Shard),
    after: (&Topology, &Shard),
) {
    let (old, new) = (before.1, after.1);
    publish(effects, "+new-epoch", new.epoch.to_string());
    if old.master.node == new.master.node {
        return;
    }
    let (Some(from), Some(to)) =
        (before.0.nodes.get(&old.master.node), after.0.nodes.get(&new.master.node))
    else {
        return;
    };
    let switch = format!("{} {} {} {} {}", new.name, from.host, from.port, to.host, to.port);
    publish(effects, "+switch-master", switch);
    for node in new.replicas().filter_map(|id| after.0.nodes.get(&id)) {
        publish(effects, "+slave", instance(after.0, new, node));
    }
}

/// What changes of master left behind, as it becomes known: at the change, and exactly when the old
/// master has said where its history ended.
pub(super) fn left_behind(
    effects: &mut Vec<SentinelEffect>,
    old: &Shard,
    (topology, shard): (&Topology, &Shard),
) {
    for takeover in shard.takeovers.iter().filter(|takeover| !old.takeovers.contains(takeover)) {
        let address = topology.nodes.get(&takeover.from.node);
        let address = address.map_or_else(|| "?".to_owned(), |n| format!("{}:{}", n.host, n.port));
        let cut = takeover.cut;
        let message = format!(
            "{} epoch {} from {address} {} taken {} end {} lost {} {}",
            shard.name,
            takeover.epoch,
            takeover.from.node,
            cut.taken,
            cut.end,
            cut.lost_bytes(),
            if cut.exact { "exactly" } else { "at-least" },
        );
        publish(effects, "+left-behind", message);
    }
}
