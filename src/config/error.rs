//! What can be wrong with a configuration: always the key, where it was written, and what to write.
//!
//! A value is repeated only where it cannot be a secret.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::layers::ENVIRONMENT_PREFIX;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config` cannot be read.
    #[error("could not read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not TOML: {reason}")]
    Syntax {
        /// The first place that cannot be read.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that no setting has.
    #[error("{origin}: `{key}` is not a setting; {hint}")]
    UnknownKey {
        /// Where it was written.
        origin: Origin,
        /// The key, with its section.
        key: String,
        /// The likely spelling, or what there is.
        hint: Hint,
    },
    /// A value that its key cannot have.
    #[error("{origin}: `{key}`: {reason}")]
    Value {
        /// Where it was written.
        origin: Origin,
        /// The key, with its section.
        key: String,
        /// What it must be.
        reason: String,
    },
    /// The file that holds a secret cannot be read.
    #[error("{origin}: `{key}`: could not read {}", path.display())]
    SecretFile {
        /// Where the file was named.
        origin: Origin,
        /// The key that names it.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No database is named, and this command needs one.
    #[error(
        "`database.url` is not set: name a database, `sqlite://PATH` or `postgres://…`, in the file of --config \
         or in the variable {ENVIRONMENT_PREFIX}DATABASE__URL"
    )]
    NoDatabase,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `config/default.toml`.
    Default,
    /// A line of a file.
    File {
        /// The file, as it was named.
        path: Arc<str>,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("the embedded config/default.toml"),
            Self::File { path, line } => write!(formatter, "{path} line {line}"),
            Self::Variable(name) => write!(formatter, "the variable {name}"),
        }
    }
}

/// What somebody who misspelt a key probably wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// One name is near.
    DidYouMean(String),
    /// None is near; what there is.
    ThereIs(String),
}

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DidYouMean(name) => write!(formatter, "did you mean `{name}`?"),
            Self::ThereIs(names) => write!(formatter, "there is {names}"),
        }
    }
}

impl Hint {
    /// The nearest of `names`, or one that goes on where `wrong` ends, or all of them.
    pub(super) fn nearest(wrong: &str, names: &[&str]) -> Self {
        let nearest = names
            .iter()
            .map(|name| (strsim::osa_distance(wrong, name), *name))
            .filter(|(distance, _)| *distance <= tolerated(wrong))
            .min()
            .map(|(_, name)| name);
        let longer = || names.iter().copied().find(|name| name.starts_with(wrong));
        match nearest.or_else(longer) {
            Some(name) => Self::DidYouMean(name.to_owned()),
            None => Self::ThereIs(names.join(", ")),
        }
    }
}

/// A third of the letters: `litsen` is `listen`, but `port` is not `people`.
fn tolerated(word: &str) -> usize {
    word.chars().count().div_ceil(3)
}
