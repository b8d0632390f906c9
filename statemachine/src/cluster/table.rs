//! What the cluster knows of itself.

use crate::State;

/// The cluster's identity, and the ids it gave out.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(crate) cluster_id: Option<String>,
    pub(crate) next_node_id: u64,
}

impl State {
    /// The cluster's id, once it has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster.cluster_id.as_deref()
    }

    /// The node id that would be given out next.
    #[must_use]
    pub fn next_node_id(&self) -> u64 {
        self.cluster.next_node_id
    }
}
