//! A cluster of one: a node of a cluster without sentinels is its own authority. The same entries,
//! applied here; no lease, since nobody else may serve.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use slotward_cluster::{Member, Phase, SlotMap, Topology};
use slotward_failover::{Basis, Entry, NodeRole, Registration, Rejected, apply};

use super::state_file::{StateFile, replace};
use super::{ClusterChange, changes};
use crate::node::Node;

/// What decides in a cluster of one.
#[derive(Debug)]
pub(super) struct LocalAuthority {
    me: Member,
    topology: Mutex<Topology>,
    path: PathBuf,
    /// Held for its lock.
    _file: StateFile,
}

impl LocalAuthority {
    /// Reads what was decided before, and goes on with this run of the node.
    pub(super) fn start(
        node: &Node,
        file: StateFile,
        path: PathBuf,
        registration: Registration,
    ) -> anyhow::Result<LocalAuthority> {
        let topology = match std::fs::read(&path) {
            Ok(bytes) => postcard::from_bytes(&bytes)
                .with_context(|| format!("{} is damaged: restore or remove it", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Topology::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let me = registration.member;
        let authority = LocalAuthority { me, topology: Mutex::new(topology), path, _file: file };
        authority.decide(node, &Entry::Register(registration)).context("cannot register")?;
        authority.resume(node).context("cannot go on after the restart")?;
        authority.publish(node);
        Ok(authority)
    }

    /// After a restart the only member of the shard goes on, in a new epoch.
    fn resume(&self, node: &Node) -> Result<(), Refused> {
        let mut entries = Vec::new();
        if let Some(shard) = self.topology.lock().shard_of(self.me.node)
            && shard.master != self.me
        {
            let basis =
                if shard.phase == Phase::New { Basis::NeverServed } else { Basis::AllRestarted };
            entries.push(Entry::Promote {
                shard: shard.id,
                epoch: shard.epoch,
                to: self.me,
                basis,
                cut: None,
            });
        }
        entries.iter().try_for_each(|entry| self.decide(node, entry))
    }

    /// Applies an entry: on disk first, then to the node.
    fn decide(&self, node: &Node, entry: &Entry) -> Result<(), Refused> {
        let mut topology = self.topology.lock();
        let mut next = topology.clone();
        let index = next.version + 1;
        apply(&mut next, index, entry)?;
        if next != *topology {
            let bytes = postcard::to_allocvec(&next).map_err(std::io::Error::other)?;
            replace(&self.path, &bytes)?;
            *topology = next;
        }
        drop(topology);
        self.publish(node);
        Ok(())
    }

    fn publish(&self, node: &Node) {
        let topology = self.topology.lock();
        let map = SlotMap::new(Arc::new(topology.clone()), Some(self.me.node));
        node.served.set(|slot| map.is_mine(slot));
        node.slot_map.store(Arc::new(map));
        node.on_slots();
    }

    /// A client asks for a change.
    pub(super) async fn change(
        &self,
        node: &Node,
        change: ClusterChange,
    ) -> Result<String, String> {
        if let ClusterChange::Meet { .. } | ClusterChange::Replicate(_) = change {
            return Err("ERR this node has no sentinels: a cluster of several nodes needs them \
                        (see the setting `sentinels`)"
                .to_owned());
        }
        let topology = Arc::new(self.topology.lock().clone());
        let view =
            changes::View { node, topology: Some(&topology), me: self.me, role: NodeRole::Master };
        match changes::plan(&view, change)? {
            changes::Plan::Done(answer) => Ok(answer),
            changes::Plan::Failover(_) => Err("ERR there is nobody to fail over to".to_owned()),
            changes::Plan::Propose { entry, answer, then_empty } => {
                self.decide(node, &entry).map_err(|refused| refused.to_string())?;
                if then_empty {
                    changes::empty(node).await;
                }
                Ok(answer)
            }
        }
    }
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("ERR cannot write the cluster's state: {0}")]
    Disk(#[from] std::io::Error),
}
