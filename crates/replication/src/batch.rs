//! The effects of one operation, made ready outside the log's lock.

use slotward_resp::encode_command;
use slotward_types::Slot;

/// A batch that held more gives the memory back.
const BYTES_KEPT: usize = 64 << 10;

/// What an operation changed: one slot, or more than readers of single slots may pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Only keys of this slot.
    Slot(Slot),
    /// Several slots, or the whole keyspace: order counts against everything else.
    Barrier,
}

/// The commands that one operation propagates, encoded. Several are one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    commands: Vec<Piece>,
    target: Option<Target>,
}

/// One command of a batch: its database, and where it ends in the batch's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) db: u16,
    pub(crate) end: usize,
}

impl Batch {
    /// A batch without commands.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Makes it empty again; ordinary amounts of memory stay for the next operation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.commands.clear();
        self.target = None;
    }

    /// Whether it has no commands.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many commands it has.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Adds a command that runs in database `db` and changes `target`.
    pub fn command<'a, I>(&mut self, db: u16, target: Target, args: I)
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: ExactSizeIterator,
    {
        encode_command(&mut self.bytes, args);
        self.commands.push(Piece { db, end: self.bytes.len() });
        self.target = Some(match self.target {
            None => target,
            Some(before) if before == target => target,
            Some(_) => Target::Barrier,
        });
    }

    /// What all commands together change. A batch without commands changes nothing; asking is a
    /// mistake.
    pub(crate) fn target(&self) -> Target {
        self.target.expect("a batch that is appended has commands")
    }

    /// The commands in order: database and encoded bytes.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut start = 0;
        self.commands.iter().map(move |piece| {
            let bytes = &self.bytes[start..piece.end];
            start = piece.end;
            (piece.db, bytes)
        })
    }

    /// All commands' bytes and the database they share, if they share one.
    pub(crate) fn in_one_db(&self) -> Option<(u16, &[u8])> {
        let db = self.commands.first()?.db;
        self.commands.iter().all(|piece| piece.db == db).then_some((db, &self.bytes))
    }
}
