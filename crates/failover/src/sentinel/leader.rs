//! What the leader of the Raft group does besides: failovers.
//!
//! A failover holds nothing that must survive it: votes are repeated by the sentinels, promises
//! are kept by the nodes, the verdict is an entry of the log. A new leader begins again.

use std::collections::{BTreeMap, BTreeSet};

use slotward_cluster::{Cut, Member, Phase, Shard, ShardId, Topology};
use slotward_types::{Epoch, Millis, NodeId, ReplOffset};

use super::SentinelEffect;
use super::announce::{instance, publish, publish_master};
use super::watch::Watched;
use crate::entry::{Basis, Entry};
use crate::message::{
    FailoverMode, FailoverRequest, History, LinkState, PeerMessage, Prepare, Prepared, SentinelId,
    ToNode, Vote,
};
use crate::node::{Outcome, ProposalId};
use crate::plant::{Plant, planted};

/// How long answers of members that are heard are waited for once somebody could be promoted.
const ANSWERS_WAIT: Millis = Millis(500);
/// How long a manual failover may take before the old master is confirmed instead.
const HAND_OVER_WAIT: Millis = Millis(5_000);
/// How long a forced failover may take.
const FORCE_WAIT: Millis = Millis(10_000);
/// How long the outcome of a proposal is waited for.
const OUTCOME_WAIT: Millis = Millis(2_000);
/// Requests that wait to be looked at.
const REQUESTS_MAX: usize = 64;

/// What the leader decides on.
pub(super) struct Picture<'a> {
    pub(super) me: SentinelId,
    pub(super) topology: &'a Topology,
    pub(super) nodes: &'a BTreeMap<NodeId, Watched>,
    pub(super) votes: &'a BTreeMap<ShardId, BTreeMap<SentinelId, Vote>>,
    pub(super) voters: &'a BTreeSet<SentinelId>,
    /// How far each shard's master was heard to be, and in which epoch.
    pub(super) reached: &'a BTreeMap<ShardId, (Epoch, ReplOffset)>,
}

impl Picture<'_> {
    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many sentinels have revoked the shard's epoch and say this.
    fn count(&self, shard: &Shard, says: impl Fn(&Vote) -> bool) -> usize {
        let votes = self.votes.get(&shard.id).into_iter().flatten();
        votes
            .filter(|(from, vote)| {
                self.voters.contains(from) && vote.epoch == shard.epoch && says(vote)
            })
            .count()
    }

    /// Objectively down: a majority revoked the epoch and does not hear the master.
    fn is_down(&self, shard: &Shard) -> bool {
        self.count(shard, |vote| !vote.hears) >= self.majority()
    }

    /// Whether this sentinel hears that run of the node.
    fn hears(&self, now: Millis, member: Member) -> bool {
        let timing = &self.topology.timing;
        self.nodes.get(&member.node).is_some_and(|node| node.hears_member(now, member, timing))
    }

    /// The registered run of a member.
    fn run_of(&self, node: NodeId) -> Option<Member> {
        self.topology.nodes.get(&node).map(|node| node.member())
    }

    fn priority(&self, node: NodeId) -> u32 {
        self.topology.nodes.get(&node).map_or(0, |node| node.priority)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The master is objectively down.
    Down,
    /// Somebody asked, and the master is to consent.
    HandOver { to: NodeId },
    /// Somebody asked, and the master is not asked.
    Forced { to: Option<NodeId> },
    /// The same master goes on: the epoch was revoked or promised away (rule 7).
    Confirm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking { not_before: Millis },
    Proposed { id: ProposalId, at: Millis },
}

#[derive(Debug)]
struct Failover {
    /// The epoch that is to end.
    epoch: Epoch,
    why: Why,
    began: Millis,
    stage: Stage,
    asked: Option<Millis>,
    answers: BTreeMap<NodeId, Prepared>,
    /// When somebody could first have been promoted.
    candidate_since: Option<Millis>,
}

impl Failover {
    fn new(now: Millis, epoch: Epoch, why: Why) -> Self {
        Failover {
            epoch,
            why,
            began: now,
            stage: Stage::Asking { not_before: now },
            asked: None,
            answers: BTreeMap::new(),
            candidate_since: None,
        }
    }
}

/// What only the leader keeps.
#[derive(Debug)]
pub(super) struct Leading {
    failovers: BTreeMap<ShardId, Failover>,
    requests: Vec<FailoverRequest>,
}

/// What a failover wants next.
enum Decision {
    Wait,
    Commit(Member, Basis),
    GiveUp,
}

impl Leading {
    pub(super) fn new() -> Self {
        Leading { failovers: BTreeMap::new(), requests: Vec::new() }
    }

    /// Whether a failover of the shard is in progress.
    pub(super) fn is_busy(&self, shard: ShardId) -> bool {
        self.failovers.contains_key(&shard)
    }

    pub(super) fn on_request(&mut self, request: FailoverRequest) {
        if self.requests.len() < REQUESTS_MAX && !self.requests.contains(&request) {
            self.requests.push(request);
        }
    }

    pub(super) fn on_prepared(&mut self, prepared: Prepared) {
        if let Some(failover) = self.failovers.get_mut(&prepared.shard)
            && prepared.epoch == failover.epoch.next()
        {
            failover.answers.insert(prepared.from.node, prepared);
        }
    }

    pub(super) fn on_proposed(&mut self, now: Millis, id: ProposalId, outcome: &Outcome) {
        let found = self.failovers.iter_mut().find(
            |(_, failover)| matches!(failover.stage, Stage::Proposed { id: known, .. } if known == id),
        );
        let Some((&shard, failover)) = found else { return };
        match outcome {
            // The topology with the new epoch ends the failover.
            Outcome::Applied => {}
            Outcome::Rejected(_) | Outcome::Unknown if failover.why == Why::Confirm => {
                self.failovers.remove(&shard);
            }
            // Every entry is conditional: proposing the same again does no harm.
            Outcome::Rejected(_) | Outcome::Unknown => {
                failover.stage = Stage::Asking { not_before: now + Millis(50) };
            }
        }
    }

    /// Moves every failover on. Returns the epochs that this sentinel is to revoke itself.
    pub(super) fn step(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        ids: &mut u64,
        effects: &mut Vec<SentinelEffect>,
    ) -> Vec<(ShardId, Epoch)> {
        let shards = &picture.topology.shards;
        self.failovers
            .retain(|id, failover| shards.get(id).is_some_and(|s| s.epoch == failover.epoch));
        for request in std::mem::take(&mut self.requests) {
            self.begin_requested(now, picture, request, effects);
        }
        let mut revoke = Vec::new();
        for shard in shards.values() {
            self.begin_needed(now, picture, shard, effects);
            let Some(failover) = self.failovers.get_mut(&shard.id) else { continue };
            if matches!(failover.why, Why::Forced { .. }) {
                revoke.push((shard.id, shard.epoch));
            }
            match failover.advance(now, picture, shard, effects) {
                Decision::Wait => {}
                Decision::GiveUp => {
                    self.failovers.remove(&shard.id);
                }
                Decision::Commit(to, basis) => {
                    *ids += 1;
                    failover.commit(now, ProposalId(*ids), picture, shard, (to, basis), effects);
                }
            }
        }
        revoke
    }

    /// A failover that the picture calls for: the master is down; or its epoch was revoked or
    /// promised away while it lives, so that it has to be confirmed in the next (rule 7).
    fn begin_needed(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        shard: &Shard,
        effects: &mut Vec<SentinelEffect>,
    ) {
        if self.failovers.contains_key(&shard.id) {
            return;
        }
        if picture.is_down(shard) {
            publish_master(effects, "+try-failover", picture.topology, shard, "");
            self.failovers.insert(shard.id, Failover::new(now, shard.epoch, Why::Down));
        } else if epoch_is_over(now, picture, shard) && picture.hears(now, shard.master) {
            self.failovers.insert(shard.id, Failover::new(now, shard.epoch, Why::Confirm));
        }
    }

    fn begin_requested(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        request: FailoverRequest,
        effects: &mut Vec<SentinelEffect>,
    ) {
        let Some(shard) = picture.topology.shards.get(&request.shard) else { return };
        if shard.epoch != request.epoch || self.failovers.contains_key(&shard.id) {
            return;
        }
        let to = request.to.or_else(|| best_follower(now, picture, shard));
        let fit = to
            .and_then(|to| picture.run_of(to))
            .filter(|run| run.node != shard.master.node && shard.promotable.members.contains(run));
        let Some(run) = fit else {
            let channel = "-failover-abort-no-good-slave";
            publish_master(effects, channel, picture.topology, shard, "");
            return;
        };
        let consent = request.mode == FailoverMode::HandOver && picture.hears(now, shard.master);
        let why = if consent {
            Why::HandOver { to: run.node }
        } else {
            Why::Forced { to: request.to.map(|_| run.node) }
        };
        publish_master(effects, "+try-failover", picture.topology, shard, "");
        self.failovers.insert(shard.id, Failover::new(now, shard.epoch, why));
    }
}

/// Whether the epoch cannot go on although its master may live: a sentinel that hears the master
/// has revoked it, or a member that is heard has promised a newer one.
fn epoch_is_over(now: Millis, picture: &Picture<'_>, shard: &Shard) -> bool {
    if planted(Plant::PreparedForEver) {
        return false;
    }
    let promised = |node: &NodeId| {
        let Some(run) = picture.run_of(*node).filter(|run| picture.hears(now, *run)) else {
            return false;
        };
        let beat = picture.nodes.get(&run.node).and_then(|watched| watched.heartbeat.as_ref());
        beat.is_some_and(|beat| beat.shard == Some(shard.id) && beat.promised > shard.epoch)
    };
    picture.count(shard, |vote| vote.hears) > 0 || shard.members.iter().any(promised)
}

/// The best of the promotable replicas that are heard, by their last heartbeats; while the master
/// lives, only those that follow it.
fn best_follower(now: Millis, picture: &Picture<'_>, shard: &Shard) -> Option<NodeId> {
    let master_heard = picture.hears(now, shard.master);
    let history = |run: &&Member| {
        let beat = picture.nodes.get(&run.node).and_then(|watched| watched.heartbeat.as_ref());
        beat.filter(|beat| beat.link == LinkState::Up || !master_heard).map(|beat| beat.history)
    };
    let fit = |run: &&Member| {
        run.node != shard.master.node
            && picture.hears(now, **run)
            && picture.priority(run.node) > 0
            && history(run).is_some()
    };
    shard
        .promotable
        .members
        .iter()
        .filter(fit)
        .max_by_key(|run| (history(run), std::cmp::Reverse(picture.priority(run.node))))
        .map(|run| run.node)
}

impl Failover {
    fn advance(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        shard: &Shard,
        effects: &mut Vec<SentinelEffect>,
    ) -> Decision {
        let not_before = match self.stage {
            Stage::Proposed { at, .. } if now.since(at) < OUTCOME_WAIT => return Decision::Wait,
            Stage::Proposed { .. } => now,
            Stage::Asking { not_before } => not_before,
        };
        self.stage = Stage::Asking { not_before };
        if now < not_before {
            return Decision::Wait;
        }
        let down = picture.is_down(shard);
        let master_heard = picture.hears(now, shard.master);
        let confirmed = Decision::Commit(shard.master, Basis::Confirmed);
        match self.why {
            Why::Confirm if master_heard && !down => return confirmed,
            Why::Confirm => return Decision::GiveUp,
            // It came back before anybody could be promoted.
            Why::Down if !down && master_heard => return confirmed,
            Why::Down => {}
            Why::HandOver { .. } if down => self.why = Why::Down,
            Why::HandOver { to } => {
                return self.hand_over(now, picture, shard, to, effects);
            }
            Why::Forced { .. } if now.since(self.began) > FORCE_WAIT => return Decision::GiveUp,
            Why::Forced { .. } => {}
        }
        self.ask_all(now, picture, shard, effects);
        self.choose(now, picture, shard)
    }

    /// Whether it is time to ask again those who have not answered.
    fn ask_due(&mut self, now: Millis, picture: &Picture<'_>) -> bool {
        let due = self.asked.is_none_or(|at| now.since(at) >= picture.topology.timing.heartbeat);
        if due {
            self.asked = Some(now);
        }
        due
    }

    fn ask(&self, node: NodeId, catch_up: Option<ReplOffset>, shard: &Shard) -> SentinelEffect {
        let prepare = Prepare { shard: shard.id, epoch: self.epoch.next(), catch_up };
        SentinelEffect::ToNode(node, ToNode::Prepare(prepare))
    }

    fn ask_all(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        shard: &Shard,
        effects: &mut Vec<SentinelEffect>,
    ) {
        if !self.ask_due(now, picture) {
            return;
        }
        if matches!(self.why, Why::Forced { .. }) {
            let revoke = PeerMessage::Revoke { shard: shard.id, epoch: shard.epoch };
            let others = picture.voters.iter().filter(|&&peer| peer != picture.me);
            effects.extend(others.map(|&peer| SentinelEffect::ToPeer(peer, revoke.clone())));
        }
        for &node in &shard.members {
            let answer = self.answers.get(&node).map(|answer| answer.from);
            if answer.is_none() || answer != picture.run_of(node) {
                effects.push(self.ask(node, None, shard));
            }
        }
    }

    /// The manual failover: the master consents and says how far it is, the successor catches up
    /// to that and promises, the log decides. A consent is final: if this fails, the old master is
    /// confirmed in the next epoch, never in the old one (rule 7).
    fn hand_over(
        &mut self,
        now: Millis,
        picture: &Picture<'_>,
        shard: &Shard,
        to: NodeId,
        effects: &mut Vec<SentinelEffect>,
    ) -> Decision {
        let consent =
            self.answers.get(&shard.master.node).filter(|p| p.from == shard.master).copied();
        let ready = self.answers.get(&to).copied().filter(|p| picture.run_of(to) == Some(p.from));
        if let (Some(consent), Some(ready)) = (consent, ready) {
            let caught_up = ready.history >= consent.history;
            let member = shard.promotable.members.contains(&ready.from);
            return if caught_up && member {
                Decision::Commit(ready.from, Basis::Consent)
            } else {
                Decision::Commit(shard.master, Basis::Confirmed)
            };
        }
        if now.since(self.began) > HAND_OVER_WAIT {
            if !picture.hears(now, shard.master) {
                return Decision::Wait;
            }
            let channel = "-failover-abort-slave-timeout";
            publish_master(effects, channel, picture.topology, shard, "");
            return Decision::Commit(shard.master, Basis::Confirmed);
        }
        let first = self.asked.is_none();
        if consent.is_some() && self.candidate_since.is_none() {
            // The next question follows the answer at once.
            self.candidate_since = Some(now);
            self.asked = None;
        }
        if self.ask_due(now, picture) {
            effects.push(match consent {
                None => self.ask(shard.master.node, None, shard),
                Some(consent) => self.ask(to, Some(consent.history.offset), shard),
            });
            if let Some(node) = picture.topology.nodes.get(&to).filter(|_| first) {
                publish(effects, "+selected-slave", instance(picture.topology, shard, node));
            }
        }
        Decision::Wait
    }

    /// The answers that count: of the registered run of a member.
    fn answered<'a>(
        &'a self,
        picture: &'a Picture<'_>,
        shard: &'a Shard,
    ) -> impl Iterator<Item = &'a Prepared> + 'a {
        self.answers.values().filter(move |answer| {
            shard.members.contains(&answer.from.node)
                && picture.run_of(answer.from.node) == Some(answer.from)
        })
    }

    /// Who is to be master, when that may be said, and why it is safe.
    fn choose(&mut self, now: Millis, picture: &Picture<'_>, shard: &Shard) -> Decision {
        let ran_out = picture.count(shard, |vote| vote.ack_left == Millis(0)) >= picture.majority()
            || planted(Plant::NoLeaseWait);
        let (candidates, restarted) = self.candidates(picture, shard);
        if candidates.is_empty() {
            return Decision::Wait;
        }
        let since = *self.candidate_since.get_or_insert(now);
        if !self.all_answered(now, picture, shard) && now.since(since) < ANSWERS_WAIT {
            return Decision::Wait;
        }
        let best = self.best(picture, shard, &candidates);
        if best.from == shard.master || goes_on(picture, shard, &best) {
            return Decision::Commit(best.from, Basis::Confirmed);
        }
        if shard.phase == Phase::New {
            return Decision::Commit(best.from, Basis::NeverServed);
        }
        let gone = picture.count(shard, |vote| vote.gone) >= picture.majority()
            && !picture.topology.timing.fencing_strict
            && saw_the_end(picture, &best, self.epoch);
        match (restarted, gone, ran_out) {
            (true, _, true) => Decision::Commit(best.from, Basis::AllRestarted),
            (false, true, _) => Decision::Commit(best.from, Basis::Gone),
            (false, false, true) => Decision::Commit(best.from, Basis::RanOut),
            _ => Decision::Wait,
        }
    }

    /// Whether every member that is heard has answered. A master that a majority cannot hear is not
    /// waited for.
    fn all_answered(&self, now: Millis, picture: &Picture<'_>, shard: &Shard) -> bool {
        let down = picture.is_down(shard).then_some(shard.master);
        shard.members.iter().all(|&node| {
            if down.is_some_and(|master| picture.run_of(node) == Some(master)) {
                return true;
            }
            let Some(run) = picture.run_of(node) else { return true };
            !picture.hears(now, run)
                || self.answers.get(&node).is_some_and(|answer| answer.from == run)
        })
    }

    /// Who may be promoted: members of the promotable set in the same run (rule 4). If there is
    /// none because every member of the set has restarted and answered, everybody who answered: a
    /// replica that had not yet joined the set may hold more than they brought back from disk.
    fn candidates(&self, picture: &Picture<'_>, shard: &Shard) -> (Vec<Prepared>, bool) {
        let willing = |answer: &&Prepared| {
            picture.priority(answer.from.node) > 0 || answer.from == shard.master
        };
        if shard.phase == Phase::New {
            return (self.answered(picture, shard).filter(willing).copied().collect(), false);
        }
        let set = &shard.promotable.members;
        let mut unrestarted: Vec<Prepared> = self
            .answered(picture, shard)
            .filter(|answer| is_candidate(set, answer.from) || goes_on(picture, shard, answer))
            .filter(willing)
            .copied()
            .collect();
        // A master that a majority of sentinels cannot hear would soon be voted down again.
        if picture.is_down(shard) && unrestarted.iter().any(|answer| answer.from != shard.master) {
            unrestarted.retain(|answer| answer.from != shard.master);
        }
        if !unrestarted.is_empty() {
            return (unrestarted, false);
        }
        let answers: Vec<Prepared> = self
            .answered(picture, shard)
            .filter(|answer| willing(answer) || set.iter().any(|run| run.node == answer.from.node))
            .copied()
            .collect();
        let all = set.iter().all(|run| {
            answers.iter().any(|a| a.from.node == run.node && a.from.incarnation > run.incarnation)
        });
        if all { (answers, true) } else { (Vec::new(), false) }
    }

    /// By epoch of the last entry and offset (rule 5); then priority, then the old master's zone.
    fn best(&self, picture: &Picture<'_>, shard: &Shard, candidates: &[Prepared]) -> Prepared {
        if let Why::Forced { to: Some(to) } = self.why
            && let Some(wanted) = candidates.iter().find(|answer| answer.from.node == to)
        {
            return *wanted;
        }
        let zone = |node: NodeId| picture.topology.nodes.get(&node).map(|node| node.zone.as_str());
        let rank = |answer: &&Prepared| {
            let node = answer.from.node;
            let priority = std::cmp::Reverse(picture.priority(node));
            let old_master = node == shard.master.node;
            let same_zone = zone(node) == zone(shard.master.node);
            let history = if planted(Plant::LongestWins) {
                History { epoch: Epoch(0), ..answer.history }
            } else {
                answer.history
            };
            (history, old_master, priority, same_zone, std::cmp::Reverse(node))
        };
        *candidates.iter().max_by_key(rank).expect("there is a candidate")
    }

    fn commit(
        &mut self,
        now: Millis,
        id: ProposalId,
        picture: &Picture<'_>,
        shard: &Shard,
        (to, basis): (Member, Basis),
        effects: &mut Vec<SentinelEffect>,
    ) {
        self.stage = Stage::Proposed { id, at: now };
        if let Some(node) = picture.topology.nodes.get(&to.node).filter(|_| to != shard.master) {
            publish(effects, "+promoted-slave", instance(picture.topology, shard, node));
        }
        let cut = self.cut(picture, shard, to, basis);
        let entry = Entry::Promote { shard: shard.id, epoch: self.epoch, to, basis, cut };
        effects.push(SentinelEffect::Propose(id, entry));
    }

    /// What of the old master's history the new one does not have, as far as is known: exactly, if
    /// the old master has answered that it executes nothing more; else at least as much as it was
    /// heard to have, or as another of its replicas holds.
    fn cut(&self, picture: &Picture<'_>, shard: &Shard, to: Member, basis: Basis) -> Option<Cut> {
        if to == shard.master || basis == Basis::NeverServed {
            return None;
        }
        let new = self.answers.get(&to.node).filter(|answer| answer.from == to)?;
        let taken = shard.shared_with(new.history.epoch, new.history.offset);
        let old = self.answers.get(&shard.master.node).filter(|old| old.from == shard.master);
        if let Some(old) = old.filter(|old| old.was_master) {
            return Some(Cut { taken, end: old.history.offset.max(taken), exact: true });
        }
        let reached = picture.reached.get(&shard.id).filter(|(epoch, _)| *epoch == shard.epoch);
        let held = self.answers.values().filter(|answer| answer.history.epoch == shard.epoch);
        let end = held
            .map(|answer| answer.history.offset)
            .chain(reached.map(|(_, offset)| *offset))
            .fold(taken, ReplOffset::max);
        Some(Cut { taken, end, exact: false })
    }
}

/// Rule 4: members are runs of nodes.
fn is_candidate(set: &BTreeSet<Member>, who: Member) -> bool {
    set.contains(&who)
        || planted(Plant::SetEnlargedByLeader)
        || (planted(Plant::MemberByName) && set.iter().any(|member| member.node == who.node))
}

/// A broken leader takes a restarted master for the master if it holds what anybody was last heard
/// to hold.
fn goes_on(picture: &Picture<'_>, shard: &Shard, answer: &Prepared) -> bool {
    let heard = |node: &NodeId| {
        let watched = picture.nodes.get(node).filter(|_| *node != answer.from.node);
        watched.and_then(|watched| watched.heartbeat.as_ref()).map(|beat| beat.history.offset)
    };
    planted(Plant::ConfirmedByOffset)
        && answer.from.node == shard.master.node
        && answer.from != shard.master
        && Some(answer.history.offset) >= shard.members.iter().filter_map(heard).max()
}

/// Whether the candidate, too, saw the master's process end.
fn saw_the_end(picture: &Picture<'_>, best: &Prepared, epoch: Epoch) -> bool {
    let beat = picture.nodes.get(&best.from.node).and_then(|watched| watched.heartbeat.as_ref());
    best.master_gone
        || beat.is_some_and(|beat| {
            beat.from == best.from && beat.link == LinkState::Gone && beat.promised == epoch.next()
        })
}
