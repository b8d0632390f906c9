//! All metrics, by name.

use crate::figures::Metric;

macro_rules! metrics {
    ($($name:ident = $key:literal, $title:literal;)+) => {
        $(pub(crate) const $name: &Metric = &Metric { key: $key, title: $title };)+
    };
}

metrics! {
    OPS = "ops_per_s", "ops/s";
    P50 = "p50_ms", "p50 ms";
    P99 = "p99_ms", "p99 ms";
    P999 = "p99_9_ms", "p99.9 ms";
    CPU = "server_cpu_s_per_1000_ops", "server CPU s/1,000 ops";
    BYTES = "disk_written_bytes_per_op", "bytes to the disk/op";
    DIRTIED = "dirtied_bytes_per_op", "/proc/PID/io write_bytes/op";
    GENERATOR = "generator_cores", "generator CPU, cores";
    SERVER_CORES = "server_cores", "servers' CPU, cores";
    ERRORS = "errors", "errors";
    HANDOVER_P50 = "handover_p50_ms", "hand-over p50 ms";
    HANDOVER_P99 = "handover_p99_ms", "hand-over p99 ms";
    HANDOVER_P999 = "handover_p99_9_ms", "hand-over p99.9 ms";
    JAIN = "fairness_jain", "fairness (Jain, 1 = equal)";
    LEAST = "least_to_most_served", "least/most served";
    OPEN_RATE = "opened_per_s", "opened/s";
    LOST = "lost_sessions", "lost";
    GROWTH = "disk_written_mib_per_min", "MiB/min to the disk";
    DISK = "disk_mib", "disk, MiB (3 nodes)";
    RESIDENT = "resident_mib", "resident MiB, largest node";
    SNAPSHOT = "snapshot_s", "snapshot s";
    SNAPSHOT_P99 = "p99_during_snapshot_ms", "cycle p99 ms during it";
    RESTART = "restart_s", "restart s";
    TAKE_RATE = "locks_taken_per_s", "locks taken/s";
    LAST_P50 = "last_watcher_p50_ms", "last watcher p50 ms";
    LAST_P99 = "last_watcher_p99_ms", "last watcher p99 ms";
    GRANT_AFTER = "next_grant_after_s", "next grant after s";
}
