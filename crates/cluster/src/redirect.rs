//! Where a command goes, and the error that says so.

use std::fmt;

use slotward_types::Slot;

/// The error for a command whose keys lie in several slots.
pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// What the map says about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// Here, if the node's lease says so too.
    Serve,
    /// The client must ask another node.
    Moved {
        /// The slot.
        slot: Slot,
        /// Its owner's announced host…
        host: &'a str,
        /// …and port.
        port: u16,
    },
    /// Nobody serves it.
    Down(ClusterDown),
}

/// Why nobody serves a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterDown {
    /// The slot has no owner.
    Unassigned,
    /// Some slot has no owner, and the configuration wants all of them covered; or this master has
    /// lost its lease.
    State,
}

impl fmt::Display for ClusterDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClusterDown::Unassigned => "CLUSTERDOWN Hash slot not served",
            ClusterDown::State => "CLUSTERDOWN The cluster is down",
        })
    }
}

/// The error text; a route that serves has none and prints nothing.
impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Serve => Ok(()),
            Route::Moved { slot, host, port } => write!(f, "MOVED {slot} {host}:{port}"),
            Route::Down(down) => down.fmt(f),
        }
    }
}

impl<'a> Route<'a> {
    /// The same for a client that reaches every node at this one host.
    #[must_use]
    pub fn seen_at(self, host: Option<&'a str>) -> Route<'a> {
        match (self, host) {
            (Route::Moved { slot, port, .. }, Some(host)) => Route::Moved { slot, host, port },
            (route, _) => route,
        }
    }

    /// The error that sends a client along for one command only (`ASK`), in place of `MOVED`.
    pub fn ask(slot: Slot, host: &str, port: u16) -> String {
        format!("ASK {slot} {host}:{port}")
    }
}
