//! `clearday jobs retry|cancel|snooze` about one job or about all that match, and `jobs dead`.

use std::io::{self, Write};

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use clearday_jobs::{JobId, JobKind};

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::jobs::{state_parser, who, write_list};
use super::schema::kind_parser;
use super::statement::write_json;
use super::table::{Table, visible};
use super::views::instant;
use crate::domain::job::JobState;
use crate::engine::{DeadLetters, Engine, Wish};
use crate::http::{BulkAnswer, DeadLetterList};
use crate::store::bulk::Selection;

/// One job, or all that match.
#[derive(Debug, Args)]
pub(super) struct Meant {
    /// The job; left out: all that match.
    #[arg(conflicts_with_all = ["kind", "state", "partition", "contains", "reason", "accepted_from", "accepted_before", "due_before", "dry_run", "expected"])]
    id: Option<JobId>,
    /// Only this kind.
    #[arg(long, value_parser = kind_parser())]
    kind: Option<JobKind>,
    /// This state; left out: dead for a retry, ready for the others.
    #[arg(long, value_parser = state_parser())]
    state: Option<JobState>,
    /// Only the work of this one (a merchant, a channel).
    #[arg(long)]
    partition: Option<String>,
    /// Only with this text in the note or in the last error.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only with this cause, as `jobs dead` tells it.
    #[arg(long, value_name = "CAUSE")]
    reason: Option<String>,
    /// Only those accepted at this instant or later.
    #[arg(long, value_name = "INSTANT")]
    accepted_from: Option<DateTime<Utc>>,
    /// Only those accepted before this instant.
    #[arg(long, value_name = "INSTANT")]
    accepted_before: Option<DateTime<Utc>>,
    /// Only those that may run before this instant.
    #[arg(long, value_name = "INSTANT")]
    due_before: Option<DateTime<Utc>>,
    /// Only count those that match.
    #[arg(long, conflicts_with = "expected")]
    dry_run: bool,
    /// How many the dry run counted: nothing is done when it is another number by now.
    #[arg(long, value_name = "N")]
    expected: Option<u64>,
}

/// Until when a job is put off.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Until {
    /// Not run before this instant.
    #[arg(long, value_name = "INSTANT")]
    until: Option<DateTime<Utc>>,
    /// Not run for this long from now on.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u32>,
}

impl Until {
    /// The wish to put a job off.
    pub(super) fn wish(&self, now: DateTime<Utc>) -> Wish {
        let seconds = TimeDelta::seconds(self.seconds.unwrap_or_default().into());
        Wish::Snooze(self.until.unwrap_or(now + seconds))
    }
}

/// Fulfils the wish, or counts what it would meet.
pub(super) async fn run(
    wish: Wish,
    meant: Meant,
    format: OutputFormat,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let who = who(&outside.environment);
    if let Some(id) = meant.id {
        let job = engine.operate(id, wish, &who).await?;
        write_list(&[job], format, outside.stdout).map_err(CliError::output)?;
        return Ok(Exit::Fine);
    }
    let selection = meant.selection(wish);
    let answer = match meant.expected {
        Some(expected) => {
            let done = engine.operate_all(wish, &selection, expected, &who).await?;
            BulkAnswer::done(expected, done)
        }
        None if meant.dry_run => BulkAnswer::counted(engine.matching(wish, &selection).await?),
        None => {
            return Err(CliError::refused(
                "name a job, or count what matches with --dry-run and give that number as --expected",
            ));
        }
    };
    let exit = if answer.refused > 0 {
        Exit::Finding
    } else {
        Exit::Fine
    };
    write_answer(wish, &answer, format, outside.stdout).map_err(CliError::output)?;
    Ok(exit)
}

impl Meant {
    fn selection(&self, wish: Wish) -> Selection {
        Selection {
            state: self.state.unwrap_or(wish.usual_state()),
            kind: self.kind,
            partition: self.partition.clone(),
            contains: self.contains.clone(),
            reason: self.reason.clone(),
            accepted_from: self.accepted_from,
            accepted_before: self.accepted_before,
            due_before: self.due_before,
        }
    }
}

fn write_answer(
    wish: Wish,
    answer: &BulkAnswer,
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        return write_json(answer, &mut out);
    }
    if answer.dry_run {
        writeln!(out, "{} match", jobs(answer.matched))?;
        for id in &answer.examples {
            writeln!(out, "{id}")?;
        }
        return Ok(());
    }
    write!(out, "{} {}", jobs(answer.changed), wish.participle())?;
    if answer.moved_on > 0 {
        write!(out, ", {} went on by themselves", answer.moved_on)?;
    }
    if answer.refused > 0 {
        write!(out, ", {} refused", answer.refused)?;
    }
    writeln!(out)?;
    for refusal in &answer.refusals {
        writeln!(out, "{}", visible(&refusal.reason))?;
    }
    Ok(())
}

fn jobs(count: u64) -> String {
    let noun = if count == 1 { "job" } else { "jobs" };
    format!("{count} {noun}")
}

/// Shows the dead letters by what killed them.
pub(super) fn write_dead(
    letters: DeadLetters,
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        return write_json(&DeadLetterList::from(letters), &mut out);
    }
    let mut table = Table::new(["count", "kind", "oldest", "newest", "example", "cause"]);
    for group in &letters.groups {
        table.add([
            group.count.to_string(),
            group.kind.to_string(),
            instant(group.oldest),
            instant(group.newest),
            group.example.to_string(),
            group.reason.clone(),
        ]);
    }
    table.write(out)?;
    if letters.has_more {
        writeln!(out, "there are more than were looked at")?;
    }
    Ok(())
}
