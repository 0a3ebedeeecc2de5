//! The clock's decisions: one row and one fate per tick of a schedule, whoever decides it.

use chrono::{DateTime, Utc};
use clearday_jobs::JobId;
use sqlx::QueryBuilder;

use super::jobs::{bound, parse};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::schedule::TickFate;

statements! {
    FIRST_SEEN = "INSERT INTO schedules (name, first_seen_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    /// The last decided tick, or the instant from which the schedule is followed at all.
    DECIDED_UNTIL = "SELECT COALESCE((SELECT MAX(due_at) FROM ticks WHERE schedule = $1), \
                     (SELECT first_seen_at FROM schedules WHERE name = $1))";
    LIST = "SELECT schedule, due_at, fate FROM ticks ORDER BY due_at DESC, schedule LIMIT $1";
}

/// One tick and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The schedule's name.
    pub schedule: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What became of it.
    pub fate: TickFate,
}

/// The fate of one tick, about to be written down.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What becomes of it.
    pub fate: TickFate,
    /// The job that it starts, if it fires.
    pub job_id: Option<JobId>,
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

/// Decides ticks of a schedule, which are ascending; `false` when another replica decided one of them. The unique key
/// lets one replica decide.
pub async fn decide_all(
    tx: &mut Tx,
    schedule: &str,
    decisions: &[Decision],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    for chunk in decisions.chunks(CHUNK_ROWS_MAX) {
        let decided = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO ticks (schedule, due_at, fate, job_id, decided_at) ",
            );
            query.push_values(chunk, |mut row, tick| {
                row.push_bind(schedule)
                    .push_bind(Timestamp(tick.due_at))
                    .push_bind(tick.fate.as_str())
                    .push_bind(tick.job_id.map(|id| id.0))
                    .push_bind(Timestamp(now));
            });
            query.push(" ON CONFLICT (schedule, due_at) DO NOTHING");
            query.build().execute(connection).await?.rows_affected()
        });
        if u64::try_from(chunk.len()) != Ok(decided) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Up to `limit` ticks, the newest first.
pub async fn list(tx: &mut Tx, limit: usize) -> Result<Vec<Tick>, StoreError> {
    let rows: Vec<(String, Timestamp, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST.text::<Db>())
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter()
        .map(|(schedule, due_at, fate)| {
            Ok(Tick {
                schedule,
                due_at: due_at.0,
                fate: parse("fate", &fate)?,
            })
        })
        .collect()
}
