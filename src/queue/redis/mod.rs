//! Redis Streams: submissions in, and a bell that any daemon hears.
//!
//! Two streams per kind in one slot, one consumer group each: `clearday:{order_expiry}` carries
//! submissions and is never trimmed; `clearday:{order_expiry}:wake` only rings. An entry is
//! acknowledged and deleted after its row is committed, so what is in the stream is what is still
//! to be taken in. Redis may be emptied, restarted or gone: loops wait and try again, and the
//! dispatchers' own look at the database goes on.

mod bell;
mod entries;
mod intake;
mod keeper;
mod room;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clearday_jobs::JobKind;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use bell::RedisBell;

use super::InProcessBell;
use super::supervise::supervise;
use crate::engine::Engine;

/// The consumer group of every daemon.
const GROUP: &str = "clearday";
/// One blocking read; its end is when a stop is noticed.
const BLOCK: Duration = Duration::from_secs(2);
/// An entry that a consumer took and did not acknowledge for this long is taken over.
const CLAIM_IDLE: Duration = Duration::from_secs(30);
/// How often to look for such entries.
const CLAIM_EVERY: Duration = Duration::from_secs(10);
/// Every call to Redis is given up after this.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What operators want to know about Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisStatus(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    unknown_streams: BTreeSet<String>,
    warnings: Vec<String>,
}

impl RedisStatus {
    /// Streams that match `clearday:{*}` but name no kind: jobs that nobody will take in.
    pub fn unknown_streams(&self) -> Vec<String> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.unknown_streams.iter().cloned().collect()
    }

    /// Settings of the server that endanger what is only in Redis.
    pub fn warnings(&self) -> Vec<String> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.warnings.clone()
    }

    fn set(&self, unknown_streams: BTreeSet<String>, warnings: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Facts {
            unknown_streams,
            warnings,
        };
    }
}

/// The Redis side of one daemon.
#[derive(Clone, Debug)]
pub struct RedisQueue {
    client: Client,
    /// For everything but blocking reads; reconnects by itself.
    shared: SharedConnection,
    /// Unique per start of a process.
    consumer: String,
    status: RedisStatus,
}

/// A connection manager that can be printed.
#[derive(Clone)]
struct SharedConnection(ConnectionManager);

impl std::fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedConnection")
    }
}

impl RedisQueue {
    /// Prepares the connections; the server need not be there yet.
    ///
    /// # Errors
    /// When `url` is no Redis URL.
    pub fn new(url: &str, consumer: String) -> RedisResult<Self> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(1);
        let shared = SharedConnection(client.get_connection_manager_lazy(config)?);
        Ok(Self {
            client,
            shared,
            consumer,
            status: RedisStatus::default(),
        })
    }

    /// What operators want to know.
    pub fn status(&self) -> &RedisStatus {
        &self.status
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> RedisResult<()> {
        let mut connection = self.shared();
        redis::cmd("PING").query_async(&mut connection).await
    }

    /// Starts the reader of every kind and the keeper.
    pub fn start(
        &self,
        engine: &Engine,
        local: &InProcessBell,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        for kind in JobKind::ALL {
            let reader = intake::Intake {
                queue: self.clone(),
                engine: engine.clone(),
                kind,
                local: local.clone(),
                stop: stop.clone(),
                room: room::Room::default(),
            };
            tracker.spawn(supervise("Redis reader", stop.clone(), move || {
                let reader = reader.clone();
                async move { reader.read().await }
            }));
        }
        let keeper = keeper::Keeper {
            queue: self.clone(),
            clock: engine.clock().clone(),
            stop: stop.clone(),
        };
        tracker.spawn(supervise("Redis keeper", stop.clone(), move || {
            let keeper = keeper.clone();
            async move { keeper.keep().await }
        }));
    }

    /// Leaves the consumer groups, where nothing is pending under our name.
    pub async fn leave(&self) {
        let leaving = keeper::leave(self);
        // Whether it worked or not, a later keeper removes consumers that stay idle.
        tokio::time::timeout(CONNECT_TIMEOUT, leaving).await.ok();
    }

    fn shared(&self) -> ConnectionManager {
        self.shared.0.clone()
    }

    /// A connection of its own for blocking reads.
    async fn blocking(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(BLOCK + RESPONSE_TIMEOUT));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Creates both groups of a kind where they are missing, from the first entry on.
    async fn ensure_groups(&self, kind: JobKind) -> RedisResult<()> {
        let mut connection = self.shared();
        for stream in [kind.submission_stream(), kind.wake_stream()] {
            let created: RedisResult<()> = redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(&stream)
                .arg(GROUP)
                .arg("0")
                .arg("MKSTREAM")
                .query_async(&mut connection)
                .await;
            match created {
                Err(error) if error.code() == Some("BUSYGROUP") => {}
                other => other?,
            }
        }
        Ok(())
    }
}
