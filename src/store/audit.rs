//! `audit_log` and its head: the chain of what people did, appended in the transaction of what
//! they did.
//!
//! Whoever appends holds the head's row until the commit, which is the lock that makes it a chain.
//! It is taken last in a transaction, after every other row, so that two that append never wait
//! for each other: `engine/run.rs` does so for workers.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, QueryBuilder};

use super::jobs::bound;
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both, words};
use crate::domain::audit::{AuditEntry, AuditRow, ChainHead};

statements! {
    HEAD = "SELECT seq, sha256 FROM audit_head WHERE chain = 'audit_log'";
    LOCK_HEAD = "SELECT seq, sha256 FROM audit_head WHERE chain = 'audit_log'", postgres " FOR UPDATE";
    /// A compare-and-set, though the row is locked: a chain must never fork.
    MOVE_HEAD = "UPDATE audit_head SET seq = $2, sha256 = $3 WHERE chain = 'audit_log' AND seq = $1";
    AFTER = "SELECT seq, prev_sha256, sha256, at, who, what, subject, detail FROM audit_log \
             WHERE seq > $1 ORDER BY seq LIMIT $2";
    OF_SUBJECT = "SELECT seq, prev_sha256, sha256, at, who, what, subject, detail FROM audit_log \
                  WHERE subject = $1 ORDER BY seq";
}

/// Takes the chain for this transaction; nobody else appends until it ends.
///
/// # Errors
/// [`StoreError::Corrupt`] when the head is gone: nothing is appended to a chain without an end.
pub async fn lock_head(tx: &mut Tx) -> Result<ChainHead, StoreError> {
    let row: Option<HeadRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK_HEAD.text::<Db>()).fetch_optional(connection).await?
    });
    row.map(Into::into)
        .ok_or_else(|| StoreError::corrupt("audit_head", "the head of the chain is missing"))
}

/// Where the chain ends; `None` when somebody removed its head.
pub async fn head(tx: &mut Tx) -> Result<Option<ChainHead>, StoreError> {
    let row: Option<HeadRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(HEAD.text::<Db>()).fetch_optional(connection).await?
    });
    Ok(row.map(Into::into))
}

/// Appends to the chain. The last thing that a transaction does before its commit.
pub async fn append(
    tx: &mut Tx,
    entries: &[AuditEntry],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let first = lock_head(tx).await?;
    let mut head = first.clone();
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let row = head.next(&as_kept(entry), now);
        head = (&row).into();
        rows.push(row);
    }
    for chunk in rows.chunks(CHUNK_ROWS_MAX) {
        insert(tx, chunk).await?;
    }
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE_HEAD.text::<Db>())
            .bind(first.seq)
            .bind(head.seq)
            .bind(head.sha256.as_str())
            .execute(connection)
            .await?
            .rows_affected()
    });
    if moved == 1 {
        Ok(())
    } else {
        Err(StoreError::corrupt("audit_head", "a locked head moved"))
    }
}

/// What is digested is what is kept, so the words are made fit for the database first.
fn as_kept(entry: &AuditEntry) -> AuditEntry {
    AuditEntry {
        who: words(&entry.who),
        what: entry.what,
        subject: words(&entry.subject),
        detail: entry.detail.clone(),
    }
}

async fn insert(tx: &mut Tx, rows: &[AuditRow]) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO audit_log (seq, prev_sha256, sha256, at, who, what, subject, detail) ",
        );
        query.push_values(rows, |mut row, link| {
            row.push_bind(link.seq)
                .push_bind(link.prev_sha256.as_str())
                .push_bind(link.sha256.as_str())
                .push_bind(Timestamp(link.at))
                .push_bind(link.who.as_str())
                .push_bind(link.what.as_str())
                .push_bind(link.subject.as_str())
                .push_bind(link.detail.as_str());
        });
        query.build().execute(connection).await?;
    });
    Ok(())
}

/// Up to `limit` rows behind row `seq`, in the order of the chain.
pub async fn after(tx: &mut Tx, seq: i64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
    let rows: Vec<Row> = on_both!(tx, Db, connection => {
        sqlx::query_as(AFTER.text::<Db>())
            .bind(seq)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Everything that was done to one subject, in order.
pub async fn of_subject(tx: &mut Tx, subject: &str) -> Result<Vec<AuditRow>, StoreError> {
    let rows: Vec<Row> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_SUBJECT.text::<Db>()).bind(subject).fetch_all(connection).await?
    });
    Ok(rows.into_iter().map(Into::into).collect())
}

#[derive(FromRow)]
struct HeadRow {
    seq: i64,
    sha256: String,
}

impl From<HeadRow> for ChainHead {
    fn from(row: HeadRow) -> Self {
        Self {
            seq: row.seq,
            sha256: row.sha256,
        }
    }
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    prev_sha256: String,
    sha256: String,
    at: Timestamp,
    who: String,
    what: String,
    subject: String,
    detail: String,
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            prev_sha256: row.prev_sha256,
            sha256: row.sha256,
            at: row.at.0,
            who: row.who,
            what: row.what,
            subject: row.subject,
            detail: row.detail,
        }
    }
}
