//! Leasing what is due: what a claim looks at, and the statements by which jobs change hands.
//!
//! Looks lock nothing. What is taken is decided by the statement that takes it: what is ready and held by nobody else at
//! that moment.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use sqlx::{FromRow, SqliteConnection};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::events::{self, NewEvent};
use super::jobs::{JobRow, bound, job_columns, priority_of};
use super::statement::statements;
use super::{Store, StoreError, Timestamp, Tx, in_time, on_both};
use crate::domain::job::{Job, JobEvent, JobState, Priority};

/// The front of each priority, as long as the queue is not paused. One priority at a time, so that the walk over the
/// index starts at the oldest due row and never passes over what is not due.
///
/// The pause is read without a lock: a claim must not wait for whoever pauses, nor keep them waiting. A claim that is
/// under way while its queue is paused may still be committed, as if it had come a moment before.
macro_rules! due_of_all {
    ($lock:literal) => {
        concat!(
            "SELECT id, partition_key, priority FROM (SELECT * FROM (SELECT id, partition_key, priority FROM jobs \
             WHERE kind = $1 AND priority = 1 AND state = 'ready' AND run_at <= $2 ORDER BY run_at, id LIMIT $3",
            $lock,
            ") AS urgent UNION ALL SELECT * FROM (SELECT id, partition_key, priority FROM jobs WHERE kind = $1 \
             AND priority = 2 AND state = 'ready' AND run_at <= $2 ORDER BY run_at, id LIMIT $3",
            $lock,
            ") AS normal UNION ALL SELECT * FROM (SELECT id, partition_key, priority FROM jobs WHERE kind = $1 \
             AND priority = 3 AND state = 'ready' AND run_at <= $2 ORDER BY run_at, id LIMIT $3",
            $lock,
            ") AS bulk) AS due WHERE NOT EXISTS (SELECT 1 FROM queues WHERE kind = $1 AND paused_at IS NOT NULL)"
        )
    };
}

/// From the partition's own front, and not by passing over the due work of all others: written so that only the index
/// by partition has this order, whatever the database knows of what is in the table.
macro_rules! due_of_partition {
    ($limit:literal, $partition:literal) => {
        concat!(
            "SELECT id FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' AND partition_key >= ",
            $partition,
            " AND (partition_key, run_at) <= (",
            $partition,
            ", $3) ORDER BY partition_key, run_at, id LIMIT ",
            $limit
        )
    };
}

/// What a lease changes, besides naming whose it is and until when.
macro_rules! leased {
    () => {
        "state = 'running', version = version + 1, attempt = attempt + 1, lease_epoch = lease_epoch + 1, note = 'leased'"
    };
}

/// What is due, and with it the fronts of up to `$6` partitions of priority `$4` from `$5` on: from the front of one to the
/// front of the next, over the index.
macro_rules! look {
    ($fronts:literal) => {
        concat!(
            "SELECT id, partition_key, priority, TRUE AS is_due, 0 AS step FROM (",
            due_of_all!(""),
            ") AS oldest UNION ALL SELECT NULL, partition_key, $4, is_due, step FROM (",
            $fronts,
            ") AS front"
        )
    };
}

statements! {
    /// On Postgres one look at the index tells both where a partition begins and whether its front is due.
    LOOK = look!("WITH RECURSIVE fronts (partition_key, step) AS ( \
                  SELECT * FROM (SELECT partition_key, 1 FROM jobs WHERE kind = $1 AND priority = $4 AND state = 'ready' \
                  AND partition_key >= $5 AND $6 > 0 ORDER BY partition_key LIMIT 1) AS first \
                  UNION ALL \
                  SELECT (SELECT next.partition_key FROM jobs AS next WHERE next.kind = $1 AND next.priority = $4 \
                  AND next.state = 'ready' AND next.partition_key > fronts.partition_key \
                  ORDER BY next.partition_key LIMIT 1), fronts.step + 1 \
                  FROM fronts WHERE fronts.partition_key IS NOT NULL AND fronts.step < $6) \
                  SELECT partition_key, COALESCE((SELECT front.run_at FROM jobs AS front WHERE front.kind = $1 \
                  AND front.priority = $4 AND front.state = 'ready' AND front.partition_key >= fronts.partition_key \
                  ORDER BY front.partition_key, front.run_at LIMIT 1) <= $2, FALSE) AS is_due, step \
                  FROM fronts WHERE partition_key IS NOT NULL"),
           postgres_instead look!("WITH RECURSIVE fronts (partition_key, run_at, step) AS ( \
                  (SELECT partition_key, run_at, 1 FROM jobs WHERE kind = $1 AND priority = $4 AND state = 'ready' \
                  AND partition_key >= $5 AND $6 > 0 ORDER BY partition_key, run_at LIMIT 1) \
                  UNION ALL SELECT next.partition_key, next.run_at, fronts.step + 1 FROM fronts CROSS JOIN LATERAL ( \
                  SELECT partition_key, run_at FROM jobs WHERE kind = $1 AND priority = $4 AND state = 'ready' \
                  AND partition_key > fronts.partition_key ORDER BY partition_key, run_at LIMIT 1) AS next \
                  WHERE fronts.step < $6) SELECT partition_key, run_at <= $2 AS is_due, step FROM fronts");
    /// See [`LEASE_SHARES`].
    DUE_OF_PARTITION = due_of_partition!("$4", "$5");
    RUNNING = "SELECT partition_key, COUNT(*) FROM jobs WHERE state IN ('running', 'cancelling') AND kind = $1 \
               GROUP BY partition_key ORDER BY partition_key";
}

/// On Postgres only, where a journey costs more than the work: leases what `due` names and is ready, and notes it. By the
/// ids alone: a database that knows little of the table might else go over everything that is ready.
macro_rules! leasing {
    ($due:expr, now $now:literal, worker $worker:literal, until $until:literal, reason $reason:literal) => {
        concat!(
            "WITH ", $due, ", leased AS (UPDATE jobs SET ", leased!(), ", lease_worker = ", $worker, ", lease_until = ", $until,
            ", updated_at = ", $now, " FROM due WHERE id = due.job_id AND NULLIF(state, 'ready') IS NULL RETURNING ", job_columns!(),
            "), noted AS (INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) \
             SELECT id, version, updated_at, 'leased', state, attempt, lease_worker, ", $reason, " FROM leased) SELECT ",
            job_columns!(), " FROM leased"
        )
    };
}

/// What is due, unless there are as many as `$3`. Nobody needs to choose between fewer.
const LEASE_AT_ONCE: &str = leasing!(
    concat!(
        "found AS (", due_of_all!(" FOR UPDATE SKIP LOCKED"),
        "), due (job_id) AS (SELECT id FROM found WHERE (SELECT COUNT(*) FROM found) < $3)"
    ),
    now "$2", worker "$4", until "$5", reason "$6"
);
/// From the front of each partition its share.
const LEASE_SHARES: &str = leasing!(
    concat!(
        "due (job_id) AS (SELECT front.id FROM UNNEST($4::TEXT[], $5::BIGINT[]) AS told (whose, share) CROSS JOIN LATERAL (",
        due_of_partition!("told.share", "told.whose"),
        " FOR UPDATE SKIP LOCKED) AS front)"
    ),
    now "$3", worker "$6", until "$7", reason "$8"
);
/// These.
const LEASE_THESE: &str = leasing!(
    "due (job_id) AS (SELECT id FROM jobs WHERE id = ANY($1) AND NULLIF(state, 'ready') IS NULL FOR UPDATE SKIP LOCKED)",
    now "$2", worker "$3", until "$4", reason "$5"
);
/// On Postgres only, where several daemons look at the same limit.
const LOCK_KIND: &str = "SELECT pg_advisory_xact_lock(hashtext('clearday jobs'), hashtext($1))";

/// A due job, or the front of a partition.
#[derive(Debug, FromRow)]
struct LookedRow {
    id: Option<Uuid>,
    partition_key: String,
    priority: i16,
    is_due: bool,
    step: i32,
}

/// A due job and whose work it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The job.
    pub id: JobId,
    /// Whose; empty for nobody's in particular.
    pub partition: String,
    /// How urgent it is.
    pub priority: Priority,
}

/// Where the waiting work of a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Whose; empty for nobody's in particular.
    pub partition: String,
    /// Whether some of it is due.
    pub is_due: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Looked {
    /// The oldest due jobs of each priority.
    pub due: Vec<Due>,
    /// The fronts of partitions, in the order in which the database has their names.
    pub fronts: Vec<Front>,
}

/// Which jobs are meant by a claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Of this kind.
    pub kind: JobKind,
    /// Of this priority.
    pub priority: Priority,
    /// Due by now.
    pub now: DateTime<Utc>,
}

/// How far a look goes.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// At most so many due jobs of each priority.
    pub due_max: usize,
    /// The first partition of the claim's priority whose front is looked at.
    pub from: &'a str,
    /// At most so many partitions.
    pub fronts_max: usize,
}

/// The oldest due jobs of every priority of the claim's kind, none of a queue that is paused; and the partitions that have
/// waiting work of the claim's priority. Nothing is locked: somebody else may take them meanwhile.
pub async fn look(tx: &mut Tx, claim: Claim, look: Look<'_>) -> Result<Looked, StoreError> {
    let mut rows: Vec<LookedRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOOK.text::<Db>())
            .bind(claim.kind.as_str())
            .bind(Timestamp(claim.now))
            .bind(bound(look.due_max))
            .bind(claim.priority.as_i16())
            .bind(look.from)
            .bind(bound(look.fronts_max))
            .fetch_all(connection)
            .await?
    });
    rows.sort_by_key(|row| row.step);
    let mut looked = Looked::default();
    for row in rows {
        let partition = row.partition_key;
        match row.id {
            Some(id) => looked.due.push(Due {
                id: JobId(id),
                partition,
                priority: priority_of(row.priority)?,
            }),
            None => looked.fronts.push(Front {
                partition,
                is_due: row.is_due,
            }),
        }
    }
    Ok(looked)
}

/// How many jobs of a kind run now, by partition.
pub async fn running(tx: &mut Tx, kind: JobKind) -> Result<Vec<(String, usize)>, StoreError> {
    let rows: Vec<(String, i64)> = on_both!(tx, Db, connection => {
        sqlx::query_as(RUNNING.text::<Db>()).bind(kind.as_str()).fetch_all(connection).await?
    });
    Ok(rows
        .into_iter()
        .map(|(partition, count)| (partition, usize::try_from(count).unwrap_or(usize::MAX)))
        .collect())
}

/// Lets one daemon at a time lease jobs of a kind until the transaction ends, so that a limit over all of them holds.
pub async fn lock_kind(tx: &mut Tx, kind: JobKind) -> Result<(), StoreError> {
    if let Tx::Postgres(transaction) = tx {
        in_time(async {
            Ok(sqlx::query(LOCK_KIND)
                .bind(kind.as_str())
                .execute(&mut **transaction)
                .await?)
        })
        .await?;
    }
    Ok(())
}

/// A lease that begins.
#[derive(Clone, Debug)]
pub struct NewLease<'a> {
    /// Who takes it.
    pub worker: &'a str,
    /// From now.
    pub now: DateTime<Utc>,
    /// Until then.
    pub until: DateTime<Utc>,
    /// What its history says.
    pub reason: String,
}

/// Leases all that is due of a kind if that is at most `room` jobs, and notes it, in one journey and a transaction of
/// its own. Otherwise, and always on SQLite, leases nothing: [`look`] says what there is.
pub async fn lease_at_once(
    store: &Store,
    kind: JobKind,
    room: usize,
    lease: &NewLease<'_>,
) -> Result<Vec<Job>, StoreError> {
    let Store::Postgres { claimer, .. } = store else {
        return Ok(Vec::new());
    };
    let leased: Vec<JobRow> = in_time(async {
        Ok(sqlx::query_as(LEASE_AT_ONCE)
            .bind(kind.as_str())
            .bind(Timestamp(lease.now))
            .bind(bound(room.saturating_add(1)))
            .bind(lease.worker)
            .bind(Timestamp(lease.until))
            .bind(&lease.reason)
            .fetch_all(claimer)
            .await?)
    })
    .await?;
    leased.into_iter().map(TryInto::try_into).collect()
}

/// Leases so many due jobs of each of these partitions, from its front, each under its next epoch, and notes it. What
/// another daemon takes at this moment is passed over.
pub async fn lease_shares(
    tx: &mut Tx,
    claim: Claim,
    shares: &[(String, usize)],
    lease: &NewLease<'_>,
) -> Result<Vec<Job>, StoreError> {
    match tx {
        Tx::Postgres(transaction) => {
            let (whose, share): (Vec<&str>, Vec<i64>) = shares
                .iter()
                .map(|(partition, share)| (partition.as_str(), bound(*share)))
                .unzip();
            let leased = sqlx::query_as(LEASE_SHARES)
                .bind(claim.kind.as_str())
                .bind(claim.priority.as_i16())
                .bind(Timestamp(lease.now))
                .bind(whose)
                .bind(share)
                .bind(lease.worker)
                .bind(Timestamp(lease.until))
                .bind(&lease.reason)
                .fetch_all(&mut **transaction);
            let leased: Vec<JobRow> = in_time(async { Ok(leased.await?) }).await?;
            leased.into_iter().map(TryInto::try_into).collect()
        }
        Tx::Sqlite(transaction) => {
            let mut fronts: Vec<JobId> = Vec::new();
            for (partition, share) in shares {
                let connection: &mut SqliteConnection = transaction;
                let front = sqlx::query_scalar(DUE_OF_PARTITION.sqlite)
                    .bind(claim.kind.as_str())
                    .bind(claim.priority.as_i16())
                    .bind(Timestamp(lease.now))
                    .bind(bound(*share))
                    .bind(partition)
                    .fetch_all(connection);
                let front: Vec<Uuid> = in_time(async { Ok(front.await?) }).await?;
                fronts.extend(front.into_iter().map(JobId));
            }
            lease_these(tx, &fronts, lease).await
        }
    }
}

/// Leases those of the given jobs that are still ready, each under its next epoch, and notes it. What another daemon
/// takes at this moment is passed over.
pub async fn lease_these(
    tx: &mut Tx,
    ids: &[JobId],
    lease: &NewLease<'_>,
) -> Result<Vec<Job>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    if let Tx::Postgres(transaction) = tx {
        let leased = sqlx::query_as(LEASE_THESE)
            .bind(ids)
            .bind(Timestamp(lease.now))
            .bind(lease.worker)
            .bind(Timestamp(lease.until))
            .bind(&lease.reason)
            .fetch_all(&mut **transaction);
        let leased: Vec<JobRow> = in_time(async { Ok(leased.await?) }).await?;
        return leased.into_iter().map(TryInto::try_into).collect();
    }
    let count = ids.len();
    let rows = Rows {
        before: "WITH told (job_id, worker, until, at) AS (",
        columns: vec![
            Column::Uuids(ids),
            Column::Texts(vec![lease.worker; count]),
            Column::Instants(vec![lease.until; count]),
            Column::Instants(vec![lease.now; count]),
        ],
        after: concat!(
            ") UPDATE jobs SET ",
            leased!(),
            ", lease_worker = told.worker, lease_until = told.until, updated_at = told.at \
             FROM told WHERE id = told.job_id AND state = 'ready' RETURNING ",
            job_columns!()
        ),
    };
    let leased: Vec<JobRow> = rows.fetch(tx).await?;
    let leased: Vec<Job> = leased
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<_, StoreError>>()?;
    let noted: Vec<NewEvent> = leased
        .iter()
        .map(|job| NewEvent {
            job_id: job.id,
            version: job.version,
            occurred_at: lease.now,
            event: JobEvent::Lease.as_str(),
            state: JobState::Running,
            attempt: job.attempt,
            worker: Some(lease.worker.to_owned()),
            reason: lease.reason.clone(),
        })
        .collect();
    events::append(tx, &noted).await?;
    Ok(leased)
}
