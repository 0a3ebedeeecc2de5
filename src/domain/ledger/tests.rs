//! What every event posts, as one table; and what holds for every entry there can be.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use clearday_jobs::{ChannelName, Currency, MerchantId, Money, MoneyError};
use proptest::prelude::*;

use super::events::{self, Built, Occasion, RefundFrom, WriteOff};
use super::*;
use crate::domain::record::{Coupon, CouponFunder, Record, RecordKind, RecordStatus};

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn record(kind: RecordKind, coupon: Option<(CouponFunder, i64)>) -> Record {
    Record {
        record_no: "R1".parse().unwrap(),
        kind,
        channel: "wechat".parse().unwrap(),
        channel_trade_no: None,
        merchant_id: "shop".parse().unwrap(),
        amount: cny(1_000),
        fee: cny(6),
        status: RecordStatus::Succeeded,
        occurred_at: "2026-03-02T23:30:00+08:00".parse().unwrap(),
        original_record_no: None,
        coupon: coupon.map(|(funder, minor)| Coupon {
            amount: cny(minor),
            funder,
        }),
    }
}

fn payment(coupon: Option<(CouponFunder, i64)>) -> Record {
    record(RecordKind::Payment, coupon)
}

fn on() -> Occasion<'static> {
    Occasion {
        subject: "thing:1",
        accounting_on: NaiveDate::from_ymd_opt(2026, 3, 2).unwrap(),
    }
}

/// An entry in one line: `identity: debit(owner) <- credit(owner) amount`, legs parted by `; `.
fn told(built: Built) -> String {
    let Some(entry) = built.unwrap() else {
        return "nothing".to_owned();
    };
    let side = |side: &Side| format!("{}({})", side.account, side.owner);
    let legs: Vec<String> = entry
        .postings()
        .iter()
        .map(|posting| {
            let (debit, credit) = (side(posting.debit()), side(posting.credit()));
            format!("{debit} <- {credit} {}", posting.amount().minor_units())
        })
        .collect();
    format!("{}: {}", entry.identity, legs.join("; "))
}

/// One call of every constructor, with this amount where it takes one.
fn every_event(amount: Money) -> Vec<Built> {
    let merchant: MerchantId = "shop".parse().unwrap();
    let channel: ChannelName = "wechat".parse().unwrap();
    let bank: ChannelName = "icbc".parse().unwrap();
    let (merchant, channel, bank) = (&merchant, &channel, &bank);
    let owed = Side::new(Account::MerchantPayable, "shop");
    vec![
        events::capture(&payment(None), Booking::ByFunder),
        events::balance_capture(on(), channel, merchant, amount),
        events::refund(&record(RecordKind::Refund, None), Booking::ByFunder),
        events::refund_intended(on(), merchant, RefundFrom::Pending, amount),
        events::refund_intended(on(), merchant, RefundFrom::Payable, amount),
        events::refund_succeeded(on(), channel, merchant, amount),
        events::channel_fee(&payment(None), 1, amount, on().accounting_on),
        events::merchant_fee(on(), merchant, amount),
        events::late_money(on(), channel, amount),
        events::late_money_returned(on(), channel, amount),
        events::collected(on(), merchant, amount),
        events::reserve_held(on(), merchant, amount),
        events::reserve_released(on(), merchant, amount),
        events::payout_submitted(on(), merchant, amount),
        events::payout_confirmed(on(), merchant, bank, amount),
        events::payout_rejected(on(), merchant, amount),
        events::payout_returned(on(), merchant, bank, amount),
        events::return_released(on(), merchant, amount),
        events::offline_approved(on(), merchant, amount),
        events::offline_on_statement(on(), merchant, bank, amount),
        events::second_debit(on(), merchant, bank, amount),
        events::second_debit_confirms(on(), merchant, amount),
        events::second_debit_counts(on(), merchant, amount),
        events::second_debit_returned(on(), merchant, bank, amount),
        events::deposit(on(), bank, channel, amount),
        events::dispute_opened(on(), channel, merchant, amount),
        events::dispute_lost(on(), merchant, amount),
        events::dispute_won(on(), channel, merchant, amount),
        events::authorization(on(), channel, merchant, amount),
        events::authorization_voided(on(), channel, merchant, amount),
        events::opening_balance(on(), Some(merchant), owed, amount),
        events::break_long(on(), channel, amount),
        events::break_short(on(), channel, amount),
        events::write_off(on(), channel, WriteOff::Long, amount),
        events::write_off(on(), channel, WriteOff::Short, amount),
    ]
}

#[test]
fn money_that_a_bank_cannot_explain_waits_in_suspense() {
    let bank: ChannelName = "icbc".parse().unwrap();
    let booked = |amount| told(events::bank_break(on(), &bank, amount));
    assert_eq!(
        [booked(cny(5)), booked(cny(-5)), booked(cny(0))],
        [
            "thing:1/break_long: bank(icbc) <- suspense(icbc) 5",
            "thing:1/break_short: suspense(icbc) <- bank(icbc) 5",
            &told(Ok(None)),
        ]
    );
}

#[test]
fn every_event_posts_what_the_table_says() {
    let mut lines: Vec<String> = every_event(cny(5)).into_iter().map(told).collect();
    let collected = events::collected(on(), &"shop".parse().unwrap(), cny(5));
    let undone = events::reversal(&collected.unwrap().unwrap(), on().accounting_on);
    lines.push(told(Ok(Some(undone))));
    assert_eq!(
        lines.join("\n"),
        "\
payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 1000
thing:1/balance_capture: customer_balance(wechat) <- merchant_pending(shop) 5
refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 1000; refund_in_transit(shop) <- channel_receivable(wechat) 1000
thing:1/refund_intended: merchant_pending(shop) <- refund_in_transit(shop) 5
thing:1/refund_intended: merchant_payable(shop) <- refund_in_transit(shop) 5
thing:1/refund_succeeded: refund_in_transit(shop) <- channel_receivable(wechat) 5
payment:R1/channel_fee/1: channel_fee(wechat) <- channel_receivable(wechat) 5
thing:1/merchant_fee: merchant_pending(shop) <- fee_income(shop) 5
thing:1/late_money: channel_receivable(wechat) <- unallocated_receipts(wechat) 5
thing:1/late_money_returned: unallocated_receipts(wechat) <- channel_receivable(wechat) 5
thing:1/collected: merchant_pending(shop) <- merchant_payable(shop) 5
thing:1/reserve_held: merchant_payable(shop) <- reserve(shop) 5
thing:1/reserve_released: reserve(shop) <- merchant_payable(shop) 5
thing:1/payout_submitted: merchant_payable(shop) <- payout_in_transit(shop) 5
thing:1/payout_confirmed: payout_in_transit(shop) <- bank(icbc) 5
thing:1/payout_rejected: payout_in_transit(shop) <- merchant_payable(shop) 5
thing:1/payout_returned: bank(icbc) <- payout_returned(shop) 5
thing:1/return_released: payout_returned(shop) <- merchant_payable(shop) 5
thing:1/offline_approved: merchant_payable(shop) <- offline_in_transit(shop) 5
thing:1/offline_on_statement: offline_in_transit(shop) <- bank(icbc) 5
thing:1/second_debit: merchant_overpaid(shop) <- bank(icbc) 5
thing:1/payout_confirmed: payout_in_transit(shop) <- merchant_overpaid(shop) 5
thing:1/offline_approved: merchant_payable(shop) <- merchant_overpaid(shop) 5
thing:1/payout_returned: bank(icbc) <- merchant_overpaid(shop) 5
thing:1/deposit: bank(icbc) <- channel_receivable(wechat) 5
thing:1/dispute_opened: dispute_asset(shop) <- channel_receivable(wechat) 5; merchant_payable(shop) <- dispute_hold(shop) 5
thing:1/dispute_lost: dispute_hold(shop) <- dispute_asset(shop) 5
thing:1/dispute_won: channel_receivable(wechat) <- dispute_asset(shop) 5; dispute_hold(shop) <- merchant_payable(shop) 5
thing:1/authorization: memo_exposure(shop) <- memo_contra(wechat) 5
thing:1/authorization_voided: memo_contra(wechat) <- memo_exposure(shop) 5
thing:1/opening_balance: merchant_payable(shop) <- opening_balance(clearday) 5
thing:1/break_long: channel_receivable(wechat) <- suspense(wechat) 5
thing:1/break_short: suspense(wechat) <- channel_receivable(wechat) 5
thing:1/write_off: suspense(wechat) <- other_income(clearday) 5
thing:1/write_off: reconciliation_loss(clearday) <- suspense(wechat) 5
thing:1/collected/reversal: merchant_payable(shop) <- merchant_pending(shop) 5"
    );
    for event in EntryEvent::ALL {
        let is_there = lines.iter().any(|line| line.contains(event.as_str()));
        assert!(is_there, "{event} is not in the table");
    }
}

#[test]
fn a_coupon_is_posted_by_who_bears_it() {
    let mut table = Vec::new();
    for booking in Booking::ALL {
        for funder in CouponFunder::ALL {
            let (payment, refund) = (
                record(RecordKind::Payment, Some((*funder, 300))),
                record(RecordKind::Refund, Some((*funder, 300))),
            );
            let share = events::merchant_share(&payment, *booking).unwrap();
            let capture = told(events::capture(&payment, *booking));
            let refund = told(events::refund(&refund, *booking));
            table.push(format!(
                "{booking}, {funder}, {}\n  {capture}\n  {refund}",
                share.minor_units()
            ));
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
by_funder, merchant, 700
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700
by_funder, channel, 1000
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 1000
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 1000; refund_in_transit(shop) <- channel_receivable(wechat) 1000
by_funder, platform, 1000
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700; marketing(clearday) <- merchant_pending(shop) 300
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700; merchant_pending(shop) <- marketing(clearday) 300
by_funder, third_party, 1000
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700; coupon_receivable(third_party) <- merchant_pending(shop) 300
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700; merchant_pending(shop) <- coupon_receivable(third_party) 300
coupon_excluded, merchant, 700
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700
coupon_excluded, channel, 700
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700
coupon_excluded, platform, 700
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700
coupon_excluded, third_party, 700
  payment:R1/capture: channel_receivable(wechat) <- merchant_pending(shop) 700
  refund:R1/refund: merchant_pending(shop) <- refund_in_transit(shop) 700; refund_in_transit(shop) <- channel_receivable(wechat) 700
direct, merchant, 0
  nothing
  nothing
direct, channel, 0
  nothing
  nothing
direct, platform, 0
  nothing
  nothing
direct, third_party, 0
  nothing
  nothing
elsewhere, merchant, 0
  nothing
  nothing
elsewhere, channel, 0
  nothing
  nothing
elsewhere, platform, 0
  nothing
  nothing
elsewhere, third_party, 0
  nothing
  nothing"
    );
}

#[test]
fn what_is_wholly_a_coupon_of_the_merchant_posts_nothing() {
    let whole = payment(Some((CouponFunder::Merchant, 1_000)));
    assert_eq!(told(events::capture(&whole, Booking::ByFunder)), "nothing");
}

#[test]
fn a_coupon_larger_than_its_payment_is_refused() {
    for funder in [CouponFunder::Merchant, CouponFunder::Platform] {
        let refused = events::capture(&payment(Some((funder, 1_001))), Booking::ByFunder);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the coupon of payment:R1 is larger than its amount"
        );
    }
}

#[test]
fn an_amount_cannot_go_from_a_side_to_itself() {
    let side = || Side::new(Account::Reserve, "shop");
    let refused = Posting::of(side(), side(), cny(1));
    assert_eq!(refused, Err(LedgerError::SameSide(Account::Reserve)));
    let other = Posting::of(side(), Side::new(Account::Reserve, "other"), cny(1));
    assert!(other.unwrap().is_some());
}

#[test]
fn what_cannot_be_turned_is_refused() {
    for built in every_event(cny(i64::MIN)) {
        let overflow = LedgerError::Money(MoneyError::OutOfRange(cny(0).currency()));
        match built {
            Err(error) => assert_eq!(error, overflow),
            // Those of records take their amounts from them.
            Ok(entry) => assert!(entry.unwrap().subject.ends_with(":R1")),
        }
    }
}

#[test]
fn the_day_of_a_record_is_the_day_in_china() {
    let mut late = payment(None);
    late.occurred_at = "2026-03-02T16:00:00Z".parse().unwrap();
    let entry = events::capture(&late, Booking::ByFunder).unwrap().unwrap();
    assert_eq!(entry.accounting_on.to_string(), "2026-03-03");
}

#[test]
fn the_digest_is_of_everything_that_is_said() {
    let platform = payment(Some((CouponFunder::Platform, 300)));
    let entry = || {
        events::capture(&platform, Booking::ByFunder)
            .unwrap()
            .unwrap()
    };
    let sealed = entry().sha256();
    assert_eq!(sealed.len(), 64);
    assert_eq!(entry().sha256(), sealed);
    let changes: [fn(&mut Entry); 9] = [
        |entry| entry.identity.push('x'),
        |entry| entry.event = EntryEvent::Refund,
        |entry| entry.accounting_on = entry.accounting_on.succ_opt().unwrap(),
        |entry| entry.merchant_id = None,
        |entry| entry.subject.push('x'),
        |entry| entry.postings.swap(0, 1),
        |entry| drop(entry.postings.pop()),
        |entry| entry.postings[0].amount = cny(701),
        |entry| entry.postings[0].debit.owner.push('x'),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = entry();
        change(&mut other);
        assert_ne!(other.sha256(), sealed, "change {number}");
    }
}

proptest! {
    #[test]
    fn every_entry_balances(minor in -1_000_000_000_i64..1_000_000_000) {
        for entry in every_event(cny(minor)).into_iter().filter_map(Result::unwrap) {
            prop_assert!(!entry.postings().is_empty());
            for posting in entry.postings() {
                prop_assert!(posting.amount().minor_units() > 0);
                prop_assert_eq!(posting.amount().currency(), entry.currency());
                prop_assert_ne!(posting.debit(), posting.credit());
            }
            let begins = format!("{}/{}", entry.subject, entry.event);
            prop_assert!(entry.identity.starts_with(&begins), "{}", entry.identity);
        }
    }

    #[test]
    fn a_negative_amount_swaps_the_sides(minor in 1_i64..=i64::MAX) {
        let turned = |posting: &Posting| {
            (posting.credit().clone(), posting.debit().clone(), posting.amount())
        };
        let plain = |posting: &Posting| {
            (posting.debit().clone(), posting.credit().clone(), posting.amount())
        };
        for (up, down) in every_event(cny(minor)).into_iter().zip(every_event(cny(minor.saturating_neg()))) {
            let (up, down) = (up.unwrap().unwrap(), down.unwrap().unwrap());
            // Those of records take their amounts from them.
            if up.subject == on().subject {
                let up: Vec<_> = up.postings().iter().map(plain).collect();
                let down: Vec<_> = down.postings().iter().map(turned).collect();
                prop_assert_eq!(up, down);
            }
        }
    }

    #[test]
    fn a_refund_of_everything_takes_back_what_its_payment_gave(
        funder in prop::sample::select(CouponFunder::ALL.to_vec()),
        coupon in 0_i64..=1_000,
        booking in prop::sample::select(Booking::ALL.to_vec()),
    ) {
        let of = |kind| record(kind, Some((funder, coupon)));
        let capture = events::capture(&of(RecordKind::Payment), booking).unwrap();
        let refund = events::refund(&of(RecordKind::Refund), booking).unwrap();
        let mut balances: BTreeMap<Side, i64> = BTreeMap::new();
        for entry in [capture.clone(), refund].into_iter().flatten() {
            for posting in entry.postings() {
                let amount = posting.amount().minor_units();
                let debited = balances.entry(posting.debit().clone()).or_default();
                *debited = debited.saturating_add(amount);
                let credited = balances.entry(posting.credit().clone()).or_default();
                *credited = credited.saturating_sub(amount);
            }
        }
        prop_assert!(balances.values().all(|balance| *balance == 0), "{:?}", balances);
        let share = events::merchant_share(&of(RecordKind::Payment), booking).unwrap();
        let credited: i64 = capture.iter().flat_map(Entry::postings)
            .filter(|posting| posting.credit().account == Account::MerchantPending)
            .map(|posting| posting.amount().minor_units())
            .sum();
        prop_assert_eq!(share.minor_units(), credited);
    }
}
