//! Running daemons under people's hands: paused and resumed, and rid of what ended long ago.
#![cfg(test)]

use std::sync::Arc;

use chrono::TimeDelta;
use clearday::daemon::Daemon;
use clearday::domain::job::JobState;
use clearday::engine::{Effects, Handler, Retention};
use clearday::store::jobs;
use clearday_jobs::{JobId, JobKind};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::support::house::{House, Mode, eventually};
use crate::support::in_both_modes;

const KIND: JobKind = JobKind::OrderExpiry;

in_both_modes! {
    a_paused_queue_waits_on_every_daemon_and_goes_on_at_once_when_it_is_resumed: paused_and_resumed;
}

async fn paused_and_resumed(house: House) {
    let engine = house.engine().clone();
    engine
        .pause(KIND, "the channel is being changed", "ann")
        .await
        .unwrap();
    let mut ids = Vec::new();
    for number in 1..=5 {
        let order_no = format!("O-{number}");
        house.open_order(&order_no, &order_no).await;
        ids.push(expiry_of(&house, &order_no).await);
    }
    // Every daemon polls, sweeps and gives a sign of life after this, and none takes a job.
    house.clock.advance(TimeDelta::hours(2));
    let now = house.clock.now();
    let daemons = house.daemons.len();
    let all_alive = eventually(async || {
        let mut tx = house.store.read().await.unwrap();
        let seen = engine.daemons(&mut tx).await.unwrap();
        let alive = seen.iter().filter(|daemon| daemon.seen_at >= now).count();
        (alive == daemons).then_some(())
    });
    all_alive.await.expect("every daemon gives a sign of life");
    for id in &ids {
        assert_eq!(house.timeline(*id).await.len(), 1);
    }
    let queue = engine.queue(KIND).await.unwrap();
    assert_eq!((queue.count(JobState::Ready), queue.running()), (5, 0));

    // The clock stands still from here on: no poll finds them.
    engine.resume(KIND, "ann").await.unwrap();
    for id in ids {
        house.job_reaches(id, JobState::Done).await;
    }
    house.close().await;
}

async fn expiry_of(house: &House, order_no: &str) -> JobId {
    let payload =
        format!(r#"{{"version":1,"order_no":"{order_no}","expires_at":"2026-03-02T13:00:00Z"}}"#);
    house.submit(KIND, order_no, &payload).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_lets_finished_jobs_go_by_itself() {
    let mut house = House::without_daemons(Mode::Embedded).await;
    let mut parts = house.parts(house.store.clone(), house.handler(), TimeDelta::seconds(5));
    parts.retention = Some(Retention {
        jobs: TimeDelta::days(90),
        job_events: TimeDelta::days(400),
    });
    house.daemons.push(Daemon::start(parts).unwrap());
    let id = expiry_of(&house, "O-1").await;
    house.engine().cancel(id, "ann").await.unwrap();
    house.clock.advance(TimeDelta::days(91));
    let gone = eventually(async || {
        // The daemon may have set its alarm before the days passed, or after.
        house.clock.advance(TimeDelta::hours(2));
        let mut tx = house.store.read().await.unwrap();
        jobs::find(&mut tx, id)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    });
    gone.await.expect("the job is pruned");
    assert_eq!(house.timeline(id).await.len(), 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_little_to_do_starts_beside_a_burst_that_fills_all_other_places_on_sqlite() {
    a_place_is_spared(Mode::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_little_to_do_starts_beside_a_burst_that_fills_all_other_places_on_postgres() {
    a_place_is_spared(Mode::Production).await;
}

/// The runs hold their places until the test lets them go.
async fn a_place_is_spared(mode: Mode) {
    let mut house = House::without_daemons(mode).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = Handler::new({
        let gate = Arc::clone(&gate);
        move |run| {
            started.send(run.job().idempotency_key.clone()).unwrap();
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                run.end(Effects::default(), "let go").await
            })
        }
    });
    // Eight places, of which one is spared.
    house.start_daemon_with(house.store.clone(), handler, TimeDelta::seconds(5));
    for number in 1..=10 {
        notify(&house, "P-LOUD", number).await;
    }
    for _ in 0..7 {
        let key: String = starts.recv().await.unwrap();
        assert!(key.starts_with("P-LOUD"), "{key}");
    }
    notify(&house, "P-QUIET", 1).await;
    assert_eq!(starts.recv().await.unwrap(), "P-QUIET 1");
    gate.add_permits(11);
    for _ in 8..=10 {
        let key = starts.recv().await.unwrap();
        assert!(key.starts_with("P-LOUD"), "{key}");
    }
    house.close().await;
}

async fn notify(house: &House, partner: &str, number: usize) {
    let payload = json!({
        "version": 1, "order_no": "O-1", "partner_id": partner, "purpose": "reminder",
        "deadline": "2036-01-01T00:00:00Z",
    });
    let key = format!("{partner} {number}");
    let kind = JobKind::PartnerNotification;
    house.submit(kind, &key, &payload.to_string()).await;
}
