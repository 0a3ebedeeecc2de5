//! Operations: written down once before the call, and closed by proof for good.
#![cfg(test)]

use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::store::{StoreError, operations};
use clearday_jobs::{JobId, OperationId};

use crate::support::world::{World, on_both_databases};

on_both_databases! {
    one_operation_is_open_per_reference,
    a_new_generation_needs_the_old_one_closed,
    a_key_is_used_once,
    what_is_proved_stays_proved,
    an_outcome_is_not_proved_without_evidence,
    evidence_of_an_unknown_outcome_is_kept,
    open_operations_are_those_of_the_job,
}

async fn one_operation_is_open_per_reference(world: World) {
    let job = world.due_job("a").await;
    let other_job = world.due_job("b").await;
    intend(&world, &operation(&world, job, 1)).await.unwrap();
    // Neither under a new key nor by another job: it would be a blind second try.
    for again in [operation(&world, job, 2), operation(&world, other_job, 2)] {
        let refused = intend(&world, &again).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Constraint { .. }),
            "{refused:?}"
        );
        assert!(!refused.is_retryable());
    }
    let mut elsewhere = operation(&world, job, 1);
    elsewhere.reference = "REF-2".parse().unwrap();
    elsewhere.idempotency_key = "close:sandbox:REF-2:1".to_owned();
    intend(&world, &elsewhere).await.unwrap();
}

async fn a_new_generation_needs_the_old_one_closed(world: World) {
    let job = world.due_job("a").await;
    let first = operation(&world, job, 1);
    intend(&world, &first).await.unwrap();
    for (state, is_open) in [
        (OperationState::Unknown, true),
        (OperationState::Declined, false),
    ] {
        assert!(learn(&world, &first, state, Some("{}")).await.unwrap());
        let second = intend(&world, &operation(&world, job, 2)).await;
        assert_eq!(second.is_err(), is_open, "{state}");
    }
}

async fn a_key_is_used_once(world: World) {
    let job = world.due_job("a").await;
    let first = operation(&world, job, 1);
    intend(&world, &first).await.unwrap();
    learn(&world, &first, OperationState::Declined, Some("{}"))
        .await
        .unwrap();
    let mut same_generation = operation(&world, job, 1);
    same_generation.idempotency_key = "another key".to_owned();
    let mut same_key = operation(&world, job, 2);
    same_key.idempotency_key.clone_from(&first.idempotency_key);
    for again in [same_generation, same_key] {
        let refused = intend(&world, &again).await.unwrap_err();
        assert!(matches!(refused, StoreError::Constraint { .. }));
    }
}

async fn what_is_proved_stays_proved(world: World) {
    for (proved, key) in [
        (OperationState::Succeeded, "a"),
        (OperationState::Declined, "b"),
    ] {
        let mut asked = operation(&world, world.due_job(key).await, 1);
        asked.reference = key.parse().unwrap();
        asked.idempotency_key = key.to_owned();
        intend(&world, &asked).await.unwrap();
        assert!(learn(&world, &asked, proved, Some("proof")).await.unwrap());
        for &late_news in OperationState::ALL {
            let learned = learn(&world, &asked, late_news, Some("hearsay")).await;
            assert!(!learned.unwrap(), "{proved} -> {late_news}");
        }
        let mut tx = world.store.read().await.unwrap();
        let kept = operations::of_job(&mut tx, asked.job_id).await.unwrap();
        assert_eq!(kept[0].state, proved.as_str());
        assert_eq!(kept[0].evidence.as_deref(), Some("proof"));
    }
}

async fn an_outcome_is_not_proved_without_evidence(world: World) {
    let asked = operation(&world, world.due_job("a").await, 1);
    intend(&world, &asked).await.unwrap();
    let refused = learn(&world, &asked, OperationState::Succeeded, None).await;
    assert!(matches!(refused, Err(StoreError::Constraint { .. })));
}

async fn evidence_of_an_unknown_outcome_is_kept(world: World) {
    let asked = operation(&world, world.due_job("a").await, 1);
    intend(&world, &asked).await.unwrap();
    for evidence in [Some("a reset connection"), None] {
        world.advance_seconds(1);
        let learned = learn(&world, &asked, OperationState::Unknown, evidence).await;
        assert!(learned.unwrap());
    }
    let mut tx = world.store.read().await.unwrap();
    let kept = operations::of_job(&mut tx, asked.job_id).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].id, asked.id);
    assert_eq!(kept[0].state, "unknown");
    assert_eq!(kept[0].evidence.as_deref(), Some("a reset connection"));
    assert_eq!(kept[0].intended_at, asked.intended_at);
    assert_eq!(kept[0].updated_at, world.now());
}

async fn open_operations_are_those_of_the_job(world: World) {
    let (job, other) = (world.due_job("a").await, world.due_job("b").await);
    let asked = operation(&world, job, 1);
    intend(&world, &asked).await.unwrap();
    let open = async |id| {
        let mut tx = world.store.read().await.unwrap();
        operations::open_of_job(&mut tx, id).await.unwrap()
    };
    assert_eq!(open(job).await, std::slice::from_ref(&asked));
    assert_eq!(open(other).await, []);
    learn(&world, &asked, OperationState::Succeeded, Some("{}"))
        .await
        .unwrap();
    assert_eq!(open(job).await, []);
}

fn operation(world: &World, job_id: JobId, generation: u32) -> Operation {
    Operation {
        id: OperationId(world.ids.uuid()),
        job_id,
        kind: OperationKind::Close,
        channel: "sandbox".parse().unwrap(),
        reference: "REF-1".parse().unwrap(),
        generation,
        idempotency_key: format!("close:sandbox:REF-1:{generation}"),
        state: OperationState::Intended,
        intended_at: world.now(),
        updated_at: world.now(),
    }
}

async fn intend(world: &World, operation: &Operation) -> Result<(), StoreError> {
    let mut tx = world.begin().await;
    operations::intend(&mut tx, operation).await?;
    tx.commit().await
}

async fn learn(
    world: &World,
    operation: &Operation,
    state: OperationState,
    evidence: Option<&str>,
) -> Result<bool, StoreError> {
    let mut tx = world.begin().await;
    let now = world.now();
    let learned = operations::learn(&mut tx, operation.id, state, "told", evidence, now).await?;
    tx.commit().await?;
    Ok(learned)
}
