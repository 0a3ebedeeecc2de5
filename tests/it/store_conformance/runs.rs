//! What a run commits, and that a worker without its lease commits nothing.
#![cfg(test)]

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use clearday::domain::job::{Job, JobState};
use clearday::domain::order::{Order, OrderState};
use clearday::engine::{Engine, Run, RunTx, WorkError};
use clearday::store::jobs::{self, JobFilter};
use clearday::store::orders::{self, NewOrder};
use clearday_jobs::{Currency, JobKind, Money, OrderNo};

use crate::support::world::{World, due, due_at, lease_one, on_both_databases, submission};

const KIND: JobKind = JobKind::Reconciliation;

on_both_databases! {
    effect_end_and_history_commit_together,
    a_checkpoint_keeps_its_writes_and_the_lease,
    an_open_transaction_that_is_dropped_leaves_nothing,
    a_stale_worker_cannot_finish,
    a_stale_worker_cannot_pass_a_checkpoint,
    a_stale_worker_cannot_snooze,
    a_lease_that_lapsed_unseen_still_counts,
    a_snooze_burns_no_attempt_and_is_due_when_it_says,
    failures_count_only_while_nothing_goes_right_in_between,
    a_follow_up_job_commits_with_its_cause,
    a_follow_up_job_rolls_back_with_its_cause,
    a_follow_up_job_that_is_known_is_not_made_twice,
    a_refused_follow_up_job_is_a_fault_of_ours,
}

async fn effect_end_and_history_commit_together(world: World) {
    let engine = world.engine("w");
    let (run, job) = leased_run(&world, &engine, "a").await;
    let tx = with_effect(&run).await;
    world.advance_seconds(1);
    run.done(tx, "expired").await.unwrap();
    assert!(has_effect(&world).await);
    let done = world.job(job.id).await;
    assert_eq!((done.state, done.lease), (JobState::Done, None));
    assert_eq!(done.note, "expired");
    assert_eq!(done.updated_at, world.now());
    assert_eq!(
        world.story(job.id).await,
        ["1 accepted ready", "2 leased running", "3 finished done"]
    );
    assert_eq!(engine.counters().finished.load(Ordering::Relaxed), 1);
}

async fn a_checkpoint_keeps_its_writes_and_the_lease(world: World) {
    let (run, job) = leased_run(&world, &world.engine("w"), "a").await;
    run.checkpoint(with_effect(&run).await).await.unwrap();
    assert!(has_effect(&world).await);
    assert_eq!(world.job(job.id).await, job);
}

async fn an_open_transaction_that_is_dropped_leaves_nothing(world: World) {
    let (run, _) = leased_run(&world, &world.engine("w"), "a").await;
    drop(with_effect(&run).await);
    assert!(!has_effect(&world).await);
}

async fn a_stale_worker_cannot_finish(world: World) {
    let sleeper = world.engine("sleeper");
    for successor in [Successor::None, Successor::Leased, Successor::Done] {
        let key = format!("{successor:?}");
        let (run, job) = leased_run(&world, &sleeper, &key).await;
        take_over(&world, &job, successor).await;
        let before = world.job(job.id).await;
        let refused = run.done(with_effect(&run).await, "expired").await;
        assert!(matches!(refused, Err(WorkError::StaleLease)), "{key}");
        assert!(!has_effect(&world).await, "{key}");
        assert_eq!(world.job(job.id).await, before);
        world.story(job.id).await;
    }
    let refused = &sleeper.counters().stale_commits_refused;
    assert_eq!(refused.load(Ordering::Relaxed), 3);
    assert_eq!(sleeper.counters().finished.load(Ordering::Relaxed), 0);
}

async fn a_stale_worker_cannot_pass_a_checkpoint(world: World) {
    let sleeper = world.engine("sleeper");
    for successor in [Successor::None, Successor::Leased, Successor::Done] {
        let key = format!("{successor:?}");
        let (run, job) = leased_run(&world, &sleeper, &key).await;
        take_over(&world, &job, successor).await;
        let refused = run.checkpoint(with_effect(&run).await).await;
        assert!(matches!(refused, Err(WorkError::StaleLease)), "{key}");
        assert!(!has_effect(&world).await, "{key}");
    }
}

async fn a_stale_worker_cannot_snooze(world: World) {
    let sleeper = world.engine("sleeper");
    let (run, job) = leased_run(&world, &sleeper, "a").await;
    take_over(&world, &job, Successor::Leased).await;
    let until = world.now() + TimeDelta::hours(1);
    let refused = run.snooze(with_effect(&run).await, until, "later").await;
    assert!(matches!(refused, Err(WorkError::StaleLease)));
    assert!(!has_effect(&world).await);
    let held = world.job(job.id).await;
    assert_eq!(held.lease.unwrap().worker, "successor");
}

/// Nobody else has the job until a sweep gives it away, so its effect is still the only one.
async fn a_lease_that_lapsed_unseen_still_counts(world: World) {
    let engine = world.engine("w");
    let (run, job) = leased_run(&world, &engine, "a").await;
    world.advance_seconds(3_600);
    run.done(with_effect(&run).await, "late").await.unwrap();
    assert_eq!(world.job(job.id).await.state, JobState::Done);
    assert_eq!(engine.sweep().await.unwrap(), 0);
}

async fn a_snooze_burns_no_attempt_and_is_due_when_it_says(world: World) {
    let engine = world.engine("w");
    let (run, job) = leased_run(&world, &engine, "a").await;
    world.bell.take(KIND);
    let until = world.now() + TimeDelta::seconds(30);
    run.snooze(with_effect(&run).await, until, "still payable")
        .await
        .unwrap();
    assert!(has_effect(&world).await);
    let snoozed = world.job(job.id).await;
    assert_eq!((snoozed.state, snoozed.attempt), (JobState::Ready, 0));
    assert_eq!((snoozed.run_at, snoozed.lease), (until, None));
    assert_eq!(snoozed.note, "still payable");
    // Not due yet, so nobody is woken.
    assert_eq!(world.bell.take(KIND), 0);

    world.advance_seconds(30);
    let again = lease_one(&engine, job.id).await;
    assert_eq!((again.attempt, again.lease_epoch), (1, 2));
    let at_once = Run::new(engine.clone(), again);
    let tx = at_once.begin().await.unwrap();
    at_once.snooze(tx, world.now(), "again").await.unwrap();
    assert_eq!(world.bell.take(KIND), 1);
    assert_eq!(world.story(job.id).await.last().unwrap(), "5 snoozed ready");
}

async fn failures_count_only_while_nothing_goes_right_in_between(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    for _ in 0..2 {
        for attempt in 1..=2 {
            let job = lease_one(&engine, id).await;
            assert_eq!(job.attempt, attempt);
            let fail = |_: Run| async { Err(WorkError::LostRace("it".to_owned())) };
            engine.execute(job, fail).await;
            world.advance_seconds(5);
        }
        let run = Run::new(engine.clone(), lease_one(&engine, id).await);
        let tx = run.begin().await.unwrap();
        run.snooze(tx, world.now(), "waits").await.unwrap();
    }
    assert_eq!(world.job(id).await.attempt, 0);
}

async fn a_follow_up_job_commits_with_its_cause(world: World) {
    let (run, _) = leased_run(&world, &world.engine("w"), "a").await;
    world.bell.take(KIND);
    let mut tx = run.begin().await.unwrap();
    let id = run.follow_up(&mut tx, due("b")).await.unwrap();
    // Nobody is woken for what may still roll back.
    assert_eq!(world.bell.take(KIND), 0);
    run.done(tx, "done").await.unwrap();
    assert_eq!(world.bell.take(KIND), 1);
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

async fn a_follow_up_job_rolls_back_with_its_cause(world: World) {
    let (run, job) = leased_run(&world, &world.engine("w"), "a").await;
    let mut dropped = run.begin().await.unwrap();
    run.follow_up(&mut dropped, due("b")).await.unwrap();
    drop(dropped);

    let mut tx = run.begin().await.unwrap();
    run.follow_up(&mut tx, due("b")).await.unwrap();
    // Only now somebody else takes the job: on SQLite there is one writer at a time.
    drop(tx);
    take_over(&world, &job, Successor::Leased).await;
    let mut tx = run.begin().await.unwrap();
    run.follow_up(&mut tx, due("b")).await.unwrap();
    world.bell.take(KIND);
    run.done(tx, "done").await.unwrap_err();
    assert_eq!(world.bell.take(KIND), 0);

    let mut tx = world.store.read().await.unwrap();
    let all = jobs::list(&mut tx, &JobFilter::default(), 10).await;
    assert_eq!(all.unwrap().len(), 1);
}

async fn a_follow_up_job_that_is_known_is_not_made_twice(world: World) {
    let (run, _) = leased_run(&world, &world.engine("w"), "a").await;
    let known = world.accept(due_at("b", "2026-03-08T09:00:00Z")).await;
    let mut tx = run.begin().await.unwrap();
    let same = due_at("b", "2026-03-08T09:00:00Z");
    assert_eq!(run.follow_up(&mut tx, same).await.unwrap(), known);
    run.done(tx, "done").await.unwrap();
}

async fn a_refused_follow_up_job_is_a_fault_of_ours(world: World) {
    let (run, _) = leased_run(&world, &world.engine("w"), "a").await;
    let mut tx = run.begin().await.unwrap();
    let refused = run
        .follow_up(&mut tx, submission("reconciliation", "b", b"{}"))
        .await;
    assert!(matches!(refused, Err(WorkError::Invalid(_))), "{refused:?}");
}

/// What happened to a job while its worker slept.
#[derive(Clone, Copy, Debug)]
enum Successor {
    /// It was swept and waits.
    None,
    /// It was swept and somebody else runs it.
    Leased,
    /// It was swept and somebody else finished it.
    Done,
}

async fn take_over(world: &World, job: &Job, successor: Successor) {
    world.advance_seconds(21);
    let engine = world.engine("successor");
    engine.sweep().await.unwrap();
    match successor {
        Successor::None => {}
        Successor::Leased => {
            lease_one(&engine, job.id).await;
        }
        Successor::Done => {
            let run = Run::new(engine.clone(), lease_one(&engine, job.id).await);
            let tx = run.begin().await.unwrap();
            run.done(tx, "done by the successor").await.unwrap();
        }
    }
}

async fn leased_run(world: &World, engine: &Engine, key: &str) -> (Run, Job) {
    let job = world.leased_job(engine, key).await;
    (Run::new(engine.clone(), job.clone()), job)
}

/// A transaction in which something was written that is not the job.
async fn with_effect(run: &Run) -> RunTx {
    let mut tx = run.begin().await.unwrap();
    let order = Order {
        order_no: effect_no(),
        group_no: effect_no(),
        merchant_id: "M-1001".parse().unwrap(),
        total: Money::from_minor(19_900, Currency::parse("CNY").unwrap()),
        state: OrderState::Open,
        version: 1,
        expires_at: run.now(),
        updated_at: run.now(),
    };
    let new = NewOrder {
        order: &order,
        reason: "written by a run",
    };
    assert!(orders::insert(&mut tx, new, run.now()).await.unwrap());
    tx
}

fn effect_no() -> OrderNo {
    "SO-EFFECT".parse().unwrap()
}

async fn has_effect(world: &World) -> bool {
    let mut tx = world.store.read().await.unwrap();
    let order = orders::find(&mut tx, &effect_no()).await.unwrap();
    order.is_some()
}
