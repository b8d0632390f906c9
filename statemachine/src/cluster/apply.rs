//! Executes the commands of the cluster.

use crate::Rejection;
use crate::cluster::{
    AllocateNode, Change, ClusterInitialised, InitCluster, LevelRaised, LimitsSet, NodeAllocated, RaiseLevel,
    Raised, Refusal, SetLimits,
};
use crate::rejection::invalid;
use crate::step::Step;

impl InitCluster {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<ClusterInitialised, Rejection> {
        if let Some(cluster_id) = &step.state.cluster.cluster_id {
            return Err(Refusal::AlreadyInitialised { cluster_id: cluster_id.clone() }.into());
        }
        if self.cluster_id.is_empty() {
            return Err(invalid("cluster_id", "must not be empty"));
        }
        step.state.cluster.cluster_id = Some(self.cluster_id.clone());
        step.state.cluster.next_node_id = step.state.cluster.next_node_id.max(self.next_node_id);
        step.emit(None, Change::ClusterInitialised);
        Ok(ClusterInitialised)
    }
}

impl AllocateNode {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<NodeAllocated, Rejection> {
        if step.state.cluster.cluster_id.is_none() {
            return Err(invalid(
                "cluster_id",
                "the cluster is not initialised yet; ask again when it has a leader",
            ));
        }
        let node_id = step.state.cluster.next_node_id;
        step.state.cluster.next_node_id = node_id.saturating_add(1);
        step.emit(None, Change::NodeAllocated { node_id, node_name: self.node_name.clone() });
        Ok(NodeAllocated { node_id })
    }
}

impl SetLimits {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<LimitsSet, Rejection> {
        step.state.limits = step.state.limits.patched_at(step.state.level(), &self.patch)?;
        step.state.retries.keep_within(&step.state.limits.retries);
        step.emit(None, Change::LimitsChanged);
        Ok(LimitsSet)
    }
}

impl RaiseLevel {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<LevelRaised, Rejection> {
        if self.level == 0 {
            return Err(invalid("level", "must be at least 1"));
        }
        if self.version.is_empty() || self.version.len() > Self::VERSION_BYTES_MAX {
            let problem = format!("must have 1 to {} bytes", Self::VERSION_BYTES_MAX);
            return Err(invalid("version", problem));
        }
        if self.level > step.state.level() {
            let (level, version) = (self.level, self.version.clone());
            step.state.cluster.raised = Some(Raised { level, version: version.clone() });
            step.emit(None, Change::LevelRaised { level, version });
        }
        Ok(LevelRaised { level: step.state.level() })
    }
}
