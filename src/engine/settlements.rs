//! What people say about settlements, and payments that somebody made outside of clearday (线下付款).
//!
//! Registering such a payment moves no money and closes nothing: it asks a second person, and holds the part until that
//! is decided. What follows from the decision is the settlement's job to do.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{
    ApprovalId, ChannelName, JobId, JobKind, Money, MoneyError, OfflinePaymentId, SettlementId,
};
use serde_json::json;

use super::{
    Acceptance, ApprovalError, Engine, NewApproval, PeopleNeeded, Run, RunTx, Source, Submission,
    WorkError,
};
use crate::domain::approval::ApprovalAction;
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::calendar::Calendar;
use crate::domain::china::china_day;
use crate::domain::merchant::{Merchant, Payee};
use crate::domain::settlement_run::decide::{Consent, Consents};
use crate::domain::settlement_run::public::{self, BankDays, Progress, Today, facts_of};
use crate::domain::settlement_run::request::{
    ClaimTerms, Request, claim_request, consent, payout_request, payout_subject, release_request,
};
use crate::domain::settlement_run::{Claim, ClaimState, Part, Settlement, SettlementState};
use crate::store::{StoreError, Tx, approvals, audit, jobs, settlements};

/// Longest number that a bank gives a payment, in characters.
const BANK_REFERENCE_LENGTH_MAX: usize = 64;

/// What people say about a settlement, as a job sees it that pays to `payee`.
pub async fn consents(
    tx: &mut Tx,
    settlement: &Settlement,
    payee: &Payee,
    job_id: Option<JobId>,
    now: DateTime<Utc>,
) -> Result<Consents, StoreError> {
    let asker = Asker {
        settlement,
        payee,
        job_id,
        today: china_day(&now),
    };
    let mut consents = Consents {
        payout: asker.payout(tx).await?,
        ..Consents::default()
    };
    for part in &settlement.parts {
        if let Some(release) = asker.release(tx, part).await? {
            consents.releases.push((part.part_no, release));
        }
        for claim in part.claims.iter().filter(|claim| claim.state.is_open()) {
            consents
                .claims
                .push((claim.id, asker.claim(tx, part.part_no, claim).await?));
        }
    }
    Ok(consents)
}

/// What the merchant is told of a settlement at `now`; `banks` says until when banks take orders.
pub async fn progress(
    tx: &mut Tx,
    settlement: &Settlement,
    merchant: &Merchant,
    banks: &BankDays,
    now: DateTime<Utc>,
) -> Result<Progress, StoreError> {
    let consents = consents(tx, settlement, &merchant.payee, None, now).await?;
    let calendar = Calendar::find(&settlement.calendar);
    let today = Today {
        now,
        calendar: calendar.as_ref(),
        banks,
    };
    let facts = facts_of(settlement, &consents, merchant, today);
    Ok(public::progress(&facts))
}

/// Who wants to know what people say, about what, and on which day.
struct Asker<'a> {
    settlement: &'a Settlement,
    payee: &'a Payee,
    job_id: Option<JobId>,
    today: NaiveDate,
}

impl Asker<'_> {
    async fn payout(&self, tx: &mut Tx) -> Result<Consent, StoreError> {
        if self.settlement.parts.is_empty() {
            return Ok(Consent::NotAsked);
        }
        let request = |asked| payout_request(self.settlement, self.payee, asked, self.today);
        request(0).map_err(|error| StoreError::corrupt("amount_minor", error))?;
        let subject = payout_subject(self.settlement);
        let before = approvals::of_subject(tx, ApprovalAction::Payout, &subject).await?;
        let digest_of = |asked| request(asked).map(|it| it.digest()).unwrap_or_default();
        Ok(consent(&before, digest_of, self.job_id, self.today))
    }

    /// `None` for a part that nobody needs to release.
    async fn release(&self, tx: &mut Tx, part: &Part) -> Result<Option<Consent>, StoreError> {
        if part.state.is_in_flight() || part.state.is_paid() {
            return Ok(None);
        }
        let request = |asked| release_request(self.settlement, part, self.payee, asked);
        let Some(first) = request(0) else {
            return Ok(None);
        };
        let before = approvals::of_subject(tx, first.action, &first.subject).await?;
        let digest_of = |asked| request(asked).map(|it| it.digest()).unwrap_or_default();
        Ok(Some(consent(&before, digest_of, self.job_id, self.today)))
    }

    async fn claim(&self, tx: &mut Tx, part_no: u32, claim: &Claim) -> Result<Consent, StoreError> {
        let request = claim_request(self.settlement, part_no, claim.id, &terms_of(claim));
        let asked = approvals::find(tx, claim.approval_id).await?;
        let asked: Vec<_> = asked.into_iter().collect();
        Ok(consent(&asked, |_| request.digest(), None, self.today))
    }
}

fn terms_of(claim: &Claim) -> ClaimTerms {
    ClaimTerms {
        amount: claim.amount,
        bank: claim.bank.clone(),
        paid_on: claim.paid_on,
        bank_reference: claim.bank_reference.clone(),
        proof_sha256: claim.proof_sha256.clone(),
        registered_by: claim.registered_by.clone(),
    }
}

/// The approval that a request becomes.
fn to_be_approved(
    settlement: &Settlement,
    request: Request,
    people: PeopleNeeded,
    job_id: JobId,
) -> NewApproval {
    NewApproval {
        action: request.action,
        subject: request.subject,
        shown: request.shown,
        merchant_id: Some(settlement.merchant_id.clone()),
        payee: Some(request.payee),
        amount: Some(request.amount),
        value_on: request.value_on,
        people,
        maker: None,
        job_id: Some(job_id),
    }
}

impl Run {
    /// Asks people to agree to a payout or a release, in the transaction of what it is about.
    pub async fn ask_about(
        &self,
        tx: &mut RunTx,
        settlement: &Settlement,
        request: Request,
        people: PeopleNeeded,
    ) -> Result<(), WorkError> {
        let new = to_be_approved(settlement, request, people, self.job().id);
        self.request_approval(tx, new).await?;
        Ok(())
    }

    /// Makes the job in charge of a settlement due, because something happened to it; a job that ended is followed by
    /// another, whose key is made of `cause`. Returns the job that is in charge then.
    pub async fn wake_settlement(
        &self,
        tx: &mut RunTx,
        settlement: &Settlement,
        cause: &str,
        reason: &str,
    ) -> Result<JobId, WorkError> {
        if self.job().id == settlement.job_id {
            return Ok(settlement.job_id);
        }
        if let Some(job) = jobs::lock(tx, settlement.job_id).await?
            && !job.state.is_ended()
        {
            self.wake(tx, job.id, reason).await?;
            return Ok(job.id);
        }
        self.follow_up(tx, again(settlement, cause, Source::FollowUp))
            .await
    }
}

/// A job that sees to a settlement whose own job has ended.
fn again(settlement: &Settlement, cause: &str, source: Source) -> Submission {
    let payload = json!({
        "version": 1,
        "through": settlement.period_last().to_string(),
        "merchant_id": settlement.merchant_id,
        "currency": settlement.currency,
    });
    Submission {
        kind: JobKind::SettlementRun.as_str().to_owned(),
        idempotency_key: Some(format!("settle:{cause}")),
        payload: payload.to_string().into_bytes(),
        source,
        fault: None,
    }
}

/// A payment outside of clearday, as somebody registers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOfflinePayment {
    /// The settlement.
    pub settlement_id: SettlementId,
    /// The number of its part.
    pub part_no: u32,
    /// How much: what the part is.
    pub amount: Money,
    /// The bank that paid; none: the one that carries payments to the merchant.
    pub bank: Option<ChannelName>,
    /// The day on which it was paid.
    pub paid_on: NaiveDate,
    /// The bank's number of it.
    pub bank_reference: String,
    /// SHA-256 of the proof (回单), in hexadecimal.
    pub proof_sha256: String,
}

/// A registered payment outside of clearday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflinePaymentRegistered {
    /// Its id.
    pub id: OfflinePaymentId,
    /// Where the second person is asked.
    pub approval_id: ApprovalId,
    /// Whether it was registered before, saying the same.
    pub is_known: bool,
}

/// Why a payment outside of clearday was not registered.
#[derive(Debug, thiserror::Error)]
pub enum OfflinePaymentError {
    /// No such settlement or part.
    #[error("there is no part {part_no} of settlement {settlement_id}")]
    NotFound {
        /// The settlement.
        settlement_id: SettlementId,
        /// The number of the part.
        part_no: u32,
    },
    /// Something about it cannot be so.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Another claim about the part waits for its decision.
    #[error(
        "part {part_no} is claimed already with bank reference {bank_reference}, which waits for approval {approval_id}"
    )]
    Claimed {
        /// The number of the part.
        part_no: u32,
        /// The other claim's number at the bank.
        bank_reference: String,
        /// Where people are asked about it.
        approval_id: ApprovalId,
    },
    /// The bank's number stands for another payment.
    #[error("bank reference {0} is registered already, about another part or in other words")]
    ReferenceTaken(String),
    /// Somebody else changed it at the same moment.
    #[error("{0} changed at the same moment: look at it again")]
    LostRace(String),
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApprovalError> for OfflinePaymentError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::Store(source) => Self::Store(source),
            ApprovalError::LostRace(what) => Self::LostRace(what),
            ApprovalError::NotFound(_)
            | ApprovalError::NotAnApprover { .. }
            | ApprovalError::Reason
            | ApprovalError::Refused { .. } => Self::LostRace(error.to_string()),
        }
    }
}

impl From<MoneyError> for OfflinePaymentError {
    fn from(error: MoneyError) -> Self {
        Self::Field {
            field: "amount",
            problem: error.to_string(),
        }
    }
}

impl Engine {
    /// Registers that a part was paid outside of clearday and asks a second person; `who` is its maker. The same
    /// registration again is the same one.
    pub async fn register_offline_payment(
        &self,
        new: &NewOfflinePayment,
        who: &str,
        source: Source,
    ) -> Result<OfflinePaymentRegistered, OfflinePaymentError> {
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        let not_found = || OfflinePaymentError::NotFound {
            settlement_id: new.settlement_id,
            part_no: new.part_no,
        };
        let settlement = settlements::lock(&mut tx, new.settlement_id)
            .await?
            .ok_or_else(not_found)?;
        let part = settlement.part(new.part_no).ok_or_else(not_found)?;
        let terms = checked(&mut tx, new, &settlement, part, who, now).await?;
        if let Some(known) = known_claim(&mut tx, &settlement, part, &terms).await? {
            return Ok(known);
        }
        let id = OfflinePaymentId(self.ids().uuid());
        let (job_id, due) = self.in_charge(&mut tx, &settlement, id, source).await?;
        let event = settlements::Change {
            id: settlement.id,
            version: settlement.version,
            state: settlement.state,
            approval_id: settlement.approval_id,
            job_id,
            part: Some((part.part_no, part.state)),
            event: "claim_registered",
            reason: &format!(
                "{who} says that it was paid offline on {} ({})",
                terms.paid_on, terms.bank_reference
            ),
            by: None,
        };
        if !settlements::apply(&mut tx, &event, now).await? {
            return Err(OfflinePaymentError::LostRace(format!(
                "settlement {}",
                settlement.id
            )));
        }
        let request = claim_request(&settlement, part.part_no, id, &terms);
        let digest = request.digest();
        let approval = NewApproval {
            maker: Some(who.to_owned()),
            ..to_be_approved(&settlement, request, PeopleNeeded::Two, job_id)
        };
        let approval = self.request_approval_in(&mut tx, approval).await?;
        let claim = Claim {
            id,
            amount: terms.amount,
            bank: terms.bank,
            paid_on: terms.paid_on,
            bank_reference: terms.bank_reference,
            proof_sha256: terms.proof_sha256,
            registered_by: terms.registered_by,
            approval_id: approval.id,
            state: ClaimState::Registered,
            debited_on: None,
            debit_no: None,
            registered_at: now,
        };
        settlements::insert_claim(&mut tx, (settlement.id, part.part_no), &claim).await?;
        audit::append(
            &mut tx,
            &[registered_entry(&settlement, part, &claim, &digest)],
            now,
        )
        .await?;
        tx.commit().await?;
        self.ring(due);
        Ok(OfflinePaymentRegistered {
            id,
            approval_id: approval.id,
            is_known: false,
        })
    }

    /// The job that will see to a claim: the settlement's own, or another one where that has ended.
    async fn in_charge(
        &self,
        tx: &mut Tx,
        settlement: &Settlement,
        claim: OfflinePaymentId,
        source: Source,
    ) -> Result<(JobId, Vec<JobKind>), OfflinePaymentError> {
        let reason = "a part is said to be paid offline";
        if let Some(job) = jobs::lock(tx, settlement.job_id).await?
            && !job.state.is_ended()
        {
            let due = self.wake_in(tx, job.id, reason).await?;
            return Ok((job.id, due.into_iter().collect()));
        }
        let submission = again(settlement, &format!("offline:{claim}"), source);
        let (answers, due) = self.accept_in(tx, vec![submission]).await?;
        match answers.into_iter().next() {
            Some(Acceptance::New(id) | Acceptance::Known(id, _)) => {
                Ok((id, due.into_iter().collect()))
            }
            Some(Acceptance::Refused(refusal)) => {
                Err(OfflinePaymentError::LostRace(refusal.to_string()))
            }
            None => Err(OfflinePaymentError::LostRace("the job".to_owned())),
        }
    }
}

fn registered_entry(
    settlement: &Settlement,
    part: &Part,
    claim: &Claim,
    digest: &str,
) -> AuditEntry {
    AuditEntry {
        who: claim.registered_by.clone(),
        what: AuditAction::OfflinePaymentRegistered,
        subject: claim.id.to_string(),
        detail: json!({
            "settlement_id": settlement.id,
            "merchant_id": settlement.merchant_id,
            "part_no": part.part_no,
            "amount": claim.amount.to_major_string(),
            "currency": claim.amount.currency().code(),
            "bank": claim.bank,
            "paid_on": claim.paid_on.to_string(),
            "bank_reference": claim.bank_reference,
            "proof_sha256": claim.proof_sha256,
            "digest": digest,
        }),
    }
}

/// The terms of a registration, if they can be so.
async fn checked(
    tx: &mut Tx,
    new: &NewOfflinePayment,
    settlement: &Settlement,
    part: &Part,
    who: &str,
    now: DateTime<Utc>,
) -> Result<ClaimTerms, OfflinePaymentError> {
    let refuse = |field, problem: String| Err(OfflinePaymentError::Field { field, problem });
    if settlement.state == SettlementState::CarriedOver {
        return refuse("settlement_id", "nothing of it is paid".to_owned());
    }
    if new.amount != part.amount {
        let problem = format!(
            "part {} is {}, not {}",
            part.part_no, part.amount, new.amount
        );
        return refuse("amount", problem);
    }
    if new.paid_on > china_day(&now) {
        return refuse("paid_on", format!("{} has not come yet", new.paid_on));
    }
    let reference = new.bank_reference.trim();
    let length = reference.chars().count();
    if length == 0
        || length > BANK_REFERENCE_LENGTH_MAX
        || !reference.chars().all(|char| char.is_ascii_graphic())
    {
        let problem = format!(
            "the bank's number has 1 to {BANK_REFERENCE_LENGTH_MAX} printable ASCII characters without spaces"
        );
        return refuse("bank_reference", problem);
    }
    let proof = new.proof_sha256.to_ascii_lowercase();
    if proof.len() != 64 || !proof.chars().all(|char| char.is_ascii_hexdigit()) {
        let problem = "is not a SHA-256 in hexadecimal: 64 digits of the proof's bytes".to_owned();
        return refuse("proof_sha256", problem);
    }
    let bank = match &new.bank {
        Some(bank) => bank.clone(),
        None => payee_bank(tx, settlement).await?,
    };
    Ok(ClaimTerms {
        amount: new.amount,
        bank,
        paid_on: new.paid_on,
        bank_reference: reference.to_owned(),
        proof_sha256: proof,
        registered_by: who.to_owned(),
    })
}

async fn payee_bank(
    tx: &mut Tx,
    settlement: &Settlement,
) -> Result<ChannelName, OfflinePaymentError> {
    let merchant = crate::store::merchants::find(tx, &settlement.merchant_id).await?;
    merchant
        .map(|merchant| merchant.payee.bank)
        .ok_or_else(|| OfflinePaymentError::Field {
            field: "bank",
            problem: format!(
                "say which bank paid: merchant {} is not known any more",
                settlement.merchant_id
            ),
        })
}

/// The same claim, if it was registered before; an error when another one stands in its way.
async fn known_claim(
    tx: &mut Tx,
    settlement: &Settlement,
    part: &Part,
    terms: &ClaimTerms,
) -> Result<Option<OfflinePaymentRegistered>, OfflinePaymentError> {
    let reference = terms.bank_reference.as_str();
    let taken = settlements::of_bank_references(tx, terms.bank.as_str(), &[reference]).await?;
    if let Some((of, id)) = taken {
        let same = part.claims.iter().find(|claim| {
            let said = ClaimTerms {
                // Whoever repeats it, it is the same payment.
                registered_by: terms.registered_by.clone(),
                ..terms_of(claim)
            };
            of == settlement.id && claim.id == id && said == *terms
        });
        let same = same.ok_or_else(|| OfflinePaymentError::ReferenceTaken(reference.to_owned()))?;
        return Ok(Some(OfflinePaymentRegistered {
            id,
            approval_id: same.approval_id,
            is_known: true,
        }));
    }
    match part.open_claim() {
        None => Ok(None),
        Some(open) => Err(OfflinePaymentError::Claimed {
            part_no: part.part_no,
            bank_reference: open.bank_reference.clone(),
            approval_id: open.approval_id,
        }),
    }
}
