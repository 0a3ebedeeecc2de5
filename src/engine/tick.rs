//! Ticks: the clock's wishes, decided once by whichever replica comes first.
//!
//! The tick's row and the job it starts commit together under a unique key, so no replica needs a
//! leader. Several ticks missed during downtime are coalesced: the latest fires, the others keep a
//! row that says so.

use chrono::{DateTime, Utc};
use tracing::info;

use super::Engine;
use super::accept::{Acceptance, Source, Submission};
use crate::store::ticks::Tick;
use crate::store::{StoreError, ticks};

/// Ticks one decision may coalesce; older ones are missed beyond the cap and not even listed one
/// by one, so that a schedule of every minute after a year of downtime stays cheap.
const COALESCED_MAX: usize = 1_000;

/// A schedule as the engine needs it: when it is due, and what job a tick starts.
pub trait TickPlan: Send + Sync {
    /// The schedule's name, also the front of its jobs' keys.
    fn name(&self) -> &str;
    /// The kind of job it starts.
    fn kind(&self) -> clearday_jobs::JobKind;
    /// The instants that are due after `from` and not after `until`, oldest first, at most `limit`
    /// of the newest.
    fn due_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>>;
    /// The payload of the job for the tick due at this instant.
    fn payload(&self, due_at: DateTime<Utc>) -> String;
}

impl Engine {
    /// Decides every tick of a schedule that is due by now; returns how many fired (0 or 1).
    pub async fn tick(&self, plan: &dyn TickPlan) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        let from = ticks::decided_until(&mut tx, plan.name(), now).await?;
        let mut due = plan.due_between(from, now, COALESCED_MAX);
        let Some(latest) = due.pop() else {
            tx.commit().await?;
            return Ok(0);
        };
        let submission = Submission {
            kind: plan.kind().to_string(),
            idempotency_key: Some(format!("{}@{}", plan.name(), latest.to_rfc3339())),
            payload: plan.payload(latest).into_bytes(),
            source: Source::Schedule,
            fault: None,
        };
        let (answers, rings) = self.accept_in(&mut tx, vec![submission]).await?;
        let job_id = match answers.into_iter().next() {
            Some(Acceptance::New(id) | Acceptance::Known(id, _)) => Some(id),
            // Kept as a rejected submission; the tick is on record as skipped.
            Some(Acceptance::Refused(_)) | None => None,
        };
        let fate = |name: &str, due_at| Tick {
            schedule: plan.name().to_owned(),
            due_at,
            fate: name.to_owned(),
        };
        for missed in due {
            ticks::decide(&mut tx, &fate("coalesced", missed), None, now).await?;
        }
        let name = if job_id.is_some() { "fired" } else { "skipped" };
        if !ticks::decide(&mut tx, &fate(name, latest), job_id, now).await? {
            // Another replica decided it first; whatever was done here rolls back.
            return Ok(0);
        }
        tx.commit().await?;
        self.ring(rings);
        info!(schedule = plan.name(), due_at = %latest, "Tick of {} was {name}", plan.name());
        Ok(usize::from(job_id.is_some()))
    }
}
