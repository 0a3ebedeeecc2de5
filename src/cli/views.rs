//! What verbs print of jobs and submissions, as JSON. Instants are RFC 3339.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::domain::job::{Job, LeaseHold};
use crate::engine::Waiting;
use crate::store::events::TimelineEntry;
use crate::store::operations::OperationView;
use crate::store::rejections::Rejection;
use crate::store::retention::PrunedJob;

/// An instant as people and scripts read it.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A job in a list.
#[derive(Serialize)]
pub(super) struct JobLine {
    job_id: String,
    kind: &'static str,
    state: &'static str,
    idempotency_key: String,
    partition: Option<String>,
    source: String,
    run_at: String,
    attempt: u32,
    attempts_max: u32,
    rescues: u32,
    lease: Option<Lease>,
    note: String,
    last_error: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Lease {
    worker: String,
    until: String,
}

impl From<&LeaseHold> for Lease {
    fn from(hold: &LeaseHold) -> Self {
        Self {
            worker: hold.worker.clone(),
            until: instant(hold.until),
        }
    }
}

impl From<&Job> for JobLine {
    fn from(job: &Job) -> Self {
        Self {
            job_id: job.id.to_string(),
            kind: job.kind.as_str(),
            state: job.state.as_str(),
            idempotency_key: job.idempotency_key.clone(),
            partition: job.partition.clone(),
            source: job.source.clone(),
            run_at: instant(job.run_at),
            attempt: job.attempt,
            attempts_max: job.attempts_max,
            rescues: job.rescues,
            lease: job.lease.as_ref().map(Into::into),
            note: job.note.clone(),
            last_error: job.last_error.clone(),
            created_at: instant(job.created_at),
            updated_at: instant(job.updated_at),
        }
    }
}

/// Everything about one job.
#[derive(Serialize)]
pub(super) struct JobStory {
    #[serde(flatten)]
    job: JobLine,
    payload: Value,
    waiting: Option<WaitingView>,
    timeline: Vec<TimelineLine>,
    operations: Vec<OperationLine>,
}

#[derive(Serialize)]
struct WaitingView {
    reason: String,
    until: Option<String>,
    in_seconds: Option<u64>,
}

#[derive(Serialize)]
struct TimelineLine {
    version: i64,
    occurred_at: String,
    event: String,
    state: String,
    attempt: i64,
    worker: Option<String>,
    reason: String,
}

#[derive(Serialize)]
struct OperationLine {
    operation_id: String,
    kind: String,
    channel: String,
    reference: String,
    generation: i64,
    idempotency_key: String,
    state: String,
    detail: String,
    evidence: Option<Value>,
    intended_at: String,
    updated_at: String,
}

impl JobStory {
    pub(super) fn of(
        job: &Job,
        waiting: Option<&Waiting>,
        timeline: &[TimelineEntry],
        operations: &[OperationView],
    ) -> Self {
        Self {
            job: job.into(),
            payload: json_or_text(&job.payload),
            waiting: waiting.map(|waiting| WaitingView {
                reason: waiting.reason.clone(),
                until: waiting.until.map(instant),
                in_seconds: waiting.in_seconds,
            }),
            timeline: timeline.iter().map(Into::into).collect(),
            operations: operations.iter().map(Into::into).collect(),
        }
    }
}

/// What is left of a job that was pruned.
#[derive(Serialize)]
pub(super) struct PrunedStory {
    job_id: String,
    kind: &'static str,
    state: &'static str,
    idempotency_key: String,
    ended_at: String,
    pruned_at: String,
    timeline: Vec<TimelineLine>,
}

impl PrunedStory {
    pub(super) fn of(job: &PrunedJob, timeline: &[TimelineEntry]) -> Self {
        Self {
            job_id: job.id.to_string(),
            kind: job.kind.as_str(),
            state: job.state.as_str(),
            idempotency_key: job.idempotency_key.clone(),
            ended_at: instant(job.ended_at),
            pruned_at: instant(job.pruned_at),
            timeline: timeline.iter().map(Into::into).collect(),
        }
    }
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

impl From<&TimelineEntry> for TimelineLine {
    fn from(entry: &TimelineEntry) -> Self {
        Self {
            version: entry.version,
            occurred_at: instant(entry.occurred_at),
            event: entry.event.clone(),
            state: entry.state.clone(),
            attempt: entry.attempt,
            worker: entry.worker.clone(),
            reason: entry.reason.clone(),
        }
    }
}

impl From<&OperationView> for OperationLine {
    fn from(operation: &OperationView) -> Self {
        Self {
            operation_id: operation.id.to_string(),
            kind: operation.kind.clone(),
            channel: operation.channel.clone(),
            reference: operation.reference.clone(),
            generation: operation.generation,
            idempotency_key: operation.idempotency_key.clone(),
            state: operation.state.clone(),
            detail: operation.detail.clone(),
            evidence: operation.evidence.as_deref().map(json_or_text),
            intended_at: instant(operation.intended_at),
            updated_at: instant(operation.updated_at),
        }
    }
}

/// A submission that was refused.
#[derive(Serialize)]
pub(super) struct RejectionLine {
    rejection_id: String,
    rejected_at: String,
    source: String,
    entry_id: String,
    kind: Option<String>,
    idempotency_key: Option<String>,
    reason: String,
    job_id: Option<String>,
    mended_job_id: Option<String>,
    /// What was sent; bytes that are not UTF-8 are replaced.
    raw: String,
}

impl From<&Rejection> for RejectionLine {
    fn from(rejection: &Rejection) -> Self {
        Self {
            rejection_id: rejection.id.to_string(),
            rejected_at: instant(rejection.rejected_at),
            source: rejection.source.clone(),
            entry_id: rejection.entry_id.clone(),
            kind: rejection.kind.clone(),
            idempotency_key: rejection.idempotency_key.clone(),
            reason: rejection.reason.clone(),
            job_id: rejection.job_id.map(|id| id.to_string()),
            mended_job_id: rejection.mended_job_id.map(|id| id.to_string()),
            raw: String::from_utf8_lossy(&rejection.raw).into_owned(),
        }
    }
}
