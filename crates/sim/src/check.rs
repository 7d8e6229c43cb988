//! What is promised, checked at every step that could break it.

use std::collections::BTreeMap;

use slotward_cluster::Topology;
use slotward_types::Epoch;

use crate::history::{KEYS, Mark};
use crate::register;
use crate::world::{Proc, World};

/// What has been promised to clients of one shard.
#[derive(Debug, Default, Clone)]
struct Promised {
    /// The longest history acknowledged as held by all.
    acknowledged: Mark,
    /// The newest epoch in which anything was acknowledged.
    epoch: Epoch,
    /// Since when: everybody's memory was lost then.
    since: u64,
}

/// What the observer keeps.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The first broken promise.
    pub(crate) violation: Option<String>,
    shards: Vec<Promised>,
    /// The newest epoch that each node has acted in.
    acted: BTreeMap<Proc, Epoch>,
    /// (time, node, epoch) whenever a node began to accept writes.
    pub(crate) served: Vec<(u64, Proc, Epoch)>,
    pub(crate) replies: u64,
    pub(crate) partial: u64,
    pub(crate) full: u64,
}

impl Watch {
    pub(crate) fn new(shards: usize) -> Watch {
        Watch {
            violation: None,
            shards: vec![Promised::default(); shards],
            acted: BTreeMap::new(),
            served: Vec::new(),
            replies: 0,
            partial: 0,
            full: 0,
        }
    }

    pub(crate) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// What was last acknowledged as held by all.
    pub(crate) fn acknowledged(&self, shard: usize) -> Mark {
        self.shards[shard].acknowledged
    }

    /// A node takes a role: its epochs never fall, restarts included.
    pub(crate) fn on_role(&mut self, proc: Proc, shard: usize, epoch: Epoch) {
        if epoch == Epoch(0) {
            return;
        }
        let acted = self.acted.entry(proc).or_default();
        if epoch < *acted {
            let text =
                format!("node {proc} of shard {shard} fell from {acted} to {epoch} (rule 1)");
            self.violation.get_or_insert(text);
        }
        *acted = epoch.max(*acted);
    }

    pub(crate) fn on_topology(&mut self, before: &Topology, after: &Topology) {
        for (id, shard) in &after.shards {
            if before.shards.get(id).is_some_and(|old| old.epoch > shard.epoch) {
                self.violate(format!("the log lowers the epoch of shard {id}"));
            }
        }
    }

    pub(crate) fn forget(&mut self, shard: usize, now: u64) {
        let epoch = self.shards[shard].epoch;
        self.shards[shard] = Promised { acknowledged: Mark::default(), epoch, since: now };
    }
}

impl World {
    pub(crate) fn violate(&mut self, text: String) {
        if self.watch.violation.is_none() {
            self.watch.violate(format!("at {} ms: {text}", self.now_ms()));
            let text = text.clone();
            self.announce(&format!("*** {text}"));
        }
    }

    /// A node was given a lease: nobody else of the shard may hold one, frozen or not, and it has
    /// all that was acknowledged as held by all.
    pub(crate) fn check_lease(&mut self, proc: Proc) {
        let shard = self.shard_index(proc);
        if !self.has_lease(proc) {
            return;
        }
        let holders: Vec<Proc> =
            self.shard_nodes(shard).filter(|&node| self.has_lease(node)).collect();
        if holders.len() > 1 {
            let names: Vec<String> = holders.iter().map(|&node| self.name(node)).collect();
            self.violate(format!("{} hold leases at once", names.join(" and ")));
        }
        let promised = self.watch.shards[shard].clone();
        if !self.history_includes(proc, promised.acknowledged) {
            let text = format!(
                "{} serves without {} acknowledged writes",
                self.name(proc),
                promised.acknowledged.len()
            );
            self.violate(text);
        }
        if self.role_epoch(proc) < promised.epoch {
            let text = format!(
                "{} serves in epoch {}, after epoch {} has acknowledged",
                self.name(proc),
                self.role_epoch(proc),
                promised.epoch
            );
            self.violate(text);
        }
    }

    /// A client was answered: `held` says what everybody holds, if it waited for that.
    pub(crate) fn on_acknowledged(&mut self, shard: usize, epoch: Epoch, held: Option<Mark>) {
        let promised = &mut self.watch.shards[shard];
        if epoch < promised.epoch {
            // The test of the lease came before; the reply may have been written late.
            return;
        }
        promised.epoch = epoch;
        if let Some(mark) = held.filter(|mark| mark.len() > promised.acknowledged.len()) {
            promised.acknowledged = mark;
            let holders: Vec<Proc> =
                self.shard_nodes(shard).filter(|&node| self.has_lease(node)).collect();
            holders.into_iter().for_each(|node| self.check_lease(node));
        }
    }

    /// What clients saw, key by key, must be what one register could have done.
    pub(crate) fn check_registers(&mut self) {
        for shard in 0..self.shard_count() {
            let since = self.watch.shards[shard].since;
            for key in 0..KEYS {
                if let Err(why) = register::check(&self.calls(shard, key, since)) {
                    self.violate(format!("key {key} of shard {shard}: {why}"));
                }
            }
        }
    }
}
