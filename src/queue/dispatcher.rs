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
use crate::engine::{Engine, Room};
use crate::store::{StoreError, jobs};

/// With a backlog, leasing row by row as each run ends would cost a transaction per job; waiting
/// this long for half the room to come free makes batches of it.
const GATHER: Duration = Duration::from_millis(5);

/// Of the room, one part in so many is spared for partitions of which little runs here.
const SPARED_PART: usize = 8;

/// With nothing but spared room left, a look at what came due meanwhile costs a claim.
const SPARED_LOOK: Duration = Duration::from_millis(100);

/// Between two looks at due rows that another daemon has locked.
const LOCKED_WAIT: Duration = Duration::from_millis(20);

/// What a look at due jobs left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftDue {
    Nothing,
    /// For want of room.
    Some,
    /// For want of room that is not spared.
    HeldBack,
}

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
        let mut left = LeftDue::Nothing;
        while !stop.is_cancelled() {
            let room = tokio::select! {
                () = stop.cancelled() => return,
                room = self.free_room(left) => room,
            };
            // Not cut off by a stop: a lease that is committed must be known, to be handed back.
            match self.lease(room).await {
                Ok(found) => {
                    if backoff.is_failing() {
                        info!(job.kind = %self.kind, "Leasing {} jobs works again", self.kind);
                    }
                    backoff.reset();
                    left = found;
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
            if left == LeftDue::Nothing {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.wait_for_work() => {}
                }
            }
        }
    }

    /// Leases one batch for the free room.
    async fn lease(&self, free: usize) -> Result<LeftDue, StoreError> {
        if free == 0 {
            return Ok(LeftDue::Some);
        }
        let spared = self.concurrency.div_euclid(SPARED_PART);
        let leased = self
            .engine
            .lease_into(self.kind, Room { free, spared })
            .await?;
        let (taken, has_more) = (leased.jobs.len(), leased.has_more);
        if has_more && taken > 0 {
            // There is more than this daemon has room for: let another one look.
            self.engine.bell().ring_others(self.kind);
        }
        for job in leased.jobs {
            self.hand_over(job).await;
        }
        Ok(match (has_more, taken < free) {
            (false, _) => LeftDue::Nothing,
            (true, false) => LeftDue::Some,
            (true, true) => LeftDue::HeldBack,
        })
    }

    /// How many jobs can start now: at least one, after waiting for it.
    async fn free_room(&self, left: LeftDue) -> usize {
        let free = self.room.available_permits();
        let half = self.concurrency.div_ceil(2);
        match left {
            LeftDue::Nothing => {}
            LeftDue::Some => {
                self.await_room(half, free > 0, GATHER).await;
            }
            LeftDue::HeldBack => {
                let was_rung = self.await_room(free.saturating_add(1), true, SPARED_LOOK);
                if !was_rung.await {
                    self.await_room(half, true, GATHER).await;
                }
            }
        }
        match self.room.acquire().await {
            Ok(permit) => {
                drop(permit);
                self.room.available_permits()
            }
            Err(_) => 0,
        }
    }

    /// Waits until so much room is free, at most so long, and where there is room already until a bell rings; whether
    /// one did.
    async fn await_room(&self, wanted: usize, listens: bool, at_most: Duration) -> bool {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let has_room = tokio::time::timeout(at_most, self.room.acquire_many(wanted));
        tokio::select! {
            // Whether it came free or the wait was over: what is free is taken.
            _ = has_room => false,
            () = self.bell.rung(), if listens => true,
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
        let mut tx = self.engine.store().read_claiming().await.ok()?;
        jobs::next_run_at(&mut tx, self.kind).await.ok()?
    }
}
