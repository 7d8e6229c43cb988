//! The epochs that this sentinel has revoked, on disk before it votes (rule 1 of the protocol: one
//! that forgot would acknowledge a master that it helped to depose).
//!
//! ```text
//! revocations  sealed "SWRV": postcard(map of shard to epoch)
//! ```

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use slotward_failover::{PersistId, Revocations as Map, SentinelEvent};

use super::Control;
use crate::disk;
use crate::say::Failure;

const FILE: &str = "revocations";
const MAGIC: [u8; 4] = *b"SWRV";

/// The file of revocations cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the file of revoked epochs: {0}")]
pub struct RevocationsError(#[from] io::Error);

/// Writes revocations on a thread of its own.
pub(crate) struct Revocations {
    initial: Map,
    jobs: Sender<(PersistId, Map)>,
}

impl Revocations {
    /// Reads what was revoked before, and starts the writing thread. It tells `control` when
    /// something is on disk; a failed write ends it: nothing is voted from then on.
    pub(crate) fn open(
        dir: &Path,
        control: Control,
        failure: Failure,
    ) -> Result<Revocations, RevocationsError> {
        let initial = match disk::read(dir, FILE)? {
            Some(bytes) => decode(&bytes)?,
            None => Map::new(),
        };
        let (jobs, queue) = channel();
        let dir = dir.to_owned();
        std::thread::Builder::new()
            .name("sentinel-disk".into())
            .spawn(move || write_all(&dir, &queue, &control, &failure))?;
        Ok(Revocations { initial, jobs })
    }

    /// What was revoked before this start.
    pub(crate) fn initial(&self) -> Map {
        self.initial.clone()
    }

    /// Puts this on disk, then says so to the control.
    pub(crate) fn write(&self, id: PersistId, revoked: Map) {
        // The thread has ended after a failed write, and has said so.
        let _ = self.jobs.send((id, revoked));
    }
}

fn write_all(dir: &Path, queue: &Receiver<(PersistId, Map)>, control: &Control, failure: &Failure) {
    while let Ok((id, revoked)) = queue.recv() {
        let written = encode(&revoked).and_then(|bytes| disk::replace(dir, FILE, &bytes));
        if let Err(error) = written {
            let dir = dir.display();
            failure.report(format!("cannot write revoked epochs to {dir}: {error}"));
            return;
        }
        let persisted = super::Message::Event(SentinelEvent::Persisted(id));
        if control.inbox.blocking_send(persisted).is_err() {
            return;
        }
    }
}

fn encode(revoked: &Map) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(revoked).map_err(io::Error::other)?;
    Ok(disk::seal(MAGIC, &body))
}

fn decode(bytes: &[u8]) -> io::Result<Map> {
    let body = disk::unseal(MAGIC, bytes)?;
    postcard::from_bytes(body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotward_cluster::ShardId;
    use slotward_types::Epoch;

    #[test]
    fn they_read_back_and_damage_is_noticed() {
        let revoked = Map::from([(ShardId(1), Epoch(7)), (ShardId(9), Epoch(2))]);
        let bytes = encode(&revoked).unwrap();
        assert_eq!(decode(&bytes).unwrap(), revoked);
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 4;
            assert!(decode(&damaged).is_err(), "byte {byte}");
        }
        assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "cut short");
    }
}
