//! Lingers with requests that would only join a queue, so that they can share an entry with a request that
//! does more.
//!
//! Such a request has no effect before somebody releases a lock, and the release's entry takes the waiting
//! requests along, in order of arrival. A hand-over of a hot lock then takes one entry instead of two: the
//! next holder's release waits for no other entry's sync.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than a hand-over from holder to holder, and short compared with any wait for a lock.
const WITHIN: Duration = Duration::from_millis(2);
/// This many waiting requests are sent without lingering.
pub(super) const ENOUGH: usize = 16;

/// The state of lingering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Linger {
    /// No request is lingering.
    #[default]
    Idle,
    /// Requests linger until this time.
    Until(Instant),
    /// The time has passed.
    Expired,
}

impl Linger {
    /// Whether the waiting requests are sent now. `only_queues`: all of them would only join queues.
    pub(super) fn may_send(&mut self, only_queues: bool) -> bool {
        if only_queues && *self == Self::Idle {
            *self = Self::Until(Instant::now() + WITHIN);
        }
        let sends = !only_queues || *self == Self::Expired;
        if sends {
            *self = Self::Idle;
        }
        sends
    }

    /// Resolves when the lingering time has passed; never resolves while nothing lingers.
    pub(super) async fn expired(&mut self) {
        match *self {
            Self::Until(until) => {
                tokio::time::sleep_until(until).await;
                *self = Self::Expired;
            }
            Self::Idle | Self::Expired => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_that_only_queue_linger_briefly() {
        let mut linger = Linger::default();
        assert!(linger.may_send(false), "nothing keeps what does more");
        assert!(!linger.may_send(true));
        tokio::time::advance(WITHIN / 2).await;
        assert!(!linger.may_send(true));
        let begun = Instant::now();
        linger.expired().await;
        assert!(begun.elapsed() < WITHIN, "it is counted from the first of them");
        assert!(linger.may_send(true), "alone, then");
        assert!(!linger.may_send(true), "the next ones wait again");
        assert!(linger.may_send(false), "they are taken along");
        assert!(poll!(Box::pin(linger.expired())).is_pending());
        tokio::time::advance(2 * WITHIN).await;
        assert_eq!(linger, Linger::Idle, "nothing is left of a wait that is over");
    }
}
