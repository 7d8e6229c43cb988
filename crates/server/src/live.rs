//! The settings as the workers read them: one immutable value, replaced as a whole.

use std::sync::Arc;

use slotward_commands::{DataSettings, LazyFree};
use slotward_config::{BufferLimit, Settings};
use slotward_keyspace::EncodingLimits;
use slotward_resp::Limits;

use crate::clock;
use crate::pubsub;

/// The settings, and what follows from them.
#[derive(Debug)]
pub(crate) struct Live {
    /// As they were given.
    pub(crate) settings: Arc<Settings>,
    /// What data commands look at.
    pub(crate) data: DataSettings,
    /// What a client may send.
    pub(crate) limits: Limits,
    /// Ticks from which a command is slow; `None` logs none.
    pub(crate) slow_ticks: Option<u64>,
    /// When a client is cut off whose replies pile up.
    pub(crate) output: BufferLimit,
}

impl Live {
    /// What follows from these settings.
    pub(crate) fn new(settings: Arc<Settings>) -> Live {
        let slower_than = settings.slowlog_log_slower_than;
        Live {
            data: data_settings(&settings),
            limits: Limits {
                bulk_bytes_max: bytes(settings.proto_max_bulk_len),
                ..Limits::default()
            },
            slow_ticks: u64::try_from(slower_than)
                .ok()
                .map(|micros| (micros as f64 * clock::ticks_per_micro()) as u64),
            output: settings.client_output_buffer_limit.normal,
            settings,
        }
    }

    /// Whether clients have to authenticate.
    pub(crate) fn wants_password(&self) -> bool {
        !self.settings.requirepass.is_empty()
    }
}

/// How many databases there are: `databases`, in cluster mode `cluster-databases`.
pub(crate) fn database_count(settings: &Settings) -> u32 {
    if settings.cluster_enabled { settings.cluster_databases } else { settings.databases }
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn data_settings(settings: &Settings) -> DataSettings {
    DataSettings {
        limits: EncodingLimits {
            hash_max_listpack_entries: bytes(settings.hash_max_listpack_entries),
            hash_max_listpack_value: bytes(settings.hash_max_listpack_value),
            set_max_intset_entries: bytes(settings.set_max_intset_entries),
            set_max_listpack_entries: bytes(settings.set_max_listpack_entries),
            set_max_listpack_value: bytes(settings.set_max_listpack_value),
            zset_max_listpack_entries: bytes(settings.zset_max_listpack_entries),
            zset_max_listpack_value: bytes(settings.zset_max_listpack_value),
            list_max_listpack_size: settings.list_max_listpack_size.into(),
            list_compress_depth: settings.list_compress_depth as usize,
            stream_node_max_bytes: bytes(settings.stream_node_max_bytes),
            stream_node_max_entries: bytes(settings.stream_node_max_entries),
        },
        string_bytes_max: bytes(settings.proto_max_bulk_len),
        hll_sparse_bytes_max: bytes(settings.hll_sparse_max_bytes),
        notify: pubsub::classes(settings),
        databases: u16::try_from(database_count(settings)).unwrap_or(u16::MAX),
        cluster_enabled: settings.cluster_enabled,
        counts_accesses: settings.maxmemory_policy.ends_with("lfu"),
        lazy_free: LazyFree {
            expire: settings.lazyfree_lazy_expire,
            server_del: settings.lazyfree_lazy_server_del,
            user_del: settings.lazyfree_lazy_user_del,
            eviction: settings.lazyfree_lazy_eviction,
        },
    }
}
