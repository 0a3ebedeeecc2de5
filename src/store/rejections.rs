//! `rejected_submissions`: what was refused at the door, kept with its bytes and the reason.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::bound;
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};

statements! {
    FIND = "SELECT id, source, entry_id, kind, idempotency_key, raw, reason, job_id, rejected_at, mended_job_id \
            FROM rejected_submissions WHERE id = $1";
    LOCK = "SELECT id, source, entry_id, kind, idempotency_key, raw, reason, job_id, rejected_at, mended_job_id \
            FROM rejected_submissions WHERE id = $1", postgres " FOR UPDATE";
    NOTE_MENDED = "UPDATE rejected_submissions SET mended_job_id = $2 WHERE id = $1 AND mended_job_id IS NULL";
}

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
    /// The job that does what it asked for, once somebody mended it.
    pub mended_job_id: Option<JobId>,
}

/// A refused submission with the beginning of what was sent, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionPreview {
    /// The refused submission; `raw` is cut.
    pub rejection: Rejection,
    /// How many bytes are kept.
    pub raw_bytes: u64,
}

/// Bytes of `raw` in a preview: a screenful, so that a page of large refusals stays small.
pub const PREVIEW_BYTES_MAX: i64 = 2_000;

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
            "SELECT id, source, entry_id, kind, idempotency_key, raw, reason, job_id, rejected_at, mended_job_id FROM rejected_submissions",
        );
        if let Some(before) = before {
            query.push(" WHERE id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// As [`list`], but with the beginning of `raw` only.
pub async fn list_previews(
    tx: &mut Tx,
    before: Option<Uuid>,
    limit: usize,
) -> Result<Vec<RejectionPreview>, StoreError> {
    let rows: Vec<PreviewRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT id, source, entry_id, kind, idempotency_key, substr(raw, 1, ",
        );
        query.push(PREVIEW_BYTES_MAX);
        query.push(
            ") AS raw, reason, job_id, rejected_at, mended_job_id, CAST(length(raw) AS BIGINT) AS raw_bytes FROM rejected_submissions",
        );
        if let Some(before) = before {
            query.push(" WHERE id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The refused submission, if it is known.
pub async fn find(tx: &mut Tx, id: Uuid) -> Result<Option<Rejection>, StoreError> {
    let row: Option<RejectionRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>()).bind(id).fetch_optional(connection).await?
    });
    Ok(row.map(Into::into))
}

/// The refused submission, locked.
pub async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<Rejection>, StoreError> {
    let row: Option<RejectionRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK.text::<Db>()).bind(id).fetch_optional(connection).await?
    });
    Ok(row.map(Into::into))
}

/// Links a refused submission, which is locked by the caller, to the job that does what it asked for.
pub async fn note_mended(tx: &mut Tx, id: Uuid, job_id: JobId) -> Result<(), StoreError> {
    let noted = on_both!(tx, Db, connection => {
        sqlx::query(NOTE_MENDED.text::<Db>())
            .bind(id)
            .bind(job_id.0)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if noted == 1 {
        Ok(())
    } else {
        Err(StoreError::corrupt("mended_job_id", "a locked row changed"))
    }
}

#[derive(FromRow)]
struct PreviewRow {
    #[sqlx(flatten)]
    rejection: RejectionRow,
    raw_bytes: i64,
}

impl From<PreviewRow> for RejectionPreview {
    fn from(row: PreviewRow) -> Self {
        Self {
            rejection: row.rejection.into(),
            raw_bytes: u64::try_from(row.raw_bytes).unwrap_or(0),
        }
    }
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
    mended_job_id: Option<Uuid>,
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
            mended_job_id: row.mended_job_id.map(JobId),
        }
    }
}
