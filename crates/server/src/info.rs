//! `INFO`: sections of fields, each a row of a table.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slotward_commands::CommandId;
use slotward_keyspace::DbIndex;

use crate::client::mark;
use crate::memory::{self, human};
use crate::node::Node;
use crate::pubsub::Scope;
use crate::stats::Totals;
use crate::{REDIS_VERSION, VERSION, clock};

/// What the fields are told from: one look at the node.
struct Seen<'n> {
    node: &'n Arc<Node>,
    totals: Totals,
    memory: memory::Usage,
}

type Field = (&'static str, fn(&Seen<'_>) -> String);

/// How a section is written.
enum Body {
    /// Fields, one a line.
    Fields(&'static [Field]),
    /// Lines of its own.
    Lines(fn(&Seen<'_>, &mut String)),
}

struct Section {
    /// What it is asked by.
    name: &'static str,
    /// Its heading.
    title: &'static str,
    /// Whether it is shown when nothing is asked for.
    by_default: bool,
    body: Body,
}

const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", by_default: true, body: Body::Fields(SERVER) },
    Section { name: "clients", title: "Clients", by_default: true, body: Body::Fields(CLIENTS) },
    Section { name: "memory", title: "Memory", by_default: true, body: Body::Fields(MEMORY) },
    Section {
        name: "persistence",
        title: "Persistence",
        by_default: true,
        body: Body::Fields(PERSISTENCE),
    },
    Section { name: "stats", title: "Stats", by_default: true, body: Body::Fields(STATS) },
    Section {
        name: "replication",
        title: "Replication",
        by_default: true,
        body: Body::Lines(|seen, out| crate::replication::info(seen.node, out)),
    },
    Section { name: "cpu", title: "CPU", by_default: true, body: Body::Fields(CPU) },
    Section { name: "modules", title: "Modules", by_default: true, body: Body::Fields(&[]) },
    Section {
        name: "commandstats",
        title: "Commandstats",
        by_default: false,
        body: Body::Lines(command_stats),
    },
    Section {
        name: "errorstats",
        title: "Errorstats",
        by_default: true,
        body: Body::Lines(error_stats),
    },
    Section {
        name: "latencystats",
        title: "Latencystats",
        by_default: false,
        body: Body::Fields(&[]),
    },
    Section { name: "cluster", title: "Cluster", by_default: true, body: Body::Fields(CLUSTER) },
    Section { name: "keyspace", title: "Keyspace", by_default: true, body: Body::Lines(keyspace) },
];

/// The sections asked for (none: those shown by default), as `INFO` replies them.
pub(crate) fn render(node: &Arc<Node>, asked: &[String]) -> String {
    let has = |name: &str| asked.iter().any(|asked| asked == name);
    let everything = has("all") || has("everything");
    let by_default = asked.is_empty() || has("default");
    let seen = Seen { node, totals: node.stats.totals(), memory: memory::usage() };
    node.note_memory(seen.memory.allocated);
    let mut out = String::new();
    for section in SECTIONS {
        let wanted = everything || has(section.name) || (by_default && section.by_default);
        if !wanted {
            continue;
        }
        if !out.is_empty() {
            out += "\r\n";
        }
        let _infallible = write!(out, "# {}\r\n", section.title);
        match &section.body {
            Body::Fields(fields) => {
                for (name, value) in *fields {
                    let _infallible = write!(out, "{name}:{}\r\n", value(&seen));
                }
            }
            Body::Lines(lines) => lines(&seen, &mut out),
        }
    }
    out
}

const SERVER: &[Field] = &[
    ("redis_version", |_| REDIS_VERSION.to_owned()),
    ("redis_git_sha1", |_| "00000000".to_owned()),
    ("redis_git_dirty", |_| "0".to_owned()),
    ("redis_build_id", |_| "0".to_owned()),
    ("redis_mode", |seen| if seen.node.is_cluster() { "cluster" } else { "standalone" }.to_owned()),
    ("slotward_version", |_| VERSION.to_owned()),
    ("os", |_| operating_system()),
    ("arch_bits", |_| usize::BITS.to_string()),
    ("monotonic_clock", |_| "POSIX clock_gettime".to_owned()),
    ("multiplexing_api", |_| "epoll".to_owned()),
    ("atomicvar_api", |_| "c11-builtin".to_owned()),
    ("gcc_version", |_| "0.0.0".to_owned()),
    ("process_id", |_| std::process::id().to_string()),
    ("process_supervised", |_| "no".to_owned()),
    ("run_id", |seen| seen.node.run_id.clone()),
    ("tcp_port", |seen| seen.node.live.load().settings.port.to_string()),
    ("server_time_usec", |_| clock::unix_micros().to_string()),
    ("uptime_in_seconds", |seen| seen.node.uptime_seconds().to_string()),
    ("uptime_in_days", |seen| (seen.node.uptime_seconds() / 86_400).to_string()),
    ("hz", |seen| seen.node.live.load().settings.hz.to_string()),
    ("configured_hz", |seen| seen.node.live.load().settings.hz.to_string()),
    ("lru_clock", |_| ((clock::unix_now().0 / 1000) & 0xff_ffff).to_string()),
    ("executable", |_| {
        std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string())
    }),
    ("config_file", |seen| seen.node.config_file.clone()),
    ("io_threads_active", |seen| u8::from(seen.node.worker_count() > 1).to_string()),
    ("io_threads", |seen| seen.node.worker_count().to_string()),
];

fn operating_system() -> String {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .map_or_else(|_| String::new(), |text| text.trim().to_owned())
    };
    format!("{} {} {}", read("ostype"), read("osrelease"), std::env::consts::ARCH)
}

fn clients_with(seen: &Seen<'_>, bits: u32) -> usize {
    seen.node.clients.all().iter().filter(|client| client.is(bits)).count()
}

const CLIENTS: &[Field] = &[
    ("connected_clients", |seen| {
        let all = seen.node.clients.count();
        let others = clients_with(seen, mark::REPLICA) + clients_with(seen, mark::MASTER);
        all.saturating_sub(others).to_string()
    }),
    ("cluster_connections", |_| "0".to_owned()),
    ("maxclients", |seen| seen.node.live.load().settings.maxclients.to_string()),
    ("client_recent_max_input_buffer", |seen| {
        let clients = seen.node.clients.all();
        let sizes = clients.iter().map(|client| client.input_bytes.load(Ordering::Relaxed));
        sizes.max().unwrap_or(0).to_string()
    }),
    ("client_recent_max_output_buffer", |seen| {
        let clients = seen.node.clients.all();
        let sizes = clients.iter().map(|client| client.output_bytes.load(Ordering::Relaxed));
        sizes.max().unwrap_or(0).to_string()
    }),
    ("blocked_clients", |seen| clients_with(seen, mark::BLOCKED).to_string()),
    ("pubsub_clients", |seen| clients_with(seen, mark::SUBSCRIBED).to_string()),
    ("tracking_clients", |seen| seen.node.tracking.clients().to_string()),
    ("clients_in_timeout_table", |_| "0".to_owned()),
    ("total_blocking_keys", |seen| seen.node.keyspace.awaited_keys().0.to_string()),
    ("total_blocking_keys_on_nokey", |seen| seen.node.keyspace.awaited_keys().1.to_string()),
];

fn peak(seen: &Seen<'_>) -> u64 {
    seen.node.memory_peak.load(Ordering::Relaxed).max(seen.memory.allocated)
}

fn dataset(seen: &Seen<'_>) -> u64 {
    seen.node.keyspace.memory_used().min(seen.memory.allocated)
}

const MEMORY: &[Field] = &[
    ("used_memory", |seen| seen.memory.allocated.to_string()),
    ("used_memory_human", |seen| human(seen.memory.allocated)),
    ("used_memory_rss", |seen| seen.memory.resident.to_string()),
    ("used_memory_rss_human", |seen| human(seen.memory.resident)),
    ("used_memory_peak", |seen| peak(seen).to_string()),
    ("used_memory_peak_human", |seen| human(peak(seen))),
    ("used_memory_peak_perc", |seen| {
        format!("{:.2}%", seen.memory.allocated as f64 * 100.0 / peak(seen).max(1) as f64)
    }),
    ("used_memory_overhead", |seen| (seen.memory.allocated - dataset(seen)).to_string()),
    ("used_memory_startup", |_| "0".to_owned()),
    ("used_memory_dataset", |seen| dataset(seen).to_string()),
    ("used_memory_dataset_perc", |seen| {
        format!("{:.2}%", dataset(seen) as f64 * 100.0 / seen.memory.allocated.max(1) as f64)
    }),
    ("allocator_allocated", |seen| seen.memory.allocated.to_string()),
    ("allocator_active", |seen| seen.memory.active.to_string()),
    ("allocator_resident", |seen| seen.memory.mapped.to_string()),
    ("total_system_memory", |_| memory::system_bytes().to_string()),
    ("total_system_memory_human", |_| human(memory::system_bytes())),
    ("used_memory_lua", |_| "0".to_owned()),
    ("used_memory_vm_eval", |_| "0".to_owned()),
    ("used_memory_lua_human", |_| "0B".to_owned()),
    ("used_memory_scripts_eval", |_| "0".to_owned()),
    ("number_of_cached_scripts", |_| "0".to_owned()),
    ("number_of_functions", |_| "0".to_owned()),
    ("number_of_libraries", |_| "0".to_owned()),
    ("used_memory_vm_functions", |_| "0".to_owned()),
    ("used_memory_vm_total", |_| "0".to_owned()),
    ("used_memory_functions", |_| "0".to_owned()),
    ("used_memory_scripts", |_| "0".to_owned()),
    ("used_memory_scripts_human", |_| "0B".to_owned()),
    ("maxmemory", |seen| seen.node.live.load().settings.maxmemory.to_string()),
    ("maxmemory_human", |seen| human(seen.node.live.load().settings.maxmemory)),
    ("maxmemory_policy", |seen| seen.node.live.load().settings.maxmemory_policy.to_owned()),
    ("allocator_frag_ratio", |seen| ratio(seen.memory.active, seen.memory.allocated)),
    ("allocator_frag_bytes", |seen| difference(seen.memory.active, seen.memory.allocated)),
    ("allocator_rss_ratio", |seen| ratio(seen.memory.mapped, seen.memory.active)),
    ("allocator_rss_bytes", |seen| difference(seen.memory.mapped, seen.memory.active)),
    ("mem_fragmentation_ratio", |seen| ratio(seen.memory.resident, seen.memory.allocated)),
    ("mem_fragmentation_bytes", |seen| difference(seen.memory.resident, seen.memory.allocated)),
    ("mem_not_counted_for_evict", |_| "0".to_owned()),
    ("mem_replication_backlog", |seen| seen.node.replication.memory_bytes().to_string()),
    ("mem_total_replication_buffers", |seen| seen.node.replication.memory_bytes().to_string()),
    ("mem_clients_slaves", |_| "0".to_owned()),
    ("mem_clients_normal", |seen| {
        let clients = seen.node.clients.all();
        clients.iter().map(|client| client.memory_bytes()).sum::<u64>().to_string()
    }),
    ("mem_cluster_links", |seen| seen.node.pubsub.links.waiting_bytes().to_string()),
    ("mem_aof_buffer", |_| "0".to_owned()),
    ("mem_allocator", |seen| {
        // Another allocator (in tests) keeps no statistics.
        if seen.memory.active > 0 { "jemalloc-5.3.0" } else { "system" }.to_owned()
    }),
    ("active_defrag_running", |_| "0".to_owned()),
    ("lazyfree_pending_objects", |seen| {
        (seen.node.garbage.pending() + seen.node.keyspace.garbage_len() as u64).to_string()
    }),
    ("lazyfreed_objects", |seen| seen.node.garbage.freed().to_string()),
];

fn ratio(more: u64, less: u64) -> String {
    format!("{:.2}", more as f64 / less.max(1) as f64)
}

fn difference(more: u64, less: u64) -> String {
    (more as i64 - less as i64).to_string()
}

const PERSISTENCE: &[Field] = &[
    ("loading", |_| "0".to_owned()),
    ("async_loading", |_| "0".to_owned()),
    ("current_cow_peak", |_| "0".to_owned()),
    ("current_cow_size", |_| "0".to_owned()),
    ("current_cow_size_age", |_| "0".to_owned()),
    ("current_fork_perc", |_| "0.00".to_owned()),
    ("current_save_keys_processed", |_| "0".to_owned()),
    ("current_save_keys_total", |_| "0".to_owned()),
    ("rdb_changes_since_last_save", |seen| seen.totals.changes.to_string()),
    ("rdb_bgsave_in_progress", |_| "0".to_owned()),
    ("rdb_last_save_time", |seen| seen.node.last_save.load(Ordering::Relaxed).to_string()),
    ("rdb_last_bgsave_status", |_| "ok".to_owned()),
    ("rdb_last_bgsave_time_sec", |_| "-1".to_owned()),
    ("rdb_current_bgsave_time_sec", |_| "-1".to_owned()),
    ("rdb_saves", |_| "0".to_owned()),
    ("rdb_last_cow_size", |_| "0".to_owned()),
    ("rdb_last_load_keys_expired", |_| "0".to_owned()),
    ("rdb_last_load_keys_loaded", |_| "0".to_owned()),
    ("aof_enabled", |_| "0".to_owned()),
    ("aof_rewrite_in_progress", |_| "0".to_owned()),
    ("aof_rewrite_scheduled", |_| "0".to_owned()),
    ("aof_last_rewrite_time_sec", |_| "-1".to_owned()),
    ("aof_current_rewrite_time_sec", |_| "-1".to_owned()),
    ("aof_last_bgrewrite_status", |_| "ok".to_owned()),
    ("aof_rewrites", |_| "0".to_owned()),
    ("aof_rewrites_consecutive_failures", |_| "0".to_owned()),
    ("aof_last_write_status", |_| "ok".to_owned()),
    ("aof_last_cow_size", |_| "0".to_owned()),
    ("module_fork_in_progress", |_| "0".to_owned()),
    ("module_fork_last_cow_size", |_| "0".to_owned()),
];

fn count(counter: &AtomicU64) -> String {
    counter.load(Ordering::Relaxed).to_string()
}

const STATS: &[Field] = &[
    ("total_connections_received", |seen| {
        seen.node.stats.connections.load(Ordering::Relaxed).to_string()
    }),
    ("total_commands_processed", |seen| seen.totals.commands.to_string()),
    ("instantaneous_ops_per_sec", |seen| format!("{:.0}", seen.node.stats.per_second()[0])),
    ("total_net_input_bytes", |seen| seen.totals.bytes_in.to_string()),
    ("total_net_output_bytes", |seen| seen.totals.bytes_out.to_string()),
    ("total_net_repl_input_bytes", |_| "0".to_owned()),
    ("total_net_repl_output_bytes", |_| "0".to_owned()),
    ("instantaneous_input_kbps", |seen| format!("{:.2}", seen.node.stats.per_second()[1] / 1024.0)),
    ("instantaneous_output_kbps", |seen| {
        format!("{:.2}", seen.node.stats.per_second()[2] / 1024.0)
    }),
    ("instantaneous_input_repl_kbps", |_| "0.00".to_owned()),
    ("instantaneous_output_repl_kbps", |_| "0.00".to_owned()),
    ("rejected_connections", |seen| {
        seen.node.stats.connections_refused.load(Ordering::Relaxed).to_string()
    }),
    ("sync_full", |seen| count(&seen.node.replication.counters().full)),
    ("sync_partial_ok", |seen| count(&seen.node.replication.counters().partial)),
    ("sync_partial_err", |seen| count(&seen.node.replication.counters().refused)),
    ("expired_keys", |seen| seen.totals.expired.to_string()),
    ("expired_stale_perc", |_| "0.00".to_owned()),
    ("expired_time_cap_reached_count", |_| "0".to_owned()),
    ("expire_cycle_cpu_milliseconds", |_| "0".to_owned()),
    ("evicted_keys", |seen| seen.totals.evicted.to_string()),
    ("evicted_clients", |_| "0".to_owned()),
    ("total_eviction_exceeded_time", |_| "0".to_owned()),
    ("current_eviction_exceeded_time", |_| "0".to_owned()),
    ("keyspace_hits", |seen| seen.totals.hits.to_string()),
    ("keyspace_misses", |seen| seen.totals.misses.to_string()),
    ("pubsub_channels", |seen| seen.node.pubsub.count(Scope::Channel).to_string()),
    ("pubsub_patterns", |seen| seen.node.pubsub.count(Scope::Pattern).to_string()),
    ("pubsubshard_channels", |seen| seen.node.pubsub.count(Scope::Shard).to_string()),
    ("pubsub_link_messages_dropped", |seen| seen.node.pubsub.links.dropped().to_string()),
    ("latest_fork_usec", |_| "0".to_owned()),
    ("total_forks", |_| "0".to_owned()),
    ("migrate_cached_sockets", |_| "0".to_owned()),
    ("slave_expires_tracked_keys", |_| "0".to_owned()),
    ("active_defrag_hits", |_| "0".to_owned()),
    ("active_defrag_misses", |_| "0".to_owned()),
    ("active_defrag_key_hits", |_| "0".to_owned()),
    ("active_defrag_key_misses", |_| "0".to_owned()),
    ("total_active_defrag_time", |_| "0".to_owned()),
    ("current_active_defrag_time", |_| "0".to_owned()),
    ("tracking_total_keys", |seen| seen.node.tracking.keys().to_string()),
    ("tracking_total_items", |seen| seen.node.tracking.items().to_string()),
    ("tracking_total_prefixes", |seen| seen.node.tracking.prefixes().to_string()),
    ("unexpected_error_replies", |_| "0".to_owned()),
    ("total_error_replies", |seen| seen.totals.errors.to_string()),
    ("dump_payload_sanitizations", |_| "0".to_owned()),
    ("total_reads_processed", |seen| seen.totals.reads.to_string()),
    ("total_writes_processed", |seen| seen.totals.writes.to_string()),
    ("io_threaded_reads_processed", |_| "0".to_owned()),
    ("io_threaded_writes_processed", |_| "0".to_owned()),
    ("reply_buffer_shrinks", |_| "0".to_owned()),
    ("reply_buffer_expands", |_| "0".to_owned()),
    ("commands_set_aside", |seen| seen.totals.set_aside.to_string()),
    ("acl_access_denied_auth", |_| "0".to_owned()),
    ("acl_access_denied_cmd", |_| "0".to_owned()),
    ("acl_access_denied_key", |_| "0".to_owned()),
    ("acl_access_denied_channel", |_| "0".to_owned()),
];

const CPU: &[Field] = &[
    ("used_cpu_sys", |_| format!("{:.6}", clock::cpu_seconds().system)),
    ("used_cpu_user", |_| format!("{:.6}", clock::cpu_seconds().user)),
    ("used_cpu_sys_children", |_| "0.000000".to_owned()),
    ("used_cpu_user_children", |_| "0.000000".to_owned()),
    ("used_cpu_sys_main_thread", |_| format!("{:.6}", clock::cpu_seconds().system)),
    ("used_cpu_user_main_thread", |_| format!("{:.6}", clock::cpu_seconds().user)),
];

const CLUSTER: &[Field] =
    &[("cluster_enabled", |seen| u8::from(seen.node.is_cluster()).to_string())];

fn command_stats(seen: &Seen<'_>, out: &mut String) {
    for (index, counts) in seen.totals.by_command.iter().enumerate() {
        let [calls, ticks, rejected, failed] = *counts;
        if calls + rejected + failed == 0 {
            continue;
        }
        let id = CommandId(u16::try_from(index).unwrap_or(u16::MAX));
        let micros = clock::ticks_to_micros(ticks);
        let _infallible = write!(
            out,
            "cmdstat_{}:calls={calls},usec={micros},usec_per_call={:.2},rejected_calls={rejected},\
             failed_calls={failed}\r\n",
            seen.node.commands.registry().full_name(id),
            micros as f64 / calls.max(1) as f64,
        );
    }
}

fn error_stats(seen: &Seen<'_>, out: &mut String) {
    for (kind, count) in &seen.totals.by_error {
        let _infallible = write!(out, "errorstat_{kind}:count={count}\r\n");
    }
}

fn keyspace(seen: &Seen<'_>, out: &mut String) {
    for db in (0..seen.node.keyspace.databases()).map(DbIndex) {
        let keys = seen.node.keyspace.dbsize(db);
        if keys > 0 {
            let volatile = seen.node.keyspace.volatile_keys(db);
            let _infallible =
                write!(out, "db{}:keys={keys},expires={volatile},avg_ttl=0\r\n", db.0);
        }
    }
}
