//! `clearday schema`: what the payload of a kind of job looks like.

use std::io::Write;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clearday_jobs::{JobKind, UnknownKind, example_for, schema_for};

use super::exit::{CliError, Exit};

/// Print the JSON Schema of a kind of job, or a valid payload of it.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// The kind of job.
    #[arg(value_parser = kind_parser())]
    kind: JobKind,
    /// Print a valid payload in place of the schema.
    #[arg(long)]
    example: bool,
}

/// Reads the name of a kind, and offers the names to shells and to those who err.
pub(super) fn kind_parser() -> impl TypedValueParser<Value = JobKind> {
    PossibleValuesParser::new(JobKind::ALL.map(JobKind::as_str))
        .try_map(|name| -> Result<JobKind, UnknownKind> { name.parse() })
}

/// Runs the verb and says how to exit.
pub(super) fn run(args: &SchemaArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let text = if args.example {
        example_for(args.kind).trim_end().to_owned()
    } else {
        format!("{:#}", schema_for(args.kind))
    };
    writeln!(out, "{text}").map_err(CliError::output)?;
    Ok(Exit::Fine)
}
