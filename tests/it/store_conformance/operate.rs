//! What operators may do to a job, and what they are told about it.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::job::{Job, JobState};
use clearday::domain::operation::{Operation, OperationState};
use clearday::engine::{Engine, OperateError, Policy, Run, Waiting, WorkError};
use clearday::store::operations;
use clearday_jobs::{JobId, JobKind};

use crate::support::world::{POLICY, World, due_at, lease_one, noon, on_both_databases};

on_both_databases! {
    a_waiting_job_is_cancelled_at_once,
    a_running_job_is_cancelled_when_its_worker_lets_go,
    a_waiting_job_with_an_open_operation_is_not_cancelled,
    a_running_job_with_an_open_operation_goes_on_when_its_worker_lets_go,
    a_dead_job_is_retried_with_all_its_attempts,
    a_cancelled_job_may_be_retried,
    a_waiting_job_that_is_retried_is_due_now,
    what_is_done_or_under_way_cannot_be_retried,
    what_is_over_cannot_be_cancelled,
    an_unknown_job_is_not_found,
    every_state_is_explained,
    who_is_at_work_and_who_paused_is_explained,
    a_partition_at_its_limit_is_explained,
    an_unknown_outcome_is_explained,
    lists_run_from_the_newest_to_the_oldest,
}

async fn a_waiting_job_is_cancelled_at_once(world: World) {
    let id = world.due_job("a").await;
    let cancelled = world.engine("w").cancel(id, "ops").await.unwrap();
    assert_eq!(cancelled, world.job(id).await);
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(cancelled.note, "cancelled by ops");
    assert_eq!(
        world.story(id).await,
        ["1 accepted ready", "2 cancelled cancelled"]
    );
    let leased = world.engine("w").lease_due(cancelled.kind, 10).await;
    assert!(leased.unwrap().is_empty());
}

async fn a_running_job_is_cancelled_when_its_worker_lets_go(world: World) {
    let engine = world.engine("w");
    for ends in [Ends::HandBack, Ends::Snooze] {
        let job = world.leased_job(&engine, &format!("{ends:?}")).await;
        let asked = engine.cancel(job.id, "ops").await.unwrap();
        // The worker keeps its hold: it may be in the middle of a call.
        assert_eq!(
            (asked.state, &asked.lease),
            (JobState::Cancelling, &job.lease)
        );
        assert_eq!(asked.lease_epoch, job.lease_epoch);
        ends.come_to_pass(&engine, &job).await.unwrap();
        let cancelled = world.job(job.id).await;
        assert_eq!(cancelled.state, JobState::Cancelled);
        assert_eq!(cancelled.lease, None);
        world.story(job.id).await;
    }
}

async fn a_waiting_job_with_an_open_operation_is_not_cancelled(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let operation = world.intend(job.id).await;
    engine.hand_back_all().await.unwrap();
    let refused = engine.cancel(job.id, "ops").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "job {} cannot be cancelled: close:sandbox:REF-1:1 has no proved outcome yet",
            job.id
        )
    );
    assert_eq!(world.job(job.id).await.state, JobState::Ready);

    learn(&world, &operation, OperationState::Declined).await;
    let cancelled = engine.cancel(job.id, "ops").await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
}

async fn a_running_job_with_an_open_operation_goes_on_when_its_worker_lets_go(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    world.intend(job.id).await;
    engine.cancel(job.id, "ops").await.unwrap();
    engine.hand_back_all().await.unwrap();
    let kept = world.job(job.id).await;
    assert_eq!(kept.state, JobState::Ready);
    assert_eq!(
        kept.note,
        "not cancelled: close:sandbox:REF-1:1 has no proved outcome yet; the daemon stopped"
    );
    assert_eq!(
        world.story(job.id).await[2..],
        ["3 cancelled cancelling", "4 handed_back ready"]
    );
}

async fn a_dead_job_is_retried_with_all_its_attempts(world: World) {
    let engine = world.engine("w");
    let id = dead_job(&world, &engine).await;
    world.bell.take(JobKind::Reconciliation);
    world.advance_seconds(1);
    let retried = engine.retry(id, "ops").await.unwrap();
    assert_eq!(world.bell.take(JobKind::Reconciliation), 1);
    assert_eq!(
        (retried.state, retried.attempt, retried.rescues),
        (JobState::Ready, 0, 0)
    );
    assert_eq!(retried.run_at, world.now());
    // What went wrong stays on show until it goes well.
    assert_eq!(retried.last_error.as_deref(), Some("two currencies"));
    let again = lease_one(&engine, id).await;
    assert_eq!((again.attempt, again.lease_epoch), (1, 2));
    assert_eq!(world.story(id).await[3], "4 requeued ready");
}

async fn a_cancelled_job_may_be_retried(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    engine.cancel(id, "ops").await.unwrap();
    assert_eq!(
        engine.retry(id, "ops").await.unwrap().state,
        JobState::Ready
    );
    lease_one(&engine, id).await;
}

async fn a_waiting_job_that_is_retried_is_due_now(world: World) {
    let engine = world.engine("w");
    let id = world.accept(due_at("a", "2026-03-08T09:00:00Z")).await;
    assert_eq!(engine.retry(id, "ops").await.unwrap().run_at, noon());
    let leased = engine.lease_due(JobKind::OrderExpiry, 10).await.unwrap();
    assert_eq!(leased[0].id, id);
}

async fn what_is_done_or_under_way_cannot_be_retried(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let mut states = Vec::new();
    let mut refuse = async || {
        let refused = engine.retry(job.id, "ops").await.unwrap_err();
        assert!(matches!(refused, OperateError::Refused { .. }));
        states.push(refused.to_string());
    };
    refuse().await;
    engine.cancel(job.id, "ops").await.unwrap();
    refuse().await;
    Ends::Done.come_to_pass(&engine, &job).await.unwrap();
    refuse().await;
    let told = |state| format!("job {} is {state} and cannot be retried", job.id);
    assert_eq!(states, ["running", "cancelling", "done"].map(told));
    assert_eq!(world.story(job.id).await.len(), 4);
}

async fn what_is_over_cannot_be_cancelled(world: World) {
    let engine = world.engine("w");
    let done = world.leased_job(&engine, "a").await;
    Ends::Done.come_to_pass(&engine, &done).await.unwrap();
    let dead = dead_job(&world, &engine).await;
    let cancelled = world.due_job("c").await;
    engine.cancel(cancelled, "ops").await.unwrap();
    // What is dead may be withdrawn: it then goes the way of all that ended.
    let withdrawn = engine.cancel(dead, "ops").await.unwrap();
    assert_eq!(withdrawn.state, JobState::Cancelled);
    for id in [done.id, dead, cancelled] {
        let refused = engine.cancel(id, "ops").await.unwrap_err();
        assert!(matches!(refused, OperateError::Refused { .. }));
    }
}

async fn an_unknown_job_is_not_found(world: World) {
    let engine = world.engine("w");
    let id = JobId(world.ids.uuid());
    for refused in [
        engine.retry(id, "ops").await,
        engine.cancel(id, "ops").await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.to_string(), format!("there is no job {id}"));
    }
}

async fn every_state_is_explained(world: World) {
    let engine = world.engine("w");
    let due = world.due_job("due").await;
    let told = explain(&world, due).await.unwrap();
    assert_eq!(
        told.reason,
        "due since 2026-03-02T12:00:00.123456+00:00: waits for a daemon, and none is at work"
    );

    let later = world.accept(due_at("later", "2026-03-08T09:00:00Z")).await;
    let told = explain(&world, later).await.unwrap();
    assert_eq!(told.reason, "not due: accepted from http");
    assert_eq!(told.until, Some("2026-03-08T09:00:00Z".parse().unwrap()));
    // Whole seconds: the clock stands a little after noon.
    assert_eq!(told.in_seconds, Some((6 * 24 - 3) * 60 * 60 - 1));

    let job = lease_one(&engine, due).await;
    let told = explain(&world, due).await.unwrap();
    assert_eq!(told.reason, "running: its lease is held by w");
    assert_eq!(told.until, Some(noon() + TimeDelta::seconds(20)));

    engine.cancel(due, "ops").await.unwrap();
    let told = explain(&world, due).await.unwrap();
    assert_eq!(
        told.reason,
        "running: its lease is held by w; it is cancelled when the worker lets go"
    );
    assert_eq!(told.until, Some(noon() + TimeDelta::seconds(20)));

    Ends::Done.come_to_pass(&engine, &job).await.unwrap();
    assert_eq!(explain(&world, due).await, None);

    let dead = dead_job(&world, &engine).await;
    let told = explain(&world, dead).await.unwrap();
    assert_eq!(
        told.reason,
        "buried: two currencies; retry it when the cause is mended"
    );

    engine.cancel(later, "ops").await.unwrap();
    assert_eq!(explain(&world, later).await, None);
}

async fn who_is_at_work_and_who_paused_is_explained(world: World) {
    let engine = world.engine("w");
    let due = world.due_job("due").await;
    engine.renew_held().await.unwrap();
    let told = async || {
        let reason = explain(&world, due).await.unwrap().reason;
        reason.split_once(": ").unwrap().1.to_owned()
    };
    let free = "waits for a worker with free room";
    assert_eq!(told().await, format!("{free}; one daemon is at work"));
    world.engine("v").renew_held().await.unwrap();
    assert_eq!(told().await, format!("{free}; 2 daemons are at work"));

    let kind = JobKind::Reconciliation;
    engine.pause(kind, "the bank is down", "ann").await.unwrap();
    let paused =
        "its queue is paused since 2026-03-02T12:00:00.123456+00:00 by ann: the bank is down";
    assert_eq!(told().await, paused);
    // What is not due would not run either.
    let until = noon() + TimeDelta::minutes(5);
    engine.snooze(due, until, "bob").await.unwrap();
    let reason = told().await;
    assert!(reason.starts_with("snoozed by bob until "), "{reason}");
    assert!(reason.ends_with(&format!("; {paused}")), "{reason}");
    assert_eq!(explain(&world, due).await.unwrap().in_seconds, Some(300));

    world.advance_seconds(301);
    engine.resume(kind, "ann").await.unwrap();
    assert_eq!(
        told().await,
        "waits for a daemon, and none is at work; the last one was seen at 2026-03-02T12:00:00.123456+00:00"
    );
}

async fn a_partition_at_its_limit_is_explained(world: World) {
    let engine = world.engine_with(
        "w",
        Policy {
            partition_concurrency: Some(1),
            ..POLICY
        },
    );
    let ids = [world.due_job("a").await, world.due_job("b").await];
    let leased = engine.lease_due(JobKind::Reconciliation, 10).await.unwrap();
    assert_eq!(leased.len(), 1);
    let waiting = ids.into_iter().find(|id| *id != leased[0].id).unwrap();
    let job = world.job(waiting).await;
    let mut tx = world.store.read().await.unwrap();
    let told = engine.explain(&mut tx, &job).await.unwrap().unwrap().reason;
    let whose = job.partition.as_deref().unwrap_or("nobody in particular");
    let expected = format!("the work of {whose} is at its limit: 1 of at most 1 are running");
    assert!(told.ends_with(&expected), "{told}");
}

async fn an_unknown_outcome_is_explained(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let operation = world.intend(job.id).await;
    world.advance_seconds(1);
    learn(&world, &operation, OperationState::Unknown).await;
    let told = explain(&world, job.id).await.unwrap().reason;
    assert_eq!(
        told,
        "running: its lease is held by w; the outcome of close:sandbox:REF-1:1 is unknown since \
         2026-03-02T12:00:01.123456+00:00"
    );
}

async fn lists_run_from_the_newest_to_the_oldest(world: World) {
    use clearday::store::jobs::{JobFilter, list};
    let engine = world.engine("w");
    let mut ids = Vec::new();
    for key in ["a", "b", "c", "d"] {
        ids.push(world.due_job(key).await);
    }
    ids.push(world.accept(due_at("e", "2026-03-08T09:00:00Z")).await);
    engine.cancel(ids[1], "ops").await.unwrap();
    let look = async |filter: JobFilter| -> Vec<JobId> {
        let mut tx = world.store.read().await.unwrap();
        let listed = list(&mut tx, &filter, 2).await.unwrap();
        listed.iter().map(|job| job.id).collect()
    };
    assert_eq!(look(JobFilter::default()).await, [ids[4], ids[3]]);
    let second_page = JobFilter {
        before: Some(ids[3]),
        ..JobFilter::default()
    };
    assert_eq!(look(second_page).await, [ids[2], ids[1]]);
    let ready_reconciliations = JobFilter {
        kind: Some(JobKind::Reconciliation),
        state: Some(JobState::Ready),
        before: Some(ids[3]),
    };
    assert_eq!(look(ready_reconciliations).await, [ids[2], ids[0]]);
}

async fn explain(world: &World, id: JobId) -> Option<Waiting> {
    let job = world.job(id).await;
    let mut tx = world.store.read().await.unwrap();
    world.engine("w").explain(&mut tx, &job).await.unwrap()
}

async fn dead_job(world: &World, engine: &Engine) -> JobId {
    let job = world.leased_job(engine, "dead").await;
    let refuse = |_: Run| async { Err(WorkError::Invalid("two currencies".to_owned())) };
    engine.execute(job.clone(), refuse).await;
    assert_eq!(world.job(job.id).await.state, JobState::Dead);
    job.id
}

/// How a run may end without failing.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Done,
    HandBack,
    Snooze,
}

impl Ends {
    async fn come_to_pass(self, engine: &Engine, job: &Job) -> Result<(), WorkError> {
        let run = Run::new(engine.clone(), job.clone());
        match self {
            Self::Done => {
                let tx = run.begin().await?;
                run.done(tx, "done").await?;
            }
            Self::HandBack => {
                engine.hand_back_all().await?;
            }
            Self::Snooze => {
                let tx = run.begin().await?;
                run.snooze(tx, run.now(), "again").await?;
            }
        }
        Ok(())
    }
}

async fn learn(world: &World, operation: &Operation, state: OperationState) {
    let mut tx = world.begin().await;
    let evidence = state.is_final().then_some("{}");
    let learned =
        operations::learn(&mut tx, operation.id, state, "told", evidence, world.now()).await;
    assert!(learned.unwrap());
    tx.commit().await.unwrap();
}
