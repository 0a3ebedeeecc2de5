//! What is wrong with a pair, if anything.

use clearday_jobs::Money;
use rust_decimal::{Decimal, RoundingStrategy};

use super::entry::Facts;
use super::{BreakName, SuspenseRule};
use crate::domain::record::RecordStatus;

/// One attribute on which a pair differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) name: BreakName,
    pub(super) at_risk: Money,
}

/// The outcome of comparing a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Every attribute that differs, each once.
    pub(super) differences: Vec<Difference>,
    /// Why its status cannot be decided yet.
    pub(super) suspense: Option<SuspenseRule>,
}

impl Verdict {
    /// Whether no row carries the difference in cash, because it is not certain yet.
    pub(super) fn leaves_cash_open(&self) -> bool {
        let carries_cash = |difference: &Difference| difference.name != BreakName::FeeMismatch;
        self.suspense.is_some() && !self.differences.iter().any(carries_cash)
    }
}

/// Compares what both sides say of one fact.
///
/// Amounts and fees in two currencies are not comparable, so a currency that differs speaks for them. The difference
/// in cash stands on one row only: of the currency, else of the status, else of the amount. The difference in fees
/// stands on its own.
pub(super) fn decide_verdict(theirs: &Facts, ours: &Facts) -> Verdict {
    let mut differing = Vec::new();
    let is_comparable = theirs.amount.currency() == ours.amount.currency();
    if !is_comparable {
        differing.push(BreakName::CurrencyMismatch);
    }
    let status = decide_status(theirs.status, ours.status);
    if status == StatusVerdict::Differ {
        differing.push(BreakName::StatusMismatch);
    }
    if is_comparable && theirs.amount != ours.amount {
        differing.push(BreakName::AmountMismatch);
    }
    // A fee is given back with its refund, so until the channel is done neither side can be wrong about it.
    let is_fee_settled = theirs.status != RecordStatus::Pending;
    if is_comparable && is_fee_settled && theirs.fee != ours.fee {
        differing.push(BreakName::FeeMismatch);
    }

    Verdict {
        differences: with_risks(&differing, theirs, ours),
        suspense: (status == StatusVerdict::Open).then_some(SuspenseRule::RefundProcessing),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusVerdict {
    Agree,
    /// The channel has not decided, and ours does not contradict it.
    Open,
    Differ,
}

/// A pending line (退款处理中) is a snapshot that the channel never corrects: while our record waits or has learned of
/// the success elsewhere, only a query or the fund bill can tell. Failed and closed are both "no money moved".
fn decide_status(theirs: RecordStatus, ours: RecordStatus) -> StatusVerdict {
    match theirs {
        RecordStatus::Pending => match ours {
            RecordStatus::Pending | RecordStatus::Succeeded => StatusVerdict::Open,
            RecordStatus::Failed | RecordStatus::Closed => StatusVerdict::Differ,
        },
        RecordStatus::Succeeded if ours.moved_money() => StatusVerdict::Agree,
        RecordStatus::Failed | RecordStatus::Closed if ours.ended_without_money() => {
            StatusVerdict::Agree
        }
        RecordStatus::Succeeded | RecordStatus::Failed | RecordStatus::Closed => {
            StatusVerdict::Differ
        }
    }
}

fn with_risks(differing: &[BreakName], theirs: &Facts, ours: &Facts) -> Vec<Difference> {
    let currency = theirs.amount.currency();
    let mut cash = theirs.cash();
    if currency == ours.amount.currency() {
        cash = cash.saturating_sub(ours.cash());
    }
    let mut differences = Vec::with_capacity(differing.len());
    for &name in differing {
        let minor_units = if name == BreakName::FeeMismatch {
            fee_half_even(ours.fee.saturating_sub(theirs.fee), currency.exponent())
        } else {
            std::mem::take(&mut cash)
        };
        let at_risk = Money::from_minor(bounded(minor_units), currency);
        differences.push(Difference { name, at_risk });
    }
    differences
}

/// A difference of fees in minor units, half to even; the fees themselves were compared unrounded.
fn fee_half_even(fee: Decimal, decimal_places: u32) -> i128 {
    let rounded = fee.round_dp_with_strategy(decimal_places, RoundingStrategy::MidpointNearestEven);
    let mut scaled = rounded;
    scaled.rescale(decimal_places);
    scaled.mantissa()
}

/// Sums of amounts that fit an `i64` each; what does not fit is caught by the proof, which does not use this.
pub(super) fn bounded(minor_units: i128) -> i64 {
    let bound = if minor_units < 0 { i64::MIN } else { i64::MAX };
    minor_units.try_into().unwrap_or(bound)
}
