//! A client's socket: TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

/// A connected socket, not yet or no longer driven by a runtime: it may move between workers.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// Over TCP, with the peer's address.
    Tcp(std::net::TcpStream, SocketAddr),
    /// Over the Unix socket at this path.
    Unix(std::os::unix::net::UnixStream, String),
}

/// A connected socket of the worker's runtime.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Tcp(tokio::net::TcpStream),
    /// Over a Unix socket.
    Unix(tokio::net::UnixStream),
}

impl Accepted {
    /// Sets the options of a client's socket. An error means that the peer is gone already.
    pub(crate) fn prepare(&self, keepalive_seconds: u64) -> io::Result<()> {
        match self {
            Accepted::Tcp(stream, _) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                if keepalive_seconds > 0 {
                    let interval = Duration::from_secs((keepalive_seconds / 3).max(1));
                    let keepalive = socket2::TcpKeepalive::new()
                        .with_time(Duration::from_secs(keepalive_seconds))
                        .with_interval(interval)
                        .with_retries(3);
                    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
                }
                Ok(())
            }
            Accepted::Unix(stream, _) => stream.set_nonblocking(true),
        }
    }

    /// The peer's address, if it has one.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Tcp(_, peer) => Some(*peer),
            Accepted::Unix(..) => None,
        }
    }

    /// The peer's address as `CLIENT LIST` shows it.
    pub(crate) fn peer(&self) -> String {
        match self {
            Accepted::Tcp(_, peer) => peer.to_string(),
            Accepted::Unix(_, path) => format!("{path}:0"),
        }
    }

    /// Our own address as `CLIENT LIST` shows it.
    pub(crate) fn local(&self) -> String {
        match self {
            Accepted::Tcp(stream, _) => {
                stream.local_addr().map_or_else(|_| "?:0".to_owned(), |address| address.to_string())
            }
            Accepted::Unix(_, path) => format!("{path}:0"),
        }
    }

    /// Hands the socket to the runtime of the calling thread.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Accepted::Tcp(stream, _) => Stream::Tcp(tokio::net::TcpStream::from_std(stream)?),
            Accepted::Unix(stream, _) => Stream::Unix(tokio::net::UnixStream::from_std(stream)?),
        })
    }

    /// Writes a last word to a client that is turned away; what does not fit at once is lost.
    pub(crate) fn last_word(mut self, text: &[u8]) {
        use std::io::Write;
        let result = match &mut self {
            Accepted::Tcp(stream, _) => stream.write(text),
            Accepted::Unix(stream, _) => stream.write(text),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a client that was turned away did not hear why");
        }
    }
}

impl Stream {
    /// Reads what has arrived, or registers to be woken.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Writes as much as the socket takes now.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Reads what has arrived.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Waits until there is something to read, or the stream ended.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
        }
    }

    /// Waits until the socket takes more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable().await,
            Stream::Unix(stream) => stream.writable().await,
        }
    }

    /// Writes everything, waiting while the socket is full.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads into the spare capacity of `buffer`, which must not be empty.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn poll_read_vec(
    stream: &mut Stream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let len = buffer.len();
    let mut spare = ReadBuf::uninit(buffer.spare_capacity_mut());
    assert!(spare.remaining() > 0, "there is room to read into");
    std::task::ready!(stream.poll_read(context, &mut spare))?;
    let read = spare.filled().len();
    // SAFETY: `ReadBuf` vouches for the first `read` bytes of the spare capacity being initialised.
    unsafe { buffer.set_len(len + read) };
    Poll::Ready(Ok(read))
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }
}
