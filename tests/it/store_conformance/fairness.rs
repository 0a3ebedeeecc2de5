//! Between partitions: a burst of one waits behind itself, and a limit per partition holds over all daemons.
#![cfg(test)]

use std::collections::BTreeMap;

use chrono::TimeDelta;
use clearday::domain::job::{Job, Priority};
use clearday::engine::{Engine, Policy, Room};
use clearday::store::all_statements;
use clearday::store::jobs::{self, NewJob, RunEnd};
use clearday_jobs::{JobId, JobKind};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::support::world::{POLICY, World, noon, on_both_databases};

const KIND: JobKind = JobKind::DeferredAuthorization;

on_both_databases! {
    one_who_comes_after_a_burst_of_another_does_not_wait_behind_it,
    what_one_partition_leaves_free_is_the_other_s,
    with_more_partitions_than_are_looked_at_each_has_its_turn,
    work_of_nobody_in_particular_is_a_partition_too,
    an_urgent_job_of_a_burst_still_comes_first,
    a_limit_per_partition_holds_over_all_daemons,
    a_partition_that_is_not_due_takes_no_room,
    who_has_little_to_do_finds_a_place_beside_a_burst,
    with_nobody_else_due_a_burst_leaves_the_spared_places_free,
    no_limit_and_no_pause_is_passed_by_a_spared_place,
}

async fn one_who_comes_after_a_burst_of_another_does_not_wait_behind_it(world: World) {
    insert(&world, "burst", 2_000, Priority::Normal).await;
    let engine = world.engine("w");
    assert_eq!(taken(&engine, 100).await, [("burst", 100)].into());
    world.advance_seconds(1);
    insert(&world, "late", 30, Priority::Normal).await;
    // It was served nothing yet, so it is served first, and then both alike.
    assert_eq!(taken(&engine, 20).await, [("late", 20)].into());
    assert_eq!(
        taken(&engine, 20).await,
        [("burst", 10), ("late", 10)].into()
    );
    assert_eq!(taken(&engine, 20).await, [("burst", 20)].into());
}

async fn what_one_partition_leaves_free_is_the_other_s(world: World) {
    insert(&world, "many", 50, Priority::Normal).await;
    insert(&world, "few", 3, Priority::Normal).await;
    let engine = world.engine("w");
    assert_eq!(taken(&engine, 20).await, [("few", 3), ("many", 17)].into());
}

async fn with_more_partitions_than_are_looked_at_each_has_its_turn(world: World) {
    // The burst is the oldest and its name the first.
    insert(&world, "a burst", 500, Priority::Normal).await;
    world.advance_seconds(1);
    let names: Vec<String> = (0..150).map(|number| format!("m-{number:03}")).collect();
    for name in &names {
        insert(&world, name, 1, Priority::Normal).await;
    }
    let engine = world.engine("w");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..4 {
        for (name, count) in leased(&engine, 100).await {
            *seen.entry(name).or_default() += count;
        }
    }
    assert_eq!(seen.len(), 151, "{seen:?}");
    assert_eq!(seen["a burst"], 250);
}

async fn work_of_nobody_in_particular_is_a_partition_too(world: World) {
    insert(&world, "", 50, Priority::Normal).await;
    insert(&world, "m", 50, Priority::Normal).await;
    let engine = world.engine("w");
    assert_eq!(taken(&engine, 10).await, [("", 5), ("m", 5)].into());
}

async fn an_urgent_job_of_a_burst_still_comes_first(world: World) {
    insert(&world, "m", 50, Priority::Normal).await;
    insert(&world, "burst", 50, Priority::Urgent).await;
    let engine = world.engine("w");
    assert_eq!(taken(&engine, 50).await, [("burst", 50)].into());
    assert_eq!(taken(&engine, 50).await, [("m", 50)].into());
}

/// Eight places, of which two are spared.
const EIGHT: Room = Room { free: 8, spared: 2 };
/// The spared ones.
const LAST_TWO: Room = Room { free: 2, spared: 2 };

async fn who_has_little_to_do_finds_a_place_beside_a_burst(world: World) {
    insert(&world, "burst", 20, Priority::Normal).await;
    let engine = world.engine("w");
    assert_eq!(into(&engine, EIGHT).await, ([("burst", 6)].into(), true));
    assert_eq!(into(&engine, LAST_TWO).await, ([].into(), true));
    insert(&world, "little", 3, Priority::Normal).await;
    assert_eq!(
        into(&engine, LAST_TWO).await,
        ([("little", 2)].into(), true)
    );
    // If one more came, each would have three: nobody takes the place of that one.
    let last = Room { free: 1, spared: 2 };
    assert_eq!(into(&engine, last).await, ([("little", 1)].into(), true));
    insert(&world, "little", 1, Priority::Urgent).await;
    assert_eq!(into(&engine, last).await, ([].into(), true));
    insert(&world, "other", 1, Priority::Bulk).await;
    assert_eq!(into(&engine, last).await, ([("other", 1)].into(), true));
}

async fn with_nobody_else_due_a_burst_leaves_the_spared_places_free(world: World) {
    insert(&world, "burst", 6, Priority::Normal).await;
    let engine = world.engine("w");
    assert_eq!(into(&engine, EIGHT).await, ([("burst", 6)].into(), false));
    insert(&world, "burst", 1, Priority::Urgent).await;
    insert(&world, "other", 1, Priority::Bulk).await;
    assert_eq!(into(&engine, LAST_TWO).await, ([("other", 1)].into(), true));
}

async fn no_limit_and_no_pause_is_passed_by_a_spared_place(world: World) {
    insert(&world, "burst", 20, Priority::Normal).await;
    let policy = Policy {
        partition_concurrency: Some(1),
        ..POLICY
    };
    let engine = world.engine_with("w", policy);
    assert_eq!(into(&engine, EIGHT).await, ([("burst", 1)].into(), true));
    assert_eq!(into(&engine, LAST_TWO).await, ([].into(), true));
    engine.pause(KIND, "stop", "ops").await.unwrap();
    insert(&world, "other", 2, Priority::Normal).await;
    assert_eq!(into(&engine, EIGHT).await, ([].into(), false));
}

async fn a_limit_per_partition_holds_over_all_daemons(world: World) {
    insert(&world, "burst", 50, Priority::Normal).await;
    insert(&world, "late", 2, Priority::Normal).await;
    let policy = Policy {
        partition_concurrency: Some(5),
        ..POLICY
    };
    let (a, b) = (
        world.engine_with("a", policy),
        world.engine_with("b", policy),
    );
    assert_eq!(leased(&a, 4).await, expected(&[("burst", 2), ("late", 2)]));
    let second = b.lease_due(KIND, 10).await.unwrap();
    assert_eq!(second.len(), 3);
    assert!(leased(&a, 10).await.is_empty());
    // What is given back makes room.
    b.hand_back_all().await.unwrap();
    assert_eq!(leased(&a, 10).await, expected(&[("burst", 3)]));
}

async fn a_partition_that_is_not_due_takes_no_room(world: World) {
    insert(&world, "due", 5, Priority::Normal).await;
    insert_at(&world, "later", 100, TimeDelta::hours(1)).await;
    let engine = world.engine("w");
    assert_eq!(taken(&engine, 5).await, [("due", 5)].into());
    assert!(taken(&engine, 5).await.is_empty());
}

/// What is leased into this much room, by partition.
async fn leased(engine: &Engine, room: usize) -> BTreeMap<String, usize> {
    counted(engine.lease_due(KIND, room).await.unwrap())
}

fn counted(jobs: Vec<Job>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.partition.unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// What is leased by [`leased`], with names that live as long as the test.
async fn taken(engine: &Engine, room: usize) -> BTreeMap<&'static str, usize> {
    named(leased(engine, room).await)
}

/// What is leased where some room is spared, and whether more is due.
async fn into(engine: &Engine, room: Room) -> (BTreeMap<&'static str, usize>, bool) {
    let leased = engine.lease_into(KIND, room).await.unwrap();
    (named(counted(leased.jobs)), leased.has_more)
}

fn named(counts: BTreeMap<String, usize>) -> BTreeMap<&'static str, usize> {
    let names = [
        "", "a burst", "burst", "due", "few", "late", "later", "little", "m", "many", "other",
    ];
    counts
        .into_iter()
        .map(|(name, count)| (*names.iter().find(|known| **known == name).unwrap(), count))
        .collect()
}

fn expected(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let owned = counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    owned.collect()
}

async fn insert(world: &World, partition: &str, count: usize, priority: Priority) {
    write(world, partition, count, priority, TimeDelta::zero()).await;
}

async fn insert_at(world: &World, partition: &str, count: usize, wait: TimeDelta) {
    write(world, partition, count, Priority::Normal, wait).await;
}

async fn write(world: &World, partition: &str, count: usize, priority: Priority, wait: TimeDelta) {
    let jobs: Vec<NewJob> = (0..count)
        .map(|number| NewJob {
            id: JobId(world.ids.uuid()),
            kind: KIND,
            priority,
            partition: Some(partition.to_owned()).filter(|name| !name.is_empty()),
            idempotency_key: format!("{partition} {number} {priority:?}"),
            payload: "{}".to_owned(),
            payload_sha256: "0".repeat(64),
            source: "test".to_owned(),
            run_at: world.now().max(noon()) + wait,
            attempts_max: 3,
            note: "accepted".to_owned(),
            created_at: world.now(),
        })
        .collect();
    let mut tx = world.begin().await;
    assert_eq!(jobs::insert(&mut tx, &jobs).await.unwrap().len(), count);
    tx.commit().await.unwrap();
}

/// On Postgres only, whose names may stand in another order than their bytes.
#[tokio::test]
async fn each_partition_has_its_turn_whatever_order_the_database_has_names_in() {
    let world = World::postgres().await;
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    connection
        .execute(r#"ALTER TABLE jobs ALTER COLUMN partition_key TYPE TEXT COLLATE "en-x-icu""#)
        .await
        .unwrap();
    insert(&world, "burst", 1_000, Priority::Normal).await;
    world.advance_seconds(1);
    let names: Vec<String> = (0..80)
        .map(|n| format!("{}{n:02}", if n % 2 == 0 { 'a' } else { 'B' }))
        .collect();
    for name in &names {
        insert(&world, name, 30, Priority::Normal).await;
    }
    let engine = world.engine("w");
    let mut served = BTreeMap::new();
    for _ in 0..20 {
        for (name, count) in leased(&engine, 16).await {
            *served.entry(name).or_insert(0) += count;
        }
    }
    let waiting: Vec<&String> = names
        .iter()
        .filter(|name| !served.contains_key(*name))
        .collect();
    assert_eq!(waiting, Vec::<&String>::new());
}

/// Blocks of memory that a statement on the index of what is due may look at, however much is due.
const BLOCKS_MAX: i64 = 100;

#[tokio::test]
async fn a_claim_looks_at_little_of_a_table_that_postgres_knows_nothing_of() {
    let world = World::postgres().await;
    insert(&world, "burst", 5_000, Priority::Normal).await;
    world.advance_seconds(1);
    insert(&world, "late", 1, Priority::Normal).await;
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    let (kind, now) = (KIND.as_str(), world.now().to_rfc3339());
    for (name, values) in [
        ("LOOK", format!("'{kind}', '{now}', 10, 2, '', 33")),
        (
            "DUE_OF_PARTITION",
            format!("'{kind}', 2, '{now}', 10, 'late'"),
        ),
        ("NEXT_RUN_AT", format!("'{kind}'")),
        ("OLDEST_DUE", format!("'{kind}', 2, '{now}'")),
    ] {
        let known = all_statements().into_iter();
        let mut found =
            known.filter(|(file, known, _)| ["claims", "jobs"].contains(file) && *known == name);
        let (_, _, statement) = found.next().unwrap();
        let prepare = format!("PREPARE {name} AS {}", statement.postgres);
        connection.execute(AssertSqlSafe(prepare)).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name}({values})");
        let explained = connection.fetch_one(AssertSqlSafe(explain)).await.unwrap();
        let plan: serde_json::Value = explained.get(0);
        let blocks = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap();
        assert!(blocks < BLOCKS_MAX, "{name}: {blocks} blocks\n{plan:#}");
    }
}

#[tokio::test]
async fn leases_end_and_are_renewed_by_their_ids_whatever_postgres_believes_of_what_runs() {
    let world = World::postgres().await;
    insert(&world, "many", 3_000, Priority::Normal).await;
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    // Now it believes that nothing runs.
    connection.execute("ANALYZE jobs").await.unwrap();
    let engine = world.engine("w");
    let leased = engine.lease_due(KIND, 2_000).await.unwrap();
    assert_eq!(engine.renew_held().await.unwrap().renewed, 2_000);
    let ends: Vec<RunEnd<'_>> = leased
        .iter()
        .take(500)
        .map(|job| RunEnd {
            id: job.id,
            epoch: job.lease_epoch,
            note: "done",
        })
        .collect();
    let mut tx = world.begin().await;
    let ended = jobs::finish_all(&mut tx, &ends, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ended.len(), 500);
    // What a connection did is counted at the latest when it has gone.
    world.store.close().await;
    while number(&mut connection, OTHERS).await > 0 {}
    assert_eq!(number(&mut connection, LOOKS_AT_WHAT_RUNS).await, 0);
}

const OTHERS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
const LOOKS_AT_WHAT_RUNS: &str = "SELECT SUM(idx_scan)::BIGINT FROM pg_stat_user_indexes \
                                  WHERE indexrelname IN ('jobs_leased', 'jobs_by_state')";

async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}
