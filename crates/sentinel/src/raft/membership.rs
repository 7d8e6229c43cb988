//! How this sentinel comes to belong to a group: it looks for one, forms one, joins one, and keeps
//! its address in it true.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::errors::{InitializeError, RaftError};
use slotward_proto::raft::raft_client::RaftClient;
use slotward_proto::raft::{HelloReply, HelloRequest, RaftMessage, Sentinel};
use tokio::time::timeout;

use super::formation::{Answer, Ask, Formation, GroupId, Plan};
use super::group::{Group, ProposeError, propose_error, raft_id};
use super::network::{decode, encode, never_arrived};
use super::{Member, RaftId, ledger};
use crate::say::Limited;

const HELLO_TIMEOUT: Duration = Duration::from_millis(500);
const HELLO_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at whether all is still well, once it is.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FORM_TIMEOUT: Duration = Duration::from_secs(1);
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody new has turned up for so long: those who are there form the group. Whoever comes later
/// joins it.
const SETTLED_AFTER: Duration = Duration::from_millis(700);
/// The same for one that would be alone.
const ALONE_AFTER: Duration = Duration::from_secs(5);
/// What is added for each sentinel with a lower number: those go first.
const TURN: Duration = Duration::from_millis(1500);
/// One that has not been heard of for so long is not counted, nor asked.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const ACQUAINTANCES_MAX: usize = 64;
/// As many as can still be told apart from a crowd: each one more costs every write a copy.
const VOTERS_MAX: usize = 7;

/// Who else there is, as far as this sentinel has heard.
#[derive(Debug, Default)]
pub(super) struct Acquaintances {
    /// By gRPC address.
    heard: BTreeMap<String, Heard>,
    /// When a meeting point has last said whom it knows.
    pub(super) met_at: Option<Instant>,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    member: Member,
    /// Whether it has spoken itself, here or at a meeting point. Hearsay is looked into, and neither
    /// counted nor passed on: else one that is gone would be talked about for ever.
    itself: bool,
}

impl Acquaintances {
    fn hear(&mut self, member: Member, itself: bool) {
        if !itself && self.heard.contains_key(&member.grpc) {
            return;
        }
        let heard = Heard { at: Instant::now(), member, itself };
        self.heard.insert(heard.member.grpc.clone(), heard);
        while self.heard.len() > ACQUAINTANCES_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.at);
            let oldest = oldest.map(|(address, _)| address.clone()).expect("there are too many");
            self.heard.remove(&oldest);
        }
    }

    fn forget(&mut self) {
        self.heard.retain(|_, heard| heard.at.elapsed() < FORGOTTEN_AFTER);
    }
}

/// What the task remembers from round to round.
struct Round {
    /// Who was there last time and belonged to no group.
    there: BTreeSet<RaftId>,
    since: Instant,
    /// Not to try before this.
    not_before: Instant,
    waits: Limited,
    quarrel: Limited,
}

type Replies = BTreeMap<String, (Member, HelloReply)>;

impl Group {
    /// The name of the group that this sentinel belongs to.
    pub(crate) fn name(&self) -> Option<GroupId> {
        self.inner.name.get().copied()
    }

    /// Another sentinel says that it is there.
    pub(crate) fn meet(&self, member: Member) {
        self.hear(member, true);
    }

    fn hear(&self, member: Member, itself: bool) {
        let one_of_us = self.inner.open || self.inner.peers.contains(&member.grpc);
        if member.id != self.me().id && one_of_us {
            self.acquainted().hear(member, itself);
        }
    }

    fn acquainted(&self) -> MutexGuard<'_, Acquaintances> {
        self.inner.acquaintances.lock().expect("no holder of this lock panics")
    }

    /// A meeting point has answered: whoever else came there is known now.
    pub(crate) fn has_met(&self) {
        self.acquainted().met_at = Some(Instant::now());
    }

    /// Who has spoken lately.
    pub(super) fn acquaintances(&self) -> Vec<Member> {
        let mut known = self.acquainted();
        known.forget();
        let spoke = known.heard.values().filter(|heard| heard.itself);
        spoke.map(|heard| heard.member.clone()).collect()
    }

    /// Whether it votes in a group, under the address at which it is reached.
    pub(crate) fn is_settled(&self) -> bool {
        let status = self.status();
        status.voters.contains(&self.raft_id())
            && status.members.get(&self.raft_id()) == Some(self.me())
    }

    /// Changes what this sentinel has bound itself to; on disk before this returns. A disk that
    /// fails ends the process: what it holds is not known.
    pub(super) async fn decide<T>(
        &self,
        change: impl FnOnce(&mut Formation) -> T,
    ) -> io::Result<T> {
        let mut formation = self.inner.formation.lock().await;
        let mut next = formation.clone();
        let outcome = change(&mut next);
        if next.ledger() != formation.ledger() {
            let (dir, ledger) = (self.inner.dir.clone(), next.ledger().clone());
            let written = tokio::task::spawn_blocking(move || ledger::write(&dir, &ledger)).await;
            if let Err(error) = written.map_err(io::Error::other).flatten() {
                self.inner.failure.report(format!("cannot write what was promised: {error}"));
                return Err(error);
            }
        }
        if let Some(group) = next.group() {
            let known = self.inner.name.get_or_init(|| group);
            assert_eq!(*known, group, "a sentinel belongs to one group");
        }
        *formation = next;
        Ok(outcome)
    }

    /// A member of this group speaks to us: we belong to it, or (false) to another.
    pub(super) async fn belong(&self, group: GroupId) -> io::Result<bool> {
        if let Some(mine) = self.name() {
            return Ok(mine == group);
        }
        self.decide(|formation| formation.belong(group, None)).await
    }

    /// Takes a sentinel in: for the first time, in the place of the one at the same address that
    /// lost its disk, or at its new address.
    pub(crate) async fn admit(&self, member: Member) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.leading {
            return Err(ProposeError::NotLeader);
        }
        let id = raft_id(&member);
        if status.voters.contains(&id) && status.members.get(&id) == Some(&member) {
            return Ok(());
        }
        if !self.inner.open && !self.inner.peers.contains(&member.grpc) {
            let why = format!("{} is not among this group's peers", member.grpc);
            return Err(ProposeError::Unknown(why));
        }
        if id != self.raft_id() && (member.grpc == self.me().grpc || member.resp == self.me().resp)
        {
            let why = format!("{} is this sentinel's own address", member.resp);
            return Err(ProposeError::Unknown(why));
        }
        let predecessors: BTreeSet<RaftId> = status
            .members
            .iter()
            .filter(|(old, other)| {
                **old != id && (other.grpc == member.grpc || other.resp == member.resp)
            })
            .map(|(old, _)| *old)
            .collect();
        let voters: BTreeSet<RaftId> =
            status.voters.difference(&predecessors).copied().chain([id]).collect();
        if voters.len() > VOTERS_MAX {
            let why = format!("the group has {VOTERS_MAX} sentinels already");
            return Err(ProposeError::Unknown(why));
        }
        if status.members.contains_key(&id) {
            tracing::info!(sentinel = %member.resp, "this is where a sentinel of the group is now");
            self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member)]))).await?;
        } else {
            tracing::info!(sentinel = %member.resp, "takes a sentinel into the group");
            self.raft().add_learner(id, member, true).await.map_err(propose_error)?;
        }
        if voters != status.voters {
            self.change(ChangeMembers::ReplaceAllVoters(voters)).await?;
        }
        // Those that never came to vote are still listed.
        let listed: BTreeSet<RaftId> =
            self.status().members.into_keys().filter(|old| predecessors.contains(old)).collect();
        if !listed.is_empty() {
            self.change(ChangeMembers::RemoveNodes(listed)).await?;
        }
        Ok(())
    }

    /// Takes sentinels out of the group that are gone for good, if this one leads.
    pub(crate) async fn expel(&self, gone: BTreeSet<RaftId>) -> Result<(), ProposeError> {
        let voters: BTreeSet<RaftId> = self.status().voters.difference(&gone).copied().collect();
        if gone.is_empty() || voters.is_empty() {
            return Ok(());
        }
        tracing::info!(count = gone.len(), "takes silent sentinels out of the group");
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await?;
        let listed: BTreeSet<RaftId> =
            self.status().members.into_keys().filter(|id| gone.contains(id)).collect();
        if listed.is_empty() {
            Ok(())
        } else {
            self.change(ChangeMembers::RemoveNodes(listed)).await
        }
    }

    async fn change(&self, change: ChangeMembers<RaftId, Member>) -> Result<(), ProposeError> {
        self.raft().change_membership(change, false).await.map(drop).map_err(propose_error)
    }

    /// Looks for a group, or forms one, until this sentinel belongs to one; and sees to it that the
    /// group knows where it is, for ever.
    pub(super) async fn take_part(self) {
        let now = Instant::now();
        let mut round = Round {
            there: BTreeSet::new(),
            since: now,
            not_before: now,
            waits: Limited::new(Duration::from_secs(10)),
            quarrel: Limited::new(Duration::from_secs(10)),
        };
        loop {
            self.start_if_planned().await;
            if self.is_settled() && self.status().leader.is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let replies = self.greet_everybody().await;
            self.look_around(&mut round, &replies).await;
            tokio::time::sleep(HELLO_EVERY).await;
        }
    }

    /// One of the first members starts Raft with all of them. That each does so with the same plan
    /// is as if one had.
    async fn start_if_planned(&self) {
        let formation = self.inner.formation.lock().await;
        let Some(plan) = formation.plan().cloned() else { return };
        drop(formation);
        if matches!(self.raft().is_initialized().await, Ok(false)) {
            match self.raft().initialize(plan.members).await {
                Ok(()) => {
                    tracing::info!(group = %plan.group, "belongs to the group from its start")
                }
                // A message from another first member came in between.
                Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => tracing::error!("cannot start with the group: {error}"),
            }
        }
    }

    async fn look_around(&self, round: &mut Round, replies: &Replies) {
        let groups: BTreeSet<GroupId> =
            replies.values().filter_map(|(_, reply)| GroupId::parse(&reply.group)).collect();
        if let Some(mine) = self.name() {
            if groups.iter().any(|group| *group != mine) {
                round.quarrel.warn(|| {
                    format!(
                        "other sentinels belong to another group than this one ({mine}): \
                             one of the two was formed without the other's knowledge; stop the \
                             sentinels of one and empty their folders"
                    )
                });
            }
            if self.status().leading {
                if let Err(error) = self.admit(self.me().clone()).await {
                    tracing::info!("the group does not know this sentinel's address yet: {error}");
                }
            } else {
                self.ask_to_join(mine, replies).await;
            }
            return;
        }
        match groups.len() {
            0 => self.form_when_it_is_time(round, replies).await,
            1 => self.ask_to_join(*groups.first().expect("there is one"), replies).await,
            _ => round.quarrel.warn(|| {
                "the other sentinels belong to several groups; joins none of them".to_owned()
            }),
        }
    }

    /// Everybody who has been heard of, by the address at which they answer now.
    async fn greet_everybody(&self) -> Replies {
        let mut addresses: BTreeSet<String> = self.inner.peers.clone();
        addresses.extend(self.inner.seeds.iter().cloned());
        addresses.extend(self.acquainted().heard.keys().cloned());
        addresses.extend(self.status().members.into_values().map(|member| member.grpc));
        addresses.remove(&self.me().grpc);
        let mut asked = tokio::task::JoinSet::new();
        for address in addresses {
            let group = self.clone();
            asked.spawn(async move {
                let channel = group.inner.network.channel(&address).ok()?;
                let request = HelloRequest { from: Some(group.me().into()) };
                let mut client = RaftClient::new(channel);
                let reply = timeout(HELLO_TIMEOUT, client.hello(request)).await.ok()?.ok()?;
                let reply = reply.into_inner();
                let member = Member::try_from(reply.sentinel.clone()?).ok()?;
                Some((address, member, reply))
            });
        }
        let mut replies = Replies::new();
        for (address, member, reply) in asked.join_all().await.into_iter().flatten() {
            if member.id == self.me().id {
                continue;
            }
            self.inner.network.met(raft_id(&member), &address);
            self.meet(member.clone());
            for other in reply.known.iter().chain(&reply.members).take(ACQUAINTANCES_MAX) {
                if let Ok(other) = Member::try_from(other.clone()) {
                    self.hear(other, false);
                }
            }
            replies.insert(address, (member, reply));
        }
        replies
    }

    /// A group exists and this sentinel does not vote in it yet, or not under its present address.
    async fn ask_to_join(&self, group: GroupId, replies: &Replies) {
        let mine = Sentinel::from(self.me());
        let of_group =
            || replies.iter().filter(|(_, (_, r))| GroupId::parse(&r.group) == Some(group));
        let leaders: BTreeSet<_> = of_group().map(|(_, (_, reply))| &reply.leader_id).collect();
        let leads = |member: &Member| leaders.contains(&Sentinel::from(member).id);
        let leader = of_group().find(|(_, (member, _))| leads(member));
        let Some((address, (leader, _))) = leader else { return };
        let Ok(channel) = self.inner.network.channel(address) else { return };
        let mut client = RaftClient::new(channel);
        let leader = &leader.resp;
        match timeout(JOIN_TIMEOUT, client.join(mine)).await {
            Ok(Ok(_)) => tracing::info!(%leader, %group, "joined the group"),
            Ok(Err(status)) if never_arrived(&status) => {}
            Ok(Err(status)) => tracing::info!(%leader, "not taken in yet: {}", status.message()),
            Err(_) => tracing::info!(%leader, "not taken in yet: no answer in time"),
        }
    }

    /// How many sentinels form a group: the quorum of the settings, and in any case more than half
    /// of those that are known to be there.
    fn needed(&self, there: usize) -> usize {
        let known = self.acquaintances().iter().map(raft_id).collect::<BTreeSet<_>>().len() + 1;
        let all = known.max(self.inner.peers.len()).max(there);
        self.inner.quorum.max(all / 2 + 1)
    }

    /// Nobody who answers belongs to a group: forms one, when enough are there, nobody new turns
    /// up, and those with lower numbers have had their turn.
    async fn form_when_it_is_time(&self, round: &mut Round, replies: &Replies) {
        let mut members: BTreeMap<RaftId, Member> =
            replies.values().map(|(member, _)| (raft_id(member), member.clone())).collect();
        members.insert(self.raft_id(), self.me().clone());
        let there: BTreeSet<RaftId> = members.keys().copied().collect();
        if there != round.there {
            round.there = there;
            round.since = Instant::now();
        }
        let needed = self.needed(members.len());
        if members.len() < needed {
            round.waits.info(|| {
                let count = members.len() - 1;
                format!("waits for others to form the group: {count} answer, {} needed", needed - 1)
            });
            return;
        }
        let alone = members.len() == 1 && self.inner.open;
        let complete = !self.inner.open && members.len() == self.inner.peers.len();
        let patience = match () {
            () if alone => ALONE_AFTER,
            () if complete => Duration::ZERO,
            () => SETTLED_AFTER,
        };
        let before_us = members.keys().filter(|id| **id < self.raft_id()).count() as u32;
        let now = Instant::now();
        if now < round.not_before || now.duration_since(round.since) < patience + TURN * before_us {
            return;
        }
        // One that would be alone has at least looked whether somebody else is at the meeting point.
        let met = self.acquainted().met_at;
        if alone && self.inner.meets && met.is_none_or(|met| met < round.since) {
            round.waits.info(|| "waits for the watched server to say who else is there".to_owned());
            return;
        }
        round.not_before = now + TURN / 2 + TURN * members.len() as u32;
        if let Err(error) = self.attempt(needed, members).await {
            tracing::error!("cannot form the group: {error}");
        }
    }

    async fn attempt(&self, needed: usize, members: BTreeMap<RaftId, Member>) -> io::Result<()> {
        let mut name = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut name)?;
        let plan = Plan { group: GroupId(u128::from_le_bytes(name)), members: members.clone() };
        let mut ask = self.decide(|formation| formation.begin(needed, plan)).await?;
        while let Some(asked) = ask.take() {
            if let Ask::Decided(plan) = &asked {
                let names: Vec<&str> = plan.members.values().map(|m| m.resp.as_str()).collect();
                tracing::info!(group = %plan.group, "formed the group of {}", names.join(", "));
            }
            for (id, answer) in self.ask_everybody(&members, &asked).await {
                let next = self.decide(|formation| formation.on_answer(id, answer)).await?;
                ask = next.or(ask);
            }
        }
        Ok(())
    }

    async fn ask_everybody(
        &self,
        members: &BTreeMap<RaftId, Member>,
        ask: &Ask,
    ) -> Vec<(RaftId, Answer)> {
        let Ok(payload) = encode(ask) else { return Vec::new() };
        let mut asked = tokio::task::JoinSet::new();
        for (&to, member) in members.iter().filter(|(id, _)| **id != self.raft_id()) {
            let Ok(channel) = self.inner.network.channel(&member.grpc) else { continue };
            let payload = payload.clone().into();
            let message = RaftMessage { to, payload, group: String::new() };
            asked.spawn(async move {
                let mut client = RaftClient::new(channel);
                let reply = timeout(FORM_TIMEOUT, client.form(message)).await.ok()?.ok()?;
                let answer: Answer = decode(&reply.get_ref().payload).ok()?;
                answer.is_sound().then_some((to, answer))
            });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }
}
