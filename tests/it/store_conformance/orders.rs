//! Orders: moved by compare-and-set, and never open to payment once they began to expire.
#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::domain::order::{Order, OrderState, PaymentReference, ReferenceState};
use clearday::store::orders::{self, NewOrder, OrderChange, ReferencePayment};
use clearday::store::{StoreError, Tx, operations};
use clearday_jobs::{Currency, Money, OperationId, OrderNo};
use sqlx::Connection;

use crate::support::world::{World, noon, on_both_databases};

on_both_databases! {
    an_order_is_written_down_once,
    an_order_moves_only_from_the_version_it_was_read_at,
    two_runs_move_an_order_once,
    a_group_comes_with_its_references_and_the_newest_call_about_each,
    a_reference_is_issued_only_while_every_member_may_be_paid,
    a_reference_is_not_issued_for_an_unknown_group,
    a_reference_is_issued_once,
    a_reference_is_proved_closed_or_paid_once,
}

async fn an_order_is_written_down_once(world: World) {
    let first = order("SO-1", "SO-1", OrderState::Open);
    assert!(insert(&world, &first).await);
    let mut second = first.clone();
    second.total = Money::from_minor(1, first.total.currency());
    assert!(!insert(&world, &second).await);
    assert_eq!(find(&world, "SO-1").await, Some(first));
    assert_eq!(find(&world, "SO-2").await, None);
    let mut tx = world.store.read().await.unwrap();
    assert_eq!(orders::list(&mut tx, 10).await.unwrap().len(), 1);
}

async fn an_order_moves_only_from_the_version_it_was_read_at(world: World) {
    let read = order("SO-1", "SO-1", OrderState::Open);
    insert(&world, &read).await;
    world.advance_seconds(1);
    let later = noon() + TimeDelta::days(1);
    assert!(apply(&world, &read, OrderState::InReview, later).await);
    assert!(!apply(&world, &read, OrderState::Expiring, later).await);
    let moved = find(&world, "SO-1").await.unwrap();
    assert_eq!((moved.state, moved.version), (OrderState::InReview, 2));
    assert_eq!((moved.expires_at, moved.updated_at), (later, world.now()));
    assert!(apply(&world, &moved, OrderState::Open, later).await);
    assert_eq!(find(&world, "SO-1").await.unwrap().version, 3);
}

async fn two_runs_move_an_order_once(world: World) {
    let read = order("SO-1", "SO-1", OrderState::Open);
    insert(&world, &read).await;
    let at = read.expires_at;
    let (expiry, payment) = tokio::join!(
        apply(&world, &read, OrderState::Expiring, at),
        apply(&world, &read, OrderState::Paid, at)
    );
    assert!(expiry != payment, "one of the two moves it");
    assert_eq!(find(&world, "SO-1").await.unwrap().version, 2);
}

async fn a_group_comes_with_its_references_and_the_newest_call_about_each(world: World) {
    for member in ["SO-2", "SO-1"] {
        insert(&world, &order(member, "SO-1", OrderState::Open)).await;
    }
    insert(&world, &order("SO-3", "SO-3", OrderState::Open)).await;
    for reference in ["REF-2", "REF-1"] {
        assert!(issue(&world, reference, "SO-1").await);
    }
    assert!(issue(&world, "REF-3", "SO-3").await);
    let job_id = world.due_job("a").await;
    let close = |generation| Operation {
        id: OperationId(world.ids.uuid()),
        job_id,
        kind: OperationKind::Close,
        channel: "sandbox".parse().unwrap(),
        reference: "REF-1".parse().unwrap(),
        generation,
        idempotency_key: format!("close:REF-1:{generation}"),
        state: OperationState::Intended,
        intended_at: world.now(),
        updated_at: world.now(),
    };
    let (first, second) = (close(1), close(2));
    let mut tx = world.begin().await;
    operations::intend(&mut tx, &first).await.unwrap();
    let declined = OperationState::Declined;
    operations::learn(&mut tx, first.id, declined, "told", Some("{}"), world.now())
        .await
        .unwrap();
    operations::intend(&mut tx, &second).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = world.store.read().await.unwrap();
    for member in ["SO-1", "SO-2"] {
        let group = orders::load_group(&mut tx, &member.parse().unwrap())
            .await
            .unwrap();
        let members: Vec<&str> = group.orders.iter().map(|o| o.order_no.as_str()).collect();
        assert_eq!(members, ["SO-1", "SO-2"]);
        let references: Vec<(&str, Option<&Operation>)> = group
            .references
            .iter()
            .map(|(reference, close)| (reference.reference.as_str(), close.as_ref()))
            .collect();
        assert_eq!(references, [("REF-1", Some(&second)), ("REF-2", None)]);
    }
    let unknown = orders::load_group(&mut tx, &"SO-9".parse().unwrap()).await;
    assert!(unknown.unwrap().orders.is_empty());
    let group = orders::reference_group(&mut tx, "sandbox", "REF-2").await;
    assert_eq!(group.unwrap().as_deref(), Some("SO-1"));
}

async fn a_reference_is_issued_only_while_every_member_may_be_paid(world: World) {
    for &state in OrderState::ALL {
        let group = format!("G-{state}");
        insert(&world, &order(&group, &group, OrderState::Open)).await;
        insert(&world, &order(&format!("M-{state}"), &group, state)).await;
        let is_payable = matches!(state, OrderState::Open | OrderState::InReview);
        let issued = issue(&world, &format!("REF-{state}"), &group).await;
        assert_eq!(issued, is_payable, "{state}");
    }
}

async fn a_reference_is_not_issued_for_an_unknown_group(world: World) {
    assert!(!issue(&world, "REF-1", "SO-1").await);
}

async fn a_reference_is_issued_once(world: World) {
    for number in ["SO-1", "SO-2"] {
        insert(&world, &order(number, number, OrderState::Open)).await;
    }
    assert!(issue(&world, "REF-1", "SO-1").await);
    for group in ["SO-1", "SO-2"] {
        assert!(!issue(&world, "REF-1", group).await);
    }
}

async fn a_reference_is_proved_closed_or_paid_once(world: World) {
    insert(&world, &order("SO-1", "SO-1", OrderState::Open)).await;
    let reference = |number: &str| PaymentReference {
        channel: "sandbox".parse().unwrap(),
        reference: number.parse().unwrap(),
        state: ReferenceState::Open,
    };
    let payment = ReferencePayment {
        amount: Money::from_minor(19_900, Currency::parse("CNY").unwrap()),
        channel_trade_no: "4200001",
        paid_at: noon(),
        evidence: "{}",
    };
    let close = async |number: &str| {
        let mut tx = world.begin().await;
        let closed = orders::close_reference(&mut tx, &reference(number), "{}", world.now()).await;
        tx.commit().await.unwrap();
        closed.unwrap()
    };
    let pay = async |number: &str| {
        let mut tx = world.begin().await;
        let paid = orders::pay_reference(&mut tx, &reference(number), &payment, world.now()).await;
        tx.commit().await.unwrap();
        paid.unwrap()
    };
    for number in ["REF-C", "REF-P"] {
        issue(&world, number, "SO-1").await;
    }
    assert!(close("REF-C").await);
    assert!(pay("REF-P").await);
    for number in ["REF-C", "REF-P", "REF-UNKNOWN"] {
        assert!(!close(number).await);
        assert!(!pay(number).await);
    }
    let mut tx = world.store.read().await.unwrap();
    let group = orders::load_group(&mut tx, &"SO-1".parse().unwrap()).await;
    let states: Vec<ReferenceState> = group
        .unwrap()
        .references
        .iter()
        .map(|(reference, _)| reference.state)
        .collect();
    assert_eq!(states, [ReferenceState::Closed, ReferenceState::Paid]);
}

/// On Postgres only: SQLite has one writer, so its transactions cannot overlap.
#[tokio::test]
async fn issuing_waits_for_an_expiry_under_way_and_is_refused() {
    let world = World::postgres().await;
    let read = order("SO-1", "SO-1", OrderState::Open);
    insert(&world, &read).await;
    let mut expiring = world.begin().await;
    let change = change(&read, OrderState::Expiring, read.expires_at);
    assert!(
        orders::apply(&mut expiring, change, world.now())
            .await
            .unwrap()
    );
    let (issued, ()) = tokio::join!(issue(&world, "REF-1", "SO-1"), async {
        until_somebody_waits(&world).await;
        expiring.commit().await.unwrap();
    });
    assert!(!issued);
}

/// On Postgres only, as above.
#[tokio::test]
async fn expiry_waits_for_an_issue_under_way_and_sees_its_reference() {
    let world = World::postgres().await;
    let read = order("SO-1", "SO-1", OrderState::Open);
    insert(&world, &read).await;
    let mut issuing = world.begin().await;
    assert!(
        issue_in(&mut issuing, &world, "REF-1", "SO-1")
            .await
            .unwrap()
    );
    let (moved, ()) = tokio::join!(
        apply(&world, &read, OrderState::Expiring, read.expires_at),
        async {
            until_somebody_waits(&world).await;
            issuing.commit().await.unwrap();
        }
    );
    assert!(moved);
    let mut tx = world.store.read().await.unwrap();
    let group = orders::load_group(&mut tx, &read.order_no).await.unwrap();
    assert_eq!(group.references.len(), 1);
    assert_eq!(group.orders[0].state, OrderState::Expiring);
}

/// Returns as soon as a transaction of this database waits for another one's lock.
async fn until_somebody_waits(world: &World) {
    let waited = tokio::time::timeout(Duration::from_secs(20), look_for_a_wait(world)).await;
    assert!(waited.is_ok(), "nobody waits for the other's lock");
}

async fn look_for_a_wait(world: &World) {
    let mut looker = sqlx::PgConnection::connect(world.database.url())
        .await
        .unwrap();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut looker)
        .await
        .unwrap();
        if waiting > 0 {
            return;
        }
    }
}

fn order(order_no: &str, group_no: &str, state: OrderState) -> Order {
    Order {
        order_no: order_no.parse().unwrap(),
        group_no: group_no.parse().unwrap(),
        merchant_id: "M-1001".parse().unwrap(),
        total: Money::from_minor(19_900, Currency::parse("CNY").unwrap()),
        state,
        version: 1,
        expires_at: noon() + TimeDelta::days(7),
        updated_at: noon(),
    }
}

async fn insert(world: &World, order: &Order) -> bool {
    let mut tx = world.begin().await;
    let new = NewOrder {
        order,
        reason: "imported",
    };
    let inserted = orders::insert(&mut tx, new, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    inserted
}

async fn find(world: &World, order_no: &str) -> Option<Order> {
    let mut tx = world.store.read().await.unwrap();
    let order_no: OrderNo = order_no.parse().unwrap();
    orders::find(&mut tx, &order_no).await.unwrap()
}

const fn change(order: &Order, state: OrderState, expires_at: DateTime<Utc>) -> OrderChange<'_> {
    OrderChange {
        order,
        state,
        expires_at,
        reason: "moved by a test",
        job_id: None,
    }
}

async fn apply(world: &World, order: &Order, state: OrderState, at: DateTime<Utc>) -> bool {
    let mut tx = world.begin().await;
    let moved = orders::apply(&mut tx, change(order, state, at), world.now()).await;
    tx.commit().await.unwrap();
    moved.unwrap()
}

async fn issue(world: &World, reference: &str, group_no: &str) -> bool {
    let mut tx = world.begin().await;
    let issued = issue_in(&mut tx, world, reference, group_no).await.unwrap();
    tx.commit().await.unwrap();
    issued
}

async fn issue_in(
    tx: &mut Tx,
    world: &World,
    reference: &str,
    group_no: &str,
) -> Result<bool, StoreError> {
    let group_no: OrderNo = group_no.parse().unwrap();
    orders::issue_reference(tx, "sandbox", reference, &group_no, world.now()).await
}
