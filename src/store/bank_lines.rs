//! What our books hold against the lines of a bank's statement.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{Money, Reference};
use sqlx::QueryBuilder;

use super::jobs::{bound, parse};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::ledger::Account;
use crate::domain::reconciliation::bank::KnownFact;

statements! {
    OPEN_INSTRUCTIONS = "SELECT end_to_end_id, amount_minor, currency, created_at FROM payout_instructions \
                         WHERE bank = $1 AND state = 'open' AND created_at < $2 \
                         ORDER BY created_at, end_to_end_id LIMIT $3";
    /// What was answered otherwise, by the bank itself or on another statement, is not missing any more.
    VANISH_ANSWERED = "UPDATE breaks SET state = 'vanished', updated_at = $2 \
                       WHERE channel = $1 AND state = 'open' AND kind = 'payout' AND break_name = 'missing_theirs' \
                       AND NOT EXISTS (SELECT 1 FROM payout_instructions p \
                       WHERE p.end_to_end_id = breaks.record_no AND p.state = 'open') \
                       AND NOT EXISTS (SELECT 1 FROM offline_payments o WHERE o.bank = breaks.channel \
                       AND o.bank_reference = breaks.record_no AND o.state = 'counted' AND o.debited_on IS NULL)";
    OFFLINE_NOT_SHOWN = "SELECT bank_reference, amount_minor, currency, paid_on FROM offline_payments \
                         WHERE bank = $1 AND state = 'counted' AND debited_on IS NULL AND paid_on <= $2 \
                         ORDER BY paid_on, bank_reference LIMIT $3";
    /// Debits and credits up to a day, each by its own index before it meets its entry.
    BALANCE_ON = "SELECT \
                  (SELECT CAST(COALESCE(SUM(p.amount_minor), 0) AS BIGINT) FROM postings p \
                   JOIN journal_entries e ON e.id = p.entry_id \
                   WHERE p.debit_account = $1 AND p.debit_owner = $2 AND p.currency = $3 AND e.accounting_on <= $4), \
                  (SELECT CAST(COALESCE(SUM(p.amount_minor), 0) AS BIGINT) FROM postings p \
                   JOIN journal_entries e ON e.id = p.entry_id \
                   WHERE p.credit_account = $1 AND p.credit_owner = $2 AND p.currency = $3 AND e.accounting_on <= $4)";
}

/// An order to a bank whose outcome no statement has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenInstruction {
    /// Its id.
    pub end_to_end_id: Reference,
    /// How much.
    pub amount: Money,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
}

/// A payment outside of clearday that closed its part and that no statement has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineNotShown {
    /// The bank's number of it.
    pub bank_reference: String,
    /// How much.
    pub amount: Money,
    /// The day on which it is said to have been paid.
    pub paid_on: NaiveDate,
}

/// What is known under each of these numbers of an account, in the order of number and kind.
pub async fn known_facts(
    tx: &mut Tx,
    account: &str,
    numbers: &[&str],
) -> Result<Vec<(String, KnownFact)>, StoreError> {
    let mut known = Vec::new();
    for chunk in numbers.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<(String, String, i64, String)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT external_no, kind, amount_minor, currency FROM money_facts WHERE account = ",
            );
            query.push_bind(account).push(
                " AND kind IN ('payout', 'offline_payment', 'deposit', 'return', 'bank_debit', 'bank_credit') \
                 AND external_no IN (",
            );
            let mut list = query.separated(", ");
            for number in chunk {
                list.push_bind(*number);
            }
            query.push(") ORDER BY external_no, kind");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for (number, kind, amount_minor, currency) in rows {
            let fact = KnownFact {
                kind: parse("kind", &kind)?,
                amount: Money::from_minor(amount_minor, parse("currency", &currency)?),
            };
            known.push((number, fact));
        }
    }
    Ok(known)
}

/// Up to `limit` orders to a bank that were written down before `before` and are still open, the oldest first.
pub async fn open_instructions(
    tx: &mut Tx,
    bank: &str,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<OpenInstruction>, StoreError> {
    let rows: Vec<(String, i64, String, Timestamp)> = on_both!(tx, Db, connection => {
        sqlx::query_as(OPEN_INSTRUCTIONS.text::<Db>())
            .bind(bank)
            .bind(Timestamp(before))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter()
        .map(|(id, amount_minor, currency, created_at)| {
            Ok(OpenInstruction {
                end_to_end_id: parse("end_to_end_id", &id)?,
                amount: Money::from_minor(amount_minor, parse("currency", &currency)?),
                created_at: created_at.0,
            })
        })
        .collect()
}

/// Up to `limit` payments outside of clearday that were paid by this bank up to a day and that no statement has shown,
/// the oldest first.
pub async fn offline_not_shown(
    tx: &mut Tx,
    bank: &str,
    until: NaiveDate,
    limit: usize,
) -> Result<Vec<OfflineNotShown>, StoreError> {
    let rows: Vec<(String, i64, String, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(OFFLINE_NOT_SHOWN.text::<Db>())
            .bind(bank)
            .bind(until.to_string())
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter()
        .map(|(bank_reference, amount_minor, currency, paid_on)| {
            Ok(OfflineNotShown {
                bank_reference,
                amount: Money::from_minor(amount_minor, parse("currency", &currency)?),
                paid_on: parse("paid_on", &paid_on)?,
            })
        })
        .collect()
}

/// Marks the orders that were reported as missing and are open no more; returns how many.
pub async fn vanish_answered(
    tx: &mut Tx,
    bank: &str,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query(VANISH_ANSWERED.text::<Db>())
            .bind(bank)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    }))
}

/// What our books say lies at a bank at the end of a day, in minor units.
pub async fn bank_balance_on(
    tx: &mut Tx,
    bank: &str,
    currency: &str,
    day: NaiveDate,
) -> Result<i64, StoreError> {
    let (debits, credits): (i64, i64) = on_both!(tx, Db, connection => {
        sqlx::query_as(BALANCE_ON.text::<Db>())
            .bind(Account::Bank.as_str())
            .bind(bank)
            .bind(currency)
            .bind(day.to_string())
            .fetch_one(connection)
            .await?
    });
    debits
        .checked_sub(credits)
        .ok_or_else(|| StoreError::corrupt("amount_minor", "the balance is out of range"))
}
