//! The apalis workers: one per kind, each handing leased jobs to the handler.
//!
//! Time-outs, panics and retries are handled inside the engine, where they are recorded; to
//! apalis every run succeeds, so that no worker ends.

use apalis_core::error::WorkerError;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use clearday_jobs::JobKind;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::backend::{LeasedJob, LeasedJobs};
use crate::engine::{Engine, Handler};

/// Starts one worker per backend.
pub(super) fn start(
    backends: Vec<(JobKind, LeasedJobs)>,
    engine: &Engine,
    handler: &Handler,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) {
    for (kind, backend) in backends {
        let name = format!("{kind} {}", engine.worker());
        let (engine, handler) = (engine.clone(), handler.clone());
        let runs = tracker.clone();
        let worker = WorkerBuilder::new(name.as_str())
            .backend(backend)
            .parallelize(move |run| runs.spawn(run))
            .build(move |leased: LeasedJob| {
                let (engine, handler) = (engine.clone(), handler.clone());
                async move {
                    let LeasedJob { job, room } = leased;
                    engine.execute(job, |run| handler.carry_out(run)).await;
                    drop(room);
                }
            });
        let signal = stop.clone().cancelled_owned();
        let run: BoxFuture<'static, Result<(), WorkerError>> =
            Box::pin(worker.run_until(async move {
                signal.await;
                Ok::<(), std::io::Error>(())
            }));
        let stop = stop.clone();
        tracker.spawn(async move {
            // Nobody would take what the dispatcher leases: better no daemon than a deaf one.
            let _guard = stop.clone().drop_guard();
            let ended = run.await;
            if !stop.is_cancelled() {
                error!(job.kind = %kind, outcome = ?ended, "The {kind} worker ended; the daemon stops");
            }
        });
    }
}
