//! What a bank's statement proves about payouts: paid, come back, paid twice, paid outside of clearday, never paid.
#![cfg(test)]

use chrono::{NaiveDate, TimeDelta};
use clearday::config::Role;
use clearday::connectors::sandbox::{BankEvent, Fault, NewEntry, Operation};
use clearday::domain::operation::OperationState;
use clearday::domain::record::Record;
use clearday::domain::settlement_run::{PartState, Settlement, SettlementState};
use clearday::engine::{NewOfflinePayment, Signer, Source};
use clearday_jobs::Reference;

use crate::bank_reconciliation::{balances, breaks, day, reconcile};
use crate::support::house::{House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::cny;
use crate::support::settling::{Numbered, merchant, payment};

in_both_modes! {
    a_debit_on_the_statement_confirms_its_payout_once: confirmed;
    an_unknown_outcome_is_closed_by_the_statement: unknown;
    money_that_comes_back_reopens_its_settlement: returned;
    a_second_debit_is_booked_against_the_merchant_and_stays_a_break: second_debit;
    a_debit_of_another_amount_proves_nothing: another_amount;
    a_debit_that_is_claimed_later_leaves_suspense: claimed_later;
    an_offline_payment_is_found_by_its_number_in_the_text: claimed_before;
    an_order_that_no_statement_shows_is_a_break_until_one_does: not_shown;
}

/// What is paid to M-1 for a sale of ¥100.00, in fen.
pub(crate) const PAID: i64 = 9_940;

/// A settlement that two people are asked about, on the morning of 3 March, and the number it will be paid under.
async fn before_approval(house: &House) -> Reference {
    house.import_merchant(merchant("M-1")).await;
    let sale = payment("P-1", 10_000, "2026-03-02T10:00:00+08:00");
    house.import_records(&[sale]).await;
    house.clock_shows("2026-03-03T09:00:00");
    let job = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.newest().await.number_of(1, 1)
}

/// The same, ordered from the bank.
async fn ordered(house: &House) -> Reference {
    let number = before_approval(house).await;
    house.approve_all().await;
    house.part_becomes(PartState::Accepted).await;
    number
}

pub(crate) fn on(day_of_month: u32, minor_units: i64, text: &str) -> NewEntry<'_> {
    NewEntry {
        booked_on: day(day_of_month),
        amount: cny(minor_units),
        end_to_end_id: None,
        counterparty: "somebody",
        text,
    }
}

fn first_operation(settlement: &Settlement) -> OperationState {
    settlement.parts[0].instructions[0].operation.state
}

/// The balances of the accounts that payouts go through, in their order.
pub(crate) async fn payout_accounts(house: &House) -> Vec<String> {
    let mut told = balances(house).await;
    told.retain(|line| {
        ["bank ", "merchant_", "offline_", "payout_", "suspense "]
            .iter()
            .any(|account| line.starts_with(account))
    });
    told
}

async fn confirmed(house: House) {
    let number = ordered(&house).await;
    house.sandbox.handle.book_day(day(3)).unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    let settlement = house
        .newest_becomes(|it| it.state == SettlementState::Paid)
        .await;
    assert_eq!(settlement.parts[0].state, PartState::Confirmed);
    assert_eq!(first_operation(&settlement), OperationState::Succeeded);
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );

    assert_eq!(
        reconcile(&house, "second", 3).await,
        "nothing new since version 1"
    );
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );
    let books = house.sandbox.handle.bank_books();
    assert_eq!(books.count_effects(BankEvent::Book, &number), 1);
    house.close().await;
}

async fn unknown(house: House) {
    let number = before_approval(&house).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::LostAnswer);
    for _ in 0..50 {
        bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    }
    house.approve_all().await;
    let settlement = house.part_becomes(PartState::Unknown).await;
    assert_eq!(first_operation(&settlement), OperationState::Unknown);
    bank.book_day(day(3)).unwrap();
    reconcile(&house, "first", 3).await;
    let settlement = house.part_becomes(PartState::Confirmed).await;
    assert_eq!(first_operation(&settlement), OperationState::Succeeded);
    assert_eq!(
        bank.bank_books().count_effects(BankEvent::Accept, &number),
        1
    );
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );
    house.close().await;
}

async fn returned(house: House) {
    let number = ordered(&house).await;
    let bank = &house.sandbox.handle;
    bank.book_day(day(3)).unwrap();
    reconcile(&house, "first", 3).await;
    house.part_becomes(PartState::Confirmed).await;
    bank.return_payout(&number, day(4), "no such person")
        .unwrap();
    house.clock_shows("2026-03-04T09:00:00");
    assert_eq!(
        reconcile(&house, "second", 4).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.part_becomes(PartState::Returned).await;
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 10000000.00",
            "payout_returned M-1 -99.40"
        ]
    );
    house.close().await;
}

async fn second_debit(house: House) {
    let number = ordered(&house).await;
    let bank = &house.sandbox.handle;
    bank.book_day(day(3)).unwrap();
    let twice = NewEntry {
        end_to_end_id: Some(&number),
        ..on(3, PAID, "paid again by mistake")
    };
    bank.bank_debit(twice).unwrap();
    assert_eq!(
        reconcile(&house, "first", 3).await,
        "version 1: 1 of 2 lines explained, 1 breaks"
    );
    let found = ["duplicate_theirs payout SB20260303000002 -9940"];
    assert_eq!(breaks(&house, "open").await, found);
    let booked = [
        "bank sandbox_bank 9999801.20",
        "merchant_overpaid M-1 99.40",
    ];
    assert_eq!(payout_accounts(&house).await, booked);

    assert_eq!(
        reconcile(&house, "second", 3).await,
        "nothing new since version 1"
    );
    assert_eq!(breaks(&house, "open").await, found);
    assert_eq!(payout_accounts(&house).await, booked);
    house.close().await;
}

async fn another_amount(house: House) {
    let number = ordered(&house).await;
    let bank = &house.sandbox.handle;
    let wrong = NewEntry {
        end_to_end_id: Some(&number),
        ..on(3, 9_000, "settlement")
    };
    bank.bank_debit(wrong).unwrap();
    reconcile(&house, "first", 3).await;
    assert_eq!(
        breaks(&house, "open").await,
        ["amount_mismatch payout SB20260303000001 940"]
    );
    house.part_becomes(PartState::Accepted).await;
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 9999910.00",
            "payout_in_transit M-1 -99.40",
            "suspense sandbox_bank 90.00",
        ]
    );
    bank.book_day(day(4)).unwrap();
    house.clock_shows("2026-03-04T09:00:00");
    reconcile(&house, "second", 4).await;
    house.part_becomes(PartState::Confirmed).await;
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 9999810.60",
            "suspense sandbox_bank 90.00"
        ]
    );
    house.close().await;
}

async fn claim(house: &House, bank_reference: &str) {
    let settlement = house.newest().await;
    let paid_on: NaiveDate = day(3);
    let new = NewOfflinePayment {
        settlement_id: settlement.id,
        part_no: 1,
        amount: cny(PAID),
        bank: None,
        paid_on,
        bank_reference: bank_reference.to_owned(),
        proof_sha256: "0".repeat(64),
    };
    let engine = house.engine();
    engine
        .register_offline_payment(&new, "zhao", Source::Http)
        .await
        .unwrap();
}

/// A second person stands for the offline payment, and nobody for the bank's.
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

async fn claimed_later(house: House) {
    before_approval(&house).await;
    let bank = &house.sandbox.handle;
    bank.bank_debit(on(3, PAID, "paid at the counter")).unwrap();
    reconcile(&house, "first", 3).await;
    let found = "missing_ours payout SB20260303000001 -9940";
    assert_eq!(breaks(&house, "open").await, [found]);
    assert_eq!(
        payout_accounts(&house).await,
        [
            "bank sandbox_bank 9999900.60",
            "merchant_payable M-1 -99.40",
            "suspense sandbox_bank 99.40",
        ]
    );
    claim(&house, "SB20260303000001").await;
    agree_to_claim(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );
    assert_eq!(breaks(&house, "vanished").await, [found]);

    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 2: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(
        payout_accounts(&house).await,
        ["bank sandbox_bank 9999900.60"]
    );
    house.close().await;
}

async fn claimed_before(house: House) {
    before_approval(&house).await;
    claim(&house, "SLIP-77").await;
    agree_to_claim(&house).await;
    house.part_becomes(PartState::PaidOffline).await;
    assert_eq!(
        payout_accounts(&house).await,
        ["offline_in_transit M-1 -99.40"]
    );
    let bank = &house.sandbox.handle;
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
    assert_eq!(bank.bank_books().effects().len(), 1);
    house.close().await;
}

async fn not_shown(house: House) {
    ordered(&house).await;
    house.clock_shows("2026-03-05T09:00:00");
    reconcile(&house, "fifth", 5).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    house.clock_shows("2026-03-07T09:00:00");
    reconcile(&house, "sixth", 6).await;
    let missing = ["missing_theirs payout  9940"];
    assert_eq!(breaks(&house, "open").await, missing);
    house.sandbox.handle.book_day(day(7)).unwrap();
    reconcile(&house, "seventh", 7).await;
    assert_eq!(breaks(&house, "open").await, [""; 0]);
    assert_eq!(breaks(&house, "vanished").await, missing);
    house.part_becomes(PartState::Confirmed).await;
    house.close().await;
}

mod a_bank_that_stays_away_is_left_alone_and_no_order_is_written_for_it {
    use super::*;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn embedded() {
        away(Mode::Embedded).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn production() {
        away(Mode::Production).await;
    }
}

/// With one daemon, because each learns for itself who is away.
async fn away(mode: Mode) {
    let mut house = House::without_daemons(mode).await;
    house.start_daemon();
    let number = before_approval(&house).await;
    let bank = &house.sandbox.handle;
    bank.queue_fault(Operation::PayOut, &number, Fault::Unavailable);
    for _ in 0..2 {
        bank.queue_fault(Operation::QueryPayout, &number, Fault::Unavailable);
    }
    house.approve_all().await;
    let first = house.part_becomes(PartState::Sent).await.job_id;
    let mut waiting = house.job_rests(first).await;
    while !waiting.note.contains("breaker open until") {
        let wait = waiting.run_at - house.clock.now();
        house.clock.advance(wait);
        waiting = house.job_rests(first).await;
    }

    let sale = Record {
        merchant_id: "M-2".parse().unwrap(),
        ..payment("P-2", 10_000, "2026-03-02T11:00:00+08:00")
    };
    house.import_merchant(merchant("M-2")).await;
    house.import_records(&[sale]).await;
    let second = house.settle("two", "M-2", "2026-03-02").await;
    house.job_waits(second, "two people").await;
    house.approve_all().await;
    house
        .job_waits(second, "channel sandbox_bank: breaker open until")
        .await;
    let [settlement] = &house.settlements_of("M-2").await[..] else {
        panic!("M-2 has one settlement")
    };
    assert_eq!(settlement.parts[0].instructions, []);
    assert_eq!(house.sandbox.handle.bank_books().effects().len(), 0);

    // It is back: nobody is forgotten, and each is paid once.
    let numbers = [number, settlement.number_of(1, 1)];
    for _ in 0..60 {
        house.clock.advance(TimeDelta::seconds(10));
        house.job_rests(first).await;
        house.job_rests(second).await;
    }
    for number in &numbers {
        let books = house.sandbox.handle.bank_books();
        assert_eq!(books.count_effects(BankEvent::Accept, number), 1);
    }
    house.close().await;
}
