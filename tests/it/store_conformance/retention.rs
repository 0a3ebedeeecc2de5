//! Finished jobs leave when their time is over, a batch after the other, and what the books refer to stays.
#![cfg(test)]

use std::collections::BTreeSet;

use chrono::TimeDelta;
use clearday::domain::job::JobState;
use clearday::domain::operation::OperationState;
use clearday::engine::{Engine, Pruned, Retention, Run, WorkError};
use clearday::store::retention::{self, REFERRING};
use clearday::store::{events, jobs, operations};
use clearday_jobs::{JobId, JobKind};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::world::{World, due, lease_one, new_id, on_both_databases};

on_both_databases! {
    done_and_cancelled_jobs_leave_when_their_time_is_over,
    a_history_outlives_its_job_for_as_long_as_it_was_set,
    what_the_books_refer_to_stays_and_is_not_looked_at_again,
    a_key_is_remembered_for_as_long_as_its_job,
    several_daemons_prune_beside_each_other,
    what_is_foreseen_is_what_happens,
}

const KIND: JobKind = JobKind::Reconciliation;
const KEEP: Retention = Retention {
    jobs: TimeDelta::days(90),
    job_events: TimeDelta::days(90),
};
const KEEP_HISTORIES: Retention = Retention {
    jobs: TimeDelta::days(90),
    job_events: TimeDelta::days(400),
};

fn pruned(jobs: u64, histories: u64, kept: u64) -> Pruned {
    Pruned {
        jobs,
        histories,
        kept,
        has_more: false,
    }
}

async fn done_job(world: &World, engine: &Engine, key: &str) -> JobId {
    let job = world.leased_job(engine, key).await;
    let id = job.id;
    let finish = |run: Run| async move { run.done(run.begin().await?, "done").await };
    engine.execute(job, finish).await;
    id
}

async fn is_known(world: &World, id: JobId) -> bool {
    let mut tx = world.store.read().await.unwrap();
    jobs::find(&mut tx, id).await.unwrap().is_some()
}

async fn events_of(world: &World, id: JobId) -> usize {
    let mut tx = world.store.read().await.unwrap();
    events::timeline(&mut tx, id).await.unwrap().len()
}

async fn done_and_cancelled_jobs_leave_when_their_time_is_over(world: World) {
    let engine = world.engine("w");
    let done = done_job(&world, &engine, "done").await;
    let cancelled = world.due_job("cancelled").await;
    engine.cancel(cancelled, "ops").await.unwrap();
    let dead = world.leased_job(&engine, "dead").await;
    let refuse = |_: Run| async { Err(WorkError::Invalid("two currencies".to_owned())) };
    engine.execute(dead.clone(), refuse).await;
    let ready = world.due_job("ready").await;

    world.clock.advance(TimeDelta::days(90));
    // The period is half-open: at its end a job is still there.
    assert_eq!(engine.prune_batch(&KEEP).await.unwrap(), pruned(0, 0, 0));
    world.advance_seconds(1);
    assert_eq!(engine.prune_batch(&KEEP).await.unwrap(), pruned(2, 2, 0));
    for id in [done, cancelled] {
        assert!(!is_known(&world, id).await);
        assert_eq!(events_of(&world, id).await, 0);
    }
    for id in [dead.id, ready] {
        assert!(is_known(&world, id).await);
        world.story(id).await;
    }
    // A dead letter that somebody gives up goes the way of the others.
    engine.cancel(dead.id, "ops").await.unwrap();
    world.clock.advance(TimeDelta::days(91));
    assert_eq!(engine.prune_batch(&KEEP).await.unwrap(), pruned(1, 1, 0));
}

async fn a_history_outlives_its_job_for_as_long_as_it_was_set(world: World) {
    let engine = world.engine("w");
    let id = done_job(&world, &engine, "a").await;
    world.clock.advance(TimeDelta::days(91));
    let batch = async || engine.prune_batch(&KEEP_HISTORIES).await.unwrap();
    assert_eq!(batch().await, pruned(1, 0, 0));
    assert!(!is_known(&world, id).await);
    assert_eq!(events_of(&world, id).await, 3);
    let mut tx = world.store.read().await.unwrap();
    let left = retention::find_pruned(&mut tx, id).await.unwrap().unwrap();
    drop(tx);
    assert_eq!((left.kind, left.state), (KIND, JobState::Done));
    assert_eq!(left.idempotency_key, "a");
    assert_eq!(left.pruned_at - left.ended_at, TimeDelta::days(91));

    world.clock.advance(TimeDelta::days(310));
    assert_eq!(batch().await, pruned(0, 1, 0));
    assert_eq!(events_of(&world, id).await, 0);
    let mut tx = world.store.read().await.unwrap();
    assert_eq!(retention::find_pruned(&mut tx, id).await.unwrap(), None);
}

async fn what_the_books_refer_to_stays_and_is_not_looked_at_again(world: World) {
    let engine = world.engine("w");
    let named = world.leased_job(&engine, "named").await;
    call_of(&world, named.id).await;
    let id = named.id;
    let finish = |run: Run| async move { run.done(run.begin().await?, "done").await };
    engine.execute(named, finish).await;
    let unnamed = done_job(&world, &engine, "unnamed").await;
    world.clock.advance(TimeDelta::days(91));
    assert_eq!(engine.prune_batch(&KEEP).await.unwrap(), pruned(1, 1, 1));
    assert_eq!(engine.prune_batch(&KEEP).await.unwrap(), pruned(0, 0, 0));
    assert!(!is_known(&world, unnamed).await);
    assert_eq!(
        world.story(id).await,
        ["1 accepted ready", "2 leased running", "3 finished done"]
    );
}

async fn a_key_is_remembered_for_as_long_as_its_job(world: World) {
    let engine = world.engine("w");
    let first = done_job(&world, &engine, "a").await;
    let again = engine.accept(vec![due("a")]).await.unwrap();
    assert!(
        matches!(again[0], clearday::engine::Acceptance::Known(id, JobState::Done) if id == first)
    );
    world.clock.advance(TimeDelta::days(91));
    engine.prune_batch(&KEEP_HISTORIES).await.unwrap();
    let anew = world.due_job("a").await;
    assert_ne!(anew, first);
    lease_one(&engine, anew).await;
}

async fn several_daemons_prune_beside_each_other(world: World) {
    const JOBS: u64 = 1_203;
    let (one, other) = (world.engine("one"), world.engine("other"));
    let batch = (0..JOBS).map(|n| due(&format!("k-{n}"))).collect();
    let answers = one.accept(batch).await.unwrap();
    let ready = clearday::store::bulk::Selection::in_state(JobState::Ready);
    let cancel = clearday::engine::Wish::Cancel;
    let cancelled = one.operate_all(cancel, &ready, JOBS, "ops").await;
    assert_eq!(cancelled.unwrap().changed, JOBS);
    world.clock.advance(TimeDelta::days(91));
    let prune = async |engine: &Engine| {
        let mut all = Pruned::default();
        loop {
            let pruned = engine.prune_batch(&KEEP).await.unwrap();
            all = all.and(pruned);
            if !pruned.has_more {
                return all;
            }
        }
    };
    let (mine, yours) = tokio::join!(prune(&one), prune(&other));
    // Whoever met only rows that the other one held stopped early: the next hour does the rest.
    let rest = prune(&one).await;
    let all = mine.and(yours).and(rest);
    assert_eq!((all.jobs, all.histories), (JOBS, JOBS));
    assert!(!is_known(&world, new_id(&answers[0])).await);
}

async fn what_is_foreseen_is_what_happens(world: World) {
    let engine = world.engine("w");
    let batch = (0..501).map(|n| due(&format!("k-{n}"))).collect();
    engine.accept(batch).await.unwrap();
    let ready = clearday::store::bulk::Selection::in_state(JobState::Ready);
    let cancel = clearday::engine::Wish::Cancel;
    engine
        .operate_all(cancel, &ready, 501, "ops")
        .await
        .unwrap();
    let named = world.leased_job(&engine, "named").await;
    call_of(&world, named.id).await;
    let finish = |run: Run| async move { run.done(run.begin().await?, "done").await };
    engine.execute(named, finish).await;
    world.clock.advance(TimeDelta::days(91));
    for keep in [KEEP_HISTORIES, KEEP] {
        let foreseen = engine.foresee_pruning(&keep).await.unwrap();
        assert_eq!((foreseen.jobs, foreseen.kept), (501, 1));
        assert_eq!(foreseen.histories, if keep == KEEP { 501 } else { 0 });
    }
    let first = engine.prune_batch(&KEEP).await.unwrap();
    assert!(first.has_more);
    let all = first.and(engine.prune_batch(&KEEP).await.unwrap());
    assert_eq!(all, pruned(501, 501, 1));
}

/// A call of a job that was made and answered.
async fn call_of(world: &World, job_id: JobId) {
    let operation = world.intend(job_id).await;
    let mut tx = world.begin().await;
    let (state, now) = (OperationState::Succeeded, world.now());
    let learned = operations::learn(&mut tx, operation.id, state, "closed", Some("{}"), now).await;
    assert!(learned.unwrap());
    tx.commit().await.unwrap();
}

/// A table that refers to jobs and is not asked would make pruning fail; one without an index, slow.
#[tokio::test]
async fn every_table_that_refers_to_jobs_is_asked_by_an_index() {
    let world = World::postgres().await;
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    let referring: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.conrelid::regclass::TEXT, EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a \
         ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = c.conrelid AND a.attname = 'job_id') \
         FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = 'jobs'::regclass",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let named: BTreeSet<&str> = referring.iter().map(|(table, _)| table.as_str()).collect();
    assert_eq!(named, BTreeSet::from(REFERRING));
    let without: Vec<&(String, bool)> = referring.iter().filter(|(_, is)| !is).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[tokio::test]
async fn pruning_walks_its_index_and_sorts_nothing() {
    let world = World::sqlite().await;
    let mut connection = SqliteConnection::connect(world.database.url())
        .await
        .unwrap();
    for (name, index) in [
        ("LOCK_ENDED", "jobs_prunable"),
        ("ENDED_AFTER", "jobs_prunable"),
        ("LOCK_OVER", "pruned_jobs_by_end"),
    ] {
        let mut found = retention::STATEMENTS.iter();
        let (_, statement) = found.find(|(of, _)| *of == name).unwrap();
        let text = format!("EXPLAIN QUERY PLAN {}", statement.sqlite);
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let steps: Vec<&str> = plan.iter().map(|step| step.3.as_str()).collect();
        assert!(steps.iter().any(|step| step.contains(index)), "{steps:?}");
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );
    }
}
