//! Finding commands in what a client sent: arrays of bulk strings, or inline lines.

use memchr::memchr;

use crate::args::Span;

/// What a client may send before the connection is closed. Every limit is a setting.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest argument (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// Most arguments in one command.
    pub args_max: usize,
    /// Longest inline command, and longest line that announces a length.
    pub inline_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bulk_bytes_max: 512 << 20, args_max: 1 << 20, inline_bytes_max: 64 << 10 }
    }
}

impl Limits {
    /// What a connection may send before it has authenticated, as in Redis.
    pub const UNAUTHENTICATED: Limits =
        Limits { bulk_bytes_max: 16 << 10, args_max: 10, inline_bytes_max: 64 << 10 };
}

/// Bytes that are no command. The text is what the client is told before it is cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProtocolError {
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    #[error("Protocol error: too big mbulk count string")]
    CountTooLong,
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooLong,
    #[error("Protocol error: invalid multibulk length")]
    BadArgCount,
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArgCount,
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    #[error("Protocol error: invalid bulk length")]
    BadBulkLength,
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '?' }
}

/// What [`CommandDecoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole command; its arguments are in `spans`, and the next one starts at this index. An
    /// empty command (a blank line, `*0`) has no arguments and gets no reply.
    Command {
        /// Index of the first byte after the command.
        end: usize,
    },
    /// More bytes are needed: at least up to this index, counted like the buffer that was given.
    Incomplete {
        /// Length that the buffer must have before another call can get further.
        needed: usize,
    },
}

/// Decodes commands, and remembers within a command how far it came, so that a large one that
/// arrives in many pieces is not read again from its start with each.
#[derive(Debug, Default)]
pub struct CommandDecoder {
    /// Arguments still to come of a command that is begun; `None` between commands.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    args_left: usize,
    /// Where the next argument's `$` is expected, relative to the command's start.
    at: usize,
}

impl CommandDecoder {
    /// Decodes the command that starts at `start` of `buffer`.
    ///
    /// On [`Decoded::Command`] its arguments have been *appended* to `spans`. After
    /// [`Decoded::Incomplete`] call again with the same command's bytes, more of them, and the same
    /// `spans`, which hold the arguments found so far (the buffer may have moved: spans count from
    /// the buffer's start, and `start` must be the same index).
    ///
    /// An inline command is unquoted into `buffer` itself, in place.
    ///
    /// # Errors
    /// When the bytes can never become a command; the connection is lost then.
    pub fn decode(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Decoded, ProtocolError> {
        let mut pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let Some(&first) = buffer.get(start) else {
                    return Ok(Decoded::Incomplete { needed: start + 1 });
                };
                if first != b'*' {
                    return decode_inline(buffer, start, spans, limits);
                }
                match decode_count(buffer, start, limits)? {
                    Ok((args_left, next)) => Pending { args_left, at: next - start },
                    Err(needed) => return Ok(Decoded::Incomplete { needed }),
                }
            }
        };
        let mut at = start + pending.at;
        while pending.args_left > 0 {
            match decode_bulk(buffer, at, limits)? {
                Ok((span, next)) => {
                    spans.push(span);
                    at = next;
                    pending.args_left -= 1;
                }
                Err(needed) => {
                    pending.at = at - start;
                    self.pending = Some(pending);
                    return Ok(Decoded::Incomplete { needed });
                }
            }
        }
        Ok(Decoded::Command { end: at })
    }
}

/// The length of one or two digits that is announced at `at`, between a `*` or `$` and a line break,
/// and the index after them: what nearly all lengths are.
#[inline]
fn short_length(buffer: &[u8], at: usize) -> Option<(usize, usize)> {
    let line: [u8; 5] = *buffer.get(at..)?.first_chunk()?;
    let (first, second) = (line[1].wrapping_sub(b'0'), line[2].wrapping_sub(b'0'));
    if first > 9 {
        return None;
    }
    if line[2] == b'\r' {
        return Some((usize::from(first), at + 4));
    }
    (second <= 9 && line[3] == b'\r')
        .then(|| (usize::from(first) * 10 + usize::from(second), at + 5))
}

/// The number of arguments that a command announces, and the index after it; or how long the buffer
/// must get. None for a command without arguments.
#[inline]
fn decode_count(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
) -> Result<Result<(usize, usize), usize>, ProtocolError> {
    match short_length(buffer, start) {
        Some((count, next)) if count <= limits.args_max => Ok(Ok((count, next))),
        _ => decode_any_count(buffer, start, limits),
    }
}

fn decode_any_count(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
) -> Result<Result<(usize, usize), usize>, ProtocolError> {
    let Some((digits, next)) = line(buffer, start + 1) else {
        if buffer.len() - start > limits.inline_bytes_max {
            return Err(ProtocolError::CountTooLong);
        }
        return Ok(Err(buffer.len() + 1));
    };
    let count = parse_length(digits).ok_or(ProtocolError::BadArgCount)?;
    if count > 0 && count as u64 > limits.args_max as u64 {
        return Err(unauthenticated_or(
            limits,
            ProtocolError::UnauthenticatedArgCount,
            ProtocolError::BadArgCount,
        ));
    }
    Ok(Ok((count.max(0) as usize, next)))
}

/// One `$<length>\r\n<bytes>\r\n`: its span and the index after it, or how long the buffer must get.
#[inline]
fn decode_bulk(
    buffer: &[u8],
    at: usize,
    limits: &Limits,
) -> Result<Result<(Span, usize), usize>, ProtocolError> {
    if let Some((len, start)) = short_length(buffer, at)
        && buffer[at] == b'$'
        && start + len + 2 <= buffer.len()
        && len <= limits.bulk_bytes_max
    {
        return Ok(Ok((Span { start: start as u32, len: len as u32 }, start + len + 2)));
    }
    decode_any_bulk(buffer, at, limits)
}

fn decode_any_bulk(
    buffer: &[u8],
    at: usize,
    limits: &Limits,
) -> Result<Result<(Span, usize), usize>, ProtocolError> {
    let Some(&first) = buffer.get(at) else { return Ok(Err(at + 1)) };
    if first != b'$' {
        return Err(ProtocolError::ExpectedBulk(first));
    }
    let Some((digits, start)) = line(buffer, at + 1) else {
        if buffer.len() - at > limits.inline_bytes_max {
            return Err(ProtocolError::BulkCountTooLong);
        }
        return Ok(Err(buffer.len() + 1));
    };
    // Checked before anything is reserved: the number is the client's word, the memory is ours.
    let len = parse_length(digits)
        .filter(|len| *len >= 0 && *len < i64::from(u32::MAX))
        .ok_or(ProtocolError::BadBulkLength)? as usize;
    if len > limits.bulk_bytes_max {
        return Err(unauthenticated_or(
            limits,
            ProtocolError::UnauthenticatedBulkLength,
            ProtocolError::BadBulkLength,
        ));
    }
    let next = start + len + 2;
    if buffer.len() < next {
        return Ok(Err(next));
    }
    Ok(Ok((Span { start: start as u32, len: len as u32 }, next)))
}

fn unauthenticated_or(
    limits: &Limits,
    unauthenticated: ProtocolError,
    otherwise: ProtocolError,
) -> ProtocolError {
    if limits.args_max == Limits::UNAUTHENTICATED.args_max { unauthenticated } else { otherwise }
}

/// The bytes from `at` to the next `\r\n` (without it), and the index after it.
fn line(buffer: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = buffer.get(at..)?;
    // Lengths have few digits; the end of the line is near or not there at all.
    let end = memchr(b'\r', rest)?;
    if rest.len() < end + 2 {
        return None;
    }
    Some((&rest[..end], at + end + 2))
}

fn too_long_or_incomplete(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
    error: ProtocolError,
) -> Result<Decoded, ProtocolError> {
    if buffer.len() - start > limits.inline_bytes_max {
        return Err(error);
    }
    Ok(Decoded::Incomplete { needed: buffer.len() + 1 })
}

/// A decimal number as it stands after `*` and `$`.
fn parse_length(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -number } else { number })
}

/// An inline command: words apart by spaces, with the quotes of redis-cli.
fn decode_inline(
    buffer: &mut [u8],
    start: usize,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<Decoded, ProtocolError> {
    let Some(newline) = memchr(b'\n', &buffer[start..]) else {
        return too_long_or_incomplete(buffer, start, limits, ProtocolError::InlineTooLong);
    };
    if newline > limits.inline_bytes_max {
        return Err(ProtocolError::InlineTooLong);
    }
    let mut end = start + newline;
    if end > start && buffer[end - 1] == b'\r' {
        end -= 1;
    }
    let mut at = start;
    loop {
        while at < end && buffer[at].is_ascii_whitespace() {
            at += 1;
        }
        if at == end {
            return Ok(Decoded::Command { end: start + newline + 1 });
        }
        // Unquoting only ever shortens, so a word can be written over its own source.
        let (len, next) = unquote(buffer, at, end)?;
        spans.push(Span { start: at as u32, len: len as u32 });
        at = next;
    }
}

/// Unquotes the word at `at` in place: its length, and the index after its source.
fn unquote(buffer: &mut [u8], at: usize, end: usize) -> Result<(usize, usize), ProtocolError> {
    let mut read = at;
    let mut write = at;
    let mut quote = None;
    while read < end {
        let byte = buffer[read];
        let (value, width) = match quote {
            Some(b'"') if byte == b'\\' && read + 1 < end => escape(&buffer[read..end]),
            Some(b'\'') if byte == b'\\' && read + 1 < end && buffer[read + 1] == b'\'' => {
                (b'\'', 2)
            }
            Some(open) if byte == open => {
                if read + 1 < end && !buffer[read + 1].is_ascii_whitespace() {
                    return Err(ProtocolError::UnbalancedQuotes);
                }
                return Ok((write - at, read + 1));
            }
            Some(_) => (byte, 1),
            None if byte.is_ascii_whitespace() => break,
            None if byte == b'"' || byte == b'\'' => {
                quote = Some(byte);
                read += 1;
                continue;
            }
            None => (byte, 1),
        };
        buffer[write] = value;
        write += 1;
        read += width;
    }
    if quote.is_some() { Err(ProtocolError::UnbalancedQuotes) } else { Ok((write - at, read)) }
}

/// What a backslash inside double quotes stands for, and how many bytes it takes.
fn escape(bytes: &[u8]) -> (u8, usize) {
    if let [_, b'x', high, low, ..] = bytes
        && let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16))
    {
        return ((high * 16 + low) as u8, 4);
    }
    let value = match bytes[1] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    };
    (value, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use proptest::prelude::*;

    fn words(input: &str) -> Result<Vec<Vec<String>>, ProtocolError> {
        let mut buffer = input.as_bytes().to_vec();
        let mut decoder = CommandDecoder::default();
        let (mut at, mut commands) = (0, Vec::new());
        loop {
            let mut spans = Vec::new();
            match decoder.decode(&mut buffer, at, &mut spans, &Limits::default())? {
                Decoded::Incomplete { .. } => return Ok(commands),
                Decoded::Command { end } => {
                    at = end;
                    let args = Args::new(&buffer, &spans);
                    commands.push(
                        args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect(),
                    );
                }
            }
        }
    }

    #[test]
    fn commands_are_found() {
        for (why, input, want) in [
            ("one array", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", vec![vec!["GET", "a"]]),
            ("two in a row", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", vec![vec!["PING"]; 2]),
            ("an empty array is an empty command", "*0\r\n", vec![vec![]]),
            ("a negative count likewise", "*-1\r\n", vec![vec![]]),
            (
                "inline, with a bare newline",
                "SET a b\nGET a\r\n",
                vec![vec!["SET", "a", "b"], vec!["GET", "a"]],
            ),
            (
                "quotes and escapes",
                "SET \"a b\\n\\x41\" 'it\\'s'\r\n",
                vec![vec!["SET", "a b\nA", "it's"]],
            ),
            ("an empty quoted word", "SET a \"\"\r\n", vec![vec!["SET", "a", ""]]),
            ("half a command", "*2\r\n$3\r\nGET\r\n$10\r\na", vec![]),
        ] {
            assert_eq!(words(input).unwrap(), want, "{why}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (input, want) in [
            ("*abc\r\n", ProtocolError::BadArgCount),
            ("*99999999\r\n", ProtocolError::BadArgCount),
            ("*1\r\n#3\r\n", ProtocolError::ExpectedBulk(b'#')),
            ("*1\r\n$-5\r\n", ProtocolError::BadBulkLength),
            ("*1\r\n$99999999999\r\n", ProtocolError::BadBulkLength),
            ("GET \"abc\r\n", ProtocolError::UnbalancedQuotes),
            ("GET \"a\"b\r\n", ProtocolError::UnbalancedQuotes),
        ] {
            assert_eq!(words(input), Err(want), "{input:?}");
        }
        let endless = "x".repeat(70_000);
        assert_eq!(words(&endless), Err(ProtocolError::InlineTooLong));
    }

    proptest! {
        #[test]
        fn pieces_decode_like_the_whole(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6),
            cut in 1usize..16,
        ) {
            let mut whole = Vec::new();
            crate::encode_command(&mut whole, args.iter().map(Vec::as_slice));
            let (mut decoder, mut spans) = (CommandDecoder::default(), Vec::new());
            let mut seen = 0;
            let end = loop {
                seen = (seen + cut).min(whole.len());
                let mut part = whole[..seen].to_vec();
                match decoder.decode(&mut part, 0, &mut spans, &Limits::default()).unwrap() {
                    Decoded::Command { end } => break end,
                    Decoded::Incomplete { needed } => prop_assert!(needed > seen),
                }
            };
            prop_assert_eq!(end, whole.len());
            let found: Vec<_> = Args::new(&whole, &spans).iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, args);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut noise = noise;
            let mut spans = Vec::new();
            let _ = CommandDecoder::default().decode(&mut noise, 0, &mut spans, &Limits::default());
        }
    }
}
