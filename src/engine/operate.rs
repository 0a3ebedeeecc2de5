//! What operators may do to a job: retry it, cancel it. Neither moves money.

use clearday_jobs::JobId;

use super::Engine;
use crate::domain::job::{Job, JobEvent, JobState};
use crate::store::jobs::JobChange;
use crate::store::{StoreError, jobs, operations};

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
        let job = self.operate(id, JobEvent::Requeue, "retried", who).await?;
        self.ring([job.kind]);
        Ok(job)
    }

    /// Withdraws a job: at once when it waits, and when its worker lets go if it runs.
    pub async fn cancel(&self, id: JobId, who: &str) -> Result<Job, OperateError> {
        self.operate(id, JobEvent::Cancel, "cancelled", who).await
    }

    async fn operate(
        &self,
        id: JobId,
        event: JobEvent,
        wish: &'static str,
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
        let is_requeued = event == JobEvent::Requeue;
        let change = JobChange {
            id,
            version: job.version,
            state,
            run_at: if is_requeued { now } else { job.run_at },
            attempt: if is_requeued { 0 } else { job.attempt },
            rescues: if is_requeued { 0 } else { job.rescues },
            note: format!("{wish} by {who}"),
            last_error: job.last_error.clone(),
            updated_at: now,
        };
        self.change(&mut tx, &job, &change, event).await?;
        tx.commit().await?;
        let mut tx = self.store().read().await?;
        jobs::find(&mut tx, id)
            .await?
            .ok_or(OperateError::NotFound(id))
    }
}
