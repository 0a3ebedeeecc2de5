//! `daemons`: who was at work lately. Only shown to people; leases are what decides.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};

statements! {
    NOTE_SEEN = "INSERT INTO daemons (name, release_version, started_at, seen_at) VALUES ($1, $2, $3, $3) \
                 ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at";
    NOTE_GONE = "DELETE FROM daemons WHERE name = $1";
    SEEN_SINCE = "SELECT name, release_version, started_at, seen_at FROM daemons WHERE seen_at >= $1 ORDER BY started_at, name";
    LAST_SEEN = "SELECT MAX(seen_at) FROM daemons";
    FORGET = "DELETE FROM daemons WHERE seen_at < $1";
}

/// A daemon that was at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSeen {
    /// The name it leases under, new at every start.
    pub name: String,
    /// Its release.
    pub release_version: String,
    /// When it was first heard of.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
}

/// Notes that a daemon is at work.
pub async fn note_seen(
    tx: &mut Tx,
    name: &str,
    release_version: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(NOTE_SEEN.text::<Db>())
            .bind(name)
            .bind(release_version)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Notes that a daemon has stopped.
pub async fn note_gone(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(NOTE_GONE.text::<Db>()).bind(name).execute(connection).await?;
    });
    Ok(())
}

/// The daemons that were heard of at this instant or later, the oldest first.
pub async fn seen_since(tx: &mut Tx, since: DateTime<Utc>) -> Result<Vec<DaemonSeen>, StoreError> {
    let rows: Vec<DaemonRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(SEEN_SINCE.text::<Db>())
            .bind(Timestamp(since))
            .fetch_all(connection)
            .await?
    });
    let daemons = rows.into_iter().map(|row| DaemonSeen {
        name: row.name,
        release_version: row.release_version,
        started_at: row.started_at.0,
        seen_at: row.seen_at.0,
    });
    Ok(daemons.collect())
}

/// When any daemon was last heard of.
pub async fn last_seen(tx: &mut Tx) -> Result<Option<DateTime<Utc>>, StoreError> {
    let last: Option<Timestamp> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(LAST_SEEN.text::<Db>()).fetch_one(connection).await?
    });
    Ok(last.map(|at| at.0))
}

/// Forgets daemons that were not heard of since; returns how many.
pub async fn forget(tx: &mut Tx, before: DateTime<Utc>) -> Result<u64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query(FORGET.text::<Db>())
            .bind(Timestamp(before))
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

#[derive(FromRow)]
struct DaemonRow {
    name: String,
    release_version: String,
    started_at: Timestamp,
    seen_at: Timestamp,
}
