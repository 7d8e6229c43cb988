//! The one log of a node: what happened, in order, at global offsets.
//!
//! Appending takes one short mutex, inside the slot lock of the change. Reading takes none except
//! once per block: the end of the log is published atomically after the bytes are stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::task::Waker;

use parking_lot::Mutex;
use slotward_types::{ReplId, ReplOffset};

use crate::batch::{Batch, Target};
use crate::block::{BLOCK_BYTES, Block};
use crate::history::{History, Resume};
use crate::reader::{LogReader, Shared};

/// How much of the log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Kept for readers that may come back (`repl-backlog-size`).
    pub backlog_bytes: u64,
    /// A reader further behind than this is dropped (`client-output-buffer-limit replica`, the hard
    /// one); none if `None`. Never below `backlog_bytes` in effect.
    pub reader_lag_bytes_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { backlog_bytes: 1 << 20, reader_lag_bytes_max: Some(256 << 20) }
    }
}

/// One batch in the log, for readers that take some slots only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where its bytes begin; what lies between frames are `SELECT`s.
    pub start: ReplOffset,
    /// How many bytes it has.
    pub bytes: u64,
    /// The database in which its first command runs: the stream is in it where the frame begins, or
    /// the frame, a transaction, selects it.
    pub db: u16,
    /// What it changes.
    pub target: Target,
}

/// What `INFO` and heartbeats show of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// Its names.
    pub history: History,
    /// Offset of the first byte that is still there.
    pub first: ReplOffset,
    /// Offset after the last byte.
    pub end: ReplOffset,
    /// Whether anything is recorded at all.
    pub active: bool,
    /// Memory held by the blocks.
    pub memory_bytes: u64,
}

/// Where a snapshot that was just begun stands in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPoint {
    /// The history.
    pub id: ReplId,
    /// The offset.
    pub offset: ReplOffset,
    /// The database that the stream is in there, if it does not select one next.
    pub db: Option<u16>,
}

/// The log of a node's effects.
///
/// Inactive until a replica attaches for the first time or the node is managed: nothing is
/// recorded then, and the offset stands still.
pub struct Log {
    active: AtomicBool,
    /// Offset after the last byte that readers may copy.
    end: AtomicU64,
    state: Mutex<State>,
    sleepers: Sleepers,
}

pub(crate) struct State {
    history: History,
    /// The database that the stream is in; `None` makes the next append select one.
    db: Option<u16>,
    end: u64,
    /// Whole blocks that follow each other; all but the last are full.
    pub(crate) blocks: VecDeque<Arc<Block>>,
    /// First byte that is there: inside the first block, or `end` when there is none.
    first: u64,
    readers: Vec<Arc<Shared>>,
    retention: Retention,
    frames: VecDeque<Frame>,
    /// Who reads frames.
    frame_readers: usize,
}

impl Log {
    /// An inactive log under the name `id`.
    pub fn new(id: ReplId, retention: Retention) -> Log {
        Log {
            active: AtomicBool::new(false),
            end: AtomicU64::new(0),
            state: Mutex::new(State {
                history: History::new(id),
                db: None,
                end: 0,
                blocks: VecDeque::new(),
                first: 0,
                readers: Vec::new(),
                retention,
                frames: VecDeque::new(),
                frame_readers: 0,
            }),
            sleepers: Sleepers::default(),
        }
    }

    /// Whether effects are recorded. Asked before a batch is made.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Begins to record, as a new history `new_id`: what was not recorded makes the old name
    /// worthless. Does nothing if the log is active. The caller holds the worker barrier, so that
    /// no operation is between its effect and its append.
    pub fn activate(&self, new_id: ReplId) {
        let mut state = self.state.lock();
        if !self.active.swap(true, AcqRel) {
            state.history = History::new(new_id);
            state.db = None;
        }
    }

    /// Stops recording and drops what is there. The caller holds the worker barrier.
    pub fn deactivate(&self) {
        let mut state = self.state.lock();
        self.active.store(false, Release);
        state.drop_bytes();
    }

    /// Appends the batch, selecting its database first where the stream is in another, as one
    /// transaction if it has several commands. Gives the offset after it. Does nothing when the log
    /// is inactive or the batch empty.
    ///
    /// Call it under the slot locks of the change.
    pub fn append(&self, batch: &Batch) -> ReplOffset {
        if !self.is_active() || batch.is_empty() {
            return self.end();
        }
        let mut state = self.state.lock();
        if let (1, Some((db, bytes))) = (batch.len(), batch.in_one_db()) {
            state.select(db);
            let start = state.end;
            state.store(bytes);
            state.frame(start, db, batch.target());
        } else {
            state.transaction(batch);
        }
        self.publish(&state)
    }

    /// Appends bytes of the master as they came, which leave the stream in database `db`. Gives the
    /// offset after them.
    pub fn append_verbatim(&self, bytes: &[u8], db: u16, target: Target) -> ReplOffset {
        let mut state = self.state.lock();
        let start = state.end;
        state.store(bytes);
        state.db = Some(db);
        state.frame(start, db, target);
        self.publish(&state)
    }

    fn publish(&self, state: &State) -> ReplOffset {
        self.end.store(state.end, Release);
        ReplOffset(state.end)
    }

    /// Offset after the last byte.
    #[inline]
    pub fn end(&self) -> ReplOffset {
        ReplOffset(self.end.load(Acquire))
    }

    /// Where this node would go on if it followed a master.
    pub fn resume(&self) -> Resume {
        let state = self.state.lock();
        Resume { id: state.history.id(), next: ReplOffset(state.end) }
    }

    /// What there is, for those who show it.
    pub fn status(&self) -> LogStatus {
        let state = self.state.lock();
        LogStatus {
            history: state.history.clone(),
            first: ReplOffset(state.first),
            end: ReplOffset(state.end),
            active: self.is_active(),
            memory_bytes: (state.blocks.len() * BLOCK_BYTES) as u64,
        }
    }

    /// Changes how much is kept, from the next block on.
    pub fn set_retention(&self, retention: Retention) {
        self.state.lock().retention = retention;
    }

    // --- changes of role

    /// This node becomes a master of what it holds: a new history continues the old one.
    pub fn promote(&self, new_id: ReplId) {
        let mut state = self.state.lock();
        let end = ReplOffset(state.end);
        state.history.promote(new_id, end);
        state.db = None;
    }

    /// The master lets this copy go on where it is, under the master's `id`.
    pub fn adopt(&self, id: ReplId) {
        let mut state = self.state.lock();
        self.active.store(true, Release);
        let end = ReplOffset(state.end);
        state.history.adopt(id, end);
    }

    /// The copy was replaced whole by the master's at `offset` of history `id`. Readers of the old
    /// one are dropped. The caller holds the worker barrier in which the keyspace is swapped.
    pub fn restart(&self, id: ReplId, offset: ReplOffset, db: Option<u16>) {
        let mut state = self.state.lock();
        state.drop_bytes();
        state.history = History::new(id);
        state.db = db;
        state.end = offset.0;
        state.first = offset.0;
        self.active.store(true, Release);
        self.publish(&state);
    }

    // --- readers

    /// A reader that goes on at `from`, if that is in this history and still here.
    pub fn attach(self: &Arc<Log>, from: Resume) -> Option<LogReader> {
        let mut state = self.state.lock();
        let here = (state.first..=state.end).contains(&from.next.0);
        if !self.is_active() || !here || !state.history.includes(from, ReplOffset(state.end)) {
            return None;
        }
        Some(state.attach(self, from.next.0))
    }

    /// A reader from the end on, for a full synchronisation whose snapshot begins now: the caller
    /// holds the worker barrier. A master's stream selects its database anew from here; a
    /// replica's stays as its master sends it, so the point tells the database.
    pub fn attach_at_end(self: &Arc<Log>, is_master: bool) -> (LogReader, StreamPoint) {
        let mut state = self.state.lock();
        if is_master {
            state.db = None;
        }
        let point =
            StreamPoint { id: state.history.id(), offset: ReplOffset(state.end), db: state.db };
        let at = state.end;
        (state.attach(self, at), point)
    }

    /// Begins or ends the recording of frames for one reader of them; the caller that begins holds
    /// the worker barrier, and reads from the offset that this gives.
    pub fn record_frames(&self, wanted: bool) -> ReplOffset {
        let mut state = self.state.lock();
        state.frame_readers =
            if wanted { state.frame_readers + 1 } else { state.frame_readers - 1 };
        if state.frame_readers == 0 {
            state.frames = VecDeque::new();
        }
        ReplOffset(state.end)
    }

    /// The database that the stream is in where the log ends, if it is in one.
    pub fn db(&self) -> Option<u16> {
        self.state.lock().db
    }

    /// Appends to `out` at most `max` frames that begin at `from` or later.
    pub fn frames(&self, from: ReplOffset, max: usize, out: &mut Vec<Frame>) {
        let state = self.state.lock();
        let index = state.frames.partition_point(|frame| frame.start < from);
        out.extend(state.frames.range(index..).take(max));
    }

    /// Wakes the readers that wait for more. Called once per batch of commands, not per append.
    #[inline]
    pub fn wake(&self) {
        self.sleepers.wake();
    }

    pub(crate) fn sleep(&self, waker: &Waker) {
        self.sleepers.add(waker);
    }

    pub(crate) fn block_at(&self, at: u64) -> Option<Arc<Block>> {
        let state = self.state.lock();
        let first = state.blocks.front()?.start;
        let index = at.checked_sub(first)? / BLOCK_BYTES as u64;
        state.blocks.get(usize::try_from(index).ok()?).cloned()
    }

    pub(crate) fn detach(&self, shared: &Arc<Shared>) {
        self.state.lock().readers.retain(|other| !Arc::ptr_eq(other, shared));
    }
}

impl State {
    fn attach(&mut self, log: &Arc<Log>, at: u64) -> LogReader {
        let shared = Arc::new(Shared::new(at));
        self.readers.push(shared.clone());
        LogReader::new(log.clone(), shared, at)
    }

    fn select(&mut self, db: u16) {
        if self.db != Some(db) {
            let digits = db.to_string();
            self.store(
                format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{digits}\r\n", digits.len()).as_bytes(),
            );
            self.db = Some(db);
        }
    }

    fn transaction(&mut self, batch: &Batch) {
        let first_db = batch.pieces().next().map(|(db, _)| db).expect("a batch has commands");
        let start = self.end;
        self.store(b"*1\r\n$5\r\nMULTI\r\n");
        match batch.in_one_db() {
            Some((_, bytes)) => {
                self.select(first_db);
                self.store(bytes);
            }
            None => batch.pieces().for_each(|(db, bytes)| {
                self.select(db);
                self.store(bytes);
            }),
        }
        self.store(b"*1\r\n$4\r\nEXEC\r\n");
        self.frame(start, first_db, batch.target());
    }

    fn frame(&mut self, start: u64, db: u16, target: Target) {
        if self.frame_readers > 0 {
            let bytes = self.end - start;
            self.frames.push_back(Frame { start: ReplOffset(start), bytes, db, target });
        }
    }

    fn store(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.blocks.back().is_none_or(|block| block.end() == self.end) {
                let block = self.next_block();
                self.blocks.push_back(block);
            }
            let block = self.blocks.back().expect("a block was just made sure of");
            let at = (self.end - block.start) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - at));
            block.store(at, part);
            self.end += part.len() as u64;
            bytes = rest;
        }
    }

    /// A block for what comes next, if possible in the memory of one that is no longer kept.
    fn next_block(&mut self) -> Arc<Block> {
        let mut spare = None;
        while let Some(block) = self.unneeded_block() {
            spare = Some(block);
        }
        if let Some(mut block) = spare
            && let Some(unshared) = Arc::get_mut(&mut block)
        {
            unshared.reuse(self.end);
            return block;
        }
        Arc::new(Block::new(self.end))
    }

    /// Takes out the oldest block, if the rest is a whole backlog and no reader needs it; a reader
    /// that lags too far is dropped instead of heeded.
    fn unneeded_block(&mut self) -> Option<Arc<Block>> {
        let oldest_end = self.blocks.front()?.end();
        if self.end - oldest_end < self.retention.backlog_bytes {
            return None;
        }
        let lag_max =
            self.retention.reader_lag_bytes_max.map(|max| max.max(self.retention.backlog_bytes));
        let end = self.end;
        self.readers.retain(|reader| {
            let keep = lag_max.is_none_or(|max| end.saturating_sub(reader.position()) <= max);
            if !keep {
                reader.lose();
            }
            keep
        });
        if self.readers.iter().any(|reader| reader.position() < oldest_end) {
            return None;
        }
        self.first = oldest_end;
        while self.frames.front().is_some_and(|frame| frame.start.0 < oldest_end) {
            self.frames.pop_front();
        }
        self.blocks.pop_front()
    }

    fn drop_bytes(&mut self) {
        // Before the new end is published: a reader loads the end first and then asks whether it
        // is lost, so it never takes a new offset for one in an old block.
        self.readers.drain(..).for_each(|reader| reader.lose());
        self.blocks.clear();
        self.frames.clear();
        self.first = self.end;
    }
}

/// Readers that wait for more.
#[derive(Default)]
struct Sleepers {
    count: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Sleepers {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        // The one who sleeps looks at the end once more after this; the one who appends looks at
        // the count after its append. One of the two sees the other.
        self.count.store(wakers.len(), SeqCst);
        std::sync::atomic::fence(SeqCst);
    }

    #[inline]
    fn wake(&self) {
        std::sync::atomic::fence(SeqCst);
        if self.count.load(SeqCst) > 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let wakers = {
            let mut wakers = self.wakers.lock();
            self.count.store(0, SeqCst);
            std::mem::take(&mut *wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotward_types::Slot;

    fn id(byte: u8) -> ReplId {
        ReplId::from_bytes([byte; 20])
    }

    fn log(backlog_bytes: u64, reader_lag_bytes_max: u64) -> Arc<Log> {
        let retention =
            Retention { backlog_bytes, reader_lag_bytes_max: Some(reader_lag_bytes_max) };
        let log = Arc::new(Log::new(id(1), retention));
        log.activate(id(2));
        log
    }

    fn batch(commands: &[(u16, &str)]) -> Batch {
        let mut batch = Batch::new();
        for (db, text) in commands {
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            batch.command(*db, Target::Slot(Slot::ZERO), words);
        }
        batch
    }

    fn text(reader: &mut LogReader) -> String {
        let mut out = Vec::new();
        reader.read(usize::MAX, &mut out).unwrap();
        let mut words = Vec::new();
        for line in String::from_utf8(out).unwrap().split("\r\n") {
            match line.bytes().next() {
                Some(b'*') => words.push("|"),
                Some(b'$') | None => {}
                // Leaked by a test, once.
                Some(_) => words.push(String::leak(line.to_owned())),
            }
        }
        words.join(" ")
    }

    #[test]
    fn selects_and_transactions_are_put_around_the_commands() {
        let log = log(1 << 20, 1 << 20);
        let (mut reader, point) = log.attach_at_end(true);
        assert_eq!((point.id, point.offset), (id(2), ReplOffset(0)));
        for (why, commands, want) in [
            ("the first selects", vec![(0, "SET a 1")], "| SELECT 0 | SET a 1"),
            ("the same database again", vec![(0, "SET a 2")], "| SET a 2"),
            ("another database", vec![(3, "SET a 3")], "| SELECT 3 | SET a 3"),
            (
                "several are one",
                vec![(3, "DEL a"), (3, "SET b 1")],
                "| MULTI | DEL a | SET b 1 | EXEC",
            ),
            (
                "and may be of several databases",
                vec![(3, "DEL a"), (1, "SET a 1")],
                "| MULTI | DEL a | SELECT 1 | SET a 1 | EXEC",
            ),
            ("which is where the stream stays", vec![(1, "DEL a")], "| DEL a"),
            (
                "the first is selected inside, as Redis does",
                vec![(2, "DEL a"), (2, "SET b 1")],
                "| MULTI | SELECT 2 | DEL a | SET b 1 | EXEC",
            ),
            ("nothing is nothing", vec![], ""),
        ] {
            let end = log.append(&batch(&commands));
            assert_eq!(text(&mut reader), want, "{why}");
            assert_eq!(reader.position(), end, "{why}");
        }
    }

    #[test]
    fn a_full_synchronisation_makes_the_stream_select_anew() {
        let log = log(1 << 20, 1 << 20);
        log.append(&batch(&[(5, "SET a 1")]));
        let (mut reader, point) = log.attach_at_end(true);
        assert_eq!(point.db, None);
        log.append(&batch(&[(5, "SET a 2")]));
        assert_eq!(text(&mut reader), "| SELECT 5 | SET a 2");
        let (_, point) = log.attach_at_end(false);
        assert_eq!(point.db, Some(5), "a replica's stream is not its own to select in");
    }

    #[test]
    fn nothing_is_recorded_before_somebody_listens() {
        let log = Arc::new(Log::new(id(1), Retention::default()));
        assert!(!log.is_active());
        assert_eq!(log.append(&batch(&[(0, "SET a 1")])), ReplOffset(0));
        assert!(log.attach(log.resume()).is_none(), "what it missed has no name");
        log.activate(id(2));
        assert_eq!(log.status().history.id(), id(2));
        assert!(log.append(&batch(&[(0, "SET a 1")])) > ReplOffset(0));
        log.activate(id(3));
        assert_eq!(log.status().history.id(), id(2), "an active log keeps its name");
    }

    #[test]
    fn going_on_needs_the_history_and_the_bytes() {
        let log = log(100_000, 1 << 20);
        let value = "x".repeat(1000);
        for _ in 0..500 {
            log.append(&batch(&[(0, &format!("SET a {value}"))]));
        }
        let status = log.status();
        assert!(status.first.0 > 0, "the oldest went");
        assert!(status.end.0 - status.first.0 >= 100_000, "a whole backlog stayed");
        for (why, id, next, want) in [
            ("missed nothing", id(2), status.end.0, true),
            ("the oldest byte that is there", id(2), status.first.0, true),
            ("a byte that is gone", id(2), status.first.0 - 1, false),
            ("ahead of the master", id(2), status.end.0 + 1, false),
            ("another history", id(9), status.end.0, false),
        ] {
            let from = Resume { id, next: ReplOffset(next) };
            assert_eq!(log.attach(from).is_some(), want, "{why}");
        }
    }

    #[test]
    fn what_an_attached_reader_needs_is_kept_up_to_a_limit() {
        let log = log(100_000, 1_000_000);
        let (mut reader, _) = log.attach_at_end(true);
        let command = format!("SET a {}", "x".repeat(9000));
        for _ in 0..50 {
            log.append(&batch(&[(0, &command)]));
        }
        let mut out = Vec::new();
        assert_eq!(reader.read(1000, &mut out), Ok(1000), "far behind the backlog, still served");
        for _ in 0..100 {
            log.append(&batch(&[(0, &command)]));
        }
        assert!(reader.is_lost(), "beyond the limit it is let go");
        assert_eq!(reader.read(1000, &mut out), Err(crate::reader::ReaderLost));
        let status = log.status();
        assert!(status.memory_bytes < 300_000, "and its bytes with it: {}", status.memory_bytes);
    }

    #[test]
    fn a_replaced_copy_drops_its_readers() {
        let log = log(1 << 20, 1 << 20);
        log.append(&batch(&[(0, "SET a 1")]));
        let (mut reader, _) = log.attach_at_end(true);
        log.restart(id(7), ReplOffset(5000), Some(2));
        log.append_verbatim(b"*1\r\n$4\r\nPING\r\n", 2, Target::Barrier);
        assert!(reader.read(100, &mut Vec::new()).is_err());
        let mut next = log.attach(Resume { id: id(7), next: ReplOffset(5000) }).unwrap();
        assert_eq!(text(&mut next), "| PING");
    }

    #[test]
    fn after_a_promotion_the_others_go_on_under_the_old_name() {
        let log = log(1 << 20, 1 << 20);
        let end = log.append(&batch(&[(0, "SET a 1")]));
        log.promote(id(3));
        let mut other = log.attach(Resume { id: id(2), next: end }).unwrap();
        log.append(&batch(&[(0, "SET a 2")]));
        assert_eq!(text(&mut other), "| SELECT 0 | SET a 2", "a promotion selects anew");
        let beyond = Resume { id: id(2), next: ReplOffset(end.0 + 1) };
        assert!(log.attach(beyond).is_none(), "the old master wrote on: another history");
    }

    #[test]
    fn frames_tell_what_lies_where() {
        let log = log(1 << 20, 1 << 20);
        log.append(&batch(&[(0, "SET a 1")]));
        let from = log.record_frames(true);
        log.append(&batch(&[(0, "SET a 1")]));
        let mut wide = Batch::new();
        wide.command(1, Target::Barrier, [&b"FLUSHDB"[..]]);
        let end = log.append(&wide);
        let mut frames = Vec::new();
        log.frames(from, 10, &mut frames);
        let told: Vec<_> = frames.iter().map(|f| (f.db, f.target)).collect();
        assert_eq!(told, [(0, Target::Slot(Slot::ZERO)), (1, Target::Barrier)]);
        assert_eq!(frames[0].start, from);
        assert_eq!(frames[1].start.0 + frames[1].bytes, end.0);
    }

    #[test]
    fn readers_copy_while_writers_append() {
        const WRITERS: usize = 3;
        const COMMANDS: usize = 3000;
        let log = log(1 << 20, 1 << 30);
        let (mut reader, _) = log.attach_at_end(true);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let log = &log;
                scope.spawn(move || {
                    for count in 0..COMMANDS {
                        log.append(&batch(&[(0, &format!("SET {writer} {count}"))]));
                    }
                });
            }
            let limits = crate::StreamLimits { unit_bytes_max: 1 << 20, databases: 16 };
            let mut parser = crate::StreamParser::new(ReplOffset(0), 0, limits);
            let mut next = [0; WRITERS];
            while next.iter().sum::<usize>() < WRITERS * COMMANDS {
                let mut out = Vec::new();
                reader.read(10_000, &mut out).unwrap();
                parser.feed(&out);
                while let Some(unit) = parser.next_unit().unwrap() {
                    for (_, args) in unit.commands() {
                        let number = |index: usize| -> usize {
                            std::str::from_utf8(&args[index]).unwrap().parse().unwrap()
                        };
                        assert_eq!(number(2), next[number(1)], "each writer's order is kept");
                        next[number(1)] += 1;
                    }
                }
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn a_waiting_reader_is_woken_once_there_is_more() {
        struct Flag(AtomicUsize);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let log = log(1 << 20, 1 << 20);
        let (reader, _) = log.attach_at_end(true);
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let waker = Waker::from(flag.clone());
        let mut context = std::task::Context::from_waker(&waker);
        assert!(reader.poll_ready(&mut context).is_pending());
        log.append(&batch(&[(0, "SET a 1")]));
        log.append(&batch(&[(0, "SET a 1")]));
        assert_eq!(flag.0.load(SeqCst), 0, "an append alone wakes nobody");
        log.wake();
        log.wake();
        assert_eq!(flag.0.load(SeqCst), 1);
        assert!(reader.poll_ready(&mut context).is_ready());
    }
}
