//! What keeps a part from being paid a second time, by whatever hands, and what becomes of a second payment all the
//! same: it is in the books, it is a break, and it counts when the first one dies.
#![cfg(test)]

use clearday::config::Role;
use clearday::connectors::sandbox::{BankEffect, Fault, NewEntry, Operation};
use clearday::domain::merchant::Merchant;
use clearday::domain::settlement_run::{ClaimState, PartState, SettlementState};
use clearday::engine::{NewOfflinePayment, Signer, Source};
use clearday::verify::verify;
use clearday_jobs::{OfflinePaymentId, Reference};

use crate::bank_reconciliation::{balances, breaks, day, reconcile};
use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{Numbered, merchant, payment};

in_both_modes! {
    an_order_the_bank_never_got_is_not_sent_again_once_it_is_paid_offline: claimed_while_the_bank_is_down;
    an_order_whose_answer_was_lost_is_not_sent_again_when_one_person_claims_it: claimed_after_a_lost_answer;
    an_order_the_bank_never_got_is_not_sent_again_to_a_merchant_who_is_held: held_while_the_bank_is_down;
    a_claim_that_is_approved_after_both_debits_is_a_break: approved_after_both;
    a_debit_that_was_unexplained_is_the_second_one_when_the_bank_pays_as_well: unexplained_then_second;
}

/// What is paid to M-1 for a sale of ¥100.00, in fen.
const PAID: i64 = 9_940;

/// A settlement that two people are asked about, on the morning of 3 March, and the number it will be paid under.
async fn before_approval(house: &House, of: Merchant) -> Reference {
    house.import_merchant(of).await;
    let sale = payment("P-1", 10_000, "2026-03-02T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.newest().await.number_of(1, 1)
}

/// The same, ordered from the bank, which has it.
async fn ordered(house: &House) -> Reference {
    let number = before_approval(house, merchant("M-1")).await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    number
}

/// Somebody says that the part was paid offline, under this number of the bank.
async fn claim(house: &House, bank_reference: &str) -> OfflinePaymentId {
    let new = NewOfflinePayment {
        settlement_id: house.newest().await.id,
        part_no: 1,
        amount: cny(PAID),
        bank: None,
        paid_on: day(3),
        bank_reference: bank_reference.to_owned(),
        proof_sha256: "0".repeat(64),
    };
    let registered = house
        .engine()
        .register_offline_payment(&new, "zhao", Source::Http);
    registered.await.unwrap().id
}

/// A second person stands for the offline payment, and nobody for anything else.
async fn agree_to_claim(house: &House) {
    for approval in house.requested().await {
        if approval.maker.is_some() {
            let (name, role) = ("li", Role::Approver);
            let signed = house
                .engine()
                .sign(approval.id, Signer { name, role }, None);
            signed.await.unwrap();
        }
    }
}

/// The newest settlement of M-1, once the claim about it is there.
async fn claim_becomes(house: &House, state: ClaimState) {
    house
        .newest_becomes(|it| it.parts[0].claims.iter().any(|claim| claim.state == state))
        .await;
}

/// What the bank did, in order, without what it was told again.
fn at_the_bank(house: &House) -> Vec<String> {
    let books = house.sandbox.handle.bank_books();
    let line = |it: &BankEffect| format!("{:?} {}", it.event, it.amount.to_major_string());
    books.effects().iter().map(line).collect()
}

/// The clock runs, and whatever it makes due is done.
async fn time_passes(house: &House, times: &[&str]) {
    for time in times {
        house.clock_shows(time);
        house.job_rests(house.newest().await.job_id).await;
    }
}

fn on(day_of_month: u32, minor_units: i64, text: &str) -> NewEntry<'_> {
    NewEntry {
        booked_on: day(day_of_month),
        amount: cny(minor_units),
        end_to_end_id: None,
        counterparty: "somebody",
        text,
    }
}

/// The balances of the accounts that payouts go through, in their order.
async fn payout_accounts(house: &House) -> Vec<String> {
    let mut told = balances(house).await;
    told.retain(|line| {
        ["bank ", "merchant_", "offline_", "payout_", "suspense "]
            .iter()
            .any(|account| line.starts_with(account))
    });
    told
}

/// All the books agree.
async fn all_is_well(house: &House) {
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
}

async fn ends(house: House) {
    all_is_well(&house).await;
    house.close().await;
}

async fn claimed_while_the_bank_is_down(house: House) {
    let number = before_approval(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::Unavailable);
    for _ in 0..3 {
        bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    }
    house.approve_all().await;
    let sent = house.part_becomes(PartState::Sent).await;
    house.job_waits(sent.job_id, "is unavailable").await;

    claim(&house, "SLIP-77").await;
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    time_passes(
        &house,
        &[
            "2026-03-03T10:00:00",
            "2026-03-03T10:30:00",
            "2026-03-03T11:00:00",
            "2026-03-03T12:00:00",
        ],
    )
    .await;
    let settlement = house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(settlement.parts[0].instructions.len(), 1);
    house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(at_the_bank(&house), [""; 0]);

    bank.bank_debit(on(3, PAID, "counter payment SLIP-77"))
        .unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );
    assert_eq!(at_the_bank(&house), ["Debit 99.40"]);
    ends(house).await;
}

async fn claimed_after_a_lost_answer(house: House) {
    let number = before_approval(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostRequest);
    bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    house.approve_all().await;
    house.part_becomes(PartState::Unknown).await;

    claim(&house, "SLIP-77").await;
    time_passes(&house, &["2026-03-03T09:30:00", "2026-03-03T10:30:00"]).await;
    let rejected = house.part_becomes(PartState::Rejected).await;
    house
        .job_waits(rejected.job_id, "is said to be paid offline")
        .await;
    assert_eq!(at_the_bank(&house), [""; 0]);

    agree_to_claim(&house).await;
    let settlement = house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(settlement.parts[0].instructions.len(), 1);
    assert_eq!(at_the_bank(&house), [""; 0]);
    assert_eq!(
        payout_accounts(&house).await,
        ["offline_in_transit M-1 -99.40"]
    );
    ends(house).await;
}

async fn held_while_the_bank_is_down(house: House) {
    let number = before_approval(&house, merchant("M-1")).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::Unavailable);
    house.approve_all().await;
    let sent = house.part_becomes(PartState::Sent).await;
    house.job_waits(sent.job_id, "is unavailable").await;
    let held = Merchant {
        is_held: true,
        ..merchant("M-1")
    };
    house.import_merchant(held).await;
    time_passes(&house, &["2026-03-03T10:30:00"]).await;
    house.part_becomes(PartState::Rejected).await;
    house.job_waits(sent.job_id, "its release waits").await;
    house.approve_all().await;
    house
        .job_waits(sent.job_id, "payments to M-1 are held")
        .await;
    assert_eq!(at_the_bank(&house), [""; 0]);

    house.import_merchant(merchant("M-1")).await;
    time_passes(&house, &["2026-03-03T12:00:00"]).await;
    house.part_becomes(PartState::Accepted).await;
    assert_eq!(at_the_bank(&house), ["Accept 99.40"]);
    ends(house).await;
}

const OFFLINE_LINE: &str = "SB20260303000001";
const SECOND_DEBIT: &str = "duplicate_theirs payout SB20260303000001 -9940";
const PAID_TWICE: [&str; 2] = [
    "bank sandbox_bank 9999801.20",
    "merchant_overpaid M-1 99.40",
];

/// The bank's own payment is on its statement of the 4th.
async fn the_bank_pays(house: &House) {
    house.sandbox.handle.book_day(day(4)).unwrap();
    house.clock_shows("2026-03-04T09:00:00");
    assert_eq!(
        reconcile(house, "the bank pays", 4).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.part_becomes(PartState::Confirmed).await;
}

/// Both payments are booked and the second is a break, however often the statements are read.
async fn is_paid_twice(house: &House) {
    claim_becomes(house, ClaimState::Surplus).await;
    for key in ["again", "and again"] {
        assert_eq!(breaks(house, "open").await, [SECOND_DEBIT]);
        assert_eq!(payout_accounts(house).await, PAID_TWICE);
        all_is_well(house).await;
        for day in [3, 4] {
            reconcile(house, &format!("{key} {day}"), day).await;
        }
    }
    assert_eq!(
        at_the_bank(house),
        ["Accept 99.40", "Debit 99.40", "Book 99.40"]
    );
}

async fn approved_after_both(house: House) {
    ordered(&house).await;
    claim(&house, "SLIP-77").await;
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(3, PAID, "counter payment SLIP-77"))
        .unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    the_bank_pays(&house).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    agree_to_claim(&house).await;
    is_paid_twice(&house).await;
    ends(house).await;
}

async fn unexplained_then_second(house: House) {
    ordered(&house).await;
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(3, PAID, "paid at the counter")).unwrap();
    reconcile(&house, "first", 3).await;
    let unexplained = "missing_ours payout SB20260303000001 -9940";
    assert_eq!(breaks(&house, "open").await, [unexplained]);
    claim(&house, OFFLINE_LINE).await;
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    the_bank_pays(&house).await;
    is_paid_twice(&house).await;
    assert_eq!(breaks(&house, "vanished").await, [unexplained]);
    ends(house).await;
}
