//! Rows of one width, in pieces of memory: growth moves nothing that is there.

/// About how large a piece is. A row that is larger is a piece of its own.
const PIECE_BYTES: usize = 64 << 10;

/// Rows by number. A removed row's number goes to the last one, so there are no holes.
pub(super) struct Rows<T> {
    pieces: Vec<Vec<T>>,
    width: usize,
    /// A piece has two to this power rows.
    shift: u32,
    len: usize,
    /// What the pieces have allocated.
    bytes: usize,
}

impl<T: Clone> Clone for Rows<T> {
    fn clone(&self) -> Self {
        let pieces = self.pieces.clone();
        let bytes = pieces.iter().map(Self::piece_bytes).sum();
        Rows { pieces, bytes, ..*self }
    }
}

impl<T> Rows<T> {
    /// No rows, each of `width` elements.
    pub(super) fn new(width: usize) -> Rows<T> {
        assert!(width > 0, "a row has elements");
        let rows = (PIECE_BYTES / (width * size_of::<T>())).max(1);
        Rows { pieces: Vec::new(), width, shift: rows.ilog2(), len: 0, bytes: 0 }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What the rows have allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + self.pieces.capacity() * size_of::<Vec<T>>()
    }

    fn piece_bytes(piece: &Vec<T>) -> usize {
        piece.capacity() * size_of::<T>()
    }

    /// In which piece a row is, and where.
    #[inline]
    fn place(&self, row: usize) -> (usize, usize) {
        (row >> self.shift, (row & ((1 << self.shift) - 1)) * self.width)
    }

    /// The row of this number.
    #[inline]
    pub(super) fn row(&self, row: usize) -> &[T] {
        let (piece, at) = self.place(row);
        &self.pieces[piece][at..at + self.width]
    }

    /// The row of this number, to change it.
    #[inline]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [T] {
        let (piece, at) = self.place(row);
        &mut self.pieces[piece][at..at + self.width]
    }

    /// Adds a row of these elements.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = T>) {
        let (index, at) = self.place(self.len);
        let full = self.width << self.shift;
        if index == self.pieces.len() {
            self.pieces.push(Vec::new());
        }
        let piece = &mut self.pieces[index];
        debug_assert_eq!(piece.len(), at);
        self.bytes -= Self::piece_bytes(piece);
        if piece.capacity() < at + self.width {
            // The first piece grows with what is in it; later ones are made whole.
            let capacity = if index == 0 { (2 * at).clamp(self.width, full) } else { full };
            piece.reserve_exact(capacity - at);
        }
        piece.extend(row);
        assert_eq!(piece.len(), at + self.width, "a row has its width");
        self.bytes += Self::piece_bytes(piece);
        self.len += 1;
    }

    /// Removes a row; the last one gets its number.
    pub(super) fn swap_remove(&mut self, row: usize) {
        let last = self.len - 1;
        let ((piece, at), (last_piece, last_at)) = (self.place(row), self.place(last));
        if piece == last_piece {
            let (head, tail) = self.pieces[piece].split_at_mut(last_at);
            if row != last {
                head[at..at + self.width].swap_with_slice(tail);
            }
        } else {
            let (head, tail) = self.pieces.split_at_mut(last_piece);
            head[piece][at..at + self.width].swap_with_slice(&mut tail[0][last_at..]);
        }
        self.len = last;
        let piece = &mut self.pieces[last_piece];
        self.bytes -= Self::piece_bytes(piece);
        piece.truncate(last_at);
        if last_at == 0 {
            self.pieces.pop();
            return;
        }
        if piece.capacity() > 4 * last_at {
            piece.shrink_to(2 * last_at);
        }
        self.bytes += Self::piece_bytes(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_those_of_a_plain_vector(
            width in prop::sample::select(vec![1usize, 3, 1000, 20_000]),
            steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 0..150),
        ) {
            let mut rows = Rows::new(width);
            let mut model: Vec<u32> = Vec::new();
            for (number, (step, index)) in steps.into_iter().enumerate() {
                if step == 0 && !model.is_empty() {
                    let at = index.index(model.len());
                    rows.swap_remove(at);
                    model.swap_remove(at);
                } else {
                    rows.push(std::iter::repeat_n(number as u32, width));
                    model.push(number as u32);
                }
                prop_assert_eq!(rows.len(), model.len());
            }
            for (index, number) in model.iter().enumerate() {
                prop_assert!(rows.row(index).iter().all(|element| element == number));
            }
            let copy = rows.clone();
            let allocated: usize = copy.pieces.iter().map(|piece| piece.capacity() * 4).sum();
            prop_assert_eq!(copy.bytes, allocated);
            for _ in 0..model.len() {
                rows.swap_remove(0);
            }
            prop_assert_eq!(rows.bytes, 0);
        }
    }
}
