//! How records stand in the ledger: which wait to be booked, and what became of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, MerchantId, Money, Reference};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::{bound, parse};
use super::records::RecordRow;
use super::statement::{Statement, statements};
use super::{StoreError, Timestamp, Tx, on_both};
use crate::domain::import::records::Standing;
use crate::domain::ledger::Booking;
use crate::domain::ledger::booking::{Bookable, rule_of};
use crate::domain::record::{Record, RecordKind};

/// Records per statement: with six values each this stays below SQLite's 32,766.
pub const CHUNK_BOOKINGS_MAX: usize = 1_000;

macro_rules! bookable_columns {
    () => {
        "SELECT kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, currency, fee_minor, status, \
         occurred_at, original_record_no, coupon_minor, coupon_funder, booked_fee_minor, fee_entries, \
         CASE WHEN channel_trade_no IS NULL AND kind = 'payment' THEN \
         (SELECT paid.channel_trade_no FROM payment_references paid \
          WHERE paid.channel = records.channel AND paid.reference = records.record_no) END AS paid_trade_no, \
         CASE WHEN kind = 'refund' THEN (SELECT original.booking FROM records original \
          WHERE original.kind = 'payment' AND original.record_no = records.original_record_no) END AS payment_booking, \
         CASE WHEN kind = 'refund' THEN (SELECT COUNT(*) FROM money_facts f JOIN journal_entries e ON e.id = f.entry_id \
          WHERE e.event = 'late_money' AND f.account = records.channel AND f.kind = 'capture' AND f.external_no IN ( \
           records.original_record_no, \
           (SELECT original.channel_trade_no FROM records original \
            WHERE original.kind = 'payment' AND original.record_no = records.original_record_no), \
           (SELECT paid.channel_trade_no FROM payment_references paid \
            WHERE paid.channel = records.channel AND paid.reference = records.original_record_no))) ELSE 0 END AS late_payments \
         FROM records "
    };
}

statements! {
    /// Held until the transaction ends, so that no import changes what is being booked.
    LOCK_UNBOOKED = concat!(bookable_columns!(), "WHERE status = 'succeeded' AND booking IS NULL \
                    AND kind = $1 AND record_no > $2 ORDER BY record_no LIMIT $3"), postgres " FOR UPDATE";
    ANY_UNBOOKED = "SELECT 1 FROM records WHERE status = 'succeeded' AND booking IS NULL AND kind = $1 LIMIT 1";
    LOCK_FEE_CHANGED = concat!(bookable_columns!(), "WHERE booked_fee_minor <> fee_minor \
                       AND kind = $1 AND record_no > $2 ORDER BY record_no LIMIT $3"), postgres " FOR UPDATE";
    ADD_COUPON = "UPDATE records SET coupon_minor = $3, coupon_funder = $4 \
                  WHERE kind = $1 AND record_no = $2 AND coupon_minor IS NULL AND booking IS NULL \
                  AND taken_by IS NOT NULL";
    /// A payment that was pending by our books, and is paid by the channel's, is taken over; whatever
    /// else is known stays.
    TAKE_PAYMENT = "INSERT INTO records (kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, currency, \
                    fee_minor, status, occurred_at, imported_at, taken_by) \
                    VALUES ('payment', $1, $2, $3, $4, $5, $6, 0, 'succeeded', $7, $8, $9) \
                    ON CONFLICT (kind, record_no) DO UPDATE SET status = excluded.status, \
                    channel_trade_no = excluded.channel_trade_no, occurred_at = excluded.occurred_at, \
                    taken_by = excluded.taken_by, reconciled_run_id = NULL \
                    WHERE records.status = 'pending' AND records.channel = excluded.channel \
                    AND records.merchant_id = excluded.merchant_id AND records.currency = excluded.currency \
                    AND records.amount_minor = excluded.amount_minor";
}

/// What became of a record.
#[derive(Clone, Debug)]
pub struct Booked<'a> {
    /// The record.
    pub record: &'a Record,
    /// By which rule.
    pub booking: Booking,
    /// The entry, if there was something to post.
    pub entry_id: Option<Uuid>,
    /// The channel's fee that is booked now.
    pub fee: Option<Money>,
    /// In how many entries.
    pub fee_entries: i64,
}

/// The first `limit` records of a kind after a number, in the order of numbers, that succeeded and are
/// not booked; locked. One that somebody else booked meanwhile is left out, so fewer do not mean that there are no more.
pub async fn lock_unbooked(
    tx: &mut Tx,
    kind: RecordKind,
    after: Option<&Reference>,
    limit: usize,
) -> Result<Vec<Bookable>, StoreError> {
    lock(tx, LOCK_UNBOOKED, kind, after, limit).await
}

/// Whether a record of a kind waits to be booked.
pub async fn any_unbooked(tx: &mut Tx, kind: RecordKind) -> Result<bool, StoreError> {
    let found: Option<i32> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(ANY_UNBOOKED.text::<Db>())
            .bind(kind.as_str())
            .fetch_optional(connection)
            .await?
    });
    Ok(found.is_some())
}

/// The first `limit` records of a kind after a number that were booked with another fee than they have
/// now; locked.
pub async fn lock_fee_changed(
    tx: &mut Tx,
    kind: RecordKind,
    after: Option<&Reference>,
    limit: usize,
) -> Result<Vec<Bookable>, StoreError> {
    lock(tx, LOCK_FEE_CHANGED, kind, after, limit).await
}

async fn lock(
    tx: &mut Tx,
    statement: Statement,
    kind: RecordKind,
    after: Option<&Reference>,
    limit: usize,
) -> Result<Vec<Bookable>, StoreError> {
    // No number is smaller than the empty text.
    let after = after.map_or("", Reference::as_str);
    let rows: Vec<BookableRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(statement.text::<Db>())
            .bind(kind.as_str())
            .bind(after)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The rules of those of the merchants that are known.
pub async fn rules_of(
    tx: &mut Tx,
    merchants: &[&MerchantId],
) -> Result<Vec<(MerchantId, Booking)>, StoreError> {
    let mut rules = Vec::with_capacity(merchants.len());
    for chunk in merchants.chunks(CHUNK_BOOKINGS_MAX) {
        let rows: Vec<(String, String, String)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT merchant_id, funds_flow, coupons FROM merchants WHERE merchant_id IN (",
            );
            let mut list = query.separated(", ");
            for merchant in chunk {
                list.push_bind(merchant.as_str());
            }
            query.push(")");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for (merchant, funds_flow, coupons) in rows {
            let rule = rule_of(
                parse("funds_flow", &funds_flow)?,
                parse("coupons", &coupons)?,
            );
            rules.push((parse("merchant_id", &merchant)?, rule));
        }
    }
    Ok(rules)
}

/// Notes what became of locked records, which are all of one kind and come in the order of their
/// numbers; returns how many.
pub async fn mark_booked(tx: &mut Tx, booked: &[Booked<'_>]) -> Result<u64, StoreError> {
    let mut marked = 0_u64;
    for chunk in booked.chunks(CHUNK_BOOKINGS_MAX) {
        marked = marked.saturating_add(mark_chunk(tx, chunk).await?);
    }
    Ok(marked)
}

/// The bounds keep Postgres near the numbers while it does
/// not know yet how many rows there are.
async fn mark_chunk(tx: &mut Tx, booked: &[Booked<'_>]) -> Result<u64, StoreError> {
    let number_of = |booked: &Booked<'_>| booked.record.record_no.to_string();
    let kind = booked.first().map(|first| first.record.kind.as_str());
    let (first, last) = (booked.first().map(number_of), booked.last().map(number_of));
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "WITH told (record_no, booking, entry_id, fee_minor, fee_entries) AS (",
        );
        query.push_values(booked, |mut row, it| {
            row.push_bind(it.record.record_no.as_str())
                .push_bind(it.booking.as_str())
                .push_bind(it.entry_id)
                .push_bind(it.fee.map(Money::minor_units))
                .push_bind(it.fee_entries);
        });
        query.push(
            ") UPDATE records SET booking = told.booking, booked_entry_id = told.entry_id, \
             booked_fee_minor = told.fee_minor, fee_entries = told.fee_entries FROM told WHERE records.kind = ",
        );
        query.push_bind(kind);
        query.push(" AND records.record_no >= ").push_bind(first);
        query.push(" AND records.record_no <= ").push_bind(last);
        query.push(" AND records.record_no = told.record_no");
        query.build().persistent(false).execute(connection).await?.rows_affected()
    }))
}

/// Notes that the fees of locked records are booked as they are now, in one entry more; returns how
/// many. They are all of one kind, and come in the order of their numbers.
pub async fn mark_fees(tx: &mut Tx, corrected: &[Bookable]) -> Result<u64, StoreError> {
    let mut marked = 0_u64;
    for chunk in corrected.chunks(CHUNK_BOOKINGS_MAX) {
        marked = marked.saturating_add(mark_fees_of(tx, chunk).await?);
    }
    Ok(marked)
}

async fn mark_fees_of(tx: &mut Tx, corrected: &[Bookable]) -> Result<u64, StoreError> {
    let number_of = |it: &Bookable| it.record.record_no.to_string();
    let kind = corrected.first().map(|first| first.record.kind.as_str());
    let (first, last) = (
        corrected.first().map(number_of),
        corrected.last().map(number_of),
    );
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "UPDATE records SET booked_fee_minor = fee_minor, fee_entries = fee_entries + 1 \
             WHERE booked_fee_minor <> fee_minor AND kind = ",
        );
        query.push_bind(kind);
        query.push(" AND record_no >= ").push_bind(first);
        query.push(" AND record_no <= ").push_bind(last);
        query.push(" AND record_no IN (");
        let mut list = query.separated(", ");
        for it in corrected {
            list.push_bind(it.record.record_no.as_str());
        }
        query.push(")");
        query.build().persistent(false).execute(connection).await?.rows_affected()
    }))
}

/// How those of the records with these numbers stand that are booked, or were found by a job of ours.
pub async fn standings(
    tx: &mut Tx,
    kind: RecordKind,
    numbers: &[&Reference],
) -> Result<HashMap<Reference, Standing>, StoreError> {
    let mut standings = HashMap::new();
    for chunk in numbers.chunks(CHUNK_BOOKINGS_MAX) {
        let rows: Vec<(String, Option<String>, Option<Uuid>)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT record_no, booking, taken_by FROM records \
                 WHERE (booking IS NOT NULL OR taken_by IS NOT NULL) AND kind = ",
            );
            query.push_bind(kind.as_str());
            let numbers = || chunk.iter().map(|number| number.as_str());
            query.push(" AND record_no >= ").push_bind(numbers().min());
            query.push(" AND record_no <= ").push_bind(numbers().max());
            query.push(" AND record_no IN (");
            let mut list = query.separated(", ");
            for number in numbers() {
                list.push_bind(number);
            }
            query.push(")");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for (record_no, booking, taken_by) in rows {
            let booking = match booking {
                None => None,
                Some(booking) => Some(parse("booking", &booking)?),
            };
            let standing = Standing {
                is_booked: is_final(booking),
                is_taken: taken_by.is_some(),
            };
            standings.insert(parse("record_no", &record_no)?, standing);
        }
    }
    Ok(standings)
}

/// What was not booked because its money is booked otherwise may still be mended.
const fn is_final(booking: Option<Booking>) -> bool {
    match booking {
        Some(Booking::ByFunder | Booking::CouponExcluded | Booking::Direct) => true,
        Some(Booking::Elsewhere) | None => false,
    }
}

/// Adds the coupon that upstream tells of a payment that was found at its channel and is not booked; `false`
/// when it is something else by now.
pub async fn add_coupon(tx: &mut Tx, record: &Record) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(ADD_COUPON.text::<Db>())
            .bind(record.kind.as_str())
            .bind(record.record_no.as_str())
            .bind(record.coupon.map(|coupon| coupon.amount.minor_units()))
            .bind(record.coupon.map(|coupon| coupon.funder.as_str()))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// A payment that a job of ours found at a channel.
#[derive(Clone, Debug)]
pub struct TakenPayment<'a> {
    /// Under which number.
    pub record: &'a Record,
    /// Which job.
    pub taken_by: JobId,
}

/// Writes a payment down that was found at its channel. What is known of it stays, unless it was
/// pending; returns whether something was written.
pub async fn take_payment(
    tx: &mut Tx,
    payment: TakenPayment<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let record = payment.record;
    let written = on_both!(tx, Db, connection => {
        sqlx::query(TAKE_PAYMENT.text::<Db>())
            .bind(record.record_no.as_str())
            .bind(record.channel.as_str())
            .bind(record.channel_trade_no.as_ref().map(Reference::as_str))
            .bind(record.merchant_id.as_str())
            .bind(record.amount.minor_units())
            .bind(record.amount.currency().code())
            .bind(Timestamp(record.occurred_at.to_utc()))
            .bind(Timestamp(now))
            .bind(payment.taken_by.0)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(written == 1)
}

#[derive(FromRow)]
struct BookableRow {
    #[sqlx(flatten)]
    record: RecordRow,
    booked_fee_minor: Option<i64>,
    fee_entries: i64,
    paid_trade_no: Option<String>,
    payment_booking: Option<String>,
    late_payments: i64,
}

impl TryFrom<BookableRow> for Bookable {
    type Error = StoreError;

    fn try_from(row: BookableRow) -> Result<Self, StoreError> {
        let record: Record = row.record.try_into()?;
        let trade_no = match row.paid_trade_no {
            None => None,
            Some(number) => Some(parse("channel_trade_no", &number)?),
        };
        let payment_booking = match row.payment_booking {
            None => None,
            Some(booking) => Some(parse("booking", &booking)?),
        };
        let currency = record.amount.currency();
        Ok(Self {
            record,
            trade_no,
            payment_booking,
            is_of_late_money: row.late_payments > 0,
            booked_fee: row
                .booked_fee_minor
                .map(|minor_units| Money::from_minor(minor_units, currency)),
            fee_entries: row.fee_entries,
        })
    }
}
