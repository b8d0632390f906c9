//! Cluster time on the leader (DESIGN section 5).

use std::time::Duration;

use tokio::time::Instant;

/// Continues cluster time by this machine's monotonic clock while this node leads one term.
#[derive(Debug)]
pub(super) struct LeaderClock {
    term: u64,
    now: Duration,
    seen: Instant,
    step_max: Duration,
}

impl LeaderClock {
    /// Starts at `base_ms`, the state's time once the first entry of `term` is applied. However long the process is stopped
    /// between two looks at the clock, it goes on by at most `step_max`: nobody expires because the leader was paused.
    pub(super) fn new(term: u64, base_ms: u64, step_max: Duration, at: Instant) -> Self {
        Self { term, now: Duration::from_millis(base_ms), seen: at, step_max }
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Cluster time at `at`, milliseconds.
    pub(super) fn now_ms(&mut self, at: Instant) -> u64 {
        self.now += at.saturating_duration_since(self.seen).min(self.step_max);
        self.seen = self.seen.max(at);
        u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_costs_no_more_than_one_step() {
        let start = Instant::now();
        let mut clock = LeaderClock::new(3, 5000, Duration::from_millis(1200), start);
        assert_eq!(clock.now_ms(start + Duration::from_millis(10)), 5010);
        assert_eq!(clock.now_ms(start + Duration::from_secs(100)), 6210);
        assert_eq!(clock.now_ms(start + Duration::from_millis(100_001)), 6211);
    }

    #[test]
    fn time_never_goes_back() {
        let start = Instant::now();
        let mut clock = LeaderClock::new(1, 0, Duration::from_secs(1), start);
        assert_eq!(clock.now_ms(start + Duration::from_millis(700)), 700);
        assert_eq!(clock.now_ms(start), 700);
        assert_eq!(clock.now_ms(start + Duration::from_millis(701)), 701);
    }
}
