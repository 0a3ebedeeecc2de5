//! Goes through what was paired and what was left, and says of each what became of it.

use std::collections::BTreeMap;

use clearday_jobs::Money;

use super::entry::{Entries, Entry, Facts};
use super::pairing::{Leftover, Pair, Pairing};
use super::verdict::{self, Verdict};
use super::{
    Break, BreakName, Coverage, Disposition, NotExpected, Reconciliation, Side, Summary,
    SuspenseRule, in_order, proof,
};
use crate::domain::record::RecordStatus;

/// Gives every entry its disposition and writes down the breaks.
pub(super) struct Judge<'a> {
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
    pub(super) fn new(theirs: &'a Entries, ours: &'a Entries, coverage: &'a Coverage) -> Self {
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

    pub(super) fn judge_all(&mut self, pairing: &Pairing) {
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

    pub(super) fn finish(mut self, pairing: Pairing) -> Reconciliation {
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
