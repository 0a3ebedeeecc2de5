//! What the daemon tells about itself: one subscriber for the process, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Why nothing will be told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter is not one")]
    Filter(#[from] ParseError),
    /// The process has a subscriber.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
}

/// Sets the process' log up; once.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(&log.filter)?)
        // Colours are for eyes: a file or a collector would keep their codes.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Reads a filter such as `info,clearday::queue=debug`.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}
