//! A world in one thread for the tests: nodes with logs, sentinels, one ordered log, virtual time,
//! clocks of different speeds, messages that are late or lost, cuts, freezes, crashes.
//!
//! Openraft is stood in for by one totally ordered log whose leader changes. A node's data plane is
//! a vector of entries; a link copies whole prefixes and carries the lease pings in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slotward_cluster::{Member, NodeKind, ShardId, Takeover, Timing, Topology};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplId, ReplOffset};

use crate::*;

/// A process: sentinels first, then nodes.
pub(crate) type Proc = usize;

/// xorshift, seeded.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What can go wrong, in per mille.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) delay_max: u64,
    pub(crate) long_delay: u64,
    pub(crate) disk_max: u64,
}

/// An entry of a node's data log: the epoch of the master that wrote it, and its number.
pub(crate) type Datum = (u64, u64);

enum Machine {
    Sentinel(Box<SentinelMachine>),
    Node(Box<NodeMachine>),
}

/// What survives a crash.
#[derive(Default)]
struct Disk {
    revoked: Revocations,
    state: NodeState,
    incarnation: u64,
}

struct Process {
    machine: Option<Machine>,
    /// Raised by every start; what was meant for an earlier run is dropped.
    run: u64,
    frozen: bool,
    clock: (u64, u64),
    disk: Disk,
    /// Events that came while it was frozen.
    waiting: VecDeque<Event>,
    data: Vec<Datum>,
    /// A replica's order, and its link while it has one.
    follow: Option<(Epoch, Proc)>,
    link: Option<u64>,
    /// The last epoch in which it was told to be master.
    master_of: Epoch,
    halted: bool,
    writes: u64,
    streams: BTreeMap<Proc, StreamId>,
}

#[derive(Clone)]
enum Event {
    Tick,
    /// Who leads is told late, but never in the wrong order.
    Elected,
    Sentinel(SentinelEvent),
    Node(NodeEvent),
    DiskDone(PersistId, Option<Revocations>, NodeState),
    /// On a link: entries from an index on.
    Data(u64, usize, Vec<Datum>),
    Ping(u64, LeasePing),
}

enum Thing {
    Deliver { to: Proc, run: u64, event: Event },
    Commit { from: Proc, run: u64, id: ProposalId, entry: Entry },
    Maintain,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    queue: BTreeMap<(u64, u64), Thing>,
    order: u64,
    sentinels: usize,
    procs: Vec<Process>,
    /// Directed pairs that nothing passes.
    cuts: BTreeSet<(Proc, Proc)>,
    /// When the last message of a pair arrives: streams keep their order.
    last: BTreeMap<(Proc, Proc), u64>,
    pub(crate) topology: Topology,
    log_index: u64,
    leader: Proc,
    links: u64,
    /// What was acknowledged as held by the whole set, and must never be lost.
    acked: Vec<Datum>,
    pub(crate) published: Vec<(u64, &'static str, String)>,
    pub(crate) promotions: Vec<(u64, Basis)>,
    /// (time, node, epoch) whenever a node begins to accept writes.
    pub(crate) served: Vec<(u64, Proc, Epoch)>,
    stops: BTreeSet<Proc>,
    /// The first broken promise.
    pub(crate) violation: Option<String>,
}

pub(crate) fn node_id(proc: Proc) -> NodeId {
    NodeId::from_bytes([proc as u8 + 1; 20])
}

impl World {
    pub(crate) fn new(seed: u64, sentinels: usize, nodes: usize) -> Self {
        let mut random = Random::new(seed);
        let procs = (0..sentinels + nodes)
            .map(|_| Process {
                machine: None,
                run: 0,
                frozen: false,
                // Rates within the drift margin.
                clock: (random.below(1_000_000) + 10_000, 960 + random.below(81)),
                disk: Disk::default(),
                waiting: VecDeque::new(),
                data: Vec::new(),
                follow: None,
                link: None,
                master_of: Epoch(0),
                halted: true,
                writes: 0,
                streams: BTreeMap::new(),
            })
            .collect();
        let mut world = World {
            now: 0,
            random,
            faults: Faults { delay_max: 2, disk_max: 3, ..Faults::default() },
            queue: BTreeMap::new(),
            order: 0,
            sentinels,
            procs,
            cuts: BTreeSet::new(),
            last: BTreeMap::new(),
            topology: Topology::default(),
            log_index: 0,
            leader: 0,
            links: 0,
            acked: Vec::new(),
            published: Vec::new(),
            promotions: Vec::new(),
            served: Vec::new(),
            stops: BTreeSet::new(),
            violation: None,
        };
        for proc in 0..sentinels + nodes {
            world.start(proc);
        }
        world.schedule(1, Thing::Maintain);
        world
    }

    pub(crate) fn nodes(&self) -> std::ops::Range<Proc> {
        self.sentinels..self.procs.len()
    }

    pub(crate) fn alive(&self, proc: Proc) -> bool {
        self.procs[proc].machine.is_some()
    }

    fn local(&self, proc: Proc) -> Millis {
        let (offset, rate) = self.procs[proc].clock;
        Millis(offset + self.now * rate / 1000)
    }

    fn schedule(&mut self, after: u64, thing: Thing) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), thing);
    }

    fn is_sentinel(&self, proc: Proc) -> bool {
        proc < self.sentinels
    }

    fn member(&self, proc: Proc) -> Member {
        Member { node: node_id(proc), incarnation: Incarnation(self.procs[proc].disk.incarnation) }
    }

    fn proc_of(&self, node: NodeId) -> Option<Proc> {
        self.nodes().find(|&proc| node_id(proc) == node)
    }

    /// Starts a process; a node starts empty.
    pub(crate) fn start(&mut self, proc: Proc) {
        let now = self.local(proc);
        self.procs[proc].run += 1;
        self.procs[proc].frozen = false;
        self.procs[proc].waiting.clear();
        let machine = if self.is_sentinel(proc) {
            let config = SentinelConfig {
                id: SentinelId(proc as u64),
                revoked: self.procs[proc].disk.revoked.clone(),
                topology: Arc::new(self.topology.clone()),
            };
            Machine::Sentinel(Box::new(SentinelMachine::new(now, config)))
        } else {
            self.procs[proc].disk.incarnation += 1;
            let process = &mut self.procs[proc];
            process.data.clear();
            process.follow = None;
            process.link = None;
            process.master_of = Epoch(0);
            process.halted = true;
            let config = NodeConfig {
                registration: Registration {
                    member: self.member(proc),
                    host: "10.0.0.1".to_owned(),
                    port: proc as u16,
                    cport: 0,
                    kind: NodeKind::Plain { group: "mymaster".to_owned() },
                    zone: String::new(),
                    priority: 100,
                },
                sentinels: self.sentinels as u32,
                state: self.procs[proc].disk.state,
                history_epoch: Epoch(0),
                lag_bytes_max: 10,
                stop_wait: Millis(5000),
            };
            Machine::Node(Box::new(NodeMachine::new(now, config)))
        };
        self.procs[proc].machine = Some(machine);
        if self.is_sentinel(proc) {
            self.tell_leader(proc);
        }
        self.tick(proc);
    }

    fn tick(&mut self, proc: Proc) {
        let run = self.procs[proc].run;
        self.schedule(1, Thing::Deliver { to: proc, run, event: Event::Tick });
    }

    fn tell_leader(&mut self, proc: Proc) {
        self.deliver_after(1, proc, Event::Elected);
    }

    fn deliver_after(&mut self, after: u64, to: Proc, event: Event) {
        let run = self.procs[to].run;
        self.schedule(after, Thing::Deliver { to, run, event });
    }

    /// `kill -9`: the kernel closes its streams; who can be reached notices.
    pub(crate) fn kill(&mut self, proc: Proc) {
        if self.procs[proc].machine.take().is_none() {
            return;
        }
        self.procs[proc].frozen = false;
        self.procs[proc].streams.clear();
        for other in 0..self.procs.len() {
            if other != proc && self.passes(proc, other) {
                self.close_stream(other, proc);
            }
        }
        for other in self.nodes() {
            if self.procs[other].follow.is_some_and(|(_, master)| master == proc)
                && self.procs[other].link.is_some()
                && self.passes(proc, other)
            {
                self.procs[other].link = None;
                self.deliver_after(1, other, Event::Node(NodeEvent::LinkDown { closed: true }));
            }
        }
    }

    fn close_stream(&mut self, at: Proc, other: Proc) {
        let Some(stream) = self.procs[at].streams.remove(&other) else { return };
        let event = if self.is_sentinel(at) {
            Event::Sentinel(SentinelEvent::StreamClosed(stream))
        } else {
            Event::Node(NodeEvent::SentinelDown(SentinelId(other as u64)))
        };
        self.deliver_after(1, at, event);
    }

    pub(crate) fn freeze(&mut self, proc: Proc, frozen: bool) {
        self.procs[proc].frozen = frozen;
        if !frozen {
            while let Some(event) = self.procs[proc].waiting.pop_front() {
                self.handle(proc, event);
            }
        }
    }

    /// Nothing passes from one to the other any more, or again.
    pub(crate) fn cut(&mut self, from: Proc, to: Proc, cut: bool) {
        if cut {
            self.cuts.insert((from, to));
        } else {
            self.cuts.remove(&(from, to));
        }
    }

    /// What one sends to the other arrives no earlier than after this time, in order.
    pub(crate) fn hold(&mut self, from: Proc, to: Proc, time: u64) {
        self.last.insert((from, to), self.now + time);
    }

    pub(crate) fn isolate(&mut self, proc: Proc, cut: bool) {
        for other in 0..self.procs.len() {
            self.cut(proc, other, cut);
            self.cut(other, proc, cut);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.faults = Faults { delay_max: 2, disk_max: 3, ..Faults::default() };
        self.cuts.clear();
        for proc in 0..self.procs.len() {
            self.freeze(proc, false);
            if !self.alive(proc) {
                self.start(proc);
            }
        }
    }

    fn passes(&self, from: Proc, to: Proc) -> bool {
        !self.cuts.contains(&(from, to))
    }

    fn both_ways(&self, a: Proc, b: Proc) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }

    fn delay(&mut self) -> u64 {
        if self.random.chance(self.faults.long_delay) {
            return 200 + self.random.below(3000);
        }
        1 + self.random.below(self.faults.delay_max.max(1))
    }

    /// In order per pair; lost when cut, or by chance.
    fn send(&mut self, from: Proc, to: Proc, event: Event) {
        if !self.passes(from, to) || !self.alive(to) || self.random.chance(self.faults.loss) {
            return;
        }
        let at = self.now + self.delay();
        let last = self.last.entry((from, to)).or_default();
        *last = at.max(*last);
        let after = *last - self.now;
        self.deliver_after(after, to, event);
    }

    /// Runs until this time.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            if at > until || self.violation.is_some() {
                break;
            }
            let ((at, _), thing) = self.queue.pop_first().expect("looked at above");
            self.now = at;
            self.happen(thing);
        }
        self.now = until;
    }

    pub(crate) fn run_for(&mut self, time: u64) {
        self.run_until(self.now + time);
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Deliver { to, run, event } => {
                if self.alive(to) && self.procs[to].run == run {
                    if self.procs[to].frozen {
                        if !matches!(event, Event::Tick) {
                            self.procs[to].waiting.push_back(event);
                        } else {
                            self.schedule(10, Thing::Deliver { to, run, event });
                        }
                    } else {
                        self.handle(to, event);
                    }
                }
            }
            Thing::Commit { from, run, id, entry } => self.commit(from, run, id, &entry),
            Thing::Maintain => {
                self.maintain();
                self.schedule(5, Thing::Maintain);
            }
        }
    }

    fn handle(&mut self, proc: Proc, event: Event) {
        match event {
            Event::Tick => {
                let run = self.procs[proc].run;
                let again = Thing::Deliver { to: proc, run, event: Event::Tick };
                self.schedule(10, again);
                if self.is_sentinel(proc) {
                    self.step_sentinel(proc, SentinelEvent::Tick);
                } else {
                    self.step_node(proc, NodeEvent::Tick);
                }
            }
            Event::Elected => {
                let voters = (0..self.sentinels).map(|s| SentinelId(s as u64)).collect();
                let leader = Some(SentinelId(self.leader as u64));
                self.step_sentinel(proc, SentinelEvent::Leader { leader, voters });
            }
            Event::Sentinel(event) => self.step_sentinel(proc, event),
            Event::Node(NodeEvent::FromSentinel(from, message)) => {
                if self.procs[proc].streams.contains_key(&(from.0 as usize)) {
                    self.step_node(proc, NodeEvent::FromSentinel(from, message));
                }
            }
            Event::Node(event) => self.step_node(proc, event),
            Event::DiskDone(id, revoked, state) => {
                if let Some(revoked) = revoked {
                    self.procs[proc].disk.revoked = revoked;
                    self.step_sentinel(proc, SentinelEvent::Persisted(id));
                } else {
                    self.procs[proc].disk.state = state;
                    self.step_node(proc, NodeEvent::Persisted(id));
                }
            }
            Event::Data(link, from, entries) => {
                if self.procs[proc].link == Some(link) && self.procs[proc].data.len() == from {
                    self.procs[proc].data.extend(entries);
                }
            }
            Event::Ping(link, ping) => {
                if self.procs[proc].link == Some(link) {
                    self.step_node(proc, NodeEvent::LeasePing(ping));
                }
            }
        }
    }

    fn data_plane(&self, proc: Proc) -> DataPlane {
        DataPlane {
            repl_id: ReplId::from_bytes([0; 20]),
            offset: ReplOffset(self.procs[proc].data.len() as u64),
        }
    }

    fn step_sentinel(&mut self, proc: Proc, event: SentinelEvent) {
        let now = self.local(proc);
        let mut effects = Vec::new();
        if let Some(Machine::Sentinel(machine)) = &mut self.procs[proc].machine {
            machine.step(now, event, &mut effects);
        }
        for effect in effects {
            self.perform_sentinel(proc, effect);
        }
    }

    fn perform_sentinel(&mut self, proc: Proc, effect: SentinelEffect) {
        let me = SentinelId(proc as u64);
        match effect {
            SentinelEffect::Persist(id, revoked) => {
                let after = 1 + self.random.below(self.faults.disk_max.max(1));
                let done = Event::DiskDone(id, Some(revoked), NodeState::default());
                self.deliver_after(after, proc, done);
            }
            SentinelEffect::ToNode(node, message) => {
                let Some(to) = self.proc_of(node) else { return };
                if self.procs[proc].streams.contains_key(&to) {
                    self.send(proc, to, Event::Node(NodeEvent::FromSentinel(me, message)));
                }
            }
            SentinelEffect::ToPeer(to, message) => {
                let event = Event::Sentinel(SentinelEvent::FromPeer(me, message));
                self.send(proc, to.0 as usize, event);
            }
            SentinelEffect::Propose(id, entry) => self.propose(proc, id, entry),
            SentinelEffect::Probe { node, .. } => {
                let Some(to) = self.proc_of(node) else { return };
                let reached = self.alive(to) && self.both_ways(proc, to);
                let event = Event::Sentinel(SentinelEvent::Probed(node, reached));
                self.deliver_after(2, proc, event);
            }
            SentinelEffect::Publish { channel, message } => {
                if proc == 0 {
                    self.published.push((self.now, channel, message));
                }
            }
        }
    }

    fn step_node(&mut self, proc: Proc, event: NodeEvent) {
        let (now, data) = (self.local(proc), self.data_plane(proc));
        let mut effects = Vec::new();
        if let Some(Machine::Node(machine)) = &mut self.procs[proc].machine {
            machine.step(now, data, event, &mut effects);
        }
        for effect in effects {
            self.perform_node(proc, effect);
        }
        self.check(proc);
    }

    fn perform_node(&mut self, proc: Proc, effect: NodeEffect) {
        match effect {
            NodeEffect::Persist(id, state) => {
                let after = 1 + self.random.below(self.faults.disk_max.max(1));
                self.deliver_after(after, proc, Event::DiskDone(id, None, state));
            }
            NodeEffect::Broadcast(message) => {
                let streams: Vec<(Proc, StreamId)> =
                    self.procs[proc].streams.iter().map(|(&p, &s)| (p, s)).collect();
                for (to, stream) in streams {
                    self.send_up(proc, to, stream, message.clone());
                }
            }
            NodeEffect::Send(to, message) => {
                let to = to.0 as usize;
                if let Some(&stream) = self.procs[proc].streams.get(&to) {
                    self.send_up(proc, to, stream, message);
                }
            }
            NodeEffect::Propose(id, entry) => self.propose(proc, id, entry),
            NodeEffect::Follow { epoch, master, .. } => {
                let to = self.proc_of(master.node).expect("masters are nodes");
                let process = &mut self.procs[proc];
                process.follow = Some((epoch, to));
                process.link = None;
                let epoch = std::mem::take(&mut process.master_of);
                process.halted = false;
                let end = ReplOffset(process.data.len() as u64);
                if epoch > Epoch(0) {
                    let ended = NodeEvent::HistoryEnded { epoch, end };
                    self.deliver_after(1, proc, Event::Node(ended));
                }
            }
            NodeEffect::BecomeMaster { epoch } => {
                let process = &mut self.procs[proc];
                process.follow = None;
                process.link = None;
                process.master_of = epoch;
                process.halted = false;
            }
            NodeEffect::Detach => self.procs[proc].follow = None,
            NodeEffect::Halt(id) => {
                let process = &mut self.procs[proc];
                process.follow = None;
                process.link = None;
                process.halted = true;
                self.deliver_after(1, proc, Event::Node(NodeEvent::Halted(id)));
            }
            NodeEffect::AcceptWrites { epoch, .. } => self.served.push((self.now, proc, epoch)),
            NodeEffect::Lease { .. } | NodeEffect::RefuseWrites | NodeEffect::Publish(_) => {}
            NodeEffect::PingReplicas(ping) => self.ping_replicas(proc, ping),
            NodeEffect::AnswerMaster(ack) => {
                if let Some((_, master)) = self.procs[proc].follow {
                    self.send(proc, master, Event::Node(NodeEvent::LeaseAck(ack)));
                }
            }
            NodeEffect::ProbeMaster { epoch, port, .. } => {
                let to = usize::from(port);
                let reached = self.alive(to) && self.both_ways(proc, to);
                let event = Event::Node(NodeEvent::MasterProbed { epoch, reached });
                self.deliver_after(2, proc, event);
            }
            NodeEffect::Stop => {
                self.stops.insert(proc);
            }
        }
    }

    fn send_up(&mut self, from: Proc, to: Proc, stream: StreamId, message: ToSentinel) {
        self.send(from, to, Event::Sentinel(SentinelEvent::FromNode(stream, message)));
    }

    fn ping_replicas(&mut self, proc: Proc, ping: LeasePing) {
        for replica in self.nodes() {
            if self.procs[replica].follow.is_some_and(|(_, master)| master == proc)
                && let Some(link) = self.procs[replica].link
            {
                self.send(proc, replica, Event::Ping(link, ping));
            }
        }
    }

    /// What shells and the network do by themselves: streams, links, copying, writes, elections.
    fn maintain(&mut self) {
        self.elect();
        self.open_streams();
        for node in self.nodes() {
            if self.alive(node) && !self.procs[node].frozen {
                self.keep_link(node);
                self.write(node);
            }
        }
        for sentinel in 0..self.sentinels {
            self.catch_up_log(sentinel);
        }
    }

    fn usable(&self, proc: Proc) -> bool {
        self.alive(proc) && !self.procs[proc].frozen
    }

    fn leads_majority(&self, leader: Proc) -> bool {
        let reach = (0..self.sentinels)
            .filter(|&s| self.usable(s) && (s == leader || self.both_ways(s, leader)))
            .count();
        self.usable(leader) && reach > self.sentinels / 2
    }

    fn elect(&mut self) {
        let fit: Vec<Proc> = (0..self.sentinels).filter(|&s| self.leads_majority(s)).collect();
        let whim = self.faults.loss > 0 && self.random.chance(2);
        if fit.is_empty() || (fit.contains(&self.leader) && !whim) {
            return;
        }
        self.leader = fit[self.random.below(fit.len() as u64) as usize];
        for sentinel in 0..self.sentinels {
            if self.alive(sentinel) {
                let after = 50 + self.random.below(150);
                self.deliver_after(after, sentinel, Event::Elected);
            }
        }
    }

    fn open_streams(&mut self) {
        for node in self.nodes() {
            for sentinel in 0..self.sentinels {
                let open = self.procs[node].streams.contains_key(&sentinel);
                if open || !self.usable(node) || !self.usable(sentinel) {
                    continue;
                }
                if self.both_ways(node, sentinel) {
                    self.links += 1;
                    let stream = StreamId(self.links);
                    self.procs[node].streams.insert(sentinel, stream);
                    self.procs[sentinel].streams.insert(node, stream);
                    let opened = SentinelEvent::StreamOpened(stream, self.member(node));
                    self.step_sentinel(sentinel, opened);
                    self.step_node(node, NodeEvent::SentinelUp(SentinelId(sentinel as u64)));
                }
            }
        }
        // A cut is noticed by whoever keeps sending, a little later.
        for node in self.nodes() {
            for sentinel in 0..self.sentinels {
                if !self.both_ways(node, sentinel) && self.random.chance(10) {
                    self.close_stream(node, sentinel);
                    self.close_stream(sentinel, node);
                }
            }
        }
    }

    fn keep_link(&mut self, node: Proc) {
        let Some((epoch, master)) = self.procs[node].follow else { return };
        if !self.both_ways(node, master) || !self.usable(master) {
            if self.procs[node].link.is_some() && self.random.chance(20) {
                self.procs[node].link = None;
                self.step_node(node, NodeEvent::LinkDown { closed: false });
            }
            return;
        }
        match self.procs[node].link {
            Some(link) => {
                let from = self.procs[node].data.len();
                let source = &self.procs[master].data;
                if from < source.len() {
                    let entries = source[from..].to_vec();
                    self.send(master, node, Event::Data(link, from, entries));
                }
            }
            // A stale epoch is refused; so is a handshake with one that is not (yet) master.
            None if self.procs[master].master_of == epoch => self.synchronise(node, epoch, master),
            None => {}
        }
    }

    /// Rule 9: continue only if the history is a prefix, else start over (here at one stroke).
    fn synchronise(&mut self, node: Proc, epoch: Epoch, master: Proc) {
        let source = &self.procs[master].data;
        let own = &self.procs[node].data;
        if !source.starts_with(own) {
            let copy = source.clone();
            self.procs[node].data = copy;
        }
        self.links += 1;
        self.procs[node].link = Some(self.links);
        self.step_node(node, NodeEvent::LinkUp { epoch });
    }

    fn serving(&self, node: Proc) -> Option<Epoch> {
        let now = self.local(node);
        match &self.procs[node].machine {
            Some(Machine::Node(machine))
                if !self.procs[node].frozen && !self.procs[node].halted =>
            {
                machine.serving().filter(|(_, until)| now < *until).map(|(epoch, _)| epoch)
            }
            _ => None,
        }
    }

    fn write(&mut self, node: Proc) {
        let Some(epoch) = self.serving(node) else { return };
        self.procs[node].writes += 1;
        let datum = (epoch.0, self.procs[node].writes);
        self.procs[node].data.push(datum);
        let Some(Machine::Node(machine)) = &self.procs[node].machine else { return };
        let own = ReplOffset(self.procs[node].data.len() as u64);
        if let Some(held) = machine.held_by_all(own) {
            let held = &self.procs[node].data[..held.0 as usize];
            if held.len() > self.acked.len() {
                self.acked = held.to_vec();
            }
        }
    }

    /// The promises: one node at a time accepts writes, and whoever does holds all that was
    /// acknowledged as held by the whole set.
    fn check(&mut self, node: Proc) {
        if self.violation.is_some() || self.serving(node).is_none() {
            return;
        }
        let serving: Vec<Proc> =
            self.nodes().filter(|&node| self.serving(node).is_some()).collect();
        if serving.len() > 1 {
            self.violation = Some(format!("{} ms: {serving:?} accept writes at once", self.now));
        } else if !self.procs[node].data.starts_with(&self.acked) {
            self.violation = Some(format!("{} ms: {node} lacks acknowledged writes", self.now));
        }
    }

    fn propose(&mut self, from: Proc, id: ProposalId, entry: Entry) {
        let run = self.procs[from].run;
        let reachable = from == self.leader || self.both_ways(from, self.leader);
        let leading = self.is_sentinel(from) && from != self.leader;
        let lost = self.random.chance(self.faults.loss);
        if !reachable || leading || lost || !self.leads_majority(self.leader) {
            self.tell_outcome(800, from, id, Outcome::Unknown);
            return;
        }
        let after = self.delay() + self.delay();
        self.schedule(after, Thing::Commit { from, run, id, entry });
    }

    fn tell_outcome(&mut self, after: u64, to: Proc, id: ProposalId, outcome: Outcome) {
        let event = if self.is_sentinel(to) {
            Event::Sentinel(SentinelEvent::Proposed(id, outcome))
        } else {
            Event::Node(NodeEvent::Proposed(id, outcome))
        };
        self.deliver_after(after, to, event);
    }

    fn commit(&mut self, from: Proc, run: u64, id: ProposalId, entry: &Entry) {
        self.log_index += 1;
        let outcome = match apply(&mut self.topology, self.log_index, entry) {
            Ok(_) => Outcome::Applied,
            Err(rejected) => Outcome::Rejected(rejected),
        };
        if let (Entry::Promote { basis, .. }, Outcome::Applied) = (entry, &outcome) {
            self.promotions.push((self.now, *basis));
            if *basis == Basis::AllRestarted {
                // Everybody's memory is gone: here nothing is kept on disk.
                self.acked.clear();
            }
        }
        let known = !self.random.chance(self.faults.loss);
        if self.alive(from) && self.procs[from].run == run {
            let outcome = if known { outcome } else { Outcome::Unknown };
            self.tell_outcome(1, from, id, outcome);
        }
        for sentinel in 0..self.sentinels {
            if self.random.chance(900) {
                self.catch_up_log(sentinel);
            }
        }
    }

    fn catch_up_log(&mut self, sentinel: Proc) {
        let reachable = sentinel == self.leader || self.both_ways(sentinel, self.leader);
        let behind = match &self.procs[sentinel].machine {
            Some(Machine::Sentinel(machine)) => machine.topology().version < self.topology.version,
            _ => false,
        };
        if behind && reachable && self.usable(sentinel) {
            let topology = Arc::new(self.topology.clone());
            self.step_sentinel(sentinel, SentinelEvent::Applied(topology));
        }
    }

    // --- what scenarios ask and do ---

    /// Who accepts writes now.
    pub(crate) fn master(&self) -> Option<Proc> {
        self.nodes().find(|&node| self.serving(node).is_some())
    }

    pub(crate) fn leader(&self) -> Proc {
        self.leader
    }

    pub(crate) fn set_size(&self) -> usize {
        self.topology.shards.values().next().map_or(0, |shard| shard.promotable.members.len())
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.topology.shards.values().next().map_or(Epoch(0), |shard| shard.epoch)
    }

    pub(crate) fn shard(&self) -> ShardId {
        *self.topology.shards.keys().next().expect("a shard has formed")
    }

    pub(crate) fn takeovers(&self) -> Vec<Takeover> {
        let shard = self.topology.shards.values().next();
        shard.map_or_else(Vec::new, |shard| shard.takeovers.clone())
    }

    pub(crate) fn data(&self, proc: Proc) -> &[Datum] {
        &self.procs[proc].data
    }

    pub(crate) fn stopped(&self, proc: Proc) -> bool {
        self.stops.contains(&proc)
    }

    pub(crate) fn data_len(&self, proc: Proc) -> usize {
        self.procs[proc].data.len()
    }

    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.log_index += 1;
        apply(&mut self.topology, self.log_index, &Entry::SetTiming(timing)).expect("fits");
    }

    pub(crate) fn tell_node(&mut self, node: Proc, event: NodeEvent) {
        self.step_node(node, event);
    }

    pub(crate) fn tell_sentinel(&mut self, sentinel: Proc, event: SentinelEvent) {
        self.step_sentinel(sentinel, event);
    }

    /// One master serves, everybody else follows it with the same data, all are promotable.
    pub(crate) fn has_converged(&self) -> bool {
        let Some(master) = self.master() else { return false };
        let length = self.procs[master].data.len();
        self.set_size() == self.nodes().len()
            && self.nodes().filter(|&node| node != master).all(|node| {
                let data = &self.procs[node].data;
                self.procs[node].link.is_some()
                    && data.len() + 20 > length
                    && self.procs[master].data.starts_with(data)
            })
    }

    /// How things stand, for the message of a test that fails.
    pub(crate) fn dump(&self) -> String {
        let mut text =
            format!("{} ms, leader {}\n{:#?}\n", self.now, self.leader, self.topology.shards);
        for (proc, process) in self.procs.iter().enumerate() {
            let state = match &process.machine {
                None => "dead".to_owned(),
                Some(Machine::Sentinel(machine)) => {
                    format!(
                        "sentinel at {} revoked {:?}",
                        machine.topology().version,
                        process.disk.revoked
                    )
                }
                Some(Machine::Node(machine)) => format!(
                    "run {} {:?} epoch {} serving {:?} disk {:?} link {:?} data {} streams {:?}",
                    process.disk.incarnation,
                    machine.role(),
                    machine.epoch(),
                    self.serving(proc),
                    process.disk.state,
                    process.link,
                    process.data.len(),
                    process.streams.keys().collect::<Vec<_>>(),
                ),
            };
            text.push_str(&format!("{proc}: {state} frozen {}\n", process.frozen));
        }
        for node in self.topology.nodes.values() {
            text.push_str(&format!("registered {:?}\n", node.member()));
        }
        text.push_str(&format!("cuts {:?}\npromotions {:?}\n", self.cuts, self.promotions));
        text
    }

    /// Runs until that holds, at most so long.
    pub(crate) fn converges_within(&mut self, time: u64) -> bool {
        let until = self.now + time;
        while self.now < until && self.violation.is_none() {
            if self.has_converged() {
                return true;
            }
            self.run_for(20);
        }
        self.has_converged()
    }
}
