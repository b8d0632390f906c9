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

    /// Milliseconds until the earlier of an end on the wall clock and a deadline in cluster time; `None` without either.
    pub(crate) fn left_ms(self, not_after_ms: Option<u64>, deadline_ms: Option<u64>) -> Option<u64> {
        let wall_ms = not_after_ms.map(|not_after_ms| not_after_ms.saturating_sub(self.wall_ms));
        let cluster_ms = deadline_ms.map(|deadline_ms| self.remaining_ms(deadline_ms));
        wall_ms.into_iter().chain(cluster_ms).min()
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

/// Parses an instant in the form of RFC 3339 into milliseconds since the Unix epoch; what is finer is cut off. `None` for another form, for a time
/// that is none, and before 1970.
pub(super) fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, ahead_ms) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => offset(time)?,
    };
    let (time, milli) = match time.split_once('.') {
        Some((time, fraction)) => (time, milliseconds(fraction)?),
        None => (time, 0),
    };
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let time_ms = ((hour * 60 + minute) * 60 + second) * 1_000 + milli;
    (days_since_epoch(year, month, day)? * MS_PER_DAY + time_ms).checked_add_signed(-ahead_ms)
}

/// The inverse of [`civil`]; `None` for a day that is none, and before 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_PER_ERA: u64 = 146_097;
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    let year_from_march = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * DAYS_PER_ERA + day_of_era).checked_sub(DAYS_FROM_0000_03_01)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Splits `±HH:MM` off the end of a time; returns the offset in milliseconds.
fn offset(time: &str) -> Option<(&str, i64)> {
    let (time, offset) = time.split_at_checked(time.rfind(['+', '-'])?)?;
    let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ms = i64::try_from((hours * 60 + minutes) * 60_000).ok()?;
    Some((time, if offset.starts_with('-') { -ms } else { ms }))
}

/// Parses numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// The milliseconds of a fraction of a second.
fn milliseconds(fraction: &str) -> Option<u64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    fraction.bytes().chain(*b"00").take(3).try_fold(0, |ms, digit| Some(ms * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_back() {
        for (text, wall_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00.000Z", 951_782_400_000),
            ("2024-02-29t12:34:56.789z", 1_709_210_096_789),
            ("2024-02-29T12:34:56.7Z", 1_709_210_096_700),
            ("2024-02-29T12:34:56.789999Z", 1_709_210_096_789),
            ("2024-02-29T14:34:56.789+02:00", 1_709_210_096_789),
            ("2024-02-29T07:04:56.789-05:30", 1_709_210_096_789),
            ("9999-12-31T23:59:59.999Z", LAST_MS),
        ] {
            assert_eq!(parse_rfc3339(text), Some(wall_ms), "{text}");
        }
        for wall_ms in (0..LAST_MS).step_by(9_876_543_217_001) {
            assert_eq!(parse_rfc3339(&rfc3339(wall_ms)), Some(wall_ms));
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2024-02-29",
            "2024-02-29 12:00:00Z",
            "2024-02-29T12:00:00",
            "2023-02-29T12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-00-01T12:00:00Z",
            "2024-01-00T12:00:00Z",
            "2024-01-32T12:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T12:60:00Z",
            "2024-01-01T12:00:60Z",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00.1xZ",
            "2024-01-01T12:00:00+24:00",
            "2024-01-01T12:00:00+é:00",
            "24-01-01T12:00:00Z",
            "+024-01-01T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text:?}");
        }
    }

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
