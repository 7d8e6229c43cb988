//! A RESP connection to a watched server.

use std::io;
use std::time::Duration;

use slotward_resp::{Value, decode_value, encode_command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Monitor;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Replies to what is asked here are short.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// One connection.
pub(super) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    /// Connects, resolving the name anew, and says who we are to the servers of this monitor.
    pub(super) async fn open(host: &str, port: u16, monitor: &Monitor) -> io::Result<Link> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        let mut link = Link { stream, buffer: Vec::new() };
        let Monitor { user, password, .. } = monitor;
        let reply = match (user.is_empty(), password.is_empty()) {
            (_, true) => return Ok(link),
            (true, false) => link.ask(&["AUTH", password]).await?,
            (false, false) => link.ask(&["AUTH", user, password]).await?,
        };
        match reply {
            Value::Error(text) => Err(io::Error::other(text)),
            _ => Ok(link),
        }
    }

    /// Asks and waits for the reply.
    pub(super) async fn ask<T: AsRef<[u8]>>(&mut self, words: &[T]) -> io::Result<Value> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words.iter().map(AsRef::as_ref));
        let exchange = async {
            self.stream.write_all(&bytes).await?;
            self.read().await
        };
        timeout(REPLY_TIMEOUT, exchange)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The next reply or message. What has arrived is kept if this is given up.
    pub(super) async fn read(&mut self) -> io::Result<Value> {
        loop {
            if let Some((value, used)) = decode_value(&self.buffer).map_err(io::Error::other)? {
                self.buffer.drain(..used);
                return Ok(value);
            }
            if self.buffer.len() > REPLY_BYTES_MAX {
                return Err(io::Error::other("a reply is too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
