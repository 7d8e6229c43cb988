//! The Raft group of the sentinels: everything that is openraft stays in this folder.
//!
//! A log entry is a change of the topology, its result an [`RaftOutcome`]. The Raft id of a sentinel comes from its disk, not from its address: one that lost
//! its disk comes back as somebody else, since it may have forgotten whom it voted for.

mod group;
mod log;
mod machine;
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

pub use group::GroupError;
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
        Ok(Member {
            id: NodeId::from_bytes(id).to_string(),
            resp: sentinel.resp_address,
            grpc: sentinel.grpc_address,
        })
    }
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
