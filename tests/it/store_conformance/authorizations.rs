//! Authorizations: held once for a method, moved by compare-and-set, closed by proof; answers never change.
#![cfg(test)]

use clearday::domain::authorization::{Authorization, AuthorizationState};
use clearday::domain::deferred_authorization::{Suspension, SuspensionCode};
use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::store::authorizations::{self, AuthorizationChange};
use clearday::store::{StoreError, operations};
use clearday_jobs::{
    Amount, AuthorizationAnswer, Capture, Currency, JobId, MethodGroup, Money, OperationId,
    OrderNo, YesOrNo,
};

use crate::support::world::{World, on_both_databases};

on_both_databases! {
    a_method_holds_the_money_of_an_order_once,
    an_authorization_moves_only_from_the_version_it_was_read_at,
    an_end_is_not_recorded_without_evidence,
    one_call_about_an_authorization_is_open,
    an_authorization_comes_with_the_newest_call_about_it,
    a_plan_moves_only_from_the_version_it_was_decided_on,
    the_first_reason_of_a_suspension_stays,
    an_answer_never_changes,
    a_person_is_told_of_surplus_once,
}

fn order_no() -> OrderNo {
    "SO-1".parse().unwrap()
}

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn authorization(world: &World, method: &str, number: u32) -> Authorization {
    Authorization {
        reference: format!("A-{method}-{number}").parse().unwrap(),
        channel: "sandbox".parse().unwrap(),
        order_no: order_no(),
        merchant_id: "M-1".parse().unwrap(),
        method_id: method.parse().unwrap(),
        group: MethodGroup::StoredValueCard,
        number,
        capture: Capture::Automatic,
        amount: cny(1_234),
        keep: None,
        state: AuthorizationState::Intended,
        version: 1,
        because: "asked as number 1 of 1".to_owned(),
        is_surplus_told: false,
        updated_at: world.now(),
    }
}

async fn insert(world: &World, new: &Authorization, job: JobId) -> Result<(), StoreError> {
    let mut tx = world.begin().await;
    authorizations::insert(&mut tx, new, job, world.now()).await?;
    tx.commit().await
}

async fn apply(
    world: &World,
    read: &Authorization,
    state: AuthorizationState,
    evidence: Option<&str>,
) -> Result<bool, StoreError> {
    let mut tx = world.begin().await;
    let change = AuthorizationChange {
        authorization: read,
        state,
        amount: read.amount,
        keep: (state == AuthorizationState::Voiding).then(|| cny(0)),
        detail: "by the test",
        evidence,
        capture: (state == AuthorizationState::Captured).then(|| ("T-1", world.now())),
    };
    let moved = authorizations::apply(&mut tx, change, world.now()).await?;
    tx.commit().await?;
    Ok(moved)
}

async fn found(world: &World) -> Vec<Authorization> {
    let mut tx = world.store.read().await.unwrap();
    let found = authorizations::of_order(&mut tx, &order_no())
        .await
        .unwrap();
    found.into_iter().map(|it| it.authorization).collect()
}

async fn a_method_holds_the_money_of_an_order_once(world: World) {
    let job = world.due_job("a").await;
    let first = authorization(&world, "card", 1);
    insert(&world, &first, job).await.unwrap();
    assert_eq!(found(&world).await, std::slice::from_ref(&first));
    let second = authorization(&world, "card", 2);
    let mut read = first;
    for state in AuthorizationState::ALL {
        if *state != AuthorizationState::Intended {
            assert!(apply(&world, &read, *state, Some("{}")).await.unwrap());
            read.version += 1;
        }
        let again = insert(&world, &second, job).await;
        assert_eq!(again.is_err(), state.is_committed(), "{state}");
        if again.is_ok() {
            break;
        }
        assert!(matches!(again, Err(StoreError::Constraint { .. })));
    }
    insert(&world, &authorization(&world, "other", 1), job)
        .await
        .unwrap();
    let mut tx = world.store.read().await.unwrap();
    assert!(
        authorizations::has_live(&mut tx, &order_no())
            .await
            .unwrap()
    );
    let stranger = "SO-2".parse().unwrap();
    assert!(!authorizations::has_live(&mut tx, &stranger).await.unwrap());
}

async fn an_authorization_moves_only_from_the_version_it_was_read_at(world: World) {
    let job = world.due_job("a").await;
    let read = authorization(&world, "card", 1);
    insert(&world, &read, job).await.unwrap();
    world.advance_seconds(1);
    let authorized = AuthorizationState::Authorized;
    assert!(apply(&world, &read, authorized, Some("{}")).await.unwrap());
    assert!(
        !apply(&world, &read, AuthorizationState::Voided, Some("{}"))
            .await
            .unwrap()
    );
    let moved = found(&world).await.remove(0);
    assert_eq!((moved.state, moved.version), (authorized, 2));
    assert_eq!(moved.updated_at, world.now());
    assert!(
        apply(&world, &moved, AuthorizationState::Voiding, None)
            .await
            .unwrap()
    );
    assert_eq!(found(&world).await[0].keep, Some(cny(0)));
}

async fn an_end_is_not_recorded_without_evidence(world: World) {
    let job = world.due_job("a").await;
    let read = authorization(&world, "card", 1);
    insert(&world, &read, job).await.unwrap();
    for state in AuthorizationState::ALL {
        let needs_proof = !matches!(
            state,
            AuthorizationState::Intended | AuthorizationState::Unknown
        );
        if needs_proof {
            let refused = apply(&world, &read, *state, None).await;
            assert!(
                matches!(refused, Err(StoreError::Constraint { .. })),
                "{state}"
            );
        }
    }
}

fn call(world: &World, job_id: JobId, kind: OperationKind, generation: u32) -> Operation {
    Operation {
        id: OperationId(world.ids.uuid()),
        job_id,
        kind,
        channel: "sandbox".parse().unwrap(),
        reference: "A-card-1".parse().unwrap(),
        generation,
        idempotency_key: format!("{}:sandbox:A-card-1:{generation}", kind.as_str()),
        state: OperationState::Intended,
        intended_at: world.now(),
        updated_at: world.now(),
    }
}

async fn intend(world: &World, call: &Operation) -> Result<(), StoreError> {
    let mut tx = world.begin().await;
    operations::intend(&mut tx, call).await?;
    tx.commit().await
}

async fn close(world: &World, call: &Operation, state: OperationState) {
    let mut tx = world.begin().await;
    operations::learn(&mut tx, call.id, state, "told", Some("{}"), world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn one_call_about_an_authorization_is_open(world: World) {
    let job = world.due_job("a").await;
    let authorize = call(&world, job, OperationKind::Authorize, 1);
    let void = call(&world, job, OperationKind::Void, 1);
    intend(&world, &authorize).await.unwrap();
    let early = intend(&world, &void).await;
    assert!(matches!(early, Err(StoreError::Constraint { .. })));
    close(&world, &authorize, OperationState::Unknown).await;
    assert!(intend(&world, &void).await.is_err(), "unknown is open");
    close(&world, &authorize, OperationState::Succeeded).await;
    intend(&world, &void).await.unwrap();
}

async fn an_authorization_comes_with_the_newest_call_about_it(world: World) {
    let job = world.due_job("a").await;
    insert(&world, &authorization(&world, "card", 1), job)
        .await
        .unwrap();
    let newest = async || {
        let mut tx = world.store.read().await.unwrap();
        let found = authorizations::of_order(&mut tx, &order_no()).await;
        found
            .unwrap()
            .remove(0)
            .call
            .map(|call| call.idempotency_key)
    };
    assert_eq!(newest().await, None);
    for (kind, generation, key) in [
        (OperationKind::Authorize, 1, "authorize:sandbox:A-card-1:1"),
        (OperationKind::Void, 1, "void:sandbox:A-card-1:1"),
        (OperationKind::Void, 2, "void:sandbox:A-card-1:2"),
    ] {
        let call = call(&world, job, kind, generation);
        intend(&world, &call).await.unwrap();
        close(&world, &call, OperationState::Declined).await;
        assert_eq!(newest().await.as_deref(), Some(key));
    }
}

async fn a_plan_moves_only_from_the_version_it_was_decided_on(world: World) {
    let move_plan = async |version| {
        let mut tx = world.begin().await;
        let now = world.now();
        let moved = authorizations::move_plan(&mut tx, &order_no(), version, now).await;
        tx.commit().await.unwrap();
        moved.unwrap()
    };
    let version = async || {
        let mut tx = world.store.read().await.unwrap();
        authorizations::plan_version(&mut tx, &order_no())
            .await
            .unwrap()
    };
    for decided_on in 0..3 {
        assert_eq!(version().await, decided_on);
        assert!(move_plan(decided_on).await);
        assert!(
            !move_plan(decided_on).await,
            "two jobs cannot both decide on {decided_on}"
        );
    }
}

async fn the_first_reason_of_a_suspension_stays(world: World) {
    let job = world.due_job("a").await;
    let suspension = |code: SuspensionCode| Suspension {
        code,
        message: format!("because of {code}"),
    };
    for code in [SuspensionCode::Declined, SuspensionCode::CardExpired] {
        let mut tx = world.begin().await;
        let method = "card".parse().unwrap();
        let suspension = suspension(code);
        let now = world.now();
        authorizations::suspend(&mut tx, &order_no(), &method, &suspension, job, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = world.store.read().await.unwrap();
    let suspended = authorizations::suspended(&mut tx, &order_no())
        .await
        .unwrap();
    let expected = [(
        "card".parse().unwrap(),
        suspension(SuspensionCode::Declined),
    )];
    assert_eq!(suspended, expected.into());
}

async fn an_answer_never_changes(world: World) {
    let job = world.due_job("a").await;
    let answer = |successful| AuthorizationAnswer {
        order_no: order_no(),
        successful,
        errors: Vec::new(),
        remaining_to_authorize: Amount(cny(0)),
        authorizations: Vec::new(),
    };
    for (successful, is_kept) in [(YesOrNo::Yes, true), (YesOrNo::No, false)] {
        let mut tx = world.begin().await;
        let now = world.now();
        let kept = authorizations::keep_answer(&mut tx, job, &answer(successful), now).await;
        tx.commit().await.unwrap();
        assert_eq!(kept.unwrap(), is_kept);
    }
    let mut tx = world.store.read().await.unwrap();
    let kept = authorizations::answer_of(&mut tx, job).await.unwrap();
    assert_eq!(
        kept.as_deref(),
        Some(
            "{\"order_no\":\"SO-1\",\"successful\":\"Y\",\"errors\":[],\
             \"remaining_to_authorize\":{\"amount\":\"0.00\",\"currency\":\"CNY\"},\"authorizations\":[]}"
        )
    );
}

async fn a_person_is_told_of_surplus_once(world: World) {
    let job = world.due_job("a").await;
    let read = authorization(&world, "card", 1);
    insert(&world, &read, job).await.unwrap();
    for is_first in [true, false] {
        let mut tx = world.begin().await;
        let told = authorizations::tell_surplus(&mut tx, &read, world.now()).await;
        tx.commit().await.unwrap();
        assert_eq!(told.unwrap(), is_first);
    }
    assert!(found(&world).await[0].is_surplus_told);
}
