//! The settings that data commands look at.

use slotward_keyspace::EncodingLimits;

use crate::effects::EventClass;

/// Settings that handlers read; a copy is replaced as a whole when one changes.
#[derive(Debug, Clone)]
pub struct DataSettings {
    /// When small encodings become large ones.
    pub limits: EncodingLimits,
    /// Longest string (`proto-max-bulk-len`).
    pub string_bytes_max: usize,
    /// Longest sparse HyperLogLog (`hll-sparse-max-bytes`).
    pub hll_sparse_bytes_max: usize,
    /// Which keyspace events are wanted (`notify-keyspace-events`).
    pub notify: EventClass,
    /// How many databases there are.
    pub databases: u16,
    /// Whether the node is part of a cluster.
    pub cluster_enabled: bool,
    /// Whether the eviction policy counts accesses (an `…-lfu` policy).
    pub counts_accesses: bool,
    /// Which deletions replicas are told to do in the background.
    pub lazy_free: LazyFree,
}

/// Which deletions are propagated as `UNLINK` rather than `DEL`. Here, memory of any size goes back
/// in the background whatever these say; a replica of another kind may heed them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LazyFree {
    /// Those of `EXPIRE` with a past time and of keys whose time came (`lazyfree-lazy-expire`).
    pub expire: bool,
    /// Those which are a side effect of a command (`lazyfree-lazy-server-del`).
    pub server_del: bool,
    /// Those that a client asked for (`lazyfree-lazy-user-del`).
    pub user_del: bool,
    /// Those that make room (`lazyfree-lazy-eviction`).
    pub eviction: bool,
}

/// The command that deletes a key.
pub fn deletion(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

impl DataSettings {
    /// Whether there is only database 0 because the node is part of a cluster.
    pub fn is_cluster_of_one_database(&self) -> bool {
        self.cluster_enabled && self.databases == 1
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings {
            limits: EncodingLimits::default(),
            string_bytes_max: 512 << 20,
            hll_sparse_bytes_max: 3000,
            notify: EventClass::NONE,
            databases: 16,
            cluster_enabled: false,
            counts_accesses: false,
            lazy_free: LazyFree::default(),
        }
    }
}
