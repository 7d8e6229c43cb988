//! The `slotward` binary.
//!
//! `slotward server` and `slotward sentinel` take the arguments of `redis-server` and
//! `redis-sentinel`; called by these names the binary is these programs. `slotward cluster` is for
//! operators. Owns the start of a process (settings, logging, pid file) and nothing of what it
//! then does.

mod client;
mod cluster;
mod drill;
mod roles;
mod start;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// `INFO memory` reads its statistics; its size classes fit our entries (docs/architecture.md).
#[global_allocator]
static ALLOCATOR: slotward_server::Allocator = slotward_server::Allocator;

/// A Redis-compatible, clustered in-memory datastore.
#[derive(Debug, Parser)]
#[command(name = "slotward", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a data node; takes redis-server's arguments: [FILE] [--OPTION VALUE...]... [-]
    #[command(disable_help_flag = true)]
    Server {
        /// A configuration file and options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a sentinel; takes the same form of arguments
    #[command(disable_help_flag = true)]
    Sentinel {
        /// A configuration file and options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Start, stop and look at a cluster
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Break a node of a running group under writes and show what clients see of it
    Drill(drill::Options),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "redis-server" => start::run(roles::Role::Server, &arguments.collect::<Vec<_>>()),
        "redis-sentinel" => start::run(roles::Role::Sentinel, &arguments.collect::<Vec<_>>()),
        _ => match Arguments::parse().command {
            Command::Server { arguments } => start::run(roles::Role::Server, &arguments),
            Command::Sentinel { arguments } => start::run(roles::Role::Sentinel, &arguments),
            Command::Cluster { command } => cluster::run(&command),
            Command::Drill(options) => drill::run(&options),
        },
    }
}
