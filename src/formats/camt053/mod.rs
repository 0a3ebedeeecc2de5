//! Bank statements of ISO 20022, camt.053.001.02 to .08.
//!
//! Tolerant of how banks write (namespace prefixes, fields they leave out, batches with and without their parts), and
//! strict on what it means: a statement counts only when its opening balance and its lines make its closing balance.
//! A file is taken whole or refused whole. Document types and entities are refused unread.
//!
//! What the lines mean for us is decided elsewhere; nothing here knows our payouts.

mod statement;
#[cfg(test)]
mod tests;
mod xml;

use chrono::NaiveDate;
use clearday_jobs::{Currency, Money, Reference};

use self::statement::StatementReader;
use self::xml::Piece;

/// What `statement inspect` calls the newest version that is read.
pub const FORMAT: &str = "camt.053.001.08";
/// A day of a hundred thousand payouts; a larger statement is to be asked for in parts.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// One statement: an account over some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankStatement {
    /// The account, as the bank names it: its IBAN or another number.
    pub account_no: String,
    /// The account's currency; every amount is in it.
    pub currency: Currency,
    /// The bank's id for the statement.
    pub statement_id: String,
    /// What lay on the account before the first line.
    pub opening: Money,
    /// What lies there after the last; equal to `opening` and all lines.
    pub closing: Money,
    /// The day that `closing` is of.
    pub closing_on: NaiveDate,
    /// The lines, as they stand in the file.
    pub lines: Vec<BankLine>,
    /// Entries that are announced and not booked; they move nothing and are no lines.
    pub not_booked: usize,
}

/// One movement of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankLine {
    /// The number of its entry in the file, counted from 1.
    pub line: usize,
    /// The bank's number for it, unique in the statement: the servicer's reference; else the entry's own, behind
    /// the id of the statement; a second use of one is told apart by `#2`, parts of a batch by `/1`, `/2`.
    pub entry_reference: String,
    /// Below zero: money left the account.
    pub amount: Money,
    /// The day the bank booked it.
    pub booked_on: NaiveDate,
    /// The payer's id, where the bank passed one on that is one.
    pub end_to_end_id: Option<Reference>,
    /// Whether the bank says that it takes back an earlier entry.
    pub is_reversal: bool,
    /// Who is on the other side; may be empty.
    pub counterparty: String,
    /// What the line says; may be empty.
    pub text: String,
    /// Every other reference that the line carries.
    pub references: Vec<String>,
}

/// Why a file does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CamtError {
    /// It would not fit.
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not the text it should be.
    #[error("line {line}: not UTF-8")]
    NotUtf8 {
        /// The line of the file, counted from 1.
        line: usize,
    },
    /// It is not XML, or not all of it is there.
    #[error("line {line}: not XML: {reason}")]
    Syntax {
        /// The line of the file, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// XML that makes a reader fetch or multiply things, which no statement needs.
    #[error("line {line}: {what} is refused")]
    Forbidden {
        /// The line of the file, counted from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
    /// XML, but no such statement.
    #[error("not a camt.053 statement of version 02 to 08: {0}")]
    NotCamt(String),
    /// A statement that does not say what it must, or says it in a way that cannot be meant.
    #[error("line {line}: {problem}")]
    Content {
        /// The line of the file, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The lines do not lead from one balance to the other.
    #[error(
        "statement {statement_id}: the opening balance {opening} and {lines} lines make {sum}, but the closing balance \
         is {closing}"
    )]
    Unbalanced {
        /// Which statement.
        statement_id: String,
        /// What it opens with.
        opening: Money,
        /// How many lines it has.
        lines: usize,
        /// What they make of it.
        sum: Money,
        /// What it says it closes with.
        closing: Money,
    },
}

/// Reads the statements of a file; there is at least one.
pub fn read(bytes: &[u8]) -> Result<Vec<BankStatement>, CamtError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(CamtError::TooLarge);
    }
    let mut statements = Vec::new();
    let mut open = StatementReader::default();
    xml::walk(bytes, |piece| {
        match piece {
            Piece::Child(node) => open.take(&node)?,
            Piece::StatementEnd { line } => statements.push(open.finish(line)?),
        }
        Ok(())
    })?;
    if statements.is_empty() {
        return Err(CamtError::NotCamt("there is no statement in it".to_owned()));
    }
    Ok(statements)
}
