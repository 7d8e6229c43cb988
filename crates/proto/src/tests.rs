//! What is sent is what arrives; what cannot be is refused.

use std::sync::Arc;

use prost::Message;
use slotward_cluster::{
    Arrival, Cut, Health, Liveness, Member, Move, MoveId, Moves, Node, NodeHealth, NodeKind, Phase,
    PromotableSet, Shard, ShardId, SlotRanges, Takeover, Timing, Topology,
};
use slotward_failover::{
    Ack, Basis, Entry, FailoverMode, FailoverRequest, Heartbeat, History, LinkState, NodeRole,
    Outcome, PeerMessage, Prepare, Prepared, Registration, Rejected, SentinelId, ToNode,
    ToSentinel, Vote,
};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplId, ReplOffset};

use crate::control as wire;
use crate::{FromNode, FromSentinel, InvalidMessage};

const SHARD: ShardId = ShardId(3);
const EPOCH: Epoch = Epoch(5);
const CUT: Cut = Cut { taken: ReplOffset(7), end: ReplOffset(9), exact: true };

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 20])
}

fn member(byte: u8) -> Member {
    Member { node: id(byte), incarnation: Incarnation(byte.into()) }
}

fn slots() -> SlotRanges {
    let mut slots = SlotRanges::new();
    slots.insert_range(0, 100).unwrap();
    slots.insert_range(16_383, 16_383).unwrap();
    slots
}

/// Encodes and decodes, as a connection does.
fn travel<W: Message + Default>(message: W) -> W {
    W::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn topology() -> Topology {
    let node = |byte, kind| Node {
        id: id(byte),
        incarnation: Incarnation(byte.into()),
        host: "h".into(),
        port: 7000,
        cport: 17_000,
        kind,
        met: true,
        zone: "z".into(),
        priority: 0,
        config_epoch: EPOCH,
    };
    let shard = Shard {
        id: SHARD,
        name: "shard-1".into(),
        epoch: EPOCH,
        master: member(1),
        waived: true,
        members: [id(1), id(2)].into(),
        promotable: PromotableSet { version: 4, members: [member(1), member(2)].into() },
        slots: slots(),
        phase: Phase::Served,
        takeovers: vec![Takeover { epoch: EPOCH, from: member(1), to: member(2), cut: CUT }],
    };
    let plain = NodeKind::Plain { group: "mymaster".into() };
    let begun = Move {
        slots: slots(),
        source: SHARD,
        source_epoch: EPOCH,
        target: ShardId(4),
        target_epoch: EPOCH.next(),
    };
    Topology {
        version: 77,
        nodes: [node(1, NodeKind::Cluster), node(2, plain)].map(|node| (node.id, node)).into(),
        shards: [(SHARD, shard)].into(),
        shards_ever: 9,
        timing: Timing { fencing_strict: true, ..Timing::default() },
        moves: Moves {
            ever: 8,
            running: [(MoveId(7), begun)].into(),
            arrived: [(MoveId(2), Arrival { shard: SHARD, slots: slots() })].into(),
        },
    }
}

#[test]
fn entries_travel() {
    let registration = Registration {
        member: member(1),
        host: "h".into(),
        port: 1,
        cport: 2,
        kind: NodeKind::Plain { group: String::new() },
        zone: String::new(),
        priority: 100,
    };
    let node = member(1);
    for entry in [
        Entry::Register(registration),
        Entry::Meet { by: id(1), host: "::1".into(), port: 65_535 },
        Entry::Forget { by: id(1), node: id(2) },
        Entry::AddSlots { node, slots: slots() },
        Entry::DelSlots { node, slots: SlotRanges::new() },
        Entry::SetConfigEpoch { node, epoch: EPOCH },
        Entry::BumpEpoch { node },
        Entry::Replicate { node, master: id(2) },
        Entry::Reset { node },
        Entry::Serve { shard: SHARD, epoch: EPOCH, by: node },
        Entry::SetPromotable {
            shard: SHARD,
            epoch: EPOCH,
            version: 0,
            by: node,
            members: [node, member(2)].into(),
        },
        Entry::Promote {
            shard: SHARD,
            epoch: EPOCH,
            to: node,
            basis: Basis::RanOut,
            cut: Some(CUT),
        },
        Entry::Promote { shard: SHARD, epoch: EPOCH, to: node, basis: Basis::Gone, cut: None },
        Entry::Promote { shard: SHARD, epoch: EPOCH, to: node, basis: Basis::Consent, cut: None },
        Entry::Promote { shard: SHARD, epoch: EPOCH, to: node, basis: Basis::Confirmed, cut: None },
        Entry::Promote {
            shard: SHARD,
            epoch: EPOCH,
            to: node,
            basis: Basis::AllRestarted,
            cut: None,
        },
        Entry::Promote {
            shard: SHARD,
            epoch: EPOCH,
            to: node,
            basis: Basis::NeverServed,
            cut: None,
        },
        Entry::StepBack { node },
        Entry::ReportEnd { shard: SHARD, epoch: EPOCH, by: node, end: ReplOffset(12) },
        Entry::SetTiming(Timing::default()),
        Entry::BeginMove {
            slots: slots(),
            source: SHARD,
            source_epoch: EPOCH,
            target: ShardId(4),
            target_epoch: EPOCH.next(),
        },
        Entry::CommitMove {
            id: MoveId(9),
            source_epoch: EPOCH,
            target_epoch: EPOCH.next(),
            by: node,
        },
        Entry::CancelMove { id: MoveId(9) },
    ] {
        assert_eq!(travel(wire::Entry::from(&entry)).try_into(), Ok(entry));
    }
}

#[test]
fn outcomes_travel() {
    let address = Rejected::UnknownAddress { host: "h".into(), port: 7 };
    for outcome in [
        Outcome::Applied,
        Outcome::Unknown,
        Outcome::Rejected(Rejected::StaleEpoch(EPOCH)),
        Outcome::Rejected(Rejected::StaleVersion(0)),
        Outcome::Rejected(Rejected::StaleIncarnation),
        Outcome::Rejected(Rejected::NotMaster),
        Outcome::Rejected(Rejected::NotPromotable),
        Outcome::Rejected(Rejected::UnknownShard),
        Outcome::Rejected(Rejected::UnknownNode(id(1))),
        Outcome::Rejected(address),
        Outcome::Rejected(Rejected::SlotBusy(0)),
        Outcome::Rejected(Rejected::SlotUnassigned(9)),
        Outcome::Rejected(Rejected::Refused("because".into())),
        Outcome::Rejected(Rejected::SlotMoving(16_383)),
        Outcome::Rejected(Rejected::UnknownMove(MoveId(3))),
    ] {
        assert_eq!(travel(wire::ProposeReply::from(&outcome)).try_into(), Ok(outcome));
    }
}

#[test]
fn what_nodes_say_travels() {
    let history = History { epoch: EPOCH, offset: ReplOffset(u64::MAX) };
    let heartbeat = |role, link, shard| {
        ToSentinel::Heartbeat(Heartbeat {
            from: member(1),
            seq: 1,
            shard,
            epoch: EPOCH,
            promised: EPOCH.next(),
            role,
            repl_id: ReplId::from_bytes([4; 20]),
            history,
            link,
            lease: Millis(1000),
            serving: true,
            topology: 3,
        })
    };
    let prepared = Prepared {
        from: member(2),
        shard: SHARD,
        epoch: EPOCH,
        history,
        master_gone: true,
        was_master: false,
    };
    let request =
        |to, mode| ToSentinel::Failover(FailoverRequest { shard: SHARD, epoch: EPOCH, to, mode });
    for message in [
        FromNode::Open(member(1)),
        FromNode::Says(heartbeat(NodeRole::Unassigned, LinkState::None, None)),
        FromNode::Says(heartbeat(NodeRole::Master, LinkState::Down, Some(ShardId(0)))),
        FromNode::Says(heartbeat(NodeRole::Replica, LinkState::Syncing, Some(SHARD))),
        FromNode::Says(heartbeat(NodeRole::Halted, LinkState::Up, Some(SHARD))),
        FromNode::Says(heartbeat(NodeRole::Halted, LinkState::Gone, Some(SHARD))),
        FromNode::Says(ToSentinel::Prepared(prepared)),
        FromNode::Says(request(None, FailoverMode::HandOver)),
        FromNode::Says(request(Some(id(2)), FailoverMode::Force)),
    ] {
        assert_eq!(travel(wire::NodeMessage::from(&message)).try_into(), Ok(message));
    }
}

#[test]
fn what_sentinels_say_travels() {
    let ack = |lease| Ack {
        sentinel: SentinelId(8),
        voters: 3,
        incarnation: Incarnation(2),
        seq: 9,
        lease,
    };
    let health = |liveness| NodeHealth { liveness, offset: ReplOffset(1), loading: true };
    let all = [Liveness::Online, Liveness::Suspected, Liveness::Failed];
    let all = (0u8..).zip(all).map(|(byte, liveness)| (id(byte), health(liveness)));
    let prepare = |catch_up| Prepare { shard: SHARD, epoch: EPOCH, catch_up };
    for message in [
        FromSentinel::Welcome(SentinelId(u64::MAX)),
        FromSentinel::Says(ToNode::Ack(ack(None))),
        FromSentinel::Says(ToNode::Ack(ack(Some(Epoch(0))))),
        FromSentinel::Says(ToNode::Topology(Arc::new(topology()))),
        FromSentinel::Says(ToNode::Topology(Arc::new(Topology::default()))),
        FromSentinel::Says(ToNode::Health(Arc::new(Health(all.collect())))),
        FromSentinel::Says(ToNode::Prepare(prepare(None))),
        FromSentinel::Says(ToNode::Prepare(prepare(Some(ReplOffset(0))))),
    ] {
        assert_eq!(travel(wire::SentinelMessage::from(&message)).try_into(), Ok(message));
    }
    let vote = Vote { shard: SHARD, epoch: EPOCH, ack_left: Millis(7), gone: true, hears: false };
    let mode = FailoverMode::Force;
    for message in [
        PeerMessage::Vote(vote),
        PeerMessage::Failover(FailoverRequest { shard: SHARD, epoch: EPOCH, to: None, mode }),
        PeerMessage::Revoke { shard: SHARD, epoch: EPOCH },
    ] {
        let envelope = wire::PeerEnvelope { from: 1, to: 2, message: Some(message.clone().into()) };
        assert_eq!(travel(envelope).message.unwrap().try_into(), Ok(message));
    }
}

#[test]
fn a_strangers_message_is_refused() {
    let mut wrong = wire::Topology::from(&topology());
    wrong.shards[0].slots.push(wire::SlotRange { first: 5, last: 16_384 });
    assert_eq!(Topology::try_from(wrong), Err(InvalidMessage::Invalid("a slot range")));
    let mut wrong = wire::Topology::from(&topology());
    wrong.nodes[0].member.as_mut().unwrap().node.pop();
    assert_eq!(Topology::try_from(wrong), Err(InvalidMessage::Invalid("a node's id")));
    let mut wrong = wire::Topology::from(&topology());
    wrong.timing = None;
    let missing = InvalidMessage::Missing("the topology's timing");
    assert_eq!(Topology::try_from(wrong), Err(missing));
    let empty = FromNode::try_from(wire::NodeMessage::default());
    assert_eq!(empty, Err(InvalidMessage::Missing("the message")));
    let mut wrong = wire::Topology::from(&topology());
    wrong.nodes[1].port = 70_000;
    assert_eq!(Topology::try_from(wrong), Err(InvalidMessage::Invalid("a port")));
}
