//! Money that a bank moved and nobody can explain yet (存疑): booked, because the bank's balance is ours, and taken back
//! when the explanation comes.
//!
//! Whoever explains a line takes it back in the same transaction, and then books it as if it came now.

use chrono::{NaiveDate, NaiveTime, TimeZone};
use clearday_jobs::{ChannelName, Money};
use serde_json::Value;

use crate::domain::china::{CHINA_STANDARD_TIME, china_day};
use crate::domain::ledger::events::{Occasion, bank_break, reversal};
use crate::domain::ledger::{Entry, Fact, FactKey, FactKind, FactSource};
use crate::domain::reconciliation::BreakName;
use crate::domain::reconciliation::bank::Direction;
use crate::domain::settlement_run::Claim;
use crate::engine::{Run, RunTx, WorkError};
use crate::store::ledger::{self, Appended, FactView, JobContext};
use crate::store::reconciliations;

/// Long and short under one number, each with its reversal.
const ENTRIES_OF_A_LINE_MAX: usize = 4;

/// Unexplained debits of one amount are few; beyond these a new reading of their statement explains them.
const DEBITS_MAX: usize = 1_000;

/// A line of a bank's statement that money moved by.
#[derive(Clone, Copy, Debug)]
pub(super) struct BankMovement<'a> {
    /// The bank.
    pub(super) bank: &'a ChannelName,
    /// Its number for the line.
    pub(super) number: &'a str,
    /// Below zero: money left.
    pub(super) amount: Money,
    /// The day it counts for.
    pub(super) booked_on: NaiveDate,
    /// Where it stands, as JSON.
    pub(super) evidence: &'a str,
}

/// Books an unexplained line; one that is in suspense already stays there.
pub(super) async fn book(
    run: &Run,
    tx: &mut RunTx,
    line: &BankMovement<'_>,
) -> Result<(), WorkError> {
    let Some(kind) = Direction::of(line.amount).suspended_kind() else {
        return Ok(());
    };
    let Some(entry) = entry_of(line.bank, line.number, line.amount, line.booked_on)? else {
        return Ok(());
    };
    let appended = append(run, tx, entry).await?;
    // It names this entry also when that is undone: what explains the line is a fact of its own kind.
    let fact = fact_of(line, kind)?;
    ledger::note_fact(tx, &fact, Some(appended.id()), run.now()).await?;
    Ok(())
}

/// Takes an explained line out of suspense, with the break that reported it; `false` when it was not there.
pub(super) async fn take_back(
    run: &Run,
    tx: &mut RunTx,
    bank: &ChannelName,
    number: &str,
) -> Result<bool, WorkError> {
    let is_taken = undo(run, tx, bank, number).await?;
    if is_taken {
        let now = run.now();
        reconciliations::vanish(tx, &unexplained_breaks(bank, number), now).await?;
    }
    Ok(is_taken)
}

/// Takes a line out of suspense that turned out to pay for a second time: it stays a break, under its right name.
pub(super) async fn take_back_as_second(
    run: &Run,
    tx: &mut RunTx,
    bank: &ChannelName,
    number: &str,
) -> Result<bool, WorkError> {
    let is_taken = undo(run, tx, bank, number).await?;
    if is_taken {
        let name = BreakName::DuplicateTheirs;
        let from = break_identity(bank, BreakName::MissingOurs, number);
        let to = break_identity(bank, name, number);
        reconciliations::rename_break(tx, &from, (&to, name.as_str()), run.now()).await?;
    }
    Ok(is_taken)
}

/// The debits of a claim's amount that nobody could explain when they came and that name its number, the newest first;
/// also those that were explained since.
pub(super) async fn debits_named(
    tx: &mut RunTx,
    claim: &Claim,
) -> Result<Vec<FactView>, WorkError> {
    let found = ledger::bank_debits_of(tx, &claim.bank, claim.amount, DEBITS_MAX).await?;
    let named = found
        .into_iter()
        .filter(|fact| does_name(&fact.evidence, &claim.bank_reference));
    Ok(named.collect())
}

/// Whether a line, as it was told, carries a number anywhere.
fn does_name(evidence: &str, number: &str) -> bool {
    let line: Value = serde_json::from_str(evidence).unwrap_or_default();
    let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
    let references = line.get("references").and_then(Value::as_array);
    let mut references = references.into_iter().flatten();
    text("reference") == number
        || text("end_to_end_id") == number
        || text("text").split_whitespace().any(|word| word == number)
        || references.any(|reference| reference.as_str() == Some(number))
}

async fn undo(
    run: &Run,
    tx: &mut RunTx,
    bank: &ChannelName,
    number: &str,
) -> Result<bool, WorkError> {
    let mut is_taken = false;
    for kind in [FactKind::BankDebit, FactKind::BankCredit] {
        let key = FactKey {
            account: bank.clone(),
            kind,
            external_no: number.to_owned(),
        };
        let Some(fact) = ledger::find_fact(tx, &key).await? else {
            continue;
        };
        let amount = match kind {
            FactKind::BankDebit => fact.amount.checked_neg(),
            FactKind::BankCredit
            | FactKind::Capture
            | FactKind::Refund
            | FactKind::Payout
            | FactKind::OfflinePayment
            | FactKind::Deposit
            | FactKind::Return => Ok(fact.amount),
        };
        let amount = amount.map_err(|error| WorkError::Invalid(error.to_string()))?;
        let booked_on = china_day(&fact.occurred_at);
        let Some(entry) = entry_of(bank, number, amount, booked_on)? else {
            continue;
        };
        let booked = ledger::of_subject(tx, &entry.subject, ENTRIES_OF_A_LINE_MAX).await?;
        if booked.iter().any(|it| it.identity == entry.identity) {
            // Of the same day, so that the balance of every day stays what the bank says it was.
            let undone = append(run, tx, reversal(&entry, booked_on)).await?;
            is_taken |= matches!(undone, Appended::New(_));
        }
    }
    Ok(is_taken)
}

/// The identities of the breaks that report a line as unexplained.
pub(super) fn unexplained_breaks(bank: &ChannelName, number: &str) -> [String; 2] {
    [BreakName::MissingOurs, BreakName::AmountMismatch]
        .map(|name| break_identity(bank, name, number))
}

/// What makes a break of a bank's statement one: the external fact, or our end-to-end id that has none.
pub(super) fn break_identity(bank: &ChannelName, name: BreakName, number: &str) -> String {
    format!("{bank}:{name}:{number}")
}

/// The fact that a line is, with its amount above zero.
pub(super) fn fact_of(line: &BankMovement<'_>, kind: FactKind) -> Result<Fact, WorkError> {
    let amount = if line.amount.is_negative() {
        line.amount.checked_neg()
    } else {
        Ok(line.amount)
    };
    let midnight = CHINA_STANDARD_TIME
        .from_local_datetime(&line.booked_on.and_time(NaiveTime::MIN))
        .single();
    Ok(Fact {
        key: FactKey {
            account: line.bank.clone(),
            kind,
            external_no: line.number.to_owned(),
        },
        amount: amount.map_err(|error| WorkError::Invalid(error.to_string()))?,
        occurred_at: midnight
            .ok_or_else(|| WorkError::Invalid(format!("{} has no midnight", line.booked_on)))?
            .to_utc(),
        source: FactSource::Statement,
        evidence: line.evidence.to_owned(),
    })
}

/// Appends one entry for this job.
pub(super) async fn append(run: &Run, tx: &mut RunTx, entry: Entry) -> Result<Appended, WorkError> {
    let on_behalf = JobContext {
        job_id: Some(run.job().id),
    };
    let ids = run.engine().ids();
    let appended = ledger::append(tx, &[entry], on_behalf, ids, run.now()).await?;
    appended
        .into_iter()
        .next()
        .ok_or_else(|| WorkError::Invalid("no answer to an entry".to_owned()))
}

fn entry_of(
    bank: &ChannelName,
    number: &str,
    amount: Money,
    accounting_on: NaiveDate,
) -> Result<Option<Entry>, WorkError> {
    let subject = format!("bank_line:{bank}:{number}");
    let occasion = Occasion {
        subject: &subject,
        accounting_on,
    };
    bank_break(occasion, bank, amount).map_err(|error| WorkError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::does_name;

    #[test]
    fn a_line_names_what_it_carries_as_a_word_of_its_own() {
        let line = r#"{"reference":"SB1","end_to_end_id":"E1","references":["R1"],"text":"counter SLIP-77"}"#;
        for number in ["SB1", "E1", "R1", "SLIP-77", "counter"] {
            assert!(does_name(line, number), "{number}");
        }
        for number in ["SLIP-7", "SLIP", "", "SB2"] {
            assert!(!does_name(line, number), "{number}");
        }
        assert!(!does_name("no line", "SB1"));
    }
}
