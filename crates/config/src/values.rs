//! Settings whose value is more than a word: save points, buffer limits, addresses.

use std::fmt;

use slotward_types::GRPC_PORT_OFFSET;

use crate::Kind;
use crate::field::{BadValue, Field, parse_memory, single};

/// Write a snapshot after `seconds` if at least `changes` keys changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// The seconds.
    pub seconds: u64,
    /// The changes.
    pub changes: u64,
}

impl Field for Vec<SavePoint> {
    fn update(&mut self, _: Kind, words: &[String], first: bool) -> Result<(), BadValue> {
        let mut points = if first { Vec::new() } else { self.clone() };
        if let [word] = words
            && word.is_empty()
        {
            self.clear();
            return Ok(());
        }
        if words.is_empty() || !words.len().is_multiple_of(2) {
            return Err(BadValue::other("Invalid save parameters"));
        }
        for pair in words.chunks_exact(2) {
            let number = |word: &String| word.parse::<u64>().ok();
            match (number(&pair[0]), number(&pair[1])) {
                (Some(seconds), Some(changes)) if seconds >= 1 => {
                    points.push(SavePoint { seconds, changes });
                }
                _ => return Err(BadValue::other("Invalid save parameters")),
            }
        }
        *self = points;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let points: Vec<String> =
            self.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ")
    }
}

/// When a client that does not read its replies is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferLimit {
    /// At once beyond this many bytes; 0 is no limit.
    pub hard_bytes: u64,
    /// After `soft_seconds` beyond this many bytes; 0 is no limit.
    pub soft_bytes: u64,
    /// How long the soft limit may be exceeded.
    pub soft_seconds: u64,
}

/// The limits of the three classes of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferLimits {
    /// Ordinary clients.
    pub normal: BufferLimit,
    /// Replicas.
    pub replica: BufferLimit,
    /// Clients subscribed to at least one channel.
    pub pubsub: BufferLimit,
}

impl Field for BufferLimits {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        if words.is_empty() || !words.len().is_multiple_of(4) {
            return Err(BadValue::other(
                "Wrong number of arguments in buffer limit configuration.",
            ));
        }
        let mut limits = *self;
        for group in words.chunks_exact(4) {
            let class = match group[0].to_ascii_lowercase().as_str() {
                "normal" => &mut limits.normal,
                "replica" | "slave" => &mut limits.replica,
                "pubsub" => &mut limits.pubsub,
                _ => {
                    return Err(BadValue::other(
                        "Invalid client class specified in buffer limit configuration.",
                    ));
                }
            };
            let bad = || {
                BadValue::other(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
                )
            };
            let bytes =
                |word: &String| parse_memory(word).map(i64::cast_unsigned).map_err(|_| bad());
            *class = BufferLimit {
                hard_bytes: bytes(&group[1])?,
                soft_bytes: bytes(&group[2])?,
                soft_seconds: group[3].parse().map_err(|_| bad())?,
            };
        }
        *self = limits;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let class = |name: &str, limit: &BufferLimit| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        };
        [
            class("normal", &self.normal),
            class("slave", &self.replica),
            class("pubsub", &self.pubsub),
        ]
        .join(" ")
    }
}

/// Bytes, or a percentage of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BytesOrPercent {
    /// So many bytes; 0 is no limit.
    Bytes(u64),
    /// So many hundredths of `maxmemory`.
    Percent(u8),
}

impl Default for BytesOrPercent {
    fn default() -> Self {
        BytesOrPercent::Bytes(0)
    }
}

impl Field for BytesOrPercent {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        let word = single(words)?;
        *self = match word.strip_suffix('%') {
            Some(number) => match number.parse() {
                Ok(percent @ 0..=100) => BytesOrPercent::Percent(percent),
                _ => return Err(BadValue::NotMemoryOrPercent),
            },
            None => BytesOrPercent::Bytes(
                parse_memory(word).map_err(|_| BadValue::NotMemoryOrPercent)?.cast_unsigned(),
            ),
        };
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        match self {
            BytesOrPercent::Bytes(bytes) => bytes.to_string(),
            BytesOrPercent::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// The master to follow, as `replicaof` names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Field for Option<Endpoint> {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        *self = match words {
            [word] if word.is_empty() => None,
            [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => None,
            [host, port] => match port.parse() {
                Ok(port @ 1..) => Some(Endpoint { host: host.clone(), port }),
                _ => return Err(BadValue::other("Invalid master port")),
            },
            _ => return Err(BadValue::WrongCount),
        };
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        self.as_ref().map_or_else(String::new, |to| format!("{} {}", to.host, to.port))
    }
}

/// Where a sentinel is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentinelAddress {
    /// Host name or address.
    pub host: String,
    /// The port that speaks RESP.
    pub port: u16,
    /// The port that speaks gRPC: `port` + 1000 unless written `host:port@grpcport`.
    pub grpc_port: u16,
}

impl fmt::Display for SentinelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if self.port.checked_add(GRPC_PORT_OFFSET) != Some(self.grpc_port) {
            write!(f, "@{}", self.grpc_port)?;
        }
        Ok(())
    }
}

impl SentinelAddress {
    /// Reads `host:port` or `host:port@grpcport`; an IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<SentinelAddress, BadValue> {
        let bad = |why: &str| {
            BadValue::other(format!("'{text}' is no address of a sentinel (host:port): {why}"))
        };
        let (address, grpc) = match text.split_once('@') {
            Some((address, grpc)) => (address, Some(grpc)),
            None => (text, None),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(bad("a port is a number from 1 to 65535")),
        };
        let port = number(port)?;
        let grpc_port = match grpc {
            Some(grpc) => number(grpc)?,
            None => port
                .checked_add(GRPC_PORT_OFFSET)
                .ok_or_else(|| bad("write the gRPC port too, host:port@grpcport"))?,
        };
        Ok(SentinelAddress { host: host.to_owned(), port, grpc_port })
    }
}

impl Field for Vec<SentinelAddress> {
    fn update(&mut self, _: Kind, words: &[String], first: bool) -> Result<(), BadValue> {
        let mut addresses = if first { Vec::new() } else { self.clone() };
        // One word may hold the whole list, since it travels so through environment variables.
        for text in words.iter().flat_map(|word| word.split([' ', ','])).filter(|t| !t.is_empty()) {
            let address = SentinelAddress::parse(text)?;
            if addresses.contains(&address) {
                return Err(BadValue::other(format!("'{text}' is named twice")));
            }
            addresses.push(address);
        }
        *self = addresses;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let addresses: Vec<String> = self.iter().map(SentinelAddress::to_string).collect();
        addresses.join(" ")
    }
}

/// A directive that stands on a line of its own any number of times, kept word by word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines(pub Vec<Vec<String>>);

impl Field for Lines {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        match words {
            [] => return Err(BadValue::WrongCount),
            [word] if word.is_empty() => self.0.clear(),
            _ => self.0.push(words.to_vec()),
        }
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let lines: Vec<String> = self.0.iter().map(|line| line.join(" ")).collect();
        lines.join("\n")
    }
}

/// Which keyspace events are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceEvents(pub u32);

impl KeyspaceEvents {
    /// The letters and the bit of each, in the order in which they are printed.
    const LETTERS: [(u8, u32); 16] = [
        (b'g', 1 << 2),
        (b'$', 1 << 3),
        (b'l', 1 << 4),
        (b's', 1 << 5),
        (b'h', 1 << 6),
        (b'z', 1 << 7),
        (b'x', 1 << 8),
        (b'e', 1 << 9),
        (b't', 1 << 10),
        (b'd', 1 << 13),
        (b'K', 1 << 0),
        (b'E', 1 << 1),
        (b'm', 1 << 11),
        (b'n', 1 << 14),
        (b'o', 1 << 15),
        (b'c', 1 << 16),
    ];
    /// What the letter `A` stands for: every class but misses, new and replaced keys.
    const ALL: u32 = 0b10_0111_1111_1100;

    /// Whether the class that this letter names is published.
    pub fn has(self, letter: u8) -> bool {
        Self::LETTERS.iter().any(|&(known, bit)| known == letter && self.0 & bit != 0)
    }
}

impl Field for KeyspaceEvents {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        let mut events = 0;
        for letter in single(words)?.bytes() {
            events |= match letter {
                b'A' => Self::ALL,
                _ => Self::LETTERS
                    .iter()
                    .find_map(|&(known, bit)| (known == letter).then_some(bit))
                    .ok_or_else(|| {
                        BadValue::other("Invalid event class character. Use 'Ag$lshzxeKEtmdnoc'.")
                    })?,
            };
        }
        self.0 = events;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        let mut text = String::new();
        let all = self.0 & Self::ALL == Self::ALL;
        if all {
            text.push('A');
        }
        for (letter, bit) in Self::LETTERS {
            if self.0 & bit != 0 && !(all && Self::ALL & bit != 0) {
                text.push(char::from(letter));
            }
        }
        text
    }
}

/// The scores given to the kernel's out-of-memory killer for masters, replicas and children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OomScores(pub [i32; 3]);

impl Field for OomScores {
    fn update(&mut self, _: Kind, words: &[String], _: bool) -> Result<(), BadValue> {
        let [a, b, c] = words else { return Err(BadValue::WrongCount) };
        let mut scores = [0; 3];
        for (score, word) in scores.iter_mut().zip([a, b, c]) {
            *score = word.parse().ok().filter(|score| (-2000..=2000).contains(score)).ok_or_else(
                || {
                    BadValue::other(
                        "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
                    )
                },
            )?;
        }
        self.0 = scores;
        Ok(())
    }

    fn render(&self, _: Kind) -> String {
        self.0.map(|score| score.to_string()).join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        if line == "''" {
            vec![String::new()]
        } else {
            line.split(' ').map(str::to_owned).collect()
        }
    }

    #[test]
    fn save_points_add_within_a_source() {
        let mut points = vec![SavePoint { seconds: 1, changes: 1 }];
        points.update(Kind::Words, &words("900 1"), true).unwrap();
        points.update(Kind::Words, &words("300 10"), false).unwrap();
        assert_eq!(points.render(Kind::Words), "900 1 300 10");
        assert!(points.update(Kind::Words, &words("900"), true).is_err());
        assert!(points.update(Kind::Words, &words("900 x"), true).is_err());
        points.update(Kind::Words, &words("''"), false).unwrap();
        assert_eq!(points.render(Kind::Words), "");
    }

    #[test]
    fn a_buffer_limit_changes_one_class() {
        let mut limits = BufferLimits::default();
        limits.update(Kind::Words, &words("slave 256mb 64mb 60"), true).unwrap();
        assert_eq!(
            limits.render(Kind::Words),
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 0 0 0"
        );
        assert!(limits.update(Kind::Words, &words("other 1 1 1"), true).is_err());
        assert!(limits.update(Kind::Words, &words("normal 1 1"), true).is_err());
    }

    #[test]
    fn sentinels_have_a_grpc_port() {
        for (text, want) in [
            ("127.0.0.1:26379", Some(("127.0.0.1", 26379, 27379))),
            ("s1:26379@5000", Some(("s1", 26379, 5000))),
            ("[::1]:26379", Some(("::1", 26379, 27379))),
            ("s1", None),
            (":1", None),
            ("s1:0", None),
            ("s1:65000", None),
            ("s1:60000@600", Some(("s1", 60000, 600))),
        ] {
            let got = SentinelAddress::parse(text).ok();
            let got = got.as_ref().map(|a| (a.host.as_str(), a.port, a.grpc_port));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn keyspace_events_print_canonically() {
        let mut events = KeyspaceEvents::default();
        for (set, want) in [("KEA", "AKE"), ("", ""), ("Kg$", "g$K"), ("Exm", "xEm")] {
            events.update(Kind::Text, &[set.to_owned()], true).unwrap();
            assert_eq!(events.render(Kind::Text), want);
        }
        assert!(events.update(Kind::Text, &["q".into()], true).is_err());
        events.update(Kind::Text, &["Kl".into()], true).unwrap();
        assert!(events.has(b'l') && !events.has(b's'));
    }
}
