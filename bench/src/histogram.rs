//! A histogram of durations that many tasks fill concurrently.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets in each power of two: a value is known to within 1/64 of itself.
const STEPS: u64 = 64;
/// Enough buckets for every `u64`.
const BUCKETS: usize = 64 * 60;

/// Counts durations in nanoseconds, with a resolution of 1.6 %; never loses one.
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

/// The bucket of a value: each value below two times `STEPS` has its own, and each further power of two has
/// `STEPS`.
fn bucket(nanos: u64) -> usize {
    let shift = u64::from(nanos.checked_ilog2().unwrap_or(0)).saturating_sub(u64::from(STEPS.ilog2()));
    // Below 3,840 by construction: 58 shifts of 64 steps and the first 128.
    usize::try_from(shift * STEPS + (nanos >> shift)).unwrap_or(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let low = (bucket - shift * STEPS) << shift;
    low + ((1 << shift) - 1)
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of counted durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The duration, in milliseconds, that the fraction `part` of all durations did not exceed, to within 1.6
    /// % above; 0 if there are none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52, and the product is never negative"
    )]
    pub(crate) fn percentile_ms(&self, part: f64) -> f64 {
        let wanted = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= wanted {
                return upper(place) as f64 / 1e6;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_at_most_a_64th_above_its_values() {
        let mut last = 0;
        for power in 0..64 {
            for offset in [0, 1, 3, 7] {
                let value = (1_u64 << power) + ((1_u64 << power) / 8) * offset;
                let place = bucket(value);
                assert!(place < BUCKETS && place >= last, "{value}");
                assert!(upper(place) >= value && upper(place) - value <= value / 64, "{value}");
                last = place;
            }
        }
        assert_eq!(bucket(0), 0);
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let histogram = Histogram::default();
        assert!(histogram.percentile_ms(0.5).abs() < f64::EPSILON, "of nothing");
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 1000);
        for (part, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.percentile_ms(part);
            assert!(found >= expected && found <= expected * 1.02, "{part}: {found}");
        }
    }
}
