//! Which host clients are told, by where they come from.

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

use crate::Kind;
use crate::field::{BadValue, Field};

/// Rules `NETWORK HOST`, of which the first that holds a client's address counts: instead of the
/// hosts that nodes announced, the client is told this one, with the ports that they announced.
/// For clients that come through a published port of a container or through NAT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHosts(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    from: Origin,
    /// None: the announced one.
    host: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The router of the default route: in a container, who comes through a published port.
    Gateway,
    /// The addresses that begin with these bits.
    Network(IpAddr, u8),
}

impl ClientHosts {
    /// The host that a client from `peer` is told, if not the announced one.
    pub fn of(&self, peer: IpAddr) -> Option<&Arc<str>> {
        let peer = peer.to_canonical();
        self.0.iter().find(|rule| rule.from.holds(peer))?.host.as_ref()
    }

    /// Whether a rule speaks of the gateway.
    pub fn needs_gateway(&self) -> bool {
        self.0.iter().any(|rule| rule.from == Origin::Gateway)
    }

    /// The same with the gateway's addresses in its place. Without one, nobody comes through it.
    #[must_use]
    pub fn with_gateways(&self, gateways: &[IpAddr]) -> ClientHosts {
        let resolve = |rule: &Rule| match rule.from {
            Origin::Gateway => gateways.iter().map(|&at| Origin::network_of(at)).collect(),
            from => vec![from],
        };
        let rules = self.0.iter().flat_map(|rule| {
            resolve(rule).into_iter().map(|from| Rule { from, host: rule.host.clone() })
        });
        ClientHosts(rules.collect())
    }
}

impl Origin {
    fn network_of(address: IpAddr) -> Origin {
        Origin::Network(address, if address.is_ipv4() { 32 } else { 128 })
    }

    fn parse(word: &str) -> Option<Origin> {
        if word == "gateway" {
            return Some(Origin::Gateway);
        }
        let Some((address, bits)) = word.split_once('/') else {
            return word.parse().ok().map(Origin::network_of);
        };
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Origin::Network(address, bits))
    }

    fn holds(self, peer: IpAddr) -> bool {
        match (self, peer) {
            (Origin::Network(IpAddr::V4(network), bits), IpAddr::V4(peer)) => {
                let differing = u32::from(network) ^ u32::from(peer);
                differing.leading_zeros() >= bits.into()
            }
            (Origin::Network(IpAddr::V6(network), bits), IpAddr::V6(peer)) => {
                let differing = u128::from(network) ^ u128::from(peer);
                differing.leading_zeros() >= bits.into()
            }
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Gateway => f.write_str("gateway"),
            Origin::Network(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

/// As the setting is written.
impl fmt::Display for ClientHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = |rule: &Rule| format!("{} {}", rule.from, rule.host.as_deref().unwrap_or("-"));
        f.write_str(&self.0.iter().map(rule).collect::<Vec<_>>().join(" "))
    }
}

/// Longer host names do not exist (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

impl Field for ClientHosts {
    fn update(&mut self, _: Kind, words: &[String], first: bool) -> Result<(), BadValue> {
        let mut rules = if first { Vec::new() } else { std::mem::take(&mut self.0) };
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
        for pair in words.chunks(2) {
            let &[from, host] = pair else { return Err(BadValue::WrongCount) };
            let from = Origin::parse(from).ok_or_else(|| {
                BadValue::other(format!("'{from}' is neither an address, ADDRESS/BITS nor gateway"))
            })?;
            if host.len() > HOST_BYTES_MAX {
                return Err(BadValue::other("a host name has at most 253 characters"));
            }
            let host = (host != "-").then(|| host.into());
            rules.push(Rule { from, host });
        }
        self.0 = rules;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClientHosts, BadValue> {
        let mut hosts = ClientHosts::default();
        hosts.update(Kind::Words, &[text.to_owned()], true).map(|()| hosts)
    }

    #[test]
    fn the_first_rule_that_holds_counts() {
        let text =
            "127.0.0.0/8 - gateway 127.0.0.1 10.1.0.0/16 - 0.0.0.0/0 nat.example fe80::/10 v6";
        let hosts = read(text).unwrap();
        assert!(hosts.needs_gateway());
        let hosts = hosts.with_gateways(&["10.1.0.1".parse().unwrap()]);
        assert!(!hosts.needs_gateway());
        for (why, peer, want) in [
            ("the machine itself", "127.0.0.1", None),
            ("the gateway stands before its network", "10.1.0.1", Some("127.0.0.1")),
            ("its network", "10.1.200.3", None),
            ("everybody else", "192.0.2.1", Some("nat.example")),
            ("the first bits of IPv6", "fe80::1", Some("v6")),
            ("no rule", "2001:db8::1", None),
            ("IPv4 on an IPv6 socket", "::ffff:192.0.2.1", Some("nat.example")),
        ] {
            assert_eq!(hosts.of(peer.parse().unwrap()).map(|host| &**host), want, "{why}");
        }
        assert!(read("gateway h").unwrap().with_gateways(&[]).0.is_empty(), "there is none");
    }

    #[test]
    fn it_prints_what_it_reads() {
        for text in ["", "gateway 127.0.0.1 10.0.0.0/8 -", "::1/128 localhost"] {
            assert_eq!(read(text).unwrap().render(Kind::Words), text);
        }
        for bad in ["gateway", "10.0.0.0/33 h", "10.0.0/8 h", "name h", "::/129 h", "1.2.3.4/ h"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("gateway {}", "h".repeat(254))).is_err());
    }
}
