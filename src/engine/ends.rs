//! The ends of runs, recorded many at a time.
//!
//! A run whose effects depend on nothing else in its transaction needs none of its own. Whichever run comes first
//! records all that wait, in one transaction and a few statements, while the next ones gather: what is durable is
//! bounded by the database and not by journeys to it. Each end stands under its own epoch. One that lost its lease,
//! or was woken while it ran, is left out with all its effects; when the database refuses anything, all are undone.
//! Who was left out ends alone, where everything is looked at.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use clearday_jobs::JobId;
use tokio::sync::oneshot;
use tracing::debug;

use super::{Engine, WorkError};
use crate::domain::job::{Job, JobEvent, JobState};
use crate::domain::ledger::{Entry, Fact};
use crate::store::events::NewEvent;
use crate::store::jobs::RunEnd;
use crate::store::ledger::{JobContext, append_each, book_facts, find_fact};
use crate::store::{StoreError, Tx, events, jobs};

/// Ends per transaction: beyond this a statement gains nothing more.
const GROUP_MAX: usize = 500;

/// What a run leaves behind besides its end.
#[derive(Debug, Default)]
pub struct Effects {
    /// Money that the outside told of, each with the entry that books it.
    pub bookings: Vec<Booking>,
}

/// One fact about money and the entry that books it.
#[derive(Debug)]
pub struct Booking {
    /// What the outside said.
    pub fact: Fact,
    /// What follows in the books.
    pub entry: Entry,
}

/// Runs that wait for their end to be recorded.
#[derive(Debug, Default)]
pub(super) struct Ends {
    waiting: Mutex<VecDeque<End>>,
    /// Held by the run that records for the others.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct End {
    id: JobId,
    epoch: i64,
    note: String,
    effects: Arc<Effects>,
    /// Whether it is on record; dropped when whoever recorded was given up half-way.
    recorded: oneshot::Sender<bool>,
}

impl Effects {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bookings.is_empty()
    }

    /// Writes them in a transaction of one run. What is on record already stays as it is.
    ///
    /// # Errors
    /// [`WorkError::Invalid`] for a fact that is known with another amount.
    pub(super) async fn write(
        &self,
        engine: &Engine,
        tx: &mut Tx,
        job_id: JobId,
    ) -> Result<(), WorkError> {
        let now = engine.clock().now();
        for booking in &self.bookings {
            let Booking { fact, entry } = booking;
            let known = find_fact(tx, &fact.key).await?;
            if let Some(known) = &known {
                if known.amount != fact.amount {
                    let number = &fact.key.external_no;
                    let words = format!(
                        "{number} is known with {} and not {}",
                        known.amount, fact.amount
                    );
                    return Err(WorkError::Invalid(words));
                }
                if known.entry_id.is_some() {
                    continue;
                }
            }
            let context = JobContext {
                job_id: Some(job_id),
            };
            let appended = append_each(tx, &[(context, entry)], engine.ids(), now).await?;
            let entry_id = appended.first().map(|appended| appended.id());
            if book_facts(tx, &[(fact, entry_id)], now).await? != 1 {
                return Err(WorkError::LostRace(fact.key.external_no.clone()));
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Records the end of a run together with others; `false` when it has to end alone.
    pub(super) async fn end_with_others(
        &self,
        job: &Job,
        note: &str,
        effects: &Arc<Effects>,
    ) -> bool {
        let (sender, mut recorded) = oneshot::channel();
        let ends = &self.0.ends;
        lock(&ends.waiting).push_back(End {
            id: job.id,
            epoch: job.lease_epoch,
            note: note.to_owned(),
            effects: Arc::clone(effects),
            recorded: sender,
        });
        loop {
            let turn = tokio::select! {
                biased;
                recorded = &mut recorded => return recorded.unwrap_or(false),
                turn = self.turn() => turn,
            };
            self.record_waiting().await;
            drop(turn);
        }
    }

    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = &self.0.ends.turn;
        loop {
            if let Ok(turn) = turn.try_lock() {
                return turn;
            }
            // In a simulation tasks are polled one by one, and none may wait for another in silence.
            if !self.store().stand_by().await {
                return turn.lock().await;
            }
        }
    }

    async fn record_waiting(&self) {
        let group: Vec<End> = {
            let mut waiting = lock(&self.0.ends.waiting);
            let count = waiting.len().min(GROUP_MAX);
            waiting.drain(..count).collect()
        };
        let finished = match self.record_group(&group).await {
            Ok(finished) => finished,
            Err(error) => {
                debug!(ends = group.len(), error = %error, "{} ends could not be recorded together", group.len());
                HashMap::new()
            }
        };
        for end in group {
            // A run that was given up meanwhile hears nothing.
            end.recorded.send(finished.contains_key(&end.id)).ok();
        }
    }

    /// Records those that still hold their leases; returns which, each with its version and attempt.
    async fn record_group(&self, group: &[End]) -> Result<HashMap<JobId, (i64, u32)>, StoreError> {
        if group.is_empty() {
            return Ok(HashMap::new());
        }
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        let ends: Vec<RunEnd<'_>> = group
            .iter()
            .map(|end| RunEnd {
                id: end.id,
                epoch: end.epoch,
                note: &end.note,
            })
            .collect();
        let finished: HashMap<JobId, (i64, u32)> = jobs::finish_all(&mut tx, &ends, now)
            .await?
            .into_iter()
            .map(|(id, version, attempt)| (id, (version, attempt)))
            .collect();
        let recorded = || group.iter().filter(|end| finished.contains_key(&end.id));
        self.write_effects(&mut tx, recorded()).await?;
        let history: Vec<NewEvent> = recorded()
            .filter_map(|end| Some((end, finished.get(&end.id)?)))
            .map(|(end, (version, attempt))| NewEvent {
                job_id: end.id,
                version: *version,
                occurred_at: now,
                event: JobEvent::Finish.as_str(),
                state: JobState::Done,
                attempt: *attempt,
                worker: Some(self.worker().to_owned()),
                reason: end.note.clone(),
            })
            .collect();
        events::append(&mut tx, &history).await?;
        // Before the commit: a renewal that misses them right after must not take them for lost.
        for end in recorded() {
            self.0.held.forget(end.id, end.epoch);
        }
        tx.commit().await?;
        let count = u64::try_from(finished.len()).unwrap_or(u64::MAX);
        self.counters().finished.fetch_add(count, Ordering::Relaxed);
        Ok(finished)
    }

    async fn write_effects(
        &self,
        tx: &mut Tx,
        recorded: impl Iterator<Item = &End> + Send,
    ) -> Result<(), StoreError> {
        let bookings: Vec<(JobContext, &Booking)> = recorded
            .flat_map(|end| {
                let context = JobContext {
                    job_id: Some(end.id),
                };
                end.effects
                    .bookings
                    .iter()
                    .map(move |booking| (context, booking))
            })
            .collect();
        if bookings.is_empty() {
            return Ok(());
        }
        let now = self.clock().now();
        let entries: Vec<(JobContext, &Entry)> = bookings
            .iter()
            .map(|(context, booking)| (*context, &booking.entry))
            .collect();
        let appended = append_each(tx, &entries, self.ids(), now).await?;
        let facts: Vec<_> = bookings
            .iter()
            .zip(&appended)
            .map(|((_, booking), appended)| (&booking.fact, Some(appended.id())))
            .collect();
        let booked = book_facts(tx, &facts, now).await?;
        if usize::try_from(booked) == Ok(facts.len()) {
            Ok(())
        } else {
            Err(StoreError::corrupt(
                "external_no",
                "a fact is booked already",
            ))
        }
    }
}

/// A poisoned lock is taken all the same: no step in here stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
