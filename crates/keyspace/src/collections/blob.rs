//! Bytes that grow, behind one thin pointer: what small collections are kept in.
//!
//! ```text
//! length (4) | capacity (4) | bytes …
//! ```
//!
//! A `Vec<u8>` is three words, which a small collection would pay beside its bytes.
//! The capacity is what the allocator's class holds, so nothing is wasted behind it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::entry::round_up;

const HEADER: usize = 8;
const ALIGN: usize = 4;
/// Longest content.
const BYTES_MAX: usize = u32::MAX as usize - 4096;

/// Growable bytes behind one pointer.
pub(crate) struct Blob(NonNull<u8>);

// SAFETY: a blob owns its allocation, which holds plain bytes.
unsafe impl Send for Blob {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Blob {}

impl Blob {
    /// A copy of these bytes.
    ///
    /// # Panics
    /// When they are nearly 4 GiB or more: callers have limits far below.
    pub(crate) fn copy_of(bytes: &[u8]) -> Blob {
        let capacity = capacity_for(bytes.len());
        let layout = layout(capacity);
        // SAFETY: the layout's size is at least the header's.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut blob = Blob(at);
        blob.set_capacity(capacity);
        // SAFETY: the allocation has room for a capacity that is no smaller than `bytes.len()`.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), blob.content(), bytes.len());
        }
        blob.set_len(bytes.len());
        blob
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        HEADER + self.capacity()
    }

    /// Makes it `len` bytes long; new ones are zero. Gives memory back when most is not needed.
    pub(crate) fn resize(&mut self, len: usize) {
        let old = self.len();
        if len > self.capacity() || len < self.capacity() / 4 {
            self.reallocate(capacity_for(len));
        }
        if len > old {
            // SAFETY: within the capacity.
            unsafe { self.content().add(old).write_bytes(0, len - old) };
        }
        self.set_len(len);
    }

    /// Gives back what is reserved beyond the present length.
    pub(crate) fn shrink(&mut self) {
        let capacity = round_up(HEADER + self.len()) - HEADER;
        if capacity < self.capacity() {
            self.reallocate(capacity);
        }
    }

    #[inline]
    fn content(&self) -> *mut u8 {
        // SAFETY: the allocation begins with a header.
        unsafe { self.0.as_ptr().add(HEADER) }
    }

    fn capacity(&self) -> usize {
        // SAFETY: the second half of the header, written at creation.
        unsafe { self.0.as_ptr().cast::<u32>().add(1).read() as usize }
    }

    fn set_capacity(&mut self, capacity: usize) {
        // SAFETY: the second half of the header.
        unsafe { self.0.as_ptr().cast::<u32>().add(1).write(capacity as u32) };
    }

    fn set_len(&mut self, len: usize) {
        // SAFETY: the first half of the header.
        unsafe { self.0.as_ptr().cast::<u32>().write(len as u32) };
    }

    fn reallocate(&mut self, capacity: usize) {
        let new = layout(capacity);
        // SAFETY: the present layout follows from the capacity; the new size is not zero.
        let moved = unsafe { realloc(self.0.as_ptr(), layout(self.capacity()), new.size()) };
        let Some(at) = NonNull::new(moved) else { handle_alloc_error(new) };
        self.0 = at;
        self.set_capacity(capacity);
    }
}

/// What to reserve for so many bytes: the class they fall in; an eighth more when they are many, so
/// that appending one by one is not quadratic.
fn capacity_for(bytes: usize) -> usize {
    assert!(bytes <= BYTES_MAX, "a packed collection of {bytes} bytes");
    let wanted = if bytes <= 256 { bytes } else { bytes + bytes / 8 };
    (round_up(HEADER + wanted) - HEADER).min(u32::MAX as usize)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(HEADER + capacity, ALIGN).expect("far below the address space")
}

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the header holds the length, and so many bytes behind it are initialised.
        unsafe {
            let len = self.0.as_ptr().cast::<u32>().read() as usize;
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
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0.as_ptr(), layout(self.capacity())) };
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        Blob::copy_of(self)
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

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
                prop_assert!(blob.allocated() >= HEADER + len);
                prop_assert_eq!(&*blob.clone(), &*model);
            }
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut blob = Blob::copy_of(&[7; 10_000]);
        blob.resize(10);
        assert!(blob.allocated() <= 24, "{}", blob.allocated());
        assert_eq!(*blob, [7; 10]);
    }
}
