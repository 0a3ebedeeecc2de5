//! `clearday queues`: how the queue of each kind stands; pauses, resumes and drains one.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use clearday_jobs::JobKind;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::jobs::who;
use super::schema::kind_parser;
use super::statement::write_json;
use super::status::count;
use super::table::{Table, visible};
use super::views::instant;
use crate::domain::job::JobState;
use crate::engine::{Engine, QueueFigures};
use crate::http::{QueueList, QueueView};
use crate::store::daemons::DaemonSeen;

/// Between two looks at a queue that is drained.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A daemon that was leasing while the queue was paused is done within one look.
const EMPTY_LOOKS: u32 = 2;

/// Look at queues; pause, resume and drain them. A kind of job is its own queue.
#[derive(Debug, Args)]
pub(super) struct QueuesArgs {
    #[command(subcommand)]
    verb: QueuesVerb,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum QueuesVerb {
    /// Show how much waits in each queue and for how long, which are paused, and which daemons are at work.
    List,
    /// Stop the leasing of a kind on every daemon; what runs goes on, and submissions are still accepted.
    Pause {
        /// The kind.
        #[arg(value_parser = kind_parser())]
        kind: JobKind,
        /// Why, for whoever wonders.
        #[arg(long)]
        reason: String,
    },
    /// Let daemons lease a kind again.
    Resume {
        /// The kind.
        #[arg(value_parser = kind_parser())]
        kind: JobKind,
    },
    /// Pause a kind and wait until nothing of it runs; exit code 1 when something still does. It stays paused.
    Drain {
        /// The kind.
        #[arg(value_parser = kind_parser())]
        kind: JobKind,
        /// Why, for whoever wonders.
        #[arg(long)]
        reason: String,
        /// How long to wait.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u32,
    },
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: QueuesArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let who = who(&outside.environment);
    let is_drain = matches!(args.verb, QueuesVerb::Drain { .. });
    let queue = match args.verb {
        QueuesVerb::List => {
            let queues = engine.queues().await?;
            let mut tx = engine.store().read().await?;
            let daemons = engine.daemons(&mut tx).await?;
            write_list(queues, daemons, args.format, outside.stdout).map_err(CliError::output)?;
            return Ok(Exit::Fine);
        }
        QueuesVerb::Pause { kind, reason } => engine.pause(kind, &reason, &who).await?,
        QueuesVerb::Resume { kind } => engine.resume(kind, &who).await?,
        QueuesVerb::Drain {
            kind,
            reason,
            timeout,
        } => {
            engine.pause(kind, &reason, &who).await?;
            let patience = Duration::from_secs(timeout.into());
            drain(engine, kind, patience, args.format, outside).await?
        }
    };
    let still_runs = queue.running() > 0;
    write_queue(queue, args.format, outside.stdout).map_err(CliError::output)?;
    Ok(if is_drain && still_runs {
        Exit::Finding
    } else {
        Exit::Fine
    })
}

/// Looks until nothing runs or `patience` is over, and tells each change.
async fn drain(
    engine: &Engine,
    kind: JobKind,
    patience: Duration,
    format: OutputFormat,
    outside: &mut Outside<'_>,
) -> Result<QueueFigures, CliError> {
    let (mut waited, mut empty_looks, mut told) = (Duration::ZERO, 0_u32, None);
    loop {
        let queue = engine.queue(kind).await?;
        let running = queue.running();
        empty_looks = if running == 0 {
            empty_looks.saturating_add(1)
        } else {
            0
        };
        if empty_looks >= EMPTY_LOOKS || waited >= patience {
            return Ok(queue);
        }
        if format == OutputFormat::Text && running > 0 && told != Some(running) {
            told = Some(running);
            writeln!(outside.stdout, "{} still running", count(running))
                .and_then(|()| outside.stdout.flush())
                .map_err(CliError::output)?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        waited = waited.saturating_add(LOOK_EVERY);
    }
}

fn write_queue(
    queue: QueueFigures,
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        return write_json(&QueueView::from(queue), &mut out);
    }
    let state = pause_words(&queue);
    let running = count(queue.running());
    let waiting = count(queue.count(JobState::Ready));
    writeln!(
        out,
        "{} is {}; {running} running, {waiting} waiting",
        queue.kind,
        visible(&state)
    )
}

fn write_list(
    queues: Vec<QueueFigures>,
    daemons: Vec<DaemonSeen>,
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        let list = QueueList {
            queues: queues.into_iter().map(Into::into).collect(),
            daemons: daemons.into_iter().map(Into::into).collect(),
        };
        return write_json(&list, &mut out);
    }
    let mut table = Table::new(["kind", "waiting", "due since", "running", "dead", "state"]);
    for queue in &queues {
        table.add([
            queue.kind.to_string(),
            count(queue.count(JobState::Ready)),
            queue.due_since.map(instant).unwrap_or_default(),
            count(queue.running()),
            count(queue.count(JobState::Dead)),
            pause_words(queue),
        ]);
    }
    table.write(out)?;
    writeln!(out)?;
    write_daemons(&daemons, out)
}

/// Who is at work, for people.
pub(super) fn write_daemons(daemons: &[DaemonSeen], out: &mut dyn Write) -> io::Result<()> {
    if daemons.is_empty() {
        return writeln!(out, "no daemon is at work");
    }
    let mut table = Table::new(["daemon", "version", "since", "seen"]);
    for daemon in daemons {
        table.add([
            daemon.name.clone(),
            daemon.release_version.clone(),
            instant(daemon.started_at),
            instant(daemon.seen_at),
        ]);
    }
    table.write(out)
}

fn pause_words(queue: &QueueFigures) -> String {
    queue.pause.as_ref().map_or_else(
        || "open".to_owned(),
        |pause| {
            format!(
                "paused since {} by {}: {}",
                instant(pause.paused_at),
                pause.paused_by,
                pause.reason
            )
        },
    )
}
