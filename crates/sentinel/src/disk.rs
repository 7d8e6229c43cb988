//! Small files that survive a crash: written beside their place, made durable, renamed into it.
//!
//! ```text
//! sealed file  magic[4] version:u32 crc32c:u32 body     the checksum is over the body
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const VERSION: u32 = 1;

/// Replaces the file `name` in `dir` by one that holds `bytes`. When this returns, a crash at any
/// moment leaves the old content or the new one, never a mixture.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The file's content, or `None` if there is no such file.
pub(crate) fn read(dir: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of a file of this kind.
pub(crate) fn seal(magic: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&CRC32C.checksum(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// What was sealed, if the file is intact and of this kind.
pub(crate) fn unseal(magic: [u8; 4], bytes: &[u8]) -> io::Result<&[u8]> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged, or of another version");
    let (head, body) = bytes.split_at_checked(12).ok_or_else(damaged)?;
    let crc = u32::from_le_bytes(head[8..].try_into().expect("4 bytes"));
    let intact =
        head[..4] == magic && head[4..8] == VERSION.to_le_bytes() && CRC32C.checksum(body) == crc;
    if intact { Ok(body) } else { Err(damaged()) }
}
