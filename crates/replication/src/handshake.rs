//! The replica's side of the handshake: what it says, what it makes of the answers.
//!
//! Every answer is one line. Everything but `PSYNC` is sent at once; `PSYNC` only when the answers
//! allow it.

use slotward_resp::encode_command;
use slotward_types::{Epoch, Incarnation, NodeId, ReplId, ReplOffset};

use crate::history::Resume;
use crate::payload::Framing;

/// A member of a managed shard, as it presents itself on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// The shard's epoch that it follows.
    pub epoch: Epoch,
}

impl Member {
    /// How a master of a managed shard answers a member.
    pub(crate) fn greeting(&self) -> String {
        format!("+SLOTWARD {} {} {}", self.node, self.incarnation.0, self.epoch)
    }
}

/// What a replica tells its master.
#[derive(Debug, Clone, Default)]
pub struct Introduction {
    /// The user to authenticate as (`masteruser`).
    pub user: Option<Vec<u8>>,
    /// The password (`masterauth`).
    pub password: Option<Vec<u8>>,
    /// The port that clients of this replica use.
    pub listening_port: u16,
    /// The address to be shown instead of the connection's.
    pub announced_ip: Option<String>,
    /// Who it is in the sentinels' eyes, if they manage the shard, and who it takes the master for.
    pub member: Option<(Member, Member)>,
    /// What it has, if it has something to go on from.
    pub resume: Option<Resume>,
}

/// What the master granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// The whole data set as of `offset` follows in this framing, and then the stream.
    Full {
        /// The master's history.
        id: ReplId,
        /// Where the stream goes on after the data set.
        offset: ReplOffset,
        /// How the data set ends.
        framing: Framing,
    },
    /// The stream goes on where the replica left off.
    Continue {
        /// The master's history, if it told one: it may be a new name.
        id: Option<ReplId>,
    },
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum HandshakeError {
    #[error("the master refused the password: {0}")]
    Authentication(String),
    #[error("the master is of another epoch: {0}")]
    StaleEpoch(String),
    #[error("the master is no member of a managed shard: {0}")]
    Unmanaged(String),
    #[error("another node than the master is at its address: {0}")]
    OtherMaster(String),
    #[error("the master cannot serve yet: {0}")]
    NotYet(String),
    #[error("the master refused: {0}")]
    Refused(String),
    #[error("the master answered what makes no sense: {0}")]
    Nonsense(String),
}

/// Which answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Pong,
    Authenticated,
    /// An answer whose content does not matter: an older master may not know the option.
    Any,
    Membership,
    Sync,
    Payload,
}

/// A handshake under way.
pub struct Handshake {
    introduction: Introduction,
    /// What is still to come before `PSYNC`, last first.
    awaited: Vec<Awaited>,
    full: Option<(ReplId, ReplOffset)>,
}

impl Handshake {
    /// Begins: appends what is to be sent first to `out`.
    pub fn begin(introduction: Introduction, out: &mut Vec<u8>) -> Handshake {
        let mut awaited = Vec::new();
        let mut say = |awaits: Awaited, words: &[&[u8]]| {
            encode_command(out, words.iter().copied());
            awaited.push(awaits);
        };
        say(Awaited::Pong, &[b"PING"]);
        match (&introduction.user, &introduction.password) {
            (Some(user), Some(password)) => {
                say(Awaited::Authenticated, &[b"AUTH", user, password]);
            }
            (None, Some(password)) => say(Awaited::Authenticated, &[b"AUTH", password]),
            (_, None) => {}
        }
        let port = introduction.listening_port.to_string();
        say(Awaited::Any, &[b"REPLCONF", b"listening-port", port.as_bytes()]);
        if let Some(ip) = &introduction.announced_ip {
            say(Awaited::Any, &[b"REPLCONF", b"ip-address", ip.as_bytes()]);
        }
        say(Awaited::Any, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        if let Some((member, _)) = &introduction.member {
            let (node, incarnation, epoch) = (
                member.node.to_string(),
                member.incarnation.0.to_string(),
                member.epoch.to_string(),
            );
            let words = ["REPLCONF", "slotward-node", &node, "slotward-incarnation", &incarnation];
            let words = words.into_iter().chain(["slotward-epoch", &epoch]).map(str::as_bytes);
            say(Awaited::Membership, &words.collect::<Vec<_>>());
        }
        awaited.reverse();
        Handshake { introduction, awaited, full: None }
    }

    /// Takes the next line of the master, without its line end; appends what is to be sent then to
    /// `out`.
    ///
    /// # Errors
    /// When the master does not grant a synchronisation.
    pub fn on_line(
        &mut self,
        line: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Granted>, HandshakeError> {
        // A master that prepares a snapshot keeps the link alive with empty lines.
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(line).into_owned();
        match self.awaited.pop().unwrap_or(Awaited::Sync) {
            Awaited::Pong => check_pong(text)?,
            Awaited::Authenticated if line[0] == b'-' => {
                return Err(HandshakeError::Authentication(text));
            }
            Awaited::Authenticated | Awaited::Any => {}
            Awaited::Membership => self.check_master(text)?,
            Awaited::Sync => return self.on_sync(text),
            Awaited::Payload => return self.on_payload(line, text).map(Some),
        }
        if self.awaited.is_empty() {
            self.say_psync(out);
            self.awaited.push(Awaited::Sync);
        }
        Ok(None)
    }

    /// The master presents itself too: at an address may live another node than one thinks, or
    /// another run of it.
    fn check_master(&self, text: String) -> Result<(), HandshakeError> {
        let Some((_, master)) = &self.introduction.member else {
            return Err(HandshakeError::Nonsense(text));
        };
        if text.starts_with("-STALEEPOCH") {
            Err(HandshakeError::StaleEpoch(text))
        } else if text.starts_with('-') {
            Err(HandshakeError::Unmanaged(text))
        } else if text == master.greeting() {
            Ok(())
        } else {
            Err(HandshakeError::OtherMaster(text))
        }
    }

    fn say_psync(&self, out: &mut Vec<u8>) {
        let (id, offset) = match self.introduction.resume {
            // The protocol counts from one: it names the first byte wanted.
            Some(resume) => (resume.id.to_string(), (resume.next.0 + 1).to_string()),
            None => ("?".to_owned(), "-1".to_owned()),
        };
        encode_command(out, [&b"PSYNC"[..], id.as_bytes(), offset.as_bytes()]);
    }

    fn on_sync(&mut self, text: String) -> Result<Option<Granted>, HandshakeError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            ["+FULLRESYNC", id, offset] => {
                let (Ok(id), Ok(offset)) = (id.parse(), offset.parse()) else {
                    return Err(HandshakeError::Nonsense(text));
                };
                self.full = Some((id, ReplOffset(offset)));
                self.awaited.push(Awaited::Payload);
                Ok(None)
            }
            ["+CONTINUE", ref id @ ..] if self.introduction.resume.is_some() => {
                let id = match id.first().map(|id| id.parse()) {
                    None => None,
                    Some(Ok(id)) => Some(id),
                    Some(Err(_)) => return Err(HandshakeError::Nonsense(text)),
                };
                Ok(Some(Granted::Continue { id }))
            }
            ["-NOMASTERLINK" | "-LOADING" | "-MASTERDOWN", ..] => Err(HandshakeError::NotYet(text)),
            [first, ..] if first.starts_with('-') => Err(HandshakeError::Refused(text)),
            _ => Err(HandshakeError::Nonsense(text)),
        }
    }

    fn on_payload(&mut self, line: &[u8], text: String) -> Result<Granted, HandshakeError> {
        if line[0] == b'-' {
            return Err(HandshakeError::Refused(text));
        }
        let framing = Framing::parse(line).ok_or(HandshakeError::Nonsense(text))?;
        let (id, offset) = self.full.expect("a payload is awaited only after FULLRESYNC");
        Ok(Granted::Full { id, offset, framing })
    }
}

fn check_pong(text: String) -> Result<(), HandshakeError> {
    let asks_password = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
    if text.starts_with('+') || asks_password.iter().any(|prefix| text.starts_with(prefix)) {
        Ok(())
    } else if text.starts_with("-LOADING") || text.starts_with("-MASTERDOWN") {
        Err(HandshakeError::NotYet(text))
    } else {
        Err(HandshakeError::Refused(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0101010101010101010101010101010101010101";

    fn resume() -> Resume {
        Resume { id: ID.parse().unwrap(), next: ReplOffset(99) }
    }

    fn talk(
        introduction: Introduction,
        lines: &[&str],
    ) -> (String, Result<Option<Granted>, HandshakeError>) {
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(introduction, &mut out);
        let mut last = Ok(None);
        for line in lines {
            last = handshake.on_line(line.as_bytes(), &mut out);
            if last.is_err() {
                break;
            }
        }
        (String::from_utf8(out).unwrap(), last)
    }

    #[test]
    fn a_first_synchronisation() {
        let fullresync = format!("+FULLRESYNC {ID} 70");
        let lines = ["+PONG", "+OK", "+OK", &fullresync, "", "$120"];
        let (said, got) = talk(Introduction { listening_port: 7001, ..Default::default() }, &lines);
        assert!(said.contains("listening-port\r\n$4\r\n7001"), "{said}");
        assert!(said.ends_with("*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"), "{said}");
        let (id, offset, framing) = (resume().id, ReplOffset(70), Framing::Length(120));
        assert_eq!(got, Ok(Some(Granted::Full { id, offset, framing })));
    }

    #[test]
    fn going_on_in_a_managed_shard() {
        let member = Member {
            node: NodeId::from_bytes([7; 20]),
            incarnation: Incarnation(3),
            epoch: Epoch(5),
        };
        let master =
            Member { node: NodeId::from_bytes([8; 20]), incarnation: Incarnation(1), ..member };
        let greeting = master.greeting();
        let introduction = Introduction {
            password: Some(b"secret".to_vec()),
            member: Some((member, master)),
            resume: Some(resume()),
            ..Default::default()
        };
        let granted = format!("+CONTINUE {ID}");
        let lines = ["-NOAUTH Authentication required.", "+OK", "+OK", "+OK"];
        let lines = [&lines[..], &[greeting.as_str(), &granted]].concat();
        let (said, got) = talk(introduction.clone(), &lines);
        assert!(said.contains("AUTH\r\n$6\r\nsecret"), "{said}");
        assert!(said.contains("slotward-epoch\r\n$1\r\n5\r\n"), "{said}");
        assert!(
            said.ends_with(&format!("{ID}\r\n$3\r\n100\r\n")),
            "it names the first byte wanted"
        );
        assert_eq!(got, Ok(Some(Granted::Continue { id: Some(resume().id) })));

        let restarted = Member { incarnation: Incarnation(2), ..master }.greeting();
        for (answer, want) in [
            ("-STALEEPOCH 6", HandshakeError::StaleEpoch("-STALEEPOCH 6".to_owned())),
            ("-ERR what", HandshakeError::Unmanaged("-ERR what".to_owned())),
            (&restarted, HandshakeError::OtherMaster(restarted.clone())),
        ] {
            let lines = ["+PONG", "+OK", "+OK", "+OK", answer];
            let (said, got) = talk(introduction.clone(), &lines);
            assert!(!said.contains("PSYNC"), "nothing is asked for after {answer}");
            assert_eq!(got, Err(want));
        }
    }

    #[test]
    fn refusals_have_names() {
        let text = |text: &str| text.to_owned();
        for (lines, want) in [
            (vec!["-LOADING x"], HandshakeError::NotYet(text("-LOADING x"))),
            (vec!["-ERR x"], HandshakeError::Refused(text("-ERR x"))),
            (
                vec!["+PONG", "+OK", "+OK", "-NOMASTERLINK x"],
                HandshakeError::NotYet(text("-NOMASTERLINK x")),
            ),
            (
                vec!["+PONG", "+OK", "+OK", "+FULLRESYNC 1 2"],
                HandshakeError::Nonsense(text("+FULLRESYNC 1 2")),
            ),
            (vec!["+PONG", "+OK", "+OK", "+CONTINUE"], HandshakeError::Nonsense(text("+CONTINUE"))),
            (
                vec!["+PONG", "-ERR unknown option is harmless", "+OK", "-ERR no"],
                HandshakeError::Refused(text("-ERR no")),
            ),
        ] {
            assert_eq!(talk(Introduction::default(), &lines).1, Err(want), "{lines:?}");
        }
        let introduction = Introduction { password: Some(b"x".to_vec()), ..Default::default() };
        let got = talk(introduction, &["-NOAUTH x", "-WRONGPASS y"]).1;
        assert_eq!(got, Err(HandshakeError::Authentication(text("-WRONGPASS y"))));
    }
}
