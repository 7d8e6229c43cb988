//! The syntax of `redis.conf`: a directive per line, words in quotes.

/// A line whose quotes do not close, or with bytes that are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Unbalanced quotes in configuration line")]
pub struct UnbalancedQuotes;

/// The directives of a file: line number, line as written, words. Empty lines and comments are
/// left out.
pub(crate) fn lines(
    text: &str,
) -> impl Iterator<Item = (usize, &str, Result<Vec<String>, UnbalancedQuotes>)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number, line, split_words(line)))
}

/// Splits a line into words. `"…"` takes escapes (`\n`, `\t`, `\x41`…), `'…'` only `\'`; a closing
/// quote ends the word.
///
/// # Errors
/// When a quote is not closed, or text follows a closing quote at once.
pub fn split_words(line: &str) -> Result<Vec<String>, UnbalancedQuotes> {
    let mut rest = line.as_bytes();
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, behind) = one_word(rest)?;
        words.push(String::from_utf8(word).map_err(|_| UnbalancedQuotes)?);
        rest = behind;
    }
}

/// The word at the start of `rest`, and what stands behind it.
fn one_word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    while let [byte, behind @ ..] = rest {
        match byte {
            b'"' | b'\'' => {
                rest = quoted(*byte, behind, &mut word)?;
                return match rest.first() {
                    None => Ok((word, rest)),
                    Some(next) if next.is_ascii_whitespace() => Ok((word, rest)),
                    Some(_) => Err(UnbalancedQuotes),
                };
            }
            _ if byte.is_ascii_whitespace() => break,
            _ => word.push(*byte),
        }
        rest = behind;
    }
    Ok((word, rest))
}

/// Reads up to the closing quote; what stands behind it.
fn quoted<'a>(
    quote: u8,
    mut rest: &'a [u8],
    word: &mut Vec<u8>,
) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, taken) = match rest {
            [] => return Err(UnbalancedQuotes),
            [byte, behind @ ..] if *byte == quote => return Ok(behind),
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if quote == b'"' && hex(*high, *low).is_some() => {
                (hex(*high, *low).unwrap_or_default(), 4)
            }
            [b'\\', escaped, ..] if quote == b'"' => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        word.push(byte);
        rest = &rest[taken..];
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// A word as a line of a file writes it: in quotes if it needs them.
pub(crate) fn quote_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '#');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Words as one line that reads back the same: the first as it is, the others in quotes.
pub(crate) fn quote_line(words: &[String]) -> String {
    let mut line = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            line.push(' ');
            line.push_str(&format!("\"{}\"", word.escape_default()));
        } else {
            line.push_str(word);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_in_redis() {
        for (why, line, want) in [
            ("plain", "port 7000", Some(vec!["port", "7000"])),
            ("tabs", "port\t 7000 ", Some(vec!["port", "7000"])),
            ("empty word", "save \"\"", Some(vec!["save", ""])),
            ("empty word, single quotes", "save ''", Some(vec!["save", ""])),
            ("spaces in quotes", "requirepass \"a b\"", Some(vec!["requirepass", "a b"])),
            ("escapes", r#"x "\x41\n\t\"\\""#, Some(vec!["x", "A\n\t\"\\"])),
            ("single quotes take no escapes", r"x 'a\n\'b'", Some(vec!["x", r"a\n'b"])),
            ("a quote inside a word opens", "x a\"b c\"", Some(vec!["x", "ab c"])),
            ("never closed", "x \"abc", None),
            ("never closed, single", "x 'abc", None),
            ("text behind a quote", "x \"abc\"d", None),
            ("bytes that are no text", r#"x "\xff""#, None),
        ] {
            let want = want.map(|w| w.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(split_words(line).ok(), want, "{why}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_left_out() {
        let text = "# a comment\n\n  port 7000\r\n\t# another\nsave ''\n";
        let got: Vec<_> = lines(text).map(|(number, line, _)| (number, line)).collect();
        assert_eq!(got, [(3, "port 7000"), (5, "save ''")]);
    }
}
