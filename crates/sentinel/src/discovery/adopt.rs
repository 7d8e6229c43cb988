//! The group's leader has the watched nodes attend to the group: the master first, then, once it
//! serves under the group, its replicas.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use slotward_cluster::Phase;
use slotward_resp::Value;

use super::Discovery;
use super::link::Link;
use crate::config::Monitor;
use crate::control::View;
use crate::raft::GroupId;
use crate::say::Limited;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that has been told is told again after this: it may have been put back to the start.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);
const LOOK_FOR_REPLICAS_EVERY: Duration = Duration::from_secs(1);
/// A watched server may be a replica of a replica, so deep.
const CHAIN_MAX: usize = 4;

type Address = (String, u16);

/// What was told to whom, and when; and when the master was last asked for its replicas.
#[derive(Default)]
struct Told {
    to: BTreeMap<Address, (Vec<String>, Instant)>,
    looked: Option<Instant>,
}

impl Discovery {
    /// Runs until its thread ends; does something only while this sentinel leads.
    pub(super) async fn adopt(self, monitor: Monitor) {
        let mut told = Told::default();
        let mut said = Limited::new(Duration::from_secs(30));
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let status = self.group.status();
            let (Some(group), true) = (self.group.name(), status.leading) else {
                told = Told::default();
                continue;
            };
            let Some(view) = self.control.view().await else { return };
            let mut sentinels: Vec<String> = status
                .members
                .values()
                .map(|member| address_of(&member.resp, &member.grpc))
                .collect();
            sentinels.sort();
            let round = self.tell_all(&monitor, group, &view, &sentinels, &mut told);
            if let Err(error) = round.await {
                let name = &monitor.name;
                said.info(|| {
                    format!("the nodes of {name} do not all attend to the group: {error}")
                });
            }
        }
    }

    async fn tell_all(
        &self,
        monitor: &Monitor,
        group: GroupId,
        view: &View,
        sentinels: &[String],
        told: &mut Told,
    ) -> io::Result<()> {
        let mut failed = Ok(());
        let mut addresses: Vec<(Address, &str)> =
            self.nodes(monitor, view, told).await?.into_iter().map(|to| (to, "ATTEND")).collect();
        // What answers under the watched name and is not in the shard has come back without its
        // folder, or at another address: it is to be a replica. One that holds data of its own
        // refuses that.
        let watched = (monitor.host.clone(), monitor.port);
        if served(monitor, view) && !addresses.iter().any(|(address, _)| *address == watched) {
            addresses.push((watched, "REJOIN"));
        }
        for (address, how) in addresses {
            let due = told
                .to
                .get(&address)
                .is_none_or(|(list, at)| list != sentinels || at.elapsed() > TELL_AGAIN_AFTER);
            if !due {
                continue;
            }
            match self.tell(monitor, (how, group), &address, sentinels).await {
                Ok(()) => drop(told.to.insert(address, (sentinels.to_vec(), Instant::now()))),
                Err(error) => {
                    let (host, port) = address;
                    failed = Err(io::Error::other(format!("{host}:{port}: {error}")));
                }
            }
        }
        failed
    }

    /// Who is to be told now.
    async fn nodes(
        &self,
        monitor: &Monitor,
        view: &View,
        told: &mut Told,
    ) -> io::Result<Vec<Address>> {
        let topology = &view.topology;
        let Some(shard) = topology.shard_named(&monitor.name) else {
            return Ok(vec![master_of(monitor).await?]);
        };
        let of = |node| topology.nodes.get(&node).map(|node| (node.host.clone(), node.port));
        let mut nodes: Vec<Address> = shard.members.iter().filter_map(|node| of(*node)).collect();
        // A replica that registered while the master has never served could be promoted in its
        // place, empty as it is.
        let due = told.looked.is_none_or(|at| at.elapsed() >= LOOK_FOR_REPLICAS_EVERY);
        if due
            && shard.phase == Phase::Served
            && let Some(master) = of(shard.master.node)
        {
            told.looked = Some(Instant::now());
            let replicas = replicas_of(monitor, &master).await.unwrap_or_default();
            let new: Vec<Address> =
                replicas.into_iter().filter(|address| !nodes.contains(address)).collect();
            nodes.extend(new);
        }
        Ok(nodes)
    }

    async fn tell(
        &self,
        monitor: &Monitor,
        (how, group): (&str, GroupId),
        (host, port): &Address,
        sentinels: &[String],
    ) -> io::Result<()> {
        let mut link = Link::open(host, *port, monitor).await?;
        let watched = (&monitor.host, monitor.port) == (host, *port);
        let announced = if watched && self.announce_hostnames { host.as_str() } else { "" };
        let group = group.to_string();
        let mut words = vec!["SLOTWARD", how, &group, &monitor.name, announced];
        words.extend(sentinels.iter().map(String::as_str));
        match link.ask(&words).await? {
            // Said already by the one that met others there.
            Value::Error(text) if text.starts_with("ERR unknown command") => Ok(()),
            Value::Error(text) => Err(io::Error::other(text)),
            _ => Ok(()),
        }
    }
}

/// Whether the watched shard is there and has served under this group.
fn served(monitor: &Monitor, view: &View) -> bool {
    let shard = view.topology.shard_named(&monitor.name);
    shard.is_some_and(|shard| shard.phase == Phase::Served)
}

/// A sentinel's address in the form that nodes read.
fn address_of(resp: &str, grpc: &str) -> String {
    let port = grpc.rsplit_once(':').map_or("0", |(_, port)| port);
    format!("{resp}@{port}")
}

/// The watched server, or if it is a replica, the master at the end of the chain.
async fn master_of(monitor: &Monitor) -> io::Result<Address> {
    let mut address = (monitor.host.clone(), monitor.port);
    for _ in 0..CHAIN_MAX {
        let info = replication(monitor, &address).await?;
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if field("role") != Some("slave") {
            return Ok(address);
        }
        let host = field("master_host").ok_or_else(|| io::Error::other("no master_host"))?;
        let port = field("master_port").and_then(|port| port.parse().ok());
        address = (host.to_owned(), port.ok_or_else(|| io::Error::other("no master_port"))?);
    }
    Err(io::Error::other("a chain of replicas without a master"))
}

async fn replicas_of(monitor: &Monitor, master: &Address) -> io::Result<Vec<Address>> {
    let info = replication(monitor, master).await?;
    Ok(info.lines().filter_map(replica).collect())
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,…`
fn replica(line: &str) -> Option<Address> {
    let (name, fields) = line.trim().split_once(':')?;
    let number = name.strip_prefix("slave")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let field = |name: &str| {
        fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let port = field("port")?.parse().ok().filter(|port| *port > 0)?;
    Some((field("ip")?.to_owned(), port))
}

async fn replication(monitor: &Monitor, (host, port): &Address) -> io::Result<String> {
    let mut link = Link::open(host, *port, monitor).await?;
    match link.ask(&["INFO", "replication"]).await? {
        Value::Error(text) => Err(io::Error::other(text)),
        reply => Ok(reply.as_str().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_found_in_info() {
        let line = "slave0:ip=10.0.0.2,port=6380,state=online,offset=14,lag=0\r";
        assert_eq!(replica(line), Some(("10.0.0.2".to_owned(), 6380)));
        for line in ["slave_repl_offset:0", "slave0:ip=,port=x", "role:slave", "", "slave1:port=0"]
        {
            assert_eq!(replica(line), None, "{line}");
        }
    }

    #[test]
    fn nodes_are_told_both_ports() {
        assert_eq!(address_of("h:26379", "h:27379"), "h:26379@27379");
        assert_eq!(address_of("[::1]:26379", "[::1]:5"), "[::1]:26379@5");
    }
}
