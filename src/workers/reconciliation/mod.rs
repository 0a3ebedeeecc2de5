//! Carries out the comparison of our books with what somebody outside wrote: a channel's statements with our
//! records, a bank's statements with our payouts and deposits.
//!
//! Whose statements a job names decides which of the two it is. Both keep a file that is not whole and refuse it, both
//! record a run as a version of what it covers, and neither changes anything when it runs again.

mod bank;
mod channel;
mod files;

use std::sync::Arc;

use chrono::TimeDelta;
use clearday_jobs::Reconciliation as Asked;
use tokio::sync::OwnedSemaphorePermit;

use super::Workbench;
use crate::engine::{Finished, Run, WorkError};

/// How soon a reconciliation that found no room looks again.
const NO_ROOM_WAIT: TimeDelta = TimeDelta::seconds(5);

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &Asked,
) -> Result<Finished, WorkError> {
    let Ok(room) = Arc::clone(&bench.heavy).try_acquire_owned() else {
        let tx = run.begin().await?;
        let until = run.now() + NO_ROOM_WAIT;
        return run
            .snooze(tx, until, "another reconciliation runs in this process")
            .await;
    };
    match bench.banks.find(&asked.channel) {
        Some(bank) => bank::run(bench, run, asked, bank, room).await,
        None => channel::run(bench, run, asked, room).await,
    }
}

/// Files and comparisons keep a thread busy, so they run where that harms nobody. The room is held
/// until the work has really ended, also when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    room: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), WorkError> {
    tokio::task::spawn_blocking(move || (work(), room))
        .await
        .map_err(|error| WorkError::Panicked(error.to_string()))
}
