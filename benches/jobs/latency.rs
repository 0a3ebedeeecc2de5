//! How soon a job starts when nothing else is to do, durable before it does.

use std::time::{Duration, Instant};

use clearday::clock::Clock;
use clearday::engine::{Effects, Handler};
use tokio::sync::mpsc;

use super::figures::{median, quantile};
use super::house::{House, KIND, payload, redis_url, submission};

/// Room as a daemon has it by default.
const CONCURRENCY: usize = 16;
/// Between two jobs, so that each finds everybody idle.
const PAUSE: Duration = Duration::from_millis(5);
const PAST: &str = "2026-01-01T00:00:00Z";

pub(crate) async fn measure(count: usize, rounds: usize) {
    println!(
        "idle latency: {count} jobs one at a time, {rounds} rounds; from the call to the start of the handler, in milliseconds"
    );
    let house = House::postgres().await;
    let mut by_stream = Vec::new();
    let mut by_call = Vec::new();
    for _ in 0..rounds {
        by_stream.push(one_by_one(&house, count, Way::Stream).await);
        by_call.push(one_by_one(&house, count, Way::Call).await);
    }
    tell("XADD, postgres", &by_stream);
    tell("call, postgres", &by_call);
    house.close().await;
    let house = House::sqlite().await;
    let mut by_call = Vec::new();
    for _ in 0..rounds {
        by_call.push(one_by_one(&house, count, Way::Call).await);
    }
    tell("call, sqlite", &by_call);
    house.close().await;
}

#[derive(Clone, Copy)]
enum Way {
    Stream,
    Call,
}

async fn one_by_one(house: &House, count: usize, way: Way) -> Vec<f64> {
    let (sender, mut starts) = mpsc::unbounded_channel();
    let handler = Handler::new(move |run| {
        sender.send(Instant::now()).unwrap();
        Box::pin(async move { run.end(Effects::default(), "started").await })
    });
    let daemon = house.start(handler, CONCURRENCY);
    let stamp = Clock::system().now().timestamp_micros();
    let mut stream = Stream::open().await;
    let mut waits = Vec::with_capacity(count);
    for number in 0..count {
        tokio::time::sleep(PAUSE).await;
        let key = format!("L-{stamp}-{number}");
        let called = Instant::now();
        match way {
            Way::Stream => stream.add(&key).await,
            Way::Call => drop(
                daemon
                    .engine()
                    .accept(vec![submission(&key, PAST)])
                    .await
                    .unwrap(),
            ),
        }
        let started: Instant = starts.recv().await.unwrap();
        waits.push((started - called).as_secs_f64() * 1_000.0);
    }
    daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    waits
}

/// Upstream's own connection.
struct Stream(redis::aio::MultiplexedConnection);

impl Stream {
    async fn open() -> Self {
        let client = redis::Client::open(redis_url().unwrap()).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    async fn add(&mut self, key: &str) {
        let _id: String = redis::cmd("XADD")
            .arg(KIND.submission_stream())
            .arg("*")
            .arg("payload")
            .arg(payload(key, PAST))
            .arg("idempotency_key")
            .arg(key)
            .query_async(&mut self.0)
            .await
            .unwrap();
    }
}

fn tell(name: &str, rounds: &[Vec<f64>]) {
    let over = |figure: fn(&[f64]) -> f64| -> f64 {
        let figures: Vec<f64> = rounds.iter().map(|round| figure(round)).collect();
        median(&figures)
    };
    println!(
        "  {name:>16}: p50 {:.2}, p99 {:.2}",
        over(median),
        over(|round| quantile(round, 990))
    );
}
