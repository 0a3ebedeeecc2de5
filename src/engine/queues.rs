//! The queue of a kind, as people see and steer it: how it stands, paused, resumed.
//!
//! Pausing ends the leasing of a kind on every daemon, because the claim itself asks the table; what runs goes on to
//! its end, and submissions are still accepted. Only people pause: nothing here decides to.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;
use serde_json::json;

use super::{Engine, OperateError};
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::job::JobState;
use crate::store::daemons::{self, DaemonSeen};
use crate::store::queues::{self, Pause};
use crate::store::{StoreError, Tx, audit, jobs};

/// The longest reason for a pause, in characters: a sentence.
pub const REASON_LENGTH_MAX: usize = 500;

/// A daemon that was not heard of for longer than this is not at work: twelve heartbeats of the usual length.
const DAEMON_SILENCE_MAX: TimeDelta = TimeDelta::seconds(60);

/// How the queue of one kind stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// The kind.
    pub kind: JobKind,
    /// How many jobs are in each state, counted up to [`jobs::COUNT_MAX`].
    pub counts: Vec<(JobState, i64)>,
    /// Since when the longest waiting due job has been due; none when none is.
    pub due_since: Option<DateTime<Utc>>,
    /// For how long that is.
    pub latency: Option<Duration>,
    /// That nobody takes its jobs, and why.
    pub pause: Option<Pause>,
}

impl QueueFigures {
    /// How many jobs are in this state.
    pub fn count(&self, wanted: JobState) -> i64 {
        let mut counts = self.counts.iter();
        let found = counts.find(|(state, _)| *state == wanted);
        found.map_or(0, |(_, count)| *count)
    }

    /// How many are in a worker's hands.
    pub fn running(&self) -> i64 {
        let leased = self.counts.iter().filter(|(state, _)| state.is_leased());
        leased.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

impl Engine {
    /// How every queue stands now.
    pub async fn queues(&self) -> Result<Vec<QueueFigures>, StoreError> {
        let mut tx = self.store().read().await?;
        let mut figures = Vec::with_capacity(JobKind::ALL.len());
        for kind in JobKind::ALL {
            figures.push(self.queue_in(&mut tx, kind).await?);
        }
        Ok(figures)
    }

    /// How one queue stands now.
    pub async fn queue(&self, kind: JobKind) -> Result<QueueFigures, StoreError> {
        let mut tx = self.store().read().await?;
        self.queue_in(&mut tx, kind).await
    }

    async fn queue_in(&self, tx: &mut Tx, kind: JobKind) -> Result<QueueFigures, StoreError> {
        let now = self.clock().now();
        let mut counts = Vec::with_capacity(JobState::ALL.len());
        for &state in JobState::ALL {
            counts.push((state, jobs::count_in_state(tx, kind, state).await?));
        }
        let due_since = jobs::oldest_due(tx, kind, now).await?;
        let late = |since: DateTime<Utc>| now.signed_duration_since(since).to_std();
        Ok(QueueFigures {
            kind,
            counts,
            due_since,
            latency: due_since.map(|since| late(since).unwrap_or_default()),
            pause: queues::find_pause(tx, kind).await?,
        })
    }

    /// Stops the leasing of a kind on every daemon until somebody resumes it. One that is paused already stays as it
    /// is, with the name of who paused it first.
    ///
    /// # Errors
    /// [`OperateError::Reason`] when the reason is empty or too long.
    pub async fn pause(
        &self,
        kind: JobKind,
        reason: &str,
        who: &str,
    ) -> Result<QueueFigures, OperateError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_LENGTH_MAX {
            return Err(OperateError::Reason);
        }
        let now = self.clock().now();
        let pause = Pause {
            paused_at: now,
            paused_by: who.to_owned(),
            reason: reason.to_owned(),
        };
        let mut tx = self.store().begin().await?;
        if queues::pause(&mut tx, kind, &pause).await? {
            let entry = entry(AuditAction::QueuePaused, kind, who, Some(reason));
            audit::append(&mut tx, &[entry], now).await?;
        }
        tx.commit().await?;
        Ok(self.queue(kind).await?)
    }

    /// Lets daemons lease a kind again, and wakes them. One that is not paused stays as it is.
    pub async fn resume(&self, kind: JobKind, who: &str) -> Result<QueueFigures, OperateError> {
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        if queues::resume(&mut tx, kind, now).await? {
            let entry = entry(AuditAction::QueueResumed, kind, who, None);
            audit::append(&mut tx, &[entry], now).await?;
        }
        tx.commit().await?;
        self.ring([kind]);
        Ok(self.queue(kind).await?)
    }

    /// The daemons that are at work, as far as they said so lately.
    pub async fn daemons(&self, tx: &mut Tx) -> Result<Vec<DaemonSeen>, StoreError> {
        daemons::seen_since(tx, self.clock().now() - DAEMON_SILENCE_MAX).await
    }
}

fn entry(what: AuditAction, kind: JobKind, who: &str, reason: Option<&str>) -> AuditEntry {
    let detail = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    AuditEntry {
        who: who.to_owned(),
        what,
        subject: format!("queue {kind}"),
        detail,
    }
}
