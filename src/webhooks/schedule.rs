//! When a delivery is tried again, and when a webhook is given up. Pure: the time comes in.

use std::time::Duration;

use crate::time::{DAY, HOUR, MINUTE, SECOND};

/// How long after each failed attempt the next one is, in milliseconds. Source: the protocol, Webhooks.
const AFTER: [i64; 9] = [
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];
/// After how long of nothing but failures a webhook is deactivated. Source: the protocol, Webhooks.
const GIVEN_UP_AFTER: i64 = 5 * DAY;
/// How many attempts of an event hold back the later ones of its subject. Source: the protocol, Webhooks.
pub const HOLDS_BACK: i32 = 3;
/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: i64 = DAY;

/// What follows an attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another one, at this time.
    At(i64),
    /// None: the delivery has failed.
    Never,
}

/// When the next attempt is after `attempts` that failed, in Unix milliseconds. `jitter`, from 0 to 1, makes it up to a
/// tenth later; a receiver that asks for more time gets it, up to a day.
pub fn next(now: i64, attempts: i32, jitter: f64, retry_after: Option<Duration>) -> Next {
    let Some(after) = usize::try_from(attempts - 1).ok().and_then(|index| AFTER.get(index)) else {
        return Next::Never;
    };
    let later = (*after as f64 * 0.1 * jitter.clamp(0.0, 1.0)) as i64;
    let asked = retry_after.map_or(0, |wait| i64::try_from(wait.as_millis()).unwrap_or(LONGEST_WAIT));
    Next::At(now + (after + later).max(asked.min(LONGEST_WAIT)))
}

/// Whether a webhook that has failed since then is given up.
pub fn is_given_up(now: i64, failing_since: i64) -> bool {
    now - failing_since >= GIVEN_UP_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_follow_the_protocol() {
        let mut now = 0;
        let mut times = Vec::new();
        for attempts in 1.. {
            match next(now, attempts, 0.0, None) {
                Next::At(time) => {
                    times.push(time - now);
                    now = time;
                }
                Next::Never => break,
            }
        }
        assert_eq!(times, AFTER);
        // All of it is over in less time than a webhook is given up in.
        assert!(now < GIVEN_UP_AFTER);
    }

    #[test]
    fn each_is_up_to_a_tenth_later() {
        for (jitter, after) in [(0.0, 5_000), (0.5, 5_250), (1.0, 5_500), (7.0, 5_500), (-1.0, 5_000)] {
            assert_eq!(next(100, 1, jitter, None), Next::At(100 + after));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_and_not_for_less() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(next(0, 1, 0.0, seconds(60)), Next::At(60_000));
        assert_eq!(next(0, 2, 0.0, seconds(60)), Next::At(5 * MINUTE));
        assert_eq!(next(0, 1, 0.0, seconds(u64::MAX)), Next::At(DAY));
        assert_eq!(next(0, 10, 0.0, seconds(60)), Next::Never);
    }

    #[test]
    fn five_days_of_failures_are_enough() {
        assert!(!is_given_up(GIVEN_UP_AFTER, 1));
        assert!(is_given_up(GIVEN_UP_AFTER + 1, 1));
    }
}
