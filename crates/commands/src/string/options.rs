//! The options that `SET`, `GETEX` and `MSETEX` share.

use slotward_keyspace::SetExpiry;
use slotward_types::UnixMillis;

use super::compare::Compare;
use crate::call::Call;
use crate::error::CmdError;
use crate::expire::{Unit, expiry_moment};

/// Whose options these are: each takes some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionsOf {
    Set,
    GetEx,
    MSetEx,
}

/// What was asked for.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Options<'a> {
    pub(super) condition: Condition<'a>,
    pub(super) get: bool,
    pub(super) keep_ttl: bool,
    pub(super) persist: bool,
    pub(super) expiry: Option<Expiry<'a>>,
}

/// When a value is set.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Condition<'a> {
    #[default]
    None,
    IfAbsent,
    IfPresent,
    Compare(Compare<'a>),
}

/// `EX`, `PX`, `EXAT` or `PXAT` with its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry<'a> {
    number: &'a [u8],
    unit: Unit,
    /// As opposed to a span from now.
    pub(super) is_moment: bool,
}

impl<'a> Expiry<'a> {
    /// The one that the arguments at `index` write.
    pub(super) fn parse(call: &Call<'a>, index: usize) -> Option<Expiry<'a>> {
        let (_, unit, is_moment) = [
            ("EX", Unit::Seconds, false),
            ("PX", Unit::Millis, false),
            ("EXAT", Unit::Seconds, true),
            ("PXAT", Unit::Millis, true),
        ]
        .into_iter()
        .find(|(word, ..)| call.is_word(index, word))?;
        Some(Expiry { number: call.argv.get(index + 1)?, unit, is_moment })
    }

    /// Whether it means the same wherever and whenever it is said.
    pub(super) fn is_exact(self) -> bool {
        self.is_moment && matches!(self.unit, Unit::Millis)
    }

    /// The moment meant, for a command of this name.
    ///
    /// # Errors
    /// When the number is none, not positive, or too large.
    pub(super) fn moment(
        self,
        now: UnixMillis,
        command: &'static str,
    ) -> Result<UnixMillis, CmdError> {
        let base = if self.is_moment { 0 } else { now.0 };
        expiry_moment(self.number, self.unit, base, true, command)
    }
}

impl<'a> Options<'a> {
    /// The options from the argument `first` on.
    ///
    /// # Errors
    /// What the command does not know, what contradicts, what lacks its operand.
    pub(super) fn parse(call: &Call<'a>, first: usize, of: OptionsOf) -> Result<Self, CmdError> {
        let mut options = Options::default();
        let mut index = first;
        while index < call.argv.len() {
            let is = |word| call.is_word(index, word);
            let takes_condition = of != OptionsOf::GetEx;
            if takes_condition && is("NX") && options.allows_condition("NX") {
                options.condition = Condition::IfAbsent;
            } else if takes_condition && is("XX") && options.allows_condition("XX") {
                options.condition = Condition::IfPresent;
            } else if of == OptionsOf::Set && is("GET") {
                options.get = true;
            } else if takes_condition && is("KEEPTTL") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else if of == OptionsOf::GetEx && is("PERSIST") && options.expiry.is_none() {
                options.persist = true;
            } else if let Some(expiry) = Expiry::parse(call, index)
                && options.allows_expiry(expiry)
            {
                options.expiry = Some(expiry);
                index += 1;
            } else if of == OptionsOf::Set
                && let Some(operand) = call.argv.get(index + 1)
                && let Some(compare) = Compare::parse(call.arg(index), operand)
                && matches!(options.condition, Condition::None)
            {
                options.condition = Condition::Compare(compare);
                index += 1;
            } else {
                return Err(CmdError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// The same word may be said again, as in Redis.
    fn allows_condition(&self, word: &str) -> bool {
        match self.condition {
            Condition::None => true,
            Condition::IfAbsent => word == "NX",
            Condition::IfPresent => word == "XX",
            Condition::Compare(_) => false,
        }
    }

    /// An expiry may be given once more only in the same way, as in Redis.
    fn allows_expiry(&self, expiry: Expiry<'_>) -> bool {
        let same = |old: Expiry<'_>| (old.unit, old.is_moment) == (expiry.unit, expiry.is_moment);
        !self.keep_ttl && !self.persist && self.expiry.is_none_or(same)
    }

    /// When the key shall expire, if that was said.
    ///
    /// # Errors
    /// As [`Expiry::moment`].
    pub(super) fn expires_at(
        &self,
        now: UnixMillis,
        command: &'static str,
    ) -> Result<Option<UnixMillis>, CmdError> {
        self.expiry.map(|expiry| expiry.moment(now, command)).transpose()
    }

    /// What becomes of the expiry of a key that is set.
    pub(super) fn set_expiry(&self, expires_at: Option<UnixMillis>) -> SetExpiry {
        match expires_at {
            Some(at) => SetExpiry::At(at),
            None if self.keep_ttl => SetExpiry::Keep,
            None => SetExpiry::Clear,
        }
    }
}
