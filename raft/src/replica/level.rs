//! The leader raises the level of the cluster once all members have reached a higher one, and requests of a level that the cluster has
//! not reached are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_statemachine::cluster::RaiseLevel;
use batuta_statemachine::{Command, LEVEL_MIN, Request, version_of};

use super::error::{Failed, ProposeError};
use super::route::Leader;
use super::{Core, Inner, Replica};
use crate::codec::EncodedRequests;
use crate::level::{self, Levels, TooNew};
use crate::metrics::{Metrics, RaftMetrics};

/// How long raising the level may take before the hellos go on.
const RAISE_WITHIN: Duration = Duration::from_secs(5);

/// Refuses requests of a level that the cluster has not reached. `state_level` gives the level of the newest state of this node; it is
/// not asked for what every build knows.
pub(super) fn check_reached(
    levels: &Levels,
    metrics: &Metrics,
    requests: &[Request],
    state_level: impl FnOnce() -> u32,
) -> Result<(), ProposeError> {
    let needed = Request::highest_level(requests);
    if needed <= LEVEL_MIN {
        return Ok(());
    }
    let state_level = state_level();
    if needed <= state_level {
        return Ok(());
    }
    let (me, members): (u64, Vec<(u64, String)>) = metrics.look(|metrics| {
        let members = metrics.membership_config.nodes();
        (metrics.id, members.map(|(node_id, member)| (*node_id, member.name.clone())).collect())
    });
    Err(ProposeError::UpgradePending(levels.pending(needed, state_level, me, members)))
}

impl Replica {
    /// Refuses requests before they travel. The leader looks again: it knows the newest level.
    pub(super) fn check_level(&self, requests: &[Request]) -> Result<(), ProposeError> {
        let Some(core) = self.inner.core() else { return Ok(()) };
        check_reached(&self.inner.levels, &core.metrics, requests, || self.view().level())
    }
}

impl Inner {
    /// Fails when a process that tells this level does not know everything that is in the log.
    pub(super) fn check_level_of(&self, told: u32, version: &str) -> Result<(), TooNew> {
        let view = self.published.view();
        let told = told.max(LEVEL_MIN);
        let own_version = if version.is_empty() { "of an unknown version" } else { version };
        level::check(told, view.level(), view.level_version())
            .map_err(|too_new| TooNew { own_version: own_version.to_owned(), ..too_new })
    }
}

/// The level that all members know, when no change of the membership is under way and all of them have told theirs.
fn level_of_all(levels: &Levels, metrics: &RaftMetrics) -> Option<u32> {
    let config = &metrics.membership_config;
    let settled =
        config.membership().get_joint_config().len() == 1 && *config.log_id() <= metrics.last_applied;
    let members = || config.nodes().map(|(node_id, _)| *node_id);
    settled.then(|| levels.lowest(metrics.id, members())).flatten()
}

/// The level that all founders of a cluster that has no name yet have told.
pub(super) fn level_of_founders(levels: &Levels, metrics: &Metrics) -> Option<u32> {
    metrics.look(|metrics| level_of_all(levels, metrics))
}

/// The command that raises a cluster to a level, which this build knows.
pub(super) fn raise_to(level: u32) -> Option<Command> {
    version_of(level).map(|version| Command::from(RaiseLevel { level, version: version.to_owned() }))
}

/// Raises the level of the cluster if this node leads, and all members have `answered` just now that they know a higher one. Returns
/// whether that is still to be done.
pub(super) async fn raise(inner: &Inner, core: &Core, answered: &BTreeSet<u64>) -> bool {
    if !matches!(core.leader(), Leader::Me) {
        return false;
    }
    core.metrics.look(|metrics| inner.levels.retain(&metrics.membership_config));
    // Whoever joins meanwhile is compared with the new level.
    let Ok(_no_change) = core.changing_members.try_lock() else { return true };
    let level = core.metrics.look(|metrics| {
        let mut others = metrics.membership_config.nodes().filter(|(node_id, _)| **node_id != metrics.id);
        let all = others.all(|(node_id, _)| answered.contains(node_id));
        if all { level_of_all(&inner.levels, metrics) } else { None }
    });
    let Some(level) = level.filter(|level| *level > inner.published.view().level()) else { return false };
    let Some(command) = raise_to(level) else { return false };
    let requests = EncodedRequests::new(vec![Request::new(None, command)]);
    match tokio::time::timeout(RAISE_WITHIN, core.proposer.propose(requests)).await {
        Ok(Ok(_)) => {
            tracing::info!(level, "every member is upgraded; the level of the cluster has risen");
            false
        }
        Ok(Err(Failed::NotLeader)) => false,
        Ok(Err(_)) | Err(_) => true,
    }
}

/// The answer to a node that asks to join and does not know everything that is in the log.
pub(super) fn refuse_to_join(cluster_id: String, too_new: &TooNew) -> wire::JoinResponse {
    wire::JoinResponse {
        cluster_id,
        refused: too_new.to_string(),
        level_needed: too_new.level,
        ..Default::default()
    }
}
