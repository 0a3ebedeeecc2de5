//! The bar: plain SQL that writes the same rows in the same batches, all of them made before the clock starts.
//!
//! As many connections as there are cores each take a batch, write its effects and its end, and take the next. It
//! decides nothing, checks nothing and cannot be stopped half-way.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clearday::engine::Booking;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::house::{BATCH, payload, receipt};

const CONNECTIONS: usize = 2;
const PAST: &str = "2026-01-01T00:00:00Z";

const ACCEPT: &str = "WITH told AS (SELECT * FROM UNNEST($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[]) AS told (id, key, payload, sha256)), \
    accepted AS (INSERT INTO jobs (id, kind, priority, partition_key, idempotency_key, payload, payload_sha256, source, state, version, \
    run_at, attempt, attempts_max, rescues, lease_epoch, note, created_at, updated_at) \
    SELECT id, 'order_expiry', 2, '', key, payload, sha256, 'http', 'ready', 1, $5, 0, 5, 0, 0, 'accepted from http', $6, $6 FROM told \
    ON CONFLICT (kind, idempotency_key) DO NOTHING RETURNING id) \
    INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) \
    SELECT id, 1, $6, 'accepted', 'ready', 0, NULL, 'accepted from http' FROM accepted";
const LEASE: &str = "WITH due AS (SELECT id FROM jobs WHERE kind = 'order_expiry' AND priority = 2 AND state = 'ready' AND run_at <= $1 \
    ORDER BY run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED), \
    leased AS (UPDATE jobs SET state = 'running', version = version + 1, attempt = attempt + 1, lease_epoch = lease_epoch + 1, \
    lease_worker = 'plain', lease_until = $1, note = 'leased', updated_at = $1 FROM due WHERE jobs.id = due.id \
    RETURNING jobs.id, jobs.payload, jobs.idempotency_key), \
    told AS (INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) \
    SELECT id, 2, $1, 'leased', 'running', 1, 'plain', 'leased until some time' FROM leased) \
    SELECT id, payload, idempotency_key FROM leased";
const ENTRIES: &str = "INSERT INTO journal_entries (id, identity, event, accounting_on, merchant_id, subject, currency, postings_count, \
    sha256, job_id, booked_at) SELECT id, identity, 'late_money', '2026-03-02', NULL, subject, 'CNY', 1, sha256, job_id, $6 \
    FROM UNNEST($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::UUID[]) AS told (id, identity, subject, sha256, job_id) \
    ON CONFLICT (identity) DO NOTHING";
const POSTINGS: &str = "INSERT INTO postings (entry_id, line, debit_account, debit_owner, credit_account, credit_owner, amount_minor, currency) \
    SELECT id, 1, 'channel_receivable', 'wechat_pay', 'unallocated_receipts', 'wechat_pay', 1234, 'CNY' FROM UNNEST($1::UUID[]) AS told (id)";
const FACTS: &str = "INSERT INTO money_facts (account, kind, external_no, amount_minor, currency, occurred_at, source, evidence, entry_id, \
    first_seen_at) SELECT 'wechat_pay', 'capture', number, 1234, 'CNY', $3, 'query', '{}', id, $3 \
    FROM UNNEST($1::TEXT[], $2::UUID[]) AS told (number, id) ON CONFLICT (account, kind, external_no) DO NOTHING";
const FINISH: &str = "WITH finished AS (UPDATE jobs SET state = 'done', version = version + 1, lease_worker = NULL, lease_until = NULL, \
    note = 'booked', updated_at = $2 WHERE id = ANY($1) AND lease_epoch = 1 AND state = 'running' RETURNING id) \
    INSERT INTO job_events (job_id, version, occurred_at, event, state, attempt, worker, reason) \
    SELECT id, 3, $2, 'finished', 'done', 1, 'plain', 'booked' FROM finished";

/// The rows, ready-made.
pub(crate) struct Work {
    ids: Vec<Uuid>,
    keys: Vec<String>,
    payloads: Vec<String>,
    digests: Vec<String>,
    /// By the number in the job's key.
    bookings: Vec<(Uuid, Booking, String)>,
}

impl Work {
    pub(crate) fn of(count: usize) -> Self {
        let keys: Vec<String> = (0..count).map(key).collect();
        Self {
            ids: (0..count)
                .map(|_| Uuid::from_u128(rand::random()))
                .collect(),
            payloads: keys.iter().map(|key| payload(key, PAST)).collect(),
            digests: (0..count).map(|_| "0".repeat(64)).collect(),
            bookings: keys
                .iter()
                .map(|key| {
                    let booking = receipt(key).bookings.pop().unwrap();
                    let sha256 = booking.entry.sha256();
                    (Uuid::from_u128(rand::random()), booking, sha256)
                })
                .collect(),
            keys,
        }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }
}

fn key(number: usize) -> String {
    format!("plain-{number:08}")
}

fn number(key: &str) -> usize {
    key.trim_start_matches("plain-").parse().unwrap()
}

/// Writes every job with its history.
pub(crate) async fn accept(url: &str, work: &Arc<Work>) {
    let mut connections = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let (url, work) = (url.to_owned(), Arc::clone(work));
        connections.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let starts = (0..work.len())
                .step_by(BATCH)
                .skip(nth)
                .step_by(CONNECTIONS);
            for start in starts {
                let rows = start..(start + BATCH).min(work.len());
                sqlx::query(ACCEPT)
                    .bind(&work.ids[rows.clone()])
                    .bind(&work.keys[rows.clone()])
                    .bind(&work.payloads[rows.clone()])
                    .bind(&work.digests[rows])
                    .bind(PAST.parse::<DateTime<Utc>>().unwrap())
                    .bind(now())
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        });
    }
    connections.join_all().await;
}

/// Leases and finishes every job.
pub(crate) async fn drain(url: &str, work: &Arc<Work>) {
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (url, work) = (url.to_owned(), Arc::clone(work));
        connections.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            while take_batch(&mut connection, &work).await {}
        });
    }
    connections.join_all().await;
}

async fn take_batch(connection: &mut PgConnection, work: &Work) -> bool {
    let leased: Vec<(Uuid, String, String)> = sqlx::query_as(LEASE)
        .bind(now())
        .bind(i64::try_from(BATCH).unwrap())
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    if leased.is_empty() {
        return false;
    }
    let jobs: Vec<Uuid> = leased.iter().map(|(id, ..)| *id).collect();
    let booked: Vec<_> = leased
        .iter()
        .map(|(.., key)| &work.bookings[number(key)])
        .collect();
    let entries: Vec<Uuid> = booked.iter().map(|(id, ..)| *id).collect();
    let mut tx = connection.begin().await.unwrap();
    sqlx::query(ENTRIES)
        .bind(&entries)
        .bind(
            booked
                .iter()
                .map(|(_, it, _)| it.entry.identity.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            booked
                .iter()
                .map(|(_, it, _)| it.entry.subject.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            booked
                .iter()
                .map(|(.., sha256)| sha256.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(&jobs)
        .bind(now())
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(POSTINGS)
        .bind(&entries)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(FACTS)
        .bind(
            booked
                .iter()
                .map(|(_, it, _)| it.fact.key.external_no.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(&entries)
        .bind(now())
        .execute(&mut *tx)
        .await
        .unwrap();
    let finished = sqlx::query(FINISH)
        .bind(&jobs)
        .bind(now())
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(finished.rows_affected(), u64::try_from(jobs.len()).unwrap());
    tx.commit().await.unwrap();
    true
}

fn now() -> DateTime<Utc> {
    clearday::clock::Clock::system().now()
}
