//! Decides how a record comes into the books.
//!
//! A record that succeeded is booked once, and so is its money: what identifies a payment is the
//! channel's trade number, or the record's own number where the channel's is not known; what
//! identifies a refund is always its own number. The channel knows a refund by that number (商户退款单号),
//! several refunds share the trade number of their payment, and not every upstream tells the channel's
//! number of a refund. Money that is in the books already (found late, or told by another record) is not booked
//! a second time.

use chrono::NaiveDate;
use clearday_jobs::{Money, Reference};

use super::events::{
    Built, Occasion, capture, channel_fee, late_money_returned, record_subject, refund,
};
use super::{Booking, Entry, Fact, FactKey, FactKind, FactSource, LedgerError};
use crate::domain::china::china_day;
use crate::domain::merchant::{CouponRule, FundsFlow};
use crate::domain::record::{Record, RecordKind};

/// A record with what is known of it beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookable {
    /// The record.
    pub record: Record,
    /// The channel's trade number where the record does not tell it: from the reference that was paid.
    pub trade_no: Option<Reference>,
    /// Of a refund: how its payment is booked, where it is known.
    pub payment_booking: Option<Booking>,
    /// Of a refund: whether its payment came late, so that it takes back what was never a merchant's.
    pub is_of_late_money: bool,
    /// The channel's fee that is booked.
    pub booked_fee: Option<Money>,
    /// In how many entries.
    pub fee_entries: i64,
}

/// What is known of a fact before a record is booked on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFact {
    /// How much.
    pub amount: Money,
    /// Who told it first.
    pub source: FactSource,
    /// Whether an entry books it.
    pub is_booked: bool,
}

/// How a record comes into the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBooking {
    /// By which rule.
    pub booking: Booking,
    /// What it posts; nothing where no money of ours moved.
    pub entry: Option<Entry>,
    /// The channel's fee.
    pub fee: Option<Entry>,
    /// The fact that is booked with it.
    pub fact: Option<Fact>,
}

/// The numbers under which the money of a record may be known already; the first is its own.
pub fn fact_keys(it: &Bookable) -> Vec<FactKey> {
    let record = &it.record;
    let (kind, trade_no) = match record.kind {
        RecordKind::Payment => {
            let told = record.channel_trade_no.as_ref().or(it.trade_no.as_ref());
            (FactKind::Capture, told)
        }
        RecordKind::Refund => (FactKind::Refund, None),
    };
    let numbers = trade_no.into_iter().chain([&record.record_no]);
    let keys = numbers.map(|number| FactKey {
        account: record.channel.clone(),
        kind,
        external_no: number.to_string(),
    });
    keys.collect()
}

/// The rule a merchant's policy makes. It holds for what is booked from then on; of a merchant who is
/// not known, coupons go by their funder.
pub const fn rule_of(funds_flow: FundsFlow, coupons: CouponRule) -> Booking {
    match funds_flow {
        FundsFlow::Direct => Booking::Direct,
        FundsFlow::Collected => match coupons {
            CouponRule::ByFunder => Booking::ByFunder,
            CouponRule::Excluded => Booking::CouponExcluded,
        },
    }
}

/// A refund takes back what its payment gave, whatever rule its merchant has by now.
fn rule_for(it: &Bookable, of_merchant: Booking) -> Booking {
    match it.payment_booking {
        Some(rule @ (Booking::ByFunder | Booking::CouponExcluded | Booking::Direct)) => rule,
        Some(Booking::Elsewhere) | None => of_merchant,
    }
}

/// Decides how a record is booked: by the rule of its merchant, unless its money is booked otherwise.
///
/// `known` tells of each of [`fact_keys`].
pub fn decide_booking(
    it: &Bookable,
    rule: Booking,
    known: impl Fn(&FactKey) -> Option<KnownFact>,
) -> Result<RecordBooking, LedgerError> {
    let record = &it.record;
    let keys = fact_keys(it);
    let is_taken = keys
        .iter()
        .filter_map(known)
        .any(|fact| fact.is_booked || told_otherwise(fact, record));
    if it.is_of_late_money && !is_taken {
        return Ok(RecordBooking {
            booking: Booking::Elsewhere,
            entry: return_of_late_money(record)?,
            fee: None,
            fact: keys.into_iter().next().map(|key| fact_of(record, key)),
        });
    }
    let booking = if is_taken {
        Booking::Elsewhere
    } else {
        rule_for(it, rule)
    };
    Ok(match booking {
        Booking::ByFunder | Booking::CouponExcluded => RecordBooking {
            booking,
            entry: entry_of(record, booking)?,
            fee: fee_of(it, china_day(&record.occurred_at))?,
            fact: keys.into_iter().next().map(|key| fact_of(record, key)),
        },
        Booking::Direct => RecordBooking {
            booking,
            entry: None,
            fee: None,
            fact: keys.into_iter().next().map(|key| fact_of(record, key)),
        },
        Booking::Elsewhere => RecordBooking {
            booking,
            entry: None,
            fee: None,
            fact: None,
        },
    })
}

/// A payer got back what nobody owed.
fn return_of_late_money(record: &Record) -> Built {
    let subject = record_subject(record.kind, &record.record_no);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: china_day(&record.occurred_at),
    };
    late_money_returned(occasion, &record.channel, record.amount)
}

/// A fact of another record, or of another amount.
fn told_otherwise(fact: KnownFact, record: &Record) -> bool {
    fact.source == FactSource::Record || fact.amount != record.amount
}

/// What a record posts under a rule, but for the channel's fee.
pub fn entry_of(record: &Record, booking: Booking) -> Built {
    match record.kind {
        RecordKind::Payment => capture(record, booking),
        RecordKind::Refund => refund(record, booking),
    }
}

/// The channel's fee as far as it is not booked: all of it, or the difference that a correction makes.
pub fn fee_of(it: &Bookable, accounting_on: NaiveDate) -> Built {
    let fee = match it.booked_fee {
        None => it.record.fee,
        Some(booked) => it.record.fee.checked_sub(booked)?,
    };
    let number = it.fee_entries.saturating_add(1);
    channel_fee(&it.record, number, fee, accounting_on)
}

fn fact_of(record: &Record, key: FactKey) -> Fact {
    Fact {
        key,
        amount: record.amount,
        occurred_at: record.occurred_at.to_utc(),
        source: FactSource::Record,
        evidence: record_subject(record.kind, &record.record_no),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::Currency;

    use crate::domain::record::RecordStatus;

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn bookable(kind: RecordKind, channel_no: Option<&str>) -> Bookable {
        Bookable {
            record: Record {
                record_no: "R1".parse().unwrap(),
                kind,
                channel: "wechat".parse().unwrap(),
                channel_trade_no: channel_no.map(|number| number.parse().unwrap()),
                merchant_id: "shop".parse().unwrap(),
                amount: cny(1_000),
                fee: cny(6),
                status: RecordStatus::Succeeded,
                occurred_at: "2026-03-02T09:00:00+08:00".parse().unwrap(),
                original_record_no: None,
                coupon: None,
            },
            trade_no: None,
            payment_booking: None,
            is_of_late_money: false,
            booked_fee: None,
            fee_entries: 0,
        }
    }

    fn keys(it: &Bookable) -> Vec<String> {
        fact_keys(it)
            .iter()
            .map(|key| format!("{} {}", key.kind, key.external_no))
            .collect()
    }

    #[test]
    fn a_payment_is_known_by_the_channels_number_and_a_refund_by_ours() {
        let (payment, refund) = (RecordKind::Payment, RecordKind::Refund);
        assert_eq!(keys(&bookable(payment, None)), ["capture R1"]);
        let told = bookable(payment, Some("T1"));
        assert_eq!(keys(&told), ["capture T1", "capture R1"]);
        let mut found = bookable(payment, None);
        found.trade_no = Some("T2".parse().unwrap());
        assert_eq!(keys(&found), ["capture T2", "capture R1"]);
        assert_eq!(keys(&bookable(refund, Some("T1"))), ["refund R1"]);
    }

    fn answer(rule: Booking, fact: Option<KnownFact>, under: &str) -> String {
        let it = bookable(RecordKind::Payment, Some("T1"));
        let known = |key: &FactKey| fact.filter(|_| key.external_no == under);
        let told = decide_booking(&it, rule, known).unwrap();
        let identity = |entry: Option<Entry>| entry.map_or("-".to_owned(), |it| it.identity);
        format!(
            "{}: {} {} {}",
            told.booking,
            identity(told.entry),
            identity(told.fee),
            told.fact
                .map_or("-".to_owned(), |fact| fact.key.external_no)
        )
    }

    #[test]
    fn money_that_is_booked_otherwise_is_not_booked_again() {
        let rule = Booking::ByFunder;
        let booked = "by_funder: payment:R1/capture payment:R1/channel_fee/1 T1";
        let fact = |source, amount, is_booked| {
            Some(KnownFact {
                amount: cny(amount),
                source,
                is_booked,
            })
        };
        assert_eq!(answer(rule, None, "T1"), booked);
        let statement = fact(FactSource::Statement, 1_000, false);
        assert_eq!(
            answer(rule, statement, "T1"),
            booked,
            "it waits to be booked"
        );
        for under in ["T1", "R1"] {
            for taken in [
                fact(FactSource::Query, 1_000, true),
                fact(FactSource::Query, 999, false),
                fact(FactSource::Record, 1_000, false),
            ] {
                assert_eq!(answer(rule, taken, under), "elsewhere: - - -", "{taken:?}");
            }
        }
        assert_eq!(answer(Booking::Direct, None, "T1"), "direct: - - T1");
    }

    #[test]
    fn a_refund_goes_by_the_rule_of_its_payment() {
        let told = |payment_booking, of_merchant| {
            let mut it = bookable(RecordKind::Refund, None);
            it.payment_booking = payment_booking;
            decide_booking(&it, of_merchant, |_| None).unwrap().booking
        };
        for of_merchant in [Booking::ByFunder, Booking::CouponExcluded, Booking::Direct] {
            assert_eq!(told(None, of_merchant), of_merchant);
            assert_eq!(told(Some(Booking::Elsewhere), of_merchant), of_merchant);
            for of_payment in [Booking::ByFunder, Booking::CouponExcluded, Booking::Direct] {
                assert_eq!(told(Some(of_payment), of_merchant), of_payment);
            }
        }
    }

    #[test]
    fn a_policy_makes_a_rule() {
        let (collected, direct) = (FundsFlow::Collected, FundsFlow::Direct);
        let (by_funder, excluded) = (CouponRule::ByFunder, CouponRule::Excluded);
        assert_eq!(rule_of(collected, by_funder), Booking::ByFunder);
        assert_eq!(rule_of(collected, excluded), Booking::CouponExcluded);
        assert_eq!(rule_of(direct, by_funder), Booking::Direct);
        assert_eq!(rule_of(direct, excluded), Booking::Direct);
    }

    #[test]
    fn a_corrected_fee_is_booked_as_the_difference() {
        let today: NaiveDate = "2026-03-05".parse().unwrap();
        let mut it = bookable(RecordKind::Payment, None);
        let told = |it: &Bookable| {
            fee_of(it, today)
                .unwrap()
                .map_or("nothing".to_owned(), |entry| {
                    let posting = &entry.postings()[0];
                    let (debit, amount) = (posting.debit().account, posting.amount().minor_units());
                    format!(
                        "{} {} {debit} {amount}",
                        entry.identity, entry.accounting_on
                    )
                })
        };
        assert_eq!(
            told(&it),
            "payment:R1/channel_fee/1 2026-03-05 channel_fee 6"
        );
        (it.booked_fee, it.fee_entries) = (Some(cny(6)), 1);
        assert_eq!(told(&it), "nothing");
        it.record.fee = cny(4);
        assert_eq!(
            told(&it),
            "payment:R1/channel_fee/2 2026-03-05 channel_receivable 2"
        );
        (it.booked_fee, it.fee_entries) = (Some(cny(4)), 2);
        it.record.fee = cny(6);
        assert_eq!(
            told(&it),
            "payment:R1/channel_fee/3 2026-03-05 channel_fee 2"
        );
    }
}
