//! `clearday jobs`: looks at jobs, retries, cancels and puts them off. None of it moves money.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use clearday_jobs::{JobId, JobKind, PAYLOAD_BYTES_MAX};
use serde::Serialize;
use uuid::Uuid;

use super::Outside;
use super::bulk::{self, Meant, Until, write_dead};
use super::exit::{CliError, Exit, OutputFormat};
use super::input::read_bounded;
use super::schema::kind_parser;
use super::statement::write_json;
use super::table::{Table, visible};
use super::views::{JobLine, JobStory, PrunedStory, RejectionLine, instant};
use crate::domain::job::{Job, JobState};
use crate::engine::{Engine, Mended, OperateError, Source, Waiting, Wish};
use crate::store::events::TimelineEntry;
use crate::store::jobs::JobFilter;
use crate::store::operations::OperationView;
use crate::store::rejections::Rejection;
use crate::store::retention::PrunedJob;
use crate::store::{events, jobs, operations, rejections, retention};

/// Look at jobs, retry, cancel and put them off.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(subcommand)]
    verb: JobsVerb,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum JobsVerb {
    /// List jobs, the newest first.
    List(ListArgs),
    /// Tell everything about one job: why it waits, its timeline, its calls to the outside.
    Show {
        /// The job.
        id: JobId,
    },
    /// Make a waiting, dead or cancelled job due now, with all its attempts again; or all that match.
    Retry(Meant),
    /// Withdraw a job: at once when it waits or is dead, when its worker lets go if it runs; or all that match.
    Cancel(Meant),
    /// Put a waiting job off until later; or all that match.
    Snooze {
        #[command(flatten)]
        meant: Meant,
        #[command(flatten)]
        until: Until,
    },
    /// Show the dead letters by what killed them: `jobs retry --reason CAUSE` replays such a group.
    Dead,
    /// List submissions that were refused, with what was sent, the newest first.
    Rejected(RejectedArgs),
    /// Submit anew, mended, what had been refused; it is then linked to its job.
    Mend(MendArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this kind.
    #[arg(long, value_parser = kind_parser())]
    kind: Option<JobKind>,
    /// Only this state.
    #[arg(long, value_parser = state_parser())]
    state: Option<JobState>,
    /// Only jobs accepted before this one: the last of the page before.
    #[arg(long, value_name = "ID")]
    before: Option<JobId>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit_parser())]
    limit: u16,
}

#[derive(Debug, Args)]
struct MendArgs {
    /// The refused submission.
    id: Uuid,
    /// The payload as it should have been; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// Another kind; left out: the one it named.
    #[arg(long, value_parser = kind_parser())]
    kind: Option<JobKind>,
    /// Another key; left out: the one it carried.
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
struct RejectedArgs {
    /// Only those refused before this one: the last of the page before.
    #[arg(long, value_name = "ID")]
    before: Option<Uuid>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit_parser())]
    limit: u16,
}

pub(super) fn state_parser() -> impl TypedValueParser<Value = JobState> {
    PossibleValuesParser::new(JobState::ALL.iter().map(|state| state.as_str()))
        .try_map(|name| name.parse::<JobState>())
}

/// A page, not an export.
fn limit_parser() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..=1_000)
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: JobsArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let format = args.format;
    let written = match args.verb {
        JobsVerb::List(wanted) => {
            let page = list(engine, &wanted).await?;
            write_list(&page, format, outside.stdout)
        }
        JobsVerb::Show { id } => match show(engine, id).await? {
            Shown::Job(story) => write_story(&story, format, outside.stdout),
            Shown::Pruned(job, timeline) => write_pruned(&job, &timeline, format, outside.stdout),
        },
        JobsVerb::Mend(wanted) => {
            let job = mend(engine, wanted, outside).await?;
            write_list(&[job], format, outside.stdout)
        }
        JobsVerb::Retry(meant) => {
            return bulk::run(Wish::Retry, meant, format, engine, outside).await;
        }
        JobsVerb::Cancel(meant) => {
            return bulk::run(Wish::Cancel, meant, format, engine, outside).await;
        }
        JobsVerb::Snooze { meant, until } => {
            let wish = until.wish(engine.clock().now());
            return bulk::run(wish, meant, format, engine, outside).await;
        }
        JobsVerb::Dead => write_dead(engine.dead_letters().await?, format, outside.stdout),
        JobsVerb::Rejected(wanted) => {
            let page = rejected(engine, &wanted).await?;
            write_rejected(&page, format, outside.stdout)
        }
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

/// The account at the keyboard, as far as the environment tells.
pub(super) fn who(environment: &[(String, String)]) -> String {
    let account = environment.iter().find(|(name, _)| name == "USER");
    account.map_or_else(
        || "somebody at the command line".to_owned(),
        |(_, account)| format!("{account} at the command line"),
    )
}

async fn list(engine: &Engine, wanted: &ListArgs) -> Result<Vec<Job>, CliError> {
    let filter = JobFilter {
        kind: wanted.kind,
        state: wanted.state,
        before: wanted.before,
    };
    let mut tx = engine.store().read().await?;
    Ok(jobs::list(&mut tx, &filter, wanted.limit.into()).await?)
}

async fn rejected(engine: &Engine, wanted: &RejectedArgs) -> Result<Vec<Rejection>, CliError> {
    let mut tx = engine.store().read().await?;
    Ok(rejections::list(&mut tx, wanted.before, wanted.limit.into()).await?)
}

/// Everything about one job.
struct Story {
    job: Job,
    waiting: Option<Waiting>,
    timeline: Vec<TimelineEntry>,
    operations: Vec<OperationView>,
}

/// A job, or what is left of one.
enum Shown {
    Job(Box<Story>),
    Pruned(PrunedJob, Vec<TimelineEntry>),
}

async fn show(engine: &Engine, id: JobId) -> Result<Shown, CliError> {
    let mut tx = engine.store().read().await?;
    let timeline = events::timeline(&mut tx, id).await?;
    if let Some(job) = jobs::find(&mut tx, id).await? {
        return Ok(Shown::Job(Box::new(Story {
            waiting: engine.explain(&mut tx, &job).await?,
            operations: operations::of_job(&mut tx, id).await?,
            timeline,
            job,
        })));
    }
    let pruned = retention::find_pruned(&mut tx, id).await?;
    let pruned = pruned.ok_or(OperateError::NotFound(id))?;
    Ok(Shown::Pruned(pruned, timeline))
}

async fn mend(
    engine: &Engine,
    wanted: MendArgs,
    outside: &mut Outside<'_>,
) -> Result<Job, CliError> {
    let mended = Mended {
        kind: wanted.kind.map(|kind| kind.to_string()),
        idempotency_key: wanted.key,
        payload: read_bounded(&wanted.payload, PAYLOAD_BYTES_MAX, outside)?,
        source: Source::CommandLine,
    };
    let who = who(&outside.environment);
    let id = engine.mend(wanted.id, mended, &who).await?;
    let mut tx = engine.store().read().await?;
    let job = jobs::find(&mut tx, id).await?;
    Ok(job.ok_or(OperateError::NotFound(id))?)
}

#[derive(Serialize)]
struct JobPage {
    jobs: Vec<JobLine>,
}

#[derive(Serialize)]
struct RejectionPage {
    rejected: Vec<RejectionLine>,
}

pub(super) fn write_list(
    page: &[Job],
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        let jobs = page.iter().map(Into::into).collect();
        return write_json(&JobPage { jobs }, &mut out);
    }
    let mut table = Table::new(["job", "kind", "state", "run at", "attempt", "key", "note"]);
    for job in page {
        table.add([
            job.id.to_string(),
            job.kind.to_string(),
            job.state.to_string(),
            instant(job.run_at),
            format!("{}/{}", job.attempt, job.attempts_max),
            job.idempotency_key.clone(),
            job.note.clone(),
        ]);
    }
    table.write(out)
}

fn write_rejected(
    page: &[Rejection],
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        let rejected = page.iter().map(Into::into).collect();
        return write_json(&RejectionPage { rejected }, &mut out);
    }
    let mut table = Table::new(["rejected at", "source", "kind", "key", "reason"]);
    for rejection in page {
        table.add([
            instant(rejection.rejected_at),
            rejection.source.clone(),
            rejection.kind.clone().unwrap_or_default(),
            rejection.idempotency_key.clone().unwrap_or_default(),
            rejection.reason.clone(),
        ]);
    }
    table.write(out)
}

fn write_story(story: &Story, format: OutputFormat, mut out: &mut dyn Write) -> io::Result<()> {
    let Story {
        job,
        waiting,
        timeline,
        operations,
    } = story;
    if format == OutputFormat::Json {
        let story = JobStory::of(job, waiting.as_ref(), timeline, operations);
        return write_json(&story, &mut out);
    }
    writeln!(out, "job      {}", job.id)?;
    writeln!(out, "kind     {}", job.kind)?;
    writeln!(out, "key      {}", visible(&job.idempotency_key))?;
    writeln!(out, "payload  {}", visible(&job.payload))?;
    writeln!(out, "state    {}: {}", job.state, visible(&job.note))?;
    if let Some(waiting) = waiting {
        let until = waiting.until.map_or_else(String::new, |until| {
            let seconds = waiting.in_seconds.unwrap_or_default();
            format!(" until {}, in {seconds} s", instant(until))
        });
        writeln!(out, "waits    {}{until}", visible(&waiting.reason))?;
    }
    writeln!(out)?;
    write_timeline(timeline, out)?;
    if !operations.is_empty() {
        writeln!(out)?;
        write_operations(operations, out)?;
    }
    Ok(())
}

fn write_pruned(
    job: &PrunedJob,
    timeline: &[TimelineEntry],
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        return write_json(&PrunedStory::of(job, timeline), &mut out);
    }
    writeln!(out, "job      {}", job.id)?;
    writeln!(out, "kind     {}", job.kind)?;
    writeln!(out, "key      {}", visible(&job.idempotency_key))?;
    let (ended, pruned) = (instant(job.ended_at), instant(job.pruned_at));
    writeln!(
        out,
        "state    {} since {ended}, pruned at {pruned}",
        job.state
    )?;
    writeln!(out)?;
    write_timeline(timeline, out)
}

fn write_timeline(timeline: &[TimelineEntry], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["at", "event", "state", "attempt", "worker", "reason"]);
    for entry in timeline {
        table.add([
            instant(entry.occurred_at),
            entry.event.clone(),
            entry.state.clone(),
            entry.attempt.to_string(),
            entry.worker.clone().unwrap_or_default(),
            entry.reason.clone(),
        ]);
    }
    table.write(out)
}

fn write_operations(operations: &[OperationView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        "operation",
        "channel",
        "reference",
        "state",
        "since",
        "detail",
    ]);
    for operation in operations {
        table.add([
            operation.kind.clone(),
            operation.channel.clone(),
            operation.reference.clone(),
            operation.state.clone(),
            instant(operation.updated_at),
            operation.detail.clone(),
        ]);
    }
    table.write(out)
}
