//! What follows a run that failed: another attempt, and when, or the dead letters.
//!
//! The same on every backend, because it is decided here and not by a queue library.

use chrono::{DateTime, TimeDelta, Utc};

/// The wait before the second attempt; each further one doubles it.
const BACKOFF_FIRST: TimeDelta = TimeDelta::seconds(1);
/// Long enough that an outage of an hour costs few attempts, short enough that recovery is seen.
const BACKOFF_MAX: TimeDelta = TimeDelta::minutes(10);

/// Why a run did not succeed, in the classes that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// A database, channel or file was not to be had; trying later may help.
    Unavailable,
    /// Another run changed the row first, or the worker is at fault (panic, time-out).
    Interrupted,
    /// Trying again cannot help: the request contradicts what is known.
    Invalid,
}

/// What the engine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Run again at this instant.
    RetryAt(DateTime<Utc>),
    /// Into the dead letters.
    Bury,
}

/// Decides what follows the failure of attempt number `attempt` (the first is 1).
///
/// `jitter_permille` (0 to 1,000) spreads retries over the upper half of the wait, so that a
/// thousand jobs that failed together do not come back together.
pub fn decide_after_failure(
    class: FailureClass,
    attempt: u32,
    attempts_max: u32,
    now: DateTime<Utc>,
    jitter_permille: u32,
) -> AfterFailure {
    match class {
        FailureClass::Invalid => AfterFailure::Bury,
        FailureClass::Unavailable | FailureClass::Interrupted if attempt >= attempts_max => {
            AfterFailure::Bury
        }
        FailureClass::Unavailable | FailureClass::Interrupted => now
            .checked_add_signed(backoff(attempt, jitter_permille))
            .map_or(AfterFailure::Bury, AfterFailure::RetryAt),
    }
}

/// The wait after attempt number `attempt`: between half of and the whole doubled wait.
pub fn backoff(attempt: u32, jitter_permille: u32) -> TimeDelta {
    let doublings = attempt.saturating_sub(1).min(16);
    let doubled = 1_i32
        .checked_shl(doublings)
        .and_then(|factor| BACKOFF_FIRST.checked_mul(factor))
        .map_or(BACKOFF_MAX, |wait| wait.min(BACKOFF_MAX));
    let half_ms = doubled.num_milliseconds().div_euclid(2);
    let jitter_ms = half_ms
        .saturating_mul(i64::from(jitter_permille.min(1_000)))
        .div_euclid(1_000);
    TimeDelta::milliseconds(half_ms.saturating_add(jitter_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn waits_double_from_half_a_second_to_ten_minutes() {
        let waits: Vec<i64> = (1..=12).map(|n| backoff(n, 1_000).num_seconds()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(backoff(1, 0).num_milliseconds(), 500);
    }

    #[test]
    fn the_last_attempt_is_followed_by_burial() {
        let after =
            |attempt| decide_after_failure(FailureClass::Unavailable, attempt, 3, noon(), 1_000);
        assert_eq!(
            after(2),
            AfterFailure::RetryAt(noon() + TimeDelta::seconds(2))
        );
        assert_eq!(after(3), AfterFailure::Bury);
    }

    #[test]
    fn what_cannot_be_helped_is_buried_at_once() {
        let after = decide_after_failure(FailureClass::Invalid, 1, 25, noon(), 0);
        assert_eq!(after, AfterFailure::Bury);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_cap_nor_shorter_than_half_the_first(
            attempt in 0_u32..=u32::MAX, jitter in 0_u32..=2_000,
        ) {
            let wait = backoff(attempt, jitter);
            prop_assert!(wait <= BACKOFF_MAX && wait >= TimeDelta::milliseconds(500));
        }
    }
}
