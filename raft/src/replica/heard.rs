//! When a majority was last heard of. openraft's metrics name a leader until another one is elected, dead or not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::{Instant as _, ServerState};
use tokio::time::Instant;

use crate::metrics::RaftMetrics;

/// When a leader last spoke, or this node was elected.
pub(crate) struct LeaderHeard {
    start: Instant,
    /// Milliseconds after the start, plus one; 0: never.
    spoke_ms: AtomicU64,
    /// The same for messages that this node has processed and answered.
    answered_ms: AtomicU64,
    /// Streams of entries that are open, from whichever leader.
    pub(super) streams: AtomicU64,
}

impl LeaderHeard {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            spoke_ms: AtomicU64::new(0),
            answered_ms: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn since(&self, time: &AtomicU64) -> Option<Duration> {
        let after = Duration::from_millis(time.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.start.elapsed().saturating_sub(after))
    }

    /// A leader of this or a later term spoke, or this node was elected.
    pub(crate) fn note(&self) {
        self.spoke_ms.store(self.now(), Ordering::Relaxed);
    }

    /// What a leader sent was taken: this node knows how far the leader has committed.
    pub(crate) fn note_answered(&self) {
        self.answered_ms.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago a leader spoke; since the start of the node when none has.
    pub(crate) fn age(&self) -> Duration {
        self.since(&self.spoke_ms).unwrap_or_else(|| self.start.elapsed())
    }

    /// How long ago this node answered a leader; `None` when it has not since it started.
    pub(crate) fn answered(&self) -> Option<Duration> {
        self.since(&self.answered_ms)
    }

    /// How long no majority was heard of: on a leader by its followers' acknowledgements, elsewhere by the leader's messages. `None`:
    /// never since the node started.
    pub(crate) fn silence(&self, metrics: &RaftMetrics) -> Option<Duration> {
        if metrics.state != ServerState::Leader {
            return self.since(&self.spoke_ms);
        }
        // Its own word is a majority, and nobody gives it another.
        if metrics.membership_config.voter_ids().eq([metrics.id]) {
            return Some(Duration::ZERO);
        }
        let acknowledged = metrics.last_quorum_acked.map(|at| at.elapsed());
        // A majority that has just voted for it counts as well.
        acknowledged.into_iter().chain(self.since(&self.spoke_ms)).min()
    }

    /// Like [`Self::silence`]; a node that has never heard of a majority counts from its start.
    pub(crate) fn silent_for(&self, metrics: &RaftMetrics) -> Duration {
        self.silence(metrics).unwrap_or_else(|| self.start.elapsed())
    }
}
