//! How the words of a setting become a typed value and text again.

use crate::Kind;

/// Why a value does not fit a setting. The texts are those that Redis's users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Neither yes nor no.
    #[error("argument must be 'yes' or 'no'")]
    NotBool,
    /// Not a number.
    #[error("argument couldn't be parsed into an integer")]
    NotInteger,
    /// A number outside the setting's range.
    #[error("argument must be between {0} and {1} inclusive")]
    OutOfRange(i64, i64),
    /// Not a number of bytes with an optional unit.
    #[error("argument must be a memory value")]
    NotMemory,
    /// Neither a number of bytes nor a percentage.
    #[error("argument must be a memory or percent value")]
    NotMemoryOrPercent,
    /// A word outside the setting's choices.
    #[error("argument(s) must be one of the following: {0}")]
    NotAChoice(String),
    /// Too few or too many words.
    #[error("wrong number of arguments")]
    WrongCount,
    /// Anything else; the text says it.
    #[error("{0}")]
    Other(String),
}

impl BadValue {
    pub(crate) fn other(text: impl Into<String>) -> BadValue {
        BadValue::Other(text.into())
    }
}

/// A type that a setting can have.
pub(crate) trait Field {
    /// Takes over the words of one directive. `first` is false when an earlier line of the same
    /// source already named this setting: lists that may be written on several lines then add.
    fn update(&mut self, kind: Kind, words: &[String], first: bool) -> Result<(), BadValue>;

    /// The value as `CONFIG GET` prints it.
    fn render(&self, kind: Kind) -> String;
}

pub(crate) fn single(words: &[String]) -> Result<&str, BadValue> {
    match words {
        [word] => Ok(word),
        _ => Err(BadValue::WrongCount),
    }
}

impl Field for bool {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        *self = match single(words)? {
            word if word.eq_ignore_ascii_case("yes") => true,
            word if word.eq_ignore_ascii_case("no") => false,
            _ => return Err(BadValue::NotBool),
        };
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

/// The integer types share the 64-bit parse; the range of the row keeps them in their own.
macro_rules! integer_fields {
    ($($integer:ty)*) => { $(
        impl Field for $integer {
            fn update(&mut self, kind: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
                let number = parse_integer(kind, single(words)?)?;
                *self = <$integer>::try_from(number)
                    .map_err(|_| BadValue::OutOfRange(0, i64::MAX))?;
                Ok(())
            }

            fn render(&self, kind: Kind) -> String {
                if kind == Kind::Octal { format!("{self:o}") } else { self.to_string() }
            }
        }
    )* };
}
integer_fields!(u16 u32 u64 usize i32 i64);

fn parse_integer(kind: Kind, word: &str) -> Result<i64, BadValue> {
    let (number, low, high) = match kind {
        Kind::Int(low, high) => (word.parse().map_err(|_| BadValue::NotInteger)?, low, high),
        Kind::Octal => (i64::from_str_radix(word, 8).map_err(|_| BadValue::NotInteger)?, 0, 0o777),
        Kind::Memory(low, high) => (parse_memory(word)?, low, high),
        _ => return Err(BadValue::NotInteger),
    };
    if (low..=high).contains(&number) { Ok(number) } else { Err(BadValue::OutOfRange(low, high)) }
}

/// A number of bytes: `100`, `5kb` (1024s), `5k` (1000s), and so on, in either case.
pub(crate) fn parse_memory(word: &str) -> Result<i64, BadValue> {
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let number: i64 = number.parse().map_err(|_| BadValue::NotMemory)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" => 1 << 40,
        _ => return Err(BadValue::NotMemory),
    };
    if number < 0 {
        return Err(BadValue::NotMemory);
    }
    number.checked_mul(factor).ok_or(BadValue::NotMemory)
}

impl Field for String {
    fn update(&mut self, kind: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        let word = single(words)?;
        if let Kind::Name = kind
            && (word.is_empty() || !word.bytes().all(is_name_byte))
        {
            return Err(BadValue::other(
                "a name is made of letters, digits, '-', '_' and '.', and is not empty",
            ));
        }
        word.clone_into(self);
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        self.clone()
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A word out of a fixed list.
impl Field for &'static str {
    fn update(&mut self, kind: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        *self = choice(kind, single(words)?)?;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        (*self).to_owned()
    }
}

pub(crate) fn choice(kind: Kind, word: &str) -> Result<&'static str, BadValue> {
    let Kind::Choice(choices) = kind else { return Err(BadValue::NotAChoice(String::new())) };
    choices
        .iter()
        .find(|choice| choice.eq_ignore_ascii_case(word))
        .copied()
        .ok_or_else(|| BadValue::NotAChoice(choices.join(", ")))
}

/// Words on one line; an empty word alone empties the list.
impl Field for Vec<String> {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        *self = words.iter().filter(|word| !word.is_empty()).cloned().collect();
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        self.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units() {
        for (word, want) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("1k", Some(1000)),
            ("1kb", Some(1024)),
            ("2MB", Some(2 << 20)),
            ("1Gb", Some(1 << 30)),
            ("3b", Some(3)),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("1 kb", None),
            ("99999999999tb", None),
        ] {
            assert_eq!(parse_memory(word).ok(), want, "{word:?}");
        }
    }

    #[test]
    fn integers_keep_their_range() {
        let mut port = 1u16;
        let kind = Kind::Int(0, 65_535);
        assert_eq!(port.update(kind, &["7000".into()], true), Ok(()));
        assert_eq!(port, 7000);
        assert_eq!(
            port.update(kind, &["65536".into()], true),
            Err(BadValue::OutOfRange(0, 65_535))
        );
        assert_eq!(port.update(kind, &["x".into()], true), Err(BadValue::NotInteger));
        assert_eq!(port.update(kind, &[], true), Err(BadValue::WrongCount));
    }
}
