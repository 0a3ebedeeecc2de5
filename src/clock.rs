//! Time, ids and randomness as arguments.
//!
//! Nothing else in the daemon asks the machine what time it is or draws a random number, which is
//! what makes a night of work replayable in a test. Instants are cut to microseconds, the finest
//! that Postgres keeps, so that an instant written and read back is equal to itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::watch;
use uuid::Uuid;

/// Where the daemon reads the time and waits for it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clock, shifted: the demo lives on a shipped date.
    System { shift: TimeDelta },
    /// A clock that stands still until a test moves it.
    Manual(Arc<watch::Sender<DateTime<Utc>>>),
}

impl Clock {
    /// The machine's own clock.
    pub const fn system() -> Self {
        Self(Source::System {
            shift: TimeDelta::zero(),
        })
    }

    /// A clock that runs at the machine's pace but starts at `start`.
    pub fn starting_at(start: DateTime<Utc>) -> Self {
        Self(Source::System {
            shift: start - system_now(),
        })
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(watch::Sender::new(cut(start)))))
    }

    /// The current instant, in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System { shift } => cut(system_now() + *shift),
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Moves a manual clock forward and wakes who waited for it; a system clock is left alone.
    pub fn advance(&self, by: TimeDelta) {
        match &self.0 {
            Source::System { .. } => {}
            Source::Manual(now) => now.send_modify(|instant| *instant += by),
        }
    }

    /// Sets a manual clock, forward or back, and wakes who waited for it; a system clock is left alone.
    pub fn set(&self, to: DateTime<Utc>) {
        match &self.0 {
            Source::System { .. } => {}
            Source::Manual(now) => {
                now.send_replace(cut(to));
            }
        }
    }

    /// Returns at `instant`, at once when it has passed.
    pub async fn sleep_until(&self, instant: DateTime<Utc>) {
        match &self.0 {
            Source::System { .. } => {
                let wait = (instant - self.now()).to_std().unwrap_or(Duration::ZERO);
                tokio::time::sleep(wait).await;
            }
            Source::Manual(now) => {
                let mut moved = now.subscribe();
                // The sender lives in `self`, so the only way out is that the time came.
                moved.wait_for(|now| *now >= instant).await.ok();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clock"
)]
fn system_now() -> DateTime<Utc> {
    Utc::now()
}

fn cut(instant: DateTime<Utc>) -> DateTime<Utc> {
    instant
        .duration_trunc(TimeDelta::microseconds(1))
        .unwrap_or(instant)
}

/// Mints ids (UUID version 7: sorted by time, so that indexes grow at one end) and draws chances.
#[derive(Clone, Debug)]
pub struct Ids {
    clock: Clock,
    state: Arc<Mutex<IdState>>,
}

#[derive(Debug)]
struct IdState {
    random: StdRng,
    /// Counts within one millisecond, so that ids of one process never go backwards.
    millisecond: u64,
    counter: u16,
}

/// The counter has the twelve bits that version 7 leaves beside the version.
const COUNTER_MAX: u16 = 0x0FFF;

impl Ids {
    /// Ids that nobody can foretell.
    pub fn random(clock: Clock) -> Self {
        Self::from_rng(clock, StdRng::from_rng(&mut rand::rng()))
    }

    /// The same ids for the same seed and the same clock.
    pub fn seeded(clock: Clock, seed: u64) -> Self {
        Self::from_rng(clock, StdRng::seed_from_u64(seed))
    }

    fn from_rng(clock: Clock, random: StdRng) -> Self {
        let state = IdState {
            random,
            millisecond: 0,
            counter: 0,
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A new id, greater than every id this process minted before.
    pub fn uuid(&self) -> Uuid {
        let now = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or(0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.step(now);
        let mut tail = [0_u8; 10];
        state.random.fill_bytes(&mut tail);
        let [high, low] = state.counter.to_be_bytes();
        let [first, second, ..] = &mut tail;
        (*first, *second) = (high, low);
        uuid::Builder::from_unix_timestamp_millis(state.millisecond, &tail).into_uuid()
    }

    /// A number from 0 to 1,000, for jitter.
    pub fn permille(&self) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.random.random_range(0..=1_000)
    }
}

impl IdState {
    fn step(&mut self, now: u64) {
        if now > self.millisecond {
            (self.millisecond, self.counter) = (now, 0);
        } else if self.counter < COUNTER_MAX {
            self.counter += 1;
        } else {
            (self.millisecond, self.counter) = (self.millisecond.saturating_add(1), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00.123456789Z".parse().unwrap()
    }

    #[test]
    fn instants_are_cut_to_microseconds() {
        assert_eq!(
            Clock::manual(noon()).now().to_rfc3339(),
            "2026-03-02T12:00:00.123456+00:00"
        );
    }

    #[test]
    fn ids_of_one_process_only_grow_even_when_the_clock_stands() {
        let ids = Ids::seeded(Clock::manual(noon()), 7);
        let minted: Vec<Uuid> = (0..10_000).map(|_| ids.uuid()).collect();
        assert!(minted.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_same_seed_and_clock_mint_the_same_ids() {
        let mint = || Ids::seeded(Clock::manual(noon()), 7).uuid();
        assert_eq!(mint(), mint());
    }
}
