//! How sentinels that find each other agree, once and for ever, on the group they form.
//!
//! A state machine without I/O, time or randomness: one decision of the Paxos kind. What is decided
//! is a [`Plan`]: the group's name and its first members. Whoever is asked keeps its promises in a
//! [`Ledger`], which is on disk before the answer leaves. A plan is decided when `needed` sentinels
//! have accepted it under one ballot; a later attempt learns of it from any one of them, since two
//! sets of `needed` overlap as long as `needed` is more than half of all sentinels.
//!
//! **Invariant:** a sentinel that belongs to a group, decided or heard of from a member, answers
//! every other attempt with that group, and never leaves it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use slotward_types::NodeId;

use super::{Member, RaftId};

/// More sentinels than are ever there at once.
const MEMBERS_MAX: usize = 64;

/// The name of a group: random, chosen with its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct GroupId(pub(crate) u128);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl GroupId {
    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<GroupId> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok().map(GroupId)).flatten()
    }
}

/// An attempt's number. Later ones are greater, and no two sentinels use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Ballot {
    round: u64,
    by: RaftId,
}

/// A group as it is to be formed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) group: GroupId,
    /// Its first members.
    pub(crate) members: BTreeMap<RaftId, Member>,
}

impl Plan {
    /// Whether it can be one: a stranger's word is not taken for it.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |(id, member): (&RaftId, &Member)| {
            member.id.parse::<NodeId>().is_ok() && super::raft_id(member) == *id
        };
        (1..=MEMBERS_MAX).contains(&self.members.len()) && self.members.iter().all(sound)
    }
}

/// What a sentinel has bound itself to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    promised: Ballot,
    accepted: Option<(Ballot, Plan)>,
    group: Option<GroupId>,
    /// The plan of that group, if this sentinel learned of it so.
    plan: Option<Plan>,
}

/// What one sentinel asks another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To answer no lower ballot from now on, and to say what it has accepted.
    Prepare(Ballot),
    /// To accept the plan under this ballot.
    Accept(Ballot, Plan),
    /// To take note that the plan is decided.
    Decided(Plan),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The ballot's promise, and what was accepted under a lower one.
    Promised(Ballot, Option<(Ballot, Plan)>),
    /// The plan is accepted under the ballot.
    Accepted(Ballot),
    /// A higher ballot has been promised.
    Refused(Ballot),
    /// It belongs to a group; the plan if it knows it.
    Formed(GroupId, Option<Plan>),
}

impl Ask {
    /// Whether it is one that a sentinel could ask.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Ask::Prepare(_) => true,
            Ask::Accept(_, plan) | Ask::Decided(plan) => plan.is_sound(),
        }
    }
}

impl Answer {
    /// Whether it is one that a sentinel could give.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Answer::Promised(_, Some((_, plan))) | Answer::Formed(_, Some(plan)) => plan.is_sound(),
            _ => true,
        }
    }
}

/// One sentinel's part in the decision.
#[derive(Debug, Clone)]
pub(crate) struct Formation {
    id: RaftId,
    ledger: Ledger,
    attempt: Option<Attempt>,
}

#[derive(Debug, Clone)]
struct Attempt {
    ballot: Ballot,
    needed: usize,
    /// What is proposed if nobody has accepted a plan before.
    wish: Plan,
    promises: BTreeMap<RaftId, Option<(Ballot, Plan)>>,
    /// What is proposed, once enough have promised.
    plan: Option<Plan>,
    accepted: BTreeSet<RaftId>,
}

impl Formation {
    /// Goes on with what `id` has bound itself to.
    pub(crate) fn new(id: RaftId, ledger: Ledger) -> Formation {
        Formation { id, ledger, attempt: None }
    }

    /// What has to be on disk before anything that a call returned leaves this sentinel.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The group that it belongs to.
    pub(crate) fn group(&self) -> Option<GroupId> {
        self.ledger.group
    }

    /// The decided plan, if this sentinel is one of the first members.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.ledger.plan.as_ref().filter(|plan| plan.members.contains_key(&self.id))
    }

    /// Answers another sentinel.
    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        if let Some(group) = self.ledger.group {
            return Answer::Formed(group, self.ledger.plan.clone());
        }
        match ask {
            Ask::Prepare(ballot) | Ask::Accept(ballot, _) if ballot < self.ledger.promised => {
                Answer::Refused(self.ledger.promised)
            }
            Ask::Prepare(ballot) => {
                self.ledger.promised = ballot;
                Answer::Promised(ballot, self.ledger.accepted.clone())
            }
            Ask::Accept(ballot, plan) => {
                self.ledger.promised = ballot;
                self.ledger.accepted = Some((ballot, plan));
                Answer::Accepted(ballot)
            }
            Ask::Decided(plan) => {
                self.belong(plan.group, Some(plan.clone()));
                Answer::Formed(plan.group, Some(plan))
            }
        }
    }

    /// Begins an attempt that needs so many sentinels, this one included, to form a group as
    /// wished. None: it belongs to a group already.
    pub(crate) fn begin(&mut self, needed: usize, wish: Plan) -> Option<Ask> {
        assert!(needed > 0 && wish.members.contains_key(&self.id), "who asks takes part");
        if self.ledger.group.is_some() {
            return None;
        }
        let ballot = Ballot { round: self.ledger.promised.round + 1, by: self.id };
        let promises = BTreeMap::new();
        let accepted = BTreeSet::new();
        self.attempt = Some(Attempt { ballot, needed, wish, promises, plan: None, accepted });
        let mine = self.answer(Ask::Prepare(ballot));
        let next = self.on_answer(self.id, mine);
        Some(next.unwrap_or(Ask::Prepare(ballot)))
    }

    /// Takes an answer to what was asked; what to ask everybody next, if anything.
    pub(crate) fn on_answer(&mut self, from: RaftId, answer: Answer) -> Option<Ask> {
        match answer {
            Answer::Formed(group, plan) => {
                self.belong(group, plan);
                None
            }
            Answer::Refused(ballot) => {
                // The next attempt begins above it.
                self.ledger.promised = self.ledger.promised.max(ballot);
                self.attempt = None;
                None
            }
            Answer::Promised(ballot, accepted) => self.on_promise(from, ballot, accepted),
            Answer::Accepted(ballot) => self.on_accepted(from, ballot),
        }
    }

    /// It has heard from a member that it belongs to this group. False: it belongs to another.
    pub(crate) fn belong(&mut self, group: GroupId, plan: Option<Plan>) -> bool {
        if self.ledger.group.is_some_and(|mine| mine != group) {
            return false;
        }
        self.attempt = None;
        self.ledger.group = Some(group);
        if self.ledger.plan.is_none() {
            self.ledger.plan = plan.filter(|plan| plan.group == group);
        }
        true
    }

    fn on_promise(
        &mut self,
        from: RaftId,
        ballot: Ballot,
        accepted: Option<(Ballot, Plan)>,
    ) -> Option<Ask> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.ballot == ballot)?;
        if attempt.plan.is_some() {
            return None;
        }
        attempt.promises.insert(from, accepted);
        if attempt.promises.len() < attempt.needed {
            return None;
        }
        // What may have been decided already is what has been accepted under the highest ballot.
        let accepted = attempt.promises.values().flatten();
        let plan =
            accepted.max_by_key(|(ballot, _)| *ballot).map_or(&attempt.wish, |(_, plan)| plan);
        let plan = plan.clone();
        attempt.plan = Some(plan.clone());
        let mine = self.answer(Ask::Accept(ballot, plan.clone()));
        // It promised a higher ballot meanwhile: then this attempt is over.
        let Answer::Accepted(_) = mine else {
            self.attempt = None;
            return None;
        };
        let next = self.on_accepted(self.id, ballot);
        Some(next.unwrap_or(Ask::Accept(ballot, plan)))
    }

    fn on_accepted(&mut self, from: RaftId, ballot: Ballot) -> Option<Ask> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.ballot == ballot)?;
        let plan = attempt.plan.clone()?;
        attempt.accepted.insert(from);
        if attempt.accepted.len() < attempt.needed {
            return None;
        }
        let decided = self.belong(plan.group, Some(plan.clone()));
        assert!(decided && self.ledger.plan.as_ref() == Some(&plan), "two plans were decided");
        Some(Ask::Decided(plan))
    }
}

#[cfg(test)]
mod tests;
