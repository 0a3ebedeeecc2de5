//! Ticks: each decided once, whoever comes first.
#![cfg(test)]

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clearday::clock::Clock;
use clearday::domain::schedule::{CatchUp, TickFate};
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
    ticks_beyond_what_is_coalesced_are_missed_and_on_record,
    where_all_fire_the_newest_do_and_the_others_are_missed,
    where_late_ticks_are_skipped_only_one_on_time_fires,
    two_engines_at_once_catch_up_without_a_gap,
}

/// Every hour on the hour.
struct Hourly {
    name: &'static str,
    channel: &'static str,
    catch_up: CatchUp,
}

const HOURLY: Hourly = Hourly {
    name: "hourly",
    channel: "wechat_pay",
    catch_up: CatchUp::Coalesce,
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

    fn due_before(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        let first = from.duration_trunc(TimeDelta::hours(1)).unwrap();
        (1..)
            .map(|hours| first + TimeDelta::hours(hours))
            .take_while(|at| *at < until)
            .take(limit)
            .collect()
    }

    fn catch_up(&self) -> CatchUp {
        self.catch_up
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
        ..HOURLY
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
        ..HOURLY
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

async fn ticks_beyond_what_is_coalesced_are_missed_and_on_record(world: World) {
    let engine = world.engine("w");
    engine.tick(&HOURLY).await.unwrap();
    world.advance_seconds(3_600 * 2_500);
    assert_eq!(engine.tick(&HOURLY).await.unwrap(), 1);
    assert_each_hour_once(&world, 2_500).await;
    assert_eq!(count(&world, TickFate::Coalesced).await, 999);
    assert_eq!(count(&world, TickFate::Missed).await, 1_500);
    let decided = all_ticks(&world).await;
    assert_eq!(decided[0].fate, TickFate::Fired);
    assert_eq!(decided[999].fate, TickFate::Coalesced);
    assert_eq!(decided[1_000].fate, TickFate::Missed);
}

async fn where_all_fire_the_newest_do_and_the_others_are_missed(world: World) {
    let engine = world.engine("w");
    let all = Hourly {
        catch_up: CatchUp::All { most: 3 },
        ..HOURLY
    };
    engine.tick(&all).await.unwrap();
    world.advance_seconds(3_600 * 5);
    assert_eq!(engine.tick(&all).await.unwrap(), 3);
    assert_eq!(
        fates(&world).await,
        [
            "17:00 fired",
            "16:00 fired",
            "15:00 fired",
            "14:00 missed",
            "13:00 missed"
        ]
    );
    assert_eq!(job_count(&world).await, 3);
}

async fn where_late_ticks_are_skipped_only_one_on_time_fires(world: World) {
    let engine = world.engine("w");
    let skip = Hourly {
        catch_up: CatchUp::Skip,
        ..HOURLY
    };
    engine.tick(&skip).await.unwrap();
    world.advance_seconds(3_600 * 3 + 61);
    assert_eq!(engine.tick(&skip).await.unwrap(), 0);
    world.advance_seconds(3_600 - 2);
    assert_eq!(engine.tick(&skip).await.unwrap(), 1);
    assert_eq!(
        fates(&world).await,
        [
            "16:00 fired",
            "15:00 skipped",
            "14:00 skipped",
            "13:00 skipped"
        ]
    );
}

async fn two_engines_at_once_catch_up_without_a_gap(world: World) {
    let (a, b) = (world.engine("a"), world.engine("b"));
    a.tick(&HOURLY).await.unwrap();
    world.advance_seconds(3_600 * 3_100);
    let (by_a, by_b) = tokio::join!(a.tick(&HOURLY), b.tick(&HOURLY));
    assert_eq!(by_a.unwrap() + by_b.unwrap(), 1);
    assert_each_hour_once(&world, 3_100).await;
    assert_eq!(count(&world, TickFate::Missed).await, 2_100);
}

/// Fails unless each of so many hours from one o'clock on has its row.
async fn assert_each_hour_once(world: &World, hours: i32) {
    let decided = all_ticks(world).await;
    let hour = TimeDelta::hours(1);
    let first = noon().duration_trunc(hour).unwrap();
    let expected = (1..=hours).map(|hours| first + hour * hours);
    assert!(decided.iter().rev().map(|tick| tick.due_at).eq(expected));
}

async fn count(world: &World, fate: TickFate) -> usize {
    let decided = all_ticks(world).await;
    decided.iter().filter(|tick| tick.fate == fate).count()
}

/// Every decided tick, the newest first.
async fn all_ticks(world: &World) -> Vec<Tick> {
    let mut tx = world.store.read().await.unwrap();
    ticks::list(&mut tx, 100_000).await.unwrap()
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
