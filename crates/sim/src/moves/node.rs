//! A data node as slot moves see it: a log, the data that follows from it, and the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slotward_cluster::{Member, MoveId, ShardId, SlotRanges};
use slotward_failover::{MoveConfig, MoveData, MoveMachine, MoveRecord, Piece, StageKey, Stages};
use slotward_types::{Epoch, ReplOffset};

/// Which writes each slot has seen.
pub(super) type Data = BTreeMap<u16, BTreeSet<u64>>;

/// One record of a log.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Never used twice: logs that have the same record at a place are the same up to there.
    pub(super) serial: u64,
    pub(super) what: What,
}

/// What a record does.
#[derive(Debug, Clone)]
pub(super) enum What {
    Write {
        slot: u16,
        write: u64,
    },
    /// With the data of a piece, and otherwise none.
    Move(MoveRecord, Arc<Data>),
}

/// A copy that is being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) key: StageKey,
    pub(super) attempt: u32,
    pub(super) to: usize,
    pub(super) slots: SlotRanges,
    /// The snapshot, in parts, and where it was taken.
    parts: Vec<Arc<Data>>,
    at: usize,
    next_part: usize,
    sent: usize,
    pub(super) end: Option<usize>,
    done: bool,
}

/// A write that was executed and not answered yet.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) slot: u16,
    pub(super) write: u64,
    /// Its place in the log.
    pub(super) at: usize,
    pub(super) epoch: Epoch,
}

/// A data node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) member: Member,
    pub(super) shard: ShardId,
    pub(super) up: bool,
    pub(super) frozen: bool,
    /// Raised by every start; what was meant for an earlier run is dropped.
    pub(super) run: u64,
    pub(super) machine: MoveMachine,
    pub(super) log: Vec<Record>,
    pub(super) live: Data,
    pub(super) staged: BTreeMap<StageKey, Data>,
    /// The newest epoch whose order it has carried out, and the epoch it is master in.
    pub(super) seen: Epoch,
    pub(super) acting: Option<Epoch>,
    pub(super) following: Option<(Epoch, usize)>,
    /// As a master: whom it needs, and what they said.
    pub(super) set: BTreeSet<usize>,
    pub(super) acked: BTreeMap<usize, usize>,
    pub(super) high_water: usize,
    /// How much of the log was there when its epoch began: any of it may have been acknowledged.
    pub(super) inherited: usize,
    pub(super) streams: BTreeMap<MoveId, Outgoing>,
}

impl Node {
    /// A node that starts with this log; its data follows from that.
    pub(super) fn start(config: MoveConfig, shard: ShardId, run: u64, log: Vec<Record>) -> Self {
        let mut stages = Stages::default();
        for record in &log {
            if let What::Move(record, _) = &record.what {
                stages.apply(record);
            }
        }
        let mut node = Node {
            member: config.me,
            shard,
            up: true,
            frozen: false,
            run,
            machine: MoveMachine::new(config, stages),
            log: Vec::new(),
            live: Data::new(),
            staged: BTreeMap::new(),
            seen: Epoch(0),
            acting: None,
            following: None,
            set: BTreeSet::new(),
            acked: BTreeMap::new(),
            high_water: 0,
            inherited: 0,
            streams: BTreeMap::new(),
        };
        for record in log {
            node.append(record);
        }
        node
    }

    pub(super) fn awake(&self) -> bool {
        self.up && !self.frozen
    }

    pub(super) fn end(&self) -> ReplOffset {
        ReplOffset(self.log.len() as u64)
    }

    /// How much of the log all that may be promoted are known to hold.
    pub(super) fn held(&self) -> usize {
        let acked = |node| self.acked.get(node).copied().unwrap_or(0);
        self.set.iter().map(acked).min().unwrap_or(self.log.len())
    }

    pub(super) fn data(&mut self) -> MoveData {
        let held = if self.acting.is_some() { self.held() } else { 0 };
        self.high_water = self.high_water.max(held);
        MoveData { end: self.end(), held: ReplOffset(held as u64) }
    }

    /// Appends a record and does what it says.
    pub(super) fn append(&mut self, record: Record) {
        match &record.what {
            What::Write { slot, write } => {
                self.live.entry(*slot).or_default().insert(*write);
            }
            What::Move(MoveRecord::Begin { key, .. }, _) => {
                self.staged.insert(*key, Data::new());
            }
            What::Move(MoveRecord::Piece { key, .. }, data) => {
                let staged = self.staged.entry(*key).or_default();
                for (slot, writes) in data.iter() {
                    staged.entry(*slot).or_default().extend(writes);
                }
            }
            What::Move(MoveRecord::Install { key, slots }, _) => {
                let mut staged = self.staged.remove(key).unwrap_or_default();
                for slot in slots.slots() {
                    let slot = slot.get();
                    self.live.insert(slot, staged.remove(&slot).unwrap_or_default());
                }
            }
            What::Move(MoveRecord::Drop { key }, _) => {
                self.staged.remove(key);
            }
            What::Move(MoveRecord::Leave { slots }, _) => {
                self.live.retain(|&slot, _| !contains(slots, slot));
            }
        }
        self.log.push(record);
    }

    /// Whether this log is a beginning of the other.
    pub(super) fn is_prefix_of(&self, other: &[Record]) -> bool {
        match self.log.last() {
            None => true,
            Some(last) => {
                other.get(self.log.len() - 1).is_some_and(|theirs| theirs.serial == last.serial)
            }
        }
    }

    /// Whether this node holds the whole snapshot of a move that has arrived: staged or installed.
    pub(super) fn has_snapshot(&self, id: MoveId) -> bool {
        self.log.iter().any(|record| match &record.what {
            What::Move(MoveRecord::Piece { key, piece: Piece::Part(_, Some(_)) }, _) => {
                key.id == id
            }
            _ => false,
        })
    }

    /// Begins to send a copy: the snapshot is taken now.
    pub(super) fn open(&mut self, key: StageKey, attempt: u32, to: usize, slots: SlotRanges) {
        let inside: Data = self
            .live
            .iter()
            .filter(|(slot, _)| contains(&slots, **slot))
            .map(|(&slot, writes)| (slot, writes.clone()))
            .collect();
        let middle = inside.keys().nth(inside.len() / 2).copied().unwrap_or(0);
        let (low, high) = inside.into_iter().partition(|&(slot, _)| slot < middle);
        let at = self.log.len();
        let parts = vec![Arc::new(low), Arc::new(high)];
        let (next_part, end, done) = (0, None, false);
        let outgoing =
            Outgoing { key, attempt, to, slots, parts, at, next_part, sent: at, end, done };
        self.streams.insert(key.id, outgoing);
    }

    /// The next piece to send for a move; of the log at most so many records.
    pub(super) fn next_piece(&mut self, id: MoveId, most: usize) -> Option<(Piece, Arc<Data>)> {
        let end = self.log.len();
        let out = self.streams.get_mut(&id)?;
        let offset = |place: usize| ReplOffset(place as u64);
        if out.next_part < out.parts.len() {
            let number = out.next_part;
            out.next_part += 1;
            let last = (out.next_part == out.parts.len()).then_some(offset(out.at));
            return Some((Piece::Part(number as u32, last), Arc::clone(&out.parts[number])));
        }
        let upto = out.end.unwrap_or(end).min(out.sent.saturating_add(most));
        if upto > out.sent {
            let from = out.sent;
            out.sent = upto;
            let mut data = Data::new();
            for record in &self.log[from..upto] {
                if let What::Write { slot, write } = record.what
                    && contains(&out.slots, slot)
                {
                    data.entry(slot).or_default().insert(write);
                }
            }
            return Some((Piece::Entries(offset(from), offset(upto)), Arc::new(data)));
        }
        if out.end == Some(out.sent) && !out.done {
            out.done = true;
            return Some((Piece::Final(offset(out.sent)), Arc::default()));
        }
        None
    }
}

pub(super) fn contains(slots: &SlotRanges, slot: u16) -> bool {
    slots.ranges().iter().any(|&(first, last)| (first..=last).contains(&slot))
}
