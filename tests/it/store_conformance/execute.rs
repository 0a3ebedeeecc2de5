//! Whatever a handler does, its run comes to a recorded end.
#![cfg(test)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use clearday::domain::job::{Job, JobState};
use clearday::engine::{Engine, Finished, Held, Policy, Run, WorkError};
use clearday::store::StoreError;
use clearday_jobs::JobKind;

use crate::support::world::{POLICY, World, due, lease_one, on_both_databases};

const KIND: JobKind = JobKind::Reconciliation;

on_both_databases! {
    a_run_that_finishes_is_done_and_held_no_more,
    a_run_that_fails_waits_and_is_buried_after_its_last_attempt,
    what_cannot_be_helped_is_buried_at_once,
    a_panic_is_a_failed_run_with_its_words,
    words_that_no_database_keeps_are_recorded_all_the_same,
    an_endless_error_is_cut,
    a_handler_that_takes_too_long_is_given_up_and_rolled_back,
    a_run_that_lost_its_lease_records_nothing,
    a_failure_after_the_lease_was_lost_records_nothing,
    a_refusal_by_the_database_is_a_failed_run,
    a_run_being_cancelled_is_cancelled_when_it_fails,
    a_run_being_cancelled_is_done_when_it_finishes,
}

async fn a_run_that_finishes_is_done_and_held_no_more(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    engine.execute(job.clone(), finish).await;
    assert_eq!(world.job(job.id).await.state, JobState::Done);
    assert_eq!(engine.renew_held().await.unwrap(), NOTHING_HELD);
}

async fn a_run_that_fails_waits_and_is_buried_after_its_last_attempt(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    for attempt in 1..=2 {
        let job = lease_one(&engine, id).await;
        engine.execute(job, unavailable).await;
        let waiting = world.job(id).await;
        assert_eq!((waiting.state, waiting.attempt), (JobState::Ready, attempt));
        assert!(waiting.run_at > world.now());
        let said = "the channel is unavailable: connection refused";
        assert_eq!(waiting.last_error.as_deref(), Some(said));
        assert_eq!(engine.renew_held().await.unwrap(), NOTHING_HELD);
        world.advance_seconds(5);
    }
    let job = lease_one(&engine, id).await;
    engine.execute(job, unavailable).await;
    assert_eq!(world.job(id).await.state, JobState::Dead);
    assert_eq!(
        world.story(id).await,
        [
            "1 accepted ready",
            "2 leased running",
            "3 retried ready",
            "4 leased running",
            "5 retried ready",
            "6 leased running",
            "7 buried dead"
        ]
    );
    assert_eq!(engine.counters().failed.load(Ordering::Relaxed), 3);
}

async fn what_cannot_be_helped_is_buried_at_once(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let refuse = |_: Run| async { Err(WorkError::Invalid("two currencies".to_owned())) };
    engine.execute(job.clone(), refuse).await;
    let buried = world.job(job.id).await;
    assert_eq!((buried.state, buried.attempt), (JobState::Dead, 1));
    assert_eq!(buried.note, "two currencies");
}

async fn a_panic_is_a_failed_run_with_its_words(world: World) {
    let engine = world.engine("w");
    let early = world.leased_job(&engine, "early").await;
    let late = world.leased_job(&engine, "late").await;
    let panics_before_it_runs =
        |_: Run| -> std::future::Ready<Result<Finished, WorkError>> { panic!("no such channel") };
    engine.execute(early.clone(), panics_before_it_runs).await;
    let panics_while_it_runs = |run: Run| async move {
        let _open = run.begin().await?;
        panic!("{} is not even", 3)
    };
    engine.execute(late.clone(), panics_while_it_runs).await;
    for (job, words) in [(early, "no such channel"), (late, "3 is not even")] {
        let failed = world.job(job.id).await;
        assert_eq!(failed.state, JobState::Ready);
        assert_eq!(failed.note, format!("the handler panicked: {words}"));
    }
    assert_eq!(engine.counters().panicked.load(Ordering::Relaxed), 2);
}

/// Postgres keeps no NUL in a text. Unrecorded, the failure would lapse, run and fail for ever.
async fn words_that_no_database_keeps_are_recorded_all_the_same(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let fail = |_: Run| async {
        Err(WorkError::Unavailable {
            what: "the channel".to_owned(),
            reason: "it said \0\u{1b}[31m".to_owned(),
        })
    };
    engine.execute(job.clone(), fail).await;
    let failed = world.job(job.id).await;
    assert_eq!(failed.state, JobState::Ready);
    assert_eq!(
        failed.note,
        "the channel is unavailable: it said \u{FFFD}\u{FFFD}[31m"
    );
    assert_eq!(failed.last_error.as_deref(), Some(failed.note.as_str()));
    assert_eq!(world.last_reason(job.id).await, failed.note);

    world.advance_seconds(5);
    let run = Run::new(engine.clone(), lease_one(&engine, job.id).await);
    let tx = run.begin().await.unwrap();
    run.done(tx, "paid\0").await.unwrap();
    assert_eq!(world.job(job.id).await.note, "paid\u{FFFD}");
    assert_eq!(world.last_reason(job.id).await, "paid\u{FFFD}");
}

async fn an_endless_error_is_cut(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let fail = |_: Run| async { Err(WorkError::LostRace("错".repeat(1_000_000))) };
    engine.execute(job.clone(), fail).await;
    let failed = world.job(job.id).await;
    assert_eq!(failed.state, JobState::Ready);
    assert!(failed.note.chars().count() <= 2_000);
    assert!(failed.note.ends_with('…'));
}

async fn a_handler_that_takes_too_long_is_given_up_and_rolled_back(world: World) {
    let policy = Policy {
        handler_timeout: Duration::from_millis(50),
        partition_concurrency: None,
        ..POLICY
    };
    let engine = world.engine_with("w", policy);
    let job = world.leased_job(&engine, "a").await;
    let hang = |run: Run| async move {
        let mut tx = run.begin().await?;
        run.follow_up(&mut tx, due("b")).await?;
        std::future::pending::<()>().await;
        run.done(tx, "never").await
    };
    engine.execute(job.clone(), hang).await;
    let failed = world.job(job.id).await;
    assert_eq!(failed.state, JobState::Ready);
    assert_eq!(
        failed.note,
        "the run took longer than 50ms and was given up"
    );
    assert!(world.job_of_key("b").await.is_none());
    assert_eq!(engine.renew_held().await.unwrap(), NOTHING_HELD);
}

async fn a_run_that_lost_its_lease_records_nothing(world: World) {
    let sleeper = world.engine("sleeper");
    let job = world.leased_job(&sleeper, "a").await;
    let held = lose_lease(&world, &job).await;
    sleeper.execute(job.clone(), finish).await;
    assert_eq!(world.job(job.id).await, held);
    let refused = &sleeper.counters().stale_commits_refused;
    assert_eq!(refused.load(Ordering::Relaxed), 1);
    assert_eq!(sleeper.renew_held().await.unwrap(), NOTHING_HELD);
}

async fn a_failure_after_the_lease_was_lost_records_nothing(world: World) {
    let sleeper = world.engine("sleeper");
    let job = world.leased_job(&sleeper, "a").await;
    let held = lose_lease(&world, &job).await;
    sleeper.execute(job.clone(), unavailable).await;
    assert_eq!(world.job(job.id).await, held);
    let refused = &sleeper.counters().stale_commits_refused;
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

async fn a_refusal_by_the_database_is_a_failed_run(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let contradict = |run: Run| async move {
        let mut tx = run.begin().await?;
        let job = run.job();
        let event = clearday::store::events::NewEvent {
            job_id: job.id,
            version: 1,
            occurred_at: run.now(),
            event: "accepted",
            state: job.state,
            attempt: 1,
            worker: None,
            reason: "a version that history has".to_owned(),
        };
        clearday::store::events::append(&mut tx, &[event]).await?;
        run.done(tx, "never").await
    };
    engine.execute(job.clone(), contradict).await;
    let failed = world.job(job.id).await;
    assert_eq!(failed.state, JobState::Ready);
    assert!(
        failed.note.starts_with("the database refused the change"),
        "{}",
        failed.note
    );
    let story = world.story(job.id).await;
    assert_eq!(story.last().unwrap(), "3 retried ready");
    assert!(!StoreError::Url.is_retryable());
}

async fn a_run_being_cancelled_is_cancelled_when_it_fails(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    engine.cancel(job.id, "ops").await.unwrap();
    engine.execute(job.clone(), unavailable).await;
    assert_eq!(world.job(job.id).await.state, JobState::Cancelled);
    assert_eq!(
        world.story(job.id).await[2..],
        ["3 cancelled cancelling", "4 retried cancelled"]
    );
}

async fn a_run_being_cancelled_is_done_when_it_finishes(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    engine.cancel(job.id, "ops").await.unwrap();
    engine.execute(job.clone(), finish).await;
    assert_eq!(
        world.story(job.id).await[2..],
        ["3 cancelled cancelling", "4 finished done"]
    );
}

const NOTHING_HELD: Held = Held {
    renewed: 0,
    lost: 0,
};

async fn finish(run: Run) -> Result<Finished, WorkError> {
    let tx = run.begin().await?;
    run.done(tx, "done").await
}

async fn unavailable(_: Run) -> Result<Finished, WorkError> {
    Err(WorkError::Unavailable {
        what: "the channel".to_owned(),
        reason: "connection refused".to_owned(),
    })
}

/// Lets the lease lapse and another worker take the job; returns the job as that one has it.
async fn lose_lease(world: &World, job: &Job) -> Job {
    world.clock.advance(TimeDelta::seconds(21));
    let other: Engine = world.engine("other");
    other.sweep().await.unwrap();
    let leased = other.lease_due(KIND, 10).await.unwrap();
    assert_eq!(leased[0].id, job.id);
    leased[0].clone()
}
