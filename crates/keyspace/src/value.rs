//! What a key can hold: the types, their names, and how they are lent and handed over.

use slotward_types::UnixMillis;

use crate::collections::{Array, Hash, List, Set, SortedSet, Stream, VectorSet};

/// A key holds another type than the operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key holds a value of another type")]
pub struct WrongType;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bytes or an integer.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    ZSet,
    /// A stream.
    Stream,
    /// A sparse array.
    Array,
    /// A vector set.
    VectorSet,
}

impl Kind {
    /// The name that `TYPE` replies.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Stream => "stream",
            Kind::Array => "array",
            Kind::VectorSet => "vectorset",
        }
    }
}

/// How a value is kept, under the names that `OBJECT ENCODING` replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// A string that is an integer.
    Int,
    /// A short string.
    EmbStr,
    /// A longer string.
    Raw,
    /// A packed small collection.
    ListPack,
    /// A packed small hash with fields that end.
    ListPackEx,
    /// A list in several packed nodes.
    QuickList,
    /// A table of members or fields.
    HashTable,
    /// A small set of integers.
    IntSet,
    /// An ordered index with a table beside it.
    SkipList,
    /// A stream.
    Stream,
    /// A sparse array.
    SlicedArray,
}

impl Encoding {
    /// The name that `OBJECT ENCODING` replies.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::EmbStr => "embstr",
            Encoding::Raw => "raw",
            Encoding::ListPack => "listpack",
            Encoding::ListPackEx => "listpackex",
            Encoding::QuickList => "quicklist",
            Encoding::HashTable => "hashtable",
            Encoding::IntSet => "intset",
            Encoding::SkipList => "skiplist",
            Encoding::Stream => "stream",
            Encoding::SlicedArray => "sliced-array",
        }
    }
}

/// Up to where collections stay packed. Names and defaults are Redis's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingLimits {
    /// `hash-max-listpack-entries`
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`
    pub hash_max_listpack_value: usize,
    /// `set-max-intset-entries`
    pub set_max_intset_entries: usize,
    /// `set-max-listpack-entries`
    pub set_max_listpack_entries: usize,
    /// `set-max-listpack-value`
    pub set_max_listpack_value: usize,
    /// `zset-max-listpack-entries`
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`
    pub zset_max_listpack_value: usize,
    /// `list-max-listpack-size`: elements when positive, a class of bytes when negative.
    pub list_max_listpack_size: i64,
    /// `list-compress-depth`: accepted; nodes are not compressed in memory.
    pub list_compress_depth: usize,
    /// `stream-node-max-bytes`: a block of a stream that would reach this is ended; 0 = no limit.
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`: entries in a block, removed ones included; 0 = no limit.
    pub stream_node_max_entries: usize,
}

impl Default for EncodingLimits {
    fn default() -> Self {
        Self {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}

/// A string value, lent.
#[derive(Debug, Clone, Copy)]
pub enum Str<'a> {
    /// An integer, kept unboxed; its text is the canonical decimal one.
    Int(i64),
    /// Anything else (never the canonical text of an `i64` that was set as a whole).
    Bytes(&'a [u8]),
}

impl<'a> Str<'a> {
    /// How many bytes its text has.
    #[allow(clippy::len_without_is_empty)] // An empty string value is a value like any other.
    pub fn len(&self) -> usize {
        match self {
            Str::Int(value) => itoa::Buffer::new().format(*value).len(),
            Str::Bytes(bytes) => bytes.len(),
        }
    }

    /// Calls with the text.
    pub fn with_bytes<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Str::Int(value) => with(itoa::Buffer::new().format(*value).as_bytes()),
            Str::Bytes(bytes) => with(bytes),
        }
    }

    /// A copy of the text.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// The integer that this is the canonical text of (Redis's rule: no sign `+`, no leading zero,
    /// no space, within 64 bits).
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Str::Int(value) => Some(*value),
            Str::Bytes(bytes) => parse_int(bytes),
        }
    }

    /// An owned copy.
    pub fn to_buf(&self) -> StrBuf {
        match self {
            Str::Int(value) => StrBuf::Int(*value),
            Str::Bytes(bytes) => StrBuf::Bytes(bytes.to_vec()),
        }
    }

    /// The encoding's name as Redis would show it.
    pub fn encoding(&self) -> Encoding {
        match self {
            Str::Int(_) => Encoding::Int,
            // Redis embeds strings up to 44 bytes into the object.
            Str::Bytes(bytes) if bytes.len() <= 44 => Encoding::EmbStr,
            Str::Bytes(_) => Encoding::Raw,
        }
    }
}

/// The `i64` whose canonical decimal text these bytes are.
pub(crate) fn parse_int(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for &digit in digits {
        // Nineteen digits stay below 2^64.
        magnitude = magnitude * 10 + u64::from(digit.checked_sub(b'0').filter(|d| *d <= 9)?);
    }
    if negative {
        (magnitude <= i64::MIN.unsigned_abs()).then(|| 0i64.wrapping_sub_unsigned(magnitude))
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// A string value, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrBuf {
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl StrBuf {
    /// These bytes, as an integer if they are the canonical text of one.
    pub fn from_bytes(bytes: &[u8]) -> StrBuf {
        parse_int(bytes).map_or_else(|| StrBuf::Bytes(bytes.to_vec()), StrBuf::Int)
    }

    /// Lends the string.
    pub fn as_str(&self) -> Str<'_> {
        match self {
            StrBuf::Int(value) => Str::Int(*value),
            StrBuf::Bytes(bytes) => Str::Bytes(bytes),
        }
    }
}

/// A value of any type, lent.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    String(Str<'a>),
    /// A list.
    List(&'a List),
    /// A hash.
    Hash(&'a Hash),
    /// A set.
    Set(&'a Set),
    /// A sorted set.
    ZSet(&'a SortedSet),
    /// A stream.
    Stream(&'a Stream),
    /// A sparse array.
    Array(&'a Array),
    /// A vector set.
    VectorSet(&'a VectorSet),
}

impl ValueRef<'_> {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::String(_) => Kind::String,
            ValueRef::List(_) => Kind::List,
            ValueRef::Hash(_) => Kind::Hash,
            ValueRef::Set(_) => Kind::Set,
            ValueRef::ZSet(_) => Kind::ZSet,
            ValueRef::Stream(_) => Kind::Stream,
            ValueRef::Array(_) => Kind::Array,
            ValueRef::VectorSet(_) => Kind::VectorSet,
        }
    }

    /// The type's name, as `TYPE` replies it.
    pub fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// How it is kept.
    pub fn encoding(&self) -> Encoding {
        match self {
            ValueRef::String(string) => string.encoding(),
            ValueRef::List(list) => list.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::ZSet(zset) => zset.encoding(),
            ValueRef::Stream(_) => Encoding::Stream,
            ValueRef::Array(_) => Encoding::SlicedArray,
            // To Redis this is a value of a module, and those have no encoding of their own.
            ValueRef::VectorSet(_) => Encoding::Raw,
        }
    }

    /// The encoding's name, as `OBJECT ENCODING` replies it.
    pub fn encoding_name(&self) -> &'static str {
        self.encoding().name()
    }

    /// An owned copy.
    pub fn to_value(&self) -> Value {
        match *self {
            ValueRef::String(string) => Value::String(string.to_buf()),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::ZSet(zset) => Value::ZSet(zset.clone()),
            ValueRef::Stream(stream) => Value::Stream(Box::new(stream.clone())),
            ValueRef::Array(array) => Value::Array(array.clone()),
            ValueRef::VectorSet(set) => Value::VectorSet(Box::new(set.clone())),
        }
    }
}

/// A value of any type, owned.
#[derive(Debug)]
pub enum Value {
    /// A string.
    String(StrBuf),
    /// A list.
    List(List),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
    /// A sorted set.
    ZSet(SortedSet),
    /// A stream.
    Stream(Box<Stream>),
    /// A sparse array.
    Array(Array),
    /// A vector set.
    VectorSet(Box<VectorSet>),
}

impl Value {
    /// Lends the value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::String(string) => ValueRef::String(string.as_str()),
            Value::List(list) => ValueRef::List(list),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Set(set) => ValueRef::Set(set),
            Value::ZSet(zset) => ValueRef::ZSet(zset),
            Value::Stream(stream) => ValueRef::Stream(stream),
            Value::Array(array) => ValueRef::Array(array),
            Value::VectorSet(set) => ValueRef::VectorSet(set),
        }
    }
}

/// A key with what it holds, lent.
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What it holds.
    pub value: ValueRef<'a>,
    /// When it ends, if it does.
    pub expires_at: Option<UnixMillis>,
}

/// What `OBJECT`, `DEBUG OBJECT` and `MEMORY USAGE` tell about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// How the value is kept.
    pub encoding: Encoding,
    /// Bytes that key and value occupy, with their share of allocations.
    pub memory_bytes: usize,
    /// Bytes of the value's content, roughly as `DUMP` would have them.
    pub serialized_bytes: usize,
    /// Seconds since it was last used, or changed, as the rule in force has it.
    pub idle_seconds: u64,
    /// Its counter of uses, if the rule in force counts them.
    pub use_count: u8,
    /// Always 1: values are not shared.
    pub refcount: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_have_one_text() {
        for (why, text, want) in [
            ("zero", "0", Some(0)),
            ("negative", "-12", Some(-12)),
            ("the largest", "9223372036854775807", Some(i64::MAX)),
            ("one more", "9223372036854775808", None),
            ("the smallest", "-9223372036854775808", Some(i64::MIN)),
            ("one less", "-9223372036854775809", None),
            ("beyond twenty digits", "100000000000000000000", None),
            ("negative zero", "-0", None),
            ("leading zero", "01", None),
            ("plus", "+1", None),
            ("space", " 1", None),
            ("nothing", "", None),
            ("only a sign", "-", None),
            ("a letter", "1a", None),
        ] {
            assert_eq!(parse_int(text.as_bytes()), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn an_integer_reads_back(value: i64) {
            prop_assert_eq!(parse_int(value.to_string().as_bytes()), Some(value));
        }
    }
}
