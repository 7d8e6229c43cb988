//! Writing replies, in the protocol version that the client speaks.

use crate::number::format_double;

/// The protocol version of a connection (`HELLO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2, what a connection starts with.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// The replies of one batch of commands, in the order of the commands.
///
/// A collection is written as its length and then that many elements; nothing checks that they
/// follow, so a handler writes the length it knows, or uses [`Reply::deferred_array`].
#[derive(Debug, Default)]
pub struct Reply {
    buffer: Vec<u8>,
    protocol: Protocol,
}

/// The place of an array length that is not yet known.
#[must_use]
#[derive(Debug, Clone, Copy)]
pub struct Deferred(usize);

impl Reply {
    /// Room for replies in `protocol`, written after what `buffer` already holds.
    pub fn new(buffer: Vec<u8>, protocol: Protocol) -> Self {
        Reply { buffer, protocol }
    }

    /// The version that replies are written in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Replies from now on are written in this version.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// What has been written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// How many bytes have been written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes back what was written after the first `len` bytes (`CLIENT REPLY OFF`, a command that
    /// turned into an error midway).
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(len);
    }

    /// The buffer, with what was written, to be sent or lent again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The buffer, to be sent from or cleared.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes that are RESP already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string. It must not contain a line break.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "a simple string is one line");
        self.buffer.push(b'+');
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    /// An error: its prefix (`ERR`, `WRONGTYPE`…) is part of the text. Line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        self.buffer.push(b'-');
        self.buffer.extend(
            text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }),
        );
        self.raw(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.prefixed(b':', number);
    }

    /// An integer without sign; beyond 63 bits RESP3's big number, in RESP2 a bulk string.
    #[inline]
    pub fn unsigned(&mut self, number: u64) {
        if let Ok(number) = i64::try_from(number) {
            return self.integer(number);
        }
        let mut digits = itoa::Buffer::new();
        let text = digits.format(number).as_bytes();
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.buffer.push(b'(');
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// A string of any bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.prefixed(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// A number as a bulk string, as `GET` of a counter replies it.
    pub fn bulk_integer(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes());
    }

    /// Nothing: the null of RESP3, the null bulk string of RESP2.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// Nothing, where RESP2 has the null array (`EXEC` after a change, `BLPOP` timed out).
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The length of an array whose elements follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.prefixed(b'*', len as i64);
    }

    /// The number of pairs of a map whose keys and values follow; in RESP2 a flat array.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.prefixed(b'*', pairs as i64 * 2),
            Protocol::Resp3 => self.prefixed(b'%', pairs as i64),
        }
    }

    /// The length of a set whose members follow; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        self.prefixed(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// The length of an out-of-band message whose elements follow; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.prefixed(if self.protocol == Protocol::Resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A double; in RESP2 a bulk string.
    pub fn double(&mut self, number: f64) {
        let text = format_double(number);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.buffer.push(b',');
                self.raw(text.as_bytes());
                self.raw(b"\r\n");
            }
        }
    }

    /// A truth value; in RESP2 the integer 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, _) => self.integer(i64::from(value)),
            (Protocol::Resp3, true) => self.raw(b"#t\r\n"),
            (Protocol::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// A text to be shown as it is, with its three-letter format; in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                debug_assert_eq!(format.len(), 3, "a verbatim format has three letters");
                self.prefixed(b'=', text.len() as i64 + 4);
                self.raw(format.as_bytes());
                self.buffer.push(b':');
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// Begins an array whose length is told later with [`Reply::set_len`].
    pub fn deferred_array(&mut self) -> Deferred {
        Deferred(self.buffer.len())
    }

    /// Puts an array header of `len` elements where `at` was taken.
    pub fn set_len(&mut self, at: Deferred, len: usize) {
        self.insert_header(at, b'*', len);
    }

    /// Puts a set header of `len` members where `at` was taken; in RESP2 an array.
    pub fn set_set_len(&mut self, at: Deferred, len: usize) {
        self.insert_header(at, if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, len);
    }

    /// Puts a map header of `pairs` pairs where `at` was taken; in RESP2 a flat array.
    pub fn set_map_len(&mut self, at: Deferred, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.insert_header(at, b'*', pairs * 2),
            Protocol::Resp3 => self.insert_header(at, b'%', pairs),
        }
    }

    fn insert_header(&mut self, at: Deferred, kind: u8, len: usize) {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(len).as_bytes();
        let header =
            std::iter::once(kind).chain(text.iter().copied()).chain(b"\r\n".iter().copied());
        self.buffer.splice(at.0..at.0, header);
    }

    #[inline]
    fn prefixed(&mut self, kind: u8, number: i64) {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(number).as_bytes();
        self.buffer.reserve(text.len() + 3);
        self.buffer.push(kind);
        self.buffer.extend_from_slice(text);
        self.buffer.extend_from_slice(b"\r\n");
    }
}

/// Appends a command in the form that clients, masters and append-only files use.
pub fn encode_command<'a, I>(out: &mut Vec<u8>, args: I)
where
    I: IntoIterator<Item = &'a [u8]>,
    I::IntoIter: ExactSizeIterator,
{
    let args = args.into_iter();
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply)) -> String {
        let mut reply = Reply::new(Vec::new(), protocol);
        write(&mut reply);
        String::from_utf8(reply.into_buffer()).unwrap()
    }

    #[test]
    fn each_version_has_its_own_shapes() {
        type Write = fn(&mut Reply);
        let table: [(&str, Write, &str, &str); 8] = [
            ("null", |r| r.null(), "$-1\r\n", "_\r\n"),
            ("null array", |r| r.null_array(), "*-1\r\n", "_\r\n"),
            ("map", |r| r.map(2), "*4\r\n", "%2\r\n"),
            ("set", |r| r.set(2), "*2\r\n", "~2\r\n"),
            ("push", |r| r.push(3), "*3\r\n", ">3\r\n"),
            ("double", |r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            ("boolean", |r| r.boolean(true), ":1\r\n", "#t\r\n"),
            ("verbatim", |r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ];
        for (why, write, resp2, resp3) in table {
            assert_eq!(written(Protocol::Resp2, write), resp2, "{why}");
            assert_eq!(written(Protocol::Resp3, write), resp3, "{why}");
        }
    }

    #[test]
    fn a_deferred_length_lands_before_its_elements() {
        let text = written(Protocol::Resp2, |reply| {
            reply.integer(7);
            let at = reply.deferred_array();
            reply.bulk(b"a");
            reply.bulk(b"b");
            reply.set_len(at, 2);
        });
        assert_eq!(text, ":7\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }

    #[test]
    fn an_error_stays_one_line() {
        assert_eq!(written(Protocol::Resp2, |r| r.error("ERR a\r\nb")), "-ERR a  b\r\n");
    }
}
