//! Every key, once: its name, kind, default and meaning. `docs/configuration.md` is checked against this table.

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number, not negative.
    Integer,
    /// `true` or `false`.
    Bool,
    /// A list of texts; in the environment and in flags separated by commas.
    List,
}

impl Kind {
    /// The kind in words, for messages.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number that is not negative",
            Self::Bool => "true or false",
            Self::List => "a list of texts",
        }
    }
}

/// One key of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.key`.
    pub path: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Its value when nobody sets it, as it would stand in the environment; empty = not set.
    pub default: &'static str,
    /// The flag of `batuta server` that sets it, where there is one; `--set section.key=value` always does.
    pub flag: Option<&'static str>,
    /// What it means.
    pub meaning: &'static str,
}

impl Key {
    /// The environment variable that sets the key.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BATUTA_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The section it belongs to, and its name there.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or((self.path, ""))
    }

    /// The flag that sets it, as a person would write it.
    #[must_use]
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| format!("--set {}", self.path), str::to_owned)
    }
}

/// The key of that name.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    flag: Option<&'static str>,
    meaning: &'static str,
) -> Key {
    Key { path, kind, default, flag, meaning }
}

use Kind::{Bool, Integer, List, Text};

/// All keys, in the order in which they are shown; the keys of a section stand together.
pub static KEYS: &[Key] = &[
    key("node.name", Text, "batuta-0", Some("--name"), "the node's stable name, for people"),
    key(
        "node.data_dir",
        Text,
        "batuta-data",
        Some("--data-dir"),
        "where the node keeps its log and snapshots",
    ),
    key(
        "listen.rest",
        Text,
        "127.0.0.1:8080",
        Some("--rest"),
        "host:port of the REST API; port 0 takes a free one",
    ),
    key(
        "listen.grpc",
        Text,
        "127.0.0.1:9090",
        Some("--grpc"),
        "host:port of the gRPC API; port 0 takes a free one",
    ),
    key(
        "listen.ws",
        Text,
        "127.0.0.1:8081",
        Some("--ws"),
        "host:port of the WebSocket API; port 0 takes a free one",
    ),
    key(
        "listen.peer",
        Text,
        "127.0.0.1:7070",
        Some("--peer"),
        "host:port for the other nodes; port 0 takes a free one",
    ),
    key("advertise.rest", Text, "", None, "host:port clients are told for REST; not set = the bound address"),
    key("advertise.grpc", Text, "", None, "host:port clients are told for gRPC; not set = the bound address"),
    key(
        "advertise.ws",
        Text,
        "",
        None,
        "host:port clients are told for WebSocket; not set = the bound address",
    ),
    key("advertise.peer", Text, "", None, "host:port the other nodes are told; not set = the bound address"),
    key("cluster.peers", List, "", Some("--peers"), "the static set as name=host:port, this node included"),
    key(
        "cluster.bootstrap_expect",
        Integer,
        "",
        Some("--bootstrap-expect"),
        "members of the static set that must be there before the cluster is created; a majority at least; not set = all",
    ),
    key(
        "cluster.join",
        List,
        "",
        Some("--join"),
        "peer addresses (host:port) of a running cluster to join instead",
    ),
    key("raft.heartbeat_ms", Integer, "100", None, "how often the leader says that it lives"),
    key(
        "raft.election_timeout_ms_min",
        Integer,
        "300",
        None,
        "a follower stands for election after election_timeout_ms_max and a random time from here",
    ),
    key(
        "raft.election_timeout_ms_max",
        Integer,
        "650",
        None,
        "up to here, both without a word of the leader",
    ),
    key(
        "raft.snapshot_entries",
        Integer,
        "20000",
        None,
        "log entries between two snapshots; fewer where these take much room",
    ),
    key("raft.segment_bytes", Integer, "67108864", None, "size of a log segment file"),
    key(
        "storage.disk_free_min_bytes",
        Integer,
        "268435456",
        None,
        "less free disk than this: a leader hands over, or refuses what adds to the state with disk_full",
    ),
    key(
        "limits.request_timeout_ms",
        Integer,
        "10000",
        None,
        "how long a call may take when its caller does not say",
    ),
    key(
        "limits.apply_lag_entries_max",
        Integer,
        "128",
        None,
        "committed entries a ready node may still have to apply; a healthy one has a few",
    ),
    key(
        "limits.waiting_calls_max",
        Integer,
        "100000",
        None,
        "calls that may wait for locks on this node at once",
    ),
    key(
        "limits.history_changes_max",
        Integer,
        "100000",
        None,
        "newest changes kept in memory for watches that resume",
    ),
    key("limits.history_bytes_max", Integer, "67108864", None, "about how many bytes they may take"),
    key("limits.watchers_max", Integer, "20000", None, "watches open on this node at once"),
    key(
        "limits.watch_queue_changes_max",
        Integer,
        "4096",
        None,
        "changes that may wait for one slow watcher before it is told that it lags",
    ),
    key(
        "limits.watches_per_connection_max",
        Integer,
        "100",
        None,
        "watches, or GraphQL subscriptions, open on one WebSocket connection at once",
    ),
    key(
        "limits.connections_max",
        Integer,
        "16000",
        None,
        "client connections open on this node at once, over all fronts; one more is closed at once",
    ),
    key(
        "limits.connection_idle_ms",
        Integer,
        "75000",
        None,
        "an HTTP/1.1 connection on which no request arrives, or only half of one, is closed after this",
    ),
    key("log.format", Text, "text", None, "text or json"),
    key("log.level", Text, "info", Some("--log-level"), "error, warn, info, debug or trace"),
    key(
        "security.insecure",
        Bool,
        "false",
        Some("--insecure"),
        "allow to listen beyond loopback without authentication and TLS",
    ),
];
