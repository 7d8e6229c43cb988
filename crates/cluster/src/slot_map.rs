//! The topology as the hot path asks it: one array look-up per key.

use std::sync::Arc;

use slotward_types::{NodeId, Slot};

use crate::redirect::{ClusterDown, Route};
use crate::topology::{Shard, Topology};

/// No shard: the slot is unassigned, or this node is in no shard.
const NOBODY: u16 = u16::MAX;

/// Where a shard's master is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

/// Who owns each slot, as one node sees it. Immutable: a newer topology makes a newer map.
#[derive(Debug, Clone)]
pub struct SlotMap {
    topology: Arc<Topology>,
    me: Option<NodeId>,
    /// Per slot an index into `targets`.
    owners: Box<[u16]>,
    targets: Vec<Target>,
    /// The shard that this node is master of.
    mastered: u16,
    /// The shard that the topology gives this node, but that it may not serve yet.
    awaited: u16,
    /// The shard that this node is a replica of.
    followed: u16,
    /// Whether every slot has an owner.
    covered: bool,
}

impl SlotMap {
    /// The map of `topology` as `me` sees it; an unmet node sees only its own slots.
    pub fn new(topology: Arc<Topology>, me: Option<NodeId>) -> Self {
        let mut map = SlotMap {
            owners: vec![NOBODY; usize::from(Slot::COUNT)].into_boxed_slice(),
            targets: Vec::new(),
            mastered: NOBODY,
            awaited: NOBODY,
            followed: NOBODY,
            covered: false,
            me,
            topology: Arc::clone(&topology),
        };
        let alone = me
            .and_then(|me| topology.nodes.get(&me))
            .is_some_and(|node| node.is_cluster() && !node.met);
        for shard in topology.shards.values() {
            if !alone || me.is_some_and(|me| shard.members.contains(&me)) {
                map.add_shard(&topology, shard);
            }
        }
        map.covered = !map.owners.contains(&NOBODY);
        map
    }

    fn add_shard(&mut self, topology: &Topology, shard: &Shard) {
        let Some(master) = topology.nodes.get(&shard.master.node) else { return };
        let index = u16::try_from(self.targets.len()).expect("fewer shards than slots");
        assert!(index != NOBODY, "fewer shards than slots");
        self.targets.push(Target { host: master.host.clone(), port: master.port });
        if self.me.is_some_and(|me| shard.members.contains(&me)) {
            if self.me == Some(shard.master.node) {
                self.mastered = index;
            } else {
                self.followed = index;
            }
        }
        for slot in shard.slots.slots() {
            assert_eq!(self.owners[slot.index()], NOBODY, "slot {slot} has two owners");
            self.owners[slot.index()] = index;
        }
    }

    /// The same map for a node that has not yet become the master that the topology calls it: it
    /// serves none of its slots, and sends nobody to itself.
    #[must_use]
    pub fn not_yet_master(mut self) -> Self {
        self.awaited = std::mem::replace(&mut self.mastered, NOBODY);
        self
    }

    /// Where a command on this slot goes. `replica_reads` is set for a read-only command of a client
    /// that said `READONLY`; `full_coverage` is `cluster-require-full-coverage`.
    #[inline]
    pub fn route(&self, slot: Slot, replica_reads: bool, full_coverage: bool) -> Route<'_> {
        let owner = self.owners[slot.index()];
        if owner == NOBODY {
            return Route::Down(ClusterDown::Unassigned);
        }
        if full_coverage && !self.covered {
            return Route::Down(ClusterDown::State);
        }
        if owner == self.mastered || (replica_reads && owner == self.followed) {
            return Route::Serve;
        }
        if owner == self.awaited {
            return Route::Down(ClusterDown::State);
        }
        let target = &self.targets[usize::from(owner)];
        Route::Moved { slot, host: &target.host, port: target.port }
    }

    /// Whether the map gives this slot to a shard of which this node is the master.
    #[inline]
    pub fn is_mine(&self, slot: Slot) -> bool {
        self.mastered != NOBODY && self.owners[slot.index()] == self.mastered
    }

    /// Whether every slot has an owner.
    pub fn is_covered(&self) -> bool {
        self.covered
    }

    /// Which topology this is the map of.
    pub fn version(&self) -> u64 {
        self.topology.version
    }

    /// The topology itself.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Whose view this is.
    pub fn me(&self) -> Option<NodeId> {
        self.me
    }

    /// The map of `topology` if that is newer than this one's.
    #[must_use]
    pub fn newer(&self, topology: &Arc<Topology>) -> Option<SlotMap> {
        (topology.version > self.version()).then(|| SlotMap::new(Arc::clone(topology), self.me))
    }
}
