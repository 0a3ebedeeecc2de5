//! Notices to partners and upstream.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, OrderNo};
use sqlx::FromRow;
use uuid::Uuid;

use super::jobs::parse;
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both, operations, words};
use crate::domain::notice::{
    Notice, NoticeChange, NoticeEvent, NoticeId, NoticePurpose, NoticeState,
};
use crate::domain::operation::{Operation, OperationKind};
use crate::domain::partner::MessageChannel;

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! notice_columns {
    () => {
        "id, job_id, order_no, recipient, purpose, step, channel, target, subject, content, state, version, \
         attempts, look_at, deadline, last_answer"
    };
}

statements! {
    INSERT = concat!("INSERT INTO notices (", notice_columns!(), ", is_gone, planned_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 0, $12, $13, $14, 0, $15, $15) \
             ON CONFLICT (order_no, recipient, purpose, step, channel) DO NOTHING");
    TO_RECIPIENT = concat!("SELECT ", notice_columns!(), " FROM notices \
                   WHERE order_no = $1 AND recipient = $2 AND step = '' ORDER BY id");
    OF_JOB = concat!("SELECT ", notice_columns!(), " FROM notices WHERE job_id = $1 ORDER BY id");
    /// A compare-and-set: a notice that changed since it was read is not moved.
    MOVE = "UPDATE notices SET state = $3, look_at = $4, attempts = $5, last_answer = $6, version = version + 1, \
            updated_at = $7 WHERE id = $1 AND version = $2";
    TAKE_OVER = "UPDATE notices SET job_id = $3, version = version + 1, updated_at = $4 WHERE id = $1 AND version = $2";
    /// What may have left is not suppressed, and neither is what is true of an order that ended.
    SUPPRESS_OF_ORDER = "UPDATE notices SET state = 'suppressed', look_at = NULL, last_answer = $2, \
                         version = version + 1, updated_at = $3 \
                         WHERE order_no = $1 AND state = 'planned' AND purpose IN ('pay_request', 'reminder')";
    SUPPRESS_TO_RECIPIENT = "UPDATE notices SET state = 'suppressed', look_at = NULL, last_answer = $3, \
                             version = version + 1, updated_at = $4 \
                             WHERE order_no = $1 AND recipient = $2 AND state = 'planned' \
                             AND purpose IN ('pay_request', 'reminder')";
    MARK_GONE = "UPDATE notices SET is_gone = 1 WHERE id = $1";
    FIND_GONE = "SELECT id FROM notices WHERE target = $1 AND is_gone = 1 ORDER BY id LIMIT 1";
}

/// A notice about to be written down.
#[derive(Clone, Debug)]
pub struct NewNotice<'a> {
    /// Its id.
    pub id: NoticeId,
    /// The job that sees to it.
    pub job_id: JobId,
    /// The order it is about.
    pub order_no: &'a OrderNo,
    /// Who is told.
    pub recipient: &'a str,
    /// What it says.
    pub purpose: NoticePurpose,
    /// Of several answers to upstream, which.
    pub step: &'a str,
    /// How it goes.
    pub channel: MessageChannel,
    /// Where it goes.
    pub target: &'a str,
    /// The subject of an e-mail.
    pub subject: &'a str,
    /// The text, or the body.
    pub content: &'a str,
    /// Nothing is sent at or after this instant.
    pub deadline: DateTime<Utc>,
    /// Planned, unless it has come to its end already; then why.
    pub end: Option<(NoticeState, &'a str)>,
}

/// A notice with the newest try of it.
pub type Tried = (Notice, Option<Operation>);

/// Writes a notice down, to be looked at now; `false` when it is there already.
pub async fn insert(
    tx: &mut Tx,
    new: &NewNotice<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let (state, reason) = new.end.unwrap_or((NoticeState::Planned, ""));
    let look_at = (state == NoticeState::Planned).then_some(Timestamp(now));
    let inserted = on_both!(tx, Db, connection => {
        sqlx::query(INSERT.text::<Db>())
            .bind(new.id.0)
            .bind(new.job_id.0)
            .bind(new.order_no.as_str())
            .bind(new.recipient)
            .bind(new.purpose.as_str())
            .bind(new.step)
            .bind(new.channel.as_str())
            .bind(new.target)
            .bind(new.subject)
            .bind(new.content)
            .bind(state.as_str())
            .bind(look_at)
            .bind(Timestamp(new.deadline))
            .bind(words(reason))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(inserted == 1)
}

/// Every notice about an order to one partner, with the newest try of each.
pub async fn to_recipient(
    tx: &mut Tx,
    order_no: &OrderNo,
    recipient: &str,
) -> Result<Vec<Tried>, StoreError> {
    let rows: Vec<NoticeRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(TO_RECIPIENT.text::<Db>())
            .bind(order_no.as_str())
            .bind(recipient)
            .fetch_all(connection)
            .await?
    });
    with_tries(tx, rows).await
}

/// Every notice that a job sees to, with the newest try of each.
pub async fn of_job(tx: &mut Tx, job_id: JobId) -> Result<Vec<Tried>, StoreError> {
    let rows: Vec<NoticeRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_JOB.text::<Db>()).bind(job_id.0).fetch_all(connection).await?
    });
    with_tries(tx, rows).await
}

async fn with_tries(tx: &mut Tx, rows: Vec<NoticeRow>) -> Result<Vec<Tried>, StoreError> {
    let mut tried = Vec::with_capacity(rows.len());
    for row in rows {
        let notice: Notice = row.try_into()?;
        let (channel, reference) = (notice.channel.as_str(), notice.id.to_string());
        let send = OperationKind::Send.as_str();
        let operation = operations::latest(tx, channel, &reference, send).await?;
        tried.push((notice, operation));
    }
    Ok(tried)
}

/// Moves a notice if it is still at the version it was read at, and returns it as it is then;
/// `None` when it is not, or when its state refuses the event.
pub async fn apply(
    tx: &mut Tx,
    notice: &Notice,
    change: &NoticeChange,
    now: DateTime<Utc>,
) -> Result<Option<Notice>, StoreError> {
    let Some(state) = notice.state.after(change.event) else {
        return Ok(None);
    };
    let is_try = change.event == NoticeEvent::Send;
    let attempts = notice.attempts.saturating_add(u32::from(is_try));
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE.text::<Db>())
            .bind(notice.id.0)
            .bind(notice.version)
            .bind(state.as_str())
            .bind(change.look_at.map(Timestamp))
            .bind(i64::from(attempts))
            .bind(words(&change.answer))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok((moved == 1).then(|| Notice {
        state,
        attempts,
        look_at: change.look_at,
        version: notice.version.saturating_add(1),
        last_answer: change.answer.clone(),
        ..notice.clone()
    }))
}

/// Gives a notice to another job; `false` when it changed since it was read.
pub async fn take_over(
    tx: &mut Tx,
    notice: &Notice,
    job_id: JobId,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(TAKE_OVER.text::<Db>())
            .bind(notice.id.0)
            .bind(notice.version)
            .bind(job_id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Suppresses what asks anybody to pay for an order and has not left; returns how many.
pub async fn suppress_of_order(
    tx: &mut Tx,
    order_no: &OrderNo,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query(SUPPRESS_OF_ORDER.text::<Db>())
            .bind(order_no.as_str())
            .bind(words(reason))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

/// Suppresses what asks one partner to pay for an order and has not left; returns how many.
pub async fn suppress_to_recipient(
    tx: &mut Tx,
    (order_no, recipient): (&OrderNo, &str),
    reason: &str,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query(SUPPRESS_TO_RECIPIENT.text::<Db>())
            .bind(order_no.as_str())
            .bind(recipient)
            .bind(words(reason))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

/// Remembers that the target of a notice wants nothing more.
pub async fn mark_gone(tx: &mut Tx, id: NoticeId) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(MARK_GONE.text::<Db>()).bind(id.0).execute(connection).await?;
    });
    Ok(())
}

/// Whether this target said that it wants nothing more.
pub async fn is_gone(tx: &mut Tx, target: &str) -> Result<bool, StoreError> {
    let found: Option<Uuid> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(FIND_GONE.text::<Db>()).bind(target).fetch_optional(connection).await?
    });
    Ok(found.is_some())
}

#[derive(FromRow)]
struct NoticeRow {
    id: Uuid,
    job_id: Uuid,
    order_no: String,
    recipient: String,
    purpose: String,
    step: String,
    channel: String,
    target: String,
    subject: String,
    content: String,
    state: String,
    version: i64,
    attempts: i64,
    look_at: Option<Timestamp>,
    deadline: Timestamp,
    last_answer: String,
}

impl TryFrom<NoticeRow> for Notice {
    type Error = StoreError;

    fn try_from(row: NoticeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: NoticeId(row.id),
            job_id: JobId(row.job_id),
            order_no: parse("order_no", &row.order_no)?,
            recipient: row.recipient,
            purpose: parse("purpose", &row.purpose)?,
            step: row.step,
            channel: parse("channel", &row.channel)?,
            target: row.target,
            subject: row.subject,
            content: row.content,
            state: parse("state", &row.state)?,
            version: row.version,
            attempts: u32::try_from(row.attempts)
                .map_err(|error| StoreError::corrupt("attempts", error))?,
            look_at: row.look_at.map(|look_at| look_at.0),
            deadline: row.deadline.0,
            last_answer: row.last_answer,
        })
    }
}
