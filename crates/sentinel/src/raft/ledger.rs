//! The file in which a sentinel keeps what it has bound itself to while a group is formed, and which
//! group it belongs to.
//!
//! ```text
//! formation  sealed "SWFO": postcard(Ledger)
//! ```

use std::io;
use std::path::Path;

use super::formation::Ledger;
use crate::disk;

const FILE: &str = "formation";
const MAGIC: [u8; 4] = *b"SWFO";

/// What is on disk in `dir`; an empty ledger if nothing is.
pub(super) fn read(dir: &Path) -> io::Result<Ledger> {
    let at = |error: io::Error| {
        let path = dir.join(FILE);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let Some(bytes) = disk::read(dir, FILE).map_err(at)? else { return Ok(Ledger::default()) };
    let body = disk::unseal(MAGIC, &bytes).map_err(at)?;
    postcard::from_bytes(body).map_err(io::Error::other).map_err(at)
}

/// Replaces it; on disk when this returns.
pub(super) fn write(dir: &Path, ledger: &Ledger) -> io::Result<()> {
    let body = postcard::to_stdvec(ledger).map_err(io::Error::other)?;
    disk::replace(dir, FILE, &disk::seal(MAGIC, &body))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raft::formation::{Ask, Formation, GroupId, Plan};
    use crate::raft::{Member, raft_id};
    use crate::testing::TempDir;

    #[test]
    fn it_reads_back_and_damage_is_noticed() {
        let dir = TempDir::new();
        assert_eq!(read(dir.path()).unwrap(), Ledger::default(), "no file yet");
        let me = Member { id: "01".repeat(20), resp: "a:1".into(), grpc: "a:2".into() };
        let members = BTreeMap::from([(raft_id(&me), me.clone())]);
        let mut formation = Formation::new(raft_id(&me), Ledger::default());
        let plan = Plan { group: GroupId(5), members };
        assert_eq!(formation.begin(1, plan.clone()), Some(Ask::Decided(plan)));
        write(dir.path(), formation.ledger()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), *formation.ledger());
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x20;
            std::fs::write(dir.path().join(FILE), &damaged).unwrap();
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("formation: damaged"), "byte {byte}: {error}");
            std::fs::write(dir.path().join(FILE), &whole[..byte]).unwrap();
            assert!(read(dir.path()).is_err(), "cut at {byte}");
        }
    }
}
