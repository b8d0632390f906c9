//! Tracks when this node last heard from a majority. openraft's metrics name a leader until another one is
//! elected, whether it is alive or not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::{Instant as _, ServerState};
use tokio::time::Instant;

use crate::metrics::RaftMetrics;

/// The times at which a leader last sent something, or this node was elected.
pub(crate) struct LeaderContact {
    start: Instant,
    /// Milliseconds after the start, plus one; 0 = never.
    spoke_ms: AtomicU64,
    /// The same for messages that this node has processed and answered.
    answered_ms: AtomicU64,
    /// The number of open entry streams, from any leader.
    pub(super) streams: AtomicU64,
}

impl LeaderContact {
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

    /// Notes that a leader of this or a later term sent something, or that this node was elected.
    pub(crate) fn note(&self) {
        self.spoke_ms.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that a leader's message was processed: this node knows how far the leader has committed.
    pub(crate) fn note_answered(&self) {
        self.answered_ms.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago a leader last sent something; since the start of the node when none has.
    pub(crate) fn age(&self) -> Duration {
        self.since(&self.spoke_ms).unwrap_or_else(|| self.start.elapsed())
    }

    /// How long ago this node last answered a leader; `None` if it has not since it started.
    pub(crate) fn answered(&self) -> Option<Duration> {
        self.since(&self.answered_ms)
    }

    /// How long this node has not heard from a majority: on a leader by its followers' acknowledgements,
    /// elsewhere by the leader's messages. `None`: never since the node started.
    pub(crate) fn silence(&self, metrics: &RaftMetrics) -> Option<Duration> {
        if metrics.state != ServerState::Leader {
            return self.since(&self.spoke_ms);
        }
        // A single voter is a majority by itself, and nobody acknowledges it.
        if metrics.membership_config.voter_ids().eq([metrics.id]) {
            return Some(Duration::ZERO);
        }
        let acknowledged = metrics.last_quorum_acked.map(|at| at.elapsed());
        // A majority that has just voted for this node counts as well.
        acknowledged.into_iter().chain(self.since(&self.spoke_ms)).min()
    }

    /// Like [`Self::silence`]; a node that has never heard of a majority counts from its start.
    pub(crate) fn silent_for(&self, metrics: &RaftMetrics) -> Duration {
        self.silence(metrics).unwrap_or_else(|| self.start.elapsed())
    }
}
