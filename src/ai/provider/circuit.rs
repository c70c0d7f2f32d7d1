//! Leaves a server alone that fails again and again: a state and the time go in, what to do comes out.

use std::time::Duration;

use tokio::time::Instant;

/// How many failures in a row open a circuit.
pub(super) const FAILURES: u32 = 5;
/// How long an open circuit stays open before one call may try again.
pub(super) const PAUSE: Duration = Duration::from_secs(15);
/// When to come back while one call tries.
const TRYING: Duration = Duration::from_secs(2);

/// How a call ended, as far as it tells of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The server did what it is for, or refused the request itself: it is there.
    Answered,
    /// It could not be reached, took too long, failed or broke off.
    Failed,
    /// The caller went away before anything was known.
    Left,
}

/// Which calls a server gets. Opens after [`FAILURES`] in a row; then one call may try after each [`PAUSE`], and closes
/// it if the server answers.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    state: State,
    /// Raised by each change of state: calls that began before it tell nothing of the state after it.
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Trying,
}

impl Default for State {
    fn default() -> Self {
        State::Closed { failures: 0 }
    }
}

/// That a call may be made. How it ends is to be told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    epoch: u64,
}

impl Circuit {
    /// How long to wait, if no call may be made now.
    pub fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::Trying => Some(TRYING),
            State::Closed { .. } | State::Open { .. } => None,
        }
    }

    /// Lets a call through, or says how long to wait. The first one after a pause is the one that tries.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let Some(wait) = self.closed_for(now) {
            return Err(wait);
        }
        if matches!(self.state, State::Open { .. }) {
            self.become_state(State::Trying);
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// The server has begun to answer: a call that tried has found it well, and the others need not wait for its end.
    pub fn begun(&mut self, pass: &mut Pass) {
        if pass.epoch == self.epoch && self.state == State::Trying {
            self.become_state(State::default());
            pass.epoch = self.epoch;
        }
    }

    /// The call with this pass has ended.
    pub fn ended(&mut self, pass: Pass, how: Ended, now: Instant) {
        if pass.epoch != self.epoch {
            return;
        }
        match (self.state, how) {
            (State::Closed { .. }, Ended::Answered) => self.state = State::default(),
            (State::Closed { failures }, Ended::Failed) if failures + 1 < FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. } | State::Trying, Ended::Failed) => {
                self.become_state(State::Open { until: now + PAUSE });
            }
            (State::Trying, Ended::Answered) => self.become_state(State::default()),
            // Somebody else may try at once.
            (State::Trying, Ended::Left) => self.become_state(State::Open { until: now }),
            (State::Closed { .. }, Ended::Left) | (State::Open { .. }, _) => {}
        }
    }

    fn become_state(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fail(circuit: &mut Circuit, times: u32, now: Instant) {
        for _ in 0..times {
            let pass = circuit.admit(now).unwrap();
            circuit.ended(pass, Ended::Failed, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_others_do_not() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, FAILURES - 1, now);
        let pass = circuit.admit(now).unwrap();
        circuit.ended(pass, Ended::Answered, now);
        fail(&mut circuit, FAILURES - 1, now);
        // Whoever goes away tells nothing, good or bad.
        let pass = circuit.admit(now).unwrap();
        circuit.ended(pass, Ended::Left, now);
        assert_eq!(circuit.closed_for(now), None);
        fail(&mut circuit, 1, now);
        assert_eq!(circuit.admit(now), Err(PAUSE));
        assert_eq!(circuit.closed_for(now + PAUSE / 3), Some(PAUSE - PAUSE / 3));
    }

    #[test]
    fn one_call_tries_and_its_success_closes_it() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, FAILURES, now);
        let later = now + PAUSE;
        let pass = circuit.admit(later).unwrap();
        assert_eq!(circuit.admit(later), Err(TRYING));
        circuit.ended(pass, Ended::Answered, later);
        fail(&mut circuit, FAILURES - 1, later);
        assert!(circuit.admit(later).is_ok());
    }

    #[test]
    fn a_try_that_fails_opens_it_again_at_once() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, FAILURES, now);
        let later = now + PAUSE;
        fail(&mut circuit, 1, later);
        assert_eq!(circuit.admit(later), Err(PAUSE));
        assert!(circuit.admit(later + PAUSE).is_ok());
    }

    #[test]
    fn a_try_whose_caller_leaves_makes_room_for_the_next() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, FAILURES, now);
        let later = now + PAUSE;
        let pass = circuit.admit(later).unwrap();
        circuit.ended(pass, Ended::Left, later);
        assert!(circuit.admit(later).is_ok());
        assert_eq!(circuit.admit(later), Err(TRYING));
    }

    #[test]
    fn a_try_that_begins_to_answer_closes_it_and_may_still_fail() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        fail(&mut circuit, FAILURES, now);
        let later = now + PAUSE;
        let mut pass = circuit.admit(later).unwrap();
        circuit.begun(&mut pass);
        assert!(circuit.admit(later).is_ok());
        circuit.ended(pass, Ended::Failed, later);
        fail(&mut circuit, FAILURES - 2, later);
        assert!(circuit.admit(later).is_ok());
        fail(&mut circuit, 1, later);
        assert_eq!(circuit.admit(later), Err(PAUSE));
    }

    #[test]
    fn beginning_to_answer_does_not_forget_failures() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..FAILURES {
            let mut pass = circuit.admit(now).unwrap();
            circuit.begun(&mut pass);
            circuit.ended(pass, Ended::Failed, now);
        }
        assert_eq!(circuit.admit(now), Err(PAUSE));
    }

    #[test]
    fn calls_from_before_a_change_tell_nothing_of_what_is_after_it() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let old = circuit.admit(now).unwrap();
        fail(&mut circuit, FAILURES, now);
        circuit.ended(old, Ended::Answered, now);
        assert_eq!(circuit.admit(now), Err(PAUSE));
        let later = now + PAUSE;
        let trying = circuit.admit(later).unwrap();
        circuit.ended(old, Ended::Left, later);
        assert_eq!(circuit.admit(later), Err(TRYING));
        circuit.ended(old, Ended::Failed, later);
        circuit.ended(trying, Ended::Answered, later);
        assert!(circuit.admit(later).is_ok());
    }

    proptest! {
        /// However calls end and overlap: while it is open at most one is let through, and none is refused for good.
        #[test]
        fn at_most_one_tries(steps in prop::collection::vec((0_u8..5, 0_usize..8), 0..200)) {
            let (mut circuit, mut now) = (Circuit::default(), Instant::now());
            let mut running: Vec<Pass> = Vec::new();
            for (step, which) in steps {
                match step {
                    0 | 1 => {
                        let was_closed = matches!(circuit.state, State::Closed { .. });
                        if let Ok(pass) = circuit.admit(now) {
                            prop_assert!(was_closed || running.iter().all(|other| *other != pass));
                            running.push(pass);
                        }
                    }
                    2 => now += PAUSE / 2,
                    _ if running.is_empty() => {}
                    _ => {
                        let pass = running.swap_remove(which % running.len());
                        let how = [Ended::Failed, Ended::Left, Ended::Answered][which % 3];
                        circuit.ended(pass, how, now);
                    }
                }
            }
            for pass in running {
                circuit.ended(pass, Ended::Left, now);
            }
            prop_assert!(circuit.admit(now + PAUSE).is_ok());
        }
    }
}
