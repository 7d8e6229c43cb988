//! Full synchronisations: one snapshot for all replicas that ask for one at about the same time.
//!
//! A snapshot begins in the worker barrier, where it is tied to an offset of the log. A thread then
//! walks the keyspace and encodes; whoever is about to change a group that the walk has not reached
//! encodes it first. Replicas that can take a data set of unknown length get it as it is made; for
//! the others it is written to a file first.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slotward_keyspace::{DbIndex, EntryRef, SnapshotId, SnapshotSink, WalkCursor};
use slotward_rdb::{Preamble, StreamAux, Writer};
use slotward_replication::{LogReader, StreamPoint};
use tokio::sync::{mpsc, oneshot};

use crate::barrier::Participant;
use crate::clock;
use crate::node::Node;
use crate::replication::{random_bytes, random_id};

/// How much is encoded before it is sent.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that a slow replica may be behind the walk; then the walk waits for it.
const CHUNKS_AHEAD: usize = 8;
/// Entries walked between two looks at the barrier: a fraction of a millisecond.
const WALK_ENTRIES: usize = 128;
/// Below this many keys a data set is quickly sent: nobody waits for company.
const KEYS_WORTH_WAITING: u64 = 1_000_000;

/// One piece of the data set, or why there will be no more.
type Chunk = Result<Arc<Vec<u8>>, String>;
/// The whole data set in a file, and its length.
type Spool = Result<(Arc<File>, u64), String>;

/// How a replica gets its data set.
pub(crate) enum Body {
    /// As it is made; the mark tells its end.
    Marked {
        /// Forty random characters.
        mark: [u8; 40],
        /// The pieces.
        chunks: mpsc::Receiver<Chunk>,
    },
    /// In a file, once that is complete.
    Spooled(oneshot::Receiver<Spool>),
}

/// A snapshot that has begun.
pub(crate) struct Started {
    /// Where it stands in the stream.
    pub(crate) point: StreamPoint,
    /// Reads the stream from there.
    pub(crate) reader: LogReader,
    /// The data set.
    pub(crate) body: Body,
}

struct Waiting {
    takes_mark: bool,
    start: oneshot::Sender<Started>,
}

/// Replicas that wait for the next snapshot.
#[derive(Default)]
pub(crate) struct Gathering {
    waiting: Mutex<Vec<Waiting>>,
}

impl Gathering {
    /// Waits for a snapshot with whoever else does.
    ///
    /// # Errors
    /// When it could not be begun.
    pub(crate) async fn join(
        &self,
        node: &Arc<Node>,
        takes_mark: bool,
    ) -> Result<Started, oneshot::error::RecvError> {
        let (start, started) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push(Waiting { takes_mark, start });
            waiting.len() == 1
        };
        if is_first {
            let gathering = node.clone();
            node.spawn_on_applier(move |_| gather(gathering));
        }
        started.await
    }
}

/// Gives others time to join, then begins the snapshot for all of them.
async fn gather(node: Arc<Node>) {
    let keys: u64 =
        (0..node.keyspace.databases()).map(|db| node.keyspace.dbsize(DbIndex(db))).sum();
    let delay = node.live.load().settings.repl_diskless_sync_delay;
    if keys > KEYS_WORTH_WAITING {
        tokio::time::sleep(Duration::from_secs(delay)).await;
    }
    let waiting = std::mem::take(&mut *node.replication.gathering.waiting.lock());
    let count = waiting.len();
    let memory = node.keyspace.memory_used();
    let compress = node.live.load().settings.rdbcompression;
    let new_id = random_id();
    let replication = &node.replication;
    let (readers, sink, id) = node
        .barrier
        .run(|| {
            let is_master = !replication.is_following();
            if is_master {
                replication.log.activate(new_id);
                replication.wanted.store(true, std::sync::atomic::Ordering::SeqCst);
            }
            let readers: Vec<(LogReader, StreamPoint)> =
                (0..count.max(1)).map(|_| replication.log.attach_at_end(is_master)).collect();
            let sink = Arc::new(Sink::new(&readers[0].1, memory, compress));
            let id = node.keyspace.begin_snapshot(sink.clone());
            (readers, sink, id)
        })
        .await;
    let mut outlets = Outlets::default();
    for (waiting, (reader, point)) in waiting.into_iter().zip(readers) {
        let body = outlets.open(waiting.takes_mark);
        // One that has gone meanwhile is found out when nobody takes its chunks.
        let _gone = waiting.start.send(Started { point, reader, body });
    }
    let walk =
        Walk { participant: node.barrier.participant(), node: node.clone(), sink, id, outlets };
    let thread = std::thread::Builder::new().name("snapshot".into());
    if let Err(error) = thread.spawn(move || walk.run()) {
        tracing::error!("cannot start the thread of a snapshot: {error}");
        node.keyspace.end_snapshot(id);
    }
}

/// Takes entries from the walk, and from those who are about to change them.
struct Sink {
    writer: Mutex<Option<Writer>>,
}

impl Sink {
    fn new(point: &StreamPoint, memory_bytes: u64, compress: bool) -> Sink {
        let preamble = Preamble {
            redis_version: crate::REDIS_VERSION.to_owned(),
            created_at: clock::unix_now(),
            memory_bytes,
            stream: Some(StreamAux { id: point.id, offset: point.offset, db: point.db }),
        };
        Sink { writer: Mutex::new(Some(Writer::new(&preamble, compress))) }
    }

    /// What was encoded, if it is a chunk's worth.
    fn take(&self, at_least: usize) -> Option<Vec<u8>> {
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().filter(|writer| writer.pending_bytes() >= at_least)?;
        Some(writer.take())
    }

    fn finish(&self) -> Vec<u8> {
        self.writer.lock().take().expect("a snapshot is finished once").finish()
    }
}

impl SnapshotSink for Sink {
    fn group(&self, db: DbIndex, entries: &mut dyn Iterator<Item = EntryRef<'_>>) {
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().expect("nothing is delivered after the end");
        entries.for_each(|entry| writer.entry(db, &entry));
    }
}

/// Where the chunks go.
#[derive(Default)]
struct Outlets {
    streams: Vec<mpsc::Sender<Chunk>>,
    spools: Vec<oneshot::Sender<Spool>>,
}

impl Outlets {
    fn open(&mut self, takes_mark: bool) -> Body {
        if takes_mark {
            let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
            self.streams.push(sender);
            Body::Marked { mark: new_mark(), chunks }
        } else {
            let (sender, spooled) = oneshot::channel();
            self.spools.push(sender);
            Body::Spooled(spooled)
        }
    }

    fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.spools.is_empty()
    }
}

/// Forty characters that occur in no data set, short of a miracle.
fn new_mark() -> [u8; 40] {
    let mut mark = [0; 40];
    for (pair, byte) in mark.chunks_exact_mut(2).zip(random_bytes::<20>()) {
        pair.copy_from_slice(format!("{byte:02x}").as_bytes());
    }
    mark
}

/// A snapshot on its own thread.
struct Walk {
    participant: Participant,
    node: Arc<Node>,
    sink: Arc<Sink>,
    id: SnapshotId,
    outlets: Outlets,
}

impl Walk {
    fn run(mut self) {
        let begun = clock::boot_now();
        let outcome = self.walk();
        self.node.keyspace.end_snapshot(self.id);
        let took = clock::boot_now().since(begun).0;
        match outcome {
            Ok(bytes) => {
                tracing::info!(bytes, took_ms = took, "a snapshot for replicas is complete")
            }
            Err(error) => {
                tracing::warn!("a snapshot for replicas failed: {error}");
                for stream in self.outlets.streams.drain(..) {
                    // A replica that has gone needs no reason.
                    let _gone = stream.blocking_send(Err(error.to_string()));
                }
                for spool in self.outlets.spools.drain(..) {
                    let _gone = spool.send(Err(error.to_string()));
                }
            }
        }
    }

    /// Walks to the end; how many bytes it made.
    fn walk(&mut self) -> io::Result<u64> {
        let mut file = if self.outlets.spools.is_empty() { None } else { Some(self.spool_file()?) };
        let mut cursor = WalkCursor::default();
        let mut bytes = 0;
        loop {
            let done = {
                let _inside = self.participant.enter();
                self.node.keyspace.walk_snapshot(self.id, &mut cursor, WALK_ENTRIES)
            };
            if let Some(chunk) = self.sink.take(CHUNK_BYTES) {
                bytes += chunk.len() as u64;
                self.pass_on(chunk, file.as_mut())?;
            }
            self.outlets.spools.retain(|spool| !spool.is_closed());
            if self.outlets.is_empty() {
                return Err(io::Error::other("no replica is left"));
            }
            if done {
                break;
            }
        }
        let last = self.sink.finish();
        bytes += last.len() as u64;
        self.pass_on(last, file.as_mut())?;
        if let Some(file) = file {
            let file = Arc::new(file);
            for spool in self.outlets.spools.drain(..) {
                let _gone = spool.send(Ok((file.clone(), bytes)));
            }
        }
        Ok(bytes)
    }

    fn pass_on(&mut self, chunk: Vec<u8>, file: Option<&mut File>) -> io::Result<()> {
        if let Some(file) = file {
            file.write_all(&chunk)?;
        }
        let chunk = Arc::new(chunk);
        self.outlets.streams.retain(|stream| stream.blocking_send(Ok(chunk.clone())).is_ok());
        Ok(())
    }

    /// A file that has no name any more: it is gone when the last replica has it.
    fn spool_file(&self) -> io::Result<File> {
        let suffix: String = new_mark()[..16].iter().map(|byte| char::from(*byte)).collect();
        let dir = self.node.live.load().settings.dir.clone();
        let path = std::path::Path::new(&dir).join(format!("temp-sync-{suffix}.rdb"));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }
}
