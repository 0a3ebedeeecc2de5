//! A part that was paid twice: the second payment is booked against the merchant and is a break, until it comes back or
//! the first one dies. Then it is the payment.

use clearday_jobs::{Amount, ChannelName, Money, OfflinePaymentId};
use serde_json::json;
use uuid::Uuid;

use super::claims::release_returned;
use super::evidence::BankFact;
use super::moves::{Mover, lost, offline_subject, on, payout_subject, rejection_undone};
use crate::domain::china::china_day;
use crate::domain::ledger::events;
use crate::domain::ledger::{FactKey, FactKind};
use crate::domain::reconciliation::{BreakKind, BreakName};
use crate::domain::settlement_run::{
    Claim, ClaimEvent, DebitLine, Instruction, InstructionState, Part, PartEvent, SecondPayment,
    Settlement,
};
use crate::engine::{Run, WorkError};
use crate::store::ledger;
use crate::store::reconciliations::{self, NewBreak};
use crate::workers::suspense::break_identity;

/// A debit that pays what was paid.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepeatedDebit<'a> {
    pub(super) bank: &'a ChannelName,
    pub(super) line: DebitLine<'a>,
    /// Above zero.
    pub(super) amount: Money,
    /// The end-to-end id that it carries, if it carries one of ours.
    pub(super) end_to_end_id: &'a str,
}

/// Reports the debit of a claim whose part was paid without it.
pub(super) async fn report_claim(
    mover: &mut Mover<'_>,
    id: OfflinePaymentId,
) -> Result<(), WorkError> {
    let (_, claim) = mover.claim(id)?;
    let Some(booked_on) = claim.debited_on else {
        return Ok(());
    };
    let claim = claim.clone();
    let repeated = RepeatedDebit {
        bank: &claim.bank,
        line: DebitLine {
            booked_on,
            number: claim.debit_number(),
        },
        amount: claim.amount,
        end_to_end_id: "",
    };
    report(mover, &repeated).await
}

/// Writes the break down, in the transaction that books the debit.
pub(super) async fn report(
    mover: &mut Mover<'_>,
    repeated: &RepeatedDebit<'_>,
) -> Result<(), WorkError> {
    let signed = repeated.amount.checked_neg();
    let signed = signed.map_err(|error| WorkError::Invalid(error.to_string()))?;
    let (name, number) = (BreakName::DuplicateTheirs, repeated.line.number);
    let found = NewBreak {
        id: mover.run().engine().ids().uuid(),
        identity: break_identity(repeated.bank, name, number),
        break_name: name.as_str(),
        kind: BreakKind::Payout.as_str(),
        record_no: repeated.end_to_end_id.to_owned(),
        channel_trade_no: number.to_owned(),
        detail: json!({
            "ours": null,
            "theirs": Amount(signed),
            "booked_on": repeated.line.booked_on,
        })
        .to_string(),
        at_risk_minor: signed.minor_units(),
        currency: signed.currency().code(),
    };
    let (bank, now) = (repeated.bank.as_str(), mover.now());
    reconciliations::upsert_breaks(mover.tx, bank, None, &[found], now).await?;
    Ok(())
}

/// The first payment of a part is dead: what was booked as its second payment pays it.
pub(super) async fn count(run: &Run, decided: &Settlement, part_no: u32) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold_decided(run, &mut tx, decided).await?;
    let part = mover.part(part_no)?.clone();
    release_returned(&mut mover, part_no).await?;
    match part.second_payment() {
        Some(SecondPayment::Instruction(instruction)) => {
            confirm(&mut mover, &part, instruction).await?;
        }
        Some(SecondPayment::Claim(claim)) => pay_offline(&mut mover, &part, claim).await?,
        None => return Err(lost(decided.id)),
    }
    run.checkpoint(tx).await
}

async fn confirm(
    mover: &mut Mover<'_>,
    part: &Part,
    instruction: &Instruction,
) -> Result<(), WorkError> {
    let (end_to_end_id, number) = (
        &instruction.end_to_end_id,
        instruction.debit_no.as_deref().unwrap_or_default(),
    );
    let key = FactKey {
        account: instruction.bank.clone(),
        kind: FactKind::Payout,
        external_no: number.to_owned(),
    };
    let fact = ledger::find_fact(mover.tx, &key).await?;
    let whose = mover.settlement.merchant_id.clone();
    let subject = payout_subject(end_to_end_id);
    let occasion = on(&subject, china_day(&mover.now()));
    let under_way = rejection_undone(occasion, &whose, part.amount);
    let confirmed = events::second_debit_confirms(occasion, &whose, part.amount);
    let entry = mover.book([under_way, confirmed]).await?;
    let (Some(from), Some(to)) = (fact.and_then(|fact| fact.entry_id), entry) else {
        let why = format!("the debit of {end_to_end_id} is no fact: {number}");
        return Err(WorkError::Invalid(why));
    };
    if !ledger::rebook_fact(mover.tx, &key, (from, to)).await? {
        return Err(lost(mover.settlement.id));
    }
    let reason = format!("paid by {end_to_end_id} ({number}), as the other payment is dead");
    mover
        .move_part(part.part_no, PartEvent::ConfirmLate, &reason)
        .await?;
    let to = InstructionState::Confirmed;
    mover
        .move_instruction(part.part_no, end_to_end_id, to, None)
        .await?;
    settle(mover, &instruction.bank, number).await
}

async fn pay_offline(mover: &mut Mover<'_>, part: &Part, claim: &Claim) -> Result<(), WorkError> {
    let whose = mover.settlement.merchant_id.clone();
    let subject = offline_subject(claim.id);
    let occasion = on(&subject, china_day(&mover.now()));
    let counted = events::second_debit_counts(occasion, &whose, claim.amount);
    mover.book([counted]).await?;
    let reason = format!(
        "paid offline on {} ({} at {}), as the other payment is dead",
        claim.paid_on, claim.bank_reference, claim.bank
    );
    let event = ClaimEvent::Count;
    mover.move_claim(claim.id, event, None, &reason).await?;
    mover
        .move_part(part.part_no, PartEvent::PayOffline, &reason)
        .await?;
    settle(mover, &claim.bank, claim.debit_number()).await?;
    // Where its debit came first, the break is about the line that came after it.
    for dead in &part.instructions {
        if let Some(number) = &dead.debit_no {
            settle(mover, &dead.bank, number).await?;
        }
    }
    Ok(())
}

/// The money of a second payment came back; returns the entry.
pub(super) async fn came_back(
    mover: &mut Mover<'_>,
    part_no: u32,
    instruction: &Instruction,
    credit: &BankFact<'_>,
) -> Result<Option<Uuid>, WorkError> {
    let end_to_end_id = &instruction.end_to_end_id;
    let whose = mover.settlement.merchant_id.clone();
    let subject = payout_subject(end_to_end_id);
    let occasion = on(&subject, credit.booked_on);
    let returned = events::second_debit_returned(occasion, &whose, credit.bank, credit.amount);
    let entry = mover.book([returned]).await?;
    let to = InstructionState::Returned;
    mover
        .move_instruction(part_no, end_to_end_id, to, None)
        .await?;
    let state = mover.part(part_no)?.state;
    let reason = format!(
        "what was paid a second time came back on the statement of {} ({})",
        credit.bank, credit.number
    );
    mover
        .record("second_return", Some((part_no, state)), &reason)
        .await?;
    let number = instruction.debit_no.as_deref().unwrap_or_default();
    settle(mover, &instruction.bank, number).await?;
    Ok(entry)
}

/// A debit is no second payment any more.
async fn settle(mover: &mut Mover<'_>, bank: &ChannelName, number: &str) -> Result<(), WorkError> {
    let identity = break_identity(bank, BreakName::DuplicateTheirs, number);
    let now = mover.now();
    reconciliations::vanish(mover.tx, &[identity], now).await?;
    Ok(())
}
