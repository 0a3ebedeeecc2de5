//! Decides what a row of an imported file of records changes.
//!
//! What a record is (its channel, merchant, money and original) never changes; how it went may:
//! its status, its fee, and the channel's number for it. When it happened changes only together
//! with its status: a pending payment gets the time of its success.

use chrono::SubsecRound;

use super::{Refusal, RefusedRow, RowEffect};
use crate::domain::record::Record;

/// Both databases keep microseconds; a finer instant would not come back equal.
const SUBSECOND_DIGITS: u16 = 6;

/// A record as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// The line, counted from 1.
    pub line: u64,
    /// The record.
    pub record: Record,
}

/// The records of a file in the order of their keys, each once: imports that all go in that order wait for each other
/// and never crosswise, and rows go to one end of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    rows: Vec<RecordRow>,
    repeated: u64,
}

impl RecordBatch {
    /// Sorts rows; a record that is there twice is left out once, if it says the same.
    ///
    /// # Errors
    /// The later of two rows that say different things of one record.
    pub fn new(mut rows: Vec<RecordRow>) -> Result<Self, RefusedRow> {
        for row in &mut rows {
            row.record.occurred_at = row.record.occurred_at.trunc_subsecs(SUBSECOND_DIGITS);
        }
        rows.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        for (one, other) in rows.iter().zip(rows.iter().skip(1)) {
            if one.record.key() == other.record.key() && one.record != other.record {
                let (kind, number) = other.record.key();
                return Err(RefusedRow {
                    line: other.line,
                    column: "record_no",
                    reason: format!("{kind} {number} is on line {} with other values", one.line),
                });
            }
        }
        let before = rows.len();
        rows.dedup_by(|one, other| one.record.key() == other.record.key());
        let repeated = u64::try_from(before.saturating_sub(rows.len())).unwrap_or(u64::MAX);
        Ok(Self { rows, repeated })
    }

    /// Each record once, in order.
    pub fn rows(&self) -> &[RecordRow] {
        &self.rows
    }

    /// How many rows were left out.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }
}

impl RecordRow {
    fn place(&self) -> (impl Ord + '_, u64) {
        (self.record.key(), self.line)
    }
}

/// Decides whether a row changes a record that is known, or contradicts it.
pub fn decide_record_update(known: &Record, told: &Record) -> Result<RowEffect, Refusal> {
    let is_as_before = known.status == told.status;
    let lasting = [
        ("channel", known.channel == told.channel),
        ("merchant_id", known.merchant_id == told.merchant_id),
        (
            "currency",
            known.amount.currency() == told.amount.currency(),
        ),
        ("amount", known.amount == told.amount),
        (
            "original_record_no",
            known.original_record_no == told.original_record_no,
        ),
        ("coupon_amount", coupon_amount(known) == coupon_amount(told)),
        ("coupon_funder", known.coupon == told.coupon),
        (
            "occurred_at",
            !is_as_before || known.occurred_at == told.occurred_at,
        ),
    ];
    if let Some((column, _)) = lasting.into_iter().find(|(_, is_same)| !is_same) {
        let (kind, number) = (known.kind, &known.record_no);
        let reason = match column {
            "occurred_at" => format!("{kind} {number} has another one, and the same status"),
            _ => format!("{kind} {number} has another one, and that never changes"),
        };
        return Err(Refusal::new(column, reason));
    }
    let tells_nothing_new =
        is_as_before && known.fee == told.fee && known.channel_trade_no == told.channel_trade_no;
    Ok(if tells_nothing_new {
        RowEffect::Unchanged
    } else {
        RowEffect::Changed
    })
}

fn coupon_amount(record: &Record) -> Option<i64> {
    record.coupon.map(|coupon| coupon.amount.minor_units())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::{Currency, Money};

    use crate::domain::record::{Coupon, CouponFunder, RecordKind, RecordStatus};

    fn money(minor_units: i64, currency: &str) -> Money {
        Money::from_minor(minor_units, Currency::parse(currency).unwrap())
    }

    fn known() -> Record {
        Record {
            record_no: "A1".parse().unwrap(),
            kind: RecordKind::Payment,
            channel: "wechat_pay".parse().unwrap(),
            channel_trade_no: None,
            merchant_id: "M1".parse().unwrap(),
            amount: money(1_230, "CNY"),
            fee: money(7, "CNY"),
            status: RecordStatus::Pending,
            occurred_at: "2026-03-02T09:00:00+08:00".parse().unwrap(),
            original_record_no: None,
            coupon: None,
        }
    }

    fn answer(change: impl FnOnce(&mut Record)) -> String {
        let mut told = known();
        change(&mut told);
        match decide_record_update(&known(), &told) {
            Ok(effect) => format!("{effect:?}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn what_a_record_is_never_changes() {
        let never =
            |column: &str| format!("{column}: payment A1 has another one, and that never changes");
        let coupon = |funder| Coupon {
            amount: money(1, "CNY"),
            funder,
        };
        assert_eq!(
            answer(|told| told.channel = "alipay".parse().unwrap()),
            never("channel")
        );
        assert_eq!(
            answer(|told| told.merchant_id = "M2".parse().unwrap()),
            never("merchant_id")
        );
        assert_eq!(
            answer(|told| told.amount = money(1_231, "CNY")),
            never("amount")
        );
        assert_eq!(
            answer(|told| told.amount = money(1_230, "USD")),
            never("currency")
        );
        assert_eq!(
            answer(|told| told.original_record_no = Some("A0".parse().unwrap())),
            never("original_record_no")
        );
        assert_eq!(
            answer(|told| told.coupon = Some(coupon(CouponFunder::Channel))),
            never("coupon_amount")
        );
    }

    #[test]
    fn how_it_went_may_change() {
        assert_eq!(answer(|_| ()), "Unchanged");
        assert_eq!(
            answer(|told| told.status = RecordStatus::Succeeded),
            "Changed"
        );
        assert_eq!(answer(|told| told.fee = money(0, "CNY")), "Changed");
        assert_eq!(
            answer(|told| told.channel_trade_no = Some("T1".parse().unwrap())),
            "Changed"
        );
    }

    #[test]
    fn the_time_moves_with_the_status_only_and_its_zone_says_nothing() {
        let utc = "2026-03-02T01:00:00Z".parse().unwrap();
        assert_eq!(answer(|told| told.occurred_at = utc), "Unchanged");
        let later = "2026-03-02T09:00:01+08:00".parse().unwrap();
        assert_eq!(
            answer(|told| told.occurred_at = later),
            "occurred_at: payment A1 has another one, and the same status"
        );
        let succeeded = answer(|told| {
            told.occurred_at = later;
            told.status = RecordStatus::Succeeded;
        });
        assert_eq!(succeeded, "Changed");
    }
}
