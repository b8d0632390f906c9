//! Parses and prints durations as people write them.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses `500ms`, `30s`, `5m`, `1h`, `2d`, a sequence of such parts (`1h30m`), and `0`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let explained =
        || format!("{text:?} is not a duration; write a number and ms, s, m, h or d, such as 500ms or 30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut millis: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(explained)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| explained())?;
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(explained)?;
        millis = number
            .checked_mul(*unit_ms)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = after;
    }
    if text.is_empty() { Err(explained()) } else { Ok(Duration::from_millis(millis)) }
}

/// Converts to whole milliseconds, as the API has them.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Formats milliseconds for people: in the largest unit that divides them, or in seconds with tenths.
pub(crate) fn human(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis < 1_000 => format!("{millis}ms"),
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis if millis < 60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        millis if millis < 3_600_000 => format!("{}m{}s", millis / 60_000, millis % 60_000 / 1_000),
        millis => format!("{}h{}m", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, expected_ms) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in ["", "30", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "5sec", "5s3", "١s", "1h-5m", "0x5s"]
        {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains("30s"), "{text}: {refused}");
        }
        for text in ["99999999999999999d", "18446744073709551615ms1ms"] {
            assert!(parse(text).expect_err(text).contains("too long"), "{text}");
        }
        assert!(parse("99999999999999999999s").is_err());
    }

    #[test]
    fn says_it_shortly() {
        for (millis, expected) in [
            (0, "0s"),
            (7, "7ms"),
            (1_000, "1s"),
            (29_870, "29.8s"),
            (60_000, "1m"),
            (90_000, "90s"),
            (61_500, "1m1s"),
            (5_400_000, "90m"),
            (5_400_001, "1h30m"),
        ] {
            assert_eq!(human(millis), expected, "{millis}");
        }
    }
}
