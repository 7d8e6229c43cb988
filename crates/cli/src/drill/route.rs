//! A client's way to the master of one shard: follows redirects, looks for the new master as soon
//! as the old one fails, so that what is measured is the server's outage and not the client's.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use slotward_resp::Value;

use crate::client::{Client, ClientError};

/// For how long a node that failed is not asked again on another node's word.
const SUSPECT: Duration = Duration::from_millis(300);
/// For how long it is not waited for as others are: it may stand still, and whoever waits for it
/// meanwhile misses its successor.
const DOUBTED: Duration = Duration::from_secs(5);
/// How long it is waited for.
const DOUBTED_PATIENCE: Duration = Duration::from_millis(30);
/// Between two attempts while nobody serves.
const PAUSE: Duration = Duration::from_millis(3);
/// A node that redirects on and on is not followed further.
const HOPS_MAX: usize = 5;

/// What a client was told instead of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An error reply; its first word. The command was not executed.
    Refused(String),
    /// No connection: the command was not sent.
    Unreachable,
    /// The connection ended before the reply: nobody knows whether the command was executed.
    Lost,
    /// No reply in time: nobody knows.
    TimedOut,
}

impl Trouble {
    /// In one word, for counts.
    pub(super) fn word(&self) -> &str {
        match self {
            Trouble::Refused(word) => word,
            Trouble::Unreachable => "unreachable",
            Trouble::Lost => "lost",
            Trouble::TimedOut => "timeout",
        }
    }
}

/// The reply to a command, and what it took.
pub(super) struct Answer {
    /// The reply, and which node gave it.
    pub(super) outcome: Result<(Value, String), Trouble>,
    /// How many redirects were followed.
    pub(super) redirects: u64,
}

/// A client of one shard.
pub(super) struct Route {
    nodes: Vec<String>,
    password: Option<String>,
    patience: Duration,
    target: String,
    client: Option<Client>,
    /// Nodes that failed, and when.
    suspects: Vec<(String, Instant)>,
}

impl Route {
    /// A client that begins at the first of these nodes.
    pub(super) fn new(nodes: &[String], password: Option<&str>, patience: Duration) -> Route {
        Route {
            target: nodes[0].clone(),
            nodes: nodes.to_vec(),
            password: password.map(str::to_owned),
            patience,
            client: None,
            suspects: Vec::new(),
        }
    }

    /// Sends a command to the shard's master, as far as that is known, once. After trouble the next
    /// call asks another node.
    pub(super) fn call(&mut self, words: &[&str]) -> Answer {
        let mut redirects = 0;
        loop {
            let outcome = match self.attempt(words) {
                Ok(value) => Ok((value, self.target.clone())),
                Err(ClientError::Refused(_, text)) => match moved_to(&text) {
                    Some(address) if redirects < HOPS_MAX as u64 && !self.is_suspect(&address) => {
                        redirects += 1;
                        self.go_to(address);
                        continue;
                    }
                    Some(_) => Err(Trouble::Refused("MOVED".to_owned())),
                    None => Err(Trouble::Refused(first_word(&text))),
                },
                Err(ClientError::Unreachable(..)) => Err(Trouble::Unreachable),
                Err(ClientError::Broken(_, error)) if is_timeout(&error) => Err(Trouble::TimedOut),
                Err(ClientError::Broken(..) | ClientError::NotRedis(_)) => Err(Trouble::Lost),
            };
            if let Err(trouble) = &outcome {
                self.look_elsewhere(trouble);
            }
            return Answer { outcome, redirects };
        }
    }

    /// Calls until it is answered; the last trouble at the deadline.
    pub(super) fn insist(&mut self, words: &[&str], deadline: Instant) -> Result<Value, Trouble> {
        loop {
            match self.call(words).outcome {
                Ok((value, _)) => return Ok(value),
                Err(trouble) if Instant::now() >= deadline => return Err(trouble),
                Err(_) => {}
            }
        }
    }

    fn attempt(&mut self, words: &[&str]) -> Result<Value, ClientError> {
        if self.client.is_none() {
            let patience = if self.failed_within(&self.target, DOUBTED) {
                self.patience.min(DOUBTED_PATIENCE)
            } else {
                self.patience
            };
            self.client = Some(connect(&self.target, self.password.as_deref(), patience)?);
        }
        let client = self.client.as_mut().expect("it was connected above");
        let outcome = client.call(words);
        if !matches!(outcome, Ok(_) | Err(ClientError::Refused(..))) {
            self.client = None;
        } else if self.failed_within(&self.target, DOUBTED) {
            // It answers: the next connection is patient again.
            self.client = None;
            self.suspects.retain(|(known, _)| *known != self.target);
        }
        outcome
    }

    fn is_suspect(&self, address: &str) -> bool {
        self.failed_within(address, SUSPECT)
    }

    fn failed_within(&self, address: &str, time: Duration) -> bool {
        self.suspects.iter().any(|(known, at)| known == address && at.elapsed() < time)
    }

    fn go_to(&mut self, address: String) {
        if self.target != address {
            self.client = None;
            self.target = address;
        }
    }

    /// The next node of the shard; one that did not answer is asked last.
    fn look_elsewhere(&mut self, trouble: &Trouble) {
        if *trouble != Trouble::Refused("MOVED".to_owned()) {
            self.suspects.retain(|(known, at)| *known != self.target && at.elapsed() < DOUBTED);
            if !matches!(trouble, Trouble::Refused(_)) {
                self.suspects.push((self.target.clone(), Instant::now()));
            }
        }
        let at = self.nodes.iter().position(|node| *node == self.target).unwrap_or(0);
        let others = (1..=self.nodes.len()).map(|step| &self.nodes[(at + step) % self.nodes.len()]);
        let next = others.clone().find(|node| !self.is_suspect(node)).or(others.clone().next());
        let next = next.expect("there is at least one node").clone();
        self.go_to(next);
        std::thread::sleep(PAUSE);
    }
}

/// Connects, and authenticates if there is a password.
pub(super) fn connect(
    address: &str,
    password: Option<&str>,
    patience: Duration,
) -> Result<Client, ClientError> {
    let mut client = Client::connect(address, patience)?;
    if let Some(password) = password {
        client.call(&["AUTH", password])?;
    }
    Ok(client)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Where `MOVED <slot> <address>` sends the client.
fn moved_to(text: &str) -> Option<String> {
    let mut words = text.split(' ');
    (words.next() == Some("MOVED")).then(|| words.nth(1).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        assert_eq!(moved_to("MOVED 12 h:7000").as_deref(), Some("h:7000"));
        assert_eq!(moved_to("MOVED"), None);
        assert_eq!(moved_to("ERR MOVED 12 h:7000"), None);
    }

    #[test]
    fn who_failed_is_asked_last() {
        let nodes = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let mut route = Route::new(&nodes, None, Duration::from_millis(1));
        route.look_elsewhere(&Trouble::TimedOut);
        assert_eq!(route.target, "b:1");
        assert!(route.is_suspect("a:1"));
        route.look_elsewhere(&Trouble::Refused("CLUSTERDOWN".to_owned()));
        route.look_elsewhere(&Trouble::Unreachable);
        assert_eq!(route.target, "b:1", "a and c have failed, b only had nothing to say");
    }
}
