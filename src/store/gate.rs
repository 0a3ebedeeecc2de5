//! A gate before every transaction, for whoever decides what happens between transactions and at their ends.
//!
//! A store has none, unless a simulation gives it one. An open transaction never waits at a gate: SQLite has one
//! writer, and what is decided about a commit is decided before the transaction begins.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{Sqlite, Transaction};

use super::StoreError;

/// What a transaction is begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// To look.
    Read,
    /// To change something, perhaps.
    Write,
}

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// It takes effect, and its answer is heard.
    Kept,
    /// The database refuses it: nothing happened.
    Refused,
    /// It takes effect, and its answer is lost.
    Unheard,
}

/// Stands before every transaction of a store.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Passed before a transaction begins, with none open; says what will become of its commit.
    fn enter(&self, access: Access) -> BoxFuture<'static, CommitFate>;
    /// Passed after a commit whose answer is heard, with no transaction open.
    fn leave(&self) -> BoxFuture<'static, ()>;
    /// Passed, with no transaction open, by who waits for another task of the same process.
    fn stand_by(&self) -> BoxFuture<'static, ()>;
}

/// An open transaction on SQLite, and what was decided of it at the gate.
#[derive(Debug)]
pub struct SqliteTx {
    transaction: Transaction<'static, Sqlite>,
    passed: Option<(Arc<dyn Gate>, CommitFate)>,
}

impl SqliteTx {
    pub(super) fn new(
        transaction: Transaction<'static, Sqlite>,
        passed: Option<(Arc<dyn Gate>, CommitFate)>,
    ) -> Self {
        Self {
            transaction,
            passed,
        }
    }

    /// Commits, as the gate decided; returns the gate, which is still to be left.
    pub(super) async fn commit(self) -> Result<Option<Arc<dyn Gate>>, StoreError> {
        let Some((gate, fate)) = self.passed else {
            self.transaction.commit().await?;
            return Ok(None);
        };
        match fate {
            CommitFate::Kept => {
                self.transaction.commit().await?;
                Ok(Some(gate))
            }
            CommitFate::Refused => {
                self.transaction.rollback().await?;
                Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed))
            }
            CommitFate::Unheard => {
                self.transaction.commit().await?;
                Err(StoreError::NoAnswer(super::CALL_TIMEOUT))
            }
        }
    }
}

impl std::ops::Deref for SqliteTx {
    type Target = Transaction<'static, Sqlite>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl std::ops::DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}
