//! `MEMORY`: what the node's memory is used for.

use std::sync::atomic::Ordering;

use slotward_commands::{Access, Arg, CmdError, Command, Flags, Group, Keys};
use slotward_keyspace::DbIndex;

use super::{ANYTIME, container, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::memory;

const fn server(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
) -> Command {
    row(name, arity, flags, Group::Server, since, summary)
}

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[NodeCommand::container(
    container("memory", Group::Server, "4.0.0", "Commands about memory."),
    &[
        NodeCommand::new(
            Command {
                keys: &[Keys::at(2, Access::PEEK)],
                args: &[Arg::key("key"), Arg::integer("count").token("SAMPLES").optional()],
                complexity: "O(N) in the number of samples",
                ..server("usage", -3, Flags::READ, "4.0.0", "Estimates the memory of a key.")
            },
            Handler::Later(usage),
        ),
        NodeCommand::new(
            server("purge", 2, Flags::NONE, "4.0.0", "Gives free memory back to the system."),
            Handler::Now(purge),
        ),
        NodeCommand::new(
            server("doctor", 2, Flags::NONE, "4.0.0", "Says whether memory use looks sound."),
            Handler::Now(doctor),
        ),
        NodeCommand::new(
            server("stats", 2, Flags::NONE, "4.0.0", "Tells what memory is used for."),
            Handler::Now(stats),
        ),
        NodeCommand::new(
            server("malloc-stats", 2, Flags::NONE, "4.0.0", "Shows the allocator's statistics."),
            Handler::Now(malloc_stats),
        ),
        NodeCommand::new(
            server("help", 2, ANYTIME, "4.0.0", "Lists the subcommands."),
            Handler::Now(help),
        ),
    ],
)];

fn usage<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        match call.argv.len() {
            3 => {}
            5 if call.is_word(3, "SAMPLES") => {
                if call.int(4)? < 0 {
                    return Err(CmdError::Syntax);
                }
            }
            _ => return Err(CmdError::Syntax),
        }
        let bytes = call.arg(2).to_vec();
        let key = call.node.keyspace.key(&bytes);
        let db = call.conn.db;
        let info = call.in_slot(key.slot, db, |view, _| view.object_info(&key)).await;
        match info {
            Some(info) => call.reply.integer(info.memory_bytes as i64),
            None => call.reply.null(),
        }
        Ok(())
    })
}

fn purge(call: &mut NodeCall<'_>) -> Outcome {
    memory::purge();
    call.reply.ok();
    Ok(())
}

fn doctor(call: &mut NodeCall<'_>) -> Outcome {
    let usage = memory::usage();
    let keys: u64 = (0..call.node.keyspace.databases())
        .map(|db| call.node.keyspace.dbsize(slotward_keyspace::DbIndex(db)))
        .sum();
    let ratio = usage.resident as f64 / usage.allocated.max(1) as f64;
    let text = if usage.allocated < 5 << 20 || keys == 0 {
        "There is little data, so there is nothing to say about its memory.".to_owned()
    } else if ratio > 1.4 {
        format!("Resident memory is {ratio:.2} times what is allocated: MEMORY PURGE may help.")
    } else {
        format!("Memory use looks sound (resident is {ratio:.2} times what is allocated).")
    };
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(
        call,
        "MEMORY",
        &["USAGE <key> [SAMPLES <count>]", "STATS", "MALLOC-STATS", "PURGE", "DOCTOR"],
    );
    Ok(())
}

/// A figure of `MEMORY STATS`.
enum Figure {
    Bytes(u64),
    Ratio(f64),
}

fn stats(call: &mut NodeCall<'_>) -> Outcome {
    use Figure::{Bytes, Ratio};
    let node = call.node;
    let seen = memory::usage();
    let peak = node.memory_peak.load(Ordering::Relaxed).max(seen.allocated);
    let dataset = node.keyspace.memory_used().min(seen.allocated);
    let keys: Vec<u64> =
        (0..node.keyspace.databases()).map(|db| node.keyspace.dbsize(DbIndex(db))).collect();
    let keys: u64 = keys.iter().sum();
    let clients: u64 = node.clients.all().iter().map(|client| client.memory_bytes()).sum();
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let figures = [
        ("peak.allocated", Bytes(peak)),
        ("total.allocated", Bytes(seen.allocated)),
        ("replication.backlog", Bytes(node.replication.memory_bytes())),
        ("clients.normal", Bytes(clients)),
        ("overhead.total", Bytes(seen.allocated - dataset)),
        ("keys.count", Bytes(keys)),
        ("keys.bytes-per-key", Bytes(dataset.checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", Bytes(dataset)),
        ("dataset.percentage", Ratio(share(dataset, seen.allocated) * 100.0)),
        ("peak.percentage", Ratio(share(seen.allocated, peak) * 100.0)),
        ("allocator.allocated", Bytes(seen.allocated)),
        ("allocator.active", Bytes(seen.active)),
        ("allocator.resident", Bytes(seen.mapped)),
        ("allocator-fragmentation.ratio", Ratio(share(seen.active, seen.allocated))),
        ("allocator-fragmentation.bytes", Bytes(seen.active.saturating_sub(seen.allocated))),
        ("allocator-rss.ratio", Ratio(share(seen.mapped, seen.active))),
        ("allocator-rss.bytes", Bytes(seen.mapped.saturating_sub(seen.active))),
        ("rss-overhead.ratio", Ratio(share(seen.resident, seen.mapped))),
        ("rss-overhead.bytes", Bytes(seen.resident.saturating_sub(seen.mapped))),
        ("fragmentation", Ratio(share(seen.resident, seen.allocated))),
        ("fragmentation.bytes", Bytes(seen.resident.saturating_sub(seen.allocated))),
    ];
    call.reply.map(figures.len());
    for (name, figure) in figures {
        call.reply.bulk(name.as_bytes());
        match figure {
            Bytes(bytes) => call.reply.integer(bytes as i64),
            Ratio(ratio) => call.reply.double(ratio),
        }
    }
    Ok(())
}

fn malloc_stats(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.verbatim("txt", memory::report().as_bytes());
    Ok(())
}
