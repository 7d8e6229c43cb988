//! The topology's state machine: what each entry does to it, and when it is refused.
//!
//! Every entry is conditional (rule 3): it names what its proposer believed, and is refused when
//! that no longer holds at its turn. The same entries in the same order give the same topology
//! everywhere.

use std::collections::BTreeSet;

use slotward_cluster::{
    Cut, Member, Node, NodeKind, Phase, PromotableSet, Shard, ShardId, SlotRanges, TAKEOVERS_MAX,
    Takeover, Topology,
};
use slotward_types::{Epoch, NodeId, ReplOffset};

use crate::entry::{Basis, Change, Entry, Registration, Rejected};
use crate::plant::{Plant, enforced, is_broken, planted};

mod moves;

type Applied = Result<Vec<Change>, Rejected>;

/// Applies the entry at `index` of the log. A refused entry changes nothing, not even the version;
/// neither does one that asks for what already is.
///
/// # Errors
/// When the entry's condition does not hold.
pub fn apply(topology: &mut Topology, index: u64, entry: &Entry) -> Applied {
    assert!(index > topology.version, "entry {index} applied to version {}", topology.version);
    let changes = match entry {
        Entry::Register(registration) => register(topology, registration),
        Entry::Meet { by, host, port } => meet(topology, *by, host, *port),
        Entry::Forget { by, node } => forget(topology, *by, *node),
        Entry::AddSlots { node, slots } => add_slots(topology, *node, slots),
        Entry::DelSlots { node, slots } => del_slots(topology, *node, slots),
        Entry::SetConfigEpoch { node, epoch } => set_config_epoch(topology, *node, *epoch),
        Entry::BumpEpoch { node } => bump_epoch(topology, *node),
        Entry::Replicate { node, master } => replicate(topology, *node, *master),
        Entry::Reset { node } => reset(topology, *node),
        Entry::Serve { shard, epoch, by } => serve(topology, *shard, *epoch, *by),
        Entry::SetPromotable { shard, epoch, version, by, members } => {
            set_promotable(topology, *shard, *epoch, *version, *by, members)
        }
        Entry::Promote { shard, epoch, to, basis, cut } => {
            promote(topology, *shard, *epoch, *to, *basis, *cut)
        }
        Entry::StepBack { node } => step_back(topology, *node),
        Entry::ReportEnd { shard, epoch, by, end } => {
            report_end(topology, *shard, *epoch, *by, *end)
        }
        Entry::SetTiming(timing) => {
            timing.check().map_err(|error| Rejected::Refused(error.to_string()))?;
            topology.timing = timing.clone();
            Ok(vec![Change::Timing])
        }
        Entry::BeginMove { slots, source, source_epoch, target, target_epoch } => {
            let source = (*source, *source_epoch);
            moves::begin(topology, slots, source, (*target, *target_epoch))
        }
        Entry::CommitMove { id, source_epoch, target_epoch, by } => {
            moves::commit(topology, *id, *source_epoch, *target_epoch, *by)
        }
        Entry::CancelMove { id } => moves::cancel(topology, *id),
    }?;
    let cancelled = moves::settle(topology);
    assert!(cancelled.is_empty() || !changes.is_empty(), "{entry:?} cancels, changing nothing");
    let changes = changes.into_iter().chain(cancelled).collect::<Vec<_>>();
    if !changes.is_empty() {
        topology.version = index;
    }
    check(topology);
    Ok(changes)
}

/// What holds after every entry.
fn check(topology: &Topology) {
    let mut members = 0;
    let mut everyone = BTreeSet::new();
    for (id, shard) in &topology.shards {
        assert!(shard.members.contains(&shard.master.node), "the master of {id} is no member");
        assert!(
            shard.promotable.members.contains(&shard.master),
            "the master of {id} is not in its promotable set"
        );
        assert!(
            shard.promotable.members.iter().all(|member| shard.members.contains(&member.node)),
            "somebody promotable is no member of {id}"
        );
        members += shard.members.len();
        everyone.extend(shard.members.iter().copied());
    }
    assert_eq!(members, everyone.len(), "a node is in two shards");
    assert!(everyone.iter().all(|node| topology.nodes.contains_key(node)), "an unknown member");
    moves::check(topology);
}

fn refused<T>(words: &str) -> Result<T, Rejected> {
    Err(Rejected::Refused(words.to_owned()))
}

/// The node, if this is the run of it that is registered.
fn current(topology: &Topology, member: Member) -> Result<&Node, Rejected> {
    let node = topology.nodes.get(&member.node).ok_or(Rejected::UnknownNode(member.node))?;
    if node.incarnation == member.incarnation { Ok(node) } else { Err(Rejected::StaleIncarnation) }
}

/// The shard that this run of this node is master of; none if it is in no shard.
fn mastered_by(topology: &Topology, member: Member) -> Result<Option<ShardId>, Rejected> {
    current(topology, member)?;
    match topology.shard_of(member.node) {
        None => Ok(None),
        Some(shard) if shard.master == member => Ok(Some(shard.id)),
        Some(_) => Err(Rejected::NotMaster),
    }
}

/// The shard, if it is still in this epoch.
fn shard_in(topology: &mut Topology, id: ShardId, epoch: Epoch) -> Result<&mut Shard, Rejected> {
    let shard = topology.shards.get_mut(&id).ok_or(Rejected::UnknownShard)?;
    if shard.epoch == epoch { Ok(shard) } else { Err(Rejected::StaleEpoch(shard.epoch)) }
}

fn shard_mut(topology: &mut Topology, id: ShardId) -> &mut Shard {
    topology.shards.get_mut(&id).expect("the shard was looked up in the same entry")
}

fn register(topology: &mut Topology, new: &Registration) -> Applied {
    if let Some(known) = topology.nodes.get(&new.member.node)
        && known.incarnation > new.member.incarnation
    {
        return Err(Rejected::StaleIncarnation);
    }
    let group = match &new.kind {
        NodeKind::Plain { group } => Some(group.clone()),
        NodeKind::Cluster => None,
    };
    check_kind(topology, new)?;
    let mut changes = forget_squatter(topology, new);
    let known = topology.nodes.get(&new.member.node);
    let node = Node {
        id: new.member.node,
        incarnation: new.member.incarnation,
        host: new.host.clone(),
        port: new.port,
        cport: new.cport,
        kind: new.kind.clone(),
        met: known.is_some_and(|node| node.met),
        zone: new.zone.clone(),
        priority: new.priority,
        config_epoch: known.map_or(Epoch(0), |node| node.config_epoch),
    };
    if known != Some(&node) {
        topology.nodes.insert(node.id, node);
        changes.push(Change::Node(new.member.node));
    }
    if let Some(group) = group {
        changes.extend(join_group(topology, new.member, group));
    }
    Ok(changes)
}

/// A node may not turn from a cluster node into a plain one, nor a plain group take a shard's name.
fn check_kind(topology: &Topology, new: &Registration) -> Result<(), Rejected> {
    if let Some(known) = topology.nodes.get(&new.member.node)
        && known.kind != new.kind
        && topology.shard_of(new.member.node).is_some()
    {
        return refused("the node is in a shard; it cannot change between cluster and plain group");
    }
    let NodeKind::Plain { group } = &new.kind else { return Ok(()) };
    if group.is_empty() {
        return refused("the group of a plain node needs a name");
    }
    let taken = topology.shards.values().find(|shard| shard.name == *group);
    let plain = |node: &NodeId| topology.nodes.get(node).is_some_and(|node| !node.is_cluster());
    if taken.is_some_and(|shard| !shard.members.iter().all(plain)) {
        return refused("a shard of the cluster has the group's name");
    }
    Ok(())
}

/// Somebody who registered the same address before, and is in no shard and was never met, is not
/// there any more: a node that was started again with an empty folder.
fn forget_squatter(topology: &mut Topology, new: &Registration) -> Vec<Change> {
    let squatter = topology
        .node_at(&new.host, new.port)
        .filter(|node| node.id != new.member.node && !node.met)
        .map(|node| node.id)
        .filter(|&node| topology.shard_of(node).is_none());
    squatter.map_or_else(Vec::new, |node| {
        topology.nodes.remove(&node);
        vec![Change::NodeForgotten(node)]
    })
}

fn join_group(topology: &mut Topology, member: Member, group: String) -> Vec<Change> {
    match topology.shards.values_mut().find(|shard| shard.name == group) {
        Some(shard) if shard.members.contains(&member.node) => Vec::new(),
        Some(shard) => {
            shard.members.insert(member.node);
            vec![Change::Members(shard.id)]
        }
        None => {
            let epoch = topology.current_epoch().next();
            vec![Change::ShardCreated(create_shard(topology, member, Some(group), epoch))]
        }
    }
}

/// A new shard with this master, alone. Its epoch is one that no other shard has.
fn create_shard(
    topology: &mut Topology,
    master: Member,
    name: Option<String>,
    epoch: Epoch,
) -> ShardId {
    topology.shards_ever += 1;
    let id = ShardId(topology.shards_ever);
    let shard = Shard {
        id,
        name: name.unwrap_or_else(|| format!("shard-{id}")),
        epoch,
        master,
        waived: false,
        members: BTreeSet::from([master.node]),
        promotable: PromotableSet { version: 1, members: BTreeSet::from([master]) },
        slots: SlotRanges::new(),
        phase: Phase::New,
        takeovers: Vec::new(),
    };
    topology.shards.insert(id, shard);
    id
}

fn meet(topology: &mut Topology, by: NodeId, host: &str, port: u16) -> Applied {
    let other = topology
        .node_at(host, port)
        .map(|node| node.id)
        .ok_or_else(|| Rejected::UnknownAddress { host: host.to_owned(), port })?;
    let both = [by, other];
    for id in both {
        let node = topology.nodes.get(&id).ok_or(Rejected::UnknownNode(id))?;
        if !node.is_cluster() {
            return refused("a node of a plain group cannot join the cluster");
        }
    }
    let mut changes = Vec::new();
    for id in both {
        let node = topology.nodes.get_mut(&id).expect("looked up above");
        if !node.met {
            node.met = true;
            changes.push(Change::Node(id));
        }
    }
    Ok(changes)
}

fn forget(topology: &mut Topology, by: NodeId, node: NodeId) -> Applied {
    if by == node {
        return refused("I tried hard but I can't forget myself...");
    }
    // `redis-cli --cluster del-node` tells every node; the first telling did it.
    if !topology.nodes.contains_key(&node) {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    if let Some(shard) = topology.shard_of(node) {
        if shard.master.node == node && shard.members.contains(&by) {
            return refused("Can't forget my master!");
        }
        if shard.master.node == node && (!shard.slots.is_empty() || shard.members.len() > 1) {
            return refused("Can't forget a master that owns slots or has replicas");
        }
        let id = shard.id;
        changes.extend(leave(topology, id, node));
    }
    topology.nodes.remove(&node);
    changes.push(Change::NodeForgotten(node));
    Ok(changes)
}

/// The node leaves the shard; without its master a shard dissolves. Taking somebody out of the
/// promotable set needs no consent of the master: it goes on needing that member's promises until
/// it has learned of the change.
fn leave(topology: &mut Topology, id: ShardId, node: NodeId) -> Vec<Change> {
    let shard = shard_mut(topology, id);
    if shard.master.node == node {
        topology.shards.remove(&id);
        return vec![Change::ShardDissolved(id)];
    }
    shard.members.remove(&node);
    let before = shard.promotable.members.len();
    shard.promotable.members.retain(|member| member.node != node);
    if shard.promotable.members.len() < before {
        shard.promotable.version += 1;
    }
    vec![Change::Members(id)]
}

fn add_slots(topology: &mut Topology, node: Member, slots: &SlotRanges) -> Applied {
    let mastered = mastered_by(topology, node)?;
    let registered = current(topology, node)?;
    if !registered.is_cluster() {
        return refused("This instance has cluster support disabled");
    }
    if let Some(slot) =
        slots.slots().find(|&slot| topology.shards.values().any(|s| s.slots.contains(slot)))
    {
        return Err(Rejected::SlotBusy(slot.get()));
    }
    if slots.is_empty() {
        return Ok(Vec::new());
    }
    let wished = registered.config_epoch;
    let mut changes = Vec::new();
    let id = mastered.unwrap_or_else(|| {
        let epoch = if wished > Epoch(0) && !in_use(topology, wished, node.node) {
            wished
        } else {
            topology.current_epoch().next()
        };
        let id = create_shard(topology, node, None, epoch);
        changes.push(Change::ShardCreated(id));
        id
    });
    shard_mut(topology, id).slots.extend(slots);
    changes.push(Change::Slots(id));
    Ok(changes)
}

/// Whether an epoch is taken: by a shard, or by another node that was told it.
fn in_use(topology: &Topology, epoch: Epoch, except: NodeId) -> bool {
    topology.shards.values().any(|shard| shard.epoch == epoch)
        || topology.nodes.values().any(|node| node.id != except && node.config_epoch == epoch)
}

fn del_slots(topology: &mut Topology, node: Member, slots: &SlotRanges) -> Applied {
    let missing = |slot: slotward_types::Slot| Err(Rejected::SlotUnassigned(slot.get()));
    let first = slots.slots().next();
    let Some(id) = mastered_by(topology, node)? else {
        return first.map_or(Ok(Vec::new()), missing);
    };
    if let Some(slot) = topology.shards[&id].slots.first_missing(slots) {
        return missing(slot);
    }
    moves::none_moves(topology, slots)?;
    shard_mut(topology, id).slots.remove(slots);
    Ok(if first.is_some() { vec![Change::Slots(id)] } else { Vec::new() })
}

fn set_config_epoch(topology: &mut Topology, node: Member, epoch: Epoch) -> Applied {
    let mastered = mastered_by(topology, node)?;
    let registered = current(topology, node)?;
    let present = match mastered {
        Some(id) => topology.shards[&id].epoch,
        None => registered.config_epoch,
    };
    if epoch == present {
        return Ok(Vec::new());
    }
    if registered.met {
        return refused(
            "The user can assign a config epoch only when the node does not know any other node.",
        );
    }
    if in_use(topology, epoch, node.node) || epoch < present {
        return refused("Node config epoch is already non-zero");
    }
    match mastered {
        Some(id) => Ok(vec![raise(topology, id, epoch)]),
        None => {
            topology.nodes.get_mut(&node.node).expect("looked up above").config_epoch = epoch;
            Ok(vec![Change::Node(node.node)])
        }
    }
}

/// The same run of the same master goes on in a higher epoch.
fn raise(topology: &mut Topology, id: ShardId, epoch: Epoch) -> Change {
    let shard = shard_mut(topology, id);
    assert!(epoch > shard.epoch, "epoch of shard {id} would fall");
    shard.epoch = epoch;
    shard.waived = false;
    Change::Epoch { shard: id, from: shard.master, to: shard.master, epoch }
}

fn bump_epoch(topology: &mut Topology, node: Member) -> Applied {
    let highest = topology.current_epoch();
    let next = highest.next();
    let shards_with =
        |epoch: Epoch| topology.shards.values().filter(|shard| shard.epoch == epoch).count();
    match mastered_by(topology, node)? {
        Some(id) if topology.shards[&id].epoch == highest && shards_with(highest) == 1 => {
            Ok(Vec::new())
        }
        Some(id) => Ok(vec![raise(topology, id, next)]),
        None => {
            topology.nodes.get_mut(&node.node).expect("looked up by mastered_by").config_epoch =
                next;
            Ok(vec![Change::Node(node.node)])
        }
    }
}

fn replicate(topology: &mut Topology, node: Member, master: NodeId) -> Applied {
    let replica = current(topology, node)?;
    let target = topology.nodes.get(&master).ok_or(Rejected::UnknownNode(master))?;
    if node.node == master {
        return refused("Can't replicate myself");
    }
    if !replica.is_cluster() || !target.is_cluster() {
        return refused("members of a plain group follow the master that the group elects");
    }
    if !replica.met || !target.met {
        return Err(Rejected::UnknownNode(master));
    }
    let target = target.member();
    let goal = topology.shard_of(master);
    if goal.is_some_and(|shard| shard.master.node != master) {
        return refused("I can only replicate a master, not a replica.");
    }
    let goal = goal.map(|shard| shard.id);
    let mut changes = Vec::new();
    if let Some(shard) = topology.shard_of(node.node) {
        if goal == Some(shard.id) {
            return Ok(Vec::new());
        }
        let id = shard.id;
        if shard.master.node == node.node && (!shard.slots.is_empty() || shard.members.len() > 1) {
            return refused("To set a master the node must be empty and without assigned slots.");
        }
        changes.extend(leave(topology, id, node.node));
    }
    let goal = goal.unwrap_or_else(|| {
        let epoch = topology.current_epoch().next();
        let id = create_shard(topology, target, None, epoch);
        changes.push(Change::ShardCreated(id));
        id
    });
    shard_mut(topology, goal).members.insert(node.node);
    changes.push(Change::Members(goal));
    Ok(changes)
}

fn reset(topology: &mut Topology, node: Member) -> Applied {
    // A node that was forgotten has nothing left to reset.
    if !topology.nodes.contains_key(&node.node) {
        return Ok(Vec::new());
    }
    current(topology, node)?;
    let mut changes = Vec::new();
    if let Some(shard) = topology.shard_of(node.node) {
        // The replicas of a master that restarted may hold what it no longer does.
        if shard.master.node == node.node && shard.master != node {
            return refused("the node has restarted and its shard awaits a new master");
        }
        let id = shard.id;
        changes.extend(leave(topology, id, node.node));
    }
    let registered = topology.nodes.get_mut(&node.node).expect("looked up above");
    if registered.met || registered.config_epoch > Epoch(0) {
        registered.met = false;
        registered.config_epoch = Epoch(0);
        changes.push(Change::Node(node.node));
    }
    Ok(changes)
}

fn serve(topology: &mut Topology, id: ShardId, epoch: Epoch, by: Member) -> Applied {
    current(topology, by)?;
    let shard = shard_in(topology, id, epoch)?;
    if shard.master != by {
        return Err(Rejected::NotMaster);
    }
    if shard.phase == Phase::Served {
        return Ok(Vec::new());
    }
    shard.phase = Phase::Served;
    Ok(vec![Change::Served(id)])
}

fn set_promotable(
    topology: &mut Topology,
    id: ShardId,
    epoch: Epoch,
    version: u64,
    by: Member,
    members: &BTreeSet<Member>,
) -> Applied {
    current(topology, by)?;
    let registered: BTreeSet<Member> = topology.nodes.values().map(Node::member).collect();
    let shard = shard_in(topology, id, epoch)?;
    if shard.master != by {
        return Err(Rejected::NotMaster);
    }
    if shard.promotable.version != version && !planted(Plant::NoVersionTest) {
        return Err(Rejected::StaleVersion(shard.promotable.version));
    }
    if !members.contains(&by) {
        return refused("the master is always promotable");
    }
    for member in members {
        let known = shard.members.contains(&member.node) && registered.contains(member);
        if !known && !shard.promotable.members.contains(member) {
            return Err(Rejected::StaleIncarnation);
        }
    }
    shard.promotable = PromotableSet { version: version + 1, members: members.clone() };
    Ok(vec![Change::Promotable(id)])
}

/// The only place where a master changes. The old master stays in the promotable set: the new
/// one's first proposal takes it out (rule 5).
fn promote(
    topology: &mut Topology,
    id: ShardId,
    epoch: Epoch,
    to: Member,
    basis: Basis,
    cut: Option<Cut>,
) -> Applied {
    shard_in(topology, id, epoch)?;
    current(topology, to)?;
    let shard = &topology.shards[&id];
    let allowed = match basis {
        Basis::RanOut | Basis::Gone | Basis::Consent => {
            shard.promotable.members.contains(&to)
                || planted(Plant::NoMembershipTest)
                || planted(Plant::SetEnlargedByLeader)
                || planted(Plant::MemberByName)
        }
        Basis::Confirmed => {
            shard.master == to
                || (planted(Plant::ConfirmedByOffset) && shard.master.node == to.node)
        }
        Basis::AllRestarted => {
            shard.members.contains(&to.node)
                && shard.promotable.members.iter().all(|member| has_restarted(topology, *member))
        }
        Basis::NeverServed => shard.phase == Phase::New && shard.members.contains(&to.node),
    };
    if !allowed {
        return Err(Rejected::NotPromotable);
    }
    let shard = shard_mut(topology, id);
    let (before, from) = (shard.clone(), shard.master);
    shard.epoch = epoch.next();
    shard.master = to;
    shard.waived = basis.waives_promises();
    if let Some(cut) = cut.filter(|_| from != to) {
        let cut = Cut { end: cut.end.max(cut.taken), ..cut };
        shard.takeovers.push(Takeover { epoch: epoch.next(), from, to, cut });
        let surplus = shard.takeovers.len().saturating_sub(TAKEOVERS_MAX);
        shard.takeovers.drain(..surplus);
    }
    if matches!(basis, Basis::AllRestarted | Basis::NeverServed) {
        // Nobody else is known to hold what the new master holds.
        shard.promotable.version += 1;
        shard.promotable.members = BTreeSet::from([to]);
    }
    plant_in_set(&mut shard.promotable.members, from, to);
    check_promotion(&before, &topology.shards[&id], basis);
    Ok(vec![Change::Epoch { shard: id, from, to, epoch: epoch.next() }])
}

/// What holds of every promotion.
fn check_promotion(before: &Shard, after: &Shard, basis: Basis) {
    let starts_over = matches!(basis, Basis::AllRestarted | Basis::NeverServed);
    let named = before.promotable.members.contains(&after.master) || starts_over;
    enforced!(3, named || is_broken(4), "{basis:?} of somebody outside the promotable set");
    let kept = after.promotable.members.is_superset(&before.promotable.members) || starts_over;
    enforced!(5, kept || is_broken(3) || is_broken(4), "a promotion takes members out of the set");
    assert_eq!(after.epoch, before.epoch.next(), "rule 7: every verdict begins the next epoch");
}

/// What broken variants do to the set.
fn plant_in_set(members: &mut BTreeSet<Member>, from: Member, to: Member) {
    if planted(Plant::OldMasterDropped) && from != to {
        members.remove(&from);
    }
    if planted(Plant::NoMembershipTest)
        || planted(Plant::SetEnlargedByLeader)
        || planted(Plant::MemberByName)
        || planted(Plant::ConfirmedByOffset)
    {
        members.retain(|member| member.node != to.node);
        members.insert(to);
    }
}

/// A replica leaves the promotable set. That the set shrinks without its master's word is safe: the
/// master still needs whoever it believes to be in it.
fn step_back(topology: &mut Topology, node: Member) -> Applied {
    current(topology, node)?;
    let shard = topology.shards.values_mut().find(|shard| shard.members.contains(&node.node));
    let Some(shard) = shard else { return Ok(Vec::new()) };
    if shard.master.node == node.node {
        return refused("a master does not leave the promotable set");
    }
    if !shard.promotable.members.remove(&node) {
        return Ok(Vec::new());
    }
    shard.promotable.version += 1;
    Ok(vec![Change::Promotable(shard.id)])
}

/// A deposed master says where its history ended: this makes exact what the promotion could only
/// take from its last heartbeat.
fn report_end(
    topology: &mut Topology,
    id: ShardId,
    epoch: Epoch,
    by: Member,
    end: ReplOffset,
) -> Applied {
    let shard = topology.shards.get_mut(&id).ok_or(Rejected::UnknownShard)?;
    let takeover = shard.takeovers.iter_mut().find(|takeover| takeover.epoch == epoch);
    let Some(takeover) = takeover else { return refused("no such change of master is remembered") };
    if takeover.from != by {
        return Err(Rejected::NotMaster);
    }
    if takeover.cut.exact {
        return Ok(Vec::new());
    }
    takeover.cut.end = end.max(takeover.cut.taken);
    takeover.cut.exact = true;
    Ok(vec![Change::Takeover { shard: id, epoch }])
}

fn has_restarted(topology: &Topology, member: Member) -> bool {
    topology.nodes.get(&member.node).is_some_and(|node| node.incarnation > member.incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotward_types::Incarnation;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 20])
    }

    fn run(number: u8, incarnation: u64) -> Member {
        Member { node: id(number), incarnation: Incarnation(incarnation) }
    }

    fn registration(number: u8, incarnation: u64, kind: NodeKind) -> Entry {
        Entry::Register(Registration {
            member: run(number, incarnation),
            host: "127.0.0.1".to_owned(),
            port: 7000 + u16::from(number),
            cport: 17000 + u16::from(number),
            kind,
            zone: String::new(),
            priority: 100,
        })
    }

    fn ranges(start: u16, end: u16) -> SlotRanges {
        SlotRanges::try_from(vec![(start, end)]).unwrap()
    }

    struct Log(Topology, u64);

    impl Log {
        fn new(nodes: u8) -> Self {
            let mut log = Log(Topology::default(), 0);
            for number in 1..=nodes {
                log.ok(registration(number, 1, NodeKind::Cluster));
            }
            log
        }

        fn apply(&mut self, entry: Entry) -> Applied {
            self.1 += 1;
            let before = self.0.clone();
            let outcome = apply(&mut self.0, self.1, &entry);
            if outcome.is_err() {
                assert_eq!(self.0, before, "a refused entry left a trace: {entry:?}");
            }
            outcome
        }

        fn ok(&mut self, entry: Entry) -> Vec<Change> {
            let said = format!("{entry:?}");
            self.apply(entry).unwrap_or_else(|error| panic!("{said}: {error}"))
        }

        fn meet_all(&mut self) {
            let nodes: Vec<NodeId> = self.0.nodes.keys().copied().collect();
            for node in nodes {
                self.ok(Entry::Meet { by: node, host: "127.0.0.1".into(), port: 7001 });
            }
        }

        /// A shard of `nodes` members, served, all promotable.
        fn shard_of_three() -> (Self, ShardId) {
            let mut log = Log::new(3);
            log.ok(Entry::AddSlots { node: run(1, 1), slots: SlotRanges::full() });
            log.meet_all();
            for number in [2, 3] {
                log.ok(Entry::Replicate { node: run(number, 1), master: id(1) });
            }
            let shard = *log.0.shards.keys().next().unwrap();
            log.ok(Entry::Serve { shard, epoch: Epoch(1), by: run(1, 1) });
            let members = BTreeSet::from([run(1, 1), run(2, 1), run(3, 1)]);
            let by = run(1, 1);
            log.ok(Entry::SetPromotable { shard, epoch: Epoch(1), version: 1, by, members });
            (log, shard)
        }
    }

    #[test]
    fn redis_cli_creates_a_cluster() {
        let mut log = Log::new(6);
        for (number, start, end) in [(1, 0, 5460), (2, 5461, 10922), (3, 10923, 16383)] {
            log.ok(Entry::AddSlots { node: run(number, 1), slots: ranges(start, end) });
        }
        for number in 1..=6 {
            let epoch = Epoch(u64::from(number));
            log.ok(Entry::SetConfigEpoch { node: run(number, 1), epoch });
        }
        assert_eq!(log.0.visible_to(Some(id(2))).len(), 1, "alone until it is met");
        log.meet_all();
        assert_eq!(log.0.visible_to(Some(id(2))).len(), 6);
        for (replica, master) in [(4, 1), (5, 2), (6, 3)] {
            log.ok(Entry::Replicate { node: run(replica, 1), master: id(master) });
        }
        let epochs: BTreeSet<Epoch> = log.0.shards.values().map(|shard| shard.epoch).collect();
        assert_eq!(epochs.len(), 3, "epochs come out distinct");
        let names: Vec<&str> = log.0.shards.values().map(|shard| shard.name.as_str()).collect();
        assert_eq!(names, ["shard-1", "shard-2", "shard-3"]);
        assert_eq!(log.0.slots_assigned(), 16_384);
        assert!(log.0.shards.values().all(|shard| shard.members.len() == 2));
    }

    #[test]
    fn a_plain_group_forms_by_registering() {
        let mut log = Log(Topology::default(), 0);
        let plain = || NodeKind::Plain { group: "mymaster".to_owned() };
        for number in 1..=3 {
            log.ok(registration(number, 1, plain()));
        }
        let shard = log.0.shard_named("mymaster").unwrap();
        assert_eq!((shard.master, shard.members.len()), (run(1, 1), 3));
        assert_eq!(shard.promotable.members, BTreeSet::from([run(1, 1)]));
        let other = registration(4, 1, NodeKind::Plain { group: String::new() });
        assert!(log.apply(other).is_err(), "a group needs a name");
    }

    #[test]
    fn what_clients_are_refused() {
        let (mut log, _) = Log::shard_of_three();
        let one = || ranges(0, 0);
        let table = [
            (
                "slots that have an owner",
                Entry::AddSlots { node: run(1, 1), slots: one() },
                "ERR Slot 0 is already busy",
            ),
            (
                "a replica takes no slots",
                Entry::AddSlots { node: run(2, 1), slots: one() },
                "ERR not the master of this shard",
            ),
            (
                "a run that is not the registered one",
                Entry::DelSlots { node: run(1, 2), slots: one() },
                "ERR this run of the node is not the registered one",
            ),
            (
                "an owner of slots follows nobody",
                Entry::Replicate { node: run(1, 1), master: id(2) },
                "ERR I can only replicate a master, not a replica.",
            ),
            (
                "itself",
                Entry::Replicate { node: run(1, 1), master: id(1) },
                "ERR Can't replicate myself",
            ),
            ("its master", Entry::Forget { by: id(2), node: id(1) }, "ERR Can't forget my master!"),
            (
                "itself again",
                Entry::Forget { by: id(2), node: id(2) },
                "ERR I tried hard but I can't forget myself...",
            ),
            (
                "who never registered",
                Entry::Meet { by: id(1), host: "10.0.0.1".into(), port: 1 },
                "ERR No node at 10.0.0.1:1 has registered with the sentinels; start it with the same sentinels",
            ),
        ];
        for (why, entry, want) in table {
            assert_eq!(log.apply(entry).unwrap_err().to_string(), want, "{why}");
        }
    }

    #[test]
    fn a_promotion_names_what_it_was_decided_on() {
        let promote = |shard, epoch, to, basis| {
            let cut = None;
            Entry::Promote { shard, epoch, to, basis, cut }
        };
        let (mut log, shard) = Log::shard_of_three();
        let unknown = promote(ShardId(9), Epoch(1), run(2, 1), Basis::RanOut);
        assert_eq!(log.apply(unknown), Err(Rejected::UnknownShard));
        log.ok(registration(3, 2, NodeKind::Cluster));
        for (why, epoch, to, basis, want) in [
            (
                "an epoch that has passed",
                0,
                run(2, 1),
                Basis::RanOut,
                Rejected::StaleEpoch(Epoch(1)),
            ),
            ("an earlier run", 1, run(3, 1), Basis::RanOut, Rejected::StaleIncarnation),
            ("a restarted member", 1, run(3, 2), Basis::Gone, Rejected::NotPromotable),
            ("another than the master", 1, run(2, 1), Basis::Confirmed, Rejected::NotPromotable),
            (
                "somebody has not restarted",
                1,
                run(3, 2),
                Basis::AllRestarted,
                Rejected::NotPromotable,
            ),
            ("it has served", 1, run(2, 1), Basis::NeverServed, Rejected::NotPromotable),
        ] {
            assert_eq!(log.apply(promote(shard, Epoch(epoch), to, basis)), Err(want), "{why}");
        }
        log.ok(promote(shard, Epoch(1), run(2, 1), Basis::Gone));
        let after = &log.0.shards[&shard];
        assert_eq!((after.epoch, after.master, after.waived), (Epoch(2), run(2, 1), true));
        assert!(after.promotable.members.contains(&run(1, 1)), "the old master stays in the set");
        let again = promote(shard, Epoch(1), run(1, 1), Basis::Gone);
        assert_eq!(log.apply(again), Err(Rejected::StaleEpoch(Epoch(2))), "decided twice");
    }

    /// A promotion of node `to` by the old master's last heartbeat.
    fn promote_with(shard: ShardId, epoch: u64, to: Member, taken: u64, end: u64) -> Entry {
        let cut = Cut { taken: ReplOffset(taken), end: ReplOffset(end), exact: false };
        Entry::Promote { shard, epoch: Epoch(epoch), to, basis: Basis::Gone, cut: Some(cut) }
    }

    #[test]
    fn a_replica_that_stops_steps_back() {
        let (mut log, shard) = Log::shard_of_three();
        let version = |log: &Log| log.0.shards[&shard].promotable.version;
        let before = version(&log);
        assert!(log.apply(Entry::StepBack { node: run(1, 1) }).is_err(), "the master");
        let other_run = log.apply(Entry::StepBack { node: run(2, 7) });
        assert_eq!(other_run, Err(Rejected::StaleIncarnation));
        assert_eq!(log.ok(Entry::StepBack { node: run(2, 1) }), [Change::Promotable(shard)]);
        assert_eq!(version(&log), before + 1);
        assert_eq!(log.ok(Entry::StepBack { node: run(2, 1) }), [], "it is out already");
        let to = run(2, 1);
        let promoted = log.apply(promote_with(shard, 1, to, 1, 1));
        assert_eq!(promoted, Err(Rejected::NotPromotable));
    }

    #[test]
    fn a_change_of_master_records_what_it_left_behind() {
        let (mut log, shard) = Log::shard_of_three();
        let (m, r) = (run(1, 1), run(2, 1));
        let report = |epoch, by, end| Entry::ReportEnd {
            shard,
            epoch: Epoch(epoch),
            by,
            end: ReplOffset(end),
        };
        log.ok(promote_with(shard, 1, r, 100, 120));
        for (why, entry, want) in [
            ("somebody else", report(2, r, 130), Rejected::NotMaster),
            ("another run", report(2, run(1, 2), 130), Rejected::NotMaster),
            (
                "no such shard",
                Entry::ReportEnd { shard: ShardId(9), epoch: Epoch(2), by: m, end: ReplOffset(1) },
                Rejected::UnknownShard,
            ),
        ] {
            assert_eq!(log.apply(entry), Err(want), "{why}");
        }
        assert!(log.apply(report(1, m, 130)).is_err(), "no master was deposed by that epoch");
        let cut = |log: &Log| log.0.shards[&shard].last_takeover().unwrap().cut;
        assert_eq!((cut(&log).lost_bytes(), cut(&log).exact), (20, false));
        let changed = log.ok(report(2, m, 135));
        assert_eq!(changed, [Change::Takeover { shard, epoch: Epoch(2) }]);
        assert_eq!((cut(&log).lost_bytes(), cut(&log).exact), (35, true));
        assert_eq!(log.ok(report(2, m, 150)), [], "it is known exactly already");
        // A confirmation of the same master leaves nothing behind.
        let basis = Basis::Confirmed;
        log.ok(Entry::Promote { shard, epoch: Epoch(2), to: r, basis, cut: None });
        assert_eq!(log.0.shards[&shard].takeovers.len(), 1);
    }

    #[test]
    fn a_history_that_missed_takeovers_is_shared_up_to_the_earliest_of_them() {
        let (mut log, shard) = Log::shard_of_three();
        log.ok(promote_with(shard, 1, run(2, 1), 100, 120));
        log.ok(promote_with(shard, 2, run(1, 1), 90, 300));
        let shared =
            |epoch, offset| log.0.shards[&shard].shared_with(Epoch(epoch), ReplOffset(offset)).0;
        for (why, epoch, offset, want) in [
            ("the present master's", 3, 500, 500),
            ("of the epoch before", 2, 500, 90),
            ("less than was taken", 2, 80, 80),
            ("two takeovers ago", 1, 500, 90),
            ("nothing at all", 0, 500, 0),
        ] {
            assert_eq!(shared(epoch, offset), want, "{why}");
        }
    }

    #[test]
    fn only_the_last_takeovers_are_remembered() {
        let (mut log, shard) = Log::shard_of_three();
        for epoch in 1..=TAKEOVERS_MAX as u64 + 3 {
            let to = if epoch % 2 == 1 { run(2, 1) } else { run(1, 1) };
            log.ok(promote_with(shard, epoch, to, epoch, epoch));
        }
        let takeovers = &log.0.shards[&shard].takeovers;
        assert_eq!(takeovers.len(), TAKEOVERS_MAX);
        assert_eq!(takeovers[0].epoch, Epoch(5), "the oldest go first");
    }

    #[test]
    fn when_all_have_restarted_the_set_starts_over() {
        let (mut log, shard) = Log::shard_of_three();
        for number in 1..=3 {
            log.ok(registration(number, 2, NodeKind::Cluster));
        }
        let to = run(3, 2);
        let basis = Basis::AllRestarted;
        log.ok(Entry::Promote { shard, epoch: Epoch(1), to, basis, cut: None });
        assert_eq!(log.0.shards[&shard].promotable.members, BTreeSet::from([to]));
    }

    #[test]
    fn only_the_master_changes_the_set_and_only_the_one_it_knows() {
        let (mut log, shard) = Log::shard_of_three();
        let set = |epoch, version, by, members: &[Member]| Entry::SetPromotable {
            shard,
            epoch: Epoch(epoch),
            version,
            by,
            members: members.iter().copied().collect(),
        };
        let (m, r) = (run(1, 1), run(2, 1));
        for (why, entry, want) in [
            ("a replica", set(1, 2, r, &[m, r]), Rejected::NotMaster),
            ("an old version", set(1, 1, m, &[m]), Rejected::StaleVersion(2)),
            ("an old epoch", set(0, 2, m, &[m]), Rejected::StaleEpoch(Epoch(1))),
            ("a run that never was", set(1, 2, m, &[m, run(2, 7)]), Rejected::StaleIncarnation),
        ] {
            assert_eq!(log.apply(entry), Err(want), "{why}");
        }
        assert!(log.apply(set(1, 2, m, &[r])).is_err(), "without the master");
        log.ok(set(1, 2, m, &[m, r]));
        log.ok(Entry::Forget { by: id(1), node: id(2) });
        assert_eq!(log.0.shards[&shard].promotable.version, 4, "leaving raises the version");
        log.ok(Entry::Forget { by: id(3), node: id(2) });
    }

    #[test]
    fn a_node_started_anew_at_an_address_replaces_the_one_nobody_met() {
        let mut log = Log::new(1);
        let Entry::Register(mut anew) = registration(9, 1, NodeKind::Cluster) else { panic!() };
        anew.port = 7001;
        let changes = log.ok(Entry::Register(anew));
        assert_eq!(changes, [Change::NodeForgotten(id(1)), Change::Node(id(9))]);
    }
}
