//! What `settlement_run` promises: everything is settled once, paid once, when it is due and as people agreed, and
//! followed to its proof.
#![cfg(test)]

use clearday::connectors::sandbox::{BankEffect, Fault, Operation};
use clearday::domain::approval::ApprovalAction;
use clearday::domain::job::JobState;
use clearday::domain::ledger::Account;
use clearday::domain::merchant::{FundsFlow, Merchant, SettleBasis};
use clearday::domain::settlement_run::public::PublicState;
use clearday::domain::settlement_run::{PartState, Settlement, SettlementState};
use clearday::store::settlements;
use clearday::verify::verify;
use clearday_jobs::{Currency, JobKind, Money, Reference};

use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{Numbered, REFUSED_ACCOUNT, merchant, payment, refund};

in_both_modes! {
    a_day_is_settled_and_paid_on_the_next_business_day: settled_and_paid;
    a_run_for_all_makes_one_job_per_merchant: fan_out;
    running_again_changes_nothing: again;
    what_is_below_the_minimum_or_negative_goes_into_the_next_settlement: carried;
    nothing_is_paid_while_the_merchant_is_held: held;
    what_the_channel_pays_itself_is_never_paid_out: direct;
    what_is_not_reconciled_is_withheld_and_settled_later: withheld;
    a_lost_answer_is_unknown_and_never_paid_again: lost_answer;
    a_bank_that_is_down_is_asked_again_and_pays_once: bank_down;
    a_refused_payment_is_blocked_until_two_people_release_it: refused;
    what_people_refuse_is_not_paid_until_it_is_asked_anew: not_approved;
    a_change_of_account_after_the_approval_asks_again: account_changed;
    a_friday_and_its_weekend_are_paid_on_monday: weekend;
    a_make_up_workday_is_a_day_of_payment: make_up_workday;
    a_year_that_is_not_announced_is_collected_and_not_paid: undated;
}

/// A sale of ¥100.00 on Monday, 2 March 2026.
async fn one_sale(house: &House, changed: Merchant) {
    house.import_merchant(changed).await;
    let sale = payment("P-1", 10_000, "2026-03-02T10:00:00+08:00");
    house.import_records(&[sale]).await;
}

fn short(settlement: &Settlement) -> String {
    format!(
        "{} {}..{} due {} {} net {}",
        settlement.sequence_no,
        settlement.period_from,
        settlement.period_last(),
        settlement
            .due_on
            .map_or("-".to_owned(), |day| day.to_string()),
        settlement.state,
        settlement.amounts.net.to_major_string()
    )
}

/// What the bank did, in order, without what it was told again.
fn at_the_bank(house: &House) -> Vec<String> {
    let books = house.sandbox.handle.bank_books();
    let line = |it: &BankEffect| format!("{:?} {}", it.event, it.amount.to_major_string());
    books.effects().iter().map(line).collect()
}

async fn settled_and_paid(house: House) {
    one_sale(&house, merchant("M-1")).await;
    let job = house.settle("one", "M-1", "2026-03-02").await;
    let waiting = house.job_rests(job).await;
    assert_eq!(waiting.note, "2026-03-02 is not over yet for M-1");

    house.clock_shows("2026-03-03T00:00:00");
    let waiting = house.job_waits(job, "two people").await;
    assert_eq!(waiting.attempt, 0);
    let settlement = house.newest().await;
    assert_eq!(
        short(&settlement),
        "1 2026-03-02..2026-03-02 due 2026-03-03 calculated net 99.40"
    );
    assert_eq!(
        house.told_words().await,
        "awaiting_payment approval_overdue"
    );
    assert_eq!(house.owed(Account::MerchantPending).await, 0);
    assert_eq!(house.owed(Account::MerchantPayable).await, 9_940);
    assert_eq!(house.owed(Account::FeeIncome).await, 60);

    assert_eq!(house.approve_all().await.len(), 1);
    let settlement = house.part_becomes(PartState::Accepted).await;
    assert_eq!(settlement.state, SettlementState::Approved);
    assert_eq!(
        house.told_words().await,
        "submitted accepted_by_bank 2026-03-03"
    );
    assert_eq!(at_the_bank(&house), ["Accept 99.40"]);
    assert_eq!(house.owed(Account::MerchantPayable).await, 0);
    assert_eq!(house.owed(Account::PayoutInTransit).await, 9_940);
    house.job_waits(job, "waits for the statement").await;
    house.close().await;
}

async fn fan_out(house: House) {
    one_sale(&house, merchant("M-1")).await;
    let mut of_another = payment("P-2", 5_000, "2026-03-02T11:00:00+08:00");
    of_another.merchant_id = "M-2".parse().unwrap();
    let mut of_nobody = payment("P-3", 5_000, "2026-03-02T11:00:00+08:00");
    of_nobody.merchant_id = "M-3".parse().unwrap();
    house.import_merchant(merchant("M-2")).await;
    house.import_merchant(merchant("M-4")).await;
    let mut in_dollars = payment("P-4", 5_000, "2026-03-02T11:00:00+08:00");
    let dollar = Currency::parse("USD").unwrap();
    in_dollars.amount = Money::from_minor(5_000, dollar);
    in_dollars.fee = Money::from_minor(0, dollar);
    let told = [of_another, of_nobody, in_dollars];
    house.import_records(&told).await;
    house.clock_shows("2026-03-03T09:00:00");
    let payload = r#"{"version":1,"through":"2026-03-02"}"#;
    let all = house.submit(JobKind::SettlementRun, "all", payload).await;
    let done = house.job_reaches(all, JobState::Done).await;
    assert_eq!(
        done.note,
        "2 merchants to settle, each in a job of its own; business of merchants that were never imported with its currency: M-1 (USD), M-3 (CNY)"
    );
    for job in house.all_jobs().await {
        house.job_rests(job.id).await;
    }
    assert_eq!(house.settlements_of("M-1").await.len(), 1);
    assert_eq!(house.settlements_of("M-2").await.len(), 1);
    assert_eq!(house.all_jobs().await.len(), 3);
    house.close().await;
}

async fn again(house: House) {
    one_sale(&house, merchant("M-1")).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_rests(job).await;
    let settlements = house.settlements_of("M-1").await;
    let other = house.settle("two", "M-1", "2026-03-02").await;
    let done = house.job_reaches(other, JobState::Done).await;
    assert_eq!(done.note, "nothing is to be paid to M-1");
    assert_eq!(house.settlements_of("M-1").await, settlements);
    assert_eq!(house.requested().await.len(), 1);

    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    let third = house.settle("three", "M-1", "2026-03-02").await;
    house.job_reaches(third, JobState::Done).await;
    assert_eq!(at_the_bank(&house), ["Accept 99.40"]);
    house.close().await;
}

async fn carried(house: House) {
    let strict = Merchant {
        minimum: cny(10_000),
        ..merchant("M-1")
    };
    one_sale(&house, strict).await;
    house.clock_shows("2026-03-03T09:00:00");
    let first = house.settle("first", "M-1", "2026-03-02").await;
    let done = house.job_reaches(first, JobState::Done).await;
    assert_eq!(done.note, "nothing is to be paid to M-1");
    assert_eq!(house.told_words().await, "not_due below_minimum");

    // The refund is more than what was carried.
    let back = refund("R-1", "P-1", 10_000, "2026-03-03T10:00:00+08:00");
    house.import_records(&[back]).await;
    house.clock_shows("2026-03-04T09:00:00");
    let second = house.settle("second", "M-1", "2026-03-03").await;
    house.job_reaches(second, JobState::Done).await;
    assert_eq!(house.told_words().await, "not_due nothing_payable");

    let sale = payment("P-3", 20_000, "2026-03-04T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-03-05T09:00:00");
    let third = house.settle("third", "M-1", "2026-03-04").await;
    house.job_waits(third, "two people").await;
    let all = house.settlements_of("M-1").await;
    let words: Vec<String> = all.iter().map(short).collect();
    assert_eq!(
        words,
        [
            "1 2026-03-02..2026-03-02 due 2026-03-03 carried_over net 99.40",
            "2 2026-03-03..2026-03-03 due 2026-03-04 carried_over net 0.00",
            "3 2026-03-04..2026-03-04 due 2026-03-05 calculated net 198.80",
        ]
    );
    assert_eq!(all[1].amounts.carried, cny(9_940));
    assert_eq!(house.owed(Account::MerchantPayable).await, 19_880);
    house.close().await;
}

async fn held(house: House) {
    let stopped = Merchant {
        is_held: true,
        ..merchant("M-1")
    };
    one_sale(&house, stopped).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.approve_all().await;
    house.job_waits(job, "payments to M-1 are held").await;
    assert_eq!(house.told_words().await, "not_due held");
    assert!(at_the_bank(&house).is_empty());

    house.import_merchant(merchant("M-1")).await;
    house.clock_shows("2026-03-03T10:30:00");
    house.part_becomes(PartState::Accepted).await;
    house.close().await;
}

async fn direct(house: House) {
    let direct = Merchant {
        funds_flow: FundsFlow::Direct,
        ..merchant("M-1")
    };
    one_sale(&house, direct).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    let done = house.job_reaches(job, JobState::Done).await;
    assert_eq!(
        done.note,
        "the channel pays M-1 itself (direct): nothing is paid out"
    );
    assert!(house.settlements_of("M-1").await.is_empty());
    let payload = r#"{"version":1,"through":"2026-03-02"}"#;
    let all = house.submit(JobKind::SettlementRun, "all", payload).await;
    house.job_reaches(all, JobState::Done).await;
    assert_eq!(house.all_jobs().await.len(), 2);
    house.close().await;
}

async fn withheld(house: House) {
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
    house.job_rests(job).await;
    let first = house.newest().await;
    assert_eq!(first.amounts.net, cny(9_940));
    let mut tx = house.store.read().await.unwrap();
    let timeline = settlements::timeline(&mut tx, first.id).await.unwrap();
    drop(tx);
    assert_eq!(
        timeline[0].reason,
        "collected 1 payments and refunds; withheld 1 (payment P-2: no statement of the channel has shown it yet)"
    );

    house.reconciled(&[&unseen]).await;
    house.clock_shows("2026-03-04T09:00:00");
    let next = house.settle("two", "M-1", "2026-03-03").await;
    house.job_rests(next).await;
    let second = house.newest().await;
    assert_eq!(
        short(&second),
        "2 2026-03-03..2026-03-03 due 2026-03-04 calculated net 29.82"
    );
    house.close().await;
}

/// Settles one sale up to the moment at which people have yet to agree; returns the number of its first instruction.
async fn before_approval(house: &House) -> Reference {
    one_sale(house, merchant("M-1")).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.newest().await.number_of(1, 1)
}

async fn lost_answer(house: House) {
    let number = before_approval(&house).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostAnswer);
    bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    house.approve_all().await;
    let unknown = house.part_becomes(PartState::Unknown).await;
    assert_eq!(
        house.told_words().await,
        "submitted outcome_unknown 2026-03-03"
    );
    assert_eq!(house.owed(Account::PayoutInTransit).await, 9_940);

    // The first question is not answered, the second one is.
    house.job_rests(unknown.job_id).await;
    for time in ["09:01:00", "09:30:00"] {
        house.clock_shows(&format!("2026-03-03T{time}"));
        house.job_rests(unknown.job_id).await;
    }
    house.part_becomes(PartState::Accepted).await;
    assert_eq!(at_the_bank(&house), ["Accept 99.40"]);
    assert_eq!(house.newest().await.parts[0].instructions.len(), 1);
    house.close().await;
}

async fn bank_down(house: House) {
    let number = before_approval(&house).await;
    let bank = &house.sandbox.handle;
    for _ in 0..2 {
        bank.queue_fault(Operation::PayOut, &number, Fault::Unavailable);
    }
    house.approve_all().await;
    let sent = house.part_becomes(PartState::Sent).await;
    let waiting = house.job_waits(sent.job_id, "is unavailable").await;
    assert_eq!(waiting.attempt, 0, "a payment in the open burns no attempt");
    assert_eq!(
        house.told_words().await,
        "awaiting_payment bank_unavailable 2026-03-03"
    );
    for minute in [10, 20, 30] {
        house.clock_shows(&format!("2026-03-03T09:{minute}:00"));
        house.job_rests(sent.job_id).await;
    }
    house.part_becomes(PartState::Accepted).await;
    assert_eq!(at_the_bank(&house), ["Accept 99.40"]);
    house.close().await;
}

async fn refused(house: House) {
    let refused = Merchant {
        payee: clearday::domain::merchant::Payee {
            account_no: REFUSED_ACCOUNT.to_owned(),
            ..merchant("M-1").payee
        },
        ..merchant("M-1")
    };
    one_sale(&house, refused).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.approve_all().await;
    house.part_becomes(PartState::Rejected).await;
    assert_eq!(house.told_words().await, "failed rejected_by_bank");
    assert_eq!(house.owed(Account::MerchantPayable).await, 9_940);
    assert_eq!(house.owed(Account::PayoutInTransit).await, 0);

    // The account is corrected; what is asked shows the new one.
    house.job_waits(job, "its release waits").await;
    house.import_merchant(merchant("M-1")).await;
    house.clock_shows("2026-03-03T11:00:00");
    house.job_rests(job).await;
    let asked = house.approve_all().await;
    let shown: Vec<bool> = asked
        .iter()
        .map(|it| it.shown.contains(&merchant("M-1").payee.account_no))
        .collect();
    assert_eq!(shown, [true]);
    let settlement = house.part_becomes(PartState::Accepted).await;
    let numbers: Vec<String> = settlement.parts[0]
        .instructions
        .iter()
        .map(|it| format!("{} {}", it.generation, it.state))
        .collect();
    assert_eq!(numbers, ["1 rejected", "2 open"]);
    assert_eq!(at_the_bank(&house), ["Reject 99.40", "Accept 99.40"]);
    house.close().await;
}

async fn not_approved(house: House) {
    before_approval(&house).await;
    house.reject("not this one").await;
    let settlement = house.newest().await;
    let done = house.job_reaches(settlement.job_id, JobState::Done).await;
    assert!(
        done.note
            .starts_with("payment of part 1 was not approved (zhao: not this one)"),
        "{}",
        done.note
    );
    assert_eq!(
        house.told_words().await,
        "awaiting_payment approval_refused"
    );
    let again = house.settle("again", "M-1", "2026-03-02").await;
    house.job_waits(again, "two people").await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    house.close().await;
}

async fn account_changed(house: House) {
    one_sale(&house, merchant("M-1")).await;
    // Paid a day later, so that there is time to change the account in between.
    let slow = Merchant {
        cycle: "T+2".parse().unwrap(),
        ..merchant("M-1")
    };
    house.import_merchant(slow.clone()).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.approve_all().await;
    house.job_waits(job, "it is paid on 2026-03-04").await;
    assert_eq!(
        house.told_words().await,
        "not_due before_due_date 2026-03-04"
    );

    let mut moved = slow;
    moved.payee.account_no = "6222020200009999".to_owned();
    house.import_file_about(&moved).await;
    assert_eq!(
        house.told_words().await,
        "not_due before_due_date 2026-03-04"
    );
    let asked = house.approve_all().await;
    let actions: Vec<ApprovalAction> = asked.iter().map(|it| it.action).collect();
    assert_eq!(actions, [ApprovalAction::BankAccount]);
    assert_eq!(
        house.told_words().await,
        "not_due approval_before_due_date 2026-03-04"
    );
    house.clock_shows("2026-03-04T00:00:00");
    house.job_waits(job, "two people").await;
    assert!(at_the_bank(&house).is_empty());
    house.approve_all().await;
    let settlement = house.part_becomes(PartState::Accepted).await;
    assert_eq!(
        settlement.parts[0].instructions[0].payee_account_no,
        "6222020200009999"
    );
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
    house.close().await;
}

async fn weekend(house: House) {
    house.import_merchant(merchant("M-1")).await;
    let sales = ["2026-03-06", "2026-03-07", "2026-03-08"].map(|day| {
        let at = format!("{day}T10:00:00+08:00");
        payment(&format!("P-{day}"), 10_000, &at)
    });
    house.import_records(&sales).await;
    house.clock_shows("2026-03-07T09:00:00");
    let friday = house.settle("friday", "M-1", "2026-03-06").await;
    house.job_waits(friday, "two people").await;
    house.approve_all().await;
    house.job_waits(friday, "it is paid on 2026-03-09").await;
    house.clock_shows("2026-03-09T00:00:00");
    house.part_becomes(PartState::Accepted).await;
    let sunday = house.settle("sunday", "M-1", "2026-03-08").await;
    house.job_waits(sunday, "two people").await;
    let words: Vec<String> = house
        .settlements_of("M-1")
        .await
        .iter()
        .map(short)
        .collect();
    assert_eq!(
        words,
        [
            "1 2026-03-06..2026-03-06 due 2026-03-09 approved net 99.40",
            "2 2026-03-07..2026-03-08 due 2026-03-09 calculated net 198.80",
        ]
    );
    house.close().await;
}

async fn make_up_workday(house: House) {
    // Saturday, 9 May 2026 is worked for the holidays of that week (调休).
    house.import_merchant(merchant("M-1")).await;
    let sale = payment("P-1", 10_000, "2026-05-08T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-05-09T00:00:00");
    let job = house.settle("one", "M-1", "2026-05-08").await;
    house.job_waits(job, "two people").await;
    house.approve_all().await;
    let settlement = house.part_becomes(PartState::Accepted).await;
    assert_eq!(
        short(&settlement),
        "1 2026-05-08..2026-05-08 due 2026-05-09 approved net 99.40"
    );
    house.close().await;
}

async fn undated(house: House) {
    house.import_merchant(merchant("M-1")).await;
    let sale = payment("P-1", 10_000, "2026-12-31T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2027-01-01T09:00:00");
    let job = house.settle("one", "M-1", "2026-12-31").await;
    house.job_waits(job, "two people").await;
    assert_eq!(house.told_words().await, "not_due date_unknown");
    house.approve_all().await;
    house
        .job_waits(job, "the calendar has no data for it")
        .await;
    house.clock_shows("2027-01-04T09:00:00");
    house.job_rests(job).await;
    assert!(at_the_bank(&house).is_empty());
    let told = house.told(&house.newest().await).await;
    assert_eq!(told.state, PublicState::NotDue);
    house.close().await;
}
