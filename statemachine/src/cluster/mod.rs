//! What the cluster knows of itself: its identity, the ids it gave to nodes, the limits in force.

mod apply;

use crate::LimitsPatch;

/// Names the cluster. The first entry a new cluster commits; refused when it already has a name.
/// Reply: [`crate::Reply::ClusterInitialised`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitCluster {
    /// The id born with the cluster.
    pub cluster_id: String,
    /// The first node id that [`AllocateNode`] may give.
    pub next_node_id: u64,
}

/// Takes a node id that was never used before. Reply: [`crate::Reply::NodeAllocated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocateNode {
    /// The name of the node that asks, for people.
    pub node_name: String,
}

/// Changes limits for every node at once. Reply: [`crate::Reply::LimitsSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// What to change.
    pub patch: LimitsPatch,
}
