//! `clearday status`: how much waits, since when, and who is at work.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use clap::Args;
use clearday_jobs::JobKind;
use serde::Serialize;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use super::table::Table;
use super::views::instant;
use crate::domain::job::JobState;
use crate::engine::Engine;
use crate::store::jobs::COUNT_MAX;
use crate::store::overview::{LeaseHolder, count_rejections, lease_holders};
use crate::store::{StoreError, Tx, jobs};

/// Show how much waits, since when, and which daemons are at work.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// What `--format json` prints; counts stop at 100,000.
#[derive(Serialize)]
struct Report {
    kinds: Vec<KindLine>,
    rejected: i64,
    daemons: Vec<DaemonLine>,
}

#[derive(Serialize)]
struct KindLine {
    kind: &'static str,
    waiting: i64,
    due_since: Option<String>,
    running: i64,
    dead: i64,
}

#[derive(Serialize)]
struct DaemonLine {
    worker: String,
    jobs: i64,
    lease_until: String,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: StatusArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let report = look(engine).await?;
    let written = match args.format {
        OutputFormat::Json => write_json(&report, &mut outside.stdout),
        OutputFormat::Text => write_text(&report, outside.stdout),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

async fn look(engine: &Engine) -> Result<Report, StoreError> {
    let now = engine.clock().now();
    let mut tx = engine.store().read().await?;
    let mut kinds = Vec::with_capacity(JobKind::ALL.len());
    for kind in JobKind::ALL {
        kinds.push(look_at_kind(&mut tx, kind, now).await?);
    }
    let holders = lease_holders(&mut tx).await?;
    Ok(Report {
        kinds,
        rejected: count_rejections(&mut tx).await?,
        daemons: holders.into_iter().map(Into::into).collect(),
    })
}

async fn look_at_kind(
    tx: &mut Tx,
    kind: JobKind,
    now: DateTime<Utc>,
) -> Result<KindLine, StoreError> {
    let running = jobs::count_in_state(tx, kind, JobState::Running).await?;
    let cancelling = jobs::count_in_state(tx, kind, JobState::Cancelling).await?;
    Ok(KindLine {
        kind: kind.as_str(),
        waiting: jobs::count_in_state(tx, kind, JobState::Ready).await?,
        due_since: jobs::oldest_due(tx, kind, now).await?.map(instant),
        running: running.saturating_add(cancelling),
        dead: jobs::count_in_state(tx, kind, JobState::Dead).await?,
    })
}

impl From<LeaseHolder> for DaemonLine {
    fn from(holder: LeaseHolder) -> Self {
        Self {
            worker: holder.worker,
            jobs: holder.jobs,
            lease_until: instant(holder.until),
        }
    }
}

fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["kind", "waiting", "due since", "running", "dead"]);
    for line in &report.kinds {
        table.add([
            line.kind.to_owned(),
            count(line.waiting),
            line.due_since.clone().unwrap_or_default(),
            count(line.running),
            count(line.dead),
        ]);
    }
    table.write(out)?;
    writeln!(out, "\nrefused submissions: {}", count(report.rejected))?;
    if report.daemons.is_empty() {
        return writeln!(out, "no daemon holds a job");
    }
    writeln!(out)?;
    let mut table = Table::new(["daemon", "jobs", "until"]);
    for line in &report.daemons {
        table.add([
            line.worker.clone(),
            count(line.jobs),
            line.lease_until.clone(),
        ]);
    }
    table.write(out)
}

/// A count, and that there are more where it was cut off.
pub(super) fn count(number: i64) -> String {
    if number >= COUNT_MAX {
        format!("{number}+")
    } else {
        number.to_string()
    }
}
