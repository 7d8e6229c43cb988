//! The table of settings: a row per setting, and the typed struct made from it.

use crate::Kind::{self, Bool, Choice, Int, Memory, MemoryOrPercent, Name, Octal, Text, Words};
use crate::client_hosts::ClientHosts;
use crate::field::Field;
use crate::row::{Row, Setting, row};
use crate::sentinel::SentinelLines;
use crate::values::{
    BufferLimits, BytesOrPercent, Endpoint, KeyspaceEvents, Lines, OomScores, SavePoint,
    SentinelAddress,
};

const MAX: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;
const PORT: Kind = Int(0, 65_535);
const YES_NO_LOCAL: Kind = Choice(&["no", "yes", "local"]);
const SHUTDOWN: Kind = Choice(&["default", "save", "nosave", "now", "force"]);

/// Makes, from rows `field: type = name, default => row`, the struct with a typed field per
/// setting and the table by which text reaches these fields.
macro_rules! settings {
    ($( #[doc = $doc:literal] $field:ident: $type:ty = $name:literal, $default:literal => $row:expr; )*) => {
        /// The value of every setting, typed. Immutable once published: a change makes a new one.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $( #[doc = $doc] pub $field: $type, )*
        }

        impl Settings {
            /// Before the rows' defaults are read into it.
            pub(crate) fn blank() -> Settings {
                Settings { $( $field: <$type>::default(), )* }
            }
        }

        /// Every setting, in the order in which they are listed.
        pub static SETTINGS: &[Setting] = &[ $( {
            const ROW: Row = $row;
            Setting {
                name: $name,
                aliases: ROW.aliases,
                kind: ROW.kind,
                default: $default,
                mutability: ROW.mutability,
                effect: ROW.effect,
                secret: ROW.secret,
                doc: $doc.trim_ascii(),
                update: |settings, words, first| settings.$field.update(ROW.kind, words, first),
                render: |settings| settings.$field.render(ROW.kind),
            }
        }, )* ];
    };
}

settings! {
    // The network.
    /// Addresses on which clients are served; `-` in front means: go on if it is not there.
    bind: Vec<String> = "bind", "* -::*" => row(Words).at_start();
    /// Port on which clients are served; 0 serves none.
    port: u16 = "port", "6379" => row(PORT).at_start();
    /// Connections that may wait to be accepted.
    tcp_backlog: u32 = "tcp-backlog", "511" => row(Int(0, INT)).at_start();
    /// Path of a Unix socket on which clients are served too.
    unixsocket: String = "unixsocket", "" => row(Text).at_start();
    /// Permissions of the Unix socket.
    unixsocketperm: u32 = "unixsocketperm", "0" => row(Octal).at_start();
    /// Close a client's connection after this many idle seconds; 0 never does.
    timeout: u64 = "timeout", "0" => row(Int(0, INT));
    /// Seconds between TCP keepalive probes; 0 sends none.
    tcp_keepalive: u32 = "tcp-keepalive", "300" => row(Int(0, INT));
    /// Without a password and with the default `bind`, serve clients of this machine only.
    protected_mode: bool = "protected-mode", "yes" => row(Bool);
    /// Address from which our own connections start.
    bind_source_addr: String = "bind-source-addr", "" => row(Text).stored();
    /// Clients served at a time.
    maxclients: u32 = "maxclients", "10000" => row(Int(1, INT));
    /// Longest string that a client may send.
    proto_max_bulk_len: u64 = "proto-max-bulk-len", "512mb" => row(Memory(1 << 20, MAX));
    /// Most bytes that may wait unparsed for one client.
    client_query_buffer_limit: u64 = "client-query-buffer-limit", "1gb" => row(Memory(1 << 20, MAX));
    /// When a client that does not read its replies is disconnected, by class.
    client_output_buffer_limit: BufferLimits = "client-output-buffer-limit",
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60" => row(Words);
    /// Memory that all clients' buffers may take together; 0 is no limit.
    maxmemory_clients: BytesOrPercent = "maxmemory-clients", "0" => row(MemoryOrPercent).stored();
    /// Port on which TLS clients are served; only 0, none, is known.
    tls_port: u16 = "tls-port", "0" => row(Int(0, 0)).at_start().stored();

    // The process.
    /// Worker threads; 0 is three for every four cores.
    io_threads: u32 = "io-threads", "0" => row(Int(0, 128)).at_start();
    /// Whether I/O threads read too; ours always do.
    io_threads_do_reads: bool = "io-threads-do-reads", "yes" => row(Bool).at_start().stored();
    /// Detach from the terminal.
    daemonize: bool = "daemonize", "no" => row(Bool).at_start();
    /// File in which the process id is kept.
    pidfile: String = "pidfile", "" => row(Text).at_start();
    /// How a supervisor started this process.
    supervised: &'static str = "supervised", "no" =>
        row(Choice(&["no", "auto", "upstart", "systemd"])).at_start().stored();
    /// Least important messages that are logged.
    loglevel: &'static str = "loglevel", "notice" =>
        row(Choice(&["debug", "verbose", "notice", "warning", "nothing"]));
    /// File to log to; empty is the standard output.
    logfile: String = "logfile", "" => row(Text).at_start();
    /// Log to syslog.
    syslog_enabled: bool = "syslog-enabled", "no" => row(Bool).at_start().stored();
    /// Name in syslog.
    syslog_ident: String = "syslog-ident", "redis" => row(Text).at_start().stored();
    /// Facility in syslog.
    syslog_facility: &'static str = "syslog-facility", "local0" => row(Choice(&["user", "local0",
        "local1", "local2", "local3", "local4", "local5", "local6", "local7"])).at_start().stored();
    /// Databases that `SELECT` can choose from.
    databases: u32 = "databases", "16" => row(Int(1, 1024)).at_start();
    /// The same in cluster mode.
    cluster_databases: u32 = "cluster-databases", "1" => row(Int(1, 1024)).at_start();
    /// Print a logo even where nobody looks.
    always_show_logo: bool = "always-show-logo", "no" => row(Bool).at_start().stored();
    /// Write the state into the process title.
    set_proc_title: bool = "set-proc-title", "yes" => row(Bool).at_start().stored();
    /// The form of the process title.
    proc_title_template: String = "proc-title-template", "{title} {listen-addr} {server-mode}" =>
        row(Text).stored();
    /// Locale by which strings are ordered.
    locale_collate: String = "locale-collate", "" => row(Text).stored();
    /// Folder in which everything is kept.
    dir: String = "dir", "." => row(Text).protected();
    /// How often per second background work runs.
    hz: u32 = "hz", "10" => row(Int(1, 500));
    /// Do background work more often with many clients.
    dynamic_hz: bool = "dynamic-hz", "yes" => row(Bool).stored();
    /// Processors on which workers run.
    server_cpulist: String = "server_cpulist", "" => row(Text).at_start().stored();
    /// Processors on which slow work runs.
    bio_cpulist: String = "bio_cpulist", "" => row(Text).at_start().stored();
    /// Processors on which an AOF rewrite runs.
    aof_rewrite_cpulist: String = "aof_rewrite_cpulist", "" => row(Text).at_start().stored();
    /// Processors on which a background save runs.
    bgsave_cpulist: String = "bgsave_cpulist", "" => row(Text).at_start().stored();
    /// Tell the kernel whom to kill first when memory runs out.
    oom_score_adj: &'static str = "oom-score-adj", "no" =>
        row(Choice(&["no", "yes", "relative", "absolute"])).stored();
    /// The scores for that: master, replica, child.
    oom_score_adj_values: OomScores = "oom-score-adj-values", "0 200 800" => row(Words).stored();
    /// Switch transparent huge pages off for this process.
    disable_thp: bool = "disable-thp", "yes" => row(Bool).at_start().stored();
    /// Warnings of the start that are not printed.
    ignore_warnings: String = "ignore-warnings", "" => row(Text).stored();
    /// Log the state of the process when it crashes.
    crash_log_enabled: bool = "crash-log-enabled", "yes" => row(Bool).stored();
    /// Check the memory after a crash.
    crash_memcheck_enabled: bool = "crash-memcheck-enabled", "yes" => row(Bool).stored();
    /// End with a panic rather than an abort on failed assertions.
    use_exit_on_panic: bool = "use-exit-on-panic", "no" => row(Bool).at_start().stored();
    /// Milliseconds after which a stuck loop is logged.
    watchdog_period: u64 = "watchdog-period", "0" => row(Int(0, INT)).stored();
    /// Seconds to wait for lagging replicas before a stop.
    shutdown_timeout: u64 = "shutdown-timeout", "10" => row(Int(0, INT)).stored();
    /// How SIGINT stops the server.
    shutdown_on_sigint: &'static str = "shutdown-on-sigint", "default" => row(SHUTDOWN).stored();
    /// How SIGTERM stops the server.
    shutdown_on_sigterm: &'static str = "shutdown-on-sigterm", "default" => row(SHUTDOWN).stored();
    /// Id to mark sockets with.
    socket_mark_id: u64 = "socket-mark-id", "0" => row(Int(0, INT)).at_start().stored();

    // Who may do what.
    /// Password that clients give with AUTH.
    requirepass: String = "requirepass", "" => row(Text).secret();
    /// A user and its rules, one per line.
    user: Lines = "user", "" => row(Kind::Lines).at_start().stored().secret();
    /// File with users and their rules.
    aclfile: String = "aclfile", "" => row(Text).at_start().stored();
    /// Refusals remembered by ACL LOG.
    acllog_max_len: u64 = "acllog-max-len", "128" => row(Int(0, MAX)).stored();
    /// What a new user may do with channels.
    acl_pubsub_default: &'static str = "acl-pubsub-default", "resetchannels" =>
        row(Choice(&["allchannels", "resetchannels"])).stored();
    /// Another name for a command, or none at all; one per line.
    rename_command: Lines = "rename-command", "" => row(Kind::Lines).at_start().stored();
    /// Who may change protected settings by CONFIG SET.
    enable_protected_configs: &'static str = "enable-protected-configs", "no" =>
        row(YES_NO_LOCAL).at_start();
    /// Who may use DEBUG.
    enable_debug_command: &'static str = "enable-debug-command", "no" => row(YES_NO_LOCAL).at_start();
    /// Who may use MODULE.
    enable_module_command: &'static str = "enable-module-command", "no" =>
        row(YES_NO_LOCAL).at_start().stored();
    /// A module to load, one per line; modules of other servers do not run here.
    loadmodule: Lines = "loadmodule", "" => row(Kind::Lines).at_start().stored();

    // Memory.
    /// Memory that data may take; 0 is no limit.
    maxmemory: u64 = "maxmemory", "0" => row(Memory(0, MAX));
    /// Which keys make room when memory is full.
    maxmemory_policy: &'static str = "maxmemory-policy", "noeviction" => row(Choice(&["volatile-lru",
        "volatile-lfu", "volatile-lrm", "volatile-random", "volatile-ttl", "allkeys-lru",
        "allkeys-lfu", "allkeys-lrm", "allkeys-random", "noeviction"]));
    /// Keys looked at to find one to evict.
    maxmemory_samples: u32 = "maxmemory-samples", "5" => row(Int(1, 64));
    /// How hard eviction works.
    maxmemory_eviction_tenacity: u32 = "maxmemory-eviction-tenacity", "10" => row(Int(0, 100));
    /// Replicas ignore `maxmemory`.
    replica_ignore_maxmemory: bool = "replica-ignore-maxmemory", "yes" =>
        row(Bool).alias(&["slave-ignore-maxmemory"]);
    /// How slowly the use counter of a key grows.
    lfu_log_factor: u32 = "lfu-log-factor", "10" => row(Int(0, INT));
    /// Minutes after which the use counter of a key shrinks.
    lfu_decay_time: u32 = "lfu-decay-time", "1" => row(Int(0, INT));
    /// How hard the search for expired keys works.
    active_expire_effort: u32 = "active-expire-effort", "1" => row(Int(1, 10));
    /// Rehash in the background; our tables never rehash at once.
    activerehashing: bool = "activerehashing", "yes" => row(Bool).stored();
    /// Defragment memory in the background.
    activedefrag: bool = "activedefrag", "no" => row(Bool).stored();
    /// Least wasted bytes for defragmentation to begin.
    active_defrag_ignore_bytes: u64 = "active-defrag-ignore-bytes", "100mb" => row(Memory(1, MAX)).stored();
    /// Least waste in percent for defragmentation to begin.
    active_defrag_threshold_lower: u32 = "active-defrag-threshold-lower", "10" => row(Int(0, 1000)).stored();
    /// Waste in percent at which defragmentation works hardest.
    active_defrag_threshold_upper: u32 = "active-defrag-threshold-upper", "100" => row(Int(0, 1000)).stored();
    /// Least share of a processor for defragmentation.
    active_defrag_cycle_min: u32 = "active-defrag-cycle-min", "1" => row(Int(1, 99)).stored();
    /// Largest share of a processor for defragmentation.
    active_defrag_cycle_max: u32 = "active-defrag-cycle-max", "25" => row(Int(1, 99)).stored();
    /// Elements defragmented at a time.
    active_defrag_max_scan_fields: u64 = "active-defrag-max-scan-fields", "1000" => row(Int(1, INT)).stored();
    /// Let the allocator's own thread return memory.
    jemalloc_bg_thread: bool = "jemalloc-bg-thread", "yes" => row(Bool).stored();
    /// Free evicted values in the background.
    lazyfree_lazy_eviction: bool = "lazyfree-lazy-eviction", "no" => row(Bool).stored();
    /// Free expired values in the background.
    lazyfree_lazy_expire: bool = "lazyfree-lazy-expire", "no" => row(Bool).stored();
    /// Free overwritten values in the background.
    lazyfree_lazy_server_del: bool = "lazyfree-lazy-server-del", "no" => row(Bool).stored();
    /// Treat DEL as UNLINK.
    lazyfree_lazy_user_del: bool = "lazyfree-lazy-user-del", "no" => row(Bool).stored();
    /// Treat FLUSHALL as FLUSHALL ASYNC.
    lazyfree_lazy_user_flush: bool = "lazyfree-lazy-user-flush", "no" => row(Bool).stored();
    /// Drop a replica's old data in the background.
    replica_lazy_flush: bool = "replica-lazy-flush", "no" =>
        row(Bool).alias(&["slave-lazy-flush"]).stored();

    // How values are encoded.
    /// Fields up to which a hash stays compact.
    hash_max_listpack_entries: u64 = "hash-max-listpack-entries", "512" =>
        row(Int(0, MAX)).alias(&["hash-max-ziplist-entries"]);
    /// Bytes per field or value up to which a hash stays compact.
    hash_max_listpack_value: u64 = "hash-max-listpack-value", "64" =>
        row(Memory(0, MAX)).alias(&["hash-max-ziplist-value"]);
    /// Elements (or, below zero, a class of bytes) per node of a list.
    list_max_listpack_size: i32 = "list-max-listpack-size", "-2" =>
        row(Int(-INT - 1, INT)).alias(&["list-max-ziplist-size"]);
    /// Nodes at either end of a list that are not compressed.
    list_compress_depth: u32 = "list-compress-depth", "0" => row(Int(0, INT)).stored();
    /// Elements up to which a set of integers stays compact.
    set_max_intset_entries: u64 = "set-max-intset-entries", "512" => row(Int(0, MAX));
    /// Elements up to which a set stays compact.
    set_max_listpack_entries: u64 = "set-max-listpack-entries", "128" => row(Int(0, MAX));
    /// Bytes per element up to which a set stays compact.
    set_max_listpack_value: u64 = "set-max-listpack-value", "64" => row(Memory(0, MAX));
    /// Elements up to which a sorted set stays compact.
    zset_max_listpack_entries: u64 = "zset-max-listpack-entries", "128" =>
        row(Int(0, MAX)).alias(&["zset-max-ziplist-entries"]);
    /// Bytes per element up to which a sorted set stays compact.
    zset_max_listpack_value: u64 = "zset-max-listpack-value", "64" =>
        row(Memory(0, MAX)).alias(&["zset-max-ziplist-value"]);
    /// Bytes up to which a HyperLogLog stays sparse.
    hll_sparse_max_bytes: u64 = "hll-sparse-max-bytes", "3000" => row(Memory(0, MAX));
    /// Bytes per block of a stream; 0 = no limit.
    stream_node_max_bytes: u64 = "stream-node-max-bytes", "4096" => row(Memory(0, MAX));
    /// Entries per block of a stream; 0 = no limit.
    stream_node_max_entries: u64 = "stream-node-max-entries", "100" => row(Int(0, MAX));

    // What is observed.
    /// Microseconds from which a command is slow; below zero nothing is logged.
    slowlog_log_slower_than: i64 = "slowlog-log-slower-than", "10000" => row(Int(-1, MAX));
    /// Slow commands remembered.
    slowlog_max_len: u64 = "slowlog-max-len", "128" => row(Int(0, MAX));
    /// Milliseconds from which a latency event is remembered; 0 remembers none.
    latency_monitor_threshold: u64 = "latency-monitor-threshold", "0" => row(Int(0, MAX)).stored();
    /// Keep a latency histogram per command.
    latency_tracking: bool = "latency-tracking", "yes" => row(Bool).stored();
    /// Percentiles printed by INFO latencystats.
    latency_tracking_info_percentiles: Vec<String> = "latency-tracking-info-percentiles",
        "50 99 99.9" => row(Words).stored();
    /// Which keyspace events are published.
    notify_keyspace_events: KeyspaceEvents = "notify-keyspace-events", "" => row(Text);
    /// Keys remembered for client-side caching.
    tracking_table_max_keys: u64 = "tracking-table-max-keys", "1000000" => row(Int(0, MAX));
    /// Milliseconds after which a script may be killed.
    busy_reply_threshold: u64 = "busy-reply-threshold", "5000" =>
        row(Int(0, MAX)).alias(&["lua-time-limit"]).stored();

    // What is kept on disk.
    /// Write a snapshot after so many seconds and changes; empty never does.
    save: Vec<SavePoint> = "save", "3600 1 300 100 60 10000" => row(Words).stored();
    /// File name of the snapshot.
    dbfilename: String = "dbfilename", "dump.rdb" => row(Text).protected().stored();
    /// Compress strings in a snapshot.
    rdbcompression: bool = "rdbcompression", "yes" => row(Bool).stored();
    /// End a snapshot with a checksum.
    rdbchecksum: bool = "rdbchecksum", "yes" => row(Bool).at_start().stored();
    /// Remove snapshots that were only received for replication.
    rdb_del_sync_files: bool = "rdb-del-sync-files", "no" => row(Bool).stored();
    /// Microseconds to pause after each key saved (for tests).
    rdb_key_save_delay: i64 = "rdb-key-save-delay", "0" => row(Int(i32::MIN as i64, INT)).stored();
    /// Microseconds to pause after each key loaded (for tests).
    key_load_delay: i64 = "key-load-delay", "0" => row(Int(i32::MIN as i64, INT)).stored();
    /// Flush a snapshot to disk as it is written.
    rdb_save_incremental_fsync: bool = "rdb-save-incremental-fsync", "yes" => row(Bool).stored();
    /// Check what RESTORE and a replica receive.
    sanitize_dump_payload: &'static str = "sanitize-dump-payload", "no" =>
        row(Choice(&["no", "yes", "clients"])).stored();
    /// Refuse writes after a failed snapshot.
    stop_writes_on_bgsave_error: bool = "stop-writes-on-bgsave-error", "yes" => row(Bool).stored();
    /// Bytes loaded between two looks at the clients.
    loading_process_events_interval_bytes: u64 = "loading-process-events-interval-bytes", "2mb" =>
        row(Memory(1024, INT)).stored();
    /// Log every write to disk.
    appendonly: bool = "appendonly", "no" => row(Bool).stored();
    /// First part of the name of the log's files.
    appendfilename: String = "appendfilename", "appendonly.aof" => row(Text).at_start().stored();
    /// Folder of the log's files.
    appenddirname: String = "appenddirname", "appendonlydir" => row(Text).at_start().stored();
    /// When the log is flushed to disk.
    appendfsync: &'static str = "appendfsync", "everysec" =>
        row(Choice(&["everysec", "always", "no"])).stored();
    /// Do not flush while the log is rewritten.
    no_appendfsync_on_rewrite: bool = "no-appendfsync-on-rewrite", "no" => row(Bool).stored();
    /// Growth in percent after which the log is rewritten.
    auto_aof_rewrite_percentage: u64 = "auto-aof-rewrite-percentage", "100" => row(Int(0, INT)).stored();
    /// Least size of a log that is rewritten.
    auto_aof_rewrite_min_size: u64 = "auto-aof-rewrite-min-size", "64mb" => row(Memory(0, MAX)).stored();
    /// Load a log whose end is cut off.
    aof_load_truncated: bool = "aof-load-truncated", "yes" => row(Bool).stored();
    /// Begin a rewritten log with a snapshot.
    aof_use_rdb_preamble: bool = "aof-use-rdb-preamble", "yes" => row(Bool).stored();
    /// Write times into the log.
    aof_timestamp_enabled: bool = "aof-timestamp-enabled", "no" => row(Bool).stored();
    /// Keep files of the log that are no longer needed.
    aof_disable_auto_gc: bool = "aof-disable-auto-gc", "no" => row(Bool).stored();
    /// Flush a rewritten log as it is written.
    aof_rewrite_incremental_fsync: bool = "aof-rewrite-incremental-fsync", "yes" => row(Bool).stored();

    // Replication.
    /// Master to follow: its host and port, or nothing.
    replicaof: Option<Endpoint> = "replicaof", "" => row(Words).alias(&["slaveof"]).at_start();
    /// Password given to the master.
    masterauth: String = "masterauth", "" => row(Text).secret();
    /// User given to the master.
    masteruser: String = "masteruser", "" => row(Text);
    /// Go on serving reads while the master is away.
    replica_serve_stale_data: bool = "replica-serve-stale-data", "yes" =>
        row(Bool).alias(&["slave-serve-stale-data"]);
    /// Refuse writes on a replica.
    replica_read_only: bool = "replica-read-only", "yes" => row(Bool).alias(&["slave-read-only"]);
    /// Rank among replicas when one is promoted, low first; 0 is never promoted.
    replica_priority: u32 = "replica-priority", "100" => row(Int(0, INT)).alias(&["slave-priority"]);
    /// Address by which clients and sentinels reach this replica.
    replica_announce_ip: String = "replica-announce-ip", "" =>
        row(Text).alias(&["slave-announce-ip"]);
    /// Port by which clients and sentinels reach this replica; 0 is `port`.
    replica_announce_port: u16 = "replica-announce-port", "0" =>
        row(PORT).alias(&["slave-announce-port"]);
    /// Let sentinels list this replica.
    replica_announced: bool = "replica-announced", "yes" => row(Bool).stored();
    /// Seconds between pings to replicas.
    repl_ping_replica_period: u64 = "repl-ping-replica-period", "10" =>
        row(Int(1, INT)).alias(&["repl-ping-slave-period"]);
    /// Seconds of silence after which the replication link is closed.
    repl_timeout: u64 = "repl-timeout", "60" => row(Int(1, INT));
    /// Bytes of the stream kept for replicas that come back.
    repl_backlog_size: u64 = "repl-backlog-size", "1mb" => row(Memory(1, MAX));
    /// Seconds after which the backlog is freed when no replica is left.
    repl_backlog_ttl: u64 = "repl-backlog-ttl", "3600" => row(Int(0, MAX)).stored();
    /// Collect small writes to replicas into fewer packets.
    repl_disable_tcp_nodelay: bool = "repl-disable-tcp-nodelay", "no" => row(Bool).stored();
    /// Send a snapshot without a file; ours always goes so.
    repl_diskless_sync: bool = "repl-diskless-sync", "yes" => row(Bool).stored();
    /// Seconds to wait for more replicas before a full synchronisation.
    repl_diskless_sync_delay: u64 = "repl-diskless-sync-delay", "5" => row(Int(0, INT)).stored();
    /// Replicas that end that wait.
    repl_diskless_sync_max_replicas: u32 = "repl-diskless-sync-max-replicas", "0" => row(Int(0, INT)).stored();
    /// How a replica loads a snapshot; ours keeps the old copy until the new one is complete.
    repl_diskless_load: &'static str = "repl-diskless-load", "disabled" =>
        row(Choice(&["disabled", "on-empty-db", "swapdb"])).stored();
    /// Replicas without which writes are refused; 0 asks for none.
    min_replicas_to_write: u32 = "min-replicas-to-write", "0" =>
        row(Int(0, INT)).alias(&["min-slaves-to-write"]);
    /// Seconds since its last word within which such a replica counts.
    min_replicas_max_lag: u64 = "min-replicas-max-lag", "10" =>
        row(Int(0, INT)).alias(&["min-slaves-max-lag"]);
    /// What a replica does about a command that fails.
    propagation_error_behavior: &'static str = "propagation-error-behavior", "ignore" =>
        row(Choice(&["ignore", "panic", "panic-on-replicas"])).stored();
    /// A replica goes on when its disk fails.
    replica_ignore_disk_write_errors: bool = "replica-ignore-disk-write-errors", "no" => row(Bool).stored();

    // The cluster.
    /// Serve as a node of a cluster.
    cluster_enabled: bool = "cluster-enabled", "no" => row(Bool).at_start();
    /// File with the node's identity; ours keeps its own name in `dir`.
    cluster_config_file: String = "cluster-config-file", "nodes.conf" => row(Text).at_start().stored();
    /// Milliseconds of silence after which gossip calls a node down; see `down-after-ms`.
    cluster_node_timeout: u64 = "cluster-node-timeout", "15000" => row(Int(0, MAX)).stored();
    /// Milliseconds between gossip pings; see `heartbeat-ms`.
    cluster_ping_interval: u64 = "cluster-ping-interval", "1000" => row(Int(0, INT)).stored();
    /// Gossip port shown to tools; 0 is `port` + 10000.
    cluster_port: u16 = "cluster-port", "0" => row(PORT).at_start();
    /// Address by which other nodes and clients reach this node.
    cluster_announce_ip: String = "cluster-announce-ip", "" => row(Text);
    /// Port by which they reach it; 0 is `port`.
    cluster_announce_port: u16 = "cluster-announce-port", "0" => row(PORT);
    /// Gossip port by which tools think they reach it; 0 is `cluster-port`.
    cluster_announce_bus_port: u16 = "cluster-announce-bus-port", "0" => row(PORT);
    /// TLS port by which they reach it.
    cluster_announce_tls_port: u16 = "cluster-announce-tls-port", "0" => row(PORT).stored();
    /// Host name by which they reach it.
    cluster_announce_hostname: String = "cluster-announce-hostname", "" => row(Text).stored();
    /// Name of this node for people.
    cluster_announce_human_nodename: String = "cluster-announce-human-nodename", "" => row(Text).stored();
    /// Whether clients are told addresses or host names.
    cluster_preferred_endpoint_type: &'static str = "cluster-preferred-endpoint-type", "ip" =>
        row(Choice(&["ip", "hostname", "unknown-endpoint"])).stored();
    /// Refuse everything while some slot has no master.
    cluster_require_full_coverage: bool = "cluster-require-full-coverage", "yes" => row(Bool);
    /// Serve reads while the cluster is down.
    cluster_allow_reads_when_down: bool = "cluster-allow-reads-when-down", "no" => row(Bool).stored();
    /// Serve sharded publish and subscribe while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = "cluster-allow-pubsubshard-when-down", "yes" => row(Bool);
    /// Never promote this replica.
    cluster_replica_no_failover: bool = "cluster-replica-no-failover", "no" =>
        row(Bool).alias(&["cluster-slave-no-failover"]);
    /// Times the node timeout after which a replica's data is too old; sentinels compare offsets.
    cluster_replica_validity_factor: u32 = "cluster-replica-validity-factor", "10" =>
        row(Int(0, INT)).alias(&["cluster-slave-validity-factor"]).stored();
    /// Replicas that a master keeps when one moves to an orphan.
    cluster_migration_barrier: u32 = "cluster-migration-barrier", "1" => row(Int(0, INT)).stored();
    /// Let replicas move to masters that have none.
    cluster_allow_replica_migration: bool = "cluster-allow-replica-migration", "yes" => row(Bool).stored();
    /// Bytes of messages that may wait for another node of the cluster; 0 is 64 MiB.
    cluster_link_sendbuf_limit: u64 = "cluster-link-sendbuf-limit", "0" => row(Memory(0, MAX));

    // Slotward's own: the sentinels, leases and the control plane.
    /// The sentinels' addresses, `host:port` or `host:port@grpcport`; none is a node on its own.
    sentinels: Vec<SentinelAddress> = "sentinels", "" => row(Words).at_start();
    /// (Sentinel) all members of the group, this one included.
    peers: Vec<SentinelAddress> = "peers", "" => row(Words).at_start();
    /// (Sentinel) some other sentinels: through them it finds the rest and the group.
    seeds: Vec<SentinelAddress> = "seeds", "" => row(Words).at_start();
    /// (Sentinel) `monitor`, `auth-pass`… as in Redis's `sentinel.conf`, a line each.
    sentinel: SentinelLines = "sentinel", "" => row(Kind::Lines).at_start().secret();
    /// (Sentinel) address by which nodes, clients and other sentinels reach this one.
    sentinel_announce_ip: String = "sentinel-announce-ip", "" => row(Text).at_start();
    /// (Sentinel) its gRPC port; 0 is `port` + 1000.
    grpc_port: u16 = "grpc-port", "0" => row(PORT).at_start();
    /// Name of this node's shard outside a cluster.
    shard_name: String = "shard-name", "mymaster" => row(Name).at_start();
    /// Address announced to everybody, unless a more particular setting says otherwise.
    announce_ip: String = "announce-ip", "" => row(Text).at_start();
    /// Port announced to everybody, unless a more particular setting says otherwise; 0 is `port`.
    announce_port: u16 = "announce-port", "0" => row(PORT).at_start();
    /// Pairs NETWORK HOST: clients from there are told this host for every node (docs/docker.md).
    announce_to: ClientHosts = "announce-to", "" => row(Words).at_start();
    /// Where this node stands (a rack, a zone): replicas of other zones are preferred.
    zone: String = "zone", "" => row(Text).at_start();
    /// Milliseconds between heartbeats to the sentinels.
    heartbeat_ms: u64 = "heartbeat-ms", "100" => row(Int(1, 60_000)).at_start();
    /// Milliseconds for which acknowledged heartbeats let a master accept writes.
    lease_ms: u64 = "lease-ms", "1000" => row(Int(10, 600_000)).at_start();
    /// By how many percent two machines' clocks may run apart.
    drift_margin_percent: u64 = "drift-margin-percent", "10" => row(Int(0, 100)).at_start();
    /// Milliseconds without a heartbeat after which a sentinel holds a node down.
    down_after_ms: u64 = "down-after-ms", "1200" => row(Int(10, 600_000)).at_start();
    /// Milliseconds in which a node may reconnect before a closed stream counts as its death.
    reconnect_wait_ms: u64 = "reconnect-wait-ms", "50" => row(Int(0, 60_000)).at_start();
    /// `strict` waits for the lease to end even when a master's death seems certain.
    fencing: &'static str = "fencing", "fast" => row(Choice(&["fast", "strict"])).at_start();
    /// (Sentinel) milliseconds between the Raft leader's heartbeats.
    raft_heartbeat_ms: u64 = "raft-heartbeat-ms", "50" => row(Int(1, 60_000)).at_start();
    /// (Sentinel) least milliseconds before an election.
    raft_election_min_ms: u64 = "raft-election-min-ms", "150" => row(Int(2, 600_000)).at_start();
    /// (Sentinel) most milliseconds before an election.
    raft_election_max_ms: u64 = "raft-election-max-ms", "300" => row(Int(3, 600_000)).at_start();
}

/// Names of settings that Redis once had: accepted and forgotten, as Redis itself does.
pub(crate) const RETIRED: &[&str] =
    &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];
