//! `clearday audit verify`: whether the chain of what people did is as it was written.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use crate::domain::audit::BrokenChain;
use crate::engine::{AuditFinding, Engine};

/// Check the chain of admin actions, approvals and payouts.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    verb: AuditVerb,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    /// Follow the chain to its end; exits with 1 where a row was edited, deleted, inserted, moved or
    /// cut off. Keep the head it prints elsewhere to notice also that all of it was written anew.
    Verify,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: AuditArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let AuditVerb::Verify = args.verb;
    let finding = engine.verify_audit().await?;
    let written = match args.format {
        OutputFormat::Json => write_json(&Report::of(&finding), &mut outside.stdout),
        OutputFormat::Text => write_text(&finding, outside.stdout),
    };
    written.map_err(CliError::output)?;
    Ok(if finding.broken.is_none() {
        Exit::Fine
    } else {
        Exit::Finding
    })
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Report<'f> {
    ok: bool,
    /// Rows that are whole, from the first on.
    rows: i64,
    /// The digest of the last of them.
    head_sha256: &'f str,
    /// The first row that is not whole.
    broken_row: Option<i64>,
    /// What is wrong with it.
    broken: Option<String>,
}

impl<'f> Report<'f> {
    fn of(finding: &'f AuditFinding) -> Self {
        Self {
            ok: finding.broken.is_none(),
            rows: finding.head.seq,
            head_sha256: &finding.head.sha256,
            broken_row: finding.broken.as_ref().map(BrokenChain::row),
            broken: finding.broken.as_ref().map(ToString::to_string),
        }
    }
}

fn write_text(finding: &AuditFinding, out: &mut dyn Write) -> io::Result<()> {
    let (rows, head) = (finding.head.seq, &finding.head.sha256);
    match &finding.broken {
        None => writeln!(out, "the chain is whole: {rows} rows, head {head}"),
        Some(broken) => writeln!(
            out,
            "the chain is broken: {broken}; it is whole up to row {rows}"
        ),
    }
}
