//! The apalis backend: leased rows on their way from a dispatcher to a worker.
//!
//! Written on apalis' `Backend` trait and not on its `Persisted` helper. It does no I/O, never
//! fails and never ends: whatever happens to Redis or the database happens in the dispatcher.

use std::convert::Infallible;
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::domain::job::Job;

/// A leased job with the room it occupies until its run has ended.
#[derive(Debug)]
pub struct LeasedJob {
    /// The job.
    pub job: Job,
    /// Given back when dropped.
    pub room: OwnedSemaphorePermit,
}

/// The receiving end of a dispatcher, as apalis polls it.
#[derive(Debug)]
pub struct LeasedJobs {
    receiver: mpsc::Receiver<LeasedJob>,
    stop: CancellationToken,
}

/// A channel for as many leased jobs as may run at the same time.
pub(super) fn channel(
    capacity: usize,
    stop: CancellationToken,
) -> (mpsc::Sender<LeasedJob>, LeasedJobs) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    (sender, LeasedJobs { receiver, stop })
}

impl Backend for LeasedJobs {
    type Task = Task<LeasedJob>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _context: &mut Context<'_>,
        _worker: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        if self.stop.is_cancelled() {
            // What is buffered is not started any more: the shutdown hands it back.
            return Poll::Pending;
        }
        match self.receiver.poll_recv(context) {
            Poll::Ready(Some(leased)) => Poll::Ready(Some(Ok(Task::new(leased)))),
            // `None` would end the worker; its dispatcher ends only when the daemon stops.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(
        &mut self,
        _context: &mut Context<'_>,
        _worker: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for LeasedJobs {
    type Args = LeasedJob;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _worker: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
