//! Listening: the addresses of `bind`, the Unix socket, and who serves what comes in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slotward_config::Settings;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::node::Node;
use crate::stream::Accepted;
use crate::worker::{Job, Worker};

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] = b"-DENIED Protected mode is on and no password is set, so only clients on \
    this machine are served. Set requirepass, or protected-mode no where the network is trusted.\r\n";

/// A socket that connections come in on.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A TCP port of one address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener, String),
}

/// Opens everything the settings say.
///
/// # Errors
/// When an address cannot be listened on; the text says which and why.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    if settings.port != 0 {
        for address in &settings.bind {
            listeners.extend(open_address(address, settings)?.map(Listener::Tcp));
        }
        anyhow::ensure!(
            !listeners.is_empty(),
            "Failed listening on port {} (tcp): no address of bind is available, aborting.",
            settings.port
        );
    }
    if !settings.unixsocket.is_empty() {
        listeners.push(open_unix(settings)?);
    }
    anyhow::ensure!(!listeners.is_empty(), "Configured to not listen anywhere, exiting.");
    Ok(listeners)
}

/// An address of `bind`: `*`, an IP or a name; a leading `-` means that it may be missing.
fn open_address(address: &str, settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let (optional, name) = match address.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, address),
    };
    let result = resolve(name, settings.port).and_then(|at| bind(at, settings.tcp_backlog));
    match result {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {
            tracing::debug!(%error, address, "an address of bind is not available");
            Ok(None)
        }
        Err(error) => {
            let why = if error.kind() == io::ErrorKind::AddrInUse {
                format!("bind: Address already in use ({error})")
            } else {
                error.to_string()
            };
            tracing::warn!(
                "Could not create server TCP listening socket {name}:{}: {why}",
                settings.port
            );
            anyhow::bail!("Failed listening on port {} (tcp), aborting: {why}", settings.port)
        }
    }
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    match name {
        "*" => Ok((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()),
        "::*" => Ok((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()),
        _ => (name, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{name} has no address"))),
    }
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn open_unix(settings: &Settings) -> anyhow::Result<Listener> {
    let path = &settings.unixsocket;
    let failed = |error: io::Error| anyhow::anyhow!("Failed opening Unix socket {path}: {error}");
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    if settings.unixsocketperm != 0 {
        let permissions = std::fs::Permissions::from_mode(settings.unixsocketperm);
        std::fs::set_permissions(path, permissions).map_err(failed)?;
    }
    Ok(Listener::Unix(listener, path.clone()))
}

/// Accepts connections and deals them out to the workers, one after the other.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Listener) {
    let result = match listener {
        Listener::Tcp(listener) => {
            accept_from(&worker.node, listener, |listener| {
                listener.accept().map(|(stream, peer)| Accepted::Tcp(stream, peer))
            })
            .await
        }
        Listener::Unix(listener, path) => {
            accept_from(&worker.node, listener, |listener| {
                listener.accept().map(|(stream, _)| Accepted::Unix(stream, path.clone()))
            })
            .await
        }
    };
    if let Err(error) = result {
        tracing::error!(%error, "a listener failed; no more connections are accepted on it");
    }
}

/// Whose turn it is to serve the next connection.
static TURN: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
async fn accept_from<L: std::os::fd::AsRawFd>(
    node: &Node,
    listener: L,
    accept: impl Fn(&L) -> io::Result<Accepted>,
) -> io::Result<()> {
    // SAFETY: the listener owns its descriptor and is owned by the `AsyncFd`, which unregisters it
    // before it drops it.
    let listener = unsafe { AsyncFd::register(listener)? };
    loop {
        let mut ready = listener.readable().await?;
        let accepted = match ready.try_io(|listener| accept(listener.get_ref())) {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                // Out of descriptors, usually: closing connections will help, trying hard will not.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(_would_block) => continue,
        };
        admit(node, accepted);
    }
}

fn admit(node: &Node, accepted: Accepted) {
    let live = node.live.load();
    node.stats.connections.fetch_add(1, Ordering::Relaxed);
    if node.clients.count() >= live.settings.maxclients as usize {
        node.stats.connections_refused.fetch_add(1, Ordering::Relaxed);
        accepted.last_word(TOO_MANY);
        return;
    }
    if !may_connect(&live.settings, &accepted) {
        node.stats.connections_refused.fetch_add(1, Ordering::Relaxed);
        accepted.last_word(PROTECTED);
        return;
    }
    if let Err(error) = accepted.prepare(live.settings.tcp_keepalive.into()) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    node.send(TURN.fetch_add(1, Ordering::Relaxed), Job::Serve(accepted));
}

/// Protected mode: without a password nobody from another machine is served.
fn may_connect(settings: &Settings, accepted: &Accepted) -> bool {
    match accepted {
        Accepted::Tcp(_, peer) if settings.protected_mode && settings.requirepass.is_empty() => {
            peer.ip().to_canonical().is_loopback()
        }
        _ => true,
    }
}
