//! The side that gives: streams, catches up, pauses, and then waits for the log's verdict.

use slotward_cluster::{Member, Move, MoveId};
use slotward_types::{Millis, ReplOffset};

use super::stages::StageKey;
use super::{MoveConfig, MoveData, MoveEffect};
use crate::entry::Entry;
use crate::plant::{Plant, planted};

/// How far a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection to the target's master.
    Waiting { from: Millis },
    /// The snapshot and what follows it are on their way.
    Streaming,
    /// The order to pause was given, and must be carried out before its end is known.
    Pausing { since: Millis },
    /// Nothing touches the slots after `end`. Only the log ends this.
    Paused { since: Millis, end: ReplOffset },
}

/// One move, at the master of its source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: MoveId,
    pub(super) begun: Move,
    to: Member,
    pub(super) phase: Phase,
    attempt: u32,
    /// When the target last showed progress.
    heard: Millis,
    staged: Option<ReplOffset>,
    /// When a cancel was last proposed.
    gave_up: Option<Millis>,
}

impl Source {
    pub(super) fn new(now: Millis, id: MoveId, begun: Move, to: Member) -> Self {
        let phase = Phase::Waiting { from: now };
        Source { id, begun, to, phase, attempt: 0, heard: now, staged: None, gave_up: None }
    }

    /// Whether no command may touch the slots.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Pausing { .. } | Phase::Paused { .. })
    }

    fn key(&self) -> StageKey {
        StageKey { id: self.id, source_epoch: self.begun.source_epoch }
    }

    pub(super) fn tick(&mut self, now: Millis, config: &MoveConfig, effects: &mut Vec<MoveEffect>) {
        match self.phase {
            Phase::Waiting { from } if now >= from => {
                if self.attempt == config.attempts_max {
                    return self.give_up(now, config, effects);
                }
                self.attempt += 1;
                self.heard = now;
                self.staged = None;
                self.phase = Phase::Streaming;
                let (key, attempt) = (self.key(), self.attempt);
                let slots = self.begun.slots.clone();
                effects.push(MoveEffect::OpenStream { key, attempt, to: self.to, slots });
            }
            Phase::Waiting { .. } => {}
            Phase::Streaming if now.since(self.heard) >= config.stall_max => {
                self.on_down(now, config, self.attempt, effects);
            }
            Phase::Streaming => {}
            Phase::Pausing { since } | Phase::Paused { since, .. } => {
                if now.since(since) >= config.pause_max {
                    self.give_up(now, config, effects);
                }
            }
        }
    }

    /// Asks the log to end it. Whatever the answer, only the log's verdict ends the pause: a commit
    /// may be on its way (rule 11).
    fn give_up(&mut self, now: Millis, config: &MoveConfig, effects: &mut Vec<MoveEffect>) {
        if self.gave_up.is_none_or(|last| now.since(last) >= config.retry) {
            self.gave_up = Some(now);
            effects.push(MoveEffect::Propose(Entry::CancelMove { id: self.id }));
        }
        if planted(Plant::MoveSourceResumes) && self.is_paused() {
            self.phase = Phase::Waiting { from: Millis(u64::MAX) };
            effects.push(MoveEffect::Resume { id: self.id });
        }
    }

    /// The connection ended, or the target refused it. Before the pause the copy starts over; in
    /// the pause there is no time for that.
    pub(super) fn on_down(
        &mut self,
        now: Millis,
        config: &MoveConfig,
        attempt: u32,
        effects: &mut Vec<MoveEffect>,
    ) {
        if attempt != self.attempt {
            return;
        }
        match self.phase {
            Phase::Waiting { .. } => {}
            Phase::Streaming => {
                effects.push(MoveEffect::CloseStream { id: self.id });
                self.phase = Phase::Waiting { from: now + config.retry };
            }
            Phase::Pausing { .. } | Phase::Paused { .. } => self.give_up(now, config, effects),
        }
    }

    /// The target says how far it is. `held`: the snapshot is at its whole promotable set, so that
    /// a failover after the commit can cost it no more than any failover costs.
    pub(super) fn on_staged(
        &mut self,
        now: Millis,
        config: &MoveConfig,
        data: MoveData,
        (attempt, upto, held): (u32, ReplOffset, bool),
        effects: &mut Vec<MoveEffect>,
    ) {
        if attempt != self.attempt || self.phase != Phase::Streaming {
            return;
        }
        let close = data.end.0.saturating_sub(upto.0) <= config.lag_bytes_max;
        // Being close and waiting for the target's replicas is no stall.
        if close || self.staged.is_none_or(|before| before < upto) {
            self.staged = Some(upto);
            self.heard = now;
        }
        if held && close {
            self.phase = Phase::Pausing { since: now };
            effects.push(MoveEffect::Pause { id: self.id, slots: self.begun.slots.clone() });
        }
    }

    /// The pause is in force. `end` is the end of the log.
    pub(super) fn on_paused(&mut self, end: ReplOffset, effects: &mut Vec<MoveEffect>) {
        if let Phase::Pausing { since } = self.phase {
            self.phase = Phase::Paused { since, end };
            let (id, attempt) = (self.id, self.attempt);
            effects.push(MoveEffect::SendFinal { id, attempt, end });
        }
    }
}
