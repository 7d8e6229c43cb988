//! Where a table's home groups lie: nothing, one array of up to 64 KiB, or a directory of segments
//! of 64 KiB each. Which it is follows from the number of homes alone, so nothing else is stored.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};

use super::group::Group;

/// Homes in the largest array, and in a segment.
pub(super) const SEGMENT: u32 = 1024;
/// Keeps all index arithmetic within 32 bits.
const HOMES_MAX: u32 = 1 << 30;

/// The home groups. Their number is passed to every function by the table that owns them.
pub(super) struct Root(*mut u8);

/// How many groups an array for so many homes has room for: exact up to eight, then four steps for
/// each doubling, which are the allocator's classes too.
fn array_capacity(homes: u32) -> u32 {
    if homes <= 8 {
        return homes;
    }
    let step = (1 << (homes - 1).ilog2()) / 4;
    homes.div_ceil(step) * step
}

fn segments(homes: u32) -> u32 {
    homes.div_ceil(SEGMENT)
}

fn groups_layout(groups: u32) -> Layout {
    Layout::array::<Group>(groups as usize).expect("an array of groups is at most 64 KiB")
}

fn directory_layout(segments: u32) -> Layout {
    Layout::array::<*mut Group>(segments.next_power_of_two() as usize)
        .expect("a directory is at most 8 MiB")
}

fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: no layout of this module has size zero: homes are at least one.
    let memory = unsafe { alloc(layout) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}

/// # Safety
/// `memory` was allocated with `old`, and is not used afterwards; `new` is not of size zero and has
/// the same alignment.
unsafe fn resize(memory: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    if old == new {
        return memory;
    }
    // SAFETY: as this function's contract says.
    let moved = unsafe { realloc(memory, old, new.size()) };
    if moved.is_null() {
        handle_alloc_error(new);
    }
    moved
}

impl Root {
    /// No homes.
    pub(super) const NONE: Root = Root(std::ptr::null_mut());

    /// The group of a home.
    ///
    /// # Safety
    /// There are `homes` homes, and `home` is one of them.
    #[inline]
    pub(super) unsafe fn group(&self, homes: u32, home: u32) -> *mut Group {
        debug_assert!(home < homes);
        if homes <= SEGMENT {
            // SAFETY: the array has at least `homes` groups.
            return unsafe { self.0.cast::<Group>().add(home as usize) };
        }
        // SAFETY: the directory has a segment for each 1024 homes.
        unsafe {
            let segment = *self.0.cast::<*mut Group>().add((home / SEGMENT) as usize);
            segment.add((home % SEGMENT) as usize)
        }
    }

    /// Where the array begins, if it is one.
    pub(super) fn array(&self, homes: u32) -> *const u8 {
        if homes <= SEGMENT { self.0 } else { std::ptr::null() }
    }

    /// Adds an empty home at the end.
    ///
    /// # Safety
    /// There are `homes` homes; from now on there is one more.
    pub(super) unsafe fn push(&mut self, homes: u32) {
        assert!(homes < HOMES_MAX, "a table of {homes} groups does not grow");
        // SAFETY (all below): layouts follow from the number of homes, which the caller knows, and
        // pointers are replaced as soon as they are moved.
        if homes == 0 {
            self.0 = allocate(groups_layout(1));
        } else if homes < SEGMENT {
            let (old, new) = (array_capacity(homes), array_capacity(homes + 1));
            self.0 = unsafe { resize(self.0, groups_layout(old), groups_layout(new)) };
        } else if homes.is_multiple_of(SEGMENT) {
            let segment = allocate(groups_layout(SEGMENT)).cast::<Group>();
            let count = segments(homes);
            let (old, new) = (directory_layout(count), directory_layout(count + 1));
            if count == 1 {
                let first = self.0.cast::<Group>();
                self.0 = allocate(new);
                unsafe { self.0.cast::<*mut Group>().write(first) };
            } else {
                self.0 = unsafe { resize(self.0, old, new) };
            }
            unsafe { self.0.cast::<*mut Group>().add(count as usize).write(segment) };
        }
        unsafe { self.group(homes + 1, homes).write(Group::EMPTY) };
    }

    /// Removes the last home.
    ///
    /// # Safety
    /// There are `homes` homes, at least one; from now on there is one fewer. The last one's chain
    /// has been freed.
    pub(super) unsafe fn pop(&mut self, homes: u32) {
        let left = homes - 1;
        // SAFETY (all below): as in `push`.
        if left == 0 {
            unsafe { dealloc(self.0, groups_layout(array_capacity(1))) };
            self.0 = std::ptr::null_mut();
        } else if left < SEGMENT {
            let (old, new) = (array_capacity(homes), array_capacity(left));
            self.0 = unsafe { resize(self.0, groups_layout(old), groups_layout(new)) };
        } else if left.is_multiple_of(SEGMENT) {
            let count = segments(homes);
            let directory = self.0.cast::<*mut Group>();
            let last = unsafe { *directory.add(count as usize - 1) };
            unsafe { dealloc(last.cast(), groups_layout(SEGMENT)) };
            let (old, new) = (directory_layout(count), directory_layout(count - 1));
            if left == SEGMENT {
                let first = unsafe { *directory };
                unsafe { dealloc(self.0, old) };
                self.0 = first.cast();
            } else {
                self.0 = unsafe { resize(self.0, old, new) };
            }
        }
    }

    /// Frees all homes, whose chains have been freed.
    ///
    /// # Safety
    /// There are `homes` homes; from now on there are none.
    pub(super) unsafe fn free(&mut self, homes: u32) {
        // SAFETY (all below): as in `push`.
        if homes > SEGMENT {
            let count = segments(homes);
            for index in 0..count as usize {
                let segment = unsafe { *self.0.cast::<*mut Group>().add(index) };
                unsafe { dealloc(segment.cast(), groups_layout(SEGMENT)) };
            }
            unsafe { dealloc(self.0, directory_layout(count)) };
        } else if homes > 0 {
            unsafe { dealloc(self.0, groups_layout(array_capacity(homes))) };
        }
        self.0 = std::ptr::null_mut();
    }

    /// Bytes of all this.
    pub(super) fn heap_bytes(homes: u32) -> usize {
        if homes <= SEGMENT {
            return array_capacity(homes) as usize * size_of::<Group>();
        }
        segments(homes) as usize * groups_layout(SEGMENT).size()
            + directory_layout(segments(homes)).size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_stay_where_they_are_while_others_come_and_go() {
        let mut root = Root::NONE;
        let top = 5 * SEGMENT + 3;
        let check = |root: &Root, homes: u32| {
            for home in [0, homes / 2, homes - 1] {
                // SAFETY: `home` is below `homes`.
                assert_eq!(unsafe { (*root.group(homes, home)).stamp() }, home as u16);
            }
        };
        // SAFETY (all below): the number of homes is counted exactly.
        for homes in 0..top {
            unsafe { root.push(homes) };
            unsafe { (*root.group(homes + 1, homes)).set_stamp(homes as u16) };
            check(&root, homes + 1);
        }
        for homes in (2..=top).rev() {
            unsafe { root.pop(homes) };
            check(&root, homes - 1);
        }
        unsafe { root.pop(1) };
        unsafe { root.free(0) };
    }
}
