//! What a claim costs when very much is waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use clearday::clock::{Clock, Ids};
use clearday::domain::job::Job;
use clearday::engine::{Engine, NoBell, Policy, Run};
use sqlx::{Connection, PgConnection};

use super::figures::{median, quantile};
use super::house::{House, KIND, submission};

/// Claims per measurement.
const CLAIMS: usize = 500;
/// Jobs per claim: the room of a daemon by default.
const ROOM: usize = 16;
const PAST: &str = "2026-01-01T00:00:00Z";

/// `$1` jobs of two thousand partitions that are due `$2` seconds from now, or were. Their ids are in the order in which
/// they were written, as all are that the daemon makes.
const WAITING: &str = "INSERT INTO jobs (id, kind, priority, partition_key, idempotency_key, payload, payload_sha256, source, state, version, \
    run_at, attempt, attempts_max, rescues, lease_epoch, note, created_at, updated_at) \
    SELECT (LPAD(TO_HEX(n), 12, '0') || '70008000' || LPAD(TO_HEX(n), 12, '0'))::UUID, 'order_expiry', 2, 'm-' || n % 2000, 'waiting ' || n || ' ' || $2, '{}', repeat('0', 64), 'http', 'ready', 1, \
    NOW() + ($2 + n / 1000) * INTERVAL '1 second', 0, 5, 0, 0, 'waits', NOW(), NOW() FROM generate_series(1, $1) AS n";

pub(crate) async fn measure(count: usize) {
    println!("claim: up to {ROOM} jobs at a time, {CLAIMS} claims, in milliseconds");
    let house = House::postgres().await;
    let empty = claims(&house, "E").await;
    tell("nothing waiting", &empty, None);
    fill(&house, count, 86_400).await;
    tell(
        &format!("{count} not due"),
        &claims(&house, "N").await,
        Some(&empty),
    );
    house.empty().await;
    fill(&house, count, -86_400).await;
    tell(
        &format!("{count} due"),
        &claims(&house, "D").await,
        Some(&empty),
    );
    house.close().await;
}

async fn fill(house: &House, count: usize, seconds: i64) {
    let mut connection = PgConnection::connect(&house.url).await.unwrap();
    sqlx::query(WAITING)
        .bind(i64::try_from(count).unwrap())
        .bind(seconds)
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("VACUUM ANALYZE jobs")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("CHECKPOINT")
        .execute(&mut connection)
        .await
        .unwrap();
}

/// Each takes what was just written down, and more where more is due.
async fn claims(house: &House, name: &str) -> Vec<f64> {
    let clock = Clock::system();
    let policy = Policy {
        lease: TimeDelta::hours(1),
        attempts_max: 5,
        rescues_max: 3,
        handler_timeout: Duration::from_mins(1),
        partition_concurrency: None,
    };
    let ids = Ids::random(clock.clone());
    let engine = Engine::new(
        house.store.clone(),
        clock.clone(),
        ids,
        policy,
        "bench".to_owned(),
        Arc::new(NoBell),
    );
    let stamp = clock.now().timestamp_micros();
    let mut waits = Vec::with_capacity(CLAIMS);
    for claim in 0..CLAIMS {
        let batch =
            (0..ROOM).map(|number| submission(&format!("{name}-{stamp}-{claim}-{number}"), PAST));
        engine.accept(batch.collect()).await.unwrap();
        let started = Instant::now();
        let leased = engine.lease_due(KIND, ROOM).await.unwrap();
        waits.push(started.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(leased.len(), ROOM);
        // As in a daemon: what it took ends before it takes more.
        futures::future::join_all(leased.into_iter().map(|job| finish(&engine, job))).await;
    }
    waits
}

async fn finish(engine: &Engine, job: Job) {
    let run = Run::new(engine.clone(), job);
    run.done(run.begin().await.unwrap(), "done").await.unwrap();
}

fn tell(name: &str, waits: &[f64], empty: Option<&[f64]>) {
    let (p50, p99) = (median(waits), quantile(waits, 990));
    let ratio = empty.map_or(1.0, |empty| p99 / quantile(empty, 990));
    println!(
        "  {name:>16}: p50 {p50:.2}, p99 {p99:.2}, {ratio:.2} times the p99 of nothing waiting"
    );
}
