//! What a reversal (撤销) belongs to, when no refund of ours carries one of its numbers.

use std::collections::{HashMap, HashSet};

use super::meeting::sort_by_content;
use super::{Lone, Matcher, Pair};
use crate::domain::reconciliation::entry::{Entries, Entry, EntryKind};

impl<'a> Matcher<'a> {
    /// Gives every reversal that found nobody its refund, or its payment.
    pub(super) fn fold_reversals(&mut self) {
        let mut reversals = Reversals::among(&self.lone_lines, self.theirs);
        if reversals.waiting.is_empty() {
            return;
        }
        self.meet_refunds(&mut reversals);
        self.fold_into_pairs(&mut reversals);
        self.fold_without_payment(&mut reversals);
        self.forget_lone_lines(&reversals.folded);
    }

    /// A refund in our books that names the reversed order and amount, under a number the channel never heard.
    fn meet_refunds(&mut self, reversals: &mut Reversals<'a>) {
        let met = self.meet_lone_records(reversals, |refund| {
            (refund.facts.kind == EntryKind::Refund).then_some(refund.original_no)
        });
        for (line, record) in met {
            self.done.pairs.push(Pair::Direct { line, record });
        }
    }

    /// Payment and reversal are both here, and our record of the payment holds no money.
    fn fold_into_pairs(&mut self, reversals: &mut Reversals<'a>) {
        let mut payments = HashMap::new();
        for (place, pair) in self.done.pairs.iter().enumerate() {
            if let Pair::Direct { line, record } = *pair
                && let Some(payment) = self.theirs.get(line)
                && reversals.waiting.contains_key(payment.record_no)
                && payment.facts.kind == EntryKind::Payment
                && payment.facts.status.moved_money()
                && self.ours.get(record).is_some_and(holds_no_money)
            {
                payments.insert(line, place);
            }
        }
        let mut lines: Vec<usize> = payments.keys().copied().collect();
        sort_by_content(self.theirs, &mut lines);
        for line in lines {
            if let Some(payment) = self.theirs.get(line)
                && let Some(place) = payments.get(&line)
                && let Some(pair) = self.done.pairs.get_mut(*place)
                && let Pair::Direct { record, .. } = *pair
                && let Some(reversal) = reversals.take(payment.record_no, payment)
            {
                *pair = Pair::Reversed {
                    line,
                    reversal,
                    record,
                };
            }
        }
    }

    /// The payment is on another statement; our record of it holds no money.
    fn fold_without_payment(&mut self, reversals: &mut Reversals<'a>) {
        let met = self.meet_lone_records(reversals, |payment| {
            let is_reversed = payment.facts.kind == EntryKind::Payment && holds_no_money(payment);
            is_reversed.then_some(payment.record_no)
        });
        for (reversal, record) in met {
            self.done
                .pairs
                .push(Pair::ReversedElsewhere { reversal, record });
        }
    }

    /// Gives each lone record the reversal of the order it names, if there is one as large.
    fn meet_lone_records(
        &mut self,
        reversals: &mut Reversals<'a>,
        order_of: impl Fn(Entry<'a>) -> Option<&'a str>,
    ) -> Vec<(usize, usize)> {
        let mut records: Vec<usize> = self.lone_records.iter().map(|lone| lone.position).collect();
        sort_by_content(self.ours, &mut records);
        let mut met = Vec::new();
        for record in records {
            if let Some(entry) = self.ours.get(record)
                && let Some(order_no) = order_of(entry)
                && let Some(reversal) = reversals.take(order_no, entry)
            {
                met.push((reversal, record));
            }
        }
        let met_records: HashSet<usize> = met.iter().map(|(_, record)| *record).collect();
        self.forget_lone_records(|position| met_records.contains(&position));
        met
    }
}

fn holds_no_money(record: Entry<'_>) -> bool {
    !record.facts.status.moved_money()
}

/// Reversals that succeeded and found no refund, by the order they take back.
struct Reversals<'a> {
    theirs: &'a Entries,
    waiting: HashMap<&'a str, Vec<usize>>,
    folded: HashSet<usize>,
}

impl<'a> Reversals<'a> {
    fn among(lone_lines: &[Lone], theirs: &'a Entries) -> Self {
        let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
        for lone in lone_lines {
            if let Some(line) = theirs.get(lone.position)
                && line.facts.kind == EntryKind::Reversal
                && line.facts.status.moved_money()
            {
                waiting
                    .entry(line.original_no)
                    .or_default()
                    .push(lone.position);
            }
        }
        for positions in waiting.values_mut() {
            sort_by_content(theirs, positions);
        }
        Self {
            theirs,
            waiting,
            folded: HashSet::new(),
        }
    }

    /// Takes a reversal of the order that is as large as `entry`.
    fn take(&mut self, order_no: &str, entry: Entry<'_>) -> Option<usize> {
        let theirs = self.theirs;
        let waiting = self.waiting.get_mut(order_no)?;
        let is_as_large = |position: &usize| {
            theirs
                .get(*position)
                .is_some_and(|reversal| reversal.facts.amount == entry.facts.amount)
        };
        let found = waiting.iter().position(is_as_large)?;
        let reversal = waiting.remove(found);
        self.folded.insert(reversal);
        Some(reversal)
    }
}
