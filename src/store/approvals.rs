//! `approvals`: what people are asked to agree on, and who signed.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{ApprovalId, Currency, JobId, MerchantId, Money};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::{COUNT_MAX, bound, parse};
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, words};
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState, Signature};

macro_rules! approval_columns {
    () => {
        "id, action, subject, shown, digest, merchant_id, payee, amount_minor, currency, value_on, rule, state, \
         maker, made_at, checker, checked_at, rejected_by, reason, job_id, version, requested_at, updated_at"
    };
}

statements! {
    FIND = concat!("SELECT ", approval_columns!(), " FROM approvals WHERE id = $1");
    LOCK = concat!("SELECT ", approval_columns!(), " FROM approvals WHERE id = $1"), postgres " FOR UPDATE";
    /// The one in force comes first whatever the clocks of several daemons say: there is one at most, and what was
    /// rejected or superseded is older.
    OF_SUBJECT = concat!("SELECT ", approval_columns!(), " FROM approvals WHERE action = $1 AND subject = $2 \
                          ORDER BY CASE WHEN state IN ('requested', 'approved') THEN 0 ELSE 1 END, \
                          requested_at DESC, id DESC");
    LOCK_NEWEST = concat!("SELECT ", approval_columns!(), " FROM approvals WHERE action = $1 AND subject = $2 \
                           ORDER BY CASE WHEN state IN ('requested', 'approved') THEN 0 ELSE 1 END, \
                           requested_at DESC, id DESC LIMIT 1"), postgres " FOR UPDATE";
    /// Nothing is written where another request for the subject came into force meanwhile.
    INSERT = "INSERT INTO approvals (id, action, subject, shown, digest, merchant_id, payee, amount_minor, currency, \
              value_on, rule, state, maker, made_at, checker, checked_at, rejected_by, reason, job_id, version, \
              requested_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, NULL, NULL, NULL, $15, $16, 1, $17, $18) \
              ON CONFLICT (action, subject) WHERE state IN ('requested', 'approved') DO NOTHING";
    /// A compare-and-set: a request that changed since it was read is not moved.
    MOVE = "UPDATE approvals SET state = $3, maker = $4, made_at = $5, checker = $6, checked_at = $7, \
            rejected_by = $8, reason = $9, job_id = $10, version = version + 1, updated_at = $11 \
            WHERE id = $1 AND version = $2";
    OPEN_OF_JOB = concat!("SELECT ", approval_columns!(), " FROM approvals WHERE job_id = $1 AND state = 'requested' \
                           ORDER BY requested_at, id LIMIT 1");
    COUNT = "SELECT COUNT(*) FROM (SELECT 1 FROM approvals WHERE state = $1 LIMIT $2) AS capped";
    /// What a payee gets on a day, agreed or still asked for.
    SUM_OF_DAY = "SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM approvals \
                  WHERE payee = $1 AND value_on = $2 AND currency = $3 AND state IN ('requested', 'approved') \
                  AND NOT (action = $4 AND subject = $5)";
}

/// What a list of requests is narrowed to; the list runs from the newest to the oldest.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApprovalFilter {
    /// Only this state.
    pub state: Option<ApprovalState>,
    /// Only requests made before this one (keyset pagination).
    pub before: Option<ApprovalId>,
}

/// The request, if it is known.
pub async fn find(tx: &mut Tx, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
    let row: Option<ApprovalRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

/// The request, locked.
pub async fn lock(tx: &mut Tx, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
    let row: Option<ApprovalRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Every request ever made about a subject, the newest first: the first is the one that counts.
pub async fn of_subject(
    tx: &mut Tx,
    action: ApprovalAction,
    subject: &str,
) -> Result<Vec<Approval>, StoreError> {
    let rows: Vec<ApprovalRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_SUBJECT.text::<Db>())
            .bind(action.as_str())
            .bind(subject)
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The newest request about a subject, locked.
pub async fn lock_newest(
    tx: &mut Tx,
    action: ApprovalAction,
    subject: &str,
) -> Result<Option<Approval>, StoreError> {
    let row: Option<ApprovalRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK_NEWEST.text::<Db>())
            .bind(action.as_str())
            .bind(subject)
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Up to `limit` requests, the newest first.
pub async fn list(
    tx: &mut Tx,
    filter: ApprovalFilter,
    limit: usize,
) -> Result<Vec<Approval>, StoreError> {
    let rows: Vec<ApprovalRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", approval_columns!(), " FROM approvals WHERE 1 = 1"));
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before.0);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The oldest open request that a job waits for.
pub async fn open_of_job(tx: &mut Tx, job_id: JobId) -> Result<Option<Approval>, StoreError> {
    let row: Option<ApprovalRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OPEN_OF_JOB.text::<Db>()).bind(job_id.0).fetch_optional(connection).await?
    });
    row.map(TryInto::try_into).transpose()
}

/// How many requests are in this state, counted up to [`COUNT_MAX`].
pub async fn count_in_state(tx: &mut Tx, state: ApprovalState) -> Result<i64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_scalar(COUNT.text::<Db>())
            .bind(state.as_str())
            .bind(COUNT_MAX)
            .fetch_one(connection)
            .await?
    }))
}

/// Writes a new request down; `false` when another one for its subject is in force.
pub async fn insert(tx: &mut Tx, new: &Approval) -> Result<bool, StoreError> {
    let inserted = on_both!(tx, Db, connection => {
        sqlx::query(INSERT.text::<Db>())
            .bind(new.id.0)
            .bind(new.action.as_str())
            .bind(new.subject.as_str())
            .bind(new.shown.as_str())
            .bind(new.digest.as_str())
            .bind(new.merchant_id.as_ref().map(MerchantId::as_str))
            .bind(new.payee.as_deref())
            .bind(new.amount.map(Money::minor_units))
            .bind(new.amount.map(|amount| amount.currency().code()))
            .bind(new.value_on.map(day))
            .bind(new.rule.as_str())
            .bind(new.state.as_str())
            .bind(new.maker.as_ref().map(|maker| maker.person.as_str()))
            .bind(new.maker.as_ref().map(|maker| Timestamp(maker.at)))
            .bind(new.reason.as_deref().map(words))
            .bind(new.job_id.map(|id| id.0))
            .bind(Timestamp(new.requested_at))
            .bind(Timestamp(new.updated_at))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(inserted == 1)
}

/// Writes a decided change down if the request is still at the version in `changed`, which is the
/// request as it shall be; `false` when it is not.
pub async fn apply(tx: &mut Tx, changed: &Approval) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE.text::<Db>())
            .bind(changed.id.0)
            .bind(changed.version)
            .bind(changed.state.as_str())
            .bind(changed.maker.as_ref().map(|maker| maker.person.as_str()))
            .bind(changed.maker.as_ref().map(|maker| Timestamp(maker.at)))
            .bind(changed.checker.as_ref().map(|checker| checker.person.as_str()))
            .bind(changed.checker.as_ref().map(|checker| Timestamp(checker.at)))
            .bind(changed.rejected_by.as_deref())
            .bind(changed.reason.as_deref().map(words))
            .bind(changed.job_id.map(|id| id.0))
            .bind(Timestamp(changed.updated_at))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Whose payments of a day are summed.
#[derive(Clone, Copy, Debug)]
pub struct PayeeDay<'a> {
    /// The account that is paid.
    pub payee: &'a str,
    /// The day.
    pub value_on: NaiveDate,
    /// Sums are per currency.
    pub currency: Currency,
    /// Left out: the subject that is being asked about.
    pub except: (ApprovalAction, &'a str),
}

/// What a payee gets on a day by every other request that is agreed or still asked for.
pub async fn sum_of_day(tx: &mut Tx, of: PayeeDay<'_>) -> Result<Money, StoreError> {
    let (action, subject) = of.except;
    let sum: i64 = on_both!(tx, Db, connection => {
        sqlx::query_scalar(SUM_OF_DAY.text::<Db>())
            .bind(of.payee)
            .bind(day(of.value_on))
            .bind(of.currency.code())
            .bind(action.as_str())
            .bind(subject)
            .fetch_one(connection)
            .await?
    });
    Ok(Money::from_minor(sum, of.currency))
}

/// A date as it is kept: `YYYY-MM-DD`.
fn day(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

#[derive(FromRow)]
struct ApprovalRow {
    id: Uuid,
    action: String,
    subject: String,
    shown: String,
    digest: String,
    merchant_id: Option<String>,
    payee: Option<String>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    value_on: Option<String>,
    rule: String,
    state: String,
    maker: Option<String>,
    made_at: Option<Timestamp>,
    checker: Option<String>,
    checked_at: Option<Timestamp>,
    rejected_by: Option<String>,
    reason: Option<String>,
    job_id: Option<Uuid>,
    version: i64,
    requested_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<ApprovalRow> for Approval {
    type Error = StoreError;

    fn try_from(row: ApprovalRow) -> Result<Self, StoreError> {
        let currency = row.currency.as_deref().map(|code| {
            Currency::parse(code).map_err(|error| StoreError::corrupt("currency", error))
        });
        let amount = row.amount_minor.zip(currency.transpose()?);
        Ok(Self {
            id: ApprovalId(row.id),
            action: parse("action", &row.action)?,
            subject: row.subject,
            shown: row.shown,
            digest: row.digest,
            merchant_id: read("merchant_id", row.merchant_id.as_deref())?,
            payee: row.payee,
            amount: amount.map(|(minor_units, currency)| Money::from_minor(minor_units, currency)),
            value_on: read("value_on", row.value_on.as_deref())?,
            rule: parse("rule", &row.rule)?,
            state: parse("state", &row.state)?,
            maker: signature(row.maker, row.made_at),
            checker: signature(row.checker, row.checked_at),
            rejected_by: row.rejected_by,
            reason: row.reason,
            job_id: row.job_id.map(JobId),
            version: row.version,
            requested_at: row.requested_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

fn read<T>(column: &'static str, text: Option<&str>) -> Result<Option<T>, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.map(|text| parse(column, text)).transpose()
}

fn signature(person: Option<String>, at: Option<Timestamp>) -> Option<Signature> {
    let at: DateTime<Utc> = at?.0;
    Some(Signature {
        person: person?,
        at,
    })
}
