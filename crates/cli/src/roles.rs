//! What a process of this binary can be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use slotward_cluster::Timing;
use slotward_config::{Config, Settings};
use slotward_sentinel::{Monitor, SentinelConfig};
use slotward_types::{GRPC_PORT_OFFSET, Millis};

/// The two programs that run until they are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A data node.
    Server,
    /// A sentinel.
    Sentinel,
}

impl Role {
    /// Its name on the command line and in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Sentinel => "sentinel",
        }
    }

    /// The settings that it starts from.
    pub(crate) fn defaults(self) -> Config {
        match self {
            Role::Server => Config::new(),
            Role::Sentinel => Config::for_sentinel(),
        }
    }

    /// Runs it until it is stopped. `config_file` is where its settings came from, if from a file.
    pub(crate) fn serve(self, config: Config, config_file: &str) -> anyhow::Result<()> {
        match self {
            Role::Server => {
                ensure!(
                    config.settings().sentinel.is_empty(),
                    "lines that begin with 'sentinel' are for a sentinel: start it with \
                     `slotward sentinel` or with --sentinel"
                );
                slotward_server::run(config, config_file)
            }
            Role::Sentinel => Ok(slotward_sentinel::run(sentinel_config(&config)?)?),
        }
    }
}

/// The settings of a sentinel in its own words.
fn sentinel_config(config: &Config) -> anyhow::Result<SentinelConfig> {
    let settings = config.settings();
    let peers: Vec<_> = settings.peers.iter().map(address).collect();
    let lines = &settings.sentinel;
    let seeds = settings.seeds.iter().chain(&lines.known).map(address).collect();
    let monitors = lines.monitors.iter().map(|monitor| Monitor {
        name: monitor.name.clone(),
        host: monitor.host.clone(),
        port: monitor.port,
        quorum: monitor.quorum,
        user: monitor.user.clone(),
        password: monitor.password.clone(),
    });
    let down_after = lines.monitors.iter().filter_map(|monitor| monitor.down_after_ms).max();
    let told = down_after.is_some() || TIMING.iter().any(|name| config.is_explicit(name));
    Ok(SentinelConfig {
        bind: bound_addresses(&settings.bind)?,
        port: settings.port,
        grpc_port: (settings.grpc_port != 0).then_some(settings.grpc_port),
        dir: PathBuf::from(&settings.dir),
        announce: announced(settings, &peers)?,
        peers,
        announce_to: settings.announce_to.clone(),
        seeds,
        monitors: monitors.collect(),
        announce_hostnames: lines.announce_hostnames,
        requirepass: (!settings.requirepass.is_empty()).then(|| settings.requirepass.clone()),
        clients_max: settings.maxclients as usize,
        raft_heartbeat_ms: settings.raft_heartbeat_ms,
        raft_election_ms: (settings.raft_election_min_ms, settings.raft_election_max_ms),
        timing: told.then(|| timing(settings, down_after)).transpose()?,
    })
}

/// The settings of which any one, if told, changes the times of the whole group.
const TIMING: &[&str] = &[
    "heartbeat-ms",
    "lease-ms",
    "drift-margin-percent",
    "down-after-ms",
    "reconnect-wait-ms",
    "fencing",
];

/// Where others reach the sentinel, if the settings say it.
fn announced(
    settings: &Settings,
    peers: &[slotward_sentinel::SentinelAddress],
) -> anyhow::Result<Option<slotward_sentinel::SentinelAddress>> {
    let lines = &settings.sentinel;
    let hosts = [&settings.sentinel_announce_ip, &lines.announce_ip, &settings.announce_ip];
    let Some(host) = hosts.into_iter().find(|host| !host.is_empty()) else { return Ok(None) };
    let ports = [lines.announce_port, settings.announce_port, settings.port];
    let port = ports.into_iter().find(|port| *port > 0).unwrap_or(settings.port);
    if !peers.is_empty() {
        return Ok(peers.iter().find(|peer| peer.host == *host && peer.port == port).cloned());
    }
    let grpc_port = match settings.grpc_port {
        0 => {
            port.checked_add(GRPC_PORT_OFFSET).context("the gRPC port has to be set (grpc-port)")?
        }
        told => told,
    };
    let host = host.clone();
    Ok(Some(address(&slotward_config::SentinelAddress { host, port, grpc_port })))
}

/// The times of the settings. `down-after-milliseconds` of a `sentinel.conf` counts before them, and
/// shortens the lease where that would outlast it.
fn timing(settings: &Settings, down_after_ms: Option<u64>) -> anyhow::Result<Timing> {
    let down_after = down_after_ms.unwrap_or(settings.down_after_ms);
    let longest = down_after * 100 / (100 + settings.drift_margin_percent);
    let lease = settings.lease_ms.min(longest);
    Ok(Timing {
        heartbeat: Millis(settings.heartbeat_ms.min(lease / 4)),
        lease: Millis(lease),
        drift_percent: u32::try_from(settings.drift_margin_percent)?,
        down_after: Millis(down_after),
        reconnect_wait: Millis(settings.reconnect_wait_ms),
        fencing_strict: settings.fencing == "strict",
    })
}

fn address(setting: &slotward_config::SentinelAddress) -> slotward_sentinel::SentinelAddress {
    let host = match setting.host.contains(':') {
        true => format!("[{}]", setting.host),
        false => setting.host.clone(),
    };
    slotward_sentinel::SentinelAddress { host, port: setting.port, grpc_port: setting.grpc_port }
}

/// `*` is every IPv4 address, `::*` every IPv6 one; those that may be absent (`-`) are left out.
fn bound_addresses(bind: &[String]) -> anyhow::Result<Vec<IpAddr>> {
    bind.iter()
        .filter(|word| !word.starts_with('-'))
        .map(|word| match word.as_str() {
            "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
            "::*" => Ok(Ipv6Addr::UNSPECIFIED.into()),
            word => {
                word.parse().with_context(|| format!("'{word}' (option 'bind') is no IP address"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinel(lines: &[&str]) -> SentinelConfig {
        let text = lines.join("\n");
        let read = &mut |path: &str| Ok(vec![(path.to_owned(), text.clone())]);
        let sources = slotward_config::Sources {
            file: Some("sentinel.conf"),
            stdin: None,
            environment: &[],
            directives: &[],
            read,
        };
        let config = slotward_config::load(Role::Sentinel.defaults(), sources).unwrap();
        sentinel_config(&config).unwrap()
    }

    #[test]
    fn down_after_milliseconds_counts_and_shortens_a_lease_that_would_outlast_it() {
        for (told, down_after, lease, heartbeat) in
            [(5000, 5000, 1000, 100), (550, 550, 500, 100), (110, 110, 100, 25)]
        {
            let line = format!("sentinel down-after-milliseconds m {told}");
            let config = sentinel(&["sentinel monitor m h 1 2", &line]);
            let timing = config.timing.expect("it was told");
            let got = (timing.down_after.0, timing.lease.0, timing.heartbeat.0);
            assert_eq!(got, (down_after, lease, heartbeat), "{told}");
            assert!(timing.check().is_ok(), "{told}");
        }
        assert_eq!(sentinel(&["sentinel monitor m h 1 2"]).timing, None);
    }

    #[test]
    fn a_sentinel_announces_what_it_is_told_to() {
        let announced = |lines: &[&str]| sentinel(lines).announce.map(|me| me.to_string());
        assert_eq!(announced(&["port 5"]), None);
        assert_eq!(announced(&["sentinel announce-ip s1"]), Some("s1:26379".into()));
        let lines = ["sentinel announce-ip s1", "sentinel announce-port 7", "grpc-port 9"];
        assert_eq!(announced(&lines), Some("s1:7@9".into()));
        assert_eq!(announced(&["announce-ip ::1", "port 5"]), Some("[::1]:5".into()));
        let lines = ["peers a:5 b:5 c:5", "announce-ip b", "port 5"];
        assert_eq!(announced(&lines), Some("b:5".into()));
    }
}
