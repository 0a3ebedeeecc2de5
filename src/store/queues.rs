//! `queues`: which kinds of job people have paused. A kind without a row was never paused.

use chrono::{DateTime, Utc};
use clearday_jobs::JobKind;
use sqlx::FromRow;

use super::jobs::parse;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, words};

statements! {
    /// Who pauses first is who is named.
    PAUSE = "INSERT INTO queues (kind, paused_at, paused_by, reason, version, updated_at) VALUES ($1, $2, $3, $4, 1, $2) \
             ON CONFLICT (kind) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, \
             reason = excluded.reason, version = queues.version + 1, updated_at = excluded.updated_at \
             WHERE queues.paused_at IS NULL";
    RESUME = "UPDATE queues SET paused_at = NULL, paused_by = NULL, reason = NULL, version = version + 1, updated_at = $2 \
              WHERE kind = $1 AND paused_at IS NOT NULL";
    PAUSED = "SELECT kind, paused_at, paused_by, reason FROM queues WHERE paused_at IS NOT NULL ORDER BY kind";
}

/// That nobody takes jobs of a kind, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub paused_at: DateTime<Utc>,
    /// Who wished it.
    pub paused_by: String,
    /// Why, in their words.
    pub reason: String,
}

/// Pauses a queue; `false` when it was paused already.
pub async fn pause(tx: &mut Tx, kind: JobKind, pause: &Pause) -> Result<bool, StoreError> {
    let changed = on_both!(tx, Db, connection => {
        sqlx::query(PAUSE.text::<Db>())
            .bind(kind.as_str())
            .bind(Timestamp(pause.paused_at))
            .bind(words(&pause.paused_by))
            .bind(words(&pause.reason))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(changed == 1)
}

/// Resumes a queue; `false` when it was not paused.
pub async fn resume(tx: &mut Tx, kind: JobKind, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let changed = on_both!(tx, Db, connection => {
        sqlx::query(RESUME.text::<Db>())
            .bind(kind.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(changed == 1)
}

/// Every queue that is paused. One of a kind that only a newer release knows is passed over.
pub async fn paused(tx: &mut Tx) -> Result<Vec<(JobKind, Pause)>, StoreError> {
    let rows: Vec<PausedRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(PAUSED.text::<Db>()).fetch_all(connection).await?
    });
    let known = rows.into_iter().filter_map(|row| {
        let kind = parse("kind", &row.kind).ok()?;
        let pause = Pause {
            paused_at: row.paused_at.0,
            paused_by: row.paused_by,
            reason: row.reason,
        };
        Some((kind, pause))
    });
    Ok(known.collect())
}

/// Why this queue is paused; `None` when it is not.
pub async fn find_pause(tx: &mut Tx, kind: JobKind) -> Result<Option<Pause>, StoreError> {
    let paused = paused(tx).await?;
    let found = paused.into_iter().find(|(of, _)| *of == kind);
    Ok(found.map(|(_, pause)| pause))
}

#[derive(FromRow)]
struct PausedRow {
    kind: String,
    paused_at: Timestamp,
    paused_by: String,
    reason: String,
}
