//! What follows from a claim that a part was paid outside of clearday (线下付款).

use clearday_jobs::OfflinePaymentId;

use super::moves::{Mover, offline_subject, on, payout_subject};
use super::second;
use crate::domain::china::china_day;
use crate::domain::ledger::{Fact, FactKey, FactKind, FactSource, events};
use crate::domain::settlement_run::{
    Claim, ClaimEvent, ClaimState, DebitLine, PartEvent, PartState, Settlement,
};
use crate::engine::{Run, WorkError};
use crate::store::ledger;
use crate::workers::suspense;

/// Moves a claim by what was decided about it.
pub(super) async fn move_claim(
    run: &Run,
    decided: &Settlement,
    id: OfflinePaymentId,
    event: ClaimEvent,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold_decided(run, &mut tx, decided).await?;
    match event {
        ClaimEvent::Approve => {
            let reason = "two people stand for the offline payment";
            mover.move_claim(id, event, None, reason).await?;
            let (part_no, _) = mover.claim(id)?;
            // Otherwise it is counted or gives way at once, and takes its debit with it.
            if mover.part(part_no)?.state.is_in_flight() {
                attribute(&mut mover, id).await?;
            }
        }
        ClaimEvent::Refuse => {
            let reason = "the offline payment was not approved";
            mover.move_claim(id, event, None, reason).await?;
        }
        ClaimEvent::Count => count(&mut mover, id).await?,
        ClaimEvent::Yield => {
            if give_way(&mut mover, id).await? {
                second::report_claim(&mut mover, id).await?;
            }
        }
        ClaimEvent::Debit => return Err(WorkError::Invalid("no debit without a line".to_owned())),
    }
    run.checkpoint(tx).await
}

/// Closes a part by a claim: no instruction about it lives any more.
async fn count(mover: &mut Mover<'_>, id: OfflinePaymentId) -> Result<(), WorkError> {
    let (part_no, claim) = mover.claim(id)?;
    let claim = claim.clone();
    release_returned(mover, part_no).await?;
    let whose = mover.settlement.merchant_id.clone();
    let subject = offline_subject(id);
    let today = china_day(&mover.now());
    let approved = events::offline_approved(on(&subject, today), &whose, claim.amount);
    mover.book([approved]).await?;
    let reason = format!(
        "paid offline on {} ({} at {})",
        claim.paid_on, claim.bank_reference, claim.bank
    );
    mover
        .move_claim(id, ClaimEvent::Count, None, &reason)
        .await?;
    mover
        .move_part(part_no, PartEvent::PayOffline, &reason)
        .await?;
    attribute(mover, id).await
}

/// What came back is the merchant's again before it is paid another way.
pub(super) async fn release_returned(mover: &mut Mover<'_>, part_no: u32) -> Result<(), WorkError> {
    let part = mover.part(part_no)?;
    if part.state != PartState::Returned {
        return Ok(());
    }
    let Some(instruction) = part.last_returned() else {
        return Ok(());
    };
    let (subject, amount) = (payout_subject(&instruction.end_to_end_id), part.amount);
    let whose = mover.settlement.merchant_id.clone();
    let today = china_day(&mover.now());
    let released = events::return_released(on(&subject, today), &whose, amount);
    mover.book([released]).await?;
    Ok(())
}

/// The part was paid without the claim. `true` when the claim's debit was booked before: then the merchant was paid
/// twice, and the caller knows which of the two lines is the break.
pub(super) async fn give_way(
    mover: &mut Mover<'_>,
    id: OfflinePaymentId,
) -> Result<bool, WorkError> {
    let (_, claim) = mover.claim(id)?;
    let claim = claim.clone();
    let reason = "the part was paid without it";
    mover
        .move_claim(id, ClaimEvent::Yield, None, reason)
        .await?;
    if claim.debited_on.is_some() {
        let whose = mover.settlement.merchant_id.clone();
        let subject = offline_subject(id);
        let occasion = on(&subject, china_day(&mover.now()));
        let overpaid = events::second_payment_offline(occasion, &whose, claim.amount);
        mover.book([overpaid]).await?;
        return Ok(true);
    }
    attribute(mover, id).await?;
    Ok(false)
}

/// A debit that waited in suspense, because nobody or one person alone claimed it, is the claim's from now on.
async fn attribute(mover: &mut Mover<'_>, id: OfflinePaymentId) -> Result<(), WorkError> {
    let (_, claim) = mover.claim(id)?;
    let claim = claim.clone();
    if claim.debited_on.is_some() {
        return Ok(());
    }
    let named = suspense::debits_named(mover.tx, &claim).await?;
    for fact in named {
        let (run, number) = (mover.run(), &fact.key.external_no);
        let was_open = if claim.state == ClaimState::Surplus {
            suspense::take_back_as_second(run, mover.tx, &claim.bank, number).await?
        } else {
            suspense::take_back(run, mover.tx, &claim.bank, number).await?
        };
        if was_open {
            return take_debit(mover, &claim, fact).await;
        }
    }
    Ok(())
}

async fn take_debit(
    mover: &mut Mover<'_>,
    claim: &Claim,
    fact: ledger::FactView,
) -> Result<(), WorkError> {
    let booked_on = china_day(&fact.occurred_at);
    let entry = book_debit(mover, claim.id, claim.state, booked_on).await?;
    let debit = Fact {
        key: FactKey {
            kind: FactKind::OfflinePayment,
            ..fact.key
        },
        amount: fact.amount,
        occurred_at: fact.occurred_at,
        source: FactSource::Statement,
        evidence: fact.evidence,
    };
    let now = mover.now();
    ledger::note_fact(mover.tx, &debit, entry, now).await?;
    let number = debit.key.external_no.as_str();
    let reason = format!("its debit had been on the statement before ({number})");
    let line = DebitLine { booked_on, number };
    mover
        .move_claim(claim.id, ClaimEvent::Debit, Some(line), &reason)
        .await?;
    match claim.state {
        ClaimState::Surplus => second::report_claim(mover, claim.id).await,
        ClaimState::Registered
        | ClaimState::Refused
        | ClaimState::Waiting
        | ClaimState::Counted => Ok(()),
    }
}

/// Books the debit of a claim by where the claim is; returns the entry.
pub(super) async fn book_debit(
    mover: &mut Mover<'_>,
    id: OfflinePaymentId,
    state: ClaimState,
    booked_on: chrono::NaiveDate,
) -> Result<Option<uuid::Uuid>, WorkError> {
    let (_, claim) = mover.claim(id)?;
    let (bank, amount) = (claim.bank.clone(), claim.amount);
    let whose = mover.settlement.merchant_id.clone();
    let subject = offline_subject(id);
    let occasion = on(&subject, booked_on);
    let entry = match state {
        ClaimState::Surplus => events::second_debit(occasion, &whose, &bank, amount),
        ClaimState::Waiting | ClaimState::Counted => {
            events::offline_on_statement(occasion, &whose, &bank, amount)
        }
        ClaimState::Registered | ClaimState::Refused => Ok(None),
    };
    mover.book([entry]).await
}
