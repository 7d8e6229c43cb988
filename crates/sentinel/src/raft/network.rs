//! Calls from one member of the group to another: one lazily connected channel per peer.
//!
//! Only a peer that cannot be reached makes openraft back off; whatever else goes wrong it may try
//! again at once. Time limits are kept here, since openraft only states them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use slotward_proto::raft::raft_client::RaftClient;
use slotward_proto::raft::{RaftMessage, SnapshotPiece};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::formation::GroupId;
use super::{Member, RaftId, TypeConfig};

/// Bytes of a snapshot in one message.
const PIECE_BYTES: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Opens channels to the other members, one per address.
#[derive(Clone, Default)]
pub(crate) struct Network {
    id: RaftId,
    group: Arc<OnceLock<GroupId>>,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    met: Arc<Mutex<BTreeMap<RaftId, String>>>,
}

impl Network {
    /// The network as the member `id` sees it, in the group that it belongs to once that is set.
    pub(crate) fn new(id: RaftId, group: Arc<OnceLock<GroupId>>) -> Self {
        Network { id, group, channels: Arc::default(), met: Arc::default() }
    }

    /// This sentinel has just answered at this gRPC address: that counts more than what the log
    /// says, since addresses change with restarts and the log is to be reached first.
    pub(crate) fn met(&self, id: RaftId, grpc: &str) {
        self.met.lock().expect("no holder of this lock panics").insert(id, grpc.to_owned());
    }

    fn whereabouts(&self, id: RaftId, node: &Member) -> String {
        let met = self.met.lock().expect("no holder of this lock panics");
        met.get(&id).unwrap_or(&node.grpc).clone()
    }

    /// The channel to this address, the same for every caller.
    pub(crate) fn channel(&self, grpc: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.channels.lock().expect("no holder of this lock panics");
        if let Some(channel) = channels.get(grpc) {
            return Ok(channel.clone());
        }
        let channel = open_channel(grpc)?;
        channels.insert(grpc.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// A channel that connects when it is first used, and again whenever it broke.
pub(crate) fn open_channel(grpc: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}

/// Whether the call failed because nobody could be reached, so that it certainly did nothing.
pub(crate) fn never_arrived(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, node: &Member) -> Peer {
        Peer { network: self.clone(), target, node: node.clone() }
    }
}

/// Calls to one other member.
pub(crate) struct Peer {
    network: Network,
    target: RaftId,
    node: Member,
}

type Fault = RPCError<TypeConfig>;

impl Peer {
    fn message<T: Serialize>(&self, value: &T) -> Result<RaftMessage, Fault> {
        let payload = encode(value).map_err(fault)?;
        Ok(RaftMessage { to: self.target, payload: payload.into(), group: self.group()? })
    }

    fn client(&self) -> Result<RaftClient<Channel>, Fault> {
        let grpc = self.network.whereabouts(self.target, &self.node);
        let channel = self.network.channel(&grpc).map_err(|error| {
            let why = format!("{grpc} cannot be used as an address: {error}");
            RPCError::Unreachable(Unreachable::from_string(why))
        })?;
        Ok(RaftClient::new(channel))
    }

    fn group(&self) -> Result<String, Fault> {
        let group = self.network.group.get().ok_or_else(|| fault("belongs to no group yet"))?;
        Ok(group.to_string())
    }

    /// Waits for the reply within the time that openraft gives the call.
    async fn reply<R: DeserializeOwned>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<Response<RaftMessage>, Status>>,
    ) -> Result<R, Fault> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(reply)) => decode(&reply.get_ref().payload).map_err(fault),
            Ok(Err(status)) if never_arrived(&status) => {
                Err(RPCError::Unreachable(Unreachable::from_string(status.message())))
            }
            Ok(Err(status)) => Err(fault(status.message())),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.network.id,
                target: self.target,
                timeout: limit,
            })),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Fault> {
        let (mut client, message) = (self.client()?, self.message(&rpc)?);
        self.reply(RPCTypes::AppendEntries, option.soft_ttl(), client.append_entries(message)).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Fault> {
        let (mut client, message) = (self.client()?, self.message(&rpc)?);
        self.reply(RPCTypes::Vote, option.soft_ttl(), client.vote(message)).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Fault> {
        let (mut client, message) = (self.client()?, self.message(&rpc)?);
        self.reply(RPCTypes::Vote, option.soft_ttl(), client.pre_vote(message)).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Vec<u8>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let head = encode(&(vote, snapshot.meta)).map_err(fault)?;
        let pieces = pieces(self.target, &self.group()?, head, &snapshot.snapshot);
        let call = client.install_snapshot(Request::new(tokio_stream::iter(pieces)));
        tokio::select! {
            reply = self.reply(RPCTypes::InstallSnapshot, option.soft_ttl(), call) => Ok(reply?),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Fault> {
        let (mut client, message) = (self.client()?, self.message(&request)?);
        self.reply(RPCTypes::TransferLeader, option.soft_ttl(), client.transfer_leader(message))
            .await
    }

    fn backoff(&self) -> Option<Backoff> {
        let doubling = std::iter::successors(Some(BACKOFF), |wait| {
            Some(wait.saturating_mul(2).min(BACKOFF_MAX))
        });
        Some(Backoff::new(doubling))
    }
}

fn pieces(to: RaftId, group: &str, head: Vec<u8>, data: &[u8]) -> Vec<SnapshotPiece> {
    let piece = |head: Vec<u8>, data: &[u8]| SnapshotPiece {
        to,
        group: group.to_owned(),
        head: head.into(),
        data: data.to_vec().into(),
    };
    let mut pieces = vec![piece(head, &[])];
    pieces.extend(data.chunks(PIECE_BYTES).map(|data| piece(Vec::new(), data)));
    pieces
}

fn fault(why: impl ToString) -> Fault {
    RPCError::Network(NetworkError::from_string(why))
}

/// A Raft message in the encoding that members share.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(value)
}

/// The message that another member encoded.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
