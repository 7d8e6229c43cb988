//! Reading an RDB stream, entry by entry.

use std::io::Read;

use slotward_keyspace::{EncodingLimits, Value};
use slotward_types::UnixMillis;

use crate::error::RdbError;
use crate::input::{Input, Length, ReadLimits};
use crate::values::read_value;
use crate::wire::{
    MAGIC, MAGIC_VALKEY, VERSION_READ_MAX, VERSION_WITH_CHECKSUM, kind, kind_in, op,
};

/// What comes next in a stream.
#[derive(Debug)]
pub enum Event {
    /// Something about the stream as a whole, such as who wrote it.
    Aux {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// What follows is in this database.
    Select(u64),
    /// How many keys follow in this database, roughly; to be taken as a hint.
    Resize {
        /// Keys.
        keys: u64,
        /// Those of them that end.
        volatile: u64,
    },
    /// A key.
    Entry(Entry),
    /// A library of functions, as text.
    Function(Vec<u8>),
    /// The stream is complete and its checksum right.
    End,
}

/// A key with what it holds.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// What it holds.
    pub value: Value,
    /// When it ends, if it does.
    pub expires_at: Option<UnixMillis>,
}

/// Reads a stream of any version that is known.
///
/// Reads ahead of what it has returned; after [`Event::End`] use [`Reader::into_rest`] to get at the
/// bytes that are not part of the stream.
pub struct Reader<'l, R> {
    input: Input<R>,
    limits: &'l EncodingLimits,
    /// The stream's version, once its first bytes were read.
    version: Option<u32>,
}

impl<'l, R: Read> Reader<'l, R> {
    /// A reader at the beginning of a stream. Values are encoded under `limits`.
    pub fn new(source: R, limits: &'l EncodingLimits, read_limits: ReadLimits) -> Self {
        Reader { input: Input::new(source, read_limits), limits, version: None }
    }

    /// The source, and what was read from it beyond the stream's end.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        self.input.into_rest()
    }

    /// What comes next.
    ///
    /// # Errors
    /// When the stream is damaged, incomplete or holds what is not supported. It cannot be read any
    /// further then.
    pub fn next_event(&mut self) -> Result<Event, RdbError> {
        let version = match self.version {
            Some(version) => version,
            None => *self.version.insert(read_version(&mut self.input)?),
        };
        let mut expires_at = None;
        loop {
            let input = &mut self.input;
            match input.byte()? {
                op::EXPIRES_MS => {
                    expires_at = Some(UnixMillis(i64::from_le_bytes(input.array()?)));
                }
                op::EXPIRES_S => {
                    let seconds = i64::from(i32::from_le_bytes(input.array()?));
                    expires_at = Some(UnixMillis(seconds * 1000));
                }
                op::IDLE => _ = input.length()?,
                op::FREQUENCY => _ = input.byte()?,
                op::SLOT_INFO => {
                    for _ in 0..3 {
                        input.length()?;
                    }
                }
                op::AUX => {
                    return Ok(Event::Aux { name: input.string()?, value: input.string()? });
                }
                op::SELECT => return Ok(Event::Select(input.length()?)),
                op::RESIZE => {
                    return Ok(Event::Resize { keys: input.length()?, volatile: input.length()? });
                }
                op::FUNCTION => return Ok(Event::Function(input.string()?)),
                op::FUNCTION_PREVIEW => {
                    return Err(RdbError::Unsupported("functions of a preview of Redis 7"));
                }
                op::MODULE_AUX => skip_module_aux(input)?,
                op::END => {
                    check_end(input, version)?;
                    return Ok(Event::End);
                }
                byte => {
                    let value_kind = kind_in(version, byte)?;
                    let key = input.string()?;
                    match read_value(input, value_kind, self.limits)? {
                        Some(value) => {
                            return Ok(Event::Entry(Entry { key, value, expires_at }));
                        }
                        // Versions with a mistake in them have left empty collections behind.
                        None => expires_at = None,
                    }
                }
            }
        }
    }
}

/// `REDIS` and four digits, or `VALKEY` and three.
fn read_version<R: Read>(input: &mut Input<R>) -> Result<u32, RdbError> {
    let head: [u8; 9] = input.array()?;
    let digits = head.strip_prefix(MAGIC).or_else(|| head.strip_prefix(MAGIC_VALKEY));
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let digits = digits.ok_or(RdbError::BadMagic)?;
    let version = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if (1..=VERSION_READ_MAX).contains(&version) {
        Ok(version)
    } else {
        Err(RdbError::BadVersion(version))
    }
}

fn check_end<R: Read>(input: &mut Input<R>, version: u32) -> Result<(), RdbError> {
    if version < VERSION_WITH_CHECKSUM {
        return Ok(());
    }
    let ours = input.crc();
    let theirs = u64::from_le_bytes(input.array()?);
    // Zero stands for "not computed" (`rdbchecksum no`).
    if theirs == 0 || theirs == ours { Ok(()) } else { Err(RdbError::BadChecksum) }
}

/// Passes over what a module left about itself; its parts say how long they are.
fn skip_module_aux<R: Read>(input: &mut Input<R>) -> Result<(), RdbError> {
    let _module = input.length()?;
    loop {
        match input.length_or_special()? {
            Length::Plain(0) => return Ok(()),
            Length::Plain(1 | 2) => _ = input.length()?,
            Length::Plain(3) => _ = input.array::<4>()?,
            Length::Plain(4) => _ = input.array::<8>()?,
            Length::Plain(5) => _ = input.string()?,
            _ => return Err(RdbError::Damaged("data of a module")),
        }
    }
}

/// The name of a kind of value that is known but not supported.
pub(crate) fn unsupported(value_kind: u8) -> RdbError {
    match value_kind {
        kind::MODULE => RdbError::Unsupported("a value of a module's type"),
        _ => RdbError::Damaged("the kind of a value"),
    }
}
