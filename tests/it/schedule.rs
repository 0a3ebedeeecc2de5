//! Schedules followed by daemons: every tick fires at its time, once, whatever happens meanwhile.
#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::clock::{Clock, Ids};
use clearday::config;
use clearday::engine::{Bell, Engine, TickPlan};
use clearday::schedule::{Plan, plans, run};
use clearday::store::jobs::{self, JobFilter};
use clearday::store::{Store, ticks};
use clearday_jobs::JobKind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::house::eventually_within;
use crate::support::servers::{TestDatabase, TestPostgresServer};
use crate::support::world::{POLICY, noon};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A database, a clock, and daemons that follow schedules until the test ends.
struct Wall {
    store: Store,
    clock: Clock,
    ids: Ids,
    heard: mpsc::UnboundedReceiver<JobKind>,
    bell: std::sync::Arc<Ringing>,
    stop: CancellationToken,
    daemons: tokio::task::JoinSet<()>,
}

#[derive(Debug)]
struct Ringing(mpsc::UnboundedSender<JobKind>);

impl Bell for Ringing {
    fn ring(&self, kind: JobKind) {
        // Nobody listens any more when a test is over.
        self.0.send(kind).ok();
    }
}

impl Wall {
    async fn new(url: &str) -> Self {
        let store = Store::connect(url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Clock::manual(noon());
        let (ring, heard) = mpsc::unbounded_channel();
        Self {
            store,
            ids: Ids::seeded(clock.clone(), 7),
            clock,
            heard,
            bell: std::sync::Arc::new(Ringing(ring)),
            stop: CancellationToken::new(),
            daemons: tokio::task::JoinSet::new(),
        }
    }

    /// Writes the schedules down as followed from now on, so that no daemon need be waited for.
    async fn follow_from_now(&self, plans: &[Plan]) {
        for plan in plans {
            self.engine().tick(plan).await.unwrap();
        }
    }

    fn start_daemon(&mut self, plans: &[Plan]) {
        let (engine, plans, stop) = (self.engine(), plans.to_vec(), self.stop.clone());
        self.daemons.spawn(run(engine, plans, stop));
    }

    fn engine(&self) -> Engine {
        Engine::new(
            self.store.clone(),
            self.clock.clone(),
            self.ids.clone(),
            POLICY,
            "w".to_owned(),
            std::sync::Arc::<Ringing>::clone(&self.bell),
        )
    }

    async fn until_fired(&mut self) -> JobKind {
        let fired = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        fired.expect("no tick fired").unwrap()
    }

    /// Fails unless every tick since the start has its row, and no row is of another.
    async fn assert_each_once(&self, plan: &Plan, count: usize) {
        let due = plan.due_between(noon(), self.clock.now(), usize::MAX);
        let mut tx = self.store.read().await.unwrap();
        let decided = ticks::list(&mut tx, 100_000).await.unwrap();
        assert_eq!(decided.len(), count);
        assert!(decided.iter().rev().map(|tick| tick.due_at).eq(due));
    }

    async fn stop(mut self) -> Vec<String> {
        self.stop.cancel();
        let stopped = tokio::time::timeout(PATIENCE, async {
            while let Some(ended) = self.daemons.join_next().await {
                ended.unwrap();
            }
        });
        stopped.await.unwrap();
        self.fates().await
    }

    /// Every decided tick, the newest first.
    async fn fates(&self) -> Vec<String> {
        let mut tx = self.store.read().await.unwrap();
        let decided = ticks::list(&mut tx, 100_000).await.unwrap();
        let line = |tick: &ticks::Tick| {
            format!(
                "{} {} {}",
                tick.schedule,
                tick.due_at.format("%m-%dT%H:%M"),
                tick.fate
            )
        };
        decided.iter().map(line).collect()
    }
}

fn configured(name: &str, cron: &str, zone: chrono_tz::Tz) -> config::Schedule {
    config::Schedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        zone,
        kind: JobKind::Reconciliation,
        payload: r#"{"version":1,"channel":"wechat_pay","statements":["{date}.csv"]}"#.to_owned(),
        days_back: 1,
        catch_up: config::CatchUp::Coalesce,
        catch_up_max: None,
    }
}

fn daily() -> Vec<Plan> {
    plans(&[configured(
        "daily",
        "30 10 * * *",
        chrono_tz::Asia::Shanghai,
    )])
    .unwrap()
}

#[tokio::test]
async fn a_tick_fires_at_its_time_and_names_the_day_it_is_about() {
    let database = TestDatabase::sqlite();
    let mut wall = Wall::new(database.url()).await;
    wall.follow_from_now(&daily()).await;
    wall.start_daemon(&daily());
    // Noon in UTC; half past ten in Shanghai is 14.5 hours away.
    wall.clock.advance(TimeDelta::hours(15));
    assert_eq!(wall.until_fired().await, JobKind::Reconciliation);
    wall.clock.advance(TimeDelta::hours(24));
    wall.until_fired().await;
    let payloads = payloads(&wall).await;
    assert!(payloads[0].contains("2026-03-03.csv"), "{payloads:?}");
    assert!(payloads[1].contains("2026-03-02.csv"), "{payloads:?}");
    assert_eq!(
        wall.stop().await,
        ["daily 03-04T02:30 fired", "daily 03-03T02:30 fired"]
    );
}

async fn payloads(wall: &Wall) -> Vec<String> {
    let mut tx = wall.store.read().await.unwrap();
    let all = jobs::list(&mut tx, &JobFilter::default(), 100).await;
    all.unwrap().into_iter().map(|job| job.payload).collect()
}

#[tokio::test]
async fn what_was_due_in_downtime_fires_once_at_the_start() {
    let database = TestDatabase::sqlite();
    let mut wall = Wall::new(database.url()).await;
    wall.follow_from_now(&daily()).await;
    wall.clock.advance(TimeDelta::days(3));
    wall.start_daemon(&daily());
    wall.until_fired().await;
    assert_eq!(
        wall.stop().await,
        [
            "daily 03-05T02:30 fired",
            "daily 03-04T02:30 coalesced",
            "daily 03-03T02:30 coalesced"
        ]
    );
}

/// The autumn change of Berlin included: every time on the wall once.
#[tokio::test]
async fn three_daemons_fire_every_tick_once_over_a_change_of_the_clock() {
    let database = TestDatabase::postgres().await;
    let mut wall = Wall::new(database.url()).await;
    let to_autumn: DateTime<Utc> = "2026-10-24T23:00:00Z".parse().unwrap();
    wall.clock.advance(to_autumn - noon());
    let berlin = configured("berlin", "*/30 * * * *", chrono_tz::Europe::Berlin);
    let plans = plans(&[berlin]).unwrap();
    wall.follow_from_now(&plans).await;
    for _ in 0..3 {
        wall.start_daemon(&plans);
    }
    // From 01:00 summer time to 04:00 winter time, when the next tick is an hour away at 02:30.
    for minutes in [30, 30, 30, 90, 30, 30] {
        wall.clock.advance(TimeDelta::minutes(minutes));
        wall.until_fired().await;
    }
    assert_eq!(
        wall.stop().await,
        [
            "berlin 10-25T03:00 fired",
            "berlin 10-25T02:30 fired",
            "berlin 10-25T02:00 fired",
            "berlin 10-25T00:30 fired",
            "berlin 10-25T00:00 fired",
            "berlin 10-24T23:30 fired"
        ]
    );
}

#[tokio::test]
async fn a_clock_that_jumps_loses_no_tick_and_repeats_none() {
    let database = TestDatabase::sqlite();
    let mut wall = Wall::new(database.url()).await;
    let minutely = configured("minutely", "* * * * *", chrono_tz::UTC);
    let plans = plans(&[minutely]).unwrap();
    wall.follow_from_now(&plans).await;
    wall.start_daemon(&plans);
    // Forward over five minutes, back over five, and on.
    for minutes in [1, 5, -5, 6, 1] {
        wall.clock.advance(TimeDelta::minutes(minutes));
        if minutes > 0 {
            wall.until_fired().await;
        }
    }
    let fates = wall.stop().await;
    let fired = fates.iter().filter(|fate| fate.ends_with("fired")).count();
    let minute = |fate: &'_ String| fate.split(' ').nth(1).unwrap().to_owned();
    let mut minutes: Vec<String> = fates.iter().map(minute).collect();
    minutes.dedup();
    assert_eq!((fates.len(), minutes.len(), fired), (8, 8, 4), "{fates:?}");
}

/// The spring change of Berlin: what the clock leaves out is due where it goes on, once.
#[tokio::test]
async fn three_daemons_fire_every_tick_once_over_a_gap_of_the_clock() {
    let database = TestDatabase::postgres().await;
    let mut wall = Wall::new(database.url()).await;
    let to_spring: DateTime<Utc> = "2026-03-29T00:00:00Z".parse().unwrap();
    wall.clock.advance(to_spring - noon());
    let berlin = configured("berlin", "*/30 * * * *", chrono_tz::Europe::Berlin);
    let plans = plans(&[berlin]).unwrap();
    wall.follow_from_now(&plans).await;
    for _ in 0..3 {
        wall.start_daemon(&plans);
    }
    // From 01:00 to 01:30 winter time, then 02:00 and 02:30 that never come, then 03:30 summer time.
    for _ in 0..4 {
        wall.clock.advance(TimeDelta::minutes(30));
        wall.until_fired().await;
    }
    assert_eq!(
        wall.stop().await,
        [
            "berlin 03-29T02:00 fired",
            "berlin 03-29T01:30 fired",
            "berlin 03-29T01:00 fired",
            "berlin 03-29T00:30 fired"
        ]
    );
}

/// Over both changes of Berlin's clock, by three daemons that all wake at the end of it.
#[tokio::test]
async fn a_year_of_downtime_leaves_no_tick_absent_and_none_twice() {
    let database = TestDatabase::postgres().await;
    let mut wall = Wall::new(database.url()).await;
    let berlin = configured("berlin", "15 */2 * * *", chrono_tz::Europe::Berlin);
    let plans = plans(&[berlin]).unwrap();
    wall.follow_from_now(&plans).await;
    wall.clock.advance(TimeDelta::days(365));
    for _ in 0..3 {
        wall.start_daemon(&plans);
    }
    wall.until_fired().await;
    // Twelve times a day; what the gap leaves out is due at its end, what the fold shows twice once.
    wall.assert_each_once(&plans[0], 12 * 365).await;
}

#[tokio::test]
async fn a_week_of_downtime_leaves_no_minute_without_its_row() {
    let database = TestDatabase::postgres().await;
    let mut wall = Wall::new(database.url()).await;
    let minutely = configured("minutely", "* * * * *", chrono_tz::Asia::Shanghai);
    let plans = plans(&[minutely]).unwrap();
    wall.follow_from_now(&plans).await;
    wall.clock.advance(TimeDelta::days(7));
    for _ in 0..3 {
        wall.start_daemon(&plans);
    }
    wall.until_fired().await;
    wall.assert_each_once(&plans[0], 10_080).await;
    let fates = wall.stop().await;
    let count = |fate: &str| fates.iter().filter(|line| line.ends_with(fate)).count();
    assert_eq!(
        (count("fired"), count("coalesced"), count("missed")),
        (1, 999, 9_080)
    );
}

#[tokio::test]
async fn three_daemons_whose_clock_jumps_to_and_fro_decide_each_minute_once() {
    let database = TestDatabase::postgres().await;
    let mut wall = Wall::new(database.url()).await;
    let minutely = configured("minutely", "* * * * *", chrono_tz::UTC);
    let plans = plans(&[minutely]).unwrap();
    wall.follow_from_now(&plans).await;
    for _ in 0..3 {
        wall.start_daemon(&plans);
    }
    for minutes in [5, -5, 6, -5, -1, 7, 5] {
        wall.clock.advance(TimeDelta::minutes(minutes));
        // Only where there is a minute that no earlier jump has reached.
        if [5, 6, 7].contains(&minutes) {
            wall.until_fired().await;
        }
    }
    wall.assert_each_once(&plans[0], 12).await;
}

#[tokio::test]
async fn a_database_that_goes_away_delays_a_tick_and_ends_nothing() {
    let mut server = TestPostgresServer::start().await;
    let mut wall = Wall::new(&server.url()).await;
    wall.follow_from_now(&daily()).await;
    wall.start_daemon(&daily());
    server.stop().await;
    wall.clock.advance(TimeDelta::hours(15));
    // The daemon looks, fails and waits by its clock; it is let to do so a few times.
    let later = async |wall: &Wall| {
        wall.clock.advance(TimeDelta::seconds(1));
        tokio::task::yield_now().await;
    };
    for _ in 0..100 {
        later(&wall).await;
    }
    assert!(wall.heard.try_recv().is_err());
    server.restart().await;
    // A second at each look: a daemon that gets no time to run must not find tomorrow's due as well.
    let fired = eventually_within(PATIENCE, async || {
        later(&wall).await;
        (!wall.heard.is_empty()).then_some(())
    });
    fired.await.expect("the tick fires");
    assert_eq!(wall.stop().await, ["daily 03-03T02:30 fired"]);
}

#[tokio::test]
async fn without_schedules_nothing_is_looked_for_and_the_end_is_quick() {
    let database = TestDatabase::sqlite();
    let mut wall = Wall::new(database.url()).await;
    wall.start_daemon(&[]);
    wall.clock.advance(TimeDelta::days(1));
    assert!(wall.stop().await.is_empty());
}
