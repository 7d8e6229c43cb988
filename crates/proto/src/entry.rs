//! Proposals and their outcomes on the wire.

use slotward_cluster::{Member, MoveId, ShardId, SlotRanges};
use slotward_failover::{self as ours, Entry};
use slotward_types::{Epoch, ReplOffset};

use crate::control as wire;
use crate::topology::{member, ranges_from_wire, ranges_to_wire};
use crate::{InvalidMessage, id_bytes, node_id, port, required};

impl From<&Entry> for wire::Entry {
    fn from(entry: &Entry) -> Self {
        use wire::entry::Entry as E;
        let entry = match entry {
            Entry::Register(registration) => E::Register(registration.into()),
            Entry::Meet { by, host, port } => {
                E::Meet(wire::Meet { by: id_bytes(*by), host: host.clone(), port: (*port).into() })
            }
            Entry::Forget { by, node } => {
                E::Forget(wire::Forget { by: id_bytes(*by), node: id_bytes(*node) })
            }
            Entry::AddSlots { node, slots } => E::AddSlots(slot_change(*node, slots)),
            Entry::DelSlots { node, slots } => E::DelSlots(slot_change(*node, slots)),
            Entry::SetConfigEpoch { node, epoch } => {
                E::SetConfigEpoch(wire::SetConfigEpoch { node: some(*node), epoch: epoch.0 })
            }
            Entry::BumpEpoch { node } => E::BumpEpoch((*node).into()),
            Entry::Replicate { node, master } => {
                E::Replicate(wire::Replicate { node: some(*node), master: id_bytes(*master) })
            }
            Entry::Reset { node } => E::Reset((*node).into()),
            Entry::Serve { shard, epoch, by } => {
                E::Serve(wire::Serve { shard: shard.0, epoch: epoch.0, by: some(*by) })
            }
            Entry::SetPromotable { shard, epoch, version, by, members } => {
                E::SetPromotable(wire::SetPromotable {
                    shard: shard.0,
                    epoch: epoch.0,
                    version: *version,
                    by: some(*by),
                    members: members.iter().copied().map(Into::into).collect(),
                })
            }
            Entry::Promote { shard, epoch, to, basis, cut } => E::Promote(wire::Promote {
                shard: shard.0,
                epoch: epoch.0,
                to: some(*to),
                basis: basis_to_wire(*basis).into(),
                cut: cut.map(Into::into),
            }),
            Entry::StepBack { node } => E::StepBack((*node).into()),
            Entry::ReportEnd { shard, epoch, by, end } => E::ReportEnd(wire::ReportEnd {
                shard: shard.0,
                epoch: epoch.0,
                by: some(*by),
                end: end.0,
            }),
            Entry::SetTiming(timing) => E::SetTiming(timing.into()),
            Entry::BeginMove { slots, source, source_epoch, target, target_epoch } => {
                E::BeginMove(wire::BeginMove {
                    slots: ranges_to_wire(slots),
                    source: source.0,
                    source_epoch: source_epoch.0,
                    target: target.0,
                    target_epoch: target_epoch.0,
                })
            }
            Entry::CommitMove { id, source_epoch, target_epoch, by } => {
                E::CommitMove(wire::CommitMove {
                    id: id.0,
                    source_epoch: source_epoch.0,
                    target_epoch: target_epoch.0,
                    by: some(*by),
                })
            }
            Entry::CancelMove { id } => E::CancelMove(wire::CancelMove { id: id.0 }),
        };
        wire::Entry { entry: Some(entry) }
    }
}

impl TryFrom<wire::Entry> for Entry {
    type Error = InvalidMessage;

    fn try_from(entry: wire::Entry) -> Result<Self, InvalidMessage> {
        use wire::entry::Entry as E;
        Ok(match required(entry.entry, "the entry")? {
            E::Register(registration) => Entry::Register(registration.try_into()?),
            E::Meet(meet) => {
                Entry::Meet { by: node_id(&meet.by)?, host: meet.host, port: port(meet.port)? }
            }
            E::Forget(forget) => {
                Entry::Forget { by: node_id(&forget.by)?, node: node_id(&forget.node)? }
            }
            E::AddSlots(change) => {
                let (node, slots) = slot_change_from_wire(change)?;
                Entry::AddSlots { node, slots }
            }
            E::DelSlots(change) => {
                let (node, slots) = slot_change_from_wire(change)?;
                Entry::DelSlots { node, slots }
            }
            E::SetConfigEpoch(wire::SetConfigEpoch { node, epoch }) => {
                let node = member(node, "the entry's node")?;
                Entry::SetConfigEpoch { node, epoch: Epoch(epoch) }
            }
            E::BumpEpoch(node) => Entry::BumpEpoch { node: node.try_into()? },
            E::Replicate(replicate) => Entry::Replicate {
                node: member(replicate.node, "the entry's node")?,
                master: node_id(&replicate.master)?,
            },
            E::Reset(node) => Entry::Reset { node: node.try_into()? },
            E::Serve(wire::Serve { shard, epoch, by }) => {
                let by = member(by, "the entry's proposer")?;
                Entry::Serve { shard: ShardId(shard), epoch: Epoch(epoch), by }
            }
            E::SetPromotable(set) => Entry::SetPromotable {
                shard: ShardId(set.shard),
                epoch: Epoch(set.epoch),
                version: set.version,
                by: member(set.by, "the entry's proposer")?,
                members: set.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?,
            },
            E::Promote(promote) => Entry::Promote {
                basis: basis_from_wire(promote.basis())?,
                shard: ShardId(promote.shard),
                epoch: Epoch(promote.epoch),
                to: member(promote.to, "the candidate")?,
                cut: promote.cut.map(Into::into),
            },
            E::StepBack(node) => Entry::StepBack { node: node.try_into()? },
            E::ReportEnd(report) => Entry::ReportEnd {
                shard: ShardId(report.shard),
                epoch: Epoch(report.epoch),
                by: member(report.by, "the entry's proposer")?,
                end: ReplOffset(report.end),
            },
            E::SetTiming(timing) => Entry::SetTiming(timing.into()),
            E::BeginMove(begin) => Entry::BeginMove {
                slots: ranges_from_wire(begin.slots)?,
                source: ShardId(begin.source),
                source_epoch: Epoch(begin.source_epoch),
                target: ShardId(begin.target),
                target_epoch: Epoch(begin.target_epoch),
            },
            E::CommitMove(commit) => commit.try_into()?,
            E::CancelMove(cancel) => Entry::CancelMove { id: MoveId(cancel.id) },
        })
    }
}

impl TryFrom<wire::CommitMove> for Entry {
    type Error = InvalidMessage;

    fn try_from(commit: wire::CommitMove) -> Result<Self, InvalidMessage> {
        Ok(Entry::CommitMove {
            id: MoveId(commit.id),
            source_epoch: Epoch(commit.source_epoch),
            target_epoch: Epoch(commit.target_epoch),
            by: member(commit.by, "the target's master")?,
        })
    }
}

fn some(member: Member) -> Option<wire::Member> {
    Some(member.into())
}

fn slot_change_from_wire(change: wire::SlotChange) -> Result<(Member, SlotRanges), InvalidMessage> {
    Ok((member(change.node, "the entry's node")?, ranges_from_wire(change.slots)?))
}

fn slot_change(node: Member, slots: &SlotRanges) -> wire::SlotChange {
    wire::SlotChange { node: Some(node.into()), slots: ranges_to_wire(slots) }
}

fn basis_to_wire(basis: ours::Basis) -> wire::Basis {
    match basis {
        ours::Basis::RanOut => wire::Basis::RanOut,
        ours::Basis::Gone => wire::Basis::Gone,
        ours::Basis::Consent => wire::Basis::Consent,
        ours::Basis::Confirmed => wire::Basis::Confirmed,
        ours::Basis::AllRestarted => wire::Basis::AllRestarted,
        ours::Basis::NeverServed => wire::Basis::NeverServed,
    }
}

fn basis_from_wire(basis: wire::Basis) -> Result<ours::Basis, InvalidMessage> {
    Ok(match basis {
        wire::Basis::Unspecified => return Err(InvalidMessage::Invalid("a promotion's basis")),
        wire::Basis::RanOut => ours::Basis::RanOut,
        wire::Basis::Gone => ours::Basis::Gone,
        wire::Basis::Consent => ours::Basis::Consent,
        wire::Basis::Confirmed => ours::Basis::Confirmed,
        wire::Basis::AllRestarted => ours::Basis::AllRestarted,
        wire::Basis::NeverServed => ours::Basis::NeverServed,
    })
}

impl From<&ours::Registration> for wire::Registration {
    fn from(registration: &ours::Registration) -> Self {
        wire::Registration {
            member: Some(registration.member.into()),
            host: registration.host.clone(),
            port: registration.port.into(),
            cport: registration.cport.into(),
            kind: Some((&registration.kind).into()),
            zone: registration.zone.clone(),
            priority: registration.priority,
        }
    }
}

impl TryFrom<wire::Registration> for ours::Registration {
    type Error = InvalidMessage;

    fn try_from(registration: wire::Registration) -> Result<Self, InvalidMessage> {
        Ok(ours::Registration {
            member: member(registration.member, "the registered member")?,
            host: registration.host,
            port: port(registration.port)?,
            cport: port(registration.cport)?,
            kind: required(registration.kind, "the node's kind")?.into(),
            zone: registration.zone,
            priority: registration.priority,
        })
    }
}

impl From<&ours::Rejected> for wire::Rejected {
    fn from(rejected: &ours::Rejected) -> Self {
        use wire::rejected::Reason as R;
        let reason = match rejected {
            ours::Rejected::StaleEpoch(epoch) => R::StaleEpoch(epoch.0),
            ours::Rejected::StaleVersion(version) => R::StaleVersion(*version),
            ours::Rejected::StaleIncarnation => R::StaleIncarnation(wire::Empty {}),
            ours::Rejected::NotMaster => R::NotMaster(wire::Empty {}),
            ours::Rejected::NotPromotable => R::NotPromotable(wire::Empty {}),
            ours::Rejected::UnknownShard => R::UnknownShard(wire::Empty {}),
            ours::Rejected::UnknownNode(node) => R::UnknownNode(id_bytes(*node)),
            ours::Rejected::UnknownAddress { host, port } => {
                R::UnknownAddress(wire::Address { host: host.clone(), port: (*port).into() })
            }
            ours::Rejected::SlotBusy(slot) => R::SlotBusy((*slot).into()),
            ours::Rejected::SlotUnassigned(slot) => R::SlotUnassigned((*slot).into()),
            ours::Rejected::Refused(why) => R::Refused(why.clone()),
            ours::Rejected::SlotMoving(slot) => R::SlotMoving((*slot).into()),
            ours::Rejected::UnknownMove(id) => R::UnknownMove(id.0),
        };
        wire::Rejected { reason: Some(reason) }
    }
}

impl TryFrom<wire::Rejected> for ours::Rejected {
    type Error = InvalidMessage;

    fn try_from(rejected: wire::Rejected) -> Result<Self, InvalidMessage> {
        use wire::rejected::Reason as R;
        let slot = |slot| u16::try_from(slot).map_err(|_| InvalidMessage::Invalid("a slot"));
        Ok(match required(rejected.reason, "the reason")? {
            R::StaleEpoch(epoch) => ours::Rejected::StaleEpoch(Epoch(epoch)),
            R::StaleVersion(version) => ours::Rejected::StaleVersion(version),
            R::StaleIncarnation(_) => ours::Rejected::StaleIncarnation,
            R::NotMaster(_) => ours::Rejected::NotMaster,
            R::NotPromotable(_) => ours::Rejected::NotPromotable,
            R::UnknownShard(_) => ours::Rejected::UnknownShard,
            R::UnknownNode(node) => ours::Rejected::UnknownNode(node_id(&node)?),
            R::UnknownAddress(address) => {
                ours::Rejected::UnknownAddress { port: port(address.port)?, host: address.host }
            }
            R::SlotBusy(number) => ours::Rejected::SlotBusy(slot(number)?),
            R::SlotUnassigned(number) => ours::Rejected::SlotUnassigned(slot(number)?),
            R::Refused(why) => ours::Rejected::Refused(why),
            R::SlotMoving(number) => ours::Rejected::SlotMoving(slot(number)?),
            R::UnknownMove(id) => ours::Rejected::UnknownMove(MoveId(id)),
        })
    }
}

impl From<&ours::Outcome> for wire::ProposeReply {
    /// The version that an applied entry made is told only by who applied it; here it is 0.
    fn from(outcome: &ours::Outcome) -> Self {
        use wire::propose_reply::Outcome as O;
        let outcome = match outcome {
            ours::Outcome::Applied => O::Applied(0),
            ours::Outcome::Rejected(rejected) => O::Rejected(rejected.into()),
            ours::Outcome::Unknown => O::Unknown(String::new()),
        };
        wire::ProposeReply { outcome: Some(outcome) }
    }
}

impl TryFrom<wire::ProposeReply> for ours::Outcome {
    type Error = InvalidMessage;

    fn try_from(reply: wire::ProposeReply) -> Result<Self, InvalidMessage> {
        use wire::propose_reply::Outcome as O;
        Ok(match required(reply.outcome, "the outcome")? {
            O::Applied(_) => ours::Outcome::Applied,
            O::Rejected(rejected) => ours::Outcome::Rejected(rejected.try_into()?),
            O::Unknown(_) => ours::Outcome::Unknown,
        })
    }
}
