//! The clock, and times as clients see them.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Unix milliseconds, now.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set to after 1970");
    i64::try_from(since.as_millis()).expect("the year is before 292 million")
}

/// RFC 3339 in UTC, whole seconds: `2025-01-01T00:00:00Z`. Source: the protocol's Errors section.
pub fn format(millis: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(millis)
        .unwrap_or_default()
        .trunc_subsecs(0)
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Unix milliseconds of an RFC 3339 time with any offset, cut to whole seconds.
pub fn parse(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp() * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_in_utc() {
        assert_eq!(format(1_735_689_600_999), "2025-01-01T00:00:00Z");
        assert_eq!(parse("2025-01-01T01:00:00.5+01:00"), Some(1_735_689_600_000));
        assert_eq!(parse("2025-01-01"), None);
    }
}
