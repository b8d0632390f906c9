//! The validated configuration. Values of these types come only from [`load`](crate::load).

use std::path::PathBuf;

/// Everything a node is told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Who the node is.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// What others are told.
    pub advertise: Advertise,
    /// Whom it forms a cluster with.
    pub cluster: Cluster,
    /// Timing and sizes of replication.
    pub raft: Raft,
    /// The disk.
    pub storage: Storage,
    /// Limits of the API on this node.
    pub limits: Limits,
    /// What it logs.
    pub log: Log,
    /// What it must not do by accident.
    pub security: Security,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its stable name.
    pub name: String,
    /// Where its log and snapshots lie.
    pub data_dir: PathBuf,
}

/// Where the node listens, as `host:port`; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// REST.
    pub rest: String,
    /// gRPC.
    pub grpc: String,
    /// WebSocket.
    pub ws: String,
    /// The other nodes.
    pub peer: String,
}

/// What others are told, as `host:port`; `None` = the bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// REST.
    pub rest: Option<String>,
    /// gRPC.
    pub grpc: Option<String>,
    /// WebSocket.
    pub ws: Option<String>,
    /// The other nodes.
    pub peer: Option<String>,
}

/// Whom the node forms a cluster with: either a static set or a cluster to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The static set as (name, peer `host:port`), this node included; empty with `join`.
    pub peers: Vec<(String, String)>,
    /// Members of the static set that must be there before the cluster is created; 0 with `join`.
    pub bootstrap_expect: usize,
    /// Peer addresses of the cluster to join.
    pub join: Vec<String>,
}

/// Timing and sizes of replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raft {
    /// How often the leader says that it lives.
    pub heartbeat_ms: u64,
    /// Shortest silence before an election.
    pub election_timeout_ms_min: u64,
    /// Longest silence before an election.
    pub election_timeout_ms_max: u64,
    /// Log entries between two snapshots.
    pub snapshot_entries: u64,
    /// Size of a log segment file.
    pub segment_bytes: u64,
}

/// The disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Less free disk than this: writes are refused.
    pub disk_free_min_bytes: u64,
}

/// Limits of the API on this node. What changes an outcome is not here: it is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a call may take when its caller does not say.
    pub request_timeout_ms: u64,
    /// Committed entries a ready node may still have to apply.
    pub apply_lag_entries_max: u64,
    /// Calls that may wait for locks on this node at once.
    pub waiting_calls_max: u64,
    /// Newest changes kept in memory for watches that resume.
    pub history_changes_max: usize,
    /// About how many bytes they may take.
    pub history_bytes_max: usize,
    /// Watches open on this node at once.
    pub watchers_max: u64,
    /// Changes that may wait for one slow watcher.
    pub watch_queue_changes_max: usize,
    /// Watches open on one WebSocket connection at once.
    pub watches_per_connection_max: usize,
    /// Client connections open on this node at once, over all fronts.
    pub connections_max: usize,
    /// An HTTP/1.1 connection on which no whole request arrives is closed after this.
    pub connection_idle_ms: u64,
}

/// What the node logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// From which level on something is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What the node can not do.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens rarely and matters.
    Info,
    /// What happens often.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level as it stands in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What the node must not do by accident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Listening beyond loopback without authentication and TLS is wanted.
    pub insecure: bool,
}
