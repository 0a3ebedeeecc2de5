//! What operators may do to a job: retry it, cancel it. Neither moves money.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use serde_json::json;

use super::Engine;
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::job::{Job, JobEvent, JobState};
use crate::store::jobs::JobChange;
use crate::store::{StoreError, audit, jobs, operations};

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
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a waiting, dead or cancelled job due now, with all its attempts again.
    pub async fn retry(&self, id: JobId, who: &str) -> Result<Job, OperateError> {
        let wish = ("retried", AuditAction::JobRetried);
        let job = self.operate(id, JobEvent::Requeue, wish, who).await?;
        self.ring([job.kind]);
        Ok(job)
    }

    /// Withdraws a job: at once when it waits, and when its worker lets go if it runs.
    pub async fn cancel(&self, id: JobId, who: &str) -> Result<Job, OperateError> {
        let wish = ("cancelled", AuditAction::JobCancelled);
        self.operate(id, JobEvent::Cancel, wish, who).await
    }

    async fn operate(
        &self,
        id: JobId,
        event: JobEvent,
        (wish, what): (&'static str, AuditAction),
        who: &str,
    ) -> Result<Job, OperateError> {
        let mut tx = self.store().begin().await?;
        let job = jobs::lock(&mut tx, id)
            .await?
            .ok_or(OperateError::NotFound(id))?;
        let state = job.state.after(event).ok_or(OperateError::Refused {
            id,
            state: job.state,
            wish,
        })?;
        if state == JobState::Cancelled {
            let open = operations::open_of_job(&mut tx, id).await?;
            if let Some(operation) = open.into_iter().next() {
                let operation = operation.idempotency_key;
                return Err(OperateError::OpenOperation { id, operation });
            }
        }
        let now = self.clock().now();
        let note = format!("{wish} by {who}");
        let change = if event == JobEvent::Requeue {
            due_now(&job, now, &note)
        } else {
            JobChange {
                id,
                version: job.version,
                state,
                run_at: job.run_at,
                attempt: job.attempt,
                rescues: job.rescues,
                note,
                last_error: job.last_error.clone(),
                updated_at: now,
            }
        };
        self.change(&mut tx, &job, &change, event).await?;
        let entry = AuditEntry {
            who: who.to_owned(),
            what,
            subject: id.to_string(),
            detail: json!({"kind": job.kind.as_str(), "was": job.state.as_str(), "is": state.as_str()}),
        };
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
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
