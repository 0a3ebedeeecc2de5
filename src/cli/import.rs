//! `clearday import`: takes a whole file in, or nothing of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::{CliError, Exit, OutputFormat};
use super::statement::{refused, write_json};
use super::{Outside, input};
use crate::domain::import::ImportSummary;
use crate::domain::import::records::RecordRow;
use crate::engine::{Engine, ImportError};
use crate::formats::orders::read_orders;
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
            engine.import_records(rows).await
        }
        Content::Orders => {
            let rows = read_orders(input::open(file, outside)?);
            let rows = rows.map_err(|error| refused(file, error))?;
            engine.import_orders(&rows).await
        }
    };
    let summary = imported.map_err(|error| not_imported(file, error))?;
    let written = match args.format {
        OutputFormat::Json => write_json(&Report::of(summary), &mut outside.stdout),
        OutputFormat::Text => write_text(summary, outside.stdout),
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
        ImportError::LostRace => CliError::of(Exit::Unavailable, error),
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
}

impl Report {
    const fn of(summary: ImportSummary) -> Self {
        Self {
            rows: summary.rows,
            new: summary.new,
            changed: summary.changed,
            unchanged: summary.unchanged,
        }
    }
}

fn write_text(summary: ImportSummary, out: &mut dyn Write) -> io::Result<()> {
    let ImportSummary {
        rows,
        new,
        changed,
        unchanged,
    } = summary;
    writeln!(
        out,
        "{rows} rows: {new} new, {changed} changed, {unchanged} unchanged"
    )
}
