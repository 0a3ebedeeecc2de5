//! What settlements are made of: records that are not settled yet, and items that are.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{ChannelName, Currency, MerchantId, Money, Reference, SettlementId};
use sqlx::{FromRow, QueryBuilder};

use super::jobs::{bound, parse};
use super::records::RecordRow;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};
use crate::domain::merchant::SettleBasis;
use crate::domain::record::RecordKind;
use crate::domain::settlement_run::collect::{Candidate, Item, Original};

/// Items per statement: with eight values each this stays below SQLite's 32,766.
const CHUNK_ITEMS_MAX: usize = 2_000;
/// Numbers per statement.
const CHUNK_NUMBERS_MAX: usize = 1_000;
/// Candidates read per step.
const PAGE: usize = 20_000;

macro_rules! record_columns {
    () => {
        "r.kind, r.record_no, r.channel, r.channel_trade_no, r.merchant_id, r.amount_minor, r.currency, r.fee_minor, \
         r.status, r.occurred_at, r.original_record_no, r.coupon_minor, r.coupon_funder"
    };
}

statements! {
    /// Keyset pagination over what no settlement has collected, the oldest first.
    CANDIDATES = concat!("SELECT ", record_columns!(), ", r.booking, \
                  CASE WHEN r.reconciled_run_id IS NULL THEN 0 ELSE 1 END AS is_reconciled, \
                  (SELECT MIN(b.break_name) FROM breaks b WHERE b.kind = r.kind AND b.record_no = r.record_no \
                  AND b.state = 'open') AS open_break \
                  FROM records r WHERE r.merchant_id = $1 AND r.currency = $2 AND r.settlement_id IS NULL \
                  AND r.status = 'succeeded' AND r.occurred_at < $3 \
                  AND (r.occurred_at, r.kind, r.record_no) > ($4, $5, $6) \
                  ORDER BY r.occurred_at, r.kind, r.record_no LIMIT $7");
    /// The last day on which a channel handed money over; what is booked about deposits is between `deposit:` and `deposit;`.
    LAST_DEPOSIT = "SELECT MAX(e.accounting_on) FROM journal_entries e JOIN postings p ON p.entry_id = e.id \
                    WHERE e.identity >= 'deposit:' AND e.identity < 'deposit;' \
                    AND p.credit_account = 'channel_receivable' AND p.credit_owner = $1";
    ITEMS = "SELECT kind, record_no, amount_minor, funded_coupon_minor, credit_minor, merchant_fee_minor, \
             original_record_no FROM settlement_items \
             WHERE settlement_id = $1 AND (kind, record_no) > ($2, $3) ORDER BY kind, record_no LIMIT $4";
}

/// What succeeded before `until` and is in no settlement, the oldest first. Whether its channel has handed the money
/// over is left to [`last_deposit`].
pub async fn candidates(
    tx: &mut Tx,
    merchant_id: &MerchantId,
    currency: Currency,
    until: DateTime<Utc>,
) -> Result<Vec<Candidate>, StoreError> {
    let mut candidates: Vec<Candidate> = Vec::new();
    loop {
        // No kind and no number is smaller than the empty text, and nothing happened before the epoch.
        let (at, kind, number) = candidates
            .last()
            .map_or((DateTime::UNIX_EPOCH, "", ""), |last| {
                let record = &last.record;
                (
                    record.occurred_at.to_utc(),
                    record.kind.as_str(),
                    record.record_no.as_str(),
                )
            });
        let rows: Vec<CandidateRow> = on_both!(tx, Db, connection => {
            sqlx::query_as(CANDIDATES.text::<Db>())
                .bind(merchant_id.as_str())
                .bind(currency.code())
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
            candidates.push(row.try_into()?);
        }
        if is_last {
            return Ok(candidates);
        }
    }
}

/// The day on which a channel last handed money over.
pub async fn last_deposit(
    tx: &mut Tx,
    channel: &ChannelName,
) -> Result<Option<NaiveDate>, StoreError> {
    let last: Option<String> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(LAST_DEPOSIT.text::<Db>())
            .bind(channel.as_str())
            .fetch_one(connection)
            .await?
    });
    last.map(|day| parse("accounting_on", &day)).transpose()
}

/// The payments of these numbers, with what became of them so far.
pub async fn originals(
    tx: &mut Tx,
    currency: Currency,
    numbers: &[&Reference],
) -> Result<HashMap<Reference, Original>, StoreError> {
    let mut found = HashMap::with_capacity(numbers.len());
    for chunk in numbers.chunks(CHUNK_NUMBERS_MAX) {
        let rows: Vec<OriginalRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!(
                "SELECT ", record_columns!(), ", r.booking, i.credit_minor, i.merchant_fee_minor, \
                 CAST(COALESCE((SELECT SUM(x.credit_minor) FROM settlement_items x \
                 WHERE x.original_record_no = r.record_no AND x.kind = 'refund'), 0) AS BIGINT) AS refunded_minor, \
                 CAST(COALESCE((SELECT SUM(x.merchant_fee_minor) FROM settlement_items x \
                 WHERE x.original_record_no = r.record_no AND x.kind = 'refund'), 0) AS BIGINT) AS given_back_minor \
                 FROM records r LEFT JOIN settlement_items i ON i.kind = r.kind AND i.record_no = r.record_no \
                 WHERE r.kind = 'payment' AND r.record_no IN ("
            ));
            let mut list = query.separated(", ");
            for number in chunk {
                list.push_bind(number.as_str());
            }
            query.push(")");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for row in rows {
            let original = row.with(currency)?;
            found.insert(original.record.record_no.clone(), original);
        }
    }
    Ok(found)
}

/// Writes the items of a settlement down, which are sorted by kind and number, and marks their records as settled;
/// returns how many were marked. A record that may not be settled any more on this basis is not: then the caller gives
/// up, and this transaction with it.
pub async fn insert(
    tx: &mut Tx,
    settlement_id: SettlementId,
    items: &[Item],
    basis: SettleBasis,
) -> Result<u64, StoreError> {
    let mut marked = 0_u64;
    for of_kind in items.chunk_by(|one, next| one.kind == next.kind) {
        for chunk in of_kind.chunks(CHUNK_ITEMS_MAX) {
            insert_sorted(tx, settlement_id, chunk).await?;
            marked = marked.saturating_add(mark_sorted(tx, settlement_id, chunk, basis).await?);
        }
    }
    Ok(marked)
}

async fn insert_sorted(
    tx: &mut Tx,
    settlement_id: SettlementId,
    items: &[Item],
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO settlement_items (kind, record_no, settlement_id, amount_minor, funded_coupon_minor, \
             credit_minor, merchant_fee_minor, original_record_no) ",
        );
        query.push_values(items, |mut row, item| {
            row.push_bind(item.kind.as_str())
                .push_bind(item.record_no.as_str())
                .push_bind(settlement_id.0)
                .push_bind(item.amount.minor_units())
                .push_bind(item.funded_coupon.minor_units())
                .push_bind(item.credit.minor_units())
                .push_bind(item.merchant_fee.minor_units())
                .push_bind(item.original.as_ref().map(Reference::as_str));
        });
        query.build().execute(connection).await?;
    });
    Ok(())
}

/// Marks records of one kind, if they are still as they were collected: a break may have been opened, or a mark taken
/// away, since they were read. In the order of their numbers, as everybody does who marks many; the bounds keep
/// Postgres near them.
async fn mark_sorted(
    tx: &mut Tx,
    settlement_id: SettlementId,
    items: &[Item],
    basis: SettleBasis,
) -> Result<u64, StoreError> {
    let (Some(first), Some(last)) = (items.first(), items.last()) else {
        return Ok(0);
    };
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("UPDATE records SET settlement_id = ");
        query.push_bind(settlement_id.0);
        query.push(" WHERE kind = ").push_bind(first.kind.as_str());
        query.push(" AND record_no >= ").push_bind(first.record_no.as_str());
        query.push(" AND record_no <= ").push_bind(last.record_no.as_str());
        query.push(" AND record_no IN (");
        let mut list = query.separated(", ");
        for item in items {
            list.push_bind(item.record_no.as_str());
        }
        query.push(
            ") AND settlement_id IS NULL AND status = 'succeeded' AND booking IN ('by_funder', 'coupon_excluded') \
             AND NOT EXISTS (SELECT 1 FROM breaks b WHERE b.kind = records.kind AND b.record_no = records.record_no \
             AND b.state = 'open')",
        );
        match basis {
            SettleBasis::Captured => {}
            SettleBasis::Reconciled | SettleBasis::Funded => {
                query.push(" AND reconciled_run_id IS NOT NULL");
            }
        }
        query.build().persistent(false).execute(connection).await?.rows_affected()
    }))
}

/// Up to `limit` items of a settlement after this one, by kind and number.
pub async fn list(
    tx: &mut Tx,
    settlement_id: SettlementId,
    currency: Currency,
    after: Option<(RecordKind, &str)>,
    limit: usize,
) -> Result<Vec<Item>, StoreError> {
    let (kind, number) = after.map_or(("", ""), |(kind, number)| (kind.as_str(), number));
    let rows: Vec<ItemRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(ITEMS.text::<Db>())
            .bind(settlement_id.0)
            .bind(kind)
            .bind(number)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(|row| row.with(currency)).collect()
}

#[derive(FromRow)]
struct CandidateRow {
    #[sqlx(flatten)]
    record: RecordRow,
    booking: Option<String>,
    is_reconciled: i32,
    open_break: Option<String>,
}

impl TryFrom<CandidateRow> for Candidate {
    type Error = StoreError;

    fn try_from(row: CandidateRow) -> Result<Self, StoreError> {
        let booking = row.booking.map(|booking| parse("booking", &booking));
        Ok(Self {
            record: row.record.try_into()?,
            booking: booking.transpose()?,
            open_break: row.open_break,
            is_reconciled: row.is_reconciled != 0,
            is_funded: false,
        })
    }
}

#[derive(FromRow)]
struct OriginalRow {
    #[sqlx(flatten)]
    record: RecordRow,
    booking: Option<String>,
    credit_minor: Option<i64>,
    merchant_fee_minor: Option<i64>,
    refunded_minor: i64,
    given_back_minor: i64,
}

impl OriginalRow {
    fn with(self, currency: Currency) -> Result<Original, StoreError> {
        let money = |minor_units| Money::from_minor(minor_units, currency);
        let booking = self.booking.map(|booking| parse("booking", &booking));
        Ok(Original {
            record: self.record.try_into()?,
            booking: booking.transpose()?,
            settled: self
                .credit_minor
                .zip(self.merchant_fee_minor)
                .map(|(credit, fee)| (money(credit), money(fee))),
            // Refunds are kept with their sign.
            refunded_before: money(self.refunded_minor.saturating_neg()),
            given_back_before: money(self.given_back_minor.saturating_neg()),
        })
    }
}

#[derive(FromRow)]
struct ItemRow {
    kind: String,
    record_no: String,
    amount_minor: i64,
    funded_coupon_minor: i64,
    credit_minor: i64,
    merchant_fee_minor: i64,
    original_record_no: Option<String>,
}

impl ItemRow {
    fn with(self, currency: Currency) -> Result<Item, StoreError> {
        let money = |minor_units| Money::from_minor(minor_units, currency);
        let original = self
            .original_record_no
            .map(|number| parse("original_record_no", &number));
        Ok(Item {
            kind: parse("kind", &self.kind)?,
            record_no: parse("record_no", &self.record_no)?,
            amount: money(self.amount_minor),
            funded_coupon: money(self.funded_coupon_minor),
            credit: money(self.credit_minor),
            merchant_fee: money(self.merchant_fee_minor),
            original: original.transpose()?,
        })
    }
}
