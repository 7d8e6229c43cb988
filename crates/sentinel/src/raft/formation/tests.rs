//! Sentinels that form a group under loss, delay, repetition, crashes, cuts and lost disks, by seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// SplitMix64: the only source of chance here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

fn member(host: usize, disk: u8) -> Member {
    Member {
        id: format!("{:02x}{disk:02x}{}", host + 1, "0".repeat(36)),
        resp: format!("h{host}:1"),
        grpc: format!("h{host}:2"),
    }
}

/// One place where a sentinel runs. What is in memory is lost in a crash; the ledger is not, unless
/// the disk goes too: then it comes back as somebody else.
struct Host {
    member: Member,
    disks: u8,
    disk: Ledger,
    running: Option<Formation>,
}

impl Host {
    fn new(index: usize) -> Host {
        Host { member: member(index, 0), disks: 0, disk: Ledger::default(), running: None }
    }

    fn start(&mut self) {
        let id = super::super::raft_id(&self.member);
        self.running = Some(Formation::new(id, self.disk.clone()));
    }
}

#[derive(Debug, Clone)]
enum Body {
    Ask(Ask),
    Answer(Answer),
}

#[derive(Debug, Clone)]
struct Message {
    from: Member,
    to: usize,
    /// For whom it is meant: another disk at the same place refuses it.
    id: RaftId,
    from_host: usize,
    body: Body,
}

struct World {
    random: Random,
    hosts: Vec<Host>,
    wire: Vec<Message>,
    cuts: BTreeSet<(usize, usize)>,
    needed: usize,
    lossy: bool,
    lose_disks: bool,
    /// Every plan that anybody ever took for decided.
    decided: BTreeMap<GroupId, Plan>,
}

impl World {
    fn new(seed: u64, hosts: usize, lose_disks: bool) -> World {
        World {
            random: Random(seed),
            hosts: (0..hosts).map(Host::new).collect(),
            wire: Vec::new(),
            cuts: BTreeSet::new(),
            needed: hosts / 2 + 1,
            lossy: true,
            lose_disks,
            decided: BTreeMap::new(),
        }
    }

    fn send(&mut self, from: usize, to: usize, body: Body) {
        let (sender, receiver) = (self.hosts[from].member.clone(), &self.hosts[to].member);
        let id = super::super::raft_id(receiver);
        let message = Message { from: sender, to, id, from_host: from, body };
        if self.lossy && self.random.percent(5) {
            self.wire.push(message.clone());
        }
        self.wire.push(message);
    }

    fn send_all(&mut self, from: usize, ask: &Ask) {
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            self.send(from, to, Body::Ask(ask.clone()));
        }
    }

    /// The ledger goes to disk; or the process dies before it is there, and nothing leaves.
    fn persist(&mut self, host: usize) -> bool {
        if self.lossy && self.random.percent(2) {
            self.hosts[host].running = None;
            return false;
        }
        let formation = self.hosts[host].running.as_ref().expect("it runs");
        let ledger = formation.ledger().clone();
        if let Some(plan) = &ledger.plan {
            self.decided.insert(plan.group, plan.clone());
        }
        self.hosts[host].disk = ledger;
        if self.lossy && self.random.percent(2) {
            self.hosts[host].running = None;
            return false;
        }
        true
    }

    fn deliver(&mut self, message: Message) {
        let host = &mut self.hosts[message.to];
        if super::super::raft_id(&host.member) != message.id {
            return;
        }
        let Some(formation) = host.running.as_mut() else { return };
        match message.body {
            Body::Ask(ask) => {
                let answer = formation.answer(ask);
                if self.persist(message.to) {
                    self.send(message.to, message.from_host, Body::Answer(answer));
                }
            }
            Body::Answer(answer) => {
                let next = formation.on_answer(super::super::raft_id(&message.from), answer);
                if self.persist(message.to)
                    && let Some(ask) = next
                {
                    self.send_all(message.to, &ask);
                }
            }
        }
    }

    fn attempt(&mut self, host: usize) {
        let group = GroupId(u128::from(self.random.next()));
        // Who answered a moment ago: perhaps not everybody, and perhaps not the disk of now.
        let mut others: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != host).collect();
        while others.len() + 1 > self.needed && self.random.percent(30) {
            others.swap_remove(self.random.below(others.len()));
        }
        let members = others.iter().chain([&host]).map(|at| self.hosts[*at].member.clone());
        let members = members.map(|m| (super::super::raft_id(&m), m)).collect();
        let Some(formation) = self.hosts[host].running.as_mut() else { return };
        if let Some(ask) = formation.begin(self.needed, Plan { group, members })
            && self.persist(host)
        {
            self.send_all(host, &ask);
        }
    }

    fn step(&mut self) {
        let count = self.hosts.len();
        let (host, other) = (self.random.below(count), self.random.below(count));
        match self.random.below(100) {
            0..60 if !self.wire.is_empty() => {
                let index = self.random.below(self.wire.len());
                let message = self.wire.swap_remove(index);
                let cut = self.cuts.contains(&(message.from_host, message.to));
                if !(self.lossy && (cut || self.random.percent(10))) {
                    self.deliver(message);
                }
            }
            // Once all is well, they wait for each other's answers before they try again.
            60..70 if self.lossy || self.wire.is_empty() => self.attempt(host),
            70..80 if self.hosts[host].running.is_none() => self.hosts[host].start(),
            80..82 if self.lossy => self.hosts[host].running = None,
            82..84 if self.lossy => drop(self.cuts.insert((host, other))),
            84..88 => drop(self.cuts.remove(&(host, other))),
            88 if self.lossy && self.lose_disks && self.random.percent(20) => {
                let lost = &mut self.hosts[host];
                lost.running = None;
                lost.disk = Ledger::default();
                lost.disks += 1;
                lost.member = member(host, lost.disks);
            }
            _ => {}
        }
    }

    /// The groups to which a majority of their first members belong, disks included: those that
    /// could elect a leader.
    fn could_work(&self) -> usize {
        let belongs = |id: RaftId, group| {
            let found = self.hosts.iter().find(|host| super::super::raft_id(&host.member) == id);
            found.is_some_and(|host| host.disk.group == Some(group))
        };
        let works = |plan: &&Plan| {
            let own = plan.members.keys().filter(|id| belongs(**id, plan.group)).count();
            own > plan.members.len() / 2
        };
        self.decided.values().filter(works).count()
    }

    fn heal(&mut self) {
        self.lossy = false;
        self.cuts.clear();
        self.hosts.iter_mut().filter(|host| host.running.is_none()).for_each(Host::start);
    }
}

#[test]
fn at_most_one_group_is_ever_decided_and_in_the_end_there_is_one() {
    let mut contested = 0;
    for seed in 0..3000 {
        let hosts = [2, 3, 3, 3, 5][(seed % 5) as usize];
        let mut world = World::new(seed, hosts, false);
        for _ in 0..400 {
            world.step();
            assert!(world.decided.len() <= 1, "seed {seed}: {:?}", world.decided);
        }
        contested += usize::from(world.decided.is_empty());
        world.heal();
        for _ in 0..20_000 {
            world.step();
            if world.hosts.iter().all(|host| host.disk.group.is_some()) {
                break;
            }
        }
        assert_eq!(world.decided.len(), 1, "seed {seed}");
        let group = *world.decided.keys().next().unwrap();
        for host in &world.hosts {
            assert_eq!(host.disk.group, Some(group), "seed {seed}: {}", host.member.resp);
        }
        let members = world.decided[&group].members.len();
        assert!(members >= world.needed, "seed {seed}: {members} members");
    }
    assert!(contested > 10, "faults were frequent enough to matter: {contested}");
}

#[test]
fn of_groups_decided_around_lost_disks_only_one_can_ever_elect_a_leader() {
    let (mut lost, mut several) = (0, 0);
    for seed in 0..3000 {
        let mut world = World::new(seed, 3, true);
        for _ in 0..600 {
            world.step();
        }
        lost += world.hosts.iter().map(|host| usize::from(host.disks)).sum::<usize>();
        several += usize::from(world.decided.len() > 1);
        // A disk lost while the group is being decided may make a second plan, as it would make a
        // second history in Raft: but a sentinel belongs to one group, and three hosts hold one
        // majority of two.
        assert!(world.could_work() <= 1, "seed {seed}: {:?}", world.decided);
    }
    assert!(lost > 300, "{lost} disks were lost");
    assert!(several > 0, "the case occurred");
}

#[test]
fn with_less_than_a_majority_there_would_be_two_groups() {
    let two = (0..200).any(|seed| {
        let mut world = World::new(seed, 4, false);
        world.needed = 2;
        (0..400).for_each(|_| world.step());
        world.decided.len() > 1
    });
    assert!(two, "a quorum of half is too small, and the simulation sees it");
}

#[test]
fn a_latecomer_learns_of_the_group_and_takes_part_in_no_other() {
    let [a, b, c] = [0, 1, 2].map(|host| member(host, 0));
    let [ida, idb, idc] = [&a, &b, &c].map(super::super::raft_id);
    let wish = |group, of: &[(RaftId, &Member)]| {
        let members = of.iter().map(|(id, member)| (*id, (*member).clone())).collect();
        Plan { group: GroupId(group), members }
    };
    let [mut at_a, mut at_b, mut at_c] =
        [ida, idb, idc].map(|id| Formation::new(id, Ledger::default()));
    let prepare = at_a.begin(2, wish(7, &[(ida, &a), (idb, &b)])).unwrap();
    let accept = at_a.on_answer(idb, at_b.answer(prepare)).unwrap();
    let decided = at_a.on_answer(idb, at_b.answer(accept)).unwrap();
    assert_eq!(at_a.group(), Some(GroupId(7)));
    assert_eq!(at_b.group(), None, "it has accepted, and not heard yet that this was decisive");
    // The one who decided dies before it tells anybody; a third tries with the one who accepted.
    let prepare = at_c.begin(2, wish(8, &[(idb, &b), (idc, &c)])).unwrap();
    let accept = at_c.on_answer(idb, at_b.answer(prepare)).unwrap();
    at_c.on_answer(idb, at_b.answer(accept));
    assert_eq!(at_c.group(), Some(GroupId(7)), "not a group of its own");
    assert_eq!(at_c.plan(), None, "it is not among the first members: it has to join");
    assert!(!at_c.belong(GroupId(9), None), "one group for life");
    assert!(matches!(at_b.answer(decided), Answer::Formed(GroupId(7), Some(_))));
    assert!(at_b.begin(2, wish(10, &[(idb, &b)])).is_none());
}

#[test]
fn a_strangers_nonsense_is_no_plan() {
    let a = member(0, 0);
    let id = super::super::raft_id(&a);
    let plan = |members: &[(RaftId, Member)]| Plan {
        group: GroupId(1),
        members: members.iter().cloned().collect(),
    };
    assert!(plan(&[(id, a.clone())]).is_sound());
    assert!(!plan(&[]).is_sound(), "nobody");
    assert!(!plan(&[(id + 1, a.clone())]).is_sound(), "another's number");
    let bad = Member { id: "x".into(), ..a.clone() };
    assert!(!Ask::Decided(plan(&[(id, bad.clone())])).is_sound(), "no id");
    assert!(!Answer::Formed(GroupId(1), Some(plan(&[(id, bad)]))).is_sound());
    // A plan of another name than the group's is not kept, and does not end the process.
    let mut formation = Formation::new(id, Ledger::default());
    formation.on_answer(5, Answer::Formed(GroupId(2), Some(plan(&[(id, a)]))));
    assert_eq!((formation.group(), formation.plan()), (Some(GroupId(2)), None));
}
