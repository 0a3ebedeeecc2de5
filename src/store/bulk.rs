//! Jobs by the hundred: those that match a selection, page by page, and many changes in one statement.
//!
//! Pages go by id and begin behind the last row that was looked at, whether or not it matched, so that a set that
//! changes while somebody works on it is passed once and no part of it is jumped over.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::jobs::{JobChange, bound};
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both, words};
use crate::domain::dead_letter::cause_of;
use crate::domain::job::{Job, JobState};

/// Which jobs somebody means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// In this state.
    pub state: JobState,
    /// Of this kind; of any where it is not said.
    pub kind: Option<JobKind>,
    /// Whose work it is.
    pub partition: Option<String>,
    /// Their note or their last error contains this text.
    pub contains: Option<String>,
    /// Their note has this cause, as [`cause_of`] tells it.
    pub reason: Option<String>,
    /// Accepted at this instant or later.
    pub accepted_from: Option<DateTime<Utc>>,
    /// Accepted before this instant.
    pub accepted_before: Option<DateTime<Utc>>,
    /// Not run before an instant that is before this one.
    pub due_before: Option<DateTime<Utc>>,
}

impl Selection {
    /// Every job in a state.
    pub const fn in_state(state: JobState) -> Self {
        Self {
            state,
            kind: None,
            partition: None,
            contains: None,
            reason: None,
            accepted_from: None,
            accepted_before: None,
            due_before: None,
        }
    }

    /// Whether a job that matched still does.
    pub fn still_means(&self, job: &Job) -> bool {
        job.state == self.state
            && self.due_before.is_none_or(|before| job.run_at < before)
            && self.has_words(&job.note, job.last_error.as_deref())
    }

    /// Words are compared here and not in SQL, where two databases compare in two ways.
    fn has_words(&self, note: &str, last_error: Option<&str>) -> bool {
        let is_told = |text: &String| {
            note.contains(text.as_str())
                || last_error.is_some_and(|error| error.contains(text.as_str()))
        };
        self.contains.as_ref().is_none_or(is_told)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| cause_of(note) == *reason)
    }
}

/// A job that matches, with what tells why it is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The job.
    pub id: JobId,
    /// Why it is where it is.
    pub note: String,
    /// Since when.
    pub updated_at: DateTime<Utc>,
}

/// One page of those that match.
#[derive(Clone, Debug, Default)]
pub struct SelectedPage {
    /// Those that match; may be none although others follow.
    pub matching: Vec<Selected>,
    /// Behind which job the next page begins; `None` when nothing follows.
    pub after: Option<JobId>,
}

/// The next page of jobs of this kind that match, behind the job `after`; at most `limit` rows are looked at.
pub async fn select_page(
    tx: &mut Tx,
    selection: &Selection,
    kind: JobKind,
    after: Option<JobId>,
    limit: usize,
) -> Result<SelectedPage, StoreError> {
    let rows: Vec<SelectedRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("SELECT id, note, last_error, updated_at FROM jobs WHERE state = ");
        query.push_bind(selection.state.as_str());
        query.push(" AND kind = ").push_bind(kind.as_str());
        if let Some(after) = after {
            query.push(" AND id > ").push_bind(after.0);
        }
        if let Some(partition) = &selection.partition {
            query.push(" AND partition_key = ").push_bind(partition.as_str());
        }
        if let Some(from) = selection.accepted_from {
            query.push(" AND created_at >= ").push_bind(Timestamp(from));
        }
        if let Some(before) = selection.accepted_before {
            query.push(" AND created_at < ").push_bind(Timestamp(before));
        }
        if let Some(before) = selection.due_before {
            query.push(" AND run_at < ").push_bind(Timestamp(before));
        }
        query.push(" ORDER BY id LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    Ok(SelectedPage {
        after: rows.last().map(|row| JobId(row.id)),
        matching: rows
            .into_iter()
            .filter(|row| selection.has_words(&row.note, row.last_error.as_deref()))
            .map(|row| Selected {
                id: JobId(row.id),
                note: row.note,
                updated_at: row.updated_at.0,
            })
            .collect(),
    })
}

/// Applies many changes, each if its job is still at the version it was decided on; returns how many were.
pub async fn apply_all(tx: &mut Tx, changes: &[JobChange]) -> Result<u64, StoreError> {
    fn each<'a, T>(changes: &'a [JobChange], value: impl Fn(&'a JobChange) -> T) -> Vec<T> {
        changes.iter().map(value).collect()
    }
    let errors = each(changes, |change| change.last_error.as_deref().map(words));
    let rows = Rows {
        before: "WITH told (job_id, expected, next_state, due_at, tries, rescued, words, error, at) AS (",
        columns: vec![
            Column::Uuids(each(changes, |change| change.id.0)),
            Column::Numbers(each(changes, |change| change.version)),
            Column::Texts(each(changes, |change| change.state.as_str())),
            Column::Instants(each(changes, |change| change.run_at)),
            Column::Numbers(each(changes, |change| i64::from(change.attempt))),
            Column::Numbers(each(changes, |change| i64::from(change.rescues))),
            Column::Owned(each(changes, |change| words(&change.note))),
            Column::OptionalTexts(errors.iter().map(Option::as_deref).collect()),
            Column::Instants(each(changes, |change| change.updated_at)),
        ],
        after: ") UPDATE jobs SET state = told.next_state, version = version + 1, run_at = told.due_at, \
                attempt = told.tries, rescues = told.rescued, \
                lease_worker = CASE WHEN told.next_state = 'cancelling' THEN lease_worker END, \
                lease_until = CASE WHEN told.next_state = 'cancelling' THEN lease_until END, \
                woken_at = CASE WHEN told.next_state = 'cancelling' THEN woken_at END, \
                note = told.words, last_error = told.error, updated_at = told.at \
                FROM told WHERE id = told.job_id AND version = told.expected",
    };
    rows.execute(tx).await
}

/// Those of the jobs that have a call without a proved outcome, each with the key of one.
pub async fn open_operations(
    tx: &mut Tx,
    ids: &[JobId],
) -> Result<Vec<(JobId, String)>, StoreError> {
    let mut open = Vec::new();
    for chunk in ids.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<(Uuid, String)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT job_id, MIN(idempotency_key) FROM operations WHERE state IN ('intended', 'unknown') AND job_id IN (",
            );
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(id.0);
            }
            query.push(") GROUP BY job_id ORDER BY job_id");
            query.build_query_as().fetch_all(connection).await?
        });
        open.extend(rows.into_iter().map(|(id, key)| (JobId(id), key)));
    }
    Ok(open)
}

#[derive(FromRow)]
struct SelectedRow {
    id: Uuid,
    note: String,
    last_error: Option<String>,
    updated_at: Timestamp,
}
