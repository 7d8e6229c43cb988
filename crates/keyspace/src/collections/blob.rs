//! Bytes that grow, behind one thin pointer: what small collections are kept in.
//!
//! ```text
//! length (4) | bytes …
//! ```
//!
//! The allocation is always the allocator's class for that length, so nothing has to tell how large
//! it is and nothing is wasted behind it; classes are far enough apart that appending one by one is
//! not quadratic. Without bytes there is no allocation.
//!
//! The three low bits of the pointer are the owner's to use ([`OneOf`](super::one_of::OneOf)). A blob
//! that is lent by such an owner is changed in place; to put another in its place would lose the mark.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::intset::IntSet;
use super::one_of::{MARKS, Part};
use super::pack::Pack;
use crate::entry::round_up;

const HEADER: usize = 4;
const ALIGN: usize = MARKS;
/// Longest content.
const BYTES_MAX: usize = u32::MAX as usize - 4096;

/// What all empty blobs point to: a length of zero.
static EMPTY: u64 = 0;
const _: () = assert!(align_of::<u64>() >= ALIGN && size_of::<u64>() >= HEADER);

/// Growable bytes behind one pointer.
#[repr(transparent)]
pub(crate) struct Blob {
    word: NonNull<u8>,
    owns: PhantomData<Box<[u8]>>,
}

// SAFETY: a blob owns its allocation, which holds plain bytes; what empty ones share is never
// written.
unsafe impl Send for Blob {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Blob {}

impl Blob {
    /// No bytes.
    pub(crate) const fn new() -> Blob {
        let at = (&raw const EMPTY).cast_mut().cast();
        // SAFETY: a static is not at address zero.
        Blob { word: unsafe { NonNull::new_unchecked(at) }, owns: PhantomData }
    }

    /// A copy of these bytes.
    ///
    /// # Panics
    /// When they are nearly 4 GiB or more: callers have limits far below.
    pub(crate) fn copy_of(bytes: &[u8]) -> Blob {
        let mut blob = Blob::new();
        blob.resize(bytes.len());
        blob.copy_from_slice(bytes);
        blob
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        class_of(self.len())
    }

    /// Makes it `len` bytes long; new ones are zero. Gives back what is not needed any more.
    pub(crate) fn resize(&mut self, len: usize) {
        assert!(len <= BYTES_MAX, "a packed collection of {len} bytes");
        let old = self.len();
        let (from, to) = (class_of(old), class_of(len));
        if from != to {
            self.reallocate(from, to);
        }
        if to == 0 {
            return;
        }
        if len > old {
            // SAFETY: within the class that holds `len` bytes.
            unsafe { self.content().add(old).write_bytes(0, len - old) };
        }
        // SAFETY: the allocation begins with the length.
        unsafe { self.address().cast::<u32>().write(len as u32) };
    }

    #[inline]
    fn mark(&self) -> usize {
        self.word.addr().get() % MARKS
    }

    /// Where the allocation is: the word without its mark.
    #[inline]
    fn address(&self) -> *mut u8 {
        self.word.as_ptr().map_addr(|address| address & !(MARKS - 1))
    }

    #[inline]
    fn content(&self) -> *mut u8 {
        // SAFETY: the allocation, or what empty blobs point to, begins with a header.
        unsafe { self.address().add(HEADER) }
    }

    /// Moves the bytes from an allocation of one class to one of another; 0 is none.
    fn reallocate(&mut self, from: usize, to: usize) {
        let mark = self.mark();
        if to == 0 {
            // SAFETY: this class was allocated here.
            unsafe { dealloc(self.address(), layout(from)) };
            self.word = Blob::new().word;
        } else {
            let new = layout(to);
            // SAFETY: the present allocation has this class; the new size is not zero.
            let moved = unsafe {
                if from == 0 { alloc(new) } else { realloc(self.address(), layout(from), to) }
            };
            let Some(at) = NonNull::new(moved) else { handle_alloc_error(new) };
            self.word = at;
        }
        self.word = self.word.map_addr(|address| address | mark);
    }
}

/// What the allocator takes for so many bytes.
#[inline]
const fn class_of(len: usize) -> usize {
    if len == 0 { 0 } else { round_up(HEADER + len) }
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class, ALIGN).expect("far below the address space")
}

/// Makes types that are nothing but a blob parts of a [`OneOf`](super::one_of::OneOf).
macro_rules! parts {
    ($($name:ty),*) => {$(
        const _: () = assert!(size_of::<$name>() == size_of::<Blob>());

        // SAFETY: it is nothing but the word of a blob, an address aligned to `MARKS`; a blob
        // disregards marks in it.
        unsafe impl Part for $name {
            type Ref<'a> = &'a $name;
            type Mut<'a> = &'a mut $name;

            #[inline]
            fn into_word(self) -> NonNull<u8> {
                let whole = ManuallyDrop::new(self);
                // SAFETY: the type is nothing but its word, which is not used through it any more.
                unsafe { (&raw const whole).cast::<NonNull<u8>>().read() }
            }

            #[inline]
            unsafe fn from_word(word: NonNull<u8>) -> Self {
                // SAFETY: the type is nothing but its word; the caller gives it up.
                unsafe { (&raw const word).cast::<$name>().read() }
            }

            #[inline]
            unsafe fn lend(word: &NonNull<u8>) -> &$name {
                // SAFETY: the type is nothing but its word.
                unsafe { &*(&raw const *word).cast() }
            }

            #[inline]
            unsafe fn lend_mut(word: &mut NonNull<u8>) -> &mut $name {
                // SAFETY: the type is nothing but its word.
                unsafe { &mut *(&raw mut *word).cast() }
            }
        }
    )*};
}

// All of them `repr(transparent)`.
parts!(Blob, Pack, IntSet);

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the header holds the length, and so many bytes behind it are initialised.
        unsafe {
            let len = self.address().cast::<u32>().read() as usize;
            std::slice::from_raw_parts(self.content(), len)
        }
    }
}

impl DerefMut for Blob {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        // SAFETY: as in `deref`; `&mut self` makes this the only use.
        unsafe { std::slice::from_raw_parts_mut(self.content(), len) }
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        // Only its owner drops a marked one, and takes the mark off before.
        assert_eq!(self.mark(), 0, "a blob with an owner was replaced");
        let class = self.allocated();
        if class > 0 {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.address(), layout(class)) };
        }
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        Blob::copy_of(self)
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_vector(lengths in prop::collection::vec(0usize..3000, 1..30)) {
            let (mut blob, mut model) = (Blob::copy_of(b"begin"), b"begin".to_vec());
            for (round, len) in lengths.into_iter().enumerate() {
                blob.resize(len);
                model.resize(len, 0);
                if let Some(last) = model.last_mut() {
                    *last = round as u8;
                    *blob.last_mut().unwrap() = round as u8;
                }
                prop_assert_eq!(&*blob, &*model);
                prop_assert_eq!(blob.allocated() == 0, len == 0);
                prop_assert!(len == 0 || blob.allocated() >= HEADER + len);
                prop_assert_eq!(&*blob.clone(), &*model);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a blob with an owner was replaced")]
    fn a_marked_blob_is_not_replaced() {
        let mut word = Blob::copy_of(b"bytes").into_word().map_addr(|address| address | 1);
        // SAFETY: the word came from a blob and is marked.
        *unsafe { Blob::lend_mut(&mut word) } = Blob::new();
    }

    #[test]
    fn memory_is_given_back() {
        let mut blob = Blob::copy_of(&[7; 10_000]);
        blob.resize(10);
        assert!(blob.allocated() <= 16, "{}", blob.allocated());
        assert_eq!(*blob, [7; 10]);
    }
}
