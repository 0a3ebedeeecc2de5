//! What can go wrong with the database, in the classes a caller treats differently.

use std::time::Duration;

/// A failed database call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database that clearday speaks.
    #[error("the database url must start with postgres:// or sqlite://")]
    Url,
    /// It could not be reached, timed out, is shutting down, or asked to try again.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Nothing came back, neither an answer nor an error: whether it happened is not known here.
    #[error("the database gave no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The schema is older than this release.
    #[error("the database schema is behind this release: run `clearday migrate`")]
    SchemaBehind,
    /// A constraint refused the change: a fault of ours, kept from the books.
    #[error("the database refused the change (constraint {constraint})")]
    Constraint {
        /// The name of the constraint, where the database tells.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value that this release cannot read.
    #[error("column {column} holds a value this release cannot read: {reason}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// Why it cannot be read.
        reason: String,
    },
    /// An event was booked before, with another content: it is never booked a second time.
    #[error("{0} is booked already, with another content")]
    LedgerConflict(String),
    /// The schema could not be brought up to date.
    #[error("the migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// Anything else: a wrong statement, a lost row.
    #[error("the database call failed")]
    Other(#[source] sqlx::Error),
}

impl StoreError {
    /// A stored value that cannot be read back.
    pub(crate) fn corrupt(column: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            column,
            reason: reason.to_string(),
        }
    }

    /// Whether trying again later may help.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoAnswer(_) => true,
            Self::Url
            | Self::SchemaBehind
            | Self::Constraint { .. }
            | Self::Corrupt { .. }
            | Self::LedgerConflict(_)
            | Self::Migration(_)
            | Self::Other(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum that grows; what is not known here is `Other`"
    )]
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Database(answer) if is_passing(answer.code().as_deref()) => {
                Self::Unavailable(error)
            }
            sqlx::Error::Database(answer) if is_constraint(answer.as_ref()) => Self::Constraint {
                constraint: answer.constraint().unwrap_or("unnamed").to_owned(),
                source: error,
            },
            _ => Self::Other(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(error)
    }
}

fn is_constraint(answer: &dyn sqlx::error::DatabaseError) -> bool {
    answer.is_unique_violation() || answer.is_foreign_key_violation() || answer.is_check_violation()
}

/// Whether SQLite found the file locked by another connection.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error();
    let code = answer.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(primary_code(&code), Some(5 | 6)))
}

/// The lowest byte of an extended code of SQLite's.
fn primary_code(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|extended| extended & 0xFF)
}

/// Codes that pass by themselves. Postgres: class 08 (connection), 40 (serialization, deadlock),
/// 53 (resources: disk full, too many connections), 57 (operator: shutdown, query cancelled), 58
/// (disk), 55P03 (lock not available), 25P03 (idle in transaction). SQLite: busy, locked, I/O
/// error and disk full, in the lowest byte of its extended codes.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    if code.len() == 5 {
        let class = code.get(..2).unwrap_or_default();
        return ["08", "40", "53", "57", "58"].contains(&class)
            || ["55P03", "25P03"].contains(&code);
    }
    matches!(primary_code(code), Some(5 | 6 | 10 | 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let passing = ["40P01", "57014", "53100", "25P03", "5", "517", "13", "778"];
        let lasting = ["23505", "42601", "22021", "25006", "1", "8", "2067", "787"];
        for code in passing {
            assert!(is_passing(Some(code)), "{code}");
        }
        for code in lasting {
            assert!(!is_passing(Some(code)), "{code}");
        }
        assert!(!is_passing(None));
    }
}
