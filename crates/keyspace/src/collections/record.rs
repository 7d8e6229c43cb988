//! What the tables inside collections hold: one allocation per member or field, behind a pointer
//! of one word.
//!
//! ```text
//! MemberRecord   length | member
//! FieldRecord    length | length | field | value
//! ScoreRecord    score (8) | length | member
//! ```
//!
//! A length is one byte below 254, else 254 and four bytes. The size of the allocation follows from
//! the lengths, so nothing else is stored.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::tree::MemberPtr;
use crate::entry::round_up;
use crate::table::Thin;

const LONG: u8 = 254;

/// How many bytes a length takes.
const fn len_width(len: usize) -> usize {
    if len < LONG as usize { 1 } else { 5 }
}

/// Writes a length and returns how many bytes it took.
///
/// # Safety
/// `at` must be valid for writes of [`len_width`] bytes.
unsafe fn write_len(at: *mut u8, len: usize) -> usize {
    // SAFETY: the caller made room for `len_width(len)` bytes.
    unsafe {
        if len < LONG as usize {
            at.write(len as u8);
            return 1;
        }
        let long = u32::try_from(len).expect("a member, field or value is below 4 GiB");
        at.write(LONG);
        at.add(1).cast::<[u8; 4]>().write(long.to_le_bytes());
        5
    }
}

/// Reads a length and how many bytes it takes.
///
/// # Safety
/// `at` must be where [`write_len`] wrote one.
#[inline]
unsafe fn read_len(at: *const u8) -> (usize, usize) {
    // SAFETY: a length stands there, and its first byte tells how far it reaches.
    unsafe {
        let first = at.read();
        if first < LONG {
            return (first as usize, 1);
        }
        (u32::from_le_bytes(at.add(1).cast::<[u8; 4]>().read()) as usize, 5)
    }
}

fn allocate(size: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, 1).expect("a record is smaller than the memory");
    // SAFETY: every record has at least its length byte, so the size is not zero.
    let at = unsafe { alloc(layout) };
    NonNull::new(at).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `at` must come from [`allocate`] with this size and not be used again.
unsafe fn free(at: NonNull<u8>, size: usize) {
    // SAFETY: the same layout was given to `alloc`.
    unsafe { dealloc(at.as_ptr(), Layout::from_size_align_unchecked(size, 1)) }
}

/// A record that a table of a collection holds.
pub(crate) trait Record: Thin {
    /// How many bytes the allocator took for the record.
    fn size(&self) -> usize;
}

fn raw_of(at: NonNull<u8>) -> u64 {
    at.as_ptr().expose_provenance() as u64
}

/// # Safety
/// `raw` must come from [`raw_of`].
#[inline]
unsafe fn pointer_of(raw: u64) -> NonNull<u8> {
    // SAFETY: it was not null when it became a number.
    unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(raw as usize)) }
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident, $view:ty, $lend:expr) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub(crate) struct $name(NonNull<u8>);

        // SAFETY: a record owns its allocation alone, like a box of bytes.
        unsafe impl Send for $name {}
        // SAFETY: nothing changes through a shared reference.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                let size = self.size();
                // SAFETY: the pointer came from `allocate` with this size, and we own it.
                unsafe { free(self.0, size) }
            }
        }

        // SAFETY: the pointer is the whole record; it is an address of user space, so below 2^48.
        unsafe impl Thin for $name {
            type View<'a> = $view;

            fn into_raw(self) -> u64 {
                raw_of(std::mem::ManuallyDrop::new(self).0)
            }

            unsafe fn from_raw(raw: u64) -> Self {
                // SAFETY: the caller gives a number that `into_raw` returned.
                Self(unsafe { pointer_of(raw) })
            }

            #[inline]
            unsafe fn key<'a>(raw: u64) -> &'a [u8] {
                // SAFETY: the caller says that the record lives for 'a.
                unsafe { Self::key_at(pointer_of(raw)) }
            }

            #[inline]
            unsafe fn view<'a>(raw: u64) -> $view
            where
                Self: 'a,
            {
                // SAFETY: the caller says that the record lives for 'a.
                unsafe { $lend(pointer_of(raw)) }
            }
        }

        impl Record for $name {
            fn size(&self) -> usize {
                round_up(self.size())
            }
        }
    };
}

record! {
    /// A member of a set.
    MemberRecord, &'a [u8], MemberRecord::key_at
}
record! {
    /// A field of a hash with its value.
    FieldRecord, FieldView<'a>, FieldRecord::view_at
}
record! {
    /// A member of a sorted set with its score.
    ScoreRecord, ScoreView<'a>, ScoreRecord::view_at
}

/// A field and its value, lent.
#[derive(Clone, Copy)]
pub(crate) struct FieldView<'a> {
    pub(crate) field: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A member of a sorted set, lent.
#[derive(Clone, Copy)]
pub(crate) struct ScoreView<'a> {
    pub(crate) member: &'a [u8],
    pub(crate) score: f64,
    pub(crate) ptr: ScorePtr,
}

impl MemberRecord {
    pub(crate) fn new(member: &[u8]) -> Self {
        let at = allocate(len_width(member.len()) + member.len());
        // SAFETY: the allocation has room for the length and the member.
        unsafe {
            let width = write_len(at.as_ptr(), member.len());
            at.as_ptr().add(width).copy_from_nonoverlapping(member.as_ptr(), member.len());
        }
        Self(at)
    }

    pub(crate) fn member(&self) -> &[u8] {
        // SAFETY: the record lives as long as the reference to it.
        unsafe { Self::key_at(self.0) }
    }

    fn size(&self) -> usize {
        let len = self.member().len();
        len_width(len) + len
    }

    /// # Safety
    /// The record at `raw` must live for `'a`.
    #[inline]
    unsafe fn key_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: `new` wrote a length and that many bytes.
        unsafe {
            let (len, width) = read_len(raw.as_ptr());
            std::slice::from_raw_parts(raw.as_ptr().add(width), len)
        }
    }
}

impl FieldRecord {
    pub(crate) fn new(field: &[u8], value: &[u8]) -> Self {
        let heads = len_width(field.len()) + len_width(value.len());
        let at = allocate(heads + field.len() + value.len());
        // SAFETY: the allocation has room for both lengths and both texts.
        unsafe {
            let start = at.as_ptr();
            let width = write_len(start, field.len());
            write_len(start.add(width), value.len());
            start.add(heads).copy_from_nonoverlapping(field.as_ptr(), field.len());
            start.add(heads + field.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Self(at)
    }

    fn view(&self) -> FieldView<'_> {
        // SAFETY: the record lives as long as the reference to it.
        unsafe { Self::view_at(self.0) }
    }

    /// Writes another value over the present one if it is as long.
    pub(crate) fn overwrite(&mut self, value: &[u8]) -> bool {
        let old = self.view().value;
        if old.len() != value.len() {
            return false;
        }
        let at = old.as_ptr().cast_mut();
        // SAFETY: `at` lies in our own allocation, which we hold mutably, with that many bytes.
        unsafe { at.copy_from(value.as_ptr(), value.len()) }
        true
    }

    fn size(&self) -> usize {
        let FieldView { field, value } = self.view();
        len_width(field.len()) + len_width(value.len()) + field.len() + value.len()
    }

    /// # Safety
    /// The record at `raw` must live for `'a`.
    #[inline]
    unsafe fn key_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: `new` wrote two lengths and then the field.
        unsafe {
            let (len, width) = read_len(raw.as_ptr());
            let (_, second) = read_len(raw.as_ptr().add(width));
            std::slice::from_raw_parts(raw.as_ptr().add(width + second), len)
        }
    }

    /// # Safety
    /// The record at `raw` must live for `'a`.
    #[inline]
    unsafe fn view_at<'a>(raw: NonNull<u8>) -> FieldView<'a> {
        // SAFETY: `new` wrote two lengths, the field and then the value.
        unsafe {
            let (field, width) = read_len(raw.as_ptr());
            let (value, second) = read_len(raw.as_ptr().add(width));
            let texts = raw.as_ptr().add(width + second);
            FieldView {
                field: std::slice::from_raw_parts(texts, field),
                value: std::slice::from_raw_parts(texts.add(field), value),
            }
        }
    }
}

const SCORE: usize = size_of::<f64>();

impl ScoreRecord {
    pub(crate) fn new(member: &[u8], score: f64) -> Self {
        let at = allocate(SCORE + len_width(member.len()) + member.len());
        // SAFETY: the allocation has room for the score, the length and the member.
        unsafe {
            at.as_ptr().cast::<f64>().write_unaligned(score);
            let width = SCORE + write_len(at.as_ptr().add(SCORE), member.len());
            at.as_ptr().add(width).copy_from_nonoverlapping(member.as_ptr(), member.len());
        }
        Self(at)
    }

    pub(crate) fn view(&self) -> ScoreView<'_> {
        // SAFETY: the record lives as long as the reference to it.
        unsafe { Self::view_at(self.0) }
    }

    pub(crate) fn set_score(&mut self, score: f64) {
        // SAFETY: the score's place is in our allocation, which we hold mutably.
        unsafe { self.0.as_ptr().cast::<f64>().write_unaligned(score) }
    }

    fn size(&self) -> usize {
        let len = self.view().member.len();
        SCORE + len_width(len) + len
    }

    /// # Safety
    /// The record at `raw` must live for `'a`.
    #[inline]
    unsafe fn key_at<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: `new` wrote the score, a length and that many bytes.
        unsafe {
            let (len, width) = read_len(raw.as_ptr().add(SCORE));
            std::slice::from_raw_parts(raw.as_ptr().add(SCORE + width), len)
        }
    }

    /// # Safety
    /// The record at `raw` must live for `'a`.
    #[inline]
    unsafe fn view_at<'a>(raw: NonNull<u8>) -> ScoreView<'a> {
        // SAFETY: `new` wrote the score first and the member behind it.
        unsafe {
            ScoreView {
                member: Self::key_at(raw),
                score: raw.as_ptr().cast::<f64>().read_unaligned(),
                ptr: ScorePtr(raw),
            }
        }
    }
}

/// Where a [`ScoreRecord`] is. The sorted set that holds both keeps the record alive as long as the
/// pointer is in its tree, and never gives the pointer away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScorePtr(NonNull<u8>);

// SAFETY: it is used only by the sorted set that owns the record.
unsafe impl Send for ScorePtr {}
// SAFETY: it only reads the member, which never changes.
unsafe impl Sync for ScorePtr {}

impl MemberPtr for ScorePtr {
    #[inline]
    fn member(&self) -> &[u8] {
        // SAFETY: the sorted set keeps the record alive while the pointer is in its tree.
        unsafe { ScoreRecord::key_at(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_what_it_was_made_of() {
        for len in [0, 1, 16, 253, 254, 70_000] {
            let (long, short) = (vec![b'a'; len], b"xyz");
            let member = MemberRecord::new(&long);
            assert_eq!(member.member(), long);
            for (field, value) in [(&long[..], &short[..]), (short, &long)] {
                let mut record = FieldRecord::new(field, value);
                assert_eq!((record.view().field, record.view().value), (field, value));
                let other = vec![b'b'; value.len()];
                assert!(record.overwrite(&other));
                assert_eq!((record.view().field, record.view().value), (field, &other[..]));
                assert!(!record.overwrite(&vec![0; value.len() + 1]), "another length");
                // SAFETY: the number was given up just before.
                let again = unsafe { FieldRecord::from_raw(record.into_raw()) };
                assert_eq!(again.view().field, field);
            }
            let mut score = ScoreRecord::new(&long, 1.5);
            score.set_score(-2.0);
            assert_eq!((score.view().member, score.view().score), (&long[..], -2.0));
            assert_eq!(score.view().ptr.member(), long);
        }
    }

    #[test]
    fn records_are_as_small_as_they_can_be() {
        assert_eq!(MemberRecord::new(&[0; 16]).size(), 17);
        assert_eq!(FieldRecord::new(&[0; 10], &[0; 12]).size(), 24);
        assert_eq!(ScoreRecord::new(&[0; 15], 0.0).size(), 24);
    }
}
