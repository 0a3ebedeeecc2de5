//! The sweep: what becomes of jobs whose worker died or slept.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::job::JobState;
use clearday_jobs::JobKind;
use sqlx::{Connection, Executor};

use crate::support::world::{World, due, lease_one, on_both_databases};

const KIND: JobKind = JobKind::Reconciliation;

on_both_databases! {
    a_lapsed_lease_is_given_back_and_the_next_has_a_higher_epoch,
    a_lease_is_held_until_its_very_end,
    a_job_that_kills_its_workers_is_buried_with_its_story,
    more_lapsed_leases_than_a_page_are_all_swept,
    two_sweeps_at_once_rescue_each_job_once,
    a_job_being_cancelled_is_cancelled_when_its_worker_dies,
}

async fn a_lapsed_lease_is_given_back_and_the_next_has_a_higher_epoch(world: World) {
    let (dead, other) = (world.engine("dead"), world.engine("other"));
    let job = world.leased_job(&dead, "a").await;
    world.advance_seconds(21);
    world.bell.take(KIND);
    assert_eq!(other.sweep().await.unwrap(), 1);
    assert_eq!(world.bell.take(KIND), 1);

    let rescued = world.job(job.id).await;
    assert_eq!(rescued.state, JobState::Ready);
    // A worker that died may have done half of it: the attempt counts.
    assert_eq!((rescued.attempt, rescued.rescues), (1, 1));
    assert_eq!(rescued.lease, None);
    assert_eq!(rescued.run_at, world.now());
    assert_eq!(world.last_reason(job.id).await, "the lease of dead lapsed");
    let again = lease_one(&other, job.id).await;
    assert_eq!((again.lease_epoch, again.attempt), (2, 2));
    assert_eq!(
        world.story(job.id).await,
        [
            "1 accepted ready",
            "2 leased running",
            "3 rescued ready",
            "4 leased running"
        ]
    );
}

async fn a_lease_is_held_until_its_very_end(world: World) {
    let engine = world.engine("w");
    world.leased_job(&engine, "a").await;
    world.advance_seconds(20);
    assert_eq!(engine.sweep().await.unwrap(), 0);
    world.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(engine.sweep().await.unwrap(), 1);
    assert_eq!(engine.sweep().await.unwrap(), 0);
}

async fn a_job_that_kills_its_workers_is_buried_with_its_story(world: World) {
    let id = world.due_job("a").await;
    let victim = world.engine("victim");
    // Rescued as often as the policy says, and buried the next time.
    for state in [JobState::Ready, JobState::Ready, JobState::Dead] {
        lease_one(&victim, id).await;
        world.advance_seconds(21);
        assert_eq!(world.engine("other").sweep().await.unwrap(), 1);
        assert_eq!(world.job(id).await.state, state);
        // From the second time on it waits before it takes the next worker down.
        world.advance_seconds(10);
    }
    let buried = world.job(id).await;
    let told = "its workers were lost 3 times, the last one was victim: the job seems to kill them";
    assert_eq!(buried.note, told);
    assert_eq!(buried.last_error.as_deref(), Some(told));
    assert_eq!(world.story(id).await.last().unwrap(), "7 buried dead");
}

async fn more_lapsed_leases_than_a_page_are_all_swept(world: World) {
    let engine = world.engine("w");
    let batch = (0..450).map(|n| due(&n.to_string())).collect();
    engine.accept(batch).await.unwrap();
    assert_eq!(engine.lease_due(KIND, 1_000).await.unwrap().len(), 450);
    world.advance_seconds(21);
    assert_eq!(engine.sweep().await.unwrap(), 450);
    assert_eq!(engine.lease_due(KIND, 1_000).await.unwrap().len(), 450);
}

async fn two_sweeps_at_once_rescue_each_job_once(world: World) {
    let (a, b) = (world.engine("a"), world.engine("b"));
    let batch = (0..300).map(|n| due(&n.to_string())).collect();
    a.accept(batch).await.unwrap();
    let leased = a.lease_due(KIND, 1_000).await.unwrap();
    world.advance_seconds(21);
    let (swept_by_a, swept_by_b) = tokio::join!(a.sweep(), b.sweep());
    assert_eq!(swept_by_a.unwrap() + swept_by_b.unwrap(), 300);
    for job in leased {
        assert_eq!(world.job(job.id).await.rescues, 1);
    }
}

/// On Postgres only, because SQLite cannot drop a CHECK.
#[tokio::test]
async fn a_job_of_a_kind_that_only_a_newer_release_knows_is_left_to_it() {
    let world = World::postgres().await;
    let engine = world.engine("w");
    let newer = world.leased_job(&engine, "newer").await;
    let known = world.leased_job(&engine, "known").await;
    let mut administrator = sqlx::PgConnection::connect(world.database.url())
        .await
        .unwrap();
    administrator
        .execute("ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check")
        .await
        .unwrap();
    administrator
        .execute("UPDATE jobs SET kind = 'sixth' WHERE idempotency_key = 'newer'")
        .await
        .unwrap();
    world.advance_seconds(21);
    assert_eq!(engine.sweep().await.unwrap(), 1);
    assert_eq!(world.job(known.id).await.state, JobState::Ready);
    let state: String = sqlx::query_scalar("SELECT state FROM jobs WHERE id = $1")
        .bind(newer.id.0)
        .fetch_one(&mut administrator)
        .await
        .unwrap();
    assert_eq!(state, "running");
}

async fn a_job_being_cancelled_is_cancelled_when_its_worker_dies(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    engine.cancel(job.id, "ops").await.unwrap();
    world.advance_seconds(21);
    assert_eq!(engine.sweep().await.unwrap(), 1);
    assert_eq!(
        world.story(job.id).await[2..],
        ["3 cancelled cancelling", "4 rescued cancelled"]
    );
}
