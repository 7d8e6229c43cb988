//! Commands about all keys of a database: they go slot by slot, or take the whole keyspace in the
//! one instant of the worker barrier.

use slotward_commands::{Arg, CmdError, Command, Flags, Group};
use slotward_keyspace::{DbIndex, DbSet, Locked};
use slotward_types::{Slot, glob_match};

use super::{db_index, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};

/// Slots that `KEYS` goes through before it lets other connections of its worker have a turn.
const SLOTS_PER_TURN: usize = 64;
/// Keys whose time has come that a scan removes on its way through a slot, as if it had met them.
pub(super) const EXPIRED_PER_SLOT: usize = 64;
const FLUSH_ARGS: &[Arg] =
    &[Arg::one_of("flush-type", &[Arg::word("async", "ASYNC"), Arg::word("sync", "SYNC")])
        .optional()];

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        Command {
            categories: &["keyspace"],
            ..row(
                "dbsize",
                1,
                Flags::READ.and(Flags::FAST),
                Group::Server,
                "1.0.0",
                "Tells how many keys the database has.",
            )
        },
        Handler::Now(dbsize),
    ),
    NodeCommand::new(
        Command {
            categories: &["dangerous"],
            args: &[Arg::pattern("pattern")],
            complexity: "O(N) in the number of keys of the database",
            ..row(
                "keys",
                2,
                Flags::READ,
                Group::Generic,
                "1.0.0",
                "Lists the keys that match a pattern.",
            )
        },
        Handler::Later(keys),
    ),
    NodeCommand::new(
        row(
            "randomkey",
            1,
            Flags::READ.and(Flags::TOUCHES_ARBITRARY_KEYS),
            Group::Generic,
            "1.0.0",
            "Picks a key at random.",
        ),
        Handler::Later(randomkey),
    ),
    NodeCommand::new(
        Command {
            categories: &["keyspace", "dangerous"],
            args: FLUSH_ARGS,
            complexity: "O(1); the memory is freed in the background",
            ..row(
                "flushall",
                -1,
                Flags::WRITE,
                Group::Server,
                "1.0.0",
                "Removes all keys of all databases.",
            )
        },
        Handler::Whole(flushall),
    ),
    NodeCommand::new(
        Command {
            categories: &["keyspace", "dangerous"],
            args: FLUSH_ARGS,
            complexity: "O(1); the memory is freed in the background",
            ..row(
                "flushdb",
                -1,
                Flags::WRITE,
                Group::Server,
                "1.0.0",
                "Removes all keys of the database.",
            )
        },
        Handler::Whole(flushdb),
    ),
    NodeCommand::new(
        Command {
            categories: &["keyspace", "dangerous"],
            args: &[Arg::integer("index1"), Arg::integer("index2")],
            ..row(
                "swapdb",
                3,
                Flags::WRITE.and(Flags::FAST),
                Group::Server,
                "4.0.0",
                "Exchanges the contents of two databases.",
            )
        },
        Handler::Whole(swapdb),
    ),
];

fn dbsize(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.node.keyspace.dbsize(call.conn.db) as i64);
    Ok(())
}

fn keys<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        let pattern = call.argv.get(1).unwrap_or_default();
        let db = call.conn.db;
        let at = call.reply.deferred_array();
        let mut count = 0;
        let mut next = Some(Slot::ZERO);
        let mut turns = 0;
        while let Some(slot) = next.and_then(|from| call.node.keyspace.next_used_slot(db, from)) {
            call.in_slot(slot, db, |view, call| {
                let mut cursor = 0;
                loop {
                    cursor = view.scan_slot(slot, cursor, &mut |entry| {
                        if glob_match(pattern, entry.key) {
                            call.reply.bulk(entry.key);
                            count += 1;
                        }
                    });
                    if cursor == 0 {
                        break;
                    }
                }
            })
            .await;
            next = Slot::new(u64::from(slot.get()) + 1).ok();
            turns += 1;
            if turns % SLOTS_PER_TURN == 0 && call.held.is_none() {
                tokio::task::yield_now().await;
            }
        }
        call.reply.set_len(at, count);
        Ok(())
    })
}

fn randomkey<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        let db = call.conn.db;
        // A slot may turn out to hold only keys whose time has come; then another one is tried.
        for _ in 0..100 {
            let (start, random) = {
                let mut source = call.worker.random.borrow_mut();
                (source.below(u64::from(Slot::COUNT)), source.next_u64())
            };
            let start = Slot::new(start).expect("it is below the number of slots");
            let keyspace = call.node.keyspace;
            let used = keyspace
                .next_used_slot(db, start)
                .or_else(|| keyspace.next_used_slot(db, Slot::ZERO));
            let Some(slot) = used else { break };
            let key = call
                .in_slot(slot, db, |view, _| {
                    view.expire_due(slot, EXPIRED_PER_SLOT);
                    view.random_in_slot(slot, random).map(|entry| entry.key.to_vec())
                })
                .await;
            if let Some(key) = key {
                call.reply.bulk(&key);
                return Ok(());
            }
        }
        call.reply.null();
        Ok(())
    })
}

/// The data are always freed in the background; both words are understood.
fn flush_words(call: &NodeCall<'_>) -> Outcome {
    match call.argv.len() {
        1 => Ok(()),
        2 if call.is_word(1, "ASYNC") || call.is_word(1, "SYNC") => Ok(()),
        _ => Err(CmdError::Syntax),
    }
}

fn flush(call: &mut NodeCall<'_>, dbs: DbSet) -> Outcome {
    flush_words(call)?;
    let nothing = Locked::new();
    let held = call.held.as_deref().unwrap_or(&nothing);
    let detached = call.node.keyspace.flush_holding(dbs, held);
    call.node.garbage.drop_later(detached);
    call.effects.changed(1);
    call.reply.ok();
    Ok(())
}

fn flushall(call: &mut NodeCall<'_>) -> Outcome {
    flush(call, DbSet::All)
}

fn flushdb(call: &mut NodeCall<'_>) -> Outcome {
    let db = call.conn.db;
    flush(call, DbSet::One(db))
}

fn swapdb(call: &mut NodeCall<'_>) -> Outcome {
    if call.live.settings.cluster_enabled {
        return Err(CmdError::text("ERR SWAPDB is not allowed in cluster mode"));
    }
    let index = |index: usize, which: &'static str| -> Result<DbIndex, CmdError> {
        match db_index(call, index) {
            Err(CmdError::DbOutOfRange) => Err(CmdError::DbOutOfRange),
            Err(_) => Err(CmdError::text(which)),
            Ok(db) => Ok(db),
        }
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    if first != second {
        let nothing = Locked::new();
        let held = call.held.as_deref().unwrap_or(&nothing);
        call.node.keyspace.swap_dbs_holding(first, second, call.now, held);
    }
    call.effects.changed(1);
    call.reply.ok();
    Ok(())
}
