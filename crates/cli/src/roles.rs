//! What a process of this binary can be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Context;
use slotward_cluster::Timing;
use slotward_config::{Config, Settings};
use slotward_sentinel::SentinelConfig;
use slotward_types::Millis;

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
            Role::Server => slotward_server::run(config, config_file),
            Role::Sentinel => Ok(slotward_sentinel::run(sentinel_config(&config)?)?),
        }
    }
}

/// The settings of a sentinel in its own words.
fn sentinel_config(config: &Config) -> anyhow::Result<SentinelConfig> {
    let settings = config.settings();
    let peers: Vec<_> = settings.peers.iter().map(address).collect();
    let me = [&settings.sentinel_announce_ip, &settings.announce_ip]
        .into_iter()
        .find(|host| !host.is_empty());
    let announce = me.and_then(|host| {
        peers.iter().find(|peer| peer.host == *host && peer.port == settings.port).cloned()
    });
    let told = TIMING.iter().any(|name| config.is_explicit(name));
    Ok(SentinelConfig {
        bind: bound_addresses(&settings.bind)?,
        port: settings.port,
        grpc_port: (settings.grpc_port != 0).then_some(settings.grpc_port),
        dir: PathBuf::from(&settings.dir),
        peers,
        announce,
        requirepass: (!settings.requirepass.is_empty()).then(|| settings.requirepass.clone()),
        clients_max: settings.maxclients as usize,
        raft_heartbeat_ms: settings.raft_heartbeat_ms,
        raft_election_ms: (settings.raft_election_min_ms, settings.raft_election_max_ms),
        timing: told.then(|| timing(settings)).transpose()?,
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

fn timing(settings: &Settings) -> anyhow::Result<Timing> {
    Ok(Timing {
        heartbeat: Millis(settings.heartbeat_ms),
        lease: Millis(settings.lease_ms),
        drift_percent: u32::try_from(settings.drift_margin_percent)?,
        down_after: Millis(settings.down_after_ms),
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
