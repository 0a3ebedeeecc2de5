//! `clearday completions`: what a shell needs to complete the command line.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::Arguments;
use super::exit::{CliError, Exit};

/// Print the completions for a shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the verb and says how to exit.
pub(super) fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    // Written at once, because the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(
        args.shell,
        &mut Arguments::command(),
        "clearday",
        &mut script,
    );
    out.write_all(&script).map_err(CliError::output)?;
    Ok(Exit::Fine)
}
