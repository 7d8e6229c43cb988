//! Reads an RDB stream from standard input and writes what it holds to standard output, in the form
//! that this crate writes. Compares the crate with other servers: load their files, have them load
//! ours.

use std::io::{Read, Write};

use slotward_keyspace::{DbIndex, EncodingLimits, EntryRef};
use slotward_rdb::{Event, Preamble, ReadLimits, Reader, Writer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let limits = EncodingLimits::default();
    let mut reader = Reader::new(&input[..], &limits, ReadLimits::default());
    let compress = std::env::args().any(|arg| arg == "--compress");
    let preamble = Preamble { redis_version: "7.2.4".to_owned(), ..Preamble::default() };
    let mut writer = Writer::new(&preamble, compress);
    let mut db = DbIndex(0);
    loop {
        match reader.next_event()? {
            Event::Select(number) => db = DbIndex(u16::try_from(number)?),
            Event::Entry(entry) => {
                let (key, expires_at) = (entry.key.as_slice(), entry.expires_at);
                writer.entry(db, &EntryRef { key, value: entry.value.as_ref(), expires_at });
            }
            Event::Aux { .. } | Event::Resize { .. } | Event::Function(_) => {}
            Event::End => break,
        }
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&writer.take())?;
    out.write_all(&writer.finish())?;
    Ok(())
}
