//! What is collected, and that nothing is lost on the way.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, and should"
)]

use chrono::{DateTime, NaiveTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::domain::fee::Rounding;
use crate::domain::merchant::{CouponRule, FundsFlow, Payee};
use crate::domain::record::{Coupon, CouponFunder, RecordStatus};

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn contract(rate: &str) -> FeeContract {
    FeeContract {
        valid_from: date("2026-01-01"),
        valid_until: None,
        rate: rate.parse().unwrap(),
        fixed: cny(0),
        minimum: cny(0),
        maximum: None,
        rounding: Rounding::HalfUp,
        returns_fees: true,
    }
}

fn merchant() -> Merchant {
    Merchant {
        merchant_id: "M-1".parse().unwrap(),
        name: "One".to_owned(),
        currency: Currency::parse("CNY").unwrap(),
        cycle: "T+1".parse().unwrap(),
        cutoff: NaiveTime::MIN,
        zone: chrono_tz::Asia::Shanghai,
        calendar: "CN".to_owned(),
        minimum: cny(100),
        settle_basis: SettleBasis::Reconciled,
        funds_flow: FundsFlow::Collected,
        coupons: CouponRule::ByFunder,
        reserve_rate: Decimal::ZERO,
        is_held: false,
        payee: Payee {
            bank: "bank".parse().unwrap(),
            account_no: "6222".to_owned(),
            account_name: "One".to_owned(),
        },
        pending_payee: None,
        contracts: vec![contract("0.006")],
        version: 1,
    }
}

fn candidate(kind: RecordKind, number: &str, minor_units: i64, at: &str) -> Candidate {
    Candidate {
        record: Record {
            record_no: number.parse().unwrap(),
            kind,
            channel: "wechat_pay".parse().unwrap(),
            channel_trade_no: None,
            merchant_id: "M-1".parse().unwrap(),
            amount: cny(minor_units),
            fee: cny(0),
            status: RecordStatus::Succeeded,
            occurred_at: DateTime::parse_from_rfc3339(at).unwrap(),
            original_record_no: None,
            coupon: None,
        },
        booking: Some(Booking::ByFunder),
        open_break: None,
        is_reconciled: true,
        is_funded: false,
    }
}

fn payment(number: &str, minor_units: i64) -> Candidate {
    candidate(
        RecordKind::Payment,
        number,
        minor_units,
        "2026-03-02T10:00:00+08:00",
    )
}

fn refund(number: &str, of: &str, minor_units: i64) -> Candidate {
    let mut refund = candidate(
        RecordKind::Refund,
        number,
        minor_units,
        "2026-03-02T11:00:00+08:00",
    );
    refund.record.original_record_no = Some(of.parse().unwrap());
    refund
}

fn with_coupon(mut candidate: Candidate, minor_units: i64, funder: CouponFunder) -> Candidate {
    candidate.record.coupon = Some(Coupon {
        amount: cny(minor_units),
        funder,
    });
    candidate
}

/// The payments among candidates, as refunds find them.
fn originals(candidates: &[Candidate]) -> HashMap<Reference, Original> {
    let payments = candidates
        .iter()
        .filter(|it| it.record.kind == RecordKind::Payment);
    payments
        .map(|it| {
            let original = Original {
                record: it.record.clone(),
                booking: it.booking,
                settled: None,
                refunded_before: cny(0),
                given_back_before: cny(0),
            };
            (it.record.record_no.clone(), original)
        })
        .collect()
}

fn plan_of(merchant: &Merchant, previous: Option<Previous>, candidates: &[Candidate]) -> Plan {
    let originals = originals(candidates);
    plan_with(merchant, previous, candidates, &originals)
}

fn plan_with(
    merchant: &Merchant,
    previous: Option<Previous>,
    candidates: &[Candidate],
    originals: &HashMap<Reference, Original>,
) -> Plan {
    plan(&Books {
        merchant,
        calendar: &Calendar::find("CN").unwrap(),
        previous,
        candidates,
        originals,
        through: date("2026-03-02"),
        today: date("2026-03-03"),
        ceiling: None,
    })
    .unwrap()
}

fn draft_of(candidates: &[Candidate]) -> Draft {
    plan_of(&merchant(), None, candidates).draft.unwrap()
}

/// Number, credit and fee of each item.
fn lines(draft: &Draft) -> Vec<String> {
    let line = |item: &Item| {
        format!(
            "{} {} {}",
            item.record_no,
            item.credit.to_major_string(),
            item.merchant_fee.to_major_string()
        )
    };
    draft.items.iter().map(line).collect()
}

#[test]
fn payments_and_refunds_are_settled_with_their_fees() {
    let draft = draft_of(&[payment("P-1", 10_000), refund("R-1", "P-1", 2_500)]);
    assert_eq!(lines(&draft), ["P-1 100.00 0.60", "R-1 -25.00 -0.15"]);
    assert_eq!(draft.amounts.gross, cny(10_000));
    assert_eq!(draft.amounts.refunds, cny(2_500));
    assert_eq!(draft.amounts.merchant_fees, cny(45));
    assert_eq!(draft.amounts.net, cny(7_455));
    assert_eq!(draft.parts, [cny(7_455)]);
    assert_eq!(draft.state, SettlementState::Calculated);
    assert_eq!(draft.period.due_on, Some(date("2026-03-03")));
}

#[test]
fn coupons_are_paid_out_by_who_bears_them() {
    let line = |funder| {
        let draft = draft_of(&[with_coupon(payment("P-1", 10_000), 1_000, funder)]);
        let Amounts { gross, coupons, .. } = draft.amounts;
        (gross.minor_units(), coupons.minor_units())
    };
    assert_eq!(line(CouponFunder::Merchant), (9_000, 0));
    assert_eq!(line(CouponFunder::Channel), (9_000, 1_000));
    assert_eq!(line(CouponFunder::Platform), (9_000, 1_000));
    assert_eq!(line(CouponFunder::ThirdParty), (9_000, 1_000));
}

#[test]
fn a_coupon_that_takes_no_part_in_clearing_never_reaches_a_payout() {
    for funder in CouponFunder::ALL {
        let mut candidate = with_coupon(payment("P-1", 10_000), 1_000, *funder);
        candidate.booking = Some(Booking::CouponExcluded);
        let draft = draft_of(&[candidate]);
        assert_eq!(lines(&draft), ["P-1 90.00 0.54"], "{funder}");
        assert_eq!(draft.amounts.coupons, cny(0));
    }
}

#[test]
fn what_is_not_proved_is_withheld_alone_and_named() {
    let mut broken = payment("P-2", 500);
    broken.open_break = Some("amount_mismatch".to_owned());
    let mut unseen = payment("P-3", 500);
    unseen.is_reconciled = false;
    let mut unbooked = payment("P-4", 500);
    unbooked.booking = None;
    let early = candidate(RecordKind::Payment, "P-5", 500, "2025-12-31T10:00:00+08:00");
    let mut elsewhere = payment("P-6", 500);
    elsewhere.booking = Some(Booking::Direct);
    let all = [
        payment("P-1", 500),
        broken,
        unseen,
        unbooked,
        early,
        elsewhere,
    ];
    let plan = plan_of(&merchant(), None, &all);
    assert_eq!(lines(&plan.draft.unwrap()), ["P-1 5.00 0.03"]);
    let named: Vec<String> = plan
        .withheld
        .iter()
        .map(|it| format!("{} {}: {}", it.kind, it.record_no, it.reason))
        .collect();
    assert_eq!(
        named,
        [
            "payment P-2: it is in an open break (amount_mismatch)",
            "payment P-3: no statement of the channel has shown it yet",
            "payment P-4: it is not booked yet",
            "payment P-5: no fee contract holds on 2025-12-31",
            "payment P-6: its money is in the books otherwise",
        ]
    );
}

#[test]
fn the_basis_says_what_proof_is_enough() {
    let mut seen_by_nobody = payment("P-1", 500);
    seen_by_nobody.is_reconciled = false;
    let mut funded = payment("P-2", 500);
    funded.is_funded = true;
    let reconciled = payment("P-3", 500);
    let all = [seen_by_nobody, funded, reconciled];
    let settled = |basis| {
        let merchant = Merchant {
            settle_basis: basis,
            ..merchant()
        };
        let draft = plan_of(&merchant, None, &all).draft.unwrap();
        let numbers = draft.items.iter().map(|it| it.record_no.to_string());
        numbers.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(settled(SettleBasis::Captured), "P-1 P-2 P-3");
    assert_eq!(settled(SettleBasis::Reconciled), "P-2 P-3");
    assert_eq!(settled(SettleBasis::Funded), "P-2");
}

#[test]
fn business_after_the_last_day_is_not_settled_yet() {
    let late = "2026-03-03T00:00:00+08:00";
    let tomorrow = candidate(RecordKind::Payment, "P-2", 700, late);
    let draft = draft_of(&[payment("P-1", 500), tomorrow]);
    assert_eq!(lines(&draft), ["P-1 5.00 0.03"]);
    assert_eq!(draft.period.until, date("2026-03-03"));
}

fn previous(state: SettlementState, net: i64) -> Previous {
    Previous {
        sequence_no: 4,
        period_until: date("2026-03-02"),
        state,
        net: cny(net),
    }
}

#[test]
fn late_business_goes_into_the_next_settlement() {
    let before = "2026-02-27T10:00:00+08:00";
    let late = candidate(RecordKind::Payment, "P-1", 500, before);
    let paid = previous(SettlementState::Paid, 9_999);
    let draft = plan_of(&merchant(), Some(paid), &[late]).draft.unwrap();
    assert_eq!(draft.sequence_no, 5);
    assert_eq!(draft.period.from, date("2026-03-02"));
    assert_eq!(draft.amounts.carried, cny(0));
}

#[test]
fn what_is_negative_or_too_little_is_carried_over() {
    let loss = draft_of(&[refund("R-1", "P-0", 2_000)]);
    assert_eq!(loss.state, SettlementState::CarriedOver);
    assert_eq!(loss.amounts.net, cny(-2_000));
    assert!(loss.parts.is_empty());

    let carried = previous(SettlementState::CarriedOver, -2_000);
    let next = plan_of(&merchant(), Some(carried), &[payment("P-1", 2_050)]);
    let next = next.draft.unwrap();
    assert_eq!(next.amounts.carried, cny(-2_000));
    assert_eq!(next.amounts.net, cny(38), "below the minimum of 1.00");
    assert_eq!(next.state, SettlementState::CarriedOver);

    let little = previous(SettlementState::CarriedOver, 38);
    let paid = plan_of(&merchant(), Some(little), &[payment("P-2", 100)]);
    let paid = paid.draft.unwrap();
    assert_eq!(paid.amounts.net, cny(137));
    assert_eq!(paid.state, SettlementState::Calculated);
}

#[test]
fn what_was_carried_is_paid_when_the_minimum_is_lowered() {
    let little = previous(SettlementState::CarriedOver, 38);
    assert_eq!(plan_of(&merchant(), Some(little), &[]).draft, None);
    let lower = Merchant {
        minimum: cny(0),
        ..merchant()
    };
    let draft = plan_of(&lower, Some(little), &[]).draft.unwrap();
    assert_eq!(draft.parts, [cny(38)]);
    assert!(draft.items.is_empty());
}

#[test]
fn nothing_to_settle_is_no_settlement() {
    assert_eq!(plan_of(&merchant(), None, &[]).draft, None);
    let paid = previous(SettlementState::Paid, 500);
    assert_eq!(plan_of(&merchant(), Some(paid), &[]).draft, None);
}

#[test]
fn a_refund_of_an_earlier_payment_gives_back_what_is_left_of_its_fee() {
    let refund = refund("R-2", "P-0", 5_000);
    let mut earlier = payment("P-0", 10_000);
    // The contract of its day is not the contract of today.
    earlier.record.occurred_at = DateTime::parse_from_rfc3339("2025-11-01T10:00:00+08:00").unwrap();
    let original = Original {
        record: earlier.record.clone(),
        booking: earlier.booking,
        settled: Some((cny(10_000), cny(101))),
        refunded_before: cny(5_000),
        given_back_before: cny(51),
    };
    let originals = HashMap::from([(earlier.record.record_no, original)]);
    let merchant = Merchant {
        contracts: vec![
            FeeContract {
                valid_from: date("2025-01-01"),
                valid_until: Some(date("2025-12-31")),
                ..contract("0.01")
            },
            contract("0.006"),
        ],
        ..merchant()
    };
    let draft = plan_with(&merchant, None, &[refund], &originals)
        .draft
        .unwrap();
    assert_eq!(lines(&draft), ["R-2 -50.00 -0.50"]);
}

#[test]
fn a_part_is_held_back_of_what_the_period_earned() {
    let merchant = Merchant {
        reserve_rate: "0.1".parse().unwrap(),
        ..merchant()
    };
    let carried = previous(SettlementState::CarriedOver, -500);
    let draft = plan_of(&merchant, Some(carried), &[payment("P-1", 10_000)]);
    let draft = draft.draft.unwrap();
    assert_eq!(draft.amounts.reserve, cny(994));
    assert_eq!(draft.amounts.net, cny(10_000 - 60 - 994 - 500));
    let loss = plan_of(&merchant, None, &[refund("R-1", "P-0", 700)]);
    assert_eq!(loss.draft.unwrap().amounts.reserve, cny(0));
}

#[test]
fn a_settlement_says_the_same_in_whatever_order_its_items_come() {
    let (one, two) = (payment("P-1", 500), payment("P-2", 700));
    let there = draft_of(&[one.clone(), two.clone()]);
    let back = draft_of(&[two.clone(), one]);
    assert_eq!(there, back);
    let other = draft_of(&[payment("P-1", 501), two]);
    assert_ne!(there.digest, other.digest);
}

#[test]
fn a_net_above_the_ceiling_is_paid_in_parts() {
    let candidates = [payment("P-1", 100_000)];
    let plan = plan(&Books {
        merchant: &merchant(),
        calendar: &Calendar::find("CN").unwrap(),
        previous: None,
        candidates: &candidates,
        originals: &HashMap::new(),
        through: date("2026-03-02"),
        today: date("2026-03-02"),
        ceiling: Some(cny(40_000)),
    });
    let draft = plan.unwrap().draft.unwrap();
    assert_eq!(draft.parts, [cny(40_000), cny(40_000), cny(19_400)]);
}

/// A day of business: payments with coupons, refunds of them, some of it withheld.
fn any_business() -> impl Strategy<Value = Vec<Candidate>> {
    let funder = prop::sample::select(CouponFunder::ALL);
    let sale = (
        1..1_000_000_i64,
        0..100_i64,
        funder,
        any::<bool>(),
        0..10_u8,
    );
    let refunds = prop::collection::vec((0..20_usize, 0..100_i64), 0..10);
    (prop::collection::vec(sale, 1..20), refunds).prop_map(|(payments, refunds)| {
        let mut all: Vec<Candidate> = Vec::new();
        for (index, (minor, share, funder, is_excluded, luck)) in payments.iter().enumerate() {
            let number = format!("P-{index}");
            let mut candidate = with_coupon(
                payment(&number, *minor),
                percent_of(*minor, *share),
                *funder,
            );
            if *is_excluded {
                candidate.booking = Some(Booking::CouponExcluded);
            }
            if *luck == 0 {
                candidate.open_break = Some("fee_mismatch".to_owned());
            }
            candidate.record.occurred_at -= TimeDelta::hours(i64::from(*luck));
            all.push(candidate);
        }
        let mut left: Vec<i64> = payments.iter().map(|(minor, ..)| *minor).collect();
        for (index, (of, percent)) in refunds.iter().enumerate() {
            let of = of % payments.len();
            let minor = percent_of(left[of], *percent);
            left[of] -= minor;
            let mut refund = refund(&format!("R-{index}"), &format!("P-{of}"), minor);
            refund.booking = all[of].booking;
            all.push(refund);
        }
        all
    })
}

#[expect(clippy::integer_division, reason = "any part of it will do")]
const fn percent_of(minor: i64, percent: i64) -> i64 {
    minor * percent / 100
}

proptest! {
    #[test]
    fn nothing_is_lost_between_what_is_collected_and_what_is_paid(
        business in any_business(), reserve in 0..100_i64, carried in -100_000..100_000_i64, ceiling in 1_000_000..2_000_000_i64,
    ) {
        let merchant = Merchant { reserve_rate: Decimal::new(reserve, 2), ..merchant() };
        let before = previous(SettlementState::CarriedOver, carried);
        let originals = originals(&business);
        let plan = plan(&Books {
            merchant: &merchant,
            calendar: &Calendar::find("CN").unwrap(),
            previous: Some(before),
            candidates: &business,
            originals: &originals,
            through: date("2026-03-02"),
            today: date("2026-03-03"),
            ceiling: Some(cny(ceiling)),
        }).unwrap();
        let Some(draft) = plan.draft else { return Ok(()) };
        // Every candidate is settled or named, and none is both.
        prop_assert_eq!(draft.items.len() + plan.withheld.len(), business.len());
        let sum = |of: fn(&Item) -> Money| draft.items.iter().map(|it| of(it).minor_units()).sum::<i64>();
        let (credit, fees) = (sum(|it| it.credit), sum(|it| it.merchant_fee));
        let Amounts { gross, coupons, refunds, merchant_fees, reserve, carried, net } = draft.amounts;
        let [gross, coupons, refunds, merchant_fees, reserve, carried, net] =
            [gross, coupons, refunds, merchant_fees, reserve, carried, net].map(Money::minor_units);
        prop_assert_eq!(credit, gross + coupons - refunds);
        prop_assert_eq!(fees, merchant_fees);
        prop_assert_eq!(net + fees + reserve - carried, credit);
        prop_assert_eq!(draft.amounts.collected().unwrap().minor_units(), credit - fees);
        prop_assert!(reserve >= 0);
        // What is paid is the net, in parts that the bank takes, or nothing and all of it is carried.
        let parts: i64 = draft.parts.iter().map(|part| part.minor_units()).sum();
        if draft.state == SettlementState::Calculated {
            prop_assert_eq!(parts, net);
        } else {
            prop_assert!(draft.parts.is_empty());
            prop_assert!(net < 100);
        }
        prop_assert!(draft.parts.iter().all(|part| part.minor_units() <= ceiling));
    }

    #[test]
    fn a_payment_refunded_in_full_costs_the_merchant_nothing(
        minor in 1..1_000_000_i64, cuts in prop::collection::vec(0..100_i64, 0..6),
    ) {
        let mut business = vec![payment("P-1", minor)];
        let mut left = minor;
        for (index, percent) in cuts.iter().enumerate() {
            let part = percent_of(left, *percent);
            left -= part;
            business.push(refund(&format!("R-{index}"), "P-1", part));
        }
        business.push(refund("R-last", "P-1", left));
        let draft = draft_of(&business);
        prop_assert_eq!(draft.amounts.merchant_fees, cny(0));
        prop_assert_eq!(draft.amounts.net, cny(0));
    }

    #[test]
    fn settling_in_two_runs_comes_to_the_same_fees(
        minor in 1..1_000_000_i64, first in 0..=100_i64, second in 0..=100_i64,
    ) {
        let one = percent_of(minor, first);
        let two = percent_of(minor - one, second);
        let together = [payment("P-1", minor), refund("R-1", "P-1", one), refund("R-2", "P-1", two)];
        let at_once = draft_of(&together);
        let before = draft_of(&together[..2]);
        let settled = |number: &str| before.items.iter().find(|it| it.record_no.as_str() == number).unwrap();
        let (paid, refunded) = (settled("P-1"), settled("R-1"));
        let original = Original {
            record: together[0].record.clone(),
            booking: together[0].booking,
            settled: Some((paid.credit, paid.merchant_fee)),
            refunded_before: refunded.credit.checked_neg().unwrap(),
            given_back_before: refunded.merchant_fee.checked_neg().unwrap(),
        };
        let originals = HashMap::from([("P-1".parse().unwrap(), original)]);
        let after = plan_with(&merchant(), None, &together[2..], &originals).draft.unwrap();
        let fees = |draft: &Draft| draft.amounts.merchant_fees.minor_units();
        prop_assert_eq!(fees(&at_once), fees(&before) + fees(&after));
    }
}

#[test]
fn a_refund_of_a_payment_that_is_not_the_merchants_is_withheld_alone() {
    let mut of_another = payment("P-2", 5_000);
    of_another.record.merchant_id = "M-2".parse().unwrap();
    let mut in_dollars = payment("P-3", 5_000);
    in_dollars.record.amount = Money::from_minor(5_000, Currency::parse("USD").unwrap());
    let originals = originals(&[payment("P-1", 10_000), of_another, in_dollars]);
    let candidates = [
        refund("R-1", "P-1", 1_000),
        refund("R-2", "P-2", 1_000),
        refund("R-3", "P-3", 1_000),
        refund("R-4", "unknown", 1_000),
    ];
    let plan = plan_with(&merchant(), None, &candidates, &originals);
    let settled: Vec<String> = lines(&plan.draft.unwrap());
    assert_eq!(settled, ["R-1 -10.00 -0.06", "R-4 -10.00 0.00"]);
    let withheld: Vec<_> = plan.withheld.into_iter().map(|it| it.reason).collect();
    let foreign = |number: &str| WithheldReason::ForeignPayment(number.parse().unwrap());
    assert_eq!(withheld, [foreign("P-2"), foreign("P-3")]);
}
