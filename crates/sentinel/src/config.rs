//! What a sentinel is started with, checked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;

use slotward_cluster::{InvalidTiming, Timing};
use slotward_types::GRPC_PORT_OFFSET;

/// Where a sentinel is reached: `host:port` or `host:port@grpcport`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentinelAddress {
    /// Name or address of the host; an IPv6 address in brackets.
    pub host: String,
    /// The port it speaks RESP on.
    pub port: u16,
    /// The port it speaks gRPC on.
    pub grpc_port: u16,
}

impl SentinelAddress {
    /// Where it speaks RESP.
    pub fn resp(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Where it speaks gRPC.
    pub fn grpc(&self) -> String {
        format!("{}:{}", self.host, self.grpc_port)
    }

    /// Whether the host is this machine, as far as an address that can be bound shows.
    fn is_here(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let Ok(addresses) = (host, 0).to_socket_addrs() else { return false };
        addresses.into_iter().any(|address| TcpListener::bind(address).is_ok())
    }
}

impl fmt::Display for SentinelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if self.port.checked_add(GRPC_PORT_OFFSET) == Some(self.grpc_port) {
            return Ok(());
        }
        write!(f, "@{}", self.grpc_port)
    }
}

impl FromStr for SentinelAddress {
    type Err = InvalidConfig;

    fn from_str(text: &str) -> Result<Self, InvalidConfig> {
        let invalid = || InvalidConfig::Address(text.to_owned());
        let (address, grpc) = match text.split_once('@') {
            Some((address, grpc)) => (address, Some(grpc)),
            None => (text, None),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        let grpc_port = match grpc {
            Some(grpc) => grpc.parse().map_err(|_| invalid())?,
            None => port.checked_add(GRPC_PORT_OFFSET).ok_or_else(invalid)?,
        };
        if host.is_empty() || port == 0 || grpc_port == 0 || host.contains(char::is_whitespace) {
            return Err(invalid());
        }
        Ok(SentinelAddress { host: host.to_owned(), port, grpc_port })
    }
}

/// A master that the sentinels watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Its name, by which clients ask for it.
    pub name: String,
    /// Where it, or one of its replicas, is first looked for: a host name or address…
    pub host: String,
    /// …and a port.
    pub port: u16,
    /// How many sentinels at least form a group.
    pub quorum: u32,
    /// Who we are to it; empty is the default user.
    pub user: String,
    /// The password given to it; empty gives none.
    pub password: String,
}

/// What a sentinel is started with.
#[derive(Debug, Clone)]
pub struct SentinelConfig {
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The port to speak RESP on.
    pub port: u16,
    /// The port to speak gRPC on; the RESP port plus 1000 if not told.
    pub grpc_port: Option<u16>,
    /// Where the log, the snapshots and the id are kept. Made if it does not exist.
    pub dir: PathBuf,
    /// All members of the group, this one included; nobody else is taken in, unless there are
    /// monitors or seeds.
    pub peers: Vec<SentinelAddress>,
    /// Some other sentinels, through which this one finds the rest.
    pub seeds: Vec<SentinelAddress>,
    /// The masters to watch. The sentinels that watch the same one find each other there.
    pub monitors: Vec<Monitor>,
    /// Whether masters are known by the names under which they are watched.
    pub announce_hostnames: bool,
    /// Which of the peers this is, if the port alone does not tell; without peers, where others
    /// reach this one.
    pub announce: Option<SentinelAddress>,
    /// Which clients are told another host than the announced ones.
    pub announce_to: slotward_config::ClientHosts,
    /// The password that RESP clients must give.
    pub requirepass: Option<String>,
    /// Most RESP clients at once.
    pub clients_max: usize,
    /// Milliseconds between heartbeats of the group's leader.
    pub raft_heartbeat_ms: u64,
    /// Least and most milliseconds of silence, beyond the leader's lease, before an election.
    pub raft_election_ms: (u64, u64),
    /// The times that nodes and sentinels keep; a leader puts them in force if they are told here
    /// and differ from those in force.
    pub timing: Option<Timing>,
}

impl Default for SentinelConfig {
    /// What a sentinel alone in its group would be started with.
    fn default() -> Self {
        SentinelConfig {
            bind: vec![IpAddr::from([0, 0, 0, 0])],
            port: 26_379,
            grpc_port: None,
            dir: PathBuf::from("."),
            peers: Vec::new(),
            seeds: Vec::new(),
            monitors: Vec::new(),
            announce_hostnames: false,
            announce: None,
            announce_to: slotward_config::ClientHosts::default(),
            requirepass: None,
            clients_max: 10_000,
            raft_heartbeat_ms: 50,
            raft_election_ms: (150, 300),
            timing: None,
        }
    }
}

/// Settings that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidConfig {
    #[error("'{0}' is not an address: write host:port or host:port@grpcport")]
    Address(String),
    #[error("port {0} leaves no room for the gRPC port {GRPC_PORT_OFFSET} above it; set that one")]
    NoGrpcPort(u16),
    #[error("none of the peers has port {0}: the peers are all sentinels, this one included")]
    NotAmongPeers(u16),
    #[error("several peers have port {0} and could be this one; say which with announce")]
    Ambiguous(u16),
    #[error("two peers have the gRPC address {0}")]
    SamePeer(String),
    #[error("the peers name {0} sentinels; a group has 1, 3, 5 or 7, so that a majority is clear")]
    EvenGroup(usize),
    #[error("no address to listen on")]
    NoBind,
    #[error("the election timeout must grow: {0} ms heartbeat, {1} to {2} ms")]
    Election(u64, u64, u64),
    #[error(transparent)]
    Timing(#[from] InvalidTiming),
}

impl SentinelConfig {
    /// Checks what can be checked without touching anything, and finds which of the peers this is.
    ///
    /// # Errors
    /// Says which setting cannot be.
    pub fn check(&self) -> Result<SentinelAddress, InvalidConfig> {
        if self.bind.is_empty() {
            return Err(InvalidConfig::NoBind);
        }
        let (least, most) = self.raft_election_ms;
        if !(self.raft_heartbeat_ms > 0 && self.raft_heartbeat_ms < least && least < most) {
            return Err(InvalidConfig::Election(self.raft_heartbeat_ms, least, most));
        }
        if let Some(timing) = &self.timing {
            timing.check()?;
        }
        let mut seen = BTreeSet::new();
        for peer in &self.peers {
            if !seen.insert(peer.grpc()) {
                return Err(InvalidConfig::SamePeer(peer.grpc()));
            }
        }
        let me = self.find_me(SentinelAddress::is_here)?;
        if !self.peers.is_empty() && (self.peers.len().is_multiple_of(2) || self.peers.len() > 7) {
            return Err(InvalidConfig::EvenGroup(self.peers.len()));
        }
        Ok(me)
    }

    fn find_me(
        &self,
        is_here: impl Fn(&SentinelAddress) -> bool,
    ) -> Result<SentinelAddress, InvalidConfig> {
        let grpc_port = match self.grpc_port {
            Some(port) => port,
            None => self
                .port
                .checked_add(GRPC_PORT_OFFSET)
                .ok_or(InvalidConfig::NoGrpcPort(self.port))?,
        };
        if let Some(me) = &self.announce {
            let known = self.peers.is_empty() || self.peers.contains(me);
            return if known { Ok(me.clone()) } else { Err(InvalidConfig::NotAmongPeers(me.port)) };
        }
        if self.peers.is_empty() {
            let host = self.own_host();
            return Ok(SentinelAddress { host, port: self.port, grpc_port });
        }
        let with_port: Vec<&SentinelAddress> =
            self.peers.iter().filter(|peer| peer.port == self.port).collect();
        match with_port[..] {
            [] => Err(InvalidConfig::NotAmongPeers(self.port)),
            [me] => Ok(me.clone()),
            _ => {
                let mut here = with_port.into_iter().filter(|peer| is_here(peer));
                match (here.next(), here.next()) {
                    (Some(me), None) => Ok(me.clone()),
                    _ => Err(InvalidConfig::Ambiguous(self.port)),
                }
            }
        }
    }

    /// Whether the sentinels of the group are not all named here.
    pub(crate) fn is_open(&self) -> bool {
        !self.monitors.is_empty() || !self.seeds.is_empty()
    }

    /// How many sentinels at least form the group: as the settings say, and more than half of those
    /// that they name.
    pub(crate) fn quorum(&self, me: &SentinelAddress) -> usize {
        let told = self.monitors.iter().map(|monitor| monitor.quorum as usize).max().unwrap_or(1);
        let others = self.seeds.iter().filter(|seed| seed.grpc() != me.grpc()).count();
        let seeded = if self.monitors.is_empty() { others.div_ceil(2) + 1 } else { 1 };
        told.max(seeded).max(self.peers.len() / 2 + 1)
    }

    /// Where others reach this sentinel, if it has not been told: the address it listens on, or the
    /// one from which it reaches them.
    fn own_host(&self) -> String {
        let bracketed = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if !self.is_open() {
            return "127.0.0.1".to_owned();
        }
        if let Some(ip) = self.bind.iter().find(|ip| !ip.is_unspecified()) {
            return bracketed(*ip);
        }
        let monitors = self.monitors.iter().map(|monitor| (monitor.host.as_str(), monitor.port));
        let seeds = self.seeds.iter().map(|seed| (seed.host.as_str(), seed.port));
        // The last one is an address for documentation: whatever way leads out of this machine.
        let mut targets = monitors.chain(seeds).chain([("192.0.2.1", 9)]);
        let found = targets.find_map(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let target = (host, port).to_socket_addrs().ok()?.next()?;
            let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            // Nothing is sent: the kernel only chooses the source.
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(target).ok()?;
            Some(socket.local_addr().ok()?.ip())
        });
        found.map_or_else(|| "127.0.0.1".to_owned(), bracketed)
    }

    /// The port to speak gRPC on.
    pub(crate) fn grpc_port(&self, me: &SentinelAddress) -> u16 {
        self.grpc_port.unwrap_or(me.grpc_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (why, text, want) in [
            ("the usual", "10.0.0.1:26379", Some(("10.0.0.1", 26_379, 27_379))),
            ("its own gRPC port", "a.b:1@2", Some(("a.b", 1, 2))),
            ("IPv6", "[::1]:7", Some(("[::1]", 7, 1_007))),
            ("no port", "10.0.0.1", None),
            ("no host", ":7", None),
            ("no room for the gRPC port", "h:65000", None),
            ("two words", "a b:7", None),
        ] {
            let address = text.parse::<SentinelAddress>().ok();
            let got = address.as_ref().map(|a| (a.host.as_str(), a.port, a.grpc_port));
            assert_eq!(got, want, "{why}");
            if let Some(address) = address {
                assert_eq!(address.to_string(), text, "{why}");
            }
        }
    }

    #[test]
    fn as_many_form_a_group_as_the_settings_ask_for() {
        let monitor = |quorum| Monitor {
            name: "mymaster".into(),
            host: "127.0.0.1".into(),
            port: 1,
            quorum,
            user: String::new(),
            password: String::new(),
        };
        let address = |text: &str| text.parse::<SentinelAddress>().unwrap();
        let me = address("127.0.0.1:26379");
        for (why, quorums, seeds, want) in [
            ("alone", &[][..], &[][..], 1),
            ("as told", &[2], &[], 2),
            ("the largest", &[1, 3], &[], 3),
            ("one seed and itself", &[], &["s:1"], 2),
            ("itself among the seeds", &[], &["s:1", "t:1", "127.0.0.1:26379"], 2),
            ("four seeds", &[], &["s:1", "t:1", "u:1", "v:1"], 3),
            ("told, and seeds that may be old", &[2], &["s:1", "t:1", "u:1", "v:1"], 2),
        ] {
            let config = SentinelConfig {
                monitors: quorums.iter().map(|quorum| monitor(*quorum)).collect(),
                seeds: seeds.iter().map(|seed| address(seed)).collect(),
                ..SentinelConfig::default()
            };
            assert_eq!(config.quorum(&me), want, "{why}");
            assert_eq!(config.is_open(), why != "alone", "{why}");
        }
    }

    #[test]
    fn without_peers_a_sentinel_is_where_it_listens_or_whence_it_reaches_the_others() {
        let seeds = vec!["127.0.0.1:1".parse::<SentinelAddress>().unwrap()];
        let config = SentinelConfig { seeds, ..SentinelConfig::default() };
        assert_eq!(config.check().unwrap().resp(), "127.0.0.1:26379", "the way to the seed");
        let bind = vec![IpAddr::from([10, 1, 2, 3])];
        let config = SentinelConfig { bind, ..config };
        assert_eq!(config.check().unwrap().grpc(), "10.1.2.3:27379", "the address it listens on");
        let announce = Some("sentinel-1:5@6".parse().unwrap());
        let config = SentinelConfig { announce, ..config };
        assert_eq!(config.check().unwrap().grpc(), "sentinel-1:6", "as told");
    }

    #[test]
    fn a_sentinel_finds_itself_among_its_peers() {
        let config = |port, peers: &[&str]| SentinelConfig {
            port,
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
            ..SentinelConfig::default()
        };
        let three = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
        assert_eq!(config(2, &three).check().unwrap().resp(), "127.0.0.1:2");
        assert_eq!(config(4, &three).check(), Err(InvalidConfig::NotAmongPeers(4)));
        assert_eq!(config(1, &three[..2]).check(), Err(InvalidConfig::EvenGroup(2)));
        let peers = |config: &SentinelConfig| config.quorum(&config.peers[0]);
        assert_eq!(peers(&config(2, &three)), 2, "more than half of the list");
        let hosts = config(9, &["10.0.0.1:9", "10.0.0.2:9", "10.0.0.3:9"]);
        let found = |here: &[&str]| hosts.find_me(|peer| here.contains(&peer.host.as_str()));
        assert_eq!(found(&["10.0.0.2"]).unwrap().host, "10.0.0.2");
        assert_eq!(found(&["10.0.0.2", "10.0.0.3"]), Err(InvalidConfig::Ambiguous(9)));
        assert_eq!(found(&[]), Err(InvalidConfig::Ambiguous(9)));
    }
}
