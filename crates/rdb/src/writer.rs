//! Writing an RDB stream.

use slotward_keyspace::{DbIndex, EntryRef};
use slotward_types::UnixMillis;

use crate::crc64::crc64;
use crate::output::Output;
use crate::values::write_value;
use crate::wire::{MAGIC, VERSION_WRITTEN, op};

/// What a stream says about itself before its entries.
#[derive(Debug, Clone, Default)]
pub struct Preamble {
    /// The version that we announce ourselves as.
    pub redis_version: String,
    /// When it was begun.
    pub created_at: UnixMillis,
    /// Memory that the data occupies here.
    pub memory_bytes: u64,
    /// Where the replication stream goes on after it, if it goes on.
    pub stream: Option<StreamAux>,
}

/// Where in a replication stream a data set stands.
#[derive(Debug, Clone, Copy)]
pub struct StreamAux {
    /// The history's name.
    pub id: slotward_types::ReplId,
    /// How many bytes of the history are in the data set.
    pub offset: slotward_types::ReplOffset,
    /// The database that the stream is in there.
    pub db: Option<u16>,
}

/// Writes a stream into memory, piece by piece: [`Writer::take`] what there is whenever it suits.
pub struct Writer {
    out: Output,
    crc: u64,
    db: Option<DbIndex>,
    entries: u64,
}

impl Writer {
    /// A stream that begins with this preamble. `compress` makes long strings smaller at the price
    /// of time (`rdbcompression`).
    pub fn new(preamble: &Preamble, compress: bool) -> Writer {
        let mut writer = Writer { out: Output::new(compress), crc: 0, db: None, entries: 0 };
        writer.out.raw(MAGIC);
        writer.out.raw(format!("{VERSION_WRITTEN:04}").as_bytes());
        writer.aux("redis-ver", preamble.redis_version.as_bytes());
        writer.aux("redis-bits", b"64");
        writer.aux("ctime", (preamble.created_at.0 / 1000).to_string().as_bytes());
        writer.aux("used-mem", preamble.memory_bytes.to_string().as_bytes());
        if let Some(stream) = preamble.stream {
            if let Some(db) = stream.db {
                writer.aux("repl-stream-db", db.to_string().as_bytes());
            }
            writer.aux("repl-id", stream.id.to_string().as_bytes());
            writer.aux("repl-offset", stream.offset.to_string().as_bytes());
        }
        writer.aux("aof-base", b"0");
        writer
    }

    fn aux(&mut self, name: &str, value: &[u8]) {
        self.out.byte(op::AUX);
        self.out.string(name.as_bytes());
        self.out.string(value);
    }

    /// Tells how many keys a database has, before its first one: the reader makes room.
    pub fn resize(&mut self, db: DbIndex, keys: u64, volatile: u64) {
        self.select(db);
        self.out.byte(op::RESIZE);
        self.out.length(keys as usize);
        self.out.length(volatile as usize);
    }

    fn select(&mut self, db: DbIndex) {
        if self.db.replace(db) != Some(db) {
            self.out.byte(op::SELECT);
            self.out.length(usize::from(db.0));
        }
    }

    /// Writes one key of the database. Databases may take turns.
    pub fn entry(&mut self, db: DbIndex, entry: &EntryRef<'_>) {
        self.select(db);
        if let Some(at) = entry.expires_at {
            self.out.byte(op::EXPIRES_MS);
            self.out.raw(&at.0.to_le_bytes());
        }
        write_value(&mut self.out, entry.key, &entry.value);
        self.entries += 1;
    }

    /// How many keys were written.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How many bytes wait to be taken.
    pub fn pending_bytes(&self) -> usize {
        self.out.bytes.len()
    }

    /// The bytes written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        self.crc = crc64(self.crc, &self.out.bytes);
        std::mem::take(&mut self.out.bytes)
    }

    /// Ends the stream; gives its last bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.byte(op::END);
        let mut bytes = self.take();
        bytes.extend_from_slice(&self.crc.to_le_bytes());
        bytes
    }
}
