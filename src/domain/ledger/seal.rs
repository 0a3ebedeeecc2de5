//! The digest that seals an entry: of what was meant when it is written, of what is stored when it
//! is verified.

use sha2::{Digest, Sha256};

use crate::domain::digest::hex;

/// Everything an entry says, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct SealedEntry<'a> {
    /// Its identity.
    pub identity: &'a str,
    /// What happened.
    pub event: &'a str,
    /// The day it counts for.
    pub accounting_on: &'a str,
    /// The merchant.
    pub merchant_id: Option<&'a str>,
    /// What it is about.
    pub subject: &'a str,
    /// The currency.
    pub currency: &'a str,
    /// Its postings, by line.
    pub postings: &'a [SealedPosting<'a>],
}

/// Everything a posting says, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct SealedPosting<'a> {
    /// Its number; 1 is the first.
    pub line: i64,
    /// The account that gets it.
    pub debit_account: &'a str,
    /// Whose.
    pub debit_owner: &'a str,
    /// The account that gives it.
    pub credit_account: &'a str,
    /// Whose.
    pub credit_owner: &'a str,
    /// How much.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: &'a str,
}

/// The digest, in hexadecimal. Every text goes in with its length before it, so that no two entries say the same.
pub fn seal(entry: &SealedEntry<'_>) -> String {
    let mut sealed = Seal(Sha256::new());
    for text in [
        entry.identity,
        entry.event,
        entry.accounting_on,
        entry.subject,
        entry.currency,
    ] {
        sealed.text(text);
    }
    // A merchant's name is never empty.
    sealed.text(entry.merchant_id.unwrap_or_default());
    for posting in entry.postings {
        sealed.number(posting.line);
        sealed.text(posting.debit_account);
        sealed.text(posting.debit_owner);
        sealed.text(posting.credit_account);
        sealed.text(posting.credit_owner);
        sealed.number(posting.amount_minor);
        sealed.text(posting.currency);
    }
    hex(&sealed.0.finalize())
}

struct Seal(Sha256);

impl Seal {
    fn text(&mut self, text: &str) {
        self.0
            .update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }
}
