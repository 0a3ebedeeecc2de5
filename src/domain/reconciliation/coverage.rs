//! Which days the given statements speak about.
//!
//! A record on a day that no statement covers proves nothing when it has no line.

use chrono::{DateTime, FixedOffset, NaiveDate};

use crate::domain::record::RecordKind;

/// The accounting days that statements cover, for each kind of record apart: a bill of payments cannot prove a
/// refund missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    zone: FixedOffset,
    payments: Vec<DayRange>,
    refunds: Vec<DayRange>,
}

/// From the first to the last day, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRange {
    /// The first day.
    pub first: NaiveDate,
    /// The last day.
    pub last: NaiveDate,
}

impl DayRange {
    /// One day.
    pub const fn day(day: NaiveDate) -> Self {
        Self {
            first: day,
            last: day,
        }
    }

    /// The same range, reaching as far as `day`.
    #[must_use]
    pub fn including(self, day: NaiveDate) -> Self {
        Self {
            first: self.first.min(day),
            last: self.last.max(day),
        }
    }

    fn contains(self, day: NaiveDate) -> bool {
        self.first <= day && day <= self.last
    }
}

impl Coverage {
    /// Covers nothing yet; the channel's days begin at midnight in `zone`.
    pub const fn nothing(zone: FixedOffset) -> Self {
        Self {
            zone,
            payments: Vec::new(),
            refunds: Vec::new(),
        }
    }

    /// Adds the days of one statement for the records of one kind.
    pub fn add(&mut self, kind: RecordKind, days: DayRange) {
        let ranges = match kind {
            RecordKind::Payment => &mut self.payments,
            RecordKind::Refund => &mut self.refunds,
        };
        if !ranges.contains(&days) {
            ranges.push(days);
        }
    }

    /// Adds everything that another coverage covers; both are of one channel, so of one zone.
    pub fn extend(&mut self, other: &Self) {
        for days in &other.payments {
            self.add(RecordKind::Payment, *days);
        }
        for days in &other.refunds {
            self.add(RecordKind::Refund, *days);
        }
    }

    /// The ranges of days for one kind, as they were added.
    pub fn days(&self, kind: RecordKind) -> &[DayRange] {
        match kind {
            RecordKind::Payment => &self.payments,
            RecordKind::Refund => &self.refunds,
        }
    }

    /// Whether a record of this kind at this instant must have a line, had it succeeded.
    pub fn covers(&self, kind: RecordKind, instant: DateTime<FixedOffset>) -> bool {
        let day = instant.with_timezone(&self.zone).date_naive();
        self.days(kind).iter().any(|days| days.contains(day))
    }
}
