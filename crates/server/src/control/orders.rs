//! What the machine orders of the data plane, carried out one after the other beside the heartbeats.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slotward_cluster::{Member, SlotMap, Topology};
use slotward_failover::{HaltId, NodeEvent};
use slotward_types::{Epoch, Millis, NodeId};
use tokio::sync::{mpsc, oneshot};

use super::agent::Input;
use super::changes;
use crate::blocking;
use crate::clock;
use crate::node::Node;
use crate::replication::FollowOrder;

/// How long commands are held at most while the shard changes its master.
const HOLD: Millis = Millis(1000);
/// For how long a node that has handed over goes on telling clients where to go.
const LINGER: Duration = Duration::from_millis(50);

/// An order that takes time.
#[derive(Debug)]
pub(super) enum Order {
    Follow {
        epoch: Epoch,
        master: Member,
        host: String,
        port: u16,
    },
    BecomeMaster {
        epoch: Epoch,
    },
    Detach,
    Halt(HaltId),
    /// The process is about to end: tells so when nothing more is executed and everything executed
    /// has been answered.
    Stop(Vec<oneshot::Sender<()>>),
    /// The node has left its shard: lets go of the data, then answers who asked for that.
    Empty {
        answer: Result<String, String>,
        to: oneshot::Sender<Result<String, String>>,
    },
}

/// What the data plane has been told: shared by the agent and the orders, on one thread.
pub(super) struct Told {
    node: Arc<Node>,
    me: Member,
    /// The lease that the machine holds now.
    lease: Cell<Option<(Epoch, Millis)>>,
}

impl Told {
    pub(super) fn new(node: Arc<Node>, me: Member) -> Rc<Told> {
        Rc::new(Told { node, me, lease: Cell::new(None) })
    }

    /// The machine holds this lease, or none. It reaches the workers only while the node has the
    /// role of that epoch: an order to become master may still be under way.
    pub(super) fn set_lease(&self, lease: Option<(Epoch, Millis)>) {
        self.lease.set(lease);
        let role = &self.node.role;
        match lease {
            None => role.end_lease(),
            Some((epoch, until)) => {
                let word = role.load();
                if word.is_master() && word.epoch() == epoch {
                    role.set_lease(until);
                    self.node.pause.let_go();
                }
            }
        }
    }

    /// Publishes who owns what; slots are served only by a node that has become their master, in
    /// this very epoch.
    pub(super) fn publish(&self, topology: &Arc<Topology>) {
        let map = SlotMap::new(Arc::clone(topology), Some(self.me.node));
        let word = self.node.role.load();
        let appointed = topology.shard_of(self.me.node).map(|shard| shard.epoch);
        let acts = word.is_master() && appointed == Some(word.epoch());
        let map = if acts { map } else { map.not_yet_master() };
        if self.node.is_cluster() {
            self.node.served.set(|slot| map.is_mine(slot));
        }
        self.node.slot_map.store(Arc::new(map));
        self.node.on_slots();
    }

    fn publish_again(&self) {
        let topology = Arc::clone(self.node.slot_map.load().topology());
        self.publish(&topology);
    }

    fn set_role(&self, master: bool, epoch: Epoch) {
        self.node.role.set_role(master, epoch);
        blocking::on_role(&self.node);
        self.publish_again();
        self.set_lease(self.lease.get());
    }

    async fn carry_out(&self, order: Order) -> Option<NodeEvent> {
        let (node, replication) = (&self.node, &self.node.replication);
        match order {
            Order::Follow { epoch, master, host, port } => {
                let before = node.role.load();
                self.set_role(false, epoch);
                let order = FollowOrder { epoch, master, us: self.me, host, port };
                let end = replication.follow(node, order).await;
                node.pause.let_go();
                if before.is_master() && before.epoch() > Epoch(0) {
                    return Some(NodeEvent::HistoryEnded { epoch: before.epoch(), end });
                }
            }
            Order::BecomeMaster { epoch } => {
                replication.become_master(node, self.me, epoch).await;
                self.set_role(true, epoch);
            }
            Order::Detach => {
                replication.detach(node).await;
                self.set_role(true, Epoch(0));
                if node.is_cluster() {
                    // It serves no slot; there is nothing that two could do at once.
                    node.role.set_lease(Millis(u64::MAX));
                }
                node.pause.let_go();
            }
            Order::Empty { answer, to } => {
                changes::empty(node).await;
                // The client may have gone.
                drop(to.send(answer));
            }
            Order::Halt(id) => {
                self.hand_in().await;
                replication.halt(node).await;
                return Some(NodeEvent::Halted(id));
            }
            Order::Stop(done) => {
                if node.role.load().is_master() {
                    self.hand_in().await;
                } else {
                    // Clients that were held, or that come a moment too late, learn where to go.
                    tokio::time::sleep(LINGER).await;
                    node.workers_caught_up().await;
                }
                // Who asked may have gone.
                for done in done {
                    let _gone = done.send(());
                }
            }
        }
        None
    }

    /// Executes no more commands on data, answers those that were executed, gives up the lease.
    /// Clients are held for a while instead of being refused: most changes of a master take a
    /// fraction of that.
    async fn hand_in(&self) {
        let node = &self.node;
        let until = clock::boot_now() + HOLD;
        node.barrier.run(|| node.pause.hold(until)).await;
        node.workers_caught_up().await;
        let word = node.role.load();
        if word.is_master() {
            node.role.end_lease();
            // A lease of a later epoch may have come meanwhile; it is for an order that follows.
            if self.lease.get().is_some_and(|(epoch, _)| epoch == word.epoch()) {
                self.lease.set(None);
            }
        }
    }
}

/// Carries out orders in the order in which they are given.
pub(super) async fn run(
    told: Rc<Told>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    inbox: mpsc::UnboundedSender<Input>,
) {
    while let Some(order) = orders.recv().await {
        tracing::debug!(?order, "ordered");
        if let Some(event) = told.carry_out(order).await
            && inbox.send(Input::Event(event)).is_err()
        {
            return;
        }
    }
}

/// The topology as this node shows it: with itself in it, even before it is registered.
pub(super) fn with_myself(
    topology: Arc<Topology>,
    me: NodeId,
    myself: &slotward_cluster::Node,
) -> Arc<Topology> {
    if topology.nodes.contains_key(&me) {
        return topology;
    }
    let mut topology = Arc::unwrap_or_clone(topology);
    topology.nodes.insert(me, myself.clone());
    Arc::new(topology)
}
