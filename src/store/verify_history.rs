//! What `clearday verify` reads of operations, orders, references and jobs, page by page and as it is stored.

use sqlx::FromRow;
use uuid::Uuid;

use super::jobs::bound;
use super::statement::statements;
use super::verify_money::PAGE;
use super::{StoreError, Timestamp, Tx, on_both};

statements! {
    OPERATIONS = "SELECT channel, reference, kind, generation, idempotency_key, state, evidence, intended_at, updated_at \
                  FROM operations WHERE (channel, reference, kind, generation) > ($1, $2, $3, $4) \
                  ORDER BY channel, reference, kind, generation LIMIT $5";
    /// Each job with what its history says of it.
    JOBS = "SELECT j.id, j.state, j.version, \
            (SELECT COUNT(*) FROM job_events e WHERE e.job_id = j.id) AS events, \
            (SELECT MIN(e.version) FROM job_events e WHERE e.job_id = j.id) AS first_version, \
            (SELECT MAX(e.version) FROM job_events e WHERE e.job_id = j.id) AS last_version, \
            (SELECT e.state FROM job_events e WHERE e.job_id = j.id AND e.version = j.version) AS last_state \
            FROM jobs j WHERE j.id > $1 ORDER BY j.id LIMIT $2";
    /// Each order with what its history, and the references and authorizations of its group, say of it.
    ORDERS = "SELECT o.order_no, o.state, o.version, \
              (SELECT COUNT(*) FROM order_events e WHERE e.order_no = o.order_no) AS events, \
              (SELECT MAX(e.version) FROM order_events e WHERE e.order_no = o.order_no) AS last_version, \
              e.state AS last_state, e.job_id AS moved_by, \
              (SELECT COUNT(*) FROM payment_references r WHERE r.group_no = o.group_no AND r.state = 'paid') AS paid_references, \
              (SELECT COUNT(*) FROM payment_references r WHERE r.group_no = o.group_no AND r.state = 'open') AS open_references, \
              (SELECT COUNT(*) FROM authorizations a JOIN orders g ON g.order_no = a.order_no WHERE g.group_no = o.group_no \
               AND a.state IN ('intended', 'unknown', 'authorized', 'voiding')) AS live_authorizations, \
              (SELECT CAST(COALESCE(SUM(a.amount_minor), 0) AS BIGINT) FROM authorizations a \
               JOIN orders g ON g.order_no = a.order_no WHERE g.group_no = o.group_no AND a.state = 'captured') AS taken_minor, \
              (SELECT CAST(COALESCE(SUM(g.amount_minor), 0) AS BIGINT) FROM orders g \
               WHERE g.group_no = o.group_no AND g.state = 'paid') AS paid_minor \
              FROM orders o LEFT JOIN order_events e ON e.order_no = o.order_no AND e.version = o.version \
              WHERE o.order_no > $1 ORDER BY o.order_no LIMIT $2";
    /// Each reference with its newest call to close it, and the record of its payment.
    REFERENCES = "SELECT p.channel, p.reference, p.state, p.paid_minor, p.paid_currency, p.evidence, \
                  (SELECT o.state FROM operations o WHERE o.channel = p.channel AND o.reference = p.reference \
                   AND o.kind = 'close' ORDER BY o.generation DESC LIMIT 1) AS close_state, \
                  r.channel AS record_channel, r.amount_minor AS record_minor, r.currency AS record_currency, \
                  r.taken_by AS record_taken_by \
                  FROM payment_references p LEFT JOIN records r ON r.kind = 'payment' AND r.record_no = p.reference \
                  WHERE (p.channel, p.reference) > ($1, $2) ORDER BY p.channel, p.reference LIMIT $3";
    /// Each authorization with what is told of what was taken: the fact, or a record that is not booked yet.
    AUTHORIZATIONS = "SELECT a.channel, a.reference, a.merchant_id, a.amount_minor, a.currency, a.state, a.evidence, \
                      COALESCE(f.amount_minor, r.amount_minor) AS told_minor, COALESCE(f.currency, r.currency) AS told_currency \
                      FROM authorizations a LEFT JOIN money_facts f ON f.account = a.channel AND f.kind = 'capture' \
                      AND f.external_no = a.channel_trade_no \
                      LEFT JOIN records r ON r.kind = 'payment' AND r.record_no = a.reference AND r.channel = a.channel \
                      AND r.status = 'succeeded' AND r.booking IS NULL \
                      WHERE (a.channel, a.reference) > ($1, $2) ORDER BY a.channel, a.reference LIMIT $3";
}

/// An operation as it is stored.
#[derive(Clone, Debug, FromRow)]
pub struct StoredOperation {
    /// Of whom.
    pub channel: String,
    /// About what.
    pub reference: String,
    /// What it asked for.
    pub kind: String,
    /// Number of the key.
    pub generation: i64,
    /// The key.
    pub idempotency_key: String,
    /// What is known.
    pub state: String,
    /// Request, answer and time, as JSON.
    pub evidence: Option<String>,
    /// When it was written down.
    pub(crate) intended_at: Timestamp,
    /// When something was last learned.
    pub(crate) updated_at: Timestamp,
}

/// The next page of operations after one, each chain in the order of its generations.
pub async fn operations(
    tx: &mut Tx,
    after: Option<&StoredOperation>,
) -> Result<Vec<StoredOperation>, StoreError> {
    let (channel, reference, kind, generation) = after.map_or(("", "", "", 0), |it| {
        (
            it.channel.as_str(),
            it.reference.as_str(),
            it.kind.as_str(),
            it.generation,
        )
    });
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(OPERATIONS.text::<Db>())
            .bind(channel)
            .bind(reference)
            .bind(kind)
            .bind(generation)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}

/// A job with what its history says of it.
#[derive(Clone, Debug, FromRow)]
pub struct StoredJob {
    /// Its id.
    pub id: Uuid,
    /// Where it is.
    pub state: String,
    /// How often it changed.
    pub version: i64,
    /// Rows of its history.
    pub events: i64,
    /// The first change there.
    pub first_version: Option<i64>,
    /// The last.
    pub last_version: Option<i64>,
    /// Where the change to the job's version left it.
    pub last_state: Option<String>,
}

/// The next page of jobs after an id.
pub async fn jobs(tx: &mut Tx, after: Uuid) -> Result<Vec<StoredJob>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(JOBS.text::<Db>())
            .bind(after)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}

/// An order with what its history and its references say of it.
#[derive(Clone, Debug, FromRow)]
pub struct StoredOrder {
    /// Its number.
    pub order_no: String,
    /// Where it is.
    pub state: String,
    /// How often it changed.
    pub version: i64,
    /// Rows of its history.
    pub events: i64,
    /// The last change there.
    pub last_version: Option<i64>,
    /// Where that left it.
    pub last_state: Option<String>,
    /// The job that made it; none when upstream did.
    pub moved_by: Option<Uuid>,
    /// References of its group that were paid.
    pub paid_references: i64,
    /// References of its group that somebody may pay.
    pub open_references: i64,
    /// Authorizations of its group that hold money, or may.
    pub live_authorizations: i64,
    /// What authorizations of its group took.
    pub taken_minor: i64,
    /// What the paid orders of its group owed.
    pub paid_minor: i64,
}

/// The next page of orders after a number.
pub async fn orders(tx: &mut Tx, after: &str) -> Result<Vec<StoredOrder>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(ORDERS.text::<Db>())
            .bind(after)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}

/// A reference with its newest call to close it, and the record of its payment.
#[derive(Clone, Debug, FromRow)]
pub struct StoredReference {
    /// The channel that knows it.
    pub channel: String,
    /// The number.
    pub reference: String,
    /// What is known of it.
    pub state: String,
    /// What was paid.
    pub paid_minor: Option<i64>,
    /// In which currency.
    pub paid_currency: Option<String>,
    /// The words that say so, as JSON.
    pub evidence: Option<String>,
    /// What is known of the newest call to close it.
    pub close_state: Option<String>,
    /// The channel of the record with this number.
    pub record_channel: Option<String>,
    /// Its amount.
    pub record_minor: Option<i64>,
    /// In which currency.
    pub record_currency: Option<String>,
    /// The job that wrote it.
    pub record_taken_by: Option<Uuid>,
}

/// The next page of references after one.
pub async fn references(
    tx: &mut Tx,
    after: Option<&StoredReference>,
) -> Result<Vec<StoredReference>, StoreError> {
    let (channel, reference) =
        after.map_or(("", ""), |it| (it.channel.as_str(), it.reference.as_str()));
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(REFERENCES.text::<Db>())
            .bind(channel)
            .bind(reference)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}

/// An authorization with the fact of what was taken.
#[derive(Clone, Debug, FromRow)]
pub struct StoredAuthorization {
    /// The channel that knows it.
    pub channel: String,
    /// The number.
    pub reference: String,
    /// Whose order it is for.
    pub merchant_id: String,
    /// What is held or was taken, once that is proved.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
    /// Where it is.
    pub state: String,
    /// The words that say so, as JSON.
    pub evidence: Option<String>,
    /// What the fact under its trade number says, or a record of ours that waits to be booked.
    pub told_minor: Option<i64>,
    /// In which currency.
    pub told_currency: Option<String>,
}

/// The next page of authorizations after one.
pub async fn authorizations(
    tx: &mut Tx,
    after: Option<&StoredAuthorization>,
) -> Result<Vec<StoredAuthorization>, StoreError> {
    let (channel, reference) =
        after.map_or(("", ""), |it| (it.channel.as_str(), it.reference.as_str()));
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(AUTHORIZATIONS.text::<Db>())
            .bind(channel)
            .bind(reference)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}
