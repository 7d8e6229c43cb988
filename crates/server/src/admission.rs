//! What commands are admitted under: role, settings, time, and what is refused meanwhile.

use std::sync::Arc;

use slotward_commands::Flags;
use slotward_keyspace::ExpiryPolicy;
use slotward_types::UnixMillis;

use crate::clock;
use crate::live::Live;
use crate::node::Node;
use crate::pause::Paused;
use crate::view::RoleWord;

/// What the commands of a batch are admitted under. Read once; renewed after every wait.
pub(crate) struct View {
    /// Role and epoch.
    pub(crate) word: RoleWord,
    /// The settings.
    pub(crate) live: Arc<Live>,
    /// The time.
    pub(crate) now: UnixMillis,
    /// What becomes of keys whose time has come.
    pub(crate) policy: ExpiryPolicy,
    /// Whether there was a pause, in which they are hidden.
    paused: bool,
    /// Why data may not be changed, if it may not.
    write_refusal: Option<&'static str>,
    /// Why data may not be read, if it may not.
    read_refusal: Option<&'static str>,
    /// Whether only commands that do without current data are executed.
    is_stale: bool,
    /// Whether commands that need memory must make room first.
    pub(crate) limits_memory: bool,
}

const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const NO_LEASE_CLUSTER: &str = "CLUSTERDOWN The cluster is down";
const NO_LEASE: &str = "MASTERDOWN This master has no lease from its sentinels at the moment";
const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
const STALE: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

impl View {
    /// What holds now.
    pub(crate) fn new(node: &Node) -> View {
        let word = node.role.load();
        let live = node.live.load_full();
        let settings = &live.settings;
        let leased = node.role.holds_lease(word);
        let paused = node.pause.of_data() != Paused::Nothing;
        let is_stale = !word.is_master()
            && !settings.replica_serve_stale_data
            && !node.replication.is_in_sync();
        let read_refusal = if !leased {
            Some(if settings.cluster_enabled { NO_LEASE_CLUSTER } else { NO_LEASE })
        } else if is_stale {
            Some(STALE)
        } else {
            None
        };
        let write_refusal = if read_refusal.is_some() {
            read_refusal
        } else if !word.is_master() {
            (settings.replica_read_only || word.is_managed()).then_some(READ_ONLY)
        } else if settings.min_replicas_to_write > 0
            && !node.replication.has_good_replicas(settings)
        {
            Some(NO_REPLICAS)
        } else {
            None
        };
        View {
            word,
            now: clock::unix_now(),
            policy: node.expiry_policy_of(word, leased, paused),
            paused,
            limits_memory: settings.maxmemory > 0
                && (word.is_master() || !settings.replica_ignore_maxmemory),
            write_refusal,
            read_refusal,
            is_stale,
            live,
        }
    }

    /// Why a command that touches no data may not be executed, if it may not.
    #[inline]
    pub(crate) fn stale_refusal(&self, flags: Flags) -> Option<&'static str> {
        (self.is_stale && !flags.has(Flags::STALE)).then_some(STALE)
    }

    /// Whether role or epoch are others now, or a pause has begun or ended. A write that took the
    /// place of a key which a pause hid would not be told to the replicas: they still have that key.
    #[inline]
    pub(crate) fn is_outdated(&self, node: &Node) -> bool {
        node.role.load() != self.word || (node.pause.of_data() != Paused::Nothing) != self.paused
    }

    /// Why a command with these flags may not be executed, if it may not.
    #[inline]
    pub(crate) fn refusal(&self, flags: Flags) -> Option<&'static str> {
        if flags.has(Flags::WRITE) { self.write_refusal } else { self.read_refusal }
    }
}
