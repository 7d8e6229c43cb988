//! `CLUSTER SLOTS|SHARDS|NODES|INFO|REPLICAS|LINKS`, in the shapes of Redis 7.2.

use std::fmt::Write;

use slotward_resp::Reply;
use slotward_types::{Epoch, NodeId, UnixMillis};

use crate::topology::{Health, Liveness, Node, Shard, Topology};

/// A topology seen from one place: what all renderings need.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The topology.
    pub topology: &'a Topology,
    /// Who looks; `None` for a sentinel.
    pub viewer: Option<NodeId>,
    /// What is seen of the nodes.
    pub health: &'a Health,
    /// Now, for the times of the last pong.
    pub now: UnixMillis,
}

impl<'a> Seen<'a> {
    fn nodes(&self) -> Vec<&'a Node> {
        self.topology.visible_to(self.viewer)
    }

    /// The shards of visible nodes, by id.
    fn shards(&self) -> Vec<&'a Shard> {
        let nodes = self.nodes();
        let visible = |id: &NodeId| nodes.iter().any(|node| node.id == *id);
        self.topology.shards.values().filter(|shard| visible(&shard.master.node)).collect()
    }

    /// The members that are visible, master first.
    fn members(&self, shard: &'a Shard) -> Vec<&'a Node> {
        let nodes = self.nodes();
        let find = |id: NodeId| nodes.iter().find(|node| node.id == id).copied();
        std::iter::once(shard.master.node).chain(shard.replicas()).filter_map(find).collect()
    }

    fn failed(&self, node: &Node) -> bool {
        self.health.of(node.id).liveness == Liveness::Failed
    }
}

/// `CLUSTER SLOTS`: per range of slots its master, then the replicas that answer.
pub fn slots(seen: &Seen<'_>, reply: &mut Reply) {
    let mut ranges: Vec<((u16, u16), &Shard)> = seen
        .shards()
        .into_iter()
        .flat_map(|shard| shard.slots.ranges().iter().map(move |&range| (range, shard)))
        .collect();
    ranges.sort_by_key(|&((start, _), _)| start);
    reply.array(ranges.len());
    for ((start, end), shard) in ranges {
        let mut members = seen.members(shard);
        members.retain(|node| node.id == shard.master.node || !seen.failed(node));
        reply.array(2 + members.len());
        reply.integer(i64::from(start));
        reply.integer(i64::from(end));
        for node in members {
            reply.array(4);
            reply.bulk(node.host.as_bytes());
            reply.integer(i64::from(node.port));
            reply.bulk(node.id.to_string().as_bytes());
            // No host name beside the announced one.
            reply.map(0);
        }
    }
}

/// `CLUSTER SHARDS`; a node without a shard stands as one of its own.
pub fn shards(seen: &Seen<'_>, reply: &mut Reply) {
    let shards = seen.shards();
    let alone: Vec<&Node> =
        seen.nodes().into_iter().filter(|node| seen.topology.shard_of(node.id).is_none()).collect();
    reply.array(shards.len() + alone.len());
    for shard in shards {
        shard_entry(seen, shard.slots.ranges(), &seen.members(shard), reply);
    }
    for node in alone {
        shard_entry(seen, &[], &[node], reply);
    }
}

/// One shard; the first of `members` is its master.
fn shard_entry(seen: &Seen<'_>, ranges: &[(u16, u16)], members: &[&Node], reply: &mut Reply) {
    reply.map(2);
    reply.bulk(b"slots");
    reply.array(ranges.len() * 2);
    for &(start, end) in ranges {
        reply.integer(i64::from(start));
        reply.integer(i64::from(end));
    }
    reply.bulk(b"nodes");
    reply.array(members.len());
    for (index, node) in members.iter().enumerate() {
        let health = seen.health.of(node.id);
        reply.map(7);
        reply.bulk(b"id");
        reply.bulk(node.id.to_string().as_bytes());
        reply.bulk(b"port");
        reply.integer(i64::from(node.port));
        reply.bulk(b"ip");
        reply.bulk(node.host.as_bytes());
        reply.bulk(b"endpoint");
        reply.bulk(node.host.as_bytes());
        reply.bulk(b"role");
        reply.bulk(if index == 0 { b"master" } else { b"replica" });
        reply.bulk(b"replication-offset");
        reply.integer(i64::try_from(health.offset.0).unwrap_or(i64::MAX));
        reply.bulk(b"health");
        reply.bulk(match (health.liveness, health.loading) {
            (Liveness::Failed, _) => b"failed".as_slice(),
            (_, true) => b"loading",
            _ => b"online",
        });
    }
}

/// `CLUSTER NODES`: one line per node.
pub fn nodes(seen: &Seen<'_>) -> String {
    let mut text = String::new();
    for node in seen.nodes() {
        node_line(seen, node, &mut text);
        text.push('\n');
    }
    text
}

fn node_line(seen: &Seen<'_>, node: &Node, line: &mut String) {
    let shard = seen.topology.shard_of(node.id);
    let master = shard.map(|shard| shard.master.node).filter(|&master| master != node.id);
    let liveness = seen.health.of(node.id).liveness;
    let myself = seen.viewer == Some(node.id);
    let mut flags = String::new();
    if myself {
        flags.push_str("myself,");
    }
    flags.push_str(if master.is_some() { "slave" } else { "master" });
    flags.push_str(match liveness {
        _ if myself => "",
        Liveness::Online => "",
        Liveness::Suspected => ",fail?",
        Liveness::Failed => ",fail",
    });
    let epoch = shard.map_or(node.config_epoch, |shard| shard.epoch);
    let pong = if myself { 0 } else { seen.now.0 };
    let link = if myself || liveness == Liveness::Online { "connected" } else { "disconnected" };
    let write = |line: &mut String| -> std::fmt::Result {
        write!(line, "{} {}:{}@{} {flags} ", node.id, node.host, node.port, node.cport)?;
        match master {
            Some(master) => write!(line, "{master}")?,
            None => line.push('-'),
        }
        write!(line, " 0 {pong} {epoch} {link}")?;
        match shard {
            Some(shard) if master.is_none() && !shard.slots.is_empty() => {
                write!(line, " {}", shard.slots)
            }
            _ => Ok(()),
        }
    };
    write(line).expect("writing to a String cannot fail");
}

/// `CLUSTER REPLICAS <node>`: the lines of the replicas of a master.
///
/// # Errors
/// The error reply's text: the node is unknown or no master.
pub fn replicas(seen: &Seen<'_>, node: &[u8], reply: &mut Reply) -> Result<(), String> {
    let unknown = || format!("ERR Unknown node {}", String::from_utf8_lossy(node));
    let id: NodeId =
        std::str::from_utf8(node).ok().and_then(|text| text.parse().ok()).ok_or_else(unknown)?;
    if !seen.nodes().iter().any(|node| node.id == id) {
        return Err(unknown());
    }
    let members = match seen.topology.shard_of(id) {
        Some(shard) if shard.master.node != id => {
            return Err("ERR The specified node is not a master".to_owned());
        }
        Some(shard) => seen.members(shard),
        None => Vec::new(),
    };
    let replicas: Vec<&Node> = members.into_iter().filter(|node| node.id != id).collect();
    reply.array(replicas.len());
    for node in replicas {
        let mut line = String::new();
        node_line(seen, node, &mut line);
        reply.bulk(line.as_bytes());
    }
    Ok(())
}

/// `CLUSTER INFO`. `full_coverage` is `cluster-require-full-coverage`.
pub fn info(seen: &Seen<'_>, full_coverage: bool) -> String {
    let shards = seen.shards();
    let assigned: usize = shards.iter().map(|shard| shard.slots.count()).sum();
    let with_master = |liveness: Liveness| -> usize {
        let of = |shard: &&&Shard| seen.health.of(shard.master.node).liveness == liveness;
        shards.iter().filter(of).map(|shard| shard.slots.count()).sum()
    };
    let (suspected, failed) = (with_master(Liveness::Suspected), with_master(Liveness::Failed));
    let covered = assigned == usize::from(slotward_types::Slot::COUNT);
    let ok = covered || (!full_coverage && assigned > 0);
    let my_epoch = seen.viewer.map_or(Epoch(0), |me| {
        let node = seen.topology.nodes.get(&me).map_or(Epoch(0), |node| node.config_epoch);
        seen.topology.shard_of(me).map_or(node, |shard| shard.epoch)
    });
    let epochs = shards.iter().map(|shard| shard.epoch);
    let epochs = epochs.chain(seen.nodes().into_iter().map(|node| node.config_epoch));
    let size = shards.iter().filter(|shard| !shard.slots.is_empty()).count();
    let fields: [(&str, u64); 11] = [
        ("cluster_slots_assigned", assigned as u64),
        ("cluster_slots_ok", (assigned - suspected - failed) as u64),
        ("cluster_slots_pfail", suspected as u64),
        ("cluster_slots_fail", failed as u64),
        ("cluster_known_nodes", seen.nodes().len() as u64),
        ("cluster_size", size as u64),
        ("cluster_current_epoch", epochs.max().unwrap_or_default().0),
        ("cluster_my_epoch", my_epoch.0),
        // There is no cluster bus; the fields stand for tools that read them.
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ];
    let mut text = format!("cluster_state:{}\r\n", if ok { "ok" } else { "fail" });
    for (name, value) in fields {
        write!(text, "{name}:{value}\r\n").expect("writing to a String cannot fail");
    }
    text
}

/// `CLUSTER LINKS`: none, since nodes keep no links to each other for the cluster's sake.
pub fn links(reply: &mut Reply) {
    reply.array(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Member, NodeHealth, NodeKind, Phase, PromotableSet, ShardId};
    use crate::{Route, SlotMap, SlotRanges};
    use expect_test::expect;
    use slotward_resp::Protocol;
    use slotward_types::{Incarnation, ReplOffset, Slot};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 20])
    }

    fn node(number: u8) -> Node {
        Node {
            id: id(number),
            incarnation: Incarnation(1),
            host: "127.0.0.1".to_owned(),
            port: 7000 + u16::from(number),
            cport: 17000 + u16::from(number),
            kind: NodeKind::Cluster,
            met: true,
            zone: String::new(),
            priority: 100,
            config_epoch: Epoch(0),
        }
    }

    fn shard(number: u64, master: u8, replica: u8, slots: &[(u16, u16)]) -> Shard {
        let master = Member { node: id(master), incarnation: Incarnation(1) };
        Shard {
            id: ShardId(number),
            name: format!("shard-{number}"),
            epoch: Epoch(number),
            master,
            waived: false,
            members: BTreeSet::from([master.node, id(replica)]),
            promotable: PromotableSet { version: 1, members: BTreeSet::from([master]) },
            slots: SlotRanges::try_from(slots.to_vec()).unwrap(),
            phase: Phase::Served,
            takeovers: Vec::new(),
        }
    }

    /// Two shards of two, one node that was met and one that was not.
    fn topology() -> Topology {
        let mut topology = Topology { version: 9, ..Topology::default() };
        for number in 1..=6 {
            topology.nodes.insert(id(number), node(number));
        }
        topology.nodes.get_mut(&id(6)).unwrap().met = false;
        topology.shards.insert(ShardId(1), shard(1, 1, 2, &[(0, 8190), (8192, 8192)]));
        topology.shards.insert(ShardId(2), shard(2, 3, 4, &[(8191, 8191), (8193, 16383)]));
        topology
    }

    fn health() -> Health {
        let failed = NodeHealth { liveness: Liveness::Failed, ..NodeHealth::default() };
        let well = NodeHealth { offset: ReplOffset(77), ..NodeHealth::default() };
        Health([(id(4), failed), (id(1), well)].into())
    }

    fn seen<'a>(topology: &'a Topology, health: &'a Health, viewer: Option<u8>) -> Seen<'a> {
        Seen { topology, viewer: viewer.map(id), health, now: UnixMillis(1234) }
    }

    fn reply(protocol: Protocol, write: impl FnOnce(&mut Reply)) -> String {
        let mut reply = Reply::new(Vec::new(), protocol);
        write(&mut reply);
        String::from_utf8(reply.into_buffer()).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn nodes_are_lines_as_redis_writes_them() {
        let (topology, health) = (topology(), health());
        expect![[r#"
            0101010101010101010101010101010101010101 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-8190 8192
            0202020202020202020202020202020202020202 127.0.0.1:7002@17002 slave 0101010101010101010101010101010101010101 0 1234 1 connected
            0303030303030303030303030303030303030303 127.0.0.1:7003@17003 master - 0 1234 2 connected 8191 8193-16383
            0404040404040404040404040404040404040404 127.0.0.1:7004@17004 slave,fail 0303030303030303030303030303030303030303 0 1234 2 disconnected
            0505050505050505050505050505050505050505 127.0.0.1:7005@17005 master - 0 1234 0 connected
        "#]].assert_eq(&nodes(&seen(&topology, &health, Some(1))));
        expect![[r#"
            0606060606060606060606060606060606060606 127.0.0.1:7006@17006 myself,master - 0 0 0 connected
        "#]]
        .assert_eq(&nodes(&seen(&topology, &health, Some(6))));
    }

    #[test]
    fn slots_are_in_order_and_name_no_failed_replica() {
        let (topology, health) = (topology(), health());
        let text = reply(Protocol::Resp2, |r| slots(&seen(&topology, &health, None), r));
        let ids = text
            .replace("$40 0101010101010101010101010101010101010101", "n1")
            .replace("$40 0202020202020202020202020202020202020202", "n2")
            .replace("$40 0303030303030303030303030303030303030303", "n3");
        expect![[r#"*4 *4 :0 :8190 *4 $9 127.0.0.1 :7001 n1 *0 *4 $9 127.0.0.1 :7002 n2 *0 *3 :8191 :8191 *4 $9 127.0.0.1 :7003 n3 *0 *4 :8192 :8192 *4 $9 127.0.0.1 :7001 n1 *0 *4 $9 127.0.0.1 :7002 n2 *0 *3 :8193 :16383 *4 $9 127.0.0.1 :7003 n3 *0 "#]].assert_eq(&ids);
    }

    #[test]
    fn shards_are_maps_in_resp3() {
        let (topology, health) = (topology(), health());
        let text = reply(Protocol::Resp3, |r| shards(&seen(&topology, &health, Some(6)), r));
        expect![[r#"*1 %2 $5 slots *0 $5 nodes *1 %7 $2 id $40 0606060606060606060606060606060606060606 $4 port :7006 $2 ip $9 127.0.0.1 $8 endpoint $9 127.0.0.1 $4 role $6 master $18 replication-offset :0 $6 health $6 online "#]].assert_eq(&text);
        let text = reply(Protocol::Resp2, |r| shards(&seen(&topology, &health, Some(1)), r));
        assert!(
            text.starts_with("*3 *4 $5 slots *4 :0 :8190 :8192 :8192 $5 nodes *2 *14 "),
            "{text}"
        );
        assert!(text.contains("$18 replication-offset :77 $6 health $6 online "), "{text}");
        assert!(text.contains("$4 role $7 replica $18 replication-offset :0 $6 health $6 failed "));
    }

    #[test]
    fn info_counts() {
        let (mut topology, mut health) = (topology(), health());
        health.0.insert(id(3), NodeHealth { liveness: Liveness::Suspected, ..Default::default() });
        expect![[r#"
            cluster_state:ok
            cluster_slots_assigned:16384
            cluster_slots_ok:8192
            cluster_slots_pfail:8192
            cluster_slots_fail:0
            cluster_known_nodes:5
            cluster_size:2
            cluster_current_epoch:2
            cluster_my_epoch:1
            cluster_stats_messages_sent:0
            cluster_stats_messages_received:0
            total_cluster_links_buffer_limit_exceeded:0
        "#]]
        .assert_eq(&info(&seen(&topology, &health, Some(2)), true).replace("\r\n", "\n"));
        let unmet = info(&seen(&topology, &health, Some(6)), true);
        assert!(unmet.contains("cluster_state:fail\r\n") && unmet.contains("known_nodes:1\r\n"));
        topology.shards.remove(&ShardId(2));
        let partly = |full| info(&seen(&topology, &health, Some(1)), full);
        assert!(partly(true).starts_with("cluster_state:fail"));
        assert!(partly(false).starts_with("cluster_state:ok"));
    }

    #[test]
    fn replicas_of_whom() {
        let (topology, health) = (topology(), health());
        let seen = seen(&topology, &health, Some(1));
        let ask = |who: &str| {
            let mut reply = Reply::new(Vec::new(), Protocol::Resp2);
            replicas(&seen, who.as_bytes(), &mut reply)
                .map(|()| String::from_utf8(reply.into_buffer()).unwrap())
        };
        assert_eq!(ask("nobody"), Err("ERR Unknown node nobody".to_owned()));
        assert_eq!(ask(&id(2).to_string()), Err("ERR The specified node is not a master".into()));
        assert!(ask(&id(1).to_string()).unwrap().starts_with("*1\r\n$"));
        assert_eq!(ask(&id(5).to_string()), Ok("*0\r\n".to_owned()), "a master of nothing");
    }

    #[test]
    fn the_map_routes_by_point_of_view() {
        let topology = Arc::new(topology());
        let slot = |number| Slot::new(number).unwrap();
        let moved =
            |number: u64, port| Route::Moved { slot: slot(number), host: "127.0.0.1", port };
        for (why, me, number, replica_reads, want) in [
            ("its master serves", Some(1), 0, false, Route::Serve),
            ("a replica sends writers away", Some(2), 0, false, moved(0, 7001)),
            ("a replica serves readers", Some(2), 0, true, Route::Serve),
            ("of its own shard only", Some(2), 8191, true, moved(8191, 7003)),
            ("a node without a shard", Some(5), 8192, false, moved(8192, 7001)),
            (
                "one that was not met knows nobody",
                Some(6),
                0,
                false,
                Route::Down(crate::ClusterDown::Unassigned),
            ),
            ("a sentinel", None, 16383, false, moved(16383, 7003)),
        ] {
            let map = SlotMap::new(Arc::clone(&topology), me.map(id));
            assert_eq!(map.route(slot(number), replica_reads, true), want, "{why}");
        }
        let not_yet = SlotMap::new(Arc::clone(&topology), Some(id(1))).not_yet_master();
        let down = Route::Down(crate::ClusterDown::State);
        assert_eq!(not_yet.route(slot(0), false, true), down, "appointed, not yet master");
        assert!(!not_yet.is_mine(slot(0)));
        assert_eq!(moved(3, 7001).to_string(), "MOVED 3 127.0.0.1:7001");
        assert_eq!(moved(3, 7001).seen_at(Some("nat")).to_string(), "MOVED 3 nat:7001");
        assert_eq!(moved(3, 7001).seen_at(None), moved(3, 7001));
        assert_eq!(Route::Serve.seen_at(Some("nat")), Route::Serve);
        assert_eq!(Route::ask(slot(3), "h", 1), "ASK 3 h:1");
    }

    #[test]
    fn a_hole_stops_all_only_if_full_coverage_is_wanted() {
        let mut topology = topology();
        topology.shards.remove(&ShardId(2));
        let map = SlotMap::new(Arc::new(topology.clone()), Some(id(1)));
        let slot = |number| Slot::new(number).unwrap();
        let down = |down| Route::Down(down);
        assert_eq!(map.route(slot(0), false, true), down(crate::ClusterDown::State));
        assert_eq!(map.route(slot(0), false, false), Route::Serve);
        assert_eq!(map.route(slot(16383), false, false), down(crate::ClusterDown::Unassigned));
        assert!(map.newer(&Arc::new(topology.clone())).is_none(), "the same version");
        topology.version += 1;
        assert!(map.newer(&Arc::new(topology)).is_some());
    }
}
