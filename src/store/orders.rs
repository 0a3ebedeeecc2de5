//! Orders, the references issued for their payment, and their history.

use chrono::{DateTime, Utc};
use clearday_jobs::{Currency, JobId, Money, OrderNo};
use sqlx::FromRow;

use super::jobs::{bound, parse};
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, authorizations, notices, on_both, operations};
use crate::domain::operation::OperationKind;
use crate::domain::order::{Order, OrderState, PaymentReference};
use crate::domain::order_expiry::GroupSnapshot;

statements! {
    FIND = "SELECT order_no, group_no, merchant_id, amount_minor, currency, state, version, expires_at, updated_at \
            FROM orders WHERE order_no = $1";
    GROUP = "SELECT o.order_no, o.group_no, o.merchant_id, o.amount_minor, o.currency, o.state, o.version, \
             o.expires_at, o.updated_at FROM orders o \
             WHERE o.group_no = (SELECT group_no FROM orders WHERE order_no = $1) ORDER BY o.order_no";
    LIST = "SELECT order_no, group_no, merchant_id, amount_minor, currency, state, version, expires_at, updated_at \
            FROM orders ORDER BY order_no LIMIT $1";
    REFERENCES = "SELECT channel, reference, state FROM payment_references WHERE group_no = $1 \
                  ORDER BY channel, reference";
    INSERT = "INSERT INTO orders (order_no, group_no, merchant_id, amount_minor, currency, state, version, \
              expires_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $8) \
              ON CONFLICT (order_no) DO NOTHING";
    /// A compare-and-set: an order that changed since it was read is not moved.
    MOVE = "UPDATE orders SET state = $3, expires_at = $4, version = version + 1, updated_at = $5 \
            WHERE order_no = $1 AND version = $2";
    HISTORY = "INSERT INTO order_events (order_no, version, occurred_at, state, reason, job_id) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    /// Held until the transaction ends, so that an intent to pay and the deadline cannot cross.
    LOCK_GROUP_STATES = "SELECT state FROM orders WHERE group_no = $1 ORDER BY order_no", postgres " FOR UPDATE";
    LOCK_GROUP_VERSIONS = "SELECT order_no, version FROM orders \
                           WHERE group_no = (SELECT group_no FROM orders WHERE order_no = $1) ORDER BY order_no", postgres " FOR UPDATE";
    ISSUE = "INSERT INTO payment_references (channel, reference, group_no, state, issued_at, updated_at) \
             VALUES ($1, $2, $3, 'open', $4, $4) ON CONFLICT (channel, reference) DO NOTHING";
    REFERENCE_GROUP = "SELECT group_no FROM payment_references WHERE channel = $1 AND reference = $2";
    CLOSE_REFERENCE = "UPDATE payment_references SET state = 'closed', evidence = $3, updated_at = $4 \
                       WHERE channel = $1 AND reference = $2 AND state = 'open'";
    PAY_REFERENCE = "UPDATE payment_references SET state = 'paid', evidence = $3, channel_trade_no = $4, \
                     paid_minor = $5, paid_currency = $6, paid_at = $7, updated_at = $8 \
                     WHERE channel = $1 AND reference = $2 AND state = 'open'";
}

/// An order about to be written down for the first time.
#[derive(Clone, Debug)]
pub struct NewOrder<'a> {
    /// The order; its version and `updated_at` are set by the store.
    pub order: &'a Order,
    /// Why, for its history.
    pub reason: &'a str,
}

/// Money that a channel says it took for a reference.
#[derive(Clone, Debug)]
pub struct ReferencePayment<'a> {
    /// How much.
    pub amount: Money,
    /// The channel's number of it.
    pub channel_trade_no: &'a str,
    /// When, by the channel.
    pub paid_at: DateTime<Utc>,
    /// Request, answer and time, as JSON.
    pub evidence: &'a str,
}

/// The order, if it is known.
pub async fn find(tx: &mut Tx, order_no: &OrderNo) -> Result<Option<Order>, StoreError> {
    let row: Option<OrderRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>())
            .bind(order_no.as_str())
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Up to `limit` orders, by number.
pub async fn list(tx: &mut Tx, limit: usize) -> Result<Vec<Order>, StoreError> {
    let rows: Vec<OrderRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST.text::<Db>()).bind(bound(limit)).fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Everything known about the group of an order; empty when the order is unknown.
pub async fn load_group(tx: &mut Tx, order_no: &OrderNo) -> Result<GroupSnapshot, StoreError> {
    let rows: Vec<OrderRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(GROUP.text::<Db>()).bind(order_no.as_str()).fetch_all(connection).await?
    });
    let orders: Vec<Order> = rows
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<_, _>>()?;
    let mut group = GroupSnapshot {
        orders,
        references: Vec::new(),
        authorizations: Vec::new(),
    };
    let Some(first) = group.orders.first() else {
        return Ok(group);
    };
    let rows: Vec<ReferenceRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(REFERENCES.text::<Db>())
            .bind(first.group_no.as_str())
            .fetch_all(connection)
            .await?
    });
    for row in rows {
        let close = OperationKind::Close.as_str();
        let operation = operations::latest(tx, &row.channel, &row.reference, close).await?;
        group.references.push((row.try_into()?, operation));
    }
    group.authorizations = authorizations::of_group(tx, &first.group_no).await?;
    Ok(group)
}

/// Writes an order down; `false` when its number is taken.
pub async fn insert(
    tx: &mut Tx,
    new: NewOrder<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let order = new.order;
    let inserted = on_both!(tx, Db, connection => {
        sqlx::query(INSERT.text::<Db>())
            .bind(order.order_no.as_str())
            .bind(order.group_no.as_str())
            .bind(order.merchant_id.as_str())
            .bind(order.total.minor_units())
            .bind(order.total.currency().code())
            .bind(order.state.as_str())
            .bind(Timestamp(order.expires_at))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    if inserted == 0 {
        return Ok(false);
    }
    append_history(tx, &order.order_no, 1, order.state, new.reason, None, now).await?;
    Ok(true)
}

/// One change of an order, decided on the version in `order`.
#[derive(Clone, Copy, Debug)]
pub struct OrderChange<'a> {
    /// The order as it was read.
    pub order: &'a Order,
    /// The state it goes to.
    pub state: OrderState,
    /// Its deadline from now on.
    pub expires_at: DateTime<Utc>,
    /// Why, for its history.
    pub reason: &'a str,
    /// The job that does it.
    pub job_id: Option<JobId>,
}

/// Moves an order if it is still at the version it was read at; `false` when it is not.
///
/// Where it stops waiting for money, what asks anybody to pay for it goes with it, whoever moves it.
pub async fn apply(
    tx: &mut Tx,
    change: OrderChange<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let order = change.order;
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE.text::<Db>())
            .bind(order.order_no.as_str())
            .bind(order.version)
            .bind(change.state.as_str())
            .bind(Timestamp(change.expires_at))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    if moved == 0 {
        return Ok(false);
    }
    if !change.state.awaits_money() {
        notices::suppress_of_order(tx, &order.order_no, change.reason, now).await?;
    }
    let version = order.version.saturating_add(1);
    append_history(
        tx,
        &order.order_no,
        version,
        change.state,
        change.reason,
        change.job_id,
        now,
    )
    .await?;
    Ok(true)
}

async fn append_history(
    tx: &mut Tx,
    order_no: &OrderNo,
    version: i64,
    state: OrderState,
    reason: &str,
    job_id: Option<JobId>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(HISTORY.text::<Db>())
            .bind(order_no.as_str())
            .bind(version)
            .bind(Timestamp(now))
            .bind(state.as_str())
            .bind(reason)
            .bind(job_id.map(|id| id.0))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Writes down that a channel may take money for a group under this number (an intent to pay);
/// `false` when the group is unknown or may not be paid any more, or the number is taken.
pub async fn issue_reference(
    tx: &mut Tx,
    channel: &str,
    reference: &str,
    group_no: &OrderNo,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let states: Vec<String> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(LOCK_GROUP_STATES.text::<Db>())
            .bind(group_no.as_str())
            .fetch_all(&mut *connection)
            .await?
    });
    let payable = [OrderState::Open.as_str(), OrderState::InReview.as_str()];
    if states.is_empty() || !states.iter().all(|state| payable.contains(&state.as_str())) {
        return Ok(false);
    }
    let issued = on_both!(tx, Db, connection => {
        sqlx::query(ISSUE.text::<Db>())
            .bind(channel)
            .bind(reference)
            .bind(group_no.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(issued == 1)
}

/// Locks the group of an order until the transaction ends, so that what was decided on these versions and a deadline
/// cannot cross; empty when the order is unknown.
pub async fn lock_group_versions(
    tx: &mut Tx,
    order_no: &OrderNo,
) -> Result<Vec<(String, i64)>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK_GROUP_VERSIONS.text::<Db>())
            .bind(order_no.as_str())
            .fetch_all(connection)
            .await?
    }))
}

/// The group a reference was issued for.
pub async fn reference_group(
    tx: &mut Tx,
    channel: &str,
    reference: &str,
) -> Result<Option<String>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(REFERENCE_GROUP.text::<Db>())
            .bind(channel)
            .bind(reference)
            .fetch_optional(connection)
            .await?
    }))
}

/// Records the proof that nobody can pay this reference any more; `false` when it was not open.
pub async fn close_reference(
    tx: &mut Tx,
    reference: &PaymentReference,
    evidence: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(CLOSE_REFERENCE.text::<Db>())
            .bind(reference.channel.as_str())
            .bind(reference.reference.as_str())
            .bind(evidence)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Records the proof that this reference was paid; `false` when it was not open.
pub async fn pay_reference(
    tx: &mut Tx,
    reference: &PaymentReference,
    payment: &ReferencePayment<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(PAY_REFERENCE.text::<Db>())
            .bind(reference.channel.as_str())
            .bind(reference.reference.as_str())
            .bind(payment.evidence)
            .bind(payment.channel_trade_no)
            .bind(payment.amount.minor_units())
            .bind(payment.amount.currency().code())
            .bind(Timestamp(payment.paid_at))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

#[derive(FromRow)]
pub(super) struct OrderRow {
    order_no: String,
    group_no: String,
    merchant_id: String,
    amount_minor: i64,
    currency: String,
    state: String,
    version: i64,
    expires_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<OrderRow> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow) -> Result<Self, StoreError> {
        let currency = Currency::parse(&row.currency)
            .map_err(|error| StoreError::corrupt("currency", error))?;
        Ok(Self {
            order_no: parse("order_no", &row.order_no)?,
            group_no: parse("group_no", &row.group_no)?,
            merchant_id: parse("merchant_id", &row.merchant_id)?,
            total: Money::from_minor(row.amount_minor, currency),
            state: parse("state", &row.state)?,
            version: row.version,
            expires_at: row.expires_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

#[derive(FromRow)]
struct ReferenceRow {
    channel: String,
    reference: String,
    state: String,
}

impl TryFrom<ReferenceRow> for PaymentReference {
    type Error = StoreError;

    fn try_from(row: ReferenceRow) -> Result<Self, StoreError> {
        Ok(Self {
            channel: parse("channel", &row.channel)?,
            reference: parse("reference", &row.reference)?,
            state: parse("state", &row.state)?,
        })
    }
}
