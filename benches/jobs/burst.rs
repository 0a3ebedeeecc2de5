//! Many jobs that come due in the same second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use clearday::clock::Clock;
use clearday::engine::Handler;

use super::house::{BATCH, House, finished, receipt, submission};

/// Room as a daemon that is busy has it.
const CONCURRENCY: usize = 1_000;
/// Long enough to write them all down before.
const LEAD: TimeDelta = TimeDelta::seconds(20);

pub(crate) async fn measure(count: usize) {
    println!("burst: {count} jobs due in the same second");
    let house = House::postgres().await;
    let clock = Clock::system();
    let first = Arc::new(AtomicU64::new(u64::MAX));
    let (seen, told) = (Arc::clone(&first), clock.clone());
    let handler = Handler::new(move |run| {
        let now = u64::try_from(told.now().timestamp_micros()).unwrap();
        seen.fetch_min(now, Ordering::Relaxed);
        Box::pin(async move {
            let effects = receipt(&run.job().idempotency_key);
            run.end(effects, "booked").await
        })
    });
    let daemon = house.start(handler, CONCURRENCY);
    let due: DateTime<Utc> = clock.now().trunc_subsecs(0) + LEAD;
    let at = due.to_rfc3339_opts(SecondsFormat::Secs, true);
    let stamp = clock.now().timestamp_micros();
    let all: Vec<_> = (0..count)
        .map(|number| submission(&format!("B-{stamp}-{number}"), &at))
        .collect();
    for batch in all.chunks(BATCH) {
        daemon.engine().accept(batch.to_vec()).await.unwrap();
    }
    let spare = (due - clock.now()).num_milliseconds();
    assert!(spare > 0, "they were written down too late: fewer --jobs");
    clock.sleep_until(due).await;
    let started = Instant::now();
    finished(&daemon, count).await;
    let drained = started.elapsed();
    let first = i64::try_from(first.load(Ordering::Relaxed)).unwrap() - due.timestamp_micros();
    let failed = daemon.engine().counters().failed.load(Ordering::Relaxed);
    println!(
        "  first start {:.1} ms after it was due, the last done after {:.1} s, {failed} failed runs",
        first as f64 / 1_000.0,
        drained.as_secs_f64()
    );
    daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    house.close().await;
}
