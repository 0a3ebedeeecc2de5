//! The sweep: finds jobs whose worker died or slept, and gives them to the next.
//!
//! A process that has been cut off from the database itself does not sweep until everybody who is
//! alive had time to renew.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use tracing::{error, warn};

use super::Engine;
use crate::domain::job::{Job, JobEvent};
use crate::domain::retry::backoff;
use crate::store::{StoreError, Tx, jobs};

/// Jobs rescued per transaction; a full page is followed by another at once.
const PAGE: usize = 200;

impl Engine {
    /// Rescues every job whose lease has lapsed, if this process may judge that; returns how many.
    pub async fn sweep_when_steady(&self) -> Result<usize, StoreError> {
        if !self
            .0
            .contact
            .is_steady(self.clock().now(), self.policy().lease)
        {
            return Ok(0);
        }
        self.sweep().await
    }

    /// Rescues every job whose lease has lapsed, whoever asks; returns how many.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let mut rescued = 0_usize;
        loop {
            let mut tx = self.store().begin().await?;
            let lapsed = jobs::lock_lapsed(&mut tx, self.clock().now(), PAGE).await?;
            let mut due = Vec::new();
            for job in &lapsed {
                due.extend(self.rescue(&mut tx, job).await?);
            }
            tx.commit().await?;
            due.dedup();
            self.ring(due);
            rescued = rescued.saturating_add(lapsed.len());
            if lapsed.len() < PAGE {
                return Ok(rescued);
            }
        }
    }

    async fn rescue(
        &self,
        tx: &mut Tx,
        job: &Job,
    ) -> Result<Option<clearday_jobs::JobKind>, StoreError> {
        self.counters().rescued.fetch_add(1, Ordering::Relaxed);
        let worker = job
            .lease
            .as_ref()
            .map_or("nobody", |lease| lease.worker.as_str());
        let now = self.clock().now();
        if job.rescues >= self.policy().rescues_max {
            let story = format!(
                "its lease lapsed {} times, the last time with {worker}: the job seems to kill its workers",
                job.rescues.saturating_add(1)
            );
            error!(job.id = %job.id, job.kind = %job.kind, rescues = job.rescues, "Buried job {}", job.id);
            return self
                .release(tx, job, JobEvent::Bury, now, &story, Some(story.clone()))
                .await;
        }
        warn!(job.id = %job.id, job.kind = %job.kind, worker, "Rescued job {} from a lapsed lease", job.id);
        let note = format!("the lease of {worker} lapsed");
        // At once the first time; a job that kills its workers takes the next ones down slowly.
        let wait = match job.rescues {
            0 => TimeDelta::zero(),
            rescues => backoff(rescues, self.ids().permille()),
        };
        self.release(tx, job, JobEvent::Rescue, now + wait, &note, None)
            .await
    }
}
