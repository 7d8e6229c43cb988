//! The numbers of the format: operations between entries, and kinds of values.

use crate::error::RdbError;

/// First bytes of every stream, before four digits of version.
pub(crate) const MAGIC: &[u8; 5] = b"REDIS";
/// The same in streams of Valkey from 9.0 on, before three digits.
pub(crate) const MAGIC_VALKEY: &[u8; 6] = b"VALKEY";
/// What we write: all that Redis 7.0 knows, so that it loads in every server since.
pub(crate) const VERSION_WRITTEN: u32 = 10;
/// From this version on the stream ends with a checksum.
pub(crate) const VERSION_WITH_CHECKSUM: u32 = 5;
/// Newest version that any server writes (Valkey numbers from 80).
pub(crate) const VERSION_READ_MAX: u32 = 99;

/// Versions from this on are Valkey's.
pub(crate) const VERSION_VALKEY_MIN: u32 = 80;

/// The kind of value that a byte means in a stream of this version.
pub(crate) fn kind_in(version: u32, byte: u8) -> Result<u8, RdbError> {
    match byte {
        kind::HASH_EXPIRING_OLD if version >= VERSION_VALKEY_MIN => Ok(kind::HASH_VALKEY),
        kind::HASH_VALKEY => Err(RdbError::Damaged("the kind of a value")),
        byte => Ok(byte),
    }
}

pub(crate) mod op {
    //! What may stand where a kind of value is expected.
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const FUNCTION_PREVIEW: u8 = 246;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQUENCY: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const RESIZE: u8 = 251;
    pub(crate) const EXPIRES_MS: u8 = 252;
    pub(crate) const EXPIRES_S: u8 = 253;
    pub(crate) const SELECT: u8 = 254;
    pub(crate) const END: u8 = 255;
}

pub(crate) mod kind {
    //! How a value is written.
    pub(crate) const STRING: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const ZSET_TEXT: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const ZSET: u8 = 5;
    pub(crate) const MODULE: u8 = 6;
    pub(crate) const MODULE_2: u8 = 7;
    pub(crate) const HASH_ZIPMAP: u8 = 9;
    pub(crate) const LIST_ZIPLIST: u8 = 10;
    pub(crate) const SET_INTSET: u8 = 11;
    pub(crate) const ZSET_ZIPLIST: u8 = 12;
    pub(crate) const HASH_ZIPLIST: u8 = 13;
    pub(crate) const LIST_OF_ZIPLISTS: u8 = 14;
    pub(crate) const STREAM: u8 = 15;
    pub(crate) const HASH_LISTPACK: u8 = 16;
    pub(crate) const ZSET_LISTPACK: u8 = 17;
    pub(crate) const LIST_OF_LISTPACKS: u8 = 18;
    pub(crate) const STREAM_2: u8 = 19;
    pub(crate) const SET_LISTPACK: u8 = 20;
    pub(crate) const STREAM_3: u8 = 21;
    /// A hash as release candidates of Redis 7.4 wrote it.
    pub(crate) const HASH_EXPIRING_OLD: u8 = 22;
    pub(crate) const HASH_EXPIRING_LISTPACK_OLD: u8 = 23;
    pub(crate) const HASH_EXPIRING: u8 = 24;
    pub(crate) const HASH_EXPIRING_LISTPACK: u8 = 25;
    /// A sparse array, from Redis 8.8 on.
    pub(crate) const ARRAY: u8 = 28;
    /// A hash as Valkey writes it. On the wire it is 22, which means something else in Redis's
    /// versions; see [`super::kind_in`].
    pub(crate) const HASH_VALKEY: u8 = 222;
    /// A node of a list that is one large element.
    pub(crate) const NODE_PLAIN: u64 = 1;
    /// A node of a list that is a listpack.
    pub(crate) const NODE_PACKED: u64 = 2;
}
