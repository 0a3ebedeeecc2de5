//! What holds for every kind of job: the same key is the same job, running twice changes nothing,
//! and a job that this release cannot carry out is kept and says so.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::job::JobState;
use clearday::domain::job::is_carried_out;
use clearday::domain::partner::Delivery;
use clearday::engine::Acceptance;
use clearday::store::{authorizations, notices, orders, reconciliations};
use clearday_jobs::{JobId, JobKind, example_for};

use crate::support::house::{House, Mode, expiry_of, request_of};
use crate::support::in_both_modes;

in_both_modes! {
    the_same_key_is_the_same_job_whatever_its_kind: same_key;
    running_any_job_twice_changes_nothing_the_second_time: twice;
    a_kind_without_a_worker_is_kept_and_says_so: without_worker;
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

/// Sets the scene for a kind and returns the payload of a job that has something to do; `None` for
/// a kind that this release does not carry out.
async fn scene(house: &House, kind: JobKind) -> Option<String> {
    match kind {
        JobKind::OrderExpiry => {
            house.open_order("O-1", "O-1").await;
            house.open_reference("O-1", "R-1", 1_234).await;
            Some(expiry_of("O-1"))
        }
        JobKind::Reconciliation => {
            let bill = include_str!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
            std::fs::write(house.statements.path().join("bill.csv"), bill).unwrap();
            Some(r#"{"version":1,"channel":"wechat_pay","statements":["bill.csv"]}"#.to_owned())
        }
        JobKind::DeferredAuthorization => Some(
            r#"{"version":1,
                "order":{"order_no":"O-2","merchant_id":"M-1","payer_id":"C-1",
                         "total":{"amount":"12.34","currency":"CNY"}},
                "methods":[{"method_id":"card","group":"credit_card","channel":"sandbox",
                            "token":"tok_1","charge_sequence":1,"capture":"manual"}]}"#
                .to_owned(),
        ),
        JobKind::PartnerNotification => {
            house
                .open_order_until("O-9", "O-9", house.clock.now() + TimeDelta::days(1))
                .await;
            house.partner("P-1", Delivery::All).await;
            Some(request_of("O-9", "P-1"))
        }
        JobKind::SettlementRun => {
            assert!(!is_carried_out(kind), "{kind} needs a scene here");
            None
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
    let holds = house.sandbox.handle.hold_books();
    let holds = holds.effects();
    format!(
        "{orders:#?}\n{runs:#?}\n{open:#?}\n{vanished:#?}\n{held:#?}\n{effects:#?}\n{holds:#?}\n{notices:#?}\n{arrived:#?}"
    )
}

async fn run_to_its_end(house: &House, kind: JobKind, key: &str, payload: &str) -> JobId {
    let job = house.submit(kind, key, payload).await;
    house.job_reaches(job, JobState::Done).await;
    job
}

async fn twice(house: House) {
    house.clock.advance(TimeDelta::hours(2));
    let mut carried_out = 0;
    for kind in JobKind::ALL {
        let Some(payload) = scene(&house, kind).await else {
            continue;
        };
        let before = world(&house).await;
        run_to_its_end(&house, kind, "first", &payload).await;
        let after = world(&house).await;
        assert_ne!(before, after, "{kind} had something to do");
        run_to_its_end(&house, kind, "second", &payload).await;
        assert_eq!(world(&house).await, after, "{kind} did it again");
        carried_out += 1;
    }
    let expected = JobKind::ALL
        .into_iter()
        .filter(|kind| is_carried_out(*kind));
    assert_eq!(carried_out, expected.count());
    house.close().await;
}

async fn without_worker(house: House) {
    for kind in JobKind::ALL
        .into_iter()
        .filter(|kind| !is_carried_out(*kind))
    {
        let job = house.submit(kind, "key", example_for(kind)).await;
        let job = house.job(job).await;
        assert_eq!(job.state, JobState::Ready);
        let mut tx = house.store.read().await.unwrap();
        let waiting = house
            .engine()
            .explain(&mut tx, &job)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            waiting.reason,
            format!("this release has no worker for {kind}")
        );
    }
    house.close().await;
}
