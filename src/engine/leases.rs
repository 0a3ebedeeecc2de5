//! Leases: a worker's hold on a job, in batches, with an epoch that grows each time.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind};

use super::Engine;
use super::claim::Room;
use crate::domain::job::{Job, JobEvent};
use crate::store::{StoreError, daemons, jobs};

/// How long handing one job back may take: whoever has its row in hand keeps the others waiting for so long at most,
/// and what failed is tried once more when they are through.
const HAND_BACK_MAX: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
const RELEASE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The leases this process holds, so that they can be renewed and, on the way out, handed back.
#[derive(Debug, Default)]
pub(super) struct HeldLeases(Mutex<BTreeMap<JobId, HeldLease>>);

#[derive(Debug)]
struct HeldLease {
    epoch: i64,
    kind: JobKind,
    /// Whose work it is; empty for nobody's in particular.
    partition: String,
}

impl HeldLeases {
    fn add(&self, jobs: &[Job]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(jobs.iter().map(|job| {
            let lease = HeldLease {
                epoch: job.lease_epoch,
                kind: job.kind,
                partition: job.partition.clone().unwrap_or_default(),
            };
            (job.id, lease)
        }));
    }

    /// Forgets a lease, unless a newer one of the same job is held meanwhile; whether it was held.
    pub(super) fn forget(&self, id: JobId, epoch: i64) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_held = held.get(&id).is_some_and(|lease| lease.epoch == epoch);
        if was_held {
            held.remove(&id);
        }
        was_held
    }

    fn all(&self) -> Vec<(JobId, i64)> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(id, lease)| (*id, lease.epoch)).collect()
    }

    /// How many jobs of a kind are held, by partition.
    pub(super) fn by_partition(&self, kind: JobKind) -> BTreeMap<String, usize> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for lease in held.values().filter(|lease| lease.kind == kind) {
            let count = counts.entry(&lease.partition).or_default();
            *count = count.saturating_add(1);
        }
        let named = counts.into_iter();
        named
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }
}

/// Since when the database has answered this process without a gap as long as a lease.
///
/// After an outage every lease looks lapsed, also those whose workers are alive and about to renew:
/// who sweeps then takes healthy work away. So a process sweeps only after a lease's length of
/// contact, in which everybody else who is alive has renewed.
#[derive(Debug, Default)]
pub(super) struct Contact(Mutex<Option<(DateTime<Utc>, DateTime<Utc>)>>);

impl Contact {
    /// The database answered now.
    fn noted(&self, now: DateTime<Utc>, lease: TimeDelta) {
        let mut contact = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *contact {
            Some((since, last)) if now.signed_duration_since(last) < lease => since,
            Some(_) | None => now,
        };
        *contact = Some((since, now));
    }

    /// Whether it has answered for as long as a lease lasts, and still did within the last one.
    pub(super) fn is_steady(&self, now: DateTime<Utc>, lease: TimeDelta) -> bool {
        let contact = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        contact.is_some_and(|(since, last)| {
            now.signed_duration_since(since) >= lease && now.signed_duration_since(last) < lease
        })
    }
}

/// What was leased.
#[derive(Debug)]
pub struct Leased {
    /// These jobs.
    pub jobs: Vec<Job>,
    /// Whether more is due than there was room for.
    pub has_more: bool,
}

/// What a renewal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Leases extended.
    pub renewed: usize,
    /// Leases that another worker took; their runs will commit nothing.
    pub lost: usize,
}

impl Engine {
    /// Leases up to `room` due jobs of a kind: the most urgent first, then fairly between partitions, then the oldest.
    /// Of a kind that people paused, none.
    pub async fn lease_due(&self, kind: JobKind, room: usize) -> Result<Vec<Job>, StoreError> {
        Ok(self.lease_into(kind, room.into()).await?.jobs)
    }

    /// The same, into room of which some may be spared; says whether more is due.
    pub async fn lease_into(&self, kind: JobKind, room: Room) -> Result<Leased, StoreError> {
        let mut leased = Leased {
            jobs: self.lease_all(kind, room).await?,
            has_more: false,
        };
        self.0.held.add(&leased.jobs);
        let mut may_find_more = leased.jobs.is_empty();
        while may_find_more {
            let left = room.after(leased.jobs.len());
            match self.lease_some(kind, left).await {
                Ok(taken) => {
                    // Only now: a renewal that ran before the commit would not find them and call them lost.
                    self.0.held.add(&taken.jobs);
                    may_find_more = taken.may_find_more && taken.jobs.len() < left.free;
                    leased.has_more = taken.has_more;
                    leased.jobs.extend(taken.jobs);
                }
                Err(error) if leased.jobs.is_empty() => return Err(error),
                // What is leased is carried out; the next look meets the same fault.
                Err(_) => {
                    leased.has_more = true;
                    break;
                }
            }
        }
        leased
            .jobs
            .sort_by_key(|job| (job.priority, job.run_at, job.id));
        Ok(leased)
    }

    /// Extends every lease this process holds, and notes that the database answers and that this daemon is at work.
    pub async fn renew_held(&self) -> Result<Held, StoreError> {
        let held = self.0.held.all();
        let mut tx = self.0.store.begin_keeping().await?;
        let until = self.0.clock.now() + self.0.policy.lease;
        let renewal = jobs::renew(&mut tx, &held, until).await?;
        daemons::note_seen(&mut tx, self.worker(), RELEASE_VERSION, self.0.clock.now()).await?;
        tx.commit().await?;
        self.0
            .contact
            .noted(self.0.clock.now(), self.0.policy.lease);
        let renewed = renewal.renewed.len();
        let kept: HashSet<JobId> = renewal.renewed.into_iter().chain(renewal.busy).collect();
        // A run that ended meanwhile gave its lease up itself and lost nothing.
        let lost = held
            .iter()
            .filter(|(id, _)| !kept.contains(id))
            .filter(|(id, epoch)| self.0.held.forget(*id, *epoch))
            .count();
        Ok(Held { renewed, lost })
    }

    /// Gives jobs back that this process holds, without burning their attempt. What fails is left to lapse.
    ///
    /// # Errors
    /// The last one, once all were tried.
    pub async fn hand_back_all(&self) -> Result<usize, StoreError> {
        let mut handed_back = 0_usize;
        let mut left = self.0.held.all();
        let mut failed = None;
        for patience in HAND_BACK_MAX {
            failed = None;
            for (id, epoch) in std::mem::take(&mut left) {
                let given = tokio::time::timeout(patience, self.hand_back(id, epoch)).await;
                match given.unwrap_or(Err(StoreError::NoAnswer(patience))) {
                    Ok(was_held) => handed_back = handed_back.saturating_add(usize::from(was_held)),
                    Err(error) => {
                        left.push((id, epoch));
                        failed = Some(error);
                    }
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut tx = self.0.store.begin().await?;
        daemons::note_gone(&mut tx, self.worker()).await?;
        tx.commit().await?;
        Ok(handed_back)
    }

    /// Whether it was still held.
    async fn hand_back(&self, id: JobId, epoch: i64) -> Result<bool, StoreError> {
        let mut tx = self.0.store.begin().await?;
        let Some(job) = jobs::lock_leased(&mut tx, id, epoch).await? else {
            return Ok(false);
        };
        let now = self.0.clock.now();
        let event = JobEvent::HandBack;
        let kinds = self
            .release(&mut tx, &job, event, now, "the daemon stopped", None)
            .await?;
        tx.commit().await?;
        self.ring(kinds);
        Ok(true)
    }
}
