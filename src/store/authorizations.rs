//! Holds on payers' money, the methods that take no part any more, and the answers upstream waits for.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{
    AuthorizationAnswer, Capture, Currency, JobId, MethodGroup, MethodId, Money, OrderNo, YesOrNo,
};
use sqlx::FromRow;

use super::jobs::parse;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, operations, words};
use crate::domain::authorization::{Authorization, AuthorizationState, AuthorizationWithCall};
use crate::domain::deferred_authorization::Suspension;
use crate::domain::operation::OperationKind;

macro_rules! columns {
    () => {
        "a.channel, a.reference, a.order_no, a.merchant_id, a.method_id, a.method_group, a.number, a.capture, \
         a.amount_minor, a.currency, a.keep_minor, a.state, a.version, a.because, a.surplus_told_at, a.updated_at"
    };
}

statements! {
    OF_ORDER = concat!("SELECT ", columns!(), " FROM authorizations a WHERE a.order_no = $1 ORDER BY a.created_at, a.reference");
    OF_GROUP = concat!("SELECT ", columns!(), " FROM orders o JOIN authorizations a ON a.order_no = o.order_no \
               WHERE o.group_no = $1 ORDER BY a.created_at, a.reference");
    INSERT = "INSERT INTO authorizations (channel, reference, order_no, merchant_id, method_id, method_group, number, \
              capture, amount_minor, currency, state, version, because, detail, job_id, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'intended', 1, $11, 'written down before the call', $12, $13, $13)";
    /// A compare-and-set: an authorization that changed since it was read is not moved.
    MOVE = "UPDATE authorizations SET state = $4, amount_minor = $5, keep_minor = $6, detail = $7, \
            evidence = COALESCE($8, evidence), channel_trade_no = $9, captured_at = $10, version = version + 1, \
            updated_at = $11 \
            WHERE channel = $1 AND reference = $2 AND version = $3";
    TELL_SURPLUS = "UPDATE authorizations SET surplus_told_at = $3, version = version + 1 \
                    WHERE channel = $1 AND reference = $2 AND surplus_told_at IS NULL";
    HAS_LIVE = "SELECT COUNT(*) FROM authorizations WHERE order_no = $1 \
                AND state IN ('intended', 'unknown', 'authorized', 'voiding')";
    PLAN_VERSION = "SELECT version FROM authorization_plans WHERE order_no = $1";
    FIRST_PLAN = "INSERT INTO authorization_plans (order_no, version, updated_at) VALUES ($1, 1, $2) \
                  ON CONFLICT (order_no) DO NOTHING";
    /// A compare-and-set, as above.
    NEXT_PLAN = "UPDATE authorization_plans SET version = version + 1, updated_at = $3 \
                 WHERE order_no = $1 AND version = $2";
    SUSPEND = "INSERT INTO suspended_methods (order_no, method_id, code, message, job_id, suspended_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (order_no, method_id) DO NOTHING";
    SUSPENDED = "SELECT method_id, code, message FROM suspended_methods WHERE order_no = $1 ORDER BY method_id";
    KEEP_ANSWER = "INSERT INTO authorization_answers (job_id, order_no, successful, answer, answered_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (job_id) DO NOTHING";
    ANSWER_OF = "SELECT answer FROM authorization_answers WHERE job_id = $1";
}

/// One change of an authorization, decided on the version in `authorization`.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationChange<'a> {
    /// The authorization as it was read.
    pub authorization: &'a Authorization,
    /// The state it goes to.
    pub state: AuthorizationState,
    /// What is held or was taken from now on.
    pub amount: Money,
    /// What is to stay, of one that is being let go.
    pub keep: Option<Money>,
    /// What is known, in a sentence.
    pub detail: &'a str,
    /// Request, answer and time, as JSON, where there is news of them.
    pub evidence: Option<&'a str>,
    /// The channel's number of the money it took, and when it took it.
    pub capture: Option<(&'a str, DateTime<Utc>)>,
}

/// Every authorization of an order, the oldest first, each with the newest call about it.
pub async fn of_order(
    tx: &mut Tx,
    order_no: &OrderNo,
) -> Result<Vec<AuthorizationWithCall>, StoreError> {
    let rows: Vec<AuthorizationRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_ORDER.text::<Db>())
            .bind(order_no.as_str())
            .fetch_all(connection)
            .await?
    });
    with_calls(tx, rows).await
}

/// Every authorization of the orders of a group, in the same way.
pub async fn of_group(
    tx: &mut Tx,
    group_no: &OrderNo,
) -> Result<Vec<AuthorizationWithCall>, StoreError> {
    let rows: Vec<AuthorizationRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_GROUP.text::<Db>())
            .bind(group_no.as_str())
            .fetch_all(connection)
            .await?
    });
    with_calls(tx, rows).await
}

async fn with_calls(
    tx: &mut Tx,
    rows: Vec<AuthorizationRow>,
) -> Result<Vec<AuthorizationWithCall>, StoreError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let authorization: Authorization = row.try_into()?;
        let (channel, reference) = (
            authorization.channel.as_str(),
            authorization.reference.as_str(),
        );
        let void = OperationKind::Void.as_str();
        let mut call = operations::latest(tx, channel, reference, void).await?;
        if call.is_none() {
            let authorize = OperationKind::Authorize.as_str();
            call = operations::latest(tx, channel, reference, authorize).await?;
        }
        found.push(AuthorizationWithCall {
            authorization,
            call,
        });
    }
    Ok(found)
}

/// Whether money is held for an order, or may be.
pub async fn has_live(tx: &mut Tx, order_no: &OrderNo) -> Result<bool, StoreError> {
    let count: i64 = on_both!(tx, Db, connection => {
        sqlx::query_scalar(HAS_LIVE.text::<Db>())
            .bind(order_no.as_str())
            .fetch_one(connection)
            .await?
    });
    Ok(count > 0)
}

/// Writes an authorization down before its call is made.
///
/// # Errors
/// [`StoreError::Constraint`] when the method holds the order's money already.
pub async fn insert(
    tx: &mut Tx,
    new: &Authorization,
    job_id: JobId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(INSERT.text::<Db>())
            .bind(new.channel.as_str())
            .bind(new.reference.as_str())
            .bind(new.order_no.as_str())
            .bind(new.merchant_id.as_str())
            .bind(new.method_id.as_str())
            .bind(new.group.as_str())
            .bind(i64::from(new.number))
            .bind(new.capture.as_str())
            .bind(new.amount.minor_units())
            .bind(new.amount.currency().code())
            .bind(words(&new.because))
            .bind(job_id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Moves an authorization if it is still at the version it was read at; `false` when it is not.
pub async fn apply(
    tx: &mut Tx,
    change: AuthorizationChange<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let authorization = change.authorization;
    let (trade_no, captured_at) = change.capture.unzip();
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE.text::<Db>())
            .bind(authorization.channel.as_str())
            .bind(authorization.reference.as_str())
            .bind(authorization.version)
            .bind(change.state.as_str())
            .bind(change.amount.minor_units())
            .bind(change.keep.map(Money::minor_units))
            .bind(words(change.detail))
            .bind(change.evidence)
            .bind(trade_no)
            .bind(captured_at.map(Timestamp))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Notes that a person is told of money that nobody owes; `false` when that was noted before.
pub async fn tell_surplus(
    tx: &mut Tx,
    authorization: &Authorization,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(TELL_SURPLUS.text::<Db>())
            .bind(authorization.channel.as_str())
            .bind(authorization.reference.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Counts what was decided about an order's methods; 0 before anything was.
pub async fn plan_version(tx: &mut Tx, order_no: &OrderNo) -> Result<i64, StoreError> {
    let version: Option<i64> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(PLAN_VERSION.text::<Db>())
            .bind(order_no.as_str())
            .fetch_optional(connection)
            .await?
    });
    Ok(version.unwrap_or(0))
}

/// Says that something is decided on `version`; `false` when another run decided something first.
pub async fn move_plan(
    tx: &mut Tx,
    order_no: &OrderNo,
    version: i64,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        let statement = if version == 0 {
            sqlx::query(FIRST_PLAN.text::<Db>()).bind(order_no.as_str())
        } else {
            sqlx::query(NEXT_PLAN.text::<Db>()).bind(order_no.as_str()).bind(version)
        };
        statement.bind(Timestamp(now)).execute(connection).await?.rows_affected()
    });
    Ok(moved == 1)
}

/// Writes down that a method takes no part any more; the first reason stays.
pub async fn suspend(
    tx: &mut Tx,
    order_no: &OrderNo,
    method_id: &MethodId,
    suspension: &Suspension,
    job_id: JobId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(SUSPEND.text::<Db>())
            .bind(order_no.as_str())
            .bind(method_id.as_str())
            .bind(suspension.code.as_str())
            .bind(words(&suspension.message))
            .bind(job_id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// The methods of an order that take no part any more.
pub async fn suspended(
    tx: &mut Tx,
    order_no: &OrderNo,
) -> Result<BTreeMap<MethodId, Suspension>, StoreError> {
    let rows: Vec<(String, String, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(SUSPENDED.text::<Db>())
            .bind(order_no.as_str())
            .fetch_all(connection)
            .await?
    });
    rows.into_iter()
        .map(|(method_id, code, message)| {
            let code = parse("code", &code)?;
            Ok((
                parse("method_id", &method_id)?,
                Suspension { code, message },
            ))
        })
        .collect()
}

/// Keeps the answer of a job; `false` when it has one, which stays.
pub async fn keep_answer(
    tx: &mut Tx,
    job_id: JobId,
    answer: &AuthorizationAnswer,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let text =
        serde_json::to_string(answer).map_err(|error| StoreError::corrupt("answer", error))?;
    let successful = match answer.successful {
        YesOrNo::Yes => "Y",
        YesOrNo::No => "N",
    };
    let kept = on_both!(tx, Db, connection => {
        sqlx::query(KEEP_ANSWER.text::<Db>())
            .bind(job_id.0)
            .bind(answer.order_no.as_str())
            .bind(successful)
            .bind(text.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(kept == 1)
}

/// The answer of a job as it is told, as JSON; `None` before its end, and for a job of another kind.
pub async fn answer_of(tx: &mut Tx, job_id: JobId) -> Result<Option<String>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(ANSWER_OF.text::<Db>())
            .bind(job_id.0)
            .fetch_optional(connection)
            .await?
    }))
}

#[derive(FromRow)]
struct AuthorizationRow {
    channel: String,
    reference: String,
    order_no: String,
    merchant_id: String,
    method_id: String,
    method_group: String,
    number: i64,
    capture: String,
    amount_minor: i64,
    currency: String,
    keep_minor: Option<i64>,
    state: String,
    version: i64,
    because: String,
    surplus_told_at: Option<Timestamp>,
    updated_at: Timestamp,
}

impl TryFrom<AuthorizationRow> for Authorization {
    type Error = StoreError;

    fn try_from(row: AuthorizationRow) -> Result<Self, StoreError> {
        let currency = Currency::parse(&row.currency)
            .map_err(|error| StoreError::corrupt("currency", error))?;
        let group = MethodGroup::ALL
            .into_iter()
            .find(|group| group.as_str() == row.method_group);
        let capture = Capture::ALL
            .into_iter()
            .find(|capture| capture.as_str() == row.capture);
        Ok(Self {
            reference: parse("reference", &row.reference)?,
            channel: parse("channel", &row.channel)?,
            order_no: parse("order_no", &row.order_no)?,
            merchant_id: parse("merchant_id", &row.merchant_id)?,
            method_id: parse("method_id", &row.method_id)?,
            group: group.ok_or_else(|| StoreError::corrupt("method_group", &row.method_group))?,
            number: u32::try_from(row.number)
                .map_err(|error| StoreError::corrupt("number", error))?,
            capture: capture.ok_or_else(|| StoreError::corrupt("capture", &row.capture))?,
            amount: Money::from_minor(row.amount_minor, currency),
            keep: row.keep_minor.map(|keep| Money::from_minor(keep, currency)),
            state: parse("state", &row.state)?,
            version: row.version,
            because: row.because,
            is_surplus_told: row.surplus_told_at.is_some(),
            updated_at: row.updated_at.0,
        })
    }
}
