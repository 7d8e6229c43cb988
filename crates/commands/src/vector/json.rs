//! Attributes: the fields of a JSON object, found without building a tree.
//!
//! Only as much is looked at as is needed to find a field, so what follows it may be anything. What
//! no filter can use (objects within objects) is passed over.

use std::borrow::Cow;

use super::filter::Value;

/// The value of a field at the top of an object; the first one, if there are several. `None` if there
/// is none, or none that filters know.
pub(super) fn field<'t>(text: &'t [u8], name: &[u8]) -> Option<Value<'t>> {
    let mut scan = Scan { text, at: 0 };
    scan.expect(b'{')?;
    loop {
        let found = *scan.string()? == *name;
        scan.expect(b':')?;
        if found {
            return scan.value();
        }
        scan.skip_value()?;
        // What is no comma ends the object, or is no object.
        scan.expect(b',')?;
    }
}

/// Reads from the beginning; `None` wherever the text is not what it should be.
struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scan<'t> {
    fn peek(&mut self) -> Option<u8> {
        let blanks = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace());
        self.at += blanks.count();
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The text between two quotes, which the scan then is behind, and whether it has escapes.
    fn quoted(&mut self) -> Option<(&'t [u8], bool)> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut escapes = false;
        loop {
            let rest = &self.text[self.at..];
            let found = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Some((&self.text[begin..self.at - 1], escapes));
            }
            escapes = true;
            self.text.get(self.at)?;
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<Cow<'t, [u8]>> {
        let (text, escapes) = self.quoted()?;
        if escapes { unescaped(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
    }

    /// A number or a word.
    fn bare(&mut self) -> &'t [u8] {
        let rest = &self.text[self.at..];
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let len = rest.iter().take_while(is_part).count();
        self.at += len;
        &rest[..len]
    }

    fn value(&mut self) -> Option<Value<'t>> {
        match self.peek()? {
            b'[' => self.list(),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Option<Value<'t>> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'{' | b'[' => None,
            _ => match self.bare() {
                b"true" => Some(Value::Number(1.0)),
                b"false" => Some(Value::Number(0.0)),
                b"null" => Some(Value::Null),
                digits if digits.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) => {
                    std::str::from_utf8(digits).ok()?.parse().ok().map(Value::Number)
                }
                _ => None,
            },
        }
    }

    fn list(&mut self) -> Option<Value<'t>> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        if self.peek()? == b']' {
            return Some(Value::List(items));
        }
        loop {
            if self.peek()? == b'[' {
                // A list in a list equals nothing.
                self.skip_value()?;
                items.push(Value::Null);
            } else {
                items.push(self.scalar()?);
            }
            match self.peek()? {
                b',' => self.at += 1,
                b']' => return Some(Value::List(items)),
                _ => return None,
            }
        }
    }

    /// Passes over a value with all that is in it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => _ = self.quoted()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ if self.bare().is_empty() => return None,
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The text that an escaped one stands for.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&kind, more) = rest.split_first()?;
        rest = more;
        match kind {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let mut unit = u32::from(code_unit(&mut rest)?);
                if (0xd800..0xdc00).contains(&unit) && rest.starts_with(b"\\u") {
                    rest = &rest[2..];
                    let low = u32::from(code_unit(&mut rest)?);
                    unit = 0x1_0000 + ((unit - 0xd800) << 10) + (low & 0x3ff);
                }
                let letter = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    Some(out)
}

fn code_unit(rest: &mut &[u8]) -> Option<u16> {
    let (digits, more) = rest.split_at_checked(4)?;
    *rest = more;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found() {
        let text = |text: &'static str| Some(Value::Text(Cow::Borrowed(text.as_bytes())));
        let number = |number| Some(Value::Number(number));
        for (why, object, want) in [
            ("a number", r#"{"a": 1.5e3}"#, number(1500.0)),
            ("below zero", r#"{"a":-3}"#, number(-3.0)),
            ("behind others", r#"{ "b" : {"a": 7, "c": ["}", 1]} , "a" : 2 }"#, number(2.0)),
            ("the first of two", r#"{"a":1,"a":2}"#, number(1.0)),
            ("a text", r#"{"a":"x y"}"#, text("x y")),
            ("escapes", r#"{"a":"\"\\\u0041\u00e9\ud83d\ude00\n"}"#, text("\"\\Aé😀\n")),
            ("half a pair", r#"{"a":"\ud83d"}"#, text("\u{fffd}")),
            ("an escaped name", r#"{"\u0061":1}"#, number(1.0)),
            ("true", r#"{"a":true}"#, number(1.0)),
            ("false", r#"{"a":false}"#, number(0.0)),
            ("null", r#"{"a":null}"#, Some(Value::Null)),
            ("cut short behind it", r#"{"a":1"#, number(1.0)),
            ("another case", r#"{"A":1}"#, None),
            ("an object", r#"{"a":{"b":1}}"#, None),
            ("no object", "[1]", None),
            ("no JSON", "a", None),
            ("nothing", "", None),
            ("no number", r#"{"a":1.2.3}"#, None),
            ("no word", r#"{"a":nul}"#, None),
            ("an open text", r#"{"a":"x"#, None),
            ("an open escape", r#"{"a":"x\"#, None),
            ("a bad escape", r#"{"a":"\u12"}"#, None),
            ("a comma that is missing", r#"{"b":1 "a":2}"#, None),
            ("a value that is missing", r#"{"b":,"a":2}"#, None),
        ] {
            assert_eq!(field(object.as_bytes(), b"a"), want, "{why}");
        }
        let list = field(br#"{"a": [1, "x", null, [2, 3], true]}"#, b"a");
        let want =
            [Value::Number(1.0), text("x").unwrap(), Value::Null, Value::Null, Value::Number(1.0)];
        assert_eq!(list, Some(Value::List(want.to_vec())));
        assert_eq!(field(br#"{"a":[]}"#, b"a"), Some(Value::List(Vec::new())));
        assert_eq!(field(br#"{"a":[{}]}"#, b"a"), None);
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{{\"b\":{}1{},\"a\":5}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(field(deep.as_bytes(), b"a"), Some(Value::Number(5.0)));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in r#"[{}\[\]",:\\u0-9a-f \-.tn]{0,40}"#) {
            let _ = field(noise.as_bytes(), b"a");
            let _ = field(format!("{{\"a\":{noise}").as_bytes(), b"a");
        }
    }
}
