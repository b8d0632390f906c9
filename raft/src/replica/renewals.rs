//! Keep-alives that wait for one another, to share an entry.
//!
//! A lone one waits a tenth of a second. Where entries follow one another, each waits up to a twentieth of its session's time to
//! live, half a second at most: a few dozen sessions and ten thousand cost the same few entries, and who keeps a session alive
//! three times in its time to live loses nothing that matters. What many ask is cut in pieces, so that no entry holds up the
//! others behind it.

use std::time::Duration;

use batuta_statemachine::SessionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Failed;
use super::proposer::KeptAlive;

/// What waits at least, and all that a lone one waits.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// What waits at most.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// The part of a time to live that may pass before its keep-alive leaves.
const TTL_PART: u32 = 20;
/// So many sessions leave without waiting any longer: some ten thousand a second in entries that apply within a few milliseconds.
const ENOUGH: usize = 1024;

/// Sessions that wait, and are answered together.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) sessions: Vec<SessionId>,
    pub(super) answer: oneshot::Sender<Result<KeptAlive, Failed>>,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Renewals {
    waiting: Vec<Renewal>,
    sessions: usize,
    /// While any waits.
    leave_at: Option<Instant>,
    left_at: Option<Instant>,
}

impl Renewals {
    /// Adds some. `ttl`: the shortest time to live of their sessions, if each has one.
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

    /// Whether more share the entry with them.
    pub(super) fn room(&self) -> bool {
        self.sessions < ENOUGH
    }

    /// Comes back when they leave, with all of them; never while none waits. Nothing is lost when it is dropped before.
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

    /// How many leave, and how long after the call.
    async fn left(renewals: &mut Renewals) -> (usize, u128) {
        let begun = Instant::now();
        let left = renewals.leave().await;
        (left.len(), begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_one_waits_a_tenth_of_a_second_and_those_that_follow_wait_for_more() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100));
        tokio::time::sleep(Duration::from_millis(50)).await;
        renewals.push(renewal(2), LONG);
        tokio::time::sleep(Duration::from_millis(250)).await;
        renewals.push(renewal(3), LONG);
        assert_eq!(left(&mut renewals).await, (2, 200), "half a second after those before");
        tokio::time::sleep(Duration::from_millis(450)).await;
        renewals.push(renewal(4), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100), "never less than a lone one");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_twentieth_of_a_time_to_live() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        assert_eq!(left(&mut renewals).await, (1, 100));
        renewals.push(renewal(2), LONG);
        renewals.push(renewal(3), Some(Duration::from_secs(4)));
        renewals.push(renewal(4), LONG);
        assert_eq!(left(&mut renewals).await, (3, 200), "all go with the most hurried");
        renewals.push(renewal(5), Some(Duration::from_millis(500)));
        assert_eq!(left(&mut renewals).await, (1, 100));
        renewals.push(renewal(6), None);
        assert_eq!(left(&mut renewals).await, (1, 100), "a session that is gone is told so soon");
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_cut_in_pieces() {
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
    async fn who_stops_waiting_for_them_to_leave_loses_none() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1), LONG);
        tokio::time::timeout(Duration::from_millis(50), renewals.leave()).await.expect_err("too early");
        assert_eq!(left(&mut renewals).await, (1, 50));
    }
}
