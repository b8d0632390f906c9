//! The table of the cluster's own data.

use crate::State;
use crate::level::LEVEL_MIN;

/// The cluster's identity, the ids it gave out, and its level.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(crate) cluster_id: Option<String>,
    pub(crate) next_node_id: u64,
    /// The level; `None` = [`LEVEL_MIN`].
    pub(crate) raised: Option<Raised>,
}

/// A level above the lowest one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Raised {
    pub(crate) level: u32,
    pub(crate) version: String,
}

impl State {
    /// The id of the cluster, once it has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster.cluster_id.as_deref()
    }

    /// The node id that is allocated next.
    #[must_use]
    pub fn next_node_id(&self) -> u64 {
        self.cluster.next_node_id
    }

    /// The level that every member has reached: commands up to this level may be proposed.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.cluster.raised.as_ref().map_or(LEVEL_MIN, |raised| raised.level)
    }

    /// The first version of Batuta with the cluster's level; empty while the level was never raised.
    #[must_use]
    pub fn level_version(&self) -> &str {
        self.cluster.raised.as_ref().map_or("", |raised| &raised.version)
    }
}
