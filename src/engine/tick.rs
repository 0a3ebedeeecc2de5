//! Ticks: the clock's wishes, decided once by whichever replica comes first.
//!
//! The tick's row and the job it starts commit together under a unique key, so no replica needs a
//! leader. Every tick gets its row, the oldest first and a bounded number per transaction, so that
//! what is on record never has a gap and a year of downtime is caught up with step by step.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use tracing::{info, warn};

use super::accept::{Acceptance, Source, Submission};
use super::{Engine, Weakness};
use crate::domain::schedule::{CatchUp, TickFate};
use crate::store::ticks::Decision;
use crate::store::{StoreError, Tx, ticks};

/// Ticks that one transaction leaves behind when there are too many to be decided one by one.
const BEYOND_PER_STEP: usize = 1_000;

/// A schedule as the engine needs it: when it is due, and what job a tick starts.
pub trait TickPlan: Send + Sync {
    /// The schedule's name, also the front of its jobs' keys.
    fn name(&self) -> &str;
    /// The kind of job it starts.
    fn kind(&self) -> JobKind;
    /// The instants that are due after `from` and not after `until`, oldest first, at most `limit`
    /// of the newest.
    fn due_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>>;
    /// The instants that are due after `from` and before `until`, oldest first, at most `limit` of
    /// the oldest.
    fn due_before(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>>;
    /// What becomes of ticks that are due together.
    fn catch_up(&self) -> CatchUp;
    /// The payload of the job for the tick due at this instant.
    fn payload(&self, due_at: DateTime<Utc>) -> String;
}

/// What one transaction came to.
enum Step {
    /// These were left behind, and there is more to decide.
    Beyond(usize),
    /// Everything is decided; so many fired.
    Decided(usize),
    /// Another replica decided the same meanwhile; whatever was done here rolls back.
    Overtaken,
}

impl Engine {
    /// Decides every tick of a schedule that is due by now; returns how many fired.
    pub async fn tick(&self, plan: &dyn TickPlan) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let mut beyond = 0_usize;
        loop {
            match self.tick_step(plan, now).await? {
                Step::Beyond(count) => beyond = beyond.saturating_add(count),
                Step::Overtaken => {}
                Step::Decided(fired) => {
                    if beyond > 0 {
                        let fate = plan.catch_up().fate_beyond();
                        warn!(
                            schedule = plan.name(),
                            ticks = beyond,
                            "{beyond} ticks of {} were {fate}",
                            plan.name()
                        );
                    }
                    return Ok(fired);
                }
            }
        }
    }

    async fn tick_step(&self, plan: &dyn TickPlan, now: DateTime<Utc>) -> Result<Step, StoreError> {
        let newest_max = plan.catch_up().newest_max();
        let mut tx = self.store().begin().await?;
        let from = ticks::decided_until(&mut tx, plan.name(), now).await?;
        if self.lacks(Weakness::UniqueTick) {
            // What was decided by then may not be what is decided when the ticks are written down.
            tx.commit().await?;
            tx = self.store().begin().await?;
        }
        let due = plan.due_between(from, now, newest_max.saturating_add(1));
        if due.len() <= newest_max {
            return self.decide_newest(tx, plan, &due, now).await;
        }
        let until = due.get(1).copied().unwrap_or(now);
        let fate = plan.catch_up().fate_beyond();
        let decided: Vec<Decision> = plan
            .due_before(from, until, BEYOND_PER_STEP)
            .into_iter()
            .map(|due_at| Decision {
                due_at,
                fate,
                job_id: None,
            })
            .collect();
        if !ticks::decide_all(&mut tx, plan.name(), &decided, now).await? {
            return Ok(Step::Overtaken);
        }
        tx.commit().await?;
        Ok(Step::Beyond(decided.len()))
    }

    async fn decide_newest(
        &self,
        mut tx: Tx,
        plan: &dyn TickPlan,
        due: &[DateTime<Utc>],
        now: DateTime<Utc>,
    ) -> Result<Step, StoreError> {
        let fates = plan.catch_up().decide_newest(due, now);
        let mut rings = BTreeSet::new();
        let mut decided = Vec::with_capacity(due.len());
        for (due_at, wished) in due.iter().copied().zip(fates) {
            let (fate, job_id) = match wished {
                TickFate::Fired => match self.start(&mut tx, plan, due_at, &mut rings).await? {
                    Some(id) => (TickFate::Fired, Some(id)),
                    // Its refusal is kept as a rejected submission.
                    None => (TickFate::Skipped, None),
                },
                TickFate::Coalesced | TickFate::Skipped | TickFate::Missed => (wished, None),
            };
            decided.push(Decision {
                due_at,
                fate,
                job_id,
            });
        }
        let is_first = ticks::decide_all(&mut tx, plan.name(), &decided, now).await?;
        if !is_first && !self.lacks(Weakness::UniqueTick) {
            return Ok(Step::Overtaken);
        }
        tx.commit().await?;
        self.ring(rings);
        let fired = decided.iter().filter(|tick| tick.job_id.is_some()).count();
        if let Some(Decision { due_at, fate, .. }) = decided.last() {
            info!(schedule = plan.name(), due_at = %due_at, fired, "Tick of {} was {fate}", plan.name());
        }
        Ok(Step::Decided(fired))
    }

    async fn start(
        &self,
        tx: &mut Tx,
        plan: &dyn TickPlan,
        due_at: DateTime<Utc>,
        rings: &mut BTreeSet<JobKind>,
    ) -> Result<Option<JobId>, StoreError> {
        let submission = Submission {
            kind: plan.kind().to_string(),
            idempotency_key: Some(self.key_of_tick(plan.name(), due_at)),
            payload: plan.payload(due_at).into_bytes(),
            source: Source::Schedule,
            fault: None,
        };
        let (answers, due) = self.accept_in(tx, vec![submission]).await?;
        rings.extend(due);
        Ok(match answers.into_iter().next() {
            Some(Acceptance::New(id) | Acceptance::Known(id, _)) => Some(id),
            Some(Acceptance::Refused(_)) | None => None,
        })
    }
}
