//! jemalloc with size classes in steps of 8 bytes, as our entries want them, made safe for Rust.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use tikv_jemallocator::Jemalloc;

/// What jemalloc aligns everything to when it is built with `LG_QUANTUM` 3.
const QUANTUM: usize = 8;
/// An alignment that the wrapped allocator always asks for in so many words.
const EXPLICIT: usize = 32;

/// The allocator of the process.
///
/// `tikv-jemallocator` leaves an alignment of up to 16 unsaid where the size is as large, for on
/// this machine jemalloc usually gives it anyway. Built with a quantum of 8 it does not, and
/// tables that are read 16 bytes at a time end up astride. So alignments above the quantum are
/// raised to one that is always said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

#[inline]
fn explicit(layout: Layout) -> Layout {
    if layout.align() <= QUANTUM || layout.align() >= EXPLICIT {
        return layout;
    }
    Layout::from_size_align(layout.size(), EXPLICIT).unwrap_or(layout)
}

// SAFETY: every call goes to jemalloc with a layout of the same size and at least the same
// alignment, the same one for the same allocation in all four.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { Jemalloc.alloc(explicit(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { Jemalloc.alloc_zeroed(explicit(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises, and the layout is the one it was allocated with.
        unsafe { Jemalloc.dealloc(pointer, explicit(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as the caller promises, and the layout is the one it was allocated with.
        unsafe { Jemalloc.realloc(pointer, explicit(layout), new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alignment_is_kept_whatever_the_size() {
        let mut kept = Vec::new();
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in (1..200).chain([1000, 5000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero; each pointer is freed once, with its layout.
                let pointer = unsafe { Allocator.alloc(layout) };
                assert!(pointer.addr().is_multiple_of(align), "{size} bytes, alignment {align}");
                // SAFETY: as above, and the new size is not zero.
                let pointer = unsafe { Allocator.realloc(pointer, layout, size + 24) };
                assert!(pointer.addr().is_multiple_of(align), "{size} bytes grown, {align}");
                kept.push((pointer, Layout::from_size_align(size + 24, align).unwrap()));
            }
        }
        for (pointer, layout) in kept {
            // SAFETY: allocated above with this layout.
            unsafe { Allocator.dealloc(pointer, layout) };
        }
    }
}
