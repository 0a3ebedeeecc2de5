//! Ticks: each decided once, whoever comes first.
#![cfg(test)]

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clearday::clock::Clock;
use clearday::engine::{Engine, NoBell, TickPlan};
use clearday::store::jobs::{self, JobFilter};
use clearday::store::ticks::{self, Tick};
use clearday_jobs::JobKind;

use crate::support::world::{POLICY, World, noon, on_both_databases};

on_both_databases! {
    a_tick_fires_once_and_starts_its_job,
    a_new_schedule_is_never_backfilled,
    ticks_missed_in_downtime_are_coalesced_into_the_latest,
    two_engines_at_once_decide_each_tick_once,
    an_engine_that_is_late_decides_nothing_again,
    a_tick_whose_job_is_refused_is_skipped_and_the_refusal_kept,
    a_clock_set_back_decides_nothing_again,
    schedules_do_not_stand_in_each_others_way,
}

/// Every hour on the hour.
struct Hourly {
    name: &'static str,
    channel: &'static str,
}

const HOURLY: Hourly = Hourly {
    name: "hourly",
    channel: "wechat_pay",
};

impl TickPlan for Hourly {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> JobKind {
        JobKind::Reconciliation
    }

    fn due_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        let hour = TimeDelta::hours(1);
        let latest = until.duration_trunc(hour).unwrap();
        let mut due: Vec<DateTime<Utc>> = (0..)
            .map(|back| latest - hour * back)
            .take_while(|at| *at > from)
            .take(limit)
            .collect();
        due.reverse();
        due
    }

    fn payload(&self, due_at: DateTime<Utc>) -> String {
        let file = due_at.format("%Y-%m-%dT%H");
        format!(
            r#"{{"version":1,"channel":"{}","statements":["{file}.csv"]}}"#,
            self.channel
        )
    }
}

async fn a_tick_fires_once_and_starts_its_job(world: World) {
    let engine = world.engine("w");
    engine.tick(&HOURLY).await.unwrap();
    world.bell.take(JobKind::Reconciliation);
    world.advance_seconds(3_600);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 1);
    assert_eq!(world.bell.take(JobKind::Reconciliation), 1);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    assert_eq!(fates(&world).await, ["13:00 fired"]);
    let id = world
        .job_of_key("hourly@2026-03-02T13:00:00+00:00")
        .await
        .unwrap();
    let job = world.job(id).await;
    assert_eq!(job.source, "schedule");
    assert!(job.payload.contains("2026-03-02T13.csv"));
}

async fn a_new_schedule_is_never_backfilled(world: World) {
    let engine = world.engine("w");
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    assert!(fates(&world).await.is_empty());
    // 12:59:59.999999 and then 13:00:00.
    let to_one = "2026-03-02T13:00:00Z".parse::<DateTime<Utc>>().unwrap() - noon();
    world.clock.advance(to_one - TimeDelta::microseconds(1));
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    world.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 1);
}

async fn ticks_missed_in_downtime_are_coalesced_into_the_latest(world: World) {
    let engine = world.engine("w");
    engine.tick(&HOURLY).await.unwrap();
    world.advance_seconds(4 * 3_600);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 1);
    assert_eq!(
        fates(&world).await,
        [
            "16:00 fired",
            "15:00 coalesced",
            "14:00 coalesced",
            "13:00 coalesced"
        ]
    );
    assert_eq!(job_count(&world).await, 1);
}

async fn two_engines_at_once_decide_each_tick_once(world: World) {
    let (a, b) = (world.engine("a"), world.engine("b"));
    // Also the very first look, where both would write the schedule down.
    for hours in 0..12 {
        world.advance_seconds(3_600 * (hours % 3));
        let (by_a, by_b) = tokio::join!(a.tick(&HOURLY), b.tick(&HOURLY));
        let fired = by_a.unwrap() + by_b.unwrap();
        assert_eq!(fired, usize::from(hours % 3 != 0));
    }
    let fates = fates(&world).await;
    let fired = fates.iter().filter(|fate| fate.ends_with("fired")).count();
    let coalesced = fates
        .iter()
        .filter(|fate| fate.ends_with("coalesced"))
        .count();
    assert_eq!((fired, coalesced), (8, 4));
    assert_eq!(job_count(&world).await, 8);
}

/// Its clock is behind: it looks at ticks that the other one has just decided.
async fn an_engine_that_is_late_decides_nothing_again(world: World) {
    let ahead = world.engine("ahead");
    let behind = engine_at(&world, noon() + TimeDelta::hours(2));
    ahead.tick(&HOURLY).await.unwrap();
    world.advance_seconds(3 * 3_600);
    let (by_ahead, by_behind) = tokio::join!(ahead.tick(&HOURLY), behind.tick(&HOURLY));
    let fired = by_ahead.unwrap() + by_behind.unwrap();
    behind.tick(&HOURLY).await.unwrap();
    ahead.tick(&HOURLY).await.unwrap();
    let fates = fates(&world).await;
    assert_eq!(fates.len(), 3, "{fates:?}");
    assert_eq!(job_count(&world).await, fired);
    let shown: Vec<&str> = fates
        .iter()
        .map(|fate| fate.split(' ').next().unwrap())
        .collect();
    assert_eq!(shown, ["15:00", "14:00", "13:00"]);
}

async fn a_tick_whose_job_is_refused_is_skipped_and_the_refusal_kept(world: World) {
    let engine = world.engine("w");
    let broken = Hourly {
        name: "hourly",
        channel: "",
    };
    engine.tick(&broken).await.unwrap();
    world.advance_seconds(3_600);
    assert_eq!(engine.tick(&broken).await.unwrap(), 0);
    assert_eq!(world.rejections().await.len(), 1);
    // The configuration is mended: the next tick fires, the skipped one stays skipped.
    world.advance_seconds(3_600);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 1);
    assert_eq!(fates(&world).await, ["14:00 fired", "13:00 skipped"]);
    assert_eq!(world.rejections().await.len(), 1);
}

async fn a_clock_set_back_decides_nothing_again(world: World) {
    let engine = world.engine("w");
    engine.tick(&HOURLY).await.unwrap();
    world.advance_seconds(3_600);
    engine.tick(&HOURLY).await.unwrap();
    world.advance_seconds(-300);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    world.advance_seconds(300);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 0);
    assert_eq!(fates(&world).await, ["13:00 fired"]);
}

async fn schedules_do_not_stand_in_each_others_way(world: World) {
    let engine = world.engine("w");
    let other = Hourly {
        name: "other",
        channel: "alipay",
    };
    for plan in [&HOURLY, &other] {
        engine.tick(plan).await.unwrap();
    }
    world.advance_seconds(3_600);
    for plan in [&HOURLY, &other] {
        assert_eq!(engine.tick(plan).await.unwrap(), 1);
    }
    assert_eq!(job_count(&world).await, 2);
}

fn engine_at(world: &World, now: DateTime<Utc>) -> Engine {
    Engine::new(
        world.store.clone(),
        Clock::manual(now),
        world.ids.clone(),
        POLICY,
        "behind".to_owned(),
        std::sync::Arc::new(NoBell),
    )
}

/// Every decided tick, the newest first, like `13:00 fired`.
async fn fates(world: &World) -> Vec<String> {
    let mut tx = world.store.read().await.unwrap();
    let decided = ticks::list(&mut tx, 100).await.unwrap();
    let line = |tick: &Tick| format!("{} {}", tick.due_at.format("%H:%M"), tick.fate);
    decided.iter().map(line).collect()
}

async fn job_count(world: &World) -> usize {
    let mut tx = world.store.read().await.unwrap();
    let all = jobs::list(&mut tx, &JobFilter::default(), 1_000).await;
    all.unwrap().len()
}
