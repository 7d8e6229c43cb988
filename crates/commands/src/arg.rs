//! What a command's arguments are called: for `COMMAND DOCS`, completion and the documentation.

/// One argument, or a group of them.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    /// What people call it.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgKind,
    /// The word that stands before it, or that it is ([`ArgKind::Token`]).
    pub token: Option<&'static str>,
    /// The version that first had it, if later than the command.
    pub since: Option<&'static str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// Whether the word before it is repeated with it.
    pub multiple_token: bool,
    /// Which key specification of the command it belongs to, if it is a key, or names some.
    pub key_spec: u8,
    /// The members, if it is a group.
    pub args: &'static [Arg],
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    /// A word that stands for itself.
    Token,
    /// One of its members.
    OneOf,
    /// All of its members in order.
    Block,
}

impl ArgKind {
    /// Its name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::Token => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

impl Arg {
    const fn new(name: &'static str, kind: ArgKind, args: &'static [Arg]) -> Arg {
        Arg {
            name,
            kind,
            token: None,
            since: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            key_spec: 0,
            args,
        }
    }

    /// A key, of the command's first key specification.
    pub const fn key(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::Key, &[])
    }

    /// Any bytes.
    pub const fn string(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::String, &[])
    }

    /// A 64-bit integer.
    pub const fn integer(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::Integer, &[])
    }

    /// A floating-point number.
    pub const fn double(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::Double, &[])
    }

    /// A glob pattern.
    pub const fn pattern(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::Pattern, &[])
    }

    /// A moment: seconds or milliseconds since 1970.
    pub const fn unix_time(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::UnixTime, &[])
    }

    /// A word that stands for itself.
    pub const fn word(name: &'static str, word: &'static str) -> Arg {
        Arg::new(name, ArgKind::Token, &[]).token(word)
    }

    /// One of several.
    pub const fn one_of(name: &'static str, args: &'static [Arg]) -> Arg {
        Arg::new(name, ArgKind::OneOf, args)
    }

    /// Several that belong together.
    pub const fn block(name: &'static str, args: &'static [Arg]) -> Arg {
        Arg::new(name, ArgKind::Block, args)
    }

    /// This word stands before it.
    #[must_use]
    pub const fn token(self, word: &'static str) -> Arg {
        Arg { token: Some(word), ..self }
    }

    /// It may be left out.
    #[must_use]
    pub const fn optional(self) -> Arg {
        Arg { optional: true, ..self }
    }

    /// It may be repeated.
    #[must_use]
    pub const fn multiple(self) -> Arg {
        Arg { multiple: true, ..self }
    }

    /// It may be repeated together with its word.
    #[must_use]
    pub const fn multiple_token(self) -> Arg {
        Arg { multiple: true, multiple_token: true, ..self }
    }

    /// It came with this version.
    #[must_use]
    pub const fn since(self, version: &'static str) -> Arg {
        Arg { since: Some(version), ..self }
    }

    /// It belongs to this key specification (from 0).
    #[must_use]
    pub const fn key_spec(self, index: u8) -> Arg {
        Arg { key_spec: index, ..self }
    }

    /// The fewest arguments on the wire that this can stand for.
    pub fn len_min(&self) -> usize {
        if self.optional {
            return 0;
        }
        let own = match self.kind {
            ArgKind::Token => return 1,
            ArgKind::OneOf => self.args.iter().map(Arg::len_min).min().unwrap_or(0),
            ArgKind::Block => self.args.iter().map(Arg::len_min).sum(),
            _ => 1,
        };
        own + usize::from(self.token.is_some_and(|token| !token.is_empty()))
    }
}
