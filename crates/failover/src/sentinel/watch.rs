//! What a sentinel has seen of each node: heartbeats, streams, probes.

use slotward_cluster::{Member, Timing};
use slotward_types::{Incarnation, Millis};

use super::StreamId;
use crate::message::Heartbeat;

/// One node, as this sentinel sees it.
#[derive(Debug)]
pub(super) struct Watched {
    /// The newest run it has heard of.
    pub(super) incarnation: Incarnation,
    /// When it heard that run, or began to listen for it.
    pub(super) heard: Millis,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) stream: Option<StreamId>,
    closed: Option<Closed>,
    /// Whether `+sdown` has been said.
    pub(super) sdown: bool,
}

/// A stream that ended and was not opened again.
#[derive(Debug)]
struct Closed {
    at: Millis,
    probed: Millis,
    reached: bool,
}

impl Watched {
    /// A node that this sentinel begins to listen for.
    pub(super) fn new(now: Millis, incarnation: Incarnation) -> Self {
        Watched {
            incarnation,
            heard: now,
            heartbeat: None,
            stream: None,
            closed: None,
            sdown: false,
        }
    }

    /// A stream of this run opened. Streams of earlier runs are not listened to.
    pub(super) fn on_opened(&mut self, now: Millis, stream: StreamId, run: Incarnation) -> bool {
        if run < self.incarnation {
            return false;
        }
        if run > self.incarnation {
            *self = Watched { sdown: self.sdown, ..Watched::new(now, run) };
        }
        self.stream = Some(stream);
        self.closed = None;
        true
    }

    /// The stream ended: a probe is due at once.
    pub(super) fn on_closed(&mut self, now: Millis, stream: StreamId) -> bool {
        if self.stream != Some(stream) {
            return false;
        }
        self.stream = None;
        self.closed = Some(Closed { at: now, probed: now, reached: false });
        true
    }

    pub(super) fn on_heartbeat(&mut self, now: Millis, heartbeat: Heartbeat) {
        self.heard = now;
        self.heartbeat = Some(heartbeat);
    }

    pub(super) fn on_probed(&mut self, reached: bool) {
        if let Some(closed) = &mut self.closed {
            closed.reached = reached;
        }
    }

    /// Whether to probe again: somebody took the last connection, yet no stream has been opened.
    pub(super) fn probe_due(&mut self, now: Millis, timing: &Timing) -> bool {
        let pause = Millis((timing.reconnect_wait.0 / 2).max(1));
        match &mut self.closed {
            Some(closed) if closed.reached && now.since(closed.probed) >= pause => {
                closed.probed = now;
                closed.reached = false;
                true
            }
            _ => false,
        }
    }

    /// Whether its process is known to have ended: the stream was closed, no other opened within
    /// the reconnect wait, and nobody took the last connection in the time that it had.
    pub(super) fn is_gone(&self, now: Millis, timing: &Timing) -> bool {
        let pause = Millis((timing.reconnect_wait.0 / 2).max(1));
        self.closed.as_ref().is_some_and(|closed| {
            !closed.reached
                && now.since(closed.at) >= timing.reconnect_wait
                && now.since(closed.probed) >= pause
        })
    }

    /// Whether it has been silent for too long. `listening` is since when this sentinel hears at
    /// all (its start, or the end of a freeze of its own).
    pub(super) fn is_silent(&self, now: Millis, listening: Millis, timing: &Timing) -> bool {
        now.since(self.heard.max(listening)) >= timing.down_after
    }

    /// Whether this run is heard at present.
    pub(super) fn hears(&self, now: Millis, run: Incarnation, timing: &Timing) -> bool {
        self.incarnation == run
            && self.stream.is_some()
            && self.heartbeat.is_some()
            && now.since(self.heard) <= Millis(timing.heartbeat.0 * 3)
    }

    /// The same for a member.
    pub(super) fn hears_member(&self, now: Millis, member: Member, timing: &Timing) -> bool {
        self.hears(now, member.incarnation, timing)
    }
}
