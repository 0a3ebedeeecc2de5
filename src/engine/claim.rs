//! Which due jobs a daemon takes: the most urgent first, and of those alike urgent a fair share of every partition's.
//!
//! As long as there is room for all that is due, the oldest are taken and nothing else is looked at. Only with a
//! backlog, or a limit per partition, does it matter whose work they are. Some of the room may be spared for those of
//! whom little runs here, so that who has little to do finds a place at once and waits for nobody else's runs to end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};

use super::Engine;
use crate::domain::fairness::{Candidate, Served};
use crate::domain::job::{Job, Priority};
use crate::store::claims::{Claim, Due, Front, Look, Looked, NewLease};
use crate::store::{StoreError, Tx, claims};

/// Partitions looked at per claim, and one more, with which the next claim goes on.
const FRONTS_MAX: usize = 33;

/// How many jobs a daemon can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many.
    pub free: usize,
    /// Of them, so many only for partitions that run less here than each would if one more came.
    pub spared: usize,
}

impl From<usize> for Room {
    /// Whosoever they are.
    fn from(free: usize) -> Self {
        Self { free, spared: 0 }
    }
}

impl Room {
    /// What anybody may fill.
    const fn open(self) -> usize {
        self.free.saturating_sub(self.spared)
    }

    pub(super) const fn after(self, taken: usize) -> Self {
        Self {
            free: self.free.saturating_sub(taken),
            spared: self.spared,
        }
    }
}

/// What one attempt came to.
pub(super) struct Taken {
    /// What is leased.
    pub(super) jobs: Vec<Job>,
    /// Whether more is due than that.
    pub(super) has_more: bool,
    /// Whether another attempt may find something for the room that is left.
    pub(super) may_find_more: bool,
}

/// By kind, who was served lately and whose turn it is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<JobKind, Turn>>);

#[derive(Debug, Default)]
struct Turn {
    served: Served,
    /// The first partition of the next look.
    from: String,
    /// Of which priority something was taken last.
    priority: Priority,
    /// Whether the last claim left anything.
    has_backlog: bool,
}

impl Turns {
    fn with<R>(&self, kind: JobKind, look: impl FnOnce(&mut Turn) -> R) -> R {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(turns.entry(kind).or_default())
    }

    fn note(&self, kind: JobKind, taken: &[Job], has_backlog: bool, now: DateTime<Utc>) {
        self.with(kind, |turn| {
            turn.has_backlog = has_backlog;
            turn.served.fade(now);
            for job in taken {
                turn.priority = job.priority;
                turn.served
                    .note(job.partition.as_deref().unwrap_or_default(), 1);
            }
        });
    }
}

/// How many jobs each partition may still start.
struct Allowance {
    /// Over all daemons, at most so many at the same time.
    each: Option<usize>,
    /// How many run over all daemons; counted only where there is a limit.
    running: BTreeMap<String, usize>,
    /// How many run here.
    here: BTreeMap<String, usize>,
}

impl Allowance {
    fn of(&self, partition: &str, room: usize) -> usize {
        let Some(each) = self.each else {
            return room;
        };
        let running = self.running.get(partition).copied().unwrap_or(0);
        each.saturating_sub(running).min(room)
    }

    /// How many places of those that are spared: up to what each would have here if one more came.
    fn of_spared(&self, partition: &str, room: Room) -> usize {
        let here = self.here.get(partition).copied().unwrap_or(0);
        let all: usize = self.here.values().sum();
        let others = self.here.keys().filter(|name| *name != partition).count();
        let each = room
            .free
            .saturating_add(all)
            .checked_div(others.saturating_add(2));
        let little = each.unwrap_or(0).saturating_sub(here);
        self.of(partition, room.free).min(little)
    }
}

impl Engine {
    /// Leases all that is due where nobody needs to choose; nothing where somebody might.
    pub(super) async fn lease_all(
        &self,
        kind: JobKind,
        room: Room,
    ) -> Result<Vec<Job>, StoreError> {
        if self.must_choose(kind) || room.open() == 0 {
            return Ok(Vec::new());
        }
        let leased =
            claims::lease_at_once(self.store(), kind, room.open(), &self.new_lease()).await?;
        self.0.turns.note(kind, &leased, false, self.0.clock.now());
        Ok(leased)
    }

    /// Leases due jobs of a kind: all where there is room for them, else of the most urgent priority of which any may
    /// be taken, fairly between partitions. Jobs change hands in one statement; what was looked at before may be gone.
    pub(super) async fn lease_some(&self, kind: JobKind, room: Room) -> Result<Taken, StoreError> {
        let is_limited = self.policy().partition_concurrency.is_some();
        let mut tx = if is_limited {
            // Between the count of what runs and the lease nobody else may take any.
            let mut tx = self.store().begin_claiming().await?;
            claims::lock_kind(&mut tx, kind).await?;
            tx
        } else {
            self.store().claiming_apart().await?
        };
        let taken = self.take(&mut tx, kind, room).await?;
        if !taken.jobs.is_empty() {
            // An answer that is lost here leaves leases that nobody renews: they lapse and are swept.
            tx.commit().await?;
        }
        let now = self.0.clock.now();
        self.0.turns.note(kind, &taken.jobs, taken.has_more, now);
        Ok(taken)
    }

    /// Whether a limit or a backlog makes it matter whose work is taken.
    fn must_choose(&self, kind: JobKind) -> bool {
        self.policy().partition_concurrency.is_some()
            || self.0.turns.with(kind, |turn| turn.has_backlog)
    }

    async fn take(&self, tx: &mut Tx, kind: JobKind, room: Room) -> Result<Taken, StoreError> {
        let lease = self.new_lease();
        let must_choose = self.must_choose(kind);
        // The fronts come with the first look where they will be wanted: of the priority that was the most urgent.
        let (from, expected) = self
            .0
            .turns
            .with(kind, |turn| (turn.from.clone(), turn.priority));
        let claim = Claim {
            kind,
            priority: expected,
            now: lease.now,
        };
        let look = Look {
            due_max: room.free,
            from: &from,
            fronts_max: if must_choose { FRONTS_MAX } else { 0 },
        };
        let Looked { due, fronts } = claims::look(tx, claim, look).await?;
        let seen = due.len();
        let fits = seen < room.free && seen <= room.open();
        if seen > 0 && fits && !must_choose {
            let ids: Vec<JobId> = due.iter().map(|due| due.id).collect();
            return Ok(Taken {
                jobs: claims::lease_these(tx, &ids, &lease).await?,
                has_more: false,
                may_find_more: false,
            });
        }
        let mut expected_fronts = must_choose.then_some(fronts);
        for priority in Priority::ALL {
            let claim = Claim { priority, ..claim };
            let these: Vec<&Due> = due.iter().filter(|due| due.priority == priority).collect();
            if these.is_empty() {
                continue;
            }
            let fronts = expected_fronts.take_if(|_| priority == expected);
            let partitions = self.due_partitions(tx, claim, fronts).await?;
            let shares = self.shares(tx, claim, room, partitions, &these).await?;
            if shares.is_empty() {
                continue;
            }
            let jobs = claims::lease_shares(tx, claim, &shares, &lease).await?;
            if jobs.is_empty() {
                // Somebody else has all of them in hand.
                continue;
            }
            let meant: usize = shares.iter().map(|(_, share)| share).sum();
            return Ok(Taken {
                has_more: seen >= room.free || jobs.len() < seen,
                may_find_more: jobs.len() < meant || due.iter().any(|due| due.priority > priority),
                jobs,
            });
        }
        Ok(Taken {
            jobs: Vec::new(),
            has_more: seen > 0,
            may_find_more: false,
        })
    }

    fn new_lease(&self) -> NewLease<'_> {
        let now = self.0.clock.now();
        let until = now + self.policy().lease;
        NewLease {
            worker: self.worker(),
            now,
            until,
            reason: format!("leased until {}", until.to_rfc3339()),
        }
    }

    async fn allowance(&self, tx: &mut Tx, kind: JobKind) -> Result<Allowance, StoreError> {
        let each = self.policy().partition_concurrency;
        let running = if each.is_none() {
            BTreeMap::new()
        } else {
            claims::running(tx, kind).await?.into_iter().collect()
        };
        Ok(Allowance {
            each,
            running,
            here: self.0.held.by_partition(kind),
        })
    }

    /// How much of each partition's work is to be taken, where it is any.
    async fn shares(
        &self,
        tx: &mut Tx,
        claim: Claim,
        room: Room,
        mut partitions: Vec<String>,
        oldest: &[&Due],
    ) -> Result<Vec<(String, usize)>, StoreError> {
        let allowance = self.allowance(tx, claim.kind).await?;
        for due in oldest {
            if !partitions.contains(&due.partition) {
                partitions.push(due.partition.clone());
            }
        }
        let shares = self.0.turns.with(claim.kind, |turn| {
            turn.served.fade(claim.now);
            share_out(&turn.served, partitions, room, &allowance)
        });
        Ok(shares)
    }

    /// The partitions with due work that are looked at now, unless the first of them are known; the next look goes on
    /// behind them.
    async fn due_partitions(
        &self,
        tx: &mut Tx,
        claim: Claim,
        known: Option<Vec<Front>>,
    ) -> Result<Vec<String>, StoreError> {
        let from = self.0.turns.with(claim.kind, |turn| turn.from.clone());
        let mut fronts = match known {
            Some(fronts) => fronts,
            None => fronts_of(tx, claim, &from, FRONTS_MAX).await?,
        };
        if fronts.len() < FRONTS_MAX && !from.is_empty() {
            let missing = FRONTS_MAX.saturating_sub(fronts.len());
            let begun = fronts_of(tx, claim, "", missing).await?;
            for front in begun {
                if fronts
                    .iter()
                    .all(|known| known.partition != front.partition)
                {
                    fronts.push(front);
                }
            }
        }
        let next = if fronts.len() == FRONTS_MAX {
            fronts.pop().map(|front| front.partition)
        } else {
            None
        };
        self.0
            .turns
            .with(claim.kind, |turn| turn.from = next.unwrap_or_default());
        let due = fronts.into_iter().filter(|front| front.is_due);
        Ok(due.map(|front| front.partition).collect())
    }
}

async fn fronts_of(
    tx: &mut Tx,
    claim: Claim,
    from: &str,
    fronts_max: usize,
) -> Result<Vec<Front>, StoreError> {
    let look = Look {
        due_max: 0,
        from,
        fronts_max,
    };
    Ok(claims::look(tx, claim, look).await?.fronts)
}

/// How many jobs of each partition fill the room, where it is any: the spared places only with those of whom little
/// runs here.
fn share_out(
    served: &Served,
    partitions: Vec<String>,
    room: Room,
    allowance: &Allowance,
) -> Vec<(String, usize)> {
    let anybody: Vec<Candidate> = partitions
        .into_iter()
        .map(|partition| Candidate {
            takes_max: allowance.of(&partition, room.free),
            partition,
        })
        .collect();
    let shares = served.shares(&anybody, room.open());
    let rest = room.free.saturating_sub(shares.iter().sum());
    let little: Vec<Candidate> = anybody
        .iter()
        .zip(&shares)
        .map(|(candidate, share)| Candidate {
            takes_max: allowance
                .of_spared(&candidate.partition, room)
                .saturating_sub(*share),
            partition: candidate.partition.clone(),
        })
        .collect();
    let spared = served.shares(&little, rest);
    let both = shares.iter().zip(spared);
    let shares = both.map(|(share, spared)| share.saturating_add(spared));
    let partitions = anybody.into_iter().map(|candidate| candidate.partition);
    partitions
        .zip(shares)
        .filter(|(_, share)| *share > 0)
        .collect()
}
