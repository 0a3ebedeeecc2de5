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

/// How a worker was lost.
#[derive(Clone, Copy, Debug)]
enum Lost<'a> {
    /// It did not renew its lease in time: it died, sleeps, or is cut off.
    Lapsed,
    /// It is proved dead.
    Died(&'a str),
}

impl Engine {
    /// Rescues every job whose lease has lapsed, if this process may judge that; returns how many.
    pub async fn sweep_when_steady(&self) -> Result<usize, StoreError> {
        if !self.is_steady() {
            return Ok(0);
        }
        self.rescue_all(Lost::Lapsed, Self::is_steady).await
    }

    fn is_steady(&self) -> bool {
        let contact = &self.0.contact;
        contact.is_steady(self.clock().now(), self.policy().lease)
    }

    /// Rescues every job whose lease has lapsed, whoever asks; returns how many.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        self.rescue_all(Lost::Lapsed, |_| true).await
    }

    /// Rescues every job that a worker holds which is proved dead, however long its leases would last; returns how
    /// many.
    pub async fn take_over(&self, dead: &str) -> Result<usize, StoreError> {
        self.rescue_all(Lost::Died(dead), |_| true).await
    }

    async fn rescue_all(
        &self,
        lost: Lost<'_>,
        may_judge: impl Fn(&Self) -> bool + Send,
    ) -> Result<usize, StoreError> {
        let mut rescued = 0_usize;
        loop {
            let mut tx = self.store().begin_keeping().await?;
            // A database that was long in coming kept everybody else from renewing, too.
            if !may_judge(self) {
                return Ok(rescued);
            }
            let jobs = match lost {
                Lost::Lapsed => jobs::lock_lapsed(&mut tx, self.clock().now(), PAGE).await?,
                Lost::Died(worker) => jobs::lock_of_worker(&mut tx, worker, PAGE).await?,
            };
            let mut due = Vec::new();
            for job in &jobs {
                due.extend(self.rescue(&mut tx, job, lost).await?);
            }
            tx.commit().await?;
            due.dedup();
            self.ring(due);
            rescued = rescued.saturating_add(jobs.len());
            if jobs.len() < PAGE {
                return Ok(rescued);
            }
        }
    }

    async fn rescue(
        &self,
        tx: &mut Tx,
        job: &Job,
        lost: Lost<'_>,
    ) -> Result<Option<clearday_jobs::JobKind>, StoreError> {
        self.counters().rescued.fetch_add(1, Ordering::Relaxed);
        let worker = job
            .lease
            .as_ref()
            .map_or("nobody", |lease| lease.worker.as_str());
        let now = self.clock().now();
        if job.rescues >= self.policy().rescues_max {
            let story = format!(
                "its workers were lost {} times, the last one was {worker}: the job seems to kill them",
                job.rescues.saturating_add(1)
            );
            error!(job.id = %job.id, job.kind = %job.kind, rescues = job.rescues, "Buried job {}", job.id);
            return self
                .release(tx, job, JobEvent::Bury, now, &story, Some(story.clone()))
                .await;
        }
        let note = match lost {
            Lost::Lapsed => format!("the lease of {worker} lapsed"),
            Lost::Died(_) => format!("{worker} died"),
        };
        warn!(job.id = %job.id, job.kind = %job.kind, worker, "Rescued job {}: {note}", job.id);
        // At once the first time; a job that kills its workers takes the next ones down slowly.
        let wait = match job.rescues {
            0 => TimeDelta::zero(),
            rescues => backoff(rescues, self.ids().permille()),
        };
        self.release(tx, job, JobEvent::Rescue, now + wait, &note, None)
            .await
    }
}
