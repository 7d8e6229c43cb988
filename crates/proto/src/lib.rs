//! The wire formats of the control plane: code generated from `/proto`, and the conversions between
//! it and our own types.
//!
//! What arrives is a stranger's: `TryFrom` turns it into types that cannot be wrong, or says what is
//! missing. What leaves is ours: `From`. The meaning of the messages is `failover`'s.
//!
//! **Invariant:** no generated type is used beyond the shells that send and receive.

mod entry;
mod message;
#[cfg(test)]
mod tests;
mod topology;

pub use message::{FromNode, FromSentinel};
use slotward_types::NodeId;

/// What data nodes and sentinels say to each other (`control.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod control {
    tonic::include_proto!("slotward.control.v1");
}

/// What the members of the sentinels' Raft group say to each other (`raft.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod raft {
    tonic::include_proto!("slotward.raft.v1");
}

/// A message that no peer of ours would send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part is there but impossible.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

impl From<InvalidMessage> for tonic::Status {
    fn from(error: InvalidMessage) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}

/// The part of a message that must be there.
fn required<T>(part: Option<T>, name: &'static str) -> Result<T, InvalidMessage> {
    part.ok_or(InvalidMessage::Missing(name))
}

fn node_id(bytes: &[u8]) -> Result<NodeId, InvalidMessage> {
    let bytes = <[u8; 20]>::try_from(bytes).map_err(|_| InvalidMessage::Invalid("a node's id"))?;
    Ok(NodeId::from_bytes(bytes))
}

fn port(number: u32) -> Result<u16, InvalidMessage> {
    u16::try_from(number).map_err(|_| InvalidMessage::Invalid("a port"))
}

fn id_bytes(id: NodeId) -> Vec<u8> {
    id.as_bytes().to_vec()
}
