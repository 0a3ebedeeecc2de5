//! How the process ends, and what a script may conclude from it.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::config::ConfigError;
use crate::engine::{ApprovalError, MendError, OperateError};
use crate::store::StoreError;

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

    /// A port, the database or Redis is not there.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unavailable,
            what: what.into(),
            source: None,
        }
    }

    /// The output cannot be written.
    pub fn output(source: io::Error) -> Self {
        Self::refused("could not write the output").because(source)
    }

    /// An error that says all there is to say.
    pub fn of(exit: Exit, error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            exit,
            what: error.to_string(),
            source: Causes::of(error),
        }
    }

    /// Whether whoever read the output went away, as `head` does: that is their right.
    pub fn is_broken_pipe(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            let kind = error.downcast_ref().map(io::Error::kind);
            if kind == Some(io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The same with its cause, which `what` does not repeat.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The whole chain of causes in one line; foreign errors that repeat their cause are not believed twice.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.ends_with(&words) {
                text = format!("{text}: {words}");
            }
            cause = error.source();
        }
        text
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Url => Exit::Refused,
            StoreError::Unavailable(_)
            | StoreError::NoAnswer(_)
            | StoreError::SchemaBehind
            | StoreError::Constraint { .. }
            | StoreError::Corrupt { .. }
            | StoreError::LedgerConflict(_)
            | StoreError::Migration(_)
            | StoreError::Other(_) => Exit::Unavailable,
        };
        Self::of(exit, error)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::of(Exit::Refused, error)
    }
}

impl From<OperateError> for CliError {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::NotFound(_)
            | OperateError::Refused { .. }
            | OperateError::OpenOperation { .. }
            | OperateError::SnoozeUntil(_)
            | OperateError::Reason
            | OperateError::NeverAllowed { .. }
            | OperateError::CountDiffers { .. } => Self::of(Exit::Refused, error),
            OperateError::Store(error) => error.into(),
        }
    }
}

impl From<MendError> for CliError {
    fn from(error: MendError) -> Self {
        match error {
            MendError::NotFound(_) | MendError::MendedBefore { .. } | MendError::Refused(_) => {
                Self::of(Exit::Refused, error)
            }
            MendError::Store(error) => error.into(),
        }
    }
}

impl From<ApprovalError> for CliError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::NotFound(_)
            | ApprovalError::NotAnApprover { .. }
            | ApprovalError::Reason
            | ApprovalError::Refused { .. } => Self::of(Exit::Refused, error),
            ApprovalError::LostRace(_) => Self::of(Exit::Unavailable, error),
            ApprovalError::Store(error) => error.into(),
        }
    }
}

/// The causes of an error without the error itself, which is told already.
#[derive(Debug)]
struct Causes<E>(E);

impl<E: Error + Send + Sync + 'static> Causes<E> {
    fn of(error: E) -> Option<Box<dyn Error + Send + Sync>> {
        error.source()?;
        Some(Box::new(Self(error)))
    }
}

impl<E: Error> fmt::Display for Causes<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => fmt::Display::fmt(cause, formatter),
            None => Ok(()),
        }
    }
}

impl<E: Error> Error for Causes<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source().and_then(Error::source)
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
