//! The health of the node: whether it should get requests.

use batuta_raft::{MemberStatus, Role, Status};

use super::{At, Service};

/// Whether the node should get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Why the node is not ready; `None` when it is.
    pub not_ready: Option<String>,
    /// Why requests that add to the state are refused at the moment. The node may be ready at the same time: reads, keep-alives, extensions
    /// and releases still work, and when every disk is full there is no better node.
    pub writes_refused: Option<String>,
}

impl Readiness {
    /// Whether the node is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.not_ready.is_none()
    }
}

/// The health of a node, in detail. A node that cannot continue exits, so an answering node is alive.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the node should get requests.
    pub readiness: Readiness,
    /// Whether the node is shutting down.
    pub draining: bool,
    /// The leader's name, when one is known.
    pub leader_name: Option<String>,
    /// The members, as the node knows them.
    pub members: Vec<MemberStatus>,
}

impl Service {
    /// Reads the health of this node, in detail. Needs no quorum.
    #[must_use]
    pub fn health(&self) -> At<Health> {
        let members = self.inner.gate.status().members;
        self.of_node().applied(Health {
            readiness: self.readiness(),
            draining: self.is_draining(),
            leader_name: members
                .iter()
                .find(|member| member.role == Role::Leader)
                .map(|member| member.name.clone()),
            members,
        })
    }

    /// Reads whether the node is ready: it has recent contact with a leader, has applied nearly all committed entries, and does not drain. A
    /// healthy follower is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness_of(&self.inner.gate.status())
    }

    pub(super) fn readiness_of(&self, status: &Status) -> Readiness {
        let not_ready = if self.is_draining() && self.inner.gate.removed().is_none() {
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
