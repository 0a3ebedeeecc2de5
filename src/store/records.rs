//! Our own records of payments and refunds, as the upstream system imports them.

use chrono::{DateTime, Utc};
use clearday_jobs::{Currency, Money};
use sqlx::{FromRow, QueryBuilder};

use super::jobs::{bound, parse};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::record::{Coupon, Record, RecordKind};

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! record_columns {
    () => {
        "kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, currency, fee_minor, status, \
         occurred_at, original_record_no, coupon_minor, coupon_funder"
    };
}

statements! {
    BETWEEN = concat!("SELECT ", record_columns!(), " FROM records \
               WHERE channel = $1 AND occurred_at >= $2 AND occurred_at < $3 \
               ORDER BY occurred_at, kind, record_no LIMIT $4 OFFSET $5");
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
    let mut records = Vec::new();
    loop {
        let rows: Vec<RecordRow> = on_both!(tx, Db, connection => {
            sqlx::query_as(BETWEEN.text::<Db>())
                .bind(channel)
                .bind(Timestamp(from))
                .bind(Timestamp(until))
                .bind(bound(PAGE))
                .bind(bound(records.len()))
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
pub async fn find_by_numbers(
    tx: &mut Tx,
    numbers: &[(RecordKind, &str)],
) -> Result<Vec<Record>, StoreError> {
    let mut found = Vec::new();
    for chunk in numbers.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<RecordRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!(
                "SELECT ", record_columns!(), " FROM records WHERE (kind, record_no) IN ("
            ));
            query.push_values(chunk, |mut row, (kind, number)| {
                row.push_bind(kind.as_str()).push_bind(*number);
            });
            query.push(")");
            query.build_query_as().fetch_all(connection).await?
        });
        for row in rows {
            found.push(row.try_into()?);
        }
    }
    Ok(found)
}

#[derive(FromRow)]
struct RecordRow {
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
        let reference =
            |column, text: Option<String>| text.map(|text| parse(column, &text)).transpose();
        Ok(Self {
            record_no: parse("record_no", &row.record_no)?,
            kind: parse("kind", &row.kind)?,
            channel: parse("channel", &row.channel)?,
            channel_trade_no: reference("channel_trade_no", row.channel_trade_no)?,
            merchant_id: parse("merchant_id", &row.merchant_id)?,
            amount: Money::from_minor(row.amount_minor, currency),
            fee: Money::from_minor(row.fee_minor, currency),
            status: parse("status", &row.status)?,
            occurred_at: row.occurred_at.0.fixed_offset(),
            original_record_no: reference("original_record_no", row.original_record_no)?,
            coupon,
        })
    }
}
