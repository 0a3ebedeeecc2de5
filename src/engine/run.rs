//! One run of one leased job, as its worker sees it.
//!
//! Every commit goes through here and checks the lease's epoch in the same transaction, so a
//! worker that slept through its lease commits nothing. A worker proves that it finished by
//! returning [`Finished`], which only this file can make.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind, SettlementId};
use tracing::error;

use super::accept::{Acceptance, Submission};
use super::approvals::Pending;
use super::{Effects, Engine, WorkError};
use crate::domain::job::{Job, JobEvent, JobState};
use crate::store::events::NewEvent;
use crate::store::jobs::JobChange;
use crate::store::{StoreError, Tx, events, jobs, operations};

/// One run of a leased job.
#[derive(Clone, Debug)]
pub struct Run {
    engine: Engine,
    job: Job,
}

/// A worker's open transaction: writes go through it, commits only through its [`Run`].
#[derive(Debug)]
pub struct RunTx {
    tx: Tx,
    due: BTreeSet<JobKind>,
    pending: Pending,
    shown: Vec<ShownSettlement>,
}

/// A settlement about which something was shown in a transaction: its job is made due before the commit.
#[derive(Clone, Debug)]
pub struct ShownSettlement {
    /// The settlement.
    pub id: SettlementId,
    /// What showed it, for the key of a job that follows one that has ended.
    pub cause: String,
    /// What happened, for people.
    pub reason: String,
}

impl RunTx {
    /// Remembers whose job is to be made due when everything else of the transaction is done. Jobs are locked after
    /// settlements, by everybody: a job that holds one settlement may wait for its own row.
    pub fn wake_later(&mut self, shown: ShownSettlement) {
        self.shown.push(shown);
    }

    /// What is to be made due now.
    pub fn take_shown(&mut self) -> Vec<ShownSettlement> {
        std::mem::take(&mut self.shown)
    }

    /// What the commit adds to the audit chain, after the job's own row: the chain is locked last.
    pub(super) const fn pending(&mut self) -> &mut Pending {
        &mut self.pending
    }
}

impl Deref for RunTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for RunTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

/// Proof that the run's end is committed.
#[derive(Debug)]
pub struct Finished(());

impl Run {
    /// The run of a job that this process leased.
    pub fn new(engine: Engine, job: Job) -> Self {
        Self { engine, job }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Now.
    pub fn now(&self) -> DateTime<Utc> {
        self.engine.clock().now()
    }

    /// Whether half of the time that a run may take is over since then: who has more to do than one run can, goes on in
    /// another, and is not cut off in the middle.
    pub fn has_had_its_turn(&self, since: DateTime<Utc>) -> bool {
        let taken = self.now().signed_duration_since(since);
        let half = self.engine.policy().handler_timeout / 2;
        taken.to_std().is_ok_and(|taken| taken >= half)
    }

    /// The engine, for ids and reads.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A transaction that only reads.
    pub async fn read(&self) -> Result<Tx, WorkError> {
        Ok(self.engine.store().read().await?)
    }

    /// Opens a transaction that one of the three commits below ends.
    pub async fn begin(&self) -> Result<RunTx, WorkError> {
        Ok(RunTx {
            tx: self.engine.store().begin().await?,
            due: BTreeSet::new(),
            pending: Pending::default(),
            shown: Vec::new(),
        })
    }

    /// Accepts a follow-up job in this transaction.
    ///
    /// # Errors
    /// As those of [`Run::follow_ups`].
    pub async fn follow_up(
        &self,
        tx: &mut RunTx,
        submission: Submission,
    ) -> Result<JobId, WorkError> {
        let ids = self.follow_ups(tx, vec![submission]).await?;
        let id = ids.into_iter().next();
        id.ok_or_else(|| WorkError::Invalid("no answer to a follow-up".to_owned()))
    }

    /// Accepts follow-up jobs in this transaction; their ids, in their order.
    ///
    /// # Errors
    /// [`WorkError::Invalid`] when a follow-up is refused: a fault of ours.
    pub async fn follow_ups(
        &self,
        tx: &mut RunTx,
        submissions: Vec<Submission>,
    ) -> Result<Vec<JobId>, WorkError> {
        let (answers, due) = self.engine.accept_in(&mut tx.tx, submissions).await?;
        tx.due.extend(due);
        let ids = answers.into_iter().map(|answer| match answer {
            Acceptance::New(id) | Acceptance::Known(id, _) => Ok(id),
            Acceptance::Refused(refusal) => Err(WorkError::Invalid(refusal.to_string())),
        });
        ids.collect()
    }

    /// Makes another job due in this transaction, because what it waits for happened; a job that ended is left alone.
    pub async fn wake(&self, tx: &mut RunTx, id: JobId, reason: &str) -> Result<(), WorkError> {
        let due = self.engine.wake_in(&mut tx.tx, id, reason).await?;
        tx.due.extend(due);
        Ok(())
    }

    /// Commits a step on the way, such as the intent of a call, if the lease still holds. The
    /// job's row stays locked until the commit, so that no sweep can take it in between.
    pub async fn checkpoint(&self, mut tx: RunTx) -> Result<(), WorkError> {
        let epoch = self.engine.epoch_of(&mut tx.tx, &self.job).await?;
        jobs::lock_leased(&mut tx.tx, self.job.id, epoch)
            .await?
            .ok_or_else(|| self.stale())?;
        tx.pending.append(&mut tx.tx, self.now()).await?;
        tx.tx.commit().await?;
        self.engine.ring(tx.due);
        Ok(())
    }

    /// Ends the job with effects that depend on nothing else in its transaction, together with other runs that end now.
    pub async fn end(&self, effects: Effects, note: &str) -> Result<Finished, WorkError> {
        let effects = Arc::new(effects);
        if self.engine.end_with_others(&self.job, note, &effects).await {
            return Ok(Finished(()));
        }
        let mut tx = self.begin().await?;
        effects.write(&self.engine, &mut tx, self.job.id).await?;
        self.done(tx, note).await
    }

    /// Commits the effect and the end of the job together. A job that was woken while it ran may have looked before
    /// what it was woken for: its effect is committed, and it looks again.
    pub async fn done(&self, mut tx: RunTx, note: &str) -> Result<Finished, WorkError> {
        let now = self.now();
        let end = jobs::RunEnd {
            id: self.job.id,
            epoch: self.engine.epoch_of(&mut tx.tx, &self.job).await?,
            note,
        };
        let finished = jobs::finish_all(&mut tx.tx, &[end], now).await?;
        let Some((_, version, attempt)) = finished.into_iter().next() else {
            return self.snooze(tx, now, note).await;
        };
        let event = NewEvent {
            job_id: self.job.id,
            version,
            occurred_at: now,
            event: JobEvent::Finish.as_str(),
            state: JobState::Done,
            attempt,
            worker: Some(self.engine.worker().to_owned()),
            reason: note.to_owned(),
        };
        events::append(&mut tx.tx, &[event]).await?;
        tx.pending.append(&mut tx.tx, now).await?;
        // Before the commit: a renewal that misses it right after must not take it for lost.
        let held = &self.engine.0.held;
        held.forget(self.job.id, self.job.lease_epoch);
        tx.tx.commit().await?;
        self.engine.ring(tx.due);
        self.engine
            .counters()
            .finished
            .fetch_add(1, Ordering::Relaxed);
        Ok(Finished(()))
    }

    /// Commits the effect so far and looks again at `until`; the attempt does not count.
    pub async fn snooze(
        &self,
        mut tx: RunTx,
        until: DateTime<Utc>,
        note: &str,
    ) -> Result<Finished, WorkError> {
        let epoch = self.engine.epoch_of(&mut tx.tx, &self.job).await?;
        let job = jobs::lock_leased(&mut tx.tx, self.job.id, epoch)
            .await?
            .ok_or_else(|| self.stale())?;
        let due = self
            .engine
            .release(&mut tx.tx, &job, JobEvent::Snooze, until, note, None)
            .await?;
        tx.pending.append(&mut tx.tx, self.now()).await?;
        tx.tx.commit().await?;
        self.engine.ring(tx.due);
        self.engine.ring(due);
        Ok(Finished(()))
    }

    fn stale(&self) -> WorkError {
        let refused = &self.engine.counters().stale_commits_refused;
        refused.fetch_add(1, Ordering::Relaxed);
        WorkError::StaleLease
    }
}

/// How soon a job that must not end yet is run again.
const OPEN_OPERATION_WAIT: TimeDelta = TimeDelta::minutes(10);

/// Lapses count only while nothing goes right in between.
const fn rescues_after(job: &Job, event: JobEvent) -> u32 {
    match event {
        JobEvent::Rescue => job.rescues.saturating_add(1),
        JobEvent::Snooze | JobEvent::Retry => 0,
        JobEvent::Lease
        | JobEvent::Finish
        | JobEvent::Bury
        | JobEvent::HandBack
        | JobEvent::Cancel
        | JobEvent::Requeue
        | JobEvent::Postpone => job.rescues,
    }
}

/// Failures count only while nothing goes right in between: who waits for weeks meets many that have nothing to do with
/// each other.
const fn attempts_after(job: &Job, event: JobEvent) -> u32 {
    match event {
        JobEvent::Snooze => 0,
        JobEvent::HandBack => job.attempt.saturating_sub(1),
        JobEvent::Lease
        | JobEvent::Finish
        | JobEvent::Retry
        | JobEvent::Bury
        | JobEvent::Rescue
        | JobEvent::Cancel
        | JobEvent::Requeue
        | JobEvent::Postpone => job.attempt,
    }
}

impl Engine {
    /// Takes a leased job out of its worker's hands by the rule of `event`; returns the kind
    /// whose bell to ring after the commit. The job is locked by the caller, and not held here any
    /// more: should the commit fail, its lease lapses.
    pub(super) async fn release(
        &self,
        tx: &mut Tx,
        job: &Job,
        event: JobEvent,
        run_at: DateTime<Utc>,
        note: &str,
        error: Option<String>,
    ) -> Result<Option<JobKind>, StoreError> {
        let now = self.clock().now();
        let mut state = job.state.after(event).ok_or_else(|| {
            StoreError::corrupt("state", format!("{} refuses {event:?}", job.state))
        })?;
        let (mut run_at, mut note) = (run_at, note.to_owned());
        if matches!(state, JobState::Cancelled | JobState::Dead) {
            let open = operations::open_of_job(tx, job.id).await?;
            if let Some(operation) = open.first() {
                // Ending it would leave nobody to learn what became of the call.
                let wish = if state == JobState::Dead {
                    error!(job.id = %job.id, job.kind = %job.kind, operation = %operation.idempotency_key, "Job {} cannot be buried while the outcome of a call is unknown", job.id);
                    run_at = now + OPEN_OPERATION_WAIT;
                    "buried"
                } else {
                    "cancelled"
                };
                state = JobState::Ready;
                note = format!(
                    "not {wish}: {} has no proved outcome yet; {note}",
                    operation.idempotency_key
                );
            }
        }
        let may_have_looked_before =
            matches!(event, JobEvent::Snooze | JobEvent::Retry | JobEvent::Bury)
                && matches!(state, JobState::Ready | JobState::Dead);
        if may_have_looked_before && jobs::was_woken(tx, job.id).await? {
            // What it was woken for may be what it lacked, and nobody wakes it for that again.
            state = JobState::Ready;
            run_at = now;
            note = format!("woken meanwhile; {note}");
        }
        let change = JobChange {
            id: job.id,
            version: job.version,
            state,
            run_at,
            attempt: attempts_after(job, event),
            rescues: rescues_after(job, event),
            note: note.clone(),
            last_error: error.or_else(|| job.last_error.clone()),
            updated_at: now,
        };
        self.change(tx, job, &change, event).await?;
        self.0.held.forget(job.id, job.lease_epoch);
        Ok((state == JobState::Ready && self.is_imminent(run_at)).then_some(job.kind))
    }

    /// Applies one decided change with its row of history.
    pub(super) async fn change(
        &self,
        tx: &mut Tx,
        job: &Job,
        change: &JobChange,
        event: JobEvent,
    ) -> Result<(), StoreError> {
        if !jobs::apply(tx, change).await? {
            return Err(StoreError::corrupt("version", "a locked job changed"));
        }
        let row = NewEvent {
            job_id: job.id,
            version: change.version.saturating_add(1),
            occurred_at: change.updated_at,
            event: event.as_str(),
            state: change.state,
            attempt: change.attempt,
            worker: job.lease.as_ref().map(|lease| lease.worker.clone()),
            reason: change.note.clone(),
        };
        events::append(tx, &[row]).await
    }
}
