//! `clearday import`: takes a whole file in, or nothing of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use clearday_jobs::MerchantId;
use serde::Serialize;

use super::exit::{CliError, Exit, OutputFormat};
use super::statement::{refused, write_json};
use super::{Outside, input};
use crate::domain::import::ImportSummary;
use crate::domain::import::merchants::MerchantOutcome;
use crate::domain::import::records::RecordRow;
use crate::engine::{Engine, ImportError};
use crate::formats::merchants::read_merchants;
use crate::formats::orders::read_orders;
use crate::formats::partners::read_partners;
use crate::formats::records::read_numbered_records;

/// Import a file of the upstream system; the same file again changes nothing.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// What the file holds.
    #[arg(long = "type", value_enum)]
    content: Content,
    /// CSV with a header, or JSON lines with the same names; `-` reads standard input.
    file: PathBuf,
    /// How to print what was done.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Content {
    /// Payments and refunds in our books.
    Records,
    /// Orders that wait for their money, with the references for paying them.
    Orders,
    /// Merchants who are owed money, with their fee contracts.
    Merchants,
    /// Partners who may be asked to pay, and how they are reached.
    Partners,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: ImportArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let file = args.file.as_path();
    let imported = match args.content {
        Content::Records => {
            let rows = read_records(file, outside)?;
            engine.import_records(rows).await.map(Report::of)
        }
        Content::Orders => {
            let rows = read_orders(input::open(file, outside)?);
            let rows = rows.map_err(|error| refused(file, error))?;
            engine.import_orders(&rows).await.map(Report::of)
        }
        Content::Merchants => {
            let rows = read_merchants(input::open(file, outside)?);
            let rows = rows.map_err(|error| refused(file, error))?;
            let imported = engine.import_merchants(&rows).await;
            imported.map(Report::of_merchants)
        }
        Content::Partners => {
            let rows = read_partners(input::open(file, outside)?);
            let rows = rows.map_err(|error| refused(file, error))?;
            engine.import_partners(&rows).await.map(Report::of)
        }
    };
    let report = imported.map_err(|error| not_imported(file, error))?;
    let written = match args.format {
        OutputFormat::Json => write_json(&report, &mut outside.stdout),
        OutputFormat::Text => write_text(&report, outside.stdout),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

fn read_records(file: &Path, outside: &mut Outside<'_>) -> Result<Vec<RecordRow>, CliError> {
    let mut rows = Vec::new();
    read_numbered_records(input::open(file, outside)?, |line, record| {
        rows.push(RecordRow { line, record });
    })
    .map_err(|error| refused(file, error))?;
    Ok(rows)
}

fn not_imported(file: &Path, error: ImportError) -> CliError {
    match error {
        ImportError::Refused(_) | ImportError::Deadline { .. } => refused(file, error),
        ImportError::LostRace | ImportError::MerchantChanged => {
            CliError::of(Exit::Unavailable, error)
        }
        ImportError::Store(error) => error.into(),
    }
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Report {
    rows: u64,
    new: u64,
    changed: u64,
    unchanged: u64,
    /// Merchants whose other bank account two people must approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for_approval: Option<Vec<MerchantId>>,
}

impl Report {
    const fn of(summary: ImportSummary) -> Self {
        Self {
            rows: summary.rows,
            new: summary.new,
            changed: summary.changed,
            unchanged: summary.unchanged,
            waiting_for_approval: None,
        }
    }

    fn of_merchants(outcome: MerchantOutcome) -> Self {
        Self {
            waiting_for_approval: Some(outcome.waiting),
            ..Self::of(outcome.summary)
        }
    }
}

fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report {
        rows,
        new,
        changed,
        unchanged,
        waiting_for_approval,
    } = report;
    writeln!(
        out,
        "{rows} rows: {new} new, {changed} changed, {unchanged} unchanged"
    )?;
    for merchant_id in waiting_for_approval.iter().flatten() {
        writeln!(
            out,
            "waiting for approval: another bank account of merchant {merchant_id}"
        )?;
    }
    Ok(())
}
