//! `clearday verify`: whether the books agree with each other, and with what they rest on.

use std::io::{self, Write};

use clap::Args;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use super::table::Table;
use crate::engine::Engine;
use crate::verify::{Report, verify};

/// Check that the books agree with each other, and with what they rest on.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs the verb and says how to exit: a broken check is a finding.
pub(super) async fn run(
    args: VerifyArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let report = verify(engine.store()).await?;
    let written = match args.format {
        OutputFormat::Json => write_json(&report, &mut outside.stdout),
        OutputFormat::Text => write_text(&report, outside.stdout),
    };
    written.map_err(CliError::output)?;
    Ok(if report.ok { Exit::Fine } else { Exit::Finding })
}

fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["check", "", "detail"]);
    for check in &report.checks {
        let verdict = if check.ok { "ok" } else { "BROKEN" };
        table.add([
            check.name.to_owned(),
            verdict.to_owned(),
            check.detail.clone(),
        ]);
    }
    table.write(out)
}
