//! A command's arguments: places in the buffer that they were read into.

use std::ops::Index;

/// Where one argument lies in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// How many bytes.
    pub len: u32,
}

/// The arguments of one command, name first, borrowed from the buffer they were read into.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments that lie at `spans` in `buffer`.
    ///
    /// # Panics
    /// Indexing panics later if a span lies outside the buffer.
    pub const fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Args { buffer, spans }
    }

    /// How many there are, the command's name included.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.bytes(*span))
    }

    /// All arguments from the one at `index` on; none if it lies beyond the end.
    #[must_use]
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { buffer: self.buffer, spans: self.spans.get(index..).unwrap_or(&[]) }
    }

    /// The arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + use<'a> {
        let buffer = self.buffer;
        self.spans
            .iter()
            .map(move |span| &buffer[span.start as usize..span.start as usize + span.len as usize])
    }

    /// How many bytes the arguments have together.
    pub fn bytes_total(&self) -> usize {
        self.spans.iter().map(|span| span.len as usize).sum()
    }

    fn bytes(&self, span: Span) -> &'a [u8] {
        &self.buffer[span.start as usize..span.start as usize + span.len as usize]
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.bytes(self.spans[index])
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

/// Arguments that own their bytes, for a command that outlives its read buffer (queued by `MULTI`,
/// set aside, received from a master).
#[derive(Debug, Clone, Default)]
pub struct OwnedArgs {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// The arguments, borrowed.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.buffer, &self.spans)
    }

    /// Appends one argument.
    pub fn push(&mut self, arg: &[u8]) {
        let span = Span { start: self.buffer.len() as u32, len: arg.len() as u32 };
        self.buffer.extend_from_slice(arg);
        self.spans.push(span);
    }
}

impl<'b> FromIterator<&'b [u8]> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = &'b [u8]>>(args: I) -> Self {
        let mut owned = OwnedArgs::default();
        args.into_iter().for_each(|arg| owned.push(arg));
        owned
    }
}

impl From<Args<'_>> for OwnedArgs {
    fn from(args: Args<'_>) -> Self {
        args.iter().collect()
    }
}
