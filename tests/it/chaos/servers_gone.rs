//! Nothing lost, nothing twice, no worker ends: servers that go away, handlers that misbehave.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use clearday::domain::job::JobState;
use clearday::domain::order::OrderState;
use clearday::engine::Handler;
use clearday::store::Store;
use clearday_jobs::{JobId, JobKind};
use tokio::sync::Notify;

use crate::support::house::{House, Mode, eventually, eventually_within, expiry_of};
use crate::support::servers::TestPostgresServer;

/// Orders per story: enough that some are in every state when the fault strikes.
const ORDERS: usize = 60;
const THIRD: usize = 20;
const HALF: usize = 30;

async fn submit_orders(house: &House, from: usize, until: usize) -> Vec<JobId> {
    let mut accepted = Vec::new();
    for number in from..until {
        let order = format!("O-{number}");
        house.open_order(&order, &order).await;
        house
            .open_reference(&order, &format!("R-{number}"), 1_234)
            .await;
        let key = format!("expire {order}");
        accepted.push(
            house
                .submit(JobKind::OrderExpiry, &key, &expiry_of(&order))
                .await,
        );
    }
    accepted
}

/// Every job done, every order expired, every reference closed once.
async fn assert_all_expired_once(house: &House, accepted: &[JobId]) {
    for job in accepted {
        advance_to(house, *job).await;
    }
    for number in 0..accepted.len() {
        assert_eq!(
            house.order_state(&format!("O-{number}")).await,
            OrderState::Expired
        );
    }
    let closes = house
        .sandbox
        .handle
        .effects()
        .into_iter()
        .filter(|effect| effect.event == clearday::connectors::sandbox::Event::Close)
        .count();
    assert_eq!(closes, accepted.len());
}

/// Waits for the job, moving the clock when it waits for it, and also when nothing moves: then a
/// lease was lost with the server, and lapses.
async fn advance_to(house: &House, job: JobId) {
    for _ in 0..40 {
        let moved = eventually_within(Duration::from_secs(2), async || {
            let job = house.job(job).await;
            let is_waiting = job.state == JobState::Ready && job.run_at > house.clock.now();
            (job.state == JobState::Done || is_waiting).then_some(job)
        })
        .await;
        if moved.is_some_and(|job| job.state == JobState::Done) {
            return;
        }
        house.clock.advance(TimeDelta::seconds(6));
    }
    panic!("stuck: {:#?}", house.timeline(job).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_redis_emptied_and_restarted_loses_nothing_that_was_acknowledged() {
    let mut house = House::open(Mode::Production).await;
    house.clock.advance(TimeDelta::hours(1));
    let mut accepted = submit_orders(&house, 0, THIRD).await;
    house.redis.as_mut().unwrap().kill();
    accepted.extend(submit_orders(&house, THIRD, 2 * THIRD).await);
    house.redis.as_mut().unwrap().restart_empty().await;
    accepted.extend(submit_orders(&house, 2 * THIRD, ORDERS).await);
    assert_all_expired_once(&house, &accepted).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_postgres_restarted_loses_nothing_that_was_acknowledged() {
    let mut server = TestPostgresServer::start().await;
    let mut house = House::without_daemons(Mode::Production).await;
    let store = Store::connect(&server.url(), 10).await.unwrap();
    store.migrate().await.unwrap();
    house.store = store.clone();
    for _ in 0..2 {
        let handler = house.handler();
        house.start_daemon_with(store.clone(), handler, TimeDelta::seconds(5));
    }
    house.clock.advance(TimeDelta::hours(1));
    let mut accepted = submit_orders(&house, 0, HALF).await;
    server.restart().await;
    // What the restart cut off was not acknowledged; from here on everything is.
    eventually(async || store.ping().await.ok())
        .await
        .expect("Postgres is back");
    accepted.extend(submit_orders(&house, HALF, ORDERS).await);
    assert_all_expired_once(&house, &accepted).await;
    for daemon in house.daemons.drain(..) {
        daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_handler_that_panics_burns_an_attempt_and_ends_no_worker() {
    let mut house = House::without_daemons(Mode::Embedded).await;
    let workers = house.handler();
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = Handler::new(move |run| {
        // Every third call panics, so every worker survives many.
        assert!(
            !calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3),
            "a bug in a handler"
        );
        workers.carry_out(run)
    });
    house.start_daemon_with(house.store.clone(), handler, TimeDelta::seconds(5));
    house.clock.advance(TimeDelta::hours(1));
    let accepted = submit_orders(&house, 0, HALF).await;
    assert_all_expired_once(&house, &accepted).await;
    let counters = house.engine().counters();
    assert!(counters.panicked.load(Ordering::Relaxed) >= 10);
    let mut retried = 0;
    for job in &accepted {
        let words = house.job(*job).await.last_error;
        retried += usize::from(words.is_some_and(|words| words.contains("a bug in a handler")));
    }
    assert!(retried >= 1, "the panic's words are kept");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_handler_slower_than_its_lease_commits_nothing() {
    let mut house = House::without_daemons(Mode::Production).await;
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let workers = house.handler();
    let sleepy = {
        let (started, gate, workers) = (Arc::clone(&started), Arc::clone(&gate), workers.clone());
        Handler::new(move |run| {
            let (started, gate, workers) =
                (Arc::clone(&started), Arc::clone(&gate), workers.clone());
            Box::pin(async move {
                started.notify_one();
                gate.notified().await;
                workers.carry_out(run).await
            })
        })
    };
    // The sleeper never renews, as a process that is stopped never does.
    house.start_daemon_with(house.store.clone(), sleepy, TimeDelta::days(1));
    house.clock.advance(TimeDelta::hours(1));
    let accepted = submit_orders(&house, 0, 1).await;
    started.notified().await;

    // Time passes for the other one, which sweeps when it has been steady for a lease's length.
    house.start_daemon();
    let stolen = eventually(async || {
        let job = house.job(accepted[0]).await;
        if job.lease_epoch == 1 {
            house.clock.advance(TimeDelta::seconds(2));
            return None;
        }
        Some(())
    });
    stolen.await.expect("somebody else leases it");
    let done = eventually(async || {
        let job = house.job(accepted[0]).await;
        if job.state == JobState::Done {
            return Some(job);
        }
        // The sleeper may have taken its own job again under the newer lease.
        gate.notify_one();
        None
    })
    .await
    .expect("the job is done under a newer lease");
    assert!(done.lease_epoch >= 2);
    gate.notify_one();
    let refused = eventually(async || {
        let counters = house.daemons[0].engine().counters();
        (counters.stale_commits_refused.load(Ordering::Relaxed) >= 1).then_some(())
    })
    .await;
    assert!(
        refused.is_some(),
        "the stale commit was refused and counted"
    );
    assert_all_expired_once(&house, &accepted).await;
    house.close().await;
}
