//! The connected clients, as `CLIENT LIST` shows them and `CLIENT KILL` finds them.
//!
//! A connection's own task owns everything about it; what others may see or ask of it lies here, in
//! atomics that the task updates once per batch.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use slotward_types::UnixMillis;

use crate::blocking::Wait;

/// Properties of a connection that others look at; bits of [`Client::marks`].
pub(crate) mod mark {
    /// Queues commands after `MULTI`.
    pub(crate) const MULTI: u32 = 1;
    /// Follows us.
    pub(crate) const REPLICA: u32 = 1 << 1;
    /// We follow it.
    pub(crate) const MASTER: u32 = 1 << 2;
    /// Waits in a blocking command.
    pub(crate) const BLOCKED: u32 = 1 << 3;
    /// Said `READONLY`.
    pub(crate) const READONLY: u32 = 1 << 4;
    /// Said `CLIENT NO-EVICT ON`.
    pub(crate) const NO_EVICT: u32 = 1 << 5;
    /// Said `CLIENT NO-TOUCH ON`.
    pub(crate) const NO_TOUCH: u32 = 1 << 6;
    /// A watched key has changed.
    pub(crate) const DIRTY: u32 = 1 << 7;
    /// Will be closed once its reply is written.
    pub(crate) const CLOSING: u32 = 1 << 8;
    /// Came over a Unix socket.
    pub(crate) const UNIX: u32 = 1 << 9;
    /// Has subscribed to something.
    pub(crate) const SUBSCRIBED: u32 = 1 << 10;
    /// Keeps copies of keys (`CLIENT TRACKING`).
    pub(crate) const TRACKING: u32 = 1 << 11;
    /// Hears of all changes under some prefixes.
    pub(crate) const BROADCAST: u32 = 1 << 12;
    /// Does not want to hear of its own changes.
    pub(crate) const NO_LOOP: u32 = 1 << 13;
    /// Who should hear for it is gone.
    pub(crate) const REDIRECT_BROKEN: u32 = 1 << 14;
}

/// What the rest of the node knows of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Never used twice by one process.
    pub(crate) id: u64,
    /// The peer's address.
    pub(crate) address: Box<str>,
    /// Our own.
    pub(crate) local: Box<str>,
    /// When it connected.
    pub(crate) since: UnixMillis,
    /// Taken away before the socket is closed, so that nobody shuts down a stranger's.
    socket: Mutex<Option<RawFd>>,
    killed: AtomicBool,
    /// See [`mark`].
    pub(crate) marks: AtomicU32,
    /// The database it has selected.
    pub(crate) db: AtomicU16,
    /// 2 or 3.
    pub(crate) protocol: AtomicU8,
    /// The last command, by number; `u16::MAX` before the first.
    pub(crate) last_command: AtomicU16,
    /// When it last sent something.
    pub(crate) last_active: AtomicI64,
    /// How many commands are queued, -1 outside `MULTI`.
    pub(crate) queued: AtomicI32,
    /// How many keys are watched.
    pub(crate) watched: AtomicU32,
    /// Bytes received that are not executed yet.
    pub(crate) input_bytes: AtomicU32,
    /// Bytes of replies that the socket has not taken yet.
    pub(crate) output_bytes: AtomicU64,
    /// Bytes of messages that wait for it.
    pub(crate) mail_bytes: AtomicU64,
    /// How many subscriptions it has, by [`Scope::index`].
    pub(crate) subscriptions: [AtomicU32; 3],
    /// Who hears for it of changed keys; 0 for itself.
    pub(crate) redirect: AtomicU64,
    /// The worker that serves it.
    pub(crate) worker: u16,
    /// What it has called itself.
    pub(crate) names: Mutex<Names>,
    /// What it waits for.
    blocked: Mutex<Weak<Wait>>,
}

/// What a client says of itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    /// `CLIENT SETNAME`.
    pub(crate) name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub(crate) lib_name: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub(crate) lib_version: String,
}

impl Client {
    /// What it holds in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.input_bytes.load(Ordering::Relaxed))
            + self.output_bytes.load(Ordering::Relaxed)
            + self.mail_bytes.load(Ordering::Relaxed)
            + size_of::<Client>() as u64
    }

    fn new(
        id: u64,
        socket: Option<RawFd>,
        address: String,
        local: String,
        now: UnixMillis,
        worker: u16,
    ) -> Client {
        Client {
            id,
            address: address.into(),
            local: local.into(),
            since: now,
            socket: Mutex::new(socket),
            killed: AtomicBool::new(false),
            marks: AtomicU32::new(0),
            db: AtomicU16::new(0),
            protocol: AtomicU8::new(2),
            last_command: AtomicU16::new(u16::MAX),
            last_active: AtomicI64::new(now.0),
            queued: AtomicI32::new(-1),
            watched: AtomicU32::new(0),
            input_bytes: AtomicU32::new(0),
            output_bytes: AtomicU64::new(0),
            mail_bytes: AtomicU64::new(0),
            subscriptions: Default::default(),
            redirect: AtomicU64::new(0),
            worker,
            names: Mutex::default(),
            blocked: Mutex::default(),
        }
    }

    /// Stands for the master while its stream is applied; nobody lists it.
    pub(crate) fn of_the_master() -> Arc<Client> {
        let client = Client::new(0, None, String::new(), String::new(), UnixMillis(0), 0);
        client.mark(mark::MASTER, true);
        Arc::new(client)
    }

    /// Whether all bits of `wanted` are set.
    pub(crate) fn is(&self, wanted: u32) -> bool {
        self.marks.load(Ordering::Relaxed) & wanted == wanted
    }

    /// Sets or clears bits.
    pub(crate) fn mark(&self, bits: u32, on: bool) {
        if on {
            self.marks.fetch_or(bits, Ordering::Relaxed);
        } else {
            self.marks.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    /// What it waits for in a blocking command, if it does.
    pub(crate) fn blocked(&self) -> Option<Arc<Wait>> {
        if self.is(mark::BLOCKED) { self.blocked.lock().upgrade() } else { None }
    }

    /// Notes what it waits for, until the mark is taken away.
    pub(crate) fn set_blocked(&self, wait: &Arc<Wait>) {
        *self.blocked.lock() = Arc::downgrade(wait);
        self.mark(mark::BLOCKED, true);
    }

    /// Ends the connection from outside: its task finds the socket at its end.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        let socket = self.socket.lock();
        if let Some(fd) = *socket {
            // SAFETY: `fd` is open as long as it is here, and the lock keeps it here; shutting a
            // socket down has no memory effects.
            let status = unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
            if status != 0 {
                tracing::debug!(client = self.id, "the killed client was gone already");
            }
        }
    }

    /// Notes how much it has sent that is not executed yet.
    #[inline]
    pub(crate) fn note_input(&self, bytes: usize) {
        self.input_bytes.store(u32::try_from(bytes).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Whether somebody has killed it.
    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// To be called before the socket is closed.
    pub(crate) fn forget_socket(&self) {
        self.socket.lock().take();
    }

    /// What `CLIENT GETREDIR` tells: -1 without tracking.
    pub(crate) fn redirection(&self) -> i64 {
        if self.is(mark::TRACKING) { self.redirect.load(Ordering::Relaxed) as i64 } else { -1 }
    }

    /// The kind that `CLIENT LIST TYPE` and `CLIENT KILL TYPE` know.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is(mark::MASTER) {
            "master"
        } else if self.is(mark::REPLICA) {
            "replica"
        } else if self.is(mark::SUBSCRIBED) {
            "pubsub"
        } else {
            "normal"
        }
    }

    /// The flag letters of `CLIENT LIST`.
    fn letters(&self) -> String {
        const LETTERS: &[(u32, char)] = &[
            (mark::REPLICA, 'S'),
            (mark::MASTER, 'M'),
            (mark::SUBSCRIBED, 'P'),
            (mark::MULTI, 'x'),
            (mark::BLOCKED, 'b'),
            (mark::TRACKING, 't'),
            (mark::REDIRECT_BROKEN, 'R'),
            (mark::BROADCAST, 'B'),
            (mark::DIRTY, 'd'),
            (mark::CLOSING, 'c'),
            (mark::UNIX, 'U'),
            (mark::READONLY, 'r'),
            (mark::NO_EVICT, 'e'),
            (mark::NO_TOUCH, 'T'),
        ];
        let letters: String =
            LETTERS.iter().filter(|(bit, _)| self.is(*bit)).map(|(_, letter)| *letter).collect();
        if letters.is_empty() { "N".to_owned() } else { letters }
    }

    /// Its line of `CLIENT LIST`.
    pub(crate) fn describe(&self, now: UnixMillis, command: &str) -> String {
        let names = self.names.lock().clone();
        let seconds = |since: i64| (now.0 - since).max(0) / 1000;
        let input = self.input_bytes.load(Ordering::Relaxed);
        let output =
            self.output_bytes.load(Ordering::Relaxed) + self.mail_bytes.load(Ordering::Relaxed);
        let [channels, patterns, shard_channels] =
            std::array::from_fn(|at| self.subscriptions[at].load(Ordering::Relaxed));
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={channels} \
             psub={patterns} ssub={shard_channels} multi={} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 \
             oll={} omem={output} tot-mem={} events={} cmd={command} user=default redir={} resp={} \
             lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            self.socket.lock().unwrap_or(-1),
            names.name,
            seconds(self.since.0),
            seconds(self.last_active.load(Ordering::Relaxed)),
            self.letters(),
            self.db.load(Ordering::Relaxed),
            self.queued.load(Ordering::Relaxed),
            u32::from(output > 0),
            size_of::<Client>() as u64 + u64::from(input) + output,
            if output > 0 { "rw" } else { "r" },
            self.redirection(),
            self.protocol.load(Ordering::Relaxed),
            names.lib_name,
            names.lib_version,
        )
    }
}

/// All connections of the node.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    known: RwLock<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Enters a new connection.
    pub(crate) fn enter(
        &self,
        socket: RawFd,
        address: String,
        local: String,
        unix: bool,
        now: UnixMillis,
        worker: u16,
    ) -> Arc<Client> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, Some(socket), address, local, now, worker));
        client.mark(mark::UNIX, unix);
        self.known.write().insert(id, client.clone());
        client
    }

    /// Takes a connection out.
    pub(crate) fn leave(&self, id: u64) {
        self.known.write().remove(&id);
    }

    /// The connection with this number, if there is one.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.known.read().get(&id).cloned()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.known.read().len()
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.known.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_describes_itself() {
        let clients = Clients::default();
        let client =
            clients.enter(7, "1.2.3.4:5".into(), "6.7.8.9:10".into(), false, UnixMillis(1000), 0);
        client.mark(mark::MULTI | mark::READONLY, true);
        client.names.lock().name = "joe".into();
        let line = client.describe(UnixMillis(3500), "client|list");
        for part in ["id=1 ", " addr=1.2.3.4:5 ", " name=joe ", " age=2 ", " flags=xr ", " fd=7 "] {
            assert!(line.contains(part), "{part} in {line}");
        }
        client.mark(mark::MULTI | mark::READONLY, false);
        assert_eq!(client.letters(), "N");
        client.forget_socket();
        client.kill();
        assert!(client.is_killed());
        clients.leave(1);
        assert_eq!(clients.count(), 0);
    }
}
