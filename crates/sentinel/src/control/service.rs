//! The control service: nodes' streams, proposals, and what other sentinels tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slotward_failover::{Entry, SentinelEvent, SentinelId, StreamId};
use slotward_proto::control::control_server::Control as Service;
use slotward_proto::control::{
    GetTopologyReply, GetTopologyRequest, NodeMessage, PeerEnvelope, ProposeReply, ProposeRequest,
    SentinelMessage, TellReply,
};
use slotward_proto::{FromNode, FromSentinel};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Control, Message, OUTBOX, PROPOSE_TIMEOUT, Peers, propose, refused};
use crate::raft::Group;

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const PROPOSE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// What this sentinel answers nodes and other sentinels.
#[derive(Clone)]
pub(crate) struct ControlService {
    control: Control,
    group: Group,
    peers: Peers,
    streams_ever: Arc<AtomicU64>,
}

impl ControlService {
    /// The service in front of this task and this member of the group.
    pub(crate) fn new(control: Control, group: Group, peers: Peers) -> Self {
        ControlService { control, group, peers, streams_ever: Arc::default() }
    }
}

#[tonic::async_trait]
impl Service for ControlService {
    type AttachStream = ReceiverStream<Result<SentinelMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = timeout(OPEN_TIMEOUT, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("nothing was said on the stream"))??
            .ok_or_else(|| Status::invalid_argument("the stream ended before it began"))?;
        let FromNode::Open(node) = FromNode::try_from(first).map_err(refused)? else {
            return Err(Status::invalid_argument("the first message must say who speaks"));
        };
        let stream = StreamId(self.streams_ever.fetch_add(1, Ordering::Relaxed));
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let welcome = FromSentinel::Welcome(SentinelId(self.group.raft_id()));
        outbox.try_send(Ok((&welcome).into())).expect("the outbox is empty");
        let opened = Message::Opened { stream, node, outbox };
        let stopping = |_| Status::unavailable("this sentinel is stopping");
        self.control.inbox.send(opened).await.map_err(stopping)?;
        tokio::spawn(listen(self.control.clone(), stream, incoming));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeReply>, Status> {
        let request = request.into_inner();
        let entry =
            request.entry.ok_or_else(|| Status::invalid_argument("the entry is missing"))?;
        let entry = Entry::try_from(entry).map_err(refused)?;
        let limit = match request.timeout_ms {
            0 => PROPOSE_TIMEOUT,
            limit => Duration::from_millis(limit.into()).min(PROPOSE_TIMEOUT_MAX),
        };
        let reply =
            propose::anywhere(&self.group, &self.peers, entry, limit, request.forwarded).await?;
        Ok(Response::new(reply))
    }

    async fn get_topology(
        &self,
        _request: Request<GetTopologyRequest>,
    ) -> Result<Response<GetTopologyReply>, Status> {
        let view = self.control.view().await;
        let view = view.ok_or_else(|| Status::unavailable("this sentinel is stopping"))?;
        let topology = Some(view.topology.as_ref().into());
        Ok(Response::new(GetTopologyReply { topology }))
    }

    async fn tell(&self, request: Request<PeerEnvelope>) -> Result<Response<TellReply>, Status> {
        let envelope = request.into_inner();
        if envelope.to != self.group.raft_id() {
            return Err(Status::failed_precondition("another sentinel answers here now"));
        }
        if !self.group.status().members.contains_key(&envelope.from) {
            return Err(Status::permission_denied("not a member of this group"));
        }
        let message =
            envelope.message.ok_or_else(|| Status::invalid_argument("the message is missing"))?;
        let message = message.try_into().map_err(refused)?;
        self.control.tell(SentinelEvent::FromPeer(SentinelId(envelope.from), message)).await;
        Ok(Response::new(TellReply {}))
    }
}

/// Takes in what the node says until its stream ends, and says so at once: that is the fast path.
async fn listen(control: Control, stream: StreamId, mut incoming: Streaming<NodeMessage>) {
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) | Err(_) => break,
        };
        match FromNode::try_from(message) {
            Ok(FromNode::Says(message)) => {
                control.tell(SentinelEvent::FromNode(stream, message)).await;
            }
            Ok(FromNode::Open(_)) => break,
            Err(error) => {
                refused(error);
                break;
            }
        }
    }
    control.tell(SentinelEvent::StreamClosed(stream)).await;
}
