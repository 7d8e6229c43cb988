//! What a row of the settings table says.

use crate::Settings;
use crate::field::BadValue;

/// The form of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A number from the first to the second, both included.
    Int(i64, i64),
    /// File permissions in octal.
    Octal,
    /// A number of bytes with an optional unit, within the range.
    Memory(i64, i64),
    /// A number of bytes, or a percentage of `maxmemory`.
    MemoryOrPercent,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A name of letters, digits, `-`, `_` and `.`.
    Name,
    /// Several words.
    Words,
    /// Several words, on any number of lines.
    Lines,
}

impl Kind {
    /// Whether a value given as one text (by `CONFIG SET`, the environment, YAML) is split at
    /// spaces like a line of a file.
    pub(crate) const fn splits(self) -> bool {
        matches!(self, Kind::Words | Kind::Lines)
    }

    /// The form, for the documentation page.
    pub fn describe(self) -> String {
        match self {
            Kind::Bool => "yes or no".to_owned(),
            Kind::Int(low, i64::MAX) => format!("a number from {low}"),
            Kind::Int(low, high) => format!("a number from {low} to {high}"),
            Kind::Octal => "octal permissions".to_owned(),
            Kind::Memory(..) => "bytes (units b, k, kb, m, mb, g, gb)".to_owned(),
            Kind::MemoryOrPercent => "bytes, or a percentage".to_owned(),
            Kind::Choice(choices) => choices.join(", "),
            Kind::Text => "text".to_owned(),
            Kind::Name => "a name".to_owned(),
            Kind::Words => "words".to_owned(),
            Kind::Lines => "words, on any number of lines".to_owned(),
        }
    }
}

/// When a setting may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// At any time, by `CONFIG SET`.
    Live,
    /// Only at the start.
    AtStart,
    /// By `CONFIG SET` only where `enable-protected-configs` permits it.
    Protected,
}

/// Whether a setting does something yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what its line says.
    Active,
    /// It is accepted and kept, so that existing files load, and has no effect here.
    Stored,
}

/// One setting. The row is the only place that knows it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Older names that mean the same.
    pub aliases: &'static [&'static str],
    /// The form of its value.
    pub kind: Kind,
    /// Its value when nothing sets it, as a line of a file would write it.
    pub default: &'static str,
    /// When it may change.
    pub mutability: Mutability,
    /// Whether it does something yet.
    pub effect: Effect,
    /// Whether its value must not appear in logs.
    pub secret: bool,
    /// One line of documentation.
    pub doc: &'static str,
    pub(crate) update: fn(&mut Settings, &[String], bool) -> Result<(), BadValue>,
    pub(crate) render: fn(&Settings) -> String,
}

impl Setting {
    /// The value that these settings hold, as `CONFIG GET` prints it.
    pub fn value(&self, settings: &Settings) -> String {
        (self.render)(settings)
    }
}

/// The part of a row that is written out in the table; the macro adds the rest.
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) mutability: Mutability,
    pub(crate) effect: Effect,
    pub(crate) secret: bool,
}

/// A row of this kind that may change at any time and is active.
pub(crate) const fn row(kind: Kind) -> Row {
    Row { kind, aliases: &[], mutability: Mutability::Live, effect: Effect::Active, secret: false }
}

impl Row {
    pub(crate) const fn alias(mut self, aliases: &'static [&'static str]) -> Row {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn at_start(mut self) -> Row {
        self.mutability = Mutability::AtStart;
        self
    }

    pub(crate) const fn protected(mut self) -> Row {
        self.mutability = Mutability::Protected;
        self
    }

    pub(crate) const fn stored(mut self) -> Row {
        self.effect = Effect::Stored;
        self
    }

    pub(crate) const fn secret(mut self) -> Row {
        self.secret = true;
        self
    }
}
