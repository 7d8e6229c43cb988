//! What a node keeps on its disk: who it is, which run this is, the highest epoch it has promised.
//!
//! **Invariant:** a file is replaced as a whole, and what replaced it is on disk, with its folder,
//! before anybody is told so.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use slotward_cluster::{Member, ShardId};
use slotward_failover::NodeState;
use slotward_types::{Epoch, Incarnation, NodeId};

/// A node's memory of itself.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    member: Member,
    state: NodeState,
    /// Held for as long as the process lives: two processes must not be the same node.
    _lock: File,
}

impl StateFile {
    /// Reads the file of the node at `port` in `dir`, or makes a new node; raises the incarnation and
    /// has it on disk before it returns. `new_id` names a node that has no file yet.
    pub(super) fn open(dir: &Path, port: u16, new_id: NodeId) -> anyhow::Result<StateFile> {
        let path = dir.join(format!("slotward-node-{port}.state"));
        let lock = lock(&path.with_extension("lock"))?;
        let (id, incarnation, state) = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).with_context(|| {
                format!("{} is damaged: restore it or remove it", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (new_id, Incarnation(0), NodeState::default())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let member = Member { node: id, incarnation: Incarnation(incarnation.0 + 1) };
        let file = StateFile { path, member, state, _lock: lock };
        file.write(state).with_context(|| format!("cannot write {}", file.path.display()))?;
        Ok(file)
    }

    /// This run of this node.
    pub(super) fn member(&self) -> Member {
        self.member
    }

    /// What it had promised before.
    pub(super) fn state(&self) -> NodeState {
        self.state
    }

    /// Puts the promise on disk.
    pub(super) fn write(&self, state: NodeState) -> std::io::Result<()> {
        let shard = state.shard.map_or_else(|| "-".to_owned(), |shard| shard.to_string());
        let text = format!(
            "id {}\nincarnation {}\nshard {shard}\nepoch {}\n",
            self.member.node, self.member.incarnation.0, state.epoch
        );
        replace(&self.path, text.as_bytes())
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    lock.try_lock().with_context(|| format!("another process runs with {}", path.display()))?;
    Ok(lock)
}

fn parse(text: &str) -> anyhow::Result<(NodeId, Incarnation, NodeState)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .with_context(|| format!("`{name}` is missing"))
    };
    let number = |name: &str| -> anyhow::Result<u64> {
        field(name)?.parse().with_context(|| format!("`{name}` is no number"))
    };
    let shard = match field("shard")? {
        "-" => None,
        _ => Some(ShardId(number("shard")?)),
    };
    let state = NodeState { shard, epoch: Epoch(number("epoch")?) };
    let id = field("id")?.parse().context("`id` is not an id")?;
    Ok((id, Incarnation(number("incarnation")?), state))
}

/// Replaces a file as a whole; returns once that is on disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("slotward-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 20])
    }

    #[test]
    fn a_node_remembers_itself_and_counts_its_runs() {
        let folder = Folder::new("state");
        let first = StateFile::open(&folder.0, 7000, id(1)).unwrap();
        assert_eq!((first.member().node, first.member().incarnation), (id(1), Incarnation(1)));
        let promised = NodeState { shard: Some(ShardId(3)), epoch: Epoch(9) };
        first.write(promised).unwrap();
        let twice = StateFile::open(&folder.0, 7000, id(2)).unwrap_err();
        assert!(twice.to_string().starts_with("another process runs with"), "{twice}");
        drop(first);
        let second = StateFile::open(&folder.0, 7000, id(2)).unwrap();
        assert_eq!((second.member().node, second.member().incarnation), (id(1), Incarnation(2)));
        assert_eq!(second.state(), promised);
        let other = StateFile::open(&folder.0, 7001, id(2)).unwrap();
        assert_eq!(other.member().node, id(2), "another port is another node");
    }

    #[test]
    fn a_damaged_file_ends_the_start() {
        let folder = Folder::new("damaged");
        fs::write(folder.0.join("slotward-node-7000.state"), "id 12\n").unwrap();
        let error = StateFile::open(&folder.0, 7000, id(1)).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
