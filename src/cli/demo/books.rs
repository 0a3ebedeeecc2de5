//! What the demo says of its books at the end: the jobs, counted, and whether everything agrees.

use std::io::Write;

use clearday_jobs::JobKind;

use super::super::exit::CliError;
use super::super::serve::tell;
use super::all_jobs;
use crate::domain::job::JobState;
use crate::engine::Engine;
use crate::verify::verify;

/// Per kind: asked, done, waiting, dead.
pub(super) async fn jobs(engine: &Engine, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    tell(
        out,
        "\n   job                     asked  done  waiting  dead",
    )?;
    for kind in JobKind::ALL {
        let listed = all_jobs(engine, Some(kind)).await?;
        let count = |is_counted: fn(JobState) -> bool| {
            listed.iter().filter(|job| is_counted(job.state)).count()
        };
        let line = format!(
            "   {:<22} {:>6} {:>5} {:>8} {:>5}",
            kind.as_str(),
            listed.len(),
            count(|state| state == JobState::Done),
            count(|state| state == JobState::Ready || state.is_leased()),
            count(|state| state == JobState::Dead),
        );
        tell(out, &line)?;
    }
    Ok(())
}

/// What `clearday verify` says; whether it found nothing.
pub(super) async fn verified(
    engine: &Engine,
    out: &mut (dyn Write + Send),
) -> Result<bool, CliError> {
    let report = verify(engine.store()).await?;
    let verdict = if report.ok { "ok" } else { "BROKEN" };
    let names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
    tell(
        out,
        &format!("\n7. verify 核对账目: {verdict}\n   {}", names.join(", ")),
    )?;
    for check in report.checks.iter().filter(|check| !check.ok) {
        tell(out, &format!("   BROKEN {}: {}", check.name, check.detail))?;
    }
    Ok(report.ok)
}
