//! What can go wrong, typed.

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
    /// Another process has the data directory.
    #[error(transparent)]
    InUse(#[from] LockError),
    /// The log can not be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The newest snapshot can not be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The file that says who this node is can not be used.
    #[error("{path} can not be used: {what}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The log ends before what was committed.
    #[error(
        "the log in {path} is not whole: {what}. The disk lost what was synced, or the data directory is put together from different \
         times. The other members have the data: move the data directory away and start this node again; it joins anew under its name \
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
        "the data in {path} belong to the node named {found}, this node is named {expected}: give each node its own data \
         directory, or start it under its own name"
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who this node is.
        expected: String,
    },
    /// Another process is this node already.
    #[error("{0}")]
    Refused(String),
    /// The data belong to one cluster, the configuration names another.
    #[error(
        "the data in {path} belong to cluster {own}, but {address} of cluster.peers or cluster.join belongs to cluster {found}: \
         start this node with the addresses of its own cluster, or move its data directory away to join the other one"
    )]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        own: String,
        /// A configured address.
        address: String,
        /// The cluster found there.
        found: String,
    },
    /// The log begins behind the entries that only a snapshot has, and that snapshot is gone.
    #[error(
        "the log in {path} begins after entry {purged}, and there is no snapshot with the entries up to there (the newest one \
         ends at {found}): put the file back into {path}/snapshots, or move the whole data directory away and start again; the \
         node then joins anew and fetches everything from the other members"
    )]
    SnapshotMissing {
        /// The data directory.
        path: PathBuf,
        /// The last entry that is not in the log any more.
        purged: u64,
        /// The last entry of the newest snapshot; 0 when there is none.
        found: u64,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The disk refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// openraft refused its settings or its storage.
    #[error("consensus could not be started: {0}")]
    Consensus(String),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time, or the node knows that no majority of the members answers. Nothing was proposed.
    #[error(
        "no leader that a majority follows within {waited_ms} ms; nothing was done. Ask again, or see which members are up: \
         batuta cluster members"
    )]
    NoLeader {
        /// How long was waited.
        waited_ms: u64,
    },
    /// It was proposed, and the answer did not come in time: it may have happened, or may still happen.
    #[error(
        "no answer within {waited_ms} ms; whether it was done is not known. Ask again with the same Idempotency-Key (or the \
         same session and sequence): it happens once, and the answer is the first one's"
    )]
    OutcomeUnknown {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The disk is nearly full.
    #[error(
        "the disk has {free_bytes} bytes free, fewer than storage.disk_free_min_bytes = {min_bytes}; what adds nothing to the \
         state still works. Free space or lower the limit"
    )]
    DiskFull {
        /// Bytes free.
        free_bytes: u64,
        /// The limit.
        min_bytes: u64,
    },
    /// More requests wait than the node takes.
    #[error("more requests wait than this node takes; nothing was done. Ask again later")]
    Overloaded,
    /// The node is being stopped.
    #[error("the node is being stopped; nothing was done. Ask another node")]
    ShuttingDown,
    /// There is no member of that id.
    #[error("there is no member {node_id}; see batuta cluster members")]
    NotAMember {
        /// The id asked for.
        node_id: u64,
    },
    /// This node was removed from the cluster.
    #[error(
        "this node (id {node_id}) was removed from the cluster; nothing was done. Ask another node. To bring this one back, stop it, \
         move its data directory away and start it again: it joins as a new member"
    )]
    Removed {
        /// The id it had.
        node_id: u64,
    },
    /// The membership can not be changed that way, or not now.
    #[error("{0}")]
    Membership(String),
    /// The node can not go on.
    #[error("{0}")]
    Fatal(String),
}

impl ProposeError {
    /// The stable code of docs/errors.md.
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
            Self::Membership(_) => Code::MembershipChangeRefused,
            Self::Fatal(_) => Code::Internal,
        }
    }
}

/// What an attempt on one node came to, before it is decided whether to try again.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// This node does not lead (any more), and nothing was proposed.
    NotLeader,
    /// This node leads, but no majority has acknowledged it for long, and nothing was proposed.
    NoMajority,
    /// It was proposed; what became of it is not known.
    Unknown,
    /// Trying again elsewhere does not help.
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
                    // A leader is a member; whoever is none any more proposes nothing.
                    ProposeError::ShuttingDown | ProposeError::Removed { .. } => Reason::ShuttingDown,
                    ProposeError::NotAMember { node_id } => {
                        refused.node_id = *node_id;
                        Reason::UnknownMember
                    }
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
            Reason::Membership => ProposeError::Membership(refused.message),
            Reason::Unspecified | Reason::Internal => ProposeError::Fatal(refused.message),
        })
    }
}
