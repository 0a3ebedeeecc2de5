//! What keeps a part from being paid a second time, by whatever hands, and what becomes of a second payment all the
//! same: it is in the books, it is a break, and it counts when the first one dies.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::config::Role;
use clearday::connectors::sandbox::{BankEffect, Fault, NewEntry, Operation};
use clearday::domain::merchant::Merchant;
use clearday::domain::settlement_run::{ClaimState, PartState, SettlementState};
use clearday::engine::{NewOfflinePayment, Signer, Source};
use clearday::verify::verify;
use clearday_jobs::{OfflinePaymentId, Reference};

use crate::bank_payouts::{PAID, on, payout_accounts};
use crate::bank_reconciliation::{breaks, day, reconcile};
use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{GOOD_ACCOUNT, Numbered, merchant, payment};

in_both_modes! {
    an_order_the_bank_never_got_is_not_sent_again_to_a_merchant_who_is_held: held_while_the_bank_is_down;
    a_claim_that_is_approved_after_both_debits_is_a_break: approved_after_both;
    a_debit_that_was_unexplained_is_the_second_one_when_the_bank_pays_as_well: unexplained_then_second;
    an_instruction_that_paid_late_counts_when_the_next_one_is_rejected: late_then_rejected;
    an_instruction_that_pays_late_counts_when_the_next_one_came_back: returned_then_late;
    what_was_paid_a_second_time_and_came_back_pays_nothing: second_came_back;
    a_claim_that_gave_way_counts_when_the_payment_of_the_bank_comes_back: surplus_then_returned;
    a_claim_that_gave_way_counts_when_it_is_shown_after_the_return: returned_then_surplus;
    what_bounced_and_is_paid_offline_is_not_shown_as_a_failure: bounced_and_claimed;
}

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

/// Whatever the settlement's job was in the middle of, or has to try again, is done.
async fn catches_up(house: &House) {
    for _ in 0..2 {
        house.clock.advance(TimeDelta::minutes(10));
        house.job_rests(house.newest().await.job_id).await;
    }
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

/// The bank's own payment is on its statement of the 4th; what reading that says.
async fn the_bank_pays(house: &House) -> String {
    house.sandbox.handle.book_day(day(4)).unwrap();
    house.clock_shows("2026-03-04T09:00:00");
    let note = reconcile(house, "the bank pays", 4).await;
    house.part_becomes(PartState::Confirmed).await;
    note
}

/// Both payments are booked and the second is a break, however often the statements are read.
async fn is_paid_twice(house: &House, second: &str) {
    claim_becomes(house, ClaimState::Surplus).await;
    for key in ["again", "and again"] {
        assert_eq!(breaks(house, "open").await, [second]);
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
    reconcile(&house, "first", 3).await;
    assert_eq!(
        the_bank_pays(&house).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    agree_to_claim(&house).await;
    catches_up(&house).await;
    is_paid_twice(&house, SECOND_DEBIT).await;
    ends(house).await;
}

async fn unexplained_then_second(house: House) {
    ordered(&house).await;
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(3, PAID, "paid at the counter")).unwrap();
    reconcile(&house, "first", 3).await;
    claim(&house, OFFLINE_LINE).await;
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    catches_up(&house).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    // Of two payments the one that is shown later is the second.
    assert_eq!(
        the_bank_pays(&house).await,
        "version 1: 0 of 1 lines explained, 1 breaks"
    );
    let second = "duplicate_theirs payout SB20260304000002 -9940";
    is_paid_twice(&house, second).await;
    ends(house).await;
}

/// An account that the sandbox bank takes orders for, and refuses at the end of the day.
const CLOSED_ACCOUNT: &str = "6222020200001111";
const ONE_PAID: [&str; 1] = ["bank sandbox_bank 9999900.60"];

fn paid_to(account_no: &str) -> Merchant {
    let mut changed = merchant("M-1");
    changed.payee.account_no = account_no.to_owned();
    changed
}

/// The first instruction seemed never to reach the bank, and two people released another one to this account; returns
/// the number of the first.
async fn ordered_again(house: &House, account_no: &str) -> Reference {
    let first = before_approval(house, paid_to(account_no)).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &first, Fault::LostRequest);
    bank.queue_fault(Operation::QueryPayout, &first, Fault::Unavailable);
    house.approve_all().await;
    house.part_becomes(PartState::Unknown).await;
    let held = Merchant {
        is_held: true,
        ..paid_to(account_no)
    };
    house.import_merchant(held).await;
    time_passes(house, &["2026-03-03T09:30:00", "2026-03-03T10:00:00"]).await;
    let rejected = house.part_becomes(PartState::Rejected).await;
    house.job_waits(rejected.job_id, "its release waits").await;
    house.import_merchant(paid_to(account_no)).await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    first
}

/// The debit of an instruction that was taken for dead is on the statement of a day.
fn paid_after_all(house: &House, first: &Reference, day_of_month: u32) {
    let late = NewEntry {
        end_to_end_id: Some(first),
        ..on(day_of_month, PAID, "paid after all")
    };
    house.sandbox.handle.bank_debit(late).unwrap();
}

async fn late_then_rejected(house: House) {
    let first = ordered_again(&house, CLOSED_ACCOUNT).await;
    paid_after_all(&house, &first, 3);
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 0 of 1 lines explained, 1 breaks"
    );
    assert_eq!(breaks(&house, "open").await, [SECOND_DEBIT]);
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 9999900.60",
            "merchant_overpaid M-1 99.40",
            "payout_in_transit M-1 -99.40",
        ]
    );
    all_is_well(&house).await;

    house.sandbox.handle.book_day(day(4)).unwrap();
    time_passes(&house, &["2026-03-04T09:00:00"]).await;
    let settlement = house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(settlement.parts[0].state, PartState::Confirmed);
    assert_eq!(house.told_words().await, "submitted on_statement");
    assert_eq!(payout_accounts(&house).await, ONE_PAID);
    assert_eq!(breaks(&house, "vanished").await, [SECOND_DEBIT]);
    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 2: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    assert_eq!(payout_accounts(&house).await, ONE_PAID);
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Debit 99.40", "Reject 99.40"]
    );
    ends(house).await;
}

async fn returned_then_late(house: House) {
    let first = ordered_again(&house, GOOD_ACCOUNT).await;
    the_bank_pays(&house).await;
    let second = house.newest().await.number_of(1, 2);
    let bank = &house.sandbox.handle;
    bank.return_payout(&second, day(5), "no such person")
        .unwrap();
    house.clock_shows("2026-03-05T09:00:00");
    reconcile(&house, "fifth", 5).await;
    let returned = house.part_becomes(PartState::Returned).await;
    catches_up(&house).await;
    house.job_waits(returned.job_id, "its release waits").await;
    paid_after_all(&house, &first, 6);
    house.clock_shows("2026-03-06T09:00:00");
    assert_eq!(
        reconcile(&house, "sixth", 6).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.part_becomes(PartState::Confirmed).await;
    catches_up(&house).await;
    house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(payout_accounts(&house).await, ONE_PAID);
    ends(house).await;
}

async fn second_came_back(house: House) {
    let first = ordered_again(&house, GOOD_ACCOUNT).await;
    paid_after_all(&house, &first, 3);
    reconcile(&house, "third", 3).await;
    the_bank_pays(&house).await;
    assert_eq!(payout_accounts(&house).await, PAID_TWICE);
    let bank = &house.sandbox.handle;
    let back = NewEntry {
        end_to_end_id: Some(&first),
        ..on(5, PAID, "sent back")
    };
    bank.bank_deposit(back).unwrap();
    house.clock_shows("2026-03-05T09:00:00");
    assert_eq!(
        reconcile(&house, "fifth", 5).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(payout_accounts(&house).await, ONE_PAID);
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    assert_eq!(house.newest().await.parts[0].state, PartState::Confirmed);
    all_is_well(&house).await;

    let second = house.newest().await.number_of(1, 2);
    bank.return_payout(&second, day(6), "no such person")
        .unwrap();
    house.clock_shows("2026-03-06T09:00:00");
    reconcile(&house, "sixth", 6).await;
    let returned = house.part_becomes(PartState::Returned).await;
    catches_up(&house).await;
    house.job_waits(returned.job_id, "its release waits").await;
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 10000000.00",
            "payout_returned M-1 -99.40"
        ]
    );
    ends(house).await;
}

/// The bank's payment is on the statement of the 4th, and the offline one gave way to it.
async fn gave_way(house: &House) -> Reference {
    let number = ordered(house).await;
    claim(house, "SLIP-77").await;
    agree_to_claim(house).await;
    claim_becomes(house, ClaimState::Waiting).await;
    catches_up(house).await;
    the_bank_pays(house).await;
    claim_becomes(house, ClaimState::Surplus).await;
    number
}

/// The part is paid offline, and nothing else; also when the statements of these days are read again.
async fn is_paid_offline_alone(house: &House, days: &[u32]) {
    catches_up(house).await;
    let settlement = house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(settlement.parts[0].state, PartState::PaidOffline);
    assert_eq!(settlement.parts[0].claims[0].state, ClaimState::Counted);
    assert_eq!(house.told_words().await, "submitted paid_offline");
    for day in days {
        reconcile(house, &format!("again {day}"), *day).await;
    }
    assert_eq!(payout_accounts(house).await, ONE_PAID);
    assert_eq!(breaks(house, "open").await, [""; 0]);
}

async fn surplus_then_returned(house: House) {
    let number = gave_way(&house).await;
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(4, PAID, "counter payment SLIP-77"))
        .unwrap();
    assert_eq!(
        reconcile(&house, "offline", 4).await,
        "version 2: 1 of 2 lines explained, 1 breaks"
    );
    assert_eq!(payout_accounts(&house).await, PAID_TWICE);
    assert_eq!(
        breaks(&house, "open").await,
        ["duplicate_theirs payout SB20260304000002 -9940"]
    );
    all_is_well(&house).await;
    bank.return_payout(&number, day(5), "no such person")
        .unwrap();
    house.clock_shows("2026-03-05T09:00:00");
    reconcile(&house, "fifth", 5).await;
    is_paid_offline_alone(&house, &[4, 5]).await;
    ends(house).await;
}

async fn returned_then_surplus(house: House) {
    let number = gave_way(&house).await;
    let bank = &house.sandbox.handle;
    bank.return_payout(&number, day(5), "no such person")
        .unwrap();
    house.clock_shows("2026-03-05T09:00:00");
    reconcile(&house, "returned", 5).await;
    let returned = house.part_becomes(PartState::Returned).await;
    catches_up(&house).await;
    house.job_waits(returned.job_id, "its release waits").await;
    bank.bank_debit(on(5, PAID, "counter payment SLIP-77"))
        .unwrap();
    reconcile(&house, "offline", 5).await;
    is_paid_offline_alone(&house, &[4, 5]).await;
    ends(house).await;
}

async fn bounced_and_claimed(house: House) {
    let number = ordered(&house).await;
    let bank = &house.sandbox.handle;
    bank.book_day(day(3)).unwrap();
    bank.return_payout(&number, day(4), "no such person")
        .unwrap();
    time_passes(&house, &["2026-03-04T09:00:00"]).await;
    house.part_becomes(PartState::Bounced).await;
    assert_eq!(house.told_words().await, "failed returned_by_bank");
    claim(&house, "SLIP-77").await;
    agree_to_claim(&house).await;
    claim_becomes(&house, ClaimState::Waiting).await;
    catches_up(&house).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");

    reconcile(&house, "third", 3).await;
    house.part_becomes(PartState::Bounced).await;
    all_is_well(&house).await;
    assert_eq!(house.told_words().await, "submitted paid_offline");
    reconcile(&house, "fourth", 4).await;
    catches_up(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 10000000.00",
            "offline_in_transit M-1 -99.40"
        ]
    );
    assert_eq!(
        at_the_bank(&house),
        ["Accept 99.40", "Book 99.40", "Return 99.40"]
    );
    ends(house).await;
}
