//! What nodes and sentinels tell each other, on the wire.

use std::sync::Arc;

use slotward_cluster::{Member, ShardId};
use slotward_failover as ours;
use slotward_types::{Epoch, Incarnation, Millis, ReplId, ReplOffset};

use crate::control as wire;
use crate::topology::member;
use crate::{InvalidMessage, id_bytes, node_id, required};

/// What a node sends on its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromNode {
    /// The first message: who it is.
    Open(Member),
    /// Every other one.
    Says(ours::ToSentinel),
}

/// What a sentinel sends on a node's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSentinel {
    /// The first message: which sentinel it is.
    Welcome(ours::SentinelId),
    /// Every other one.
    Says(ours::ToNode),
}

impl From<&FromNode> for wire::NodeMessage {
    fn from(message: &FromNode) -> Self {
        use wire::node_message::Message as M;
        let message = match message {
            FromNode::Open(member) => M::Open((*member).into()),
            FromNode::Says(ours::ToSentinel::Heartbeat(beat)) => M::Heartbeat(beat.into()),
            FromNode::Says(ours::ToSentinel::Prepared(prepared)) => M::Prepared((*prepared).into()),
            FromNode::Says(ours::ToSentinel::Failover(request)) => M::Failover((*request).into()),
        };
        wire::NodeMessage { message: Some(message) }
    }
}

impl TryFrom<wire::NodeMessage> for FromNode {
    type Error = InvalidMessage;

    fn try_from(message: wire::NodeMessage) -> Result<Self, InvalidMessage> {
        use wire::node_message::Message as M;
        Ok(match required(message.message, "the message")? {
            M::Open(member) => FromNode::Open(member.try_into()?),
            M::Heartbeat(beat) => FromNode::Says(ours::ToSentinel::Heartbeat(beat.try_into()?)),
            M::Prepared(prepared) => {
                FromNode::Says(ours::ToSentinel::Prepared(prepared.try_into()?))
            }
            M::Failover(request) => FromNode::Says(ours::ToSentinel::Failover(request.try_into()?)),
        })
    }
}

impl From<&FromSentinel> for wire::SentinelMessage {
    fn from(message: &FromSentinel) -> Self {
        use wire::sentinel_message::Message as M;
        let message = match message {
            FromSentinel::Welcome(id) => M::Welcome(wire::Welcome { sentinel: id.0 }),
            FromSentinel::Says(ours::ToNode::Ack(ack)) => M::Ack((*ack).into()),
            FromSentinel::Says(ours::ToNode::Topology(topology)) => {
                M::Topology(topology.as_ref().into())
            }
            FromSentinel::Says(ours::ToNode::Health(health)) => M::Health(health.as_ref().into()),
            FromSentinel::Says(ours::ToNode::Prepare(prepare)) => M::Prepare((*prepare).into()),
        };
        wire::SentinelMessage { message: Some(message) }
    }
}

impl TryFrom<wire::SentinelMessage> for FromSentinel {
    type Error = InvalidMessage;

    fn try_from(message: wire::SentinelMessage) -> Result<Self, InvalidMessage> {
        use wire::sentinel_message::Message as M;
        Ok(FromSentinel::Says(match required(message.message, "the message")? {
            M::Welcome(welcome) => {
                return Ok(FromSentinel::Welcome(ours::SentinelId(welcome.sentinel)));
            }
            M::Ack(ack) => ours::ToNode::Ack(ack.into()),
            M::Topology(topology) => ours::ToNode::Topology(Arc::new(topology.try_into()?)),
            M::Health(health) => ours::ToNode::Health(Arc::new(health.try_into()?)),
            M::Prepare(prepare) => ours::ToNode::Prepare(prepare.into()),
        }))
    }
}

impl From<ours::History> for wire::History {
    fn from(history: ours::History) -> Self {
        wire::History { epoch: history.epoch.0, offset: history.offset.0 }
    }
}

impl From<wire::History> for ours::History {
    fn from(history: wire::History) -> Self {
        ours::History { epoch: Epoch(history.epoch), offset: ReplOffset(history.offset) }
    }
}

impl From<&ours::Heartbeat> for wire::Heartbeat {
    fn from(beat: &ours::Heartbeat) -> Self {
        wire::Heartbeat {
            from: Some(beat.from.into()),
            seq: beat.seq,
            shard: beat.shard.map(|shard| shard.0),
            epoch: beat.epoch.0,
            promised: beat.promised.0,
            role: role_to_wire(beat.role).into(),
            repl_id: beat.repl_id.as_bytes().to_vec(),
            history: Some(beat.history.into()),
            link: link_to_wire(beat.link).into(),
            lease_ms: beat.lease.0,
            serving: beat.serving,
            topology: beat.topology,
        }
    }
}

impl TryFrom<wire::Heartbeat> for ours::Heartbeat {
    type Error = InvalidMessage;

    fn try_from(beat: wire::Heartbeat) -> Result<Self, InvalidMessage> {
        let repl_id = <[u8; 20]>::try_from(beat.repl_id.as_slice());
        Ok(ours::Heartbeat {
            role: role_from_wire(beat.role())?,
            link: link_from_wire(beat.link())?,
            from: member(beat.from, "the heartbeat's sender")?,
            seq: beat.seq,
            shard: beat.shard.map(ShardId),
            epoch: Epoch(beat.epoch),
            promised: Epoch(beat.promised),
            repl_id: ReplId::from_bytes(
                repl_id.map_err(|_| InvalidMessage::Invalid("a replication id"))?,
            ),
            history: required(beat.history, "the heartbeat's history")?.into(),
            lease: Millis(beat.lease_ms),
            serving: beat.serving,
            topology: beat.topology,
        })
    }
}

fn role_to_wire(role: ours::NodeRole) -> wire::NodeRole {
    match role {
        ours::NodeRole::Unassigned => wire::NodeRole::Unassigned,
        ours::NodeRole::Master => wire::NodeRole::Master,
        ours::NodeRole::Replica => wire::NodeRole::Replica,
        ours::NodeRole::Halted => wire::NodeRole::Halted,
    }
}

fn role_from_wire(role: wire::NodeRole) -> Result<ours::NodeRole, InvalidMessage> {
    Ok(match role {
        wire::NodeRole::Unspecified => return Err(InvalidMessage::Invalid("a node's role")),
        wire::NodeRole::Unassigned => ours::NodeRole::Unassigned,
        wire::NodeRole::Master => ours::NodeRole::Master,
        wire::NodeRole::Replica => ours::NodeRole::Replica,
        wire::NodeRole::Halted => ours::NodeRole::Halted,
    })
}

fn link_to_wire(link: ours::LinkState) -> wire::LinkState {
    match link {
        ours::LinkState::None => wire::LinkState::None,
        ours::LinkState::Down => wire::LinkState::Down,
        ours::LinkState::Syncing => wire::LinkState::Syncing,
        ours::LinkState::Up => wire::LinkState::Up,
        ours::LinkState::Gone => wire::LinkState::Gone,
    }
}

fn link_from_wire(link: wire::LinkState) -> Result<ours::LinkState, InvalidMessage> {
    Ok(match link {
        wire::LinkState::Unspecified => return Err(InvalidMessage::Invalid("a link's state")),
        wire::LinkState::None => ours::LinkState::None,
        wire::LinkState::Down => ours::LinkState::Down,
        wire::LinkState::Syncing => ours::LinkState::Syncing,
        wire::LinkState::Up => ours::LinkState::Up,
        wire::LinkState::Gone => ours::LinkState::Gone,
    })
}

impl From<ours::Prepared> for wire::Prepared {
    fn from(prepared: ours::Prepared) -> Self {
        wire::Prepared {
            from: Some(prepared.from.into()),
            shard: prepared.shard.0,
            epoch: prepared.epoch.0,
            history: Some(prepared.history.into()),
            master_gone: prepared.master_gone,
            was_master: prepared.was_master,
        }
    }
}

impl TryFrom<wire::Prepared> for ours::Prepared {
    type Error = InvalidMessage;

    fn try_from(prepared: wire::Prepared) -> Result<Self, InvalidMessage> {
        Ok(ours::Prepared {
            from: member(prepared.from, "who is prepared")?,
            shard: ShardId(prepared.shard),
            epoch: Epoch(prepared.epoch),
            history: required(prepared.history, "the history")?.into(),
            master_gone: prepared.master_gone,
            was_master: prepared.was_master,
        })
    }
}

impl From<ours::FailoverRequest> for wire::FailoverRequest {
    fn from(request: ours::FailoverRequest) -> Self {
        wire::FailoverRequest {
            shard: request.shard.0,
            epoch: request.epoch.0,
            to: request.to.map(id_bytes),
            mode: match request.mode {
                ours::FailoverMode::HandOver => wire::FailoverMode::HandOver,
                ours::FailoverMode::Force => wire::FailoverMode::Force,
            }
            .into(),
        }
    }
}

impl TryFrom<wire::FailoverRequest> for ours::FailoverRequest {
    type Error = InvalidMessage;

    fn try_from(request: wire::FailoverRequest) -> Result<Self, InvalidMessage> {
        Ok(ours::FailoverRequest {
            shard: ShardId(request.shard),
            epoch: Epoch(request.epoch),
            to: request.to.as_deref().map(node_id).transpose()?,
            mode: match request.mode() {
                wire::FailoverMode::HandOver => ours::FailoverMode::HandOver,
                wire::FailoverMode::Force => ours::FailoverMode::Force,
                wire::FailoverMode::Unspecified => {
                    return Err(InvalidMessage::Invalid("the failover's mode"));
                }
            },
        })
    }
}

impl From<ours::Ack> for wire::Ack {
    fn from(ack: ours::Ack) -> Self {
        wire::Ack {
            sentinel: ack.sentinel.0,
            voters: ack.voters,
            incarnation: ack.incarnation.0,
            seq: ack.seq,
            lease_epoch: ack.lease.map(|epoch| epoch.0),
        }
    }
}

impl From<wire::Ack> for ours::Ack {
    fn from(ack: wire::Ack) -> Self {
        ours::Ack {
            sentinel: ours::SentinelId(ack.sentinel),
            voters: ack.voters,
            incarnation: Incarnation(ack.incarnation),
            seq: ack.seq,
            lease: ack.lease_epoch.map(Epoch),
        }
    }
}

impl From<ours::Prepare> for wire::Prepare {
    fn from(prepare: ours::Prepare) -> Self {
        wire::Prepare {
            shard: prepare.shard.0,
            epoch: prepare.epoch.0,
            catch_up: prepare.catch_up.map(|offset| offset.0),
        }
    }
}

impl From<wire::Prepare> for ours::Prepare {
    fn from(prepare: wire::Prepare) -> Self {
        ours::Prepare {
            shard: ShardId(prepare.shard),
            epoch: Epoch(prepare.epoch),
            catch_up: prepare.catch_up.map(ReplOffset),
        }
    }
}

impl From<ours::PeerMessage> for wire::peer_envelope::Message {
    fn from(message: ours::PeerMessage) -> Self {
        match message {
            ours::PeerMessage::Vote(vote) => Self::Vote(wire::Vote {
                shard: vote.shard.0,
                epoch: vote.epoch.0,
                ack_left_ms: vote.ack_left.0,
                gone: vote.gone,
                hears: vote.hears,
            }),
            ours::PeerMessage::Failover(request) => Self::Failover(request.into()),
            ours::PeerMessage::Revoke { shard, epoch } => {
                Self::Revoke(wire::Revoke { shard: shard.0, epoch: epoch.0 })
            }
        }
    }
}

impl TryFrom<wire::peer_envelope::Message> for ours::PeerMessage {
    type Error = InvalidMessage;

    fn try_from(message: wire::peer_envelope::Message) -> Result<Self, InvalidMessage> {
        use wire::peer_envelope::Message as M;
        Ok(match message {
            M::Vote(vote) => ours::PeerMessage::Vote(ours::Vote {
                shard: ShardId(vote.shard),
                epoch: Epoch(vote.epoch),
                ack_left: Millis(vote.ack_left_ms),
                gone: vote.gone,
                hears: vote.hears,
            }),
            M::Failover(request) => ours::PeerMessage::Failover(request.try_into()?),
            M::Revoke(revoke) => ours::PeerMessage::Revoke {
                shard: ShardId(revoke.shard),
                epoch: Epoch(revoke.epoch),
            },
        })
    }
}
