//! Why a call of a model failed: what people are told, what the log keeps, and what it says of the server.

use std::{error::Error as StdError, time::Duration};

use super::circuit::Ended;
use crate::error::{Error, Kind};

/// When to come back to a server that is busy and does not say when, in seconds.
const BUSY_FOR: u64 = 5;
/// The longest time to come back after that is believed, in seconds.
const LONGEST_WAIT: u64 = 300;

/// Why there is no answer. What the server itself said is in the source of those that have one, for the log alone.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be reached.
    Unreachable(Source),
    /// It has not begun, or not finished, in the time that the settings give it.
    Late,
    /// A status that says that the request is at fault: 3xx, 4xx.
    Refused(Source),
    /// 429 or 503; with the seconds to wait, if it said so.
    Busy {
        status: u16,
        retry_after: Option<u64>,
        said: Source,
    },
    /// Any other status.
    Broken(Source),
    /// The stream ended before the answer did.
    CutOff(Source),
    /// Its answer is none of a chat.
    Garbled(Source),
    /// An error in the place of an answer.
    Said(Source),
    Empty,
    TooLong,
}

pub(super) type Source = Box<dyn StdError + Send + Sync>;

impl Failure {
    /// What it says of the server.
    pub fn ended(&self) -> Ended {
        match self {
            Failure::Busy { status: 429, .. } | Failure::Refused(_) | Failure::Empty | Failure::TooLong => {
                Ended::Answered
            }
            Failure::Unreachable(_)
            | Failure::Late
            | Failure::Busy { .. }
            | Failure::Broken(_)
            | Failure::CutOff(_)
            | Failure::Garbled(_)
            | Failure::Said(_) => Ended::Failed,
        }
    }

    /// What the caller is told, with the rest as its source. 429 and 503 are `UNAVAILABLE` with `retryAfter`, of 1 to
    /// 300 s and 5 s unless the server says so; the others are `UPSTREAM_FAILED`.
    pub fn into_error(self) -> Error {
        let (message, source) = match self {
            Failure::Unreachable(source) => ("the model's server cannot be reached", Some(source)),
            Failure::Late => ("the model did not answer in time", None),
            Failure::Refused(source) => ("the model's server refused the request", Some(source)),
            Failure::Busy { retry_after, said, .. } => {
                let wait = Duration::from_secs(retry_after.unwrap_or(BUSY_FOR));
                return unavailable("the model's server is busy", wait).with_source(said);
            }
            Failure::Broken(source) => ("the model's server failed", Some(source)),
            Failure::CutOff(source) => ("the model's answer was cut off", Some(source)),
            Failure::Garbled(source) => ("the model's server gave no answer that could be read", Some(source)),
            Failure::Said(source) => ("the model failed to answer", Some(source)),
            Failure::Empty => ("the model gave an empty answer", None),
            Failure::TooLong => ("the model's answer is too long", None),
        };
        let error = Error::new(Kind::UpstreamFailed, message);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// `UNAVAILABLE`, to be tried again after `wait`, told in whole seconds from 1 to 300.
pub(super) fn unavailable(message: &'static str, wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::new(Kind::Unavailable, message).with("retryAfter", seconds.clamp(1, LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_wait_are_rounded_up() {
        let told = |millis| {
            unavailable("busy", Duration::from_millis(millis))
                .retry_after()
                .unwrap()
        };
        assert_eq!([0, 1, 1_000, 1_001, 400_000].map(told), [1, 1, 1, 2, 300]);
    }

    #[test]
    fn what_a_server_asks_to_wait_has_bounds() {
        let busy = |retry_after| {
            let failure = Failure::Busy {
                status: 429,
                retry_after,
                said: "slow down".into(),
            };
            let error = failure.into_error();
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(!error.rest_body().to_string().contains("slow down"));
            assert!(format!("{error:?}").contains("slow down"));
            error.retry_after().unwrap()
        };
        let waits = [None, Some(0), Some(7), Some(86_400), Some(u64::MAX)].map(busy);
        assert_eq!(waits, [5, 1, 7, 300, 300]);
    }

    #[test]
    fn only_what_the_server_could_not_do_counts_against_it() {
        let busy = |status| Failure::Busy {
            status,
            retry_after: None,
            said: "".into(),
        };
        for failure in [busy(429), Failure::Refused("".into()), Failure::Empty, Failure::TooLong] {
            assert_eq!(failure.ended(), Ended::Answered, "{failure:?}");
        }
        for failure in [
            busy(503),
            Failure::Unreachable("".into()),
            Failure::Late,
            Failure::Broken("".into()),
            Failure::CutOff("".into()),
            Failure::Garbled("".into()),
            Failure::Said("".into()),
        ] {
            assert_eq!(failure.ended(), Ended::Failed, "{failure:?}");
        }
    }
}
