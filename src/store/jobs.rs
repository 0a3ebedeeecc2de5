//! The `jobs` table: the jobs themselves.
//!
//! No function here decides; `domain/job.rs` says which change follows which, and every change
//! names the state or version it expects.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use sqlx::{FromRow, QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, Statement, Store, StoreError, Timestamp, Tx, in_time, on_both, words};
use crate::domain::job::{Job, JobState, LeaseHold, Priority};

/// Counting stops here: a dashboard wants to know that there are many, not how many exactly.
pub const COUNT_MAX: i64 = 100_000;

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! job_columns {
    () => {
        "id, kind, priority, partition_key, idempotency_key, payload, source, state, version, run_at, attempt, \
         attempts_max, rescues, lease_worker, lease_epoch, lease_until, note, last_error, created_at, updated_at"
    };
}

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
            "SELECT id, partition_key FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' AND partition_key >= ",
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

statements! {
    DUE_OF_ALL = due_of_all!("");
    /// See [`LEASE_SHARES`].
    DUE_OF_PARTITION = due_of_partition!("$4", "$5");
    /// From the front of one partition to the front of the next, over the index, at most so many steps; the last
    /// column says whether its front is due. On Postgres one look at the index tells both.
    PARTITIONS = "WITH RECURSIVE fronts (partition_key, step) AS ( \
                  SELECT * FROM (SELECT partition_key, 1 FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' \
                  AND partition_key >= $3 ORDER BY partition_key LIMIT 1) AS first \
                  UNION ALL \
                  SELECT (SELECT next.partition_key FROM jobs AS next WHERE next.kind = $1 AND next.priority = $2 \
                  AND next.state = 'ready' AND next.partition_key > fronts.partition_key \
                  ORDER BY next.partition_key LIMIT 1), fronts.step + 1 \
                  FROM fronts WHERE fronts.partition_key IS NOT NULL AND fronts.step < $4) \
                  SELECT partition_key, COALESCE((SELECT front.run_at FROM jobs AS front WHERE front.kind = $1 \
                  AND front.priority = $2 AND front.state = 'ready' AND front.partition_key >= fronts.partition_key \
                  ORDER BY front.partition_key, front.run_at LIMIT 1) <= $5, FALSE) \
                  FROM fronts WHERE partition_key IS NOT NULL ORDER BY partition_key",
                  postgres_instead "WITH RECURSIVE fronts (partition_key, run_at, step) AS ( \
                  (SELECT partition_key, run_at, 1 FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' \
                  AND partition_key >= $3 ORDER BY partition_key, run_at LIMIT 1) \
                  UNION ALL SELECT next.partition_key, next.run_at, fronts.step + 1 FROM fronts CROSS JOIN LATERAL ( \
                  SELECT partition_key, run_at FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' \
                  AND partition_key > fronts.partition_key ORDER BY partition_key, run_at LIMIT 1) AS next \
                  WHERE fronts.step < $4) SELECT partition_key, run_at <= $5 FROM fronts ORDER BY partition_key";
    RUNNING = "SELECT partition_key, COUNT(*) FROM jobs WHERE state IN ('running', 'cancelling') AND kind = $1 \
               GROUP BY partition_key ORDER BY partition_key";
    /// The earliest instant at which a waiting job of this kind may run, as long as its queue is not paused; one
    /// priority at a time, each by the front of the index.
    NEXT_RUN_AT = "SELECT MIN(at) FROM (SELECT * FROM (SELECT run_at AS at FROM jobs WHERE kind = $1 AND priority = 1 \
                   AND state = 'ready' ORDER BY run_at LIMIT 1) AS urgent \
                   UNION ALL SELECT * FROM (SELECT run_at AS at FROM jobs WHERE kind = $1 AND priority = 2 \
                   AND state = 'ready' ORDER BY run_at LIMIT 1) AS normal \
                   UNION ALL SELECT * FROM (SELECT run_at AS at FROM jobs WHERE kind = $1 AND priority = 3 \
                   AND state = 'ready' ORDER BY run_at LIMIT 1) AS bulk) AS fronts \
                   WHERE NOT EXISTS (SELECT 1 FROM queues WHERE kind = $1 AND paused_at IS NOT NULL)";
    /// The row is locked until the transaction ends, so that no sweep takes it meanwhile.
    LOCK_LEASED = concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1 AND lease_epoch = $2 \
                   AND state IN ('running', 'cancelling')"), postgres " FOR UPDATE";
    LOCK = concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1"), postgres " FOR UPDATE";
    FIND = concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1");
    /// A compare-and-set on the version that the decision was made on.
    APPLY = "UPDATE jobs SET state = $3, version = version + 1, run_at = $4, attempt = $5, rescues = $6, \
             lease_worker = CASE WHEN $3 = 'cancelling' THEN lease_worker END, \
             lease_until = CASE WHEN $3 = 'cancelling' THEN lease_until END, \
             woken_at = CASE WHEN $3 = 'cancelling' THEN woken_at END, \
             note = $7, last_error = $8, updated_at = $9 \
             WHERE id = $1 AND version = $2";
    LAPSED = concat!("SELECT ", job_columns!(), " FROM jobs WHERE state IN ('running', 'cancelling') AND lease_until < $1 \
              AND kind = $2 ORDER BY lease_until, id LIMIT $3"), postgres " FOR UPDATE SKIP LOCKED";
    OF_WORKER = concat!("SELECT ", job_columns!(), " FROM jobs WHERE state IN ('running', 'cancelling') AND kind = $2 \
              AND lease_worker = $1 ORDER BY id LIMIT $3"), postgres " FOR UPDATE SKIP LOCKED";
    /// For a worker that may have looked before what it waits for happened.
    MARK_WOKEN = "UPDATE jobs SET woken_at = $2 WHERE id = $1 AND state IN ('running', 'cancelling')";
    WAS_WOKEN = "SELECT woken_at IS NOT NULL FROM jobs WHERE id = $1";
    LAST_CHANGE = "SELECT MAX(updated_at) FROM jobs";
    COUNT = "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = $1 AND kind = $2 LIMIT $3) AS capped";
    OLDEST_DUE = "SELECT (SELECT run_at FROM jobs WHERE kind = $1 AND priority = $2 AND state = 'ready' AND run_at <= $3 \
                  ORDER BY run_at LIMIT 1)";
}

/// On Postgres only, where a journey costs more than the work: leases what `due` names and notes it.
macro_rules! leasing {
    ($due:expr, now $now:literal, worker $worker:literal, until $until:literal, reason $reason:literal) => {
        concat!(
            "WITH ", $due, ", leased AS (UPDATE jobs SET ", leased!(), ", lease_worker = ", $worker, ", lease_until = ", $until,
            ", updated_at = ", $now, " FROM due WHERE id = due.job_id RETURNING ", job_columns!(),
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
/// These, by their ids alone: a database that knows little of the table might else go over everything that is ready.
const LEASE_THESE: &str = leasing!(
    "due (job_id) AS (SELECT id FROM jobs WHERE id = ANY($1) AND NULLIF(state, 'ready') IS NULL FOR UPDATE SKIP LOCKED)",
    now "$2", worker "$3", until "$4", reason "$5"
);
/// On Postgres only, where several daemons look at the same limit.
const LOCK_KIND: &str = "SELECT pg_advisory_xact_lock(hashtext('clearday jobs'), hashtext($1))";
/// On Postgres only.
const LOCK_IN_ORDER: &str = "SELECT 1 FROM jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE";
/// The end of a statement that is put together and locks what it reads.
const LOCKED: Statement = Statement {
    sqlite: "",
    postgres: " FOR UPDATE",
};

/// A job about to be written down for the first time.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// How urgent it is.
    pub priority: Priority,
    /// Whose work it is.
    pub partition: Option<String>,
    /// The submitter's key.
    pub idempotency_key: String,
    /// Canonical JSON.
    pub payload: String,
    /// Hexadecimal digest of `payload`.
    pub payload_sha256: String,
    /// Who submitted it.
    pub source: String,
    /// Not run before this instant.
    pub run_at: DateTime<Utc>,
    /// Buried when this many runs failed.
    pub attempts_max: u32,
    /// Why it waits.
    pub note: String,
    /// Now.
    pub created_at: DateTime<Utc>,
}

/// What is known of a job by its key.
#[derive(Clone, Debug)]
pub struct KeyedJob {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: JobKind,
    /// The submitter's key.
    pub idempotency_key: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Digest of its payload.
    pub payload_sha256: String,
}

/// One change of state, decided on `version`.
#[derive(Clone, Debug)]
pub struct JobChange {
    /// The job.
    pub id: JobId,
    /// The version the decision was made on.
    pub version: i64,
    /// The state it goes to.
    pub state: JobState,
    /// Not run before this instant.
    pub run_at: DateTime<Utc>,
    /// Attempts that count.
    pub attempt: u32,
    /// Lapsed leases.
    pub rescues: u32,
    /// Why, for people.
    pub note: String,
    /// What the last failed run said.
    pub last_error: Option<String>,
    /// Now.
    pub updated_at: DateTime<Utc>,
}

/// What a list of jobs is narrowed to; the list runs from the newest to the oldest.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this kind.
    pub kind: Option<JobKind>,
    /// Only this state.
    pub state: Option<JobState>,
    /// Only jobs accepted before this one (keyset pagination).
    pub before: Option<JobId>,
}

/// Writes down jobs whose key is new and returns their ids; known keys are passed over.
pub async fn insert(tx: &mut Tx, jobs: &[NewJob]) -> Result<Vec<JobId>, StoreError> {
    fn each<'a, T>(jobs: &'a [NewJob], value: impl Fn(&'a NewJob) -> T) -> Vec<T> {
        jobs.iter().map(value).collect()
    }
    let created = each(jobs, |job| job.created_at);
    let rows = Rows {
        before: "INSERT INTO jobs (id, kind, priority, partition_key, idempotency_key, payload, payload_sha256, source, state, version, \
               run_at, attempt, attempts_max, rescues, lease_epoch, note, created_at, updated_at) ",
        columns: vec![
            Column::Uuids(each(jobs, |job| job.id.0)),
            Column::Texts(each(jobs, |job| job.kind.as_str())),
            Column::SmallNumbers(each(jobs, |job| job.priority.as_i16())),
            Column::Texts(each(jobs, |job| {
                job.partition.as_deref().unwrap_or_default()
            })),
            Column::Texts(each(jobs, |job| job.idempotency_key.as_str())),
            Column::Texts(each(jobs, |job| job.payload.as_str())),
            Column::Texts(each(jobs, |job| job.payload_sha256.as_str())),
            Column::Texts(each(jobs, |job| job.source.as_str())),
            Column::Texts(each(jobs, |_| JobState::Ready.as_str())),
            Column::Numbers(each(jobs, |_| 1)),
            Column::Instants(each(jobs, |job| job.run_at)),
            Column::Numbers(each(jobs, |_| 0)),
            Column::Numbers(each(jobs, |job| i64::from(job.attempts_max))),
            Column::Numbers(each(jobs, |_| 0)),
            Column::Numbers(each(jobs, |_| 0)),
            Column::Texts(each(jobs, |job| job.note.as_str())),
            Column::Instants(created.clone()),
            Column::Instants(created),
        ],
        after: " ON CONFLICT (kind, idempotency_key) DO NOTHING RETURNING id",
    };
    let inserted: Vec<(Uuid,)> = rows.fetch(tx).await?;
    Ok(inserted.into_iter().map(|(id,)| JobId(id)).collect())
}

/// The jobs that hold these keys.
pub async fn find_by_keys(
    tx: &mut Tx,
    keys: &[(JobKind, &str)],
) -> Result<Vec<KeyedJob>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<KeyedJobRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT id, kind, idempotency_key, state, payload_sha256 FROM jobs WHERE (kind, idempotency_key) IN (",
            );
            query.push_values(chunk, |mut row, (kind, key)| {
                row.push_bind(kind.as_str()).push_bind(*key);
            });
            query.push(")");
            query.build_query_as().fetch_all(connection).await?
        });
        for row in rows {
            found.push(row.try_into()?);
        }
    }
    Ok(found)
}

/// A due job and whose work it is; the empty partition is nobody's in particular.
#[derive(Clone, Debug, FromRow)]
struct DueRow {
    id: Uuid,
    partition_key: String,
    priority: i16,
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

impl TryFrom<DueRow> for Due {
    type Error = StoreError;

    fn try_from(row: DueRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: JobId(row.id),
            partition: row.partition_key,
            priority: priority_of(row.priority)?,
        })
    }
}

fn priority_of(number: i16) -> Result<Priority, StoreError> {
    Priority::from_i16(number).ok_or_else(|| StoreError::corrupt("priority", number))
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

/// The oldest due jobs of each priority, up to `limit` of each; none of a queue that is paused. Nothing is locked:
/// somebody else may take them meanwhile.
pub async fn due(
    tx: &mut Tx,
    kind: JobKind,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let rows: Vec<DueRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(DUE_OF_ALL.text::<Db>())
            .bind(kind.as_str())
            .bind(Timestamp(now))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Up to `limit` partitions with waiting work, from `from` on in the order of their names, each with whether some of
/// it is due.
pub async fn partitions(
    tx: &mut Tx,
    claim: Claim,
    from: &str,
    limit: usize,
) -> Result<Vec<(String, bool)>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(PARTITIONS.text::<Db>())
            .bind(claim.kind.as_str())
            .bind(claim.priority.as_i16())
            .bind(from)
            .bind(bound(limit))
            .bind(Timestamp(claim.now))
            .fetch_all(connection)
            .await?
    }))
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
/// its own. Otherwise, and always on SQLite, leases nothing: [`due`] says what there is.
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
    let leased: Vec<JobRow> = if let Tx::Postgres(transaction) = tx {
        let leased = sqlx::query_as(LEASE_THESE)
            .bind(ids)
            .bind(Timestamp(lease.now))
            .bind(lease.worker)
            .bind(Timestamp(lease.until))
            .bind(&lease.reason)
            .fetch_all(&mut **transaction);
        in_time(async { Ok(leased.await?) }).await?
    } else {
        let told = || Column::Uuids(ids.clone());
        let leased = Rows {
            before: "WITH told (job_id, worker, until, at) AS (",
            columns: vec![
                told(),
                Column::Texts(vec![lease.worker; ids.len()]),
                Column::Instants(vec![lease.until; ids.len()]),
                Column::Instants(vec![lease.now; ids.len()]),
            ],
            after: concat!(
                ") UPDATE jobs SET ",
                leased!(),
                ", lease_worker = told.worker, lease_until = told.until, updated_at = told.at \
                 FROM told WHERE id = told.job_id AND state = 'ready' RETURNING ",
                job_columns!()
            ),
        };
        let noted = Rows {
            before: "WITH told (job_id, reason) AS (",
            columns: vec![
                told(),
                Column::Texts(vec![lease.reason.as_str(); ids.len()]),
            ],
            after: ") INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) \
                    SELECT id, version, updated_at, 'leased', state, attempt, lease_worker, told.reason \
                    FROM told JOIN jobs ON id = told.job_id",
        };
        let leased = leased.fetch(tx).await?;
        noted.execute(tx).await?;
        leased
    };
    leased.into_iter().map(TryInto::try_into).collect()
}

/// Extends the leases that are still held and returns whose they are; a missing id was lost. With
/// nothing held it changes nothing, and the database is asked all the same.
pub async fn renew(
    tx: &mut Tx,
    held: &[(JobId, i64)],
    until: DateTime<Utc>,
) -> Result<Vec<JobId>, StoreError> {
    let rows = Rows {
        before: "WITH told (job_id, epoch, until) AS (",
        columns: vec![
            Column::Uuids(held.iter().map(|(id, _)| id.0).collect()),
            Column::Numbers(held.iter().map(|(_, epoch)| *epoch).collect()),
            Column::Instants(vec![until; held.len()]),
        ],
        after: ") UPDATE jobs SET lease_until = told.until FROM told \
                WHERE id = told.job_id AND lease_epoch = told.epoch AND state IN ('running', 'cancelling') \
                RETURNING id",
    };
    lock_in_order(tx, held.iter().map(|(id, _)| *id)).await?;
    let renewed: Vec<(Uuid,)> = rows.fetch(tx).await?;
    Ok(renewed.into_iter().map(|(id,)| JobId(id)).collect())
}

/// A run's end, about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct RunEnd<'a> {
    /// The job.
    pub id: JobId,
    /// The lease under which it ran.
    pub epoch: i64,
    /// How it ended, for people.
    pub note: &'a str,
}

/// Marks leased jobs done, all of them in one statement, and returns those that were, with their new version and
/// attempt. One that is missing had lost its lease or was woken while it ran.
pub async fn finish_all(
    tx: &mut Tx,
    ends: &[RunEnd<'_>],
    now: DateTime<Utc>,
) -> Result<Vec<(JobId, i64, u32)>, StoreError> {
    let rows = Rows {
        before: "WITH told (job_id, epoch, words, at) AS (",
        columns: vec![
            Column::Uuids(ends.iter().map(|end| end.id.0).collect()),
            Column::Numbers(ends.iter().map(|end| end.epoch).collect()),
            Column::Owned(ends.iter().map(|end| words(end.note)).collect()),
            Column::Instants(vec![now; ends.len()]),
        ],
        after: ") UPDATE jobs SET state = 'done', version = version + 1, lease_worker = NULL, lease_until = NULL, \
                note = told.words, updated_at = told.at FROM told \
                WHERE id = told.job_id AND lease_epoch = told.epoch \
                AND (state = 'running' AND woken_at IS NULL OR state = 'cancelling') \
                RETURNING id, version, attempt",
    };
    lock_in_order(tx, ends.iter().map(|end| end.id)).await?;
    let finished: Vec<(Uuid, i64, i64)> = rows.fetch(tx).await?;
    finished
        .into_iter()
        .map(|(id, version, attempt)| Ok((JobId(id), version, count("attempt", attempt)?)))
        .collect()
}

/// Locks jobs in the order of their ids, so that two who change many at a time wait for each other and never
/// crosswise. SQLite has one writer at a time.
async fn lock_in_order(
    tx: &mut Tx,
    ids: impl Iterator<Item = JobId> + Send,
) -> Result<(), StoreError> {
    if let Tx::Postgres(transaction) = tx {
        let ids: Vec<Uuid> = ids.map(|id| id.0).collect();
        if ids.len() < 2 {
            return Ok(());
        }
        in_time(async {
            Ok(sqlx::query(LOCK_IN_ORDER)
                .bind(ids)
                .execute(&mut **transaction)
                .await?)
        })
        .await?;
    }
    Ok(())
}

/// The job, locked, if this epoch still holds it.
pub async fn lock_leased(tx: &mut Tx, id: JobId, epoch: i64) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK_LEASED.text::<Db>())
            .bind(id.0)
            .bind(epoch)
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// The job, locked.
pub async fn lock(tx: &mut Tx, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

/// These jobs, locked one after the other in the order of their ids.
pub async fn lock_all(tx: &mut Tx, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
    let mut locked = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<JobRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", job_columns!(), " FROM jobs WHERE id IN ("));
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(id.0);
            }
            query.push(") ORDER BY id").push(LOCKED.text::<Db>());
            query.build_query_as().fetch_all(connection).await?
        });
        for row in rows {
            locked.push(row.try_into()?);
        }
    }
    Ok(locked)
}

/// The job, if it is known.
pub async fn find(tx: &mut Tx, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Applies one change if the job is still at the version it was decided on.
pub async fn apply(tx: &mut Tx, change: &JobChange) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(APPLY.text::<Db>())
            .bind(change.id.0)
            .bind(change.version)
            .bind(change.state.as_str())
            .bind(Timestamp(change.run_at))
            .bind(i64::from(change.attempt))
            .bind(i64::from(change.rescues))
            .bind(words(&change.note))
            .bind(change.last_error.as_deref().map(words))
            .bind(Timestamp(change.updated_at))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Remembers that something which a leased job may wait for happened while its worker had it; the
/// mark lasts until the worker lets go. The job is locked by the caller.
pub async fn mark_woken(tx: &mut Tx, id: JobId, now: DateTime<Utc>) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(MARK_WOKEN.text::<Db>())
            .bind(id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Whether the job was marked since it was leased. The job is locked by the caller.
pub async fn was_woken(tx: &mut Tx, id: JobId) -> Result<bool, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(WAS_WOKEN.text::<Db>()).bind(id.0).fetch_one(connection).await?
    }))
}

/// Up to `limit` jobs whose lease ended before `now`, locked, of each kind the longest lapsed
/// first.
///
/// Kind by kind, so that rows of a kind that only a newer release knows are left to that release
/// while it is rolled out, and do not keep the others from being rescued.
pub async fn lock_lapsed(
    tx: &mut Tx,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    let mut lapsed = Vec::new();
    for kind in JobKind::ALL {
        let room = limit.saturating_sub(lapsed.len());
        let rows: Vec<JobRow> = on_both!(tx, Db, connection => {
            sqlx::query_as(LAPSED.text::<Db>())
                .bind(Timestamp(now))
                .bind(kind.as_str())
                .bind(bound(room))
                .fetch_all(connection)
                .await?
        });
        for row in rows {
            lapsed.push(row.try_into()?);
        }
    }
    Ok(lapsed)
}

/// Up to `limit` jobs that this worker holds, locked; like [`lock_lapsed`] kind by kind.
pub async fn lock_of_worker(
    tx: &mut Tx,
    worker: &str,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    let mut held = Vec::new();
    for kind in JobKind::ALL {
        let room = limit.saturating_sub(held.len());
        let rows: Vec<JobRow> = on_both!(tx, Db, connection => {
            sqlx::query_as(OF_WORKER.text::<Db>())
                .bind(worker)
                .bind(kind.as_str())
                .bind(bound(room))
                .fetch_all(connection)
                .await?
        });
        for row in rows {
            held.push(row.try_into()?);
        }
    }
    Ok(held)
}

/// The earliest instant at which a waiting job of this kind may run; none while people paused it.
pub async fn next_run_at(tx: &mut Tx, kind: JobKind) -> Result<Option<DateTime<Utc>>, StoreError> {
    let next: Option<Timestamp> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(NEXT_RUN_AT.text::<Db>())
            .bind(kind.as_str())
            .fetch_one(connection)
            .await?
    });
    Ok(next.map(|at| at.0))
}

/// Since when the longest waiting due job of this kind has been due.
pub async fn oldest_due(
    tx: &mut Tx,
    kind: JobKind,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let mut oldest: Option<DateTime<Utc>> = None;
    for priority in Priority::ALL {
        let due: Option<Timestamp> = on_both!(tx, Db, connection => {
            sqlx::query_scalar(OLDEST_DUE.text::<Db>())
                .bind(kind.as_str())
                .bind(priority.as_i16())
                .bind(Timestamp(now))
                .fetch_one(connection)
                .await?
        });
        oldest = oldest.into_iter().chain(due.map(|at| at.0)).min();
    }
    Ok(oldest)
}

/// When any job last changed. Reads every row: for the small database of the demo.
pub async fn last_change(tx: &mut Tx) -> Result<Option<DateTime<Utc>>, StoreError> {
    let last: Option<Timestamp> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(LAST_CHANGE.text::<Db>()).fetch_one(connection).await?
    });
    Ok(last.map(|at| at.0))
}

/// How many jobs of this kind are in this state, counted up to [`COUNT_MAX`].
pub async fn count_in_state(
    tx: &mut Tx,
    kind: JobKind,
    state: JobState,
) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(COUNT.text::<Db>())
            .bind(state.as_str())
            .bind(kind.as_str())
            .bind(COUNT_MAX)
            .fetch_one(connection)
            .await?
    }))
}

/// Up to `limit` jobs, the newest first.
pub async fn list(tx: &mut Tx, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", job_columns!(), " FROM jobs WHERE 1 = 1"));
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before.0);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// A limit as the databases take it.
pub(super) fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A non-negative count as the databases give it.
fn count(column: &'static str, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|error| StoreError::corrupt(column, error))
}

#[derive(FromRow)]
struct KeyedJobRow {
    id: Uuid,
    kind: String,
    idempotency_key: String,
    state: String,
    payload_sha256: String,
}

impl TryFrom<KeyedJobRow> for KeyedJob {
    type Error = StoreError;

    fn try_from(row: KeyedJobRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: JobId(row.id),
            kind: parse("kind", &row.kind)?,
            idempotency_key: row.idempotency_key,
            state: parse("state", &row.state)?,
            payload_sha256: row.payload_sha256,
        })
    }
}

#[derive(FromRow)]
struct JobRow {
    id: Uuid,
    kind: String,
    priority: i16,
    partition_key: String,
    idempotency_key: String,
    payload: String,
    source: String,
    state: String,
    version: i64,
    run_at: Timestamp,
    attempt: i64,
    attempts_max: i64,
    rescues: i64,
    lease_worker: Option<String>,
    lease_epoch: i64,
    lease_until: Option<Timestamp>,
    note: String,
    last_error: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let lease = row.lease_worker.zip(row.lease_until);
        Ok(Self {
            id: JobId(row.id),
            kind: parse("kind", &row.kind)?,
            priority: priority_of(row.priority)?,
            partition: Some(row.partition_key).filter(|partition| !partition.is_empty()),
            idempotency_key: row.idempotency_key,
            payload: row.payload,
            source: row.source,
            state: parse("state", &row.state)?,
            version: row.version,
            run_at: row.run_at.0,
            attempt: count("attempt", row.attempt)?,
            attempts_max: count("attempts_max", row.attempts_max)?,
            rescues: count("rescues", row.rescues)?,
            lease_epoch: row.lease_epoch,
            lease: lease.map(|(worker, until)| LeaseHold {
                worker,
                until: until.0,
            }),
            note: row.note,
            last_error: row.last_error,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

/// Reads a stored name back into its type.
pub(super) fn parse<T>(column: &'static str, text: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| StoreError::corrupt(column, error))
}
