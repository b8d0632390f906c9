//! Decides when openraft checks its timers.
//!
//! openraft ticks fifty times a second, and nearly all ticks find nothing: a follower that just heard from
//! its leader has no election due, and a leader's only timer is that of its heartbeats. Each tick wakes the
//! thread and costs what openraft does after every event. So the ticks rest while nothing can be due, and a
//! leader's heartbeats have a timer here. Elections begin exactly as before: a follower's ticks resume before
//! the earliest possible one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Core, Inner};

/// The timers that a node needs.
#[derive(Debug, PartialEq, Eq)]
enum Timers {
    /// The node leads.
    Heartbeats,
    /// The node has a leader, and no election is due for this long.
    Rest(Duration),
    /// The node may have to stand for election.
    Ticks,
}

/// `leader`: the leader, as this node knows; `silence`: how long it has not heard from a leader.
fn timers(me: u64, leader: Option<u64>, silence: Duration, election_timeout_min: Duration) -> Timers {
    let rest = election_timeout_min.saturating_sub(silence);
    match leader {
        Some(leader) if leader == me => Timers::Heartbeats,
        Some(_) if !rest.is_zero() => Timers::Rest(rest),
        Some(_) | None => Timers::Ticks,
    }
}

/// Lets openraft tick only while a tick may have an effect, and sends a leader's heartbeats, until the node
/// stops.
pub(super) fn keep(inner: &Arc<Inner>, core: &Core, mut leads: watch::Receiver<Option<u64>>) {
    let heartbeat = Duration::from_millis(inner.options.heartbeat_ms);
    let election_timeout_min = Duration::from_millis(inner.options.election_timeout_ms.0);
    let (raft, me) = (core.raft.clone(), core.identity.node_id);
    let (stop, tasks) = (inner.stop.clone(), inner.tasks.clone());
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        loop {
            let leader = *leads.borrow_and_update();
            let timers = timers(me, leader, inner.leader_heard.age(), election_timeout_min);
            raft.runtime_config().tick(timers == Timers::Ticks);
            if timers == Timers::Heartbeats
                && let Err(fatal) = raft.trigger().heartbeat().await
            {
                tracing::debug!(%fatal, "consensus has ended");
                return;
            }
            let again = if let Timers::Rest(rest) = timers { rest } else { heartbeat };
            // Without a sender consensus has ended, and nothing is left to do.
            if let Ok(Err(_)) = tokio::time::timeout(again, leads.changed()).await {
                return;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(300);

    #[test]
    fn ticks_rest_only_while_no_election_can_be_due() {
        let silent = |ms| Duration::from_millis(ms);
        assert_eq!(timers(1, Some(1), silent(9_000), MIN), Timers::Heartbeats, "a leader hears no other");
        assert_eq!(timers(1, Some(2), silent(0), MIN), Timers::Rest(MIN));
        assert_eq!(timers(1, Some(2), silent(299), MIN), Timers::Rest(silent(1)));
        assert_eq!(timers(1, Some(2), silent(300), MIN), Timers::Ticks);
        assert_eq!(timers(1, None, silent(0), MIN), Timers::Ticks, "nobody leads");
    }
}
