//! The side that takes: stages through its own log, and proposes the commit once all that must hold
//! the slots hold them.

use slotward_cluster::{Member, Move, MoveId};
use slotward_types::{Millis, ReplOffset};

use super::stages::{Fit, MoveRecord, Piece, StageKey, Stages};
use super::{MoveConfig, MoveData, MoveEffect, record};
use crate::entry::Entry;
use crate::plant::{Plant, planted};

/// Where something lies in our own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is not there.
    Absent,
    /// It was appended in the step before the next one, which sees where.
    Appended,
    /// At or before this offset.
    At(ReplOffset),
}

impl Mark {
    fn fix(&mut self, data: MoveData) {
        if *self == Mark::Appended {
            *self = Mark::At(data.end);
        }
    }

    fn is_held(self, data: MoveData) -> bool {
        matches!(self, Mark::At(offset) if offset <= data.held)
    }
}

/// One move, at the master of its target.
#[derive(Debug)]
pub(super) struct Target {
    id: MoveId,
    begun: Move,
    from: Member,
    attempt: u32,
    /// Up to where the source has told, once the whole snapshot is here.
    upto: Option<ReplOffset>,
    snapshot: Mark,
    sealed: Mark,
    /// What the source was told last.
    told: Option<(ReplOffset, bool, Millis)>,
    proposed: Option<Millis>,
}

impl Target {
    pub(super) fn new(id: MoveId, begun: Move, from: Member) -> Self {
        Target {
            id,
            begun,
            from,
            attempt: 0,
            upto: None,
            snapshot: Mark::Absent,
            sealed: Mark::Absent,
            told: None,
            proposed: None,
        }
    }

    fn key(&self) -> StageKey {
        StageKey { id: self.id, source_epoch: self.begun.source_epoch }
    }

    /// The source's master connects. A connection of another epoch or run is not its.
    pub(super) fn on_open(
        &mut self,
        key: StageKey,
        attempt: u32,
        from: Member,
        stages: &mut Stages,
        effects: &mut Vec<MoveEffect>,
    ) -> bool {
        if key != self.key() || from != self.from || attempt <= self.attempt {
            return false;
        }
        // A copy that was sealed is under vote already: nothing may replace it.
        if self.sealed != Mark::Absent {
            return false;
        }
        self.attempt = attempt;
        self.upto = None;
        self.snapshot = Mark::Absent;
        self.told = None;
        let slots = self.begun.slots.clone();
        record(stages, effects, MoveRecord::Begin { key, slots, attempt });
        true
    }

    /// A piece arrives; `empty`: without any effect. False: the connection is of no more use.
    pub(super) fn on_piece(
        &mut self,
        piece: Piece,
        empty: bool,
        stages: &mut Stages,
        effects: &mut Vec<MoveEffect>,
    ) -> bool {
        let key = self.key();
        let Some(stage) = stages.get(key) else { return false };
        match stage.fit(self.upto, piece) {
            Fit::Repeated => return true,
            Fit::Gap => return false,
            Fit::Next => {}
        }
        let staged = match piece {
            Piece::Part(_, at) => {
                self.upto = at;
                if at.is_some() {
                    self.snapshot = Mark::Appended;
                }
                piece
            }
            Piece::Entries(_, to) => {
                self.upto = Some(to);
                if empty {
                    return true;
                }
                Piece::Entries(stage.upto.expect("entries fit after the snapshot"), to)
            }
            Piece::Final(_) => {
                self.sealed = Mark::Appended;
                piece
            }
        };
        record(stages, effects, MoveRecord::Piece { key, piece: staged });
        true
    }

    /// Called before every event: what was appended in the step before has its place by now.
    pub(super) fn fix(&mut self, data: MoveData) {
        self.snapshot.fix(data);
        self.sealed.fix(data);
    }

    /// After every event: tells the source how far it is, and proposes the commit when its time
    /// has come.
    pub(super) fn settle(
        &mut self,
        now: Millis,
        me: Member,
        data: MoveData,
        config: &MoveConfig,
        stages: &Stages,
        effects: &mut Vec<MoveEffect>,
    ) {
        let upto = self.upto;
        let held = self.snapshot.is_held(data);
        let told = |upto| {
            self.told.is_some_and(|(before, was_held, at)| {
                (before, was_held) == (upto, held) && now.since(at) < config.retry
            })
        };
        if let Some(upto) = upto
            && !told(upto)
        {
            self.told = Some((upto, held, now));
            let (id, attempt, to) = (self.id, self.attempt, self.from);
            effects.push(MoveEffect::TellStaged { id, attempt, to, upto, held });
        }
        if !self.may_commit(data, config) {
            return;
        }
        if self.proposed.is_none_or(|last| now.since(last) >= config.retry) {
            self.proposed = Some(now);
            assert!(
                stages.get(self.key()).is_some_and(|stage| stage.sealed),
                "a commit of move {} without its whole copy",
                self.id
            );
            effects.push(MoveEffect::Propose(Entry::CommitMove {
                id: self.id,
                source_epoch: self.begun.source_epoch,
                target_epoch: self.begun.target_epoch,
                by: me,
            }));
        }
    }

    /// Rule 11: in in-sync mode whoever may be promoted holds all of it; else the snapshot, and what
    /// followed may share the fate of any other tail.
    fn may_commit(&self, data: MoveData, config: &MoveConfig) -> bool {
        match self.sealed {
            Mark::Absent => false,
            _ if planted(Plant::MoveSetNotAwaited) => true,
            Mark::Appended => !config.in_sync,
            Mark::At(_) => !config.in_sync || self.sealed.is_held(data),
        }
    }
}
