//! The `jobs` table: the jobs themselves.
//!
//! No function here decides; `domain/job.rs` says which change follows which, and every change
//! names the state or version it expects.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, Statement, StoreError, Timestamp, Tx, in_time, on_both, words};
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
pub(super) use job_columns;

statements! {
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

/// On Postgres only.
const LOCK_IN_ORDER: &str = "SELECT 1 FROM jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE";
const LOCK_FREE: &str = "SELECT id FROM jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED";
const EPOCHS: &str = "SELECT id, lease_epoch FROM jobs WHERE id = ANY($1) \
                      AND COALESCE(state, '') IN ('running', 'cancelling')";
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

/// What became of leases that were to be extended; one that is in neither was lost.
#[derive(Debug, Default)]
pub struct Renewal {
    /// These were.
    pub renewed: Vec<JobId>,
    /// These are held, and somebody has their rows in hand: no sweep takes them meanwhile.
    pub busy: Vec<JobId>,
}

/// Extends the leases that are still held. It waits for nobody, or one locked row would let all the others lapse. With
/// nothing held it changes nothing, and the database is asked all the same.
pub async fn renew(
    tx: &mut Tx,
    held: &[(JobId, i64)],
    until: DateTime<Utc>,
) -> Result<Renewal, StoreError> {
    let busy = busy_of(tx, held).await?;
    let free = held.iter().filter(|(id, _)| !busy.contains_key(id));
    let (ids, epochs): (Vec<Uuid>, Vec<i64>) = free.map(|(id, epoch)| (id.0, *epoch)).unzip();
    // By the ids alone: a database that believes that little runs might else go over all that does, dead entries too.
    let rows = Rows {
        before: "WITH told (until, job_id, epoch) AS (",
        columns: vec![
            Column::Instants(vec![until; ids.len()]),
            Column::Uuids(ids),
            Column::Numbers(epochs),
        ],
        after: ") UPDATE jobs SET lease_until = told.until FROM told \
                WHERE id = told.job_id AND lease_epoch = told.epoch \
                AND COALESCE(state, '') IN ('running', 'cancelling') \
                RETURNING id",
    };
    let renewed: Vec<(Uuid,)> = rows.fetch(tx).await?;
    let still_held = held
        .iter()
        .filter(|(id, epoch)| busy.get(id) == Some(epoch));
    Ok(Renewal {
        renewed: renewed.into_iter().map(|(id,)| JobId(id)).collect(),
        busy: still_held.map(|(id, _)| *id).collect(),
    })
}

/// Locks the rows of these jobs that nobody else has in hand, and returns the others that run, with their epochs. SQLite
/// has one writer at a time.
async fn busy_of(tx: &mut Tx, held: &[(JobId, i64)]) -> Result<BTreeMap<JobId, i64>, StoreError> {
    let Tx::Postgres(transaction) = tx else {
        return Ok(BTreeMap::new());
    };
    let ids: Vec<Uuid> = held.iter().map(|(id, _)| id.0).collect();
    let free: Vec<Uuid> = in_time(async {
        let free = sqlx::query_scalar(LOCK_FREE).bind(&ids);
        Ok(free.fetch_all(&mut **transaction).await?)
    })
    .await?;
    if free.len() == ids.len() {
        return Ok(BTreeMap::new());
    }
    let free: BTreeSet<Uuid> = free.into_iter().collect();
    let busy: Vec<Uuid> = ids.into_iter().filter(|id| !free.contains(id)).collect();
    let busy: Vec<(Uuid, i64)> = in_time(async {
        let busy = sqlx::query_as(EPOCHS).bind(busy);
        Ok(busy.fetch_all(&mut **transaction).await?)
    })
    .await?;
    Ok(busy
        .into_iter()
        .map(|(id, epoch)| (JobId(id), epoch))
        .collect())
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
    // By the ids alone, as in [`renew`].
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
                AND (COALESCE(state, '') = 'running' AND woken_at IS NULL OR COALESCE(state, '') = 'cancelling') \
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

/// A priority as the databases give it.
pub(super) fn priority_of(number: i16) -> Result<Priority, StoreError> {
    Priority::from_i16(number).ok_or_else(|| StoreError::corrupt("priority", number))
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
pub(super) struct JobRow {
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
