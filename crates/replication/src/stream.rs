//! The master's stream as a replica takes it: whole commands and transactions, and the bytes they
//! came as.

use slotward_resp::{Args, CommandDecoder, Decoded, Limits, ProtocolError, Span};
use slotward_types::ReplOffset;

/// Bytes of a master that cannot be applied; the link is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StreamError {
    #[error("the master's stream is damaged: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the master's stream is damaged: byte {0:#04x} where a command begins")]
    NoCommand(u8),
    #[error("the master's stream selects database {0}, which this server does not have")]
    BadDatabase(String),
    #[error("the master's stream is damaged: {0} at the wrong place")]
    Misplaced(&'static str),
    #[error("the master's stream holds one transaction above {0} bytes")]
    TooLong(usize),
}

/// Limits of a stream: as long arguments as the master allowed, and a transaction as a whole.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Most bytes of one command or transaction.
    pub unit_bytes_max: usize,
    /// How many databases there are.
    pub databases: u16,
}

/// Finds commands and transactions in the master's stream, and tracks its database.
pub struct StreamParser {
    buffer: Vec<u8>,
    /// Where in the buffer the current unit begins.
    start: usize,
    /// Where in the buffer the next command begins.
    at: usize,
    /// The stream's offset at `start`.
    offset: u64,
    decoder: CommandDecoder,
    spans: Vec<Span>,
    /// The commands of the current unit: database and index after their last span.
    commands: Vec<(u16, usize)>,
    in_transaction: bool,
    /// Whether `spans` and `commands` are those of a unit that was given out.
    lent: bool,
    db: u16,
    ack_wanted: bool,
    limits: StreamLimits,
}

/// One command, or one transaction, that the replica applies as a whole. It may have no commands
/// (`SELECT`, `PING`), but its bytes count.
pub struct Unit<'p> {
    buffer: &'p [u8],
    bytes: &'p [u8],
    spans: &'p [Span],
    commands: &'p [(u16, usize)],
    /// The stream's offset after it.
    pub end: ReplOffset,
    /// The database that the stream is in after it.
    pub db: u16,
    /// Whether the master asks for an acknowledgement.
    pub ack_wanted: bool,
}

impl<'p> Unit<'p> {
    /// The bytes as the master sent them, `SELECT`, `MULTI` and `EXEC` included.
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }

    /// How many commands are to be applied.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether nothing is to be applied.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands to be applied, with the database of each.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = (u16, Args<'p>)> + use<'p> {
        let (buffer, spans, commands) = (self.buffer, self.spans, self.commands);
        (0..commands.len()).map(move |index| {
            let begin = if index == 0 { 0 } else { commands[index - 1].1 };
            let (db, end) = commands[index];
            (db, Args::new(buffer, &spans[begin..end]))
        })
    }
}

impl StreamParser {
    /// A parser for a stream that goes on at `offset`, in database `db`.
    pub fn new(offset: ReplOffset, db: u16, limits: StreamLimits) -> StreamParser {
        StreamParser {
            buffer: Vec::new(),
            start: 0,
            at: 0,
            offset: offset.0,
            decoder: CommandDecoder::default(),
            spans: Vec::new(),
            commands: Vec::new(),
            in_transaction: false,
            lent: false,
            db,
            ack_wanted: false,
            limits,
        }
    }

    /// Takes what was received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.end_loan();
        // Moving what is left pays off only once most of the buffer is done.
        if self.start == self.buffer.len() || self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.spans.iter_mut().for_each(|span| span.start -= self.start as u32);
            self.at -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn end_loan(&mut self) {
        if std::mem::replace(&mut self.lent, false) {
            self.spans.clear();
            self.commands.clear();
        }
    }

    /// The stream's offset up to which units were taken.
    pub fn offset(&self) -> ReplOffset {
        ReplOffset(self.offset)
    }

    /// The next whole unit; `None` if more bytes are needed.
    ///
    /// # Errors
    /// When the stream can never be applied from here on.
    pub fn next_unit(&mut self) -> Result<Option<Unit<'_>>, StreamError> {
        self.end_loan();
        loop {
            let Some(end) = self.next_command()? else { return Ok(None) };
            self.at = end;
            self.on_command()?;
            if !self.in_transaction {
                return Ok(Some(self.unit()));
            }
        }
    }

    /// Decodes one more command: the index after it, its spans at the end of `spans`.
    fn next_command(&mut self) -> Result<Option<usize>, StreamError> {
        let unit_bytes = self.buffer.len() - self.start;
        match self.buffer.get(self.at) {
            None => return Ok(None),
            Some(b'*') => {}
            // A master that is busy keeps the link alive with empty lines.
            Some(b'\n') => return Ok(Some(self.at + 1)),
            Some(other) => return Err(StreamError::NoCommand(*other)),
        }
        let max = self.limits.unit_bytes_max;
        let limits = Limits { bulk_bytes_max: max, args_max: 1 << 24, ..Limits::default() };
        match self.decoder.decode(&mut self.buffer, self.at, &mut self.spans, &limits)? {
            Decoded::Command { end } => Ok(Some(end)),
            Decoded::Incomplete { .. } if unit_bytes > max => Err(StreamError::TooLong(max)),
            Decoded::Incomplete { .. } => Ok(None),
        }
    }

    /// Looks at the command just decoded: control commands take effect here, others are kept.
    fn on_command(&mut self) -> Result<(), StreamError> {
        let begin = self.commands.last().map_or(0, |(_, end)| *end);
        let args = Args::new(&self.buffer, &self.spans[begin..]);
        let is =
            |name: &str| args.get(0).is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
        if args.is_empty() || is("ping") {
            // Nothing to apply.
        } else if is("select") {
            self.db = self.selected(args)?;
        } else if is("multi") {
            if std::mem::replace(&mut self.in_transaction, true) {
                return Err(StreamError::Misplaced("MULTI"));
            }
        } else if is("exec") {
            if !std::mem::replace(&mut self.in_transaction, false) {
                return Err(StreamError::Misplaced("EXEC"));
            }
        } else if is("replconf") {
            self.ack_wanted |= args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(b"getack"));
        } else {
            self.commands.push((self.db, self.spans.len()));
            return Ok(());
        }
        self.spans.truncate(begin);
        Ok(())
    }

    fn selected(&self, args: Args<'_>) -> Result<u16, StreamError> {
        let text = args.get(1).map(String::from_utf8_lossy).unwrap_or_default();
        let db = text.parse().ok().filter(|db| *db < self.limits.databases);
        db.ok_or_else(|| StreamError::BadDatabase(text.into_owned()))
    }

    fn unit(&mut self) -> Unit<'_> {
        self.lent = true;
        let bytes = &self.buffer[self.start..self.at];
        self.offset += bytes.len() as u64;
        self.start = self.at;
        Unit {
            buffer: &self.buffer,
            bytes,
            spans: &self.spans,
            commands: &self.commands,
            end: ReplOffset(self.offset),
            db: self.db,
            ack_wanted: std::mem::take(&mut self.ack_wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use slotward_resp::encode_command;

    const LIMITS: StreamLimits = StreamLimits { unit_bytes_max: 1 << 20, databases: 16 };

    fn encode(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            encode_command(&mut bytes, words);
        }
        bytes
    }

    /// Each unit as `db:command,…`, fed in pieces of `piece` bytes; checks that offsets add up.
    fn units(bytes: &[u8], piece: usize) -> Result<Vec<String>, StreamError> {
        let mut parser = StreamParser::new(ReplOffset(1000), 0, LIMITS);
        let (mut seen, mut verbatim) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            parser.feed(piece);
            while let Some(unit) = parser.next_unit()? {
                verbatim.extend_from_slice(unit.bytes());
                assert_eq!(unit.end.0, 1000 + verbatim.len() as u64);
                let words = |args: Args<'_>| {
                    let words: Vec<_> = args.iter().map(String::from_utf8_lossy).collect();
                    words.join(" ")
                };
                let mut text: Vec<String> =
                    unit.commands().map(|(db, args)| format!("{db}:{}", words(args))).collect();
                if unit.ack_wanted {
                    text.push("ack".to_owned());
                }
                seen.push(text.join(","));
            }
        }
        assert_eq!(verbatim, bytes[..verbatim.len()]);
        Ok(seen)
    }

    #[test]
    fn units_with_their_databases() {
        for (why, commands, want) in [
            ("plain commands", vec!["SET a 1", "DEL b"], vec!["0:SET a 1", "0:DEL b"]),
            ("a database", vec!["SELECT 3", "SET a 1"], vec!["", "3:SET a 1"]),
            (
                "signs of life have bytes, not effects",
                vec!["PING", "SET a 1"],
                vec!["", "0:SET a 1"],
            ),
            (
                "a transaction is one unit, whatever database it selects",
                vec!["MULTI", "SET a 1", "SELECT 2", "SET b 2", "EXEC", "DEL c"],
                vec!["0:SET a 1,2:SET b 2", "2:DEL c"],
            ),
            ("an acknowledgement asked for", vec!["REPLCONF GETACK *"], vec!["ack"]),
            ("half a transaction waits", vec!["MULTI", "SET a 1"], vec![]),
        ] {
            let bytes = encode(&commands);
            for piece in [1, 2, 7, 1000] {
                assert_eq!(units(&bytes, piece).unwrap(), want, "{why}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_cannot_be_applied_is_named() {
        let database = || StreamError::BadDatabase("16".to_owned());
        for (bytes, want) in [
            (encode(&["SELECT 16"]), database()),
            (encode(&["EXEC"]), StreamError::Misplaced("EXEC")),
            (encode(&["MULTI", "MULTI"]), StreamError::Misplaced("MULTI")),
            (b"SET a b\r\n".to_vec(), StreamError::NoCommand(b'S')),
        ] {
            assert_eq!(units(&bytes, 64), Err(want));
        }
        let endless = encode(&["MULTI"]).into_iter().chain(encode(&["SET a 1"]).repeat(50_000));
        assert_eq!(units(&endless.collect::<Vec<_>>(), 4096), Err(StreamError::TooLong(1 << 20)));
    }

    #[test]
    fn empty_lines_count_as_bytes() {
        let mut bytes = b"\n".to_vec();
        bytes.extend(encode(&["SET a 1"]));
        assert_eq!(units(&bytes, 3).unwrap(), ["", "0:SET a 1"]);
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in prop::collection::vec(prop::sample::select(&b"*$012\r\nSEMULTI"[..]), 0..80)) {
            let _ = units(&noise, 5);
        }
    }
}
