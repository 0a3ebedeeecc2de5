//! One daemon: the engine, its queue, its keepers and its HTTP server, started and stopped as one.
//!
//! Any number of identical daemons share one database and one Redis; nothing else coordinates
//! them and there is no leader. Stopping takes in nothing more, lets running handlers finish,
//! hands the rest back without burning an attempt, and then lets go of everything.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clearday_jobs::ChannelName;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::{Clock, Ids};
use crate::config::{self, Settings};
use crate::connectors::messages::{Messages, MessagesError};
use crate::connectors::{
    BankAccount, BankConnector, BankSettings, Banks, ChannelSettings, Channels, Now,
    SandboxSettings, SetupError, Timeouts,
};
use crate::domain::deferred_authorization::ChargingRules;
use crate::domain::partner_notification::PayLinkTemplate;
use crate::engine::{Bell, Engine, Handler, Policy, Pruned, Retention};
use crate::queue::{InProcessBell, Queue, QueueSettings, RedisBell, RedisQueue, supervise};
use crate::store::{Store, StoreError};
use crate::workers::{self, Workbench};

/// Reconciliations at the same time in one process: each holds a statement and its records in
/// memory and keeps a core busy.
const HEAVY_JOBS_MAX: usize = 1;
/// Handing back, and waiting for what ends by itself, take moments; a daemon that is told to stop
/// does not wait longer for a server that does not answer.
const LAST_STEPS: Duration = Duration::from_secs(10);

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
        let bench = Workbench {
            channels: Arc::new(Channels::build(channels, &now)?),
            messages: Arc::new(Messages::build(&settings.messages(), &now)?),
            pay_link: pay_link(settings),
            banks: Arc::new(Banks::build(banks, &now)?),
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
        })
    }
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

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    engine: Engine,
    queue: Queue,
    redis: Option<RedisQueue>,
    /// Ends the taking of work.
    stop: CancellationToken,
    /// Ends what running handlers still need: renewal of their leases.
    release: CancellationToken,
    tracker: TaskTracker,
}

impl Daemon {
    /// Starts everything; returns at once. Redis need not be there yet.
    pub fn start(parts: Parts) -> Result<Self, DaemonError> {
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
        let engine = Engine::new(
            parts.store,
            parts.clock,
            parts.ids,
            parts.policy,
            worker,
            bell,
        );
        let queue = Queue::start(
            &engine,
            &local,
            parts.queue,
            &parts.handler,
            &tracker,
            &stop,
        );
        if let Some(redis) = &redis {
            redis.start(&engine, &local, &tracker, &stop);
        }
        let daemon = Self {
            engine,
            queue,
            redis,
            stop,
            release,
            tracker,
        };
        daemon.keep(parts.heartbeat, parts.sweep);
        daemon.prune(parts.retention);
        Ok(daemon)
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

    /// Stops: takes nothing more, waits up to `patience` for running handlers, hands the rest
    /// back.
    ///
    /// # Errors
    /// When the database did not answer; then the leases lapse and another daemon sweeps them.
    pub async fn shutdown(self, patience: Duration) -> Result<(), StoreError> {
        self.stop.cancel();
        if !self.queue.drained(patience).await {
            warn!("Some handlers are still running; their jobs are handed back");
        }
        let handing_back = tokio::time::timeout(LAST_STEPS, self.engine.hand_back_all());
        let handed_back = handing_back.await;
        self.release.cancel();
        self.tracker.close();
        if tokio::time::timeout(LAST_STEPS, self.tracker.wait())
            .await
            .is_err()
        {
            warn!("Some tasks are still running and are cut off");
        }
        if let Some(redis) = &self.redis {
            redis.leave().await;
        }
        // Out of time: what was not handed back lapses, and another daemon sweeps it.
        let handed_back = handed_back.unwrap_or(Ok(0))?;
        info!(handed_back, "Stopped; {handed_back} jobs were handed back");
        Ok(())
    }

    fn keep(&self, heartbeat: TimeDelta, sweep: TimeDelta) {
        let engine = self.engine.clone();
        self.every("lease keeper", heartbeat, &self.release, move || {
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
        });
        let engine = self.engine.clone();
        self.every("sweep", sweep, &self.stop, move || {
            let engine = engine.clone();
            async move { engine.sweep_when_steady().await.map(|_| ()) }
        });
    }

    /// Lets finished jobs go whose time is over. Any number of daemons may: none meets what another one has in hand.
    fn prune(&self, retention: Option<Retention>) {
        let Some(keep) = retention else {
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

/// Waits for SIGTERM or SIGINT, or until the daemon stops by itself.
///
/// # Errors
/// When the operating system refuses to tell.
pub async fn until_told_to_stop(stopping: &CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        () = stopping.cancelled() => {}
    }
    Ok(())
}
