//! The `operations` table: calls that change the outside world, written down before they are made.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, OperationId};
use sqlx::FromRow;
use uuid::Uuid;

use super::jobs::parse;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, words};
use crate::domain::operation::{Operation, OperationState};

statements! {
    INTEND = "INSERT INTO operations (id, job_id, kind, channel, reference, generation, idempotency_key, \
              state, detail, evidence, intended_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, 'intended', 'written down before the call', NULL, $8, $8)";
    /// What is proved stays proved: only an open operation learns.
    LEARN = "UPDATE operations SET state = $2, detail = $3, evidence = COALESCE($4, evidence), updated_at = $5 \
             WHERE id = $1 AND state IN ('intended', 'unknown')";
    RESENT = "UPDATE operations SET updated_at = $2 WHERE id = $1 AND state IN ('intended', 'unknown')";
    LATEST = "SELECT id, job_id, kind, channel, reference, generation, idempotency_key, state, intended_at, updated_at \
              FROM operations WHERE channel = $1 AND reference = $2 AND kind = $3 \
              ORDER BY generation DESC LIMIT 1";
    OPEN_OF_JOB = "SELECT id, job_id, kind, channel, reference, generation, idempotency_key, state, intended_at, updated_at \
                   FROM operations WHERE job_id = $1 AND state IN ('intended', 'unknown') ORDER BY id";
    OF_JOB = "SELECT id, kind, channel, reference, generation, idempotency_key, state, detail, evidence, intended_at, updated_at \
              FROM operations WHERE job_id = $1 ORDER BY id";
}

/// One operation as people see it.
#[derive(Clone, Debug)]
pub struct OperationView {
    /// Its id.
    pub id: OperationId,
    /// What it asked for.
    pub kind: String,
    /// Of whom.
    pub channel: String,
    /// About what.
    pub reference: String,
    /// Number of the key.
    pub generation: i64,
    /// The key.
    pub idempotency_key: String,
    /// What is known.
    pub state: String,
    /// In a sentence.
    pub detail: String,
    /// Request, answer and time, as JSON.
    pub evidence: Option<String>,
    /// When it was written down.
    pub intended_at: DateTime<Utc>,
    /// When something was last learned.
    pub updated_at: DateTime<Utc>,
}

/// Writes an operation down before its call is made.
///
/// # Errors
/// [`StoreError::Constraint`] when another one of its kind is open for the reference.
pub async fn intend(tx: &mut Tx, operation: &Operation) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(INTEND.text::<Db>())
            .bind(operation.id.0)
            .bind(operation.job_id.0)
            .bind(operation.kind.as_str())
            .bind(operation.channel.as_str())
            .bind(operation.reference.as_str())
            .bind(i64::from(operation.generation))
            .bind(operation.idempotency_key.as_str())
            .bind(Timestamp(operation.intended_at))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Records what was learned about an open operation; `false` when it was closed before.
pub async fn learn(
    tx: &mut Tx,
    id: OperationId,
    state: OperationState,
    detail: &str,
    evidence: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(LEARN.text::<Db>())
            .bind(id.0)
            .bind(state.as_str())
            .bind(words(detail))
            .bind(evidence)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Notes, before it is done, that the call of an open operation is made once more; `false` when it was closed before.
pub async fn note_resent(
    tx: &mut Tx,
    id: OperationId,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(RESENT.text::<Db>())
            .bind(id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// The newest operation of a kind about a reference.
pub(super) async fn latest(
    tx: &mut Tx,
    channel: &str,
    reference: &str,
    kind: &str,
) -> Result<Option<Operation>, StoreError> {
    let row: Option<OperationRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LATEST.text::<Db>())
            .bind(channel)
            .bind(reference)
            .bind(kind)
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// The operations of a job whose outcome is not proved.
pub async fn open_of_job(tx: &mut Tx, job_id: JobId) -> Result<Vec<Operation>, StoreError> {
    let rows: Vec<OperationRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OPEN_OF_JOB.text::<Db>()).bind(job_id.0).fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Every operation of a job, for people.
pub async fn of_job(tx: &mut Tx, job_id: JobId) -> Result<Vec<OperationView>, StoreError> {
    let rows: Vec<OperationViewRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_JOB.text::<Db>()).bind(job_id.0).fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

#[derive(FromRow)]
struct OperationRow {
    id: Uuid,
    job_id: Uuid,
    kind: String,
    channel: String,
    reference: String,
    generation: i64,
    idempotency_key: String,
    state: String,
    intended_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<OperationRow> for Operation {
    type Error = StoreError;

    fn try_from(row: OperationRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: OperationId(row.id),
            job_id: JobId(row.job_id),
            kind: parse("kind", &row.kind)?,
            channel: parse("channel", &row.channel)?,
            reference: parse("reference", &row.reference)?,
            generation: u32::try_from(row.generation)
                .map_err(|error| StoreError::corrupt("generation", error))?,
            idempotency_key: row.idempotency_key,
            state: parse("state", &row.state)?,
            intended_at: row.intended_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

#[derive(FromRow)]
struct OperationViewRow {
    id: Uuid,
    kind: String,
    channel: String,
    reference: String,
    generation: i64,
    idempotency_key: String,
    state: String,
    detail: String,
    evidence: Option<String>,
    intended_at: Timestamp,
    updated_at: Timestamp,
}

impl From<OperationViewRow> for OperationView {
    fn from(row: OperationViewRow) -> Self {
        Self {
            id: OperationId(row.id),
            kind: row.kind,
            channel: row.channel,
            reference: row.reference,
            generation: row.generation,
            idempotency_key: row.idempotency_key,
            state: row.state,
            detail: row.detail,
            evidence: row.evidence,
            intended_at: row.intended_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
