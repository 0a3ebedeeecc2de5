//! Every record that is booked is booked as it says: its entry is made anew and compared.

use std::collections::HashMap;

use uuid::Uuid;

use super::books::Books;
use super::findings::Findings;
use crate::domain::ledger::booking::entry_of;
use crate::domain::ledger::events::{merchant_share, record_subject, through_channel};
use crate::domain::ledger::{Booking, EntryEvent};
use crate::domain::record::{Record, RecordKind, RecordStatus};
use crate::store::verify_money::{StoredRecord, fees, records, seals};
use crate::store::{StoreError, Tx};

/// What was booked about the records of one page.
struct Booked {
    seals: HashMap<Uuid, String>,
    fees: HashMap<String, (i64, i64)>,
}

pub(super) async fn check(tx: &mut Tx, books: &mut Books) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("records");
    for kind in RecordKind::ALL {
        let mut after = String::new();
        loop {
            let page = records(tx, *kind, &after).await?;
            let Some(last) = page.last() else { break };
            after = last.record.record_no.to_string();
            let booked = read_booked(tx, &page).await?;
            for stored in &page {
                check_record(stored, &booked, books, &mut findings);
            }
        }
    }
    check_counts(books, &mut findings);
    Ok(findings)
}

async fn read_booked(tx: &mut Tx, page: &[StoredRecord]) -> Result<Booked, StoreError> {
    let ids: Vec<Uuid> = page.iter().filter_map(|it| it.booked_entry_id).collect();
    let fee_identities: Vec<String> = page.iter().flat_map(fee_identities).collect();
    Ok(Booked {
        seals: seals(tx, &ids).await?,
        fees: fees(tx, &fee_identities).await?,
    })
}

fn fee_identities(stored: &StoredRecord) -> impl Iterator<Item = String> {
    let subject = record_subject(stored.record.kind, &stored.record.record_no);
    let event = EntryEvent::ChannelFee;
    (1..=stored.fee_entries).map(move |number| format!("{subject}/{event}/{number}"))
}

fn check_record(
    stored: &StoredRecord,
    booked: &Booked,
    books: &mut Books,
    findings: &mut Findings,
) {
    findings.look();
    let record = &stored.record;
    let subject = record_subject(record.kind, &record.record_no);
    let has_fee = stored.booked_fee.is_some() || stored.fee_entries != 0;
    match stored.booking {
        Some(booking @ (Booking::ByFunder | Booking::CouponExcluded)) => {
            let is_succeeded = record.status == RecordStatus::Succeeded;
            findings.expect(is_succeeded, || {
                format!("{subject} is booked and {}", record.status)
            });
            check_entry(stored, booking, &subject, booked, findings);
            check_fee(stored, &subject, booked, findings);
            add_up(stored, booking, books);
        }
        Some(Booking::Direct | Booking::Elsewhere) | None => {
            let has_entry = stored.booked_entry_id.is_some();
            findings.expect(!has_entry && !has_fee, || {
                format!("{subject} names entries and is not booked")
            });
        }
    }
    check_item(stored, &subject, books, findings);
}

fn check_entry(
    stored: &StoredRecord,
    booking: Booking,
    subject: &str,
    booked: &Booked,
    findings: &mut Findings,
) {
    let expected = match entry_of(&stored.record, booking) {
        Ok(entry) => entry.map(|entry| entry.sha256()),
        Err(error) => {
            findings.wrong(format!("{subject} cannot be booked: {error}"));
            return;
        }
    };
    let found = stored.booked_entry_id.map(|id| booked.seals.get(&id));
    match (expected, found) {
        (None, None) => {}
        (Some(expected), Some(Some(found))) if expected == *found => {}
        (_, Some(None)) => findings.wrong(format!("the entry of {subject} is gone")),
        (Some(_), Some(Some(_))) => {
            findings.wrong(format!("{subject} says something else than its entry"));
        }
        (Some(_), None) => findings.wrong(format!("{subject} is booked without an entry")),
        (None, Some(Some(_))) => findings.wrong(format!("{subject} has nothing to book")),
    }
}

fn check_fee(stored: &StoredRecord, subject: &str, booked: &Booked, findings: &mut Findings) {
    let (count, charged) = booked.fees.get(subject).copied().unwrap_or_default();
    let told = stored
        .booked_fee
        .map_or(0, clearday_jobs::Money::minor_units);
    findings.expect(count == stored.fee_entries && charged == told, || {
        format!(
            "{subject} has {} fee entries of {told} together, and {count} of {charged} are booked",
            stored.fee_entries
        )
    });
}

fn add_up(stored: &StoredRecord, booking: Booking, books: &mut Books) {
    let record = &stored.record;
    let (merchant, channel) = (record.merchant_id.as_str(), record.channel.as_str());
    if let Some(id) = stored.booked_entry_id {
        books.booked_records.add(id);
    }
    let fee_entries = u64::try_from(stored.fee_entries).unwrap_or_default();
    books.fee_entries = books.fee_entries.saturating_add(fee_entries);
    // What cannot be computed is a finding already.
    if let Ok(share) = merchant_share(record, booking) {
        match record.kind {
            RecordKind::Payment => books.captured.add_money(merchant, share),
            RecordKind::Refund => books.refunded.add_money(merchant, share),
        }
    }
    if let Ok(amount) = through_channel(record, booking) {
        match record.kind {
            RecordKind::Payment => books.through_channel.add_money(channel, amount),
            RecordKind::Refund => books.through_channel.take_money(channel, amount),
        }
    }
    if let Some(fee) = stored.booked_fee {
        books.through_channel.take_money(channel, fee);
    }
}

/// A record is in the settlement that has it as an item, which moves what the record is worth.
fn check_item(stored: &StoredRecord, subject: &str, books: &mut Books, findings: &mut Findings) {
    let Some(item) = stored.item else {
        findings.expect(stored.settlement_id.is_none(), || {
            format!("{subject} is settled, and no settlement has it")
        });
        return;
    };
    books.settled_records = books.settled_records.saturating_add(1);
    findings.expect(stored.settlement_id == Some(item.settlement_id), || {
        format!(
            "{subject} is an item of settlement {}, and does not say so",
            item.settlement_id
        )
    });
    findings.expect(item.credit_minor == worth(stored), || {
        format!(
            "{subject} moves {} in its settlement, and is worth {}",
            item.credit_minor,
            worth(stored)
        )
    });
    let amount = stored.record.amount.minor_units();
    findings.expect(item.amount_minor == amount, || {
        format!(
            "{subject} has the amount {} in its settlement, and {amount} itself",
            item.amount_minor
        )
    });
}

/// What a record moves: below zero for a refund.
fn worth(stored: &StoredRecord) -> i64 {
    let record: &Record = &stored.record;
    let share = stored
        .booking
        .and_then(|booking| merchant_share(record, booking).ok());
    let share = share.map_or(0, clearday_jobs::Money::minor_units);
    match record.kind {
        RecordKind::Payment => share,
        RecordKind::Refund => share.saturating_neg(),
    }
}

/// No entry of a record is there that no record names.
fn check_counts(books: &Books, findings: &mut Findings) {
    let (mut entries, refunds) = (
        books.entries_of(EntryEvent::Capture),
        books.entries_of(EntryEvent::Refund),
    );
    entries.join(refunds);
    findings.expect(entries == books.booked_records, || {
        format!(
            "{} captures and refunds are booked, and records name {}",
            entries.count, books.booked_records.count
        )
    });
    let fees = books.entries_of(EntryEvent::ChannelFee).count;
    findings.expect(fees == books.fee_entries, || {
        format!(
            "{fees} fees are booked, and records count {}",
            books.fee_entries
        )
    });
}
