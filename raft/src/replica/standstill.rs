//! A node that stood still for a while: a process that was stopped, a machine that was frozen.
//!
//! When it goes on, what the leader sent before the pause may still lie in its sockets. A node that took that for the leader's present
//! word would say that it is ready although it lacks everything since. So after a standstill it asks the leader how far the cluster is, a
//! question that cannot be answered by anything older, and is ready when it has got so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Inner};

/// Between two questions when there is no answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Whether this node stood still, and has caught up since.
pub(crate) struct Standstill {
    start: Instant,
    /// When it last looked, in milliseconds after the start.
    looked_ms: AtomicU64,
    catching_up: AtomicBool,
}

impl Standstill {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), looked_ms: AtomicU64::new(0), catching_up: AtomicBool::new(false) }
    }

    fn note_look(&self) {
        let after_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.looked_ms.store(after_ms, Ordering::Relaxed);
    }

    fn since_look(&self) -> Duration {
        let looked = Duration::from_millis(self.looked_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(looked)
    }

    /// Whether it stood still for longer than `limit` and does not know yet that it has caught up.
    pub(super) fn is_on(&self, limit: Duration) -> bool {
        self.catching_up.load(Ordering::Relaxed) || self.since_look() > limit
    }
}

/// Looks for standstills until the node stops.
pub(super) fn look_for(inner: &Arc<Inner>, core: &Core) {
    let (reads, limit) = (core.reads.clone(), inner.options.election_timeout_max());
    let (stop, tasks) = (inner.stop.clone(), inner.tasks.clone());
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        inner.standstill.note_look();
        loop {
            tokio::time::sleep(limit / 2).await;
            if inner.standstill.since_look() > limit {
                inner.standstill.catching_up.store(true, Ordering::Relaxed);
            }
            inner.standstill.note_look();
            while inner.standstill.catching_up.load(Ordering::Relaxed) {
                if let Ok(index) = reads.index().await {
                    let mut applied = inner.published.applied();
                    // The sender lives as long as the node.
                    let _ = applied.wait_for(|applied| *applied >= index).await;
                    inner.standstill.catching_up.store(false, Ordering::Relaxed);
                } else {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                inner.standstill.note_look();
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
        standstill.note_look();
        assert!(!standstill.is_on(limit));
        standstill.catching_up.store(true, Ordering::Relaxed);
        assert!(standstill.is_on(limit), "it looks again, and has not caught up");
    }
}
