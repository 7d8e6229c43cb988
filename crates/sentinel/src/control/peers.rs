//! The other sentinels: what is told to them, and whether they answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use slotward_cluster::Topology;
use slotward_failover::{PeerMessage, SentinelId};
use slotward_proto::control::PeerEnvelope;
use slotward_proto::control::control_client::ControlClient;
use slotward_proto::raft::HelloRequest;
use slotward_proto::raft::raft_client::RaftClient;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, timeout};
use tonic::transport::Channel;

use super::Control;
use crate::raft::{Group, Member, RaftId, open_channel};

const TELL_TIMEOUT: Duration = Duration::from_millis(500);
const HELLO_EVERY: Duration = Duration::from_millis(500);
/// Messages that may be on their way at once.
const IN_FLIGHT: usize = 256;

/// Channels to the other sentinels and when each last answered. Clones share them.
#[derive(Clone)]
pub(crate) struct Peers {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    heard: Arc<Mutex<BTreeMap<RaftId, Heard>>>,
    in_flight: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    last: Instant,
    down: bool,
}

impl Peers {
    /// Nobody heard yet.
    pub(crate) fn new() -> Peers {
        Peers {
            channels: Arc::default(),
            heard: Arc::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }

    /// The channel to this address, the same for every caller; `None` if it is no address.
    pub(crate) fn channel(&self, grpc: &str) -> Option<Channel> {
        let mut channels = self.channels.lock().expect("no holder of this lock panics");
        if let Some(channel) = channels.get(grpc) {
            return Some(channel.clone());
        }
        let channel = open_channel(grpc)
            .inspect_err(|error| tracing::error!("{grpc} cannot be used as an address: {error}"))
            .ok()?;
        channels.insert(grpc.to_owned(), channel.clone());
        Some(channel)
    }

    /// Sends and does not wait: what matters is repeated by the state machine.
    pub(crate) fn tell(&self, group: &Group, to: SentinelId, message: PeerMessage) {
        let status = group.status();
        let Some(channel) = status.members.get(&to.0).and_then(|peer| self.channel(&peer.grpc))
        else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else { return };
        let envelope =
            PeerEnvelope { from: group.raft_id(), to: to.0, message: Some(message.into()) };
        tokio::spawn(async move {
            let mut client = ControlClient::new(channel);
            if let Ok(Err(status)) = timeout(TELL_TIMEOUT, client.tell(envelope)).await {
                tracing::debug!("not told: {}", status.message());
            }
            drop(permit);
        });
    }

    /// How long ago each other sentinel answered, and whether that is too long.
    pub(crate) fn silence(&self, id: RaftId) -> (Duration, bool) {
        let heard = self.heard.lock().expect("no holder of this lock panics");
        heard.get(&id).map_or((Duration::ZERO, false), |heard| (heard.last.elapsed(), heard.down))
    }

    /// Greets the other sentinels for ever, and publishes when one falls silent or is back.
    pub(crate) async fn watch(self, group: Group, control: Control) {
        let mut ticks = tokio::time::interval(HELLO_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let members = group.status().members;
            let Some(view) = control.view().await else { return };
            let down_after = Duration::from_millis(view.topology.timing.down_after.0);
            self.heard.lock().expect("no holder panics").retain(|id, _| members.contains_key(id));
            for (id, member) in members.into_iter().filter(|(id, _)| *id != group.raft_id()) {
                let down = self.is_down(id, down_after);
                self.note(&control, &view.topology, id, &member, down);
                tokio::spawn(self.clone().greet(group.me().clone(), id, member));
            }
        }
    }

    fn is_down(&self, id: RaftId, down_after: Duration) -> bool {
        let mut heard = self.heard.lock().expect("no holder of this lock panics");
        let heard = heard.entry(id).or_insert_with(|| Heard { last: Instant::now(), down: false });
        heard.last.elapsed() > down_after.max(HELLO_EVERY * 3)
    }

    fn note(
        &self,
        control: &Control,
        topology: &Topology,
        id: RaftId,
        member: &Member,
        down: bool,
    ) {
        let mut heard = self.heard.lock().expect("no holder of this lock panics");
        let Some(heard) = heard.get_mut(&id) else { return };
        if heard.down == down {
            return;
        }
        heard.down = down;
        let (host, port) = member.resp.rsplit_once(':').unwrap_or((&member.resp, "0"));
        let channel = if down { "+sdown" } else { "-sdown" };
        // Redis's sentinels speak of each other once for every master they watch.
        for shard in topology.shards.values() {
            let Some(master) = topology.nodes.get(&shard.master.node) else { continue };
            let at = format!("@ {} {} {}", shard.name, master.host, master.port);
            control.publish(channel, format!("sentinel {} {host} {port} {at}", member.id));
        }
        if topology.shards.is_empty() {
            tracing::info!("{channel} sentinel {} {host} {port}", member.id);
        }
    }

    async fn greet(self, me: Member, id: RaftId, member: Member) {
        let Some(channel) = self.channel(&member.grpc) else { return };
        let request = HelloRequest { from: Some((&me).into()) };
        let mut client = RaftClient::new(channel);
        let Ok(Ok(reply)) = timeout(HELLO_EVERY, client.hello(request)).await else { return };
        let there = reply.into_inner().sentinel.map(Member::try_from);
        // Another disk at the same address is another sentinel.
        if there.is_some_and(|there| there.is_ok_and(|there| there.id == member.id)) {
            let mut heard = self.heard.lock().expect("no holder of this lock panics");
            if let Some(heard) = heard.get_mut(&id) {
                heard.last = Instant::now();
            }
        }
    }
}
