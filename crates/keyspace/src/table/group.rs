//! A group: one cache line with eight entries, their tags, a link and a stamp.
//!
//! ```text
//! byte  0..8   tags: 0 = empty, else from the hash's high bits
//!       8..56  eight references of 48 bits
//!      56..62  link to the next group of the chain, 48 bits, 0 = none
//!      62..64  stamp (of the chain, kept in its first group)
//! ```

/// Entries in a group.
pub(super) const WIDTH: usize = 8;

/// References fit 48 bits: user addresses of every 64-bit system we run on.
const REF_MASK: u64 = (1 << 48) - 1;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

#[repr(C, align(64))]
pub(super) struct Group {
    tags: [u8; WIDTH],
    refs: [[u8; 6]; WIDTH],
    /// Link in the low 48 bits, stamp in the high 16, little endian.
    tail: [u8; 8],
}

const _: () = assert!(size_of::<Group>() == 64);

/// The tag of a hash: its high byte, never 0.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// Positions in a group, as bits 7, 15, 23… of a word.
#[derive(Clone, Copy)]
pub(super) struct Positions(u64);

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let position = (self.0.trailing_zeros() / 8) as usize;
        self.0 &= self.0 - 1;
        Some(position)
    }
}

impl Group {
    pub(super) const EMPTY: Group = Group { tags: [0; WIDTH], refs: [[0; 6]; WIDTH], tail: [0; 8] };

    #[inline]
    fn tag_word(&self) -> u64 {
        u64::from_le_bytes(self.tags)
    }

    /// Positions that may hold this tag: all that do, and rarely one that does not.
    #[inline]
    pub(super) fn candidates(&self, tag: u8) -> Positions {
        let differing = self.tag_word() ^ (LOW_BITS * u64::from(tag));
        Positions(differing.wrapping_sub(LOW_BITS) & !differing & HIGH_BITS)
    }

    /// Exactly the positions in use.
    #[inline]
    pub(super) fn occupied(&self) -> Positions {
        let tags = self.tag_word();
        Positions((((tags & !HIGH_BITS) + !HIGH_BITS) | tags) & HIGH_BITS)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.occupied().0.count_ones() as usize
    }

    /// The first free position.
    #[inline]
    pub(super) fn vacancy(&self) -> Option<usize> {
        Positions(!self.occupied().0 & HIGH_BITS).next()
    }

    #[inline]
    pub(super) fn tag(&self, position: usize) -> u8 {
        self.tags[position]
    }

    #[inline]
    pub(super) fn raw(&self, position: usize) -> u64 {
        let bytes = &self.refs[position];
        let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let high = u16::from_le_bytes([bytes[4], bytes[5]]);
        u64::from(low) | u64::from(high) << 32
    }

    #[inline]
    pub(super) fn put(&mut self, position: usize, tag: u8, raw: u64) {
        assert!(raw & !REF_MASK == 0, "a reference of more than 48 bits: {raw:#x}");
        self.tags[position] = tag;
        self.refs[position].copy_from_slice(&raw.to_le_bytes()[..6]);
    }

    #[inline]
    pub(super) fn clear(&mut self, position: usize) {
        self.tags[position] = 0;
    }

    #[inline]
    pub(super) fn link(&self) -> *mut Group {
        let address = u64::from_le_bytes(self.tail) & REF_MASK;
        std::ptr::with_exposed_provenance_mut(address as usize)
    }

    pub(super) fn set_link(&mut self, link: *mut Group) {
        let address = link.expose_provenance() as u64;
        assert!(address & !REF_MASK == 0, "an address of more than 48 bits: {address:#x}");
        let stamp = u64::from_le_bytes(self.tail) & !REF_MASK;
        self.tail = (address | stamp).to_le_bytes();
    }

    #[inline]
    pub(super) fn stamp(&self) -> u16 {
        u16::from_le_bytes([self.tail[6], self.tail[7]])
    }

    #[inline]
    pub(super) fn set_stamp(&mut self, stamp: u16) {
        self.tail[6..].copy_from_slice(&stamp.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_what_was_put() {
        let mut group = Group::EMPTY;
        group.set_stamp(0xabcd);
        for position in 0..WIDTH {
            assert_eq!(group.vacancy(), Some(position));
            group.put(
                position,
                [1, 0x80, 0xff, 2, 1, 0x7f, 0x81, 3][position],
                1 << 40 | position as u64,
            );
        }
        assert_eq!(group.vacancy(), None);
        assert_eq!(group.len(), 8);
        for position in 0..WIDTH {
            assert!(group.candidates(group.tag(position)).any(|found| found == position));
            assert_eq!(group.raw(position), 1 << 40 | position as u64);
        }
        group.clear(3);
        assert_eq!(group.vacancy(), Some(3));
        assert_eq!(group.occupied().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7]);
        assert_eq!(group.stamp(), 0xabcd, "entries do not touch the stamp");
        assert!(group.link().is_null());
    }
}
