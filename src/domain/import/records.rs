//! Decides what a row of an imported file of records changes.
//!
//! What a record is (its channel, merchant, money and original) never changes; how it went may:
//! its status, its fee, and the channel's number for it. When it happened changes only together
//! with its status: a pending payment gets the time of its success.

use chrono::SubsecRound;

use super::{Refusal, RefusedRow};
use crate::domain::record::{Record, RecordStatus};

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

/// How a known record stands, as far as that limits what a file may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is in the ledger, or known to need no place there.
    pub is_booked: bool,
    /// A job of ours found the payment at its channel and wrote it down; upstream did not.
    pub is_taken: bool,
}

/// Decides what a row makes of a record that is known; none when it tells nothing new.
///
/// A record that is booked, or was found at its channel, stays succeeded. Of a payment that we found ourselves
/// upstream's clock, and what it did not know yet, are no contradiction: the channel told us when, and under which
/// number.
///
/// # Errors
/// The column that contradicts what is known.
pub fn decide_record_update(
    known: &Record,
    standing: Standing,
    told: &Record,
) -> Result<Option<Record>, Refusal> {
    let told = if standing.is_taken {
        &as_it_was_found(known, told)
    } else {
        told
    };
    let is_as_before = known.status == told.status;
    let gains_coupon = standing.is_taken && !standing.is_booked && known.coupon.is_none();
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
        (
            "coupon_amount",
            gains_coupon || coupon_amount(known) == coupon_amount(told),
        ),
        ("coupon_funder", gains_coupon || known.coupon == told.coupon),
        (
            "status",
            is_as_before || !(standing.is_booked || standing.is_taken),
        ),
        (
            "occurred_at",
            !is_as_before || known.occurred_at == told.occurred_at,
        ),
    ];
    if let Some((column, _)) = lasting.into_iter().find(|(_, is_same)| !is_same) {
        let (kind, number) = (known.kind, &known.record_no);
        let reason = match column {
            "occurred_at" => format!("{kind} {number} has another one, and the same status"),
            "status" if standing.is_booked => {
                format!(
                    "{kind} {number} is booked as {}, and stays so",
                    known.status
                )
            }
            "status" => format!(
                "{kind} {number} was found at its channel, and stays {}",
                known.status
            ),
            _ => format!("{kind} {number} has another one, and that never changes"),
        };
        return Err(Refusal::new(column, reason));
    }
    Ok((known != told).then(|| told.clone()))
}

/// What upstream tells of a payment that we found, with what the channel told us.
fn as_it_was_found(known: &Record, told: &Record) -> Record {
    let (status, occurred_at) = match told.status {
        // Older news than ours.
        RecordStatus::Pending => (known.status, known.occurred_at),
        RecordStatus::Succeeded => (told.status, known.occurred_at),
        RecordStatus::Failed | RecordStatus::Closed => (told.status, told.occurred_at),
    };
    Record {
        status,
        occurred_at,
        channel_trade_no: told
            .channel_trade_no
            .clone()
            .or_else(|| known.channel_trade_no.clone()),
        // Upstream need not repeat a coupon that it told once.
        coupon: told.coupon.or(known.coupon),
        ..told.clone()
    }
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
        answer_about(&known(), Standing::default(), change)
    }

    fn answer_about(
        known: &Record,
        standing: Standing,
        change: impl FnOnce(&mut Record),
    ) -> String {
        let mut told = known.clone();
        change(&mut told);
        match decide_record_update(known, standing, &told) {
            Ok(Some(_)) => "Changed".to_owned(),
            Ok(None) => "Unchanged".to_owned(),
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

    fn succeeded() -> Record {
        Record {
            status: RecordStatus::Succeeded,
            channel_trade_no: Some("T1".parse().unwrap()),
            ..known()
        }
    }

    #[test]
    fn a_booked_record_stays_succeeded_and_its_fee_may_change() {
        let booked = Standing {
            is_booked: true,
            is_taken: false,
        };
        let answer = |change: fn(&mut Record)| answer_about(&succeeded(), booked, change);
        assert_eq!(
            answer(|told| told.status = RecordStatus::Closed),
            "status: payment A1 is booked as succeeded, and stays so"
        );
        assert_eq!(answer(|told| told.fee = money(9, "CNY")), "Changed");
        assert_eq!(answer(|told| told.channel_trade_no = None), "Changed");
        let not_yet = answer_about(&succeeded(), Standing::default(), |told| {
            told.status = RecordStatus::Closed;
        });
        assert_eq!(not_yet, "Changed");
    }

    #[test]
    fn what_was_found_at_the_channel_is_completed_by_upstream_and_not_contradicted() {
        let (found, booked) = (
            Standing {
                is_booked: false,
                is_taken: true,
            },
            Standing {
                is_booked: true,
                is_taken: true,
            },
        );
        let coupon = Coupon {
            amount: money(1, "CNY"),
            funder: CouponFunder::Channel,
        };
        for standing in [found, booked] {
            let answer = |change: fn(&mut Record)| answer_about(&succeeded(), standing, change);
            let later = |told: &mut Record| {
                told.occurred_at = "2026-03-02T09:00:01+08:00".parse().unwrap();
            };
            assert_eq!(answer(later), "Unchanged");
            assert_eq!(answer(|told| told.channel_trade_no = None), "Unchanged");
            assert_eq!(
                answer(|told| told.status = RecordStatus::Pending),
                "Unchanged"
            );
            assert_eq!(answer(|told| told.fee = money(9, "CNY")), "Changed");
            let failed = answer(|told| told.status = RecordStatus::Failed);
            assert!(failed.ends_with("and stays succeeded") || failed.ends_with("and stays so"));
        }
        let told = Record {
            coupon: Some(coupon),
            ..succeeded()
        };
        let gains = decide_record_update(&succeeded(), found, &told).unwrap();
        assert_eq!(gains.unwrap().coupon, Some(coupon));
        let refused = decide_record_update(&succeeded(), booked, &told).unwrap_err();
        assert!(
            refused.to_string().starts_with("coupon_amount"),
            "{refused}"
        );
        let silent = decide_record_update(&told, booked, &succeeded()).unwrap();
        assert_eq!(silent, None, "a coupon need not be told twice");
    }
}
