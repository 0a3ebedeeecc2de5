//! `clearday enqueue`: submits a job straight to the database.

use std::path::PathBuf;

use clap::Args;
use clearday_jobs::PAYLOAD_BYTES_MAX;
use serde::Serialize;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::input::read_bounded;
use super::statement::write_json;
use crate::domain::job::JobState;
use crate::engine::{Acceptance, Engine, Source, Submission};

/// Submit a job: the same key with the same payload is the same job.
#[derive(Debug, Args)]
pub(super) struct EnqueueArgs {
    /// The kind of job, like `order_expiry`; `clearday schema KIND` says what it takes.
    kind: String,
    /// Names this piece of work, so that it is done once.
    #[arg(long)]
    key: String,
    /// The payload as JSON; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// How to print the job; submitting is what scripts do, so JSON is the default.
    #[arg(long, value_enum, default_value_t = OutputFormat::Json)]
    format: OutputFormat,
}

/// What is printed for an accepted job.
#[derive(Serialize)]
struct Accepted {
    job_id: String,
    state: &'static str,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: EnqueueArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let submission = Submission {
        kind: args.kind,
        idempotency_key: Some(args.key),
        payload: read_bounded(&args.payload, PAYLOAD_BYTES_MAX, outside)?,
        source: Source::CommandLine,
        fault: None,
    };
    let answers = engine.accept(vec![submission]).await?;
    let (id, state) = match answers.into_iter().next() {
        Some(Acceptance::New(id)) => (id, JobState::Ready),
        Some(Acceptance::Known(id, state)) => (id, state),
        Some(Acceptance::Refused(refusal)) => return Err(CliError::of(Exit::Refused, refusal)),
        None => return Err(CliError::refused("the submission was not answered")),
    };
    let accepted = Accepted {
        job_id: id.to_string(),
        state: state.as_str(),
    };
    let written = match args.format {
        OutputFormat::Json => write_json(&accepted, &mut outside.stdout),
        OutputFormat::Text => writeln!(outside.stdout, "{} {}", accepted.job_id, accepted.state),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}
