//! Golden replies: the shapes that clients of Redis's sentinels parse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use slotward_cluster::{
    Cut, Health, Member as Run, Node, NodeKind, Phase, PromotableSet, Shard, ShardId, SlotRanges,
    Takeover, Topology,
};
use slotward_failover::{Heartbeat, History, LinkState, NodeRole, NodeStatus};
use slotward_resp::{OwnedArgs, Protocol, Reply};
use slotward_types::{Epoch, Incarnation, Millis, NodeId, ReplId, ReplOffset};
use tokio::sync::watch;

use super::commands::{Call, Then, execute};
use super::server::Server;
use super::session::Session;
use crate::control::{Control, View};
use crate::raft::{Member, Status};

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 20])
}

fn run(byte: u8) -> Run {
    Run { node: id(byte), incarnation: Incarnation(1) }
}

fn node(byte: u8, port: u16) -> Node {
    Node {
        id: id(byte),
        incarnation: Incarnation(1),
        host: "10.0.0.1".into(),
        port,
        cport: port + 10_000,
        kind: NodeKind::Plain { group: "mymaster".into() },
        met: true,
        zone: String::new(),
        priority: 100,
        config_epoch: Epoch(0),
    }
}

fn status(byte: u8, role: NodeRole, offset: u64) -> NodeStatus {
    NodeStatus {
        heartbeat: Some(Heartbeat {
            from: run(byte),
            seq: 9,
            shard: Some(ShardId(1)),
            epoch: Epoch(3),
            promised: Epoch(3),
            role,
            repl_id: ReplId::from_bytes([7; 20]),
            history: History { epoch: Epoch(3), offset: ReplOffset(offset) },
            link: if role == NodeRole::Master { LinkState::None } else { LinkState::Up },
            lease: Millis(1000),
            serving: role == NodeRole::Master,
            topology: 12,
        }),
        silence: Millis(40),
        connected: true,
        sdown: false,
        odown: false,
        failing_over: false,
    }
}

/// A master on 6379, a replica on 6380, three sentinels, the second of which is silent.
fn view() -> View {
    let shard = Shard {
        id: ShardId(1),
        name: "mymaster".into(),
        epoch: Epoch(3),
        master: run(1),
        waived: false,
        members: BTreeSet::from([id(1), id(2)]),
        promotable: PromotableSet { version: 2, members: BTreeSet::from([run(1), run(2)]) },
        slots: SlotRanges::new(),
        phase: Phase::Served,
        takeovers: vec![Takeover {
            epoch: Epoch(3),
            from: run(2),
            to: run(1),
            cut: Cut { taken: ReplOffset(900), end: ReplOffset(950), exact: false },
        }],
    };
    let topology = Topology {
        version: 12,
        nodes: [node(1, 6379), node(2, 6380)].into_iter().map(|node| (node.id, node)).collect(),
        shards: BTreeMap::from([(shard.id, shard)]),
        shards_ever: 1,
        ..Topology::default()
    };
    let member = |n: u8| Member {
        id: id(0xa0 + n).to_string(),
        resp: format!("10.0.0.9:2637{n}"),
        grpc: format!("10.0.0.9:3637{n}"),
    };
    View {
        topology: Arc::new(topology),
        nodes: BTreeMap::from([
            (id(1), status(1, NodeRole::Master, 500)),
            (id(2), status(2, NodeRole::Replica, 480)),
        ]),
        health: Health::default(),
        group: Status {
            leader: Some(1),
            leading: true,
            term: 5,
            members: (1..=3).map(|n| (n.into(), member(n))).collect(),
            voters: BTreeSet::from([1, 2, 3]),
        },
        name: Some(crate::raft::GroupId(7)),
        silence: BTreeMap::from([
            (2, (Duration::from_millis(5000), true)),
            (3, (Duration::from_millis(200), false)),
        ]),
    }
}

fn server(requirepass: Option<&str>) -> Server {
    let (control, _) = Control::new();
    Server {
        control,
        me: view().group.members[&1].clone(),
        port: 26_371,
        announce_to: slotward_config::ClientHosts::default(),
        requirepass: requirepass.map(str::to_owned),
        clients_max: 10,
        started: Instant::now(),
        stop: watch::Sender::new(false),
        clients_ever: AtomicU64::new(1),
        clients: AtomicUsize::new(1),
    }
}

/// One connection to one sentinel.
struct Client {
    server: Server,
    session: Session,
    view: View,
    then: Then,
}

impl Client {
    fn new() -> Client {
        let session = Session { id: 1, authenticated: true, ..Session::default() };
        Client { server: server(None), session, view: view(), then: Then::Nothing }
    }

    /// The reply as it goes over the wire, one line per line.
    fn says(&mut self, command: &str) -> String {
        let args: OwnedArgs = command.split(' ').map(str::as_bytes).collect();
        let mut reply = Reply::new(Vec::new(), self.session.protocol);
        let mut call = Call {
            server: &self.server,
            session: &mut self.session,
            view: &self.view,
            args: args.as_args(),
            reply: &mut reply,
            then: Then::Nothing,
        };
        execute(&mut call);
        self.then = call.then;
        String::from_utf8(reply.into_buffer()).unwrap().replace("\r\n", "\n")
    }

    /// The reply without the lengths of its strings, fields on one line.
    fn fields(&mut self, command: &str) -> String {
        let reply = self.says(command);
        let lines: Vec<&str> = reply.lines().filter(|line| !line.starts_with('$')).collect();
        let mut text = String::new();
        for line in lines {
            let begins = line.starts_with(['*', '%', '~', '>']);
            text.push_str(if begins { "\n" } else { " " });
            text.push_str(line);
        }
        text.trim_start().to_owned() + "\n"
    }
}

fn check(command: &str, want: &Expect) {
    want.assert_eq(&Client::new().fields(command));
}

#[test]
fn the_address_of_a_master() {
    let mut client = Client::new();
    assert_eq!(
        client.says("SENTINEL get-master-addr-by-name mymaster"),
        "*2\n$8\n10.0.0.1\n$4\n6379\n"
    );
    assert_eq!(client.says("SENTINEL get-master-addr-by-name other"), "*-1\n");
    client.says("HELLO 3");
    assert_eq!(client.says("sentinel GET-MASTER-ADDR-BY-NAME other"), "_\n");
}

#[test]
fn a_master() {
    check(
        "SENTINEL master mymaster",
        &expect![[r#"
        *40 name mymaster ip 10.0.0.1 port 6379 runid 0101010101010101010101010101010101010101 flags master link-pending-commands 0 link-refcount 1 last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 1200 info-refresh 40 role-reported master role-reported-time 40 config-epoch 3 num-slaves 1 num-other-sentinels 2 quorum 2 failover-timeout 180000 parallel-syncs 1
    "#]],
    );
    check(
        "SENTINEL masters",
        &expect![[r#"
        *1
        *40 name mymaster ip 10.0.0.1 port 6379 runid 0101010101010101010101010101010101010101 flags master link-pending-commands 0 link-refcount 1 last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 1200 info-refresh 40 role-reported master role-reported-time 40 config-epoch 3 num-slaves 1 num-other-sentinels 2 quorum 2 failover-timeout 180000 parallel-syncs 1
    "#]],
    );
    let mut client = Client::new();
    client.says("HELLO 3");
    expect![[r#"
        %20 name mymaster ip 10.0.0.1 port 6379 runid 0101010101010101010101010101010101010101 flags master link-pending-commands 0 link-refcount 1 last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 1200 info-refresh 40 role-reported master role-reported-time 40 config-epoch 3 num-slaves 1 num-other-sentinels 2 quorum 2 failover-timeout 180000 parallel-syncs 1
    "#]].assert_eq(&client.fields("SENTINEL master mymaster"));
}

#[test]
fn a_master_that_is_down() {
    let mut client = Client::new();
    let master = client.view.nodes.get_mut(&id(1)).unwrap();
    (master.sdown, master.odown, master.connected) = (true, true, false);
    (master.failing_over, master.silence) = (true, Millis(3200));
    expect![[r#"
        *46 name mymaster ip 10.0.0.1 port 6379 runid 0101010101010101010101010101010101010101 flags s_down,o_down,master,disconnected,failover_in_progress link-pending-commands 0 link-refcount 1 failover-state select_slave last-ping-sent 3200 last-ok-ping-reply 3200 last-ping-reply 3200 s-down-time 2000 o-down-time 2000 down-after-milliseconds 1200 info-refresh 3200 role-reported master role-reported-time 3200 config-epoch 3 num-slaves 1 num-other-sentinels 2 quorum 2 failover-timeout 180000 parallel-syncs 1
    "#]].assert_eq(&client.fields("SENTINEL master mymaster"));
    expect![[r#"
        $256
        # Sentinel
        sentinel_masters:1
        sentinel_tilt:0
        sentinel_tilt_since_seconds:-1
        sentinel_running_scripts:0
        sentinel_scripts_queue_length:0
        sentinel_simulate_failure_flags:0
        master0:name=mymaster,status=odown,address=10.0.0.1:6379,slaves=1,sentinels=3

    "#]]
    .assert_eq(&client.says("INFO sentinel"));
    assert_eq!(client.says("SENTINEL FAILOVER mymaster"), "-INPROG Failover already in progress\n");
}

#[test]
fn replicas_and_sentinels() {
    check(
        "SENTINEL replicas mymaster",
        &expect![[r#"
        *1
        *42 name 10.0.0.1:6380 ip 10.0.0.1 port 6380 runid 0202020202020202020202020202020202020202 flags slave link-pending-commands 0 link-refcount 1 last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 1200 info-refresh 40 role-reported slave role-reported-time 40 master-link-down-time 0 master-link-status ok master-host 10.0.0.1 master-port 6379 slave-priority 100 slave-repl-offset 480 replica-announced 1
    "#]],
    );
    check(
        "SENTINEL sentinels mymaster",
        &expect![[r#"
        *2
        *30 name a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2 ip 10.0.0.9 port 26372 runid a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2 flags s_down,sentinel,disconnected link-pending-commands 0 link-refcount 1 last-ping-sent 5000 last-ok-ping-reply 5000 last-ping-reply 5000 s-down-time 5000 down-after-milliseconds 1200 last-hello-message 5000 voted-leader a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 voted-leader-epoch 5
        *28 name a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3 ip 10.0.0.9 port 26373 runid a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3 flags sentinel link-pending-commands 0 link-refcount 1 last-ping-sent 0 last-ok-ping-reply 200 last-ping-reply 200 down-after-milliseconds 1200 last-hello-message 200 voted-leader a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 voted-leader-epoch 5
    "#]],
    );
}

#[test]
fn small_ones() {
    for (command, want) in [
        ("PING", "+PONG\n"),
        ("PING hello", "$5\nhello\n"),
        ("SENTINEL myid", "$40\na1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\n"),
        ("SENTINEL reset my*", ":1\n"),
        ("SENTINEL reset x*", ":0\n"),
        (
            "SENTINEL ckquorum mymaster",
            "+OK 2 usable Sentinels. Quorum and failover authorization can be reached\n",
        ),
        ("SENTINEL master x", "-ERR No such master with that name\n"),
        ("SENTINEL replicas x", "-ERR No such master with that name\n"),
        ("SENTINEL failover x", "-ERR No such master with that name\n"),
        ("ROLE", "*2\n$8\nsentinel\n*1\n$8\nmymaster\n"),
        ("CLUSTER KEYSLOT foo", ":12182\n"),
        ("CLIENT ID", ":1\n"),
        ("CLIENT GETNAME", "$-1\n"),
        ("CLIENT SETINFO lib-name x", "+OK\n"),
        ("COMMAND COUNT", ":16\n"),
        ("QUIT", "+OK\n"),
        ("GET a b", "-ERR unknown command 'GET', with args beginning with: 'a' 'b' \n"),
        ("SENTINEL nonsense", "-ERR unknown subcommand 'nonsense'. Try SENTINEL HELP.\n"),
        ("SENTINEL master", "-ERR wrong number of arguments for 'sentinel|master' command\n"),
        ("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\n"),
        ("SHUTDOWN LATER", "-ERR syntax error\n"),
    ] {
        assert_eq!(Client::new().says(command), want, "{command}");
    }
}

#[test]
fn too_few_sentinels() {
    let mut client = Client::new();
    client.view.silence.insert(3, (Duration::from_millis(5000), true));
    let reply = client.says("SENTINEL ckquorum mymaster");
    assert!(reply.starts_with("-NOQUORUM 1 usable Sentinels. "), "{reply}");
}

#[test]
fn a_failover_goes_to_the_task() {
    let mut client = Client::new();
    assert_eq!(client.says("SENTINEL FAILOVER mymaster"), "+OK\n");
    assert!(matches!(client.then, Then::FailOver(request) if request.shard == ShardId(1)));
    client.view.nodes.get_mut(&id(2)).unwrap().sdown = true;
    assert_eq!(
        client.says("SENTINEL FAILOVER mymaster"),
        "-NOGOODSLAVE No suitable replica to promote\n"
    );
    assert_eq!(client.then, Then::Nothing);
}

#[test]
fn subscriptions() {
    let mut client = Client::new();
    assert_eq!(
        client.says("SUBSCRIBE +sdown -sdown"),
        "*3\n$9\nsubscribe\n$6\n+sdown\n:1\n*3\n$9\nsubscribe\n$6\n-sdown\n:2\n"
    );
    assert_eq!(client.says("PSUBSCRIBE *"), "*3\n$10\npsubscribe\n$1\n*\n:3\n");
    assert_eq!(client.says("PING"), "*2\n$4\npong\n$0\n\n");
    assert_eq!(
        client.says("ROLE"),
        "-ERR Can't execute 'role': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
         are allowed in this context\n"
    );
    assert_eq!(client.says("PUNSUBSCRIBE"), "*3\n$12\npunsubscribe\n$1\n*\n:2\n");
    assert_eq!(client.says("PUNSUBSCRIBE"), "*3\n$12\npunsubscribe\n$-1\n:2\n");
    client.says("UNSUBSCRIBE");
    assert!(!client.session.is_subscribed());
    client.says("HELLO 3");
    assert_eq!(client.says("SUBSCRIBE x"), ">3\n$9\nsubscribe\n$1\nx\n:1\n");
    assert_eq!(client.says("PING"), "+PONG\n", "RESP3 needs no special context");
    assert_eq!(client.says("RESET"), "+RESET\n");
    assert!(!client.session.is_subscribed());
}

#[test]
fn a_password_is_asked_for() {
    let mut client = Client::new();
    assert!(client.says("AUTH x").starts_with("-ERR AUTH <password> called without any password"));
    client.server = server(Some("secret"));
    client.session.authenticated = false;
    assert_eq!(client.says("PING"), "-NOAUTH Authentication required.\n");
    assert!(client.says("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    for wrong in ["AUTH secre", "AUTH secrets", "AUTH bob secret", "HELLO 3 AUTH default x"] {
        let want = "-WRONGPASS invalid username-password pair or user is disabled.\n";
        assert_eq!(client.says(wrong), want, "{wrong}");
    }
    assert_eq!(client.session.protocol, Protocol::Resp2, "a refused HELLO changes nothing");
    expect![[r#"
        %6 server redis version 7.2.4 proto :3 id :1 mode sentinel modules
        *0
    "#]]
    .assert_eq(&client.fields("HELLO 3 AUTH default secret SETNAME me"));
    assert_eq!(client.says("CLIENT GETNAME"), "$2\nme\n");
}

#[test]
fn the_status_document() {
    let reply = Client::new().says("SENTINEL SLOTWARD-STATUS");
    let (_, text) = reply.split_once('\n').unwrap();
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    expect![[r#"
        {
          "epoch": 3,
          "group": "00000000000000000000000000000007",
          "leader": "10.0.0.9:26371",
          "me": "10.0.0.9:26371",
          "sentinels": [
            {
              "address": "10.0.0.9:26371",
              "down": false,
              "grpc_address": "10.0.0.9:36371",
              "id": "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
              "leader": true,
              "me": true,
              "silence_ms": 0,
              "voter": true
            },
            {
              "address": "10.0.0.9:26372",
              "down": true,
              "grpc_address": "10.0.0.9:36372",
              "id": "a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2",
              "leader": false,
              "me": false,
              "silence_ms": 5000,
              "voter": true
            },
            {
              "address": "10.0.0.9:26373",
              "down": false,
              "grpc_address": "10.0.0.9:36373",
              "id": "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3",
              "leader": false,
              "me": false,
              "silence_ms": 200,
              "voter": true
            }
          ],
          "shards": [
            {
              "epoch": 3,
              "id": 1,
              "master": "0101010101010101010101010101010101010101",
              "members": [
                {
                  "address": "10.0.0.1:6379",
                  "connected": true,
                  "doing": "master",
                  "epoch": 3,
                  "history_epoch": 3,
                  "id": "0101010101010101010101010101010101010101",
                  "incarnation": 1,
                  "lag": 0,
                  "lease_ms_left": 960,
                  "link": "none",
                  "offset": 500,
                  "priority": 100,
                  "promotable": true,
                  "role": "master",
                  "serving": true,
                  "silence_ms": 40,
                  "state": "online",
                  "topology": 12,
                  "zone": ""
                },
                {
                  "address": "10.0.0.1:6380",
                  "connected": true,
                  "doing": "replica",
                  "epoch": 3,
                  "history_epoch": 3,
                  "id": "0202020202020202020202020202020202020202",
                  "incarnation": 1,
                  "lag": 20,
                  "lease_ms_left": 0,
                  "link": "up",
                  "offset": 480,
                  "priority": 100,
                  "promotable": true,
                  "role": "replica",
                  "serving": false,
                  "silence_ms": 40,
                  "state": "online",
                  "topology": 12,
                  "zone": ""
                }
              ],
              "name": "mymaster",
              "promotable_version": 2,
              "served": true,
              "slots": [],
              "slots_count": 0,
              "state": "ok",
              "takeovers": [
                {
                  "end": 950,
                  "epoch": 3,
                  "exact": false,
                  "from": "0202020202020202020202020202020202020202",
                  "lost_bytes": 50,
                  "taken": 900,
                  "to": "0101010101010101010101010101010101010101"
                }
              ]
            }
          ],
          "slots_assigned": 0,
          "term": 5,
          "timing": {
            "down_after_ms": 1200,
            "drift_percent": 10,
            "fencing_strict": false,
            "heartbeat_ms": 100,
            "lease_ms": 1000,
            "reconnect_wait_ms": 50
          },
          "unassigned": [],
          "version": 12
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn a_client_from_elsewhere_finds_everybody_at_one_host() {
    let mut client = Client::new();
    client.view = super::elsewhere::view(client.view, "localhost");
    assert_eq!(
        client.says("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster"),
        "*2\n$9\nlocalhost\n$4\n6379\n"
    );
    let replicas = client.fields("SENTINEL REPLICAS mymaster");
    assert!(replicas.contains("localhost:6380") && !replicas.contains("10.0.0."), "{replicas}");
    let sentinels = client.fields("SENTINEL SENTINELS mymaster");
    assert!(sentinels.contains("ip localhost port 26372"), "{sentinels}");
    assert!(!sentinels.contains("10.0.0."), "{sentinels}");
}

#[test]
fn events_name_that_host_too() {
    let view = view();
    let node = view.topology.nodes.values().next().unwrap();
    let (host, port) = (node.host.clone(), node.port);
    let shown = |text: &str| super::elsewhere::event(&view, "outside", text);
    assert_eq!(
        shown(&format!("mymaster {host} {port} {host} 6380")),
        format!("mymaster outside {port} outside 6380")
    );
    assert_eq!(
        shown(&format!("slave {host}:6380 {host} 6380 @ mymaster {host} {port}")),
        format!("slave outside:6380 outside 6380 @ mymaster outside {port}")
    );
    assert_eq!(shown("sentinel aa 10.0.0.9 26371 @ x"), "sentinel aa outside 26371 @ x");
    assert_eq!(shown(&format!("{host} 1 10.0.0.77 6379")), format!("{host} 1 10.0.0.77 6379"));
}
