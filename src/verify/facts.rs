//! Every fact that is booked names an entry that says the same, and what only facts may book is named by one.

use std::collections::HashMap;

use clearday_jobs::Reference;

use super::books::Books;
use super::findings::Findings;
use crate::domain::ledger::events::record_subject;
use crate::domain::ledger::{EntryEvent, FactKind, FactSource};
use crate::domain::record::{Record, RecordKind};
use crate::store::records;
use crate::store::verify_money::{StoredFact, facts};
use crate::store::{StoreError, Tx};

/// What happens outside of clearday is booked on a fact, and on no other.
const ON_FACTS: [EntryEvent; 9] = [
    EntryEvent::Capture,
    EntryEvent::Refund,
    EntryEvent::LateMoney,
    EntryEvent::PayoutConfirmed,
    EntryEvent::PayoutReturned,
    EntryEvent::OfflineOnStatement,
    EntryEvent::Deposit,
    EntryEvent::BreakLong,
    EntryEvent::BreakShort,
];

pub(super) async fn check(tx: &mut Tx, books: &mut Books) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("facts");
    let mut after: Option<StoredFact> = None;
    loop {
        let page = facts(tx, after.as_ref()).await?;
        let told = told_by_records(tx, &page).await?;
        for fact in &page {
            findings.look();
            check_fact(fact, &mut findings);
            check_record(fact, &told, &mut findings);
            add_up(fact, books);
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    for event in ON_FACTS {
        let (booked, named) = (books.entries_of(event), books.fact_entries_of(event));
        findings.expect(booked == named, || {
            let (booked, named) = (booked.count, named.count);
            format!("{booked} entries of {event} are booked, and facts name {named}")
        });
    }
    Ok(findings)
}

/// A fact as a person would look for it.
fn name(fact: &StoredFact) -> String {
    let StoredFact {
        account,
        kind,
        external_no,
        ..
    } = fact;
    format!("{kind} {external_no} of {account}")
}

fn check_fact(fact: &StoredFact, findings: &mut Findings) {
    if fact.entry_id.is_none() {
        return;
    }
    let Some(event) = fact.event.as_deref() else {
        findings.wrong(format!("the entry of {} is gone", name(fact)));
        return;
    };
    let event: Option<EntryEvent> = event.parse().ok();
    let kind: Option<FactKind> = fact.kind.parse().ok();
    let (Some(event), Some(kind)) = (event, kind) else {
        findings.wrong(format!("{} is of no known kind", name(fact)));
        return;
    };
    findings.expect(fits(kind, event), || {
        format!("{} is booked as {event}", name(fact))
    });
    // A record's entry is compared with the record: a coupon may be in one and not in the other.
    if fact.source != FactSource::Record.as_str() {
        let posted = fact.posted_minor.unwrap_or_default();
        findings.expect(posted == fact.amount_minor, || {
            format!(
                "{} is {}, and {posted} is booked",
                name(fact),
                fact.amount_minor
            )
        });
    }
}

/// Whether money of this kind is booked so.
const fn fits(kind: FactKind, event: EntryEvent) -> bool {
    match kind {
        FactKind::Capture => matches!(
            event,
            EntryEvent::Capture | EntryEvent::LateMoney | EntryEvent::BalanceCapture
        ),
        FactKind::Refund => matches!(
            event,
            EntryEvent::Refund | EntryEvent::RefundSucceeded | EntryEvent::LateMoneyReturned
        ),
        FactKind::Payout => {
            matches!(event, EntryEvent::PayoutConfirmed | EntryEvent::SecondDebit)
        }
        FactKind::OfflinePayment => matches!(
            event,
            EntryEvent::OfflineOnStatement | EntryEvent::SecondDebit
        ),
        // Lines that nobody could explain when they came.
        FactKind::BankDebit => matches!(event, EntryEvent::BreakShort),
        FactKind::BankCredit => matches!(event, EntryEvent::BreakLong),
        FactKind::Deposit => matches!(event, EntryEvent::Deposit),
        FactKind::Return => matches!(event, EntryEvent::PayoutReturned),
    }
}

/// The records that told the facts of a page, by subject.
async fn told_by_records(
    tx: &mut Tx,
    page: &[StoredFact],
) -> Result<HashMap<String, Record>, StoreError> {
    let numbers: Vec<(RecordKind, Reference)> = page
        .iter()
        .filter(|fact| fact.source == FactSource::Record.as_str())
        .filter_map(|fact| {
            let (kind, number) = fact.evidence.split_once(':')?;
            Some((kind.parse().ok()?, number.parse().ok()?))
        })
        .collect();
    let numbers: Vec<(RecordKind, &str)> = numbers
        .iter()
        .map(|(kind, number)| (*kind, number.as_str()))
        .collect();
    let found = records::find(tx, &numbers).await?;
    let by_subject = found
        .into_iter()
        .map(|record| (record_subject(record.kind, &record.record_no), record));
    Ok(by_subject.collect())
}

fn check_record(fact: &StoredFact, told: &HashMap<String, Record>, findings: &mut Findings) {
    if fact.source != FactSource::Record.as_str() {
        return;
    }
    let Some(record) = told.get(&fact.evidence) else {
        findings.wrong(format!("{} was told by no record", name(fact)));
        return;
    };
    let amount = record.amount;
    let is_same = amount.minor_units() == fact.amount_minor
        && amount.currency().code() == fact.currency
        && record.channel.as_str() == fact.account;
    findings.expect(is_same, || {
        let (minor, currency) = (fact.amount_minor, &fact.currency);
        format!(
            "{} is {minor} {currency}, and its record says {amount}",
            name(fact)
        )
    });
}

fn add_up(fact: &StoredFact, books: &mut Books) {
    let (Some(entry_id), Some(event)) = (fact.entry_id, fact.event.as_ref()) else {
        return;
    };
    books
        .fact_entries
        .entry(event.clone())
        .or_default()
        .add(entry_id);
    let amount = i128::from(fact.amount_minor);
    let minus = amount.saturating_neg();
    if event == EntryEvent::LateMoney.as_str() {
        books.late.add(&fact.account, &fact.currency, amount);
    }
    let (at_bank, paid) = match fact.kind.parse() {
        Ok(FactKind::Payout | FactKind::OfflinePayment | FactKind::BankDebit) => (minus, amount),
        Ok(FactKind::Return) => (amount, minus),
        Ok(FactKind::Deposit | FactKind::BankCredit) => (amount, 0),
        Ok(FactKind::Capture | FactKind::Refund) | Err(_) => return,
    };
    books.at_bank.add(&fact.account, &fact.currency, at_bank);
    if let Some(merchant) = &fact.merchant_id {
        books.paid.add(merchant, &fact.currency, paid);
    }
}
