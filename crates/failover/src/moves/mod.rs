//! Moving slots between shards: what the master of the source and the nodes of the target decide.
//!
//! A move is an entry of the sentinels' log ([`Entry::BeginMove`]) and ends with another one: a
//! commit, a cancel, or a new epoch of either shard. In between:
//!
//! 1. Source: `OpenStream` to the target's master: the slots' snapshot, then the effects on them.
//! 2. Target: appends all of it to its own log, staged: its replicas get it as they get all else.
//! 3. Target: tells the source how far it is, and whether its promotable set holds the snapshot.
//! 4. Source, when that is close enough: `Pause`, under the worker barrier; then the last effects
//!    and [`Piece::Final`].
//! 5. Target: once the copy is sealed (and in in-sync mode held by the whole set), proposes
//!    [`Entry::CommitMove`].
//! 6. Both learn the verdict from the topology. Target: `Install`, and serves. Source: `Leave`, and
//!    answers the waiting with `MOVED`; or `Resume`.
//!
//! There is no message in which one side tells the other the verdict, and no timeout that stands in
//! for it: a source that waited too long proposes a cancel and goes on waiting.
//!
//! A replica follows the records of its log and decides nothing. When it becomes master, the
//! topology of its epoch knows the verdict on every copy it finds staged: what the copy was staged
//! for has *arrived*, or was cancelled by the new epoch itself. So it installs or drops it, and that
//! too goes through its log.
//!
//! **Invariants:** a paused source serves the slots again only after a cancel; a staged copy is
//! visible only after a commit of exactly its move; a node that may execute for a slot holds all of
//! what its copy brought ([`MoveMachine::admit`]).

mod source;
mod stages;
mod target;

pub use stages::{MoveRecord, Piece, Stage, StageKey, Stages};

use std::collections::BTreeMap;
use std::sync::Arc;

use slotward_cluster::{Member, MoveId, Shard, ShardId, SlotRanges, Topology};
use slotward_types::{Epoch, Millis, ReplOffset, Slot};

use crate::entry::Entry;
use crate::plant::{Plant, planted};
use source::Source;
use target::Target;

/// What a node is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveConfig {
    /// Who it is.
    pub me: Member,
    /// Whether writes are acknowledged only when the whole promotable set holds them.
    pub in_sync: bool,
    /// How far behind the target may be when the source pauses.
    pub lag_bytes_max: u64,
    /// How long the source pauses before it proposes a cancel.
    pub pause_max: Millis,
    /// How long the source streams without a sign of progress before it connects anew.
    pub stall_max: Millis,
    /// Between two attempts at the same thing.
    pub retry: Millis,
    /// How many connections a source tries.
    pub attempts_max: u32,
}

/// How far the node's own log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveData {
    /// Its end.
    pub end: ReplOffset,
    /// As a master: up to where all that may be promoted hold it.
    pub held: ReplOffset,
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveEvent {
    /// Time passes, or the log was acknowledged.
    Tick,
    /// A topology came; older ones than the present do no harm.
    Topology(Arc<Topology>),
    /// It acts as the master of its shard, in this epoch. The topology that says so came before.
    BecameMaster(Epoch),
    /// It is not, or not any more.
    NotMaster,
    /// As a replica: this record was taken from the master's log.
    Replicated(MoveRecord),
    /// As a replica: the data set was replaced, and this is staged in it.
    Replaced(Stages),
    /// As a source: the pause is in force; nothing after this offset touches the slots.
    Paused {
        /// Of which move.
        id: MoveId,
        /// The end of the log.
        end: ReplOffset,
    },
    /// As a source: the connection ended, or was refused.
    StreamDown {
        /// Of which move.
        id: MoveId,
        /// Which connection.
        attempt: u32,
    },
    /// As a source: the target tells.
    Staged {
        /// Of which move.
        id: MoveId,
        /// On which connection.
        attempt: u32,
        /// Up to which offset of our log.
        upto: ReplOffset,
        /// Whether its promotable set holds the snapshot.
        held: bool,
    },
    /// As a target: somebody opens a connection.
    StreamOpened {
        /// For which copy.
        key: StageKey,
        /// Which connection of that source.
        attempt: u32,
        /// Who.
        from: Member,
    },
    /// As a target: a piece arrived. If [`MoveEffect::Append`] follows, its data goes with it.
    Piece {
        /// For which copy.
        key: StageKey,
        /// On which connection.
        attempt: u32,
        /// Which.
        piece: Piece,
        /// Whether it is a stretch of the log in which nothing happened to the slots.
        empty: bool,
    },
    /// As a target: the copy cannot be kept (no memory for it).
    StageFailed(MoveId),
}

/// What a node is to do. All of it has been done before the next event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveEffect {
    /// Put before the sentinels. What becomes of it shows in the topology.
    Propose(Entry),
    /// Append to the log, and do what it says.
    Append(MoveRecord),
    /// Connect to the target's master; send a snapshot of the slots, then their effects.
    OpenStream {
        /// For which copy.
        key: StageKey,
        /// Which connection.
        attempt: u32,
        /// The target's master.
        to: Member,
        /// What to send.
        slots: SlotRanges,
    },
    /// Send nothing more for this move.
    CloseStream {
        /// Which.
        id: MoveId,
    },
    /// Let no command touch the slots: those that come wait. When none is inside one any more, say
    /// [`MoveEvent::Paused`].
    Pause {
        /// For which move.
        id: MoveId,
        /// Which slots.
        slots: SlotRanges,
    },
    /// After all effects up to `end`, send that this is the end.
    SendFinal {
        /// Of which move.
        id: MoveId,
        /// On which connection.
        attempt: u32,
        /// Where the log ended when the pause was in force.
        end: ReplOffset,
    },
    /// Cancelled: serve those that wait.
    Resume {
        /// Which move.
        id: MoveId,
    },
    /// Committed: answer those that wait with `MOVED`.
    Redirect {
        /// Which move.
        id: MoveId,
    },
    /// Refuse or end this incoming connection.
    RefuseStream {
        /// For which move.
        id: MoveId,
        /// Which connection.
        attempt: u32,
    },
    /// Tell the source how far the copy is.
    TellStaged {
        /// Of which move.
        id: MoveId,
        /// On which connection.
        attempt: u32,
        /// Whom.
        to: Member,
        /// Up to which offset of its log.
        upto: ReplOffset,
        /// Whether our promotable set holds the snapshot.
        held: bool,
    },
}

/// What a command on a slot may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Execute, as the master of this epoch, if the lease allows.
    Execute(Epoch),
    /// Wait: the slot is paused for this move.
    Wait(MoveId),
    /// Another shard has it.
    Elsewhere(ShardId),
    /// Nobody has it.
    Unassigned,
    /// This node is not, or not yet, the master that the topology knows.
    NotMaster,
}

/// A node's part in the moves of its shard.
#[derive(Debug)]
pub struct MoveMachine {
    config: MoveConfig,
    topology: Arc<Topology>,
    /// The epoch it acts as master in.
    acting: Option<Epoch>,
    stages: Stages,
    sources: BTreeMap<MoveId, Source>,
    targets: BTreeMap<MoveId, Target>,
}

/// Appends to the log, and follows it.
fn record(stages: &mut Stages, effects: &mut Vec<MoveEffect>, record: MoveRecord) {
    stages.apply(&record);
    effects.push(MoveEffect::Append(record));
}

impl MoveMachine {
    /// A node that starts, with what is staged in the data set it kept.
    pub fn new(config: MoveConfig, stages: Stages) -> Self {
        let (sources, targets) = (BTreeMap::new(), BTreeMap::new());
        let topology = Arc::default();
        MoveMachine { config, topology, acting: None, stages, sources, targets }
    }

    /// Takes one event in.
    pub fn step(
        &mut self,
        now: Millis,
        data: MoveData,
        event: MoveEvent,
        effects: &mut Vec<MoveEffect>,
    ) {
        self.targets.values_mut().for_each(|target| target.fix(data));
        self.on_event(now, data, event, effects);
        let me = self.config.me;
        for source in self.sources.values_mut() {
            source.tick(now, &self.config, effects);
        }
        for target in self.targets.values_mut() {
            target.settle(now, me, data, &self.config, &self.stages, effects);
        }
        self.check();
    }

    /// What is staged here.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Whether a command may execute on this slot. Asked under the slot's lock, and the command
    /// executes under the same one: whatever was asked before is only a guess (rule 11).
    pub fn admit(&self, slot: Slot) -> Admission {
        let Some((shard, epoch)) = self.mastered() else { return Admission::NotMaster };
        if !shard.slots.contains(slot) {
            let owner = self.topology.owner_of(slot);
            return owner.map_or(Admission::Unassigned, |owner| Admission::Elsewhere(owner.id));
        }
        let of_slot = |source: &&Source| source.begun.slots.contains(slot);
        if let Some(source) = self.sources.values().filter(of_slot).find(|s| s.is_paused()) {
            return Admission::Wait(source.id);
        }
        assert!(
            !self.stages.0.iter().any(|(key, stage)| {
                let arrived = self.topology.moves.arrived_at(key.id, shard.id);
                stage.slots.contains(slot) && arrived.is_some_and(|slots| slots.contains(slot))
            }),
            "slot {slot} would be served while what arrived for it is still staged (rule 11)"
        );
        Admission::Execute(epoch)
    }

    /// The shard that this node is master of, by the topology and by what it does.
    fn mastered(&self) -> Option<(&Shard, Epoch)> {
        let shard = self.topology.shard_of(self.config.me.node)?;
        let epoch = self.acting?;
        (shard.epoch == epoch && shard.master == self.config.me).then_some((shard, epoch))
    }

    fn on_event(
        &mut self,
        now: Millis,
        data: MoveData,
        event: MoveEvent,
        effects: &mut Vec<MoveEffect>,
    ) {
        let config = &self.config;
        match event {
            MoveEvent::Tick => {}
            MoveEvent::Topology(topology) => {
                if topology.version > self.topology.version {
                    self.on_topology(now, topology, effects);
                }
            }
            MoveEvent::BecameMaster(epoch) => self.on_became_master(now, epoch, effects),
            MoveEvent::NotMaster => {
                self.acting = None;
                self.abandon(effects);
            }
            MoveEvent::Replicated(record) => {
                assert!(self.acting.is_none(), "a master replicates {record:?}");
                self.stages.apply(&record);
            }
            MoveEvent::Replaced(stages) => {
                assert!(self.acting.is_none(), "a master's data set is replaced");
                self.stages = stages;
            }
            MoveEvent::Paused { id, end } => {
                if let Some(source) = self.sources.get_mut(&id) {
                    source.on_paused(end, effects);
                }
            }
            MoveEvent::StreamDown { id, attempt } => {
                if let Some(source) = self.sources.get_mut(&id) {
                    source.on_down(now, config, attempt, effects);
                }
            }
            MoveEvent::Staged { id, attempt, upto, held } => {
                if let Some(source) = self.sources.get_mut(&id) {
                    source.on_staged(now, config, data, (attempt, upto, held), effects);
                }
            }
            MoveEvent::StreamOpened { key, attempt, from } => {
                let stages = &mut self.stages;
                let target = self.targets.get_mut(&key.id);
                if !target.is_some_and(|t| t.on_open(key, attempt, from, stages, effects)) {
                    effects.push(MoveEffect::RefuseStream { id: key.id, attempt });
                }
            }
            MoveEvent::Piece { key, attempt, piece, empty } => {
                self.on_piece(key, attempt, (piece, empty), effects);
            }
            MoveEvent::StageFailed(id) => {
                if self.targets.contains_key(&id) {
                    effects.push(MoveEffect::Propose(Entry::CancelMove { id }));
                }
            }
        }
    }

    /// A piece counts for the copy it names: its move, the source's epoch, and the connection that
    /// this copy began with.
    fn on_piece(
        &mut self,
        key: StageKey,
        attempt: u32,
        (piece, empty): (Piece, bool),
        effects: &mut Vec<MoveEffect>,
    ) {
        let mut named =
            self.stages.get(key).filter(|stage| stage.attempt == attempt).map(|_| key.id);
        if planted(Plant::MoveStreamUnchecked) {
            named = self.targets.keys().next().copied();
        }
        let target = named.and_then(|id| self.targets.get_mut(&id));
        if !target.is_some_and(|target| target.on_piece(piece, empty, &mut self.stages, effects)) {
            effects.push(MoveEffect::RefuseStream { id: key.id, attempt });
        }
    }

    fn on_became_master(&mut self, now: Millis, epoch: Epoch, effects: &mut Vec<MoveEffect>) {
        self.abandon(effects);
        self.acting = Some(epoch);
        let Some((shard, _)) = self.mastered() else { return };
        // Data of slots that left, which the master that was to drop it may not have dropped.
        let mut left = SlotRanges::new();
        let others = self.topology.shards.values().filter(|other| other.id != shard.id);
        others.for_each(|other| left.extend(&other.slots));
        if !left.is_empty() {
            record(&mut self.stages, effects, MoveRecord::Leave { slots: left });
        }
        self.follow_log(now, effects);
    }

    /// Forgets what it did as the master of an epoch. What it staged stays: the log owns it.
    fn abandon(&mut self, effects: &mut Vec<MoveEffect>) {
        for &id in self.sources.keys() {
            effects.push(MoveEffect::CloseStream { id });
        }
        self.sources.clear();
        self.targets.clear();
    }

    fn on_topology(&mut self, now: Millis, topology: Arc<Topology>, effects: &mut Vec<MoveEffect>) {
        let before = std::mem::replace(&mut self.topology, topology);
        if planted(Plant::MoveLateBegunWipes) {
            let new = |id: &MoveId| id.0 > before.moves.ever;
            let running = &self.topology.moves.running;
            self.stages.0.retain(|key, _| !(new(&key.id) && running.contains_key(&key.id)));
        }
        // Deposed: nothing is resumed and nothing settled; the slots are refused by `admit`, and
        // the order to step down follows.
        if self.mastered().is_some() {
            self.follow_log(now, effects);
        } else {
            self.abandon(effects);
        }
    }

    /// Does what the log has decided, as far as this node is concerned.
    fn follow_log(&mut self, now: Millis, effects: &mut Vec<MoveEffect>) {
        let topology = Arc::clone(&self.topology);
        let me = topology.shard_of(self.config.me.node).expect("it masters a shard");
        self.settle_sources(me, effects);
        self.settle_stages(me, effects);
        for (&id, begun) in &topology.moves.running {
            let master_of = |shard: ShardId| topology.shards[&shard].master;
            if begun.source == me.id && begun.source_epoch == me.epoch {
                let new = || Source::new(now, id, begun.clone(), master_of(begun.target));
                self.sources.entry(id).or_insert_with(new);
            }
            if begun.target == me.id && begun.target_epoch == me.epoch {
                let new = || Target::new(id, begun.clone(), master_of(begun.source));
                self.targets.entry(id).or_insert_with(new);
            }
        }
    }

    /// The verdicts on what moves away.
    fn settle_sources(&mut self, me: &Shard, effects: &mut Vec<MoveEffect>) {
        let running = &Arc::clone(&self.topology).moves.running;
        let settled: Vec<MoveId> =
            self.sources.keys().filter(|id| !running.contains_key(id)).copied().collect();
        for id in settled {
            let source = self.sources.remove(&id).expect("listed above");
            effects.push(MoveEffect::CloseStream { id });
            let slots = source.begun.slots;
            if me.slots.includes(&slots) {
                effects.push(MoveEffect::Resume { id });
                continue;
            }
            // What was cancelled and then given up leaves as what was committed does; what came
            // back since came by a move that this node has yet to install.
            record(&mut self.stages, effects, MoveRecord::Leave { slots });
            effects.push(MoveEffect::Redirect { id });
        }
    }

    /// The verdicts on what is staged: installed, kept while its move runs, or dropped.
    fn settle_stages(&mut self, me: &Shard, effects: &mut Vec<MoveEffect>) {
        let topology = Arc::clone(&self.topology);
        let keys: Vec<StageKey> = self.stages.0.keys().copied().collect();
        for key in keys {
            if let Some(slots) = topology.moves.arrived_at(key.id, me.id) {
                if self.targets.contains_key(&key.id) {
                    let stage = self.stages.get(key).expect("listed above");
                    assert!(stage.sealed, "move {} was committed without us (rule 11)", key.id);
                }
                let slots = slots.clone();
                record(&mut self.stages, effects, MoveRecord::Install { key, slots });
            } else if !topology.moves.running.contains_key(&key.id) {
                record(&mut self.stages, effects, MoveRecord::Drop { key });
            }
        }
        self.targets.retain(|id, _| topology.moves.running.contains_key(id));
    }

    /// What holds after every event.
    fn check(&self) {
        if self.mastered().is_none() {
            assert!(
                self.sources.is_empty() && self.targets.is_empty(),
                "a node that is not master moves slots (rule 11)"
            );
            return;
        }
        for &id in self.targets.keys() {
            assert!(!self.sources.contains_key(&id), "move {id} goes nowhere");
        }
        for key in self.stages.0.keys() {
            let begun = self.topology.moves.running.get(&key.id);
            assert!(
                begun.is_some_and(|begun| begun.source_epoch == key.source_epoch),
                "copy {key:?} is staged, and its move does not run (rule 11)"
            );
        }
    }
}
