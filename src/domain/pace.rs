//! How often something outside may be asked, over all daemons.
//!
//! Slots follow each other at an even distance. A daemon reserves a few of them at a time, so that the one row that
//! all share is written a few times a second and not at every call. A slot that nobody uses is gone: a daemon that
//! dies makes the pace slower for a moment and never faster.

use chrono::{DateTime, TimeDelta, Utc};

/// Slots are reserved for about this long.
const RESERVED: TimeDelta = TimeDelta::milliseconds(200);

/// A number of requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    per_second: u32,
}

/// Slots that one daemon may use, and where the next daemon's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The earliest first.
    pub slots: Vec<DateTime<Utc>>,
    /// The first slot that is free.
    pub next_at: DateTime<Utc>,
}

impl Pace {
    /// So many requests per second; one at least.
    pub const fn per_second(requests: u32) -> Self {
        let per_second = if requests == 0 { 1 } else { requests };
        Self { per_second }
    }

    fn distance(self) -> TimeDelta {
        TimeDelta::seconds(1)
            .checked_div(i32::try_from(self.per_second).unwrap_or(i32::MAX))
            .unwrap_or(TimeDelta::zero())
    }

    /// The next slots from `next_at` on, or from now if that has passed: what was not used does not pile up.
    pub fn reserve(self, next_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Reservation {
        let distance = self.distance();
        let first = next_at.map_or(now, |next_at| next_at.max(now));
        let mut slots = Vec::new();
        let mut next_at = first;
        while slots.is_empty() || next_at < later(first, RESERVED) {
            slots.push(next_at);
            let following = later(next_at, distance);
            if following == next_at {
                break;
            }
            next_at = following;
        }
        Reservation { slots, next_at }
    }
}

fn later(instant: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, which is what it should do"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn slots_stand_at_an_even_distance_and_the_next_daemon_goes_on_behind_them() {
        let pace = Pace::per_second(10);
        let first = pace.reserve(None, noon());
        let second = pace.reserve(Some(first.next_at), noon());
        let waits: Vec<i64> = first
            .slots
            .iter()
            .chain(&second.slots)
            .map(|slot| (*slot - noon()).num_milliseconds())
            .collect();
        assert_eq!(waits, [0, 100, 200, 300]);
    }

    #[test]
    fn one_in_a_long_while_is_one_slot_at_a_time() {
        let once = Pace::per_second(1).reserve(None, noon());
        assert_eq!(once.slots, [noon()]);
        assert_eq!(once.next_at, noon() + TimeDelta::seconds(1));
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let pace = Pace::per_second(10);
        let long_ago = noon() - TimeDelta::hours(1);
        assert_eq!(
            pace.reserve(Some(long_ago), noon()),
            pace.reserve(None, noon())
        );
    }

    proptest! {
        #[test]
        fn no_second_holds_more_slots_than_the_pace_allows(
            per_second in 1_u32..2_000,
            steps in proptest::collection::vec(0_i64..400, 1..60),
        ) {
            let pace = Pace::per_second(per_second);
            let (mut now, mut next_at, mut slots) = (noon(), None, Vec::new());
            for step in steps {
                now += TimeDelta::milliseconds(step);
                let reservation = pace.reserve(next_at, now);
                next_at = Some(reservation.next_at);
                slots.extend(reservation.slots);
            }
            prop_assert!(slots.is_sorted());
            let most = usize::try_from(per_second).unwrap();
            for (place, slot) in slots.iter().enumerate() {
                if let Some(beyond) = slots.get(place + most) {
                    // Whole microseconds: the distance is cut, so a second may hold a hair more.
                    prop_assert!(*beyond - *slot >= TimeDelta::milliseconds(999));
                }
            }
        }
    }
}
