//! Three sentinels in this process, over loopback: forming the group, losing members and disks,
//! and a failover of nodes that are played here.
//!
//! Real time, since openraft and the kernel keep it; nothing is asserted about how long it takes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use slotward_cluster::{Member, NodeKind, Timing, Topology};
use slotward_failover::{
    Entry, Heartbeat, History, LinkState, NodeRole, Outcome, Prepared, Registration, ToNode,
    ToSentinel,
};
use slotward_proto::control::control_client::ControlClient;
use slotward_proto::control::{GetTopologyRequest, NodeMessage, ProposeRequest, SentinelMessage};
use slotward_proto::{FromNode, FromSentinel};
use slotward_resp::{Value, decode_value, encode_command};
use slotward_sentinel::{Sentinel, SentinelAddress, SentinelConfig, SentinelError};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplId, ReplOffset};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const PATIENCE: Duration = Duration::from_secs(60);

/// Repeats until there is an answer.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Group {
    dir: PathBuf,
    peers: Vec<SentinelAddress>,
    running: BTreeMap<usize, Sentinel>,
    runtime: Runtime,
}

impl Group {
    fn new() -> Group {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("slotward-group-{}-{number}", std::process::id()));
        let ports: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |index: usize| ports[index].local_addr().unwrap().port();
        let peers: Vec<SentinelAddress> = (0..3)
            .map(|n| SentinelAddress {
                host: "127.0.0.1".into(),
                port: port(n),
                grpc_port: port(n + 3),
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Group { dir, peers, running: BTreeMap::new(), runtime }
    }

    fn dir(&self, index: usize) -> PathBuf {
        self.dir.join(index.to_string())
    }

    fn config(&self, index: usize) -> SentinelConfig {
        SentinelConfig {
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            port: self.peers[index].port,
            dir: self.dir(index),
            peers: self.peers.clone(),
            // Slow machines that test run many things at once.
            raft_heartbeat_ms: 100,
            raft_election_ms: (300, 600),
            timing: Some(timing()),
            ..SentinelConfig::default()
        }
    }

    fn start(&mut self, index: usize) {
        let sentinel = Sentinel::start(self.config(index)).expect("it starts");
        self.running.insert(index, sentinel);
    }

    /// Ends its threads where they are.
    fn kill(&mut self, index: usize) {
        drop(self.running.remove(&index).expect("it runs"));
    }

    fn status(&self, index: usize) -> Option<Json> {
        let mut client = Client::new(self.peers[index].port)?;
        let reply = client.ask(&["SENTINEL", "SLOTWARD-STATUS"])?;
        serde_json::from_slice(reply.as_bytes()?).ok()
    }

    /// The leader that all who run agree on.
    fn leader(&self) -> usize {
        wait_for("one leader", || {
            let leaders: Option<Vec<String>> = self
                .running
                .keys()
                .map(|&index| Some(self.status(index)?["leader"].as_str()?.to_owned()))
                .collect();
            let leaders = leaders?;
            let first = leaders.first()?;
            let index = self.peers.iter().position(|peer| peer.resp() == *first)?;
            (leaders.iter().all(|leader| leader == first) && self.running.contains_key(&index))
                .then_some(index)
        })
    }

    fn control(&self, index: usize) -> ControlClient<tonic::transport::Channel> {
        let address = format!("http://{}", self.peers[index].grpc());
        let connect = ControlClient::connect(address);
        self.runtime.block_on(connect).expect("the sentinel listens")
    }

    fn propose(&self, index: usize, entry: &Entry) -> Outcome {
        wait_for("an outcome", || {
            let request = ProposeRequest { entry: Some(entry.into()), ..Default::default() };
            let mut client = self.control(index);
            let reply = self.runtime.block_on(client.propose(request)).ok()?;
            Outcome::try_from(reply.into_inner()).ok().filter(|known| *known != Outcome::Unknown)
        })
    }

    fn topology(&self, index: usize) -> Topology {
        let mut client = self.control(index);
        let reply = self.runtime.block_on(client.get_topology(GetTopologyRequest {})).unwrap();
        reply.into_inner().topology.unwrap().try_into().unwrap()
    }

    fn wait_for_nodes(&self, index: usize, count: usize) {
        wait_for("the topology", || (self.topology(index).nodes.len() == count).then_some(()));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.running.clear();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A RESP client.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn new(port: u16) -> Option<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Client { stream, buffer: Vec::new() })
    }

    fn ask(&mut self, args: &[&str]) -> Option<Value> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, args.iter().map(|arg| arg.as_bytes()));
        self.stream.write_all(&bytes).ok()?;
        self.read()
    }

    fn read(&mut self) -> Option<Value> {
        loop {
            if let Some((value, used)) = decode_value(&self.buffer).ok()? {
                self.buffer.drain(..used);
                return Some(value);
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads events until one comes on this channel.
    fn event(&mut self, channel: &str) -> String {
        loop {
            let value = self.read().expect("an event");
            let parts: Vec<&str> =
                value.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            if let ["pmessage", _, on, message] = parts[..]
                && on == channel
            {
                return message.to_owned();
            }
        }
    }
}

/// Not the default, so that it can be seen to be put in force.
fn timing() -> Timing {
    Timing { down_after: Millis(5000), ..Timing::default() }
}

fn member(byte: u8) -> Member {
    Member { node: NodeId::from_bytes([byte; 20]), incarnation: Incarnation(1) }
}

fn register(byte: u8, port: u16) -> Entry {
    Entry::Register(Registration {
        member: member(byte),
        host: "127.0.0.1".into(),
        port,
        cport: port.wrapping_add(10_000),
        kind: NodeKind::Plain { group: "mymaster".into() },
        zone: String::new(),
        priority: 100,
    })
}

#[test]
fn the_group_survives_the_loss_of_its_leader_and_a_restart_of_all() {
    let mut group = Group::new();
    (0..3).for_each(|index| group.start(index));
    let leader = group.leader();
    let follower = (leader + 1) % 3;
    assert_eq!(group.propose(follower, &register(1, 7001)), Outcome::Applied, "by a follower");
    group.kill(leader);
    let next = group.leader();
    assert_ne!(next, leader);
    assert_eq!(group.propose(next, &register(2, 7002)), Outcome::Applied);
    group.start(leader);
    group.wait_for_nodes(leader, 2);
    (0..3).for_each(|index| group.kill(index));
    (0..3).for_each(|index| group.start(index));
    group.leader();
    (0..3).for_each(|index| group.wait_for_nodes(index, 2));
    wait_for("the configured times", || (group.topology(0).timing == timing()).then_some(()));
    for sentinel in std::mem::take(&mut group.running).into_values() {
        sentinel.stop();
    }
}

#[test]
fn two_of_three_form_the_group_and_the_third_joins_it() {
    let mut group = Group::new();
    group.start(2);
    group.start(0);
    let leader = group.leader();
    assert_eq!(group.propose(leader, &register(1, 7001)), Outcome::Applied);
    let name = |group: &Group, index| group.status(index).map(|status| status["group"].clone());
    let formed = name(&group, leader);
    assert!(formed.as_ref().is_some_and(Json::is_string));
    group.start(1);
    group.wait_for_nodes(1, 1);
    assert_eq!(name(&group, 1), formed);
    // One alone, with the majority of a list to wait for, forms nothing.
    let mut alone = Group::new();
    alone.start(1);
    wait_for("it to answer", || name(&alone, 1).filter(Json::is_null));
}

#[test]
fn the_first_member_does_not_form_a_second_group_when_its_disk_is_new() {
    let mut group = Group::new();
    (0..3).for_each(|index| group.start(index));
    let leader = group.leader();
    assert_eq!(group.propose(leader, &register(1, 7001)), Outcome::Applied);
    let id = |status: &Json| {
        let of_first = status["sentinels"].as_array().unwrap().iter();
        let first = group.peers[0].resp();
        of_first.filter(|s| s["address"] == first.as_str()).map(|s| s["id"].clone()).next()
    };
    let before = id(&group.status(1).unwrap());
    drop(group.running.remove(&0));
    std::fs::remove_dir_all(group.dir(0)).unwrap();
    let first = Sentinel::start(group.config(0)).unwrap();
    wait_for("the newcomer in the place of the old one", || {
        let status = group.status(1)?;
        let all = status["sentinels"].as_array()?;
        let voters = all.iter().filter(|sentinel| sentinel["voter"] == true).count();
        (all.len() == 3 && voters == 3 && id(&status) != before).then_some(())
    });
    group.running.insert(0, first);
    group.wait_for_nodes(0, 1);
    assert_eq!(group.propose(0, &register(2, 7002)), Outcome::Applied);
}

#[test]
fn what_is_in_the_way_is_said() {
    let group = Group::new();
    let taken = TcpListener::bind(("127.0.0.1", group.peers[0].port)).unwrap();
    let error = Sentinel::start(group.config(0)).err().expect("the port is taken").to_string();
    assert!(error.contains("another sentinel or server running on this port"), "{error}");
    drop(taken);
    let config = SentinelConfig { dir: "/proc/nowhere".into(), ..group.config(0) };
    let error = Sentinel::start(config).err().expect("no such folder").to_string();
    assert!(error.starts_with("cannot use the folder /proc/nowhere: "), "{error}");
    let first = Sentinel::start(group.config(0)).unwrap();
    let config = SentinelConfig { dir: group.dir(0), ..group.config(1) };
    assert!(matches!(Sentinel::start(config), Err(SentinelError::Locked(_))));
    first.stop();
    damage_stops_the_start(&group, &group.dir(0));
}

fn damage_stops_the_start(group: &Group, dir: &Path) {
    std::fs::write(dir.join("revocations"), b"SWRV nonsense").unwrap();
    let error = Sentinel::start(group.config(0)).err().expect("a damaged file").to_string();
    assert!(error.starts_with("the file of revoked epochs"), "{error}");
}

#[test]
fn malformed_frames_are_answered_and_cut_off() {
    let mut group = Group::new();
    group.start(0);
    for (frame, want) in [
        (&b"*1\r\n$99999999999\r\n"[..], "ERR Protocol error: invalid bulk length"),
        (b"*-x\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n!\r\n", "ERR Protocol error: expected '$', got '!'"),
    ] {
        let mut client = Client::new(group.peers[0].port).unwrap();
        client.stream.write_all(frame).unwrap();
        assert_eq!(client.read(), Some(Value::Error(want.into())));
        assert_eq!(client.read(), None, "closed");
    }
}

/// One stream of a node that is played here, to one sentinel.
struct Stream {
    up: mpsc::Sender<NodeMessage>,
    down: Streaming<SentinelMessage>,
}

/// A node that is played here: its streams to all sentinels, and its client port.
struct Node {
    member: Member,
    streams: Vec<Stream>,
    _port: TcpListener,
}

impl Node {
    fn new(group: &Group, byte: u8, port: TcpListener) -> Node {
        let member = member(byte);
        let open = |index| {
            let (up, messages) = mpsc::channel(64);
            up.try_send((&FromNode::Open(member)).into()).unwrap();
            let mut client = group.control(index);
            let attach = client.attach(ReceiverStream::new(messages));
            let mut down = group.runtime.block_on(attach).unwrap().into_inner();
            let welcome = group.runtime.block_on(down.message()).unwrap().unwrap();
            assert!(matches!(FromSentinel::try_from(welcome), Ok(FromSentinel::Welcome(_))));
            Stream { up, down }
        };
        Node { member, streams: (0..3).map(open).collect(), _port: port }
    }

    fn heartbeat(&self, seq: u64, topology: &Topology) -> NodeMessage {
        let shard = topology.shard_of(self.member.node);
        let epoch = shard.map(|shard| shard.epoch).unwrap_or_default();
        let master = shard.is_some_and(|shard| shard.master == self.member);
        let heartbeat = Heartbeat {
            from: self.member,
            seq,
            shard: shard.map(|shard| shard.id),
            epoch,
            promised: epoch,
            role: if master { NodeRole::Master } else { NodeRole::Replica },
            repl_id: ReplId::from_bytes([9; 20]),
            history: History { epoch, offset: ReplOffset(100) },
            link: if master { LinkState::None } else { LinkState::Up },
            lease: Millis(1000),
            serving: master,
            topology: topology.version,
        };
        (&FromNode::Says(ToSentinel::Heartbeat(heartbeat))).into()
    }

    /// Beats once to every sentinel.
    async fn beat(&self, seq: u64, topology: &Topology) {
        for stream in &self.streams {
            let _ = stream.up.send(self.heartbeat(seq, topology)).await;
        }
    }

    /// Whatever has arrived.
    async fn heard(&mut self) -> Vec<(usize, ToNode)> {
        let mut heard = Vec::new();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let soon = Duration::from_millis(1);
            while let Ok(Ok(Some(message))) =
                tokio::time::timeout(soon, stream.down.message()).await
            {
                if let Ok(FromSentinel::Says(message)) = message.try_into() {
                    heard.push((index, message));
                }
            }
        }
        heard
    }
}

#[test]
fn a_master_whose_process_ended_is_succeeded_by_its_replica() {
    let mut group = Group::new();
    (0..3).for_each(|index| group.start(index));
    group.leader();
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [old, new] = [0, 1].map(|n: usize| ports[n].local_addr().unwrap().port());
    assert_eq!(group.propose(0, &register(1, old)), Outcome::Applied);
    assert_eq!(group.propose(1, &register(2, new)), Outcome::Applied);
    (0..3).for_each(|index| group.wait_for_nodes(index, 2));
    let shard = group.topology(0).shards.values().next().unwrap().clone();
    let serve = Entry::Serve { shard: shard.id, epoch: shard.epoch, by: member(1) };
    assert_eq!(group.propose(2, &serve), Outcome::Applied);
    let set = Entry::SetPromotable {
        shard: shard.id,
        epoch: shard.epoch,
        version: shard.promotable.version,
        by: member(1),
        members: [member(1), member(2)].into(),
    };
    assert_eq!(group.propose(2, &set), Outcome::Applied);

    let mut events = Client::new(group.peers[1].port).unwrap();
    events.ask(&["PSUBSCRIBE", "*"]).unwrap();
    let [port_of_master, port_of_replica] = ports;
    let mut master = Some(Node::new(&group, 1, port_of_master));
    let mut replica = Node::new(&group, 2, port_of_replica);
    let mut topology = group.topology(0);
    let mut acknowledged = 0;
    let mut seq = 0;
    let promoted = wait_for("the promotion", || {
        seq += 1;
        group.runtime.block_on(async {
            if let Some(master) = &mut master {
                master.beat(seq, &topology).await;
                let heard = master.heard().await;
                let leases = heard.iter().filter(|(_, message)| {
                    matches!(message, ToNode::Ack(ack) if ack.lease == Some(shard.epoch))
                });
                acknowledged += leases.count();
            }
            replica.beat(seq, &topology).await;
            for (from, message) in replica.heard().await {
                match message {
                    ToNode::Topology(newer) if newer.version > topology.version => {
                        topology = newer.as_ref().clone();
                    }
                    ToNode::Prepare(prepare) => {
                        let prepared = prepared(prepare.epoch, &replica, shard.id);
                        replica.streams[from].up.send(prepared).await.unwrap();
                    }
                    _ => {}
                }
            }
        });
        // Everybody has acknowledged it a few times: now it dies, and its port closes with it. That
        // is seen without waiting for silence.
        if acknowledged > 30 {
            drop(master.take());
        }
        let now = topology.shards[&shard.id].clone();
        (now.master == member(2)).then_some(now)
    });
    assert_eq!(promoted.epoch, shard.epoch.next());
    assert_eq!(
        events.event("+switch-master"),
        format!("{} 127.0.0.1 {old} 127.0.0.1 {new}", shard.name)
    );
    let mut client = Client::new(group.peers[0].port).unwrap();
    let address = wait_for("the address at every sentinel", || {
        let reply = client.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"])?;
        let port = reply.as_array()?[1].as_str()?.to_owned();
        (port == new.to_string()).then_some(port)
    });
    assert_eq!(address, new.to_string());
}

fn prepared(epoch: Epoch, replica: &Node, shard: slotward_cluster::ShardId) -> NodeMessage {
    let before = Epoch(epoch.0 - 1);
    let prepared = Prepared {
        from: replica.member,
        shard,
        epoch,
        history: History { epoch: before, offset: ReplOffset(100) },
        master_gone: true,
        was_master: false,
    };
    (&FromNode::Says(ToSentinel::Prepared(prepared))).into()
}
