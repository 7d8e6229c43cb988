//! A small blocking client for the operator's commands.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use slotward_resp::{Value, decode_value, encode_command};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, std::io::Error),
    /// The connection broke, or no reply came in time.
    #[error("{0} did not answer: {1}")]
    Broken(String, std::io::Error),
    /// What answers speaks another protocol.
    #[error("{0} does not speak the Redis protocol")]
    NotRedis(String),
    /// It answered with an error.
    #[error("{0} answered: {1}")]
    Refused(String, String),
}

/// Replies beyond this size are not read on.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// A connection to a node or a sentinel.
pub(crate) struct Client {
    address: String,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects; replies too must come within `patience`.
    pub(crate) fn connect(address: &str, patience: Duration) -> Result<Client, ClientError> {
        let fail = |error| ClientError::Unreachable(address.to_owned(), error);
        let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs().map_err(fail)? {
            match TcpStream::connect_timeout(&resolved, patience) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience)).map_err(fail)?;
                    stream.set_write_timeout(Some(patience)).map_err(fail)?;
                    return Ok(Client { address: address.to_owned(), stream, buffer: Vec::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(fail(last))
    }

    /// Sends a command and returns its reply; an error reply is an error.
    pub(crate) fn call(&mut self, arguments: &[&str]) -> Result<Value, ClientError> {
        let broken = |error| ClientError::Broken(self.address.clone(), error);
        let mut request = Vec::new();
        encode_command(&mut request, arguments.iter().map(|argument| argument.as_bytes()));
        self.stream.write_all(&request).map_err(broken)?;
        loop {
            match decode_value(&self.buffer) {
                Ok(Some((value, taken))) => {
                    self.buffer.drain(..taken);
                    return match value {
                        Value::Error(text) => Err(ClientError::Refused(self.address.clone(), text)),
                        value => Ok(value),
                    };
                }
                Ok(None) if self.buffer.len() < REPLY_BYTES_MAX => self.read_more()?,
                _ => return Err(ClientError::NotRedis(self.address.clone())),
            }
        }
    }

    /// Sends a command whose reply is text.
    pub(crate) fn text(&mut self, arguments: &[&str]) -> Result<String, ClientError> {
        let value = self.call(arguments)?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| ClientError::NotRedis(self.address.clone()))
    }

    fn read_more(&mut self) -> Result<(), ClientError> {
        let broken = |error| ClientError::Broken(self.address.clone(), error);
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk).map_err(broken)? {
            0 => Err(broken(ErrorKind::UnexpectedEof.into())),
            count => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}
