//! `clearday statement inspect --channel bank`: what a bank's statement file is, and whether its balances follow.

use std::io::{self, Read, Write};
use std::path::Path;

use clearday_jobs::{Money, MoneyError};
use serde::Serialize;

use super::exit::{CliError, Exit, OutputFormat};
use super::statement::{open, refused, write_json};
use crate::domain::digest::hex_sha256;
use crate::formats::camt053::{self, BankStatement, CamtError, FILE_BYTES_MAX};

/// What `--format json` prints. Amounts are decimal strings in major units of `currency`, debits below zero.
#[derive(Serialize)]
struct Report {
    format: String,
    lines: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'static str>,
    totals: Vec<Totals>,
    /// Whether the opening balance and the lines make the closing balance, in every statement.
    trailer_agrees: bool,
    sha256: String,
}

/// What one statement of the file comes to.
#[derive(Serialize)]
struct Totals {
    statement: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_no: Option<String>,
    lines: usize,
    opening: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debits: Option<String>,
    /// What the opening balance and the lines make.
    sum: String,
    closing: String,
}

/// Runs the verb on one file.
pub(super) fn inspect(
    path: &Path,
    format: OutputFormat,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let bytes = read(path)?;
    let sha256 = hex_sha256(&bytes);
    let report = match camt053::read(&bytes) {
        Ok(statements) => whole(&statements, sha256).map_err(|error| refused(path, error))?,
        // The one fault of a file that is otherwise understood: its sums are told beside each other.
        Err(CamtError::Unbalanced {
            statement_id,
            opening,
            lines,
            sum,
            closing,
        }) => Report {
            format: camt053::FORMAT.to_owned(),
            lines,
            currency: Some(opening.currency().code()),
            totals: vec![Totals {
                statement: statement_id,
                account_no: None,
                lines,
                opening: opening.to_major_string(),
                credits: None,
                debits: None,
                sum: sum.to_major_string(),
                closing: closing.to_major_string(),
            }],
            trailer_agrees: false,
            sha256,
        },
        Err(error) => return Err(refused(path, error)),
    };
    let written = match format {
        OutputFormat::Json => write_json(&report, out),
        OutputFormat::Text => write_text(path, &report, out),
    };
    written.map_err(|error| CliError::refused("could not write the output").because(error))?;
    Ok(if report.trailer_agrees {
        Exit::Fine
    } else {
        Exit::Finding
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| refused(path, error))?;
    Ok(bytes)
}

fn whole(statements: &[BankStatement], sha256: String) -> Result<Report, MoneyError> {
    let totals: Vec<Totals> = statements.iter().map(totals).collect::<Result<_, _>>()?;
    let first = statements.first();
    Ok(Report {
        format: first.map_or_else(|| camt053::FORMAT.to_owned(), BankStatement::format),
        lines: statements.iter().map(|it| it.lines.len()).sum(),
        currency: first.map(|statement| statement.currency.code()),
        totals,
        trailer_agrees: true,
        sha256,
    })
}

fn totals(statement: &BankStatement) -> Result<Totals, MoneyError> {
    let zero = Money::from_minor(0, statement.currency);
    let sum = |is_debit| {
        let amounts = statement.lines.iter().map(|line| line.amount);
        let mut amounts = amounts.filter(|amount| amount.is_negative() == is_debit);
        amounts.try_fold(zero, Money::checked_add)
    };
    Ok(Totals {
        statement: statement.statement_id.clone(),
        account_no: Some(statement.account_no.clone()),
        lines: statement.lines.len(),
        opening: statement.opening.to_major_string(),
        credits: Some(sum(false)?.to_major_string()),
        debits: Some(sum(true)?.to_major_string()),
        sum: statement.closing.to_major_string(),
        closing: statement.closing.to_major_string(),
    })
}

fn write_text(path: &Path, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let (path, format, lines) = (path.display(), &report.format, report.lines);
    writeln!(out, "{path}: {format}, {lines} lines")?;
    let currency = report.currency.unwrap_or_default();
    for totals in &report.totals {
        let account = totals.account_no.as_deref().unwrap_or_default();
        writeln!(out, "statement {} {account}", totals.statement)?;
        let mut row =
            |name: &str, amount: &str| writeln!(out, "  {name:<10}{amount:>20} {currency}");
        row("opening", &totals.opening)?;
        for (name, amount) in [("credits", &totals.credits), ("debits", &totals.debits)] {
            if let Some(amount) = amount {
                row(name, amount)?;
            }
        }
        row("sum", &totals.sum)?;
        row("closing", &totals.closing)?;
    }
    writeln!(
        out,
        "{}",
        if report.trailer_agrees {
            "The lines lead from the opening balance to the closing balance."
        } else {
            "The lines do not lead to the closing balance: some are missing or were changed."
        }
    )
}
