//! What the control plane answers without any sentinel at hand.

use std::path::PathBuf;
use std::sync::Arc;

use slotward_cluster::{Route, SlotMap, Topology};
use slotward_config::Config;
use slotward_failover::NodeRole;
use slotward_types::{Epoch, Incarnation, NodeId, Slot};

use super::changes::{Plan, View, plan};
use super::local::LocalAuthority;
use super::state_file::StateFile;
use super::{ClusterChange, Member, registration};
use crate::node::{Node, Origin};

fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    for (name, value) in settings {
        config.resolve(name, value).unwrap();
    }
    config
}

fn node() -> Arc<Node> {
    Node::new(Origin {
        config: config(&[("cluster-enabled", "yes")]),
        config_file: String::new(),
        workers: 1,
        seed: [1, 2, 3, 4],
        slot_map: SlotMap::new(Arc::new(Topology::default()), None),
        attended: None,
    })
    .unwrap()
}

fn me() -> Member {
    Member { node: NodeId::from_bytes([1; 20]), incarnation: Incarnation(1) }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("slotward-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn authority(&self, node: &Node) -> LocalAuthority {
        let file = StateFile::open(&self.0, 7000, me().node).unwrap();
        let registration = registration(&node.live.load().settings, file.member(), None);
        LocalAuthority::start(node, file, self.0.join("topology"), registration).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn change(
    node: &Node,
    authority: &LocalAuthority,
    change: ClusterChange,
) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(authority.change(node, change))
}

#[test]
fn a_cluster_of_one_serves_at_once_and_after_a_restart() {
    let folder = Folder::new("one");
    let slot = Slot::new(5).unwrap();
    let first = node();
    let authority = folder.authority(&first);
    assert!(!first.served.contains(slot), "it owns nothing yet");
    let add = || ClusterChange::AddSlots(Slot::all().collect());
    assert_eq!(change(&first, &authority, add()), Ok("OK".to_owned()));
    assert!(first.served.contains(slot));
    assert_eq!(first.slot_map.load().route(slot, false, true), Route::Serve);
    let busy = change(&first, &authority, add());
    assert_eq!(busy, Err("ERR Slot 0 is already busy".to_owned()));
    let meet = ClusterChange::Meet { host: "10.0.0.1".to_owned(), port: 1, cport: None };
    assert!(change(&first, &authority, meet).unwrap_err().contains("has no sentinels"));
    drop(authority);

    let second = node();
    let authority = folder.authority(&second);
    assert!(second.served.contains(slot), "what was decided is on its disk");
    let map = second.slot_map.load_full();
    let shard = map.topology().shard_of(me().node).unwrap();
    assert_eq!((shard.master.incarnation, shard.epoch), (Incarnation(2), Epoch(2)));
    let reset = ClusterChange::Reset { hard: false };
    assert_eq!(change(&second, &authority, reset), Ok("OK".to_owned()));
    assert!(!second.served.contains(slot));
}

#[test]
fn what_a_node_says_of_itself() {
    let host = |settings: &[(&str, &str)]| {
        let registration = registration(config(settings).settings(), me(), None);
        (registration.host, registration.port, registration.cport)
    };
    for (why, settings, want) in [
        (
            "the way to its sentinel",
            &[("sentinels", "127.0.0.1:26379")][..],
            ("127.0.0.1", 6379, 16379),
        ),
        (
            "the address it listens on",
            &[("bind", "127.0.0.2 ::1"), ("port", "7001")],
            ("127.0.0.2", 7001, 17001),
        ),
        (
            "told to everybody",
            &[("announce-ip", "10.1.2.3"), ("announce-port", "9")],
            ("10.1.2.3", 9, 10009),
        ),
        (
            "told to the cluster first",
            &[
                ("announce-ip", "10.1.2.3"),
                ("cluster-announce-ip", "10.9.9.9"),
                ("cluster-announce-bus-port", "77"),
            ],
            ("10.9.9.9", 6379, 77),
        ),
        (
            "no bus port above the last port",
            &[("bind", "127.0.0.1"), ("port", "60000")],
            ("127.0.0.1", 60000, 0),
        ),
    ] {
        assert_eq!(host(settings), (want.0.to_owned(), want.1, want.2), "{why}");
    }
}

#[test]
fn what_needs_no_sentinel_to_be_refused() {
    let node = node();
    let view = View { node: &node, topology: None, me: me(), role: NodeRole::Master };
    let refused = |change| plan(&view, change).unwrap_err();
    let failover = |force| ClusterChange::Failover { force, takeover: false };
    assert_eq!(refused(failover(false)), "ERR You should send CLUSTER FAILOVER to a replica");
    let replica = View { role: NodeRole::Replica, ..view };
    let text = plan(&replica, failover(false)).unwrap_err();
    assert_eq!(text, "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE");
    assert!(matches!(plan(&replica, failover(true)), Ok(Plan::Failover(_))));
    let view = View { node: &node, topology: None, me: me(), role: NodeRole::Master };
    let nothing = plan(&view, ClusterChange::FlushSlots);
    assert!(matches!(nothing, Ok(Plan::Done(answer)) if answer == "OK"));
}
