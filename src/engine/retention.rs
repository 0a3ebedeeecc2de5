//! How long finished jobs and their histories are kept.
//!
//! Done and cancelled jobs leave when their time is over. Dead letters never leave by themselves: they wait for a
//! person. A key is remembered for as long as its job is kept; after that it names new work.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobId;

use super::Engine;
use crate::store::jobs::COUNT_MAX;
use crate::store::retention::{self, EndedJob};
use crate::store::{StoreError, Tx, daemons};

/// Jobs in one transaction: a few milliseconds, which nobody notices.
const BATCH: usize = 500;
/// A daemon that was killed is of no interest after this long.
const DAEMON_KEPT: TimeDelta = TimeDelta::days(7);

/// How long what is finished is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs, from their end on.
    pub jobs: TimeDelta,
    /// Their histories, from the same instant on; never shorter than the jobs.
    pub job_events: TimeDelta,
}

/// What pruning did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Jobs that are gone.
    pub jobs: u64,
    /// Histories that are gone.
    pub histories: u64,
    /// Jobs that stay because the books refer to them.
    pub kept: u64,
    /// Whether there may be more to do.
    pub has_more: bool,
}

impl Pruned {
    /// Both together; whether there is more is what the later one says.
    #[must_use]
    pub const fn and(self, later: Self) -> Self {
        Self {
            jobs: self.jobs.saturating_add(later.jobs),
            histories: self.histories.saturating_add(later.histories),
            kept: self.kept.saturating_add(later.kept),
            has_more: later.has_more,
        }
    }
}

impl Engine {
    /// Prunes one batch of jobs and one of histories, each in a transaction of its own.
    pub async fn prune_batch(&self, keep: &Retention) -> Result<Pruned, StoreError> {
        let now = self.clock().now();
        let jobs = self.prune_jobs(keep, now).await?;
        let histories = self.prune_histories(keep, now).await?;
        let counters = self.counters();
        counters.jobs_pruned.fetch_add(jobs.jobs, Ordering::Relaxed);
        let gone = jobs.histories.saturating_add(histories.histories);
        counters.histories_pruned.fetch_add(gone, Ordering::Relaxed);
        Ok(Pruned {
            has_more: jobs.has_more || histories.has_more,
            ..jobs.and(histories)
        })
    }

    async fn prune_jobs(&self, keep: &Retention, now: DateTime<Utc>) -> Result<Pruned, StoreError> {
        let mut tx = self.store().begin().await?;
        let ended = retention::lock_ended(&mut tx, now - keep.jobs, BATCH).await?;
        let (gone, kept) = part(&mut tx, &ended).await?;
        let ids: Vec<JobId> = gone.iter().map(|job| job.id).collect();
        retention::keep(&mut tx, &kept, now).await?;
        // A history whose own time is over goes at once with its job.
        let over = now - keep.job_events;
        let (over, stays): (Vec<EndedJob>, Vec<EndedJob>) =
            gone.into_iter().partition(|job| job.ended_at < over);
        let over: Vec<JobId> = over.iter().map(|job| job.id).collect();
        retention::remember(&mut tx, &stays, now).await?;
        retention::delete_histories(&mut tx, &over).await?;
        let jobs = retention::delete_jobs(&mut tx, &ids).await?;
        daemons::forget(&mut tx, now - DAEMON_KEPT).await?;
        tx.commit().await?;
        Ok(Pruned {
            jobs,
            histories: count(over.len()),
            kept: count(kept.len()),
            has_more: ended.len() >= BATCH,
        })
    }

    async fn prune_histories(
        &self,
        keep: &Retention,
        now: DateTime<Utc>,
    ) -> Result<Pruned, StoreError> {
        let mut tx = self.store().begin().await?;
        let over = retention::lock_over(&mut tx, now - keep.job_events, BATCH).await?;
        retention::delete_histories(&mut tx, &over).await?;
        let histories = retention::forget(&mut tx, &over).await?;
        tx.commit().await?;
        Ok(Pruned {
            histories,
            has_more: over.len() >= BATCH,
            ..Pruned::default()
        })
    }

    /// What pruning would do now, counted up to [`COUNT_MAX`] jobs.
    pub async fn foresee_pruning(&self, keep: &Retention) -> Result<Pruned, StoreError> {
        let now = self.clock().now();
        let mut foreseen = Pruned::default();
        let mut looked_at = 0_u64;
        let mut after: Option<EndedJob> = None;
        let over = now - keep.job_events;
        loop {
            let mut tx = self.store().read().await?;
            let page =
                retention::ended_after(&mut tx, now - keep.jobs, after.as_ref(), BATCH).await?;
            let (gone, kept) = part(&mut tx, &page).await?;
            let with_history = gone.iter().filter(|job| job.ended_at < over).count();
            foreseen = foreseen.and(Pruned {
                jobs: count(gone.len()),
                histories: count(with_history),
                kept: count(kept.len()),
                has_more: page.len() >= BATCH,
            });
            looked_at = looked_at.saturating_add(count(page.len()));
            after = page.into_iter().next_back();
            if !foreseen.has_more || i64::try_from(looked_at).is_ok_and(|it| it >= COUNT_MAX) {
                let histories = retention::count_over(&mut tx, over, COUNT_MAX).await?;
                foreseen.histories = foreseen
                    .histories
                    .saturating_add(u64::try_from(histories).unwrap_or(0));
                return Ok(foreseen);
            }
        }
    }
}

/// Those that may go, and those that stay because the books refer to them.
async fn part(tx: &mut Tx, ended: &[EndedJob]) -> Result<(Vec<EndedJob>, Vec<JobId>), StoreError> {
    let ids: Vec<JobId> = ended.iter().map(|job| job.id).collect();
    let kept = retention::referred_to(tx, &ids).await?;
    let staying: BTreeSet<JobId> = kept.iter().copied().collect();
    let gone = ended.iter().filter(|job| !staying.contains(&job.id));
    Ok((gone.cloned().collect(), kept))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
