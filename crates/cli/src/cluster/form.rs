//! Forming a cluster of running nodes: slots, introductions, replicas.
//!
//! Each step first looks at what is there and adds only what is missing, so that it can be
//! repeated, and goes on where an interrupted one stopped.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use slotward_types::Slot;

use super::nodes::{self, NodeLine};
use super::process::{Instance, wait_until};
use super::progress::Progress;
use super::status;
use crate::client::{Client, ClientError};

/// Where a node is reached, by us and by the sentinels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl From<&Instance> for Place {
    fn from(instance: &Instance) -> Place {
        Place { host: instance.host.clone(), port: instance.port }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let bad = || format!("'{text}' is no address of a node (host:port)");
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        match port.parse() {
            Ok(port @ 1..) if !host.is_empty() => Ok(Place { host: host.to_owned(), port }),
            _ => Err(bad()),
        }
    }
}

/// The nodes to form a cluster of, the masters first.
pub(crate) struct Forming<'a> {
    pub(crate) nodes: &'a [Place],
    pub(crate) sentinels: &'a [String],
    pub(crate) masters: usize,
    pub(crate) deadline: Instant,
}

/// How many steps [`Forming::run`] reports.
pub(crate) const STEPS: usize = 4;

impl Forming<'_> {
    /// Does whatever is missing and waits until every node agrees.
    ///
    /// # Errors
    /// When a node or the sentinels refuse, or it takes too long.
    pub(crate) fn run(&self, progress: &Progress) -> anyhow::Result<()> {
        ensure!(
            (1..=self.nodes.len()).contains(&self.masters),
            "{} masters cannot be chosen among {} nodes",
            self.masters,
            self.nodes.len()
        );
        progress.waiting("assigning slots");
        self.persist(Self::assign_slots)?;
        progress.done("slots are assigned");
        self.persist(Self::introduce)?;
        progress.done("the nodes know each other");
        self.persist(Self::attach_replicas)?;
        progress.done("replicas have masters");
        progress.waiting("waiting for every node to agree");
        self.wait_for_agreement()?;
        progress.done("every node agrees");
        Ok(())
    }

    /// Repeats a step when a connection broke in the middle of it: a node that gets another role
    /// may close connections. Each step begins by looking at what is there.
    fn persist(&self, step: impl Fn(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        wait_until(self.deadline, || {
            outcome = step(self);
            let cause = outcome.as_ref().err().and_then(|error| error.downcast_ref());
            match cause {
                Some(ClientError::Broken(..) | ClientError::Unreachable(..)) => false,
                Some(ClientError::Refused(_, text)) => !is_uncertain(text),
                _ => true,
            }
        });
        outcome
    }

    fn assign_slots(&self) -> anyhow::Result<()> {
        let taken: BTreeSet<u16> = self
            .nodes
            .iter()
            .map(|node| Ok(view(node)?.into_iter().flat_map(|line| line.slots)))
            .collect::<anyhow::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .flat_map(|(first, last)| first..=last)
            .collect();
        for (index, node) in self.nodes[..self.masters].iter().enumerate() {
            let missing = share(index, self.masters).filter(|slot| !taken.contains(slot));
            let mut command = vec!["CLUSTER".to_owned(), "ADDSLOTSRANGE".to_owned()];
            for (first, last) in ranges(missing) {
                command.extend([first.to_string(), last.to_string()]);
            }
            if command.len() > 2 {
                self.insist(node, &command)?;
            }
        }
        Ok(())
    }

    fn introduce(&self) -> anyhow::Result<()> {
        let first = &self.nodes[0];
        let known: BTreeSet<String> = view(first)?.into_iter().map(|line| line.id).collect();
        for node in self.nodes {
            if known.contains(&id(node)?) {
                continue;
            }
            let command = ["CLUSTER", "MEET", &node.host, &node.port.to_string()];
            self.insist(first, &command.map(str::to_owned))?;
        }
        self.wait("every node to know the others", || {
            self.nodes.iter().all(|node| view(node).is_ok_and(|v| v.len() >= self.nodes.len()))
        })
    }

    /// Gives every master without slots to the master that has the fewest replicas.
    fn attach_replicas(&self) -> anyhow::Result<()> {
        let lines = view(&self.nodes[0])?;
        let mut masters: Vec<(usize, &NodeLine)> = lines
            .iter()
            .filter(|line| line.is("master") && !line.slots.is_empty())
            .map(|line| (replicas_of(line, &lines), line))
            .collect();
        for node in self.nodes {
            let id = id(node)?;
            let Some(line) = lines.iter().find(|line| line.id == id) else {
                bail!("{} is missing in the topology", node.address());
            };
            let free = line.is("master") && line.slots.is_empty() && replicas_of(line, &lines) == 0;
            if !free {
                continue;
            }
            let (count, master) = masters
                .iter_mut()
                .min_by_key(|(count, _)| *count)
                .context("no master has slots")?;
            *count += 1;
            let command = ["CLUSTER", "REPLICATE", master.id.as_str()];
            self.insist(node, &command.map(str::to_owned))?;
        }
        Ok(())
    }

    fn wait_for_agreement(&self) -> anyhow::Result<()> {
        self.wait("every node to serve", || {
            self.nodes.iter().all(|node| serves(node).unwrap_or(false))
        })?;
        self.wait("every replica to be ready to take over", || status::is_settled(self.sentinels))?;
        let signatures: BTreeSet<String> =
            self.nodes.iter().map(signature).collect::<anyhow::Result<_>>()?;
        ensure!(signatures.len() == 1, "the nodes disagree about slots: try again");
        Ok(())
    }

    /// Repeats a command while the answer is that the sentinels are not ready for it: they may
    /// still be electing a leader.
    fn insist(&self, node: &Place, command: &[String]) -> anyhow::Result<()> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut answer = Ok(());
        wait_until(self.deadline, || {
            answer = Client::connect(&node.address(), super::PATIENCE)
                .and_then(|mut client| client.call(&words))
                .map(drop);
            !matches!(&answer, Err(ClientError::Refused(_, text)) if is_temporary(text))
        });
        answer.with_context(|| format!("{} on {}", words[..2].join(" "), node.address()))
    }

    fn wait(&self, what: &str, holds: impl FnMut() -> bool) -> anyhow::Result<()> {
        ensure!(wait_until(self.deadline, holds), "gave up waiting for {what}");
        Ok(())
    }
}

/// Whether an error reply leaves open whether the change was made: whoever looks will see.
fn is_uncertain(text: &str) -> bool {
    text.ends_with("the change may still come")
}

/// Whether an error reply asks to try again.
fn is_temporary(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or_default();
    matches!(code, "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "NOQUORUM" | "BUSY")
}

/// The topology as this node shows it.
pub(crate) fn view(node: &Place) -> anyhow::Result<Vec<NodeLine>> {
    let mut client = Client::connect(&node.address(), super::PATIENCE)?;
    Ok(nodes::parse(&client.text(&["CLUSTER", "NODES"])?))
}

fn id(node: &Place) -> anyhow::Result<String> {
    let mut client = Client::connect(&node.address(), super::PATIENCE)?;
    Ok(client.text(&["CLUSTER", "MYID"])?)
}

/// Whether this node says that the cluster works, and if it is a replica, follows its master.
fn serves(node: &Place) -> anyhow::Result<bool> {
    let mut client = Client::connect(&node.address(), super::PATIENCE)?;
    let works = client.text(&["CLUSTER", "INFO"])?.contains("cluster_state:ok");
    let replication = client.text(&["INFO", "replication"])?;
    let linked =
        !replication.contains("role:slave") || replication.contains("master_link_status:up");
    Ok(works && linked)
}

/// Who owns what, in a form that is equal on nodes that agree.
fn signature(node: &Place) -> anyhow::Result<String> {
    let mut owners: Vec<String> = view(node)?
        .into_iter()
        .filter(|line| !line.slots.is_empty())
        .map(|line| format!("{}{:?}", line.id, line.slots))
        .collect();
    owners.sort();
    Ok(owners.join(","))
}

fn replicas_of(master: &NodeLine, lines: &[NodeLine]) -> usize {
    lines.iter().filter(|line| line.master.as_ref() == Some(&master.id)).count()
}

/// The slots of the master of this index among so many.
fn share(index: usize, masters: usize) -> impl Iterator<Item = u16> {
    let slots = usize::from(Slot::COUNT);
    let bound = move |index: usize| u16::try_from(slots * index / masters).unwrap_or(Slot::COUNT);
    bound(index)..bound(index + 1)
}

/// Ascending numbers as ranges.
fn ranges(numbers: impl Iterator<Item = u16>) -> Vec<(u16, u16)> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => found.push((number, number)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_slot_once() {
        for masters in [1, 3, 5, 1000] {
            let all: Vec<u16> = (0..masters).flat_map(|index| share(index, masters)).collect();
            assert_eq!(all, (0..Slot::COUNT).collect::<Vec<_>>(), "{masters} masters");
        }
    }

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges([1, 2, 3, 7, 9, 10].into_iter()), [(1, 3), (7, 7), (9, 10)]);
        assert_eq!(ranges([].into_iter()), []);
    }

    #[test]
    fn places_are_read() {
        let read =
            |text: &str| text.parse().map(|place: Place| (place.host.clone(), place.address()));
        assert_eq!(read("node1:7000"), Ok(("node1".to_owned(), "node1:7000".to_owned())));
        assert_eq!(read("[::1]:7000"), Ok(("::1".to_owned(), "[::1]:7000".to_owned())));
        for bad in ["", "node1", ":7000", "node1:0", "node1:x", "node1:65536"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_sentinel_that_is_not_ready_is_asked_again() {
        assert!(is_uncertain(
            "ERR the sentinels did not answer in time; the change may still come"
        ));
        assert!(is_temporary("CLUSTERDOWN no leader"));
        assert!(!is_temporary("ERR Slot 0 is already busy"));
    }
}
