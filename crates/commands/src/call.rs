//! What a handler is given.

use slotward_keyspace::{Db, Key};
use slotward_resp::{Args, Reply};
use slotward_types::UnixMillis;

use crate::effects::{Effects, EventClass};
use crate::error::CmdError;
use crate::hash::import::Fieldsets;
use crate::number::{parse_double, parse_integer};
use crate::random::Random;
use crate::settings::DataSettings;

/// One execution of a data command: its arguments, the locked slots, and where results go.
pub struct Call<'a> {
    /// The arguments, the command's name first. Their number fits the command's arity.
    pub argv: Args<'a>,
    /// The database, of which the slots of the command's keys are held.
    pub db: Db<'a>,
    /// Where the reply is written.
    pub reply: &'a mut Reply,
    /// Randomness; a handler that uses it propagates its result, not itself.
    pub random: &'a mut Random,
    /// The settings of this moment.
    pub settings: &'a DataSettings,
    /// What changed.
    pub effects: &'a mut Effects,
    /// What the connection has prepared for `HIMPORT`.
    pub fieldsets: &'a mut Fieldsets,
    /// The first key, if its slot and hash are known already (from prefetching).
    pub first_key: Option<Key<'a>>,
}

impl<'a> Call<'a> {
    /// The argument at `index`, which the arity or a check of `argv.len()` has made sure of.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.argv.get(index).expect("the number of arguments was checked")
    }

    /// The argument at `index` as a key.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn key(&self, index: usize) -> Key<'a> {
        let bytes = self.arg(index);
        match self.first_key {
            Some(first) if std::ptr::eq(first.bytes, bytes) => first,
            _ => self.db.key(bytes),
        }
    }

    /// The time of the call.
    #[inline]
    pub fn now(&self) -> UnixMillis {
        self.db.now()
    }

    /// The argument at `index` as an integer.
    ///
    /// # Errors
    /// When it is none.
    pub fn int(&self, index: usize) -> Result<i64, CmdError> {
        parse_integer(self.arg(index)).ok_or(CmdError::NotAnInteger)
    }

    /// The argument at `index` as a double.
    ///
    /// # Errors
    /// When it is none.
    pub fn double(&self, index: usize) -> Result<f64, CmdError> {
        parse_double(self.arg(index)).ok_or(CmdError::NotAFloat)
    }

    /// Whether the argument at `index` is this word (given in upper case), whatever its case.
    #[inline]
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.arg(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// A keyspace event of the call's database happened to `key`.
    #[inline]
    pub fn notify(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        self.effects.notify(class, name, self.db.index(), key);
    }
}
