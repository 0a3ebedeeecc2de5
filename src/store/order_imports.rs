//! Orders many at a time, as a file brings them.
//!
//! Reading locks what is read until the transaction ends, so that a plan made on it still holds
//! when it is carried out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clearday_jobs::OrderNo;
use sqlx::{FromRow, QueryBuilder};

use super::jobs::parse;
use super::orders::OrderRow as StoredOrder;
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::import::orders::{OrderRow, ToldOrder};
use crate::domain::import::plan::{IssuedReference, Known};
use crate::domain::order::Order;
use crate::store::Statement;

statements! {
    /// Imports of orders stand in line: two files that name one new group have no row to lock yet.
    /// On SQLite writers stand in line anyway. The number is any that nobody else uses.
    LOCK = "SELECT 1", postgres ", pg_advisory_xact_lock(7120262)";
}

/// Waits for other imports of orders to end, and holds the next ones off until the transaction does.
pub async fn lock(tx: &mut Tx) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(LOCK.text::<Db>()).execute(connection).await?;
    });
    Ok(())
}

const LOCKED: Statement = Statement {
    sqlite: "",
    postgres: " FOR UPDATE",
};

/// Everything known about the orders, groups and references that these rows name; the orders are
/// locked.
pub async fn load_known(tx: &mut Tx, rows: &[OrderRow]) -> Result<Known, StoreError> {
    let told = rows.iter().map(|row| &row.told);
    let names: BTreeSet<&OrderNo> = told.flat_map(|it| [&it.order_no, &it.group_no]).collect();
    let names: Vec<&OrderNo> = names.into_iter().collect();
    let mut orders = BTreeMap::new();
    let mut references = Vec::new();
    for chunk in names.chunks(CHUNK_ROWS_MAX) {
        for order in lock_orders(tx, chunk).await? {
            orders.insert(order.order_no.clone(), order);
        }
        references.extend(references_of_groups(tx, chunk).await?);
    }
    for chunk in rows.chunks(CHUNK_ROWS_MAX) {
        references.extend(references_by_number(tx, chunk).await?);
    }
    Ok(Known {
        orders: orders.into_values().collect(),
        references,
    })
}

/// The orders of these numbers and the members of these groups.
async fn lock_orders(tx: &mut Tx, names: &[&OrderNo]) -> Result<Vec<Order>, StoreError> {
    let rows: Vec<StoredOrder> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT order_no, group_no, merchant_id, amount_minor, currency, state, version, expires_at, updated_at \
             FROM orders WHERE order_no IN (",
        );
        let mut list = query.separated(", ");
        for name in names {
            list.push_bind(name.as_str());
        }
        query.push(") OR group_no IN (");
        let mut list = query.separated(", ");
        for name in names {
            list.push_bind(name.as_str());
        }
        query.push(") ORDER BY order_no").push(LOCKED.text::<Db>());
        query.build_query_as().fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

async fn references_of_groups(
    tx: &mut Tx,
    groups: &[&OrderNo],
) -> Result<Vec<IssuedReference>, StoreError> {
    let rows: Vec<StoredReference> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT channel, reference, group_no FROM payment_references WHERE group_no IN (",
        );
        let mut list = query.separated(", ");
        for group in groups {
            list.push_bind(group.as_str());
        }
        query.push(")");
        query.build_query_as().fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

async fn references_by_number(
    tx: &mut Tx,
    rows: &[OrderRow],
) -> Result<Vec<IssuedReference>, StoreError> {
    let named: Vec<_> = rows
        .iter()
        .filter_map(|row| row.reference.as_ref())
        .collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<StoredReference> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT channel, reference, group_no FROM payment_references WHERE (channel, reference) IN (",
        );
        query.push_values(&named, |mut row, (channel, reference)| {
            row.push_bind(channel.as_str()).push_bind(reference.as_str());
        });
        query.push(")");
        query.build_query_as().fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Writes orders down with the first row of their history; returns how many were not known.
pub async fn insert_all(
    tx: &mut Tx,
    orders: &[ToldOrder],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut inserted = 0_u64;
    for chunk in orders.chunks(CHUNK_ROWS_MAX) {
        let rows = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO orders (order_no, group_no, merchant_id, amount_minor, currency, state, version, \
                 expires_at, created_at, updated_at) ",
            );
            query.push_values(chunk, |mut row, order| {
                row.push_bind(order.order_no.as_str())
                    .push_bind(order.group_no.as_str())
                    .push_bind(order.merchant_id.as_str())
                    .push_bind(order.total.minor_units())
                    .push_bind(order.total.currency().code())
                    .push_bind(order.status.first_state().as_str())
                    .push("1")
                    .push_bind(Timestamp(order.expires_at))
                    .push_bind(Timestamp(now))
                    .push_bind(Timestamp(now));
            });
            query.push(" ON CONFLICT (order_no) DO NOTHING");
            query.build().execute(connection).await?.rows_affected()
        });
        inserted = inserted.saturating_add(rows);
        // Where one is missing the caller gives up, and this transaction with it.
        if rows == u64::try_from(chunk.len()).unwrap_or(u64::MAX) {
            begin_histories(tx, chunk, now).await?;
        }
    }
    Ok(inserted)
}

async fn begin_histories(
    tx: &mut Tx,
    orders: &[ToldOrder],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO order_events (order_no, version, occurred_at, state, reason) ",
        );
        query.push_values(orders, |mut row, order| {
            row.push_bind(order.order_no.as_str())
                .push("1")
                .push_bind(Timestamp(now))
                .push_bind(order.status.first_state().as_str())
                .push_bind(order.status.reason());
        });
        query.build().execute(connection).await?;
    });
    Ok(())
}

/// Writes references down; returns how many were not known.
pub async fn issue_all(
    tx: &mut Tx,
    references: &[IssuedReference],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut issued = 0_u64;
    for chunk in references.chunks(CHUNK_ROWS_MAX) {
        let rows = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO payment_references (channel, reference, group_no, state, issued_at, updated_at) ",
            );
            query.push_values(chunk, |mut row, issued| {
                row.push_bind(issued.channel.as_str())
                    .push_bind(issued.reference.as_str())
                    .push_bind(issued.group_no.as_str())
                    .push("'open'")
                    .push_bind(Timestamp(now))
                    .push_bind(Timestamp(now));
            });
            query.push(" ON CONFLICT (channel, reference) DO NOTHING");
            query.build().execute(connection).await?.rows_affected()
        });
        issued = issued.saturating_add(rows);
    }
    Ok(issued)
}

#[derive(FromRow)]
struct StoredReference {
    channel: String,
    reference: String,
    group_no: String,
}

impl TryFrom<StoredReference> for IssuedReference {
    type Error = StoreError;

    fn try_from(row: StoredReference) -> Result<Self, StoreError> {
        Ok(Self {
            channel: parse("channel", &row.channel)?,
            reference: parse("reference", &row.reference)?,
            group_no: parse("group_no", &row.group_no)?,
        })
    }
}
