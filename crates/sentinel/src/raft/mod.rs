//! The Raft group of the sentinels: everything that is openraft stays in this folder.
//!
//! A log entry is a change of the topology, its result an [`RaftOutcome`]. The Raft id of a sentinel comes from its disk, not from its address: one that lost
//! its disk comes back as somebody else, since it may have forgotten whom it voted for.

mod formation;
mod group;
mod ledger;
mod log;
mod machine;
mod membership;
mod network;
mod service;
#[cfg(test)]
mod tests;
mod wal;

use std::fmt;

use serde::{Deserialize, Serialize};
use slotward_failover::{Entry, Rejected};
use slotward_proto::{InvalidMessage, raft as wire};
use slotward_types::NodeId;

pub(crate) use formation::GroupId;
pub use group::GroupError;
use group::raft_id;
pub(crate) use group::{Group, GroupConfig, ProposeError, Status};
pub(crate) use network::{never_arrived, open_channel};
pub use wal::WalError;

/// A sentinel's number in the Raft group: the first eight bytes of its id.
pub(crate) type RaftId = u64;

/// How the other members find a sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its id, 40 hexadecimal digits.
    pub(crate) id: String,
    /// Where it speaks RESP, `host:port`.
    pub(crate) resp: String,
    /// Where it speaks gRPC, `host:port`.
    pub(crate) grpc: String,
}

impl Member {
    /// Whether its addresses are ones.
    pub(crate) fn has_addresses(&self) -> bool {
        is_address(&self.resp) && is_address(&self.grpc)
    }
}

impl From<&Member> for wire::Sentinel {
    fn from(member: &Member) -> Self {
        let id: NodeId = member.id.parse().expect("a member's id is one");
        wire::Sentinel {
            id: id.as_bytes().to_vec().into(),
            resp_address: member.resp.clone(),
            grpc_address: member.grpc.clone(),
        }
    }
}

impl TryFrom<wire::Sentinel> for Member {
    type Error = InvalidMessage;

    fn try_from(sentinel: wire::Sentinel) -> Result<Self, InvalidMessage> {
        let id = <[u8; 20]>::try_from(&sentinel.id[..])
            .map_err(|_| InvalidMessage::Invalid("a sentinel's id"))?;
        let member = Member {
            id: NodeId::from_bytes(id).to_string(),
            resp: sentinel.resp_address,
            grpc: sentinel.grpc_address,
        };
        if !member.has_addresses() {
            return Err(InvalidMessage::Invalid("a sentinel's address"));
        }
        Ok(member)
    }
}

/// `host:port`.
fn is_address(text: &str) -> bool {
    let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(&byte);
    text.rsplit_once(':').is_some_and(|(host, port)| {
        (1..=256).contains(&host.len())
            && host.bytes().all(host_byte)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// What the log is asked to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal(pub(crate) Entry);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What became of a proposal that was committed: the version of the topology that it made, or the
/// reason why it no longer held when its turn came.
pub(crate) type RaftOutcome = Result<u64, Rejected>;

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = RaftOutcome,
        NodeId = RaftId,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, RaftId>,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, machine::StateMachine>;
