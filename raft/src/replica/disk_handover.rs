//! A leader whose disk is nearly full hands leadership to a voter with room, so that writes are no longer
//! refused.
//!
//! Invariant: leadership goes only to a voter that follows closely and recently reported room with a margin;
//! if there is none, leadership stays. So leadership never circulates among full disks, and no write waits
//! for a voter that is still coming back.

use std::sync::Arc;
use std::time::Duration;

use super::error::Failed;
use super::route::Leader;
use super::{Inner, membership};
use crate::types::LogId;

/// Pause between two checks while the disk is nearly full.
const CHECK_AGAIN: Duration = Duration::from_millis(200);
/// Pause after a voter did not take over.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Another voter.
struct Voter {
    node_id: u64,
    /// The end of its log, as far as the leader knows.
    matched: Option<LogId>,
    /// Whether the voter has room and could lead at once.
    room: bool,
}

/// The voter that should lead instead: of those with room, the one with the longest log.
fn successor(voters: impl IntoIterator<Item = Voter>) -> Option<u64> {
    let with_room = voters.into_iter().filter(|voter| voter.room && voter.matched.is_some());
    with_room.max_by_key(|voter| (voter.matched, voter.node_id)).map(|voter| voter.node_id)
}

/// Hands over whenever this node leads and its disk is nearly full, until the node stops.
pub(super) fn keep(inner: &Arc<Inner>) {
    let (stop, tasks) = (inner.stop.clone(), inner.tasks.clone());
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        loop {
            inner.disk.is_low().await;
            let pause = match hand_over(&inner).await {
                Ok(()) => CHECK_AGAIN,
                Err(failed) => {
                    tracing::warn!(
                        ?failed,
                        "the disk is nearly full, but leadership could not be handed over"
                    );
                    TRY_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }));
}

async fn hand_over(inner: &Arc<Inner>) -> Result<(), Failed> {
    let Some(core) = inner.core().filter(|core| matches!(core.leader(), Leader::Me)) else { return Ok(()) };
    let lately = 2 * inner.options.election_timeout_max();
    let voters = core.metrics.look(|metrics| {
        let matched = |node_id: u64| metrics.replication.as_ref()?.get(&node_id).copied().flatten();
        let others =
            metrics.membership_config.voter_ids().filter(|node_id| *node_id != core.identity.node_id);
        let voter = |node_id| {
            let room = inner.disk.member_has_room(node_id, lately)
                && membership::follows(inner, metrics, node_id)
                && core.integrity.fault(node_id).is_none();
            Voter { node_id, matched: matched(node_id), room }
        };
        others.map(voter).collect::<Vec<_>>()
    });
    let Some(to) = successor(voters) else { return Ok(()) };
    tracing::warn!(to, "the disk is nearly full; handing leadership to a voter that has room");
    let _handing_over = inner.disk.handing_over();
    membership::transfer(inner, Some(to)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_goes_to_the_longest_log_that_has_room() {
        let voter = |node_id, index: Option<u64>, room| {
            let matched = index.map(|index| LogId::new_term_index(2, index));
            Voter { node_id, matched, room }
        };
        assert_eq!(successor([]), None);
        assert_eq!(successor([voter(2, Some(9), false), voter(3, Some(9), false)]), None, "all are full");
        assert_eq!(successor([voter(2, Some(9), false), voter(3, Some(7), true)]), Some(3));
        assert_eq!(successor([voter(2, Some(9), true), voter(3, Some(7), true)]), Some(2));
        assert_eq!(successor([voter(2, None, true)]), None, "nothing is known of its log");
    }
}
