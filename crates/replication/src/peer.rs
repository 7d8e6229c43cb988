//! The master's side of a link before the stream: what a replica told with `REPLCONF`, and what is
//! answered.

use slotward_resp::Args;
use slotward_types::{Epoch, Incarnation, ReplOffset};

use crate::handshake::Member;
use crate::history::Resume;

/// What a replica told of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The port its clients use; 0 if it told none.
    pub listening_port: u16,
    /// The address it wants to be shown with, instead of the connection's.
    pub ip: Option<String>,
    /// It can take an RDB whose end is told by a mark.
    pub takes_mark: bool,
    /// It understands a new history id in `CONTINUE`.
    pub takes_new_id: bool,
    /// Who it is in a managed shard; its link is framed then.
    pub member: Option<Member>,
}

/// What a `REPLCONF` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replconf {
    /// This line is the answer.
    Answer(String),
    /// The replica has applied this much; no answer.
    Ack {
        /// How far it came.
        offset: ReplOffset,
        /// The stamp of ours that it echoes, in a managed shard.
        stamp: Option<u64>,
    },
    /// A replica's client, or a mistake, asks us to acknowledge; no answer.
    GetAck,
}

const OK: &str = "+OK";

impl Peer {
    /// Takes the options of one `REPLCONF` (the arguments after its name). `ours` is what this node
    /// is in its shard, if sentinels manage it.
    pub fn on_replconf(&mut self, options: Args<'_>, ours: Option<&Member>) -> Replconf {
        if options.is_empty() || !options.len().is_multiple_of(2) {
            return Replconf::Answer("-ERR syntax error".to_owned());
        }
        match self.options(options, ours) {
            Ok(answer) => answer,
            Err(error) => Replconf::Answer(error),
        }
    }

    fn options(&mut self, options: Args<'_>, ours: Option<&Member>) -> Result<Replconf, String> {
        let mut stranger = Stranger::default();
        let (mut acked, mut stamp) = (None, None);
        for index in (0..options.len()).step_by(2) {
            let name = String::from_utf8_lossy(&options[index]).to_ascii_lowercase();
            let value = String::from_utf8_lossy(&options[index + 1]);
            match name.as_str() {
                "listening-port" => self.listening_port = number(&value)?,
                "ip-address" => self.ip = Some(address(&value)?),
                "capa" if value == "eof" => self.takes_mark = true,
                "capa" if value == "psync2" => self.takes_new_id = true,
                // What we do not know, we do not use; and a replica of ours wants whole data sets.
                "capa" | "version" | "rdb-only" | "rdb-filter-only" => {}
                "ack" => acked = Some(ReplOffset(number(&value)?)),
                "fack" => {}
                "stamp" => stamp = Some(number(&value)?),
                "getack" => return Ok(Replconf::GetAck),
                "slotward-node" => {
                    stranger.node = Some(value.parse().map_err(|_| "-ERR not a node id")?);
                }
                "slotward-incarnation" => stranger.incarnation = Some(Incarnation(number(&value)?)),
                "slotward-epoch" => stranger.epoch = Some(Epoch(number(&value)?)),
                _ => {
                    return Err(format!("-ERR Unrecognized REPLCONF option: {}", printable(&name)));
                }
            }
        }
        if let Some(offset) = acked {
            return Ok(Replconf::Ack { offset, stamp });
        }
        if stranger != Stranger::default() {
            return self.admit(stranger, ours).map(Replconf::Answer);
        }
        Ok(Replconf::Answer(OK.to_owned()))
    }

    /// A member of the shard presents itself: it must follow the same epoch as we do, whichever of
    /// us is behind.
    fn admit(&mut self, stranger: Stranger, ours: Option<&Member>) -> Result<String, String> {
        let Stranger { node: Some(node), incarnation: Some(incarnation), epoch: Some(epoch) } =
            stranger
        else {
            return Err("-ERR a member tells its node, incarnation and epoch together".to_owned());
        };
        let Some(ours) = ours else {
            return Err("-ERR this node is in no managed shard".to_owned());
        };
        if epoch != ours.epoch {
            return Err(format!("-STALEEPOCH this node is at epoch {}, not {epoch}", ours.epoch));
        }
        self.member = Some(Member { node, incarnation, epoch });
        Ok(ours.greeting())
    }
}

/// What a member told so far, within one `REPLCONF`.
#[derive(Default, PartialEq)]
struct Stranger {
    node: Option<slotward_types::NodeId>,
    incarnation: Option<Incarnation>,
    epoch: Option<Epoch>,
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "-ERR value is not an integer or out of range".to_owned())
}

fn address(text: &str) -> Result<String, String> {
    let plain = text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
    // It is shown in INFO, where a comma ends it.
    if plain && !text.contains(',') {
        Ok(text.to_owned())
    } else {
        Err("-ERR REPLCONF ip-address is not an address or a host name".to_owned())
    }
}

fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What `PSYNC id offset` asks for: to go on somewhere, or (`None`) for everything.
///
/// # Errors
/// When the arguments are none of the command's. The text is the reply.
pub fn parse_psync(id: &[u8], offset: &[u8]) -> Result<Option<Resume>, String> {
    let offset: i64 = number(&String::from_utf8_lossy(offset))?;
    // Anything that is not an id of ours cannot be continued; that is no error.
    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    // The protocol counts from one: it names the first byte wanted.
    let next = u64::try_from(offset).ok().and_then(|offset| offset.checked_sub(1));
    Ok(id.zip(next).map(|(id, next)| Resume { id, next: ReplOffset(next) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotward_resp::OwnedArgs;

    fn ask(peer: &mut Peer, text: &str, ours: Option<&Member>) -> Replconf {
        let args: OwnedArgs = text.split(' ').map(str::as_bytes).collect();
        peer.on_replconf(args.as_args(), ours)
    }

    fn answer(text: &str) -> Replconf {
        Replconf::Answer(text.to_owned())
    }

    #[test]
    fn a_replica_introduces_itself() {
        let mut peer = Peer::default();
        for (text, want) in [
            ("listening-port 7001", answer("+OK")),
            ("LISTENING-PORT x", answer("-ERR value is not an integer or out of range")),
            ("ip-address 10.0.0.1", answer("+OK")),
            ("ip-address a,b", answer("-ERR REPLCONF ip-address is not an address or a host name")),
            ("capa eof capa psync2 capa newer", answer("+OK")),
            ("ack 17 fack 3", Replconf::Ack { offset: ReplOffset(17), stamp: None }),
            ("ACK 17 STAMP 99", Replconf::Ack { offset: ReplOffset(17), stamp: Some(99) }),
            ("getack *", Replconf::GetAck),
            ("what else", answer("-ERR Unrecognized REPLCONF option: what")),
            ("ack", answer("-ERR syntax error")),
        ] {
            assert_eq!(ask(&mut peer, text, None), want, "{text}");
        }
        let told = (peer.listening_port, peer.ip.as_deref(), peer.takes_mark, peer.takes_new_id);
        assert_eq!(told, (7001, Some("10.0.0.1"), true, true));
    }

    #[test]
    fn only_a_member_of_the_same_epoch_is_admitted() {
        let node = slotward_types::NodeId::from_bytes([1; 20]);
        let ours = Member { node, incarnation: Incarnation(3), epoch: Epoch(5) };
        let greeting = ours.greeting();
        let introduce = |epoch: u64| {
            format!(
                "slotward-node {} slotward-incarnation 2 slotward-epoch {epoch}",
                "ab".repeat(20)
            )
        };
        for (why, epoch, want) in [
            ("the replica is behind", 4, "-STALEEPOCH this node is at epoch 5, not 4"),
            ("this node is behind", 6, "-STALEEPOCH this node is at epoch 5, not 6"),
            ("both at the same", 5, greeting.as_str()),
        ] {
            let mut peer = Peer::default();
            assert_eq!(ask(&mut peer, &introduce(epoch), Some(&ours)), answer(want), "{why}");
            assert_eq!(peer.member.is_some(), want.starts_with('+'), "{why}");
        }
        let got = ask(&mut Peer::default(), &introduce(5), None);
        assert_eq!(got, answer("-ERR this node is in no managed shard"));
        let got = ask(&mut Peer::default(), "slotward-epoch 5", Some(&ours));
        assert_eq!(got, answer("-ERR a member tells its node, incarnation and epoch together"));
    }

    #[test]
    fn psync_counts_from_one() {
        let id = "ab".repeat(20);
        let resume = |next| Resume { id: id.parse().unwrap(), next: ReplOffset(next) };
        for (why, id, offset, want) in [
            ("nothing to go on from", "?", "-1", Ok(None)),
            ("the first byte", id.as_str(), "1", Ok(Some(resume(0)))),
            ("byte 100 is wanted, 99 are there", id.as_str(), "100", Ok(Some(resume(99)))),
            ("no such byte", id.as_str(), "0", Ok(None)),
            ("an id of somebody else's making", "xyz", "100", Ok(None)),
            ("no number", id.as_str(), "x", Err(())),
        ] {
            assert_eq!(
                parse_psync(id.as_bytes(), offset.as_bytes()).map_err(|_| ()),
                want,
                "{why}"
            );
        }
    }
}
