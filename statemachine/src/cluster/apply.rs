//! How the commands of the cluster itself change the state.

use crate::check::invalid;
use crate::cluster::{AllocateNode, InitCluster, SetLimits};
use crate::transition::Transition;
use crate::{ChangeKind, Outcome, Rejection, Reply};

impl InitCluster {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        if let Some(cluster_id) = &transition.state.cluster_id {
            return Err(Rejection::AlreadyInitialised { cluster_id: cluster_id.clone() });
        }
        if self.cluster_id.is_empty() {
            return Err(invalid("cluster_id", "must not be empty"));
        }
        transition.state.cluster_id = Some(self.cluster_id.clone());
        transition.state.next_node_id = transition.state.next_node_id.max(self.next_node_id);
        transition.emit(None, ChangeKind::ClusterInitialised);
        Ok(Reply::ClusterInitialised)
    }
}

impl AllocateNode {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        if transition.state.cluster_id.is_none() {
            return Err(invalid(
                "cluster_id",
                "the cluster is not initialised yet; ask again when it has a leader",
            ));
        }
        let node_id = transition.state.next_node_id;
        transition.state.next_node_id = node_id.saturating_add(1);
        transition.emit(None, ChangeKind::NodeAllocated { node_id, node_name: self.node_name.clone() });
        Ok(Reply::NodeAllocated { node_id })
    }
}

impl SetLimits {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        transition.state.limits = transition.state.limits.patched(&self.patch)?;
        transition.state.dedup.keep_at_most(transition.state.limits.idempotency_keys_max);
        transition.emit(None, ChangeKind::LimitsChanged);
        Ok(Reply::LimitsSet)
    }
}
