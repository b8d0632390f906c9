//! Detects that this node stood still for a while: a stopped process or a frozen machine.
//!
//! When the node resumes, messages that the leader sent before the pause may still be in its sockets. A node
//! that took them for the leader's current messages would report itself ready although it lacks everything
//! since. So after a standstill the node asks the leader how far the cluster is, a question that no older
//! message can answer, and is ready once it has caught up to that point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Inner};

/// Pause between two questions when there is no answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Whether this node stood still, and whether it has caught up since.
pub(crate) struct Standstill {
    start: Instant,
    /// The time of the last check, in milliseconds after the start.
    checked_ms: AtomicU64,
    catching_up: AtomicBool,
}

impl Standstill {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), checked_ms: AtomicU64::new(0), catching_up: AtomicBool::new(false) }
    }

    fn note_check(&self) {
        let after_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.checked_ms.store(after_ms, Ordering::Relaxed);
    }

    fn since_check(&self) -> Duration {
        let checked = Duration::from_millis(self.checked_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(checked)
    }

    /// Whether the node stood still for longer than `limit` and does not yet know that it has caught up.
    pub(super) fn is_on(&self, limit: Duration) -> bool {
        self.catching_up.load(Ordering::Relaxed) || self.since_check() > limit
    }
}

/// Checks for standstills until the node stops.
pub(super) fn watch(inner: &Arc<Inner>, core: &Core) {
    let (reads, limit) = (core.reads.clone(), inner.options.election_timeout_max());
    let (stop, tasks) = (inner.stop.clone(), inner.tasks.clone());
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        inner.standstill.note_check();
        loop {
            tokio::time::sleep(limit / 2).await;
            if inner.standstill.since_check() > limit {
                inner.standstill.catching_up.store(true, Ordering::Relaxed);
            }
            inner.standstill.note_check();
            while inner.standstill.catching_up.load(Ordering::Relaxed) {
                if let Ok(index) = reads.index().await {
                    let mut applied = inner.published.applied();
                    // The sender lives as long as the node.
                    let _ = applied.wait_for(|applied| *applied >= index).await;
                    inner.standstill.catching_up.store(false, Ordering::Relaxed);
                } else {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                inner.standstill.note_check();
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standstill_shows_before_anybody_looks() {
        let (limit, ms) = (Duration::from_millis(650), Duration::from_millis(1));
        let standstill = Standstill::new();
        tokio::time::advance(limit).await;
        assert!(!standstill.is_on(limit));
        tokio::time::advance(ms).await;
        assert!(standstill.is_on(limit));
        standstill.note_check();
        assert!(!standstill.is_on(limit));
        standstill.catching_up.store(true, Ordering::Relaxed);
        assert!(standstill.is_on(limit), "it looks again, and has not caught up");
    }
}
