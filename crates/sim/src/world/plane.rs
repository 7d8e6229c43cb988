//! A node's data plane: its log and data, its role as the workers see it, the link to its master and
//! the sessions of its replicas.
//!
//! What the node's shell does is followed step by step; what `replication` decides (handshake, who
//! may go on where) is decided by it here, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use slotward_cluster::Member;
use slotward_failover::{HaltId, LeaseAck, LeasePing, NodeEvent, Plant, planted};
use slotward_replication::{
    Granted, Handshake, Introduction, Log, Member as LinkMember, Peer, Replconf, Resume, Retention,
    Target, parse_psync,
};
use slotward_resp::{Args, CommandDecoder, Decoded, Limits};
use slotward_types::{Epoch, Millis, ReplId, ReplOffset};

use super::net::ConnId;
use super::{Event, MS, Proc, World};
use crate::history::{History, WRITE_BYTES, Write};
use crate::random::Random;

/// In how many pieces a data set travels.
const COPY_PARTS: u32 = 4;

/// What is said on a replication link.
#[derive(Debug, Clone)]
pub(super) enum LinkMessage {
    /// The replica shakes hands.
    Says(Vec<u8>),
    /// The master answers.
    Lines(Vec<String>),
    /// The master is to send this piece of its data set (local to the master).
    Sending(u32, Arc<History>),
    /// A piece of the master's data set.
    Copy(u32, Arc<History>),
    /// What the master's log has more, from this write on.
    Data(usize, Vec<Write>),
    /// The master's clock and lease.
    Stamp(Millis, Millis),
    /// How far the replica is, with the clock that it answers.
    Ack(ReplOffset, Option<Millis>),
}

/// What the machine orders; carried out one after the other, each in its time.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Follow { epoch: Epoch, master: Member, proc: Proc },
    BecomeMaster { epoch: Epoch },
    Detach,
    Halt(HaltId),
}

/// Role and epoch as the workers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) master: bool,
    pub(super) epoch: Epoch,
}

#[derive(Debug, Clone, Copy)]
struct Follow {
    epoch: Epoch,
    master: Member,
    proc: Proc,
}

enum LinkState {
    ShakingHands(Box<Handshake>),
    Syncing { id: ReplId, offset: ReplOffset },
    Up,
}

/// A replica's end of a link.
struct Link {
    conn: ConnId,
    proc: Proc,
    epoch: Epoch,
    master: Member,
    state: LinkState,
    heard: u64,
}

/// A master's end of a link.
struct Session {
    replica: Proc,
    peer: Peer,
    /// How many writes it has been sent, once its stream has begun.
    online: Option<usize>,
    heard: u64,
}

pub(super) struct Plane {
    pub(super) log: Arc<Log>,
    pub(super) history: History,
    pub(super) word: Word,
    /// The lease as the workers see it, and as the machine holds it.
    pub(super) lease_until: Millis,
    told: Option<(Epoch, Millis)>,
    orders: VecDeque<Order>,
    busy: Option<u64>,
    /// The epoch that it was master of before the order under way.
    was: Option<Epoch>,
    order_number: u64,
    us: Option<LinkMember>,
    following: bool,
    follow: Option<Follow>,
    link: Option<Link>,
    retry_at: u64,
    answer: Option<LeaseAck>,
    sessions: BTreeMap<ConnId, Session>,
    /// Operations whose replies wait for every replica.
    pub(super) waiting: Vec<u64>,
}

/// The epoch that a replica tells with `REPLCONF`.
fn told_epoch(args: Args<'_>) -> Option<Epoch> {
    let name = (1..args.len()).find(|&index| &args[index] == b"slotward-epoch")?;
    String::from_utf8_lossy(&args[name + 1]).parse().ok().map(Epoch)
}

fn new_id(proc: Proc, random: &mut Random) -> ReplId {
    let mut bytes = [proc as u8; 20];
    bytes[1..].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
    ReplId::from_bytes(bytes)
}

impl Plane {
    pub(super) fn new(proc: Proc, random: &mut Random) -> Plane {
        let log = Arc::new(Log::new(new_id(proc, random), Retention::default()));
        log.activate(new_id(proc, random));
        Plane {
            log,
            history: History::default(),
            word: Word { master: true, epoch: Epoch(0) },
            lease_until: Millis(0),
            told: None,
            orders: VecDeque::new(),
            busy: None,
            was: None,
            order_number: 0,
            us: None,
            following: false,
            follow: None,
            link: None,
            retry_at: 0,
            answer: None,
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// The plane of a new run, which still has this of the old one's data.
    pub(super) fn restarted(proc: Proc, random: &mut Random, before: &Plane, len: usize) -> Plane {
        let mut plane = Plane::new(proc, random);
        if len > 0 {
            let (id, mut history) = (before.log.resume().id, before.history.clone());
            history.truncate(len);
            plane.log.restart(id, history.offset(), Some(0));
            plane.history = history;
            // What it lost is known to others under that name: as a master it begins a new one.
            plane.following = true;
        }
        plane
    }

    pub(super) fn knows(&self, conn: ConnId) -> bool {
        self.sessions.contains_key(&conn)
            || self.link.as_ref().is_some_and(|link| link.conn == conn)
    }

    /// Forgets all its links: who the other ends are.
    pub(super) fn take_links(&mut self) -> Vec<(Proc, ConnId)> {
        let link = self.link.take().map(|link| (link.proc, link.conn));
        let sessions = std::mem::take(&mut self.sessions);
        let sessions = sessions.into_iter().map(|(conn, session)| (session.replica, conn));
        sessions.chain(link).collect()
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.link.as_ref().is_some_and(|link| matches!(link.state, LinkState::Syncing { .. }))
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| matches!(link.state, LinkState::Up))
    }

    fn push(&mut self, write: Write) {
        let bytes = write.op.to_le_bytes();
        const _: () = assert!(WRITE_BYTES == 8);
        let end = self.log.append_verbatim(&bytes, 0, Target::Barrier);
        self.history.push(write);
        assert_eq!(end, self.history.offset(), "log and data go together");
    }
}

impl World {
    // --- role and lease

    pub(super) fn set_lease(&mut self, proc: Proc, lease: Option<(Epoch, Millis)>) {
        let plane = &mut self.procs[proc].plane;
        plane.told = lease;
        match lease {
            None => plane.lease_until = Millis(0),
            Some((epoch, until)) if plane.word == (Word { master: true, epoch }) => {
                plane.lease_until = until;
                self.check_lease(proc);
            }
            Some(_) => {}
        }
    }

    fn set_role(&mut self, proc: Proc, master: bool, epoch: Epoch) {
        let shard = self.shard_index(proc);
        self.watch.on_role(proc, shard, epoch);
        let plane = &mut self.procs[proc].plane;
        plane.lease_until = Millis(0);
        plane.word = Word { master, epoch };
        let told = plane.told;
        self.set_lease(proc, told);
    }

    /// Whether the workers would let replies of this role out now.
    pub(super) fn holds_lease(&self, proc: Proc) -> bool {
        let plane = &self.procs[proc].plane;
        self.alive(proc) && plane.word.master && self.local(proc) < plane.lease_until
    }

    // --- orders

    pub(super) fn order(&mut self, proc: Proc, order: Order) {
        self.procs[proc].plane.orders.push_back(order);
        self.next_order(proc);
    }

    fn next_order(&mut self, proc: Proc) {
        let plane = &mut self.procs[proc].plane;
        if plane.busy.is_some() {
            return;
        }
        let Some(order) = plane.orders.front().cloned() else { return };
        plane.order_number += 1;
        let number = plane.order_number;
        plane.busy = Some(number);
        match order {
            Order::Follow { epoch, .. } => {
                let before = self.procs[proc].plane.word;
                self.procs[proc].plane.was = before.master.then_some(before.epoch);
                self.set_role(proc, false, epoch);
            }
            Order::BecomeMaster { epoch } => {
                let me = self.member(proc);
                let us = LinkMember { node: me.node, incarnation: me.incarnation, epoch };
                self.procs[proc].plane.us = Some(us);
            }
            Order::Detach | Order::Halt(_) => {}
        }
        let most = if self.random.chance(self.faults.stutter * 10) { 80 * MS } else { 2 * MS };
        let after = 50 + self.random.below(most);
        self.due(after, proc, Event::OrderDone(number));
    }

    pub(super) fn order_done(&mut self, proc: Proc, number: u64) {
        assert_eq!(self.procs[proc].plane.busy, Some(number), "orders end in order");
        self.procs[proc].plane.busy = None;
        let order = self.procs[proc].plane.orders.pop_front().expect("it was under way");
        self.say(|world| {
            format!("{} carries out {}", world.name(proc), world.describe_order(&order))
        });
        match order {
            Order::Follow { epoch, master, proc: to } => {
                let me = self.member(proc);
                self.kick(proc);
                self.drop_link(proc);
                let plane = &mut self.procs[proc].plane;
                plane.us = Some(LinkMember { node: me.node, incarnation: me.incarnation, epoch });
                plane.following = true;
                plane.follow = Some(Follow { epoch, master, proc: to });
                plane.retry_at = 0;
                let end = plane.log.end();
                let was = plane.was.take().filter(|&epoch| epoch > Epoch(0));
                self.keep_link(proc);
                if let Some(epoch) = was {
                    self.step_node(proc, NodeEvent::HistoryEnded { epoch, end });
                }
            }
            Order::BecomeMaster { epoch } => {
                self.end_following(proc);
                self.kick(proc);
                self.set_role(proc, true, epoch);
            }
            Order::Detach => {
                self.procs[proc].plane.us = None;
                self.end_following(proc);
                self.kick(proc);
                self.set_role(proc, true, Epoch(0));
            }
            Order::Halt(id) => {
                self.hand_in(proc);
                self.procs[proc].plane.follow = None;
                self.drop_link(proc);
                self.step_node(proc, NodeEvent::Halted(id));
            }
        }
        self.next_order(proc);
    }

    /// A master that halts gives up its lease, unless that is of a later epoch.
    fn hand_in(&mut self, proc: Proc) {
        let plane = &mut self.procs[proc].plane;
        if plane.word.master {
            plane.lease_until = Millis(0);
            plane.told = plane.told.filter(|(epoch, _)| *epoch != plane.word.epoch);
        }
    }

    fn end_following(&mut self, proc: Proc) {
        self.procs[proc].plane.follow = None;
        self.drop_link(proc);
        let id = new_id(proc, &mut self.random);
        let plane = &mut self.procs[proc].plane;
        if std::mem::replace(&mut plane.following, false) {
            plane.log.promote(id);
        }
    }

    fn kick(&mut self, proc: Proc) {
        for (conn, session) in std::mem::take(&mut self.procs[proc].plane.sessions) {
            self.close_to(proc, session.replica, conn);
        }
    }

    fn drop_link(&mut self, proc: Proc) {
        if let Some(link) = self.procs[proc].plane.link.take() {
            self.close_to(proc, link.proc, link.conn);
        }
    }

    // --- the replica's end

    /// Connects where it is to, and gives up what is silent, on both ends.
    pub(super) fn keep_link(&mut self, proc: Proc) {
        self.end_silent_sessions(proc);
        let patience = self.plan.repl_timeout;
        let Some(follow) = self.procs[proc].plane.follow else { return };
        if let Some(link) = &self.procs[proc].plane.link {
            if self.now - link.heard > patience {
                self.drop_link(proc);
                self.link_ended(proc, false);
            }
            return;
        }
        if self.now < self.procs[proc].plane.retry_at {
            return;
        }
        if !self.connect_now(proc, follow.proc) {
            self.link_ended(proc, false);
            return;
        }
        let conn = self.net.new_conn();
        let me = self.member(proc);
        let member = |member: Member| LinkMember {
            node: member.node,
            incarnation: member.incarnation,
            epoch: follow.epoch,
        };
        let introduction = Introduction {
            listening_port: 1,
            member: Some((member(me), member(follow.master))),
            resume: Some(self.procs[proc].plane.log.resume()),
            ..Introduction::default()
        };
        let mut out = Vec::new();
        let handshake = Handshake::begin(introduction, &mut out);
        self.procs[proc].plane.link = Some(Link {
            conn,
            proc: follow.proc,
            epoch: follow.epoch,
            master: follow.master,
            state: LinkState::ShakingHands(Box::new(handshake)),
            heard: self.now,
        });
        let session =
            Session { replica: proc, peer: Peer::default(), online: None, heard: self.now };
        self.procs[follow.proc].plane.sessions.insert(conn, session);
        self.send_on(conn, proc, follow.proc, Event::Link(conn, LinkMessage::Says(out)));
    }

    fn link_ended(&mut self, proc: Proc, closed: bool) {
        let pause = 20 * MS + self.random.below(200 * MS);
        self.procs[proc].plane.retry_at = self.now + pause;
        self.step_node(proc, NodeEvent::LinkDown { closed });
    }

    /// The other end closed a link.
    pub(super) fn link_closed(&mut self, proc: Proc, conn: ConnId) {
        let plane = &mut self.procs[proc].plane;
        if plane.sessions.remove(&conn).is_some() {
            return;
        }
        if let Some(link) = plane.link.take_if(|link| link.conn == conn) {
            let closed = matches!(link.state, LinkState::Up);
            self.link_ended(proc, closed);
        }
    }

    pub(super) fn on_link(&mut self, proc: Proc, conn: ConnId, message: LinkMessage) {
        let now = self.now;
        let plane = &mut self.procs[proc].plane;
        if let Some(session) = plane.sessions.get_mut(&conn) {
            session.heard = now;
        } else if let Some(link) = plane.link.as_mut().filter(|link| link.conn == conn) {
            link.heard = now;
        } else {
            return;
        }
        match message {
            LinkMessage::Says(bytes) => self.answer_handshake(proc, conn, bytes),
            LinkMessage::Lines(lines) => self.on_lines(proc, conn, &lines),
            LinkMessage::Sending(part, whole) => self.send_copy(proc, conn, part, whole),
            LinkMessage::Copy(part, whole) => self.on_copy(proc, part, &whole),
            LinkMessage::Data(from, writes) => {
                let plane = &mut self.procs[proc].plane;
                assert_eq!(plane.history.len(), from, "a link has no gaps");
                writes.into_iter().for_each(|write| plane.push(write));
            }
            LinkMessage::Stamp(sent, lease) => {
                let Some(link) = &self.procs[proc].plane.link else { return };
                let ping = LeasePing { from: link.master, epoch: link.epoch, sent, lease };
                self.step_node(proc, NodeEvent::LeasePing(ping));
            }
            LinkMessage::Ack(offset, stamp) => self.on_ack(proc, conn, offset, stamp),
        }
    }

    fn on_lines(&mut self, proc: Proc, conn: ConnId, lines: &[String]) {
        for line in lines {
            let mut out = Vec::new();
            let Some(link) = &mut self.procs[proc].plane.link else { return };
            let LinkState::ShakingHands(handshake) = &mut link.state else { return };
            let (epoch, to) = (link.epoch, link.proc);
            match handshake.on_line(line.as_bytes(), &mut out) {
                Ok(None) => {}
                Ok(Some(Granted::Continue { id })) => self.go_on_from_here(proc, epoch, id),
                Ok(Some(Granted::Full { id, offset, .. })) => {
                    link.state = LinkState::Syncing { id, offset };
                    if planted(Plant::CopyDroppedFirst) {
                        let plane = &mut self.procs[proc].plane;
                        plane.history = History::default();
                        plane.log.restart(id, ReplOffset(0), Some(0));
                    }
                    self.step_node(proc, NodeEvent::LinkSyncing { epoch });
                }
                Err(_) => {
                    self.drop_link(proc);
                    self.link_ended(proc, false);
                    return;
                }
            }
            if !out.is_empty() {
                self.send_on(conn, proc, to, Event::Link(conn, LinkMessage::Says(out)));
            }
        }
    }

    fn go_on_from_here(&mut self, proc: Proc, epoch: Epoch, id: Option<ReplId>) {
        let before = self.procs[proc].plane.log.resume().id;
        if let Some(id) = id.filter(|id| *id != before) {
            self.procs[proc].plane.log.adopt(id);
            self.kick(proc);
        }
        self.watch.partial += 1;
        self.link_up(proc, epoch);
    }

    fn on_copy(&mut self, proc: Proc, part: u32, whole: &Arc<History>) {
        let plane = &mut self.procs[proc].plane;
        let Some(Link { state: LinkState::Syncing { id, offset }, epoch, .. }) = &plane.link else {
            return;
        };
        if part < COPY_PARTS {
            return;
        }
        let (id, offset, epoch) = (*id, *offset, *epoch);
        assert_eq!(whole.offset(), offset, "the data set is as of the offset that was told");
        plane.history = History::clone(whole);
        plane.log.restart(id, offset, Some(0));
        self.kick(proc);
        self.watch.full += 1;
        self.link_up(proc, epoch);
    }

    fn link_up(&mut self, proc: Proc, epoch: Epoch) {
        if let Some(link) = &mut self.procs[proc].plane.link {
            link.state = LinkState::Up;
        }
        self.say(|world| format!("{} follows again, in epoch {epoch}", world.name(proc)));
        self.step_node(proc, NodeEvent::LinkUp { epoch });
        self.send_ack(proc, None);
        self.answer_now(proc);
    }

    fn send_ack(&mut self, proc: Proc, stamp: Option<Millis>) {
        let plane = &self.procs[proc].plane;
        let Some(Link { conn, proc: to, state: LinkState::Up, .. }) = plane.link else { return };
        let ack = LinkMessage::Ack(plane.log.end(), stamp);
        self.send_on(conn, proc, to, Event::Link(conn, ack));
    }

    /// The machine answers the master's clock: at once, or when the link is there again.
    pub(super) fn answer_master(&mut self, proc: Proc, ack: LeaseAck) {
        if ack.from == self.member(proc) {
            self.procs[proc].plane.answer = Some(ack);
            self.answer_now(proc);
        } else if let Some(Link { proc: to, state: LinkState::Up, .. }) =
            self.procs[proc].plane.link
        {
            // A broken machine speaks for others.
            let after = self.random.below(MS);
            self.due(after, to, Event::Node(NodeEvent::LeaseAck(ack)));
        }
    }

    fn answer_now(&mut self, proc: Proc) {
        let plane = &mut self.procs[proc].plane;
        let up = plane
            .link
            .as_ref()
            .filter(|link| matches!(link.state, LinkState::Up))
            .map(|link| link.epoch);
        let Some(epoch) = up else { return };
        // What answers the clock of another epoch's master is not for this one.
        if let Some(ack) = plane.answer.take()
            && ack.epoch == epoch
        {
            self.send_ack(proc, Some(ack.sent));
        }
    }

    // --- the master's end

    fn end_silent_sessions(&mut self, proc: Proc) {
        let (now, patience) = (self.now, self.plan.repl_timeout);
        let reset = self.random.chance(self.faults.reset * 3);
        let sessions = &mut self.procs[proc].plane.sessions;
        let mut ended: Vec<(ConnId, Proc)> = sessions
            .iter()
            .filter(|(_, session)| now - session.heard > patience)
            .map(|(conn, session)| (*conn, session.replica))
            .collect();
        if reset {
            ended.extend(sessions.iter().next().map(|(conn, session)| (*conn, session.replica)));
        }
        for (conn, replica) in ended {
            self.end_session(proc, conn, replica);
        }
    }

    /// The master gives a link up of its own accord.
    pub(super) fn end_session(&mut self, proc: Proc, conn: ConnId, replica: Proc) {
        let Some(session) = self.procs[proc].plane.sessions.remove(&conn) else { return };
        if let Some(member) = session.peer.member {
            let of = Member { node: member.node, incarnation: member.incarnation };
            self.step_node(proc, NodeEvent::ReplicaGone { member: of, epoch: member.epoch });
        }
        self.close_to(proc, replica, conn);
    }

    fn answer_handshake(&mut self, proc: Proc, conn: ConnId, mut bytes: Vec<u8>) {
        let (mut at, mut lines) = (0, Vec::new());
        while at < bytes.len() {
            let (mut spans, mut decoder) = (Vec::new(), CommandDecoder::default());
            let decoded = decoder.decode(&mut bytes, at, &mut spans, &Limits::default());
            let Ok(Decoded::Command { end }) = decoded else { panic!("we said it ourselves") };
            at = end;
            let args = Args::new(&bytes, &spans);
            let plane = &mut self.procs[proc].plane;
            let mut us = plane.us;
            if let (true, Some(us)) = (planted(Plant::StaleEpochLink), &mut us) {
                us.epoch = told_epoch(args).unwrap_or(us.epoch);
            }
            let Some(session) = plane.sessions.get_mut(&conn) else { return };
            match &args[0] {
                b"PING" => lines.push("+PONG".to_owned()),
                b"REPLCONF" => match session.peer.on_replconf(args.from(1), us.as_ref()) {
                    Replconf::Answer(line) => lines.push(line),
                    other => panic!("{other:?} in a handshake"),
                },
                b"PSYNC" => {
                    let resume = parse_psync(&args[1], &args[2]).expect("we said it ourselves");
                    self.grant(proc, conn, resume);
                    return;
                }
                other => panic!("{} in a handshake", String::from_utf8_lossy(other)),
            }
        }
        let Some(session) = self.procs[proc].plane.sessions.get(&conn) else { return };
        let to = session.replica;
        self.send_on(conn, proc, to, Event::Link(conn, LinkMessage::Lines(lines)));
    }

    /// A replica asks to be synchronised: is it of our epoch, and may it go on where it is?
    fn grant(&mut self, proc: Proc, conn: ConnId, resume: Option<Resume>) {
        let plane = &self.procs[proc].plane;
        let session = &plane.sessions[&conn];
        let to = session.replica;
        let ours = plane.us.map(|us| us.epoch);
        let in_sync = plane.link.as_ref().is_some_and(|link| matches!(link.state, LinkState::Up));
        let stale = session.peer.member.is_some_and(|member| ours != Some(member.epoch));
        let refusal = if plane.following && !in_sync {
            Some("-NOMASTERLINK no link")
        } else if stale && !planted(Plant::StaleEpochLink) {
            Some("-STALEEPOCH not ours")
        } else {
            None
        };
        if let Some(line) = refusal {
            let lines = LinkMessage::Lines(vec![line.to_owned()]);
            self.send_on(conn, proc, to, Event::Link(conn, lines));
            self.procs[proc].plane.sessions.remove(&conn);
            self.close_to(proc, to, conn);
            return;
        }
        if let (true, Some(ours), Some(member)) = (stale, ours, session.peer.member) {
            let text = format!(
                "{} of epoch {} takes a replica of epoch {} (rule 9)",
                self.name(proc),
                ours,
                member.epoch
            );
            self.violate(text);
            return;
        }
        let plane = &self.procs[proc].plane;
        let attached = resume.filter(|from| {
            let blind = planted(Plant::OffsetOnlyResync) && from.next <= plane.log.end();
            blind || plane.log.attach(*from).is_some()
        });
        let id = plane.log.resume().id;
        let lines = match attached {
            Some(from) => {
                self.check_prefix(proc, to, from);
                let session = self.session(proc, conn);
                session.online = Some((from.next.0 / WRITE_BYTES) as usize);
                vec![format!("+CONTINUE {id}")]
            }
            None => {
                let whole = Arc::new(plane.history.clone());
                let offset = plane.log.end();
                let sending = Event::Link(conn, LinkMessage::Sending(1, whole));
                self.due(MS, proc, sending);
                vec![format!("+FULLRESYNC {id} {offset}"), "$8".to_owned()]
            }
        };
        self.send_on(conn, proc, to, Event::Link(conn, LinkMessage::Lines(lines)));
        self.pump(proc);
    }

    fn session(&mut self, proc: Proc, conn: ConnId) -> &mut Session {
        self.procs[proc].plane.sessions.get_mut(&conn).expect("the link is there")
    }

    fn check_prefix(&mut self, master: Proc, replica: Proc, from: Resume) {
        let (ours, theirs) = (&self.procs[master].plane, &self.procs[replica].plane);
        let len = (from.next.0 / WRITE_BYTES) as usize;
        if theirs.history.len() == len && !theirs.history.is_prefix_of(&ours.history) {
            let text = format!(
                "{} lets {} go on at {len}, which has another history (rule 9)",
                self.name(master),
                self.name(replica)
            );
            self.violate(text);
        }
    }

    fn send_copy(&mut self, proc: Proc, conn: ConnId, part: u32, whole: Arc<History>) {
        let to = self.session(proc, conn).replica;
        let copy = LinkMessage::Copy(part, whole.clone());
        self.send_on(conn, proc, to, Event::Link(conn, copy));
        if part < COPY_PARTS {
            let after = MS + self.random.below(60 * MS);
            self.due(after, proc, Event::Link(conn, LinkMessage::Sending(part + 1, whole)));
        } else {
            self.session(proc, conn).online = Some(whole.len());
            self.pump(proc);
        }
    }

    /// Sends every replica what the log has more.
    pub(super) fn pump(&mut self, proc: Proc) {
        let plane = &mut self.procs[proc].plane;
        let len = plane.history.len();
        let mut out = Vec::new();
        for (&conn, session) in &mut plane.sessions {
            if let Some(sent) = session.online.filter(|sent| *sent < len) {
                session.online = Some(len);
                out.push((conn, session.replica, sent));
            }
        }
        for (conn, to, sent) in out {
            let writes = self.procs[proc].plane.history.from(sent).to_vec();
            self.send_on(conn, proc, to, Event::Link(conn, LinkMessage::Data(sent, writes)));
        }
    }

    pub(super) fn ping_replicas(&mut self, proc: Proc, ping: LeasePing) {
        let of_epoch = |session: &&Session| {
            session.online.is_some()
                && session.peer.member.is_some_and(|member| member.epoch == ping.epoch)
        };
        let sessions = self.procs[proc].plane.sessions.iter();
        let to: Vec<(ConnId, Proc)> = sessions
            .filter(|(_, session)| of_epoch(session))
            .map(|(conn, session)| (*conn, session.replica))
            .collect();
        for (conn, replica) in to {
            let stamp = LinkMessage::Stamp(ping.sent, ping.lease);
            self.send_on(conn, proc, replica, Event::Link(conn, stamp));
        }
    }

    fn on_ack(&mut self, proc: Proc, conn: ConnId, offset: ReplOffset, stamp: Option<Millis>) {
        let end = self.procs[proc].plane.log.end();
        let member = self.session(proc, conn).peer.member;
        if let (Some(sent), Some(member)) = (stamp, member) {
            let from = Member { node: member.node, incarnation: member.incarnation };
            let offset = offset.min(end);
            let ack = LeaseAck { from, epoch: member.epoch, sent, offset };
            self.step_node(proc, NodeEvent::LeaseAck(ack));
        }
    }

    /// A master executes a write.
    pub(super) fn execute_write(&mut self, proc: Proc, write: Write) {
        self.procs[proc].plane.push(write);
        self.pump(proc);
    }

    /// The links of a master, by replica (for directed stories).
    pub(crate) fn close_link_to(&mut self, master: Proc, replica: Proc) {
        let sessions = self.procs[master].plane.sessions.iter();
        let conns: Vec<ConnId> = sessions
            .filter(|(_, session)| session.replica == replica)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            self.end_session(master, conn, replica);
        }
    }
}
