//! Batches keep-alives, so that many share one entry.
//!
//! A lone keep-alive waits 100 ms. When batches follow one another, a keep-alive waits up to a twentieth of its session's TTL, at most
//! 500 ms. A few dozen sessions and ten thousand then cost the same few entries, and a client that renews three times per TTL
//! notices no difference. A batch is limited in size, so that no large entry holds up the entries behind it.

use std::time::Duration;

use batuta_statemachine::SessionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Failed;
use super::proposer::KeptAlive;

/// The shortest wait, and the wait of a lone keep-alive.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// A keep-alive waits at most its session's TTL divided by this.
const TTL_PART: u32 = 20;
/// A batch of this many sessions leaves at once. That allows some ten thousand sessions a second in entries that each apply within a few
/// milliseconds.
const ENOUGH: usize = 1024;

/// Sessions of one caller that wait for renewal and are answered together.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) sessions: Vec<SessionId>,
    pub(super) answer: oneshot::Sender<Result<KeptAlive, Failed>>,
}

/// The batch that is being collected.
#[derive(Default)]
pub(super) struct Renewals {
    waiting: Vec<Renewal>,
    sessions: usize,
    /// When the batch leaves; `None` while it is empty.
    leave_at: Option<Instant>,
    left_at: Option<Instant>,
}

impl Renewals {
    /// Adds sessions to the batch. `ttl`: the shortest TTL of these sessions; `None` when one of them has ended.
    pub(super) fn push(&mut self, renewal: Renewal, ttl: Option<Duration>) {
        let now = Instant::now();
        let patience = ttl.map_or(WAIT_MIN, |ttl| (ttl / TTL_PART).clamp(WAIT_MIN, WAIT_MAX));
        let alone = now + WAIT_MIN;
        let leave_at = self.left_at.map_or(alone, |left_at| alone.max(left_at + patience));
        self.sessions += renewal.sessions.len();
        self.waiting.push(renewal);
        let leave_at = if self.room() { leave_at } else { now };
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
    }

    /// Whether the batch accepts more sessions.
    pub(super) fn room(&self) -> bool {
        self.sessions < ENOUGH
    }

    /// Resolves with the whole batch when it is due; never resolves while the batch is empty. Cancel-safe.
    pub(super) async fn leave(&mut self) -> Vec<Renewal> {
        let Some(leave_at) = self.leave_at else { return std::future::pending().await };
        tokio::time::sleep_until(leave_at).await;
        self.leave_at = None;
        self.left_at = Some(Instant::now());
        self.sessions = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::Position;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(30));

    fn renewal(index: u64) -> Renewal {
        together(index..index + 1)
    }

    fn together(indexes: std::ops::Range<u64>) -> Renewal {
        let sessions = indexes.map(|index| SessionId(Position { index, ordinal: 0 })).collect();
        Renewal { sessions, answer: oneshot::channel().0 }
    }

    /// The size of the batch that leaves, and how long after the call it does, in milliseconds.
    async fn left(renewals: &mut Renewals) -> (usize, u128) {
        let begun = Instant::now();
        let left = renewals.leave().await;
        (left.len(), begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn lone_keep_alive_waits_least() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100));
        tokio::time::sleep(Duration::from_millis(50)).await;
        renewals.push(renewal(2), LONG);
        tokio::time::sleep(Duration::from_millis(250)).await;
        renewals.push(renewal(3), LONG);
        assert_eq!(left(&mut renewals).await, (2, 200), "half a second after the batch before");
        tokio::time::sleep(Duration::from_millis(450)).await;
        renewals.push(renewal(4), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100), "never less than a lone keep-alive");
    }

    #[tokio::test(start_paused = true)]
    async fn wait_is_at_most_a_twentieth_of_the_ttl() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100));
        renewals.push(renewal(2), LONG);
        renewals.push(renewal(3), Some(Duration::from_secs(4)));
        renewals.push(renewal(4), LONG);
        assert_eq!(left(&mut renewals).await, (3, 200), "all leave with the most urgent");
        renewals.push(renewal(5), Some(Duration::from_millis(500)));
        assert_eq!(left(&mut renewals).await, (1, 100));
        renewals.push(renewal(6), None);
        assert_eq!(left(&mut renewals).await, (1, 100), "an ended session is answered soon");
    }

    #[tokio::test(start_paused = true)]
    async fn batch_is_limited_in_size() {
        let mut renewals = Renewals::default();
        for index in 0..ENOUGH as u64 / 2 {
            assert!(renewals.room());
            renewals.push(together(2 * index..2 * index + 2), LONG);
        }
        assert!(!renewals.room());
        assert_eq!(left(&mut renewals).await, (ENOUGH / 2, 0));
        assert!(renewals.room());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_leave_loses_nothing() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        tokio::time::timeout(Duration::from_millis(50), renewals.leave()).await.expect_err("too early");
        assert_eq!(left(&mut renewals).await, (1, 50));
    }
}
