//! Leases due jobs of one kind as fast as there is room for them.
//!
//! Wakes by the bell, when the next job comes due, and in any case after the poll interval, so
//! that a lost bell costs a moment and never a job.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backend::LeasedJob;
use super::in_process::Listener;
use super::supervise::Backoff;
use crate::domain::job::Job;
use crate::engine::Engine;
use crate::store::{StoreError, jobs};

/// With a backlog, leasing row by row as each run ends would cost a transaction per job; waiting
/// this long for half the room to come free makes batches of it.
const GATHER: Duration = Duration::from_millis(5);

/// Between two looks at due rows that another daemon has locked.
const LOCKED_WAIT: Duration = Duration::from_millis(20);

/// One kind's dispatcher.
pub(super) struct Dispatcher {
    pub(super) engine: Engine,
    pub(super) kind: JobKind,
    pub(super) bell: Arc<Listener>,
    pub(super) room: Arc<Semaphore>,
    pub(super) concurrency: usize,
    pub(super) poll: Duration,
    pub(super) leased: mpsc::Sender<LeasedJob>,
}

impl Dispatcher {
    /// Leases until `stop`.
    pub(super) async fn run(self, stop: &CancellationToken) {
        // Without its dispatcher a kind would be deaf: if this ends, the daemon does.
        let _guard = stop.clone().drop_guard();
        let mut backoff = Backoff::default();
        let mut has_backlog = false;
        while !stop.is_cancelled() {
            let room = tokio::select! {
                () = stop.cancelled() => return,
                room = self.free_room(has_backlog) => room,
            };
            // Not cut off by a stop: a lease that is committed must be known, to be handed back.
            match self.lease(room).await {
                Ok(more) => {
                    if backoff.is_failing() {
                        info!(job.kind = %self.kind, "Leasing {} jobs works again", self.kind);
                    }
                    backoff.reset();
                    has_backlog = more;
                }
                Err(error) => {
                    warn!(job.kind = %self.kind, error = %error, "Could not lease {} jobs; trying again", self.kind);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = backoff.wait() => {}
                    }
                    continue;
                }
            }
            if !has_backlog {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.wait_for_work() => {}
                }
            }
        }
    }

    /// Leases one batch for the free room; whether more is waiting.
    async fn lease(&self, room: usize) -> Result<bool, StoreError> {
        if room == 0 {
            return Ok(true);
        }
        let jobs = self.engine.lease_due(self.kind, room).await?;
        let is_full = jobs.len() >= room;
        if is_full {
            // There may be more than this daemon has room for: let another one look.
            self.engine.bell().ring(self.kind);
        }
        for job in jobs {
            self.hand_over(job).await;
        }
        Ok(is_full)
    }

    /// How many jobs can start now: at least one, after waiting for it.
    async fn free_room(&self, has_backlog: bool) -> usize {
        if has_backlog {
            let half = u32::try_from(self.concurrency.div_ceil(2)).unwrap_or(1);
            // Whether half came free or the wait was over: what is free is taken below.
            tokio::time::timeout(GATHER, self.room.acquire_many(half))
                .await
                .ok();
        }
        match self.room.acquire().await {
            Ok(permit) => {
                drop(permit);
                self.room.available_permits()
            }
            Err(_) => 0,
        }
    }

    async fn hand_over(&self, job: Job) {
        // Only this dispatcher takes room, so as much as it saw free is free.
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
            return;
        };
        // A closed channel means that the daemon stops: the shutdown hands the job back.
        self.leased.send(LeasedJob { job, room }).await.ok();
    }

    async fn wait_for_work(&self) {
        let poll = TimeDelta::from_std(self.poll).unwrap_or(TimeDelta::MAX);
        let latest = self.engine.clock().now() + poll;
        let next = self.next_due().await.unwrap_or(latest).min(latest);
        let alarm = async {
            self.engine.clock().sleep_until(next).await;
            // What was due and could not be leased is locked by another daemon: let it go on.
            tokio::time::sleep(LOCKED_WAIT).await;
        };
        tokio::select! {
            () = self.bell.heard() => {}
            () = alarm => {}
        }
    }

    async fn next_due(&self) -> Option<DateTime<Utc>> {
        let mut tx = self.engine.store().read().await.ok()?;
        jobs::next_run_at(&mut tx, self.kind).await.ok()?
    }
}
