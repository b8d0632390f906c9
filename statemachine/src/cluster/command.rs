//! The commands of the cluster itself.

use crate::LimitsPatch;
use crate::cluster::{ClusterInitialised, LimitsSet, NodeAllocated};
use crate::job_macros::job_commands;

/// Names the cluster. The first entry a new cluster commits; refused when it already has a name.
/// Reply: [`ClusterInitialised`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitCluster {
    /// The id born with the cluster.
    pub cluster_id: String,
    /// The first node id that [`AllocateNode`] may give.
    pub next_node_id: u64,
}

/// Takes a node id that was never used before. Reply: [`NodeAllocated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocateNode {
    /// The name of the node that asks, for people.
    pub node_name: String,
}

/// Changes limits for every node at once. Reply: [`LimitsSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// What to change.
    pub patch: LimitsPatch,
}

job_commands! {
    Cluster {
        /// Names the cluster.
        InitCluster => ClusterInitialised,
        /// Gives out a node id.
        AllocateNode => NodeAllocated,
        /// Changes limits.
        SetLimits => LimitsSet,
    }
}
