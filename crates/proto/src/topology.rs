//! The topology and what is seen of the nodes, on the wire.

use slotward_cluster as ours;
use slotward_types::{Epoch, Incarnation, Millis, ReplOffset};

use crate::control as wire;
use crate::{InvalidMessage, id_bytes, node_id, port, required};

impl From<ours::Member> for wire::Member {
    fn from(member: ours::Member) -> Self {
        wire::Member { node: id_bytes(member.node), incarnation: member.incarnation.0 }
    }
}

impl TryFrom<wire::Member> for ours::Member {
    type Error = InvalidMessage;

    fn try_from(member: wire::Member) -> Result<Self, InvalidMessage> {
        Ok(ours::Member {
            node: node_id(&member.node)?,
            incarnation: Incarnation(member.incarnation),
        })
    }
}

/// A member that must be there.
pub(crate) fn member(
    member: Option<wire::Member>,
    name: &'static str,
) -> Result<ours::Member, InvalidMessage> {
    required(member, name)?.try_into()
}

impl From<&ours::NodeKind> for wire::NodeKind {
    fn from(kind: &ours::NodeKind) -> Self {
        wire::NodeKind {
            plain_group: match kind {
                ours::NodeKind::Cluster => None,
                ours::NodeKind::Plain { group } => Some(group.clone()),
            },
        }
    }
}

impl From<wire::NodeKind> for ours::NodeKind {
    fn from(kind: wire::NodeKind) -> Self {
        match kind.plain_group {
            None => ours::NodeKind::Cluster,
            Some(group) => ours::NodeKind::Plain { group },
        }
    }
}

impl From<&ours::Node> for wire::Node {
    fn from(node: &ours::Node) -> Self {
        wire::Node {
            member: Some(node.member().into()),
            host: node.host.clone(),
            port: node.port.into(),
            cport: node.cport.into(),
            kind: Some((&node.kind).into()),
            met: node.met,
            zone: node.zone.clone(),
            priority: node.priority,
            config_epoch: node.config_epoch.0,
        }
    }
}

impl TryFrom<wire::Node> for ours::Node {
    type Error = InvalidMessage;

    fn try_from(node: wire::Node) -> Result<Self, InvalidMessage> {
        let member = member(node.member, "a node's member")?;
        Ok(ours::Node {
            id: member.node,
            incarnation: member.incarnation,
            host: node.host,
            port: port(node.port)?,
            cport: port(node.cport)?,
            kind: required(node.kind, "a node's kind")?.into(),
            met: node.met,
            zone: node.zone,
            priority: node.priority,
            config_epoch: Epoch(node.config_epoch),
        })
    }
}

/// A set of slots as ranges.
pub(crate) fn ranges_to_wire(slots: &ours::SlotRanges) -> Vec<wire::SlotRange> {
    let ranges = slots.ranges().iter();
    ranges
        .map(|&(first, last)| wire::SlotRange { first: first.into(), last: last.into() })
        .collect()
}

/// The set of slots that these ranges make.
pub(crate) fn ranges_from_wire(
    ranges: Vec<wire::SlotRange>,
) -> Result<ours::SlotRanges, InvalidMessage> {
    const INVALID: InvalidMessage = InvalidMessage::Invalid("a slot range");
    let mut slots = ours::SlotRanges::new();
    for range in ranges {
        let first = u16::try_from(range.first).map_err(|_| INVALID)?;
        let last = u16::try_from(range.last).map_err(|_| INVALID)?;
        slots.insert_range(first, last).map_err(|_| INVALID)?;
    }
    Ok(slots)
}

impl From<&ours::Shard> for wire::Shard {
    fn from(shard: &ours::Shard) -> Self {
        wire::Shard {
            id: shard.id.0,
            name: shard.name.clone(),
            epoch: shard.epoch.0,
            master: Some(shard.master.into()),
            waived: shard.waived,
            members: shard.members.iter().copied().map(id_bytes).collect(),
            promotable_version: shard.promotable.version,
            promotable: shard.promotable.members.iter().copied().map(Into::into).collect(),
            slots: ranges_to_wire(&shard.slots),
            served: shard.phase == ours::Phase::Served,
            takeovers: shard.takeovers.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Shard> for ours::Shard {
    type Error = InvalidMessage;

    fn try_from(shard: wire::Shard) -> Result<Self, InvalidMessage> {
        let promotable = shard.promotable.into_iter().map(ours::Member::try_from);
        Ok(ours::Shard {
            id: ours::ShardId(shard.id),
            name: shard.name,
            epoch: Epoch(shard.epoch),
            master: member(shard.master, "a shard's master")?,
            waived: shard.waived,
            members: shard.members.iter().map(|id| node_id(id)).collect::<Result<_, _>>()?,
            promotable: ours::PromotableSet {
                version: shard.promotable_version,
                members: promotable.collect::<Result<_, _>>()?,
            },
            slots: ranges_from_wire(shard.slots)?,
            phase: if shard.served { ours::Phase::Served } else { ours::Phase::New },
            takeovers: shard
                .takeovers
                .into_iter()
                .map(ours::Takeover::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<ours::Cut> for wire::Cut {
    fn from(cut: ours::Cut) -> Self {
        wire::Cut { taken: cut.taken.0, end: cut.end.0, exact: cut.exact }
    }
}

impl From<wire::Cut> for ours::Cut {
    fn from(cut: wire::Cut) -> Self {
        let (taken, end) = (ReplOffset(cut.taken), ReplOffset(cut.end));
        ours::Cut { taken, end: end.max(taken), exact: cut.exact }
    }
}

impl From<&ours::Takeover> for wire::Takeover {
    fn from(takeover: &ours::Takeover) -> Self {
        wire::Takeover {
            epoch: takeover.epoch.0,
            from: Some(takeover.from.into()),
            to: Some(takeover.to.into()),
            cut: Some(takeover.cut.into()),
        }
    }
}

impl TryFrom<wire::Takeover> for ours::Takeover {
    type Error = InvalidMessage;

    fn try_from(takeover: wire::Takeover) -> Result<Self, InvalidMessage> {
        Ok(ours::Takeover {
            epoch: Epoch(takeover.epoch),
            from: member(takeover.from, "a takeover's old master")?,
            to: member(takeover.to, "a takeover's new master")?,
            cut: required(takeover.cut, "a takeover's cut")?.into(),
        })
    }
}

impl From<&ours::Timing> for wire::Timing {
    fn from(timing: &ours::Timing) -> Self {
        wire::Timing {
            heartbeat_ms: timing.heartbeat.0,
            lease_ms: timing.lease.0,
            drift_percent: timing.drift_percent,
            down_after_ms: timing.down_after.0,
            reconnect_wait_ms: timing.reconnect_wait.0,
            fencing_strict: timing.fencing_strict,
        }
    }
}

impl From<wire::Timing> for ours::Timing {
    fn from(timing: wire::Timing) -> Self {
        ours::Timing {
            heartbeat: Millis(timing.heartbeat_ms),
            lease: Millis(timing.lease_ms),
            drift_percent: timing.drift_percent,
            down_after: Millis(timing.down_after_ms),
            reconnect_wait: Millis(timing.reconnect_wait_ms),
            fencing_strict: timing.fencing_strict,
        }
    }
}

impl From<&ours::Topology> for wire::Topology {
    fn from(topology: &ours::Topology) -> Self {
        wire::Topology {
            version: topology.version,
            nodes: topology.nodes.values().map(Into::into).collect(),
            shards: topology.shards.values().map(Into::into).collect(),
            shards_ever: topology.shards_ever,
            timing: Some((&topology.timing).into()),
            moves: Some((&topology.moves).into()),
        }
    }
}

impl TryFrom<wire::Topology> for ours::Topology {
    type Error = InvalidMessage;

    fn try_from(topology: wire::Topology) -> Result<Self, InvalidMessage> {
        let timing = ours::Timing::from(required(topology.timing, "the topology's timing")?);
        timing.check().map_err(|_| InvalidMessage::Invalid("the topology's timing"))?;
        let nodes = topology.nodes.into_iter().map(ours::Node::try_from);
        let shards = topology.shards.into_iter().map(ours::Shard::try_from);
        Ok(ours::Topology {
            version: topology.version,
            nodes: nodes.map(|node| node.map(|node| (node.id, node))).collect::<Result<_, _>>()?,
            shards: shards
                .map(|shard| shard.map(|shard| (shard.id, shard)))
                .collect::<Result<_, _>>()?,
            shards_ever: topology.shards_ever,
            timing,
            // A sentinel of a version without moves says nothing of them, and has none.
            moves: topology.moves.map(TryInto::try_into).transpose()?.unwrap_or_default(),
        })
    }
}

impl From<&ours::Moves> for wire::Moves {
    fn from(moves: &ours::Moves) -> Self {
        let running = moves.running.iter().map(|(id, begun)| wire::Move {
            id: id.0,
            slots: ranges_to_wire(&begun.slots),
            source: begun.source.0,
            source_epoch: begun.source_epoch.0,
            target: begun.target.0,
            target_epoch: begun.target_epoch.0,
        });
        let arrived = moves.arrived.iter().map(|(id, arrival)| wire::Arrival {
            id: id.0,
            shard: arrival.shard.0,
            slots: ranges_to_wire(&arrival.slots),
        });
        wire::Moves { ever: moves.ever, running: running.collect(), arrived: arrived.collect() }
    }
}

impl TryFrom<wire::Moves> for ours::Moves {
    type Error = InvalidMessage;

    fn try_from(moves: wire::Moves) -> Result<Self, InvalidMessage> {
        let running = moves.running.into_iter().map(|begun| {
            let ours = ours::Move {
                slots: ranges_from_wire(begun.slots)?,
                source: ours::ShardId(begun.source),
                source_epoch: Epoch(begun.source_epoch),
                target: ours::ShardId(begun.target),
                target_epoch: Epoch(begun.target_epoch),
            };
            Ok((ours::MoveId(begun.id), ours))
        });
        let arrived = moves.arrived.into_iter().map(|arrival| {
            let slots = ranges_from_wire(arrival.slots)?;
            let ours = ours::Arrival { shard: ours::ShardId(arrival.shard), slots };
            Ok((ours::MoveId(arrival.id), ours))
        });
        Ok(ours::Moves {
            ever: moves.ever,
            running: running.collect::<Result<_, _>>()?,
            arrived: arrived.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&ours::Health> for wire::Health {
    fn from(health: &ours::Health) -> Self {
        let nodes = health.0.iter().map(|(&node, health)| wire::NodeHealth {
            node: id_bytes(node),
            liveness: match health.liveness {
                ours::Liveness::Online => wire::Liveness::Online,
                ours::Liveness::Suspected => wire::Liveness::Suspected,
                ours::Liveness::Failed => wire::Liveness::Failed,
            }
            .into(),
            offset: health.offset.0,
            loading: health.loading,
        });
        wire::Health { nodes: nodes.collect() }
    }
}

impl TryFrom<wire::Health> for ours::Health {
    type Error = InvalidMessage;

    fn try_from(health: wire::Health) -> Result<Self, InvalidMessage> {
        let nodes = health.nodes.into_iter().map(|node| {
            let liveness = match node.liveness() {
                wire::Liveness::Online => ours::Liveness::Online,
                wire::Liveness::Suspected => ours::Liveness::Suspected,
                wire::Liveness::Failed => ours::Liveness::Failed,
                wire::Liveness::Unspecified => {
                    return Err(InvalidMessage::Invalid("a node's liveness"));
                }
            };
            let offset = ReplOffset(node.offset);
            let loading = node.loading;
            Ok((node_id(&node.node)?, ours::NodeHealth { liveness, offset, loading }))
        });
        Ok(ours::Health(nodes.collect::<Result<_, _>>()?))
    }
}
