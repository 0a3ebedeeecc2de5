//! Rows written many at a time, a column of values each.
//!
//! Postgres takes a column per parameter (`UNNEST`): one text, one plan and a handful of values, however
//! many rows. SQLite, where a statement costs no journey, takes a list of rows.

use std::ops::Range;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Postgres, QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{StoreError, Timestamp, Tx, in_time};

/// Values that one SQLite statement takes at most: its own limit is 32,766.
const SQLITE_VALUES_MAX: usize = 8_000;

/// The values of one column, a row each.
#[derive(Debug)]
pub(super) enum Column<'a> {
    Uuids(Vec<Uuid>),
    OptionalUuids(Vec<Option<Uuid>>),
    Texts(Vec<&'a str>),
    OptionalTexts(Vec<Option<&'a str>>),
    /// Texts made for this statement.
    Owned(Vec<String>),
    Numbers(Vec<i64>),
    OptionalNumbers(Vec<Option<i64>>),
    SmallNumbers(Vec<i16>),
    Instants(Vec<DateTime<Utc>>),
}

/// Rows on their way into a statement.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// What stands before them: `INSERT INTO job_events (job_id, version) `, or `WITH told (job_id) AS (`.
    pub(super) before: &'static str,
    /// As many as are named there, all of one length.
    pub(super) columns: Vec<Column<'a>>,
    /// What follows them: ` ON CONFLICT (id) DO NOTHING`, or `) UPDATE …`.
    pub(super) after: &'static str,
}

impl Column<'_> {
    const fn array_type(&self) -> &'static str {
        match self {
            Self::Uuids(_) | Self::OptionalUuids(_) => "::UUID[]",
            Self::Texts(_) | Self::OptionalTexts(_) | Self::Owned(_) => "::TEXT[]",
            Self::Numbers(_) | Self::OptionalNumbers(_) => "::BIGINT[]",
            Self::SmallNumbers(_) => "::SMALLINT[]",
            Self::Instants(_) => "::TIMESTAMPTZ[]",
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Uuids(values) => values.len(),
            Self::OptionalUuids(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::OptionalTexts(values) => values.len(),
            Self::Owned(values) => values.len(),
            Self::Numbers(values) => values.len(),
            Self::OptionalNumbers(values) => values.len(),
            Self::SmallNumbers(values) => values.len(),
            Self::Instants(values) => values.len(),
        }
    }

    fn push_array(&self, query: &mut QueryBuilder<Postgres>) {
        match self {
            Self::Uuids(values) => query.push_bind(values),
            Self::OptionalUuids(values) => query.push_bind(values),
            Self::Texts(values) => query.push_bind(values),
            Self::OptionalTexts(values) => query.push_bind(values),
            Self::Owned(values) => query.push_bind(values),
            Self::Numbers(values) => query.push_bind(values),
            Self::OptionalNumbers(values) => query.push_bind(values),
            Self::SmallNumbers(values) => query.push_bind(values),
            Self::Instants(values) => query.push_bind(values),
        };
        query.push(self.array_type());
    }

    fn push_value(&self, row: usize, list: &mut Separated<'_, Sqlite, &'static str>) {
        match self {
            Self::Uuids(values) => list.push_bind(values.get(row).copied()),
            Self::OptionalUuids(values) => list.push_bind(values.get(row).copied().flatten()),
            Self::Texts(values) => list.push_bind(values.get(row).copied()),
            Self::OptionalTexts(values) => list.push_bind(values.get(row).copied().flatten()),
            Self::Owned(values) => list.push_bind(values.get(row).map(String::as_str)),
            Self::Numbers(values) => list.push_bind(values.get(row).copied()),
            Self::OptionalNumbers(values) => list.push_bind(values.get(row).copied().flatten()),
            Self::SmallNumbers(values) => list.push_bind(values.get(row).copied()),
            Self::Instants(values) => list.push_bind(values.get(row).copied().map(Timestamp)),
        };
    }
}

impl Rows<'_> {
    /// Runs the statement with all of them; returns how many rows it wrote.
    pub(super) async fn execute(&self, tx: &mut Tx) -> Result<u64, StoreError> {
        let mut written = 0_u64;
        match tx {
            Tx::Postgres(transaction) if self.count() > 0 => {
                let mut query = self.of_columns();
                let done = async { Ok(query.build().execute(&mut **transaction).await?) };
                written = in_time(done).await?.rows_affected();
            }
            Tx::Postgres(_) => {}
            Tx::Sqlite(transaction) => {
                for rows in self.chunks() {
                    let mut query = self.of_rows(rows);
                    let connection: &mut SqliteConnection = transaction;
                    let done = async { Ok(query.build().execute(connection).await?) };
                    written = written.saturating_add(in_time(done).await?.rows_affected());
                }
            }
        }
        Ok(written)
    }

    /// Runs the statement with all of them; returns what its `RETURNING` names, in no order.
    pub(super) async fn fetch<R>(&self, tx: &mut Tx) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let mut returned = Vec::with_capacity(self.count());
        match tx {
            Tx::Postgres(transaction) if self.count() > 0 => {
                let mut query = self.of_columns();
                let rows =
                    async { Ok(query.build_query_as().fetch_all(&mut **transaction).await?) };
                returned = in_time(rows).await?;
            }
            Tx::Postgres(_) => {}
            Tx::Sqlite(transaction) => {
                for rows in self.chunks() {
                    let mut query = self.of_rows(rows);
                    let connection: &mut SqliteConnection = transaction;
                    let rows = async { Ok(query.build_query_as().fetch_all(connection).await?) };
                    returned.append(&mut in_time(rows).await?);
                }
            }
        }
        Ok(returned)
    }

    fn count(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.count();
        let rows_max = SQLITE_VALUES_MAX.div_ceil(self.columns.len().max(1));
        let starts = (0..count).step_by(rows_max);
        starts.map(move |start| start..start.saturating_add(rows_max).min(count))
    }

    fn of_columns(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(self.before);
        query.push("SELECT * FROM UNNEST(");
        for (position, column) in self.columns.iter().enumerate() {
            if position > 0 {
                query.push(", ");
            }
            column.push_array(&mut query);
        }
        query.push(")").push(self.after);
        query
    }

    fn of_rows(&self, rows: Range<usize>) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new(self.before);
        query.push_values(rows, |mut list, row| {
            for column in &self.columns {
                column.push_value(row, &mut list);
            }
        });
        query.push(self.after);
        query
    }
}
