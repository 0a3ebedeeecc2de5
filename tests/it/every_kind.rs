//! What holds for every kind of job: the same key is the same job, running twice changes nothing,
//! and a job that this release cannot carry out is kept and says so.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::job::JobState;
use clearday::domain::merchant::Merchant;
use clearday::domain::partner::Delivery;
use clearday::engine::Acceptance;
use clearday::store::{authorizations, ledger, notices, orders, reconciliations};
use clearday_jobs::{JobId, JobKind, example_for};

use crate::support::house::{House, Mode, expiry_of, request_of};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{merchant, payment};

in_both_modes! {
    the_same_key_is_the_same_job_whatever_its_kind: same_key;
    running_any_job_twice_changes_nothing_the_second_time: twice;
}

async fn same_key(house: House) {
    for kind in JobKind::ALL {
        let first = house
            .try_submit(kind.as_str(), "key", example_for(kind))
            .await;
        let again = house
            .try_submit(kind.as_str(), "key", example_for(kind))
            .await;
        let (Acceptance::New(new), Acceptance::Known(known, _)) = (&first, &again) else {
            panic!("{kind}: {first:?}, then {again:?}");
        };
        assert_eq!(new, known);
    }
    house.close().await;
}

/// Sets the scene for a kind and returns the payload of a job that has something to do.
async fn scene(house: &House, kind: JobKind) -> String {
    match kind {
        JobKind::OrderExpiry => {
            house.open_order("O-1", "O-1").await;
            house.open_reference("O-1", "R-1", 1_234).await;
            expiry_of("O-1")
        }
        JobKind::Reconciliation => {
            let bill = include_str!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
            std::fs::write(house.statements.path().join("bill.csv"), bill).unwrap();
            r#"{"version":1,"channel":"wechat_pay","statements":["bill.csv"]}"#.to_owned()
        }
        JobKind::DeferredAuthorization => r#"{"version":1,
                "order":{"order_no":"O-2","merchant_id":"M-1","payer_id":"C-1",
                         "total":{"amount":"12.34","currency":"CNY"}},
                "methods":[{"method_id":"card","group":"credit_card","channel":"sandbox",
                            "token":"tok_1","charge_sequence":1,"capture":"manual"}]}"#
            .to_owned(),
        JobKind::PartnerNotification => {
            house
                .open_order_until("O-9", "O-9", house.clock.now() + TimeDelta::days(1))
                .await;
            house.partner("P-1", Delivery::All).await;
            request_of("O-9", "P-1")
        }
        JobKind::SettlementRun => {
            // Too little to be paid, so that it waits for nobody.
            let strict = Merchant {
                minimum: cny(100_000),
                ..merchant("M-1")
            };
            house.import_merchant(strict).await;
            let sale = payment("P-1", 10_000, "2026-03-01T10:00:00+08:00");
            house.import_records(&[sale]).await;
            r#"{"version":1,"through":"2026-03-01","merchant_id":"M-1"}"#.to_owned()
        }
    }
}

/// Everything a job may have changed, but for the jobs themselves.
async fn world(house: &House) -> String {
    let mut tx = house.store.read().await.unwrap();
    let orders = orders::list(&mut tx, 100).await.unwrap();
    let runs = reconciliations::list_runs(&mut tx, 100).await.unwrap();
    let open = reconciliations::list_breaks(&mut tx, "open", 1_000)
        .await
        .unwrap();
    let vanished = reconciliations::list_breaks(&mut tx, "vanished", 1_000)
        .await
        .unwrap();
    let held = authorizations::of_order(&mut tx, &"O-2".parse().unwrap())
        .await
        .unwrap();
    let (order_no, partner) = ("O-9".parse().unwrap(), "P-1");
    let notices = notices::to_recipient(&mut tx, &order_no, partner)
        .await
        .unwrap();
    let mailroom = &house.mailroom.handle;
    let arrived = (mailroom.sms(), mailroom.mails(), mailroom.webhooks());
    let effects = house.sandbox.handle.effects();
    let balances = ledger::balances(&mut tx).await.unwrap();
    drop(tx);
    let holds = house.sandbox.handle.hold_books();
    let holds = holds.effects();
    let settlements = house.settlements_of("M-1").await;
    format!(
        "{settlements:#?}\n{balances:#?}\n{orders:#?}\n{runs:#?}\n{open:#?}\n{vanished:#?}\n{held:#?}\n{effects:#?}\n{holds:#?}\n{notices:#?}\n{arrived:#?}"
    )
}

async fn run_to_its_end(house: &House, kind: JobKind, key: &str, payload: &str) -> JobId {
    let job = house.submit(kind, key, payload).await;
    house.job_reaches(job, JobState::Done).await;
    job
}

async fn twice(house: House) {
    house.clock.advance(TimeDelta::hours(2));
    for kind in JobKind::ALL {
        let payload = scene(&house, kind).await;
        let before = world(&house).await;
        run_to_its_end(&house, kind, "first", &payload).await;
        let after = world(&house).await;
        assert_ne!(before, after, "{kind} had something to do");
        run_to_its_end(&house, kind, "second", &payload).await;
        assert_eq!(world(&house).await, after, "{kind} did it again");
    }
    house.close().await;
}
