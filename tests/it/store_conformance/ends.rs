//! Ends of runs that are recorded together: each under its own lease, none at the cost of another.
#![cfg(test)]

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use clearday::domain::job::{Job, JobState};
use clearday::domain::ledger::events::{Occasion, late_money};
use clearday::domain::ledger::{Fact, FactKey, FactKind, FactSource};
use clearday::engine::{Booking, Effects, Engine, Finished, Run, WorkError};
use clearday::store::jobs;
use clearday::store::ledger::{find_fact, of_subject};
use clearday_jobs::{ChannelName, JobKind, Money};
use futures::future::join_all;

use crate::support::sandbox::cny;
use crate::support::world::{World, on_both_databases};

const KIND: JobKind = JobKind::Reconciliation;

on_both_databases! {
    runs_that_end_together_are_all_recorded_with_their_history,
    a_run_that_lost_its_lease_is_left_out_with_its_effects,
    a_job_that_was_woken_while_it_ran_is_looked_at_again,
    a_fact_that_is_known_otherwise_fails_its_own_run_only,
    the_same_effect_again_is_booked_once,
    a_job_that_is_being_cancelled_may_still_end,
}

async fn runs_that_end_together_are_all_recorded_with_their_history(world: World) {
    let engine = world.engine("w");
    let jobs = leased(&world, &engine, 1_200).await;
    let ends = jobs
        .iter()
        .map(|job| end(&engine, job, receipt(&job.idempotency_key, 100)));
    for outcome in join_all(ends).await {
        outcome.unwrap();
    }
    for job in jobs.iter().step_by(97) {
        assert_eq!(
            world.story(job.id).await,
            ["1 accepted ready", "2 leased running", "3 finished done"]
        );
        assert!(is_booked(&world, &job.idempotency_key).await);
    }
    assert_eq!(engine.counters().finished.load(Ordering::Relaxed), 1_200);
    // Nothing is held any more, so nothing is lost.
    assert_eq!(engine.renew_held().await.unwrap().lost, 0);
}

async fn a_run_that_lost_its_lease_is_left_out_with_its_effects(world: World) {
    let slow = world.engine("slow");
    let jobs = leased(&world, &slow, 3).await;
    world.advance_seconds(21);
    // The first one goes to somebody else; the others are still held by nobody but the slow one.
    world.engine("sweeper").sweep().await.unwrap();
    let other = world.engine("other");
    let taken = other.lease_due(KIND, 1).await.unwrap();
    let stale = jobs.iter().find(|job| job.id == taken[0].id).unwrap();
    let refused = end(&slow, stale, receipt(&stale.idempotency_key, 100)).await;
    assert!(matches!(refused, Err(WorkError::StaleLease)), "{refused:?}");
    assert_eq!(world.job(stale.id).await.state, JobState::Running);
    assert!(!is_booked(&world, &stale.idempotency_key).await);
    assert_eq!(
        slow.counters()
            .stale_commits_refused
            .load(Ordering::Relaxed),
        1
    );
    end(&other, &taken[0], receipt(&stale.idempotency_key, 100))
        .await
        .unwrap();
    assert!(is_booked(&world, &stale.idempotency_key).await);
}

async fn a_job_that_was_woken_while_it_ran_is_looked_at_again(world: World) {
    let engine = world.engine("w");
    let jobs = leased(&world, &engine, 2).await;
    let mut tx = world.begin().await;
    jobs::mark_woken(&mut tx, jobs[0].id, world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let ends = jobs.iter().map(|job| end(&engine, job, Effects::default()));
    for outcome in join_all(ends).await {
        outcome.unwrap();
    }
    assert_eq!(world.job(jobs[0].id).await.state, JobState::Ready);
    assert_eq!(world.job(jobs[1].id).await.state, JobState::Done);
}

async fn a_fact_that_is_known_otherwise_fails_its_own_run_only(world: World) {
    let engine = world.engine("w");
    let jobs = leased(&world, &engine, 4).await;
    end(&engine, &jobs[0], receipt("same", 100)).await.unwrap();
    let ends = [
        end(&engine, &jobs[1], receipt("one", 100)),
        end(&engine, &jobs[2], receipt("same", 200)),
        end(&engine, &jobs[3], receipt("two", 100)),
    ];
    let outcomes = join_all(ends).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let words = outcomes[1].as_ref().unwrap_err().to_string();
    assert_eq!(words, "same is known with 1.00 CNY and not 2.00 CNY");
    assert!(is_booked(&world, "one").await && is_booked(&world, "two").await);
}

async fn the_same_effect_again_is_booked_once(world: World) {
    let engine = world.engine("w");
    let jobs = leased(&world, &engine, 2).await;
    let ends = jobs
        .iter()
        .map(|job| end(&engine, job, receipt("same", 100)));
    for outcome in join_all(ends).await {
        outcome.unwrap();
    }
    let mut tx = world.store.read().await.unwrap();
    let entries = of_subject(&mut tx, "receipt:wechat_pay:same", 10)
        .await
        .unwrap();
    assert_eq!(entries.len(), 1);
}

async fn a_job_that_is_being_cancelled_may_still_end(world: World) {
    let engine = world.engine("w");
    let jobs = leased(&world, &engine, 1).await;
    engine.cancel(jobs[0].id, "wang").await.unwrap();
    end(&engine, &jobs[0], Effects::default()).await.unwrap();
    assert_eq!(world.job(jobs[0].id).await.state, JobState::Done);
}

async fn leased(world: &World, engine: &Engine, count: usize) -> Vec<Job> {
    let submissions =
        (0..count).map(|number| crate::support::world::due(&format!("k-{number:04}")));
    engine.accept(submissions.collect()).await.unwrap();
    world.clock.advance(TimeDelta::milliseconds(1));
    let jobs = engine.lease_due(KIND, count).await.unwrap();
    assert_eq!(jobs.len(), count);
    jobs
}

async fn end(engine: &Engine, job: &Job, effects: Effects) -> Result<Finished, WorkError> {
    Run::new(engine.clone(), job.clone())
        .end(effects, "ended")
        .await
}

/// Money that came in under this number and was owed by nobody.
fn receipt(number: &str, minor: i64) -> Effects {
    let channel: ChannelName = "wechat_pay".parse().unwrap();
    let amount: Money = cny(minor);
    let subject = format!("receipt:{channel}:{number}");
    let occasion = Occasion {
        subject: &subject,
        accounting_on: "2026-03-02".parse().unwrap(),
    };
    let entry = late_money(occasion, &channel, amount).unwrap().unwrap();
    let fact = Fact {
        key: FactKey {
            account: channel,
            kind: FactKind::Capture,
            external_no: number.to_owned(),
        },
        amount,
        occurred_at: "2026-03-02T12:00:00Z".parse().unwrap(),
        source: FactSource::Query,
        evidence: "told by a test".to_owned(),
    };
    Effects {
        bookings: vec![Booking { fact, entry }],
    }
}

async fn is_booked(world: &World, number: &str) -> bool {
    let key = FactKey {
        account: "wechat_pay".parse().unwrap(),
        kind: FactKind::Capture,
        external_no: number.to_owned(),
    };
    let mut tx = world.store.read().await.unwrap();
    let fact = find_fact(&mut tx, &key).await.unwrap();
    fact.is_some_and(|fact| fact.entry_id.is_some())
}
