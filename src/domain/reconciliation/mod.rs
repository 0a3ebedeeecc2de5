//! Proves that our books agree with the channel's statement, and names every place where they do not.
//!
//! [`reconcile`] takes the channel's lines, our records and the days the statements cover; it gives every line and
//! every record exactly one [`Disposition`], every difference one [`Break`], and proves at the end that nothing was
//! lost on the way. Which line meets which record is told in [`pairing`].
//!
//! # What is compared
//!
//! | | the channel's line | our record |
//! |---|---|---|
//! | a payment's amount | 订单金额 (before November 2018 总金额) | `amount` |
//! | a refund's amount | 申请退款金额 (before November 2018 退款金额) | `amount` |
//! | the fee | 手续费, exact to its last digit; negative when given back | `fee` |
//! | the status of a payment | `succeeded`: unpaid orders have no line | `status` |
//! | the status of a refund | 退款状态: SUCCESS, PROCESSING (`pending`), CHANGE (`failed`), REFUNDCLOSE (`closed`) | `status` |
//!
//! `failed` and `closed` agree with each other: no money moved. A fee finer than the minor unit equals no fee of ours,
//! because nothing is rounded before it is compared.
//!
//! # What a break is worth
//!
//! `at_risk` is the channel's signed cash minus ours: a payment counts positive, a refund negative, a missing side
//! and whatever did not succeed count zero. Positive is long (长款: the channel holds more for us than we know of),
//! negative is short (短款). When a pair differs on several attributes, its cash stands on one row only (currency,
//! else status, else amount) and the others carry zero, so that rows can be added. A fee is cash out: its row carries
//! our fee minus the channel's. Where the currencies differ, only the channel's cash is counted, in its currency.
//!
//! # What is not a break
//!
//! * A record without a line is *not expected* to have one if it failed or was closed, if another channel carried it,
//!   if no statement covers its day, or if the statements are silent about its kind (refunds, when only SUCCESS bills
//!   were given; payments, when only REFUND bills were). Days are the channel's: a payment belongs to the day it
//!   succeeded, a refund to the day it was accepted, and a statement covers every day from its first row to its last.
//! * A pair is *suspended* by the rule `refund_processing` while the channel's snapshot says PROCESSING and our record
//!   is pending or succeeded (their amounts are compared, their fees not yet); a record is suspended by the rule `pending_without_line` while it is pending, its day
//!   is covered and the channel has no line of it yet.
//! * The reversal of a payment (撤销, REVOKED) is not a duplicate of it. A refund in our books may stand for it; else
//!   payment and reversal together agree with a record that holds no money; else the reversal is `missing_ours`.

pub mod bank;
pub mod coverage;
pub mod entry;
mod judge;
pub mod pairing;
mod proof;
mod standing;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, SecondsFormat};
use clearday_jobs::{Currency, Money};
use rust_decimal::Decimal;
use serde::Serialize;

pub use self::coverage::{Coverage, DayRange};
pub use self::entry::{Entries, Entry, EntryKind, Facts};
use self::judge::Judge;
pub use self::pairing::Pair;
pub use self::standing::{BreakEvent, BreakKind, BreakState};
use crate::domain::record::{RecordKind, RecordStatus};
use crate::domain::words::words;

words! {
    /// In what way the two sides disagree.
    BreakName {
        /// The channel has a line that no record of ours tells of.
        MissingOurs = "missing_ours",
        /// We have a record that must have a line, and none is there.
        MissingTheirs = "missing_theirs",
        /// Both know of it, with different amounts.
        AmountMismatch = "amount_mismatch",
        /// Both know of it, with different fees.
        FeeMismatch = "fee_mismatch",
        /// Both know of it, and do not agree whether money moved.
        StatusMismatch = "status_mismatch",
        /// Both know of it, in different currencies.
        CurrencyMismatch = "currency_mismatch",
        /// Our books tell it once more than the channel.
        DuplicateOurs = "duplicate_ours",
        /// The channel tells it once more than our books.
        DuplicateTheirs = "duplicate_theirs",
    }
    "the names of breaks"
}

words! {
    /// Why something cannot be decided yet.
    SuspenseRule {
        /// The channel was still working on the refund when it wrote the statement (退款处理中).
        RefundProcessing = "refund_processing",
        /// Our record waits, and the channel does not know of it.
        PendingWithoutLine = "pending_without_line",
    }
    "the rules of suspense"
}

words! {
    /// Why a record needs no line.
    NotExpected {
        /// It failed or was closed: the channel lists only what succeeded.
        NoMoneyMoved = "no_money_moved",
        /// Another channel carried it.
        OtherChannel = "other_channel",
        /// No statement covers its day.
        DayNotCovered = "day_not_covered",
        /// The statements given list no records of its kind.
        KindNotCovered = "kind_not_covered",
    }
    "the reasons why no line is expected"
}

/// What became of one line or one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It agrees with its counterpart.
    Matched,
    /// It has a counterpart that says something else.
    Mismatched,
    /// It cannot be decided yet.
    Suspended(SuspenseRule),
    /// It has no counterpart and must have one.
    Missing,
    /// It tells a fact once more than the other side.
    Duplicate,
    /// A record that needs no line.
    NotExpected(NotExpected),
    /// A line of a fact that another statement told already.
    Repeated,
}

/// One difference between the channel and us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// In what way they disagree.
    pub name: BreakName,
    /// Whether a payment or a refund is in question.
    pub kind: RecordKind,
    /// Our number: as our record has it, else as the channel tells it.
    pub record_no: String,
    /// The channel's number: as its line has it, else as our record tells it; may be empty.
    pub channel_no: String,
    /// The currency of `at_risk`: the channel's, else ours.
    pub currency: Currency,
    /// What our record says.
    pub ours: Option<Side>,
    /// What the channel's line says.
    pub theirs: Option<Side>,
    /// When it happened: by the channel's clock, else by ours.
    pub occurred_at: DateTime<FixedOffset>,
    /// The channel's signed cash minus ours.
    pub at_risk: Money,
    /// Counts the breaks that are otherwise told by the same words, from 0: the second extra line of a fact is not
    /// the first.
    pub occurrence: u32,
}

/// One side of a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// How much.
    pub amount: Money,
    /// How far it got.
    pub status: RecordStatus,
    /// The channel's fee, unrounded.
    pub fee: Decimal,
}

impl Break {
    /// What this break is about, whichever run finds it and in whatever order: its name and the numbers of the
    /// external fact.
    pub fn identity(&self) -> String {
        format!(
            "{}:{}:{}:{}:{}",
            self.name, self.kind, self.record_no, self.channel_no, self.occurrence
        )
    }

    /// `occurred_at` as it is written outside.
    pub fn occurred_at_text(&self) -> String {
        self.occurred_at
            .to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

/// What a reconciliation found, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines of the statements, each fact once.
    pub statement_lines: usize,
    /// Records of ours, all of them.
    pub record_lines: usize,
    /// Pairs without a break.
    pub matched: usize,
    /// Pairs with at least one break.
    pub mismatched: usize,
    /// Pairs and single records that cannot be decided yet.
    pub suspended: usize,
    /// Records that need no line.
    pub not_expected: usize,
    /// Breaks by name; every name is there.
    pub breaks: BTreeMap<BreakName, usize>,
    /// Whether every line and record has exactly one disposition and the cash of both sides is accounted for.
    pub complete: bool,
    /// Lines left out because another statement tells them too; not in `statement_lines`.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated_lines: usize,
    /// Lines that stand with the payment they take back; in `statement_lines`, but no pair of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub folded_reversals: usize,
    /// `suspended` by its rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub suspended_by_rule: BTreeMap<SuspenseRule, usize>,
    /// `not_expected` by its reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_expected_by_reason: BTreeMap<NotExpected, usize>,
}

impl Summary {
    /// How many breaks there are.
    pub fn breaks_total(&self) -> usize {
        self.breaks
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Serialises the words of an enum as they are written outside.
macro_rules! serialize_as_word {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+};
}
serialize_as_word!(BreakName, SuspenseRule, NotExpected);

/// What a reconciliation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    /// Everything counted.
    pub summary: Summary,
    /// Every break, in an order that does not depend on the order of rows.
    pub breaks: Vec<Break>,
    /// What became of each line, by position.
    pub lines: Vec<Disposition>,
    /// What became of each record, by position.
    pub records: Vec<Disposition>,
    /// Which line met which record.
    pub pairs: Vec<Pair>,
}

/// Compares the channel's lines, of all statements given, with our records.
///
/// `theirs` tells in [`Facts::source`] which statement a line comes from; `coverage` is that of all statements
/// together.
pub fn reconcile(theirs: &Entries, ours: &Entries, coverage: &Coverage) -> Reconciliation {
    let pairing = pairing::pair(theirs, ours);
    let mut judge = Judge::new(theirs, ours, coverage);
    judge.judge_all(&pairing);
    judge.finish(pairing)
}

/// Sorts breaks by what they say, and counts those that say the same.
fn in_order(mut breaks: Vec<Break>) -> Vec<Break> {
    breaks.sort_by(|one, other| order_of(one).cmp(&order_of(other)));
    let mut before: Option<&Break> = None;
    let mut occurrences = Vec::with_capacity(breaks.len());
    let mut occurrence = 0_u32;
    for found in &breaks {
        let is_next = before.is_some_and(|before| same_words(before, found));
        occurrence = if is_next {
            occurrence.saturating_add(1)
        } else {
            0
        };
        occurrences.push(occurrence);
        before = Some(found);
    }
    for (found, occurrence) in breaks.iter_mut().zip(occurrences) {
        found.occurrence = occurrence;
    }
    breaks
}

fn same_words(one: &Break, other: &Break) -> bool {
    let words = |found: &Break| (found.name, found.kind);
    words(one) == words(other)
        && one.record_no == other.record_no
        && one.channel_no == other.channel_no
}

fn order_of(found: &Break) -> impl Ord + use<'_> {
    let told =
        |side: &Option<Side>| side.map(|side| (side.amount.minor_units(), side.fee, side.status));
    (
        (
            found.name,
            found.kind,
            found.record_no.as_str(),
            found.channel_no.as_str(),
        ),
        (
            found.occurred_at,
            found.currency,
            found.at_risk.minor_units(),
        ),
        (told(&found.ours), told(&found.theirs)),
    )
}
