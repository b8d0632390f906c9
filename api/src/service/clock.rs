//! Relates cluster time to the wall clock, and formats instants for people.

use batuta_statemachine::State;

/// The instant at which an answer is true, in cluster time and on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Cluster time, in milliseconds.
    pub now_ms: u64,
    /// The wall clock at the same instant, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Clock {
    /// The clock for a state that is read later than its newest entry; `now_ms` is the cluster time of the read.
    pub(crate) fn seen(state: &State, now_ms: u64) -> Self {
        let since_ms = now_ms.saturating_sub(state.now_ms());
        Self { now_ms: state.now_ms() + since_ms, wall_ms: state.wall_ms() + since_ms }
    }

    /// Milliseconds until a deadline in cluster time.
    pub(crate) fn remaining_ms(self, deadline_ms: u64) -> u64 {
        deadline_ms.saturating_sub(self.now_ms)
    }

    /// The wall-clock time of a deadline in cluster time, if both clocks run at the same rate.
    pub(crate) fn text_of(self, deadline_ms: u64) -> String {
        rfc3339(self.wall_ms.saturating_add(self.remaining_ms(deadline_ms)))
    }
}

const MS_PER_DAY: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z, the last instant that the format can express.
const LAST_MS: u64 = 253_402_300_799_999;

/// Formats milliseconds since the Unix epoch as RFC 3339 in UTC. Instants after the year 9999 are shown as its end.
#[must_use]
pub fn rfc3339(wall_ms: u64) -> String {
    let wall_ms = wall_ms.min(LAST_MS);
    let (year, month, day) = civil(wall_ms / MS_PER_DAY);
    let ms = wall_ms % MS_PER_DAY;
    let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a count of days since 1970-01-01 (Gregorian).
///
/// Years are counted from March, so that the leap day is the last of its year, in eras of 400 years, which all have the
/// same number of days.
fn civil(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    let days = days_since_epoch + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_rfc_3339() {
        for (wall_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(wall_ms), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil(0);
        for day in 1..200_000 {
            let now = civil(day);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = if before.1 == 12 { (before.0 + 1, 1, 1) } else { (before.0, before.1 + 1, 1) };
            assert!(now == next_day || now == next_month, "{before:?} then {now:?}");
            before = now;
        }
    }

    #[test]
    fn deadlines_are_shown_on_the_wall_clock() {
        let clock = Clock { now_ms: 5_000, wall_ms: 1_000_000 };
        assert_eq!(clock.remaining_ms(7_500), 2_500);
        assert_eq!(clock.remaining_ms(4_000), 0);
        assert_eq!(clock.text_of(7_500), "1970-01-01T00:16:42.500Z");
    }
}
