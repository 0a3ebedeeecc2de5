//! Queues: the only place that knows apalis and Redis.
//!
//! The database decides what runs; queues carry submissions in and ring the bell. Emptying them
//! loses nothing that was acknowledged. Two of them: Redis Streams in production, an in-process
//! bell in the embedded mode. Both end at the same apalis backend, [`LeasedJobs`], because what a
//! worker gets is always a row leased from the database.
//!
//! ```text
//! Redis stream ─▶ intake ─▶ engine.accept ─▶ bell ─▶ wake stream ─▶ dispatcher ─▶ engine.lease_due
//! HTTP, shell, ticks ───────────▲              └────── in process ──────▲              │
//!                                              apalis worker ◀─ LeasedJobs ◀───────────┘
//! ```

mod backend;
mod dispatcher;
mod in_process;
mod redis;
mod supervise;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use clearday_jobs::JobKind;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::LeasedJobs;
pub use in_process::InProcessBell;
pub use redis::{RedisBell, RedisQueue, RedisStatus};
pub use supervise::supervise;

use crate::engine::{Engine, Handler};

/// How jobs are handed to workers.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Jobs of one kind that run at the same time in this process.
    pub concurrency: usize,
    /// The longest a due job waits when its bell was lost.
    pub poll: Duration,
}

/// The dispatchers and workers of one process.
#[derive(Debug)]
pub struct Queue {
    dispatchers: TaskTracker,
    rooms: Vec<Arc<Semaphore>>,
    concurrency: u32,
}

impl Queue {
    /// Starts, for every kind that has a worker, a dispatcher that leases due jobs when `bell`
    /// rings and an apalis worker that runs them through `handler`; `stop` ends the taking.
    pub fn start(
        engine: &Engine,
        bell: &InProcessBell,
        settings: QueueSettings,
        handler: &Handler,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let dispatchers = TaskTracker::new();
        let mut rooms = Vec::new();
        let mut backends = Vec::new();
        for kind in JobKind::ALL {
            let room = Arc::new(Semaphore::new(settings.concurrency));
            let (sender, backend) = backend::channel(settings.concurrency, stop.clone());
            let dispatcher = dispatcher::Dispatcher {
                engine: engine.clone(),
                kind,
                bell: bell.listener(kind),
                room: Arc::clone(&room),
                concurrency: settings.concurrency,
                poll: settings.poll,
                leased: sender,
            };
            let stopped = stop.clone();
            tracker.spawn(dispatchers.track_future(async move { dispatcher.run(&stopped).await }));
            rooms.push(room);
            backends.push((kind, backend));
        }
        dispatchers.close();
        workers::start(backends, engine, handler, tracker, stop);
        Self {
            dispatchers,
            rooms,
            concurrency: u32::try_from(settings.concurrency).unwrap_or(u32::MAX),
        }
    }

    /// Waits until no job is being leased and no handler runs any more, at most `patience`; whether that
    /// came true. A lease that is on its way would be known only after everything was handed back.
    pub async fn drained(&self, patience: Duration) -> bool {
        let all_free = async {
            self.dispatchers.wait().await;
            for room in &self.rooms {
                // Closed never happens: nobody closes these semaphores.
                room.acquire_many(self.concurrency).await.ok();
            }
        };
        tokio::time::timeout(patience, all_free).await.is_ok()
    }
}
