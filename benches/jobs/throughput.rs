//! How many durable jobs a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clearday::clock::Clock;

use super::figures::{argument, median, spread};
use super::house::{BATCH, House, booking_handler, finished, submission};
use super::plain::{self, Work};

/// Room for as many runs as end together in one transaction, four times: while some end, others start and wait.
const PLACES: usize = 2_000;

pub(crate) async fn measure(count: usize, rounds: usize) {
    println!(
        "throughput: {count} durable jobs a round, {rounds} rounds; per second, medians, min and max in brackets"
    );
    let house = House::postgres().await;
    let mut ours: Vec<Round> = Vec::new();
    let mut bars: Vec<Round> = Vec::new();
    for round in 0..rounds {
        house.empty().await;
        bars.push(bar(&house, count).await);
        house.empty().await;
        ours.push(together(&house, round, count).await);
    }
    tell("plain SQL", count, &bars);
    tell("postgres + redis", count, &ours);
    let ratios: Vec<f64> = ours
        .iter()
        .zip(&bars)
        .map(|(ours, bar)| bar.whole.as_secs_f64() / ours.whole.as_secs_f64())
        .collect();
    println!(
        "  postgres + redis is {:.2} times plain SQL, end to end",
        median(&ratios)
    );
    house.close().await;

    let house = House::sqlite().await;
    let mut ours = Vec::new();
    for round in 0..rounds {
        ours.push(together(&house, round, count).await);
    }
    tell("sqlite", count, &ours);
    house.close().await;
}

/// What one round took.
struct Round {
    /// Until the last job was accepted.
    accept: Duration,
    /// Until the last job was done.
    whole: Duration,
}

async fn bar(house: &House, count: usize) -> Round {
    let work = Arc::new(Work::of(count));
    let started = Instant::now();
    plain::accept(&house.url, &work).await;
    let accept = started.elapsed();
    plain::drain(&house.url, &work).await;
    Round {
        accept,
        whole: started.elapsed(),
    }
}

/// Accepts everything while it is carried out.
async fn together(house: &House, round: usize, count: usize) -> Round {
    let daemon = house.start(booking_handler(), argument("--places", PLACES));
    let stamp = Clock::system().now().timestamp_micros();
    let submissions: Vec<_> = (0..count)
        .map(|number| {
            submission(
                &format!("T-{stamp}-{round}-{number}"),
                "2026-01-01T00:00:00Z",
            )
        })
        .collect();
    let started = Instant::now();
    for batch in submissions.chunks(BATCH) {
        daemon.engine().accept(batch.to_vec()).await.unwrap();
    }
    let accept = started.elapsed();
    finished(&daemon, count).await;
    let whole = started.elapsed();
    daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    Round { accept, whole }
}

fn tell(name: &str, count: usize, rounds: &[Round]) {
    let rates = |of: fn(&Round) -> Duration| -> Vec<f64> {
        let rate = |round| count as f64 / of(round).as_secs_f64();
        rounds.iter().map(rate).collect()
    };
    println!(
        "  {name:>16}: accepted {}, end to end {}",
        spread(&rates(|round| round.accept)),
        spread(&rates(|round| round.whole))
    );
}
