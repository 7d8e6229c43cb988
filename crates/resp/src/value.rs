//! Decoded replies, for those of our own parts that are clients: the replica link, the operator
//! commands, tests.

use memchr::memchr;

/// A reply of RESP2 or RESP3.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    /// A bulk or verbatim string.
    Bulk(Vec<u8>),
    Null,
    Double(f64),
    Boolean(bool),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
}

/// Bytes that are no reply, or one that is larger or deeper than we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent what is no valid reply")]
pub struct InvalidReply;

const DEPTH_MAX: usize = 32;
const BULK_BYTES_MAX: i64 = 512 << 20;
const ELEMENTS_MAX: i64 = 1 << 24;

/// Decodes the reply at the start of `buffer`: the value and how many bytes it took, or `None` if
/// more are needed.
///
/// # Errors
/// When the bytes can never become a reply.
pub fn decode_value(buffer: &[u8]) -> Result<Option<(Value, usize)>, InvalidReply> {
    let mut at = 0;
    Ok(value(buffer, &mut at, 0)?.map(|value| (value, at)))
}

impl Value {
    /// The string, if this is one (simple or bulk).
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) => Some(bytes),
            Value::Simple(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The string as text, if this is one and is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The number, if this is an integer.
    pub fn as_integer(&self) -> Option<i64> {
        if let Value::Integer(number) = self { Some(*number) } else { None }
    }

    /// The elements, if this is an array, a set or a push.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }
}

fn value(buffer: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, InvalidReply> {
    if depth > DEPTH_MAX {
        return Err(InvalidReply);
    }
    let Some(line) = line(buffer, at) else { return Ok(None) };
    let (&kind, rest) = line.split_first().ok_or(InvalidReply)?;
    let text = || std::str::from_utf8(rest).map_err(|_| InvalidReply);
    let number = || text()?.parse::<i64>().map_err(|_| InvalidReply);
    Ok(Some(match kind {
        b'+' => Value::Simple(String::from_utf8_lossy(rest).into_owned()),
        b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
        b':' => Value::Integer(number()?),
        b'_' => Value::Null,
        b'#' => Value::Boolean(rest == b"t"),
        b',' => Value::Double(text()?.parse().map_err(|_| InvalidReply)?),
        b'(' => Value::Bulk(rest.to_vec()),
        b'$' | b'!' | b'=' => {
            let len = number()?;
            if len < 0 {
                return Ok(Some(Value::Null));
            }
            if len > BULK_BYTES_MAX {
                return Err(InvalidReply);
            }
            let end = *at + len as usize;
            if buffer.len() < end + 2 {
                return Ok(None);
            }
            let bytes = &buffer[*at..end];
            *at = end + 2;
            match kind {
                b'!' => Value::Error(String::from_utf8_lossy(bytes).into_owned()),
                b'=' => Value::Bulk(bytes.get(4..).ok_or(InvalidReply)?.to_vec()),
                _ => Value::Bulk(bytes.to_vec()),
            }
        }
        b'*' | b'~' | b'>' | b'%' => {
            let len = number()?;
            if len < 0 {
                return Ok(Some(Value::Null));
            }
            if len > ELEMENTS_MAX {
                return Err(InvalidReply);
            }
            return collection(buffer, at, depth, kind, len as usize);
        }
        _ => return Err(InvalidReply),
    }))
}

fn collection(
    buffer: &[u8],
    at: &mut usize,
    depth: usize,
    kind: u8,
    len: usize,
) -> Result<Option<Value>, InvalidReply> {
    let count = if kind == b'%' { len * 2 } else { len };
    // Grows with what really arrives; the announced length alone reserves nothing.
    let mut items = Vec::new();
    for _ in 0..count {
        match value(buffer, at, depth + 1)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(match kind {
        b'*' => Value::Array(items),
        b'~' => Value::Set(items),
        b'>' => Value::Push(items),
        _ => {
            let mut items = items.into_iter();
            let mut pairs = Vec::with_capacity(len);
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Value::Map(pairs)
        }
    }))
}

fn line<'b>(buffer: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let rest = &buffer[*at..];
    let end = memchr(b'\n', rest)?;
    *at += end + 1;
    Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_decode() {
        for (input, want) in [
            ("+OK\r\n", Value::Simple("OK".into())),
            ("-ERR x\r\n", Value::Error("ERR x".into())),
            ("$-1\r\n", Value::Null),
            ("$2\r\nhi\r\n", Value::Bulk(b"hi".to_vec())),
            ("=6\r\ntxt:hi\r\n", Value::Bulk(b"hi".to_vec())),
            (
                "%1\r\n+a\r\n:1\r\n",
                Value::Map(vec![(Value::Simple("a".into()), Value::Integer(1))]),
            ),
            ("*2\r\n#t\r\n,1.5\r\n", Value::Array(vec![Value::Boolean(true), Value::Double(1.5)])),
        ] {
            assert_eq!(decode_value(input.as_bytes()), Ok(Some((want, input.len()))), "{input:?}");
            let half = &input.as_bytes()[..input.len() - 1];
            assert_eq!(decode_value(half), Ok(None), "{input:?} cut short");
        }
        assert_eq!(decode_value(b"?x\r\n"), Err(InvalidReply));
        assert_eq!(decode_value("*1\r\n".repeat(100).as_bytes()), Err(InvalidReply), "too deep");
    }
}
