//! One daemon: the engine, its queue, its keepers and its HTTP server, started and stopped as one.
//!
//! Any number of identical daemons share one database and one Redis; nothing else coordinates
//! them and there is no leader. Stopping takes in nothing more, lets running handlers finish,
//! hands the rest back without burning an attempt, and then lets go of everything, all within the
//! time it is given.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::TimeDelta;
use clearday_jobs::ChannelName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::{Clock, Ids};
use crate::config::{self, Secret, Settings};
use crate::connectors::messages::{Messages, MessagesError};
use crate::connectors::{
    BankAccount, BankConnector, BankSettings, Banks, ChannelSettings, Channels, Now,
    SandboxSettings, SetupError, Timeouts, Turn,
};
use crate::domain::deferred_authorization::ChargingRules;
use crate::domain::pace::Pace;
use crate::domain::partner_notification::PayLinkTemplate;
use crate::engine::{Bell, Engine, Handler, Pacer, Policy, Pruned, Retention};
use crate::queue::{InProcessBell, Queue, QueueSettings, RedisBell, RedisQueue, supervise};
use crate::store::{Store, StoreError};
use crate::worker_locks::WorkerLocks;
use crate::workers::{self, Workbench};

/// Reconciliations at the same time in one process: each holds a statement and its records in
/// memory and keeps a core busy.
const HEAVY_JOBS_MAX: usize = 1;
/// Of the time that a stopping daemon has, so much is kept for handing back and letting go, which take moments where
/// the servers answer; a time that is shorter is halved.
const LAST_STEPS: Duration = Duration::from_secs(5);
/// A neighbour that died is looked for this often.
const LOOK_FOR_DEAD: TimeDelta = TimeDelta::seconds(2);

/// Days are what retention is counted in, so an hour more or less is nothing.
const PRUNE_EVERY: TimeDelta = TimeDelta::hours(1);
/// Between two batches the database belongs to the jobs.
const PRUNE_PAUSE: Duration = Duration::from_millis(100);

/// Everything a daemon is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database, with its schema up to date.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// Where ids come from.
    pub ids: Ids,
    /// How patient the engine is.
    pub policy: Policy,
    /// How jobs are handed to workers.
    pub queue: QueueSettings,
    /// Leases are renewed this often.
    pub heartbeat: TimeDelta,
    /// Lapsed leases are looked for this often.
    pub sweep: TimeDelta,
    /// Redis; absent: the in-process queue only.
    pub redis_url: Option<String>,
    /// How long finished jobs are kept; absent: for ever.
    pub retention: Option<Retention>,
    /// What carries jobs out: [`crate::workers::handler`].
    pub handler: Handler,
    /// Where this process gives a sign of life; none: what it held when it died waits for its lease.
    pub locks: Option<LocksAt>,
}

/// Where the daemons of a machine give their signs of life, and for which database.
#[derive(Clone, Debug)]
pub struct LocksAt {
    /// The folder.
    pub folder: PathBuf,
    /// Whose jobs they carry out.
    pub database: Secret,
}

impl Parts {
    /// The parts that the settings ask for.
    ///
    /// # Errors
    /// When a channel cannot be set up.
    pub fn from_settings(
        settings: &Settings,
        store: Store,
        clock: Clock,
        ids: Ids,
    ) -> Result<Self, DaemonError> {
        let told = clock.clone();
        let now: Now = Arc::new(move || told.now());
        let channels = settings.channels.iter().map(channel_settings);
        let banks = settings.banks.iter().map(bank_settings);
        let channels = Channels::build(channels, &now)?;
        let banks = Banks::build(banks, &now)?;
        keep_paces(settings, &channels, &banks, &store, &clock);
        let bench = Workbench {
            channels: Arc::new(channels),
            messages: Arc::new(Messages::build(&settings.messages(), &now)?),
            pay_link: pay_link(settings),
            banks: Arc::new(banks),
            deposit_texts: Arc::new(deposit_texts(&settings.channels)),
            charging: Arc::new(ChargingRules {
                sequence: settings.authorization.sequence.clone(),
                zone: settings.authorization.zone,
            }),
            approvals: Arc::new(settings.approvals.clone()),
            statements: settings.statements.directory.clone(),
            heavy: Arc::new(Semaphore::new(HEAVY_JOBS_MAX)),
        };
        Ok(Self {
            store,
            clock,
            ids,
            policy: settings.policy(),
            queue: QueueSettings {
                concurrency: usize::try_from(settings.jobs.concurrency).unwrap_or(1),
                poll: settings.jobs.sweep,
            },
            heartbeat: delta(settings.jobs.heartbeat),
            sweep: delta(settings.jobs.sweep),
            retention: settings.retention(),
            redis_url: settings
                .redis
                .url
                .as_ref()
                .map(|url| url.reveal().to_owned()),
            handler: workers::handler(bench),
            locks: locks_at(settings),
        })
    }
}

/// Lets requests wait for their turn where the settings name a pace.
fn keep_paces(
    settings: &Settings,
    channels: &Channels,
    banks: &Banks,
    store: &Store,
    clock: &Clock,
) {
    let turn = |name: &ChannelName, per_second: u32| {
        let name = format!("requests to {name}");
        let pace = Pace::per_second(per_second);
        let pacer = Arc::new(Pacer::new(store.clone(), clock.clone(), name, pace));
        Turn::new(move || {
            let pacer = Arc::clone(&pacer);
            Box::pin(async move { pacer.turn().await })
        })
    };
    for configured in &settings.channels {
        if let (Some(channel), Some(per_second)) = (
            channels.find(&configured.name),
            configured.requests_per_second,
        ) {
            channel.take_turns(turn(&configured.name, per_second));
        }
    }
    for configured in &settings.banks {
        if let (Some(bank), Some(per_second)) =
            (banks.find(&configured.name), configured.requests_per_second)
        {
            bank.take_turns(turn(&configured.name, per_second));
        }
    }
}

/// Beside the SQLite file, or where any process of this machine finds it.
fn locks_at(settings: &Settings) -> Option<LocksAt> {
    let database = settings.database.url.clone()?;
    let beside = database.reveal().strip_prefix("sqlite://").map(|path| {
        let file = Path::new(path.split('?').next().unwrap_or(path));
        file.parent().unwrap_or(file).join("clearday-locks")
    });
    let folder = settings.jobs.locks_directory.clone().or(beside);
    Some(LocksAt {
        folder: folder.unwrap_or_else(|| std::env::temp_dir().join("clearday-locks")),
        database,
    })
}

fn channel_settings(channel: &config::Channel) -> (ChannelName, ChannelSettings) {
    let settings = match channel.connector {
        config::Connector::Sandbox => ChannelSettings::Sandbox(SandboxSettings {
            base_url: channel.url.clone(),
            timeouts: Timeouts {
                connect: channel.connect_timeout,
                request: channel.request_timeout,
            },
            processing_window: channel.processing_window,
        }),
    };
    (channel.name.clone(), settings)
}

fn bank_settings(bank: &config::Bank) -> (ChannelName, BankSettings) {
    let settings = BankSettings {
        connector: match bank.connector {
            config::Connector::Sandbox => BankConnector::Sandbox,
        },
        base_url: bank.url.clone(),
        timeouts: Timeouts {
            connect: bank.connect_timeout,
            request: bank.request_timeout,
        },
        account: BankAccount {
            account_no: bank.account_no.clone(),
            currency: bank.currency,
            cutoff: bank.cutoff,
            zone: bank.zone,
        },
        // Settings that were loaded have an amount there, or none.
        payout_max: bank.payout_ceiling().ok().flatten(),
        processing_window: bank.processing_window,
    };
    (bank.name.clone(), settings)
}

/// Settings that were loaded have a template there, or none.
fn pay_link(settings: &Settings) -> Option<PayLinkTemplate> {
    let template = settings.notifications.pay_link_template.as_deref()?;
    PayLinkTemplate::parse(template).ok()
}

fn deposit_texts(channels: &[config::Channel]) -> BTreeMap<ChannelName, String> {
    channels
        .iter()
        .filter_map(|channel| Some((channel.name.clone(), channel.deposit_text.clone()?)))
        .collect()
}

/// Settings bound every duration to a day, so the conversion cannot miss.
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The Redis URL is none.
    #[error("the Redis url cannot be used: {0}")]
    RedisUrl(String),
    /// A channel cannot be set up.
    #[error(transparent)]
    Channel(#[from] SetupError),
    /// A way to send messages cannot be set up.
    #[error(transparent)]
    Messages(#[from] MessagesError),
}

/// A daemon.
#[derive(Debug)]
pub struct Daemon {
    engine: Engine,
    redis: Option<RedisQueue>,
    local: InProcessBell,
    /// What takes work, once it has begun.
    queue: Option<Queue>,
    locks: Option<Arc<WorkerLocks>>,
    /// Ends the taking of work.
    stop: CancellationToken,
    /// Ends what running handlers still need: renewal of their leases.
    release: CancellationToken,
    tracker: TaskTracker,
    plan: Plan,
}

/// How it will work.
#[derive(Debug)]
struct Plan {
    queue: QueueSettings,
    handler: Handler,
    heartbeat: TimeDelta,
    sweep: TimeDelta,
    retention: Option<Retention>,
}

impl Daemon {
    /// Starts everything; returns at once. Redis need not be there yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn start(parts: Parts) -> Result<Self, DaemonError> {
        let mut daemon = Self::prepare(parts)?;
        daemon.begin();
        Ok(daemon)
    }

    /// A daemon that takes no work before [`Daemon::begin`], and can be asked how it is. Neither Redis nor Postgres
    /// need be there yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn prepare(parts: Parts) -> Result<Self, DaemonError> {
        let tracker = TaskTracker::new();
        let (stop, release) = (CancellationToken::new(), CancellationToken::new());
        let worker = format!("{}-{}", std::process::id(), parts.ids.uuid().simple());
        let local = InProcessBell::default();
        let redis = parts
            .redis_url
            .as_deref()
            .map(|url| RedisQueue::new(url, worker.clone()))
            .transpose()
            .map_err(|error| DaemonError::RedisUrl(error.to_string()))?;
        let bell: Arc<dyn Bell> = match &redis {
            Some(redis) => Arc::new(RedisBell::start(redis, local.clone(), &tracker, &release)),
            None => Arc::new(local.clone()),
        };
        let locks = parts.locks.and_then(|at| sign_of_life(&at, &worker));
        let engine = Engine::new(
            parts.store,
            parts.clock,
            parts.ids,
            parts.policy,
            worker,
            bell,
        );
        Ok(Self {
            engine,
            redis,
            local,
            queue: None,
            locks,
            stop,
            release,
            tracker,
            plan: Plan {
                queue: parts.queue,
                handler: parts.handler,
                heartbeat: parts.heartbeat,
                sweep: parts.sweep,
                retention: parts.retention,
            },
        })
    }

    /// Begins to take work; once is enough.
    pub fn begin(&mut self) {
        if self.queue.is_some() {
            return;
        }
        self.queue = Some(Queue::start(
            &self.engine,
            &self.local,
            self.plan.queue,
            &self.plan.handler,
            &self.tracker,
            &self.stop,
        ));
        if let Some(redis) = &self.redis {
            redis.start(&self.engine, &self.local, &self.tracker, &self.stop);
        }
        self.keep();
        self.prune();
    }

    /// The engine, for whoever serves it to the outside.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Redis, where it is configured.
    pub fn redis(&self) -> Option<&RedisQueue> {
        self.redis.as_ref()
    }

    /// Cancelled when the daemon is to stop, also when it cannot go on.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs something beside the daemon; the shutdown waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Stops within `patience`: takes nothing more, waits for running handlers, hands the rest back and lets go.
    ///
    /// # Errors
    /// When the database did not answer; then the leases lapse and another daemon sweeps them.
    pub async fn shutdown(self, patience: Duration) -> Result<(), StoreError> {
        self.stop.cancel();
        let last_steps = LAST_STEPS.min(patience / 2);
        if let Some(queue) = &self.queue
            && !queue.drained(patience.saturating_sub(last_steps)).await
        {
            warn!("Some handlers are still running; their jobs are handed back");
        }
        let end = tokio::time::Instant::now() + last_steps;
        let handed_back = tokio::time::timeout_at(end, self.engine.hand_back_all()).await;
        self.release.cancel();
        self.tracker.close();
        if tokio::time::timeout_at(end, self.tracker.wait())
            .await
            .is_err()
        {
            warn!("Some tasks are still running and are cut off");
        }
        if let Some(redis) = &self.redis {
            tokio::time::timeout_at(end, redis.leave()).await.ok();
        }
        let Ok(Ok(handed_back)) = handed_back else {
            // What was not handed back lapses, and another daemon sweeps it; the sign of life is left to say whose.
            warn!(
                "The database did not take everything back; the rest waits for its leases to lapse"
            );
            return handed_back.map_or(Ok(()), |outcome| outcome.map(drop));
        };
        if let Some(locks) = self.locks.and_then(Arc::into_inner) {
            // One that stays is found by the next daemon, which finds nothing held.
            locks.leave().ok();
        }
        info!(handed_back, "Stopped; {handed_back} jobs were handed back");
        Ok(())
    }

    fn keep(&self) {
        let engine = self.engine.clone();
        self.every(
            "lease keeper",
            self.plan.heartbeat,
            &self.release,
            move || {
                let engine = engine.clone();
                async move {
                    let held = engine.renew_held().await?;
                    if held.lost > 0 {
                        warn!(
                            lost = held.lost,
                            "Lost {} leases to other workers", held.lost
                        );
                    }
                    Ok(())
                }
            },
        );
        let engine = self.engine.clone();
        self.every("sweep", self.plan.sweep, &self.stop, move || {
            let engine = engine.clone();
            async move { engine.sweep_when_steady().await.map(|_| ()) }
        });
        if let Some(locks) = &self.locks {
            let (engine, locks) = (self.engine.clone(), Arc::downgrade(locks));
            self.every(
                "heir of dead workers",
                LOOK_FOR_DEAD,
                &self.stop,
                move || {
                    let (engine, locks) = (engine.clone(), Weak::clone(&locks));
                    async move {
                        match locks.upgrade() {
                            Some(locks) => inherit(&engine, &locks).await,
                            None => Ok(()),
                        }
                    }
                },
            );
        }
    }

    /// Lets finished jobs go whose time is over. Any number of daemons may: none meets what another one has in hand.
    fn prune(&self) {
        let Some(keep) = self.plan.retention else {
            return;
        };
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        self.every("pruning", PRUNE_EVERY, &self.stop, move || {
            let (engine, stop) = (engine.clone(), stop.clone());
            async move {
                let mut pruned = engine.prune_batch(&keep).await?;
                while pruned.has_more && !stop.is_cancelled() {
                    tokio::time::sleep(PRUNE_PAUSE).await;
                    pruned = pruned.and(engine.prune_batch(&keep).await?);
                }
                let Pruned {
                    jobs,
                    histories,
                    kept,
                    ..
                } = pruned;
                if pruned != Pruned::default() {
                    info!(
                        jobs,
                        histories, kept, "Pruned {jobs} jobs and {histories} histories"
                    );
                }
                Ok(())
            }
        });
    }

    /// Runs `body` every `interval` by the daemon's clock until `stop`; errors wait and try again.
    fn every<B, F>(
        &self,
        name: &'static str,
        interval: TimeDelta,
        stop: &CancellationToken,
        body: B,
    ) where
        B: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let clock = self.engine.clock().clone();
        let body = Arc::new(body);
        let stopping = stop.clone();
        self.tracker.spawn(supervise(name, stop.clone(), move || {
            let (clock, body, stop) = (clock.clone(), Arc::clone(&body), stopping.clone());
            async move {
                body().await?;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock.sleep_until(clock.now() + interval) => {}
                }
                Ok::<(), StoreError>(())
            }
        }));
    }
}

/// Without it the daemon works as well, and what it held when it died waits for its lease.
fn sign_of_life(at: &LocksAt, worker: &str) -> Option<Arc<WorkerLocks>> {
    match WorkerLocks::take(&at.folder, at.database.reveal(), worker) {
        Ok(locks) => Some(Arc::new(locks)),
        Err(error) => {
            warn!(folder = %at.folder.display(), error = %error, "No sign of life can be given in {} ([jobs] locks_directory): after a crash jobs wait for their leases", at.folder.display());
            None
        }
    }
}

/// Takes over what dead workers of this machine had in hand.
async fn inherit(engine: &Engine, locks: &WorkerLocks) -> Result<(), StoreError> {
    let dead = locks.dead().unwrap_or_else(|error| {
        warn!(error = %error, "The signs of life of other workers cannot be read");
        Vec::new()
    });
    for worker in dead {
        let rescued = engine.take_over(&worker.name).await?;
        info!(
            worker = worker.name,
            rescued, "Took over {rescued} jobs of the dead worker {}", worker.name
        );
        worker.bury().ok();
    }
    Ok(())
}

/// What tells a daemon to stop. Heard from the moment this is made, so that whoever reads the daemon's first line may
/// send it.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to hear.
    ///
    /// # Errors
    /// When the operating system refuses to tell.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, or until the daemon stops by itself.
    pub async fn told(&mut self, stopping: &CancellationToken) {
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => info!("SIGINT: stopping"),
            () = stopping.cancelled() => {}
        }
    }
}
