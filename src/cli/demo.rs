//! `clearday demo`: everything at once, with no server, over sample data of our own.
//!
//! SQLite in a folder, the queue in the process, and the sandbox channel called over real HTTP on
//! loopback. Its clock starts on a shipped date, and where an earlier run stopped. Run again, it
//! finds its work done and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use clearday_jobs::{ChannelName, Currency, JobKind, Money, Reference};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::{CliError, Exit};
use super::lock::FolderLock;
use super::serve::{self, Serving, tell};
use crate::clock::{Clock, Ids};
use crate::config::{Channel, Connector, Settings};
use crate::connectors::Now;
use crate::connectors::sandbox::{self, Fault, Operation, SandboxHandle};
use crate::daemon::until_told_to_stop;
use crate::domain::import::orders::OrderRow;
use crate::domain::import::records::RecordRow;
use crate::domain::job::{Job, JobState};
use crate::engine::{Acceptance, Engine, Source, Submission};
use crate::formats::orders::read_orders;
use crate::formats::records::read_numbered_records;
use crate::store::jobs::JobFilter;
use crate::store::{Store, jobs, operations, reconciliations};

/// Half past ten in China on the day after the sample bill: when bills are there to be fetched.
const FIRST_START: &str = "2026-03-03T10:30:00+08:00";
/// The order whose payment the sandbox has taken before its deadline.
const PAID_REFERENCE: &str = "CD-PAY-2";
/// The reference whose close is answered into the void, so that a query must prove it.
const LOST_ANSWER_REFERENCE: &str = "CD-PAY-5";
/// The sandbox answers at once, so waiting longer for an effect proves nothing.
const PROCESSING_WINDOW: Duration = Duration::from_secs(1);
/// Jobs that wait longer than this for their time are shown as waiting.
const SOON: TimeDelta = TimeDelta::seconds(30);
/// The table is printed after this at the latest.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// How often the demo looks whether its jobs are through.
const LOOK_EVERY: TimeDelta = TimeDelta::milliseconds(100);
const DEMO_LOG: &str = "error";
/// More jobs than the samples have.
const LISTED_MAX: usize = 500;

const ORDERS: &[u8] = include_bytes!("../../samples/orders.csv");
const RECORDS: &[u8] = include_bytes!("../../samples/records.csv");
const BILL: &[u8] = include_bytes!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
const BILL_NAME: &str = "wechat_pay/bill.ALL.2026-03-02.csv";

/// Build and run everything over sample data, with no server.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the database and everything else goes.
    #[arg(long, value_name = "DIR", default_value = "clearday-demo")]
    data: PathBuf,
    /// End after the table instead of serving the page.
    #[arg(long)]
    once: bool,
}

/// Runs the verb.
pub(super) async fn run(
    args: &DemoArgs,
    mut settings: Settings,
    out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    // The table tells what happened; the log only what should not have.
    DEMO_LOG.clone_into(&mut settings.log.filter);
    serve::start_log(&settings);
    let _lock = FolderLock::take(&args.data)?;
    let listener = if args.once {
        // Nobody will look at the page, so any port does.
        loopback().await?
    } else {
        serve::listen(&settings).await?
    };
    let store = Store::open_file(&args.data.join("clearday.db")).await?;
    store.migrate().await?;
    let clock = Clock::starting_at(start(&store).await?);
    let sandbox = start_sandbox(&clock, &mut settings).await?;
    settings.statements.directory = args.data.join("statements");
    write_statement(&settings.statements.directory)?;

    let ids = Ids::random(clock.clone());
    let serving = serve::start(&settings, store.clone(), clock, ids, listener, "demo")?;
    let engine = serving.daemon.engine().clone();
    ask(&engine, &sandbox.handle).await?;
    wait_until_through(&engine).await?;
    print_table(&engine, out).await?;
    finish(args, serving, &settings, out).await?;
    sandbox.stop.cancel();
    store.close().await;
    Ok(Exit::Fine)
}

async fn finish(
    args: &DemoArgs,
    serving: Serving,
    settings: &Settings,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    if !args.once {
        tell(
            out,
            &format!("\nThe page is at http://{} until Ctrl-C.", serving.address),
        )?;
        until_told_to_stop(serving.daemon.stopping())
            .await
            .map_err(|error| CliError::unavailable("signals cannot be heard").because(error))?;
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

struct RunningSandbox {
    handle: SandboxHandle,
    stop: CancellationToken,
}

/// Starts the sandbox and makes it the settings' one channel.
async fn start_sandbox(clock: &Clock, settings: &mut Settings) -> Result<RunningSandbox, CliError> {
    let told = clock.clone();
    let now: Now = Arc::new(move || told.now());
    let handle = SandboxHandle::new(now);
    let listener = loopback().await?;
    let address = listener
        .local_addr()
        .map_err(|error| CliError::unavailable("the sandbox has no address").because(error))?;
    let stop = CancellationToken::new();
    let server = sandbox::serve(listener, handle.clone(), stop.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %error, "The sandbox ended");
        }
    });
    let name = ChannelName::new("sandbox")
        .map_err(|error| CliError::refused("the sandbox's name").because(error))?;
    settings.channels = vec![Channel {
        name,
        connector: Connector::Sandbox,
        url: format!("http://{address}"),
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        processing_window: PROCESSING_WINDOW,
        deposit_text: None,
    }];
    Ok(RunningSandbox { handle, stop })
}

fn write_statement(folder: &Path) -> Result<(), CliError> {
    let path = folder.join(BILL_NAME);
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, BILL)
    };
    write().map_err(|error| {
        CliError::unavailable(format!("cannot write {}", path.display())).because(error)
    })
}

/// Imports the samples and asks for the work: what an upstream system would do.
async fn ask(engine: &Engine, sandbox: &SandboxHandle) -> Result<(), CliError> {
    let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
        CliError::refused("the samples were refused").because(error)
    };
    let orders = read_orders(ORDERS).map_err(|error| refused(error.into()))?;
    seed_sandbox(&orders, sandbox)?;
    engine
        .import_orders(&orders)
        .await
        .map_err(|error| refused(error.into()))?;
    let mut records = Vec::new();
    read_numbered_records(RECORDS, |line, record| {
        records.push(RecordRow { line, record });
    })
    .map_err(|error| refused(error.into()))?;
    engine
        .import_records(records)
        .await
        .map_err(|error| refused(error.into()))?;
    let submission = Submission {
        kind: JobKind::Reconciliation.to_string(),
        idempotency_key: Some("demo wechat_pay 2026-03-02".to_owned()),
        payload: format!(r#"{{"version":1,"channel":"wechat_pay","statements":["{BILL_NAME}"]}}"#)
            .into_bytes(),
        source: Source::CommandLine,
        fault: None,
    };
    let answers = engine.accept(vec![submission]).await?;
    match answers.into_iter().next() {
        Some(Acceptance::Refused(refusal)) => Err(refused(refusal.into())),
        Some(Acceptance::New(_) | Acceptance::Known(..)) | None => Ok(()),
    }
}

/// Makes the references known at the channel, whose books are new at every start. One is paid, and
/// the answer to closing another is lost.
fn seed_sandbox(orders: &[OrderRow], sandbox: &SandboxHandle) -> Result<(), CliError> {
    let mut owed: BTreeMap<&Reference, Money> = BTreeMap::new();
    for row in orders {
        let Some((_, reference)) = &row.reference else {
            continue;
        };
        let total = match owed.get(reference) {
            None => row.told.total,
            Some(sum) => sum
                .checked_add(row.told.total)
                .map_err(|error| CliError::refused("the samples").because(error))?,
        };
        owed.insert(reference, total);
    }
    let refused = |error| CliError::refused("the sandbox refused a sample").because(error);
    for (reference, amount) in owed {
        sandbox.create(reference, amount).map_err(refused)?;
        if reference.as_str() == PAID_REFERENCE {
            sandbox.pay(reference).map_err(refused)?;
        }
        if reference.as_str() == LOST_ANSWER_REFERENCE {
            sandbox.queue_fault(Operation::Close, reference, Fault::LostAnswer);
        }
    }
    Ok(())
}

/// Waits until no job runs and none will soon.
async fn wait_until_through(engine: &Engine) -> Result<(), CliError> {
    let clock = engine.clock();
    let latest = clock.now() + PATIENCE;
    while clock.now() < latest {
        let soon = clock.now() + SOON;
        let busy = all_jobs(engine).await?.into_iter().any(|job| {
            job.state.is_leased() || (job.state == JobState::Ready && job.run_at <= soon)
        });
        if !busy {
            return Ok(());
        }
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
    }
    Ok(())
}

async fn all_jobs(engine: &Engine) -> Result<Vec<Job>, CliError> {
    let mut tx = engine.store().read().await?;
    Ok(jobs::list(&mut tx, &JobFilter::default(), LISTED_MAX).await?)
}

/// Per kind: asked, done, waiting and why; then every job that is not done; then the breaks.
async fn print_table(engine: &Engine, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let listed = all_jobs(engine).await?;
    tell(out, "job                     asked  done  waiting  dead")?;
    for kind in JobKind::ALL {
        let count = |is_counted: fn(JobState) -> bool| {
            let of_kind = listed.iter().filter(|job| job.kind == kind);
            of_kind.filter(|job| is_counted(job.state)).count()
        };
        if count(|_| true) == 0 {
            continue;
        }
        let line = format!(
            "{:<22} {:>6} {:>5} {:>8} {:>5}",
            kind.as_str(),
            count(|_| true),
            count(|state| state == JobState::Done),
            count(|state| state == JobState::Ready || state.is_leased()),
            count(|state| state == JobState::Dead),
        );
        tell(out, &line)?;
    }
    let mut tx = engine.store().read().await?;
    tell(out, "")?;
    for job in listed.iter().rev() {
        let why = match engine.explain(&mut tx, job).await? {
            Some(waiting) => waiting.reason,
            None => job.note.clone(),
        };
        tell(
            out,
            &format!(
                "{:<10} {:<32} {why}",
                job.state.as_str(),
                job.idempotency_key
            ),
        )?;
        for call in operations::of_job(&mut tx, job.id).await? {
            tell(
                out,
                &format!(
                    "{:<10}   {} {}: {}",
                    "", call.idempotency_key, call.state, call.detail
                ),
            )?;
        }
    }
    let breaks = reconciliations::list_breaks(&mut tx, "open", LISTED_MAX).await?;
    tell(out, &format!("\n{} breaks found", breaks.len()))?;
    for found in breaks.iter().rev() {
        let currency = Currency::parse(&found.currency)
            .map_err(|error| CliError::refused("a stored break").because(error))?;
        let line = format!(
            "  {:<18} {:<8} {:<16} {:>10} {} at risk",
            found.break_name,
            found.kind,
            found.record_no.as_deref().unwrap_or_default(),
            Money::from_minor(found.at_risk_minor, currency).to_major_string(),
            found.currency,
        );
        tell(out, &line)?;
    }
    Ok(())
}
