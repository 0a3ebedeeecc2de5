//! What a line of a bank's statement proves about a settlement. Only here does `bank` move for it.
//!
//! Called by the reconciliation of the bank's statement, in its transaction. Every line is a fact that is booked once,
//! however often it is read. A second debit for a part that is paid is booked, too, to what the merchant owes back; the
//! caller shows it as a break.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, Money, OfflinePaymentId, Reference, SettlementId};

use super::claims::{book_debit, give_way, release_returned};
use super::moves::{Mover, offline_subject, on, payout_subject, rejection_undone};
use super::second::{self, RepeatedDebit};
use crate::connectors::Evidence;
use crate::domain::ledger::events::{self, Built};
use crate::domain::ledger::{EntryEvent, Fact, FactKey, FactKind, FactSource};
use crate::domain::operation::OperationState;
use crate::domain::settlement_run::{
    ClaimEvent, ClaimState, DebitLine, Instruction, InstructionState, PartEvent, SettlementEvent,
    SettlementState,
};
use crate::engine::{Run, RunTx, ShownSettlement, WorkError};
use crate::store::ledger::{self, FactOutcome};
use crate::store::settlements;
use crate::workers::calls::conclude;

/// Approved, on the statement, and paid a second time.
const ENTRIES_OF_A_CLAIM_MAX: usize = 3;

/// One line of a statement.
#[derive(Clone, Copy, Debug)]
pub(in crate::workers) struct BankFact<'a> {
    /// Whose statement.
    pub(in crate::workers) bank: &'a ChannelName,
    /// The bank's number of the line: unique there.
    pub(in crate::workers) number: &'a str,
    /// How much; above zero, whichever way it went.
    pub(in crate::workers) amount: Money,
    /// The day on which the bank booked it.
    pub(in crate::workers) booked_on: NaiveDate,
    /// Which file, statement and line says so, as JSON.
    pub(in crate::workers) evidence: &'a str,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workers) enum Shown {
    /// It is explained, and booked now.
    Booked,
    /// It was explained and booked before.
    Known,
    /// It paid a part that was paid: the merchant owes it back, and the caller shows a break.
    SecondDebit {
        /// Who was paid twice.
        merchant_id: MerchantId,
        /// For what.
        part: String,
    },
    /// It is of another amount than what it stands for: nothing was booked.
    Differs {
        /// What was expected.
        expected: Money,
    },
    /// Nothing of ours has this number.
    NotOurs,
}

impl BankFact<'_> {
    fn fact(&self, kind: FactKind) -> Fact {
        // The bank says which day, and not when on it.
        let midnight: DateTime<Utc> = self.booked_on.and_time(NaiveTime::MIN).and_utc();
        Fact {
            key: FactKey {
                account: self.bank.clone(),
                kind,
                external_no: self.number.to_owned(),
            },
            amount: self.amount,
            occurred_at: midnight,
            source: FactSource::Statement,
            evidence: self.evidence.to_owned(),
        }
    }

    /// The line as evidence of a call's outcome.
    fn proof(&self, now: DateTime<Utc>) -> Evidence {
        Evidence {
            request: format!("statement of {}", self.bank),
            answer: self.evidence.to_owned(),
            answered_at: now,
        }
    }

    /// The line as what shows a debit.
    const fn debit(&self) -> DebitLine<'_> {
        DebitLine {
            booked_on: self.booked_on,
            number: self.number,
        }
    }

    fn second_subject(&self) -> String {
        format!("second_debit:{}:{}", self.bank, self.number)
    }
}

/// A debit that carries an end-to-end id of ours.
pub(in crate::workers) async fn confirm_part(
    run: &Run,
    tx: &mut RunTx,
    end_to_end_id: &Reference,
    debit: &BankFact<'_>,
) -> Result<Shown, WorkError> {
    let Some((id, part_no, _)) = settlements::of_instruction(tx, end_to_end_id).await? else {
        return Ok(Shown::NotOurs);
    };
    let mut mover = Mover::hold(run, tx, id).await?;
    let part = mover.part(part_no)?;
    if part.amount != debit.amount {
        let expected = part.amount;
        return Ok(Shown::Differs { expected });
    }
    let twice = second_debit_of(&mover, part_no);
    let fact = debit.fact(FactKind::Payout);
    let instruction = mover.instruction(part_no, end_to_end_id)?.clone();
    if ledger::find_fact(mover.tx, &fact.key).await?.is_some() {
        let booked = ledger::of_subject(mover.tx, &debit.second_subject(), 1).await?;
        let is_its_own = instruction.debit_no.as_deref() == Some(debit.number)
            && instruction.state != InstructionState::Rejected;
        return Ok(if booked.is_empty() || is_its_own {
            Shown::Known
        } else {
            twice
        });
    }
    let shown = if let Some(first) = first_debit(&mover, part_no, &instruction) {
        let entry = book_first(&mut mover, part_no, &instruction, debit, first).await?;
        note(&mut mover, &fact, entry).await?;
        if claims_give_way(&mut mover, part_no).await? {
            report_line(&mut mover, end_to_end_id.as_str(), debit).await?;
            twice
        } else {
            Shown::Booked
        }
    } else {
        let id = end_to_end_id.as_str();
        let entry = book_second(&mut mover, part_no, id, debit).await?;
        note(&mut mover, &fact, entry).await?;
        if instruction.state == InstructionState::Rejected && instruction.debited_on.is_none() {
            let (same, line) = (instruction.state, Some(debit.debit()));
            mover
                .move_instruction(part_no, end_to_end_id, same, line)
                .await?;
        }
        twice
    };
    wake(&mut mover, debit, "a debit is on the statement");
    Ok(shown)
}

/// Of what kind of instruction a first debit is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstDebit {
    /// It pays its part, or did before the money bounced.
    Open,
    /// The money came back before the line of its way out was read.
    Returned,
    /// It was taken for dead, and nothing else paid its part.
    Dead,
}

/// `None` where this debit is one too many.
fn first_debit(mover: &Mover<'_>, part_no: u32, instruction: &Instruction) -> Option<FirstDebit> {
    if instruction.debited_on.is_some() {
        return None;
    }
    let part = mover.settlement.part(part_no)?;
    match instruction.state {
        InstructionState::Open => Some(FirstDebit::Open),
        InstructionState::Returned => Some(FirstDebit::Returned),
        InstructionState::Rejected => part
            .state
            .after(PartEvent::ConfirmLate)
            .map(|_| FirstDebit::Dead),
        InstructionState::Confirmed => None,
    }
}

async fn book_first(
    mover: &mut Mover<'_>,
    part_no: u32,
    instruction: &Instruction,
    debit: &BankFact<'_>,
    first: FirstDebit,
) -> Result<Option<uuid::Uuid>, WorkError> {
    let end_to_end_id = &instruction.end_to_end_id;
    let subject = payout_subject(end_to_end_id);
    let whose = mover.settlement.merchant_id.clone();
    let occasion = on(&subject, debit.booked_on);
    let mut entries: Vec<Built> = Vec::new();
    let reason = format!(
        "the debit is on the statement of {} ({})",
        debit.bank, debit.number
    );
    let to = match first {
        FirstDebit::Open => {
            let part = mover
                .move_part(part_no, PartEvent::Confirm, &reason)
                .await?;
            if part.is_paid() {
                InstructionState::Confirmed
            } else {
                InstructionState::Open
            }
        }
        FirstDebit::Dead => {
            release_returned(mover, part_no).await?;
            entries.push(rejection_undone(occasion, &whose, debit.amount));
            mover
                .move_part(part_no, PartEvent::ConfirmLate, &reason)
                .await?;
            InstructionState::Confirmed
        }
        FirstDebit::Returned => {
            let state = mover.part(part_no)?.state;
            mover
                .record(PartEvent::Confirm.as_str(), Some((part_no, state)), &reason)
                .await?;
            InstructionState::Returned
        }
    };
    entries.push(events::payout_confirmed(
        occasion,
        &whose,
        debit.bank,
        debit.amount,
    ));
    mover
        .move_instruction(part_no, end_to_end_id, to, Some(debit.debit()))
        .await?;
    prove_sent(mover, instruction, debit).await?;
    mover.book(entries).await
}

/// A line on the statement proves that the order arrived.
async fn prove_sent(
    mover: &mut Mover<'_>,
    instruction: &Instruction,
    line: &BankFact<'_>,
) -> Result<(), WorkError> {
    if instruction.operation.state.is_final() {
        return Ok(());
    }
    let proof = line.proof(mover.now());
    let fate = (OperationState::Succeeded, "proved by the bank's statement");
    conclude(mover.run(), mover.tx, &instruction.operation, fate, &proof).await
}

async fn book_second(
    mover: &mut Mover<'_>,
    part_no: u32,
    end_to_end_id: &str,
    debit: &BankFact<'_>,
) -> Result<Option<uuid::Uuid>, WorkError> {
    let whose = mover.settlement.merchant_id.clone();
    let subject = debit.second_subject();
    let occasion = on(&subject, debit.booked_on);
    let entry = events::second_debit(occasion, &whose, debit.bank, debit.amount);
    let state = mover.part(part_no)?.state;
    let reason = format!(
        "paid a second time: {} on the statement of {}",
        debit.number, debit.bank
    );
    mover
        .record("second_debit", Some((part_no, state)), &reason)
        .await?;
    report_line(mover, end_to_end_id, debit).await?;
    mover.book([entry]).await
}

/// The line is of a second payment, and stays a break until it is not.
async fn report_line(
    mover: &mut Mover<'_>,
    end_to_end_id: &str,
    debit: &BankFact<'_>,
) -> Result<(), WorkError> {
    let repeated = RepeatedDebit {
        bank: debit.bank,
        line: debit.debit(),
        amount: debit.amount,
        end_to_end_id,
    };
    second::report(mover, &repeated).await
}

/// Claims that waited for what is proved paid now; `true` when one of them was paid, too.
async fn claims_give_way(mover: &mut Mover<'_>, part_no: u32) -> Result<bool, WorkError> {
    let part = mover.part(part_no)?;
    if !part.state.is_paid() {
        return Ok(false);
    }
    let waiting: Vec<OfflinePaymentId> = part
        .claims
        .iter()
        .filter(|claim| claim.state == ClaimState::Waiting)
        .map(|claim| claim.id)
        .collect();
    let mut was_paid_twice = false;
    for id in waiting {
        was_paid_twice |= give_way(mover, id).await?;
    }
    Ok(was_paid_twice)
}

/// A credit that carries an end-to-end id of ours: a payment that came back (退票).
pub(in crate::workers) async fn return_part(
    run: &Run,
    tx: &mut RunTx,
    end_to_end_id: &Reference,
    credit: &BankFact<'_>,
) -> Result<Shown, WorkError> {
    let Some((id, part_no, _)) = settlements::of_instruction(tx, end_to_end_id).await? else {
        return Ok(Shown::NotOurs);
    };
    let mut mover = Mover::hold(run, tx, id).await?;
    let part = mover.part(part_no)?;
    if part.amount != credit.amount {
        let expected = part.amount;
        return Ok(Shown::Differs { expected });
    }
    let can_return = part.state.after(PartEvent::Return).is_some();
    let fact = credit.fact(FactKind::Return);
    if ledger::find_fact(mover.tx, &fact.key).await?.is_some() {
        return Ok(Shown::Known);
    }
    let instruction = mover.instruction(part_no, end_to_end_id)?.clone();
    if instruction.state == InstructionState::Rejected && instruction.debited_on.is_some() {
        let entry = second::came_back(&mut mover, part_no, &instruction, credit).await?;
        note(&mut mover, &fact, entry).await?;
        return Ok(Shown::Booked);
    }
    let may_return = match instruction.state {
        InstructionState::Open | InstructionState::Confirmed => can_return,
        InstructionState::Rejected | InstructionState::Returned => false,
    };
    if !may_return {
        return Ok(Shown::NotOurs);
    }
    let reason = format!(
        "the money came back on the statement of {} ({})",
        credit.bank, credit.number
    );
    mover.move_part(part_no, PartEvent::Return, &reason).await?;
    let to = InstructionState::Returned;
    mover
        .move_instruction(part_no, end_to_end_id, to, None)
        .await?;
    prove_sent(&mut mover, &instruction, credit).await?;
    if mover.settlement.state == SettlementState::Paid {
        mover
            .move_whole(SettlementEvent::Reopen, None, &reason)
            .await?;
    }
    let whose = mover.settlement.merchant_id.clone();
    let subject = payout_subject(end_to_end_id);
    let occasion = on(&subject, credit.booked_on);
    let returned = events::payout_returned(occasion, &whose, credit.bank, credit.amount);
    let entry = mover.book([returned]).await?;
    note(&mut mover, &fact, entry).await?;
    wake(&mut mover, credit, "a payment came back");
    Ok(Shown::Booked)
}

/// A debit that carries none, or none of ours: it may be one that somebody registered as paid offline, under one of
/// these numbers.
pub(in crate::workers) async fn offline_on_statement(
    run: &Run,
    tx: &mut RunTx,
    references: &[&str],
    debit: &BankFact<'_>,
) -> Result<Shown, WorkError> {
    let found = settlements::of_bank_references(tx, debit.bank.as_str(), references).await?;
    let Some((id, claim_id)) = found else {
        return Ok(Shown::NotOurs);
    };
    offline_debit(run, tx, id, claim_id, debit).await
}

async fn offline_debit(
    run: &Run,
    tx: &mut RunTx,
    id: SettlementId,
    claim_id: OfflinePaymentId,
    debit: &BankFact<'_>,
) -> Result<Shown, WorkError> {
    let mut mover = Mover::hold(run, tx, id).await?;
    let (part_no, claim) = mover.claim(claim_id)?;
    let claim = claim.clone();
    if claim.amount != debit.amount {
        return Ok(Shown::Differs {
            expected: claim.amount,
        });
    }
    // One person alone explains no money: the line waits in suspense until a second one stands for the claim.
    if claim.state == ClaimState::Registered {
        return Ok(Shown::NotOurs);
    }
    let twice = second_debit_of(&mover, part_no);
    let is_surplus = claim.state == ClaimState::Surplus;
    let fact = debit.fact(FactKind::OfflinePayment);
    let is_known = ledger::find_fact(mover.tx, &fact.key).await?.is_some();
    // A debit that was attributed when the claim was decided is known by the bank's own number of it.
    let was_attributed = claim.debited_on.is_some() && debit.number == claim.debit_number();
    if is_known || was_attributed {
        let is_second = is_surplus && !was_booked_first(&mut mover, claim_id).await?;
        return Ok(if is_second { twice } else { Shown::Known });
    }
    if claim.debited_on.is_some() {
        let entry = book_second(&mut mover, part_no, "", debit).await?;
        note(&mut mover, &fact, entry).await?;
        return Ok(twice);
    }
    let entry = book_debit(&mut mover, claim_id, claim.state, debit.booked_on).await?;
    let reason = format!(
        "the offline payment is on the statement of {} ({})",
        debit.bank, debit.number
    );
    mover
        .move_claim(claim_id, ClaimEvent::Debit, Some(debit.debit()), &reason)
        .await?;
    note(&mut mover, &fact, entry).await?;
    if is_surplus {
        second::report_claim(&mut mover, claim_id).await?;
        // What paid the part before may be dead by now.
        wake(&mut mover, debit, "an offline payment is on the statement");
        return Ok(twice);
    }
    Ok(Shown::Booked)
}

/// Whether the debit of a claim was booked while nothing else had paid its part: then the line that came after it is
/// the second one, and the break is about that.
async fn was_booked_first(mover: &mut Mover<'_>, id: OfflinePaymentId) -> Result<bool, WorkError> {
    let entries =
        ledger::of_subject(mover.tx, &offline_subject(id), ENTRIES_OF_A_CLAIM_MAX).await?;
    let event = EntryEvent::OfflineOnStatement.as_str();
    Ok(entries.iter().any(|entry| entry.event == event))
}

async fn note(
    mover: &mut Mover<'_>,
    fact: &Fact,
    entry: Option<uuid::Uuid>,
) -> Result<(), WorkError> {
    let now = mover.now();
    match ledger::note_fact(mover.tx, fact, entry, now).await? {
        FactOutcome::New => Ok(()),
        FactOutcome::Same(_) | FactOutcome::Differs => Err(WorkError::LostRace(format!(
            "line {} of {}",
            fact.key.external_no, fact.key.account
        ))),
    }
}

/// The settlement's job looks at what the line changed, when [`wake_all`] makes it due.
fn wake(mover: &mut Mover<'_>, line: &BankFact<'_>, reason: &str) {
    mover.tx.wake_later(ShownSettlement {
        id: mover.settlement.id,
        cause: format!("evidence:{}:{}", line.bank, line.number),
        reason: reason.to_owned(),
    });
}

/// Makes the jobs due of every settlement that the lines of a transaction changed: after all of them, because a job may
/// wait for a settlement that is held here while it is itself waited for; and in the order of the jobs.
pub(in crate::workers) async fn wake_all(run: &Run, tx: &mut RunTx) -> Result<(), WorkError> {
    let mut by_job = BTreeMap::new();
    for shown in tx.take_shown() {
        if let Some(settlement) = settlements::find(tx, shown.id).await? {
            by_job.entry((settlement.job_id, shown.id)).or_insert(shown);
        }
    }
    for shown in by_job.into_values() {
        let mut mover = Mover::hold(run, tx, shown.id).await?;
        let settlement = mover.settlement.clone();
        let job_id = run
            .wake_settlement(mover.tx, &settlement, &shown.cause, &shown.reason)
            .await?;
        mover.hand_to(job_id, &shown.reason).await?;
    }
    Ok(())
}

fn second_debit_of(mover: &Mover<'_>, part_no: u32) -> Shown {
    let settlement = &mover.settlement;
    Shown::SecondDebit {
        merchant_id: settlement.merchant_id.clone(),
        part: format!(
            "part {part_no} of settlement {} ({})",
            settlement.sequence_no, settlement.id
        ),
    }
}
