//! The RESP side on port 26379: what clients of Redis's sentinels ask, in the same shapes.
//!
//! A handler is a pure function of the arguments, the connection's state and a [`View`] of what the
//! sentinel knows; the connection's task performs what it asks for ([`Then`]).

mod commands;
mod elsewhere;
mod sentinel;
mod server;
mod session;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use server::{Server, serve};
