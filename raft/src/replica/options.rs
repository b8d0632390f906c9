//! The options of a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use batuta_statemachine::access::TokenSecret;
use batuta_statemachine::{LEVEL, LEVEL_MIN};

use super::error::StartError;
use crate::platform::Platform;
use crate::types::Addresses;

/// The options with which a node is started.
pub struct Options {
    /// The machine the node runs on.
    pub platform: Arc<dyn Platform>,
    /// The directory of log, snapshots and identity.
    pub data_dir: PathBuf,
    /// The node's stable name.
    pub node_name: String,
    /// The addresses at which others reach this node.
    pub advertise: Addresses,
    /// The static set, this node included: (name, host:port of the peer port). Empty when only `join` is
    /// used.
    pub peers: Vec<(String, String)>,
    /// A new cluster is created only when this many members of the static set are up and fresh.
    pub bootstrap_expect: usize,
    /// Peer addresses of a cluster to join.
    pub join: Vec<String>,
    /// An election begins when no leader was heard for the upper bound plus a random time in this range.
    pub election_timeout_ms: (u64, u64),
    /// Interval of the leader's heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// A snapshot is written after this many entries.
    pub snapshot_entries: u64,
    /// Size of the largest log segment.
    pub segment_bytes: u64,
    /// With less free space than this, requests that add to the state are refused.
    pub disk_free_min_bytes: u64,
    /// Changes kept in memory for watches that resume.
    pub history_changes_max: usize,
    /// About how many bytes these changes may take.
    pub history_bytes_max: usize,
    /// When this node creates a cluster: the bootstrap token that is the only way into it from its first entry on. `None` creates a cluster
    /// that enforces nothing.
    pub secured_by: Option<TokenSecret>,
    /// The level that the node knows, at most [`LEVEL`]: a lower one makes it behave as an older build, in tests of upgrades.
    pub level: u32,
}

/// The checked options, without those that start-up consumes.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) data_dir: PathBuf,
    pub(crate) node_name: String,
    pub(crate) advertise: Addresses,
    pub(crate) peers: Vec<(String, String)>,
    pub(crate) bootstrap_expect: usize,
    pub(crate) join: Vec<String>,
    pub(crate) election_timeout_ms: (u64, u64),
    pub(crate) heartbeat_ms: u64,
    pub(crate) snapshot_entries: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) secured_by: Option<TokenSecret>,
    pub(crate) level: u32,
}

impl Settled {
    pub(super) fn new(options: Options) -> Result<Self, StartError> {
        let wrong = |what: &str| Err(StartError::Options(what.to_owned()));
        let (min, max) = options.election_timeout_ms;
        if options.heartbeat_ms == 0 || min <= options.heartbeat_ms || max <= min {
            return wrong(
                "raft: 0 < heartbeat_ms < election_timeout_ms_min < election_timeout_ms_max must hold",
            );
        }
        if options.peers.is_empty() && options.join.is_empty() {
            return wrong("neither cluster.peers nor cluster.join is set");
        }
        if !options.peers.is_empty() && !options.peers.iter().any(|(name, _)| *name == options.node_name) {
            return wrong("cluster.peers does not contain this node's name");
        }
        if !(LEVEL_MIN..=LEVEL).contains(&options.level) {
            return Err(StartError::Options(format!(
                "level {} is none of this build, which knows the levels {LEVEL_MIN} to {LEVEL}",
                options.level
            )));
        }
        let mut peers = options.peers;
        peers.sort();
        Ok(Self {
            data_dir: options.data_dir,
            node_name: options.node_name,
            advertise: options.advertise,
            peers,
            bootstrap_expect: options.bootstrap_expect,
            join: options.join,
            election_timeout_ms: options.election_timeout_ms,
            heartbeat_ms: options.heartbeat_ms,
            snapshot_entries: options.snapshot_entries,
            segment_bytes: options.segment_bytes,
            secured_by: options.secured_by,
            level: options.level,
        })
    }

    pub(crate) fn election_timeout_max(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms.1)
    }

    /// After hearing from no majority for this long, this node assumes there is none: a follower stands for
    /// election within two of these timeouts, and is elected within a third.
    pub(crate) fn silence_max(&self) -> Duration {
        3 * self.election_timeout_max()
    }
}
