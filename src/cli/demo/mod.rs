//! `clearday demo`: everything at once, with no server, over sample data of our own.
//!
//! SQLite in a folder, the queue in the process, and a sandbox channel, bank and mailroom called over real HTTP and SMTP
//! on loopback. Its clock starts on a shipped date, and where an earlier run stopped. Run again, it finds its work done
//! and changes nothing.

mod books;
mod outside;
mod people;
mod story;
mod upstream;

use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use clearday_jobs::JobKind;
use tokio::net::TcpListener;

use super::exit::{CliError, Exit};
use super::lock::FolderLock;
use super::serve::{self, Serving, tell};
use crate::clock::{Clock, Ids};
use crate::config::Settings;
use crate::daemon::StopSignals;
use crate::domain::job::{Job, JobState};
use crate::engine::Engine;
use crate::store::jobs::JobFilter;
use crate::store::{Store, jobs};
use outside::Outside;

/// Half past ten in China on the day after the sample bill: when bills are there to be fetched.
const FIRST_START: &str = "2026-03-03T10:30:00+08:00";
/// Jobs that wait longer than this for their time are shown as waiting.
const SOON: TimeDelta = TimeDelta::seconds(30);
/// A chapter is told after this at the latest.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// How often the demo looks whether its jobs are through.
const LOOK_EVERY: TimeDelta = TimeDelta::milliseconds(100);
const DEMO_LOG: &str = "error";
/// More jobs, breaks or settlements than the samples have.
const LISTED_MAX: usize = 500;

/// Build and run everything over sample data, with no server.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the database and everything else goes.
    #[arg(long, value_name = "DIR", default_value = "clearday-demo")]
    data: PathBuf,
    /// End after the story instead of serving the pages.
    #[arg(long)]
    once: bool,
}

/// Runs the verb.
pub(super) async fn run(
    args: &DemoArgs,
    mut settings: Settings,
    out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    // The story tells what happened; the log only what should not have.
    DEMO_LOG.clone_into(&mut settings.log.filter);
    serve::start_log(&settings);
    let _lock = FolderLock::take(&args.data)?;
    let listener = if args.once {
        // Nobody will look at the pages, so any port does.
        loopback().await?
    } else {
        serve::listen(&settings).await?
    };
    let store = Store::open_file(&args.data.join("clearday.db")).await?;
    store.migrate().await?;
    let clock = Clock::starting_at(start(&store).await?);
    let ids = Ids::random(clock.clone());
    let outside = Outside::start(&clock, &ids, &args.data, &mut settings).await?;

    let serving = serve::start(&settings, store.clone(), clock, ids, listener, "demo")?;
    let engine = serving.daemon.engine().clone();
    let is_ok = play(&engine, &outside, out).await?;
    finish(args, serving, &settings, out).await?;
    outside.stop();
    store.close().await;
    Ok(if is_ok { Exit::Fine } else { Exit::Finding })
}

/// The day, chapter by chapter; whether the books agree at its end.
async fn play(
    engine: &Engine,
    outside: &Outside,
    out: &mut (dyn Write + Send),
) -> Result<bool, CliError> {
    story::begin(out)?;
    let rows = upstream::hand_over(engine, outside).await?;
    story::handed_over(&rows, out)?;
    upstream::ask(engine, outside).await?;
    wait_until_through(engine).await?;
    story::deferred_authorization(engine, out).await?;
    story::order_expiry(engine, out).await?;
    story::partner_notification(engine, out).await?;
    story::reconciliation(engine, out).await?;

    upstream::settle(engine).await?;
    wait_until_through(engine).await?;
    people::sign(engine, outside).await?;
    wait_until_through(engine).await?;
    upstream::end_bank_day(engine, outside).await?;
    wait_until_through(engine).await?;
    story::settlement_run(engine, out).await?;
    books::jobs(engine, out).await?;
    books::verified(engine, out).await
}

async fn finish(
    args: &DemoArgs,
    serving: Serving,
    settings: &Settings,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    if !args.once {
        let mut signals = StopSignals::listen().map_err(serve::deaf)?;
        // The address is the last thing said: whoever waits for it may stop listening.
        tell(
            out,
            "\nThere are pages of /settlements, /breaks, /approvals and /jobs.",
        )?;
        tell(
            out,
            &format!("The page is at http://{} until Ctrl-C.", serving.address),
        )?;
        signals.told(serving.daemon.stopping()).await;
    }
    serving.daemon.shutdown(settings.jobs.shutdown).await?;
    Ok(())
}

async fn loopback() -> Result<TcpListener, CliError> {
    TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| CliError::unavailable("no free port on loopback").because(error))
}

/// The shipped date, or where an earlier run stopped: time never runs backwards in a database.
async fn start(store: &Store) -> Result<DateTime<Utc>, CliError> {
    let first = DateTime::parse_from_rfc3339(FIRST_START)
        .map_err(|error| CliError::refused("the demo's date").because(error))?
        .to_utc();
    let mut tx = store.read().await?;
    let last = jobs::last_change(&mut tx).await?;
    Ok(last.map_or(first, |last| last.max(first)))
}

/// Waits until no job runs and none will soon.
async fn wait_until_through(engine: &Engine) -> Result<(), CliError> {
    let clock = engine.clock();
    let latest = clock.now() + PATIENCE;
    while clock.now() < latest {
        let soon = clock.now() + SOON;
        let busy = all_jobs(engine, None).await?.into_iter().any(|job| {
            job.state.is_leased() || (job.state == JobState::Ready && job.run_at <= soon)
        });
        if !busy {
            return Ok(());
        }
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
    }
    Ok(())
}

/// The jobs of a kind, or of every kind, the oldest first.
async fn all_jobs(engine: &Engine, kind: Option<JobKind>) -> Result<Vec<Job>, CliError> {
    let filter = JobFilter {
        kind,
        ..JobFilter::default()
    };
    let mut tx = engine.store().read().await?;
    let mut found = jobs::list(&mut tx, &filter, LISTED_MAX).await?;
    found.reverse();
    Ok(found)
}
