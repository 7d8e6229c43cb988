//! Messages to the subscribers of the cluster's other nodes.
//!
//! Each node keeps one connection of its own to every node that it has messages for: plain RESP, as
//! a client that says what was published and wants no replies. It is made with the first message and
//! made again after a failure. Never used for control, and no control connection for this.
//!
//! **Invariant:** what waits for a node is bounded: what does not fit, or waits for a node that
//! cannot be reached, is dropped. Publish and subscribe promise at most one delivery.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use slotward_resp::encode_command;
use slotward_types::{NodeId, slot_of};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::message::Scope;
use crate::node::Node;
use crate::stream::Stream;
use crate::worker::Worker;

/// Bytes that may wait for a node when `cluster-link-sendbuf-limit` sets no limit.
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// How long a node may take to answer or to take more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to reach a node.
const RETRY: Duration = Duration::from_millis(500);
/// Longest answer to `AUTH`.
const ANSWER_BYTES_MAX: usize = 4096;

/// What waits for one node.
#[derive(Debug, Default)]
struct Peer {
    waiting: Mutex<Vec<u8>>,
    arrived: Notify,
}

/// The connections of a node to all others.
#[derive(Debug, Default)]
pub(crate) struct Links {
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    dropped: AtomicU64,
}

impl Links {
    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes that wait for other nodes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.peers.lock().values().map(|peer| peer.waiting.lock().capacity()).sum()
    }

    /// Sends a message to all nodes that may have subscribers of the channel: all of the cluster, or
    /// all of the shard.
    pub(super) fn send(&self, node: &Arc<Node>, scope: Scope, channel: &[u8], text: &[u8]) {
        let map = node.slot_map.load();
        let Some(me) = map.me() else { return };
        let topology = map.topology();
        let word: &[u8] = if scope == Scope::Shard { b"spublish" } else { b"publish" };
        let mut command = Vec::with_capacity(channel.len() + text.len() + 64);
        encode_command(&mut command, [b"SLOTWARD".as_slice(), word, channel, text]);
        let to_shard = |id: &NodeId| {
            let shard = topology.owner_of(slot_of(channel));
            shard.is_some_and(|shard| shard.members.contains(id))
        };
        for (id, other) in &topology.nodes {
            let wanted = match scope {
                Scope::Shard => to_shard(id),
                _ => other.is_cluster() && other.met,
            };
            if *id != me && wanted {
                self.send_to(node, *id, &command);
            }
        }
    }

    fn send_to(&self, node: &Arc<Node>, id: NodeId, command: &[u8]) {
        let mut peers = self.peers.lock();
        let peer = peers.entry(id).or_insert_with(|| {
            let peer = Arc::<Peer>::default();
            let link = Arc::clone(&peer);
            node.spawn_on(0, move |worker| run(worker, id, link));
            peer
        });
        let limit = match node.live.load().settings.cluster_link_sendbuf_limit {
            0 => WAITING_BYTES_MAX,
            bytes => bytes,
        };
        let mut waiting = peer.waiting.lock();
        if (waiting.len() + command.len()) as u64 > limit {
            self.drop_some(1);
            return;
        }
        waiting.extend_from_slice(command);
        if waiting.len() == command.len() {
            peer.arrived.notify_one();
        }
    }

    fn drop_some(&self, count: u64) {
        let before = self.dropped.fetch_add(count, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!("messages for other nodes of the cluster are dropped: see INFO stats");
        }
    }
}

/// Sends what waits for a node, as long as the node exists.
async fn run(worker: Rc<Worker>, id: NodeId, peer: Arc<Peer>) {
    let node = worker.node.clone();
    loop {
        if peer.waiting.lock().is_empty() {
            peer.arrived.notified().await;
        }
        let Some((host, port)) = address(&node, id) else {
            // Whoever sends to a node of this name once more makes a new link.
            node.pubsub.links.peers.lock().remove(&id);
            return;
        };
        if let Err(error) = converse(&node, &host, port, &peer).await {
            tracing::debug!(%error, node = %id, "the link for messages broke");
            // What is old news when the node is back is not sent.
            let lost = std::mem::take(&mut *peer.waiting.lock());
            if !lost.is_empty() {
                node.pubsub.links.drop_some(1);
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn address(node: &Node, id: NodeId) -> Option<(String, u16)> {
    let map = node.slot_map.load();
    map.topology().nodes.get(&id).map(|other| (other.host.clone(), other.port))
}

async fn converse(node: &Node, host: &str, port: u16, peer: &Peer) -> io::Result<()> {
    let connecting = tokio::net::TcpStream::connect((host, port));
    let stream = timeout(PATIENCE, connecting).await??;
    stream.set_nodelay(true)?;
    let stream = Stream::Tcp(stream);
    authenticate(node, &stream).await?;
    let mut silence = Vec::new();
    encode_command(&mut silence, [b"CLIENT".as_slice(), b"REPLY", b"OFF"]);
    timeout(PATIENCE, stream.write_all(&silence)).await??;
    let mut sending = Vec::new();
    loop {
        std::mem::swap(&mut sending, &mut *peer.waiting.lock());
        if sending.is_empty() {
            tokio::select! {
                () = peer.arrived.notified() => {}
                ended = ended(&stream) => return ended,
            }
            continue;
        }
        timeout(PATIENCE, stream.write_all(&sending)).await??;
        sending = Vec::new();
    }
}

/// Returns when the other side ends the conversation; it has nothing to say.
async fn ended(stream: &Stream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 512]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says the password that nodes of the cluster have for each other, if there is one.
async fn authenticate(node: &Node, stream: &Stream) -> io::Result<()> {
    let settings = node.live.load().settings.clone();
    if settings.masterauth.is_empty() {
        return Ok(());
    }
    let user = Some(settings.masteruser.as_bytes()).filter(|user| !user.is_empty());
    let words: Vec<&[u8]> = [Some(b"AUTH".as_slice()), user, Some(settings.masterauth.as_bytes())]
        .into_iter()
        .flatten()
        .collect();
    let mut command = Vec::new();
    encode_command(&mut command, words);
    timeout(PATIENCE, stream.write_all(&command)).await??;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        timeout(PATIENCE, stream.readable()).await??;
        let mut bytes = [0; 512];
        match stream.try_read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    if answer.starts_with(b"+") {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&answer).trim().to_owned()))
}
