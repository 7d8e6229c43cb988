//! Listening and the connections: reading commands, writing replies and events.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slotward_resp::{Args, CommandDecoder, Decoded, Limits, Reply, Span};
use slotward_types::glob_match;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::commands::{self, Call, Then};
use super::elsewhere;
use super::session::Session;
use crate::control::{Control, Published};
use crate::raft::Member;
use crate::say::Limited;

/// What a client of a sentinel may send: commands here are short.
const LIMITS: Limits =
    Limits { bulk_bytes_max: 1 << 20, args_max: 1 << 10, inline_bytes_max: 64 << 10 };
const READ_BYTES: usize = 16 << 10;
/// Replies are written when they have grown to this, even if more commands wait.
const WRITE_BYTES: usize = 256 << 10;

/// What all connections share.
pub(crate) struct Server {
    /// Speaks to the task that watches the nodes.
    pub(crate) control: Control,
    /// This sentinel.
    pub(crate) me: Member,
    /// The port that clients connect to.
    pub(crate) port: u16,
    /// Which clients are told another host than the announced ones.
    pub(crate) announce_to: slotward_config::ClientHosts,
    /// The password to be given, if one is.
    pub(crate) requirepass: Option<String>,
    /// Most clients at once.
    pub(crate) clients_max: usize,
    /// When the process started.
    pub(crate) started: Instant,
    /// Becomes true when the process is asked to end.
    pub(crate) stop: watch::Sender<bool>,
    /// How many connections there have been.
    pub(crate) clients_ever: AtomicU64,
    /// How many there are.
    pub(crate) clients: AtomicUsize,
}

/// Takes connections until the sentinel stops.
pub(crate) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let mut said = Limited::new(Duration::from_secs(5));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    // A client that went away in the middle is no news.
                    let _ = Connection::run(server, stream, peer).await;
                });
            }
            Err(error) => {
                said.warn(|| format!("cannot take a connection: {error}"));
                // Out of file descriptors: others have to close theirs first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

struct Connection {
    server: Arc<Server>,
    session: Session,
    events: Option<Receiver<Arc<Published>>>,
    output: OwnedWriteHalf,
    input: OwnedReadHalf,
    buffer: Vec<u8>,
    decoder: CommandDecoder,
    spans: Vec<Span>,
}

/// Whether to go on with a connection.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Close,
}

impl Connection {
    async fn run(server: Arc<Server>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let _counted = Counted::new(&server);
        let (input, mut output) = stream.into_split();
        if server.clients.load(Ordering::Relaxed) > server.clients_max {
            return output.write_all(b"-ERR max number of clients reached\r\n").await;
        }
        let session = Session {
            id: server.clients_ever.fetch_add(1, Ordering::Relaxed) + 1,
            address: peer.to_string(),
            told_host: server.announce_to.of(peer.ip()).cloned(),
            authenticated: server.requirepass.is_none(),
            ..Session::default()
        };
        let mut connection = Connection {
            server: Arc::clone(&server),
            session,
            events: None,
            output,
            input,
            buffer: Vec::new(),
            decoder: CommandDecoder::default(),
            spans: Vec::new(),
        };
        connection.serve().await
    }

    async fn serve(&mut self) -> io::Result<()> {
        loop {
            self.buffer.reserve(READ_BYTES);
            let next = tokio::select! {
                read = self.input.read_buf(&mut self.buffer) => match read? {
                    0 => Next::Close,
                    _ => self.execute().await?,
                },
                event = next_event(&mut self.events) => match event {
                    Ok(event) => self.deliver(&event).await?,
                    // It reads too slowly to be told everything, so it is told that it was not.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => Next::Close,
                },
            };
            if next == Next::Close {
                return Ok(());
            }
        }
    }

    /// Executes the whole commands in the buffer and writes their replies.
    async fn execute(&mut self) -> io::Result<Next> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut reply = Reply::new(Vec::new(), self.session.protocol);
        let mut start = 0;
        let next = loop {
            let limits =
                if self.session.authenticated { &LIMITS } else { &Limits::UNAUTHENTICATED };
            match self.decoder.decode(&mut buffer, start, &mut self.spans, limits) {
                Ok(Decoded::Command { end }) => {
                    let mut spans = std::mem::take(&mut self.spans);
                    let next = self.command(Args::new(&buffer, &spans), &mut reply).await?;
                    spans.clear();
                    self.spans = spans;
                    start = end;
                    if next == Next::Close {
                        break Next::Close;
                    }
                    if reply.len() >= WRITE_BYTES {
                        self.output.write_all(reply.as_bytes()).await?;
                        reply.buffer_mut().clear();
                    }
                }
                Ok(Decoded::Incomplete { .. }) => break Next::Go,
                Err(error) => {
                    reply.error(&format!("ERR {error}"));
                    break Next::Close;
                }
            }
        };
        buffer.drain(..start);
        // The arguments found so far of a command that is begun have moved with it.
        self.spans.iter_mut().for_each(|span| span.start -= start as u32);
        self.buffer = buffer;
        self.output.write_all(reply.as_bytes()).await?;
        Ok(next)
    }

    async fn command(&mut self, args: Args<'_>, reply: &mut Reply) -> io::Result<Next> {
        if args.is_empty() {
            return Ok(Next::Go);
        }
        let Some(mut view) = self.server.control.view().await else { return Ok(Next::Close) };
        if let Some(host) = &self.session.told_host {
            view = elsewhere::view(view, host);
        }
        let mut call = Call {
            server: &self.server,
            session: &mut self.session,
            view: &view,
            args,
            reply,
            then: Then::Nothing,
        };
        commands::execute(&mut call);
        let then = call.then;
        if self.session.is_subscribed() != self.events.is_some() {
            self.events = self.session.is_subscribed().then(|| self.server.control.subscribe());
        }
        match then {
            Then::Nothing => {}
            Then::Close => return Ok(Next::Close),
            Then::FailOver(request) => self.server.control.fail_over(request).await,
            Then::ForgetSilent => self.server.control.forget_silent().await,
            Then::Stop => {
                self.server.stop.send_replace(true);
                return Ok(Next::Close);
            }
        }
        Ok(Next::Go)
    }

    async fn deliver(&mut self, event: &Published) -> io::Result<Next> {
        let elsewhere = match &self.session.told_host {
            Some(host) => {
                let Some(view) = self.server.control.view().await else { return Ok(Next::Close) };
                Some(elsewhere::event(&view, host, &event.message))
            }
            None => None,
        };
        let message = elsewhere.as_ref().unwrap_or(&event.message).as_bytes();
        let mut reply = Reply::new(Vec::new(), self.session.protocol);
        let channel = event.channel.as_bytes();
        if self.session.channels.contains(channel) {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(channel);
            reply.bulk(message);
        }
        for pattern in self.session.patterns.iter().filter(|p| glob_match(p, channel)) {
            reply.push(4);
            reply.bulk(b"pmessage");
            reply.bulk(pattern);
            reply.bulk(channel);
            reply.bulk(message);
        }
        self.output.write_all(reply.as_bytes()).await?;
        Ok(Next::Go)
    }
}

/// The next event; never, while nothing is subscribed.
async fn next_event(
    events: &mut Option<Receiver<Arc<Published>>>,
) -> Result<Arc<Published>, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// Counts a connection for as long as it lasts.
struct Counted<'s>(&'s Server);

impl<'s> Counted<'s> {
    fn new(server: &'s Server) -> Self {
        server.clients.fetch_add(1, Ordering::Relaxed);
        Counted(server)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
