//! The slow log: the last commands that took longer than a setting says.

use std::collections::VecDeque;

use parking_lot::Mutex;
use slotward_resp::{Args, Reply};

/// Arguments of a command that are kept, and bytes of each: a slow command is often a huge one.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Debug)]
struct Entry {
    id: u64,
    at_seconds: i64,
    micros: u64,
    args: Vec<Vec<u8>>,
    address: String,
    name: String,
}

/// The slow log of the node.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    next_id: u64,
    entries: VecDeque<Entry>,
}

impl SlowLog {
    /// Enters a command; the oldest entries beyond `entries_max` go.
    pub(crate) fn enter(
        &self,
        entries_max: usize,
        at_seconds: i64,
        micros: u64,
        args: Args<'_>,
        address: &str,
        name: &str,
    ) {
        let mut kept = self.kept.lock();
        let id = kept.next_id;
        kept.next_id += 1;
        kept.entries.push_front(Entry {
            id,
            at_seconds,
            micros,
            args: shortened(args),
            address: address.to_owned(),
            name: name.to_owned(),
        });
        kept.entries.truncate(entries_max);
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.kept.lock().entries.len()
    }

    /// Forgets the entries; their numbers are not used again.
    pub(crate) fn reset(&self) {
        self.kept.lock().entries.clear();
    }

    /// Writes the newest `count` entries.
    pub(crate) fn write(&self, count: usize, reply: &mut Reply) {
        let kept = self.kept.lock();
        let count = count.min(kept.entries.len());
        reply.array(count);
        for entry in kept.entries.iter().take(count) {
            reply.array(6);
            reply.integer(entry.id as i64);
            reply.integer(entry.at_seconds);
            reply.integer(entry.micros as i64);
            reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk(entry.address.as_bytes());
            reply.bulk(entry.name.as_bytes());
        }
    }
}

fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let shorten = |arg: &[u8]| {
        if arg.len() <= ARG_BYTES_MAX {
            return arg.to_vec();
        }
        let mut text = arg[..ARG_BYTES_MAX].to_vec();
        text.extend_from_slice(
            format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes(),
        );
        text
    };
    if args.len() <= ARGS_MAX {
        return args.iter().map(shorten).collect();
    }
    let mut kept: Vec<_> = args.iter().take(ARGS_MAX - 1).map(shorten).collect();
    kept.push(format!("... ({} more arguments)", args.len() - ARGS_MAX + 1).into_bytes());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotward_resp::OwnedArgs;

    #[test]
    fn entries_are_bounded_in_number_and_size() {
        let log = SlowLog::default();
        let long = [b"x".repeat(1000)];
        let args: OwnedArgs = std::iter::repeat_n(long[0].as_slice(), 100).collect();
        (0..10).for_each(|_| log.enter(4, 1, 20_000, args.as_args(), "a:1", ""));
        assert_eq!(log.len(), 4);
        let kept = log.kept.lock();
        assert_eq!(kept.entries[0].id, 9, "newest first");
        assert_eq!(kept.entries[0].args.len(), ARGS_MAX);
        assert_eq!(kept.entries[0].args[31], b"... (69 more arguments)");
        assert!(kept.entries[0].args[0].ends_with(b"... (872 more bytes)"));
        drop(kept);
        log.reset();
        assert_eq!(log.len(), 0);
    }
}
