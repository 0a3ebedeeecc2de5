//! Money that a channel says it took, brought into the books by whichever job found it.
//!
//! A payment that was owed becomes a record of ours, which is booked like those that upstream
//! tells. Money that nobody owed any more is booked at once, and never as a merchant's.

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, Money, Reference};

use crate::domain::china::china_day;
use crate::domain::ledger::events::{Occasion, late_money};
use crate::domain::ledger::{Fact, FactKey, FactKind, FactSource};
use crate::domain::record::{Record, RecordKind, RecordStatus};
use crate::engine::{Run, RunTx, WorkError};
use crate::store::bookings::{self, TakenPayment};
use crate::store::ledger::{self, FactOutcome, JobContext};

/// Money that a channel took for a reference of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// Who took it.
    pub(super) channel: &'a ChannelName,
    /// For which reference.
    pub(super) reference: &'a Reference,
    /// The channel's number of it.
    pub(super) channel_trade_no: &'a str,
    /// How much.
    pub(super) amount: Money,
    /// When, by the channel.
    pub(super) paid_at: DateTime<Utc>,
    /// Its words, as JSON.
    pub(super) evidence: &'a str,
}

/// Writes a payment down as our own record of it, with no fee until somebody tells one. What
/// upstream told of it stays, unless it was pending.
pub(super) async fn record_payment(
    run: &Run,
    tx: &mut RunTx,
    merchant_id: &MerchantId,
    received: Received<'_>,
) -> Result<(), WorkError> {
    let record = Record {
        record_no: received.reference.clone(),
        kind: RecordKind::Payment,
        channel: received.channel.clone(),
        channel_trade_no: trade_no(received),
        merchant_id: merchant_id.clone(),
        amount: received.amount,
        fee: Money::from_minor(0, received.amount.currency()),
        status: RecordStatus::Succeeded,
        occurred_at: received.paid_at.fixed_offset(),
        original_record_no: None,
        coupon: None,
    };
    let payment = TakenPayment {
        record: &record,
        taken_by: run.job().id,
    };
    bookings::take_payment(tx, payment, run.now()).await?;
    Ok(())
}

/// Books money that nobody owed any more, unless it is in the books already: told by a record, or
/// found before.
pub(super) async fn book_late_money(
    run: &Run,
    tx: &mut RunTx,
    received: Received<'_>,
) -> Result<(), WorkError> {
    if is_booked(tx, received).await? {
        return Ok(());
    }
    let external_no = external_no(received);
    let subject = format!("receipt:{}:{external_no}", received.channel);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: china_day(&received.paid_at),
    };
    let Some(entry) = late_money(occasion, received.channel, received.amount)
        .map_err(|error| WorkError::Invalid(error.to_string()))?
    else {
        return Ok(());
    };
    let on_behalf = JobContext {
        job_id: Some(run.job().id),
    };
    let ids = run.engine().ids();
    let appended = ledger::append(tx, &[entry], on_behalf, ids, run.now()).await?;
    let entry_id = appended.first().map(|appended| appended.id());
    let fact = Fact {
        key: key(received, external_no),
        amount: received.amount,
        occurred_at: received.paid_at,
        source: FactSource::Query,
        evidence: received.evidence.to_owned(),
    };
    match ledger::note_fact(tx, &fact, entry_id, run.now()).await? {
        FactOutcome::New => Ok(()),
        FactOutcome::Same(None) => {
            let Some(entry_id) = entry_id else {
                return Ok(());
            };
            if ledger::book_fact(tx, &fact.key, entry_id).await? {
                Ok(())
            } else {
                Err(lost_race(received))
            }
        }
        FactOutcome::Same(Some(_)) => Err(lost_race(received)),
        FactOutcome::Differs => Err(WorkError::Invalid(format!(
            "the receipt for reference {} is known with another amount than {}: ask the channel",
            received.reference, received.amount
        ))),
    }
}

/// By the channel's number, or by ours where a record told it without the channel's.
async fn is_booked(tx: &mut RunTx, received: Received<'_>) -> Result<bool, WorkError> {
    for number in [external_no(received), received.reference.to_string()] {
        let known = ledger::find_fact(tx, &key(received, number)).await?;
        let told_by_record = |fact: &ledger::FactView| fact.source == FactSource::Record.as_str();
        if known.is_some_and(|fact| fact.entry_id.is_some() || told_by_record(&fact)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn key(received: Received<'_>, external_no: String) -> FactKey {
    FactKey {
        account: received.channel.clone(),
        kind: FactKind::Capture,
        external_no,
    }
}

/// What records of the same money are known by; see `domain/ledger/booking.rs`.
fn external_no(received: Received<'_>) -> String {
    trade_no(received).map_or_else(|| received.reference.to_string(), String::from)
}

/// A number that is none by our rules cannot be a record's.
fn trade_no(received: Received<'_>) -> Option<Reference> {
    received.channel_trade_no.parse().ok()
}

fn lost_race(received: Received<'_>) -> WorkError {
    WorkError::LostRace(format!("the receipt for reference {}", received.reference))
}
