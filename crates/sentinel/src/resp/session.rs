//! What a connection remembers between commands.

use std::collections::BTreeSet;
use std::sync::Arc;

use slotward_resp::Protocol;

/// One client's connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// `CLIENT ID`.
    pub(crate) id: u64,
    /// Where it comes from.
    pub(crate) address: String,
    /// The host at which it is told to find everybody, if not at those that were announced.
    pub(crate) told_host: Option<Arc<str>>,
    /// `CLIENT SETNAME`.
    pub(crate) name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub(crate) library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub(crate) library_version: String,
    /// The version of the protocol it speaks.
    pub(crate) protocol: Protocol,
    /// Whether it may give commands.
    pub(crate) authenticated: bool,
    /// `SUBSCRIBE`.
    pub(crate) channels: BTreeSet<Vec<u8>>,
    /// `PSUBSCRIBE`.
    pub(crate) patterns: BTreeSet<Vec<u8>>,
}

impl Session {
    /// Whether it hears of events.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscriptions() > 0
    }

    /// Channels and patterns together.
    pub(crate) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Back to how it was when it connected.
    pub(crate) fn reset(&mut self, authenticated: bool) {
        let (id, address) = (self.id, std::mem::take(&mut self.address));
        let told_host = self.told_host.take();
        *self = Session { id, address, told_host, authenticated, ..Session::default() };
    }
}
