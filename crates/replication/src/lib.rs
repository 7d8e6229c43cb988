//! The shard's byte stream: who has how much of it, and who may continue it.
//!
//! Owns the [`Log`] of a node's effects with its offsets, names ([`History`]) and readers; the
//! grammar of the link between master and replica on both sides ([`Handshake`], [`Peer`],
//! [`Payload`], [`Frames`], [`StreamParser`]). Sockets, the data set and time are the server's.
//!
//! **Invariants:** a position (history id, offset) names one exact sequence of bytes; a replica keeps
//! its master's bytes verbatim, so that offsets are common to the shard; the log never delays a
//! write: a reader that falls too far behind starts over instead.

mod batch;
mod block;
mod handshake;
mod history;
mod log;
mod payload;
mod peer;
mod reader;
mod stream;

pub use batch::{Batch, Target};
pub use handshake::{Granted, Handshake, HandshakeError, Introduction, Member};
pub use history::{History, Resume};
pub use log::{Frame, Log, LogStatus, Retention, StreamPoint};
pub use payload::{
    BadFrame, Frames, Framing, LinkEvent, Payload, PayloadProgress, STREAM_FRAME_HEADER_BYTES,
    begin_stream_frame, end_stream_frame, push_stamp_frame,
};
pub use peer::{Peer, Replconf, parse_psync};
pub use reader::{LogReader, ReaderLost};
pub use stream::{StreamError, StreamLimits, StreamParser, Unit};
