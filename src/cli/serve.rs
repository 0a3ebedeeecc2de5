//! `clearday serve`: one daemon until SIGTERM, SIGINT or a fault it cannot go on with.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use tokio::net::TcpListener;
use tracing::warn;

use super::exit::{CliError, Exit};
use super::lock::FolderLock;
use super::supervisor;
use crate::clock::{Clock, Ids};
use crate::config::Settings;
use crate::daemon::{Daemon, Parts, StopSignals};
use crate::domain::settlement_run::public::{BankDay, BankDays};
use crate::http::{self, Api, Facts, ReadinessCheck};
use crate::schedule;
use crate::store::Store;
use crate::telemetry;

/// A database that is not there when the daemon starts is asked again, ever more slowly.
const DATABASE_WAIT_FIRST: Duration = Duration::from_millis(100);
/// One that comes back is noticed within this.
const DATABASE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The zone in which the pages tell the time.
const PAGE_ZONE: Tz = Tz::Asia__Shanghai;

/// Runs the verb.
pub(super) async fn run(
    settings: &Settings,
    out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    let url = settings.database_url()?.reveal();
    start_log(settings);
    let _lock = lock_embedded(url)?;
    let listener = listen(settings).await?;
    let store = Store::prepare(url, settings.database.connections_max).await?;
    let clock = Clock::system();
    let ids = Ids::random(clock.clone());
    let environment = if settings.redis.url.is_some() {
        "production"
    } else {
        "embedded"
    };
    let mut serving = prepare(settings, store.clone(), clock, ids, listener, environment)?;
    let mut signals = StopSignals::listen().map_err(deaf)?;
    tell(out, &format!("clearday serves http://{}", serving.address))?;
    supervisor::keep_telling(&serving.daemon);
    let stopping = serving.daemon.stopping().clone();
    let is_there = tokio::select! {
        () = signals.told(&stopping) => Ok(false),
        outcome = wait_for_database(&store) => outcome,
    };
    if let Ok(true) = is_there {
        serving.begin();
        supervisor::tell_ready(serving.address);
        signals.told(&stopping).await;
    }
    let is_fault = stopping.is_cancelled();
    if is_there.is_ok() {
        supervisor::tell_stopping();
    }
    let stopped = serving.daemon.shutdown(settings.jobs.shutdown).await;
    store.close().await;
    is_there?;
    stopped?;
    Ok(if is_fault {
        Exit::Unavailable
    } else {
        Exit::Fine
    })
}

pub(super) fn deaf(error: std::io::Error) -> CliError {
    CliError::unavailable("signals cannot be heard").because(error)
}

/// Waits until the database answers, and looks whether its schema is the right one.
async fn wait_for_database(store: &Store) -> Result<bool, CliError> {
    let mut wait = DATABASE_WAIT_FIRST;
    loop {
        match store.check_schema().await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_retryable() => {
                warn!(error = %error, wait_ms = wait.as_millis(), "The database is not there; waiting for it");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(DATABASE_WAIT_MAX);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts the log. Its settings were checked when they were read, so the one way to fail is that
/// the process has a log already, which serves as well.
pub(super) fn start_log(settings: &Settings) {
    telemetry::init(&settings.log).ok();
}

/// A daemon that also answers HTTP.
pub(super) struct Serving {
    pub(super) daemon: Daemon,
    pub(super) address: std::net::SocketAddr,
    plans: Vec<schedule::Plan>,
}

impl Serving {
    /// Begins to take work and to follow the clock.
    pub(super) fn begin(&mut self) {
        self.daemon.begin();
        let plans = std::mem::take(&mut self.plans);
        let (engine, stop) = (self.daemon.engine().clone(), self.daemon.stopping().clone());
        self.daemon
            .spawn(async move { schedule::run(engine, plans, stop).await });
    }
}

fn bank_days(settings: &Settings) -> BankDays {
    let banks = settings.banks.iter().map(|bank| {
        let day = BankDay {
            cutoff: bank.cutoff,
            zone: bank.zone,
        };
        (bank.name.clone(), day)
    });
    banks.collect()
}

/// Starts a daemon with its schedules and its HTTP server.
pub(super) fn start(
    settings: &Settings,
    store: Store,
    clock: Clock,
    ids: Ids,
    listener: TcpListener,
    environment: &str,
) -> Result<Serving, CliError> {
    let mut serving = prepare(settings, store, clock, ids, listener, environment)?;
    serving.begin();
    Ok(serving)
}

/// A daemon that answers HTTP, also how it is, and takes no work before it is told to begin.
fn prepare(
    settings: &Settings,
    store: Store,
    clock: Clock,
    ids: Ids,
    listener: TcpListener,
    environment: &str,
) -> Result<Serving, CliError> {
    let address = listener
        .local_addr()
        .map_err(|error| CliError::unavailable("[http] listen").because(error))?;
    let plans =
        schedule::plans(&settings.schedules).map_err(|error| CliError::of(Exit::Refused, error))?;
    let parts = Parts::from_settings(settings, store, clock, ids)
        .map_err(|error| CliError::refused("the settings cannot be used").because(error))?;
    let daemon = Daemon::prepare(parts)
        .map_err(|error| CliError::refused("the settings cannot be used").because(error))?;
    let facts = Facts {
        environment: environment.to_owned(),
        queue: if daemon.redis().is_some() {
            "redis"
        } else {
            "in-process"
        },
        zone: PAGE_ZONE,
        banks: bank_days(settings),
    };
    let api = Api::new(
        daemon.engine().clone(),
        settings.people.clone(),
        checks(&daemon),
        facts,
    );
    let (router, stop) = (http::router(api), daemon.stopping().clone());
    daemon.spawn(async move {
        if let Err(error) = http::serve(listener, router, stop.clone()).await {
            tracing::error!(error = %error, "The HTTP server ended; the daemon stops");
            stop.cancel();
        }
    });
    Ok(Serving {
        daemon,
        address,
        plans,
    })
}

/// Takes the port before anything else starts, so that a taken one is told at once.
pub(super) async fn listen(settings: &Settings) -> Result<TcpListener, CliError> {
    let address = settings.http.listen;
    TcpListener::bind(address).await.map_err(|error| {
        CliError::unavailable(format!("cannot listen on {address} ([http] listen)")).because(error)
    })
}

fn checks(daemon: &Daemon) -> Vec<ReadinessCheck> {
    let Some(redis) = daemon.redis().cloned() else {
        return Vec::new();
    };
    let answers = redis.clone();
    let ping = ReadinessCheck::new(
        "redis",
        Arc::new(move || {
            let redis = answers.clone();
            Box::pin(async move { redis.ping().await.map_err(|error| error.to_string()) })
        }),
    );
    let streams = ReadinessCheck::new(
        "redis_streams",
        Arc::new(move || {
            let unknown = redis.status().unknown_streams();
            Box::pin(async move {
                if unknown.is_empty() {
                    return Ok(());
                }
                Err(format!(
                    "streams that name no kind of job: {}",
                    unknown.join(", ")
                ))
            })
        }),
    );
    vec![ping, streams]
}

/// The embedded mode has one daemon per data folder: its queue is inside the process.
fn lock_embedded(url: &str) -> Result<Option<FolderLock>, CliError> {
    let Some(path) = url.strip_prefix("sqlite://") else {
        return Ok(None);
    };
    let file = Path::new(path.split('?').next().unwrap_or(path));
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    FolderLock::take(&folder).map(Some)
}

pub(super) fn tell(out: &mut (dyn Write + Send), line: &str) -> Result<(), CliError> {
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(CliError::output)
}
