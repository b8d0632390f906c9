//! Whether the node lives, and whether it should get requests.

use batuta_raft::Status;

use super::Service;

/// Whether the node should get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Why not; `None` = ready.
    pub not_ready: Option<String>,
    /// Why writes that add to the state are refused at this moment. A node is ready all the same: reads, keep-alives, extensions and
    /// releases go on, and when every disk is full there is no better node.
    pub writes_refused: Option<String>,
}

impl Readiness {
    /// Whether it is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.not_ready.is_none()
    }
}

impl Service {
    /// The process answers. Needs no quorum, and never fails: a node that can not go on exits.
    #[must_use]
    pub fn live(&self) -> bool {
        true
    }

    /// Ready = a leader was heard a moment ago, nearly all of what it has committed is applied here, and the node does not drain. A
    /// healthy follower is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness_of(&self.replica().status())
    }

    pub(super) fn readiness_of(&self, status: &Status) -> Readiness {
        let not_ready = if self.is_draining() && self.replica().removed().is_none() {
            Some("the node is shutting down".to_owned())
        } else {
            not_ready(status, self.inner.options.apply_lag_entries_max)
        };
        Readiness { not_ready, writes_refused: status.writes_refused.clone() }
    }
}

fn not_ready(status: &Status, lag_max: u64) -> Option<String> {
    if let Some(reason) = &status.not_ready {
        return Some(reason.clone());
    }
    if status.leader_id.is_none() {
        return Some("no leader is known".to_owned());
    }
    let lag = status.committed_index.saturating_sub(status.applied_index);
    (lag > lag_max)
        .then(|| format!("{lag} committed entries are not applied yet (at most {lag_max} are allowed)"))
}
