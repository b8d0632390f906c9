//! Defines every key once: its name, kind, default and meaning. `docs/configuration.md` is checked against
//! this table.

/// The kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number, not negative.
    Integer,
    /// `true` or `false`.
    Bool,
    /// A list of texts; separated by commas in the environment and in flags.
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
    /// Section and name, as `section.key`.
    pub path: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// The value when nobody sets the key, written as in the environment; empty = not set.
    pub default: &'static str,
    /// The short flag of `batuta server` for the key, if it has one; `--set section.key=value` works for
    /// every key.
    pub flag: Option<&'static str>,
    /// The meaning of the key, as shown in help and documentation.
    pub meaning: &'static str,
}

impl Key {
    /// The environment variable that sets the key.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BATUTA_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The section of the key, and the key's name within that section.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or((self.path, ""))
    }

    /// The flag that sets the key, as a person would write it.
    #[must_use]
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| format!("--set {}", self.path), str::to_owned)
    }
}

/// Finds the key with this path.
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

/// All keys, in the order in which they are shown; keys of one section are adjacent.
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
    key("advertise.rest", Text, "", None, "host:port given to clients for REST; not set = the bound address"),
    key("advertise.grpc", Text, "", None, "host:port given to clients for gRPC; not set = the bound address"),
    key(
        "advertise.ws",
        Text,
        "",
        None,
        "host:port given to clients for WebSocket; not set = the bound address",
    ),
    key("advertise.peer", Text, "", None, "host:port given to the other nodes; not set = the bound address"),
    key(
        "api.allowed_hosts",
        List,
        "",
        None,
        "names by which clients may call this node, besides those on which it listens or which it advertises; *.example.com allows one more label",
    ),
    key(
        "access.secure",
        Bool,
        "false",
        Some("--secure"),
        "when this node creates a cluster: enforce access from its first entry on, with a bootstrap token as the only way in; says nothing about a cluster that exists",
    ),
    key(
        "access.bootstrap_token_file",
        Text,
        "",
        None,
        "file with the bootstrap token (btb_…) of a new secured cluster, the same on all nodes; not set = the node draws one and writes it to `bootstrap-token` in node.data_dir",
    ),
    key(
        "access.recovery",
        Bool,
        "true",
        None,
        "whether `batuta access recover`, on this node's machine, may open a token that makes an administrator",
    ),
    key("cluster.peers", List, "", Some("--peers"), "the static set as name=host:port, this node included"),
    key(
        "cluster.bootstrap_expect",
        Integer,
        "",
        Some("--bootstrap-expect"),
        "members of the static set that must be up before the cluster is created; at least a majority; not set = all",
    ),
    key(
        "cluster.join",
        List,
        "",
        Some("--join"),
        "peer addresses (host:port) of a running cluster to join instead",
    ),
    key("raft.heartbeat_ms", Integer, "100", None, "how often the leader sends a heartbeat"),
    key(
        "raft.election_timeout_ms_min",
        Integer,
        "300",
        None,
        "lower bound of a random time; a follower stands for election after hearing no leader for election_timeout_ms_max plus that time",
    ),
    key(
        "raft.election_timeout_ms_max",
        Integer,
        "650",
        None,
        "upper bound of that random time, and the fixed time it is added to",
    ),
    key(
        "raft.snapshot_entries",
        Integer,
        "20000",
        None,
        "log entries between two snapshots; fewer when the entries are large",
    ),
    key("raft.segment_bytes", Integer, "67108864", None, "size of a log segment file"),
    key(
        "storage.disk_free_min_bytes",
        Integer,
        "268435456",
        None,
        "with less free disk than this a leader hands over, or refuses requests that add to the state with disk_full",
    ),
    key("limits.request_timeout_ms", Integer, "10000", None, "time limit of a call whose caller sets none"),
    key(
        "limits.apply_lag_entries_max",
        Integer,
        "128",
        None,
        "committed entries that a ready node may lag behind; a healthy node lags by a few",
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
    key("limits.history_bytes_max", Integer, "67108864", None, "about how many bytes these changes may take"),
    key("limits.watchers_max", Integer, "20000", None, "watches open on this node at once"),
    key(
        "limits.watch_queue_changes_max",
        Integer,
        "4096",
        None,
        "changes that may wait for one slow watcher before the watcher is told that it lags",
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
        "client connections open on this node at once, over all fronts; a further one is closed at once",
    ),
    key(
        "limits.connection_idle_ms",
        Integer,
        "75000",
        None,
        "an HTTP/1.1 connection that receives no complete request is closed after this time",
    ),
    key("log.format", Text, "text", None, "text or json"),
    key("log.level", Text, "info", Some("--log-level"), "error, warn, info, debug or trace"),
    key("audit.enabled", Bool, "true", None, "whether this node writes an audit"),
    key(
        "audit.dir",
        Text,
        "",
        None,
        "where the node keeps the files of the audit, best on a disk of its own; not set = `audit` in node.data_dir",
    ),
    key(
        "audit.level",
        Text,
        "privileged",
        None,
        "what is recorded: privileged (failures, denials, changes of access, uses of privileged permissions), writes (all calls that write as well) or all",
    ),
    key(
        "audit.on_failure",
        Text,
        "continue",
        None,
        "while the audit cannot be written: continue, or refuse (privileged calls only, with audit_unavailable)",
    ),
    key(
        "audit.file_bytes_max",
        Integer,
        "67108864",
        None,
        "size at which a file of the audit is followed by the next; so is a day",
    ),
    key("audit.files_max", Integer, "30", None, "files of the audit that are kept"),
    key(
        "security.insecure",
        Bool,
        "false",
        Some("--insecure"),
        "allow listening beyond loopback without TLS and, unless access is enforced, without authentication",
    ),
];
