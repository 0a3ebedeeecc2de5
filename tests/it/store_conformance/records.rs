//! Our own records, found by number and by day, whatever order the database sorts text in.
#![cfg(test)]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use clearday::domain::record::{Record, RecordKind, RecordStatus};
use clearday::store::records;
use clearday_jobs::{Currency, Money};
use sqlx::{Connection, PgConnection};

use crate::support::world::{World, noon, on_both_databases};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

on_both_databases! {
    records_are_found_by_any_numbers,
    records_are_found_by_channel_and_day,
    a_record_that_is_known_stays_and_its_outcome_is_taken_over,
}

/// Whoever comes second waits before it takes anything that comes later in the order, so that the first one never has
/// to wait for it.
#[tokio::test]
async fn a_writer_waits_at_the_first_record_that_another_one_holds() {
    let world = World::postgres().await;
    let (a, b) = (payment("a"), payment("b"));
    insert(&world, std::slice::from_ref(&a)).await;
    let mut first = world.begin().await;
    assert_eq!(
        records::insert(&mut first, &[&a], world.now())
            .await
            .unwrap(),
        0
    );

    let mut observer = PgConnection::connect(world.database.url()).await.unwrap();
    let second = async {
        let mut tx = world.begin().await;
        let inserted = records::insert(&mut tx, &[&a, &b], world.now()).await;
        tx.commit().await.unwrap();
        inserted.unwrap()
    };
    let goes_on = async {
        while waiting_for_a_lock(&mut observer).await == 0 {
            tokio::task::yield_now().await;
        }
        let inserted = records::insert(&mut first, &[&b], world.now()).await;
        first.commit().await.unwrap();
        inserted.unwrap()
    };
    let both = async { tokio::join!(second, goes_on) };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.unwrap(), (0, 1));
}

async fn waiting_for_a_lock(observer: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(observer)
    .await
    .unwrap()
}

/// Numbers that English, bytes and length put into different orders.
const NUMBERS: [&str; 8] = ["a0", "B1", "b-2", "b1", "Z", "z_9", "10", "9"];

async fn records_are_found_by_any_numbers(world: World) {
    let kept: Vec<Record> = NUMBERS.iter().map(|number| payment(number)).collect();
    insert(&world, &kept).await;
    let mut tx = world.store.read().await.unwrap();
    // Every pair: the first and the last by one order are not those by another.
    for one in NUMBERS {
        for other in NUMBERS {
            let wanted = [
                (RecordKind::Payment, one),
                (RecordKind::Payment, other),
                (RecordKind::Refund, one),
                (RecordKind::Payment, "unknown"),
            ];
            let found = records::find(&mut tx, &wanted).await.unwrap();
            let found: BTreeSet<&str> = found.iter().map(|r| r.record_no.as_str()).collect();
            assert_eq!(found, BTreeSet::from([one, other]));
        }
    }
    let nothing = records::find(&mut tx, &[]).await.unwrap();
    assert!(nothing.is_empty());
}

async fn records_are_found_by_channel_and_day(world: World) {
    let day = TimeDelta::days(1);
    let at = |number: &str, days: i32| Record {
        occurred_at: (noon() + day * days).fixed_offset(),
        ..payment(number)
    };
    let elsewhere = Record {
        channel: "alipay".parse().unwrap(),
        ..payment("elsewhere")
    };
    insert(
        &world,
        &[at("c", 1), at("B", 0), at("a", 0), at("d", 2), elsewhere],
    )
    .await;
    let mut tx = world.store.read().await.unwrap();
    // Half-open: the first instant belongs to it, the last does not.
    let found = records::between(&mut tx, "wechat_pay", noon(), noon() + day * 2).await;
    let found: Vec<String> = found
        .unwrap()
        .iter()
        .map(|r| r.record_no.to_string())
        .collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[2], "c");
    assert_eq!(
        BTreeSet::from_iter(found),
        ["B", "a", "c"].map(str::to_owned).into()
    );
}

async fn a_record_that_is_known_stays_and_its_outcome_is_taken_over(world: World) {
    let first = payment("a");
    assert_eq!(insert(&world, std::slice::from_ref(&first)).await, 1);
    let told_again = Record {
        status: RecordStatus::Closed,
        amount: Money::from_minor(1, first.amount.currency()),
        ..first.clone()
    };
    assert_eq!(insert(&world, std::slice::from_ref(&told_again)).await, 0);
    assert_eq!(find(&world, "a").await, first);

    let mut tx = world.begin().await;
    let updated = records::update(&mut tx, &[&told_again], world.now()).await;
    tx.commit().await.unwrap();
    assert_eq!(updated.unwrap(), 1);
    let status = RecordStatus::Closed;
    assert_eq!(find(&world, "a").await, Record { status, ..first });
}

fn payment(number: &str) -> Record {
    let cny = Currency::parse("CNY").unwrap();
    let occurred_at: DateTime<chrono::Utc> = noon();
    Record {
        record_no: number.parse().unwrap(),
        kind: RecordKind::Payment,
        channel: "wechat_pay".parse().unwrap(),
        channel_trade_no: None,
        merchant_id: "M-1001".parse().unwrap(),
        amount: Money::from_minor(19_900, cny),
        fee: Money::from_minor(120, cny),
        status: RecordStatus::Succeeded,
        occurred_at: occurred_at.fixed_offset(),
        original_record_no: None,
        coupon: None,
    }
}

async fn insert(world: &World, records: &[Record]) -> u64 {
    let mut tx = world.begin().await;
    let told: Vec<&Record> = records.iter().collect();
    let inserted = records::insert(&mut tx, &told, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    inserted
}

async fn find(world: &World, number: &str) -> Record {
    let mut tx = world.store.read().await.unwrap();
    let wanted = [(RecordKind::Payment, number)];
    let mut found = records::find(&mut tx, &wanted).await.unwrap();
    found.pop().unwrap()
}
