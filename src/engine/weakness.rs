//! What can be taken out of the engine, to show that the simulation notices its absence.
//!
//! Only with the feature `weaknesses`, which no release has: without it nothing is ever lacking, and the compiler
//! leaves the questions out.

use chrono::{DateTime, Utc};

use super::Engine;
use crate::domain::job::Job;
use crate::store::{StoreError, Tx};

/// A part of what keeps jobs safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// A commit checks the epoch of its lease.
    EpochCheck,
    /// A tick is decided once, whoever decides it.
    UniqueTick,
    /// A call is written down before it is made.
    IntentRow,
    /// Money that the outside tells of is booked once.
    UniqueFact,
    /// A call without an answer is unknown, and not failed.
    UnknownIsFailed,
}

impl Weakness {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::EpochCheck,
        Self::UniqueTick,
        Self::IntentRow,
        Self::UniqueFact,
        Self::UnknownIsFailed,
    ];
}

impl Engine {
    /// The same engine without one of its safeguards.
    #[cfg(feature = "weaknesses")]
    #[must_use]
    pub fn without(self, weakness: Weakness) -> Self {
        // The first one stays; nobody takes out two.
        self.0.weakness.set(weakness).ok();
        self
    }

    /// Whether a safeguard was taken out.
    #[cfg(feature = "weaknesses")]
    pub fn lacks(&self, weakness: Weakness) -> bool {
        self.0.weakness.get() == Some(&weakness)
    }

    /// The epoch under which a run may commit: its own. Without the check it is whatever the job has now.
    #[cfg(feature = "weaknesses")]
    pub(super) async fn epoch_of(&self, tx: &mut Tx, job: &Job) -> Result<i64, StoreError> {
        if self.lacks(Weakness::EpochCheck)
            && let Some(now) = crate::store::jobs::lock(tx, job.id).await?
        {
            return Ok(now.lease_epoch);
        }
        Ok(job.lease_epoch)
    }

    /// The epoch under which a run may commit: its own.
    #[cfg(not(feature = "weaknesses"))]
    #[expect(
        clippy::unused_self,
        clippy::unused_async,
        reason = "asked of an engine, which may lack something in a test"
    )]
    pub(super) async fn epoch_of(&self, _tx: &mut Tx, job: &Job) -> Result<i64, StoreError> {
        Ok(job.lease_epoch)
    }

    /// The key of the job that a tick starts: the same, whoever decides the tick.
    pub(super) fn key_of_tick(&self, schedule: &str, due_at: DateTime<Utc>) -> String {
        let key = format!("{schedule}@{}", due_at.to_rfc3339());
        if self.lacks(Weakness::UniqueTick) {
            return format!("{key} by {}", self.worker());
        }
        key
    }

    /// Whether a safeguard was taken out: never.
    #[cfg(not(feature = "weaknesses"))]
    #[expect(
        clippy::unused_self,
        reason = "asked of an engine, which may lack something in a test"
    )]
    pub const fn lacks(&self, _weakness: Weakness) -> bool {
        false
    }
}
