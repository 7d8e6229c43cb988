//! Every setting as one table row, and the places that settings come from.
//!
//! A row of [`SETTINGS`] is all that is known about a setting: name, aliases, form, default, when
//! it may change, documentation. The typed struct [`Settings`], the parsers of `redis.conf` files,
//! `redis-server`'s command line, YAML and the environment, `CONFIG GET|SET` and the documentation
//! page come from it.
//!
//! Later sources win: the defaults, then the file (with what it includes), then the environment
//! (`SLOTWARD_*`), then the command line.
//!
//! Reads no file and no environment itself: the process hands both in ([`Sources`]).
//!
//! **Invariant:** a [`Config`] that exists has passed every check, the ones between settings
//! included; a refused change leaves it as it was.

mod client_hosts;
mod command_line;
mod field;
mod file;
mod load;
mod rewrite;
mod row;
mod sentinel;
mod store;
mod table;
mod values;
mod yaml;

pub use client_hosts::ClientHosts;
pub use command_line::{CommandLine, parse_command_line};
pub use field::BadValue;
pub use file::split_words;
pub use load::{LoadError, ReadFiles, Sources, load};
pub use rewrite::rewrite;
pub use row::{Effect, Kind, Mutability, Setting};
pub use sentinel::{Monitor, SentinelLines};
pub use store::{Config, SetError, find, nearest};
pub use table::{SETTINGS, Settings};
pub use values::{
    BufferLimit, BufferLimits, BytesOrPercent, Endpoint, KeyspaceEvents, Lines, OomScores,
    SavePoint, SentinelAddress,
};
