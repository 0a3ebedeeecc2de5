//! One wish about all jobs that match: what was shown is what is done, and nothing that matches is jumped over.
#![cfg(test)]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::job::{Job, JobState};
use clearday::engine::{Engine, OperateError, Run, Wish, WorkError};
use clearday::store::audit;
use clearday::store::bulk::Selection;
use clearday_jobs::{JobId, JobKind};
use serde_json::{Value, json};

use crate::support::world::{World, due, due_at, lease_one, new_id, noon, on_both_databases};

on_both_databases! {
    what_is_done_for_all_is_what_is_done_for_one,
    another_number_than_was_shown_changes_nothing,
    a_bulk_action_over_a_changing_set_misses_nothing,
    what_is_accepted_meanwhile_is_not_meant,
    every_part_of_a_filter_narrows,
    what_is_refused_is_counted_and_named,
    a_state_that_never_allows_it_is_refused_at_once,
    each_batch_has_its_row_in_the_audit_chain,
    a_snoozed_job_waits_until_then,
    a_job_is_not_put_off_into_the_past_or_for_ever,
    what_does_not_wait_is_not_snoozed,
    a_cancel_crosses_processes_without_a_bell,
    dead_letters_are_grouped_by_cause_and_replayed_by_group,
}

const KIND: JobKind = JobKind::Reconciliation;

fn ready() -> Selection {
    Selection::in_state(JobState::Ready)
}

fn dead() -> Selection {
    Selection::in_state(JobState::Dead)
}

fn tomorrow() -> DateTime<Utc> {
    noon() + TimeDelta::days(1)
}

async fn accept_many(world: &World, keys: impl Iterator<Item = String>) -> Vec<JobId> {
    let batch = keys.map(|key| due(&key)).collect();
    let answers = world.engine("door").accept(batch).await.unwrap();
    answers.iter().map(new_id).collect()
}

/// Leases a job and buries it with these words.
async fn bury(world: &World, engine: &Engine, key: &str, why: &str) -> JobId {
    let job = world.leased_job(engine, key).await;
    let why = why.to_owned();
    let refuse = |_: Run| async { Err(WorkError::Invalid(why)) };
    engine.execute(job.clone(), refuse).await;
    job.id
}

async fn finish(engine: &Engine, job: Job) {
    let finish = |run: Run| async move { run.done(run.begin().await?, "done").await };
    engine.execute(job, finish).await;
}

async fn what_is_done_for_all_is_what_is_done_for_one(world: World) {
    let engine = world.engine("w");
    let mut number = 0;
    let mut compared = 0;
    for wish in [Wish::Retry, Wish::Cancel, Wish::Snooze(tomorrow())] {
        for state in [
            JobState::Ready,
            JobState::Running,
            JobState::Dead,
            JobState::Cancelled,
        ] {
            if state.after(wish.event()).is_none() {
                continue;
            }
            number += 2;
            let one = in_state(&world, &engine, state, number).await;
            let other = in_state(&world, &engine, state, number + 1).await;
            world.advance_seconds(1);
            let alone = engine.operate(one, wish, "ops").await.unwrap();
            let story = world.story(one).await;
            let selection = Selection::in_state(state);
            let count = engine.matching(wish, &selection).await.unwrap().count;
            let done = engine.operate_all(wish, &selection, count, "ops").await;
            assert_eq!(done.unwrap().changed, count);
            let together = world.job(other).await;
            let of = |job: &Job| {
                (
                    (job.state, job.version, job.run_at, job.attempt),
                    (job.rescues, job.note.clone(), job.last_error.clone()),
                    (job.lease.clone(), job.lease_epoch, job.updated_at),
                )
            };
            assert_eq!(of(&together), of(&alone), "{wish:?} {state}");
            assert_eq!(world.story(other).await, story);
            compared += 1;
            // The next pair starts with nothing else in its way.
            engine.hand_back_all().await.unwrap();
            let left = engine.matching(Wish::Cancel, &ready()).await.unwrap();
            engine
                .operate_all(Wish::Cancel, &ready(), left.count, "ops")
                .await
                .unwrap();
        }
    }
    assert_eq!(compared, 7);
}

async fn in_state(world: &World, engine: &Engine, state: JobState, number: u32) -> JobId {
    let key = format!("k-{number}");
    match state {
        JobState::Dead => bury(world, engine, &key, "two currencies").await,
        JobState::Running => world.leased_job(engine, &key).await.id,
        JobState::Cancelled => {
            let id = world.due_job(&key).await;
            engine.cancel(id, "ops").await.unwrap();
            id
        }
        JobState::Ready | JobState::Cancelling | JobState::Done => world.due_job(&key).await,
    }
}

async fn another_number_than_was_shown_changes_nothing(world: World) {
    let engine = world.engine("w");
    accept_many(&world, (0..3).map(|n| format!("k-{n}"))).await;
    let refused = engine.operate_all(Wish::Cancel, &ready(), 2, "ops").await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "3 jobs match, not 2: look again before you act on all of them"
    );
    let matching = engine.matching(Wish::Cancel, &ready()).await.unwrap();
    assert_eq!((matching.count, matching.examples.len()), (3, 3));
}

/// While everything that waits is cancelled, a worker takes from it and finishes.
async fn a_bulk_action_over_a_changing_set_misses_nothing(world: World) {
    const JOBS: u32 = 1_300;
    let (ops, worker) = (world.engine("ops"), world.engine("w"));
    let ids = accept_many(&world, (0..JOBS).map(|n| format!("k-{n}"))).await;
    let cancel = async {
        let mut shown = u64::from(JOBS);
        loop {
            match ops.operate_all(Wish::Cancel, &ready(), shown, "ops").await {
                Ok(done) => return done,
                // The worker was first: whoever looks again is shown the new number.
                Err(OperateError::CountDiffers { found, .. }) => shown = found,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let work = async {
        let mut worked = 0;
        for _ in 0..12 {
            for job in worker.lease_due(KIND, 3).await.unwrap() {
                worked += 1;
                finish(&worker, job).await;
            }
        }
        worked
    };
    let (done, worked) = tokio::join!(cancel, work);
    let mut cancelled = 0;
    for id in ids {
        match world.job(id).await.state {
            JobState::Cancelled => cancelled += 1,
            JobState::Done => {}
            other @ (JobState::Ready
            | JobState::Running
            | JobState::Cancelling
            | JobState::Dead) => panic!("{id} was missed: it is {other}"),
        }
    }
    assert_eq!(done.changed, cancelled);
    assert_eq!(cancelled + worked, u64::from(JOBS));
}

async fn what_is_accepted_meanwhile_is_not_meant(world: World) {
    let engine = world.engine("w");
    world.due_job("before").await;
    let selection = Selection {
        accepted_before: Some(tomorrow()),
        ..ready()
    };
    let matching = engine.matching(Wish::Cancel, &selection).await.unwrap();
    assert_eq!(matching.count, 1);
    // By the clock of another daemon, which is ahead.
    world.advance_seconds(60);
    let later = world.due_job("after").await;
    world.clock.advance(TimeDelta::seconds(-30));
    let done = engine.operate_all(Wish::Cancel, &selection, 1, "ops").await;
    assert_eq!(done.unwrap().changed, 1);
    assert_eq!(world.job(later).await.state, JobState::Ready);
}

async fn every_part_of_a_filter_narrows(world: World) {
    let engine = world.engine("w");
    let dead_one = bury(&world, &engine, "dead", "no such channel: alipay").await;
    world.advance_seconds(10);
    let waiting = world.due_job("waiting").await;
    let later = world.accept(due_at("later", "2026-03-08T09:00:00Z")).await;
    let narrowed = async |selection: Selection| -> Vec<JobId> {
        let matching = engine.matching(Wish::Cancel, &selection).await.unwrap();
        let named = u64::try_from(matching.examples.len()).unwrap();
        assert_eq!(matching.count, named);
        matching.examples
    };
    assert_eq!(narrowed(ready()).await.len(), 2);
    let table = [
        (
            Selection {
                kind: Some(JobKind::OrderExpiry),
                ..ready()
            },
            vec![later],
        ),
        (
            Selection {
                partition: world.job(waiting).await.partition,
                ..ready()
            },
            vec![waiting],
        ),
        (
            Selection {
                due_before: Some(tomorrow()),
                ..ready()
            },
            vec![waiting],
        ),
        (
            Selection {
                accepted_before: Some(noon() + TimeDelta::seconds(10)),
                ..ready()
            },
            vec![],
        ),
        (
            Selection {
                accepted_from: Some(noon() + TimeDelta::seconds(10)),
                kind: Some(KIND),
                ..ready()
            },
            vec![waiting],
        ),
        (
            Selection {
                contains: Some("alipay".to_owned()),
                ..dead()
            },
            vec![dead_one],
        ),
        (
            Selection {
                contains: Some("Alipay".to_owned()),
                ..dead()
            },
            vec![],
        ),
        (
            Selection {
                reason: Some("no such channel".to_owned()),
                ..dead()
            },
            vec![],
        ),
    ];
    for (selection, expected) in table {
        let told = format!("{selection:?}");
        assert_eq!(narrowed(selection).await, expected, "{told}");
    }
}

async fn what_is_refused_is_counted_and_named(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    world.intend(job.id).await;
    engine.hand_back_all().await.unwrap();
    let free = world.due_job("b").await;
    let done = engine.operate_all(Wish::Cancel, &ready(), 2, "ops").await;
    let done = done.unwrap();
    assert_eq!((done.changed, done.moved_on, done.refused), (1, 0, 1));
    let told = format!(
        "job {} cannot be cancelled: close:sandbox:REF-1:1 has no proved outcome yet",
        job.id
    );
    assert_eq!(done.refusals, [(job.id, told)]);
    assert_eq!(world.job(job.id).await.state, JobState::Ready);
    assert_eq!(world.job(free).await.state, JobState::Cancelled);
}

async fn a_state_that_never_allows_it_is_refused_at_once(world: World) {
    let engine = world.engine("w");
    let selection = Selection::in_state(JobState::Done);
    let refused = engine.matching(Wish::Retry, &selection).await.unwrap_err();
    assert_eq!(refused.to_string(), "jobs that are done cannot be retried");
    let snooze = Wish::Snooze(tomorrow());
    let refused = engine.operate_all(snooze, &dead(), 0, "ops").await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, OperateError::NeverAllowed { .. }));
}

async fn each_batch_has_its_row_in_the_audit_chain(world: World) {
    let engine = world.engine("w");
    let mut ids = accept_many(&world, (0..501).map(|n| format!("k-{n}"))).await;
    ids.sort();
    let selection = Selection {
        kind: Some(KIND),
        ..ready()
    };
    let done = engine.operate_all(Wish::Cancel, &selection, 501, "ann");
    assert_eq!(done.await.unwrap().changed, 501);
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::of_subject(&mut tx, "jobs").await.unwrap();
    let details: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(&row.detail).unwrap())
        .collect();
    assert!(rows.iter().all(|row| row.what == "jobs_cancelled"));
    assert!(rows.iter().all(|row| row.who == "ann"));
    let counts: Vec<&Value> = details.iter().map(|detail| &detail["count"]).collect();
    assert_eq!(counts, [&json!(500), &json!(1)]);
    assert_eq!(details[0]["first"], ids[0].to_string());
    assert_eq!(details[1]["last"], ids[500].to_string());
    assert_eq!(details[0]["filter"]["kind"], "reconciliation");
    let digests: BTreeSet<&str> = details
        .iter()
        .map(|detail| detail["ids_sha256"].as_str().unwrap())
        .collect();
    assert_eq!(digests.len(), 2);
    drop(tx);
    assert_eq!(engine.verify_audit().await.unwrap().broken, None);
}

async fn a_snoozed_job_waits_until_then(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    let snoozed = engine.snooze(id, tomorrow(), "ops").await.unwrap();
    assert_eq!(
        (snoozed.state, snoozed.run_at),
        (JobState::Ready, tomorrow())
    );
    assert_eq!(
        snoozed.note,
        "snoozed by ops until 2026-03-03T12:00:00.123456+00:00"
    );
    assert_eq!(
        world.story(id).await,
        ["1 accepted ready", "2 postponed ready"]
    );
    assert!(engine.lease_due(KIND, 10).await.unwrap().is_empty());
    // Nearer is a snooze as well, and whoever waits hears of it.
    world.bell.take(KIND);
    let soon = noon() + TimeDelta::seconds(5);
    engine.snooze(id, soon, "ops").await.unwrap();
    assert_eq!(world.bell.take(KIND), 1);
    world.advance_seconds(5);
    lease_one(&engine, id).await;
}

async fn a_job_is_not_put_off_into_the_past_or_for_ever(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    for until in [noon(), noon() + TimeDelta::days(367)] {
        let refused = engine.snooze(id, until, "ops").await.unwrap_err();
        assert!(matches!(refused, OperateError::SnoozeUntil(_)), "{refused}");
    }
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

async fn what_does_not_wait_is_not_snoozed(world: World) {
    let engine = world.engine("w");
    let buried = bury(&world, &engine, "b", "two currencies").await;
    let running = world.leased_job(&engine, "a").await.id;
    for id in [running, buried] {
        let refused = engine.snooze(id, tomorrow(), "ops").await.unwrap_err();
        assert!(
            refused.to_string().ends_with("cannot be snoozed"),
            "{refused}"
        );
    }
}

async fn a_cancel_crosses_processes_without_a_bell(world: World) {
    let (worker, elsewhere) = (world.engine("w"), world.engine("command-line"));
    let job = world.leased_job(&worker, "a").await;
    let waiting = world.due_job("b").await;
    elsewhere.cancel(job.id, "ops").await.unwrap();
    elsewhere.cancel(waiting, "ops").await.unwrap();
    // Nobody told the worker; it renews, and what it records next meets the wish.
    assert_eq!(worker.renew_held().await.unwrap().lost, 0);
    let run = Run::new(worker.clone(), job.clone());
    let tx = run.begin().await.unwrap();
    run.snooze(tx, tomorrow(), "look again").await.unwrap();
    assert_eq!(world.job(job.id).await.state, JobState::Cancelled);
    assert!(worker.lease_due(KIND, 10).await.unwrap().is_empty());
}

async fn dead_letters_are_grouped_by_cause_and_replayed_by_group(world: World) {
    let engine = world.engine("w");
    for (key, why) in [
        ("a", "order O-1 has two currencies"),
        ("b", "order O-2 has two currencies"),
        ("c", "no such channel: alipay"),
    ] {
        bury(&world, &engine, key, why).await;
        world.advance_seconds(1);
    }
    let letters = engine.dead_letters().await.unwrap();
    assert!(!letters.has_more);
    let told: Vec<(u64, &str, DateTime<Utc>, DateTime<Utc>)> = letters
        .groups
        .iter()
        .map(|group| {
            (
                group.count,
                group.reason.as_str(),
                group.oldest,
                group.newest,
            )
        })
        .collect();
    let at = |seconds| noon() + TimeDelta::seconds(seconds);
    assert_eq!(
        told,
        [
            (2, "order # has two currencies", at(0), at(1)),
            (1, "no such channel: alipay", at(2), at(2)),
        ]
    );
    let group = Selection {
        kind: Some(letters.groups[0].kind),
        reason: Some(letters.groups[0].reason.clone()),
        ..dead()
    };
    let replayed = engine.operate_all(Wish::Retry, &group, 2, "ops").await;
    assert_eq!(replayed.unwrap().changed, 2);
    assert_eq!(engine.dead_letters().await.unwrap().groups.len(), 1);
    assert_eq!(engine.lease_due(KIND, 10).await.unwrap().len(), 2);
}
