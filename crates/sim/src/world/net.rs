//! Connections and messages.
//!
//! A connection keeps its order. While nothing passes, what was sent on it waits (TCP sends it
//! again) and arrives when it can, unless one end has closed meanwhile. Messages between sentinels
//! travel alone: late, twice, in any order, or not at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slotward_failover::{NodeEvent, SentinelEvent, SentinelId, StreamId};

use super::{Event, MS, Proc, Thing, World};

/// Names a connection for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(pub(super) u64);

/// Connections, as opposed to messages that travel alone.
pub(super) struct Tcp;

/// After this silence a node gives up the connection to a sentinel.
const KEEP_ALIVE: u64 = 2_000 * MS;

#[derive(Default)]
pub(super) struct Net {
    /// Directed pairs that nothing passes.
    pub(super) cuts: BTreeSet<(Proc, Proc)>,
    /// Machines without power: not even a refusal comes from there.
    pub(super) dark: BTreeSet<Proc>,
    /// When the last message of a connection arrives, per direction.
    last: BTreeMap<(ConnId, Proc), u64>,
    /// Messages that wait for a cut to mend.
    held: BTreeMap<(Proc, Proc), VecDeque<(u64, Event)>>,
    /// What is sent from one to the other takes at least until then (for directed stories).
    pub(super) slow: BTreeMap<(Proc, Proc), u64>,
    conns: u64,
}

impl Net {
    pub(super) fn passes(&self, from: Proc, to: Proc) -> bool {
        !self.cuts.contains(&(from, to))
    }

    pub(super) fn both_ways(&self, one: Proc, other: Proc) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    pub(super) fn hold_back(&mut self, from: Proc, to: Proc, run: u64, event: Event) {
        // What travels alone is not sent again.
        if Tcp::of(&event).is_some() {
            self.held.entry((from, to)).or_default().push_back((run, event));
        }
    }

    pub(super) fn new_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }
}

impl World {
    fn delay(&mut self) -> u64 {
        if self.random.chance(self.faults.long_delay) {
            return 200 * MS + self.random.below(3000 * MS);
        }
        50 + self.random.below(self.faults.delay_max.max(MS))
    }

    /// On a connection: in order, and sooner or later.
    pub(super) fn send_on(&mut self, conn: ConnId, from: Proc, to: Proc, event: Event) {
        let mut after = self.delay();
        let on_stream = matches!(event, Event::ToSentinel(..) | Event::ToNode(..));
        let alone = self.faults.datagrams && on_stream;
        if self.random.chance(self.faults.loss) {
            if alone {
                return;
            }
            after += 200 * MS;
        }
        let mut at = self.not_before(from, to, self.now + after);
        if !alone {
            let last = self.net.last.entry((conn, to)).or_default();
            at = at.max(*last);
            *last = at;
        } else if self.random.chance(self.faults.twice) {
            let later = at + self.delay() - self.now;
            self.arrive(later, from, to, event.clone());
        }
        self.arrive(at - self.now, from, to, event);
    }

    /// Between sentinels: each message alone.
    pub(super) fn send_alone(&mut self, from: Proc, to: Proc, event: Event) {
        if !self.net.passes(from, to) || self.random.chance(self.faults.loss) {
            return;
        }
        if self.random.chance(self.faults.twice) {
            let after = self.delay();
            self.arrive(after, from, to, event.clone());
        }
        let after = self.delay();
        let at = self.not_before(from, to, self.now + after);
        self.arrive(at - self.now, from, to, event);
    }

    fn not_before(&self, from: Proc, to: Proc, at: u64) -> u64 {
        self.net.slow.get(&(from, to)).map_or(at, |&slow| at.max(slow))
    }

    fn arrive(&mut self, after: u64, from: Proc, to: Proc, event: Event) {
        let run = self.procs[to].run;
        self.schedule(after, Thing::Arrive { from, to, run, event });
    }

    /// What one sends to the other from now on arrives no earlier than in so many milliseconds.
    pub(crate) fn slow(&mut self, from: Proc, to: Proc, ms: u64) {
        self.net.slow.insert((from, to), self.now + ms * MS);
    }

    /// A message has crossed. One on a connection that is not known here is answered by a reset.
    pub(super) fn receive(&mut self, from: Proc, to: Proc, run: u64, event: Event) {
        let Some(conn) = Tcp::of(&event) else {
            self.reach(to, run, event);
            return;
        };
        if self.knows(to, from, conn) {
            if !self.procs[to].frozen {
                self.procs[to].heard.insert(from, self.now);
            }
            self.reach(to, run, event);
        } else if !matches!(event, Event::Closed(_)) && !self.net.dark.contains(&to) {
            self.close_to(to, from, conn);
        }
    }

    /// Whether this end has the connection. A listening socket takes a new link.
    fn knows(&self, proc: Proc, other: Proc, conn: ConnId) -> bool {
        self.alive(proc)
            && (self.procs[proc].streams.get(&other) == Some(&conn)
                || self.procs[proc].plane.knows(conn))
    }

    /// Tells the other end that this one has closed.
    pub(super) fn close_to(&mut self, from: Proc, to: Proc, conn: ConnId) {
        self.send_on(conn, from, to, Event::Closed(conn));
    }

    /// The other end of a connection has closed.
    pub(super) fn on_closed(&mut self, proc: Proc, conn: ConnId) {
        let stream = self.procs[proc].streams.iter().find(|(_, known)| **known == conn);
        if let Some((&other, _)) = stream {
            self.procs[proc].streams.remove(&other);
            self.stream_ended(proc, other, conn);
        } else {
            self.link_closed(proc, conn);
        }
    }

    fn stream_ended(&mut self, proc: Proc, other: Proc, conn: ConnId) {
        if self.is_sentinel(proc) {
            self.step_sentinel(proc, SentinelEvent::StreamClosed(StreamId(conn.0)));
        } else {
            self.step_node(proc, NodeEvent::SentinelDown(SentinelId(other as u64)));
        }
    }

    pub(super) fn release_held(&mut self, from: Proc, to: Proc) {
        let Some(held) = self.net.held.remove(&(from, to)) else { return };
        for (run, event) in held {
            // At once, so that nothing sent later overtakes it.
            self.receive(from, to, run, event);
        }
    }

    /// Nodes keep a stream to every sentinel, and give one up on which nothing is heard.
    pub(super) fn open_streams(&mut self) {
        for node in self.nodes() {
            if !self.usable(node) {
                continue;
            }
            for sentinel in self.sentinels() {
                match self.procs[node].streams.get(&sentinel).copied() {
                    Some(conn) => {
                        let heard = self.procs[node].heard.get(&sentinel).copied().unwrap_or(0);
                        let silent = self.now - heard > KEEP_ALIVE;
                        if silent || self.random.chance(self.faults.reset) {
                            self.procs[node].streams.remove(&sentinel);
                            self.close_to(node, sentinel, conn);
                            self.stream_ended(node, sentinel, conn);
                        }
                    }
                    None => self.open_stream(node, sentinel),
                }
            }
        }
    }

    fn open_stream(&mut self, node: Proc, sentinel: Proc) {
        let soon = self.random.chance(600);
        if !soon || !self.usable(sentinel) || !self.net.both_ways(node, sentinel) {
            return;
        }
        let conn = self.net.new_conn();
        self.procs[node].streams.insert(sentinel, conn);
        self.procs[sentinel].streams.insert(node, conn);
        self.procs[node].heard.insert(sentinel, self.now);
        let opened = SentinelEvent::StreamOpened(StreamId(conn.0), self.member(node));
        self.step_sentinel(sentinel, opened);
        self.step_node(node, NodeEvent::SentinelUp(SentinelId(sentinel as u64)));
    }
}
