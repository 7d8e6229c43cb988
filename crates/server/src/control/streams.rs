//! The streams to the sentinels: one task each, which opens its stream again whenever it ends.

use std::sync::Arc;
use std::time::Duration;

use slotward_cluster::Member;
use slotward_config::SentinelAddress;
use slotward_failover::{Entry, NodeEvent, Outcome, SentinelId, ToSentinel};
use slotward_proto::control::control_client::ControlClient;
use slotward_proto::control::{NodeMessage, ProposeRequest};
use slotward_proto::{FromNode, FromSentinel};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::agent::Input;

/// Messages that may wait for one sentinel; beyond that it does not keep up and loses some, as it
/// would if they were late.
const OUTBOX: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose other end is silent for this long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Between two attempts: the first is within the fast path's reconnect wait.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
const PROPOSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// One sentinel, as this node reaches it.
#[derive(Debug, Clone)]
pub(super) struct Sentinel {
    channel: Channel,
    name: Arc<str>,
}

impl Sentinel {
    pub(super) fn new(address: &SentinelAddress) -> anyhow::Result<Sentinel> {
        let name = format!("{}:{}", address.host, address.grpc_port);
        let host = if address.host.contains(':') && !address.host.starts_with('[') {
            format!("[{}]", address.host)
        } else {
            address.host.clone()
        };
        let channel = Endpoint::from_shared(format!("http://{host}:{}", address.grpc_port))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Sentinel { channel, name: name.into() })
    }

    /// Its gRPC address.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Keeps a stream to the sentinel for as long as somebody listens at `inbox`.
    pub(super) async fn attend(self, member: Member, inbox: mpsc::UnboundedSender<Input>) {
        let mut pause = RETRY.0;
        let mut said = false;
        while !inbox.is_closed() {
            match self.converse(member, &inbox).await {
                Ok(()) => {
                    tracing::info!("the stream to sentinel {} ended", self.name);
                    pause = RETRY.0;
                    said = false;
                }
                Err(status) => {
                    if !said {
                        tracing::warn!(
                            "sentinel {} does not answer: {}",
                            self.name,
                            status.message()
                        );
                    }
                    said = true;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// One stream from its beginning to its end; an error if it never began.
    async fn converse(
        &self,
        member: Member,
        inbox: &mpsc::UnboundedSender<Input>,
    ) -> Result<(), tonic::Status> {
        let (outbox, outgoing) = mpsc::channel::<NodeMessage>(OUTBOX);
        outbox.try_send((&FromNode::Open(member)).into()).expect("the outbox is empty");
        let mut client = ControlClient::new(self.channel.clone());
        let opening = client.attach(ReceiverStream::new(outgoing));
        let timed_out = |_| tonic::Status::deadline_exceeded("no answer");
        let reply = tokio::time::timeout(CONNECT_TIMEOUT, opening).await.map_err(timed_out)??;
        let mut incoming = reply.into_inner();
        let welcome = tokio::time::timeout(CONNECT_TIMEOUT, incoming.message());
        let welcome = welcome.await.map_err(timed_out)??.map(FromSentinel::try_from);
        let Some(Ok(FromSentinel::Welcome(id))) = welcome else {
            return Err(tonic::Status::internal("it did not say which sentinel it is"));
        };
        tracing::info!("sentinel {} listens", self.name);
        let told = inbox.send(Input::StreamOpened(id, Arc::clone(&self.name), outbox));
        while told.is_ok() {
            match incoming.message().await {
                Ok(Some(message)) => match FromSentinel::try_from(message) {
                    Ok(FromSentinel::Says(message)) => {
                        let event = NodeEvent::FromSentinel(id, message);
                        if inbox.send(Input::Event(event)).is_err() {
                            break;
                        }
                    }
                    Ok(FromSentinel::Welcome(_)) => {}
                    Err(error) => tracing::warn!("sentinel {} says nonsense: {error}", self.name),
                },
                Ok(None) | Err(_) => break,
            }
        }
        // Nobody listens any more only when the node ends.
        let _closed = inbox.send(Input::StreamClosed(id));
        Ok(())
    }

    /// Puts an entry before the group through this sentinel. None: it has certainly no effect.
    async fn propose(&self, entry: &Entry) -> Option<(Outcome, u64)> {
        use slotward_proto::control::propose_reply::Outcome as Reply;
        let mut client = ControlClient::new(self.channel.clone());
        let request = ProposeRequest {
            entry: Some(entry.into()),
            timeout_ms: PROPOSE_TIMEOUT.as_millis() as u32,
            forwarded: false,
        };
        let patience = PROPOSE_TIMEOUT + Duration::from_millis(500);
        match tokio::time::timeout(patience, client.propose(request)).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                let version = match reply.outcome {
                    Some(Reply::Applied(version)) => version,
                    _ => 0,
                };
                Some((Outcome::try_from(reply).unwrap_or(Outcome::Unknown), version))
            }
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable => None,
            Ok(Err(_)) | Err(_) => Some((Outcome::Unknown, 0)),
        }
    }
}

/// Puts an entry before the group through any sentinel that answers. Gives the outcome, and the
/// version of the topology that an applied entry made. None: no sentinel took it.
pub(super) async fn propose(sentinels: &[Sentinel], entry: &Entry) -> Option<(Outcome, u64)> {
    for sentinel in sentinels {
        if let Some(outcome) = sentinel.propose(entry).await {
            return Some(outcome);
        }
    }
    None
}

/// What is said to one sentinel; a stream that is full loses it.
pub(super) fn say(outbox: &mpsc::Sender<NodeMessage>, id: SentinelId, message: ToSentinel) {
    if outbox.try_send((&FromNode::Says(message)).into()).is_err() {
        tracing::debug!("sentinel {} does not keep up", id.0);
    }
}
