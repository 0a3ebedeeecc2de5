//! Questions over many rows that only people ask: who holds leases, how much was refused.

use chrono::{DateTime, Utc};

use super::jobs::COUNT_MAX;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};

statements! {
    /// Only leased rows, of which there are as many as workers have room.
    LEASE_HOLDERS = "SELECT lease_worker, COUNT(*), MAX(lease_until) FROM jobs \
                     WHERE state IN ('running', 'cancelling') AND lease_worker IS NOT NULL \
                     GROUP BY lease_worker ORDER BY lease_worker";
    COUNT_REJECTIONS = "SELECT COUNT(*) FROM (SELECT 1 FROM rejected_submissions LIMIT $1) AS capped";
}

/// A daemon that has jobs in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The name it leases under.
    pub worker: String,
    /// How many jobs it has.
    pub jobs: i64,
    /// Until when, if it says nothing more.
    pub until: DateTime<Utc>,
}

/// The daemons that have jobs in hand, by name.
pub async fn lease_holders(tx: &mut Tx) -> Result<Vec<LeaseHolder>, StoreError> {
    let rows: Vec<(String, i64, Timestamp)> = on_both!(tx, Db, connection => {
        sqlx::query_as(LEASE_HOLDERS.text::<Db>()).fetch_all(connection).await?
    });
    let holders = rows.into_iter().map(|(worker, jobs, until)| LeaseHolder {
        worker,
        jobs,
        until: until.0,
    });
    Ok(holders.collect())
}

/// How many submissions were refused, counted up to [`COUNT_MAX`].
pub async fn count_rejections(tx: &mut Tx) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(COUNT_REJECTIONS.text::<Db>())
            .bind(COUNT_MAX)
            .fetch_one(connection)
            .await?
    }))
}
