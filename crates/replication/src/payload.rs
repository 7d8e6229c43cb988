//! What a master sends after it granted a synchronisation: the RDB in one of two framings, and, in a
//! managed shard, the frames that keep stamps apart from the stream.

use memchr::memmem;

const MARK_BYTES: usize = 40;

/// How the end of the RDB is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// It has this many bytes.
    Length(u64),
    /// These bytes follow it; they were chosen at random.
    Mark([u8; MARK_BYTES]),
}

impl Framing {
    /// The framing that the line `$…` announces, without its line end.
    pub fn parse(line: &[u8]) -> Option<Framing> {
        let rest = line.strip_prefix(b"$")?;
        match rest.strip_prefix(b"EOF:") {
            Some(mark) => Some(Framing::Mark(mark.try_into().ok()?)),
            None => Some(Framing::Length(std::str::from_utf8(rest).ok()?.parse().ok()?)),
        }
    }
}

/// Takes the RDB out of what is received.
pub struct Payload {
    framing: Framing,
    /// Bytes that may be the beginning of the mark.
    held: Vec<u8>,
    /// How many bytes were passed on.
    passed: u64,
}

/// How far a [`Payload`] came with some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum PayloadProgress {
    /// All of them were of the payload; more follow.
    More,
    /// The payload is complete; the bytes from this index on come after it.
    Done {
        /// Index of the first byte after the payload and its mark.
        rest: usize,
    },
}

impl Payload {
    /// Nothing received yet.
    pub fn new(framing: Framing) -> Payload {
        Payload { framing, held: Vec::new(), passed: 0 }
    }

    /// How many bytes of the RDB were received.
    pub fn received(&self) -> u64 {
        self.passed
    }

    /// Appends the part of `bytes` that is RDB to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> PayloadProgress {
        let before = out.len();
        let progress = match &self.framing {
            Framing::Length(length) => {
                let left = length - self.passed;
                let part = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                out.extend_from_slice(&bytes[..part]);
                if part as u64 == left {
                    PayloadProgress::Done { rest: part }
                } else {
                    PayloadProgress::More
                }
            }
            Framing::Mark(mark) => {
                let held_before = self.held.len();
                self.held.extend_from_slice(bytes);
                match memmem::find(&self.held, mark) {
                    Some(at) => {
                        out.extend_from_slice(&self.held[..at]);
                        self.held.clear();
                        PayloadProgress::Done { rest: at + MARK_BYTES - held_before }
                    }
                    None => {
                        // Fewer bytes than the mark has may be its beginning.
                        let sure = self.held.len().saturating_sub(MARK_BYTES - 1);
                        out.extend(self.held.drain(..sure));
                        PayloadProgress::More
                    }
                }
            }
        };
        self.passed += (out.len() - before) as u64;
        progress
    }
}

/// What travels from master to replica in a managed shard, once the RDB or `CONTINUE` is through.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent<'b> {
    /// Bytes of the stream, verbatim.
    Stream(&'b [u8]),
    /// A reading of the master's clock, to be echoed with an acknowledgement that is also a promise
    /// for a lease of this length.
    Stamp {
        /// The master's clock when it sent, in milliseconds.
        sent: u64,
        /// The lease that it counts on, in milliseconds.
        lease: u64,
    },
}

/// Bytes that are no frame; the link is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master's link is damaged: {0:#04x} where a frame begins")]
pub struct BadFrame(pub u8);

const FRAME_STREAM: u8 = b'D';
const FRAME_STAMP: u8 = b'H';
/// Bytes of a stream frame's header: its kind and four bytes of length.
pub const STREAM_FRAME_HEADER_BYTES: usize = 5;

/// Makes room for a stream frame's header at the end of `out`; the stream's bytes follow it there.
/// Gives the place for [`end_stream_frame`].
pub fn begin_stream_frame(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[FRAME_STREAM, 0, 0, 0, 0]);
    out.len()
}

/// Writes the length of the frame whose stream bytes begin at `begin`.
pub fn end_stream_frame(out: &mut [u8], begin: usize) {
    let len = u32::try_from(out.len() - begin).expect("a frame is below 4 GiB");
    out[begin - 4..begin].copy_from_slice(&len.to_be_bytes());
}

/// Appends a frame with a stamp.
pub fn push_stamp_frame(out: &mut Vec<u8>, sent: u64, lease: u64) {
    out.push(FRAME_STAMP);
    out.extend_from_slice(&sent.to_be_bytes());
    out.extend_from_slice(&lease.to_be_bytes());
}

/// Takes frames apart as they arrive.
#[derive(Default)]
pub struct Frames {
    /// Bytes still to come of a begun stream frame.
    stream_left: usize,
    /// The beginning of a frame whose header is not complete.
    header: Vec<u8>,
}

impl Frames {
    /// Calls `visit` with what `bytes` complete, in order. Bytes of the stream are passed on as they
    /// arrive, not only when their frame is whole.
    ///
    /// # Errors
    /// When the bytes are no frames.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut visit: impl FnMut(LinkEvent<'_>),
    ) -> Result<(), BadFrame> {
        while !bytes.is_empty() {
            if self.stream_left > 0 {
                let (part, rest) = bytes.split_at(self.stream_left.min(bytes.len()));
                visit(LinkEvent::Stream(part));
                self.stream_left -= part.len();
                bytes = rest;
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            match self.header[..] {
                [FRAME_STREAM, a, b, c, d] => {
                    self.stream_left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.header.clear();
                }
                [FRAME_STAMP, ref stamp @ ..] => {
                    if let ([sent, lease], []) = stamp.as_chunks::<8>() {
                        let (sent, lease) = (u64::from_be_bytes(*sent), u64::from_be_bytes(*lease));
                        visit(LinkEvent::Stamp { sent, lease });
                        self.header.clear();
                    }
                }
                [FRAME_STREAM, ..] => {}
                _ => return Err(BadFrame(self.header[0])),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: [u8; 40] = *b"0123456789abcdef0123456789abcdefXXXXXXXX";

    fn received(framing: &Framing, bytes: &[u8], piece: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut payload, mut out) = (Payload::new(framing.clone()), Vec::new());
        let mut at = 0;
        for piece in bytes.chunks(piece) {
            if let PayloadProgress::Done { rest } = payload.feed(piece, &mut out) {
                assert_eq!(payload.received(), out.len() as u64);
                return Some((out, bytes[at + rest..].to_vec()));
            }
            at += piece.len();
        }
        None
    }

    #[test]
    fn the_line_before_the_payload() {
        for (line, want) in [
            ("$123", Some(Framing::Length(123))),
            ("$EOF:0123456789abcdef0123456789abcdefXXXXXXXX", Some(Framing::Mark(MARK))),
            ("$EOF:short", None),
            ("$-1", None),
            ("+OK", None),
        ] {
            assert_eq!(Framing::parse(line.as_bytes()), want, "{line}");
        }
    }

    proptest! {
        #[test]
        fn the_payload_ends_where_it_ends(
            rdb in prop::collection::vec(prop::sample::select(&MARK[..]), 0..200),
            rest in prop::collection::vec(any::<u8>(), 0..50),
            piece in 1usize..60,
        ) {
            for framing in [Framing::Length(rdb.len() as u64), Framing::Mark(MARK)] {
                let mut bytes = rdb.clone();
                if framing == Framing::Mark(MARK) {
                    bytes.extend_from_slice(&MARK);
                }
                bytes.extend_from_slice(&rest);
                let got = received(&framing, &bytes, piece);
                if bytes.is_empty() {
                    continue;
                }
                prop_assert_eq!(got, Some((rdb.clone(), rest.clone())));
            }
        }

        #[test]
        fn frames_come_apart_as_they_were_put_together(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10),
            piece in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for (stamp, part) in parts.iter().enumerate() {
                let begin = begin_stream_frame(&mut bytes);
                bytes.extend_from_slice(part);
                end_stream_frame(&mut bytes, begin);
                push_stamp_frame(&mut bytes, stamp as u64, 1000);
            }
            let (mut frames, mut stream, mut stamps) = (Frames::default(), Vec::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                frames.feed(piece, |event| match event {
                    LinkEvent::Stream(bytes) => stream.extend_from_slice(bytes),
                    LinkEvent::Stamp { sent, lease: 1000 } => stamps.push(sent),
                    LinkEvent::Stamp { .. } => panic!("another lease"),
                }).unwrap();
            }
            prop_assert_eq!(stream, parts.concat());
            prop_assert_eq!(stamps, (0..parts.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frames::default().feed(b"*1\r\n", |_| {}), Err(BadFrame(b'*')));
    }
}
