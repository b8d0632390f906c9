//! When the leader was last heard. openraft's metrics name a leader until another one is elected, dead or not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time of the leader's last message.
pub(crate) struct LeaderHeard {
    start: Instant,
    after_ms: AtomicU64,
    /// Streams of entries that are open, from whichever leader.
    pub(super) streams: AtomicU64,
}

impl LeaderHeard {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), after_ms: AtomicU64::new(0), streams: AtomicU64::new(0) }
    }

    /// A leader of this or a later term spoke.
    pub(crate) fn note(&self) {
        let after_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after_ms, Ordering::Relaxed);
    }

    /// How long ago that was; since the start of the node when there was none.
    pub(crate) fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.after_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }
}
