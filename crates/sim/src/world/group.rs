//! The sentinels' log: openraft is stood in for by one totally ordered log whose leader changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use slotward_cluster::{ShardId, Timing, Topology};
use slotward_failover::{Basis, Entry, NodeEvent, Outcome, ProposalId, SentinelEvent, apply};

use super::{Event, MS, Proc, Thing, World};

/// An entry on its way into the log.
#[derive(Debug)]
pub(super) struct Proposal {
    from: Proc,
    run: u64,
    id: ProposalId,
    entry: Entry,
    /// Who led when it was proposed.
    leader: Proc,
}

pub(super) struct Group {
    pub(super) leader: Proc,
    /// How many of the sentinels, from the first, are voters.
    pub(super) voters: usize,
    index: u64,
    /// Every topology that there has been, oldest first.
    versions: Vec<Arc<Topology>>,
    /// Per sentinel: how many of them it has applied.
    applied: Vec<usize>,
    pub(super) promotions: Vec<(u64, ShardId, Basis)>,
}

impl Group {
    pub(super) fn new(timing: Timing, sentinels: usize, voters: usize) -> Group {
        let topology = Topology { timing, ..Topology::default() };
        Group {
            leader: 0,
            voters,
            index: 0,
            versions: vec![Arc::new(topology)],
            applied: vec![1; sentinels],
            promotions: Vec::new(),
        }
    }

    pub(super) fn newest(&self) -> &Arc<Topology> {
        self.versions.last().expect("there is a first one")
    }

    /// What a sentinel that starts finds: what it had applied, or something earlier if the last of
    /// it was not yet on disk as applied.
    pub(super) fn on_disk(&mut self, sentinel: Proc, behind: usize) -> Arc<Topology> {
        let applied = &mut self.applied[sentinel];
        *applied = applied.saturating_sub(behind).max(1);
        Arc::clone(&self.versions[*applied - 1])
    }
}

impl World {
    fn leads_majority(&self, leader: Proc) -> bool {
        let reach = self
            .sentinels()
            .filter(|&s| self.usable(s) && (s == leader || self.net.both_ways(s, leader)))
            .count();
        self.usable(leader) && reach > self.plan.sentinels / 2
    }

    pub(super) fn elect(&mut self) {
        let leads = self.leads_majority(self.group.leader);
        if leads && !self.random.chance(self.faults.whim) {
            return;
        }
        let fit: BTreeSet<Proc> = self.sentinels().filter(|&s| self.leads_majority(s)).collect();
        let others: Vec<Proc> = fit.iter().copied().filter(|&s| s != self.group.leader).collect();
        if others.is_empty() {
            return;
        }
        self.group.leader = self.random.one_of(&others);
        self.say(|world| format!("{} leads the group", world.name(world.group.leader)));
        for sentinel in self.sentinels() {
            if self.alive(sentinel) {
                let after = 50 * MS + self.random.below(150 * MS);
                self.due(after, sentinel, Event::Elected);
            }
        }
    }

    pub(super) fn propose(&mut self, from: Proc, id: ProposalId, entry: Entry) {
        let leader = self.group.leader;
        let reachable = from == leader || self.net.both_ways(from, leader);
        let not_leading = self.is_sentinel(from) && from != leader;
        let lost = self.random.chance(self.faults.loss);
        if !reachable || not_leading || lost || !self.leads_majority(leader) {
            self.tell_outcome(800 * MS, from, id, Outcome::Unknown);
            return;
        }
        let mut after = 500 + self.random.below(self.faults.delay_max.max(MS) * 2);
        if self.random.chance(self.faults.long_delay) {
            after += self.random.below(3000 * MS);
        }
        let run = self.procs[from].run;
        self.schedule(after, Thing::Commit(Proposal { from, run, id, entry, leader }));
    }

    fn tell_outcome(&mut self, after: u64, to: Proc, id: ProposalId, outcome: Outcome) {
        let event = if self.is_sentinel(to) {
            Event::Sentinel(SentinelEvent::Proposed(id, outcome))
        } else {
            Event::Node(NodeEvent::Proposed(id, outcome))
        };
        self.due(after, to, event);
    }

    pub(super) fn commit(&mut self, proposal: Proposal) {
        let Proposal { from, run, id, entry, leader } = proposal;
        let same_run = self.alive(from) && self.procs[from].run == run;
        // Appended by a leader that is none any more: it may have been carried over, or lost.
        let lost = leader != self.group.leader && self.random.chance(500);
        if lost || !self.leads_majority(self.group.leader) {
            if same_run {
                self.tell_outcome(MS, from, id, Outcome::Unknown);
            }
            return;
        }
        self.group.index += 1;
        let mut topology = Topology::clone(self.group.newest());
        let outcome = match apply(&mut topology, self.group.index, &entry) {
            Ok(_) => Outcome::Applied,
            Err(rejected) => Outcome::Rejected(rejected),
        };
        self.say(|world| {
            format!("log {}: {}", world.group.index, view_entry(world, &entry, &outcome))
        });
        if outcome == Outcome::Applied && topology.version == self.group.index {
            self.watch.on_topology(self.group.newest(), &topology);
            self.group.versions.push(Arc::new(topology));
            if let Entry::Promote { shard, basis, .. } = &entry {
                self.group.promotions.push((self.now, *shard, *basis));
                self.on_promoted(*shard, *basis);
            }
        }
        let known = !self.random.chance(self.faults.loss);
        if same_run {
            let outcome = if known { outcome } else { Outcome::Unknown };
            let after = 50 + self.random.below(self.faults.delay_max.max(MS));
            self.tell_outcome(after, from, id, outcome);
        }
        self.catch_up_log(self.group.leader);
        for sentinel in self.sentinels() {
            if self.random.chance(700) {
                self.catch_up_log(sentinel);
            }
        }
    }

    fn on_promoted(&mut self, shard: ShardId, basis: Basis) {
        if basis == Basis::AllRestarted {
            // Nobody who had acknowledged anything is left.
            let name = &self.topology().shards[&shard].name;
            let lost = (0..self.plan.shards.len()).find(|&s| World::group_name(s) == *name);
            let lost = lost.expect("every shard was planned");
            self.watch.forget(lost, self.now);
            self.abandon_ops(lost);
        }
    }

    /// A sentinel applies what it has of the log: the next entry, or all.
    pub(super) fn catch_up_log(&mut self, sentinel: Proc) {
        let (have, there) = (self.group.applied[sentinel], self.group.versions.len());
        let leader = self.group.leader;
        let reachable = sentinel == leader || self.net.both_ways(sentinel, leader);
        if have == there || !reachable || !self.usable(sentinel) || !self.leads_majority(leader) {
            return;
        }
        let all = sentinel == leader || self.random.chance(500);
        let applied = if all { there } else { have + 1 };
        self.group.applied[sentinel] = applied;
        let topology = Arc::clone(&self.group.versions[applied - 1]);
        self.step_sentinel(sentinel, SentinelEvent::Applied(topology));
    }

    /// Puts an entry into the log at once (for directed stories).
    pub(crate) fn append(&mut self, entry: &Entry) -> Outcome {
        self.group.index += 1;
        let mut topology = Topology::clone(self.group.newest());
        let outcome = match apply(&mut topology, self.group.index, entry) {
            Ok(_) => Outcome::Applied,
            Err(rejected) => Outcome::Rejected(rejected),
        };
        self.say(|world| {
            format!("log {}: {}", world.group.index, view_entry(world, entry, &outcome))
        });
        if topology.version == self.group.index {
            self.group.versions.push(Arc::new(topology));
        }
        outcome
    }

    /// So many of the sentinels are voters; they learn of it when they next learn who leads.
    pub(crate) fn set_voters(&mut self, voters: usize) {
        self.group.voters = voters;
    }

    /// The sentinel learns who leads and who votes.
    pub(crate) fn regroup(&mut self, sentinel: Proc) {
        self.due(100, sentinel, Event::Elected);
    }

    /// Who leads the sentinels.
    pub(crate) fn leader(&self) -> Proc {
        self.group.leader
    }
}

fn view_entry(world: &World, entry: &Entry, outcome: &Outcome) -> String {
    let text = world.describe_entry(entry);
    match outcome {
        Outcome::Applied => text,
        Outcome::Rejected(why) => format!("{text}: refused: {why}"),
        Outcome::Unknown => format!("{text}: unknown"),
    }
}
