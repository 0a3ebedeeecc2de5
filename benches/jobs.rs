//! Durable jobs end to end: accepted, leased, carried out with an effect, and done, all committed.
//!
//! The job is `order_expiry` of an order without references: two changes of the order with their
//! history, and the job's own rows. Both rates count from the first submission.
//!
//! `scripts/bench [--jobs N] [--rounds N]`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people; it ends at the first fault"
)]
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "rates, not money"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use clearday::clock::{Clock, Ids};
use clearday::config::Settings;
use clearday::connectors::messages::{MessageSettings, Messages};
use clearday::connectors::{Channels, Now};
use clearday::daemon::{Daemon, Parts};
use clearday::domain::deferred_authorization::ChargingRules;
use clearday::domain::job::JobState;
use clearday::domain::order::{Order, OrderState};
use clearday::engine::{Policy, Source, Submission};
use clearday::queue::QueueSettings;
use clearday::store::{Store, jobs, orders};
use clearday::workers::{self, Workbench};
use clearday_jobs::{Currency, JobKind, Money};

/// Runs at the same time.
const CONCURRENCY: usize = 32;
/// Submissions per accepted batch, as the Redis intake takes them.
const BATCH: usize = 100;

#[tokio::main]
async fn main() {
    let count = argument("--jobs", 5_000);
    let rounds = argument("--rounds", 3);
    let folder = std::env::temp_dir().join(format!("clearday-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    println!("{count} jobs a round, {rounds} rounds, {CONCURRENCY} at the same time");
    let sqlite = format!("sqlite://{}", folder.join("bench.db").display());
    for url in [
        std::env::var("CLEARDAY_TEST_DATABASE_URL").ok(),
        Some(sqlite),
    ]
    .into_iter()
    .flatten()
    {
        let store = Store::connect(&url, 40).await.unwrap();
        store.migrate().await.unwrap();
        let mut accepted = Vec::new();
        let mut done = Vec::new();
        for round in 0..rounds {
            let (accept, drain) = measure(&store, round, count).await;
            accepted.push(count as f64 / accept.as_secs_f64());
            done.push(count as f64 / drain.as_secs_f64());
        }
        println!(
            "{:>8}: accepted {}/s, end to end {}/s (median of {rounds}; min and max in brackets)",
            store.dialect(),
            spread(accepted),
            spread(done)
        );
        store.close().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn measure(store: &Store, round: usize, count: usize) -> (Duration, Duration) {
    write_orders(store, round, count).await;
    let daemon = start(store);
    let submissions: Vec<Submission> = (0..count).map(|n| submission(round, n)).collect();
    let started = Instant::now();
    for batch in submissions.chunks(BATCH) {
        daemon.engine().accept(batch.to_vec()).await.unwrap();
    }
    let accepted = started.elapsed();
    while in_state(store, JobState::Done).await < (round + 1) * count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drained = started.elapsed();
    daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    (accepted, drained)
}

fn start(store: &Store) -> Daemon {
    let clock = Clock::system();
    let told = clock.clone();
    let now: Now = Arc::new(move || told.now());
    Daemon::start(Parts {
        store: store.clone(),
        ids: Ids::random(clock.clone()),
        clock,
        policy: Policy {
            lease: TimeDelta::seconds(60),
            attempts_max: 5,
            rescues_max: 3,
            handler_timeout: Duration::from_mins(1),
        },
        queue: QueueSettings {
            concurrency: CONCURRENCY,
            poll: Duration::from_secs(5),
        },
        heartbeat: TimeDelta::seconds(10),
        sweep: TimeDelta::seconds(5),
        redis_url: std::env::var("CLEARDAY_TEST_REDIS_URL")
            .ok()
            .filter(|_| store.dialect() == "postgres"),
        retention: None,
        handler: workers::handler(Workbench {
            channels: Arc::new(Channels::build([], &now).unwrap()),
            messages: Arc::new(Messages::build(&no_messages(), &now).unwrap()),
            pay_link: None,
            banks: Arc::default(),
            deposit_texts: Arc::default(),
            charging: Arc::new(ChargingRules {
                sequence: Vec::new(),
                zone: chrono_tz::UTC,
            }),
            approvals: Arc::default(),
            statements: std::env::temp_dir(),
            heavy: Arc::new(tokio::sync::Semaphore::new(1)),
        }),
    })
    .unwrap()
}

/// No way to send any.
fn no_messages() -> MessageSettings {
    Settings::load(None, []).unwrap().messages()
}

async fn write_orders(store: &Store, round: usize, count: usize) {
    let yuan = Currency::parse("CNY").unwrap();
    let now = Clock::system().now() - TimeDelta::hours(1);
    let mut tx = store.begin().await.unwrap();
    for number in 0..count {
        let order = Order {
            order_no: format!("B-{round}-{number}").parse().unwrap(),
            group_no: format!("B-{round}-{number}").parse().unwrap(),
            merchant_id: "bench".parse().unwrap(),
            total: Money::from_minor(100, yuan),
            state: OrderState::Open,
            version: 1,
            expires_at: now,
            updated_at: now,
        };
        let new = orders::NewOrder {
            order: &order,
            reason: "bench",
        };
        orders::insert(&mut tx, new, now).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn submission(round: usize, number: usize) -> Submission {
    Submission {
        kind: JobKind::OrderExpiry.to_string(),
        idempotency_key: Some(format!("bench {round} {number}")),
        payload: format!(
            r#"{{"version":1,"order_no":"B-{round}-{number}","expires_at":"2026-01-01T00:00:00Z"}}"#
        )
        .into_bytes(),
        source: Source::Http,
        fault: None,
    }
}

async fn in_state(store: &Store, state: JobState) -> usize {
    let mut tx = store.read().await.unwrap();
    let count = jobs::count_in_state(&mut tx, JobKind::OrderExpiry, state)
        .await
        .unwrap();
    usize::try_from(count).unwrap()
}

fn spread(mut rates: Vec<f64>) -> String {
    rates.sort_by(f64::total_cmp);
    let at = |position: usize| rates.get(position).copied().unwrap_or_default();
    format!(
        "{:.0} [{:.0}, {:.0}]",
        at(rates.len().div_euclid(2)),
        at(0),
        at(rates.len().saturating_sub(1))
    )
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args();
    arguments
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .map_or(default, |value| value.parse().unwrap())
}
