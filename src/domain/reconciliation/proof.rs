//! Proves that nothing was lost between the inputs and the breaks.
//!
//! The cash of all lines minus the cash of all records that were expected to have one must be what the breaks put at
//! risk, plus what is suspended, plus what only another statement can tell: for every currency, to the last minor
//! unit. The left side is summed from the inputs, the right side was booked while judging.

use std::collections::BTreeMap;

use clearday_jobs::{Currency, Money};

use super::entry::{Entries, Facts};
use super::{BreakName, Disposition};

type Sums = BTreeMap<Currency, i128>;

/// What explains the difference between the two sides.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Signed, in minor units.
    explained: Sums,
    /// The cash of records that need no line.
    not_expected: Sums,
    /// Whether an entry was given two dispositions, or one that does not exist was given any.
    is_broken: bool,
}

impl Ledger {
    /// Writes a disposition into its place, which must be there and empty.
    pub(super) fn dispose(
        &mut self,
        place: Option<&mut Option<Disposition>>,
        disposition: Disposition,
    ) {
        match place {
            Some(place @ None) => *place = Some(disposition),
            Some(Some(_)) | None => self.is_broken = true,
        }
    }

    /// A break explains the cash it puts at risk; fees are no cash of the two sides.
    pub(super) fn explained(&mut self, name: BreakName, at_risk: Money) {
        if name != BreakName::FeeMismatch {
            book(
                &mut self.explained,
                at_risk.currency(),
                at_risk.minor_units().into(),
            );
        }
    }

    /// In another currency, our side of a pair is in no break.
    pub(super) fn incomparable(&mut self, theirs: &Facts, ours: &Facts) {
        if theirs.amount.currency() != ours.amount.currency() {
            book(
                &mut self.explained,
                ours.amount.currency(),
                ours.cash().saturating_neg(),
            );
        }
    }

    /// A suspended pair explains its own difference.
    pub(super) fn suspended(&mut self, theirs: &Facts, ours: &Facts) {
        let difference = theirs.cash().saturating_sub(ours.cash());
        book(&mut self.explained, theirs.amount.currency(), difference);
    }

    /// A reversal whose payment is on another statement.
    pub(super) fn told_elsewhere(&mut self, reversal: &Facts) {
        book(
            &mut self.explained,
            reversal.amount.currency(),
            reversal.cash(),
        );
    }

    /// A record that needs no line is left out of our side.
    pub(super) fn not_expected(&mut self, record: &Facts) {
        book(
            &mut self.not_expected,
            record.amount.currency(),
            record.cash(),
        );
    }

    /// Whether both sides, summed anew, differ by exactly what was explained.
    pub(super) fn proves(&self, theirs: &Entries, lines: &[Disposition], ours: &Entries) -> bool {
        let mut difference = Sums::new();
        for (line, disposition) in theirs.all_facts().iter().zip(lines) {
            if *disposition != Disposition::Repeated {
                book(&mut difference, line.amount.currency(), line.cash());
            }
        }
        for record in ours.all_facts() {
            let currency = record.amount.currency();
            book(&mut difference, currency, record.cash().saturating_neg());
        }
        for (currency, cash) in &self.not_expected {
            book(&mut difference, *currency, *cash);
        }
        for (currency, cash) in &self.explained {
            book(&mut difference, *currency, cash.saturating_neg());
        }
        !self.is_broken && difference.values().all(|left| *left == 0)
    }
}

fn book(sums: &mut Sums, currency: Currency, minor_units: i128) {
    let sum = sums.entry(currency).or_default();
    *sum = sum.saturating_add(minor_units);
}
