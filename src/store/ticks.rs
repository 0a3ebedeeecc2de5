//! The clock's decisions: one row and one fate per tick of a schedule, whoever decides it.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;

use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};

statements! {
    FIRST_SEEN = "INSERT INTO schedules (name, first_seen_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    /// The last decided tick, or the instant from which the schedule is followed at all.
    DECIDED_UNTIL = "SELECT COALESCE((SELECT MAX(due_at) FROM ticks WHERE schedule = $1), \
                     (SELECT first_seen_at FROM schedules WHERE name = $1))";
    /// The unique key lets one replica decide.
    DECIDE = "INSERT INTO ticks (schedule, due_at, fate, job_id, decided_at) VALUES ($1, $2, $3, $4, $5) \
              ON CONFLICT (schedule, due_at) DO NOTHING";
    LIST = "SELECT schedule, due_at, fate FROM ticks ORDER BY due_at DESC, schedule LIMIT $1";
}

/// One tick and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The schedule's name.
    pub schedule: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What became of it: `fired`, `coalesced`, `skipped`, `missed`.
    pub fate: String,
}

/// The instant up to which every tick of the schedule is decided; a schedule seen for the first
/// time is followed from `now` on, never backwards.
pub async fn decided_until(
    tx: &mut Tx,
    schedule: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, StoreError> {
    let decided: Timestamp = on_both!(tx, Db, connection => {
        sqlx::query(FIRST_SEEN.text::<Db>())
            .bind(schedule)
            .bind(Timestamp(now))
            .execute(&mut *connection)
            .await?;
        sqlx::query_scalar(DECIDED_UNTIL.text::<Db>()).bind(schedule).fetch_one(connection).await?
    });
    Ok(decided.0)
}

/// Decides a tick; `false` when another replica did.
pub async fn decide(
    tx: &mut Tx,
    tick: &Tick,
    job_id: Option<JobId>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let decided = on_both!(tx, Db, connection => {
        sqlx::query(DECIDE.text::<Db>())
            .bind(tick.schedule.as_str())
            .bind(Timestamp(tick.due_at))
            .bind(tick.fate.as_str())
            .bind(job_id.map(|id| id.0))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(decided == 1)
}

/// Up to `limit` ticks, the newest first.
pub async fn list(tx: &mut Tx, limit: usize) -> Result<Vec<Tick>, StoreError> {
    let rows: Vec<(String, Timestamp, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST.text::<Db>())
            .bind(super::jobs::bound(limit))
            .fetch_all(connection)
            .await?
    });
    Ok(rows
        .into_iter()
        .map(|(schedule, due_at, fate)| Tick {
            schedule,
            due_at: due_at.0,
            fate,
        })
        .collect())
}
