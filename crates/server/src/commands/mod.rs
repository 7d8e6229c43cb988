//! The commands about the node itself: rows and handlers, family by family.

mod client;
mod cluster;
mod config;
mod connection;
mod debug;
mod keyspace;
mod memory;
mod scan;
mod server;
mod slotward;
mod transaction;

use slotward_commands::{Arity, CmdError, Command, Flags, Group, Run};
use slotward_keyspace::DbIndex;

use crate::call::{NodeCall, NodeCommand};

/// All families.
pub(crate) fn all() -> Vec<&'static [NodeCommand]> {
    vec![
        connection::COMMANDS,
        client::COMMANDS,
        transaction::COMMANDS,
        keyspace::COMMANDS,
        scan::COMMANDS,
        server::COMMANDS,
        memory::COMMANDS,
        config::COMMANDS,
        debug::COMMANDS,
        cluster::COMMANDS,
        slotward::COMMANDS,
        crate::pubsub::COMMANDS,
        crate::replication::COMMANDS,
    ]
}

/// A row; `arity` is in Redis's notation (negative: at least).
pub(crate) const fn row(
    name: &'static str,
    arity: i16,
    flags: Flags,
    group: Group,
    since: &'static str,
    summary: &'static str,
) -> Command {
    let arity = if arity < 0 {
        Arity::AtLeast(arity.unsigned_abs())
    } else {
        Arity::Exactly(arity.unsigned_abs())
    };
    Command { name, arity, flags, group, since, summary, run: Run::Node, ..Command::BLANK }
}

/// The row of a command that needs a second word.
pub(crate) const fn container(
    name: &'static str,
    group: Group,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command { run: Run::Container, ..row(name, -2, Flags::NONE, group, since, summary) }
}

/// Allowed while data are loaded or stale.
pub(crate) const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE);
/// About the connection or the node; not for scripts.
pub(crate) const NODE: Flags = ANYTIME.and(Flags::NOSCRIPT);
/// For operators.
pub(crate) const ADMIN: Flags = NODE.and(Flags::ADMIN);

/// A database's number as an argument gives it.
pub(crate) fn db_index(call: &NodeCall<'_>, index: usize) -> Result<DbIndex, CmdError> {
    let number = slotward_commands::parse_integer(&call.argv[index])
        .ok_or(CmdError::text("ERR invalid DB index"))?;
    u16::try_from(number)
        .ok()
        .filter(|number| *number < call.node.keyspace.databases())
        .map(DbIndex)
        .ok_or(CmdError::DbOutOfRange)
}

/// Writes the lines of a `HELP` subcommand: the forms of a container's subcommands.
pub(crate) fn help(call: &mut NodeCall<'_>, name: &str, forms: &[&str]) {
    call.reply.array(forms.len() + 1);
    call.reply.simple(&format!("{name} <subcommand> [<arg> ...]. Subcommands are:"));
    forms.iter().for_each(|form| call.reply.simple(form));
}
