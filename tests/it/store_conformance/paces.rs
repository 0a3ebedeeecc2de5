//! A pace holds over all daemons, and when one of them is cut off from the database.
#![cfg(test)]

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::pace::Pace;
use clearday::engine::Pacer;

use crate::support::world::{World, on_both_databases};

on_both_databases! {
    two_daemons_keep_one_pace,
    after_a_pause_nothing_has_piled_up,
    each_name_has_a_pace_of_its_own,
    without_the_database_a_daemon_keeps_the_pace_by_itself,
}

const PACE: Pace = Pace::per_second(10);
const DISTANCE: TimeDelta = TimeDelta::milliseconds(100);

fn pacer(world: &World, name: &str) -> Pacer {
    Pacer::new(
        world.store.clone(),
        world.clock.clone(),
        name.to_owned(),
        PACE,
    )
}

async fn slots(pacers: &[Pacer], count: usize) -> Vec<DateTime<Utc>> {
    let mut slots = Vec::new();
    for pacer in pacers.iter().cycle().take(count) {
        slots.push(pacer.slot().await);
    }
    slots.sort();
    slots
}

fn evenly(from: DateTime<Utc>, count: i32) -> Vec<DateTime<Utc>> {
    (0..count).map(|nth| from + DISTANCE * nth).collect()
}

async fn two_daemons_keep_one_pace(world: World) {
    let pacers = [pacer(&world, "c"), pacer(&world, "c")];
    assert_eq!(slots(&pacers, 20).await, evenly(world.now(), 20));
}

async fn after_a_pause_nothing_has_piled_up(world: World) {
    let pacers = [pacer(&world, "c"), pacer(&world, "c")];
    slots(&pacers, 3).await;
    world.advance_seconds(60);
    assert_eq!(slots(&pacers, 8).await, evenly(world.now(), 8));
}

async fn each_name_has_a_pace_of_its_own(world: World) {
    let pacers = [pacer(&world, "c"), pacer(&world, "d")];
    let both = slots(&pacers, 4).await;
    let now = world.now();
    assert_eq!(both, [now, now, now + DISTANCE, now + DISTANCE]);
}

async fn without_the_database_a_daemon_keeps_the_pace_by_itself(world: World) {
    let pacers = [pacer(&world, "c")];
    slots(&pacers, 2).await;
    world.store.close().await;
    let from = world.now() + DISTANCE * 2;
    assert_eq!(slots(&pacers, 6).await, evenly(from, 6));
}
