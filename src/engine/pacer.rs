//! Keeps the pace at which something outside is asked, over all daemons.
//!
//! Slots are reserved in the database, some at a time. While it does not answer, this process keeps the pace by
//! itself: then every daemon asks at that pace, and no more is asked of a channel than its settings allow times
//! the daemons that are left.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use tracing::warn;

use crate::clock::Clock;
use crate::domain::pace::{Pace, Reservation};
use crate::store::{Store, StoreError, paces};

/// A slot that was reserved so long ago is not used any more, or what piled up would go at once.
const STALE: TimeDelta = TimeDelta::seconds(1);

/// The pace of one name.
#[derive(Debug)]
pub struct Pacer {
    store: Store,
    clock: Clock,
    name: String,
    pace: Pace,
    slots: Mutex<Slots>,
}

/// What this process may use.
#[derive(Debug, Default)]
struct Slots {
    free: VecDeque<DateTime<Utc>>,
    /// Where a reservation that this process makes by itself goes on.
    next_at: Option<DateTime<Utc>>,
}

impl Pacer {
    /// Keeps `pace` for everybody who shares the database and the name.
    pub fn new(store: Store, clock: Clock, name: String, pace: Pace) -> Self {
        Self {
            store,
            clock,
            name,
            pace,
            slots: Mutex::default(),
        }
    }

    /// Waits for a slot and takes it.
    pub async fn turn(&self) {
        let slot = self.slot().await;
        self.clock.sleep_until(slot).await;
    }

    /// Takes the next slot, which may be still to come.
    pub async fn slot(&self) -> DateTime<Utc> {
        let mut slots = self.slots.lock().await;
        let now = self.clock.now();
        slots.free.retain(|slot| *slot > now - STALE);
        if slots.free.is_empty() {
            let reservation = self.reserve(now).await.unwrap_or_else(|error| {
                warn!(name = self.name, error = %error, "The pace of {} is kept by this daemon alone", self.name);
                self.pace.reserve(slots.next_at, now)
            });
            slots.free.extend(reservation.slots);
            slots.next_at = Some(reservation.next_at);
        }
        slots.free.pop_front().unwrap_or(now)
    }

    async fn reserve(&self, now: DateTime<Utc>) -> Result<Reservation, StoreError> {
        let mut tx = self.store.begin().await?;
        let next_at = paces::lock(&mut tx, &self.name, now).await?;
        let reservation = self.pace.reserve(Some(next_at), now);
        paces::set(&mut tx, &self.name, reservation.next_at).await?;
        tx.commit().await?;
        Ok(reservation)
    }
}
