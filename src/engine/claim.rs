//! Which due jobs a daemon takes: the most urgent first, and of those alike urgent a fair share of every partition's.
//!
//! As long as there is room for all that is due, the oldest are taken and nothing else is looked at. Only with a
//! backlog, or a limit per partition, does it matter whose work they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};

use super::Engine;
use crate::domain::fairness::{Candidate, Served};
use crate::domain::job::Priority;
use crate::store::jobs::{Claim, Due};
use crate::store::{StoreError, Tx, jobs};

/// Partitions looked at per claim. Where there are more, the next claim goes on with the next ones.
const PARTITIONS_MAX: usize = 64;

/// By kind, who was served lately and whose turn it is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<JobKind, Turn>>);

#[derive(Clone, Debug, Default)]
struct Turn {
    served: Served,
    /// The first partition of the next look.
    from: String,
}

impl Turns {
    fn of(&self, kind: JobKind, now: DateTime<Utc>) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(kind).or_default();
        turn.served.fade(now);
        turn.clone()
    }

    fn note(&self, kind: JobKind, taken: &[Due]) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(kind).or_default();
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
    each: Option<usize>,
    running: BTreeMap<String, usize>,
}

impl Allowance {
    fn of(&self, partition: &str, room: usize) -> usize {
        let Some(each) = self.each else {
            return room;
        };
        let running = self.running.get(partition).copied().unwrap_or(0);
        each.saturating_sub(running).min(room)
    }

    fn take(&mut self, taken: &[Due]) {
        for (partition, count) in counts(taken) {
            let running = self.running.entry(partition.to_owned()).or_default();
            *running = running.saturating_add(count);
        }
    }
}

impl Engine {
    /// Locks up to `room` due jobs of a kind, to be leased in the same transaction.
    pub(super) async fn claim(
        &self,
        tx: &mut Tx,
        kind: JobKind,
        room: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<JobId>, StoreError> {
        let mut allowance = self.allowance(tx, kind).await?;
        let mut taken: Vec<Due> = Vec::new();
        for priority in Priority::ALL {
            let left = room.saturating_sub(taken.len());
            if left == 0 {
                break;
            }
            let claim = Claim {
                kind,
                priority,
                now,
            };
            let oldest = jobs::lock_due(tx, claim, left).await?;
            let has_room_for_all = oldest.len() < left && allowance.each.is_none();
            let chosen = if oldest.is_empty() || has_room_for_all {
                oldest
            } else {
                self.share_out(tx, claim, left, oldest, &allowance).await?
            };
            allowance.take(&chosen);
            taken.extend(chosen);
        }
        self.0.turns.note(kind, &taken);
        Ok(taken.into_iter().map(|due| due.id).collect())
    }

    async fn allowance(&self, tx: &mut Tx, kind: JobKind) -> Result<Allowance, StoreError> {
        let each = self.policy().partition_concurrency;
        if each.is_none() {
            return Ok(Allowance {
                each,
                running: BTreeMap::new(),
            });
        }
        jobs::lock_kind(tx, kind).await?;
        let running = jobs::running(tx, kind).await?.into_iter().collect();
        Ok(Allowance { each, running })
    }

    /// A fair choice for the room that is left, of more than it takes. What a partition leaves free goes to the oldest.
    async fn share_out(
        &self,
        tx: &mut Tx,
        claim: Claim,
        left: usize,
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
        if partitions.len() == 1 && allowance.each.is_none() {
            return Ok(oldest);
        }
        let candidates: Vec<Candidate> = partitions
            .into_iter()
            .map(|partition| Candidate {
                takes_max: allowance.of(&partition, left),
                partition,
            })
            .collect();
        let shares = turn.served.shares(&candidates, left);
        let mut chosen = Vec::with_capacity(left);
        for (candidate, share) in candidates.iter().zip(shares) {
            if share > 0 {
                let partition = &candidate.partition;
                chosen.extend(jobs::lock_due_of_partition(tx, claim, partition, share).await?);
            }
        }
        fill_up(&mut chosen, oldest, left, allowance);
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
