//! "Why is this waiting?" has an answer for every job.

use chrono::{DateTime, Utc};

use super::Engine;
use crate::domain::job::{Job, JobState};
use crate::store::{StoreError, Tx, operations};

/// Why a job does not move, and when that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In a sentence.
    pub reason: String,
    /// When it is looked at again, where that is known.
    pub until: Option<DateTime<Utc>>,
}

impl Engine {
    /// Says why a job waits; `None` when it is done or cancelled.
    pub async fn explain(&self, tx: &mut Tx, job: &Job) -> Result<Option<Waiting>, StoreError> {
        let open = operations::open_of_job(tx, job.id).await?;
        let unknown = open.first().map(|operation| {
            format!(
                "; the outcome of {} is unknown since {}",
                operation.idempotency_key,
                operation.updated_at.to_rfc3339()
            )
        });
        let waiting = explain_state(job, self.clock().now());
        Ok(waiting.map(|mut waiting| {
            waiting.reason.push_str(&unknown.unwrap_or_default());
            waiting
        }))
    }
}

fn explain_state(job: &Job, now: DateTime<Utc>) -> Option<Waiting> {
    let at = |reason: String, until| Some(Waiting { reason, until });
    match job.state {
        JobState::Done | JobState::Cancelled => None,
        JobState::Dead => at(
            format!("buried: {}; retry it when the cause is mended", job.note),
            None,
        ),
        JobState::Running | JobState::Cancelling => {
            let lease = job.lease.as_ref();
            let worker = lease.map_or("nobody", |lease| lease.worker.as_str());
            let wish = if job.state == JobState::Cancelling {
                "; it is cancelled when the worker lets go"
            } else {
                ""
            };
            at(
                format!("running: its lease is held by {worker}{wish}"),
                lease.map(|l| l.until),
            )
        }
        JobState::Ready if job.run_at > now => {
            at(format!("not due: {}", job.note), Some(job.run_at))
        }
        JobState::Ready => at(
            format!(
                "due since {}: waits for a worker with free room",
                job.run_at.to_rfc3339()
            ),
            None,
        ),
    }
}
