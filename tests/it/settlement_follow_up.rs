//! What `settlement_run` promises about money that is under way: nothing else that goes wrong, changes or fails to answer
//! keeps it from being followed to its end.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clearday::config::Role;
use clearday::connectors::sandbox::{Fault, Operation};
use clearday::domain::job::JobState;
use clearday::domain::ledger::Account;
use clearday::domain::merchant::{FundsFlow, Merchant, Payee, SettleBasis};
use clearday::domain::record::RecordKind;
use clearday::domain::settlement_run::PartState;
use clearday::domain::settlement_run::collect::Item;
use clearday::engine::{NewOfflinePayment, Signer, Source};
use clearday::store::{settlement_items, settlements};
use clearday_jobs::{Currency, JobId, JobKind, Money};

use crate::support::house::{House, Mode, PATIENT_REQUEST, eventually, now_of};
use crate::support::sandbox::{banks_paying_at_most, capped_bank_name, cny};
use crate::support::settling::{GOOD_ACCOUNT, Numbered, merchant, payment, refund};
use crate::support::{in_both_modes, sql};

in_both_modes! {
    what_cannot_be_collected_does_not_stop_what_is_under_way: not_collected;
    a_refund_of_somebody_elses_payment_is_withheld_alone: foreign_refund;
    a_part_that_nobody_answers_about_does_not_hold_up_the_others: unanswered;
    what_was_collected_before_the_channel_paid_itself_is_paid_all_the_same: direct_by_now;
    what_changed_since_it_was_read_is_not_collected: changed_since_read;
    people_are_asked_about_what_still_goes_to_the_account_that_they_see: rest_to_another_account;
    of_several_jobs_that_find_a_settlement_alone_the_first_one_keeps_it: first_come;
    a_day_that_the_calendar_knows_by_now_is_the_day_of_payment: dated_later;
    what_we_object_to_ourselves_is_never_shown_as_refused_by_the_bank: never_sent;
    an_order_that_never_arrived_is_not_sent_again_to_an_account_that_was_replaced: replaced;
    an_order_is_asked_about_when_the_merchants_bank_is_not_configured_any_more: another_bank;
    that_we_object_to_sending_an_order_again_does_not_prove_it_dead: objection;
    what_takes_longer_than_one_run_goes_on_in_another: many_parts;
    what_left_after_the_cut_off_is_expected_on_the_banks_next_day: after_the_cut_off;
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

async fn changed_since_read(house: House) {
    let careful = Merchant {
        settle_basis: SettleBasis::Reconciled,
        ..merchant("M-1")
    };
    house.import_merchant(careful).await;
    let at = "2026-03-02T10:00:00+08:00";
    let (seen, unseen) = (payment("P-1", 10_000, at), payment("P-2", 3_000, at));
    house.import_records(&[seen.clone(), unseen.clone()]).await;
    house.reconciled(&[&seen]).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;

    assert_eq!(collectable(&house, SettleBasis::Captured).await, 1);
    assert_eq!(collectable(&house, SettleBasis::Reconciled).await, 0);
    house.reconciled(&[&unseen]).await;
    assert_eq!(collectable(&house, SettleBasis::Reconciled).await, 1);
    open_break(&house, "P-2").await;
    assert_eq!(collectable(&house, SettleBasis::Reconciled).await, 0);
    assert_eq!(collectable(&house, SettleBasis::Captured).await, 0);
    house.close().await;
}

/// Whether P-2 may be collected into the settlement of M-1; nothing of it stays.
async fn collectable(house: &House, basis: SettleBasis) -> u64 {
    let item = Item {
        kind: RecordKind::Payment,
        record_no: "P-2".parse().unwrap(),
        amount: cny(3_000),
        funded_coupon: cny(0),
        credit: cny(3_000),
        merchant_fee: cny(18),
        original: None,
    };
    let settlement = house.newest().await.id;
    let mut tx = house.store.begin().await.unwrap();
    settlement_items::insert(&mut tx, settlement, &[item], basis)
        .await
        .unwrap()
}

async fn open_break(house: &House, record_no: &str) {
    let url = house.database.url();
    let (id, at) = if url.starts_with("sqlite:") {
        ("x'00000000000000000000000000000001'", "0")
    } else {
        (
            "'00000000-0000-0000-0000-000000000001'",
            "'2026-03-03T00:00:00Z'",
        )
    };
    let sql = format!(
        "INSERT INTO breaks (id, identity, break_name, state, channel, kind, record_no, detail, at_risk_minor, currency, \
         first_run_id, last_run_id, first_seen_at, updated_at) VALUES ({id}, 'B-1', 'amount_mismatch', 'open', \
         'wechat_pay', 'payment', '{record_no}', 'of the test', 1, 'CNY', {id}, {id}, {at}, {at})"
    );
    sql::tamper(url, &sql).await.unwrap();
}

async fn rest_to_another_account(house: House) {
    before_approval(&house, in_parts()).await;
    let claimed = NewOfflinePayment {
        settlement_id: house.newest().await.id,
        part_no: 2,
        amount: cny(4_940),
        bank: None,
        paid_on: "2026-03-03".parse().unwrap(),
        bank_reference: "COUNTER-1".to_owned(),
        proof_sha256: "0".repeat(64),
    };
    let registered = house
        .door()
        .register_offline_payment(&claimed, "li", Source::Http)
        .await
        .unwrap();
    for request in house.requested().await {
        for name in ["li", "wang"] {
            let role = Role::Approver;
            let signer = Signer { name, role };
            if request.id != registered.approval_id {
                house.door().sign(request.id, signer, None).await.unwrap();
            }
        }
    }
    states_become(&house, &[PartState::Accepted, PartState::Planned]).await;

    let mut moved = in_parts();
    moved.payee.account_no = "6222020200009999".to_owned();
    house.import_merchant(moved).await;
    house.reject("it was not paid at the counter").await;
    let asked = eventually(async || house.requested().await.pop())
        .await
        .unwrap();
    assert_eq!(asked.amount, Some(cny(4_940)));
    assert!(asked.shown.contains("6222020200009999"), "{}", asked.shown);
    house.approve_all().await;
    states_become(&house, &[PartState::Accepted, PartState::Accepted]).await;
    let settlement = house.newest().await;
    let accounts: Vec<&str> = settlement
        .parts
        .iter()
        .map(|part| part.instructions[0].payee_account_no.as_str())
        .collect();
    assert_eq!(accounts, [GOOD_ACCOUNT, "6222020200009999"]);
    house.close().await;
}

async fn first_come(house: House) {
    let job = before_approval(&house, merchant("M-1")).await;
    house.reject("not now").await;
    house.job_reaches(job, JobState::Done).await;
    let mut jobs = Vec::new();
    for key in ["a", "b", "c", "d"] {
        jobs.push(house.settle(key, "M-1", "2026-03-02").await);
    }
    for job in jobs {
        house.job_rests(job).await;
    }
    let settlement = house.newest().await;
    let mut tx = house.store.read().await.unwrap();
    let timeline = settlements::timeline(&mut tx, settlement.id).await.unwrap();
    drop(tx);
    let handed: Vec<&str> = timeline
        .iter()
        .filter(|entry| entry.event == "handed_over")
        .map(|entry| entry.reason.as_str())
        .collect();
    assert_eq!(handed, [format!("job {job} has ended")]);
    assert_eq!(house.requested().await.len(), 1);
    house.close().await;
}

async fn dated_later(house: House) {
    let job = before_approval(&house, merchant("M-1")).await;
    // As a release left it whose calendar did not know the year.
    let forget = "UPDATE settlements SET due_on = NULL, calendar_version = 'CN-2025.1'";
    sql::execute(house.database.url(), forget).await.unwrap();
    assert_eq!(house.told_words().await, "not_due date_unknown");
    house.clock_shows("2026-03-03T10:30:00");
    let dated = house.newest_becomes(|it| it.due_on.is_some()).await;
    assert_eq!(dated.due_on, "2026-03-03".parse().ok());
    assert_ne!(dated.calendar_version, "CN-2025.1");
    house.job_waits(job, "two people").await;
    assert_eq!(
        house.told_words().await,
        "awaiting_payment approval_overdue"
    );
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    house.close().await;
}

async fn never_sent(house: House) {
    let job = before_approval(&house, merchant("M-1")).await;
    // More than this bank pays at once, and split for another one.
    house.import_merchant(in_parts()).await;
    house.clock_shows("2026-03-03T10:30:00");
    house.job_rests(job).await;
    house.approve_all().await;
    house.part_becomes(PartState::Rejected).await;
    assert_eq!(house.told_words().await, "failed never_sent");
    assert_eq!(house.owed(Account::MerchantPayable).await, 9_940);
    house.close().await;
}

async fn after_the_cut_off(house: House) {
    before_approval(&house, merchant("M-1")).await;
    house.clock_shows("2026-03-06T17:00:00");
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    // A Friday evening, and the Monday after it also when that is over.
    for time in ["2026-03-06T18:00:00", "2026-03-10T09:00:00"] {
        house.clock_shows(time);
        assert_eq!(
            house.told_words().await,
            "submitted accepted_by_bank 2026-03-09"
        );
    }
    house.close().await;
}

async fn many_parts(house: House) {
    let job = before_approval(&house, in_parts()).await;
    let number = house.newest().await.number_of(1, 1);
    let bank = &house.sandbox.handle;
    let held = bank.queue_fault(Operation::PayOut, &number, Fault::HeldAnswer);
    house.approve_all().await;
    held.wait_until_struck().await;
    // More than half of the twenty seconds that a run may take.
    house.clock.advance(TimeDelta::seconds(11));
    held.release();

    states_become(&house, &[PartState::Accepted; 2]).await;
    let waiting = house.job_waits(job, "waits for the statement").await;
    assert_eq!((waiting.attempt, waiting.rescues), (0, 0));
    let timeline = house.timeline(job).await;
    let turns = timeline
        .iter()
        .filter(|it| it.reason.contains("goes on in another"));
    assert_eq!(turns.count(), 1, "{timeline:#?}");
    house.close().await;
}

/// Tells the bank to pay ¥99.40, and nobody knows what became of that.
async fn lost(house: &House, fault: Fault) -> JobId {
    let job = before_approval(house, merchant("M-1")).await;
    let number = house.newest().await.number_of(1, 1);
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, fault);
    house.approve_all().await;
    house.part_becomes(PartState::Unknown).await;
    house.job_rests(job).await;
    job
}

async fn replaced(house: House) {
    lost(&house, Fault::LostRequest).await;
    let mut moved = merchant("M-1");
    moved.payee.account_no = "6222020200009999".to_owned();
    house.import_merchant(moved).await;
    house.clock_shows("2026-03-03T10:00:00");
    house.part_becomes(PartState::Rejected).await;
    assert_eq!(house.owed(Account::MerchantPayable).await, 9_940);

    let asked = eventually(async || house.requested().await.pop())
        .await
        .unwrap();
    assert!(asked.shown.contains("6222020200009999"), "{}", asked.shown);
    house.approve_all().await;
    let settlement = house.part_becomes(PartState::Accepted).await;
    let instructions = settlement.parts[0].instructions.iter();
    let accounts: Vec<&str> = instructions
        .map(|it| it.payee_account_no.as_str())
        .collect();
    assert_eq!(accounts, [GOOD_ACCOUNT, "6222020200009999"]);
    house.close().await;
}

async fn another_bank(house: House) {
    lost(&house, Fault::LostAnswer).await;
    let mut moved = merchant("M-1");
    moved.payee.bank = "elsewhere".parse().unwrap();
    house.import_merchant(moved).await;
    house.clock_shows("2026-03-03T10:00:00");
    house.part_becomes(PartState::Accepted).await;
    house.close().await;
}

async fn objection(mut house: House) {
    let job = lost(&house, Fault::LostRequest).await;
    // From here on the bank pays less at once, by our settings.
    for daemon in house.daemons.drain(..) {
        daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    let (url, now) = (house.sandbox.base_url(), now_of(&house.clock));
    let mut bench = house.bench();
    let most = cny(5_000);
    bench.banks = Arc::new(banks_paying_at_most(most, &url, PATIENT_REQUEST, &now));
    let handler = clearday::workers::handler(bench);
    house.start_daemon_with(house.store.clone(), handler, TimeDelta::seconds(5));

    house.clock_shows("2026-03-03T10:00:00");
    house.job_waits(job, "the bank pays less than that").await;
    assert_eq!(house.newest().await.parts[0].state, PartState::Unknown);
    house.close().await;
}
