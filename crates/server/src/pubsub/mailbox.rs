//! What waits to be pushed to one connection.
//!
//! Belongs to the connection's worker; nobody else touches it. The connection writes what is here
//! between its replies, or when it has nothing else to do.
//!
//! **Invariant:** what waits stays below the hard limit of the class `pubsub` in
//! `client-output-buffer-limit`: a client that exceeds it is ended, and nothing more is kept for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use slotward_config::BufferLimit;
use slotward_resp::Protocol;
use slotward_types::Millis;

use super::message::{Body, Scope, head};
use crate::client::{Client, mark};
use crate::clock;

/// What a waiting message takes beside its shared bytes.
const OVERHEAD: usize = size_of::<Piece>();

struct Piece {
    head: u8,
    body: Body,
}

impl Piece {
    fn len(&self) -> usize {
        1 + self.body.len()
    }
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// How much of the first has been written.
    written: usize,
    bytes: usize,
}

/// The names of one connection's subscriptions, by [`Scope::index`].
type Subscriptions = [BTreeSet<Arc<[u8]>>; 3];

/// The messages that wait for one connection.
pub(crate) struct Mailbox {
    client: Arc<Client>,
    waker: Waker,
    queue: RefCell<Queue>,
    has_mail: Cell<bool>,
    closed: Cell<bool>,
    /// Since when more than the soft limit has been waiting.
    over_since: Cell<Option<Millis>>,
    /// What the connection has subscribed to; most have to nothing.
    subscriptions: RefCell<Option<Box<Subscriptions>>>,
}

impl Mailbox {
    /// The mailbox of a connection whose task this wakes.
    pub(crate) fn new(client: Arc<Client>, waker: Waker) -> Mailbox {
        Mailbox {
            client,
            waker,
            queue: RefCell::default(),
            has_mail: Cell::new(false),
            closed: Cell::new(false),
            over_since: Cell::new(None),
            subscriptions: RefCell::default(),
        }
    }

    /// Whose it is.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The version of the protocol that it is written to in.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.client.protocol.load(Ordering::Relaxed) {
            3 => Protocol::Resp3,
            _ => Protocol::Resp2,
        }
    }

    /// Whether the connection has subscribed to this.
    pub(super) fn has_subscribed(&self, scope: Scope, name: &[u8]) -> bool {
        self.subscriptions.borrow().as_ref().is_some_and(|all| all[scope.index()].contains(name))
    }

    /// To how many names of this scope it has subscribed.
    pub(super) fn subscribed(&self, scope: Scope) -> usize {
        self.subscriptions.borrow().as_ref().map_or(0, |all| all[scope.index()].len())
    }

    /// What it has subscribed to.
    pub(super) fn names(&self, scope: Scope) -> Vec<Arc<[u8]>> {
        let subscriptions = self.subscriptions.borrow();
        subscriptions.iter().flat_map(|all| all[scope.index()].iter().cloned()).collect()
    }

    /// Notes a subscription.
    pub(super) fn remember(&self, scope: Scope, name: Arc<[u8]>) {
        self.subscriptions.borrow_mut().get_or_insert_default()[scope.index()].insert(name);
        self.show(scope);
    }

    /// Notes the end of a subscription.
    pub(super) fn forget(&self, scope: Scope, name: &[u8]) {
        if let Some(all) = self.subscriptions.borrow_mut().as_deref_mut() {
            all[scope.index()].remove(name);
        }
        self.show(scope);
        if Scope::ALL.iter().all(|scope| self.subscribed(*scope) == 0) {
            self.subscriptions.take();
        }
    }

    /// Lets others see the number of subscriptions.
    fn show(&self, scope: Scope) {
        let count = u32::try_from(self.subscribed(scope)).unwrap_or(u32::MAX);
        self.client.subscriptions[scope.index()].store(count, Ordering::Relaxed);
        let any = Scope::ALL.iter().any(|scope| self.subscribed(*scope) > 0);
        self.client.mark(mark::SUBSCRIBED, any);
    }

    /// Whether something waits.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.get()
    }

    /// Returns when something waits, to the task of the connection.
    pub(crate) async fn arrived(&self) {
        // Its waker is known already.
        std::future::poll_fn(|_| if self.has_mail() { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Puts a message behind all that wait, or ends the client if that is too much.
    pub(crate) fn put(&self, body: &Body, limit: &BufferLimit) {
        if self.closed.get() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let piece = Piece { head: head(self.protocol()), body: Arc::clone(body) };
        queue.bytes += piece.len() + OVERHEAD;
        queue.pieces.push_back(piece);
        self.client.mail_bytes.store(queue.bytes as u64, Ordering::Relaxed);
        if self.exceeds(queue.bytes as u64, limit) {
            *queue = Queue::default();
            drop(queue);
            self.give_up();
            return;
        }
        if !self.has_mail.replace(true) {
            self.waker.wake_by_ref();
        }
    }

    fn exceeds(&self, bytes: u64, limit: &BufferLimit) -> bool {
        if limit.hard_bytes > 0 && bytes > limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
            self.over_since.set(None);
            return false;
        }
        let now = clock::boot_now();
        let since = self.over_since.get().unwrap_or(now);
        self.over_since.set(Some(since));
        now.since(since).0 > limit.soft_seconds.saturating_mul(1000)
    }

    /// Looks whether the soft limit has been exceeded for too long, though nothing came.
    pub(crate) fn check(&self, limit: &BufferLimit) {
        let bytes = self.queue.borrow().bytes as u64;
        if !self.closed.get() && self.exceeds(bytes, limit) {
            *self.queue.borrow_mut() = Queue::default();
            self.give_up();
        }
    }

    fn give_up(&self) {
        tracing::warn!(client = self.client.id, "closing a subscriber: output limit");
        self.closed.set(true);
        self.client.mail_bytes.store(0, Ordering::Relaxed);
        // The task has to see its end, not the mail.
        self.has_mail.set(false);
        self.client.kill();
        self.waker.wake_by_ref();
    }

    /// Copies what waits, from the first on, until there are `bytes_max` or more; it stays here until
    /// [`Mailbox::advance`] says that it is written.
    pub(crate) fn copy_to(&self, out: &mut Vec<u8>, bytes_max: usize) {
        let queue = self.queue.borrow();
        let mut skip = queue.written;
        for piece in &queue.pieces {
            if skip == 0 {
                out.push(piece.head);
            }
            out.extend_from_slice(&piece.body[skip.saturating_sub(1)..]);
            skip = 0;
            if out.len() >= bytes_max {
                break;
            }
        }
    }

    /// So many bytes have been written.
    pub(crate) fn advance(&self, bytes: usize) {
        let mut queue = self.queue.borrow_mut();
        queue.written += bytes;
        while let Some(first) = queue.pieces.front() {
            let len = first.len();
            if queue.written < len {
                break;
            }
            queue.written -= len;
            queue.bytes -= len + OVERHEAD;
            queue.pieces.pop_front();
        }
        if queue.pieces.is_empty() {
            *queue = Queue::default();
            self.has_mail.set(false);
        }
        if self.over_since.get().is_some() && queue.bytes == 0 {
            self.over_since.set(None);
        }
        self.client.mail_bytes.store(queue.bytes as u64, Ordering::Relaxed);
    }

    /// Moves all that waits behind the replies.
    pub(crate) fn move_to(&self, out: &mut Vec<u8>) {
        let before = out.len();
        self.copy_to(out, usize::MAX);
        self.advance(out.len() - before);
        debug_assert!(!self.has_mail(), "all of it was moved");
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mailbox(of {}, {} bytes)", self.client.id, self.queue.borrow().bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: BufferLimit = BufferLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };

    fn mailbox() -> Mailbox {
        Mailbox::new(Client::of_the_master(), Waker::noop().clone())
    }

    fn body(text: &str) -> Body {
        text.as_bytes().into()
    }

    #[test]
    fn what_waits_comes_in_order_and_in_any_portions() {
        let texts = ["3 first", "3 second, longer", "", "3 last"];
        let whole: String = texts.iter().map(|text| format!("*{text}")).collect();
        for portion in 1..whole.len() + 1 {
            let mailbox = mailbox();
            texts.iter().for_each(|text| mailbox.put(&body(text), &NO_LIMIT));
            let mut seen = Vec::new();
            while mailbox.has_mail() {
                let mut out = Vec::new();
                mailbox.copy_to(&mut out, 10);
                let taken = portion.min(out.len());
                seen.extend_from_slice(&out[..taken]);
                mailbox.advance(taken);
            }
            assert_eq!(String::from_utf8_lossy(&seen), whole, "by {portion}");
            assert_eq!(mailbox.queue.borrow().bytes, 0);
        }
    }

    #[test]
    fn too_much_ends_the_client() {
        let mailbox = mailbox();
        let limit = BufferLimit { hard_bytes: 200, ..NO_LIMIT };
        let text = body(&"x".repeat(90));
        mailbox.put(&text, &limit);
        assert!(mailbox.has_mail() && !mailbox.client.is_killed());
        mailbox.put(&text, &limit);
        assert!(mailbox.client.is_killed());
        assert!(!mailbox.has_mail(), "nothing is kept for it");
        mailbox.put(&text, &limit);
        assert_eq!(mailbox.queue.borrow().bytes, 0);
    }

    #[test]
    fn the_soft_limit_gives_time() {
        let mailbox = mailbox();
        let soft = |soft_seconds| BufferLimit { hard_bytes: 0, soft_bytes: 50, soft_seconds };
        mailbox.put(&body(&"x".repeat(90)), &soft(3600));
        mailbox.check(&soft(3600));
        assert!(!mailbox.client.is_killed());
        mailbox.over_since.set(Some(Millis(0)));
        mailbox.check(&soft(0));
        assert!(mailbox.client.is_killed());
    }
}
