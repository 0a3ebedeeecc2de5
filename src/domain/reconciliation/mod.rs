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

pub mod coverage;
pub mod entry;
pub mod pairing;
mod proof;
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
pub use self::pairing::Pair;
use self::pairing::{Leftover, Pairing};
use self::verdict::Verdict;
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

/// Gives every entry its disposition and writes down the breaks.
struct Judge<'a> {
    theirs: &'a Entries,
    ours: &'a Entries,
    coverage: &'a Coverage,
    lines: Vec<Option<Disposition>>,
    records: Vec<Option<Disposition>>,
    breaks: Vec<Break>,
    summary: Summary,
    ledger: proof::Ledger,
}

impl<'a> Judge<'a> {
    fn new(theirs: &'a Entries, ours: &'a Entries, coverage: &'a Coverage) -> Self {
        Self {
            theirs,
            ours,
            coverage,
            lines: vec![None; theirs.len()],
            records: vec![None; ours.len()],
            breaks: Vec::new(),
            summary: Summary {
                statement_lines: theirs.len(),
                record_lines: ours.len(),
                matched: 0,
                mismatched: 0,
                suspended: 0,
                not_expected: 0,
                breaks: BreakName::ALL.iter().map(|name| (*name, 0)).collect(),
                complete: false,
                repeated_lines: 0,
                folded_reversals: 0,
                suspended_by_rule: BTreeMap::new(),
                not_expected_by_reason: BTreeMap::new(),
            },
            ledger: proof::Ledger::default(),
        }
    }

    fn judge_all(&mut self, pairing: &Pairing) {
        for pair in &pairing.pairs {
            self.judge_pair(*pair);
        }
        for line in &pairing.lines {
            self.judge_lone_line(*line);
        }
        for record in &pairing.records {
            self.judge_lone_record(*record);
        }
        for line in &pairing.repeated_lines {
            self.dispose_line(*line, Disposition::Repeated);
            count(&mut self.summary.repeated_lines);
        }
        for record in &pairing.foreign_records {
            self.expect_no_line(*record, NotExpected::OtherChannel);
        }
    }

    fn judge_pair(&mut self, pair: Pair) {
        let (line, reversal, record) = match pair {
            Pair::Direct { line, record } => (line, None, record),
            Pair::Reversed {
                line,
                reversal,
                record,
            } => (line, Some(reversal), record),
            Pair::ReversedElsewhere { reversal, record } => (reversal, None, record),
        };
        let (theirs, ours) = (self.theirs, self.ours);
        let (Some(line_facts), Some(ours)) = (theirs.facts(line), ours.facts(record)) else {
            return;
        };
        let told = self.told_by(pair, line_facts, ours);
        let verdict = verdict::decide_verdict(&told, ours);
        let disposition = self.settle_pair(&told, ours, &verdict);
        for difference in &verdict.differences {
            let line = self.theirs.get(line).map(|line| Entry {
                facts: told,
                ..line
            });
            self.note_break(
                difference.name,
                line,
                self.ours.get(record),
                difference.at_risk,
            );
        }

        self.dispose_line(line, disposition);
        if let Some(reversal) = reversal {
            self.dispose_line(reversal, disposition);
            count(&mut self.summary.folded_reversals);
        }
        self.dispose_record(record, disposition);
    }

    /// What the lines of a pair say together.
    fn told_by(&mut self, pair: Pair, line: &Facts, ours: &Facts) -> Facts {
        let taken_back = |fee| Facts {
            status: RecordStatus::Closed,
            fee,
            ..*line
        };
        match pair {
            Pair::Direct { .. } => *line,
            Pair::Reversed { reversal, .. } => {
                let fee_back = self.theirs.facts(reversal).map(|facts| facts.fee);
                taken_back(line.fee.saturating_add(fee_back.unwrap_or_default()))
            }
            // The payment's own fee stands on the other statement, so there is nothing to compare ours with.
            Pair::ReversedElsewhere { .. } => {
                self.ledger.told_elsewhere(line);
                taken_back(ours.fee)
            }
        }
    }

    fn settle_pair(&mut self, theirs: &Facts, ours: &Facts, verdict: &Verdict) -> Disposition {
        if verdict.leaves_cash_open() {
            self.ledger.suspended(theirs, ours);
        }
        if !verdict.differences.is_empty() {
            count(&mut self.summary.mismatched);
            self.ledger.incomparable(theirs, ours);
            return Disposition::Mismatched;
        }
        if let Some(rule) = verdict.suspense {
            self.count_suspended(rule);
            return Disposition::Suspended(rule);
        }
        count(&mut self.summary.matched);
        Disposition::Matched
    }

    fn judge_lone_line(&mut self, leftover: Leftover) {
        let Some(line) = self.theirs.get(leftover.position) else {
            return;
        };
        let (name, disposition) = if leftover.is_extra {
            (BreakName::DuplicateTheirs, Disposition::Duplicate)
        } else {
            (BreakName::MissingOurs, Disposition::Missing)
        };
        let at_risk = cash_of(&line.facts);
        self.note_break(name, Some(line), None, at_risk);
        self.dispose_line(leftover.position, disposition);
    }

    fn judge_lone_record(&mut self, leftover: Leftover) {
        let Some(record) = self.ours.get(leftover.position) else {
            return;
        };
        let name = match self.decide_lone_record(&record.facts, leftover.is_extra) {
            LoneRecord::NotExpected(reason) => {
                return self.expect_no_line(leftover.position, reason);
            }
            LoneRecord::Suspended(rule) => {
                self.count_suspended(rule);
                return self.dispose_record(leftover.position, Disposition::Suspended(rule));
            }
            LoneRecord::Missing => {
                self.dispose_record(leftover.position, Disposition::Missing);
                BreakName::MissingTheirs
            }
            LoneRecord::Duplicate => {
                self.dispose_record(leftover.position, Disposition::Duplicate);
                BreakName::DuplicateOurs
            }
        };
        let cash = cash_of(&record.facts);
        let at_risk = Money::from_minor(cash.minor_units().saturating_neg(), cash.currency());
        self.note_break(name, None, Some(record), at_risk);
    }

    fn decide_lone_record(&self, facts: &Facts, is_extra: bool) -> LoneRecord {
        let kind = facts.kind.record_kind();
        if facts.status.ended_without_money() {
            LoneRecord::NotExpected(NotExpected::NoMoneyMoved)
        } else if is_extra && facts.status.moved_money() {
            LoneRecord::Duplicate
        } else if self.coverage.days(kind).is_empty() {
            LoneRecord::NotExpected(NotExpected::KindNotCovered)
        } else if !self.coverage.covers(kind, facts.occurred_at) {
            LoneRecord::NotExpected(NotExpected::DayNotCovered)
        } else if facts.status.moved_money() {
            LoneRecord::Missing
        } else {
            LoneRecord::Suspended(SuspenseRule::PendingWithoutLine)
        }
    }

    fn expect_no_line(&mut self, record: usize, reason: NotExpected) {
        self.dispose_record(record, Disposition::NotExpected(reason));
        if let Some(entry) = self.ours.get(record) {
            self.ledger.not_expected(&entry.facts);
        }
        count(&mut self.summary.not_expected);
        count(
            self.summary
                .not_expected_by_reason
                .entry(reason)
                .or_default(),
        );
    }

    fn count_suspended(&mut self, rule: SuspenseRule) {
        count(&mut self.summary.suspended);
        count(self.summary.suspended_by_rule.entry(rule).or_default());
    }

    fn dispose_line(&mut self, position: usize, disposition: Disposition) {
        self.ledger
            .dispose(self.lines.get_mut(position), disposition);
    }

    fn dispose_record(&mut self, position: usize, disposition: Disposition) {
        self.ledger
            .dispose(self.records.get_mut(position), disposition);
    }

    fn note_break(
        &mut self,
        name: BreakName,
        theirs: Option<Entry<'a>>,
        ours: Option<Entry<'a>>,
        at_risk: Money,
    ) {
        let (Some(named), Some(dated)) = (ours.or(theirs), theirs.or(ours)) else {
            return;
        };
        let channel_no = theirs
            .map(|line| line.channel_no)
            .filter(|number| !number.is_empty())
            .unwrap_or(named.channel_no);
        self.breaks.push(Break {
            name,
            kind: dated.facts.kind.record_kind(),
            record_no: named.record_no.to_owned(),
            channel_no: channel_no.to_owned(),
            currency: dated.facts.amount.currency(),
            ours: ours.map(side),
            theirs: theirs.map(side),
            occurred_at: dated.facts.occurred_at,
            at_risk,
            occurrence: 0,
        });
        count(self.summary.breaks.entry(name).or_default());
        self.ledger.explained(name, at_risk);
    }

    fn finish(mut self, pairing: Pairing) -> Reconciliation {
        let lines = all_disposed(self.lines);
        let records = all_disposed(self.records);
        self.summary.statement_lines = self
            .summary
            .statement_lines
            .saturating_sub(self.summary.repeated_lines);
        self.summary.complete = match (&lines, &records) {
            (Some(lines), Some(_)) => self.ledger.proves(self.theirs, lines, self.ours),
            (None, _) | (_, None) => false,
        };
        Reconciliation {
            summary: self.summary,
            breaks: in_order(self.breaks),
            lines: lines.unwrap_or_default(),
            records: records.unwrap_or_default(),
            pairs: pairing.pairs,
        }
    }
}

/// What a record without a line is.
enum LoneRecord {
    NotExpected(NotExpected),
    Suspended(SuspenseRule),
    Missing,
    Duplicate,
}

fn all_disposed(dispositions: Vec<Option<Disposition>>) -> Option<Vec<Disposition>> {
    dispositions.into_iter().collect()
}

fn count(counter: &mut usize) {
    *counter = counter.saturating_add(1);
}

fn cash_of(facts: &Facts) -> Money {
    Money::from_minor(verdict::bounded(facts.cash()), facts.amount.currency())
}

fn side(entry: Entry<'_>) -> Side {
    Side {
        amount: entry.facts.amount,
        status: entry.facts.status,
        fee: entry.facts.fee,
    }
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
