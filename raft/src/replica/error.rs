//! The errors of a replica.

use std::io;
use std::path::PathBuf;

use batuta_proto::internal as wire;
use batuta_proto::internal::refused::Reason;
use batuta_statemachine::Code;

use crate::disk::LockError;
use crate::log::LogError;
use crate::snapshot::SnapshotError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process uses the data directory.
    #[error(transparent)]
    InUse(#[from] LockError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The newest snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The identity file of this node cannot be used.
    #[error("{path} cannot be used: {what}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        what: String,
    },
    /// The log ends before the last committed entry.
    #[error(
        "the log in {path} is not whole: {what}. The disk lost synced data, or the data directory is put together from different \
         times. The other members have the data: move the data directory away and start this node again; it joins again under its name \
         and fetches everything"
    )]
    LostLog {
        /// The log's directory.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// The data directory belongs to another node.
    #[error(
        "the data in {path} belong to the node named {found}, but this node is named {expected}: give each node its own data \
         directory, or start it under its own name"
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// The name of the node that owns the data.
        found: String,
        /// The name of this node.
        expected: String,
    },
    /// Another process is already running as this node.
    #[error("{0}")]
    Refused(String),
    /// The data belong to one cluster, but the configuration names another.
    #[error(
        "the data in {path} belong to cluster {own}, but {address} of cluster.peers or cluster.join belongs to cluster {found}: \
         start this node with the addresses of its own cluster, or move its data directory away to join the other one"
    )]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// The cluster the data belong to.
        own: String,
        /// A configured address.
        address: String,
        /// The cluster found at that address.
        found: String,
    },
    /// The log begins after entries that only a snapshot has, and that snapshot is gone.
    #[error(
        "the log in {path} begins after entry {purged}, and there is no snapshot with the entries up to there (the newest one \
         ends at {found}): put the file back into {path}/snapshots, or move the whole data directory away and start again; the \
         node then joins again and fetches everything from the other members"
    )]
    SnapshotMissing {
        /// The data directory.
        path: PathBuf,
        /// The last entry that is no longer in the log.
        purged: u64,
        /// The last entry of the newest snapshot; 0 when there is none.
        found: u64,
    },
    /// The data are of a newer version than this build.
    #[error("{0}")]
    TooNew(String),
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The disk refused an operation.
    #[error("{what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// openraft refused its settings or its storage.
    #[error("consensus could not be started: {0}")]
    Consensus(String),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time, or this node knows that no majority of the members answers. Nothing was
    /// proposed.
    #[error(
        "no leader that a majority follows within {waited_ms} ms; nothing was done. Try again, or see which members are up: \
         batuta cluster members"
    )]
    NoLeader {
        /// How long the request waited, milliseconds.
        waited_ms: u64,
    },
    /// The request was proposed, and the answer did not come in time: it may have happened, or may still
    /// happen.
    #[error(
        "no answer within {waited_ms} ms; whether it was done is not known. Try again with the same Idempotency-Key (or the \
         same session and sequence): it happens once, and the retry gets the first answer"
    )]
    OutcomeUnknown {
        /// How long the request waited, milliseconds.
        waited_ms: u64,
    },
    /// The disk is nearly full.
    #[error(
        "the disk has {free_bytes} bytes free, fewer than storage.disk_free_min_bytes = {min_bytes}; requests that add nothing to the \
         state still work. Free space or lower the limit"
    )]
    DiskFull {
        /// Free space, bytes.
        free_bytes: u64,
        /// The limit, bytes.
        min_bytes: u64,
    },
    /// More requests wait than the node accepts.
    #[error("more requests wait than this node accepts; nothing was done. Try again later")]
    Overloaded,
    /// The node is being stopped.
    #[error("the node is being stopped; nothing was done. Ask another node")]
    ShuttingDown,
    /// No member has this id.
    #[error("there is no member {node_id}; see batuta cluster members")]
    NotAMember {
        /// The requested id.
        node_id: u64,
    },
    /// This node was removed from the cluster.
    #[error(
        "this node (id {node_id}) was removed from the cluster; nothing was done. Ask another node. To bring this one back, stop it, \
         move its data directory away and start it again: it joins as a new member"
    )]
    Removed {
        /// The id this node had.
        node_id: u64,
    },
    /// Not every member knows the request yet.
    #[error("{0}")]
    UpgradePending(String),
    /// The membership cannot be changed in that way, or not now.
    #[error("{0}")]
    Membership(String),
    /// The node cannot continue.
    #[error("{0}")]
    Fatal(String),
}

impl ProposeError {
    /// The stable code, see docs/errors.md.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoLeader { .. } => Code::NoLeader,
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Overloaded => Code::Overloaded,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::NotAMember { .. } => Code::UnknownMember,
            Self::Removed { .. } => Code::NodeRemoved,
            Self::UpgradePending(_) => Code::UpgradePending,
            Self::Membership(_) => Code::MembershipChangeRefused,
            Self::Fatal(_) => Code::Internal,
        }
    }
}

/// The result of a failed attempt on one node, before deciding whether to retry.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// This node does not lead (any more), and nothing was proposed.
    NotLeader,
    /// This node leads, but no majority has acknowledged it for long, and nothing was proposed.
    NoMajority,
    /// The request was proposed, but its outcome is not known.
    Unknown,
    /// Retrying elsewhere does not help.
    Final(ProposeError),
}

impl Failed {
    pub(crate) fn to_wire(&self) -> wire::Refused {
        let mut refused = wire::Refused::default();
        let reason = match self {
            Self::NotLeader => Reason::NotLeader,
            Self::NoMajority => Reason::NoMajority,
            Self::Unknown => Reason::UnknownOutcome,
            Self::Final(error) => {
                refused.message = error.to_string();
                match error {
                    ProposeError::NoLeader { .. } => Reason::NotLeader,
                    ProposeError::OutcomeUnknown { .. } => Reason::UnknownOutcome,
                    ProposeError::DiskFull { free_bytes, min_bytes } => {
                        (refused.free_bytes, refused.min_bytes) = (*free_bytes, *min_bytes);
                        Reason::DiskFull
                    }
                    ProposeError::Overloaded => Reason::Overloaded,
                    // A leader is a member; a node that is no longer a member proposes nothing.
                    ProposeError::ShuttingDown | ProposeError::Removed { .. } => Reason::ShuttingDown,
                    ProposeError::NotAMember { node_id } => {
                        refused.node_id = *node_id;
                        Reason::UnknownMember
                    }
                    ProposeError::UpgradePending(_) => Reason::UpgradePending,
                    ProposeError::Membership(_) => Reason::Membership,
                    ProposeError::Fatal(_) => Reason::Internal,
                }
            }
        };
        refused.set_reason(reason);
        refused
    }

    pub(crate) fn from_wire(refused: wire::Refused) -> Self {
        Self::Final(match refused.reason() {
            Reason::NotLeader | Reason::ShuttingDown => return Self::NotLeader,
            Reason::NoMajority => return Self::NoMajority,
            Reason::UnknownOutcome => return Self::Unknown,
            Reason::DiskFull => {
                ProposeError::DiskFull { free_bytes: refused.free_bytes, min_bytes: refused.min_bytes }
            }
            Reason::Overloaded => ProposeError::Overloaded,
            Reason::UnknownMember => ProposeError::NotAMember { node_id: refused.node_id },
            Reason::UpgradePending => ProposeError::UpgradePending(refused.message),
            Reason::Membership => ProposeError::Membership(refused.message),
            Reason::Unspecified | Reason::Internal => ProposeError::Fatal(refused.message),
        })
    }
}
