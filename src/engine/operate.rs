//! What operators may do to one job: retry it, cancel it, put it off. None of it moves money.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobId;
use serde_json::json;

use super::{Engine, REASON_LENGTH_MAX};
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::job::{Job, JobEvent, JobState};
use crate::store::jobs::JobChange;
use crate::store::{StoreError, audit, jobs, operations};

/// The longest time for which a job may be put off: whoever wants to wait longer wants to cancel it.
const SNOOZE_MAX: TimeDelta = TimeDelta::days(366);

/// What an operator wishes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A waiting, dead or cancelled job is due now, with all its attempts again.
    Retry,
    /// A job is withdrawn: at once when it waits or is dead, when its worker lets go if it runs.
    Cancel,
    /// A waiting job is put off until this instant.
    Snooze(DateTime<Utc>),
}

impl Wish {
    /// What happens to the job.
    pub const fn event(self) -> JobEvent {
        match self {
            Self::Retry => JobEvent::Requeue,
            Self::Cancel => JobEvent::Cancel,
            Self::Snooze(_) => JobEvent::Postpone,
        }
    }

    /// Its word in notes and refusals.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Cancel => "cancelled",
            Self::Snooze(_) => "snoozed",
        }
    }

    const fn audited(self) -> AuditAction {
        match self {
            Self::Retry => AuditAction::JobRetried,
            Self::Cancel => AuditAction::JobCancelled,
            Self::Snooze(_) => AuditAction::JobSnoozed,
        }
    }

    /// Why the job is where it is from now on.
    pub(super) fn note(self, who: &str) -> String {
        let participle = self.participle();
        match self {
            Self::Retry | Self::Cancel => format!("{participle} by {who}"),
            Self::Snooze(until) => {
                format!("{participle} by {who} until {}", until.to_rfc3339())
            }
        }
    }

    /// The change that fulfils the wish, decided on the job as it is.
    pub(super) fn change(
        self,
        job: &Job,
        state: JobState,
        now: DateTime<Utc>,
        who: &str,
    ) -> JobChange {
        let note = self.note(who);
        let as_it_is = JobChange {
            id: job.id,
            version: job.version,
            state,
            run_at: job.run_at,
            attempt: job.attempt,
            rescues: job.rescues,
            note: note.clone(),
            last_error: job.last_error.clone(),
            updated_at: now,
        };
        match self {
            Self::Retry => due_now(job, now, &note),
            Self::Cancel => as_it_is,
            Self::Snooze(until) => JobChange {
                run_at: until,
                ..as_it_is
            },
        }
    }

    /// # Errors
    /// [`OperateError::SnoozeUntil`] when the instant is not in the future, or too far in it.
    pub(super) fn check(self, now: DateTime<Utc>) -> Result<(), OperateError> {
        match self {
            Self::Retry | Self::Cancel => Ok(()),
            Self::Snooze(until) if until > now && until <= now + SNOOZE_MAX => Ok(()),
            Self::Snooze(until) => Err(OperateError::SnoozeUntil(until)),
        }
    }
}

/// Why an operator's wish was refused.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// No such job.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// The job's state does not allow it.
    #[error("job {id} is {state} and cannot be {wish}")]
    Refused {
        /// The job.
        id: JobId,
        /// Its state.
        state: JobState,
        /// What was wished.
        wish: &'static str,
    },
    /// A call of this job has no proved outcome; cancelling would leave nobody to learn it.
    #[error("job {id} cannot be cancelled: {operation} has no proved outcome yet")]
    OpenOperation {
        /// The job.
        id: JobId,
        /// The operation's key.
        operation: String,
    },
    /// A job is put off until some time in the future that people can foresee.
    #[error(
        "{0} is not in the future, or more than {days} days ahead",
        days = SNOOZE_MAX.num_days()
    )]
    SnoozeUntil(DateTime<Utc>),
    /// A pause needs a reason that others can read.
    #[error("the reason must have 1 to {REASON_LENGTH_MAX} characters")]
    Reason,
    /// No job in this state can be what was wished.
    #[error("jobs that are {state} cannot be {wish}")]
    NeverAllowed {
        /// The state.
        state: JobState,
        /// What was wished.
        wish: &'static str,
    },
    /// Something else matches than whoever wishes it was shown.
    #[error("{found} jobs match, not {expected}: look again before you act on all of them")]
    CountDiffers {
        /// How many they were shown.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a waiting, dead or cancelled job due now, with all its attempts again.
    pub async fn retry(&self, id: JobId, who: &str) -> Result<Job, OperateError> {
        self.operate(id, Wish::Retry, who).await
    }

    /// Withdraws a job: at once when it waits or is dead, and when its worker lets go if it runs.
    pub async fn cancel(&self, id: JobId, who: &str) -> Result<Job, OperateError> {
        self.operate(id, Wish::Cancel, who).await
    }

    /// Puts a waiting job off until a later instant, or draws it nearer.
    pub async fn snooze(
        &self,
        id: JobId,
        until: DateTime<Utc>,
        who: &str,
    ) -> Result<Job, OperateError> {
        self.operate(id, Wish::Snooze(until), who).await
    }

    /// Fulfils a wish about one job.
    pub async fn operate(&self, id: JobId, wish: Wish, who: &str) -> Result<Job, OperateError> {
        let now = self.clock().now();
        wish.check(now)?;
        let mut tx = self.store().begin().await?;
        let job = jobs::lock(&mut tx, id)
            .await?
            .ok_or(OperateError::NotFound(id))?;
        let event = wish.event();
        let state = job.state.after(event).ok_or(OperateError::Refused {
            id,
            state: job.state,
            wish: wish.participle(),
        })?;
        if state == JobState::Cancelled {
            let open = operations::open_of_job(&mut tx, id).await?;
            if let Some(operation) = open.into_iter().next() {
                let operation = operation.idempotency_key;
                return Err(OperateError::OpenOperation { id, operation });
            }
        }
        let change = wish.change(&job, state, now, who);
        self.change(&mut tx, &job, &change, event).await?;
        let entry = AuditEntry {
            who: who.to_owned(),
            what: wish.audited(),
            subject: id.to_string(),
            detail: json!({"kind": job.kind.as_str(), "was": job.state.as_str(), "is": state.as_str()}),
        };
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        if state == JobState::Ready && self.is_imminent(change.run_at) {
            self.ring([job.kind]);
        }
        let mut tx = self.store().read().await?;
        jobs::find(&mut tx, id)
            .await?
            .ok_or(OperateError::NotFound(id))
    }
}

/// A job that is not leased, made due with all its attempts again.
pub(super) fn due_now(job: &Job, now: DateTime<Utc>, note: &str) -> JobChange {
    JobChange {
        id: job.id,
        version: job.version,
        state: JobState::Ready,
        run_at: now,
        attempt: 0,
        rescues: 0,
        note: note.to_owned(),
        last_error: job.last_error.clone(),
        updated_at: now,
    }
}
