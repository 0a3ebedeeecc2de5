//! Which of a few lines meets which of a few records, when all of them carry one number.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{Pair, has_channel_no, identity};
use crate::domain::reconciliation::entry::{Entries, Entry};
use crate::domain::record::RecordStatus;

/// A few lines and records that meet under one number.
pub(super) struct Meeting<'a> {
    pub(super) theirs: &'a Entries,
    pub(super) ours: &'a Entries,
    /// Lines that are still alone.
    pub(super) lines: Vec<usize>,
    /// Records that are still alone.
    pub(super) records: Vec<usize>,
    /// What met.
    pub(super) pairs: Vec<Pair>,
}

impl<'a> Meeting<'a> {
    /// Pairs equals first, then those with the same channel number, then those with the same amount, then the rest.
    pub(super) fn pair_likest_first(&mut self) {
        sort_by_content(self.theirs, &mut self.lines);
        sort_by_content(self.ours, &mut self.records);
        if self.lines.is_empty() || self.records.is_empty() {
            return;
        }
        let amount = |entry: &Entry<'_>| {
            let facts = entry.facts;
            (
                facts.status,
                facts.amount.currency(),
                facts.amount.minor_units(),
            )
        };
        self.pair_by(|entry| Some((entry.channel_no, amount(&entry), entry.facts.fee)));
        self.pair_by(|entry| has_channel_no(&entry).then_some(entry.channel_no));
        self.pair_by(|entry| Some(amount(&entry)));
        self.pair_by(|_| Some(()));
    }

    /// Pairs those whose keys are equal, in the order they stand; who has no key waits.
    fn pair_by<K: Ord>(&mut self, key: impl Fn(Entry<'a>) -> Option<K>) {
        let lines = sorted_by_key(self.theirs, &self.lines, &key);
        let records = sorted_by_key(self.ours, &self.records, &key);
        let mut met_lines = HashSet::new();
        let mut met_records = HashSet::new();
        let mut lines = lines.iter().peekable();
        let mut records = records.iter().peekable();
        while let (Some((line_key, line)), Some((record_key, record))) =
            (lines.peek(), records.peek())
        {
            match line_key.cmp(record_key) {
                Ordering::Less => {
                    lines.next();
                }
                Ordering::Greater => {
                    records.next();
                }
                Ordering::Equal => {
                    let (line, record) = (*line, *record);
                    self.pairs.push(Pair::Direct { line, record });
                    met_lines.insert(line);
                    met_records.insert(record);
                    lines.next();
                    records.next();
                }
            }
        }
        self.lines.retain(|position| !met_lines.contains(position));
        self.records
            .retain(|position| !met_records.contains(position));
    }
}

fn sorted_by_key<'a, K: Ord>(
    entries: &'a Entries,
    positions: &[usize],
    key: impl Fn(Entry<'a>) -> Option<K>,
) -> Vec<(K, usize)> {
    let keyed = |position: &usize| Some((key(entries.get(*position)?)?, *position));
    let mut keyed: Vec<(K, usize)> = positions.iter().filter_map(keyed).collect();
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    keyed
}

/// An order that depends on nothing but what the entries say: those that moved money first.
pub(super) fn sort_by_content(entries: &Entries, positions: &mut [usize]) {
    if positions.len() < 2 {
        return;
    }
    positions.sort_by_cached_key(|position| {
        entries.get(*position).map(|entry| {
            let likelihood = match entry.facts.status {
                RecordStatus::Succeeded => 0,
                RecordStatus::Pending => 1,
                RecordStatus::Closed => 2,
                RecordStatus::Failed => 3,
            };
            let told_at = (
                entry.facts.occurred_at,
                entry.facts.occurred_at.offset().local_minus_utc(),
            );
            (
                likelihood,
                entry.facts.kind,
                told_at,
                entry.record_no,
                identity(entry),
            )
        })
    });
}
