//! Several statements of one channel read together, for whoever reconciles them.
//!
//! The same file twice counts once, by its digest. A statement that is not whole is refused,
//! unless the caller accepts it by name.

use std::io::BufRead;

use clearday_jobs::ChannelName;

use super::wechat_pay::{self, Format, StatementError, Tolerance, read_entries};
use crate::domain::china::CHINA_STANDARD_TIME;
use crate::domain::reconciliation::{Coverage, Entries};

/// Why a statement cannot be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum StatementRefused {
    /// No reader for this channel's statements.
    #[error("statements of channel {0} cannot be read by this release; it reads {known}", known = wechat_pay::CHANNEL)]
    Channel(ChannelName),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] StatementError),
    /// It can be read, but is not whole.
    #[error("{0}")]
    NotWhole(String),
    /// More than can be told apart.
    #[error("more than {} statements at once", u16::MAX)]
    TooMany,
}

/// What became of a statement that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is whole and counts.
    Whole(StatementFacts),
    /// It counts although it is not whole, for this reason.
    Incomplete(StatementFacts, String),
    /// It is this one again and does not count.
    SameAs(String),
}

/// What is remembered of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementFacts {
    /// Which bill it is.
    pub format: Format,
    /// How many rows it has.
    pub lines: u64,
    /// The SHA-256 of the unpacked bytes.
    pub sha256: [u8; 32],
}

/// Statements read together.
#[derive(Debug)]
pub struct StatementSet {
    /// Every row of every statement.
    pub entries: Entries,
    /// The days they cover.
    pub coverage: Coverage,
    known: Vec<([u8; 32], String)>,
}

impl StatementSet {
    /// No statements yet, of this channel.
    pub fn of_channel(channel: &ChannelName) -> Result<Self, StatementRefused> {
        if channel.as_str() != wechat_pay::CHANNEL {
            return Err(StatementRefused::Channel(channel.clone()));
        }
        Ok(Self {
            entries: Entries::default(),
            coverage: Coverage::nothing(CHINA_STANDARD_TIME),
            known: Vec::new(),
        })
    }

    /// Reads one more statement, called `name`; `on_row` hears of every row.
    pub fn add(
        &mut self,
        name: &str,
        input: impl BufRead,
        tolerance: Tolerance,
        on_row: impl FnMut(),
    ) -> Result<Added, StatementRefused> {
        let source = u16::try_from(self.known.len()).map_err(|_| StatementRefused::TooMany)?;
        let (entries, statement) = read_entries(input, tolerance, source, on_row)?;
        let known = self
            .known
            .iter()
            .find(|(sha256, _)| *sha256 == statement.sha256);
        if let Some((_, first)) = known {
            return Ok(Added::SameAs(first.clone()));
        }
        let facts = StatementFacts {
            format: statement.format,
            lines: statement.lines,
            sha256: statement.sha256,
        };
        let added = match (statement.incompleteness(), tolerance) {
            (None, _) => Added::Whole(facts),
            (Some(reason), Tolerance::AcceptIncomplete) => Added::Incomplete(facts, reason),
            (Some(reason), Tolerance::Refuse) => return Err(StatementRefused::NotWhole(reason)),
        };
        self.known.push((statement.sha256, name.to_owned()));
        self.coverage.extend(&statement.coverage);
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.append(&entries);
        }
        Ok(added)
    }
}
