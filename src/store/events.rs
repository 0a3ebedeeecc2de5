//! `job_events`: the history of every job, one row per change of state, never edited.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use sqlx::FromRow;

use super::columns::{Column, Rows};
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, words};
use crate::domain::job::JobState;

statements! {
    TIMELINE = "SELECT version, occurred_at, event, state, attempt, worker, reason FROM job_events \
                WHERE job_id = $1 ORDER BY version";
}

/// One change of state, about to be kept.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The job.
    pub job_id: JobId,
    /// The job's version after the change.
    pub version: i64,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What happened: a name of `JobEvent`, or `accepted`.
    pub event: &'static str,
    /// The state after it.
    pub state: JobState,
    /// The attempt it belongs to.
    pub attempt: u32,
    /// The worker that had it.
    pub worker: Option<String>,
    /// Why, for people.
    pub reason: String,
}

/// One line of a job's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// The job's version after the change.
    pub version: i64,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What happened.
    pub event: String,
    /// The state after it.
    pub state: String,
    /// The attempt it belongs to.
    pub attempt: i64,
    /// The worker that had it.
    pub worker: Option<String>,
    /// Why.
    pub reason: String,
}

/// Appends changes to the history.
pub async fn append(tx: &mut Tx, events: &[NewEvent]) -> Result<(), StoreError> {
    let of = |number: fn(&NewEvent) -> i64| events.iter().map(number).collect();
    let rows = Rows {
        before: "INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) ",
        columns: vec![
            Column::Uuids(events.iter().map(|event| event.job_id.0).collect()),
            Column::Numbers(of(|event| event.version)),
            Column::Instants(events.iter().map(|event| event.occurred_at).collect()),
            Column::Texts(events.iter().map(|event| event.event).collect()),
            Column::Texts(events.iter().map(|event| event.state.as_str()).collect()),
            Column::Numbers(of(|event| i64::from(event.attempt))),
            Column::OptionalTexts(events.iter().map(|event| event.worker.as_deref()).collect()),
            Column::Owned(events.iter().map(|event| words(&event.reason)).collect()),
        ],
        after: "",
    };
    rows.execute(tx).await?;
    Ok(())
}

/// Everything that happened to a job, in order.
pub async fn timeline(tx: &mut Tx, job_id: JobId) -> Result<Vec<TimelineEntry>, StoreError> {
    let rows: Vec<TimelineRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(TIMELINE.text::<Db>()).bind(job_id.0).fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

#[derive(FromRow)]
struct TimelineRow {
    version: i64,
    occurred_at: Timestamp,
    event: String,
    state: String,
    attempt: i64,
    worker: Option<String>,
    reason: String,
}

impl From<TimelineRow> for TimelineEntry {
    fn from(row: TimelineRow) -> Self {
        Self {
            version: row.version,
            occurred_at: row.occurred_at.0,
            event: row.event,
            state: row.state,
            attempt: row.attempt,
            worker: row.worker,
            reason: row.reason,
        }
    }
}
