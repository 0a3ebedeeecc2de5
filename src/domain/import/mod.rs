//! Decides what the rows of an imported file change.
//!
//! An import repeats itself without effect: a row that tells nothing new changes nothing, and a
//! row that contradicts what is known refuses the whole file with its line and column.

pub mod merchants;
pub mod orders;
pub mod partners;
pub mod plan;
pub mod records;

/// What is wrong with a row, before its line is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {reason}")]
pub struct Refusal {
    /// The column.
    pub column: &'static str,
    /// Why it is refused.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(column: &'static str, reason: impl Into<String>) -> Self {
        Self {
            column,
            reason: reason.into(),
        }
    }

    /// The same with its line.
    pub fn at(self, line: u64) -> RefusedRow {
        RefusedRow {
            line,
            column: self.column,
            reason: self.reason,
        }
    }
}

/// The row that refuses a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct RefusedRow {
    /// The line, counted from 1.
    pub line: u64,
    /// The column.
    pub column: &'static str,
    /// Why it is refused.
    pub reason: String,
}

/// What an import did, in rows of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Rows read.
    pub rows: u64,
    /// Rows about something that was not known.
    pub new: u64,
    /// Rows that changed something known.
    pub changed: u64,
    /// Rows that told nothing new.
    pub unchanged: u64,
}

/// What one row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEffect {
    /// It told something that was not known.
    New,
    /// It changed something known.
    Changed,
    /// It told nothing new.
    Unchanged,
}

impl ImportSummary {
    /// Counts rows.
    pub fn count(&mut self, effect: RowEffect, rows: u64) {
        let counted = match effect {
            RowEffect::New => &mut self.new,
            RowEffect::Changed => &mut self.changed,
            RowEffect::Unchanged => &mut self.unchanged,
        };
        *counted = counted.saturating_add(rows);
        self.rows = self.rows.saturating_add(rows);
    }
}
