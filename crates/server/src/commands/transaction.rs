//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`.

use std::sync::atomic::Ordering;

use slotward_commands::{Access, Arg, CmdError, Command, Flags, Group, Keys};

use super::{NODE, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::client::mark;
use crate::connection::Watched;
use crate::transaction::without_multi;

const FLAGS: Flags = NODE.and(Flags::FAST).and(Flags::ALLOW_BUSY).and(Flags::NOT_QUEUED);

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        row("multi", 1, FLAGS, Group::Transactions, "1.2.0", "Begins to queue commands."),
        Handler::Now(multi),
    ),
    NodeCommand::new(
        row(
            "exec",
            1,
            NODE.and(Flags::SKIP_SLOWLOG).and(Flags::NOT_QUEUED),
            Group::Transactions,
            "1.2.0",
            "Runs the queued commands as one.",
        ),
        Handler::Now(exec),
    ),
    NodeCommand::new(
        row("discard", 1, FLAGS, Group::Transactions, "2.0.0", "Forgets the queued commands."),
        Handler::Now(discard),
    ),
    NodeCommand::new(
        Command {
            keys: &[Keys::from(1, Access::PEEK)],
            args: &[Arg::key("key").multiple()],
            complexity: "O(N) in the number of keys",
            ..row(
                "watch",
                -2,
                FLAGS,
                Group::Transactions,
                "2.2.0",
                "Makes EXEC do nothing if one of the keys has changed by then.",
            )
        },
        Handler::Later(watch),
    ),
    NodeCommand::new(
        row(
            "unwatch",
            1,
            FLAGS.without(Flags::NOT_QUEUED),
            Group::Transactions,
            "2.2.0",
            "Forgets the watched keys.",
        ),
        Handler::Now(unwatch),
    ),
];

fn multi(call: &mut NodeCall<'_>) -> Outcome {
    if call.conn.transaction.is_some() {
        return Err(CmdError::text("ERR MULTI calls can not be nested"));
    }
    call.conn.transaction = Some(Box::default());
    call.conn.client.mark(mark::MULTI, true);
    call.conn.client.queued.store(0, Ordering::Relaxed);
    call.reply.ok();
    Ok(())
}

fn exec(call: &mut NodeCall<'_>) -> Outcome {
    if call.conn.transaction.is_none() {
        return Err(without_multi("EXEC"));
    }
    call.conn.exec_asked = true;
    Ok(())
}

fn discard(call: &mut NodeCall<'_>) -> Outcome {
    if call.conn.transaction.is_none() {
        return Err(without_multi("DISCARD"));
    }
    call.conn.end_transaction();
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut NodeCall<'_>) -> Outcome {
    call.conn.watched.clear();
    call.conn.client.watched.store(0, Ordering::Relaxed);
    call.reply.ok();
    Ok(())
}

fn watch<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        if call.conn.transaction.is_some() {
            return Err(CmdError::text("ERR WATCH inside MULTI is not allowed"));
        }
        let keyspace = call.node.keyspace;
        let db = call.conn.db;
        let argv = call.argv;
        for bytes in argv.from(1).iter() {
            if call.conn.watched.iter().any(|known| known.db == db && *known.key == *bytes) {
                continue;
            }
            let key = keyspace.key(bytes);
            // A key whose time has come goes now: that it is gone later is no change then.
            call.in_slot(key.slot, db, |view, _| view.exists(&key)).await;
            let (_inside, guard) = call.worker.lock(key.slot).await;
            let watch = keyspace.watch(&guard, db, &key);
            call.conn.watched.push(Watched { db, key: bytes.into(), watch });
        }
        let count = u32::try_from(call.conn.watched.len()).unwrap_or(u32::MAX);
        call.conn.client.watched.store(count, Ordering::Relaxed);
        call.reply.ok();
        Ok(())
    })
}
