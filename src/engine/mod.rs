//! What makes a job durable: accept, lease, finish, retry, bury, sweep; operations; ticks.
//!
//! The database decides; queues only carry submissions in and ring the bell. Everything here is a
//! short transaction over `store/`, decided by `domain/`. What must never be: a commit by a worker
//! whose lease was lost, a call to the outside while a transaction is open, a change of state
//! without its row of history.

mod accept;
mod approvals;
mod audit;
mod bank_accounts;
mod bulk;
mod claim;
mod ends;
mod execute;
mod explain;
mod import;
mod leases;
mod mend;
mod operate;
mod pacer;
mod queues;
mod retention;
mod run;
mod settlements;
mod setup;
mod sweep;
mod tick;
mod weakness;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;

pub use accept::{Acceptance, Refusal, Source, Submission};
pub use approvals::{ApprovalError, NewApproval, PeopleNeeded, Signer};
pub use audit::AuditFinding;
pub use bulk::{DeadGroup, DeadLetters, Done, Matching};
pub use claim::Room;
pub use ends::{Booking, Effects};
pub use execute::{Handler, WorkError};
pub use explain::{Explainer, Waiting};
pub use import::ImportError;
pub use leases::{Held, Leased};
pub use mend::{MendError, Mended};
pub use operate::{OperateError, Wish};
pub use pacer::Pacer;
pub use queues::{QueueFigures, REASON_LENGTH_MAX};
pub use retention::{Pruned, Retention};
pub use run::{Finished, Run, RunTx, ShownSettlement};
pub use settlements::{
    NewOfflinePayment, OfflinePaymentError, OfflinePaymentRegistered,
    consents as settlement_consents, progress as settlement_progress,
};
pub use tick::TickPlan;
pub use weakness::Weakness;

use crate::clock::{Clock, Ids};
use crate::store::Store;

/// Rings when jobs of a kind became due; never blocks and may be lost.
pub trait Bell: std::fmt::Debug + Send + Sync {
    /// Wakes a daemon that carries out jobs of this kind.
    fn ring(&self, kind: JobKind);

    /// Says that more is due than this daemon has room for: one that is idle may look. Where there is only one,
    /// nobody does.
    fn ring_others(&self, _kind: JobKind) {}
}

/// A job that comes due within this rings the bell already when it is written down, so that a
/// dispatcher learns for when to set its alarm; later ones are found by its regular look at the
/// database, which comes more often than this.
const WAKE_HORIZON: TimeDelta = TimeDelta::seconds(10);

/// How patient the engine is. Defaults and reasons are in `config/default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a lease lasts without renewal.
    pub lease: TimeDelta,
    /// Failed runs after which a job is buried.
    pub attempts_max: u32,
    /// Lapsed leases after which a job is buried: it kills its workers.
    pub rescues_max: u32,
    /// A run that takes longer is given up and counts as failed.
    pub handler_timeout: std::time::Duration,
    /// Runs of one kind and one partition at the same time, over all daemons; none: as many as there is room for.
    pub partition_concurrency: Option<usize>,
}

/// Numbers that only grow, for `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commits refused because the lease was lost.
    pub stale_commits_refused: AtomicU64,
    /// Runs that ended in the recorded effect.
    pub finished: AtomicU64,
    /// Runs that failed, whatever followed.
    pub failed: AtomicU64,
    /// Handlers that panicked.
    pub panicked: AtomicU64,
    /// Leases that lapsed and were swept.
    pub rescued: AtomicU64,
    /// Finished jobs that were deleted because their time was over.
    pub jobs_pruned: AtomicU64,
    /// Histories that were.
    pub histories_pruned: AtomicU64,
}

/// The engine of one daemon; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    ids: Ids,
    policy: Policy,
    /// Unique per start of a process, so that a restart never inherits a lease by name.
    worker: String,
    bell: Arc<dyn Bell>,
    held: leases::HeldLeases,
    contact: leases::Contact,
    turns: claim::Turns,
    ends: ends::Ends,
    counters: Counters,
    #[cfg(feature = "weaknesses")]
    weakness: std::sync::OnceLock<Weakness>,
}

impl Engine {
    /// An engine that leases as `worker`, which must be unique per start of a process.
    pub fn new(
        store: Store,
        clock: Clock,
        ids: Ids,
        policy: Policy,
        worker: String,
        bell: Arc<dyn Bell>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            ids,
            policy,
            worker,
            bell,
            held: leases::HeldLeases::default(),
            contact: leases::Contact::default(),
            turns: claim::Turns::default(),
            ends: ends::Ends::default(),
            counters: Counters::default(),
            #[cfg(feature = "weaknesses")]
            weakness: std::sync::OnceLock::new(),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Where ids come from.
    pub fn ids(&self) -> &Ids {
        &self.0.ids
    }

    /// The name this daemon leases under.
    pub fn worker(&self) -> &str {
        &self.0.worker
    }

    /// What has happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// How patient the engine is.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// The bell.
    pub fn bell(&self) -> &dyn Bell {
        self.0.bell.as_ref()
    }

    /// Whether somebody must hear of a job that may run at `run_at`.
    fn is_imminent(&self, run_at: DateTime<Utc>) -> bool {
        run_at <= self.0.clock.now() + WAKE_HORIZON
    }

    fn ring(&self, kinds: impl IntoIterator<Item = JobKind>) {
        for kind in kinds {
            self.0.bell.ring(kind);
        }
    }
}

/// A bell that nobody hears: for command lines that only write to the database, whose jobs are
/// found by the daemons' own look at the next due instant.
#[derive(Debug)]
pub struct NoBell;

impl Bell for NoBell {
    fn ring(&self, _kind: JobKind) {}
}
