//! Lists page by page: the newest first, and a page begins where the one before it ended, so that
//! what is added meanwhile disturbs none that follows.

use std::fmt;

use super::access::Parameters;
use super::problem::{Problem, ProblemKind};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// How many rows a page has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(usize);

impl Limit {
    /// A page of this many rows, whatever was asked.
    pub(super) const fn of_rows(rows: usize) -> Self {
        Self(rows)
    }

    /// What the parameter `limit` says.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, Problem> {
        match parameters.read("limit")? {
            None => Ok(Self(LIMIT_DEFAULT)),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(Self(limit)),
            Some(limit) => {
                let detail = format!("limit: {limit} is not between 1 and {LIMIT_MAX}");
                Err(Problem::new(ProblemKind::BadParameter, detail).about("limit"))
            }
        }
    }

    /// How many rows to load: one more than the page has, which tells whether another page follows.
    pub(super) const fn to_load(self) -> usize {
        self.0.saturating_add(1)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page<Row, Id> {
    pub(super) rows: Vec<Row>,
    /// What to give as `before` for the page after this one; `None` on the last.
    pub(super) next: Option<Id>,
    limit: Limit,
}

impl<Row, Id: fmt::Display> Page<Row, Id> {
    /// The page of the rows that [`Limit::to_load`] asked for.
    pub(super) fn cut(mut rows: Vec<Row>, limit: Limit, id: impl Fn(&Row) -> Id) -> Self {
        let has_next = rows.len() > limit.0;
        rows.truncate(limit.0);
        let next = if has_next { rows.last().map(id) } else { None };
        Self { rows, next, limit }
    }

    /// Where people find the page after this one of the list at `address`, which may have a query.
    pub(super) fn next_link(&self, address: &str) -> Option<String> {
        let next = self.next.as_ref()?;
        let separator = if address.contains('?') { '&' } else { '?' };
        let limit = self.limit;
        Some(format!("{address}{separator}limit={limit}&before={next}"))
    }
}
