//! Tells a bank to pay a part, asks it what became of it, and records what it says.
//!
//! The instruction, its operation and what is booked for it are committed before the bank is called; what the bank says
//! is committed after. A lost answer books nothing.

use chrono::TimeDelta;
use clearday_jobs::{ApprovalId, Money, Reference, SettlementId};
use serde_json::json;

use super::moves::{Mover, on, payout_subject};
use super::{Progress, Workbench};
use crate::connectors::{Bank, ChannelError, Evidence, PayoutOrder, PayoutState};
use crate::domain::audit::{AuditAction, AuditEntry, CLEARDAY};
use crate::domain::breaker::Admission;
use crate::domain::china::china_day;
use crate::domain::ledger::events;
use crate::domain::merchant::Merchant;
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::domain::order_expiry::ask_again_at;
use crate::domain::settlement_run::decide::{
    AnswerDecision, BankPromises, BankView, Resending, decide_answer,
};
use crate::domain::settlement_run::{
    Instruction, InstructionState, Part, PartEvent, PartState, Settlement,
};
use crate::engine::{Run, RunTx, WorkError};
use crate::store::settlements::{self, NewInstruction};
use crate::store::{merchants, operations};
use crate::workers::calls::{
    Intent, Learned, channel_failure, conclude, in_time, intend, is_own_objection, kept_back,
    observed, sort_answer,
};

/// Hexadecimal digits of a settlement's id in an end-to-end id: those that are random, and few enough for a bank.
const ID_DIGITS: usize = 20;

/// What a bank promises, as decisions take it.
fn promises_of(bank: &Bank) -> BankPromises {
    let capabilities = bank.capabilities();
    BankPromises {
        is_idempotent: capabilities.payout_is_idempotent,
        processing_window: TimeDelta::from_std(capabilities.processing_window)
            .unwrap_or(TimeDelta::MAX),
    }
}

/// An instruction that is being sent, or asked about.
struct Told<'a> {
    of: (SettlementId, u32),
    end_to_end_id: &'a Reference,
    operation: &'a Operation,
    amount: Money,
    payee_account_no: &'a str,
    payee_name: &'a str,
    remittance: &'a str,
    /// Whether every call of it so far failed before anything left.
    is_unsent: bool,
}

impl<'a> Told<'a> {
    fn again(settlement: &Settlement, part: &Part, instruction: &'a Instruction) -> Self {
        Self {
            of: (settlement.id, part.part_no),
            end_to_end_id: &instruction.end_to_end_id,
            operation: &instruction.operation,
            amount: part.amount,
            payee_account_no: &instruction.payee_account_no,
            payee_name: &instruction.payee_name,
            remittance: &instruction.remittance,
            is_unsent: instruction.unsent_at.is_some(),
        }
    }
}

/// Writes an instruction down and sends it.
pub(super) async fn pay_out(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    decided: &Settlement,
    part_no: u32,
    approval_id: ApprovalId,
) -> Result<Progress, WorkError> {
    let payee = &merchant.payee;
    let Some(bank) = bench.banks.find(&payee.bank) else {
        return Err(not_configured(&payee.bank));
    };
    if let Admission::Wait(until) = bank.gate().admit() {
        // Nothing is written down that would not be sent.
        let reason = kept_back(bank.name(), bank.gate(), until);
        return Ok(Progress::KeptBack(bank.name().clone(), until, reason));
    }
    bank.wait_for_turn().await;
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold_decided(run, &mut tx, decided).await?;
    is_same(mover.tx, merchant).await?;
    let part = mover.part(part_no)?;
    let (amount, generation) = (part.amount, part.next_generation());
    let end_to_end_id = end_to_end_id(decided.id, part_no, generation)?;
    let remittance = remittance(decided, part_no, &end_to_end_id);
    let intent = Intent {
        kind: OperationKind::PayOut,
        channel: bank.name(),
        reference: &end_to_end_id,
        generation: 1,
    };
    let operation = intend(run, mover.tx, intent).await?;
    let instruction = NewInstruction {
        of: (decided.id, part_no),
        generation,
        end_to_end_id: &end_to_end_id,
        operation_id: operation.id,
        approval_id,
        bank: bank.name().as_str(),
        payee_account_no: &payee.account_no,
        payee_name: &payee.account_name,
        amount,
        remittance: &remittance,
    };
    settlements::instruct(mover.tx, instruction, run.now()).await?;
    let reason = format!("instruction {end_to_end_id} to {}", bank.name());
    mover.move_part(part_no, PartEvent::Send, &reason).await?;
    let subject = payout_subject(&end_to_end_id);
    let occasion = on(&subject, china_day(&run.now()));
    let booked = events::payout_submitted(occasion, &merchant.merchant_id, amount);
    mover.book([booked]).await?;
    run.audit(&mut tx, sent_entry(decided, part_no, &instruction));
    run.checkpoint(tx).await?;
    let told = Told {
        of: (decided.id, part_no),
        end_to_end_id: &end_to_end_id,
        operation: &operation,
        amount,
        payee_account_no: &payee.account_no,
        payee_name: &payee.account_name,
        remittance: &remittance,
        is_unsent: true,
    };
    send(run, bank, &told).await
}

/// The turn may have taken its time: a hold or another account goes before what was decided.
async fn is_same(tx: &mut RunTx, merchant: &Merchant) -> Result<(), WorkError> {
    let current = merchants::find(tx, &merchant.merchant_id).await?;
    if current.is_some_and(|current| current.version == merchant.version) {
        return Ok(());
    }
    let merchant_id = &merchant.merchant_id;
    Err(WorkError::LostRace(format!("merchant {merchant_id}")))
}

fn sent_entry(settlement: &Settlement, part_no: u32, new: &NewInstruction<'_>) -> AuditEntry {
    AuditEntry {
        who: CLEARDAY.to_owned(),
        what: AuditAction::PayoutSent,
        subject: new.end_to_end_id.to_string(),
        detail: json!({
            "settlement_id": settlement.id,
            "merchant_id": settlement.merchant_id,
            "part_no": part_no,
            "generation": new.generation,
            "amount": new.amount.to_major_string(),
            "currency": new.amount.currency().code(),
            "bank": new.bank,
            "payee_account_no": new.payee_account_no,
            "approval_id": new.approval_id,
        }),
    }
}

/// Makes the call of an instruction that is written down, and records what it says.
async fn send(run: &Run, bank: &Bank, told: &Told<'_>) -> Result<Progress, WorkError> {
    let order = PayoutOrder {
        end_to_end_id: told.end_to_end_id,
        amount: told.amount,
        payee_account_no: told.payee_account_no,
        payee_name: told.payee_name,
        remittance: told.remittance,
        idempotency_key: &told.operation.idempotency_key,
    };
    let answer = match in_time(run, told.operation) {
        Ok(()) => bank.pay_out(&order).await,
        Err(late) => Err(late),
    };
    if told.is_unsent && is_unsent(&answer) {
        let mut tx = run.begin().await?;
        settlements::note_unsent(&mut tx, told.end_to_end_id, Some(run.now())).await?;
        run.checkpoint(tx).await?;
    }
    if let Err(error) = &answer
        && !told.is_unsent
        && is_own_objection(error)
    {
        // That we object to sending it again says nothing of what left before.
        let failure = channel_failure(bank.name(), error);
        return asked_later(run, told, failure.to_string()).await;
    }
    match sort_answer(run, told.operation, answer).await {
        Ok(Learned::Succeeded(answer)) => match view(&answer.state) {
            // A bank that takes an order and does not know it says nothing.
            BankView::NotFound => lose(run, told).await,
            known @ (BankView::Accepted
            | BankView::Booked
            | BankView::Rejected(_)
            | BankView::Returned(_)) => {
                let meant = meaning(&known, PartState::Sent);
                record(run, told, &meant, &answer.evidence).await
            }
        },
        Ok(Learned::Declined(declined)) => {
            let meant = AnswerDecision::Reject(declined.detail);
            record(run, told, &meant, &declined.evidence).await
        }
        Ok(Learned::Unknown) => lose(run, told).await,
        // Nonsense, or never sent: that is recorded, and the part is blocked until people look at it.
        Err(WorkError::Invalid(why)) => {
            let seen = observed(&why, run.now());
            record(run, told, &AnswerDecision::Reject(why), &seen).await
        }
        Err(failure @ WorkError::Unavailable { .. }) => {
            asked_later(run, told, failure.to_string()).await
        }
        Err(error) => Err(error),
    }
}

/// Whether a call failed before the bank was told anything, or with the bank's word that it did nothing.
fn is_unsent<Answer>(answer: &Result<Answer, ChannelError>) -> bool {
    match answer {
        Err(ChannelError::Unavailable(_)) => true,
        Err(error) => is_own_objection(error),
        Ok(_) => false,
    }
}

/// Sends an order again under its key. From before the call on it may have left: whoever waits for silence to prove it
/// dead counts from now. Nobody may have said meanwhile that it was paid otherwise.
async fn send_again(
    run: &Run,
    bank: &Bank,
    merchant: &Merchant,
    decided: &Settlement,
    told: &Told<'_>,
) -> Result<Progress, WorkError> {
    bank.wait_for_turn().await;
    let mut tx = run.begin().await?;
    Mover::hold_decided(run, &mut tx, decided).await?;
    is_same(&mut tx, merchant).await?;
    let operation = Operation {
        updated_at: run.now(),
        ..told.operation.clone()
    };
    if !operations::note_resent(&mut tx, operation.id, operation.updated_at).await? {
        return Err(WorkError::LostRace(operation.idempotency_key));
    }
    if told.is_unsent {
        settlements::note_unsent(&mut tx, told.end_to_end_id, None).await?;
    }
    run.checkpoint(tx).await?;
    let told = Told {
        operation: &operation,
        ..*told
    };
    send(run, bank, &told).await
}

/// What an answer that is no "not found" means for a part that is not known to the bank yet.
fn meaning(view: &BankView, part: PartState) -> AnswerDecision {
    let accepted = |what: &str| AnswerDecision::Accept(what.to_owned());
    match view {
        BankView::NotFound => AnswerDecision::Same,
        BankView::Accepted if part == PartState::Accepted => AnswerDecision::Same,
        BankView::Accepted => accepted("the bank has it"),
        BankView::Booked => accepted("the bank says that it paid"),
        BankView::Rejected(reason) => AnswerDecision::Reject(reason.clone()),
        BankView::Returned(reason) => AnswerDecision::Bounce(reason.clone()),
    }
}

/// A question changes nothing and may be put again. With a payment in the open the job must not run out of attempts,
/// so it waits instead of failing; and the other parts do not wait for this one. What may have left before, when this
/// process or another one died in the middle of the call, is unknown from now on.
async fn asked_later(run: &Run, told: &Told<'_>, reason: String) -> Result<Progress, WorkError> {
    if told.is_unsent {
        note_asked(run, told.end_to_end_id).await?;
    } else {
        lose(run, told).await?;
    }
    let until = ask_again_at(told.operation.intended_at, run.now());
    Ok(Progress::Unanswered(until, reason))
}

/// Asks the bank what became of the newest instruction about a part.
pub(super) async fn query(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    settlement: &Settlement,
    part_no: u32,
) -> Result<Progress, WorkError> {
    let part = settlement.part(part_no);
    let Some((part, instruction)) = part.and_then(|part| Some((part, part.instruction()?))) else {
        return Err(WorkError::Invalid(format!(
            "part {part_no} of settlement {} has no instruction",
            settlement.id
        )));
    };
    let told = Told::again(settlement, part, instruction);
    if instruction.operation.state == OperationState::Declined {
        // The refusal was recorded, and what follows from it was not.
        let why = "the order was refused, or never sent";
        let seen = observed(why, run.now());
        return record(run, &told, &AnswerDecision::Reject(why.to_owned()), &seen).await;
    }
    let Some(bank) = bench.banks.find(&instruction.bank) else {
        let failure = not_configured(&instruction.bank);
        return asked_later(run, &told, failure.to_string()).await;
    };
    if let Admission::Wait(until) = bank.gate().admit() {
        let reason = kept_back(bank.name(), bank.gate(), until);
        return Ok(Progress::KeptBack(bank.name().clone(), until, reason));
    }
    let answer = match bank.query(&instruction.end_to_end_id).await {
        Ok(answer) => answer,
        Err(error) => {
            let failure = channel_failure(bank.name(), &error);
            return asked_later(run, &told, failure.to_string()).await;
        }
    };
    let decision = decide_answer(
        &view(&answer.state),
        part.state,
        &instruction.operation,
        promises_of(bank),
        Resending::of(part, &merchant.payee, merchant.is_held),
        run.now(),
    );
    if decision == AnswerDecision::Replay {
        return send_again(run, bank, merchant, settlement, &told).await;
    }
    record(run, &told, &decision, &answer.evidence).await
}

fn view(state: &PayoutState) -> BankView {
    match state {
        PayoutState::NotFound => BankView::NotFound,
        PayoutState::Accepted => BankView::Accepted,
        PayoutState::Booked => BankView::Booked,
        PayoutState::Rejected { reason } => BankView::Rejected(reason.clone()),
        PayoutState::Returned { reason } => BankView::Returned(reason.clone()),
    }
}

/// Records that nobody knows what became of a call.
async fn lose(run: &Run, told: &Told<'_>) -> Result<Progress, WorkError> {
    let (id, part_no) = told.of;
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold(run, &mut tx, id).await?;
    if is_open(&mover, told)? && mover.part(part_no)?.state == PartState::Sent {
        let reason = format!(
            "the answer to {} was lost; the bank is asked",
            told.end_to_end_id
        );
        mover.move_part(part_no, PartEvent::Lose, &reason).await?;
    }
    settlements::note_asked(&mut tx, told.end_to_end_id, run.now()).await?;
    run.checkpoint(tx).await?;
    Ok(Progress::Made)
}

async fn note_asked(run: &Run, end_to_end_id: &Reference) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    settlements::note_asked(&mut tx, end_to_end_id, run.now()).await?;
    run.checkpoint(tx).await
}

/// Whether the instruction is the newest one and its outcome is open; the statement may have been faster.
fn is_open(mover: &Mover<'_>, told: &Told<'_>) -> Result<bool, WorkError> {
    let (_, part_no) = told.of;
    let newest = mover.part(part_no)?.instruction();
    Ok(newest.is_some_and(|it| {
        it.end_to_end_id == *told.end_to_end_id && it.state == InstructionState::Open
    }))
}

/// Records what an answer means, with its evidence.
async fn record(
    run: &Run,
    told: &Told<'_>,
    decision: &AnswerDecision,
    evidence: &Evidence,
) -> Result<Progress, WorkError> {
    let (id, part_no) = told.of;
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold(run, &mut tx, id).await?;
    if !is_open(&mover, told)? {
        return Ok(Progress::Made);
    }
    let (event, fate, reason) = match decision {
        AnswerDecision::Accept(reason) => (PartEvent::Accept, OperationState::Succeeded, reason),
        AnswerDecision::Bounce(reason) => (PartEvent::Bounce, OperationState::Succeeded, reason),
        AnswerDecision::Reject(reason) => (PartEvent::Reject, OperationState::Declined, reason),
        AnswerDecision::Same | AnswerDecision::Replay => {
            settlements::note_asked(&mut tx, told.end_to_end_id, run.now()).await?;
            run.checkpoint(tx).await?;
            return Ok(Progress::Made);
        }
        AnswerDecision::Wait(until, reason) => {
            settlements::note_asked(&mut tx, told.end_to_end_id, run.now()).await?;
            run.checkpoint(tx).await?;
            return Ok(Progress::Unanswered(*until, reason.clone()));
        }
    };
    if mover.part(part_no)?.state.after(event).is_none() {
        return Ok(Progress::Made);
    }
    mover.move_part(part_no, event, reason).await?;
    if event == PartEvent::Reject {
        let to = InstructionState::Rejected;
        let end_to_end_id = told.end_to_end_id;
        mover
            .move_instruction(part_no, end_to_end_id, to, None)
            .await?;
        let subject = payout_subject(end_to_end_id);
        let whose = mover.settlement.merchant_id.clone();
        let occasion = on(&subject, china_day(&run.now()));
        let booked = events::payout_rejected(occasion, &whose, told.amount);
        mover.book([booked]).await?;
    } else {
        settlements::note_asked(mover.tx, told.end_to_end_id, run.now()).await?;
    }
    conclude(run, &mut tx, told.operation, (fate, reason), evidence).await?;
    run.checkpoint(tx).await?;
    Ok(Progress::Made)
}

fn not_configured(bank: &clearday_jobs::ChannelName) -> WorkError {
    WorkError::Unavailable {
        what: format!("bank {bank}"),
        reason: "it is not configured: add it under [[banks]]".to_owned(),
    }
}

/// The number under which a part is paid: unique by the settlement, the part and the generation, and short enough for
/// every bank.
pub fn end_to_end_id(
    id: SettlementId,
    part_no: u32,
    generation: u32,
) -> Result<Reference, WorkError> {
    let digits = id.0.simple().to_string();
    let (_, random) = digits
        .split_at_checked(digits.len().saturating_sub(ID_DIGITS))
        .unwrap_or(("", &digits));
    format!("S{}P{part_no}G{generation}", random.to_ascii_uppercase())
        .parse()
        .map_err(|error| WorkError::Invalid(format!("no end-to-end id: {error}")))
}

/// What tells the payee which money this is.
fn remittance(settlement: &Settlement, part_no: u32, end_to_end_id: &Reference) -> String {
    format!(
        "settlement {} {} to {} part {part_no}/{} {end_to_end_id}",
        settlement.sequence_no,
        settlement.period_from,
        settlement.period_last(),
        settlement.parts.len(),
    )
}
