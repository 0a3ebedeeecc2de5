//! How the process ends, and what a script may conclude from it.

use std::error::Error;
use std::process::ExitCode;

use clap::ValueEnum;

/// The exit codes of every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// It worked, and it found something: breaks, a broken invariant, a trailer that disagrees.
    Finding = 1,
    /// The input or the usage was refused.
    Refused = 2,
    /// A port, the database or Redis is not there.
    Unavailable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0_u8,
            Exit::Finding => 1,
            Exit::Refused => 2,
            Exit::Unavailable => 3,
        })
    }
}

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    what: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// The input or the usage was refused, for no deeper cause.
    pub fn refused(what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            what: what.into(),
            source: None,
        }
    }

    /// The same with its cause, which `what` does not repeat.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The whole chain of causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// How a verb prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}
