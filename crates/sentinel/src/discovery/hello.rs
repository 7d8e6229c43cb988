//! What a sentinel says of itself to whoever watches the same master.
//!
//! ```text
//! host,port,id,epoch,master,master-host,master-port,master-epoch,grpc-host:grpc-port,group
//! ```
//!
//! The first eight fields are those of Redis's sentinels. They take no message of another length for
//! a hello, nor do we: so neither counts the other among its own, though they share a channel.

use std::fmt;

use slotward_types::NodeId;

use crate::raft::{GroupId, Member};

const BYTES_MAX: usize = 1024;

/// One hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Who says it.
    pub(crate) sentinel: Member,
    /// The group that it belongs to, if it does.
    pub(crate) group: Option<GroupId>,
    /// The highest epoch that it knows.
    pub(crate) epoch: u64,
    /// The name of the master that it watches.
    pub(crate) master: String,
    /// Where that is: host…
    pub(crate) master_host: String,
    /// …and port.
    pub(crate) master_port: u16,
    /// The epoch in which that became master.
    pub(crate) master_epoch: u64,
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member { id, resp, grpc } = &self.sentinel;
        let (host, port) = resp.rsplit_once(':').unwrap_or((resp, "0"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        write!(f, "{host},{port},{id},{},{},", self.epoch, self.master)?;
        write!(f, "{},{},{},{grpc},", self.master_host, self.master_port, self.master_epoch)?;
        match self.group {
            Some(group) => group.fmt(f),
            None => f.write_str("-"),
        }
    }
}

impl Hello {
    /// Reads one; `None` if it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Hello> {
        if text.len() > BYTES_MAX || text.contains(char::is_whitespace) {
            return None;
        }
        let fields: Vec<&str> = text.split(',').collect();
        let [host, port, id, epoch, master, master_host, master_port, master_epoch, grpc, group] =
            fields[..]
        else {
            return None;
        };
        let id = id.parse::<NodeId>().ok()?.to_string();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let sentinel = Member { id, resp: format!("{host}:{port}"), grpc: grpc.to_owned() };
        if !sentinel.has_addresses() {
            return None;
        }
        Some(Hello {
            sentinel,
            group: if group == "-" { None } else { Some(GroupId::parse(group)?) },
            epoch: epoch.parse().ok()?,
            master: master.to_owned(),
            master_host: master_host.to_owned(),
            master_port: master_port.parse().ok()?,
            master_epoch: master_epoch.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(host: &str, group: Option<GroupId>) -> Hello {
        Hello {
            sentinel: Member {
                id: "0a".repeat(20),
                resp: format!("{host}:26379"),
                grpc: format!("{host}:27379"),
            },
            group,
            epoch: 3,
            master: "mymaster".into(),
            master_host: "redis-master".into(),
            master_port: 6379,
            master_epoch: 2,
        }
    }

    #[test]
    fn a_hello_reads_back() {
        for hello in [hello("10.0.0.1", None), hello("[::1]", Some(GroupId(77)))] {
            assert_eq!(Hello::parse(&hello.to_string()), Some(hello));
        }
    }

    #[test]
    fn what_is_no_hello_of_ours_is_passed_over() {
        let ours = hello("10.0.0.1", None).to_string();
        let of_redis = ours.splitn(9, ',').take(8).collect::<Vec<_>>().join(",");
        for (why, text) in [
            ("a hello of Redis's sentinels", of_redis),
            ("nothing", String::new()),
            ("a field more", format!("{ours},x")),
            ("no id", ours.replace(&"0a".repeat(20), "x")),
            ("no port", ours.replacen("26379", "0", 1)),
            ("no gRPC port", ours.replacen("27379", "-", 1)),
            ("no group", format!("{}xyz", ours.trim_end_matches('-'))),
            ("a space", ours.replace("mymaster", "my master")),
            ("too long", ours.replace("mymaster", &"m".repeat(BYTES_MAX))),
        ] {
            assert_eq!(Hello::parse(&text), None, "{why}: {text}");
        }
    }
}
