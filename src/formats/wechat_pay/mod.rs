//! WeChat Pay's merchant bills: 交易账单 of all three types, before and after November 2018, and 资金账单.
//!
//! A bill has four parts: a header, rows, the header of the trailer, the trailer. It is read as a stream, and what is
//! not exactly that is refused with its line: a row that is cut, an amount finer than the minor unit, a file that ends
//! without its trailer, text behind it. A trailer whose sums differ from those of the rows is no error of the file's
//! form; it is reported, and callers decide.
//!
//! What this module refuses to do: guess. A bill is known by the names of its columns, never by its file name.
//!
//! Facts used here that the channel documents: refunds belong to the day they were accepted, payments to the day they
//! succeeded; before November 2018 总金额 is what is settled; a row in state REVOKED takes its payment back; the state
//! of a refund is a snapshot. One that files show: a last line without its end may have lost digits, so its last
//! number must then be as long as those in the rows.

pub mod cells;
mod fund_flow;
mod lookalike;
mod reader;
pub mod totals;
mod trade;

use std::fmt;
use std::io::BufRead;

use clearday_jobs::{Currency, MoneyError};
use rust_decimal::Decimal;

use self::cells::{HeaderError, RowError};
pub use self::fund_flow::FundMovement;
use self::reader::{StatementReader, read_header};
pub use self::totals::{Disagreement, TotalName, Totals};
use self::totals::{FUND_FLOW, TRADE, TRADE_LEGACY, TotalNames, total_text};
pub use self::trade::Bill;
use super::text::{LineReader, TextError};
use crate::domain::reconciliation::{Coverage, Entries, Entry};
use crate::domain::record::RecordKind;

/// The name of this channel in records and on the command line.
pub const CHANNEL: &str = "wechat_pay";

/// Which bill a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 交易账单.
    Trade {
        /// Which rows it holds.
        bill: Bill,
        /// Whether it has the columns from before November 2018.
        is_legacy: bool,
    },
    /// 资金账单.
    FundFlow,
}

impl Format {
    /// The name outside.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trade {
                bill,
                is_legacy: false,
            } => match bill {
                Bill::All => "wechat_pay.trade.all",
                Bill::Success => "wechat_pay.trade.success",
                Bill::Refund => "wechat_pay.trade.refund",
            },
            Self::Trade {
                bill,
                is_legacy: true,
            } => match bill {
                Bill::All => "wechat_pay.trade.all.legacy",
                Bill::Success => "wechat_pay.trade.success.legacy",
                Bill::Refund => "wechat_pay.trade.refund.legacy",
            },
            Self::FundFlow => "wechat_pay.fund_flow",
        }
    }

    /// The kinds of record that must have a row in it.
    const fn covers(self) -> &'static [RecordKind] {
        match self {
            Self::Trade { bill, .. } => match bill {
                Bill::All => &[RecordKind::Payment, RecordKind::Refund],
                Bill::Success => &[RecordKind::Payment],
                Bill::Refund => &[RecordKind::Refund],
            },
            Self::FundFlow => &[],
        }
    }

    const fn totals(self) -> TotalNames {
        match self {
            Self::Trade {
                is_legacy: false, ..
            } => TRADE,
            Self::Trade {
                is_legacy: true, ..
            } => TRADE_LEGACY,
            Self::FundFlow => FUND_FLOW,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Why a statement was refused; every variant knows its line.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The bytes are no text, or cannot be read to their end.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The first line is not the header of any known bill.
    #[error("line 1: not a merchant bill of WeChat Pay; it looks like {looks_like}")]
    NotAStatement {
        /// What it may be.
        looks_like: &'static str,
    },
    /// The header lacks a column.
    #[error("line {line}: {reason}")]
    Header {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: HeaderError,
    },
    /// A row cannot be read.
    #[error("line {line}: {reason}")]
    Row {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: RowError,
    },
    /// The file ends before its trailer does.
    #[error("line {line}: the file ends without its totals, so it was cut")]
    NoTrailer {
        /// The last line, counted from 1.
        line: u64,
    },
    /// The last line has no end, and its last number is shorter than those of the rows.
    #[error("line {line}: the file ends within a number, so it was cut")]
    CutTrailer {
        /// The last line, counted from 1.
        line: u64,
    },
    /// Something stands behind the trailer.
    #[error("line {line}: there is text behind the totals")]
    BehindTrailer {
        /// The line, counted from 1.
        line: u64,
    },
    /// A fund flow was given where orders are wanted.
    #[error(
        "line 1: a fund flow lists movements of the account, not orders; a trade bill is wanted"
    )]
    FundFlow,
    /// The contract crate does not know the currency of the file.
    #[error("line 1: {0}")]
    Currency(#[from] MoneyError),
}

impl StatementError {
    /// The line it is about, counted from 1.
    pub const fn line(&self) -> u64 {
        match self {
            Self::Text(error) => error.line(),
            Self::NotAStatement { .. } | Self::FundFlow | Self::Currency(_) => 1,
            Self::Header { line, .. }
            | Self::Row { line, .. }
            | Self::NoTrailer { line }
            | Self::CutTrailer { line }
            | Self::BehindTrailer { line } => *line,
        }
    }
}

/// What to do with a file that is known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Refuse it at its first fault.
    Refuse,
    /// Take the rows that can be read, and remember the first fault.
    AcceptIncomplete,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// Of a trade bill.
    Trade(Entry<'a>),
    /// Of a fund flow.
    Fund(FundMovement<'a>),
}

/// What a statement says beside its rows.
#[derive(Debug)]
pub struct Statement {
    /// Which bill it is.
    pub format: Format,
    /// How many rows were read.
    pub lines: u64,
    /// The currency of its rows; `None` when there are several, or no row.
    pub currency: Option<Currency>,
    /// The sums over the rows that were read.
    pub totals: Totals,
    /// The sums the file tells itself; `None` only in one that was accepted incomplete.
    pub trailer: Option<Totals>,
    /// Of a fund flow: whether each balance follows from the one before, read down or read up.
    pub balances_follow: Option<bool>,
    /// The days it covers.
    pub coverage: Coverage,
    /// The SHA-256 of the unpacked bytes.
    pub sha256: [u8; 32],
    /// The first fault of a file that was accepted incomplete.
    pub damage: Option<StatementError>,
}

impl Statement {
    /// Whether the file's own sums are those of its rows.
    pub fn trailer_agrees(&self) -> bool {
        self.trailer.is_some() && self.disagreements().is_empty()
    }

    /// The sums on which the trailer differs from the rows.
    pub fn disagreements(&self) -> Vec<Disagreement> {
        self.trailer
            .as_ref()
            .map_or_else(Vec::new, |trailer| self.totals.disagreements(trailer))
    }

    /// Why it is not whole: its first fault, or the first sum on which its trailer differs. `None` when it is.
    pub fn incompleteness(&self) -> Option<String> {
        if let Some(damage) = &self.damage {
            let cause = std::error::Error::source(damage);
            return Some(
                cause.map_or_else(|| damage.to_string(), |cause| format!("{damage}: {cause}")),
            );
        }
        let disagreements = self.disagreements();
        let first = disagreements.first()?;
        let computed = total_text(first.name, first.computed, self.currency);
        let told = total_text(first.name, first.trailer, self.currency);
        Some(format!(
            "the trailer says {} {told}, the rows {computed}",
            first.name
        ))
    }

    /// The receivable of a trade bill: Σ 应结订单金额 − Σ 退款金额 − Σ 手续费.
    pub fn receivable(&self) -> Option<Decimal> {
        let settled = self.totals.get(TotalName::SettlementAmount)?;
        let refunded = self.totals.get(TotalName::RefundAmount)?;
        let fees = self.totals.get(TotalName::Fee)?;
        settled.checked_sub(refunded)?.checked_sub(fees)
    }
}

/// Reads a statement to its end and hands every row to `take`, in the order of the file.
///
/// When it is refused, rows before the fault were handed over already; the caller forgets them.
pub fn read_statement(
    input: impl BufRead,
    tolerance: Tolerance,
    mut take: impl FnMut(Row<'_>),
) -> Result<Statement, StatementError> {
    let mut lines = LineReader::new(input);
    let layout = read_header(&mut lines)?;
    let mut reader = StatementReader::new(layout, tolerance);
    let outcome = reader.read_body(&mut lines, &mut take);
    if let Err(fault) = outcome {
        reader.tolerate(fault)?;
    }
    Ok(reader.finish(lines.sha256()))
}

/// Reads a trade bill as entries of a reconciliation; `source` is its position among the statements of a run.
///
/// `on_row` is called after each row, for those who show progress. Whether the bill is whole is for the caller to ask
/// ([`Statement::incompleteness`]).
pub fn read_entries(
    input: impl BufRead,
    tolerance: Tolerance,
    source: u16,
    mut on_row: impl FnMut(),
) -> Result<(Entries, Statement), StatementError> {
    let mut entries = Entries::default();
    let statement = read_statement(input, tolerance, |row| {
        if let Row::Trade(mut entry) = row {
            entry.facts.source = source;
            entries.push(entry);
        }
        on_row();
    })?;
    match statement.format {
        Format::Trade { .. } => Ok((entries, statement)),
        Format::FundFlow => Err(StatementError::FundFlow),
    }
}
