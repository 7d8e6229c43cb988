//! An entry: key, expiry and value in one allocation behind a thin pointer.
//!
//! ```text
//! byte 0     shape: what the value is, whether there is an expiry, whether the key is long, whether
//!            a string is told under another encoding than its text would have
//!      1..4  when it was last used, in seconds modulo 2^24
//!      4..6  length of the key, if it is not long
//!      6..8  length of the value, if it is inline
//!      8..   [length of a long key: 8] [expiry: 8] [integer 8 | collection 8 | array 24 | buffer 24] key [inline value]
//! ```
//!
//! A key of 16 bytes with a string of 32 takes 56 bytes. Everything before the key is aligned to 8.
//! The size of the allocation follows from the header, so nothing is stored for it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

use slotward_types::UnixMillis;

use crate::collections::{Array, Hash, List, Set, SortedSet, Stream, VectorSet};
use crate::table::Thin;
use crate::value::{Encoding, EntryRef, Kind, Str, StrBuf, Value, ValueRef, parse_int};

/// Longer strings get a buffer of their own.
const INLINE_MAX: usize = 1024;
const HEADER: usize = 8;

const SHAPE_KIND: u8 = 0b1111;
const SHAPE_EXPIRY: u8 = 0b1_0000;
const SHAPE_LONG_KEY: u8 = 0b10_0000;
/// `OBJECT ENCODING` tells how a string came to be, as in Redis: inline bytes with this mark were
/// edited (`raw`), an integer with it was computed as a text (`embstr`).
const SHAPE_ODD: u8 = 0b100_0000;
/// Shapes that differ in where things lie.
const SHAPES: usize = 64;

const INT: u8 = 0;
const INLINE: u8 = 1;
const BUFFER: u8 = 2;
const LIST: u8 = 3;
const HASH: u8 = 4;
const SET: u8 = 5;
const ZSET: u8 = 6;
const STREAM: u8 = 7;
const ARRAY: u8 = 8;
const VECTOR_SET: u8 = 9;

/// Marks, in an entry's number, that it has an expiry. Free because entries are aligned to 8.
pub(crate) const VOLATILE: u64 = 1;
const ALIGN: usize = 8;

const fn long_key_bytes(shape: u8) -> usize {
    if shape & SHAPE_LONG_KEY != 0 { 8 } else { 0 }
}

const fn payload_offset(shape: u8) -> usize {
    HEADER + long_key_bytes(shape) + if shape & SHAPE_EXPIRY != 0 { 8 } else { 0 }
}

/// Where the key begins, by shape.
const KEY_OFFSETS: [u8; SHAPES] = {
    let mut offsets = [0; SHAPES];
    let mut shape = 0;
    while shape < SHAPES {
        let payload = match shape as u8 & SHAPE_KIND {
            INLINE => 0,
            BUFFER => size_of::<Vec<u8>>(),
            ARRAY => size_of::<Array>(),
            _ => 8,
        };
        offsets[shape] = (payload_offset(shape as u8) + payload) as u8;
        shape += 1;
    }
    offsets
};

// What lies in an entry by value is small, aligned as entries are, and mostly of one size.
const _: () = assert!(
    size_of::<Array>() == 24
        && align_of::<Array>() <= ALIGN
        && size_of::<Hash>() == 8
        && size_of::<Set>() == 8
        && size_of::<SortedSet>() == 8
        && size_of::<List>() == 8
        && align_of::<Hash>() <= ALIGN
        && align_of::<Set>() <= ALIGN
        && align_of::<SortedSet>() <= ALIGN
        && align_of::<List>() <= ALIGN
);

/// Rounds up to the allocator's class: steps of 8 up to 64, then four for each doubling.
pub(crate) const fn round_up(bytes: usize) -> usize {
    let step = if bytes <= 64 { 8 } else { 1 << ((bytes - 1).ilog2() - 2) };
    bytes.div_ceil(step) * step
}

/// What a new entry shall hold.
pub(crate) enum Payload<'a> {
    /// An integer.
    Int(i64),
    /// An integer that is told as a text.
    IntText(i64),
    /// Bytes, lent.
    Bytes(&'a [u8]),
    /// Bytes, handed over.
    Buffer(Vec<u8>),
    /// Bytes that were edited, handed over; never made an integer.
    Edited(Vec<u8>),
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

impl<'a> Payload<'a> {
    /// A string as a client gave it: an integer if it is the canonical text of one.
    #[inline]
    pub(crate) fn string(bytes: &'a [u8]) -> Payload<'a> {
        parse_int(bytes).map_or(Payload::Bytes(bytes), Payload::Int)
    }

    fn kind(&self) -> u8 {
        match self {
            Payload::Int(_) | Payload::IntText(_) => INT,
            Payload::Bytes(bytes) if bytes.len() <= INLINE_MAX => INLINE,
            Payload::Buffer(bytes) | Payload::Edited(bytes) if bytes.len() <= INLINE_MAX => INLINE,
            Payload::Bytes(_) | Payload::Buffer(_) | Payload::Edited(_) => BUFFER,
            Payload::List(_) => LIST,
            Payload::Hash(_) => HASH,
            Payload::Set(_) => SET,
            Payload::ZSet(_) => ZSET,
            Payload::Stream(_) => STREAM,
            Payload::Array(_) => ARRAY,
            Payload::VectorSet(_) => VECTOR_SET,
        }
    }

    /// The marks of its shape.
    fn marks(&self) -> u8 {
        match self {
            Payload::IntText(_) | Payload::Edited(_) => SHAPE_ODD,
            _ => 0,
        }
    }

    fn inline_len(&self) -> usize {
        match self {
            Payload::Bytes(bytes) if bytes.len() <= INLINE_MAX => bytes.len(),
            Payload::Buffer(bytes) | Payload::Edited(bytes) if bytes.len() <= INLINE_MAX => {
                bytes.len()
            }
            _ => 0,
        }
    }
}

impl From<Value> for Payload<'static> {
    fn from(value: Value) -> Self {
        match value {
            Value::String(StrBuf::Int(value)) => Payload::Int(value),
            Value::String(StrBuf::Bytes(bytes)) => Payload::Buffer(bytes),
            Value::List(list) => Payload::List(list),
            Value::Hash(hash) => Payload::Hash(hash),
            Value::Set(set) => Payload::Set(set),
            Value::ZSet(zset) => Payload::ZSet(zset),
            Value::Stream(stream) => Payload::Stream(stream),
            Value::Array(array) => Payload::Array(array),
            Value::VectorSet(set) => Payload::VectorSet(set),
        }
    }
}

/// A live entry, lent.
#[derive(Clone, Copy)]
pub(crate) struct EntryView<'a> {
    at: NonNull<u8>,
    lent: PhantomData<&'a Entry>,
}

impl<'a> EntryView<'a> {
    #[inline]
    fn byte(self, offset: usize) -> u8 {
        // SAFETY: callers stay within the header; the entry lives for 'a.
        unsafe { *self.at.as_ptr().add(offset) }
    }

    #[inline]
    fn half(self, offset: usize) -> usize {
        // SAFETY: callers stay within the header, at even offsets.
        usize::from(unsafe { self.at.as_ptr().add(offset).cast::<u16>().read() })
    }

    #[inline]
    fn at<T>(self, offset: usize) -> *mut T {
        // SAFETY: callers pass offsets within the allocation.
        unsafe { self.at.as_ptr().add(offset).cast() }
    }

    #[inline]
    fn shape(self) -> u8 {
        self.byte(0)
    }

    #[inline]
    fn kind_code(self) -> u8 {
        self.shape() & SHAPE_KIND
    }

    #[inline]
    fn key_len(self) -> usize {
        if self.shape() & SHAPE_LONG_KEY == 0 {
            return self.half(4);
        }
        // SAFETY: this shape has the length there, aligned.
        unsafe { *self.at::<usize>(HEADER) }
    }

    #[inline]
    fn key_offset(self) -> usize {
        usize::from(KEY_OFFSETS[usize::from(self.shape()) % SHAPES])
    }

    #[inline]
    fn inline_len(self) -> usize {
        self.half(6)
    }

    /// The key.
    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        // SAFETY: the header says where the key is; it lives for 'a and is never written.
        unsafe { std::slice::from_raw_parts(self.at(self.key_offset()), self.key_len()) }
    }

    /// When the entry ends.
    #[inline]
    pub(crate) fn expires_at(self) -> Option<UnixMillis> {
        if self.shape() & SHAPE_EXPIRY == 0 {
            return None;
        }
        let offset = HEADER + long_key_bytes(self.shape());
        // SAFETY: this shape has an expiry there, aligned.
        Some(UnixMillis(unsafe { *self.at::<i64>(offset) }))
    }

    /// The earliest end of a field, if it holds a hash with such fields.
    #[inline]
    pub(crate) fn field_expiry(self) -> Option<UnixMillis> {
        match self.hash() {
            Some(hash) => hash.next_expiry(),
            None => None,
        }
    }

    /// The hash, if it holds one.
    #[inline]
    pub(crate) fn hash(self) -> Option<&'a Hash> {
        if self.kind_code() != HASH {
            return None;
        }
        match self.value() {
            ValueRef::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    /// Whether its time has come.
    #[inline]
    pub(crate) fn is_due(self, now: UnixMillis) -> bool {
        // Redis's rule: a key is still there in the millisecond that it ends in.
        self.expires_at().is_some_and(|at| now > at)
    }

    /// Whether it is a string that is kept as an integer.
    #[inline]
    pub(crate) fn is_integer(self) -> bool {
        self.kind_code() == INT
    }

    /// Whether it is a string.
    #[inline]
    pub(crate) fn is_string(self) -> bool {
        self.kind_code() <= BUFFER
    }

    /// The type of its value.
    pub(crate) fn kind(self) -> Kind {
        match self.kind_code() {
            LIST => Kind::List,
            HASH => Kind::Hash,
            SET => Kind::Set,
            ZSET => Kind::ZSet,
            STREAM => Kind::Stream,
            ARRAY => Kind::Array,
            VECTOR_SET => Kind::VectorSet,
            _ => Kind::String,
        }
    }

    /// The value.
    #[inline]
    pub(crate) fn value(self) -> ValueRef<'a> {
        let offset = payload_offset(self.shape());
        // SAFETY (all below): the shape says what lies there, aligned and initialised; it lives for
        // 'a and whoever lends the entry keeps it from being changed.
        match self.kind_code() {
            INT => ValueRef::String(Str::Int(unsafe { *self.at(offset) })),
            INLINE => ValueRef::String(Str::Bytes(unsafe {
                let begin = self.at(self.key_offset() + self.key_len());
                std::slice::from_raw_parts(begin, self.inline_len())
            })),
            BUFFER => ValueRef::String(Str::Bytes(unsafe { &*self.at::<Vec<u8>>(offset) })),
            LIST => ValueRef::List(unsafe { &*self.at::<List>(offset) }),
            HASH => ValueRef::Hash(unsafe { &*self.at::<Hash>(offset) }),
            SET => ValueRef::Set(unsafe { &*self.at::<Set>(offset) }),
            ZSET => ValueRef::ZSet(unsafe { &*self.at::<SortedSet>(offset) }),
            STREAM => ValueRef::Stream(unsafe { &*self.at::<Box<Stream>>(offset) }),
            ARRAY => ValueRef::Array(unsafe { &*self.at::<Array>(offset) }),
            VECTOR_SET => ValueRef::VectorSet(unsafe { &*self.at::<Box<VectorSet>>(offset) }),
            code => unreachable!("an entry of kind {code}"),
        }
    }

    /// How the value is told to be kept.
    pub(crate) fn encoding(self) -> Encoding {
        match self.kind_code() {
            BUFFER => Encoding::Raw,
            INLINE if self.is_odd() => Encoding::Raw,
            INT if self.is_odd() => Encoding::EmbStr,
            _ => self.value().encoding(),
        }
    }

    /// Whether it is a string with another encoding than its text would have.
    pub(crate) fn is_odd(self) -> bool {
        self.shape() & SHAPE_ODD != 0
    }

    /// All of it, as others see it.
    pub(crate) fn entry_ref(self) -> EntryRef<'a> {
        EntryRef { key: self.key(), value: self.value(), expires_at: self.expires_at() }
    }

    /// When it was last used, in seconds modulo 2^24.
    pub(crate) fn access(self) -> u32 {
        u32::from_le_bytes([self.byte(1), self.byte(2), self.byte(3), 0])
    }

    /// Bytes of its allocation.
    fn size(self) -> usize {
        round_up(self.key_offset() + self.key_len() + self.inline_len())
    }

    /// Bytes that it occupies with everything behind it.
    #[inline]
    pub(crate) fn memory(self) -> usize {
        if self.kind_code() <= INLINE { self.size() } else { self.size() + self.memory_behind() }
    }

    /// Bytes behind the entry's own allocation.
    fn memory_behind(self) -> usize {
        match self.value() {
            ValueRef::String(_) if self.kind_code() == BUFFER => {
                // SAFETY: this shape has a buffer there.
                round_up(unsafe { (*self.at::<Vec<u8>>(payload_offset(self.shape()))).capacity() })
            }
            ValueRef::String(_) => 0,
            ValueRef::List(list) => list.heap_bytes(),
            ValueRef::Hash(hash) => hash.heap_bytes(),
            ValueRef::Set(set) => set.heap_bytes(),
            ValueRef::ZSet(zset) => zset.heap_bytes(),
            ValueRef::Stream(stream) => size_of::<Stream>() + stream.heap_bytes(),
            ValueRef::Array(array) => array.heap_bytes(),
            ValueRef::VectorSet(set) => size_of::<VectorSet>() + set.heap_bytes(),
        }
    }
}

/// An entry, owned.
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: an entry owns what it points to, which is `Send`.
unsafe impl Send for Entry {}
// SAFETY: through a shared reference an entry is only read, and what it owns is `Sync`.
unsafe impl Sync for Entry {}
const _: () = {
    const fn shareable<T: Send + Sync>() {}
    shareable::<(Vec<u8>, List, Hash, Set, SortedSet, Box<Stream>, Array, Box<VectorSet>)>();
};

impl Entry {
    /// A new entry.
    pub(crate) fn new(
        key: &[u8],
        payload: Payload<'_>,
        expires_at: Option<UnixMillis>,
        access: u32,
    ) -> Entry {
        let mut shape = payload.kind() | payload.marks();
        shape |= if expires_at.is_some() { SHAPE_EXPIRY } else { 0 };
        shape |= if key.len() > usize::from(u16::MAX) { SHAPE_LONG_KEY } else { 0 };
        let inline = payload.inline_len();
        let key_offset = usize::from(KEY_OFFSETS[usize::from(shape) % SHAPES]);
        let layout = Self::layout(round_up(key_offset + key.len() + inline));
        // SAFETY: the layout's size is at least the header's.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let entry = Entry(at);
        let view = entry.view();
        // SAFETY: the allocation is large enough for what its shape says, which is what is written
        // here; fields are aligned as the layout at the top shows.
        unsafe {
            view.at::<u8>(0).write(shape);
            view.at::<u16>(4).write(key.len() as u16);
            view.at::<u16>(6).write(inline as u16);
            if shape & SHAPE_LONG_KEY != 0 {
                view.at::<usize>(HEADER).write(key.len());
            }
            std::ptr::copy_nonoverlapping(key.as_ptr(), view.at(key_offset), key.len());
        }
        entry.write_access(access);
        entry.write_expiry(expires_at);
        entry.write_payload(payload);
        entry
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGN).expect("an entry's size is within an address space")
    }

    /// Lends it.
    #[inline]
    pub(crate) fn view(&self) -> EntryView<'_> {
        EntryView { at: self.0, lent: PhantomData }
    }

    fn write_access(&self, access: u32) {
        let bytes = access.to_le_bytes();
        // SAFETY: the bytes 1..4 of the header.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.view().at(1), 3) };
    }

    /// Writes the expiry of a shape that has one.
    fn write_expiry(&self, expires_at: Option<UnixMillis>) {
        let view = self.view();
        if let Some(at) = expires_at {
            assert!(view.shape() & SHAPE_EXPIRY != 0, "an entry without room for an expiry");
            // SAFETY: this shape has an expiry there, aligned.
            unsafe { view.at::<i64>(HEADER + long_key_bytes(view.shape())).write(at.0) };
        }
    }

    /// Writes the payload over one that is not there (any more). The shape is the payload's.
    fn write_payload(&self, payload: Payload<'_>) {
        let view = self.view();
        debug_assert_eq!(view.kind_code(), payload.kind());
        let offset = payload_offset(view.shape());
        let inline = |bytes: &[u8]| {
            // SAFETY: the allocation has room for an inline value of this length behind the key.
            unsafe {
                let begin = view.at(view.key_offset() + view.key_len());
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), begin, bytes.len());
            }
        };
        let is_inline = view.kind_code() == INLINE;
        // SAFETY (all below): this shape has room for the payload there, aligned.
        match payload {
            Payload::Int(value) | Payload::IntText(value) => unsafe {
                view.at::<i64>(offset).write(value);
            },
            Payload::Bytes(bytes) if is_inline => inline(bytes),
            Payload::Buffer(bytes) | Payload::Edited(bytes) if is_inline => inline(&bytes),
            Payload::Bytes(bytes) => unsafe { view.at::<Vec<u8>>(offset).write(bytes.to_vec()) },
            Payload::Buffer(bytes) | Payload::Edited(bytes) => unsafe {
                view.at::<Vec<u8>>(offset).write(bytes);
            },
            Payload::List(list) => unsafe { view.at::<List>(offset).write(list) },
            Payload::Hash(hash) => unsafe { view.at::<Hash>(offset).write(hash) },
            Payload::Set(set) => unsafe { view.at::<Set>(offset).write(set) },
            Payload::ZSet(zset) => unsafe { view.at::<SortedSet>(offset).write(zset) },
            Payload::Stream(stream) => unsafe { view.at::<Box<Stream>>(offset).write(stream) },
            Payload::Array(array) => unsafe { view.at::<Array>(offset).write(array) },
            Payload::VectorSet(set) => unsafe { view.at::<Box<VectorSet>>(offset).write(set) },
        }
    }

    /// Takes the payload out, leaving an entry that may only be freed or written anew.
    ///
    /// # Safety
    /// The payload is not used again.
    unsafe fn read_payload(&self) -> Payload<'_> {
        let view = self.view();
        let offset = payload_offset(view.shape());
        // SAFETY (all below): the shape says what lies there; the caller takes care of the rest.
        match view.kind_code() {
            BUFFER => Payload::Buffer(unsafe { view.at::<Vec<u8>>(offset).read() }),
            LIST => Payload::List(unsafe { view.at::<List>(offset).read() }),
            HASH => Payload::Hash(unsafe { view.at::<Hash>(offset).read() }),
            SET => Payload::Set(unsafe { view.at::<Set>(offset).read() }),
            ZSET => Payload::ZSet(unsafe { view.at::<SortedSet>(offset).read() }),
            STREAM => Payload::Stream(unsafe { view.at::<Box<Stream>>(offset).read() }),
            ARRAY => Payload::Array(unsafe { view.at::<Array>(offset).read() }),
            VECTOR_SET => Payload::VectorSet(unsafe { view.at::<Box<VectorSet>>(offset).read() }),
            _ => match view.value() {
                ValueRef::String(Str::Int(value)) => Payload::Int(value),
                ValueRef::String(Str::Bytes(bytes)) => Payload::Bytes(bytes),
                _ => unreachable!("collections are handled above"),
            },
        }
    }

    /// Frees the allocation without dropping the payload.
    ///
    /// # Safety
    /// The payload has been taken out.
    unsafe fn free(self) {
        let layout = Self::layout(self.view().size());
        let at = self.0;
        std::mem::forget(self);
        // SAFETY: the header still says how large the allocation is.
        unsafe { dealloc(at.as_ptr(), layout) };
    }

    /// Notes a use at this second.
    #[inline]
    pub(crate) fn touch(view: EntryView<'_>, access: u32) {
        if view.access() != access & 0xff_ffff {
            let bytes = access.to_le_bytes();
            // SAFETY: the bytes 1..4 of the header, which no reference that is lent covers; the
            // caller holds the slot, so nobody else reads them now.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), view.at(1), 3) };
        }
    }

    /// Marks a string as one with another encoding than its text would have.
    pub(crate) fn mark_odd(view: EntryView<'_>) {
        assert!(view.is_string(), "only strings have odd forms");
        // SAFETY: the first byte of the header, which no reference that is lent covers; the caller
        // holds the slot, so nobody else reads it now.
        unsafe { view.at::<u8>(0).write(view.shape() | SHAPE_ODD) };
    }

    /// Takes that mark away, before another string takes the place of the one that had it.
    #[inline]
    fn unmark_odd(view: EntryView<'_>) {
        if view.is_odd() {
            // SAFETY: the first byte of the header; the view is lent exclusively.
            unsafe { view.at::<u8>(0).write(view.shape() & !SHAPE_ODD) };
        }
    }

    /// Puts a string into the place of one of the same form and class of size, where it is; false,
    /// with nothing done, if that is not what the two are. To be called with a view that is lent
    /// exclusively.
    #[inline]
    pub(crate) fn overwrite(view: EntryView<'_>, payload: &Payload<'_>) -> bool {
        match payload {
            Payload::Int(value) if view.is_integer() => Self::set_integer(view, *value),
            Payload::Bytes(bytes) if view.kind_code() == INLINE && bytes.len() <= INLINE_MAX => {
                let begin = view.key_offset() + view.key_len();
                if bytes.len() != view.inline_len() && round_up(begin + bytes.len()) != view.size()
                {
                    return false;
                }
                Self::unmark_odd(view);
                // SAFETY: the allocation has room for an inline value of this length behind the key,
                // and nothing else refers to it now.
                unsafe {
                    view.at::<u16>(6).write(bytes.len() as u16);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), view.at(begin), bytes.len());
                }
            }
            _ => return false,
        }
        true
    }

    /// Changes the integer that the entry holds. To be called with a view that is lent exclusively.
    ///
    /// # Panics
    /// If it holds something else.
    #[inline]
    pub(crate) fn set_integer(view: EntryView<'_>, value: i64) {
        assert!(view.is_integer(), "an entry that holds no integer");
        Self::unmark_odd(view);
        // SAFETY: this shape has an integer there, aligned; nothing else refers to it now.
        unsafe { view.at::<i64>(payload_offset(view.shape())).write(value) };
    }

    /// The same key with another payload and expiry: in place if its class of size stays.
    #[inline]
    pub(crate) fn with_payload(
        self,
        payload: Payload<'_>,
        expires_at: Option<UnixMillis>,
        access: u32,
    ) -> Entry {
        let view = self.view();
        let shape = payload.kind()
            | payload.marks()
            | if expires_at.is_some() { SHAPE_EXPIRY } else { 0 }
            | view.shape() & SHAPE_LONG_KEY;
        let inline = payload.inline_len();
        let key_offset = usize::from(KEY_OFFSETS[usize::from(shape) % SHAPES]);
        // The key must not move: shapes that put it elsewhere are written anew.
        if key_offset != view.key_offset()
            || round_up(key_offset + view.key_len() + inline) != view.size()
        {
            return Entry::new(view.key(), payload, expires_at, access);
        }
        // SAFETY: the payload is dropped here and written anew below; in between nothing panics.
        drop(unsafe { self.read_payload() });
        // SAFETY: header fields; the size that they tell stays the same, checked above.
        unsafe {
            view.at::<u8>(0).write(shape);
            view.at::<u16>(6).write(inline as u16);
        }
        self.write_access(access);
        self.write_expiry(expires_at);
        self.write_payload(payload);
        self
    }

    /// The same key and payload with another expiry.
    pub(crate) fn with_expiry(self, expires_at: Option<UnixMillis>) -> Entry {
        let view = self.view();
        if expires_at.is_some() == view.expires_at().is_some() {
            self.write_expiry(expires_at);
            return self;
        }
        // SAFETY: the payload moves to the new entry; what is left is freed without it.
        unsafe {
            let payload = self.read_payload();
            let new = Entry::new(view.key(), payload, expires_at, view.access());
            if view.is_odd() {
                Entry::mark_odd(new.view());
            }
            self.free();
            new
        }
    }

    /// The value and the expiry, out of the entry.
    pub(crate) fn into_value(self) -> (Value, Option<UnixMillis>) {
        let expires_at = self.view().expires_at();
        // SAFETY: the payload moves to the value; what is left is freed without it.
        unsafe {
            let value = match self.read_payload() {
                Payload::Int(value) | Payload::IntText(value) => Value::String(StrBuf::Int(value)),
                Payload::Bytes(bytes) => Value::String(StrBuf::Bytes(bytes.to_vec())),
                Payload::Buffer(bytes) | Payload::Edited(bytes) => {
                    Value::String(StrBuf::Bytes(bytes))
                }
                Payload::List(list) => Value::List(list),
                Payload::Hash(hash) => Value::Hash(hash),
                Payload::Set(set) => Value::Set(set),
                Payload::ZSet(zset) => Value::ZSet(zset),
                Payload::Stream(stream) => Value::Stream(stream),
                Payload::Array(array) => Value::Array(array),
                Payload::VectorSet(set) => Value::VectorSet(set),
            };
            self.free();
            (value, expires_at)
        }
    }

    /// The string's own buffer, if it has one, to edit in place.
    pub(crate) fn buffer_mut(&mut self) -> Option<&mut Vec<u8>> {
        let view = self.view();
        // SAFETY: this shape has a buffer there; `&mut self` makes this the only use.
        (view.kind_code() == BUFFER)
            .then(|| unsafe { &mut *view.at::<Vec<u8>>(payload_offset(view.shape())) })
    }
}

/// A collection that an entry may hold: how to get at it in place.
pub(crate) trait Collection: Sized {
    /// Its kind.
    const KIND: Kind;

    /// As a payload.
    fn payload(self) -> Payload<'static>;

    /// Where it is, given where its payload is.
    ///
    /// # Safety
    /// `payload` points to the payload of a live entry of this kind.
    unsafe fn place(payload: NonNull<u8>) -> NonNull<Self>;

    /// An empty one.
    fn empty() -> Self;
}

/// A collection that is its own payload.
macro_rules! by_value {
    ($name:ident, $kind:ident) => {
        impl Collection for $name {
            const KIND: Kind = Kind::$kind;

            fn payload(self) -> Payload<'static> {
                Payload::$kind(self)
            }

            unsafe fn place(payload: NonNull<u8>) -> NonNull<Self> {
                payload.cast()
            }

            fn empty() -> Self {
                $name::new()
            }
        }
    };
}

by_value!(List, List);
by_value!(Hash, Hash);
by_value!(Set, Set);
by_value!(SortedSet, ZSet);
by_value!(Array, Array);

impl Collection for Stream {
    const KIND: Kind = Kind::Stream;

    fn payload(self) -> Payload<'static> {
        Payload::Stream(Box::new(self))
    }

    unsafe fn place(payload: NonNull<u8>) -> NonNull<Self> {
        // SAFETY: the payload is a box, and a box is a pointer that is never null.
        unsafe { payload.cast::<NonNull<Self>>().read() }
    }

    fn empty() -> Self {
        Stream::new()
    }
}

impl Collection for VectorSet {
    const KIND: Kind = Kind::VectorSet;

    fn payload(self) -> Payload<'static> {
        Payload::VectorSet(Box::new(self))
    }

    unsafe fn place(payload: NonNull<u8>) -> NonNull<Self> {
        // SAFETY: the payload is a box, and a box is a pointer that is never null.
        unsafe { payload.cast::<NonNull<Self>>().read() }
    }

    fn empty() -> Self {
        unreachable!("a vector set is made by whoever knows its shape")
    }
}

/// The collection in a live entry, to read or to change. `None` if it holds another kind.
///
/// # Safety
/// `raw` is a live entry; whoever changes the collection through what is returned is the only one to
/// use the entry meanwhile.
pub(crate) unsafe fn collection_at<C: Collection>(raw: u64) -> Option<NonNull<C>> {
    // SAFETY: as the contract says.
    let view: EntryView<'_> = unsafe { Entry::view_of(raw) };
    if view.kind() != C::KIND {
        return None;
    }
    // SAFETY: the payload of this kind lies there, within a live allocation.
    Some(unsafe { C::place(view.at.add(payload_offset(view.shape()))) })
}

impl Entry {
    #[inline]
    unsafe fn view_of<'a>(raw: u64) -> EntryView<'a> {
        let address = (raw & !(ALIGN as u64 - 1)) as usize;
        let at = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: entries are never at address zero.
        EntryView { at: unsafe { NonNull::new_unchecked(at) }, lent: PhantomData }
    }
}

// SAFETY: entries have a stable address of 48 bits, aligned so that the mark fits, and never change
// their keys.
unsafe impl Thin for Entry {
    type View<'a> = EntryView<'a>;

    #[inline]
    fn into_raw(self) -> u64 {
        let mark = if self.view().shape() & SHAPE_EXPIRY != 0 { VOLATILE } else { 0 };
        let address = self.0.as_ptr().expose_provenance() as u64;
        std::mem::forget(self);
        address | mark
    }

    #[inline]
    unsafe fn from_raw(raw: u64) -> Self {
        // SAFETY: `raw` came from `into_raw`.
        Entry(unsafe { Entry::view_of(raw) }.at)
    }

    #[inline]
    unsafe fn key<'a>(raw: u64) -> &'a [u8] {
        // SAFETY: as the trait's contract says.
        unsafe { Entry::view_of::<'a>(raw) }.key()
    }

    #[inline]
    unsafe fn view<'a>(raw: u64) -> EntryView<'a> {
        // SAFETY: as the trait's contract says.
        unsafe { Entry::view_of(raw) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = Self::layout(self.view().size());
        // SAFETY: the payload is dropped once, then the allocation is freed with its size.
        unsafe {
            drop(self.read_payload());
            dealloc(self.0.as_ptr(), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(view: EntryView<'_>) -> Vec<u8> {
        match view.value() {
            ValueRef::String(string) => string.to_vec(),
            other => panic!("not a string: {other:?}"),
        }
    }

    #[test]
    fn a_short_pair_takes_56_bytes() {
        let entry = Entry::new(&[b'k'; 16], Payload::Bytes(&[b'v'; 32]), None, 0);
        assert_eq!(entry.view().memory(), 56);
    }

    #[test]
    fn sizes_are_the_allocators_classes() {
        for (bytes, class) in
            [(1, 8), (56, 56), (57, 64), (65, 80), (80, 80), (81, 96), (129, 160), (1025, 1280)]
        {
            assert_eq!(round_up(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn every_shape_reads_back_through_every_change() {
        let keys = [vec![], vec![b'k'; 16], vec![b'k'; 65_535], vec![b'k'; 65_536]];
        let values = [vec![], vec![b'v'; 1], vec![b'v'; 33], vec![b'v'; 1024], vec![b'v'; 1025]];
        let times = [None, Some(UnixMillis(-5)), Some(UnixMillis(i64::MAX))];
        for key in &keys {
            let mut entry = Entry::new(key, Payload::string(b"12"), None, 7);
            for value in &values {
                for (index, at) in times.iter().enumerate() {
                    entry = entry.with_payload(Payload::Bytes(value), *at, index as u32);
                    assert_eq!(entry.view().key(), &key[..]);
                    assert_eq!(text(entry.view()), *value);
                    assert_eq!(entry.view().expires_at(), *at);
                    assert_eq!(entry.view().access(), index as u32);
                    for again in times {
                        entry = entry.with_expiry(again);
                        assert_eq!(entry.view().expires_at(), again);
                        assert_eq!(text(entry.view()), *value);
                    }
                }
                entry = entry.with_payload(Payload::Int(-7), None, 0);
                assert_eq!(text(entry.view()), b"-7");
                entry = entry.with_payload(Payload::List(List::new()), times[1], 0);
                assert_eq!(entry.view().kind(), Kind::List);
                entry = entry.with_expiry(None);
                assert_eq!(entry.view().key(), &key[..]);
            }
            let raw = entry.with_expiry(times[1]).into_raw();
            assert_eq!(raw & VOLATILE, VOLATILE);
            // SAFETY: from `into_raw` just now.
            let (value, at) = unsafe { Entry::from_raw(raw) }.into_value();
            assert_eq!((value.as_ref().kind(), at), (Kind::List, times[1]));
        }
    }

    #[test]
    fn encodings_tell_how_a_string_came_to_be() {
        for (why, payload, want) in [
            ("set", Payload::string(b"abc"), Encoding::EmbStr),
            ("set and an integer", Payload::string(b"12"), Encoding::Int),
            ("set and longer", Payload::Bytes(&[b'v'; 45]), Encoding::Raw),
            ("edited", Payload::Edited(b"12".to_vec()), Encoding::Raw),
            ("edited and long", Payload::Edited(vec![b'v'; 2000]), Encoding::Raw),
            ("computed", Payload::IntText(12), Encoding::EmbStr),
        ] {
            let entry = Entry::new(b"k", payload, None, 0);
            assert_eq!(entry.view().encoding(), want, "{why}");
            let entry = entry.with_expiry(Some(UnixMillis(5))).with_expiry(None);
            assert_eq!(entry.view().encoding(), want, "{why}, after changes of its expiry");
            for new in [Payload::string(b"34"), Payload::string(b"abd")] {
                let usual =
                    if matches!(new, Payload::Int(_)) { Encoding::Int } else { Encoding::EmbStr };
                if Entry::overwrite(entry.view(), &new) {
                    assert_eq!(entry.view().encoding(), usual, "{why}, then set anew in its place");
                }
            }
            let entry = entry.with_payload(Payload::string(b"xyz"), None, 0);
            assert_eq!(entry.view().encoding(), Encoding::EmbStr, "{why}, then set anew");
        }
    }

    #[test]
    fn an_overwrite_of_the_same_class_stays_in_place() {
        let entry = Entry::new(b"key", Payload::Bytes(&[b'a'; 40]), None, 0);
        let at = entry.0;
        let entry = entry.with_payload(Payload::Bytes(&[b'b'; 43]), None, 0);
        assert_eq!(entry.0, at);
        assert_eq!(text(entry.view()), [b'b'; 43]);
        let entry = entry.with_payload(Payload::Bytes(&[b'c'; 64]), None, 0);
        assert_eq!(text(entry.view()), [b'c'; 64]);
    }
}
