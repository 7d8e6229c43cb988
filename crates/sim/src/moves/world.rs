//! The world: the log of the sentinels, the nodes, and everything that is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slotward_cluster::{Member, MoveId, NodeKind, ShardId, SlotRanges, Topology};
use slotward_failover::{
    Admission, Basis, Entry, MoveConfig, MoveEffect, MoveEvent, MoveRecord, Piece, Plant,
    Registration, StageKey, apply, planted,
};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, Slot};

use super::node::{Data, Node, Record, Reply, What};

/// How many slots there are data in; each shard begins with its share of them.
pub(super) const SLOTS: u16 = 6;

/// Something on its way. Whoever drives the world says when, and whether, it arrives.
#[derive(Debug, Clone)]
pub(super) enum Flight {
    Topology {
        to: usize,
        run: u64,
        topology: Arc<Topology>,
    },
    /// To the sentinels' log.
    Propose(Entry),
    /// The order that follows from a topology, once the node's epoch is on its disk.
    Role {
        to: usize,
        run: u64,
        epoch: Epoch,
    },
    /// The worker barrier.
    Barrier {
        to: usize,
        run: u64,
        id: MoveId,
    },
    Open {
        from: (usize, u64),
        to: usize,
        key: StageKey,
        attempt: u32,
    },
    Piece {
        from: (usize, u64),
        to: usize,
        key: StageKey,
        attempt: u32,
        piece: Piece,
        data: Arc<Data>,
    },
    /// From a target to a source.
    Tell {
        to: usize,
        run: u64,
        event: MoveEvent,
    },
    /// A command between the look-up of the owner and the slot's lock.
    Execute {
        to: usize,
        run: u64,
        slot: u16,
        write: u64,
        routed: Admission,
    },
    Reply {
        to: usize,
        run: u64,
        reply: Reply,
    },
}

impl Flight {
    pub(super) fn to(&self) -> Option<usize> {
        match self {
            Flight::Propose(_) => None,
            Flight::Topology { to, .. }
            | Flight::Role { to, .. }
            | Flight::Barrier { to, .. }
            | Flight::Open { to, .. }
            | Flight::Piece { to, .. }
            | Flight::Tell { to, .. }
            | Flight::Execute { to, .. }
            | Flight::Reply { to, .. } => Some(*to),
        }
    }

    /// Whether the network can lose or repeat it.
    pub(super) fn is_message(&self) -> bool {
        !matches!(
            self,
            Flight::Role { .. }
                | Flight::Barrier { .. }
                | Flight::Execute { .. }
                | Flight::Reply { .. }
        )
    }
}

/// What became of it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Moves begun.
    pub begun: u64,
    /// Moves committed.
    pub committed: u64,
    /// Promotions, of another master or the same.
    pub failovers: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes acknowledged whose loss replication that does not wait allows.
    pub lost_with_tail: u64,
}

/// What is known of a write.
#[derive(Debug, Clone, Copy)]
struct Execution {
    /// Whether the shard of its node owned the slot, and the node was its master, at that moment.
    by_owner: bool,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) in_sync: bool,
    pub(super) truth: Arc<Topology>,
    index: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) flights: Vec<Flight>,
    serial: u64,
    writes: u64,
    executed: BTreeMap<u64, Execution>,
    /// Per slot: what was acknowledged and may not be lost.
    pub(super) acked: Data,
    committed: BTreeSet<MoveId>,
    pub(super) report: Report,
    /// The first broken promise.
    pub(super) violation: Option<String>,
    pub(super) trace: Option<Vec<String>>,
}

pub(super) fn shard(number: u64) -> ShardId {
    ShardId(number)
}

impl World {
    /// Shards of so many nodes each; the first node of each is its master, all are promotable.
    pub(super) fn new(shards: usize, per_shard: usize, in_sync: bool) -> Self {
        let mut world = World {
            now: 1_000,
            in_sync,
            truth: Arc::default(),
            index: 0,
            nodes: Vec::new(),
            flights: Vec::new(),
            serial: 0,
            writes: 0,
            executed: BTreeMap::new(),
            acked: Data::new(),
            committed: BTreeSet::new(),
            report: Report::default(),
            violation: None,
            trace: None,
        };
        for index in 0..shards * per_shard {
            let member = Member { node: node_id(index), incarnation: Incarnation(1) };
            let shard = shard((index / per_shard) as u64 + 1);
            let config = world.config(member);
            world.nodes.push(Node::start(config, shard, 1, Vec::new()));
            world.register(index);
            let (by, host) = (node_id(0), "h".to_owned());
            let port = 7000 + index as u16;
            world.decide(&Entry::Meet { by, host, port }).expect("it has registered");
        }
        let share = SLOTS / shards as u16;
        for number in 0..shards {
            let first = number as u16 * share;
            let slots = SlotRanges::try_from(vec![(first, first + share - 1)]).expect("a range");
            let master = world.nodes[number * per_shard].member;
            world.decide(&Entry::AddSlots { node: master, slots }).expect("free slots");
            let id = world.truth.shard_of(master.node).expect("just created").id;
            let epoch = world.truth.shards[&id].epoch;
            let mut members = BTreeSet::from([master]);
            for replica in 1..per_shard {
                let node = world.nodes[number * per_shard + replica].member;
                let master = master.node;
                world.decide(&Entry::Replicate { node, master }).expect("a master");
                members.insert(node);
            }
            let by = master;
            world.decide(&Entry::Serve { shard: id, epoch, by }).expect("its master");
            let set = Entry::SetPromotable { shard: id, epoch, version: 1, by, members };
            world.decide(&set).expect("its members");
        }
        world.flights.clear();
        for index in 0..world.nodes.len() {
            world.send_topology(index);
        }
        world
    }

    fn config(&self, me: Member) -> MoveConfig {
        MoveConfig {
            me,
            in_sync: self.in_sync,
            lag_bytes_max: 1,
            pause_max: Millis(200),
            stall_max: Millis(300),
            retry: Millis(50),
            attempts_max: 4,
        }
    }

    pub(super) fn say(&mut self, line: impl FnOnce(&World) -> String) {
        let Some(mut trace) = self.trace.take() else { return };
        trace.push(format!("{:>6} {}", self.now, line(self)));
        self.trace = Some(trace);
    }

    pub(super) fn violated(&mut self, what: String) {
        self.say(|_| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    fn register(&mut self, index: usize) {
        let registration = Registration {
            member: self.nodes[index].member,
            host: "h".to_owned(),
            port: 7000 + index as u16,
            cport: 17_000 + index as u16,
            kind: NodeKind::Cluster,
            zone: String::new(),
            priority: 100,
        };
        self.decide(&Entry::Register(registration)).expect("a new run");
    }

    fn send_topology(&mut self, to: usize) {
        let (run, topology) = (self.nodes[to].run, Arc::clone(&self.truth));
        self.flights.push(Flight::Topology { to, run, topology });
    }

    /// The log takes an entry; everybody will hear of it.
    pub(super) fn decide(&mut self, entry: &Entry) -> Result<(), String> {
        self.index += 1;
        let before = self.truth.version;
        let outcome = apply(Arc::make_mut(&mut self.truth), self.index, entry);
        self.say(|_| format!("log: {entry:?}: {outcome:?}"));
        outcome.map_err(|error| error.to_string())?;
        if self.truth.version > before {
            self.committed.extend(self.truth.moves.arrived.keys());
            for to in 0..self.nodes.len() {
                if self.nodes[to].up {
                    self.send_topology(to);
                }
            }
            self.check_all();
        }
        Ok(())
    }

    pub(super) fn master_of(&self, shard: ShardId) -> usize {
        index_of(self.truth.shards[&shard].master.node)
    }

    pub(super) fn owner_of(&self, slot: u16) -> ShardId {
        self.truth.owner_of(real(slot)).expect("every slot has an owner").id
    }

    /// Whether the node holds its shard's lease: detection and promises are somebody else's, here a
    /// promotion waits for nothing and takes the lease at once.
    pub(super) fn has_lease(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        self.truth
            .shards
            .get(&node.shard)
            .is_some_and(|shard| node.acting == Some(shard.epoch) && shard.master == node.member)
    }

    /// One event for a node's machine; `data` travels with a piece, `peer` is who sent it.
    pub(super) fn step(
        &mut self,
        index: usize,
        event: MoveEvent,
        data: &Arc<Data>,
        peer: (usize, u64),
    ) {
        let mut effects = Vec::new();
        let now = Millis(self.now);
        let node = &mut self.nodes[index];
        let position = node.data();
        self.say(|_| format!("n{index} <- {}", brief(&event)));
        let node = &mut self.nodes[index];
        node.machine.step(now, position, event, &mut effects);
        for effect in effects {
            self.say(|_| format!("n{index} -> {effect:?}"));
            self.perform(index, effect, data, peer);
        }
        self.check(index);
    }

    fn perform(&mut self, index: usize, effect: MoveEffect, data: &Arc<Data>, peer: (usize, u64)) {
        let node = &mut self.nodes[index];
        let (run, me) = (node.run, (index, node.run));
        match effect {
            MoveEffect::Propose(entry) => self.flights.push(Flight::Propose(entry)),
            MoveEffect::Append(record) => {
                if let MoveRecord::Install { key, .. } = &record
                    && !self.committed.contains(&key.id)
                {
                    let id = key.id;
                    self.violated(format!(
                        "n{index} shows the copy of move {id} before its commit"
                    ));
                }
                let piece = matches!(record, MoveRecord::Piece { .. });
                let data = if piece { Arc::clone(data) } else { Arc::default() };
                self.append(index, What::Move(record, data));
            }
            MoveEffect::OpenStream { key, attempt, to, slots } => {
                let to = index_of(to.node);
                node.open(key, attempt, to, slots);
                self.flights.push(Flight::Open { from: me, to, key, attempt });
            }
            MoveEffect::CloseStream { id } => {
                node.streams.remove(&id);
            }
            MoveEffect::Pause { id, .. } => {
                self.flights.push(Flight::Barrier { to: index, run, id });
            }
            MoveEffect::SendFinal { id, end, .. } => {
                if let Some(out) = node.streams.get_mut(&id) {
                    out.end = Some(end.0 as usize);
                }
            }
            // Clients that wait are not part of this world: they try again.
            MoveEffect::Resume { .. } | MoveEffect::Redirect { .. } => {}
            MoveEffect::RefuseStream { id, attempt } => {
                let event = MoveEvent::StreamDown { id, attempt };
                self.flights.push(Flight::Tell { to: peer.0, run: peer.1, event });
            }
            MoveEffect::TellStaged { id, attempt, to, upto, held } => {
                let to = index_of(to.node);
                let (run, event) =
                    (self.nodes[to].run, MoveEvent::Staged { id, attempt, upto, held });
                self.flights.push(Flight::Tell { to, run, event });
            }
        }
    }

    fn append(&mut self, index: usize, what: What) {
        self.serial += 1;
        self.nodes[index].append(Record { serial: self.serial, what });
    }

    /// Something arrives.
    pub(super) fn deliver(&mut self, flight: Flight) {
        let none = Arc::default();
        let runs = |world: &World, to: usize, run| world.nodes[to].up && world.nodes[to].run == run;
        match flight {
            Flight::Propose(entry) => drop(self.decide(&entry)),
            Flight::Topology { to, run, topology } if runs(self, to, run) => {
                let epoch = topology.shards[&self.nodes[to].shard].epoch;
                self.step(to, MoveEvent::Topology(topology), &none, (to, run));
                if epoch > self.nodes[to].seen {
                    self.flights.push(Flight::Role { to, run, epoch });
                }
            }
            Flight::Role { to, run, epoch } if runs(self, to, run) => self.take_role(to, epoch),
            Flight::Barrier { to, run, id } if runs(self, to, run) => {
                let end = self.nodes[to].end();
                self.step(to, MoveEvent::Paused { id, end }, &none, (to, run));
            }
            Flight::Open { from, to, key, attempt } if self.nodes[to].up => {
                let event =
                    MoveEvent::StreamOpened { key, attempt, from: self.nodes[from.0].member };
                self.step(to, event, &none, from);
            }
            Flight::Piece { from, to, key, attempt, piece, data } if self.nodes[to].up => {
                let empty = matches!(piece, Piece::Entries(..)) && data.is_empty();
                self.step(to, MoveEvent::Piece { key, attempt, piece, empty }, &data, from);
            }
            Flight::Tell { to, run, event } if runs(self, to, run) => {
                self.step(to, event, &none, (to, run));
            }
            Flight::Execute { to, run, slot, write, routed } if runs(self, to, run) => {
                self.execute(to, slot, write, routed);
            }
            Flight::Reply { to, run, reply } if runs(self, to, run) => self.answer(to, run, reply),
            _ => {}
        }
    }

    /// What the node's own machine of `failover` does with a topology, once the epoch is durable.
    fn take_role(&mut self, index: usize, epoch: Epoch) {
        if epoch <= self.nodes[index].seen {
            return;
        }
        // An epoch's master is the one that the promotion named, whatever happened since.
        let Some((master, set)) = self.promotion(index, epoch) else { return };
        let run = self.nodes[index].run;
        let node = &mut self.nodes[index];
        node.seen = epoch;
        node.streams.clear();
        let event = if master == node.member {
            (node.acting, node.following) = (Some(epoch), None);
            node.set = set.into_iter().filter(|&other| other != index).collect();
            node.acked.clear();
            node.high_water = 0;
            node.inherited = node.log.len();
            MoveEvent::BecameMaster(epoch)
        } else {
            (node.acting, node.following) = (None, Some((epoch, index_of(master.node))));
            MoveEvent::NotMaster
        };
        self.step(index, event, &Arc::default(), (index, run));
    }

    /// The master and the promotable set of an epoch that is still the newest.
    fn promotion(&self, index: usize, epoch: Epoch) -> Option<(Member, BTreeSet<usize>)> {
        let shard = &self.truth.shards[&self.nodes[index].shard];
        let set = shard.promotable.members.iter().map(|member| index_of(member.node)).collect();
        (shard.epoch == epoch).then_some((shard.master, set))
    }

    /// A client's write reaches a node: the owner is looked up, the lock not taken yet.
    pub(super) fn write(&mut self, to: usize, slot: u16) {
        if !self.nodes[to].awake() {
            return;
        }
        let routed = self.nodes[to].machine.admit(real(slot));
        if let Admission::Execute(_) = routed {
            self.writes += 1;
            let (run, write) = (self.nodes[to].run, self.writes);
            self.flights.push(Flight::Execute { to, run, slot, write, routed });
        }
    }

    /// Under the slot's lock: who may execute is asked again, and the effect is logged at once.
    fn execute(&mut self, index: usize, slot: u16, write: u64, routed: Admission) {
        let now = self.nodes[index].machine.admit(real(slot));
        let admitted = if planted(Plant::MoveOwnerBeforeLock) { routed } else { now };
        let (Admission::Execute(_), Some(epoch)) = (admitted, self.nodes[index].acting) else {
            return;
        };
        let by_owner = self.owner_of(slot) == self.nodes[index].shard && self.has_lease(index);
        self.executed.insert(write, Execution { by_owner });
        self.say(|_| {
            format!("n{index} executes write {write} on slot {slot} in epoch {}", epoch.0)
        });
        let at = self.nodes[index].log.len();
        self.append(index, What::Write { slot, write });
        let run = self.nodes[index].run;
        let reply = Reply { slot, write, at, epoch };
        self.flights.push(Flight::Reply { to: index, run, reply });
    }

    /// Rule 10: an answer leaves only in the epoch of its execution, under the lease.
    fn answer(&mut self, to: usize, run: u64, reply: Reply) {
        let node = &self.nodes[to];
        let same_epoch = node.acting == Some(reply.epoch);
        if !(same_epoch || planted(Plant::MoveReplyOfOlderEpoch) && node.acting.is_some()) {
            // A node that was not told yet waits; nothing is said for an epoch that has passed.
            if planted(Plant::MoveReplyOfOlderEpoch) {
                self.flights.push(Flight::Reply { to, run, reply });
            }
            return;
        }
        if !self.has_lease(to) {
            if planted(Plant::MoveReplyOfOlderEpoch) {
                self.flights.push(Flight::Reply { to, run, reply });
            }
            return;
        }
        if self.in_sync && node.held() <= reply.at {
            self.flights.push(Flight::Reply { to, run, reply });
            return;
        }
        let Reply { slot, write, .. } = reply;
        self.say(|_| format!("n{to} acknowledges write {write} on slot {slot}"));
        self.report.acknowledged += 1;
        self.acked.entry(slot).or_default().insert(write);
        if !self.executed[&write].by_owner {
            self.violated(format!(
                "write {write}, executed by n{to}, not the owner of slot {slot}, is acknowledged"
            ));
        }
        self.check_all();
    }

    /// A replica acknowledges what it has and takes some more.
    pub(super) fn pull(&mut self, index: usize, most: usize) {
        let Some((epoch, master)) = self.nodes[index].following else { return };
        let linked = self.nodes[master].awake() && self.nodes[master].acting == Some(epoch);
        if !linked || !self.nodes[index].awake() {
            return;
        }
        let run = self.nodes[index].run;
        if !self.nodes[index].is_prefix_of(&self.nodes[master].log) {
            // A full synchronisation, complete when it takes the old copy's place.
            let (log, stages) =
                (self.nodes[master].log.clone(), self.nodes[master].machine.stages().clone());
            let (live, staged) =
                (self.nodes[master].live.clone(), self.nodes[master].staged.clone());
            let node = &mut self.nodes[index];
            (node.log, node.live, node.staged) = (log, live, staged);
            self.step(index, MoveEvent::Replaced(stages), &Arc::default(), (index, run));
            return;
        }
        let has = self.nodes[index].log.len();
        self.nodes[master].acked.insert(index, has);
        let upto = self.nodes[master].log.len().min(has.saturating_add(most));
        let records = self.nodes[master].log[has..upto].to_vec();
        for record in records {
            let moved = match &record.what {
                What::Move(record, _) => Some(record.clone()),
                What::Write { .. } => None,
            };
            self.nodes[index].append(record);
            if let Some(record) = moved {
                self.step(index, MoveEvent::Replicated(record), &Arc::default(), (index, run));
            }
        }
    }

    /// A source sends its next piece.
    pub(super) fn pump(&mut self, index: usize, id: MoveId, most: usize) {
        if !self.nodes[index].awake() {
            return;
        }
        let node = &mut self.nodes[index];
        let from = (index, node.run);
        if let Some((piece, data)) = node.next_piece(id, most) {
            let out = &node.streams[&id];
            let (to, key, attempt) = (out.to, out.key, out.attempt);
            self.flights.push(Flight::Piece { from, to, key, attempt, piece, data });
        }
    }

    pub(super) fn tick(&mut self, index: usize) {
        if self.nodes[index].awake() {
            let run = self.nodes[index].run;
            self.step(index, MoveEvent::Tick, &Arc::default(), (index, run));
        }
    }

    /// Slots begin to move, if the log agrees.
    pub(super) fn begin(
        &mut self,
        slots: &[u16],
        source: ShardId,
        target: ShardId,
    ) -> Option<MoveId> {
        let slots: SlotRanges = slots.iter().map(|&slot| real(slot)).collect();
        let epoch = |shard| self.truth.shards[&shard].epoch;
        let (source_epoch, target_epoch) = (epoch(source), epoch(target));
        let entry = Entry::BeginMove { slots, source, source_epoch, target, target_epoch };
        self.decide(&entry).ok()?;
        self.report.begun += 1;
        Some(MoveId(self.truth.moves.ever))
    }

    /// Somebody of the promotable set becomes master, or the same master goes on.
    pub(super) fn fail_over(&mut self, shard: ShardId, to: usize) {
        let known = &self.truth.shards[&shard];
        let member = self.nodes[to].member;
        let confirmed = known.master == member;
        if !known.promotable.members.contains(&member) {
            return;
        }
        if !confirmed {
            // A candidate has stopped following before it said how far it is.
            self.nodes[to].following = None;
            self.leave_tail(shard, to);
        }
        let basis = if confirmed { Basis::Confirmed } else { Basis::RanOut };
        let epoch = self.truth.shards[&shard].epoch;
        let entry = Entry::Promote { shard, epoch, to: member, basis, cut: None };
        self.decide(&entry).expect("a promotable member");
        self.report.failovers += 1;
    }

    /// The master of a shard changes who may be promoted: out with runs that ended and with `out`,
    /// in with those that hold what the set has held.
    pub(super) fn keep_set(&mut self, shard: ShardId, out: Option<usize>) {
        let master = self.master_of(shard);
        let node = &self.nodes[master];
        let Some(epoch) = node.acting.filter(|_| node.awake() && self.has_lease(master)) else {
            return;
        };
        let known = &self.truth.shards[&shard];
        let held = node.high_water.max(node.inherited).max(node.held());
        let fits = |index: usize| {
            let replica = &self.nodes[index];
            replica.up
                && replica.following == Some((epoch, master))
                && replica.is_prefix_of(&node.log)
                && replica.log.len() >= held
                && node.acked.get(&index).is_some_and(|&acked| acked >= held)
        };
        let members: BTreeSet<Member> = known
            .members
            .iter()
            .map(|&id| index_of(id))
            .filter(|&index| {
                let member = self.nodes[index].member;
                let stays = known.promotable.members.contains(&member) && self.nodes[index].up;
                index == master || Some(index) != out && (stays || fits(index))
            })
            .map(|index| self.nodes[index].member)
            .collect();
        if members == known.promotable.members {
            return;
        }
        let (version, by) = (known.promotable.version, known.master);
        let set = members.iter().map(|member| index_of(member.node));
        let set: BTreeSet<usize> = set.filter(|&index| index != master).collect();
        // Rule 3 is tried elsewhere: here the master and the log change their minds as one.
        if self.decide(&Entry::SetPromotable { shard, epoch, version, by, members }).is_ok() {
            self.nodes[master].set = set;
        }
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.nodes[index].up = false;
        self.say(|_| format!("n{index} dies"));
    }

    /// A new run, with so much of its log.
    pub(super) fn restart(&mut self, index: usize, keep: usize) {
        let old = &self.nodes[index];
        let incarnation = Incarnation(old.member.incarnation.0 + 1);
        let member = Member { incarnation, ..old.member };
        let log = old.log[..keep.min(old.log.len())].to_vec();
        let (shard, run) = (old.shard, old.run + 1);
        self.say(|_| format!("n{index} starts again with {} records", log.len()));
        self.nodes[index] = Node::start(self.config(member), shard, run, log);
        self.register(index);
    }

    /// One round in which everything works: what is on its way and not held back arrives.
    pub(super) fn round(&mut self, held_back: &dyn Fn(&Flight) -> bool) {
        let (back, now) = std::mem::take(&mut self.flights).into_iter().partition(held_back);
        self.flights = back;
        let (asleep, now): (Vec<Flight>, Vec<Flight>) =
            now.into_iter().partition(|flight| flight.to().is_some_and(|to| self.nodes[to].frozen));
        self.flights.extend(asleep);
        for flight in now {
            self.deliver(flight);
        }
        for index in 0..self.nodes.len() {
            self.pull(index, usize::MAX);
            let streams: Vec<MoveId> = self.nodes[index].streams.keys().copied().collect();
            for id in streams {
                self.pump(index, id, usize::MAX);
            }
            self.tick(index);
        }
        self.now += 5;
    }

    /// The faults stop: everybody runs, every shard has a master.
    pub(super) fn heal(&mut self) {
        for index in 0..self.nodes.len() {
            self.nodes[index].frozen = false;
            if !self.nodes[index].up {
                let keep = self.nodes[index].log.len();
                self.restart(index, keep);
            }
        }
        let shards: Vec<ShardId> = self.truth.shards.keys().copied().collect();
        for &shard in &shards {
            self.replace_lost_master(shard);
        }
        for index in 0..self.nodes.len() {
            self.send_topology(index);
        }
    }

    /// A shard whose master has ended gets another one of the set.
    pub(super) fn replace_lost_master(&mut self, shard: ShardId) {
        let known = &self.truth.shards[&shard];
        let master = index_of(known.master.node);
        if self.nodes[master].up && self.nodes[master].member == known.master {
            return;
        }
        let candidate = known.promotable.members.iter().find(|member| {
            let node = &self.nodes[index_of(member.node)];
            node.up && node.member == **member
        });
        if let Some(candidate) = candidate {
            self.fail_over(shard, index_of(candidate.node));
        }
    }

    pub(super) fn finish(&mut self) {
        self.report.committed = self.committed.len() as u64;
    }
}

pub(super) fn node_id(index: usize) -> NodeId {
    NodeId::from_bytes([index as u8 + 1; 20])
}

pub(super) fn index_of(node: NodeId) -> usize {
    usize::from(node.as_bytes()[0]) - 1
}

pub(super) fn real(slot: u16) -> Slot {
    Slot::new(u64::from(slot)).expect("a small number")
}

fn brief(event: &MoveEvent) -> String {
    match event {
        MoveEvent::Topology(topology) => format!("topology {}", topology.version),
        other => format!("{other:?}"),
    }
}
