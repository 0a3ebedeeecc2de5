//! Brings records into the ledger, before anything is decided on what they say.
//!
//! In chunks, each a transaction of its own: the entries of payments and refunds, the channel's
//! fees, the facts they rest on, and how each record stands from then on. A record whose money is booked otherwise is
//! not booked again; it is named, and stays visible as such.

use std::collections::{HashMap, HashSet};
use std::fmt;

use chrono::NaiveDate;
use clearday_jobs::{ChannelName, MerchantId, Reference};
use tracing::warn;
use uuid::Uuid;

use crate::domain::china::china_day;
use crate::domain::ledger::booking::{
    Bookable, KnownFact, RecordBooking, decide_booking, fact_keys, fee_of,
};
use crate::domain::ledger::{Booking, Entry, Fact, FactKey, FactKind, LedgerError};
use crate::domain::record::RecordKind;
use crate::engine::{Run, RunTx, Weakness, WorkError};
use crate::store::bookings::{self, Booked, CHUNK_BOOKINGS_MAX};
use crate::store::ledger::{self, Appended, JobContext};

/// So many are named; the others are counted.
const NAMED_MAX: usize = 20;

/// What was booked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BookedRecords {
    /// Records that are settled with the ledger from now on.
    pub(super) records: u64,
    /// Corrections of fees.
    pub(super) fees: u64,
    /// Records whose money is booked otherwise: how many, and the first of them by name.
    pub(super) elsewhere: u64,
    /// At most [`NAMED_MAX`].
    pub(super) named: Vec<String>,
}

/// Books every record that succeeded and is not booked, and every fee that was corrected since.
pub(super) async fn book_records(run: &Run) -> Result<BookedRecords, WorkError> {
    let mut booked = BookedRecords::default();
    // Payments first: a refund goes by the rule of its payment.
    for kind in RecordKind::ALL {
        book_all_of(run, *kind, &mut booked).await?;
        correct_fees(run, *kind, &mut booked).await?;
    }
    if booked.elsewhere > 0 {
        warn!(records.elsewhere = booked.elsewhere, named = ?booked.named, "Did not book {} records whose money is booked otherwise", booked.elsewhere);
    }
    Ok(booked)
}

async fn book_all_of(
    run: &Run,
    kind: RecordKind,
    booked: &mut BookedRecords,
) -> Result<(), WorkError> {
    let mut after: Option<Reference> = None;
    loop {
        let mut tx = run.begin().await?;
        let limit = CHUNK_BOOKINGS_MAX;
        let chunk = bookings::lock_unbooked(&mut tx, kind, after.as_ref(), limit).await?;
        let Some(last) = chunk.last().map(|last| last.record.record_no.clone()) else {
            // Somebody else may have booked what we waited for, with more behind it.
            if after.is_none() && !bookings::any_unbooked(&mut tx, kind).await? {
                return Ok(());
            }
            after = None;
            continue;
        };
        book_chunk(run, &mut tx, &chunk, booked).await?;
        run.checkpoint(tx).await?;
        after = Some(last);
    }
}

async fn book_chunk(
    run: &Run,
    tx: &mut RunTx,
    chunk: &[Bookable],
    booked: &mut BookedRecords,
) -> Result<(), WorkError> {
    let rules = rules(tx, chunk).await?;
    let mut known = known_facts(tx, chunk).await?;
    let mut decided: Vec<RecordBooking> = Vec::with_capacity(chunk.len());
    for it in chunk {
        let rule = rules.get(&it.record.merchant_id).copied();
        let rule = rule.unwrap_or(Booking::ByFunder);
        let is_known = |key: &FactKey| {
            let known = known.get(key).copied();
            known.filter(|_| !run.engine().lacks(Weakness::UniqueFact))
        };
        let mut told =
            decide_booking(it, rule, is_known).map_err(|error| unbookable(it, &error))?;
        if let Some(fact) = &mut told.fact
            && run.engine().lacks(Weakness::UniqueFact)
        {
            let own = format!("{} of {}", fact.key.external_no, it.record.record_no);
            fact.key.external_no = own;
        }
        if let Some(fact) = &told.fact {
            known.insert(fact.key.clone(), now_known(fact));
        }
        decided.push(told);
    }
    let entries = append_all(run, tx, &decided).await?;
    let facts: Vec<(&Fact, Option<Uuid>)> = decided
        .iter()
        .zip(&entries)
        .filter_map(|(told, entry)| Some((told.fact.as_ref()?, *entry)))
        .collect();
    expect_all(
        ledger::book_facts(tx, &facts, run.now()).await?,
        facts.len(),
    )?;
    let marks: Vec<Booked<'_>> = chunk
        .iter()
        .zip(&decided)
        .zip(&entries)
        .map(|((it, told), entry)| mark(it, told, *entry))
        .collect();
    expect_all(bookings::mark_booked(tx, &marks).await?, marks.len())?;
    booked.count(chunk, &decided);
    Ok(())
}

/// The rules of the merchants of these records; of those who are not known there are none.
async fn rules(
    tx: &mut RunTx,
    chunk: &[Bookable],
) -> Result<HashMap<MerchantId, Booking>, WorkError> {
    let merchants: HashSet<&MerchantId> = chunk.iter().map(|it| &it.record.merchant_id).collect();
    let merchants: Vec<&MerchantId> = merchants.into_iter().collect();
    let rules = bookings::rules_of(tx, &merchants).await?;
    Ok(rules.into_iter().collect())
}

/// What the books know of the money of these records.
async fn known_facts(
    tx: &mut RunTx,
    chunk: &[Bookable],
) -> Result<HashMap<FactKey, KnownFact>, WorkError> {
    let keys: Vec<FactKey> = chunk.iter().flat_map(fact_keys).collect();
    let mut by_account: HashMap<(&ChannelName, FactKind), HashSet<&str>> = HashMap::new();
    for key in &keys {
        let numbers = by_account.entry((&key.account, key.kind)).or_default();
        numbers.insert(&key.external_no);
    }
    let mut known = HashMap::new();
    for ((account, kind), numbers) in by_account {
        let numbers: Vec<&str> = numbers.into_iter().collect();
        for (external_no, fact) in ledger::known_facts(tx, account.as_str(), kind, &numbers).await?
        {
            let key = FactKey {
                account: account.clone(),
                kind,
                external_no,
            };
            known.insert(key, fact);
        }
    }
    Ok(known)
}

/// What a record of the same chunk must know of the one before it.
fn now_known(fact: &Fact) -> KnownFact {
    KnownFact {
        amount: fact.amount,
        source: fact.source,
        is_booked: true,
    }
}

/// Appends every entry; the answer has the one of each record, without those of fees.
async fn append_all(
    run: &Run,
    tx: &mut RunTx,
    decided: &[RecordBooking],
) -> Result<Vec<Option<Uuid>>, WorkError> {
    let entries: Vec<Entry> = decided
        .iter()
        .flat_map(|told| told.entry.iter().chain(&told.fee))
        .cloned()
        .collect();
    let mut appended = append(run, tx, &entries).await?.into_iter();
    let ids = decided.iter().map(|told| {
        let entry = told.entry.as_ref().and_then(|_| appended.next());
        if told.fee.is_some() {
            appended.next();
        }
        entry
    });
    Ok(ids.collect())
}

async fn append(run: &Run, tx: &mut RunTx, entries: &[Entry]) -> Result<Vec<Uuid>, WorkError> {
    let on_behalf = JobContext {
        job_id: Some(run.job().id),
    };
    let ids = run.engine().ids();
    let appended = ledger::append(tx, entries, on_behalf, ids, run.now()).await?;
    Ok(appended.into_iter().map(Appended::id).collect())
}

fn mark<'a>(it: &'a Bookable, told: &RecordBooking, entry_id: Option<Uuid>) -> Booked<'a> {
    let takes_fees = match told.booking {
        Booking::ByFunder | Booking::CouponExcluded => true,
        Booking::Direct | Booking::Elsewhere => false,
    };
    Booked {
        record: &it.record,
        booking: told.booking,
        // What is booked elsewhere is so by its fact.
        entry_id: entry_id.filter(|_| takes_fees),
        fee: takes_fees.then_some(it.record.fee),
        fee_entries: after_fee(it, told.fee.as_ref()),
    }
}

fn after_fee(it: &Bookable, fee: Option<&Entry>) -> i64 {
    it.fee_entries.saturating_add(i64::from(fee.is_some()))
}

/// Books what a later import corrected, as the difference, on the day it became known.
async fn correct_fees(
    run: &Run,
    kind: RecordKind,
    booked: &mut BookedRecords,
) -> Result<(), WorkError> {
    let mut after: Option<Reference> = None;
    loop {
        let mut tx = run.begin().await?;
        let limit = CHUNK_BOOKINGS_MAX;
        let chunk = bookings::lock_fee_changed(&mut tx, kind, after.as_ref(), limit).await?;
        let Some(last) = chunk.last().map(|last| last.record.record_no.clone()) else {
            return Ok(());
        };
        let corrected = correct_chunk(run, &mut tx, &chunk).await?;
        run.checkpoint(tx).await?;
        booked.fees = booked.fees.saturating_add(corrected);
        after = Some(last);
    }
}

async fn correct_chunk(run: &Run, tx: &mut RunTx, chunk: &[Bookable]) -> Result<u64, WorkError> {
    let today: NaiveDate = china_day(&run.now());
    let mut entries = Vec::with_capacity(chunk.len());
    for it in chunk {
        let fee = fee_of(it, today).map_err(|error| unbookable(it, &error))?;
        entries.extend(fee);
    }
    append(run, tx, &entries).await?;
    bookings::mark_fees(tx, chunk).await.map_err(Into::into)
}

/// A record that the import would have refused.
fn unbookable(it: &Bookable, error: &LedgerError) -> WorkError {
    let (kind, number) = (it.record.kind, &it.record.record_no);
    WorkError::Invalid(format!("{kind} {number} cannot be booked: {error}"))
}

fn expect_all(done: u64, wanted: usize) -> Result<(), WorkError> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == done) {
        Ok(())
    } else {
        Err(WorkError::LostRace("a record's money".to_owned()))
    }
}

/// What a person must look at, for the end of a note; nothing when all is well.
impl fmt::Display for BookedRecords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.elsewhere == 0 {
            return Ok(());
        }
        let more = if usize::try_from(self.elsewhere).is_ok_and(|all| all == self.named.len()) {
            ""
        } else {
            ", …"
        };
        let (count, named) = (self.elsewhere, self.named.join(", "));
        write!(
            formatter,
            "; {count} not booked, their money is in the books otherwise: {named}{more}"
        )
    }
}

impl BookedRecords {
    fn count(&mut self, chunk: &[Bookable], decided: &[RecordBooking]) {
        for (it, told) in chunk.iter().zip(decided) {
            match told.booking {
                Booking::ByFunder | Booking::CouponExcluded | Booking::Direct => {
                    self.records = self.records.saturating_add(1);
                }
                Booking::Elsewhere => {
                    self.elsewhere = self.elsewhere.saturating_add(1);
                    if self.named.len() < NAMED_MAX {
                        let (kind, number) = (it.record.kind, &it.record.record_no);
                        self.named.push(format!("{kind} {number}"));
                    }
                }
            }
        }
    }
}
