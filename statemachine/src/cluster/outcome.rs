//! The replies, refusals and changes of the cluster itself.

use crate::Code;
use crate::job_macros::{job_replies, job_usage};

/// The cluster has its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterInitialised;

/// A node id was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeAllocated {
    /// The node id.
    pub node_id: u64,
}

/// The limits are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitsSet;

/// The cluster has reached a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelRaised {
    /// The level of the cluster now; it may be higher than the one asked for.
    pub level: u32,
}

job_replies! {
    Cluster {
        /// The cluster has its identity.
        ClusterInitialised,
        /// A node id was given out.
        NodeAllocated,
        /// The limits are in force.
        LimitsSet,
        /// The cluster has reached a level.
        LevelRaised,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::ClusterInitialised(_)
            | Self::NodeAllocated(_)
            | Self::LimitsSet(_)
            | Self::LevelRaised(_) => 0,
        }
    }
}

job_usage! {}

/// Why a command of the cluster itself is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The cluster already has its identity.
    #[error("the cluster is already initialised as {cluster_id}")]
    AlreadyInitialised {
        /// The id of the cluster.
        cluster_id: String,
    },
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::AlreadyInitialised { .. } => Code::AlreadyInitialised,
        }
    }

    /// The bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::AlreadyInitialised { cluster_id } => cluster_id.len(),
        }
    }
}

/// The changes of the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The limits in force changed.
    LimitsChanged,
    /// A node id was given out.
    NodeAllocated {
        /// The node id.
        node_id: u64,
        /// The name of the node that got the id.
        node_name: String,
    },
    /// The cluster got its identity.
    ClusterInitialised,
    /// Every member knows the commands up to a level.
    LevelRaised {
        /// The level.
        level: u32,
        /// The first version of Batuta with this level.
        version: String,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::NodeAllocated { node_name, .. } => node_name.len(),
            Self::LevelRaised { version, .. } => version.len(),
            Self::LimitsChanged | Self::ClusterInitialised => 0,
        }
    }
}

/// There are no records: the cluster's own data is in the header of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {}
