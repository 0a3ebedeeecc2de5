//! Which due jobs a daemon takes: the most urgent first, and of those alike urgent a fair share of every partition's.
//!
//! As long as there is room for all that is due, the oldest are taken and nothing else is looked at. Only with a
//! backlog, or a limit per partition, does it matter whose work they are. Some of the room may be spared for those of
//! whom little runs here, so that who has little to do finds a place at once and waits for nobody else's runs to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};

use super::Engine;
use super::leases::leased_until;
use crate::domain::fairness::{Candidate, Served};
use crate::domain::job::{Job, Priority};
use crate::store::jobs::{Claim, Due, NewLease};
use crate::store::{StoreError, Tx, jobs};

/// Partitions looked at per claim. Where there are more, the next claim goes on with the next ones.
const PARTITIONS_MAX: usize = 64;

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

    const fn after(self, taken: usize) -> Self {
        Self {
            free: self.free.saturating_sub(taken),
            spared: self.spared,
        }
    }
}

/// What a claim found.
pub(super) struct Claimed {
    /// What is taken.
    pub(super) jobs: Vec<JobId>,
    /// Whether more is due than that.
    pub(super) has_more: bool,
}

/// By kind, who was served lately and whose turn it is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<JobKind, Turn>>);

#[derive(Clone, Debug, Default)]
struct Turn {
    served: Served,
    /// The first partition of the next look.
    from: String,
    /// Whether the last claim left anything.
    has_backlog: bool,
}

impl Turns {
    fn of(&self, kind: JobKind, now: DateTime<Utc>) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(kind).or_default();
        turn.served.fade(now);
        turn.clone()
    }

    fn has_backlog(&self, kind: JobKind) -> bool {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(&kind).is_some_and(|turn| turn.has_backlog)
    }

    fn note(&self, kind: JobKind, taken: &[Due], has_backlog: bool) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(kind).or_default();
        turn.has_backlog = has_backlog;
        for (partition, count) in counts(taken) {
            turn.served.note(partition, count);
        }
    }

    fn look_from(&self, kind: JobKind, from: String) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(kind).or_default().from = from;
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

    fn take(&mut self, taken: &[Due]) {
        for (partition, count) in counts(taken) {
            for running in [&mut self.running, &mut self.here] {
                let running = running.entry(partition.to_owned()).or_default();
                *running = running.saturating_add(count);
            }
        }
    }
}

impl Engine {
    /// Locks due jobs of a kind, as many as there is room for, to be leased in the same transaction.
    pub(super) async fn claim(
        &self,
        tx: &mut Tx,
        kind: JobKind,
        room: Room,
        now: DateTime<Utc>,
    ) -> Result<Claimed, StoreError> {
        let oldest = jobs::lock_due(tx, kind, now, room.free).await?;
        let fits = oldest.len() < room.free && oldest.len() <= room.open();
        let seen = oldest.len();
        let taken = if oldest.is_empty() || (fits && self.policy().partition_concurrency.is_none())
        {
            oldest
        } else {
            self.share_out(tx, kind, room, now).await?
        };
        let has_more = seen == room.free || taken.len() < seen;
        self.0.turns.note(kind, &taken, has_more);
        Ok(Claimed {
            has_more,
            jobs: taken.into_iter().map(|due| due.id).collect(),
        })
    }

    /// Leases all that is due where nobody needs to choose; nothing where somebody might.
    pub(super) async fn lease_all(
        &self,
        kind: JobKind,
        room: Room,
    ) -> Result<Vec<Job>, StoreError> {
        let now = self.0.clock.now();
        let must_choose =
            self.policy().partition_concurrency.is_some() || self.0.turns.has_backlog(kind);
        if must_choose || room.open() == 0 {
            return Ok(Vec::new());
        }
        let until = now + self.policy().lease;
        let lease = NewLease {
            worker: self.worker(),
            now,
            until,
            reason: &leased_until(until),
        };
        let leased = jobs::lease_at_once(self.store(), kind, room.open(), lease).await?;
        let taken: Vec<Due> = leased.iter().map(Due::of).collect();
        self.0.turns.note(kind, &taken, false);
        Ok(leased)
    }

    /// Fairly between partitions, the most urgent first.
    async fn share_out(
        &self,
        tx: &mut Tx,
        kind: JobKind,
        room: Room,
        now: DateTime<Utc>,
    ) -> Result<Vec<Due>, StoreError> {
        let mut allowance = self.allowance(tx, kind).await?;
        let mut taken: Vec<Due> = Vec::new();
        for priority in Priority::ALL {
            let left = room.after(taken.len());
            if left.free == 0 {
                break;
            }
            let claim = Claim {
                kind,
                priority,
                now,
            };
            let oldest = jobs::lock_due_of_priority(tx, claim, left.free).await?;
            if oldest.is_empty() {
                continue;
            }
            let chosen = self
                .share_out_priority(tx, claim, left, oldest, &allowance)
                .await?;
            allowance.take(&chosen);
            taken.extend(chosen);
        }
        Ok(taken)
    }

    async fn allowance(&self, tx: &mut Tx, kind: JobKind) -> Result<Allowance, StoreError> {
        let each = self.policy().partition_concurrency;
        let here = self.0.held.by_partition(kind);
        let running = if each.is_none() {
            BTreeMap::new()
        } else {
            jobs::lock_kind(tx, kind).await?;
            jobs::running(tx, kind).await?.into_iter().collect()
        };
        Ok(Allowance {
            each,
            running,
            here,
        })
    }

    /// A fair choice for the room that is left. What a partition leaves free goes to the oldest.
    async fn share_out_priority(
        &self,
        tx: &mut Tx,
        claim: Claim,
        left: Room,
        oldest: Vec<Due>,
        allowance: &Allowance,
    ) -> Result<Vec<Due>, StoreError> {
        let turn = self.0.turns.of(claim.kind, claim.now);
        let mut partitions = self.due_partitions(tx, claim, &turn.from).await?;
        for due in &oldest {
            if !partitions.contains(&due.partition) {
                partitions.push(due.partition.clone());
            }
        }
        if let [only] = partitions.as_slice() {
            let shared = allowance.of(only, left.open());
            let share = shared.max(allowance.of_spared(only, left));
            return Ok(oldest.into_iter().take(share).collect());
        }
        let anybody: Vec<Candidate> = partitions
            .iter()
            .map(|partition| Candidate {
                takes_max: allowance.of(partition, left.free),
                partition: partition.clone(),
            })
            .collect();
        let shares = turn.served.shares(&anybody, left.open());
        let rest = left.free.saturating_sub(shares.iter().sum());
        let little: Vec<Candidate> = partitions
            .iter()
            .zip(&shares)
            .map(|(partition, share)| Candidate {
                takes_max: allowance.of_spared(partition, left).saturating_sub(*share),
                partition: partition.clone(),
            })
            .collect();
        let spared = turn.served.shares(&little, rest);
        let mut chosen = Vec::with_capacity(left.free);
        for (partition, (share, spared)) in partitions.iter().zip(shares.iter().zip(spared)) {
            let share = share.saturating_add(spared);
            if share > 0 {
                chosen.extend(jobs::lock_due_of_partition(tx, claim, partition, share).await?);
            }
        }
        fill_up(&mut chosen, oldest, left.open(), allowance);
        Ok(chosen)
    }

    /// The partitions with due work that are looked at now; the next look goes on behind them.
    async fn due_partitions(
        &self,
        tx: &mut Tx,
        claim: Claim,
        from: &str,
    ) -> Result<Vec<String>, StoreError> {
        let wanted = PARTITIONS_MAX.saturating_add(1);
        let mut fronts = jobs::partitions(tx, claim, from, wanted).await?;
        let is_round = fronts.len() < wanted && !from.is_empty();
        if is_round {
            let missing = wanted.saturating_sub(fronts.len());
            let begun = jobs::partitions(tx, claim, "", missing).await?;
            fronts.extend(begun.into_iter().filter(|(name, _)| name.as_str() < from));
        }
        let next = if fronts.len() == wanted {
            fronts.pop().map(|(name, _)| name)
        } else {
            None
        };
        self.0.turns.look_from(claim.kind, next.unwrap_or_default());
        let due = fronts.into_iter().filter(|(_, is_due)| *is_due);
        Ok(due.map(|(name, _)| name).collect())
    }
}

/// Takes the oldest into the room that is open to anybody.
fn fill_up(chosen: &mut Vec<Due>, oldest: Vec<Due>, left: usize, allowance: &Allowance) {
    let known: BTreeSet<JobId> = chosen.iter().map(|due| due.id).collect();
    let mut taken: BTreeMap<String, usize> = counts(chosen)
        .into_iter()
        .map(|(partition, count)| (partition.to_owned(), count))
        .collect();
    for due in oldest {
        if chosen.len() >= left {
            return;
        }
        let count = taken.entry(due.partition.clone()).or_default();
        if !known.contains(&due.id) && *count < allowance.of(&due.partition, left) {
            *count = count.saturating_add(1);
            chosen.push(due);
        }
    }
}

fn counts(due: &[Due]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for one in due {
        let count: &mut usize = counts.entry(one.partition.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}
