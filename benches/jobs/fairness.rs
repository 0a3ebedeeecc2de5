//! How long a partner with little to do waits while another one has very much waiting.

use std::time::{Duration, Instant};

use clearday::clock::Clock;
use clearday::daemon::Daemon;
use clearday::engine::{Effects, Handler, Source, Submission};
use clearday_jobs::JobKind;
use tokio::sync::mpsc;

use super::figures::{median, quantile};
use super::house::{BATCH, House};

const KIND: JobKind = JobKind::PartnerNotification;
/// Room as a daemon has it by default.
const CONCURRENCY: usize = 16;
/// What a run takes that calls somebody outside.
const CALL: Duration = Duration::from_millis(20);
/// Jobs of the quiet partner in a round, one after the other.
const QUIET_JOBS: usize = 300;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn measure(loud_jobs: usize, rounds: usize) {
    println!(
        "fairness: {QUIET_JOBS} jobs of one partner, one at a time, runs of {} ms in {CONCURRENCY} places; from the call to the start, in milliseconds, medians of {rounds} rounds",
        CALL.as_millis()
    );
    let house = House::postgres().await;
    let mut alone = Vec::new();
    let mut beside = Vec::new();
    for _ in 0..rounds {
        house.empty().await;
        alone.push(waits_beside(&house, 0).await);
        house.empty().await;
        beside.push(waits_beside(&house, loud_jobs).await);
    }
    let over = |rounds: &[Vec<f64>], permille| {
        let figures: Vec<f64> = rounds
            .iter()
            .map(|round| quantile(round, permille))
            .collect();
        median(&figures)
    };
    let (alone_p99, beside_p99) = (over(&alone, 990), over(&beside, 990));
    println!(
        "  {:>24}: p50 {:.2}, p99 {alone_p99:.2}",
        "alone",
        over(&alone, 500)
    );
    println!(
        "  {:>24}: p50 {:.2}, p99 {beside_p99:.2}, {:.2} times the p99 alone",
        format!("beside {loud_jobs} waiting"),
        over(&beside, 500),
        beside_p99 / alone_p99
    );
    house.close().await;
}

async fn waits_beside(house: &House, loud_jobs: usize) -> Vec<f64> {
    let (sender, mut starts) = mpsc::unbounded_channel();
    let handler = Handler::new(move |run| {
        if run.job().idempotency_key.starts_with("quiet") {
            sender.send(Instant::now()).unwrap();
        }
        Box::pin(async move {
            tokio::time::sleep(CALL).await;
            run.end(Effects::default(), "called").await
        })
    });
    let daemon = house.start(handler, CONCURRENCY);
    let stamp = Clock::system().now().timestamp_micros();
    let loud: Vec<_> = (0..loud_jobs)
        .map(|number| notification("loud", stamp, number))
        .collect();
    for batch in loud.chunks(BATCH) {
        accept(&daemon, batch.to_vec()).await;
    }
    let mut waits = Vec::with_capacity(QUIET_JOBS);
    for number in 0..QUIET_JOBS {
        tokio::time::sleep(PAUSE).await;
        let called = Instant::now();
        accept(&daemon, vec![notification("quiet", stamp, number)]).await;
        let started: Instant = starts.recv().await.unwrap();
        waits.push((started - called).as_secs_f64() * 1_000.0);
    }
    daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    waits
}

async fn accept(daemon: &Daemon, batch: Vec<Submission>) {
    drop(daemon.engine().accept(batch).await.unwrap());
}

fn notification(partner: &str, stamp: i64, number: usize) -> Submission {
    let key = format!("{partner}-{stamp}-{number}");
    let payload = format!(
        r#"{{"version":1,"order_no":"{key}","partner_id":"{partner}","purpose":"reminder","deadline":"2036-01-01T00:00:00Z"}}"#
    );
    Submission {
        kind: KIND.to_string(),
        idempotency_key: Some(key),
        payload: payload.into_bytes(),
        source: Source::Http,
        fault: None,
    }
}
