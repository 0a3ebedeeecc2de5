//! "Why is this waiting?" has an answer for every job, and where it is known, the time until it moves.

use chrono::{DateTime, Utc};
use clearday_jobs::JobKind;

use super::Engine;
use crate::domain::approval::Approval;
use crate::domain::job::{Job, JobState};
use crate::store::queues::Pause;
use crate::store::{StoreError, Tx, approvals, claims, daemons, operations, queues};

/// Why a job does not move, and when that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In a sentence.
    pub reason: String,
    /// When it is looked at again, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// For how many seconds that is.
    pub in_seconds: Option<u64>,
}

/// What is the same for every job at one moment: which queues are paused, who is at work.
#[derive(Clone, Debug)]
pub struct Explainer {
    now: DateTime<Utc>,
    pauses: Vec<(JobKind, Pause)>,
    partition_max: Option<usize>,
    daemons: usize,
    last_seen: Option<DateTime<Utc>>,
}

impl Engine {
    /// Looks at what is the same for every job, to explain many of them.
    pub async fn explainer(&self, tx: &mut Tx) -> Result<Explainer, StoreError> {
        Ok(Explainer {
            now: self.clock().now(),
            pauses: queues::paused(tx).await?,
            partition_max: self.policy().partition_concurrency,
            daemons: self.daemons(tx).await?.len(),
            last_seen: daemons::last_seen(tx).await?,
        })
    }

    /// Says why a job waits; `None` when it is done or cancelled.
    pub async fn explain(&self, tx: &mut Tx, job: &Job) -> Result<Option<Waiting>, StoreError> {
        self.explainer(tx).await?.explain(tx, job).await
    }
}

impl Explainer {
    /// Says why a job waits; `None` when it is done or cancelled.
    pub async fn explain(&self, tx: &mut Tx, job: &Job) -> Result<Option<Waiting>, StoreError> {
        let crowd = self.crowd(tx, job).await?;
        let Some((mut reason, until)) = self.state(job, crowd) else {
            return Ok(None);
        };
        if job.state == JobState::Ready
            && let Some(asked) = approvals::open_of_job(tx, job.id).await?
        {
            reason.push_str(&approval_words(&asked));
        }
        let open = operations::open_of_job(tx, job.id).await?;
        if let Some(operation) = open.first() {
            let (key, since) = (
                &operation.idempotency_key,
                operation.updated_at.to_rfc3339(),
            );
            reason = format!("{reason}; the outcome of {key} is unknown since {since}");
        }
        let left = until.map(|until| until.signed_duration_since(self.now).num_seconds());
        Ok(Some(Waiting {
            reason,
            until,
            in_seconds: left.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
        }))
    }

    /// That a due job's partition has as many running as it may, over all daemons.
    async fn crowd(&self, tx: &mut Tx, job: &Job) -> Result<Option<String>, StoreError> {
        let is_due = job.state == JobState::Ready && job.run_at <= self.now;
        let Some(most) = self.partition_max.filter(|_| is_due) else {
            return Ok(None);
        };
        let partition = job.partition.as_deref().unwrap_or_default();
        let running = claims::running(tx, job.kind).await?;
        let running = running.into_iter().find(|(of, _)| of == partition);
        let running = running.map_or(0, |(_, running)| running);
        Ok((running >= most).then(|| {
            let whose = if partition.is_empty() {
                "nobody in particular"
            } else {
                partition
            };
            format!("the work of {whose} is at its limit: {running} of at most {most} are running")
        }))
    }

    fn state(&self, job: &Job, crowd: Option<String>) -> Option<(String, Option<DateTime<Utc>>)> {
        match job.state {
            JobState::Done | JobState::Cancelled => None,
            JobState::Dead => {
                let reason = format!("buried: {}; retry it when the cause is mended", job.note);
                Some((reason, None))
            }
            JobState::Running | JobState::Cancelling => {
                let lease = job.lease.as_ref();
                let worker = lease.map_or("nobody", |lease| lease.worker.as_str());
                let wish = if job.state == JobState::Cancelling {
                    "; it is cancelled when the worker lets go"
                } else {
                    ""
                };
                let reason = format!("running: its lease is held by {worker}{wish}");
                Some((reason, lease.map(|lease| lease.until)))
            }
            JobState::Ready if job.run_at > self.now => {
                let pause = self.pause(job.kind);
                let pause = pause.map_or_else(String::new, |pause| format!("; {pause}"));
                Some((format!("not due: {}{pause}", job.note), Some(job.run_at)))
            }
            JobState::Ready => {
                let since = job.run_at.to_rfc3339();
                Some((format!("due since {since}: {}", self.due(job, crowd)), None))
            }
        }
    }

    /// Why a job that is due is not in anybody's hands: the first of these that holds.
    fn due(&self, job: &Job, crowd: Option<String>) -> String {
        if let Some(known) = self.pause(job.kind).or(crowd) {
            return known;
        }
        match (self.daemons, self.last_seen) {
            (0, None) => "waits for a daemon, and none is at work".to_owned(),
            (0, Some(last)) => format!(
                "waits for a daemon, and none is at work; the last one was seen at {}",
                last.to_rfc3339()
            ),
            (1, _) => "waits for a worker with free room; one daemon is at work".to_owned(),
            (many, _) => {
                format!("waits for a worker with free room; {many} daemons are at work")
            }
        }
    }

    fn pause(&self, kind: JobKind) -> Option<String> {
        let (_, pause) = self.pauses.iter().find(|(paused, _)| *paused == kind)?;
        Some(format!(
            "its queue is paused since {} by {}: {}",
            pause.paused_at.to_rfc3339(),
            pause.paused_by,
            pause.reason
        ))
    }
}

fn approval_words(asked: &Approval) -> String {
    let who = asked.waits_for();
    format!(
        "; {} {} waits since {} for {}",
        asked.action,
        asked.subject,
        asked.requested_at.to_rfc3339(),
        who.as_deref().unwrap_or("its approval")
    )
}
