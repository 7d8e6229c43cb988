//! Proposals of nodes and operators: handed to whoever leads, with an honest outcome.

use std::time::Duration;

use slotward_failover::{Entry, Outcome};
use slotward_proto::control as wire;
use slotward_proto::control::control_client::ControlClient;
use slotward_proto::control::propose_reply::Outcome as Reply;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::Peers;
use crate::raft::{Group, ProposeError, RaftOutcome, never_arrived};

/// Time left to a sentinel that was asked for the way back to whoever asked.
const MARGIN: Duration = Duration::from_millis(50);

/// An outcome in the words of the state machines.
pub(super) fn outcome(result: Result<RaftOutcome, ProposeError>) -> Outcome {
    match result {
        Ok(Ok(_)) => Outcome::Applied,
        Ok(Err(rejected)) => Outcome::Rejected(rejected),
        Err(_) => Outcome::Unknown,
    }
}

/// Puts the entry before the group, here or at the leader, trying until `limit` while nobody leads.
///
/// # Errors
/// When nobody took it: it has no effect then.
pub(super) async fn anywhere(
    group: &Group,
    peers: &Peers,
    entry: Entry,
    limit: Duration,
    forwarded: bool,
) -> Result<wire::ProposeReply, Status> {
    let deadline = Instant::now() + limit;
    let mut status = group.watch();
    loop {
        let now = status.borrow_and_update().clone();
        let left = deadline.saturating_duration_since(Instant::now());
        let leader = now.leader.and_then(|leader| now.members.get(&leader));
        let result = match leader {
            _ if now.leading => here(group, entry.clone(), left).await,
            Some(leader) if !forwarded => there(peers, &leader.grpc, &entry, left).await,
            _ => None,
        };
        if let Some(reply) = result {
            return Ok(reply);
        }
        // Not taken: wait for another leader, but look again soon, since a leader that has died is
        // known as the leader for a while.
        let again = (Instant::now() + Duration::from_millis(100)).min(deadline);
        let _ = timeout_at(again, status.changed()).await;
        if Instant::now() >= deadline {
            return Err(Status::unavailable("no sentinel leads the group"));
        }
    }
}

/// `None` if it was not taken.
async fn here(group: &Group, entry: Entry, limit: Duration) -> Option<wire::ProposeReply> {
    let outcome = match group.propose(entry, limit).await {
        Ok(Ok(version)) => Reply::Applied(version),
        Ok(Err(rejected)) => Reply::Rejected((&rejected).into()),
        Err(ProposeError::NotLeader) => return None,
        Err(ProposeError::Unknown(why)) => Reply::Unknown(why),
    };
    Some(wire::ProposeReply { outcome: Some(outcome) })
}

/// `None` if it was not taken.
async fn there(
    peers: &Peers,
    grpc: &str,
    entry: &Entry,
    limit: Duration,
) -> Option<wire::ProposeReply> {
    let mut client = ControlClient::new(peers.channel(grpc)?);
    let ask = limit.saturating_sub(MARGIN).as_millis() as u32;
    let request =
        wire::ProposeRequest { entry: Some(entry.into()), timeout_ms: ask.max(1), forwarded: true };
    let unknown = |why: String| Some(wire::ProposeReply { outcome: Some(Reply::Unknown(why)) });
    match tokio::time::timeout(limit, client.propose(request)).await {
        Ok(Ok(reply)) => Some(reply.into_inner()),
        Ok(Err(status)) if never_arrived(&status) => None,
        Ok(Err(status)) if status.code() == tonic::Code::Unavailable && from_peer(&status) => None,
        Ok(Err(status)) => unknown(status.message().to_owned()),
        Err(_) => unknown("the leader did not answer in time".into()),
    }
}

/// Whether the other side itself said so, rather than the connection breaking under the call.
fn from_peer(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}
