//! The ledger: entries with their postings, balances, and the facts they rest on.
//!
//! Entries are appended and never changed. The identity of an entry is unique, so an event that is
//! told twice is booked once; told with another content it is refused.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, Currency, JobId, MerchantId, Money};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::columns::{Column, Rows};
use super::jobs::{bound, parse};
use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};
use crate::clock::Ids;
use crate::domain::ledger::booking::KnownFact;
use crate::domain::ledger::{Account, Entry, Fact, FactKey, FactKind, Posting};

/// Entries per statement.
pub const CHUNK_ENTRIES_MAX: usize = 1_000;
/// Numbers of facts that one statement asks for.
const CHUNK_FACTS_MAX: usize = 1_000;

macro_rules! entry_columns {
    () => {
        "id, identity, event, accounting_on, merchant_id, subject, currency, postings_count, sha256, job_id, booked_at"
    };
}

macro_rules! fact_columns {
    () => {
        "account, kind, external_no, amount_minor, currency, occurred_at, source, evidence, entry_id, first_seen_at"
    };
}

statements! {
    BALANCE = "SELECT \
               (SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM postings \
                WHERE debit_account = $1 AND debit_owner = $2 AND currency = $3), \
               (SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM postings \
                WHERE credit_account = $1 AND credit_owner = $2 AND currency = $3)";
    /// Debits and credits are summed by their own indexes before they meet.
    BALANCES = "SELECT account, owner, currency, CAST(SUM(debits) AS BIGINT), CAST(SUM(credits) AS BIGINT) FROM ( \
                SELECT debit_account AS account, debit_owner AS owner, currency, SUM(amount_minor) AS debits, 0 AS credits \
                FROM postings GROUP BY debit_account, debit_owner, currency \
                UNION ALL \
                SELECT credit_account, credit_owner, currency, 0, SUM(amount_minor) \
                FROM postings GROUP BY credit_account, credit_owner, currency) AS sides \
                GROUP BY account, owner, currency ORDER BY account, owner, currency";
    RECENT = concat!("SELECT ", entry_columns!(), " FROM journal_entries WHERE id < $1 ORDER BY id DESC LIMIT $2");
    /// `0` is the sign after `/`.
    OF_SUBJECT = concat!("SELECT ", entry_columns!(), " FROM journal_entries \
                 WHERE identity >= $1 || '/' AND identity < $1 || '0' ORDER BY identity LIMIT $2");
    NOTE_FACT = "INSERT INTO money_facts (account, kind, external_no, amount_minor, currency, occurred_at, source, \
                 evidence, entry_id, first_seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                 ON CONFLICT (account, kind, external_no) DO NOTHING";
    FIND_FACT = concat!("SELECT ", fact_columns!(), " FROM money_facts \
                WHERE account = $1 AND kind = $2 AND external_no = $3");
    /// A fact is booked once.
    BOOK_FACT = "UPDATE money_facts SET entry_id = $4 \
                 WHERE account = $1 AND kind = $2 AND external_no = $3 AND entry_id IS NULL";
    BANK_DEBITS_OF = concat!("SELECT ", fact_columns!(), " FROM money_facts \
                     WHERE account = $1 AND kind = 'bank_debit' AND amount_minor = $2 AND currency = $3 \
                     ORDER BY first_seen_at DESC, external_no LIMIT $4");
    /// What a fact was booked as turned out otherwise.
    REBOOK_FACT = "UPDATE money_facts SET entry_id = $5 \
                   WHERE account = $1 AND kind = $2 AND external_no = $3 AND entry_id = $4";
    RECENT_FACTS = concat!("SELECT ", fact_columns!(), " FROM money_facts \
                   ORDER BY first_seen_at DESC, account, kind, external_no LIMIT $1");
}

/// On whose behalf entries are appended.
#[derive(Clone, Copy, Debug)]
pub struct JobContext {
    /// The job, if it is one.
    pub job_id: Option<JobId>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was written under this id.
    New(Uuid),
    /// It was there before, saying the same.
    Known(Uuid),
}

impl Appended {
    /// The id of the entry.
    pub const fn id(self) -> Uuid {
        match self {
            Self::New(id) | Self::Known(id) => id,
        }
    }
}

/// Appends entries with their postings; the answers are in their order.
///
/// # Errors
/// [`StoreError::LedgerConflict`] when one is booked already with another content.
pub async fn append(
    tx: &mut Tx,
    entries: &[Entry],
    on_behalf: JobContext,
    ids: &Ids,
    now: DateTime<Utc>,
) -> Result<Vec<Appended>, StoreError> {
    let entries: Vec<(JobContext, &Entry)> =
        entries.iter().map(|entry| (on_behalf, entry)).collect();
    append_each(tx, &entries, ids, now).await
}

/// Appends entries of several jobs with their postings; the answers are in their order.
///
/// # Errors
/// [`StoreError::LedgerConflict`] when one is booked already with another content.
pub async fn append_each(
    tx: &mut Tx,
    entries: &[(JobContext, &Entry)],
    ids: &Ids,
    now: DateTime<Utc>,
) -> Result<Vec<Appended>, StoreError> {
    let mut appended = Vec::with_capacity(entries.len());
    for chunk in entries.chunks(CHUNK_ENTRIES_MAX) {
        append_chunk(tx, chunk, ids, now, &mut appended).await?;
    }
    Ok(appended)
}

/// An entry with the id and the digest it is written under.
struct Sealed<'a> {
    id: Uuid,
    sha256: String,
    job_id: Option<JobId>,
    entry: &'a Entry,
}

async fn append_chunk(
    tx: &mut Tx,
    chunk: &[(JobContext, &Entry)],
    ids: &Ids,
    now: DateTime<Utc>,
    appended: &mut Vec<Appended>,
) -> Result<(), StoreError> {
    let sealed: Vec<Sealed<'_>> = chunk
        .iter()
        .map(|(on_behalf, entry)| Sealed {
            id: ids.uuid(),
            sha256: entry.sha256(),
            job_id: on_behalf.job_id,
            entry,
        })
        .collect();
    let inserted = insert_entries(tx, &sealed, now).await?;
    if u64::try_from(sealed.len()).is_ok_and(|wanted| wanted == inserted) {
        insert_postings(tx, &sealed).await?;
        appended.extend(sealed.iter().map(|it| Appended::New(it.id)));
        return Ok(());
    }
    let known = digests(tx, &sealed).await?;
    let mut new = Vec::new();
    for it in sealed {
        let identity = &it.entry.identity;
        match known.get(identity) {
            Some((id, _)) if *id == it.id => {
                appended.push(Appended::New(it.id));
                new.push(it);
            }
            Some((id, sha256)) if *sha256 == it.sha256 => appended.push(Appended::Known(*id)),
            Some(_) | None => return Err(StoreError::LedgerConflict(identity.clone())),
        }
    }
    insert_postings(tx, &new).await
}

/// Returns how many were not known.
async fn insert_entries(
    tx: &mut Tx,
    entries: &[Sealed<'_>],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    fn each<'a, T>(entries: &'a [Sealed<'a>], value: impl Fn(&'a Sealed<'a>) -> T) -> Vec<T> {
        entries.iter().map(value).collect()
    }
    let rows = Rows {
        before: concat!("INSERT INTO journal_entries (", entry_columns!(), ") "),
        columns: vec![
            Column::Uuids(each(entries, |it| it.id)),
            Column::Texts(each(entries, |it| it.entry.identity.as_str())),
            Column::Texts(each(entries, |it| it.entry.event.as_str())),
            Column::Owned(each(entries, |it| it.entry.accounting_on.to_string())),
            Column::OptionalTexts(each(entries, |it| {
                it.entry.merchant_id.as_ref().map(MerchantId::as_str)
            })),
            Column::Texts(each(entries, |it| it.entry.subject.as_str())),
            Column::Texts(each(entries, |it| it.entry.currency().code())),
            Column::Numbers(each(entries, |it| bound(it.entry.postings().len()))),
            Column::Texts(each(entries, |it| it.sha256.as_str())),
            Column::OptionalUuids(each(entries, |it| it.job_id.map(|id| id.0))),
            Column::Instants(each(entries, |_| now)),
        ],
        after: " ON CONFLICT (identity) DO NOTHING",
    };
    rows.execute(tx).await
}

async fn insert_postings(tx: &mut Tx, entries: &[Sealed<'_>]) -> Result<(), StoreError> {
    type Numbered<'a> = (Uuid, i64, &'a Posting);
    fn each<'a, T>(postings: &'a [Numbered<'a>], value: impl Fn(&'a Numbered<'a>) -> T) -> Vec<T> {
        postings.iter().map(value).collect()
    }
    let postings: Vec<Numbered<'_>> = entries
        .iter()
        .flat_map(|it| {
            let numbered = (1_i64..).zip(it.entry.postings());
            numbered.map(|(line, posting)| (it.id, line, posting))
        })
        .collect();
    let rows = Rows {
        before: "INSERT INTO postings (entry_id, line, debit_account, debit_owner, credit_account, credit_owner, amount_minor, \
               currency) ",
        columns: vec![
            Column::Uuids(each(&postings, |(entry_id, ..)| *entry_id)),
            Column::Numbers(each(&postings, |(_, line, _)| *line)),
            Column::Texts(each(&postings, |(.., it)| it.debit().account.as_str())),
            Column::Texts(each(&postings, |(.., it)| it.debit().owner.as_str())),
            Column::Texts(each(&postings, |(.., it)| it.credit().account.as_str())),
            Column::Texts(each(&postings, |(.., it)| it.credit().owner.as_str())),
            Column::Numbers(each(&postings, |(.., it)| it.amount().minor_units())),
            Column::Texts(each(&postings, |(.., it)| it.amount().currency().code())),
        ],
        after: "",
    };
    rows.execute(tx).await?;
    Ok(())
}

/// What is stored under the identities of these entries.
async fn digests(
    tx: &mut Tx,
    entries: &[Sealed<'_>],
) -> Result<HashMap<String, (Uuid, String)>, StoreError> {
    let rows: Vec<(String, Uuid, String)> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT identity, id, sha256 FROM journal_entries WHERE identity IN (",
        );
        let mut list = query.separated(", ");
        for sealed in entries {
            list.push_bind(sealed.entry.identity.as_str());
        }
        query.push(")");
        query.build_query_as().persistent(false).fetch_all(connection).await?
    });
    let by_identity = rows
        .into_iter()
        .map(|(identity, id, sha256)| (identity, (id, sha256)));
    Ok(by_identity.collect())
}

/// Debits minus credits of an account of an owner: what we have is positive, what we owe negative.
pub async fn balance(
    tx: &mut Tx,
    account: Account,
    owner: &str,
    currency: Currency,
) -> Result<i64, StoreError> {
    let (debits, credits): (i64, i64) = on_both!(tx, Db, connection => {
        sqlx::query_as(BALANCE.text::<Db>())
            .bind(account.as_str())
            .bind(owner)
            .bind(currency.code())
            .fetch_one(connection)
            .await?
    });
    difference(debits, credits)
}

/// What an account owes its owner: credits minus debits, for accounts of what we owe.
pub async fn owed(
    tx: &mut Tx,
    account: Account,
    owner: &str,
    currency: Currency,
) -> Result<Money, StoreError> {
    let balance = balance(tx, account, owner, currency).await?;
    let owed = difference(0, balance)?;
    Ok(Money::from_minor(owed, currency))
}

fn difference(debits: i64, credits: i64) -> Result<i64, StoreError> {
    debits
        .checked_sub(credits)
        .ok_or_else(|| StoreError::corrupt("amount_minor", "the balance is out of range"))
}

/// What stands on one account of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The account.
    pub account: Account,
    /// Whose.
    pub owner: String,
    /// Debits minus credits.
    pub balance: Money,
}

/// Every balance, those of zero too, by account, owner and currency.
pub async fn balances(tx: &mut Tx) -> Result<Vec<Balance>, StoreError> {
    let rows: Vec<(String, String, String, i64, i64)> = on_both!(tx, Db, connection => {
        sqlx::query_as(BALANCES.text::<Db>()).fetch_all(connection).await?
    });
    rows.into_iter()
        .map(|(account, owner, currency, debits, credits)| {
            let currency = parse("currency", &currency)?;
            Ok(Balance {
                account: parse("account", &account)?,
                owner,
                balance: Money::from_minor(difference(debits, credits)?, currency),
            })
        })
        .collect()
}

/// An entry as people see it.
#[derive(Clone, Debug)]
pub struct EntryView {
    /// Its id.
    pub id: Uuid,
    /// The same for the same event.
    pub identity: String,
    /// What happened.
    pub event: String,
    /// The day it counts for.
    pub accounting_on: String,
    /// The merchant it is about.
    pub merchant_id: Option<String>,
    /// What it is about.
    pub subject: String,
    /// The job that booked it.
    pub job_id: Option<JobId>,
    /// When.
    pub booked_at: DateTime<Utc>,
    /// Its postings, by line.
    pub postings: Vec<PostingView>,
}

/// A posting as people see it.
#[derive(Clone, Debug, FromRow)]
pub struct PostingView {
    /// The account that gets it.
    pub debit_account: String,
    /// Whose.
    pub debit_owner: String,
    /// The account that gives it.
    pub credit_account: String,
    /// Whose.
    pub credit_owner: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
}

/// The newest entries before `before`, the newest first.
pub async fn recent(
    tx: &mut Tx,
    before: Option<Uuid>,
    limit: usize,
) -> Result<Vec<EntryView>, StoreError> {
    let rows: Vec<EntryRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(RECENT.text::<Db>())
            .bind(before.unwrap_or(Uuid::max()))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    with_postings(tx, rows).await
}

/// What was booked about a subject, by identity.
pub async fn of_subject(
    tx: &mut Tx,
    subject: &str,
    limit: usize,
) -> Result<Vec<EntryView>, StoreError> {
    let rows: Vec<EntryRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_SUBJECT.text::<Db>())
            .bind(subject)
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    with_postings(tx, rows).await
}

#[derive(FromRow)]
struct EntryRow {
    id: Uuid,
    identity: String,
    event: String,
    accounting_on: String,
    merchant_id: Option<String>,
    subject: String,
    job_id: Option<Uuid>,
    booked_at: Timestamp,
}

#[derive(FromRow)]
struct PostingRow {
    entry_id: Uuid,
    #[sqlx(flatten)]
    posting: PostingView,
}

async fn with_postings(tx: &mut Tx, rows: Vec<EntryRow>) -> Result<Vec<EntryView>, StoreError> {
    let mut by_entry: HashMap<Uuid, Vec<PostingView>> = HashMap::new();
    for chunk in rows.chunks(CHUNK_ENTRIES_MAX) {
        let postings: Vec<PostingRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT entry_id, debit_account, debit_owner, credit_account, credit_owner, amount_minor, currency \
                 FROM postings WHERE entry_id IN (",
            );
            let mut list = query.separated(", ");
            for row in chunk {
                list.push_bind(row.id);
            }
            query.push(") ORDER BY entry_id, line");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for row in postings {
            by_entry.entry(row.entry_id).or_default().push(row.posting);
        }
    }
    let entries = rows.into_iter().map(|row| EntryView {
        postings: by_entry.remove(&row.id).unwrap_or_default(),
        id: row.id,
        identity: row.identity,
        event: row.event,
        accounting_on: row.accounting_on,
        merchant_id: row.merchant_id,
        subject: row.subject,
        job_id: row.job_id.map(JobId),
        booked_at: row.booked_at.0,
    });
    Ok(entries.collect())
}

/// What is known of a fact that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactOutcome {
    /// It is news.
    New,
    /// It was known, and booked in this entry if there is one.
    Same(Option<Uuid>),
    /// It was known with another amount.
    Differs,
}

/// Writes a fact down with the entry that books it, if it is not known.
///
/// A known fact stays as it was told first, also when it was not booked yet: [`book_fact`] does that.
pub async fn note_fact(
    tx: &mut Tx,
    fact: &Fact,
    entry_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<FactOutcome, StoreError> {
    let inserted = on_both!(tx, Db, connection => {
        sqlx::query(NOTE_FACT.text::<Db>())
            .bind(fact.key.account.as_str())
            .bind(fact.key.kind.as_str())
            .bind(fact.key.external_no.as_str())
            .bind(fact.amount.minor_units())
            .bind(fact.amount.currency().code())
            .bind(Timestamp(fact.occurred_at))
            .bind(fact.source.as_str())
            .bind(fact.evidence.as_str())
            .bind(entry_id)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    if inserted == 1 {
        return Ok(FactOutcome::New);
    }
    let known = find_fact(tx, &fact.key)
        .await?
        .ok_or_else(|| StoreError::corrupt("external_no", "a fact vanished"))?;
    Ok(if known.amount == fact.amount {
        FactOutcome::Same(known.entry_id)
    } else {
        FactOutcome::Differs
    })
}

/// Names the entry that books a known fact; `false` when it is booked already, or not known.
pub async fn book_fact(tx: &mut Tx, key: &FactKey, entry_id: Uuid) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(BOOK_FACT.text::<Db>())
            .bind(key.account.as_str())
            .bind(key.kind.as_str())
            .bind(key.external_no.as_str())
            .bind(entry_id)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Names another entry for a booked fact, because what it was booked as turned out otherwise; `false` when it is not
/// booked so.
pub async fn rebook_fact(
    tx: &mut Tx,
    key: &FactKey,
    (from, to): (Uuid, Uuid),
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(REBOOK_FACT.text::<Db>())
            .bind(key.account.as_str())
            .bind(key.kind.as_str())
            .bind(key.external_no.as_str())
            .bind(from)
            .bind(to)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// What is known of the facts with these numbers, by number.
pub async fn known_facts(
    tx: &mut Tx,
    account: &str,
    kind: FactKind,
    numbers: &[&str],
) -> Result<Vec<(String, KnownFact)>, StoreError> {
    let mut known = Vec::new();
    for chunk in numbers.chunks(CHUNK_FACTS_MAX) {
        let rows: Vec<KnownFactRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT external_no, amount_minor, currency, source, entry_id FROM money_facts WHERE account = ",
            );
            query.push_bind(account).push(" AND kind = ").push_bind(kind.as_str());
            query.push(" AND external_no IN (");
            let mut list = query.separated(", ");
            for number in chunk {
                list.push_bind(*number);
            }
            query.push(")");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for row in rows {
            let fact = KnownFact {
                amount: Money::from_minor(row.amount_minor, parse("currency", &row.currency)?),
                source: parse("source", &row.source)?,
                is_booked: row.entry_id.is_some(),
            };
            known.push((row.external_no, fact));
        }
    }
    Ok(known)
}

#[derive(FromRow)]
struct KnownFactRow {
    external_no: String,
    amount_minor: i64,
    currency: String,
    source: String,
    entry_id: Option<Uuid>,
}

/// Writes facts down with the entries that book them, and books those that were known without an
/// entry; returns how many, which is all of them unless somebody else was faster. Each is there once.
pub async fn book_facts(
    tx: &mut Tx,
    facts: &[(&Fact, Option<Uuid>)],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    type Booked<'a> = (&'a Fact, Option<Uuid>);
    fn each<'a, T>(facts: &'a [Booked<'a>], value: impl Fn(&'a Booked<'a>) -> T) -> Vec<T> {
        facts.iter().map(value).collect()
    }
    let rows = Rows {
        before: concat!("INSERT INTO money_facts (", fact_columns!(), ") "),
        columns: vec![
            Column::Texts(each(facts, |(fact, _)| fact.key.account.as_str())),
            Column::Texts(each(facts, |(fact, _)| fact.key.kind.as_str())),
            Column::Texts(each(facts, |(fact, _)| fact.key.external_no.as_str())),
            Column::Numbers(each(facts, |(fact, _)| fact.amount.minor_units())),
            Column::Texts(each(facts, |(fact, _)| fact.amount.currency().code())),
            Column::Instants(each(facts, |(fact, _)| fact.occurred_at)),
            Column::Texts(each(facts, |(fact, _)| fact.source.as_str())),
            Column::Texts(each(facts, |(fact, _)| fact.evidence.as_str())),
            Column::OptionalUuids(each(facts, |(_, entry_id)| *entry_id)),
            Column::Instants(each(facts, |_| now)),
        ],
        after: " ON CONFLICT (account, kind, external_no) DO UPDATE SET entry_id = excluded.entry_id \
               WHERE money_facts.entry_id IS NULL AND money_facts.source <> 'record' \
               AND money_facts.amount_minor = excluded.amount_minor AND money_facts.currency = excluded.currency",
    };
    rows.execute(tx).await
}

/// A fact as it is kept.
#[derive(Clone, Debug)]
pub struct FactView {
    /// What makes it one.
    pub key: FactKey,
    /// How much.
    pub amount: Money,
    /// When, by whoever told it.
    pub occurred_at: DateTime<Utc>,
    /// Who told it first.
    pub source: String,
    /// Its words, or what holds them.
    pub evidence: String,
    /// The entry that books it.
    pub entry_id: Option<Uuid>,
    /// When we heard of it.
    pub first_seen_at: DateTime<Utc>,
}

/// The fact, if it is known.
pub async fn find_fact(tx: &mut Tx, key: &FactKey) -> Result<Option<FactView>, StoreError> {
    let row: Option<FactRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND_FACT.text::<Db>())
            .bind(key.account.as_str())
            .bind(key.kind.as_str())
            .bind(key.external_no.as_str())
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Up to `limit` debits of a bank of this amount that nobody could explain when they came, the newest first.
pub async fn bank_debits_of(
    tx: &mut Tx,
    bank: &ChannelName,
    amount: Money,
    limit: usize,
) -> Result<Vec<FactView>, StoreError> {
    let rows: Vec<FactRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(BANK_DEBITS_OF.text::<Db>())
            .bind(bank.as_str())
            .bind(amount.minor_units())
            .bind(amount.currency().code())
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The newest facts, the newest first.
pub async fn recent_facts(tx: &mut Tx, limit: usize) -> Result<Vec<FactView>, StoreError> {
    let rows: Vec<FactRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(RECENT_FACTS.text::<Db>()).bind(bound(limit)).fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

#[derive(FromRow)]
struct FactRow {
    account: String,
    kind: String,
    external_no: String,
    amount_minor: i64,
    currency: String,
    occurred_at: Timestamp,
    source: String,
    evidence: String,
    entry_id: Option<Uuid>,
    first_seen_at: Timestamp,
}

impl TryFrom<FactRow> for FactView {
    type Error = StoreError;

    fn try_from(row: FactRow) -> Result<Self, StoreError> {
        let currency = parse("currency", &row.currency)?;
        Ok(Self {
            key: FactKey {
                account: parse("account", &row.account)?,
                kind: parse("kind", &row.kind)?,
                external_no: row.external_no,
            },
            amount: Money::from_minor(row.amount_minor, currency),
            occurred_at: row.occurred_at.0,
            source: row.source,
            evidence: row.evidence,
            entry_id: row.entry_id,
            first_seen_at: row.first_seen_at.0,
        })
    }
}
