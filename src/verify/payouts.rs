//! A part is paid once, by what was approved as it was shown, and what is confirmed is booked on its line.

use clearday_jobs::Money;
use serde_json::Value;

use super::approvals::is_granted;
use super::books::Books;
use super::findings::Findings;
use super::settlements::name;
use crate::domain::approval::{Approval, ApprovalAction};
use crate::domain::ledger::EntryEvent;
use crate::domain::operation::OperationKind;
use crate::domain::settlement_run::{
    Claim, ClaimState, Instruction, InstructionState, Part, PartState, Settlement,
};
use crate::store::verify_settlements::booked;
use crate::store::{StoreError, Tx, approvals};

pub(super) async fn check(
    tx: &mut Tx,
    settlement: &Settlement,
    books: &mut Books,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    for part in &settlement.parts {
        check_state(settlement, part, findings);
        for (instruction, generation) in part.instructions.iter().zip(1_u32..) {
            findings.look();
            let of = Of {
                settlement,
                part,
                instruction,
            };
            of.check(generation, findings);
            let approval = approvals::find(tx, instruction.approval_id).await?;
            of.check_approval(approval.as_ref(), findings);
            of.check_booked(tx, findings).await?;
            // Its money may be said to have bounced when it is on the statement already: then it is not on its way.
            if instruction.state == InstructionState::Open && instruction.debited_on.is_none() {
                let merchant = settlement.merchant_id.as_str();
                books.in_transit.add_money(merchant, part.amount);
            }
        }
        for claim in &part.claims {
            findings.look();
            let approval = approvals::find(tx, claim.approval_id).await?;
            check_claim(settlement, part, claim, approval.as_ref(), findings);
        }
    }
    check_sum(settlement, findings);
    Ok(())
}

/// One instruction about one part.
struct Of<'a> {
    settlement: &'a Settlement,
    part: &'a Part,
    instruction: &'a Instruction,
}

impl Of<'_> {
    fn name(&self) -> String {
        let (e2e, part) = (&self.instruction.end_to_end_id, self.part.part_no);
        format!("{e2e} (part {part} of {})", name(self.settlement))
    }

    fn check(&self, generation: u32, findings: &mut Findings) {
        let instruction = self.instruction;
        findings.expect(instruction.generation == generation, || {
            format!(
                "{} comes where generation {generation} is expected",
                self.name()
            )
        });
        let is_newest = self.part.instruction() == Some(instruction);
        let is_dead = match instruction.state {
            InstructionState::Rejected | InstructionState::Returned => true,
            InstructionState::Open | InstructionState::Confirmed => false,
        };
        // A line may prove that one was paid that was taken for dead; then both are in the books.
        let is_live = instruction.state == InstructionState::Open;
        findings.expect(is_newest || is_dead || !is_live, || {
            format!("{} is open, and another one follows it", self.name())
        });
        let operation = &instruction.operation;
        let is_its_call = operation.kind == OperationKind::PayOut
            && operation.reference == instruction.end_to_end_id
            && operation.channel == instruction.bank;
        findings.expect(is_its_call, || {
            format!(
                "{} was not sent by {}",
                self.name(),
                operation.idempotency_key
            )
        });
        let contradicts = match instruction.state {
            // A bank may take an order, and turn it down at the end of the day.
            InstructionState::Rejected
            | InstructionState::Confirmed
            | InstructionState::Returned => !operation.state.is_final(),
            InstructionState::Open => false,
        };
        findings.expect(!contradicts, || {
            format!(
                "{} is {}, and its call {}",
                self.name(),
                instruction.state,
                operation.state
            )
        });
    }

    fn check_approval(&self, approval: Option<&Approval>, findings: &mut Findings) {
        let Some(approval) = approval else {
            findings.wrong(format!("{} was sent without an approval", self.name()));
            return;
        };
        let is_about_it = match approval.action {
            ApprovalAction::Payout | ApprovalAction::Release => true,
            ApprovalAction::OfflinePayment | ApprovalAction::BankAccount => false,
        };
        findings.expect(is_about_it && is_granted(approval), || {
            format!("{} was sent on what nobody approved", self.name())
        });
        let instruction = self.instruction;
        let shows = |field, value: &str| shown(approval, field).as_deref() == Some(value);
        let showed_it = shows("settlement_id", &self.settlement.id.to_string())
            && shows("bank", instruction.bank.as_str())
            && shows("account_no", &instruction.payee_account_no)
            && shows("account_name", &instruction.payee_name);
        findings.expect(showed_it, || {
            format!("{} pays somebody else than was shown", self.name())
        });
        let showed_amount = match approval.action {
            ApprovalAction::Release => shows("amount.amount", &self.part.amount.to_major_string()),
            ApprovalAction::Payout
            | ApprovalAction::OfflinePayment
            | ApprovalAction::BankAccount => {
                shows("items_and_amounts_sha256", &self.settlement.digest)
            }
        };
        findings.expect(showed_amount, || {
            format!("{} pays something else than was shown", self.name())
        });
    }

    /// What was paid, and what came back, is in the books under its number.
    async fn check_booked(&self, tx: &mut Tx, findings: &mut Findings) -> Result<(), StoreError> {
        let wanted: &[EntryEvent] = match self.instruction.state {
            InstructionState::Open => &[EntryEvent::PayoutSubmitted],
            InstructionState::Confirmed => {
                &[EntryEvent::PayoutSubmitted, EntryEvent::PayoutConfirmed]
            }
            InstructionState::Rejected => {
                &[EntryEvent::PayoutSubmitted, EntryEvent::PayoutRejected]
            }
            InstructionState::Returned => {
                &[EntryEvent::PayoutSubmitted, EntryEvent::PayoutReturned]
            }
        };
        let subject = format!("payout:{}", self.instruction.end_to_end_id);
        let identities: Vec<String> = wanted
            .iter()
            .map(|event| format!("{subject}/{event}"))
            .collect();
        let found = booked(tx, &identities).await?;
        for (event, identity) in wanted.iter().zip(&identities) {
            let postings = found.get(identity).map(Vec::as_slice).unwrap_or_default();
            let posted = postings
                .iter()
                .map(|posting| i128::from(posting.amount_minor));
            let posted = posted.fold(0, i128::saturating_add);
            let amount = self.part.amount.minor_units();
            findings.expect(posted == i128::from(amount), || {
                format!(
                    "{} is of {amount}, and its {event} of {posted}",
                    self.name()
                )
            });
        }
        Ok(())
    }
}

/// A value of what was shown to people; a dot leads into an object.
fn shown(approval: &Approval, field: &str) -> Option<String> {
    text_in(&approval.shown, field)
}

/// A text in a JSON object; a dot leads into an object in it.
pub(super) fn text_in(object: &str, field: &str) -> Option<String> {
    let object: Value = serde_json::from_str(object).ok()?;
    let mut value = &object;
    for name in field.split('.') {
        value = value.get(name)?;
    }
    value.as_str().map(str::to_owned)
}

/// A part that is paid has what paid it.
fn check_state(settlement: &Settlement, part: &Part, findings: &mut Findings) {
    let has = |state| part.instructions.iter().any(|it| it.state == state);
    let is_so = match part.state {
        PartState::Planned => !has(InstructionState::Open),
        PartState::Sent | PartState::Unknown | PartState::Accepted => has(InstructionState::Open),
        PartState::Confirmed => has(InstructionState::Confirmed),
        PartState::Rejected => has(InstructionState::Rejected),
        PartState::Bounced => has(InstructionState::Open) || has(InstructionState::Confirmed),
        PartState::Returned => has(InstructionState::Returned),
        PartState::PaidOffline => part.claims.iter().any(|it| it.state == ClaimState::Counted),
    };
    findings.expect(is_so, || {
        let (number, state) = (part.part_no, part.state);
        format!(
            "part {number} of {} is {state}, and nothing says so",
            name(settlement)
        )
    });
}

fn check_claim(
    settlement: &Settlement,
    part: &Part,
    claim: &Claim,
    approval: Option<&Approval>,
    findings: &mut Findings,
) {
    let needs_two_people = match claim.state {
        ClaimState::Waiting | ClaimState::Counted => true,
        // It may give way before anybody was asked.
        ClaimState::Registered | ClaimState::Refused | ClaimState::Surplus => false,
    };
    let number = &claim.bank_reference;
    let is_agreed = approval.is_some_and(|approval| {
        approval.action == ApprovalAction::OfflinePayment
            && is_granted(approval)
            && shown(approval, "bank_reference").as_deref() == Some(number)
            && shown(approval, "proof_sha256").as_deref() == Some(&claim.proof_sha256)
    });
    findings.expect(!needs_two_people || is_agreed, || {
        let part = part.part_no;
        format!(
            "offline payment {number} of part {part} of {} counts without two people",
            name(settlement)
        )
    });
    findings.expect(claim.amount == part.amount, || {
        let (part, amount) = (part.part_no, part.amount);
        format!(
            "offline payment {number} is of {}, and part {part} of {amount}",
            claim.amount
        )
    });
}

/// What may be paid, or is, is never more than what is owed.
fn check_sum(settlement: &Settlement, findings: &mut Findings) {
    let mut live = Some(Money::from_minor(0, settlement.currency));
    for part in &settlement.parts {
        let instructions = part.instructions.iter().filter(|it| match it.state {
            InstructionState::Open | InstructionState::Confirmed => true,
            InstructionState::Rejected | InstructionState::Returned => false,
        });
        // A second debit that did happen is in the books, and not in what we meant to pay.
        let is_paid_offline = part.state == PartState::PaidOffline;
        let lives = is_paid_offline || instructions.count() > 0;
        if lives {
            live = live.and_then(|sum| sum.checked_add(part.amount).ok());
        }
    }
    let net = settlement.amounts.net.minor_units();
    let is_within = live.is_some_and(|live| live.minor_units() <= net.max(0));
    findings.expect(is_within, || {
        format!(
            "more than the net of {} is paid or under way",
            name(settlement)
        )
    });
}
