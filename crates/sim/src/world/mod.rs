//! The world: virtual time, processes, and what each of them does when something reaches it.
//!
//! Time is in microseconds, so that the whole milliseconds in which the machines count are as coarse
//! here as they are in a process.

mod clients;
mod group;
mod net;
mod node;
mod plane;
mod sentinel;
mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use slotward_cluster::{ShardId, Timing, Topology};
use slotward_failover::{
    Basis, NodeEvent, NodeMachine, NodeState, PersistId, Revocations, SentinelEvent, SentinelId,
    SentinelMachine, ToNode, ToSentinel,
};
use slotward_types::{Epoch, Incarnation, Millis, NodeId};

use crate::check::Watch;
use crate::faults::Faults;
use crate::random::Random;

use clients::Client;
use group::Group;
use net::{ConnId, Net, Tcp};
use plane::{LinkMessage, Plane};

/// A process: sentinels first, then the nodes, shard after shard.
pub type Proc = usize;

/// A millisecond.
pub(crate) const MS: u64 = 1000;

const TICK: u64 = 10 * MS;
const MAINTAIN: u64 = 10 * MS;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// From this everything follows.
    pub seed: u64,
    /// How many sentinels.
    pub sentinels: usize,
    /// How many of them are voters at first.
    pub voters: usize,
    /// How many nodes each shard has.
    pub shards: Vec<usize>,
    /// The times that all keep.
    pub timing: Timing,
    /// By how much the fastest clock is ahead of the slowest, in percent; the drift margin if it is
    /// as large as that of the times.
    pub drift_percent: u64,
    /// How long a silent replication link lasts.
    pub repl_timeout: u64,
}

impl Plan {
    /// One shard of this many nodes and three sentinels with the default times.
    pub fn one_shard(seed: u64, nodes: usize) -> Plan {
        Plan {
            seed,
            sentinels: 3,
            voters: 3,
            shards: vec![nodes],
            timing: Timing::default(),
            drift_percent: 8,
            repl_timeout: 6_000 * MS,
        }
    }
}

enum Machine {
    Sentinel(Box<SentinelMachine>),
    Node(Box<NodeMachine>),
}

/// What survives a crash.
#[derive(Debug, Default)]
struct Disk {
    revoked: Revocations,
    state: NodeState,
    incarnation: u64,
    /// What is being written, in order.
    writing: VecDeque<Kept>,
    free_at: u64,
}

#[derive(Debug, Clone)]
enum Kept {
    Revoked(Revocations),
    State(NodeState),
}

/// A clock of its own: where it began, and how many of its microseconds pass in a million.
#[derive(Debug, Clone, Copy)]
struct Clock {
    offset: u64,
    rate: u64,
}

struct Process {
    machine: Option<Machine>,
    /// Raised by every start; what was meant for an earlier run is dropped.
    run: u64,
    frozen: bool,
    clock: Clock,
    disk: Disk,
    /// Events that came while it was frozen.
    waiting: VecDeque<Event>,
    /// Open connections to the other kind: from a node to sentinels, from a sentinel to nodes.
    streams: BTreeMap<Proc, ConnId>,
    /// When the other end of each was last heard.
    heard: BTreeMap<Proc, u64>,
    /// A node's data; idle in a sentinel.
    plane: Plane,
}

#[derive(Debug, Clone)]
enum Event {
    Tick,
    /// Who leads is told late, but never in the wrong order.
    Elected,
    Sentinel(SentinelEvent),
    Node(NodeEvent),
    Written(PersistId),
    /// On a stream.
    ToSentinel(ConnId, ToSentinel),
    ToNode(ConnId, ToNode),
    /// Carrying out an order takes time.
    OrderDone(u64),
    /// On a replication link.
    Link(ConnId, LinkMessage),
    /// The other end closed it.
    Closed(ConnId),
    /// A client's operation goes on.
    Op(u64),
    /// The process ends of its own accord.
    Exit,
}

impl Event {
    /// What it says, if it is worth a line of its own.
    fn is_quiet(&self) -> bool {
        matches!(
            self,
            Event::Tick
                | Event::ToSentinel(_, ToSentinel::Heartbeat(_))
                | Event::ToNode(_, ToNode::Ack(_) | ToNode::Health(_) | ToNode::Topology(_))
                | Event::Op(_)
                | Event::Node(NodeEvent::LeaseAck(_) | NodeEvent::LeasePing(_))
                | Event::Link(..)
                | Event::OrderDone(_)
        )
    }
}

enum Thing {
    /// Something local to a process is due.
    Due {
        to: Proc,
        run: u64,
        event: Event,
    },
    /// Something has crossed the network.
    Arrive {
        from: Proc,
        to: Proc,
        run: u64,
        event: Event,
    },
    Commit(group::Proposal),
    Maintain,
    Clients,
}

/// Takes the lines of the story.
type Teller = Box<dyn FnMut(&str)>;

/// The world.
pub struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    plan: Plan,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    things: Vec<Option<Thing>>,
    spare: Vec<usize>,
    order: u64,
    procs: Vec<Process>,
    net: Net,
    group: Group,
    clients: Vec<Client>,
    ops: Vec<clients::Op>,
    pub(crate) watch: Watch,
    stops: BTreeSet<Proc>,
    /// Clients ask for nothing.
    pub(crate) idle: bool,
    pub(crate) published: Vec<(u64, &'static str, String)>,
    trace: Option<Teller>,
    /// How many events there have been.
    pub(crate) events: u64,
}

pub(crate) fn node_id(proc: Proc) -> NodeId {
    NodeId::from_bytes([proc as u8 + 1; 20])
}

impl World {
    /// A world in which everything is about to start.
    pub fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed);
        let nodes: usize = plan.shards.iter().sum();
        let procs = (0..plan.sentinels + nodes)
            .map(|proc| Process {
                machine: None,
                run: 0,
                frozen: false,
                clock: Clock {
                    offset: random.below(1_000_000_000) + 10_000_000,
                    rate: clock_rate(&mut random, plan.drift_percent),
                },
                disk: Disk::default(),
                waiting: VecDeque::new(),
                streams: BTreeMap::new(),
                heard: BTreeMap::new(),
                plane: Plane::new(proc, &mut random),
            })
            .collect();
        let mut world = World {
            now: 0,
            random,
            faults: Faults::none(),
            queue: BinaryHeap::new(),
            things: Vec::new(),
            spare: Vec::new(),
            order: 0,
            procs,
            net: Net::default(),
            group: Group::new(plan.timing.clone(), plan.sentinels, plan.voters),
            clients: plan.shards.iter().map(|_| Client::default()).collect(),
            ops: Vec::new(),
            watch: Watch::new(plan.shards.len()),
            stops: BTreeSet::new(),
            idle: false,
            published: Vec::new(),
            trace: None,
            events: 0,
            plan,
        };
        for proc in 0..world.procs.len() {
            world.start(proc);
        }
        world.schedule(MS, Thing::Maintain);
        world.schedule(100 * MS, Thing::Clients);
        world
    }

    /// Has every line of the story told from here on.
    pub fn tell(&mut self, to: impl FnMut(&str) + 'static) {
        self.trace = Some(Box::new(to));
    }

    fn say(&mut self, line: impl FnOnce(&World) -> String) {
        if self.trace.is_some() {
            let text = line(self);
            let text = format!("{:>9.3} ms  {text}", self.now as f64 / MS as f64);
            if let Some(trace) = &mut self.trace {
                trace(&text);
            }
        }
    }

    // --- who is who

    /// Every node.
    pub fn nodes(&self) -> std::ops::Range<Proc> {
        self.plan.sentinels..self.procs.len()
    }

    /// Every sentinel.
    pub fn sentinels(&self) -> std::ops::Range<Proc> {
        0..self.plan.sentinels
    }

    /// Every process.
    pub(crate) fn procs(&self) -> std::ops::Range<Proc> {
        0..self.procs.len()
    }

    fn is_sentinel(&self, proc: Proc) -> bool {
        proc < self.plan.sentinels
    }

    /// The shard, counted from 0, that the node belongs to.
    pub(crate) fn shard_index(&self, node: Proc) -> usize {
        let mut first = self.plan.sentinels;
        for (index, nodes) in self.plan.shards.iter().enumerate() {
            first += nodes;
            if node < first {
                return index;
            }
        }
        unreachable!("{node} is no node")
    }

    /// The nodes of the shard.
    pub fn shard_nodes(&self, shard: usize) -> std::ops::Range<Proc> {
        let first = self.plan.sentinels + self.plan.shards[..shard].iter().sum::<usize>();
        first..first + self.plan.shards[shard]
    }

    pub(crate) fn group_name(shard: usize) -> String {
        format!("shard-{}", (b'a' + shard as u8) as char)
    }

    fn proc_of(&self, node: NodeId) -> Proc {
        self.nodes().find(|&proc| node_id(proc) == node).expect("every node is a process")
    }

    /// How a process is called in the story.
    pub(crate) fn name(&self, proc: Proc) -> String {
        if self.is_sentinel(proc) {
            format!("s{}", proc + 1)
        } else {
            let shard = self.shard_index(proc);
            let index = proc - self.shard_nodes(shard).start + 1;
            format!("{}{index}", (b'a' + shard as u8) as char)
        }
    }

    /// Whether the process runs (frozen or not).
    pub fn alive(&self, proc: Proc) -> bool {
        self.procs[proc].machine.is_some()
    }

    fn usable(&self, proc: Proc) -> bool {
        self.alive(proc) && !self.procs[proc].frozen
    }

    fn local(&self, proc: Proc) -> Millis {
        let clock = self.procs[proc].clock;
        Millis(
            (clock.offset
                + self.now / 1_000_000 * clock.rate
                + self.now % 1_000_000 * clock.rate / 1_000_000)
                / MS,
        )
    }

    fn member(&self, proc: Proc) -> slotward_cluster::Member {
        let incarnation = Incarnation(self.procs[proc].disk.incarnation);
        slotward_cluster::Member { node: node_id(proc), incarnation }
    }

    // --- time

    fn schedule(&mut self, after: u64, thing: Thing) {
        self.order += 1;
        let index = match self.spare.pop() {
            Some(index) => {
                self.things[index] = Some(thing);
                index
            }
            None => {
                self.things.push(Some(thing));
                self.things.len() - 1
            }
        };
        self.queue.push(Reverse((self.now + after, self.order, index)));
    }

    /// Something local to a process, after this time.
    fn due(&mut self, after: u64, to: Proc, event: Event) {
        let run = self.procs[to].run;
        self.schedule(after, Thing::Due { to, run, event });
    }

    fn run_to(&mut self, until: u64) {
        while let Some(&Reverse((at, _, index))) = self.queue.peek() {
            if at > until || self.watch.violation.is_some() {
                break;
            }
            self.queue.pop();
            self.now = at;
            let thing = self.things[index].take().expect("everything queued is there");
            self.spare.push(index);
            self.events += 1;
            self.happen(thing);
        }
        self.now = self.now.max(until);
    }

    /// Lets so many milliseconds pass.
    pub fn run_for(&mut self, ms: u64) {
        self.run_to(self.now + ms * MS);
    }

    /// Lets time pass until this holds, at most so many milliseconds; whether it does.
    pub(crate) fn run_until(&mut self, ms: u64, holds: impl Fn(&World) -> bool) -> bool {
        let until = self.now + ms * MS;
        while !holds(self) && self.now < until && self.watch.violation.is_none() {
            self.run_to(self.now + 50);
        }
        holds(self)
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.now / MS
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Due { to, run, event } => self.reach(to, run, event),
            Thing::Arrive { from, to, run, event } => {
                if self.net.passes(from, to) {
                    self.receive(from, to, run, event);
                } else {
                    self.net.hold_back(from, to, run, event);
                }
            }
            Thing::Commit(proposal) => self.commit(proposal),
            Thing::Maintain => {
                self.maintain();
                self.schedule(MAINTAIN, Thing::Maintain);
            }
            Thing::Clients => {
                self.clients();
                let after = 2 * MS + self.random.below(14 * MS);
                self.schedule(after, Thing::Clients);
            }
        }
    }

    /// An event reaches a process, if it is still the same run, or waits until it thaws.
    fn reach(&mut self, to: Proc, run: u64, event: Event) {
        if !self.alive(to) || self.procs[to].run != run {
            return;
        }
        if self.procs[to].frozen {
            if matches!(event, Event::Tick) {
                self.due(TICK, to, event);
            } else {
                self.procs[to].waiting.push_back(event);
            }
        } else {
            self.handle(to, event);
        }
    }

    fn handle(&mut self, proc: Proc, event: Event) {
        if !event.is_quiet() {
            self.say(|world| world.describe(proc, &event));
        }
        match event {
            Event::Tick => {
                self.due(TICK, proc, Event::Tick);
                if self.is_sentinel(proc) {
                    self.step_sentinel(proc, SentinelEvent::Tick);
                } else {
                    self.step_node(proc, NodeEvent::Tick);
                    self.keep_link(proc);
                }
            }
            Event::Elected => {
                let voters = (0..self.group.voters).map(|s| SentinelId(s as u64)).collect();
                let leader = Some(SentinelId(self.group.leader as u64));
                self.step_sentinel(proc, SentinelEvent::Leader { leader, voters });
            }
            Event::Sentinel(event) => self.step_sentinel(proc, event),
            Event::Node(event) => self.step_node(proc, event),
            Event::Written(id) => self.written(proc, id),
            Event::ToSentinel(conn, message) => {
                let stream = slotward_failover::StreamId(conn.0);
                self.step_sentinel(proc, SentinelEvent::FromNode(stream, message));
            }
            Event::ToNode(conn, message) => self.on_sentinel(proc, conn, message),
            Event::OrderDone(number) => self.order_done(proc, number),
            Event::Link(conn, message) => self.on_link(proc, conn, message),
            Event::Closed(conn) => self.on_closed(proc, conn),
            Event::Op(op) => self.go_on(proc, op),
            Event::Exit => self.kill(proc),
        }
    }

    // --- life and death

    /// Starts a process; a node starts empty.
    pub fn start(&mut self, proc: Proc) {
        self.start_with(proc, 0);
    }

    /// Starts a sentinel that finds the log as it was so many changes ago.
    pub(crate) fn start_behind(&mut self, sentinel: Proc, changes: usize) {
        self.group.on_disk(sentinel, changes);
        self.start(sentinel);
    }

    /// Starts a process; a node still has so many per mille of what it had.
    pub(crate) fn start_with(&mut self, proc: Proc, kept_per_mille: u64) {
        assert!(!self.alive(proc), "{proc} runs already");
        self.procs[proc].run += 1;
        self.procs[proc].frozen = false;
        self.procs[proc].waiting.clear();
        self.say(|world| format!("{} starts", world.name(proc)));
        let machine = if self.is_sentinel(proc) {
            Machine::Sentinel(Box::new(self.new_sentinel(proc)))
        } else {
            Machine::Node(Box::new(self.new_node(proc, kept_per_mille)))
        };
        self.procs[proc].machine = Some(machine);
        if self.is_sentinel(proc) {
            self.due(MS, proc, Event::Elected);
        }
        self.due(MS, proc, Event::Tick);
    }

    /// The process ends, and the kernel closes its connections: who can be reached notices.
    pub fn kill(&mut self, proc: Proc) {
        if self.end(proc) {
            self.say(|world| format!("{} is killed", world.name(proc)));
            for (other, conn) in std::mem::take(&mut self.procs[proc].streams) {
                self.close_to(proc, other, conn);
            }
            for (other, conn) in self.procs[proc].plane.take_links() {
                self.close_to(proc, other, conn);
            }
        }
    }

    /// The machine loses its power: nobody is told.
    pub fn power_off(&mut self, proc: Proc) {
        if self.end(proc) {
            self.say(|world| format!("{} loses its power", world.name(proc)));
            self.procs[proc].streams.clear();
            self.procs[proc].plane.take_links();
            self.net.dark.insert(proc);
        }
    }

    fn end(&mut self, proc: Proc) -> bool {
        if self.procs[proc].machine.take().is_none() {
            return false;
        }
        self.procs[proc].frozen = false;
        // A write that was under way has reached the disk, or it has not.
        while let Some(kept) = self.procs[proc].disk.writing.pop_front() {
            if !self.random.chance(500) {
                break;
            }
            self.keep(proc, kept);
        }
        self.procs[proc].disk.writing.clear();
        true
    }

    /// `SIGSTOP`, or a machine that stands still: everything that comes waits.
    pub fn freeze(&mut self, proc: Proc) {
        if self.usable(proc) {
            self.say(|world| format!("{} freezes", world.name(proc)));
            self.procs[proc].frozen = true;
        }
    }

    /// It goes on. Which of its threads runs first is open.
    pub fn thaw(&mut self, proc: Proc) {
        if !self.procs[proc].frozen {
            return;
        }
        self.say(|world| format!("{} thaws", world.name(proc)));
        self.procs[proc].frozen = false;
        let waiting = std::mem::take(&mut self.procs[proc].waiting);
        let (workers, control): (Vec<Event>, Vec<Event>) =
            waiting.into_iter().partition(|event| matches!(event, Event::Op(_)));
        let (first, second) =
            if self.random.chance(500) { (workers, control) } else { (control, workers) };
        for event in first.into_iter().chain(second) {
            if self.usable(proc) {
                self.handle(proc, event);
            }
        }
    }

    /// Nothing passes from one to the other any more.
    pub fn cut(&mut self, from: Proc, to: Proc) {
        if self.net.cuts.insert((from, to)) {
            self.say(|world| {
                format!("nothing passes from {} to {}", world.name(from), world.name(to))
            });
        }
    }

    /// It passes again; what TCP held back follows.
    pub fn mend(&mut self, from: Proc, to: Proc) {
        if self.net.cuts.remove(&(from, to)) {
            self.say(|world| {
                format!("it passes again from {} to {}", world.name(from), world.name(to))
            });
            self.release_held(from, to);
        }
    }

    /// Cuts both ways between the two.
    pub fn part(&mut self, one: Proc, other: Proc) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Cuts it off from everybody.
    pub fn isolate(&mut self, proc: Proc) {
        for other in self.procs().filter(|&other| other != proc) {
            self.part(proc, other);
        }
    }

    /// Cuts each of them off from everybody.
    pub(crate) fn isolate_all(&mut self, procs: &[Proc]) {
        procs.iter().for_each(|&proc| self.isolate(proc));
    }

    /// Mends all its connections.
    pub fn rejoin(&mut self, proc: Proc) {
        for other in self.procs() {
            self.mend(proc, other);
            self.mend(other, proc);
        }
    }

    /// Everything works again from now on, and everybody runs.
    pub fn heal(&mut self) {
        self.say(|_| "--- the faults end".to_owned());
        self.faults = Faults::none();
        for (from, to) in self.net.cuts.clone() {
            self.mend(from, to);
        }
        for proc in self.procs() {
            self.thaw(proc);
            if !self.alive(proc) {
                self.start(proc);
            }
        }
    }

    // --- disks

    fn persist(&mut self, proc: Proc, id: PersistId, kept: Kept) {
        let took = self.random.below(self.faults.disk_max.max(MS)) + 200;
        let disk = &mut self.procs[proc].disk;
        disk.writing.push_back(kept);
        disk.free_at = disk.free_at.max(self.now) + took;
        let after = disk.free_at - self.now;
        self.due(after, proc, Event::Written(id));
    }

    /// What is written there takes at least so many milliseconds from now on.
    pub(crate) fn stall_disk(&mut self, proc: Proc, ms: u64) {
        self.procs[proc].disk.free_at = self.now + ms * MS;
    }

    fn written(&mut self, proc: Proc, id: PersistId) {
        let kept = self.procs[proc].disk.writing.pop_front().expect("it was being written");
        self.keep(proc, kept);
        if self.is_sentinel(proc) {
            self.step_sentinel(proc, SentinelEvent::Persisted(id));
        } else {
            self.step_node(proc, NodeEvent::Persisted(id));
        }
    }

    fn keep(&mut self, proc: Proc, kept: Kept) {
        let disk = &mut self.procs[proc].disk;
        match kept {
            Kept::Revoked(revoked) => disk.revoked = revoked,
            Kept::State(state) => disk.state = state,
        }
    }

    /// What shells and the network do by themselves: elections, streams, links, copying.
    fn maintain(&mut self) {
        self.elect();
        self.open_streams();
        for sentinel in self.sentinels() {
            self.catch_up_log(sentinel);
        }
    }

    fn connect_now(&self, from: Proc, to: Proc) -> bool {
        self.alive(to) && self.net.both_ways(from, to)
    }

    /// The topology as committed.
    pub(crate) fn topology(&self) -> &Arc<Topology> {
        self.group.newest()
    }

    /// Promotions so far: when, of which shard, why.
    pub(crate) fn promotions(&self) -> &[(u64, ShardId, Basis)] {
        &self.group.promotions
    }

    /// The epoch of the shard, as committed.
    pub fn epoch(&self, shard: usize) -> Epoch {
        let shard = self.topology().shard_named(&World::group_name(shard));
        shard.map_or(Epoch(0), |shard| shard.epoch)
    }
}

/// Rates from the slowest to the fastest that the margin allows; both ends are as likely as all
/// between.
fn clock_rate(random: &mut Random, drift_percent: u64) -> u64 {
    let most = drift_percent * 10_000;
    1_000_000
        + match random.below(3) {
            0 => 0,
            1 => most,
            _ => random.below(most + 1),
        }
}

impl Tcp {
    /// Whether the event belongs to a connection, and to which.
    fn of(event: &Event) -> Option<ConnId> {
        match event {
            Event::ToSentinel(conn, _)
            | Event::ToNode(conn, _)
            | Event::Link(conn, _)
            | Event::Closed(conn) => Some(*conn),
            _ => None,
        }
    }
}
