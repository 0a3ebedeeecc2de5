//! Reconciliation runs, their breaks, and every statement file that was ever offered.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::{COUNT_MAX, bound};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};

statements! {
    LATEST = "SELECT id, version, result_sha256 FROM reconciliation_runs WHERE channel = $1 AND scope = $2 \
              ORDER BY version DESC LIMIT 1";
    INSERT_RUN = "INSERT INTO reconciliation_runs (id, job_id, channel, scope, version, statements, result_sha256, \
                  summary, is_complete, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    /// What the newer version does not find any more is gone; it keeps its row.
    VANISH = "UPDATE breaks SET state = 'vanished', updated_at = $3 \
              WHERE last_run_id = $1 AND last_run_id <> $2 AND state = 'open'";
    /// What has that identity already is left to the next reading.
    RENAME = "UPDATE breaks SET identity = $2, break_name = $3, updated_at = $4 WHERE identity = $1 AND state = 'open' \
              AND NOT EXISTS (SELECT 1 FROM breaks other WHERE other.identity = $2)";
    HAS_RUN = "SELECT 1 FROM reconciliation_runs WHERE channel = $1 ORDER BY scope, version LIMIT 1";
    KEEP_FILE = "INSERT INTO statement_files (sha256, channel, file_name, content, verdict, reason, first_seen_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (sha256) DO UPDATE SET \
                 verdict = excluded.verdict, reason = excluded.reason, \
                 content = COALESCE(excluded.content, statement_files.content)";
    REFUSED_FILES = "SELECT file_name, sha256, content, reason FROM statement_files WHERE verdict = 'refused' \
                     ORDER BY first_seen_at DESC, sha256 LIMIT $1";
    LIST_RUNS = "SELECT id, job_id, channel, scope, version, summary, is_complete, created_at FROM reconciliation_runs \
                 ORDER BY id DESC LIMIT $1";
    LIST_BREAKS = "SELECT break_name, state, channel, kind, record_no, channel_trade_no, detail, at_risk_minor, currency, \
                   first_seen_at FROM breaks WHERE state = $1 ORDER BY id DESC LIMIT $2";
    COUNT_BREAKS = "SELECT COUNT(*) FROM (SELECT 1 FROM breaks WHERE state = $1 LIMIT $2) AS capped";
}

/// The newest version of a scope.
#[derive(Clone, Debug)]
pub struct LatestRun {
    /// Its id.
    pub id: Uuid,
    /// Its number; 1 is the first.
    pub version: i64,
    /// What it found, as a digest.
    pub result_sha256: String,
}

/// A run about to be written down.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Its id.
    pub id: Uuid,
    /// The job that made it.
    pub job_id: JobId,
    /// The channel.
    pub channel: &'a str,
    /// The days it covers; the same scope again is a new version.
    pub scope: &'a str,
    /// Its number.
    pub version: i64,
    /// The statements, as JSON.
    pub statements: &'a str,
    /// What it found, as a digest.
    pub result_sha256: &'a str,
    /// What it found, counted, as JSON.
    pub summary: &'a str,
    /// Whether everything has its disposition.
    pub is_complete: bool,
}

/// A break about to be written down, or seen again.
#[derive(Clone, Debug)]
pub struct NewBreak {
    /// Its id, if it is new.
    pub id: Uuid,
    /// The external fact it is about.
    pub identity: String,
    /// In what way the sides disagree.
    pub break_name: &'static str,
    /// What it is about, by [`crate::domain::reconciliation::BreakKind`].
    pub kind: &'static str,
    /// Our number.
    pub record_no: String,
    /// The channel's number.
    pub channel_trade_no: String,
    /// Both sides, as JSON.
    pub detail: String,
    /// The channel's signed cash minus ours.
    pub at_risk_minor: i64,
    /// Of `at_risk_minor`.
    pub currency: &'static str,
}

/// A statement file as it was offered.
#[derive(Clone, Debug)]
pub struct NewFile<'a> {
    /// Of the file as it lies in the folder.
    pub sha256: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// Its name in the folder.
    pub file_name: &'a str,
    /// Its bytes, kept when it was refused.
    pub content: Option<&'a [u8]>,
    /// Why it was refused.
    pub refusal: Option<&'a str>,
}

/// A run as people see it.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Its id.
    pub id: Uuid,
    /// The job that made it.
    pub job_id: JobId,
    /// The channel.
    pub channel: String,
    /// The days it covers.
    pub scope: String,
    /// Its number.
    pub version: i64,
    /// What it found, counted, as JSON.
    pub summary: String,
    /// Whether everything has its disposition.
    pub is_complete: bool,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A break as people see it.
#[derive(Clone, Debug)]
pub struct BreakView {
    /// In what way the sides disagree.
    pub break_name: String,
    /// `open` or `vanished`.
    pub state: String,
    /// The channel.
    pub channel: String,
    /// What it is about: `payment`, `refund`, `payout` or `deposit`.
    pub kind: String,
    /// Our number.
    pub record_no: Option<String>,
    /// The channel's number.
    pub channel_trade_no: Option<String>,
    /// Both sides, as JSON.
    pub detail: String,
    /// The channel's signed cash minus ours.
    pub at_risk_minor: i64,
    /// Of `at_risk_minor`.
    pub currency: String,
    /// When a run found it first.
    pub first_seen_at: DateTime<Utc>,
}

/// The newest version of a scope, if there is one.
pub async fn latest(
    tx: &mut Tx,
    channel: &str,
    scope: &str,
) -> Result<Option<LatestRun>, StoreError> {
    let row: Option<(Uuid, i64, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(LATEST.text::<Db>())
            .bind(channel)
            .bind(scope)
            .fetch_optional(connection)
            .await?
    });
    Ok(row.map(|(id, version, result_sha256)| LatestRun {
        id,
        version,
        result_sha256,
    }))
}

/// Writes a run down.
///
/// # Errors
/// [`StoreError::Constraint`] when another run took the version meanwhile.
pub async fn insert_run(
    tx: &mut Tx,
    run: &NewRun<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(INSERT_RUN.text::<Db>())
            .bind(run.id)
            .bind(run.job_id.0)
            .bind(run.channel)
            .bind(run.scope)
            .bind(run.version)
            .bind(run.statements)
            .bind(run.result_sha256)
            .bind(run.summary)
            .bind(i64::from(run.is_complete))
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Writes breaks down, or notes that a run saw them again; without a run, they follow from what people decided.
pub async fn upsert_breaks(
    tx: &mut Tx,
    channel: &str,
    run_id: Option<Uuid>,
    breaks: &[NewBreak],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for chunk in breaks.chunks(CHUNK_ROWS_MAX) {
        on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO breaks (id, identity, break_name, state, channel, kind, record_no, channel_trade_no, \
                 detail, at_risk_minor, currency, first_run_id, last_run_id, first_seen_at, updated_at) ",
            );
            query.push_values(chunk, |mut row, found| {
                row.push_bind(found.id)
                    .push_bind(found.identity.as_str())
                    .push_bind(found.break_name)
                    .push("'open'")
                    .push_bind(channel)
                    .push_bind(found.kind)
                    .push_bind(found.record_no.as_str())
                    .push_bind(found.channel_trade_no.as_str())
                    .push_bind(found.detail.as_str())
                    .push_bind(found.at_risk_minor)
                    .push_bind(found.currency)
                    .push_bind(run_id)
                    .push_bind(run_id)
                    .push_bind(Timestamp(now))
                    .push_bind(Timestamp(now));
            });
            query.push(
                // A second payment is opened and closed with the books, and not by whoever reads its line again.
                " ON CONFLICT (identity) DO UPDATE SET state = CASE WHEN breaks.kind = 'payout' \
                 AND breaks.break_name = 'duplicate_theirs' THEN breaks.state ELSE 'open' END, detail = excluded.detail, \
                 at_risk_minor = excluded.at_risk_minor, \
                 last_run_id = COALESCE(excluded.last_run_id, breaks.last_run_id), \
                 updated_at = excluded.updated_at",
            );
            query.build().execute(connection).await?;
        });
    }
    Ok(())
}

/// Marks what the earlier run saw and the newer one did not; returns how many.
pub async fn vanish_unseen(
    tx: &mut Tx,
    earlier: Uuid,
    newer: Uuid,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query(VANISH.text::<Db>())
            .bind(earlier)
            .bind(newer)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

/// Marks breaks by their identities: what was missing has come. Returns how many stood open.
pub async fn vanish(
    tx: &mut Tx,
    identities: &[String],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut vanished: u64 = 0;
    for chunk in identities.chunks(CHUNK_ROWS_MAX) {
        let moved = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new("UPDATE breaks SET state = 'vanished', updated_at = ");
            query.push_bind(Timestamp(now)).push(" WHERE state = 'open' AND identity IN (");
            let mut list = query.separated(", ");
            for identity in chunk {
                list.push_bind(identity.as_str());
            }
            query.push(")");
            query.build().persistent(false).execute(connection).await?.rows_affected()
        });
        vanished = vanished.saturating_add(moved);
    }
    Ok(vanished)
}

/// Gives a break that stands open the identity and the name it has by what is known now; `false` when it does not.
pub async fn rename_break(
    tx: &mut Tx,
    identity: &str,
    (to_identity, to_name): (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(RENAME.text::<Db>())
            .bind(identity)
            .bind(to_identity)
            .bind(to_name)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Which of these identities are breaks that stand open.
pub async fn open_among(tx: &mut Tx, identities: &[String]) -> Result<HashSet<String>, StoreError> {
    let mut open = HashSet::new();
    for chunk in identities.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<(String,)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT identity FROM breaks WHERE state = 'open' AND identity IN (",
            );
            let mut list = query.separated(", ");
            for identity in chunk {
                list.push_bind(identity.as_str());
            }
            query.push(") ORDER BY identity");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        open.extend(rows.into_iter().map(|(identity,)| identity));
    }
    Ok(open)
}

/// Whether a statement of this channel or bank was ever recorded.
pub async fn has_run(tx: &mut Tx, channel: &str) -> Result<bool, StoreError> {
    let row: Option<(i32,)> = on_both!(tx, Db, connection => {
        sqlx::query_as(HAS_RUN.text::<Db>()).bind(channel).fetch_optional(connection).await?
    });
    Ok(row.is_some())
}

/// Remembers a statement file; one that was offered before is noticed by its digest, and the newest
/// verdict on it stands.
pub async fn keep_file(
    tx: &mut Tx,
    file: &NewFile<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let verdict = if file.refusal.is_some() {
        "refused"
    } else {
        "accepted"
    };
    on_both!(tx, Db, connection => {
        sqlx::query(KEEP_FILE.text::<Db>())
            .bind(file.sha256)
            .bind(file.channel)
            .bind(file.file_name)
            .bind(file.content)
            .bind(verdict)
            .bind(file.refusal)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// A statement file that was refused.
#[derive(Clone, Debug, FromRow)]
pub struct RefusedFile {
    /// Its name in the folder.
    pub file_name: String,
    /// Of its bytes.
    pub sha256: String,
    /// Its bytes.
    pub content: Option<Vec<u8>>,
    /// Why.
    pub reason: Option<String>,
}

/// Up to `limit` refused statement files, the newest first.
pub async fn refused_files(tx: &mut Tx, limit: usize) -> Result<Vec<RefusedFile>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(REFUSED_FILES.text::<Db>())
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    }))
}

/// Up to `limit` runs, the newest first.
pub async fn list_runs(tx: &mut Tx, limit: usize) -> Result<Vec<RunView>, StoreError> {
    let rows: Vec<RunRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST_RUNS.text::<Db>()).bind(bound(limit)).fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Up to `limit` breaks in this state, the newest first.
pub async fn list_breaks(
    tx: &mut Tx,
    state: &str,
    limit: usize,
) -> Result<Vec<BreakView>, StoreError> {
    let rows: Vec<BreakRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST_BREAKS.text::<Db>())
            .bind(state)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// How many breaks are in this state, counted up to [`COUNT_MAX`].
pub async fn count_breaks(tx: &mut Tx, state: &str) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(COUNT_BREAKS.text::<Db>())
            .bind(state)
            .bind(COUNT_MAX)
            .fetch_one(connection)
            .await?
    }))
}

#[derive(FromRow)]
struct RunRow {
    id: Uuid,
    job_id: Uuid,
    channel: String,
    scope: String,
    version: i64,
    summary: String,
    is_complete: i64,
    created_at: Timestamp,
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        Self {
            id: row.id,
            job_id: JobId(row.job_id),
            channel: row.channel,
            scope: row.scope,
            version: row.version,
            summary: row.summary,
            is_complete: row.is_complete == 1,
            created_at: row.created_at.0,
        }
    }
}

#[derive(FromRow)]
struct BreakRow {
    break_name: String,
    state: String,
    channel: String,
    kind: String,
    record_no: Option<String>,
    channel_trade_no: Option<String>,
    detail: String,
    at_risk_minor: i64,
    currency: String,
    first_seen_at: Timestamp,
}

impl From<BreakRow> for BreakView {
    fn from(row: BreakRow) -> Self {
        Self {
            break_name: row.break_name,
            state: row.state,
            channel: row.channel,
            kind: row.kind,
            record_no: row.record_no,
            channel_trade_no: row.channel_trade_no,
            detail: row.detail,
            at_risk_minor: row.at_risk_minor,
            currency: row.currency,
            first_seen_at: row.first_seen_at.0,
        }
    }
}
