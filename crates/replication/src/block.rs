//! A fixed piece of the log that one thread appends to while others read it.
//!
//! The bytes live in atomic words, so that a reader may copy what was published while the word that
//! holds the last of it is being filled further: a word only ever gains bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many bytes a block holds.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
const WORD: usize = size_of::<u64>();

/// `BLOCK_BYTES` bytes from offset `start` of the stream.
pub(crate) struct Block {
    pub(crate) start: u64,
    words: Box<[AtomicU64]>,
}

impl Block {
    pub(crate) fn new(start: u64) -> Block {
        Block { start, words: (0..BLOCK_BYTES / WORD).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The same memory for another place in the stream. Nobody else may hold the block.
    pub(crate) fn reuse(&mut self, start: u64) {
        self.start = start;
        self.words.iter_mut().for_each(|word| *word.get_mut() = 0);
    }

    /// Offset after the block's last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + BLOCK_BYTES as u64
    }

    /// Stores `bytes` at `at`, which must be where the last call ended. One thread at a time; the
    /// caller publishes the new end (with release ordering) afterwards.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= BLOCK_BYTES, "an append is cut at the end of a block");
        let head_len = (at.wrapping_neg() % WORD).min(bytes.len());
        let (head, rest) = bytes.split_at(head_len);
        self.merge(at, head);
        let (words, tail) = rest.as_chunks::<WORD>();
        let at = at + head_len;
        for (place, word) in self.words[at / WORD..].iter().zip(words) {
            place.store(u64::from_le_bytes(*word), Relaxed);
        }
        self.merge(at + words.len() * WORD, tail);
    }

    /// Adds fewer bytes than a word has to the word that `at` lies in.
    fn merge(&self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut word = [0; WORD];
        word[at % WORD..][..bytes.len()].copy_from_slice(bytes);
        let place = &self.words[at / WORD];
        place.store(place.load(Relaxed) | u64::from_le_bytes(word), Relaxed);
    }

    /// Appends the bytes from `from` to `to` to `out`. They must have been published.
    pub(crate) fn copy_to(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        assert!(from <= to && to <= BLOCK_BYTES, "the range lies in the block");
        let word = |index: usize| self.words[index].load(Relaxed).to_le_bytes();
        let first_whole = from.next_multiple_of(WORD).min(to);
        if from < first_whole {
            out.extend_from_slice(&word(from / WORD)[from % WORD..][..first_whole - from]);
        }
        let (begin, end) = (first_whole / WORD, (to / WORD).max(first_whole / WORD));
        let copied = out.len();
        out.resize(copied + (end - begin) * WORD, 0);
        let (places, _) = out[copied..].as_chunks_mut::<WORD>();
        for (place, word) in places.iter_mut().zip(&self.words[begin..end]) {
            *place = word.load(Relaxed).to_le_bytes();
        }
        if end * WORD >= first_whole && end * WORD < to {
            out.extend_from_slice(&word(end)[..to - end * WORD]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_range_reads_back(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..40),
            from: prop::sample::Index,
            to: prop::sample::Index,
        ) {
            let block = Block::new(1000);
            let whole = pieces.concat();
            let mut at = 0;
            for piece in &pieces {
                block.store(at, piece);
                at += piece.len();
            }
            let (a, b) = (from.index(whole.len() + 1), to.index(whole.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let mut out = b"before".to_vec();
            block.copy_to(from, to, &mut out);
            prop_assert_eq!(&out[..6], b"before");
            prop_assert_eq!(&out[6..], &whole[from..to]);
        }
    }
}
