//! One simulated daemon: the real engine and the real workers, without queue, sockets and threads.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind};

use super::stop::{Stop, lock};
use crate::clock::Clock;
use crate::domain::job::Job;
use crate::engine::{Acceptance, Bell, Engine, Handler, Held};
use crate::store::StoreError;

/// Bells that rang and are on their way; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Bells(Arc<Mutex<Vec<JobKind>>>);

impl Bells {
    /// What rang since it was asked last.
    pub(super) fn take(&self) -> Vec<JobKind> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Bell for Bells {
    fn ring(&self, kind: JobKind) {
        lock(&self.0).push(kind);
    }
}

/// Whether a daemon goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It works.
    Alive,
    /// It stands still until then.
    Frozen(DateTime<Utc>),
    /// It is dead, and started again then.
    Dead(DateTime<Utc>),
}

/// One daemon.
pub(super) struct Daemon {
    pub(super) number: usize,
    /// How often it was started.
    pub(super) starts: u32,
    pub(super) life: Life,
    pub(super) engine: Engine,
    pub(super) handler: Handler,
    pub(super) clock: Clock,
    /// How far its clock is ahead.
    pub(super) skew: TimeDelta,
    pub(super) renew_at: DateTime<Utc>,
    pub(super) sweep_at: DateTime<Utc>,
    /// Kinds for which it heard a bell.
    pub(super) heard: BTreeSet<JobKind>,
    /// Schedules are looked at next at this instant of its own clock.
    pub(super) tick_at: Option<DateTime<Utc>>,
    /// It was told to stop, and takes nothing more.
    pub(super) is_leaving: bool,
}

impl Daemon {
    pub(super) fn is_up(&self) -> bool {
        self.life == Life::Alive
    }
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// Takes in these submissions.
    Accept(Vec<usize>),
    /// Leases what is due.
    Lease(JobKind),
    /// Carries a job out, under an epoch.
    Run {
        kind: JobKind,
        id: JobId,
        key: String,
        epoch: i64,
    },
    /// Renews what is held.
    Renew,
    /// Looks for lapsed leases.
    Sweep,
    /// Looks at the schedules.
    Tick,
    /// Gives back what it holds, because it stops.
    HandBack,
}

impl Act {
    /// Its name in the table of faults.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Accept(_) => "accept".to_owned(),
            Self::Lease(_) => "lease".to_owned(),
            Self::Run { kind, .. } => kind.to_string(),
            Self::Renew => "renew".to_owned(),
            Self::Sweep => "sweep".to_owned(),
            Self::Tick => "tick".to_owned(),
            Self::HandBack => "hand_back".to_owned(),
        }
    }

    /// Its name in a trace.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Accept(numbers) => format!("accept {numbers:?}"),
            Self::Lease(kind) => format!("lease {kind}"),
            Self::Run {
                kind, key, epoch, ..
            } => format!("run {kind} {key} epoch {epoch}"),
            Self::Renew | Self::Sweep | Self::Tick | Self::HandBack => self.name(),
        }
    }
}

/// How a task ended.
#[derive(Debug)]
pub(super) enum Ended {
    Accepted(Result<Vec<Acceptance>, StoreError>),
    Leased(Result<Vec<Job>, StoreError>),
    Ran,
    Renewed(#[expect(dead_code, reason = "told in a trace")] Result<Held, StoreError>),
    Swept(#[expect(dead_code, reason = "told in a trace")] Result<usize, StoreError>),
    Ticked(Result<usize, StoreError>),
    HandedBack(#[expect(dead_code, reason = "told in a trace")] Result<usize, StoreError>),
}

/// What a task is, polled.
pub(super) type Future = Pin<Box<dyn std::future::Future<Output = Ended>>>;

/// One thing that a daemon does, somewhere between its beginning and its end.
pub(super) struct Task {
    pub(super) daemon: usize,
    pub(super) act: Act,
    pub(super) future: Future,
    /// Where it stopped; nothing before its first poll.
    pub(super) stop: Option<Stop>,
    /// It cannot go on before then.
    pub(super) not_before: DateTime<Utc>,
    /// How many leases may have been taken from their holders before it began.
    pub(super) born: u64,
}

/// The tasks of all daemons, by number.
pub(super) type Tasks = BTreeMap<u64, Task>;
