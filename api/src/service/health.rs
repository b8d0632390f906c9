//! Whether the node lives, and whether it should get requests.

use batuta_raft::{MemberStatus, Role, Status};

use super::{At, Service};

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

/// How a node is, in detail. A node that cannot go on exits, so one that answers lives.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether it should get requests.
    pub readiness: Readiness,
    /// Whether it is shutting down.
    pub draining: bool,
    /// The leader's name, when one is known.
    pub leader_name: Option<String>,
    /// The members, as the node knows them.
    pub members: Vec<MemberStatus>,
}

impl Service {
    /// How this node is, in detail. Needs no quorum.
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

    /// Ready = a leader was heard a moment ago, nearly all of what it has committed is applied here, and the node does not drain. A
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
