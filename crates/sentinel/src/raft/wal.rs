//! The file format of the Raft log: numbered segments of checksummed records.
//!
//! ```text
//! segment  "SWRL" version:u32  number:u64   record*
//! record   length:u32  crc32c:u32  kind:u8  index:u64  durable:u64  payload[length]
//! ```
//!
//! All numbers are little-endian; the checksum covers everything after itself. `durable` is the
//! offset in the segment up to which the file was known to be on disk when the record was written.
//! It tells a torn tail from damage: what a crash may tear is only what had not been synced, so a
//! bad record is a tail unless some later record says that it had been synced.
//!
//! A segment that has a successor ends with a record that says so, written once the successor is on
//! disk: the loss of the last segment is noticed.
//!
//! **Invariant:** each segment begins with the records that are needed from older ones (the last
//! vote, purge and commit), so a segment may be deleted when all its entries are purged.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::disk;

const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const MAGIC: &[u8; 4] = b"SWRL";
const VERSION: u32 = 1;
const SEGMENT_HEADER_BYTES: usize = 16;
const RECORD_HEADER_BYTES: usize = 25;
/// Bytes after which a new segment is begun.
const SEGMENT_BYTES: u64 = 4 << 20;
const RECORD_BYTES_MAX: usize = 64 << 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A log entry at `index`.
    Entry,
    /// The vote given last.
    Vote,
    /// Entries from `index` on are no more.
    Truncate,
    /// Entries up to `index` are no more; the payload is the id of the last of them.
    Purge,
    /// What was known to be committed.
    Committed,
    /// The segment is complete: the next one is on disk.
    Sealed,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Entry => 1,
            Kind::Vote => 2,
            Kind::Truncate => 3,
            Kind::Purge => 4,
            Kind::Committed => 5,
            Kind::Sealed => 6,
        }
    }

    const fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Entry,
            2 => Kind::Vote,
            3 => Kind::Truncate,
            4 => Kind::Purge,
            5 => Kind::Committed,
            6 => Kind::Sealed,
            _ => return None,
        })
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// What it holds.
    pub(crate) kind: Kind,
    /// The log index that it speaks of; zero where there is none.
    pub(crate) index: u64,
    /// Its encoded content.
    pub(crate) payload: Vec<u8>,
}

const SEAL: Record = Record { kind: Kind::Sealed, index: 0, payload: Vec::new() };

/// A log that cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WalError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path}: damaged at offset {offset}, with intact records after it; this is no torn tail. \
         Restore the file, or remove this sentinel's folder and let it join its group anew"
    )]
    Damaged { path: PathBuf, offset: u64 },
    #[error("{path}: not a log segment of this version")]
    NotASegment { path: PathBuf },
    #[error(
        "{path}: missing, though it was there. Restore it, or remove this sentinel's folder and let \
         it join its group anew"
    )]
    Missing { path: PathBuf },
    #[error(
        "{path}: the log begins at entry {first} and the entries from {wanted} on are nowhere. \
         Restore what is missing, or remove this sentinel's folder and let it join its group anew"
    )]
    Gap { path: PathBuf, first: u64, wanted: u64 },
}

/// The log's files, open for appending.
#[derive(Debug)]
pub(crate) struct Wal {
    dir: PathBuf,
    file: File,
    active: Segment,
    bytes: u64,
    durable: u64,
    sealed: VecDeque<Segment>,
    /// The last vote, purge and commit: what a new segment begins with.
    carried: [Option<Record>; 3],
    purged: Option<u64>,
    poisoned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    number: u64,
    index_max: Option<u64>,
}

impl Wal {
    /// Opens the log in `dir`, which exists: its records in order, and the log to append to. A torn
    /// tail is cut off.
    pub(crate) fn open(dir: &Path) -> Result<(Wal, Vec<Record>), WalError> {
        let numbers = segment_numbers(dir)?;
        let mut records = Vec::new();
        let mut segments = VecDeque::new();
        let mut tail = Tail::Clean(0);
        for (position, &number) in numbers.iter().enumerate() {
            let path = segment_path(dir, number);
            let bytes = fs::read(&path).map_err(at(&path))?;
            let from = records.len();
            tail = read_segment(&path, number, &bytes, &mut records)?;
            let torn = !matches!(tail, Tail::Clean(_)) && !is_torn_seal(&bytes, tail.offset());
            if torn && position + 1 < numbers.len() {
                return Err(WalError::Damaged { path, offset: tail.offset() });
            }
            let sealed = records[from..].iter().position(|record| record.kind == Kind::Sealed);
            if let Some(sealed) = sealed {
                if from + sealed + 1 < records.len() || !matches!(tail, Tail::Clean(_)) {
                    return Err(WalError::Damaged { path, offset: bytes.len() as u64 });
                }
                if position + 1 == numbers.len() {
                    return Err(WalError::Missing { path: segment_path(dir, number + 1) });
                }
                records.pop();
            }
            let index_max = index_max(&records[from..]);
            segments.push_back(Segment { number, index_max });
        }
        let wal = Wal::resume(dir, segments, tail, &records)?;
        Ok((wal, records))
    }

    fn resume(
        dir: &Path,
        mut sealed: VecDeque<Segment>,
        tail: Tail,
        records: &[Record],
    ) -> Result<Wal, WalError> {
        let mut carried = [None, None, None];
        records.iter().for_each(|record| carry(&mut carried, record));
        let purged =
            records.iter().filter(|record| record.kind == Kind::Purge).map(|r| r.index).max();
        let Some(last) = sealed.pop_back() else {
            let (file, bytes) = create_segment(dir, 1, &carried)?;
            let active = Segment { number: 1, index_max: None };
            let durable = bytes;
            let dir = dir.to_owned();
            let poisoned = false;
            return Ok(Wal {
                dir,
                file,
                active,
                bytes,
                durable,
                sealed,
                carried,
                purged,
                poisoned,
            });
        };
        let path = segment_path(dir, last.number);
        let file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        if let Tail::Torn(offset) | Tail::Headless(offset) = tail {
            tracing::warn!(file = %path.display(), offset, "cut off the torn tail of the log");
            file.set_len(offset).and_then(|()| file.sync_all()).map_err(at(&path))?;
        }
        let mut wal = Wal {
            dir: dir.to_owned(),
            file,
            active: last,
            bytes: tail.offset(),
            durable: tail.offset(),
            sealed,
            carried,
            purged,
            poisoned: false,
        };
        match tail {
            Tail::Clean(_) => {}
            // What was cut may have been the records that the segment has to begin with.
            Tail::Torn(_) => wal.rotate()?,
            Tail::Headless(_) => {
                fs::remove_file(&path).map_err(at(&path))?;
                (wal.file, wal.bytes) = create_segment(dir, last.number, &wal.carried)?;
                wal.durable = wal.bytes;
            }
        }
        Ok(wal)
    }

    /// Appends `records`; they are durable after the next [`Wal::sync`].
    ///
    /// # Errors
    /// A failed write or sync poisons the log: how much of it reached the disk is unknown, so
    /// nothing is written behind it any more.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), WalError> {
        self.refuse_if_poisoned()?;
        if self.bytes >= SEGMENT_BYTES {
            self.sync()?;
            self.rotate().inspect_err(|_| self.poisoned = true)?;
        }
        let mut bytes = Vec::new();
        for record in records {
            encode(&mut bytes, record, self.durable);
            carry(&mut self.carried, record);
            if record.kind == Kind::Entry {
                self.active.index_max = self.active.index_max.max(Some(record.index));
            }
            if record.kind == Kind::Purge {
                self.purged = self.purged.max(Some(record.index));
            }
        }
        let path = segment_path(&self.dir, self.active.number);
        self.file.write_all(&bytes).inspect_err(|_| self.poisoned = true).map_err(at(&path))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), WalError> {
        self.refuse_if_poisoned()?;
        let path = segment_path(&self.dir, self.active.number);
        self.file.sync_data().inspect_err(|_| self.poisoned = true).map_err(at(&path))?;
        self.durable = self.bytes;
        Ok(())
    }

    /// Ends the log in order: a last record that says of all others that they are on disk, so that
    /// damage to any of them is noticed.
    pub(crate) fn finish(&mut self) -> Result<(), WalError> {
        self.sync()?;
        let Some(record) = self.carried.iter().flatten().last().cloned() else { return Ok(()) };
        self.append(&[record])?;
        self.sync()
    }

    /// Deletes the segments whose entries are all purged, oldest first.
    pub(crate) fn delete_purged(&mut self) -> Result<(), WalError> {
        while let Some(oldest) = self.sealed.front().copied() {
            if oldest.index_max > self.purged {
                break;
            }
            let path = segment_path(&self.dir, oldest.number);
            fs::remove_file(&path).map_err(at(&path))?;
            self.sealed.pop_front();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), WalError> {
        assert_eq!(self.durable, self.bytes, "a segment is left only when all of it is on disk");
        let number = self.active.number + 1;
        let (file, bytes) = create_segment(&self.dir, number, &self.carried)?;
        let path = segment_path(&self.dir, self.active.number);
        let mut seal = Vec::new();
        encode(&mut seal, &SEAL, self.durable);
        let written = self.file.write_all(&seal).and_then(|()| self.file.sync_data());
        written.map_err(at(&path))?;
        self.sealed.push_back(self.active);
        self.active = Segment { number, index_max: None };
        self.file = file;
        self.bytes = bytes;
        self.durable = bytes;
        self.delete_purged()
    }

    fn refuse_if_poisoned(&self) -> Result<(), WalError> {
        if self.poisoned {
            let source = io::Error::other("an earlier write failed; restart the sentinel");
            return Err(WalError::Io { path: self.dir.clone(), source });
        }
        Ok(())
    }
}

/// How a segment ends.
enum Tail {
    /// With a whole record, at this offset.
    Clean(u64),
    /// With a record that was being written when the process or machine died.
    Torn(u64),
    /// Before its header is complete.
    Headless(u64),
}

impl Tail {
    const fn offset(&self) -> u64 {
        match self {
            Tail::Clean(offset) | Tail::Torn(offset) | Tail::Headless(offset) => *offset,
        }
    }
}

fn read_segment(
    path: &Path,
    number: u64,
    bytes: &[u8],
    records: &mut Vec<Record>,
) -> Result<Tail, WalError> {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return Ok(Tail::Headless(0));
    }
    if bytes[..SEGMENT_HEADER_BYTES] != segment_header(number) {
        return Err(WalError::NotASegment { path: path.to_owned() });
    }
    let mut at = SEGMENT_HEADER_BYTES;
    while at < bytes.len() {
        match decode(&bytes[at..]) {
            Some((record, _, len)) => {
                records.push(record);
                at += len;
            }
            None if synced_later(bytes, at) => {
                return Err(WalError::Damaged { path: path.to_owned(), offset: at as u64 });
            }
            None => return Ok(Tail::Torn(at as u64)),
        }
    }
    Ok(Tail::Clean(at as u64))
}

/// Whether what stands from there on is the beginning of a segment's last record, which a crash cut
/// short: all before it was on disk when the next segment was begun.
fn is_torn_seal(bytes: &[u8], offset: u64) -> bool {
    let mut seal = Vec::new();
    encode(&mut seal, &SEAL, offset);
    let rest = &bytes[offset as usize..];
    let begun = rest.iter().zip(&seal).take_while(|(a, b)| a == b).count();
    rest.len() <= seal.len() && rest[begun..].iter().all(|byte| *byte == 0)
}

/// Whether a record behind the bad one at `bad` says that the bad one had been on disk.
fn synced_later(bytes: &[u8], bad: usize) -> bool {
    (bad + 1..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1)).any(|at| {
        let durable = u64::from_le_bytes(bytes[at + 17..at + 25].try_into().expect("8 bytes"));
        // Looked at before the checksum: of bytes that are no record, hardly any pass.
        durable > bad as u64 && durable <= at as u64 && decode(&bytes[at..]).is_some()
    })
}

fn decode(bytes: &[u8]) -> Option<(Record, u64, usize)> {
    let header = bytes.get(..RECORD_HEADER_BYTES)?;
    let length = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(header[4..8].try_into().ok()?);
    let kind = Kind::from_byte(header[8])?;
    let index = u64::from_le_bytes(header[9..17].try_into().ok()?);
    let durable = u64::from_le_bytes(header[17..25].try_into().ok()?);
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let end = RECORD_HEADER_BYTES + length;
    let payload = bytes.get(RECORD_HEADER_BYTES..end)?;
    if CRC32C.checksum(&bytes[8..end]) != crc {
        return None;
    }
    Some((Record { kind, index, payload: payload.to_vec() }, durable, end))
}

fn encode(out: &mut Vec<u8>, record: &Record, durable: u64) {
    assert!(record.payload.len() <= RECORD_BYTES_MAX, "a record fits its length field");
    let start = out.len();
    out.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(record.kind.byte());
    out.extend_from_slice(&record.index.to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&record.payload);
    let crc = CRC32C.checksum(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn segment_header(number: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..].copy_from_slice(&number.to_le_bytes());
    header
}

fn create_segment(
    dir: &Path,
    number: u64,
    carried: &[Option<Record>],
) -> Result<(File, u64), WalError> {
    let path = segment_path(dir, number);
    let mut bytes = segment_header(number).to_vec();
    carried.iter().flatten().for_each(|record| encode(&mut bytes, record, 0));
    let create = || {
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        disk::sync_dir(dir)?;
        Ok(file)
    };
    Ok((create().map_err(at(&path))?, bytes.len() as u64))
}

fn carry(carried: &mut [Option<Record>; 3], record: &Record) {
    let place = match record.kind {
        Kind::Vote => 0,
        Kind::Purge => 1,
        Kind::Committed => 2,
        Kind::Entry | Kind::Truncate | Kind::Sealed => return,
    };
    carried[place] = Some(record.clone());
}

fn index_max(records: &[Record]) -> Option<u64> {
    records.iter().filter(|record| record.kind == Kind::Entry).map(|record| record.index).max()
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log-{number:016}"))
}

fn segment_numbers(dir: &Path) -> Result<Vec<u64>, WalError> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir).map_err(at(dir))? {
        let name = file.map_err(at(dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("log-"));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(WalError::Missing { path: segment_path(dir, pair[0] + 1) });
        }
    }
    Ok(numbers)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WalError + use<> {
    let path = path.to_owned();
    move |source| WalError::Io { path, source }
}

#[cfg(test)]
mod tests;
