//! What `clearday verify` reads of money: entries, records and facts, page by page and as they are stored.
//!
//! Nothing here believes what it reads: texts stay texts until a check has looked at them.

use std::collections::HashMap;

use clearday_jobs::Money;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::{bound, parse};
use super::records::RecordRow;
use super::statement::statements;
use super::{StoreError, Tx, on_both};
use crate::domain::ledger::Booking;
use crate::domain::record::{Record, RecordKind};

/// Rows per page.
pub const PAGE: usize = 2_000;

statements! {
    ENTRIES = "SELECT id, identity, event, accounting_on, merchant_id, subject, currency, postings_count, sha256 \
               FROM journal_entries WHERE id > $1 ORDER BY id LIMIT $2";
    /// Those of no entry, too, where they lie between two.
    POSTINGS = "SELECT entry_id, line, debit_account, debit_owner, credit_account, credit_owner, amount_minor, currency \
                FROM postings WHERE entry_id > $1 AND entry_id <= $2 ORDER BY entry_id, line";
    RECORDS = "SELECT r.kind, r.record_no, r.channel, r.channel_trade_no, r.merchant_id, r.amount_minor, r.currency, \
               r.fee_minor, r.status, r.occurred_at, r.original_record_no, r.coupon_minor, r.coupon_funder, r.booking, \
               r.booked_entry_id, r.booked_fee_minor, r.fee_entries, r.settlement_id, \
               i.settlement_id AS item_settlement_id, i.amount_minor AS item_minor, i.credit_minor \
               FROM records r LEFT JOIN settlement_items i ON i.kind = r.kind AND i.record_no = r.record_no \
               WHERE r.kind = $1 AND r.record_no > $2 ORDER BY r.record_no LIMIT $3";
    FACTS = "SELECT f.account, f.kind, f.external_no, f.amount_minor, f.currency, f.source, f.evidence, f.entry_id, \
             j.event, j.merchant_id, \
             (SELECT CAST(SUM(p.amount_minor) AS BIGINT) FROM postings p WHERE p.entry_id = j.id) AS posted_minor \
             FROM money_facts f LEFT JOIN journal_entries j ON j.id = f.entry_id \
             WHERE (f.account, f.kind, f.external_no) > ($1, $2, $3) \
             ORDER BY f.account, f.kind, f.external_no LIMIT $4";
}

/// An entry as it is stored.
#[derive(Clone, Debug, FromRow)]
pub struct StoredEntry {
    /// Its id.
    pub id: Uuid,
    /// Its identity.
    pub identity: String,
    /// What happened.
    pub event: String,
    /// The day it counts for.
    pub accounting_on: String,
    /// The merchant.
    pub merchant_id: Option<String>,
    /// What it is about.
    pub subject: String,
    /// The currency.
    pub currency: String,
    /// How many postings it was written with.
    pub postings_count: i64,
    /// The digest it was sealed with.
    pub sha256: String,
}

/// A posting as it is stored.
#[derive(Clone, Debug, FromRow)]
pub struct StoredPosting {
    /// Of which entry.
    pub entry_id: Uuid,
    /// Its number.
    pub line: i64,
    /// The account that gets it.
    pub debit_account: String,
    /// Whose.
    pub debit_owner: String,
    /// The account that gives it.
    pub credit_account: String,
    /// Whose.
    pub credit_owner: String,
    /// How much.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
}

/// The next page of entries after an id, and every posting with an id up to the last of them; the
/// last page has no entries, and the postings after them.
pub async fn entries(
    tx: &mut Tx,
    after: Uuid,
) -> Result<(Vec<StoredEntry>, Vec<StoredPosting>), StoreError> {
    let entries: Vec<StoredEntry> = on_both!(tx, Db, connection => {
        sqlx::query_as(ENTRIES.text::<Db>())
            .bind(after)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    });
    let until = entries.last().map_or(Uuid::max(), |last| last.id);
    let postings = on_both!(tx, Db, connection => {
        sqlx::query_as(POSTINGS.text::<Db>())
            .bind(after)
            .bind(until)
            .fetch_all(connection)
            .await?
    });
    Ok((entries, postings))
}

/// A record, and how it says that it stands in the ledger.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// By which rule it is booked.
    pub booking: Option<Booking>,
    /// The entry.
    pub booked_entry_id: Option<Uuid>,
    /// The channel's fee that is booked.
    pub booked_fee: Option<Money>,
    /// In how many entries.
    pub fee_entries: i64,
    /// The settlement it says that it is in.
    pub settlement_id: Option<Uuid>,
    /// The item that settles it.
    pub item: Option<StoredItem>,
}

/// What a settlement says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// The settlement.
    pub settlement_id: Uuid,
    /// The amount of the record.
    pub amount_minor: i64,
    /// What it moves.
    pub credit_minor: i64,
}

/// The next page of records of a kind after a number.
pub async fn records(
    tx: &mut Tx,
    kind: RecordKind,
    after: &str,
) -> Result<Vec<StoredRecord>, StoreError> {
    let rows: Vec<StoredRecordRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(RECORDS.text::<Db>())
            .bind(kind.as_str())
            .bind(after)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The digests that these entries were sealed with.
pub async fn seals(tx: &mut Tx, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String)> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("SELECT id, sha256 FROM journal_entries WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().persistent(false).fetch_all(connection).await?
    });
    Ok(rows.into_iter().collect())
}

/// The fee entries with these identities: by subject, how many there are and what they charge together.
pub async fn fees(
    tx: &mut Tx,
    identities: &[String],
) -> Result<HashMap<String, (i64, i64)>, StoreError> {
    let mut found: HashMap<String, (i64, i64)> = HashMap::new();
    for chunk in identities.chunks(PAGE) {
        let rows: Vec<(String, i64)> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT j.subject, CAST(COALESCE(SUM(CASE WHEN p.debit_account = 'channel_fee' THEN p.amount_minor \
                 ELSE -p.amount_minor END), 0) AS BIGINT) FROM journal_entries j \
                 JOIN postings p ON p.entry_id = j.id WHERE j.identity IN (",
            );
            let mut list = query.separated(", ");
            for identity in chunk {
                list.push_bind(identity.as_str());
            }
            query.push(") GROUP BY j.id, j.subject");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for (subject, charged) in rows {
            let sum = found.entry(subject).or_default();
            *sum = (sum.0.saturating_add(1), sum.1.saturating_add(charged));
        }
    }
    Ok(found)
}

/// A fact as it is stored, with the entry that books it.
#[derive(Clone, Debug, FromRow)]
pub struct StoredFact {
    /// Who knows it.
    pub account: String,
    /// What kind of money moved.
    pub kind: String,
    /// Its number there.
    pub external_no: String,
    /// How much.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
    /// Who told it first.
    pub source: String,
    /// Its words, or what holds them.
    pub evidence: String,
    /// The entry that books it.
    pub entry_id: Option<Uuid>,
    /// What that entry says happened; none when it is not there.
    pub event: Option<String>,
    /// The merchant it is about.
    pub merchant_id: Option<String>,
    /// The sum of its postings.
    pub posted_minor: Option<i64>,
}

/// The next page of facts after a key.
pub async fn facts(tx: &mut Tx, after: Option<&StoredFact>) -> Result<Vec<StoredFact>, StoreError> {
    let (account, kind, external_no) = after.map_or(("", "", ""), |fact| {
        (
            fact.account.as_str(),
            fact.kind.as_str(),
            fact.external_no.as_str(),
        )
    });
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(FACTS.text::<Db>())
            .bind(account)
            .bind(kind)
            .bind(external_no)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    }))
}

#[derive(FromRow)]
struct StoredRecordRow {
    #[sqlx(flatten)]
    record: RecordRow,
    booking: Option<String>,
    booked_entry_id: Option<Uuid>,
    booked_fee_minor: Option<i64>,
    fee_entries: i64,
    settlement_id: Option<Uuid>,
    item_settlement_id: Option<Uuid>,
    item_minor: Option<i64>,
    credit_minor: Option<i64>,
}

impl TryFrom<StoredRecordRow> for StoredRecord {
    type Error = StoreError;

    fn try_from(row: StoredRecordRow) -> Result<Self, StoreError> {
        let record: Record = row.record.try_into()?;
        let currency = record.amount.currency();
        let booking = match row.booking {
            None => None,
            Some(booking) => Some(parse("booking", &booking)?),
        };
        let item = match (row.item_settlement_id, row.item_minor, row.credit_minor) {
            (Some(settlement_id), Some(amount_minor), Some(credit_minor)) => Some(StoredItem {
                settlement_id,
                amount_minor,
                credit_minor,
            }),
            _ => None,
        };
        Ok(Self {
            record,
            booking,
            booked_entry_id: row.booked_entry_id,
            booked_fee: row
                .booked_fee_minor
                .map(|minor_units| Money::from_minor(minor_units, currency)),
            fee_entries: row.fee_entries,
            settlement_id: row.settlement_id,
            item,
        })
    }
}
