//! Leases: who gets which job, for how long, and how it is given back.
#![cfg(test)]

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::job::{JobState, Priority};
use clearday::engine::{Held, Run};
use clearday::store::jobs::{self, NewJob};
use clearday_jobs::{JobId, JobKind};
use sqlx::Executor;

use crate::support::house::eventually;
use crate::support::world::{World, due, due_at, noon, on_both_databases};

const KIND: JobKind = JobKind::Reconciliation;

on_both_databases! {
    the_most_urgent_and_then_the_oldest_is_leased_first,
    what_is_not_due_is_not_leased,
    a_lease_names_its_holder_its_end_and_its_epoch,
    a_leased_job_is_not_leased_again,
    another_kind_is_not_leased,
    a_renewed_lease_outlives_its_first_end,
    a_lease_that_another_worker_took_is_lost,
    a_run_that_ends_during_a_renewal_has_lost_nothing,
    a_job_handed_back_is_due_again_and_burns_no_attempt,
    what_is_not_held_any_more_is_not_handed_back,
    the_next_due_instant_and_the_oldest_are_known,
}

async fn the_most_urgent_and_then_the_oldest_is_leased_first(world: World) {
    let minute = TimeDelta::minutes(1);
    // Inserted in another order than they are due, and their ids grow as they are inserted.
    let late = insert(&world, "late", Priority::Normal, noon()).await;
    let bulk = insert(&world, "bulk", Priority::Bulk, noon() - minute * 9).await;
    let twin = insert(&world, "twin", Priority::Normal, noon() - minute).await;
    let other_twin = insert(&world, "other twin", Priority::Normal, noon() - minute).await;
    let urgent = insert(&world, "urgent", Priority::Urgent, noon()).await;

    let engine = world.engine("w");
    let mut leased: Vec<JobId> = Vec::new();
    for room in [2, 2, 2] {
        let batch = engine.lease_due(KIND, room).await.unwrap();
        leased.extend(batch.iter().map(|job| job.id));
    }
    assert_eq!(leased, [urgent, twin, other_twin, late, bulk]);
}

async fn insert(world: &World, key: &str, priority: Priority, run_at: DateTime<Utc>) -> JobId {
    let job = NewJob {
        id: JobId(world.ids.uuid()),
        kind: KIND,
        priority,
        partition: None,
        idempotency_key: key.to_owned(),
        payload: "{}".to_owned(),
        payload_sha256: "0".repeat(64),
        source: "test".to_owned(),
        run_at,
        attempts_max: 3,
        note: "accepted".to_owned(),
        created_at: world.now(),
    };
    let mut tx = world.begin().await;
    let inserted = jobs::insert(&mut tx, std::slice::from_ref(&job)).await;
    assert_eq!(inserted.unwrap(), [job.id]);
    tx.commit().await.unwrap();
    job.id
}

async fn what_is_not_due_is_not_leased(world: World) {
    let engine = world.engine("w");
    world.accept(due_at("a", "2026-03-02T12:00:10Z")).await;
    let lease = || engine.lease_due(JobKind::OrderExpiry, 10);
    assert!(lease().await.unwrap().is_empty());
    // The clock stands at 12:00:00.123456; one microsecond before the instant it is not due yet.
    world.clock.advance(TimeDelta::microseconds(9_876_543));
    assert!(lease().await.unwrap().is_empty());
    world.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(lease().await.unwrap().len(), 1);
}

async fn a_lease_names_its_holder_its_end_and_its_epoch(world: World) {
    let job = world.leased_job(&world.engine("w"), "a").await;
    assert_eq!(job, world.job(job.id).await);
    let lease = job.lease.clone().unwrap();
    assert_eq!((lease.worker.as_str(), job.lease_epoch), ("w", 1));
    assert_eq!(lease.until, noon() + TimeDelta::seconds(20));
    assert_eq!((job.state, job.attempt), (JobState::Running, 1));
    assert_eq!(
        world.story(job.id).await,
        ["1 accepted ready", "2 leased running"]
    );
}

async fn a_leased_job_is_not_leased_again(world: World) {
    world.leased_job(&world.engine("a"), "a").await;
    for worker in ["a", "b"] {
        let again = world.engine(worker).lease_due(KIND, 10).await.unwrap();
        assert!(again.is_empty());
    }
}

async fn another_kind_is_not_leased(world: World) {
    world.due_job("a").await;
    for kind in JobKind::ALL.into_iter().filter(|kind| *kind != KIND) {
        let leased = world.engine("w").lease_due(kind, 10).await.unwrap();
        assert!(leased.is_empty());
    }
}

async fn a_renewed_lease_outlives_its_first_end(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    world.advance_seconds(15);
    let held = engine.renew_held().await.unwrap();
    assert_eq!(
        held,
        Held {
            renewed: 1,
            lost: 0
        }
    );
    world.advance_seconds(15);
    assert_eq!(world.engine("b").sweep().await.unwrap(), 0);
    // A renewal is no change of state: it leaves no row of history.
    assert_eq!(
        world.story(job.id).await,
        ["1 accepted ready", "2 leased running"]
    );
}

async fn a_lease_that_another_worker_took_is_lost(world: World) {
    let (slow, other) = (world.engine("slow"), world.engine("other"));
    world.leased_job(&slow, "a").await;
    world.advance_seconds(21);
    other.sweep().await.unwrap();
    let retaken = other.lease_due(KIND, 10).await.unwrap();
    assert_eq!(retaken[0].lease_epoch, 2);

    let lost = Held {
        renewed: 0,
        lost: 1,
    };
    assert_eq!(slow.renew_held().await.unwrap(), lost);
    let forgotten = Held {
        renewed: 0,
        lost: 0,
    };
    assert_eq!(slow.renew_held().await.unwrap(), forgotten);
    let held = Held {
        renewed: 1,
        lost: 0,
    };
    assert_eq!(other.renew_held().await.unwrap(), held);
}

async fn a_run_that_ends_during_a_renewal_has_lost_nothing(world: World) {
    let engine = world.engine("w");
    let batch = (0..40).map(|n| due(&n.to_string())).collect();
    engine.accept(batch).await.unwrap();
    let runs = engine.lease_due(KIND, 1_000).await.unwrap();
    let ends = runs.into_iter().map(|job| {
        engine.execute(job, async |run: Run| {
            let tx = run.begin().await?;
            run.done(tx, "done").await
        })
    });
    let renewals = async {
        let mut lost = 0;
        loop {
            let held = engine.renew_held().await.unwrap();
            lost += held.lost;
            if held.renewed == 0 {
                return lost;
            }
        }
    };
    let (_, lost) = tokio::join!(futures::future::join_all(ends), renewals);
    assert_eq!(lost, 0);
}

async fn a_job_handed_back_is_due_again_and_burns_no_attempt(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    world.bell.take(KIND);
    assert_eq!(engine.hand_back_all().await.unwrap(), 1);
    assert_eq!(world.bell.take(KIND), 1);
    assert_eq!(engine.hand_back_all().await.unwrap(), 0);

    let handed_back = world.job(job.id).await;
    assert_eq!(handed_back.state, JobState::Ready);
    assert_eq!((handed_back.attempt, handed_back.rescues), (0, 0));
    assert_eq!(handed_back.lease, None);
    assert_eq!(
        world.story(job.id).await,
        [
            "1 accepted ready",
            "2 leased running",
            "3 handed_back ready"
        ]
    );
    let again = world.engine("b").lease_due(KIND, 10).await.unwrap();
    assert_eq!((again[0].attempt, again[0].lease_epoch), (1, 2));
}

async fn what_is_not_held_any_more_is_not_handed_back(world: World) {
    let (slow, other) = (world.engine("slow"), world.engine("other"));
    let job = world.leased_job(&slow, "a").await;
    world.advance_seconds(21);
    other.sweep().await.unwrap();
    other.lease_due(KIND, 10).await.unwrap();
    assert_eq!(slow.hand_back_all().await.unwrap(), 0);
    assert_eq!(world.job(job.id).await.lease.unwrap().worker, "other");
}

async fn the_next_due_instant_and_the_oldest_are_known(world: World) {
    let (early, late) = ("2026-03-02T11:00:00Z", "2026-03-02T13:00:00Z");
    let instant = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let look = async || {
        let mut tx = world.store.read().await.unwrap();
        let kind = JobKind::OrderExpiry;
        let next = jobs::next_run_at(&mut tx, kind).await.unwrap();
        let oldest = jobs::oldest_due(&mut tx, kind, noon()).await.unwrap();
        (next, oldest)
    };
    assert_eq!(look().await, (None, None));
    world.accept(due_at("late", late)).await;
    assert_eq!(look().await, (Some(instant(late)), None));
    world.accept(due_at("early", early)).await;
    assert_eq!(look().await, (Some(instant(early)), Some(instant(early))));
    let leased = world.engine("w").lease_due(JobKind::OrderExpiry, 10).await;
    assert_eq!(leased.unwrap().len(), 1);
    assert_eq!(look().await, (Some(instant(late)), None));
}

/// On Postgres only, because SQLite has no trigger that runs at the commit.
#[tokio::test]
async fn a_lease_whose_commit_failed_is_not_held() {
    let world = World::postgres().await;
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    let mut administrator = connect(&world).await;
    administrator
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$; \
             CREATE CONSTRAINT TRIGGER refuse_commit AFTER UPDATE ON jobs \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    engine.lease_due(KIND, 10).await.unwrap_err();
    // Held, it would be renewed for ever, and nobody here runs it.
    let nothing = Held {
        renewed: 0,
        lost: 0,
    };
    assert_eq!(engine.renew_held().await.unwrap(), nothing);

    administrator
        .execute("DROP TRIGGER refuse_commit ON jobs")
        .await
        .unwrap();
    assert_eq!(engine.lease_due(KIND, 10).await.unwrap().len(), 1);
    assert_eq!(
        world.story(id).await,
        ["1 accepted ready", "2 leased running"]
    );
}

/// On Postgres only: SQLite has one writer at a time.
#[tokio::test]
async fn one_job_that_somebody_has_in_hand_costs_nobody_a_lease() {
    let world = World::postgres().await;
    let engine = world.engine("w");
    for key in ["in hand", "free"] {
        world.due_job(key).await;
    }
    let leased = engine.lease_due(KIND, 10).await.unwrap();
    let mut somebody = connect(&world).await;
    let lock = "BEGIN; SELECT 1 FROM jobs WHERE idempotency_key = 'in hand' FOR UPDATE";
    somebody.execute(lock).await.unwrap();
    world.advance_seconds(15);
    let held = |renewed, lost| Held { renewed, lost };
    assert_eq!(engine.renew_held().await.unwrap(), held(1, 0));
    world.advance_seconds(15);
    // The one lapsed, and nobody takes it as long as it is in hand.
    assert_eq!(world.engine("b").sweep().await.unwrap(), 0);
    engine.hand_back_all().await.unwrap_err();
    let states = async || {
        let mut states = Vec::new();
        for job in &leased {
            states.push(world.job(job.id).await.state);
        }
        states.sort_unstable();
        states
    };
    assert_eq!(states().await, [JobState::Ready, JobState::Running]);
    somebody.execute("COMMIT").await.unwrap();
    // Whoever waited for the row in vain may still stand before it.
    let all = eventually(async || {
        drop(engine.hand_back_all().await);
        (states().await == [JobState::Ready, JobState::Ready]).then_some(())
    });
    all.await.expect("both are handed back");
}

async fn connect(world: &World) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(world.database.url())
        .await
        .unwrap()
}
