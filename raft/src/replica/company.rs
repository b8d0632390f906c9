//! Requests that would only join a queue wait a moment for company.
//!
//! Nobody gets anything from such a request before somebody gives a lock back, and the entry of that one takes it along, in the
//! order in which they came. From holder to holder of a hot lock that is one entry instead of two: the next holder's release
//! stands behind no other entry's sync.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than a hand-over takes from holder to holder, and short beside what anybody waits for a lock.
const WITHIN: Duration = Duration::from_millis(2);
/// So many of them are company enough.
pub(super) const ENOUGH: usize = 16;

/// What is known of the company for which requests wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Company {
    /// Nobody waits for any.
    #[default]
    NotNeeded,
    /// It may come until then.
    Expected(Instant),
    /// It did not come in time.
    Missed,
}

impl Company {
    /// Whether what could leave now does. `only_queues`: all of it would only join queues.
    pub(super) fn lets_go(&mut self, only_queues: bool) -> bool {
        if only_queues && *self == Self::NotNeeded {
            *self = Self::Expected(Instant::now() + WITHIN);
        }
        let goes = !only_queues || *self == Self::Missed;
        if goes {
            *self = Self::NotNeeded;
        }
        goes
    }

    /// Comes back when company is expected no more; never while none is.
    pub(super) async fn missed(&mut self) {
        match *self {
            Self::Expected(until) => {
                tokio::time::sleep_until(until).await;
                *self = Self::Missed;
            }
            Self::NotNeeded | Self::Missed => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_only_queues_waits_for_others_but_not_for_long() {
        let mut company = Company::default();
        assert!(company.lets_go(false), "nothing keeps what does more");
        assert!(!company.lets_go(true));
        tokio::time::advance(WITHIN / 2).await;
        assert!(!company.lets_go(true));
        let begun = Instant::now();
        company.missed().await;
        assert!(begun.elapsed() < WITHIN, "it is counted from the first of them");
        assert!(company.lets_go(true), "alone, then");
        assert!(!company.lets_go(true), "the next ones wait again");
        assert!(company.lets_go(false), "they are taken along");
        assert!(poll!(Box::pin(company.missed())).is_pending());
        tokio::time::advance(2 * WITHIN).await;
        assert_eq!(company, Company::NotNeeded, "nothing is left of a wait that is over");
    }
}
