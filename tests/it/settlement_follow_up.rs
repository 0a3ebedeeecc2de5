//! What `settlement_run` promises about money that is under way: nothing else that goes wrong, changes or fails to answer
//! keeps it from being followed to its end.
#![cfg(test)]

use clearday::connectors::sandbox::{Fault, Operation};
use clearday::domain::job::JobState;
use clearday::domain::merchant::{FundsFlow, Merchant, Payee};
use clearday::domain::settlement_run::PartState;
use clearday::store::settlements;
use clearday_jobs::{Currency, JobId, JobKind, Money};

use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::{capped_bank_name, cny};
use crate::support::settling::{Numbered, merchant, payment, refund};

in_both_modes! {
    what_cannot_be_collected_does_not_stop_what_is_under_way: not_collected;
    a_refund_of_somebody_elses_payment_is_withheld_alone: foreign_refund;
    a_part_that_nobody_answers_about_does_not_hold_up_the_others: unanswered;
    what_was_collected_before_the_channel_paid_itself_is_paid_all_the_same: direct_by_now;
}

/// Settles a sale of ¥100.00 of 2 March up to the moment at which people have yet to agree.
async fn before_approval(house: &House, changed: Merchant) -> JobId {
    house.import_merchant(changed).await;
    let sale = payment("P-1", 10_000, "2026-03-02T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    job
}

/// Paid in two parts, of ¥50.00 and ¥49.40.
fn in_parts() -> Merchant {
    Merchant {
        payee: Payee {
            bank: capped_bank_name(),
            ..merchant("M-1").payee
        },
        ..merchant("M-1")
    }
}

async fn states_become(house: &House, wanted: &[PartState]) {
    let states = |it: &clearday::domain::settlement_run::Settlement| {
        it.parts.iter().map(|part| part.state).collect::<Vec<_>>()
    };
    house.newest_becomes(|it| states(it) == wanted).await;
}

async fn not_collected(house: House) {
    let job = before_approval(&house, merchant("M-1")).await;
    let number = house.newest().await.number_of(1, 1);
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostAnswer);
    bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    house.approve_all().await;
    house.part_becomes(PartState::Unknown).await;
    house.job_rests(job).await;

    let astray = Merchant {
        calendar: "XX".to_owned(),
        ..merchant("M-1")
    };
    house.import_merchant(astray).await;
    for time in ["09:01:00", "09:30:00"] {
        house.clock_shows(&format!("2026-03-03T{time}"));
        house.job_rests(job).await;
    }
    house.part_becomes(PartState::Accepted).await;
    let waiting = house.job_waits(job, "nothing more is collected").await;
    assert!(
        waiting.note.contains("waits for the statement"),
        "{}",
        waiting.note
    );

    // Where nothing is under way, the fault ends the job.
    let second = house.settle("two", "M-1", "2026-03-02").await;
    let dead = house.job_reaches(second, JobState::Dead).await;
    assert_eq!(
        dead.last_error.unwrap(),
        "merchant M-1 counts business days of XX, for which there is no calendar"
    );
    house.close().await;
}

async fn foreign_refund(house: House) {
    house.import_merchant(merchant("M-1")).await;
    let at = "2026-03-02T10:00:00+08:00";
    let mut elsewhere = payment("P-2", 5_000, at);
    let dollar = Currency::parse("USD").unwrap();
    elsewhere.amount = Money::from_minor(5_000, dollar);
    elsewhere.fee = Money::from_minor(0, dollar);
    let mut of_another = payment("P-3", 5_000, at);
    of_another.merchant_id = "M-2".parse().unwrap();
    let told = [
        payment("P-1", 10_000, at),
        elsewhere,
        of_another,
        refund("R-1", "P-1", 1_000, at),
        refund("R-2", "P-2", 1_000, at),
        refund("R-3", "P-3", 1_000, at),
    ];
    house.import_records(&told).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    let settlement = house.newest().await;
    assert_eq!(settlement.amounts.net, cny(8_946));
    let mut tx = house.store.read().await.unwrap();
    let timeline = settlements::timeline(&mut tx, settlement.id).await.unwrap();
    drop(tx);
    let why = "which is of another merchant or in another currency";
    assert_eq!(
        timeline[0].reason,
        format!(
            "collected 2 payments and refunds; withheld 2 (refund R-2: it takes back payment P-2, {why}; refund R-3: \
             it takes back payment P-3, {why})"
        )
    );
    house.close().await;
}

async fn unanswered(house: House) {
    let job = before_approval(&house, in_parts()).await;
    let first = house.newest().await.number_of(1, 1);
    let bank = &house.sandbox.handle;
    for _ in 0..2 {
        bank.queue_fault(Operation::PayOut, &first, Fault::Unavailable);
    }
    house.approve_all().await;
    states_become(&house, &[PartState::Sent, PartState::Accepted]).await;
    house.job_waits(job, "is unavailable").await;

    bank.queue_fault(Operation::QueryPayout, &first, Fault::Unavailable);
    for time in ["09:01:00", "09:10:00", "09:30:00", "10:00:00"] {
        house.clock_shows(&format!("2026-03-03T{time}"));
        house.job_rests(job).await;
    }
    states_become(&house, &[PartState::Accepted, PartState::Accepted]).await;
    house.close().await;
}

async fn direct_by_now(house: House) {
    let job = before_approval(&house, merchant("M-1")).await;
    house.reject("not now").await;
    house.job_reaches(job, JobState::Done).await;
    let direct = Merchant {
        funds_flow: FundsFlow::Direct,
        ..merchant("M-1")
    };
    house.import_merchant(direct).await;
    let payload = r#"{"version":1,"through":"2026-03-02"}"#;
    let all = house.submit(JobKind::SettlementRun, "all", payload).await;
    house.job_reaches(all, JobState::Done).await;
    let again = house.newest_becomes(|it| it.job_id != job).await.job_id;
    house.job_waits(again, "two people").await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    house.close().await;
}
