//! How soon work goes on, with the settings that clearday has by default: measured and told, and never failed by a
//! clock that is tighter than patience.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clearday::clock::Ids;
use clearday::connectors::sandbox::{Event, Fault, FaultTicket, Operation};
use clearday::engine::{Acceptance, Engine, Source, Submission};
use clearday::queue::InProcessBell;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::chance::Chance;
use super::check::{count_open, events, recovery, wait_until};
use super::report::tell;
use super::scene::{Pace, Scene, Setting};
use crate::support::house::{eventually, policy};
use crate::support::sandbox::{cny, reference};
use crate::support::servers::to_redis;

/// Enough that both daemons have some in hand, and as many as one alone has room for: of its sixteen places two are for
/// somebody else's work.
const IN_HAND: usize = 14;
/// A neighbour judges leases when it has been in touch with the database for as long as one lasts.
const STEADY: Duration = Duration::from_secs(21);
const ACCEPTED_AT_ONCE: usize = 500;

async fn scene(is_one_host: bool) -> Scene {
    let setting = Setting {
        pace: Pace::Default,
        is_one_host,
        is_redis_durable: false,
    };
    Scene::set(setting, &mut Chance::new(1)).await
}

/// Orders without end whose deadline has passed, written down by upstream, and nothing asked about them yet.
async fn write_orders(scene: &Scene, count: usize) {
    let mut connection = PgConnection::connect(&scene.postgres.url()).await.unwrap();
    let count = i64::try_from(count).unwrap();
    for statement in [
        "INSERT INTO orders SELECT 'O-' || n, 'O-' || n, 'M-' || n % 7, 1234, 'CNY', 'open', 1, $2, $2, $2 \
         FROM generate_series(0, $1 - 1) AS n",
        "INSERT INTO order_events SELECT 'O-' || n, 1, $2, 'open', 'by the test', NULL \
         FROM generate_series(0, $1 - 1) AS n",
    ] {
        sqlx::query(statement)
            .bind(count)
            .bind(scene.begins_at)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

/// A way in that needs no daemon: what it accepts is committed, and found by the daemons' own looks.
fn door(scene: &Scene) -> Engine {
    Engine::new(
        scene.store.clone(),
        scene.clock.clone(),
        Ids::random(scene.clock.clone()),
        policy(),
        "door".to_owned(),
        Arc::new(InProcessBell::default()),
    )
}

fn payload(scene: &Scene, number: usize) -> String {
    let at = scene.begins_at.to_rfc3339();
    format!(r#"{{"version":1,"order_no":"O-{number}","expires_at":"{at}"}}"#)
}

async fn accept(scene: &Scene, numbers: std::ops::Range<usize>) {
    let door = door(scene);
    let numbers: Vec<usize> = numbers.collect();
    for chunk in numbers.chunks(ACCEPTED_AT_ONCE) {
        let batch = chunk.iter().map(|number| Submission {
            kind: "order_expiry".to_owned(),
            idempotency_key: Some(format!("expire {number}")),
            payload: payload(scene, *number).into_bytes(),
            source: Source::Http,
            fault: None,
        });
        let answers = door.accept(batch.collect()).await.unwrap();
        let is_new = |answer: &Acceptance| matches!(answer, Acceptance::New(_));
        assert!(answers.iter().all(is_new), "{answers:?}");
    }
}

/// Jobs whose answers are on their way for ever, so that a daemon that is killed has them in hand.
async fn hold(scene: &Scene) -> Vec<FaultTicket> {
    write_orders(scene, IN_HAND).await;
    let mut tx = scene.store.begin().await.unwrap();
    let mut tickets = Vec::new();
    for number in 0..IN_HAND {
        let (name, order) = (format!("R-{number}"), format!("O-{number}"));
        let order = order.parse().unwrap();
        let at = scene.begins_at;
        let issued =
            clearday::store::orders::issue_reference(&mut tx, "sandbox", &name, &order, at);
        assert!(issued.await.unwrap());
        let (handle, name) = (&scene.sandbox.handle, reference(&name));
        handle.create(&name, cny(1_234)).unwrap();
        tickets.push(handle.queue_fault(Operation::Close, &name, Fault::HeldAnswer));
    }
    tx.commit().await.unwrap();
    tickets
}

/// Lets the answers go, and everything end as it should.
async fn all_end_once(scene: &Scene, tickets: &[FaultTicket]) {
    for ticket in tickets {
        ticket.release();
    }
    assert!(wait_until(async || count_open(scene).await == 0).await);
    let books = scene.sandbox.handle.books();
    for number in 0..IN_HAND {
        let name = reference(&format!("R-{number}"));
        assert_eq!(books.count_effects(Event::Close, &name), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_a_killed_daemon_that_is_started_again_goes_on_with_its_work() {
    let mut scene = scene(true).await;
    let tickets = hold(&scene).await;
    scene.seats[0].start();
    accept(&scene, 0..IN_HAND).await;
    for ticket in &tickets {
        ticket.wait_until_struck().await;
    }
    scene.seats[0].kill();
    scene.seats[0].start();
    let all_again = eventually(async || {
        let seen = recovery(&scene, &events(&scene).await).by_sign_of_life;
        (seen.len() == IN_HAND).then_some(())
    });
    all_again.await.expect("all are in hand again");
    let seen = recovery(&scene, &events(&scene).await);
    tell(&format!("SIGKILL, restart on the same host: {seen}"));
    all_end_once(&scene, &tickets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "waits for leases of the default length: scripts/chaos --recovery"]
async fn chaos_another_replica_goes_on_with_the_work_of_a_killed_one() {
    let mut scene = scene(false).await;
    let tickets = hold(&scene).await;
    scene.seats[0].start();
    accept(&scene, 0..IN_HAND).await;
    for ticket in &tickets {
        ticket.wait_until_struck().await;
    }
    scene.seats[1].start();
    tokio::time::sleep(STEADY).await;
    scene.seats[0].kill();
    assert!(
        wait_until(async || {
            let seen = recovery(&scene, &events(&scene).await);
            seen.by_lapsed_lease.len() == IN_HAND
        })
        .await
    );
    let seen = recovery(&scene, &events(&scene).await);
    tell(&format!("SIGKILL, another replica: {seen}"));
    all_end_once(&scene, &tickets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_redis_emptied_under_load_delays_nothing_for_long_and_loses_nothing() {
    emptied_under_load(500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes: scripts/chaos --recovery"]
async fn chaos_redis_emptied_under_ten_thousand_waiting_jobs_loses_nothing() {
    emptied_under_load(10_000).await;
}

async fn emptied_under_load(count: usize) {
    let mut scene = scene(true).await;
    write_orders(&scene, count + 1).await;
    accept(&scene, 0..count).await;
    scene.start_all().await;
    let mut connection = PgConnection::connect(&scene.postgres.url()).await.unwrap();
    let begun = wait_until(async || count_events(&scene, "finished").await >= 20).await;
    assert!(begun);
    let waiting = count_open(&scene).await;

    let mut redis = to_redis(&scene.redis.url()).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    let (emptied_at, emptied) = (scene.clock.now(), Instant::now());
    let entry: String = redis::cmd("XADD")
        .arg("clearday:{order_expiry}")
        .arg("*")
        .arg("payload")
        .arg(payload(&scene, count))
        .arg("idempotency_key")
        .arg("by Redis, when it was empty")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert!(!entry.is_empty());
    let expected = i64::try_from(count + 1).unwrap();
    assert!(wait_until(async || count_events(&scene, "finished").await >= expected).await);

    let took = emptied.elapsed();
    let leased: Vec<DateTime<Utc>> = sqlx::query_scalar(
        "SELECT occurred_at FROM job_events WHERE event = 'leased' AND occurred_at >= $1 \
         ORDER BY occurred_at",
    )
    .bind(emptied_at)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let before = std::iter::once(emptied_at).chain(leased.iter().copied());
    let gap = before.zip(&leased).map(|(one, next)| *next - one).max();
    let accepted_at: DateTime<Utc> = sqlx::query_scalar(
        "SELECT created_at FROM jobs WHERE idempotency_key = 'by Redis, when it was empty'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let done: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM jobs WHERE kind = 'order_expiry' AND state = 'done'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    tell(&format!(
        "Redis emptied with {waiting} jobs waiting: the next lease after {} ms, never more than {} ms without one; \
         what came by Redis next was taken in after {} ms; {done} of {expected} done after {} ms",
        leased
            .first()
            .map_or(0, |first| (*first - emptied_at).num_milliseconds()),
        gap.map_or(0, |gap| gap.num_milliseconds()),
        (accepted_at - emptied_at).num_milliseconds(),
        took.as_millis(),
    ));
    assert_eq!(done, expected, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "waits for time-outs of the default length: scripts/chaos --recovery"]
async fn chaos_a_daemon_whose_connections_were_forgotten_on_the_way_goes_on() {
    const COUNT: usize = 10_000;
    /// What were not given up would be too few in the end.
    const ROUNDS: usize = 4;
    let mut scene = scene(true).await;
    write_orders(&scene, COUNT).await;
    accept(&scene, 0..COUNT).await;
    scene.seats[0].start();
    assert!(wait_until(async || count_events(&scene, "finished").await >= 20).await);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        scene.hosts[0].postgres.forget_all();
        let (forgotten, before) = (Instant::now(), count_events(&scene, "finished").await);
        // What had arrived in time is still counted.
        let more = before + 200;
        assert!(wait_until(async || count_events(&scene, "finished").await >= more).await);
        took.push(format!("{} ms", forgotten.elapsed().as_millis()));
    }
    tell(&format!(
        "every connection to Postgres forgotten on the way, again and again: went on after {}",
        took.join(", "),
    ));
    let expected = i64::try_from(COUNT).unwrap();
    assert!(wait_until(async || count_events(&scene, "finished").await >= expected).await);
}

async fn count_events(scene: &Scene, event: &str) -> i64 {
    const COUNT: &str = "SELECT COUNT(*) FROM job_events JOIN jobs ON jobs.id = job_id \
                         WHERE event = $1 AND kind = 'order_expiry'";
    let mut connection = PgConnection::connect(&scene.postgres.url()).await.unwrap();
    sqlx::query_scalar(COUNT)
        .bind(event)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
