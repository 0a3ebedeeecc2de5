//! `clearday prune`: lets finished jobs go whose time is over, as daemons do by themselves.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use crate::config::Settings;
use crate::engine::{Engine, Pruned};

/// Daemons get the database for themselves in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Delete done and cancelled jobs, and their histories, whose time is over ([retention]). Daemons do so by themselves.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    jobs: u64,
    histories: u64,
    kept: u64,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: PruneArgs,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let Some(keep) = settings.retention() else {
        return Err(CliError::refused(
            "everything is kept for ever: `retention.jobs_days` is 0",
        ));
    };
    let pruned = if args.dry_run {
        engine.foresee_pruning(&keep).await?
    } else {
        let mut pruned = engine.prune_batch(&keep).await?;
        while pruned.has_more {
            tokio::time::sleep(PAUSE).await;
            pruned = pruned.and(engine.prune_batch(&keep).await?);
        }
        pruned
    };
    let written = match args.format {
        OutputFormat::Json => {
            let report = Report {
                dry_run: args.dry_run,
                jobs: pruned.jobs,
                histories: pruned.histories,
                kept: pruned.kept,
            };
            write_json(&report, &mut outside.stdout)
        }
        OutputFormat::Text => write_text(args.dry_run, pruned, outside.stdout),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

fn write_text(dry_run: bool, pruned: Pruned, out: &mut dyn Write) -> io::Result<()> {
    let verb = if dry_run { "would be pruned" } else { "pruned" };
    let Pruned {
        jobs,
        histories,
        kept,
        ..
    } = pruned;
    writeln!(
        out,
        "{jobs} jobs and {histories} histories {verb}; {kept} jobs stay because the books refer to them"
    )
}
