//! Both sides of a reconciliation in one shape, many of them in little memory.
//!
//! A statement line and a record of ours become the same [`Entry`], so that pairing and comparing need one
//! vocabulary. [`Entries`] keeps the texts of a side in three long strings instead of three small ones per row.

use chrono::{DateTime, FixedOffset};
use clearday_jobs::{ChannelName, Money, Reference};
use rust_decimal::Decimal;

use crate::domain::record::{Record, RecordKind, RecordStatus};

/// What an entry does to our money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Money came in.
    Payment,
    /// Money went back because we asked for it.
    Refund,
    /// A payment was taken back as a whole (撤销, a row in state REVOKED); the payment has a row of its own.
    Reversal,
}

impl EntryKind {
    /// The kind of record that stands for such an entry in our books.
    pub const fn record_kind(self) -> RecordKind {
        match self {
            Self::Payment => RecordKind::Payment,
            Self::Refund | Self::Reversal => RecordKind::Refund,
        }
    }
}

impl From<RecordKind> for EntryKind {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Payment => Self::Payment,
            RecordKind::Refund => Self::Refund,
        }
    }
}

/// One payment or refund as one side tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Our number: of the order, or of the refund.
    pub record_no: &'a str,
    /// The channel's number: of the trade, or of the refund; empty while unknown.
    pub channel_no: &'a str,
    /// Of a refund or reversal: our order number of the payment it takes back; empty when unknown.
    pub original_no: &'a str,
    /// Everything that is not a number.
    pub facts: Facts,
}

/// What an entry says beside its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it does to our money.
    pub kind: EntryKind,
    /// How far it got.
    pub status: RecordStatus,
    /// Where it comes from: the position of its statement among those given; 0 for a record of ours.
    pub source: u16,
    /// Whether another channel carried it, which no statement of this one can know.
    pub is_foreign: bool,
    /// How much, never negative.
    pub amount: Money,
    /// The channel's fee; statements write it finer than the minor unit.
    pub fee: Decimal,
    /// When, in the zone of the side that tells it.
    pub occurred_at: DateTime<FixedOffset>,
}

impl Facts {
    /// The cash it moved, in minor units: in counts positive, out negative, and what did not succeed moved none.
    pub fn cash(&self) -> i128 {
        if !self.status.moved_money() {
            return 0;
        }
        let amount = i128::from(self.amount.minor_units());
        match self.kind {
            EntryKind::Payment => amount,
            EntryKind::Refund | EntryKind::Reversal => amount.saturating_neg(),
        }
    }
}

impl<'a> Entry<'a> {
    /// A record of ours as an entry of the reconciliation with `channel`.
    pub fn of_record(record: &'a Record, channel: &ChannelName) -> Self {
        let text =
            |reference: &'a Option<Reference>| reference.as_ref().map_or("", Reference::as_str);
        Self {
            record_no: record.record_no.as_str(),
            channel_no: text(&record.channel_trade_no),
            original_no: text(&record.original_record_no),
            facts: Facts {
                kind: record.kind.into(),
                status: record.status,
                source: 0,
                is_foreign: record.channel != *channel,
                amount: record.amount,
                fee: major_units(record.fee),
                occurred_at: record.occurred_at,
            },
        }
    }
}

/// An amount as a decimal number of major units.
pub fn major_units(money: Money) -> Decimal {
    Decimal::from_i128_with_scale(money.minor_units().into(), money.currency().exponent())
}

/// All entries of one side, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    record_nos: Texts,
    channel_nos: Texts,
    original_nos: Texts,
    facts: Vec<Facts>,
}

impl Entries {
    /// A side that holds `records` as entries of the reconciliation with `channel`.
    pub fn of_records<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        channel: &ChannelName,
    ) -> Self {
        let mut entries = Self::default();
        for record in records {
            entries.push(Entry::of_record(record, channel));
        }
        entries
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Entry<'_>) {
        self.record_nos.push(entry.record_no);
        self.channel_nos.push(entry.channel_no);
        self.original_nos.push(entry.original_no);
        self.facts.push(entry.facts);
    }

    /// Adds all entries of `others` at the end.
    pub fn append(&mut self, others: &Self) {
        for entry in others {
            self.push(entry);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The entry at a position, if there is one.
    pub fn get(&self, position: usize) -> Option<Entry<'_>> {
        Some(Entry {
            record_no: self.record_nos.get(position),
            channel_no: self.channel_nos.get(position),
            original_no: self.original_nos.get(position),
            facts: *self.facts(position)?,
        })
    }

    /// What the entry at a position says beside its numbers.
    pub fn facts(&self, position: usize) -> Option<&Facts> {
        self.facts.get(position)
    }

    /// The same of all entries, in order.
    pub fn all_facts(&self) -> &[Facts] {
        &self.facts
    }

    /// The entries in order.
    pub fn iter(&self) -> EntriesIter<'_> {
        EntriesIter {
            entries: self,
            position: 0,
        }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = Entry<'a>;
    type IntoIter = EntriesIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> FromIterator<Entry<'a>> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry<'a>>>(iter: I) -> Self {
        let mut entries = Self::default();
        for entry in iter {
            entries.push(entry);
        }
        entries
    }
}

/// Walks over [`Entries`].
#[derive(Clone, Debug)]
pub struct EntriesIter<'a> {
    entries: &'a Entries,
    position: usize,
}

impl<'a> Iterator for EntriesIter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.get(self.position)?;
        self.position = self.position.saturating_add(1);
        Some(entry)
    }
}

/// Many short texts end to end in one long one.
#[derive(Clone, Debug, Default)]
struct Texts {
    joined: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(self.joined.len());
    }

    /// The text at a position; empty where there is none.
    fn get(&self, position: usize) -> &str {
        let start = match position.checked_sub(1) {
            None => Some(&0),
            Some(before) => self.ends.get(before),
        };
        start
            .zip(self.ends.get(position))
            .and_then(|(start, end)| self.joined.get(*start..*end))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_went_in() {
        let mut texts = Texts::default();
        for text in ["", "a", "订单", "", "b"] {
            texts.push(text);
        }
        let back: Vec<&str> = (0..6).map(|position| texts.get(position)).collect();
        assert_eq!(back, ["", "a", "订单", "", "b", ""]);
    }
}
