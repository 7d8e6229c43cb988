//! Clients, and what the workers do for them: look at role and lease, execute, test the lease once
//! more, answer. Each of these steps is an event of its own, so that a freeze, a demotion or the
//! end of a lease may come between any two.

use super::plane::Word;
use super::{Event, MS, Proc, World};
use crate::history::{KEYS, Mark, Write};
use crate::register::Call;
use slotward_failover::{Plant, planted};

/// One client of each shard, which has many operations under way.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Whom it takes for the master.
    target: Option<Proc>,
}

/// An operation of a client.
#[derive(Debug)]
pub(super) struct Op {
    shard: usize,
    key: usize,
    is_write: bool,
    /// Answered only when every member of the promotable set holds what it saw or did.
    in_sync: bool,
    began: u64,
    ended: u64,
    stage: Stage,
    value: u64,
    mark: Mark,
    /// When, by the omniscient observer, the lease was last tested and held after the execution.
    tested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    /// Role and lease have been looked at.
    Admitted(Word),
    /// Executed in this role; the lease is to be tested once more.
    Executed(Word),
    /// The last test is passed; the reply is to be written.
    Tested(Word),
    Over,
}

impl World {
    /// New operations.
    pub(super) fn clients(&mut self) {
        if self.idle {
            return;
        }
        for shard in 0..self.plan.shards.len() {
            let nodes = self.shard_nodes(shard);
            let count = nodes.len() as u64;
            let target = match self.clients[shard].target {
                Some(target) if !self.random.chance(30) => target,
                _ => nodes.start + self.random.below(count) as usize,
            };
            if !self.alive(target) {
                self.clients[shard].target = None;
                continue;
            }
            let id = self.ops.len() as u64 + 1;
            let (is_write, in_sync) = (self.random.chance(600), self.random.chance(600));
            let key = self.random.below(KEYS as u64) as usize;
            self.ops.push(Op {
                shard,
                key,
                is_write,
                in_sync,
                began: self.now,
                ended: u64::MAX,
                stage: Stage::Sent,
                value: id,
                mark: Mark::default(),
                tested: false,
            });
            let after = 50 + self.random.below(MS);
            self.due(after, target, Event::Op(id));
        }
    }

    fn op(&mut self, id: u64) -> &mut Op {
        &mut self.ops[id as usize - 1]
    }

    /// The next step of an operation.
    pub(super) fn go_on(&mut self, proc: Proc, id: u64) {
        let word = self.procs[proc].plane.word;
        let stage = self.op(id).stage;
        match stage {
            Stage::Sent if word.master && self.holds_lease(proc) => {
                self.op(id).stage = Stage::Admitted(word);
                self.soon(proc, id);
            }
            Stage::Sent => {
                self.op(id).stage = Stage::Over;
                let shard = self.op(id).shard;
                self.clients[shard].target = None;
            }
            // Under the slot lock: another role since then, so look again.
            Stage::Admitted(before) if before != word => {
                self.op(id).stage = Stage::Sent;
                self.soon(proc, id);
            }
            Stage::Admitted(_) => self.execute(proc, id, word),
            Stage::Executed(before) => {
                let may = before == word && self.holds_lease(proc);
                if may || planted(Plant::ReplyWithoutTest) {
                    self.op(id).tested = may;
                    self.op(id).stage = Stage::Tested(before);
                    self.soon(proc, id);
                } else {
                    // The connection is closed without a reply.
                    self.op(id).stage = Stage::Over;
                }
            }
            Stage::Tested(word) => self.reply(proc, id, word),
            Stage::Over => {}
        }
    }

    fn soon(&mut self, proc: Proc, id: u64) {
        let most = if self.random.chance(self.faults.stutter) { 1500 * MS } else { 300 };
        let after = 1 + self.random.below(most);
        self.due(after, proc, Event::Op(id));
    }

    fn execute(&mut self, proc: Proc, id: u64, word: Word) {
        let (is_write, in_sync, key) = {
            let op = self.op(id);
            (op.is_write, op.in_sync, op.key)
        };
        if is_write {
            self.execute_write(proc, Write { epoch: word.epoch, op: id, key });
        }
        let history = &self.procs[proc].plane.history;
        let (value, mark) = (history.value(key), history.mark());
        let op = self.op(id);
        op.value = value;
        op.mark = mark;
        op.stage = Stage::Executed(word);
        if in_sync {
            self.procs[proc].plane.waiting.push(id);
            self.release_waiting(proc);
        } else {
            self.soon(proc, id);
        }
    }

    /// Goes on with the replies that waited for the replicas, as far as those have answered.
    pub(super) fn release_waiting(&mut self, proc: Proc) {
        let word = self.procs[proc].plane.word;
        let held = self.held_by_all(proc);
        let waiting = std::mem::take(&mut self.procs[proc].plane.waiting);
        for id in waiting {
            let op = &mut self.ops[id as usize - 1];
            match (op.stage, held) {
                // Demotion drops all pending replies.
                (Stage::Executed(before), _) if before != word => op.stage = Stage::Over,
                (Stage::Executed(before), Some((epoch, held)))
                    if before.epoch == epoch
                        && held.0 >= op.mark.len() as u64 * crate::history::WRITE_BYTES =>
                {
                    self.soon(proc, id);
                }
                (Stage::Executed(_), _) => self.procs[proc].plane.waiting.push(id),
                _ => {}
            }
        }
    }

    fn reply(&mut self, proc: Proc, id: u64, word: Word) {
        let now = self.now;
        let op = self.op(id);
        op.ended = now;
        op.stage = Stage::Over;
        let (shard, mark, in_sync, tested) = (op.shard, op.mark, op.in_sync, op.tested);
        self.clients[shard].target = Some(proc);
        self.watch.replies += 1;
        if !tested {
            let text = format!(
                "{} acknowledges an operation of epoch {} without holding its lease (rule 10)",
                self.name(proc),
                word.epoch
            );
            self.violate(text);
        }
        self.on_acknowledged(shard, word.epoch, in_sync.then_some(mark));
    }

    /// Operations under way when everybody's memory was lost never happen.
    pub(super) fn abandon_ops(&mut self, shard: usize) {
        for op in self.ops.iter_mut().filter(|op| op.shard == shard && op.stage != Stage::Over) {
            op.stage = Stage::Over;
        }
    }

    /// What the clients of one key saw, with the values of `since` and before as the first one.
    pub(crate) fn calls(&self, shard: usize, key: usize, since: u64) -> Vec<Call> {
        let ops = &self.ops;
        let value = |of: u64| match of {
            0 => 0,
            id if ops[id as usize - 1].began < since => 0,
            id => id,
        };
        let relevant = ops.iter().filter(|op| op.shard == shard && op.key == key);
        relevant
            .filter(|op| op.began >= since)
            .filter(|op| op.is_write || (op.in_sync && op.ended < u64::MAX))
            .map(|op| Call {
                value: value(op.value),
                is_write: op.is_write,
                began: op.began,
                ended: if op.in_sync { op.ended } else { u64::MAX },
            })
            .collect()
    }

    /// Whether an operation was executed by whoever a client takes for the master, and its lease
    /// is still to be tested once more.
    pub(crate) fn is_between(&self) -> bool {
        let recent = self.ops.iter().rev().take(20);
        recent.filter(|op| !op.in_sync).any(|op| matches!(op.stage, Stage::Executed(_)))
    }
}
