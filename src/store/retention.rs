//! How finished jobs leave: what ended long ago is deleted in small batches, unless the books refer to it.
//!
//! A batch walks an index from the job that ended first and passes over rows that somebody else has locked, so it never
//! waits and nobody waits for it. Operations, ticks, approvals, entries of the ledger, settlements, authorizations,
//! notices and reconciliations are never deleted, nor the jobs that they name.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::jobs::{bound, parse};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::job::JobState;

/// Every table that refers to jobs. Each has an index on `job_id`, or a deleted job would cost a walk over all of it.
pub const REFERRING: [&str; 10] = [
    "approvals",
    "authorization_answers",
    "authorizations",
    "journal_entries",
    "notices",
    "operations",
    "reconciliation_runs",
    "settlements",
    "suspended_methods",
    "ticks",
];

statements! {
    /// The condition is the index's own, so that no row is met that stays.
    LOCK_ENDED = "SELECT id, kind, idempotency_key, state, updated_at FROM jobs \
                  WHERE state NOT IN ('ready', 'running', 'cancelling', 'dead') AND kept_at IS NULL AND updated_at < $1 \
                  ORDER BY updated_at, id LIMIT $2", postgres " FOR UPDATE SKIP LOCKED";
    /// As above, for whoever only counts.
    ENDED_AFTER = "SELECT id, kind, idempotency_key, state, updated_at FROM jobs \
                   WHERE state NOT IN ('ready', 'running', 'cancelling', 'dead') AND kept_at IS NULL AND updated_at < $1 \
                   AND (updated_at, id) > ($2, $3) ORDER BY updated_at, id LIMIT $4";
    LOCK_OVER = "SELECT id FROM pruned_jobs WHERE ended_at < $1 ORDER BY ended_at, id LIMIT $2", postgres " FOR UPDATE SKIP LOCKED";
    COUNT_OVER = "SELECT COUNT(*) FROM (SELECT 1 FROM pruned_jobs WHERE ended_at < $1 LIMIT $2) AS capped";
    FIND_PRUNED = "SELECT id, kind, idempotency_key, state, ended_at, pruned_at FROM pruned_jobs WHERE id = $1";
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// Its id.
    pub id: JobId,
    /// What it did, as it is stored: a kind that only a newer release knows ends as well.
    pub kind: String,
    /// The submitter's key.
    pub idempotency_key: String,
    /// How it ended.
    pub state: String,
    /// When.
    pub ended_at: DateTime<Utc>,
}

/// What is left of a job that was pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedJob {
    /// Its id.
    pub id: JobId,
    /// What it did.
    pub kind: JobKind,
    /// The submitter's key.
    pub idempotency_key: String,
    /// How it ended.
    pub state: JobState,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// When it was pruned.
    pub pruned_at: DateTime<Utc>,
}

/// Up to `limit` jobs that ended before an instant, locked, those that ended first before the others. Those that stay
/// for ever are not among them.
pub async fn lock_ended(
    tx: &mut Tx,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<EndedJob>, StoreError> {
    let rows: Vec<EndedRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK_ENDED.text::<Db>())
            .bind(Timestamp(before))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The same without a lock, behind `after`.
pub async fn ended_after(
    tx: &mut Tx,
    before: DateTime<Utc>,
    after: Option<&EndedJob>,
    limit: usize,
) -> Result<Vec<EndedJob>, StoreError> {
    let at = after.map_or(DateTime::UNIX_EPOCH, |job| job.ended_at);
    let id = after.map_or(Uuid::nil(), |job| job.id.0);
    let rows: Vec<EndedRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(ENDED_AFTER.text::<Db>())
            .bind(Timestamp(before))
            .bind(Timestamp(at))
            .bind(id)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Those of the jobs that a row which is never deleted refers to.
pub async fn referred_to(tx: &mut Tx, ids: &[JobId]) -> Result<Vec<JobId>, StoreError> {
    let mut found = Vec::new();
    for chunk in ids.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<Uuid> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new("SELECT id FROM jobs WHERE id IN (");
            push_ids(query.separated(", "), chunk);
            query.push(") AND (");
            for (place, table) in REFERRING.iter().enumerate() {
                let or = if place == 0 { "" } else { " OR " };
                query.push(format_args!("{or}EXISTS (SELECT 1 FROM {table} r WHERE r.job_id = jobs.id)"));
            }
            query.push(") ORDER BY id");
            query.build_query_scalar().fetch_all(connection).await?
        });
        found.extend(rows.into_iter().map(JobId));
    }
    Ok(found)
}

/// Marks jobs as staying for ever. They are locked by the caller.
pub async fn keep(tx: &mut Tx, ids: &[JobId], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in ids.chunks(CHUNK_ROWS_MAX) {
        on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new("UPDATE jobs SET kept_at = ");
            query.push_bind(Timestamp(now)).push(" WHERE id IN (");
            push_ids(query.separated(", "), chunk);
            query.push(")").build().execute(connection).await?;
        });
    }
    Ok(())
}

/// Remembers what jobs were, for as long as their histories stay.
pub async fn remember(
    tx: &mut Tx,
    jobs: &[EndedJob],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows = Rows {
        before: "INSERT INTO pruned_jobs (id, kind, idempotency_key, state, ended_at, pruned_at) ",
        columns: vec![
            Column::Uuids(jobs.iter().map(|job| job.id.0).collect()),
            Column::Texts(jobs.iter().map(|job| job.kind.as_str()).collect()),
            Column::Texts(
                jobs.iter()
                    .map(|job| job.idempotency_key.as_str())
                    .collect(),
            ),
            Column::Texts(jobs.iter().map(|job| job.state.as_str()).collect()),
            Column::Instants(jobs.iter().map(|job| job.ended_at).collect()),
            Column::Instants(vec![now; jobs.len()]),
        ],
        after: "",
    };
    rows.execute(tx).await?;
    Ok(())
}

/// Deletes jobs, which are locked by the caller; returns how many.
pub async fn delete_jobs(tx: &mut Tx, ids: &[JobId]) -> Result<u64, StoreError> {
    delete(tx, "DELETE FROM jobs WHERE id IN (", ids).await
}

/// Deletes the histories of jobs.
pub async fn delete_histories(tx: &mut Tx, ids: &[JobId]) -> Result<u64, StoreError> {
    delete(tx, "DELETE FROM job_events WHERE job_id IN (", ids).await
}

/// Deletes what was remembered of pruned jobs.
pub async fn forget(tx: &mut Tx, ids: &[JobId]) -> Result<u64, StoreError> {
    delete(tx, "DELETE FROM pruned_jobs WHERE id IN (", ids).await
}

async fn delete(tx: &mut Tx, statement: &'static str, ids: &[JobId]) -> Result<u64, StoreError> {
    let mut deleted = 0_u64;
    for chunk in ids.chunks(CHUNK_ROWS_MAX) {
        let rows = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(statement);
            push_ids(query.separated(", "), chunk);
            query.push(")").build().execute(connection).await?.rows_affected()
        });
        deleted = deleted.saturating_add(rows);
    }
    Ok(deleted)
}

/// Up to `limit` pruned jobs that ended before an instant, locked.
pub async fn lock_over(
    tx: &mut Tx,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<JobId>, StoreError> {
    let ids: Vec<Uuid> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(LOCK_OVER.text::<Db>())
            .bind(Timestamp(before))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(ids.into_iter().map(JobId).collect())
}

/// How many pruned jobs ended before an instant, counted up to `limit`.
pub async fn count_over(tx: &mut Tx, before: DateTime<Utc>, limit: i64) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(COUNT_OVER.text::<Db>())
            .bind(Timestamp(before))
            .bind(limit)
            .fetch_one(connection)
            .await?
    }))
}

/// What is left of a job that was pruned, if its history still stays.
pub async fn find_pruned(tx: &mut Tx, id: JobId) -> Result<Option<PrunedJob>, StoreError> {
    let row: Option<PrunedRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND_PRUNED.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

fn push_ids<'a, Db>(
    mut list: sqlx::query_builder::Separated<'_, Db, &'static str>,
    ids: &'a [JobId],
) where
    Db: sqlx::Database,
    Uuid: sqlx::Encode<'a, Db> + sqlx::Type<Db>,
{
    for id in ids {
        list.push_bind(id.0);
    }
}

#[derive(FromRow)]
struct EndedRow {
    id: Uuid,
    kind: String,
    idempotency_key: String,
    state: String,
    updated_at: Timestamp,
}

impl From<EndedRow> for EndedJob {
    fn from(row: EndedRow) -> Self {
        Self {
            id: JobId(row.id),
            kind: row.kind,
            idempotency_key: row.idempotency_key,
            state: row.state,
            ended_at: row.updated_at.0,
        }
    }
}

#[derive(FromRow)]
struct PrunedRow {
    id: Uuid,
    kind: String,
    idempotency_key: String,
    state: String,
    ended_at: Timestamp,
    pruned_at: Timestamp,
}

impl TryFrom<PrunedRow> for PrunedJob {
    type Error = StoreError;

    fn try_from(row: PrunedRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: JobId(row.id),
            kind: parse("kind", &row.kind)?,
            idempotency_key: row.idempotency_key,
            state: parse("state", &row.state)?,
            ended_at: row.ended_at.0,
            pruned_at: row.pruned_at.0,
        })
    }
}
