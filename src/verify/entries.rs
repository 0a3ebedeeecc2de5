//! Every entry says what it was sealed with, and every posting belongs to one.

use std::collections::HashMap;

use uuid::Uuid;

use super::books::Books;
use super::findings::Findings;
use crate::domain::ledger::{SealedEntry, SealedPosting, seal};
use crate::store::verify_money::{StoredEntry, StoredPosting, entries};
use crate::store::{StoreError, Tx};

pub(super) async fn check(tx: &mut Tx, books: &mut Books) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("entries");
    let mut after = Uuid::nil();
    loop {
        let (page, postings) = entries(tx, after).await?;
        let mut by_entry: HashMap<Uuid, Vec<StoredPosting>> = HashMap::new();
        for posting in postings {
            by_entry.entry(posting.entry_id).or_default().push(posting);
        }
        for entry in &page {
            let postings = by_entry.remove(&entry.id).unwrap_or_default();
            check_entry(entry, &postings, &mut findings);
            add_up(entry, &postings, books);
        }
        for orphan in by_entry.keys() {
            findings.wrong(format!(
                "there are postings of entry {orphan}, which is gone"
            ));
        }
        match page.last() {
            Some(last) => after = last.id,
            None => return Ok(findings),
        }
    }
}

fn check_entry(entry: &StoredEntry, postings: &[StoredPosting], findings: &mut Findings) {
    findings.look();
    let found = postings.len();
    if !i64::try_from(found).is_ok_and(|found| found == entry.postings_count) {
        let (identity, count) = (&entry.identity, entry.postings_count);
        findings.wrong(format!("{identity} has {found} postings and had {count}"));
        return;
    }
    let sealed: Vec<SealedPosting<'_>> = postings.iter().map(as_sealed).collect();
    let digest = seal(&SealedEntry {
        identity: &entry.identity,
        event: &entry.event,
        accounting_on: &entry.accounting_on,
        merchant_id: entry.merchant_id.as_deref(),
        subject: &entry.subject,
        currency: &entry.currency,
        postings: &sealed,
    });
    findings.expect(digest == entry.sha256, || {
        format!("{} is not as it was written", entry.identity)
    });
}

fn as_sealed(posting: &StoredPosting) -> SealedPosting<'_> {
    SealedPosting {
        line: posting.line,
        debit_account: &posting.debit_account,
        debit_owner: &posting.debit_owner,
        credit_account: &posting.credit_account,
        credit_owner: &posting.credit_owner,
        amount_minor: posting.amount_minor,
        currency: &posting.currency,
    }
}

fn add_up(entry: &StoredEntry, postings: &[StoredPosting], books: &mut Books) {
    books
        .entries
        .entry(entry.event.clone())
        .or_default()
        .add(entry.id);
    for posting in postings {
        let amount = i128::from(posting.amount_minor);
        let sides = [
            (
                &posting.debit_account,
                &posting.debit_owner,
                amount.saturating_neg(),
            ),
            (&posting.credit_account, &posting.credit_owner, amount),
        ];
        for (account, owner, credit) in sides {
            let key = (entry.event.clone(), account.clone());
            let sums = books.moved.entry(key).or_default();
            sums.add(owner, &posting.currency, credit);
        }
    }
}
