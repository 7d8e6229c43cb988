//! Loading a data set that a master sends: on a thread of its own, into a keyspace of its own.

use std::io::{self, Read};
use std::sync::Arc;

use slotward_keyspace::{Db, DbIndex, ExpiryPolicy, Keyspace, Locked};
use slotward_rdb::{Entry, Event, RdbError, ReadLimits, Reader};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::live::Live;

/// Pieces received ahead of the loading.
const PIECES_AHEAD: usize = 16;

/// A data set, loaded.
pub(crate) struct Loaded {
    /// The data.
    pub(crate) keyspace: Keyspace,
    /// The database that the stream is in where the data set stands.
    pub(crate) stream_db: u16,
    /// How many keys it has.
    pub(crate) keys: u64,
}

/// Why a data set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Rdb(#[from] RdbError),
    #[error("the data set has a database {0}, which this server does not have")]
    NoSuchDatabase(u64),
    #[error("the thread that loads ended")]
    Gone,
}

/// A loading under way.
pub(crate) struct Loading {
    /// Takes the data set piece by piece; dropped at its end.
    pub(crate) pieces: Option<mpsc::Sender<Vec<u8>>>,
    /// What became of it.
    pub(crate) outcome: oneshot::Receiver<Result<Loaded, LoadError>>,
}

impl Loading {
    /// Starts the thread. It ends early when what feeds it is dropped.
    pub(crate) fn start(into: Keyspace, live: Arc<Live>) -> io::Result<Loading> {
        let (pieces, received) = mpsc::channel(PIECES_AHEAD);
        let (tell, outcome) = oneshot::channel();
        std::thread::Builder::new().name("load".into()).spawn(move || {
            let source = Pieces { received, piece: Vec::new(), at: 0 };
            // Nobody waits any more if another order came.
            let _unwanted = tell.send(load(into, &live, source));
        })?;
        Ok(Loading { pieces: Some(pieces), outcome })
    }
}

/// What was received, as a reader wants it.
struct Pieces {
    received: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.received.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn load(keyspace: Keyspace, live: &Live, source: Pieces) -> Result<Loaded, LoadError> {
    let limits = ReadLimits { string_bytes_max: live.settings.proto_max_bulk_len };
    let mut reader = Reader::new(source, &live.data.limits, limits);
    let mut loaded = Loaded { keyspace, stream_db: 0, keys: 0 };
    let mut db = DbIndex(0);
    loop {
        match reader.next_event()? {
            Event::Select(number) => {
                let known = u16::try_from(number).ok();
                let known = known.filter(|number| *number < loaded.keyspace.databases());
                db = DbIndex(known.ok_or(LoadError::NoSuchDatabase(number))?);
            }
            Event::Aux { name, value } if name == b"repl-stream-db" => {
                let text = String::from_utf8_lossy(&value);
                loaded.stream_db = text.parse().unwrap_or(0);
            }
            Event::Aux { .. } | Event::Resize { .. } => {}
            Event::Function(_) => {
                tracing::warn!("a library of functions in the master's data set is not kept");
            }
            Event::Entry(entry) => {
                insert(&loaded.keyspace, db, entry, live);
                loaded.keys += 1;
            }
            Event::End => return Ok(loaded),
        }
    }
}

fn insert(keyspace: &Keyspace, db: DbIndex, entry: Entry, live: &Live) {
    let key = keyspace.key(&entry.key);
    let mut locked = Locked::from(keyspace.lock_blocking(key.slot));
    // A key whose time has come is its master's to remove.
    let policy = ExpiryPolicy::Ignore;
    let mut view = Db::new(keyspace, &mut locked, db, clock::unix_now(), policy, &live.data.limits);
    view.insert(&key, entry.value, entry.expires_at);
}
