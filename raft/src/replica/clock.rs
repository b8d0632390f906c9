//! Cluster time (DESIGN section 5): the leader counts it, and all other members learn it from the leader's
//! messages.
//!
//! Entries carry cluster time, but an idle cluster writes none. A new leader that only knew the newest entry
//! would forget all the time that has passed since: a lock of an hour on a quiet cluster would live an hour
//! longer at every change of leader. So the leader's messages (heartbeats included) carry its cluster time,
//! and a new leader continues from the later of the two.
//!
//! **Why that never makes anything expire early.** Deadlines count from the stamp of an entry. A reading is
//! used only when its leader's term is at least that of the newest stamped entry. The leader of that term
//! began at or after the time of every older entry and has counted at most real time since; so between any
//! stamp and the reading no more cluster time has passed than real time. A deposed leader that still counts
//! has an older term: its reading gives way to anything stamped or received in a later one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Continues cluster time by this machine's monotonic clock while this node leads one term.
#[derive(Debug)]
struct LeaderClock {
    term: u64,
    now: Duration,
    seen: Instant,
}

impl LeaderClock {
    /// Cluster time at `at`. However long the process is stopped between two calls, the clock advances by at
    /// most `step_max`, so nobody expires because the leader was paused.
    fn now_ms(&mut self, at: Instant, step_max: Duration) -> u64 {
        self.now += at.saturating_duration_since(self.seen).min(step_max);
        self.seen = self.seen.max(at);
        whole_ms(self.now)
    }
}

/// Cluster time as last received from a leader.
#[derive(Clone, Copy, Debug)]
struct Reading {
    term: u64,
    now_ms: u64,
    at: Instant,
}

#[derive(Debug, Default)]
struct Readings {
    leading: Option<LeaderClock>,
    received: Option<Reading>,
}

impl Readings {
    /// Within a term time only advances; a later term replaces any reading of an older one.
    fn hear(&mut self, term: u64, now_ms: u64, at: Instant) {
        let newer = match self.received {
            Some(reading) => (term, now_ms) >= (reading.term, reading.now_ms),
            None => true,
        };
        if newer {
            self.received = Some(Reading { term, now_ms, at });
        }
    }

    fn stop_leading(&mut self) {
        if let Some(LeaderClock { term, now, seen }) = self.leading.take() {
            self.hear(term, whole_ms(now), seen);
        }
    }
}

/// This node's knowledge of cluster time.
#[derive(Debug)]
pub(crate) struct ClusterClock {
    readings: Mutex<Readings>,
    /// The longest step between two readings of the clock.
    step_max: Duration,
}

impl ClusterClock {
    pub(crate) fn new(step_max: Duration) -> Self {
        Self { readings: Mutex::default(), step_max }
    }

    fn readings(&self) -> MutexGuard<'_, Readings> {
        // Code under this lock cannot leave the readings half changed.
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cluster time on the leader of `term`, milliseconds. The first call of a term starts the clock: from
    /// `base`, which gives the state's time once the first entry of the term is applied and the term of the
    /// newest stamped entry, or from the time an earlier leader has sent since.
    pub(super) fn lead(&self, term: u64, base: impl FnOnce() -> (u64, u64), at: Instant) -> u64 {
        let mut readings = self.readings();
        if readings.leading.as_ref().is_none_or(|clock| clock.term != term) {
            readings.stop_leading();
            let (base_ms, stamped_term) = base();
            let reading = readings.received.filter(|reading| reading.term >= stamped_term);
            let now_ms = reading.map_or(base_ms, |reading| reading.now_ms.max(base_ms));
            readings.leading = Some(LeaderClock { term, now: Duration::from_millis(now_ms), seen: at });
        }
        readings.leading.as_mut().map_or(0, |clock| clock.now_ms(at, self.step_max))
    }

    /// This node does not lead (any more).
    pub(super) fn follow(&self) {
        self.readings().stop_leading();
    }

    /// The time that a leader's message of `term` carries: 0 while the clock of that term has not started
    /// here.
    pub(crate) fn message_ms(&self, term: u64, at: Instant) -> u64 {
        let mut readings = self.readings();
        let clock = readings.leading.as_mut().filter(|clock| clock.term == term);
        clock.map_or(0, |clock| clock.now_ms(at, self.step_max))
    }

    /// Takes over the time `now_ms` from a leader's message of `term`; 0 means that the message carries none.
    pub(crate) fn hear(&self, term: u64, now_ms: u64, at: Instant) {
        if now_ms > 0 {
            self.readings().hear(term, now_ms, at);
        }
    }

    /// An estimate of cluster time for display; it decides nothing. It keeps counting for a moment after the
    /// last message from the leader.
    pub(super) fn estimate_ms(&self, at: Instant) -> u64 {
        let mut readings = self.readings();
        if let Some(clock) = &mut readings.leading {
            return clock.now_ms(at, self.step_max);
        }
        let since = |reading: Reading| at.saturating_duration_since(reading.at).min(self.step_max);
        readings.received.map_or(0, |reading| reading.now_ms + whole_ms(since(reading)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_MAX: Duration = Duration::from_millis(1200);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_pause_costs_no_more_than_one_step() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        assert_eq!(clock.lead(3, || (5000, 2), start), 5000);
        assert_eq!(clock.message_ms(3, start + ms(10)), 5010);
        assert_eq!(clock.message_ms(3, start + ms(100_000)), 6210);
        assert_eq!(clock.message_ms(3, start + ms(100_001)), 6211);
        assert_eq!(clock.message_ms(4, start + ms(100_001)), 0, "the clock of that term has not started");
    }

    #[test]
    fn time_never_goes_back() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        clock.lead(1, || (0, 0), start);
        assert_eq!(clock.estimate_ms(start + ms(700)), 700);
        assert_eq!(clock.estimate_ms(start), 700);
        assert_eq!(clock.estimate_ms(start + ms(701)), 701);
    }

    #[test]
    fn new_leader_continues_from_the_old_ones_time() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        clock.hear(2, 60_000, start);
        clock.hear(2, 59_000, start + ms(1));
        assert_eq!(clock.estimate_ms(start + ms(100)), 60_100);
        assert_eq!(clock.lead(3, || (1_000, 2), start + ms(900)), 60_000, "the election does not count");
    }

    #[test]
    fn reading_of_a_deposed_leader_is_ignored() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        clock.hear(2, 60_000, start);
        assert_eq!(clock.lead(4, || (1_000, 3), start), 1_000, "an entry of term 3 was counted from less");
    }

    #[test]
    fn later_term_replaces_a_reading_even_if_smaller() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        clock.hear(2, 60_000, start);
        clock.hear(3, 50_000, start);
        clock.hear(2, 61_000, start);
        assert_eq!(clock.lead(4, || (1_000, 3), start), 50_000);
    }

    #[test]
    fn leader_that_leads_again_skips_the_time_between() {
        let (start, clock) = (Instant::now(), ClusterClock::new(STEP_MAX));
        clock.lead(2, || (1_000, 1), start);
        assert_eq!(clock.message_ms(2, start + ms(500)), 1_500);
        clock.follow();
        clock.follow();
        assert_eq!(clock.lead(4, || (1_000, 2), start + ms(9_000)), 1_500);
    }
}
