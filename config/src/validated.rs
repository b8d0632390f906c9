//! The validated configuration. Values of these types come only from [`load`](crate::load).

use std::path::PathBuf;

use crate::address::Address;

/// The configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The node's identity.
    pub node: Node,
    /// The addresses it listens on.
    pub listen: Listen,
    /// The addresses it gives to others.
    pub advertise: Advertise,
    /// Whom the API answers.
    pub api: Api,
    /// How the cluster is secured when it is created, and recovered.
    pub access: Access,
    /// The members it forms a cluster with.
    pub cluster: Cluster,
    /// Timing and sizes of replication.
    pub raft: Raft,
    /// Limits on the use of the disk.
    pub storage: Storage,
    /// Limits of the API on this node.
    pub limits: Limits,
    /// Format and level of the node's log.
    pub log: Log,
    /// The audit of this node.
    pub audit: Audit,
    /// Settings that permit something dangerous.
    pub security: Security,
}

/// The node's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's stable name.
    pub name: String,
    /// The directory of its log and snapshots.
    pub data_dir: PathBuf,
}

/// Where the node listens, as `host:port`; port 0 takes a free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address of the REST API.
    pub rest: String,
    /// Address of the gRPC API.
    pub grpc: String,
    /// Address of the WebSocket API.
    pub ws: String,
    /// Address for the other nodes.
    pub peer: String,
}

/// The addresses the node gives to others, as `host:port`; `None` = the bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Address that clients use for REST.
    pub rest: Option<String>,
    /// Address that clients use for gRPC.
    pub grpc: Option<String>,
    /// Address that clients use for WebSocket.
    pub ws: Option<String>,
    /// Address that the other nodes use.
    pub peer: Option<String>,
}

/// Whom the API of this node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Names by which clients may call the node, besides its own: a name, or `*.` and a name.
    pub allowed_hosts: Vec<String>,
}

impl NodeConfig {
    /// Returns the names by which clients may call the node: those on which it listens, those that it advertises, and
    /// [`Api::allowed_hosts`]. IP addresses are left out.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        let Listen { rest, grpc, ws, peer } = &self.listen;
        let advertise = &self.advertise;
        let told = [&advertise.rest, &advertise.grpc, &advertise.ws, &advertise.peer];
        let own = [rest, grpc, ws, peer].into_iter().chain(told.into_iter().flatten());
        let names = own.filter_map(|address| Address::parse(address)?.name());
        names.map(str::to_owned).chain(self.api.allowed_hosts.iter().cloned()).collect()
    }
}

/// How a cluster is secured when it is created, and recovered. Who may do what is replicated, not configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether a cluster that this node creates enforces access from its first entry on.
    pub secure: bool,
    /// The file with the bootstrap token of such a cluster; `None` = the node draws one.
    pub bootstrap_token_file: Option<PathBuf>,
    /// Whether a request on this node's disk may open a token that makes an administrator.
    pub recovery: bool,
}

/// The members a node forms a cluster with: either a static set or a cluster to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The static set as (name, peer `host:port`), this node included; empty with `join`.
    pub peers: Vec<(String, String)>,
    /// Members of the static set that must be up before the cluster is created; 0 with `join`.
    pub bootstrap_expect: usize,
    /// Peer addresses of the cluster to join.
    pub join: Vec<String>,
}

/// Timing and sizes of replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raft {
    /// Interval of the leader's heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Lower bound of the random part of the silence before an election, milliseconds.
    pub election_timeout_ms_min: u64,
    /// Upper bound of that random part, and the fixed part it is added to, milliseconds.
    pub election_timeout_ms_max: u64,
    /// Log entries between two snapshots.
    pub snapshot_entries: u64,
    /// Size of a log segment file.
    pub segment_bytes: u64,
}

/// Limits on the use of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// With less free disk than this, a leader hands over, or refuses requests that add to the state.
    pub disk_free_min_bytes: u64,
}

/// Limits of the API on this node. Limits that change an outcome are not here: they are replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time limit of a call whose caller sets none.
    pub request_timeout_ms: u64,
    /// Committed entries that a ready node may lag behind.
    pub apply_lag_entries_max: u64,
    /// Calls that may wait for locks on this node at once.
    pub waiting_calls_max: u64,
    /// Newest changes kept in memory for watches that resume.
    pub history_changes_max: usize,
    /// About how many bytes these changes may take.
    pub history_bytes_max: usize,
    /// Watches open on this node at once.
    pub watchers_max: u64,
    /// Changes that may wait for one slow watcher.
    pub watch_queue_changes_max: usize,
    /// Watches open on one WebSocket connection at once.
    pub watches_per_connection_max: usize,
    /// Client connections open on this node at once, over all fronts.
    pub connections_max: usize,
    /// An HTTP/1.1 connection that receives no complete request is closed after this time.
    pub connection_idle_ms: u64,
}

/// Format and level of the node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The format of a line.
    pub format: LogFormat,
    /// The lowest level that is logged.
    pub level: LogLevel,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A failure that stops the node from doing something.
    Error,
    /// Something an operator should look at.
    Warn,
    /// Rare and important events.
    Info,
    /// Frequent events.
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

/// The audit of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Whether the node writes one.
    pub enabled: bool,
    /// The directory of its files.
    pub dir: PathBuf,
    /// What is recorded.
    pub level: AuditLevel,
    /// What happens while it cannot be written.
    pub on_failure: AuditFailure,
    /// The size at which a file is followed by the next, in bytes.
    pub file_bytes_max: u64,
    /// How many files are kept.
    pub files_max: usize,
}

/// What the audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLevel {
    /// Failures, denials, changes of access and uses of privileged permissions.
    Privileged,
    /// All calls that write as well.
    Writes,
    /// All calls.
    All,
}

impl AuditLevel {
    /// The level as it stands in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Writes => "writes",
            Self::All => "all",
        }
    }
}

/// What happens while the audit cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// Calls go on; what is lost is counted.
    Continue,
    /// Privileged calls are refused; all others go on.
    Refuse,
}

impl AuditFailure {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Refuse => "refuse",
        }
    }
}

/// Settings that permit something dangerous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Allow listening beyond loopback without TLS and, unless access is enforced, without authentication.
    pub insecure: bool,
}
