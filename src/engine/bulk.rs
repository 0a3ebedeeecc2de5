//! One wish about all jobs that match: counted first, then done in batches.
//!
//! Each job is decided by the same table as one by one, and each batch is a transaction of its own with its row of the
//! audit chain. Whoever wishes it says how many they were shown; where it is another number by then, nothing is done.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind};
use serde_json::{Map, Value, json};

use super::operate::Wish;
use super::{Engine, OperateError};
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::dead_letter::cause_of;
use crate::domain::digest::hex_sha256;
use crate::domain::job::{Job, JobState};
use crate::store::bulk::{self, Selected, Selection};
use crate::store::events::NewEvent;
use crate::store::jobs::{COUNT_MAX, JobChange};
use crate::store::{StoreError, audit, events, jobs};

/// Rows looked at, or jobs changed, in one transaction: short enough that nobody waits for it.
const BATCH: usize = 500;
/// Jobs that are named where more match.
const NAMED_MAX: usize = 20;

/// How many jobs match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The number to send back with the wish.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<JobId>,
}

/// What became of a wish about many jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Jobs it was fulfilled for.
    pub changed: u64,
    /// Jobs that went on by themselves meanwhile, and do not match any more.
    pub moved_on: u64,
    /// Jobs it was refused for.
    pub refused: u64,
    /// Why, for the first of them.
    pub refusals: Vec<(JobId, String)>,
}

/// Dead letters with one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    /// Of this kind.
    pub kind: JobKind,
    /// The cause, without what differs from job to job.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them was buried.
    pub oldest: DateTime<Utc>,
    /// When the last one was.
    pub newest: DateTime<Utc>,
    /// One of them.
    pub example: JobId,
}

/// The dead letters by their causes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// The largest group first.
    pub groups: Vec<DeadGroup>,
    /// Whether there are more than were looked at: [`COUNT_MAX`] of each kind.
    pub has_more: bool,
}

impl Wish {
    /// The state of the jobs that are meant where nothing else is said.
    pub const fn usual_state(self) -> JobState {
        match self {
            Self::Retry => JobState::Dead,
            Self::Cancel | Self::Snooze(_) => JobState::Ready,
        }
    }

    const fn audited_of_many(self) -> AuditAction {
        match self {
            Self::Retry => AuditAction::JobsRetried,
            Self::Cancel => AuditAction::JobsCancelled,
            Self::Snooze(_) => AuditAction::JobsSnoozed,
        }
    }
}

impl Engine {
    /// How many jobs a wish would meet now.
    ///
    /// # Errors
    /// [`OperateError::NeverAllowed`] when it could be fulfilled for none of them.
    pub async fn matching(
        &self,
        wish: Wish,
        selection: &Selection,
    ) -> Result<Matching, OperateError> {
        refuse_hopeless(wish, selection)?;
        let selection = self.accepted_by_now(selection);
        let mut matching = Matching::default();
        for kind in kinds_of(&selection) {
            let mut after = None;
            loop {
                let page = self.page(&selection, kind, after).await?;
                let found = u64::try_from(page.matching.len()).unwrap_or(u64::MAX);
                matching.count = matching.count.saturating_add(found);
                let room = NAMED_MAX.saturating_sub(matching.examples.len());
                let named = page.matching.iter().take(room).map(|job| job.id);
                matching.examples.extend(named);
                match page.after {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        Ok(matching)
    }

    /// Fulfils a wish about all jobs that match. A database that stops to answer leaves whole batches done; who asks
    /// again meets the rest.
    ///
    /// # Errors
    /// [`OperateError::CountDiffers`] when not as many match as whoever wishes it was shown.
    pub async fn operate_all(
        &self,
        wish: Wish,
        selection: &Selection,
        expected: u64,
        who: &str,
    ) -> Result<Done, OperateError> {
        wish.check(self.clock().now())?;
        let found = self.matching(wish, selection).await?.count;
        if found != expected {
            return Err(OperateError::CountDiffers { expected, found });
        }
        let selection = self.accepted_by_now(selection);
        let mut done = Done::default();
        for kind in kinds_of(&selection) {
            let mut after = None;
            loop {
                let page = self.page(&selection, kind, after).await?;
                let ids: Vec<JobId> = page.matching.iter().map(|job| job.id).collect();
                if !ids.is_empty() {
                    self.operate_batch(wish, &selection, &ids, who, &mut done)
                        .await?;
                }
                match page.after {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        Ok(done)
    }

    /// The dead letters by what killed them.
    pub async fn dead_letters(&self) -> Result<DeadLetters, StoreError> {
        let selection = Selection::in_state(JobState::Dead);
        let mut groups: BTreeMap<(JobKind, String), DeadGroup> = BTreeMap::new();
        let mut has_more = false;
        for kind in JobKind::ALL {
            let (mut after, mut looked_at) = (None, 0_usize);
            loop {
                let page = self.page(&selection, kind, after).await?;
                looked_at = looked_at.saturating_add(page.matching.len());
                for letter in page.matching {
                    count_in(&mut groups, kind, &letter);
                }
                match page.after {
                    Some(_) if i64::try_from(looked_at).is_ok_and(|it| it >= COUNT_MAX) => {
                        has_more = true;
                        break;
                    }
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        let mut groups: Vec<DeadGroup> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        Ok(DeadLetters { groups, has_more })
    }

    async fn page(
        &self,
        selection: &Selection,
        kind: JobKind,
        after: Option<JobId>,
    ) -> Result<bulk::SelectedPage, StoreError> {
        let mut tx = self.store().read().await?;
        bulk::select_page(&mut tx, selection, kind, after, BATCH).await
    }

    /// What is accepted from now on is not meant: nobody was shown it, and there might be no end of it.
    fn accepted_by_now(&self, selection: &Selection) -> Selection {
        let soon = self.clock().now() + TimeDelta::microseconds(1);
        let before = selection
            .accepted_before
            .map_or(soon, |before| before.min(soon));
        Selection {
            accepted_before: Some(before),
            ..selection.clone()
        }
    }

    async fn operate_batch(
        &self,
        wish: Wish,
        selection: &Selection,
        ids: &[JobId],
        who: &str,
        done: &mut Done,
    ) -> Result<(), OperateError> {
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        let locked = jobs::lock_all(&mut tx, ids).await?;
        let (meant, others): (Vec<Job>, Vec<Job>) = locked
            .into_iter()
            .partition(|job| selection.still_means(job));
        let gone = ids.len().saturating_sub(meant.len());
        drop(others);
        let open = bulk::open_operations(&mut tx, ids).await?;
        let open: BTreeMap<JobId, String> = open.into_iter().collect();
        let (mut changes, mut history, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        let mut due = BTreeSet::new();
        for job in &meant {
            match decide(wish, job, &open) {
                Ok(state) => {
                    let change = wish.change(job, state, now, who);
                    if state == JobState::Ready && self.is_imminent(change.run_at) {
                        due.insert(job.kind);
                    }
                    history.push(event_of(wish, job, &change));
                    changes.push(change);
                }
                Err(refusal) => refusals.push((job.id, refusal.to_string())),
            }
        }
        let expected = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        if bulk::apply_all(&mut tx, &changes).await? != expected {
            return Err(StoreError::corrupt("version", "a locked job changed").into());
        }
        events::append(&mut tx, &history).await?;
        if !changes.is_empty() {
            let entry = entry_about(wish, selection, &changes, refusals.len(), who);
            audit::append(&mut tx, &[entry], now).await?;
        }
        tx.commit().await?;
        self.ring(due);
        done.changed = done.changed.saturating_add(expected);
        done.moved_on = done
            .moved_on
            .saturating_add(u64::try_from(gone).unwrap_or(0));
        done.refused = done
            .refused
            .saturating_add(u64::try_from(refusals.len()).unwrap_or(0));
        let room = NAMED_MAX.saturating_sub(done.refusals.len());
        done.refusals.extend(refusals.into_iter().take(room));
        Ok(())
    }
}

/// The state after the wish, by the table of states, or why not.
fn decide(wish: Wish, job: &Job, open: &BTreeMap<JobId, String>) -> Result<JobState, OperateError> {
    let id = job.id;
    let state = job.state.after(wish.event()).ok_or(OperateError::Refused {
        id,
        state: job.state,
        wish: wish.participle(),
    })?;
    match open.get(&id) {
        Some(operation) if state == JobState::Cancelled => Err(OperateError::OpenOperation {
            id,
            operation: operation.clone(),
        }),
        Some(_) | None => Ok(state),
    }
}

fn refuse_hopeless(wish: Wish, selection: &Selection) -> Result<(), OperateError> {
    let state = selection.state;
    match state.after(wish.event()) {
        Some(_) => Ok(()),
        None => Err(OperateError::NeverAllowed {
            state,
            wish: wish.participle(),
        }),
    }
}

/// Kind by kind, so that the walk follows an index, and rows of a kind that only a newer release knows are left to it.
fn kinds_of(selection: &Selection) -> impl Iterator<Item = JobKind> + use<> {
    let wanted = selection.kind;
    let of_any = JobKind::ALL.into_iter();
    of_any.filter(move |kind| wanted.is_none_or(|wanted| wanted == *kind))
}

fn event_of(wish: Wish, job: &Job, change: &JobChange) -> NewEvent {
    NewEvent {
        job_id: job.id,
        version: change.version.saturating_add(1),
        occurred_at: change.updated_at,
        event: wish.event().as_str(),
        state: change.state,
        attempt: change.attempt,
        worker: job.lease.as_ref().map(|lease| lease.worker.clone()),
        reason: change.note.clone(),
    }
}

fn entry_about(
    wish: Wish,
    selection: &Selection,
    changes: &[JobChange],
    refused: usize,
    who: &str,
) -> AuditEntry {
    let ids: Vec<String> = changes.iter().map(|change| change.id.to_string()).collect();
    AuditEntry {
        who: who.to_owned(),
        what: wish.audited_of_many(),
        subject: "jobs".to_owned(),
        detail: json!({
            "filter": told(selection),
            "count": ids.len(),
            "refused": refused,
            "first": ids.first(),
            "last": ids.last(),
            "ids_sha256": hex_sha256(ids.join("\n").as_bytes()),
        }),
    }
}

/// What of a selection was said.
fn told(selection: &Selection) -> Value {
    let Selection {
        state,
        kind,
        partition,
        contains,
        reason,
        accepted_from,
        accepted_before,
        due_before,
    } = selection;
    let instant = |at: &Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
    let said = [
        ("state", Some(state.as_str().to_owned())),
        ("kind", kind.map(|kind| kind.as_str().to_owned())),
        ("partition", partition.clone()),
        ("contains", contains.clone()),
        ("reason", reason.clone()),
        ("accepted_from", instant(accepted_from)),
        ("accepted_before", instant(accepted_before)),
        ("due_before", instant(due_before)),
    ];
    let said = said
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    Value::Object(said.collect::<Map<String, Value>>())
}

fn count_in(groups: &mut BTreeMap<(JobKind, String), DeadGroup>, kind: JobKind, letter: &Selected) {
    let reason = cause_of(&letter.note);
    let group = groups
        .entry((kind, reason.clone()))
        .or_insert_with(|| DeadGroup {
            kind,
            reason,
            count: 0,
            oldest: letter.updated_at,
            newest: letter.updated_at,
            example: letter.id,
        });
    group.count = group.count.saturating_add(1);
    group.oldest = group.oldest.min(letter.updated_at);
    group.newest = group.newest.max(letter.updated_at);
}
