//! Pauses between retries.

use std::time::Duration;

/// Capped exponential backoff with full jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper bound of the first pause.
    pub first: Duration,
    /// Upper bound of every pause.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(20), cap: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The pause after failure number `failures` (from 0). `jitter` scales it between zero and the upper
    /// bound, so that clients that failed together come back spread out.
    #[must_use]
    pub fn pause(&self, failures: u32, jitter: u8) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.cap);
        whole * u32::from(jitter) / u32::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_the_cap_with_jitter() {
        let backoff = Backoff { first: Duration::from_millis(20), cap: Duration::from_millis(100) };
        for (failures, jitter, expected_ms) in
            [(0, 0, 0), (0, 255, 20), (1, 255, 40), (2, 51, 16), (3, 255, 100), (40, 255, 100), (40, 0, 0)]
        {
            assert_eq!(backoff.pause(failures, jitter), Duration::from_millis(expected_ms), "{failures}");
        }
    }
}
