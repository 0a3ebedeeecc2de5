//! Queues that people pause: nothing is leased anywhere, everything is accepted, and resuming wakes at once.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::engine::OperateError;
use clearday::store::{audit, jobs};
use clearday_jobs::JobKind;

use crate::support::world::{World, due_at, noon, on_both_databases};

on_both_databases! {
    a_paused_queue_leases_nothing_on_any_replica_and_resumes_at_once,
    what_runs_while_its_queue_is_paused_goes_on_to_its_end,
    a_paused_queue_sets_no_alarm,
    who_pauses_first_is_named_until_somebody_resumes,
    a_pause_needs_a_reason,
    pausing_and_resuming_are_in_the_audit_chain,
    who_knows_of_more_takes_none_of_it_after_a_pause,
    a_daemon_is_at_work_from_its_first_heartbeat_until_it_stops,
}

const KIND: JobKind = JobKind::Reconciliation;

async fn a_paused_queue_leases_nothing_on_any_replica_and_resumes_at_once(world: World) {
    let (one, other) = (world.engine("one"), world.engine("other"));
    let waiting = world.due_job("a").await;
    let paused = one.pause(KIND, "the bank is down", "ann").await.unwrap();
    assert_eq!(paused.pause.unwrap().reason, "the bank is down");
    let later = world.due_job("b").await;
    for replica in [&one, &other] {
        assert!(replica.lease_due(KIND, 10).await.unwrap().is_empty());
    }
    // A kind is its own queue.
    world.accept(due_at("c", "2026-03-02T11:00:00Z")).await;
    let of_another_kind = other.lease_due(JobKind::OrderExpiry, 10).await.unwrap();
    assert_eq!(of_another_kind.len(), 1);

    world.bell.take(KIND);
    let resumed = other.resume(KIND, "ann").await.unwrap();
    assert_eq!(resumed.pause, None);
    assert_eq!(world.bell.take(KIND), 1);
    let leased = one.lease_due(KIND, 10).await.unwrap();
    let leased: Vec<_> = leased.iter().map(|job| job.id).collect();
    assert_eq!(leased, [waiting, later]);
}

async fn who_knows_of_more_takes_none_of_it_after_a_pause(world: World) {
    let engine = world.engine("w");
    for key in ["a", "b", "c"] {
        world.due_job(key).await;
    }
    assert_eq!(engine.lease_due(KIND, 2).await.unwrap().len(), 2);
    engine.pause(KIND, "the bank is down", "ann").await.unwrap();
    assert!(engine.lease_due(KIND, 2).await.unwrap().is_empty());
    engine.resume(KIND, "ann").await.unwrap();
    assert_eq!(engine.lease_due(KIND, 2).await.unwrap().len(), 1);
}

async fn what_runs_while_its_queue_is_paused_goes_on_to_its_end(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let paused = engine.pause(KIND, "quiet, please", "ann").await.unwrap();
    assert_eq!(paused.running(), 1);
    assert_eq!(engine.renew_held().await.unwrap().renewed, 1);
    let run = clearday::engine::Run::new(engine.clone(), job);
    run.done(run.begin().await.unwrap(), "done").await.unwrap();
    assert_eq!(engine.queue(KIND).await.unwrap().running(), 0);
}

async fn a_paused_queue_sets_no_alarm(world: World) {
    let engine = world.engine("w");
    world.due_job("a").await;
    let next = async || {
        let mut tx = world.store.read().await.unwrap();
        jobs::next_run_at(&mut tx, KIND).await.unwrap()
    };
    assert_eq!(next().await, Some(noon()));
    engine.pause(KIND, "quiet, please", "ann").await.unwrap();
    assert_eq!(next().await, None);
    engine.resume(KIND, "ann").await.unwrap();
    assert_eq!(next().await, Some(noon()));
}

async fn who_pauses_first_is_named_until_somebody_resumes(world: World) {
    let engine = world.engine("w");
    engine.pause(KIND, "the bank is down", "ann").await.unwrap();
    world.advance_seconds(5);
    let again = engine.pause(KIND, "me too", "bob").await.unwrap();
    let pause = again.pause.unwrap();
    assert_eq!((pause.paused_by.as_str(), pause.paused_at), ("ann", noon()));
    engine.resume(KIND, "bob").await.unwrap();
    let anew = engine.pause(KIND, "me too", "bob").await.unwrap();
    let pause = anew.pause.unwrap();
    assert_eq!(pause.paused_by, "bob");
    assert_eq!(pause.paused_at, noon() + TimeDelta::seconds(5));
}

async fn a_pause_needs_a_reason(world: World) {
    let engine = world.engine("w");
    for reason in ["", " \t", &"x".repeat(501)] {
        let refused = engine.pause(KIND, reason, "ann").await.unwrap_err();
        assert!(matches!(refused, OperateError::Reason), "{refused}");
    }
    assert_eq!(engine.queue(KIND).await.unwrap().pause, None);
}

async fn pausing_and_resuming_are_in_the_audit_chain(world: World) {
    let engine = world.engine("w");
    engine.resume(KIND, "nobody").await.unwrap();
    engine.pause(KIND, "the bank is down", "ann").await.unwrap();
    engine.pause(KIND, "me too", "bob").await.unwrap();
    engine.resume(KIND, "bob").await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::of_subject(&mut tx, "queue reconciliation").await;
    let told: Vec<String> = rows
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", row.who, row.what, row.detail))
        .collect();
    assert_eq!(
        told,
        [
            r#"ann queue_paused {"reason":"the bank is down"}"#,
            "bob queue_resumed {}"
        ]
    );
    drop(tx);
    assert_eq!(engine.verify_audit().await.unwrap().broken, None);
}

async fn a_daemon_is_at_work_from_its_first_heartbeat_until_it_stops(world: World) {
    let (engine, other) = (world.engine("w"), world.engine("v"));
    let at_work = async || -> Vec<String> {
        let mut tx = world.store.read().await.unwrap();
        let daemons = engine.daemons(&mut tx).await.unwrap();
        daemons.into_iter().map(|daemon| daemon.name).collect()
    };
    assert!(at_work().await.is_empty());
    engine.renew_held().await.unwrap();
    world.advance_seconds(30);
    engine.renew_held().await.unwrap();
    other.renew_held().await.unwrap();
    assert_eq!(at_work().await, ["w", "v"]);
    other.hand_back_all().await.unwrap();
    assert_eq!(at_work().await, ["w"]);
    // One that was killed is not heard of any more.
    world.advance_seconds(61);
    assert!(at_work().await.is_empty());
}
