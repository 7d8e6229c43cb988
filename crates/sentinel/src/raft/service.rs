//! The Raft service of this sentinel: what other members ask it.

use openraft::Snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use slotward_proto::raft::raft_server::Raft as RaftService;
use slotward_proto::raft::{
    HelloReply, HelloRequest, JoinReply, RaftMessage, Sentinel, SnapshotPiece,
};
use tonic::{Request, Response, Status, Streaming};

use super::formation::{Ask, GroupId};
use super::group::{Group, ProposeError};
use super::network::{decode, encode};
use super::{Member, RaftId};

/// Most bytes of a snapshot that is taken in.
const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

type Answer<T> = Result<Response<T>, Status>;

impl Group {
    /// Refuses what is meant for another disk at this address.
    fn check_target(&self, to: RaftId) -> Result<(), Status> {
        if to == self.raft_id() {
            return Ok(());
        }
        Err(Status::failed_precondition("another sentinel answers at this address now"))
    }

    /// Refuses what another group says. A sentinel that belongs to none and is spoken to by the
    /// member of a group belongs to that one from then on.
    async fn check_group(&self, group: &str) -> Result<(), Status> {
        let group =
            GroupId::parse(group).ok_or_else(|| Status::invalid_argument("not a group's name"))?;
        let belongs = self.belong(group).await.map_err(stopped)?;
        if belongs {
            return Ok(());
        }
        Err(Status::failed_precondition("this sentinel belongs to another group"))
    }

    async fn request<T: DeserializeOwned>(&self, message: &RaftMessage) -> Result<T, Status> {
        self.check_target(message.to)?;
        self.check_group(&message.group).await?;
        decode(&message.payload).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

fn answer<T: Serialize>(value: &T) -> Answer<RaftMessage> {
    let payload = encode(value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(RaftMessage { to: 0, payload: payload.into(), group: String::new() }))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl RaftService for Group {
    async fn append_entries(&self, request: Request<RaftMessage>) -> Answer<RaftMessage> {
        let request = self.request(request.get_ref()).await?;
        answer(&self.raft().append_entries(request).await.map_err(stopped)?)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Answer<RaftMessage> {
        let request = self.request(request.get_ref()).await?;
        answer(&self.raft().vote(request).await.map_err(stopped)?)
    }

    async fn pre_vote(&self, request: Request<RaftMessage>) -> Answer<RaftMessage> {
        let request = self.request(request.get_ref()).await?;
        answer(&self.raft().pre_vote(request).await.map_err(stopped)?)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Answer<RaftMessage> {
        let mut pieces = request.into_inner();
        let first = pieces.message().await?.ok_or_else(|| Status::invalid_argument("no head"))?;
        self.check_target(first.to)?;
        self.check_group(&first.group).await?;
        let (vote, meta) =
            decode(&first.head).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut snapshot = first.data.to_vec();
        while let Some(piece) = pieces.message().await? {
            if snapshot.len() + piece.data.len() > SNAPSHOT_BYTES_MAX {
                return Err(Status::resource_exhausted("the snapshot is too large"));
            }
            snapshot.extend_from_slice(&piece.data);
        }
        let snapshot = Snapshot { meta, snapshot };
        answer(&self.raft().install_full_snapshot(vote, snapshot).await.map_err(stopped)?)
    }

    async fn transfer_leader(&self, request: Request<RaftMessage>) -> Answer<RaftMessage> {
        let request = self.request(request.get_ref()).await?;
        answer(&self.raft().handle_transfer_leader(request).await.map_err(stopped)?)
    }

    async fn form(&self, request: Request<RaftMessage>) -> Answer<RaftMessage> {
        let message = request.get_ref();
        self.check_target(message.to)?;
        let ask: Ask = decode(&message.payload)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !ask.is_sound() {
            return Err(Status::invalid_argument("not a plan of a group"));
        }
        answer(&self.decide(|formation| formation.answer(ask)).await.map_err(stopped)?)
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Answer<HelloReply> {
        if let Some(Ok(from)) = request.into_inner().from.map(Member::try_from) {
            self.meet(from);
        }
        let status = self.status();
        let leader = status.leader.and_then(|leader| status.members.get(&leader));
        let group = self.name().map(|group| group.to_string()).unwrap_or_default();
        Ok(Response::new(HelloReply {
            sentinel: Some(self.me().into()),
            initialized: !group.is_empty(),
            members: status.members.values().map(Sentinel::from).collect(),
            leader_id: leader.map(|member| Sentinel::from(member).id).unwrap_or_default(),
            group,
            known: self.acquaintances().iter().map(Sentinel::from).collect(),
        }))
    }

    async fn join(&self, request: Request<Sentinel>) -> Answer<JoinReply> {
        let member = Member::try_from(request.into_inner())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.admit(member).await.map_err(|error| match error {
            ProposeError::NotLeader => Status::failed_precondition(error.to_string()),
            other => Status::unavailable(other.to_string()),
        })?;
        Ok(Response::new(JoinReply {}))
    }
}
