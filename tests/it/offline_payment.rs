//! What becomes of a settlement that somebody paid outside of clearday (线下付款): before the bank is told, while it may
//! be paying, and after it has answered. A merchant who was paid is never told that the day has not come, and nothing
//! is ordered twice; where both payments happened, both are booked.
#![cfg(test)]

use clearday::config::Role;
use clearday::connectors::sandbox::{BankEffect, Fault, Operation};
use clearday::domain::approval::{Approval, ApprovalAction, SignatureRefusal};
use clearday::domain::merchant::{Merchant, Payee};
use clearday::domain::settlement_run::{ClaimState, PartState, SettlementState};
use clearday::engine::{
    ApprovalError, NewOfflinePayment, OfflinePaymentError, OfflinePaymentRegistered, Signer, Source,
};
use clearday::verify::verify;
use clearday_jobs::Reference;

use crate::bank_payouts::{PAID, on, payout_accounts};
use crate::bank_reconciliation::{breaks, day, reconcile};
use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{Numbered, REFUSED_ACCOUNT, merchant, payment};

in_both_modes! {
    before_the_order_nothing_is_ordered_although_it_was_approved: approved_and_claimed;
    what_the_second_person_refuses_is_paid_by_the_bank: refused_claim;
    one_person_alone_closes_nothing_and_explains_no_money: one_person;
    the_debit_of_a_refused_payment_stays_unexplained: refused_with_debit;
    a_wrong_amount_is_refused_by_name: wrong_amount;
    while_the_bank_is_down_the_order_is_not_sent_again: while_sent;
    an_order_that_never_arrived_is_not_sent_again: while_lost;
    an_order_whose_answer_was_lost_wins_when_the_statement_shows_it: while_unknown;
    a_debit_that_one_person_claimed_is_booked_when_the_second_agrees: debit_while_unknown;
    when_both_debits_happened_both_are_booked: both_debits;
    an_order_that_the_bank_turns_down_later_gives_way: turned_down;
    after_the_confirmation_it_is_money_to_be_given_back: after_confirmation;
    a_second_payment_that_is_claimed_late_keeps_its_break: claimed_late;
    after_a_rejection_it_closes_the_part: after_rejection;
    after_a_return_it_closes_the_part: after_return;
    a_payment_that_no_statement_shows_is_a_break_until_one_does: never_shown;
}

const SLIP: &str = "SLIP-77";
const CLOSED_ACCOUNT: &str = "6222020200001111";

/// A merchant who is paid on this account.
fn paid_on(account_no: &str) -> Merchant {
    let usual = merchant("M-1");
    Merchant {
        payee: Payee {
            account_no: account_no.to_owned(),
            ..usual.payee.clone()
        },
        ..usual
    }
}

/// A settlement that two people are asked about, on the morning of 3 March, and the number it will be paid under.
async fn asked_about(house: &House, merchant: Merchant) -> Reference {
    house.import_merchant(merchant).await;
    let sale = payment("P-1", 10_000, "2026-03-02T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.newest().await.number_of(1, 1)
}

/// The same, with the bank's word that it has the order.
async fn accepted(house: &House, merchant: Merchant) -> Reference {
    let number = asked_about(house, merchant).await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    number
}

async fn register(
    house: &House,
    minor_units: i64,
) -> Result<OfflinePaymentRegistered, OfflinePaymentError> {
    let new = NewOfflinePayment {
        settlement_id: house.newest().await.id,
        part_no: 1,
        amount: cny(minor_units),
        bank: None,
        paid_on: day(3),
        bank_reference: SLIP.to_owned(),
        proof_sha256: "0".repeat(64),
    };
    let engine = house.engine();
    engine
        .register_offline_payment(&new, "zhao", Source::Http)
        .await
}

/// zhao says that the part was paid at the counter.
async fn claim(house: &House) -> OfflinePaymentRegistered {
    let registered = register(house, PAID).await.unwrap();
    assert!(!registered.is_known);
    registered
}

/// zhao says so, and somebody else agrees.
async fn claimed_by_two(house: &House) {
    claim(house).await;
    agree_to_claim(house).await;
}

async fn claim_becomes(house: &House, state: ClaimState) {
    let last_is =
        |claims: &[clearday::domain::settlement_run::Claim]| claims.last().map(|it| it.state);
    house
        .newest_becomes(|it| last_is(&it.parts[0].claims) == Some(state))
        .await;
}

async fn sign(house: &House, asked: &Approval, name: &str) -> Result<(), ApprovalError> {
    let role = Role::Approver;
    let signer = Signer { name, role };
    house.engine().sign(asked.id, signer, None).await.map(drop)
}

/// A second person stands for the offline payment, and nobody for anything else.
async fn agree_to_claim(house: &House) {
    for asked in house.requested().await {
        if asked.action == ApprovalAction::OfflinePayment {
            sign(house, &asked, "li").await.unwrap();
        }
    }
}

/// Two people agree to what clearday itself asked for, and nobody to what people claim.
async fn agree_to_the_bank(house: &House) {
    for asked in house.requested().await {
        if asked.maker.is_none() {
            sign(house, &asked, "li").await.unwrap();
            sign(house, &asked, "wang").await.unwrap();
        }
    }
}

fn pay_at_the_counter(house: &House, day_of_month: u32) {
    let text = format!("counter payment {SLIP}");
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(day_of_month, PAID, &text)).unwrap();
}

/// What the bank did, in order, without what it was told again.
fn at_the_bank(house: &House) -> Vec<String> {
    let books = house.sandbox.handle.bank_books();
    let line = |it: &BankEffect| format!("{:?} {}", it.event, it.amount.to_major_string());
    books.effects().iter().map(line).collect()
}

/// Nothing broken, and this on the accounts that payouts go through.
async fn is_well(house: &House, accounts: &[&str]) {
    assert_eq!(payout_accounts(house).await, accounts);
    let checks = verify(&house.store).await.unwrap().checks;
    let broken: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

const PAID_ONCE: &[&str] = &["bank sandbox_bank 9999900.60"];
const PAID_TWICE: &[&str] = &[
    "bank sandbox_bank 9999801.20",
    "merchant_overpaid M-1 99.40",
];

async fn approved_and_claimed(house: House) {
    asked_about(&house, merchant("M-1")).await;
    assert_eq!(
        house.told_words().await,
        "awaiting_payment approval_overdue"
    );
    claim(&house).await;
    agree_to_the_bank(&house).await;
    let settlement = house.newest().await;
    house
        .job_waits(settlement.job_id, "part 1 is said to be paid offline")
        .await;
    assert_eq!(
        house.told_words().await,
        "awaiting_payment offline_to_be_approved"
    );
    agree_to_claim(&house).await;
    let settlement = house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(settlement.parts[0].state, PartState::PaidOffline);
    assert_eq!(house.told_words().await, "submitted paid_offline");
    is_well(&house, &["offline_in_transit M-1 -99.40"]).await;

    let again = house.settle("again", "M-1", "2026-03-02").await;
    house.job_rests(again).await;
    assert_eq!(at_the_bank(&house), [""; 0]);
    pay_at_the_counter(&house, 3);
    reconcile(&house, "first", 3).await;
    assert_eq!(at_the_bank(&house), ["Debit 99.40"]);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

async fn refused_claim(house: House) {
    asked_about(&house, merchant("M-1")).await;
    let first = claim(&house).await;
    agree_to_the_bank(&house).await;
    house.reject("that is another merchant's slip").await;
    house.part_becomes(PartState::Accepted).await;
    claim_becomes(&house, ClaimState::Refused).await;
    assert_eq!(
        house.told_words().await,
        "submitted accepted_by_bank 2026-03-03"
    );

    // With a better proof it may be registered again. The bank was faster.
    let second = claim(&house).await;
    assert_ne!(second.id, first.id);
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.part_becomes(PartState::Confirmed).await;
    claim_becomes(&house, ClaimState::Surplus).await;
    assert_eq!(house.told_words().await, "submitted on_statement");
    assert_eq!(at_the_bank(&house), ["Accept 99.40", "Book 99.40"]);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

async fn one_person(house: House) {
    asked_about(&house, merchant("M-1")).await;
    let registered = claim(&house).await;
    let waiting = house.requested().await;
    let asked = waiting.iter().find(|it| it.id == registered.approval_id);
    let refused = sign(&house, asked.unwrap(), "zhao").await.unwrap_err();
    let ApprovalError::Refused { refusal, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal, SignatureRefusal::SamePerson("zhao".to_owned()));

    pay_at_the_counter(&house, 3);
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 0 of 1 lines explained, 1 breaks"
    );
    let found = ["missing_ours payout SB20260303000001 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    assert_eq!(
        house.told_words().await,
        "awaiting_payment offline_to_be_approved"
    );
    let unexplained = [
        "bank sandbox_bank 9999900.60",
        "merchant_payable M-1 -99.40",
        "suspense sandbox_bank 99.40",
    ];
    is_well(&house, &unexplained).await;

    agree_to_claim(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    is_well(&house, PAID_ONCE).await;
    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 2: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(at_the_bank(&house), ["Debit 99.40"]);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

async fn refused_with_debit(house: House) {
    asked_about(&house, merchant("M-1")).await;
    claim(&house).await;
    agree_to_the_bank(&house).await;
    pay_at_the_counter(&house, 3);
    reconcile(&house, "first", 3).await;
    house.reject("nobody knows what this was for").await;
    house.part_becomes(PartState::Accepted).await;
    let accounts = [
        "bank sandbox_bank 9999900.60",
        "payout_in_transit M-1 -99.40",
        "suspense sandbox_bank 99.40",
    ];
    is_well(&house, &accounts).await;
    // By now there is an order that no statement shows.
    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 2: 0 of 1 lines explained, 1 breaks"
    );
    let found = ["missing_ours payout SB20260303000001 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    is_well(&house, &accounts).await;
    house.close().await;
}

async fn wrong_amount(house: House) {
    asked_about(&house, merchant("M-1")).await;
    let before = house.newest().await;
    let asked = house.requested().await;
    for minor_units in [PAID - 1, PAID + 1, 10_000] {
        let refused = register(&house, minor_units).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("amount: part 1 is 99.40 CNY, not {}", cny(minor_units))
        );
        assert!(matches!(
            refused,
            OfflinePaymentError::Field {
                field: "amount",
                ..
            }
        ));
    }
    assert_eq!(house.newest().await, before);
    assert_eq!(house.requested().await, asked);
    is_well(&house, &["merchant_payable M-1 -99.40"]).await;
    house.close().await;
}

async fn while_sent(house: House) {
    let number = asked_about(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::Unavailable);
    house.approve_all().await;
    let sent = house.part_becomes(PartState::Sent).await;
    house.job_waits(sent.job_id, "is unavailable").await;
    assert_eq!(
        house.told_words().await,
        "awaiting_payment bank_unavailable 2026-03-03"
    );

    // The bank is asked again and does not know it: without the claim it would be told once more.
    claim(&house).await;
    assert_eq!(
        house.told_words().await,
        "awaiting_payment offline_to_be_approved"
    );
    house.clock_shows("2026-03-03T09:01:00");
    house.part_becomes(PartState::Rejected).await;
    assert_eq!(house.told_words().await, "failed never_sent");
    agree_to_claim(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    assert_eq!(at_the_bank(&house), [""; 0]);
    is_well(&house, &["offline_in_transit M-1 -99.40"]).await;
    house.close().await;
}

async fn while_lost(house: House) {
    let number = asked_about(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostRequest);
    bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    house.approve_all().await;
    let unknown = house.part_becomes(PartState::Unknown).await;
    claimed_by_two(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house.job_rests(unknown.job_id).await;
    assert_eq!(
        house.told_words().await,
        "submitted outcome_unknown 2026-03-03"
    );
    is_well(&house, &["payout_in_transit M-1 -99.40"]).await;

    for time in ["09:01:00", "09:30:00"] {
        house.clock_shows(&format!("2026-03-03T{time}"));
        house.job_rests(unknown.job_id).await;
    }
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    pay_at_the_counter(&house, 3);
    reconcile(&house, "first", 3).await;
    assert_eq!(at_the_bank(&house), ["Debit 99.40"]);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

/// The bank has the order, its answer is lost, and it answers no question.
async fn lost_answer(house: &House) -> Reference {
    let number = asked_about(house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostAnswer);
    for _ in 0..50 {
        bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    }
    house.approve_all().await;
    house.part_becomes(PartState::Unknown).await;
    number
}

async fn while_unknown(house: House) {
    lost_answer(&house).await;
    claimed_by_two(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.part_becomes(PartState::Confirmed).await;
    claim_becomes(&house, ClaimState::Surplus).await;
    assert_eq!(house.told_words().await, "submitted on_statement");
    assert_eq!(at_the_bank(&house), ["Accept 99.40", "Book 99.40"]);
    is_well(&house, PAID_ONCE).await;

    // And then the other debit comes, too.
    pay_at_the_counter(&house, 4);
    house.clock_shows("2026-03-04T09:00:00");
    assert_eq!(
        reconcile(&house, "second", 4).await,
        "version 1: 0 of 1 lines explained, 1 breaks"
    );
    let found = ["duplicate_theirs payout SB20260304000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    is_well(&house, PAID_TWICE).await;
    house.close().await;
}

async fn debit_while_unknown(house: House) {
    lost_answer(&house).await;
    claim(&house).await;
    pay_at_the_counter(&house, 3);
    reconcile(&house, "first", 3).await;
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house
        .newest_becomes(|it| it.parts[0].claims[0].debited_on.is_some())
        .await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    assert_eq!(
        house.told_words().await,
        "submitted outcome_unknown 2026-03-03"
    );
    let both_under_way = [
        "bank sandbox_bank 9999900.60",
        "offline_in_transit M-1 99.40",
        "payout_in_transit M-1 -99.40",
    ];
    is_well(&house, &both_under_way).await;

    house.clock_shows("2026-03-04T09:00:00");
    house.sandbox.handle.book_day(day(4)).unwrap();
    assert_eq!(
        reconcile(&house, "second", 4).await,
        "version 1: 0 of 1 lines explained, 1 breaks"
    );
    let found = ["duplicate_theirs payout SB20260304000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    assert_eq!(house.told_words().await, "submitted on_statement");
    is_well(&house, PAID_TWICE).await;
    house.close().await;
}

async fn both_debits(house: House) {
    accepted(&house, merchant("M-1")).await;
    claim(&house).await;
    assert_eq!(
        house.told_words().await,
        "submitted accepted_by_bank 2026-03-03"
    );
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house.part_becomes(PartState::Accepted).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    pay_at_the_counter(&house, 3);
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 2 lines explained, 1 breaks"
    );
    house.part_becomes(PartState::Confirmed).await;
    claim_becomes(&house, ClaimState::Surplus).await;
    let found = ["duplicate_theirs payout SB20260303000001 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    assert_eq!(house.told_words().await, "submitted on_statement");
    is_well(&house, PAID_TWICE).await;

    assert_eq!(
        reconcile(&house, "second", 3).await,
        "nothing new since version 1"
    );
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Book 99.40", "Debit 99.40"]
    );
    is_well(&house, PAID_TWICE).await;
    house.close().await;
}

async fn turned_down(house: House) {
    accepted(&house, paid_on(CLOSED_ACCOUNT)).await;
    claimed_by_two(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    house.clock_shows("2026-03-03T10:00:00");
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    is_well(&house, &["offline_in_transit M-1 -99.40"]).await;
    pay_at_the_counter(&house, 4);
    house.clock_shows("2026-03-04T09:00:00");
    reconcile(&house, "first", 4).await;
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Reject 99.40", "Debit 99.40"]
    );
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

/// Paid by the bank, as its statement shows.
async fn confirmed(house: &House) {
    accepted(house, merchant("M-1")).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    reconcile(house, "first", 3).await;
    house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
}

async fn after_confirmation(house: House) {
    confirmed(&house).await;
    claim(&house).await;
    assert_eq!(house.told_words().await, "submitted on_statement");
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Surplus).await;
    assert_eq!(house.newest().await.state, SettlementState::Paid);
    assert_eq!(house.told_words().await, "submitted on_statement");
    is_well(&house, PAID_ONCE).await;

    pay_at_the_counter(&house, 4);
    house.clock_shows("2026-03-04T09:00:00");
    reconcile(&house, "second", 4).await;
    let found = ["duplicate_theirs payout SB20260304000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Book 99.40", "Debit 99.40"]
    );
    is_well(&house, PAID_TWICE).await;
    house.close().await;
}

async fn claimed_late(house: House) {
    confirmed(&house).await;
    pay_at_the_counter(&house, 4);
    house.clock_shows("2026-03-04T09:00:00");
    reconcile(&house, "second", 4).await;
    let found = ["missing_ours payout SB20260304000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    claimed_by_two(&house).await;
    claim_becomes(&house, ClaimState::Surplus).await;
    let found = ["duplicate_theirs payout SB20260304000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    is_well(&house, PAID_TWICE).await;

    reconcile(&house, "third", 4).await;
    assert_eq!(breaks(&house, "open").await, found);
    is_well(&house, PAID_TWICE).await;
    house.close().await;
}

async fn after_rejection(house: House) {
    asked_about(&house, paid_on(REFUSED_ACCOUNT)).await;
    house.approve_all().await;
    let rejected = house.part_becomes(PartState::Rejected).await;
    house.job_waits(rejected.job_id, "its release").await;
    assert_eq!(house.told_words().await, "failed rejected_by_bank");
    let release = house.requested().await.remove(0);

    claim(&house).await;
    sign(&house, &release, "li").await.unwrap();
    assert_eq!(house.told_words().await, "failed rejected_by_bank");
    agree_to_claim(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    // Whoever still releases the dead order sends nothing.
    sign(&house, &release, "wang").await.unwrap();
    let again = house.settle("again", "M-1", "2026-03-02").await;
    house.job_rests(again).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    is_well(&house, &["offline_in_transit M-1 -99.40"]).await;
    pay_at_the_counter(&house, 3);
    reconcile(&house, "first", 3).await;
    assert_eq!(at_the_bank(&house), ["Reject 99.40", "Debit 99.40"]);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

async fn after_return(house: House) {
    let number = accepted(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.book_day(day(3)).unwrap();
    reconcile(&house, "first", 3).await;
    house.part_becomes(PartState::Confirmed).await;
    bank.return_payout(&number, day(4), "no such person")
        .unwrap();
    house.clock_shows("2026-03-04T09:00:00");
    reconcile(&house, "second", 4).await;
    house.part_becomes(PartState::Returned).await;
    assert_eq!(house.told_words().await, "failed returned_by_bank");

    claimed_by_two(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    let on_its_way = [
        "bank sandbox_bank 10000000.00",
        "offline_in_transit M-1 -99.40",
    ];
    is_well(&house, &on_its_way).await;
    pay_at_the_counter(&house, 5);
    house.clock_shows("2026-03-05T09:00:00");
    reconcile(&house, "third", 5).await;
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Book 99.40", "Return 99.40", "Debit 99.40"]
    );
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}

async fn never_shown(house: House) {
    asked_about(&house, merchant("M-1")).await;
    claimed_by_two(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    house.clock_shows("2026-03-07T09:00:00");
    reconcile(&house, "fifth", 5).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    reconcile(&house, "sixth", 6).await;
    let missing = ["missing_theirs payout  9940"];
    assert_eq!(breaks(&house, "open").await, missing);
    // The merchant's state does not depend on it: two people stand for it.
    assert_eq!(house.told_words().await, "submitted paid_offline");
    let owed = [
        "bank sandbox_bank 10000000.00",
        "offline_in_transit M-1 -99.40",
    ];
    is_well(&house, &owed).await;

    pay_at_the_counter(&house, 7);
    reconcile(&house, "seventh", 7).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    assert_eq!(breaks(&house, "vanished").await, missing);
    is_well(&house, PAID_ONCE).await;
    house.close().await;
}
