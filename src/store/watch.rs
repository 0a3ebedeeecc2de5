//! What a simulation watches between two steps: few and cheap looks, and nothing that changes anything.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use uuid::Uuid;

use super::jobs::parse;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};
use crate::domain::operation::OperationState;

statements! {
    WAITING = "SELECT kind, MIN(run_at) FROM jobs WHERE state = 'ready' GROUP BY kind ORDER BY kind";
    LEASED = "SELECT COUNT(*) FROM jobs WHERE state IN ('running', 'cancelling')";
    DONE = "SELECT COUNT(*) FROM jobs WHERE state = 'done'";
    LEASE_OF = "SELECT lease_epoch FROM jobs WHERE id = $1 AND state IN ('running', 'cancelling')";
    CALLS = "SELECT idempotency_key, kind, reference, state FROM operations ORDER BY idempotency_key";
    RESTS = "SELECT EXISTS (SELECT 1 FROM notices WHERE id = $1 AND channel = 'webhook' AND state = 'unknown' \
             AND look_at IS NULL AND deadline <= $2)";
}

/// By kind, when the next waiting job may run.
pub async fn waiting(tx: &mut Tx) -> Result<Vec<(JobKind, DateTime<Utc>)>, StoreError> {
    let rows: Vec<(String, Timestamp)> = on_both!(tx, Db, connection => {
        sqlx::query_as(WAITING.text::<Db>()).fetch_all(connection).await?
    });
    rows.into_iter()
        .map(|(kind, at)| Ok((parse("kind", &kind)?, at.0)))
        .collect()
}

/// How many jobs are leased.
pub async fn leased(tx: &mut Tx) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(LEASED.text::<Db>()).fetch_one(connection).await?
    }))
}

/// How many rows were ever changed on this connection. Only SQLite tells; elsewhere none are.
pub async fn changes(tx: &mut Tx) -> Result<i64, StoreError> {
    match tx {
        Tx::Postgres(_) => Ok(0),
        Tx::Sqlite(transaction) => {
            let changes = sqlx::query_scalar("SELECT total_changes()");
            Ok(changes.fetch_one(&mut ***transaction).await?)
        }
    }
}

/// How many jobs are done.
pub async fn done(tx: &mut Tx) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(DONE.text::<Db>()).fetch_one(connection).await?
    }))
}

/// The epoch under which a job is leased now, if it is.
pub async fn lease_of(tx: &mut Tx, id: JobId) -> Result<Option<i64>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(LEASE_OF.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    }))
}

/// A call that was written down.
#[derive(Clone, Debug)]
pub struct WatchedCall {
    /// Its key.
    pub key: String,
    /// What it asked for.
    pub kind: String,
    /// About what.
    pub reference: String,
    /// What is known of it.
    pub state: OperationState,
}

/// Every call that was written down, by its key.
pub async fn calls(tx: &mut Tx) -> Result<Vec<WatchedCall>, StoreError> {
    let rows: Vec<(String, String, String, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(CALLS.text::<Db>()).fetch_all(connection).await?
    });
    rows.into_iter()
        .map(|(key, kind, reference, state)| {
            Ok(WatchedCall {
                key,
                kind,
                reference,
                state: parse("state", &state)?,
            })
        })
        .collect()
}

/// Whether a webhook rests whose answer was lost: nobody can be asked about it, and its deadline has come.
pub async fn rests(tx: &mut Tx, notice: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(RESTS.text::<Db>())
            .bind(notice)
            .bind(Timestamp(now))
            .fetch_one(connection)
            .await?
    }))
}
