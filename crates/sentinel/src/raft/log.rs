//! The Raft log: all entries in memory, every change to them in the [`Wal`].
//!
//! One thread writes and syncs; what arrives while it syncs goes to disk together (group commit).
//! Entries and votes are acknowledged when they are durable; a commit mark is written without
//! waiting for the disk, since it is only a hint.
//!
//! **Invariant:** the order of changes in memory is the order of records in the file: both are
//! decided under one lock.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::TypeConfig;
use super::wal::{Kind, Record, Wal, WalError};

/// The log. Clones read and write the same one.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    entries: BTreeMap<u64, EntryOf<TypeConfig>>,
    vote: Option<VoteOf<TypeConfig>>,
    purged: Option<LogIdOf<TypeConfig>>,
    committed: Option<LogIdOf<TypeConfig>>,
    /// To the writing thread; gone once the log is closed.
    jobs: Option<Sender<Job>>,
}

struct Job {
    records: Vec<Record>,
    done: Done,
}

enum Done {
    Flushed(IOFlushed<TypeConfig>),
    Durable(oneshot::Sender<io::Result<()>>),
    /// Nobody waits, and the disk need not be waited for.
    Unneeded,
}

impl LogStore {
    /// Opens the log in `dir`, which exists.
    pub(crate) fn open(dir: &Path) -> Result<LogStore, WalError> {
        let (wal, records) = Wal::open(dir)?;
        let (jobs, queue) = channel();
        let mut inner = Inner {
            entries: BTreeMap::new(),
            vote: None,
            purged: None,
            committed: None,
            jobs: Some(jobs),
        };
        for record in records {
            inner
                .replay(&record)
                .map_err(|source| WalError::Io { path: dir.to_owned(), source })?;
        }
        inner.check_that_nothing_is_missing(dir)?;
        let thread = std::thread::Builder::new()
            .name("sentinel-log".into())
            .spawn(move || write_all(wal, &queue))
            .map_err(|source| WalError::Io { path: dir.to_owned(), source })?;
        let shared = Shared { inner: Mutex::new(inner), writer: Mutex::new(Some(thread)) };
        Ok(LogStore { shared: Arc::new(shared) })
    }

    /// The last entry that is no more, because a snapshot holds it.
    pub(crate) fn purged(&self) -> Option<LogIdOf<TypeConfig>> {
        self.lock().purged
    }

    /// Writes what is queued and ends the writing thread.
    pub(crate) fn close(&self) {
        self.lock().jobs = None;
        let thread = self.shared.writer.lock().expect("no holder panics").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().expect("no holder of the log's lock panics")
    }

    /// Queues `records` and returns once they are on disk.
    async fn durably(
        &self,
        change: impl FnOnce(&mut Inner),
        record: Record,
    ) -> Result<(), io::Error> {
        let (done, wait) = oneshot::channel();
        {
            let mut inner = self.lock();
            change(&mut inner);
            inner.send(Job { records: vec![record], done: Done::Durable(done) })?;
        }
        wait.await.map_err(|_| closed())?
    }
}

impl Inner {
    fn replay(&mut self, record: &Record) -> io::Result<()> {
        match record.kind {
            Kind::Entry => {
                self.entries.insert(record.index, decode(&record.payload)?);
            }
            Kind::Vote => self.vote = Some(decode(&record.payload)?),
            Kind::Truncate => self.truncate_from(record.index),
            Kind::Purge => self.purge(decode(&record.payload)?),
            Kind::Committed => self.committed = decode(&record.payload)?,
            Kind::Sealed => unreachable!("the log's files keep it to themselves"),
        }
        Ok(())
    }

    /// The entries follow each other, from the one after the last purged.
    fn check_that_nothing_is_missing(&self, dir: &Path) -> Result<(), WalError> {
        let beginning = self.purged.map_or(0, |purged| purged.index() + 1);
        let mut found = (beginning..).zip(self.entries.keys());
        match found.find(|(wanted, first)| wanted != *first) {
            None => Ok(()),
            Some((wanted, &first)) => Err(WalError::Gap { path: dir.to_owned(), first, wanted }),
        }
    }

    fn truncate_from(&mut self, index: u64) {
        self.entries.split_off(&index);
    }

    fn purge(&mut self, upto: LogIdOf<TypeConfig>) {
        self.entries = self.entries.split_off(&(upto.index() + 1));
        self.purged = self.purged.max(Some(upto));
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).map_err(|_| closed())
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        Ok(self.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let inner = self.lock();
        let last = inner.entries.last_key_value().map(|(_, entry)| entry.log_id());
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: last.or(inner.purged) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        let record = Record { kind: Kind::Vote, index: 0, payload: encode(vote)? };
        self.durably(|inner| inner.vote = Some(*vote), record).await
    }

    async fn save_committed(
        &mut self,
        committed: Option<LogIdOf<TypeConfig>>,
    ) -> Result<(), io::Error> {
        let index = committed.map_or(0, |id| id.index());
        let record = Record { kind: Kind::Committed, index, payload: encode(&committed)? };
        let mut inner = self.lock();
        inner.committed = committed;
        inner.send(Job { records: vec![record], done: Done::Unneeded })
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        let mut records = Vec::new();
        for entry in entries {
            let index = entry.index();
            records.push(Record { kind: Kind::Entry, index, payload: encode(&entry)? });
            inner.entries.insert(index, entry);
        }
        inner.send(Job { records, done: Done::Flushed(callback) })
    }

    async fn truncate_after(
        &mut self,
        last_log_id: Option<LogIdOf<TypeConfig>>,
    ) -> Result<(), io::Error> {
        let index = last_log_id.map_or(0, |id| id.index() + 1);
        let record = Record { kind: Kind::Truncate, index, payload: Vec::new() };
        self.durably(|inner| inner.truncate_from(index), record).await
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let record = Record { kind: Kind::Purge, index: log_id.index(), payload: encode(&log_id)? };
        self.durably(|inner| inner.purge(log_id), record).await
    }
}

/// The writing thread: takes all that waits, writes it, syncs once if somebody waits for that.
fn write_all(mut wal: Wal, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let jobs: Vec<Job> = std::iter::once(first).chain(queue.try_iter()).collect();
        let result = write_jobs(&mut wal, &jobs);
        if let Err(error) = &result {
            tracing::error!("the Raft log cannot be written: {error}");
        }
        let outcome = || result.as_ref().copied().map_err(|e| io::Error::other(e.to_string()));
        for job in jobs {
            match job.done {
                Done::Flushed(callback) => callback.io_completed(outcome()),
                // A receiver that is gone has stopped waiting, which is its own affair.
                Done::Durable(done) => drop(done.send(outcome())),
                Done::Unneeded => {}
            }
        }
    }
    if let Err(error) = wal.finish() {
        tracing::warn!("the Raft log was not ended in order: {error}");
    }
}

fn write_jobs(wal: &mut Wal, jobs: &[Job]) -> Result<(), WalError> {
    let mut purged = false;
    let mut wanted = false;
    for job in jobs {
        wal.append(&job.records)?;
        wanted |= !matches!(job.done, Done::Unneeded);
        purged |= job.records.iter().any(|record| record.kind == Kind::Purge);
    }
    if wanted {
        wal.sync()?;
    }
    if purged {
        wal.delete_purged()?;
    }
    Ok(())
}

fn closed() -> io::Error {
    io::Error::other("the Raft log is closed")
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}
