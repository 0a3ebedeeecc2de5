//! `clearday openapi`: the HTTP API, described by the code itself.

use std::io::Write;

use super::exit::{CliError, Exit};
use crate::http::openapi_json;

/// Prints the description and says how to exit.
pub(super) fn run(out: &mut (dyn Write + Send)) -> Result<Exit, CliError> {
    writeln!(out, "{}", openapi_json()).map_err(CliError::output)?;
    Ok(Exit::Fine)
}
