//! How one settlement is changed in a transaction: held, moved by its tables, booked, and written into its history.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{
    ApprovalId, JobId, MerchantId, Money, OfflinePaymentId, Reference, SettlementId,
};
use uuid::Uuid;

use crate::domain::ledger::events::{self, Built, Occasion};
use crate::domain::settlement_run::{
    Claim, ClaimEvent, ClaimState, DebitLine, Instruction, InstructionState, Part, PartEvent,
    PartState, Settlement, SettlementEvent,
};
use crate::engine::{Run, RunTx, WorkError};
use crate::store::ledger::{self, JobContext};
use crate::store::settlements::{self, Change};

/// A settlement that is held by this transaction, and what is done to it.
pub(super) struct Mover<'a> {
    run: &'a Run,
    pub(super) tx: &'a mut RunTx,
    pub(super) settlement: Settlement,
}

impl<'a> Mover<'a> {
    /// Holds the settlement as it is now.
    pub(super) async fn hold(
        run: &'a Run,
        tx: &'a mut RunTx,
        id: SettlementId,
    ) -> Result<Self, WorkError> {
        let settlement = settlements::lock(tx, id).await?.ok_or_else(|| lost(id))?;
        Ok(Self {
            run,
            tx,
            settlement,
        })
    }

    /// Holds the settlement if it is still as it was when the decision was made.
    pub(super) async fn hold_decided(
        run: &'a Run,
        tx: &'a mut RunTx,
        decided: &Settlement,
    ) -> Result<Self, WorkError> {
        let mover = Self::hold(run, tx, decided.id).await?;
        if mover.settlement.version == decided.version {
            Ok(mover)
        } else {
            Err(lost(decided.id))
        }
    }

    pub(super) fn run(&self) -> &'a Run {
        self.run
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.run.now()
    }

    pub(super) fn part(&self, part_no: u32) -> Result<&Part, WorkError> {
        self.settlement
            .part(part_no)
            .ok_or_else(|| lost(self.settlement.id))
    }

    /// The instruction with this end-to-end id.
    pub(super) fn instruction(
        &self,
        part_no: u32,
        end_to_end_id: &Reference,
    ) -> Result<&Instruction, WorkError> {
        let mut all = self.part(part_no)?.instructions.iter();
        all.find(|it| it.end_to_end_id == *end_to_end_id)
            .ok_or_else(|| lost(self.settlement.id))
    }

    pub(super) fn claim(&self, id: OfflinePaymentId) -> Result<(u32, &Claim), WorkError> {
        let parts = self.settlement.parts.iter();
        let mut claims = parts.flat_map(|part| part.claims.iter().map(|it| (part.part_no, it)));
        claims
            .find(|(_, claim)| claim.id == id)
            .ok_or_else(|| lost(self.settlement.id))
    }

    /// Moves a part by its table.
    pub(super) async fn move_part(
        &mut self,
        part_no: u32,
        event: PartEvent,
        reason: &str,
    ) -> Result<PartState, WorkError> {
        let from = self.part(part_no)?.state;
        let to = from
            .after(event)
            .ok_or_else(|| refused("part", part_no, from, event))?;
        let (id, now) = (self.settlement.id, self.now());
        let moved = settlements::move_part(self.tx, (id, part_no), (from, to), reason, now).await?;
        if !moved {
            return Err(lost(id));
        }
        for part in &mut self.settlement.parts {
            if part.part_no == part_no {
                part.state = to;
            }
        }
        self.record(event.as_str(), Some((part_no, to)), reason)
            .await?;
        Ok(to)
    }

    /// Moves the settlement as a whole by its table.
    pub(super) async fn move_whole(
        &mut self,
        event: SettlementEvent,
        approval_id: Option<ApprovalId>,
        reason: &str,
    ) -> Result<(), WorkError> {
        let from = self.settlement.state;
        self.settlement.state = from
            .after(event)
            .ok_or_else(|| refused("settlement", self.settlement.sequence_no, from, event))?;
        self.settlement.approval_id = approval_id.or(self.settlement.approval_id);
        self.record(event.as_str(), None, reason).await
    }

    /// Writes the day down on which it is paid.
    pub(super) async fn date(
        &mut self,
        due_on: NaiveDate,
        calendar_version: &str,
    ) -> Result<(), WorkError> {
        let id = self.settlement.id;
        if !settlements::date(self.tx, id, due_on, calendar_version).await? {
            return Err(lost(id));
        }
        self.settlement.due_on = Some(due_on);
        let reason = format!("calendar {calendar_version} says that it is paid on {due_on}");
        self.record("date", None, &reason).await
    }

    /// Puts another job in charge.
    pub(super) async fn hand_to(&mut self, job_id: JobId, reason: &str) -> Result<(), WorkError> {
        if self.settlement.job_id == job_id {
            return Ok(());
        }
        self.settlement.job_id = job_id;
        self.record("handed_over", None, reason).await
    }

    /// Moves a claim by its table.
    pub(super) async fn move_claim(
        &mut self,
        id: OfflinePaymentId,
        event: ClaimEvent,
        debit: Option<DebitLine<'_>>,
        reason: &str,
    ) -> Result<ClaimState, WorkError> {
        let (part_no, claim) = self.claim(id)?;
        let from = claim.state;
        let part_state = self.part(part_no)?.state;
        let to = from
            .after(event)
            .ok_or_else(|| refused("claim", &claim.bank_reference, from, event))?;
        let now = self.now();
        if !settlements::move_claim(self.tx, id, (from, to), debit, now).await? {
            return Err(lost(self.settlement.id));
        }
        for part in &mut self.settlement.parts {
            for claim in part.claims.iter_mut().filter(|claim| claim.id == id) {
                claim.state = to;
                if let Some(line) = debit {
                    claim.debited_on = Some(line.booked_on);
                    claim.debit_no = Some(line.number.to_owned());
                }
            }
        }
        let words = format!("claim_{event}");
        self.record(&words, Some((part_no, part_state)), reason)
            .await?;
        Ok(to)
    }

    /// Moves an instruction; no table, because what it may do follows from its part's.
    pub(super) async fn move_instruction(
        &mut self,
        part_no: u32,
        end_to_end_id: &Reference,
        to: InstructionState,
        debit: Option<DebitLine<'_>>,
    ) -> Result<(), WorkError> {
        let from = self.instruction(part_no, end_to_end_id)?.state;
        let now = self.now();
        let moved =
            settlements::move_instruction(self.tx, end_to_end_id, (from, to), debit, now).await?;
        if moved {
            Ok(())
        } else {
            Err(lost(self.settlement.id))
        }
    }

    /// Writes a change into the history, and counts it.
    pub(super) async fn record(
        &mut self,
        event: &str,
        part: Option<(u32, PartState)>,
        reason: &str,
    ) -> Result<(), WorkError> {
        let now = self.now();
        let change = Change {
            id: self.settlement.id,
            version: self.settlement.version,
            state: self.settlement.state,
            approval_id: self.settlement.approval_id,
            job_id: self.settlement.job_id,
            part,
            event,
            reason,
            by: Some(self.run.job().id),
        };
        if !settlements::apply(self.tx, &change, now).await? {
            return Err(lost(self.settlement.id));
        }
        self.settlement.version = self.settlement.version.saturating_add(1);
        Ok(())
    }

    /// Books what happened; what comes to nothing is not booked.
    pub(super) async fn book(
        &mut self,
        built: impl IntoIterator<Item = Built>,
    ) -> Result<Option<Uuid>, WorkError> {
        book(self.run, self.tx, built).await
    }
}

/// Books entries and returns the id of the last one.
pub(super) async fn book(
    run: &Run,
    tx: &mut RunTx,
    built: impl IntoIterator<Item = Built>,
) -> Result<Option<Uuid>, WorkError> {
    let mut entries = Vec::new();
    for entry in built {
        let entry = entry.map_err(|error| WorkError::Invalid(error.to_string()))?;
        entries.extend(entry);
    }
    let on_behalf = JobContext {
        job_id: Some(run.job().id),
    };
    let ids = run.engine().ids();
    let appended = ledger::append(tx, &entries, on_behalf, ids, run.now()).await?;
    Ok(appended.last().map(|it| it.id()))
}

/// What was put back when an order was taken for dead is under way again.
pub(super) fn rejection_undone(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let rejected = events::payout_rejected(occasion, merchant, amount)?;
    Ok(rejected.map(|entry| events::reversal(&entry, occasion.accounting_on)))
}

/// What a payout is booked under.
pub(super) fn payout_subject(end_to_end_id: &Reference) -> String {
    format!("payout:{end_to_end_id}")
}

/// What an offline payment is booked under.
pub(super) fn offline_subject(id: OfflinePaymentId) -> String {
    format!("offline:{id}")
}

pub(super) const fn on(subject: &str, accounting_on: NaiveDate) -> Occasion<'_> {
    Occasion {
        subject,
        accounting_on,
    }
}

pub(super) fn lost(id: SettlementId) -> WorkError {
    WorkError::LostRace(format!("settlement {id}"))
}

fn refused(
    what: &str,
    number: impl std::fmt::Display,
    state: impl std::fmt::Display,
    event: impl std::fmt::Display,
) -> WorkError {
    WorkError::LostRace(format!(
        "{what} {number}, which is {state} and refuses to {event},"
    ))
}
