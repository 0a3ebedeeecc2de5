//! Carries out the comparison of our records with a channel's statements.

use clearday_jobs::Reconciliation;

use super::Workbench;
use crate::engine::{Finished, Run, WorkError};

/// Runs one job to its recorded end.
pub(super) async fn run(
    _bench: &Workbench,
    _run: &Run,
    asked: &Reconciliation,
) -> Result<Finished, WorkError> {
    Err(WorkError::Invalid(format!(
        "no statements of {} yet",
        asked.channel
    )))
}
