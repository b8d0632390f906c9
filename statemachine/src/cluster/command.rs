//! The commands of the cluster itself.

use crate::LimitsPatch;
use crate::cluster::{ClusterInitialised, LevelRaised, LimitsSet, NodeAllocated};
use crate::job_macros::job_commands;

/// Sets the id of the cluster. This is the first command of a new cluster, and refused when the cluster already has an id.
/// Reply: [`ClusterInitialised`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitCluster {
    /// The id of the cluster.
    pub cluster_id: String,
    /// The first node id that [`AllocateNode`] may allocate.
    pub next_node_id: u64,
}

/// Allocates a node id that was never used before. Reply: [`NodeAllocated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocateNode {
    /// The name of the requesting node, for people.
    pub node_name: String,
}

/// Changes limits on all nodes at once. Reply: [`LimitsSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// The limits to change.
    pub patch: LimitsPatch,
}

/// Raises the level of the cluster: every member knows the commands up to this level. A level that is reached already is left alone.
/// Every build knows this command, and one that does not know the level stops instead of applying it. Reply: [`LevelRaised`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaiseLevel {
    /// The level that all members have told.
    pub level: u32,
    /// The first version of Batuta with this level, for people; 1 to [`Self::VERSION_BYTES_MAX`] bytes.
    pub version: String,
}

impl RaiseLevel {
    /// Longest version, bytes.
    pub const VERSION_BYTES_MAX: usize = 64;
}

job_commands! {
    Cluster {
        /// Sets the id of the cluster.
        InitCluster => ClusterInitialised,
        /// Allocates a node id.
        AllocateNode => NodeAllocated,
        /// Changes limits.
        SetLimits => LimitsSet,
        /// Raises the level of the cluster.
        RaiseLevel => LevelRaised,
    }
}
