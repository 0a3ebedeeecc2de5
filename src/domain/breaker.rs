//! Decides whether a channel that failed is to be called.
//!
//! Fed by calls that found nobody or heard nothing: an answer that makes no sense says that the channel is there.
//! Closed, every call goes out. Open, none does until its time has come. Then it recovers: calls go out at a pace,
//! whoever must wait is given an instant of its own to come back at, and a few answers in a row close it.

use chrono::{DateTime, TimeDelta, Utc};

/// One call that found nobody is no outage, and the run that made it has its own backoff; three in a row are.
const FAILURES_TO_OPEN: u32 = 3;
/// How long the first outage is left alone: shorter than most restarts of a server take.
const OPEN_FIRST: TimeDelta = TimeDelta::seconds(10);
/// And a long one: each further failed probe doubles the wait, up to what people bear when it is over.
const OPEN_LAST: TimeDelta = TimeDelta::minutes(5);
/// While a channel recovers, one call goes out in this time: a server that just came up is not flooded.
const PACE: TimeDelta = TimeDelta::milliseconds(250);
/// So many answers in a row, and the channel has recovered.
const ANSWERS_TO_CLOSE: u32 = 8;
/// Nobody is told to come back later than this after the channel began to recover; whoever comes may be told again.
const SPREAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// A circuit breaker of one channel in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        /// Calls in a row that found nobody.
        failures: u32,
    },
    Open {
        until: DateTime<Utc>,
        /// How long it was opened for.
        wait: TimeDelta,
    },
    Recovering {
        /// How long it had been opened for.
        wait: TimeDelta,
        answers: u32,
        /// Before this no call goes out.
        next_call_at: DateTime<Utc>,
        /// The next instant to be given to somebody who must wait.
        next_turn_at: DateTime<Utc>,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// Whether a call may go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Call,
    /// Not before this instant.
    Wait(DateTime<Utc>),
}

impl Breaker {
    /// Whether it keeps calls back, and until when.
    pub const fn open_until(&self) -> Option<DateTime<Utc>> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::Recovering { .. } => None,
        }
    }

    /// Asks to make a call now. While the channel recovers this takes the place of one call, or gives a turn.
    pub fn admit(&mut self, now: DateTime<Utc>) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Call,
            State::Open { until, .. } if now < until => Admission::Wait(until),
            State::Open { wait, .. } => {
                self.state = State::Recovering {
                    wait,
                    answers: 0,
                    next_call_at: later(now, PACE),
                    next_turn_at: later(now, PACE),
                };
                Admission::Call
            }
            State::Recovering {
                wait,
                answers,
                next_call_at,
                next_turn_at,
            } => {
                if now >= next_call_at {
                    self.state = State::Recovering {
                        wait,
                        answers,
                        next_call_at: later(now, PACE),
                        next_turn_at,
                    };
                    return Admission::Call;
                }
                let turn = next_turn_at.max(next_call_at).min(later(now, SPREAD_MAX));
                self.state = State::Recovering {
                    wait,
                    answers,
                    next_call_at,
                    next_turn_at: later(turn, PACE),
                };
                Admission::Wait(turn)
            }
        }
    }

    /// The channel answered, whatever it said.
    pub fn answered(&mut self) {
        match self.state {
            State::Closed { .. } => self.state = State::default(),
            // The answer to a call that went out before: the next probe decides.
            State::Open { .. } => {}
            State::Recovering {
                wait,
                answers,
                next_call_at,
                next_turn_at,
            } => {
                let answers = answers.saturating_add(1);
                self.state = if answers >= ANSWERS_TO_CLOSE {
                    State::default()
                } else {
                    State::Recovering {
                        wait,
                        answers,
                        next_call_at,
                        next_turn_at,
                    }
                };
            }
        }
    }

    /// A call provably did nothing.
    pub fn failed(&mut self, now: DateTime<Utc>) {
        match self.state {
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                self.state = if failures >= FAILURES_TO_OPEN {
                    open(OPEN_FIRST, now)
                } else {
                    State::Closed { failures }
                };
            }
            // A call that went out before: it tells nothing new.
            State::Open { .. } => {}
            State::Recovering { wait, .. } => {
                let doubled = wait.checked_mul(2).unwrap_or(OPEN_LAST);
                self.state = open(doubled.min(OPEN_LAST), now);
            }
        }
    }
}

fn open(wait: TimeDelta, now: DateTime<Utc>) -> State {
    State::Open {
        until: later(now, wait),
        wait,
    }
}

fn later(instant: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn at(milliseconds: i64) -> DateTime<Utc> {
        later(noon(), TimeDelta::milliseconds(milliseconds))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            breaker.failed(noon());
        }
        breaker
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_an_answer_in_between_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(noon());
            breaker.failed(noon());
            breaker.answered();
        }
        assert_eq!(breaker.admit(noon()), Admission::Call);
        assert_eq!(opened().admit(noon()), Admission::Wait(at(10_000)));
        assert_eq!(opened().open_until(), Some(at(10_000)));
    }

    #[test]
    fn when_its_time_has_come_one_call_probes_and_the_others_get_turns_of_their_own() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(9_999)), Admission::Wait(at(10_000)));
        let answers: Vec<Admission> = (0..4).map(|_| breaker.admit(at(10_000))).collect();
        assert_eq!(
            answers,
            [
                Admission::Call,
                Admission::Wait(at(10_250)),
                Admission::Wait(at(10_500)),
                Admission::Wait(at(10_750)),
            ]
        );
        // Each is let through at its turn.
        for turn in [10_250, 10_500, 10_750] {
            assert_eq!(breaker.admit(at(turn)), Admission::Call);
        }
    }

    #[test]
    fn a_failed_probe_opens_it_again_for_twice_as_long_up_to_five_minutes() {
        let mut breaker = opened();
        let mut now = noon();
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = breaker.open_until().unwrap();
            waits.push((until - now).num_seconds());
            now = until;
            assert_eq!(breaker.admit(now), Admission::Call);
            breaker.failed(now);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn answers_in_a_row_close_it() {
        let mut breaker = opened();
        for call in 0..ANSWERS_TO_CLOSE {
            let now = at(10_000 + i64::from(call) * 250);
            assert_eq!(breaker.admit(now), Admission::Call);
            assert_ne!(breaker, Breaker::default());
            breaker.answered();
        }
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn news_of_calls_that_went_out_before_changes_nothing_while_it_is_open() {
        let mut breaker = opened();
        breaker.failed(at(1));
        breaker.answered();
        assert_eq!(breaker, opened());
    }

    proptest! {
        #[test]
        fn while_it_recovers_calls_keep_their_pace_and_nobody_waits_for_ever(
            steps in proptest::collection::vec(0_i64..400, 1..200),
        ) {
            let mut breaker = opened();
            let mut now = at(10_000);
            let mut last_call: Option<DateTime<Utc>> = None;
            for step in steps {
                now = later(now, TimeDelta::milliseconds(step));
                match breaker.admit(now) {
                    Admission::Call => {
                        if let Some(last) = last_call {
                            prop_assert!(now >= later(last, PACE));
                        }
                        last_call = Some(now);
                    }
                    Admission::Wait(until) => {
                        prop_assert!(until > now && until <= later(now, SPREAD_MAX));
                    }
                }
            }
        }
    }
}
