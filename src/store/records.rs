//! Our own records of payments and refunds, many at a time.

use chrono::{DateTime, Utc};
use clearday_jobs::{Currency, Money, Reference};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::jobs::{bound, parse};
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};
use crate::domain::record::{Coupon, Record, RecordKind};

/// Records per statement: with fourteen values each this stays below SQLite's 32,766.
pub const CHUNK_RECORDS_MAX: usize = 2_000;

/// What happens to a record that is known.
#[derive(Clone, Copy, Debug)]
enum OnConflict {
    /// It stays as it is, locked until the transaction ends.
    Keep,
    /// How it went is taken from the new one; what it is stays. A fee or a status that no
    /// reconciliation has seen takes the mark away.
    Update,
}

/// Postgres locks the row it meets, whatever the condition says, so that two writers who go in the order of keys
/// wait for each other and never crosswise.
macro_rules! keep {
    () => {
        " ON CONFLICT (kind, record_no) DO UPDATE SET imported_at = records.imported_at WHERE FALSE"
    };
}

macro_rules! take_over {
    () => {
        " ON CONFLICT (kind, record_no) DO UPDATE SET channel_trade_no = excluded.channel_trade_no, \
         fee_minor = excluded.fee_minor, status = excluded.status, occurred_at = excluded.occurred_at, \
         imported_at = excluded.imported_at, reconciled_run_id = CASE \
         WHEN records.status = excluded.status AND records.fee_minor = excluded.fee_minor \
         THEN records.reconciled_run_id END"
    };
}

impl OnConflict {
    /// What ends a list of rows.
    const fn clause(self) -> &'static str {
        match self {
            Self::Keep => keep!(),
            Self::Update => take_over!(),
        }
    }
}

/// Writes down those of up to [`CHUNK_RECORDS_MAX`] records that are not known, and holds those that are until the
/// transaction ends; returns how many were new. They come in the order of their keys, in this call and from call to
/// call: two writers who hold to that never wait for each other crosswise.
pub async fn insert(
    tx: &mut Tx,
    records: &[&Record],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    write(tx, records, OnConflict::Keep, now).await
}

/// Takes over how it went from up to [`CHUNK_RECORDS_MAX`] known records; returns how many.
pub async fn update(
    tx: &mut Tx,
    records: &[&Record],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    write(tx, records, OnConflict::Update, now).await
}

async fn write(
    tx: &mut Tx,
    records: &[&Record],
    on_conflict: OnConflict,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let rows = Rows {
        before: "INSERT INTO records (kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, currency, fee_minor, \
               status, occurred_at, original_record_no, coupon_minor, coupon_funder, imported_at) ",
        columns: vec![
            Column::Texts(column(records, |it| it.kind.as_str())),
            Column::Texts(column(records, |it| it.record_no.as_str())),
            Column::Texts(column(records, |it| it.channel.as_str())),
            Column::OptionalTexts(column(records, |it| text_of(it.channel_trade_no.as_ref()))),
            Column::Texts(column(records, |it| it.merchant_id.as_str())),
            Column::Numbers(column(records, |it| it.amount.minor_units())),
            Column::Texts(column(records, |it| it.amount.currency().code())),
            Column::Numbers(column(records, |it| it.fee.minor_units())),
            Column::Texts(column(records, |it| it.status.as_str())),
            Column::Instants(column(records, |it| it.occurred_at.to_utc())),
            Column::OptionalTexts(column(records, |it| {
                text_of(it.original_record_no.as_ref())
            })),
            Column::OptionalNumbers(column(records, coupon_minor)),
            Column::OptionalTexts(column(records, coupon_funder)),
            Column::Instants(column(records, |_| now)),
        ],
        after: on_conflict.clause(),
    };
    rows.execute(tx).await
}

fn column<'a, T>(records: &[&'a Record], value: impl Fn(&'a Record) -> T) -> Vec<T> {
    records.iter().map(|record| value(record)).collect()
}

fn text_of(reference: Option<&Reference>) -> Option<&str> {
    reference.map(Reference::as_str)
}

fn coupon_minor(record: &Record) -> Option<i64> {
    record.coupon.map(|coupon| coupon.amount.minor_units())
}

fn coupon_funder(record: &Record) -> Option<&'static str> {
    record.coupon.map(|coupon| coupon.funder.as_str())
}

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! record_columns {
    () => {
        "kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, currency, fee_minor, status, \
         occurred_at, original_record_no, coupon_minor, coupon_funder"
    };
}

statements! {
    /// Keyset pagination: each page starts after the last record of the one before.
    BETWEEN = concat!("SELECT ", record_columns!(), " FROM records \
               WHERE channel = $1 AND occurred_at < $2 \
               AND (occurred_at, kind, record_no) > ($3, $4, $5) \
               ORDER BY occurred_at, kind, record_no LIMIT $6");
    MARKED = "SELECT kind, record_no FROM records WHERE reconciled_run_id = $1 AND (kind, record_no) > ($2, $3) \
              ORDER BY kind, record_no LIMIT $4";
}

/// Records read per step.
const PAGE: usize = 50_000;

/// Every record of a channel from `from` on and before `until`.
pub async fn between(
    tx: &mut Tx,
    channel: &str,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Record>, StoreError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        // No kind and no number is smaller than the empty text.
        let (at, kind, number) = records.last().map_or((from, "", ""), |last| {
            (
                last.occurred_at.to_utc(),
                last.kind.as_str(),
                last.record_no.as_str(),
            )
        });
        let rows: Vec<RecordRow> = on_both!(tx, Db, connection => {
            sqlx::query_as(BETWEEN.text::<Db>())
                .bind(channel)
                .bind(Timestamp(until))
                .bind(Timestamp(at))
                .bind(kind)
                .bind(number)
                .bind(bound(PAGE))
                .fetch_all(connection)
                .await?
        });
        let is_last = rows.len() < PAGE;
        for row in rows {
            records.push(row.try_into()?);
        }
        if is_last {
            return Ok(records);
        }
    }
}

/// The records that have these numbers, whatever their day and channel.
pub async fn find(tx: &mut Tx, numbers: &[(RecordKind, &str)]) -> Result<Vec<Record>, StoreError> {
    let mut found = Vec::with_capacity(numbers.len());
    for kind in RecordKind::ALL {
        let of_kind = numbers.iter().filter(|(other, _)| other == kind);
        let mut numbers: Vec<&str> = of_kind.map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        for chunk in numbers.chunks(CHUNK_RECORDS_MAX) {
            find_sorted(tx, *kind, chunk, &mut found).await?;
        }
    }
    Ok(found)
}

/// The bounds keep Postgres near the numbers while it does not know yet how many rows there are, which is so right
/// after the first import. Planned once for all lists (persistent), it would compare every row with every number.
async fn find_sorted(
    tx: &mut Tx,
    kind: RecordKind,
    numbers: &[&str],
    found: &mut Vec<Record>,
) -> Result<(), StoreError> {
    let rows: Vec<RecordRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!(
            "SELECT ", record_columns!(), " FROM records WHERE kind = "
        ));
        query.push_bind(kind.as_str());
        query.push(" AND record_no >= ").push_bind(numbers.first().copied());
        query.push(" AND record_no <= ").push_bind(numbers.last().copied());
        query.push(" AND record_no IN (");
        let mut list = query.separated(", ");
        for number in numbers {
            list.push_bind(*number);
        }
        query.push(")");
        query.build_query_as().persistent(false).fetch_all(connection).await?
    });
    for row in rows {
        found.push(row.try_into()?);
    }
    Ok(())
}

/// Marks records as found without a break by this run, those excepted that have another status or
/// fee by now than the run compared; returns how many marks changed.
pub async fn mark_reconciled(
    tx: &mut Tx,
    run_id: Uuid,
    records: &[&Record],
) -> Result<u64, StoreError> {
    let mut marked = 0_u64;
    for kind in RecordKind::ALL {
        let of_kind = records.iter().filter(|record| record.kind == *kind);
        let mut sorted: Vec<&Record> = of_kind.copied().collect();
        sorted.sort_unstable_by_key(|record| &record.record_no);
        for chunk in sorted.chunks(CHUNK_RECORDS_MAX) {
            marked = marked.saturating_add(mark_sorted(tx, run_id, *kind, chunk).await?);
        }
    }
    Ok(marked)
}

/// The bounds are there for the same reason as in [`find_sorted`].
async fn mark_sorted(
    tx: &mut Tx,
    run_id: Uuid,
    kind: RecordKind,
    records: &[&Record],
) -> Result<u64, StoreError> {
    let number_of = |record: Option<&&Record>| record.map(|record| record.record_no.to_string());
    let (first, last) = (number_of(records.first()), number_of(records.last()));
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("WITH told (record_no, status, fee_minor) AS (");
        query.push_values(records, |mut row, record| {
            row.push_bind(record.record_no.as_str())
                .push_bind(record.status.as_str())
                .push_bind(record.fee.minor_units());
        });
        query.push(") UPDATE records SET reconciled_run_id = ").push_bind(run_id);
        query.push(" FROM told WHERE records.kind = ").push_bind(kind.as_str());
        query.push(" AND records.record_no >= ").push_bind(first);
        query.push(" AND records.record_no <= ").push_bind(last);
        query.push(
            " AND records.record_no = told.record_no AND records.status = told.status \
             AND records.fee_minor = told.fee_minor \
             AND (records.reconciled_run_id IS NULL OR records.reconciled_run_id <> ",
        );
        query.push_bind(run_id).push(")");
        query.build().persistent(false).execute(connection).await?.rows_affected()
    }))
}

/// Takes away the marks of these records, whoever made them; returns how many there were.
pub async fn unmark(tx: &mut Tx, records: &[&Record]) -> Result<u64, StoreError> {
    let mut numbers: Vec<(RecordKind, &str)> = records
        .iter()
        .map(|record| (record.kind, record.record_no.as_str()))
        .collect();
    numbers.sort_unstable();
    unmark_sorted(tx, &numbers).await
}

/// Takes away every mark that this run made; returns how many there were.
pub async fn unmark_all_of(tx: &mut Tx, run_id: Uuid) -> Result<u64, StoreError> {
    let mut unmarked = 0_u64;
    let mut after = None;
    loop {
        let page = marked_by(tx, run_id, after.as_ref(), CHUNK_RECORDS_MAX).await?;
        let numbers: Vec<(RecordKind, &str)> = page
            .iter()
            .map(|(kind, record_no)| (*kind, record_no.as_str()))
            .collect();
        unmarked = unmarked.saturating_add(unmark_sorted(tx, &numbers).await?);
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(unmarked),
        }
    }
}

/// The first `limit` records, in the order of their keys, that carry the mark of a run and come `after` a key.
pub async fn marked_by(
    tx: &mut Tx,
    run_id: Uuid,
    after: Option<&(RecordKind, Reference)>,
    limit: usize,
) -> Result<Vec<(RecordKind, Reference)>, StoreError> {
    // No kind and no number is smaller than the empty text.
    let (kind, record_no) = after.map_or(("", ""), |(kind, record_no)| {
        (kind.as_str(), record_no.as_str())
    });
    let rows: Vec<(String, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(MARKED.text::<Db>())
            .bind(run_id)
            .bind(kind)
            .bind(record_no)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.iter()
        .map(|(kind, record_no)| Ok((parse("kind", kind)?, parse("record_no", record_no)?)))
        .collect()
}

async fn unmark_sorted(tx: &mut Tx, numbers: &[(RecordKind, &str)]) -> Result<u64, StoreError> {
    let mut unmarked = 0_u64;
    for of_kind in numbers.chunk_by(|one, other| one.0 == other.0) {
        for chunk in of_kind.chunks(CHUNK_RECORDS_MAX) {
            unmarked = unmarked.saturating_add(unmark_chunk(tx, chunk).await?);
        }
    }
    Ok(unmarked)
}

/// These are all of one kind, and sorted.
async fn unmark_chunk(tx: &mut Tx, numbers: &[(RecordKind, &str)]) -> Result<u64, StoreError> {
    let (Some((kind, first)), Some((_, last))) = (numbers.first(), numbers.last()) else {
        return Ok(0);
    };
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "UPDATE records SET reconciled_run_id = NULL WHERE reconciled_run_id IS NOT NULL AND kind = ",
        );
        query.push_bind(kind.as_str());
        query.push(" AND record_no >= ").push_bind(*first);
        query.push(" AND record_no <= ").push_bind(*last);
        query.push(" AND record_no IN (");
        let mut list = query.separated(", ");
        for (_, number) in numbers {
            list.push_bind(*number);
        }
        query.push(")");
        query.build().persistent(false).execute(connection).await?.rows_affected()
    }))
}

#[derive(FromRow)]
pub(super) struct RecordRow {
    kind: String,
    record_no: String,
    channel: String,
    channel_trade_no: Option<String>,
    merchant_id: String,
    amount_minor: i64,
    currency: String,
    fee_minor: i64,
    status: String,
    occurred_at: Timestamp,
    original_record_no: Option<String>,
    coupon_minor: Option<i64>,
    coupon_funder: Option<String>,
}

impl TryFrom<RecordRow> for Record {
    type Error = StoreError;

    fn try_from(row: RecordRow) -> Result<Self, StoreError> {
        let currency = Currency::parse(&row.currency)
            .map_err(|error| StoreError::corrupt("currency", error))?;
        let coupon = match row.coupon_minor.zip(row.coupon_funder) {
            None => None,
            Some((minor_units, funder)) => Some(Coupon {
                amount: Money::from_minor(minor_units, currency),
                funder: parse("coupon_funder", &funder)?,
            }),
        };
        let optional = |column, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => parse(column, &text).map(Some),
        };
        Ok(Self {
            record_no: parse("record_no", &row.record_no)?,
            kind: parse("kind", &row.kind)?,
            channel: parse("channel", &row.channel)?,
            channel_trade_no: optional("channel_trade_no", row.channel_trade_no)?,
            merchant_id: parse("merchant_id", &row.merchant_id)?,
            amount: Money::from_minor(row.amount_minor, currency),
            fee: Money::from_minor(row.fee_minor, currency),
            status: parse("status", &row.status)?,
            occurred_at: row.occurred_at.0.fixed_offset(),
            original_record_no: optional("original_record_no", row.original_record_no)?,
            coupon,
        })
    }
}
