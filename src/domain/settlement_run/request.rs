//! What people are shown before money moves, and what their answer means.
//!
//! A request shows everything that would be done: whom, how much, on which account, for which items. Its digest binds
//! the answer to that; what is shown otherwise is asked anew.

use chrono::NaiveDate;
use clearday_jobs::{Amount, ChannelName, JobId, Money, OfflinePaymentId, canonical_json};
use serde_json::{Value, json};

use super::decide::Consent;
use super::{Part, PartState, Settlement};
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState};
use crate::domain::digest::hex_sha256;
use crate::domain::merchant::Payee;

/// Something people are asked to agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be done.
    pub action: ApprovalAction,
    /// About what.
    pub subject: String,
    /// What is shown.
    pub shown: Value,
    /// How much.
    pub amount: Money,
    /// The account that is paid.
    pub payee: String,
    /// The day on which money is to move.
    pub value_on: Option<NaiveDate>,
}

/// What somebody says about a payment outside of clearday.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTerms {
    /// How much.
    pub amount: Money,
    /// The bank that is said to have paid it.
    pub bank: ChannelName,
    /// The day on which it is said to have been paid.
    pub paid_on: NaiveDate,
    /// The bank's number of it.
    pub bank_reference: String,
    /// SHA-256 of the proof (回单).
    pub proof_sha256: String,
    /// Who says so.
    pub registered_by: String,
}

/// About what people are asked when a settlement is to be paid.
pub fn payout_subject(settlement: &Settlement) -> String {
    format!("settlement:{}", settlement.id)
}

/// About what people are asked when a part is to be paid again; none for a part that was never sent.
pub fn release_subject(settlement: &Settlement, part: &Part) -> Option<String> {
    let generation = part.instruction()?.generation;
    Some(format!(
        "release:{}/{}/{generation}",
        settlement.id, part.part_no
    ))
}

/// About what people are asked when a part is said to be paid offline.
pub fn claim_subject(id: OfflinePaymentId) -> String {
    format!("offline_payment:{id}")
}

/// Asks to pay what of a settlement goes to this account, neither what was paid offline nor what went elsewhere, on its
/// due date or today if that is over. `asked` counts how often it is asked.
///
/// # Errors
/// When the parts cannot be added up.
pub fn payout_request(
    settlement: &Settlement,
    payee: &Payee,
    asked: usize,
    today: NaiveDate,
) -> Result<Request, clearday_jobs::MoneyError> {
    let mut amount = Money::from_minor(0, settlement.currency);
    for part in settlement.parts.iter().filter(|part| goes_to(part, payee)) {
        amount = amount.checked_add(part.amount)?;
    }
    Ok(Request {
        action: ApprovalAction::Payout,
        subject: payout_subject(settlement),
        shown: json!({
            "settlement_id": settlement.id,
            "merchant_id": settlement.merchant_id,
            "sequence_no": settlement.sequence_no,
            "period_from": settlement.period_from.to_string(),
            "period_last": settlement.period_last().to_string(),
            "due_on": settlement.due_on.map(|day| day.to_string()),
            "net": Amount(settlement.amounts.net),
            "to_pay": Amount(amount),
            "parts": settlement.parts.len(),
            "items": settlement.items_count,
            "items_and_amounts_sha256": settlement.digest,
            "bank": payee.bank,
            "account_no": payee.account_no,
            "account_name": payee.account_name,
            "asked": asked,
        }),
        amount,
        payee: account_of(payee),
        value_on: settlement.due_on.map(|due_on| due_on.max(today)),
    })
}

/// Whether the bank was told to pay a part to this account, or was not told anything yet. So what people are asked
/// stays the same while the parts that they agreed to leave one by one.
fn goes_to(part: &Part, payee: &Payee) -> bool {
    part.state != PartState::PaidOffline
        && part.instruction().is_none_or(|told| {
            told.bank == payee.bank
                && told.payee_account_no == payee.account_no
                && told.payee_name == payee.account_name
        })
}

/// Asks to pay a part again whose instruction is dead; none for a part that was never sent.
pub fn release_request(
    settlement: &Settlement,
    part: &Part,
    payee: &Payee,
    asked: usize,
) -> Option<Request> {
    let dead = part.instruction()?;
    Some(Request {
        action: ApprovalAction::Release,
        subject: release_subject(settlement, part)?,
        shown: json!({
            "settlement_id": settlement.id,
            "merchant_id": settlement.merchant_id,
            "sequence_no": settlement.sequence_no,
            "part_no": part.part_no,
            "amount": Amount(part.amount),
            "dead_instruction": dead.end_to_end_id,
            "bank": payee.bank,
            "account_no": payee.account_no,
            "account_name": payee.account_name,
            "asked": asked,
        }),
        amount: part.amount,
        payee: account_of(payee),
        value_on: settlement.due_on,
    })
}

/// Asks to take it that a part was paid offline.
pub fn claim_request(
    settlement: &Settlement,
    part_no: u32,
    id: OfflinePaymentId,
    terms: &ClaimTerms,
) -> Request {
    Request {
        action: ApprovalAction::OfflinePayment,
        subject: claim_subject(id),
        shown: json!({
            "offline_payment_id": id,
            "settlement_id": settlement.id,
            "merchant_id": settlement.merchant_id,
            "sequence_no": settlement.sequence_no,
            "part_no": part_no,
            "amount": Amount(terms.amount),
            "bank": terms.bank,
            "paid_on": terms.paid_on.to_string(),
            "bank_reference": terms.bank_reference,
            "proof_sha256": terms.proof_sha256,
            "registered_by": terms.registered_by,
        }),
        amount: terms.amount,
        payee: format!("merchant:{}", settlement.merchant_id),
        value_on: Some(terms.paid_on),
    }
}

fn account_of(payee: &Payee) -> String {
    format!("{}:{}", payee.bank, payee.account_no)
}

impl Request {
    /// What an answer is bound to.
    pub fn digest(&self) -> String {
        hex_sha256(canonical_json(&self.shown).as_bytes())
    }
}

/// How often something was refused, so that it can be asked anew.
pub fn refusals(asked_before: &[Approval]) -> usize {
    let refused = asked_before
        .iter()
        .filter(|it| it.state == ApprovalState::Rejected);
    refused.count()
}

/// What people say to a request; `asked_before` are all requests about its subject, the newest first, and `digest_of`
/// is the digest of what would be shown when it is asked for the so-manyth time.
pub fn consent(
    asked_before: &[Approval],
    digest_of: impl Fn(usize) -> String,
    job_id: Option<JobId>,
    today: NaiveDate,
) -> Consent {
    let Some(newest) = asked_before.first() else {
        return Consent::NotAsked;
    };
    let refusals = refusals(asked_before);
    let digest = match newest.state {
        ApprovalState::Superseded => return Consent::NotAsked,
        ApprovalState::Rejected => digest_of(refusals.saturating_sub(1)),
        ApprovalState::Requested | ApprovalState::Approved => digest_of(refusals),
    };
    if newest.digest != digest {
        return Consent::NotAsked;
    }
    match newest.state {
        ApprovalState::Superseded => Consent::NotAsked,
        ApprovalState::Rejected => Consent::Refused {
            reason: format!(
                "{}: {}",
                newest.rejected_by.as_deref().unwrap_or("somebody"),
                newest.reason.as_deref().unwrap_or("without a reason")
            ),
            of_this_job: job_id.is_some() && newest.job_id == job_id,
        },
        ApprovalState::Approved if newest.is_lapsed(today) => Consent::NotAsked,
        ApprovalState::Approved => Consent::Given(newest.id),
        ApprovalState::Requested => Consent::Asked {
            waits_for: newest.waits_for().unwrap_or_default(),
        },
    }
}
