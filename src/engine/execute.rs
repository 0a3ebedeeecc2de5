//! Carries one run through to a recorded end, whatever the handler does: succeed, fail, panic,
//! take too long, or lose its lease.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::{error, info, warn};

use super::{Engine, Finished, Run};
use crate::domain::job::{Job, JobEvent};
use crate::domain::retry::{AfterFailure, FailureClass, decide_after_failure};
use crate::store::{StoreError, jobs};

/// Why a run did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A database, channel or file was not to be had.
    #[error("{what} is unavailable: {reason}")]
    Unavailable {
        /// What was asked.
        what: String,
        /// What it said.
        reason: String,
    },
    /// Another run changed the row first; the retry will see its result.
    #[error("{0} changed while it was being decided")]
    LostRace(String),
    /// Trying again cannot help.
    #[error("{0}")]
    Invalid(String),
    /// The lease was lost; somebody else has the job and nothing may be recorded.
    #[error("the lease was lost")]
    StaleLease,
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The handler panicked: a bug, kept with its words.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// The handler took longer than a run may.
    #[error("the run took longer than {0:?} and was given up")]
    TimedOut(Duration),
}

/// What carries out a run: the workers, or what a test puts in their place.
#[derive(Clone)]
pub struct Handler(Arc<dyn Fn(Run) -> Carried + Send + Sync>);

/// A run on its way to its end.
type Carried = BoxFuture<'static, Result<Finished, WorkError>>;

impl Handler {
    /// A handler from a function.
    pub fn new(carry_out: impl Fn(Run) -> Carried + Send + Sync + 'static) -> Self {
        Self(Arc::new(carry_out))
    }

    /// Carries one run out.
    pub fn carry_out(&self, run: Run) -> Carried {
        (self.0)(run)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl WorkError {
    /// The class that decides what follows; `None` when the job is not ours any more.
    fn class(&self) -> Option<FailureClass> {
        match self {
            Self::Unavailable { .. } => Some(FailureClass::Unavailable),
            Self::LostRace(_) | Self::Panicked(_) | Self::TimedOut(_) => {
                Some(FailureClass::Interrupted)
            }
            Self::Invalid(_) => Some(FailureClass::Invalid),
            Self::Store(source) if source.is_retryable() => Some(FailureClass::Unavailable),
            Self::Store(_) => Some(FailureClass::Interrupted),
            Self::StaleLease => None,
        }
    }
}

impl Engine {
    /// Runs `handler` on a leased job and records how it ended. Never panics and never fails: what
    /// cannot be recorded is left to the sweep, which finds the lapsed lease.
    pub async fn execute<H, F>(&self, job: Job, handler: H)
    where
        H: FnOnce(Run) -> F,
        F: Future<Output = Result<Finished, WorkError>> + Send,
    {
        let (id, epoch) = (job.id, job.lease_epoch);
        let timeout = self.policy().handler_timeout;
        let run = Run::new(self.clone(), job.clone());
        let guarded = AssertUnwindSafe(async { handler(run).await }).catch_unwind();
        let outcome = match tokio::time::timeout(timeout, guarded).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                self.counters().panicked.fetch_add(1, Ordering::Relaxed);
                Err(WorkError::Panicked(panic_words(panic.as_ref())))
            }
            Err(_) => Err(WorkError::TimedOut(timeout)),
        };
        if let Err(failure) = outcome {
            self.record_failure(&job, &failure).await;
        }
        self.0.held.forget(id, epoch);
    }

    async fn record_failure(&self, job: &Job, failure: &WorkError) {
        self.counters().failed.fetch_add(1, Ordering::Relaxed);
        let Some(class) = failure.class() else {
            warn!(job.id = %job.id, job.kind = %job.kind, "Run of job {} lost its lease and recorded nothing", job.id);
            return;
        };
        match self.settle_failure(job, class, &chain(failure)).await {
            Ok(Some(AfterFailure::RetryAt(at))) => {
                info!(job.id = %job.id, job.kind = %job.kind, attempt = job.attempt, retry_at = %at, error = %failure, "Run of job {} failed; another attempt follows", job.id);
            }
            Ok(Some(AfterFailure::Bury)) => {
                error!(job.id = %job.id, job.kind = %job.kind, attempt = job.attempt, error = %failure, "Buried job {}", job.id);
            }
            Ok(None) => {
                warn!(job.id = %job.id, job.kind = %job.kind, "Failed run of job {} had lost its lease", job.id);
            }
            Err(source) => {
                warn!(job.id = %job.id, job.kind = %job.kind, error = %source, "Could not record a failed run of job {}; its lease will lapse", job.id);
            }
        }
    }

    /// Records a failed run; `None` when the lease was lost.
    async fn settle_failure(
        &self,
        job: &Job,
        class: FailureClass,
        words: &str,
    ) -> Result<Option<AfterFailure>, StoreError> {
        let mut tx = self.store().begin().await?;
        let epoch = self.epoch_of(&mut tx, job).await?;
        let Some(job) = jobs::lock_leased(&mut tx, job.id, epoch).await? else {
            let refused = &self.counters().stale_commits_refused;
            refused.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        };
        let now = self.clock().now();
        let jitter = self.ids().permille();
        let after = decide_after_failure(class, job.attempt, job.attempts_max, now, jitter);
        let (event, run_at) = match after {
            AfterFailure::RetryAt(at) => (JobEvent::Retry, at),
            AfterFailure::Bury => (JobEvent::Bury, now),
        };
        let due = self
            .release(&mut tx, &job, event, run_at, words, Some(words.to_owned()))
            .await?;
        tx.commit().await?;
        self.ring(due);
        Ok(Some(after))
    }
}

/// The error with its causes, in one line.
fn chain(failure: &WorkError) -> String {
    let mut words = failure.to_string();
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no words".to_owned())
}
