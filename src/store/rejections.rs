//! `rejected_submissions`: what was refused at the door, kept with its bytes and the reason.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::bound;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};

/// A refused submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its id.
    pub id: Uuid,
    /// Where it came from: `redis clearday:{order_expiry}`, `http`, `cli`.
    pub source: String,
    /// The source's own number of it: a stream entry id, or our id where there is none.
    pub entry_id: String,
    /// The kind it named, as it was written.
    pub kind: Option<String>,
    /// The key it carried.
    pub idempotency_key: Option<String>,
    /// What was sent.
    pub raw: Vec<u8>,
    /// Why it was refused.
    pub reason: String,
    /// The job that already holds its key.
    pub job_id: Option<JobId>,
    /// When.
    pub rejected_at: DateTime<Utc>,
}

/// Keeps refused submissions; one that is delivered again is kept once.
///
/// They are written in one order, whatever order they come in, so that two batches with the same
/// entries cannot deadlock.
pub async fn insert(tx: &mut Tx, rejections: &[Rejection]) -> Result<(), StoreError> {
    let mut rejections: Vec<&Rejection> = rejections.iter().collect();
    rejections.sort_by_key(|rejection| (&rejection.source, &rejection.entry_id));
    for chunk in rejections.chunks(CHUNK_ROWS_MAX) {
        on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO rejected_submissions (id, source, entry_id, kind, idempotency_key, raw, reason, job_id, rejected_at) ",
            );
            query.push_values(chunk, |mut row, rejection| {
                row.push_bind(rejection.id)
                    .push_bind(rejection.source.as_str())
                    .push_bind(rejection.entry_id.as_str())
                    .push_bind(rejection.kind.as_deref())
                    .push_bind(rejection.idempotency_key.as_deref())
                    .push_bind(rejection.raw.as_slice())
                    .push_bind(rejection.reason.as_str())
                    .push_bind(rejection.job_id.map(|id| id.0))
                    .push_bind(Timestamp(rejection.rejected_at));
            });
            query.push(" ON CONFLICT (source, entry_id) DO NOTHING");
            query.build().execute(connection).await?;
        });
    }
    Ok(())
}

/// Up to `limit` refused submissions, the newest first, older than `before`.
pub async fn list(
    tx: &mut Tx,
    before: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Rejection>, StoreError> {
    let rows: Vec<RejectionRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT id, source, entry_id, kind, idempotency_key, raw, reason, job_id, rejected_at FROM rejected_submissions",
        );
        if let Some(before) = before {
            query.push(" WHERE id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

#[derive(FromRow)]
struct RejectionRow {
    id: Uuid,
    source: String,
    entry_id: String,
    kind: Option<String>,
    idempotency_key: Option<String>,
    raw: Vec<u8>,
    reason: String,
    job_id: Option<Uuid>,
    rejected_at: Timestamp,
}

impl From<RejectionRow> for Rejection {
    fn from(row: RejectionRow) -> Self {
        Self {
            id: row.id,
            source: row.source,
            entry_id: row.entry_id,
            kind: row.kind,
            idempotency_key: row.idempotency_key,
            raw: row.raw,
            reason: row.reason,
            job_id: row.job_id.map(JobId),
            rejected_at: row.rejected_at.0,
        }
    }
}
